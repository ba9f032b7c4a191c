//! How committed records reach a table: one feed and one applier thread a signal.
//!
//! A feed is *live* or *behind*. Live, the log's thread hands each committed record over in memory. Behind (after a start,
//! or when a table is so slow that the queue would grow too long), records stay in the log and the applier reads them
//! from disk until it has caught up; then, under the queue's lock, it turns live.
//!
//! # Invariants
//!
//! 1. *A table gets the records of its signal in the order of the log, each once*: replayed ones before new ones. The
//!    applier skips what is at or before its position, so a record that is both read from disk and handed over counts once.
//! 2. *The position moves together with the head*: both change under `order`, and a flush freezes under it too; so what is
//!    frozen is exactly what is at or before the position.
//! 3. *An append resolves when its record is applied; while the feed is behind, when it is durable.*

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wire::{Signal, Summary};

use super::Core;
use super::dedupe::{Waiter, fingerprint_of};
use super::keeper::Flushing;
use crate::log::LogReader;
use crate::{Record, StoreError};

/// Bytes that may wait for an applier before its feed falls behind.
const LONGEST_QUEUE: usize = 64 << 20;
/// A table is asked for its memory so many times on the way to a flush, about.
const MEASURED_IN: usize = 64;
/// How long an applier waits after an error before it reads the log again.
const RETRY: Duration = Duration::from_millis(500);

/// Records with exemplars that are remembered.
const REMEMBERED: usize = 4096;

/// Which records have exemplars, as far as that is known: few have, and whoever is after them need not read the others.
#[derive(Debug, Default)]
struct WithExemplars {
    /// Nothing is known of records before this.
    from: Option<u64>,
    sequences: VecDeque<u64>,
}

impl WithExemplars {
    fn note(&mut self, sequence: u64, has: bool) {
        self.from.get_or_insert(sequence);
        if has {
            self.sequences.push_back(sequence);
        }
        if self.sequences.len() > REMEMBERED {
            self.from = self.sequences.pop_front().map(|gone| gone + 1);
        }
    }

    fn may_have(&self, sequence: u64) -> bool {
        self.from.is_none_or(|from| sequence < from) || self.sequences.binary_search(&sequence).is_ok()
    }
}

/// Who hears that a record is applied, and what is given back then.
#[derive(Debug, Default)]
pub(crate) struct Ack {
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) permit: Option<tokio::sync::OwnedSemaphorePermit>,
    /// The record's body, where it need not be decompressed again.
    pub(crate) plain: Option<wire::Plain>,
}

impl Ack {
    /// The request is kept; `summary` says what of it, if that is known.
    pub(crate) fn kept(self, summary: Option<Summary>) {
        for waiter in self.waiters {
            // Nobody has to wait for the answer.
            let _ = waiter.send(Ok(summary.clone()));
        }
        drop(self.permit);
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(Record, Ack)>,
    bytes: usize,
    live: bool,
    /// Items were taken and are being applied.
    applying: bool,
    closed: bool,
}

/// One signal's way from the log to its table.
pub(crate) struct Feed {
    pub(crate) signal: Signal,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held while a record is applied and while the head is frozen.
    pub(crate) order: Mutex<()>,
    /// The last sequence that was applied or skipped.
    position: AtomicU64,
    /// The table's memory when last asked.
    memory: AtomicUsize,
    /// When the oldest row of the head came, in nanoseconds of the monotonic clock plus one; 0 for an empty head.
    pub(crate) oldest: AtomicU64,
    live: AtomicBool,
    /// The head that is being written; held while it is.
    pub(crate) flush: Mutex<Option<Flushing>>,
    /// Whether there is one; changes under `order`.
    pub(crate) flushing: AtomicBool,
    /// What the table held after the last flush: indexes and caches that a flush does not free.
    floor: AtomicUsize,
    /// Bytes of payloads applied since the table's memory was last asked for.
    unmeasured: AtomicUsize,
    exemplars: Mutex<WithExemplars>,
    /// The sequence up to which the manifest in force covers this signal.
    pub(crate) covered: AtomicU64,
}

impl Feed {
    pub(crate) fn new(signal: Signal) -> Self {
        Self {
            signal,
            queue: Mutex::default(),
            wake: Condvar::new(),
            order: Mutex::new(()),
            position: AtomicU64::new(0),
            memory: AtomicUsize::new(0),
            oldest: AtomicU64::new(0),
            live: AtomicBool::new(false),
            flush: Mutex::default(),
            flushing: AtomicBool::new(false),
            floor: AtomicUsize::new(0),
            unmeasured: AtomicUsize::new(0),
            exemplars: Mutex::default(),
            covered: AtomicU64::new(0),
        }
    }

    /// Notes what the table holds.
    pub(crate) fn measured(&self, memory: usize) {
        self.memory.store(memory, Ordering::Relaxed);
        self.floor.fetch_min(memory, Ordering::Relaxed);
        self.unmeasured.store(0, Ordering::Relaxed);
    }

    /// Nothing is left to write: what the table holds now no flush frees.
    pub(crate) fn flushed(&self) {
        self.floor.store(self.memory.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Bytes that a flush would free.
    pub(crate) fn head_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed).saturating_sub(self.floor.load(Ordering::Relaxed))
    }

    /// The last sequence that was applied or skipped.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Whether a record may have exemplars: it has none if it was applied and is known to have none.
    pub(crate) fn may_have_exemplars(&self, sequence: u64) -> bool {
        sequence > self.position() || self.exemplars.lock().may_have(sequence)
    }

    /// Whether a committed record of this signal is on its way to the table, if only because the table reads the log: whoever wants
    /// to know what the table makes of it has that sooner than by reading it too.
    pub(crate) fn is_coming(&self, sequence: u64) -> bool {
        sequence > self.position()
    }

    /// Whether everything committed is applied as it comes.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// The log's thread hands over a committed record.
    pub(crate) fn push(&self, record: Record, ack: Ack) {
        let mut queue = self.queue.lock();
        if queue.live && queue.bytes > 0 && queue.bytes + record.payload.len() > LONGEST_QUEUE {
            queue.live = false;
            self.live.store(false, Ordering::Release);
            tracing::warn!(signal = self.signal.as_str(), "the table is slower than the log; its records are read from disk");
        }
        if !queue.live {
            drop(queue);
            return ack.kept(None);
        }
        queue.bytes += record.payload.len();
        queue.items.push_back((record, ack));
        if queue.items.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Up to where nothing is left to apply when the log's thread has handed over everything up to `fed`; `None` when
    /// something is.
    pub(crate) fn idle_at(&self, fed: u64) -> Option<u64> {
        let queue = self.queue.lock();
        let idle = queue.items.is_empty() && !queue.applying;
        if !idle {
            return None;
        }
        Some(if queue.live { fed.max(self.position()) } else { self.position() })
    }

    /// Applies what is queued, then ends the applier.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    fn wait_before_retry(&self) {
        let mut queue = self.queue.lock();
        if !queue.closed {
            self.wake.wait_for(&mut queue, RETRY);
        }
    }
}

/// The applier thread.
pub(crate) fn run(core: &Arc<Core>, signal: Signal, covered: u64) {
    let feed = core.feed(signal);
    feed.position.store(covered, Ordering::Release);
    // From the oldest record on, though covered ones are not applied again: their fingerprints are wanted.
    let mut reader = Some(core.log.read_from(core.log.files().oldest().unwrap_or(0)));
    loop {
        if let Some(r) = &mut reader {
            if catch_up(core, feed, r) {
                reader = None;
                core.replayed(signal);
            } else if feed.is_closed() {
                return;
            }
            continue;
        }
        let (items, live) = {
            let mut queue = feed.queue.lock();
            while queue.items.is_empty() && queue.live && !queue.closed {
                feed.wake.wait(&mut queue);
            }
            if queue.items.is_empty() && queue.closed {
                return;
            }
            queue.bytes = 0;
            queue.applying = !queue.items.is_empty();
            (std::mem::take(&mut queue.items), queue.live)
        };
        for (record, ack) in items {
            let summary = apply(core, feed, &record, ack.plain.as_ref());
            if summary.as_ref().is_some_and(|s| s.refused.total() > 0) {
                core.dedupe.lock().forget(fingerprint_of(&record));
            }
            ack.kept(summary);
        }
        feed.queue.lock().applying = false;
        if !live {
            reader = Some(core.log.read_from(feed.position() + 1));
        }
    }
}

/// Reads a stretch of the log; `true` when the feed has caught up and is live.
fn catch_up(core: &Arc<Core>, feed: &Feed, reader: &mut LogReader) -> bool {
    for _ in 0..64 {
        match reader.next_record() {
            Ok(Some(record)) => {
                let ours = record.encoding.signal() == feed.signal;
                let first = !ours || record.encoding.is_deletion() || is_first(core, &record);
                if ours && first && record.sequence > feed.position() {
                    core.counters.replayed.fetch_add(1, Ordering::Relaxed);
                    core.wait_for_memory(feed);
                    apply(core, feed, &record, None);
                } else {
                    feed.position.fetch_max(record.sequence, Ordering::AcqRel);
                }
            }
            Ok(None) => {
                let mut queue = feed.queue.lock();
                if core.log.committed() < reader.position() {
                    feed.position.fetch_max(reader.position() - 1, Ordering::AcqRel);
                    queue.live = true;
                    feed.live.store(true, Ordering::Release);
                    return true;
                }
            }
            Err(e) => {
                tracing::error!(signal = feed.signal.as_str(), error = %e, "the log could not be read; trying again");
                core.counters.read_errors.fetch_add(1, Ordering::Relaxed);
                feed.wait_before_retry();
                return false;
            }
        }
    }
    false
}

/// Whether no record before has the same bytes, or one has and lost rows to a deletion before this one came.
fn is_first(core: &Core, record: &Record) -> bool {
    let fingerprint = fingerprint_of(record);
    if core.dedupe.lock().replayed(fingerprint, record.sequence) {
        return true;
    }
    let Some(first) = core.dedupe.lock().first_of(fingerprint) else { return false };
    let again = core.lost_rows(&Record { sequence: first, ..record.clone() }, record.sequence);
    if again {
        core.dedupe.lock().sent_again(fingerprint, record.sequence);
    }
    again
}

fn apply(core: &Core, feed: &Feed, record: &Record, plain: Option<&wire::Plain>) -> Option<Summary> {
    let table = core.table(feed.signal);
    let mut applied = None;
    {
        let _order = feed.order.lock();
        if record.sequence <= feed.position() {
            return None;
        }
        let applying = match record.encoding.is_deletion() {
            true => core.in_order(feed, record).map(|_| Summary::default()),
            false => table.apply_plain(record, plain, &core.deleted_of(record)),
        };
        match applying {
            Ok(summary) => {
                core.counters.rows[feed.signal as usize].fetch_add(summary.accepted, Ordering::Relaxed);
                let now = u64::try_from(core.options.clock.monotonic().as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
                core.counters.refused_rows[feed.signal as usize].fetch_add(summary.refused.total(), Ordering::Relaxed);
                if feed.signal == Signal::Metrics {
                    feed.exemplars.lock().note(record.sequence, summary.exemplars > 0);
                }
                // Only the first after a freeze counts; a deletion leaves nothing to flush.
                if !record.encoding.is_deletion() {
                    let _ = feed.oldest.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
                }
                applied = Some(summary);
            }
            Err(e @ StoreError::Wire(_)) => {
                core.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(sequence = record.sequence, error = %e, "a record cannot be read; it is skipped");
            }
            Err(e) => {
                core.counters.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(sequence = record.sequence, error = %e, "a record could not be applied; it is skipped");
            }
        }
        feed.position.store(record.sequence, Ordering::Release);
    }
    let unmeasured = feed.unmeasured.fetch_add(record.payload.len(), Ordering::Relaxed) + record.payload.len();
    if unmeasured >= core.options.flush_bytes / MEASURED_IN {
        feed.measured(table.memory());
        if feed.head_bytes() >= core.options.flush_bytes {
            core.wake.notify_all();
        }
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_no_exemplars_only_where_that_is_known() {
        let mut known = WithExemplars::default();
        assert!(known.may_have(1));
        for sequence in 5..10_000 {
            known.note(sequence, sequence % 2 == 0);
        }
        assert!(known.may_have(4) && known.may_have(5), "forgotten, so not known");
        assert!(known.may_have(9_998) && !known.may_have(9_999));
    }
}
