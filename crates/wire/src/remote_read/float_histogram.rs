//! Prometheus' chunks of float histograms (`tsdb/chunkenc/float_histogram.go`).

use model::{Histogram, is_stale};

use super::bits::{Bits, Xor};
use super::histogram::layout;

/// The chunk of a [`super::histogram::runs`].
pub(super) fn encode(run: &[(i64, &Histogram)], header: u8) -> Vec<u8> {
    let count = u16::try_from(run.len()).unwrap_or(u16::MAX);
    let mut out = Bits::after([&count.to_be_bytes()[..], &[header]].concat());
    let Some(((first, h), rest)) = run.split_first() else { return out.into_bytes() };
    layout(&mut out, h);
    out.varbit(*first);
    let mut last: Vec<Xor> = numbers(h).map(|value| Xor::first(&mut out, value)).collect();
    let (mut time, mut delta) = (*first, 0i64);
    for (t, h) in rest {
        let next = t.wrapping_sub(time);
        out.varbit(next.wrapping_sub(delta));
        (time, delta) = (*t, next);
        last.iter_mut().zip(numbers(h)).for_each(|(last, value)| last.next(&mut out, value));
    }
    out.into_bytes()
}

/// What changes from histogram to histogram; of a stale one only the sum means anything.
fn numbers(h: &Histogram) -> impl Iterator<Item = f64> + '_ {
    let stale = is_stale(h.sum);
    let counts = if stale { [0.0, 0.0, h.sum] } else { [h.count, h.zero_count, h.sum] };
    let buckets = h.positive.iter().chain(&h.negative).copied().filter(move |_| !stale);
    counts.into_iter().chain(buckets)
}
