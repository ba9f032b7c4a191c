//! Selectors: samples to values at steps.

use model::{Labels, is_stale};
use store::{MatchOp, SeriesSamples};

use super::range::Samples;
use super::value::{ABSENT, Series, nameless, present, quiet, unite};
use super::{Evaluator, Grid, Matrix, Stream};
use crate::EvalError;
use crate::ast::{At, Expr, Node, Selector, Shift, Type};
use crate::functions::RangeFunction;

/// What an instant selector takes from a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    Value,
    /// Its time, in seconds.
    Time,
}

/// Step used by a subquery that names none, milliseconds (Prometheus: the global evaluation interval's default).
const SUBQUERY_STEP_MS: i64 = 60_000;

impl Evaluator<'_> {
    /// Where a selector looks at step `t`.
    fn shifted(&self, shift: &Shift, t: i64) -> i64 {
        let base = match shift.at {
            None => t,
            Some(At::Time(at)) => at,
            Some(At::Start) => self.whole.start,
            Some(At::End) => self.whole.end,
        };
        base.saturating_sub(shift.offset_ms)
    }

    /// First and last time, where a selector with this `shift` looks.
    fn extent(&self, shift: &Shift, grid: Grid) -> (i64, i64) {
        let last_step = grid.start + (grid.len().max(1) as i64 - 1) * grid.step;
        (self.shifted(shift, grid.start), self.shifted(shift, last_step))
    }

    fn samples(&self, selector: &Selector, first: i64, last: i64) -> Result<store::SeriesStream<'_>, EvalError> {
        Ok(self.question.reader.samples(self.question.tenant, &selector.matchers, first, last)?)
    }

    /// An instant selector: at each step the newest sample of the last `lookback`, unless it is a staleness marker.
    pub(super) fn select<'e>(&'e self, selector: &'e Selector, grid: Grid, take: Take) -> Result<Stream<'e>, EvalError> {
        let lookback = self.question.lookback_ms;
        let (first, last) = self.extent(&selector.shift, grid);
        let stream = self.samples(selector, first.saturating_sub(lookback).saturating_add(1), last)?;
        let series = move |s: SeriesSamples| {
            self.charge(grid.len())?;
            let mut seen = 0;
            let at_step = |t: i64| {
                let t = self.shifted(&selector.shift, t);
                while s.times.get(seen).is_some_and(|at| *at <= t) {
                    seen += 1;
                }
                match seen.checked_sub(1) {
                    Some(i) if s.times[i] > t.saturating_sub(lookback) && !is_stale(s.values[i]) => match take {
                        Take::Value => s.values[i],
                        Take::Time => s.times[i] as f64 / 1000.0,
                    },
                    _ => ABSENT,
                }
            };
            Ok(Series { values: grid.times().map(at_step).collect(), labels: Labels::clone(&s.labels) })
        };
        Ok(Box::new(stream.map(move |s| series(s?)).filter(|s| !matches!(s, Ok(s) if s.is_empty()))))
    }

    /// The raw samples of a range at one time: what an instant query for a range vector answers.
    pub(super) fn raw(&self, expr: &Expr) -> Result<Matrix, EvalError> {
        let (series, shift, range_ms) = self.range_of(expr, self.whole)?;
        let end = self.shifted(shift, self.whole.start);
        let mut out = Vec::new();
        for s in series {
            let s = s?;
            self.charge(s.times.len())?;
            let points: Vec<(i64, f64)> = (s.times.iter().copied())
                .zip(s.values.iter().copied())
                .filter(|(t, v)| *t > end.saturating_sub(range_ms) && *t <= end && !is_stale(*v))
                .collect();
            if !points.is_empty() {
                out.push((Labels::clone(&s.labels), points));
            }
        }
        Ok(out)
    }

    /// The series of a range selector or subquery, with all samples that any step may need; its shift and range.
    fn range_of<'e>(&'e self, expr: &'e Expr, grid: Grid) -> Result<(store::SeriesStream<'e>, &'e Shift, i64), EvalError>
    where
        Self: 'e,
    {
        match &expr.inner().node {
            Node::Range { selector, range_ms } => {
                let (first, last) = self.extent(&selector.shift, grid);
                let stream = self.samples(selector, first.saturating_sub(*range_ms).saturating_add(1), last)?;
                Ok((stream, &selector.shift, *range_ms))
            }
            Node::Subquery { expr, range_ms, step_ms, shift } => {
                let step = step_ms.unwrap_or(SUBQUERY_STEP_MS);
                let (first, last) = self.extent(shift, grid);
                let open = first.saturating_sub(*range_ms);
                // Steps are aligned independently of the query's.
                let mut start = step * (open / step);
                if start <= open {
                    start += step;
                }
                let inner = Grid { start, end: last, step };
                self.charge(inner.len())?;
                let series = self.vector(expr, inner)?.into_iter().map(move |s| {
                    let (times, values) = inner.times().zip(s.values).filter(|(_, v)| present(*v).is_some()).unzip();
                    Ok(SeriesSamples::floats(s.labels.into(), times, values))
                });
                let series: Vec<_> = series.collect();
                Ok((Box::new(series.into_iter()), shift, *range_ms))
            }
            _ => Err(EvalError::Execution("expected a range vector".to_owned())),
        }
    }

    /// A function of a range, series by series.
    pub(super) fn over_range<'e>(
        &'e self,
        f: RangeFunction,
        types: &[Type],
        args: &'e [Expr],
        grid: Grid,
    ) -> Result<Stream<'e>, EvalError> {
        let position = types.iter().position(|t| *t == Type::Matrix).unwrap_or(0);
        let Some(ranged) = args.get(position) else { return Err(EvalError::Execution("expected a range vector".to_owned())) };
        let arg = match args.get(1 - position.min(1)) {
            Some(scalar) if args.len() > 1 => self.scalar(scalar, grid)?,
            _ => Vec::new(),
        };
        let (stream, shift, range_ms) = self.range_of(ranged, grid)?;
        let compute = move |s: SeriesSamples| {
            self.charge(grid.len())?;
            if f.wants_counter {
                self.note_gauge(&s.labels, ranged);
            }
            let (times, values): (Vec<i64>, Vec<f64>) = s.times.into_iter().zip(s.values).filter(|(_, v)| !is_stale(*v)).unzip();
            let (mut from, mut to) = (0, 0);
            let at_step = |(step, now): (usize, i64)| {
                let end = self.shifted(shift, now);
                let start = end.saturating_sub(range_ms);
                while times.get(to).is_some_and(|t| *t <= end) {
                    to += 1;
                }
                while from < to && times[from] <= start {
                    from += 1;
                }
                if from == to {
                    return ABSENT;
                }
                let arg = arg.get(step).copied().unwrap_or(f64::NAN);
                let samples = Samples { times: &times[from..to], values: &values[from..to], start, end, now, arg };
                (f.compute)(&samples).map_or(ABSENT, quiet)
            };
            let values = grid.times().enumerate().map(at_step).collect();
            let labels = if f.keeps_name { Labels::clone(&s.labels) } else { nameless(&s.labels) };
            Ok(Series { labels, values })
        };
        let series = stream.map(move |s| compute(s?)).filter(|s| !matches!(s, Ok(s) if s.is_empty()));
        if f.keeps_name || names_one_metric(ranged) {
            return Ok(Box::new(series));
        }
        // Series of several metrics may become equal without their names.
        let series = unite(series.collect::<Result<_, _>>()?)?;
        Ok(Box::new(series.into_iter().map(Ok)))
    }

    fn note_gauge(&self, labels: &Labels, expr: &Expr) {
        let Some(name) = labels.get("__name__") else { return };
        if !["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end)) {
            self.infos.borrow_mut().insert(format!(
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?} ({})",
                self.position(expr)
            ));
        }
    }
}

/// Whether all series of a range have the same metric name, so that they stay different without it.
fn names_one_metric(expr: &Expr) -> bool {
    match &expr.inner().node {
        Node::Range { selector, .. } => selector.matchers.iter().any(|m| m.name == "__name__" && m.op == MatchOp::Eq),
        _ => false,
    }
}
