//! Reads committed records in order, from any sequence on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::files::{Files, LogFile, path_of};
use super::scan::{Found, Look, Scan};
use crate::{Record, StoreError};

/// What a reader comes upon.
#[derive(Debug)]
pub enum Next {
    /// A record.
    Record(Record),
    /// The sequence of a record that was known.
    Known(u64),
}

/// A walk over the log that catches up with its writer and can be asked again.
#[derive(Debug)]
pub struct LogReader {
    files: Arc<Files>,
    committed: Arc<AtomicU64>,
    next: u64,
    open: Option<(LogFile, Scan)>,
    only: Option<wire::Signal>,
    lost: u64,
}

impl LogReader {
    pub(super) fn new(files: Arc<Files>, committed: Arc<AtomicU64>, from: u64) -> Self {
        Self { files, committed, next: from, open: None, only: None, lost: 0 }
    }

    /// Every sequence below this has been returned, skipped as damaged, or was cut before it was read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Returns records of this signal only; the bodies of others are not read.
    pub fn set_only(&mut self, signal: wire::Signal) {
        self.only = Some(signal);
        self.open = None;
    }

    /// How many sequences were cut (or found damaged with their whole file) before they were read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Committed bytes that are still to be read, those of other signals too.
    #[must_use]
    pub fn bytes_behind(&self) -> u64 {
        let read_to = self.next.saturating_sub(1);
        let here = self.open.as_ref().and_then(|(file, scan)| Some((self.files.get(file.first)?, scan.position())));
        let read_of_it = here.map_or(0, |(file, at)| if file.last > read_to { at.min(file.bytes) } else { 0 });
        self.files.bytes_after(read_to).saturating_sub(read_of_it)
    }

    /// The next committed record; `None` when there is none yet. Damaged stretches are reported, quarantined and passed over.
    ///
    /// # Errors
    /// IO, and [`StoreError::Version`]; the call may be repeated.
    pub fn next_record(&mut self) -> Result<Option<Record>, StoreError> {
        loop {
            match self.next_past(&mut |_, _| Look::Read)? {
                Some(Next::Record(record)) => return Ok(Some(record)),
                // Nothing is known.
                Some(Next::Known(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The same, without the bodies of records that `look` knows by sequence and signal; `None` also in front of one that is to be
    /// looked at later.
    ///
    /// # Errors
    /// As for [`LogReader::next_record`].
    pub fn next_past(&mut self, look: &mut dyn FnMut(u64, Option<wire::Signal>) -> Look) -> Result<Option<Next>, StoreError> {
        loop {
            // Taken first: a record committed after this is found by the next call.
            let committed = self.committed.load(Ordering::Acquire);
            if self.next > committed {
                return Ok(None);
            }
            let Some((file, scan)) = &mut self.open else {
                if !self.open_file()? {
                    self.next = committed + 1;
                    return Ok(None);
                }
                continue;
            };
            match self.files.get(file.first) {
                Some(now) => *file = now,
                // Cut while it was being read: what is still in it was given up or is covered.
                None => {
                    let to = self.next.max(file.last.saturating_add(1).min(committed + 1));
                    self.lost += to - self.next;
                    self.next = to;
                    self.open = None;
                    continue;
                }
            }
            scan.set_end(file.bytes.max(scan.position()));
            let (first, last) = (file.first, file.last);
            let mut answer = Look::Read;
            let found = scan.advance_past(&mut |sequence, signal| {
                // What was refused is not waited for.
                answer = if sequence > last { Look::Read } else { look(sequence, signal) };
                answer
            })?;
            match found {
                Some(Found::Record(record, _)) if record.sequence < self.next => {}
                // Refused and left behind by a failed commit: a later file has these sequences anew.
                Some(Found::Record(record, _)) if record.sequence > file.last => {}
                Some(Found::Record(record, _)) => {
                    self.next = record.sequence + 1;
                    return Ok(Some(Next::Record(record)));
                }
                Some(Found::Unknown { sequence }) => {
                    if sequence >= self.next && sequence <= file.last {
                        self.files.counters.unknown_records.fetch_add(1, Ordering::Relaxed);
                        self.next = sequence + 1;
                    }
                }
                Some(Found::Other { sequence }) => {
                    if sequence >= self.next && sequence <= file.last {
                        self.next = sequence + 1;
                        if answer == Look::Known {
                            return Ok(Some(Next::Known(sequence)));
                        }
                    }
                }
                Some(Found::Damage(damage)) => {
                    self.files.damage(first, damage, scan);
                }
                None if answer == Look::Later => return Ok(None),
                // All that was committed when the file was looked at has been seen; look again for more.
                None if file.active => self.next = self.next.max(committed + 1),
                None => match self.files.after(first) {
                    Some(after) => {
                        self.next = self.next.max(after.first);
                        self.open = None;
                    }
                    // The end of the last file, and still not at `committed`: the rest was damaged.
                    None => self.next = self.next.max(committed + 1),
                },
            }
        }
    }

    /// Opens the file with the next sequence; `false` when there is none.
    fn open_file(&mut self) -> Result<bool, StoreError> {
        loop {
            let Some(file) = self.files.holding(self.next) else { return Ok(false) };
            match Scan::open(&*self.files.disk, &path_of(file.first)) {
                Ok(mut scan) => {
                    scan.set_only(self.only);
                    self.lost += file.first.saturating_sub(self.next);
                    self.next = self.next.max(file.first);
                    self.open = Some((file, scan));
                    return Ok(true);
                }
                Err(StoreError::Corrupt { reason, .. }) => self.files.quarantine_file(file.first, &reason),
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && self.files.get(file.first).is_none() => {}
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    self.files.quarantine_file(file.first, "the file is missing");
                }
                Err(e) => return Err(e),
            }
        }
    }
}
