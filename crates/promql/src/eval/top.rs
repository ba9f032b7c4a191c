//! Aggregations that choose series and leave them as they are.

use std::cmp::Ordering;

use model::Labels;
use xxhash_rust::xxh64::xxh64;

use super::value::Series;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{AggregateOp, Expr, Grouping};
use crate::notes::Note;

/// Best first; NaN is worst of all.
fn ranked(op: AggregateOp, a: f64, b: f64) -> Ordering {
    let natural = a.partial_cmp(&b).map(|o| if op == AggregateOp::Topk { o.reverse() } else { o });
    natural.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Where a series stands between 0 and 1 for `limit_ratio`: its labels' hash as the reference computes it.
fn sampling_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.memory());
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short) if short < 255 => bytes.push(short),
            _ => bytes.extend([255, length as u8, (length >> 8) as u8, (length >> 16) as u8]),
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0) as f64 / u64::MAX as f64
}

impl Evaluator<'_> {
    /// `topk`, `bottomk`, `limitk`: `k` series of each group at each step.
    pub(super) fn choose(
        &self,
        op: AggregateOp,
        expr: &Expr,
        k: &Expr,
        grouping: &Grouping,
        at: usize,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let ks = self.scalar(k, grid)?;
        if ks.iter().all(|k| *k < 1.0) {
            return Ok(Vec::new());
        }
        for k in &ks {
            let wrong = |why: &str| Err(EvalError::Execution(why.to_owned()));
            if k.is_nan() {
                return wrong("Parameter value is NaN");
            }
            let number = model::go_general(*k);
            if *k <= -9_223_372_036_854_775_808.0 {
                return wrong(&format!("Scalar value {number} underflows int64"));
            }
            if *k >= 9_223_372_036_854_774_784.0 {
                return wrong(&format!("Scalar value {number} overflows int64"));
            }
        }
        let mut out = Vec::new();
        for (_, mut members) in self.groups(expr, grouping, grid)? {
            for (step, k) in ks.iter().enumerate() {
                let chosen = if *k < 1.0 { 0 } else { *k as usize };
                if op == AggregateOp::Limitk {
                    members.iter_mut().filter(|s| s.is_present(step)).skip(chosen).for_each(|s| s.clear(step));
                    continue;
                }
                for s in members.iter_mut().filter(|s| s.histogram(step).is_some()) {
                    if chosen > 0 {
                        self.notes.add(at, Note::IgnoredInAggregation(op.as_str()));
                    }
                    s.clear(step);
                }
                let mut order: Vec<(f64, usize)> =
                    members.iter().enumerate().filter_map(|(i, s)| s.at(step).map(|v| (v, i))).collect();
                if order.len() > chosen {
                    // Of equals the one that came first is chosen.
                    order.select_nth_unstable_by(chosen, |(a, i), (b, j)| ranked(op, *a, *b).then_with(|| i.cmp(j)));
                    order[chosen..].iter().for_each(|(_, i)| members[*i].clear(step));
                }
            }
            let first = out.len();
            out.extend(members.into_iter().filter(|s| !s.is_empty()));
            out[first..].iter_mut().for_each(Series::settle);
            if grid.len() == 1 && op != AggregateOp::Limitk {
                // Groups stay together, in the order they came.
                out[first..].sort_by(|a: &Series, b| ranked(op, a.values[0], b.values[0]).then_with(|| a.labels.cmp(&b.labels)));
            }
        }
        Ok(out)
    }

    /// A share of the series, the same ones each time; of a negative ratio the others.
    pub(super) fn limit_ratio(
        &self,
        expr: &Expr,
        ratio: &Expr,
        grouping: &Grouping,
        grid: Grid,
    ) -> Result<Vec<Series>, EvalError> {
        let ratios = self.scalar(ratio, grid)?;
        if ratios.iter().all(|r| *r == 0.0) {
            return Ok(Vec::new());
        }
        if ratios.iter().any(|r| r.is_nan()) {
            return Err(EvalError::Execution("Ratio value is NaN".to_owned()));
        }
        let at = ratio.inner().start;
        for (got, capped) in ratios.iter().filter(|r| r.abs() > 1.0).map(|r| (*r, r.signum())) {
            self.notes.add(at, Note::InvalidRatio { got, capped });
        }
        let mut out = Vec::new();
        for mut s in self.groups(expr, grouping, grid)?.into_iter().flat_map(|(_, members)| members) {
            s.settle();
            let offset = sampling_offset(&s.labels);
            for (step, ratio) in ratios.iter().enumerate() {
                let ratio = ratio.clamp(-1.0, 1.0);
                let chosen = (ratio > 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio);
                if !chosen {
                    s.clear(step);
                }
            }
            if !s.is_empty() {
                out.push(s);
            }
        }
        Ok(out)
    }
}
