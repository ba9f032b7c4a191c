//! What a request may be at most.

use std::ops::RangeInclusive;

/// Bounds on what a walker reads from one request; a request past them is refused with
/// [`WireError::TooLarge`](crate::WireError::TooLarge).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after snappy (Loki push, remote write). The declared length is checked before anything is allocated.
    pub max_uncompressed: usize,
    /// Attributes of one record, of one resource, and of all events and links of one span. Of OTLP's the rest is left out.
    pub max_attributes_per_record: usize,
    /// How deep arrays and key-value lists may lie inside each other in one value.
    pub max_depth: usize,
    /// Events, and links, of one span. The rest is left out.
    pub max_events_per_span: usize,
    /// Labels of one series or stream.
    pub max_labels: usize,
    /// Bounds of one classic histogram, quantiles of one summary.
    pub max_buckets: usize,
    /// Buckets of one side, bounds and spans of a native histogram.
    pub max_native_buckets: usize,
    /// Symbols of one remote-write 2.0 request.
    pub max_symbols: usize,
    /// Whether a Loki stream that has no `service_name` gets one (Loki's `discover_service_name`).
    pub discover_service_name: bool,
    /// How much older than the moment it was received a pushed line may be, nanoseconds (Loki's `reject_old_samples_max_age`).
    /// OTLP has no such limit.
    pub max_line_age_ns: Option<i64>,
    /// How far a pushed line may be ahead of the moment it was received, nanoseconds (Loki's `creation_grace_period`). OTLP has no
    /// such limit.
    pub max_line_ahead_ns: Option<i64>,
    /// Whether OTLP's explicit histograms become native ones with custom buckets instead of series of buckets (Prometheus'
    /// `convert_histograms_to_nhcb`).
    pub custom_buckets: bool,
}

impl Limits {
    /// The oldest and the newest time that a line may have that is received at `received`; with 0 for a moment that is not known any
    /// time is fine.
    pub(crate) fn line_times(&self, received: i64) -> RangeInclusive<i64> {
        let known = received > 0;
        let oldest = self.max_line_age_ns.filter(|_| known).map_or(i64::MIN, |age| received.saturating_sub(age));
        let newest = self.max_line_ahead_ns.filter(|_| known).map_or(i64::MAX, |ahead| received.saturating_add(ahead));
        oldest..=newest
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_uncompressed: 64 << 20,
            max_attributes_per_record: 10_000,
            max_depth: 64,
            max_events_per_span: 10_000,
            max_labels: 1_000,
            max_buckets: 1_000,
            max_native_buckets: 10_000,
            max_symbols: 1 << 20,
            discover_service_name: true,
            max_line_age_ns: None,
            max_line_ahead_ns: None,
            custom_buckets: false,
        }
    }
}
