//! Functions of ranges: samples to windows.

use std::sync::{Mutex, PoisonError};

use model::Labels;
use store::{MatchOp, Selection, SeriesSamples};

use super::extended::extend;
use super::flow::{Passing, Taker, Worker, fingerprint};
use super::frames::Edges;
use super::select::{Look, drop_stale};
use super::stats::weight;
use super::subquery::{Inner, Place, as_samples};
use super::sum::are_tame;
use super::value::{ABSENT, distinct, metric, nameless, present};
use super::window::Window;
use super::{Evaluator, Grid, Matrix, Points};
use crate::ast::{Expr, Extension, Node};
use crate::functions::{Function, Overlap, WindowFunction};
use crate::notes::Note;
use crate::{EvalError, Type};

/// The stored series of a range, with all samples that any step may need, and which of them each step takes.
struct Range<'e> {
    selection: Box<dyn Selection + 'e>,
    look: Look,
    /// Milliseconds.
    range: i64,
    extension: Option<Extension>,
}

impl Evaluator<'_> {
    /// The raw samples of a range at one time: what an instant query for a range vector answers.
    pub(super) fn raw(&self, expr: &Expr) -> Result<Matrix, EvalError> {
        let mut out = Vec::new();
        if let Node::Subquery { expr, range, step, shift } = &expr.inner().node {
            let Inner { look, range, grid } = self.inner(range, step.as_ref(), shift, self.whole)?;
            let series = if grid.is_empty() { Vec::new() } else { self.vector(expr, grid)? };
            for s in series {
                let drop_name = s.drop_name;
                self.add_raw(&mut out, as_samples(s, grid), drop_name, (look, range), None)?;
            }
            return Ok(out);
        }
        let Range { selection, look, range, extension } = self.range_of(expr, self.whole)?;
        for s in store::in_order(selection) {
            let mut s = s?;
            self.tidy(&mut s);
            self.add_raw(&mut out, s, false, (look, range), extension)?;
        }
        Ok(out)
    }

    /// Adds what of a series' samples is in the range.
    fn add_raw(
        &self,
        out: &mut Matrix,
        s: SeriesSamples,
        drop_name: bool,
        (look, range): (Look, i64),
        extension: Option<Extension>,
    ) -> Result<(), EvalError> {
        self.hold(s.times.len(), s.histograms.len())?;
        let end = look.of(self.whole.start);
        let start = end.saturating_sub(range);
        let points = match extension {
            Some(_) if !s.histograms.is_empty() => {
                let message = "anchored modifier is not supported with histograms".to_owned();
                return Err(EvalError::Execution(message));
            }
            Some(extension) => {
                let floats = extend(&s.times, &s.values, start, end, extension == Extension::Smoothed);
                Points { floats, histograms: Vec::new() }
            }
            None => {
                let inside = |t: i64| t > start && t <= end;
                let floats = s.times.iter().copied().zip(s.values.iter().copied()).filter(|(t, _)| inside(*t));
                let histograms = s.histograms.into_iter().filter(|h| inside(h.time));
                Points { floats: floats.collect(), histograms: histograms.map(|h| (h.time, h.histogram)).collect() }
            }
        };
        if !points.floats.is_empty() || !points.histograms.is_empty() {
            out.push((if drop_name { nameless(&s.labels) } else { s.labels }, points));
        }
        Ok(())
    }

    /// Takes out of a range's samples what is none.
    fn tidy(&self, s: &mut SeriesSamples) {
        drop_stale(s);
        if !self.question.options.start_timestamps {
            s.starts.clear();
            s.histograms.iter_mut().for_each(|h| h.start = 0);
        }
    }

    fn range_of<'e>(&'e self, expr: &'e Expr, grid: Grid) -> Result<Range<'e>, EvalError> {
        let Node::Range { selector, range } = &expr.inner().node else {
            return Err(EvalError::Execution("expected a range vector".to_owned()));
        };
        let (look, range, extension) = (self.look(&selector.shift)?, self.length(range, true)?, selector.extension);
        let (first, last) = look.extent(grid);
        let lookback = self.question.lookback_ms;
        let before = if extension.is_some() { lookback } else { 0 };
        let after = if extension == Some(Extension::Smoothed) { lookback } else { 0 };
        let first = first.saturating_sub(range).saturating_sub(before).saturating_add(1);
        let last = last.saturating_add(after);
        let selection = self.selection(&selector.matchers, first, last)?;
        Ok(Range { selection, look, range, extension })
    }

    /// A function of a range, series by series.
    pub(super) fn over_range<T: Taker>(
        &self,
        f: WindowFunction,
        function: &'static Function,
        args: &[Expr],
        grid: Grid,
        taker: &T,
    ) -> Result<Vec<T::Taken>, EvalError> {
        let position = function.args.iter().position(|t| *t == Type::Matrix).unwrap_or(0);
        let (Some(ranged), Some(first)) = (args.get(position), args.first()) else {
            return Err(EvalError::Execution("expected a range vector".to_owned()));
        };
        let scalars: Vec<Vec<f64>> = (args.iter().enumerate())
            .filter(|(i, _)| *i != position)
            .map(|(_, arg)| self.scalar(arg, grid))
            .collect::<Result<_, _>>()?;
        let (evaluator, at, rates) = (self, first.start, f.wants_counter || function.name == "delta");
        let memory = Worker::memory(grid, rates).saturating_add(taker.memory());
        // Series of several metrics may become equal without their names.
        let nameless = !f.keeps_name && !self.question.options.delayed_name_removal;
        let uncertain = nameless && !names_one_metric(ranged);
        let windows = |look, range, extension| {
            let edges = Edges { grid, look, range };
            Windows { evaluator, f, function, scalars, edges, extension, at, nameless, uncertain }
        };
        let passed = match &ranged.inner().node {
            Node::Subquery { expr, range, step, shift } => {
                let inner = self.inner(range, step.as_ref(), shift, grid)?;
                let windows = windows(inner.look, inner.range, None);
                // One a stretch, which is taken in hand by one thread.
                let stretches = self.question.limits.threads.max(1);
                let passed: Vec<Mutex<Option<Passed<T::Taken>>>> = (0..stretches).map(|_| Mutex::default()).collect();
                let hand = |place: Place, worker: &mut Worker, s: &mut SeriesSamples, drop_name: bool| {
                    let Some(passed) = passed.get(place.stretch) else { return Ok(()) };
                    let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
                    let begin = || Passed::new(taker.begin(place.stretch, place.series));
                    windows.pass(worker, passed.get_or_insert_with(begin), s, Like::Series(place.series), drop_name, taker)
                };
                self.through(expr, inner.grid, windows.edges, memory, &hand)?;
                let passed = passed.into_iter().filter_map(|p| p.into_inner().unwrap_or_else(PoisonError::into_inner));
                passed.collect()
            }
            _ => {
                let Range { selection, look, range, extension } = self.range_of(ranged, grid)?;
                allows(function, extension)?;
                let windows = windows(look, range, extension);
                let begin = |stretch, series| (Worker::new(windows.edges), Passed::new(taker.begin(stretch, series)));
                let all = selection.samples();
                self.drive(&*selection, memory, begin, |worker, passed, s| {
                    self.tidy(s);
                    windows.pass(worker, passed, s, Like::Samples(all), false, taker)
                })?
            }
        };
        let (taken, seen): (Vec<_>, Vec<_>) = passed.into_iter().map(|passed| (passed.taken, passed.seen)).unzip();
        distinct(seen.concat())?;
        Ok(taken)
    }

    /// Says that a metric is perhaps no counter; `noted` is the last one that was looked at.
    fn note_gauge(&self, labels: &Labels, at: usize, noted: &mut String) {
        let name = metric(labels);
        if name.is_empty() {
            return;
        }
        if self.question.options.type_and_unit_labels {
            let label = labels.get("__type__").unwrap_or("");
            if label != "counter" && label != "histogram" {
                self.notes.add(at, Note::PossibleNonCounterLabel { metric: name, label });
            }
        } else if noted != name {
            name.clone_into(noted);
            if !["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end)) {
                self.notes.add(at, Note::PossibleNonCounter(name));
            }
        }
    }
}

/// Samples in all windows of a series that are worked off without asking whether anybody still waits.
const AT_ONCE: usize = 1 << 25;

/// A function of a range, and the windows at which it looks.
struct Windows<'w, 'a> {
    evaluator: &'w Evaluator<'a>,
    f: WindowFunction,
    function: &'static Function,
    /// Its arguments that are numbers.
    scalars: Vec<Vec<f64>>,
    edges: Edges,
    extension: Option<Extension>,
    /// Where its first argument stands in the query.
    at: usize,
    /// Whether names go.
    nameless: bool,
    /// Whether series may become equal without them.
    uncertain: bool,
}

/// What has passed of a stretch: the taker's, and what tells the series apart, where they may become equal.
struct Passed<S> {
    taken: S,
    seen: Vec<u128>,
    bytes: Vec<u8>,
}

impl<S> Passed<S> {
    fn new(taken: S) -> Self {
        Self { taken, seen: Vec::new(), bytes: Vec::new() }
    }
}

/// How much there is like a series that is looked at.
#[derive(Debug, Clone, Copy)]
enum Like {
    /// So many series.
    Series(usize),
    /// So many samples in all.
    Samples(u64),
}

impl Windows<'_, '_> {
    /// Computes a series and hands it to its taker.
    fn pass<T: Taker>(
        &self,
        worker: &mut Worker,
        passed: &mut Passed<T::Taken>,
        s: &SeriesSamples,
        like: Like,
        drop_name: bool,
        taker: &T,
    ) -> Result<(), EvalError> {
        if !self.compute(worker, s, like)? {
            return Ok(());
        }
        if self.uncertain {
            passed.seen.push(fingerprint(&s.labels, &mut passed.bytes));
        }
        let (values, histograms) = (&mut worker.out.values, &mut worker.out.histograms);
        let drop_name = drop_name || !self.f.keeps_name;
        taker.take(&mut passed.taken, Passing { labels: &s.labels, nameless: self.nameless, drop_name, values, histograms })
    }

    /// Refuses what would take longer than a query may: before it is begun, to judge by a series that `like` says how much
    /// there is like of.
    fn bound(&self, worker: &Worker, s: &SeriesSamples, like: Like) -> Result<(), EvalError> {
        let Overlap::Walked(each) = self.f.overlap else { return Ok(()) };
        let work = worker.frames.work() as u64;
        let all = match like {
            Like::Series(series) => work.saturating_mul(series as u64),
            Like::Samples(samples) => (work as f64 * (samples as f64 / s.times.len().max(1) as f64)) as u64,
        };
        self.evaluator.toil(work.saturating_mul(each), all.saturating_mul(each))
    }

    /// Whether all windows are done in one go: it is not asked meanwhile whether anybody still waits.
    fn at_once(&self, worker: &Worker, values: &[f64]) -> bool {
        worker.frames.work() <= AT_ONCE
            || match self.f.overlap {
                Overlap::Free => true,
                Overlap::FreeIfTame => are_tame(values),
                Overlap::Walked(_) => false,
            }
    }

    /// Computes a series into the worker's memory; whether it has any value.
    fn compute(&self, worker: &mut Worker, s: &SeriesSamples, like: Like) -> Result<bool, EvalError> {
        if s.times.is_empty() && s.histograms.is_empty() {
            return Ok(false);
        }
        let steps = self.edges.grid.len();
        let out = &mut worker.out;
        out.histograms.clear();
        out.values.resize(steps, ABSENT);
        let plain = s.histograms.is_empty() && s.starts.is_empty() && self.extension.is_none();
        if plain {
            worker.frames.fit(&s.times);
            self.bound(worker, s, like)?;
        }
        match self.f.column {
            // What would take long goes on window by window, where it can be stopped.
            Some(column) if plain && self.at_once(worker, &s.values) => {
                column(&mut worker.frames, &s.values, &mut worker.out.values);
            }
            _ => {
                worker.out.values.fill(ABSENT);
                self.walk(worker, s)?;
            }
        }
        if let Some(counting) = &self.evaluator.counting {
            match plain {
                true => counting.add(self.edges.grid, worker.frames.windows().map(|(from, to)| to - from)),
                false => counting.add(self.edges.grid, self.looked_at(s)),
            }
        }
        let out = &worker.out;
        if out.is_empty() {
            return Ok(false);
        }
        if self.f.wants_counter && out.values.iter().any(|v| present(*v).is_some()) {
            self.evaluator.note_gauge(&s.labels, self.at, &mut worker.noted);
        }
        Ok(true)
    }

    /// What each step's window holds of a series that `worker.frames` does not know.
    fn looked_at<'s>(&'s self, s: &'s SeriesSamples) -> impl Iterator<Item = usize> + 's {
        self.edges.each().map(move |(start, end)| {
            let within = |t: i64| t > start && t <= end;
            let histograms = s.histograms.iter().filter(|h| within(h.time)).map(|h| weight(&h.histogram));
            s.times.iter().filter(|t| within(**t)).count() + histograms.sum::<usize>()
        })
    }

    /// Window by window.
    fn walk(&self, worker: &mut Worker, s: &SeriesSamples) -> Result<(), EvalError> {
        let Worker { out, drops, .. } = worker;
        let Self { f, function, scalars, edges, extension, at, evaluator, .. } = self;
        if function.name == "double_exponential_smoothing" {
            check_factors(scalars)?;
        }
        drops.clear();
        if f.sees_resets {
            drops.extend(s.values.windows(2).enumerate().filter(|(_, w)| w[1] < w[0]).map(|(i, _)| i + 1));
        }
        let lookback = evaluator.question.lookback_ms;
        let before = if extension.is_some() { lookback } else { 0 };
        let after = if *extension == Some(Extension::Smoothed) { lookback } else { 0 };
        let (mut from, mut to, mut drop_from, mut drop_to) = (0, 0, 0, 0);
        let (mut histogram_from, mut histogram_to) = (0, 0);
        for (step, (now, (start, end))) in edges.grid.times().zip(edges.each()).enumerate() {
            // A window may be long, and work on it as well.
            if step % 64 == 63 {
                evaluator.alive()?;
            }
            let (oldest, newest) = (start.saturating_sub(before), end.saturating_add(after));
            while s.times.get(to).is_some_and(|t| *t <= newest) {
                to += 1;
            }
            while from < to && s.times[from] <= oldest {
                from += 1;
            }
            while s.histograms.get(histogram_to).is_some_and(|h| h.time <= newest) {
                histogram_to += 1;
            }
            while histogram_from < histogram_to && s.histograms[histogram_from].time <= oldest {
                histogram_from += 1;
            }
            if from == to && histogram_from == histogram_to {
                continue;
            }
            while drops.get(drop_to).is_some_and(|i| *i < to) {
                drop_to += 1;
            }
            while drop_from < drop_to && drops[drop_from] <= from {
                drop_from += 1;
            }
            let arg = |i: usize| scalars.get(i).and_then(|values| values.get(step)).copied().unwrap_or(f64::NAN);
            let window = Window {
                times: &s.times[from..to],
                values: &s.values[from..to],
                starts: s.starts.get(from..to).unwrap_or_default(),
                drops: &drops[drop_from..drop_to],
                offset: from,
                histograms: &s.histograms[histogram_from..histogram_to],
                start,
                end,
                now,
                args: [arg(0), arg(1)],
                extension: *extension,
                metric: if s.histograms.is_empty() && s.starts.is_empty() { "" } else { metric(&s.labels) },
                at: *at,
                notes: &evaluator.notes,
            };
            out.set(step, (f.compute)(&window));
        }
        Ok(())
    }
}

/// Whether a function can deal with samples beyond its range.
fn allows(function: &Function, extension: Option<Extension>) -> Result<(), EvalError> {
    let (modifier, allowed): (_, &[&str]) = match extension {
        None => return Ok(()),
        Some(Extension::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(Extension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function.name) {
        return Ok(());
    }
    let message = format!("{modifier} modifier can only be used with: {} - not with {}", allowed.join(", "), function.name);
    Err(EvalError::Execution(message))
}

fn check_factors(scalars: &[Vec<f64>]) -> Result<(), EvalError> {
    for ((name, short), values) in [("smoothing", "sf"), ("trend", "tf")].into_iter().zip(scalars) {
        if let Some(v) = values.iter().find(|v| **v <= 0.0 || **v >= 1.0) {
            let message = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {v:.6}");
            return Err(EvalError::Execution(message));
        }
    }
    Ok(())
}

/// Whether all series of a range have the same metric name, so that they stay different without it.
fn names_one_metric(expr: &Expr) -> bool {
    match &expr.inner().node {
        // Types and units go with the name, and may be what tells two series apart.
        Node::Range { selector, .. } => {
            let named = |m: &store::LabelMatcher| m.name == "__name__" && m.op == MatchOp::Eq;
            selector.matchers.iter().any(named)
        }
        _ => false,
    }
}
