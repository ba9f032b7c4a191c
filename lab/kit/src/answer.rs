//! What the services' handlers have in common: JSON bodies, JSON refusals, and permission for every origin.

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

const BODY_LIMIT: usize = 1 << 20;

/// `{"error": text}` with this status.
pub fn refusal(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(json!({ "error": text.into() }))).into_response()
}

/// The body as JSON, or the status and reason of the refusal: 415 for another content type, 413 above 1 MiB, 400 with line
/// and column where it is not JSON.
pub async fn json_body(request: Request<Body>) -> Result<Value, (StatusCode, String)> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" && !(kind.starts_with("application/") && kind.ends_with("+json")) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json".into()));
    }
    let body = axum::body::to_bytes(request.into_body(), BODY_LIMIT).await;
    let body = body.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large or broken off".to_owned()))?;
    serde_json::from_slice(&body).map_err(|cause| (StatusCode::BAD_REQUEST, format!("Malformed JSON: {cause}")))
}

/// Sets the CORS headers for every origin, once: whatever an upstream said about CORS is replaced.
pub fn allow_any_origin(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cors_is_said_once() {
        let mut headers = HeaderMap::new();
        headers.append("access-control-allow-origin", HeaderValue::from_static("*"));
        headers.append("access-control-allow-origin", HeaderValue::from_static("http://a"));
        allow_any_origin(&mut headers);
        assert_eq!(headers.get_all("access-control-allow-origin").iter().count(), 1);
    }
}
