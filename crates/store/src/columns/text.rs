//! A growing column of texts: a dictionary while values repeat, plain once they do not.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, BinaryArray, DictionaryArray, StringArray, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use wire::Texts as Copies;

use super::room::Room;

/// Below so many values a column stays a dictionary, whatever they are.
const TRIAL: usize = 1024;

/// Texts without nulls; whoever owns the column knows which rows they belong to.
#[derive(Debug)]
pub(crate) struct TextColumn {
    /// Dictionary: a key a value. Plain: empty.
    keys: Vec<u32>,
    /// End of each distinct text (dictionary) or of each text (plain) in `bytes`.
    ends: Vec<i32>,
    bytes: Vec<u8>,
    table: HashTable<u32>,
    hasher: FixedState,
    plain: bool,
    last: u32,
    /// Of each distinct text: the request that it was copied for last, and its number there.
    copied: Vec<(u64, u32)>,
    /// Where the memory of plain texts comes from.
    room: Option<Arc<Room>>,
}

impl TextColumn {
    /// An empty column, a dictionary for now.
    pub(crate) fn new() -> Self {
        Self {
            keys: Vec::new(),
            ends: Vec::new(),
            bytes: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::default(),
            plain: false,
            last: u32::MAX,
            copied: Vec::new(),
            room: None,
        }
    }

    /// An empty column that never tries to be a dictionary: for texts known to be unique.
    pub(crate) fn plain() -> Self {
        Self { plain: true, ..Self::new() }
    }

    /// An empty plain column with room for as much as `like` holds, and a little more: texts of one kind are of about one
    /// length.
    pub(crate) fn plain_like(like: &Self, room: &Arc<Room>) -> Self {
        let (ends, bytes) = (like.ends.len(), like.bytes.len());
        Self { ends: Vec::with_capacity(ends), bytes: room.lend(bytes + bytes / 32), ..Self::plain_in(room) }
    }

    /// An empty plain column that takes its memory from there once it has much.
    pub(crate) fn plain_in(room: &Arc<Room>) -> Self {
        Self { room: Some(Arc::clone(room)), ..Self::plain() }
    }

    /// Bytes held. Room that no text has used yet takes no memory from the system.
    pub(crate) fn memory(&self) -> usize {
        self.keys.capacity() * 4
            + self.ends.len() * 4
            + self.bytes.len()
            + self.table.capacity() * 5
            + self.copied.capacity() * 16
    }

    /// Bytes of text held; the owner seals before offsets could overflow.
    pub(crate) fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the column has given up its dictionary.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Appends a text.
    #[inline]
    pub(crate) fn push(&mut self, text: &str) {
        if self.plain {
            if self.bytes.capacity() - self.bytes.len() < text.len() {
                self.grow(text.len());
            }
            self.bytes.extend_from_slice(text.as_bytes());
            self.ends.push(self.bytes.len() as i32);
            return;
        }
        if self.last != u32::MAX && value(&self.bytes, &self.ends, self.last) == text.as_bytes() {
            self.keys.push(self.last);
            return;
        }
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let hash = hasher.hash_one(text.as_bytes());
        let found = self.table.find(hash, |&key| value(bytes, ends, key) == text.as_bytes());
        let key = match found {
            Some(&key) => key,
            None => {
                let key = self.ends.len() as u32;
                self.bytes.extend_from_slice(text.as_bytes());
                self.ends.push(self.bytes.len() as i32);
                let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
                self.table.insert_unique(hash, key, |&k| hasher.hash_one(value(bytes, ends, k)));
                key
            }
        };
        self.last = key;
        self.keys.push(key);
        if self.keys.len().is_multiple_of(TRIAL) && self.ends.len() * 2 > self.keys.len() {
            self.turn_plain();
        }
    }

    /// Makes room for `more` bytes.
    #[cold]
    fn grow(&mut self, more: usize) {
        match self.room.as_ref().and_then(|room| room.find((self.bytes.len() + more) * 2)) {
            Some(mut larger) => {
                larger.extend_from_slice(&self.bytes);
                self.bytes = larger;
            }
            None => self.bytes.reserve(more),
        }
    }

    /// Copies values for a request (not 0): each distinct text once while they are a dictionary. Tells the number of each value.
    pub(crate) fn copy(&mut self, values: Range<usize>, request: u64, to: &mut Copies, mut tell: impl FnMut(u32)) {
        if self.plain {
            for at in values {
                tell(to.push(self.text(at as u32)));
            }
            return;
        }
        if self.copied.len() < self.ends.len() {
            self.copied.resize(self.ends.len(), (0, 0));
        }
        for at in values {
            let key = self.keys[at];
            if self.copied[key as usize].0 != request {
                self.copied[key as usize] = (request, to.push(self.text(key)));
            }
            tell(self.copied[key as usize].1);
        }
    }

    /// The value `at`.
    pub(crate) fn value(&self, at: usize) -> &str {
        self.text(if self.plain { at as u32 } else { self.keys[at] })
    }

    fn text(&self, number: u32) -> &str {
        // The bytes were appended from `&str`s.
        std::str::from_utf8(value(&self.bytes, &self.ends, number)).unwrap_or("")
    }

    fn turn_plain(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() * 2);
        let mut ends = Vec::with_capacity(self.keys.len() * 2);
        for &key in &self.keys {
            bytes.extend_from_slice(value(&self.bytes, &self.ends, key));
            ends.push(bytes.len() as i32);
        }
        (self.bytes, self.ends) = (bytes, ends);
        self.keys = Vec::new();
        self.table = HashTable::new();
        self.copied = Vec::new();
        self.plain = true;
    }

    /// The column as an Arrow array of `rows` rows: value `i` stands in row `at[i]`, other rows are null; without `at`
    /// every row has its value. `last` gives the buffers away, else they are copied.
    pub(crate) fn finish(&mut self, at: Option<&[u32]>, rows: usize, last: bool) -> ArrayRef {
        if self.plain {
            let values = match (last, &self.room) {
                (true, Some(room)) => room.buffer(std::mem::take(&mut self.bytes)),
                (true, None) => Buffer::from_vec(std::mem::take(&mut self.bytes)),
                (false, _) => Buffer::from_vec(self.bytes.clone()),
            };
            let (offsets, nulls) = offsets_at(&self.ends, at, rows);
            return Arc::new(utf8(offsets, values, nulls));
        }
        let values = if last { std::mem::take(&mut self.bytes) } else { self.bytes.clone() };
        let (offsets, _) = offsets_at(&self.ends, None, self.ends.len());
        let values = utf8(offsets, Buffer::from_vec(values), None);
        let keys = match at {
            None => UInt32Array::new(if last { std::mem::take(&mut self.keys).into() } else { self.keys.clone().into() }, None),
            Some(at) => {
                let mut spread = vec![0u32; rows];
                for (&key, &row) in self.keys.iter().zip(at) {
                    spread[row as usize] = key;
                }
                UInt32Array::new(spread.into(), nulls_at(at, rows))
            }
        };
        dictionary(keys, Arc::new(values))
    }
}

#[inline]
fn value<'a>(bytes: &'a [u8], ends: &[i32], key: u32) -> &'a [u8] {
    let key = key as usize;
    let start = if key == 0 { 0 } else { ends[key - 1] as usize };
    &bytes[start..ends[key] as usize]
}

/// The bytes of a column's texts, of a dictionary those of its entries; as they lie one behind the other. `None` of a column of other things.
pub(crate) fn bytes(array: &ArrayRef) -> Option<&[u8]> {
    match array.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => Some(dictionary.values().as_string_opt::<i32>()?.value_data()),
        None => Some(array.as_string_opt::<i32>()?.value_data()),
    }
}

/// A dictionary array over `values`. The keys come from our own interning, so they are in range.
pub(crate) fn dictionary(keys: UInt32Array, values: ArrayRef) -> ArrayRef {
    match DictionaryArray::try_new(keys, values) {
        Ok(array) => Arc::new(array),
        // Unreachable for keys that an interner gave out; an empty column is the harmless answer.
        Err(_) => Arc::new(StringArray::new_null(0)),
    }
}

fn utf8(offsets: OffsetBuffer<i32>, values: Buffer, nulls: Option<NullBuffer>) -> StringArray {
    // The bytes were appended from `&str`s, so the check cannot fail; it costs little beside what follows.
    StringArray::try_new(offsets, values, nulls).unwrap_or_else(|_| StringArray::new_null(0))
}

/// Offsets of `rows` rows where value `i` stands in row `at[i]`.
fn offsets_at(ends: &[i32], at: Option<&[u32]>, rows: usize) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0i32);
    match at {
        None => {
            offsets.extend_from_slice(&ends[..rows]);
            (OffsetBuffer::new(offsets.into()), None)
        }
        Some(at) => {
            let mut end = 0;
            for (&row, &e) in at.iter().zip(ends) {
                offsets.resize(row as usize + 1, end);
                end = e;
                offsets.push(end);
            }
            offsets.resize(rows + 1, end);
            (OffsetBuffer::new(offsets.into()), nulls_at(at, rows))
        }
    }
}

/// Validity of `rows` rows of which those in `at` (ascending) have a value.
pub(crate) fn nulls_at(at: &[u32], rows: usize) -> Option<NullBuffer> {
    if at.len() == rows {
        return None;
    }
    let mut bits = arrow_buffer::BooleanBufferBuilder::new(rows);
    bits.append_n(rows, false);
    for &row in at {
        bits.set_bit(row as usize, true);
    }
    Some(NullBuffer::new(bits.finish()))
}

/// A growing column of byte strings without nulls.
#[derive(Debug, Default)]
pub(crate) struct BytesColumn {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl BytesColumn {
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len() as i32);
    }

    pub(crate) fn value(&self, at: usize) -> &[u8] {
        value(&self.bytes, &self.ends, at as u32)
    }

    pub(crate) fn memory(&self) -> usize {
        self.ends.capacity() * 4 + self.bytes.capacity()
    }

    pub(crate) fn finish(&self, at: Option<&[u32]>, rows: usize) -> ArrayRef {
        let (offsets, nulls) = offsets_at(&self.ends, at, rows);
        Arc::new(
            BinaryArray::try_new(offsets, Buffer::from_slice_ref(&self.bytes), nulls)
                .unwrap_or_else(|_| BinaryArray::new_null(rows)),
        )
    }
}

/// The vector as an Arrow buffer: given away, or copied when more rows will follow.
pub(crate) fn scalars<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>, last: bool) -> ScalarBuffer<T> {
    if last { std::mem::take(values).into() } else { values.clone().into() }
}

/// The values of a text column by row, whichever way it is kept.
pub(crate) enum Texts<'a> {
    Plain(&'a StringArray),
    Dictionary(&'a UInt32Array, &'a StringArray),
}

impl<'a> Texts<'a> {
    /// A view of a `Utf8` or `Dictionary(UInt32, Utf8)` array; `None` for another type.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        use arrow_array::cast::AsArray;
        if let Some(plain) = array.as_string_opt::<i32>() {
            return Some(Self::Plain(plain));
        }
        let dictionary = array.as_dictionary_opt::<arrow_array::types::UInt32Type>()?;
        Some(Self::Dictionary(dictionary.keys(), dictionary.values().as_string_opt::<i32>()?))
    }

    /// The row's text; `None` where null.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(a) => (!a.is_null(row)).then(|| a.value(row)),
            Self::Dictionary(keys, values) => {
                if keys.is_null(row) {
                    return None;
                }
                let key = keys.value(row) as usize;
                (!values.is_null(key)).then(|| values.value(key))
            }
        }
    }
}
