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

/// A stretch of the kept text.
#[derive(Debug, Clone, Copy, Default)]
struct Text {
    from: u32,
    to: u32,
}

#[derive(Debug)]
enum KeptValue {
    Text(Text),
    Other(OwnedValue),
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

    fn text(&self, at: Text) -> &str {
        &self.text[at.from as usize..at.to as usize]
    }

    fn value<'k>(&'k self, value: &'k KeptValue) -> Value<'k> {
        match value {
            KeptValue::Text(at) => Value::Str(self.text(*at)),
            KeptValue::Other(value) => value.as_value(),
        }
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

/// Keeps the spans that pass by; `wants` says of which attributes.
pub struct SpanKeeper<W> {
    kept: KeptSpans,
    wants: W,
    size: usize,
    too_much: bool,
}

impl<W: Fn(&[u8]) -> bool> SpanKeeper<W> {
    /// A keeper of the attributes whose names `wants` accepts.
    pub fn new(wants: W) -> Self {
        Self { kept: KeptSpans::default(), wants, size: 0, too_much: false }
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
            Value::Bool(b) => KeptValue::Other(OwnedValue::Bool(*b)),
            Value::Int(i) => KeptValue::Other(OwnedValue::Int(*i)),
            Value::Double(d) => KeptValue::Other(OwnedValue::Double(*d)),
            Value::Bytes(bytes) => KeptValue::Other(OwnedValue::Bytes(bytes.to_vec())),
            Value::Nested(json) => KeptValue::Other(OwnedValue::Nested(json.clone().into_owned())),
        }
    }

    /// The number of an attribute's name.
    #[inline]
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

impl<W: Fn(&[u8]) -> bool> SpanSink for SpanKeeper<W> {
    fn group(&mut self, group: &Group<'_>) {
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
        (self.wants)(key)
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.too_much {
            return;
        }
        let first = self.kept.attributes.len() as u32;
        for attribute in span.attributes {
            if (self.wants)(attribute.key.as_bytes()) {
                let pair = (self.key(attribute.key), self.keep_value(&attribute.value));
                self.kept.attributes.push(pair);
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
        let mut keeper = SpanKeeper::new(|key: &[u8]| key != b"noise");
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
    fn too_many_names_and_too_much_text_are_not_kept() {
        assert!(keep(&request(2, 20, "")).is_some());
        assert!(keep(&request(2, 40, "")).is_none(), "more than {MAX_KEYS} names");
        assert!(keep(&request(1, 0, &"x".repeat(MAX_TEXT))).is_none());
    }
}
