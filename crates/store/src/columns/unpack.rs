//! Reads what [`super::pack`] writes, where a page is looked at as it lies: levels of one bit, and lengths. Bytes that are
//! something else give `None`.

/// Most bits of a number of these encodings.
const WIDEST: u32 = 64;

/// Takes an unsigned LEB128 number from the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, tail) = bytes.split_first()?;
        *bytes = tail;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Calls `each` with numbers of `width` bits, least significant bit first.
fn bits(bytes: &[u8], width: u32, count: usize, mut each: impl FnMut(u64)) {
    let mask = if width == WIDEST { u64::MAX } else { (1 << width) - 1 };
    let bit = |number: usize| number * width as usize;
    // Eight bytes have any number of up to 57 bits, wherever it begins.
    let mut at = 0;
    while at < count
        && width <= 57
        && let Some(eight) = bytes.get(bit(at) / 8..).and_then(|tail| tail.first_chunk::<8>())
    {
        each(u64::from_le_bytes(*eight) >> (bit(at) % 8) & mask);
        at += 1;
    }
    let (mut word, mut filled) = (0u128, 0u32);
    let mut tail = bytes.get(bit(at) / 8..).unwrap_or_default().iter();
    if at < count && !bit(at).is_multiple_of(8) {
        let skipped = bit(at) as u32 % 8;
        word = u128::from(*tail.next().unwrap_or(&0) >> skipped);
        filled = 8 - skipped;
    }
    for _ in at..count {
        while filled < width {
            word |= u128::from(*tail.next().unwrap_or(&0)) << filled;
            filled += 8;
        }
        each(word as u64 & mask);
        word >>= width;
        filled -= width;
    }
}

/// Takes `count` keys of `width` bits in the hybrid of runs and packed groups of eight from the front.
pub(crate) fn hybrid(page: &mut &[u8], width: u32, count: usize, out: &mut Vec<u32>) -> Option<()> {
    if width > u32::BITS {
        return None;
    }
    let mut left = count;
    while left > 0 {
        let head = varint(page)?;
        let run = usize::try_from(head >> 1).ok().filter(|run| *run > 0)?;
        if head & 1 == 0 {
            let (own, tail) = page.split_at_checked(width.div_ceil(8) as usize)?;
            *page = tail;
            let mut value = [0; 4];
            value[..own.len()].copy_from_slice(own);
            out.resize(out.len() + run.min(left), u32::from_le_bytes(value));
            left -= run.min(left);
        } else {
            let (own, tail) = page.split_at_checked(run.checked_mul(width as usize)?)?;
            *page = tail;
            let own_count = run.saturating_mul(8).min(left);
            bits(own, width, own_count, |key| out.push(key as u32));
            left -= own_count;
        }
    }
    Some(())
}

/// Takes the definition levels of an optional column of `rows` rows from the front: `Some(None)` where every row has a value.
pub(crate) fn levels(page: &mut &[u8], rows: usize) -> Option<Option<Vec<bool>>> {
    let (len, tail) = page.split_first_chunk::<4>()?;
    let (mut levels, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *page = tail;
    let mut valid: Vec<bool> = Vec::new();
    while valid.len() < rows {
        let head = varint(&mut levels)?;
        let count = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let (&value, tail) = levels.split_first()?;
            levels = tail;
            if valid.is_empty() && count >= rows && value == 1 {
                return Some(None);
            }
            valid.resize(valid.len() + count.min(rows - valid.len()), value == 1);
        } else {
            let (groups, tail) = levels.split_at_checked(count)?;
            levels = tail;
            bits(groups, 1, groups.len() * 8, |bit| valid.push(bit == 1));
        }
        if count == 0 {
            return None;
        }
    }
    valid.truncate(rows);
    Some(Some(valid))
}

/// Takes numbers in DELTA_BINARY_PACKED from the front, at most `most` of them.
pub(crate) fn delta(page: &mut &[u8], most: usize) -> Option<Vec<i64>> {
    let block = usize::try_from(varint(page)?).ok()?;
    let minis = usize::try_from(varint(page)?).ok()?;
    let total = usize::try_from(varint(page)?).ok()?;
    let mut value = zigzag(varint(page)?);
    if total > most || block > 1 << 16 || minis == 0 || !block.is_multiple_of(minis) || block == 0 {
        return None;
    }
    let size = block / minis;
    if !size.is_multiple_of(8) {
        return None;
    }
    let mut out = Vec::with_capacity(total);
    if total > 0 {
        out.push(value);
    }
    while out.len() < total {
        let least = zigzag(varint(page)?);
        let (widths, tail) = page.split_at_checked(minis)?;
        *page = tail;
        for &width in widths {
            if out.len() == total {
                break;
            }
            let width = u32::from(width);
            if width > WIDEST {
                return None;
            }
            // The last one may end early.
            let bytes = size / 8 * width as usize;
            let (packed, tail) = page.split_at(bytes.min(page.len()));
            *page = tail;
            let count = size.min(total - out.len());
            if packed.len() * 8 < count * width as usize {
                return None;
            }
            bits(packed, width, count, |delta| {
                value = value.wrapping_add(least).wrapping_add(delta as i64);
                out.push(value);
            });
        }
    }
    Some(out)
}

/// A page of texts in DELTA_LENGTH_BYTE_ARRAY, as it lies in memory.
pub(crate) struct TextPage<'p> {
    /// Rows that have a text; `None` for all of them.
    pub(crate) valid: Option<Vec<bool>>,
    /// The end of each text; the first begins at 0.
    pub(crate) ends: Vec<usize>,
    pub(crate) bytes: &'p [u8],
}

impl<'p> TextPage<'p> {
    /// Reads a page of `rows` rows.
    pub(crate) fn read(mut page: &'p [u8], rows: usize) -> Option<Self> {
        let valid = levels(&mut page, rows)?;
        Self::of(page, rows, valid)
    }

    /// Reads a page of `rows` rows of a column in which each row has a text.
    pub(crate) fn full(page: &'p [u8], rows: usize) -> Option<Self> {
        Self::of(page, rows, None)
    }

    fn of(mut page: &'p [u8], rows: usize, valid: Option<Vec<bool>>) -> Option<Self> {
        let mut end = 0usize;
        let mut ends = Vec::with_capacity(rows);
        for length in delta(&mut page, rows)? {
            end = end.checked_add(usize::try_from(length).ok()?)?;
            ends.push(end);
        }
        let texts = valid.as_ref().map_or(rows, |valid| valid.iter().filter(|v| **v).count());
        (texts == ends.len() && end <= page.len()).then_some(Self { valid, ends, bytes: &page[..end] })
    }

    /// Calls `each` with the rows whose text contains the finder's needle, which is not empty.
    pub(crate) fn find(&self, finder: &memchr::memmem::Finder<'_>, mut each: impl FnMut(usize)) {
        let rows: Option<Vec<usize>> = self.valid.as_ref().map(|valid| (0..valid.len()).filter(|row| valid[*row]).collect());
        let length = finder.needle().len();
        let (mut at, mut text) = (0, 0);
        // One search over all texts; a hit across two of them is none.
        while let Some(found) = finder.find(&self.bytes[at..]) {
            let from = at + found;
            while self.ends[text] <= from {
                text += 1;
            }
            if from + length <= self.ends[text] {
                each(rows.as_ref().map_or(text, |rows| rows[text]));
                at = self.ends[text];
            } else {
                at = from + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pack;
    use super::*;

    proptest! {
        #[test]
        fn numbers_and_levels_come_back(
            numbers in prop::collection::vec(prop_oneof![0i64..100, any::<i64>()], 0..400),
            levels_written in prop::collection::vec(prop::bool::weighted(0.8), 1..400),
        ) {
            let mut out = Vec::new();
            pack::delta(&mut out, &numbers);
            out.extend_from_slice(b"tail");
            let mut page = &out[..];
            prop_assert_eq!(delta(&mut page, numbers.len()), Some(numbers));
            prop_assert_eq!(page, b"tail");
            let mut out = Vec::new();
            pack::hybrid(&mut out, &levels_written.iter().map(|l| u32::from(*l)).collect::<Vec<_>>(), 1);
            let mut framed = (out.len() as u32).to_le_bytes().to_vec();
            framed.extend(out);
            let read = levels(&mut &framed[..], levels_written.len()).expect("levels");
            prop_assert_eq!(read.unwrap_or_else(|| vec![true; levels_written.len()]), levels_written);
        }

        #[test]
        fn other_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300), rows in 0usize..300) {
            if let Some(page) = TextPage::read(&bytes, rows) {
                page.find(&memchr::memmem::Finder::new(b"a"), |row| assert!(row < rows));
            }
        }

        #[test]
        fn texts_are_found_where_they_are(texts in prop::collection::vec(prop::option::weighted(0.8, "[ab]{0,5}"), 1..60), needle in "[ab]{1,3}") {
            let mut page = Vec::new();
            let mut flags = Vec::new();
            pack::hybrid(&mut flags, &texts.iter().map(|t| u32::from(t.is_some())).collect::<Vec<_>>(), 1);
            page.extend((flags.len() as u32).to_le_bytes());
            page.extend(flags);
            pack::delta(&mut page, &texts.iter().flatten().map(|t| t.len() as i64).collect::<Vec<_>>());
            texts.iter().flatten().for_each(|t| page.extend_from_slice(t.as_bytes()));
            let read = TextPage::read(&page, texts.len()).expect("a page");
            let mut found = Vec::new();
            read.find(&memchr::memmem::Finder::new(needle.as_bytes()), |row| found.push(row));
            let expected: Vec<usize> =
                (0..texts.len()).filter(|row| texts[*row].as_ref().is_some_and(|t| t.contains(&needle))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
