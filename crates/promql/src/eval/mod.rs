//! Evaluation: every expression becomes a value at each step of a grid.

mod aggregate;
mod binary;
pub(crate) mod calendar;
mod call;
mod classic;
mod extended;
mod flow;
pub(crate) mod frames;
mod info;
mod labels;
pub(crate) mod native;
pub(crate) mod over_time;
mod ranges;
pub(crate) mod rate;
mod select;
mod sliding;
mod stats;
mod subquery;
mod sum;
mod top;
pub(crate) mod trend;
mod trim;
mod value;
pub(crate) mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use model::Grid;
use model::{Histogram, Labels, Tenant};
use store::Reader;

use crate::ast::{AggregateOp, Expr, Length, Node};
use crate::notes::{Note, Notes};
use crate::{EvalError, Type};
use stats::Counting;
pub use stats::Stats;
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
    /// How much it may take.
    pub limits: Limits,
    /// Set by whoever no longer wants the answer; looked at for each series.
    pub cancelled: &'a AtomicBool,
    /// What the reference has switches for.
    pub options: Options,
    /// Whether to count what is read: [`Outcome::stats`].
    pub stats: bool,
}

/// How much a query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples that are held at once, those of the answer among them (Prometheus: 50 million).
    pub samples: usize,
    /// Series that one selector chooses.
    pub series: usize,
    /// Bytes that computed series take, about.
    pub bytes: usize,
    /// Threads that compute one query together.
    pub threads: usize,
    /// Processor time of all threads together. A query that is bound to take longer is refused before it does.
    pub work: Duration,
}

impl Default for Limits {
    /// Prometheus' samples, no other limit, one thread.
    fn default() -> Self {
        Self { samples: 50_000_000, series: usize::MAX, bytes: usize::MAX, threads: 1, work: Duration::MAX }
    }
}

/// What the reference has switches for. The default is the reference's, but for start timestamps, which are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The metric name goes only when the whole query is done, so that `label_replace` and `by (__name__)` still see it
    /// (`promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// Counters are told by their `__type__` label rather than by their name (`type-and-unit-labels`).
    pub type_and_unit_labels: bool,
    /// A sample's start timestamp tells counter resets (`use-start-timestamps`).
    pub start_timestamps: bool,
    /// The step of a subquery that names none, milliseconds (the global evaluation interval).
    pub subquery_step_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { delayed_name_removal: false, type_and_unit_labels: false, start_timestamps: true, subquery_step_ms: 60_000 }
    }
}

/// A value of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A number, at the time asked for.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Series with one value, at the time asked for.
    Vector(Vec<(Arc<Labels>, Sample)>),
    /// Series with times (milliseconds) and values.
    Matrix(Matrix),
}

/// Series with times (milliseconds) and values, ascending.
pub type Matrix = Vec<(Arc<Labels>, Points)>;

/// Values of one series; no time is in both lists.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Points {
    /// Times (milliseconds) and numbers.
    pub floats: Vec<(i64, f64)>,
    /// Times (milliseconds) and histograms.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// An answer and what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub answer: Answer,
    /// Something was wrong with the data.
    pub warnings: Vec<String>,
    /// Something may be wrong with the query.
    pub infos: Vec<String>,
    /// What it took, if [`Question::stats`] asked for it.
    pub stats: Option<Stats>,
}

/// The value of `expr` at one time, milliseconds.
///
/// # Errors
/// [`EvalError`].
pub fn instant(question: &Question<'_>, query: &str, expr: &Expr, at_ms: i64) -> Result<Outcome, EvalError> {
    let grid = Grid { start: at_ms, end: at_ms, step: 1 };
    let evaluator = Evaluator::new(question, query, grid, true);
    let mut sorting = Duration::ZERO;
    let answer = match expr.value_type() {
        Type::Matrix => Answer::Matrix(evaluator.raw(expr)?),
        _ => match evaluator.value(expr, grid)? {
            Value::Scalar(values) => Answer::Scalar(values.first().copied().unwrap_or(f64::NAN)),
            Value::Text(text) => Answer::Text(text),
            Value::Vector(series) => {
                let mut vector = Vec::with_capacity(series.len());
                for s in evaluator.finished(series)? {
                    match s.point(0) {
                        window::Point::Float(v) => vector.push((s.labels, Sample::Float(v))),
                        window::Point::Histogram(h) => vector.push((s.labels, Sample::Histogram(h))),
                        window::Point::Absent => {}
                    }
                }
                if !is_ordered(expr) {
                    let begun = Instant::now();
                    vector.sort_by(|(a, _), (b, _)| a.cmp(b));
                    sorting = begun.elapsed();
                }
                Answer::Vector(vector)
            }
        },
    };
    Ok(evaluator.outcome(answer, sorting))
}

/// The values of `expr` at each step of `grid`: always an [`Answer::Matrix`], sorted by labels.
///
/// # Errors
/// [`EvalError`]; [`EvalError::Execution`] for expressions that are no scalar or instant vector.
pub fn range(question: &Question<'_>, query: &str, expr: &Expr, grid: Grid) -> Result<Outcome, EvalError> {
    let evaluator = Evaluator::new(question, query, grid, false);
    if !matches!(expr.value_type(), Type::Scalar | Type::Vector) {
        let got = expr.value_type().as_str();
        let message = format!("invalid expression type {got:?} for range query, must be Scalar or instant Vector");
        return Err(EvalError::Execution(message));
    }
    note_sorting(expr, &evaluator.notes);
    let series = evaluator.vector(expr, grid)?;
    let series = evaluator.finished(series)?;
    let mut matrix: Matrix = series.into_iter().map(|s| evaluator.points(s, grid)).collect();
    matrix.retain(|(_, points)| !points.floats.is_empty() || !points.histograms.is_empty());
    let begun = Instant::now();
    matrix.sort_by(|(a, _), (b, _)| a.cmp(b));
    let sorting = begun.elapsed();
    Ok(evaluator.outcome(Answer::Matrix(matrix), sorting))
}

/// Whether the order of the result is part of it.
fn is_ordered(expr: &Expr) -> bool {
    match &expr.inner().node {
        Node::Call { function, .. } => function.sorts(),
        Node::Aggregate { op, .. } => matches!(op, AggregateOp::Topk | AggregateOp::Bottomk),
        _ => false,
    }
}

/// Says of each sorting function that it does nothing in a range query.
fn note_sorting(expr: &Expr, notes: &Notes) {
    match &expr.node {
        Node::Call { function, args } => {
            if function.sorts() {
                notes.add(expr.start, Note::SortInRange);
            }
            args.iter().for_each(|arg| note_sorting(arg, notes));
        }
        Node::Aggregate { expr, param, .. } => {
            note_sorting(expr, notes);
            param.iter().for_each(|p| note_sorting(p, notes));
        }
        Node::Binary(b) => [&b.left, &b.right].into_iter().for_each(|e| note_sorting(e, notes)),
        Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => note_sorting(expr, notes),
        Node::Number { .. } | Node::Text(_) | Node::Selector(_) | Node::Range { .. } => {}
    }
}

/// One query being answered.
struct Evaluator<'a> {
    question: Question<'a>,
    query: &'a str,
    /// The whole query's grid: what `@ start()` and `@ end()` mean, in subqueries too.
    whole: Grid,
    instant: bool,
    samples: AtomicUsize,
    bytes: AtomicUsize,
    /// Nanoseconds that walking through windows takes at least.
    work: AtomicU64,
    /// A thread of the query has failed.
    stopped: AtomicBool,
    notes: Notes,
    counting: Option<Counting>,
}

/// Bytes that are counted as held until this is dropped.
struct Reserved<'e> {
    bytes: usize,
    of: &'e AtomicUsize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that a step of a series takes: its value, time and value in the answer, and the answer's text.
const STEP_BYTES: usize = 48;
/// Bytes that a series takes besides.
const SERIES_BYTES: usize = 256;
/// Bytes that a histogram takes, about.
const HISTOGRAM_BYTES: usize = 256;

impl<'a> Evaluator<'a> {
    fn new(question: &Question<'a>, query: &'a str, whole: Grid, instant: bool) -> Self {
        Self {
            question: *question,
            query,
            whole,
            instant,
            samples: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            work: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            notes: Notes::default(),
            counting: question.stats.then(|| Counting::new(whole)),
        }
    }

    fn outcome(self, answer: Answer, sorting: Duration) -> Outcome {
        let stats = self.counting.map(|counting| counting.finish(self.samples.load(Ordering::Relaxed), sorting));
        let (warnings, infos) = self.notes.into_texts(self.query);
        Outcome { answer, warnings, infos, stats }
    }

    /// Looks whether anybody still waits.
    fn alive(&self) -> Result<(), EvalError> {
        let gone = self.question.cancelled.load(Ordering::Relaxed) || self.stopped.load(Ordering::Relaxed);
        if gone { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Ends what other threads do for this query.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Counts samples that are held, and looks whether anybody still waits.
    fn charge(&self, samples: usize) -> Result<(), EvalError> {
        self.charge_both(samples, samples.saturating_mul(STEP_BYTES))
    }

    /// Counts a series that is held, of so many floats and histograms.
    fn hold(&self, floats: usize, histograms: usize) -> Result<(), EvalError> {
        let bytes = floats.saturating_mul(STEP_BYTES).saturating_add(histograms.saturating_mul(HISTOGRAM_BYTES));
        self.charge_both(floats.saturating_add(histograms), bytes.saturating_add(SERIES_BYTES))
    }

    fn charge_both(&self, samples: usize, bytes: usize) -> Result<(), EvalError> {
        self.alive()?;
        let limits = &self.question.limits;
        let add = |to: &AtomicUsize, n: usize| to.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        if samples > limits.samples || add(&self.samples, samples) > limits.samples {
            return Err(EvalError::TooManySamples);
        }
        if bytes > limits.bytes || add(&self.bytes, bytes) > limits.bytes {
            return Err(EvalError::TooMuchMemory { limit: limits.bytes });
        }
        Ok(())
    }

    /// Counts bytes that are worked in until what comes back is dropped.
    fn reserve(&self, bytes: usize) -> Result<Reserved<'_>, EvalError> {
        let limit = self.question.limits.bytes;
        if bytes > limit {
            return Err(EvalError::TooMuchMemory { limit });
        }
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let reserved = Reserved { bytes, of: &self.bytes };
        if taken > limit { Err(EvalError::TooMuchMemory { limit }) } else { Ok(reserved) }
    }

    /// Counts nanoseconds that are about to be spent on one series, and looks whether all that are like it have room
    /// together with it: so many take `projected`.
    fn toil(&self, nanoseconds: u64, projected: u64) -> Result<(), EvalError> {
        let limit = u64::try_from(self.question.limits.work.as_nanos()).unwrap_or(u64::MAX);
        let spent = self.work.fetch_add(nanoseconds, Ordering::Relaxed).saturating_add(nanoseconds);
        if spent.max(projected) > limit { Err(EvalError::TooMuchWork { limit: self.question.limits.work }) } else { Ok(()) }
    }

    /// `step()` and `range()` of this query, seconds.
    fn resolution(&self) -> (f64, f64) {
        let step = if self.instant { 0.0 } else { self.whole.step as f64 / 1000.0 };
        (step, (self.whole.end - self.whole.start) as f64 / 1000.0)
    }

    /// A length in milliseconds; of a range or a step more than nothing.
    fn length(&self, length: &Length, positive: bool) -> Result<i64, EvalError> {
        let expr = match length {
            Length::Fixed(ms) => return Ok(*ms),
            Length::Computed(expr) => expr,
        };
        let fail = |why: &str| Err(EvalError::Execution(why.to_owned()));
        let (step, range) = self.resolution();
        match expr.seconds(step, range) {
            Err(why) => fail(why),
            Ok(seconds) if positive && (seconds <= 0.0 || seconds.is_nan()) => fail("duration must be greater than 0"),
            Ok(seconds) if seconds.is_nan() || seconds.abs() > 9.2e9 => fail("duration is out of range"),
            Ok(seconds) => Ok((seconds * 1000.0) as i64),
        }
    }

    /// Takes the metric name from a series, now or at the end of the query.
    fn drop_name(&self, series: &mut Series) {
        series.drop_name = true;
        if !self.question.options.delayed_name_removal {
            series.labels = nameless(&series.labels);
        }
    }

    /// The series of an answer: without the names that are to go.
    fn finished(&self, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        if !self.question.options.delayed_name_removal {
            return Ok(series);
        }
        for s in series.iter_mut().filter(|s| s.drop_name) {
            s.labels = nameless(&s.labels);
        }
        unite(series)
    }

    fn points(&self, series: Series, grid: Grid) -> (Arc<Labels>, Points) {
        let floats = grid.times().zip(&series.values).filter_map(|(t, v)| value::present(*v).map(|v| (t, v))).collect();
        let histograms = grid.times().zip(series.histograms).filter_map(|(t, h)| h.map(|h| (t, h))).collect();
        (series.labels, Points { floats, histograms })
    }

    /// The value of any expression but a range.
    fn value(&self, expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        let steps = grid.len();
        if !expr.fixed || steps < 2 || matches!(expr.node, Node::Number { .. } | Node::Text(_)) {
            return self.evaluate(expr, grid);
        }
        // The same at each step: computed once.
        let value = self.evaluate(expr, Grid { end: grid.start, ..grid })?;
        if let Value::Vector(series) = &value {
            self.charge(series.len().saturating_mul(steps))?;
        }
        Ok(value.repeated(steps))
    }

    fn evaluate(&self, expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        Ok(match &expr.node {
            Node::Number { value, .. } => Value::Scalar(vec![*value; grid.len()]),
            Node::Text(t) => Value::Text(t.clone()),
            Node::Paren(e) => self.value(e, grid)?,
            Node::Unary { minus: false, expr } => self.value(expr, grid)?,
            Node::Unary { expr, .. } => match self.value(expr, grid)? {
                Value::Scalar(values) => Value::Scalar(values.into_iter().map(|v| -v).collect()),
                Value::Vector(series) => Value::Vector(self.negated(series)?),
                Value::Text(_) => return Err(EvalError::Execution("a string has no negative".to_owned())),
            },
            Node::Binary(b) => self.binary(b, grid)?,
            Node::Selector(_) => Value::Vector(self.collect(expr, grid)?),
            Node::Aggregate { op, expr: inner, param, grouping } => {
                Value::Vector(self.aggregate(*op, inner, param.as_deref(), grouping, expr.start, grid)?)
            }
            Node::Call { function, args } => self.call(function, args, expr, grid)?,
            Node::Range { .. } | Node::Subquery { .. } => {
                return Err(EvalError::Execution("a range vector where an instant vector is expected".to_owned()));
            }
        })
    }

    fn negated(&self, mut series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
        for s in &mut series {
            self.drop_name(s);
            s.values.iter_mut().filter(|v| value::present(**v).is_some()).for_each(|v| *v = -*v);
            for h in s.histograms.iter_mut().flatten() {
                Arc::make_mut(h).multiply(-1.0);
            }
        }
        unite(series)
    }

    /// A vector; a scalar becomes one series without labels.
    fn vector(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        match self.value(expr, grid)? {
            Value::Vector(series) => Ok(series),
            Value::Scalar(values) => {
                let values = values.into_iter().map(value::quiet).collect();
                Ok(vec![Series::floats(Labels::default(), values)])
            }
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
}
