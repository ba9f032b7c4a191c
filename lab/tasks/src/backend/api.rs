//! The endpoints. Each one works inside its named span; what it answers is the seed's, with the seed's defects put right:
//! a body that is not JSON is the client's error (400 or 415), and so is a delay that is not a number.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use jiff::Timestamp;
use kit::{CALLBACK_PATH, CONTENT_TYPE, CallbackOptions, Observer, Unrouted, allow_any_origin, json_body, refusal, telemetry};
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::database::{Error, Session};
use super::tasks::{self, Refusal, Wish};

/// The proxy gives up after 60 s, so a longer delay could only end in an error.
const DELAY_LIMIT: f64 = 60.0;
const SMOKE_LIMIT: u32 = 10_000;

/// All routes of the backend with their observation and CORS.
pub(super) fn routes(app: Arc<App>, options: &CallbackOptions) -> Router {
    let observer = Observer {
        tracer: app.tracer.clone(),
        requests: app.metrics.requests.clone(),
        context: |request| kit::extract(request.headers()),
        endpoint,
    };
    let callbacks = kit::callbacks(options, app.tracer.clone());
    Router::new()
        .route("/health", get(health_check))
        .route("/api/tasks", get(get_tasks).post(create_task))
        .route("/api/tasks/{id}", get(get_task).put(update_task).delete(delete_task))
        .route("/api/simulate-error", get(simulate_error))
        .route("/api/simulate-slow", get(simulate_slow))
        .route("/api/smoke/db", post(smoke_db))
        .route("/metrics", get(metrics))
        .with_state(app)
        .merge(callbacks)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(share))
        .layer(middleware::from_fn_with_state(Arc::new(observer), kit::observe))
}

/// Answers preflights itself and lets pages from anywhere read the answers.
async fn share(request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    allow_any_origin(response.headers_mut());
    response
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
        (Some(CALLBACK_PATH), _) => "trace_context",
        _ => "unknown",
    }
}

async fn not_found() -> Response {
    unrouted()
}

async fn method_not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}

fn unrouted() -> Response {
    let mut response = refusal(StatusCode::NOT_FOUND, "Not found");
    response.extensions_mut().insert(Unrouted);
    response
}

/// Runs a handler's work inside a span of its own, which ends with the answer.
async fn traced<F: Future<Output = Response>>(app: &App, name: &'static str, work: impl FnOnce(Context) -> F) -> Response {
    let span = telemetry::span(&app.tracer, &Context::current(), SpanKind::Internal, name, []);
    let response = work(span.clone()).with_context(span.clone()).await;
    telemetry::end(&span);
    response
}

impl App {
    /// Database work of one handler, timed into the span and into the OTLP histogram.
    async fn query<T: Send + 'static>(
        &self,
        span: &Context,
        operation: &'static str,
        work: impl FnOnce(&mut Session<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = self.database.run(span, work).await;
        let seconds = started.elapsed().as_secs_f64();
        let labels = [KeyValue::new("operation", operation), KeyValue::new("table", "tasks")];
        self.query_seconds.record(seconds, &labels);
        telemetry::set(span, "db.query.duration", seconds);
        result
    }
}

/// Says in log and span that the database failed, and answers 500 with the handler's own text.
fn failed(span: &Context, doing: &str, answer: &'static str, cause: &Error) -> Response {
    telemetry::fail(span, "DatabaseError", cause);
    tracing::error!(error = %cause, "Error {doing}: {cause}");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, answer)
}

fn refused(span: &Context, doing: &str, status: StatusCode, reason: &str) -> Response {
    telemetry::set(span, "validation.failed", true);
    tracing::warn!("{doing} failed: {reason}");
    refusal(status, reason)
}

async fn health_check(State(app): State<Arc<App>>) -> Response {
    traced(&app, "health_check", |span| async move {
        telemetry::set(&span, "health.status", "healthy");
        Json(json!({"status": "healthy", "timestamp": tasks::iso_time(Timestamp::now())})).into_response()
    })
    .await
}

async fn get_tasks(State(app): State<Arc<App>>) -> Response {
    traced(&app, "get_all_tasks", async |span| match app.query(&span, "select", tasks::all).await {
        Ok(tasks) => {
            telemetry::set(&span, "db.result.count", tasks.len() as i64);
            tracing::info!("Retrieved {} tasks from database", tasks.len());
            Json(json!({"count": tasks.len(), "tasks": tasks})).into_response()
        }
        Err(cause) => failed(&span, "retrieving tasks", "Failed to retrieve tasks", &cause),
    })
    .await
}

async fn get_task(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Some(id) = task_id(&id) else { return unrouted() };
    traced(&app, "get_task_by_id", async |span| {
        telemetry::set(&span, "task.id", id);
        match app.query(&span, "select_by_id", move |session| tasks::by_id(session, id)).await {
            Ok(Some(task)) => {
                telemetry::set(&span, "task.found", true);
                tracing::info!("Retrieved task {id}");
                Json(task).into_response()
            }
            Ok(None) => no_such_task(&span, id, ""),
            Err(cause) => failed(&span, &format!("retrieving task {id}"), "Failed to retrieve task", &cause),
        }
    })
    .await
}

async fn create_task(State(app): State<Arc<App>>, request: Request) -> Response {
    traced(&app, "create_task", async |span| {
        let wish = match json_body(request).await {
            Ok(body) => Wish::new_task(&body),
            Err((status, reason)) => return refused(&span, "Task creation", status, &reason),
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err(Refusal::NoTitle) => {
                telemetry::set(&span, "validation.failed", true);
                tracing::warn!("Task creation failed: missing title");
                return refusal(StatusCode::BAD_REQUEST, Refusal::NoTitle.to_string());
            }
            Err(refusal) => return refused(&span, "Task creation", StatusCode::BAD_REQUEST, &refusal.to_string()),
        };
        telemetry::set(&span, "task.title", wish.title.clone().unwrap_or_default());
        match app.query(&span, "insert", move |session| tasks::insert(session, &wish)).await {
            Ok(task) => {
                telemetry::set(&span, "task.id", task.id);
                tracing::info!("Created new task {}: {}", task.id, task.title);
                (StatusCode::CREATED, Json(task)).into_response()
            }
            Err(cause) => failed(&span, "creating task", "Failed to create task", &cause),
        }
    })
    .await
}

async fn update_task(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request) -> Response {
    let Some(id) = task_id(&id) else { return unrouted() };
    traced(&app, "update_task", async |span| {
        telemetry::set(&span, "task.id", id);
        let wish = match json_body(request).await {
            Ok(body) => Wish::change(&body).map_err(|refusal| (StatusCode::BAD_REQUEST, refusal.to_string())),
            Err(refusal) => Err(refusal),
        };
        let wish = match wish {
            Ok(wish) => wish,
            Err((status, reason)) => return refused(&span, "Task update", status, &reason),
        };
        if let Some(completed) = wish.completed {
            telemetry::set(&span, "task.completed", completed);
        }
        match app.query(&span, "update", move |session| tasks::update(session, id, &wish)).await {
            Ok(Some(task)) => {
                telemetry::set(&span, "task.found", true);
                tracing::info!("Updated task {id}");
                Json(task).into_response()
            }
            Ok(None) => no_such_task(&span, id, " for update"),
            Err(cause) => failed(&span, &format!("updating task {id}"), "Failed to update task", &cause),
        }
    })
    .await
}

async fn delete_task(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Some(id) = task_id(&id) else { return unrouted() };
    traced(&app, "delete_task", async |span| {
        telemetry::set(&span, "task.id", id);
        match app.query(&span, "delete", move |session| tasks::delete(session, id)).await {
            Ok(true) => {
                telemetry::set(&span, "task.found", true);
                tracing::info!("Deleted task {id}");
                Json(json!({"message": "Task deleted successfully"})).into_response()
            }
            Ok(false) => no_such_task(&span, id, " for deletion"),
            Err(cause) => failed(&span, &format!("deleting task {id}"), "Failed to delete task", &cause),
        }
    })
    .await
}

fn no_such_task(span: &Context, id: i64, purpose: &str) -> Response {
    telemetry::set(span, "task.found", false);
    tracing::warn!("Task {id} not found{purpose}");
    refusal(StatusCode::NOT_FOUND, "Task not found")
}

async fn simulate_error(State(app): State<Arc<App>>) -> Response {
    traced(&app, "simulate_error", async |span| {
        telemetry::set(&span, "error.simulated", true);
        tracing::error!("Simulated error triggered for testing");
        span.span().set_status(Status::error("Simulated error"));
        refusal(StatusCode::INTERNAL_SERVER_ERROR, "This is a simulated error")
    })
    .await
}

#[derive(Deserialize)]
struct Slow {
    delay: Option<String>,
}

async fn simulate_slow(State(app): State<Arc<App>>, Query(slow): Query<Slow>) -> Response {
    traced(&app, "simulate_slow_request", async |span| {
        let delay = slow.delay.as_deref().unwrap_or("2.0").trim().parse::<f64>().ok();
        let Some(delay) = delay.filter(|delay| (0.0..=DELAY_LIMIT).contains(delay)) else {
            let reason = format!("Delay must be a number of seconds between 0 and {DELAY_LIMIT}");
            return refused(&span, "Slow request", StatusCode::BAD_REQUEST, &reason);
        };
        telemetry::set(&span, "delay.seconds", delay);
        // {:?} keeps the point of a whole number: 2.0, as Python prints it.
        tracing::info!("Simulating slow request with {delay:?}s delay");
        tokio::time::sleep(Duration::from_secs_f64(delay)).await;
        Json(json!({"message": format!("Delayed response after {delay:?} seconds")})).into_response()
    })
    .await
}

#[derive(Deserialize)]
struct Smoke {
    ops: Option<String>,
    r#type: Option<String>,
}

async fn smoke_db(State(app): State<Arc<App>>, Query(smoke): Query<Smoke>) -> Response {
    traced(&app, "smoke_db", async |span| {
        let ops = smoke.ops.as_deref().unwrap_or("200").parse::<u32>().ok().filter(|ops| *ops <= SMOKE_LIMIT);
        let Some(ops) = ops else {
            let reason = format!("Ops must be a whole number up to {SMOKE_LIMIT}");
            return refused(&span, "DB smoke test", StatusCode::BAD_REQUEST, &reason);
        };
        let reads = match smoke.r#type.as_deref().unwrap_or("rw") {
            "read" => ops,
            "write" => 0,
            "rw" => ops / 2,
            _ => return refused(&span, "DB smoke test", StatusCode::BAD_REQUEST, "Type must be read, write or rw"),
        };
        let writes = ops - reads;
        match app.database.run(&span, move |session| tasks::smoke(session, reads, writes)).await {
            Ok(()) => Json(json!({
                "ok": true,
                "requested_ops": ops,
                "performed": {"read": reads, "write": writes},
                "note": "writes executed in a transaction and rolled back",
            }))
            .into_response(),
            Err(cause) => {
                telemetry::fail(&span, "DatabaseError", &cause);
                tracing::error!(error = %cause, "DB smoke test failed: {cause}");
                let body = json!({"error": "DB smoke test failed", "details": cause.to_string()});
                (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
            }
        }
    })
    .await
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], app.metrics.render()).into_response()
}

/// An id as Flask's `int` converter takes it: digits only. What does not fit 64 bits names no task, but is an id still.
fn task_id(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits() {
        assert_eq!(task_id("17"), Some(17));
        assert_eq!(task_id("99999999999999999999"), Some(i64::MAX));
        for text in ["", "-1", "+1", "1.0", "x"] {
            assert_eq!(task_id(text), None, "{text:?}");
        }
    }
}
