//! Deletions: into the log, into the list that views are read without, into the heads; and out of the segments.
//!
//! The order in [`Core::delete`] is what keeps the promise: durable in the log (a sequence), then out of the heads and of
//! every later view in one step under the snapshot lock, then named in a manifest, then acknowledged. The feed meets the
//! deletion too, in its place in the log; whoever comes first does the work ([`Core::take_effect`] does it once).
//!
//! A deletion that waits is a request: in the log and in the manifest as others are, but nothing is taken out for it; snapshots
//! hide its rows. Requests, what cancels them and what carries them out take effect in the order of the log, on the feed's
//! thread, so that a request is either cancelled or carried out, after a crash too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use model::Tenant;
use wire::Signal;

use super::feed::{Ack, Feed};
use super::stats::count;
use super::{Core, Engine, Segment};
use crate::contract::DeletionOrder as Order;
use crate::log::Pending;
use crate::{Deletion, Record, StoreError, Tombstone, deletes};

/// How long a segment waits before it is rewritten without what was deleted, so that deletions share the work.
const DELAY: Duration = Duration::from_secs(60);
/// How often it is looked whether the feed has come to a record.
const LOOK: Duration = Duration::from_millis(1);

impl Engine {
    /// Deletes rows: see [`crate::Writer::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        let outcome = self.core.delete(deletion);
        if outcome.is_ok() {
            count(&self.core.counters.deletions);
        }
        outcome
    }

    /// Cancels a request: see [`crate::Writer::cancel`].
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, tenant: &Tenant, id: u64) -> Result<bool, StoreError> {
        let cancelled = self.core.cancel(tenant, id);
        if matches!(cancelled, Ok(true)) {
            count(&self.core.counters.cancelled);
        }
        cancelled
    }

    /// Has every request that waits take effect now.
    ///
    /// # Errors
    /// As for [`Engine::delete`].
    pub(crate) fn carry_out_all(&self) -> Result<(), StoreError> {
        self.core.carry_out(i64::MAX)
    }
}

impl Core {
    fn delete(self: &Arc<Self>, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        let tenant = deletion.tenant.clone();
        if deletion.delay.is_zero() {
            let record = self.log_order(&tenant, &Tombstone::ordered(&deletion, 0), 0)?;
            let tombstone = self.take_effect(&record)?;
            self.write_manifest()?;
            return Ok(tombstone);
        }
        if deletion.doomed.signal() != Signal::Logs {
            return Err(StoreError::Limit("only a deletion of lines can wait".into()));
        }
        let delay = i64::try_from(deletion.delay.as_nanos()).unwrap_or(i64::MAX);
        let due = self.options.clock.now().saturating_add(delay);
        let record = self.in_turn(&tenant, &Tombstone::ordered(&deletion, due), 0)?;
        let waiting = self.live().waiting().iter().find(|t| t.sequence == record.sequence).cloned();
        // Its time may be over already.
        let carried_out = || self.live().tombstones().iter().find(|t| t.request == record.sequence).cloned();
        waiting.or_else(carried_out).ok_or_else(|| StoreError::Busy("the deletion was cancelled meanwhile".into()))
    }

    fn cancel(self: &Arc<Self>, tenant: &Tenant, id: u64) -> Result<bool, StoreError> {
        let Some(request) = self.live().waiting().iter().find(|t| t.sequence == id && t.tenant == tenant.as_str()).cloned()
        else {
            return Ok(false);
        };
        self.in_turn(tenant, &request, id)?;
        Ok(!self.live().tombstones().iter().any(|t| t.request == id))
    }

    /// Has the requests that are due at `now` take effect.
    pub(super) fn carry_out(self: &Arc<Self>, now: i64) -> Result<(), StoreError> {
        // While the log is replayed, what cancels a request may still come.
        if !self.feed(Signal::Logs).is_live() {
            return Ok(());
        }
        for request in self.live().waiting().iter().filter(|t| t.due <= now) {
            let tenant = Tenant::new(&request.tenant).map_err(|e| StoreError::Limit(e.to_string()))?;
            let order = Tombstone { due: 0, request: request.sequence, ..(**request).clone() };
            self.in_turn(&tenant, &order, 0)?;
            tracing::info!(tenant = request.tenant, query = request.words, "a request to delete is carried out");
        }
        Ok(())
    }

    /// Logs an order and waits until the feed has come to it.
    fn in_turn(self: &Arc<Self>, tenant: &Tenant, order: &Tombstone, cancels: u64) -> Result<Record, StoreError> {
        let feed = self.feed(order.signal());
        if !feed.is_live() {
            return Err(StoreError::Busy("the log is being replayed".into()));
        }
        let record = self.log_order(tenant, order, cancels)?;
        while feed.position() < record.sequence {
            if self.is_stopping() {
                return Err(StoreError::Closed);
            }
            std::thread::sleep(LOOK);
        }
        self.write_manifest()?;
        Ok(record)
    }

    /// Makes an order durable.
    fn log_order(self: &Arc<Self>, tenant: &Tenant, order: &Tombstone, cancels: u64) -> Result<Record, StoreError> {
        if self.is_stopping() {
            return Err(StoreError::Closed);
        }
        let (tell, hear) = mpsc::sync_channel(1);
        let core = Arc::clone(self);
        self.log.append(Pending {
            tenant: tenant.clone(),
            encoding: order.doomed.encoding(),
            received: self.options.clock.now(),
            payload: Order::encode(order, cancels)?.into(),
            done: Box::new(move |outcome| {
                let outcome = outcome.inspect(|record: &Record| {
                    core.feed(record.encoding.signal()).push(record.clone(), Ack::default());
                    core.fed.store(record.sequence, Ordering::Release);
                });
                // The caller waits, unless it panicked.
                let _ = tell.send(outcome);
            }),
        })?;
        hear.recv().map_err(|_| StoreError::Closed)?
    }

    /// Takes the doomed rows out of the head and out of what later views see.
    fn take_effect(&self, record: &Record) -> Result<Arc<Tombstone>, StoreError> {
        let feed = self.feed(record.encoding.signal());
        let _order = feed.order.lock();
        let gone = || StoreError::Busy("the deletion has no effect any more".into());
        self.in_order(feed, record)?.ok_or_else(gone)
    }

    /// What a record orders, for who holds `order`. The deletion that is in force or waits by it; `None` where it ends or
    /// carries out a request that waits no more.
    pub(super) fn in_order(&self, feed: &Feed, record: &Record) -> Result<Option<Arc<Tombstone>>, StoreError> {
        let mut tombstone = match Order::decode(record)? {
            Order::Cancel(request) => {
                let mut live = self.live.write();
                *live = Arc::new(live.hiding(live.waiting().but(request)));
                return Ok(None);
            }
            Order::Delete(tombstone) => tombstone,
        };
        let live = self.live();
        let known = live.tombstones().iter().chain(live.waiting().iter()).find(|t| t.sequence == record.sequence).cloned();
        let waits = |request| live.waiting().iter().any(|t| t.sequence == request);
        if let Some(known) = known {
            if waits(tombstone.request) {
                let mut live = self.live.write();
                *live = Arc::new(live.hiding(live.waiting().but(tombstone.request)));
            }
            return Ok(Some(known));
        }
        if tombstone.request > 0 && !waits(tombstone.request) {
            return Ok(None);
        }
        tombstone.read(self.options.language.as_deref())?;
        let tombstone = Arc::new(tombstone);
        let mut live = self.live.write();
        if tombstone.due > 0 {
            *live = Arc::new(live.hiding(live.waiting().with(Arc::clone(&tombstone))));
            return Ok(Some(tombstone));
        }
        // All rows of the head came before it: those behind it are applied after it, under the same lock.
        self.table(feed.signal).delete(&tombstone)?;
        let waiting = live.waiting().but(tombstone.request);
        *live = Arc::new(live.without(live.tombstones().with(Arc::clone(&tombstone))).hiding(waiting));
        drop(live);
        self.latest_deletion.fetch_max(record.sequence, Ordering::AcqRel);
        Ok(Some(tombstone))
    }

    /// What later deletions took of a record; mostly there is none, and that costs a look at a number.
    pub(super) fn deleted_of(&self, record: &Record) -> Vec<Arc<Tombstone>> {
        if record.sequence > self.latest_deletion.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.live().tombstones().on_record(record)
    }

    /// Whether deletions before `upto` took rows of a record, and their bytes are gone as well: then whoever sends it again
    /// means it. Before, it is a retry of what was deleted, which brings nothing back and doubles nothing.
    pub(super) fn lost_rows(&self, record: &Record, upto: u64) -> bool {
        if record.sequence > self.latest_deletion.load(Ordering::Acquire) {
            return false;
        }
        let live = self.live();
        let done = |t: &&Arc<Tombstone>| t.sequence < upto && t.cleaned > 0;
        let later: Vec<_> = live.tombstones().after_record(record).filter(done).cloned().collect();
        !later.is_empty() && deletes::rows_taken(record, &later) > 0
    }

    /// Rewrites one segment that holds deleted rows; says whether there was one. `at_once`: also one whose deletion is recent.
    pub(super) fn rewrite_once(&self, at_once: bool) -> Result<bool, StoreError> {
        let live = self.live();
        if live.tombstones().latest() == 0 {
            return Ok(false);
        }
        let now = self.options.clock.now();
        let delay = if at_once { 0 } else { i64::try_from(DELAY.as_nanos()).unwrap_or(i64::MAX) };
        let due = |s: &&Segment| {
            let on = live.tombstones().on_segment(s);
            !on.is_empty() && on.iter().all(|t| t.created.saturating_add(delay) <= now)
        };
        let Some(segment) = live.all().find(due).cloned() else { return Ok(false) };
        let Some(signal) = Signal::ALL.into_iter().find(|s| s.as_str() == segment.signal) else { return Ok(false) };
        let free = self.options.disk.free_space().unwrap_or(u64::MAX);
        if free < segment.bytes.saturating_add(self.options.min_free / 2) {
            return Err(StoreError::Full("no space to rewrite a segment without what was deleted".into()));
        }
        let latest = live.tombstones().latest();
        drop(live);
        let mut written = match self.table(signal).compact(&[(*segment).clone()]) {
            Ok(written) => written,
            Err(StoreError::Corrupt { file, reason }) => {
                tracing::error!(file, reason, "a segment with deleted rows is damaged");
                crate::Segments::quarantine(&*self.segments, &segment, &reason);
                self.quarantine_damaged();
                return Ok(true);
            }
            Err(e) => return Err(e),
        };
        for meta in &mut written {
            (meta.level, meta.first_sequence, meta.last_sequence) =
                (segment.level, segment.first_sequence, segment.last_sequence);
            meta.deleted_to = segment.deleted_to.max(latest);
        }
        let written: Vec<Segment> = written.into_iter().map(Arc::new).collect();
        if self.swap(&[segment], &written)? {
            count(&self.counters.rewritten);
        }
        Ok(true)
    }

    /// Marks the deletions whose rows are neither in the log nor in a segment any more.
    pub(super) fn note_cleaned(&self) {
        let live = self.live();
        let latest = live.tombstones().latest();
        if latest == 0 {
            return;
        }
        let oldest = self.log.files().oldest().unwrap_or(u64::MAX);
        let kept = self.kept.lock();
        let covered = kept.covered;
        let dropped: Vec<Segment> = kept.dropped.iter().map(|d| Arc::clone(&d.segment)).collect();
        drop(kept);
        let is_clean = |t: &Tombstone| {
            let one = crate::Tombstones::new(vec![Arc::new(t.clone())]);
            t.sequence < oldest
                && t.sequence <= covered[t.signal() as usize]
                && live.all().chain(&dropped).all(|s| one.on_segment(s).is_empty())
        };
        let Some(cleaned) = live.tombstones().cleaned(self.options.clock.now(), is_clean) else { return };
        let mut now = self.live.write();
        let mut all: Vec<_> = cleaned.iter().cloned().collect();
        // One that came meanwhile.
        all.extend(now.tombstones().iter().filter(|t| t.sequence > latest).cloned());
        *now = Arc::new(now.without(crate::Tombstones::new(all)));
    }
}
