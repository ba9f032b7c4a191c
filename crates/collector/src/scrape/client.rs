//! Asking a target.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::{Budget, ContentEncoding, inflate};

/// An HTTP client that keeps connections; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<HttpConnector, Empty<Bytes>>);

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
    }

    /// The exposition at `url`, inflated, at most `limit` bytes; the error says what `lastError` shows.
    pub(super) async fn get(&self, url: &str, timeout: Duration, limit: usize) -> Result<Vec<u8>, String> {
        let asking = self.ask(url, timeout, limit);
        match tokio::time::timeout(timeout, asking).await {
            Ok(result) => result,
            Err(_) => Err(format!("context deadline exceeded: no answer within {timeout:?}")),
        }
    }

    async fn ask(&self, url: &str, timeout: Duration, limit: usize) -> Result<Vec<u8>, String> {
        let request = Request::get(url)
            .header(ACCEPT, "text/plain;version=0.0.4;q=1,*/*;q=0.1")
            .header(ACCEPT_ENCODING, "gzip")
            .header(USER_AGENT, concat!("Braid/", env!("CARGO_PKG_VERSION")))
            .header("x-prometheus-scrape-timeout-seconds", timeout.as_secs_f64().to_string())
            .body(Empty::new())
            .map_err(|e| format!("{url}: {e}"))?;
        let response = self.0.request(request).await.map_err(|e| causes(&e))?;
        if response.status() != StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status()));
        }
        let encoding = ContentEncoding::parse(response.headers().get(CONTENT_ENCODING).map_or(b"", |v| v.as_bytes()))
            .map_err(|e| e.to_string())?;
        let body = Limited::new(response.into_body(), limit).collect().await.map_err(|e| e.to_string())?.to_bytes();
        match encoding {
            ContentEncoding::Identity => Ok(body.into()),
            other => inflate(other, &body, limit, &mut Budget::new(usize::MAX).hold()).map_err(|e| e.to_string()),
        }
    }
}

/// An error with what caused it: hyper's own words for a refused connection are `client error (Connect)`.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
