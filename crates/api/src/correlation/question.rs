//! `GET /api/correlate`: one question over all signals. Everything about a trace, a business key or a service: spans, log
//! records and exemplars in the order of time, and the metrics of the services involved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use correlate::find::{Filter, events};
use correlate::{Event, time_text};
use model::{Labels, Scope, Tenant, TimeRange, TraceId};
use serde_json::{Value as Json, json};
use store::{Column, Field, IdSet, LabelMatcher, MatchOp, Order, Predicate, Reader, Scan, Table, value_text};

use super::{keys, limit, lines, named, range, recent, trace_id};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

const SECOND_NS: i64 = 1_000_000_000;
/// Without times, a service or a key is looked for so far back, nanoseconds.
const BACK_NS: i64 = 3600 * SECOND_NS;
/// Metrics are shown from so long before to so long after what was found, nanoseconds.
const AROUND_NS: i64 = 60 * SECOND_NS;
/// Traces that a key or a service may lead to.
const MAX_TRACES: usize = 50;
/// Series in an answer, and samples of each.
const MAX_SERIES: usize = 100;
const MAX_SAMPLES: usize = 100;

struct Wanted {
    tenant: Tenant,
    range: TimeRange,
    trace: Option<TraceId>,
    keys: Vec<(String, String)>,
    service: Option<String>,
    limit: usize,
}

impl Wanted {
    /// The events that it leads to.
    fn filter(&self) -> Filter {
        Filter {
            tenant: self.tenant.clone(),
            range: self.range,
            trace: self.trace,
            service: self.service.clone(),
            keys: self.keys.clone(),
            limit: MAX_TRACES,
            after: None,
        }
    }
}

pub(super) async fn answer(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let mut wanted = Wanted {
        tenant: ask.tenant()?,
        range: range(&ask)?,
        trace: ask.get("trace_id").map(trace_id).transpose()?,
        keys: keys(&ask, &api.key_names())?,
        service: ask.get("service").map(str::to_owned),
        limit: limit(&ask, 500, 5000)?,
    };
    if wanted.trace.is_none() && wanted.keys.is_empty() && wanted.service.is_none() {
        return Err(Failure::BadData("say what to correlate: trace_id=, key=name:value, key=value or service=".to_owned()));
    }
    if wanted.trace.is_none() && ask.get("start").is_none() {
        wanted.range.start = ask.now_ns.min(wanted.range.end).saturating_sub(BACK_NS);
    }
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        wanted.keys = named(&*reader, &wanted.filter(), &state.key_names(), cancelled)?;
        let body = correlate(&*reader, &wanted, cancelled)?;
        let rows = body["items"].as_array().map_or(0, Vec::len);
        Ok(Answer::json(body.to_string(), rows).partial(reader.partial()))
    })
    .await
}

fn correlate(reader: &dyn Reader, wanted: &Wanted, cancelled: &AtomicBool) -> Result<Json, Failure> {
    let found = events(reader, &wanted.filter(), cancelled)?.events;
    let traces: BTreeSet<TraceId> = found.iter().map(|e| e.trace).chain(wanted.trace).collect();
    let mut items: Vec<(i64, Json)> = Vec::new();
    let mut services: BTreeSet<String> = found.iter().flat_map(Event::services).chain(wanted.service.clone()).collect();
    spans(reader, wanted, &traces, &mut items, &mut services, cancelled)?;
    logs(reader, wanted, &found, &traces, &mut items, cancelled)?;
    exemplars(reader, wanted, &traces, &mut items)?;
    items.sort_by_key(|(time, _)| *time);
    let truncated = items.len() > wanted.limit;
    items.truncate(wanted.limit);
    let first = items.first().map_or(wanted.range.start, |(t, _)| *t).max(wanted.range.start);
    let last = items.last().map_or(wanted.range.end, |(t, _)| *t).min(wanted.range.end);
    let metrics = metrics(reader, &wanted.tenant, &services, (first, last))?;
    Ok(json!({
        "trace_ids": traces.iter().map(TraceId::to_string).collect::<Vec<_>>(),
        "services": services,
        "items": items.into_iter().map(|(_, json)| json).collect::<Vec<_>>(),
        "truncated": truncated,
        "metrics": metrics,
        "correlations": found.iter().map(Event::json).collect::<Vec<_>>(),
    }))
}

fn among(traces: &BTreeSet<TraceId>) -> Predicate {
    Predicate::OneOf { field: Field::TraceId, ids: Arc::new(IdSet::new(traces.iter().map(|t| t.0.to_vec()).collect())) }
}

fn has_key((key, value): &(String, String)) -> Predicate {
    Predicate::eq(Column::Attribute { scope: None, key: key.clone() }, value)
}

fn spans(
    reader: &dyn Reader,
    wanted: &Wanted,
    traces: &BTreeSet<TraceId>,
    items: &mut Vec<(i64, Json)>,
    services: &mut BTreeSet<String>,
    cancelled: &AtomicBool,
) -> Result<(), Failure> {
    let service = Column::attribute(Scope::Resource, "service.name");
    let chosen = match (&wanted.service, wanted.trace, &wanted.keys[..]) {
        (_, Some(_), _) => among(traces),
        (Some(name), None, []) => Predicate::eq(service.clone(), name),
        (_, None, keys) => {
            let all = keys.iter().map(has_key).fold(Predicate::True, Predicate::and);
            if traces.is_empty() { all } else { Predicate::Or(vec![among(traces), all]) }
        }
    };
    let scan = Scan {
        tenant: wanted.tenant.clone(),
        table: Table::Spans,
        range: wanted.range,
        predicate: chosen.and(Predicate::Not(Box::new(correlate::find::own_rows()))),
        projection: [
            Field::Time,
            Field::Duration,
            Field::TraceId,
            Field::SpanId,
            Field::ParentSpanId,
            Field::Name,
            Field::StatusCode,
        ]
        .into_iter()
        .map(Column::Field)
        .chain([service.clone()])
        .collect(),
        order: Order::OldestFirst,
        limit: Some(wanted.limit + 1),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for batch in reader.scan(&scan)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let batch = batch?;
        for row in 0..batch.rows() {
            let time = batch.int(row, Field::Time).unwrap_or(0);
            let name = batch.attribute(row, &service).map(|v| value_text(&v)).unwrap_or_default();
            let status = match batch.int(row, Field::StatusCode) {
                Some(1) => "ok",
                Some(2) => "error",
                _ => "unset",
            };
            let item = json!({
                "kind": "span",
                "time": time_text(time),
                "service": name,
                "name": batch.text(row, Field::Name),
                "duration_ms": batch.int(row, Field::Duration).unwrap_or(0) as f64 / 1e6,
                "status": status,
                "trace_id": hex(batch.id(row, Field::TraceId)),
                "span_id": hex(batch.id(row, Field::SpanId)),
                "parent_span_id": hex(batch.id(row, Field::ParentSpanId)),
            });
            if !name.is_empty() {
                services.insert(name);
            }
            items.push((time, item));
        }
    }
    Ok(())
}

fn logs(
    reader: &dyn Reader,
    wanted: &Wanted,
    found: &[Event],
    traces: &BTreeSet<TraceId>,
    items: &mut Vec<(i64, Json)>,
    cancelled: &AtomicBool,
) -> Result<(), Failure> {
    let at = (&wanted.tenant, wanted.range);
    let mut all: BTreeMap<correlate::LogId, lines::Line> = BTreeMap::new();
    let mut take = |lines: Vec<lines::Line>| {
        for line in lines {
            // Whoever says more of how it was joined comes first.
            all.entry(line.id).or_insert(line);
        }
    };
    for trace in traces {
        let event = found.iter().find(|e| e.trace == *trace);
        take(lines::all_of(reader, at, *trace, event, wanted.limit, cancelled)?);
    }
    let others = match (&wanted.service, &wanted.keys[..]) {
        (Some(service), []) if wanted.trace.is_none() => Some(recent::of_service(service)),
        (_, keys @ [_, ..]) => {
            // In an attribute, or in the text.
            let in_any = |pair: &(String, String)| {
                let body = Predicate::Contains { column: Column::Field(Field::Body), needle: pair.1.clone() };
                Predicate::Or(vec![has_key(pair), body])
            };
            Some(keys.iter().map(in_any).fold(Predicate::True, Predicate::and))
        }
        _ => None,
    };
    if let Some(predicate) = others {
        take(lines::scan(reader, at, predicate, (Order::OldestFirst, wanted.limit), cancelled)?);
    }
    items.extend(all.into_values().map(|mut line| {
        line.json["kind"] = "log".into();
        (line.time, line.json)
    }));
    Ok(())
}

fn exemplars(
    reader: &dyn Reader,
    wanted: &Wanted,
    traces: &BTreeSet<TraceId>,
    items: &mut Vec<(i64, Json)>,
) -> Result<(), Failure> {
    if traces.is_empty() {
        return Ok(());
    }
    let ms = |ns: i64| ns.div_euclid(1_000_000);
    for series in reader.exemplars(&wanted.tenant, &[], ms(wanted.range.start), ms(wanted.range.end))? {
        for exemplar in &series.exemplars {
            let id = ["trace_id", "traceID", "traceId", "TraceID"].iter().find_map(|n| exemplar.labels.get(n));
            let Some(trace) = id.and_then(|id| id.parse::<TraceId>().ok()).filter(|id| traces.contains(id)) else { continue };
            let time = exemplar.time.saturating_mul(1_000_000);
            items.push((
                time,
                json!({
                    "kind": "exemplar",
                    "time": time_text(time),
                    "metric": labels_json(&series.labels),
                    "value": exemplar.value,
                    "trace_id": trace.to_string(),
                }),
            ));
        }
    }
    Ok(())
}

fn labels_json(labels: &Labels) -> Json {
    labels.iter().map(|(n, v)| (n.to_owned(), Json::from(v))).collect::<serde_json::Map<_, _>>().into()
}

/// The metrics of services around a time.
fn metrics(
    reader: &dyn Reader,
    tenant: &Tenant,
    services: &BTreeSet<String>,
    (first, last): (i64, i64),
) -> Result<Vec<Json>, Failure> {
    let ms = |ns: i64| ns.div_euclid(1_000_000);
    let (first, last) = (ms(first.saturating_sub(AROUND_NS)), ms(last.saturating_add(AROUND_NS)));
    let mut found: BTreeMap<String, Json> = BTreeMap::new();
    for (service, label) in services.iter().flat_map(|s| ["service_name", "service", "job"].map(|l| (s, l))) {
        let matcher = LabelMatcher::new(label, MatchOp::Eq, service).map_err(|e| Failure::Internal(e.to_string()))?;
        for series in reader.samples(tenant, &[matcher], first, last)? {
            if found.len() >= MAX_SERIES {
                return Ok(found.into_values().collect());
            }
            let series = series?;
            let from = series.times.len().saturating_sub(MAX_SAMPLES);
            let samples: Vec<Json> = (series.times.iter().zip(&series.values).skip(from))
                .filter(|(_, v)| !model::is_stale(**v))
                .map(|(t, v)| json!([*t as f64 / 1e3, v.to_string()]))
                .collect();
            if !samples.is_empty() {
                let metric = labels_json(&series.labels);
                found.insert(metric.to_string(), json!({"service": service, "metric": metric, "values": samples}));
            }
        }
    }
    Ok(found.into_values().collect())
}
