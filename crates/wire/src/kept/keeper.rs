//! The plain way to keep spans.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Group, Span};

use super::{KeptResource, KeptSpans, Stretch, Wanted, keep};
use crate::SpanSink;

/// Keeps the spans that pass by, where there are no columns to copy them from: slower than a table, and to the same effect. What a
/// table copies is held against it, and tests and examples of the readers take it in a table's place; the server does not use it.
pub struct SpanKeeper<W> {
    kept: KeptSpans,
    wants: W,
    size: usize,
    /// Nobody wants this group.
    passing: bool,
    names: HashMap<String, u32>,
}

impl<W: Wanted> SpanKeeper<W> {
    /// A keeper of what is wanted.
    pub fn new(wants: W) -> Self {
        Self { kept: KeptSpans::default(), wants, size: 0, passing: false, names: HashMap::new() }
    }

    /// What was kept; `None` where that is too much.
    #[must_use]
    pub fn finish(self) -> Option<KeptSpans> {
        self.kept.is_whole().then_some(self.kept)
    }
}

impl<W: Wanted> SpanSink for SpanKeeper<W> {
    fn group(&mut self, group: &Group<'_>) {
        self.passing = !self.wants.group(group);
        if !self.passing {
            self.kept.group(Arc::new(KeptResource::new(0, group.resource)));
        }
    }

    fn size(&mut self, bytes: usize) {
        self.size = bytes;
    }

    fn wants_nested(&self) -> bool {
        false
    }

    fn wants(&self, key: &[u8]) -> bool {
        self.wants.attribute(key)
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.passing || !self.kept.is_whole() {
            return;
        }
        let number = self.kept.extend(&Stretch {
            trace_ids: &span.trace_id.0,
            span_ids: &span.span_id.0,
            parent_span_ids: &span.parent_span_id.0,
            starts: &[span.start],
            durations: &[span.end.saturating_sub(span.start)],
            kinds: &[span.kind],
            status_codes: &[span.status_code],
        });
        self.kept.size(self.size);
        let (names, name_of) = self.kept.names_mut();
        name_of.push(*self.names.entry(span.name.to_owned()).or_insert_with(|| names.push(span.name)));
        if !span.status_message.is_empty() {
            self.kept.message(number, span.status_message);
        }
        for (at, attribute) in span.attributes.iter().enumerate() {
            // Of a key that occurs twice the first value counts.
            let again = span.attributes[..at].iter().any(|before| before.key == attribute.key);
            if again || !self.wants.attribute(attribute.key.as_bytes()) {
                continue;
            }
            if let Some((column, texts)) = self.kept.column(attribute.key, attribute.value.value_type()) {
                column.push(number, keep(texts, &attribute.value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Attr, SpanId, TraceId, Value};

    use super::super::{MAX_COLUMNS, MAX_TEXT};
    use super::*;
    use crate::otlp::TraceEncoder;
    use crate::{Encoding, Limits, walk_spans};

    /// Everything that a reader may ask, as text; attributes in the order of their names.
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
            let mut attributes = span.attributes.to_vec();
            attributes.sort_by_key(|a| a.key);
            self.0.push(format!("{:?}", Span { attributes: &attributes, ..span.clone() }));
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
                    Attr { key: "raw", value: Value::Bytes(vec![1, 2].into()) },
                ];
                attributes.extend(names.iter().map(|key| Attr { key, value: Value::Int(1) }));
                encoder.span(&Span {
                    trace_id: TraceId([i as u8 + 1; 16]),
                    span_id: SpanId([2; 8]),
                    parent_span_id: SpanId([3; 8]),
                    name: ["GET /", "POST /"][i % 2],
                    kind: 2,
                    start: 5,
                    end: 9 - 5 * (i as i64 % 2),
                    status_code: 2,
                    status_message: ["broken", "", "again"][i % 3],
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
        let body = request(4, 2, "orders");
        let (mut walked, mut given) = (Told::default(), Told::default());
        walk_spans(Encoding::OtlpTraces, &body, &Limits::default(), &mut walked).expect("sound");
        let kept = keep(&body).expect("not too much");
        kept.give(&mut given);
        assert_eq!(walked.0, given.0);
        assert_eq!((kept.len(), walked.0.len()), (8, 2 + 8 * 2));
        assert_eq!(kept.names().iter().collect::<Vec<_>>(), ["GET /", "POST /"], "each name once");
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
        let mut keeper = SpanKeeper::new(Shop);
        walk_spans(Encoding::OtlpTraces, &request(3, 2, ""), &Limits::default(), &mut keeper).expect("sound");
        let (kept, mut given) = (keeper.finish().expect("not too much"), Told::default());
        kept.give(&mut given);
        assert_eq!(kept.len(), 3);
        assert!(given.0[0].contains("shop") && !given.0.iter().any(|told| told.contains("cart")));
    }

    #[test]
    fn too_many_names_and_too_much_text_are_not_kept() {
        assert!(keep(&request(2, 20, "")).is_some());
        assert!(keep(&request(2, 40, "")).is_none(), "more than {MAX_COLUMNS} names");
        assert!(keep(&request(1, 0, &"x".repeat(MAX_TEXT))).is_none());
    }
}
