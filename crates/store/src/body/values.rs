//! The values of one column while it grows.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Decimal64Array, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};

use super::column::{Kind, PRECISION};
use super::json::Slot;

/// Room for texts that have not come yet, bytes.
const ROOM_MAX: usize = 16 << 20;

/// Text after text.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    pub bytes: Vec<u8>,
    pub offsets: Vec<i32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0] }
    }
}

impl Texts {
    /// Takes the texts; what is left is empty, with room for as many and a little more: the next batch is of the same kind.
    fn take(&mut self) -> Self {
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        std::mem::replace(self, Self { bytes: Vec::with_capacity(self.bytes.len() + self.bytes.len() / 32), offsets })
    }

    /// Appends a text. The builder has made sure that offsets fit.
    #[inline]
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.bytes.len() as i32);
    }

    /// Appends `n` empty texts.
    fn pad(&mut self, n: usize) {
        self.offsets.resize(self.offsets.len() + n, self.bytes.len() as i32);
    }

    /// The texts as an array. They are UTF-8: each came from a `&str`, cut at ASCII characters.
    pub(super) fn array(self, nulls: Option<NullBuffer>) -> ArrayRef {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Arc::new(StringArray::new(offsets, Buffer::from_vec(self.bytes), nulls))
    }
}

#[derive(Debug)]
enum Cells {
    /// Integers, the digits of decimals, the bits of doubles.
    Numbers(Vec<i64>),
    Bools(BooleanBufferBuilder),
    Hex(Vec<u8>),
    Texts(Texts),
}

/// A variable column that grows. Rows that lack it are made up for when the next one has it.
#[derive(Debug)]
pub(super) struct Values {
    kind: Kind,
    cells: Cells,
    nulls: NullBufferBuilder,
    /// So many rows are to be expected.
    rows: usize,
}

impl Values {
    /// An empty column with room for `rows` rows: what grows is copied, and the pages of its new place cleared, again and again.
    pub(super) fn new(kind: Kind, rows: usize) -> Self {
        let cells = match kind {
            Kind::Int | Kind::Decimal(_) | Kind::Float => Cells::Numbers(Vec::with_capacity(rows)),
            Kind::Bool => Cells::Bools(BooleanBufferBuilder::new(0)),
            Kind::Hex(bytes) => Cells::Hex(Vec::with_capacity(rows * usize::from(bytes))),
            Kind::Number | Kind::Str | Kind::Escaped | Kind::Json => Cells::Texts(Texts::default()),
        };
        Self { kind, cells, nulls: NullBufferBuilder::new(1024), rows }
    }

    /// Appends nulls up to `rows` rows.
    fn pad(&mut self, rows: usize) {
        let missing = rows - self.nulls.len();
        if missing == 0 {
            return;
        }
        self.nulls.append_n_nulls(missing);
        match &mut self.cells {
            Cells::Numbers(n) => n.resize(rows, 0),
            Cells::Bools(b) => b.append_n(missing, false),
            Cells::Hex(h) => h.resize(rows * self.kind.hex_bytes(), 0),
            Cells::Texts(t) => t.pad(missing),
        }
    }

    /// Sets the value of `row`, which is not before the last one set.
    #[inline]
    pub(super) fn push(&mut self, row: usize, slot: &Slot, line: &[u8]) {
        self.pad(row);
        self.nulls.append_non_null();
        let text = &line[slot.start as usize..slot.end as usize];
        match &mut self.cells {
            Cells::Numbers(n) => n.push(slot.number),
            Cells::Bools(b) => b.append(slot.number != 0),
            Cells::Hex(h) => h.extend(text.chunks_exact(2).map(byte)),
            Cells::Texts(t) => {
                if t.bytes.capacity() == 0 {
                    t.offsets.reserve(self.rows);
                    // The others are about as long as the first.
                    t.bytes.reserve(self.rows.saturating_mul(text.len() + text.len() / 4).min(ROOM_MAX));
                }
                t.push(text);
            }
        }
    }

    /// Whether no row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.nulls.is_empty()
    }

    /// Bytes that the values take.
    pub(super) fn size(&self) -> usize {
        match &self.cells {
            Cells::Numbers(n) => n.len() * 8,
            Cells::Bools(b) => b.len() / 8,
            Cells::Hex(h) => h.len(),
            Cells::Texts(t) => t.bytes.len() + t.offsets.len() * 4,
        }
    }

    /// The column with `rows` rows, which gets the buffers: an empty one is left.
    pub(super) fn take(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        let nulls = self.nulls.finish();
        match &mut self.cells {
            Cells::Numbers(n) => {
                let room = n.len();
                let values = ScalarBuffer::from(std::mem::replace(n, Vec::with_capacity(room)));
                match self.kind {
                    Kind::Float => Arc::new(Float64Array::new(values.into_inner().into(), nulls)),
                    Kind::Decimal(scale) => {
                        let array = Decimal64Array::new(values, nulls);
                        // Every scale that a kind may have is below the precision.
                        match array.with_precision_and_scale(PRECISION, scale as i8) {
                            Ok(array) => Arc::new(array),
                            Err(e) => unreachable!("{e}"),
                        }
                    }
                    _ => Arc::new(Int64Array::new(values, nulls)),
                }
            }
            Cells::Bools(b) => Arc::new(BooleanArray::new(b.finish(), nulls)),
            Cells::Hex(h) => {
                let (width, room) = (self.kind.hex_bytes() as i32, h.len());
                let bytes = std::mem::replace(h, Vec::with_capacity(room));
                Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(bytes), nulls))
            }
            Cells::Texts(t) => t.take().array(nulls),
        }
    }
}

/// The byte that two hexadecimal digits stand for.
#[inline]
pub(super) fn byte(digits: &[u8]) -> u8 {
    (nibble(digits[0]) << 4) | nibble(digits[1])
}

#[inline]
fn nibble(digit: u8) -> u8 {
    // '0' to '9' are 0x30 to 0x39, 'a' to 'f' 0x61 to 0x66: only digits come here.
    (digit & 0x0f) + 9 * (digit >> 6)
}
