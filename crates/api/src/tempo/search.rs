//! `/api/search`.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use traceql::{FoundSet, FoundSpan, FoundTrace, Plan, Question, logfmt, parse_duration, tags_query};

use super::{attributes, range, shade};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, json};

/// What stands for the root's service and name until it has arrived.
const ROOT_MISSING: &str = "<root span not yet received>";

fn plan(ask: &Ask) -> Result<Plan, Failure> {
    let bad = |e: traceql::ParseError| Failure::BadData(format!("invalid TraceQL query: {e}"));
    let query = match ask.get("q") {
        Some(q) => traceql::parse(q).map_err(bad)?,
        None => tags_query(&logfmt(ask.get("tags").unwrap_or(""))),
    };
    let mut plan = Plan::new(&query)
        .ok_or_else(|| Failure::BadData("invalid TraceQL query: a metrics query: ask /api/metrics/query_range".to_owned()))?;
    let duration = |name: &str| {
        let Some(text) = ask.get(name) else { return Ok(None) };
        parse_duration(text).map(Some).ok_or_else(|| Failure::BadData(format!("invalid {name}: {text:?} is no duration")))
    };
    plan.min_duration = duration("minDuration")?;
    plan.max_duration = duration("maxDuration")?;
    Ok(plan)
}

pub(super) async fn search(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (plan, range, tenant) = (plan(&ask)?, range(&ask)?, ask.tenant()?);
    let (limit, spans_per_set) = (ask.count("limit", 20)?, ask.count("spss", 3)?);
    if limit == 0 {
        return Err(Failure::BadData("invalid limit: must be a positive number".to_owned()));
    }
    let (state, texts) = (api.clone(), [ask.get("q").map(str::to_owned), ask.get("tags").map(str::to_owned)]);
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &texts.each_ref().map(Option::as_deref));
        // 0 means all spans.
        let spans_per_set = if spans_per_set == 0 { usize::MAX } else { spans_per_set };
        let question = Question { reader: &*reader, tenant: &tenant, range, limit, spans_per_set, cancelled };
        let found = traceql::search(&question, &plan)?;
        let rows = found.traces.len();
        let mut body = String::from("{\"traces\":[");
        // One after the other: there may be many.
        json::list(&mut body, &found.traces, |out, found| out.push_str(&trace(found).to_string()));
        body.push_str(&format!("],\"metrics\":{{\"inspectedTraces\":{}}}}}", found.inspected));
        Ok(Answer::json(body, rows).partial(reader.partial()))
    })
    .await
}

fn trace(trace: &FoundTrace) -> Json {
    let (service, name) = match &trace.root {
        Some((service, name)) => (service.as_str(), name.as_str()),
        None => (ROOT_MISSING, ROOT_MISSING),
    };
    let sets: Vec<Json> = trace.sets.iter().map(set).collect();
    let services = trace.services.iter().map(|(service, (spans, errors))| {
        let stats = match errors {
            0 => json!({"spanCount": spans}),
            errors => json!({"spanCount": spans, "errorCount": errors}),
        };
        (service.clone(), stats)
    });
    let id = trace.trace_id.to_string();
    json!({
        // Leading zeros are trimmed here, and only here.
        "traceID": id.trim_start_matches('0'),
        "rootServiceName": service,
        "rootTraceName": name,
        "startTimeUnixNano": trace.start.to_string(),
        "durationMs": trace.duration / 1_000_000,
        "spanSet": sets.first(),
        "spanSets": sets,
        "serviceStats": services.collect::<Map<_, _>>(),
    })
}

fn set(set: &FoundSet) -> Json {
    let mut out = json!({"spans": set.spans.iter().map(span).collect::<Vec<_>>(), "matched": set.matched});
    if !set.attributes.is_empty() {
        out["attributes"] = attributes(&set.attributes);
    }
    out
}

fn span(span: &FoundSpan) -> Json {
    let mut out = Map::new();
    out.insert("spanID".to_owned(), span.span_id.to_string().into());
    if let Some(name) = &span.name {
        out.insert("name".to_owned(), name.as_str().into());
    }
    out.insert("startTimeUnixNano".to_owned(), span.start.to_string().into());
    out.insert("durationNanos".to_owned(), span.duration.to_string().into());
    if !span.attributes.is_empty() {
        out.insert("attributes".to_owned(), attributes(&span.attributes));
    }
    Json::Object(out)
}
