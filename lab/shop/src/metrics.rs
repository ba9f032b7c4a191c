//! The Prometheus metrics of a shop service, under the names of Flask's exporter. Each service adds its own.

use kit::{CountRequests, Counter, DEFAULT_BUCKETS, Histogram, process};

/// What the requests of a service leave behind.
#[derive(Debug)]
pub(crate) struct Requests {
    total: Counter<2>,
    seconds: Histogram<3>,
    exceptions: Counter<2>,
    received: Counter<0>,
    sent: Counter<0>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        let labels = ["method", "status"];
        Self {
            total: Counter::new("flask_http_request_total", "Total number of HTTP requests", labels),
            seconds: Histogram::new(
                "flask_http_request_duration_seconds",
                "Flask HTTP request duration in seconds",
                ["method", "path", "status"],
                DEFAULT_BUCKETS,
            ),
            exceptions: Counter::new(
                "flask_http_request_exceptions_total",
                "Total number of HTTP requests which resulted in an exception",
                labels,
            ),
            received: Counter::new("http_network_receive_bytes_total", "Bytes of the bodies of requests", []),
            sent: Counter::new("http_network_transmit_bytes_total", "Bytes of the bodies of answers", []),
        }
    }

    /// Counts a request that a handler could not bring to an answer of its own.
    pub(crate) fn raised(&self, method: &str) {
        self.exceptions.increment([method, "500"]);
    }

    pub(crate) fn weigh(&self, received: u64, sent: u64) {
        self.received.add([], received);
        self.sent.add([], sent);
    }

    pub(crate) fn render(&self, text: &mut String) {
        self.total.render(text);
        self.seconds.render(text);
        self.exceptions.render(text);
        self.received.render(text);
        self.sent.render(text);
        process(text);
    }
}

impl CountRequests for Requests {
    fn count(&self, method: &str, endpoint: &str, status: u16, seconds: f64) {
        let status = status.to_string();
        self.total.increment([method, &status]);
        self.seconds.observe([method, endpoint, &status], seconds);
    }
}
