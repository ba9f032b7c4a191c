//! The engine: the log in front, three tables behind it, and the threads that move rows between head, segments and nowhere.
//!
//! Threads: the log's writer, an applier a signal ([`feed`]), the keeper (flush, manifest, cut, unlink: [`keeper`]), the
//! compactor (merges and retention: [`compact`]).
//!
//! # Invariants (held by `tests/crash_engine.rs`, `crash_upkeep.rs`, `crash_store.rs` and `crash_kill.rs`)
//!
//! 1. *Durable before acknowledged, in the head before visible, in a segment before cut*: a record leaves the log only when
//!    two manifests say that segments hold it, for every signal, and no named reader still needs it.
//! 2. *A view never sees a row twice or misses one*: segments enter service and their frozen head goes in one step under
//!    the snapshot lock, under which views are taken.
//! 3. *A file that may be read stays*: dropped segments are unlinked when two manifests lack them, nobody holds a list that
//!    names them, and the grace period is over.
//! 4. *Only one process writes*: the directory is locked, and a closed engine writes no manifest, whatever its threads do.

mod clock;
mod compact;
mod dedupe;
mod delete;
mod feed;
mod keeper;
mod live;
mod mirror;
mod named;
mod open;
mod options;
mod segments;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::Tenant;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};
use wire::Signal;

pub use clock::{Clock, ManualClock, SystemClock};
pub use live::Live;
pub use named::NamedReader;
pub use options::Options;
pub use stats::Stats;

use crate::contract::{Appended, Request, Writer};
use crate::lock::DirectoryLock;
use crate::log::{AtCap, Cursors, Log, Pending};
use crate::manifest::Manifest;
use crate::remote::Remote;
use crate::table::Table;
use crate::{Deletion, Record, SegmentMeta, StoreError, Tombstone};
use dedupe::{Begun, Dedupe, Outcome, Waiter, fingerprint};
use feed::{Ack, Feed};
use keeper::Kept;
use segments::DiskSegments;
pub(crate) use segments::files_of;
use stats::{Counters, count};

/// Requests that a live tail may lag behind.
const TAIL: usize = 1024;
/// How long a shutdown waits for a merge or a flush that is under way; their files are removed at the next start.
const PATIENCE: Duration = Duration::from_millis(1200);

/// What the threads share.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) remote: Option<Arc<Remote>>,
    tables: [Arc<dyn Table>; 3],
    feeds: [Feed; 3],
    pub(crate) segments: Arc<DiskSegments>,
    /// The snapshot lock.
    live: Arc<RwLock<Arc<Live>>>,
    pub(crate) kept: Mutex<Kept>,
    pub(crate) dedupe: Mutex<Dedupe>,
    cursors: Mutex<Option<Arc<Cursors>>>,
    pub(crate) counters: Counters,
    tail: broadcast::Sender<Request>,
    in_flight: Arc<Semaphore>,
    /// Told when a head has become smaller.
    room: Notify,
    /// The last sequence that the log's thread has handed over.
    fed: AtomicU64,
    pub(crate) full: AtomicBool,
    /// Free space at the last look, bytes.
    free: AtomicU64,
    /// The log was over its cap at the last look.
    log_blocked: AtomicBool,
    /// The sequence behind which the log had to be kept at the last look; nothing has been looked at yet: the highest.
    log_needed: AtomicU64,
    /// Free space was so short at the last look that slow readers have to give up records.
    pub(crate) short: AtomicBool,
    /// The process is close to its memory budget.
    short_of_memory: AtomicBool,
    pub(crate) stopping: AtomicBool,
    sleep: Mutex<()>,
    /// Wakes the compactor.
    stopped: Condvar,
    exhausted: Mutex<compact::Exhausted>,
    /// Wakes the keeper.
    pub(crate) wake: Arc<Condvar>,
    /// Sequence of the latest deletion: records before it may have lost rows.
    pub(crate) latest_deletion: AtomicU64,
    /// Signals that have replayed the log.
    replayed: [AtomicBool; 3],
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("disk", &self.options.disk.name()).finish_non_exhaustive()
    }
}

/// The engine over any three tables.
#[derive(Debug)]
pub struct Engine {
    core: Arc<Core>,
    lock: Mutex<Option<DirectoryLock>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Core {
    pub(crate) fn table(&self, signal: Signal) -> &dyn Table {
        &*self.tables[signal as usize]
    }

    pub(crate) fn feed(&self, signal: Signal) -> &Feed {
        &self.feeds[signal as usize]
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    fn replayed(&self, signal: Signal) {
        self.replayed[signal as usize].store(true, Ordering::Release);
    }

    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Sleeps until woken, or for `at_most`.
    pub(crate) fn sleep(&self, at_most: Duration) {
        let mut guard = self.sleep.lock();
        if !self.is_stopping() {
            self.wake.wait_for(&mut guard, at_most);
        }
    }

    /// Sleeps until the engine stops, or for `at_most`.
    pub(crate) fn rest(&self, at_most: Duration) {
        let mut guard = self.sleep.lock();
        if !self.is_stopping() {
            self.stopped.wait_for(&mut guard, at_most);
        }
    }

    fn heads(&self) -> usize {
        self.feeds.iter().map(Feed::head_bytes).sum()
    }

    fn has_room(&self) -> bool {
        self.heads() < self.options.heads_bytes
    }

    pub(crate) fn measure_heads(&self) {
        for feed in &self.feeds {
            feed.measured(self.table(feed.signal).memory());
        }
        self.room.notify_waiters();
    }

    /// Holds a replaying applier back while the heads are too large.
    fn wait_for_memory(&self, feed: &Feed) {
        while !self.has_room() && feed.head_bytes() > 0 && !self.is_stopping() {
            self.wake.notify_all();
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The log's thread: a request is committed or refused.
    fn committed(&self, fingerprint: u128, ack: Ack, outcome: Result<Record, StoreError>) {
        match outcome {
            Ok(record) => {
                let mut ack = ack;
                ack.waiters.extend(self.dedupe.lock().kept(fingerprint, record.sequence));
                if self.tail.receiver_count() > 0 {
                    let request =
                        Request { tenant: record.tenant.clone(), encoding: record.encoding, payload: record.payload.clone() };
                    // Without receivers there is nobody to tell.
                    let _ = self.tail.send(request);
                }
                let sequence = record.sequence;
                self.feed(record.encoding.signal()).push(record, ack);
                self.fed.store(sequence, Ordering::Release);
            }
            Err(e) => {
                count(if matches!(e, StoreError::Full(_)) { &self.counters.refused_full } else { &self.counters.refused_failed });
                let others = self.dedupe.lock().refused(fingerprint);
                for waiter in others.into_iter().chain(ack.waiters) {
                    // Nobody has to wait for the answer.
                    let _ = waiter.send(Err(again(&e)));
                }
            }
        }
    }

    async fn append(self: &Arc<Self>, request: Request, plain: Option<wire::Plain>) -> Outcome {
        count(&self.counters.appends);
        self.counters.append_bytes.fetch_add(request.payload.len() as u64, Ordering::Relaxed);
        let fingerprint = fingerprint(&request.tenant, request.encoding, &request.payload);
        let mut begun = self.dedupe.lock().begin(fingerprint);
        if let Begun::Kept(sequence) = begun
            && self.lost_rows(&as_kept(&request, sequence), u64::MAX)
        {
            begun = self.dedupe.lock().again(fingerprint);
        }
        match begun {
            Begun::Kept(_) => {
                count(&self.counters.duplicates);
                return Ok(None);
            }
            Begun::Wait(outcome) => {
                count(&self.counters.duplicates);
                return outcome.await.unwrap_or(Err(StoreError::Closed));
            }
            Begun::New => {}
        }
        // From here on the fingerprint is marked as under way: whatever happens, the mark must go.
        let mark = Mark { core: self, fingerprint, armed: true };
        match self.admit(&request).await {
            Ok(permit) => {
                let (tell, outcome) = oneshot::channel();
                self.enqueue(request, mark, Ack { waiters: vec![tell], permit: Some(permit), plain })?;
                outcome.await.unwrap_or(Err(StoreError::Closed))
            }
            Err(e) => {
                count(match &e {
                    StoreError::Full(_) => &self.counters.refused_full,
                    _ => &self.counters.refused_busy,
                });
                mark.refuse(&e);
                Err(e)
            }
        }
    }

    fn enqueue(self: &Arc<Self>, request: Request, mark: Mark<'_>, ack: Ack) -> Result<(), StoreError> {
        let (core, fingerprint) = (Arc::clone(self), mark.fingerprint);
        let pending = Pending {
            tenant: request.tenant,
            encoding: request.encoding,
            received: self.options.clock.now(),
            payload: request.payload,
            done: Box::new(move |outcome| core.committed(fingerprint, ack, outcome)),
        };
        match self.log.append(pending) {
            Ok(()) => {
                mark.disarm();
                Ok(())
            }
            Err(e) => {
                count(&self.counters.refused_busy);
                mark.refuse(&e);
                Err(e)
            }
        }
    }

    /// Why no request is taken in, whatever it is.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        if self.full.load(Ordering::Acquire) {
            let why = "the data directory is almost full; appends are refused until there is space";
            return Some(StoreError::Full(why.into()));
        }
        if let Some(why) = self.remote.as_ref().and_then(|r| r.fenced()) {
            return Some(StoreError::Full(why));
        }
        if self.log_blocked.load(Ordering::Acquire) || self.is_far_over_cap() {
            let behind = self.remote.as_ref().filter(|r| r.covered() < self.agreed() || r.is_away());
            let why = behind.map_or_else(
                || "the log is at its size cap; what reads it, or writes it as segments, is behind".into(),
                |r| r.behind(),
            );
            return Some(StoreError::Busy(why));
        }
        None
    }

    /// Whether the log has outgrown its cap by more than an eighth since the last look. A reader that may lose records gives them up
    /// at a look, so that nobody is refused for it at the cap itself; but what comes between two looks is bounded.
    fn is_far_over_cap(&self) -> bool {
        let cap = self.options.log_cap;
        self.log.files().bytes_after(self.log_needed.load(Ordering::Acquire)) > cap.saturating_add(cap / 8)
    }

    /// Waits until there is room for a request.
    async fn admit(&self, request: &Request) -> Result<tokio::sync::OwnedSemaphorePermit, StoreError> {
        if self.is_stopping() {
            return Err(StoreError::Closed);
        }
        if let Some(why) = self.refusal() {
            return Err(why);
        }
        let units = units(request.payload.len()).min(units(self.options.in_flight_bytes));
        let permit = match Arc::clone(&self.in_flight).try_acquire_many_owned(units) {
            Ok(permit) => permit,
            Err(_) => {
                let permit = Arc::clone(&self.in_flight).acquire_many_owned(units);
                tokio::time::timeout(self.options.busy_after, permit)
                    .await
                    .map_err(|_| StoreError::Busy("too many requests are under way".into()))?
                    .map_err(|_| StoreError::Closed)?
            }
        };
        if !self.has_room() {
            self.wake.notify_all();
            tokio::time::timeout(self.options.busy_after, self.wait_for_room())
                .await
                .map_err(|_| StoreError::Busy("the heads are full and cannot be written fast enough".into()))?;
        }
        Ok(permit)
    }

    async fn wait_for_room(&self) {
        loop {
            let told = self.room.notified();
            if self.has_room() {
                return;
            }
            told.await;
        }
    }
}

/// A request as the log has it at `sequence`.
fn as_kept(request: &Request, sequence: u64) -> Record {
    let Request { tenant, encoding, payload } = request.clone();
    Record { sequence, tenant, encoding, received: 0, payload }
}

/// KiB, at least one: what permits are counted in.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).max(1)).unwrap_or(u32::MAX)
}

/// The same error for another caller.
fn again(e: &StoreError) -> StoreError {
    match e {
        StoreError::Busy(m) => StoreError::Busy(m.clone()),
        StoreError::Full(m) => StoreError::Full(m.clone()),
        StoreError::Limit(m) => StoreError::Limit(m.clone()),
        StoreError::Closed => StoreError::Closed,
        StoreError::Io { what, source } => {
            StoreError::Io { what: what.clone(), source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        other => StoreError::Busy(other.to_string()),
    }
}

/// The mark "this request is under way", which goes when the request does not reach the log.
struct Mark<'a> {
    core: &'a Core,
    fingerprint: u128,
    armed: bool,
}

impl Mark<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }

    fn refuse(mut self, e: &StoreError) {
        self.armed = false;
        for waiter in self.core.dedupe.lock().refused(self.fingerprint) {
            // Nobody has to wait for the answer.
            let _ = waiter.send(Err(again(e)));
        }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        // The caller went away while it waited for room; others with the same bytes are told to come again.
        if self.armed {
            let waiters: Vec<Waiter> = self.core.dedupe.lock().refused(self.fingerprint);
            for waiter in waiters {
                let _ = waiter.send(Err(StoreError::Busy("the same request was given up by another caller".into())));
            }
        }
    }
}

impl Writer for Engine {
    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        Engine::delete(self, deletion)
    }

    fn cancel(&self, tenant: &Tenant, id: u64) -> Result<bool, StoreError> {
        Engine::cancel(self, tenant, id)
    }

    fn append(&self, request: Request) -> Appended<'_> {
        self.append_plain(request, None)
    }

    fn append_plain(&self, request: Request, plain: Option<wire::Plain>) -> Appended<'_> {
        Box::pin(self.core.append(request, plain))
    }

    fn subscribe(&self) -> broadcast::Receiver<Request> {
        self.core.tail.subscribe()
    }
}

impl Engine {
    /// Takes views: `take` gets the segments in service and must take the heads' views before it returns; no flush gets in
    /// between. Keep the [`Live`] for as long as its files are read.
    pub fn with_snapshot<T>(&self, take: impl FnOnce(&Arc<Live>) -> T) -> T {
        take(&self.core.live.read())
    }

    /// See [`crate::Store::frozen`].
    #[must_use]
    pub fn frozen(&self) -> (Manifest, Arc<Live>) {
        let core = &self.core;
        let kept = core.kept.lock();
        let live = core.live();
        let manifest = Manifest {
            number: 1,
            epoch: 1,
            written: core.options.clock.now(),
            next_segment: core.segments.next_id(),
            // What comes later goes on with higher sequences, so that deletions reach these segments.
            covered: [core.log.committed(); 3],
            segments: live.all().map(|s| (**s).clone()).collect(),
            quarantined: Vec::new(),
            tombstones: live.tombstones().to_vec(),
            waiting: live.waiting().to_vec(),
        };
        drop(kept);
        (manifest, live)
    }

    /// See [`crate::Store::set_short_of_memory`].
    pub(crate) fn set_short_of_memory(&self, short: bool) {
        if !self.core.short_of_memory.swap(short, Ordering::AcqRel) && short {
            self.core.wake.notify_all();
        }
    }

    /// The segments in service.
    #[must_use]
    pub fn manifest_view(&self) -> Arc<Live> {
        self.core.live()
    }

    /// `Some(why)` while acknowledged rows may be missing from views, because the log is being replayed.
    #[must_use]
    pub fn partial(&self) -> Option<String> {
        let missing: Vec<&str> = Signal::ALL.into_iter().filter(|s| !self.core.feed(*s).is_live()).map(Signal::as_str).collect();
        (!missing.is_empty()).then(|| format!("the log is being replayed for {}", missing.join(", ")))
    }

    /// A named reader of the log with a durable cursor: it goes on after what it last saved, a new one begins with what is
    /// appended from now on. The log is kept for it; `at_cap` says what happens when that becomes too much.
    ///
    /// # Errors
    /// IO.
    pub fn reader(&self, name: &str, at_cap: AtCap) -> Result<NamedReader, StoreError> {
        let cursors = self.core.cursors_or_create()?;
        let after = cursors.register(name, self.core.log.committed(), at_cap)?;
        let log = self.core.log.read_from(after + 1);
        Ok(NamedReader::new(name, log, Arc::clone(&self.core), cursors))
    }

    /// The names of all readers that the log is kept for.
    #[must_use]
    pub fn readers(&self) -> Vec<String> {
        let cursors = self.core.cursors();
        cursors.into_iter().flat_map(|c| c.all()).map(|(name, _, _)| name).collect()
    }

    /// Forgets a named reader.
    ///
    /// # Errors
    /// IO.
    pub fn remove_reader(&self, name: &str) -> Result<(), StoreError> {
        self.core.cursors().map_or(Ok(()), |cursors| cursors.remove(name))
    }

    /// Writes the heads, merges what can be merged, cuts the log and unlinks what is dropped, until nothing is left to do
    /// (the grace period of files is not waited for). For benchmarks and tests.
    ///
    /// # Errors
    /// The first failure.
    pub fn flush_all(&self) -> Result<(), StoreError> {
        while self.partial().is_some() && !self.core.is_stopping() {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.core.settle()
    }

    /// Writes the head of one signal now; for tests.
    ///
    /// # Errors
    /// IO.
    pub fn flush(&self, signal: Signal) -> Result<(), StoreError> {
        self.core.flush(signal)
    }

    /// Applies retention now; for tests.
    pub fn expire(&self) {
        self.core.expire();
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The object store behind the disk.
    #[must_use]
    pub fn objects(&self) -> Option<&objects::Bucket> {
        self.core.options.remote.as_ref().map(|r| &*r.bucket)
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Stops: commits and applies what was accepted, leaves the heads to the log. Appends are refused from now on. Takes well
    /// under two seconds; a merge that is under way is left behind, to be begun anew after the next start.
    pub fn close(&self) {
        let core = &self.core;
        if core.stopping.swap(true, Ordering::AcqRel) && self.lock.lock().is_none() {
            return;
        }
        core.in_flight.close();
        core.log.close();
        core.feeds.iter().for_each(Feed::close);
        core.wake.notify_all();
        core.segments.close();
        if let Some(remote) = &core.remote {
            remote.release();
            remote.close();
        }
        core.kept.lock().close();
        let deadline = Instant::now() + PATIENCE;
        for thread in self.threads.lock().drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                core.wake.notify_all();
                core.stopped.notify_all();
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // A panic was reported where it happened.
                let _ = thread.join();
            }
        }
        *self.lock.lock() = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// A segment as the tables name it, shared.
pub(crate) type Segment = Arc<SegmentMeta>;
