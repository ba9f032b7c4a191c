//! Tokens by OAuth 2.0's client credentials (RFC 6749, 4.4): one is asked for when there is none that lasts.

use std::fmt;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use prometheus::OAuth2;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::Mutex;

use super::client::{Client, causes, read};

/// A token is renewed so long before it ends.
const EARLY: Duration = Duration::from_secs(10);

/// Bytes that an answer may have.
const ANSWER: usize = 1 << 20;

/// The token of one client.
pub(super) struct Tokens {
    config: OAuth2,
    http: reqwest::Client,
    /// What stands in `Authorization`, and until when; without an end for ever.
    kept: Mutex<Option<(String, Option<Instant>)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("token_url", &self.config.token_url).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens as `config` wants them; nothing is asked yet.
    ///
    /// # Errors
    /// What keeps the client from being made.
    pub(super) fn new(config: &OAuth2) -> Result<Self, String> {
        let http = Client::new(&config.http, None).map_err(|e| format!("oauth2: {e}"))?.into_http();
        Ok(Self { config: config.clone(), http, kept: Mutex::new(None) })
    }

    /// What stands in `Authorization`.
    ///
    /// # Errors
    /// Why there is no token.
    pub(super) async fn authorization(&self) -> Result<String, String> {
        let mut kept = self.kept.lock().await;
        if let Some((text, until)) = &*kept
            && until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(text.clone());
        }
        // As Go does it: in the header, and where that is refused, in the form.
        let token = match self.ask(true).await? {
            Ok(token) => token,
            Err(_) => self.ask(false).await?.map_err(|status| format!("oauth2: cannot fetch token: {status}"))?,
        };
        let text = |name: &str| token.get(name).and_then(Value::as_str).unwrap_or_default();
        let access = text("access_token");
        if access.is_empty() {
            return Err("oauth2: server response missing access_token".to_owned());
        }
        let kind = match text("token_type") {
            kind if kind.is_empty() || kind.eq_ignore_ascii_case("bearer") => "Bearer",
            kind => kind,
        };
        let lasts = token.get("expires_in").and_then(|n| n.as_f64().or_else(|| n.as_str()?.parse().ok())).filter(|n| *n > 0.0);
        let lasts = lasts.and_then(|n| Duration::try_from_secs_f64(n).ok());
        let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts.saturating_sub(EARLY)));
        let authorization = format!("{kind} {access}");
        *kept = Some((authorization.clone(), until));
        Ok(authorization)
    }

    /// Asks for a token; the inner error is the server's refusal.
    async fn ask(&self, in_header: bool) -> Result<Result<Value, StatusCode>, String> {
        let OAuth2 { client_id, client_secret, token_url, scopes, endpoint_params, .. } = &self.config;
        let secret = client_secret.as_ref().map(read).transpose()?.unwrap_or_default();
        let secret = secret.trim();
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        if !scopes.is_empty() {
            form.push(("scope", scopes.join(" ")));
        }
        form.extend(endpoint_params.iter().map(|(n, v)| (n.as_str(), v.clone())));
        let mut request = self.http.post(token_url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if in_header {
            let pair = format!("{}:{}", encoded([("", client_id.as_str())])?, encoded([("", secret)])?);
            request = request.header(AUTHORIZATION, format!("Basic {}", BASE64_STANDARD.encode(pair)));
        } else {
            form.extend([("client_id", client_id.clone()), ("client_secret", secret.to_owned())]);
        }
        let body = encoded(form.iter().map(|(n, v)| (*n, v.as_str())))?;
        let mut response = request.body(body).send().await.map_err(|e| format!("oauth2: {}", causes(&e)))?;
        if !response.status().is_success() {
            return Ok(Err(response.status()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| format!("oauth2: {}", causes(&e)))? {
            if answer.len() + chunk.len() > ANSWER {
                return Err("oauth2: the answer is too large".to_owned());
            }
            answer.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&answer).map(Ok).map_err(|e| format!("oauth2: cannot parse json: {e}"))
    }
}

/// Pairs as a form has them; a pair without a name is its value.
fn encoded<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Result<String, String> {
    let mut url = Url::parse("form:").map_err(|e| e.to_string())?;
    url.query_pairs_mut().extend_pairs(pairs);
    Ok(url.query().unwrap_or_default().trim_start_matches('=').to_owned())
}

#[cfg(test)]
mod tests {
    use prometheus::{Credentials, HttpClient, Secret};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::client::Question;
    use super::*;

    #[tokio::test]
    async fn a_token_is_asked_for_once_and_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        // The server takes the secret in the form only.
        let server = tokio::spawn(async move {
            let mut heard = Vec::new();
            for _ in 0..4 {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut request = String::new();
                while !request.contains("\r\n\r\n") || request.starts_with("POST") && request.ends_with("\r\n\r\n") {
                    let mut part = vec![0; 4096];
                    let n = stream.read(&mut part).await.expect("a request");
                    request.push_str(&String::from_utf8_lossy(&part[..n]));
                }
                let (status, body) = match request.starts_with("POST") {
                    true if !request.contains("client_secret=") => ("401 Unauthorized", ""),
                    true => ("200 OK", r#"{"access_token": "abc", "token_type": "bearer", "expires_in": 3600}"#),
                    false => ("200 OK", "a 1\n"),
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.expect("sent");
                heard.push(request);
            }
            heard
        });
        let config = OAuth2 {
            client_id: "me&you".to_owned(),
            client_secret: Some(Secret::Text("s p".to_owned())),
            token_url: format!("{base}/token"),
            scopes: vec!["a".to_owned(), "b".to_owned()],
            endpoint_params: vec![("x".to_owned(), "y".to_owned())],
            http: HttpClient::default(),
        };
        let credentials = Credentials::OAuth2(Box::new(config));
        let client = Client::new(&HttpClient { credentials, ..HttpClient::default() }, None).expect("a client");
        let mut held = crate::Budget::new(1 << 20).hold();
        let (url, timeout) = (format!("{base}/metrics"), Duration::from_secs(20));
        for _ in 0..2 {
            let question = Question { url: &url, accept: "*/*", headers: &[], compressed: false, timeout, limit: 1 << 16 };
            client.get(question, &mut held).await.expect("an answer");
        }
        let heard = server.await.expect("four requests");
        let basic = format!("Basic {}", BASE64_STANDARD.encode("me%26you:s+p"));
        assert!(heard[0].contains(&basic), "{}", heard[0]);
        let form = "grant_type=client_credentials&scope=a+b&x=y&client_id=me%26you&client_secret=s+p";
        assert!(heard[1].ends_with(form), "{}", heard[1]);
        assert!(heard[2..].iter().all(|r| r.starts_with("GET /metrics") && r.contains("Bearer abc")), "{heard:?}");
    }
}
