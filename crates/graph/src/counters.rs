//! What the generator says about itself.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $kind:literal, $name:literal, $help:literal;)*) => {
        /// Counters since the start of the process, and gauges.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $field: AtomicU64,)* }

        impl Counters {
            /// Appends all of it in Prometheus' text format.
            pub fn write_text(&self, out: &mut String) {
                $(
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(
                        out,
                        concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, " ", $kind, "\n", $name, " {}"),
                        self.$field.load(Ordering::Relaxed),
                    );
                )*
            }
        }
    };
}

counters! {
    /// Spans looked at.
    spans: "counter", "braid_graph_spans_total", "Spans that metrics were made of.";
    /// Requests that the store no longer knew, or not yet.
    walked: "counter", "braid_graph_walked_requests_total", "Requests of spans that were read from the log, because the store did not know them any more, or not yet.";
    /// Spans left out because they were counted before.
    duplicates: "counter", "braid_graph_duplicate_spans_total", "Spans that were sent again and not counted again.";
    /// Requests between two services seen whole.
    edges: "counter", "braid_graph_edges_total", "Requests between services of which both sides were seen.";
    /// Halves that waited in vain.
    expired: "counter", "braid_graph_expired_edges_total", "Halves of requests whose other half did not come in time.";
    /// Halves that had to go before their time.
    evicted: "counter", "braid_graph_evicted_edges_total", "Halves of requests that made room for others before their time (service_graphs.max_items).";
    /// Updates of series that did not fit.
    rejected: "counter", "braid_graph_rejected_updates_total", "Spans and requests that would have begun a series past max_active_series.";
    /// Samples written.
    samples: "counter", "braid_graph_samples_total", "Samples written to the metrics table.";
    /// Requests of samples that the store did not take.
    failed: "counter", "braid_graph_failed_writes_total", "Requests of samples that the store did not take; their counts come with the next.";
    /// Log records that could not be read.
    unreadable: "counter", "braid_graph_unreadable_records_total", "Records of the log that could not be read.";
    /// Halves waiting.
    pending: "gauge", "braid_graph_pending_edges", "Halves of requests that wait for the other half.";
    /// Series alive.
    series: "gauge", "braid_graph_active_series", "Series that samples are written of.";
    /// Records appended and not read yet.
    behind: "gauge", "braid_graph_records_behind", "Records of the log that are not read yet.";
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn set(gauge: &AtomicU64, n: usize) {
    gauge.store(n as u64, Ordering::Relaxed);
}
