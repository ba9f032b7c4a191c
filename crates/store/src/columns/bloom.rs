//! Filters of ids: which blocks of a segment's rows may mention an id, as trace id or, of logs, inside the text.
//!
//! An entry is the hash of 32 hexadecimal digits as they stand in the text, of every window of 32 in longer runs. So a
//! needle with a run of at least 32 digits can only be in a text whose filter has the needle's first window: sound
//! whatever surrounds it. A block is [`BLOCK_ROWS`] rows; a filter is the concatenation of its blocks' filters.
//!
//! A wrong hit costs reading the block's texts, so over tens of millions of lines the wrong ones decide how long a needle takes.
//! Blocks are xor filters of 12 bits ([`super::xor`]): 15 bits an entry, one wrong block in 4,096. Earlier segments have
//! split-block Bloom filters of 12 bits an entry (as Parquet's), one in about 150; both are read.

use xxhash_rust::xxh3::xxh3_64;

use super::xor;

/// Rows that a block speaks of; part of the format.
pub(crate) const BLOCK_ROWS: usize = 1024;
/// Digits of an entry.
pub(crate) const DIGITS: usize = 32;
/// A run of digits longer than this is not taken apart: its block is marked as holding anything.
const MAX_RUN: usize = 512;
/// A block with more entries than this is marked as holding anything.
const MAX_ENTRIES: usize = 65_536;
/// Hashes that are remembered to leave repeats out; one that slips through makes the filter a little longer, not wrong.
const RECENT: usize = 256;
const SALT: [u32; 8] = [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Collects the ids of a row group and becomes its filter.
#[derive(Debug, Default)]
pub(crate) struct IdCollector {
    blocks: Vec<Vec<u64>>,
    anything: Vec<bool>,
    row: usize,
    /// The last row's trace id and its hash: neighbours share it.
    last: ([u8; 16], u64),
    /// Entries of this block, each at the place that its lowest bits name.
    recent: Vec<u64>,
}

/// A row group's filter, as it is written.
#[derive(Debug)]
pub(crate) struct IdFilter(Vec<u8>);

impl IdFilter {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl IdCollector {
    /// Takes the next row: its text, and its trace id (empty for none).
    #[cfg(test)]
    pub(crate) fn row(&mut self, text: &str, trace_id: &[u8]) {
        self.start_row(trace_id);
        self.text(text.as_bytes());
    }

    /// Starts the next row, of this trace id (empty for none).
    pub(crate) fn start_row(&mut self, trace_id: &[u8]) {
        if self.row.is_multiple_of(BLOCK_ROWS) {
            let like = self.blocks.last().map_or(0, Vec::len);
            self.blocks.push(Vec::with_capacity(like));
            self.anything.push(false);
            self.recent.clear();
            // None of these can be a hash that belongs there.
            self.recent.extend((0..RECENT as u64).map(|place| !place));
        }
        self.row += 1;
        if let Ok(id) = <[u8; 16]>::try_from(trace_id) {
            if self.last.0 != id || self.last.1 == 0 {
                self.last = (id, hash_id(trace_id));
            }
            self.add(self.last.1);
        }
    }

    /// Takes an id of the row that stands in its text as [`DIGITS`] lower-case digits and nothing more.
    pub(crate) fn id(&mut self, id: &[u8; DIGITS / 2]) {
        self.add(hash_id(id));
    }

    /// Takes a text of the row, or a part of it that no run of digits crosses.
    pub(crate) fn text(&mut self, text: &[u8]) {
        runs(text, |run| {
            if run.len() > MAX_RUN {
                self.anything.last_mut().into_iter().for_each(|a| *a = true);
            } else {
                run.windows(DIGITS).for_each(|w| self.add(xxh3_64(w)));
            }
        });
    }

    fn add(&mut self, hash: u64) {
        let (Some(block), Some(anything)) = (self.blocks.last_mut(), self.anything.last_mut()) else { return };
        if let Some(recent) = self.recent.get_mut(hash as usize % RECENT)
            && *recent != hash
        {
            *recent = hash;
            if block.len() < MAX_ENTRIES {
                block.push(hash);
            } else {
                *anything = true;
            }
        }
    }

    /// The filter; `None` where there is nothing to find.
    pub(crate) fn finish(self) -> Option<IdFilter> {
        if self.blocks.iter().all(Vec::is_empty) && !self.anything.contains(&true) {
            return None;
        }
        let mut out = Vec::new();
        let mut maker = xor::Maker::default();
        for (mut hashes, anything) in self.blocks.into_iter().zip(self.anything) {
            // A header of zero means: may hold anything.
            if anything || !maker.write(&mut hashes, &mut out) {
                out.extend_from_slice(&0u32.to_le_bytes());
            }
        }
        Some(IdFilter(out))
    }
}

/// Where a hash lies: its block, and a bit in each of the block's eight words.
fn place(hash: u64, blocks: usize) -> (usize, [u32; 8]) {
    let block = (((hash >> 32) * blocks as u64) >> 32) as usize;
    (block, SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27)))
}

/// The lower-case digit of a number below 16. Arithmetic, so that many digits are made at once.
#[inline]
fn digit(nibble: u8) -> u8 {
    nibble + b'0' + ((9u8.wrapping_sub(nibble)) >> 7) * (b'a' - b'9' - 1)
}

/// The hash of an id's digits in lower case.
pub(crate) fn hash_id(id: &[u8]) -> u64 {
    let mut digits = [0u8; DIGITS];
    for (pair, b) in digits.chunks_exact_mut(2).zip(id) {
        (pair[0], pair[1]) = (digit(b >> 4), digit(b & 15));
    }
    xxh3_64(&digits)
}

/// The hash to look for when a text must contain `needle`; `None` where the filter cannot tell.
pub(crate) fn hash_needle(needle: &str) -> Option<u64> {
    let mut found = None;
    runs(needle.as_bytes(), |run| {
        found.get_or_insert_with(|| xxh3_64(&run[..DIGITS]));
    });
    found
}

/// Whether some text in `bytes` may be one that a needle with a hash is in.
pub(crate) fn may_hold_ids(bytes: &[u8]) -> bool {
    let mut found = false;
    runs(bytes, |_| found = true);
    found
}

/// For each block of rows of a row group whether it may hold `hash`; `None` where the bytes are no filter.
pub(crate) fn blocks_with(filter: &[u8], hash: u64) -> Option<Vec<bool>> {
    let mut out = Vec::new();
    let mut tail = filter;
    while !tail.is_empty() {
        let (header, rest) = tail.split_first_chunk::<4>()?;
        let header = u32::from_le_bytes(*header);
        if let Some(filter) = xor::Filter::of(header) {
            let (prints, rest) = rest.split_at_checked(filter.len())?;
            tail = rest;
            out.push(filter.may_hold(prints, hash));
            continue;
        }
        let blocks = header as usize;
        let (words, rest) = rest.split_at_checked(blocks.checked_mul(32)?)?;
        tail = rest;
        out.push(
            blocks == 0 || {
                let (block, bits) = place(hash, blocks);
                words[block * 32..][..32]
                    .chunks_exact(4)
                    .zip(bits)
                    .all(|(w, bit)| u32::from_le_bytes([w[0], w[1], w[2], w[3]]) & bit != 0)
            },
        );
    }
    Some(out)
}

/// Calls `each` for every maximal run of at least 32 hexadecimal digits.
fn runs(text: &[u8], mut each: impl FnMut(&[u8])) {
    // A run of 32 covers a multiple of 32, so only those positions need a look first.
    let mut probe = DIGITS - 1;
    while probe < text.len() {
        if !text[probe].is_ascii_hexdigit() {
            probe += DIGITS;
            continue;
        }
        let start = text[..probe].iter().rposition(|b| !b.is_ascii_hexdigit()).map_or(0, |p| p + 1);
        let end = text[probe..].iter().position(|b| !b.is_ascii_hexdigit()).map_or(text.len(), |p| probe + p);
        if end - start >= DIGITS {
            each(&text[start..end]);
        }
        // The next run starts after `end`; it covers one of every 32 positions from there.
        probe = end + DIGITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_inside_any_text_is_never_pruned() {
        let id = "0123456789abcdef0123456789ABCDEF";
        for text in [id.to_owned(), format!("x{id}y"), format!("{{\"a\":\"{id}\"}}"), format!("ff{id}00 {id}")] {
            let mut ids = IdCollector::default();
            ids.row("nothing here", &[]);
            ids.row(&text, &[]);
            let filter = ids.finish().expect("ids were found");
            let hash = hash_needle(id).expect("a needle of 32 digits");
            assert_eq!(blocks_with(filter.bytes(), hash), Some(vec![true]), "{text}");
        }
        assert_eq!(hash_needle("0123456789abcdef"), None);
    }

    #[test]
    fn most_other_ids_are_pruned() {
        let mut ids = IdCollector::default();
        for i in 0..10_000u128 {
            ids.row("", &(i * 0x1234_5678_9abc_def1_2345_6789).to_be_bytes());
        }
        let filter = ids.finish().expect("ids");
        let passing = |i: u128| -> usize {
            let hash = hash_id(&(u128::MAX / 3 + i).to_be_bytes());
            blocks_with(filter.bytes(), hash).expect("a filter").into_iter().filter(|&may| may).count()
        };
        // Ten blocks, each asked for ten thousand ids that it lacks: about 24 are to be expected.
        let wrong: usize = (0..10_000).map(passing).sum();
        assert!(wrong < 60, "{wrong} of 100,000 blocks pass for absent ids");
        assert!(blocks_with(filter.bytes(), hash_id(&0x1234_5678_9abc_def1_2345_6789u128.to_be_bytes())).expect("a filter")[0]);
    }

    #[test]
    fn filters_of_earlier_segments_are_read() {
        let known: Vec<u64> = (1..600u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let blocks = (known.len() * 12).div_ceil(256);
        let mut words = vec![0u32; blocks * 8];
        for &hash in &known {
            let (block, bits) = place(hash, blocks);
            words[block * 8..][..8].iter_mut().zip(bits).for_each(|(w, b)| *w |= b);
        }
        let mut filter = (blocks as u32).to_le_bytes().to_vec();
        words.iter().for_each(|w| filter.extend_from_slice(&w.to_le_bytes()));
        // A block that may hold anything stands behind it.
        filter.extend_from_slice(&[0; 4]);
        assert!(known.iter().all(|&hash| blocks_with(&filter, hash) == Some(vec![true, true])));
        assert_eq!(blocks_with(&filter, 7), Some(vec![false, true]));
    }

    #[test]
    fn bytes_that_are_no_filter_are_noticed() {
        assert_eq!(blocks_with(&[9, 0, 0, 0, 1], 7), None);
        assert_eq!(blocks_with(&[0, 9, 0, 0x80, 1], 7), None);
        assert_eq!(blocks_with(&[0, 0], 7), None);
    }
}
