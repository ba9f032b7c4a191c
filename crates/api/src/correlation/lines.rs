//! Log records as this API shows them, and `GET /api/traces/{id}/logs`: the lines of a trace, those that carry its id and those that
//! were joined by a key, each marked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use correlate::{Event, LogId, joined_json, time_text};
use model::{Scope, Tenant, TimeRange, TraceId};
use serde_json::{Map, Value as Json, json};
use store::{Batch, Column, CompareOp, Field, Literal, Order, Predicate, Reader, Scan, Table, value_text};

use super::{limit, range, trace_id};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Lines in an answer that does not say how many, and at most.
const DEFAULT: usize = 1000;
const MOST: usize = 5000;

/// A record: when, which, and how it is shown.
pub(super) struct Line {
    pub(super) time: i64,
    pub(super) id: LogId,
    pub(super) json: Json,
}

/// The log records that `predicate` chooses.
pub(super) fn scan(
    reader: &dyn Reader,
    (tenant, range): (&Tenant, TimeRange),
    predicate: Predicate,
    (order, limit): (Order, usize),
    cancelled: &AtomicBool,
) -> Result<Vec<Line>, Failure> {
    const FIELDS: [Field; 6] =
        [Field::Time, Field::TraceId, Field::SpanId, Field::Body, Field::SeverityText, Field::SeverityNumber];
    let scan = Scan {
        tenant: tenant.clone(),
        table: Table::Logs,
        range,
        predicate,
        projection: FIELDS.into_iter().map(Column::Field).chain([Column::Attributes(None)]).collect(),
        order,
        limit: Some(limit),
    };
    let mut lines = Vec::new();
    for batch in reader.scan(&scan)? {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let batch = batch?;
        lines.extend((0..batch.rows()).map(|row| line(&batch, row)));
    }
    Ok(lines)
}

fn line(batch: &Batch, row: usize) -> Line {
    let time = batch.int(row, Field::Time).unwrap_or(0);
    let body = batch.text(row, Field::Body);
    let (mut labels, mut attributes, mut resource) = (Map::new(), Map::new(), Map::new());
    batch.attributes(row, |scope, key, value| {
        let into = match scope {
            Scope::Label => &mut labels,
            Scope::Resource => &mut resource,
            Scope::Record | Scope::Instrumentation => &mut attributes,
        };
        into.insert(key.to_owned(), value_text(&value).into());
    });
    let first = |names: &[(&Map<String, Json>, &str)]| {
        names.iter().find_map(|(map, name)| map.get(*name)?.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let service = first(&[(&resource, "service.name"), (&labels, "service_name"), (&labels, "service"), (&labels, "job")]);
    let host = first(&[(&resource, "host.name"), (&labels, "host"), (&labels, "hostname"), (&labels, "instance")]);
    let id =
        |bytes: &[u8], full: usize| (bytes.len() == full).then(|| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    let mut json = json!({
        "time": time_text(time),
        "log_id": LogId::of(time, body).to_string(),
        "service": service,
        "host": host,
        "severity": batch.text(row, Field::SeverityText),
        "line": body,
        "trace_id": id(batch.id(row, Field::TraceId), 16),
        "span_id": id(batch.id(row, Field::SpanId), 8),
    });
    for (name, map) in [("labels", labels), ("attributes", attributes), ("resource", resource)] {
        if !map.is_empty() {
            json[name] = Json::Object(map);
        }
    }
    Line { time, id: LogId::of(time, body), json }
}

/// Of this trace.
pub(super) fn of_id(trace: TraceId) -> Predicate {
    let value = Literal::Bytes(trace.0.to_vec());
    Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value }
}

/// All lines of a trace with its event: by its id, named in the line, joined by a key, candidates. Oldest first.
pub(super) fn all_of(
    reader: &dyn Reader,
    (tenant, range): (&Tenant, TimeRange),
    trace: TraceId,
    event: Option<&Event>,
    limit: usize,
    cancelled: &AtomicBool,
) -> Result<Vec<Line>, Failure> {
    let mut lines = scan(reader, (tenant, range), of_id(trace), (Order::OldestFirst, limit), cancelled)?;
    lines.iter_mut().for_each(|l| l.json["joined_by"] = "trace_id".into());
    // Records that name the trace in their text are known by their time and hash, the first of them; the others say it.
    let known: HashSet<LogId> = lines.iter().map(|l| l.id).collect();
    let parts = || event.iter().flat_map(|e| &e.parts);
    let named = parts().flat_map(|(_, p)| &p.log_ids);
    let missing: HashSet<LogId> = named.filter(|id| !known.contains(id) && range.contains(id.time)).copied().collect();
    let counted: u64 = parts().map(|(_, p)| p.logs).sum();
    let are_all_named = event.is_some() && (known.len() + missing.len()) as u64 >= counted;
    if lines.len() < limit && !missing.is_empty() {
        let at = |id: &LogId| {
            let value = Literal::Int(id.time);
            Predicate::Compare { column: Column::Field(Field::Time), op: CompareOp::Eq, value }
        };
        let first = missing.iter().map(|id| id.time).min().unwrap_or(0);
        let last = missing.iter().map(|id| id.time).max().unwrap_or(0);
        let times = Predicate::Or(missing.iter().map(at).collect());
        let within = TimeRange::new(first, last.saturating_add(1));
        for mut line in scan(reader, (tenant, within), times, (Order::OldestFirst, MOST), cancelled)? {
            if missing.contains(&line.id) {
                line.json["joined_by"] = "trace_id_in_record".into();
                lines.push(line);
            }
        }
    }
    if lines.len() < limit && !are_all_named {
        let in_text = Predicate::Contains { column: Column::Field(Field::Body), needle: trace.to_string() };
        for mut line in scan(reader, (tenant, range), in_text, (Order::OldestFirst, limit), cancelled)? {
            if !known.contains(&line.id) && !missing.contains(&line.id) {
                line.json["joined_by"] = "trace_id_in_record".into();
                lines.push(line);
            }
        }
    }
    for joined in event.iter().flat_map(|e| e.joined()) {
        let mut json = joined_json(joined);
        json["joined_by"] = if joined.certain { "key" } else { "key_candidate" }.into();
        json["trace_id"] = Json::Null;
        json["span_id"] = Json::Null;
        lines.push(Line { time: joined.log.time, id: joined.log, json });
    }
    lines.sort_by_key(|l| l.time);
    lines.truncate(limit);
    Ok(lines)
}

pub(super) async fn of_trace(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let trace = trace_id(ask.path("id"))?;
    let (range, limit, tenant) = (range(&ask)?, limit(&ask, DEFAULT, MOST)?, ask.tenant()?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let event = correlate::find::of_traces(&*reader, &tenant, &[trace], cancelled)?.pop();
        let lines = all_of(&*reader, (&tenant, range), trace, event.as_ref(), limit, cancelled)?;
        let count = |word: &str| lines.iter().filter(|l| l.json["joined_by"] == word).count();
        let body = json!({
            "trace_id": trace.to_string(),
            "counts": {
                "trace_id": count("trace_id"),
                "trace_id_in_record": count("trace_id_in_record"),
                "key": count("key"),
                "key_candidate": count("key_candidate"),
            },
            "logs": lines.iter().map(|l| &l.json).collect::<Vec<_>>(),
        });
        Ok(Answer::json(body.to_string(), lines.len()).partial(reader.partial()))
    })
    .await
}
