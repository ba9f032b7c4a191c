//! The series that a query chose, and the way to their samples.

use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Labels;

use super::Inner;
use super::chunk::Scratch;
use super::format::Kind;
use super::head::Part;
use super::index::{Run, SegmentIndex, unseal};
use super::merge::Gathered;
use super::times::together;
use super::view::gone;
use crate::{EachSeries, Selection, SeriesSamples, StoreError, Tombstone};

/// Series that are read together, at most: so long the lock of a head part is held, so far reads of a file are joined.
const BATCH: usize = 64;
/// Samples of series that are read together, about: the memory that reading takes.
const BATCH_SAMPLES: u64 = 1 << 16;

/// Where samples of series are.
#[derive(Clone)]
pub(super) enum Place {
    Segment(Arc<SegmentIndex>),
    Part(Arc<Part>),
}

/// A query with its series looked up.
pub(super) struct Chosen {
    pub(super) inner: Arc<Inner>,
    pub(super) places: Vec<Place>,
    /// What was deleted in each of them.
    pub(super) deleted: Vec<Vec<Arc<Tombstone>>>,
    /// In order.
    pub(super) labels: Vec<Arc<Labels>>,
    /// Of each series the index of its first entry in `found`, and one more for the end.
    pub(super) starts: Vec<u32>,
    /// Which place, and where in it.
    pub(super) found: Vec<(u16, u32)>,
    /// Samples of each series, about.
    pub(super) samples: Vec<u32>,
    /// Runs of all series, about.
    pub(super) runs: u64,
    pub(super) range: RangeInclusive<i64>,
    /// Places that were found damaged meanwhile: nothing more is read from them.
    pub(super) broken: Vec<AtomicBool>,
}

impl Chosen {
    /// Nothing.
    pub(super) fn none(inner: &Arc<Inner>, range: RangeInclusive<i64>) -> Self {
        Self {
            inner: Arc::clone(inner),
            places: Vec::new(),
            deleted: Vec::new(),
            labels: Vec::new(),
            starts: vec![0],
            found: Vec::new(),
            samples: Vec::new(),
            runs: 0,
            range,
            broken: Vec::new(),
        }
    }

    /// Where the series at `at` is.
    pub(super) fn places_of(&self, at: usize) -> &[(u16, u32)] {
        &self.found[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// Where the series at `at` is in `place`.
    pub(super) fn position_in(&self, at: usize, place: usize) -> Option<u32> {
        self.places_of(at).iter().find(|(p, _)| usize::from(*p) == place).map(|(_, position)| *position)
    }

    /// Milliseconds of the series at `at` that are gone in `place`.
    pub(super) fn gone(&self, at: usize, place: usize) -> Vec<RangeInclusive<i64>> {
        self.deleted.get(place).map(|deleted| gone(deleted, &self.labels[at])).unwrap_or_default()
    }

    /// How many series from `at` on are read together.
    fn batch(&self, at: usize, end: usize) -> usize {
        let (mut n, mut samples) = (0, 0);
        while n < BATCH && at + n < end {
            samples += u64::from(self.samples[at + n]);
            if n > 0 && samples > BATCH_SAMPLES {
                break;
            }
            n += 1;
        }
        n
    }

    fn gather(&self, which: Range<usize>, keep: bool, scratch: &mut Scratch, out: &mut [Gathered]) -> Result<(), StoreError> {
        let mut here: Vec<(usize, u32)> = Vec::with_capacity(which.len());
        for (place, broken) in self.places.iter().zip(&self.broken).enumerate().map(|(i, (p, b))| ((i, p), b)) {
            let (number, place) = place;
            if broken.load(Ordering::Relaxed) {
                continue;
            }
            here.clear();
            here.extend(which.clone().enumerate().filter_map(|(i, at)| Some((i, self.position_in(at, number)?))));
            if here.is_empty() {
                continue;
            }
            // Of what a place adds, what was deleted there is forgotten before the next place adds more.
            let spares = self.deleted.get(number).is_some_and(|deleted| !deleted.is_empty());
            let marks: Vec<_> = if spares { out.iter().map(Gathered::mark).collect() } else { Vec::new() };
            match place {
                Place::Segment(index) => {
                    let mut reading = Reading { inner: &self.inner, index, range: &self.range, keep, scratch: &mut *scratch };
                    if let Err(e) = reading.read(&here, out) {
                        self.inner.tolerate(index, e)?;
                        broken.store(true, Ordering::Relaxed);
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (i, position) in &here {
                        let slot = &slots.slots()[*position as usize];
                        slot.gather(&self.range, scratch, &mut out[*i]).map_err(StoreError::columns("a run in memory"))?;
                    }
                }
            }
            for (i, mark) in marks.into_iter().enumerate() {
                out[i].forget(mark, &self.gone(which.start + i, number));
            }
        }
        Ok(())
    }
}

impl Selection for Chosen {
    fn labels(&self) -> &[Arc<Labels>] {
        &self.labels
    }

    fn samples(&self) -> u64 {
        self.samples.iter().map(|n| u64::from(*n)).sum()
    }

    fn runs(&self) -> u64 {
        self.runs
    }

    fn read(&self, which: Range<usize>, each: &mut EachSeries<'_>) -> Result<(), StoreError> {
        let keep = self.inner.decoded.admits(self.samples());
        let (mut scratch, mut gathered, mut series) = (Scratch::default(), Vec::new(), SeriesSamples::default());
        let mut at = which.start;
        while at < which.end {
            let n = self.batch(at, which.end);
            gathered.resize_with(n.max(gathered.len()), Gathered::default);
            gathered[..n].iter_mut().for_each(Gathered::clear);
            self.gather(at..at + n, keep, &mut scratch, &mut gathered[..n])?;
            for (i, g) in gathered[..n].iter_mut().enumerate() {
                g.settle();
                if g.len() == 0 {
                    continue;
                }
                series.labels.clone_from(&self.labels[at + i]);
                g.exchange(&mut series);
                let flow: ControlFlow<()> = each(at + i, &mut series);
                g.exchange(&mut series);
                if flow.is_break() {
                    return Ok(());
                }
            }
            at += n;
        }
        Ok(())
    }
}

/// Reads of a segment.
struct Reading<'a> {
    inner: &'a Inner,
    index: &'a SegmentIndex,
    range: &'a RangeInclusive<i64>,
    /// Whether what is decoded is kept for the next query.
    keep: bool,
    scratch: &'a mut Scratch,
}

impl Reading<'_> {
    /// Adds what several series have in the segment; runs that stand close together are read at once.
    fn read(&mut self, wanted: &[(usize, u32)], out: &mut [Gathered]) -> Result<(), StoreError> {
        let index = self.index;
        let mut runs: Vec<(usize, u32, &Run)> = Vec::with_capacity(wanted.len());
        for (i, position) in wanted {
            let here = index.numbered_runs(*position).map(|(number, run)| (*i, number, run));
            runs.extend(here.filter(|(_, _, run)| run.kind != Kind::Exemplars && run.overlaps(self.range)));
        }
        index.read_times(runs.iter().map(|(_, _, run)| *run))?;
        let mut rest = &runs[..];
        while let Some(((i, number, run), later)) = rest.split_first() {
            if let Some(values) = self.held(*number, run) {
                out[*i].add_values(&index.times(run)?, &values, self.range);
                rest = later;
                continue;
            }
            let Some((n, place)) = together(rest.iter().map(|(_, _, run)| run.place())) else { break };
            let bytes = index.bytes(place.clone())?;
            let (now, later) = rest.split_at(n);
            rest = later;
            for (at, (i, number, run)) in now.iter().enumerate() {
                // The first one was just looked for.
                let held = if at > 0 { self.held(*number, run) } else { None };
                match held {
                    Some(values) => out[*i].add_values(&index.times(run)?, &values, self.range),
                    None => {
                        let at = run.place();
                        let coded = bytes.get((at.start - place.start) as usize..(at.end - place.start) as usize);
                        self.decode(*number, run, coded.unwrap_or_default(), &mut out[*i])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The values of a run, where they are held.
    fn held(&self, number: u32, run: &Run) -> Option<Arc<[f64]>> {
        if run.kind != Kind::Floats { None } else { self.inner.decoded.get((self.index.meta.id, number)) }
    }

    fn decode(&mut self, number: u32, run: &Run, coded: &[u8], out: &mut Gathered) -> Result<(), StoreError> {
        let index = self.index;
        let coded = unseal(coded).map_err(|e| index.damaged(e))?;
        let times = index.times(run)?;
        let decoded = match run.kind {
            Kind::Histograms => out.decode_histograms(&times, coded, self.range, self.scratch),
            _ => {
                let keep = |values: &[f64]| {
                    if self.keep {
                        self.inner.decoded.put((index.meta.id, number), values);
                    }
                };
                out.decode(&times, coded, self.range, self.scratch, keep)
            }
        };
        decoded.map_err(|e| index.damaged(e))
    }
}
