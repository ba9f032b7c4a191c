//! Promises that random questions do not reach.

use std::sync::Arc;

use model::{Attr, Group, Log, Span, SpanId, Tenant, TimeRange, TraceId, Value};
use wire::{LogSink, SpanSink};

use super::super::head::Filler;

use super::super::{LogTable, SpanTable};
use super::files::Files;
use super::random::START;
use crate::contract::{Aggregation, Column, CompareOp, Field, Literal, Order, Predicate, Scan, Table};
use crate::{SegmentMeta, SignalTable, StoreError};

fn announce(sink: &mut Filler<'_>, group: &Group<'_>) {
    SpanSink::group(sink, group);
}

fn span(trace: u8, id: u64, start: i64) -> Span<'static> {
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId(id.to_be_bytes()),
        name: "op",
        start,
        end: start + 5,
        ..Span::default()
    }
}

fn line(text: &'static str, time: i64) -> Log<'static> {
    Log {
        time,
        observed: 0,
        severity_number: 0,
        severity_text: "",
        body: Value::Str(text),
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes: &[],
        dropped_attributes: 0,
    }
}

fn scan(table: Table, order: Order, predicate: Predicate) -> Scan {
    let projection = match table {
        Table::Spans => vec![Column::Field(Field::Time), Column::Field(Field::SpanId)],
        Table::Logs => vec![Column::Field(Field::Time), Column::Field(Field::Body)],
    };
    Scan { tenant: Tenant::default(), table, range: TimeRange::ALL, predicate, projection, order, limit: None }
}

fn count(view: &super::super::View, scan: &Scan, segments: &[SegmentMeta], files: &Files) -> usize {
    view.scan(scan, segments, files).expect("a scan").map(|b| b.expect("a batch").rows()).sum()
}

/// How many rows a table counts.
fn counted(view: &super::super::View, table: Table, predicate: Predicate, segments: &[SegmentMeta], files: &Files) -> u64 {
    let (tenant, range) = (Tenant::default(), TimeRange::new(START, START + model::HOUR_NS));
    let asked = Aggregation { tenant, table, range, predicate, by: Vec::new(), width: model::HOUR_NS };
    view.aggregate(&asked, segments, files).expect("counts").iter().flat_map(|c| &c.counts).sum()
}

#[test]
fn a_span_that_comes_twice_is_one() {
    let files = Files::default();
    let table = SpanTable::new(Arc::new(files.clone()));
    let tenant = Tenant::default();
    let mut segments = Vec::new();
    let fill = |ids: std::ops::Range<u64>| {
        table.head().fill(&tenant, |sink| {
            announce(sink, &Group::default());
            for id in ids {
                sink.span(&span(1, id, START + id as i64));
                sink.span(&span(1, id, START + id as i64));
            }
        });
    };
    fill(1..30);
    let frozen = table.freeze().expect("rows");
    segments.extend(frozen.write().expect("a flush"));
    frozen.forget();
    assert_eq!(segments[0].rows, 29, "repeats inside a head");
    fill(20..40);
    let trace =
        Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value: Literal::Bytes(vec![1; 16]) };
    let by_id = scan(Table::Spans, Order::Any, trace);
    assert_eq!(count(&table.view(), &by_id, &segments, &files), 39, "a trace by its id, before the merge");
    let oldest = scan(Table::Spans, Order::OldestFirst, Predicate::True);
    assert_eq!(count(&table.view(), &oldest, &segments, &files), 39, "in order, before the merge");
    let any = scan(Table::Spans, Order::Any, Predicate::True);
    assert_eq!(count(&table.view(), &any, &segments, &files), 39, "in any order, before the merge");
    let raw = scan(Table::Spans, Order::AnyTwice, Predicate::True);
    assert_eq!(count(&table.view(), &raw, &segments, &files), 29 + 40, "for whoever tells rows apart");
    assert_eq!(counted(&table.view(), Table::Spans, Predicate::True, &segments, &files), 39, "counted, before the merge");
    let frozen = table.freeze().expect("rows");
    segments.extend(frozen.write().expect("a flush"));
    frozen.forget();
    let merged = table.compact(&segments).expect("a merge");
    assert_eq!(merged.iter().map(|m| m.rows).sum::<u64>(), 39);
    assert_eq!(merged[0].level, 1);
    assert_eq!(count(&table.view(), &scan(Table::Spans, Order::Any, Predicate::True), &merged, &files), 39);
}

#[test]
fn a_line_that_comes_twice_is_one_and_equal_times_keep_different_lines() {
    let files = Files::default();
    let table = LogTable::new(Arc::new(files.clone()));
    let tenant = Tenant::default();
    let mut segments = Vec::new();
    for _ in 0..2 {
        table.head().fill(&tenant, |sink| {
            for stream in ["a", "b"] {
                announce(sink, &Group { labels: &[("service_name", stream)], ..Group::default() });
                for text in ["one", "two", "one", "three", "four", "five", "six", "seven", "eight", "nine", "{\"ten\":10}"] {
                    sink.log(&line(text, START));
                }
            }
        });
        let frozen = table.freeze().expect("rows");
        segments.extend(frozen.write().expect("a flush"));
        frozen.forget();
    }
    assert_eq!(segments.iter().map(|s| s.rows).collect::<Vec<_>>(), [20, 20]);
    let newest = scan(Table::Logs, Order::NewestFirst, Predicate::True);
    assert_eq!(count(&table.view(), &newest, &segments, &files), 20);
    let few = Scan { limit: Some(15), ..newest };
    assert_eq!(count(&table.view(), &few, &segments, &files), 15, "repeats do not eat the limit");
    let any = scan(Table::Logs, Order::Any, Predicate::True);
    assert_eq!(count(&table.view(), &any, &segments, &files), 20, "in any order");
    let one = Predicate::Contains { column: Column::Field(Field::Body), needle: "e".to_owned() };
    assert_eq!(counted(&table.view(), Table::Logs, Predicate::True, &segments, &files), 20);
    assert_eq!(
        counted(&table.view(), Table::Logs, one.clone(), &segments, &files),
        14,
        "one, three, five, seven, eight, nine, ten"
    );
    let merged = table.compact(&segments).expect("a merge");
    assert_eq!(merged[0].rows, 20);
    assert_eq!(counted(&table.view(), Table::Logs, one, &merged, &files), 14, "as before the merge");
}

#[test]
fn lines_of_one_text_and_time_are_the_same_only_where_they_carry_the_same() {
    let files = Files::default();
    let table = LogTable::new(Arc::new(files.clone()));
    let attr = |key, value| Attr { key, value: Value::Str(value) };
    // In two orders; with another value; with none; with a span.
    let carried = [
        vec![attr("size", "2"), attr("took", "1")],
        vec![attr("took", "1"), attr("size", "2")],
        vec![attr("size", "2"), attr("took", "9")],
        vec![],
    ];
    // More lines than are searched pair by pair, so that both ways of a flush are gone.
    let texts = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let mut segments = Vec::new();
    let any = scan(Table::Logs, Order::Any, Predicate::True);
    let newest = scan(Table::Logs, Order::NewestFirst, Predicate::True);
    for (round, texts) in [&texts[..1], &texts[..]].into_iter().enumerate() {
        table.head().fill(&Tenant::default(), |sink| {
            announce(sink, &Group { labels: &[("service_name", "a")], ..Group::default() });
            // The second time their attributes are rare, and stand in the rest column.
            (0..round as i64 * 5_000).for_each(|i| sink.log(&line("other", START + 1 + i)));
            for text in texts {
                carried.iter().for_each(|attributes| sink.log(&Log { attributes, ..line(text, START) }));
                sink.log(&Log { span_id: SpanId([1; 8]), ..line(text, START) });
            }
        });
        let distinct = texts.len() * 4 + round * 5_000;
        for scan in [&any, &newest] {
            assert_eq!(count(&table.view(), scan, &segments, &files), distinct, "in the head");
        }
        let frozen = table.freeze().expect("rows");
        segments.extend(frozen.write().expect("a flush"));
        frozen.forget();
        assert_eq!(segments[round].rows as usize, distinct);
        for scan in [&any, &newest] {
            assert_eq!(count(&table.view(), scan, &segments, &files), distinct, "flushed");
        }
    }
    let merged = table.compact(&segments).expect("a merge");
    assert_eq!(merged[0].rows, 9 * 4 + 5_000);
}

/// The lines of all rows, in order.
/// Rows `0..ROWS` lie in two of three inputs each, so that equal ones meet across batches and row groups of the merge.
#[test]
fn a_merge_of_many_batches_keeps_each_row_once_and_in_order() {
    const ROWS: u64 = 70_000;
    let own = |input: u64| (0..ROWS).filter(move |row| row % 3 != input);
    let files = Files::default();
    let (spans, logs) = (SpanTable::new(Arc::new(files.clone())), LogTable::new(Arc::new(files.clone())));
    let tenant = Tenant::default();
    let mut segments = [Vec::new(), Vec::new()];
    for input in 0..3 {
        spans.head().fill(&tenant, |sink| {
            announce(sink, &Group::default());
            own(input).for_each(|row| sink.span(&span((row / 1000) as u8 + 1, row + 1, START + row as i64)));
        });
        logs.head().fill(&tenant, |sink| {
            for stream in 0..7 {
                announce(
                    sink,
                    &Group { labels: &[("service_name", ["a", "b", "c", "d", "e", "f", "g"][stream])], ..Group::default() },
                );
                for row in own(input).filter(|row| row % 7 == stream as u64) {
                    let text = format!("{{\"row\":{row}}}");
                    sink.log(&Log { body: Value::Str(&text), ..line("", START + (row / 20) as i64) });
                }
            }
        });
        for (table, segments) in [&spans as &dyn SignalTable, &logs].into_iter().zip(&mut segments) {
            let frozen = table.freeze().expect("rows");
            segments.extend(frozen.write().expect("a flush"));
            frozen.forget();
        }
    }
    for ((table, kind), segments) in [(&spans as &dyn SignalTable, Table::Spans), (&logs, Table::Logs)].into_iter().zip(&segments)
    {
        let merged = table.compact(segments).expect("a merge");
        assert_eq!(merged.iter().map(|m| m.rows).sum::<u64>(), ROWS);
        let view = if kind == Table::Spans { spans.view() } else { logs.view() };
        let batches = view.scan(&scan(kind, Order::Any, Predicate::True), &merged, &files).expect("a scan");
        let mut times = Vec::new();
        for batch in batches {
            let batch = batch.expect("a batch");
            times.extend((0..batch.rows()).map(|row| batch.int(row, Field::Time).expect("a time")));
        }
        // Spans: one trace after the other, each by time. Lines: seven streams, each by time.
        let falls = times.windows(2).filter(|w| w[0] > w[1]).count();
        assert_eq!(falls, if kind == Table::Spans { 0 } else { 6 });
    }
}

fn lines(table: &LogTable, segments: &[SegmentMeta], files: &Files) -> Vec<String> {
    let all = scan(Table::Logs, Order::OldestFirst, Predicate::True);
    let view = table.view();
    let mut out = Vec::new();
    for batch in view.scan(&all, segments, files).expect("a scan") {
        let batch = batch.expect("a batch");
        out.extend((0..batch.rows()).map(|row| batch.text(row, Field::Body).to_owned()));
    }
    out
}

#[test]
fn lines_of_json_are_columns_in_segments_and_come_back_byte_for_byte() {
    let files = Files::default();
    let table = LogTable::new(Arc::new(files.clone()));
    let mut segments = Vec::new();
    let mut sent = Vec::new();
    for part in 0..6 {
        // Each part has keys of its own: together more than a segment has columns for.
        let own: Vec<String> = (0..400)
            .map(|i| match i % 4 {
                0 => format!("{{\"status\": {}, \"ms\":{}.50,\"id\":\"{:032x}\"}}", 200 + i, i, i * 7919),
                1 => {
                    let members: Vec<String> = (0..50).map(|k| format!("\"p{part}_{k}\":{}", i + k)).collect();
                    format!("{{{}}}", members.join(","))
                }
                2 => format!("level=info part={part} msg=\"a {i}\""),
                _ => format!("free text {part} of {i}"),
            })
            .collect();
        table.head().fill(&Tenant::default(), |sink| {
            announce(sink, &Group { labels: &[("service_name", "a")], ..Group::default() });
            for (i, text) in own.iter().enumerate() {
                sink.log(&Log { body: Value::Str(text), ..line("", START + part * 1000 + i as i64) });
            }
        });
        let frozen = table.freeze().expect("rows");
        segments.extend(frozen.write().expect("a flush"));
        frozen.forget();
        sent.extend(own);
    }
    let names = |segment: &SegmentMeta| -> Vec<String> {
        let opened = super::super::read::OpenSegment::open(&files, segment).expect("a segment");
        opened.footer.columns.iter().map(|c| c.id.name()).collect()
    };
    let first = names(&segments[0]);
    for column in ["body", "body.layout", "body.status:int", "body.ms:dec2", "body.id:hex16", "body.p0_7:int", "body.part:int"] {
        assert!(first.iter().any(|n| n == column), "{column} is missing: {first:?}");
    }
    assert_eq!(lines(&table, &segments, &files), sent);
    let merged = table.compact(&segments).expect("a merge");
    assert_eq!(lines(&table, &merged, &files), sent);
    let split = names(&merged[0]).iter().filter(|n| n.starts_with("body.")).count();
    assert!(split <= 129, "{split} columns of bodies");
    let again = table.compact(&merged).expect("a merge");
    assert_eq!(lines(&table, &again, &files), sent);
    for needle in ["status\": 4", "p3_49\":5", &format!("{:032x}", 8 * 7919), "part=2 msg=\"a 2", "text 5 of 39", "nowhere"] {
        let column = Column::Field(Field::Body);
        let question = scan(Table::Logs, Order::Any, Predicate::Contains { column, needle: needle.to_owned() });
        let want = sent.iter().filter(|l| l.contains(needle)).count();
        for segments in [&segments, &merged, &again] {
            assert_eq!(count(&table.view(), &question, segments, &files), want, "{needle}");
        }
    }
}

#[test]
fn ids_are_found_wherever_they_stand_whether_or_not_dictionaries_can_hold_them() {
    let files = Files::default();
    let table = LogTable::new(Arc::new(files.clone()));
    let id = |n: u128| format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let sent: Vec<String> = (0..3000u128)
        .map(|i| format!("{{\"path\":\"/a/{}\",\"who\":\"user-{}!\",\"trace_id\":\"{}\"}}", i % 5, id(7_000_000 + i % 8), id(i)))
        .collect();
    table.head().fill(&Tenant::default(), |sink| {
        announce(sink, &Group { labels: &[("service_name", "a")], ..Group::default() });
        for (i, text) in sent.iter().enumerate() {
            sink.log(&Log { body: Value::Str(text), ..line("", START + i as i64) });
        }
    });
    let segments = table.freeze().expect("rows").write().expect("a flush");
    // Asked twice: what the first time learned of dictionaries must be right the second time.
    for _ in 0..2 {
        for needle in [&*id(1), &id(2500), &id(7_000_003), &id(9_000_000), &id(7_000_003)[..20], "/a/3", "/a/7", "r-", ""] {
            let predicate = Predicate::Contains { column: Column::Field(Field::Body), needle: needle.to_owned() };
            let want = sent.iter().filter(|line| line.contains(needle)).count();
            let found = count(&table.view(), &scan(Table::Logs, Order::Any, predicate), &segments, &files);
            assert_eq!(found, want, "{needle}");
        }
    }
}

#[test]
fn a_damaged_segment_is_named_quarantined_and_survived() {
    let files = Files::default();
    let table = SpanTable::new(Arc::new(files.clone()));
    let tenant = Tenant::default();
    let mut segments: Vec<SegmentMeta> = Vec::new();
    for part in 0..2u8 {
        table.head().fill(&tenant, |sink| {
            announce(sink, &Group::default());
            (0..100).for_each(|i| sink.span(&span(part, i + 1, START + i as i64)));
        });
        let frozen = table.freeze().expect("rows");
        segments.extend(frozen.write().expect("a flush"));
        frozen.forget();
    }
    let path = segments[0].file.clone();
    let whole = files.bytes(&path);
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        files.put(&path, bytes);
        // A fresh view: footers are cached by segment.
        let fresh = SpanTable::new(Arc::new(files.clone()));
        for order in [Order::Any, Order::OldestFirst] {
            let found = count(&fresh.view(), &scan(Table::Spans, order, Predicate::True), &segments, &files);
            assert!(found >= 100, "the other segment is served");
        }
        if let Err(e) = fresh.compact(&segments) {
            match e {
                StoreError::Corrupt { file, .. } | StoreError::Version { file, .. } => assert_eq!(file, path),
                other => panic!("{other}"),
            }
        }
        noticed += usize::from(!files.quarantined().is_empty());
    }
    assert!(noticed > 0);
    files.put(&path, whole.slice(..whole.len() / 2));
    let found = count(
        &SpanTable::new(Arc::new(files.clone())).view(),
        &scan(Table::Spans, Order::Any, Predicate::True),
        &segments,
        &files,
    );
    assert_eq!(found, 100, "a truncated segment gives nothing, the other one all");
}

#[test]
fn hostile_times_and_keys_do_not_open_a_segment_or_a_column_each() {
    let files = Files::default();
    let table = SpanTable::new(Arc::new(files.clone()));
    let keys: Vec<String> = (0..3000).map(|i| format!("key.{i}")).collect();
    table.head().fill(&Tenant::default(), |sink| {
        announce(sink, &Group::default());
        for (i, key) in keys.iter().enumerate() {
            let attributes = [Attr { key, value: Value::Int(i as i64) }];
            let start = START + i as i64 * model::HOUR_NS;
            sink.span(&Span { attributes: &attributes, ..span(1, i as u64 + 1, start) });
        }
    });
    let attribute = |i: usize| Predicate::Compare {
        column: Column::Attribute { scope: None, key: keys[i].clone() },
        op: CompareOp::Eq,
        value: Literal::Int(i as i64),
    };
    assert_eq!(count(&table.view(), &scan(Table::Spans, Order::Any, attribute(2900)), &[], &files), 1);
    let frozen = table.freeze().expect("rows");
    let segments = frozen.write().expect("a flush");
    frozen.forget();
    assert!(segments.len() < 60, "{} segments", segments.len());
    for i in [0, 70, 1500, 2999] {
        assert_eq!(count(&table.view(), &scan(Table::Spans, Order::Any, attribute(i)), &segments, &files), 1, "key.{i}");
    }
    let newest = scan(Table::Spans, Order::NewestFirst, Predicate::True);
    assert_eq!(count(&table.view(), &newest, &segments, &files), 3000);
}

#[test]
fn a_view_does_not_see_later_rows() {
    let files = Files::default();
    let table = LogTable::new(Arc::new(files.clone()));
    let add = |numbers: std::ops::Range<i64>| {
        table.head().fill(&Tenant::default(), |sink| {
            announce(sink, &Group::default());
            numbers.for_each(|i| sink.log(&line("x", START + i)));
        });
    };
    add(0..10);
    let view = table.view();
    // Far enough that the builder is sealed meanwhile.
    add(10..40_010);
    let all = scan(Table::Logs, Order::Any, Predicate::True);
    assert_eq!(count(&view, &all, &[], &files), 10);
    assert_eq!(count(&table.view(), &all, &[], &files), 40_010);
}
