//! What expressions become: a value at each step.

use model::{Labels, STALE_NAN_BITS, is_stale};

use crate::EvalError;

/// Stands where a series has no value at a step. (A staleness marker never is a value: selectors leave it out.)
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// One series: a value, or [`ABSENT`], for each step.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<f64>,
}

impl Series {
    pub(crate) fn at(&self, step: usize) -> Option<f64> {
        present(self.values[step])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(|v| is_stale(*v))
    }
}

/// The value, unless it is [`ABSENT`].
pub(crate) fn present(value: f64) -> Option<f64> {
    (!is_stale(value)).then_some(value)
}

/// The value of an expression at all steps.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    Text(String),
}

/// The labels but those that `drop` names.
pub(crate) fn without(labels: &Labels, drop: impl Fn(&str) -> bool) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| !drop(name)))
}

/// The labels without the metric name.
pub(crate) fn nameless(labels: &Labels) -> Labels {
    match labels.get("__name__") {
        Some(_) => without(labels, |n| n == "__name__"),
        None => labels.clone(),
    }
}

/// Series of equal labels become one; no two may have a value at the same step.
pub(crate) fn unite(series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut at = std::collections::HashMap::with_capacity(series.len());
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for s in series {
        match at.entry(s.labels.clone()) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(out.len());
                out.push(s);
            }
            std::collections::hash_map::Entry::Occupied(place) => {
                for (kept, new) in out[*place.get()].values.iter_mut().zip(s.values) {
                    if is_stale(*kept) {
                        *kept = new;
                    } else if !is_stale(new) {
                        return Err(EvalError::Execution("vector cannot contain metrics with the same labelset".to_owned()));
                    }
                }
            }
        }
    }
    Ok(out)
}

/// A computed value, which is never mistaken for [`ABSENT`].
pub(crate) fn quiet(value: f64) -> f64 {
    if is_stale(value) { f64::NAN } else { value }
}
