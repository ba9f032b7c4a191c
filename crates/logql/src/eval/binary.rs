//! Operations between series.

use std::collections::{HashMap, HashSet};

use super::{Metric, Series};
use crate::EvalError;
use crate::ast::{Binary, BinaryOp, Cardinality};
use crate::pipeline::LabelSet;

/// The value of a pair: of comparisons that filter, `kept` or nothing.
fn pair(b: &Binary, l: f64, r: f64, kept: f64) -> Option<f64> {
    let value = b.op.compute(l, r);
    match b.op.is_comparison() && !b.returns_bool {
        true => (value == 1.0).then_some(kept),
        false => Some(value),
    }
}

pub(super) fn binary(b: &Binary, left: Metric, right: Metric) -> Result<Metric, EvalError> {
    Ok(match (left, right) {
        (Metric::Scalar(l), Metric::Scalar(r)) => Metric::Scalar(l.iter().zip(&r).map(|(l, r)| b.op.compute(*l, *r)).collect()),
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
        (Metric::Series(left), Metric::Series(right)) if b.op.is_set() => Metric::Series(sets(b, left, right)),
        (Metric::Series(left), Metric::Series(right)) => Metric::Series(join(b, left, right)?),
    })
}

/// The labels by which a series finds its counterpart.
fn signature(b: &Binary, labels: &LabelSet) -> LabelSet {
    labels.retain(|n| b.matching.labels.iter().any(|l| l == n) == b.matching.on)
}

fn sets(b: &Binary, left: Series, right: Series) -> Series {
    let steps = left.iter().chain(&right).map(|(_, v)| v.len()).max().unwrap_or(0);
    // At which steps a signature has a value.
    let presence = |series: &Series| {
        let mut present: HashMap<LabelSet, Vec<bool>> = HashMap::new();
        for (labels, values) in series {
            let at = present.entry(signature(b, labels)).or_insert_with(|| vec![false; steps]);
            at.iter_mut().zip(values).for_each(|(p, v)| *p |= v.is_some());
        }
        present
    };
    // Keeps the values at steps where the other side has, or has not, the signature.
    let keep = |series: Series, other: &HashMap<LabelSet, Vec<bool>>, when: bool| -> Series {
        let one = |(labels, mut values): (LabelSet, Vec<Option<f64>>)| {
            let there = other.get(&signature(b, &labels));
            for (i, v) in values.iter_mut().enumerate() {
                *v = v.filter(|_| there.is_some_and(|there| there[i]) == when);
            }
            (labels, values)
        };
        series.into_iter().map(one).collect()
    };
    match b.op {
        BinaryOp::And => keep(left, &presence(&right), true),
        BinaryOp::Unless => keep(left, &presence(&right), false),
        _ => {
            let there = presence(&left);
            let mut out = left;
            for (labels, values) in keep(right, &there, false) {
                // What both sides call the same is one series, each step from one side.
                match out.iter_mut().find(|(l, _)| *l == labels) {
                    Some((_, into)) => into.iter_mut().zip(values).for_each(|(a, b)| *a = a.or(b)),
                    None => out.push((labels, values)),
                }
            }
            out
        }
    }
}

/// The labels of a pair: those of the side that may have many, and what the modifier copies from the other one.
fn result_labels(b: &Binary, many: &LabelSet, one: &LabelSet) -> LabelSet {
    let matching = &b.matching;
    let mut labels = match matching.cardinality {
        Cardinality::OneToOne if matching.on => many.retain(|n| matching.labels.iter().any(|l| l == n)),
        Cardinality::OneToOne => many.retain(|n| !matching.labels.iter().any(|l| l == n)),
        _ => many.clone(),
    };
    if !matching.include.is_empty() {
        let kept = labels.retain(|n| !matching.include.iter().any(|l| l == n));
        let copied = one.pairs().iter().filter(|(n, v)| !v.is_empty() && matching.include.iter().any(|l| **l == **n));
        labels = LabelSet::from_pairs(kept.pairs().iter().chain(copied).cloned());
    }
    labels
}

fn join(b: &Binary, left: Series, right: Series) -> Result<Series, EvalError> {
    let fail = |message: &str| Err(EvalError::Execution(message.to_owned()));
    let swapped = b.matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let mut ones: HashMap<LabelSet, Vec<usize>> = HashMap::new();
    for (i, (labels, _)) in one.iter().enumerate() {
        ones.entry(signature(b, labels)).or_default().push(i);
    }
    let steps = many.first().map_or(0, |(_, v)| v.len());
    // Two series of the side that must have one, at the same step.
    for same in ones.values().filter(|same| same.len() > 1) {
        let twice = (0..steps).any(|step| same.iter().filter(|i| one[**i].1[step].is_some()).count() > 1);
        if twice {
            let side = if swapped { "left" } else { "right" };
            return fail(&format!(
                "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique \
                 on one side"
            ));
        }
    }
    let mut out: Series = Vec::new();
    let mut places: HashMap<LabelSet, usize> = HashMap::new();
    let mut taken: HashSet<(LabelSet, LabelSet, usize)> = HashSet::new();
    for (labels, values) in &many {
        let key = signature(b, labels);
        let Some(partners) = ones.get(&key) else { continue };
        for partner in partners {
            let (one_labels, one_values) = &one[*partner];
            let name = result_labels(b, labels, one_labels);
            let mut result: Vec<Option<f64>> = vec![None; values.len()];
            for (step, both) in values.iter().zip(one_values).enumerate() {
                let (Some(m), Some(o)) = (*both.0, *both.1) else { continue };
                let (unique, message) = match b.matching.cardinality {
                    Cardinality::OneToOne => (
                        LabelSet::default(),
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                    ),
                    _ => (name.clone(), "multiple matches for labels: grouping labels must ensure unique matches"),
                };
                if !taken.insert((key.clone(), unique, step)) {
                    return fail(message);
                }
                let (l, r) = if swapped { (o, m) } else { (m, o) };
                result[step] = pair(b, l, r, l);
            }
            let at = *places.entry(name.clone()).or_insert_with(|| {
                out.push((name, vec![None; values.len()]));
                out.len() - 1
            });
            out[at].1.iter_mut().zip(result).for_each(|(a, b)| *a = a.or(b));
        }
    }
    Ok(out)
}
