//! Histograms whose buckets are powers of two, and quantiles from them.

/// The bucket of a value: its upper bound, the next power of two. `None` below 2.
pub(super) fn bucket(value: u64) -> Option<f64> {
    (value >= 2).then(|| (value as f64).log2().ceil().exp2())
}

/// The quantile `p` of counted buckets (upper bound, count), ascending; interpolates between powers of two. 0 for none.
pub(super) fn quantile(p: f64, buckets: &[(f64, f64)]) -> f64 {
    let total: f64 = buckets.iter().map(|(_, count)| count).sum();
    if total <= 0.0 {
        return 0.0;
    }
    // At least one, and rather one too many, which serves small numbers better.
    let wanted = (p * total).ceil().max(1.0);
    let mut before = 0.0;
    let mut last = 0;
    for (i, (most, count)) in buckets.iter().enumerate() {
        last = i;
        if before + count > wanted {
            break;
        }
        before += count;
        if before == wanted {
            return *most;
        }
    }
    let (most, count) = buckets[last];
    let high = most.log2();
    let low = if last > 0 { buckets[last - 1].0.log2() } else { high - 1.0 };
    (low + (high - low) * (wanted - before) / count).exp2()
}
