//! Aggregations: series folded into groups as they come.

use std::collections::HashMap;

use model::Labels;

use super::range::{Mean, add, quantile_of};
use super::value::{ABSENT, Series, quiet, without};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{AggregateOp, Expr, Grouping};

/// What a group has gathered at one step.
#[derive(Debug, Clone, Copy, Default)]
struct Gathered {
    count: f64,
    /// Sum, minimum, maximum or mean.
    first: f64,
    /// Rounding error of the sum, or the squared distances to the mean.
    second: f64,
    mean: Mean,
}

impl Gathered {
    fn take(&mut self, op: AggregateOp, v: f64) {
        self.count += 1.0;
        match op {
            AggregateOp::Sum => (self.first, self.second) = add(v, self.first, self.second),
            AggregateOp::Avg => self.mean.add(v),
            AggregateOp::Min if self.count == 1.0 || v < self.first || self.first.is_nan() => self.first = v,
            AggregateOp::Max if self.count == 1.0 || v > self.first || self.first.is_nan() => self.first = v,
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = v - self.first;
                self.first += delta / self.count;
                self.second += delta * (v - self.first);
            }
            _ => {}
        }
    }

    fn result(&self, op: AggregateOp) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        quiet(match op {
            AggregateOp::Sum => self.first + self.second,
            AggregateOp::Avg => self.mean.get().unwrap_or(f64::NAN),
            AggregateOp::Count => self.count,
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => self.second / self.count,
            AggregateOp::Stddev => (self.second / self.count).sqrt(),
            _ => self.first,
        })
    }
}

/// The labels of the group that a series belongs to.
fn group_of(labels: &Labels, grouping: &Grouping) -> Labels {
    without(labels, |name| {
        let named = grouping.labels.iter().any(|l| l == name);
        if grouping.without { named || name == "__name__" } else { !named }
    })
}

impl Evaluator<'_> {
    pub(super) fn aggregate(
        &self,
        op: AggregateOp,
        expr: &Expr,
        param: Option<&Expr>,
        grouping: &Grouping,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        match (op, param) {
            (AggregateOp::Topk | AggregateOp::Bottomk, Some(k)) => self.top(op, expr, k, grouping, grid),
            (AggregateOp::Quantile, Some(q)) => self.quantile(expr, q, grouping, grid),
            (AggregateOp::CountValues, Some(label)) => self.count_values(expr, label, grouping, grid),
            (AggregateOp::Limitk | AggregateOp::LimitRatio, _) => Err(EvalError::Unsupported(format!("{}()", op.as_str()))),
            _ => self.fold(op, expr, grouping, grid),
        }
    }

    fn fold(&self, op: AggregateOp, expr: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let mut groups: HashMap<Labels, Vec<Gathered>> = HashMap::new();
        for series in self.stream(expr, grid)? {
            let series = series?;
            let steps = groups.entry(group_of(&series.labels, grouping)).or_insert_with(|| vec![Gathered::default(); grid.len()]);
            for (step, gathered) in steps.iter_mut().enumerate() {
                if let Some(v) = series.at(step) {
                    gathered.take(op, v);
                }
            }
        }
        let results = groups.into_iter().map(|(labels, steps)| {
            let values = steps.iter().map(|g| g.result(op)).collect();
            Series { labels, values }
        });
        Ok(results.filter(|s| !s.is_empty()).collect())
    }

    /// All series, by group.
    fn groups(&self, expr: &Expr, grouping: &Grouping, grid: Grid) -> Result<HashMap<Labels, Vec<Series>>, EvalError> {
        let mut groups: HashMap<Labels, Vec<Series>> = HashMap::new();
        for series in self.stream(expr, grid)? {
            let series = series?;
            groups.entry(group_of(&series.labels, grouping)).or_default().push(series);
        }
        Ok(groups)
    }

    /// The `k` largest (or smallest) of each group, with their own labels.
    fn top(&self, op: AggregateOp, expr: &Expr, k: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let k = self.scalar(k, grid)?;
        let mut out = Vec::new();
        for mut members in self.groups(expr, grouping, grid)?.into_values() {
            for (step, k) in k.iter().enumerate() {
                if k.is_nan() || k.abs() >= 9.2e18 {
                    return Err(EvalError::Execution(format!("Scalar value {k} overflows int64")));
                }
                let mut ranked: Vec<(f64, usize)> =
                    members.iter().enumerate().filter_map(|(i, s)| s.at(step).map(|v| (v, i))).collect();
                // Best first; NaN is worst of all.
                ranked.sort_by(|(a, _), (b, _)| {
                    let natural = a.partial_cmp(b).map(|o| if op == AggregateOp::Topk { o.reverse() } else { o });
                    natural.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                });
                let chosen = if *k < 1.0 { 0 } else { *k as usize };
                ranked.iter().skip(chosen).for_each(|(_, i)| members[*i].values[step] = ABSENT);
            }
            out.extend(members.into_iter().filter(|s| !s.is_empty()));
        }
        if grid.len() == 1 {
            let value = |s: &Series| s.values[0];
            out.sort_by(|a, b| {
                let natural = value(a).partial_cmp(&value(b)).map(|o| if op == AggregateOp::Topk { o.reverse() } else { o });
                natural.unwrap_or_else(|| value(a).is_nan().cmp(&value(b).is_nan())).then_with(|| a.labels.cmp(&b.labels))
            });
        }
        Ok(out)
    }

    fn quantile(&self, expr: &Expr, q: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let quantiles = self.scalar(q, grid)?;
        for q in &quantiles {
            if !(0.0..=1.0).contains(q) {
                self.warnings.borrow_mut().insert(format!(
                    "PromQL warning: quantile value should be between 0 and 1, got {q} ({})",
                    self.position(expr)
                ));
            }
        }
        let mut out = Vec::new();
        for (labels, members) in self.groups(expr, grouping, grid)? {
            let at_step = |(step, q): (usize, &f64)| {
                let mut values: Vec<f64> = members.iter().filter_map(|s| s.at(step)).collect();
                if values.is_empty() { ABSENT } else { quiet(quantile_of(*q, &mut values)) }
            };
            out.push(Series { labels, values: quantiles.iter().enumerate().map(at_step).collect() });
        }
        Ok(out)
    }

    /// How many series of a group have each value; the value becomes a label.
    fn count_values(&self, expr: &Expr, label: &Expr, grouping: &Grouping, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let name = self.text(label, grid)?;
        if name.is_empty() {
            return Err(EvalError::Execution("invalid label name \"\"".to_owned()));
        }
        let mut counts: HashMap<Labels, Vec<f64>> = HashMap::new();
        for (labels, members) in self.groups(expr, grouping, grid)? {
            for series in members {
                for step in 0..grid.len() {
                    let Some(v) = series.at(step) else { continue };
                    let text = crate::number(v);
                    let pairs = labels.iter().chain([(name.as_str(), text.as_str())]);
                    let steps = counts.entry(Labels::from_pairs(pairs)).or_insert_with(|| vec![ABSENT; grid.len()]);
                    steps[step] = super::value::present(steps[step]).unwrap_or(0.0) + 1.0;
                }
            }
            self.charge(counts.len())?;
        }
        Ok(counts.into_iter().map(|(labels, values)| Series { labels, values }).collect())
    }
}
