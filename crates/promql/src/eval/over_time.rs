//! Functions of a range that fold its samples, after `promql/functions.go` of the reference.

use std::sync::Arc;

use model::{Histogram, HistogramSum, IncompatibleBuckets, ResetHint};

use super::sum::{add, mean_of, quantile_of, sum_of};
use super::window::{Point, Window, is_start_reset};
use crate::ast::Extension;
use crate::notes::{Note, Operation};

pub(crate) fn count(w: &Window<'_>) -> Point {
    Point::Float((w.values.len() + w.histograms.len()) as f64)
}

pub(crate) fn present(_: &Window<'_>) -> Point {
    Point::Float(1.0)
}

pub(crate) fn first(w: &Window<'_>) -> Point {
    match (w.times.first(), w.histograms.first()) {
        (Some(t), Some(h)) if h.time <= *t => Point::Histogram(h.histogram.clone()),
        (Some(_), _) => w.values.first().copied().into(),
        (None, h) => h.map_or(Point::Absent, |h| Point::Histogram(h.histogram.clone())),
    }
}

pub(crate) fn last(w: &Window<'_>) -> Point {
    match (w.times.last(), w.histograms.last()) {
        (Some(t), Some(h)) if h.time >= *t => Point::Histogram(h.histogram.clone()),
        (Some(_), _) => w.values.last().copied().into(),
        (None, h) => h.map_or(Point::Absent, |h| Point::Histogram(h.histogram.clone())),
    }
}

pub(crate) fn ts_of_first(w: &Window<'_>) -> Point {
    let times = [w.times.first().copied(), w.histograms.first().map(|h| h.time)];
    times.into_iter().flatten().min().map(|t| t as f64 / 1000.0).into()
}

pub(crate) fn ts_of_last(w: &Window<'_>) -> Point {
    let times = [w.times.last().copied(), w.histograms.last().map(|h| h.time)];
    times.into_iter().flatten().max().map(|t| t as f64 / 1000.0).into()
}

pub(crate) fn sum(w: &Window<'_>) -> Point {
    if w.is_mixed() {
        return Point::Absent;
    }
    if w.values.is_empty() {
        return of_histograms(w, |mut total, rest, notes| {
            for h in rest {
                notes.bounds |= total.add(h, 1.0)?.bounds_reconciled;
            }
            Ok(total.get())
        });
    }
    Point::Float(sum_of(w.values))
}

pub(crate) fn avg(w: &Window<'_>) -> Point {
    if w.is_mixed() {
        return Point::Absent;
    }
    if w.values.is_empty() {
        return of_histograms(w, |total, rest, notes| {
            let mut mean = HistogramMean::new(total);
            for h in rest {
                notes.bounds |= mean.add(h)?;
            }
            Ok(mean.get())
        });
    }
    mean_of(w.values).into()
}

/// A mean of histograms, as [`super::sum::Mean`] is of numbers.
#[derive(Debug, Clone)]
pub(crate) struct HistogramMean {
    total: HistogramSum,
    count: f64,
    moving: bool,
}

impl HistogramMean {
    pub(crate) fn new(first: HistogramSum) -> Self {
        Self { total: first, count: 1.0, moving: false }
    }

    /// Whether custom bounds had to be reconciled.
    pub(crate) fn add(&mut self, h: &Histogram) -> Result<bool, IncompatibleBuckets> {
        self.count += 1.0;
        if !self.moving {
            let mut total = self.total.clone();
            let merged = total.add(h, 1.0)?;
            if !total.has_overflow() {
                self.total = total;
                return Ok(merged.bounds_reconciled);
            }
            self.moving = true;
            self.total.divide(self.count - 1.0);
        }
        let mut part = h.clone();
        part.divide(self.count);
        self.total.multiply((self.count - 1.0) / self.count);
        Ok(self.total.add(&part, 1.0)?.bounds_reconciled)
    }

    pub(crate) fn get(&self) -> Histogram {
        let mut mean = self.total.clone();
        if !self.moving {
            mean.divide(self.count);
        }
        mean.get()
    }
}

/// What is remarkable about histograms that are folded into one.
#[derive(Default)]
struct Remarks {
    bounds: bool,
}

/// Folds the window's histograms.
fn of_histograms(
    w: &Window<'_>,
    fold: impl FnOnce(HistogramSum, &mut dyn Iterator<Item = &Histogram>, &mut Remarks) -> Result<Histogram, IncompatibleBuckets>,
) -> Point {
    let Some((first, rest)) = w.histograms.split_first() else { return Point::Absent };
    let has = |hint| w.histograms.iter().any(|h| h.histogram.reset_hint == hint);
    let collide = has(ResetHint::Reset) && has(ResetHint::NoReset);
    let mut remarks = Remarks::default();
    let folded = fold(HistogramSum::from(&*first.histogram), &mut rest.iter().map(|h| &*h.histogram), &mut remarks);
    let Ok(folded) = folded else {
        w.note(Note::MixedExponentialCustom(w.metric));
        return Point::Absent;
    };
    if collide {
        w.note(Note::HintsCollide(Operation::Aggregation));
    }
    if remarks.bounds {
        w.note(Note::BoundsReconciled(Operation::Aggregation));
    }
    Point::histogram(folded)
}

fn extreme(w: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<usize> {
    w.leave_out_histograms();
    let mut best = 0;
    for (i, v) in w.values.iter().enumerate() {
        if better(*v, w.values[best]) || w.values[best].is_nan() {
            best = i;
        }
    }
    (!w.values.is_empty()).then_some(best)
}

/// Whether one value is more (or, if not `max`, less) than another.
#[inline]
pub(super) fn better(max: bool, value: f64, best: f64) -> bool {
    if max { value > best } else { value < best }
}

/// Whether values differ; one NaN is as good as the other.
#[inline]
pub(super) fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

pub(crate) fn max(w: &Window<'_>) -> Point {
    extreme(w, |v, best| better(true, v, best)).map(|i| w.values[i]).into()
}

pub(crate) fn min(w: &Window<'_>) -> Point {
    extreme(w, |v, best| better(false, v, best)).map(|i| w.values[i]).into()
}

/// Of equal extremes the last one's time.
pub(crate) fn ts_of_max(w: &Window<'_>) -> Point {
    extreme(w, |v, best| v >= best).map(|i| w.times[i] as f64 / 1000.0).into()
}

pub(crate) fn ts_of_min(w: &Window<'_>) -> Point {
    extreme(w, |v, best| v <= best).map(|i| w.times[i] as f64 / 1000.0).into()
}

pub(crate) fn stdvar(w: &Window<'_>) -> Point {
    variance(w).into()
}

pub(crate) fn stddev(w: &Window<'_>) -> Point {
    variance(w).map(f64::sqrt).into()
}

fn variance(w: &Window<'_>) -> Option<f64> {
    w.leave_out_histograms();
    variance_of(w.values)
}

/// Variance of the values; none where there are none.
pub(super) fn variance_of(values: &[f64]) -> Option<f64> {
    let (mut count, mut mean, mut mean_error, mut aux, mut aux_error) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for v in values {
        count += 1.0;
        let delta = v - (mean + mean_error);
        (mean, mean_error) = add(delta / count, mean, mean_error);
        (aux, aux_error) = add(delta * (v - (mean + mean_error)), aux, aux_error);
    }
    (count > 0.0).then(|| (aux + aux_error) / count)
}

pub(crate) fn quantile(w: &Window<'_>) -> Point {
    if w.values.is_empty() {
        return Point::Absent;
    }
    let q = w.args[0];
    if !(0.0..=1.0).contains(&q) {
        w.note(Note::InvalidQuantile(q));
    }
    w.leave_out_histograms();
    Point::Float(quantile_of(q, &mut w.values.to_vec()))
}

/// Median of the absolute distances to the median.
pub(crate) fn mad(w: &Window<'_>) -> Point {
    if w.values.is_empty() {
        return Point::Absent;
    }
    w.leave_out_histograms();
    if w.values.iter().any(|v| v.is_nan()) {
        return Point::Float(f64::NAN);
    }
    let mut values = w.values.to_vec();
    let median = quantile_of(0.5, &mut values);
    values.iter_mut().for_each(|v| *v = (*v - median).abs());
    Point::Float(quantile_of(0.5, &mut values))
}

pub(crate) fn changes(w: &Window<'_>) -> Point {
    count_between(w, |a, b| match (a, b) {
        (Sample::Float { value: a, .. }, Sample::Float { value: b, .. }) => differ(a, b),
        (Sample::Histogram { histogram: a, .. }, Sample::Histogram { histogram: b, .. }) => !b.same(a),
        _ => true,
    })
}

pub(crate) fn resets(w: &Window<'_>) -> Point {
    if w.histograms.is_empty() && w.starts.is_empty() && w.extension.is_none() {
        return Point::Float(w.drops.len() as f64);
    }
    count_between(w, |a, b| {
        is_start_reset(a.start(), a.time(), b.start(), b.time())
            || match (a, b) {
                (Sample::Float { value: a, .. }, Sample::Float { value: b, .. }) => b < a,
                (Sample::Histogram { histogram: a, .. }, Sample::Histogram { histogram: b, .. }) => b.is_reset_after(a),
                _ => true,
            }
    })
}

/// A sample of either kind.
#[derive(Clone, Copy)]
enum Sample<'a> {
    Float { time: i64, start: i64, value: f64 },
    Histogram { time: i64, start: i64, histogram: &'a Arc<Histogram> },
}

impl Sample<'_> {
    fn time(&self) -> i64 {
        let (Self::Float { time, .. } | Self::Histogram { time, .. }) = self;
        *time
    }

    fn start(&self) -> i64 {
        let (Self::Float { start, .. } | Self::Histogram { start, .. }) = self;
        *start
    }
}

/// How many pairs of neighbours are as `f` says. An anchored range begins with the last sample before it.
fn count_between(w: &Window<'_>, f: impl Fn(Sample<'_>, Sample<'_>) -> bool) -> Point {
    let floats = w.times.iter().zip(w.values).enumerate();
    let mut floats =
        floats.map(|(i, (time, value))| Sample::Float { time: *time, start: w.start_of(i), value: *value }).peekable();
    let mut histograms =
        w.histograms.iter().map(|h| Sample::Histogram { time: h.time, start: h.start, histogram: &h.histogram }).peekable();
    let (mut count, mut before, mut inside): (u64, Option<Sample<'_>>, bool) = (0, None, false);
    loop {
        let sample = match (floats.peek(), histograms.peek()) {
            (Some(f), Some(h)) if h.time() < f.time() => histograms.next(),
            (None, Some(_)) => histograms.next(),
            _ => floats.next(),
        };
        let Some(sample) = sample else { break };
        // What lies before an anchored range counts only as the one before its first sample.
        inside = w.extension != Some(Extension::Anchored) || sample.time() > w.start;
        if inside && let Some(before) = before {
            count += u64::from(f(before, sample));
        }
        before = Some(sample);
    }
    if inside { Point::Float(count as f64) } else { Point::Absent }
}
