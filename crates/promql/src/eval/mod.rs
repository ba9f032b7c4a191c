//! Evaluation: every expression becomes a value at each step of a grid.

mod aggregate;
mod binary;
pub(crate) mod calendar;
mod call;
mod histogram;
pub(crate) mod range;
mod select;
mod value;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Labels, Tenant};
use store::Reader;

use crate::ast::{AggregateOp, Expr, Node};
use crate::functions::{Kind, Special};
use crate::{EvalError, Type};
use value::{Series, Value, nameless, unite};

/// What a query is asked of, and within which bounds.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The data.
    pub reader: &'a dyn Reader,
    /// Whose.
    pub tenant: &'a Tenant,
    /// How far back an instant selector looks for a sample, milliseconds (Prometheus: 5 minutes).
    pub lookback_ms: i64,
    /// How many samples may be loaded (Prometheus: 50 million).
    pub max_samples: usize,
    /// Set by whoever no longer wants the answer; looked at for each series.
    pub cancelled: &'a AtomicBool,
}

/// The times of a query: `start`, `start + step`, … up to `end`. Milliseconds.
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

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A number, at the time asked for.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Series with one value, at the time asked for.
    Vector(Vec<(Labels, f64)>),
    /// Series with times (milliseconds) and values.
    Matrix(Matrix),
}

/// Series with times (milliseconds) and values.
pub type Matrix = Vec<(Labels, Vec<(i64, f64)>)>;

/// An answer and what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub answer: Answer,
    /// Something was wrong with the data.
    pub warnings: Vec<String>,
    /// Something may be wrong with the query.
    pub infos: Vec<String>,
}

/// The value of `expr` at one time, milliseconds.
///
/// # Errors
/// [`EvalError`].
pub fn instant(question: &Question<'_>, query: &str, expr: &Expr, at_ms: i64) -> Result<Outcome, EvalError> {
    let grid = Grid { start: at_ms, end: at_ms, step: 1 };
    let evaluator = Evaluator::new(question, query, grid);
    let answer = match expr.value_type() {
        Type::Matrix => Answer::Matrix(evaluator.raw(expr)?),
        _ => match evaluator.value(expr, grid)? {
            Value::Scalar(values) => Answer::Scalar(values.first().copied().unwrap_or(f64::NAN)),
            Value::Text(text) => Answer::Text(text),
            Value::Vector(series) => {
                let mut vector: Vec<_> = series.into_iter().filter_map(|s| s.at(0).map(|v| (s.labels, v))).collect();
                if !is_ordered(expr) {
                    vector.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                Answer::Vector(vector)
            }
        },
    };
    Ok(evaluator.outcome(answer))
}

/// The values of `expr` at each step of `grid`: always an [`Answer::Matrix`], sorted by labels.
///
/// # Errors
/// [`EvalError`]; [`EvalError::Execution`] for expressions that are no scalar or instant vector.
pub fn range(question: &Question<'_>, query: &str, expr: &Expr, grid: Grid) -> Result<Outcome, EvalError> {
    let evaluator = Evaluator::new(question, query, grid);
    let series = match expr.value_type() {
        Type::Scalar | Type::Vector => evaluator.vector(expr, grid)?,
        other => {
            let message =
                format!("invalid expression type {:?} for range query, must be Scalar or instant Vector", other.as_str());
            return Err(EvalError::Execution(message));
        }
    };
    let points = |s: Series| {
        let points = grid.times().zip(&s.values).filter_map(|(t, v)| value::present(*v).map(|v| (t, v))).collect();
        (s.labels, points)
    };
    let mut matrix: Vec<(Labels, Vec<_>)> = series.into_iter().filter(|s| !s.is_empty()).map(points).collect();
    matrix.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(evaluator.outcome(Answer::Matrix(matrix)))
}

/// Whether the order of the result is part of it.
fn is_ordered(expr: &Expr) -> bool {
    match &expr.inner().node {
        Node::Call { function, .. } => matches!(function.kind, Kind::Special(Special::Sort | Special::SortDesc)),
        Node::Aggregate { op, .. } => matches!(op, AggregateOp::Topk | AggregateOp::Bottomk),
        _ => false,
    }
}

/// One query being answered.
struct Evaluator<'a> {
    question: Question<'a>,
    query: &'a str,
    /// The whole query's grid: what `@ start()` and `@ end()` mean, in subqueries too.
    whole: Grid,
    samples: Cell<usize>,
    warnings: RefCell<BTreeSet<String>>,
    infos: RefCell<BTreeSet<String>>,
}

/// Series as they are computed.
type Stream<'e> = Box<dyn Iterator<Item = Result<Series, EvalError>> + 'e>;

impl<'a> Evaluator<'a> {
    fn new(question: &Question<'a>, query: &'a str, whole: Grid) -> Self {
        Self {
            question: *question,
            query,
            whole,
            samples: Cell::default(),
            warnings: RefCell::default(),
            infos: RefCell::default(),
        }
    }

    fn outcome(self, answer: Answer) -> Outcome {
        Outcome {
            answer,
            warnings: self.warnings.into_inner().into_iter().collect(),
            infos: self.infos.into_inner().into_iter().collect(),
        }
    }

    /// `line:column` of an expression, as notes name it.
    fn position(&self, expr: &Expr) -> String {
        let error = crate::ParseError::at(self.query, expr.start, "");
        format!("{}:{}", error.line, error.column)
    }

    /// Counts samples that are held, and looks whether anybody still waits.
    fn charge(&self, samples: usize) -> Result<(), EvalError> {
        if self.question.cancelled.load(Ordering::Relaxed) {
            return Err(EvalError::Cancelled);
        }
        self.samples.set(self.samples.get().saturating_add(samples));
        if self.samples.get() > self.question.max_samples { Err(EvalError::TooManySamples) } else { Ok(()) }
    }

    /// The value of any expression but a range.
    fn value(&self, expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        Ok(match &expr.node {
            Node::Number(n) => Value::Scalar(vec![*n; grid.len()]),
            Node::Text(t) => Value::Text(t.clone()),
            Node::Paren(e) => self.value(e, grid)?,
            Node::Negate(e) => match self.value(e, grid)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Vector(series) => Value::Vector(self.map(series, |v| -v)?),
                Value::Text(_) => return Err(EvalError::Execution("a string has no negative".to_owned())),
            },
            Node::Binary(b) => self.binary(b, grid)?,
            Node::Selector(_) => Value::Vector(self.stream(expr, grid)?.collect::<Result<_, _>>()?),
            Node::Aggregate { op, expr, param, grouping } => {
                Value::Vector(self.aggregate(*op, expr, param.as_deref(), grouping, grid)?)
            }
            Node::Call { function, args } => self.call(function, args, expr, grid)?,
            Node::Range { .. } | Node::Subquery { .. } => {
                return Err(EvalError::Execution("a range vector where an instant vector is expected".to_owned()));
            }
        })
    }

    /// A vector; a scalar becomes one series without labels.
    fn vector(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        match self.value(expr, grid)? {
            Value::Vector(series) => Ok(series),
            Value::Scalar(values) => Ok(vec![Series { labels: Labels::default(), values }]),
            Value::Text(_) => Err(EvalError::Execution("a string where an instant vector is expected".to_owned())),
        }
    }

    fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match self.value(expr, grid)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(EvalError::Execution("expected a scalar".to_owned())),
        }
    }

    fn text(&self, expr: &Expr, grid: Grid) -> Result<String, EvalError> {
        match self.value(expr, grid)? {
            Value::Text(text) => Ok(text),
            _ => Err(EvalError::Execution("expected a string".to_owned())),
        }
    }

    /// A vector, series by series where the expression allows it.
    fn stream<'e>(&'e self, expr: &'e Expr, grid: Grid) -> Result<Stream<'e>, EvalError> {
        match &expr.node {
            Node::Paren(e) => self.stream(e, grid),
            Node::Selector(selector) => self.select(selector, grid, select::Take::Value),
            Node::Call { function, args } => match function.kind {
                Kind::Range(f) => self.over_range(f, function.args, args, grid),
                _ => Ok(Box::new(self.vector(expr, grid)?.into_iter().map(Ok))),
            },
            _ => Ok(Box::new(self.vector(expr, grid)?.into_iter().map(Ok))),
        }
    }

    /// Applies `f` to all values; the metric name goes.
    fn map(&self, mut series: Vec<Series>, f: impl Fn(f64) -> f64) -> Result<Vec<Series>, EvalError> {
        for s in &mut series {
            s.labels = nameless(&s.labels);
            s.values.iter_mut().for_each(|v| {
                if let Some(value) = value::present(*v) {
                    *v = value::quiet(f(value));
                }
            });
        }
        unite(series)
    }
}
