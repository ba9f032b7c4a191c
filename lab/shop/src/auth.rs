//! Accounts: who may pay. A session lasts an hour.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use kit::{gauge, json_body, refusal, telemetry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::server::{Common, bearer, lock, token};

const SESSION: Duration = Duration::from_secs(3600);
/// The oldest account goes when there is one more, so that a lab may run for months.
const ACCOUNTS: usize = 5_000;

struct User {
    id: u64,
    salt: String,
    digest: [u8; 32],
}

#[derive(Default)]
struct Accounts {
    last: u64,
    users: HashMap<String, User>,
    sessions: HashMap<String, (String, u64, Instant)>,
}

impl Accounts {
    fn active(&mut self) -> usize {
        let now = Instant::now();
        self.sessions.retain(|_, (_, _, end)| *end > now);
        self.sessions.len()
    }
}

struct App {
    common: Common,
    accounts: Arc<std::sync::Mutex<Accounts>>,
}

pub(crate) fn routes(common: &Common) -> Router {
    let app = Arc::new(App { common: common.clone(), accounts: Arc::default() });
    let shown = app.accounts.clone();
    common.show(move |text| {
        gauge(text, "auth_active_sessions", "Sessions that have not ended", lock(&shown).active() as f64);
    });
    Router::new()
        .route("/register", post(register))
        .route("/login", post(login))
        .route("/verify", post(verify))
        .route("/stats", get(stats))
        .with_state(app)
}

/// Salted, and quick: accounts of simulated visitors, gone with the process.
fn digest(salt: &str, password: &str) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update([0]).chain_update(password).finalize().into()
}

/// Name and password of a body, both there.
async fn credentials(request: Request) -> Result<(String, String), Response> {
    let body = json_body(request).await.map_err(|(status, reason)| refusal(status, reason))?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|t| (1..=128).contains(&t.len())).map(str::to_owned);
    match (text("username"), text("password")) {
        (Some(name), Some(password)) => Ok((name, password)),
        _ => Err(refusal(StatusCode::BAD_REQUEST, "Username and password required")),
    }
}

async fn register(State(app): State<Arc<App>>, request: Request) -> Response {
    let (name, password) = match credentials(request).await {
        Ok(given) => given,
        Err(refused) => return refused,
    };
    let mut accounts = lock(&app.accounts);
    if accounts.users.contains_key(&name) {
        return refusal(StatusCode::BAD_REQUEST, "User already exists");
    }
    if accounts.users.len() >= ACCOUNTS {
        let oldest = accounts.users.iter().min_by_key(|(_, user)| user.id).map(|(name, _)| name.clone());
        oldest.map(|name| accounts.users.remove(&name));
    }
    accounts.last += 1;
    let (id, salt) = (accounts.last, token());
    let digest = digest(&salt, &password);
    accounts.users.insert(name.clone(), User { id, salt, digest });
    (StatusCode::CREATED, Json(json!({"user_id": format!("user_{id}"), "username": name}))).into_response()
}

async fn login(State(app): State<Arc<App>>, request: Request) -> Response {
    let (name, password) = match credentials(request).await {
        Ok(given) => given,
        Err(refused) => return refused,
    };
    app.common
        .traced("login_user", async |span| {
            let known = lock(&app.accounts).users.get(&name).filter(|u| digest(&u.salt, &password) == u.digest).map(|u| u.id);
            let Some(id) = known else {
                tracing::warn!("Login refused");
                return refusal(StatusCode::UNAUTHORIZED, "Invalid credentials");
            };
            telemetry::set(&span, "user_id", format!("user_{id}"));
            let session = token();
            app.common
                .traced("store_session", async |_| {
                    app.common.wait(0.2, 1.0).await;
                    lock(&app.accounts).sessions.insert(session.clone(), (name, id, Instant::now() + SESSION));
                })
                .await;
            Json(json!({"token": session, "user_id": format!("user_{id}")})).into_response()
        })
        .await
}

async fn verify(State(app): State<Arc<App>>, request: Request) -> Response {
    let Some(shown) = bearer(request.headers()) else { return refusal(StatusCode::UNAUTHORIZED, "No token provided") };
    app.common
        .traced("verify_token", async |_| {
            let found = app
                .common
                .traced("check_session", async |_| {
                    app.common.wait(0.2, 1.0).await;
                    let accounts = lock(&app.accounts);
                    accounts.sessions.get(&shown).filter(|(_, _, end)| *end > Instant::now()).cloned()
                })
                .await;
            match found {
                Some((name, id, _)) => {
                    Json(json!({"valid": true, "user_id": format!("user_{id}"), "username": name})).into_response()
                }
                None => refusal(StatusCode::UNAUTHORIZED, "Invalid or expired token"),
            }
        })
        .await
}

async fn stats(State(app): State<Arc<App>>) -> Response {
    let mut accounts = lock(&app.accounts);
    Json(json!({"active_sessions": accounts.active(), "total_users": accounts.users.len()})).into_response()
}
