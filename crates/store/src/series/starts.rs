//! Start timestamps beside the samples of a run: the time at which what a sample counts began.
//!
//! They hardly ever change, so that in the open run only changes are kept, and in a coded run stretches of equal ones.

use super::varint;

/// Start timestamps of an open run: from which sample on which one holds. Before the first entry there is none.
#[derive(Debug, Default)]
pub(super) struct Starts(Vec<(u32, i64)>);

impl Starts {
    /// Whether no sample has one.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// That of the sample at `at`, 0 for none.
    pub(super) fn at(&self, at: usize) -> i64 {
        let entries = self.0.partition_point(|(from, _)| *from as usize <= at);
        entries.checked_sub(1).map_or(0, |i| self.0[i].1)
    }

    /// The next sample's, which comes at `at`.
    pub(super) fn push(&mut self, at: usize, start: i64) {
        if self.0.last().map_or(0, |(_, last)| *last) != start {
            self.0.push((at as u32, start));
        }
    }

    /// A sample comes in between, at `at`.
    pub(super) fn insert(&mut self, at: usize, start: i64) {
        let before = if at == 0 { 0 } else { self.at(at - 1) };
        let first = self.0.partition_point(|(from, _)| (*from as usize) < at);
        self.0[first..].iter_mut().for_each(|(from, _)| *from += 1);
        if start != before {
            let next_has_own = self.0.get(first).is_some_and(|(from, _)| *from as usize == at + 1);
            self.0.insert(first, (at as u32, start));
            if !next_has_own {
                self.0.insert(first + 1, (at as u32 + 1, before));
            }
        }
    }

    /// One for each of `len` samples.
    pub(super) fn iter(&self, len: usize) -> impl Iterator<Item = i64> + '_ {
        (0..len).map(|at| self.at(at))
    }
}

/// Appends stretches: how many samples, and the difference to the stretch before.
pub(super) fn encode_starts(starts: &[i64], out: &mut Vec<u8>) {
    let mut last = 0i64;
    for stretch in starts.chunk_by(|a, b| a == b) {
        varint::put(stretch.len() as u64, out);
        varint::put_signed(stretch[0].wrapping_sub(last), out);
        last = stretch[0];
    }
}

/// Appends the `count` start timestamps in `bytes` to `out`.
///
/// # Errors
/// What is wrong with the bytes; `out` is as before then.
pub(super) fn decode_starts(mut bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), String> {
    let (before, mut last) = (out.len(), 0i64);
    while out.len() - before < count {
        let read = varint::get(&mut bytes).zip(varint::get_signed(&mut bytes));
        match read.map(|(len, step)| (usize::try_from(len), step)) {
            Some((Ok(len), step)) if len > 0 && len <= count - (out.len() - before) => {
                last = last.wrapping_add(step);
                out.resize(out.len() + len, last);
            }
            _ => {
                out.truncate(before);
                return Err("start timestamps that do not fit their samples".to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn starts_are_those_of_a_plain_list(steps in prop::collection::vec((any::<prop::sample::Index>(), 0..3i64, any::<bool>()), 1..60)) {
            let (mut starts, mut plain) = (Starts::default(), Vec::new());
            for (at, start, at_end) in steps {
                let at = if at_end { plain.len() } else { at.index(plain.len() + 1) };
                if at == plain.len() { starts.push(at, start) } else { starts.insert(at, start) }
                plain.insert(at, start);
                prop_assert_eq!(starts.iter(plain.len()).collect::<Vec<_>>(), plain.clone());
            }
            let (mut bytes, mut back) = (Vec::new(), vec![7]);
            encode_starts(&plain, &mut bytes);
            prop_assert_eq!(decode_starts(&bytes, plain.len(), &mut back), Ok(()));
            prop_assert_eq!(&back[1..], plain);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), count in 0usize..300) {
            let mut out = Vec::new();
            if decode_starts(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
