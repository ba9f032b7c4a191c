//! A part as a span, and back: correlations are rows of the spans' table, in the trace that they are about, under the service
//! [`SERVICE`](crate::SERVICE). So they are found by trace id and by key, live as long as traces, and go wherever traces go.
//!
//! There is one such row for ten spans or so, so it is small: what the trace itself says (which spans are related) is asked of the
//! trace when the event is read, and what is the same in all rows stands in the group. The span's dropped links are how many spans
//! are related; its events are records joined by a key (`log_by_key`), candidates (`log_candidate`) and `exemplar`s; everything else
//! is in attributes `correlation.*`, and each business key under its own name. [`FORMAT`] is the version of all this: it is the
//! version of the instrumentation scope. (Version 1 had it in `correlation.format`, with more attributes, version 2 the root's service and
//! name apart; both are still read.)

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, StructArray};
use model::{Attr, Event, Group, Scope, Span, TraceId, Value};
use serde_json::Value as Json;
use store::{Batch, Field};
use wire::SpanSink;
use wire::otlp::TraceEncoder;

use crate::SERVICE;
use crate::window::{Evidence, ExemplarRef, Joined, LogId, MAX_KEYS, Part, Position, push_number};

/// Version of the attributes' meaning. Rows of a later one are passed over.
pub const FORMAT: i64 = 3;
const SCOPE_VERSION: &str = "3";
/// The name of the span.
pub const NAME: &str = "correlation";
/// `false` where the event joins neither two signals nor two services: that row is no span of the trace, only an event.
pub const JOINS: &str = "correlation.joins";
/// Names of the services, joined with `,`.
pub const SERVICES: &str = "correlation.services";
/// All keys with all values as JSON, where a key has more than one.
pub const KEYS: &str = "correlation.keys";
/// The root's service and name, with a tab between them: one attribute costs less than two.
const ROOT: &str = "correlation.root";
/// Arrival of the first and the last record, and which part of the log is covered.
pub const WINDOW: &str = "correlation.window";
/// Last sequence of the log that counts in.
pub const LAST: &str = "correlation.last_sequence";

/// Bytes that most rows need on the wire, at most.
const ROW: usize = 384;

type Pairs<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

/// A request of spans, one a part.
///
/// # Errors
/// None in fact: no value in it is nested.
pub fn encode<'p>(parts: impl IntoIterator<Item = &'p Part>) -> Result<Vec<u8>, wire::WireError> {
    let parts = parts.into_iter();
    let mut encoder = TraceEncoder::with_capacity(128 + parts.size_hint().0 * ROW);
    let resource = [Attr { key: "service.name", value: Value::Str(SERVICE) }];
    encoder.group(&Group { resource: &resource, scope_name: SERVICE, scope_version: SCOPE_VERSION, ..Group::default() });
    for part in parts {
        put(&mut encoder, part);
    }
    encoder.finish()
}

/// Whether a request is one of [`encode`]'s: of this service and no other. What an exporter sends may begin with such spans and go on
/// with others.
#[must_use]
pub fn is_own(payload: &[u8]) -> bool {
    memchr::memmem::find(&payload[..payload.len().min(128)], SERVICE.as_bytes()).is_some() && is_one_message(payload)
}

/// Whether the whole request is one `ResourceSpans`: its tag, its length, and nothing behind it.
fn is_one_message(payload: &[u8]) -> bool {
    let Some((0x0a, rest)) = payload.split_first() else { return false };
    let Some(last) = rest.iter().take(10).position(|byte| byte & 0x80 == 0) else { return false };
    let length = rest[..=last].iter().rev().fold(0u64, |n, byte| n << 7 | u64::from(byte & 0x7f));
    usize::try_from(length).is_ok_and(|n| n == rest.len() - last - 1)
}

fn int(n: u64) -> Value<'static> {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn put(encoder: &mut TraceEncoder, part: &Part) {
    let services = part.services.join(",");
    let (arrived, covered) = (part.arrived, part.sequences);
    // Together in one attribute: nobody asks for one of them, and attributes cost. Differences, so that traces of the same
    // requests have the same text.
    let (later, further) = (arrived.1.saturating_sub(arrived.0), covered.1.wrapping_sub(covered.0));
    let mut window = String::with_capacity(64);
    // Writing to a `String` cannot fail.
    let _ = write!(window, "{} {later} ", arrived.0);
    push_number(&mut window, covered.0);
    window.push(' ');
    push_number(&mut window, further);
    let mut log_ids = String::new();
    for id in &part.log_ids {
        let _ = write!(log_ids, "{}{id}", if log_ids.is_empty() { "" } else { " " });
    }
    // As many as most have.
    let mut attributes: Vec<Attr<'_>> = Vec::with_capacity(8);
    let mut set = |key, value| attributes.push(Attr { key, value });
    if !part.joins() {
        set(JOINS, Value::Bool(false));
    }
    set(SERVICES, Value::Str(&services));
    set(WINDOW, Value::Str(&window));
    let last = part.joined.iter().map(|j| j.at.sequence).fold(part.sequences.1, u64::max);
    set(LAST, int(last));
    for (key, count) in [
        ("correlation.log_count", part.logs),
        ("correlation.error_count", part.errors),
        ("correlation.error_log_count", part.error_logs),
        ("correlation.exemplar_count", part.exemplar_count),
        ("correlation.joined_count", part.joined_count()),
        ("correlation.odd_times", part.odd_times),
    ] {
        if count > 0 {
            set(key, int(count));
        }
    }
    for (key, flag) in [("correlation.late", part.late), ("correlation.early", part.early)] {
        if flag {
            set(key, Value::Bool(true));
        }
    }
    let root = part.root.as_ref().map(|(service, name)| [service, "\t", name].concat());
    if let Some(root) = &root {
        set(ROOT, Value::Str(root));
    }
    if !log_ids.is_empty() {
        set("correlation.log_ids", Value::Str(&log_ids));
    }
    let mut several = false;
    for (i, (key, value)) in part.keys.iter().enumerate() {
        match part.keys[..i].iter().any(|(k, _)| k == key) {
            true => several = true,
            false => set(key, Value::Str(value)),
        }
    }
    let keys = if several { keys_json(&part.keys) } else { String::new() };
    if several {
        attributes.push(Attr { key: KEYS, value: Value::Str(&keys) });
    }
    let (start, end) = if part.times.0 <= part.times.1 { part.times } else { part.arrived };
    let events: Vec<(i64, &str, Pairs<'_>)> = (part.joined.iter().map(joined))
        .chain(part.exemplars.iter().map(|e| {
            let pairs: Pairs<'_> = vec![
                ("metric".into(), Value::Str(&e.metric)),
                ("service".into(), Value::Str(&e.service)),
                ("value".into(), Value::Double(e.value)),
            ];
            (e.time, "exemplar", pairs)
        }))
        .collect();
    let mut nested: Vec<Attr<'_>> = Vec::new();
    let events: Vec<Event<'_>> = (events.iter())
        .map(|(time, name, pairs)| {
            let from = nested.len();
            nested.extend(pairs.iter().map(|(key, value)| Attr { key, value: value.clone() }));
            Event { time: *time, name, attributes: from..nested.len(), dropped_attributes: 0 }
        })
        .collect();
    encoder.span(&Span {
        trace_id: part.trace,
        span_id: part.span_id(),
        name: NAME,
        kind: 1,
        start,
        end,
        attributes: &attributes,
        events: &events,
        dropped_links: u32::try_from(part.spans).unwrap_or(u32::MAX),
        nested: &nested,
        ..Span::default()
    });
}

fn joined(j: &Joined) -> (i64, &'static str, Pairs<'_>) {
    let e = &j.evidence;
    let pairs = vec![
        ("sequence".into(), int(j.at.sequence)),
        ("index".into(), int(j.at.index.into())),
        // A hash uses all 64 bits; attributes are signed.
        ("log_id".into(), Value::Int(j.log.hash as i64)),
        ("service".into(), Value::Str(&j.service)),
        ("host".into(), Value::Str(&j.host)),
        ("severity".into(), Value::Str(&j.severity)),
        ("line".into(), Value::Str(&j.line)),
        ("key".into(), Value::Str(&e.key)),
        ("value".into(), Value::Str(&e.value)),
        ("found_in".into(), Value::Str(&e.found)),
        ("score".into(), Value::Double(e.score)),
        ("rank".into(), int(e.rank.into())),
        ("candidates".into(), int(e.candidates.into())),
        ("distance".into(), Value::Int(e.distance)),
        ("notes".into(), Value::Str(&e.notes)),
    ];
    (j.log.time, if j.certain { "log_by_key" } else { "log_candidate" }, pairs)
}

fn keys_json(keys: &[(String, String)]) -> String {
    let mut map = serde_json::Map::new();
    for (key, value) in keys {
        if let Json::Array(values) = map.entry(key.clone()).or_insert_with(|| Json::Array(Vec::new())) {
            values.push(value.clone().into());
        }
    }
    Json::Object(map).to_string()
}

/// The columns that [`decode`] reads.
pub const FIELDS: [Field; 7] =
    [Field::Time, Field::Duration, Field::TraceId, Field::SpanId, Field::ScopeVersion, Field::Events, Field::DroppedLinks];

/// The part that a row is; `None` where it is none of this version.
#[must_use]
pub fn decode(batch: &Batch, row: usize) -> Option<Part> {
    let mut part = Part::new(TraceId::from_slice(batch.id(row, Field::TraceId)).ok()?);
    let mut format = batch.text(row, Field::ScopeVersion).parse().unwrap_or(0);
    if format > 1 {
        part.spans = batch.int(row, Field::DroppedLinks).unwrap_or(0).unsigned_abs();
    }
    batch.attributes(row, |scope, key, value| {
        if scope == Scope::Record {
            set(&mut part, &mut format, key, &value);
        }
    });
    match format {
        1 => {}
        // Somebody else's, who goes by this name.
        2..=FORMAT if part.arrived.0 == i64::MAX => return None,
        2..=FORMAT => {
            let (later, further) = (part.arrived.1, part.sequences.1);
            part.arrived.1 = part.arrived.0.saturating_add(later);
            part.sequences.1 = part.sequences.0.wrapping_add(further);
        }
        _ => return None,
    }
    let start = batch.int(row, Field::Time)?;
    part.times = (start, start.saturating_add(batch.int(row, Field::Duration).unwrap_or(0)));
    if let Some(events) = items(batch, row, Field::Events) {
        let column = |name: &str| events.column_by_name(name);
        let times = column("time").and_then(|c| c.as_primitive_opt::<Int64Type>());
        for i in 0..events.len() {
            let text = |name: &str| column(name).and_then(|c| store::text_at(c, i)).unwrap_or("");
            let time = times.map_or(0, |t| t.value(i));
            happened(&mut part, time, text("name"), text("attributes"));
        }
    }
    part.lowest = part.joined.iter().map(|j| j.at.sequence).fold(part.sequences.0, u64::min);
    Some(part)
}

fn items(batch: &Batch, row: usize, field: Field) -> Option<StructArray> {
    let lists = batch.field(field)?.as_list_opt::<i32>()?;
    (!lists.is_null(row)).then(|| lists.value(row).as_struct_opt().cloned())?
}

fn no_root() -> (Arc<str>, Arc<str>) {
    ("".into(), "".into())
}

fn set(part: &mut Part, format: &mut i64, key: &str, value: &Value<'_>) {
    let Some(name) = key.strip_prefix("correlation.") else {
        if let (Value::Str(text), true) = (value, part.keys.len() < MAX_KEYS) {
            let pair = (key.to_owned(), (*text).to_owned());
            if !part.keys.contains(&pair) {
                part.keys.push(pair);
            }
        }
        return;
    };
    match (name, value) {
        ("format", Value::Int(n)) => *format = *n,
        ("late", Value::Bool(b)) => part.late = *b,
        ("early", Value::Bool(b)) => part.early = *b,
        ("services", Value::Str(s)) => part.services = s.split(',').filter(|s| !s.is_empty()).map(Arc::from).collect(),
        ("window", Value::Str(text)) => {
            let mut words = text.split(' ');
            let mut time = || words.next().and_then(|w| w.parse().ok());
            if let (Some(first), Some(last)) = (time(), time()) {
                part.arrived = (first, last);
            }
            let mut sequence = || words.next().and_then(|w| w.parse().ok());
            if let (Some(first), Some(last)) = (sequence(), sequence()) {
                part.sequences = (first, last);
            }
        }
        ("span_count", Value::Int(n)) => part.spans = n.unsigned_abs(),
        ("log_count", Value::Int(n)) => part.logs = n.unsigned_abs(),
        ("error_count", Value::Int(n)) => part.errors = n.unsigned_abs(),
        ("error_log_count", Value::Int(n)) => part.error_logs = n.unsigned_abs(),
        ("exemplar_count", Value::Int(n)) => part.exemplar_count = n.unsigned_abs(),
        ("odd_times", Value::Int(n)) => part.odd_times = n.unsigned_abs(),
        // A service that has a tab in its name may lose what follows it to the root's name.
        ("root", Value::Str(s)) => part.root = s.split_once('\t').map(|(service, name)| (service.into(), name.into())),
        ("root_service", Value::Str(s)) => part.root.get_or_insert_with(no_root).0 = (*s).into(),
        ("root_name", Value::Str(s)) => part.root.get_or_insert_with(no_root).1 = (*s).into(),
        ("log_ids", Value::Str(s)) => part.log_ids = s.split(' ').filter_map(|id| id.parse().ok()).collect(),
        ("keys", Value::Str(s)) => {
            let all: serde_json::Map<String, Json> = serde_json::from_str(s).unwrap_or_default();
            for (key, values) in &all {
                for value in values.as_array().into_iter().flatten().filter_map(Json::as_str) {
                    let pair = (key.clone(), value.to_owned());
                    if !part.keys.contains(&pair) {
                        part.keys.push(pair);
                    }
                }
            }
        }
        _ => {}
    }
}

fn happened(part: &mut Part, time: i64, name: &str, attributes: &str) {
    let pairs: Vec<Json> = serde_json::from_str(attributes).unwrap_or_default();
    let get = |key: &str| pairs.iter().find(|p| p["key"] == key).and_then(|p| p["value"].as_object()?.values().next());
    let text = |key: &str| get(key).and_then(Json::as_str).unwrap_or("").to_owned();
    let int = |key: &str| get(key).and_then(|v| v.as_i64().or_else(|| v.as_str()?.parse().ok())).unwrap_or(0);
    let double = |key: &str| get(key).and_then(Json::as_f64).unwrap_or(f64::NAN);
    if name == "exemplar" {
        part.exemplars.push(ExemplarRef { metric: text("metric"), service: text("service"), time, value: double("value") });
        return;
    }
    let small = |key: &str| u32::try_from(int(key)).unwrap_or(0);
    part.joined.push(Joined {
        at: Position { sequence: int("sequence").unsigned_abs(), index: small("index") },
        log: LogId { time, hash: int("log_id") as u64 },
        service: text("service"),
        host: text("host"),
        severity: text("severity"),
        line: text("line"),
        certain: name == "log_by_key",
        evidence: Evidence {
            key: text("key"),
            value: text("value"),
            found: text("found_in"),
            score: double("score"),
            rank: small("rank"),
            candidates: small("candidates"),
            distance: int("distance"),
            notes: text("notes"),
        },
    });
}
