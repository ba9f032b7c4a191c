//! What is copied from the columns is what the plain keeper keeps.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Attr, Group, Span, SpanId, Tenant, TraceId, Value};
use wire::{KeptSpans, SpanKeeper, SpanSink, Wanted};

use super::random::{self, Random, START};
use crate::columns::head::Head;
use crate::columns::keep::{Keeping, KnownResources};
use crate::contract::Table;
use crate::recent::{RecentSpans, WantsSpans, Wishes};

/// Wants some attributes, and nothing of resources that say `b` by any name.
struct Few;

impl Wanted for Few {
    fn group(&self, group: &Group<'_>) -> bool {
        group.resource.iter().all(|a| a.value != Value::Str("b"))
    }
    fn attribute(&self, name: &[u8]) -> bool {
        matches!(name, b"http.route" | b"n" | b"time") || name.starts_with(b"rare") && name.ends_with(b"7")
    }
}

fn wishes() -> Wishes<WantsSpans> {
    let recent: Arc<RecentSpans> = Arc::default();
    let reader = recent.reader(Arc::new(Few) as WantsSpans);
    let wishes = recent.wishes().unwrap();
    drop(reader);
    wishes
}

/// All that is told, attributes in the order of their names.
#[derive(Default)]
struct Told(Vec<String>);

impl SpanSink for Told {
    fn group(&mut self, group: &Group<'_>) {
        self.0.push(format!("{:?}", group.resource));
    }
    fn size(&mut self, bytes: usize) {
        self.0.push(bytes.to_string());
    }
    fn span(&mut self, span: &Span<'_>) {
        let mut attributes = span.attributes.to_vec();
        attributes.sort_by_key(|a| a.key);
        self.0.push(format!("{:?}", Span { attributes: &attributes, ..span.clone() }));
    }
}

fn told(kept: &KeptSpans) -> Vec<String> {
    let mut told = Told::default();
    kept.give(&mut told);
    told.0
}

#[test]
fn what_is_copied_from_the_columns_is_what_a_keeper_keeps() {
    let (head, tenant, wishes) = (Head::new(Table::Spans, vec!["checkout".to_owned()]), Tenant::default(), wishes());
    let mut random = Random(41);
    let (mut resources, mut copied) = (KnownResources::default(), KeptSpans::default());
    let (mut spans, mut texts, mut groups) = (0, 0, 0);
    let mut by_number: HashMap<u64, String> = HashMap::new();
    // Enough rows that builders are sealed in the middle of a request, in several hours by turns.
    for request in 0..80 {
        let count = [1, 7, 100, 1500][request % 4];
        let mut keeper = SpanKeeper::new(Few);
        // In the memory of the request before.
        copied.clear();
        let keeping = Keeping::new(&wishes, &mut resources, &mut copied);
        head.fill_and_keep(&tenant, Some(keeping), |sink| {
            random::spans(&mut random, count, &mut Sized(sink, 0), &mut Sized(&mut keeper, 0));
        });
        let kept = keeper.finish().expect("not too much");
        assert!(copied.is_whole());
        assert_eq!(told(&copied), told(&kept), "request {request}");
        (spans, texts) = (spans + copied.len(), texts + copied.names().len());
        for (resource, _) in copied.groups() {
            groups += 1;
            let says = format!("{:?}", resource.attributes());
            let known = by_number.entry(resource.number().expect("a table gives numbers")).or_insert_with(|| says.clone());
            assert_eq!(*known, says, "a number stands for one resource");
        }
    }
    assert!(by_number.len() < groups, "some come again, and none is remembered");
    assert!(spans > 3 * 16_384 / 2 && spans < 80 * 402, "{spans} of those in wanted groups");
    assert!(texts < spans / 4, "{texts} names of {spans} spans");
}

/// Tells sizes too.
struct Sized<'s, S: SpanSink>(&'s mut S, usize);

impl<S: SpanSink> SpanSink for Sized<'_, S> {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
    }
    fn span(&mut self, span: &Span<'_>) {
        self.1 += 1;
        self.0.size(self.1);
        self.0.span(span);
    }
}

#[test]
fn names_that_do_not_repeat_are_copied_too() {
    let (head, tenant, wishes) = (Head::new(Table::Spans, vec!["checkout".to_owned()]), Tenant::default(), wishes());
    for request in 0..5 {
        let (mut resources, mut copied, mut keeper) = (KnownResources::default(), KeptSpans::default(), SpanKeeper::new(Few));
        let keeping = Keeping::new(&wishes, &mut resources, &mut copied);
        head.fill_and_keep(&tenant, Some(keeping), |sink| {
            for sink in [sink as &mut dyn SpanSink, &mut keeper] {
                sink.group(&Group::default());
                for i in 0..700 {
                    let name = format!("operation {request} {i}");
                    let attributes = [Attr { key: "n", value: Value::Str(&name) }];
                    let (trace_id, span_id, start) = (TraceId([1; 16]), SpanId([2; 8]), START);
                    sink.size(i);
                    let message = if i % 3 == 0 { name.as_str() } else { "" };
                    sink.span(&Span {
                        trace_id,
                        span_id,
                        start,
                        name: &name,
                        attributes: &attributes,
                        status_message: message,
                        ..Span::default()
                    });
                }
            }
        });
        let kept = keeper.finish().expect("not too much");
        assert!(copied.is_whole());
        assert_eq!(told(&copied), told(&kept), "request {request}");
    }
}

#[test]
fn what_is_in_no_column_is_left_to_the_log() {
    let (head, tenant, wishes) = (Head::new(Table::Spans, vec!["checkout".to_owned()]), Tenant::default(), wishes());
    let keep = |keys: std::ops::Range<u32>| {
        let (mut resources, mut copied) = (KnownResources::default(), KeptSpans::default());
        let keeping = Keeping::new(&wishes, &mut resources, &mut copied);
        head.fill_and_keep(&tenant, Some(keeping), |sink| {
            sink.group(&Group::default());
            for key in keys {
                let key = format!("key {key}");
                let attributes = [Attr { key: &key, value: Value::Int(1) }];
                let (trace_id, span_id, start) = (TraceId([1; 16]), SpanId([2; 8]), START);
                sink.span(&Span { trace_id, span_id, start, attributes: &attributes, ..Span::default() });
            }
        });
        copied.is_whole().then_some(copied)
    };
    assert!(keep(0..1000).is_some_and(|kept| kept.len() == 1000));
    assert!(keep(1000..1001).is_none(), "more keys than columns");
    assert!(keep(0..10).is_some());
}
