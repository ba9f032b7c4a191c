//! Deltas to sums since a beginning, as Prometheus keeps them, and back to deltas, as Datadog wants them. Both remember in memory
//! only: after a start sums begin anew, which whoever asks for rates takes for a counter's reset.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{Histogram, HistogramSum};

/// Series that are remembered; of more the ones begun first are forgotten.
const SERIES: usize = 500_000;

/// Something for each series, bounded.
#[derive(Debug)]
struct Remembered<T> {
    values: HashMap<u64, (i64, T), FixedState>,
    order: VecDeque<u64>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { values: HashMap::default(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    fn begin(&mut self, series: u64, time_ms: i64, value: T) {
        if self.order.len() >= SERIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(series);
        self.values.insert(series, (time_ms, value));
    }
}

/// Which series it is; `key` names it among those of one sender.
pub(crate) fn series(key: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::quality::FixedState::with_seed(7).build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Deltas added up.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    floats: Remembered<f64>,
    histograms: Remembered<HistogramSum>,
}

impl Sums {
    /// The sum with `delta`, which stands for the time up to `time_ms`; `None` for one that does not come after the one before.
    pub(crate) fn add(&mut self, series: u64, time_ms: i64, delta: f64) -> Option<f64> {
        let Some((last, sum)) = self.floats.values.get_mut(&series) else {
            self.floats.begin(series, time_ms, delta);
            return Some(delta);
        };
        if time_ms <= *last {
            return None;
        }
        *last = time_ms;
        *sum += delta;
        Some(*sum)
    }

    /// The same of histograms.
    pub(crate) fn add_histogram(&mut self, series: u64, time_ms: i64, delta: &Histogram) -> Option<Histogram> {
        let Some((last, sum)) = self.histograms.values.get_mut(&series) else {
            self.histograms.begin(series, time_ms, HistogramSum::from(delta));
            return Some(delta.clone());
        };
        if time_ms <= *last {
            return None;
        }
        *last = time_ms;
        if sum.add(delta, 1.0).is_err() {
            *sum = HistogramSum::from(delta);
        }
        Some(sum.get())
    }
}

/// Sums taken apart.
#[derive(Debug, Default)]
pub(crate) struct Differences(Remembered<f64>);

impl Differences {
    /// What was added since the sample before, and in how many seconds; `None` for the first, and for one that does not come
    /// after the one before.
    pub(crate) fn since(&mut self, series: u64, time_ms: i64, sum: f64) -> Option<(f64, i64)> {
        let Some((last, before)) = self.0.values.get_mut(&series) else {
            self.0.begin(series, time_ms, sum);
            return None;
        };
        if time_ms <= *last {
            return None;
        }
        let seconds = (time_ms - *last + 500) / 1000;
        let added = if sum < *before { sum } else { sum - *before };
        (*last, *before) = (time_ms, sum);
        Some((added, seconds.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_add_up_once_each_and_sums_come_apart_again() {
        let (mut sums, mut differences) = (Sums::default(), Differences::default());
        let (a, b) = (series(b"a"), series(b"b"));
        assert_eq!(sums.add(a, 10, 1.0), Some(1.0));
        assert_eq!(sums.add(b, 10, 5.0), Some(5.0));
        assert_eq!(sums.add(a, 20, 2.0), Some(3.0));
        assert_eq!(sums.add(a, 20, 2.0), None, "a retry");
        assert_eq!(differences.since(a, 0, 3.0), None);
        assert_eq!(differences.since(a, 15_000, 10.0), Some((7.0, 15)));
        assert_eq!(differences.since(a, 15_000, 10.0), None, "a retry");
        assert_eq!(differences.since(a, 30_000, 4.0), Some((4.0, 15)), "a reset");
        let h = Histogram { count: 2.0, sum: 3.0, zero_count: 2.0, ..Histogram::default() };
        assert_eq!(sums.add_histogram(a, 10, &h).map(|h| h.count), Some(2.0));
        assert_eq!(sums.add_histogram(a, 20, &h).map(|h| h.count), Some(4.0));
        assert_eq!(sums.add_histogram(a, 20, &h), None);
    }
}
