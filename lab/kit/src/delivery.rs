//! How telemetry leaves the process: OTLP over HTTP/1.1, with retries that are bounded in time and one warning per outage.
//!
//! The SDK's batch threads call [`Delivery::send_bytes`] outside any runtime, so the request itself runs as a task on the
//! runtime that the process has anyway. While the collector is away, the SDK's queues fill up to their bounds and then drop.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// A batch that could not be delivered within this time is lost (and counted).
const PATIENCE: Duration = Duration::from_secs(5);
/// One attempt; short enough that two fit into the time that a graceful stop may take.
const ATTEMPT: Duration = Duration::from_millis(2_000);
const LAST_ATTEMPT: Duration = Duration::from_millis(600);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const RESPONSE_LIMIT: usize = 1 << 20;

/// The HTTP client that all exporters of a process share.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
    stopping: watch::Receiver<bool>,
    lost: Arc<AtomicU64>,
}

impl Delivery {
    /// `stopping` turning true means: no more retries, the process is about to end.
    pub(crate) fn new(runtime: Handle, stopping: watch::Receiver<bool>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(500)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, runtime, stopping, lost: Arc::default() }
    }

    async fn deliver(self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let endpoint = request.uri().to_string();
        let outcome = self.attempts(request).await;
        match &outcome {
            Ok(_) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(target: "braid_lab::telemetry", endpoint, lost_batches = lost, "Telemetry is delivered again");
                }
            }
            Err(reason) => {
                // The first failure is news, the rest is only counted: a lab without a collector must stay readable.
                if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(target: "braid_lab::telemetry", endpoint, reason, "Telemetry is not delivered; work goes on, batches are dropped until it is");
                }
            }
        }
        outcome
    }

    async fn attempts(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let (parts, body) = request.into_parts();
        let mut stopping = self.stopping.clone();
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let last = *stopping.borrow();
            let request = Request::from_parts(parts.clone(), Full::new(body.clone()));
            let limit = if last { LAST_ATTEMPT } else { ATTEMPT };
            let (reason, wait) = match timeout(limit, self.attempt(request)).await {
                Ok(Ok(response)) if is_retryable(response.status()) => {
                    (format!("HTTP {}", response.status()), retry_after(&response).unwrap_or(pause))
                }
                Ok(Ok(response)) if response.status().is_success() => return Ok(response),
                Ok(Ok(response)) => {
                    let text = String::from_utf8_lossy(response.body()).chars().take(200).collect::<String>();
                    return Err(format!("HTTP {}: {text}", response.status()));
                }
                Ok(Err(reason)) => (reason, pause),
                Err(_) => (format!("no answer within {limit:?}"), pause),
            };
            if last || Instant::now() + wait > deadline {
                return Err(reason);
            }
            tokio::select! {
                () = sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let response = self.client.request(request).await.map_err(|error| describe(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_LIMIT).collect().await.map_err(|error| error.to_string())?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// What the OTLP specification calls retryable.
fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error with the chain of its causes; hyper's own text says only "client error (Connect)".
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl HttpClient for Delivery {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        let task = self.runtime.spawn(self.clone().deliver(request));
        Box::pin(async move { task.await?.map_err(HttpError::from) })
    }
}
