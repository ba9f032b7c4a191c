//! What correlation says about itself.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests of the log that were read.
    pub records: AtomicU64,
    /// Requests that could not be read.
    pub unreadable: AtomicU64,
    /// Events written, amendments among them.
    pub events: AtomicU64,
    /// Events that amend an earlier one.
    pub amendments: AtomicU64,
    /// Events that join two signals or services.
    pub joining: AtomicU64,
    /// Windows of traces that join nothing and carry no key, for which no event was made.
    pub lone: AtomicU64,
    /// Records that came with the trace's id: spans, lines, exemplars.
    pub by_trace_id: [AtomicU64; 3],
    /// Records that waited for their trace by a key.
    pub waited: AtomicU64,
    /// Those that were joined to one trace.
    pub joined: AtomicU64,
    /// Those that have several candidates.
    pub ambiguous: AtomicU64,
    /// Those whose trace did not come.
    pub unmatched: AtomicU64,
    /// Windows opened after an earlier one of the trace had closed.
    pub late: AtomicU64,
    /// Windows closed before their time for want of memory.
    pub closed_early: AtomicU64,
    /// Windows that joined nothing, dropped for want of memory.
    pub shed_windows: AtomicU64,
    /// Records in them.
    pub shed_records: AtomicU64,
    /// Records with a key dropped for want of memory, or because too many wait for the same value.
    pub shed_waiting: AtomicU64,
    /// Joins that found their event full.
    pub shed_joined: AtomicU64,
    /// Closed traces forgotten before their time for want of memory.
    pub forgotten_early: AtomicU64,
    /// Values of keys left out because they are too long.
    pub oversized_keys: AtomicU64,
    /// Attempts to write events that the store refused; they are made again.
    pub write_errors: AtomicU64,
    /// Gauges: bytes, open windows, records that wait, known traces.
    pub sizes: [AtomicU64; 4],
    /// Gauge: the last sequence read.
    pub position: AtomicU64,
    /// Gauge: how long after its end a window was written, the longest of those written last, microseconds.
    pub delay_us: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    if n > 0 {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

impl Counters {
    /// Appends everything in Prometheus' text format; `memory` is the budget in bytes.
    pub fn write_text(&self, memory: usize, out: &mut String) {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let mut one = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        for (name, help, value) in [
            ("correlation_events_total", "Correlation events written, amendments among them.", get(&self.events)),
            ("braid_correlation_amendments_total", "Events that amend an earlier one of the same trace.", get(&self.amendments)),
            ("braid_correlation_joining_events_total", "Events that join two signals or services.", get(&self.joining)),
            (
                "braid_correlation_lone_traces_total",
                "Windows that joined nothing and had no key, past those that may make an event: counted only.",
                get(&self.lone),
            ),
            ("braid_correlation_requests_total", "Requests of the log that were read.", get(&self.records)),
            ("braid_correlation_unreadable_requests_total", "Requests that could not be read.", get(&self.unreadable)),
            ("braid_correlation_waited_total", "Log records without a trace id that have a business key.", get(&self.waited)),
            ("braid_correlation_late_total", "Windows opened after an earlier one of the trace had closed.", get(&self.late)),
            ("braid_correlation_closed_early_total", "Windows closed early for want of memory.", get(&self.closed_early)),
            (
                "braid_correlation_shed_windows_total",
                "Windows that joined nothing, dropped for want of memory.",
                get(&self.shed_windows),
            ),
            (
                "braid_correlation_forgotten_early_total",
                "Closed traces forgotten early for want of memory.",
                get(&self.forgotten_early),
            ),
            (
                "braid_correlation_oversized_keys_total",
                "Values of business keys left out because they are too long.",
                get(&self.oversized_keys),
            ),
            (
                "braid_correlation_write_errors_total",
                "Refused attempts to write events; they are made again.",
                get(&self.write_errors),
            ),
        ] {
            one(name, "counter", help, value as f64);
        }
        let sizes = [
            ("braid_correlation_memory_bytes", "Memory of windows, waiting records and known traces, as accounted."),
            ("braid_correlation_open_windows", "Open windows."),
            ("braid_correlation_waiting_records", "Records that wait for their trace."),
            ("braid_correlation_known_traces", "Traces that are open, or closed and remembered."),
        ];
        for ((name, help), size) in sizes.into_iter().zip(&self.sizes) {
            one(name, "gauge", help, get(size) as f64);
        }
        one("braid_correlation_memory_limit_bytes", "gauge", "Memory that they may take.", memory as f64);
        one("braid_correlation_log_sequence", "gauge", "The last request of the log that was read.", get(&self.position) as f64);
        one(
            "braid_correlation_delay_seconds",
            "gauge",
            "From the end of a window to its event being written, the longest of those written last.",
            get(&self.delay_us) as f64 / 1e6,
        );
        let mut labelled = |name: &str, help: &str, label: &str, values: &[(&str, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (word, value) in values {
                let _ = writeln!(out, "{name}{{{label}=\"{word}\"}} {value}");
            }
        };
        let [spans, logs, exemplars] = &self.by_trace_id;
        labelled(
            "braid_correlation_joins_total",
            "Records joined, by what joined them and their kind.",
            "kind",
            &[
                ("span_by_trace_id", get(spans)),
                ("log_by_trace_id", get(logs)),
                ("exemplar_by_trace_id", get(exemplars)),
                ("log_by_key", get(&self.joined)),
                ("log_ambiguous", get(&self.ambiguous)),
                ("log_unmatched", get(&self.unmatched)),
            ],
        );
        labelled(
            "braid_correlation_dropped_records_total",
            "Records left out of events, by reason.",
            "reason",
            &[
                ("memory", get(&self.shed_records)),
                ("too_many_wait", get(&self.shed_waiting)),
                ("event_full", get(&self.shed_joined)),
            ],
        );
    }
}
