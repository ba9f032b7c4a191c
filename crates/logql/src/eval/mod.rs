//! Metric queries: numbers made of log lines, at each step of a grid.

mod aggregate;
mod binary;
mod count;
mod range;
mod window;

pub use model::Grid;
use model::TimeRange;

pub(crate) use count::Said;

use crate::EvalError;
use crate::ast::{AggregateOp, Expr, Grouping, LabelReplace, RangeOp, Variants};
use crate::lines::Question;
use crate::pipeline::LabelSet;

/// Refuses so many series with a value, or none, at each step of a grid, before they are made.
fn check_room(question: &Question<'_>, series: usize, grid: Grid) -> Result<(), EvalError> {
    let most = question.max_value_bytes / size_of::<Option<f64>>();
    if series.saturating_mul(grid.len()) > most {
        return Err(EvalError::TooMuchMemory(format!(
            "the query makes more than {most} values ({series} series, {} steps): ask for longer steps or fewer series",
            grid.len()
        )));
    }
    Ok(())
}

/// What a range query of `range_ns` may look at: `(start - range, end]`, `offset_ns` earlier.
fn looks_at(grid: Grid, range_ns: i64, offset_ns: i64) -> TimeRange {
    let last = grid.start.saturating_add((grid.len().max(1) as i64 - 1).saturating_mul(grid.step)).saturating_sub(offset_ns);
    let first = grid.start.saturating_sub(offset_ns).saturating_sub(range_ns);
    TimeRange::new(first.saturating_add(1), last.saturating_add(1))
}

/// Series with a value, or none, at each step.
pub(crate) type Series = Vec<(LabelSet, Vec<Option<f64>>)>;

/// The value of a metric query at each step.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A number that needs no data.
    Scalar(Vec<f64>),
    /// Series, sorted by labels, unless the query sorts them by value; `None` where one has no value.
    Series(Vec<(LabelSet, Vec<Option<f64>>)>),
}

/// Computes a metric query.
///
/// # Errors
/// [`EvalError`]; [`EvalError::Execution`] for a query of lines.
pub fn metric(question: &Question<'_>, expr: &Expr, grid: Grid) -> Result<Metric, EvalError> {
    let mut metric = evaluate(question, expr, grid)?;
    if let Metric::Series(series) = &mut metric {
        series.retain(|(_, values)| values.iter().any(Option::is_some));
        let sorted = matches!(expr, Expr::Aggregate(a) if matches!(
            a.op,
            AggregateOp::Sort | AggregateOp::SortDesc | AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::ApproxTopK
        ));
        if !(sorted && grid.len() == 1) {
            series.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
    }
    Ok(metric)
}

fn evaluate(question: &Question<'_>, expr: &Expr, grid: Grid) -> Result<Metric, EvalError> {
    let metric = match expr {
        Expr::Log(_) => return Err(EvalError::Execution("a log query where a metric query is expected".to_owned())),
        Expr::Number(n) => Metric::Scalar(vec![*n; grid.len()]),
        Expr::Vector(n) => Metric::Series(vec![(LabelSet::default(), vec![Some(*n); grid.len()])]),
        Expr::Range(range) => Metric::Series(range::evaluate(question, range, None, grid)?),
        Expr::Aggregate(a) => {
            if a.op == AggregateOp::ApproxTopK && grid.len() > 1 {
                return Err(EvalError::Execution("approx_topk is only supported on instant queries".to_owned()));
            }
            // What a sum does not ask for need not be told apart below it.
            let inner = match &a.expr {
                Expr::Range(range) if a.op == AggregateOp::Sum && sums_up(range.op) && range.grouping.is_none() => {
                    Metric::Series(range::evaluate(question, range, Some(&a.grouping), grid)?)
                }
                expr => evaluate(question, expr, grid)?,
            };
            match inner {
                Metric::Series(series) => Metric::Series(aggregate::aggregate(a, series, grid)),
                Metric::Scalar(values) => {
                    let series = vec![(LabelSet::default(), values.into_iter().map(Some).collect())];
                    Metric::Series(aggregate::aggregate(a, series, grid))
                }
            }
        }
        Expr::Binary(b) => binary::binary(b, evaluate(question, &b.left, grid)?, evaluate(question, &b.right, grid)?)?,
        Expr::LabelReplace(replace) => match evaluate(question, &replace.expr, grid)? {
            Metric::Series(series) => Metric::Series(label_replace(replace, series)?),
            scalar => scalar,
        },
        Expr::Variants(variants) => Metric::Series(all_variants(question, variants, grid)?),
    };
    if let Metric::Series(series) = &metric {
        check_room(question, series.len(), grid)?;
    }
    Ok(metric)
}

/// Whether series of lines may be added up before their numbers are known.
fn sums_up(op: RangeOp) -> bool {
    matches!(op, RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum)
}

fn label_replace(replace: &LabelReplace, series: Series) -> Result<Series, EvalError> {
    let regex = crate::regexp::compile(&format!("^(?s:{})$", replace.regex)).map_err(EvalError::Execution)?;
    let one = |(labels, values): (LabelSet, Vec<Option<f64>>)| {
        let source = labels.get(&replace.source).unwrap_or("");
        let Some(found) = regex.captures(source) else { return (labels, values) };
        let mut value = String::new();
        found.expand(&replace.replacement, &mut value);
        let kept = labels.pairs().iter().filter(|(n, _)| **n != *replace.destination).cloned();
        let new = (!value.is_empty()).then(|| (replace.destination.as_str().into(), value.into()));
        (LabelSet::from_pairs(kept.chain(new)), values)
    };
    Ok(series.into_iter().map(one).collect())
}

/// The variants one after the other, each named by its number.
fn all_variants(question: &Question<'_>, variants: &Variants, grid: Grid) -> Result<Series, EvalError> {
    let mut out = Series::new();
    for (i, variant) in variants.variants.iter().enumerate() {
        let Metric::Series(series) = evaluate(question, variant, grid)? else { continue };
        out.extend(series.into_iter().map(|(labels, values)| {
            let number = ("__variant__".into(), i.to_string().into());
            (LabelSet::from_pairs(labels.pairs().iter().cloned().chain([number])), values)
        }));
    }
    Ok(out)
}

/// The labels of a series that name its group.
fn group(labels: &LabelSet, grouping: &Grouping) -> LabelSet {
    labels.retain(|n| grouping.labels.iter().any(|l| l == n) != grouping.without)
}
