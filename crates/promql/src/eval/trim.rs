//! `</` and `>/`: a histogram without the observations above or below a value.

use model::{Bucket, Histogram};

use super::native::below;

/// What lies above `at` goes (`upper`), or what lies below. The sum is estimated anew from the middles of what stays, unless
/// everything does.
pub(super) fn trim(h: &Histogram, at: f64, upper: bool) -> Histogram {
    let custom = h.has_custom_buckets();
    let mut kept = h.clone();
    let (mut count, mut sum, mut trimmed) = (0.0, 0.0, false);
    let mut keep = |slot: &mut f64, b: &Bucket| {
        if b.count == 0.0 {
            return;
        }
        let (stay, middle) = part(b, at, upper, custom);
        count += stay;
        sum += if stay == 0.0 { 0.0 } else { stay * middle };
        trimmed |= stay != *slot;
        *slot = stay;
    };
    // The bounds as they are: not where the zero bucket would cut them.
    let sides = Histogram { zero_count: 0.0, zero_threshold: 0.0, ..h.clone() }.buckets();
    let (negative, positive) = sides.split_at(h.negative.len().min(sides.len()));
    for (slot, b) in kept.positive.iter_mut().zip(positive) {
        keep(slot, b);
    }
    for (slot, b) in kept.negative.iter_mut().zip(negative.iter().rev()) {
        keep(slot, b);
    }
    if h.zero_count > 0.0 && !custom {
        let has = |counts: &[f64]| counts.iter().any(|c| *c != 0.0);
        let mut b = h.zero_bucket();
        match (has(&h.negative), has(&h.positive)) {
            (false, true) => b.lower = 0.0,
            (true, false) => b.upper = 0.0,
            _ => {}
        }
        keep(&mut kept.zero_count, &b);
    }
    if !trimmed {
        return kept;
    }
    (kept.count, kept.sum) = (count, sum);
    kept.compacted()
}

/// How many of a bucket's observations stay, and where they are taken to be on average.
fn part(b: &Bucket, at: f64, upper: bool, custom: bool) -> (f64, f64) {
    let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
    if b.lower == f64::NEG_INFINITY {
        return below_bound(b, at, upper, finite(b.upper));
    }
    if b.upper == f64::INFINITY {
        return match (upper, at <= b.lower) {
            // How much lies above is unknown: all of it may.
            (true, _) => {
                if at == f64::INFINITY {
                    (b.count, b.lower)
                } else {
                    (0.0, 0.0)
                }
            }
            (false, true) => (b.count, b.lower),
            // It may as well all lie above; only an infinite bound leaves nothing.
            (false, false) => {
                if at == f64::INFINITY {
                    (0.0, 0.0)
                } else {
                    (b.count, at)
                }
            }
        };
    }
    let linear = custom || (b.lower <= 0.0 && b.upper >= 0.0);
    let under = if at <= b.lower {
        0.0
    } else if at >= b.upper {
        b.count
    } else {
        below(b, at, linear)
    };
    // The bounds of what stays.
    let (low, high) = if upper { (b.lower, b.upper.min(at)) } else { (b.lower.max(at), b.upper) };
    let middle = if linear { (low + high) / 2.0 } else { (low * high).sqrt().copysign(b.upper) };
    (if upper { under } else { b.count - under }, middle)
}

/// The same for a bucket without a lower bound. Where its upper bound is positive, so are its observations.
fn below_bound(b: &Bucket, at: f64, upper: bool, edge: f64) -> (f64, f64) {
    let positive = b.upper > 0.0 && b.upper.is_finite();
    match upper {
        true if at >= b.upper => (b.count, if positive { edge / 2.0 } else { edge }),
        true if at > 0.0 && positive => (b.count * at / b.upper, at / 2.0),
        true if b.upper <= 0.0 && at.is_finite() => (b.count, at),
        false if at == f64::NEG_INFINITY => (b.count, if positive { edge / 2.0 } else { edge }),
        false if at >= 0.0 && b.upper > at && positive => (b.count * (1.0 - at / b.upper), (at + b.upper) / 2.0),
        _ => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use model::{BucketSpan, CUSTOM_BUCKETS};

    use super::*;

    #[test]
    fn what_stays_is_counted_and_summed_anew() {
        let custom = Histogram {
            schema: CUSTOM_BUCKETS,
            count: 15.0,
            sum: 172.5,
            positive_spans: vec![BucketSpan { offset: 0, length: 5 }],
            positive: vec![1.0, 6.0, 4.0, 3.0, 1.0],
            custom_bounds: vec![5.0, 10.0, 15.0, 20.0],
            ..Histogram::default()
        };
        for (at, upper, count, sum) in [
            (15.0, true, 11.0, 97.5),
            (15.0, false, 4.0, 72.5),
            (0.0, false, 15.0, 172.5),
            (0.0, true, 0.0, 0.0),
            (f64::INFINITY, true, 15.0, 172.5),
            (f64::NEG_INFINITY, false, 15.0, 172.5),
        ] {
            let trimmed = trim(&custom, at, upper);
            assert_eq!((trimmed.count, trimmed.sum), (count, sum), "{at} {upper}");
        }
    }
}
