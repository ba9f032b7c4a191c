//! Sums of histograms.

use super::{BucketSpan, CUSTOM_BUCKETS, Histogram, ResetHint, pairs};

/// Why two histograms cannot be brought to one layout: one has custom buckets, the other exponential ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncompatibleBuckets;

impl std::fmt::Display for IncompatibleBuckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the histograms have different (incompatible) exponential and custom bucket layouts")
    }
}

impl std::error::Error for IncompatibleBuckets {}

/// What was remarkable when two histograms were brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// One said that there was a counter reset, the other that there was none; the sum's hint is unknown.
    pub hints_collide: bool,
    /// Their custom bounds differ; the sum has those that both have.
    pub bounds_reconciled: bool,
}

/// A number with the rounding error of its sum kept beside it (Neumaier).
#[derive(Debug, Clone, Copy, Default)]
struct Total {
    sum: f64,
    error: f64,
}

impl Total {
    fn new(sum: f64) -> Self {
        Self { sum, error: 0.0 }
    }

    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            *self = Self::new(total);
            return;
        }
        self.error += if self.sum.abs() >= value.abs() { (self.sum - total) + value } else { (value - total) + self.sum };
        self.sum = total;
    }

    fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.error += other.error;
    }

    fn apply(&mut self, f: impl Fn(f64) -> f64) {
        (self.sum, self.error) = (f(self.sum), f(self.error));
    }

    fn get(self) -> f64 {
        if self.error == 0.0 { self.sum } else { self.sum + self.error }
    }
}

/// A side's buckets by their index, ascending.
type Side = Vec<(i32, Total)>;

/// A sum of histograms that keeps the rounding errors of all its counts.
#[derive(Debug, Clone)]
pub struct HistogramSum {
    schema: i32,
    reset_hint: ResetHint,
    zero_threshold: f64,
    zero: Total,
    count: Total,
    sum: Total,
    positive: Side,
    negative: Side,
    custom_bounds: Vec<f64>,
}

impl From<&Histogram> for HistogramSum {
    fn from(h: &Histogram) -> Self {
        let side = |spans, counts| pairs(spans, counts).map(|(i, count)| (i, Total::new(count))).collect();
        Self {
            schema: h.schema,
            reset_hint: h.reset_hint,
            zero_threshold: h.zero_threshold,
            zero: Total::new(h.zero_count),
            count: Total::new(h.count),
            sum: Total::new(h.sum),
            positive: side(&h.positive_spans, &h.positive),
            negative: side(&h.negative_spans, &h.negative),
            custom_bounds: h.custom_bounds.clone(),
        }
    }
}

/// The bucket of a schema `by` lower that holds bucket `index`.
fn coarser(index: i32, by: u32) -> i32 {
    (index.wrapping_sub(1) >> by.min(31)).wrapping_add(1)
}

/// Gives every bucket the index that `index` says; buckets that meet are added.
fn reindex(side: &mut Side, index: impl Fn(i32) -> i32) {
    let mut out: Side = Vec::with_capacity(side.len());
    for (i, total) in side.drain(..) {
        let i = index(i);
        match out.last_mut() {
            Some((last, sum)) if *last == i => sum.merge(total),
            _ => out.push((i, total)),
        }
    }
    *side = out;
}

/// Adds `other` to `side`, both ascending.
fn add_side(side: &mut Side, other: impl Iterator<Item = (i32, f64)>) {
    let mut other = other.peekable();
    let mut out: Side = Vec::with_capacity(side.len());
    for (i, mut total) in side.drain(..) {
        while let Some((j, count)) = other.next_if(|(j, _)| *j < i) {
            out.push((j, Total::new(count)));
        }
        if let Some((_, count)) = other.next_if(|(j, _)| *j == i) {
            total.add(count);
        }
        out.push((i, total));
    }
    out.extend(other.map(|(j, count)| (j, Total::new(count))));
    *side = out;
}

impl HistogramSum {
    /// Adds `factor` times `other`. Differences of schema, zero threshold and custom bounds are reconciled: the sum has the
    /// coarser layout of both.
    ///
    /// # Errors
    /// [`IncompatibleBuckets`]; the sum is unchanged then.
    pub fn add(&mut self, other: &Histogram, factor: f64) -> Result<Merged, IncompatibleBuckets> {
        if (self.schema == CUSTOM_BUCKETS) != other.has_custom_buckets() {
            return Err(IncompatibleBuckets);
        }
        let hints_collide = self.adjust_hint(other.reset_hint);
        self.count.add(factor * other.count);
        self.sum.add(factor * other.sum);
        if other.has_custom_buckets() {
            let bounds_reconciled = self.add_custom(other, factor);
            return Ok(Merged { hints_collide, bounds_reconciled });
        }
        let zero_count = self.reconcile_zero(other);
        self.zero.add(factor * zero_count);
        self.reduce_to(other.schema);
        let by = u32::try_from(other.schema - self.schema).unwrap_or(0);
        let threshold = self.zero_threshold;
        for (side, spans, counts) in [
            (&mut self.positive, &other.positive_spans, &other.positive),
            (&mut self.negative, &other.negative_spans, &other.negative),
        ] {
            let mut theirs: Side = Vec::with_capacity(counts.len());
            for (i, count) in pairs(spans, counts) {
                // What lies in the zero bucket is counted there.
                if threshold > 0.0 && other.bound(i) <= threshold {
                    continue;
                }
                match (coarser(i, by), theirs.last_mut()) {
                    (i, Some((last, total))) if *last == i => total.sum += count,
                    (i, _) => theirs.push((i, Total::new(count))),
                }
            }
            add_side(side, theirs.into_iter().map(|(i, total)| (i, factor * total.sum)));
        }
        Ok(Merged { hints_collide, bounds_reconciled: false })
    }

    /// What the hint becomes; whether the two contradict each other.
    fn adjust_hint(&mut self, other: ResetHint) -> bool {
        let (before, collides) = (self.reset_hint, other != ResetHint::Gauge && self.reset_hint != ResetHint::Gauge);
        self.reset_hint = match (before, other) {
            (a, b) if a == b => a,
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        collides && before != other && before != ResetHint::Unknown && other != ResetHint::Unknown
    }

    /// Whether the bounds differed.
    fn add_custom(&mut self, other: &Histogram, factor: f64) -> bool {
        let theirs = pairs(&other.positive_spans, &other.positive);
        if self.custom_bounds == other.custom_bounds {
            add_side(&mut self.positive, theirs.map(|(i, count)| (i, factor * count)));
            return false;
        }
        let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
        reindex(&mut self.positive, |i| common_index(i, &self.custom_bounds, &common));
        let mut mapped: Side = Vec::new();
        for (i, count) in theirs {
            match (common_index(i, &other.custom_bounds, &common), mapped.last_mut()) {
                (i, Some((last, total))) if *last == i => total.sum += count,
                (i, _) => mapped.push((i, Total::new(count))),
            }
        }
        add_side(&mut self.positive, mapped.into_iter().map(|(i, total)| (i, factor * total.sum)));
        self.custom_bounds = common;
        true
    }

    /// Widens the zero bucket until it holds whole buckets of both; returns what `other` has in it.
    fn reconcile_zero(&mut self, other: &Histogram) -> f64 {
        let (mut zero_count, mut threshold) = (other.zero_count, other.zero_threshold);
        // Each turn widens one of both to a bucket's bound, of which there are only so many; NaN thresholds never meet.
        while threshold != self.zero_threshold && !threshold.is_nan() && !self.zero_threshold.is_nan() {
            if self.zero_threshold > threshold {
                (zero_count, threshold) = other.zero_count_within(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                self.widen_zero(threshold);
            }
        }
        zero_count
    }

    fn widen_zero(&mut self, threshold: f64) {
        let (_, threshold) = self.get().zero_count_within(threshold);
        self.zero_threshold = threshold;
        // Only the schema decides about bounds here.
        let layout = Histogram { schema: self.schema, ..Histogram::default() };
        for side in [&mut self.positive, &mut self.negative] {
            let (inside, outside) = side.drain(..).partition(|(i, _)| layout.bound(i.saturating_sub(1)) < threshold);
            *side = outside;
            let inside: Side = inside;
            inside.into_iter().for_each(|(_, total)| self.zero.merge(total));
        }
    }

    /// Lowers the resolution to `schema`, if it is higher.
    fn reduce_to(&mut self, schema: i32) {
        let Some(by) = u32::try_from(self.schema - schema).ok().filter(|by| *by > 0) else { return };
        for side in [&mut self.positive, &mut self.negative] {
            reindex(side, |i| coarser(i, by));
        }
        self.schema = schema;
    }

    fn each(&mut self, f: impl Fn(f64) -> f64) {
        for total in [&mut self.zero, &mut self.count, &mut self.sum] {
            total.apply(&f);
        }
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, total)| total.apply(&f));
    }

    /// Multiplies every count by a factor that is not negative.
    pub fn multiply(&mut self, factor: f64) {
        self.each(|v| v * factor);
    }

    /// Divides every count by a divisor that is positive.
    pub fn divide(&mut self, divisor: f64) {
        self.each(|v| v / divisor);
    }

    /// Whether a count or the sum is infinite.
    #[must_use]
    pub fn has_overflow(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|(_, total)| total);
        [self.zero, self.count, self.sum].iter().chain(buckets).any(|total| total.sum.is_infinite())
    }

    /// The sum.
    #[must_use]
    pub fn get(&self) -> Histogram {
        let side = |side: &Side| layout(side.iter().map(|(i, total)| (*i, total.get())));
        let ((positive_spans, positive), (negative_spans, negative)) = (side(&self.positive), side(&self.negative));
        Histogram {
            schema: self.schema,
            reset_hint: self.reset_hint,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero.get(),
            count: self.count.get(),
            sum: self.sum.get(),
            positive_spans,
            negative_spans,
            positive,
            negative,
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

/// Spans and counts of buckets by their index.
pub(super) fn layout(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let (mut spans, mut counts): (Vec<BucketSpan>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut next = 0i32;
    for (i, count) in buckets {
        match spans.last_mut() {
            Some(span) if i == next => span.length += 1,
            _ => spans.push(BucketSpan { offset: i.wrapping_sub(next), length: 1 }),
        }
        counts.push(count);
        next = i.wrapping_add(1);
    }
    (spans, counts)
}

/// The bounds that both have; both are ascending.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut b = b.iter().peekable();
    let mut common = Vec::new();
    for x in a {
        while b.next_if(|y| *y < x).is_some() {}
        if b.peek().is_some_and(|y| *y == x) {
            common.push(*x);
        }
    }
    common
}

/// Which bucket of `common` holds bucket `i` of `bounds`.
pub(super) fn common_index(i: i32, bounds: &[f64], common: &[f64]) -> i32 {
    let upper = usize::try_from(i).ok().and_then(|i| bounds.get(i).copied()).unwrap_or(f64::INFINITY);
    common.partition_point(|bound| *bound < upper) as i32
}
