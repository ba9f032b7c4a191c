//! What can be asked of the samples: a consistent set of segments and head parts, and the paths through them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use model::{Labels, Tenant};
use wire::{MetricKind, Signal};

use super::chunk::Scratch;
use super::exemplars::{decode_exemplars, settle};
use super::format::Kind;
use super::head::Part;
use super::index::{Run, SegmentIndex, unseal};
use super::merge::Gathered;
use super::metadata::Families;
use super::postings::select;
use super::registry::SeriesId;
use super::{Inner, Tenants};
use crate::{Exemplar, LabelMatcher, SegmentMeta, SeriesExemplars, SeriesSamples, SeriesStream, StoreError};

/// Series that are read together: so long the lock of a head part is held, so far reads of a file are joined.
const BATCH: usize = 128;
/// Runs that stand no further apart in a file are read at once.
const GAP: u64 = 8 << 10;
/// Bytes that are read at once, at most.
const READ: u64 = 1 << 20;

/// Samples as of one moment: the segments that the manifest named then and all parts of the heads. Samples that come
/// later may be seen, those that were there are seen.
#[derive(Clone)]
pub struct SeriesView {
    inner: Arc<Inner>,
    heads: Arc<Tenants>,
    segments: Arc<Vec<Arc<SegmentMeta>>>,
}

/// Where samples of a series are.
#[derive(Clone)]
enum Place {
    Segment(Arc<SegmentIndex>),
    Part(Arc<Part>),
}

/// A series and its places: which, and where in it.
struct Planned {
    labels: Arc<Labels>,
    places: Vec<(u16, u32)>,
}

/// A query with its series looked up.
struct Plan {
    places: Vec<Place>,
    series: Vec<Planned>,
    range: RangeInclusive<i64>,
}

impl SeriesView {
    pub(super) fn new(inner: Arc<Inner>, heads: Arc<Tenants>, segments: Arc<Vec<Arc<SegmentMeta>>>) -> Self {
        Self { inner, heads, segments }
    }

    /// The tenant's segments, the first written first.
    fn segments_of<'a>(&'a self, tenant: &'a Tenant) -> Vec<&'a SegmentMeta> {
        let mine = |s: &&SegmentMeta| s.signal == Signal::Metrics.as_str() && s.tenant == tenant.as_str();
        let mut segments: Vec<&SegmentMeta> =
            self.segments.iter().map(|s| &**s).filter(mine).filter(|s| !self.inner.is_broken(s)).collect();
        segments.sort_by_key(|s| (s.first_sequence, s.first, s.id));
        segments
    }

    /// Opens what may hold samples of the range, damaged segments excepted: those are reported and left out.
    fn places(&self, tenant: &Tenant, range: &RangeInclusive<i64>) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::new();
        for meta in self.segments_of(tenant) {
            let catalog = self.inner.catalog(tenant);
            let (first, last) = (meta.first.div_euclid(1_000_000), meta.last.div_euclid(1_000_000));
            if first <= *range.end() && last >= *range.start() {
                match self.inner.cache.open(&*self.inner.segments, meta, &catalog) {
                    Ok(index) => places.push(Place::Segment(index)),
                    Err(StoreError::Corrupt { reason, .. }) => self.inner.damaged(meta, &reason),
                    Err(e) => return Err(e),
                }
            }
        }
        if let Some(head) = self.heads.get(tenant) {
            places.extend(head.parts.iter().map(|part| Place::Part(Arc::clone(part))));
        }
        Ok(places)
    }

    /// Looks the series up, in the order of their labels.
    fn plan(&self, tenant: &Tenant, matchers: &[LabelMatcher], first_ms: i64, last_ms: i64) -> Result<Plan, StoreError> {
        let range = first_ms..=last_ms;
        if range.is_empty() {
            return Ok(Plan { places: Vec::new(), series: Vec::new(), range });
        }
        let places = self.places(tenant, &range)?;
        if places.is_empty() {
            // Nor is a tenant made up by being asked for.
            return Ok(Plan { places, series: Vec::new(), range });
        }
        let catalog = self.inner.catalog(tenant);
        let registry = catalog.read();
        let mut ids: Vec<SeriesId> = select(&registry, matchers);
        catalog.sort(&registry, &mut ids);
        let mut series: Vec<Planned> =
            ids.iter().filter_map(|id| Some(Planned { labels: Arc::clone(registry.labels(*id)?), places: Vec::new() })).collect();
        for (at, place) in places.iter().enumerate() {
            match place {
                Place::Segment(index) => {
                    for (id, planned) in ids.iter().zip(&mut series) {
                        if let Some(position) = index.position(*id)
                            && index.runs(position).iter().any(|r| overlaps(&range, r.first, r.last))
                        {
                            planned.places.push((at as u16, position));
                        }
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (id, planned) in ids.iter().zip(&mut series) {
                        if let Some(position) = slots.position(*id) {
                            planned.places.push((at as u16, position));
                        }
                    }
                }
            }
        }
        drop(registry);
        series.retain(|s| !s.places.is_empty());
        Ok(Plan { places, series, range })
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
        let plan = self.plan(tenant, matchers, first_ms, last_ms)?;
        let mut found = vec![false; plan.series.len()];
        for (at, place) in plan.places.iter().enumerate() {
            let here = |s: &Planned| s.places.iter().find(|(p, _)| usize::from(*p) == at).map(|(_, position)| *position);
            let open = plan.series.iter().zip(&mut found).filter(|(_, found)| !**found);
            match place {
                Place::Segment(index) => {
                    for (series, found) in open {
                        let Some(position) = here(series) else { continue };
                        match has_sample(index, position, &plan.range) {
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
                    for (series, found) in open {
                        *found = here(series).is_some_and(|p| slots.slots()[p as usize].has_sample(&plan.range));
                    }
                }
            }
        }
        Ok(plan.series.into_iter().zip(found).filter(|(_, found)| *found).map(|(s, _)| s.labels).collect())
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
        let plan = self.plan(tenant, matchers, first_ms, last_ms)?;
        Ok(Box::new(Samples {
            inner: Arc::clone(&self.inner),
            places: plan.places,
            series: plan.series.into_iter(),
            range: plan.range,
            ready: Vec::new().into_iter(),
            scratch: Scratch::default(),
        }))
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
        let plan = self.plan(tenant, matchers, first_ms, last_ms)?;
        let mut found: Vec<Vec<Exemplar>> = plan.series.iter().map(|_| Vec::new()).collect();
        for (at, place) in plan.places.iter().enumerate() {
            let here = |s: &Planned| s.places.iter().find(|(p, _)| usize::from(*p) == at).map(|(_, position)| *position);
            let here = plan.series.iter().zip(&mut found).filter_map(|(s, found)| Some((here(s)?, found)));
            match place {
                Place::Segment(index) => {
                    for (position, found) in here {
                        if let Err(e) = read_exemplars(index, position, &plan.range, found) {
                            self.inner.tolerate(index, e)?;
                            break;
                        }
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (position, found) in here {
                        let recent = slots.slots()[position as usize].rare().into_iter().flat_map(|r| r.exemplars.iter());
                        found.extend(recent.filter(|e| plan.range.contains(&e.time)).cloned());
                    }
                }
            }
        }
        found.iter_mut().for_each(|exemplars| settle(exemplars, usize::MAX));
        let all = plan.series.into_iter().zip(found).filter(|(_, exemplars)| !exemplars.is_empty());
        Ok(all.map(|(s, exemplars)| SeriesExemplars { labels: s.labels, exemplars }).collect())
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
                if self.any_present(&places, &mut ids, &range)? {
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
                if self.any_present(&places, &mut ids.iter().copied(), &range)? {
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
        places: &[Place],
        ids: &mut dyn Iterator<Item = SeriesId>,
        range: &RangeInclusive<i64>,
    ) -> Result<bool, StoreError> {
        for id in ids {
            for place in places {
                let here = match place {
                    Place::Segment(index) => match index.position(id).map(|p| has_sample(index, p, range)) {
                        Some(Ok(has)) => has,
                        // Damage is reported and this segment not believed.
                        Some(Err(e)) => self.inner.tolerate(index, e).map(|()| false)?,
                        None => false,
                    },
                    Place::Part(part) => {
                        let slots = part.read();
                        slots.position(id).is_some_and(|p| slots.slots()[p as usize].has_sample(range))
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
            let catalog = self.inner.catalog(tenant);
            match self.inner.cache.open(&*self.inner.segments, meta, &catalog) {
                Ok(index) => families.complete(&index.families),
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

fn has_sample(index: &SegmentIndex, position: u32, range: &RangeInclusive<i64>) -> Result<bool, StoreError> {
    for run in index.runs(position).iter().filter(|run| run.kind != Kind::Exemplars) {
        if any_in(range, run.first, run.last, || index.times(run))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The series of a plan with their samples, read in batches.
struct Samples {
    inner: Arc<Inner>,
    places: Vec<Place>,
    series: std::vec::IntoIter<Planned>,
    range: RangeInclusive<i64>,
    ready: std::vec::IntoIter<SeriesSamples>,
    scratch: Scratch,
}

impl Iterator for Samples {
    type Item = Result<SeriesSamples, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(series) = self.ready.next() {
                return Some(Ok(series));
            }
            let batch: Vec<Planned> = self.series.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return None;
            }
            match self.read(batch) {
                Ok(series) => self.ready = series.into_iter(),
                Err(e) => {
                    self.series = Vec::new().into_iter();
                    return Some(Err(e));
                }
            }
        }
    }
}

impl Samples {
    fn read(&mut self, batch: Vec<Planned>) -> Result<Vec<SeriesSamples>, StoreError> {
        let mut gathered: Vec<Gathered> = batch.iter().map(|_| Gathered::default()).collect();
        let mut damaged = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            let here: Vec<(usize, u32)> = batch
                .iter()
                .enumerate()
                .filter_map(|(i, s)| Some((i, s.places.iter().find(|(p, _)| usize::from(*p) == at)?.1)))
                .collect();
            if here.is_empty() {
                continue;
            }
            match place {
                Place::Segment(index) => {
                    if let Err(e) = read_segment(index, &here, &self.range, &mut self.scratch, &mut gathered) {
                        self.inner.tolerate(index, e)?;
                        damaged.push(at);
                    }
                }
                Place::Part(part) => {
                    let slots = part.read();
                    for (i, position) in here {
                        let slot = &slots.slots()[position as usize];
                        slot.gather(&self.range, &mut self.scratch, &mut gathered[i])
                            .map_err(StoreError::columns("a run in memory"))?;
                    }
                }
            }
        }
        // A damaged segment is out of service: nothing more is read from it.
        for at in damaged {
            for series in self.series.as_mut_slice() {
                series.places.retain(|(p, _)| usize::from(*p) != at);
            }
        }
        let series = batch.into_iter().zip(gathered).filter_map(|(planned, mut g)| {
            g.settle();
            let Gathered { times, values, starts, histograms, .. } = g;
            let any = !times.is_empty() || !histograms.is_empty();
            any.then_some(SeriesSamples { labels: planned.labels, times, values, starts, histograms })
        });
        Ok(series.collect())
    }
}

/// Adds the exemplars that a series has in a segment.
fn read_exemplars(
    index: &SegmentIndex,
    position: u32,
    range: &RangeInclusive<i64>,
    out: &mut Vec<Exemplar>,
) -> Result<(), StoreError> {
    let here = |run: &&Run| run.kind == Kind::Exemplars && overlaps(range, run.first, run.last);
    for run in index.runs(position).iter().filter(here) {
        let coded = index.bytes(run.place())?;
        let all = unseal(&coded).and_then(decode_exemplars).map_err(|e| index.damaged(e))?;
        out.extend(all.into_iter().filter(|e| range.contains(&e.time)));
    }
    Ok(())
}

/// Adds what several series have in a segment; runs that stand close together are read at once.
fn read_segment(
    index: &SegmentIndex,
    wanted: &[(usize, u32)],
    range: &RangeInclusive<i64>,
    scratch: &mut Scratch,
    out: &mut [Gathered],
) -> Result<(), StoreError> {
    let runs: Vec<(usize, &Run)> = wanted
        .iter()
        .flat_map(|(i, position)| index.runs(*position).iter().map(move |run| (*i, run)))
        .filter(|(_, run)| run.kind != Kind::Exemplars && overlaps(range, run.first, run.last))
        .collect();
    let mut rest = &runs[..];
    while let Some(((_, head), _)) = rest.split_first() {
        let mut place = head.place();
        let mut n = 1;
        for (_, run) in &rest[1..] {
            let next = run.place();
            if next.start < place.end || next.start - place.end > GAP || next.end - place.start > READ {
                break;
            }
            place.end = next.end;
            n += 1;
        }
        let bytes = index.bytes(place.clone())?;
        let (now, later) = rest.split_at(n);
        rest = later;
        for (i, run) in now {
            let at = run.place();
            let coded = bytes.get((at.start - place.start) as usize..(at.end - place.start) as usize);
            let coded = unseal(coded.unwrap_or_default()).map_err(|e| index.damaged(e))?;
            let times = index.times(run)?;
            let decoded = match run.kind {
                Kind::Histograms => out[*i].decode_histograms(&times, coded, range, scratch),
                _ => out[*i].decode(&times, coded, range, scratch),
            };
            decoded.map_err(|e| index.damaged(e))?;
        }
    }
    Ok(())
}
