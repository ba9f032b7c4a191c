//! Which segments exist and how far the log is in them: numbered files, created if absent, never changed.
//!
//! `manifest/<number>.json` is two parts: a line `{"format":1,"bytes":…,"crc32c":…}` and, after it, so many bytes of JSON
//! with that checksum. It is written under another name and gets its own when it is whole, so one that is not intact is
//! damage: it is moved to `quarantine/`, and the newest that is intact counts.
//!
//! # Invariants
//!
//! 1. *Losing the newest manifest loses nothing.* The log is cut, and the file of a dropped segment unlinked, only when
//!    **two** manifests on disk agree that it is not needed: [`Manifests::agreed`]. Falling back to the one before,
//!    the log still holds what that one does not cover, and the inputs of a merge that it does not know are still there.
//!    A start that has fallen back writes a new one before anything else, so that there are two again.
//!    (`tests/crash_engine.rs` damages the newest manifest after crashes)
//! 2. *A number is written once.* After any failure the next attempt takes the next number: a file whose sync failed may
//!    turn up intact after a crash, and is then a true account of segments that exist (which is why their files are not
//!    unlinked before two later manifests have been written).
//! 3. *Segment ids are never used twice*: `next_segment` is above every id that was ever named.

use std::io::IoSlice;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::Disk;
use crate::log::QUARANTINE;
use crate::{SegmentMeta, StoreError, Tombstone};

/// The version that is written.
pub const FORMAT: u32 = 3;
/// The version of one without deletions that wait or have words to read.
const AT_ONCE: u32 = 2;
/// The version of one without deletions and shared segments: earlier versions of Braid may read it.
pub(crate) const PLAIN: u32 = 1;
const FOLDER: &str = "manifest";
/// What a manifest is called until it is whole.
const UNFINISHED: &str = ".tmp";
/// How many manifests stay on disk.
const KEPT: usize = 4;
/// A manifest larger than this is not believed.
const LARGEST: u64 = 1 << 30;

/// The state of the store at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number, from 1.
    pub number: u64,
    /// Counts the processes that have written here; one with a lower epoch than the newest manifest's must not write.
    pub epoch: u64,
    /// When it was written, nanoseconds since the Unix epoch.
    pub written: i64,
    /// Above every segment id ever used.
    pub next_segment: u64,
    /// By signal (in the order of [`wire::Signal::ALL`]): the log sequence up to which segments hold everything.
    pub covered: [u64; 3],
    /// The segments in service, by id.
    pub segments: Vec<SegmentMeta>,
    /// Segments taken out of service because they were damaged, the latest ones.
    #[serde(default)]
    pub quarantined: Vec<Quarantined>,
    /// The deletions in force, and the latest ones that are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<Tombstone>,
    /// The requests to delete that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Tombstone>,
}

/// A segment out of service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// What it was.
    pub segment: SegmentMeta,
    /// What was wrong with it.
    pub reason: String,
    /// When that was found, nanoseconds since the Unix epoch.
    pub found: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    bytes: u64,
    crc32c: u32,
}

/// The manifests of a data directory.
#[derive(Debug)]
pub struct Manifests {
    disk: Arc<dyn Disk>,
    next: u64,
    /// The two newest that are known to be on disk, oldest first.
    newest: Vec<Arc<Manifest>>,
    /// Manifests that were there and not readable.
    pub damaged: u64,
}

fn path_of(number: u64) -> String {
    format!("{FOLDER}/{number:012}.json")
}

impl Manifest {
    /// The version of a file that holds it: one that would not leave deleted rows out, or not find those in shared segments,
    /// must not read it.
    pub(crate) fn format(&self) -> u32 {
        let is_plain = self.tombstones.is_empty() && !self.segments.iter().any(SegmentMeta::is_shared);
        match self.waiting.is_empty() && !self.tombstones.iter().any(|t| t.doomed.is_worded()) {
            true if is_plain => PLAIN,
            true => AT_ONCE,
            false => FORMAT,
        }
    }
}

/// Puts the line with the checksum before `manifest`.
pub(crate) fn encode<T: Serialize>(manifest: &T, format: u32) -> Result<Vec<u8>, StoreError> {
    let body =
        serde_json::to_vec(manifest).map_err(|e| StoreError::Io { what: "encoding the manifest".into(), source: e.into() })?;
    let head = Head { format, bytes: body.len() as u64, crc32c: crc32c::crc32c(&body) };
    let mut bytes =
        serde_json::to_vec(&head).map_err(|e| StoreError::Io { what: "encoding the manifest".into(), source: e.into() })?;
    bytes.push(b'\n');
    bytes.extend(body);
    Ok(bytes)
}

/// Reads what [`encode`] has written; `file` for messages.
pub(crate) fn decode<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { file: file.to_owned(), reason };
    let end = memchr::memchr(b'\n', bytes).ok_or_else(|| corrupt("no first line".into()))?;
    let (head, body) = (&bytes[..end], &bytes[end + 1..]);
    let head: Head = serde_json::from_slice(head).map_err(|e| corrupt(e.to_string()))?;
    if head.format > FORMAT {
        return Err(StoreError::Version { file: file.to_owned(), found: head.format, supported: FORMAT });
    }
    if head.bytes != body.len() as u64 || head.crc32c != crc32c::crc32c(body) {
        return Err(corrupt("the checksum does not fit".into()));
    }
    serde_json::from_slice(body).map_err(|e| corrupt(e.to_string()))
}

fn load(disk: &dyn Disk, path: &str) -> Result<Manifest, StoreError> {
    let file = disk.open(path).map_err(StoreError::io(format!("opening {path}")))?;
    let size = file.size().map_err(StoreError::io(format!("size of {path}")))?;
    if size > LARGEST {
        return Err(StoreError::Corrupt { file: path.to_owned(), reason: format!("{size} bytes") });
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes).map_err(StoreError::io(format!("reading {path}")))?;
    decode(path, &bytes)
}

/// Every manifest that is there, the oldest first, as it reads; changes nothing.
///
/// # Errors
/// IO when listing; what is wrong with one of them stands beside it.
pub fn list(disk: &dyn Disk) -> Result<Vec<(String, Result<Manifest, StoreError>)>, StoreError> {
    let entries = disk.list(FOLDER).map_err(StoreError::io("listing manifest/"))?;
    let paths = entries.iter().filter(|e| e.name.ends_with(".json")).map(|e| format!("{FOLDER}/{}", e.name));
    Ok(paths.map(|path| (path.clone(), load(disk, &path))).collect())
}

impl Manifests {
    /// Finds the newest manifests. Ones that are damaged are quarantined.
    ///
    /// # Errors
    /// IO; [`StoreError::Version`] when the newest intact one is of a later version: going back behind it would lose data.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        disk.create_dir(FOLDER).map_err(StoreError::io("creating manifest/"))?;
        let entries = disk.list(FOLDER).map_err(StoreError::io("listing manifest/"))?;
        let mut numbers: Vec<u64> =
            entries.iter().filter_map(|e| e.name.strip_suffix(".json").and_then(|n| n.parse().ok())).collect();
        numbers.sort_unstable();
        for unfinished in entries.iter().filter(|e| e.name.ends_with(UNFINISHED)) {
            // One that stays is in nobody's way but its own number's, which is not used again.
            let _ = disk.remove(&format!("{FOLDER}/{}", unfinished.name));
        }
        let tried = entries.iter().filter_map(|e| e.name.split('.').next().and_then(|n| n.parse::<u64>().ok())).max();
        let mut found = Self { disk, next: tried.map_or(1, |n| n + 1), newest: Vec::new(), damaged: 0 };
        for number in numbers.iter().rev() {
            let path = path_of(*number);
            match load(&*found.disk, &path) {
                Ok(manifest) => {
                    found.newest.insert(0, Arc::new(manifest));
                    if found.newest.len() == 2 {
                        break;
                    }
                }
                Err(StoreError::Corrupt { reason, .. }) => {
                    found.damaged += 1;
                    tracing::warn!(%path, reason, "a manifest is damaged; it is quarantined and the one before it used");
                    let to = format!("{QUARANTINE}/manifest-{number:012}.json");
                    if let Err(e) = found.disk.create_dir(QUARANTINE).and_then(|()| found.disk.rename(&path, &to)) {
                        tracing::warn!(%path, error = %e, "the manifest could not be moved to the quarantine");
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(found)
    }

    /// The manifest that counts.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Manifest>> {
        self.newest.last()
    }

    /// The manifest before it, which counts should it be lost.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<Manifest>> {
        self.newest.len().checked_sub(2).and_then(|i| self.newest.get(i))
    }

    /// The number that the next attempt to write takes.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// By signal, the sequence up to which both the newest manifests cover the log; zeros while there is only one.
    #[must_use]
    pub fn agreed(&self) -> [u64; 3] {
        match (self.previous(), self.current()) {
            (Some(a), Some(b)) => std::array::from_fn(|i| a.covered[i].min(b.covered[i])),
            _ => [0; 3],
        }
    }

    /// Makes `manifest` durable under the next number (which is filled in) and lets old ones go.
    ///
    /// # Errors
    /// IO; the manifest before goes on counting.
    pub fn write(&mut self, mut manifest: Manifest) -> Result<Arc<Manifest>, StoreError> {
        let number = self.next;
        self.next += 1;
        manifest.number = number;
        let path = path_of(number);
        if self.disk.open(&path).is_ok() {
            return Err(StoreError::Corrupt { file: path, reason: "another process has written it".into() });
        }
        let bytes = encode(&manifest, manifest.format())?;
        // Under another name first, so that a killed process leaves no half manifest that looks like damage.
        let unfinished = format!("{path}{UNFINISHED}");
        let file = self.disk.create(&unfinished).map_err(StoreError::io(format!("creating {unfinished}")))?;
        let written = file.write_at(0, &mut [IoSlice::new(&bytes)]).and_then(|()| file.sync());
        let named = written.and_then(|()| self.disk.rename(&unfinished, &path)).and_then(|()| self.disk.sync_dir(FOLDER));
        if let Err(e) = named {
            // Only tidying: the next start removes the one, and the other is a true account of what is there.
            let _ = self.disk.remove(&unfinished);
            return Err(StoreError::Io { what: format!("writing {path}"), source: e });
        }
        let manifest = Arc::new(manifest);
        self.newest.push(Arc::clone(&manifest));
        if self.newest.len() > 2 {
            self.newest.remove(0);
        }
        self.prune();
        Ok(manifest)
    }

    fn prune(&self) {
        let Ok(entries) = self.disk.list(FOLDER) else { return };
        let kept = self.newest.first().map_or(0, |m| m.number);
        let old = entries.len().saturating_sub(KEPT);
        for entry in entries.iter().take(old) {
            let number: Option<u64> = entry.name.strip_suffix(".json").and_then(|n| n.parse().ok());
            if number.is_some_and(|n| n < kept) {
                // One that stays is removed the next time.
                let _ = self.disk.remove(&format!("{FOLDER}/{}", entry.name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    fn manifest(covered: u64) -> Manifest {
        Manifest { covered: [covered; 3], next_segment: covered, ..Manifest::default() }
    }

    #[test]
    fn after_a_crash_at_any_operation_the_newest_acknowledged_manifest_or_a_later_one_counts() {
        for seed in 0..400 {
            let disk = SimDisk::new(seed);
            disk.halt_after(seed % 60);
            let mut acknowledged = 0;
            if let Ok(mut manifests) = Manifests::open(Arc::new(disk.clone())) {
                for covered in 1..=12 {
                    match manifests.write(manifest(covered)) {
                        Ok(_) => acknowledged = covered,
                        Err(_) => break,
                    }
                }
            }
            let disk = disk.crash();
            let manifests = Manifests::open(Arc::new(disk)).expect("opens after a crash");
            let found = manifests.current().map_or(0, |m| m.covered[0]);
            assert!(found == acknowledged || found == acknowledged + 1, "seed {seed}: {found}, acknowledged {acknowledged}");
        }
    }

    #[test]
    fn a_damaged_manifest_is_quarantined_and_the_one_before_it_used() {
        let disk = SimDisk::new(1);
        let mut manifests = Manifests::open(Arc::new(disk.clone())).expect("opens");
        for covered in 1..=3 {
            manifests.write(manifest(covered)).expect("written");
        }
        assert_eq!(manifests.agreed(), [2; 3]);
        let newest = path_of(3);
        assert!(disk.flip(&newest, 70, 3));
        let mut manifests = Manifests::open(Arc::new(disk.clone())).expect("opens");
        assert_eq!(manifests.current().map(|m| m.covered[0]), Some(2));
        assert_eq!(manifests.damaged, 1);
        assert!(disk.bytes("quarantine/manifest-000000000003.json").is_some());
        let next = manifests.write(manifest(9)).expect("written");
        assert_eq!(next.number, 4, "a number is not used twice");
    }

    #[test]
    fn a_manifest_of_a_later_version_is_not_stepped_over() {
        let disk = SimDisk::new(1);
        let mut manifests = Manifests::open(Arc::new(disk.clone())).expect("opens");
        manifests.write(manifest(1)).expect("written");
        let file = disk.create(&path_of(2)).expect("new");
        file.write_at(0, &mut [IoSlice::new(b"{\"format\":9,\"bytes\":0,\"crc32c\":0}\n")]).expect("written");
        let error = Manifests::open(Arc::new(disk)).expect_err("too new");
        assert!(matches!(error, StoreError::Version { found: 9, .. }), "{error}");
    }

    #[test]
    fn old_manifests_go_and_the_last_ones_stay() {
        let disk = SimDisk::new(1);
        let mut manifests = Manifests::open(Arc::new(disk.clone())).expect("opens");
        for covered in 1..=20 {
            manifests.write(manifest(covered)).expect("written");
        }
        assert_eq!(disk.list("manifest").expect("listed").len(), KEPT);
    }
}
