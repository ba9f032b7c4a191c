//! The Prometheus metrics of a sense service. Their names start with `sense_`, because sums over `http_requests_total` (the
//! task manager's SLI dashboard) must count the task manager's requests only.

use std::sync::Arc;

use kit::{Counter, Requests, process};

/// What `/metrics` shows.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Arc<Requests>,
    calls: Counter<2>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let calls = Counter::new("sense_neighbour_calls_total", "Calls of a neighbour, by outcome", ["neighbour", "outcome"]);
        Self { requests: Arc::new(Requests::new("sense")), calls }
    }

    /// Counts one call of a neighbour.
    pub(crate) fn called(&self, neighbour: &str, ok: bool) {
        self.calls.increment([neighbour, if ok { "ok" } else { "failed" }]);
    }

    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        self.requests.render(&mut text);
        self.calls.render(&mut text);
        process(&mut text);
        text
    }
}
