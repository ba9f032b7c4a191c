//! Segments and manifests in an object store, behind the local disk.
//!
//! Nothing on the way in waits for it: heads are written to the local disk as ever, under a local manifest. A thread of
//! its own ([`Remote::step`]) copies the segments that the local manifest names, then says so in a *remote* manifest; only
//! then may the log be cut ([`Remote::covered`]) and local copies be let go ([`cache`]). Reads find the local file, or go
//! through the cache ([`source`]). Where the object store is away, copies wait on the local disk and the log grows up to its
//! cap; when it is back, the thread catches up.
//!
//! | object | what |
//! |---|---|
//! | `manifest/<number>.json` | what is there: a local manifest, with size and checksum of every file; created if absent |
//! | `segments/…` | as on the local disk; names carry the writer's tag, so two directories never write the same one |
//! | `writer/<epoch>.json` | who writes; created if absent, renewed while it lives |
//! | `quarantine/…` | what was damaged |
//!
//! # Invariants
//!
//! 1. *A remote manifest names only what is there in full*: files first, then the manifest.
//! 2. *One writer*: a writer claims the next epoch by an object that must not exist. It writes manifest `n + 1` after `n`, never
//!    over one, and looks for a later claim after each: only where there is none does it count, cut and delete.
//!    One that finds another is fenced for good: it takes nothing more in and names the other ([`claim`]).
//! 3. *A local file goes only when the newest remote manifest names it*, as the copy of it in `objects/manifest.json` says
//!    after a restart without the object store.
//! 4. *An object goes only when the newest remote manifest lacks it* and its local file was unlinked (two local manifests lack
//!    it, nobody reads it, the grace period is over).

mod cache;
mod claim;
mod record;
mod source;
mod upload;

pub(crate) use upload::stem;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use objects::{Bucket, ObjectsError, Patience};
use parking_lot::{Mutex, RwLock};

use crate::disk::Disk;
use crate::manifest::Manifest;
use crate::{SegmentMeta, SegmentSource, StoreError};
use cache::Cache;
use claim::Writer;
use record::{FileSum, Mirrored};

/// Folder of what is kept locally about the object store.
const FOLDER: &str = "objects";

/// An object store behind the local disk.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Where.
    pub bucket: Arc<Bucket>,
    /// Bytes of local copies that are kept at most; what is not copied yet counts apart.
    pub cache_bytes: u64,
    /// A writer that was not heard of for so long may be succeeded.
    pub lease: Duration,
}

impl RemoteOptions {
    /// The defaults: 10 GiB of cache, a minute's lease.
    #[must_use]
    pub fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket, cache_bytes: 10 << 30, lease: Duration::from_secs(60) }
    }
}

/// What the object store and its cache are at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteStats {
    /// Blocks and files found in the cache.
    pub hits: u64,
    /// Blocks that had to be fetched.
    pub misses: u64,
    /// Local copies that were let go for others.
    pub evictions: u64,
    /// Bytes of local copies.
    pub cache_bytes: u64,
    /// What they may be.
    pub cache_limit: u64,
    /// Segments that are not in the object store yet.
    pub pending_segments: u64,
    /// Bytes in them.
    pub pending_bytes: u64,
    /// Segments copied there.
    pub uploaded: u64,
    /// Objects deleted there.
    pub deleted: u64,
    /// Rounds of copying that failed.
    pub failures: u64,
    /// Seconds since the object store last gave an answer; 0 while it answers.
    pub away_seconds: u64,
    /// Why its last answer was none; empty while it answers.
    pub trouble: String,
    /// Whether another writer has taken over.
    pub fenced: bool,
}

/// A segment whose objects are no longer needed.
#[derive(Debug)]
struct Dropped {
    id: u64,
    file: String,
    /// It was damaged: a copy is kept aside.
    damaged: bool,
}

/// What only the copying thread touches.
#[derive(Debug, Default)]
struct Own {
    /// The epoch that this process holds.
    epoch: Option<u64>,
    /// Number of the next remote manifest.
    next: u64,
    /// When the claim was last renewed.
    beat: Option<Instant>,
    /// Whether objects that nobody names were looked for.
    swept: bool,
}

/// The object store of a data directory.
#[derive(Debug)]
pub(crate) struct Remote {
    bucket: Arc<Bucket>,
    disk: Arc<dyn Disk>,
    me: Writer,
    lease: Duration,
    cache: Cache,
    own: Mutex<Own>,
    /// Files that are in the object store, by path.
    files: RwLock<HashMap<String, FileSum>>,
    /// The newest remote manifest.
    newest: RwLock<Option<Arc<Mirrored>>>,
    dropped: Mutex<Vec<Dropped>>,
    fence: RwLock<Option<String>>,
    is_fenced: AtomicBool,
    pending: [AtomicU64; 2],
    uploaded: AtomicU64,
    deleted: AtomicU64,
    failures: AtomicU64,
}

/// How a data directory stands when it is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local<'a> {
    /// Its newest manifest.
    pub(crate) manifest: Option<&'a Manifest>,
    /// It has never held anything.
    pub(crate) fresh: bool,
}

fn failed(what: &str) -> impl FnOnce(ObjectsError) -> StoreError + '_ {
    move |e| StoreError::Io { what: what.to_owned(), source: e.into() }
}

impl Remote {
    /// Gets the object store ready: claims it where it answers. Gives the manifest that a fresh directory begins with.
    ///
    /// # Errors
    /// [`StoreError::Held`] where another writes there; IO where it does not answer and the directory is fresh (one that is
    /// not starts without it).
    pub(crate) fn open(
        options: &RemoteOptions,
        disk: &Arc<dyn Disk>,
        local: Local<'_>,
    ) -> Result<(Self, Option<Manifest>), StoreError> {
        disk.create_dir(FOLDER).map_err(StoreError::io("creating objects/"))?;
        let me = Writer::of_directory(&**disk)?;
        let record = record::load(&**disk)?.map(Arc::new);
        let files = record.as_ref().map(|r| r.files.clone().into_iter().collect()).unwrap_or_default();
        let remote = Self {
            bucket: Arc::clone(&options.bucket),
            disk: Arc::clone(disk),
            me,
            lease: options.lease,
            cache: Cache::open(Arc::clone(disk), options.cache_bytes)?,
            own: Mutex::default(),
            files: RwLock::new(files),
            newest: RwLock::new(record),
            dropped: Mutex::default(),
            fence: RwLock::default(),
            is_fenced: AtomicBool::new(false),
            pending: Default::default(),
            uploaded: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        };
        let number = local.manifest.map_or(0, |m| m.number);
        let mut own = std::mem::take(&mut *remote.own.lock());
        let adopted = match remote.claim(&mut own, number, local.fresh, Patience::START) {
            Ok(Some(found)) if local.fresh => {
                let state = found.state;
                remote.write(&mut own, state.clone(), found.files, Patience::START)?;
                tracing::info!(store = remote.bucket.name(), segments = state.segments.len(), "goes on with what is there");
                Some(state)
            }
            Ok(_) => None,
            Err(StoreError::Io { what, source }) if !local.fresh && source.kind() == std::io::ErrorKind::TimedOut => {
                tracing::warn!(store = remote.bucket.name(), error = %source, "{what}; starting without it");
                None
            }
            Err(e) => return Err(e),
        };
        *remote.own.lock() = own;
        if let Some(newest) = &*remote.newest.read() {
            for (file, sum) in &newest.files {
                if remote.disk.open(file).is_ok() {
                    remote.cache.keep_whole(file, sum.bytes);
                }
            }
        }
        Ok((remote, adopted))
    }

    /// Eight letters for the names of segments, the data directory's own.
    pub(crate) fn tag(&self) -> &str {
        &self.me.id[..8]
    }

    /// Above every segment id in the newest remote manifest.
    pub(crate) fn next_segment(&self) -> u64 {
        self.newest.read().as_ref().map_or(1, |m| m.state.next_segment)
    }

    /// Whether the newest remote manifest names this file: it may be missing locally.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.newest.read().as_ref().is_some_and(|m| m.files.contains_key(file))
    }

    /// The log sequence up to which the object store has everything.
    pub(crate) fn covered(&self) -> u64 {
        self.newest.read().as_ref().map_or(0, |m| m.state.covered.into_iter().min().unwrap_or(0))
    }

    /// Why nothing is taken in any more.
    pub(crate) fn fenced(&self) -> Option<String> {
        if self.is_fenced.load(Ordering::Acquire) { self.fence.read().clone() } else { None }
    }

    /// Whether the last attempt to reach it has failed.
    pub(crate) fn is_away(&self) -> bool {
        self.bucket.away().is_some()
    }

    /// What to say while the log waits for the object store.
    pub(crate) fn behind(&self) -> String {
        let why = match self.bucket.away() {
            Some(since) => format!("has not answered for {} s", since.as_secs()),
            None => "is behind".to_owned(),
        };
        format!("the log is at its size cap; the object store {} {why}", self.bucket.name())
    }

    fn fence(&self, by: &Writer, epoch: u64) {
        let why = format!(
            "the object store {} was taken over by {by} (epoch {epoch}); this process writes nothing more",
            self.bucket.name()
        );
        tracing::error!("{why}");
        *self.fence.write() = Some(why);
        self.is_fenced.store(true, Ordering::Release);
    }

    /// The files in the object store with their sizes, by what a segment's have in common.
    pub(crate) fn by_stem(&self) -> HashMap<String, BTreeMap<String, u64>> {
        let mut all: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        for (path, sum) in &*self.files.read() {
            all.entry(stem(path).to_owned()).or_default().insert(path.clone(), sum.bytes);
        }
        all
    }

    /// A local file was opened.
    pub(crate) fn touch(&self, file: &str) {
        self.cache.touch_whole(file);
    }

    /// Opens a file that is not on the local disk.
    ///
    /// # Errors
    /// `NotFound` for one that is not in the object store either.
    pub(crate) fn source(self: &Arc<Self>, file: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        let Some(sum) = self.files.read().get(file).copied() else {
            return Err(StoreError::Io { what: format!("opening {file}"), source: std::io::ErrorKind::NotFound.into() });
        };
        Ok(Arc::new(source::Source::new(Arc::clone(self), file, sum.bytes)))
    }

    /// A segment's local files were unlinked, or put aside because they were damaged: its objects may go.
    pub(crate) fn forget(&self, segment: &SegmentMeta, damaged: bool) {
        self.dropped.lock().push(Dropped { id: segment.id, file: segment.file.clone(), damaged });
    }

    /// What it is at.
    pub(crate) fn stats(&self) -> RemoteStats {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        RemoteStats {
            pending_segments: get(&self.pending[0]),
            pending_bytes: get(&self.pending[1]),
            uploaded: get(&self.uploaded),
            deleted: get(&self.deleted),
            failures: get(&self.failures),
            away_seconds: self.bucket.away().map_or(0, |d| d.as_secs().max(1)),
            trouble: self.bucket.trouble().unwrap_or_default(),
            fenced: self.is_fenced.load(Ordering::Acquire),
            ..self.cache.stats()
        }
    }

    /// Gives up what is under way, so that the process can end.
    pub(crate) fn close(&self) {
        self.bucket.close();
    }
}
