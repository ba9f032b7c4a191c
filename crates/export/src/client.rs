//! Sending a body, and what comes back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use parking_lot::RwLock;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Url};

use crate::settings::Http;

/// Bytes of an answer that are read; a longer one is garbage.
const ANSWER: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(10);

/// A client of one peer; its connections are kept.
#[derive(Debug)]
pub(crate) struct Client {
    /// And how often they were made anew.
    http: RwLock<(u64, reqwest::Client)>,
    settings: Http,
    host: String,
    h2: bool,
    url: Url,
    headers: HeaderMap,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// A header's text, from the trailers where the headers have none.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).or_else(|| self.trailers.get(name)).and_then(|v| v.to_str().ok())
    }
}

/// Looks a name up under another one: certificates are checked for the name, the connection goes to the other.
#[derive(Debug)]
struct Elsewhere {
    name: String,
    host: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name { self.host.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl Client {
    /// A client for `url`. `fixed` headers come before those of the configuration; `h2` speaks HTTP/2 from the first byte on.
    ///
    /// # Errors
    /// What cannot be read or used; no secret is in the text.
    pub(crate) fn new(settings: &Http, url: &str, fixed: &[(&'static str, &str)], h2: bool) -> Result<Self, String> {
        // Says nothing new where the process has named its provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut url: Url = url.parse().map_err(|e| format!("endpoint: {e}"))?;
        if url.host_str().is_none() {
            return Err("endpoint: it names no host".to_owned());
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        if let Some(name) = &settings.tls.server_name {
            url.set_host(Some(name)).map_err(|e| format!("tls.server_name_override: {e}"))?;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fixed {
            headers.insert(*name, HeaderValue::from_str(value).map_err(|_| format!("the header {name} cannot be made"))?);
        }
        for (name, value) in &settings.headers {
            let key = HeaderName::try_from(name).map_err(|_| format!("headers: {name:?} is no name of a header"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| format!("headers: the value of {name:?} cannot be one"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let http = RwLock::new((0, connections(settings, &host, h2)?));
        Ok(Self { http, settings: settings.clone(), host, h2, url, headers })
    }

    /// Lets the connections go, unless that was done meanwhile. Over HTTP/2 all requests share one, and the end of a request ends
    /// nothing else: a peer that has frozen behind it would be asked there for as long as TCP hopes, also when it is back.
    fn renew(&self, number: u64) {
        let mut http = self.http.write();
        if http.0 == number {
            match connections(&self.settings, &self.host, self.h2) {
                Ok(fresh) => *http = (number + 1, fresh),
                // Certificates that cannot be read just now: the old connections stay.
                Err(why) => tracing::debug!("no new connections: {why}"),
            }
        }
    }

    /// Sends `body`; `more` are headers of this request.
    ///
    /// # Errors
    /// Why there is no answer: nothing was taken for sure, nothing refused for sure.
    pub(crate) async fn post(&self, body: Bytes, more: &[(&'static str, HeaderValue)]) -> Result<Answer, String> {
        let mut headers = self.headers.clone();
        for (name, value) in more {
            headers.insert(*name, value.clone());
        }
        let (number, http) = self.http.read().clone();
        let request = http.post(self.url.clone()).headers(headers).body(body);
        let answer = async {
            let response = request.send().await.map_err(|e| causes(&e.without_url()))?;
            let (parts, body) = http::Response::<reqwest::Body>::from(response).into_parts();
            let body = Limited::new(body, ANSWER).collect().await.map_err(|e| causes(&*e))?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers })
        };
        let timeout = self.settings.timeout;
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.renew(number);
                Err(format!("no answer within {timeout:?}"))
            }
        }
    }
}

/// The connections to a peer, of which none is open yet. `host` is where they go, whichever name the certificate has.
fn connections(settings: &Http, host: &str, h2: bool) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("Braid/", env!("CARGO_PKG_VERSION")))
        .tcp_nodelay(true)
        .connect_timeout(settings.timeout.min(CONNECT))
        .redirect(Policy::none())
        .tls_danger_accept_invalid_certs(settings.tls.insecure_skip_verify);
    if h2 {
        builder = builder.http2_prior_knowledge();
    }
    if let Some(ca) = &settings.tls.ca_file {
        let certificates = Certificate::from_pem_bundle(&read("tls.ca_file", ca)?).map_err(|e| format!("tls.ca_file: {e}"))?;
        if certificates.is_empty() {
            return Err(format!("tls.ca_file: {}: no certificate in it", ca.display()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let (Some(cert), Some(key)) = (&settings.tls.cert_file, &settings.tls.key_file) {
        let mut pem = read("tls.cert_file", cert)?;
        pem.push(b'\n');
        pem.extend(read("tls.key_file", key)?);
        builder = builder.identity(Identity::from_pem(&pem).map_err(|e| format!("tls.cert_file, tls.key_file: {e}"))?);
    }
    if let Some(name) = &settings.tls.server_name {
        builder = builder.dns_resolver(Arc::new(Elsewhere { name: name.clone(), host: host.to_owned() }));
    }
    builder.build().map_err(|e| causes(&e))
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("{key}: {}: {e}", path.display()))
}

/// An error with what caused it: the library's own words for a refused connection name only the address.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
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
    use std::path::PathBuf;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::settings::Tls;

    /// A certificate authority in a directory.
    struct Lab {
        dir: tempfile::TempDir,
        issuer: Issuer<'static, KeyPair>,
        ca: rustls::pki_types::CertificateDer<'static>,
    }

    impl Lab {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let ca = params.self_signed(&key).expect("signed");
            std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
            Self { dir, ca: ca.der().clone(), issuer: Issuer::new(params, key) }
        }

        fn file(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn certificate(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            (params.signed_by(&key, &self.issuer).expect("signed"), key)
        }

        /// A server named `name` that asks for certificates of this authority and answers every request well.
        async fn serve(&self, name: &str) -> SocketAddr {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.ca.clone()).expect("a certificate");
            let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .expect("an authority");
            let (certificate, key) = self.certificate(name);
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            let config = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_client_cert_verifier(clients)
                .with_single_cert(vec![certificate.der().clone()], key)
                .expect("a certificate");
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = listener.local_addr().expect("bound");
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
                    let _ = stream.shutdown().await;
                }
            });
            at
        }
    }

    async fn post(tls: Tls, url: &str) -> Result<u16, String> {
        let http = Http { tls, timeout: Duration::from_secs(10), ..Http::default() };
        let client = Client::new(&http, url, &[], false)?;
        client.post(Bytes::from_static(b"x"), &[]).await.map(|a| a.status.as_u16())
    }

    #[tokio::test]
    async fn both_sides_show_certificates_and_a_name_may_be_another() {
        let lab = Lab::new();
        let (certificate, key) = lab.certificate("braid");
        std::fs::write(lab.file("cert.pem"), certificate.pem()).expect("written");
        std::fs::write(lab.file("key.pem"), key.serialize_pem()).expect("written");
        let at = lab.serve("peer.example").await;
        let url = format!("https://localhost:{}/v1/traces", at.port());
        let full = Tls {
            ca_file: Some(lab.file("ca.pem")),
            cert_file: Some(lab.file("cert.pem")),
            key_file: Some(lab.file("key.pem")),
            server_name: Some("peer.example".to_owned()),
            ..Tls::default()
        };
        assert_eq!(post(full.clone(), &url).await, Ok(200));
        let other_name = post(Tls { server_name: None, ..full.clone() }, &url).await;
        assert!(other_name.as_ref().is_err_and(|e| e.contains("certificate")), "{other_name:?}");
        let unchecked = Tls { server_name: None, insecure_skip_verify: true, ..full.clone() };
        assert_eq!(post(unchecked, &url).await, Ok(200));
        let without = Tls { cert_file: None, key_file: None, ..full.clone() };
        assert!(post(without, &url).await.is_err());
        let nobody_known = Tls { ca_file: Some(lab.file("cert.pem")), ..full.clone() };
        assert!(post(nobody_known, &url).await.is_err());
        let missing = post(Tls { ca_file: Some(lab.file("none.pem")), ..full }, &url).await;
        assert!(missing.as_ref().is_err_and(|e| e.contains("tls.ca_file") && e.contains("none.pem")), "{missing:?}");
    }

    #[test]
    fn what_cannot_be_a_header_is_said_without_its_value() {
        let http = Http { headers: vec![("a".to_owned(), "se\ncret".to_owned())], ..Http::default() };
        let why = Client::new(&http, "http://h", &[], false).expect_err("refused");
        assert!(why.contains("\"a\"") && !why.contains("cret"), "{why}");
        assert!(!format!("{http:?}").contains("cret"));
    }
}
