//! Payments: checked with the accounts, charged at one of two acquirers of which one is slow and fails often, then announced to
//! the notifications through a queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, Method, header};
use kit::{Asker, Caller, Counter, Stop, gauge, json_body, refusal, telemetry};
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::server::{Common, bearer, failed};
use crate::store::Tables;

/// Older ones are forgotten.
const KEPT: usize = 5_000;
/// Events that wait for the notifications; beyond that they are dropped, and the log says so.
const QUEUE: usize = 1_000;

#[derive(Default)]
struct Rows {
    last: u64,
    payments: BTreeMap<u64, Value>,
}

/// A payment that is to be announced, with the trace that it belongs to.
struct Event {
    payment: u64,
    amount: f64,
    trace: Context,
}

struct App {
    common: Common,
    auth: String,
    caller: Caller,
    tables: Tables<Rows>,
    queue: mpsc::Sender<Event>,
    transactions: Counter<1>,
    cents: Counter<0>,
    revenue_cents: AtomicU64,
}

pub(crate) fn routes(common: &Common, auth: String, stop: Stop) -> Router {
    let (queue, events) = mpsc::channel(QUEUE);
    let app = Arc::new(App {
        common: common.clone(),
        auth,
        caller: Caller::new(Asker::new(Duration::from_secs(5)), common.tracer.clone()),
        tables: Tables::new(common, Rows::default()),
        queue,
        transactions: Counter::new("payment_transactions_total", "Payments by outcome", ["status"]),
        cents: Counter::new("payment_amount_total_cents_total", "Sum of payments in cents", []),
        revenue_cents: AtomicU64::new(0),
    });
    for status in ["success", "failed"] {
        app.transactions.add([status], 0);
    }
    app.cents.add([], 0);
    let shown = app.clone();
    common.show(move |text| {
        shown.transactions.render(text);
        shown.cents.render(text);
        let dollars = shown.revenue_cents.load(Ordering::Relaxed) as f64 / 100.0;
        gauge(text, "business_revenue_total_dollars", "Revenue since the start in dollars", dollars);
        let waiting = QUEUE - shown.queue.capacity();
        gauge(text, "payment_events_waiting", "Events that wait for the notifications", waiting as f64);
    });
    tokio::spawn(notify(common.clone(), events, stop));
    Router::new().route("/charge", post(charge)).route("/payment/{id}", get(payment)).with_state(app)
}

/// The worker that tells customers: one after the other, as a mail server lets it.
async fn notify(common: Common, mut events: mpsc::Receiver<Event>, stop: Stop) {
    loop {
        let event = tokio::select! {
            () = stop.wait() => return,
            event = events.recv() => event,
        };
        let Some(event) = event else { return };
        let work = async {
            let span = telemetry::span(&common.tracer, &event.trace, SpanKind::Consumer, "payment_events process", []);
            async {
                common.wait(200.0, 600.0).await;
                tracing::info!(payment_id = event.payment, amount = event.amount, "Customer notified of the payment");
            }
            .with_context(span.clone())
            .await;
            telemetry::end(&span);
        };
        tokio::select! {
            () = stop.wait() => return,
            () = work => {}
        }
    }
}

impl App {
    /// Who shows this token; nothing where the accounts do not know it.
    async fn customer(&self, shown: &str) -> anyhow::Result<Option<String>> {
        self.common
            .traced("verify_auth_token", async |span| {
                let mut headers = HeaderMap::new();
                headers.insert(header::AUTHORIZATION, format!("Bearer {shown}").parse()?);
                let answer =
                    self.caller.call(&span, Method::POST, &format!("{}/verify", self.auth), headers, Bytes::new()).await?;
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let user = body.get("user_id").and_then(Value::as_str).map(str::to_owned);
                anyhow::Ok(user.filter(|_| answer.status.is_success()))
            })
            .await
    }

    /// The user of a request, or the refusal.
    async fn authorized(&self, headers: &HeaderMap) -> Result<String, Response> {
        let Some(shown) = bearer(headers) else {
            return Err(refusal(StatusCode::UNAUTHORIZED, "Authorization required"));
        };
        match self.customer(&shown).await {
            Ok(Some(user)) => Ok(user),
            Ok(None) => Err(refusal(StatusCode::UNAUTHORIZED, "Invalid token")),
            Err(cause) => {
                tracing::error!(error = format!("{cause:#}"), "The accounts give no answer");
                Err(refusal(StatusCode::BAD_GATEWAY, "The accounts give no answer"))
            }
        }
    }
}

async fn charge(State(app): State<Arc<App>>, request: Request) -> Response {
    app.common
        .traced("process_payment", async |span| {
            let user = match app.authorized(request.headers()).await {
                Ok(user) => user,
                Err(refused) => return refused,
            };
            let body = match json_body(request).await {
                Ok(body) => body,
                Err((status, reason)) => return refusal(status, reason),
            };
            let amount = body.get("amount").and_then(Value::as_f64).filter(|a| *a > 0.0 && *a < 1e6);
            let Some(amount) = amount else { return refusal(StatusCode::BAD_REQUEST, "Invalid amount") };
            telemetry::set(&span, "user_id", user.clone());
            telemetry::set(&span, "payment.amount", amount);
            let common = &app.common;
            let charged = common
                .traced("payment_gateway", async |gateway| {
                    let (acquirer, slow, fails) = if common.happens(0.2) { ("beta", 3.0, 0.3) } else { ("alpha", 1.0, 0.02) };
                    telemetry::set(&gateway, "payment.acquirer", acquirer);
                    telemetry::set(&span, "payment.acquirer", acquirer);
                    common.wait(60.0 * slow, 160.0 * slow).await;
                    let fails = common.happens(fails);
                    if fails {
                        tracing::warn!(acquirer, "The acquirer did not answer in time");
                        gateway.span().set_status(Status::error("timeout"));
                    }
                    !fails
                })
                .await;
            if !charged {
                app.transactions.increment(["failed"]);
                telemetry::set(&span, "payment.status", "failed");
                let more = json!({"status": "failed"});
                return failed(&span, StatusCode::INTERNAL_SERVER_ERROR, "Payment gateway timeout", more);
            }
            let row = json!({"amount": amount, "status": "completed", "user_id": user});
            let insert = |t: &mut Rows| {
                t.last += 1;
                t.payments.insert(t.last, row);
                while t.payments.len() > KEPT {
                    t.payments.pop_first();
                }
                t.last
            };
            let id = app.tables.query("store_payment", insert).await;
            let cents = (amount * 100.0).round() as u64;
            app.transactions.increment(["success"]);
            app.cents.add([], cents);
            app.revenue_cents.fetch_add(cents, Ordering::Relaxed);
            telemetry::set(&span, "payment.id", id as i64);
            telemetry::set(&span, "payment.status", "completed");
            let producer = telemetry::span(&common.tracer, &span, SpanKind::Producer, "payment_events publish", []);
            let event = Event { payment: id, amount, trace: producer.clone() };
            if app.queue.try_send(event).is_err() {
                tracing::error!(payment_id = id, "The queue is full: nobody is told of this payment");
            }
            telemetry::end(&producer);
            tracing::info!(payment_id = id, amount, user_id = user, "Payment completed");
            let answer = json!({"payment_id": id, "amount": amount, "status": "completed", "user_id": user});
            (StatusCode::CREATED, Json(answer)).into_response()
        })
        .await
}

async fn payment(State(app): State<Arc<App>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let user = match app.authorized(&headers).await {
        Ok(user) => user,
        Err(refused) => return refused,
    };
    let id = id.parse::<u64>().unwrap_or(0);
    let found = app.tables.query("load_payment", |t| t.payments.get(&id).cloned()).await;
    // Another's payment is as good as none.
    match found.filter(|row| row.get("user_id").and_then(Value::as_str) == Some(user.as_str())) {
        Some(mut row) => {
            if let Some(row) = row.as_object_mut() {
                row.insert("id".into(), id.into());
            }
            Json(row).into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "Payment not found"),
    }
}
