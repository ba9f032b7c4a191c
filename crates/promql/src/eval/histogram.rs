//! Quantiles of classic histograms, after `promql/quantile.go` of Prometheus 3.

/// A bucket: how many observations are at most `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Relative differences of neighbouring counts below this are rounding.
const SMALL_DELTA: f64 = 1e-12;

/// The `q` quantile, interpolated inside its bucket, and whether the counts had to be made monotonic.
pub(super) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return (f64::NAN, false);
    }
    // Buckets of one bound, written differently (`1`, `1.0`), are one.
    buckets.dedup_by(|b, kept| {
        let same = b.upper == kept.upper;
        if same {
            kept.count += b.count;
        }
        same
    });
    let forced = make_monotonic(buckets);
    let Some((last, finite)) = buckets.split_last() else { return (f64::NAN, forced) };
    if finite.is_empty() || last.count == 0.0 || last.count.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = q * last.count;
    let at = finite.iter().position(|b| b.count >= rank).unwrap_or(finite.len());
    if at == finite.len() {
        return (finite[finite.len() - 1].upper, forced);
    }
    let bucket = finite[at];
    if at == 0 && bucket.upper <= 0.0 {
        return (bucket.upper, forced);
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if at > 0 {
        start = finite[at - 1].upper;
        count -= finite[at - 1].count;
        rank -= finite[at - 1].count;
    }
    (start + (bucket.upper - start) * (rank / count), forced)
}

fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    for i in 1..buckets.len() {
        let (before, here) = (buckets[i - 1].count, buckets[i].count);
        if before == here {
            continue;
        }
        let small = (before - here).abs() <= SMALL_DELTA * before.abs().max(here.abs());
        if small || here < before {
            forced |= !small;
            buckets[i].count = before;
        }
    }
    forced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(q: f64, counts: &[(f64, f64)]) -> f64 {
        bucket_quantile(q, &mut counts.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()).0
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let inf = f64::INFINITY;
        let buckets = [(0.1, 10.0), (0.5, 30.0), (inf, 40.0)];
        assert!((quantile(0.5, &buckets) - 0.3).abs() < 1e-12);
        assert_eq!(quantile(0.25, &buckets), 0.1);
        assert_eq!(quantile(1.0, &buckets), 0.5);
        assert_eq!(quantile(1.1, &buckets), inf);
        assert!(quantile(0.5, &buckets[..2]).is_nan(), "no +Inf bucket");
        assert!(quantile(0.5, &[(0.1, 0.0), (inf, 0.0)]).is_nan(), "no observations");
        assert_eq!(quantile(0.5, &[(-1.0, 10.0), (inf, 10.0)]), -1.0);
        // A count that falls is raised to the one before.
        assert_eq!(quantile(0.5, &[(1.0, 10.0), (2.0, 5.0), (inf, 10.0)]), 0.5);
    }
}
