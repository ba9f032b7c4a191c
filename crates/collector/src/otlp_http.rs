//! OTLP over HTTP, as the OTLP specification 1.x has it: protobuf and JSON, partial success, errors as
//! `google.rpc.Status`, and CORS for browsers.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use wire::{Encoding, Signal, Summary};

use crate::ingest::{Envelope, Translation, content_encoding, media_type, unsupported};
use crate::{Ingest, Refusal, Via, reply};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Web pages that may send telemetry from a browser: patterns of origins such as `https://*.example.com`, in which `*`
/// stands for any text, as in the Collector's `cors.allowed_origins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Default for Origins {
    /// Pages served by this machine, on any port.
    fn default() -> Self {
        let own = ["localhost", "127.0.0.1", "[::1]"];
        Self(own.iter().flat_map(|h| [format!("http://{h}"), format!("http://{h}:*"), format!("https://{h}:*")]).collect())
    }
}

impl Origins {
    /// Origins that match one of `patterns`.
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether a page of this origin may send.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        self.0.iter().any(|p| matches(p, origin))
    }
}

/// Whether `text` is `pattern`, where `*` stands for any text. An origin's port is digits only, so that
/// `http://localhost:*` cannot be satisfied by `http://localhost:1.evil.example`.
fn matches(pattern: &str, text: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix(":*")
        && !prefix.contains('*')
    {
        return text
            .strip_prefix(prefix)
            .and_then(|t| t.strip_prefix(':'))
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    }
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => match text.strip_prefix(start) {
            None => false,
            Some(tail) => {
                rest.is_empty() || (0..=tail.len()).filter(|i| tail.is_char_boundary(*i)).any(|i| matches(rest, &tail[i..]))
            }
        },
    }
}

/// What answers look like at a path: OTLP's own, Loki's empty 204, or Prometheus' empty 200 with errors as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Otlp,
    Loki,
    Prometheus,
}

pub(crate) async fn handle<B>(
    ingest: &Ingest,
    origins: &Origins,
    signal: Signal,
    manner: Manner,
    request: Request<B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let mut response = match head.method {
        Method::OPTIONS => preflight(&head.headers),
        Method::POST => {
            let json = media_type(&head.headers).eq_ignore_ascii_case(JSON);
            let door = (Via::OtlpHttp, signal, begun);
            match ingest.run(envelope(&head.headers, signal, begun), door, &head.headers, body).await {
                Ok(summary) => success(signal, manner, json, &summary),
                Err(e) if manner == Manner::Prometheus => reply::refusal(&e),
                Err(e) => failure(&e, json),
            }
        }
        _ => reply::method_not_allowed("POST, OPTIONS"),
    };
    if let Some(origin) = head.headers.get(ORIGIN) {
        response.headers_mut().append(VARY, HeaderValue::from_static("Origin"));
        if origin.to_str().is_ok_and(|o| origins.allow(o)) {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
    }
    response
}

fn envelope(headers: &HeaderMap, signal: Signal, begun: Instant) -> Result<Envelope, Refusal> {
    let json = match media_type(headers) {
        t if t.eq_ignore_ascii_case(PROTOBUF) || t.eq_ignore_ascii_case("application/protobuf") => false,
        t if t.eq_ignore_ascii_case(JSON) => true,
        _ => return Err(unsupported(headers, "application/x-protobuf or application/json")),
    };
    let encoding = match (signal, json) {
        (Signal::Traces, false) => Encoding::OtlpTraces,
        (Signal::Traces, true) => Encoding::OtlpTracesJson,
        (Signal::Logs, false) => Encoding::OtlpLogs,
        (Signal::Logs, true) => Encoding::OtlpLogsJson,
        (Signal::Metrics, false) => Encoding::OtlpMetrics,
        (Signal::Metrics, true) => Encoding::OtlpMetricsJson,
    };
    Ok(Envelope { via: Via::OtlpHttp, encoding, compression: content_encoding(headers)?, begun, translation: Translation::None })
}

/// The answer to a browser that asks before it sends; whether it may is said by `Access-Control-Allow-Origin` alone.
fn preflight(headers: &HeaderMap) -> Response<Body> {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let out = response.headers_mut();
    out.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS"));
    if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        out.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        out.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    response
}

fn success(signal: Signal, manner: Manner, json: bool, summary: &Summary) -> Response<Body> {
    if manner != Manner::Otlp {
        let fine = if manner == Manner::Loki { StatusCode::NO_CONTENT } else { StatusCode::OK };
        return match summary.refused.total() {
            0 => reply::empty(fine),
            _ => reply::text(StatusCode::BAD_REQUEST, &summary.refused.message()),
        };
    }
    if !json {
        return reply::with(StatusCode::OK, PROTOBUF, partial_success(summary));
    }
    let body = match (summary.refused.total(), said(summary)) {
        (_, None) => "{}".to_owned(),
        (0, Some(warning)) => serde_json::json!({"partialSuccess": {"errorMessage": warning}}).to_string(),
        (n, Some(message)) => {
            let rejected = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            serde_json::json!({"partialSuccess": {rejected: n.to_string(), "errorMessage": message}}).to_string()
        }
    };
    reply::with(StatusCode::OK, JSON, body)
}

/// A failure as OTLP/HTTP has it: a `google.rpc.Status`, in JSON to whoever sent JSON (`headers` are the request's).
#[must_use]
pub fn error(status: StatusCode, code: u8, message: &str, headers: &HeaderMap) -> Response<Body> {
    said_no(status, code, message, media_type(headers).eq_ignore_ascii_case(JSON))
}

fn said_no(http: StatusCode, code: u8, message: &str, json: bool) -> Response<Body> {
    match json {
        true => reply::with(http, JSON, serde_json::json!({"code": code, "message": message}).to_string()),
        false => reply::with(http, PROTOBUF, status(code, message, None)),
    }
}

fn failure(refusal: &Refusal, json: bool) -> Response<Body> {
    let mut response = said_no(refusal.http_status(), refusal.grpc_code(), &refusal.to_string(), json);
    reply::retry_after(refusal, response.headers_mut());
    response
}

/// What was refused, or cut off what was kept; `None` where all is well.
fn said(summary: &Summary) -> Option<String> {
    let parts = [summary.refused.message(), summary.skipped.message()];
    let said = parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("; ");
    (!said.is_empty()).then_some(said)
}

/// `Export{Trace,Logs,Metrics}ServiceResponse`: empty, or `partial_success` (1) with the number of refused items (1) and the
/// reasons (2); the three messages have the same numbers. Without refused items the reasons are a warning.
pub(crate) fn partial_success(summary: &Summary) -> Vec<u8> {
    let Some(message) = said(summary) else { return Vec::new() };
    let mut partial = Vec::new();
    if summary.refused.total() > 0 {
        partial.push(0x08);
        varint(summary.refused.total(), &mut partial);
    }
    field(2, message.as_bytes(), &mut partial);
    let mut out = Vec::new();
    field(1, &partial, &mut out);
    out
}

/// `google.rpc.Status`: code (1), message (2), details (3) with a `RetryInfo` when trying again can help.
pub(crate) fn status(code: u8, message: &str, retry: Option<std::time::Duration>) -> Vec<u8> {
    let mut out = vec![0x08, code];
    field(2, message.as_bytes(), &mut out);
    if let Some(after) = retry {
        let mut seconds = vec![0x08];
        varint(after.as_secs(), &mut seconds);
        let (mut info, mut any) = (Vec::new(), Vec::new());
        field(1, &seconds, &mut info);
        field(1, b"type.googleapis.com/google.rpc.RetryInfo", &mut any);
        field(2, &info, &mut any);
        field(3, &any, &mut out);
    }
    out
}

/// A length-delimited protobuf field; `number` below 16.
fn field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_as_a_whole_and_ports_are_digits() {
        let own = Origins::default();
        for yes in ["http://localhost:8081", "http://127.0.0.1:3000", "https://localhost:8443", "http://localhost"] {
            assert!(own.allow(yes), "{yes}");
        }
        for no in ["http://localhost.evil.example", "http://localhost:1.evil.example", "http://evil.example", "null", ""] {
            assert!(!own.allow(no), "{no}");
        }
        let wide = Origins::new(vec!["https://*.example.com".into()]);
        assert!(wide.allow("https://shop.example.com"));
        assert!(!wide.allow("https://example.com"));
        assert!(!wide.allow("https://shop.example.com.evil.example"));
        assert!(Origins::new(vec!["*".into()]).allow("http://anything"));
    }
}
