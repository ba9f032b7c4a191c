//! A run of native histograms as bytes.
//!
//! What changes seldom is kept as *layouts*: schema, width of the zero bucket, which buckets there are. A histogram names its
//! layout. Its numbers stand in columns, one for each bucket that any layout of the run has, and a column holds the numbers of
//! one bucket over time: they grow slowly, and their differences code in a few bits each. All columns are coded as one run
//! of values ([`super::chunk::encode_values`]), because a header for each would cost more than the numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BucketSpan, Histogram, ResetHint};
use wire::native::indexes;
use xxhash_rust::xxh3::xxh3_64;

use super::chunk::{MAX_COUNT, Scratch, decode_values, encode_values, put_starts, take_starts};
use super::varint;
use crate::HistogramSample;

/// Numbers of a histogram besides its buckets: all observations, those in the zero bucket.
const FIXED: usize = 2;

/// Numbers that a histogram has.
pub(super) fn cells(h: &Histogram) -> usize {
    FIXED + h.positive.len() + h.negative.len()
}

/// Bytes that a histogram holds in memory, about.
pub(super) fn memory(h: &Histogram) -> usize {
    let spans = h.positive_spans.len() + h.negative_spans.len();
    size_of::<Histogram>() + 64 + 8 * (h.positive.len() + h.negative.len() + h.custom_bounds.len() + spans)
}

/// Equal fingerprints: the same histogram, bit by bit.
pub(super) fn fingerprint(h: &Histogram) -> u64 {
    let mut bytes = Vec::new();
    Layout::of(h).put(&mut bytes);
    bytes.push(hint_number(h.reset_hint));
    let numbers = [h.sum, h.count, h.zero_count];
    let numbers = numbers.iter().chain(&h.positive).chain(&h.negative);
    numbers.for_each(|n| bytes.extend_from_slice(&n.to_bits().to_le_bytes()));
    xxh3_64(&bytes)
}

fn hint_number(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NoReset => 2,
        ResetHint::Gauge => 3,
    }
}

/// What histograms that follow each other have in common.
#[derive(Debug, Clone, PartialEq)]
struct Layout {
    schema: i32,
    /// Bits.
    zero_threshold: u64,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    /// Bits.
    bounds: Vec<u64>,
}

impl Layout {
    fn of(h: &Histogram) -> Self {
        Self {
            schema: h.schema,
            zero_threshold: h.zero_threshold.to_bits(),
            positive: h.positive_spans.clone(),
            negative: h.negative_spans.clone(),
            bounds: h.custom_bounds.iter().map(|b| b.to_bits()).collect(),
        }
    }

    fn fits(&self, h: &Histogram) -> bool {
        self.schema == h.schema
            && self.zero_threshold == h.zero_threshold.to_bits()
            && self.positive == h.positive_spans
            && self.negative == h.negative_spans
            && self.bounds.iter().copied().eq(h.custom_bounds.iter().map(|b| b.to_bits()))
    }

    fn put(&self, out: &mut Vec<u8>) {
        varint::put_signed(i64::from(self.schema), out);
        out.extend_from_slice(&self.zero_threshold.to_le_bytes());
        for spans in [&self.positive, &self.negative] {
            varint::put(spans.len() as u64, out);
            for span in spans {
                varint::put_signed(i64::from(span.offset), out);
                varint::put(u64::from(span.length), out);
            }
        }
        varint::put(self.bounds.len() as u64, out);
        self.bounds.iter().for_each(|b| out.extend_from_slice(&b.to_le_bytes()));
    }

    fn get(bytes: &mut &[u8]) -> Option<Self> {
        let schema = i32::try_from(varint::get_signed(bytes)?).ok()?;
        let zero_threshold = word(bytes)?;
        let positive = spans(bytes)?;
        let negative = spans(bytes)?;
        let n = usize::try_from(varint::get(bytes)?).ok().filter(|n| *n <= bytes.len() / 8)?;
        let bounds = (0..n).map(|_| word(bytes)).collect::<Option<_>>()?;
        Some(Self { schema, zero_threshold, positive, negative, bounds })
    }

    /// The column of every bucket: positive ones first, each side from zero outwards.
    fn buckets(&self) -> impl Iterator<Item = (i32, bool, i32)> + '_ {
        let side = |spans, negative| indexes(spans).map(move |index| (self.schema, negative, index));
        side(&self.positive, false).chain(side(&self.negative, true))
    }

    fn len(&self) -> usize {
        self.positive.iter().chain(&self.negative).map(|s| s.length as usize).sum()
    }
}

fn word(bytes: &mut &[u8]) -> Option<u64> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*word))
}

fn spans(bytes: &mut &[u8]) -> Option<Vec<BucketSpan>> {
    // A span has two bytes at least.
    let n = usize::try_from(varint::get(bytes)?).ok().filter(|n| *n <= bytes.len() / 2)?;
    let (mut all, mut buckets) = (Vec::with_capacity(n), 0usize);
    for _ in 0..n {
        let offset = i32::try_from(varint::get_signed(bytes)?).ok()?;
        let length = u32::try_from(varint::get(bytes)?).ok()?;
        buckets = buckets.checked_add(length as usize).filter(|n| *n <= MAX_COUNT)?;
        all.push(BucketSpan { offset, length });
    }
    Some(all)
}

/// Which layout each histogram has, and what is known of a reset before it.
struct Plan {
    layouts: Vec<Layout>,
    each: Vec<(u32, ResetHint)>,
}

impl Plan {
    /// For every column the places of its numbers: which histogram, which of its buckets.
    fn columns(&self) -> Vec<(usize, usize)> {
        let mut by_layout: BTreeMap<(i32, bool, i32), Vec<(u32, usize)>> = BTreeMap::new();
        for (layout, at) in self.layouts.iter().zip(0..) {
            for (place, bucket) in layout.buckets().enumerate() {
                by_layout.entry(bucket).or_default().push((at, place));
            }
        }
        let mut order = Vec::new();
        for places in by_layout.values() {
            for (at, (layout, _)) in self.each.iter().enumerate() {
                order.extend(places.iter().filter(|(of, _)| of == layout).map(|(_, place)| (at, *place)));
            }
        }
        order
    }
}

/// Appends histograms (at least one, all numbers of them at most [`MAX_COUNT`]) to `out`; every bit survives.
fn encode_histograms(histograms: &[&Histogram], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let mut plan = Plan { layouts: Vec::new(), each: Vec::new() };
    for h in histograms {
        // Mostly the layout of the one before.
        let last = plan.each.last().map(|(layout, _)| *layout).filter(|l| plan.layouts[*l as usize].fits(h));
        let known = last.or_else(|| plan.layouts.iter().position(|l| l.fits(h)).map(|at| at as u32));
        let layout = known.unwrap_or_else(|| {
            plan.layouts.push(Layout::of(h));
            plan.layouts.len() as u32 - 1
        });
        plan.each.push((layout, h.reset_hint));
    }
    varint::put(plan.layouts.len() as u64, out);
    plan.layouts.iter().for_each(|l| l.put(out));
    for stretch in plan.each.chunk_by(|a, b| a == b) {
        varint::put(stretch.len() as u64, out);
        varint::put(u64::from(stretch[0].0), out);
        out.push(hint_number(stretch[0].1));
    }
    let mut coded = Vec::new();
    let sums: Vec<f64> = histograms.iter().map(|h| h.sum).collect();
    encode_values(&sums, scratch, &mut coded);
    varint::put_bytes(&coded, out);
    let mut numbers: Vec<f64> = histograms.iter().map(|h| h.count).collect();
    numbers.extend(histograms.iter().map(|h| h.zero_count));
    for (at, place) in plan.columns() {
        let h = histograms[at];
        let bucket = h.positive.get(place).or_else(|| h.negative.get(place - h.positive.len()));
        numbers.push(bucket.copied().unwrap_or_default());
    }
    encode_values(&numbers, scratch, out);
}

/// The `count` histograms in `bytes`.
///
/// # Errors
/// What is wrong with the bytes.
fn decode_histograms(mut bytes: &[u8], count: usize, scratch: &mut Scratch) -> Result<Vec<Arc<Histogram>>, String> {
    let damaged = |what: &str| format!("histograms: {what}");
    if count == 0 || count > MAX_COUNT {
        return Err(damaged("a count that cannot be"));
    }
    let layouts = varint::get(&mut bytes).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= count);
    let layouts = layouts.ok_or_else(|| damaged("too many layouts"))?;
    let layouts: Option<Vec<Layout>> = (0..layouts).map(|_| Layout::get(&mut bytes)).collect();
    let mut plan = Plan { layouts: layouts.ok_or_else(|| damaged("a layout that cannot be"))?, each: Vec::new() };
    let mut cells = 0usize;
    while plan.each.len() < count {
        let stretch = varint::get(&mut bytes).zip(varint::get(&mut bytes)).zip(bytes.split_first());
        let ((len, layout), (hint, rest)) = stretch.ok_or_else(|| damaged("layouts end early"))?;
        bytes = rest;
        let known = usize::try_from(layout).ok().and_then(|at| plan.layouts.get(at));
        let len = usize::try_from(len).ok().filter(|len| (1..=count - plan.each.len()).contains(len));
        let (len, known) = len.zip(known).ok_or_else(|| damaged("a layout that there is not"))?;
        cells = len.checked_mul(FIXED + known.len()).and_then(|n| n.checked_add(cells)).filter(|n| *n <= MAX_COUNT).unwrap_or(0);
        if cells == 0 {
            return Err(damaged("too many buckets"));
        }
        let hint = match hint {
            0 => ResetHint::Unknown,
            1 => ResetHint::Reset,
            2 => ResetHint::NoReset,
            3 => ResetHint::Gauge,
            _ => return Err(damaged("a hint that cannot be")),
        };
        plan.each.resize(plan.each.len() + len, (layout as u32, hint));
    }
    let sums = varint::get_bytes(&mut bytes).ok_or_else(|| damaged("sums end early"))?;
    let mut numbers = Vec::new();
    decode_values(sums, count, scratch, &mut numbers)?;
    decode_values(bytes, cells, scratch, &mut numbers)?;
    let (sums, numbers) = numbers.split_at(count);
    let (counts, numbers) = numbers.split_at(count);
    let (zeros, numbers) = numbers.split_at(count);
    let empty = |((layout, hint), at): (&(u32, ResetHint), usize)| {
        let layout = &plan.layouts[*layout as usize];
        let len = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum();
        Histogram {
            schema: layout.schema,
            reset_hint: *hint,
            zero_threshold: f64::from_bits(layout.zero_threshold),
            zero_count: zeros[at],
            count: counts[at],
            sum: sums[at],
            positive: vec![0.0; len(&layout.positive)],
            negative: vec![0.0; len(&layout.negative)],
            positive_spans: layout.positive.clone(),
            negative_spans: layout.negative.clone(),
            custom_bounds: layout.bounds.iter().map(|b| f64::from_bits(*b)).collect(),
        }
    };
    let mut out: Vec<Histogram> = plan.each.iter().zip(0..).map(empty).collect();
    for ((at, place), number) in plan.columns().into_iter().zip(numbers) {
        let h = &mut out[at];
        let positive = h.positive.len();
        let bucket = if place < positive { h.positive.get_mut(place) } else { h.negative.get_mut(place - positive) };
        if let Some(bucket) = bucket {
            *bucket = *number;
        }
    }
    Ok(out.into_iter().map(Arc::new).collect())
}

/// Appends a run: start timestamps where there are any, then the histograms.
pub(super) fn encode_histogram_run(run: &[HistogramSample], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let starts: Vec<i64> = run.iter().map(|h| h.start).collect();
    let histograms: Vec<&Histogram> = run.iter().map(|h| &*h.histogram).collect();
    put_starts(&starts, out);
    encode_histograms(&histograms, scratch, out);
}

/// The run that was kept at these times.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn decode_histogram_run(
    times: &[i64],
    mut bytes: &[u8],
    scratch: &mut Scratch,
) -> Result<Vec<HistogramSample>, String> {
    let mut starts = Vec::new();
    take_starts(&mut bytes, times.len(), &mut starts)?;
    let histograms = decode_histograms(bytes, times.len(), scratch)?;
    let start = |at: usize| starts.get(at).copied().unwrap_or_default();
    let all = times.iter().zip(histograms).enumerate();
    Ok(all.map(|(at, (time, histogram))| HistogramSample { time: *time, start: start(at), histogram }).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![6 => (0..500u32).prop_map(f64::from), 1 => any::<f64>(), 1 => Just(-0.0)]
    }

    /// Any that a walker passes on, and some that none does.
    pub(in super::super) fn histogram() -> impl Strategy<Value = Histogram> {
        let side = prop::collection::vec((0..4i32, 0..4u32), 0..4);
        let numbers = prop::collection::vec(number(), 24);
        (side.clone(), side, numbers, -4..9i32, 0..4u8, any::<bool>(), number()).prop_map(
            |(positive, negative, numbers, schema, hint, custom, zero_threshold)| {
                let spans = |all: Vec<(i32, u32)>| -> Vec<BucketSpan> {
                    all.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect()
                };
                let len = |spans: &[BucketSpan]| spans.iter().map(|s| s.length as usize).sum::<usize>();
                let (positive_spans, negative_spans) = (spans(positive), spans(negative));
                let hints = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NoReset, ResetHint::Gauge];
                Histogram {
                    schema: if custom { model::CUSTOM_BUCKETS } else { schema },
                    reset_hint: hints[usize::from(hint)],
                    zero_threshold,
                    zero_count: numbers[0],
                    count: numbers[1],
                    sum: numbers[2],
                    positive: numbers[..len(&positive_spans)].to_vec(),
                    negative: numbers[12..12 + len(&negative_spans)].to_vec(),
                    custom_bounds: if custom { numbers[3..6].to_vec() } else { Vec::new() },
                    positive_spans,
                    negative_spans,
                }
            },
        )
    }

    fn check(histograms: &[Histogram]) -> usize {
        let (mut bytes, mut scratch) = (Vec::new(), Scratch::default());
        encode_histograms(&histograms.iter().collect::<Vec<_>>(), &mut scratch, &mut bytes);
        let back = decode_histograms(&bytes, histograms.len(), &mut scratch).expect("what was written is read");
        assert!(back.iter().map(|h| fingerprint(h)).eq(histograms.iter().map(fingerprint)));
        bytes.len()
    }

    #[test]
    fn a_usual_histogram_costs_a_few_bytes() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut h = Histogram { schema: 3, zero_threshold: 1e-128, ..Histogram::default() };
        h.positive_spans = vec![BucketSpan { offset: -20, length: 10 }, BucketSpan { offset: 2, length: 10 }];
        h.positive = vec![0.0; 20];
        let mut all = Vec::new();
        for scrape in 0..120 {
            for bucket in 0..20u64 {
                let n = random(1 + bucket.min(19 - bucket) * 3) as f64;
                h.positive[bucket as usize] += n;
                h.count += n;
                h.sum += n * 0.037 * (bucket + 1) as f64;
            }
            h.reset_hint = if scrape == 0 { ResetHint::Unknown } else { ResetHint::NoReset };
            all.push(h.clone());
        }
        let bytes = check(&all);
        assert!(bytes < 120 * 24, "{bytes} bytes for 120 histograms of 20 buckets");
    }

    proptest! {
        #[test]
        fn any_histograms_survive(histograms in prop::collection::vec(histogram(), 1..40)) {
            check(&histograms);
        }

        #[test]
        fn no_bytes_panic(
            histograms in prop::collection::vec(histogram(), 1..4),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
            count in 0usize..300,
        ) {
            let (mut bytes, mut scratch) = (Vec::new(), Scratch::default());
            encode_histograms(&histograms.iter().collect::<Vec<_>>(), &mut scratch, &mut bytes);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = decode_histograms(&bytes, histograms.len(), &mut scratch);
            let _ = decode_histograms(&bytes, count, &mut scratch);
            bytes.truncate(cut.index(bytes.len()));
            let _ = decode_histograms(&bytes, histograms.len(), &mut scratch);
        }
    }
}
