//! What the collector says about itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wire::Signal;

/// The door that a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Via {
    /// OTLP over gRPC.
    OtlpGrpc = 0,
    /// OTLP over HTTP, also at Prometheus' and Loki's paths for it.
    OtlpHttp = 1,
    /// Loki's push API.
    LokiPush = 2,
    /// Prometheus remote write.
    RemoteWrite = 3,
    /// Scraped by Braid itself.
    Scrape = 4,
    /// Zipkin's JSON over HTTP.
    Zipkin = 5,
    /// Jaeger's Thrift over HTTP.
    JaegerHttp = 6,
    /// Jaeger's gRPC.
    JaegerGrpc = 7,
    /// Plain JSON at `/api/logs`.
    LogsApi = 8,
    /// Syslog over UDP, TCP or TLS.
    Syslog = 9,
}

impl Via {
    /// Every door, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::OtlpGrpc,
        Self::OtlpHttp,
        Self::LokiPush,
        Self::RemoteWrite,
        Self::Scrape,
        Self::Zipkin,
        Self::JaegerHttp,
        Self::JaegerGrpc,
        Self::LogsApi,
        Self::Syslog,
    ];

    /// The value of the `receiver` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::LokiPush => "loki_push",
            Self::RemoteWrite => "remote_write",
            Self::Scrape => "scrape",
            Self::Zipkin => "zipkin",
            Self::JaegerHttp => "jaeger_http",
            Self::JaegerGrpc => "jaeger_grpc",
            Self::LogsApi => "api_logs",
            Self::Syslog => "syslog",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// All of it was kept.
    Accepted = 0,
    /// Some of its items were refused.
    Partial = 1,
    /// Nothing was kept.
    Refused = 2,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Accepted, Self::Partial, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Partial => "partial",
            Self::Refused => "refused",
        }
    }
}

/// Upper bounds of the latency histogram in microseconds, and as the `le` label prints them.
const BOUNDS: [(u64, &str); 13] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

#[derive(Debug, Default)]
struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

#[derive(Debug, Default)]
struct Door {
    requests: [[AtomicU64; Outcome::ALL.len()]; Signal::ALL.len()],
    accepted: [AtomicU64; Signal::ALL.len()],
    bytes: [AtomicU64; Signal::ALL.len()],
    latency: Latency,
}

type RefusedKey = (Via, Signal, &'static str);

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Counters {
    doors: [Door; Via::ALL.len()],
    refused_items: Mutex<BTreeMap<RefusedKey, u64>>,
    refused_requests: Mutex<BTreeMap<RefusedKey, u64>>,
    panics: AtomicU64,
}

impl Counters {
    /// A request that was kept at least in part.
    pub(crate) fn taken(&self, via: Via, signal: Signal, bytes: usize, summary: &wire::Summary, took: Duration) {
        let door = &self.doors[via as usize];
        let refused = summary.refused.total();
        let outcome = match (refused, summary.accepted) {
            (0, _) => Outcome::Accepted,
            (_, 0) => Outcome::Refused,
            _ => Outcome::Partial,
        };
        door.requests[signal as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
        door.accepted[signal as usize].fetch_add(summary.accepted, Ordering::Relaxed);
        door.bytes[signal as usize].fetch_add(bytes as u64, Ordering::Relaxed);
        if refused > 0 {
            let mut items = self.refused_items.lock();
            for (reason, n) in &summary.refused.0 {
                *items.entry((via, signal, reason)).or_default() += n;
            }
        }
        door.latency.observe(took);
    }

    /// A request of which nothing was kept.
    pub(crate) fn refused(&self, via: Via, signal: Signal, reason: &'static str, took: Duration) {
        let door = &self.doors[via as usize];
        door.requests[signal as usize][Outcome::Refused as usize].fetch_add(1, Ordering::Relaxed);
        *self.refused_requests.lock().entry((via, signal, reason)).or_default() += 1;
        door.latency.observe(took);
    }

    /// A request whose handler panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Items accepted since the start: spans, log records or samples.
    #[must_use]
    pub fn accepted(&self, signal: Signal) -> u64 {
        self.doors.iter().map(|d| d.accepted[signal as usize].load(Ordering::Relaxed)).sum()
    }

    /// Appends all of it in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        // Writing to a `String` cannot fail.
        let _ = self.try_write(out);
    }

    fn try_write(&self, out: &mut String) -> std::fmt::Result {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let each = || Via::ALL.into_iter().flat_map(|v| Signal::ALL.into_iter().map(move |s| (v, s)));

        family(out, "braid_receiver_requests_total", "counter", "Requests, by how they ended.")?;
        for (via, signal) in each() {
            for outcome in Outcome::ALL {
                let n = load(&self.doors[via as usize].requests[signal as usize][outcome as usize]);
                if n > 0 {
                    let (v, s, o) = (via.as_str(), signal.as_str(), outcome.as_str());
                    writeln!(out, "braid_receiver_requests_total{{receiver=\"{v}\",signal=\"{s}\",outcome=\"{o}\"}} {n}")?;
                }
            }
        }
        family(out, "braid_receiver_accepted_items_total", "counter", "Spans, log records and samples that were kept.")?;
        for (via, signal) in each() {
            let n = load(&self.doors[via as usize].accepted[signal as usize]);
            if n > 0 {
                let (v, s) = (via.as_str(), signal.as_str());
                writeln!(out, "braid_receiver_accepted_items_total{{receiver=\"{v}\",signal=\"{s}\"}} {n}")?;
            }
        }
        family(out, "braid_receiver_bytes_total", "counter", "Bytes of kept requests, as they go into the log.")?;
        for (via, signal) in each() {
            let n = load(&self.doors[via as usize].bytes[signal as usize]);
            if n > 0 {
                let (v, s) = (via.as_str(), signal.as_str());
                writeln!(out, "braid_receiver_bytes_total{{receiver=\"{v}\",signal=\"{s}\"}} {n}")?;
            }
        }
        for (name, help, counts) in [
            ("braid_receiver_refused_items_total", "Items left out of requests that were kept.", &self.refused_items),
            ("braid_receiver_refused_requests_total", "Requests of which nothing was kept.", &self.refused_requests),
        ] {
            family(out, name, "counter", help)?;
            for ((via, signal, reason), n) in counts.lock().iter() {
                let (v, s) = (via.as_str(), signal.as_str());
                writeln!(out, "{name}{{receiver=\"{v}\",signal=\"{s}\",reason=\"{}\"}} {n}", escape(reason))?;
            }
        }
        family(out, "braid_receiver_request_seconds", "histogram", "From the request's first byte to its answer.")?;
        for via in Via::ALL {
            let latency = &self.doors[via as usize].latency;
            let counts: Vec<u64> = latency.buckets.iter().map(load).collect();
            let total: u64 = counts.iter().sum();
            if total == 0 {
                continue;
            }
            let (v, mut below) = (via.as_str(), 0);
            for ((_, le), n) in BOUNDS.iter().zip(&counts) {
                below += n;
                writeln!(out, "braid_receiver_request_seconds_bucket{{receiver=\"{v}\",le=\"{le}\"}} {below}")?;
            }
            writeln!(out, "braid_receiver_request_seconds_bucket{{receiver=\"{v}\",le=\"+Inf\"}} {total}")?;
            let sum = load(&latency.micros) as f64 / 1e6;
            writeln!(out, "braid_receiver_request_seconds_sum{{receiver=\"{v}\"}} {sum}")?;
            writeln!(out, "braid_receiver_request_seconds_count{{receiver=\"{v}\"}} {total}")?;
        }
        family(out, "braid_handler_panics_total", "counter", "Requests that ended in a panic, answered with 500.")?;
        writeln!(out, "braid_handler_panics_total {}", load(&self.panics))
    }
}

impl Latency {
    fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_out_by_receiver_signal_and_reason() {
        let counters = Counters::default();
        let mut summary = wire::Summary { accepted: 2, ..Default::default() };
        summary.refused.add("zero \"trace\" id");
        counters.taken(Via::OtlpHttp, Signal::Traces, 10, &summary, Duration::from_micros(1_000));
        counters.refused(Via::OtlpHttp, Signal::Traces, "malformed", Duration::from_secs(60));
        let mut text = String::new();
        counters.write_text(&mut text);
        for line in [
            r#"braid_receiver_requests_total{receiver="otlp_http",signal="traces",outcome="partial"} 1"#,
            r#"braid_receiver_requests_total{receiver="otlp_http",signal="traces",outcome="refused"} 1"#,
            r#"braid_receiver_accepted_items_total{receiver="otlp_http",signal="traces"} 2"#,
            r#"braid_receiver_refused_items_total{receiver="otlp_http",signal="traces",reason="zero \"trace\" id"} 1"#,
            r#"braid_receiver_refused_requests_total{receiver="otlp_http",signal="traces",reason="malformed"} 1"#,
            r#"braid_receiver_request_seconds_bucket{receiver="otlp_http",le="0.0005"} 0"#,
            r#"braid_receiver_request_seconds_bucket{receiver="otlp_http",le="0.001"} 1"#,
            r#"braid_receiver_request_seconds_bucket{receiver="otlp_http",le="+Inf"} 2"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
    }
}
