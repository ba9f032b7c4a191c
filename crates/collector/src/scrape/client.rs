//! Asking targets, and where targets are to be found, over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use prometheus::{Credentials, HttpClient, Secret};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::tls::Version;
use reqwest::{Certificate, Identity, NoProxy, Proxy, Url};

use super::oauth2::Tokens;
use crate::{ContentEncoding, Held, inflate};

/// A client that keeps connections; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    config: HttpClient,
    tokens: Option<Arc<Tokens>>,
    /// Who is asked in TLS under `tls_config.server_name`.
    renamed: Option<Renamed>,
}

/// A host that goes by another name: certificates are checked for the name, the connection goes to the host.
#[derive(Debug, Clone)]
struct Renamed {
    name: String,
    host: String,
}

impl Resolve for Renamed {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name { self.host.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// What to ask for.
#[derive(Debug, Clone)]
pub(super) struct Question<'q> {
    pub(super) url: &'q str,
    pub(super) accept: &'q str,
    /// Further headers.
    pub(super) headers: &'q [(&'static str, String)],
    /// Whether the answer may be compressed.
    pub(super) compressed: bool,
    pub(super) timeout: Duration,
    /// Bytes that the answer may have, inflated.
    pub(super) limit: usize,
}

/// What was answered, inflated.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) body: Vec<u8>,
    pub(super) content_type: String,
}

/// What [`Client::get`] says of an answer that is larger than it may be.
pub(super) const TOO_LARGE: &str = "body size limit exceeded";

impl Client {
    /// A client as `config` wants it; `socket` where it speaks to a Unix socket. Certificates are read here.
    ///
    /// # Errors
    /// What cannot be read or used.
    pub(super) fn new(config: &HttpClient, socket: Option<&Path>) -> Result<Self, String> {
        Self::made(config, socket, None)
    }

    /// A client that asks `url` and nobody else. It is another one where the host goes by another name in TLS.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub(super) fn of(&self, url: &str) -> Result<Self, String> {
        let name = &self.config.tls.server_name;
        let url = Url::parse(url).map_err(|e| e.to_string())?;
        match url.host_str() {
            Some(host) if !name.is_empty() && url.scheme() == "https" => {
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Self::made(&self.config, None, Some(Renamed { name: name.clone(), host }))
            }
            _ => Ok(self.clone()),
        }
    }

    fn made(config: &HttpClient, socket: Option<&Path>, renamed: Option<Renamed>) -> Result<Self, String> {
        crate::tls::provide();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("Braid/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .pool_max_idle_per_host(2)
            .connect_timeout(Duration::from_secs(30))
            .redirect(if config.follow_redirects { Policy::limited(10) } else { Policy::none() });
        let tls = &config.tls;
        if let Some(ca) = &tls.ca {
            let pem = read(ca).map_err(|e| format!("tls_config.ca: {e}"))?;
            let certificates =
                Certificate::from_pem_bundle(pem.as_bytes()).map_err(|e| format!("tls_config.ca: {}", causes(&e)))?;
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
            let pem = [
                read(cert).map_err(|e| format!("tls_config.cert: {e}"))?,
                read(key).map_err(|e| format!("tls_config.key: {e}"))?,
            ];
            let identity =
                Identity::from_pem(pem.join("\n").as_bytes()).map_err(|e| format!("tls_config.cert: {}", causes(&e)))?;
            builder = builder.identity(identity);
        }
        // What is older than 1.2 nobody should speak, and the library does not.
        let version = |name: &str| if name == "TLS13" { Version::TLS_1_3 } else { Version::TLS_1_2 };
        if !tls.min_version.is_empty() {
            builder = builder.tls_version_min(version(&tls.min_version));
        }
        if !tls.max_version.is_empty() {
            builder = builder.tls_version_max(version(&tls.max_version));
        }
        builder = builder.tls_danger_accept_invalid_certs(tls.insecure_skip_verify);
        if !config.proxy_url.is_empty() {
            let made = |proxy: reqwest::Result<Proxy>| {
                let proxy = proxy.map_err(|e| format!("proxy_url: {}", causes(&e)))?;
                Ok::<_, String>(proxy.no_proxy(NoProxy::from_string(&config.no_proxy)))
            };
            let (plain, tunnel) = (made(Proxy::http(&config.proxy_url))?, made(Proxy::https(&config.proxy_url))?);
            builder = builder.no_proxy().proxy(plain).proxy(tunnel.headers(proxy_headers(config)?));
        } else if !config.proxy_from_environment {
            builder = builder.no_proxy();
        }
        if let Some(socket) = socket {
            builder = builder.unix_socket(socket);
        }
        if let Some(renamed) = &renamed {
            // HTTP/2 has the name for a host where the server is to see the host.
            builder = builder.http1_only().dns_resolver(Arc::new(renamed.clone()));
        }
        let tokens = match &config.credentials {
            Credentials::OAuth2(oauth2) => Some(Arc::new(Tokens::new(oauth2)?)),
            _ => None,
        };
        Ok(Self { http: builder.build().map_err(|e| causes(&e))?, config: config.clone(), tokens, renamed })
    }

    /// The connections alone.
    pub(super) fn into_http(self) -> reqwest::Client {
        self.http
    }

    /// Asks; what the answer takes is held in `held`.
    ///
    /// # Errors
    /// What `lastError` shows.
    pub(super) async fn get(&self, question: Question<'_>, held: &mut Held) -> Result<Answered, String> {
        let timeout = question.timeout;
        match tokio::time::timeout(timeout, self.ask(question, held)).await {
            Ok(result) => result,
            Err(_) => Err(format!("context deadline exceeded: no answer within {timeout:?}")),
        }
    }

    async fn ask(&self, question: Question<'_>, held: &mut Held) -> Result<Answered, String> {
        let mut url = Url::parse(question.url).map_err(|e| e.to_string())?;
        let mut headers = self.headers()?;
        if let Some(tokens) = &self.tokens {
            let authorization = HeaderValue::try_from(tokens.authorization().await?);
            let mut authorization = authorization.map_err(|_| "oauth2: the token has characters that cannot be".to_owned())?;
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        if let Some(renamed) = &self.renamed {
            let authority = url.authority().rsplit('@').next().unwrap_or_default().to_owned();
            headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| "no host".to_owned())?);
            url.set_host(Some(&renamed.name)).map_err(|e| format!("tls_config.server_name: {e}"))?;
        }
        let mut request = self.http.get(url).headers(headers).header(ACCEPT, question.accept);
        // As Go's transport does it: what is not asked for is not sent.
        request = request.header(ACCEPT_ENCODING, if question.compressed { "gzip" } else { "identity" });
        for (name, value) in question.headers {
            request = request.header(*name, value);
        }
        let mut response = request.send().await.map_err(|e| causes(&e))?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status()));
        }
        let header = |name: HeaderName| response.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes).to_vec();
        let content_type = String::from_utf8_lossy(&header(CONTENT_TYPE)).into_owned();
        let encoding = ContentEncoding::parse(&header(CONTENT_ENCODING)).map_err(|e| e.to_string())?;
        let limit = question.limit;
        if response.content_length().is_some_and(|n| n > limit as u64) {
            return Err(TOO_LARGE.to_owned());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| causes(&e))? {
            if body.len() + chunk.len() > limit {
                return Err(TOO_LARGE.to_owned());
            }
            held.at_least(body.len() + chunk.len()).map_err(|e| e.to_string())?;
            body.extend_from_slice(&chunk);
        }
        if encoding != ContentEncoding::Identity {
            body = inflate(encoding, &body, limit, held).map_err(|e| match e {
                crate::Refusal::TooLarge { .. } => TOO_LARGE.to_owned(),
                other => other.to_string(),
            })?;
        }
        Ok(Answered { body, content_type })
    }

    /// Headers that the configuration adds. Files are read for every question: tokens change.
    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let value = |text: String| {
            let mut value =
                HeaderValue::try_from(text).map_err(|_| "a header's value has characters that cannot be".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        match &self.config.credentials {
            Credentials::None | Credentials::OAuth2(_) => {}
            Credentials::Basic { username, password } => {
                let password = password.as_ref().map(read).transpose()?.unwrap_or_default();
                let pair = format!("{}:{}", read(username)?.trim(), password.trim_end_matches(['\r', '\n']));
                headers.insert(AUTHORIZATION, value(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))?);
            }
            Credentials::Token { kind, token } => {
                let token = token.as_ref().map(read).transpose()?.unwrap_or_default();
                headers.insert(AUTHORIZATION, value(format!("{kind} {}", token.trim()))?);
            }
        }
        for (name, values) in &self.config.headers {
            let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of a header"))?;
            for secret in values {
                headers.append(name.clone(), value(read(secret)?.trim().to_owned())?);
            }
        }
        Ok(headers)
    }
}

fn proxy_headers(config: &HttpClient) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.proxy_headers {
        let wrong = || format!("proxy_connect_header: {name:?} cannot be sent");
        let key = HeaderName::try_from(name).map_err(|_| wrong())?;
        for value in values {
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.append(key.clone(), value);
        }
    }
    Ok(headers)
}

pub(super) fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}")),
    }
}

/// An error with what caused it: the library's own words for a refused connection name only the address.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_one_header() {
        for (credentials, expected) in [
            (
                Credentials::Basic { username: Secret::Text("a".into()), password: Some(Secret::Text("bc\n".into())) },
                "Basic YTpiYw==",
            ),
            (Credentials::Token { kind: "Bearer".into(), token: Some(Secret::Text("t\n".into())) }, "Bearer t"),
        ] {
            let config = HttpClient { credentials, ..HttpClient::default() };
            let client = Client::new(&config, None).expect("nothing to read");
            assert_eq!(client.headers().expect("texts")[AUTHORIZATION], expected);
        }
    }

    #[tokio::test]
    async fn a_certificate_of_another_name_is_asked_for_and_checked() {
        crate::tls::provide();
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["only.example".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private.into())
            .expect("a pair");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or_default();
                let host = String::from_utf8_lossy(&request[..n]).to_lowercase();
                let host = host.lines().filter(|l| l.starts_with("host:")).collect::<Vec<_>>().join("+");
                let body = format!("{:?} {host}", stream.get_ref().1.server_name());
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        let url = format!("https://{address}/metrics");
        let question = Question {
            url: &url,
            accept: "*/*",
            headers: &[],
            compressed: false,
            timeout: Duration::from_secs(20),
            limit: 1 << 16,
        };
        let tls = prometheus::Tls {
            ca: Some(Secret::Text(certificate.pem())),
            server_name: "only.example".to_owned(),
            ..prometheus::Tls::default()
        };
        let mut held = crate::Budget::new(1 << 20).hold();
        let client = Client::new(&HttpClient { tls: tls.clone(), ..HttpClient::default() }, None).expect("a client");
        let answered = client.of(&url).expect("a client").get(question.clone(), &mut held).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answered.body), format!("Some(\"only.example\") host: {address}"));
        let tls = prometheus::Tls { server_name: String::new(), ..tls };
        let client = Client::new(&HttpClient { tls, ..HttpClient::default() }, None).expect("a client");
        let refused = client.of(&url).expect("a client").get(question, &mut held).await.expect_err("the name is another");
        assert!(refused.contains("invalid peer certificate"), "{refused}");
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_with_its_headers() {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy_url = format!("http://{}", listener.local_addr().expect("bound"));
        let heads = tokio::spawn(async move {
            let mut heads = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = vec![0; 4096];
                let n = stream.read(&mut head).await.expect("a request");
                heads.push(String::from_utf8_lossy(&head[..n]).to_lowercase());
            }
            heads
        });
        let proxy_headers = vec![("X-A".to_owned(), vec!["1".to_owned(), "2".to_owned()])];
        let client = Client::new(&HttpClient { proxy_url, proxy_headers, ..HttpClient::default() }, None).expect("a client");
        let mut held = crate::Budget::new(1 << 20).hold();
        for url in ["https://target.example/m", "http://target.example/m"] {
            let timeout = Duration::from_secs(20);
            let question = Question { url, accept: "*/*", headers: &[], compressed: false, timeout, limit: 1 << 16 };
            client.get(question, &mut held).await.expect_err("the proxy says nothing");
        }
        let heads = heads.await.expect("two");
        assert!(heads[0].starts_with("connect target.example:443 "), "{heads:?}");
        assert!(heads[0].contains("x-a: 1\r\nx-a: 2\r\n"), "{heads:?}");
        assert!(heads[1].starts_with("get http://target.example/m ") && !heads[1].contains("x-a"), "{heads:?}");
    }
}
