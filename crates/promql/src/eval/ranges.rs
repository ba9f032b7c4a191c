//! Range selectors and subqueries: samples to windows.

use std::sync::Arc;

use model::{Histogram, Labels, ResetHint};
use store::{HistogramSample, MatchOp, Selection, SeriesSamples};

use super::extended::extend;
use super::flow::{Passing, Taker, Worker, fingerprint};
use super::frames::Frames;
use super::select::{Look, drop_stale};
use super::stats::weight;
use super::value::{ABSENT, Series, distinct, metric, nameless, present};
use super::window::Window;
use super::{Evaluator, Grid, Matrix, Points};
use crate::ast::{Expr, Extension, Node};
use crate::functions::{Function, WindowFunction};
use crate::notes::Note;
use crate::{EvalError, Type};

/// The samples of one series, staleness markers left out, and whether its name is to go.
type Ranged = (SeriesSamples, bool);

/// Where the samples of a range come from.
enum Samples<'e> {
    Stored(Box<dyn Selection + 'e>),
    /// A subquery's values, at the steps of its grid.
    Computed(Vec<Series>, Grid),
}

/// The series of a range, with all samples that any step may need, and which of them each step takes.
struct Range<'e> {
    samples: Samples<'e>,
    look: Look,
    /// Milliseconds.
    range: i64,
    extension: Option<Extension>,
}

/// Hints about the sample before do not hold where that is not the one before any more.
fn unhinted(histogram: Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => histogram,
        ResetHint::Reset | ResetHint::NoReset => {
            Arc::new(Histogram { reset_hint: ResetHint::Unknown, ..Histogram::clone(&histogram) })
        }
    }
}

/// The values of a subquery as samples.
fn as_samples(series: Series, grid: Grid) -> Ranged {
    let stands = |(t, v): (i64, &f64)| present(*v).map(|v| (t, v));
    let (times, values) = grid.times().zip(&series.values).filter_map(stands).unzip();
    let histograms = grid
        .times()
        .zip(series.histograms)
        .filter_map(|(time, histogram)| histogram.map(|h| HistogramSample { time, start: 0, histogram: unhinted(h) }));
    let samples = SeriesSamples { histograms: histograms.collect(), ..SeriesSamples::floats(series.labels, times, values) };
    (samples, series.drop_name)
}

impl Evaluator<'_> {
    /// The raw samples of a range at one time: what an instant query for a range vector answers.
    pub(super) fn raw(&self, expr: &Expr) -> Result<Matrix, EvalError> {
        let Range { samples, look, range, extension } = self.range_of(expr, self.whole)?;
        let end = look.of(self.whole.start);
        let start = end.saturating_sub(range);
        let mut out = Vec::new();
        let series: Box<dyn Iterator<Item = Result<Ranged, EvalError>>> = match samples {
            Samples::Stored(selection) => Box::new(store::in_order(selection).map(|s| {
                let mut s = s?;
                self.tidy(&mut s);
                Ok((s, false))
            })),
            Samples::Computed(series, inner) => Box::new(series.into_iter().map(move |s| Ok(as_samples(s, inner)))),
        };
        for s in series {
            let (s, drop_name) = s?;
            self.hold(s.times.len(), s.histograms.len())?;
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
        }
        Ok(out)
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
        match &expr.inner().node {
            Node::Range { selector, range } => {
                let (look, range, extension) = (self.look(&selector.shift)?, self.length(range, true)?, selector.extension);
                let (first, last) = look.extent(grid);
                let lookback = self.question.lookback_ms;
                let before = if extension.is_some() { lookback } else { 0 };
                let after = if extension == Some(Extension::Smoothed) { lookback } else { 0 };
                let first = first.saturating_sub(range).saturating_sub(before).saturating_add(1);
                let last = last.saturating_add(after);
                let selection = self.selection(&selector.matchers, first, last)?;
                Ok(Range { samples: Samples::Stored(selection), look, range, extension })
            }
            Node::Subquery { expr, range, step, shift } => {
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
                let inner = Grid { start, end: last, step };
                self.charge(inner.len())?;
                let series = if inner.is_empty() { Vec::new() } else { self.vector(expr, inner)? };
                Ok(Range { samples: Samples::Computed(series, inner), look, range, extension: None })
            }
            _ => Err(EvalError::Execution("expected a range vector".to_owned())),
        }
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
        let Range { samples, look, range, extension } = self.range_of(ranged, grid)?;
        allows(function, extension)?;
        let windows = Windows { evaluator: self, f, function, scalars, look, range, extension, at: first.start, grid };
        let delayed = self.question.options.delayed_name_removal;
        let nameless = !f.keeps_name && !delayed;
        // Series of several metrics may become equal without their names.
        let uncertain = nameless && !names_one_metric(ranged);
        let begin = |stretch: usize| {
            let edges = grid.times().map(|t| (look.of(t).saturating_sub(range), look.of(t)));
            let worker = Worker { frames: Frames::new(edges), ..Worker::default() };
            (worker, (taker.begin(stretch), Vec::new(), Vec::new()))
        };
        type Taken<S> = (S, Vec<u128>, Vec<u8>);
        let one = |worker: &mut Worker, taken: &mut Taken<T::Taken>, s: &mut SeriesSamples, drop_name: bool| {
            let (taken, seen, bytes) = taken;
            if !windows.compute(worker, s)? {
                return Ok(());
            }
            if uncertain {
                seen.push(fingerprint(&s.labels, bytes));
            }
            let (values, histograms) = (&mut worker.out.values, &mut worker.out.histograms);
            let drop_name = drop_name || !f.keeps_name;
            taker.take(taken, Passing { labels: &s.labels, nameless, drop_name, values, histograms })
        };
        let stretches = match samples {
            Samples::Stored(selection) => self.drive(&*selection, begin, |worker, taken, s| {
                self.tidy(s);
                one(worker, taken, s, false)
            })?,
            Samples::Computed(series, inner) => {
                let (mut worker, mut taken) = begin(0);
                for s in series {
                    self.alive()?;
                    let (mut s, drop_name) = as_samples(s, inner);
                    one(&mut worker, &mut taken, &mut s, drop_name)?;
                }
                vec![taken]
            }
        };
        let (taken, seen): (Vec<_>, Vec<_>) = stretches.into_iter().map(|(taken, seen, _)| (taken, seen)).unzip();
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
    look: Look,
    range: i64,
    extension: Option<Extension>,
    /// Where its first argument stands in the query.
    at: usize,
    grid: Grid,
}

impl Windows<'_, '_> {
    /// Computes a series into the worker's memory; whether it has any value.
    fn compute(&self, worker: &mut Worker, s: &SeriesSamples) -> Result<bool, EvalError> {
        if s.times.is_empty() && s.histograms.is_empty() {
            return Ok(false);
        }
        let steps = self.grid.len();
        let out = &mut worker.out;
        out.histograms.clear();
        out.values.resize(steps, ABSENT);
        let plain = s.histograms.is_empty() && s.starts.is_empty() && self.extension.is_none();
        if plain {
            worker.frames.fit(&s.times);
        }
        match self.f.column {
            // What would take long goes on window by window, where it can be stopped.
            Some(column) if plain && worker.frames.work() <= AT_ONCE => {
                column(&mut worker.frames, &s.values, &mut out.values);
            }
            _ => {
                out.values.fill(ABSENT);
                self.walk(worker, s)?;
            }
        }
        if let Some(counting) = &self.evaluator.counting {
            match plain {
                true => counting.add(self.grid, worker.frames.windows().iter().map(|(from, to)| to - from)),
                false => counting.add(self.grid, self.looked_at(s)),
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
        self.grid.times().map(move |now| {
            let end = self.look.of(now);
            let within = |t: i64| t > end.saturating_sub(self.range) && t <= end;
            let histograms = s.histograms.iter().filter(|h| within(h.time)).map(|h| weight(&h.histogram));
            s.times.iter().filter(|t| within(**t)).count() + histograms.sum::<usize>()
        })
    }

    /// Window by window.
    fn walk(&self, worker: &mut Worker, s: &SeriesSamples) -> Result<(), EvalError> {
        let Worker { out, drops, .. } = worker;
        let Self { f, function, scalars, look, range, extension, at, grid, evaluator } = self;
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
        for (step, now) in grid.times().enumerate() {
            // A window may be long, and work on it as well.
            if step % 64 == 63 {
                evaluator.alive()?;
            }
            let end = look.of(now);
            let start = end.saturating_sub(*range);
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
