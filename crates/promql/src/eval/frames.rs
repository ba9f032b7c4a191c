//! The windows of all steps over one series, and functions that walk them at once.
//!
//! Series of one scrape have the same times, so where each window begins and ends, and how far a rate is stretched to its
//! edges, is worked out once for all of them. Only series of plain floats come here: without histograms, start timestamps
//! and `anchored` or `smoothed` ranges; the others are computed window by window ([`super::window::Window`]). Both ways give
//! the same bits, but for sums of windows that overlap: they are added in another order.

use super::Grid;
use super::over_time::{better, differ, variance_of};
use super::rate::Asked;
use super::select::Look;
use super::sliding::{OVERLAP, Sliding};
use super::sum::{Total, are_tame, mean_of, sum_of};
use super::value::ABSENT;

/// Computes a value for each step, [`ABSENT`] for none; `out` has one place a step.
pub(crate) type Column = fn(&mut Frames, &[f64], &mut [f64]);

/// From so many samples in a window on, extremes are carried from window to window.
const LONG: usize = 16;

/// How the difference between a window's ends becomes that of the whole range.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    sampled: f64,
    to_start: f64,
    to_end: f64,
    factor: f64,
}

/// Where the window of each step begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edges {
    pub(super) grid: Grid,
    pub(super) look: Look,
    /// Milliseconds.
    pub(super) range: i64,
}

impl Edges {
    /// Start (excluded) and end (included) of each step's window, milliseconds; neither goes back.
    pub(super) fn each(self) -> impl Iterator<Item = (i64, i64)> {
        self.grid.times().map(move |t| {
            let end = self.look.of(t);
            (end.saturating_sub(self.range), end)
        })
    }
}

/// The windows of all steps.
#[derive(Debug)]
pub(crate) struct Frames {
    edges: Edges,
    /// The times that `windows` is about.
    times: Vec<i64>,
    /// Of each step the first sample and the one after the last: half the width of positions, as steps may be millions.
    windows: Vec<(u32, u32)>,
    work: usize,
    /// Per second or not; empty where not worked out for these times.
    stretches: Vec<Stretch>,
    per_second: bool,
    /// Where values fall; kept for its memory.
    drops: Vec<usize>,
    /// What is lost at each value, where they fall often; kept for its memory.
    lost: Vec<f64>,
    sliding: Sliding,
}

/// Where a value is less than the one before, in the memory of `drops`. Gauges fall at every other sample, so there is no
/// branch to be guessed.
fn falls(values: &[f64], mut drops: Vec<usize>) -> Vec<usize> {
    drops.clear();
    if values.windows(2).fold(false, |any, pair| any | (pair[1] < pair[0])) {
        drops.resize(values.len(), 0);
        let mut count = 0;
        for (i, pair) in values.windows(2).enumerate() {
            drops[count] = i + 1;
            count += usize::from(pair[1] < pair[0]);
        }
        drops.truncate(count);
    }
    drops
}

/// Where one value in so many falls, or more: a gauge.
const OFTEN: usize = 4;

/// The value before each that is less than it; where it is not, what changes no sum.
fn losses(values: &[f64], mut lost: Vec<f64>) -> Vec<f64> {
    lost.clear();
    lost.push(-0.0);
    lost.extend(values.windows(2).map(|pair| if pair[1] < pair[0] { pair[0] } else { -0.0 }));
    lost
}

impl Frames {
    pub(super) fn new(edges: Edges) -> Self {
        Self {
            edges,
            times: Vec::new(),
            windows: Vec::new(),
            work: 0,
            stretches: Vec::new(),
            per_second: false,
            drops: Vec::new(),
            lost: Vec::new(),
            sliding: Sliding::default(),
        }
    }

    /// Bytes that a step takes; more where it is a rate's.
    pub(super) fn step_bytes(rates: bool) -> usize {
        size_of::<(u32, u32)>() + if rates { size_of::<Stretch>() } else { 0 }
    }

    /// Works out the windows over these times.
    pub(super) fn fit(&mut self, times: &[i64]) {
        if !self.windows.is_empty() && self.times == times {
            return;
        }
        self.times.clear();
        self.times.extend_from_slice(times);
        self.stretches.clear();
        self.windows.clear();
        self.windows.reserve_exact(self.edges.grid.len());
        let (mut from, mut to) = (0, 0);
        for (start, end) in self.edges.each() {
            while times.get(to).is_some_and(|t| *t <= end) {
                to += 1;
            }
            while from < to && times[from] <= start {
                from += 1;
            }
            // No series has more samples at a time: they would take 64 GiB.
            self.windows.push((from as u32, to as u32));
        }
        self.work = self.windows().map(|(from, to)| to - from).sum();
    }

    /// Samples in all windows together.
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// First sample of each step's window, and the one after the last.
    pub(super) fn windows(&self) -> impl Iterator<Item = (usize, usize)> {
        self.windows.iter().map(|(from, to)| (*from as usize, *to as usize))
    }

    /// Works out how rates are stretched: as [`super::rate`] does without a counter's zero.
    fn stretch(&mut self, per_second: bool) {
        if !self.stretches.is_empty() && self.per_second == per_second {
            return;
        }
        self.per_second = per_second;
        self.stretches.clear();
        let seconds = |ms: i64| ms as f64 / 1000.0;
        self.stretches.reserve_exact(self.windows.len());
        // Where scrapes and steps are regular, a window lies as the one before does: nothing is divided anew.
        let (mut before, mut stretch) = (None, Stretch::default());
        for ((from, to), (start, end)) in self.windows.iter().zip(self.edges.each()) {
            let (from, to) = (*from as usize, *to as usize);
            if to - from < 2 {
                self.stretches.push(Stretch::default());
                continue;
            }
            let (first, last) = (self.times[from], self.times[to - 1]);
            let lies = (to - from, first - start, last - start, end - start);
            if before != Some(lies) {
                before = Some(lies);
                stretch.sampled = seconds(last - first);
                let between = stretch.sampled / (to - from - 1) as f64;
                let reach = |gap: f64| if gap >= between * 1.1 { between / 2.0 } else { gap };
                (stretch.to_start, stretch.to_end) = (reach(seconds(first - start)), reach(seconds(end - last)));
                stretch.factor = stretch.factor(stretch.to_start, per_second.then(|| seconds(end - start)));
            }
            self.stretches.push(stretch);
        }
    }

    /// One window after the other.
    fn each(&self, values: &[f64], out: &mut [f64], f: impl Fn(&[f64]) -> f64) {
        for (out, (from, to)) in out.iter_mut().zip(self.windows()) {
            *out = if from < to { f(&values[from..to]) } else { ABSENT };
        }
    }

    /// What is made of the sum of each window: by `total` of a sum and a count, or by `each` of the values.
    fn sums(&mut self, values: &[f64], out: &mut [f64], total: impl Fn(Total, usize) -> f64, each: impl Fn(&[f64]) -> f64) {
        if self.work < OVERLAP * values.len() || !are_tame(values) {
            return self.each(values, out, each);
        }
        let mut sliding = std::mem::take(&mut self.sliding);
        sliding.clear();
        for (out, (from, to)) in out.iter_mut().zip(self.windows()) {
            *out = if from < to { total(sliding.of(values, from, to), to - from) } else { ABSENT };
        }
        self.sliding = sliding;
    }

    /// How many pairs of neighbours inside each window are as `f` says.
    fn count_pairs(&self, values: &[f64], out: &mut [f64], f: impl Fn(f64, f64) -> bool) {
        let mut until = Vec::with_capacity(values.len());
        let mut count = 0_u32;
        until.push(0);
        for pair in values.windows(2) {
            count += u32::from(f(pair[0], pair[1]));
            until.push(count);
        }
        for (out, (from, to)) in out.iter_mut().zip(self.windows()) {
            *out = if from < to { f64::from(until[to - 1] - until[from]) } else { ABSENT };
        }
    }

    fn rates(&mut self, asked: Asked, values: &[f64], out: &mut [f64]) {
        self.stretch(asked.per_second);
        let drops = std::mem::take(&mut self.drops);
        let drops = if asked.counter { falls(values, drops) } else { Vec::new() };
        // Windows of a gauge hold ever other numbers of falls, which cannot be guessed; their values are as many.
        let often = drops.len() * OFTEN >= values.len();
        let lost = std::mem::take(&mut self.lost);
        let lost = if often { losses(values, lost) } else { lost };
        let (mut drop_from, mut drop_to) = (0, 0);
        for (((out, (from, to)), stretch), (start, end)) in
            out.iter_mut().zip(self.windows()).zip(&self.stretches).zip(self.edges.each())
        {
            if to - from < 2 {
                *out = ABSENT;
                continue;
            }
            let (first, last) = (values[from], values[to - 1]);
            let mut result = last - first;
            if often {
                lost[from + 1..to].iter().for_each(|before| result += before);
            } else if !drops.is_empty() {
                while drops.get(drop_to).is_some_and(|i| *i < to) {
                    drop_to += 1;
                }
                while drop_from < drop_to && drops[drop_from] <= from {
                    drop_from += 1;
                }
                drops[drop_from..drop_to].iter().for_each(|i| result += values[i - 1]);
            }
            let mut factor = stretch.factor;
            // A counter is not stretched to before its zero; from that it is further than the window is wide where it has not
            // doubled, which needs no division.
            let far = first >= result && stretch.sampled >= stretch.to_start;
            if asked.counter && result > 0.0 && first >= 0.0 && !far {
                let to_zero = stretch.sampled * (first / result);
                if to_zero < stretch.to_start {
                    factor = stretch.factor(to_zero, asked.per_second.then(|| (end - start) as f64 / 1000.0));
                }
            }
            *out = result * factor;
        }
        (self.drops, self.lost) = (drops, lost);
    }

    fn instants(&self, rate: bool, values: &[f64], out: &mut [f64]) {
        for (out, (from, to)) in out.iter_mut().zip(self.windows()) {
            if to - from < 2 {
                *out = ABSENT;
                continue;
            }
            let (before, last) = (values[to - 2], values[to - 1]);
            *out = if rate {
                let increase = if last < before { last } else { last - before };
                increase / ((self.times[to - 1] - self.times[to - 2]) as f64 / 1000.0)
            } else {
                last - before
            };
        }
    }

    /// The largest or smallest value of each window; of equals the first, NaN only where there is nothing else.
    fn extremes(&self, max: bool, values: &[f64], out: &mut [f64]) {
        let longest = self.windows().map(|(from, to)| to - from).max().unwrap_or(0);
        if longest < LONG {
            return self.each(values, out, |w| {
                w[1..].iter().fold(w[0], |best, v| if better(max, *v, best) || best.is_nan() { *v } else { best })
            });
        }
        // What may yet be an extreme: each no better than the one before.
        let mut candidates: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
        let mut seen = 0;
        for (out, (from, to)) in out.iter_mut().zip(self.windows()) {
            for at in seen..to {
                if values[at].is_nan() {
                    continue;
                }
                while candidates.back().is_some_and(|c| better(max, values[at], values[*c])) {
                    candidates.pop_back();
                }
                candidates.push_back(at);
            }
            seen = seen.max(to);
            while candidates.front().is_some_and(|c| *c < from) {
                candidates.pop_front();
            }
            *out = match candidates.front() {
                _ if from == to => ABSENT,
                Some(best) => values[*best],
                None => f64::NAN,
            };
        }
    }
}

impl Stretch {
    /// What the difference is multiplied with; `range` in seconds, for a rate.
    fn factor(&self, to_start: f64, range: Option<f64>) -> f64 {
        let factor = if self.sampled == 0.0 { 1.0 } else { (self.sampled + to_start + self.to_end) / self.sampled };
        range.map_or(factor, |range| factor / range)
    }
}

pub(crate) fn rate(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.rates(Asked { counter: true, per_second: true }, values, out);
}

pub(crate) fn increase(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.rates(Asked { counter: true, per_second: false }, values, out);
}

pub(crate) fn delta(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.rates(Asked { counter: false, per_second: false }, values, out);
}

pub(crate) fn irate(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.instants(true, values, out);
}

pub(crate) fn idelta(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.instants(false, values, out);
}

pub(crate) fn count(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |w| w.len() as f64);
}

pub(crate) fn present(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |_| 1.0);
}

pub(crate) fn first(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |w| w[0]);
}

pub(crate) fn last(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |w| w[w.len() - 1]);
}

pub(crate) fn sum(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.sums(values, out, |total, _| total.sum(), sum_of);
}

pub(crate) fn avg(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.sums(values, out, Total::mean, |w| mean_of(w).unwrap_or(ABSENT));
}

pub(crate) fn max(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.extremes(true, values, out);
}

pub(crate) fn min(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.extremes(false, values, out);
}

pub(crate) fn stdvar(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |w| variance_of(w).unwrap_or(ABSENT));
}

pub(crate) fn stddev(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.each(values, out, |w| variance_of(w).map_or(ABSENT, f64::sqrt));
}

pub(crate) fn changes(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.count_pairs(values, out, differ);
}

pub(crate) fn resets(f: &mut Frames, values: &[f64], out: &mut [f64]) {
    f.count_pairs(values, out, |before, now| now < before);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::window::{Point, Window};
    use crate::functions::{self, Kind};
    use crate::notes::Notes;

    const FUNCTIONS: [&str; 17] = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "count_over_time",
        "present_over_time",
        "first_over_time",
        "last_over_time",
        "sum_over_time",
        "avg_over_time",
        "max_over_time",
        "min_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "changes",
        "resets",
    ];

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0_u32..20).prop_map(f64::from),
            4 => -1e6..1e6,
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(-0.0), Just(1e308)],
        ]
    }

    proptest! {
        /// Two series of the same times and one of other times go through the same frames.
        #[test]
        fn all_steps_at_once_say_what_each_window_says(
            samples in proptest::collection::vec((1_i64..60_000, value(), value()), 1..80),
            range in 1_i64..900_000,
            step in 1_i64..120_000,
            steps in 1_usize..40,
            start in -100_000_i64..1_000_000,
            regular in proptest::option::of(1_i64..20_000),
        ) {
            let step = regular.map_or(step, |gap| gap * (1 + step % 4));
            let times: Vec<i64> =
                samples.iter().scan(0, |t, (gap, ..)| { *t += regular.unwrap_or(*gap); Some(*t) }).collect();
            let first: Vec<f64> = samples.iter().map(|(_, v, _)| *v).collect();
            let second: Vec<f64> = samples.iter().map(|(_, _, v)| *v).collect();
            let half = times.len().div_ceil(2);
            let grid = Grid { start, end: start + (steps as i64 - 1) * step, step };
            let asked = Edges { grid, look: Look::default(), range };
            let edges: Vec<(i64, i64)> = (0..steps as i64).map(|i| (start + i * step - range, start + i * step)).collect();
            let notes = Notes::default();
            for name in FUNCTIONS {
                let Some(Kind::Window(function)) = functions::find(name).map(|f| f.kind) else { panic!("{name}") };
                let Some(column) = function.column else { panic!("{name}") };
                let mut frames = Frames::new(asked);
                for (times, values) in [(&times[..], &first[..]), (&times[..], &second[..]), (&times[..half], &first[..half])] {
                    let mut out = vec![0.0; steps];
                    frames.fit(times);
                    column(&mut frames, values, &mut out);
                    for ((start, end), got) in edges.iter().zip(out) {
                        let from = times.partition_point(|t| t <= start);
                        let to = times.partition_point(|t| t <= end).max(from);
                        let drops: Vec<usize> = (from + 1..to).filter(|i| values[*i] < values[i - 1]).collect();
                        let window = Window {
                            times: &times[from..to],
                            values: &values[from..to],
                            starts: &[],
                            drops: &drops,
                            offset: from,
                            histograms: &[],
                            start: *start,
                            end: *end,
                            now: *end,
                            args: [0.0; 2],
                            extension: None,
                            metric: "",
                            at: 0,
                            notes: &notes,
                        };
                        let told = if from == to { Point::Absent } else { (function.compute)(&window) };
                        let told = if let Point::Float(v) = told { v } else { ABSENT };
                        let size: f64 = values[from..to].iter().map(|v| v.abs()).sum();
                        let added = ["sum_over_time", "avg_over_time"].contains(&name);
                        let near = added && (told - got).abs() <= 2.0 * f64::EPSILON * told.abs() + 1e-26 * size;
                        let same = near || told.to_bits() == got.to_bits() || (told.is_nan() && got.is_nan() && told.to_bits() != ABSENT.to_bits() && got.to_bits() != ABSENT.to_bits());
                        prop_assert!(same, "{name} of {:?}: {told} or {got}", &values[from..to]);
                    }
                }
            }
        }
    }
}
