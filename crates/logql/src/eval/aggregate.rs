//! Series folded into groups.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Grid, Series, group};
use crate::ast::{AggregateOp, VectorAggregation};
use crate::pipeline::LabelSet;

/// What a group has seen at a step.
#[derive(Clone, Copy, Default)]
struct Fold {
    count: f64,
    /// Sum, minimum or maximum; the squares of the deviations.
    value: f64,
    mean: f64,
}

impl Fold {
    fn add(&mut self, op: AggregateOp, v: f64) {
        self.count += 1.0;
        match op {
            AggregateOp::Min if self.count == 1.0 || v < self.value || self.value.is_nan() => self.value = v,
            AggregateOp::Max if self.count == 1.0 || v > self.value || self.value.is_nan() => self.value = v,
            AggregateOp::Sum => self.value += v,
            AggregateOp::Avg => {
                if self.mean.is_infinite() && (v.is_finite() || (v.is_infinite() && (self.mean > 0.0) == (v > 0.0))) {
                    return;
                }
                self.mean += (v - self.mean) / self.count;
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = v - self.mean;
                self.mean += delta / self.count;
                self.value += delta * (v - self.mean);
                // The deviation of what has no distance is none.
                if !v.is_finite() {
                    self.value = f64::NAN;
                }
            }
            _ => {}
        }
    }

    fn result(self, op: AggregateOp) -> Option<f64> {
        (self.count > 0.0).then(|| match op {
            AggregateOp::Count => self.count,
            AggregateOp::Avg => self.mean,
            AggregateOp::Stddev => (self.value / self.count).sqrt(),
            AggregateOp::Stdvar => self.value / self.count,
            _ => self.value,
        })
    }
}

pub(super) fn aggregate(a: &VectorAggregation, mut series: Series, grid: Grid) -> Series {
    match a.op {
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::ApproxTopK => most(a, series, grid),
        AggregateOp::Sort | AggregateOp::SortDesc => {
            let first = |values: &[Option<f64>]| values.iter().copied().flatten().next();
            series.sort_by(|(_, x), (_, y)| match (first(x), first(y)) {
                (Some(x), Some(y)) if a.op == AggregateOp::Sort => order(x, y),
                (Some(x), Some(y)) => descending(x, y),
                (x, y) => y.is_some().cmp(&x.is_some()),
            });
            series
        }
        op => {
            let mut groups: BTreeMap<LabelSet, Vec<Fold>> = BTreeMap::new();
            series.sort_by(|(x, _), (y, _)| x.cmp(y));
            for (labels, values) in series {
                let steps = groups.entry(group(&labels, &a.grouping)).or_insert_with(|| vec![Fold::default(); grid.len()]);
                for (fold, v) in steps.iter_mut().zip(values) {
                    if let Some(v) = v {
                        fold.add(op, v);
                    }
                }
            }
            let result = |steps: Vec<Fold>| steps.into_iter().map(|fold| fold.result(op)).collect();
            groups.into_iter().map(|(labels, steps)| (labels, result(steps))).collect()
        }
    }
}

/// Smallest first, what is no number last.
fn order(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

/// Largest first, what is no number last.
fn descending(x: f64, y: f64) -> Ordering {
    y.partial_cmp(&x).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

/// The largest or smallest series of each group, at each step anew.
fn most(a: &VectorAggregation, mut series: Series, grid: Grid) -> Series {
    let count = a.parameter.unwrap_or(0);
    series.sort_by(|(x, _), (y, _)| x.cmp(y));
    let mut groups: BTreeMap<LabelSet, Vec<usize>> = BTreeMap::new();
    for (i, (labels, _)) in series.iter().enumerate() {
        groups.entry(group(labels, &a.grouping)).or_default().push(i);
    }
    let mut kept = vec![vec![None; grid.len()]; series.len()];
    let mut ranked: Vec<usize> = Vec::new();
    for (step, _) in grid.times().enumerate() {
        for members in groups.values() {
            let value = |i: usize| series[i].1[step].unwrap_or(f64::NAN);
            let mut present: Vec<usize> = members.iter().copied().filter(|i| series[*i].1[step].is_some()).collect();
            present.sort_by(|x, y| match a.op {
                AggregateOp::BottomK => order(value(*x), value(*y)),
                _ => descending(value(*x), value(*y)),
            });
            present.truncate(count);
            for i in present {
                kept[i][step] = series[i].1[step];
                if step == 0 {
                    ranked.push(i);
                }
            }
        }
    }
    // The order of the first step; what comes in later stands behind.
    let mut at: Vec<usize> = (0..series.len()).collect();
    at.sort_by_key(|i| ranked.iter().position(|r| r == i).unwrap_or(usize::MAX));
    at.into_iter().map(|i| (series[i].0.clone(), std::mem::take(&mut kept[i]))).collect()
}
