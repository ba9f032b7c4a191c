//! The spans of a request, kept in memory for readers of the log that come a moment later.
//!
//! Whoever fills the columns walks each request anyway. Readers that want ids, times and a few attributes of it need not read
//! and walk it once more: what they want is copied from there into columns of the request's own, each text once, so that a reader
//! looks at a name once and not with every span of that name. [`KeptSpans::give`] calls a sink as a walk would.

mod keeper;
mod resource;

use std::ops::Range;
use std::sync::Arc;

use model::{Attr, Group, Span, SpanId, Timestamp, TraceId, Value, ValueType};

use crate::SpanSink;

pub use keeper::SpanKeeper;
pub use resource::KeptResource;

/// Columns of attributes that are kept of a request's spans; a request with more is not kept.
const MAX_COLUMNS: usize = 64;
/// Bytes of text that are kept of a request; a request with more is not kept.
const MAX_TEXT: usize = 4 << 20;

/// Texts by number, each as often as it was added.
#[derive(Debug, Default)]
pub struct Texts {
    bytes: String,
    ends: Vec<u32>,
}

impl Texts {
    /// Adds one; its number.
    #[inline]
    pub fn push(&mut self, text: &str) -> u32 {
        self.bytes.push_str(text);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        (self.ends.len() - 1) as u32
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// One of them; nothing for a number that was not given out.
    #[inline]
    #[must_use]
    pub fn get(&self, number: u32) -> &str {
        let at = number as usize;
        let from = at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let to = self.ends.get(at).map_or(from, |end| *end as usize);
        self.bytes.get(from..to).unwrap_or("")
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|number| self.get(number))
    }

    /// Bytes held.
    fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// A value of an attribute; texts are numbers of [`KeptSpans::texts`].
#[derive(Debug)]
pub enum KeptValue {
    /// Text.
    Text(u32),
    /// What is nested, as text.
    Nested(u32),
    /// Truth.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Bytes; in a box, so that the others stay small.
    Bytes(Box<[u8]>),
}

/// The attributes of one name and type.
#[derive(Debug)]
pub struct KeptColumn {
    /// In [`KeptSpans::texts`].
    key: u32,
    kind: ValueType,
    /// The spans that have one, ascending.
    at: Vec<u32>,
    values: Vec<KeptValue>,
}

impl KeptColumn {
    /// So many are to be added.
    pub fn reserve(&mut self, more: usize) {
        self.at.reserve(more);
        self.values.reserve(more);
    }

    /// Adds the attribute of a span behind those that have one already.
    #[inline]
    pub fn push(&mut self, span: u32, value: KeptValue) {
        self.at.push(span);
        self.values.push(value);
    }
}

#[derive(Debug)]
struct KeptGroup {
    resource: Arc<KeptResource>,
    /// Its first span; as far as the next group's.
    first: u32,
}

/// Spans that stand in a table's columns one behind the other, to be copied.
#[derive(Debug)]
pub struct Stretch<'c> {
    /// 16 bytes a span.
    pub trace_ids: &'c [u8],
    /// 8 bytes a span.
    pub span_ids: &'c [u8],
    /// 8 bytes a span, zeros for none.
    pub parent_span_ids: &'c [u8],
    /// When each began.
    pub starts: &'c [Timestamp],
    /// How long each took.
    pub durations: &'c [i64],
    /// `Span.SpanKind` of each.
    pub kinds: &'c [i32],
    /// `Status.StatusCode` of each.
    pub status_codes: &'c [i32],
}

/// What is kept: of resources all attributes, of scopes nothing, of spans their ids, name, kind, times, status and size, and
/// those attributes that were wanted.
#[derive(Debug, Default)]
pub struct KeptSpans {
    /// Names of spans.
    names: Texts,
    /// All other texts.
    texts: Texts,
    groups: Vec<KeptGroup>,
    /// Bytes of the groups' resources, those of one that has several groups as often.
    resources: usize,
    trace_ids: Vec<u8>,
    span_ids: Vec<u8>,
    parent_span_ids: Vec<u8>,
    starts: Vec<Timestamp>,
    durations: Vec<i64>,
    kinds: Vec<i32>,
    status_codes: Vec<i32>,
    sizes: Vec<u32>,
    name_of: Vec<u32>,
    /// Few have one: which, and in `texts`.
    messages: Vec<(u32, u32)>,
    columns: Vec<KeptColumn>,
    /// Columns of an earlier request: their memory is used again.
    spare: Vec<KeptColumn>,
    too_much: bool,
}

impl KeptSpans {
    /// Forgets all of it, and keeps its memory for the next request: lists that grow by doubling are copied, and memory that is freed by
    /// another thread than had it is dear.
    pub fn clear(&mut self) {
        self.names.clear();
        self.texts.clear();
        self.groups.clear();
        self.resources = 0;
        self.trace_ids.clear();
        self.span_ids.clear();
        self.parent_span_ids.clear();
        self.starts.clear();
        self.durations.clear();
        self.kinds.clear();
        self.status_codes.clear();
        self.sizes.clear();
        self.name_of.clear();
        self.messages.clear();
        // In the order in which they are taken again: most likely for the same names.
        for mut column in self.columns.drain(..).rev() {
            column.at.clear();
            column.values.clear();
            self.spare.push(column);
        }
        self.too_much = false;
    }

    /// How many spans.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes that they take, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let columns = self.columns.iter().chain(&self.spare);
        let columns = columns.map(|c| 64 + c.at.capacity() * 4 + c.values.capacity() * size_of::<KeptValue>());
        size_of::<Self>()
            + self.names.memory()
            + self.texts.memory()
            + self.resources
            + self.groups.capacity() * size_of::<KeptGroup>()
            + self.starts.capacity() * (16 + 8 + 8 + 8 + 8 + 4 + 4 + 4 + 4)
            + self.messages.capacity() * 8
            + columns.sum::<usize>()
    }

    /// It is not all there: whoever needs it reads the request.
    pub fn give_up(&mut self) {
        self.too_much = true;
    }

    /// Whether it is all there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.too_much && self.names.bytes.len() + self.texts.bytes.len() + self.resources <= MAX_TEXT
    }

    /// Whose the spans that follow are.
    pub fn group(&mut self, resource: Arc<KeptResource>) {
        self.resources += resource.memory();
        // Sizes are told as spans come, which may be copied later.
        self.groups.push(KeptGroup { resource, first: self.sizes.len() as u32 });
    }

    /// A span of the group comes, of so many bytes on the wire.
    #[inline]
    pub fn size(&mut self, bytes: usize) {
        self.sizes.push(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Adds spans; the number of the first. Their names, messages and attributes are to be added besides.
    pub fn extend(&mut self, stretch: &Stretch<'_>) -> u32 {
        let first = self.starts.len() as u32;
        self.trace_ids.extend_from_slice(stretch.trace_ids);
        self.span_ids.extend_from_slice(stretch.span_ids);
        self.parent_span_ids.extend_from_slice(stretch.parent_span_ids);
        self.starts.extend_from_slice(stretch.starts);
        self.durations.extend_from_slice(stretch.durations);
        self.kinds.extend_from_slice(stretch.kinds);
        self.status_codes.extend_from_slice(stretch.status_codes);
        first
    }

    /// The spans' names, and which each has: to be added to, in the order of the spans.
    pub fn names_mut(&mut self) -> (&mut Texts, &mut Vec<u32>) {
        (&mut self.names, &mut self.name_of)
    }

    /// The message of a span's status.
    pub fn message(&mut self, span: u32, text: &str) {
        let number = self.texts.push(text);
        self.messages.push((span, number));
    }

    /// The attributes of a name and a type, to be added to, and the texts that they have. `None` where there are too many already.
    pub fn column(&mut self, key: &str, kind: ValueType) -> Option<(&mut KeptColumn, &mut Texts)> {
        let found = self.columns.iter().position(|c| c.kind == kind && self.texts.get(c.key) == key);
        let at = match found {
            Some(at) => at,
            None if self.columns.len() >= MAX_COLUMNS => {
                self.too_much = true;
                return None;
            }
            None => {
                let key = self.texts.push(key);
                let (at, values) = self.spare.pop().map(|spare| (spare.at, spare.values)).unwrap_or_default();
                self.columns.push(KeptColumn { key, kind, at, values });
                self.columns.len() - 1
            }
        };
        Some((&mut self.columns[at], &mut self.texts))
    }

    /// Names of spans, each once for as long as one thread of columns had it.
    #[must_use]
    pub fn names(&self) -> &Texts {
        &self.names
    }

    /// The number of each span's name.
    #[must_use]
    pub fn name_numbers(&self) -> &[u32] {
        &self.name_of
    }

    /// Ids and kind of each span.
    pub fn ids(&self) -> impl Iterator<Item = (TraceId, SpanId, i32)> + '_ {
        let traces = self.trace_ids.as_chunks::<16>().0.iter();
        let spans = self.span_ids.as_chunks::<8>().0.iter();
        traces.zip(spans).zip(&self.kinds).map(|((trace, span), kind)| (TraceId(*trace), SpanId(*span), *kind))
    }

    fn value<'k>(&'k self, value: &'k KeptValue) -> Value<'k> {
        match value {
            KeptValue::Text(number) => Value::Str(self.texts.get(*number)),
            KeptValue::Nested(number) => Value::Nested(self.texts.get(*number).into()),
            KeptValue::Bool(b) => Value::Bool(*b),
            KeptValue::Int(i) => Value::Int(*i),
            KeptValue::Double(d) => Value::Double(*d),
            KeptValue::Bytes(bytes) => Value::Bytes((&**bytes).into()),
        }
    }

    /// The groups: their resources, and which spans are theirs.
    pub fn groups(&self) -> impl Iterator<Item = (&KeptResource, Range<usize>)> {
        self.groups.iter().enumerate().map(|(at, group)| {
            let end = self.groups.get(at + 1).map_or(self.len(), |next| next.first as usize);
            (&*group.resource, group.first as usize..end)
        })
    }

    /// The attributes of spans, those of the names that `wants` says.
    pub fn attributes(&self, wants: impl Fn(&[u8]) -> bool) -> KeptAttributes<'_> {
        let columns = self.columns.iter().filter(|c| wants(self.texts.get(c.key).as_bytes()));
        KeptAttributes { kept: self, columns: columns.map(|c| (c, 0)).collect(), list: Vec::new(), messages: 0 }
    }

    /// Calls `sink` as the walk did, with what was kept; attributes come in an order of their own.
    pub fn give<S: SpanSink + ?Sized>(&self, sink: &mut S) {
        let mut attributes = self.attributes(|name| sink.wants(name));
        for (resource, spans) in self.groups() {
            sink.group(&Group { resource: &resource.attributes(), ..Group::default() });
            for span in spans {
                sink.size(self.sizes[span] as usize);
                sink.span(&attributes.span(span));
            }
        }
    }

    /// The trace of a span.
    #[inline]
    #[must_use]
    pub fn trace_id(&self, span: usize) -> TraceId {
        TraceId(self.trace_ids.as_chunks().0[span])
    }

    /// The id of a span, and its parent's.
    #[inline]
    #[must_use]
    pub fn span_ids(&self, span: usize) -> (SpanId, SpanId) {
        (SpanId(self.span_ids.as_chunks().0[span]), SpanId(self.parent_span_ids.as_chunks().0[span]))
    }

    /// `Span.SpanKind` of a span.
    #[inline]
    #[must_use]
    pub fn kind(&self, span: usize) -> i32 {
        self.kinds[span]
    }

    /// Whether a span has no parent.
    #[inline]
    #[must_use]
    pub fn is_root(&self, span: usize) -> bool {
        self.parent_span_ids.as_chunks::<8>().0[span] == [0; 8]
    }

    /// When a span began and ended.
    #[inline]
    #[must_use]
    pub fn times(&self, span: usize) -> (Timestamp, Timestamp) {
        let start = self.starts[span];
        (start, start.saturating_add(self.durations[span]))
    }

    /// `Status.StatusCode` of a span.
    #[inline]
    #[must_use]
    pub fn status_code(&self, span: usize) -> i32 {
        self.status_codes[span]
    }

    /// The name of a span.
    #[inline]
    #[must_use]
    pub fn name(&self, span: usize) -> &str {
        self.names.get(self.name_of[span])
    }

    /// A span without its attributes, and without its status' message.
    #[inline]
    #[must_use]
    pub fn bare(&self, span: usize) -> Span<'_> {
        let (start, end) = self.times(span);
        let (span_id, parent_span_id) = self.span_ids(span);
        Span {
            trace_id: self.trace_id(span),
            span_id,
            parent_span_id,
            name: self.name(span),
            kind: self.kinds[span],
            start,
            end,
            status_code: self.status_codes[span],
            ..Span::default()
        }
    }

    /// Bytes of a span on the wire.
    #[inline]
    #[must_use]
    pub fn size_of(&self, span: usize) -> usize {
        self.sizes[span] as usize
    }
}

/// Goes through the attributes of spans.
#[derive(Debug)]
pub struct KeptAttributes<'k> {
    kept: &'k KeptSpans,
    /// Columns, and how far each was read.
    columns: Vec<(&'k KeptColumn, usize)>,
    list: Vec<Attr<'k>>,
    /// Status messages read.
    messages: usize,
}

impl<'k> KeptAttributes<'k> {
    /// Whether no span has any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Those of a span, of a higher number than the one before.
    #[inline]
    pub fn of(&mut self, span: usize) -> &[Attr<'k>] {
        let kept = self.kept;
        self.list.clear();
        for (column, read) in &mut self.columns {
            while let Some(at) = column.at.get(*read).filter(|at| **at as usize <= span) {
                if *at as usize == span {
                    self.list.push(Attr { key: kept.texts.get(column.key), value: kept.value(&column.values[*read]) });
                }
                *read += 1;
            }
        }
        &self.list
    }

    /// A span with them, of a higher number than the one before.
    #[inline]
    pub fn span(&mut self, number: usize) -> Span<'_> {
        let kept = self.kept;
        let mut message = "";
        while let Some((at, text)) = kept.messages.get(self.messages).filter(|(at, _)| *at as usize <= number) {
            if *at as usize == number {
                message = kept.texts.get(*text);
            }
            self.messages += 1;
        }
        Span { status_message: message, attributes: self.of(number), ..kept.bare(number) }
    }
}

/// A value that is kept; its texts among `texts`.
fn keep(texts: &mut Texts, value: &Value<'_>) -> KeptValue {
    match value {
        Value::Str(text) => KeptValue::Text(texts.push(text)),
        Value::Nested(json) => KeptValue::Nested(texts.push(json)),
        Value::Bool(b) => KeptValue::Bool(*b),
        Value::Int(i) => KeptValue::Int(*i),
        Value::Double(d) => KeptValue::Double(*d),
        Value::Bytes(bytes) => KeptValue::Bytes((&**bytes).into()),
    }
}

/// What readers want to hear of spans; the same answer to the same question.
pub trait Wanted {
    /// Whether anything of the spans of this group.
    fn group(&self, _group: &Group<'_>) -> bool {
        true
    }

    /// Whether the spans' attributes of this name.
    fn attribute(&self, name: &[u8]) -> bool;
}

/// Attributes alone.
impl<F: Fn(&[u8]) -> bool> Wanted for F {
    fn attribute(&self, name: &[u8]) -> bool {
        self(name)
    }
}
