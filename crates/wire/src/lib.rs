//! Bytes to rows and back, as pure functions: OTLP (protobuf and JSON), Loki push (snappy protobuf and JSON),
//! Prometheus remote write and text exposition; Zipkin and Jaeger to OTLP.
//!
//! A *walker* borrows from the request's bytes and calls a *sink* for each row; it builds no tree and allocates
//! nothing per record. What a protocol lets a receiver refuse item by item (a zero trace id, a time out of range) is
//! counted in the [`Summary`] and left out; what makes the whole request unreadable is a [`WireError`].
//! The same function checks a request before it is kept ([`check`], with a sink that drops everything) and later
//! feeds the store's column builders, so the two can never disagree.

mod base64;
pub mod datadog;
mod encoding;
mod error;
mod exemplar;
pub mod exposition;
#[doc(hidden)]
pub mod invariants;
pub mod jaeger;
mod json;
mod kept;
mod limits;
mod loki;
pub mod native;
pub mod otlp;
mod plain;
mod protobuf;
pub mod remote_read;
pub mod remote_write;
mod sink;
mod snappy;
pub mod syslog;
pub mod zipkin;

pub use encoding::{Encoding, Signal, UnknownEncoding};
pub use error::WireError;
pub use kept::{KeptAttributes, KeptColumn, KeptResource, KeptSpans, KeptValue, SpanKeeper, Stretch, Texts, Wanted};
pub use limits::Limits;
pub use loki::{PushEncoder, SERVICE_NAME_SOURCES, Told};
pub use plain::{Plain, Plains};
pub use sink::{Discard, Exemplar, LogSink, MetricKind, RawLabels, Refusals, SampleSink, SpanSink, Summary};
pub use snappy::block as snappy_block;

/// Reads a whole request and keeps nothing: what a receiver does before it appends. A request that passes is walked
/// without error later.
///
/// # Errors
/// [`WireError`] when the request as a whole cannot be read.
pub fn check(encoding: Encoding, bytes: &[u8], limits: &Limits) -> Result<Summary, WireError> {
    check_at(encoding, bytes, limits, 0)
}

/// The same for a request that came at `received` (nanoseconds since the Unix epoch): lines may be too old for it.
///
/// # Errors
/// As for [`check`].
pub fn check_at(encoding: Encoding, bytes: &[u8], limits: &Limits, received: i64) -> Result<Summary, WireError> {
    match encoding.signal() {
        Signal::Traces => walk_spans(encoding, bytes, limits, &mut Discard),
        Signal::Logs => walk_logs(encoding, bytes, limits, received, &mut Discard),
        Signal::Metrics => walk_samples(encoding, bytes, limits, &mut Discard),
    }
}

/// Calls `sink` for each span of a request. Rows may reach the sink before an error is found: [`check`] first.
///
/// # Errors
/// [`WireError`] when the request cannot be read; [`WireError::Malformed`] when `encoding` carries another signal.
pub fn walk_spans<S: SpanSink + ?Sized>(
    encoding: Encoding,
    bytes: &[u8],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    match encoding {
        Encoding::OtlpTraces => otlp::traces::walk(bytes, limits, sink),
        Encoding::OtlpTracesJson => otlp::traces::walk(&otlp::from_json(&otlp::TRACES, bytes, limits.max_depth)?, limits, sink),
        _ => Err(WRONG_SIGNAL),
    }
}

/// Calls `sink` for each log record of a request. A record that names neither its time nor when it was observed
/// gets the time `received` (nanoseconds since the Unix epoch: when the receiver took the request).
///
/// # Errors
/// As for [`walk_spans`].
pub fn walk_logs<S: LogSink + ?Sized>(
    encoding: Encoding,
    bytes: &[u8],
    limits: &Limits,
    received: i64,
    sink: &mut S,
) -> Result<Summary, WireError> {
    match encoding {
        Encoding::OtlpLogs => otlp::logs::walk(bytes, limits, received, sink),
        Encoding::OtlpLogsJson => {
            otlp::logs::walk(&otlp::from_json(&otlp::LOGS, bytes, limits.max_depth)?, limits, received, sink)
        }
        Encoding::LokiPush => loki::push::walk(bytes, limits, received, sink),
        Encoding::LokiPushJson => loki::json::walk(bytes, limits, received, sink),
        _ => Err(WRONG_SIGNAL),
    }
}

/// The same for a request whose body was kept when it was checked, see [`Plains`].
///
/// # Errors
/// As for [`walk_spans`].
pub fn walk_plain_logs<S: LogSink + ?Sized>(
    encoding: Encoding,
    bytes: &[u8],
    plain: Option<&Plain>,
    limits: &Limits,
    received: i64,
    sink: &mut S,
) -> Result<Summary, WireError> {
    match (encoding, plain) {
        (Encoding::LokiPush, Some(plain)) => loki::push::walk_body(plain.bytes(), limits, received, sink),
        _ => walk_logs(encoding, bytes, limits, received, sink),
    }
}

/// Calls `sink` for each sample of a request, and for each piece of metadata.
///
/// # Errors
/// As for [`walk_spans`].
pub fn walk_samples<S: SampleSink + ?Sized>(
    encoding: Encoding,
    bytes: &[u8],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    match encoding {
        Encoding::RemoteWrite => remote_write::walk(bytes, limits, sink),
        Encoding::RemoteWrite2 => remote_write::walk_v2(bytes, limits, sink),
        Encoding::OtlpMetrics => otlp::metrics::walk(bytes, limits, sink),
        Encoding::OtlpMetricsJson => {
            otlp::metrics::walk(&otlp::from_json(&otlp::METRICS, bytes, limits.max_depth)?, limits, sink)
        }
        _ => Err(WRONG_SIGNAL),
    }
}

/// An OTLP request in JSON as the same request in protobuf.
///
/// # Errors
/// [`WireError`] where it is none, or the encoding is another.
pub fn otlp_protobuf(encoding: Encoding, json: &[u8]) -> Result<Vec<u8>, WireError> {
    let depth = Limits::default().max_depth;
    let message = match encoding {
        Encoding::OtlpTracesJson => &otlp::TRACES,
        Encoding::OtlpLogsJson => &otlp::LOGS,
        Encoding::OtlpMetricsJson => &otlp::METRICS,
        _ => return Err(WRONG_SIGNAL),
    };
    otlp::from_json(message, json, depth)
}

const WRONG_SIGNAL: WireError = WireError::Malformed { what: "the encoding carries another signal", at: 0 };
