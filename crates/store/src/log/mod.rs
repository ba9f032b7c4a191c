//! The write-ahead log: the spine that everything else reads.
//!
//! # Invariants, each with the test that holds it
//!
//! 1. *A record is acknowledged only when it and the name of its file are durable.* Whatever the disk loses in a power
//!    cut, every acknowledged record is read back, once, in order. (`tests/crash_log.rs`: `acknowledged_records_survive`)
//! 2. *A file is never synced again after a failed write or sync.* The group is refused, the file is given up behind its
//!    last commit, and the next group goes to a new file, which takes the same sequences. A reader therefore ignores
//!    sequences in a file that the next file begins with or passes. (`tests/crash_log.rs`: `a_failed_sync_*`)
//! 3. *Sequences only grow.* A new start goes on above everything found in the log **and** above what the manifest covers:
//!    else a log that lost its tail to damage would give new records numbers that count as already flushed.
//!    (`a_damaged_tail_does_not_bring_sequences_back`)
//! 4. *Damage costs what it hits, nothing more.* A reader that meets bytes that are no record goes on at the next record;
//!    the stretch is copied to `quarantine/`, counted and reported once. (`bit_flips_*`)
//! 5. *Nothing in a payload can pass for a record*: headers are checksummed with a salt that payloads cannot know.
//!    (`format.rs`)
//! 6. *The log is cut behind the slowest reader*, whole files at a time. (`engine`)
//!
//! A record of a group that was refused, or whose acknowledgement was never sent, may or may not be read back.

mod cursors;
mod files;
pub mod format;
mod latency;
mod reader;
mod scan;
mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Tenant;
use parking_lot::{Condvar, Mutex};
use wire::Encoding;

pub use cursors::{AtCap, Cursors};
pub use files::{FOLDER, Files, LogFile, QUARANTINE, path_of};
pub use latency::{Latency, LatencySnapshot};
pub use reader::{LogReader, Next};
pub use scan::{Damage, Found, Look, Scan};

use crate::disk::Disk;
use crate::{Priority, Record, StoreError};

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// When it is durable.
    #[default]
    EveryCommit,
    /// When it is written; made durable at this interval. The faster mode: a power cut (not a crash of the process) can
    /// take what was acknowledged within the interval.
    Interval(Duration),
}

/// How the log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// When an append counts as done.
    pub sync: SyncMode,
    /// Size at which a file is finished and the next begun.
    pub file_bytes: u64,
    /// Bytes that may wait for the writer; more is refused as [`StoreError::Busy`].
    pub queue_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { sync: SyncMode::EveryCommit, file_bytes: 64 << 20, queue_bytes: 64 << 20 }
    }
}

/// What the log counts.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Groups committed.
    pub commits: AtomicU64,
    /// Groups refused because of the disk.
    pub failed_commits: AtomicU64,
    /// Bytes written, headers included.
    pub bytes: AtomicU64,
    /// Syncs and how long they took.
    pub sync: Latency,
    /// Damaged stretches found.
    pub damaged_stretches: AtomicU64,
    /// Bytes in them.
    pub damaged_bytes: AtomicU64,
    /// Intact records of encodings that this version does not know.
    pub unknown_records: AtomicU64,
}

/// A request on its way into the log.
pub struct Pending {
    /// Whose.
    pub tenant: Tenant,
    /// How to read the payload.
    pub encoding: Encoding,
    /// When it came in, nanoseconds since the Unix epoch.
    pub received: i64,
    /// The bytes.
    pub payload: Bytes,
    /// Called once, by the log's thread and in the order of sequences, when the record is committed or refused.
    pub done: Box<dyn FnOnce(Result<Record, StoreError>) + Send>,
}

impl Pending {
    fn cost(&self) -> usize {
        self.payload.len() + format::RECORD_HEADER
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("encoding", &self.encoding).field("bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Pending>,
    bytes: usize,
    closed: bool,
    rotate: bool,
}

#[derive(Debug)]
struct Shared {
    options: LogOptions,
    files: Arc<Files>,
    counters: Arc<LogCounters>,
    queue: Mutex<Queue>,
    wake: Condvar,
    cut_to: AtomicU64,
}

/// The log: one writer, any number of readers.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    committed: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log of `disk`: finds its end (see [`Files::open`]; records of the last file are shown to `seen`) and starts
    /// the writer. Sequences go on above `floor`.
    ///
    /// # Errors
    /// IO, and [`StoreError::Version`].
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions, floor: u64, seen: &mut dyn FnMut(&Record)) -> Result<Self, StoreError> {
        let counters = Arc::new(LogCounters::default());
        let (files, next) = Files::open(disk, Arc::clone(&counters), floor, seen)?;
        let committed = Arc::new(AtomicU64::new(next - 1));
        let shared = Arc::new(Shared {
            options,
            files: Arc::new(files),
            counters,
            queue: Mutex::default(),
            wake: Condvar::new(),
            cut_to: AtomicU64::new(0),
        });
        let writer = writer::Writer::new(Arc::clone(&shared), Arc::clone(&committed));
        let thread = std::thread::Builder::new()
            .name("braid-log".into())
            .spawn(move || {
                // Else it took a fifth of a core from queries when there is too much to do.
                Priority::Intake.apply();
                writer.run();
            })
            .map_err(StoreError::io("starting the log's thread"))?;
        Ok(Self { shared, committed, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a request; `done` is called when it is committed or refused.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when the queue is full, [`StoreError::Limit`] for a payload that no record holds,
    /// [`StoreError::Closed`]; `done` is not called then.
    pub fn append(&self, pending: Pending) -> Result<(), StoreError> {
        if pending.payload.len() > format::MAX_BODY {
            return Err(StoreError::Limit(format!("a request has at most {} bytes", format::MAX_BODY)));
        }
        let cost = pending.cost();
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return Err(StoreError::Closed);
        }
        if queue.bytes > 0 && queue.bytes + cost > self.shared.options.queue_bytes {
            return Err(StoreError::Busy("too many requests wait for the disk".into()));
        }
        queue.bytes += cost;
        queue.items.push_back(pending);
        // The writer sleeps only when the queue was empty.
        if queue.items.len() == 1 {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// The last committed sequence; 0 when there is none.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// A walk over the records from sequence `from` on.
    #[must_use]
    pub fn read_from(&self, from: u64) -> LogReader {
        LogReader::new(Arc::clone(&self.shared.files), Arc::clone(&self.committed), from)
    }

    /// Gives up everything up to `upto`: removes the files that hold nothing else. When that is all there is, the file that
    /// is being written is finished so that it can go too.
    pub fn cut(&self, upto: u64) {
        self.shared.cut_to.fetch_max(upto, Ordering::AcqRel);
        self.shared.files.cut(upto);
        if self.committed() <= upto && self.shared.files.count() > 0 {
            self.shared.queue.lock().rotate = true;
            self.shared.wake.notify_one();
        }
    }

    /// Waits until the log's thread has let go of the file that it wrote to, where [`Log::cut`] covers all of it.
    pub fn wait_until_cut(&self, at_most: Duration) {
        let begun = Instant::now();
        let is_due = || self.committed() <= self.shared.cut_to.load(Ordering::Acquire) && self.shared.files.count() > 0;
        while is_due() && begun.elapsed() < at_most {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Arc<Files> {
        &self.shared.files
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<LogCounters> {
        &self.shared.counters
    }

    /// Commits what is queued, then stops the writer. Appends are refused from now on.
    pub fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the writer was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}
