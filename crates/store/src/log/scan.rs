//! Reads one log file from front to back, around damage.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memmem;
use wire::Signal;

use super::format::{BadBody, FileHeader, HEADER_BLOCK, RECORD_HEADER, RECORD_MAGIC, RecordHeader, VERSION};
use crate::disk::{Disk, DiskFile};
use crate::{Record, StoreError};

/// How much is read at once.
const CHUNK: u64 = 1 << 20;

/// What is to become of a record of which only the header was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Its body is wanted.
    Read,
    /// What is in it is known.
    Known,
    /// Not yet.
    Later,
}

/// What a scan comes upon.
#[derive(Debug)]
pub enum Found {
    /// An intact record, and where it ends.
    Record(Record, u64),
    /// An intact record of an encoding that this version does not know.
    Unknown {
        /// Its sequence.
        sequence: u64,
    },
    /// A record of a signal that was not asked for, or one that is known; its body was not read.
    Other {
        /// Its sequence.
        sequence: u64,
    },
    /// Bytes that are no record, up to the next record or the end.
    Damage(Damage),
}

/// A damaged stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// First byte.
    pub from: u64,
    /// First byte after.
    pub to: u64,
    /// Whether the file ends with it: a torn tail, as a crash in the middle of a write leaves it.
    pub tail: bool,
}

/// A walk over a file's records.
#[derive(Debug)]
pub struct Scan {
    path: String,
    file: Arc<dyn DiskFile>,
    header: FileHeader,
    at: u64,
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
    only: Option<Signal>,
}

fn read(file: &Arc<dyn DiskFile>, path: &str, from: u64, to: u64) -> Result<Bytes, StoreError> {
    let mut bytes = vec![0u8; (to - from) as usize];
    file.read_at(from, &mut bytes).map_err(StoreError::io(format!("reading {path}")))?;
    Ok(bytes.into())
}

impl Scan {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// IO; [`StoreError::Corrupt`] when both copies of the header are damaged or cut off; [`StoreError::Version`].
    pub fn open(disk: &dyn Disk, path: &str) -> Result<Self, StoreError> {
        let file = disk.open(path).map_err(StoreError::io(format!("opening {path}")))?;
        let size = file.size().map_err(StoreError::io(format!("size of {path}")))?;
        let block = read(&file, path, 0, size.min(HEADER_BLOCK))?;
        let header = FileHeader::decode(&block).ok_or_else(|| StoreError::Corrupt {
            file: path.to_owned(),
            reason: "both copies of the header are damaged".into(),
        })?;
        if header.version > VERSION {
            return Err(StoreError::Version { file: path.to_owned(), found: header.version, supported: VERSION });
        }
        let at = HEADER_BLOCK.min(size);
        Ok(Self { path: path.to_owned(), file, header, at, end: size, chunk: Bytes::new(), chunk_at: 0, only: None })
    }

    /// The file's header.
    #[must_use]
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// Where the next record is looked for.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Where the walk ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Passes over the bodies of all other signals.
    pub fn set_only(&mut self, signal: Option<Signal>) {
        self.only = signal;
    }

    /// Ends the walk at `end`: for the file that is being written, the end of what is committed.
    pub fn set_end(&mut self, end: u64) {
        // What is in front of an end that was committed stays as it is; behind one that moved back it is written anew.
        if end < self.chunk_at + self.chunk.len() as u64 {
            self.chunk = Bytes::new();
        }
        self.end = end;
    }

    /// Bytes `from..to`, from the chunk at hand if they are in it, else from one that begins with them.
    fn bytes(&mut self, from: u64, to: u64) -> Result<Bytes, StoreError> {
        self.bytes_of(from, to, CHUNK)
    }

    /// The same with a chunk of another size.
    fn bytes_of(&mut self, from: u64, to: u64, chunk: u64) -> Result<Bytes, StoreError> {
        let inside = from >= self.chunk_at && to <= self.chunk_at + self.chunk.len() as u64;
        if !inside {
            let upto = to.max(from.saturating_add(chunk)).min(self.end);
            self.chunk = read(&self.file, &self.path, from, upto)?;
            self.chunk_at = from;
        }
        let start = (from - self.chunk_at) as usize;
        Ok(self.chunk.slice(start..start + (to - from) as usize))
    }

    /// The header at `at`, if an intact one whose body fits into the file is there.
    fn header_at(&mut self, at: u64) -> Result<Option<RecordHeader>, StoreError> {
        let head_end = at + RECORD_HEADER as u64;
        if head_end > self.end {
            return Ok(None);
        }
        // The body may be passed over: it is read only when it is asked for.
        let bytes = self.bytes_of(at, head_end, 0)?;
        let header = RecordHeader::decode(self.header.salt, &bytes);
        Ok(header.filter(|h| at + h.total() <= self.end && h.sequence >= self.header.first))
    }

    /// The next record or damage; `None` at the end, which zeros may follow.
    ///
    /// # Errors
    /// IO.
    pub fn advance(&mut self) -> Result<Option<Found>, StoreError> {
        self.advance_past(&mut |_, _| Look::Read)
    }

    /// The same, which asks by sequence and signal whether the body is to be read; `None` also in front of a record that is to be
    /// looked at later.
    ///
    /// # Errors
    /// IO.
    pub fn advance_past(&mut self, look: &mut dyn FnMut(u64, Option<Signal>) -> Look) -> Result<Option<Found>, StoreError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let from = self.at;
        if let Some(header) = self.header_at(from)? {
            let to = from + header.total();
            let is_other = self.only.is_some_and(|only| header.signal().is_some_and(|signal| signal != only));
            match if is_other { Look::Known } else { look(header.sequence, header.signal()) } {
                Look::Read => {}
                Look::Known => {
                    self.at = to;
                    return Ok(Some(Found::Other { sequence: header.sequence }));
                }
                Look::Later => return Ok(None),
            }
            let body = self.bytes(from + RECORD_HEADER as u64, to)?;
            self.at = to;
            return Ok(Some(match header.record(&body) {
                Ok(record) => Found::Record(record, to),
                Err(BadBody::Unknown) => Found::Unknown { sequence: header.sequence },
                // The header is intact, so the damage ends where the record does.
                Err(BadBody::Checksum) => Found::Damage(Damage { from, to, tail: to == self.end }),
            }));
        }
        let to = self.resynchronise(from)?;
        self.at = to;
        let tail = to == self.end;
        if tail && self.only_zeros(from, to)? {
            return Ok(None);
        }
        Ok(Some(Found::Damage(Damage { from, to, tail })))
    }

    /// Where the next intact header after `from` begins, or the end.
    fn resynchronise(&mut self, from: u64) -> Result<u64, StoreError> {
        let finder = memmem::Finder::new(&RECORD_MAGIC);
        let mut at = from + 1;
        while at + RECORD_HEADER as u64 <= self.end {
            let upto = at.saturating_add(CHUNK).min(self.end);
            let window = self.bytes(at, upto)?;
            let mut searched = 0;
            while let Some(hit) = finder.find(&window[searched..]) {
                let candidate = at + (searched + hit) as u64;
                if self.header_at(candidate)?.is_some() {
                    return Ok(candidate);
                }
                searched += hit + 1;
            }
            if upto == self.end {
                break;
            }
            // The magic may lie across the border.
            at = upto - (RECORD_MAGIC.len() as u64 - 1);
        }
        Ok(self.end)
    }

    fn only_zeros(&mut self, from: u64, to: u64) -> Result<bool, StoreError> {
        let mut at = from;
        while at < to {
            let upto = at.saturating_add(CHUNK).min(to);
            if self.bytes(at, upto)?.iter().any(|b| *b != 0) {
                return Ok(false);
            }
            at = upto;
        }
        Ok(true)
    }

    /// Raw bytes, for the quarantine.
    ///
    /// # Errors
    /// IO.
    pub fn raw(&self, from: u64, to: u64) -> Result<Bytes, StoreError> {
        read(&self.file, &self.path, from, to.min(self.end))
    }
}
