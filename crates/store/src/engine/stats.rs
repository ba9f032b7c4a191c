//! What the engine counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::LatencySnapshot;

/// Counters, written from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) appends: AtomicU64,
    pub(crate) append_bytes: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) refused_busy: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) refused_failed: AtomicU64,
    pub(crate) rows: [AtomicU64; 3],
    pub(crate) refused_rows: [AtomicU64; 3],
    pub(crate) replayed: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) read_errors: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flush_errors: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_errors: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) quarantined: AtomicU64,
    pub(crate) dropped_for_readers: AtomicU64,
    pub(crate) deletions: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) rewritten: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the engine has done and holds, at one moment. Arrays are by signal: traces, logs, metrics.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Requests that were asked to be kept.
    pub appends: u64,
    /// Bytes of their payloads.
    pub append_bytes: u64,
    /// Requests that were known already and only acknowledged.
    pub duplicates: u64,
    /// Requests refused because too much was under way.
    pub refused_busy: u64,
    /// Requests refused because the disk is full.
    pub refused_full: u64,
    /// Requests refused because the log could not be written.
    pub refused_failed: u64,
    /// Rows applied (spans, lines, samples), replayed ones included.
    pub rows: [u64; 3],
    /// Rows that their table refused when they were applied (samples that are duplicates or too old).
    pub refused_rows: [u64; 3],
    /// Records read back from the log and applied.
    pub replayed: u64,
    /// Records that could not be read by their table.
    pub unreadable: u64,
    /// Failed reads of the log.
    pub read_errors: u64,
    /// Whether the log is still being replayed.
    pub replaying: bool,
    /// Memory of the heads, bytes.
    pub head_bytes: [usize; 3],
    /// Heads written.
    pub flushes: u64,
    /// Failed attempts at it.
    pub flush_errors: u64,
    /// Merges done.
    pub compactions: u64,
    /// Failed attempts at it.
    pub compaction_errors: u64,
    /// Segments deleted by retention.
    pub expired: u64,
    /// Segments and manifests taken out of service because of damage.
    pub quarantined: u64,
    /// Segments in service.
    pub segments: [usize; 3],
    /// Those of them that several tenants share.
    pub shared_segments: [usize; 3],
    /// Bytes in them.
    pub segment_bytes: [u64; 3],
    /// Bytes in the log.
    pub log_bytes: u64,
    /// Files of the log.
    pub log_files: usize,
    /// Last committed sequence.
    pub log_sequence: u64,
    /// Groups committed.
    pub commits: u64,
    /// Groups refused because of the disk.
    pub failed_commits: u64,
    /// Bytes written to the log.
    pub log_written: u64,
    /// Syncs of the log and how long they took.
    pub sync: LatencySnapshot,
    /// Damaged stretches of the log.
    pub log_damaged: u64,
    /// Bytes in them.
    pub log_damaged_bytes: u64,
    /// Records of encodings that this version does not know.
    pub log_unknown: u64,
    /// Records dropped because a reader of the log was slower than the cap allows.
    pub dropped_for_readers: u64,
    /// Bytes read of segments.
    pub read_bytes: u64,
    /// Reads of segments.
    pub reads: u64,
    /// Deletions ordered.
    pub deletions: u64,
    /// Segments rewritten without deleted rows.
    pub rewritten: u64,
    /// Deletions of which rows may be on disk still.
    pub deletions_pending: usize,
    /// Requests to delete that wait.
    pub deletions_waiting: usize,
    /// Requests to delete that were cancelled.
    pub deletions_cancelled: u64,
    /// Whether appends are refused for want of disk space.
    pub full: bool,
    /// Why all appends are refused, for want of space or otherwise; `None` while they are not.
    pub refusing: Option<String>,
    /// The object store, where there is one.
    pub remote: Option<crate::RemoteStats>,
}
