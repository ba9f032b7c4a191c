//! Whom the server scrapes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::envelope;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::{Api, ScrapeTarget};

fn duration(d: Duration) -> String {
    syntax::prometheus_duration_text(i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn target(t: &ScrapeTarget) -> Value {
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
        "scrapeInterval": duration(t.interval),
        "scrapeTimeout": duration(t.timeout),
    })
}

fn map(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect()
}

pub(super) async fn targets(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let pool = ask.get("scrapePool");
    let (mut active, mut dropped) = (api.targets.active(), api.targets.dropped());
    let state = ask.get("state").unwrap_or("any").to_lowercase();
    let shows = |which: &str| state == "any" || state == which;
    let counts: Map<String, Value> = dropped.iter().map(|d| (d.pool.clone(), Value::from(d.count))).collect();
    active.retain(|t| pool.is_none_or(|p| p == t.pool) && shows("active"));
    dropped.retain(|d| pool.is_none_or(|p| p == d.pool) && shows("dropped"));
    let shown = |d: &crate::DroppedTargets| -> Vec<Value> {
        d.discovered.iter().map(|labels| json!({"discoveredLabels": map(labels), "scrapePool": d.pool})).collect()
    };
    let data = json!({
        "activeTargets": active.iter().map(target).collect::<Vec<_>>(),
        "droppedTargets": dropped.iter().flat_map(shown).collect::<Vec<_>>(),
        // Of all pools; as in Prometheus null where dropped ones are not asked for.
        "droppedTargetCounts": if shows("dropped") { Value::from(counts) } else { Value::Null },
    });
    Ok(envelope(&data.to_string(), active.len(), &[], &[]))
}

/// What targets say of their metrics; `match_target` chooses targets, `metric` one family.
pub(super) async fn metadata(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let limit = match ask.get("limit") {
        None => None,
        Some(text) => Some(text.parse::<i64>().map_err(|_| Failure::BadData("limit must be a number".to_owned()))?),
    };
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let matchers = match ask.get("match_target") {
        None => Vec::new(),
        Some(text) => {
            promql::parse_selector(text).map_err(|e| Failure::BadData(format!("invalid parameter \"match_target\": {e}")))?
        }
    };
    let metric = ask.get("metric");
    let mut rows = Vec::new();
    for target in api.targets.active() {
        let value = |name: &str| target.labels.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v);
        if !matchers.iter().all(|m| m.matches(value(&m.name))) {
            continue;
        }
        for family in target.families.iter().filter(|f| metric.is_none_or(|m| m == f.name)) {
            if rows.len() == limit {
                break;
            }
            let mut row = json!({"target": map(&target.labels), "type": family.kind, "help": family.help, "unit": family.unit});
            if metric.is_none() {
                row["metric"] = Value::from(family.name.as_str());
            }
            rows.push(row);
        }
    }
    let count = rows.len();
    Ok(envelope(&Value::from(rows).to_string(), count, &[], &[]))
}

pub(super) async fn scrape_pools(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let pools: Vec<String> = api.targets.dropped().into_iter().map(|d| d.pool).collect();
    Ok(envelope(&json!({ "scrapePools": pools }).to_string(), pools.len(), &[], &[]))
}
