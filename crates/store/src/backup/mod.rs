//! Backups: copies of the segments of one moment in any object store, and data directories made of them.
//!
//! | object | what |
//! |---|---|
//! | `backups/<id>.json` | a backup: the manifest, and size, checksum and object of every file; written last |
//! | `files/<path>@<identity>` | a file; the identity is a hash of what its manifest says of the segment |
//!
//! # Invariants
//!
//! 1. *A backup that can be seen is whole*: its own object is written when all files are there. What an interrupted one has
//!    copied the next one finds.
//! 2. *What is there is not copied again*: segments never change, and another one has another identity.
//! 3. *A restore touches nothing before every checksum fits*: files come into `restore.tmp/` first.

mod copy;
mod restore;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use objects::{Bucket, ObjectsError, Patience};
use serde::{Deserialize, Serialize};

use crate::engine::{Live, files_of};
use crate::manifest::{Manifest, decode};
use crate::remote::stem;
use crate::{Engine, Segments, StoreError};

pub use copy::{backup, prune, verify};
pub use restore::restore;

/// The version that is written.
pub const FORMAT: u32 = 1;
/// A description larger than this is not believed.
const LARGEST: u64 = 1 << 30;
/// Bytes that are read at once.
const PIECE: u64 = 8 << 20;

/// Why a backup or a restore did not come about.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It would overwrite something, or disturb a running server.
    #[error("{0}")]
    Refused(String),
    /// Files of the backup are missing or not what was written.
    #[error("{} of its files are damaged: {}", .0.len(), .0.join("; "))]
    Damaged(Vec<String>),
    /// There is no such backup.
    #[error("{0}")]
    Missing(String),
    /// The server whose data is to be copied.
    #[error("{0}")]
    Server(String),
}

/// What is to be copied: a moment of a store, which keeps its files while this is held.
pub trait Snapshot: Sync {
    /// The segments, and how far the log is in them.
    fn manifest(&self) -> &Manifest;
    /// Their files, with their sizes.
    fn files(&self) -> &[(String, u64)];
    /// Bytes of one of them.
    ///
    /// # Errors
    /// [`BackupError`].
    fn read(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, BackupError>;
}

/// A backup's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Version of this description.
    pub format: u32,
    /// Its name; later ones sort behind.
    pub id: String,
    /// When it was made, nanoseconds since the Unix epoch.
    pub made: i64,
    /// The Braid that made it.
    pub version: String,
    /// The store's state.
    pub state: Manifest,
    /// The files, by their paths in the data directory.
    pub files: BTreeMap<String, BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Size.
    pub bytes: u64,
    /// Of all of it.
    pub crc32c: u32,
    /// Where it is.
    pub object: String,
}

impl Backup {
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|f| f.bytes).sum()
    }

    /// Spans, lines and samples.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.state.segments.iter().map(|s| s.rows).sum()
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many files and bytes are ahead.
    Begin {
        /// Files.
        files: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// So many bytes have been copied or checked.
    Bytes(u64),
    /// A file of so many bytes was there already.
    Known(u64),
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were copied.
    pub copied: u64,
    /// Bytes in them.
    pub copied_bytes: u64,
    /// Files that were there already.
    pub known: u64,
    /// Bytes in them.
    pub known_bytes: u64,
}

fn path_of(id: &str) -> String {
    format!("backups/{id}.json")
}

/// The names of the backups in `bucket`, oldest first.
///
/// # Errors
/// The object store's.
pub fn list(bucket: &Bucket) -> Result<Vec<String>, BackupError> {
    let found = bucket.list("backups", Patience::COMMAND)?;
    Ok(found.iter().filter_map(|o| Some(o.path.strip_prefix("backups/")?.strip_suffix(".json")?.to_owned())).collect())
}

/// Reads a backup's description: of `id`, or of the newest.
///
/// # Errors
/// [`BackupError::Missing`], [`BackupError::Damaged`], the object store's.
pub fn find(bucket: &Bucket, id: Option<&str>) -> Result<Backup, BackupError> {
    let there = list(bucket)?;
    let id = match (id, there.last()) {
        (Some(id), _) if there.iter().any(|t| t == id) => id,
        (Some(id), _) => {
            let others = if there.is_empty() { "there is none".to_owned() } else { format!("there are {}", there.join(", ")) };
            return Err(BackupError::Missing(format!("no backup {id} in {}; {others}", bucket.name())));
        }
        (None, Some(last)) => last,
        (None, None) => return Err(BackupError::Missing(format!("there is no backup in {}", bucket.name()))),
    };
    let bytes = bucket.get(&path_of(id), LARGEST, Patience::COMMAND)?;
    match decode::<Backup>(&path_of(id), &bytes) {
        Ok(backup) if backup.format > FORMAT => {
            Err(StoreError::Version { file: path_of(id), found: backup.format, supported: FORMAT }.into())
        }
        // Paths are joined to the data directory's.
        Ok(backup) if backup.files.keys().all(|p| p.starts_with("segments/") && !p.split('/').any(|part| part == "..")) => {
            Ok(backup)
        }
        Ok(_) => Err(BackupError::Damaged(vec![format!("{}: it names files outside segments/", path_of(id))])),
        Err(StoreError::Corrupt { file, reason }) => Err(BackupError::Damaged(vec![format!("{file}: {reason}")])),
        Err(e) => Err(e.into()),
    }
}

/// A moment of a running engine.
pub struct Pinned {
    manifest: Arc<Manifest>,
    /// Keeps the files.
    _live: Arc<Live>,
    files: Vec<(String, u64)>,
    segments: Arc<dyn Segments>,
}

impl Snapshot for Pinned {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    fn read(&self, path: &str, offset: u64, len: usize) -> Result<Bytes, BackupError> {
        if !self.files.iter().any(|(known, _)| known == path) {
            return Err(BackupError::Missing(format!("{path} is not part of the snapshot")));
        }
        Ok(self.segments.open(path)?.read(offset, len)?)
    }
}

impl Engine {
    /// Writes what is in memory as segments and holds that moment: everything that was acknowledged before the call is in it.
    ///
    /// # Errors
    /// IO; [`StoreError::Busy`] while the log is being replayed.
    pub fn pin(&self) -> Result<Pinned, StoreError> {
        if let Some(why) = self.partial() {
            return Err(StoreError::Busy(why));
        }
        for signal in wire::Signal::ALL {
            self.flush(signal)?;
        }
        let core = self.core();
        let Some((manifest, live)) = core.in_force() else {
            return Err(StoreError::Busy("nothing was written yet".into()));
        };
        let mut files = Vec::new();
        let mut elsewhere = core.remote.as_ref().map(|r| r.by_stem()).unwrap_or_default();
        for segment in live.all() {
            let local =
                files_of(&*core.options.disk, &segment.file).map_err(StoreError::io(format!("listing {}", segment.file)))?;
            let mut own = elsewhere.remove(stem(&segment.file)).unwrap_or_default();
            for path in local {
                let size =
                    core.options.disk.open(&path).and_then(|f| f.size()).map_err(StoreError::io(format!("opening {path}")))?;
                own.insert(path, size);
            }
            files.extend(own);
        }
        Ok(Pinned { manifest, _live: live, files, segments: Arc::clone(&core.segments) as Arc<dyn Segments> })
    }
}
