//! What is done to series.

use std::cmp::Ordering;

use super::{Series, calculate, label_order};
use crate::ast::{Op, SecondStage};
use crate::value::{Static, compare};

/// The label of a series' function where there are no others.
const NAME: &str = "__name__";

/// One stage.
pub(super) fn stage(stage: &SecondStage, mut series: Vec<Series>) -> Vec<Series> {
    match stage {
        SecondStage::Filter(op, threshold) => {
            for value in series.iter_mut().flat_map(|s| &mut s.values) {
                if !compare(*op, &Static::Float(*value), &Static::Float(*threshold)) {
                    *value = f64::NAN;
                }
            }
        }
        SecondStage::TopK(k) => rank(*k, &mut series, true),
        SecondStage::BottomK(k) => rank(*k, &mut series, false),
    }
    series.retain(|s| s.values.iter().any(|v| !v.is_nan()));
    series
}

/// Keeps the `k` greatest (or least) values of each interval. Of equal ones the first series wins (or the last).
fn rank(k: i64, series: &mut [Series], greatest: bool) {
    let k = usize::try_from(k).unwrap_or(0);
    if series.len() <= k {
        return;
    }
    series.sort_by(|a, b| precedence(&a.labels, &b.labels));
    let intervals = series.iter().map(|s| s.values.len()).max().unwrap_or(0);
    for i in 0..intervals {
        let value = |s: usize| series[s].values.get(i).copied().unwrap_or(f64::NAN);
        let mut order: Vec<usize> = (0..series.len()).filter(|s| !value(*s).is_nan()).collect();
        order.sort_by(|a, b| {
            let by_value = value(*a).partial_cmp(&value(*b)).unwrap_or(Ordering::Equal);
            if greatest { by_value.reverse().then(a.cmp(b)) } else { by_value.then(b.cmp(a)) }
        });
        for s in order.into_iter().skip(k) {
            series[s].values[i] = f64::NAN;
        }
    }
}

/// The order in which equal series win: texts ascending, all else descending.
fn precedence(a: &[(String, Static<'static>)], b: &[(String, Static<'static>)]) -> Ordering {
    for ((an, av), (bn, bv)) in a.iter().zip(b) {
        let by_value = av.order(bv).unwrap_or_else(|| av.key().cmp(&bv.key()));
        let texts = matches!((av, bv), (Static::Text(_), Static::Text(_)));
        let order = an.cmp(bn).then(if texts { by_value } else { by_value.reverse() });
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn without_name(series: &Series) -> Vec<(String, Static<'static>)> {
    series.labels.iter().filter(|(name, _)| name != NAME).cloned().collect()
}

fn name(series: &[Series]) -> Option<String> {
    series.iter().flat_map(|s| &s.labels).find_map(|(name, value)| match value {
        Static::Text(text) if name == NAME => Some(text.clone().into_owned()),
        _ => None,
    })
}

/// Series with series of the same labels, or with the one that has none.
pub(super) fn math(op: Op, left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let combined = name(&left).zip(name(&right)).map(|(l, r)| format!("({l} {} {r})", op.as_str()));
    let strip = |series: Vec<Series>| series.into_iter().map(|s| Series { labels: without_name(&s), ..s }).collect::<Vec<_>>();
    let (left, right) = (strip(left), strip(right));
    let bare = |side: &[Series]| side.iter().position(|s| s.labels.is_empty());
    let partner = |side: &[Series], labels: &[(String, Static<'static>)]| {
        side.iter().position(|s| label_order(&s.labels, labels).is_eq()).or_else(|| bare(side))
    };
    let target = if bare(&right).is_none() { &right } else { &left };
    let mut out = Vec::with_capacity(target.len());
    for series in target {
        let (Some(l), Some(r)) = (partner(&left, &series.labels), partner(&right, &series.labels)) else { continue };
        let (l, r) = (&left[l], &right[r]);
        let mut labels = if l.labels.is_empty() { r.labels.clone() } else { l.labels.clone() };
        if let Some(name) = &combined {
            labels.insert(0, (NAME.to_owned(), Static::text(name.clone())));
        }
        let exemplars = l.exemplars.iter().chain(&r.exemplars).cloned().collect();
        let values = l.values.iter().zip(&r.values).map(|(l, r)| calculate(op, *l, *r)).collect();
        out.push(Series { labels, values, exemplars });
    }
    out
}
