//! What the four services have in common: spans of their work, `/health` and `/metrics` beside the observed routes.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use kit::{CALLBACK_PATH, CONTENT_TYPE, CallbackOptions, Observer, Random, observe, refusal, telemetry};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::{Value, json};

use crate::Service;
use crate::metrics::Requests;

/// Writes metrics of a service's own.
type Render = Arc<dyn Fn(&mut String) + Send + Sync>;

/// What a service has, whatever it sells.
#[derive(Clone)]
pub(crate) struct Common {
    service: Service,
    pub(crate) tracer: SdkTracer,
    pub(crate) requests: Arc<Requests>,
    random: Arc<Mutex<Random>>,
    /// Metrics beside those of the requests.
    own: Arc<Mutex<Vec<Render>>>,
}

impl Common {
    pub(crate) fn new(service: Service, tracer: SdkTracer) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 ^ u64::from(std::process::id());
        Self {
            service,
            tracer,
            requests: Arc::new(Requests::new()),
            random: Arc::new(Mutex::new(Random::new(seed))),
            own: Arc::default(),
        }
    }

    /// Adds metrics to `/metrics`.
    pub(crate) fn show(&self, render: impl Fn(&mut String) + Send + Sync + 'static) {
        lock(&self.own).push(Arc::new(render));
    }

    /// A random number in `from..to`.
    pub(crate) fn between(&self, from: f64, to: f64) -> f64 {
        from + lock(&self.random).unit() * (to - from)
    }

    /// True in that share of all cases.
    pub(crate) fn happens(&self, share: f64) -> bool {
        lock(&self.random).unit() < share
    }

    /// Waits for a random number of milliseconds.
    pub(crate) async fn wait(&self, from: f64, to: f64) {
        tokio::time::sleep(Duration::from_secs_f64(self.between(from, to) / 1e3)).await;
    }

    /// Runs work inside a span of its own, below the current one.
    pub(crate) async fn traced<T, F: Future<Output = T>>(&self, name: &'static str, work: impl FnOnce(Context) -> F) -> T {
        let span = telemetry::span(&self.tracer, &Context::current(), SpanKind::Internal, name, []);
        let answer = work(span.clone()).with_context(span.clone()).await;
        telemetry::end(&span);
        answer
    }

    /// The routes and the test endpoint of the trace context, observed, with `/health` and `/metrics`, which make no spans:
    /// machines ask them every few seconds.
    pub(crate) fn observed(&self, routes: Router, options: &CallbackOptions) -> Router {
        let observer = Observer {
            tracer: self.tracer.clone(),
            requests: self.requests.clone(),
            context: |request| kit::extract(request.headers()),
            endpoint,
        };
        let named = if self.service == Service::Transactions { "flask_api" } else { self.service.part() };
        let health = async move || Json(json!({"status": "healthy", "service": named}));
        let health = Router::new().route("/health", get(health));
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(self.clone());
        routes
            .merge(kit::callbacks(options, self.tracer.clone()))
            .fallback(async || refusal(StatusCode::NOT_FOUND, "Not found"))
            .method_not_allowed_fallback(async || refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
            .layer(middleware::from_fn_with_state(self.requests.clone(), weigh))
            .layer(middleware::from_fn_with_state(Arc::new(observer), observe))
            .merge(health)
            .merge(metrics)
    }
}

/// Counts the bytes of bodies, as far as their length is known before they are sent.
async fn weigh(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let received = request.body().size_hint().exact().unwrap_or(0);
    let response = next.run(request).await;
    requests.weigh(received, response.body().size_hint().exact().unwrap_or(0));
    response
}

/// The `path` label: the route, never what somebody typed.
fn endpoint(route: Option<&str>, _method: &str) -> &'static str {
    const ROUTES: [&str; 14] = [
        CALLBACK_PATH,
        "/transactions",
        "/transactions/create",
        "/cache/stats",
        "/cache/clear",
        "/error",
        "/register",
        "/login",
        "/verify",
        "/stats",
        "/charge",
        "/payment/{id}",
        "/products",
        "/product/{id}",
    ];
    match route {
        Some("/product/{id}/reserve") => "/product/{id}/reserve",
        Some(route) => ROUTES.into_iter().find(|known| *known == route).unwrap_or("unknown"),
        None => "unknown",
    }
}

async fn metrics(State(common): State<Common>) -> Response {
    let mut text = String::new();
    common.requests.render(&mut text);
    for render in lock(&common.own).iter() {
        render(&mut text);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

/// Gives the span the status ERROR, says it in the log, and answers.
pub(crate) fn failed(span: &Context, status: StatusCode, reason: &str, more: Value) -> Response {
    span.span().set_status(Status::error(reason.to_owned()));
    telemetry::set(span, "error", true);
    tracing::error!(status_code = status.as_u16(), "{reason}");
    let mut body = json!({"error": reason});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    (status, Json(body)).into_response()
}

/// A random name that nobody guesses: 128 bits, hexadecimal.
pub(crate) fn token() -> String {
    use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
    RandomIdGenerator::default().new_trace_id().to_string()
}

/// What a request shows as `Authorization: Bearer`.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ")?.trim().to_owned()).filter(|token| !token.is_empty())
}

/// A panic in a holder leaves at worst a half-counted number behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
