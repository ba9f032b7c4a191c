//! The shapes in which the APIs fail.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, StatusCode, header};

use crate::answer::Failure;
use crate::json;

/// Which API is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Face {
    /// Prometheus: an envelope of JSON.
    Prometheus,
    /// Loki: plain text.
    Loki,
    /// Tempo: plain text.
    Tempo,
    /// Braid's own about what belongs together: `{"error":…}`.
    Correlation,
}

/// Says why an answer may lack something.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-braid-partial");

impl Face {
    /// `prometheus`, `loki`, `tempo`, `correlation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Loki => "loki",
            Self::Tempo => "tempo",
            Self::Correlation => "correlation",
        }
    }

    /// The API that a path below one shared root belongs to.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|p| path.starts_with(p));
        if starts(&["/loki/", "/api/prom/", "/prometheus/"]) {
            Some(Self::Loki)
        } else if starts(&["/api/v1/"]) {
            Some(Self::Prometheus)
        } else if starts(&["/api/correlat", "/api/entities", "/api/logs", "/api/otlp/"]) {
            Some(Self::Correlation)
        } else if starts(&["/api/"]) {
            Some(Self::Tempo)
        } else {
            None
        }
    }

    pub(crate) fn fail(self, failure: Failure) -> Response {
        // 499 is nginx' "client closed request", which Prometheus and Loki use.
        let closed = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
        let (kind, status, message) = match failure {
            Failure::BadData(m) => ("bad_data", StatusCode::BAD_REQUEST, m),
            Failure::Execution(m) | Failure::Limit(_, m) if self == Self::Prometheus => {
                ("execution", StatusCode::UNPROCESSABLE_ENTITY, m)
            }
            Failure::Execution(m) | Failure::Limit(_, m) => ("execution", StatusCode::BAD_REQUEST, m),
            Failure::Forbidden(m) => ("forbidden", StatusCode::FORBIDDEN, m),
            Failure::NotFound(m) => ("not_found", StatusCode::NOT_FOUND, m),
            Failure::Timeout if self == Self::Prometheus => {
                ("timeout", StatusCode::SERVICE_UNAVAILABLE, "query timed out in expression evaluation".to_owned())
            }
            Failure::Timeout => ("timeout", StatusCode::GATEWAY_TIMEOUT, "the query timed out".to_owned()),
            Failure::Cancelled => ("canceled", closed, "query was canceled".to_owned()),
            Failure::Unavailable(m) | Failure::Crowded(m) => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, m),
            Failure::Internal(m) => ("internal", StatusCode::INTERNAL_SERVER_ERROR, m),
        };
        self.refuse(status, kind, &message)
    }

    /// The same in plain words, which Prometheus has where answers are no JSON.
    pub(crate) fn fail_plainly(self, failure: Failure) -> Response {
        let face = if self == Self::Prometheus { Self::Tempo } else { self };
        let status = self.fail(failure.clone()).status();
        // As Go's `http.Error` ends a line; what is forbidden or not ready is said without.
        let failure = match failure {
            Failure::BadData(m) => Failure::BadData(m + "\n"),
            Failure::Execution(m) => Failure::Execution(m + "\n"),
            Failure::Limit(limit, m) => Failure::Limit(limit, m + "\n"),
            Failure::Internal(m) => Failure::Internal(m + "\n"),
            other => other,
        };
        let mut response = face.fail(failure);
        *response.status_mut() = status;
        response
    }

    /// An answer that says why there is none: `kind` is a word for programs (Prometheus' `errorType`), `message` for people.
    #[must_use]
    pub fn refuse(self, status: StatusCode, kind: &str, message: &str) -> Response {
        if self == Self::Correlation {
            let body = serde_json::json!({"error": message, "kind": kind}).to_string();
            return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        }
        if self != Self::Prometheus {
            let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            return (status, headers, message.to_owned()).into_response();
        }
        let mut body = format!("{{\"status\":\"error\",\"errorType\":\"{kind}\",\"error\":");
        json::string(&mut body, message);
        body.push('}');
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
