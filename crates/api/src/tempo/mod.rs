//! Tempo's HTTP API.

mod metrics;
mod search;
mod shade;
mod tags;
mod trace;

use std::sync::Arc;

use model::TimeRange;
use serde_json::{Value as Json, json};
use traceql::Static;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::serve::Routes;

/// The Tempo whose API this is: Grafana chooses its features by it.
const COMPATIBLE: &str = "2.8.0";
const SECOND_NS: i64 = 1_000_000_000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route("/api/traces/{id}", trace::v1)
        .route("/api/v2/traces/{id}", trace::v2)
        .route("/api/search", search::search)
        .route("/api/search/tags", tags::names_v1)
        .route("/api/v2/search/tags", tags::names_v2)
        .route("/api/search/tag/{name}/values", tags::values_v1)
        .route("/api/v2/search/tag/{name}/values", tags::values_v2)
        .route("/api/metrics/query_range", metrics::query_range)
        .route("/api/metrics/query", metrics::query)
        .route("/api/echo", async |_, _| Ok(Answer::text("echo")))
        .route("/api/status/buildinfo", buildinfo)
}

async fn buildinfo(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let info = serde_json::json!({
        "version": COMPATIBLE,
        "revision": concat!("braid-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(Answer::json(info.to_string(), 1))
}

/// `start` to `end`, in seconds; each open where it is not given.
fn range(ask: &Ask) -> Result<TimeRange, Failure> {
    let read = |name: &str| {
        let Some(text) = ask.get(name) else { return Ok(None) };
        let seconds = text.parse::<i64>().ok().filter(|s| s.abs() < i64::MAX / SECOND_NS);
        seconds
            .map(|s| Some(s * SECOND_NS))
            .ok_or_else(|| Failure::BadData(format!("invalid {name}: {text:?} is no time in seconds")))
    };
    let (start, end) = (read("start")?, read("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(Failure::BadData("invalid start and end: the end is before the start".to_owned()));
    }
    // 0 means "not given" to Tempo.
    let start = start.filter(|s| *s != 0).unwrap_or(i64::MIN);
    // The last second belongs to the range.
    let end = end.filter(|e| *e != 0).map_or(i64::MAX, |e| e.saturating_add(SECOND_NS));
    Ok(TimeRange::new(start, end))
}

/// Keys and values as protobuf's JSON has them.
fn attributes(list: &[(String, Static<'static>)]) -> Json {
    list.iter().map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect()
}

fn any_value(value: &Static<'_>) -> Json {
    match value {
        Static::Int(i) => json!({"intValue": i.to_string()}),
        Static::Float(f) => json!({"doubleValue": number(*f)}),
        Static::Bool(b) => json!({"boolValue": b}),
        Static::Text(t) => json!({"stringValue": t}),
        Static::Array(_, values) => json!({"arrayValue": {"values": values.iter().map(any_value).collect::<Vec<_>>()}}),
        // Durations, statuses, kinds, nil.
        other => json!({"stringValue": other.to_string()}),
    }
}

/// A double: whole ones without a fraction, as Go prints them.
fn number(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return (value as i64).into();
    }
    match serde_json::Number::from_f64(value) {
        Some(number) => number.into(),
        None if value.is_nan() => "NaN".into(),
        None => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
    }
}
