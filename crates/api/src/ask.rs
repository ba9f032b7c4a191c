//! What a request asks: GET and form-encoded POST are one.

use std::time::{Duration, SystemTime};

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use futures::StreamExt;
use http::{HeaderMap, Method, header};
use model::Tenant;

use crate::answer::Failure;

/// Bytes of a form, at most.
const MAX_FORM: usize = 2 << 20;
/// How much of a longer one is still read (and dropped), so that its sender reads the answer instead of a reset connection, and how
/// long that may take.
const DRAIN: (usize, Duration) = (64 << 20, Duration::from_secs(3));

/// A form's bytes; the error is in Go's words.
async fn whole(body: Body) -> Result<Vec<u8>, String> {
    let mut parts = body.into_data_stream();
    let mut all = Vec::new();
    while let Some(part) = parts.next().await {
        all.extend_from_slice(&part.map_err(|e| e.to_string())?);
        if all.len() > MAX_FORM {
            let mut dropped = std::mem::take(&mut all).len();
            let rest = async {
                while let Some(Ok(part)) = parts.next().await
                    && dropped < DRAIN.0
                {
                    dropped += part.len();
                }
            };
            let _ = tokio::time::timeout(DRAIN.1, rest).await;
            return Err("http: POST too large".to_owned());
        }
    }
    Ok(all)
}

/// A request's parameters and headers.
#[derive(Debug)]
pub(crate) struct Ask {
    params: Vec<(String, String)>,
    path: Vec<(String, String)>,
    pub(crate) method: Method,
    headers: HeaderMap,
    /// When it came, nanoseconds since the Unix epoch: what "now" means in it.
    pub(crate) now_ns: i64,
}

impl Ask {
    /// Reads the URL, and the body of a form.
    pub(crate) async fn read(request: Request) -> Result<Self, Failure> {
        let bad = |e: &dyn std::fmt::Display| Failure::BadData(format!("error parsing form values: {e}"));
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, &()).await.map_err(|e| bad(&e))?;
        let path = path.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let Query(mut params) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|e| bad(&e))?;
        let headers = parts.headers.clone();
        let is_form =
            headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let method = parts.method.clone();
        if (method == Method::POST || method == Method::PUT) && is_form {
            let body = whole(body).await.map_err(|e| bad(&e))?;
            let request = Request::from_parts(parts, Body::from(body));
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            let Form(form) = form.map_err(|e| bad(&e))?;
            // As in Go, the body's values come first.
            params.splice(0..0, form);
        }
        Ok(Self { path, method, ..Self::new(params, headers) })
    }

    /// What was asked in another way than over a URL; parts of the path are parameters then.
    pub(crate) fn new(params: Vec<(String, String)>, headers: HeaderMap) -> Self {
        let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        Self { path: params.clone(), params, method: Method::GET, headers, now_ns }
    }

    /// The first value of a parameter that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter, also where it is written `name[]`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.params.iter().filter(move |(n, _)| n == name || n.strip_suffix("[]") == Some(name)).map(|(_, v)| v.as_str())
    }

    /// All parameters that have a value, as they came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// What was asked, for the log of slow queries: the parameters as they came, cut at 1,000 characters.
    pub(crate) fn words(&self) -> String {
        let all: Vec<String> = self.params.iter().chain(&self.path).map(|(k, v)| format!("{k}={v}")).collect();
        all.join(" ").chars().take(1000).collect()
    }

    /// A part of the path.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// A header, where it is text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// Whose data is asked for.
    pub(crate) fn tenant(&self) -> Result<Tenant, Failure> {
        Ok(Tenant::new(self.header("x-scope-orgid"))?)
    }

    /// A count; `default` where it is not given.
    pub(crate) fn count(&self, name: &str, default: usize) -> Result<usize, Failure> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.parse().map_err(|_| Failure::BadData(format!("invalid parameter {name:?}: {text:?} is not a count")))
    }
}
