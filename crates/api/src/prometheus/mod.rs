//! Prometheus' HTTP API, version 1.

mod admin;
mod ast;
mod exemplars;
mod features;
mod federate;
mod negotiate;
mod query;
pub(crate) mod read;
mod series;
mod status;
mod targets;

use std::sync::Arc;

use axum::routing::MethodFilter;
use http::StatusCode;
use store::LabelMatcher;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::go::atoi;
use crate::json;
use crate::serve::Routes;
use crate::time::prometheus_ms;

pub(crate) fn routes(routes: Routes) -> Routes {
    let orders = MethodFilter::POST.or(MethodFilter::PUT);
    routes
        .on(orders, "/api/v1/admin/tsdb/delete_series", admin::delete_series)
        .on(orders, "/api/v1/admin/tsdb/clean_tombstones", admin::clean_tombstones)
        .on(orders, "/api/v1/admin/tsdb/snapshot", admin::snapshot)
        .route("/api/v1/query", query::instant)
        .route("/api/v1/query_range", query::range)
        .route("/api/v1/query_exemplars", exemplars::query)
        .route("/api/v1/format_query", ast::format)
        .route("/api/v1/parse_query", ast::parse)
        .route("/api/v1/series", series::series)
        .route("/api/v1/labels", series::labels)
        .get("/api/v1/label/{name}/values", series::values)
        .get("/api/v1/metadata", series::metadata)
        .get("/api/v1/targets", targets::targets)
        .get("/api/v1/targets/metadata", targets::metadata)
        .get("/api/v1/scrape_pools", targets::scrape_pools)
        .get("/api/v1/rules", status::rules)
        .get("/api/v1/alerts", async |_, _| Ok(envelope("{\"alerts\":[]}", 0, &[], &[])))
        .get("/api/v1/alertmanagers", async |_, _| {
            Ok(envelope("{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}", 0, &[], &[]))
        })
        .get("/api/v1/features", features::features)
        .get("/api/v1/notifications", async |_, _| Ok(envelope("[]", 0, &[], &[])))
        .get("/api/v1/status/buildinfo", status::buildinfo)
        .get("/api/v1/status/config", status::config)
        .get("/api/v1/status/flags", status::flags)
        .get("/api/v1/status/runtimeinfo", status::runtimeinfo)
        .get("/api/v1/status/tsdb", status::tsdb)
        .get("/api/v1/status/walreplay", status::walreplay)
        .get("/version", status::version)
        .get("/federate", federate::federate)
        .get("/-/healthy", async |_, _| Ok(Answer::text("Prometheus Server is Healthy.\n")))
        .get("/-/ready", status::ready)
        .get("/-/quit", only_orders)
        .get("/-/reload", only_orders)
        .on(orders, "/-/quit", async |_, _| Err(Failure::Forbidden("Lifecycle API is not enabled.".to_owned())))
}

/// What changes the process is not looked at.
async fn only_orders(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    Ok(Answer { status: StatusCode::METHOD_NOT_ALLOWED, ..Answer::text("Only POST or PUT requests allowed") })
}

/// The selectors of `match[]`, each of which must leave something out.
fn selectors(ask: &Ask) -> Result<Vec<Vec<LabelMatcher>>, String> {
    let one = |text| {
        let matchers = promql::parse_selector(text).map_err(|e| e.to_string())?;
        match matchers.iter().any(|m| !m.matches("")) {
            true => Ok(matchers),
            false => Err("match[] must contain at least one non-empty matcher".to_owned()),
        }
    };
    ask.all("match[]").map(one).collect()
}

/// What is wrong with a parameter.
fn bad(name: &str, why: impl std::fmt::Display) -> Failure {
    Failure::BadData(format!("invalid parameter {name:?}: {why}"))
}

/// `{"status":"success","data":…}` and what is to be said about it.
fn envelope(data: &str, rows: usize, warnings: &[String], infos: &[String]) -> Answer {
    let mut out = open_envelope(data.len());
    out.push_str(data);
    close_envelope(out, rows, warnings, infos)
}

/// What stands before the data, with room for so many bytes of it: long data are written behind it at once.
fn open_envelope(room: usize) -> String {
    let mut out = String::with_capacity(room.saturating_add(64));
    out.push_str("{\"status\":\"success\",\"data\":");
    out
}

/// The answer of an envelope with its data.
fn close_envelope(mut out: String, rows: usize, warnings: &[String], infos: &[String]) -> Answer {
    for (name, notes) in [("warnings", warnings), ("infos", infos)] {
        if !notes.is_empty() {
            out.push_str(&format!(",\"{name}\":"));
            out.push_str(&json::strings(notes));
        }
    }
    out.push('}');
    Answer::json(out, rows)
}

/// A time parameter, milliseconds since the Unix epoch.
fn time(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = ask.get(name) else { return Ok(None) };
    let bad = || {
        let why = format!("Invalid time value for '{name}': cannot parse {text:?} to a valid timestamp");
        Failure::BadData(format!("invalid parameter {name:?}: {why}"))
    };
    prometheus_ms(text).map(Some).ok_or_else(bad)
}

/// The same, of a parameter that there must be: Prometheus has fewer words for what is wrong with it.
fn required_time(ask: &Ask, name: &str) -> Result<i64, Failure> {
    let text = ask.get(name).unwrap_or("");
    let bad = || Failure::BadData(format!("invalid parameter {name:?}: cannot parse {text:?} to a valid timestamp"));
    prometheus_ms(text).ok_or_else(bad)
}

/// The parameter `limit`; 0 for none.
fn limit(ask: &Ask) -> Result<usize, Failure> {
    let Some(text) = ask.get("limit") else { return Ok(0) };
    let limit = atoi(text).and_then(|n| usize::try_from(n).map_err(|_| "limit must be non-negative".to_owned()));
    limit.map_err(|why| Failure::BadData(format!("invalid parameter \"limit\": {why}")))
}

/// Cuts a list at the parameter `limit` (0: no limit) and says so.
fn cut<T>(items: &mut Vec<T>, limit: usize, warnings: &mut Vec<String>) {
    if limit > 0 && items.len() > limit {
        items.truncate(limit);
        warnings.push("results truncated due to limit".to_owned());
    }
}
