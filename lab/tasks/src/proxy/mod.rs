//! The page's server: static files, and `/api/` passed on to the backend, as the seed's nginx did, on port 8081 by default.

mod forward;
mod metrics;
mod page;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http::uri::Authority;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use kit::{
    CONTENT_TYPE, Stop, Telemetry, allow_any_origin, attributes, describe, finish, inject, method_name, refusal, serve, telemetry,
};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::json;

use self::metrics::Metrics;
use self::upstream::Upstream;

const SERVICE: &str = "tasks-proxy";

/// Flags of `braid-lab proxy`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "LAB_PROXY_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on.
    #[arg(long, env = "LAB_PROXY_PORT", default_value_t = crate::PROXY_PORT)]
    port: u16,
    /// The backend as host:port; the name is resolved again every 30 s and after a failure to connect.
    #[arg(long, env = "LAB_BACKEND", default_value_t = Authority::from_static("localhost:5000"))]
    backend: Authority,
}

struct Proxy<C> {
    client: Client<C, Body>,
    upstream: Arc<Upstream>,
    metrics: Arc<Metrics>,
    tracer: SdkTracer,
}

/// Runs the proxy until `stop`, with its telemetry going to `otlp`.
pub async fn run(options: Options, otlp: &str, stop: Stop) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(SERVICE, otlp, &[])?;
    let metrics = Arc::new(Metrics::new());
    let upstream = Upstream::new(options.backend, metrics.clone());
    let client = upstream.client();
    let resolving = upstream.clone();
    let resolver = tokio::spawn(async move { resolving.keep_resolving().await });
    let proxy = Arc::new(Proxy { client, upstream, metrics: metrics.clone(), tracer: telemetry.tracer() });
    let routes = Router::new()
        .route("/health", get(async || Json(json!({"status": "healthy", "service": "proxy"}))))
        // Neither of these two makes spans: they are asked every few seconds, by machines.
        .route("/metrics", get(async move || ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.render())))
        .route("/api", any(answer))
        .fallback(answer)
        .with_state(proxy);
    let served = serve(SocketAddr::new(options.host, options.port), routes, stop).await;
    resolver.abort();
    telemetry.stop().await;
    served
}

/// Everything but `/health` and `/metrics`: a server span around either the page or the way to the backend.
async fn answer<C>(State(proxy): State<Arc<Proxy<C>>>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    let method = method_name(request.method());
    let path = request.uri().path().to_owned();
    let location = if path == "/api" || path.starts_with("/api/") { "/api/" } else { "/" };
    let parent = kit::extract(request.headers());
    let name = format!("{method} {location}");
    let mut attributes = attributes(&request, method, Some(location));
    attributes.push(KeyValue::new("client.address", peer.ip().to_string()));
    let span = telemetry::span(&proxy.tracer, &parent, SpanKind::Server, name, attributes);

    let work = async {
        let response = match (location, request.method()) {
            ("/api/", &Method::OPTIONS) => StatusCode::NO_CONTENT.into_response(),
            ("/api/", _) => proxy.forward(&span, peer.ip(), request).await,
            (_, &Method::GET | &Method::HEAD) => page::serve(&path, request.headers()),
            _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response(),
        };
        let status_code = response.status().as_u16();
        let duration_seconds = started.elapsed().as_secs_f64();
        proxy.metrics.request(method, location, status_code, duration_seconds);
        tracing::info!(method, path, status_code, duration_seconds, "Request completed");
        response
    };
    let mut response = work.with_context(span.clone()).await;
    if location == "/api/" {
        allow_any_origin(response.headers_mut());
    }
    finish(&span, response.status());
    response
}

impl<C: Connect + Clone + Send + Sync + 'static> Proxy<C> {
    /// Passes a request on, inside a client span whose context the backend receives.
    async fn forward(&self, parent: &Context, client: IpAddr, request: Request) -> Response {
        if forward::announces_too_much(request.headers()) {
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large");
        }
        let (mut parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let upstream = self.upstream.name();
        let uri = match Uri::builder().scheme("http").authority(upstream.clone()).path_and_query(target).build() {
            Ok(uri) => uri,
            Err(error) => return refusal(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let method = method_name(&parts.method);
        let attributes = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.method", method),
            KeyValue::new("url.full", uri.to_string()),
            KeyValue::new("http.url", uri.to_string()),
            KeyValue::new("server.address", upstream.host().to_owned()),
            KeyValue::new("server.port", i64::from(upstream.port_u16().unwrap_or(80))),
        ];
        let span = telemetry::span(&self.tracer, parent, SpanKind::Client, method, attributes);
        parts.uri = uri;
        parts.version = axum::http::Version::HTTP_11;
        forward::strip_hop_by_hop(&mut parts.headers);
        forward::add_forwarded(&mut parts.headers, client);
        inject(&span, &mut parts.headers);

        let sent = self.client.request(Request::from_parts(parts, forward::limited(body)));
        let response = match tokio::time::timeout(forward::READ_TIMEOUT, sent).await {
            Ok(Ok(response)) => {
                let (mut parts, body) = response.into_parts();
                forward::strip_hop_by_hop(&mut parts.headers);
                Response::from_parts(parts, Body::new(forward::Impatient::new(body, forward::READ_TIMEOUT)))
            }
            Ok(Err(error)) => {
                let text = describe(&error);
                telemetry::fail(&span, "UpstreamError", &error);
                tracing::error!(upstream = %upstream, error = text, "Upstream request failed");
                if text.contains("length limit exceeded") {
                    refusal(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large")
                } else if text.contains("no connection within") {
                    refusal(StatusCode::GATEWAY_TIMEOUT, "The backend cannot be reached in time")
                } else {
                    refusal(StatusCode::BAD_GATEWAY, "The backend cannot be reached")
                }
            }
            Err(_) => {
                span.span().set_status(Status::error("no answer within 60 s"));
                tracing::error!(upstream = %upstream, "Upstream gave no answer within 60 s");
                refusal(StatusCode::GATEWAY_TIMEOUT, "The backend did not answer in time")
            }
        };
        finish(&span, response.status());
        response
    }
}
