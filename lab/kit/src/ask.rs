//! A plain HTTP client for whoever asks: services, traffic, health, the live answers of the demo.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::delivery::describe;

const ANSWER_LIMIT: usize = 32 << 20;

/// A client with pooled connections; every request has a timeout that covers the whole answer.
#[derive(Debug, Clone)]
pub struct Asker {
    client: Client<HttpConnector, Full<Bytes>>,
    patience: Duration,
    credential: Option<HeaderValue>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Whatever it is.
    pub status: StatusCode,
    /// At most 32 MiB.
    pub body: Bytes,
}

impl Asker {
    /// `patience` is the time that a request may take until the last byte of its answer.
    pub fn new(patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(patience.min(Duration::from_secs(2))));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .build(connector);
        Self { client, patience, credential: None }
    }

    /// The same, showing this bearer token with every request. One that cannot be a header is left out.
    pub fn with_token(self, token: Option<&str>) -> Self {
        let credential = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { credential, ..self }
    }

    /// Sends one request. An error means that there was no answer; any status is an answer.
    pub async fn send(&self, method: Method, url: &str, headers: HeaderMap, body: Bytes) -> anyhow::Result<Answer> {
        let mut request = Request::builder().method(method).uri(url).body(Full::new(body))?;
        *request.headers_mut() = headers;
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(http::header::AUTHORIZATION, credential.clone());
        }
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| anyhow::anyhow!(describe(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok(Answer { status, body })
        };
        tokio::time::timeout(self.patience, exchange).await.with_context(|| format!("no answer within {:?}", self.patience))?
    }

    /// GETs JSON. Any status but 2xx is an error that quotes the answer.
    pub async fn json(&self, url: &str) -> anyhow::Result<Value> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.send(Method::GET, url, headers, Bytes::new()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(
            answer.status.is_success(),
            "HTTP {}: {}",
            answer.status.as_u16(),
            text.chars().take(300).collect::<String>().trim()
        );
        serde_json::from_str(&text).context("the answer is not JSON")
    }
}

/// `key=value&…` with everything but unreserved characters percent-encoded.
pub fn query_string(pairs: &[(&str, &str)]) -> String {
    let encoded: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", percent_encode(value))).collect();
    encoded.join("&")
}

pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query_string(&[("query", "{a=\"ü b\"}"), ("limit", "5")]), "query=%7Ba%3D%22%C3%BC%20b%22%7D&limit=5");
    }
}
