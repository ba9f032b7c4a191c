//! Products and their stock: what is reserved is taken at once, and a supplier fills up what runs low.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::{Counter, json_body, refusal, telemetry};
use serde_json::{Value, json};

use crate::server::Common;
use crate::store::{Cache, Tables};

const ALL: &str = "products:all";

struct Product {
    name: &'static str,
    price: f64,
    stock: u64,
    /// What the supplier fills up to.
    full: u64,
}

const PRODUCTS: [(&str, f64, u64); 5] = [
    ("Laptop", 999.99, 50),
    ("Mouse", 29.99, 200),
    ("Keyboard", 79.99, 150),
    ("Monitor", 399.99, 75),
    ("Headphones", 199.99, 100),
];

fn shown(at: usize, product: &Product) -> Value {
    json!({"id": at + 1, "name": product.name, "price": product.price, "stock": product.stock})
}

struct App {
    common: Common,
    cache: Arc<Cache>,
    tables: Tables<Vec<Product>>,
    sales: Counter<1>,
}

pub(crate) fn routes(common: &Common) -> Router {
    let products = PRODUCTS.map(|(name, price, stock)| Product { name, price, stock, full: stock });
    let app = Arc::new(App {
        common: common.clone(),
        cache: Cache::new(common),
        tables: Tables::new(common, products.into()),
        sales: Counter::new("inventory_sales_total", "Pieces sold", ["product_id"]),
    });
    for id in 1..=PRODUCTS.len() {
        app.sales.add([&id.to_string()], 0);
    }
    let sales = app.clone();
    common.show(move |text| sales.sales.render(text));
    Router::new()
        .route("/products", get(list))
        .route("/product/{id}", get(product))
        .route("/product/{id}/reserve", post(reserve))
        .with_state(app)
}

async fn list(State(app): State<Arc<App>>) -> Response {
    app.common
        .traced("list_products", async |_| {
            if let Some(all) = app.cache.get(ALL).await {
                return Json(json!({"products": all, "source": "cache"})).into_response();
            }
            let all = |t: &mut Vec<Product>| t.iter().enumerate().map(|(at, p)| shown(at, p)).collect::<Value>();
            let all = app.tables.query("db_query_products", all).await;
            app.cache.set(ALL, &all, Duration::from_secs(300)).await;
            Json(json!({"products": all, "source": "database"})).into_response()
        })
        .await
}

fn index(id: &str) -> Option<usize> {
    id.parse::<usize>().ok()?.checked_sub(1)
}

async fn product(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let Some(at) = index(&id) else { return refusal(StatusCode::NOT_FOUND, "Product not found") };
    let key = format!("product:{id}");
    if let Some(found) = app.cache.get(&key).await {
        return Json(found).into_response();
    }
    let found = app.tables.query("db_query_product", |t| t.get(at).map(|p| shown(at, p))).await;
    match found {
        Some(found) => {
            app.cache.set(&key, &found, Duration::from_secs(60)).await;
            Json(found).into_response()
        }
        None => refusal(StatusCode::NOT_FOUND, "Product not found"),
    }
}

/// What became of a wish for some pieces.
enum Reserved {
    Taken { left: u64, delivered: bool },
    TooFew,
    Unknown,
}

async fn reserve(State(app): State<Arc<App>>, Path(id): Path<String>, request: Request) -> Response {
    let body = match json_body(request).await {
        Ok(body) => body,
        Err((status, reason)) => return refusal(status, reason),
    };
    let quantity = body.get("quantity").map_or(Some(1), Value::as_u64).filter(|q| *q > 0);
    let Some(quantity) = quantity else { return refusal(StatusCode::BAD_REQUEST, "Invalid quantity") };
    let Some(at) = index(&id) else { return refusal(StatusCode::NOT_FOUND, "Product not found") };
    app.common
        .traced("reserve_product", async |span| {
            telemetry::set(&span, "product.id", at as i64 + 1);
            telemetry::set(&span, "product.quantity", quantity as i64);
            // Looked at and taken in one statement: two customers never get the same piece.
            let take = |t: &mut Vec<Product>| {
                let Some(product) = t.get_mut(at) else { return Reserved::Unknown };
                let Some(left) = product.stock.checked_sub(quantity) else { return Reserved::TooFew };
                let delivered = left * 10 < product.full;
                product.stock = if delivered { product.full } else { left };
                Reserved::Taken { left: product.stock, delivered }
            };
            match app.tables.query("db_reserve", take).await {
                Reserved::Taken { left, delivered } => {
                    app.cache.delete(&[ALL, &format!("product:{id}")]).await;
                    app.sales.add([&(at + 1).to_string()], quantity);
                    tracing::info!(product_id = at + 1, quantity, left, "Product reserved");
                    if delivered {
                        tracing::info!(product_id = at + 1, "The supplier has filled up the stock");
                    }
                    Json(json!({"reserved": quantity, "product_id": at + 1})).into_response()
                }
                Reserved::TooFew => {
                    tracing::warn!(product_id = at + 1, quantity, "Insufficient stock");
                    refusal(StatusCode::BAD_REQUEST, "Insufficient stock")
                }
                Reserved::Unknown => refusal(StatusCode::NOT_FOUND, "Product not found"),
            }
        })
        .await
}
