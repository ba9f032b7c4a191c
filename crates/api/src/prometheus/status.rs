//! What the server is and whom it scrapes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::envelope;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::{Api, ScrapeTarget};

/// The Prometheus whose API this is: clients choose their features by it.
const COMPATIBLE: &str = "3.5.0";

pub(super) async fn buildinfo(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let data = json!({
        "version": COMPATIBLE,
        "revision": concat!("braid-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}

pub(super) async fn ready(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    match api.is_ready() {
        true => Ok(Answer::text("Prometheus Server is Ready.\n")),
        false => Err(Failure::Unavailable("Service Unavailable".to_owned())),
    }
}

fn go_duration(d: Duration) -> String {
    match d.as_millis() {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn target(t: &ScrapeTarget) -> Value {
    let map = |pairs: &[(String, String)]| {
        pairs.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect::<serde_json::Map<_, _>>()
    };
    let last = t.last_scrape.and_then(|time| jiff::Timestamp::try_from(time).ok());
    json!({
        "discoveredLabels": map(&t.discovered),
        "labels": map(&t.labels),
        "scrapePool": t.pool,
        "scrapeUrl": t.url,
        "globalUrl": t.url,
        "lastError": t.last_error,
        "lastScrape": last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string()),
        "lastScrapeDuration": t.last_duration.as_secs_f64(),
        "health": t.health,
        "scrapeInterval": go_duration(t.interval),
        "scrapeTimeout": go_duration(t.timeout),
    })
}

pub(super) async fn targets(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let pool = ask.get("scrapePool");
    let mut active = api.targets.active();
    active.retain(|t| pool.is_none_or(|p| p == t.pool) && ask.get("state") != Some("dropped"));
    let dropped: serde_json::Map<String, Value> = active.iter().map(|t| (t.pool.clone(), Value::from(0))).collect();
    let data = json!({
        "activeTargets": active.iter().map(target).collect::<Vec<_>>(),
        "droppedTargets": [],
        "droppedTargetCounts": dropped,
    });
    Ok(envelope(&data.to_string(), active.len(), &[], &[]))
}

pub(super) async fn scrape_pools(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let mut pools: Vec<String> = api.targets.active().into_iter().map(|t| t.pool).collect();
    pools.dedup();
    Ok(envelope(&json!({ "scrapePools": pools }).to_string(), pools.len(), &[], &[]))
}
