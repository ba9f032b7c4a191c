//! Functions that are not of one series' range.

use std::collections::HashMap;

use model::Labels;
use regex::Regex;
use store::{LabelMatcher, MatchOp};

use super::histogram::{Bucket, bucket_quantile};
use super::value::{ABSENT, Series, Value, nameless, present, quiet, unite, without};
use super::{Evaluator, Grid, select::Take};
use crate::EvalError;
use crate::ast::{Expr, Node};
use crate::functions::{Function, Kind, Special};

impl Evaluator<'_> {
    pub(super) fn call(&self, function: &Function, args: &[Expr], expr: &Expr, grid: Grid) -> Result<Value, EvalError> {
        match function.kind {
            Kind::Range(_) => Ok(Value::Vector(self.stream(expr, grid)?.collect::<Result<_, _>>()?)),
            Kind::Math(f) => Ok(Value::Vector(self.map(self.vector(argument(args, 0)?, grid)?, f)?)),
            Kind::Calendar(f) => {
                let series = match args.first() {
                    Some(vector) => self.vector(vector, grid)?,
                    None => vec![Series { labels: Labels::default(), values: seconds(grid) }],
                };
                Ok(Value::Vector(self.map(series, f)?))
            }
            Kind::Special(special) => self.special(special, args, grid),
            Kind::Missing => Err(EvalError::Unsupported(format!("{}()", function.name))),
        }
    }

    fn special(&self, special: Special, args: &[Expr], grid: Grid) -> Result<Value, EvalError> {
        let arg = |i| argument(args, i);
        let vector = |i| self.vector(argument(args, i)?, grid);
        let scalar = |i| self.scalar(argument(args, i)?, grid);
        Ok(match special {
            Special::Pi => Value::Scalar(vec![std::f64::consts::PI; grid.len()]),
            Special::Time => Value::Scalar(seconds(grid)),
            Special::Vector => {
                Value::Vector(vec![Series { labels: Labels::default(), values: scalar(0)?.into_iter().map(quiet).collect() }])
            }
            Special::Scalar => Value::Scalar(only(&vector(0)?, grid)),
            Special::Timestamp => Value::Vector(self.timestamps(arg(0)?, grid)?),
            Special::Clamp => {
                let (low, high) = (scalar(1)?, scalar(2)?);
                // An empty interval has no values.
                self.stepwise(vector(0)?, |step, v| {
                    (low[step] <= high[step] || low[step].is_nan() || high[step].is_nan())
                        .then(|| clamp(v, low[step], high[step]))
                })?
            }
            Special::ClampMin => {
                let low = scalar(1)?;
                self.stepwise(vector(0)?, |step, v| Some(clamp(v, low[step], f64::INFINITY)))?
            }
            Special::ClampMax => {
                let high = scalar(1)?;
                self.stepwise(vector(0)?, |step, v| Some(clamp(v, f64::NEG_INFINITY, high[step])))?
            }
            Special::Round => {
                let to = if args.len() > 1 { scalar(1)? } else { vec![1.0; grid.len()] };
                self.stepwise(vector(0)?, |step, v| {
                    // Dividing by the inverse loses less.
                    let inverse = 1.0 / to[step];
                    Some((v * inverse + 0.5).floor() / inverse)
                })?
            }
            Special::Sort | Special::SortDesc => {
                let mut series = vector(0)?;
                let order = |a: &Series, b: &Series| {
                    let (a, b) = (a.values.first().copied().unwrap_or(ABSENT), b.values.first().copied().unwrap_or(ABSENT));
                    let natural = a.partial_cmp(&b).map(|o| if special == Special::Sort { o } else { o.reverse() });
                    natural.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                };
                series.sort_by(|a, b| order(a, b).then_with(|| a.labels.cmp(&b.labels)));
                Value::Vector(series)
            }
            Special::Absent => Value::Vector(absent(&vector(0)?, matchers_of(arg(0)?), grid)),
            Special::AbsentOverTime => {
                let present = crate::functions::find("present_over_time");
                let Some(Function { kind: Kind::Range(f), args: types, .. }) = present else {
                    return Err(EvalError::Unsupported("absent_over_time()".to_owned()));
                };
                let series: Vec<Series> = self.over_range(*f, types, args, grid)?.collect::<Result<_, _>>()?;
                Value::Vector(absent(&series, matchers_of(arg(0)?), grid))
            }
            Special::HistogramQuantile => Value::Vector(self.histogram_quantile(&scalar(0)?, vector(1)?, arg(1)?, grid)?),
            Special::LabelReplace => {
                let [target, replacement, source, pattern] = [1, 2, 3, 4].map(|i| arg(i).and_then(|a| self.text(a, grid)));
                Value::Vector(label_replace(vector(0)?, &target?, &replacement?, &source?, &pattern?)?)
            }
            Special::LabelJoin => {
                let texts: Vec<String> = (1..args.len()).map(|i| self.text(arg(i)?, grid)).collect::<Result<_, _>>()?;
                Value::Vector(label_join(vector(0)?, &texts)?)
            }
        })
    }

    /// Applies `f` at each step; the metric name goes, and so do values that become `None`.
    fn stepwise(&self, mut series: Vec<Series>, f: impl Fn(usize, f64) -> Option<f64>) -> Result<Value, EvalError> {
        for s in &mut series {
            s.labels = nameless(&s.labels);
            for (step, v) in s.values.iter_mut().enumerate() {
                if let Some(value) = present(*v) {
                    *v = f(step, value).map_or(ABSENT, quiet);
                }
            }
        }
        series.retain(|s| !s.is_empty());
        Ok(Value::Vector(unite(series)?))
    }

    /// Times of the samples that a selector takes; of computed vectors, of the steps.
    fn timestamps(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut series: Vec<Series> = match &expr.inner().node {
            Node::Selector(selector) => self.select(selector, grid, Take::Time)?.collect::<Result<_, _>>()?,
            _ => {
                let mut series = self.vector(expr, grid)?;
                let now = seconds(grid);
                for s in &mut series {
                    s.values.iter_mut().zip(&now).for_each(|(v, now)| *v = present(*v).map_or(ABSENT, |_| *now));
                }
                series
            }
        };
        series.iter_mut().for_each(|s| s.labels = nameless(&s.labels));
        unite(series)
    }

    fn histogram_quantile(
        &self,
        quantiles: &[f64],
        series: Vec<Series>,
        expr: &Expr,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let mut histograms: HashMap<Labels, Vec<(f64, Series)>> = HashMap::new();
        for s in series {
            let le = s.labels.get("le").unwrap_or("").to_owned();
            let Some(upper) = bound(&le) else {
                self.warnings.borrow_mut().insert(format!(
                    "PromQL warning: bucket label \"le\" is missing or has a malformed value of {le:?} ({})",
                    self.position(expr)
                ));
                continue;
            };
            histograms.entry(without(&s.labels, |n| n == "le")).or_default().push((upper, s));
        }
        let mut forced = false;
        let mut out = Vec::new();
        for (labels, members) in histograms {
            self.charge(grid.len())?;
            let mut values = Vec::with_capacity(grid.len());
            for (step, q) in quantiles.iter().enumerate() {
                let mut buckets: Vec<Bucket> =
                    members.iter().filter_map(|(upper, s)| s.at(step).map(|count| Bucket { upper: *upper, count })).collect();
                if buckets.is_empty() {
                    values.push(ABSENT);
                    continue;
                }
                let (value, repaired) = bucket_quantile(*q, &mut buckets);
                forced |= repaired;
                values.push(quiet(value));
            }
            out.push(Series { labels: nameless(&labels), values });
        }
        if let Some(q) = quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            self.warnings
                .borrow_mut()
                .insert(format!("PromQL warning: quantile value should be between 0 and 1, got {q} ({})", self.position(expr)));
        }
        if forced {
            self.infos.borrow_mut().insert(format!(
                "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name \"\" ({})",
                self.position(expr)
            ));
        }
        unite(out)
    }
}

fn argument(args: &[Expr], i: usize) -> Result<&Expr, EvalError> {
    args.get(i).ok_or_else(|| EvalError::Execution(format!("argument {} is missing", i + 1)))
}

/// Seconds of each step.
fn seconds(grid: Grid) -> Vec<f64> {
    grid.times().map(|t| t as f64 / 1000.0).collect()
}

/// NaN on either side gives NaN.
fn clamp(v: f64, low: f64, high: f64) -> f64 {
    if v.is_nan() || low.is_nan() || high.is_nan() { f64::NAN } else { v.min(high).max(low) }
}

/// The one value of each step; NaN where there are none or several.
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

/// An upper bound as `le` writes it.
fn bound(le: &str) -> Option<f64> {
    match le {
        "+Inf" | "Inf" | "inf" | "+inf" => Some(f64::INFINITY),
        _ => le.parse().ok(),
    }
}

fn matchers_of(expr: &Expr) -> &[LabelMatcher] {
    match &expr.inner().node {
        Node::Selector(s) | Node::Range { selector: s, .. } => &s.matchers,
        _ => &[],
    }
}

/// 1 where no series has a value, with the labels that the selector fixes.
fn absent(series: &[Series], matchers: &[LabelMatcher], grid: Grid) -> Vec<Series> {
    let unique = |m: &&LabelMatcher| matchers.iter().filter(|o| o.name == m.name).count() == 1;
    let fixed = matchers.iter().filter(|m| m.op == MatchOp::Eq && m.name != "__name__").filter(unique);
    let labels = Labels::from_pairs(fixed.map(|m| (&m.name, &m.value)));
    let at_step = |step| if series.iter().any(|s| s.at(step).is_some()) { ABSENT } else { 1.0 };
    let absent = Series { labels, values: (0..grid.len()).map(at_step).collect() };
    if absent.is_empty() { Vec::new() } else { vec![absent] }
}

fn set_label(labels: &Labels, name: &str, value: &str) -> Labels {
    Labels::from_pairs(labels.iter().chain([(name, value)]))
}

fn label_replace(
    mut series: Vec<Series>,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &str,
) -> Result<Vec<Series>, EvalError> {
    let regex = Regex::new(&format!("^(?s:{pattern})$"))
        .map_err(|_| EvalError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    if target.is_empty() {
        return Err(EvalError::Execution("invalid destination label name in label_replace(): ".to_owned()));
    }
    for s in &mut series {
        let value = s.labels.get(source).unwrap_or("").to_owned();
        if let Some(captures) = regex.captures(&value) {
            let mut expanded = String::new();
            captures.expand(replacement, &mut expanded);
            s.labels = set_label(&s.labels, target, &expanded);
        }
    }
    unite(series)
}

/// `texts`: target, separator, sources.
fn label_join(mut series: Vec<Series>, texts: &[String]) -> Result<Vec<Series>, EvalError> {
    let [target, separator, sources @ ..] = texts else {
        return Err(EvalError::Execution("label_join() needs a target and a separator".to_owned()));
    };
    if target.is_empty() {
        return Err(EvalError::Execution("invalid destination label name in label_join(): ".to_owned()));
    }
    for s in &mut series {
        let values: Vec<&str> = sources.iter().map(|name| s.labels.get(name).unwrap_or("")).collect();
        s.labels = set_label(&s.labels, target, &values.join(separator));
    }
    unite(series)
}
