//! Spans in other forms than OTLP, over HTTP: Zipkin's JSON (`POST /api/v2/spans`) and Jaeger's Thrift (`POST /api/traces`).
//! They are translated into OTLP at the door, so that the rest of the way is the same.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use wire::jaeger::Protocol;
use wire::{Encoding, Signal};

use crate::ingest::{Envelope, Translation, content_encoding, media_type, unsupported};
use crate::{Ingest, Refusal, Via, reply};

/// Whose form.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Door {
    Zipkin { parse_tags: bool },
    Jaeger,
}

pub(crate) async fn handle<B>(ingest: &Ingest, door: Door, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return reply::method_not_allowed("POST");
    }
    let via = match door {
        Door::Zipkin { .. } => Via::Zipkin,
        Door::Jaeger => Via::JaegerHttp,
    };
    let envelope = translation(door, &head.headers).and_then(|translation| {
        let compression = content_encoding(&head.headers)?;
        Ok(Envelope { via, encoding: Encoding::OtlpTraces, compression, begun, translation })
    });
    match ingest.run(envelope, (via, Signal::Traces, begun), &head.headers, body).await {
        // Both protocols have no word for a part: what was left out stands in the metrics, unless it was all.
        Ok(summary) if summary.accepted == 0 && summary.refused.total() > 0 => {
            reply::text(StatusCode::BAD_REQUEST, &summary.refused.message())
        }
        Ok(_) => reply::empty(StatusCode::ACCEPTED),
        Err(refusal) => reply::refusal(&refusal),
    }
}

fn translation(door: Door, headers: &HeaderMap) -> Result<Translation, Refusal> {
    let media_type = media_type(headers).to_ascii_lowercase();
    match (door, media_type.as_str()) {
        // Some senders name no type.
        (Door::Zipkin { parse_tags }, "application/json" | "text/plain" | "") => Ok(Translation::Zipkin(parse_tags)),
        (Door::Zipkin { .. }, _) => Err(unsupported(headers, "application/json")),
        (Door::Jaeger, "application/x-thrift" | "application/vnd.apache.thrift.binary") => {
            Ok(Translation::JaegerThrift(Protocol::Binary))
        }
        (Door::Jaeger, "application/vnd.apache.thrift.compact") => Ok(Translation::JaegerThrift(Protocol::Compact)),
        (Door::Jaeger, _) => Err(unsupported(headers, "application/x-thrift")),
    }
}
