//! The samples that one series has in a range.

use std::sync::Arc;

use model::Histogram;
use store::HistogramSample;

use crate::ast::Extension;
use crate::notes::{Note, Notes};

/// A value, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) enum Point {
    #[default]
    Absent,
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Point {
    pub(crate) fn histogram(h: Histogram) -> Self {
        Self::Histogram(Arc::new(h))
    }
}

impl From<Option<f64>> for Point {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Absent, Self::Float)
    }
}

/// The samples of one series in `(start, end]`, staleness markers left out; not all empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// Milliseconds, ascending: of the floats.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Start timestamps of the floats; empty where none has one.
    pub(crate) starts: &'a [i64],
    /// Where in `values` one is less than the one before, `offset` more; for functions that ask for it.
    pub(crate) drops: &'a [usize],
    pub(crate) offset: usize,
    pub(crate) histograms: &'a [HistogramSample],
    /// Milliseconds, excluded.
    pub(crate) start: i64,
    /// Milliseconds, included.
    pub(crate) end: i64,
    /// The step's own time, milliseconds.
    pub(crate) now: i64,
    /// The function's scalar arguments, as many as it has.
    pub(crate) args: [f64; 2],
    /// Where the samples reach over the edges, by one lookback.
    pub(crate) extension: Option<Extension>,
    /// The metric's name.
    pub(crate) metric: &'a str,
    /// Where the function's first argument stands in the query.
    pub(crate) at: usize,
    pub(crate) notes: &'a Notes,
}

impl Window<'_> {
    pub(crate) fn note(&self, note: Note<'_>) {
        self.notes.add(self.at, note);
    }

    /// Whether there are floats and histograms, which most functions cannot unite: says so.
    pub(crate) fn is_mixed(&self) -> bool {
        let mixed = !self.values.is_empty() && !self.histograms.is_empty();
        if mixed {
            self.note(Note::MixedFloatsHistograms(self.metric));
        }
        mixed
    }

    /// Says that histograms are left out, where there are any beside floats.
    pub(crate) fn leave_out_histograms(&self) {
        if !self.values.is_empty() && !self.histograms.is_empty() {
            self.note(Note::IgnoredInMixedRange(self.metric));
        }
    }

    /// Start timestamp of float `i`, 0 for none.
    pub(crate) fn start_of(&self, i: usize) -> i64 {
        self.starts.get(i).copied().unwrap_or(0)
    }

    /// The range's length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        (self.end - self.start) as f64 / 1000.0
    }

    /// The floats' positions in `values` that are less than the one before.
    pub(crate) fn falls(&self) -> impl Iterator<Item = usize> + '_ {
        self.drops.iter().map(|i| i - self.offset)
    }
}

/// Whether a counter was reset between two samples, to judge by their start timestamps: the one before was taken at
/// `before` and says it started at `before_start`.
pub(crate) fn is_start_reset(before_start: i64, before: i64, start: i64, time: i64) -> bool {
    // None, or nonsense, or OpenTelemetry's unknown start.
    if start == 0 || start >= time || start < before {
        return false;
    }
    if start > before {
        return true;
    }
    // The start is the sample before: a delta, unless that sample's own start is unknown.
    before_start <= before && before_start != 0 && before_start != before
}

/// Whether a sample claims a time that the one before covered already.
pub(crate) fn starts_overlap(before_start: i64, before: i64, start: i64) -> bool {
    start != 0 && start < before && start != before_start
}
