//! `rate` and its family, after `promql/functions.go` of the reference.

use model::{Histogram, ResetHint};
use store::HistogramSample;

use super::extended;
use super::window::{Point, Window, is_start_reset, starts_overlap};
use crate::notes::{Note, Operation};

/// What a function of the family asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// A counter's increase rather than a gauge's difference.
    pub(super) counter: bool,
    pub(super) per_second: bool,
}

pub(crate) fn rate(w: &Window<'_>) -> Point {
    extrapolated(w, Asked { counter: true, per_second: true })
}

pub(crate) fn increase(w: &Window<'_>) -> Point {
    extrapolated(w, Asked { counter: true, per_second: false })
}

pub(crate) fn delta(w: &Window<'_>) -> Point {
    extrapolated(w, Asked { counter: false, per_second: false })
}

/// First and last time, and how much was counted at first and since.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: i64,
    last: i64,
    intervals: usize,
    /// Start timestamp of the first sample.
    start: i64,
}

/// The increase between first and last sample, stretched to the edges of the range where the samples come near enough to
/// them, but not to before a counter's zero.
fn extrapolated(w: &Window<'_>, asked: Asked) -> Point {
    if w.is_mixed() {
        return Point::Absent;
    }
    if w.extension.is_some() {
        return extended::rate(w, asked);
    }
    if w.values.is_empty() { of_histograms(w, asked) } else { of_floats(w, asked).into() }
}

fn of_floats(w: &Window<'_>, asked: Asked) -> Option<f64> {
    let (first, last) = (*w.values.first()?, *w.values.last()?);
    let run = Run {
        first: *w.times.first()?,
        last: *w.times.last()?,
        intervals: w.values.len() - 1,
        start: if asked.counter { w.start_of(0) } else { 0 },
    };
    let mut result = last - first;
    if asked.counter {
        if w.starts.is_empty() {
            w.falls().for_each(|i| result += w.values[i - 1]);
        } else {
            let mut overlap = false;
            for i in 1..w.values.len() {
                let (before, now) = ((w.start_of(i - 1), w.times[i - 1]), (w.start_of(i), w.times[i]));
                overlap |= starts_overlap(before.0, before.1, now.0);
                if w.values[i] < w.values[i - 1] || is_start_reset(before.0, before.1, now.0, now.1) {
                    result += w.values[i - 1];
                }
            }
            if overlap {
                w.note(Note::StartTimeOverlap(w.metric));
            }
        }
    }
    let starts_inside = run.starts_inside(w);
    if starts_inside {
        // At its start the counter was zero.
        result += first;
    } else if run.intervals == 0 {
        return None;
    }
    let zero = (asked.counter && result > 0.0 && first >= 0.0).then(|| first / result);
    Some(result * run.factor(w, asked, starts_inside, zero))
}

fn of_histograms(w: &Window<'_>, asked: Asked) -> Point {
    let (Some(first), Some(last)) = (w.histograms.first(), w.histograms.last()) else { return Point::Absent };
    let run = Run {
        first: first.time,
        last: last.time,
        intervals: w.histograms.len() - 1,
        start: if asked.counter { first.start } else { 0 },
    };
    let mut result = if run.intervals == 0 {
        None
    } else {
        let Some(result) = difference(w, asked.counter) else { return Point::Absent };
        Some(result)
    };
    let starts_inside = run.starts_inside(w);
    if starts_inside {
        result = match result {
            None => Some(Histogram::clone(&first.histogram)),
            Some(result) => match result.plus(&first.histogram) {
                Ok((sum, merged)) => {
                    if merged.bounds_reconciled {
                        w.note(Note::BoundsReconciled(Operation::Addition));
                    }
                    Some(sum)
                }
                Err(_) => {
                    w.note(Note::MixedExponentialCustom(w.metric));
                    None
                }
            },
        };
    }
    let Some(mut result) = result else { return Point::Absent };
    let zero =
        (asked.counter && result.count > 0.0 && first.histogram.count >= 0.0).then(|| first.histogram.count / result.count);
    result.multiply(run.factor(w, asked, starts_inside, zero));
    Point::histogram(result)
}

impl Run {
    /// Whether the first sample says that it began inside the range, which is open on the left.
    fn starts_inside(&self, w: &Window<'_>) -> bool {
        self.start != 0 && self.start > w.start && self.start < self.first
    }

    /// What the increase between the samples is multiplied with. `zero`: how many times the run's length before its first
    /// sample the counter was zero, if it grew evenly.
    fn factor(&self, w: &Window<'_>, asked: Asked, starts_inside: bool, zero: Option<f64>) -> f64 {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let (mut to_start, mut to_end) = (seconds(self.first - w.start), seconds(w.end - self.last));
        let mut sampled = seconds(self.last - self.first);
        let between = if self.intervals > 0 { sampled / self.intervals as f64 } else { 0.0 };
        // Nearer than a tenth more than usual: the series goes on to the edge; else it begins or ends half an interval off.
        let threshold = between * 1.1;
        if starts_inside {
            to_start = 0.0;
            sampled = seconds(self.last - self.start);
        } else {
            if to_start >= threshold {
                to_start = between / 2.0;
            }
            if let Some(zero) = zero {
                to_start = to_start.min(sampled * zero);
            }
        }
        if to_end >= threshold {
            to_end = between / 2.0;
        }
        let factor = if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled };
        if asked.per_second { factor / w.seconds() } else { factor }
    }
}

/// The difference between the last histogram and the first, resets of a counter made up for; at least two are there.
fn difference(w: &Window<'_>, counter: bool) -> Option<Histogram> {
    let incompatible = || {
        w.note(Note::MixedExponentialCustom(w.metric));
        None
    };
    let [first, .., last] = w.histograms else { return None };
    let second = &w.histograms[1];
    let is_gauge = |h: &HistogramSample| h.histogram.reset_hint == ResetHint::Gauge;
    if counter && w.histograms.iter().any(is_gauge) {
        w.note(Note::NotCounter(w.metric));
    }
    let is_reset = |before: &HistogramSample, base: &Histogram, now: &HistogramSample| {
        is_start_reset(before.start, before.time, now.start, now.time) || now.histogram.is_reset_after(base)
    };
    // What the first one counted before a reset does not matter, nor does its layout.
    let nothing = || Histogram {
        schema: second.histogram.schema,
        custom_bounds: second.histogram.custom_bounds.clone(),
        ..Histogram::default()
    };
    let reset_at_once = counter && is_reset(first, &first.histogram, second);
    let base = if reset_at_once { &nothing() } else { &*first.histogram };
    let custom = base.has_custom_buckets();
    let inner = if counter { &w.histograms[1..] } else { std::slice::from_ref(last) };
    if inner.iter().any(|h| h.histogram.has_custom_buckets() != custom) {
        return incompatible();
    }
    let Ok((mut result, merged)) = last.histogram.minus(base) else { return incompatible() };
    let mut reconciled = merged.bounds_reconciled;
    if reconciled {
        w.note(Note::BoundsReconciled(Operation::Subtraction));
    }
    if counter {
        let mut overlap = false;
        let mut base = base;
        reconciled = false;
        for pair in w.histograms.windows(2) {
            let [before, now] = pair else { continue };
            overlap |= starts_overlap(before.start, before.time, now.start);
            if is_reset(before, base, now) {
                let Ok((sum, merged)) = result.plus(base) else { return incompatible() };
                (result, reconciled) = (sum, reconciled || merged.bounds_reconciled);
            }
            base = &now.histogram;
        }
        if reconciled {
            w.note(Note::BoundsReconciled(Operation::Addition));
        }
        if overlap {
            w.note(Note::StartTimeOverlap(w.metric));
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        w.note(Note::NotGauge(w.metric));
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

pub(crate) fn irate(w: &Window<'_>) -> Point {
    instant(w, true)
}

pub(crate) fn idelta(w: &Window<'_>) -> Point {
    instant(w, false)
}

/// From the last two samples, of whichever kind.
fn instant(w: &Window<'_>, rate: bool) -> Point {
    let (floats, histograms) = (w.times, w.histograms);
    // How many of the last two samples are floats.
    let of_floats = match (floats, histograms) {
        ([.., _, _], []) => 2,
        ([], [.., _, _]) => 0,
        ([.., f], [.., h]) => {
            let second_float = floats.len().checked_sub(2).map(|i| floats[i]);
            let second_histogram = histograms.len().checked_sub(2).map(|i| histograms[i].time);
            if second_float > Some(h.time) {
                2
            } else if second_histogram > Some(*f) {
                0
            } else {
                1
            }
        }
        _ => return Point::Absent,
    };
    match of_floats {
        2 => {
            let (i, j) = (w.values.len() - 2, w.values.len() - 1);
            let (before, last) = (w.values[i], w.values[j]);
            if floats[i] == floats[j] {
                return Point::Absent;
            }
            if !rate {
                return Point::Float(last - before);
            }
            // After a reset the counter started from zero.
            let reset = last < before || is_start_reset(w.start_of(i), floats[i], w.start_of(j), floats[j]);
            let increase = if reset { last } else { last - before };
            Point::Float(increase / ((floats[j] - floats[i]) as f64 / 1000.0))
        }
        0 => {
            let [.., before, last] = histograms else { return Point::Absent };
            let gauges = [before, last].map(|h| h.histogram.reset_hint == ResetHint::Gauge);
            if rate && gauges.contains(&true) {
                w.note(Note::NotCounter(w.metric));
            }
            if !rate && gauges.contains(&false) {
                w.note(Note::NotGauge(w.metric));
            }
            let reset = rate
                && (is_start_reset(before.start, before.time, last.start, last.time)
                    || last.histogram.is_reset_after(&before.histogram));
            let mut result = if reset {
                Histogram::clone(&last.histogram)
            } else {
                let Ok((result, merged)) = last.histogram.minus(&before.histogram) else {
                    w.note(Note::MixedExponentialCustom(w.metric));
                    return Point::Absent;
                };
                if merged.bounds_reconciled {
                    w.note(Note::BoundsReconciled(Operation::Subtraction));
                }
                result
            };
            result.reset_hint = ResetHint::Gauge;
            result.compact();
            if rate {
                result.divide((last.time - before.time) as f64 / 1000.0);
            }
            Point::histogram(result)
        }
        _ => {
            w.note(Note::MixedFloatsHistograms(w.metric));
            Point::Absent
        }
    }
}
