//! Web pages of other origins that may ask Prometheus' API, as Prometheus has it (`util/httputil/cors.go`,
//! `--web.cors.origin`). A browser sends no credentials of its own along: no answer allows that.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};
use store::{LabelMatcher, MatchOp};

/// Below it are the paths that this is about.
const API: &str = "/api/v1/";
/// Matches every origin.
const ANY: &str = ".*";

/// Which origins may ask: a regular expression that must match all of one; `None` for any, as is Prometheus' default.
#[derive(Debug, Clone, Default)]
pub struct CorsOrigin(Option<LabelMatcher>);

impl PartialEq for CorsOrigin {
    fn eq(&self, other: &Self) -> bool {
        self.pattern() == other.pattern()
    }
}

impl CorsOrigin {
    /// Origins that match `pattern`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern == ANY {
            return Ok(Self(None));
        }
        // The pattern is shown in several lines; the last one says what is wrong.
        let reason = |e: String| e.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let matcher = LabelMatcher::new("origin", MatchOp::Re, pattern).map_err(|e| reason(e.to_string()))?;
        Ok(Self(Some(matcher)))
    }

    /// As it was written.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.0.as_ref().map_or(ANY, |matcher| &matcher.value)
    }

    /// Says in an answer to a page of `origin` what that page may do.
    fn allow(&self, origin: Option<&HeaderValue>, response: &mut Response) {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin.filter(|o| !o.is_empty()) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"));
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
        match &self.0 {
            None => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Some(matcher) if origin.to_str().is_ok_and(|o| matcher.matches(o)) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
            Some(_) => {}
        }
    }
}

/// A browser that asks first whether it may is answered below `/api/v1/`, and every other answer there says it.
pub(crate) fn layer(router: Router, allowed: &CorsOrigin) -> Router {
    let allowed = allowed.clone();
    router.layer(from_fn(move |request: Request, next: Next| {
        let allowed = allowed.clone();
        async move {
            if !request.uri().path().starts_with(API) {
                return next.run(request).await;
            }
            let origin = request.headers().get(ORIGIN).cloned();
            let mut response = match *request.method() {
                Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
                _ => next.run(request).await,
            };
            allowed.allow(origin.as_ref(), &mut response);
            response
        }
    }))
}
