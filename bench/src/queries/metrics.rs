//! Queries of samples, over Prometheus' API.

use anyhow::Result;

use crate::shapes::month;

use super::{Expected, Query, encoded, equal, list};

pub(super) fn queries(expected: &Expected) -> Result<Vec<Query>> {
    Ok(between(expected.number("start_ms")? / 1000, expected.number("end_ms")? / 1000))
}

/// The queries of the workload that covers this time, seconds since the Unix epoch.
pub(crate) fn between(start: u64, end: u64) -> Vec<Query> {
    let range = |query: &str| vec![format!("/api/v1/query_range?query={}&start={start}&end={end}&step=15", encoded(query))];
    let series = |expected: u64| -> super::Check {
        Box::new(move |answer| equal("series", list(answer, "/data/result")?.len() as u64, expected))
    };
    vec![
        Query {
            name: "sum(rate) by (job), 50 series",
            bar: 1.2,
            paths: range("sum(rate(http_requests_total[5m])) by (job)"),
            check: series(5),
        },
        Query {
            name: "histogram_quantile, 500 series",
            bar: 4.0,
            paths: range("histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket[5m])) by (le, job))"),
            check: series(5),
        },
        Query {
            name: "sum by (instance)(rate), 5,000 series",
            bar: 30.0,
            paths: range("sum by (instance)(rate({__name__=~\"metric_1.*\"}[5m]))"),
            check: series(50),
        },
        Query {
            name: "instant topk(10, rate), 2,500 series",
            bar: 6.0,
            paths: vec![format!(
                "/api/v1/query?query={}&time={end}",
                encoded("topk(10, rate({__name__=~\"metric_1.*_total\"}[5m]))")
            )],
            check: series(10),
        },
        Query {
            name: "series, 2,000",
            bar: 2.0,
            paths: vec![format!("/api/v1/series?match[]={}&start={start}&end={end}", encoded("{instance=~\"10[.]0[.]0[.].*\"}"))],
            check: Box::new(|answer| equal("series", list(answer, "/data")?.len() as u64, 2000)),
        },
    ]
}

/// Queries of the many days of [`month`], at 720 steps; each reads all samples but the first, which reads five minutes a step.
pub(crate) fn of_month(start: u64, end: u64) -> Vec<Query> {
    let step = ((end - start) / 720).max(15);
    let range =
        |query: String| vec![format!("/api/v1/query_range?query={}&start={start}&end={end}&step={step}", encoded(&query))];
    let jobs = month::JOBS.len() as u64;
    let of = |name, query: String| Query {
        name,
        bar: f64::NAN,
        paths: range(query),
        check: Box::new(move |answer| equal("series", list(answer, "/data/result")?.len() as u64, jobs)),
    };
    vec![
        of("sum(rate[5m]) by (job), 1,000 series", format!("sum(rate({}[5m])) by (job)", month::NAME)),
        of("sum(rate[step]) by (job)", format!("sum(rate({}[{}s])) by (job)", month::NAME, step.max(60))),
        of("max(avg_over_time[step]) by (job)", format!("max(avg_over_time({}[{}s])) by (job)", month::NAME, step.max(60))),
    ]
}
