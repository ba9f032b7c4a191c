//! Metric queries: numbers made of log lines, at each step of a grid.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, TimeRange};
use store::Order;

use crate::EvalError;
use crate::ast::{AggregateOp, Binary, BinaryOp, Expr, Grouping, LogQuery, RangeOp};
use crate::lines::{Question, each_line};

/// The times of a query: `start`, `start + step`, … up to `end`. Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// First step.
    pub start: i64,
    /// No step after it.
    pub end: i64,
    /// More than 0.
    pub step: i64,
}

impl Grid {
    /// How many steps.
    #[must_use]
    pub fn len(&self) -> usize {
        let span = self.end.saturating_sub(self.start);
        if span < 0 { 0 } else { (span / self.step.max(1)) as usize + 1 }
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end < self.start
    }

    /// The times.
    pub fn times(self) -> impl Iterator<Item = i64> + Clone {
        (0..self.len() as i64).map(move |i| self.start + i * self.step)
    }
}

/// The value of a metric query at each step.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A number that needs no data.
    Scalar(Vec<f64>),
    /// Series, sorted by labels; `None` where one has no value.
    Series(Vec<(Labels, Vec<Option<f64>>)>),
}

/// Computes a metric query.
///
/// # Errors
/// [`EvalError`]; [`EvalError::Execution`] for a query of lines.
pub fn metric(question: &Question<'_>, expr: &Expr, grid: Grid) -> Result<Metric, EvalError> {
    let mut metric = evaluate(question, expr, grid)?;
    if let Metric::Series(series) = &mut metric {
        series.retain(|(_, values)| values.iter().any(Option::is_some));
        series.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    Ok(metric)
}

fn evaluate(question: &Question<'_>, expr: &Expr, grid: Grid) -> Result<Metric, EvalError> {
    match expr {
        Expr::Log(_) => Err(EvalError::Execution("a log query where a metric query is expected".to_owned())),
        Expr::Number(n) => Ok(Metric::Scalar(vec![*n; grid.len()])),
        Expr::Vector(n) => Ok(Metric::Series(vec![(Labels::default(), vec![Some(*n); grid.len()])])),
        Expr::Range { op, log, range_ns, offset_ns } => over_range(question, *op, log, *range_ns, *offset_ns, grid),
        Expr::Aggregate { op, expr, grouping } => match evaluate(question, expr, grid)? {
            Metric::Series(series) => Ok(Metric::Series(aggregate(*op, series, grouping, grid))),
            Metric::Scalar(_) => Err(EvalError::Execution("an aggregation of a number".to_owned())),
        },
        Expr::Binary(b) => binary(b, evaluate(question, &b.left, grid)?, evaluate(question, &b.right, grid)?),
    }
}

/// Numbers of the lines in `(step - range, step]`, for each set of labels.
fn over_range(
    question: &Question<'_>,
    op: RangeOp,
    log: &LogQuery,
    range_ns: i64,
    offset_ns: i64,
    grid: Grid,
) -> Result<Metric, EvalError> {
    let last = grid.start.saturating_add((grid.len().max(1) as i64 - 1).saturating_mul(grid.step)).saturating_sub(offset_ns);
    let first = grid.start.saturating_sub(offset_ns).saturating_sub(range_ns);
    let range = TimeRange::new(first.saturating_add(1), last.saturating_add(1));
    // Time and size of each line.
    let mut series: HashMap<Labels, Vec<(i64, usize)>> = HashMap::new();
    let mut lines = 0usize;
    each_line(question, log, range, Order::OldestFirst, Some(question.max_lines.saturating_add(1)), |line| {
        lines += 1;
        series.entry(line.labels()).or_default().push((line.time, line.text.len()));
    })?;
    if lines > question.max_lines {
        return Err(EvalError::Execution(format!("the query reads more than {} lines", question.max_lines)));
    }
    if op == RangeOp::Absent {
        let labels = Labels::from_pairs(log.matchers.iter().filter(|m| m.op == store::MatchOp::Eq).map(|m| (&m.name, &m.value)));
        let present = |end: i64| series.values().any(|lines| lines.iter().any(|(t, _)| *t > end - range_ns && *t <= end));
        let values = grid.times().map(|t| (!present(t - offset_ns)).then_some(1.0)).collect();
        return Ok(Metric::Series(vec![(labels, values)]));
    }
    let seconds = range_ns as f64 / 1e9;
    let numbers = |lines: Vec<(i64, usize)>| -> Vec<Option<f64>> {
        let (mut from, mut to, mut bytes) = (0, 0, 0);
        let at_step = |t: i64| {
            let end = t.saturating_sub(offset_ns);
            while lines.get(to).is_some_and(|(t, _)| *t <= end) {
                bytes += lines[to].1;
                to += 1;
            }
            while from < to && lines[from].0 <= end.saturating_sub(range_ns) {
                bytes -= lines[from].1;
                from += 1;
            }
            let count = to - from;
            (count > 0).then(|| match op {
                RangeOp::Count | RangeOp::Absent => count as f64,
                RangeOp::Rate => count as f64 / seconds,
                RangeOp::Bytes => bytes as f64,
                RangeOp::BytesRate => bytes as f64 / seconds,
            })
        };
        grid.times().map(at_step).collect()
    };
    Ok(Metric::Series(series.into_iter().map(|(labels, lines)| (labels, numbers(lines))).collect()))
}

type Series = Vec<(Labels, Vec<Option<f64>>)>;

fn aggregate(op: AggregateOp, series: Series, grouping: &Grouping, grid: Grid) -> Series {
    // Per step: how many values, and their sum, minimum or maximum.
    let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, values) in series {
        let kept = labels.iter().filter(|(n, _)| grouping.labels.iter().any(|l| l == n) != grouping.without);
        let steps = groups.entry(Labels::from_pairs(kept)).or_insert_with(|| vec![(0.0, 0.0); grid.len()]);
        for ((count, folded), v) in steps.iter_mut().zip(values) {
            let Some(v) = v else { continue };
            *folded = match op {
                _ if *count == 0.0 => v,
                AggregateOp::Min => folded.min(v),
                AggregateOp::Max => folded.max(v),
                AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Count => *folded + v,
            };
            *count += 1.0;
        }
    }
    let result = |(count, folded): (f64, f64)| {
        (count > 0.0).then(|| match op {
            AggregateOp::Count => count,
            AggregateOp::Avg => folded / count,
            AggregateOp::Sum | AggregateOp::Min | AggregateOp::Max => folded,
        })
    };
    groups.into_iter().map(|(labels, steps)| (labels, steps.into_iter().map(result).collect())).collect()
}

fn compute(op: BinaryOp, l: f64, r: f64) -> f64 {
    let truth = |b: bool| f64::from(u8::from(b));
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        // Loki has no infinity here.
        BinaryOp::Div if r == 0.0 => f64::NAN,
        BinaryOp::Div => l / r,
        BinaryOp::Mod if r == 0.0 => f64::NAN,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Eq => truth(l == r),
        BinaryOp::Ne => truth(l != r),
        BinaryOp::Gt => truth(l > r),
        BinaryOp::Lt => truth(l < r),
        BinaryOp::Ge => truth(l >= r),
        BinaryOp::Le => truth(l <= r),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}

/// The value of a pair: of comparisons that filter, `kept` or nothing.
fn pair(b: &Binary, l: f64, r: f64, kept: f64) -> Option<f64> {
    let value = compute(b.op, l, r);
    match b.op.is_comparison() && !b.returns_bool {
        true => (value == 1.0).then_some(kept),
        false => Some(value),
    }
}

fn binary(b: &Binary, left: Metric, right: Metric) -> Result<Metric, EvalError> {
    Ok(match (left, right) {
        (Metric::Scalar(l), Metric::Scalar(r)) => Metric::Scalar(l.iter().zip(&r).map(|(l, r)| compute(b.op, *l, *r)).collect()),
        (Metric::Series(mut series), Metric::Scalar(scalar)) => {
            for (_, values) in &mut series {
                values.iter_mut().zip(&scalar).for_each(|(v, s)| *v = v.and_then(|v| pair(b, v, *s, v)));
            }
            Metric::Series(series)
        }
        (Metric::Scalar(scalar), Metric::Series(mut series)) => {
            for (_, values) in &mut series {
                values.iter_mut().zip(&scalar).for_each(|(v, s)| *v = v.and_then(|v| pair(b, *s, v, v)));
            }
            Metric::Series(series)
        }
        (Metric::Series(left), Metric::Series(right)) => Metric::Series(join(b, left, right)),
    })
}

/// Series of equal labels find each other.
fn join(b: &Binary, left: Series, right: Series) -> Series {
    let mut others: HashMap<Labels, Vec<Option<f64>>> = right.into_iter().collect();
    let mut out: Series = Vec::new();
    for (labels, mut values) in left {
        let other = others.remove(&labels);
        let empty = vec![None; values.len()];
        for (mine, theirs) in values.iter_mut().zip(other.as_ref().unwrap_or(&empty)) {
            *mine = match (b.op, *mine, *theirs) {
                (BinaryOp::And, mine, theirs) => mine.filter(|_| theirs.is_some()),
                (BinaryOp::Unless, mine, theirs) => mine.filter(|_| theirs.is_none()),
                (BinaryOp::Or, mine, theirs) => mine.or(theirs),
                (_, Some(l), Some(r)) => pair(b, l, r, l),
                _ => None,
            };
        }
        out.push((labels, values));
    }
    if b.op == BinaryOp::Or {
        out.extend(others);
    }
    out
}
