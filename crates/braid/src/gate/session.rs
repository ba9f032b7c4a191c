//! Logging in and out of the page: `/api/session`.
//!
//! `GET` says whether a login is needed and who is logged in; `POST` with `{"user", "password"}`, `{"key"}` or `{"token"}` (of a
//! login link) begins a session, `DELETE` ends it. The cookie is out of reach of scripts and of other sites; what changes
//! something must repeat the session's word in `X-Braid-CSRF`, which only the page has read.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use guard::{Admitted, Credential, Denial, Guard, SESSION_COOKIE, Session, cookie, same_origin};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Peer, host};
use crate::arriving::Arriving;

/// Bytes of a login.
const MOST: usize = 8 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: Option<String>,
    password: Option<String>,
    key: Option<String>,
    token: Option<String>,
}

/// Answers `/api/session` and `/api/session/link`, which the table leaves to administrators.
pub(super) async fn answer(guard: Option<&Guard>, peer: Peer, request: Request<Arriving>) -> Response<Body> {
    let Some(guard) = guard else {
        return match *request.method() {
            Method::GET | Method::HEAD => reply(StatusCode::OK, &json!({"authentication": false})),
            _ => failed(StatusCode::NOT_FOUND, "authentication is off"),
        };
    };
    let link = request.uri().path().ends_with("/link");
    match *request.method() {
        Method::POST if link => match guard.link() {
            Ok(token) => reply(StatusCode::OK, &json!({"path": login_path(&token)})),
            Err(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why),
        },
        Method::GET | Method::HEAD if !link => reply(StatusCode::OK, &known(guard.session(request.headers()).as_ref())),
        Method::POST if !link => log_in(guard, peer, request).await,
        Method::DELETE if !link => log_out(guard, peer, request.headers(), &host(&request)),
        _ => failed(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

/// Behind the `#`, so that it is in no log of any server.
pub(crate) fn login_path(token: &str) -> String {
    format!("/#login={token}")
}

async fn log_in(guard: &Guard, peer: Peer, request: Request<Arriving>) -> Response<Body> {
    let host = host(&request);
    let (head, body) = request.into_parts();
    // A form of another site can send neither this type nor this origin.
    let json = head.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if !json || !same_origin(&head.headers, &host) {
        return failed(StatusCode::FORBIDDEN, &Denial::Forged.to_string());
    }
    let Ok(body) = axum::body::to_bytes(Body::new(body), MOST).await else {
        return failed(StatusCode::PAYLOAD_TOO_LARGE, "the login is too long, or broke off");
    };
    let outcome = match serde_json::from_slice(&body) {
        Ok(Login { user: Some(user), password: Some(password), key: None, token: None }) => {
            guard.log_in(peer.address.ip(), &Credential::Basic { user, password }).await
        }
        Ok(Login { key: Some(key), user: None, password: None, token: None }) => {
            guard.log_in(peer.address.ip(), &Credential::Bearer(key.trim().to_owned())).await
        }
        Ok(Login { token: Some(token), user: None, password: None, key: None }) => guard.open_link(peer.address.ip(), &token),
        _ => return failed(StatusCode::BAD_REQUEST, "a login is {\"user\", \"password\"}, {\"key\"} or {\"token\"}"),
    };
    match outcome {
        Ok((session, who)) => {
            let mut response = reply(StatusCode::OK, &known(Some(&Admitted { csrf: Some(session.csrf.clone()), ..who })));
            set_cookie(&mut response, peer, Some(&session));
            response
        }
        Err(Denial::Limited(wait)) => {
            let mut response = failed(StatusCode::TOO_MANY_REQUESTS, &Denial::Limited(wait).to_string());
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            response
        }
        Err(Denial::Busy) => failed(StatusCode::SERVICE_UNAVAILABLE, &Denial::Busy.to_string()),
        Err(_) => failed(StatusCode::UNAUTHORIZED, "that is not right; nobody is logged in"),
    }
}

fn log_out(guard: &Guard, peer: Peer, headers: &HeaderMap, host: &str) -> Response<Body> {
    let word = headers.get("x-braid-csrf").map(HeaderValue::as_bytes);
    let session = guard.session(headers);
    // One that has ended already is logged out.
    let own = session.is_none_or(|s| s.csrf.is_some_and(|csrf| word == Some(csrf.as_bytes())));
    if !own || !same_origin(headers, host) {
        return failed(StatusCode::FORBIDDEN, &Denial::Forged.to_string());
    }
    if let Some(token) = cookie(headers, SESSION_COOKIE) {
        guard.log_out(token);
    }
    let mut response = reply(StatusCode::OK, &known(None));
    set_cookie(&mut response, peer, None);
    response
}

/// What the page needs to know.
fn known(who: Option<&Admitted>) -> Value {
    match who {
        None => json!({"authentication": true}),
        Some(who) => json!({
            "authentication": true,
            "name": who.name,
            "scopes": who.scopes.iter().map(guard::Scope::as_str).collect::<Vec<_>>(),
            "tenant": who.tenant.as_ref().map(|t| t.as_str()),
            "csrf": who.csrf,
        }),
    }
}

fn set_cookie(response: &mut Response<Body>, peer: Peer, session: Option<&Session>) {
    let (value, age) = session.map_or(("", 0), |s| (s.token.as_str(), s.lasts.as_secs()));
    let secure = if peer.secure { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    if let Ok(mut header) = HeaderValue::from_str(&text) {
        header.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, header);
    }
}

fn failed(status: StatusCode, why: &str) -> Response<Body> {
    reply(status, &json!({"error": why}))
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
