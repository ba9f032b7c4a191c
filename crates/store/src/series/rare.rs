//! What few series of a part have: start timestamps, native histograms, exemplars. Others pay one pointer for it.

use std::sync::Arc;

use model::Histogram;

use super::exemplars::Recent;
use super::head::{Sealed, Sealing, When};
use super::histograms::{cells, decode_histogram_run, encode_histogram_run, fingerprint, memory};
use super::starts::Starts;
use crate::HistogramSample;

/// An open run of so many histograms is sealed.
const SEAL: usize = 120;
/// Or one with so many buckets and other numbers.
const SEAL_CELLS: usize = 4096;

/// What became of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    Stored,
    Known,
    Conflict,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Of the open run of floats.
    pub starts: Starts,
    /// Sealed runs of histograms, in the order of sealing.
    pub sealed: Vec<Sealed>,
    /// The open run of histograms, ascending by time.
    pub open: Vec<HistogramSample>,
    open_cells: usize,
    open_bytes: usize,
    pub exemplars: Recent,
}

impl Rare {
    /// Whether there is a histogram at this time.
    pub(super) fn has_histogram(&self, time: i64) -> bool {
        self.open.binary_search_by_key(&time, |h| h.time).is_ok()
            || self.sealed.iter().any(|run| run.times.binary_search(&time).is_ok())
    }

    /// Takes a histogram with this fingerprint, unless there is one at its time.
    pub(super) fn append(&mut self, when: When, histogram: &Histogram, bits: u64, sealing: &mut Sealing) -> Late {
        let compare = |other: &Histogram| if fingerprint(other) == bits { Late::Known } else { Late::Conflict };
        for run in &self.sealed {
            if let Ok(at) = run.times.binary_search(&when.time) {
                let known = decode_histogram_run(&run.times, &run.values, &mut sealing.scratch);
                debug_assert!(known.is_ok(), "a run coded here is read here");
                return known.ok().and_then(|k| k.get(at).map(|h| compare(&h.histogram))).unwrap_or(Late::Conflict);
            }
        }
        match self.open.binary_search_by_key(&when.time, |h| h.time) {
            Ok(at) => return compare(&self.open[at].histogram),
            Err(at) => {
                let histogram = Arc::new(histogram.clone());
                self.open_cells += cells(&histogram);
                self.open_bytes += memory(&histogram);
                sealing.bytes += memory(&histogram);
                self.open.insert(at, HistogramSample { time: when.time, start: when.start, histogram });
            }
        }
        if self.open.len() >= SEAL || self.open_cells >= SEAL_CELLS {
            self.seal(sealing);
        }
        Late::Stored
    }

    fn seal(&mut self, sealing: &mut Sealing) {
        sealing.run.clear();
        sealing.run.extend(self.open.iter().map(|h| h.time));
        let times = sealing.times.share(&sealing.run);
        sealing.coded.clear();
        encode_histogram_run(&self.open, &mut sealing.scratch, &mut sealing.coded);
        let values: Arc<[u8]> = sealing.coded.as_slice().into();
        sealing.bytes += values.len() + 16 + size_of::<Sealed>();
        sealing.bytes = sealing.bytes.saturating_sub(self.open_bytes);
        self.sealed.push(Sealed { times, values });
        self.open.clear();
        (self.open_cells, self.open_bytes) = (0, 0);
    }
}
