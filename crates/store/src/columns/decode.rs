//! Pages of a column to Arrow: the reading side of [`super::encode`]. Bytes that are something else give `None`.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal64Array, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array,
    StringArray, UInt8Array, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;
use parquet::basic::Encoding;

use super::text::dictionary;
use super::unpack::{self, TextPage};

/// A column as its pages come.
pub(super) struct Column {
    data_type: DataType,
    /// Pages begin with a bit a row: whether it has a value.
    optional: bool,
    rows: usize,
    /// Rows that have a value; `None` while all have.
    valid: Option<BooleanBufferBuilder>,
    values: Values,
    /// Keys of a dictionary by row, in place of `values`; 0 where there is none.
    keys: Vec<u32>,
    /// Whether a row has a key.
    some_key: bool,
    /// The values of a page one behind the other.
    dense: Vec<u32>,
}

/// Values by row; something where there is none.
enum Values {
    Integers(Vec<i64>),
    Doubles(Vec<f64>),
    Bools(Vec<bool>),
    /// Ids of so many bytes.
    Fixed(usize, Vec<u8>),
    /// Texts or bytes, and where each ends.
    Texts(Vec<i32>, Vec<u8>),
    /// All are keys.
    Keyed,
}

impl Column {
    /// A column of this type; `None` for a type that columns do not have.
    pub(super) fn new(data_type: &DataType, optional: bool) -> Option<Self> {
        let values = match data_type {
            DataType::Int64 | DataType::Decimal64(..) | DataType::Int32 | DataType::UInt32 | DataType::UInt8 => {
                Values::Integers(Vec::new())
            }
            DataType::Float64 => Values::Doubles(Vec::new()),
            DataType::Boolean => Values::Bools(Vec::new()),
            DataType::FixedSizeBinary(bytes) => Values::Fixed(usize::try_from(*bytes).ok().filter(|n| *n > 0)?, Vec::new()),
            DataType::Utf8 | DataType::Binary => Values::Texts(vec![0], Vec::new()),
            DataType::Dictionary(..) => Values::Keyed,
            _ => return None,
        };
        let data_type = data_type.clone();
        Some(Self { data_type, optional, rows: 0, valid: None, values, keys: Vec::new(), some_key: false, dense: Vec::new() })
    }

    /// Takes the next page, of `rows` rows. `None` for one that is not as our writer makes them, whose column is not read on.
    pub(super) fn page(&mut self, encoding: Encoding, rows: usize, mut page: &[u8]) -> Option<()> {
        if let (Values::Texts(ends, bytes), Encoding::DELTA_LENGTH_BYTE_ARRAY) = (&mut self.values, encoding) {
            let texts = match self.optional {
                true => TextPage::read(page, rows)?,
                false => TextPage::full(page, rows)?,
            };
            let base = bytes.len();
            bytes.extend_from_slice(texts.bytes);
            let mut own = texts.ends.iter();
            ends.reserve(rows);
            let mut last = i32::try_from(base).ok()?;
            for row in 0..rows {
                if texts.valid.as_ref().is_none_or(|valid| valid[row]) {
                    last = i32::try_from(base + own.next()?).ok()?;
                }
                ends.push(last);
            }
            self.marked(texts.valid.as_deref(), rows);
            return Some(());
        }
        let valid = match self.optional {
            true => unpack::levels(&mut page, rows)?,
            false => None,
        };
        let valid = valid.as_deref();
        let count = valid.map_or(rows, |valid| valid.iter().filter(|v| **v).count());
        match (&mut self.values, encoding) {
            (Values::Keyed | Values::Integers(_), Encoding::RLE_DICTIONARY) => {
                let (&width, mut tail) = page.split_first()?;
                self.dense.clear();
                unpack::hybrid(&mut tail, width.into(), count, &mut self.dense)?;
                self.some_key |= count > 0;
                spread(&mut self.keys, valid, self.dense.iter().copied());
            }
            // Of a dictionary without an entry.
            (Values::Keyed, Encoding::PLAIN) if count == 0 => self.keys.resize(self.keys.len() + rows, 0),
            (Values::Texts(ends, _), Encoding::PLAIN) if count == 0 => {
                let last = ends.last().copied()?;
                ends.resize(ends.len() + rows, last);
            }
            (Values::Integers(out), Encoding::DELTA_BINARY_PACKED)
                if matches!(self.data_type, DataType::Int64 | DataType::Decimal64(..)) =>
            {
                let numbers = unpack::delta(&mut page, count)?;
                if numbers.len() != count {
                    return None;
                }
                spread(out, valid, numbers.into_iter());
            }
            (Values::Integers(out), Encoding::PLAIN)
                if matches!(self.data_type, DataType::Int32 | DataType::UInt32 | DataType::UInt8) =>
            {
                let (numbers, _) = page.get(..count * 4)?.as_chunks::<4>();
                spread(out, valid, numbers.iter().map(|n| i32::from_le_bytes(*n).into()));
            }
            (Values::Doubles(out), Encoding::PLAIN) => {
                let (numbers, _) = page.get(..count * 8)?.as_chunks::<8>();
                spread(out, valid, numbers.iter().map(|n| f64::from_le_bytes(*n)));
            }
            (Values::Bools(out), Encoding::PLAIN) => {
                let bits = page.get(..count.div_ceil(8))?;
                spread(out, valid, (0..count).map(|i| bits[i / 8] >> (i % 8) & 1 == 1));
            }
            (Values::Fixed(size, out), Encoding::PLAIN) => {
                let ids = page.get(..count.checked_mul(*size)?)?;
                match valid {
                    None => out.extend_from_slice(ids),
                    Some(valid) => {
                        let mut ids = ids.chunks_exact(*size);
                        for has in valid {
                            match has {
                                true => out.extend_from_slice(ids.next()?),
                                false => out.resize(out.len() + *size, 0),
                            }
                        }
                    }
                }
            }
            _ => return None,
        }
        self.marked(valid, rows);
        Some(())
    }

    /// Whether [`Column::some_of_page`] can take pages of it.
    pub(super) fn is_sparing(&self) -> bool {
        matches!(self.values, Values::Texts(..) | Values::Fixed(..))
    }

    /// Takes some rows of the next page, of `rows` rows: `picked` are their numbers in it, ascending. Only what they have is copied, where
    /// [`Column::page`] copies the page. `None` as there.
    pub(super) fn some_of_page(&mut self, encoding: Encoding, rows: usize, mut page: &[u8], picked: &[usize]) -> Option<()> {
        let (valid, places) = match (&mut self.values, encoding) {
            (Values::Texts(ends, bytes), Encoding::DELTA_LENGTH_BYTE_ARRAY) => {
                let texts = match self.optional {
                    true => TextPage::read(page, rows)?,
                    false => TextPage::full(page, rows)?,
                };
                let places = places(texts.valid.as_deref(), picked)?;
                for place in &places {
                    if let Some(place) = *place {
                        let start = place.checked_sub(1).map_or(Some(&0), |before| texts.ends.get(before))?;
                        bytes.extend_from_slice(texts.bytes.get(*start..*texts.ends.get(place)?)?);
                    }
                    ends.push(i32::try_from(bytes.len()).ok()?);
                }
                (texts.valid, places)
            }
            (Values::Fixed(size, out), Encoding::PLAIN) => {
                let valid = match self.optional {
                    true => unpack::levels(&mut page, rows)?,
                    false => None,
                };
                let places = places(valid.as_deref(), picked)?;
                for place in &places {
                    match *place {
                        Some(place) => out.extend_from_slice(page.get(place * *size..(place + 1) * *size)?),
                        None => out.resize(out.len() + *size, 0),
                    }
                }
                (valid, places)
            }
            _ => return None,
        };
        let own: Option<Vec<bool>> = valid.map(|_| places.iter().map(Option::is_some).collect());
        self.marked(own.as_deref(), picked.len());
        Some(())
    }

    /// Notes which of the next rows have a value.
    fn marked(&mut self, valid: Option<&[bool]>, rows: usize) {
        if valid.is_some() && self.valid.is_none() {
            let mut bits = BooleanBufferBuilder::new(self.rows + rows);
            bits.append_n(self.rows, true);
            self.valid = Some(bits);
        }
        match (&mut self.valid, valid) {
            (Some(bits), Some(valid)) => bits.append_slice(valid),
            (Some(bits), None) => bits.append_n(rows, true),
            (None, _) => {}
        }
        self.rows += rows;
    }

    /// Whether there are keys of a dictionary among the pages.
    pub(super) fn is_keyed(&self) -> bool {
        !self.keys.is_empty()
    }

    fn nulls(&mut self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.valid.take()?.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }

    /// The column, whose pages had no keys.
    pub(super) fn finish(mut self) -> Option<ArrayRef> {
        if !self.keys.is_empty() {
            return (!self.some_key && self.keys.len() == self.rows).then(|| new_null_array(&self.data_type, self.rows));
        }
        let nulls = self.nulls();
        let array: ArrayRef = match self.values {
            Values::Integers(numbers) => integers(&self.data_type, numbers, nulls)?,
            Values::Doubles(doubles) => Arc::new(Float64Array::new(doubles.into(), nulls)),
            Values::Bools(bools) => Arc::new(BooleanArray::new(bools.into(), nulls)),
            Values::Fixed(size, bytes) => {
                Arc::new(FixedSizeBinaryArray::try_new(i32::try_from(size).ok()?, Buffer::from_vec(bytes), nulls).ok()?)
            }
            Values::Texts(ends, bytes) => {
                let (offsets, bytes) = (OffsetBuffer::new(ScalarBuffer::from(ends)), Buffer::from_vec(bytes));
                match self.data_type {
                    DataType::Utf8 => Arc::new(StringArray::try_new(offsets, bytes, nulls).ok()?),
                    _ => Arc::new(BinaryArray::try_new(offsets, bytes, nulls).ok()?),
                }
            }
            Values::Keyed => new_null_array(&self.data_type, self.rows),
        };
        (array.len() == self.rows).then_some(array)
    }

    /// The column, whose pages had keys of a dictionary of so many entries, as it lies in its page. `sparse` leaves entries out that no
    /// row has.
    pub(super) fn keyed(mut self, entries: usize, page: &[u8], sparse: bool) -> Option<ArrayRef> {
        if self.keys.len() != self.rows {
            return None;
        }
        let nulls = self.nulls();
        let has = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        // Each entry takes room in the page: their number is nothing to reserve by before that is known.
        if entries > page.len() || !self.keys.iter().enumerate().all(|(row, key)| (*key as usize) < entries || !has(row)) {
            return None;
        }
        match self.values {
            Values::Integers(mut numbers) if numbers.is_empty() => {
                let of = |key: u32| -> Option<i64> {
                    let key = key as usize;
                    Some(match self.data_type {
                        DataType::Int64 | DataType::Decimal64(..) => i64::from_le_bytes(*page.as_chunks::<8>().0.get(key)?),
                        _ => i32::from_le_bytes(*page.as_chunks::<4>().0.get(key)?).into(),
                    })
                };
                numbers.reserve(self.keys.len());
                for (row, &key) in self.keys.iter().enumerate() {
                    numbers.push(if has(row) { of(key)? } else { 0 });
                }
                integers(&self.data_type, numbers, nulls)
            }
            Values::Keyed => {
                let mut places = Vec::new();
                if sparse {
                    places.resize(entries, ABSENT);
                    self.keys.iter().enumerate().filter(|(row, _)| has(*row)).for_each(|(_, key)| places[*key as usize] = USED);
                }
                let values = texts(entries, page, &mut places)?;
                if sparse {
                    self.keys.iter_mut().for_each(|key| match places.get(*key as usize) {
                        Some(&place) if place < USED => *key = place,
                        _ => *key = 0,
                    });
                }
                Some(dictionary(UInt32Array::new(self.keys.into(), nulls), Arc::new(values)))
            }
            _ => None,
        }
    }
}

/// Places of entries that no row has, and of those that some has and that have none yet.
const ABSENT: u32 = u32::MAX;
const USED: u32 = u32::MAX - 1;

/// The texts of a dictionary: all of them, or those that are marked in `places`, which then has their places.
fn texts(entries: usize, mut page: &[u8], places: &mut [u32]) -> Option<StringArray> {
    let (mut offsets, mut bytes) = (vec![0i32], Vec::new());
    let wanted = match places.is_empty() {
        true => entries,
        false => places.iter().rposition(|place| *place == USED).map_or(0, |last| last + 1),
    };
    for entry in 0..wanted {
        let (len, tail) = page.split_first_chunk::<4>()?;
        let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        page = tail;
        match places.get_mut(entry) {
            Some(&mut ABSENT) => continue,
            Some(place) => *place = offsets.len() as u32 - 1,
            None => {}
        }
        bytes.extend_from_slice(text);
        offsets.push(i32::try_from(bytes.len()).ok()?);
    }
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), None).ok()
}

fn integers(data_type: &DataType, numbers: Vec<i64>, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
    Some(match data_type {
        DataType::Int64 => Arc::new(Int64Array::new(numbers.into(), nulls)),
        DataType::Decimal64(..) => Arc::new(Decimal64Array::new(numbers.into(), nulls).with_data_type(data_type.clone())),
        DataType::Int32 => Arc::new(Int32Array::new(numbers.into_iter().map(|n| n as i32).collect(), nulls)),
        DataType::UInt32 => Arc::new(UInt32Array::new(numbers.into_iter().map(|n| n as u32).collect(), nulls)),
        DataType::UInt8 => Arc::new(UInt8Array::new(numbers.into_iter().map(|n| n as u8).collect(), nulls)),
        _ => return None,
    })
}

/// Where the values of some rows (ascending) lie among those of a page; `None` in them for a row without one, `None` for a row that the
/// page lacks.
fn places(valid: Option<&[bool]>, picked: &[usize]) -> Option<Vec<Option<usize>>> {
    let Some(valid) = valid else { return Some(picked.iter().copied().map(Some).collect()) };
    let (mut at, mut before) = (0, 0);
    picked
        .iter()
        .map(|&row| {
            before += valid.get(at..row)?.iter().filter(|has| **has).count();
            at = row;
            Some(valid.get(row)?.then_some(before))
        })
        .collect()
}

/// Appends the values to the rows that have one, and something to the others.
fn spread<T: Copy + Default>(out: &mut Vec<T>, valid: Option<&[bool]>, mut values: impl Iterator<Item = T>) {
    match valid {
        None => out.extend(values),
        Some(valid) => out.extend(valid.iter().map(|has| if *has { values.next().unwrap_or_default() } else { T::default() })),
    }
}
