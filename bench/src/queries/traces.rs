//! Queries of spans, over Tempo's API.

use anyhow::{Context, Result};
use serde_json::Value as Json;

use super::{Expected, Query, encoded, equal, list};

/// Spans of the workload: Braid's own, by which it shows what belongs together, do not count.
fn spans(trace: &Json) -> u64 {
    let inner = |value: &Json, key: &str| value.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
    let is_own = |batch: &Json| batch["resource"].to_string().contains("braid-correlation");
    let batches = inner(trace, "batches");
    batches.iter().filter(|b| !is_own(b)).flat_map(|b| inner(b, "scopeSpans")).map(|s| inner(&s, "spans").len() as u64).sum()
}

fn traces(answer: &Json) -> Result<u64> {
    Ok(list(answer, "/traces")?.len() as u64)
}

pub(super) fn queries(expected: &Expected) -> Result<Vec<Query>> {
    let (start, end) = (expected.number("start_ms")? / 60_000 * 60, expected.number("end_ms")? / 60_000 * 60 + 120);
    let searched =
        |query: &str, limit: u64| vec![format!("/api/search?q={}&limit={limit}&start={start}&end={end}", encoded(query))];
    const BELOW: &str = "{ resource.service.name = \"checkout\" } >> { span.db.system = \"postgresql\" }";
    let (slow, below, items) =
        (expected.number("traces_5xx_gt200ms")?, expected.number("traces_checkout_pg")?, expected.number("items")?);
    Ok(vec![
        Query {
            name: "by id, 100 random",
            bar: 1.5,
            paths: expected.list("trace_ids")?.iter().map(|id| format!("/api/traces/{id}")).collect(),
            check: Box::new(|answer| equal("spans", spans(answer), 10)),
        },
        Query {
            name: "status_code >= 500 && duration > 200ms, all",
            bar: 7.0,
            paths: searched("{ span.http.response.status_code >= 500 && duration > 200ms }", 10_000),
            check: Box::new(move |answer| equal("traces", traces(answer)?, slow)),
        },
        Query {
            name: "checkout >> postgresql, first 20",
            bar: 15.0,
            paths: searched(BELOW, 20),
            check: Box::new(|answer| equal("traces", traces(answer)?, 20)),
        },
        Query {
            name: "checkout >> postgresql, all",
            bar: 250.0,
            paths: searched(BELOW, 1_000_000),
            check: Box::new(move |answer| equal("traces", traces(answer)?, below)),
        },
        Query {
            name: "rate() by (resource.service.name)",
            bar: 10.0,
            paths: vec![format!(
                "/api/metrics/query_range?q={}&start={start}&end={end}&step=60s&exemplars=0",
                encoded("{ } | rate() by (resource.service.name)")
            )],
            check: Box::new(move |answer| {
                let mut sum = 0.0;
                for series in list(answer, "/series")? {
                    sum += list(series, "/samples")?.iter().filter_map(|s| s.get("value").and_then(Json::as_f64)).sum::<f64>();
                }
                equal("spans", (sum * 60.0).round() as u64, items)
            }),
        },
        Query {
            name: "tag values",
            bar: 0.5,
            paths: vec![format!("/api/v2/search/tag/resource.service.name/values?start={start}&end={end}")],
            check: Box::new(|answer| {
                let values = answer.get("tagValues").and_then(Json::as_array).context("no tagValues")?;
                equal("values", values.len() as u64, 12)
            }),
        },
    ])
}
