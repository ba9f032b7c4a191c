//! A detached part of the head becomes segments.

use std::collections::BTreeSet;
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

impl Frozen for FrozenSamples {
    fn write(&self) -> Result<Vec<SegmentMeta>, StoreError> {
        let mut written = Vec::new();
        for (tenant, families, part) in &self.parts {
            let metadata = families.lock().to_json();
            let (slots, deleted) = (part.read(), part.deleted());
            let mut order: Vec<(SeriesId, u32)> = slots.slots().iter().zip(0..).map(|(s, at)| (s.id, at)).collect();
            sort_by_labels(part, &mut order);
            for range in partitions(&slots) {
                let hour = range.start().div_euclid(SPAN_MS) * SPAN_HOURS;
                written.extend(write_partition(&self.inner, tenant, hour, &range, &slots, &order, metadata.clone(), &deleted)?);
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

#[expect(clippy::too_many_arguments, reason = "one call, and a struct would have one use")]
fn write_partition(
    inner: &Inner,
    tenant: &Tenant,
    hour: i64,
    range: &RangeInclusive<i64>,
    slots: &Slots,
    order: &[(SeriesId, u32)],
    metadata: String,
    deleted: &[Arc<Tombstone>],
) -> Result<Option<SegmentMeta>, StoreError> {
    let mut writer = SegmentWriter::create(&*inner.segments, tenant, hour, 0)?;
    let (mut scratch, mut gathered) = (Scratch::default(), Gathered::default());
    for (_, at) in order {
        let slot: &Slot = &slots.slots()[*at as usize];
        gathered.clear();
        slot.gather(range, &mut scratch, &mut gathered).map_err(StoreError::columns("a run in memory"))?;
        let gone = gone(deleted, &slot.labels);
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
    if writer.is_empty() {
        return Ok(None);
    }
    writer.finish(metadata).map(Some)
}
