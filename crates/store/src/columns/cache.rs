//! Columns of row groups as they were decoded last: what a query reads again costs neither a read nor a decompression.
//! Results are never kept.
//!
//! Small numbers and the keys of small dictionaries are kept in as many bytes as they need: widening them again costs a few
//! microseconds. Bounded in bytes. What was used in the last second does not make room for others, so that queries which read more than
//! fits still find a part of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use parking_lot::Mutex;

/// What was used so recently is not put out for something else.
const FRESH: Duration = Duration::from_secs(1);
/// The place of a row group's filter of ids.
const FILTER: u32 = u32::MAX;
/// What an entry costs besides its bytes.
const ENTRY: usize = 200;

/// Segment, row group, place of the column.
type Key = (u64, u32, u32);

#[derive(Clone)]
enum Held {
    Column(ArrayRef),
    /// Keys of a dictionary.
    Keys(Small, Option<NullBuffer>, ArrayRef),
    /// Integers, less the first number.
    Integers(i64, Small, Option<NullBuffer>),
    /// So many nulls.
    Nulls(DataType, usize),
    Filter(Bytes),
}

/// Numbers in one or two bytes each.
#[derive(Clone)]
enum Small {
    One(Arc<[u8]>),
    Two(Arc<[u16]>),
}

impl Small {
    /// Numbers of which none is more than `most`; `None` where they do not fit.
    fn new(most: u64, numbers: impl Iterator<Item = u64>) -> Option<Self> {
        match most {
            0..=0xff => Some(Self::One(numbers.map(|n| n as u8).collect())),
            0x100..=0xffff => Some(Self::Two(numbers.map(|n| n as u16).collect())),
            _ => None,
        }
    }

    fn widened<T>(&self, widen: impl Fn(u16) -> T) -> Vec<T> {
        match self {
            Self::One(numbers) => numbers.iter().map(|n| widen(u16::from(*n))).collect(),
            Self::Two(numbers) => numbers.iter().map(|n| widen(*n)).collect(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.len(),
            Self::Two(numbers) => numbers.len() * 2,
        }
    }
}

impl Held {
    /// A column in the least space, and how much that is.
    fn packed(array: &ArrayRef) -> (Self, usize) {
        let nulls = array.nulls().map_or(0, |n| n.len() / 8);
        if array.null_count() == array.len() {
            return (Self::Nulls(array.data_type().clone(), array.len()), 0);
        }
        if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
            let keys = dictionary.keys();
            // What is null may have any key.
            let most = keys.values().iter().max().copied().unwrap_or(0);
            if let Some(small) = Small::new(most.into(), keys.values().iter().map(|k| (*k).into())) {
                let values = dictionary.values();
                let bytes = small.bytes() + nulls + values.get_array_memory_size();
                return (Self::Keys(small, keys.nulls().cloned(), values.clone()), bytes);
            }
        }
        if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
            let values = integers.values();
            let (least, most) = values.iter().fold((i64::MAX, i64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            let width = most.checked_sub(least).map_or(u64::MAX, i64::unsigned_abs);
            if let Some(small) = Small::new(width, values.iter().map(|v| v.wrapping_sub(least) as u64)) {
                let bytes = small.bytes() + nulls;
                return (Self::Integers(least, small, integers.nulls().cloned()), bytes);
            }
        }
        (Self::Column(array.clone()), array.get_array_memory_size())
    }

    /// The column; `None` where it is none.
    fn column(self) -> Option<ArrayRef> {
        Some(match self {
            Self::Column(array) => array,
            Self::Keys(keys, nulls, values) => {
                super::text::dictionary(UInt32Array::new(keys.widened(u32::from).into(), nulls), values)
            }
            Self::Integers(least, numbers, nulls) => {
                Arc::new(Int64Array::new(numbers.widened(|n| least.wrapping_add(n.into())).into(), nulls))
            }
            Self::Nulls(data_type, rows) => new_null_array(&data_type, rows),
            Self::Filter(_) => return None,
        })
    }
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
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Key, Entry>,
    bytes: usize,
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
        Self { kept: Mutex::default(), budget, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// Figures for the metrics.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            bytes: self.kept.lock().bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
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
    pub(crate) fn column(&self, segment: u64, group: usize, place: usize) -> Option<ArrayRef> {
        self.get((segment, group as u32, place as u32))?.column()
    }

    /// Keeps a column.
    pub(crate) fn keep_column(&self, segment: u64, group: usize, place: usize, array: &ArrayRef) {
        let (held, bytes) = Held::packed(array);
        self.put((segment, group as u32, place as u32), held, bytes);
    }

    /// The filter of ids of a row group.
    pub(crate) fn filter(&self, segment: u64, group: usize) -> Option<Bytes> {
        match self.get((segment, group as u32, FILTER))? {
            Held::Filter(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Keeps a filter of ids.
    pub(crate) fn keep_filter(&self, segment: u64, group: usize, filter: &Bytes) {
        self.put((segment, group as u32, FILTER), Held::Filter(filter.clone()), filter.len());
    }
}

impl Kept {
    /// Puts out what was not used for longest, until an eighth of the budget is free besides `wanted`.
    fn make_room(&mut self, wanted: usize, budget: usize) {
        let mut old: Vec<(Instant, Key)> =
            self.entries.iter().filter(|(_, e)| e.used.elapsed() > FRESH).map(|(key, e)| (e.used, *key)).collect();
        old.sort_unstable();
        for (_, key) in old {
            if self.bytes + wanted + budget / 8 <= budget {
                break;
            }
            if let Some(gone) = self.entries.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn what_is_packed_comes_back() {
        let cache = ColumnCache::new(10 << 20);
        let texts: arrow_array::DictionaryArray<UInt32Type> =
            (0..1000).map(|i| if i % 7 == 0 { None } else { Some(["a", "b", "c"][i % 3]) }).collect();
        let many: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        let many: arrow_array::DictionaryArray<UInt32Type> = many.iter().map(|t| Some(t.as_str())).collect();
        let columns: [ArrayRef; 7] = [
            Arc::new(texts),
            Arc::new(many),
            Arc::new(Int64Array::from_iter((0..1000).map(|i| (i % 5 != 0).then_some(i - 500)))),
            Arc::new(Int64Array::from_iter_values([i64::MIN, i64::MAX])),
            Arc::new(Int64Array::from_iter_values([i64::MAX - 1, i64::MAX])),
            Arc::new(arrow_array::StringArray::from(vec![None::<&str>; 9])),
            Arc::new(arrow_array::BooleanArray::from(vec![Some(true), None])),
        ];
        for (place, column) in columns.iter().enumerate() {
            cache.keep_column(1, 2, place, column);
            assert_eq!(cache.column(1, 2, place).as_ref(), Some(column), "{place}");
        }
    }

    #[test]
    fn no_budget_keeps_nothing() {
        let cache = ColumnCache::new(0);
        cache.keep_filter(1, 0, &Bytes::from_static(b"x"));
        assert_eq!(cache.filter(1, 0), None);
        assert_eq!(cache.stats().bytes, 0);
    }
}
