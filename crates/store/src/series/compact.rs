//! Several segments become one: short runs are joined, long ones that overlap no other are handed on as they are.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use model::{Labels, Tenant};

use super::Inner;
use super::chunk::{Scratch, Stats, decode_values};
use super::exemplars::{IN_SEGMENT, decode_exemplars, settle};
use super::format::Kind;
use super::index::{Loaded, Run, SegmentIndex, unseal};
use super::merge::Gathered;
use super::metadata::Families;
use super::registry::{Catalog, SeriesId};
use super::view::gone;
use super::write::{RUN, SegmentWriter};
use crate::{SegmentMeta, StoreError, Tombstone};

/// Bytes of each input that are read at once.
const WINDOW: u64 = 256 << 10;
/// A series' samples are held until they are so many.
const HELD: usize = 16 * RUN;

/// An input, read from front to back.
struct Input {
    index: Arc<SegmentIndex>,
    deleted: Vec<Arc<Tombstone>>,
    start: u64,
    window: Bytes,
}

impl Input {
    fn bytes(&mut self, place: Range<u64>) -> Result<Bytes, StoreError> {
        let within = |start: u64, len: usize| place.start >= start && place.end <= start + len as u64;
        if !within(self.start, self.window.len()) {
            let end = (place.start + WINDOW).min(self.index.size()).max(place.end);
            self.window = self.index.bytes(place.start..end)?;
            self.start = place.start;
        }
        Ok(self.window.slice((place.start - self.start) as usize..(place.end - self.start) as usize))
    }
}

impl Input {
    /// A run's coded values with their checksum, and its times.
    fn run(&mut self, run: &Run) -> Result<(Bytes, Arc<[i64]>), StoreError> {
        Ok((self.bytes(run.place())?, self.index.times(run)?))
    }
}

/// The output, and the samples that are held until it is known how they are cut.
struct Output {
    writer: SegmentWriter,
    held: Gathered,
}

impl Output {
    fn write_held(&mut self, labels: &Labels) -> Result<(), StoreError> {
        if self.held.len() > 0 {
            self.held.settle();
            self.writer.samples(labels, &self.held)?;
            self.held.clear();
        }
        Ok(())
    }
}

/// See [`crate::SignalTable::compact`]. Of equal times the first written sample stays.
pub(super) fn compact(inner: &Inner, inputs: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError> {
    let Some(first) = inputs.first() else { return Ok(Vec::new()) };
    let mut order: Vec<&SegmentMeta> = inputs.iter().collect();
    order.sort_by_key(|s| (s.first_sequence, s.first, s.id));
    let hour = inputs.iter().map(|s| s.hour).min().unwrap_or(first.hour);
    let level = inputs.iter().map(|s| s.level).max().unwrap_or(0).saturating_add(1);
    let writer = SegmentWriter::create(&*inner.segments, &first.tenant, hour, level)?;
    let mut output = Output { writer, held: Gathered::default() };
    let live = inner.segments.in_service();
    let input = |meta: &SegmentMeta, tenant: &Tenant, index| {
        let deleted = live.tombstones().of_tenant(meta, tenant.as_str());
        Input { index, deleted, start: 0, window: Bytes::new() }
    };
    let name = |name: &str| {
        let wrong = |e| StoreError::Corrupt { file: first.file.clone(), reason: format!("its tenant: {e}") };
        Tenant::new(name).map_err(wrong)
    };
    let mut metadata = "{}".to_owned();
    if first.is_shared() {
        // Each is read once, not once a tenant.
        let mut loaded = Vec::with_capacity(order.len());
        for meta in order {
            let read = Loaded::read(meta, inner.segments.open(&meta.file)?, None)?;
            loaded.extend(read.map(|read| (meta, read)));
        }
        let names: BTreeSet<&str> = loaded.iter().flat_map(|(_, l)| l.tenants()).collect();
        for of in names {
            let tenant = name(of)?;
            let catalog = inner.catalog(&tenant);
            let own = loaded.iter().filter(|(_, l)| l.tenants().any(|t| t == of));
            let own = own.map(|(meta, l)| Ok(input(meta, &tenant, Arc::new(l.index(of, &catalog)?))));
            let own: Vec<Input> = own.collect::<Result<_, StoreError>>()?;
            output.writer.next_tenant(of, families(&own).to_json());
            merge_tenant(own, &catalog, &mut output)?;
            catalog.tidy();
        }
    } else {
        let tenant = name(&first.tenant)?;
        let mut own = Vec::with_capacity(order.len());
        for meta in order {
            own.extend(inner.open(meta, &tenant)?.map(|index| input(meta, &tenant, index)));
        }
        metadata = families(&own).to_json();
        merge_tenant(own, &inner.catalog(&tenant), &mut output)?;
    }
    if output.writer.is_empty() {
        return Ok(Vec::new());
    }
    let written = output.writer.finish(metadata)?;
    inputs.iter().for_each(|s| inner.cache.remove(s.id));
    Ok(vec![written])
}

/// What the inputs know of metric families; the last written knows best.
fn families(open: &[Input]) -> Families {
    let mut families = Families::default();
    open.iter().rev().for_each(|input| families.complete(&input.index.families));
    families
}

/// Merges what a tenant has in the inputs.
fn merge_tenant(mut open: Vec<Input>, catalog: &Catalog, output: &mut Output) -> Result<(), StoreError> {
    let mut ids: Vec<SeriesId> = open.iter().flat_map(|input| input.index.ids().iter().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    catalog.sort(&catalog.read(), &mut ids);

    let mut scratch = Scratch::default();
    for id in ids {
        // The open indexes hold the number.
        let Some(labels) = catalog.read().labels(id).cloned() else { continue };
        output.writer.next_series();
        merge_series(&mut open, id, &labels, &mut scratch, output)?;
    }
    Ok(())
}

fn merge_series(
    inputs: &mut [Input],
    id: SeriesId,
    labels: &Labels,
    scratch: &mut Scratch,
    output: &mut Output,
) -> Result<(), StoreError> {
    let spared: Vec<Vec<RangeInclusive<i64>>> = inputs.iter().map(|input| gone(&input.deleted, labels)).collect();
    // By input, and within an input by time.
    let (mut floats, mut histograms, mut exemplars) = (Vec::new(), Vec::new(), Vec::new());
    for (at, input) in inputs.iter().enumerate() {
        for run in input.index.position(id).into_iter().flat_map(|position| input.index.runs(position)) {
            match run.kind {
                Kind::Floats => floats.push((at, *run)),
                Kind::Histograms => histograms.push((at, *run)),
                Kind::Exemplars => exemplars.push((at, *run)),
            }
        }
    }
    if histograms.is_empty() {
        merge_floats(inputs, floats, labels, &spared, scratch, output)?;
    } else {
        // All at once, since of a float and a histogram of one time the first written stays. Segments span hours, so that
        // this is bounded by what a series can have in them.
        let mut all: Vec<(usize, Run)> = floats.into_iter().chain(histograms).collect();
        all.sort_by_key(|(at, run)| (*at, run.kind, run.first));
        for (at, run) in all {
            let (coded, times) = inputs[at].run(&run)?;
            let (bytes, everything) = (unseal(&coded), i64::MIN..=i64::MAX);
            let mark = output.held.mark();
            let decoded = bytes.and_then(|bytes| match run.kind {
                Kind::Histograms => output.held.decode_histograms(&times, bytes, &everything, scratch),
                _ => output.held.decode(&times, bytes, &everything, scratch, |_| {}),
            });
            decoded.map_err(|e| inputs[at].index.damaged(e))?;
            output.held.forget(mark, &spared[at]);
        }
        output.write_held(labels)?;
    }
    let mut recent = Vec::new();
    for (at, run) in exemplars {
        let coded = inputs[at].bytes(run.place())?;
        let decoded = unseal(&coded).and_then(decode_exemplars);
        let decoded = decoded.map_err(|e| inputs[at].index.damaged(e))?;
        recent.extend(decoded.into_iter().filter(|e| !spared[at].iter().any(|g| g.contains(&e.time))));
    }
    settle(&mut recent, IN_SEGMENT);
    output.writer.exemplars(labels, &recent)
}

fn merge_floats(
    inputs: &mut [Input],
    mut runs: Vec<(usize, Run)>,
    labels: &Labels,
    spared: &[Vec<RangeInclusive<i64>>],
    scratch: &mut Scratch,
    output: &mut Output,
) -> Result<(), StoreError> {
    // Runs that overlap, directly or through others, form a group; groups follow each other in time.
    runs.sort_by_key(|(at, run)| (run.first, *at));
    let mut values = Vec::new();
    let mut rest = &mut runs[..];
    while !rest.is_empty() {
        let mut end = rest[0].1.last;
        let mut n = 1;
        while n < rest.len() && rest[n].1.first <= end {
            end = end.max(rest[n].1.last);
            n += 1;
        }
        let (group, later) = std::mem::take(&mut rest).split_at_mut(n);
        rest = later;
        let alone = group.len() == 1;
        // Whichever was written first is added first and wins.
        group.sort_by_key(|(at, run)| (*at, run.first));
        for (at, run) in group {
            let input = &mut inputs[*at];
            let (coded, times) = input.run(run)?;
            let bytes = unseal(&coded).map_err(|e| input.index.damaged(e))?;
            let whole = !spared[*at].iter().any(|g| run.first <= *g.end() && run.last >= *g.start());
            if alone && whole && run.count as usize >= RUN / 2 {
                output.write_held(labels)?;
                values.clear();
                decode_values(bytes, run.count as usize, scratch, &mut values).map_err(|e| input.index.damaged(e))?;
                output.writer.run(labels, Kind::Floats, &times, &coded, &Stats::of(&values))?;
            } else {
                let mark = output.held.mark();
                let decoded = output.held.decode(&times, bytes, &(i64::MIN..=i64::MAX), scratch, |_| {});
                decoded.map_err(|e| input.index.damaged(e))?;
                output.held.forget(mark, &spared[*at]);
            }
        }
        if output.held.len() >= HELD {
            output.write_held(labels)?;
        }
    }
    output.write_held(labels)
}
