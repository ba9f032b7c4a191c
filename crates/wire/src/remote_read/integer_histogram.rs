//! Prometheus' chunks of histograms that count in integers (`tsdb/chunkenc/histogram.go`).

use model::{Histogram, is_stale};

use super::bits::{Bits, Xor};
use super::histogram::layout;

/// The chunk of a [`super::histogram::runs`] whose counts are integers.
pub(super) fn encode(run: &[(i64, &Histogram)], header: u8) -> Vec<u8> {
    let count = u16::try_from(run.len()).unwrap_or(u16::MAX);
    let mut out = Bits::after([&count.to_be_bytes()[..], &[header]].concat());
    let Some(((first, h), rest)) = run.split_first() else { return out.into_bytes() };
    layout(&mut out, h);
    out.varbit(*first);
    let mut last = Counts::of(h);
    out.varbit_unsigned(last.totals[0] as u64);
    out.varbit_unsigned(last.totals[1] as u64);
    let mut sum = Xor::first(&mut out, h.sum);
    last.buckets.iter().for_each(|n| out.varbit(*n));
    let mut time = *first;
    // How much each number changed last.
    let mut changes: Option<(i64, Counts)> = None;
    for (t, h) in rest {
        let now = Counts::of(h);
        let (elapsed, change) = (t.wrapping_sub(time), now.since(&last));
        let further = match &changes {
            // The second histogram says how long it took as it is.
            None => {
                out.varbit_unsigned(elapsed as u64);
                change.clone()
            }
            Some((before, changed)) => {
                out.varbit(elapsed.wrapping_sub(*before));
                change.since(changed)
            }
        };
        further.totals.iter().for_each(|n| out.varbit(*n));
        sum.next(&mut out, h.sum);
        further.buckets.iter().for_each(|n| out.varbit(*n));
        (time, last, changes) = (*t, now, Some((elapsed, change)));
    }
    out.into_bytes()
}

/// The numbers of a histogram as its chunk has them.
#[derive(Debug, Clone)]
struct Counts {
    /// All observations, and those in the zero bucket.
    totals: [i64; 2],
    /// Of each side the first bucket, and by how much each other one differs from the one before it.
    buckets: Vec<i64>,
}

impl Counts {
    fn of(h: &Histogram) -> Self {
        // Of a stale one only the sum means anything.
        if is_stale(h.sum) {
            return Self { totals: [0, 0], buckets: Vec::new() };
        }
        let side = |counts: &[f64]| -> Vec<i64> {
            let mut before = 0;
            counts.iter().map(|n| *n as i64 - std::mem::replace(&mut before, *n as i64)).collect()
        };
        let buckets = [side(&h.positive), side(&h.negative)].concat();
        Self { totals: [h.count as i64, h.zero_count as i64], buckets }
    }

    /// By how much each number differs.
    fn since(&self, before: &Self) -> Self {
        let [count, zero] = self.totals;
        Self {
            totals: [count.wrapping_sub(before.totals[0]), zero.wrapping_sub(before.totals[1])],
            buckets: self.buckets.iter().zip(&before.buckets).map(|(now, then)| now.wrapping_sub(*then)).collect(),
        }
    }
}
