//! Series on their way from the store through a function to whoever takes them, on several threads.
//!
//! A selection is cut into as many stretches of neighbouring series as there are threads. Each thread reads its stretch,
//! computes one series after the other into the same memory, and lends it to its own taker; the takers come back in the
//! order of the stretches. So nothing is held that the taker does not hold, and the same query over the same data adds in
//! the same order.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use model::{Histogram, Labels};
use store::{LabelMatcher, Selection, SeriesSamples};

use super::frames::{Edges, Frames};
use super::value::{Series, names_metric};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Expr, Node};
use crate::functions::Kind;

/// From so many samples on a selection is worth a second thread.
const SHARED_FROM: u64 = 64 << 10;

/// A computed series, lent.
pub(super) struct Passing<'p> {
    pub(super) labels: &'p Arc<Labels>,
    /// The metric's name, type and unit are in `labels`, but gone.
    pub(super) nameless: bool,
    /// See [`Series`].
    pub(super) drop_name: bool,
    pub(super) values: &'p mut Vec<f64>,
    /// One a step; empty where there is none at all.
    pub(super) histograms: &'p mut Vec<Option<Arc<Histogram>>>,
}

impl Passing<'_> {
    /// The series, taken; its name still in its labels where it is gone ([`Series::settle`]).
    pub(super) fn take(self) -> Series {
        Series {
            labels: Arc::clone(self.labels),
            nameless: self.nameless,
            drop_name: self.drop_name,
            values: std::mem::take(self.values),
            histograms: std::mem::take(self.histograms),
        }
    }
}

/// What makes and what fills the takers.
pub(super) trait Taker: Sync {
    /// What takes the series of one stretch.
    type Taken: Send;

    /// For the stretch of this number, of about so many series.
    fn begin(&self, stretch: usize, series: usize) -> Self::Taken;

    /// Bytes that it works in while a stretch comes, beside what it holds of it.
    fn memory(&self) -> usize {
        0
    }

    /// Takes one series.
    fn take(&self, into: &mut Self::Taken, series: Passing<'_>) -> Result<(), EvalError>;
}

/// A thread's memory.
pub(super) struct Worker {
    pub(super) frames: Frames,
    pub(super) out: Series,
    pub(super) drops: Vec<usize>,
    /// The metric that was last looked at for a note.
    pub(super) noted: String,
}

impl Worker {
    pub(super) fn new(edges: Edges) -> Self {
        Self { frames: Frames::new(edges), out: Series::default(), drops: Vec::new(), noted: String::new() }
    }

    /// Bytes that one takes of so many steps.
    pub(super) fn memory(grid: Grid, rates: bool) -> usize {
        grid.len().saturating_mul(size_of::<f64>() + Frames::step_bytes(rates))
    }
}

/// Takes every series whole.
pub(super) struct Collect<'c, 'a>(pub(super) &'c Evaluator<'a>);

impl Taker for Collect<'_, '_> {
    type Taken = Vec<Series>;

    fn begin(&self, _: usize, _: usize) -> Vec<Series> {
        Vec::new()
    }

    fn take(&self, into: &mut Vec<Series>, series: Passing<'_>) -> Result<(), EvalError> {
        self.0.hold(series.values.len(), series.histograms.len())?;
        into.push(series.take());
        Ok(())
    }
}

/// What tells series apart that have lost their names.
pub(super) fn fingerprint(labels: &Labels, bytes: &mut Vec<u8>) -> u128 {
    bytes.clear();
    for text in labels.iter().filter(|(name, _)| !names_metric(name)).flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text.as_bytes());
        // In no UTF-8.
        bytes.push(0xff);
    }
    xxhash_rust::xxh3::xxh3_128(bytes)
}

impl Evaluator<'_> {
    /// The series of an expression, taken as they come where the expression allows it.
    pub(super) fn each<T: Taker>(&self, expr: &Expr, grid: Grid, taker: &T) -> Result<Vec<T::Taken>, EvalError> {
        if !expr.fixed || grid.len() < 2 {
            match &expr.node {
                Node::Paren(e) => return self.each(e, grid, taker),
                Node::Selector(selector) => {
                    return self.select(selector, expr.start, grid, super::select::Take::Value, taker);
                }
                Node::Call { function, args } => {
                    if let Kind::Window(f) = function.kind {
                        return self.over_range(f, function, args, grid, taker);
                    }
                }
                _ => {}
            }
        }
        let all = self.vector(expr, grid)?;
        let _memory = self.reserve(taker.memory())?;
        let mut taken = taker.begin(0, all.len());
        for mut s in all {
            let series = Passing {
                labels: &s.labels,
                nameless: false,
                drop_name: s.drop_name,
                values: &mut s.values,
                histograms: &mut s.histograms,
            };
            taker.take(&mut taken, series)?;
        }
        Ok(vec![taken])
    }

    /// The series of an expression whose own way is [`Evaluator::each`].
    pub(super) fn collect(&self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        Ok(settled(self.each(expr, grid, &Collect(self))?))
    }

    /// The series that the matchers accept, with their samples from `first` to `last`; not more of them than a query may choose.
    pub(super) fn selection(
        &self,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
    ) -> Result<Box<dyn Selection + '_>, EvalError> {
        let selection = self.question.reader.select(self.question.tenant, matchers, first, last)?;
        let (count, limit) = (selection.labels().len(), self.question.limits.series);
        if count > limit { Err(EvalError::TooManySeries { count, limit }) } else { Ok(selection) }
    }

    /// Reads a selection and hands each series to `one`, with the memory of its thread and the taker of its stretch, which
    /// together take `memory` bytes.
    pub(super) fn drive<S: Send>(
        &self,
        selection: &dyn Selection,
        memory: usize,
        begin: impl Fn(usize, usize) -> (Worker, S) + Sync,
        one: impl Fn(&mut Worker, &mut S, &mut SeriesSamples) -> Result<(), EvalError> + Sync,
    ) -> Result<Vec<S>, EvalError> {
        let count = selection.labels().len();
        let stretch = |number: usize, which: Range<usize>| -> Result<S, EvalError> {
            let (mut worker, mut taken) = begin(number, which.len());
            let mut failed = None;
            let read = selection.read(which, &mut |_, samples| {
                let done = self.alive().and_then(|()| one(&mut worker, &mut taken, samples));
                match done {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(e) => {
                        failed = Some(e);
                        ControlFlow::Break(())
                    }
                }
            });
            match failed {
                Some(e) => {
                    self.stop();
                    Err(e)
                }
                None => read.map(|()| taken).map_err(EvalError::from),
            }
        };
        let useful = if selection.samples() < SHARED_FROM { 1 } else { self.question.limits.threads.clamp(1, count.max(1)) };
        // Where steps are millions, memory rather than cores may be what is short.
        let fitting = (2..=useful).rev().find_map(|n| Some((n, self.reserve(memory.saturating_mul(n)).ok()?)));
        let (threads, _memory) = match fitting {
            Some(fitting) => fitting,
            None => (1, self.reserve(memory)?),
        };
        if threads == 1 {
            return Ok(vec![stretch(0, 0..count)?]);
        }
        let cut = |number: usize| number * count / threads;
        let results: Vec<Result<S, EvalError>> = std::thread::scope(|scope| {
            let stretch = &stretch;
            let others: Vec<_> = (1..threads).map(|n| scope.spawn(move || stretch(n, cut(n)..cut(n + 1)))).collect();
            let mut results = vec![stretch(0, 0..cut(1))];
            let panicked = |_| Err(EvalError::Execution("a thread of the query failed".to_owned()));
            results.extend(others.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)));
            results
        });
        // The threads beside the one that failed were only stopped.
        let mut taken = Vec::with_capacity(threads);
        let mut stopped = None;
        for result in results {
            match result {
                Ok(t) => taken.push(t),
                Err(EvalError::Cancelled) => stopped = Some(EvalError::Cancelled),
                Err(e) => return Err(e),
            }
        }
        stopped.map_or(Ok(taken), Err)
    }
}

/// The series of all stretches, their names gone where they are to.
pub(super) fn settled(stretches: Vec<Vec<Series>>) -> Vec<Series> {
    let mut all: Vec<Series> = stretches.into_iter().flatten().collect();
    all.iter_mut().for_each(Series::settle);
    all
}
