//! Quantiles and fractions of classic histograms, after `promql/quantile.go` of the reference.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Histogram, Labels};

use super::native::{self, Nans};
use super::value::{Series, metric, present, without};
use super::window::Point;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::Expr;
use crate::notes::{Forced, Note};

/// A bucket: how many observations are at most `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    pub(super) upper: f64,
    pub(super) count: f64,
}

/// Relative differences of neighbouring counts below this are rounding.
const SMALL_DELTA: f64 = 1e-12;

/// Where counts fell: lowest and highest bound, largest amount.
type Falls = Option<(f64, f64, f64)>;

/// Sorts, unites those of one bound; false where the last one is not infinite.
fn tidy(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.upper.total_cmp(&b.upper));
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return false;
    }
    // Buckets of one bound, written differently (`1`, `1.0`), are one.
    buckets.dedup_by(|b, kept| {
        let same = b.upper == kept.upper;
        if same {
            kept.count += b.count;
        }
        same
    });
    true
}

/// The `q` quantile, interpolated inside its bucket, and what had to be done to make the counts monotonic.
pub(super) fn bucket_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, Falls) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if !tidy(buckets) {
        return (f64::NAN, None);
    }
    let falls = make_monotonic(buckets);
    let Some((last, finite)) = buckets.split_last() else { return (f64::NAN, None) };
    if finite.is_empty() || last.count == 0.0 || last.count.is_nan() {
        return (f64::NAN, None);
    }
    let mut rank = q * last.count;
    let at = finite.iter().position(|b| b.count >= rank).unwrap_or(finite.len());
    if at == finite.len() {
        return (finite[finite.len() - 1].upper, falls);
    }
    let bucket = finite[at];
    if at == 0 && bucket.upper <= 0.0 {
        return (bucket.upper, falls);
    }
    let (mut start, mut count) = (0.0, bucket.count);
    if at > 0 {
        start = finite[at - 1].upper;
        count -= finite[at - 1].count;
        rank -= finite[at - 1].count;
    }
    (start + (bucket.upper - start) * (rank / count), falls)
}

fn make_monotonic(buckets: &mut [Bucket]) -> Falls {
    let mut falls: Falls = None;
    for i in 1..buckets.len() {
        let (before, here) = (buckets[i - 1].count, buckets[i].count);
        if before == here {
            continue;
        }
        let small = (before - here).abs() <= SMALL_DELTA * before.abs().max(here.abs());
        if small || here < before {
            if !small {
                let upper = buckets[i].upper;
                let (low, high, most) = falls.unwrap_or((upper, upper, 0.0));
                falls = Some((low.min(upper), high.max(upper), most.max(before - here)));
            }
            buckets[i].count = before;
        }
    }
    falls
}

/// The share of observations between `lower` and `upper`.
pub(super) fn bucket_fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    let total = if tidy(buckets) { buckets.last().map_or(f64::NAN, |b| b.count) } else { f64::NAN };
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let rank_of = |bound: f64| {
        let (mut rank, mut start) = (0.0, f64::NEG_INFINITY);
        for b in buckets.iter() {
            // The lowest bucket of a positive bound begins at 0, as for quantiles.
            let low = if start == f64::NEG_INFINITY && b.upper > 0.0 { 0.0 } else { start };
            if low >= bound {
                return rank;
            }
            if b.upper > bound {
                return (rank + (b.count - rank) * (bound - low) / (b.upper - low)).min(total);
            }
            (rank, start) = (b.count, b.upper);
        }
        total
    };
    (rank_of(upper) - rank_of(lower)) / total
}

/// Classic and native histograms of one name and label set.
struct Both {
    labels: Arc<Labels>,
    drop_name: bool,
    /// With its upper bound.
    classic: Vec<(f64, Series)>,
    native: Option<Series>,
}

/// What is asked of each histogram.
#[derive(Clone, Copy)]
pub(super) enum Asked<'q> {
    /// A quantile a step; where its number stands in the query.
    Quantile(&'q [f64]),
    /// Lower and upper bounds.
    Fraction(&'q [f64], &'q [f64]),
}

/// Histograms, gathered for functions that take them.
pub(super) struct Gathered<'e> {
    histograms: Vec<Both>,
    /// Where the vector stands in the query, and the function's first argument.
    at: usize,
    first_at: usize,
    vector: &'e Expr,
}

/// An upper bound as `le` writes it.
fn bound(le: &str) -> Option<f64> {
    match le.to_ascii_lowercase().trim_start_matches(['+', '-']) {
        "inf" | "infinity" => Some(if le.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        _ => le.parse().ok(),
    }
}

impl Evaluator<'_> {
    pub(super) fn gather_histograms<'e>(&self, vector: &'e Expr, first: &Expr, grid: Grid) -> Result<Gathered<'e>, EvalError> {
        let at = vector.inner().start;
        let mut places: HashMap<Arc<Labels>, usize> = HashMap::new();
        let mut histograms: Vec<Both> = Vec::new();
        for s in self.vector(vector, grid)? {
            let has_floats = s.values.iter().any(|v| present(*v).is_some());
            let has_histograms = s.histograms.iter().any(Option::is_some);
            let upper = if has_floats {
                let le = s.labels.get("le").unwrap_or("");
                let upper = bound(le);
                if upper.is_none() {
                    self.notes.add(at, Note::BadBucketLabel { metric: metric(&s.labels), label: le });
                }
                upper
            } else {
                None
            };
            let mut place = |labels: Arc<Labels>| {
                let drop_name = s.drop_name;
                *places.entry(labels).or_insert_with_key(|labels| {
                    histograms.push(Both { labels: labels.clone(), drop_name, classic: Vec::new(), native: None });
                    histograms.len() - 1
                })
            };
            let classic = upper.map(|upper| (place(Arc::new(without(&s.labels, |n| n == "le"))), upper));
            let native = has_histograms.then(|| place(s.labels.clone()));
            match (classic, native) {
                (Some((i, upper)), Some(j)) => {
                    histograms[i].classic.push((upper, s.clone()));
                    histograms[j].native = Some(s);
                }
                (Some((i, upper)), None) => histograms[i].classic.push((upper, s)),
                (None, Some(j)) => histograms[j].native = Some(s),
                (None, None) => {}
            }
        }
        Ok(Gathered { histograms, at, first_at: first.inner().start, vector })
    }

    /// Asks each histogram at each step; `label` is added to the answers.
    pub(super) fn ask_histograms(
        &self,
        gathered: &Gathered<'_>,
        asked: Asked<'_>,
        label: Option<(&str, &str)>,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let mut out = Vec::new();
        for both in &gathered.histograms {
            self.charge(grid.len())?;
            let labels = match label {
                Some(pair) => Arc::new(Labels::from_pairs(both.labels.iter().chain([pair]))),
                None => both.labels.clone(),
            };
            let mut series = Series::absent(labels, grid.len());
            let mut buckets = Vec::with_capacity(both.classic.len());
            for (step, time) in grid.times().enumerate() {
                buckets.clear();
                buckets
                    .extend(both.classic.iter().filter_map(|(upper, s)| s.at(step).map(|count| Bucket { upper: *upper, count })));
                let native = both.native.as_ref().and_then(|s| s.histogram(step));
                let value = match native {
                    Some(_) if !buckets.is_empty() => {
                        self.notes.add(gathered.at, Note::MixedClassicNative(metric(&both.labels)));
                        continue;
                    }
                    Some(h) => self.ask_native(asked, h, metric(&both.labels), gathered.first_at, step),
                    None if buckets.is_empty() => continue,
                    None => self.ask_classic(asked, &mut buckets, both, gathered, step, time),
                };
                series.set(step, Point::Float(value));
            }
            if !series.is_empty() {
                series.drop_name = both.drop_name;
                self.drop_name(&mut series);
                out.push(series);
            }
        }
        super::value::unite(out)
    }

    fn ask_native(&self, asked: Asked<'_>, h: &Arc<Histogram>, metric: &str, at: usize, step: usize) -> f64 {
        match asked {
            Asked::Quantile(q) => {
                let (value, nans) = native::quantile(q[step], h);
                match nans {
                    Nans::None => {}
                    Nans::Result => self.notes.add(at, Note::QuantileNanResult(metric)),
                    Nans::Skew => self.notes.add(at, Note::QuantileNanSkew(metric)),
                }
                value
            }
            Asked::Fraction(lower, upper) => {
                let (value, nans) = native::fraction(lower[step], upper[step], h);
                if nans {
                    self.notes.add(at, Note::FractionNans(metric));
                }
                value
            }
        }
    }

    fn ask_classic(
        &self,
        asked: Asked<'_>,
        buckets: &mut Vec<Bucket>,
        both: &Both,
        gathered: &Gathered<'_>,
        step: usize,
        time: i64,
    ) -> f64 {
        match asked {
            Asked::Quantile(q) => {
                let (value, falls) = bucket_quantile(q[step], buckets);
                if let Some((low, high, most)) = falls {
                    // Without delay the name is gone already.
                    let delayed = self.question.options.delayed_name_removal;
                    let name = if delayed { metric(&both.labels) } else { "" };
                    let forced = Forced { buckets: (low, high), most, times: (time, time), count: 1 };
                    self.notes.add(gathered.vector.inner().start, Note::ForcedMonotonicity(name, forced));
                }
                value
            }
            Asked::Fraction(lower, upper) => bucket_fraction(lower[step], upper[step], buckets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        counts.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    fn quantile(q: f64, counts: &[(f64, f64)]) -> f64 {
        bucket_quantile(q, &mut buckets(counts)).0
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let inf = f64::INFINITY;
        let counts = [(0.1, 10.0), (0.5, 30.0), (inf, 40.0)];
        assert!((quantile(0.5, &counts) - 0.3).abs() < 1e-12);
        assert_eq!(quantile(0.25, &counts), 0.1);
        assert_eq!(quantile(1.0, &counts), 0.5);
        assert_eq!(quantile(1.1, &counts), inf);
        assert!(quantile(0.5, &counts[..2]).is_nan(), "no +Inf bucket");
        assert!(quantile(0.5, &[(0.1, 0.0), (inf, 0.0)]).is_nan(), "no observations");
        assert_eq!(quantile(0.5, &[(-1.0, 10.0), (inf, 10.0)]), -1.0);
        // A count that falls is raised to the one before.
        assert_eq!(quantile(0.5, &[(1.0, 10.0), (2.0, 5.0), (inf, 10.0)]), 0.5);
        let falls = bucket_quantile(0.5, &mut buckets(&[(1.0, 10.0), (2.0, 5.0), (3.0, 8.0), (inf, 10.0)])).1;
        assert_eq!(falls, Some((2.0, 3.0, 5.0)));
    }
}
