//! Lines out of columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Decimal128Type, Float64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, FixedSizeBinaryArray, PrimitiveArray, StringArray};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use super::column::{BodyColumnId, Kind, Variable};
use super::layout::Layout;
use super::{BodyColumns, BodyError};

/// A variable column of one batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cells<'a> {
    Int(&'a PrimitiveArray<Int64Type>),
    Decimal(&'a PrimitiveArray<Decimal64Type>, u8),
    WideDecimal(&'a Decimal128Array, u8),
    Float(&'a PrimitiveArray<Float64Type>),
    Bool(&'a BooleanArray),
    Hex(&'a FixedSizeBinaryArray),
    Text(TextCells<'a>),
    /// A column that was not read.
    Unread,
}

/// A text column, plain or with a dictionary.
#[derive(Debug, Clone, Copy)]
pub(super) enum TextCells<'a> {
    Plain(&'a StringArray),
    Keyed(&'a PrimitiveArray<UInt32Type>, &'a StringArray),
}

impl<'a> TextCells<'a> {
    pub(super) fn of(array: &'a ArrayRef) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_string_opt().map(Self::Plain),
            DataType::Dictionary(_, _) => {
                let keyed = array.as_dictionary_opt::<UInt32Type>()?;
                Some(Self::Keyed(keyed.keys(), keyed.values().as_string_opt()?))
            }
            _ => None,
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(texts) => (!texts.is_null(row)).then(|| texts.value(row)),
            Self::Keyed(keys, texts) => {
                if keys.is_null(row) {
                    return None;
                }
                let key = keys.value(row) as usize;
                (!texts.is_null(key)).then(|| texts.value(key))
            }
        }
    }
}

impl<'a> Cells<'a> {
    /// The column as a kind says that it is; `None` when it is of another type.
    fn of(kind: Kind, array: &'a ArrayRef) -> Option<Self> {
        match kind {
            Kind::Int => array.as_primitive_opt().map(Self::Int),
            Kind::Decimal(scale) => match array.data_type() {
                DataType::Decimal64(_, s) if *s == scale as i8 => array.as_primitive_opt().map(|a| Self::Decimal(a, scale)),
                DataType::Decimal128(_, s) if *s == scale as i8 => {
                    array.as_primitive_opt::<Decimal128Type>().map(|a| Self::WideDecimal(a, scale))
                }
                _ => None,
            },
            Kind::Float => array.as_primitive_opt().map(Self::Float),
            Kind::Bool => array.as_boolean_opt().map(Self::Bool),
            Kind::Hex(bytes) => array.as_fixed_size_binary_opt().filter(|a| a.value_length() == i32::from(bytes)).map(Self::Hex),
            Kind::Number | Kind::Str | Kind::Escaped | Kind::Json => TextCells::of(array).map(Self::Text),
        }
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Int(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::WideDecimal(a, _) => a.is_null(row),
            Self::Float(a) => a.is_null(row),
            Self::Bool(a) => a.is_null(row),
            Self::Hex(a) => a.is_null(row),
            Self::Text(t) => t.get(row).is_none(),
            Self::Unread => true,
        }
    }

    /// Appends the text of a value that is not null.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::Int(a) => write_int(a.value(row), out),
            Self::Decimal(a, scale) => write_decimal(a.value(row), *scale, out),
            // A decimal of 18 digits, whatever its type.
            Self::WideDecimal(a, scale) => write_decimal(a.value(row) as i64, *scale, out),
            Self::Float(a) => {
                // Writing to a Vec does not fail.
                let _ = std::io::Write::write_fmt(out, format_args!("{}", a.value(row)));
            }
            Self::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
            Self::Hex(a) => {
                for byte in a.value(row) {
                    out.extend_from_slice(&HEX[usize::from(*byte)]);
                }
            }
            Self::Text(t) => out.extend_from_slice(t.get(row).unwrap_or("").as_bytes()),
            Self::Unread => {}
        }
    }
}

/// Two digits for each byte.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = [digits[i >> 4], digits[i & 15]];
        i += 1;
    }
    table
};

/// Writes the digits of `value` into the end of `buffer`; where they start.
fn digits(mut value: u64, buffer: &mut [u8; 20]) -> usize {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = [0; 20];
    let at = digits(value.unsigned_abs(), &mut buffer);
    out.extend_from_slice(&buffer[at..]);
}

fn write_decimal(value: i64, scale: u8, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    let mut buffer = [b'0'; 20];
    let at = digits(value.unsigned_abs(), &mut buffer);
    let point = buffer.len() - usize::from(scale);
    // `0.05` has digits `5`: at least one digit stands before the point.
    out.extend_from_slice(&buffer[at.min(point - 1)..point]);
    out.push(b'.');
    out.extend_from_slice(&buffer[point..]);
}

/// A layout with the columns of one batch behind it.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    pub layout: Layout,
    pub cells: Vec<Cells<'a>>,
    /// Whether a literal has a long run of hexadecimal digits.
    pub runs: bool,
    /// The places of the cells in which there may be one.
    pub long: Vec<usize>,
}

/// A part of a line, see [`BodyView::long_runs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<'a> {
    /// These bytes stand in the line as 32 lower-case hexadecimal digits, between other characters.
    Id(&'a [u8; 16]),
    /// A part as it is in the line.
    Text(&'a [u8]),
}

/// Digits of a run that [`BodyView::long_runs`] does not miss.
const LONG_RUN: usize = 32;

impl Bound<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), BodyError> {
        for (i, cells) in self.cells.iter().enumerate() {
            if cells.is_null(row) {
                return Err(BodyError::Missing(self.layout.variables[i].to_string()));
            }
            out.extend_from_slice(self.layout.literals[i].as_bytes());
            cells.write(row, out);
        }
        out.extend_from_slice(self.layout.literals.last().map_or(b"", |l| l.as_bytes()));
        Ok(())
    }
}

/// Columns ready to be read: their layouts parsed and bound.
#[derive(Debug)]
pub struct BodyView<'a> {
    pub(super) rows: usize,
    pub(super) text: Option<TextCells<'a>>,
    pub(super) keys: Option<TextKeys<'a>>,
    /// By number in the dictionary; `None` where no row uses it.
    pub(super) layouts: Vec<Option<Bound<'a>>>,
}

/// The layout numbers of the rows.
pub(super) type TextKeys<'a> = &'a PrimitiveArray<UInt32Type>;

impl<'a> BodyView<'a> {
    /// Binds the columns.
    ///
    /// # Errors
    /// When they are not what a [`super::BodyBuilder`] makes: an unknown layout, a column that a layout names and that
    /// is not there, a column of another type.
    pub fn new(columns: &'a BodyColumns) -> Result<Self, BodyError> {
        Self::bind(columns, false)
    }

    fn bind(columns: &'a BodyColumns, partial: bool) -> Result<Self, BodyError> {
        let text = match columns.get(&BodyColumnId::Text) {
            Some(array) => Some(TextCells::of(array).ok_or_else(|| BodyError::Type("body".to_owned()))?),
            None => None,
        };
        let mut view = Self { rows: columns.rows, text, keys: None, layouts: Vec::new() };
        let Some(array) = columns.get(&BodyColumnId::Layout) else { return Ok(view) };
        let TextCells::Keyed(keys, texts) = TextCells::of(array).ok_or_else(|| BodyError::Type("body.layout".to_owned()))? else {
            return Err(BodyError::Type("body.layout".to_owned()));
        };
        let mut used = vec![false; texts.len()];
        for key in keys.iter().flatten() {
            used[key as usize] = true;
        }
        for (i, used) in used.into_iter().enumerate() {
            let bound = if used && !texts.is_null(i) { Some(bind(columns, texts.value(i), partial)?) } else { None };
            view.layouts.push(bound);
        }
        view.keys = Some(keys);
        Ok(view)
    }

    /// How many lines.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The layout of a row, `None` when it is kept whole.
    pub(super) fn layout(&self, row: usize) -> Option<(usize, &Bound<'a>)> {
        let keys = self.keys.filter(|k| !k.is_null(row))?;
        let key = keys.value(row) as usize;
        Some((key, self.layouts.get(key)?.as_ref()?))
    }

    /// Whether the row's line is kept whole.
    #[must_use]
    pub fn is_whole(&self, row: usize) -> bool {
        self.layout(row).is_none()
    }

    /// Whether the row's layout names only variables of `known`; true where the line is kept whole.
    #[must_use]
    pub fn is_of<S: std::hash::BuildHasher>(&self, row: usize, known: &std::collections::HashSet<Variable, S>) -> bool {
        self.layout(row).is_none_or(|(_, bound)| bound.layout.variables.iter().all(|v| known.contains(v)))
    }

    /// Whether [`BodyView::is_of`] is true of every row.
    #[must_use]
    pub fn layouts_are_of<S: std::hash::BuildHasher>(&self, known: &std::collections::HashSet<Variable, S>) -> bool {
        self.layouts.iter().flatten().all(|bound| bound.layout.variables.iter().all(|v| known.contains(v)))
    }

    /// Leaves out of [`BodyView::long_runs`] the texts of the variables in which there is no long run.
    #[must_use]
    pub fn without_runs(mut self, lacks: impl Fn(&Variable) -> bool) -> Self {
        for bound in self.layouts.iter_mut().flatten() {
            let Bound { layout, cells, long, .. } = bound;
            long.retain(|place| !matches!(cells[*place], Cells::Text(_)) || !lacks(&layout.variables[*place]));
        }
        self
    }

    /// Calls `each` with parts of a row's line; every run of 32 or more hexadecimal digits of the line lies in one of
    /// them. (What stands beside a variable is never such a digit, so no run goes across.)
    ///
    /// # Errors
    /// As for [`BodyView::write`].
    pub fn long_runs(&self, row: usize, scratch: &mut Vec<u8>, mut each: impl FnMut(Run<'_>)) -> Result<(), BodyError> {
        match self.layout(row) {
            Some((_, bound)) if !bound.runs => {
                for cells in bound.long.iter().map(|place| &bound.cells[*place]) {
                    match cells {
                        Cells::Text(t) => each(Run::Text(t.get(row).unwrap_or("").as_bytes())),
                        Cells::Hex(a) if a.value_length() == 16 => {
                            if let Ok(id) = a.value(row).try_into() {
                                each(Run::Id(id));
                            }
                        }
                        // A small double has many zeros.
                        Cells::Float(_) => {
                            scratch.clear();
                            cells.write(row, scratch);
                            each(Run::Text(scratch));
                        }
                        Cells::Hex(a) if a.value_length() as usize * 2 >= LONG_RUN => {
                            scratch.clear();
                            cells.write(row, scratch);
                            each(Run::Text(scratch));
                        }
                        _ => {}
                    }
                }
            }
            _ => {
                scratch.clear();
                self.write(row, scratch)?;
                each(Run::Text(scratch));
            }
        }
        Ok(())
    }

    /// Appends a row's line; `false` when the row has none (a null).
    ///
    /// # Errors
    /// [`BodyError::Missing`] when a value that the layout names is null.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<bool, BodyError> {
        if let Some((_, bound)) = self.layout(row) {
            bound.write(row, out)?;
        } else if let Some(text) = self.text.and_then(|t| t.get(row)) {
            out.extend_from_slice(text.as_bytes());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The lines of `rows`, in that order; null where a row has none.
    ///
    /// # Errors
    /// As for [`BodyView::write`], and [`BodyError::TooLong`] past 2 GiB.
    pub fn restore(&self, rows: impl IntoIterator<Item = usize>) -> Result<StringArray, BodyError> {
        let mut bytes = Vec::new();
        let mut offsets = vec![0i32];
        let mut valid = Vec::new();
        for row in rows {
            valid.push(self.write(row, &mut bytes)?);
            offsets.push(i32::try_from(bytes.len()).map_err(|_| BodyError::TooLong)?);
        }
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(bytes), nulls)
            .map_err(|e| BodyError::Layout(e.to_string()))
    }

    /// All lines.
    ///
    /// # Errors
    /// As for [`BodyView::restore`].
    pub fn restore_all(&self) -> Result<StringArray, BodyError> {
        self.restore(0..self.rows)
    }
}

fn bind<'a>(columns: &'a BodyColumns, text: &str, partial: bool) -> Result<Bound<'a>, BodyError> {
    let layout = Layout::parse(text)?;
    let cells: Vec<Cells<'a>> = layout
        .variables
        .iter()
        .map(|variable| {
            let Some(array) = columns.get(&BodyColumnId::Value(variable.clone())) else {
                return if partial { Ok(Cells::Unread) } else { Err(BodyError::Missing(variable.to_string())) };
            };
            Cells::of(variable.kind, array).ok_or_else(|| BodyError::Type(variable.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let runs = layout.literals.iter().any(|l| {
        l.as_bytes()
            .chunk_by(|a, b| a.is_ascii_hexdigit() == b.is_ascii_hexdigit())
            .any(|run| run.len() >= LONG_RUN && run[0].is_ascii_hexdigit())
    });
    let may_be_long = |cells: &Cells<'_>| match cells {
        Cells::Text(_) | Cells::Float(_) => true,
        Cells::Hex(a) => a.value_length() as usize * 2 >= LONG_RUN,
        _ => false,
    };
    let long = cells.iter().enumerate().filter(|(_, cells)| may_be_long(cells)).map(|(place, _)| place).collect();
    Ok(Bound { layout, cells, runs, long })
}

impl BodyColumns {
    /// The column of an id.
    #[must_use]
    pub fn get(&self, id: &BodyColumnId) -> Option<&ArrayRef> {
        self.columns.binary_search_by(|(i, _)| i.cmp(id)).ok().map(|at| &self.columns[at].1)
    }

    /// Columns from anywhere (a segment, say); sorts them.
    ///
    /// # Errors
    /// [`BodyError::Type`] when a column has not `rows` rows.
    pub fn new(rows: usize, mut columns: Vec<(BodyColumnId, ArrayRef)>) -> Result<Self, BodyError> {
        if let Some((id, _)) = columns.iter().find(|(_, array)| array.len() != rows) {
            return Err(BodyError::Type(id.name()));
        }
        columns.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self { rows, columns })
    }

    /// The columns as whole lines, which every reader of columns understands.
    #[must_use]
    pub fn of_text(lines: StringArray) -> Self {
        Self { rows: lines.len(), columns: vec![(BodyColumnId::Text, Arc::new(lines))] }
    }

    /// Binds the columns for reading; see [`BodyView::new`].
    ///
    /// # Errors
    /// See there.
    pub fn view(&self) -> Result<BodyView<'_>, BodyError> {
        BodyView::new(self)
    }

    /// As [`BodyColumns::view`], of columns of which some were not read. Good for [`BodyView::contains`] when those that
    /// [`BodyColumns::searched`] names are there.
    ///
    /// # Errors
    /// See there; a missing column is none.
    pub fn partial_view(&self) -> Result<BodyView<'_>, BodyError> {
        BodyView::bind(self, true)
    }
}
