//! Loki's push API: 204 when all was kept; else a line of text, as Loki says it.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use wire::{Encoding, Signal};

use crate::ingest::{Envelope, Translation, content_encoding, media_type};
use crate::{ContentEncoding, Ingest, Refusal, Via, reply};

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
    let door = (Via::LokiPush, Signal::Logs, begun);
    match ingest.run(envelope(&head.headers, begun), door, &head.headers, body).await {
        Ok(summary) if summary.refused.total() == 0 => reply::empty(StatusCode::NO_CONTENT),
        // The good lines are kept; 400 makes clients drop the batch instead of sending it again.
        Ok(summary) => reply::text(StatusCode::BAD_REQUEST, &summary.told.message()),
        Err(e) => reply::refusal(&e),
    }
}

/// Like Loki, everything that is not JSON is snappy-compressed protobuf.
fn envelope(headers: &HeaderMap, begun: Instant) -> Result<Envelope, Refusal> {
    let json = media_type(headers).eq_ignore_ascii_case("application/json");
    let encoding = if json { Encoding::LokiPushJson } else { Encoding::LokiPush };
    let snappy = headers.get(http::header::CONTENT_ENCODING).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"snappy"));
    // The snappy that is part of the protobuf form stays; some clients declare it, and Loki reads JSON past such a header.
    let compression = if snappy { ContentEncoding::Identity } else { content_encoding(headers)? };
    Ok(Envelope { via: Via::LokiPush, encoding, compression, begun, translation: Translation::None })
}
