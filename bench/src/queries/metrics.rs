//! Queries of samples, over Prometheus' API.

use anyhow::Result;

use super::{Expected, Query, encoded, equal, list};

pub(super) fn queries(expected: &Expected) -> Result<Vec<Query>> {
    let (start, end) = (expected.number("start_ms")? / 1000, expected.number("end_ms")? / 1000);
    let range = |query: &str| vec![format!("/api/v1/query_range?query={}&start={start}&end={end}&step=15", encoded(query))];
    let series = |expected: u64| -> super::Check {
        Box::new(move |answer| equal("series", list(answer, "/data/result")?.len() as u64, expected))
    };
    Ok(vec![
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
    ])
}
