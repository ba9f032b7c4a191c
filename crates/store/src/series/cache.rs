//! Open segments: their indexes, as many as the budget allows.

use std::sync::Arc;

use hashbrown::HashMap;
use model::Tenant;
use parking_lot::Mutex;

use super::index::{Loaded, SegmentIndex};
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
    /// By segment and, where several share it, tenant.
    held: HashMap<(u64, Option<Tenant>), Held>,
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

    fn get(&self, key: &(u64, Option<Tenant>)) -> Option<Arc<SegmentIndex>> {
        let mut shelf = self.shelf.lock();
        shelf.clock += 1;
        let now = shelf.clock;
        let held = shelf.held.get_mut(key)?;
        held.used = now;
        Some(Arc::clone(&held.index))
    }

    /// The index of what a tenant has in a segment, opened if need be; `None` where it has nothing in it. Only where it has, the
    /// tenant's registry is asked for: whoever asks in the name of a tenant that is not there makes none.
    ///
    /// # Errors
    /// As [`Loaded::read`].
    pub(super) fn open(
        &self,
        segments: &dyn Segments,
        meta: &SegmentMeta,
        tenant: &Tenant,
        catalog: impl FnOnce() -> Arc<Catalog>,
    ) -> Result<Option<Arc<SegmentIndex>>, StoreError> {
        let key = (meta.id, Some(tenant.clone()).filter(|_| meta.is_shared()));
        if let Some(index) = self.get(&key) {
            return Ok(Some(index));
        }
        let _one = self.opening.lock();
        if let Some(index) = self.get(&key) {
            return Ok(Some(index));
        }
        let Some(loaded) = Loaded::read(meta, segments.open(&meta.file)?, Some(tenant.as_str()))? else { return Ok(None) };
        let catalog = catalog();
        catalog.tidy();
        let index = Arc::new(loaded.index(tenant.as_str(), &catalog)?);
        let bytes = index.memory();
        let mut evicted = Vec::new();
        {
            let mut shelf = self.shelf.lock();
            while shelf.bytes + bytes > self.limit
                && let Some(oldest) = shelf.held.iter().min_by_key(|(_, h)| h.used).map(|(key, _)| key.clone())
            {
                evicted.extend(shelf.held.remove(&oldest));
                shelf.bytes -= evicted.last().map_or(0, |h: &Held| h.bytes);
            }
            let used = shelf.clock;
            shelf.held.insert(key, Held { index: Arc::clone(&index), bytes, used });
            shelf.bytes += bytes;
        }
        Ok(Some(index))
    }

    /// Lets go of a segment.
    pub(super) fn remove(&self, id: u64) {
        let removed = {
            let mut shelf = self.shelf.lock();
            let removed: Vec<Held> = shelf.held.extract_if(|(segment, _), _| *segment == id).map(|(_, held)| held).collect();
            shelf.bytes -= removed.iter().map(|h| h.bytes).sum::<usize>();
            removed
        };
        drop(removed);
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.shelf.lock().bytes
    }
}
