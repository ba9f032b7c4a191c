//! Bytes to rows and back, as pure functions: OTLP (protobuf and JSON), Loki push (snappy protobuf and JSON),
//! Prometheus remote write and text exposition.
//!
//! A *walker* borrows from the request's bytes and calls a *sink* for each row; it builds no tree and allocates
//! nothing per record. What a protocol lets a receiver refuse item by item (a zero trace id, a time out of range) is
//! counted in the [`Summary`] and left out; what makes the whole request unreadable is a [`WireError`].
//! The same function checks a request before it is kept ([`check`], with a sink that drops everything) and later
//! feeds the store's column builders, so the two can never disagree.

mod encoding;
mod error;
pub mod remote_write;
mod sink;

pub use encoding::{Encoding, Signal, UnknownEncoding};
pub use error::WireError;
pub use sink::{Discard, LogSink, MetricKind, RawLabels, Refusals, SampleSink, SpanSink, Summary};
