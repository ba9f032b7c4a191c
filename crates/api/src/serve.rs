//! Routes: a path, a handler, and what all of them share (parameters, shapes of failure, compression, metrics).

use std::future::Future;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use collector::grpc;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::face::PARTIAL;
use crate::{Api, Asked, Face, admin, compare, correlation, cors, dashboards, graph, loki, prometheus, tempo};

/// Answers shorter than this are not worth compressing, bytes.
const COMPRESS_FROM: usize = 1024;

/// A route under construction.
pub(crate) struct Routes {
    pub(crate) api: Arc<Api>,
    face: Face,
    router: Router,
}

impl Routes {
    fn new(api: &Arc<Api>, face: Face) -> Self {
        Self { api: api.clone(), face, router: Router::new() }
    }

    /// `path` answers `methods` with what `handler` makes of the request itself.
    pub(crate) fn raw<F, Fut>(mut self, path: &'static str, methods: MethodFilter, handler: F) -> Self
    where
        F: Fn(Arc<Api>, Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let (api, face) = (self.api.clone(), self.face);
        let serve = move |request: Request| {
            let (api, handler) = (api.clone(), handler.clone());
            async move {
                let began = Instant::now();
                let response = handler(api.clone(), request).await;
                api.metrics.record(face, path, response.status().as_u16(), began.elapsed(), 0, 0);
                response
            }
        };
        self.router = self.router.route(path, on(methods, serve));
        self
    }

    /// `path` answers GET, HEAD and form-encoded POST with what `handler` returns.
    pub(crate) fn route<F, Fut>(self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Arc<Api>, Ask) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        self.on(MethodFilter::GET.or(MethodFilter::POST), path, handler)
    }

    /// `path` answers GET and HEAD with what `handler` returns.
    pub(crate) fn get<F, Fut>(self, path: &'static str, handler: F) -> Self
    where
        F: Fn(Arc<Api>, Ask) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        self.on(MethodFilter::GET, path, handler)
    }

    /// `path` answers these methods with what `handler` returns.
    pub(crate) fn on<F, Fut>(mut self, methods: MethodFilter, path: &'static str, handler: F) -> Self
    where
        F: Fn(Arc<Api>, Ask) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        let (api, face) = (self.api.clone(), self.face);
        let serve = move |request: Request| {
            let (api, handler) = (api.clone(), handler.clone());
            async move {
                let began = Instant::now();
                let gzip = accepts_gzip(request.headers());
                let mut asked = None;
                let result = match Ask::read(request).await {
                    Ok(ask) => {
                        asked = Some((ask.header("x-scope-orgid").to_owned(), ask.words()));
                        within_limits(&api, path, handler.clone(), ask).await
                    }
                    Err(failure) => Err(failure),
                };
                let (rows, bytes) = result.as_ref().map_or((0, 0), |a| (a.rows, a.body.len()));
                let response = match result {
                    Ok(answer) => {
                        respond(Answer { content_type: content_type(face, path, answer.content_type), ..answer }, gzip).await
                    }
                    Err(failure) => {
                        api.metrics.failed(face, &failure);
                        if is_plain(path) { face.fail_plainly(failure) } else { face.fail(failure) }
                    }
                };
                let took = began.elapsed();
                if let (Some(observer), Some((tenant, query))) = (&api.observer, &asked) {
                    let (api, code) = (face.as_str(), response.status().as_u16());
                    observer(&Asked { api, path, tenant, query, code, took, rows, bytes });
                }
                if let Some((tenant, words)) = asked.filter(|_| !api.settings.slow.is_zero() && took >= api.settings.slow) {
                    api.metrics.slow();
                    let (code, seconds) = (response.status().as_u16(), took.as_secs_f64());
                    tracing::warn!(target: "braid::slow_query", api = face.as_str(), path, tenant, query = words, code, seconds, rows, bytes, "slow query");
                }
                api.metrics.record(face, path, response.status().as_u16(), began.elapsed(), rows, bytes);
                response
            }
        };
        let method: MethodRouter = on(methods, serve);
        self.router = self.router.route(path, method);
        self
    }
}

/// Runs a handler in one of the tenant's places, for as long as the tenant's queries may take.
async fn within_limits<F, Fut>(api: &Arc<Api>, path: &str, handler: F, ask: Ask) -> Result<Answer, Failure>
where
    F: Fn(Arc<Api>, Ask) -> Fut,
    Fut: Future<Output = Result<Answer, Failure>>,
{
    // What asks the process, not the data.
    if path.starts_with("/-/") || path.ends_with("/buildinfo") || path == "/api/echo" {
        return handler(api.clone(), ask).await;
    }
    let tenant = ask.tenant()?;
    let (places, longest) = api.allowed(&tenant);
    let run = async {
        let _place = api.queues.enter(&tenant, places).await?;
        handler(api.clone(), ask).await
    };
    // A handler that is dropped stops its query.
    tokio::time::timeout(longest, run).await.unwrap_or(Err(Failure::Timeout))
}

/// Loki says in which characters its answers are, but for that of a path that it has from elsewhere.
fn content_type(face: Face, path: &str, of_answer: &'static str) -> &'static str {
    match of_answer {
        "application/json" if face == Face::Loki && !path.ends_with("/buildinfo") => "application/json; charset=UTF-8",
        other => other,
    }
}

/// Whether Prometheus answers in plain text there, its errors too.
fn is_plain(path: &str) -> bool {
    path == "/federate" || path.starts_with("/-/")
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    accepted.flat_map(|v| v.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(|p| matches!(p, "q=0" | "q=0.0"))
    })
}

async fn respond(answer: Answer, gzip: bool) -> Response {
    let Answer { status, content_type, body, partial, .. } = answer;
    let mut headers = HeaderMap::new();
    if status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(why) = partial.as_deref().and_then(|why| HeaderValue::from_str(why).ok()) {
        headers.insert(PARTIAL, why);
    }
    if !gzip || body.len() < COMPRESS_FROM {
        return (status, headers, Body::from(body)).into_response();
    }
    let compress = move || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&body).and_then(|()| encoder.finish())
    };
    match tokio::task::spawn_blocking(compress).await {
        Ok(Ok(compressed)) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            (status, headers, compressed).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `/api/v1/…`, `/-/healthy`, `/-/ready`.
pub fn prometheus_router(api: &Arc<Api>) -> Router {
    let router = prometheus::routes(Routes::new(api, Face::Prometheus)).router.merge(prometheus::read::route(api));
    router.layer(axum::middleware::map_response(say_method_not_allowed))
}

/// A path that does not take the method says so, as in Go's router.
async fn say_method_not_allowed(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let mut said = plain_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    said.headers_mut().extend(response.headers().get(header::ALLOW).map(|allowed| (header::ALLOW, allowed.clone())));
    said
}

/// As `http.Error` of Go answers.
fn plain_error(status: StatusCode, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, text).into_response()
}

/// `/loki/api/v1/…`, `/api/prom/…`, `/prometheus/api/v1/…`.
pub fn loki_router(api: &Arc<Api>) -> Router {
    loki::routes(Routes::new(api, Face::Loki)).router
}

/// `/api/traces/…`, `/api/search…`, `/api/v2/…`, `/api/echo`, `/api/status/buildinfo`, `/api/overrides`, and
/// `tempopb.StreamingQuerier`.
pub fn tempo_router(api: &Arc<Api>) -> Router {
    tempo::routes(Routes::new(api, Face::Tempo)).router.merge(tempo::streaming(api)).merge(tempo::overrides())
}

/// `/api/graph`, Braid's own.
pub fn graph_router(api: &Arc<Api>) -> Router {
    graph::routes(Routes::new(api, Face::Tempo)).router
}

/// `/api/correlations`, `/api/correlate`, `/api/entities`, `/api/logs`, `/api/traces/{id}/logs`.
pub fn correlation_router(api: &Arc<Api>) -> Router {
    correlation::routes(Routes::new(api, Face::Correlation)).router
}

/// What answers on correlation's own port.
pub fn correlation_port(api: &Arc<Api>) -> Router {
    own_port(correlation_router(api).merge(ready(api)), Face::Correlation)
}

/// Braid's own: `/api/compare`, `/api/dashboards`.
fn braid_router(api: &Arc<Api>) -> Router {
    dashboards::routes(Routes::new(api, Face::Tempo).route("/api/compare", compare::compare)).router
}

/// What answers on Prometheus' own port.
pub fn prometheus_port(api: &Arc<Api>) -> Router {
    cors::layer(own_port(prometheus_router(api), Face::Prometheus), &api.settings.cors_origin)
}

/// What answers on Loki's own port.
pub fn loki_port(api: &Arc<Api>) -> Router {
    let own = loki::own_routes(Routes::new(api, Face::Loki)).router;
    own_port(loki_router(api).merge(own).merge(ready(api)), Face::Loki)
}

/// What answers on Tempo's own port.
pub fn tempo_port(api: &Arc<Api>) -> Router {
    own_port(tempo_router(api).merge(ready(api)).merge(tempo::pages(api)), Face::Tempo)
}

/// All of them below one root; `/ready` and the like stay free. Unknown paths below an API are a 404 in its shape, all
/// others a plain one.
pub fn every_port(api: &Arc<Api>) -> Router {
    let own = braid_router(api).merge(graph_router(api)).merge(correlation_router(api));
    let own = own.merge(admin::routes(Routes::new(api, Face::Tempo)).router);
    let router = prometheus_router(api).merge(loki_router(api)).merge(tempo_router(api)).merge(own);
    let router = router.fallback(|request: Request| async move { not_found(Face::of_path(request.uri().path()), &request) });
    cors::layer(router, &api.settings.cors_origin)
}

fn own_port(router: Router, face: Face) -> Router {
    router.fallback(move |request: Request| async move { not_found(Some(face), &request) })
}

/// Clients of gRPC are told in their own words: what they make of a 404 with a text depends on which of its frames comes first.
fn not_found(face: Option<Face>, request: &Request) -> Response {
    if grpc::is_grpc(request.headers()) {
        return grpc::unimplemented(request.uri().path()).into_response();
    }
    match face {
        Some(Face::Prometheus) => plain_error(StatusCode::NOT_FOUND, "404 page not found\n"),
        other => other.unwrap_or(Face::Tempo).fail(Failure::NotFound("404 page not found".to_owned())),
    }
}

/// `/ready` as Loki and Tempo have it.
fn ready(api: &Arc<Api>) -> Router {
    let api = api.clone();
    let answer = move || {
        let ready = api.is_ready();
        async move { if ready { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n") } }
    };
    Router::new().route("/ready", get(answer))
}
