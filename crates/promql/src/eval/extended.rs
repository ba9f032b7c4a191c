//! `anchored` and `smoothed`: rates that begin and end at the edges of their range, after proposal PROM-52.

use std::sync::Arc;

use model::{Histogram, IncompatibleBuckets, ResetHint};
use store::HistogramSample;

use super::rate::Asked;
use super::window::{Point, Window};
use crate::ast::Extension;
use crate::notes::{Note, Notes, Operation};

/// Where the samples at the edges of a range stand: the last one at or before its start (or the first one of all), and the
/// last one, or, where values are interpolated, the first one at or after the end.
fn edges(count: usize, time: impl Fn(usize) -> i64, start: i64, end: i64, smoothed: bool) -> Option<(usize, usize)> {
    let last = count.checked_sub(1)?;
    let partition = |before: &dyn Fn(i64) -> bool| {
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(time(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    };
    let first = partition(&|t| t <= start).saturating_sub(1);
    let last = if smoothed { partition(&|t| t < end) } else { last };
    (time(last) > start && !(smoothed && time(first) > end)).then_some((first, last))
}

pub(super) fn rate(w: &Window<'_>, asked: Asked) -> Point {
    if w.values.is_empty() {
        return of_histograms(w, asked).unwrap_or_else(|IncompatibleBuckets| {
            w.note(Note::MixedExponentialCustom(w.metric));
            Point::Absent
        });
    }
    of_floats(w, asked).into()
}

/// The value at `t` on the line between two samples; a counter that was reset between them started from zero.
pub(super) fn between(a: (i64, f64), b: (i64, f64), t: i64, counter: bool) -> f64 {
    let from = if counter && b.1 < a.1 { 0.0 } else { a.1 };
    from + (b.1 - from) * (t - a.0) as f64 / (b.0 - a.0) as f64
}

fn of_floats(w: &Window<'_>, asked: Asked) -> Option<f64> {
    let smoothed = w.extension == Some(Extension::Smoothed);
    let (mut first, last) = edges(w.times.len(), |i| w.times[i], w.start, w.end, smoothed)?;
    let at = |i: usize| (w.times[i], w.values[i]);
    let left = if smoothed && w.times[first] < w.start {
        between(at(first), at(first + 1), w.start, asked.counter)
    } else {
        w.values[first]
    };
    let right = if smoothed && last > 0 && w.times[last] > w.end {
        between(at(last - 1), at(last), w.end, asked.counter)
    } else {
        w.values[last]
    };
    let mut result = right - left;
    if asked.counter {
        if w.times[first] <= w.start {
            first += 1;
        }
        // Up to, without, the sample at or behind the end.
        let inside = if w.times[last] >= w.end { last } else { last + 1 };
        let mut before = left;
        for value in w.values.get(first..inside).unwrap_or_default().iter().chain([&right]) {
            if *value < before {
                result += before;
            }
            before = *value;
        }
    }
    Some(if asked.per_second { result / w.seconds() } else { result })
}

/// The histogram at `t` on the line between two samples, and whether custom bounds had to be reconciled.
pub(super) fn histogram_between(
    a: &HistogramSample,
    b: &HistogramSample,
    t: i64,
    counter: bool,
    note: &dyn Fn(Note<'_>),
) -> Result<Arc<Histogram>, IncompatibleBuckets> {
    if t == a.time {
        return Ok(a.histogram.clone());
    }
    if t == b.time {
        return Ok(b.histogram.clone());
    }
    let fraction = (t - a.time) as f64 / (b.time - a.time) as f64;
    if counter && b.histogram.is_reset_after(&a.histogram) {
        let mut h = Histogram::clone(&b.histogram);
        h.multiply(fraction);
        return Ok(Arc::new(h));
    }
    let (mut h, merged) = b.histogram.minus(&a.histogram)?;
    if merged.bounds_reconciled {
        note(Note::BoundsReconciled(Operation::Subtraction));
    }
    h.multiply(fraction);
    let (h, merged) = h.plus(&a.histogram)?;
    if merged.bounds_reconciled {
        note(Note::BoundsReconciled(Operation::Addition));
    }
    Ok(Arc::new(h))
}

fn of_histograms(w: &Window<'_>, asked: Asked) -> Result<Point, IncompatibleBuckets> {
    let (h, smoothed) = (w.histograms, w.extension == Some(Extension::Smoothed));
    let Some((first, last)) = edges(h.len(), |i| h[i].time, w.start, w.end, smoothed) else { return Ok(Point::Absent) };
    let custom = h[first].histogram.has_custom_buckets();
    for sample in &h[first..=last] {
        if sample.histogram.has_custom_buckets() != custom {
            return Err(IncompatibleBuckets);
        }
        if asked.counter && sample.histogram.reset_hint == ResetHint::Gauge {
            w.note(Note::NotCounter(w.metric));
        }
    }
    let note = |note: Note<'_>| w.note(note);
    let left_between = smoothed && h[first].time < w.start;
    let left = if left_between {
        histogram_between(&h[first], &h[first + 1], w.start, asked.counter, &note)?
    } else {
        h[first].histogram.clone()
    };
    let right = if smoothed && last > 0 && h[last].time > w.end {
        histogram_between(&h[last - 1], &h[last], w.end, asked.counter, &note)?
    } else {
        h[last].histogram.clone()
    };
    if !asked.counter && [&left, &right].iter().any(|h| h.reset_hint != ResetHint::Gauge) {
        w.note(Note::NotGauge(w.metric));
    }
    let (mut result, merged) = right.minus(&left)?;
    if merged.bounds_reconciled {
        w.note(Note::BoundsReconciled(Operation::Subtraction));
    }
    if asked.counter {
        let mut before: &Histogram = &left;
        let mut next = first + 1;
        if left_between && h[next].histogram.is_reset_after(&h[first].histogram) {
            // The left edge made up for this reset already.
            before = &h[next].histogram;
            next += 1;
        }
        // The right edge stands for the last sample.
        if next <= last {
            for sample in h[next..last].iter().map(|s| &s.histogram).chain([&right]) {
                if sample.is_reset_after(before) {
                    let (sum, merged) = result.plus(before)?;
                    if merged.bounds_reconciled {
                        w.note(Note::BoundsReconciled(Operation::Addition));
                    }
                    result = sum;
                }
                before = sample;
            }
        }
    }
    if asked.per_second {
        result.divide(w.seconds());
    }
    result.reset_hint = ResetHint::Gauge;
    result.compact();
    Ok(Point::histogram(result))
}

/// The value of a `smoothed` instant selector at `t`, of the samples around it.
pub(super) fn smooth(
    times: &[i64],
    values: &[f64],
    histograms: &[HistogramSample],
    t: i64,
    metric: &str,
    at: usize,
    notes: &Notes,
) -> Point {
    if !times.is_empty() && !histograms.is_empty() {
        notes.add(at, Note::MixedFloatsHistograms(metric));
        return Point::Absent;
    }
    let i = times.partition_point(|time| *time < t);
    if times.get(i) == Some(&t) {
        return Point::Float(values[i]);
    }
    if i > 0 {
        let before = (times[i - 1], values[i - 1]);
        return Point::Float(times.get(i).map_or(before.1, |next| between(before, (*next, values[i]), t, false)));
    }
    let i = histograms.partition_point(|h| h.time < t);
    let before = i.checked_sub(1).map(|i| &histograms[i]);
    match (before, histograms.get(i)) {
        (_, Some(h)) if h.time == t => Point::Histogram(h.histogram.clone()),
        (Some(a), Some(b)) => match histogram_between(a, b, t, false, &|note| notes.add(at, note)) {
            Ok(h) => Point::Histogram(h),
            Err(IncompatibleBuckets) => {
                notes.add(at, Note::MixedExponentialCustom(metric));
                Point::Absent
            }
        },
        (Some(a), None) => Point::Histogram(a.histogram.clone()),
        (None, _) => Point::Absent,
    }
}

/// The floats of a range with values at both of its edges: what an extended range selector shows by itself.
pub(super) fn extend(times: &[i64], values: &[f64], start: i64, end: i64, smoothed: bool) -> Vec<(i64, f64)> {
    let Some((first, last)) = edges(times.len(), |i| times[i], start, end, smoothed) else { return Vec::new() };
    let at = |i: usize| (times[i], values[i]);
    let left = if smoothed && times[first] < start { between(at(first), at(first + 1), start, false) } else { values[first] };
    let right =
        if smoothed && last > 0 && times[last] > end { between(at(last - 1), at(last), end, false) } else { values[last] };
    let inside = times.iter().copied().zip(values.iter().copied()).filter(|(t, _)| *t > start && *t < end);
    [(start, left)].into_iter().chain(inside).chain([(end, right)]).collect()
}
