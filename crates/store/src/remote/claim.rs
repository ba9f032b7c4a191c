//! Who writes into the object store: one claim an epoch, created if absent, renewed while its process lives.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use objects::{ObjectsError, Patience};
use serde::{Deserialize, Serialize};

use super::record::{Mirrored, number_of, path_of, replace, whole};
use super::{FOLDER, Own, Remote, failed};
use crate::StoreError;
use crate::disk::Disk;
use crate::manifest::{PLAIN, decode, encode};

const CLAIMS: &str = "writer";
/// A manifest larger than this is not believed.
const LARGEST: u64 = 1 << 30;
/// How often a claim is tried that others get in the way of.
const ATTEMPTS: usize = 5;

/// A process that writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Writer {
    /// The data directory's, drawn once.
    pub(crate) id: String,
    /// The machine's name.
    pub(crate) host: String,
    /// The process.
    pub(crate) pid: u32,
    /// The data directory.
    pub(crate) directory: String,
    /// When it began, nanoseconds since the Unix epoch.
    pub(crate) started: u64,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the Braid of {} on {} (pid {})", self.directory, self.host, self.pid)
    }
}

impl Writer {
    /// This process over `disk`, which gets an id if it has none.
    pub(super) fn of_directory(disk: &dyn Disk) -> Result<Self, StoreError> {
        let path = format!("{FOLDER}/writer");
        let known = whole(disk, &path).map_err(StoreError::io(format!("reading {path}")))?;
        let sound = |id: &String| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        let id = match known.and_then(|b| String::from_utf8(b).ok()).filter(sound) {
            Some(id) => id,
            None => {
                let drawn = || RandomState::new().hash_one((std::process::id(), SystemTime::now(), Instant::now()));
                let id = format!("{:016x}{:016x}", drawn(), drawn());
                replace(disk, &path, id.as_bytes()).map_err(StoreError::io(format!("writing {path}")))?;
                id
            }
        };
        let started = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| "an unnamed host".to_owned(), |h| h.trim().to_owned());
        Ok(Self { id, host, pid: std::process::id(), directory: disk.name(), started })
    }
}

/// What a claim's object holds.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    writer: Writer,
    /// It has ended well: whoever comes need not wait.
    released: bool,
}

fn path_of_claim(epoch: u64) -> String {
    format!("{CLAIMS}/{epoch:012}.json")
}

fn epoch_of(path: &str) -> Option<u64> {
    path.strip_prefix(CLAIMS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

impl Remote {
    /// The newest remote manifest that can be read, and the highest number.
    fn find_newest(&self, patience: Patience) -> Result<(u64, Option<Mirrored>), StoreError> {
        let found = self.bucket.list("manifest", patience).map_err(failed("listing the manifests"))?;
        let mut numbers: Vec<u64> = found.iter().filter_map(|o| number_of(&o.path)).collect();
        numbers.sort_unstable();
        for number in numbers.iter().rev() {
            match self.read_manifest(*number, patience) {
                Ok(manifest) => return Ok((numbers.last().copied().unwrap_or(0), Some(manifest))),
                Err(StoreError::Corrupt { file, reason }) => {
                    tracing::error!(file, reason, "a manifest in the object store is damaged; the one before it is used");
                }
                Err(e) => return Err(e),
            }
        }
        Ok((numbers.last().copied().unwrap_or(0), None))
    }

    pub(super) fn read_manifest(&self, number: u64, patience: Patience) -> Result<Mirrored, StoreError> {
        let path = path_of(number);
        let bytes = self.bucket.get(&path, LARGEST, patience).map_err(failed("reading a manifest"))?;
        decode(&format!("{}/{path}", self.bucket.name()), &bytes)
    }

    fn read_claim(&self, epoch: u64, patience: Patience) -> Result<Option<Claim>, StoreError> {
        match self.bucket.get(&path_of_claim(epoch), 1 << 20, patience) {
            Ok(bytes) => Ok(decode(&path_of_claim(epoch), &bytes).ok()),
            Err(ObjectsError::NotFound(_)) => Ok(None),
            Err(e) => Err(failed("reading who writes")(e)),
        }
    }

    /// How long ago the claim of `epoch` was renewed, by the object store's own clock.
    fn silence(&self, epoch: u64, patience: Patience) -> Result<Duration, StoreError> {
        let what = "asking who writes";
        let knock = format!("{CLAIMS}/knock-{}", self.me.id);
        self.bucket.put(&knock, self.me.to_string().into(), patience).map_err(failed(what))?;
        let found = self.bucket.list(CLAIMS, patience).map_err(failed(what))?;
        // One that stays is overwritten by the next.
        let _ = self.bucket.delete(&knock, patience);
        let at = |path: &str| found.iter().find(|o| o.path == path).map(|o| o.modified);
        match (at(&knock), at(&path_of_claim(epoch))) {
            (Some(now), Some(renewed)) => Ok(now.duration_since(renewed).unwrap_or_default()),
            _ => Ok(Duration::MAX),
        }
    }

    /// Becomes the writer. Returns what the object store had, which a fresh directory goes on with.
    pub(super) fn claim(
        &self,
        own: &mut Own,
        local_number: u64,
        fresh: bool,
        patience: Patience,
    ) -> Result<Option<Mirrored>, StoreError> {
        let held = |why: String| StoreError::Held { store: self.bucket.name().to_owned(), why };
        for _ in 0..ATTEMPTS {
            let claims = self.bucket.list(CLAIMS, patience).map_err(failed("asking who writes"))?;
            let top = claims.iter().filter_map(|o| epoch_of(&o.path)).max();
            let (number, newest) = self.find_newest(patience)?;
            if let Some(epoch) = top
                && let Some(claim) = self.read_claim(epoch, patience)?
                && claim.writer.id != self.me.id
                && !claim.released
            {
                let silent = self.silence(epoch, patience)?;
                if silent < self.lease {
                    let heard = format!("{} writes there, last heard of {} s ago", claim.writer, silent.as_secs());
                    return Err(held(format!("{heard}; a second writer is refused")));
                }
                tracing::warn!(
                    store = self.bucket.name(),
                    "{} was not heard of for {} s; taking over",
                    claim.writer,
                    silent.as_secs()
                );
            }
            if let Some(found) = newest.as_ref().filter(|_| !fresh) {
                self.same_history(found, local_number).map_err(held)?;
            }
            let epoch = top.unwrap_or(0).max(newest.as_ref().map_or(0, |m| m.epoch)) + 1;
            let claim = encode(&Claim { writer: self.me.clone(), released: false }, PLAIN)?;
            match self.bucket.create(&path_of_claim(epoch), claim.into(), patience) {
                Ok(()) => {}
                // Another came first, or an answer was lost: the next round tells.
                Err(ObjectsError::Exists(_)) => continue,
                Err(e) => return Err(failed("claiming the object store")(e)),
            }
            // The one before may have written meanwhile; from the first manifest of this epoch on it cannot.
            let (now, _) = self.find_newest(patience)?;
            if now != number {
                continue;
            }
            (own.epoch, own.next, own.beat) = (Some(epoch), number + 1, Some(Instant::now()));
            for object in claims.iter().filter(|o| epoch_of(&o.path).is_some_and(|e| e < epoch)) {
                // Only tidying.
                let _ = self.bucket.delete(&object.path, patience);
            }
            if let Some(found) = &newest {
                self.files.write().extend(found.files.clone());
                let known = self.newest.read().as_ref().map_or(0, |m| m.number);
                if found.number > known {
                    super::record::save(&*self.disk, found)?;
                    *self.newest.write() = Some(Arc::new(found.clone()));
                }
            }
            tracing::info!(store = self.bucket.name(), epoch, "writes to the object store");
            return Ok(newest);
        }
        Err(held("others are claiming it at the same time".to_owned()))
    }

    /// Whether the newest remote manifest is of this directory's history.
    fn same_history(&self, found: &Mirrored, local_number: u64) -> Result<(), String> {
        let fresh = "start with an empty data directory to go on with what is there, or name another prefix";
        if found.writer.id == self.me.id {
            // The local manifest is always at least as far.
            return if found.state.number <= local_number {
                Ok(())
            } else {
                Err(format!(
                    "this data directory is older than what it has written there (was it restored from a copy?); {fresh}"
                ))
            };
        }
        let known = self.newest.read().as_ref().is_some_and(|m| m.number == found.number && m.writer == found.writer);
        if known {
            return Ok(());
        }
        Err(format!("it was last written by {}, which is not this data directory's history; {fresh}", found.writer))
    }

    /// Renews the claim when it is time to; says whether another has come after it.
    pub(super) fn beat(&self, own: &mut Own) -> Result<(), StoreError> {
        let Some(epoch) = own.epoch else { return Ok(()) };
        if own.beat.is_some_and(|at| at.elapsed() < self.lease / 4) {
            return Ok(());
        }
        self.alone(epoch, Patience::UPKEEP)?;
        let claim = encode(&Claim { writer: self.me.clone(), released: false }, PLAIN)?;
        self.bucket.put(&path_of_claim(epoch), claim.into(), Patience::UPKEEP).map_err(failed("renewing the claim"))?;
        own.beat = Some(Instant::now());
        Ok(())
    }

    /// Whether there is no later claim than `epoch`; fences this process where there is.
    pub(super) fn alone(&self, epoch: u64, patience: Patience) -> Result<(), StoreError> {
        let claims = self.bucket.list(CLAIMS, patience).map_err(failed("asking who writes"))?;
        let Some(later) = claims.iter().filter_map(|o| epoch_of(&o.path)).filter(|e| *e > epoch).max() else { return Ok(()) };
        let by = self.read_claim(later, patience)?.map_or_else(|| self.me.clone(), |c| c.writer);
        self.fence(&by, later);
        Err(StoreError::Closed)
    }

    /// Says that the next writer need not wait.
    pub(crate) fn release(&self) {
        let Some(mut own) = self.own.try_lock_for(Duration::from_millis(300)) else { return };
        let Some(epoch) = own.epoch.take() else { return };
        if self.fenced().is_none()
            && let Ok(claim) = encode(&Claim { writer: self.me.clone(), released: true }, PLAIN)
        {
            // Otherwise the next one waits for the lease to end.
            let _ = self.bucket.put(&path_of_claim(epoch), claim.into(), Patience::PARTING);
        }
    }
}
