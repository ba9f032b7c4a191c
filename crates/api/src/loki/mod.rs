//! Loki's HTTP API.

mod labels;
mod query;

use std::sync::Arc;

use model::TimeRange;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::serve::Routes;
use crate::time::{loki_duration_ns, loki_ns};

/// The Loki whose API this is.
const COMPATIBLE: &str = "3.5.0";
const HOUR_NS: i64 = 3_600_000_000_000;

pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .route("/loki/api/v1/query", query::instant)
        .route("/loki/api/v1/query_range", query::range)
        .route("/loki/api/v1/format_query", query::format)
        .route("/loki/api/v1/labels", labels::names)
        .route("/loki/api/v1/label", labels::names)
        .route("/loki/api/v1/label/{name}/values", labels::values)
        .route("/loki/api/v1/series", labels::series)
        .route("/loki/api/v1/index/stats", labels::stats)
        .route("/loki/api/v1/status/buildinfo", buildinfo)
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

fn time(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = ask.get(name) else { return Ok(None) };
    loki_ns(text).map(Some).ok_or_else(|| Failure::BadData(format!("could not parse '{name}' parameter: {text:?} is no time")))
}

fn duration(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = ask.get(name) else { return Ok(None) };
    let bad = || Failure::BadData(format!("could not parse '{name}' parameter: {text:?} is no duration"));
    loki_duration_ns(text).map(Some).ok_or_else(bad)
}

/// `start` to `end`; where `start` is not given, `since`, or `default_hours`, before the end.
fn range(ask: &Ask, default_hours: i64) -> Result<TimeRange, Failure> {
    let end = time(ask, "end")?.unwrap_or(ask.now_ns);
    let since = duration(ask, "since")?.unwrap_or(default_hours * HOUR_NS);
    // A window that ends in the future still starts relative to now.
    let start = time(ask, "start")?.unwrap_or(end.min(ask.now_ns).saturating_sub(since));
    if end < start {
        return Err(Failure::BadData("end timestamp must not be before or equal to start time".to_owned()));
    }
    Ok(TimeRange::new(start, end))
}
