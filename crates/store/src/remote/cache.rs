//! Local copies of what is in the object store, as much as the budget allows: whole files that this machine wrote, and
//! blocks that were fetched. What was used longest ago goes first.
//!
//! A block is a file `objects/cache/<name>@<number>` with a checksum behind its bytes. It is written without a sync: one that
//! a crash tore is found by its checksum when it is first read, and fetched again.

use std::collections::{BTreeMap, HashMap};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{FOLDER, RemoteStats};
use crate::StoreError;
use crate::disk::Disk;
use crate::engine::files_of;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 1 << 20;
/// Fetches of different files go on at the same time, about so many.
const LANES: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// A file where it was written.
    Whole(String),
    /// A fetched block: name of the file, number.
    Block(String, u64),
}

impl Key {
    fn block(file: &str, number: u64) -> Self {
        // The name alone is unique: it begins with the segment's id and the writer's tag.
        Self::Block(file.rsplit('/').next().unwrap_or(file).to_owned(), number)
    }

    fn path(&self) -> String {
        match self {
            Self::Whole(file) => file.clone(),
            Self::Block(name, number) => format!("{FOLDER}/cache/{name}@{number}"),
        }
    }
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    used: u64,
    /// Its checksum was looked at in this process.
    sound: bool,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<Key, Entry>,
    order: BTreeMap<u64, Key>,
    bytes: u64,
    clock: u64,
}

impl Shelf {
    fn touch(&mut self, key: &Key) -> Option<bool> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        entry.used = self.clock;
        self.order.insert(self.clock, key.clone());
        Some(entry.sound)
    }

    fn insert(&mut self, key: Key, bytes: u64, sound: bool) {
        self.remove(&key);
        self.clock += 1;
        self.order.insert(self.clock, key.clone());
        self.entries.insert(key, Entry { bytes, used: self.clock, sound });
        self.bytes += bytes;
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.order.remove(&entry.used);
        self.bytes -= entry.bytes;
        true
    }
}

/// The local copies.
#[derive(Debug)]
pub(super) struct Cache {
    disk: Arc<dyn Disk>,
    limit: u64,
    shelf: Mutex<Shelf>,
    lanes: [Mutex<()>; LANES],
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl Cache {
    /// Finds the blocks that an earlier process left.
    pub(super) fn open(disk: Arc<dyn Disk>, limit: u64) -> Result<Self, StoreError> {
        let folder = format!("{FOLDER}/cache");
        disk.create_dir(&folder).map_err(StoreError::io("creating objects/cache/"))?;
        let mut shelf = Shelf::default();
        for entry in disk.list(&folder).map_err(StoreError::io("listing objects/cache/"))? {
            let key = entry.name.rsplit_once('@').and_then(|(name, n)| Some(Key::block(name, n.parse().ok()?)));
            match key {
                Some(key) => shelf.insert(key, entry.bytes, false),
                // Nobody's.
                None => drop(disk.remove(&format!("{folder}/{}", entry.name))),
            }
        }
        let cache = Self {
            disk,
            limit,
            shelf: Mutex::new(shelf),
            lanes: Default::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        };
        cache.shrink(0);
        Ok(cache)
    }

    /// Held while something of `file` is fetched.
    pub(super) fn fetching(&self, file: &str) -> MutexGuard<'_, ()> {
        self.lanes[crc32c::crc32c(file.as_bytes()) as usize % LANES].lock()
    }

    /// Counts a local file that the object store has, too.
    pub(super) fn keep_whole(&self, file: &str, bytes: u64) {
        let mut shelf = self.shelf.lock();
        let key = Key::Whole(file.to_owned());
        if !shelf.entries.contains_key(&key) && self.disk.open(file).is_ok() {
            shelf.insert(key, bytes, true);
        }
    }

    /// A local file is read.
    pub(super) fn touch_whole(&self, file: &str) {
        if self.shelf.lock().touch(&Key::Whole(file.to_owned())).is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a block is there.
    pub(super) fn has(&self, file: &str, number: u64) -> bool {
        self.shelf.lock().entries.contains_key(&Key::block(file, number))
    }

    /// `len` bytes from `offset` of a block, if it is there and sound.
    pub(super) fn read(&self, file: &str, number: u64, offset: u64, len: usize) -> Option<Bytes> {
        let key = Key::block(file, number);
        let Some(sound) = self.shelf.lock().touch(&key) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let read = if sound { self.part(&key, offset, len) } else { self.checked(&key, offset, len) };
        if read.is_none() {
            self.let_go(&key);
            self.misses.fetch_add(1, Ordering::Relaxed);
        } else {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        read
    }

    fn part(&self, key: &Key, offset: u64, len: usize) -> Option<Bytes> {
        let mut bytes = vec![0; len];
        self.disk.open(&key.path()).and_then(|f| f.read_at(offset, &mut bytes)).ok()?;
        Some(bytes.into())
    }

    fn checked(&self, key: &Key, offset: u64, len: usize) -> Option<Bytes> {
        let file = self.disk.open(&key.path()).ok()?;
        let size = file.size().ok().filter(|n| (4..=BLOCK + 4).contains(n))?;
        let mut bytes = vec![0; size as usize];
        file.read_at(0, &mut bytes).ok()?;
        let (body, sum) = bytes.split_at(bytes.len() - 4);
        if crc32c::crc32c(body).to_le_bytes() != *sum {
            tracing::warn!(path = key.path(), "a block of the cache is damaged; it is fetched again");
            return None;
        }
        if let Some(entry) = self.shelf.lock().entries.get_mut(key) {
            entry.sound = true;
        }
        let from = offset as usize;
        let wanted = from..from.checked_add(len).filter(|end| *end <= body.len())?;
        Some(Bytes::from(bytes).slice(wanted))
    }

    /// Keeps a block that was fetched. Where it cannot be written it is fetched again the next time.
    pub(super) fn keep_block(&self, file: &str, number: u64, block: &[u8]) {
        let size = block.len() as u64 + 4;
        if size > self.limit {
            return;
        }
        let key = Key::block(file, number);
        let sum = crc32c::crc32c(block).to_le_bytes();
        let written = self.disk.open_or_create(&key.path()).and_then(|f| {
            f.set_size(0)?;
            f.write_at(0, &mut [IoSlice::new(block), IoSlice::new(&sum)])
        });
        match written {
            Ok(()) => {
                self.shelf.lock().insert(key, size, true);
                self.shrink(0);
            }
            Err(e) => {
                tracing::debug!(path = key.path(), error = %e, "a block could not be kept");
                self.let_go(&key);
            }
        }
    }

    fn let_go(&self, key: &Key) {
        self.shelf.lock().remove(key);
        // One that stays is found at the next start.
        let _ = self.disk.remove(&key.path());
    }

    /// Everything of a file that is gone.
    pub(super) fn forget(&self, file: &str) {
        let name = Key::block(file, 0);
        let Key::Block(name, _) = name else { return };
        let gone: Vec<Key> = {
            let mut shelf = self.shelf.lock();
            let gone = |k: &&Key| matches!(k, Key::Block(n, _) if *n == name) || matches!(k, Key::Whole(f) if f == file);
            let gone: Vec<Key> = shelf.entries.keys().filter(gone).cloned().collect();
            for key in &gone {
                shelf.remove(key);
            }
            gone
        };
        for key in gone.iter().filter(|k| matches!(k, Key::Block(..))) {
            let _ = self.disk.remove(&key.path());
        }
    }

    /// Lets copies go until they are within the limit, and `further` bytes beyond.
    pub(super) fn shrink(&self, further: u64) {
        let mut goal = None;
        loop {
            let key = {
                let mut shelf = self.shelf.lock();
                let goal = *goal.get_or_insert_with(|| shelf.bytes.saturating_sub(further).min(self.limit));
                if shelf.bytes <= goal {
                    return;
                }
                let Some((_, key)) = shelf.order.first_key_value().map(|(n, k)| (*n, k.clone())) else { return };
                shelf.remove(&key);
                key
            };
            self.evictions.fetch_add(1, Ordering::Relaxed);
            let path = key.path();
            if let Err(e) = self.disk.remove(&path)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path, error = %e, "a local copy could not be removed");
            }
            if let Key::Whole(_) = key
                && files_of(&*self.disk, &path).is_ok_and(|f| f.is_empty())
            {
                // Fails while there is anything else in it.
                let _ = self.disk.remove_dir(crate::disk::folder_of(&path));
            }
        }
    }

    pub(super) fn stats(&self) -> RemoteStats {
        RemoteStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            cache_bytes: self.shelf.lock().bytes,
            cache_limit: self.limit,
            ..RemoteStats::default()
        }
    }
}
