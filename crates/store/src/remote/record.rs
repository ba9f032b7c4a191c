//! The remote manifest, and the local copy of the newest.

use std::collections::BTreeMap;
use std::io::IoSlice;

use serde::{Deserialize, Serialize};

use super::FOLDER;
use super::claim::Writer;
use crate::StoreError;
use crate::disk::Disk;
use crate::manifest::{Manifest, decode, encode};

/// Size and checksum of a file in the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSum {
    /// Size.
    pub(crate) bytes: u64,
    /// Of all of it.
    pub(crate) crc32c: u32,
}

/// A remote manifest: everything that it names is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mirrored {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The claim under which it was written.
    pub(crate) epoch: u64,
    /// Who wrote it.
    pub(crate) writer: Writer,
    /// The local manifest that it is of.
    pub(crate) state: Manifest,
    /// The files of the segments, by path.
    pub(crate) files: BTreeMap<String, FileSum>,
}

pub(super) fn path_of(number: u64) -> String {
    format!("manifest/{number:012}.json")
}

pub(super) fn number_of(path: &str) -> Option<u64> {
    path.strip_prefix("manifest/")?.strip_suffix(".json")?.parse().ok()
}

fn local() -> String {
    format!("{FOLDER}/manifest.json")
}

/// Writes a small file of ours anew, durably.
pub(super) fn replace(disk: &dyn Disk, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = format!("{path}.tmp");
    let file = disk.open_or_create(&unfinished)?;
    file.set_size(0)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    file.sync()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(FOLDER)
}

/// A small file of ours whole; `None` where there is none.
pub(super) fn whole(disk: &dyn Disk, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = vec![0; usize::try_from(file.size()?.min(1 << 30)).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

/// Keeps a copy of the newest remote manifest.
pub(super) fn save(disk: &dyn Disk, manifest: &Mirrored) -> Result<(), StoreError> {
    replace(disk, &local(), &encode(manifest, manifest.state.format())?).map_err(StoreError::io(format!("writing {}", local())))
}

/// The copy. A damaged one is no copy: the object store has the original, and until then nothing is evicted.
pub(super) fn load(disk: &dyn Disk) -> Result<Option<Mirrored>, StoreError> {
    let Some(bytes) = whole(disk, &local()).map_err(StoreError::io(format!("reading {}", local())))? else { return Ok(None) };
    match decode(&local(), &bytes) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(StoreError::Corrupt { file, reason }) => {
            tracing::warn!(file, reason, "the copy of the newest remote manifest is damaged; it is read anew");
            Ok(None)
        }
        Err(e) => Err(e),
    }
}
