//! One column of a row group as a Parquet column chunk.
//!
//! Our own page writer instead of `ArrowWriter`: our texts are dictionaries already, and writing their keys as they
//! are costs a tenth of looking every value up again.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use hashbrown::HashMap;
use parquet::basic::{BoundaryOrder, Compression, Encoding, Type, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::header::{Header, Kind};
use super::pack;
use crate::StoreError;

/// Pages of long texts are cut at about so many bytes.
const PAGE_BYTES: usize = 1 << 20;
/// Integers with more distinct values than this are not worth a dictionary.
const MAX_NUMBERS: usize = 2048;
/// Longer texts are no bounds worth storing.
const MAX_BOUND: usize = 64;

/// What is wanted of a column besides its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    /// Bounds of the chunk: for columns that are filtered by.
    pub(crate) bounds: bool,
    /// Bounds of each page.
    pub(crate) page_bounds: bool,
    /// The column ascends.
    pub(crate) sorted: bool,
}

/// Encodes columns; keeps its compressor and buffers from one to the next.
pub(crate) struct Encoder {
    /// zstd's; none writes pages as they are.
    level: Option<i32>,
    /// Rows of a page: the grain at which a scan can skip.
    page_rows: usize,
    compressor: Option<zstd::bulk::Compressor<'static>>,
    /// The pages of a column as they come: room for the largest of them is found once.
    chunk: Vec<u8>,
    page: Vec<u8>,
    packed: Vec<u8>,
    keys: Vec<u32>,
    numbers: Vec<i64>,
}

/// The values of a chunk, ready to be cut into pages.
enum Values<'a> {
    /// Keys by row (0 where null) and the dictionary page.
    Keys {
        keys: std::borrow::Cow<'a, [u32]>,
        entries: u32,
        dictionary: Vec<u8>,
    },
    Delta(std::borrow::Cow<'a, [i64]>),
    Plain32(Vec<i32>),
    Doubles(&'a [f64]),
    Bools(&'a arrow_array::BooleanArray),
    Fixed(&'a arrow_array::FixedSizeBinaryArray),
    Texts(&'a [i32], &'a [u8]),
}

impl Values<'_> {
    /// Bytes that so many rows take at most, about.
    fn size(&self, rows: usize) -> usize {
        match self {
            Self::Keys { dictionary, .. } => dictionary.len() + rows,
            Self::Delta(_) | Self::Doubles(_) => rows * 8,
            Self::Plain32(_) => rows * 4,
            Self::Bools(_) => rows / 8,
            Self::Fixed(array) => array.value_data().len(),
            Self::Texts(ends, bytes) => bytes.len() + ends.len() * 4 + bytes.len() / 64,
        }
    }
}

/// The pages of a column behind each other, as Parquet's writer takes them.
pub(crate) struct Encoded<'e>(&'e [u8]);

impl Length for Encoded<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

impl<'e> ChunkReader for Encoded<'e> {
    type T = &'e [u8];

    fn get_read(&self, start: u64) -> Result<&'e [u8], ParquetError> {
        usize::try_from(start).ok().and_then(|start| self.0.get(start..)).ok_or_else(beyond)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.get_read(start)?.get(..length).map(Bytes::copy_from_slice).ok_or_else(beyond)
    }
}

fn beyond() -> ParquetError {
    ParquetError::EOF("a column ends early".to_owned())
}

impl Encoder {
    /// An encoder that compresses with this zstd level, or not at all.
    ///
    /// # Errors
    /// A level that zstd does not have.
    pub(crate) fn new(level: Option<i32>, page_rows: usize) -> Result<Self, StoreError> {
        let compressor = level.map(zstd::bulk::Compressor::new).transpose().map_err(StoreError::io("start zstd"))?;
        Ok(Self {
            level,
            page_rows,
            compressor,
            chunk: Vec::new(),
            page: Vec::new(),
            packed: Vec::new(),
            keys: Vec::new(),
            numbers: Vec::new(),
        })
    }

    /// The chunk's bytes, and what the row group must know of it (offsets from the chunk's start).
    ///
    /// # Errors
    /// A column of a type that segments do not have.
    pub(crate) fn encode(
        &mut self,
        array: &ArrayRef,
        column: &ColumnDescPtr,
        wanted: Wanted,
    ) -> Result<(Encoded<'_>, ColumnCloseResult), StoreError> {
        let rows = array.len();
        let optional = column.max_def_level() > 0;
        let nulls = array.nulls();
        let (values, bounds) = values_of(array, wanted.bounds)?;
        self.chunk.clear();
        // What grows by doubling touches twice the memory that it needs.
        self.chunk.reserve(values.size(rows));
        let mut uncompressed = 0usize;
        let mut dictionary_offset = None;
        let mut compress = self.level.is_some();
        if let Values::Keys { entries, dictionary, .. } = &values {
            self.page.clear();
            self.page.extend_from_slice(dictionary);
            dictionary_offset = Some(0);
            let (_, size) = self.write_page(&mut compress, true, Kind::Dictionary, *entries as usize, Encoding::PLAIN)?;
            uncompressed += size;
        }
        let mut offsets = OffsetIndexBuilder::new();
        let mut index = ColumnIndexBuilder::new(column.physical_type());
        if wanted.sorted {
            index.set_boundary_order(BoundaryOrder::ASCENDING);
        }
        let mut data_offset = None;
        let mut from = 0;
        let incompressible = matches!(values, Values::Fixed(_));
        while from < rows || data_offset.is_none() {
            let to = page_end(&values, self.page_rows, from, rows);
            self.page.clear();
            if optional {
                self.levels(nulls, from, to);
            }
            let encoding = self.values(&values, nulls, from, to);
            let ask = data_offset.is_none() && dictionary_offset.is_none() && incompressible;
            let at = self.chunk.len() as i64;
            let (packed, size) = self.write_page(&mut compress, ask, Kind::Data, to - from, encoding)?;
            data_offset.get_or_insert(at);
            uncompressed += size;
            offsets.append_row_count((to - from) as i64);
            offsets.append_offset_and_size(at, packed as i32);
            if wanted.page_bounds {
                page_bounds(array, from, to, &mut index);
            }
            from = to;
        }
        let bytes = &self.chunk[..];
        let null_count = nulls.map_or(0, |n| n.null_count()) as u64;
        let codec = match self.level {
            Some(level) if compress => zstd_codec(level)?,
            _ => Compression::UNCOMPRESSED,
        };
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(codec)
            .set_encodings(encodings(&values))
            .set_num_values(rows as i64)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_dictionary_page_offset(dictionary_offset)
            .set_data_page_offset(data_offset.unwrap_or(0));
        if wanted.bounds {
            metadata = metadata.set_statistics(statistics(column.physical_type(), bounds, null_count));
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build().map_err(failed)?,
            bloom_filter: None,
            column_index: if wanted.page_bounds { Some(index.build().map_err(failed)?) } else { None },
            offset_index: Some(offsets.build()),
        };
        Ok((Encoded(bytes), close))
    }

    /// Appends the page to the chunk; its bytes there, and without compression, those of its header among them.
    fn write_page(
        &mut self,
        worth: &mut bool,
        ask: bool,
        kind: Kind,
        values: usize,
        encoding: Encoding,
    ) -> Result<(usize, usize), StoreError> {
        let is_packed = self.compress(worth, ask)?;
        let bytes = if is_packed { &self.packed } else { &self.page };
        let at = self.chunk.len();
        Header { kind, packed: bytes.len(), bytes: self.page.len(), values, encoding }.write(&mut self.chunk);
        let header = self.chunk.len() - at;
        self.chunk.extend_from_slice(bytes);
        Ok((header + bytes.len(), header + self.page.len()))
    }

    /// Compresses the page, if that is of use; where `ask` is set, decides whether it is for the whole chunk.
    fn compress(&mut self, worth: &mut bool, ask: bool) -> Result<bool, StoreError> {
        let Some(compressor) = self.compressor.as_mut().filter(|_| *worth) else { return Ok(false) };
        let packed = &mut self.packed;
        packed.clear();
        packed.reserve(zstd::zstd_safe::compress_bound(self.page.len()));
        compressor.compress_to_buffer(&self.page, packed).map_err(StoreError::io("compress a page"))?;
        if ask && packed.len() * 20 > self.page.len() * 19 && self.page.len() > 1024 {
            *worth = false;
        }
        Ok(*worth)
    }

    fn levels(&mut self, nulls: Option<&NullBuffer>, from: usize, to: usize) {
        let at = self.page.len();
        self.page.extend_from_slice(&[0; 4]);
        match nulls {
            None => {
                pack::varint(&mut self.page, ((to - from) as u64) << 1);
                self.page.push(1);
            }
            Some(nulls) => {
                self.keys.clear();
                self.keys.extend((from..to).map(|i| u32::from(nulls.is_valid(i))));
                pack::hybrid(&mut self.page, &self.keys, 1);
            }
        }
        let len = (self.page.len() - at - 4) as u32;
        self.page[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn values(&mut self, values: &Values<'_>, nulls: Option<&NullBuffer>, from: usize, to: usize) -> Encoding {
        let valid = |i: &usize| nulls.is_none_or(|n| n.is_valid(*i));
        let page = &mut self.page;
        match values {
            Values::Keys { keys, entries, .. } => {
                let width = pack::width(entries.saturating_sub(1));
                page.push(width as u8);
                if nulls.is_none() {
                    pack::hybrid(page, &keys[from..to], width);
                } else {
                    self.keys.clear();
                    self.keys.extend((from..to).filter(valid).map(|i| keys[i]));
                    pack::hybrid(page, &self.keys, width);
                }
                Encoding::RLE_DICTIONARY
            }
            Values::Delta(numbers) => {
                if nulls.is_none() {
                    pack::delta(page, &numbers[from..to]);
                } else {
                    self.numbers.clear();
                    self.numbers.extend((from..to).filter(valid).map(|i| numbers[i]));
                    pack::delta(page, &self.numbers);
                }
                Encoding::DELTA_BINARY_PACKED
            }
            Values::Plain32(numbers) => {
                (from..to).filter(valid).for_each(|i| page.extend_from_slice(&numbers[i].to_le_bytes()));
                Encoding::PLAIN
            }
            Values::Doubles(doubles) => {
                (from..to).filter(valid).for_each(|i| page.extend_from_slice(&doubles[i].to_le_bytes()));
                Encoding::PLAIN
            }
            Values::Bools(bools) => {
                let (mut byte, mut filled) = (0u8, 0);
                for i in (from..to).filter(valid) {
                    byte |= u8::from(bools.value(i)) << filled;
                    filled += 1;
                    if filled == 8 {
                        page.push(byte);
                        (byte, filled) = (0, 0);
                    }
                }
                if filled > 0 {
                    page.push(byte);
                }
                Encoding::PLAIN
            }
            Values::Fixed(ids) => {
                (from..to).filter(valid).for_each(|i| page.extend_from_slice(ids.value(i)));
                Encoding::PLAIN
            }
            Values::Texts(offsets, bytes) => {
                self.numbers.clear();
                self.numbers.extend((from..to).filter(valid).map(|i| i64::from(offsets[i + 1] - offsets[i])));
                pack::delta(page, &self.numbers);
                match nulls {
                    None => page.extend_from_slice(&bytes[offsets[from] as usize..offsets[to] as usize]),
                    Some(_) => (from..to)
                        .filter(valid)
                        .for_each(|i| page.extend_from_slice(&bytes[offsets[i] as usize..offsets[i + 1] as usize])),
                }
                Encoding::DELTA_LENGTH_BYTE_ARRAY
            }
        }
    }
}

fn failed(e: ParquetError) -> StoreError {
    StoreError::columns("write a segment")(e)
}

fn zstd_codec(level: i32) -> Result<Compression, StoreError> {
    Ok(Compression::ZSTD(ZstdLevel::try_new(level.max(1)).map_err(failed)?))
}

fn page_end(values: &Values<'_>, page_rows: usize, from: usize, rows: usize) -> usize {
    let to = (from + page_rows).min(rows);
    let Values::Texts(offsets, _) = values else { return to };
    let limit = offsets[from].saturating_add(PAGE_BYTES as i32);
    if offsets[to] <= limit {
        return to;
    }
    // At least one row a page.
    from + offsets[from + 1..=to].partition_point(|&end| end <= limit).max(1)
}

fn encodings(values: &Values<'_>) -> Vec<Encoding> {
    match values {
        Values::Keys { .. } => vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY],
        Values::Delta(_) => vec![Encoding::RLE, Encoding::DELTA_BINARY_PACKED],
        Values::Texts(..) => vec![Encoding::RLE, Encoding::DELTA_LENGTH_BYTE_ARRAY],
        _ => vec![Encoding::RLE, Encoding::PLAIN],
    }
}

/// Least and greatest value of a chunk.
enum Bounds {
    None,
    Bytes(Vec<u8>, Vec<u8>, Option<u64>),
    Int(i64, i64),
}

fn statistics(kind: Type, bounds: Bounds, nulls: u64) -> Statistics {
    let nulls = Some(nulls);
    match (kind, bounds) {
        (Type::INT64, Bounds::Int(a, b)) => Statistics::int64(Some(a), Some(b), None, nulls, false),
        (Type::INT64, _) => Statistics::int64(None, None, None, nulls, false),
        (Type::INT32, Bounds::Int(a, b)) => Statistics::int32(Some(a as i32), Some(b as i32), None, nulls, false),
        (Type::INT32, _) => Statistics::int32(None, None, None, nulls, false),
        (Type::DOUBLE, _) => Statistics::double(None, None, None, nulls, false),
        (Type::BOOLEAN, _) => Statistics::boolean(None, None, None, nulls, false),
        (Type::FIXED_LEN_BYTE_ARRAY, Bounds::Bytes(a, b, d)) => {
            Statistics::fixed_len_byte_array(Some(FixedLenByteArray::from(a)), Some(FixedLenByteArray::from(b)), d, nulls, false)
        }
        (Type::FIXED_LEN_BYTE_ARRAY, _) => Statistics::fixed_len_byte_array(None, None, None, nulls, false),
        (_, Bounds::Bytes(a, b, d)) => {
            Statistics::byte_array(Some(ByteArray::from(a)), Some(ByteArray::from(b)), d, nulls, false)
        }
        _ => Statistics::byte_array(None, None, None, nulls, false),
    }
}

fn values_of(array: &ArrayRef, bounds: bool) -> Result<(Values<'_>, Bounds), StoreError> {
    Ok(match array.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<UInt32Type>();
            let values = dictionary.values().as_string::<i32>();
            if values.is_empty() {
                // All null: no dictionary page, and no value to write.
                return Ok((Values::Plain32(Vec::new()), Bounds::None));
            }
            let mut page = Vec::with_capacity(values.values().len() + values.len() * 4);
            let (mut least, mut most) = (None::<&str>, None::<&str>);
            for value in values.iter() {
                let value = value.unwrap_or("");
                page.extend_from_slice(&(value.len() as u32).to_le_bytes());
                page.extend_from_slice(value.as_bytes());
                if bounds {
                    least = Some(least.map_or(value, |l| l.min(value)));
                    most = Some(most.map_or(value, |m| m.max(value)));
                }
            }
            let found = match (least, most) {
                (Some(l), Some(m)) if l.len() <= MAX_BOUND && m.len() <= MAX_BOUND => {
                    Bounds::Bytes(l.into(), m.into(), Some(values.len() as u64))
                }
                _ => Bounds::None,
            };
            let keys = dictionary.keys().values().as_ref().into();
            (Values::Keys { keys, entries: values.len() as u32, dictionary: page }, found)
        }
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            (Values::Texts(texts.value_offsets(), texts.value_data()), Bounds::None)
        }
        DataType::Binary => {
            let bytes = array.as_binary::<i32>();
            (Values::Texts(bytes.value_offsets(), bytes.value_data()), Bounds::None)
        }
        DataType::Int64 => integers(array.as_primitive::<Int64Type>().values(), array.nulls(), bounds),
        DataType::Decimal64(_, _) => integers(array.as_primitive::<Decimal64Type>().values(), array.nulls(), bounds),
        DataType::Timestamp(_, _) => integers(array.as_primitive::<TimestampNanosecondType>().values(), array.nulls(), bounds),
        DataType::Int32 => small(array.as_primitive::<Int32Type>().values().to_vec(), array.nulls()),
        DataType::UInt32 => small(array.as_primitive::<UInt32Type>().values().iter().map(|&v| v as i32).collect(), array.nulls()),
        DataType::UInt8 => small(array.as_primitive::<UInt8Type>().values().iter().map(|&v| v.into()).collect(), array.nulls()),
        DataType::Float64 => (Values::Doubles(array.as_primitive::<Float64Type>().values()), Bounds::None),
        DataType::Boolean => (Values::Bools(array.as_boolean()), Bounds::None),
        DataType::FixedSizeBinary(_) => {
            let ids = array.as_fixed_size_binary();
            let found = match (ids.iter().flatten().min(), ids.iter().flatten().max()) {
                (Some(a), Some(b)) if bounds => Bounds::Bytes(a.into(), b.into(), None),
                _ => Bounds::None,
            };
            (Values::Fixed(ids), found)
        }
        other => {
            return Err(StoreError::Columns { what: "write a segment".into(), reason: format!("no column is {other}") });
        }
    })
}

/// Keys and values of a column of few distinct numbers.
fn number_keys<T: Copy + std::hash::Hash + Eq>(values: &[T], nulls: Option<&NullBuffer>) -> Option<(Vec<u32>, Vec<T>)> {
    let most = MAX_NUMBERS.min(values.len() / 4 + 1);
    let mut table: HashMap<T, u32, foldhash::fast::FixedState> = HashMap::default();
    let mut keys = Vec::with_capacity(values.len());
    let mut distinct = Vec::new();
    let mut last: Option<(T, u32)> = None;
    for (i, &value) in values.iter().enumerate() {
        if nulls.is_some_and(|n| n.is_null(i)) {
            keys.push(0);
            continue;
        }
        if let Some((v, key)) = last
            && v == value
        {
            keys.push(key);
            continue;
        }
        let key = *table.entry(value).or_insert_with(|| {
            distinct.push(value);
            distinct.len() as u32 - 1
        });
        if distinct.len() > most {
            return None;
        }
        last = Some((value, key));
        keys.push(key);
    }
    Some((keys, distinct))
}

fn integers<'a>(values: &'a [i64], nulls: Option<&NullBuffer>, bounds: bool) -> (Values<'a>, Bounds) {
    let valid = || values.iter().enumerate().filter(|(i, _)| nulls.is_none_or(|n| n.is_valid(*i))).map(|(_, &v)| v);
    let found = match (valid().min(), valid().max()) {
        (Some(a), Some(b)) if bounds => Bounds::Int(a, b),
        _ => Bounds::None,
    };
    let packed = match number_keys(values, nulls) {
        Some((keys, distinct)) => {
            let dictionary = distinct.iter().flat_map(|v| v.to_le_bytes()).collect();
            Values::Keys { keys: keys.into(), entries: distinct.len() as u32, dictionary }
        }
        None => Values::Delta(values.into()),
    };
    (packed, found)
}

fn small(values: Vec<i32>, nulls: Option<&NullBuffer>) -> (Values<'static>, Bounds) {
    let valid = || values.iter().enumerate().filter(|(i, _)| nulls.is_none_or(|n| n.is_valid(*i))).map(|(_, &v)| i64::from(v));
    let found = match (valid().min(), valid().max()) {
        (Some(a), Some(b)) => Bounds::Int(a, b),
        _ => Bounds::None,
    };
    let packed = match number_keys(&values, nulls) {
        Some((keys, distinct)) => {
            let dictionary = distinct.iter().flat_map(|v| v.to_le_bytes()).collect();
            Values::Keys { keys: keys.into(), entries: distinct.len() as u32, dictionary }
        }
        None => Values::Plain32(values),
    };
    (packed, found)
}

/// Bounds of one page, of the columns that have them: times and ids.
fn page_bounds(array: &ArrayRef, from: usize, to: usize, index: &mut ColumnIndexBuilder) {
    let page = array.slice(from, to - from);
    let nulls = page.null_count();
    let (least, most) = match page.data_type() {
        DataType::FixedSizeBinary(_) => {
            let ids = page.as_fixed_size_binary();
            (ids.iter().flatten().min().map(<[u8]>::to_vec), ids.iter().flatten().max().map(<[u8]>::to_vec))
        }
        DataType::Timestamp(_, _) => {
            let times = page.as_primitive::<TimestampNanosecondType>();
            let le = |v: Option<i64>| v.map(|v| v.to_le_bytes().to_vec());
            (le(times.values().iter().copied().min()), le(times.values().iter().copied().max()))
        }
        _ => (None, None),
    };
    let empty = least.is_none();
    index.append(empty, least.unwrap_or_default(), most.unwrap_or_default(), nulls as i64, None);
}
