//! `/api/search`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::TimeRange;
use traceql::{Found, FoundSet, FoundSpan, FoundTrace, Plan, Question, Static, logfmt, tags_query};

use super::{any_value, range, shade};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, go, json};

/// Parameters of a search that are no tags.
const OWN: [&str; 7] = ["minDuration", "maxDuration", "limit", "spss", "start", "end", "most_recent"];

/// What stands for the root's service and name until it has arrived.
const ROOT_MISSING: &str = "<root span not yet received>";

fn plan(ask: &Ask) -> Result<Plan, Failure> {
    let bad = |e: traceql::ParseError| Failure::BadData(format!("invalid TraceQL query: {e}"));
    let query = match (ask.get("q"), ask.get("tags")) {
        (Some(_), Some(_)) => {
            return Err(Failure::BadData("invalid request: can't specify tags and q in the same query".to_owned()));
        }
        (Some(q), None) => traceql::parse(q).map_err(bad)?,
        (None, Some(text)) => {
            let tags = logfmt(text);
            let twice = tags.iter().enumerate().find(|(at, (tag, _))| tags[..*at].iter().any(|(other, _)| other == tag));
            if let Some((_, (tag, _))) = twice {
                return Err(Failure::BadData(format!("invalid tags: tag {tag} has been set twice")));
            }
            tags_query(&tags)
        }
        // As the first versions of Grafana asked: each parameter that means nothing else is a tag.
        (None, None) if ask.get("start").is_none() && ask.get("end").is_none() => {
            let tags = ask.pairs().filter(|(name, _)| !OWN.contains(name)).map(|(n, v)| (n.to_owned(), v.to_owned()));
            tags_query(&tags.collect::<Vec<_>>())
        }
        (None, None) => tags_query(&[]),
    };
    let mut plan = Plan::new(&query)
        .ok_or_else(|| Failure::BadData("invalid TraceQL query: a metrics query: ask /api/metrics/query_range".to_owned()))?;
    let duration = |name: &str| {
        ask.get(name).map(go::parse_duration).transpose().map_err(|why| Failure::BadData(format!("invalid {name}: {why}")))
    };
    plan.min_duration = duration("minDuration")?;
    plan.max_duration = duration("maxDuration")?;
    if let (Some(min), Some(max)) = (plan.min_duration, plan.max_duration)
        && min > max
    {
        return Err(Failure::BadData("invalid maxDuration: must be greater than minDuration".to_owned()));
    }
    Ok(plan)
}

pub(super) async fn search(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    search_aloud(api, ask, |_| {}).await
}

/// The range; unlike elsewhere a search has both ends or neither.
fn range_of_search(ask: &Ask) -> Result<TimeRange, Failure> {
    let second =
        |name: &str| ask.get(name).map_or(Ok(0), go::parse_u32).map_err(|why| Failure::BadData(format!("invalid {name}: {why}")));
    let (start, end) = (second("start")?, second("end")?);
    if (start, end) != (0, 0) && end <= start {
        let why = format!("http parameter start must be before end. received start={start} end={end}");
        return Err(Failure::BadData(why));
    }
    range(ask)
}

/// Between two answers that are not the last one: at least so long.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

/// The answer; `heard` is given what is found so far, as an answer of its own, now and then.
pub(super) async fn search_aloud(
    api: Arc<Api>,
    ask: Ask,
    mut heard: impl FnMut(String) + Send + 'static,
) -> Result<Answer, Failure> {
    let range = range_of_search(&ask)?;
    let (plan, tenant) = (plan(&ask)?, ask.tenant()?);
    let count = |name: &str, default: i64, least: i64, what: &str| {
        let bad = |why: String| Failure::BadData(format!("invalid {name}: {why}"));
        let n = ask.get(name).map_or(Ok(default), go::atoi).map_err(bad)?;
        usize::try_from(n).ok().filter(|_| n >= least).ok_or_else(|| bad(format!("must be a {what} number")))
    };
    let (limit, spans_per_set) = (count("limit", 20, 1, "positive")?, count("spss", 3, 0, "non-negative")?);
    let (state, texts) = (api.clone(), [ask.get("q").map(str::to_owned), ask.get("tags").map(str::to_owned)]);
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &texts.each_ref().map(Option::as_deref));
        // 0 means all spans.
        let spans_per_set = if spans_per_set == 0 { usize::MAX } else { spans_per_set };
        let memory = state.settings.max_query_memory;
        let question = Question { reader: &*reader, tenant: &tenant, range, limit, spans_per_set, memory, cancelled };
        let mut last: Option<Instant> = None;
        let mut parts = 0;
        let found = traceql::search_aloud(&question, &plan, &mut |found, (done, all)| {
            parts = all;
            if last.is_none_or(|at| at.elapsed() >= INTERVAL) {
                last = Some(Instant::now());
                heard(body(found, &format!(",\"completedJobs\":{done},\"totalJobs\":{all}")));
            }
        })?;
        let rows = found.traces.len();
        let jobs = if parts == 0 { String::new() } else { format!(",\"completedJobs\":{parts},\"totalJobs\":{parts}") };
        let partial = found.left_out().or_else(|| reader.partial());
        Ok(Answer::json(body(&found, &jobs), rows).partial(partial))
    })
    .await
}

fn body(found: &Found, jobs: &str) -> String {
    let mut body = String::from("{\"traces\":[");
    json::list(&mut body, &found.traces, trace);
    let _ = write!(body, "],\"metrics\":{{\"inspectedTraces\":{}", found.inspected);
    if found.bytes > 0 {
        // As protobuf's JSON has numbers of 64 bits: a text, and none where it is 0.
        let _ = write!(body, ",\"inspectedBytes\":\"{}\"", found.bytes);
    }
    let _ = write!(body, "{jobs}}}}}");
    body
}

/// Writes a trace as it is found: there may be tens of thousands.
fn trace(out: &mut String, trace: &FoundTrace) {
    let (service, name) = match &trace.root {
        Some((service, name)) => (service.as_str(), name.as_str()),
        None => (ROOT_MISSING, ROOT_MISSING),
    };
    // Leading zeros are trimmed here, and only here.
    let _ = write!(out, "{{\"traceID\":\"{}\",\"rootServiceName\":", trace.trace_id.to_string().trim_start_matches('0'));
    json::string(out, service);
    out.push_str(",\"rootTraceName\":");
    json::string(out, name);
    let _ = write!(out, ",\"startTimeUnixNano\":\"{}\",\"durationMs\":{}", trace.start, trace.duration / 1_000_000);
    let from = out.len();
    out.push_str(",\"spanSet\":");
    match trace.sets.first() {
        Some(first) => set(out, first),
        None => out.push_str("null"),
    }
    let first = from + ",\"spanSet\":".len()..out.len();
    out.push_str(",\"spanSets\":[");
    if !trace.sets.is_empty() {
        // The first one is there already.
        out.extend_from_within(first);
    }
    for more in trace.sets.iter().skip(1) {
        out.push(',');
        set(out, more);
    }
    out.push_str("],\"serviceStats\":{");
    json::list(out, &trace.services, |out, (service, (spans, errors))| {
        json::string(out, service);
        let _ = write!(out, ":{{\"spanCount\":{spans}");
        if *errors > 0 {
            let _ = write!(out, ",\"errorCount\":{errors}");
        }
        out.push('}');
    });
    out.push_str("}}");
}

fn set(out: &mut String, set: &FoundSet) {
    out.push_str("{\"spans\":[");
    json::list(out, &set.spans, span);
    let _ = write!(out, "],\"matched\":{}", set.matched);
    attributes(out, &set.attributes);
    out.push('}');
}

fn span(out: &mut String, span: &FoundSpan) {
    let _ = write!(out, "{{\"spanID\":\"{}\"", span.span_id);
    if let Some(name) = &span.name {
        out.push_str(",\"name\":");
        json::string(out, name);
    }
    let _ = write!(out, ",\"startTimeUnixNano\":\"{}\",\"durationNanos\":\"{}\"", span.start, span.duration);
    attributes(out, &span.attributes);
    out.push('}');
}

/// `,"attributes":[…]` as protobuf's JSON has them; nothing where there are none.
fn attributes(out: &mut String, list: &[(String, Static<'static>)]) {
    if list.is_empty() {
        return;
    }
    out.push_str(",\"attributes\":[");
    json::list(out, list, |out, (key, value)| {
        out.push_str("{\"key\":");
        json::string(out, key);
        out.push_str(",\"value\":");
        match value {
            Static::Text(text) => {
                out.push_str("{\"stringValue\":");
                json::string(out, text);
                out.push('}');
            }
            Static::Int(i) => {
                let _ = write!(out, "{{\"intValue\":\"{i}\"}}");
            }
            other => out.push_str(&any_value(other).to_string()),
        }
        out.push('}');
    });
    out.push(']');
}
