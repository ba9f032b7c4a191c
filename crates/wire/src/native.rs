//! What makes a native histogram sound (Prometheus' `Histogram.Validate` and `FloatHistogram.Validate`), and how one is
//! brought to a coarser schema.

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram};

/// The exponential schemas that are kept.
pub const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;
/// Schemas above [`SCHEMAS`] that a sender may use; their histograms are brought to the finest that is kept.
const FINER: std::ops::RangeInclusive<i32> = 9..=52;

/// Why a histogram is refused, in Prometheus' words.
pub type Flaw = &'static str;

const UNKNOWN_SCHEMA: Flaw =
    "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets";
const NEGATIVE_OFFSET: Flaw = "histogram has a span whose offset is negative";
const MISMATCH: Flaw = "histogram spans specify different number of buckets than provided";
const NEGATIVE_COUNT: Flaw = "histogram has a bucket whose observation count is negative";
const COUNT_MISMATCH: Flaw =
    "histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)";
const COUNT_TOO_SMALL: Flaw = "histogram's observation count should be at least the number of observations found in the buckets";
const CUSTOM_MISMATCH: Flaw = "histogram custom bounds are too few";
const CUSTOM_INVALID: Flaw = "histogram custom bounds must be in strictly increasing order";
const CUSTOM_INFINITE: Flaw = "histogram custom bounds must be finite";
const CUSTOM_NEGATIVE: Flaw = "custom buckets: must not have negative spans or buckets";
const CUSTOM_ZERO: Flaw = "custom buckets: must have zero count of 0 and zero threshold of 0";
const EXPONENTIAL_BOUNDS: Flaw = "histogram with exponential schema must not have custom bounds";
const FAR_BUCKETS: Flaw = "histogram has buckets beyond the range of numbers";

/// Brings a histogram of a finer schema to the finest that is kept, and checks it. `integer`: its counts came as integers,
/// which must add up.
///
/// # Errors
/// What is wrong with it.
pub fn admit(histogram: &mut Histogram, integer: bool) -> Result<(), Flaw> {
    check_spans(&histogram.positive_spans, histogram.positive.len())?;
    check_spans(&histogram.negative_spans, histogram.negative.len())?;
    if FINER.contains(&histogram.schema) {
        coarsen(histogram, *SCHEMAS.end());
    }
    let buckets = || histogram.positive.iter().chain(&histogram.negative);
    if buckets().any(|n| *n < 0.0) || histogram.zero_count < 0.0 || histogram.count < 0.0 {
        return Err(NEGATIVE_COUNT);
    }
    if histogram.schema == CUSTOM_BUCKETS {
        check_custom(histogram)?;
    } else if !SCHEMAS.contains(&histogram.schema) {
        return Err(UNKNOWN_SCHEMA);
    } else if !histogram.custom_bounds.is_empty() {
        return Err(EXPONENTIAL_BOUNDS);
    }
    if integer && !model::is_stale(histogram.sum) {
        let found = histogram.zero_count + buckets().sum::<f64>();
        if histogram.sum.is_nan() {
            if found > histogram.count {
                return Err(COUNT_TOO_SMALL);
            }
        } else if found != histogram.count {
            return Err(COUNT_MISMATCH);
        }
    }
    Ok(())
}

fn check_spans(spans: &[BucketSpan], buckets: usize) -> Result<(), Flaw> {
    let (mut len, mut index) = (0u64, 0i64);
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(NEGATIVE_OFFSET);
        }
        index += i64::from(span.offset) + i64::from(span.length);
        len += u64::from(span.length);
    }
    if len != buckets as u64 {
        return Err(MISMATCH);
    }
    // So that no one who adds up offsets overflows.
    if i32::try_from(index).is_err() { Err(FAR_BUCKETS) } else { Ok(()) }
}

fn check_custom(histogram: &Histogram) -> Result<(), Flaw> {
    let bounds = &histogram.custom_bounds;
    if bounds.iter().any(|b| !b.is_finite()) {
        return Err(CUSTOM_INFINITE);
    }
    if bounds.windows(2).any(|w| w[0] >= w[1]) {
        return Err(CUSTOM_INVALID);
    }
    if !histogram.negative_spans.is_empty() || !histogram.negative.is_empty() {
        return Err(CUSTOM_NEGATIVE);
    }
    if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 {
        return Err(CUSTOM_ZERO);
    }
    let last = histogram.positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum::<i64>();
    let first = histogram.positive_spans.first().map_or(0, |s| s.offset);
    if first < 0 || last > bounds.len() as i64 + 1 { Err(CUSTOM_MISMATCH) } else { Ok(()) }
}

/// Merges buckets until the exponential schema is `schema`; a histogram that is as coarse already stays as it is.
pub fn coarsen(histogram: &mut Histogram, schema: i32) {
    let Ok(by) = u32::try_from(i64::from(histogram.schema) - i64::from(schema)) else { return };
    if by == 0 {
        return;
    }
    coarsen_side(&mut histogram.positive_spans, &mut histogram.positive, by);
    coarsen_side(&mut histogram.negative_spans, &mut histogram.negative, by);
    histogram.schema = schema;
}

fn coarsen_side(spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>, by: u32) {
    let merged = indexes(spans).zip(counts.iter()).map(|(index, n)| (coarser(index, by), *n));
    let merged: Vec<(i32, f64)> = merged.collect();
    spans.clear();
    counts.clear();
    for (index, n) in merged {
        push_bucket(spans, counts, index, n);
    }
}

/// The bucket of a schema coarser by `by` that holds bucket `index`: upper bounds are `base^index`.
fn coarser(index: i32, by: u32) -> i32 {
    let by = by.min(31);
    ((i64::from(index) - 1) >> by) as i32 + 1
}

/// The bucket of every count, in order; sums that leave the range of `i32` stop at its end ([`admit`] refuses them).
pub fn indexes(spans: &[BucketSpan]) -> impl Iterator<Item = i32> {
    let mut next = 0i32;
    spans.iter().flat_map(move |span| {
        let first = next.saturating_add(span.offset);
        next = first.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
        first..next
    })
}

/// Adds a count to the last bucket, or as a new bucket behind it; `index` does not fall from call to call.
pub fn push_bucket(spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>, index: i32, n: f64) {
    // Where the bucket behind the last one is.
    let next = spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum::<i64>();
    match (spans.last_mut(), counts.last_mut()) {
        (Some(_), Some(last)) if i64::from(index) < next => *last += n,
        (Some(span), Some(_)) if i64::from(index) == next => {
            span.length += 1;
            counts.push(n);
        }
        (Some(_), Some(_)) => {
            spans.push(BucketSpan { offset: i32::try_from(i64::from(index) - next).unwrap_or(i32::MAX), length: 1 });
            counts.push(n);
        }
        _ => {
            spans.push(BucketSpan { offset: index, length: 1 });
            counts.push(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Histogram {
        Histogram {
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 1.0,
            count: 10.0,
            sum: 12.5,
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 1, length: 1 }],
            positive: vec![1.0, 2.0, 3.0],
            negative_spans: vec![BucketSpan { offset: 4, length: 1 }],
            negative: vec![3.0],
            ..Histogram::default()
        }
    }

    fn custom() -> Histogram {
        Histogram {
            schema: CUSTOM_BUCKETS,
            count: 3.0,
            sum: 4.0,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive: vec![1.0, 2.0],
            custom_bounds: vec![1.0],
            ..Histogram::default()
        }
    }

    #[test]
    fn flaws_are_named_as_prometheus_names_them() {
        assert_eq!(admit(&mut sound(), true), Ok(()));
        assert_eq!(admit(&mut custom(), true), Ok(()));
        let flawed: [(fn(&mut Histogram), Flaw); 8] = [
            (|h| h.schema = -5, UNKNOWN_SCHEMA),
            (|h| h.schema = 53, UNKNOWN_SCHEMA),
            (|h| h.positive_spans[1].offset = -1, NEGATIVE_OFFSET),
            (|h| h.negative_spans.clear(), MISMATCH),
            (|h| h.positive[0] = -1.0, NEGATIVE_COUNT),
            (|h| h.count = 11.0, COUNT_MISMATCH),
            (|h| (h.count, h.sum) = (9.0, f64::NAN), COUNT_TOO_SMALL),
            (|h| h.custom_bounds.push(1.0), EXPONENTIAL_BOUNDS),
        ];
        for (spoil, flaw) in flawed {
            let mut h = sound();
            spoil(&mut h);
            assert_eq!(admit(&mut h, true), Err(flaw));
        }
        let flawed: [(fn(&mut Histogram), Flaw); 5] = [
            (|h| h.custom_bounds.clear(), CUSTOM_MISMATCH),
            (|h| h.custom_bounds = vec![2.0, 2.0], CUSTOM_INVALID),
            (|h| h.custom_bounds = vec![2.0, f64::INFINITY], CUSTOM_INFINITE),
            (|h| h.negative_spans.push(BucketSpan { offset: 0, length: 0 }), CUSTOM_NEGATIVE),
            (|h| h.zero_threshold = 0.5, CUSTOM_ZERO),
        ];
        for (spoil, flaw) in flawed {
            let mut h = custom();
            spoil(&mut h);
            assert_eq!(admit(&mut h, true), Err(flaw));
        }
    }

    #[test]
    fn a_finer_schema_is_made_coarser_without_losing_a_count() {
        // Buckets -3 to 4 of schema 9 are -1, 0, 0, 1, 1, 2, 2 of schema 8 and so on.
        let mut h = Histogram { schema: 10, count: 8.0, positive: vec![1.0; 8], ..Histogram::default() };
        h.positive_spans = vec![BucketSpan { offset: -3, length: 8 }];
        assert_eq!(admit(&mut h, true), Ok(()));
        assert_eq!((h.schema, &*h.positive_spans), (8, &[BucketSpan { offset: 0, length: 2 }][..]));
        assert_eq!(h.positive, [4.0, 4.0]);
        let mut far = Histogram {
            positive_spans: vec![BucketSpan { offset: i32::MAX, length: 1 }],
            positive: vec![1.0],
            ..Histogram::default()
        };
        assert_eq!(admit(&mut far, false), Err(FAR_BUCKETS));
    }
}
