//! What a query read, counted for whoever asks (`stats=` of the HTTP API).
//!
//! Counted as the reference does (`prometheus/util/stats/query_stats.go`): a sample as often as a step looks at it, so a
//! window of ten samples counts ten at each step. What a subquery's own expression reads counts at the last step of the
//! query; what is the same at every step and computed once counts at each of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::Histogram;

use super::Grid;

/// What answering a query took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Samples that the steps looked at, by step; times in milliseconds.
    pub steps: Vec<(i64, u64)>,
    /// Samples that were held at once, those of the answer among them.
    pub peak: usize,
    /// From the beginning to the answer.
    pub total: Duration,
    /// Of it bringing the answer into order.
    pub sorting: Duration,
}

impl Stats {
    /// Samples that all steps looked at.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.steps.iter().map(|(_, n)| n).sum()
    }
}

/// As how many samples a histogram counts: by its size, as in the reference (`promql/value.go`, `HPoint.size`).
pub(super) fn weight(h: &Histogram) -> usize {
    let spans = h.positive_spans.len() + h.negative_spans.len();
    let numbers = h.positive.len() + h.negative.len() + h.custom_bounds.len();
    (168 + 8 * (spans + numbers) + 8) / 16
}

/// Counts while a query runs, on all of its threads.
#[derive(Debug)]
pub(super) struct Counting {
    grid: Grid,
    steps: Vec<AtomicU64>,
    begun: Instant,
}

impl Counting {
    pub(super) fn new(grid: Grid) -> Self {
        let steps = (0..grid.len()).map(|_| AtomicU64::new(0)).collect();
        Self { grid, steps, begun: Instant::now() }
    }

    /// Counts what the steps of `grid` look at, in their order.
    pub(super) fn add(&self, grid: Grid, samples: impl Iterator<Item = usize>) {
        let count = |to: &AtomicU64, n: u64| {
            to.fetch_add(n, Ordering::Relaxed);
        };
        if grid == self.grid {
            self.steps.iter().zip(samples).filter(|(_, n)| *n > 0).for_each(|(step, n)| count(step, n as u64));
            return;
        }
        let all: u64 = samples.map(|n| n as u64).sum();
        // One step where the query has many: the same at each. Any other grid is a subquery's.
        if grid.len() == 1 && grid.start == self.grid.start && grid.step == self.grid.step {
            self.steps.iter().for_each(|step| count(step, all));
        } else if let Some(last) = self.steps.last() {
            count(last, all);
        }
    }

    pub(super) fn finish(&self, peak: usize, sorting: Duration) -> Stats {
        let steps = self.grid.times().zip(&self.steps).map(|(time, n)| (time, n.load(Ordering::Relaxed)));
        Stats { steps: steps.collect(), peak, total: self.begun.elapsed(), sorting }
    }
}
