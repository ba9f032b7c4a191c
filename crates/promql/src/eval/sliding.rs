//! Sums of windows that overlap: each sample is added twice, however many windows it is in.
//!
//! A pivot lies in the windows. What a window has before it is a sum from the pivot backwards that was made once; what it has
//! behind it is a sum that grows as windows do. Where a window has left the pivot behind, its end is the next one. Nothing is
//! ever subtracted, so nothing cancels out that is not in the window.

use super::sum::Total;

/// From so many samples in all windows together, as often as there are samples, this way is the shorter one.
pub(super) const OVERLAP: usize = 8;

/// The sums so far; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Sliding {
    /// Of the last sample before the pivot, of the last two, and so on.
    before: Vec<Total>,
    pivot: usize,
    /// From the pivot to `seen`.
    behind: Total,
    seen: usize,
}

impl Sliding {
    /// Other values come.
    pub(super) fn clear(&mut self) {
        self.before.clear();
        (self.pivot, self.behind, self.seen) = (0, Total::default(), 0);
    }

    /// The sum from `from` (included) to `to`, of which neither goes back. Only of values that are tame ([`super::sum::are_tame`]).
    pub(super) fn of(&mut self, values: &[f64], from: usize, to: usize) -> Total {
        if from >= self.pivot {
            self.before.clear();
            let mut sum = Total::default();
            self.before.extend(values[from..to].iter().rev().map(|v| {
                sum = sum.add(*v);
                sum
            }));
            (self.pivot, self.behind, self.seen) = (to, Total::default(), to);
        } else {
            self.behind = values[self.seen..to.max(self.seen)].iter().fold(self.behind, |sum, v| sum.add(*v));
            self.seen = self.seen.max(to);
        }
        let before = (self.pivot - from).checked_sub(1).and_then(|at| self.before.get(at)).copied();
        before.unwrap_or_default().join(self.behind)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sliding_gives_the_sum_of_each_window(
            values in proptest::collection::vec((-50_i32..50).prop_map(f64::from), 1..60),
            moves in proptest::collection::vec((0_usize..5, 0_usize..5), 1..60),
        ) {
            let mut sliding = Sliding::default();
            for _ in 0..2 {
                sliding.clear();
                let (mut from, mut to) = (0, 0);
                for (start, end) in &moves {
                    to = (to + end).min(values.len());
                    from = (from + start).min(to);
                    let sum: f64 = values[from..to].iter().sum();
                    prop_assert_eq!(sliding.of(&values, from, to).sum(), sum, "{}..{}", from, to);
                }
            }
        }
    }
}
