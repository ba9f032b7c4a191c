//! Rows picked from several sources, as one column: how flush, merge and ordered scans put rows in order.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::room::Room;
use super::text::{Texts, dictionary};
use crate::StoreError;

/// A row of a source: (source, row).
pub(crate) type Pick = (u32, u32);

/// A source's column; by group where `groups` says each row's group.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) array: &'a ArrayRef,
    pub(crate) groups: Option<&'a [u32]>,
}

impl Piece<'_> {
    #[inline]
    fn at(&self, row: u32) -> usize {
        self.groups.map_or(row as usize, |g| g[row as usize] as usize)
    }
}

/// The picked rows of a column. A source without the column gives nulls. `plain` wants text as `Utf8`, else text is a
/// dictionary of exactly the values that occur, in the order in which they first do.
///
/// # Errors
/// A type that columns do not have.
pub(crate) fn gather(
    data_type: &DataType,
    plain: bool,
    pieces: &[Option<Piece<'_>>],
    picks: &[Pick],
) -> Result<ArrayRef, StoreError> {
    gather_in(&Arc::default(), data_type, plain, pieces, picks)
}

/// The same; plain texts have their memory from `room`.
///
/// # Errors
/// A type that columns do not have.
pub(crate) fn gather_in(
    room: &Arc<Room>,
    data_type: &DataType,
    plain: bool,
    pieces: &[Option<Piece<'_>>],
    picks: &[Pick],
) -> Result<ArrayRef, StoreError> {
    Ok(match data_type {
        DataType::Utf8 | DataType::Dictionary(_, _) if plain => plain_texts(room, pieces, picks),
        DataType::Utf8 | DataType::Dictionary(_, _) => repeated_texts(pieces, picks)?,
        DataType::Int64 => numbers::<Int64Type>(pieces, picks),
        DataType::Int32 => numbers::<Int32Type>(pieces, picks),
        DataType::UInt32 => numbers::<UInt32Type>(pieces, picks),
        DataType::UInt8 => numbers::<UInt8Type>(pieces, picks),
        DataType::Float64 => numbers::<Float64Type>(pieces, picks),
        DataType::Timestamp(_, _) => Arc::new(numbers_array::<TimestampNanosecondType>(pieces, picks).with_timezone("UTC")),
        DataType::Boolean => {
            let nulls = nulls(pieces, picks);
            let bits = (0..picks.len()).map(|i| {
                let (piece, row) = at(pieces, picks[i]);
                piece.and_then(|p| p.array.as_boolean_opt().map(|a| a.value(row))).unwrap_or(false)
            });
            Arc::new(BooleanArray::new(bits.collect(), nulls))
        }
        DataType::FixedSizeBinary(width) => fixed(*width, pieces, picks),
        DataType::Binary => {
            let mut out = Vec::new();
            let mut offsets = vec![0i32];
            for &pick in picks {
                let (piece, row) = at(pieces, pick);
                if let Some(a) = piece.and_then(|p| p.array.as_binary_opt::<i32>()) {
                    out.extend_from_slice(a.value(row));
                }
                offsets.push(out.len() as i32);
            }
            let array = BinaryArray::try_new(OffsetBuffer::new(offsets.into()), Buffer::from_vec(out), nulls(pieces, picks));
            Arc::new(array.map_err(StoreError::columns("gather rows"))?)
        }
        other => return general(other, pieces, picks),
    })
}

/// Types that only projections have (lists): by Arrow's own kernel.
fn general(data_type: &DataType, pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> Result<ArrayRef, StoreError> {
    let empty = new_null_array(data_type, 1);
    let arrays: Vec<&dyn Array> = pieces.iter().map(|p| p.as_ref().map_or(&*empty, |p| &**p.array)).collect();
    let at: Vec<(usize, usize)> =
        picks.iter().map(|&(s, r)| (s as usize, pieces[s as usize].as_ref().map_or(0, |p| p.at(r)))).collect();
    arrow_select::interleave::interleave(&arrays, &at).map_err(StoreError::columns("gather rows"))
}

#[inline]
fn at<'p, 'a>(pieces: &'p [Option<Piece<'a>>], (source, row): Pick) -> (Option<&'p Piece<'a>>, usize) {
    match &pieces[source as usize] {
        Some(piece) => (Some(piece), piece.at(row)),
        None => (None, 0),
    }
}

/// Calls `each` with the stretches of picks that lie behind each other in one source: the source, the first row, how many. A merge takes its
/// inputs by hundreds of rows at a time, and what lies together is copied together.
#[inline]
fn stretches(picks: &[Pick], mut each: impl FnMut(usize, usize, usize)) {
    let mut at = 0;
    while let Some(&(source, row)) = picks.get(at) {
        let behind = picks[at + 1..].iter().zip(row.saturating_add(1)..);
        let rows = 1 + behind.take_while(|((other, next), row)| *other == source && next == row).count();
        each(source as usize, row as usize, rows);
        at += rows;
    }
}

fn nulls(pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> Option<NullBuffer> {
    if pieces.iter().all(|p| p.as_ref().is_some_and(|p| p.array.null_count() == 0)) {
        return None;
    }
    let by_source: Vec<Option<Option<&NullBuffer>>> = pieces.iter().map(|p| p.as_ref().map(|p| p.array.nulls())).collect();
    let mut valid = Bits::with_capacity(picks.len());
    for &(source, row) in picks {
        valid.push(match by_source[source as usize] {
            None => false,
            Some(None) => true,
            Some(Some(nulls)) => nulls.is_valid(pieces[source as usize].as_ref().map_or(0, |p| p.at(row))),
        });
    }
    valid.nulls()
}

/// Which rows have a value, put together a word at a time: attributes that few rows have pass through here for all of them.
struct Bits {
    words: Vec<u64>,
    word: u64,
    len: usize,
}

impl Bits {
    fn with_capacity(rows: usize) -> Self {
        Self { words: Vec::with_capacity(rows / 64 + 1), word: 0, len: 0 }
    }

    #[inline]
    fn push(&mut self, valid: bool) {
        self.word |= u64::from(valid) << (self.len % 64);
        self.len += 1;
        if self.len.is_multiple_of(64) {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// `None` where all have one.
    fn nulls(mut self) -> Option<NullBuffer> {
        if !self.len.is_multiple_of(64) {
            self.words.push(self.word);
        }
        // Arrow's bits begin at the lowest of the first byte.
        self.words.iter_mut().for_each(|word| *word = word.to_le());
        let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.len));
        (nulls.null_count() > 0).then_some(nulls)
    }
}

fn numbers<T: ArrowPrimitiveType>(pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> ArrayRef {
    Arc::new(numbers_array::<T>(pieces, picks))
}

fn numbers_array<T: ArrowPrimitiveType>(pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> PrimitiveArray<T> {
    let values: Vec<Option<(&[T::Native], Option<&[u32]>)>> =
        pieces.iter().map(|p| p.as_ref().and_then(|p| Some((&**p.array.as_primitive_opt::<T>()?.values(), p.groups)))).collect();
    let mut picked: Vec<T::Native> = Vec::with_capacity(picks.len());
    stretches(picks, |source, row, rows| match values[source] {
        Some((values, None)) => picked.extend_from_slice(&values[row..row + rows]),
        Some((values, Some(groups))) => picked.extend(groups[row..row + rows].iter().map(|group| values[*group as usize])),
        None => picked.resize(picked.len() + rows, T::Native::default()),
    });
    PrimitiveArray::new(picked.into(), nulls(pieces, picks))
}

fn fixed(width: i32, pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> ArrayRef {
    let w = width as usize;
    let values: Vec<Option<&[u8]>> =
        pieces.iter().map(|p| p.as_ref().and_then(|p| Some(p.array.as_fixed_size_binary_opt()?.value_data()))).collect();
    let mut out = Vec::with_capacity(picks.len() * w);
    stretches(picks, |source, row, rows| match values[source] {
        Some(bytes) => out.extend_from_slice(&bytes[row * w..][..rows * w]),
        None => out.resize(out.len() + rows * w, 0),
    });
    Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(out), nulls(pieces, picks)))
}

/// The picked texts, as they stand in the sources.
pub(crate) fn picked_texts<'a>(pieces: &[Option<Piece<'a>>], picks: &[Pick]) -> impl Iterator<Item = Option<&'a str>> {
    let texts: Vec<Option<(Texts<'a>, Piece<'a>)>> =
        pieces.iter().map(|p| p.as_ref().and_then(|p| Some((Texts::of(p.array)?, *p)))).collect();
    picks.iter().map(move |&(source, row)| texts[source as usize].as_ref().and_then(|(texts, piece)| texts.get(piece.at(row))))
}

fn plain_texts(room: &Arc<Room>, pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> ArrayRef {
    if let Some(array) = whole_texts(room, pieces, picks) {
        return array;
    }
    // Grown to its size at once: a buffer that doubles is copied, and its pages cleared, again and again.
    let mut bytes = room.lend(picked_texts(pieces, picks).flatten().map(str::len).sum());
    let mut offsets = Vec::with_capacity(picks.len() + 1);
    offsets.push(0i32);
    let mut valid = Bits::with_capacity(picks.len());
    for text in picked_texts(pieces, picks) {
        bytes.extend_from_slice(text.unwrap_or("").as_bytes());
        offsets.push(bytes.len() as i32);
        valid.push(text.is_some());
    }
    match StringArray::try_new(OffsetBuffer::new(offsets.into()), room.buffer(bytes), valid.nulls()) {
        Ok(array) => Arc::new(array),
        // The bytes come from texts, so this cannot be.
        Err(_) => Arc::new(StringArray::new_null(picks.len())),
    }
}

/// The same where all sources have plain texts by row, and every row has one.
fn whole_texts<'a>(room: &Arc<Room>, pieces: &'a [Option<Piece<'a>>], picks: &[Pick]) -> Option<ArrayRef> {
    let texts =
        |piece: &'a Piece<'a>| piece.array.as_string_opt::<i32>().filter(|a| piece.groups.is_none() && a.null_count() == 0);
    let sources: Vec<Option<&StringArray>> = pieces.iter().map(|p| p.as_ref().and_then(texts)).collect();
    let (mut size, mut all) = (0, true);
    stretches(picks, |source, row, rows| match sources[source] {
        Some(texts) => size += (texts.value_offsets()[row + rows] - texts.value_offsets()[row]) as usize,
        None => all = false,
    });
    if !all || i32::try_from(size).is_err() {
        return None;
    }
    let mut bytes = room.lend(size);
    let mut offsets = Vec::with_capacity(picks.len() + 1);
    offsets.push(0i32);
    stretches(picks, |source, row, rows| {
        let Some(texts) = sources[source] else { return };
        let own = &texts.value_offsets()[row..=row + rows];
        let base = bytes.len() as i32 - own[0];
        offsets.extend(own[1..].iter().map(|end| end + base));
        bytes.extend_from_slice(&texts.value_data()[own[0] as usize..own[rows] as usize]);
    });
    // Cut where a text begins and ends: it is UTF-8, as its sources are.
    StringArray::try_new(OffsetBuffer::new(offsets.into()), room.buffer(bytes), None)
        .ok()
        .map(|array| Arc::new(array) as ArrayRef)
}

/// Interns texts as they occur.
struct Interner<'a> {
    table: HashTable<u32>,
    values: Vec<&'a str>,
    hasher: FixedState,
}

impl<'a> Interner<'a> {
    fn key(&mut self, text: &'a str) -> u32 {
        let hash = self.hasher.hash_one(text);
        let (values, hasher) = (&self.values, &self.hasher);
        if let Some(&key) = self.table.find(hash, |&k| values[k as usize] == text) {
            return key;
        }
        let key = values.len() as u32;
        self.table.insert_unique(hash, key, |&k| hasher.hash_one(values[k as usize]));
        self.values.push(text);
        key
    }
}

/// How a source's dictionary keys become ours.
enum Keys<'a> {
    Absent,
    Dictionary { keys: &'a [u32], nulls: Option<&'a NullBuffer>, values: &'a StringArray, map: Vec<u32> },
    Plain(&'a StringArray),
}

fn repeated_texts(pieces: &[Option<Piece<'_>>], picks: &[Pick]) -> Result<ArrayRef, StoreError> {
    let mut sources: Vec<Keys<'_>> = pieces
        .iter()
        .map(|p| match p.as_ref().and_then(|p| Texts::of(p.array)) {
            None => Keys::Absent,
            Some(Texts::Plain(array)) => Keys::Plain(array),
            Some(Texts::Dictionary(keys, values)) => {
                Keys::Dictionary { keys: keys.values(), nulls: keys.nulls(), values, map: vec![u32::MAX; values.len()] }
            }
        })
        .collect();
    let mut interner = Interner { table: HashTable::new(), values: Vec::new(), hasher: FixedState::default() };
    let mut out = Vec::with_capacity(picks.len());
    let mut valid = Bits::with_capacity(picks.len());
    for &(source, row) in picks {
        let row = pieces[source as usize].as_ref().map_or(0, |p| p.at(row));
        let key = match &mut sources[source as usize] {
            Keys::Absent => None,
            Keys::Plain(array) => array.is_valid(row).then(|| interner.key(array.value(row))),
            Keys::Dictionary { nulls: Some(nulls), .. } if nulls.is_null(row) => None,
            Keys::Dictionary { keys, values, map, .. } => {
                let key = keys[row] as usize;
                match map[key] {
                    u32::MAX if values.is_null(key) => None,
                    u32::MAX => {
                        map[key] = interner.key(values.value(key));
                        Some(map[key])
                    }
                    known => Some(known),
                }
            }
        };
        out.push(key.unwrap_or(0));
        valid.push(key.is_some());
    }
    let values = StringArray::from_iter_values(&interner.values);
    if values.is_empty() {
        return Ok(new_null_array(&DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)), picks.len()));
    }
    Ok(dictionary(UInt32Array::new(out.into(), valid.nulls()), Arc::new(values)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A column of `rows` rows of each type that is copied by stretches; every third row of a column with gaps has none.
    fn columns(rows: u32, gaps: bool) -> Vec<ArrayRef> {
        let has = |row: &u32| !gaps || !row.is_multiple_of(3);
        let text = |row: u32| format!("{row}").repeat(row as usize % 4);
        let ids = (0..rows).map(|row| has(&row).then(|| row.to_be_bytes()));
        vec![
            Arc::new((0..rows).map(|row| has(&row).then_some(i64::from(row))).collect::<PrimitiveArray<Int64Type>>()),
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 4).expect("of one size")),
            Arc::new((0..rows).map(|row| has(&row).then(|| text(row))).collect::<StringArray>()),
        ]
    }

    proptest! {
        #[test]
        fn stretches_are_what_their_rows_are(picks in prop::collection::vec((0..4u32, 0..20u32, 1..6u32), 1..20), gaps: bool) {
            let sources = [columns(25, false), columns(25, gaps), columns(25, false)];
            let picks: Vec<Pick> = picks.into_iter().flat_map(|(source, row, rows)| (row..row + rows).map(move |r| (source, r))).collect();
            for of in 0..3 {
                // The fourth source lacks the column.
                let pieces: Vec<_> =
                    sources.iter().map(|s| Some(Piece { array: &s[of], groups: None })).chain([None]).collect();
                let all = gather(sources[0][of].data_type(), true, &pieces, &picks).expect("a column");
                let each = picks.iter().map(|pick| gather(sources[0][of].data_type(), true, &pieces, &[*pick]).expect("a row"));
                let each: Vec<ArrayRef> = each.collect();
                let each: Vec<&dyn Array> = each.iter().map(|a| &**a).collect();
                let each = arrow_select::concat::concat(&each).expect("rows of one type");
                prop_assert_eq!(&all, &each);
            }
        }
    }
}
