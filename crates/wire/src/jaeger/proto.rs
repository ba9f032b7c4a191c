//! `jaeger.api_v2.PostSpansRequest` (`model.proto`, `collector.proto` of jaeger-idl).

use std::borrow::Cow;

use model::{OwnedValue, SpanId, TraceId};

use super::span::{JaegerSpan, Process, Reference, Tag, Translator};
use crate::protobuf::Reader;
use crate::{Limits, WireError};

/// The spans of a `PostSpansRequest` as an `ExportTraceServiceRequest`.
///
/// # Errors
/// [`WireError`] when the request cannot be read or exceeds the limits.
pub fn to_otlp(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, WireError> {
    let mut translator = Translator::new(limits);
    let mut r = Reader::new(bytes);
    while let Some(f) = r.field("PostSpansRequest")? {
        if f.number != 1 {
            continue;
        }
        let batch = f.message()?;
        // The process may stand behind the spans that it is of.
        let mut process = Process::default();
        let mut r = batch;
        while let Some(f) = r.field("Batch")? {
            if f.number == 2 {
                process = self::process(f.message()?, limits)?;
            }
        }
        let mut r = batch;
        while let Some(f) = r.field("Batch")? {
            if f.number == 1 {
                let (own, span) = span(f.message()?, limits)?;
                translator.span(own.as_ref().unwrap_or(&process), span)?;
            }
        }
    }
    translator.finish()
}

fn process(mut r: Reader<'_>, limits: &Limits) -> Result<Process, WireError> {
    let mut process = Process::default();
    while let Some(f) = r.field("Process")? {
        match f.number {
            1 => process.service = f.string("Process.service_name")?.to_owned(),
            2 => push(&mut process.tags, tag(f.message()?)?, limits)?,
            _ => {}
        }
    }
    Ok(process)
}

fn push(tags: &mut Vec<Tag>, tag: Tag, limits: &Limits) -> Result<(), WireError> {
    if tags.len() >= limits.max_attributes_per_record {
        return Err(WireError::TooLarge { what: "the number of tags", limit: limits.max_attributes_per_record });
    }
    tags.push(tag);
    Ok(())
}

fn tag(mut r: Reader<'_>) -> Result<Tag, WireError> {
    let (mut key, mut kind) = (String::new(), 0);
    let (mut text, mut boolean, mut int, mut double, mut binary) = ("", false, 0, 0.0, &[][..]);
    while let Some(f) = r.field("KeyValue")? {
        match f.number {
            1 => key = f.string("KeyValue.key")?.to_owned(),
            2 => kind = f.u32()?,
            3 => text = f.string("KeyValue.v_str")?,
            4 => boolean = f.varint()? != 0,
            5 => int = f.varint()? as i64,
            6 => double = f.double()?,
            7 => binary = f.bytes()?,
            _ => {}
        }
    }
    let value = match kind {
        0 => OwnedValue::Str(text.to_owned()),
        1 => OwnedValue::Bool(boolean),
        2 => OwnedValue::Int(int),
        3 => OwnedValue::Double(double),
        4 => OwnedValue::Bytes(binary.to_vec()),
        other => OwnedValue::Str(format!("<Unknown Jaeger TagType \"{other}\">")),
    };
    Ok(Tag { key, value })
}

/// An id of up to `N` bytes, filled with zeros on the left; longer ones are none.
fn id<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = N.checked_sub(bytes.len()) {
        out[from..].copy_from_slice(bytes);
    }
    out
}

/// `google.protobuf.Timestamp` and `Duration`: nanoseconds.
fn nanoseconds(mut r: Reader<'_>) -> Result<i64, WireError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    while let Some(f) = r.field("Timestamp")? {
        match f.number {
            1 => seconds = f.varint()? as i64,
            2 => nanos = f.varint()? as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn reference(mut r: Reader<'_>) -> Result<Reference, WireError> {
    let mut reference = Reference::default();
    while let Some(f) = r.field("SpanRef")? {
        match f.number {
            1 => reference.trace = TraceId(id(f.bytes()?)),
            2 => reference.span = SpanId(id(f.bytes()?)),
            3 => reference.follows = f.u32()? == 1,
            _ => {}
        }
    }
    Ok(reference)
}

/// The span, and its own process where it has one.
fn span(mut r: Reader<'_>, limits: &Limits) -> Result<(Option<Process>, JaegerSpan), WireError> {
    let mut span = JaegerSpan::default();
    let (mut own, mut nested) = (None, 0);
    let mut count = |what| {
        nested += 1;
        if nested > limits.max_events_per_span {
            return Err(WireError::TooLarge { what, limit: limits.max_events_per_span });
        }
        Ok(())
    };
    while let Some(f) = r.field("Span")? {
        match f.number {
            1 => span.trace = TraceId(id(f.bytes()?)),
            2 => span.id = SpanId(id(f.bytes()?)),
            3 => span.name = f.string("Span.operation_name")?.to_owned(),
            4 => {
                count("the number of references and logs of a span")?;
                span.references.push(reference(f.message()?)?);
            }
            6 => span.start = nanoseconds(f.message()?)?,
            7 => span.duration = nanoseconds(f.message()?)?,
            8 => push(&mut span.tags, tag(f.message()?)?, limits)?,
            9 => {
                count("the number of references and logs of a span")?;
                let (mut time, mut fields) = (0, Vec::new());
                let mut r = f.message()?;
                while let Some(f) = r.field("Log")? {
                    match f.number {
                        1 => time = nanoseconds(f.message()?)?,
                        2 => push(&mut fields, tag(f.message()?)?, limits)?,
                        _ => {}
                    }
                }
                span.logs.push((time, fields));
            }
            10 => own = Some(process(f.message()?, limits)?),
            12 => {
                let warning = Cow::from(f.string("Span.warnings")?);
                push(&mut span.tags, Tag { key: "jaeger.warning".into(), value: OwnedValue::Str(warning.into()) }, limits)?;
            }
            _ => {}
        }
    }
    Ok((own, span))
}
