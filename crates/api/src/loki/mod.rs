//! Loki's HTTP API.

mod delete;
mod explore;
mod index;
mod labels;
mod legacy;
mod query;
pub(crate) mod rules;
mod status;
pub(crate) mod tail;

use axum::routing::MethodFilter;
use model::TimeRange;
use store::LabelMatcher;

use crate::answer::Failure;
use crate::ask::Ask;
use crate::go::atoi;
use crate::serve::Routes;
use crate::time::{loki_duration_ns, loki_ns};

pub(crate) use query::question;

const HOUR_NS: i64 = 3_600_000_000_000;

pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .on(
            MethodFilter::GET.or(MethodFilter::POST).or(MethodFilter::PUT).or(MethodFilter::DELETE),
            "/loki/api/v1/delete",
            delete::delete,
        )
        .route("/loki/api/v1/query", query::instant)
        .route("/loki/api/v1/query_range", query::range)
        .route("/loki/api/v1/format_query", query::format)
        .route("/loki/api/v1/labels", labels::names)
        .route("/loki/api/v1/label", labels::names)
        .route("/loki/api/v1/label/{name}/values", labels::values)
        .route("/loki/api/v1/series", labels::series)
        .route("/loki/api/v1/index/stats", index::stats)
        .route("/loki/api/v1/index/shards", index::shards)
        .route("/loki/api/v1/index/volume", index::volume)
        .route("/loki/api/v1/index/volume_range", index::volume_range)
        .route("/loki/api/v1/patterns", explore::patterns)
        .route("/loki/api/v1/detected_fields", explore::detected_fields)
        .route("/loki/api/v1/detected_field/{name}/values", explore::detected_field_values)
        .route("/loki/api/v1/detected_labels", explore::detected_labels)
        .route("/loki/api/v1/drilldown-limits", status::drilldown_limits)
        .route("/loki/api/v1/status/buildinfo", status::buildinfo)
        .route("/loki/api/v1/status/labels", index::label_costs)
        .route("/prometheus/api/v1/rules", rules::prometheus_rules)
        .route("/prometheus/api/v1/alerts", rules::prometheus_alerts)
        .route("/api/prom/query", legacy::query)
        .route("/api/prom/label", legacy::names)
        .route("/api/prom/label/{name}/values", legacy::values)
        .route("/api/prom/series", labels::series)
        .raw("/loki/api/v1/tail", MethodFilter::GET, tail::tail)
        .raw("/api/prom/tail", MethodFilter::GET, tail::legacy);
    let all = MethodFilter::GET.or(MethodFilter::POST).or(MethodFilter::DELETE);
    [
        ["/loki/api/v1/rules", "/loki/api/v1/rules/{namespace}", "/loki/api/v1/rules/{namespace}/{group}"],
        ["/api/prom/rules", "/api/prom/rules/{namespace}", "/api/prom/rules/{namespace}/{group}"],
    ]
    .into_iter()
    .flatten()
    .fold(routes, |routes, path| routes.raw(path, all, rules::handle))
}

/// What only Loki's own port has.
pub(crate) fn own_routes(routes: Routes) -> Routes {
    routes.route("/config", status::config).route("/services", status::services).route("/log_level", status::log_level)
}

/// The matchers of the parameter `query`; none where it is empty or `{}`.
fn matchers(ask: &Ask) -> Result<Vec<LabelMatcher>, Failure> {
    let text = ask.get("query").unwrap_or("{}");
    logql::parse_matchers(text).map_err(|e| Failure::BadData(e.to_string()))
}

/// A time; what is wrong with it is said without the parameter's name.
fn time(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    ask.get(name).map(loki_ns).transpose().map_err(Failure::BadData)
}

/// One end of a range.
fn bound(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    ask.get(name).map(loki_ns).transpose().map_err(|why| unparsed(name, &why))
}

fn unparsed(name: &str, why: &str) -> Failure {
    Failure::BadData(format!("could not parse '{name}' parameter: {why}"))
}

fn duration(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    ask.get(name).map(loki_duration_ns).transpose().map_err(Failure::BadData)
}

/// A count that must be more than 0.
fn positive(ask: &Ask, name: &str, default: usize) -> Result<usize, Failure> {
    let Some(text) = ask.get(name) else { return Ok(default) };
    let wrong = || Failure::BadData("limit must be a positive value".to_owned());
    usize::try_from(atoi(text).map_err(Failure::BadData)?).ok().filter(|n| *n > 0).ok_or_else(wrong)
}

/// `start` to `end`; where `start` is not given, `since`, or `default_hours`, before the end.
fn range(ask: &Ask, default_hours: i64) -> Result<TimeRange, Failure> {
    let since = match ask.get("since") {
        None => default_hours * HOUR_NS,
        Some(text) => promql::parse_duration(text)
            .and_then(|ms| ms.checked_mul(1_000_000))
            .ok_or_else(|| unparsed("since", &format!("not a valid duration string: {text:?}")))?,
    };
    let end = bound(ask, "end")?.unwrap_or(ask.now_ns);
    // A window that ends in the future still starts relative to now.
    let start = bound(ask, "start")?.unwrap_or(end.min(ask.now_ns).saturating_sub(since));
    if end < start {
        return Err(Failure::BadData("end timestamp must not be before or equal to start time".to_owned()));
    }
    Ok(TimeRange::new(start, end))
}
