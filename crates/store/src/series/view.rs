//! What can be asked of the samples: a consistent set of segments and head parts, and the paths through them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Labels, Tenant};
use wire::{MetricKind, Signal};

use super::chosen::{Chosen, Place};
use super::chunk::Scratch;
use super::exemplars::{decode_exemplars, settle};
use super::format::Kind;
use super::head::Slot;
use super::index::{Run, SegmentIndex, unseal};
use super::merge::Gathered;
use super::metadata::Families;
use super::postings::select;
use super::registry::{Registry, SeriesId};
use super::{Inner, Tenants};
use crate::contract::in_order;
use crate::{Exemplar, LabelMatcher, SegmentMeta, Selection, SeriesExemplars, SeriesStream, StoreError, Tombstone, Tombstones};

/// Samples as of one moment: the segments that the manifest named then and all parts of the heads. Samples that come
/// later may be seen, those that were there are seen.
#[derive(Clone)]
pub struct SeriesView {
    pub(super) inner: Arc<Inner>,
    heads: Arc<Tenants>,
    pub(super) segments: Arc<Vec<Arc<SegmentMeta>>>,
    tombstones: Tombstones,
}

/// A place, and what was deleted there.
type Spared = (Place, Vec<Arc<Tombstone>>);

/// Milliseconds of a series that these deletions took.
pub(super) fn gone(deleted: &[Arc<Tombstone>], labels: &Labels) -> Vec<RangeInclusive<i64>> {
    deleted.iter().filter(|t| t.dooms(labels)).map(|t| t.millis()).collect()
}

/// Segments in the order of time; those that overlap, and those between them, stay as they came: of equal times the first
/// written stays. Merges write old hours late, and what is visited in the order of time need not be put into it.
fn in_time(segments: Vec<&SegmentMeta>) -> Vec<&SegmentMeta> {
    let mut by_first: Vec<(usize, &SegmentMeta)> = segments.into_iter().enumerate().collect();
    by_first.sort_by_key(|(_, s)| s.first);
    let (mut stretch, mut reach) = (0_usize, i64::MIN);
    let mut all: Vec<(usize, usize, &SegmentMeta)> = Vec::with_capacity(by_first.len());
    for (rank, meta) in by_first {
        stretch += usize::from(meta.first > reach);
        reach = reach.max(meta.last);
        all.push((stretch, rank, meta));
    }
    all.sort_unstable_by_key(|(stretch, rank, _)| (*stretch, *rank));
    all.into_iter().map(|(.., meta)| meta).collect()
}

impl SeriesView {
    pub(super) fn new(inner: Arc<Inner>, heads: Arc<Tenants>, segments: Arc<Vec<Arc<SegmentMeta>>>) -> Self {
        Self { inner, heads, segments, tombstones: Tombstones::default() }
    }

    /// The same, with these deletions left out of the segments.
    #[must_use]
    pub fn without(mut self, tombstones: Tombstones) -> Self {
        self.tombstones = tombstones;
        self
    }

    /// The tenant's segments, the first written first.
    fn segments_of<'a>(&'a self, tenant: &'a Tenant) -> Vec<&'a SegmentMeta> {
        let mine = |s: &&SegmentMeta| s.signal == Signal::Metrics.as_str() && s.may_hold(tenant);
        let mut segments: Vec<&SegmentMeta> =
            self.segments.iter().map(|s| &**s).filter(mine).filter(|s| !self.inner.is_broken(s)).collect();
        segments.sort_by_key(|s| (s.first_sequence, s.first, s.id));
        segments
    }

    /// Opens what may hold samples of the range, damaged segments excepted: those are reported and left out.
    fn places(&self, tenant: &Tenant, range: &RangeInclusive<i64>) -> Result<Vec<Spared>, StoreError> {
        let mut places = Vec::new();
        let inside = |meta: &&SegmentMeta| {
            let (first, last) = (meta.first.div_euclid(1_000_000), meta.last.div_euclid(1_000_000));
            first <= *range.end() && last >= *range.start()
        };
        for meta in in_time(self.segments_of(tenant).into_iter().filter(inside).collect()) {
            match self.inner.open(meta, tenant) {
                Ok(Some(index)) => places.push((Place::Segment(index), self.tombstones.of_tenant(meta, tenant.as_str()))),
                Ok(None) => {}
                Err(StoreError::Corrupt { reason, .. }) => self.inner.damaged(meta, &reason),
                Err(e) => return Err(e),
            }
        }
        if let Some(head) = self.heads.get(tenant) {
            places.extend(head.parts.iter().map(|part| (Place::Part(Arc::clone(part)), part.deleted())));
        }
        Ok(places)
    }

    /// Looks the series up, in the order of their labels.
    fn choose(&self, tenant: &Tenant, matchers: &[LabelMatcher], first_ms: i64, last_ms: i64) -> Result<Chosen, StoreError> {
        let range = first_ms..=last_ms;
        let mut chosen = Chosen::none(&self.inner, range.clone());
        // Nor is a tenant made up by being asked for.
        let places = if range.is_empty() { Vec::new() } else { self.places(tenant, &range)? };
        if places.is_empty() {
            return Ok(chosen);
        }
        let (places, deleted): (Vec<Place>, Vec<_>) = places.into_iter().unzip();
        let catalog = self.inner.catalog(tenant);
        let registry = catalog.read();
        let mut ids: Vec<SeriesId> = select(&registry, matchers);
        catalog.sort(&registry, &mut ids);
        let parts: Vec<_> = places.iter().map(|p| if let Place::Part(part) = p { Some(part.read()) } else { None }).collect();
        for id in ids {
            let Some(labels) = registry.labels(id) else { continue };
            let (before, mut samples) = (chosen.found.len(), 0_u32);
            for (at, (place, slots)) in (0_u16..).zip(places.iter().zip(&parts)) {
                let position = match (place, slots) {
                    (Place::Segment(index), _) => index.position(id).filter(|position| {
                        let inside = index.runs(*position).iter().filter(|run| run.overlaps(&range));
                        let (runs, count) = inside.fold((0, 0_u32), |(n, count), run| (n + 1, count.saturating_add(run.count)));
                        samples = samples.saturating_add(count);
                        chosen.runs += runs;
                        runs > 0
                    }),
                    (Place::Part(_), Some(slots)) => slots.position(id).inspect(|position| {
                        let slot = &slots.slots()[*position as usize];
                        samples = samples.saturating_add(slot.count());
                        chosen.runs += slot.runs();
                    }),
                    (Place::Part(_), None) => None,
                };
                chosen.found.extend(position.map(|position| (at, position)));
            }
            if chosen.found.len() > before {
                chosen.labels.push(Arc::clone(labels));
                chosen.starts.push(chosen.found.len() as u32);
                chosen.samples.push(samples);
            }
        }
        drop(parts);
        chosen.broken.resize_with(places.len(), AtomicBool::default);
        chosen.places = places;
        chosen.deleted = deleted;
        Ok(chosen)
    }

    /// See [`crate::Reader::series`].
    ///
    /// # Errors
    /// IO.
    pub fn series(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<Arc<Labels>>, StoreError> {
        let chosen = self.choose(tenant, matchers, first_ms, last_ms)?;
        let mut found = vec![false; chosen.labels.len()];
        for (number, place) in chosen.places.iter().enumerate() {
            let open = found.iter_mut().enumerate().filter(|(_, found)| !**found);
            match place {
                Place::Segment(index) => {
                    for (at, found) in open {
                        let Some(position) = chosen.position_in(at, number) else { continue };
                        match has_sample(index, position, &chosen.range, &chosen.gone(at, number)) {
                            Ok(has) => *found = has,
                            Err(e) => {
                                self.inner.tolerate(index, e)?;
                                break;
                            }
                        }
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (at, found) in open {
                        let position = chosen.position_in(at, number);
                        let gone = chosen.gone(at, number);
                        *found = position.is_some_and(|p| in_slot(&slots.slots()[p as usize], &chosen.range, &gone));
                    }
                }
            }
        }
        Ok(chosen.labels.into_iter().zip(found).filter(|(_, found)| *found).map(|(labels, _)| labels).collect())
    }

    /// See [`crate::Reader::select`].
    ///
    /// # Errors
    /// IO.
    pub fn select(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Box<dyn Selection>, StoreError> {
        Ok(Box::new(self.choose(tenant, matchers, first_ms, last_ms)?))
    }

    /// See [`crate::Reader::samples`].
    ///
    /// # Errors
    /// IO; also inside the stream.
    pub fn samples(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<SeriesStream<'static>, StoreError> {
        Ok(in_order(self.select(tenant, matchers, first_ms, last_ms)?))
    }

    /// See [`crate::Reader::exemplars`].
    ///
    /// # Errors
    /// IO.
    pub fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<SeriesExemplars>, StoreError> {
        let chosen = self.choose(tenant, matchers, first_ms, last_ms)?;
        let mut found: Vec<Vec<Exemplar>> = chosen.labels.iter().map(|_| Vec::new()).collect();
        for (number, place) in chosen.places.iter().enumerate() {
            let here = found.iter_mut().enumerate();
            let here = here.filter_map(|(at, found)| Some((chosen.position_in(at, number)?, chosen.gone(at, number), found)));
            match place {
                Place::Segment(index) => {
                    for (position, gone, found) in here {
                        if let Err(e) = read_exemplars(index, position, &chosen.range, &gone, found) {
                            self.inner.tolerate(index, e)?;
                            break;
                        }
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (position, gone, found) in here {
                        let stays = |time: i64| chosen.range.contains(&time) && !gone.iter().any(|g| g.contains(&time));
                        let recent = slots.slots()[position as usize].rare().into_iter().flat_map(|r| r.exemplars.iter());
                        found.extend(recent.filter(|e| stays(e.time)).cloned());
                    }
                }
            }
        }
        found.iter_mut().for_each(|exemplars| settle(exemplars, usize::MAX));
        let all = chosen.labels.into_iter().zip(found).filter(|(_, exemplars)| !exemplars.is_empty());
        Ok(all.map(|(labels, exemplars)| SeriesExemplars { labels, exemplars }).collect())
    }

    /// Names of the labels that the matching series with a sample in the range have; sorted. No matchers: all series.
    ///
    /// # Errors
    /// IO.
    pub fn label_names(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<String>, StoreError> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() {
            let range = first_ms..=last_ms;
            let places = self.places(tenant, &range)?;
            let catalog = if places.is_empty() { return Ok(Vec::new()) } else { self.inner.catalog(tenant) };
            let registry = catalog.read();
            for (name, mut ids) in registry.postings().names() {
                if self.any_present(&registry, &places, &mut ids, &range)? {
                    names.insert(name.to_string());
                }
            }
            return Ok(names.into_iter().collect());
        }
        for labels in self.series(tenant, matchers, first_ms, last_ms)? {
            for (name, _) in labels.iter() {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Values of the label `name` among the matching series with a sample in the range; sorted. No matchers: all series.
    ///
    /// # Errors
    /// IO.
    pub fn label_values(
        &self,
        tenant: &Tenant,
        name: &str,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<String>, StoreError> {
        let mut values = BTreeSet::new();
        if matchers.is_empty() {
            let range = first_ms..=last_ms;
            let places = self.places(tenant, &range)?;
            let catalog = if places.is_empty() { return Ok(Vec::new()) } else { self.inner.catalog(tenant) };
            let registry = catalog.read();
            for (value, ids) in registry.postings().values(name) {
                if self.any_present(&registry, &places, &mut ids.iter().copied(), &range)? {
                    values.insert(value.to_string());
                }
            }
            return Ok(values.into_iter().collect());
        }
        for labels in self.series(tenant, matchers, first_ms, last_ms)? {
            if let Some(value) = labels.get(name)
                && !values.contains(value)
            {
                values.insert(value.to_owned());
            }
        }
        Ok(values.into_iter().collect())
    }

    /// Whether one of the series has a sample in the range; mostly the first one tells.
    fn any_present(
        &self,
        registry: &Registry,
        places: &[Spared],
        ids: &mut dyn Iterator<Item = SeriesId>,
        range: &RangeInclusive<i64>,
    ) -> Result<bool, StoreError> {
        for id in ids {
            for (place, deleted) in places {
                let gone = registry.labels(id).map(|labels| gone(deleted, labels)).unwrap_or_default();
                let here = match place {
                    Place::Segment(index) => match index.position(id).map(|p| has_sample(index, p, range, &gone)) {
                        Some(Ok(has)) => has,
                        // Damage is reported and this segment not believed.
                        Some(Err(e)) => self.inner.tolerate(index, e).map(|()| false)?,
                        None => false,
                    },
                    Place::Part(part) => {
                        let slots = part.read();
                        slots.position(id).is_some_and(|p| in_slot(&slots.slots()[p as usize], range, &gone))
                    }
                };
                if here {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// See [`crate::Reader::metadata`]. After a restart this opens the tenant's segments, the newest first.
    #[must_use]
    pub fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, MetricKind, String, String)> {
        let mut families: Families = self.heads.get(tenant).map(|h| h.families.lock().clone()).unwrap_or_default();
        for meta in self.segments_of(tenant).into_iter().rev() {
            match self.inner.open(meta, tenant) {
                Ok(Some(index)) => families.complete(&index.families),
                Ok(None) => {}
                Err(StoreError::Corrupt { reason, .. }) => self.inner.damaged(meta, &reason),
                Err(e) => tracing::warn!(segment = %meta.file, error = %e, "metric metadata not read"),
            }
        }
        families.list(family)
    }
}

fn overlaps(range: &RangeInclusive<i64>, first: i64, last: i64) -> bool {
    first <= *range.end() && last >= *range.start()
}

/// Whether times (ascending) from `first` to `last` have one in the range; reads them only where the ends do not tell.
fn any_in<T: AsRef<[i64]>, E>(
    range: &RangeInclusive<i64>,
    first: i64,
    last: i64,
    times: impl FnOnce() -> Result<T, E>,
) -> Result<bool, E> {
    if !overlaps(range, first, last) {
        return Ok(false);
    }
    if range.contains(&first) || range.contains(&last) {
        return Ok(true);
    }
    let times = times()?;
    let times = times.as_ref();
    Ok(times.get(times.partition_point(|t| t < range.start())).is_some_and(|t| t <= range.end()))
}

/// Whether a series of a head part has a sample in the range that is not gone.
fn in_slot(slot: &Slot, range: &RangeInclusive<i64>, gone: &[RangeInclusive<i64>]) -> bool {
    if gone.is_empty() || !slot.has_sample(range) {
        return slot.has_sample(range);
    }
    let mut all = Gathered::default();
    // Runs coded here are read here.
    let read = slot.gather(range, &mut Scratch::default(), &mut all);
    all.forget((0, 0), gone);
    read.is_ok() && all.len() > 0
}

fn has_sample(
    index: &SegmentIndex,
    position: u32,
    range: &RangeInclusive<i64>,
    gone: &[RangeInclusive<i64>],
) -> Result<bool, StoreError> {
    if !gone.is_empty() {
        for run in index.runs(position).iter().filter(|r| r.kind != Kind::Exemplars && overlaps(range, r.first, r.last)) {
            let stays = |time: &i64| range.contains(time) && !gone.iter().any(|g| g.contains(time));
            if index.times(run)?.iter().any(stays) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    for run in index.runs(position).iter().filter(|run| run.kind != Kind::Exemplars) {
        if any_in(range, run.first, run.last, || index.times(run))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the exemplars that a series has in a segment.
fn read_exemplars(
    index: &SegmentIndex,
    position: u32,
    range: &RangeInclusive<i64>,
    gone: &[RangeInclusive<i64>],
    out: &mut Vec<Exemplar>,
) -> Result<(), StoreError> {
    let here = |run: &&Run| run.kind == Kind::Exemplars && run.overlaps(range);
    for run in index.runs(position).iter().filter(here) {
        let coded = index.bytes(run.place())?;
        let all = unseal(&coded).and_then(decode_exemplars).map_err(|e| index.damaged(e))?;
        out.extend(all.into_iter().filter(|e| range.contains(&e.time) && !gone.iter().any(|g| g.contains(&e.time))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_visited_in_the_order_of_time_where_they_do_not_overlap() {
        // In the order in which they were written: what they span, and where each is visited.
        let written = [(70, 80), (10, 20), (30, 50), (40, 60), (35, 38), (20, 25)];
        let all: Vec<SegmentMeta> = (0..)
            .zip(written)
            .map(|(id, (first, last))| SegmentMeta {
                id,
                tenant: String::new(),
                signal: Signal::Metrics.as_str().to_owned(),
                hour: 0,
                file: String::new(),
                format: 1,
                first,
                last,
                rows: 1,
                bytes: 1,
                level: 0,
                first_sequence: id,
                last_sequence: id,
                deleted_to: 0,
                apart: false,
            })
            .collect();
        let order: Vec<u64> = in_time(all.iter().collect()).into_iter().map(|s| s.id).collect();
        assert_eq!(order, [1, 5, 2, 3, 4, 0]);
    }
}
