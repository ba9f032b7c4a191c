//! Series that a query chose, to be read in parts.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use model::Labels;

use super::{SeriesSamples, SeriesStream, StoreError};

/// What is done with each series that is read: its position among [`Selection::labels`], and its samples. They are lent,
/// so that their memory serves for the next series; whoever wants to keep them takes them out.
pub type EachSeries<'a> = dyn FnMut(usize, &mut SeriesSamples) -> ControlFlow<()> + 'a;

/// The series that matchers chose, with the places of their samples looked up: read in parts, by several threads at once.
pub trait Selection: Send + Sync {
    /// Their labels, in order. One of them may turn out to have no sample in the range.
    fn labels(&self) -> &[Arc<Labels>];

    /// How many samples are decoded, about, when all of them are read.
    fn samples(&self) -> u64;

    /// In how many runs of samples they are kept, about.
    fn runs(&self) -> u64;

    /// Reads the series at positions `which` and hands those that have samples to `each`, in order, until it breaks.
    ///
    /// # Errors
    /// As for [`super::Reader::scan`].
    fn read(&self, which: Range<usize>, each: &mut EachSeries<'_>) -> Result<(), StoreError>;
}

/// Samples that are read before the first series of them is handed on.
const AHEAD: usize = 1 << 16;

/// The series of a selection one after the other.
struct InOrder<'a> {
    selection: Box<dyn Selection + 'a>,
    next: usize,
    ready: std::vec::IntoIter<SeriesSamples>,
}

impl Iterator for InOrder<'_> {
    type Item = Result<SeriesSamples, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(series) = self.ready.next() {
            return Some(Ok(series));
        }
        let count = self.selection.labels().len();
        if self.next >= count {
            return None;
        }
        let (mut ready, mut samples, mut next) = (Vec::new(), 0, count);
        let read = self.selection.read(self.next..count, &mut |at, series| {
            samples += series.times.len() + series.histograms.len();
            ready.push(std::mem::take(series));
            if samples < AHEAD {
                return ControlFlow::Continue(());
            }
            next = at + 1;
            ControlFlow::Break(())
        });
        self.next = next;
        self.ready = ready.into_iter();
        match read {
            Ok(()) => self.ready.next().map(Ok),
            Err(e) => {
                (self.next, self.ready) = (count, Vec::new().into_iter());
                Some(Err(e))
            }
        }
    }
}

/// The series of a selection as a stream.
pub fn in_order<'a>(selection: Box<dyn Selection + 'a>) -> SeriesStream<'a> {
    Box::new(InOrder { selection, next: 0, ready: Vec::new().into_iter() })
}
