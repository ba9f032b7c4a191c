//! A disk in memory that forgets what a power cut would make a real one forget.
//!
//! Each file has its bytes as readers see them, its bytes as they are surely on the platter, and the writes between the
//! two; each folder likewise has names, durable names and the changes between. [`SimDisk::crash`] decides by lot which of
//! the unsynced writes reached the platter: none, some first ones with the last torn at a byte, or any of their 512-byte
//! sectors in any order. Names survive as a prefix of the unsynced changes of their folder. Files that were open at the
//! crash answer with errors from then on, so that threads of the "dead process" can do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::{Disk, DiskFile, Entry, folder_of};

const SECTOR: usize = 512;

/// The simulated disk as one boot of the machine sees it; clones are the same. After [`SimDisk::crash`] it answers with
/// errors, and the disk that `crash` returned goes on.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Sim>, u64);

#[derive(Debug, Default)]
struct Sim {
    state: Mutex<State>,
    /// Counts crashes; whatever is of an earlier boot is dead.
    boot: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    folders: BTreeSet<String>,
    lock: Option<(u64, String)>,
    faults: Faults,
    random: u64,
    operations: u64,
}

/// What goes wrong. All counters are over operations that change something (writes, syncs, names).
#[derive(Debug, Clone, Default)]
struct Faults {
    capacity: Option<u64>,
    read_only: bool,
    halt_at: Option<u64>,
    fail_writes: u32,
    fail_syncs: u32,
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
enum Pending {
    Write(u64, Vec<u8>),
    Size(u64),
}

#[derive(Debug)]
enum Change {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

impl Change {
    fn is_in(&self, folder: &str) -> bool {
        match self {
            Self::Set(path, _) | Self::Remove(path) => folder_of(path) == folder,
            Self::Rename(from, to, _) => folder_of(from) == folder || folder_of(to) == folder,
        }
    }

    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Set(path, inode) => {
                names.insert(path, inode);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

fn write_into(bytes: &mut Vec<u8>, offset: u64, part: &[u8]) {
    let at = offset as usize;
    if bytes.len() < at + part.len() {
        bytes.resize(at + part.len(), 0);
    }
    bytes[at..at + part.len()].copy_from_slice(part);
}

impl State {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }

    /// Called before everything that changes the disk.
    fn changing(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.faults.halt_at.is_some_and(|at| self.operations > at) {
            return Err(io::Error::other("the simulated machine has halted"));
        }
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|i| self.inodes[*i].now.len() as u64).sum()
    }

    fn room_for(&self, more: u64) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if self.used() + more > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn lose_unsynced(&mut self, inode: usize) {
        let pending = std::mem::take(&mut self.inodes[inode].pending);
        let mode = self.below(4);
        // Mode 0 loses everything, 1 keeps everything, 2 tears a prefix, 3 keeps sectors by lot.
        let keep = if mode == 2 { self.below(pending.len() as u64 + 1) as usize } else { pending.len() };
        let mut bytes = std::mem::take(&mut self.inodes[inode].durable);
        if mode != 0 {
            for (i, p) in pending.into_iter().enumerate() {
                match p {
                    _ if i > keep => break,
                    Pending::Size(size) => bytes.resize(size as usize, 0),
                    Pending::Write(offset, part) if mode == 2 && i == keep => {
                        let torn = self.below(part.len() as u64) as usize;
                        write_into(&mut bytes, offset, &part[..torn]);
                    }
                    Pending::Write(offset, part) if mode == 3 => {
                        for (n, sector) in part.chunks(SECTOR).enumerate() {
                            if self.below(2) == 0 {
                                write_into(&mut bytes, offset + (n * SECTOR) as u64, sector);
                            }
                        }
                    }
                    Pending::Write(offset, part) => write_into(&mut bytes, offset, &part),
                }
            }
        }
        self.inodes[inode].now.clone_from(&bytes);
        self.inodes[inode].durable = bytes;
    }

    fn new_inode(&mut self) -> usize {
        self.inodes.push(Inode::default());
        self.inodes.len() - 1
    }
}

impl SimDisk {
    /// An empty disk; `seed` decides what crashes keep.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.0.state.lock().random = seed;
        disk
    }

    /// Power off and on: unsynced bytes and names are lost by lot, open files and the lock are gone, faults are mended.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.0.state.lock();
        let boot = self.0.boot.fetch_add(1, Ordering::SeqCst) + 1;
        state.lock = None;
        state.faults = Faults { capacity: state.faults.capacity, ..Faults::default() };
        for inode in 0..state.inodes.len() {
            state.lose_unsynced(inode);
        }
        // A journal keeps changes of names in order.
        let changes = std::mem::take(&mut state.changes);
        let keep = state.below(changes.len() as u64 + 1) as usize;
        for change in changes.into_iter().take(keep) {
            change.apply(&mut state.durable_names);
        }
        state.names = state.durable_names.clone();
        Self(Arc::clone(&self.0), boot)
    }

    /// The process dies and the machine stays up: nothing is lost but open files and the lock.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.0.state.lock();
        let boot = self.0.boot.fetch_add(1, Ordering::SeqCst) + 1;
        state.lock = None;
        state.faults.halt_at = None;
        Self(Arc::clone(&self.0), boot)
    }

    /// From the `n`th changing operation from now on, everything that changes something fails, until [`SimDisk::crash`].
    pub fn halt_after(&self, n: u64) {
        let mut state = self.0.state.lock();
        state.faults.halt_at = Some(state.operations + n);
    }

    /// Whether the machine has halted.
    #[must_use]
    pub fn halted(&self) -> bool {
        let state = self.0.state.lock();
        state.faults.halt_at.is_some_and(|at| state.operations > at)
    }

    /// Bytes that fit on the disk, `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.state.lock().faults.capacity = bytes;
    }

    /// Refuses every change, or stops doing so.
    pub fn set_read_only(&self, read_only: bool) {
        self.0.state.lock().faults.read_only = read_only;
    }

    /// The next `n` writes fail with an IO error, after having written a part.
    pub fn fail_writes(&self, n: u32) {
        self.0.state.lock().faults.fail_writes = n;
    }

    /// The next `n` syncs fail; the unsynced bytes are lost by lot and the file looks clean afterwards, as on Linux.
    pub fn fail_syncs(&self, n: u32) {
        self.0.state.lock().faults.fail_syncs = n;
    }

    /// Turns one bit of a file, on the platter and for readers. Says whether there was such a bit.
    pub fn flip(&self, path: &str, byte: u64, bit: u8) -> bool {
        let mut state = self.0.state.lock();
        let Some(&inode) = state.names.get(path) else { return false };
        let at = byte as usize;
        let inode = &mut state.inodes[inode];
        let mut turned = false;
        for bytes in [&mut inode.now, &mut inode.durable] {
            if let Some(b) = bytes.get_mut(at) {
                *b ^= 1 << (bit % 8);
                turned = true;
            }
        }
        turned
    }

    /// A file's bytes as readers see them.
    #[must_use]
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.state.lock();
        state.names.get(path).map(|i| state.inodes[*i].now.clone())
    }

    /// Every file's path, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.0.state.lock().names.keys().cloned().collect()
    }

    /// How many operations have changed something so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.state.lock().operations
    }

    fn file(&self, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), inode })
    }

    /// The state, for a process of this boot.
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.0.state.lock();
        if self.0.boot.load(Ordering::SeqCst) != self.1 {
            return Err(io::Error::other("the simulated machine went down"));
        }
        Ok(state)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        state.changing()?;
        Ok(state)
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.change()?;
        state.room_for(1)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.new_inode();
        state.names.insert(path.to_owned(), inode);
        state.changes.push(Change::Set(path.to_owned(), inode));
        Ok(self.file(inode))
    }

    fn open_or_create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let known = self.alive()?.names.get(path).copied();
        match known {
            Some(inode) => Ok(self.file(inode)),
            None => self.create(path),
        }
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.alive()?.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.changes.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.change()?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let inside = format!("{path}/");
        if state.names.keys().chain(state.folders.iter()).any(|n| n.starts_with(&inside)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.folders.remove(path);
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let state = self.alive()?;
        let inside = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut out: BTreeMap<String, Entry> = BTreeMap::new();
        for (path, inode) in &state.names {
            let Some(rest) = path.strip_prefix(&inside) else { continue };
            let (name, deeper) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
            let bytes = if deeper { 0 } else { state.inodes[*inode].now.len() as u64 };
            out.insert(name.to_owned(), Entry { name: name.to_owned(), bytes, folder: deeper });
        }
        for path in &state.folders {
            let Some(rest) = path.strip_prefix(&inside) else { continue };
            let name = rest.split_once('/').map_or(rest, |(name, _)| name);
            out.entry(name.to_owned()).or_insert_with(|| Entry { name: name.to_owned(), bytes: 0, folder: true });
        }
        Ok(out.into_values().collect())
    }

    fn create_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let mut path = String::new();
        for part in folder.split('/').filter(|p| !p.is_empty()) {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(part);
            state.folders.insert(path.clone());
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.change()?;
        // The journal is one: syncing a folder takes every earlier change of names with it.
        let Some(last) = state.changes.iter().rposition(|c| c.is_in(folder)) else { return Ok(()) };
        let changes: Vec<Change> = state.changes.drain(..=last).collect();
        for change in changes {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn free_space(&self) -> io::Result<u64> {
        let state = self.alive()?;
        Ok(state.faults.capacity.map_or(u64::MAX / 2, |c| c.saturating_sub(state.used())))
    }

    fn lock(&self, _: &str, text: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut state = self.alive()?;
        if let Some((_, holder)) = &state.lock {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.clone()));
        }
        let id = state.next();
        state.lock = Some((id, text.to_owned()));
        Ok(Box::new(SimLock { disk: self.clone(), id }))
    }

    fn name(&self) -> String {
        "the simulated disk".into()
    }
}

struct SimLock {
    disk: SimDisk,
    id: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.state.lock();
        if state.lock.as_ref().is_some_and(|(id, _)| *id == self.id) {
            state.lock = None;
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.alive()?;
        act(&mut state)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|s| Ok(s.inodes[self.inode].now.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.with(|s| {
            let bytes = &s.inodes[self.inode].now;
            let end = offset.checked_add(into.len() as u64).filter(|e| *e <= bytes.len() as u64);
            let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(&bytes[offset as usize..end as usize]);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.with(|s| {
            let mut bytes: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
            let mut outcome = s.changing();
            if outcome.is_ok() && s.faults.fail_writes > 0 {
                s.faults.fail_writes -= 1;
                outcome = Err(io::Error::other("simulated write error"));
            }
            if outcome.is_ok() {
                let grows = (offset + bytes.len() as u64).saturating_sub(s.inodes[self.inode].now.len() as u64);
                outcome = s.room_for(grows);
            }
            if outcome.is_err() {
                if s.faults.read_only {
                    return outcome;
                }
                let torn = s.below(bytes.len() as u64 + 1) as usize;
                bytes.truncate(torn);
            }
            write_into(&mut s.inodes[self.inode].now, offset, &bytes);
            s.inodes[self.inode].pending.push(Pending::Write(offset, bytes));
            outcome
        })
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.with(|s| {
            s.changing()?;
            s.inodes[self.inode].now.resize(size as usize, 0);
            s.inodes[self.inode].pending.push(Pending::Size(size));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|s| {
            s.changing()?;
            if s.faults.fail_syncs > 0 {
                s.faults.fail_syncs -= 1;
                let seen = s.inodes[self.inode].now.clone();
                s.lose_unsynced(self.inode);
                // Readers go on seeing the page cache; the platter has what it has.
                s.inodes[self.inode].now = seen;
                return Err(io::Error::other("simulated sync error"));
            }
            let inode = &mut s.inodes[self.inode];
            inode.pending.clear();
            inode.durable.clone_from(&inode.now);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(file: &Arc<dyn DiskFile>, offset: u64, bytes: &[u8]) {
        file.write_at(offset, &mut [IoSlice::new(bytes)]).expect("writable");
    }

    #[test]
    fn synced_bytes_under_a_synced_name_survive_every_crash_and_unsynced_ones_only_some() {
        let mut lost = 0;
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").expect("new");
            write(&file, 0, b"kept");
            file.sync().expect("synced");
            disk.sync_dir("").expect("synced");
            write(&file, 4, b" or not");
            disk.create("b").expect("new");
            let disk = disk.crash();
            let bytes = disk.bytes("a").expect("the name was synced");
            assert_eq!(&bytes[..4], b"kept");
            lost += usize::from(bytes.len() < 11) + usize::from(disk.bytes("b").is_none());
            assert!(file.size().is_err(), "a handle from before the crash is dead");
        }
        assert!((50..350).contains(&lost), "{lost}");
    }

    #[test]
    fn a_failed_sync_leaves_the_page_cache_readable_and_the_platter_unknown() {
        let mut lost = 0;
        for seed in 0..100 {
            let disk = SimDisk::new(seed);
            let file = disk.create("a").expect("new");
            disk.sync_dir("").expect("synced");
            write(&file, 0, b"bytes");
            disk.fail_syncs(1);
            assert!(file.sync().is_err());
            assert_eq!(disk.bytes("a").as_deref(), Some(&b"bytes"[..]));
            let disk = disk.crash();
            lost += usize::from(disk.bytes("a").as_deref() != Some(&b"bytes"[..]));
        }
        assert!(lost > 10, "{lost}");
    }
}
