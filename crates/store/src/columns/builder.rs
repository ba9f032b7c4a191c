//! Open rows: the columns that the walkers append to, until they are sealed into [`Rows`].

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, UInt8Array, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer};
use model::{Log, Scope, Span, Value};
use wire::{KeptSpans, Stretch};

use super::attributes::AttributeColumns;
use super::groups::Groups;
use super::id::ColumnId;
use super::nested;
use super::room::Room;
use super::rows::Rows;
use super::text::{TextColumn, nulls_at, scalars};
use crate::contract::{Field, Table};
use crate::recent::{WantsSpans, Wishes};

/// Rows of one tenant and hour that still grow.
#[derive(Debug)]
pub(crate) struct Builder {
    fields: Fields,
    attributes: AttributeColumns,
    groups: Groups,
    group: Vec<u32>,
    first: i64,
    last: i64,
    /// The group that the sink announced last, and its number here.
    current: (u64, u32),
    /// The last conversion, kept while no row was added.
    cached: Option<Arc<Rows>>,
}

#[derive(Debug)]
enum Fields {
    Spans(Box<SpanFields>),
    Logs(Box<LogFields>),
}

/// A text that most rows lack.
#[derive(Debug)]
struct Sparse {
    at: Vec<u32>,
    texts: TextColumn,
}

impl Sparse {
    fn new(texts: TextColumn) -> Self {
        Self { at: Vec::new(), texts }
    }

    #[inline]
    fn push(&mut self, row: u32, text: &str) {
        if !text.is_empty() {
            self.at.push(row);
            self.texts.push(text);
        }
    }

    fn memory(&self) -> usize {
        self.at.capacity() * 4 + self.texts.memory()
    }

    fn finish(&mut self, field: Field, rows: usize, last: bool, out: &mut Vec<(ColumnId, ArrayRef)>) {
        if self.at.is_empty() {
            return;
        }
        let at = (self.at.len() < rows).then_some(self.at.as_slice());
        out.push((ColumnId::Field(field), self.texts.finish(at, rows, last)));
    }
}

/// A number that is zero in most rows.
#[derive(Debug, Default)]
struct SparseNumbers {
    at: Vec<u32>,
    values: Vec<u32>,
}

impl SparseNumbers {
    #[inline]
    fn push(&mut self, row: u32, value: u32) {
        if value != 0 {
            self.at.push(row);
            self.values.push(value);
        }
    }

    fn finish(&self, field: Field, rows: usize, out: &mut Vec<(ColumnId, ArrayRef)>) {
        if self.at.is_empty() {
            return;
        }
        let mut all = vec![0u32; rows];
        self.at.iter().zip(&self.values).for_each(|(&row, &v)| all[row as usize] = v);
        let nulls = nulls_at(&self.at, rows);
        let array: ArrayRef = match field {
            Field::BodyType => Arc::new(UInt8Array::new(all.iter().map(|&v| v as u8).collect(), nulls)),
            _ => Arc::new(UInt32Array::new(all.into(), nulls)),
        };
        out.push((ColumnId::Field(field), array));
    }
}

#[derive(Debug)]
struct SpanFields {
    time: Vec<i64>,
    duration: Vec<i64>,
    trace: Vec<u8>,
    span: Vec<u8>,
    parent: Vec<u8>,
    name: TextColumn,
    kind: Vec<i32>,
    status: Vec<i32>,
    message: Sparse,
    state: Sparse,
    events: Sparse,
    links: Sparse,
    flags: SparseNumbers,
    dropped: [SparseNumbers; 3],
    scratch: String,
}

#[derive(Debug)]
struct LogFields {
    time: Vec<i64>,
    /// Empty, as the next three are, while all of it would be nothing: lines of Loki have none of it.
    observed: Vec<i64>,
    severity: Vec<i32>,
    severity_text: Sparse,
    body: TextColumn,
    body_type: SparseNumbers,
    event: Sparse,
    trace: Vec<u8>,
    span: Vec<u8>,
    flags: SparseNumbers,
    dropped: SparseNumbers,
    scratch: String,
}

impl Builder {
    /// An empty builder for a table.
    pub(crate) fn new(table: Table) -> Self {
        Self::after(table, None, &Arc::default())
    }

    /// The builder that follows `full`, with room for as many rows and as much text: columns that grow by doubling touch,
    /// and copy, twice the memory that they need. The memory of bodies comes from `bodies`, and goes back there.
    pub(crate) fn after(table: Table, full: Option<&Self>, bodies: &Arc<Room>) -> Self {
        let rows = full.map_or(0, Self::len);
        let body = match full.map(|f| &f.fields) {
            Some(Fields::Logs(f)) => TextColumn::plain_like(&f.body, bodies),
            _ => TextColumn::plain_in(bodies),
        };
        let room = |of: fn(&LogFields) -> usize| match full.map(|f| &f.fields) {
            Some(Fields::Logs(f)) => of(f),
            _ => 0,
        };
        let sparse = || Sparse::new(TextColumn::new());
        let fields = match table {
            Table::Spans => Fields::Spans(Box::new(SpanFields {
                time: Vec::with_capacity(rows),
                duration: Vec::with_capacity(rows),
                trace: Vec::with_capacity(rows * 16),
                span: Vec::with_capacity(rows * 8),
                parent: Vec::with_capacity(rows * 8),
                name: TextColumn::new(),
                kind: Vec::with_capacity(rows),
                status: Vec::with_capacity(rows),
                message: sparse(),
                state: sparse(),
                events: Sparse::new(TextColumn::plain()),
                links: Sparse::new(TextColumn::plain()),
                flags: SparseNumbers::default(),
                dropped: Default::default(),
                scratch: String::new(),
            })),
            Table::Logs => Fields::Logs(Box::new(LogFields {
                time: Vec::with_capacity(rows),
                observed: Vec::with_capacity(room(|f| f.observed.len())),
                severity: Vec::with_capacity(room(|f| f.severity.len())),
                severity_text: sparse(),
                body,
                body_type: SparseNumbers::default(),
                event: sparse(),
                trace: Vec::with_capacity(room(|f| f.trace.len())),
                span: Vec::with_capacity(room(|f| f.span.len())),
                flags: SparseNumbers::default(),
                dropped: SparseNumbers::default(),
                scratch: String::new(),
            })),
        };
        Self {
            fields,
            attributes: AttributeColumns::new(Scope::Record),
            groups: Groups::default(),
            group: Vec::with_capacity(rows),
            first: i64::MAX,
            last: i64::MIN,
            current: (0, 0),
            cached: None,
        }
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.group.len()
    }

    /// The times of the first and the last row.
    pub(crate) fn times(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    /// Names the group of the rows that follow. `serial` is different for each announcement.
    #[inline]
    pub(crate) fn group(&mut self, serial: u64, hash: u64, bytes: &[u8]) {
        if self.current.0 != serial {
            self.current = (serial, self.groups.intern(hash, bytes));
        }
    }

    fn row(&mut self, time: i64) -> u32 {
        let row = self.group.len() as u32;
        self.group.push(self.current.1);
        self.first = self.first.min(time);
        self.last = self.last.max(time);
        self.cached = None;
        row
    }

    /// Appends a span (builders of spans only).
    pub(crate) fn span(&mut self, span: &Span<'_>) {
        let row = self.row(span.start);
        let Fields::Spans(f) = &mut self.fields else { return };
        f.time.push(span.start);
        f.duration.push(span.end.saturating_sub(span.start));
        f.trace.extend_from_slice(&span.trace_id.0);
        f.span.extend_from_slice(&span.span_id.0);
        f.parent.extend_from_slice(&span.parent_span_id.0);
        f.name.push(span.name);
        f.kind.push(span.kind);
        f.status.push(span.status_code);
        f.message.push(row, span.status_message);
        f.state.push(row, span.trace_state);
        f.flags.push(row, span.flags);
        f.dropped[0].push(row, span.dropped_attributes);
        f.dropped[1].push(row, span.dropped_events);
        f.dropped[2].push(row, span.dropped_links);
        if !span.events.is_empty() {
            nested::write_events(span, &mut f.scratch);
            f.events.push(row, &f.scratch);
        }
        if !span.links.is_empty() {
            nested::write_links(span, &mut f.scratch);
            f.links.push(row, &f.scratch);
        }
        self.attributes.push(row, span.attributes);
    }

    /// Copies what is wished for of the spans from row `from` on, for a request (builders of spans only).
    pub(crate) fn keep(&mut self, from: usize, wishes: &Wishes<WantsSpans>, request: u64, kept: &mut KeptSpans) {
        let Fields::Spans(f) = &mut self.fields else { return };
        let first = kept.extend(&Stretch {
            trace_ids: &f.trace[from * 16..],
            span_ids: &f.span[from * 8..],
            parent_span_ids: &f.parent[from * 8..],
            starts: &f.time[from..],
            durations: &f.duration[from..],
            kinds: &f.kind[from..],
            status_codes: &f.status[from..],
        });
        let (names, name_of) = kept.names_mut();
        f.name.copy(from..self.group.len(), request, names, |number| name_of.push(number));
        let from = from as u32;
        let messages = f.message.at.partition_point(|row| *row < from);
        for (at, row) in f.message.at.iter().enumerate().skip(messages) {
            kept.message(first + (row - from), f.message.texts.value(at));
        }
        self.attributes.keep(from, first, wishes, request, kept);
    }

    /// Appends a log record (builders of logs only).
    pub(crate) fn log(&mut self, log: &Log<'_>) {
        let row = self.row(log.time);
        let Fields::Logs(f) = &mut self.fields else { return };
        let before = f.time.len();
        f.time.push(log.time);
        if log.observed != 0 || !f.observed.is_empty() {
            f.observed.resize(before, 0);
            f.observed.push(log.observed);
        }
        if log.severity_number != 0 || !f.severity.is_empty() {
            f.severity.resize(before, 0);
            f.severity.push(log.severity_number);
        }
        f.severity_text.push(row, log.severity_text);
        match &log.body {
            Value::Str(line) => f.body.push(line),
            other => {
                f.scratch.clear();
                nested::any_value(&mut f.scratch, other);
                f.body.push(&f.scratch);
                f.body_type.push(row, other.value_type() as u32);
            }
        }
        f.event.push(row, log.event_name);
        if !log.trace_id.is_none() || !log.span_id.is_none() || !f.trace.is_empty() {
            f.trace.resize(before * 16, 0);
            f.span.resize(before * 8, 0);
            f.trace.extend_from_slice(&log.trace_id.0);
            f.span.extend_from_slice(&log.span_id.0);
        }
        f.flags.push(row, log.flags);
        f.dropped.push(row, log.dropped_attributes);
        if !log.attributes.is_empty() {
            self.attributes.push(row, log.attributes);
        }
    }

    /// Bytes held, roughly.
    pub(crate) fn memory(&self) -> usize {
        let fields = match &self.fields {
            Fields::Spans(f) => {
                f.time.capacity() * 24
                    + f.trace.capacity()
                    + f.span.capacity() * 2
                    + f.name.memory()
                    + f.message.memory()
                    + f.state.memory()
                    + f.events.memory()
                    + f.links.memory()
            }
            Fields::Logs(f) => {
                f.time.capacity() * 8
                    + f.observed.capacity() * 8
                    + f.severity.capacity() * 4
                    + f.trace.capacity()
                    + f.span.capacity()
                    + f.body.memory()
                    + f.severity_text.memory()
                    + f.event.memory()
            }
        };
        let cached = self.cached.as_ref().map_or(0, |rows| rows.memory());
        fields + self.attributes.memory() + self.groups.memory() + self.group.capacity() * 4 + cached
    }

    /// Bytes of text that one Arrow array would hold; the owner seals long before 2 GiB.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.fields {
            Fields::Spans(f) => f.events.texts.text_bytes() + f.links.texts.text_bytes() + self.attributes.text_bytes(),
            Fields::Logs(f) => f.body.text_bytes() + self.attributes.text_bytes(),
        }
    }

    /// The rows so far, as immutable columns; the builder goes on.
    pub(crate) fn snapshot(&mut self) -> Arc<Rows> {
        if let Some(rows) = &self.cached {
            return rows.clone();
        }
        let rows = Arc::new(self.finish(false));
        self.cached = Some(rows.clone());
        rows
    }

    /// The rows, as immutable columns; the builder is spent.
    pub(crate) fn seal(mut self) -> Arc<Rows> {
        match self.cached.take() {
            Some(rows) => rows,
            None => Arc::new(self.finish(true)),
        }
    }

    fn finish(&mut self, last: bool) -> Rows {
        let rows = self.group.len();
        let mut out: Vec<(ColumnId, ArrayRef)> = Vec::with_capacity(48);
        let logs = match &mut self.fields {
            Fields::Spans(f) => {
                f.finish(rows, last, &mut out);
                false
            }
            Fields::Logs(f) => {
                f.finish(rows, last, &mut out);
                true
            }
        };
        self.attributes.finish(rows, last, &mut out);
        let by_group = self.groups.columns(logs);
        let group = UInt32Array::new(scalars(&mut self.group, last), None);
        Rows::new(rows, out, by_group, group, self.first, self.last)
    }
}

fn int64(values: &mut Vec<i64>, last: bool) -> ArrayRef {
    Arc::new(Int64Array::new(scalars(values, last), None))
}

fn int32(values: &mut Vec<i32>, last: bool) -> ArrayRef {
    Arc::new(Int32Array::new(scalars(values, last), None))
}

/// Ids, all zeros meaning none.
fn ids(width: usize, bytes: &mut Vec<u8>, last: bool) -> ArrayRef {
    let valid: Vec<bool> = bytes.chunks_exact(width).map(|id| id.iter().any(|&b| b != 0)).collect();
    let nulls = (!valid.iter().all(|&v| v)).then(|| NullBuffer::from(valid));
    let buffer = if last { Buffer::from_vec(std::mem::take(bytes)) } else { Buffer::from_slice_ref(&*bytes) };
    Arc::new(FixedSizeBinaryArray::new(width as i32, buffer, nulls))
}

impl SpanFields {
    fn finish(&mut self, rows: usize, last: bool, out: &mut Vec<(ColumnId, ArrayRef)>) {
        let field = ColumnId::Field;
        out.push((field(Field::Time), int64(&mut self.time, last)));
        out.push((field(Field::Duration), int64(&mut self.duration, last)));
        out.push((field(Field::TraceId), ids(16, &mut self.trace, last)));
        out.push((field(Field::SpanId), ids(8, &mut self.span, last)));
        out.push((field(Field::ParentSpanId), ids(8, &mut self.parent, last)));
        out.push((field(Field::Name), self.name.finish(None, rows, last)));
        out.push((field(Field::Kind), int32(&mut self.kind, last)));
        out.push((field(Field::StatusCode), int32(&mut self.status, last)));
        self.message.finish(Field::StatusMessage, rows, last, out);
        self.state.finish(Field::TraceState, rows, last, out);
        self.events.finish(Field::Events, rows, last, out);
        self.links.finish(Field::Links, rows, last, out);
        self.flags.finish(Field::Flags, rows, out);
        let [attributes, events, links] = &self.dropped;
        attributes.finish(Field::DroppedAttributes, rows, out);
        events.finish(Field::DroppedEvents, rows, out);
        links.finish(Field::DroppedLinks, rows, out);
    }
}

impl LogFields {
    fn finish(&mut self, rows: usize, last: bool, out: &mut Vec<(ColumnId, ArrayRef)>) {
        let field = ColumnId::Field;
        out.push((field(Field::Time), int64(&mut self.time, last)));
        if !self.observed.is_empty() {
            out.push((field(Field::Observed), int64(&mut self.observed, last)));
        }
        if !self.severity.is_empty() {
            out.push((field(Field::SeverityNumber), int32(&mut self.severity, last)));
        }
        self.severity_text.finish(Field::SeverityText, rows, last, out);
        out.push((field(Field::Body), self.body.finish(None, rows, last)));
        self.body_type.finish(Field::BodyType, rows, out);
        self.event.finish(Field::EventName, rows, last, out);
        if !self.trace.is_empty() {
            out.push((field(Field::TraceId), ids(16, &mut self.trace, last)));
            out.push((field(Field::SpanId), ids(8, &mut self.span, last)));
        }
        self.flags.finish(Field::Flags, rows, out);
        self.dropped.finish(Field::DroppedAttributes, rows, out);
    }
}
