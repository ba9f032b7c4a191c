//! Segments that earlier versions wrote must be read for ever: one of each table and format lies in `tests/fixtures`,
//! with its rows as text. A new format adds files; none is ever written again.

use std::path::PathBuf;

use model::{Tenant, TimeRange};

use super::super::{LogTable, SpanTable};
use super::files::Files;
use super::like_the_model::rows_of;
use super::random::{self, Random, everything};
use crate::contract::{Order, Predicate, Scan, Table};
use crate::{SegmentMeta, SignalTable};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
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

fn meta(table: Table, file: &str) -> SegmentMeta {
    SegmentMeta {
        id: 1,
        tenant: Tenant::DEFAULT.to_owned(),
        signal: super::super::flush::signal(table).as_str().to_owned(),
        hour: 0,
        file: file.to_owned(),
        format: 1,
        first: i64::MIN,
        last: i64::MAX - 1,
        rows: 0,
        bytes: 0,
        level: 0,
        first_sequence: 0,
        last_sequence: 0,
        deleted_to: 0,
    }
}

fn text(rows: &[String]) -> String {
    rows.iter().map(|r| format!("{}\n---\n", r)).collect()
}

fn check(table: Table, name: &str) {
    let files = Files::default();
    files.put(name, std::fs::read(path(&format!("{name}.parquet"))).expect("a fixture"));
    let expected = std::fs::read_to_string(path(&format!("{name}.txt"))).expect("a fixture's rows");
    assert_eq!(text(&rows(table, &files, meta(table, name))), expected);
    assert!(files.quarantined().is_empty());
}

#[test]
fn spans_of_format_1_are_read() {
    check(Table::Spans, "spans-1");
}

#[test]
fn logs_of_format_1_are_read() {
    check(Table::Logs, "logs-1");
}

/// Writes the fixtures of the current format where there are none: `cargo test -p braid-store --lib fixtures -- --ignored`.
#[test]
#[ignore = "writes files into the source tree"]
fn write_fixtures() {
    let files = Files::default();
    let shared = std::sync::Arc::new(files.clone());
    let (spans, logs) = (SpanTable::new(shared.clone()), LogTable::new(shared));
    let tenant = Tenant::default();
    spans.head().fill(&tenant, |sink| random::spans(&mut Random(1), 150, &mut wire::Discard, sink));
    logs.head().fill(&tenant, |sink| random::logs(&mut Random(2), 150, &mut wire::Discard, sink));
    for (table, own, name) in
        [(Table::Spans, &spans as &dyn SignalTable, "spans-1"), (Table::Logs, &logs as &dyn SignalTable, "logs-1")]
    {
        if path(&format!("{name}.parquet")).exists() {
            continue;
        }
        let flushed = own.freeze().expect("rows").write().expect("a flush");
        let merged = own.compact(&flushed).expect("a merge").remove(0);
        std::fs::create_dir_all(path("")).expect("a folder");
        std::fs::write(path(&format!("{name}.parquet")), files.bytes(&merged.file)).expect("a file");
        std::fs::write(path(&format!("{name}.txt")), text(&rows(table, &files, merged))).expect("a file");
    }
}
