//! Tempo's pages about itself, on its own port, and its overrides.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::COMPATIBLE;
use crate::Api;

/// The pages, as plain text.
const PAGES: [&str; 8] = [
    "/status",
    "/status/version",
    "/status/services",
    "/status/endpoints",
    "/status/config",
    "/status/runtime_config",
    "/status/overrides",
    "/status/usage-stats",
];

/// `/status` and what is below it.
pub(crate) fn pages(api: &Arc<Api>) -> Router {
    PAGES.into_iter().fold(Router::new(), |router, path| {
        let api = api.clone();
        let serve = move || {
            let api = api.clone();
            async move { page(&api, path) }
        };
        router.route(path, get(serve))
    })
}

fn page(api: &Api, path: &str) -> String {
    let mut out = String::new();
    for part in PAGES.into_iter().skip(1).filter(|p| path == "/status" || *p == path) {
        if path == "/status" {
            let _ = writeln!(out, "GET {part}");
        }
        match part {
            "/status/version" => {
                let _ = writeln!(out, "tempo, version {COMPATIBLE} (braid {})", env!("CARGO_PKG_VERSION"));
            }
            "/status/services" => {
                let state = if api.is_ready() { "Running" } else { "Starting" };
                let _ = writeln!(
                    out,
                    "SERVICE           STATUS\nquery-frontend    {state}\nquerier           {state}\ningester          {state}"
                );
            }
            "/status/endpoints" => super::PATHS.iter().for_each(|path| {
                let _ = writeln!(out, "{path}");
            }),
            "/status/config" => {
                let s = &api.settings;
                let _ = writeln!(
                    out,
                    "target: all\nquery_frontend:\n  timeout: {:?}\n  max_concurrent_queries: {}\n  max_spans_per_trace: {}",
                    s.timeout, s.concurrency, s.max_trace_spans
                );
            }
            // Nothing is overridden at run time, and nothing is reported to anybody.
            "/status/usage-stats" => out.push_str("usage-stats are disabled\n"),
            _ => out.push_str("{}\n"),
        }
    }
    out
}

/// `/api/overrides`: none are set by users; what holds for every tenant stands in the configuration.
pub(crate) fn overrides() -> Router {
    let refuse = || async {
        let text = "overrides are set in Braid's configuration, under `metrics_generator`\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], text)
    };
    Router::new().route("/api/overrides", get(read).post(refuse).patch(refuse).delete(refuse))
}

async fn read() -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ETAG, HeaderValue::from_static("\"0\""));
    (
        headers,
        r#"{"forwarders":[],"cost_attribution":{},"metrics_generator":{"processor":{"service_graphs":{},"span_metrics":{}}}}"#,
    )
        .into_response()
}
