//! The backend's Prometheus metrics, with the seed's names, labels and buckets.

use crate::exposition::{Counter, DEFAULT_BUCKETS, Histogram, process};

const QUERY_BUCKETS: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

/// What `/metrics` of the backend shows.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Counter<3>,
    request_seconds: Histogram<3>,
    errors: Counter<3>,
    /// By `operation`: SELECT, INSERT, UPDATE or DELETE.
    pub(crate) db_query_seconds: Histogram<1>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let labels = ["method", "endpoint", "status_code"];
        Self {
            requests: Counter::new("http_requests_total", "Total HTTP requests", labels),
            request_seconds: Histogram::new(
                "http_request_duration_seconds",
                "HTTP request duration in seconds",
                labels,
                DEFAULT_BUCKETS,
            ),
            errors: Counter::new("http_errors_total", "Total HTTP responses with status 400 or above", labels),
            db_query_seconds: Histogram::new(
                "db_query_duration_seconds",
                "Database query duration in seconds",
                ["operation"],
                QUERY_BUCKETS,
            ),
        }
    }

    /// Counts one finished request. `endpoint` is the handler's name, `unknown` where no route matched.
    pub(crate) fn request(&self, method: &str, endpoint: &str, status: u16, seconds: f64) {
        let status_code = status.to_string();
        let labels = [method, endpoint, &status_code];
        self.requests.increment(labels);
        self.request_seconds.observe(labels, seconds);
        if status >= 400 {
            self.errors.increment(labels);
        }
    }

    /// Prometheus text exposition of all of it and of the process.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.requests.render(&mut text);
        self.request_seconds.render(&mut text);
        self.errors.render(&mut text);
        self.db_query_seconds.render(&mut text);
        process(&mut text);
        text
    }
}
