//! Prometheus' chunks of float histograms (`tsdb/chunkenc/float_histogram.go`, `histogram_meta.go`). Integer histograms are
//! written as floats too: whoever reads them computes with floats anyway.

use model::{BucketSpan, Histogram, ResetHint, is_stale};

use super::bits::{Bits, Xor};

/// Histograms of a chunk at most, and how Prometheus names such a chunk.
const MOST: usize = 120;

/// Runs of histograms (time in milliseconds, histogram) that one chunk each can hold: of one layout, without a reset in it.
pub(super) fn runs<'s, 'h>(samples: &'s [(i64, &'h Histogram)]) -> impl Iterator<Item = (&'s [(i64, &'h Histogram)], u8)> {
    let mut rest = samples;
    let mut before: Option<&Histogram> = None;
    std::iter::from_fn(move || {
        let (_, first) = rest.first()?;
        let goes_on = |pair: &[(i64, &Histogram)]| same_layout(pair[0].1, pair[1].1) && !is_reset(pair[0].1, pair[1].1);
        let len = rest.windows(2).take(MOST - 1).take_while(|pair| goes_on(pair)).count() + 1;
        let header = match (first.reset_hint, before) {
            (ResetHint::Gauge, _) => 0b1100_0000,
            (ResetHint::Reset, _) => 0b1000_0000,
            (ResetHint::NoReset, _) => 0b0100_0000,
            (ResetHint::Unknown, Some(before)) if is_reset(before, first) => 0b1000_0000,
            // A change of the layout alone: whoever reads it compares.
            (ResetHint::Unknown, _) => 0,
        };
        let (run, left) = rest.split_at(len);
        before = run.last().map(|(_, h)| *h);
        rest = left;
        Some((run, header))
    })
}

/// Nothing is known of a counter that was, or is, stale.
fn is_reset(before: &Histogram, now: &Histogram) -> bool {
    if is_stale(before.sum) || is_stale(now.sum) {
        return false;
    }
    now.reset_hint != ResetHint::Gauge && now.is_reset_after(before)
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let gauge = |h: &Histogram| h.reset_hint == ResetHint::Gauge;
    let bits = |bounds: &[f64]| -> Vec<u64> { bounds.iter().map(|b| b.to_bits()).collect() };
    gauge(a) == gauge(b)
        && is_stale(a.sum) == is_stale(b.sum)
        && (a.schema, a.zero_threshold.to_bits()) == (b.schema, b.zero_threshold.to_bits())
        && (&a.positive_spans, &a.negative_spans) == (&b.positive_spans, &b.negative_spans)
        && (a.positive.len(), a.negative.len()) == (b.positive.len(), b.negative.len())
        && bits(&a.custom_bounds) == bits(&b.custom_bounds)
}

/// The chunk of one of the [`runs`].
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

fn layout(out: &mut Bits, h: &Histogram) {
    let stale = Histogram::default();
    let h = if is_stale(h.sum) { &stale } else { h };
    zero_threshold(out, h.zero_threshold);
    out.varbit(i64::from(h.schema));
    spans(out, &h.positive_spans);
    spans(out, &h.negative_spans);
    if h.has_custom_buckets() {
        out.varbit_unsigned(h.custom_bounds.len() as u64);
        for bound in &h.custom_bounds {
            // A zero bit: not a small number of thousandths.
            out.bit(false);
            out.bits(bound.to_bits(), 64);
        }
    }
}

/// A byte for 0 and for powers of two from 2^-243 to 2^10, nine for all else.
fn zero_threshold(out: &mut Bits, threshold: f64) {
    let bits = threshold.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    // As Go's `math.Frexp` has it, half of two to the power of this.
    let power = exponent as i64 - 1022;
    if threshold == 0.0 {
        out.bits(0, 8);
    } else if fraction == 0 && (-242..=11).contains(&power) {
        out.bits((power + 243) as u64, 8);
    } else {
        out.bits(255, 8);
        out.bits(bits, 64);
    }
}

fn spans(out: &mut Bits, spans: &[BucketSpan]) {
    out.varbit_unsigned(spans.len() as u64);
    for span in spans {
        out.varbit_unsigned(u64::from(span.length));
        out.varbit(i64::from(span.offset));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a chunk as Prometheus' iterator does: the header, and all histograms with their times.
    fn decode(bytes: &[u8]) -> (u8, Vec<(i64, Histogram)>) {
        let mut at = 24;
        let mut bits = |n: u32| {
            (0..n).fold(0u64, |value, _| {
                let bit = bytes[at / 8] >> (7 - at % 8) & 1;
                at += 1;
                value << 1 | u64::from(bit)
            })
        };
        let size = |bits: &mut dyn FnMut(u32) -> u64| {
            let ones = (0..8).take_while(|_| bits(1) == 1).count();
            [0, 3, 6, 9, 12, 18, 25, 56, 64][ones]
        };
        let unsigned = |bits: &mut dyn FnMut(u32) -> u64| {
            let n = size(bits);
            bits(n)
        };
        let signed = |bits: &mut dyn FnMut(u32) -> u64| {
            let n = size(bits);
            let value = bits(n);
            if n > 0 && n < 64 && value > 1 << (n - 1) { value.wrapping_sub(1 << n) as i64 } else { value as i64 }
        };
        let zero_threshold = match bits(8) {
            0 => 0.0,
            255 => f64::from_bits(bits(64)),
            power => 2f64.powi(power as i32 - 244),
        };
        let mut h = Histogram { zero_threshold, ..Histogram::default() };
        h.schema = signed(&mut bits) as i32;
        let mut spans = [Vec::new(), Vec::new()];
        for side in &mut spans {
            for _ in 0..unsigned(&mut bits) {
                let length = unsigned(&mut bits) as u32;
                side.push(BucketSpan { offset: signed(&mut bits) as i32, length });
            }
        }
        [h.positive_spans, h.negative_spans] = spans;
        if h.has_custom_buckets() {
            for _ in 0..unsigned(&mut bits) {
                assert_eq!(bits(1), 0);
                h.custom_bounds.push(f64::from_bits(bits(64)));
            }
        }
        let buckets = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum::<usize>();
        let (positive, negative) = (buckets(&h.positive_spans), buckets(&h.negative_spans));
        let (mut time, mut delta) = (signed(&mut bits), 0i64);
        let mut values: Vec<(u64, u32, u32)> = (0..3 + positive + negative).map(|_| (bits(64), 0, 0)).collect();
        let mut out = Vec::new();
        for i in 0..u16::from_be_bytes([bytes[0], bytes[1]]) {
            if i > 0 {
                delta = delta.wrapping_add(signed(&mut bits));
                time = time.wrapping_add(delta);
                for (value, leading, trailing) in &mut values {
                    if bits(1) == 1 {
                        if bits(1) == 1 {
                            *leading = bits(5) as u32;
                            let significant = match bits(6) as u32 {
                                0 => 64,
                                n => n,
                            };
                            *trailing = 64 - *leading - significant;
                        }
                        *value ^= bits(64 - *leading - *trailing) << *trailing;
                    }
                }
            }
            let number = |i: usize| f64::from_bits(values[i].0);
            (h.count, h.zero_count, h.sum) = (number(0), number(1), number(2));
            h.positive = (3..3 + positive).map(number).collect();
            h.negative = (3 + positive..3 + positive + negative).map(number).collect();
            out.push((time, h.clone()));
        }
        (bytes[2], out)
    }

    fn exponential(count: f64, buckets: &[f64]) -> Histogram {
        Histogram {
            schema: 3,
            zero_threshold: 2f64.powi(-128),
            zero_count: 1.0,
            count,
            sum: count * 1.5,
            positive_spans: vec![BucketSpan { offset: -2, length: buckets.len() as u32 }],
            positive: buckets.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn a_chunk_ends_where_the_layout_changes_a_counter_was_reset_or_a_series_became_stale() {
        let stale = Histogram { sum: f64::from_bits(0x7ff0_0000_0000_0002), ..Histogram::default() };
        let custom = Histogram {
            schema: model::CUSTOM_BUCKETS,
            count: 3.0,
            sum: 1.0,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive: vec![1.0, 2.0],
            custom_bounds: vec![0.1, 5.0],
            ..Histogram::default()
        };
        let gauge = Histogram { reset_hint: ResetHint::Gauge, ..exponential(2.0, &[1.0]) };
        let all = [
            exponential(2.0, &[1.0]),
            exponential(3.0, &[2.0]),
            exponential(2.0, &[1.0]),
            exponential(4.0, &[2.0, 1.0]),
            stale,
            exponential(9.0, &[5.0, 3.0]),
            custom,
            gauge,
        ];
        let samples: Vec<(i64, &Histogram)> = all.iter().enumerate().map(|(i, h)| (i as i64 * 15_000 - 7, h)).collect();
        let cut: Vec<(usize, u8)> = runs(&samples).map(|(run, header)| (run.len(), header)).collect();
        assert_eq!(cut, [(2, 0), (1, 0x80), (1, 0), (1, 0), (1, 0), (1, 0x80), (1, 0xc0)]);
        for (run, header) in runs(&samples) {
            let (found, back) = decode(&encode(run, header));
            assert_eq!((found, back.len()), (header, run.len()));
            for ((time, h), (before, original)) in back.iter().zip(run) {
                assert_eq!(time, before);
                assert!(h.same(original), "{h:?}\n{original:?}");
            }
        }
        let many: Vec<(i64, &Histogram)> = (0..250).map(|i| (i, &all[0])).collect();
        assert_eq!(runs(&many).map(|(run, _)| run.len()).collect::<Vec<_>>(), [120, 120, 10]);
    }

    proptest! {
        #[test]
        fn chunks_come_back(
            steps in proptest::collection::vec((0i64..100_000, proptest::collection::vec(any::<f64>(), 5)), 1..30),
            threshold in prop_oneof![Just(0.0), Just(1.0), Just(2f64.powi(-128)), any::<f64>().prop_map(f64::abs)],
            offset in any::<i32>(),
        ) {
            let mut time = -1;
            let all: Vec<(i64, Histogram)> = steps
                .into_iter()
                .map(|(step, v)| {
                    time += step;
                    let h = Histogram { zero_threshold: threshold, sum: v[1], zero_count: v[2], ..exponential(v[0], &v[3..]) };
                    (time, Histogram { positive_spans: vec![BucketSpan { offset, length: 2 }], ..h })
                })
                .collect();
            let samples: Vec<(i64, &Histogram)> = all.iter().map(|(t, h)| (*t, h)).collect();
            let (_, back) = decode(&encode(&samples, 0));
            for ((t, h), (before, original)) in back.iter().zip(&all) {
                prop_assert_eq!(t, before);
                let bits = |h: &Histogram| numbers(h).map(f64::to_bits).collect::<Vec<_>>();
                prop_assert_eq!(bits(h), bits(original));
                prop_assert_eq!(h.zero_threshold.to_bits(), original.zero_threshold.to_bits());
                prop_assert_eq!(&h.positive_spans, &original.positive_spans);
            }
        }
    }
}
