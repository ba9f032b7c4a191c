//! The proxy's own metrics. Their names start with `proxy_`, because sums over `http_requests_total` (the seed's SLI
//! dashboard) must not count a request once at the proxy and once at the backend.

use kit::{Counter, DEFAULT_BUCKETS, Histogram, process};

/// What `/metrics` of the proxy shows.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Counter<3>,
    request_seconds: Histogram<2>,
    resolutions: Counter<1>,
    connect_failures: Counter<0>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            requests: Counter::new(
                "proxy_requests_total",
                "Requests that the proxy answered, by location",
                ["method", "location", "status_code"],
            ),
            request_seconds: Histogram::new(
                "proxy_request_duration_seconds",
                "Time until the proxy sent the head of its answer",
                ["method", "location"],
                DEFAULT_BUCKETS,
            ),
            resolutions: Counter::new(
                "proxy_upstream_resolutions_total",
                "Resolutions of the upstream's name, by outcome",
                ["outcome"],
            ),
            connect_failures: Counter::new(
                "proxy_upstream_connect_failures_total",
                "Connections to the upstream that could not be made",
                [],
            ),
        }
    }

    pub(super) fn request(&self, method: &str, location: &str, status: u16, seconds: f64) {
        self.requests.increment([method, location, &status.to_string()]);
        self.request_seconds.observe([method, location], seconds);
    }

    pub(super) fn resolved(&self, ok: bool) {
        self.resolutions.increment([if ok { "ok" } else { "failed" }]);
    }

    pub(super) fn connect_failed(&self) {
        self.connect_failures.increment([]);
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        self.requests.render(&mut text);
        self.request_seconds.render(&mut text);
        self.resolutions.render(&mut text);
        self.connect_failures.render(&mut text);
        process(&mut text);
        text
    }
}
