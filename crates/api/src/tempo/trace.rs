//! A trace by its id: Tempo's version 1 (the bare trace, 404 where there is none) and 2 (`TraceByIDResponse`, 200 always).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, StructArray};
use model::{Attr, Event, Group, Link, OwnedValue, Scope, Span, SpanId, Tenant, TimeRange, TraceId};
use serde_json::Value as Json;
use store::{Batch, Column, CompareOp, Field, Literal, Order, Predicate, Reader, Scan, Table};
use wire::SpanSink;
use wire::otlp::{Style, TraceEncoder, traces_json};

use super::range;
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Spans of a trace may lie so long before and after the range that a client knows of.
const MARGIN_NS: i64 = 3_600_000_000_000;

pub(super) async fn v1(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let protobuf = wants_protobuf(&ask);
    let (trace, spans, partial) = find(api, ask).await?;
    if spans == 0 {
        return Err(Failure::NotFound("trace not found".to_owned()));
    }
    let answer = match protobuf {
        true => Answer::protobuf(trace, spans),
        false => Answer::json(traces_json(&trace, Style::Protobuf, "batches")?, spans),
    };
    Ok(answer.partial(partial))
}

pub(super) async fn v2(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let protobuf = wants_protobuf(&ask);
    let (trace, spans, partial) = find(api, ask).await?;
    let answer = if protobuf {
        // `TraceByIDResponse`: 1 trace, 2 metrics, 3 status (1: PARTIAL), 4 message.
        let mut out = Vec::with_capacity(trace.len() + 16);
        put_bytes(&mut out, 1, &trace);
        put_bytes(&mut out, 2, &[]);
        if let Some(why) = &partial {
            out.extend([3 << 3, 1]);
            put_bytes(&mut out, 4, why.as_bytes());
        }
        Answer::protobuf(out, spans)
    } else {
        let trace = if spans == 0 { "{}".to_owned() } else { traces_json(&trace, Style::Protobuf, "resourceSpans")? };
        let status = match &partial {
            Some(why) => format!(",\"status\":\"PARTIAL\",\"message\":{}", Json::from(why.as_str())),
            None => String::new(),
        };
        Answer::json(format!("{{\"trace\":{trace},\"metrics\":{{}}{status}}}"), spans)
    };
    Ok(answer.partial(partial))
}

fn wants_protobuf(ask: &Ask) -> bool {
    ask.header("accept").contains("application/protobuf")
}

/// A length-delimited field.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// The trace as `TracesData`, how many spans it has, and why it may lack some.
async fn find(api: Arc<Api>, ask: Ask) -> Result<(Vec<u8>, usize, Option<String>), Failure> {
    let id = ask.path("id");
    let id: TraceId = id.parse().map_err(|e| Failure::BadData(format!("invalid trace id {id:?}: {e}")))?;
    let (range, tenant) = (range(&ask)?, ask.tenant()?);
    let range = TimeRange::new(range.start.saturating_sub(MARGIN_NS), range.end.saturating_add(MARGIN_NS));
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let (trace, spans) = encode(&*reader, &tenant, id, range, cancelled)?;
        Ok((trace, spans, reader.partial()))
    })
    .await
}

/// Rows of correlation that join nothing: events, but no spans of the trace.
fn only_an_event() -> Predicate {
    let column = Column::attribute(Scope::Record, correlate::row::JOINS);
    Predicate::Compare { column, op: CompareOp::Eq, value: Literal::Bool(false) }
}

/// What the spans of a group share, owned.
#[derive(Debug, Default)]
struct OwnedGroup {
    resource: Vec<(String, OwnedValue)>,
    scope: Vec<(String, OwnedValue)>,
    scope_name: String,
    scope_version: String,
    extra: String,
}

/// A span and where it stands in its batch.
struct Found {
    start: i64,
    id: SpanId,
    batch: usize,
    row: usize,
}

fn encode(
    reader: &dyn Reader,
    tenant: &Tenant,
    id: TraceId,
    range: TimeRange,
    cancelled: &AtomicBool,
) -> Result<(Vec<u8>, usize), Failure> {
    const FIELDS: [Field; 19] = [
        Field::Time,
        Field::SpanId,
        Field::ParentSpanId,
        Field::ScopeName,
        Field::ScopeVersion,
        Field::Flags,
        Field::DroppedAttributes,
        Field::GroupExtra,
        Field::Name,
        Field::Kind,
        Field::Duration,
        Field::StatusCode,
        Field::StatusMessage,
        Field::TraceState,
        Field::DroppedEvents,
        Field::DroppedLinks,
        Field::Events,
        Field::Links,
        Field::TraceId,
    ];
    let scan = Scan {
        tenant: tenant.clone(),
        table: Table::Spans,
        range,
        predicate: Predicate::Compare {
            column: Column::Field(Field::TraceId),
            op: CompareOp::Eq,
            value: Literal::Bytes(id.0.to_vec()),
        }
        .and(Predicate::Not(Box::new(only_an_event()))),
        projection: FIELDS.into_iter().map(Column::Field).chain([Column::Attributes(None)]).collect(),
        order: Order::Any,
        limit: None,
    };
    let mut batches: Vec<Batch> = Vec::new();
    // Spans by what identifies their group.
    let mut groups: BTreeMap<String, (OwnedGroup, Vec<Found>)> = BTreeMap::new();
    for batch in reader.scan(&scan)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let batch = batch?;
        for row in 0..batch.rows() {
            let group = group_at(&batch, row);
            let span = Found {
                start: batch.int(row, Field::Time).unwrap_or(0),
                id: SpanId::from_slice(batch.id(row, Field::SpanId)).unwrap_or_default(),
                batch: batches.len(),
                row,
            };
            groups.entry(format!("{group:?}")).or_insert_with(|| (group, Vec::new())).1.push(span);
        }
        batches.push(batch);
    }
    let mut groups: Vec<(String, OwnedGroup, Vec<Found>)> = groups.into_iter().map(|(key, (g, s))| (key, g, s)).collect();
    for (_, _, spans) in &mut groups {
        spans.sort_by_key(|s| (s.start, s.id));
        // Written twice, and not merged yet.
        spans.dedup_by_key(|s| s.id);
    }
    // Scopes of one resource stand together; the resource that started first comes first.
    let mut first_of: BTreeMap<String, i64> = BTreeMap::new();
    for (_, group, spans) in &groups {
        let first = spans.first().map_or(i64::MAX, |s| s.start);
        first_of.entry(format!("{:?}", group.resource)).and_modify(|f| *f = first.min(*f)).or_insert(first);
    }
    groups.sort_by_cached_key(|(key, group, spans)| {
        let resource = format!("{:?}", group.resource);
        (first_of.get(&resource).copied(), resource, spans.first().map(|s| s.start), key.clone())
    });
    let mut encoder = TraceEncoder::default();
    let mut count = 0;
    for (_, group, spans) in &groups {
        put_group(&mut encoder, group);
        for span in spans {
            put_span(&mut encoder, id, &batches[span.batch], span.row);
            count += 1;
        }
    }
    Ok((encoder.finish()?, count))
}

fn group_at(batch: &Batch, row: usize) -> OwnedGroup {
    let mut group = OwnedGroup {
        scope_name: batch.text(row, Field::ScopeName).to_owned(),
        scope_version: batch.text(row, Field::ScopeVersion).to_owned(),
        extra: batch.text(row, Field::GroupExtra).to_owned(),
        ..OwnedGroup::default()
    };
    batch.attributes(row, |scope, key, value| match scope {
        Scope::Resource => group.resource.push((key.to_owned(), value.to_owned_value())),
        Scope::Instrumentation => group.scope.push((key.to_owned(), value.to_owned_value())),
        Scope::Record | Scope::Label => {}
    });
    // Batches may order their columns differently.
    group.resource.sort_by(|(a, _), (b, _)| a.cmp(b));
    group.scope.sort_by(|(a, _), (b, _)| a.cmp(b));
    group
}

fn lend(owned: &[(String, OwnedValue)]) -> Vec<Attr<'_>> {
    owned.iter().map(|(key, value)| Attr { key, value: value.as_value() }).collect()
}

fn put_group(encoder: &mut TraceEncoder, group: &OwnedGroup) {
    let extra: Json = serde_json::from_str(&group.extra).unwrap_or_default();
    let count = |key: &str| extra[key].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let text = |key: &str| extra[key].as_str().unwrap_or("").to_owned();
    let (resource_url, scope_url) = (text("ru"), text("su"));
    encoder.group(&Group {
        resource: &lend(&group.resource),
        resource_dropped: count("rd"),
        resource_schema_url: &resource_url,
        scope_name: &group.scope_name,
        scope_version: &group.scope_version,
        scope: &lend(&group.scope),
        scope_dropped: count("sd"),
        scope_schema_url: &scope_url,
        labels: &[],
    });
}

fn put_span(encoder: &mut TraceEncoder, id: TraceId, batch: &Batch, row: usize) {
    let count = |field| batch.int(row, field).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let number = |field| batch.int(row, field).and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
    let mut attributes = Vec::new();
    batch.attributes(row, |scope, key, value| {
        if scope == Scope::Record {
            attributes.push(Attr { key, value });
        }
    });
    let start = batch.int(row, Field::Time).unwrap_or(0);
    // The attributes of events and links are text here, and ranges of one list in the row.
    let events = items(batch, row, Field::Events);
    let links = items(batch, row, Field::Links);
    let mut owned = Vec::new();
    let event_ranges: Vec<_> =
        (0..events.as_ref().map_or(0, Array::len)).map(|i| attributes_of(events.as_ref(), i, &mut owned)).collect();
    let link_ranges: Vec<_> =
        (0..links.as_ref().map_or(0, Array::len)).map(|i| attributes_of(links.as_ref(), i, &mut owned)).collect();
    let nested = lend(&owned);
    let events: Vec<Event<'_>> = (event_ranges.into_iter().enumerate())
        .map(|(i, attributes)| Event {
            time: int_of(events.as_ref(), "time", i),
            name: text_of(events.as_ref(), "name", i),
            attributes,
            dropped_attributes: count_of(events.as_ref(), "dropped", i),
        })
        .collect();
    let links: Vec<Link<'_>> = (link_ranges.into_iter().enumerate())
        .map(|(i, attributes)| Link {
            trace_id: TraceId::from_slice(id_of(links.as_ref(), "trace_id", i)).unwrap_or_default(),
            span_id: SpanId::from_slice(id_of(links.as_ref(), "span_id", i)).unwrap_or_default(),
            trace_state: text_of(links.as_ref(), "trace_state", i),
            flags: count_of(links.as_ref(), "flags", i),
            attributes,
            dropped_attributes: count_of(links.as_ref(), "dropped", i),
        })
        .collect();
    encoder.span(&Span {
        trace_id: id,
        span_id: SpanId::from_slice(batch.id(row, Field::SpanId)).unwrap_or_default(),
        parent_span_id: SpanId::from_slice(batch.id(row, Field::ParentSpanId)).unwrap_or_default(),
        trace_state: batch.text(row, Field::TraceState),
        flags: count(Field::Flags),
        name: batch.text(row, Field::Name),
        kind: number(Field::Kind),
        start,
        end: start.saturating_add(batch.int(row, Field::Duration).unwrap_or(0)),
        status_code: number(Field::StatusCode),
        status_message: batch.text(row, Field::StatusMessage),
        attributes: &attributes,
        dropped_attributes: count(Field::DroppedAttributes),
        events: &events,
        dropped_events: count(Field::DroppedEvents),
        links: &links,
        dropped_links: count(Field::DroppedLinks),
        nested: &nested,
    });
}

/// The events or links of a row.
fn items(batch: &Batch, row: usize, field: Field) -> Option<StructArray> {
    let lists = batch.field(field)?.as_list_opt::<i32>()?;
    if lists.is_null(row) {
        return None;
    }
    lists.value(row).as_struct_opt().cloned()
}

fn text_of<'a>(items: Option<&'a StructArray>, name: &str, i: usize) -> &'a str {
    items.and_then(|s| s.column_by_name(name)).and_then(|c| store::text_at(c, i)).unwrap_or("")
}

fn int_of(items: Option<&StructArray>, name: &str, i: usize) -> i64 {
    let column = items.and_then(|s| s.column_by_name(name)).and_then(|c| c.as_primitive_opt::<Int64Type>());
    column.filter(|c| !c.is_null(i)).map_or(0, |c| c.value(i))
}

fn count_of(items: Option<&StructArray>, name: &str, i: usize) -> u32 {
    let column = items.and_then(|s| s.column_by_name(name)).and_then(|c| c.as_primitive_opt::<UInt32Type>());
    column.filter(|c| !c.is_null(i)).map_or(0, |c| c.value(i))
}

fn id_of<'a>(items: Option<&'a StructArray>, name: &str, i: usize) -> &'a [u8] {
    let column = items.and_then(|s| s.column_by_name(name)).and_then(|c| c.as_fixed_size_binary_opt());
    column.filter(|c| !c.is_null(i)).map_or(&[], |c| c.value(i))
}

/// Reads the OTLP/JSON attributes of an event or link into `out`; returns where they stand.
fn attributes_of(items: Option<&StructArray>, i: usize, out: &mut Vec<(String, OwnedValue)>) -> std::ops::Range<usize> {
    let from = out.len();
    let pairs: Vec<Json> = serde_json::from_str(text_of(items, "attributes", i)).unwrap_or_default();
    for pair in pairs {
        let key = pair["key"].as_str().unwrap_or("").to_owned();
        out.push((key, any_value(&pair["value"])));
    }
    from..out.len()
}

/// An OTLP/JSON `AnyValue`.
fn any_value(json: &Json) -> OwnedValue {
    let member = json.as_object().and_then(|o| o.iter().next());
    match member.map(|(name, value)| (name.as_str(), value)) {
        Some(("stringValue", Json::String(s))) => OwnedValue::Str(s.clone()),
        Some(("boolValue", Json::Bool(b))) => OwnedValue::Bool(*b),
        Some(("intValue", v)) => {
            let text = v.as_str().map_or_else(|| Cow::Owned(v.to_string()), Cow::Borrowed);
            text.parse().map_or_else(|_| OwnedValue::Nested(json.to_string()), OwnedValue::Int)
        }
        Some(("doubleValue", Json::Number(n))) => OwnedValue::Double(n.as_f64().unwrap_or(f64::NAN)),
        Some(("doubleValue", Json::String(s))) => OwnedValue::Double(match s.as_str() {
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => other.parse().unwrap_or(f64::NAN),
        }),
        // Bytes, arrays and lists go through as they are: the encoder reads them.
        _ => OwnedValue::Nested(json.to_string()),
    }
}
