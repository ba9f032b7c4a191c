//! A detached part of the head becomes segments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Tenant;
use parking_lot::Mutex;

use super::Inner;
use super::chunk::Scratch;
use super::head::{Part, Slot, Slots};
use super::merge::Gathered;
use super::metadata::Families;
use super::registry::SeriesId;
use super::view::gone;
use super::write::SegmentWriter;
use crate::table::Frozen;
use crate::{Exemplar, SegmentMeta, StoreError, Tombstone};

/// What a segment spans: three runs of 480 samples at one every 15 s. The engine merges what begins in one such span.
const SPAN_HOURS: i64 = 6;
const SPAN_MS: i64 = SPAN_HOURS * 3_600_000;
/// So many spans get a segment each; what is older goes into one together, whatever times a sender makes up.
const SPANS: usize = 8;

/// Parts that were detached together.
pub(super) struct FrozenSamples {
    pub inner: Arc<Inner>,
    pub parts: Vec<(Tenant, Arc<Mutex<Families>>, Arc<Part>)>,
}

/// A part as it is written.
struct Ordered<'a> {
    tenant: &'a Tenant,
    families: &'a Mutex<Families>,
    part: &'a Part,
    /// Series in the order of their labels, with their slots.
    order: Vec<(SeriesId, u32)>,
    deleted: Vec<Arc<Tombstone>>,
}

impl<'a> Ordered<'a> {
    fn new((tenant, families, part): &'a (Tenant, Arc<Mutex<Families>>, Arc<Part>)) -> Self {
        let mut order: Vec<(SeriesId, u32)> = part.read().slots().iter().zip(0..).map(|(s, at)| (s.id, at)).collect();
        sort_by_labels(part, &mut order);
        Self { tenant, families, part, order, deleted: part.deleted() }
    }
}

impl FrozenSamples {
    /// The parts that get segments of their own, and those of small tenants, which are written together.
    fn shares(&self) -> (Vec<Ordered<'_>>, Vec<Ordered<'_>>) {
        let mut parts: HashMap<&Tenant, usize> = HashMap::new();
        self.parts.iter().for_each(|(tenant, ..)| *parts.entry(tenant).or_default() += 1);
        // In a shared segment a series stands once: deletions may have left several parts of one tenant.
        let is_small = |o: &Ordered<'_>| o.part.bytes() < self.inner.options.share_below && parts.get(o.tenant) == Some(&1);
        let (mut few, mut many): (Vec<_>, Vec<_>) = self.parts.iter().map(Ordered::new).partition(is_small);
        if few.len() < 2 {
            many.append(&mut few);
        }
        few.sort_by(|a, b| a.tenant.as_str().cmp(b.tenant.as_str()));
        (many, few)
    }
}

impl Frozen for FrozenSamples {
    fn write(&self) -> Result<Vec<SegmentMeta>, StoreError> {
        let mut written = Vec::new();
        let hour = |range: &RangeInclusive<i64>| range.start().div_euclid(SPAN_MS) * SPAN_HOURS;
        let (many, few) = self.shares();
        for one in &many {
            for range in partitions(&one.part.read()) {
                written.extend(write_partition(&self.inner, hour(&range), &[(one, range)])?);
            }
        }
        let mut together: BTreeMap<i64, Vec<(&Ordered<'_>, RangeInclusive<i64>)>> = BTreeMap::new();
        for one in &few {
            for range in partitions(&one.part.read()) {
                together.entry(hour(&range)).or_default().push((one, range));
            }
        }
        for (hour, share) in together {
            // What is old is one range, whatever it spans: it may begin in the same hours as another.
            let (mut rest, mut next) = (share, Vec::new());
            while !rest.is_empty() {
                let mut last: Option<&Tenant> = None;
                let mut now = Vec::new();
                for (one, range) in rest {
                    let again = last == Some(one.tenant);
                    last = Some(one.tenant);
                    if again { next.push((one, range)) } else { now.push((one, range)) }
                }
                written.extend(write_partition(&self.inner, hour, &now)?);
                rest = std::mem::take(&mut next);
            }
        }
        Ok(written)
    }

    fn forget(self: Box<Self>) {
        let mut heads = self.inner.heads.write();
        let mut next = (**heads).clone();
        for (tenant, _, part) in &self.parts {
            let Some(head) = next.get_mut(tenant) else { continue };
            self.inner.bytes.fetch_sub(part.bytes(), Ordering::Relaxed);
            head.parts.retain(|p| !Arc::ptr_eq(p, part));
            let mut registry = head.catalog.write();
            let ids: Vec<SeriesId> = part.read().slots().iter().map(|s| s.id).collect();
            ids.iter().for_each(|id| registry.retain(*id));
            if let Some(earlier) = self.inner.recent.lock().insert(tenant.clone(), ids) {
                head.catalog.release(earlier);
            }
        }
        *heads = Arc::new(next);
        drop(heads);
        let catalogs: Vec<_> = self.parts.iter().map(|(_, _, part)| Arc::clone(part.catalog())).collect();
        drop(self);
        catalogs.iter().for_each(|c| c.tidy());
    }
}

fn sort_by_labels(part: &Part, order: &mut [(SeriesId, u32)]) {
    let catalog = part.catalog();
    let mut ids: Vec<SeriesId> = order.iter().map(|(id, _)| *id).collect();
    // The part holds its numbers, so that they stay what they are; the lock is held for the sort only.
    catalog.sort(&catalog.read(), &mut ids);
    let position: hashbrown::HashMap<SeriesId, u32> = order.iter().copied().collect();
    for (at, id) in order.iter_mut().zip(ids) {
        *at = (id, position.get(&id).copied().unwrap_or(at.1));
    }
}

/// Ranges of time that get a segment each.
fn partitions(slots: &Slots) -> Vec<RangeInclusive<i64>> {
    let mut spans = BTreeSet::new();
    let mut add = |time: i64| {
        spans.insert(time.div_euclid(SPAN_MS));
    };
    for slot in slots.slots() {
        let rare = slot.rare();
        if let Some(rare) = rare {
            rare.open.iter().for_each(|h| add(h.time));
            rare.exemplars.iter().for_each(|e| add(e.time));
        }
        for run in slot.sealed.iter().chain(rare.into_iter().flat_map(|r| &r.sealed)) {
            if run.first().div_euclid(SPAN_MS) == run.last().div_euclid(SPAN_MS) {
                add(run.first());
            } else {
                run.times.iter().for_each(|t| add(*t));
            }
        }
        match slot.open_span() {
            Some((first, last)) if first.div_euclid(SPAN_MS) == last.div_euclid(SPAN_MS) => add(first),
            Some(_) => slot.open().for_each(|(t, _)| add(t)),
            None => {}
        }
    }
    let span = |s: i64| s.saturating_mul(SPAN_MS)..=s.saturating_mul(SPAN_MS).saturating_add(SPAN_MS - 1);
    let spans: Vec<i64> = spans.into_iter().collect();
    let (old, recent) = spans.split_at(spans.len().saturating_sub(SPANS));
    let old = old.first().zip(old.last()).map(|(first, last)| *span(*first).start()..=*span(*last).end());
    old.into_iter().chain(recent.iter().map(|s| span(*s))).collect()
}

/// Writes the samples of some parts, each within its range, as a segment: one tenant's, or by tenant.
fn write_partition(
    inner: &Inner,
    hour: i64,
    share: &[(&Ordered<'_>, RangeInclusive<i64>)],
) -> Result<Option<SegmentMeta>, StoreError> {
    let owner = match share {
        [] => return Ok(None),
        [(one, _)] => one.tenant.as_str(),
        _ => SegmentMeta::SHARED,
    };
    let mut writer = SegmentWriter::create(&*inner.segments, owner, hour, 0)?;
    for (one, range) in share {
        if share.len() > 1 {
            writer.next_tenant(one.tenant.as_str(), one.families.lock().to_json());
        }
        write_part(&mut writer, one, range)?;
    }
    if writer.is_empty() {
        return Ok(None);
    }
    let metadata = if share.len() > 1 { "{}".to_owned() } else { share[0].0.families.lock().to_json() };
    writer.finish(metadata).map(Some)
}

fn write_part(writer: &mut SegmentWriter, one: &Ordered<'_>, range: &RangeInclusive<i64>) -> Result<(), StoreError> {
    let slots = one.part.read();
    let (mut scratch, mut gathered) = (Scratch::default(), Gathered::default());
    for (_, at) in &one.order {
        let slot: &Slot = &slots.slots()[*at as usize];
        gathered.clear();
        slot.gather(range, &mut scratch, &mut gathered).map_err(StoreError::columns("a run in memory"))?;
        let gone = gone(&one.deleted, &slot.labels);
        gathered.forget((0, 0), &gone);
        let stays = |time: i64| range.contains(&time) && !gone.iter().any(|g| g.contains(&time));
        let recent = slot.rare().into_iter().flat_map(|r| r.exemplars.iter());
        let exemplars: Vec<Exemplar> = recent.filter(|e| stays(e.time)).cloned().collect();
        if gathered.len() + exemplars.len() > 0 {
            gathered.settle();
            writer.next_series();
            writer.samples(&slot.labels, &gathered)?;
            writer.exemplars(&slot.labels, &exemplars)?;
        }
    }
    Ok(())
}
