//! A detached part of the head becomes segments.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use model::Tenant;
use parking_lot::Mutex;

use super::Inner;
use super::chunk::{Scratch, decode_values};
use super::head::{Part, Slot, Slots};
use super::merge::Gathered;
use super::metadata::Families;
use super::registry::SeriesId;
use super::write::SegmentWriter;
use crate::table::Frozen;
use crate::{SegmentMeta, StoreError};

const DAY_MS: i64 = 24 * 3_600_000;
/// So many days get a segment each; what is older goes into one together, whatever times a sender makes up.
const DAYS: usize = 4;

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
            let slots = part.read();
            let mut order: Vec<(SeriesId, u32)> = slots.slots().iter().zip(0..).map(|(s, at)| (s.id, at)).collect();
            sort_by_labels(part, &mut order);
            for range in partitions(&slots) {
                let hour = range.start().div_euclid(DAY_MS) * 24;
                written.push(write_partition(&self.inner, tenant, hour, &range, &slots, &order, metadata.clone())?);
            }
        }
        Ok(written)
    }

    fn forget(self: Box<Self>) {
        let mut heads = self.inner.heads.write();
        let mut next = (**heads).clone();
        for (tenant, _, part) in &self.parts {
            let Some(head) = next.get_mut(tenant) else { continue };
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
    let mut days = BTreeSet::new();
    let mut add = |time: i64| {
        days.insert(time.div_euclid(DAY_MS));
    };
    for slot in slots.slots() {
        for run in &slot.sealed {
            if run.first().div_euclid(DAY_MS) == run.last().div_euclid(DAY_MS) {
                add(run.first());
            } else {
                run.times.iter().for_each(|t| add(*t));
            }
        }
        match slot.open_span() {
            Some((first, last)) if first.div_euclid(DAY_MS) == last.div_euclid(DAY_MS) => add(first),
            Some(_) => slot.open().for_each(|(t, _)| add(t)),
            None => {}
        }
    }
    let day = |d: i64| d.saturating_mul(DAY_MS)..=d.saturating_mul(DAY_MS).saturating_add(DAY_MS - 1);
    let days: Vec<i64> = days.into_iter().collect();
    let (old, recent) = days.split_at(days.len().saturating_sub(DAYS));
    let old = old.first().zip(old.last()).map(|(first, last)| *day(*first).start()..=*day(*last).end());
    old.into_iter().chain(recent.iter().map(|d| day(*d))).collect()
}

fn write_partition(
    inner: &Inner,
    tenant: &Tenant,
    hour: i64,
    range: &RangeInclusive<i64>,
    slots: &Slots,
    order: &[(SeriesId, u32)],
    metadata: String,
) -> Result<SegmentMeta, StoreError> {
    let mut writer = SegmentWriter::create(&*inner.segments, tenant, hour, 0)?;
    let (mut scratch, mut gathered, mut values) = (Scratch::default(), Gathered::default(), Vec::new());
    for (_, at) in order {
        let slot: &Slot = &slots.slots()[*at as usize];
        gathered.clear();
        for run in slot.sealed.iter().filter(|r| r.first() <= *range.end() && r.last() >= *range.start()) {
            values.clear();
            decode_values(&run.values, run.times.len(), &mut scratch, &mut values)
                .map_err(StoreError::columns("a run in memory"))?;
            gathered.add(&run.times, &values, range);
        }
        slot.open().filter(|(time, _)| range.contains(time)).for_each(|(time, value)| gathered.push(time, value));
        if gathered.len() > 0 {
            gathered.settle();
            writer.next_series();
            writer.samples(&slot.labels, &gathered.times, &gathered.values)?;
        }
    }
    writer.finish(metadata)
}
