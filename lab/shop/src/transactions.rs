//! Transactions (`flask-api`): the last ten, cached; new ones, of which some fail at the gateway.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::telemetry;
use serde_json::{Value, json};

use crate::server::{Common, failed};
use crate::store::{Cache, Tables};

const RECENT: &str = "transactions:recent:10";
/// Older ones are forgotten, so that a lab may run for months.
const KEPT: usize = 1_000;

struct Rows {
    last: u64,
    rows: VecDeque<Value>,
}

struct App {
    common: Common,
    cache: Arc<Cache>,
    tables: Tables<Rows>,
}

pub(crate) fn routes(common: &Common) -> Router {
    let given = [
        (99.99, "completed", "user_001"),
        (149.50, "completed", "user_002"),
        (25.00, "pending", "user_003"),
        (599.99, "completed", "user_004"),
        (12.50, "failed", "user_005"),
    ];
    let rows: VecDeque<Value> = (1..)
        .zip(given)
        .map(|(id, (amount, status, user))| json!({"id": id, "amount": amount, "status": status, "user_id": user}))
        .collect();
    let app = Arc::new(App {
        common: common.clone(),
        cache: Cache::new(common),
        tables: Tables::new(common, Rows { last: rows.len() as u64, rows }),
    });
    Router::new()
        .route("/transactions", get(recent))
        .route("/transactions/create", post(create))
        .route("/cache/stats", get(async |State(app): State<Arc<App>>| Json(app.cache.stats())))
        .route("/cache/clear", post(clear))
        .route("/error", get(error))
        .with_state(app)
}

async fn recent(State(app): State<Arc<App>>) -> Response {
    app.common
        .traced("fetch_transactions", async |span| {
            let cached = app.cache.get(RECENT).await;
            telemetry::set(&span, "cache.hit", cached.is_some());
            let hit = cached.is_some();
            let rows = match cached {
                Some(rows) => rows,
                None => {
                    let newest = |t: &mut Rows| t.rows.iter().rev().take(10).cloned().collect::<Value>();
                    let rows = app.tables.query("db_query_transactions", newest).await;
                    app.cache.set(RECENT, &rows, Duration::from_secs(300)).await;
                    rows
                }
            };
            let count = rows.as_array().map_or(0, Vec::len);
            telemetry::set(&span, "transaction.count", count as i64);
            Json(json!({"transactions": rows, "count": count, "source": if hit { "cache" } else { "database" }})).into_response()
        })
        .await
}

async fn create(State(app): State<Arc<App>>) -> Response {
    app.common
        .traced("create_transaction", async |span| {
            let common = &app.common;
            let reached = common
                .traced("payment_gateway", async |_| {
                    common.wait(50.0, 200.0).await;
                    !common.happens(0.05)
                })
                .await;
            if !reached {
                return failed(&span, StatusCode::INTERNAL_SERVER_ERROR, "Payment gateway timeout", Value::Null);
            }
            let amount = common.between(10.0, 1000.0).floor() + 0.99;
            let status = if common.happens(0.75) { "completed" } else { "pending" };
            let user = format!("user_{:03}", common.between(1.0, 1001.0) as u64);
            telemetry::set(&span, "transaction.amount", amount);
            telemetry::set(&span, "transaction.status", status);
            telemetry::set(&span, "transaction.user_id", user.clone());
            let insert = |t: &mut Rows| {
                t.last += 1;
                t.rows.push_back(json!({"id": t.last, "amount": amount, "status": status, "user_id": user}));
                while t.rows.len() > KEPT {
                    t.rows.pop_front();
                }
                t.last
            };
            let id = app.tables.query("db_insert_transaction", insert).await;
            app.cache.delete(&[RECENT]).await;
            tracing::info!(transaction_id = id, amount, status, "Transaction created");
            let answer = json!({"transaction_id": id, "amount": amount, "status": status, "user_id": user});
            (StatusCode::CREATED, Json(answer)).into_response()
        })
        .await
}

async fn clear(State(app): State<Arc<App>>) -> Response {
    app.cache.clear();
    Json(json!({"message": "Cache cleared successfully"})).into_response()
}

async fn error(State(app): State<Arc<App>>) -> Response {
    app.common
        .traced("raise_error", async |span| {
            app.common.requests.raised("GET");
            failed(&span, StatusCode::INTERNAL_SERVER_ERROR, "This is a raised exception", Value::Null)
        })
        .await
}
