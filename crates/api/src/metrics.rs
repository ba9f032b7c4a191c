//! Counts of queries, for `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use std::sync::Mutex;

use crate::Face;
use crate::answer::Failure;

/// Upper bounds of the duration buckets, seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Requests to the query APIs: counts by route and status, durations, and how much was answered.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    routes: Mutex<BTreeMap<(Face, &'static str), Route>>,
    slow: AtomicU64,
    /// Queries that ran into a bound, by its name.
    limited: Mutex<BTreeMap<(Face, &'static str), u64>>,
}

#[derive(Debug, Default)]
struct Route {
    /// By status code.
    requests: BTreeMap<u16, u64>,
    /// Requests at most so long, by bound.
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
    count: u64,
    rows: u64,
    bytes: u64,
}

impl QueryMetrics {
    /// A query took longer than the setting.
    pub(crate) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }

    /// A query was not answered; counts the bound that it ran into, if it was one.
    pub(crate) fn failed(&self, face: Face, failure: &Failure) {
        if let Some(limit) = failure.limit() {
            let mut limited = self.limited.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *limited.entry((face, limit.as_str())).or_default() += 1;
        }
    }

    pub(crate) fn record(&self, face: Face, route: &'static str, code: u16, took: Duration, rows: usize, bytes: usize) {
        // Counts stay sound whoever panicked while holding them.
        let mut routes = self.routes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let route = routes.entry((face, route)).or_default();
        *route.requests.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        BOUNDS.iter().zip(&mut route.buckets).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
        route.seconds += seconds;
        route.count += 1;
        route.rows += rows as u64;
        route.bytes += bytes as u64;
    }

    /// Appends the metrics in Prometheus' text format 0.0.4.
    pub fn write_text(&self, out: &mut String) {
        let name = "braid_api_slow_queries_total";
        let slow = self.slow.load(Ordering::Relaxed);
        let _ =
            writeln!(out, "# HELP {name} Queries that took longer than web.slow_query.\n# TYPE {name} counter\n{name} {slow}");
        let routes = self.routes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = "braid_api_limited_queries_total";
        let _ = writeln!(out, "# HELP {name} Queries that were refused or ended because of a limit.\n# TYPE {name} counter");
        for ((face, limit), n) in self.limited.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
            let _ = writeln!(out, "{name}{{api=\"{}\",limit=\"{limit}\"}} {n}", face.as_str());
        }
        let mut family = |name: &str, kind: &str, help: &str, lines: &mut dyn FnMut(&mut String, &str, &Route)| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((face, route), counts) in routes.iter() {
                lines(out, &format!("api=\"{}\",route=\"{route}\"", face.as_str()), counts);
            }
        };
        family("braid_api_requests_total", "counter", "Requests to the query APIs.", &mut |out, labels, route| {
            for (code, n) in &route.requests {
                let _ = writeln!(out, "braid_api_requests_total{{{labels},code=\"{code}\"}} {n}");
            }
        });
        family(
            "braid_api_request_duration_seconds",
            "histogram",
            "How long requests to the query APIs took.",
            &mut |out, labels, route| {
                let name = "braid_api_request_duration_seconds";
                for (bound, n) in BOUNDS.iter().zip(&route.buckets) {
                    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {n}");
                }
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", route.count);
                let _ = writeln!(out, "{name}_sum{{{labels}}} {}", route.seconds);
                let _ = writeln!(out, "{name}_count{{{labels}}} {}", route.count);
            },
        );
        family("braid_api_rows_total", "counter", "Series, lines and traces answered.", &mut |out, labels, route| {
            let _ = writeln!(out, "braid_api_rows_total{{{labels}}} {}", route.rows);
        });
        family(
            "braid_api_response_bytes_total",
            "counter",
            "Bytes of answers, before compression.",
            &mut |out, labels, route| {
                let _ = writeln!(out, "braid_api_response_bytes_total{{{labels}}} {}", route.bytes);
            },
        );
    }
}
