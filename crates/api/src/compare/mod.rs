//! `/api/compare`: what tells one stretch from the rest. Of the spans, log lines or samples that a query selects, those inside a range of
//! time (spans: of duration, too) are compared with all others, attribute by attribute. Exact, and on the server: every one counts.

mod lines;
mod samples;
mod spans;
mod tally;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Tenant, TimeRange};
use serde::Serialize;
use serde_json::{Value as Json, json};
use traceql::{Metrics, MetricsNode, Root, parse_duration};

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::loki;
use crate::run::blocking;
use crate::tempo::shade;
use crate::time::loki_ns;
use tally::{Attribute, Tallies, Weight};

const HOUR_NS: i64 = 3_600_000_000_000;
/// Attributes in an answer that does not say how many.
const ATTRIBUTES: usize = 20;
/// Values of an attribute in an answer.
const VALUES: usize = 10;

/// What is compared.
enum Subject {
    /// Spans that pass a filter, and the filter as text.
    Spans(store::Predicate, String),
    /// Log lines.
    Lines(logql::LogQuery),
    /// Samples of a selector.
    Samples(samples::Selected),
}

impl Subject {
    /// Of `q` (TraceQL), `query` (LogQL) or `promql`, of which one may be given; of a metric query, what its series are made of.
    fn read(ask: &Ask) -> Result<Self, Failure> {
        let bad = Failure::BadData;
        match (ask.get("q"), ask.get("query"), ask.get("promql")) {
            (q, None, None) => {
                let mut query = traceql::parse(q.unwrap_or("{}")).map_err(|e| bad(format!("invalid TraceQL query: {e}")))?;
                if let Root::Metrics(Metrics { node: MetricsNode::Query(pipeline, _), .. }) = &mut query.root {
                    query.root = Root::Spansets(std::mem::take(pipeline));
                }
                traceql::filter(&query).map(|predicate| Self::Spans(predicate, query.to_string())).ok_or_else(|| {
                    bad("invalid q: a comparison takes one filter { … } over attributes, name, status, kind and duration"
                        .to_owned())
                })
            }
            (None, Some(query), None) => {
                let query = logql::parse(query).map_err(|e| bad(format!("invalid LogQL query: {e}")))?;
                lines::of(query).map(Self::Lines).ok_or_else(|| bad("invalid query: it selects no log lines".to_owned()))
            }
            (None, None, Some(query)) => {
                let query = promql::parse(query).map_err(|e| bad(format!("invalid PromQL query: {e}")))?;
                samples::Selected::of(&query)
                    .map(Self::Samples)
                    .ok_or_else(|| bad("invalid promql: it selects no series".to_owned()))
            }
            _ => Err(bad("one of q, query and promql says what is compared".to_owned())),
        }
    }
}

/// What is compared with the rest.
#[derive(Debug, Clone, Copy)]
struct Inside {
    /// It starts in it.
    range: TimeRange,
    /// Spans take at least so long, nanoseconds.
    min: i64,
    /// They take less than this.
    max: i64,
}

/// Answers `q`, `query` or `promql`, `start` and `end` (nanoseconds, seconds or RFC 3339: of which time), `from`, `to` and for spans `min`,
/// `max` (the box), `limit` (attributes).
pub(crate) async fn compare(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let subject = Subject::read(&ask)?;
    let time = |name: &str, default: i64| match ask.get(name) {
        Some(text) => loki_ns(text).map_err(|why| Failure::BadData(format!("invalid {name}: {why}"))),
        None => Ok(default),
    };
    let duration = |name: &str, default: i64| match ask.get(name) {
        Some(text) => parse_duration(text).ok_or_else(|| Failure::BadData(format!("invalid {name}: {text:?} is no duration"))),
        None => Ok(default),
    };
    let end = time("end", ask.now_ns)?;
    let range = TimeRange::new(time("start", end.saturating_sub(HOUR_NS))?, end);
    let within = TimeRange::new(time("from", range.start)?, time("to", range.end)?);
    let inside = Inside { range: within, min: duration("min", i64::MIN)?, max: duration("max", i64::MAX)? };
    let comparison = Comparison { subject, tenant: ask.tenant()?, range, inside, limit: ask.count("limit", ATTRIBUTES)? };
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = match &comparison.subject {
            Subject::Spans(_, of) => shade::snapshot(&*state.source, &[Some(of)]),
            Subject::Lines(_) | Subject::Samples(_) => state.source.snapshot(),
        };
        let body = comparison.answer(&state, &*reader, cancelled)?;
        let rows = body["attributes"].as_array().map_or(0, Vec::len);
        Ok(Answer::json(body.to_string(), rows).partial(reader.partial()))
    })
    .await
}

/// A question, as it was understood.
struct Comparison {
    subject: Subject,
    tenant: Tenant,
    range: TimeRange,
    inside: Inside,
    /// Attributes of the answer.
    limit: usize,
}

impl Comparison {
    fn answer(self, api: &Api, reader: &dyn store::Reader, cancelled: &AtomicBool) -> Result<Json, Failure> {
        let Self { subject, tenant, range, inside, limit } = self;
        let (mut body, of) = match subject {
            Subject::Spans(predicate, of) => {
                (ranked(&spans::count(reader, tenant, range, predicate, &inside, cancelled)?, limit), of)
            }
            Subject::Lines(query) => {
                let tally = logql::Tally::default();
                let logql = loki::question(api, reader, &tenant, cancelled, &tally);
                (ranked(&lines::count(&logql, &query, range, &inside)?, limit), query.to_string())
            }
            Subject::Samples(selected) => {
                let promql = promql::Question {
                    reader,
                    tenant: &tenant,
                    lookback_ms: api.settings.lookback_ms,
                    limits: api.limits(),
                    cancelled,
                    options: promql::Options::default(),
                    stats: false,
                };
                let mut body = ranked(&selected.measure(&promql, range, inside.range)?, limit);
                body["measure"] = selected.function().into();
                (body, selected.selector().to_owned())
            }
        };
        body["of"] = of.into();
        Ok(body)
    }
}

fn ranked<W: Weight + Serialize>(tallies: &Tallies<W>, limit: usize) -> Json {
    let (ranked, many) = tallies.ranked();
    let shown: Vec<Json> = ranked.iter().take(limit).map(attribute).collect();
    let many: Vec<Json> = many.iter().map(|(scope, key)| json!({"scope": scope, "key": key})).collect();
    json!({"inside": tallies.inside, "outside": tallies.outside, "attributes": shown, "too_many_values": many})
}

fn attribute<W: Weight + Serialize>(a: &Attribute<W>) -> Json {
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
