//! The one thread that writes: group commit.
//!
//! It takes all that is queued, writes it with one vectored write, makes it durable with one `fdatasync`, and only then
//! tells each caller. While it syncs the next group gathers; so the more there is to do, the larger the groups, and the
//! cost of a sync is shared by all who wait for it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::files::{FOLDER, LogFile, path_of};
use super::format::{FileHeader, HEADER_BLOCK, RECORD_HEADER, VERSION, encode_header};
use super::{Pending, Shared, SyncMode};
use crate::disk::DiskFile;
use crate::{Record, StoreError};

/// Bytes that are committed together at most (one larger record goes alone).
const LARGEST_GROUP: usize = 8 << 20;

struct Active {
    file: Arc<dyn DiskFile>,
    header: FileHeader,
    /// End of what is committed.
    at: u64,
    /// Last committed sequence; below `header.first` while there is none.
    last: u64,
    /// Written, but not yet synced (only with [`SyncMode::Interval`]).
    dirty: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    committed: Arc<AtomicU64>,
    active: Option<Active>,
    synced_at: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, committed: Arc<AtomicU64>) -> Self {
        Self { shared, committed, active: None, synced_at: Instant::now() }
    }

    pub(super) fn run(mut self) {
        while let Some(group) = self.take() {
            if !group.is_empty() {
                self.commit(group);
            }
            self.sync_if_due();
            if self.shared.queue.lock().rotate {
                self.rotate();
            }
        }
        if self.active.as_ref().is_some_and(|a| a.dirty) {
            self.sync_active();
        }
        self.close_active();
    }

    /// The next group; empty when there is other work; `None` when the log is closed and drained.
    fn take(&self) -> Option<Vec<Pending>> {
        let mut queue = self.shared.queue.lock();
        loop {
            if !queue.items.is_empty() {
                let mut group = Vec::new();
                let mut bytes = 0;
                while let Some(next) = queue.items.front() {
                    bytes += next.payload.len() + RECORD_HEADER;
                    if bytes > LARGEST_GROUP && !group.is_empty() {
                        break;
                    }
                    group.extend(queue.items.pop_front());
                }
                queue.bytes -= group.iter().map(Pending::cost).sum::<usize>();
                return Some(group);
            }
            if queue.closed {
                return None;
            }
            if queue.rotate {
                return Some(Vec::new());
            }
            match self.until_sync() {
                Some(Duration::ZERO) => return Some(Vec::new()),
                Some(wait) => {
                    self.shared.wake.wait_for(&mut queue, wait);
                }
                None => self.shared.wake.wait(&mut queue),
            }
        }
    }

    /// How long until unsynced bytes must be synced; `None` when there are none.
    fn until_sync(&self) -> Option<Duration> {
        match (self.shared.options.sync, &self.active) {
            (SyncMode::Interval(interval), Some(a)) if a.dirty => Some(interval.saturating_sub(self.synced_at.elapsed())),
            _ => None,
        }
    }

    fn sync_if_due(&mut self) {
        if self.until_sync() == Some(Duration::ZERO) {
            self.sync_active();
        }
    }

    /// Syncs what was acknowledged before it was durable; a failure can only be reported.
    fn sync_active(&mut self) {
        let Some(active) = &mut self.active else { return };
        let outcome = sync(&self.shared, &*active.file);
        (active.dirty, self.synced_at) = (false, Instant::now());
        if let Err(e) = outcome {
            tracing::error!(error = %e, "the log could not be synced; with sync mode `interval` acknowledged records may be lost");
            self.close_active();
        }
    }

    fn rotate(&mut self) {
        self.shared.queue.lock().rotate = false;
        if self.active.as_ref().is_some_and(|a| a.dirty) {
            self.sync_active();
        }
        self.close_active();
        self.shared.files.cut(self.shared.cut_to.load(Ordering::Acquire));
    }

    /// The active file is finished: nothing is ever written to it again.
    fn close_active(&mut self) {
        if let Some(a) = self.active.take() {
            self.shared.files.set(LogFile { first: a.header.first, last: a.last, bytes: a.at, active: false });
        }
    }

    fn commit(&mut self, group: Vec<Pending>) {
        match self.write(&group) {
            Ok(first) => self.acknowledge(group, first),
            Err(e) => {
                self.abandon();
                self.shared.counters.failed_commits.fetch_add(1, Ordering::Relaxed);
                tracing::error!(error = %e, records = group.len(), "a commit failed; its records are refused and the log file is given up");
                for pending in group {
                    (pending.done)(Err(refusal(&e)));
                }
            }
        }
    }

    /// Writes and syncs a group; returns its first sequence.
    fn write(&mut self, group: &[Pending]) -> io::Result<u64> {
        let full = self.active.as_ref().is_some_and(|a| a.at >= self.shared.options.file_bytes);
        if full {
            if self.active.as_ref().is_some_and(|a| a.dirty) {
                self.sync_active();
            }
            self.close_active();
        }
        let first = self.committed.load(Ordering::Relaxed) + 1;
        let fresh = self.active.is_none();
        if fresh {
            self.active = Some(self.create(first)?);
        }
        let Some(active) = &mut self.active else { return Err(io::Error::other("no active log file")) };
        let headers: Vec<[u8; RECORD_HEADER]> = group
            .iter()
            .zip(first..)
            .map(|(p, sequence)| encode_header(active.header.salt, sequence, p.received, &p.tenant, p.encoding, &p.payload))
            .collect();
        let mut parts = Vec::with_capacity(group.len() * 3);
        for (p, header) in group.iter().zip(&headers) {
            parts.extend([IoSlice::new(header), IoSlice::new(p.tenant.as_str().as_bytes()), IoSlice::new(&p.payload)]);
        }
        let bytes: usize = parts.iter().map(|p| p.len()).sum();
        active.file.write_at(active.at, &mut parts)?;
        match self.shared.options.sync {
            SyncMode::EveryCommit => sync(&self.shared, &*active.file)?,
            SyncMode::Interval(_) => active.dirty = true,
        }
        if fresh {
            // The name must be as durable as the records before anyone hears of them.
            self.shared.files.disk.sync_dir(FOLDER)?;
        }
        active.at += bytes as u64;
        active.last = first + group.len() as u64 - 1;
        self.shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(first)
    }

    fn acknowledge(&mut self, group: Vec<Pending>, first: u64) {
        if let Some(a) = &self.active {
            self.shared.files.set(LogFile { first: a.header.first, last: a.last, bytes: a.at, active: true });
        }
        let last = first + group.len() as u64 - 1;
        self.committed.store(last, Ordering::Release);
        for (p, sequence) in group.into_iter().zip(first..) {
            let record = Record { sequence, tenant: p.tenant, encoding: p.encoding, received: p.received, payload: p.payload };
            (p.done)(Ok(record));
        }
    }

    fn create(&self, first: u64) -> io::Result<Active> {
        let path = path_of(first);
        let disk = &self.shared.files.disk;
        let file = match disk.create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // Only an abandoned file without a committed record can have this name.
                disk.remove(&path)?;
                disk.create(&path)?
            }
            other => other?,
        };
        let header = FileHeader { version: VERSION, first, salt: random() };
        file.write_at(0, &mut [IoSlice::new(&header.encode())])?;
        Ok(Active { file, header, at: HEADER_BLOCK, last: first - 1, dirty: false })
    }

    /// After a failed write or sync: what lies behind the last commit is unknown, and no sync of this file is believed any
    /// more. Its committed part stays readable; the refused sequences are given to the next file, which makes what a reader
    /// may find of them here void.
    fn abandon(&mut self) {
        let Some(a) = self.active.take() else { return };
        let path = path_of(a.header.first);
        if a.last < a.header.first {
            // Tidying only: `create` removes it too.
            let _ = self.shared.files.disk.remove(&path);
            return;
        }
        self.shared.files.set(LogFile { first: a.header.first, last: a.last, bytes: a.at, active: false });
        if let Err(e) = a.file.set_size(a.at) {
            tracing::warn!(%path, error = %e, "an abandoned log file could not be cut to its committed part");
        }
    }
}

fn sync(shared: &Shared, file: &dyn DiskFile) -> io::Result<()> {
    let begin = Instant::now();
    let outcome = file.sync();
    shared.counters.sync.record(begin.elapsed());
    outcome
}

/// What the callers of a failed commit hear: all retryable but for lasting damage.
fn refusal(e: &io::Error) -> StoreError {
    match e.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::PermissionDenied => StoreError::Full(format!("the log cannot be written: {e}")),
        kind => StoreError::Io { what: "writing the log".into(), source: io::Error::new(kind, e.to_string()) },
    }
}

/// 64 bits that nobody outside can guess.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
