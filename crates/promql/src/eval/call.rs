//! Functions that are not of one series' range.

use model::{Histogram, Labels};

use super::classic::Asked;
use super::flow::{Collect, settled};
use super::labels::fixed_labels;
use super::select::Take;
use super::value::{ABSENT, Series, Value, present, quiet, unite};
use super::window::Point;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Expr, Node};
use crate::functions::{self, Function, Kind, Special, extreme};
use crate::notes::Note;

impl Evaluator<'_> {
    pub(super) fn call(&self, function: &'static Function, args: &[Expr], expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        match function.kind {
            Kind::Window(_) => Ok(Value::Vector(self.collect(expr, grid)?)),
            Kind::Math(f) => Ok(Value::Vector(self.stepwise(self.vector(argument(args, 0)?, grid)?, |_, v| Some(f(v)))?)),
            Kind::Native(f) => Ok(Value::Vector(self.of_histograms(self.vector(argument(args, 0)?, grid)?, f)?)),
            Kind::Calendar(f) => {
                let series = match args.first() {
                    Some(vector) => self.vector(vector, grid)?,
                    None => vec![Series::floats(Labels::default(), seconds(grid))],
                };
                Ok(Value::Vector(self.stepwise(series, |_, v| Some(f(v)))?))
            }
            Kind::Special(special) => self.special(special, args, grid),
        }
    }

    fn special(&self, special: Special, args: &[Expr], grid: Grid) -> Result<Value, EvalError> {
        let arg = |i| argument(args, i);
        let vector = |i| self.vector(argument(args, i)?, grid);
        let scalar = |i| self.scalar(argument(args, i)?, grid);
        let constant = |v: f64| Ok(Value::Scalar(vec![v; grid.len()]));
        match special {
            Special::Pi => constant(std::f64::consts::PI),
            Special::Start => constant(self.whole.start as f64 / 1000.0),
            Special::End => constant(self.whole.end as f64 / 1000.0),
            Special::Step => constant(self.resolution().0),
            Special::Range => constant(self.resolution().1),
            Special::Time => Ok(Value::Scalar(seconds(grid))),
            Special::MinOf | Special::MaxOf => {
                let values = scalar(0)?.iter().zip(scalar(1)?).map(|(a, b)| extreme(special == Special::MaxOf, *a, b)).collect();
                Ok(Value::Scalar(values))
            }
            Special::Vector => {
                let values = scalar(0)?.into_iter().map(quiet).collect();
                Ok(Value::Vector(vec![Series::floats(Labels::default(), values)]))
            }
            Special::Scalar => Ok(Value::Scalar(only(&vector(0)?, grid))),
            Special::Timestamp => Ok(Value::Vector(self.timestamps(arg(0)?, grid)?)),
            Special::Clamp => {
                let (low, high) = (scalar(1)?, scalar(2)?);
                self.clamped(vector(0)?, |step| (low[step], high[step]))
            }
            Special::ClampMin => {
                let low = scalar(1)?;
                self.clamped(vector(0)?, |step| (low[step], f64::INFINITY))
            }
            Special::ClampMax => {
                let high = scalar(1)?;
                self.clamped(vector(0)?, |step| (f64::NEG_INFINITY, high[step]))
            }
            Special::Round => {
                let to = if args.len() > 1 { scalar(1)? } else { vec![1.0; grid.len()] };
                Ok(Value::Vector(self.stepwise(vector(0)?, |step, v| {
                    // Dividing by the inverse loses less.
                    let inverse = 1.0 / to[step];
                    Some((v * inverse + 0.5).floor() / inverse)
                })?))
            }
            Special::Sort | Special::SortDesc => Ok(Value::Vector(sorted(vector(0)?, special == Special::SortDesc, grid))),
            Special::SortByLabel => Ok(Value::Vector(self.sort_by_label(args, false, grid)?)),
            Special::SortByLabelDesc => Ok(Value::Vector(self.sort_by_label(args, true, grid)?)),
            Special::Absent => Ok(Value::Vector(absent(&vector(0)?, fixed_labels(arg(0)?), grid))),
            Special::AbsentOverTime => {
                let series = self.present_over_time(args, grid)?;
                Ok(Value::Vector(absent(&series, fixed_labels(arg(0)?), grid)))
            }
            Special::HistogramQuantile => {
                let quantiles = scalar(0)?;
                self.note_quantiles(&quantiles, arg(0)?);
                let gathered = self.gather_histograms(arg(1)?, arg(0)?, grid)?;
                Ok(Value::Vector(self.ask_histograms(&gathered, Asked::Quantile(&quantiles), None, grid)?))
            }
            Special::HistogramQuantiles => self.histogram_quantiles(args, grid),
            Special::HistogramFraction => {
                let (lower, upper) = (scalar(0)?, scalar(1)?);
                let gathered = self.gather_histograms(arg(2)?, arg(0)?, grid)?;
                Ok(Value::Vector(self.ask_histograms(&gathered, Asked::Fraction(&lower, &upper), None, grid)?))
            }
            Special::Info => self.info(args, grid).map(Value::Vector),
            Special::LabelReplace => self.label_replace(args, grid).map(Value::Vector),
            Special::LabelJoin => self.label_join(args, grid).map(Value::Vector),
        }
    }

    fn note_quantiles(&self, quantiles: &[f64], expr: &Expr) {
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.add(expr.inner().start, Note::InvalidQuantile(*q));
        }
    }

    fn histogram_quantiles(&self, args: &[Expr], grid: Grid) -> Result<Value, EvalError> {
        let [vector, label, quantiles @ ..] = args else {
            return Err(EvalError::Execution("histogram_quantiles() needs a label and quantiles".to_owned()));
        };
        let label = self.text(label, grid)?;
        let gathered = self.gather_histograms(vector, vector, grid)?;
        let mut out = Vec::new();
        for expr in quantiles {
            let values = self.scalar(expr, grid)?;
            self.note_quantiles(&values, expr);
            // Of a number that changes, each value is a quantile of its own.
            let mut distinct: Vec<f64> = values.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup_by(|a, b| a.to_bits() == b.to_bits());
            for q in distinct {
                let text = open_metrics(q);
                let mut series =
                    self.ask_histograms(&gathered, Asked::Quantile(&vec![q; grid.len()]), Some((&label, &text)), grid)?;
                for s in &mut series {
                    values.iter().enumerate().filter(|(_, v)| v.to_bits() != q.to_bits()).for_each(|(step, _)| s.clear(step));
                }
                out.extend(series.into_iter().filter(|s| !s.is_empty()));
            }
        }
        Ok(Value::Vector(unite(out)?))
    }

    /// Where each series has any sample.
    fn present_over_time(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>, EvalError> {
        let function = functions::find("present_over_time");
        let Some((function, f)) = function.and_then(|f| if let Kind::Window(w) = f.kind { Some((f, w)) } else { None }) else {
            return Ok(Vec::new());
        };
        // Names stay, so that series stay different.
        let f = functions::WindowFunction { keeps_name: true, ..f };
        Ok(settled(self.over_range(f, function, args, grid, &Collect(self))?))
    }

    /// Applies `f` to the floats of each step; histograms go, the metric name, and values that become `None`.
    fn stepwise(&self, mut series: Vec<Series>, f: impl Fn(usize, f64) -> Option<f64>) -> Result<Vec<Series>, EvalError> {
        for s in &mut series {
            self.drop_name(s);
            s.histograms = Vec::new();
            for (step, v) in s.values.iter_mut().enumerate() {
                if let Some(value) = present(*v) {
                    *v = f(step, value).map_or(ABSENT, quiet);
                }
            }
        }
        series.retain(|s| !s.is_empty());
        unite(series)
    }

    /// Applies `f` to the histograms of each step; floats and the metric name go.
    fn of_histograms(&self, mut series: Vec<Series>, f: fn(&Histogram) -> f64) -> Result<Vec<Series>, EvalError> {
        for s in &mut series {
            self.drop_name(s);
            let histograms = std::mem::take(&mut s.histograms);
            s.values.fill(ABSENT);
            for (v, h) in s.values.iter_mut().zip(histograms) {
                if let Some(h) = h {
                    *v = quiet(f(&h));
                }
            }
        }
        series.retain(|s| !s.is_empty());
        unite(series)
    }

    fn clamped(&self, series: Vec<Series>, bounds: impl Fn(usize) -> (f64, f64)) -> Result<Value, EvalError> {
        let series = self.stepwise(series, |step, v| {
            let (low, high) = bounds(step);
            // An empty interval has no values; NaN on any side gives NaN.
            (high >= low || low.is_nan() || high.is_nan()).then(|| extreme(true, low, extreme(false, high, v)))
        })?;
        Ok(Value::Vector(series))
    }

    /// Times of the samples that a selector takes; of computed vectors, of the steps.
    fn timestamps(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut series: Vec<Series> = match &expr.inner().node {
            Node::Selector(selector) => settled(self.select(selector, expr.start, grid, Take::Time, &Collect(self))?),
            _ => {
                let mut series = self.vector(expr, grid)?;
                let now = seconds(grid);
                for s in &mut series {
                    for (step, now) in now.iter().enumerate() {
                        if s.is_present(step) {
                            s.set(step, Point::Float(*now));
                        }
                    }
                }
                series
            }
        };
        series.iter_mut().for_each(|s| self.drop_name(s));
        unite(series)
    }
}

fn argument(args: &[Expr], i: usize) -> Result<&Expr, EvalError> {
    args.get(i).ok_or_else(|| EvalError::Execution(format!("argument {} is missing", i + 1)))
}

/// Seconds of each step.
fn seconds(grid: Grid) -> Vec<f64> {
    grid.times().map(|t| t as f64 / 1000.0).collect()
}

/// A number as OpenMetrics writes it in labels: `1.0`, `0.25`, `1e+06`.
fn open_metrics(value: f64) -> String {
    let text = model::go_general(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// By value at the first step, histograms left out; NaN comes last.
fn sorted(mut series: Vec<Series>, descending: bool, grid: Grid) -> Vec<Series> {
    for s in &mut series {
        (0..grid.len())
            .filter(|step| s.histogram(*step).is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|step| s.clear(step));
    }
    series.retain(|s| !s.is_empty());
    let value = |s: &Series| s.values.first().copied().unwrap_or(ABSENT);
    series.sort_by(|a, b| {
        let natural = value(a).partial_cmp(&value(b)).map(|o| if descending { o.reverse() } else { o });
        natural.unwrap_or_else(|| value(a).is_nan().cmp(&value(b).is_nan())).then_with(|| a.labels.cmp(&b.labels))
    });
    series
}

/// The one float of each step; NaN where there are none or several.
fn only(series: &[Series], grid: Grid) -> Vec<f64> {
    let at_step = |step| {
        let mut values = series.iter().filter_map(|s| s.at(step));
        match (values.next(), values.next()) {
            (Some(v), None) => v,
            _ => f64::NAN,
        }
    };
    (0..grid.len()).map(at_step).collect()
}

/// 1 where no series has a value.
fn absent(series: &[Series], labels: Labels, grid: Grid) -> Vec<Series> {
    let at_step = |step| if series.iter().any(|s| s.is_present(step)) { ABSENT } else { 1.0 };
    let absent = Series::floats(labels, (0..grid.len()).map(at_step).collect());
    if absent.is_empty() { Vec::new() } else { vec![absent] }
}
