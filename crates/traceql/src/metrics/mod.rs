//! Metrics queries: series of numbers from spans, after `pkg/traceql/engine_metrics.go` of Tempo.
//!
//! Where a query looks at each span by itself, its spans stream past as columns; where it asks for traces (structure, root,
//! `compare`), the traces that can matter are read whole, some at a time.

mod compare;
mod histogram;
mod observe;
mod run;
mod sampler;
mod second;
mod window;

use std::cmp::Ordering;

use crate::EvalError;
use crate::ast::{Metrics, MetricsNode, Op, Operand, Query, Root};
use crate::question::Question;
use crate::value::Static;
pub use window::Window;

/// A series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names and values.
    pub labels: Vec<(String, Static<'static>)>,
    /// One an interval of the window; NaN for none.
    pub values: Vec<f64>,
    /// Spans that stand for others.
    pub exemplars: Vec<Exemplar>,
}

/// A span that stands for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// What it is: `trace:id`, `span:id`, its name and service.
    pub labels: Vec<(String, Static<'static>)>,
    /// Start, nanoseconds since the Unix epoch.
    pub time: i64,
    /// What was aggregated; NaN for counts.
    pub value: f64,
}

/// Whether a query is one of metrics.
#[must_use]
pub fn is_metrics(query: &Query) -> bool {
    matches!(query.root, Root::Metrics(_))
}

/// The series of a query, ordered by their labels; those without a value are left out. `exemplars` is how many at most.
///
/// # Errors
/// [`EvalError`].
pub fn evaluate(question: &Question<'_>, query: &Query, window: &Window, exemplars: usize) -> Result<Vec<Series>, EvalError> {
    evaluate_aloud(question, query, window, exemplars, &mut |_| {})
}

/// Hears after each part of the work how to get the series as they are so far. They cost something: whoever has heard of some lately
/// need not ask.
pub type HeardSeries<'h> = dyn FnMut(&dyn Fn() -> Vec<Series>) + 'h;

/// The same, and tells `heard` how far it is, where spans are read one after the other. (Where the store counts them, and where one
/// query is calculated with another, there is nothing to tell before the end.)
///
/// # Errors
/// As for [`evaluate`].
pub fn evaluate_aloud(
    question: &Question<'_>,
    query: &Query,
    window: &Window,
    exemplars: usize,
    heard: &mut HeardSeries<'_>,
) -> Result<Vec<Series>, EvalError> {
    let Root::Metrics(metrics) = &query.root else {
        return Err(EvalError::Query("not a metrics query".to_owned()));
    };
    let hints = Hints::of(query, exemplars);
    let series = of_metrics(question, metrics, window, &hints, &mut |so_far| heard(&|| shown(so_far())))?;
    Ok(shown(series))
}

fn shown(mut series: Vec<Series>) -> Vec<Series> {
    series.retain(|s| s.values.iter().any(|v| !v.is_nan()));
    series.sort_by(|a, b| label_order(&a.labels, &b.labels));
    series
}

/// What `with(…)` says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    exemplars: usize,
    /// `sample`, `span_sample`: true, or a share.
    span_sample: Option<Static<'static>>,
    /// `sample`, `trace_sample`.
    trace_sample: Option<Static<'static>>,
}

/// Most exemplars of an answer.
const EXEMPLARS_MAX: usize = 100;

impl Hints {
    fn of(query: &Query, exemplars: usize) -> Self {
        let hint = |name: &str| query.hints.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let exemplars = match hint("exemplars") {
            Some(Static::Int(n)) => usize::try_from(n).unwrap_or(0),
            Some(Static::Bool(false)) => 0,
            Some(Static::Bool(true)) => EXEMPLARS_MAX,
            _ => exemplars,
        };
        Self {
            exemplars: exemplars.min(EXEMPLARS_MAX),
            span_sample: hint("span_sample").or_else(|| hint("sample")),
            trace_sample: hint("trace_sample").or_else(|| hint("sample")),
        }
    }
}

fn of_metrics(
    question: &Question<'_>,
    metrics: &Metrics,
    window: &Window,
    hints: &Hints,
    heard: &mut HeardSeries<'_>,
) -> Result<Vec<Series>, EvalError> {
    let second = |series| metrics.second.iter().fold(series, |series, stage| second::stage(stage, series));
    let alone = &mut |_: &dyn Fn() -> Vec<Series>| {};
    let series = match &metrics.node {
        MetricsNode::Query(pipeline, aggregate) => {
            run::run(question, pipeline, aggregate, window, hints, &mut |so_far| heard(&|| second(so_far())))?
        }
        MetricsNode::Op(op, sides) => match (&sides.0, &sides.1) {
            (Operand::Metrics(l), Operand::Metrics(r)) => {
                let (l, r) = (of_metrics(question, l, window, hints, alone)?, of_metrics(question, r, window, hints, alone)?);
                second::math(*op, l, r)
            }
            (Operand::Metrics(l), Operand::Number(r)) => {
                with_number(of_metrics(question, l, window, hints, alone)?, |v| calculate(*op, v, *r))
            }
            (Operand::Number(l), Operand::Metrics(r)) => {
                with_number(of_metrics(question, r, window, hints, alone)?, |v| calculate(*op, *l, v))
            }
            (Operand::Number(_), Operand::Number(_)) => Vec::new(),
        },
    };
    Ok(second(series))
}

fn with_number(mut series: Vec<Series>, f: impl Fn(f64) -> f64) -> Vec<Series> {
    series.iter_mut().flat_map(|s| &mut s.values).for_each(|v| *v = f(*v));
    series
}

/// The order of label sets: by names and values, one after the other.
pub(crate) fn label_order(a: &[(String, Static<'static>)], b: &[(String, Static<'static>)]) -> Ordering {
    for ((an, av), (bn, bv)) in a.iter().zip(b) {
        let order = an.cmp(bn).then_with(|| av.order(bv).unwrap_or_else(|| av.key().cmp(&bv.key())));
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// `Op` of the four that series know.
pub(crate) fn calculate(op: Op, left: f64, right: f64) -> f64 {
    match op {
        Op::Add => left + right,
        Op::Sub => left - right,
        Op::Mul => left * right,
        // Nothing divides by nothing.
        Op::Div if right == 0.0 => f64::NAN,
        Op::Div => left / right,
        _ => f64::NAN,
    }
}
