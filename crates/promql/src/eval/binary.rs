//! Operators between numbers and vectors.

use std::collections::HashMap;

use model::Labels;

use super::value::{ABSENT, Series, Value, nameless, present, quiet, unite, without};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Binary, BinaryOp, Matching, Side};

/// What an operator makes of two numbers; of a comparison: 1 or 0.
fn compute(op: BinaryOp, l: f64, r: f64) -> f64 {
    let truth = |b: bool| f64::from(u8::from(b));
    match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        BinaryOp::Eq => truth(l == r),
        BinaryOp::Ne => truth(l != r),
        BinaryOp::Gt => truth(l > r),
        BinaryOp::Lt => truth(l < r),
        BinaryOp::Ge => truth(l >= r),
        BinaryOp::Le => truth(l <= r),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}

/// The value of a matched pair: of comparisons that filter, the left one or nothing.
fn pair(b: &Binary, l: f64, r: f64, kept: f64) -> f64 {
    let value = compute(b.op, l, r);
    match b.op.is_comparison() && !b.returns_bool {
        true if value == 1.0 => kept,
        true => ABSENT,
        false => quiet(value),
    }
}

/// Whether the metric name goes.
fn drops_name(b: &Binary) -> bool {
    !b.op.is_comparison() || b.returns_bool
}

/// The labels by which two sides find each other.
fn signature(labels: &Labels, matching: &Matching) -> Labels {
    without(labels, |name| {
        let named = matching.labels.iter().any(|l| l == name);
        if matching.on { !named } else { named || name == "__name__" }
    })
}

impl Evaluator<'_> {
    pub(super) fn binary(&self, b: &Binary, grid: Grid) -> Result<Value, EvalError> {
        let (left, right) = (self.value(&b.left, grid)?, self.value(&b.right, grid)?);
        Ok(match (left, right) {
            (Value::Scalar(l), Value::Scalar(r)) => {
                Value::Scalar(l.iter().zip(&r).map(|(l, r)| quiet(compute(b.op, *l, *r))).collect())
            }
            (Value::Vector(l), Value::Scalar(r)) => Value::Vector(with_scalar(b, l, &r, Side::Right)?),
            (Value::Scalar(l), Value::Vector(r)) => Value::Vector(with_scalar(b, r, &l, Side::Left)?),
            (Value::Vector(l), Value::Vector(r)) => {
                self.charge((l.len() + r.len()) * grid.len())?;
                Value::Vector(match b.op {
                    BinaryOp::And | BinaryOp::Unless => intersect(b, l, &r),
                    BinaryOp::Or => union(b, l, r)?,
                    _ => unite(matched(b, l, r)?)?,
                })
            }
            (Value::Text(_), _) | (_, Value::Text(_)) => {
                return Err(EvalError::Execution(
                    "binary expression must contain only scalar and instant vector types".to_owned(),
                ));
            }
        })
    }
}

fn with_scalar(b: &Binary, mut series: Vec<Series>, scalar: &[f64], scalar_side: Side) -> Result<Vec<Series>, EvalError> {
    for s in &mut series {
        if drops_name(b) {
            s.labels = nameless(&s.labels);
        }
        for (v, scalar) in s.values.iter_mut().zip(scalar) {
            if let Some(value) = present(*v) {
                *v = match scalar_side {
                    Side::Right => pair(b, value, *scalar, value),
                    Side::Left => pair(b, *scalar, value, value),
                };
            }
        }
    }
    series.retain(|s| !s.is_empty());
    unite(series)
}

fn by_signature<'s>(series: &'s [Series], matching: &Matching) -> HashMap<Labels, Vec<&'s Series>> {
    let mut map: HashMap<Labels, Vec<&Series>> = HashMap::new();
    series.iter().for_each(|s| map.entry(signature(&s.labels, matching)).or_default().push(s));
    map
}

/// `and` keeps what the right side has at the same step, `unless` what it has not.
fn intersect(b: &Binary, mut left: Vec<Series>, right: &[Series]) -> Vec<Series> {
    let right = by_signature(right, &b.matching);
    for s in &mut left {
        let others = right.get(&signature(&s.labels, &b.matching));
        for (step, v) in s.values.iter_mut().enumerate() {
            let has = others.is_some_and(|o| o.iter().any(|o| o.at(step).is_some()));
            if has != (b.op == BinaryOp::And) {
                *v = ABSENT;
            }
        }
    }
    left.retain(|s| !s.is_empty());
    left
}

/// The left side, and what the right one has where the left has nothing of the same signature.
fn union(b: &Binary, left: Vec<Series>, mut right: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let by_left = by_signature(&left, &b.matching);
    for s in &mut right {
        let Some(others) = by_left.get(&signature(&s.labels, &b.matching)) else { continue };
        for (step, v) in s.values.iter_mut().enumerate() {
            if others.iter().any(|o| o.at(step).is_some()) {
                *v = ABSENT;
            }
        }
    }
    drop(by_left);
    let mut out = left;
    out.extend(right.into_iter().filter(|s| !s.is_empty()));
    unite(out)
}

/// Arithmetic and comparison between vectors.
fn matched(b: &Binary, left: Vec<Series>, right: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    // `many` walks, `one` is looked up; with `group_right` the sides change places.
    let swapped = b.matching.many == Some(Side::Right);
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let one_side = if swapped { "left" } else { "right" };
    let lookup = by_signature(&one, &b.matching);
    // Which step of a signature a series of the "many" side has taken: one-to-one allows one.
    let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
    let mut out = Vec::new();
    for s in &many {
        let key = signature(&s.labels, &b.matching);
        let Some(others) = lookup.get(&key) else { continue };
        // The labels may depend on which partner is met, by way of `group_left (label)`.
        for (i, other) in others.iter().enumerate() {
            let mut values = vec![ABSENT; s.values.len()];
            for (step, value) in values.iter_mut().enumerate() {
                let (Some(mine), Some(theirs)) = (s.at(step), other.at(step)) else { continue };
                if let Some(double) = others[i + 1..].iter().find(|o| o.at(step).is_some()) {
                    return Err(EvalError::Execution(format!(
                        "found duplicate series for the match group {key} on the {one_side} hand-side of the operation: \
                         [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                        double.labels, other.labels
                    )));
                }
                let (l, r) = if swapped { (theirs, mine) } else { (mine, theirs) };
                *value = pair(b, l, r, l);
                // Also where a comparison leaves nothing.
                if b.matching.many.is_none() {
                    let steps = taken.entry(key.clone()).or_insert_with(|| vec![false; s.values.len()]);
                    if std::mem::replace(&mut steps[step], true) {
                        return Err(EvalError::Execution(
                            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                                .to_owned(),
                        ));
                    }
                }
            }
            let series = Series { labels: result_labels(b, &s.labels, &other.labels), values };
            if !series.is_empty() {
                out.push(series);
            }
        }
    }
    if b.matching.many.is_some() {
        let mut seen: HashMap<&Labels, &Series> = HashMap::new();
        for s in &out {
            if let Some(other) = seen.insert(&s.labels, s)
                && (0..s.values.len()).any(|step| s.at(step).is_some() && other.at(step).is_some())
            {
                return Err(EvalError::Execution(
                    "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
                ));
            }
        }
    }
    Ok(out)
}

fn result_labels(b: &Binary, many: &Labels, one: &Labels) -> Labels {
    let Matching { on, labels, include, .. } = &b.matching;
    let one_to_one = b.matching.many.is_none();
    let kept = many.iter().filter(|(name, _)| {
        let named = labels.iter().any(|l| l == name);
        let matching_keeps = !one_to_one || if *on { named } else { !named };
        matching_keeps && !(drops_name(b) && *name == "__name__") && !include.iter().any(|i| i == name)
    });
    let included = include.iter().filter_map(|name| one.get(name).map(|value| (name.as_str(), value)));
    Labels::from_pairs(kept.chain(included))
}
