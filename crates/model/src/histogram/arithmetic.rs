//! One histogram and another, or a number.

use super::sum::layout;
use super::{Histogram, HistogramSum, IncompatibleBuckets, Merged, ResetHint, pairs};

impl Histogram {
    /// The sum of both.
    ///
    /// # Errors
    /// [`IncompatibleBuckets`].
    pub fn plus(&self, other: &Self) -> Result<(Self, Merged), IncompatibleBuckets> {
        let mut sum = HistogramSum::from(self);
        let merged = sum.add(other, 1.0)?;
        Ok((sum.get(), merged))
    }

    /// The difference of both. Its reset hint is made as that of a sum; a difference as such is a gauge.
    ///
    /// # Errors
    /// [`IncompatibleBuckets`].
    pub fn minus(&self, other: &Self) -> Result<(Self, Merged), IncompatibleBuckets> {
        let mut sum = HistogramSum::from(self);
        let merged = sum.add(other, -1.0)?;
        Ok((sum.get(), merged))
    }

    fn each(&mut self, f: impl Fn(f64) -> f64) {
        let counts = [&mut self.zero_count, &mut self.count, &mut self.sum];
        counts.into_iter().chain(&mut self.positive).chain(&mut self.negative).for_each(|v| *v = f(*v));
    }

    /// Multiplies every count. A negative factor makes a gauge.
    pub fn multiply(&mut self, factor: f64) {
        self.each(|v| v * factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Divides every count; by 0 leaves no buckets. A negative divisor makes a gauge.
    pub fn divide(&mut self, divisor: f64) {
        if divisor == 0.0 {
            for buckets in [&mut self.positive, &mut self.negative] {
                buckets.clear();
            }
            self.positive_spans.clear();
            self.negative_spans.clear();
        }
        self.each(|v| v / divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
    }

    /// Leaves out empty buckets and joins spans without a gap.
    pub fn compact(&mut self) {
        let tidy = |spans: &[super::BucketSpan], counts: &[f64]| {
            let joined = spans.iter().skip(1).all(|s| s.offset > 0) && spans.iter().all(|s| s.length > 0);
            joined && counts.iter().all(|c| *c != 0.0)
        };
        if !tidy(&self.positive_spans, &self.positive) {
            (self.positive_spans, self.positive) =
                layout(pairs(&self.positive_spans, &self.positive).filter(|(_, count)| *count != 0.0));
        }
        if !tidy(&self.negative_spans, &self.negative) {
            (self.negative_spans, self.negative) =
                layout(pairs(&self.negative_spans, &self.negative).filter(|(_, count)| *count != 0.0));
        }
    }

    /// [`Histogram::compact`], in passing.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.compact();
        self
    }

    /// Whether the two are the same data: layout and counts, bit by bit; the reset hint does not matter.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let bits = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        let indexes = |h: &Self| -> (Vec<i32>, Vec<i32>) {
            let of = |spans, counts| pairs(spans, counts).map(|(i, _)| i).collect();
            (of(&h.positive_spans, &h.positive), of(&h.negative_spans, &h.negative))
        };
        self.schema == other.schema
            && bits(&[self.count, self.sum, self.zero_count], &[other.count, other.sum, other.zero_count])
            && (!self.has_custom_buckets() || self.custom_bounds == other.custom_bounds)
            && self.zero_threshold == other.zero_threshold
            && bits(&self.positive, &other.positive)
            && bits(&self.negative, &other.negative)
            && indexes(self) == indexes(other)
    }

    /// What the zero bucket would count with at least this (larger) threshold, and the threshold that it would have: where
    /// `threshold` lies inside a bucket with observations, that bucket's far bound.
    pub(super) fn zero_count_within(&self, mut threshold: f64) -> (f64, f64) {
        if threshold <= self.zero_threshold || threshold.is_nan() {
            return (self.zero_count, self.zero_threshold);
        }
        'again: loop {
            let mut count = self.zero_count;
            for (i, n) in pairs(&self.positive_spans, &self.positive) {
                if self.bound(i.saturating_sub(1)) >= threshold {
                    break;
                }
                count += n;
                if self.bound(i) > threshold {
                    if n != 0.0 {
                        threshold = self.bound(i);
                    }
                    break;
                }
            }
            for (i, n) in pairs(&self.negative_spans, &self.negative) {
                if self.bound(i.saturating_sub(1)) >= threshold {
                    break;
                }
                count += n;
                if self.bound(i) > threshold {
                    if n != 0.0 {
                        // The positive side has to be looked at again.
                        threshold = self.bound(i);
                        continue 'again;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }
}
