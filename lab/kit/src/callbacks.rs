//! The test endpoint of the W3C's trace-context harness: `POST /api/trace-context` with
//! `[{"url": "http://127.0.0.1:7777/callback/…", "arguments": […]}, …]` sends each `arguments` on as the JSON body of a POST to
//! its `url`, with the context that a call of this service carries. Whoever receives the callbacks sees what the service made
//! of the `traceparent` and `tracestate` that it got.
//!
//! A service that calls addresses on request is a way into places that only it can reach. So it calls the named hosts only
//! (this machine's own, unless told otherwise) and refuses whatever comes from a page in a browser.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use opentelemetry::Context;
use opentelemetry_sdk::trace::SdkTracer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{json_body, refusal};
use crate::ask::Asker;
use crate::call::Caller;

/// Where a service takes the harness's requests.
pub const CALLBACK_PATH: &str = "/api/trace-context";
/// Callbacks of one request at most; the harness needs two.
const CALLBACKS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

/// The hosts that may be called back; a flag of every service.
#[derive(Debug, Clone, clap::Args)]
pub struct CallbackOptions {
    /// Hosts that POST /api/trace-context may call back, comma-separated; empty: none.
    #[arg(
        long = "callbacks",
        value_name = "HOSTS",
        env = "LAB_CALLBACKS",
        default_value = "127.0.0.1,localhost,[::1]",
        value_delimiter = ','
    )]
    hosts: Vec<String>,
}

struct Callbacks {
    caller: Caller,
    hosts: Vec<String>,
}

/// A router with the test endpoint. It expects the server span of the request as the current context.
pub fn callbacks(options: &CallbackOptions, tracer: SdkTracer) -> Router {
    let caller = Caller::new(Asker::new(PATIENCE), tracer);
    let callbacks = Callbacks { caller, hosts: options.hosts.clone() };
    Router::new().route(CALLBACK_PATH, post(answer)).with_state(Arc::new(callbacks))
}

#[derive(Deserialize)]
struct Callback {
    url: String,
    #[serde(default)]
    arguments: Value,
}

async fn answer(State(callbacks): State<Arc<Callbacks>>, request: Request) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "Callbacks are not made for pages in a browser");
    }
    let body = match json_body(request).await {
        Ok(body) => body,
        Err((status, reason)) => return refusal(status, reason),
    };
    let wanted = match serde_json::from_value::<Vec<Callback>>(body) {
        Ok(wanted) if wanted.len() <= CALLBACKS => wanted,
        Ok(_) => return refusal(StatusCode::BAD_REQUEST, format!("At most {CALLBACKS} callbacks")),
        Err(reason) => {
            let text = format!("Expected a list of objects with \"url\" and \"arguments\": {reason}");
            return refusal(StatusCode::BAD_REQUEST, text);
        }
    };
    for callback in &wanted {
        if let Err(reason) = callbacks.permits(&callback.url) {
            return refusal(StatusCode::FORBIDDEN, reason);
        }
    }
    let mut made = Vec::new();
    for callback in wanted {
        made.push(callbacks.make(callback).await);
    }
    Json(json!({ "callbacks": made })).into_response()
}

impl Callbacks {
    fn permits(&self, url: &str) -> Result<(), String> {
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http"));
        let host = uri.as_ref().and_then(Uri::host).ok_or_else(|| format!("{url:?} is not an http:// URL"))?;
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(format!("{host} may not be called back; --callbacks (LAB_CALLBACKS) names the hosts that may"))
    }

    async fn make(&self, callback: Callback) -> Value {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = callback.arguments.to_string().into();
        match self.caller.call(&Context::current(), Method::POST, &callback.url, headers, body).await {
            Ok(answer) => json!({"url": callback.url, "status": answer.status.as_u16()}),
            Err(error) => {
                tracing::warn!(url = callback.url, error = format!("{error:#}"), "Callback failed");
                json!({"url": callback.url, "error": format!("{error:#}")})
            }
        }
    }
}
