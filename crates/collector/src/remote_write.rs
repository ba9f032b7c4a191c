//! Prometheus remote write 1.0 and 2.0.
//!
//! What is wrong with samples is 400, never 5xx: senders retry a 5xx for ever. The good samples of such a request are kept,
//! and both versions are told how many (2.0 asks for that).

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use wire::{Encoding, Signal, Summary};

use crate::ingest::{Envelope, Translation, unsupported};
use crate::{ContentEncoding, Ingest, Refusal, Via, reply};

/// How much was written, as remote write 2.0 asks receivers to say; 1.0 senders ignore it.
const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

const EXPECTED: &str = "application/x-protobuf with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request";

pub(crate) async fn handle<B>(ingest: &Ingest, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return reply::method_not_allowed("POST");
    }
    let door = (Via::RemoteWrite, Signal::Metrics, begun);
    let (mut response, written) = match ingest.run(envelope(&head.headers, begun), door, &head.headers, body).await {
        Ok(summary) if summary.refused.total() == 0 => (reply::empty(StatusCode::NO_CONTENT), summary),
        Ok(summary) => (reply::text(StatusCode::BAD_REQUEST, &summary.refused.message()), summary),
        Err(e) => (reply::refusal(&e), Summary::default()),
    };
    let headers = response.headers_mut();
    headers.insert(SAMPLES, HeaderValue::from(written.accepted.saturating_sub(written.histograms)));
    headers.insert(HISTOGRAMS, HeaderValue::from(written.histograms));
    headers.insert(EXEMPLARS, HeaderValue::from(written.exemplars));
    response
}

fn envelope(headers: &HeaderMap, begun: Instant) -> Result<Envelope, Refusal> {
    let mut encoding = Encoding::RemoteWrite;
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        let text = content_type.to_str().unwrap_or("?");
        let mut parts = text.split(';').map(str::trim);
        let protobuf = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/x-protobuf"));
        encoding = match parts.find_map(|p| p.strip_prefix("proto=")).map(str::trim) {
            None | Some("prometheus.WriteRequest") if protobuf => Encoding::RemoteWrite,
            Some("io.prometheus.write.v2.Request") if protobuf => Encoding::RemoteWrite2,
            // A sender of 2.0 falls back to 1.0 on 415.
            _ => return Err(unsupported(headers, EXPECTED)),
        };
    }
    match headers.get(CONTENT_ENCODING).map(|v| v.as_bytes().trim_ascii()) {
        // The snappy is part of the message, see `wire::Encoding`.
        None | Some(b"" | b"snappy" | b"Snappy") => Ok(Envelope {
            via: Via::RemoteWrite,
            encoding,
            compression: ContentEncoding::Identity,
            begun,
            translation: Translation::None,
        }),
        Some(other) => {
            Err(Refusal::ContentEncoding { found: String::from_utf8_lossy(other).into_owned(), expected: "snappy is" })
        }
    }
}
