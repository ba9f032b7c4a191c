//! Samples of one series from several places become one run: by time, each time once, the earliest kept sample winning.

use std::ops::RangeInclusive;

use super::chunk::{Scratch, decode_values};

/// Samples of one series, gathered from places that are visited in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub times: Vec<i64>,
    pub values: Vec<f64>,
}

impl Gathered {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }

    /// How many samples.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// Adds the part of a run (ascending, equally long) that lies within `range`.
    pub(super) fn add(&mut self, times: &[i64], values: &[f64], range: &RangeInclusive<i64>) {
        let start = times.partition_point(|t| t < range.start());
        let end = times.partition_point(|t| t <= range.end());
        if start < end {
            self.times.extend_from_slice(&times[start..end]);
            self.values.extend_from_slice(&values[start..end]);
        }
    }

    /// Adds the part of a run whose values are coded that lies within `range`.
    ///
    /// # Errors
    /// What is wrong with the coded values.
    pub(super) fn decode(
        &mut self,
        times: &[i64],
        coded: &[u8],
        range: &RangeInclusive<i64>,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let before = self.values.len();
        decode_values(coded, times.len(), scratch, &mut self.values)?;
        let start = times.partition_point(|t| t < range.start());
        let end = times.partition_point(|t| t <= range.end()).max(start);
        self.values.truncate(before + end);
        self.values.drain(before..before + start);
        self.times.extend_from_slice(&times[start..end]);
        Ok(())
    }

    /// Adds one sample.
    pub(super) fn push(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Orders by time; of samples with one time the first that was added stays.
    pub(super) fn settle(&mut self) {
        if self.times.is_sorted_by(|a, b| a < b) {
            return;
        }
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        // Stable: of equal times the one added first comes first.
        order.sort_by_key(|at| self.times[*at as usize]);
        order.dedup_by_key(|at| self.times[*at as usize]);
        self.times = order.iter().map(|at| self.times[*at as usize]).collect();
        self.values = order.iter().map(|at| self.values[*at as usize]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_kept_sample_of_a_time_wins() {
        let mut g = Gathered::default();
        g.add(&[10, 20, 30], &[1.0, 2.0, 3.0], &(15..=30));
        g.add(&[5, 20, 40], &[9.0, 9.0, 4.0], &(0..=39));
        g.push(30, 7.0);
        g.settle();
        assert_eq!(g.times, [5, 20, 30]);
        assert_eq!(g.values, [9.0, 2.0, 3.0]);
    }
}
