//! The folder of segments: `segments/<tenant>/<signal>/<hour>/<id>.<ending>`, with whatever sidecars share the name up to
//! the dot behind the id.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use wire::Signal;

use super::live::Live;
use crate::disk::{Disk, DiskFile, folder_of};
use crate::remote::Remote;
use crate::{SegmentFile, SegmentMeta, SegmentSource, Segments, StoreError};

/// Folder of the segments.
pub(crate) const FOLDER: &str = "segments";
/// What a file is called until it is finished.
const UNFINISHED: &str = ".tmp";
/// A segment is written in pieces of this size.
const PIECE: usize = 1 << 18;

/// [`Segments`] on a [`Disk`].
#[derive(Debug)]
pub(crate) struct DiskSegments {
    disk: Arc<dyn Disk>,
    /// Has the files that are not on the disk any more.
    remote: Option<Arc<Remote>>,
    next: AtomicU64,
    damaged: Mutex<Vec<(SegmentMeta, String)>>,
    /// Told when there is something in `damaged`.
    wake: Arc<Condvar>,
    /// The segments in service; written under the snapshot lock, which it is.
    pub(crate) live: Arc<RwLock<Arc<Live>>>,
    /// Reads of segments, and bytes of them.
    read: Arc<(AtomicU64, AtomicU64)>,
    /// Nothing is written any more: a thread that outlives its engine must not meddle with the next one's files.
    closed: Arc<AtomicBool>,
}

impl DiskSegments {
    pub(crate) fn new(disk: Arc<dyn Disk>, remote: Option<Arc<Remote>>, next: u64, wake: Arc<Condvar>) -> Self {
        Self {
            disk,
            remote,
            next: AtomicU64::new(next.max(1)),
            damaged: Mutex::default(),
            wake,
            live: Arc::default(),
            read: Arc::default(),
            closed: Arc::default(),
        }
    }

    /// From now on files can be read, not written.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Reads of segments, and bytes of them.
    pub(crate) fn reads(&self) -> (u64, u64) {
        (self.read.0.load(Ordering::Relaxed), self.read.1.load(Ordering::Relaxed))
    }

    /// Above every id given out.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// What tables have found to be damaged since the last call.
    pub(crate) fn take_damaged(&self) -> Vec<(SegmentMeta, String)> {
        std::mem::take(&mut *self.damaged.lock())
    }

    /// Unlinks a segment's files.
    pub(crate) fn unlink(disk: &dyn Disk, path: &str) {
        let removed = files_of(disk, path).and_then(|files| files.iter().try_for_each(|f| disk.remove(f)));
        if let Err(e) = removed {
            tracing::warn!(path, error = %e, "the files of a dropped segment could not be removed");
        }
        // Fails while there is anything else in it.
        let _ = disk.remove_dir(folder_of(path));
    }
}

/// The files of a segment on the disk: itself and its sidecars.
pub(crate) fn files_of(disk: &dyn Disk, path: &str) -> io::Result<Vec<String>> {
    let folder = folder_of(path);
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let mut files = Vec::new();
    for entry in disk.list(folder)? {
        if !entry.folder && entry.name.split_once('.').map_or(&*entry.name, |(s, _)| s) == stem {
            files.push(format!("{folder}/{}", entry.name));
        }
    }
    Ok(files)
}

impl Segments for DiskSegments {
    fn allocate(&self, tenant: &str, signal: Signal, hour: i64) -> (u64, String) {
        let id = self.next.fetch_add(1, Ordering::AcqRel);
        let ending = if signal == Signal::Metrics { "chunks" } else { "parquet" };
        // In an object store other directories' segments may have the same numbers.
        let tag = self.remote.as_ref().map_or_else(String::new, |r| format!("-{}", r.tag()));
        (id, format!("{FOLDER}/{tenant}/{}/{hour}/{id:010}{tag}.{ending}", signal.as_str()))
    }

    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let what = || StoreError::io(format!("creating {path}"));
        self.disk.create_dir(folder_of(path)).map_err(what())?;
        let unfinished = format!("{path}{UNFINISHED}");
        let file = self.disk.create(&unfinished).map_err(what())?;
        Ok(Box::new(Unfinished {
            disk: Arc::clone(&self.disk),
            file,
            path: path.to_owned(),
            piece: Vec::new(),
            written: 0,
            finished: false,
            closed: Arc::clone(&self.closed),
        }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        let file = match (self.disk.open(path), &self.remote) {
            (Err(e), Some(remote)) if e.kind() == io::ErrorKind::NotFound => return remote.source(path),
            (file, remote) => {
                remote.iter().for_each(|r| r.touch(path));
                file.map_err(StoreError::io(format!("opening {path}")))?
            }
        };
        let size = file.size().map_err(StoreError::io(format!("size of {path}")))?;
        Ok(Arc::new(Source { file, path: path.to_owned(), size, read: Arc::clone(&self.read) }))
    }

    fn in_service(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    fn quarantine(&self, segment: &SegmentMeta, reason: &str) {
        self.damaged.lock().push((segment.clone(), reason.to_owned()));
        self.wake.notify_all();
    }
}

struct Unfinished {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: String,
    piece: Vec<u8>,
    written: u64,
    finished: bool,
    closed: Arc<AtomicBool>,
}

impl Unfinished {
    fn write_piece(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &mut [IoSlice::new(&self.piece)])?;
        self.written += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

impl io::Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.write_piece()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_piece()
    }
}

impl SegmentFile for Unfinished {
    fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let finished = self
            .write_piece()
            .and_then(|()| self.file.sync())
            .and_then(|()| self.disk.rename(&format!("{}{UNFINISHED}", self.path), &self.path))
            .and_then(|()| self.disk.sync_dir(folder_of(&self.path)));
        finished.map_err(StoreError::io(format!("finishing {}", self.path)))?;
        self.finished = true;
        Ok(self.written)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // What stays is removed at the next start.
            let _ = self.disk.remove(&format!("{}{UNFINISHED}", self.path));
        }
    }
}

struct Source {
    file: Arc<dyn DiskFile>,
    path: String,
    size: u64,
    read: Arc<(AtomicU64, AtomicU64)>,
}

impl SegmentSource for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            let reason = format!("{len} bytes at {offset} are asked for, it has {}", self.size);
            return Err(StoreError::Corrupt { file: self.path.clone(), reason });
        }
        let mut bytes = vec![0; len];
        self.read.0.fetch_add(1, Ordering::Relaxed);
        self.read.1.fetch_add(len as u64, Ordering::Relaxed);
        self.file.read_at(offset, &mut bytes).map_err(StoreError::io(format!("reading {}", self.path)))?;
        Ok(bytes.into())
    }
}
