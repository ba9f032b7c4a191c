//! The spans of a request, kept in memory for readers of the log that come a moment later.
//!
//! Whoever fills the columns walks each request anyway. Readers that want ids, times and a few attributes of it need not read
//! and walk it once more: a [`SpanKeeper`] beside the columns copies what they want, and [`KeptSpans::give`] calls their sinks
//! as a walk would.

use std::ops::Range;

use model::{Attr, Group, OwnedValue, Span, SpanId, Timestamp, TraceId, Value};

use crate::SpanSink;

/// Different names of attributes that are kept of a request's spans; a request with more is not kept.
const MAX_KEYS: usize = 64;
/// Bytes of text that are kept of a request; a request with more is not kept.
const MAX_TEXT: usize = 4 << 20;
/// Different names that are remembered while a request is walked, wanted or not.
const MAX_MET: usize = 256;

/// A stretch of the kept text.
#[derive(Debug, Clone, Copy, Default)]
struct Text {
    from: u32,
    to: u32,
}

#[derive(Debug)]
enum KeptValue {
    Text(Text),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// In a box, so that the others stay small.
    Other(Box<OwnedValue>),
}

#[derive(Debug)]
struct KeptGroup {
    /// In `resource`.
    resource: Range<u32>,
    /// In `spans`; as far as the next group.
    first: u32,
}

#[derive(Debug)]
struct KeptSpan {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: SpanId,
    start: Timestamp,
    end: Timestamp,
    kind: i32,
    status_code: i32,
    name: Text,
    status_message: Text,
    /// Bytes on the wire.
    size: u32,
    /// In `attributes`; as far as the next span's.
    first: u32,
}

/// How much room the spans of a request need; the next one most likely as much.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    text: usize,
    attributes: usize,
    spans: usize,
}

/// What is kept: of resources all attributes, of scopes nothing, of spans their ids, name, kind, times, status and size, and
/// those attributes that were wanted.
#[derive(Debug, Default)]
pub struct KeptSpans {
    text: String,
    resource: Vec<(Text, KeptValue)>,
    /// Names of the spans' attributes.
    keys: Vec<Text>,
    attributes: Vec<(u32, KeptValue)>,
    groups: Vec<KeptGroup>,
    spans: Vec<KeptSpan>,
}

impl KeptSpans {
    /// How many spans.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes that they take, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.text.capacity()
            + self.resource.capacity() * size_of::<(Text, KeptValue)>()
            + self.attributes.capacity() * size_of::<(u32, KeptValue)>()
            + self.groups.capacity() * size_of::<KeptGroup>()
            + self.spans.capacity() * size_of::<KeptSpan>()
    }

    /// How much room they need.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { text: self.text.len(), attributes: self.attributes.len(), spans: self.spans.len() }
    }

    fn text(&self, at: Text) -> &str {
        &self.text[at.from as usize..at.to as usize]
    }

    fn value<'k>(&'k self, value: &'k KeptValue) -> Value<'k> {
        match value {
            KeptValue::Text(at) => Value::Str(self.text(*at)),
            KeptValue::Bool(b) => Value::Bool(*b),
            KeptValue::Int(i) => Value::Int(*i),
            KeptValue::Double(d) => Value::Double(*d),
            KeptValue::Other(value) => value.as_value(),
        }
    }

    /// Ids and kind of each span, in the order of [`KeptSpans::give`].
    pub fn ids(&self) -> impl Iterator<Item = (TraceId, SpanId, i32)> + '_ {
        self.spans.iter().map(|span| (span.trace_id, span.span_id, span.kind))
    }

    /// Calls `sink` as the walk did, with what was kept.
    pub fn give<S: SpanSink + ?Sized>(&self, sink: &mut S) {
        let wanted: Vec<bool> = self.keys.iter().map(|key| sink.wants(self.text(*key).as_bytes())).collect();
        let mut attributes = Vec::new();
        for (at, group) in self.groups.iter().enumerate() {
            let (from, to) = (group.resource.start as usize, group.resource.end as usize);
            let resource: Vec<Attr<'_>> = self.resource[from..to]
                .iter()
                .map(|(key, value)| Attr { key: self.text(*key), value: self.value(value) })
                .collect();
            sink.group(&Group { resource: &resource, ..Group::default() });
            let end = self.groups.get(at + 1).map_or(self.spans.len(), |next| next.first as usize);
            for number in group.first as usize..end {
                let span = &self.spans[number];
                let last = self.spans.get(number + 1).map_or(self.attributes.len(), |next| next.first as usize);
                attributes.clear();
                for (key, value) in &self.attributes[span.first as usize..last] {
                    if wanted[*key as usize] {
                        attributes.push(Attr { key: self.text(self.keys[*key as usize]), value: self.value(value) });
                    }
                }
                sink.size(span.size as usize);
                sink.span(&Span {
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent_span_id: span.parent_span_id,
                    name: self.text(span.name),
                    kind: span.kind,
                    start: span.start,
                    end: span.end,
                    status_code: span.status_code,
                    status_message: self.text(span.status_message),
                    attributes: &attributes,
                    ..Span::default()
                });
            }
        }
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

/// An attribute's name that was met, in the keeper's `names`.
#[derive(Debug)]
struct Met {
    name: Text,
    /// Its number in [`KeptSpans::keys`], where it is wanted.
    number: Option<u32>,
    /// The name that followed it last time.
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Keeps the spans that pass by.
pub struct SpanKeeper<W> {
    kept: KeptSpans,
    wants: W,
    size: usize,
    too_much: bool,
    /// Nobody wants this group.
    passing: bool,
    names: String,
    met: Vec<Met>,
    /// The name that a span's first attribute had last time.
    first: u32,
}

impl<W: Wanted> SpanKeeper<W> {
    /// A keeper of what is wanted, with room for as much as `last` is: lists that grow by doubling are copied, and touch twice the
    /// memory that they need.
    pub fn new(wants: W, last: Room) -> Self {
        let kept = KeptSpans {
            text: String::with_capacity(last.text),
            attributes: Vec::with_capacity(last.attributes),
            spans: Vec::with_capacity(last.spans),
            ..KeptSpans::default()
        };
        let (size, too_much, passing) = (0, false, false);
        Self { kept, wants, size, too_much, passing, names: String::new(), met: Vec::new(), first: NONE }
    }

    /// What was kept; `None` where that is too much.
    #[must_use]
    pub fn finish(self) -> Option<KeptSpans> {
        (!self.too_much).then_some(self.kept)
    }

    fn keep_text(&mut self, text: &str) -> Text {
        let from = self.kept.text.len();
        if from + text.len() > MAX_TEXT {
            self.too_much = true;
            return Text::default();
        }
        self.kept.text.push_str(text);
        // No more than MAX_TEXT.
        Text { from: from as u32, to: self.kept.text.len() as u32 }
    }

    fn keep_value(&mut self, value: &Value<'_>) -> KeptValue {
        match value {
            Value::Str(text) => KeptValue::Text(self.keep_text(text)),
            Value::Bool(b) => KeptValue::Bool(*b),
            Value::Int(i) => KeptValue::Int(*i),
            Value::Double(d) => KeptValue::Double(*d),
            Value::Bytes(bytes) => KeptValue::Other(Box::new(OwnedValue::Bytes(bytes.to_vec()))),
            Value::Nested(json) => KeptValue::Other(Box::new(OwnedValue::Nested(json.clone().into_owned()))),
        }
    }

    /// The number of an attribute's name, where it is wanted. Spans of one kind repeat their names in the same order, so nearly
    /// always it is the name that followed `previous` last time: readers are asked once a name.
    #[inline]
    fn number(&mut self, previous: &mut u32, name: &str) -> Option<u32> {
        let predicted = self.met.get(*previous as usize).map_or(self.first, |met| met.next);
        let is = |met: &Met| self.names[met.name.from as usize..met.name.to as usize] == *name;
        let at = match self.met.get(predicted as usize) {
            Some(met) if is(met) => predicted,
            _ => {
                let at = match self.met.iter().position(is) {
                    Some(at) => at as u32,
                    None => self.meet(name),
                };
                match self.met.get_mut(*previous as usize) {
                    Some(met) => met.next = at,
                    None => self.first = at,
                }
                at
            }
        };
        *previous = at;
        self.met[at as usize].number
    }

    #[cold]
    fn meet(&mut self, name: &str) -> u32 {
        if self.met.len() >= MAX_MET {
            // Spans that all have names of their own: asking each time is no worse than looking through these.
            self.met.clear();
            self.names.clear();
            self.first = NONE;
        }
        let number = self.wants.attribute(name.as_bytes()).then(|| self.key(name));
        let from = self.names.len() as u32;
        self.names.push_str(name);
        self.met.push(Met { name: Text { from, to: self.names.len() as u32 }, number, next: NONE });
        (self.met.len() - 1) as u32
    }

    fn key(&mut self, name: &str) -> u32 {
        if let Some(at) = self.kept.keys.iter().position(|key| self.kept.text(*key) == name) {
            return at as u32;
        }
        if self.kept.keys.len() >= MAX_KEYS {
            self.too_much = true;
            return 0;
        }
        let name = self.keep_text(name);
        self.kept.keys.push(name);
        (self.kept.keys.len() - 1) as u32
    }
}

impl<W: Wanted> SpanSink for SpanKeeper<W> {
    fn group(&mut self, group: &Group<'_>) {
        self.passing = !self.wants.group(group);
        if self.passing {
            return;
        }
        let start = self.kept.resource.len() as u32;
        for attribute in group.resource {
            let pair = (self.keep_text(attribute.key), self.keep_value(&attribute.value));
            self.kept.resource.push(pair);
        }
        let resource = start..self.kept.resource.len() as u32;
        self.kept.groups.push(KeptGroup { resource, first: self.kept.spans.len() as u32 });
    }

    #[inline]
    fn size(&mut self, bytes: usize) {
        self.size = bytes;
    }

    fn wants_nested(&self) -> bool {
        false
    }

    #[inline]
    fn wants(&self, key: &[u8]) -> bool {
        self.wants.attribute(key)
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.too_much || self.passing {
            return;
        }
        let first = self.kept.attributes.len() as u32;
        let mut previous = NONE;
        for attribute in span.attributes {
            if let Some(number) = self.number(&mut previous, attribute.key) {
                let value = self.keep_value(&attribute.value);
                self.kept.attributes.push((number, value));
            }
        }
        let (name, status_message) = (self.keep_text(span.name), self.keep_text(span.status_message));
        self.kept.spans.push(KeptSpan {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            start: span.start,
            end: span.end,
            kind: span.kind,
            status_code: span.status_code,
            name,
            status_message,
            size: u32::try_from(self.size).unwrap_or(u32::MAX),
            first,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::TraceEncoder;
    use crate::{Encoding, Limits, walk_spans};

    /// Everything that a reader may ask, as text.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl SpanSink for Told {
        fn group(&mut self, group: &Group<'_>) {
            self.0.push(format!("{:?}", group.resource));
        }
        fn size(&mut self, bytes: usize) {
            self.0.push(bytes.to_string());
        }
        fn wants_nested(&self) -> bool {
            false
        }
        fn wants(&self, key: &[u8]) -> bool {
            key != b"noise" && key != b"other reader"
        }
        fn span(&mut self, span: &Span<'_>) {
            self.0.push(format!("{span:?}"));
        }
    }

    fn request(spans: usize, keys: usize, text: &str) -> Vec<u8> {
        let mut encoder = TraceEncoder::default();
        for service in ["shop", "cart"] {
            let resource = [Attr { key: "service.name", value: Value::Str(service) }, Attr { key: "cpus", value: Value::Int(8) }];
            encoder.group(&Group { resource: &resource, ..Group::default() });
            for i in 0..spans {
                let names: Vec<String> = (0..keys).map(|k| format!("key.{}", i * keys + k)).collect();
                let mut attributes = vec![
                    Attr { key: "noise", value: Value::Str("x") },
                    Attr { key: "db.name", value: Value::Str(text) },
                    Attr { key: "other reader", value: Value::Bool(true) },
                    Attr { key: "ratio", value: Value::Double(0.5) },
                ];
                attributes.extend(names.iter().map(|key| Attr { key, value: Value::Int(1) }));
                encoder.span(&Span {
                    trace_id: TraceId([i as u8 + 1; 16]),
                    span_id: SpanId([2; 8]),
                    parent_span_id: SpanId([3; 8]),
                    name: "GET /",
                    kind: 2,
                    start: 5,
                    end: 9,
                    status_code: 2,
                    status_message: "broken",
                    attributes: &attributes,
                    ..Span::default()
                });
            }
        }
        encoder.finish().expect("sound")
    }

    fn keep(body: &[u8]) -> Option<KeptSpans> {
        let mut keeper = SpanKeeper::new(|key: &[u8]| key != b"noise", Room::default());
        walk_spans(Encoding::OtlpTraces, body, &Limits::default(), &mut keeper).expect("sound");
        keeper.finish()
    }

    #[test]
    fn what_is_given_is_what_a_walk_tells() {
        let body = request(3, 2, "orders");
        let (mut walked, mut given) = (Told::default(), Told::default());
        walk_spans(Encoding::OtlpTraces, &body, &Limits::default(), &mut walked).expect("sound");
        let kept = keep(&body).expect("not too much");
        kept.give(&mut given);
        assert_eq!(walked.0, given.0);
        assert_eq!((kept.len(), walked.0.len()), (6, 2 + 6 * 2));
    }

    #[test]
    fn groups_that_nobody_wants_are_passed_over() {
        struct Shop;
        impl Wanted for Shop {
            fn group(&self, group: &Group<'_>) -> bool {
                group.resource.iter().any(|a| a.value == Value::Str("shop"))
            }
            fn attribute(&self, _: &[u8]) -> bool {
                true
            }
        }
        let mut keeper = SpanKeeper::new(Shop, Room::default());
        walk_spans(Encoding::OtlpTraces, &request(3, 2, ""), &Limits::default(), &mut keeper).expect("sound");
        let (kept, mut given) = (keeper.finish().expect("not too much"), Told::default());
        kept.give(&mut given);
        assert_eq!(kept.len(), 3);
        assert!(given.0[0].contains("shop") && !given.0.iter().any(|told| told.contains("cart")));
    }

    #[test]
    fn names_in_any_order_are_told_apart() {
        let names: Vec<String> = (0..2 * MAX_MET).map(|i| format!("name.{i}")).collect();
        let mut encoder = TraceEncoder::default();
        encoder.group(&Group::default());
        let mut wanted = Vec::new();
        for i in 0..40 {
            // Each span has a few of them, in an order of its own; every 32nd is wanted.
            let own = (0..30).map(|k| &names[(i * 131 + k * 37) % names.len()]);
            let attributes: Vec<Attr<'_>> = own.map(|key| Attr { key, value: Value::Str(key) }).collect();
            wanted.push(attributes.iter().map(|a| a.key.to_owned()).filter(|key| is_wanted(key.as_bytes())).collect::<Vec<_>>());
            let (trace_id, span_id) = (TraceId([1; 16]), SpanId([i as u8 + 1; 8]));
            encoder.span(&Span { trace_id, span_id, attributes: &attributes, ..Span::default() });
        }
        fn is_wanted(key: &[u8]) -> bool {
            let number = std::str::from_utf8(&key[5..]).ok().and_then(|n| n.parse::<usize>().ok());
            number.is_some_and(|n| n % 32 == 0)
        }
        #[derive(Default)]
        struct Pairs(Vec<Vec<String>>);
        impl SpanSink for Pairs {
            fn group(&mut self, _: &Group<'_>) {}
            fn span(&mut self, span: &Span<'_>) {
                assert!(span.attributes.iter().all(|a| a.value == Value::Str(a.key)));
                self.0.push(span.attributes.iter().map(|a| a.key.to_owned()).collect());
            }
        }
        let mut keeper = SpanKeeper::new(is_wanted, Room::default());
        let body = encoder.finish().expect("sound");
        walk_spans(Encoding::OtlpTraces, &body, &Limits::default(), &mut keeper).expect("sound");
        let mut given = Pairs::default();
        keeper.finish().expect("not too much").give(&mut given);
        assert_eq!(given.0, wanted);
    }

    #[test]
    fn too_many_names_and_too_much_text_are_not_kept() {
        assert!(keep(&request(2, 20, "")).is_some());
        assert!(keep(&request(2, 40, "")).is_none(), "more than {MAX_KEYS} names");
        assert!(keep(&request(1, 0, &"x".repeat(MAX_TEXT))).is_none());
    }
}
