//! Samples of a window to one number.

use super::Grid;
use crate::ast::{RangeAggregation, RangeOp};

/// Which samples belong to a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) grid: Grid,
    pub(super) range_ns: i64,
    pub(super) offset_ns: i64,
}

impl Window {
    /// The step at `t` sees the samples after the first and up to the second.
    pub(super) fn bounds(&self, t: i64) -> (i64, i64) {
        let end = t.saturating_sub(self.offset_ns);
        (end.saturating_sub(self.range_ns), end)
    }
}

type Sample = (i64, f64);

/// The number of each step, of samples sorted by time; none where a window is empty.
pub(super) fn numbers(range: &RangeAggregation, samples: &[Sample], window: Window) -> Vec<Option<f64>> {
    let seconds = range.range_ns as f64 / 1e9;
    let (mut from, mut to) = (0, 0);
    let mut out = Vec::with_capacity(window.grid.len());
    let mut scratch = Vec::new();
    for t in window.grid.times() {
        let (first, last) = window.bounds(t);
        while samples.get(to).is_some_and(|(t, _)| *t <= last) {
            to += 1;
        }
        while from < to && samples[from].0 <= first {
            from += 1;
        }
        let seen = &samples[from..to];
        out.push((!seen.is_empty()).then(|| match range.op {
            RangeOp::Count | RangeOp::Absent => seen.len() as f64,
            RangeOp::Rate if range.unwrap.is_none() => seen.len() as f64 / seconds,
            RangeOp::Rate | RangeOp::BytesRate => sum(seen) / seconds,
            RangeOp::Sum | RangeOp::Bytes => sum(seen),
            RangeOp::RateCounter => counter_rate(seen, first, last),
            RangeOp::Avg => mean(seen),
            RangeOp::Min => seen[1..].iter().fold(seen[0].1, |min, (_, v)| if *v < min || min.is_nan() { *v } else { min }),
            RangeOp::Max => seen[1..].iter().fold(seen[0].1, |max, (_, v)| if *v > max || max.is_nan() { *v } else { max }),
            RangeOp::Stddev => variance(seen).sqrt(),
            RangeOp::Stdvar => variance(seen),
            RangeOp::Quantile => quantile(range.parameter.unwrap_or(f64::NAN), seen, &mut scratch),
            RangeOp::First => seen[0].1,
            RangeOp::Last => seen[seen.len() - 1].1,
        }));
    }
    out
}

fn sum(samples: &[Sample]) -> f64 {
    samples.iter().map(|(_, v)| v).sum()
}

fn mean(samples: &[Sample]) -> f64 {
    let (mut mean, mut count) = (0.0f64, 0.0);
    for (_, v) in samples {
        count += 1.0;
        if mean.is_infinite() && (v.is_finite() || (v.is_infinite() && (mean > 0.0) == (*v > 0.0))) {
            continue;
        }
        mean += v / count - mean / count;
    }
    mean
}

fn variance(samples: &[Sample]) -> f64 {
    let (mut mean, mut count, mut squares) = (0.0f64, 0.0, 0.0);
    for (_, v) in samples {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        squares += delta * (v - mean);
    }
    squares / count
}

fn quantile(q: f64, samples: &[Sample], scratch: &mut Vec<f64>) -> f64 {
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    scratch.clear();
    scratch.extend(samples.iter().map(|(_, v)| *v));
    // What is no number comes first.
    scratch.sort_by(|a, b| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.total_cmp(b),
        (a, b) => b.cmp(&a),
    });
    let last = scratch.len() - 1;
    let rank = q * last as f64;
    let lower = rank.floor().max(0.0) as usize;
    let weight = rank - rank.floor();
    scratch[lower.min(last)] * (1.0 - weight) + scratch[(lower + 1).min(last)] * weight
}

/// How fast a counter grows a second, resets added up; what lies between the samples and the edges of the window is
/// extrapolated as Prometheus does, no further than to where the counter was 0.
fn counter_rate(samples: &[Sample], start: i64, end: i64) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0.0 };
    if samples.len() < 2 {
        return 0.0;
    }
    let seconds = |ns: i64| ns as f64 / 1e9;
    let resets: f64 = samples.windows(2).filter(|w| w[1].1 < w[0].1).map(|w| w[0].1).sum();
    let increase = last.1 - first.1 + resets;
    let sampled = seconds(last.0 - first.0);
    let average = sampled / (samples.len() - 1) as f64;
    let threshold = average * 1.1;
    let clamp = |gap: f64| if gap >= threshold { average / 2.0 } else { gap };
    let mut to_start = clamp(seconds(first.0 - start));
    let to_end = clamp(seconds(end - last.0));
    if increase > 0.0 && first.1 >= 0.0 {
        to_start = to_start.min(sampled * (first.1 / increase));
    }
    increase * ((sampled + to_start + to_end) / sampled) / seconds(end - start)
}
