//! Instant selectors: samples to values at steps.

use std::sync::Arc;

use model::is_stale;
use store::{HistogramSample, LabelMatcher, SeriesSamples};

use super::extended::smooth;
use super::flow::{Passing, Taker, Worker};
use super::frames::Edges;
use super::stats::weight;
use super::value::{ABSENT, Series, metric, present};
use super::window::Point;
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{At, Extension, Selector, Shift};

/// What an instant selector takes from a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    Value,
    /// Its time, in seconds.
    Time,
    /// Its time, milliseconds; histograms are an error.
    InfoTime,
}

/// Where a selector looks, its `offset` and `@` worked out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    offset: i64,
    at: Option<i64>,
}

impl Look {
    /// Where it looks at step `t`.
    pub(super) fn of(self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }

    /// Where `inner` looks from there: the look of a selector inside a subquery.
    pub(super) fn then(self, inner: Self) -> Self {
        match inner.at {
            Some(_) => inner,
            None => Self { offset: self.offset.saturating_add(inner.offset), ..self },
        }
    }

    /// First and last time where it looks.
    pub(super) fn extent(self, grid: Grid) -> (i64, i64) {
        let last_step = grid.start + (grid.len().max(1) as i64 - 1) * grid.step;
        (self.of(grid.start), self.of(last_step))
    }
}

fn is_stale_histogram(h: &HistogramSample) -> bool {
    is_stale(h.histogram.sum)
}

/// Takes staleness markers out.
pub(super) fn drop_stale(s: &mut SeriesSamples) {
    // Without a way out early, so that it is done in large steps.
    if s.values.iter().fold(false, |any, v| any | is_stale(*v)) {
        let keep: Vec<bool> = s.values.iter().map(|v| !is_stale(*v)).collect();
        let kept = |i: &mut usize| {
            *i += 1;
            keep.get(*i - 1).copied().unwrap_or(true)
        };
        let (mut t, mut v, mut b) = (0, 0, 0);
        s.times.retain(|_| kept(&mut t));
        s.values.retain(|_| kept(&mut v));
        s.starts.retain(|_| kept(&mut b));
    }
    s.histograms.retain(|h| !is_stale_histogram(h));
}

impl Evaluator<'_> {
    /// Works out `offset` and `@`.
    pub(super) fn look(&self, shift: &Shift) -> Result<Look, EvalError> {
        let at = shift.at.map(|at| match at {
            At::Time(at) => at,
            At::Start => self.whole.start,
            At::End => self.whole.end,
        });
        Ok(Look { offset: self.length(&shift.offset, false)?, at })
    }

    /// An instant selector: at each step the newest sample of the last `lookback`, unless it is a staleness marker.
    /// `start`: where it stands in the query.
    pub(super) fn select<T: Taker>(
        &self,
        selector: &Selector,
        start: usize,
        grid: Grid,
        take: Take,
        taker: &T,
    ) -> Result<Vec<T::Taken>, EvalError> {
        let look = self.look(&selector.shift)?;
        let smoothed = selector.extension == Some(Extension::Smoothed) && take == Take::Value;
        self.select_at(&selector.matchers, look, grid, take, smoothed.then_some(start), taker)
    }

    /// An instant selector that looks where `look` says. `smoothed`: where it stands in the query, if its values are
    /// interpolated.
    pub(super) fn select_at<T: Taker>(
        &self,
        matchers: &[LabelMatcher],
        look: Look,
        grid: Grid,
        take: Take,
        smoothed: Option<usize>,
        taker: &T,
    ) -> Result<Vec<T::Taken>, EvalError> {
        let lookback = self.question.lookback_ms;
        let (first, last) = look.extent(grid);
        let ahead = if smoothed.is_some() { lookback } else { 0 };
        let (first, last) = (first.saturating_sub(lookback).saturating_add(1), last.saturating_add(ahead));
        let selection = self.selection(matchers, first, last)?;
        let edges = Edges { grid, look, range: lookback };
        let begin = |stretch: usize, series: usize| (Worker::new(edges), taker.begin(stretch, series));
        let memory = Worker::memory(grid, false).saturating_add(taker.memory());
        self.drive(&*selection, memory, begin, |worker, taken, s| {
            let out = &mut worker.out;
            out.histograms.clear();
            if smoothed.is_some() || !s.histograms.is_empty() {
                *out = match smoothed {
                    Some(start) => {
                        drop_stale(s);
                        self.smoothed(s, look, grid, start)
                    }
                    None => self.with_histograms(s, look, grid, take)?,
                };
            } else {
                worker.frames.fit(&s.times);
                out.values.clear();
                let newest = worker.frames.windows().map(|(from, to)| if from < to { to - 1 } else { usize::MAX });
                out.values.extend(newest.map(|at| match (s.values.get(at), take) {
                    // A staleness marker has the very bits of no value.
                    (Some(value), Take::Value) => *value,
                    (Some(value), _) if is_stale(*value) => ABSENT,
                    (Some(_), Take::Time) => s.times[at] as f64 / 1000.0,
                    (Some(_), Take::InfoTime) => s.times[at] as f64,
                    (None, _) => ABSENT,
                }));
            }
            if let Some(counting) = &self.counting {
                let histograms = out.histograms.iter().map(|h| h.as_deref().map_or(0, weight)).chain(std::iter::repeat(0));
                counting.add(grid, out.values.iter().zip(histograms).map(|(v, h)| usize::from(present(*v).is_some()) + h));
            }
            if out.is_empty() {
                return Ok(());
            }
            let (values, histograms) = (&mut out.values, &mut out.histograms);
            taker.take(taken, Passing { labels: &s.labels, nameless: false, drop_name: false, values, histograms })
        })
    }

    fn with_histograms(&self, s: &SeriesSamples, look: Look, grid: Grid, take: Take) -> Result<Series, EvalError> {
        let lookback = self.question.lookback_ms;
        let mut out = Series::absent(Arc::clone(&s.labels), grid.len());
        let (mut floats, mut histograms) = (0, 0);
        for (step, t) in grid.times().map(|t| look.of(t)).enumerate() {
            while s.times.get(floats).is_some_and(|at| *at <= t) {
                floats += 1;
            }
            while s.histograms.get(histograms).is_some_and(|h| h.time <= t) {
                histograms += 1;
            }
            let float = floats.checked_sub(1).map(|i| (s.times[i], s.values[i]));
            let histogram = histograms.checked_sub(1).map(|i| &s.histograms[i]);
            let oldest = t.saturating_sub(lookback);
            let (time, point) = match (float, histogram) {
                (float, Some(h)) if float.is_none_or(|(time, _)| time <= h.time) => {
                    let stale = is_stale_histogram(h);
                    (h.time, if stale { Point::Absent } else { Point::Histogram(h.histogram.clone()) })
                }
                (Some((time, value)), _) => (time, if is_stale(value) { Point::Absent } else { Point::Float(value) }),
                _ => continue,
            };
            if time <= oldest || matches!(point, Point::Absent) {
                continue;
            }
            match (take, &point) {
                (Take::Value, _) => out.set(step, point),
                (Take::Time, _) => out.set(step, Point::Float(time as f64 / 1000.0)),
                (Take::InfoTime, Point::Float(_)) => out.set(step, Point::Float(time as f64)),
                (Take::InfoTime, _) => {
                    let message = format!("this should be an info metric, with float samples: {}", s.labels);
                    return Err(EvalError::Execution(message));
                }
            }
        }
        Ok(out)
    }

    /// Values on the lines between samples.
    fn smoothed(&self, s: &SeriesSamples, look: Look, grid: Grid, start: usize) -> Series {
        let lookback = self.question.lookback_ms;
        let mut out = Series::absent(Arc::clone(&s.labels), grid.len());
        for (step, t) in grid.times().map(|t| look.of(t)).enumerate() {
            let (first, last) = (t.saturating_sub(lookback), t.saturating_add(lookback));
            let floats = s.times.partition_point(|at| *at <= first)..s.times.partition_point(|at| *at <= last);
            let histograms = s.histograms.partition_point(|h| h.time <= first)..s.histograms.partition_point(|h| h.time <= last);
            let (times, values) = (&s.times[floats.clone()], &s.values[floats]);
            let point = smooth(times, values, &s.histograms[histograms], t, metric(&s.labels), start, &self.notes);
            out.set(step, point);
        }
        out
    }
}
