//! A trace by its id: Tempo's version 1 (the bare trace, 404 where there is none) and 2 (`TraceByIDResponse`, 200 always).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, StructArray};
use model::{Attr, Event, Group, Link, OwnedValue, Scope, Span, SpanId, Tenant, TimeRange, TraceId};
use serde_json::Value as Json;
use store::{Batch, Column, CompareOp, Field, Literal, Order, Predicate, Reader, Scan, Table};
use traceql::{Plan, Question};
use wire::SpanSink;
use wire::otlp::{Style, TraceEncoder, traces_json};

use super::protobuf::bytes;
use super::{range, wants_protobuf};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Spans of a trace may lie so long before and after the range that a client knows of.
const MARGIN_NS: i64 = 3_600_000_000_000;

pub(super) async fn v1(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let protobuf = wants_protobuf(&ask);
    let (trace, spans, partial) = find(api, ask, false).await?;
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
    let (trace, spans, partial) = find(api, ask, true).await?;
    let answer = if protobuf {
        // `TraceByIDResponse`: 1 trace, 2 metrics, 3 status (1: PARTIAL), 4 message.
        let mut out = Vec::with_capacity(trace.len() + 16);
        bytes(1, &trace, &mut out);
        bytes(2, &[], &mut out);
        if let Some(why) = &partial {
            out.extend([3 << 3, 1]);
            bytes(4, why.as_bytes(), &mut out);
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

/// A trace id, refused in Tempo's words.
fn trace_id(text: &str) -> Result<TraceId, String> {
    if let Some((at, c)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit()) {
        return Err(format!("trace IDs can only contain hex characters: invalid character '{c}' at position {}", at + 1));
    }
    text.parse().map_err(|_| "trace IDs can't be larger than 128 bits".to_owned())
}

/// Which spans of a trace are wanted: those that a query chooses.
struct Wanted {
    plan: Plan,
    /// And those above them.
    hierarchy: bool,
}

/// The parameter `q`, a TraceQL query over the spans of the one trace.
fn wanted(ask: &Ask, id: TraceId) -> Result<Option<Wanted>, Failure> {
    let Some(q) = ask.get("q") else { return Ok(None) };
    let bad = |e: traceql::ParseError| Failure::BadData(format!("invalid TraceQL query: {e}"));
    // Its own errors are those of the query as it was written.
    traceql::parse(q).map_err(bad)?;
    let query = traceql::parse(&format!("{{ trace:id = \"{id}\" }} | {q}")).map_err(bad)?;
    let plan = Plan::new(&query).ok_or_else(|| Failure::BadData("invalid TraceQL query: a metrics query".to_owned()))?;
    Ok(Some(Wanted { plan, hierarchy: ask.get("keep_hierarchy") == Some("true") }))
}

impl Wanted {
    /// The spans; `parents` names the parent of each span of the trace.
    fn spans(&self, question: &Question<'_>, parents: &BTreeMap<SpanId, SpanId>) -> Result<BTreeSet<SpanId>, Failure> {
        let found = traceql::search(question, &self.plan)?;
        let sets = found.traces.iter().flat_map(|t| &t.sets);
        let mut spans: BTreeSet<SpanId> = sets.flat_map(|s| &s.spans).map(|s| s.span_id).collect();
        if self.hierarchy {
            let mut above: Vec<SpanId> = spans.iter().copied().collect();
            while let Some(span) = above.pop() {
                // One that was there already ends the climb: cycles too.
                if let Some(parent) = parents.get(&span).filter(|p| parents.contains_key(p) && spans.insert(**p)) {
                    above.push(*parent);
                }
            }
        }
        Ok(spans)
    }
}

/// The trace as `TracesData`, how many spans it has, and why it may lack some; `may_choose` of the spans with `q`.
async fn find(api: Arc<Api>, ask: Ask, may_choose: bool) -> Result<(Vec<u8>, usize, Option<String>), Failure> {
    let id = ask.path("id");
    let id = trace_id(id).map_err(Failure::BadData)?;
    let (range, tenant) = (range(&ask)?, ask.tenant()?);
    let wanted = if may_choose { wanted(&ask, id)? } else { None };
    let range = TimeRange::new(range.start.saturating_sub(MARGIN_NS), range.end.saturating_add(MARGIN_NS));
    let (state, most) = (api.clone(), api.settings.max_trace_spans);
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let (trace, spans, cut) = encode(&*reader, &tenant, (id, wanted.as_ref()), range, most, cancelled)?;
        let why = cut.then(|| format!("the trace has more than {most} spans; the rest is left out"));
        Ok((trace, spans, why.or(reader.partial())))
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
    (id, wanted): (TraceId, Option<&Wanted>),
    range: TimeRange,
    most: usize,
    cancelled: &AtomicBool,
) -> Result<(Vec<u8>, usize, bool), Failure> {
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
        limit: Some(most.saturating_add(1)),
    };
    let mut batches: Vec<Batch> = Vec::new();
    // Spans by what identifies their group.
    let mut groups: BTreeMap<String, (OwnedGroup, Vec<Found>)> = BTreeMap::new();
    let (mut rows, mut cut) = (0, false);
    for batch in reader.scan(&scan)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let batch = batch?;
        for row in 0..batch.rows() {
            if rows == most {
                cut = true;
                break;
            }
            rows += 1;
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
        if cut {
            break;
        }
    }
    if let Some(wanted) = wanted {
        let all = groups.values().flat_map(|(_, spans)| spans);
        let parent = |s: &Found| SpanId::from_slice(batches[s.batch].id(s.row, Field::ParentSpanId)).unwrap_or_default();
        let parents = all.map(|s| (s.id, parent(s))).collect();
        // No more spans than the trace was read with.
        let question = Question { reader, tenant, range, limit: 1, spans_per_set: usize::MAX, memory: usize::MAX, cancelled };
        let chosen = wanted.spans(&question, &parents)?;
        groups.values_mut().for_each(|(_, spans)| spans.retain(|s| chosen.contains(&s.id)));
        groups.retain(|_, (_, spans)| !spans.is_empty());
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
    // Correlation's own spans are linked to all the others, which their rows need not name.
    let is_own = |group: &OwnedGroup| correlate::is_own(&group.scope_name, &group.scope_version);
    let others = groups.iter().filter(|(_, group, _)| group.scope_name != correlate::SERVICE).flat_map(|(_, _, spans)| spans);
    let related: BTreeSet<(i64, SpanId)> = others.map(|s| (s.start, s.id)).collect();
    let related: Vec<SpanId> = related.into_iter().map(|(_, id)| id).take(correlate::MAX_LINKS).collect();
    let mut encoder = TraceEncoder::default();
    let mut count = 0;
    for (_, group, spans) in &groups {
        put_group(&mut encoder, group);
        let related = if is_own(group) { &related[..] } else { &[] };
        for span in spans {
            put_span(&mut encoder, id, &batches[span.batch], span.row, related);
            count += 1;
        }
    }
    Ok((encoder.finish()?, count, cut))
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

/// Adds a span; `related` are those that it is linked to beside the links that it has, and of which it dropped the links.
fn put_span(encoder: &mut TraceEncoder, id: TraceId, batch: &Batch, row: usize, related: &[SpanId]) {
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
    let mut links: Vec<Link<'_>> = (link_ranges.into_iter().enumerate())
        .map(|(i, attributes)| Link {
            trace_id: TraceId::from_slice(id_of(links.as_ref(), "trace_id", i)).unwrap_or_default(),
            span_id: SpanId::from_slice(id_of(links.as_ref(), "span_id", i)).unwrap_or_default(),
            trace_state: text_of(links.as_ref(), "trace_state", i),
            flags: count_of(links.as_ref(), "flags", i),
            attributes,
            dropped_attributes: count_of(links.as_ref(), "dropped", i),
        })
        .collect();
    let dropped_links = count(Field::DroppedLinks).saturating_sub(u32::try_from(related.len()).unwrap_or(u32::MAX));
    links.extend(related.iter().map(|span_id| Link { trace_id: id, span_id: *span_id, ..Link::default() }));
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
        dropped_links,
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
