//! What is to be said about an answer besides the answer, in the words of `util/annotations` of the reference.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::go_general;

/// Something wrong with the data (a warning) or perhaps with the query (an info).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Note<'a> {
    InvalidQuantile(f64),
    InvalidRatio { got: f64, capped: f64 },
    BadBucketLabel { metric: &'a str, label: &'a str },
    MixedFloatsHistograms(&'a str),
    MixedFloatsHistogramsAggregation,
    MixedClassicNative(&'a str),
    NotCounter(&'a str),
    NotGauge(&'a str),
    MixedExponentialCustom(&'a str),
    IncompatibleBucketLayout(&'static str),
    HintsCollide(Operation),
    StartTimeOverlap(&'a str),
    PossibleNonCounter(&'a str),
    PossibleNonCounterLabel { metric: &'a str, label: &'a str },
    ForcedMonotonicity(&'a str, Forced),
    IncompatibleTypes { left: &'static str, op: &'static str, right: &'static str },
    IgnoredInAggregation(&'static str),
    IgnoredInMixedRange(&'a str),
    QuantileNanResult(&'a str),
    QuantileNanSkew(&'a str),
    FractionNans(&'a str),
    BoundsReconciled(Operation),
    SortInRange,
}

/// What was done with histograms.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Addition,
    Subtraction,
    Aggregation,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Where the counts of classic buckets fell and had to be raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forced {
    /// Lowest and highest upper bound of such a bucket.
    pub(crate) buckets: (f64, f64),
    /// Largest amount.
    pub(crate) most: f64,
    /// First and last time, milliseconds.
    pub(crate) times: (i64, i64),
    /// How many histograms.
    pub(crate) count: u64,
}

/// ` for metric name "x"`, where there is one.
fn named(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") }
}

impl Note<'_> {
    fn is_info(&self) -> bool {
        matches!(
            self,
            Self::PossibleNonCounter(_)
                | Self::PossibleNonCounterLabel { .. }
                | Self::ForcedMonotonicity(..)
                | Self::IncompatibleTypes { .. }
                | Self::IgnoredInAggregation(_)
                | Self::IgnoredInMixedRange(_)
                | Self::QuantileNanResult(_)
                | Self::QuantileNanSkew(_)
                | Self::FractionNans(_)
                | Self::BoundsReconciled(_)
        )
    }

    fn text(&self) -> String {
        match *self {
            Self::InvalidQuantile(q) => format!("quantile value should be between 0 and 1, got {}", go_general(q)),
            Self::InvalidRatio { got, capped } => {
                format!("ratio value should be between -1 and 1, got {}, capping to {}", go_general(got), go_general(capped))
            }
            Self::BadBucketLabel { metric, label } => {
                format!("bucket label \"le\" is missing or has a malformed value of {label:?}{}", named(metric))
            }
            Self::MixedFloatsHistograms(metric) => {
                format!("encountered a mix of histograms and floats for metric name {metric:?}")
            }
            Self::MixedFloatsHistogramsAggregation => "encountered a mix of histograms and floats for aggregation".to_owned(),
            Self::MixedClassicNative(metric) => {
                format!("vector contains a mix of classic and native histograms{}", named(metric))
            }
            Self::NotCounter(metric) => format!("this native histogram metric is not a counter: {metric:?}"),
            Self::NotGauge(metric) => format!("this native histogram metric is not a gauge: {metric:?}"),
            Self::MixedExponentialCustom(metric) => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            Self::IncompatibleBucketLayout(op) => {
                format!("incompatible bucket layout encountered for binary operator {op}")
            }
            Self::HintsCollide(operation) => {
                format!("conflicting counter resets during histogram {}", operation.as_str())
            }
            Self::StartTimeOverlap(metric) => {
                format!("sample has start time that overlaps with previous sample timestamp for metric {metric:?}")
            }
            Self::PossibleNonCounter(metric) => {
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
            }
            Self::PossibleNonCounterLabel { metric, label } => format!(
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {label:?}: {metric:?}"
            ),
            Self::ForcedMonotonicity(metric, _) => format!(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                named(metric)
            ),
            Self::IncompatibleTypes { left, op, right } => {
                format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}")
            }
            Self::IgnoredInAggregation(op) => format!("ignored histogram in {op} aggregation"),
            Self::IgnoredInMixedRange(metric) => {
                format!("ignored histograms in a range containing both floats and histograms for metric name {metric:?}")
            }
            Self::QuantileNanResult(metric) => {
                format!("input to histogram_quantile has NaN observations, result is NaN{}", named(metric))
            }
            Self::QuantileNanSkew(metric) => {
                format!("input to histogram_quantile has NaN observations, result is skewed higher{}", named(metric))
            }
            Self::FractionNans(metric) => format!(
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                named(metric)
            ),
            Self::BoundsReconciled(operation) => {
                format!("mismatched custom buckets were reconciled during {}", operation.as_str())
            }
            Self::SortInRange => "sort is ineffective for range queries since results are always ordered by labels".to_owned(),
        }
    }
}

/// The notes of one query: each text once, at the first place where it was said; from any thread.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<BTreeMap<(bool, String), (usize, Option<Forced>)>>);

impl Notes {
    /// Says `note` of the expression at byte `at`.
    pub(crate) fn add(&self, at: usize, note: Note<'_>) {
        let forced = if let Note::ForcedMonotonicity(_, forced) = note { Some(forced) } else { None };
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, before) = notes.entry((note.is_info(), note.text())).or_insert((at, None));
        *before = match (*before, forced) {
            (Some(a), Some(b)) => Some(Forced {
                buckets: (a.buckets.0.min(b.buckets.0), a.buckets.1.max(b.buckets.1)),
                most: a.most.max(b.most),
                times: (a.times.0.min(b.times.0), a.times.1.max(b.times.1)),
                count: a.count + b.count,
            }),
            (before, forced) => before.or(forced),
        };
    }

    /// Warnings and infos as the API gives them: with the place in `query`.
    pub(crate) fn into_texts(self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for ((is_info, text), (at, forced)) in self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let syntax::Position { line, column, .. } = syntax::Position::of(query, at);
            let kind = if is_info { "info" } else { "warning" };
            let details = forced.map(details).unwrap_or_default();
            let list = if is_info { &mut infos } else { &mut warnings };
            list.push(format!("PromQL {kind}: {text}{details} ({line}:{column})"));
        }
        (warnings, infos)
    }
}

fn details(forced: Forced) -> String {
    let Forced { buckets: (low, high), most, times: (first, last), count } = forced;
    let [first, last] = [first, last].map(crate::eval::calendar::rfc3339);
    format!(
        ", from buckets {} to {}, with a max diff of {}, over {count} samples from {first} to {last}",
        go_general(low),
        go_general(high),
        two_digits(most)
    )
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if rounded != 0.0 && !(1e-4..100.0).contains(&rounded.abs()) {
        let text = format!("{rounded:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let power: i32 = exponent.parse().unwrap_or(0);
        return format!("{digits}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs());
    }
    rounded.to_string()
}
