//! The records' own attributes as columns by (key, type). The column of an attribute is predicted from the one before
//! it: records of one kind repeat their keys in the same order, so nearly every lookup is a comparison of key bytes.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow_buffer::BooleanBuffer;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use model::{Attr, Scope, Value, ValueType};
use wire::{KeptSpans, KeptValue, Wanted};

use super::id::{ColumnId, RestOf};
use super::rest;
use super::text::{BytesColumn, TextColumn, nulls_at, scalars};
use crate::recent::{WantsSpans, Wishes};

/// More keys than this in one builder go to the rest column at once: it bounds what hostile keys can hold.
const MAX_COLUMNS: usize = 1000;
/// A sealed batch keeps at most so many attribute columns...
const MAX_SEALED: usize = 200;
/// ...and, beyond so many, only those on at least one row in a hundred.
const FREE_SEALED: usize = 64;

#[derive(Debug)]
enum Values {
    Text(TextColumn),
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bytes(BytesColumn),
}

#[derive(Debug)]
struct AttributeColumn {
    key: Arc<str>,
    kind: ValueType,
    /// Rows that have a value, ascending.
    rows: Vec<u32>,
    values: Values,
    /// The column that followed this one last time.
    next: u32,
    /// Whether the same key has columns of other types.
    shared_key: bool,
}

/// Columns of the attributes of one scope.
#[derive(Debug)]
pub(crate) struct AttributeColumns {
    scope: Scope,
    columns: Vec<AttributeColumn>,
    index: HashTable<u32>,
    hasher: FixedState,
    /// The column that a record's first attribute had last time.
    first: u32,
    /// Attributes without a column.
    rest: TextColumn,
    rest_rows: Vec<u32>,
    scratch: String,
    bytes: usize,
    wanted: WantedColumns,
}

/// The columns of attributes that readers of the log want, asked once each.
#[derive(Debug, Default)]
struct WantedColumns {
    /// Of the wishes, and how many columns were asked about.
    asked: (u64, usize),
    columns: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl AttributeColumns {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            columns: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::default(),
            first: NONE,
            rest: TextColumn::plain(),
            rest_rows: Vec::new(),
            scratch: String::new(),
            bytes: 0,
            wanted: WantedColumns::default(),
        }
    }

    /// Appends a record's attributes as row `row`. Of a key that occurs twice the first value is kept.
    pub(crate) fn push(&mut self, row: u32, attributes: &[Attr<'_>]) {
        let mut previous = NONE;
        self.scratch.clear();
        for attribute in attributes {
            let kind = attribute.value.value_type();
            let predicted = if previous == NONE { self.first } else { self.columns[previous as usize].next };
            let at = match self.columns.get(predicted as usize) {
                Some(c) if c.kind == kind && *c.key == *attribute.key => predicted,
                _ => {
                    let at = self.find_or_add(attribute.key, kind);
                    if at == NONE {
                        rest::append(&mut self.scratch, self.scope, attribute.key, &attribute.value);
                        continue;
                    }
                    if previous == NONE {
                        self.first = at;
                    } else {
                        self.columns[previous as usize].next = at;
                    }
                    at
                }
            };
            previous = at;
            if self.columns[at as usize].shared_key && self.has_key(row, attribute.key) {
                continue;
            }
            let column = &mut self.columns[at as usize];
            if column.rows.last() == Some(&row) {
                continue;
            }
            column.rows.push(row);
            match (&mut column.values, &attribute.value) {
                (Values::Text(c), Value::Str(s)) => {
                    self.bytes += s.len();
                    c.push(s);
                }
                (Values::Text(c), Value::Nested(s)) => {
                    self.bytes += s.len();
                    c.push(s);
                }
                (Values::Bool(c), Value::Bool(v)) => c.push(*v),
                (Values::Int(c), Value::Int(v)) => c.push(*v),
                (Values::Double(c), Value::Double(v)) => c.push(*v),
                (Values::Bytes(c), Value::Bytes(v)) => {
                    self.bytes += v.len();
                    c.push(v);
                }
                // The column was looked up by the value's type.
                _ => {
                    column.rows.pop();
                }
            }
        }
        if !self.scratch.is_empty() {
            self.scratch.push(']');
            self.bytes += self.scratch.len();
            self.rest.push(&self.scratch);
            self.rest_rows.push(row);
        }
    }

    /// Copies the attributes that are wished for of the rows from `from` on, for a request; row `from` is its span `first`.
    pub(crate) fn keep(&mut self, from: u32, first: u32, wishes: &Wishes<WantsSpans>, request: u64, kept: &mut KeptSpans) {
        if self.rest_rows.last().is_some_and(|row| *row >= from) {
            // Some of it is in no column.
            kept.give_up();
        }
        if self.wanted.asked.0 != wishes.version() {
            self.wanted = WantedColumns { asked: (wishes.version(), 0), columns: Vec::new() };
        }
        for at in self.wanted.asked.1..self.columns.len() {
            if wishes.attribute(self.columns[at].key.as_bytes()) {
                self.wanted.columns.push(at as u32);
            }
        }
        self.wanted.asked.1 = self.columns.len();
        for at in &self.wanted.columns {
            let column = &mut self.columns[*at as usize];
            if column.rows.last().is_none_or(|row| *row < from) {
                continue;
            }
            let values = column.rows.partition_point(|row| *row < from)..column.rows.len();
            let Some((copies, texts)) = kept.column(&column.key, column.kind) else { return };
            copies.reserve(values.len());
            let spans = column.rows[values.clone()].iter().map(|row| first + (row - from));
            match &mut column.values {
                Values::Text(text) => {
                    let is_nested = column.kind == ValueType::Nested;
                    let value = if is_nested { KeptValue::Nested } else { KeptValue::Text };
                    let mut spans = spans;
                    text.copy(values, request, texts, |number| {
                        if let Some(span) = spans.next() {
                            copies.push(span, value(number));
                        }
                    });
                }
                Values::Bool(v) => spans.zip(&v[values]).for_each(|(span, v)| copies.push(span, KeptValue::Bool(*v))),
                Values::Int(v) => spans.zip(&v[values]).for_each(|(span, v)| copies.push(span, KeptValue::Int(*v))),
                Values::Double(v) => spans.zip(&v[values]).for_each(|(span, v)| copies.push(span, KeptValue::Double(*v))),
                Values::Bytes(v) => {
                    spans.zip(values).for_each(|(span, at)| copies.push(span, KeptValue::Bytes(v.value(at).into())))
                }
            }
        }
    }

    fn has_key(&self, row: u32, key: &str) -> bool {
        ValueType::ALL
            .into_iter()
            .any(|kind| self.find(key, kind).is_some_and(|at| self.columns[at as usize].rows.last() == Some(&row)))
    }

    fn hash(&self, key: &str, kind: ValueType) -> u64 {
        self.hasher.hash_one((key, kind as u8))
    }

    fn find(&self, key: &str, kind: ValueType) -> Option<u32> {
        let hash = self.hash(key, kind);
        let columns = &self.columns;
        self.index.find(hash, |&at| columns[at as usize].kind == kind && *columns[at as usize].key == *key).copied()
    }

    #[cold]
    fn add(&mut self, key: &str, kind: ValueType) -> u32 {
        if self.columns.len() >= MAX_COLUMNS {
            return NONE;
        }
        let others: Vec<u32> = ValueType::ALL.into_iter().filter_map(|k| self.find(key, k)).collect();
        for &other in &others {
            self.columns[other as usize].shared_key = true;
        }
        let at = self.columns.len() as u32;
        self.columns.push(AttributeColumn {
            key: key.into(),
            kind,
            rows: Vec::new(),
            values: match kind {
                ValueType::Str | ValueType::Nested => Values::Text(TextColumn::new()),
                ValueType::Bool => Values::Bool(Vec::new()),
                ValueType::Int => Values::Int(Vec::new()),
                ValueType::Double => Values::Double(Vec::new()),
                ValueType::Bytes => Values::Bytes(BytesColumn::default()),
            },
            next: NONE,
            shared_key: !others.is_empty(),
        });
        let (columns, hasher) = (&self.columns, &self.hasher);
        let hash = hasher.hash_one((key, kind as u8));
        self.index.insert_unique(hash, at, |&i| {
            let c = &columns[i as usize];
            hasher.hash_one((&*c.key, c.kind as u8))
        });
        at
    }

    fn find_or_add(&mut self, key: &str, kind: ValueType) -> u32 {
        match self.find(key, kind) {
            Some(at) => at,
            None => self.add(key, kind),
        }
    }

    /// Bytes of text and byte strings taken, repeated ones included.
    pub(crate) fn text_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let columns: usize = self
            .columns
            .iter()
            .map(|c| {
                200 + c.rows.capacity() * 4
                    + match &c.values {
                        Values::Text(t) => t.memory(),
                        Values::Bool(v) => v.capacity(),
                        Values::Int(v) => v.capacity() * 8,
                        Values::Double(v) => v.capacity() * 8,
                        Values::Bytes(b) => b.memory(),
                    }
            })
            .sum();
        columns + self.rest.memory() + self.rest_rows.capacity() * 4
    }

    /// Appends the columns, each of `rows` rows, to `out`. `last` gives the buffers away.
    pub(crate) fn finish(&mut self, rows: usize, last: bool, out: &mut Vec<(ColumnId, ArrayRef)>) {
        let rare = self.rare(rows);
        let mut rest = RestRows::new(rows);
        for (i, column) in self.columns.iter_mut().enumerate() {
            if column.rows.is_empty() {
                continue;
            }
            let at = (column.rows.len() < rows).then_some(column.rows.as_slice());
            let array: ArrayRef = match &mut column.values {
                Values::Text(t) => t.finish(at, rows, last && !rare[i]),
                Values::Bytes(b) => b.finish(at, rows),
                Values::Bool(v) => {
                    let bits = match at {
                        None => BooleanBuffer::from_iter(v.iter().copied()),
                        Some(at) => BooleanBuffer::from_iter(spread(v, at, rows)),
                    };
                    Arc::new(BooleanArray::new(bits, at.and_then(|at| nulls_at(at, rows))))
                }
                Values::Int(v) => match at {
                    None => Arc::new(Int64Array::new(scalars(v, last), None)),
                    Some(at) => Arc::new(Int64Array::new(spread(v, at, rows).into(), nulls_at(at, rows))),
                },
                Values::Double(v) => match at {
                    None => Arc::new(Float64Array::new(scalars(v, last), None)),
                    Some(at) => Arc::new(Float64Array::new(spread(v, at, rows).into(), nulls_at(at, rows))),
                },
            };
            if rare[i] {
                rest.add(self.scope, &column.key, column.kind, &column.rows, &array);
            } else {
                out.push((ColumnId::Attribute(self.scope, column.key.clone(), column.kind), array));
            }
        }
        if !self.rest_rows.is_empty() || !rest.is_empty() {
            let kept = self.rest.finish(Some(&self.rest_rows), rows, false);
            out.push((ColumnId::Rest(RestOf::Record), rest.finish(&kept)));
        }
    }

    /// Which columns a sealed batch does not keep.
    fn rare(&self, rows: usize) -> Vec<bool> {
        let mut rare = vec![false; self.columns.len()];
        if self.columns.len() <= FREE_SEALED {
            return rare;
        }
        let mut by_rows: Vec<usize> = (0..self.columns.len()).collect();
        by_rows.sort_by_key(|&i| std::cmp::Reverse(self.columns[i].rows.len()));
        for (rank, &i) in by_rows.iter().enumerate() {
            rare[i] = rank >= MAX_SEALED || (rank >= FREE_SEALED && self.columns[i].rows.len() * 100 < rows);
        }
        rare
    }
}

fn spread<T: Copy + Default>(values: &[T], at: &[u32], rows: usize) -> Vec<T> {
    let mut out = vec![T::default(); rows];
    for (&v, &row) in values.iter().zip(at) {
        out[row as usize] = v;
    }
    out
}

/// Collects attributes of rare keys row by row, as the text of a rest column.
#[derive(Debug)]
pub(crate) struct RestRows {
    /// Text so far of each row that has any.
    texts: std::collections::BTreeMap<u32, String>,
    rows: usize,
}

impl RestRows {
    pub(crate) fn new(rows: usize) -> Self {
        Self { texts: std::collections::BTreeMap::new(), rows }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Adds the values that `array` has in the rows `at`.
    pub(crate) fn add(&mut self, scope: Scope, key: &str, kind: ValueType, at: &[u32], array: &ArrayRef) {
        for &row in at {
            if let Some(value) = rest::value_in(array, kind, row as usize) {
                rest::append(self.texts.entry(row).or_default(), scope, key, &value);
            }
        }
    }

    /// Adds the entries of an existing rest text (`[...]`) to a row.
    pub(crate) fn add_text(&mut self, row: u32, text: &str) {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or("");
        if inner.is_empty() {
            return;
        }
        let kept = self.texts.entry(row).or_default();
        kept.push(if kept.is_empty() { '[' } else { ',' });
        kept.push_str(inner);
    }

    /// The column: what was collected, united with `kept` (of the same number of rows).
    pub(crate) fn finish(mut self, kept: &ArrayRef) -> ArrayRef {
        if let Some(kept) = super::text::Texts::of(kept) {
            for row in 0..self.rows {
                if let Some(text) = kept.get(row) {
                    self.add_text(row as u32, text);
                }
            }
        }
        self.into_array()
    }

    /// The column of what was collected.
    pub(crate) fn into_array(self) -> ArrayRef {
        let mut column = TextColumn::plain();
        let mut at = Vec::with_capacity(self.texts.len());
        for (row, mut text) in self.texts {
            text.push(']');
            column.push(&text);
            at.push(row);
        }
        column.finish(Some(&at), self.rows, true)
    }
}
