//! Native histograms, after Prometheus' `model/histogram.FloatHistogram` and the specification of native histograms
//! (<https://prometheus.io/docs/specs/native_histograms/>).

mod arithmetic;
mod bounds;
mod reset;
mod sum;
#[cfg(test)]
mod tests;
mod text;

pub use bounds::Bucket;
pub use sum::{HistogramSum, IncompatibleBuckets, Merged};
pub use text::go_general;

/// The schema of histograms whose bucket bounds are given, not computed ([`Histogram::custom_bounds`]): "NHCB".
pub const CUSTOM_BUCKETS: i32 = -53;

/// What is known of a counter reset between a histogram and the one before it in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NoReset,
    /// A gauge histogram: resets mean nothing.
    Gauge,
}

/// Consecutive buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketSpan {
    /// For the first span the index of its first bucket, for later ones the gap to the span before (not negative).
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// One native histogram. Counts are absolute (not deltas between buckets) and floats: what an integer histogram counts
/// is exact up to 2^53.
///
/// Exponential schemas are -4 to 8: bucket `i` of a side is `(2^(2^-schema * (i-1)), 2^(2^-schema * i)]`. With
/// [`CUSTOM_BUCKETS`] positive bucket `i` ends at `custom_bounds[i]`, the last one at infinity; there are no negative
/// buckets and no zero bucket.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// See above.
    pub schema: i32,
    /// What is known of a reset before it.
    pub reset_hint: ResetHint,
    /// Half the width of the zero bucket: `[-zero_threshold, zero_threshold]`.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations, those of value NaN too.
    pub count: f64,
    /// Sum of the observations; the staleness marker's bits in a stale histogram ([`crate::is_stale`]).
    pub sum: f64,
    /// Which positive buckets `positive` holds.
    pub positive_spans: Vec<BucketSpan>,
    /// Which negative buckets `negative` holds.
    pub negative_spans: Vec<BucketSpan>,
    /// Observations in each positive bucket.
    pub positive: Vec<f64>,
    /// Observations in each negative bucket, from zero downwards.
    pub negative: Vec<f64>,
    /// Upper bounds of custom buckets, ascending, without the infinite one; empty for exponential schemas.
    pub custom_bounds: Vec<f64>,
}

/// The buckets of one side: index and count. Never more than there are counts, whatever the spans say.
fn pairs<'a>(spans: &'a [BucketSpan], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let starts = spans.iter().scan(0i32, |next, span| {
        let start = next.wrapping_add(span.offset);
        *next = start.wrapping_add_unsigned(span.length);
        Some((start, span.length))
    });
    starts.flat_map(|(start, length)| (0..length).map(move |i| start.wrapping_add_unsigned(i))).zip(counts.iter().copied())
}
