//! Opening: lock, manifest, end of the log, what lies about; everything that takes long is left to the threads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore, broadcast};
use wire::Signal;

use super::dedupe::{Dedupe, fingerprint_of};
use super::feed::{self, Feed};
use super::keeper::Kept;
use super::live::Live;
use super::segments::{DiskSegments, FOLDER};
use super::stats::{Counters, count};
use super::{Core, Engine, Options, TAIL, compact, keeper, mirror, units};
use crate::disk::Disk;
use crate::lock::DirectoryLock;
use crate::log::{Cursors, Log, QUARANTINE, path_of};
use crate::manifest::{Manifests, Quarantined};
use crate::remote::{Local, Remote, RemoteOptions};
use crate::table::Table;
use crate::{Priority, SegmentMeta, Segments, StoreError, Tombstones};

/// Sizes of all files below `segments/`.
fn files_below(disk: &dyn Disk, folder: &str, depth: u32, out: &mut HashMap<String, u64>) -> Result<(), StoreError> {
    for entry in disk.list(folder).map_err(StoreError::io(format!("listing {folder}")))? {
        let path = format!("{folder}/{}", entry.name);
        if entry.folder {
            if depth > 0 {
                files_below(disk, &path, depth - 1, out)?;
            }
        } else {
            out.insert(path, entry.bytes);
        }
    }
    Ok(())
}

/// The id that a segment's file is named after.
fn id_of(path: &str) -> Option<u64> {
    path.rsplit('/').next()?.split(['.', '-']).next()?.parse().ok()
}

impl Engine {
    /// Opens the data directory. Takes no longer than reading the last log file: appends are accepted at once, and the rest
    /// of the log is replayed behind them ([`Engine::partial`] says so).
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Version`], IO. Damage is no error: it is quarantined, and the rest served.
    pub fn open(options: Options, tables: impl FnOnce(Arc<dyn Segments>) -> [Arc<dyn Table>; 3]) -> Result<Self, StoreError> {
        let disk = Arc::clone(&options.disk);
        let lock = DirectoryLock::take(&*disk)?;
        let mut manifests = Manifests::open(Arc::clone(&disk))?;
        let remote = match &options.remote {
            Some(wanted) => Some(open_remote(wanted, &disk, &mut manifests)?),
            None => None,
        };
        let manifest = manifests.current().map(|m| (**m).clone()).unwrap_or_default();
        let counters = Counters::default();
        counters.quarantined.fetch_add(manifests.damaged, Ordering::Relaxed);
        let fell_back = manifests.damaged > 0 && manifests.current().is_some();

        let mut files = HashMap::new();
        files_below(&*disk, FOLDER, 3, &mut files)?;
        let highest = files.keys().filter_map(|p| id_of(p)).max().unwrap_or(0);
        let wake = Arc::new(Condvar::new());
        let next_segment = manifest.next_segment.max(highest + 1).max(remote.as_ref().map_or(1, |r| r.next_segment()));
        let segments = Arc::new(DiskSegments::new(Arc::clone(&disk), remote.clone(), next_segment, Arc::clone(&wake)));
        let (sound, damaged) = examine(&manifest.segments, &files, remote.as_deref());
        for (segment, reason) in damaged {
            segments.quarantine(&segment, &reason);
        }
        if manifests.current().is_some() {
            let before = manifests.previous().map_or(&[][..], |m| &m.segments);
            remove_orphans(&*disk, manifest.segments.iter().chain(before), &files);
        } else if disk.open(&path_of(1)).is_ok() && manifests.damaged == 0 {
            // Killed before the first manifest: the log still begins at its beginning, so it has everything.
            remove_orphans(&*disk, std::iter::empty(), &files);
        } else if !files.is_empty() {
            tracing::error!(
                files = files.len(),
                "there are segments but no readable manifest; they are left alone and not served"
            );
            count(&counters.quarantined);
        }

        let mut dedupe = Dedupe::new(options.remembered);
        // A sequence that a deletion has is never given out again, also where the log is lost: it would take what comes.
        let deletions = manifest.tombstones.iter().chain(&manifest.waiting);
        let deleted = deletions.map(|t| t.sequence).max().unwrap_or(0);
        let floor = manifest.covered.into_iter().max().unwrap_or(0).max(deleted);
        let cursors = if Cursors::exist(&*disk) { open_cursors(&*disk, &counters) } else { None };
        let read = cursors.iter().flat_map(|c| c.all()).map(|(_, sequence, _)| sequence).max().unwrap_or(0);
        let log = Log::open(Arc::clone(&disk), options.log, floor.max(read), &mut |record| {
            if !record.encoding.is_deletion() {
                dedupe.replayed(fingerprint_of(record), record.sequence);
            }
        })?;

        let fed = AtomicU64::new(log.committed());
        let language = options.language.as_deref();
        let tombstones = Tombstones::of_manifest(&manifest.tombstones, language);
        let waiting = Tombstones::of_manifest(&manifest.waiting, language);
        *segments.live.write() = Arc::new(Live::new(&sound).without(tombstones.clone()).hiding(waiting));
        let core = Arc::new(Core {
            log,
            remote,
            tables: tables(Arc::clone(&segments) as Arc<dyn Segments>),
            feeds: Signal::ALL.map(Feed::new),
            live: Arc::clone(&segments.live),
            segments,
            kept: Mutex::new(Kept::new(manifests, &manifest, &*options.clock)),
            dedupe: Mutex::new(dedupe),
            cursors: Mutex::new(cursors.map(Arc::new)),
            counters,
            tail: broadcast::Sender::new(TAIL),
            in_flight: Arc::new(Semaphore::new(units(options.in_flight_bytes) as usize)),
            room: Notify::new(),
            fed,
            full: AtomicBool::new(false),
            free: AtomicU64::new(u64::MAX),
            log_blocked: AtomicBool::new(false),
            log_needed: AtomicU64::new(u64::MAX),
            latest_deletion: AtomicU64::new(tombstones.last()),
            short: AtomicBool::new(false),
            short_of_memory: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            sleep: Mutex::new(()),
            stopped: Condvar::new(),
            exhausted: Mutex::default(),
            wake,
            replayed: Default::default(),
            options,
        });
        for (feed, covered) in core.feeds.iter().zip(manifest.covered) {
            feed.covered.store(covered, Ordering::Release);
        }
        core.check_space();
        if fell_back {
            // The manifest in force is the only one again: without a second, losing it too would lose what was cut.
            core.heal();
        }

        let engine = Self { core, lock: Mutex::new(Some(lock)), threads: Mutex::default() };
        let (intake, upkeep) = (Priority::Intake, Priority::Upkeep);
        for signal in Signal::ALL {
            let (core, covered) = (Arc::clone(&engine.core), manifest.covered[signal as usize]);
            engine.spawn(&format!("braid-{}", signal.as_str()), intake, move || feed::run(&core, signal, covered))?;
        }
        let core = Arc::clone(&engine.core);
        engine.spawn("braid-keeper", intake, move || keeper::run(&core))?;
        let core = Arc::clone(&engine.core);
        engine.spawn("braid-compact", upkeep, move || compact::run(&core))?;
        if engine.core.remote.is_some() {
            let core = Arc::clone(&engine.core);
            engine.spawn("braid-remote", upkeep, move || mirror::run(&core))?;
        }
        Ok(engine)
    }

    fn spawn(&self, name: &str, priority: Priority, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                priority.apply();
                run();
            })
            .map_err(StoreError::io(format!("starting the thread {name}")))?;
        self.threads.lock().push(thread);
        Ok(())
    }
}

/// The object store; a directory that has held nothing yet goes on with what is there.
fn open_remote(wanted: &RemoteOptions, disk: &Arc<dyn Disk>, manifests: &mut Manifests) -> Result<Arc<Remote>, StoreError> {
    let fresh = manifests.current().is_none()
        && manifests.damaged == 0
        && disk.list("log").map_err(StoreError::io("listing log/"))?.is_empty();
    let current = manifests.current().map(|m| (**m).clone());
    let (remote, adopted) = Remote::open(wanted, disk, Local { manifest: current.as_ref(), fresh })?;
    if let Some(state) = adopted {
        // Twice, so that losing one loses nothing.
        manifests.write(state.clone())?;
        manifests.write(state)?;
    }
    Ok(Arc::new(remote))
}

/// A cursor database that cannot be opened does not keep the store from starting. A damaged one is moved to the quarantine,
/// and named readers begin anew; one that the disk does not give is left where it is: the disk may be better next time, and
/// until then named readers fail with its error.
fn open_cursors(disk: &dyn Disk, counters: &Counters) -> Option<Cursors> {
    let error = match Cursors::open(disk) {
        Ok(cursors) => return Some(cursors),
        Err(e) => e,
    };
    if let StoreError::Corrupt { file, reason } = &error {
        count(&counters.quarantined);
        match disk.create_dir(QUARANTINE).and_then(|()| disk.rename(file, &format!("{QUARANTINE}/{file}"))) {
            Ok(()) => tracing::error!(
                file,
                reason,
                "the positions of the log's readers are damaged; they are quarantined, and readers begin anew"
            ),
            Err(e) => tracing::error!(file, reason, error = %e, "the damaged positions of the log's readers could not be moved"),
        }
    } else {
        tracing::error!(error = %error, "the positions of the log's readers cannot be read");
    }
    None
}

type Damaged = Vec<(SegmentMeta, String)>;

/// Which segments of the manifest have their files in full.
fn examine(named: &[SegmentMeta], files: &HashMap<String, u64>, remote: Option<&Remote>) -> (Vec<Arc<SegmentMeta>>, Damaged) {
    let mut damaged = Vec::new();
    for segment in named {
        match files.get(&segment.file) {
            Some(_) => {}
            None if remote.is_some_and(|r| r.has(&segment.file)) => {}
            None => damaged.push((segment.clone(), "its file is missing".to_owned())),
        }
    }
    // Damaged ones stay in service until the keeper has taken them out; a query that meets one hears so.
    (named.iter().cloned().map(Arc::new).collect(), damaged)
}

/// Removes files that neither the newest manifest nor the one before it names: unfinished ones, what a crash left of a flush
/// or a merge before its manifest was written, and what was dropped and not yet unlinked. Nothing is lost by it: what such
/// a file holds is in the log, or in the segments that are named (see `manifest`'s first invariant).
fn remove_orphans<'a>(disk: &dyn Disk, named: impl Iterator<Item = &'a SegmentMeta>, files: &HashMap<String, u64>) {
    let known: HashSet<u64> = named.map(|s| s.id).collect();
    for path in files.keys() {
        let kept = id_of(path).is_none_or(|id| known.contains(&id)) && !path.ends_with(".tmp");
        if kept {
            continue;
        }
        tracing::info!(%path, "removing a file that no manifest names");
        if let Err(e) = disk.remove(path) {
            tracing::warn!(%path, error = %e, "it could not be removed");
        }
    }
}

/// What the manifest keeps of a damaged segment.
pub(super) fn quarantined(segment: SegmentMeta, reason: String, found: i64) -> Quarantined {
    Quarantined { segment, reason, found }
}
