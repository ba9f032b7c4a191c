//! Tempo's HTTP API.

mod metrics;
mod protobuf;
mod search;
pub(crate) mod shade;
mod status;
mod streaming;
mod tags;
mod trace;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use model::TimeRange;
use serde_json::{Value as Json, json};
use traceql::Static;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::go;
use crate::serve::Routes;
use protobuf::Message;

/// The Tempo whose API this is: Grafana chooses its features by it.
const COMPATIBLE: &str = "2.8.0";
const SECOND_NS: i64 = 1_000_000_000;

/// What is served, for the page that lists it.
const PATHS: [&str; 19] = [
    "GET /api/traces/{id}",
    "GET /api/v2/traces/{id}",
    "GET /api/search",
    "GET /api/search/tags",
    "GET /api/v2/search/tags",
    "GET /api/search/tag/{name}/values",
    "GET /api/v2/search/tag/{name}/values",
    "GET /api/metrics/query_range",
    "GET /api/metrics/query",
    "GET /api/overrides",
    "GET /api/echo",
    "GET /api/status/buildinfo",
    "GET /status",
    "GET /status/config",
    "GET /status/services",
    "GET /status/endpoints",
    "GET /metrics",
    "GET /ready",
    "gRPC tempopb.StreamingQuerier",
];

pub(crate) use status::{overrides, pages};
pub(crate) use streaming::routes as streaming;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route("/api/traces/{id}", trace::v1)
        .route("/api/v2/traces/{id}", trace::v2)
        .route("/api/search", in_both_forms(&protobuf::SEARCH, search::search))
        .route("/api/search/tags", in_both_forms(&protobuf::TAGS, tags::names_v1))
        .route("/api/v2/search/tags", in_both_forms(&protobuf::TAGS_V2, tags::names_v2))
        .route("/api/search/tag/{name}/values", in_both_forms(&protobuf::VALUES, tags::values_v1))
        .route("/api/v2/search/tag/{name}/values", in_both_forms(&protobuf::VALUES_V2, tags::values_v2))
        .route("/api/metrics/query_range", in_both_forms(&protobuf::QUERY_RANGE, metrics::query_range))
        .route("/api/metrics/query", in_both_forms(&protobuf::QUERY_INSTANT, metrics::query))
        .route("/api/echo", async |_, _| Ok(Answer::text("echo")))
        .route("/api/status/buildinfo", buildinfo)
}

fn wants_protobuf(ask: &Ask) -> bool {
    ask.header("accept").contains("application/protobuf")
}

type Answered = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

/// What `handler` answers in JSON, as `message` where the client accepts protobuf.
fn in_both_forms<F, Fut>(
    message: &'static Message,
    handler: F,
) -> impl Fn(Arc<Api>, Ask) -> Answered + Clone + Send + Sync + 'static
where
    F: Fn(Arc<Api>, Ask) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    move |api, ask| {
        let handler = handler.clone();
        Box::pin(async move {
            let protobuf = wants_protobuf(&ask);
            let answer = handler(api, ask).await?;
            if !protobuf {
                return Ok(answer);
            }
            let json: Json = serde_json::from_slice(&answer.body).map_err(|e| Failure::Internal(e.to_string()))?;
            Ok(Answer::protobuf(protobuf::encode(message, &json), answer.rows).partial(answer.partial))
        })
    }
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
pub(crate) fn range(ask: &Ask) -> Result<TimeRange, Failure> {
    let read = |name: &str| -> Result<Option<i64>, Failure> {
        let Some(text) = ask.get(name) else { return Ok(None) };
        // 0 means "not given" to Tempo.
        let seconds = go::parse_int(text).map_err(|why| Failure::BadData(format!("invalid {name}: {why}")))?;
        Ok(Some(seconds).filter(|s| *s != 0))
    };
    let (start, end) = (read("start")?, read("end")?);
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        let why = format!("http parameter start must be before end. received start={start} end={end}");
        return Err(Failure::BadData(why));
    }
    let start = start.map_or(i64::MIN, |s| s.saturating_mul(SECOND_NS));
    // The last second belongs to the range.
    let end = end.map_or(i64::MAX, |e| e.saturating_add(1).saturating_mul(SECOND_NS));
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
