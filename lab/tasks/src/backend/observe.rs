//! What happens around every request: the server span, the two log lines, the metrics, and CORS, exactly once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::KeyValue;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};

use super::App;
use crate::{telemetry, trace_context};

/// Marks an answer to a path that a route matched by shape only (`/api/tasks/abc`): it counts as `unknown`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unrouted;

/// The middleware. A preflight never reaches a handler.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_name(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let parent = trace_context::extract(request.headers());
    let name = route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let span = telemetry::span(&app.tracer, &parent, SpanKind::Server, name, attributes(&request, method, route.as_deref()));
    let (trace_id, span_id) = telemetry::ids(&span);

    let answer = async {
        tracing::info!(method, path, trace_id, span_id, "Incoming request");
        let preflight = request.method() == Method::OPTIONS;
        let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
        allow_any_origin(response.headers_mut());
        let status = response.status();
        let seconds = started.elapsed().as_secs_f64();
        let routed = status != StatusCode::METHOD_NOT_ALLOWED && response.extensions().get::<Unrouted>().is_none();
        let endpoint = if routed { endpoint(route.as_deref(), method) } else { "unknown" };
        app.metrics.request(method, endpoint, status.as_u16(), seconds);
        tracing::info!(
            method,
            path,
            status_code = status.as_u16(),
            duration_seconds = seconds,
            trace_id,
            span_id,
            "Request completed"
        );
        response
    };
    let response = answer.with_context(span.clone()).await;
    let status = response.status();
    telemetry::set(&span, "http.response.status_code", i64::from(status.as_u16()));
    telemetry::set(&span, "http.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        telemetry::set(&span, "error.type", status.as_str().to_owned());
        span.span().set_status(Status::error(""));
    }
    telemetry::end(&span);
    response
}

/// Both generations of the HTTP conventions, as for the database.
fn attributes(request: &Request, method: &'static str, route: Option<&str>) -> Vec<KeyValue> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let uri = request.uri();
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.method", method),
        KeyValue::new("url.scheme", "http"),
        KeyValue::new("url.path", uri.path().to_owned()),
        KeyValue::new("http.target", uri.path_and_query().map_or_else(String::new, |target| target.to_string())),
    ];
    let optional = [
        ("url.query", uri.query().map(str::to_owned)),
        ("http.route", route.map(str::to_owned)),
        ("server.address", header(header::HOST)),
        ("user_agent.original", header(header::USER_AGENT)),
        ("app.operation", header(HeaderName::from_static("x-operation"))),
    ];
    attributes.extend(optional.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))));
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let client = header(HeaderName::from_static("x-real-ip")).unwrap_or_else(|| peer.ip().to_string());
        attributes.push(KeyValue::new("client.address", client));
        attributes.push(KeyValue::new("network.peer.address", peer.ip().to_string()));
    }
    attributes
}

fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
}

/// The method as a label: a client that invents methods must not invent series.
pub(crate) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

/// The seed's `endpoint` label: the name of the function that answers.
fn endpoint(route: Option<&str>, method: &str) -> &'static str {
    match (route, method) {
        (Some("/health"), _) => "health_check",
        (Some("/api/tasks"), "POST") => "create_task",
        (Some("/api/tasks"), _) => "get_tasks",
        (Some("/api/tasks/{id}"), "PUT") => "update_task",
        (Some("/api/tasks/{id}"), "DELETE") => "delete_task",
        (Some("/api/tasks/{id}"), _) => "get_task",
        (Some("/api/simulate-error"), _) => "simulate_error",
        (Some("/api/simulate-slow"), _) => "simulate_slow",
        (Some("/api/smoke/db"), _) => "smoke_db",
        (Some("/metrics"), _) => "metrics",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_methods_share_one_label() {
        assert_eq!(method_name(&Method::PUT), "PUT");
        assert_eq!(Method::from_bytes(b"BREW").ok().as_ref().map(method_name), Some("_OTHER"));
    }
}
