//! The backend's Prometheus metrics, with the seed's names, labels and buckets.

use std::sync::Arc;

use kit::{Histogram, Requests, process};

const QUERY_BUCKETS: &[f64] = &[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0];

/// What `/metrics` of the backend shows.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Arc<Requests>,
    /// By `operation`: SELECT, INSERT, UPDATE or DELETE.
    pub(crate) db_query_seconds: Histogram<1>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Arc::new(Requests::new("http")),
            db_query_seconds: Histogram::new(
                "db_query_duration_seconds",
                "Database query duration in seconds",
                ["operation"],
                QUERY_BUCKETS,
            ),
        }
    }

    /// Prometheus text exposition of all of it and of the process.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.requests.render(&mut text);
        self.db_query_seconds.render(&mut text);
        process(&mut text);
        text
    }
}
