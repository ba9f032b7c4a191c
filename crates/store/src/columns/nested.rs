//! Events and links: kept as one JSON text a span, read back as the contract's lists. Attributes and bodies that are
//! not text are written as OTLP/JSON (the protobuf JSON mapping with OTLP's exceptions).
//!
//! `[{"time":1,"name":"exception","dropped":0,"attributes":[{"key":"k","value":{"stringValue":"v"}}]}]` and
//! `[{"trace_id":"<hex>","span_id":"<hex>","trace_state":"","flags":0,"dropped":0,"attributes":[]}]`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int64Array, ListArray, StringArray, StructArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field as ArrowField, Fields};
use model::{Attr, Span, SpanId, TraceId, Value};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rest::json_string;
use super::text::Texts;
use crate::StoreError;

/// Appends a value as the JSON of an OTLP `AnyValue`.
pub(crate) fn any_value(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Str(s) => {
            out.push_str("{\"stringValue\":");
            json_string(out, s);
        }
        Value::Nested(json) => return out.push_str(json),
        Value::Bool(b) => {
            let _ = write!(out, "{{\"boolValue\":{b}");
        }
        Value::Int(i) => {
            let _ = write!(out, "{{\"intValue\":\"{i}\"");
        }
        Value::Double(d) if d.is_finite() => {
            let _ = write!(out, "{{\"doubleValue\":{d:?}");
        }
        Value::Double(d) => {
            let name = if d.is_nan() {
                "NaN"
            } else if *d > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            let _ = write!(out, "{{\"doubleValue\":\"{name}\"");
        }
        Value::Bytes(bytes) => {
            out.push_str("{\"bytesValue\":\"");
            base64(out, bytes);
            out.push('"');
        }
    }
    out.push('}');
}

/// Standard alphabet, padded, as protobuf's JSON mapping wants it.
fn base64(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, &b)| bits | u32::from(b) << (16 - 8 * i));
        for i in 0..4 {
            out.push(if i <= chunk.len() { DIGITS[(bits >> (18 - 6 * i)) as usize & 63] as char } else { '=' });
        }
    }
}

fn key_values(out: &mut String, attributes: &[Attr<'_>]) {
    out.push('[');
    for (i, attribute) in attributes.iter().enumerate() {
        out.push_str(if i > 0 { ",{\"key\":" } else { "{\"key\":" });
        json_string(out, attribute.key);
        out.push_str(",\"value\":");
        any_value(out, &attribute.value);
        out.push('}');
    }
    out.push(']');
}

/// Writes a span's events.
pub(crate) fn write_events(span: &Span<'_>, out: &mut String) {
    out.clear();
    for event in span.events {
        let _ = write!(out, "{}{{\"time\":{},\"name\":", if out.is_empty() { '[' } else { ',' }, event.time);
        json_string(out, event.name);
        let _ = write!(out, ",\"dropped\":{},\"attributes\":", event.dropped_attributes);
        key_values(out, span.nested.get(event.attributes.clone()).unwrap_or_default());
        out.push('}');
    }
    out.push(']');
}

/// Writes a span's links.
pub(crate) fn write_links(span: &Span<'_>, out: &mut String) {
    out.clear();
    for link in span.links {
        let open = if out.is_empty() { '[' } else { ',' };
        let _ = write!(out, "{open}{{\"trace_id\":\"{}\",\"span_id\":\"{}\",\"trace_state\":", link.trace_id, link.span_id);
        json_string(out, link.trace_state);
        let _ = write!(out, ",\"flags\":{},\"dropped\":{},\"attributes\":", link.flags, link.dropped_attributes);
        key_values(out, span.nested.get(link.attributes.clone()).unwrap_or_default());
        out.push('}');
    }
    out.push(']');
}

#[derive(Deserialize)]
struct KeptEvent<'a> {
    time: i64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    dropped: u32,
    #[serde(borrow)]
    attributes: &'a RawValue,
}

#[derive(Deserialize)]
struct KeptLink<'a> {
    #[serde(borrow)]
    trace_id: Cow<'a, str>,
    #[serde(borrow)]
    span_id: Cow<'a, str>,
    #[serde(borrow)]
    trace_state: Cow<'a, str>,
    flags: u32,
    dropped: u32,
    #[serde(borrow)]
    attributes: &'a RawValue,
}

/// Reads each row's JSON array; `None` rows are null.
fn parse<'a, T: Deserialize<'a>>(column: &'a ArrayRef) -> Result<(Vec<T>, Vec<i32>, Vec<bool>), StoreError> {
    let texts = Texts::of(column);
    let (mut items, mut ends, mut valid) = (Vec::new(), vec![0i32], Vec::new());
    for row in 0..column.len() {
        let text = texts.as_ref().and_then(|t| t.get(row));
        if let Some(text) = text {
            let parsed: Vec<T> = serde_json::from_str(text).map_err(StoreError::columns("read events and links"))?;
            items.extend(parsed);
        }
        valid.push(text.is_some());
        ends.push(items.len() as i32);
    }
    Ok((items, ends, valid))
}

fn list(fields: Vec<ArrowField>, arrays: Vec<ArrayRef>, ends: Vec<i32>, valid: Vec<bool>) -> Result<ArrayRef, StoreError> {
    let fields = Fields::from(fields);
    let values = StructArray::try_new(fields.clone(), arrays, None).map_err(StoreError::columns("build events and links"))?;
    let item = Arc::new(ArrowField::new("item", DataType::Struct(fields), false));
    let offsets = OffsetBuffer::new(ends.into());
    let list = ListArray::try_new(item, offsets, Arc::new(values), Some(NullBuffer::from(valid)));
    Ok(Arc::new(list.map_err(StoreError::columns("build events and links"))?))
}

/// The contract's list of events from the kept text.
///
/// # Errors
/// A text that [`write_events`] did not write: a corrupt segment.
pub(crate) fn events_list(column: &ArrayRef) -> Result<ArrayRef, StoreError> {
    let (items, ends, valid) = parse::<KeptEvent<'_>>(column)?;
    let fields = vec![
        ArrowField::new("time", DataType::Int64, false),
        ArrowField::new("name", DataType::Utf8, false),
        ArrowField::new("dropped", DataType::UInt32, false),
        ArrowField::new("attributes", DataType::Utf8, false),
    ];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(items.iter().map(|e| e.time))),
        Arc::new(StringArray::from_iter_values(items.iter().map(|e| &*e.name))),
        Arc::new(UInt32Array::from_iter_values(items.iter().map(|e| e.dropped))),
        Arc::new(StringArray::from_iter_values(items.iter().map(|e| e.attributes.get()))),
    ];
    list(fields, arrays, ends, valid)
}

/// The contract's list of links from the kept text.
///
/// # Errors
/// As for [`events_list`].
pub(crate) fn links_list(column: &ArrayRef) -> Result<ArrayRef, StoreError> {
    let (items, ends, valid) = parse::<KeptLink<'_>>(column)?;
    let fields = vec![
        ArrowField::new("trace_id", DataType::FixedSizeBinary(16), false),
        ArrowField::new("span_id", DataType::FixedSizeBinary(8), false),
        ArrowField::new("trace_state", DataType::Utf8, false),
        ArrowField::new("flags", DataType::UInt32, false),
        ArrowField::new("dropped", DataType::UInt32, false),
        ArrowField::new("attributes", DataType::Utf8, false),
    ];
    let traces: Vec<[u8; 16]> = items.iter().map(|l| l.trace_id.parse::<TraceId>().unwrap_or_default().0).collect();
    let spans: Vec<[u8; 8]> = items.iter().map(|l| l.span_id.parse::<SpanId>().unwrap_or_default().0).collect();
    let arrays: Vec<ArrayRef> = vec![
        fixed(16, traces.as_flattened())?,
        fixed(8, spans.as_flattened())?,
        Arc::new(StringArray::from_iter_values(items.iter().map(|l| &*l.trace_state))),
        Arc::new(UInt32Array::from_iter_values(items.iter().map(|l| l.flags))),
        Arc::new(UInt32Array::from_iter_values(items.iter().map(|l| l.dropped))),
        Arc::new(StringArray::from_iter_values(items.iter().map(|l| l.attributes.get()))),
    ];
    list(fields, arrays, ends, valid)
}

fn fixed(width: i32, bytes: &[u8]) -> Result<ArrayRef, StoreError> {
    let array = FixedSizeBinaryArray::try_new(width, arrow_buffer::Buffer::from_slice_ref(bytes), None);
    Ok(Arc::new(array.map_err(StoreError::columns("build ids"))?))
}
