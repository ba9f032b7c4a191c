//! Subqueries: the values of an expression, handed on to a function of its range as they are computed, series by series.
//! They are not gathered before, so that what is held does not grow with their number.

use std::sync::Arc;

use model::{Histogram, Labels, ResetHint};
use store::{HistogramSample, SeriesSamples};

use super::flow::{Passing, Taker, Worker};
use super::frames::Edges;
use super::select::Look;
use super::value::{Series, nameless, present};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Expr, Length, Shift};

/// Hints about the sample before do not hold where that is not the one before any more.
fn unhinted(histogram: Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => histogram,
        ResetHint::Reset | ResetHint::NoReset => {
            Arc::new(Histogram { reset_hint: ResetHint::Unknown, ..Histogram::clone(&histogram) })
        }
    }
}

/// Makes samples of the values at the steps of a grid, in the memory of the ones before.
fn become_samples(
    out: &mut SeriesSamples,
    labels: Arc<Labels>,
    values: &[f64],
    histograms: &mut Vec<Option<Arc<Histogram>>>,
    grid: Grid,
) {
    out.labels = labels;
    for times in [&mut out.times, &mut out.starts] {
        times.clear();
    }
    out.values.clear();
    for (time, value) in grid.times().zip(values) {
        if let Some(value) = present(*value) {
            out.times.push(time);
            out.values.push(value);
        }
    }
    out.histograms.clear();
    let there = grid.times().zip(histograms.drain(..)).filter_map(|(time, h)| Some((time, h?)));
    out.histograms.extend(there.map(|(time, h)| HistogramSample { time, start: 0, histogram: unhinted(h) }));
}

/// The values of a subquery as samples.
pub(super) fn as_samples(mut series: Series, grid: Grid) -> SeriesSamples {
    let mut samples = SeriesSamples::default();
    become_samples(&mut samples, series.labels, &series.values, &mut series.histograms, grid);
    samples
}

/// Where a subquery looks.
pub(super) struct Inner {
    pub(super) look: Look,
    /// Milliseconds.
    pub(super) range: i64,
    /// The steps of its expression.
    pub(super) grid: Grid,
}

impl Evaluator<'_> {
    /// Works out where a subquery looks that is asked at each step of `grid`.
    pub(super) fn inner(&self, range: &Length, step: Option<&Length>, shift: &Shift, grid: Grid) -> Result<Inner, EvalError> {
        let (look, range) = (self.look(shift)?, self.length(range, true)?);
        let step = match step {
            Some(step) => self.length(step, true)?,
            None => self.question.options.subquery_step_ms,
        };
        let step = step.max(1);
        let (first, last) = look.extent(grid);
        let open = first.saturating_sub(range);
        // Steps are aligned independently of the query's.
        let mut start = step * (open / step);
        if start <= open {
            start += step;
        }
        let grid = Grid { start, end: last, step };
        self.charge_both(grid.len(), 0)?;
        Ok(Inner { look, range, grid })
    }

    /// Hands each series of a subquery's expression to `hand`, as samples, and whether its name is to go. `memory`: what
    /// that takes of a stretch, with the worker.
    pub(super) fn through(
        &self,
        expr: &Expr,
        inner: Grid,
        edges: Edges,
        memory: usize,
        hand: &Hand<'_>,
    ) -> Result<(), EvalError> {
        if inner.is_empty() {
            return Ok(());
        }
        // Time and value; the frames keep the times as well.
        let samples = inner.len().saturating_mul(size_of::<(i64, f64, i64)>());
        let memory = memory.saturating_add(samples);
        self.each(expr, inner, &Through { inner, edges, memory, hand }).map(|_| ())
    }
}

/// Takes samples of a subquery.
pub(super) type Hand<'h> = dyn Fn(Place, &mut Worker, &mut SeriesSamples, bool) -> Result<(), EvalError> + Sync + 'h;

/// Which stretch a series is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stretch: usize,
    /// Series in it, about.
    pub(super) series: usize,
}

struct Through<'h> {
    inner: Grid,
    edges: Edges,
    memory: usize,
    hand: &'h Hand<'h>,
}

impl Taker for Through<'_> {
    type Taken = (Place, Worker, SeriesSamples);

    fn begin(&self, stretch: usize, series: usize) -> Self::Taken {
        (Place { stretch, series }, Worker::new(self.edges), SeriesSamples::default())
    }

    fn memory(&self) -> usize {
        self.memory
    }

    fn take(&self, into: &mut Self::Taken, series: Passing<'_>) -> Result<(), EvalError> {
        let (place, worker, samples) = into;
        let labels = if series.nameless { nameless(series.labels) } else { Arc::clone(series.labels) };
        become_samples(samples, labels, series.values, series.histograms, self.inner);
        (self.hand)(*place, worker, samples, series.drop_name)
    }
}
