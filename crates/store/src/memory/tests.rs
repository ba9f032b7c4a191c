//! What the model promises, as the contract says it.

use model::{Attr, Group, Labels, Log, OwnedValue, Scope, Span, SpanId, Tenant, TimeRange, TraceId, Value};
use regex::Regex;
use wire::{LogSink, RawLabels, SampleSink, SpanSink};

use super::Memory;
use crate::{
    Column, CompareOp, Distinct, Field, LabelMatcher, Literal, MatchOp, Meaning, Order, Predicate, Reader, Scan, Source, Table,
};

fn tenant() -> Tenant {
    Tenant::default()
}

fn attr<'a>(key: &'a str, value: Value<'a>) -> Attr<'a> {
    Attr { key, value }
}

/// A store with the spans 1, 2, … starting at those nanoseconds, each with the attribute `n` and every third with `odd`.
fn spans(count: u8) -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&tenant());
    SpanSink::group(
        &mut sink,
        &Group { resource: &[attr("service.name", Value::Str("shop")), attr("n", Value::Str("resource"))], ..Group::default() },
    );
    for n in 1..=count {
        let odd = attr("odd", Value::Bool(true));
        let own = [attr("n", Value::Int(n.into())), odd];
        sink.span(&Span {
            trace_id: TraceId([n; 16]),
            span_id: SpanId([n; 8]),
            name: "op",
            start: n.into(),
            end: 100,
            attributes: if n % 3 == 0 { &own } else { &own[..1] },
            ..Span::default()
        });
    }
    drop(sink);
    store
}

fn scan(predicate: Predicate) -> Scan {
    Scan {
        tenant: tenant(),
        table: Table::Spans,
        range: TimeRange::ALL,
        predicate,
        projection: vec![Column::Field(Field::Time)],
        order: Order::OldestFirst,
        limit: None,
    }
}

fn times(store: &Memory, scan: &Scan) -> Vec<i64> {
    let view = store.view();
    let batches = view.scan(scan).expect("the model does not fail");
    batches
        .flat_map(|b| {
            let b = b.expect("the model does not fail");
            (0..b.rows()).filter_map(|row| b.int(row, Field::Time)).collect::<Vec<_>>()
        })
        .collect()
}

fn compare(column: Column, op: CompareOp, value: Literal) -> Predicate {
    Predicate::Compare { column, op, value }
}

#[test]
fn a_predicate_is_two_valued_and_typed() {
    let store = spans(4);
    let own = || Column::attribute(Scope::Record, "n");
    let any = || Column::Attribute { scope: None, key: "n".into() };
    let name = || Column::Field(Field::Name);
    let not = |p| Predicate::Not(Box::new(p));
    let odd = || Column::attribute(Scope::Record, "odd");
    let cases: Vec<(Predicate, &[i64])> = vec![
        (Predicate::True, &[1, 2, 3, 4]),
        (compare(own(), CompareOp::Eq, Literal::Int(2)), &[2]),
        (compare(own(), CompareOp::Ne, Literal::Int(2)), &[1, 3, 4]),
        (compare(own(), CompareOp::Lt, Literal::Double(2.5)), &[1, 2]),
        (compare(own(), CompareOp::Ge, Literal::Double(f64::NAN)), &[]),
        // Another type is never equal and never different.
        (compare(own(), CompareOp::Ne, Literal::Str("2".into())), &[]),
        // The record's own attribute hides the resource's, even where the types differ.
        (compare(any(), CompareOp::Eq, Literal::Str("resource".into())), &[]),
        (compare(any(), CompareOp::Gt, Literal::Int(3)), &[4]),
        // What is absent satisfies no comparison; its negation does.
        (compare(odd(), CompareOp::Ne, Literal::Bool(false)), &[3]),
        (not(compare(odd(), CompareOp::Eq, Literal::Bool(true))), &[1, 2, 4]),
        (Predicate::Exists(odd()), &[3]),
        (Predicate::Exists(Column::Field(Field::StatusMessage)), &[]),
        (Predicate::Matches { column: name(), regex: Regex::new("p$").expect("valid") }, &[1, 2, 3, 4]),
        (Predicate::Matches { column: own(), regex: Regex::new("").expect("valid") }, &[]),
        (Predicate::Contains { column: name(), needle: String::new() }, &[1, 2, 3, 4]),
        (Predicate::Contains { column: name(), needle: "opp".into() }, &[]),
        (compare(Column::Field(Field::SpanId), CompareOp::Eq, Literal::Bytes(vec![2; 8])), &[2]),
        (Predicate::And(vec![]), &[1, 2, 3, 4]),
        (Predicate::Or(vec![]), &[]),
    ];
    for (predicate, expected) in cases {
        assert_eq!(times(&store, &scan(predicate.clone())), expected, "{predicate:?}");
    }
}

#[test]
fn a_scan_keeps_to_its_range_order_and_limit() {
    let store = spans(9);
    let newest = Scan { range: TimeRange::new(2, 8), order: Order::NewestFirst, limit: Some(3), ..scan(Predicate::True) };
    assert_eq!(times(&store, &newest), [7, 6, 5]);
    let nobody = Scan { tenant: Tenant::new("other").expect("valid"), ..scan(Predicate::True) };
    assert_eq!(times(&store, &nobody), [0i64; 0]);
}

#[test]
fn a_projection_holds_only_columns_that_a_row_has() {
    let store = spans(3);
    let view = store.view();
    let all = Scan {
        projection: vec![Column::Attributes(None), Column::Field(Field::StatusMessage), Column::Field(Field::Duration)],
        ..scan(Predicate::True)
    };
    let batch = view.scan(&all).expect("scan").next().expect("a batch").expect("sound");
    let keys: Vec<&str> = batch
        .meaning()
        .iter()
        .map(|m| match m {
            Meaning::Attribute(_, key, _) => key,
            Meaning::Field(Field::Duration) => "duration",
            Meaning::Field(_) => "another field",
        })
        .collect();
    assert_eq!(keys, ["duration", "n", "service.name", "n", "odd"]);
    assert_eq!(batch.int(2, Field::Duration), Some(97));
    let n = Column::Attribute { scope: None, key: "n".into() };
    assert_eq!(batch.attribute(2, &n).map(|v| v.to_owned_value()), Some(OwnedValue::Int(3)));
    let none = Scan { projection: vec![Column::Field(Field::Links)], ..scan(Predicate::True) };
    assert_eq!(view.scan(&none).expect("scan").map(|b| b.expect("sound").rows()).sum::<usize>(), 3);
}

#[test]
fn rows_that_come_twice_are_kept_once_and_a_view_does_not_move() {
    let store = spans(2);
    let before = store.snapshot();
    let mut sink = store.ingest(&tenant());
    for (id, start) in [(1, 50), (3, 51)] {
        sink.span(&Span { trace_id: TraceId([id; 16]), span_id: SpanId([id; 8]), start, ..Span::default() });
    }
    for (line, time, stream) in [("a", 1, "x"), ("a", 1, "x"), ("b", 1, "x"), ("a", 2, "x"), ("a", 1, "y")] {
        LogSink::group(&mut sink, &Group { labels: &[("app", stream)], ..Group::default() });
        sink.log(&Log {
            time,
            observed: 0,
            severity_number: 0,
            severity_text: "",
            body: Value::Str(line),
            event_name: "",
            trace_id: TraceId::NONE,
            span_id: SpanId::NONE,
            flags: 0,
            attributes: &[],
            dropped_attributes: 0,
        });
    }
    drop(sink);
    assert_eq!(times(&store, &scan(Predicate::True)), [1, 2, 51]);
    assert_eq!(times(&store, &Scan { table: Table::Logs, ..scan(Predicate::True) }), [1, 1, 1, 2]);
    let old = before.scan(&scan(Predicate::True)).expect("scan").map(|b| b.expect("sound").rows()).sum::<usize>();
    assert_eq!(old, 2);
    let sets = store.view().distinct(&tenant(), Table::Logs, TimeRange::ALL, &Predicate::True, &Distinct::LabelSets, None);
    let pair = |v: &str| vec![("app".to_owned(), v.to_owned())];
    assert_eq!(sets.expect("distinct"), [pair("x"), pair("y")]);
}

#[test]
fn distinct_keys_and_values_are_sorted_and_limited() {
    let view = spans(3).view();
    let ask = |what, limit| {
        let rows = view.distinct(&tenant(), Table::Spans, TimeRange::ALL, &Predicate::True, &what, limit);
        rows.expect("distinct").into_iter().map(|mut r| r.remove(0).1).collect::<Vec<_>>()
    };
    assert_eq!(ask(Distinct::Keys(None), None), ["n", "odd", "service.name"]);
    assert_eq!(ask(Distinct::Keys(Some(Scope::Resource)), None), ["n", "service.name"]);
    assert_eq!(ask(Distinct::Values(Column::attribute(Scope::Record, "n")), Some(2)), ["1", "2"]);
    assert_eq!(ask(Distinct::Values(Column::Field(Field::SpanId)), Some(1)), ["0101010101010101"]);
}

#[test]
fn samples_come_by_series_and_the_first_of_a_time_stays() {
    let store = Memory::new();
    let mut sink = store.ingest(&tenant());
    for (job, samples) in [("b", [(10, 1.0), (10, 2.0), (20, 3.0)]), ("a", [(5, 1.0), (30, 1.0), (40, 1.0)])] {
        SampleSink::series(&mut sink, RawLabels::from_pairs(job.as_bytes(), &[("__name__", "up"), ("job", job)]));
        samples.into_iter().for_each(|(t, v)| sink.sample(t, v));
    }
    drop(sink);
    let view = store.view();
    let ask = |op, value: &str, first, last| {
        let matchers = [LabelMatcher::new("job", op, value).expect("valid")];
        let found = view.samples(&tenant(), &matchers, first, last).expect("samples");
        found
            .map(|s| s.expect("sound"))
            .map(|s| (s.labels.get("job").unwrap_or("").to_owned(), s.times, s.values))
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(MatchOp::Re, "a|b", 10, 20), [("b".to_owned(), vec![10, 20], vec![1.0, 3.0])]);
    assert_eq!(ask(MatchOp::Ne, "b", 0, 30), [("a".to_owned(), vec![5, 30], vec![1.0, 1.0])]);
    assert_eq!(ask(MatchOp::Eq, "", 0, 30), []);
    assert_eq!(ask(MatchOp::Ne, "", 30, 0), []);
    let series = view.series(&tenant(), &[], 15, 25).expect("series");
    assert_eq!(*series[0], Labels::from_pairs([("__name__", "up"), ("job", "b")]));
    assert_eq!(series.len(), 1);
}
