//! Random rows and questions: heads, flushed and merged segments answer as the plain model does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use model::{Scope, Tenant, TimeRange, Value};
use proptest::prelude::*;

use super::super::{ColumnCache, LogTable, SpanTable, View};
use super::files::Files;
use super::random::{self, Random, everything};
use crate::contract::{
    Aggregation, Batch, Column, Compared, Comparison, Counted, Distinct, Field, Meaning, Order, Predicate, Reader, Scan, Table,
};
use crate::memory::Memory;
use crate::{Deletion, Doomed, SegmentMeta, SignalTable, StoreError, Tombstone, Tombstones, Writer};

/// A row as text: fields and attributes by name, sorted.
pub(crate) fn rows_of(batches: &[Batch]) -> Vec<String> {
    let mut out = Vec::new();
    for batch in batches {
        for row in 0..batch.rows() {
            let mut cells: Vec<String> = Vec::new();
            for (at, meaning) in batch.meaning().iter().enumerate() {
                let array = batch.columns().column(at);
                if array.is_null(row) {
                    continue;
                }
                match meaning {
                    Meaning::Field(field @ (Field::Events | Field::Links)) => {
                        let items = array.as_list::<i32>().value(row);
                        let items = items.as_struct();
                        for i in 0..items.len() {
                            for column in items.columns() {
                                let text = crate::text_at(column, i).map(|t| match serde_json::from_str(t) {
                                    Ok(serde_json::Value::Array(json)) => format!("{json:?}"),
                                    _ => t.to_owned(),
                                });
                                let text = text.unwrap_or_else(|| format!("{:?}", column.slice(i, 1).to_data().buffers().len()));
                                cells.push(format!("{field:?}[{i}]={text}"));
                            }
                        }
                    }
                    Meaning::Field(field) => {
                        let text = match batch.int(row, *field) {
                            Some(i) => i.to_string(),
                            None if !batch.id(row, *field).is_empty() => format!("{:?}", batch.id(row, *field)),
                            None => batch.text(row, *field).to_owned(),
                        };
                        cells.push(format!("{field:?}={text}"));
                    }
                    Meaning::Attribute(..) => {}
                }
            }
            batch.attributes(row, |scope, key, value| {
                let value = match value {
                    Value::Double(d) => format!("Double({:016x})", d.to_bits()),
                    other => format!("{other:?}"),
                };
                cells.push(format!("{scope:?} {key}={value}"));
            });
            cells.sort();
            out.push(cells.join("\n"));
        }
    }
    out
}

fn times_of(batches: &[Batch]) -> Vec<i64> {
    batches.iter().flat_map(|b| (0..b.rows()).map(|r| b.int(r, Field::Time).expect("a time"))).collect()
}

/// Like `assert_eq!`, but shows only the first row that differs.
fn assert_same(theirs: &[String], ours: &[String], scan: &Scan) {
    let missing = theirs.iter().find(|r| !ours.contains(r));
    let extra = ours.iter().find(|r| !theirs.contains(r));
    if theirs != ours {
        let (a, b) = (theirs.len(), ours.len());
        panic!("{a} rows expected, {b} found\nmissing: {missing:#?}\nextra: {extra:#?}\n{:?} {:?}", scan.predicate, scan);
    }
}

/// Compares answers to `count` random questions.
#[allow(clippy::too_many_arguments)]
fn compare(
    random: &mut Random,
    tenant: &Tenant,
    table: Table,
    model: &dyn Reader,
    view: &View,
    segments: &[SegmentMeta],
    files: &Files,
    count: usize,
) {
    for _ in 0..count {
        let mut projection = everything();
        if random.below(3) == 0 {
            projection = vec![random.column(), random.column(), Column::Field(Field::Time)];
            projection.dedup();
        }
        let scan = Scan {
            tenant: tenant.clone(),
            table,
            range: random.range(),
            predicate: if random.below(4) == 0 { Predicate::True } else { random.predicate(2) },
            projection,
            order: [Order::Any, Order::OldestFirst, Order::NewestFirst][random.below(3) as usize],
            limit: None,
        };
        let theirs: Vec<Batch> = model.scan(&scan).expect("a scan").map(|b| b.expect("a batch")).collect();
        let ours: Vec<Batch> = view.scan(&scan, segments, files).expect("a scan").map(|b| b.expect("a batch")).collect();
        let (mut a, mut b) = (rows_of(&theirs), rows_of(&ours));
        a.sort();
        b.sort();
        assert_same(&a, &b, &scan);
        if scan.order != Order::Any {
            assert_eq!(times_of(&theirs), times_of(&ours), "{scan:?}");
            let limit = random.below(20) as usize;
            let few = Scan { limit: Some(limit), ..scan.clone() };
            let some: Vec<Batch> = view.scan(&few, segments, files).expect("a scan").map(|b| b.expect("a batch")).collect();
            let expected: Vec<i64> = times_of(&theirs).into_iter().take(limit).collect();
            assert_eq!(times_of(&some), expected, "{few:?}");
        } else {
            let few = Scan { limit: Some(3), ..scan.clone() };
            let some: usize = view.scan(&few, segments, files).expect("a scan").map(|b| b.expect("a batch").rows()).sum();
            assert_eq!(some, a.len().min(3));
        }
        let texts = [Field::ScopeName, Field::ScopeVersion, Field::StatusMessage, Field::SeverityText].map(Column::Field);
        let by = (0..random.below(3)).map(|_| match random.column() {
            column @ Column::Attribute { .. } => column,
            _ => texts[random.below(4) as usize].clone(),
        });
        let mut aggregation = Aggregation {
            tenant: tenant.clone(),
            table,
            range: scan.range,
            predicate: scan.predicate.clone(),
            by: by.collect(),
            width: 1,
        };
        let span = i128::from(scan.range.end) - i128::from(scan.range.start);
        aggregation.width = (span / i128::from(random.below(9) + 3) + 1).try_into().expect("a width");
        let counted = |counts: Result<Vec<Counted>, StoreError>| {
            let mut out: Vec<String> = counts.expect("counts").iter().map(|c| format!("{c:?}")).collect();
            out.sort();
            out
        };
        if !scan.range.is_empty() {
            let theirs = counted(model.aggregate(&aggregation));
            let ours = counted(view.aggregate(&aggregation, segments, files));
            assert_eq!(theirs, ours, "{aggregation:?}");
        }
        let columns = match random.below(3) {
            0 => vec![random.column(), random.column()],
            _ => everything(),
        };
        let comparison = Comparison {
            tenant: tenant.clone(),
            table,
            range: scan.range,
            predicate: scan.predicate.clone(),
            part: if random.below(3) == 0 { TimeRange::new(i64::MIN, i64::MAX) } else { random.range() },
            inside: if random.below(2) == 0 { Predicate::True } else { random.predicate(1) },
            columns,
            distinct: [1000, 3][usize::from(random.below(4) == 0)],
        };
        let compared = |answer: Result<Compared, StoreError>| {
            let Compared { rows, mut columns } = answer.expect("a comparison");
            columns.sort_by(|a, b| a.meaning.cmp(&b.meaning));
            let values = |values: Vec<(model::OwnedValue, [u64; 2])>| {
                let mut out: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
                out.sort();
                out
            };
            (rows, columns.into_iter().map(|c| (c.meaning, c.values.map(values))).collect::<Vec<_>>())
        };
        let going_on = AtomicBool::new(false);
        let theirs = compared(model.compare(&comparison, &going_on));
        let ours = compared(view.compare(&comparison, &going_on, segments, files));
        assert_eq!(theirs, ours, "{comparison:?}");
        let what = match random.below(4) {
            0 => Distinct::Keys(None),
            1 => Distinct::Keys(Some(Scope::ALL[random.below(4) as usize])),
            2 if table == Table::Logs => Distinct::LabelSets,
            _ => Distinct::Values(random.column()),
        };
        let theirs = model.distinct(tenant, table, scan.range, &scan.predicate, &what, None).expect("distinct");
        let ours = view.distinct(tenant, scan.range, &scan.predicate, &what, None, segments, files).expect("distinct");
        assert_eq!(theirs, ours, "{what:?} {:?} {:?}", scan.range, scan.predicate);
    }
}

fn check(seed: u64, table: Table) {
    let mut random = Random(seed);
    let files = Files::default();
    let model = Memory::new();
    let tenant = Tenant::default();
    let other = Tenant::new("other").expect("a name");
    // Tenants that share their segments, and such that do not.
    let share_below = if random.chance(60) { usize::MAX } else { 0 };
    let (limits, cache) = (wire::Limits::default, || Arc::new(ColumnCache::new(1 << 20)));
    // A service that is kept apart, most of the time.
    let apart = if random.chance(70) { vec!["checkout".to_owned()] } else { Vec::new() };
    let spans = SpanTable::with(Arc::new(files.clone()), limits(), cache(), share_below, apart);
    let logs = LogTable::with(Arc::new(files.clone()), limits(), cache(), share_below, Vec::new());
    let deleted = std::cell::RefCell::new(Tombstones::default());
    let (own, view): (&dyn SignalTable, Box<dyn Fn() -> View>) = match table {
        Table::Spans => (&spans, Box::new(|| spans.view().without(deleted.borrow().clone()))),
        Table::Logs => (&logs, Box::new(|| logs.view().without(deleted.borrow().clone()))),
    };
    // As many records as rounds: a deletion comes after the rows of its round.
    let delete = |random: &mut Random, sequence: u64| {
        let which = random.predicate(1);
        let doomed = match table {
            Table::Spans => Doomed::Spans(which),
            Table::Logs => Doomed::Lines(which),
        };
        let deletion =
            Deletion { tenant: tenant.clone(), range: random.range(), doomed, words: String::new(), delay: Duration::ZERO };
        let tombstone = model.delete(deletion).expect("deleted");
        let tombstone = Arc::new(Tombstone { sequence, cleaned: 0, ..(*tombstone).clone() });
        // As the manifest would give it back.
        let text = serde_json::to_string(&*tombstone).expect("JSON");
        let read: Tombstone = serde_json::from_str(&text).expect("a tombstone");
        own.delete(&tombstone).expect("deleted");
        let next = deleted.borrow().with(Arc::new(read));
        files.delete(next.clone());
        *deleted.borrow_mut() = next;
    };
    let mut segments: Vec<SegmentMeta> = Vec::new();
    let fill = |random: &mut Random, tenant: &Tenant, count: usize| {
        let mut ingest = model.ingest(tenant);
        match table {
            Table::Spans => spans.head().fill(tenant, |sink| random::spans(random, count, &mut ingest, sink)),
            Table::Logs => logs.head().fill(tenant, |sink| random::logs(random, count, &mut ingest, sink)),
        }
    };
    // What came in before: some of it comes again.
    let mut past: Vec<(Random, Tenant, usize)> = Vec::new();
    let rounds = random.below(4) + 2;
    for round in 0..rounds {
        for tenant in [&tenant, &other] {
            let count = random.below(100) as usize + 1;
            past.push((random.clone(), tenant.clone(), count));
            fill(&mut random, tenant, count);
            if random.chance(50) {
                let (mut from, tenant, count) = past[random.below(past.len() as u64) as usize].clone();
                fill(&mut from, &tenant, count);
            }
        }
        compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 6);
        if random.chance(40) {
            delete(&mut random, round * 10 + 5);
            compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 4);
        }
        if round % 2 == 0 {
            let before = view();
            // The other tenant's rows are never deleted.
            let frozen = own.freeze().expect("rows");
            compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 2);
            let mut written = frozen.write().expect("a flush");
            compare(&mut random, &tenant, table, &model.view(), &before, &segments, &files, 2);
            if random.chance(30) {
                // While it is being written: the segment is read without what it still holds.
                delete(&mut random, round * 10 + 8);
                compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 2);
            }
            written.iter_mut().for_each(|m| m.deleted_to = round * 10 + 7);
            frozen.forget();
            assert!(written.iter().all(|m| share_below > 0 || !m.is_shared()));
            segments.extend(written);
            compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 6);
            compare(&mut random, &other, table, &model.view(), &view(), &segments, &files, 4);
            let nobody = Tenant::new("nobody").expect("a name");
            compare(&mut random, &nobody, table, &model.view(), &view(), &segments, &files, 1);
        }
    }
    // All segments of an hour become one, or one and one of what is kept apart.
    let mut hours: Vec<(String, i64, bool)> = segments.iter().map(|s| (s.tenant.clone(), s.hour, s.apart)).collect();
    hours.sort();
    hours.dedup();
    for group in hours {
        let of = |s: &SegmentMeta| (s.tenant.clone(), s.hour, s.apart);
        let (inputs, rest): (Vec<_>, Vec<_>) = segments.into_iter().partition(|s| of(s) == group);
        segments = rest;
        let mut merged = own.compact(&inputs).expect("a merge");
        if inputs.iter().all(|m| deleted.borrow().on_segment(m).is_empty()) {
            assert!(merged.iter().map(|m| m.rows).sum::<u64>() <= inputs.iter().map(|m| m.rows).sum::<u64>());
        }
        merged.iter_mut().for_each(|m| m.deleted_to = deleted.borrow().latest());
        segments.extend(merged);
    }
    compare(&mut random, &tenant, table, &model.view(), &view(), &segments, &files, 10);
    compare(&mut random, &other, table, &model.view(), &view(), &segments, &files, 5);
    assert!(files.quarantined().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn spans_answer_as_the_model_does(seed: u64) {
        check(seed, Table::Spans);
    }

    #[test]
    fn logs_answer_as_the_model_does(seed: u64) {
        check(seed, Table::Logs);
    }
}
