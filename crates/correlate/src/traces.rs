//! All traces that are known: by number, and found by their ids.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::TraceId;

use crate::trace::Trace;

/// Traces that are allocated together: a list that grows by copying would need all its memory twice.
const CHUNK: usize = 1024;

/// Numbers stay as they are for as long as the trace is known, then they are used again.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    chunks: Vec<Vec<Option<Trace>>>,
    free: Vec<u32>,
    found: HashTable<u32>,
    hasher: RandomState,
}

impl Traces {
    fn hash(hasher: &RandomState, tenant: u32, id: TraceId) -> u64 {
        hasher.hash_one((u128::from_le_bytes(id.0), tenant))
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn find(&self, tenant: u32, id: TraceId) -> Option<u32> {
        let hash = Self::hash(&self.hasher, tenant, id);
        let same = |slot: &u32| self.get(*slot).is_some_and(|t| t.id == id && t.tenant == tenant);
        self.found.find(hash, same).copied()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Trace> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Trace> {
        self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.as_mut()
    }

    /// Adds one that is not there yet.
    pub(crate) fn insert(&mut self, trace: Trace) -> u32 {
        let hash = Self::hash(&self.hasher, trace.tenant, trace.id);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.chunks[slot as usize / CHUNK][slot as usize % CHUNK] = Some(trace);
                slot
            }
            None => {
                if self.chunks.last().is_none_or(|c| c.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                }
                let before = (self.chunks.len() - 1) * CHUNK;
                let last = &mut self.chunks[before / CHUNK];
                last.push(Some(trace));
                (before + last.len() - 1) as u32
            }
        };
        let Self { chunks, found, hasher, .. } = self;
        found.insert_unique(hash, slot, |slot| {
            let trace = chunks[*slot as usize / CHUNK][*slot as usize % CHUNK].as_ref();
            trace.map_or(0, |t| Self::hash(hasher, t.tenant, t.id))
        });
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Trace> {
        let trace = self.chunks.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)?.take()?;
        let hash = Self::hash(&self.hasher, trace.tenant, trace.id);
        if let Ok(entry) = self.found.find_entry(hash, |s| *s == slot) {
            entry.remove();
        }
        self.free.push(slot);
        if self.found.is_empty() {
            // Nothing is left: the memory of a busy hour goes back.
            let hasher = std::mem::take(&mut self.hasher);
            *self = Self { hasher, ..Self::default() };
        }
        Some(trace)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Trace> {
        self.chunks.iter().flatten().flatten()
    }
}
