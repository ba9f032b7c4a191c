//! The endpoints: `/health`, `/api/test`, `/metrics`, and the trace-context harness's.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, Method};
use kit::{
    Answer, Asker, CALLBACK_PATH, CONTENT_TYPE, CallbackOptions, Caller, Observer, callbacks, observe, refusal, telemetry,
};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::{Map, Value, json};

use crate::metrics::Metrics;
use crate::path::Path;
use crate::{Options, Service, keys};

/// The time that the last service of a path may take; one that has others behind it may take as much more for each.
const PATIENCE: Duration = Duration::from_secs(2);

/// What every handler needs.
#[derive(Debug)]
pub(crate) struct App {
    service: Service,
    /// Where the other two are, in the order of the calls.
    neighbours: [(Service, String); 2],
    /// The first waits for one service, the second for one that asks another.
    callers: [Caller; 2],
    tracer: SdkTracer,
    metrics: Metrics,
}

impl App {
    pub(crate) fn new(service: Service, options: &Options, tracer: SdkTracer) -> Self {
        Self {
            service,
            neighbours: service.others().map(|other| (other, options.url(other))),
            callers: [PATIENCE, 2 * PATIENCE].map(|patience| Caller::new(Asker::new(patience), tracer.clone())),
            tracer,
            metrics: Metrics::new(),
        }
    }
}

/// All routes of a service. `/health` and `/metrics` make no spans: they are asked every few seconds, by machines.
pub(crate) fn routes(app: Arc<App>, options: &CallbackOptions, tracer: SdkTracer) -> Router {
    let observer = Observer { tracer: tracer.clone(), requests: app.metrics.requests.clone(), context: keys::context, endpoint };
    Router::new()
        .route("/api/test", get(test))
        .with_state(app.clone())
        .merge(callbacks(options, tracer))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "Not found"))
        .method_not_allowed_fallback(async || refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"))
        .layer(middleware::from_fn_with_state(Arc::new(observer), observe))
        .merge(Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(app))
}

fn endpoint(route: Option<&str>, _method: &str) -> &'static str {
    match route {
        Some("/api/test") => "test",
        Some(CALLBACK_PATH) => "trace_context",
        _ => "unknown",
    }
}

async fn health(State(app): State<Arc<App>>) -> Response {
    Json(json!({"status": "healthy", "service": app.service.name()})).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.render()).into_response()
}

/// Tests a circuit: says what this service sees of it and lets those look that have not yet.
async fn test(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(reason) = keys::check(&parts) {
        tracing::warn!("Circuit test refused: {reason}");
        return refusal(StatusCode::BAD_REQUEST, reason.to_string());
    }
    let path = Path::read(&parts.headers);
    let span = telemetry::span(&app.tracer, &Context::current(), SpanKind::Internal, "test_circuit", []);
    let answer = app.look(&span, path).with_context(span.clone()).await;
    telemetry::end(&span);
    Json(answer).into_response()
}

impl App {
    /// The answer of one service, with its neighbours' in it.
    async fn look(&self, span: &Context, mut path: Path) -> Value {
        let mut answers = Vec::new();
        let mut whole = true;
        // A service that finds itself on the path already is wired in a ring: it answers, and calls nobody.
        if path.visit(self.service) {
            for (neighbour, url) in &self.neighbours {
                if path.has(*neighbour) {
                    continue;
                }
                let outcome = self.ask(span, *neighbour, url, &path).await;
                self.metrics.called(neighbour.name(), outcome.is_ok());
                match outcome {
                    Ok(answer) => {
                        whole &= answer.get("status").and_then(Value::as_str) == Some("ok");
                        let visited = answer.get("path").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                        for service in visited.iter().filter_map(|name| Service::named(name.as_str()?)) {
                            path.visit(service);
                        }
                        answers.push(answer);
                    }
                    Err(error) => {
                        whole = false;
                        let reason = format!("{error:#}");
                        tracing::warn!(neighbour = neighbour.name(), error = reason, "Neighbour gave no answer");
                        span.span().set_status(Status::error(format!("{} gave no answer", neighbour.name())));
                        answers.push(json!({"service": neighbour.name(), "status": "unreachable", "error": reason}));
                    }
                }
            }
        }
        let names = path.names();
        tracing::info!(visited = names.join(","), complete = whole, "Circuit tested");
        let mut answer = Map::new();
        answer.insert("service".into(), self.service.name().into());
        answer.insert("status".into(), if whole { "ok" } else { "degraded" }.into());
        answer.insert("trace_id".into(), telemetry::ids(span).0.into());
        answer.extend(keys::current().into_iter().map(|(key, value)| (key.to_owned(), value.as_str().into())));
        answer.insert("path".into(), names.into());
        answer.insert("neighbours".into(), answers.into());
        answer.into()
    }

    async fn ask(&self, span: &Context, neighbour: Service, url: &str, path: &Path) -> anyhow::Result<Value> {
        let mut headers = HeaderMap::new();
        path.write(&mut headers);
        headers.insert(header::USER_AGENT, header::HeaderValue::from_static("braid-lab-sense"));
        let behind = neighbour.others().into_iter().any(|other| !path.has(other));
        let caller = &self.callers[usize::from(behind)];
        // The keys travel in the baggage.
        let answer = caller.call(span, Method::GET, &format!("{url}/api/test"), headers, Bytes::new()).await?;
        let Answer { status, body } = answer;
        anyhow::ensure!(status.is_success(), "HTTP {}", status.as_u16());
        Ok(serde_json::from_slice(&body)?)
    }
}
