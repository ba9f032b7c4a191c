//! Columns of row groups as they were decoded last: what a query reads again costs neither a read nor a decompression.
//! Results are never kept.
//!
//! They are kept in the least space (`packed`). Of long text single pages are kept, those that were picked from. Bounded in bytes. What was used in the last second does not make room for others, so that queries which read more than
//! fits still find a part of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::sync::Arc;

use arrow_array::ArrayRef;
use bytes::Bytes;
use parking_lot::Mutex;

use super::inflate::Inflaters;
use super::packed::Packed;
use super::parallel;

/// What was used so recently is not put out for something else.
const FRESH: Duration = Duration::from_secs(1);
/// After it was looked in vain for something old, so long nothing is looked for: the cache is as full as it gets.
const FULL: Duration = Duration::from_millis(250);
/// The place of a row group's filter of ids.
const FILTER: u32 = u32::MAX;
/// What an entry costs besides its bytes.
const ENTRY: usize = 200;

/// The place of where a row group's times begin anew.
const STARTS: u32 = u32::MAX - 1;
/// The place of how often a row group's columns were asked for few rows.
const ASKED: u32 = u32::MAX - 2;
/// So often before columns are decoded whole for few rows: a lookup asks a row group a few times, and may not come back.
const OFTEN: u32 = 8;
/// The page of a whole column.
const WHOLE: u32 = u32::MAX;
/// The page of what is known of a column's dictionary.
const DICTIONARY: u32 = u32::MAX - 1;

/// Segment, row group, place of the column, page.
type Key = (u64, u32, u32, u32);

#[derive(Clone)]
enum Held {
    Column(Packed),
    Filter(Bytes),
    Starts(Arc<[u32]>),
    Asked(u32),
    /// No text of a dictionary can hold an id.
    NoIds,
}

struct Entry {
    held: Held,
    bytes: usize,
    used: Instant,
}

/// Decoded columns, shared by the tables.
pub(crate) struct ColumnCache {
    kept: Mutex<Kept>,
    budget: usize,
    hits: AtomicU64,
    misses: AtomicU64,
    inflaters: Inflaters,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Nothing is old enough to be put out until then.
    full_until: Option<Instant>,
}

/// What the cache holds and how often it had what was wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bytes held.
    pub bytes: usize,
    /// Columns and filters found.
    pub hits: u64,
    /// Columns and filters that had to be read.
    pub misses: u64,
}

impl ColumnCache {
    /// A cache of at most `budget` bytes; 0 keeps nothing.
    pub(crate) fn new(budget: usize) -> Self {
        let inflaters = Inflaters::new(parallel::cores() * 2);
        Self { kept: Mutex::default(), budget, hits: AtomicU64::new(0), misses: AtomicU64::new(0), inflaters }
    }

    /// What decompresses the pages of columns.
    pub(super) fn inflaters(&self) -> &Inflaters {
        &self.inflaters
    }

    /// Figures for the metrics.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            bytes: self.kept.lock().bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// Lets half of it go, but for what was used a moment ago.
    pub(crate) fn shed(&self) {
        let mut kept = self.kept.lock();
        let half = kept.bytes / 2;
        kept.full_until = None;
        kept.make_room(self.budget - self.budget / 8 - half, self.budget);
    }

    fn get(&self, key: Key) -> Option<Held> {
        let mut kept = self.kept.lock();
        let found = kept.entries.get_mut(&key).map(|entry| {
            entry.used = Instant::now();
            entry.held.clone()
        });
        drop(kept);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn put(&self, key: Key, held: Held, bytes: usize) {
        let bytes = bytes + ENTRY;
        if bytes > self.budget / 4 {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.bytes + bytes > self.budget {
            kept.make_room(bytes, self.budget);
        }
        if kept.bytes + bytes > self.budget {
            return;
        }
        kept.bytes += bytes;
        if let Some(old) = kept.entries.insert(key, Entry { held, bytes, used: Instant::now() }) {
            kept.bytes -= old.bytes;
        }
    }

    /// The column of a row group, all rows.
    pub(crate) fn column(&self, segment: u64, group: usize, place: usize) -> Option<Packed> {
        self.packed((segment, group as u32, place as u32, WHOLE))
    }

    /// Keeps a column; gives it back as it is kept.
    pub(crate) fn keep_column(&self, segment: u64, group: usize, place: usize, array: &ArrayRef) -> Packed {
        let (packed, bytes) = Packed::of(array);
        self.put((segment, group as u32, place as u32, WHOLE), Held::Column(packed.clone()), bytes);
        packed
    }

    /// A page of a column.
    pub(crate) fn page(&self, segment: u64, group: usize, place: usize, page: usize) -> Option<ArrayRef> {
        self.packed((segment, group as u32, place as u32, page as u32)).map(|page| page.array())
    }

    /// Keeps a page of a column.
    pub(crate) fn keep_page(&self, segment: u64, group: usize, place: usize, page: usize, array: &ArrayRef) {
        let bytes = array.get_array_memory_size();
        self.put((segment, group as u32, place as u32, page as u32), Held::Column(Packed::Column(array.clone())), bytes);
    }

    fn packed(&self, key: Key) -> Option<Packed> {
        match self.get(key)? {
            Held::Column(packed) => Some(packed),
            _ => None,
        }
    }

    /// Whether a row group was asked for few rows often enough that its columns are worth decoding whole: never while there is no room to
    /// keep them. Counts.
    pub(crate) fn asked_often(&self, segment: u64, group: usize) -> bool {
        let key = (segment, group as u32, ASKED, WHOLE);
        let mut kept = self.kept.lock();
        let full = kept.full_until.is_some_and(|until| Instant::now() < until);
        let times = match kept.entries.get_mut(&key) {
            Some(Entry { held: Held::Asked(times), used, .. }) => {
                *used = Instant::now();
                *times = times.saturating_add(1);
                *times
            }
            _ => 0,
        };
        drop(kept);
        if times == 0 {
            self.put(key, Held::Asked(1), 0);
        }
        times > OFTEN && !full
    }

    /// The filter of ids of a row group.
    pub(crate) fn filter(&self, segment: u64, group: usize) -> Option<Bytes> {
        match self.get((segment, group as u32, FILTER, WHOLE))? {
            Held::Filter(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Keeps a filter of ids.
    pub(crate) fn keep_filter(&self, segment: u64, group: usize, filter: &Bytes) {
        self.put((segment, group as u32, FILTER, WHOLE), Held::Filter(filter.clone()), filter.len());
    }

    /// Whether it is known that no text of a column's dictionary can hold an id.
    pub(crate) fn has_no_ids(&self, segment: u64, group: usize, place: usize) -> bool {
        matches!(self.get((segment, group as u32, place as u32, DICTIONARY)), Some(Held::NoIds))
    }

    /// Keeps that none can.
    pub(crate) fn keep_no_ids(&self, segment: u64, group: usize, place: usize) {
        self.put((segment, group as u32, place as u32, DICTIONARY), Held::NoIds, 0);
    }

    /// The rows of a row group at which its times begin anew.
    pub(crate) fn starts(&self, segment: u64, group: usize) -> Option<Arc<[u32]>> {
        match self.get((segment, group as u32, STARTS, WHOLE))? {
            Held::Starts(starts) => Some(starts),
            _ => None,
        }
    }

    /// Keeps those rows.
    pub(crate) fn keep_starts(&self, segment: u64, group: usize, starts: &Arc<[u32]>) {
        self.put((segment, group as u32, STARTS, WHOLE), Held::Starts(starts.clone()), starts.len() * 4);
    }
}

impl Kept {
    /// Puts out what was not used for longest, until an eighth of the budget is free besides `wanted`.
    fn make_room(&mut self, wanted: usize, budget: usize) {
        let now = Instant::now();
        if self.full_until.is_some_and(|until| now < until) {
            return;
        }
        let is_old = |used: Instant| now.saturating_duration_since(used) > FRESH;
        let mut old: Vec<(Instant, Key)> =
            self.entries.iter().filter(|(_, e)| is_old(e.used)).map(|(key, e)| (e.used, *key)).collect();
        old.sort_unstable();
        for (_, key) in old {
            if self.bytes + wanted + budget / 8 <= budget {
                break;
            }
            if let Some(gone) = self.entries.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
        if self.bytes + wanted > budget {
            self.full_until = Some(now + FULL);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;

    use super::*;

    #[test]
    fn it_stays_within_its_budget_and_keeps_what_is_in_use() {
        let cache = ColumnCache::new(100_000);
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(|i| i << 32)));
        for place in 0..100 {
            cache.keep_column(1, 0, place, &column);
            assert!(cache.stats().bytes <= 100_000);
        }
        assert!(cache.column(1, 0, 0).is_some(), "the first ones are fresh");
        assert!(cache.column(1, 0, 99).is_none(), "there is no room for the last ones");
        let large: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000_000).map(|i| i << 32)));
        cache.keep_column(2, 0, 0, &large);
        assert!(cache.column(2, 0, 0).is_none());
    }

    #[test]
    fn a_row_group_is_asked_often_after_a_while() {
        let cache = ColumnCache::new(100_000);
        assert!((0..OFTEN).all(|_| !cache.asked_often(1, 0)));
        assert!(cache.asked_often(1, 0));
        assert!(!cache.asked_often(1, 1), "each by itself");
        assert!((0..100).all(|_| !ColumnCache::new(0).asked_often(1, 0)), "where nothing is kept, nothing is decoded for later");
    }

    #[test]
    fn nothing_is_decoded_for_later_where_there_is_no_room() {
        let cache = ColumnCache::new(100_000);
        for _ in 0..=OFTEN {
            cache.asked_often(1, 0);
        }
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(|i| i << 32)));
        for place in 0..100 {
            assert!(cache.asked_often(1, 0) || place > 0);
            cache.keep_column(1, 0, place, &column);
        }
        assert!(!cache.asked_often(1, 0), "all that is kept is fresh");
    }

    #[test]
    fn half_of_it_goes_when_memory_is_short() {
        let cache = ColumnCache::new(100_000);
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(|i| i << 32)));
        (0..8).for_each(|place| drop(cache.keep_column(1, 0, place, &column)));
        let before = cache.stats().bytes;
        cache.shed();
        assert_eq!(cache.stats().bytes, before, "all of it is fresh");
        std::thread::sleep(FRESH + Duration::from_millis(10));
        cache.shed();
        assert!(cache.stats().bytes <= before / 2 && cache.stats().bytes > 0, "{} of {before}", cache.stats().bytes);
    }

    #[test]
    fn no_budget_keeps_nothing() {
        let cache = ColumnCache::new(0);
        cache.keep_filter(1, 0, &Bytes::from_static(b"x"));
        assert_eq!(cache.filter(1, 0), None);
        assert_eq!(cache.stats().bytes, 0);
    }
}
