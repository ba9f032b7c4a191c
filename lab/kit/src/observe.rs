//! What every request to a service leaves behind: a server span, two log lines, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use crate::requests::CountRequests;
use crate::telemetry;

/// Marks an answer to a path that a route matched by shape only (`/api/tasks/abc`): it counts as `unknown`.
#[derive(Debug, Clone, Copy)]
pub struct Unrouted;

/// How a service's requests are observed.
#[derive(Debug)]
pub struct Observer {
    /// Makes the server spans.
    pub tracer: SdkTracer,
    /// Counts the requests.
    pub requests: Arc<dyn CountRequests>,
    /// The context in which the server span starts; [`crate::extract`], or more than that.
    pub context: fn(&Request) -> Context,
    /// The `endpoint` label for a route and a method; `unknown` where no route matched.
    pub endpoint: fn(Option<&str>, &str) -> &'static str,
}

/// The middleware; the handlers run with the server span as the current context.
pub async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_name(request.method());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let parent = (observer.context)(&request);
    let name = route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let mut attributes = attributes(&request, method, route.as_deref());
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let client = text(&request, HeaderName::from_static("x-real-ip")).unwrap_or_else(|| peer.ip().to_string());
        attributes.push(KeyValue::new("client.address", client));
        attributes.push(KeyValue::new("network.peer.address", peer.ip().to_string()));
    }
    let span = telemetry::span(&observer.tracer, &parent, SpanKind::Server, name, attributes);
    let (trace_id, span_id) = telemetry::ids(&span);

    let answer = async {
        tracing::info!(method, path, trace_id, span_id, "Incoming request");
        let response = next.run(request).await;
        let status = response.status();
        let seconds = started.elapsed().as_secs_f64();
        let routed = status != StatusCode::METHOD_NOT_ALLOWED && response.extensions().get::<Unrouted>().is_none();
        let endpoint = if routed { (observer.endpoint)(route.as_deref(), method) } else { "unknown" };
        observer.requests.count(method, endpoint, status.as_u16(), seconds);
        let status_code = status.as_u16();
        tracing::info!(method, path, status_code, duration_seconds = seconds, trace_id, span_id, "Request completed");
        response
    };
    let response = answer.with_context(span.clone()).await;
    finish(&span, response.status());
    response
}

/// Status attributes, ERROR for what the server's side got wrong, and the end of the span.
pub fn finish(span: &Context, status: StatusCode) {
    telemetry::set_status_code(span, status);
    if status.is_server_error() {
        telemetry::set(span, "error.type", status.as_str().to_owned());
        span.span().set_status(Status::error(""));
    }
    telemetry::end(span);
}

/// The attributes of a server span, in both generations of the HTTP conventions; without the client's address.
pub fn attributes(request: &Request, method: &'static str, route: Option<&str>) -> Vec<KeyValue> {
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
        ("server.address", text(request, header::HOST)),
        ("user_agent.original", text(request, header::USER_AGENT)),
        ("app.operation", text(request, HeaderName::from_static("x-operation"))),
    ];
    attributes.extend(optional.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))));
    attributes
}

fn text(request: &Request, name: HeaderName) -> Option<String> {
    request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The method as a label: a client that invents methods must not invent series.
pub fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
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
