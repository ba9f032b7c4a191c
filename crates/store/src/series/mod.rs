//! The table of samples: series in a head, runs of samples in segments, and the way back.
//!
//! *Head.* A tenant has a registry of label sets (number, postings, spellings: [`registry`]) and parts ([`head`]): one
//! that grows and those that are being written. A request's series is found by one hash of its raw label bytes; its
//! sample is pushed to the open run of that series; at 120 samples a run is coded. Native histograms have runs of their own
//! ([`histograms`]), start timestamps stand beside the runs ([`starts`]), exemplars beside the series ([`exemplars`]); a
//! series without them pays a pointer for them ([`rare`]).
//!
//! *Segments.* A detached part becomes one Parquet file for every six hours, parts of small tenants one together
//! ([`mod@format`], [`mod@flush`], [`write`]): the partition (`hour`
//! of [`SegmentMeta`]) is the first of them, so that segments of one `hour` are those to merge. Merging joins short runs
//! and hands long ones on as they are ([`compact`]).
//!
//! *View.* [`SeriesView`] is a set of segments and parts of one moment. A matcher is answered once for all of them from
//! the tenant's postings, as the series of open segments are in the same registry ([`view`], [`index`], [`cache`]). What it
//! chose is read in parts, by several threads ([`chosen`]); decoded runs are kept within a budget ([`decoded`]).
//!
//! # What is one sample
//! A series and a time (milliseconds). The value that was kept first stays: a second one with the same bits is a retry
//! and ignored, another value is refused as `duplicate sample for timestamp`. That is judged against the head; against
//! segments the merge at reading and compaction lets the first written win. A sample older than the newest of its series
//! by more than the window (30 minutes) is refused as `too old sample`, without a window as `out of order sample`; the first
//! sample of a series that is not in
//! memory may have any age. A sample more than ten minutes ahead of the moment at which its request came in is refused as `out of
//! bounds`: one with microseconds for milliseconds would keep all later ones of its series out.

mod cache;
mod chosen;
mod chunk;
mod compact;
mod decoded;
mod deltas;
mod exemplars;
mod flush;
mod format;
mod head;
mod histograms;
mod index;
mod merge;
mod metadata;
mod newest;
mod postings;
mod rare;
mod registry;
mod starts;
mod times;
mod totals;
mod varint;
mod view;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Histogram, Labels, Tenant};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use wire::{Limits, MetricKind, RawLabels, SampleSink, Summary};

use self::cache::IndexCache;
use self::decoded::DecodedCache;
use self::deltas::Waiting;
use self::flush::FrozenSamples;
use self::head::{Part, Slots, Taken, When};
use self::index::{Loaded, SegmentIndex};
use self::metadata::Families;
pub use self::newest::Newest;
use self::registry::{Catalog, Found, Registry, SeriesId};
pub(crate) use self::totals::{Amount, Total};
pub use self::view::SeriesView;
use crate::table::{Frozen, Record, Table};
use crate::{Exemplar, SegmentMeta, Segments, StoreError, Tombstone, deletes};

/// What may be chosen.
#[derive(Debug, Clone)]
pub struct SeriesOptions {
    /// How much older than the newest sample of its series a sample may be, milliseconds.
    pub out_of_order_ms: i64,
    /// Bytes that indexes of open segments may hold.
    pub index_bytes: usize,
    /// Bytes that decoded runs may hold, kept for the next query over them.
    pub decoded_bytes: usize,
    /// See [`wire::Limits::custom_buckets`].
    pub custom_buckets: bool,
    /// Series that a tenant may have in the head; samples of more are refused. `usize::MAX`: as many as there is memory for.
    pub max_series: usize,
    /// The same for these tenants.
    pub max_series_of: HashMap<String, usize>,
    /// See [`crate::Options::share_below`].
    pub share_below: usize,
}

impl SeriesOptions {
    fn most(&self, tenant: &Tenant) -> usize {
        self.max_series_of.get(tenant.as_str()).copied().unwrap_or(self.max_series)
    }
}

impl Default for SeriesOptions {
    fn default() -> Self {
        Self {
            out_of_order_ms: 30 * 60 * 1000,
            index_bytes: 64 << 20,
            decoded_bytes: 64 << 20,
            custom_buckets: false,
            max_series: usize::MAX,
            max_series_of: HashMap::new(),
            share_below: crate::Options::SHARE_BELOW,
        }
    }
}

/// A tenant's part of the head.
#[derive(Debug, Clone)]
struct Head {
    catalog: Arc<Catalog>,
    families: Arc<Mutex<Families>>,
    /// The oldest first; the last one grows.
    parts: Vec<Arc<Part>>,
}

/// All heads as of one moment.
type Tenants = HashMap<Tenant, Head>;

/// What the table and its views share.
struct Inner {
    segments: Arc<dyn Segments>,
    options: SeriesOptions,
    cache: IndexCache,
    decoded: DecodedCache,
    heads: RwLock<Arc<Tenants>>,
    /// Bytes of samples in all parts.
    bytes: AtomicUsize,
    /// Held while a record is applied, so that a part is detached between records.
    applying: Mutex<()>,
    /// The series of the part that was forgotten last: they keep their newest sample for the next part.
    recent: Mutex<HashMap<Tenant, Vec<SeriesId>>>,
    /// Segments that were found damaged.
    broken: Mutex<HashSet<u64>>,
}

/// The samples.
pub struct SeriesTable {
    inner: Arc<Inner>,
    limits: Limits,
}

impl SeriesTable {
    /// A table with an empty head over these segments.
    #[must_use]
    pub fn new(segments: Arc<dyn Segments>, options: SeriesOptions) -> Self {
        let custom_buckets = options.custom_buckets;
        let inner = Inner {
            segments,
            cache: IndexCache::new(options.index_bytes),
            decoded: DecodedCache::new(options.decoded_bytes),
            options,
            heads: RwLock::default(),
            bytes: AtomicUsize::new(0),
            applying: Mutex::new(()),
            recent: Mutex::default(),
            broken: Mutex::default(),
        };
        // What is applied was checked against the receiver's limits, which may be wider than the default.
        let limits = Limits { max_uncompressed: 1 << 30, max_labels: usize::MAX, custom_buckets, ..Limits::default() };
        Self { inner: Arc::new(inner), limits }
    }

    /// A view of these segments (of all tenants) and of the head as it is now. Take both under the engine's snapshot lock,
    /// and keep what holds the files for as long as the view is asked.
    #[must_use]
    pub fn view(&self, segments: Arc<Vec<Arc<SegmentMeta>>>) -> SeriesView {
        SeriesView::new(Arc::clone(&self.inner), Arc::clone(&self.inner.heads.read()), segments)
    }

    /// See [`Table::delete`].
    fn close_parts(&self, tombstone: &Arc<Tombstone>) {
        let _between_records = self.inner.applying.lock();
        let mut heads = self.inner.heads.write();
        let Some(head) = Arc::make_mut(&mut heads).iter_mut().find(|(t, _)| t.as_str() == tombstone.tenant).map(|(_, h)| h)
        else {
            return;
        };
        let Some(last) = head.parts.last().cloned() else { return };
        let is_empty = last.read().is_empty();
        // An empty part takes what comes from now on, which is not deleted.
        head.parts.iter().filter(|part| !(is_empty && Arc::ptr_eq(part, &last))).for_each(|part| part.delete(tombstone));
        last.keep_newest();
        head.catalog.write().forget_newest(tombstone);
        if is_empty {
            return;
        }
        // What comes from now on is not deleted: it goes to a part of its own.
        head.parts.push(Arc::new(Part::new(last.generation.wrapping_add(1).max(1), Arc::clone(&head.catalog))));
    }

    /// Bytes of label sets, postings, metadata and indexes of open segments, about.
    #[must_use]
    pub fn index_memory(&self) -> usize {
        let heads = Arc::clone(&self.inner.heads.read());
        let labels = |h: &Head| h.catalog.read().memory() + h.families.lock().memory();
        heads.values().map(labels).sum::<usize>() + self.inner.cache.memory()
    }

    /// Lets half of the decoded runs go.
    pub(crate) fn shed(&self) {
        self.inner.decoded.shed();
    }

    /// Bytes of decoded runs. They are let go here when nobody has asked for any in two minutes.
    #[must_use]
    pub fn decoded_memory(&self) -> usize {
        self.inner.decoded.tidy();
        self.inner.decoded.memory()
    }

    /// Series in memory, of all tenants.
    #[must_use]
    pub fn series_in_memory(&self) -> usize {
        let heads = Arc::clone(&self.inner.heads.read());
        heads.values().map(|h| h.catalog.read().len()).sum()
    }
}

/// Whose samples a shared segment holds.
///
/// # Errors
/// IO and damage.
pub(crate) fn tenants(files: &dyn Segments, meta: &SegmentMeta) -> Result<Vec<String>, StoreError> {
    let loaded = Loaded::read(meta, files.open(&meta.file)?, None)?;
    Ok(loaded.iter().flat_map(|l| l.tenants()).map(str::to_owned).collect())
}

impl Inner {
    /// The tenant's head, made if need be.
    fn head(&self, tenant: &Tenant) -> Head {
        if let Some(head) = self.heads.read().get(tenant) {
            return head.clone();
        }
        let mut heads = self.heads.write();
        let head = Arc::make_mut(&mut heads).entry(tenant.clone()).or_insert_with(|| {
            let catalog = Arc::<Catalog>::default();
            let first = Arc::new(Part::new(1, Arc::clone(&catalog)));
            Head { catalog, families: Arc::default(), parts: vec![first] }
        });
        head.clone()
    }

    /// The tenant's registry.
    fn catalog(&self, tenant: &Tenant) -> Arc<Catalog> {
        self.head(tenant).catalog
    }

    /// The index of what a tenant has in a segment; `None` where it has nothing in it.
    fn open(&self, meta: &SegmentMeta, tenant: &Tenant) -> Result<Option<Arc<SegmentIndex>>, StoreError> {
        self.cache.open(&*self.segments, meta, tenant, || self.catalog(tenant))
    }

    /// Takes a damaged segment out of service; views that still name it pass it over.
    fn damaged(&self, meta: &SegmentMeta, reason: &str) {
        self.cache.remove(meta.id);
        if self.broken.lock().insert(meta.id) {
            self.segments.quarantine(meta, reason);
        }
    }

    /// Whether a segment was found damaged.
    fn is_broken(&self, meta: &SegmentMeta) -> bool {
        self.broken.lock().contains(&meta.id)
    }

    /// Damage found while reading takes the segment out of service; the rest is served. Other errors are handed on.
    fn tolerate(&self, index: &SegmentIndex, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Corrupt { reason, .. } => {
                self.damaged(&index.meta, &reason);
                Ok(())
            }
            e => Err(e),
        }
    }
}

/// How far a sample may be ahead of the moment at which its request came in: Prometheus' `maxAheadTime`, milliseconds.
const AHEAD: i64 = 600_000;

/// A request lets waiting queries look in after so many series.
const LOOK_IN: u32 = 512;

/// Feeds a request's samples into a part.
struct Intake<'a, 'r, 's> {
    registry: &'a mut RwLockWriteGuard<'r, Registry>,
    slots: &'a mut RwLockWriteGuard<'s, Slots>,
    /// Series since somebody could look in.
    since: u32,
    families: &'a Mutex<Families>,
    generation: u32,
    window: i64,
    /// The latest time that a sample may have.
    latest: i64,
    slot: Option<u32>,
    /// Series that the part may have.
    most: usize,
    /// Start timestamp of what follows, 0 for none.
    start: i64,
    /// What follows are deltas.
    delta: bool,
    /// Deltas of series whose sum is not in memory.
    waiting: Vec<Waiting>,
    refused: Refused,
}

/// Samples that were not taken.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    conflicts: u64,
    too_old: u64,
    /// Samples ahead of the clock.
    ahead: u64,
    /// Deltas that do not come after the one before.
    unordered: u64,
    /// Of series beyond the tenant's limit.
    series: u64,
    /// Native histograms among them.
    histograms: u64,
}

impl Refused {
    fn add(&mut self, more: Self) {
        self.conflicts += more.conflicts;
        self.too_old += more.too_old;
        self.ahead += more.ahead;
        self.unordered += more.unordered;
        self.series += more.series;
        self.histograms += more.histograms;
    }
}

impl Intake<'_, '_, '_> {
    #[inline]
    fn when(&self, time: i64) -> When {
        When { time, start: self.start, window: self.window }
    }

    #[inline]
    fn note(&mut self, taken: Taken, histogram: bool) {
        let refused = match taken {
            Taken::Stored | Taken::Known => return,
            Taken::Conflict => &mut self.refused.conflicts,
            Taken::TooOld => &mut self.refused.too_old,
        };
        *refused += 1;
        self.refused.histograms += u64::from(histogram);
    }

    /// Whoever waits for the locks gets them now rather than when all of a request is in: a view of samples sees them as they come.
    #[cold]
    fn let_look_in(&mut self) {
        self.since = 0;
        // In the order in which they are taken; between records is only who holds `applying`, which is held.
        let registry = &mut *self.registry;
        RwLockWriteGuard::unlocked(self.slots, || RwLockWriteGuard::bump(registry));
    }

    #[cold]
    fn enter(&mut self, id: SeriesId, key: [u64; 2]) -> Option<u32> {
        if self.slots.slots().len() >= self.most && self.slots.position(id).is_none() {
            return None;
        }
        let labels = Arc::clone(self.registry.labels(id)?);
        let (slot, new) = self.slots.slot_of(id, &labels, self.registry.newest(id));
        if new {
            self.registry.retain(id);
        }
        self.registry.name_slot(key, slot, self.generation);
        Some(slot)
    }
}

impl SampleSink for Intake<'_, '_, '_> {
    #[inline]
    fn series(&mut self, labels: RawLabels<'_>) {
        (self.start, self.delta) = (0, false);
        self.since += 1;
        if self.since > LOOK_IN {
            self.let_look_in();
        }
        self.slot = match self.registry.find(&labels, self.generation) {
            Ok(Found::Slot(slot)) => Some(slot),
            Ok(Found::Series(id, key)) => self.enter(id, key),
            Err(_) => None,
        };
    }

    #[inline]
    fn sample(&mut self, time_ms: i64, value: f64) {
        let Some(slot) = self.slot else {
            self.refused.series += 1;
            return;
        };
        if time_ms > self.latest {
            self.refused.ahead += 1;
            return;
        }
        if self.delta {
            return self.add(slot, time_ms, Amount::Float(value));
        }
        let when = self.when(time_ms);
        let taken = self.slots.append(slot, when, value);
        self.note(taken, false);
    }

    fn delta(&mut self) {
        self.delta = true;
    }

    fn start(&mut self, start_ms: i64) {
        self.start = start_ms;
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        let Some(slot) = self.slot else {
            self.refused.series += 1;
            self.refused.histograms += 1;
            return;
        };
        if time_ms > self.latest {
            self.refused.ahead += 1;
            self.refused.histograms += 1;
            return;
        }
        if self.delta {
            return self.add(slot, time_ms, Amount::Histogram(Arc::new(histogram.clone())));
        }
        let when = self.when(time_ms);
        let taken = self.slots.append_histogram(slot, when, histogram);
        self.note(taken, true);
    }

    fn exemplar(&mut self, exemplar: &wire::Exemplar<'_>) {
        let Some(slot) = self.slot else { return };
        let labels = Labels::from_pairs(exemplar.labels.iter().copied());
        self.slots.append_exemplar(slot, Exemplar { labels, time: exemplar.time_ms, value: exemplar.value });
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.families.lock().describe(family, kind, help, unit);
    }
}

impl Table for SeriesTable {
    fn apply_without(&self, record: &Record, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
        let _between_freezes = self.inner.applying.lock();
        let head = self.inner.head(&record.tenant);
        let Some(part) = head.parts.last() else { return Ok(Summary::default()) };
        let take = |registry: &mut RwLockWriteGuard<'_, Registry>,
                    slots: &mut RwLockWriteGuard<'_, Slots>,
                    walk: &mut dyn FnMut(&mut Intake<'_, '_, '_>)| {
            let mut intake = Intake {
                registry,
                slots,
                since: 0,
                families: &head.families,
                generation: part.generation,
                window: self.inner.options.out_of_order_ms,
                // A request of which it is not known when it came (in tests) may have any.
                latest: if record.received == 0 { i64::MAX } else { record.received / 1_000_000 + AHEAD },
                slot: None,
                most: self.inner.options.most(&record.tenant),
                start: 0,
                delta: false,
                waiting: Vec::new(),
                refused: Refused::default(),
            };
            walk(&mut intake);
            (intake.waiting, intake.refused)
        };
        let mut registry = head.catalog.write();
        let mut slots = part.write();
        let mut walked = Ok(Summary::default());
        let (waiting, mut refused) = take(&mut registry, &mut slots, &mut |intake| {
            walked = deletes::walk_samples(record, deleted, &self.limits, intake);
        });
        if !waiting.is_empty() {
            // What is stored is looked up without the locks; no other record comes in between.
            drop((registry, slots));
            let totals = deltas::stored(&self.inner, &record.tenant, &waiting).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "what deltas are added to could not be read; their sums begin anew");
                HashMap::new()
            });
            (registry, slots) = (head.catalog.write(), part.write());
            let (_, more) = take(&mut registry, &mut slots, &mut |intake| intake.resume(&waiting, &totals));
            refused.add(more);
        }
        let bytes = slots.memory();
        self.inner.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inner.bytes.fetch_sub(part.tell_bytes(bytes), Ordering::Relaxed);
        let mut summary = walked?;
        // Prometheus' words, with a window and without.
        let too_old = if self.inner.options.out_of_order_ms > 0 { "too old sample" } else { "out of order sample" };
        let reasons = [
            ("duplicate sample for timestamp", refused.conflicts),
            (too_old, refused.too_old),
            ("out of bounds", refused.ahead),
            ("out of order sample", refused.unordered),
            ("the tenant's limit of series is reached", refused.series),
        ];
        for (reason, n) in reasons {
            summary.accepted = summary.accepted.saturating_sub(n);
            summary.refused.add_many(reason, n);
        }
        summary.histograms = summary.histograms.saturating_sub(refused.histograms);
        Ok(summary)
    }

    fn delete(&self, tombstone: &Arc<Tombstone>) -> Result<(), StoreError> {
        self.close_parts(tombstone);
        Ok(())
    }

    /// Bytes of samples, growing or waiting to be written: what a flush frees. Label sets and indexes stay over a flush and
    /// have bounds of their own; see [`SeriesTable::index_memory`].
    fn memory(&self) -> usize {
        // Asked for again and again, whatever comes in: the moment to let idle memory go.
        self.inner.decoded.tidy();
        self.inner.bytes.load(Ordering::Relaxed)
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        let _between_records = self.inner.applying.lock();
        let mut heads = self.inner.heads.write();
        let mut frozen = Vec::new();
        let mut next = (**heads).clone();
        for (tenant, head) in &mut next {
            // Deletions close a part before it is full, so that several may wait.
            let full: Vec<Arc<Part>> = head.parts.iter().filter(|p| !p.read().is_empty() && p.freeze()).cloned().collect();
            let Some(last) = head.parts.last().cloned() else { continue };
            if full.last().is_some_and(|part| Arc::ptr_eq(part, &last)) {
                last.keep_newest();
                head.parts.push(Arc::new(Part::new(last.generation.wrapping_add(1).max(1), Arc::clone(&head.catalog))));
            }
            frozen.extend(full.into_iter().map(|part| (tenant.clone(), Arc::clone(&head.families), part)));
        }
        if frozen.is_empty() {
            return None;
        }
        *heads = Arc::new(next);
        Some(Box::new(FrozenSamples { inner: Arc::clone(&self.inner), parts: frozen }))
    }

    fn compact(&self, inputs: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError> {
        compact::compact(&self.inner, inputs)
    }
}
