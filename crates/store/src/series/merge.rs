//! Samples of one series from several places become one run: by time, each time once, the earliest kept sample winning.

use std::ops::{Range, RangeInclusive};

use super::chunk::{Scratch, decode_values, take_starts};
use super::histograms::decode_histogram_run;
use crate::{HistogramSample, SeriesSamples};

/// Samples of one series, gathered from places that are visited in the order in which they were written.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    /// As long as `times`, or empty: none has a start timestamp.
    pub starts: Vec<i64>,
    pub histograms: Vec<HistogramSample>,
    /// How many floats and histograms there were before each batch, kept once there are histograms.
    batches: Vec<(usize, usize)>,
    /// Whether a batch of floats begins before the end of the one before.
    unordered: bool,
    /// Buffers that are put into order into, kept for the next series.
    spare: (Vec<i64>, Vec<f64>),
}

/// Which of `times` (ascending) lie in `range`.
fn within(times: &[i64], range: &RangeInclusive<i64>) -> Range<usize> {
    let inside = |t: Option<&i64>| t.is_some_and(|t| range.contains(t));
    if inside(times.first()) && inside(times.last()) {
        return 0..times.len();
    }
    let start = times.partition_point(|t| t < range.start());
    start..times.partition_point(|t| t <= range.end()).max(start)
}

/// The stretches in which `times` ascend, cut where a batch begins as well, by time; `None` where two of them share one.
fn stretches(times: &[i64], batches: &[(usize, usize)]) -> Option<Vec<Range<usize>>> {
    let mut all: Vec<Range<usize>> = Vec::with_capacity(batches.len() + 1);
    let mut at = 0;
    for end in batches.iter().map(|(floats, _)| *floats).chain([times.len()]) {
        for stretch in times.get(at..end).unwrap_or_default().chunk_by(|a, b| a < b) {
            all.push(at..at + stretch.len());
            at += stretch.len();
        }
    }
    all.sort_unstable_by_key(|s| times[s.start]);
    all.windows(2).all(|pair| times[pair[0].end - 1] < times[pair[1].start]).then_some(all)
}

/// Puts stretches of `all` one behind the other.
fn arrange<T: Copy>(all: &mut Vec<T>, stretches: &[Range<usize>], spare: &mut Vec<T>) {
    spare.clear();
    spare.reserve(all.len());
    stretches.iter().for_each(|s| spare.extend_from_slice(&all[s.clone()]));
    std::mem::swap(all, spare);
}

impl Gathered {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.histograms.clear();
        self.batches.clear();
        self.unordered = false;
    }

    /// How many samples.
    pub(super) fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Samples that are added from here on were written later.
    fn next_batch(&mut self) {
        self.batches.push((self.times.len(), self.histograms.len()));
    }

    /// How much there is, for [`Gathered::forget`].
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.times.len(), self.histograms.len())
    }

    /// Forgets what was added since `mark` and lies within one of `gone`.
    pub(super) fn forget(&mut self, mark: (usize, usize), gone: &[RangeInclusive<i64>]) {
        if gone.is_empty() {
            return;
        }
        let is_gone = |time: i64| gone.iter().any(|g| g.contains(&time));
        let floats: Vec<bool> = self.times[mark.0..].iter().map(|t| !is_gone(*t)).collect();
        let histograms: Vec<bool> = self.histograms[mark.1..].iter().map(|h| !is_gone(h.time)).collect();
        let kept = |from: usize, keep: &[bool], bound: usize| {
            from + keep.iter().take(bound.saturating_sub(from)).filter(|k| **k).count()
        };
        for (floats_before, histograms_before) in &mut self.batches {
            if *floats_before > mark.0 {
                *floats_before = kept(mark.0, &floats, *floats_before);
            }
            if *histograms_before > mark.1 {
                *histograms_before = kept(mark.1, &histograms, *histograms_before);
            }
        }
        fn spare<T>(all: &mut Vec<T>, from: usize, keep: &[bool]) {
            let mut at = 0;
            all.retain(|_| {
                at += 1;
                at <= from || keep.get(at - 1 - from).copied().unwrap_or(true)
            });
        }
        spare(&mut self.times, mark.0, &floats);
        spare(&mut self.values, mark.0, &floats);
        if !self.starts.is_empty() {
            spare(&mut self.starts, mark.0, &floats);
        }
        spare(&mut self.histograms, mark.1, &histograms);
    }

    /// Adds the part of a run of floats (coded) that lies within `range`; `whole` sees all values of a run without start
    /// timestamps.
    ///
    /// # Errors
    /// What is wrong with the coded values.
    pub(super) fn decode(
        &mut self,
        times: &[i64],
        mut coded: &[u8],
        range: &RangeInclusive<i64>,
        scratch: &mut Scratch,
        whole: impl FnOnce(&[f64]),
    ) -> Result<(), String> {
        self.next_batch();
        let before = self.values.len();
        let mut starts = Vec::new();
        let with_starts = take_starts(&mut coded, times.len(), &mut starts)?;
        decode_values(coded, times.len(), scratch, &mut self.values)?;
        if !with_starts {
            whole(&self.values[before..]);
        }
        let Range { start, end } = within(times, range);
        self.values.truncate(before + end);
        self.values.drain(before..before + start);
        if with_starts {
            self.starts.resize(before, 0);
            self.starts.extend_from_slice(&starts[start..end]);
        } else if !self.starts.is_empty() {
            self.starts.resize(before + end - start, 0);
        }
        self.add_times(&times[start..end]);
        Ok(())
    }

    /// Adds the part of a run of floats without start timestamps that lies within `range`.
    pub(super) fn add_values(&mut self, times: &[i64], values: &[f64], range: &RangeInclusive<i64>) {
        self.next_batch();
        let inside = within(times, range);
        self.values.extend_from_slice(values.get(inside.clone()).unwrap_or_default());
        if !self.starts.is_empty() {
            self.starts.resize(self.values.len(), 0);
        }
        self.add_times(&times[inside]);
    }

    /// Adds times that ascend.
    fn add_times(&mut self, times: &[i64]) {
        self.unordered |= self.times.last() >= times.first() && !times.is_empty();
        self.times.extend_from_slice(times);
    }

    /// Changes what is gathered for what `series` holds; no label is touched.
    pub(super) fn exchange(&mut self, series: &mut SeriesSamples) {
        std::mem::swap(&mut self.times, &mut series.times);
        std::mem::swap(&mut self.values, &mut series.values);
        std::mem::swap(&mut self.starts, &mut series.starts);
        std::mem::swap(&mut self.histograms, &mut series.histograms);
    }

    /// Adds the part of a run of histograms (coded) that lies within `range`.
    ///
    /// # Errors
    /// What is wrong with the coded histograms.
    pub(super) fn decode_histograms(
        &mut self,
        times: &[i64],
        coded: &[u8],
        range: &RangeInclusive<i64>,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let run = decode_histogram_run(times, coded, scratch)?;
        self.add_histograms(run.into_iter().filter(|h| range.contains(&h.time)));
        Ok(())
    }

    /// Adds histograms.
    pub(super) fn add_histograms(&mut self, histograms: impl Iterator<Item = HistogramSample>) {
        self.next_batch();
        self.histograms.extend(histograms);
    }

    /// Adds floats, with a start timestamp each where they have any, that lie within `range`.
    pub(super) fn add(
        &mut self,
        samples: impl Iterator<Item = (i64, f64)>,
        starts: Option<impl Iterator<Item = i64>>,
        range: &RangeInclusive<i64>,
    ) {
        self.next_batch();
        let before = self.times.len();
        match starts {
            None => {
                for (time, value) in samples.filter(|(time, _)| range.contains(time)) {
                    self.times.push(time);
                    self.values.push(value);
                }
            }
            Some(starts) => {
                self.starts.resize(self.times.len(), 0);
                for ((time, value), start) in samples.zip(starts).filter(|((time, _), _)| range.contains(time)) {
                    self.times.push(time);
                    self.values.push(value);
                    self.starts.push(start);
                }
            }
        }
        if !self.starts.is_empty() {
            self.starts.resize(self.times.len(), 0);
        }
        self.unordered |= before > 0 && self.times.get(before).is_some_and(|first| self.times[before - 1] >= *first);
    }

    /// Orders by time; of samples with one time the first that was added stays.
    pub(super) fn settle(&mut self) {
        if !self.histograms.is_empty() {
            self.settle_histograms();
        }
        self.forget_no_starts();
        if !self.unordered {
            return;
        }
        self.unordered = false;
        // Places are visited as they were written, and merges write old hours late: whole stretches are out of order far more often than
        // samples among each other.
        if let Some(stretches) = stretches(&self.times, &self.batches) {
            arrange(&mut self.times, &stretches, &mut self.spare.0);
            arrange(&mut self.values, &stretches, &mut self.spare.1);
            if !self.starts.is_empty() {
                arrange(&mut self.starts, &stretches, &mut self.spare.0);
            }
            return;
        }
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        // Stable: of equal times the one added first comes first.
        order.sort_by_key(|at| self.times[*at as usize]);
        order.dedup_by_key(|at| self.times[*at as usize]);
        self.pick(&order);
    }

    /// Leaves these floats, in this order.
    fn pick(&mut self, order: &[u32]) {
        self.times = order.iter().map(|at| self.times[*at as usize]).collect();
        self.values = order.iter().map(|at| self.values[*at as usize]).collect();
        if !self.starts.is_empty() {
            self.starts = order.iter().map(|at| self.starts[*at as usize]).collect();
        }
        self.forget_no_starts();
    }

    /// Where no sample has a start timestamp, none is kept.
    fn forget_no_starts(&mut self) {
        if self.starts.iter().all(|start| *start == 0) {
            self.starts.clear();
        }
    }

    /// The batch that the float, or the histogram, at `at` came with.
    fn batch(&self, at: usize, histogram: bool) -> usize {
        self.batches.partition_point(|(floats, histograms)| if histogram { *histograms <= at } else { *floats <= at })
    }

    /// Orders the histograms, and of a float and a histogram of one time leaves the one that was added first.
    fn settle_histograms(&mut self) {
        let mut order: Vec<(i64, usize, bool, u32)> = Vec::with_capacity(self.len());
        order.extend((0..self.times.len()).map(|at| (self.times[at], self.batch(at, false), false, at as u32)));
        order.extend((0..self.histograms.len()).map(|at| (self.histograms[at].time, self.batch(at, true), true, at as u32)));
        order.sort_unstable();
        order.dedup_by_key(|(time, ..)| *time);
        let of = |histogram: bool| order.iter().filter(move |o| o.2 == histogram).map(|o| o.3);
        self.histograms = of(true).map(|at| self.histograms[at as usize].clone()).collect();
        let floats: Vec<u32> = of(false).collect();
        self.pick(&floats);
        self.unordered = false;
        self.batches.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Histogram;

    use super::*;

    fn add(g: &mut Gathered, samples: &[(i64, f64)], starts: Option<&[i64]>, range: RangeInclusive<i64>) {
        g.add(samples.iter().copied(), starts.map(|s| s.iter().copied()), &range);
    }

    #[test]
    fn the_earliest_kept_sample_of_a_time_wins() {
        let mut g = Gathered::default();
        add(&mut g, &[(10, 1.0), (20, 2.0), (30, 3.0)], None, 15..=30);
        add(&mut g, &[(5, 9.0), (20, 9.0), (40, 4.0)], Some(&[1, 2, 3]), 0..=39);
        add(&mut g, &[(30, 7.0)], None, 0..=39);
        g.settle();
        assert_eq!(g.times, [5, 20, 30]);
        assert_eq!(g.values, [9.0, 2.0, 3.0]);
        assert_eq!(g.starts, [1, 0, 0]);

        let mut g = Gathered::default();
        add(&mut g, &[(29, 0.0)], None, 0..=99);
        add(&mut g, &[(29, 0.0)], Some(&[1]), 0..=99);
        g.settle();
        assert_eq!((&*g.times, &*g.starts), (&[29][..], &[][..]), "the start went with its sample");
    }

    #[test]
    fn stretches_that_stand_apart_change_places_as_wholes() {
        let mut g = Gathered::default();
        add(&mut g, &[(50, 5.0), (60, 6.0)], None, 0..=99);
        add(&mut g, &[(10, 1.0), (20, 2.0)], Some(&[7, 8]), 0..=99);
        add(&mut g, &[(30, 3.0)], None, 0..=99);
        g.settle();
        assert_eq!((&*g.times, &*g.values), (&[10, 20, 30, 50, 60][..], &[1.0, 2.0, 3.0, 5.0, 6.0][..]));
        assert_eq!(g.starts, [7, 8, 0, 0, 0]);
        assert_eq!(stretches(&[5, 6, 1, 5], &[(0, 0)]), None, "5 is in both");
        assert_eq!(stretches(&[5, 5], &[]), None);
        assert_eq!(stretches(&[], &[(0, 0)]), Some(Vec::new()));
        // A later batch fills a gap between earlier ones, which ascend together.
        assert_eq!(stretches(&[1, 5, 3], &[(0, 0), (1, 0), (2, 0)]), Some(vec![0..1, 2..3, 1..2]));
        assert_eq!(stretches(&[1, 5, 3], &[(0, 0), (2, 0)]), None, "3 lies within a batch");
    }

    #[test]
    fn that_holds_between_floats_and_histograms_as_well() {
        let histogram = |time: i64| HistogramSample { time, start: 0, histogram: Arc::new(Histogram::default()) };
        let mut g = Gathered::default();
        add(&mut g, &[(10, 1.0), (20, 2.0)], None, 0..=99);
        g.add_histograms([histogram(20), histogram(30)].into_iter());
        add(&mut g, &[(30, 3.0), (5, 4.0)], None, 0..=99);
        g.add_histograms([histogram(5), histogram(1)].into_iter());
        g.settle();
        assert_eq!((&*g.times, &*g.values), (&[5, 10, 20][..], &[4.0, 1.0, 2.0][..]));
        assert_eq!(g.histograms.iter().map(|h| h.time).collect::<Vec<_>>(), [1, 30]);
    }
}
