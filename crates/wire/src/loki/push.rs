//! `logproto.PushRequest` in a snappy block.

use model::{Attr, Group, Log, SpanId, Timestamp, TraceId, Value};

use super::{BAD_LABELS, BAD_TIME, StreamLabels, TOO_NEW, TOO_OLD};
use crate::protobuf::Reader;
use crate::snappy::decompressed;
use crate::{Limits, LogSink, Summary, WireError};

/// Calls `sink` for each line of the request in `bytes`, which came at `received` (0 for not known).
///
/// A line is bytes to Loki; what of it is not UTF-8 becomes U+FFFD here, as it does in Loki's own JSON answers.
pub(crate) fn walk<S: LogSink + ?Sized>(
    bytes: &[u8],
    limits: &Limits,
    received: Timestamp,
    sink: &mut S,
) -> Result<Summary, WireError> {
    decompressed(bytes, limits.max_uncompressed, |body| walk_body(body, limits, received, sink))
}

/// The same of the request without its compression.
pub(crate) fn walk_body<S: LogSink + ?Sized>(
    body: &[u8],
    limits: &Limits,
    received: Timestamp,
    sink: &mut S,
) -> Result<Summary, WireError> {
    let times = limits.line_times(received);
    let mut summary = Summary::default();
    let mut labels = StreamLabels::default();
    let mut metadata = Vec::new();
    let mut r = Reader::new(body);
    while let Some(f) = r.field("PushRequest")? {
        if f.number != 1 {
            continue;
        }
        let stream = f.message()?;
        let mut text = "";
        let mut r = stream;
        while let Some(f) = r.field("Stream")? {
            if f.number == 1 {
                text = f.string("Stream.labels")?;
            }
        }
        let broken = labels.parse(text, limits)?.err();
        let refused = if broken.is_some() { Some(BAD_LABELS) } else { labels.finish(limits).err() };
        let pairs: Vec<(&str, &str)> = labels.pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
        if refused.is_none() {
            sink.group(&Group { labels: &pairs, ..Group::default() });
        }
        let mut told = false;
        let mut r = stream;
        while let Some(f) = r.field("Stream")? {
            if f.number == 2 {
                let (time, line) = entry(f.message()?, &mut metadata, limits)?;
                match refused.map_or_else(|| time.ok_or(BAD_TIME), Err) {
                    Ok(time) if time < *times.start() => {
                        summary.refused.add(TOO_OLD);
                        summary.told.too_old(&labels, time, *times.start());
                    }
                    Ok(time) if time > *times.end() => {
                        summary.refused.add(TOO_NEW);
                        summary.told.too_new(&labels, time);
                    }
                    Ok(time) => {
                        summary.accepted += 1;
                        // Whatever the bytes are, they are taken.
                        if sink.wants_records() {
                            match std::str::from_utf8(line) {
                                Ok(line) => sink.log(&line_of(time, Value::Str(line), &metadata)),
                                Err(_) => {
                                    sink.log(&line_of(time, Value::Str(&String::from_utf8_lossy(line)), &metadata));
                                }
                            }
                        }
                    }
                    Err(reason) => {
                        summary.refused.add(reason);
                        // A stream that is refused is told of once.
                        if refused.is_none() || !std::mem::replace(&mut told, true) {
                            match &broken {
                                Some(why) => summary.told.bad_labels(text, why),
                                None => summary.told.refused(&labels, reason),
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(summary)
}

/// A record as Loki knows it: a time, a line, structured metadata.
pub(super) fn line_of<'a>(time: Timestamp, body: Value<'a>, metadata: &'a [Attr<'a>]) -> Log<'a> {
    Log {
        time,
        observed: 0,
        severity_number: 0,
        severity_text: "",
        body,
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes: metadata,
        dropped_attributes: 0,
    }
}

/// Adds a pair of structured metadata; one without a name or value is none.
pub(super) fn push_metadata<'a>(
    metadata: &mut Vec<Attr<'a>>,
    key: &'a str,
    value: &'a str,
    limits: &Limits,
) -> Result<(), WireError> {
    if metadata.len() >= limits.max_attributes_per_record {
        let limit = limits.max_attributes_per_record;
        return Err(WireError::TooLarge { what: "the structured metadata of a line", limit });
    }
    if !key.is_empty() {
        metadata.push(Attr { key, value: Value::Str(value) });
    }
    Ok(())
}

/// Time (`None` when it does not fit) and line of an `Entry`; its structured metadata goes into `metadata`.
fn entry<'a>(
    mut r: Reader<'a>,
    metadata: &mut Vec<Attr<'a>>,
    limits: &Limits,
) -> Result<(Option<Timestamp>, &'a [u8]), WireError> {
    metadata.clear();
    let mut line: &[u8] = b"";
    let (mut seconds, mut nanos) = (0i64, 0i32);
    while let Some(f) = r.field("Entry")? {
        match f.number {
            1 => {
                let mut r = f.message()?;
                while let Some(f) = r.field("Timestamp")? {
                    match f.number {
                        1 => seconds = f.varint()? as i64,
                        2 => nanos = f.u32()? as i32,
                        _ => {}
                    }
                }
            }
            2 => line = f.bytes()?,
            3 => {
                let (mut name, mut value) = ("", "");
                let mut r = f.message()?;
                while let Some(f) = r.field("LabelPair")? {
                    match f.number {
                        1 => name = f.string("LabelPair.name")?,
                        2 => value = f.string("LabelPair.value")?,
                        _ => {}
                    }
                }
                push_metadata(metadata, name, value, limits)?;
            }
            _ => {}
        }
    }
    let time = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(nanos.into()));
    Ok((time, line))
}
