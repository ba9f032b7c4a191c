//! Times of runs, and reads of a segment that are joined.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::chunk::decode_times;
use super::index::unseal;

/// What stands no further apart in a file is read at once.
const GAP: u64 = 8 << 10;
/// Bytes that are read at once, at most.
const READ: u64 = 1 << 20;

/// How many of some places in a file are read at once, from the first on, and where; `None` of none.
pub(super) fn together(mut places: impl Iterator<Item = Range<u64>>) -> Option<(usize, Range<u64>)> {
    let mut place = places.next()?;
    let mut n = 1;
    for next in places {
        if next.start < place.end || next.start - place.end > GAP || next.end - place.start > READ {
            break;
        }
        place.end = next.end;
        n += 1;
    }
    Some((n, place))
}

/// The times of one run or of several.
#[derive(Debug)]
pub(super) struct Times {
    offset: u64,
    len: u32,
    /// How many.
    pub count: u32,
    /// Runs that have them.
    pub users: u32,
    /// Kept once read, if several runs have them.
    read: OnceLock<Arc<[i64]>>,
}

impl Times {
    /// Times that stand at `offset`, with their checksum; no run has them yet.
    pub(super) fn new(offset: u64, len: u32, count: u32) -> Self {
        Self { offset, len, count, users: 0, read: OnceLock::new() }
    }

    /// Whether several runs have them.
    pub(super) fn are_shared(&self) -> bool {
        self.users > 1
    }

    /// As they are kept.
    pub(super) fn known(&self) -> Option<&Arc<[i64]>> {
        self.read.get()
    }

    /// Where they stand in the file.
    pub(super) fn place(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }

    /// From their bytes in the file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn decode(&self, sealed: &[u8]) -> Result<Arc<[i64]>, String> {
        let read: Arc<[i64]> = decode_times(unseal(sealed)?, self.count as usize)?.into();
        if self.are_shared() {
            return Ok(Arc::clone(self.read.get_or_init(|| read)));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_close_together_in_order_is_read_at_once() {
        let of = |places: &[Range<u64>]| together(places.iter().cloned());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5..10, 10..12, 12 + GAP..20 + GAP]), Some((3, 5..20 + GAP)));
        assert_eq!(of(&[5..10, 11 + GAP..20 + GAP]), Some((1, 5..10)), "too far apart");
        assert_eq!(of(&[5..10, 8..12]), Some((1, 5..10)), "not in order");
        assert_eq!(of(&[0..10, 10..READ, READ..READ + 1]), Some((2, 0..READ)), "too much");
    }
}
