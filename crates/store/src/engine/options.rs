//! What can be chosen about the engine.

use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, SystemClock};
use crate::disk::Disk;
use crate::log::LogOptions;
use crate::{Language, RemoteOptions};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How the engine works; [`Options::new`] gives the defaults. Arrays are by signal, in the order of [`wire::Signal::ALL`]:
/// traces, logs, metrics.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept.
    pub disk: Arc<dyn Disk>,
    /// An object store behind the disk, if there is one.
    pub remote: Option<RemoteOptions>,
    /// Reads what deletions of lines say of them: see [`crate::Worded`].
    pub language: Option<Arc<dyn Language>>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// How the log is kept.
    pub log: LogOptions,
    /// Size of the log at which appends are refused until it is shorter; at half of it heads are flushed. It is looked at every now and
    /// then; between two looks it grows by an eighth at most.
    pub log_cap: u64,
    /// Size of a table's head at which it is flushed, bytes of memory.
    pub flush_bytes: usize,
    /// Tenants that have less than so many bytes in a head (of an hour: a partition) share a segment.
    pub share_below: usize,
    /// Services whose spans are kept in segments of their own, because they have other attributes than the spans around them.
    pub apart: Vec<String>,
    /// Size of all heads together at which appends wait.
    pub heads_bytes: usize,
    /// Decoded columns that queries keep, bytes.
    pub cache_bytes: usize,
    /// Age of the oldest row of a head at which it is flushed.
    pub flush_age: [Duration; 3],
    /// Bytes of requests that may be under way (not yet durable and applied) at once.
    pub in_flight_bytes: usize,
    /// How long an append waits for its turn before it is refused as busy.
    pub busy_after: Duration,
    /// Age at which rows are deleted; whole segments at a time.
    pub retention: [Duration; 3],
    /// Whether Loki streams without a `service_name` get one.
    pub discover_service_name: bool,
    /// How much older than the moment of its receipt a pushed line may be.
    pub max_line_age: Option<Duration>,
    /// How far a pushed line may be ahead of the moment of its receipt.
    pub max_line_ahead: Option<Duration>,
    /// Size of all segments at which the oldest hours are deleted; `None` for no limit.
    pub max_bytes: Option<u64>,
    /// How long the files of a segment stay after it was dropped.
    pub grace: Duration,
    /// Free space below which appends are refused.
    pub min_free: u64,
    /// So many segments of one level, tenant, signal and hour are merged.
    pub merge_at: usize,
    /// Larger segments are not merged any more, bytes.
    pub merge_up_to: u64,
    /// So many requests are remembered so that a retry makes no double.
    pub remembered: usize,
}

impl Options {
    /// The default of [`Options::share_below`]: a segment that is worth a file of its own.
    pub const SHARE_BELOW: usize = 1 << 20;

    /// The defaults for `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        let mut options = Self {
            disk,
            remote: None,
            language: None,
            clock: Arc::new(SystemClock::default()),
            log: LogOptions::default(),
            log_cap: 2 << 30,
            flush_bytes: 0,
            share_below: Self::SHARE_BELOW,
            apart: Vec::new(),
            heads_bytes: 0,
            cache_bytes: 0,
            // Short, so that the log stays short; metrics want long chunks.
            flush_age: [Duration::from_secs(300), Duration::from_secs(300), Duration::from_secs(3600)],
            in_flight_bytes: 0,
            busy_after: Duration::from_secs(5),
            retention: [7 * DAY, 7 * DAY, 15 * DAY],
            discover_service_name: true,
            max_line_age: None,
            max_line_ahead: None,
            max_bytes: None,
            grace: Duration::from_secs(60),
            min_free: 256 << 20,
            // Each merge reads and writes its rows once more: few large merges cost less than many small ones.
            merge_at: 32,
            merge_up_to: 512 << 20,
            remembered: 100_000,
        };
        options.set_memory(512 << 20);
        options
    }

    /// Divides a memory budget for the whole process, in bytes: an eighth of it for heads and what is being flushed (a head
    /// is flushed when it holds a twenty-fourth; sorting and encoding take about twice that again), a sixteenth for requests
    /// under way, a quarter for decoded columns, the rest for merges and queries.
    pub fn set_memory(&mut self, budget: usize) {
        self.flush_bytes = (budget / 24).max(1 << 20);
        self.heads_bytes = (budget / 8).max(4 << 20);
        self.in_flight_bytes = (budget / 16).max(1 << 20);
        self.cache_bytes = budget / 4;
    }
}
