//! Reads events from the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Scope, SpanId, Tenant, TimeRange, TraceId};
use store::{Column, CompareOp, Field, IdSet, Literal, Order, Predicate, Reader, Scan, StoreError, Table};

use crate::SERVICE;
use crate::event::Event;
use crate::row;
use crate::window::{MAX_LINKS, Part};

/// Rows of one trace that are put together: a trace that goes on all day has one a window.
const MAX_PARTS: usize = 4_096;

/// Which events.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Whose.
    pub tenant: Tenant,
    /// Whose first record lies in it.
    pub range: TimeRange,
    /// Of this trace.
    pub trace: Option<TraceId>,
    /// With this service.
    pub service: Option<String>,
    /// With these values of keys, all of them.
    pub keys: Vec<(String, String)>,
    /// At most so many.
    pub limit: usize,
    /// Older than this: see [`Page::next`].
    pub after: Option<(i64, TraceId)>,
}

/// Some events, newest first.
#[derive(Debug)]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins, if there may be one.
    pub next: Option<(i64, TraceId)>,
}

/// Of correlation's own rows.
#[must_use]
pub fn own_rows() -> Predicate {
    Predicate::eq(Column::attribute(Scope::Resource, "service.name"), SERVICE)
}

/// The ids of the spans of these traces that began within the range, oldest first, at most [`MAX_LINKS`] of each.
pub(crate) fn spans_of(
    reader: &dyn Reader,
    tenant: &Tenant,
    range: TimeRange,
    of: Predicate,
) -> Result<HashMap<TraceId, Vec<SpanId>>, StoreError> {
    let fields = [Field::Time, Field::TraceId, Field::SpanId];
    let scan = Scan {
        predicate: Predicate::Not(Box::new(own_rows())).and(of),
        projection: fields.into_iter().map(Column::Field).collect(),
        ..scan(tenant, range, Predicate::True, Order::Any)
    };
    let mut found: HashMap<TraceId, BTreeSet<(i64, SpanId)>> = HashMap::new();
    for batch in reader.scan(&scan)? {
        let batch = batch?;
        for at in 0..batch.rows() {
            let id = |field| batch.id(at, field);
            let (Ok(trace), Ok(span)) = (TraceId::from_slice(id(Field::TraceId)), SpanId::from_slice(id(Field::SpanId))) else {
                continue;
            };
            let spans = found.entry(trace).or_default();
            spans.insert((batch.int(at, Field::Time).unwrap_or(0), span));
            if spans.len() > MAX_LINKS {
                spans.pop_last();
            }
        }
    }
    Ok(found.into_iter().map(|(trace, spans)| (trace, spans.into_iter().map(|(_, id)| id).collect())).collect())
}

fn scan(tenant: &Tenant, range: TimeRange, predicate: Predicate, order: Order) -> Scan {
    Scan {
        tenant: tenant.clone(),
        table: Table::Spans,
        range,
        predicate: own_rows().and(predicate),
        projection: row::FIELDS.into_iter().map(Column::Field).chain([Column::Attributes(Some(Scope::Record))]).collect(),
        order,
        limit: None,
    }
}

fn record(key: &str) -> Column {
    Column::attribute(Scope::Record, key)
}

/// The events that `filter` chooses.
///
/// # Errors
/// The store's; [`StoreError::Closed`] when `cancelled` is set.
pub fn events(reader: &dyn Reader, filter: &Filter, cancelled: &AtomicBool) -> Result<Page, StoreError> {
    let mut predicate = Predicate::True;
    if let Some(trace) = filter.trace {
        predicate = predicate.and(trace_is(trace));
    }
    if let Some(service) = &filter.service {
        predicate = predicate.and(Predicate::Contains { column: record(row::SERVICES), needle: service.clone() });
    }
    for (key, value) in &filter.keys {
        // Of several values the first stands under the key's name, all of them in one list.
        let quoted = serde_json::Value::from(value.as_str()).to_string();
        predicate = predicate.and(Predicate::Or(vec![
            Predicate::eq(record(key), value),
            Predicate::Contains { column: record(row::KEYS), needle: quoted },
        ]));
    }
    let mut range = filter.range;
    if let Some((time, _)) = filter.after {
        range.end = range.end.min(time.saturating_add(1));
    }
    let wanted = |part: &Part| {
        let in_keys = |(key, value): &(String, String)| part.keys.iter().any(|(k, v)| k == key && v == value);
        filter.service.as_ref().is_none_or(|s| part.services.iter().any(|service| **service == **s))
            && filter.keys.iter().all(in_keys)
    };
    let mut chosen: Vec<TraceId> = Vec::new();
    let mut more = false;
    'rows: for batch in reader.scan(&scan(&filter.tenant, range, predicate, Order::NewestFirst))? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let batch = batch?;
        for at in 0..batch.rows() {
            let Some(part) = row::decode(&batch, at).filter(wanted) else { continue };
            let seen = filter.after.is_some_and(|(time, trace)| part.times.0 == time && part.trace >= trace);
            if seen || chosen.contains(&part.trace) {
                continue;
            }
            // One more than asked for: whether there is a next page.
            if chosen.len() > filter.limit {
                more = true;
                break 'rows;
            }
            chosen.push(part.trace);
        }
    }
    let mut events = of_traces(reader, &filter.tenant, &chosen, cancelled)?;
    // A trace that an earlier page showed by a newer part is not shown again.
    events.retain(|e| filter.after.is_none_or(|after| (e.newest(), e.trace) < after));
    events.sort_by_key(|e| std::cmp::Reverse((e.newest(), e.trace)));
    more |= events.len() > filter.limit;
    events.truncate(filter.limit);
    let next = events.last().filter(|_| more).map(|e| (e.newest(), e.trace));
    Ok(Page { events, next })
}

/// The events of these traces, whole.
///
/// # Errors
/// As for [`events`].
pub fn of_traces(
    reader: &dyn Reader,
    tenant: &Tenant,
    traces: &[TraceId],
    cancelled: &AtomicBool,
) -> Result<Vec<Event>, StoreError> {
    if traces.is_empty() {
        return Ok(Vec::new());
    }
    let ids = Arc::new(IdSet::new(traces.iter().map(|t| t.0.to_vec()).collect()));
    let predicate = match traces {
        [one] => trace_is(*one),
        _ => Predicate::OneOf { field: Field::TraceId, ids },
    };
    let mut found: HashMap<TraceId, Vec<(SpanId, Part)>> = HashMap::new();
    for batch in reader.scan(&scan(tenant, TimeRange::ALL, predicate.clone(), Order::Any))? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let batch = batch?;
        for at in 0..batch.rows() {
            let Some(part) = row::decode(&batch, at) else { continue };
            let parts = found.entry(part.trace).or_default();
            if parts.len() < MAX_PARTS {
                parts.push((SpanId::from_slice(batch.id(at, Field::SpanId)).unwrap_or_default(), part));
            }
        }
    }
    let mut spans = spans_of(reader, tenant, TimeRange::ALL, predicate)?;
    let event = |(trace, parts)| Event { spans: spans.remove(&trace).unwrap_or_default(), ..Event::new(trace, parts) };
    Ok(found.into_iter().map(event).collect())
}

/// Parts that cover the log from `sequence` on.
pub(crate) fn parts_since(reader: &dyn Reader, tenant: &Tenant, sequence: u64) -> Result<Vec<Part>, StoreError> {
    let from = Literal::Int(i64::try_from(sequence).unwrap_or(i64::MAX));
    let predicate = Predicate::Compare { column: record(row::LAST), op: CompareOp::Ge, value: from };
    let mut parts = Vec::new();
    for batch in reader.scan(&scan(tenant, TimeRange::ALL, predicate, Order::Any))? {
        let batch = batch?;
        parts.extend((0..batch.rows()).filter_map(|at| row::decode(&batch, at)));
    }
    Ok(parts)
}

fn trace_is(trace: TraceId) -> Predicate {
    let value = Literal::Bytes(trace.0.to_vec());
    Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value }
}
