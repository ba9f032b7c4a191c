//! Functions of one native histogram, after `promql/quantile.go` and `promql/functions.go` of the reference.

use model::{Bucket, Histogram};

use super::sum::add;

pub(crate) fn count(h: &Histogram) -> f64 {
    h.count
}

pub(crate) fn sum(h: &Histogram) -> f64 {
    h.sum
}

pub(crate) fn mean(h: &Histogram) -> f64 {
    h.sum / h.count
}

pub(crate) fn stddev(h: &Histogram) -> f64 {
    stdvar(h).sqrt()
}

/// Each observation is taken to be at the middle of its bucket: the geometric one, the arithmetic one of custom buckets, 0 in
/// the zero bucket.
pub(crate) fn stdvar(h: &Histogram) -> f64 {
    let mean = mean(h);
    let (mut variance, mut error) = (0.0, 0.0);
    for b in h.buckets().iter().filter(|b| b.count != 0.0) {
        let middle = if h.has_custom_buckets() {
            (b.upper + b.lower) / 2.0
        } else if b.lower <= 0.0 && b.upper >= 0.0 {
            0.0
        } else {
            (b.upper * b.lower).sqrt().copysign(b.upper)
        };
        let delta = middle - mean;
        (variance, error) = add(b.count * delta * delta, variance, error);
    }
    (variance + error) / h.count
}

/// What observations of NaN did to a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nans {
    None,
    /// They are the result.
    Result,
    /// They count as the highest.
    Skew,
}

/// A zero bucket of a histogram with one side only ends at 0.
fn clip_zero(h: &Histogram, b: &mut Bucket) {
    if h.negative.is_empty() && !h.positive.is_empty() {
        b.lower = 0.0;
    } else if h.positive.is_empty() && !h.negative.is_empty() {
        b.upper = 0.0;
    }
}

/// The `q` quantile: interpolated inside its bucket, linearly in custom buckets and the zero bucket, else exponentially.
pub(super) fn quantile(q: f64, h: &Histogram) -> (f64, Nans) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, Nans::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, Nans::None);
    }
    if h.count == 0.0 || q.is_nan() {
        return (f64::NAN, Nans::None);
    }
    let buckets = h.buckets();
    // From the end that is nearer; NaNs stand beyond the upper one.
    let forward = h.sum.is_nan() || q < 0.5;
    let mut rank = if forward { q * h.count } else { (1.0 - q) * h.count };
    let (mut count, mut found) = (0.0, None);
    let mut visit = |b: &Bucket| {
        found = Some(*b);
        count += b.count;
        b.count != 0.0 && count >= rank
    };
    let _ = if forward { buckets.iter().any(&mut visit) } else { buckets.iter().rev().any(&mut visit) };
    let Some(mut b) = found else { return (f64::NAN, Nans::None) };
    if h.has_custom_buckets() {
        if b.lower == f64::NEG_INFINITY {
            if b.upper <= 0.0 {
                return (b.upper, Nans::None);
            }
            b.lower = 0.0;
        } else if b.upper == f64::INFINITY {
            return (b.lower, Nans::None);
        }
    } else if b.lower < 0.0 && b.upper > 0.0 {
        clip_zero(h, &mut b);
    }
    // Rounding may have made it more.
    count = f64::min(count, h.count);
    if count < rank {
        return if h.sum.is_nan() { (f64::NAN, Nans::Result) } else { (b.upper, Nans::None) };
    }
    let nans = if h.sum.is_nan() { Nans::Skew } else { Nans::None };
    rank = if forward { rank - (count - b.count) } else { count - rank };
    let fraction = rank / b.count;
    if h.has_custom_buckets() || (b.lower <= 0.0 && b.upper >= 0.0) {
        return (b.lower + (b.upper - b.lower) * fraction, nans);
    }
    let (low, high) = (b.lower.abs().log2(), b.upper.abs().log2());
    if b.lower > 0.0 {
        return ((low + (high - low) * fraction).exp2(), nans);
    }
    (-(high + (low - high) * (1.0 - fraction)).exp2(), nans)
}

/// How many of the bucket's observations are at most `v`, which lies inside.
pub(super) fn below(b: &Bucket, v: f64, linear: bool) -> f64 {
    if linear {
        return b.count * (v - b.lower) / (b.upper - b.lower);
    }
    let (low, high, at) = (b.lower.abs().log2(), b.upper.abs().log2(), v.abs().log2());
    b.count * if v > 0.0 { (at - low) / (high - low) } else { 1.0 - (at - high) / (low - high) }
}

/// The share of observations between `lower` and `upper`, and whether observations of NaN are among the rest.
pub(super) fn fraction(lower: f64, upper: f64, h: &Histogram) -> (f64, bool) {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, false);
    }
    if lower >= upper {
        return (0.0, false);
    }
    let buckets = h.buckets();
    let (mut total, mut nans) = (h.count, false);
    if h.sum.is_nan() {
        // NaNs are in no bucket. (Infinities of both signs make a sum of NaN as well.)
        total = buckets.iter().map(|b| b.count).sum();
        nans = total < h.count;
    }
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    for mut b in buckets {
        let zero = b.lower <= 0.0 && b.upper >= 0.0;
        if h.has_custom_buckets() {
            if b.lower == f64::NEG_INFINITY && b.upper > 0.0 {
                b.lower = 0.0;
            }
        } else if zero {
            clip_zero(h, &mut b);
        }
        for (bound, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_some() {
                continue;
            }
            if b.lower >= bound {
                *found = Some(rank);
            } else if b.upper > bound {
                *found = Some(rank + below(&b, bound, zero || h.has_custom_buckets()));
            }
        }
        rank += b.count;
    }
    let [lower_rank, upper_rank] = [lower_rank, upper_rank].map(|rank| rank.map_or(total, |rank: f64| rank.min(total)));
    ((upper_rank - lower_rank) / h.count, nans)
}
