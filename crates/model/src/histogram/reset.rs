//! Counter resets between histograms of one series.

use super::sum::{common_bounds, common_index};
use super::{Histogram, ResetHint, pairs};

impl Histogram {
    /// Whether a counter was reset between `previous` and this: something counts less now, or the layout changed in a way that
    /// only a reset explains. The hint of this histogram decides where it has one.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NoReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        if self.has_custom_buckets() {
            if !previous.has_custom_buckets() {
                return true;
            }
            if self.custom_bounds != previous.custom_bounds {
                return self.shrank_within_common_bounds(previous);
            }
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        // A bucket with observations cannot have been cut in two.
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let by = u32::try_from(previous.schema - self.schema).unwrap_or(0);
        let shrank = |spans, counts, before_spans, before| {
            let threshold = self.zero_threshold;
            let outside = |h: &Self, i: i32| h.has_custom_buckets() || threshold == 0.0 || h.bound(i) > threshold;
            let mut now = pairs(spans, counts).filter(|(i, _)| outside(self, *i)).peekable();
            let mut reduced: Vec<(i32, f64)> = Vec::new();
            for (i, count) in pairs(before_spans, before) {
                let i = (i.wrapping_sub(1) >> by.min(31)).wrapping_add(1);
                match reduced.last_mut() {
                    Some((last, total)) if *last == i => *total += count,
                    _ => reduced.push((i, count)),
                }
            }
            reduced.into_iter().filter(|(i, _)| outside(self, *i)).any(|(i, before)| {
                while now.next_if(|(j, _)| *j < i).is_some() {}
                now.peek().filter(|(j, _)| *j == i).map_or(before != 0.0, |(_, count)| *count < before)
            })
        };
        shrank(&self.positive_spans, &self.positive, &previous.positive_spans, &previous.positive)
            || shrank(&self.negative_spans, &self.negative, &previous.negative_spans, &previous.negative)
    }

    fn shrank_within_common_bounds(&self, previous: &Self) -> bool {
        let common = common_bounds(&self.custom_bounds, &previous.custom_bounds);
        let counts = |h: &Self| {
            let mut counts = vec![0.0; common.len() + 1];
            for (i, count) in pairs(&h.positive_spans, &h.positive) {
                counts[common_index(i, &h.custom_bounds, &common) as usize] += count;
            }
            counts
        };
        counts(self).iter().zip(counts(previous)).any(|(now, before)| *now < before)
    }
}
