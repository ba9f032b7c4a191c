//! What points of delta temporality have added up to: each is added to the sum of those before it, and the sum is kept as
//! the sample, with the start of the first of them.
//!
//! The sums are in memory for as long as the series is ([`super::registry`]), so they are as many as it may be. A series whose
//! sum is not in memory, after a start or a long silence, goes on from the last sample that was kept of it in the hour
//! before; a sum needs no file of its own, because the sample is the sum. Where there is none it begins anew, which the start
//! timestamp tells.

use std::sync::Arc;

use model::{CUSTOM_BUCKETS, Histogram};
use wire::native::{SCHEMAS, coarsen, indexes, push_bucket};

use crate::SeriesSamples;

/// How long before a point the sample may be that it is added to, milliseconds.
pub(super) const SILENCE_MS: i64 = 3_600_000;
/// A sum has so many buckets a side; it is made coarser when it would have more.
const MAX_BUCKETS: usize = 320;

/// What is added, and what it has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Amount {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// The sum of a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Total {
    /// Of the last point.
    pub time: i64,
    /// Of the first.
    pub start: i64,
    pub amount: Amount,
}

impl Total {
    /// The sum with which the last of these samples leaves off, unless the series had ended.
    pub(super) fn of_last(samples: &SeriesSamples) -> Option<Self> {
        let float = samples.times.last().zip(samples.values.last()).map(|(time, value)| Self {
            time: *time,
            start: samples.starts.last().copied().unwrap_or_default(),
            amount: Amount::Float(*value),
        });
        let histogram = samples.histograms.last().map(|h| Self {
            time: h.time,
            start: h.start,
            amount: Amount::Histogram(Arc::clone(&h.histogram)),
        });
        let last = [float, histogram].into_iter().flatten().max_by_key(|total| total.time)?;
        let ended = match &last.amount {
            Amount::Float(value) => model::is_stale(*value),
            Amount::Histogram(h) => model::is_stale(h.sum),
        };
        (!ended).then_some(last)
    }

    /// Adds a point's amount; begins anew with it where the two do not go together.
    pub(crate) fn add(&mut self, time: i64, start: i64, amount: Amount) {
        self.time = time;
        let fresh = match (&mut self.amount, &amount) {
            // Nothing was recorded: the series ends.
            (_, Amount::Float(value)) if model::is_stale(*value) => true,
            (_, Amount::Histogram(h)) if model::is_stale(h.sum) => true,
            (Amount::Float(total), Amount::Float(_)) if model::is_stale(*total) => true,
            (Amount::Float(total), Amount::Float(value)) => {
                *total += value;
                false
            }
            (Amount::Histogram(total), Amount::Histogram(h)) => !add(Arc::make_mut(total), h),
            _ => true,
        };
        if fresh {
            (self.start, self.amount) = (start, amount);
        }
    }
}

/// Adds a histogram to another; false where they do not go together.
fn add(total: &mut Histogram, h: &Histogram) -> bool {
    let custom = total.schema == CUSTOM_BUCKETS;
    if model::is_stale(total.sum)
        || custom != (h.schema == CUSTOM_BUCKETS)
        || total.custom_bounds != h.custom_bounds
        || total.zero_threshold != h.zero_threshold
    {
        return false;
    }
    let mut h = h.clone();
    let schema = total.schema.min(h.schema);
    coarsen(total, schema);
    coarsen(&mut h, schema);
    merge(&mut total.positive_spans, &mut total.positive, &h.positive_spans, &h.positive);
    merge(&mut total.negative_spans, &mut total.negative, &h.negative_spans, &h.negative);
    while !custom && total.schema > *SCHEMAS.start() && total.positive.len().max(total.negative.len()) > MAX_BUCKETS {
        coarsen(total, total.schema - 1);
    }
    total.count += h.count;
    total.zero_count += h.zero_count;
    total.sum += h.sum;
    total.reset_hint = model::ResetHint::Unknown;
    true
}

fn merge(spans: &mut Vec<model::BucketSpan>, counts: &mut Vec<f64>, more_spans: &[model::BucketSpan], more: &[f64]) {
    let mut all: Vec<(i32, f64)> = indexes(spans).zip(counts.iter().copied()).collect();
    all.extend(indexes(more_spans).zip(more.iter().copied()));
    // Stable, and equal ones are added up.
    all.sort_by_key(|(index, _)| *index);
    spans.clear();
    counts.clear();
    for (index, n) in all {
        push_bucket(spans, counts, index, n);
    }
}

#[cfg(test)]
mod tests {
    use model::BucketSpan;

    use super::*;

    fn exponential(schema: i32, offset: i32, positive: &[f64]) -> Histogram {
        Histogram {
            schema,
            count: positive.iter().sum(),
            sum: 2.0,
            positive_spans: vec![BucketSpan { offset, length: positive.len() as u32 }],
            positive: positive.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn histograms_are_added_bucket_by_bucket_at_the_coarser_schema() {
        let mut total = exponential(1, 0, &[1.0, 2.0]);
        assert!(add(&mut total, &exponential(1, 5, &[4.0])));
        assert_eq!((total.count, total.sum, &*total.positive), (7.0, 4.0, &[1.0, 2.0, 4.0][..]));
        assert_eq!(total.positive_spans, [BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 3, length: 1 }]);
        // Buckets 0, 1, 5 of schema 1 are 0, 1, 3 of schema 0.
        assert!(add(&mut total, &exponential(0, 1, &[10.0])));
        assert_eq!((total.schema, &*total.positive), (0, &[1.0, 12.0, 4.0][..]));
        assert!(!add(&mut total, &Histogram { schema: CUSTOM_BUCKETS, ..Histogram::default() }));
    }

    #[test]
    fn a_sum_stays_bounded() {
        let mut total = exponential(8, 0, &[1.0]);
        for i in 1..5_000 {
            assert!(add(&mut total, &exponential(8, i * 40, &[1.0])));
        }
        assert!(total.positive.len() <= MAX_BUCKETS, "{}", total.positive.len());
        assert_eq!((total.count, total.positive.iter().sum::<f64>()), (5_000.0, 5_000.0));
    }

    #[test]
    fn a_sum_begins_anew_after_the_series_ended() {
        let stale = f64::from_bits(model::STALE_NAN_BITS);
        let mut total = Total { time: 1, start: 1, amount: Amount::Float(5.0) };
        total.add(2, 1, Amount::Float(2.0));
        assert_eq!(total, Total { time: 2, start: 1, amount: Amount::Float(7.0) });
        total.add(3, 2, Amount::Float(stale));
        total.add(4, 3, Amount::Float(2.0));
        assert_eq!(total, Total { time: 4, start: 3, amount: Amount::Float(2.0) });
    }
}
