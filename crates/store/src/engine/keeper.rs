//! The keeper: decides when heads are written, says in the manifest what is there, and lets go what two manifests lack.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::Signal;

use super::clock::{Clock, TrustedTime};
use super::live::Live;
use super::open::quarantined;
use super::segments::{DiskSegments, files_of};
use super::stats::{Stats, count};
use super::{Core, Segment};
use crate::log::{AtCap, Cursors, QUARANTINE};
use crate::manifest::{Manifest, Manifests, Quarantined};
use crate::table::Frozen;
use crate::{SegmentMeta, StoreError};

/// How often the keeper looks around when nobody wakes it.
const TICK: Duration = Duration::from_millis(500);
/// After so long a manifest that only agrees with the one before is written, so that the log can be cut.
const AGREE_AFTER: Duration = Duration::from_secs(15);
/// While memory is short a head is flushed at this part of its size.
const FLUSHED_EARLY: usize = 4;
/// After a failed flush.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Damaged segments that the manifest names at most.
const NAMED_DAMAGED: usize = 100;

/// A segment out of service whose files are still there.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) segment: Segment,
    /// The first manifest that lacks it.
    manifest: u64,
    at: Duration,
}

/// What the manifest says, and what follows from it. Its lock is held while a manifest is written.
#[derive(Debug)]
pub(crate) struct Kept {
    manifests: Manifests,
    epoch: u64,
    pub(super) covered: [u64; 3],
    damaged: Vec<Quarantined>,
    pub(super) dropped: Vec<Dropped>,
    written: Duration,
    closed: bool,
    pub(crate) time: TrustedTime,
}

impl Kept {
    pub(crate) fn new(manifests: Manifests, manifest: &Manifest, clock: &dyn Clock) -> Self {
        let last = manifests.current().map(|m| m.written);
        let now = clock.monotonic();
        // What only the manifest before names was dropped, and its files wait for a second manifest without it.
        let before = manifests.previous().map_or(&[][..], |m| &m.segments);
        let gone = before.iter().filter(|s| !manifest.segments.iter().any(|kept| kept.id == s.id));
        let dropped = gone.map(|s| Dropped { segment: Arc::new(s.clone()), manifest: manifest.number, at: now }).collect();
        Self {
            manifests,
            epoch: manifest.epoch + 1,
            covered: manifest.covered,
            damaged: manifest.quarantined.clone(),
            dropped,
            written: now,
            closed: false,
            time: TrustedTime::new(clock, last),
        }
    }

    /// No manifest is written from now on.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

/// A detached head on its way into segments.
pub(crate) struct Flushing {
    frozen: Box<dyn Frozen>,
    /// The last sequence that may be in it.
    covered: u64,
}

/// One step from a manifest to the next.
#[derive(Default)]
struct Change<'a> {
    gone: &'a [Segment],
    added: &'a [Segment],
    covered: Option<(Signal, u64)>,
    damaged: Vec<Quarantined>,
}

impl Core {
    /// By signal, the sequence up to which nothing is left to flush.
    fn coverable(&self, covered: [u64; 3]) -> [u64; 3] {
        Signal::ALL.map(|signal| {
            let feed = self.feed(signal);
            let fed = self.fed.load(Ordering::Acquire);
            let _order = feed.order.lock();
            let empty = feed.oldest.load(Ordering::Acquire) == 0 && !feed.flushing.load(Ordering::Acquire);
            let idle = if empty { feed.idle_at(fed) } else { None };
            covered[signal as usize].max(idle.unwrap_or(0))
        })
    }

    /// Writes the next manifest, then puts it into force; `then` runs under the snapshot lock.
    fn commit(&self, kept: &mut Kept, change: Change<'_>, then: impl FnOnce()) -> Result<(), StoreError> {
        if kept.closed {
            return Err(StoreError::Closed);
        }
        let gone: Vec<u64> = change.gone.iter().map(|s| s.id).collect();
        let live = self.live().replace(&gone, change.added);
        let mut covered = self.coverable(kept.covered);
        if let Some((signal, upto)) = change.covered {
            let signal = signal as usize;
            covered[signal] = covered[signal].max(upto);
        }
        let mut damaged = kept.damaged.clone();
        damaged.extend(change.damaged);
        damaged.drain(..damaged.len().saturating_sub(NAMED_DAMAGED));
        let now = self.options.clock.monotonic();
        let manifest = Manifest {
            number: 0,
            epoch: kept.epoch,
            written: self.options.clock.now(),
            next_segment: self.segments.next_id(),
            covered,
            segments: live.all().map(|s| (**s).clone()).collect(),
            quarantined: damaged.clone(),
            // After `covered` was found: a deletion that it covers has taken effect.
            tombstones: self.live().tombstones().to_vec(),
            waiting: self.live().waiting().to_vec(),
        };
        match kept.manifests.write(manifest) {
            Ok(written) => {
                (kept.covered, kept.damaged, kept.written) = (covered, damaged, now);
                for (feed, covered) in self.feeds.iter().zip(covered) {
                    feed.covered.store(covered, Ordering::Release);
                }
                let dropped = change.gone.iter().cloned();
                kept.dropped.extend(dropped.map(|segment| Dropped { segment, manifest: written.number, at: now }));
                let mut current = self.live.write();
                // A deletion may have come meanwhile.
                *current = Arc::new(live.with_deletions_of(&current));
                then();
                Ok(())
            }
            Err(e) => {
                // The manifest may turn up intact after a crash, so what it names stays until two later ones lack it.
                let manifest = kept.manifests.next_number();
                let added = change.added.iter().cloned();
                kept.dropped.extend(added.map(|segment| Dropped { segment, manifest, at: now }));
                Err(e)
            }
        }
    }

    /// Writes the head of a signal; does nothing for an empty one.
    pub(crate) fn flush(&self, signal: Signal) -> Result<(), StoreError> {
        let feed = self.feed(signal);
        let mut slot = feed.flush.lock();
        if slot.is_none() {
            let _order = feed.order.lock();
            *slot = self.table(signal).freeze().map(|frozen| Flushing { frozen, covered: feed.position() });
            feed.flushing.store(slot.is_some(), Ordering::Release);
            feed.oldest.store(0, Ordering::Release);
        }
        let Some(flushing) = slot.take() else {
            self.note_floor(signal);
            return Ok(());
        };
        let outcome = self.write_segments(signal, flushing, &mut slot);
        if outcome.is_ok() {
            feed.flushing.store(false, Ordering::Release);
            count(&self.counters.flushes);
            self.measure_heads();
            self.note_floor(signal);
        } else {
            count(&self.counters.flush_errors);
        }
        outcome
    }

    /// Right after a flush, if no row has come since: what the table still holds no flush frees.
    fn note_floor(&self, signal: Signal) {
        let feed = self.feed(signal);
        let _order = feed.order.lock();
        if feed.oldest.load(Ordering::Acquire) == 0 && !feed.flushing.load(Ordering::Acquire) {
            feed.measured(self.table(signal).memory());
            feed.flushed();
        }
    }

    fn write_segments(&self, signal: Signal, flushing: Flushing, slot: &mut Option<Flushing>) -> Result<(), StoreError> {
        let mut metas = match flushing.frozen.write() {
            Ok(metas) => metas,
            Err(e) => {
                *slot = Some(flushing);
                return Err(e);
            }
        };
        let mut kept = self.kept.lock();
        let first = kept.covered[signal as usize] + 1;
        for meta in &mut metas {
            (meta.first_sequence, meta.last_sequence) = (first, flushing.covered);
            // Deletions up to there took effect in the head.
            meta.deleted_to = flushing.covered;
        }
        let added: Vec<Segment> = metas.into_iter().map(Arc::new).collect();
        let change = Change { added: &added, covered: Some((signal, flushing.covered)), ..Change::default() };
        let mut flushing = Some(flushing);
        let outcome = self.commit(&mut kept, change, || {
            if let Some(f) = flushing.take() {
                f.frozen.forget();
            }
        });
        *slot = flushing;
        outcome
    }

    /// Swaps segments for others that hold the same rows; `false` when one of them went out of service meanwhile.
    pub(crate) fn swap(&self, gone: &[Segment], added: &[Segment]) -> Result<bool, StoreError> {
        let mut kept = self.kept.lock();
        let live = self.live();
        let all_there = gone.iter().all(|g| live.all().any(|s| s.id == g.id));
        if !all_there {
            let (manifest, at) = (kept.manifests.next_number(), self.options.clock.monotonic());
            kept.dropped.extend(added.iter().cloned().map(|segment| Dropped { segment, manifest, at }));
            return Ok(false);
        }
        drop(live);
        self.commit(&mut kept, Change { gone, added, ..Change::default() }, || {})?;
        Ok(true)
    }

    /// Takes segments that were found to be damaged out of service.
    pub(super) fn quarantine_damaged(&self) {
        let found = self.segments.take_damaged();
        if found.is_empty() {
            return;
        }
        let live = self.live();
        let now = self.options.clock.now();
        let mut gone: Vec<Segment> = Vec::new();
        let mut named = Vec::new();
        for (segment, reason) in &found {
            let in_service = live.all().find(|s| s.id == segment.id);
            let Some(in_service) = in_service.filter(|s| !gone.iter().any(|g| g.id == s.id)) else { continue };
            tracing::error!(file = segment.file, reason, rows = segment.rows, "a segment is damaged; it is quarantined");
            count(&self.counters.quarantined);
            gone.push(Arc::clone(in_service));
            named.push(quarantined(segment.clone(), reason.clone(), now));
        }
        drop(live);
        if gone.is_empty() {
            return;
        }
        let outcome = {
            let mut kept = self.kept.lock();
            let outcome = self.commit(&mut kept, Change { gone: &gone, damaged: named, ..Change::default() }, || {});
            // Their files are moved, not unlinked.
            kept.dropped.retain(|d| !gone.iter().any(|g| g.id == d.segment.id));
            outcome
        };
        match outcome {
            Ok(()) => gone.iter().for_each(|s| self.move_to_quarantine(s)),
            Err(e) => {
                tracing::warn!(error = %e, "damaged segments could not be taken out of service; trying again");
                for (segment, reason) in found {
                    crate::Segments::quarantine(&*self.segments, &segment, &reason);
                }
            }
        }
    }

    fn move_to_quarantine(&self, segment: &SegmentMeta) {
        let disk = &self.options.disk;
        let moved = disk.create_dir(QUARANTINE).and_then(|()| {
            for file in files_of(&**disk, &segment.file)? {
                let name = file.replace('/', "_");
                disk.rename(&file, &format!("{QUARANTINE}/{name}"))?;
            }
            Ok(())
        });
        if let Err(e) = moved {
            tracing::warn!(file = segment.file, error = %e, "the damaged segment could not be moved");
        }
        if let Some(remote) = &self.remote {
            remote.forget(segment, true);
        }
    }

    pub(super) fn cursors(&self) -> Option<Arc<Cursors>> {
        self.cursors.lock().clone()
    }

    pub(super) fn cursors_or_create(&self) -> Result<Arc<Cursors>, StoreError> {
        let mut cursors = self.cursors.lock();
        if let Some(cursors) = &*cursors {
            return Ok(Arc::clone(cursors));
        }
        let made = Arc::new(Cursors::open(&*self.options.disk)?);
        *cursors = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Writes a manifest that only agrees with the one before when that lets the log be cut or files be unlinked.
    fn agree(&self, at_once: bool) -> Result<(), StoreError> {
        let mut kept = self.kept.lock();
        let age = self.options.clock.monotonic().saturating_sub(kept.written);
        if !at_once && age < AGREE_AFTER {
            return Ok(());
        }
        let lowest = |covered: [u64; 3]| covered.into_iter().min().unwrap_or(0);
        let agreed = lowest(kept.manifests.agreed());
        let can_cut = self.log.files().count() > 0 && lowest(self.coverable(kept.covered)) > agreed;
        let seen = kept.manifests.previous().map_or(0, |m| m.number);
        let can_unlink = kept.dropped.iter().any(|d| d.manifest > seen);
        if can_cut || can_unlink {
            self.commit(&mut kept, Change::default(), || {})?;
        }
        Ok(())
    }

    /// Writes a manifest that says what is in force now.
    pub(super) fn write_manifest(&self) -> Result<(), StoreError> {
        self.commit(&mut self.kept.lock(), Change::default(), || {})
    }

    /// Writes the manifest in force once more, after the newest was found to be damaged.
    pub(super) fn heal(&self) {
        if let Err(e) = self.write_manifest() {
            tracing::warn!(error = %e, "the manifest could not be written anew");
        }
    }

    /// The log sequence up to which two manifests say that segments hold everything.
    pub(super) fn agreed(&self) -> u64 {
        self.kept.lock().manifests.agreed().into_iter().min().unwrap_or(0)
    }

    /// The manifest in force with the segments that it names, which keep their files.
    pub(crate) fn in_force(&self) -> Option<(Arc<Manifest>, Arc<Live>)> {
        let kept = self.kept.lock();
        Some((kept.manifests.current()?.clone(), self.live()))
    }

    /// Cuts the log behind what two manifests cover and all named readers have read.
    fn cut(&self) {
        let mut covered = self.agreed();
        if let Some(remote) = &self.remote {
            covered = covered.min(remote.covered());
        }
        let files = self.log.files();
        let cap = self.options.log_cap;
        let short = self.short.swap(false, Ordering::AcqRel);
        // What may go, and what of it all but those with a cap of their own have dealt with.
        let (mut upto, mut needed) = (covered, covered);
        if let Some(cursors) = self.cursors() {
            for (name, mut sequence, at_cap) in cursors.all() {
                let limit = match at_cap {
                    AtCap::Block => u64::MAX,
                    AtCap::DropOldest => cap,
                    AtCap::DropOldestOver(limit) => limit,
                };
                let mut give_up = files.over(sequence, limit);
                if short && matches!(at_cap, AtCap::DropOldestOver(_)) && sequence < covered {
                    // One file a look at the space, so that no more goes than must.
                    give_up = give_up.max(files.over(sequence, files.bytes_after(sequence).saturating_sub(1)));
                }
                let give_up = give_up.min(covered);
                // At its cap a reader that may lose records loses them; the others stop the appends.
                if give_up > sequence {
                    let records = give_up - sequence;
                    tracing::warn!(reader = name, records, "too much of the log is kept for it; its oldest records are dropped");
                    self.counters.dropped_for_readers.fetch_add(records, Ordering::Relaxed);
                    match cursors.save(&name, give_up) {
                        Ok(()) => sequence = give_up,
                        Err(e) => tracing::warn!(reader = name, error = %e, "its position could not be moved"),
                    }
                }
                upto = upto.min(sequence);
                if !matches!(at_cap, AtCap::DropOldestOver(_)) {
                    needed = needed.min(sequence);
                }
            }
        }
        if upto > 0 {
            self.log.cut(upto);
        }
        self.log_needed.store(needed, Ordering::Release);
        let over = files.bytes_after(needed) > cap;
        self.log_blocked.store(over, Ordering::Release);
    }

    /// Unlinks what two manifests lack, nobody reads, and has been dropped for long enough.
    fn unlink(&self, without_grace: bool) {
        let now = self.options.clock.monotonic();
        let ready: Vec<Dropped> = {
            let mut kept = self.kept.lock();
            if kept.closed {
                return;
            }
            let seen = kept.manifests.previous().map_or(0, |m| m.number);
            let grace = if without_grace { Duration::ZERO } else { self.options.grace };
            let is_ready =
                |d: &Dropped| d.manifest <= seen && Arc::strong_count(&d.segment) == 1 && now.saturating_sub(d.at) >= grace;
            kept.dropped.extract_if(.., |d| is_ready(d)).collect()
        };
        for dropped in ready {
            DiskSegments::unlink(&*self.options.disk, &dropped.segment.file);
            if let Some(remote) = &self.remote {
                remote.forget(&dropped.segment, false);
            }
        }
    }

    /// Refuses appends while space is short.
    pub(super) fn check_space(&self) {
        let least = self.options.min_free;
        match self.options.disk.free_space() {
            Ok(free) => {
                self.free.store(free, Ordering::Release);
                let was = self.full.load(Ordering::Acquire);
                // Back only with some distance, so that it does not flutter.
                let full = free < if was { least + least / 8 } else { least };
                if full != was {
                    tracing::warn!(free, least, full, "free space in the data directory");
                }
                self.full.store(full, Ordering::Release);
                // What is kept for slow exporters goes before anything is refused.
                self.short.store(free < least.saturating_add(least / 4), Ordering::Release);
            }
            Err(e) => tracing::warn!(error = %e, "free space cannot be read"),
        }
    }

    fn wants_flush(&self, signal: Signal) -> bool {
        let feed = self.feed(signal);
        if feed.flushing.load(Ordering::Acquire) {
            return true;
        }
        let oldest = feed.oldest.load(Ordering::Acquire);
        if oldest == 0 {
            return false;
        }
        let age = self.options.clock.monotonic().saturating_sub(Duration::from_nanos(oldest - 1));
        let memory = feed.head_bytes();
        let largest = Signal::ALL.into_iter().map(|s| self.feed(s).head_bytes()).max();
        // What the log keeps for this signal, not for a slow reader.
        let kept = || self.log.files().bytes_after(feed.covered.load(Ordering::Acquire));
        memory >= if self.is_short_of_memory() { self.options.flush_bytes / FLUSHED_EARLY } else { self.options.flush_bytes }
            || age >= self.options.flush_age[signal as usize]
            || (!self.has_room() && largest == Some(memory))
            || kept() > self.options.log_cap / 2
            // While nothing is taken in for want of space, what the log has alone is written, if there is room for it, so that the
            // log can go.
            || (self.full.load(Ordering::Acquire) && self.free.load(Ordering::Acquire) > kept())
    }

    /// Flush, merge, cut and unlink until nothing is left to do.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        // What was acknowledged may be marked as applied a moment later.
        let until_idle = || {
            let begun = std::time::Instant::now();
            while Signal::ALL.into_iter().any(|s| self.feed(s).idle_at(0).is_none()) && begun.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        until_idle();
        for signal in Signal::ALL {
            self.flush(signal)?;
        }
        until_idle();
        self.quarantine_damaged();
        while self.merge_once(true)? {}
        while self.rewrite_once(true)? {}
        for _ in 0..2 {
            self.agree(true)?;
        }
        self.mirror_all()?;
        self.cut();
        self.log.wait_until_cut(Duration::from_secs(2));
        self.unlink(true);
        self.note_cleaned();
        self.mirror_all()
    }

    pub(super) fn stats(&self) -> Stats {
        let get = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let (c, log) = (&self.counters, self.log.counters());
        let live = self.live();
        Stats {
            appends: get(&c.appends),
            append_bytes: get(&c.append_bytes),
            duplicates: get(&c.duplicates),
            refused_busy: get(&c.refused_busy),
            refused_full: get(&c.refused_full),
            refused_failed: get(&c.refused_failed),
            rows: std::array::from_fn(|i| get(&c.rows[i])),
            refused_rows: std::array::from_fn(|i| get(&c.refused_rows[i])),
            replayed: get(&c.replayed),
            unreadable: get(&c.unreadable),
            read_errors: get(&c.read_errors),
            replaying: !Signal::ALL.into_iter().all(|s| self.replayed[s as usize].load(Ordering::Acquire)),
            head_bytes: Signal::ALL.map(|s| self.table(s).memory()),
            flushes: get(&c.flushes),
            flush_errors: get(&c.flush_errors),
            compactions: get(&c.compactions),
            compaction_errors: get(&c.compaction_errors),
            expired: get(&c.expired),
            quarantined: get(&c.quarantined),
            segments: Signal::ALL.map(|s| live.of(s).len()),
            shared_segments: Signal::ALL.map(|s| live.of(s).iter().filter(|m| m.is_shared()).count()),
            segment_bytes: Signal::ALL.map(|s| live.of(s).iter().map(|m| m.bytes).sum()),
            log_bytes: self.log.files().bytes(),
            log_files: self.log.files().count(),
            log_sequence: self.log.committed(),
            commits: get(&log.commits),
            failed_commits: get(&log.failed_commits),
            log_written: get(&log.bytes),
            sync: log.sync.snapshot(),
            log_damaged: get(&log.damaged_stretches),
            log_damaged_bytes: get(&log.damaged_bytes),
            log_unknown: get(&log.unknown_records),
            dropped_for_readers: get(&c.dropped_for_readers),
            read_bytes: self.segments.reads().1,
            reads: self.segments.reads().0,
            deletions: get(&c.deletions),
            rewritten: get(&c.rewritten),
            deletions_pending: live.tombstones().iter().filter(|t| t.cleaned == 0).count(),
            deletions_waiting: live.waiting().iter().count(),
            deletions_cancelled: get(&c.cancelled),
            full: self.full.load(Ordering::Relaxed),
            refusing: self.refusal().map(|why| why.to_string()),
            remote: self.remote.as_ref().map(|r| r.stats()),
        }
    }
}

/// The keeper's thread.
pub(crate) fn run(core: &Arc<Core>) {
    let mut checked = core.options.clock.monotonic();
    while !core.is_stopping() {
        core.quarantine_damaged();
        let mut failed = false;
        for signal in Signal::ALL {
            if core.wants_flush(signal)
                && let Err(e) = core.flush(signal)
            {
                if !matches!(e, StoreError::Closed) {
                    tracing::error!(signal = signal.as_str(), error = %e, "a head could not be written; it is kept and tried again");
                }
                failed = true;
            }
        }
        if let Err(e) = core.agree(false) {
            tracing::warn!(error = %e, "the manifest could not be written");
            failed = true;
        }
        core.cut();
        core.unlink(false);
        core.note_cleaned();
        let now = core.options.clock.monotonic();
        if now.saturating_sub(checked) >= BACK_OFF || core.full.load(Ordering::Acquire) {
            checked = now;
            core.check_space();
            core.measure_heads();
        }
        if failed && !core.is_stopping() {
            std::thread::sleep(TICK);
        } else if !Signal::ALL.into_iter().any(|s| core.wants_flush(s)) {
            core.sleep(TICK);
        }
    }
}
