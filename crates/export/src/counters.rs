//! What an exporter says about itself, in the Collector's words.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use wire::Signal;

/// Counters and gauges of one exporter and one signal.
#[derive(Debug)]
pub struct Counters {
    exporter: String,
    signal: Signal,
    /// Items that the other side took.
    pub sent: AtomicU64,
    /// Items that were given up, by reason.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    /// Requests that were answered well.
    pub requests: AtomicU64,
    /// Attempts that failed and are made again.
    pub retries: AtomicU64,
    /// Bytes of bodies that were sent and taken.
    pub bytes: AtomicU64,
    /// Records of the log that were given up unread because too much was kept.
    pub shed: AtomicU64,
    /// Bytes of the log that are still to be read or answered for.
    pub queue_bytes: AtomicU64,
    /// What the queue may be, bytes.
    pub queue_capacity: u64,
    /// How long the oldest record waits, milliseconds.
    pub lag_ms: AtomicU64,
    /// Batches under way.
    pub in_flight: AtomicU64,
}

/// Items are given up because the other side will never take them.
pub(crate) const REFUSED: &str = "refused";
/// The other side took a part of the request.
pub(crate) const REJECTED: &str = "rejected";
/// `retry_on_failure` says that it was tried for long enough.
pub(crate) const EXPIRED: &str = "retries_exhausted";
/// Records that cannot be read or written in the other side's form.
pub(crate) const UNENCODABLE: &str = "unencodable";

impl Counters {
    pub(crate) fn new(exporter: &str, signal: Signal, queue_capacity: u64) -> Self {
        let zero = AtomicU64::default;
        Self {
            exporter: exporter.to_owned(),
            signal,
            sent: zero(),
            failed: Mutex::default(),
            requests: zero(),
            retries: zero(),
            bytes: zero(),
            shed: zero(),
            queue_bytes: zero(),
            queue_capacity,
            lag_ms: zero(),
            in_flight: zero(),
        }
    }

    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(gauge: &AtomicU64, n: u64) {
        gauge.store(n, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, reason: &'static str, items: u64) {
        if items > 0 {
            *self.failed.lock().entry(reason).or_default() += items;
        }
    }

    /// Appends the metrics of all in Prometheus' text format.
    pub(crate) fn write_text(all: &[&Self], out: &mut String) {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed) as f64;
        // Writing to a `String` cannot fail.
        let mut family = |name: &str, kind: &str, help: &str, rows: &mut dyn Iterator<Item = (String, f64)>| {
            let mut rows = rows.peekable();
            if rows.peek().is_some() {
                let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            for (labels, value) in rows {
                let _ = writeln!(out, "{name}{{{labels}}} {value}");
            }
        };
        for signal in Signal::ALL {
            let items = items(signal);
            let of = || all.iter().filter(move |c| c.signal == signal);
            family(
                &format!("braid_exporter_sent_{items}_total"),
                "counter",
                "Items that the other side took.",
                &mut of().map(|c| (format!("exporter=\"{}\"", c.exporter), get(&c.sent))),
            );
            family(
                &format!("braid_exporter_send_failed_{items}_total"),
                "counter",
                "Items that were given up, by reason.",
                &mut of().flat_map(|c| {
                    let failed = c.failed.lock().clone();
                    failed.into_iter().map(|(why, n)| (format!("exporter=\"{}\",reason=\"{why}\"", c.exporter), n as f64))
                }),
            );
        }
        let labels = |c: &Self| format!("exporter=\"{}\",signal=\"{}\"", c.exporter, c.signal.as_str());
        let mut each = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Self) -> f64| {
            family(&format!("braid_exporter_{name}"), kind, help, &mut all.iter().map(|c| (labels(c), value(c))));
        };
        each("requests_total", "counter", "Requests that the other side took.", &|c| get(&c.requests));
        each("sent_bytes_total", "counter", "Bytes of their bodies.", &|c| get(&c.bytes));
        each("retries_total", "counter", "Attempts that failed and are made again.", &|c| get(&c.retries));
        each(
            "enqueue_failed_records_total",
            "counter",
            "Records of the log that were given up unread: the queue or the disk was full.",
            &|c| get(&c.shed),
        );
        each("queue_size", "gauge", "Bytes of the log that wait to be sent.", &|c| get(&c.queue_bytes));
        each("queue_capacity", "gauge", "Bytes of the log that may wait.", &|c| c.queue_capacity as f64);
        each("queue_lag_seconds", "gauge", "How long the oldest record waits.", &|c| get(&c.lag_ms) / 1000.0);
        each("in_flight_batches", "gauge", "Batches that are being sent.", &|c| get(&c.in_flight));
    }
}

/// The Collector's word for the items of a signal.
fn items(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Logs => "log_records",
        Signal::Metrics => "metric_points",
    }
}
