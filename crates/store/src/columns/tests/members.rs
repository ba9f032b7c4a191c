//! What the footer tells of members of lines is what the lines say: pages that are not read change no answer.

use std::sync::Arc;

use model::{Group, Log, SpanId, Tenant, TimeRange, TraceId, Value};
use proptest::prelude::*;
use wire::LogSink;

use super::super::footers::Footers;
use super::super::members::Told;
use super::super::read::OpenSegment;
use super::super::{ColumnCache, LogTable};
use super::files::Files;
use super::random::{Random, START};
use crate::contract::{Aggregation, Batch, Column, CompareOp, Counted, Field, MemberTest, Order, Predicate, Reader, Scan, Table};
use crate::memory::Memory;
use crate::{SegmentMeta, SignalTable, StoreError};

/// What a stream's lines have under `status`: of a sort, so that pages are alike.
fn status(random: &mut Random, sort: u64) -> String {
    let n = random.below(100);
    match sort {
        0 => format!(r#""status":{}"#, 200 + n),
        1 => format!(r#""status":{}"#, 500 + n % 4),
        2 => format!(r#""status":{}.{:02}"#, 499 + n % 2, n),
        3 => format!(r#""status":{}.12345678{n}"#, 499 + n % 3),
        4 => format!(r#""status":{}e2"#, n % 9),
        5 => format!(r#""status":"{}""#, 500 + n),
        6 => format!(r#""status":"{}""#, ["NaN", "Inf", "-Infinity", ""][n as usize % 4]),
        7 => r#""status":null"#.to_owned(),
        8 => r#""other":500"#.to_owned(),
        9 => format!(r#""a":{{"status":{}}}"#, 450 + n),
        10 => format!(r#""status":{{"code":{}}}"#, 450 + n),
        11 => format!(r#""status":{}"#, [i64::MAX, i64::MIN, (1 << 53) + 1, (1 << 53) + 2][n as usize % 4]),
        12 => format!(r#""status":{}123456789012345678901"#, n + 1),
        13 => format!(r#""status":{},"list":[1,2]"#, 500 + n),
        14 => format!(r#""status":{},"status":500"#, 200 + n),
        15 => format!(r#""status":{}"#, ["-0", "-0.0", "0", "-500"][n as usize % 4]),
        16 => format!(r#""status":500,"a_b":{n},"a":{{"b":2}}"#),
        _ => format!(r#""status":true,"duration_ms":{}.5"#, 400 + n * 2),
    }
}

/// A record that has a body and nothing else.
fn log(time: i64, body: Value<'_>) -> Log<'_> {
    Log {
        time,
        observed: 0,
        severity_number: 0,
        severity_text: "",
        body,
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes: &[],
        dropped_attributes: 0,
    }
}

/// Feeds streams of lines to both sinks.
pub(super) fn fill(random: &mut Random, most: u64, a: &mut dyn LogSink, b: &mut dyn LogSink) {
    for stream in 0..random.below(6) + 1 {
        let name = format!("s{stream}");
        let labels = [("service", name.as_str())];
        let group = Group { labels: &labels, ..Group::default() };
        a.group(&group);
        b.group(&group);
        let mut sort = random.below(18);
        let mut time = START;
        for i in 0..random.below(most) + 1 {
            if random.chance(1) {
                sort = random.below(18);
            }
            time += random.below(1_000_000_000) as i64;
            let own = status(random, sort);
            let text = match random.below(1000) {
                0 => format!("plain {i} of {}", random.next()),
                1 => String::new(),
                _ => format!(r#"{{"n":{i},{own},"x":"y"}}"#),
            };
            let body = if random.below(2000) == 0 { Value::Int(500) } else { Value::Str(&text) };
            let log = log(time, body);
            a.log(&log);
            b.log(&log);
        }
    }
}

const OPS: [CompareOp; 6] = [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];

fn predicate(random: &mut Random, depth: u32) -> Predicate {
    let inner = |random: &mut Random| (0..random.below(3) + 1).map(|_| predicate(random, depth - 1)).collect();
    match random.below(if depth == 0 { 6 } else { 10 }) {
        0 => Predicate::Member { name: name(random), test: MemberTest::Absent },
        1 => Predicate::Member { name: name(random), test: MemberTest::Plain },
        2..=5 => {
            let right = [500.0, 499.5, 200.0, -500.0, 0.0, 9_007_199_254_740_993.0, 1e19, f64::NAN, f64::INFINITY];
            let test = MemberTest::Compare(OPS[random.below(6) as usize], right[random.below(9) as usize]);
            Predicate::Member { name: name(random), test }
        }
        6 => Predicate::And(inner(random)),
        7 => Predicate::Or(inner(random)),
        8 => Predicate::Contains { column: Column::Field(Field::Body), needle: "5".to_owned() },
        _ => Predicate::Not(Box::new(predicate(random, depth - 1))),
    }
}

fn name(random: &mut Random) -> String {
    ["status", "status", "status", "a_status", "status_code", "duration_ms", "a_b", "n", "other", "nothing"]
        [random.below(10) as usize]
        .to_owned()
}

fn counted(counts: Result<Vec<Counted>, StoreError>) -> Vec<String> {
    let mut out: Vec<String> = counts.expect("counts").iter().map(|c| format!("{c:?}")).collect();
    out.sort();
    out
}

fn lines(batches: impl Iterator<Item = Result<Batch, StoreError>>) -> Vec<String> {
    let batches: Vec<Batch> = batches.map(|b| b.expect("a batch")).collect();
    batches
        .iter()
        .flat_map(|b| (0..b.rows()).map(|r| format!("{:?} {}", b.int(r, Field::Time), b.text(r, Field::Body))))
        .collect()
}

fn opened(files: &Files, meta: &SegmentMeta) -> Arc<OpenSegment> {
    Footers::new(Arc::new(ColumnCache::new(1 << 20))).open(files, meta).expect("a segment")
}

fn check(seed: u64) {
    let mut random = Random(seed);
    let files = Files::default();
    let (model, tenant, other) = (Memory::new(), Tenant::default(), Tenant::new("other").expect("a name"));
    let share_below = if random.chance(30) { usize::MAX } else { 0 };
    let cache = Arc::new(ColumnCache::new([1 << 22, 0][random.below(2) as usize]));
    let table = LogTable::with(Arc::new(files.clone()), wire::Limits::default(), cache, share_below, Vec::new());
    let mut segments = Vec::new();
    let questions: Vec<Predicate> = (0..12).map(|_| predicate(&mut random, 2)).collect();
    let ask = |random: &mut Random, segments: &[SegmentMeta]| {
        let (view, model) = (table.view(), model.view());
        for predicate in &questions {
            let range = match random.below(3) {
                0 => TimeRange::new(START + 30_000_000_000, START + 90_000_000_000),
                _ => TimeRange::new(START, START + model::HOUR_NS),
            };
            let by = if random.chance(50) { Vec::new() } else { vec![Column::attribute(model::Scope::Label, "service")] };
            let (tenant, predicate) = (tenant.clone(), predicate.clone());
            let asked = Aggregation {
                tenant: tenant.clone(),
                table: Table::Logs,
                range,
                predicate: predicate.clone(),
                by,
                width: 10_000_000_000,
            };
            let theirs = counted(model.aggregate(&asked));
            assert_eq!(counted(view.aggregate(&asked, segments, &files)), theirs, "{asked:?}");
            let scan = Scan {
                tenant,
                table: Table::Logs,
                range,
                predicate,
                projection: vec![Column::Field(Field::Time), Column::Field(Field::Body)],
                order: [Order::Any, Order::NewestFirst][random.below(2) as usize],
                limit: None,
            };
            let mut theirs = lines(model.scan(&scan).expect("a scan"));
            let mut ours = lines(view.scan(&scan, segments, &files).expect("a scan"));
            theirs.sort();
            ours.sort();
            assert_eq!(ours, theirs, "{scan:?}");
        }
    };
    for _ in 0..2 {
        for tenant in [&tenant, &other] {
            let mut ingest = model.ingest(tenant);
            table.head().fill(tenant, |sink| fill(&mut random, 400, &mut ingest, sink));
        }
        let frozen = table.freeze().expect("rows");
        segments.extend(frozen.write().expect("a flush"));
        frozen.forget();
    }
    ask(&mut random, &segments);
    let (own, rest): (Vec<_>, Vec<_>) = segments.into_iter().partition(|s: &SegmentMeta| s.tenant != other.as_str());
    let mut merged = table.compact(&own).expect("a merge");
    merged.extend(rest);
    ask(&mut random, &merged);
    assert!(files.quarantined().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_the_lines(seed: u64) {
        check(seed);
    }
}

/// A segment of streams of these lines, 192 each, as a flush and a merge write it.
fn segment(files: &Files, streams: &[&dyn Fn(u64) -> String]) -> Vec<SegmentMeta> {
    let table = LogTable::new(Arc::new(files.clone()));
    let tenant = Tenant::default();
    table.head().fill(&tenant, |sink| {
        for (stream, line) in streams.iter().enumerate() {
            let name = format!("s{stream}");
            LogSink::group(sink, &Group { labels: &[("service", &name)], ..Group::default() });
            for i in 0..192 {
                let text = line(i);
                LogSink::log(sink, &log(START + i as i64, Value::Str(&text)));
            }
        }
    });
    let frozen = table.freeze().expect("rows");
    let flushed = frozen.write().expect("a flush");
    let merged = table.compact(&flushed).expect("a merge");
    [flushed, merged].concat()
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges")]
fn pages_are_told_by_the_bounds_of_their_numbers() {
    let files = Files::default();
    // Three pages each.
    let segments = segment(
        &files,
        &[
            &|i| format!(r#"{{"status":{}}}"#, 200 + i % 5),
            &|i| format!(r#"{{"status":{}}}"#, if i == 70 { 499 } else { 500 + i % 5 }),
            &|i| format!(r#"{{"code":{}.25}}"#, i),
        ],
    );
    assert_eq!(segments.len(), 2);
    let compare = |name: &str, op, right| Predicate::Member { name: name.to_owned(), test: MemberTest::Compare(op, right) };
    let not = |p| Predicate::Not(Box::new(p));
    for meta in &segments {
        let segment = opened(&files, meta);
        let ranges = |p: &Predicate| Told::of(&segment.footer, 0, p).expect("something is told").ranges();
        let failed = compare("status", CompareOp::Ge, 500.0);
        assert_eq!(ranges(&failed), [192..384]);
        assert_eq!(ranges(&not(failed.clone())), [0..192, 256..320, 384..576], "all rows of two pages fail");
        assert_eq!(ranges(&compare("code", CompareOp::Lt, 64.0)), [384..448]);
        assert_eq!(ranges(&compare("code", CompareOp::Eq, 64.25)), [448..512]);
        let absent = Predicate::Member { name: "code".to_owned(), test: MemberTest::Absent };
        assert_eq!(ranges(&absent), [0..384]);
        let plain = Predicate::Member { name: "status".to_owned(), test: MemberTest::Plain };
        assert!(Told::of(&segment.footer, 0, &plain).expect("told").certain());
        assert!(!Told::of(&segment.footer, 0, &not(plain.clone())).expect("told").may_match());
        assert!(Told::of(&segment.footer, 0, &compare("status", CompareOp::Ne, f64::NAN)).is_some(), "of lines that lack it");
        assert!(Told::of(&segment.footer, 0, &Predicate::True).is_none());
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "a list of ranges")]
fn nothing_is_told_of_pages_with_lines_that_are_kept_whole() {
    let files = Files::default();
    let whole =
        |i: u64| if i == 100 { format!("{{\"status\":500,{}", "z".repeat(i as usize)) } else { format!(r#"{{"status":{i}}}"#) };
    for meta in segment(&files, &[&whole]) {
        let segment = opened(&files, &meta);
        let failed = Predicate::Member { name: "status".to_owned(), test: MemberTest::Compare(CompareOp::Ge, 500.0) };
        assert_eq!(Told::of(&segment.footer, 0, &failed).expect("told of the others").ranges(), [64..128]);
    }
}
