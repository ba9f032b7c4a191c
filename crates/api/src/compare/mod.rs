//! `/api/compare`: which attributes tell the spans inside a box of time and duration from all others that a query selects.
//! Exact: every selected span is counted, on the server, in one scan.

mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use model::{Tenant, TimeRange};
use serde_json::{Value as Json, json};
use store::{Batch, Column, Field, Order, Predicate, Reader, Scan, StoreError, Table};
use traceql::parse_duration;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::time::loki_ns;
use tally::{Attribute, Tallies};

const HOUR_NS: i64 = 3_600_000_000_000;
/// Attributes in an answer that does not say how many.
const ATTRIBUTES: usize = 20;
/// Values of an attribute in an answer.
const VALUES: usize = 10;

/// The spans that are compared with the rest.
#[derive(Debug, Clone, Copy)]
struct Inside {
    /// They start in it.
    range: TimeRange,
    /// They take at least so long, nanoseconds.
    min: i64,
    /// They take less than this.
    max: i64,
}

impl Inside {
    fn has(&self, time: i64, duration: i64) -> bool {
        self.range.contains(time) && self.min <= duration && duration < self.max
    }
}

/// Answers `q` (one filter `{ … }`), `start` and `end` (nanoseconds, seconds or RFC 3339: of whose spans), `from`, `to`, `min`, `max`
/// (the box), `limit` (attributes).
pub(crate) async fn compare(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let bad = |why: String| Failure::BadData(why);
    let query = traceql::parse(ask.get("q").unwrap_or("{}")).map_err(|e| bad(format!("invalid TraceQL query: {e}")))?;
    let predicate = traceql::filter(&query).ok_or_else(|| {
        bad("invalid q: a comparison takes one filter { … } over attributes, name, status, kind and duration".to_owned())
    })?;
    let time = |name: &str, default: i64| match ask.get(name) {
        Some(text) => loki_ns(text).ok_or_else(|| bad(format!("invalid {name}: {text:?} is no time"))),
        None => Ok(default),
    };
    let duration = |name: &str, default: i64| match ask.get(name) {
        Some(text) => parse_duration(text).ok_or_else(|| bad(format!("invalid {name}: {text:?} is no duration"))),
        None => Ok(default),
    };
    let end = time("end", ask.now_ns)?;
    let range = TimeRange::new(time("start", end.saturating_sub(HOUR_NS))?, end);
    let within = TimeRange::new(time("from", range.start)?, time("to", range.end)?);
    let inside = Inside { range: within, min: duration("min", i64::MIN)?, max: duration("max", i64::MAX)? };
    let (limit, tenant) = (ask.count("limit", ATTRIBUTES)?, ask.tenant()?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let tallies = count(&*reader, tenant, range, predicate, &inside, cancelled)?;
        let (ranked, many) = tallies.ranked();
        let shown: Vec<Json> = ranked.iter().take(limit).map(attribute).collect();
        let many: Vec<Json> = many.iter().map(|(scope, key)| json!({"scope": scope, "key": key})).collect();
        let (rows, body) = (
            shown.len(),
            json!({"inside": tallies.inside, "outside": tallies.outside, "attributes": shown, "too_many_values": many}),
        );
        Ok(Answer::json(body.to_string(), rows).partial(reader.partial()))
    })
    .await
}

fn attribute(a: &Attribute) -> Json {
    let values = a.values.iter().take(VALUES);
    json!({
        "scope": a.scope,
        "key": a.key,
        "numeric": a.numeric,
        "score": a.score,
        "inside": a.inside,
        "outside": a.outside,
        "distinct": a.values.len(),
        "values": values.map(|(value, [outside, inside])| json!({"value": value, "inside": inside, "outside": outside})).collect::<Vec<_>>(),
    })
}

/// Counts on this thread what another one reads.
fn count(
    reader: &dyn Reader,
    tenant: Tenant,
    range: TimeRange,
    predicate: Predicate,
    inside: &Inside,
    cancelled: &AtomicBool,
) -> Result<Tallies, Failure> {
    let fields = [Field::Time, Field::Duration, Field::Name, Field::Kind, Field::StatusCode];
    let projection = fields.map(Column::Field).into_iter().chain([Column::Attributes(None)]).collect();
    let scan = Scan { tenant, table: Table::Spans, range, predicate, projection, order: Order::Any, limit: None };
    let mut tallies = Tallies::default();
    std::thread::scope(|threads| {
        let (sender, batches) = sync_channel::<Result<Batch, StoreError>>(2);
        threads.spawn(move || match reader.scan(&scan) {
            Ok(stream) => {
                for batch in stream {
                    // Nobody listens any more: the other side has failed or was cancelled.
                    if sender.send(batch).is_err() {
                        break;
                    }
                }
            }
            Err(e) => drop(sender.send(Err(e))),
        });
        for batch in batches {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            let batch = batch?;
            let is_inside: Vec<bool> = (0..batch.rows())
                .map(|row| inside.has(batch.int(row, Field::Time).unwrap_or(0), batch.int(row, Field::Duration).unwrap_or(0)))
                .collect();
            tallies.add(&batch, &is_inside);
        }
        Ok(tallies)
    })
}
