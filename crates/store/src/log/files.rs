//! Which log files there are, what is committed in each, and what happens to damaged bytes.

use std::collections::{BTreeMap, HashSet};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;

use super::LogCounters;
use super::scan::{Damage, Found, Scan};
use crate::disk::Disk;
use crate::{Record, StoreError};

/// Folder of the log.
pub const FOLDER: &str = "log";
/// Folder of what was damaged.
pub const QUARANTINE: &str = "quarantine";
/// Damaged stretches longer than this are reported, not copied.
const LARGEST_COPY: u64 = 64 << 20;

/// One file, as readers and the cut need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Sequence that it begins with.
    pub first: u64,
    /// Last sequence that may be in it.
    pub last: u64,
    /// End of what is committed.
    pub bytes: u64,
    /// Whether it is being appended to.
    pub active: bool,
}

/// The path of the file that begins with `first`.
#[must_use]
pub fn path_of(first: u64) -> String {
    format!("{FOLDER}/{first:020}.log")
}

/// The files of a log, shared by its writer and its readers.
#[derive(Debug)]
pub struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) counters: Arc<LogCounters>,
    catalog: Mutex<BTreeMap<u64, LogFile>>,
    reported: Mutex<HashSet<(u64, u64)>>,
}

impl Files {
    /// Lists the files and finds the end of the log: returns with it the sequence to go on with, which is above `floor`.
    /// Each record of the last file is shown to `seen`. A torn tail is copied to the quarantine and cut off.
    ///
    /// # Errors
    /// IO, and [`StoreError::Version`] for files of a later version.
    pub fn open(
        disk: Arc<dyn Disk>,
        counters: Arc<LogCounters>,
        floor: u64,
        seen: &mut dyn FnMut(&Record),
    ) -> Result<(Self, u64), StoreError> {
        disk.create_dir(FOLDER).map_err(StoreError::io("creating log/"))?;
        let mut firsts: Vec<(u64, u64)> = Vec::new();
        for entry in disk.list(FOLDER).map_err(StoreError::io("listing log/"))? {
            if let Some(first) = entry.name.strip_suffix(".log").and_then(|n| n.parse().ok()) {
                firsts.push((first, entry.bytes));
            }
        }
        let mut catalog: BTreeMap<u64, LogFile> = BTreeMap::new();
        for (i, (first, bytes)) in firsts.iter().enumerate() {
            let last = firsts.get(i + 1).map_or(u64::MAX, |(next, _)| next - 1);
            catalog.insert(*first, LogFile { first: *first, last, bytes: *bytes, active: false });
        }
        let files = Self { disk, counters, catalog: Mutex::new(catalog), reported: Mutex::default() };
        let mut next = floor + 1;
        if let Some((first, _)) = firsts.last() {
            next = next.max(*first).max(files.recover_last(*first, seen)?);
        }
        Ok((files, next))
    }

    /// Reads the last file to its end and returns the sequence after its last record.
    fn recover_last(&self, first: u64, seen: &mut dyn FnMut(&Record)) -> Result<u64, StoreError> {
        let path = path_of(first);
        let mut scan = match Scan::open(&*self.disk, &path) {
            Ok(scan) => scan,
            Err(StoreError::Corrupt { reason, .. }) => {
                // A file whose header never reached the disk holds nothing that was acknowledged; any other is damage.
                self.quarantine_file(first, &reason);
                return Ok(first);
            }
            Err(e) => return Err(e),
        };
        let mut last = None;
        let mut end = scan.position();
        while let Some(found) = scan.advance()? {
            match found {
                Found::Record(record, to) => {
                    last = Some(record.sequence);
                    end = to;
                    seen(&record);
                }
                Found::Unknown { sequence } | Found::Other { sequence } => {
                    last = Some(sequence);
                    end = scan.position();
                }
                Found::Damage(damage) => {
                    self.damage(first, damage, &scan);
                    if !damage.tail {
                        end = damage.to;
                    }
                }
            }
        }
        let mut catalog = self.catalog.lock();
        match last {
            Some(last) => {
                if let Some(file) = catalog.get_mut(&first) {
                    (file.last, file.bytes) = (last, end);
                }
                drop(catalog);
                if scan.end() > end {
                    // Only tidies up: readers stop at `end` in any case, and the next start finds the same.
                    let cut = self.disk.open_or_create(&path).and_then(|f| f.set_size(end).and_then(|()| f.sync()));
                    if let Err(e) = cut {
                        tracing::warn!(%path, error = %e, "the torn tail of the log could not be cut off");
                    }
                }
                Ok(last + 1)
            }
            None => {
                // Nothing in it; its name will be wanted for the next file.
                catalog.remove(&first);
                drop(catalog);
                // The writer removes it too, before it makes one of that name.
                if let Err(e) = self.disk.remove(&path) {
                    tracing::warn!(%path, error = %e, "the empty log file could not be removed");
                }
                Ok(first)
            }
        }
    }

    /// The file that holds `sequence`, or the first one after it.
    #[must_use]
    pub fn holding(&self, sequence: u64) -> Option<LogFile> {
        let catalog = self.catalog.lock();
        let before = catalog.range(..=sequence).next_back().filter(|(_, f)| f.last >= sequence || f.active);
        before.or_else(|| catalog.range(sequence..).next()).map(|(_, f)| f.clone())
    }

    /// The file that begins with `first`, if it is still there.
    #[must_use]
    pub fn get(&self, first: u64) -> Option<LogFile> {
        self.catalog.lock().get(&first).cloned()
    }

    /// The file after the one that begins with `first`.
    #[must_use]
    pub fn after(&self, first: u64) -> Option<LogFile> {
        self.catalog.lock().range(first + 1..).next().map(|(_, f)| f.clone())
    }

    /// Adds or updates a file.
    pub fn set(&self, file: LogFile) {
        self.catalog.lock().insert(file.first, file);
    }

    /// The sequence of the oldest file.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.catalog.lock().keys().next().copied()
    }

    /// Committed bytes in all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.catalog.lock().values().map(|f| f.bytes).sum()
    }

    /// Committed bytes in the files that hold anything after `sequence`.
    #[must_use]
    pub fn bytes_after(&self, sequence: u64) -> u64 {
        self.catalog.lock().values().filter(|f| f.last > sequence).map(|f| f.bytes).sum()
    }

    /// Up to which sequence a reader that stands at `sequence` has to give up files so that what is kept for it takes at
    /// most `limit` bytes. The file that is being written stays.
    #[must_use]
    pub fn over(&self, sequence: u64, limit: u64) -> u64 {
        let catalog = self.catalog.lock();
        let mut kept: u64 = catalog.values().filter(|f| f.last > sequence).map(|f| f.bytes).sum();
        let mut upto = sequence;
        for file in catalog.values().filter(|f| f.last > sequence && !f.active) {
            if kept <= limit {
                break;
            }
            kept -= file.bytes;
            upto = file.last;
        }
        upto
    }

    /// How many files.
    #[must_use]
    pub fn count(&self) -> usize {
        self.catalog.lock().len()
    }

    /// Removes every file that is not written to any more and holds nothing after `upto`.
    pub fn cut(&self, upto: u64) {
        let gone: Vec<u64> = {
            let mut catalog = self.catalog.lock();
            let gone = catalog.values().filter(|f| !f.active && f.last <= upto).map(|f| f.first).collect();
            catalog.retain(|_, f| f.active || f.last > upto);
            gone
        };
        for first in gone {
            // A file that stays or comes back is harmless: its records are covered, and the next start cuts it again.
            if let Err(e) = self.disk.remove(&path_of(first)) {
                tracing::warn!(path = path_of(first), error = %e, "a log file could not be removed");
            }
        }
    }

    /// Reports a damaged stretch once and keeps its bytes.
    pub fn damage(&self, first: u64, damage: Damage, scan: &Scan) {
        if !self.reported.lock().insert((first, damage.from)) {
            return;
        }
        let bytes = damage.to - damage.from;
        self.counters.damaged_stretches.fetch_add(1, Ordering::Relaxed);
        self.counters.damaged_bytes.fetch_add(bytes, Ordering::Relaxed);
        let path = path_of(first);
        tracing::warn!(%path, from = damage.from, to = damage.to, torn_tail = damage.tail, "the log is damaged; the stretch is quarantined");
        if bytes <= LARGEST_COPY {
            let kept =
                scan.raw(damage.from, damage.to).and_then(|b| self.keep(&format!("log-{first:020}-{}.bytes", damage.from), b));
            if let Err(e) = kept {
                tracing::warn!(%path, error = %e, "the damaged bytes could not be kept");
            }
        }
    }

    fn keep(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let io = || StoreError::io(format!("writing {QUARANTINE}/{name}"));
        self.disk.create_dir(QUARANTINE).map_err(io())?;
        let file = self.disk.open_or_create(&format!("{QUARANTINE}/{name}")).map_err(io())?;
        file.write_at(0, &mut [IoSlice::new(&bytes)]).map_err(io())
    }

    /// Takes a whole file out of service.
    pub fn quarantine_file(&self, first: u64, reason: &str) {
        let Some(file) = self.catalog.lock().remove(&first) else { return };
        self.counters.damaged_stretches.fetch_add(1, Ordering::Relaxed);
        self.counters.damaged_bytes.fetch_add(file.bytes, Ordering::Relaxed);
        let path = path_of(first);
        tracing::warn!(%path, reason, "a log file is unreadable; it is quarantined");
        let to = format!("{QUARANTINE}/log-{first:020}.log");
        if let Err(e) = self.disk.create_dir(QUARANTINE).and_then(|()| self.disk.rename(&path, &to)) {
            tracing::warn!(%path, error = %e, "the file could not be moved to the quarantine");
        }
    }
}
