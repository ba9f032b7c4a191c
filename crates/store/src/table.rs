//! What the engine asks of a table: the logs, the spans, the samples. Each keeps a *head* in memory (fed from the
//! log), writes it to segments, and merges segments. The engine owns threads, the log, the manifest and when things
//! happen; a table owns how its rows are kept.

use std::sync::Arc;

use bytes::Bytes;
use model::Tenant;
use serde::{Deserialize, Serialize};
use wire::{Encoding, Plain, Signal, Summary};

use crate::engine::Live;
use crate::recent::{RecentLines, RecentSpans};
use crate::{StoreError, Tombstone};

/// One request as the log gives it back.
#[derive(Debug, Clone)]
pub struct Record {
    /// Position in the log, from 1, without gaps.
    pub sequence: u64,
    /// Whose.
    pub tenant: Tenant,
    /// How to read the payload.
    pub encoding: Encoding,
    /// When it was appended, nanoseconds since the Unix epoch.
    pub received: i64,
    /// The bytes.
    pub payload: Bytes,
}

/// One immutable file of rows, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Unique in the data directory; later segments have larger ids.
    pub id: u64,
    /// Whose; [`SegmentMeta::SHARED`] where several small tenants share it.
    pub tenant: String,
    /// `traces`, `logs` or `metrics`.
    pub signal: String,
    /// First hour that the segment may hold, in hours since the Unix epoch.
    pub hour: i64,
    /// Path below the data directory, `/` between folders.
    pub file: String,
    /// Version of the segment's format.
    pub format: u32,
    /// First time in it, nanoseconds since the Unix epoch.
    pub first: i64,
    /// Last time in it.
    pub last: i64,
    /// Rows (for metrics: samples).
    pub rows: u64,
    /// Size of the file, with its indexes.
    pub bytes: u64,
    /// 0 as flushed from a head; merges add one.
    pub level: u8,
    /// First log sequence that may have rows in it.
    pub first_sequence: u64,
    /// Last log sequence that may have rows in it.
    pub last_sequence: u64,
    /// Of the deletions up to this sequence of the log no row is left in it; 0 in files of versions that knew no deletions.
    #[serde(default)]
    pub deleted_to: u64,
    /// Its rows are such as are kept apart ([`crate::Options::apart`]): merged with their like only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub apart: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl SegmentMeta {
    /// What stands for the tenant of a segment that several share, and names its folder: no tenant is called that.
    pub const SHARED: &'static str = "+";

    /// Whether several tenants have rows in it: which of them, and where, the file says.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.tenant == Self::SHARED
    }

    /// Whether a tenant's rows may be in it.
    #[must_use]
    pub fn may_hold(&self, tenant: &Tenant) -> bool {
        self.tenant == tenant.as_str() || self.is_shared()
    }
}

/// Where a table writes and reads its segments.
pub trait Segments: Send + Sync {
    /// A new segment id and the path to write it at; `tenant` as [`SegmentMeta::tenant`] has it.
    fn allocate(&self, tenant: &str, signal: Signal, hour: i64) -> (u64, String);
    /// Creates a file below the data directory; nothing is visible under the path until [`SegmentFile::finish`].
    ///
    /// # Errors
    /// IO.
    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError>;
    /// Opens a file for positioned reads.
    ///
    /// # Errors
    /// IO.
    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError>;
    /// The segments in service; as long as it is held, their files stay. None where nobody keeps a list.
    fn in_service(&self) -> Arc<Live> {
        Arc::default()
    }
    /// Takes a damaged segment out of service: moves its files to `quarantine/`, counts and logs it.
    fn quarantine(&self, segment: &SegmentMeta, reason: &str);
}

/// A segment being written: `Write`, then [`SegmentFile::finish`].
pub trait SegmentFile: std::io::Write + Send {
    /// Makes the file durable and gives it its name; returns its size.
    ///
    /// # Errors
    /// IO; the temporary file is removed.
    fn finish(self: Box<Self>) -> Result<u64, StoreError>;
}

/// A finished file, read at positions.
pub trait SegmentSource: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;
    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// IO, and [`StoreError::Corrupt`] past the end.
    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError>;
}

/// One signal's rows. [`Table::apply`] is called by one thread, in the order of the log; everything else from any.
pub trait Table: Send + Sync {
    /// Takes a record's rows into the head, where the next view sees them. A record that was applied is never applied
    /// again within one process.
    ///
    /// # Errors
    /// [`StoreError::Wire`] for a record that cannot be read: it is counted and skipped.
    fn apply(&self, record: &Record) -> Result<Summary, StoreError> {
        self.apply_without(record, &[])
    }

    /// The same, without the rows that these later deletions took.
    ///
    /// # Errors
    /// As for [`Table::apply`].
    fn apply_without(&self, record: &Record, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError>;

    /// The same, of a record whose body is there without its compression.
    ///
    /// # Errors
    /// As for [`Table::apply`].
    fn apply_plain(&self, record: &Record, _plain: Option<&Plain>, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
        self.apply_without(record, deleted)
    }

    /// What it keeps of the rows that it was given lately, for readers of the log; none where it keeps nothing.
    #[doc(hidden)]
    fn recent(&self) -> Option<(&Arc<RecentSpans>, &Arc<RecentLines>)> {
        None
    }

    /// Drops the rows of a deletion from the head, also from parts that are being written; later views do not see them.
    /// Called under the engine's snapshot lock, between the records before and after it.
    ///
    /// # Errors
    /// None for heads that the table filled itself.
    fn delete(&self, tombstone: &Arc<Tombstone>) -> Result<(), StoreError>;

    /// Bytes that the head and its caches hold in memory.
    fn memory(&self) -> usize;

    /// Detaches what has been applied so far so that it can be written; views still see it. `None` when there is nothing.
    fn freeze(&self) -> Option<Box<dyn Frozen>>;

    /// Merges segments of one tenant, or shared ones (and, for logs and traces, of one hour) into new ones, within bounded memory; rows that
    /// are equal by the table's identity become one, and what [`Segments::in_service`] says to be deleted is left out. The
    /// inputs stay as they are. May give nothing when all rows were deleted.
    ///
    /// # Errors
    /// IO, and [`StoreError::Corrupt`] naming the input that is damaged.
    fn compact(&self, inputs: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError>;
}

/// A detached part of a head.
pub trait Frozen: Send {
    /// Writes it as segments and returns them (sequences are filled in by the engine). May be called again after an error.
    ///
    /// # Errors
    /// IO.
    fn write(&self) -> Result<Vec<SegmentMeta>, StoreError>;

    /// The segments are in the manifest: drops the part. Called under the engine's snapshot lock, so that no view sees the
    /// rows twice or not at all.
    fn forget(self: Box<Self>);
}
