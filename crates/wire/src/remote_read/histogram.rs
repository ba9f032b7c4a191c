//! What Prometheus' chunks of histograms have in common, whether they count in integers or floats (`tsdb/chunkenc/histogram_meta.go`):
//! which histograms one of them holds, and how their layout is written.

use model::{BucketSpan, Histogram, ResetHint, is_stale};

use super::bits::Bits;
use super::{float_histogram, integer_histogram};
use crate::remote_write::counts_integers;

/// Histograms of a chunk at most.
const MOST: usize = 120;

/// Runs of histograms (time in milliseconds, histogram) that one chunk each can hold, and how Prometheus heads such a chunk: of one
/// layout, all counting in integers or all in floats, without a reset in it.
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

/// The chunk of one of the [`runs`], and its `prometheus.Chunk.Encoding`: 2 for integers, 3 for floats.
pub(super) fn encode(run: &[(i64, &Histogram)], header: u8) -> (u64, Vec<u8>) {
    match run.first() {
        Some((_, first)) if counts_integers(first) => (2, integer_histogram::encode(run, header)),
        _ => (3, float_histogram::encode(run, header)),
    }
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
        && counts_integers(a) == counts_integers(b)
}

pub(super) fn layout(out: &mut Bits, h: &Histogram) {
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

    /// Reads a chunk as Prometheus' iterators do: the header, and all histograms with their times.
    fn decode((encoding, bytes): &(u64, Vec<u8>)) -> (u8, Vec<(i64, Histogram)>) {
        let integers = *encoding == 2;
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
        let (mut out, mut changes) = (Vec::new(), vec![0i64; 2 + positive + negative]);
        // The sum is written as what changed of its bits; so are all others where they are no integers.
        let mut xors = vec![(0u64, 0u32, 0u32); 3 + positive + negative];
        let mut numbers = vec![0i64; 2 + positive + negative];
        for i in 0..u16::from_be_bytes([bytes[0], bytes[1]]) {
            if i > 0 {
                let change = if i == 1 && integers { unsigned(&mut bits) as i64 } else { signed(&mut bits) };
                delta = delta.wrapping_add(change);
                time = time.wrapping_add(delta);
            }
            for (at, (value, leading, trailing)) in xors.iter_mut().enumerate() {
                if integers && at != 2 {
                    let at = if at > 2 { at - 1 } else { at };
                    match i {
                        0 if at < 2 => numbers[at] = unsigned(&mut bits) as i64,
                        0 => numbers[at] = signed(&mut bits),
                        _ => {
                            changes[at] += signed(&mut bits);
                            numbers[at] += changes[at];
                        }
                    }
                    continue;
                }
                if i == 0 {
                    *value = bits(64);
                } else if bits(1) == 1 {
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
            let float = |i: usize| f64::from_bits(xors[i].0);
            h.sum = float(2);
            if integers {
                let side = |deltas: &[i64]| -> Vec<f64> {
                    deltas
                        .iter()
                        .scan(0, |n, delta| {
                            *n += delta;
                            Some(*n as f64)
                        })
                        .collect()
                };
                (h.count, h.zero_count) = (numbers[0] as f64, numbers[1] as f64);
                (h.positive, h.negative) = (side(&numbers[2..2 + positive]), side(&numbers[2 + positive..]));
            } else {
                (h.count, h.zero_count) = (float(0), float(1));
                h.positive = (3..3 + positive).map(float).collect();
                h.negative = (3 + positive..3 + positive + negative).map(float).collect();
            }
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
            exponential(2.5, &[1.5]),
            exponential(3.5, &[2.5]),
        ];
        let samples: Vec<(i64, &Histogram)> = all.iter().enumerate().map(|(i, h)| (i as i64 * 15_000 - 7, h)).collect();
        let cut: Vec<(usize, u8)> = runs(&samples).map(|(run, header)| (run.len(), header)).collect();
        assert_eq!(cut, [(2, 0), (1, 0x80), (1, 0), (1, 0), (1, 0), (1, 0x80), (1, 0xc0), (2, 0)]);
        for (run, header) in runs(&samples) {
            let chunk = encode(run, header);
            let (found, back) = decode(&chunk);
            assert_eq!((found, back.len()), (header, run.len()));
            let whole = run.iter().all(|(_, h)| h.count.fract() == 0.0);
            assert_eq!(chunk.0, if whole { 2 } else { 3 });
            for ((time, h), (before, original)) in back.iter().zip(run) {
                assert_eq!(time, before);
                assert!(h.same(original), "{h:?}\n{original:?}");
            }
        }
        let many: Vec<(i64, &Histogram)> = (0..250).map(|i| (i, &all[0])).collect();
        assert_eq!(runs(&many).map(|(run, _)| run.len()).collect::<Vec<_>>(), [120, 120, 10]);
    }

    fn bits(h: &Histogram) -> Vec<u64> {
        let numbers = [h.count, h.zero_count, h.sum, h.zero_threshold].into_iter();
        numbers.chain(h.positive.iter().chain(&h.negative).copied()).map(f64::to_bits).collect()
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
            let (_, back) = decode(&(3, float_histogram::encode(&samples, 0)));
            for ((t, h), (before, original)) in back.iter().zip(&all) {
                prop_assert_eq!(t, before);
                prop_assert_eq!(bits(h), bits(original));
                prop_assert_eq!(&h.positive_spans, &original.positive_spans);
            }
        }

        #[test]
        fn chunks_of_integers_come_back(
            steps in proptest::collection::vec((0i64..100_000, any::<f64>(), proptest::collection::vec(0u64..1 << 50, 5)), 1..30),
        ) {
            let mut time = -1;
            let all: Vec<(i64, Histogram)> = steps
                .into_iter()
                .map(|(step, sum, n)| {
                    time += step;
                    let n: Vec<f64> = n.into_iter().map(|n| n as f64).collect();
                    let count = n[0] + n[1] + n[2] + n[3];
                    let h = exponential(count, &n[1..3]);
                    let negative_spans = vec![BucketSpan { offset: 1, length: 1 }];
                    (time, Histogram { sum, zero_count: n[0], negative: vec![n[3]], negative_spans, ..h })
                })
                .collect();
            let samples: Vec<(i64, &Histogram)> = all.iter().map(|(t, h)| (*t, h)).collect();
            let (_, back) = decode(&(2, integer_histogram::encode(&samples, 0)));
            prop_assert_eq!(back.len(), all.len());
            for ((t, h), (before, original)) in back.iter().zip(&all) {
                prop_assert_eq!(t, before);
                prop_assert_eq!(bits(h), bits(original));
            }
        }
    }
}
