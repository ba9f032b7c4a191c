//! The series of a tenant that are in memory anywhere (head, cached segment indexes): label sets with a number each.
//!
//! # From a request's bytes to a series
//! The hot path of ingestion is one hash and one probe: `xxh3-128` of the raw label bytes, under a secret drawn at
//! start, is taken for the bytes themselves. Two label sets meet in one hash with probability 2^-128 a pair, and as the
//! secret is not known a sender cannot look for such a pair; so neither the bytes are kept nor compared, which saves
//! 150 bytes and a cache miss a series. The same labels may come in other bytes (another protocol, another sender's
//! padding): each spelling is an entry of its own that leads to the same series, and spellings are bounded.
//!
//! # Numbers
//! A number lives as long as a head part or a segment index that uses it; then it may be given away anew. Whoever drops
//! a set of numbers puts it into [`Catalog::release`]; nothing is looked up by number without the lock.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use model::Labels;
use parking_lot::{Mutex, RwLock};
use wire::RawLabels;
use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::postings::Postings;
use super::totals::Total;
use crate::{StoreError, Tombstone};

/// A series' number within its tenant.
pub(super) type SeriesId = u32;

/// The newest sample that a series had when its head part was detached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    /// Milliseconds.
    pub time: i64,
    /// Its value's bits, or the histogram's fingerprint.
    pub bits: u64,
    /// Whether it is a histogram.
    pub histogram: bool,
}

#[derive(Debug)]
struct Entry {
    labels: Arc<Labels>,
    /// Hash of the labels, for the table by labels.
    hash: u64,
    /// Parts and indexes that use the number.
    users: u32,
    newest: Option<Newest>,
}

/// One spelling of a series' labels.
#[derive(Debug, Clone, Copy)]
struct Spelling {
    key: [u64; 2],
    id: SeriesId,
    /// Where the series is in the head part of generation `generation`.
    slot: u32,
    generation: u32,
}

/// Where a request's series is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found {
    /// In this slot of the current head part.
    Slot(u32),
    /// In no slot yet; the number of the series, and the key to name its slot by.
    Series(SeriesId, [u64; 2]),
}

/// Label sets by number, by content and by spelling.
pub(super) struct Registry {
    entries: Vec<Option<Entry>>,
    free: Vec<SeriesId>,
    live: usize,
    by_labels: HashTable<SeriesId>,
    spellings: HashTable<Spelling>,
    postings: Postings,
    hasher: RandomState,
    secret: [u8; 192],
    /// What deltas have added up to, of the series that have them.
    totals: HashMap<SeriesId, Total>,
    label_bytes: usize,
    /// Grows with every change of the set of series.
    version: u64,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Default for Registry {
    fn default() -> Self {
        let mut secret = [0; 192];
        for (i, eight) in secret.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *eight = RandomState::new().hash_one(i).to_le_bytes();
        }
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            by_labels: HashTable::new(),
            spellings: HashTable::new(),
            postings: Postings::default(),
            hasher: RandomState::new(),
            secret,
            totals: HashMap::new(),
            label_bytes: 0,
            version: 0,
        }
    }
}

impl Registry {
    /// Where the series with these raw labels is, given the generation of the current head part; a new series gets a number.
    ///
    /// # Errors
    /// None for labels that a walker has checked.
    #[inline]
    pub(super) fn find(&mut self, raw: &RawLabels<'_>, generation: u32) -> Result<Found, StoreError> {
        let hash = xxh3_128_with_secret(raw.key, &self.secret);
        let key = [hash as u64, (hash >> 64) as u64];
        match self.spellings.find(key[0], |s| s.key == key) {
            Some(s) if s.generation == generation => Ok(Found::Slot(s.slot)),
            Some(s) => Ok(Found::Series(s.id, key)),
            None => self.find_new(raw, key),
        }
    }

    #[cold]
    fn find_new(&mut self, raw: &RawLabels<'_>, key: [u64; 2]) -> Result<Found, StoreError> {
        let mut pairs = Vec::new();
        raw.read(&mut pairs)?;
        let id = self.intern(Labels::from_pairs(pairs));
        // A sender that spells the same labels in ever new ways must not fill the memory.
        if self.spellings.len() >= 4 * self.live + 1024 {
            self.spellings.clear();
        }
        let spelling = Spelling { key, id, slot: 0, generation: 0 };
        self.spellings.insert_unique(key[0], spelling, |s| s.key[0]);
        Ok(Found::Series(id, key))
    }

    /// Remembers that the series of this spelling is in `slot` of the head part of `generation` (1 or more).
    pub(super) fn name_slot(&mut self, key: [u64; 2], slot: u32, generation: u32) {
        if let Some(s) = self.spellings.find_mut(key[0], |s| s.key == key) {
            (s.slot, s.generation) = (slot, generation);
        }
    }

    /// The number of a label set; a new one if need be. Its users are not counted here.
    pub(super) fn intern(&mut self, labels: Labels) -> SeriesId {
        let hash = self.hasher.hash_one(&labels);
        let entries = &self.entries;
        let same = |id: &SeriesId| matches!(&entries[*id as usize], Some(e) if *e.labels == labels);
        if let Some(id) = self.by_labels.find(hash, same) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as SeriesId - 1
        });
        self.postings.add(&labels, id);
        self.label_bytes += labels.memory();
        self.entries[id as usize] = Some(Entry { labels: Arc::new(labels), hash, users: 0, newest: None });
        self.live += 1;
        self.version += 1;
        let entries = &self.entries;
        self.by_labels.insert_unique(hash, id, |id| entries[*id as usize].as_ref().map_or(0, |e| e.hash));
        id
    }

    /// The labels of a number in use.
    pub(super) fn labels(&self, id: SeriesId) -> Option<&Arc<Labels>> {
        self.entries.get(id as usize)?.as_ref().map(|e| &e.labels)
    }

    /// One more user of this number.
    pub(super) fn retain(&mut self, id: SeriesId) {
        if let Some(Some(e)) = self.entries.get_mut(id as usize) {
            e.users += 1;
        }
    }

    /// The newest sample, kept over the end of a head part.
    pub(super) fn newest(&self, id: SeriesId) -> Option<Newest> {
        self.entries.get(id as usize)?.as_ref()?.newest
    }

    /// Keeps the newest sample.
    pub(super) fn set_newest(&mut self, id: SeriesId, newest: Newest) {
        if let Some(Some(e)) = self.entries.get_mut(id as usize)
            && e.newest.is_none_or(|n| n.time < newest.time)
        {
            e.newest = Some(newest);
        }
    }

    /// Forgets the newest sample and the sum of series that a deletion took: what was deleted may come again.
    pub(super) fn forget_newest(&mut self, tombstone: &Tombstone) {
        let gone = tombstone.millis();
        for (id, entry) in self.entries.iter_mut().enumerate() {
            let Some(entry) = entry.as_mut().filter(|e| tombstone.dooms(&e.labels)) else { continue };
            if entry.newest.is_some_and(|n| gone.contains(&n.time)) {
                entry.newest = None;
            }
            let id = id as SeriesId;
            if self.totals.get(&id).is_some_and(|total| gone.contains(&total.time)) {
                self.totals.remove(&id);
            }
        }
    }

    /// What the series' deltas have added up to, if that is known.
    pub(super) fn total(&mut self, id: SeriesId) -> Option<&mut Total> {
        self.totals.get_mut(&id)
    }

    /// Keeps what they have added up to, for as long as the series is in memory.
    pub(super) fn set_total(&mut self, id: SeriesId, total: Total) {
        self.totals.insert(id, total);
    }

    /// One user less of each; sets without a user are dropped once they are many.
    fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(Some(e)) = self.entries.get_mut(*id as usize) {
                e.users = e.users.saturating_sub(1);
            }
        }
        let dead = self.entries.iter().flatten().filter(|e| e.users == 0).count();
        if dead > 1024 && dead * 2 > self.live {
            self.purge();
        }
    }

    /// Drops the sets that nobody uses.
    fn purge(&mut self) {
        let is_dead = |e: &Option<Entry>| matches!(e, Some(e) if e.users == 0);
        let dead: Vec<bool> = self.entries.iter().map(is_dead).collect();
        self.by_labels.retain(|id| !dead[*id as usize]);
        self.spellings.retain(|s| !dead[s.id as usize]);
        self.totals.retain(|id, _| !dead[*id as usize]);
        self.postings.remove(&dead);
        for (id, entry) in self.entries.iter_mut().enumerate().filter(|(id, _)| dead[*id]) {
            if let Some(e) = entry.take() {
                self.label_bytes -= e.labels.memory();
            }
            self.live -= 1;
            self.free.push(id as SeriesId);
        }
        self.version += 1;
    }

    /// The inverted index.
    pub(super) fn postings(&self) -> &Postings {
        &self.postings
    }

    /// Numbers are below this.
    pub(super) fn bound(&self) -> usize {
        self.entries.len()
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Every number in use.
    pub(super) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.entries.iter().enumerate().filter(|(_, e)| e.is_some()).map(|(id, _)| id as SeriesId)
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.label_bytes
            + self.live * (size_of::<Labels>() + 16)
            + self.entries.capacity() * size_of::<Option<Entry>>()
            + self.by_labels.allocation_size()
            + self.spellings.allocation_size()
            + self.postings.memory()
            + self.totals.allocation_size()
    }
}

/// Ranks of the series by their labels, as of some version of the registry.
#[derive(Debug, Default)]
struct Ranks {
    version: u64,
    by_id: Arc<Vec<u32>>,
}

/// A tenant's [`Registry`] behind its lock.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    registry: RwLock<Registry>,
    /// Numbers given back by dropped parts and indexes; worked off when the registry is next written.
    released: Mutex<Vec<Vec<SeriesId>>>,
    ranks: Mutex<Ranks>,
}

impl Catalog {
    /// To look up.
    pub(super) fn read(&self) -> parking_lot::RwLockReadGuard<'_, Registry> {
        self.registry.read()
    }

    /// To add.
    pub(super) fn write(&self) -> parking_lot::RwLockWriteGuard<'_, Registry> {
        self.registry.write()
    }

    /// Gives numbers back. Takes no lock of the registry, so that it may stand in `Drop`.
    pub(super) fn release(&self, ids: Vec<SeriesId>) {
        self.released.lock().push(ids);
    }

    /// Works off what was given back.
    pub(super) fn tidy(&self) {
        let released = std::mem::take(&mut *self.released.lock());
        if !released.is_empty() {
            let ids = released.concat();
            self.registry.write().release(&ids);
        }
    }

    /// Sorts numbers by their labels. The order of all series is worked out once and kept where that pays.
    pub(super) fn sort(&self, registry: &Registry, ids: &mut [SeriesId]) {
        let few = ids.len() < 64 || ids.len() * 16 < registry.len();
        let ranks = {
            let mut ranks = self.ranks.lock();
            if ranks.version != registry.version && few {
                drop(ranks);
                ids.sort_unstable_by(|a, b| registry.labels(*a).cmp(&registry.labels(*b)));
                return;
            }
            if ranks.version != registry.version {
                let mut order: Vec<SeriesId> = registry.ids().collect();
                order.sort_unstable_by(|a, b| registry.labels(*a).cmp(&registry.labels(*b)));
                let mut by_id = vec![u32::MAX; registry.bound()];
                for (rank, id) in order.into_iter().enumerate() {
                    by_id[id as usize] = rank as u32;
                }
                *ranks = Ranks { version: registry.version, by_id: Arc::new(by_id) };
            }
            Arc::clone(&ranks.by_id)
        };
        ids.sort_unstable_by_key(|id| ranks.get(*id as usize).copied().unwrap_or(u32::MAX));
    }
}
