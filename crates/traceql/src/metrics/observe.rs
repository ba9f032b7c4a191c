//! Spans into series: which series a span is of, and what it adds to the interval of its time.

use std::collections::HashMap;

use super::histogram::{bucket, quantile};
use super::{Exemplar, Series, Window};
use crate::ast::{Aggregate, Function};
use crate::value::Static;

/// Most series of a query.
const SERIES_MAX: usize = 50_000;

/// Values of one label, numbered; nil is 0.
#[derive(Debug, Clone)]
pub(super) struct Interner {
    values: Vec<Static<'static>>,
    texts: HashMap<String, u32>,
    ints: HashMap<i64, u32>,
    others: HashMap<String, u32>,
}

impl Interner {
    fn new() -> Self {
        Self { values: vec![Static::Nil], texts: HashMap::new(), ints: HashMap::new(), others: HashMap::new() }
    }

    /// The number of a value.
    pub(super) fn number(&mut self, value: &Static<'_>) -> u32 {
        let next = self.values.len() as u32;
        let known = match value {
            Static::Nil => return 0,
            Static::Text(text) => match self.texts.get(text.as_ref()) {
                Some(known) => return *known,
                None => self.texts.insert(text.clone().into_owned(), next),
            },
            Static::Int(i) => match self.ints.get(i) {
                Some(known) => return *known,
                None => self.ints.insert(*i, next),
            },
            other => {
                let key = other.key();
                match self.others.get(&key) {
                    Some(known) => return *known,
                    None => self.others.insert(key, next),
                }
            }
        };
        debug_assert!(known.is_none());
        self.values.push(value.clone().into_owned());
        next
    }
}

/// What an interval of a series holds.
#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Sum, least or greatest; NaN for none yet.
    value: f64,
    count: f64,
}

/// Collects spans.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    function: Function,
    window: Window,
    by: Vec<String>,
    pub(super) interners: Vec<Interner>,
    index: HashMap<Vec<u32>, usize>,
    /// The labels' numbers of each series, the bucket's last where there are buckets.
    series: Vec<(Vec<u32>, Vec<Cell>, Vec<Exemplar>)>,
    last: Option<usize>,
}

impl Observer {
    pub(super) fn new(aggregate: &Aggregate, window: Window) -> Self {
        let by: Vec<String> = aggregate.by.iter().map(ToString::to_string).collect();
        let mut interners: Vec<Interner> = by.iter().map(|_| Interner::new()).collect();
        interners.push(Interner::new());
        Self {
            function: aggregate.function.clone(),
            window,
            by,
            interners,
            index: HashMap::new(),
            series: Vec::new(),
            last: None,
        }
    }

    pub(super) fn function(&self) -> &Function {
        &self.function
    }

    pub(super) fn has_buckets(&self) -> bool {
        matches!(self.function, Function::QuantileOverTime(_) | Function::HistogramOverTime)
    }

    /// The number of the bucket of a value: nanoseconds, which are shown in seconds, or a plain number.
    pub(super) fn bucket(&mut self, value: f64, seconds: bool) -> Option<u32> {
        let most = bucket(if value >= 2.0 { value as u64 } else { 0 })?;
        let shown = if seconds { most / 1e9 } else { most };
        self.interners.last_mut().map(|i| i.number(&Static::Float(shown)))
    }

    /// The series with these labels. `None` where there are too many.
    fn series(&mut self, labels: &[u32]) -> Option<usize> {
        if let Some(last) = self.last
            && self.series[last].0 == labels
        {
            return Some(last);
        }
        let at = match self.index.get(labels) {
            Some(at) => *at,
            None if self.series.len() >= SERIES_MAX => return None,
            None => {
                let cells = vec![Cell { value: f64::NAN, count: 0.0 }; self.window.intervals()];
                self.series.push((labels.to_vec(), cells, Vec::new()));
                self.index.insert(labels.to_vec(), self.series.len() - 1);
                self.series.len() - 1
            }
        };
        self.last = Some(at);
        Some(at)
    }

    /// Adds a span of an interval.
    ///
    /// # Errors
    /// Too many series.
    pub(super) fn observe(&mut self, interval: usize, labels: &[u32], value: f64) -> Result<(), String> {
        let counts = matches!(self.function, Function::Rate | Function::CountOverTime) || self.has_buckets();
        if !counts && value.is_nan() && matches!(self.function, Function::AvgOverTime) {
            return Ok(());
        }
        let Some(at) = self.series(labels) else { return Err(format!("the query has more than {SERIES_MAX} series")) };
        let cell = &mut self.series[at].1[interval];
        if counts {
            cell.count += 1.0;
            return Ok(());
        }
        if value.is_nan() {
            return Ok(());
        }
        cell.count += 1.0;
        cell.value = match self.function {
            _ if cell.value.is_nan() => value,
            Function::MinOverTime => cell.value.min(value),
            Function::MaxOverTime => cell.value.max(value),
            _ => cell.value + value,
        };
        Ok(())
    }

    /// Adds spans of an interval that were counted elsewhere.
    ///
    /// # Errors
    /// Too many series.
    pub(super) fn counted(&mut self, interval: usize, labels: &[u32], spans: u64) -> Result<(), String> {
        let Some(at) = self.series(labels) else { return Err(format!("the query has more than {SERIES_MAX} series")) };
        if let Some(cell) = self.series[at].1.get_mut(interval) {
            cell.count += spans as f64;
        }
        Ok(())
    }

    /// Adds a span that stands for others to the series of these labels, if there is one.
    pub(super) fn exemplar(&mut self, labels: &[u32], exemplar: Exemplar) {
        if let Some(at) = self.index.get(labels) {
            self.series[*at].2.push(exemplar);
        }
    }

    /// The series; sums are multiplied by `factor`.
    pub(super) fn finish(mut self, factor: f64) -> Vec<Series> {
        if self.by.is_empty() && self.series.is_empty() && matches!(self.function, Function::Rate | Function::CountOverTime) {
            // Nothing is a number, too.
            self.series(&[]);
        }
        if let Function::QuantileOverTime(quantiles) = self.function.clone() {
            return self.quantiles(&quantiles);
        }
        let mut out = Vec::with_capacity(self.series.len());
        for (numbers, cells, exemplars) in &self.series {
            let mut labels = self.labels(numbers);
            if self.has_buckets() {
                labels.push(("__bucket".to_owned(), self.value(self.by.len(), numbers)));
            } else if self.by.is_empty() {
                labels.push(("__name__".to_owned(), Static::text(self.function.as_str())));
            } else if labels.is_empty() {
                // All are nil: one must be there.
                labels.push((self.by[0].clone(), Static::Nil));
            }
            let seconds = self.window.step as f64 / 1e9;
            let values = cells.iter().map(|c| match self.function {
                // Tempo multiplies by the reciprocal.
                Function::Rate => c.count * (1.0 / seconds) * factor,
                Function::CountOverTime | Function::HistogramOverTime => c.count * factor,
                Function::AvgOverTime => c.value / c.count,
                _ => c.value,
            });
            out.push(Series { labels, values: values.collect(), exemplars: exemplars.clone() });
        }
        out
    }

    fn value(&self, label: usize, numbers: &[u32]) -> Static<'static> {
        let value = numbers.get(label).and_then(|n| self.interners[label].values.get(*n as usize));
        value.cloned().unwrap_or(Static::Nil)
    }

    fn labels(&self, numbers: &[u32]) -> Vec<(String, Static<'static>)> {
        let values = self.by.iter().enumerate().map(|(i, name)| (name.clone(), self.value(i, numbers)));
        values.filter(|(_, value)| *value != Static::Nil).collect()
    }

    fn quantiles(&self, quantiles: &[f64]) -> Vec<Series> {
        let mut groups: HashMap<&[u32], Vec<usize>> = HashMap::new();
        for (i, (numbers, _, _)) in self.series.iter().enumerate() {
            groups.entry(&numbers[..self.by.len()]).or_default().push(i);
        }
        let mut out = Vec::with_capacity(groups.len() * quantiles.len());
        for (numbers, members) in groups {
            let mut buckets: Vec<(f64, usize)> =
                members.iter().filter_map(|i| Some((self.value(self.by.len(), &self.series[*i].0).number()?, *i))).collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let exemplars: Vec<Exemplar> = members.iter().flat_map(|i| self.series[*i].2.iter().cloned()).collect();
            for p in quantiles {
                let mut labels = self.labels(numbers);
                labels.push(("p".to_owned(), Static::Float(*p)));
                let values = (0..self.window.intervals()).map(|interval| {
                    let counted: Vec<(f64, f64)> = buckets
                        .iter()
                        .map(|(most, i)| (*most, self.series[*i].1[interval].count))
                        .filter(|(_, count)| *count > 0.0)
                        .collect();
                    quantile(*p, &counted)
                });
                out.push(Series { labels, values: values.collect(), exemplars: exemplars.clone() });
            }
        }
        out
    }
}
