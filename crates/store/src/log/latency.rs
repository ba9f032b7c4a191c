//! A small histogram of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds; one more bucket takes the rest.
const BOUNDS: [u64; 12] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000];

/// Counts durations by size; may be recorded from any thread.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

/// What a [`Latency`] held at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LatencySnapshot {
    /// Upper bound in microseconds (`None`: the rest) and how many durations were at most that and above the bound before.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// All durations together, microseconds.
    pub sum_us: u64,
}

impl Latency {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|b| us <= *b).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn snapshot(&self) -> LatencySnapshot {
        let bounds = BOUNDS.iter().map(|b| Some(*b)).chain([None]);
        let buckets = bounds.zip(self.buckets.iter().map(|b| b.load(Ordering::Relaxed))).collect();
        LatencySnapshot { buckets, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

impl LatencySnapshot {
    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, n)| n).sum()
    }
}
