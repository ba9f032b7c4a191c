//! Segments that earlier versions wrote must be read for ever: one of each table and format lies in `tests/fixtures`,
//! with its rows as text. A new format adds files; none is ever written again.

use std::path::{Path, PathBuf};

use model::{Tenant, TimeRange};

use super::super::read::OpenSegment;
use super::super::segment::SHARED_FORMAT;
use super::super::{LogTable, SpanTable};
use super::files::Files;
use super::like_the_model::rows_of;
use super::members;
use super::random::{self, Random, everything};
use crate::contract::{Column, CompareOp, Field, MemberTest, Order, Predicate, Scan, Table};
use crate::{SegmentMeta, SignalTable};

fn path(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

fn rows(table: Table, files: &Files, segment: SegmentMeta) -> Vec<String> {
    let scan = Scan {
        tenant: Tenant::default(),
        table,
        range: TimeRange::ALL,
        predicate: Predicate::True,
        projection: everything(),
        order: Order::Any,
        limit: None,
    };
    let shared = std::sync::Arc::new(files.clone());
    let view = match table {
        Table::Spans => SpanTable::new(shared).view(),
        Table::Logs => LogTable::new(shared).view(),
    };
    let segments = [segment];
    let batches: Vec<_> = view.scan(&scan, &segments, files).expect("a scan").map(|b| b.expect("a batch")).collect();
    let mut rows = rows_of(&batches);
    rows.sort();
    rows
}

fn meta(table: Table, file: &str, format: u32) -> SegmentMeta {
    SegmentMeta {
        id: 1,
        tenant: if format == SHARED_FORMAT { SegmentMeta::SHARED } else { Tenant::DEFAULT }.to_owned(),
        signal: super::super::flush::signal(table).as_str().to_owned(),
        hour: 0,
        file: file.to_owned(),
        format,
        first: i64::MIN,
        last: i64::MAX - 1,
        rows: 0,
        bytes: 0,
        level: 0,
        first_sequence: 0,
        last_sequence: 0,
        deleted_to: 0,
        apart: false,
    }
}

fn text(rows: &[String]) -> String {
    rows.iter().map(|r| format!("{}\n---\n", r)).collect()
}

fn check(table: Table, name: &str, format: u32) {
    let files = Files::default();
    files.put(name, std::fs::read(path(&format!("{name}.parquet"))).expect("a fixture"));
    let expected = std::fs::read_to_string(path(&format!("{name}.txt"))).expect("a fixture's rows");
    assert_eq!(text(&rows(table, &files, meta(table, name, format))), expected);
    assert!(files.quarantined().is_empty());
}

#[test]
fn spans_of_format_1_are_read() {
    check(Table::Spans, "spans-1", 1);
}

#[test]
fn logs_of_format_1_are_read() {
    check(Table::Logs, "logs-1", 1);
}

#[test]
fn shared_segments_of_format_2_are_read() {
    check(Table::Spans, "spans-2", 2);
    check(Table::Logs, "logs-2", 2);
}

/// The lines of a fixture for which a predicate holds.
fn lines(files: &Files, segment: &SegmentMeta, predicate: Predicate) -> Vec<String> {
    let projection = vec![Column::Field(Field::Body)];
    let (tenant, table) = (Tenant::default(), Table::Logs);
    let scan = Scan { tenant, table, range: TimeRange::ALL, predicate, projection, order: Order::Any, limit: None };
    let view = LogTable::new(std::sync::Arc::new(files.clone())).view();
    let segments = [segment.clone()];
    let batches: Vec<_> = view.scan(&scan, &segments, files).expect("a scan").map(|b| b.expect("a batch")).collect();
    batches.iter().flat_map(|b| (0..b.rows()).map(|r| b.text(r, Field::Body).to_owned())).collect()
}

#[test]
fn members_are_told_with_and_without_what_footers_say_of_zones() {
    for (name, is_said) in [("logs-1", false), ("logs-1-zones", true)] {
        let files = Files::default();
        files.put(name, std::fs::read(path(&format!("{name}.parquet"))).expect("a fixture"));
        let meta = meta(Table::Logs, name, 1);
        assert_eq!(OpenSegment::open(&files, &meta).expect("a segment").footer.zones.is_some(), is_said);
        let all = lines(&files, &meta, Predicate::True);
        for (name, op, right) in
            [("status", CompareOp::Ge, 400.0), ("status", CompareOp::Lt, 0.0), ("duration_ms", CompareOp::Gt, 450.0)]
        {
            let test = MemberTest::Compare(op, right);
            let mut expected: Vec<&String> = all.iter().filter(|line| test.accepts(name, line)).collect();
            let found = lines(&files, &meta, Predicate::Member { name: name.to_owned(), test });
            let mut found: Vec<&String> = found.iter().collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn logs_with_zones_in_the_footer_are_read() {
    check(Table::Logs, "logs-1-zones", 1);
}

/// Writes the fixtures of the current format where there are none: `cargo test -p braid-store --lib fixtures -- --ignored`.
#[test]
#[ignore = "writes files into the source tree"]
fn write_fixtures() {
    let files = Files::default();
    let shared = std::sync::Arc::new(files.clone());
    let (spans, logs) = (SpanTable::new(shared.clone()), LogTable::new(shared));
    let tenants = [Tenant::default(), Tenant::new("other").expect("a name")];
    for format in [1, SHARED_FORMAT] {
        // From the second format on, tenants share a segment.
        for (tenant, seed) in tenants[..format as usize].iter().zip([1, 3]) {
            spans.head().fill(tenant, |sink| random::spans(&mut Random(seed), 150, &mut wire::Discard, sink));
            logs.head().fill(tenant, |sink| random::logs(&mut Random(seed + 1), 150, &mut wire::Discard, sink));
        }
        for (table, own, name) in [(Table::Spans, &spans as &dyn SignalTable, "spans"), (Table::Logs, &logs, "logs")] {
            let frozen = own.freeze().expect("rows");
            let mut flushed = frozen.write().expect("a flush");
            frozen.forget();
            let name = format!("{name}-{format}");
            if path(&format!("{name}.parquet")).exists() {
                continue;
            }
            flushed.retain(|m| m.format == format);
            let merged = own.compact(&flushed).expect("a merge").remove(0);
            std::fs::create_dir_all(path("")).expect("a folder");
            std::fs::write(path(&format!("{name}.parquet")), files.bytes(&merged.file)).expect("a file");
            std::fs::write(path(&format!("{name}.txt")), text(&rows(table, &files, merged))).expect("a file");
        }
    }
    // Lines of which the footer tells what they have in stretches of rows.
    let name = "logs-1-zones";
    if !path(&format!("{name}.parquet")).exists() {
        let table = LogTable::new(std::sync::Arc::new(files.clone()));
        table.head().fill(&Tenant::default(), |sink| members::fill(&mut Random(9), 100, &mut wire::Discard, sink));
        let frozen = table.freeze().expect("rows");
        let merged = table.compact(&frozen.write().expect("a flush")).expect("a merge").remove(0);
        frozen.forget();
        std::fs::write(path(&format!("{name}.parquet")), files.bytes(&merged.file)).expect("a file");
        std::fs::write(path(&format!("{name}.txt")), text(&rows(Table::Logs, &files, merged))).expect("a file");
    }
}
