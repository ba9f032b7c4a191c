//! What a refusal looks like: each API's own shape of errors.

use std::time::Duration;

use api::Face as Shape;
use axum::body::Body;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use collector::grpc;
use guard::{Denial, Scope};

use crate::config::Face;

/// The page's own requests say so, because a browser that is told of Basic would ask with a window of its own.
const PAGE: &str = "x-braid-page";

/// What a client is told. `need` is the scope that the request took.
pub(super) fn answer(face: Face, path: &str, headers: &HeaderMap, need: Scope, denial: &Denial) -> Response<Body> {
    let (status, code, kind) = match denial {
        Denial::Missing | Denial::Wrong => (StatusCode::UNAUTHORIZED, 16, "unauthorized"),
        Denial::Forbidden(_) | Denial::Tenant | Denial::Forged => (StatusCode::FORBIDDEN, 7, "forbidden"),
        // Senders drop what is refused with 429, and try again after 503.
        Denial::Limited(_) if need != Scope::Ingest => (StatusCode::TOO_MANY_REQUESTS, 8, "too_many_requests"),
        Denial::Limited(_) | Denial::Busy => (StatusCode::SERVICE_UNAVAILABLE, 14, "unavailable"),
    };
    let said = denial.to_string();
    if grpc::is_grpc(headers) {
        return grpc::failure(code, &said);
    }
    let shape = match face {
        Face::Prometheus => Shape::Prometheus,
        Face::Correlation => Shape::Correlation,
        Face::Loki => Shape::Loki,
        Face::Braid => Shape::of_path(path).unwrap_or(Shape::Tempo),
        _ => Shape::Tempo,
    };
    let otlp = path.starts_with("/v1/") || path.starts_with("/api/otlp/") || path == "/otlp/v1/logs";
    let mut response = if otlp { collector::otlp_error(status, code, &said, headers) } else { shape.refuse(status, kind, &said) };
    let headers_out = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        if !headers.contains_key(PAGE) {
            headers_out.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Braid\", charset=\"UTF-8\""));
        }
        headers_out.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"Braid\""));
    }
    let after = match denial {
        Denial::Limited(wait) => Some(*wait),
        Denial::Busy => Some(Duration::from_secs(1)),
        _ => None,
    };
    if let Some(after) = after {
        headers_out.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}
