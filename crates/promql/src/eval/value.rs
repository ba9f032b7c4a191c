//! What expressions become: a value at each step.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::{Histogram, Labels, STALE_NAN_BITS, is_stale};

use super::window::Point;
use crate::EvalError;

/// Stands where a series has no float at a step. (A staleness marker never is a value: selectors leave it out.)
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// One series: a float, a histogram, or nothing for each step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) labels: Arc<Labels>,
    /// [`ABSENT`] for none.
    pub(crate) values: Vec<f64>,
    /// One a step; empty where there is none at all.
    pub(crate) histograms: Vec<Option<Arc<Histogram>>>,
    /// Whether the metric name goes when the query is done.
    pub(crate) drop_name: bool,
    /// The metric's name, type and unit are still in `labels`, but gone: [`Series::settle`] takes them out. Only on the way
    /// from the store to who decides which series stay.
    pub(crate) nameless: bool,
}

impl Series {
    /// Floats only.
    pub(crate) fn floats(labels: impl Into<Arc<Labels>>, values: Vec<f64>) -> Self {
        Self { labels: labels.into(), values, ..Self::default() }
    }

    /// Nothing at each of `steps` steps.
    pub(crate) fn absent(labels: impl Into<Arc<Labels>>, steps: usize) -> Self {
        Self::floats(labels, vec![ABSENT; steps])
    }

    /// Makes the labels what they are to be.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.nameless) {
            self.labels = nameless(&self.labels);
        }
    }

    /// The float at a step.
    pub(crate) fn at(&self, step: usize) -> Option<f64> {
        present(self.values[step])
    }

    /// The histogram at a step.
    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step)?.as_ref()
    }

    pub(crate) fn is_present(&self, step: usize) -> bool {
        !is_stale(self.values[step]) || self.histogram(step).is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(|v| is_stale(*v)) && self.histograms.iter().all(Option::is_none)
    }

    pub(crate) fn point(&self, step: usize) -> Point {
        match self.at(step) {
            Some(v) => Point::Float(v),
            None => self.histogram(step).map_or(Point::Absent, |h| Point::Histogram(h.clone())),
        }
    }

    /// Sets what a step has.
    pub(crate) fn set(&mut self, step: usize, point: Point) {
        match point {
            Point::Absent => self.clear(step),
            Point::Float(v) => {
                self.clear(step);
                self.values[step] = quiet(v);
            }
            Point::Histogram(h) => {
                self.values[step] = ABSENT;
                self.histograms.resize(self.values.len(), None);
                self.histograms[step] = Some(h);
            }
        }
    }

    pub(crate) fn clear(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(h) = self.histograms.get_mut(step) {
            *h = None;
        }
    }

    /// The first step's value at each of `steps` steps.
    fn repeated(mut self, steps: usize) -> Self {
        let (value, histogram) = (self.values.first().copied().unwrap_or(ABSENT), self.histograms.first().cloned().flatten());
        self.values = vec![value; steps];
        self.histograms = if histogram.is_some() { vec![histogram; steps] } else { Vec::new() };
        self
    }
}

/// The value, unless it is [`ABSENT`].
#[inline]
pub(crate) fn present(value: f64) -> Option<f64> {
    (!is_stale(value)).then_some(value)
}

/// A computed value, which is never mistaken for [`ABSENT`].
#[inline]
pub(crate) fn quiet(value: f64) -> f64 {
    if is_stale(value) { f64::NAN } else { value }
}

/// The value of an expression at all steps.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    Text(String),
}

impl Value {
    /// The first step's value at each of `steps` steps.
    pub(crate) fn repeated(self, steps: usize) -> Self {
        match self {
            Self::Scalar(values) => Self::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); steps]),
            Self::Vector(series) => Self::Vector(series.into_iter().map(|s| s.repeated(steps)).collect()),
            Self::Text(text) => Self::Text(text),
        }
    }
}

/// The labels but those that `drop` names.
pub(crate) fn without(labels: &Labels, drop: impl Fn(&str) -> bool) -> Labels {
    Labels::from_pairs(labels.iter().filter(|(name, _)| !drop(name)))
}

/// `__name__`, `__type__`, `__unit__`: what says which metric a series is of.
pub(crate) fn names_metric(label: &str) -> bool {
    matches!(label, "__name__" | "__type__" | "__unit__")
}

/// The labels without the metric's name, type and unit.
pub(crate) fn nameless(labels: &Arc<Labels>) -> Arc<Labels> {
    if labels.iter().any(|(name, _)| names_metric(name)) { Arc::new(without(labels, names_metric)) } else { labels.clone() }
}

/// The metric's name, empty for none.
pub(crate) fn metric(labels: &Labels) -> &str {
    labels.get("__name__").unwrap_or("")
}

fn duplicate() -> EvalError {
    EvalError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// Series of equal labels become one; no two may have a value at the same step.
pub(crate) fn unite(series: Vec<Series>) -> Result<Vec<Series>, EvalError> {
    let mut at: HashMap<Arc<Labels>, usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for s in series {
        match at.entry(s.labels.clone()) {
            Entry::Vacant(place) => {
                place.insert(out.len());
                out.push(s);
            }
            Entry::Occupied(place) => {
                let kept = &mut out[*place.get()];
                for step in 0..s.values.len() {
                    if !s.is_present(step) {
                        continue;
                    }
                    if kept.is_present(step) {
                        return Err(duplicate());
                    }
                    kept.set(step, s.point(step));
                }
            }
        }
    }
    Ok(out)
}

/// Fingerprints of labels that must differ.
pub(crate) fn distinct(mut fingerprints: Vec<u128>) -> Result<(), EvalError> {
    fingerprints.sort_unstable();
    if fingerprints.windows(2).all(|w| w[0] != w[1]) { Ok(()) } else { Err(duplicate()) }
}
