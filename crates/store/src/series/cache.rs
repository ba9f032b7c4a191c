//! Open segments: their indexes, as many as the budget allows.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::index::SegmentIndex;
use super::registry::Catalog;
use crate::{SegmentMeta, Segments, StoreError};

#[derive(Debug)]
struct Held {
    index: Arc<SegmentIndex>,
    bytes: usize,
    used: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    held: HashMap<u64, Held>,
    bytes: usize,
    clock: u64,
}

/// The indexes of the segments that were asked for last.
#[derive(Debug)]
pub(super) struct IndexCache {
    shelf: Mutex<Shelf>,
    /// Held while a segment is opened, so that none is opened twice at once.
    opening: Mutex<()>,
    limit: usize,
}

impl IndexCache {
    /// A cache of at most `limit` bytes; the index in use is kept even if it alone is larger.
    pub(super) fn new(limit: usize) -> Self {
        Self { shelf: Mutex::default(), opening: Mutex::new(()), limit }
    }

    fn get(&self, id: u64) -> Option<Arc<SegmentIndex>> {
        let mut shelf = self.shelf.lock();
        shelf.clock += 1;
        let now = shelf.clock;
        let held = shelf.held.get_mut(&id)?;
        held.used = now;
        Some(Arc::clone(&held.index))
    }

    /// The index of a segment, opened if need be.
    ///
    /// # Errors
    /// As [`SegmentIndex::open`].
    pub(super) fn open(
        &self,
        segments: &dyn Segments,
        meta: &SegmentMeta,
        catalog: &Arc<Catalog>,
    ) -> Result<Arc<SegmentIndex>, StoreError> {
        if let Some(index) = self.get(meta.id) {
            return Ok(index);
        }
        let _one = self.opening.lock();
        if let Some(index) = self.get(meta.id) {
            return Ok(index);
        }
        catalog.tidy();
        let index = Arc::new(SegmentIndex::open(meta, segments.open(&meta.file)?, catalog)?);
        let bytes = index.memory();
        let mut evicted = Vec::new();
        {
            let mut shelf = self.shelf.lock();
            while shelf.bytes + bytes > self.limit
                && let Some(oldest) = shelf.held.iter().min_by_key(|(_, h)| h.used).map(|(id, _)| *id)
            {
                evicted.extend(shelf.held.remove(&oldest));
                shelf.bytes -= evicted.last().map_or(0, |h: &Held| h.bytes);
            }
            let used = shelf.clock;
            shelf.held.insert(meta.id, Held { index: Arc::clone(&index), bytes, used });
            shelf.bytes += bytes;
        }
        Ok(index)
    }

    /// Lets go of a segment.
    pub(super) fn remove(&self, id: u64) {
        let removed = {
            let mut shelf = self.shelf.lock();
            let removed = shelf.held.remove(&id);
            shelf.bytes -= removed.as_ref().map_or(0, |h| h.bytes);
            removed
        };
        drop(removed);
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.shelf.lock().bytes
    }
}
