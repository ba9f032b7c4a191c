//! Rows as they pass from the decoders to the column builders: borrowed views, filled anew for each record, so that
//! the path from the socket to a column allocates nothing per record.
//!
//! The fields follow `opentelemetry-proto` 1.x (`trace.proto`, `logs.proto`, `resource.proto`, `common.proto`).

use std::ops::Range;

use crate::{Attr, SpanId, Timestamp, TraceId, Value};

/// What consecutive rows share: who sent them and through which library. A sink interns it once.
#[derive(Debug, Clone, Default)]
pub struct Group<'a> {
    /// Attributes of the resource.
    pub resource: &'a [Attr<'a>],
    /// `Resource.dropped_attributes_count`.
    pub resource_dropped: u32,
    /// `ResourceSpans.schema_url` / `ResourceLogs.schema_url`.
    pub resource_schema_url: &'a str,
    /// `InstrumentationScope.name`.
    pub scope_name: &'a str,
    /// `InstrumentationScope.version`.
    pub scope_version: &'a str,
    /// Attributes of the instrumentation scope.
    pub scope: &'a [Attr<'a>],
    /// `InstrumentationScope.dropped_attributes_count`.
    pub scope_dropped: u32,
    /// `ScopeSpans.schema_url` / `ScopeLogs.schema_url`.
    pub scope_schema_url: &'a str,
    /// Stream labels, sorted by name, names unique; logs only. For OTLP logs: what Loki's default mapping makes of the resource.
    pub labels: &'a [(&'a str, &'a str)],
}

/// One span.
#[derive(Debug, Clone, Default)]
pub struct Span<'a> {
    /// Never none in what Braid stores.
    pub trace_id: TraceId,
    /// Never none in what Braid stores.
    pub span_id: SpanId,
    /// None for a root.
    pub parent_span_id: SpanId,
    /// W3C `tracestate`.
    pub trace_state: &'a str,
    /// W3C trace flags and OTLP's remote bits.
    pub flags: u32,
    /// Operation name.
    pub name: &'a str,
    /// `Span.SpanKind`: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Start, nanoseconds since the Unix epoch.
    pub start: Timestamp,
    /// End, nanoseconds since the Unix epoch; may lie before the start when a clock was wrong.
    pub end: Timestamp,
    /// `Status.StatusCode`: 0 unset, 1 ok, 2 error.
    pub status_code: i32,
    /// Status message.
    pub status_message: &'a str,
    /// The span's own attributes, in wire order.
    pub attributes: &'a [Attr<'a>],
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
    /// Events, in wire order.
    pub events: &'a [Event<'a>],
    /// `dropped_events_count`.
    pub dropped_events: u32,
    /// Links, in wire order.
    pub links: &'a [Link<'a>],
    /// `dropped_links_count`.
    pub dropped_links: u32,
    /// The attributes of all events and links; each names its range.
    pub nested: &'a [Attr<'a>],
}

/// Something that happened during a span.
#[derive(Debug, Clone, Default)]
pub struct Event<'a> {
    /// When, nanoseconds since the Unix epoch.
    pub time: Timestamp,
    /// What.
    pub name: &'a str,
    /// Its attributes, as a range of [`Span::nested`].
    pub attributes: Range<usize>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}

/// A pointer from a span to another span.
#[derive(Debug, Clone, Default)]
pub struct Link<'a> {
    /// The other span's trace.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// Its `tracestate`.
    pub trace_state: &'a str,
    /// Its flags.
    pub flags: u32,
    /// Its attributes, as a range of [`Span::nested`].
    pub attributes: Range<usize>,
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}

/// One log line or log record.
#[derive(Debug, Clone)]
pub struct Log<'a> {
    /// When it happened; where the sender left that open, when it was observed. Nanoseconds since the Unix epoch.
    pub time: Timestamp,
    /// When it was observed; 0 where the protocol has no such time (Loki).
    pub observed: Timestamp,
    /// `SeverityNumber`, 0 to 24.
    pub severity_number: i32,
    /// Severity as the sender wrote it.
    pub severity_text: &'a str,
    /// The line. Text nearly always; OTLP allows every value.
    pub body: Value<'a>,
    /// `event_name`.
    pub event_name: &'a str,
    /// None when the record belongs to no trace.
    pub trace_id: TraceId,
    /// None when the record belongs to no span.
    pub span_id: SpanId,
    /// W3C trace flags.
    pub flags: u32,
    /// The record's own attributes (Loki: structured metadata), in wire order.
    pub attributes: &'a [Attr<'a>],
    /// `dropped_attributes_count`.
    pub dropped_attributes: u32,
}
