//! The metrics of the requests that a service answers, by method, endpoint and status code.

use crate::exposition::{Counter, DEFAULT_BUCKETS, Histogram};

/// Counts what a service has answered.
pub trait CountRequests: std::fmt::Debug + Send + Sync {
    /// Counts one finished request. `endpoint` is the handler's name, `unknown` where no route matched.
    fn count(&self, method: &str, endpoint: &str, status: u16, seconds: f64);
}

/// `{prefix}_requests_total`, `{prefix}_request_duration_seconds` and `{prefix}_errors_total`.
#[derive(Debug)]
pub struct Requests {
    total: Counter<3>,
    seconds: Histogram<3>,
    errors: Counter<3>,
}

impl Requests {
    /// Metrics whose names start with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        let labels = ["method", "endpoint", "status_code"];
        let name = |rest: &str| format!("{prefix}_{rest}");
        Self {
            total: Counter::new(name("requests_total"), "Total HTTP requests", labels),
            seconds: Histogram::new(
                name("request_duration_seconds"),
                "HTTP request duration in seconds",
                labels,
                DEFAULT_BUCKETS,
            ),
            errors: Counter::new(name("errors_total"), "Total HTTP responses with status 400 or above", labels),
        }
    }

    /// Appends the three families to `text`.
    pub fn render(&self, text: &mut String) {
        self.total.render(text);
        self.seconds.render(text);
        self.errors.render(text);
    }
}

impl CountRequests for Requests {
    fn count(&self, method: &str, endpoint: &str, status: u16, seconds: f64) {
        let status_code = status.to_string();
        let labels = [method, endpoint, &status_code];
        self.total.increment(labels);
        self.seconds.observe(labels, seconds);
        if status >= 400 {
            self.errors.increment(labels);
        }
    }
}
