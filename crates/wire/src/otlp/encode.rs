//! Rows to OTLP: the inverse of the walkers. An encoder is a sink, so that walking a request into one gives the
//! request back.

use model::{Attr, Group, Log, Span, Value};

use super::from_json::append_json;
use super::schema::{ANY_VALUE, LOGS, Message, RESOURCE_LOGS, RESOURCE_SPANS};
use super::to_json::{Style, to_json};
use crate::json::push_string;
use crate::protobuf::{Reader, write};
use crate::{Limits, LogSink, SpanSink, WireError};

/// Spans to `TracesData` (`ExportTraceServiceRequest` and Tempo's `Trace` are the same on the wire). Consecutive groups
/// of the same resource share one `ResourceSpans`.
#[derive(Debug, Default)]
pub struct TraceEncoder(Frame);

/// Log records to `LogsData` (`ExportLogsServiceRequest` on the wire). Stream labels are not written: for OTLP logs they
/// follow from the resource.
#[derive(Debug, Default)]
pub struct LogEncoder(Frame);

/// `ResourceSpans` and `ResourceLogs` have the same frame.
#[derive(Debug, Default)]
struct Frame {
    out: Vec<u8>,
    /// The current resource's own fields, to compare with the next one's.
    resource: Vec<u8>,
    schema_url: String,
    /// `Scope*` messages of the current resource.
    scopes: Vec<u8>,
    /// The current `Scope*` message.
    scope: Vec<u8>,
    /// Whether it has records; without any it is not written.
    recorded: bool,
    error: Option<WireError>,
}

impl Frame {
    fn group(&mut self, group: &Group<'_>) {
        self.close_scope();
        let mut resource = Vec::new();
        self.attributes(&mut resource, 1, group.resource);
        write::put_varint(&mut resource, 2, group.resource_dropped.into());
        if self.resource != resource || self.schema_url != group.resource_schema_url {
            self.close_resource();
            self.resource = resource;
            group.resource_schema_url.clone_into(&mut self.schema_url);
        }
        let mut scope = Vec::new();
        write::put_bytes(&mut scope, 1, group.scope_name.as_bytes());
        write::put_bytes(&mut scope, 2, group.scope_version.as_bytes());
        self.attributes(&mut scope, 3, group.scope);
        write::put_varint(&mut scope, 4, group.scope_dropped.into());
        // A schema URL comes last in the schema; nothing minds it in front of the records.
        write::put_bytes(&mut self.scope, 3, group.scope_schema_url.as_bytes());
        write::put_bytes(&mut self.scope, 1, &scope);
    }

    fn attributes(&mut self, out: &mut Vec<u8>, field: u32, attributes: &[Attr<'_>]) {
        if let Err(e) = put_attributes(out, field, attributes) {
            self.error.get_or_insert(e);
        }
    }

    fn record(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), WireError>) {
        self.recorded = true;
        if let Err(e) = write::try_message(&mut self.scope, 2, fill) {
            self.error.get_or_insert(e);
        }
    }

    fn close_scope(&mut self) {
        if self.recorded && self.scopes.is_empty() {
            // Mostly there is one scope of one resource: what is large stays where it was written.
            write::wrap(&mut self.scope, 2, &[]);
            std::mem::swap(&mut self.scopes, &mut self.scope);
        } else if self.recorded {
            write::set_bytes(&mut self.scopes, 2, &self.scope);
        }
        self.recorded = false;
        self.scope.clear();
    }

    fn close_resource(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        if self.out.is_empty() {
            let mut resource = Vec::new();
            write::put_bytes(&mut resource, 1, &self.resource);
            write::put_bytes(&mut self.scopes, 3, self.schema_url.as_bytes());
            write::wrap(&mut self.scopes, 1, &resource);
            std::mem::swap(&mut self.out, &mut self.scopes);
        } else {
            write::message(&mut self.out, 1, |out| {
                write::put_bytes(out, 1, &self.resource);
                out.extend_from_slice(&self.scopes);
                write::put_bytes(out, 3, self.schema_url.as_bytes());
            });
            self.scopes.clear();
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, WireError> {
        self.close_scope();
        self.close_resource();
        self.error.map_or(Ok(self.out), Err)
    }
}

impl TraceEncoder {
    /// An encoder with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Frame { scope: Vec::with_capacity(bytes), ..Frame::default() })
    }

    /// Bytes of the message so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.out.len() + self.0.scopes.len() + self.0.scope.len()
    }

    /// The message.
    ///
    /// # Errors
    /// When a [`Value::Nested`] was not OTLP/JSON, which no walker produces.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        self.0.finish()
    }
}

impl LogEncoder {
    /// The message.
    ///
    /// # Errors
    /// As for [`TraceEncoder::finish`].
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        self.0.finish()
    }
}

impl SpanSink for TraceEncoder {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
    }

    fn span(&mut self, span: &Span<'_>) {
        self.0.record(|out| put_span(out, span));
    }
}

impl LogSink for LogEncoder {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        self.0.record(|out| put_log(out, log));
    }
}

/// A `TracesData` message as JSON: `{"<list>":[…]}`, where `list` is `resourceSpans`, or `batches` as Tempo's v1 answer
/// calls it.
///
/// # Errors
/// [`WireError`] when `traces` is no such message.
pub fn traces_json(traces: &[u8], style: Style, list: &str) -> Result<String, WireError> {
    list_json(&RESOURCE_SPANS, traces, style, list)
}

/// A `LogsData` message as JSON: `{"resourceLogs":[…]}`.
///
/// # Errors
/// [`WireError`] when `logs` is no such message.
pub fn logs_json(logs: &[u8], style: Style) -> Result<String, WireError> {
    list_json(&RESOURCE_LOGS, logs, style, LOGS.fields[0].name)
}

fn list_json(element: &Message, bytes: &[u8], style: Style, list: &str) -> Result<String, WireError> {
    let mut out = String::from("{");
    push_string(&mut out, list);
    out.push_str(":[");
    let mut r = Reader::new(bytes);
    let mut separator = "";
    while let Some(f) = r.field("a request")? {
        if f.number == 1 {
            out.push_str(separator);
            separator = ",";
            to_json(element, f.message()?, style, Limits::default().max_depth, &mut out)?;
        }
    }
    out.push_str("]}");
    Ok(out)
}

fn put_span(out: &mut Vec<u8>, span: &Span<'_>) -> Result<(), WireError> {
    write::put_bytes(out, 1, &span.trace_id.0);
    write::put_bytes(out, 2, &span.span_id.0);
    write::put_bytes(out, 3, span.trace_state.as_bytes());
    if !span.parent_span_id.is_none() {
        write::put_bytes(out, 4, &span.parent_span_id.0);
    }
    write::put_bytes(out, 5, span.name.as_bytes());
    write::put_varint(out, 6, i64::from(span.kind) as u64);
    write::put_fixed64(out, 7, span.start as u64);
    write::put_fixed64(out, 8, span.end as u64);
    put_attributes(out, 9, span.attributes)?;
    write::put_varint(out, 10, span.dropped_attributes.into());
    for event in span.events {
        write::try_message(out, 11, |out| {
            write::put_fixed64(out, 1, event.time as u64);
            write::put_bytes(out, 2, event.name.as_bytes());
            put_attributes(out, 3, span.nested.get(event.attributes.clone()).unwrap_or_default())?;
            write::put_varint(out, 4, event.dropped_attributes.into());
            Ok(())
        })?;
    }
    write::put_varint(out, 12, span.dropped_events.into());
    for link in span.links {
        write::try_message(out, 13, |out| {
            if !link.trace_id.is_none() {
                write::put_bytes(out, 1, &link.trace_id.0);
            }
            if !link.span_id.is_none() {
                write::put_bytes(out, 2, &link.span_id.0);
            }
            write::put_bytes(out, 3, link.trace_state.as_bytes());
            put_attributes(out, 4, span.nested.get(link.attributes.clone()).unwrap_or_default())?;
            write::put_varint(out, 5, link.dropped_attributes.into());
            write::put_fixed32(out, 6, link.flags);
            Ok(())
        })?;
    }
    write::put_varint(out, 14, span.dropped_links.into());
    if span.status_code != 0 || !span.status_message.is_empty() {
        write::message(out, 15, |out| {
            write::put_bytes(out, 2, span.status_message.as_bytes());
            write::put_varint(out, 3, i64::from(span.status_code) as u64);
        });
    }
    write::put_fixed32(out, 16, span.flags);
    Ok(())
}

fn put_log(out: &mut Vec<u8>, log: &Log<'_>) -> Result<(), WireError> {
    write::put_fixed64(out, 1, log.time as u64);
    write::put_varint(out, 2, i64::from(log.severity_number) as u64);
    write::put_bytes(out, 3, log.severity_text.as_bytes());
    // An empty value and no body at all are the same.
    if log.body != Value::Nested("{}".into()) {
        write::try_message(out, 5, |out| put_value(out, &log.body))?;
    }
    put_attributes(out, 6, log.attributes)?;
    write::put_varint(out, 7, log.dropped_attributes.into());
    write::put_fixed32(out, 8, log.flags);
    if !log.trace_id.is_none() {
        write::put_bytes(out, 9, &log.trace_id.0);
    }
    if !log.span_id.is_none() {
        write::put_bytes(out, 10, &log.span_id.0);
    }
    write::put_fixed64(out, 11, log.observed as u64);
    write::put_bytes(out, 12, log.event_name.as_bytes());
    Ok(())
}

fn put_attributes(out: &mut Vec<u8>, field: u32, attributes: &[Attr<'_>]) -> Result<(), WireError> {
    attributes.iter().try_for_each(|attr| {
        write::try_message(out, field, |out| {
            write::put_bytes(out, 1, attr.key.as_bytes());
            write::try_message(out, 2, |out| put_value(out, &attr.value))
        })
    })
}

/// The fields of an `AnyValue`.
fn put_value(out: &mut Vec<u8>, value: &Value<'_>) -> Result<(), WireError> {
    match value {
        Value::Str(s) => write::set_bytes(out, 1, s.as_bytes()),
        Value::Bool(b) => write::set_varint(out, 2, u64::from(*b)),
        Value::Int(i) => write::set_varint(out, 3, *i as u64),
        Value::Double(d) => write::set_fixed64(out, 4, d.to_bits()),
        Value::Bytes(b) => write::set_bytes(out, 7, b),
        Value::Nested(text) => append_json(&ANY_VALUE, text.as_bytes(), 2 * Limits::default().max_depth, out)?,
    }
    Ok(())
}
