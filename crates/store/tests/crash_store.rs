//! The whole store, with its real tables, through crashes at any operation of the simulated disk: spans, lines and samples
//! that were acknowledged are answered once, whether they come from the log, a head, a segment or a merged segment.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use braid_store::disk::SimDisk;
use braid_store::engine::{ManualClock, Options};
use braid_store::series::SeriesOptions;
use braid_store::{
    Column, Deletion, Doomed, Field, LabelMatcher, MatchOp, Order, Predicate, Reader, Request, Scan, Source, Store, StoreError,
    Table, Writer,
};
use bytes::Bytes;
use model::{Tenant, TimeRange};
use proptest::prelude::*;
use wire::Encoding;

/// 2026-01-01.
const START: i64 = 1_767_225_600_000_000_000;

/// What the clock says at first: rows lie behind it.
const NOW: i64 = START + 6 * 3_600_000_000_000;

/// Whose the `n`th request is: two tenants, whose rows share segments.
fn tenant(n: u64) -> Tenant {
    if (n / 3).is_multiple_of(2) { Tenant::default() } else { Tenant::new("other").unwrap() }
}

/// The `n`th request: a span, a line or a sample that carries `n`.
fn request(n: u64) -> (Encoding, String) {
    let time = START + i64::try_from(n).unwrap() * 60_000_000_000;
    match n % 3 {
        0 => (
            Encoding::OtlpTracesJson,
            format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
                "scopeSpans":[{{"spans":[{{"traceId":"{:032x}","spanId":"{:016x}","name":"{n}","kind":2,
                "startTimeUnixNano":"{time}","endTimeUnixNano":"{}"}}]}}]}}]}}"#,
                n + 1,
                n + 1,
                time + 5
            ),
        ),
        1 => (Encoding::LokiPushJson, format!(r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{time}","{n}"]]}}]}}"#)),
        _ => (
            Encoding::OtlpMetricsJson,
            format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"items","gauge":{{"dataPoints":[
                {{"timeUnixNano":"{time}","asDouble":{n}}}]}}}}]}}]}}]}}"#
            ),
        ),
    }
}

fn rows(reader: &dyn Reader, tenant: &Tenant, table: Table, field: Field) -> Vec<u64> {
    let scan = Scan {
        tenant: tenant.clone(),
        table,
        range: TimeRange::ALL,
        predicate: Predicate::True,
        projection: vec![Column::Field(field)],
        order: Order::Any,
        limit: None,
    };
    let mut out = Vec::new();
    for batch in reader.scan(&scan).unwrap() {
        let batch = batch.unwrap();
        out.extend((0..batch.rows()).map(|row| batch.text(row, field).parse::<u64>().unwrap()));
    }
    out
}

/// Every number that is found, however often, sorted; each is its tenant's.
fn found(store: &Store) -> Vec<u64> {
    let mut out: Vec<u64> = Vec::new();
    for whose in [tenant(0), tenant(3)] {
        let own = found_of(store, &whose);
        assert!(own.iter().all(|n| tenant(*n) == whose), "{whose} sees what others have: {own:?}");
        out.extend(own);
    }
    out.sort_unstable();
    out
}

fn found_of(store: &Store, tenant: &Tenant) -> Vec<u64> {
    let reader = store.snapshot();
    let mut out = rows(&*reader, tenant, Table::Spans, Field::Name);
    out.extend(rows(&*reader, tenant, Table::Logs, Field::Body));
    for series in reader.samples(tenant, &[], i64::MIN / 2_000_000, i64::MAX / 2_000_000).unwrap() {
        let series = series.unwrap();
        if series.labels.get("__name__") == Some("items") {
            out.extend(series.values.iter().map(|v| *v as u64));
        }
    }
    out.sort_unstable();
    out
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Settle,
    /// Rows of these minutes, of one signal.
    Delete(u64, u64, u8),
    Crash {
        after: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..30).prop_map(Step::Append),
        2 => Just(Step::Settle),
        2 => (0u64..60, 1u64..30, 0u8..3).prop_map(|(from, n, signal)| Step::Delete(from, from + n, signal)),
        3 => (0u64..80).prop_map(|after| Step::Crash { after }),
        1 => Just(Step::Restart),
    ]
}

fn open(disk: &SimDisk, clock: &ManualClock) -> Store {
    let mut options = Options::new(Arc::new(disk.clone()));
    options.clock = Arc::new(clock.clone());
    options.min_free = 0;
    options.log.file_bytes = 8_000;
    options.merge_at = 3;
    options.busy_after = Duration::from_millis(20);
    Store::open(options, SeriesOptions::default()).unwrap()
}

/// Deletes the rows of these minutes that are of one signal.
fn delete(store: &Store, from: u64, to: u64, signal: u8) -> Result<(), StoreError> {
    let at = |n: u64| START + i64::try_from(n).unwrap() * 60_000_000_000;
    let doomed = match signal {
        0 => Doomed::Spans(Predicate::eq(Column::Attribute { scope: None, key: "service.name".into() }, "shop")),
        1 => Doomed::Lines(Predicate::True),
        _ => Doomed::Series(vec![vec![LabelMatcher::new("__name__", MatchOp::Re, "it.*").unwrap()]]),
    };
    let deletion = Deletion {
        tenant: Tenant::default(),
        range: TimeRange::new(at(from), at(to)),
        doomed,
        words: "some".into(),
        delay: Duration::ZERO,
    };
    store.delete(deletion).map(drop)
}

fn wait_until_replayed(store: &Store) {
    while store.snapshot().partial().is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn run(seed: u64, steps: &[Step]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let clock = ManualClock::new(NOW);
    let mut disk = SimDisk::new(seed);
    let mut store = open(&disk, &clock);
    let (mut next, mut acknowledged, mut refused, mut deletions) = (0, Vec::new(), Vec::<u64>::new(), Vec::new());
    let send = |store: &Store, n: u64| -> Result<(), StoreError> {
        let (encoding, payload) = request(n);
        runtime.block_on(store.append(Request { tenant: tenant(n), encoding, payload: Bytes::from(payload) })).map(drop)
    };
    for step in steps {
        match step {
            Step::Append(count) => {
                for n in next..next + count {
                    send(&store, n).unwrap();
                    acknowledged.push(n);
                }
                next += count;
            }
            Step::Settle => store.settle().unwrap(),
            Step::Delete(from, to, signal) => {
                delete(&store, *from, *to, *signal).unwrap();
                acknowledged.retain(|n| tenant(*n) != tenant(0) || n % 3 != u64::from(*signal) || !(from..to).contains(&n));
            }
            Step::Restart => {
                drop(store);
                store = open(&disk, &clock);
            }
            Step::Crash { after } => {
                disk.halt_after(*after);
                for n in next..next + 9 {
                    if send(&store, n).is_ok() {
                        acknowledged.push(n)
                    } else {
                        refused.push(n)
                    }
                    if n % 4 == 3 {
                        drop(store.settle());
                    }
                    if n % 5 == 4 {
                        // Whether it came to pass or not: it is ordered again below.
                        drop(delete(&store, n - 3, n, (n % 3) as u8));
                        deletions.push((n - 3, n, (n % 3) as u8));
                    }
                }
                next += 9;
                disk = disk.crash();
                drop(store);
                store = open(&disk, &clock);
                for (from, to, signal) in deletions.drain(..) {
                    // Also while the log is replayed.
                    delete(&store, from, to, signal).unwrap();
                    let stays = |n: &u64| tenant(*n) != tenant(0) || n % 3 != u64::from(signal) || !(from..to).contains(n);
                    acknowledged.retain(stays);
                    refused.retain(stays);
                }
                // Clients come again with what was refused, and it may be there.
                for n in refused.drain(..) {
                    send(&store, n).unwrap();
                    acknowledged.push(n);
                }
            }
        }
        wait_until_replayed(&store);
        acknowledged.sort_unstable();
        assert_eq!(found(&store), acknowledged, "{:?}", store.stats());
    }
    store.settle().unwrap();
    assert_eq!(found(&store), acknowledged);
    assert_eq!(store.stats().deletions_pending, 0);
    assert_eq!(store.stats().unreadable, 0);
    acknowledged.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_answered_once_through_crashes(seed: u64, steps in prop::collection::vec(step(), 1..7)) {
        run(seed, &steps);
    }
}

#[test]
fn the_store_answers_before_and_after_settling_and_a_restart() {
    assert_eq!(run(1, &[Step::Append(30), Step::Settle, Step::Append(30), Step::Restart, Step::Settle, Step::Restart]), 60);
}

#[test]
fn what_comes_after_a_deletion_from_an_empty_head_stays() {
    for signal in 0..3 {
        run(1, &[Step::Append(12), Step::Settle, Step::Delete(4, 15, signal), Step::Append(6), Step::Settle, Step::Restart]);
    }
}

#[test]
fn after_cleaning_no_byte_of_what_was_deleted_is_left() {
    let disk = SimDisk::new(7);
    let clock = ManualClock::new(NOW);
    let store = open(&disk, &clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let line = |n: i64, text: &str| {
        let body = format!(r#"{{"streams":[{{"stream":{{"app":"shop"}},"values":[["{}","{text} {n}"]]}}]}}"#, START + n);
        Request { tenant: Tenant::default(), encoding: Encoding::LokiPushJson, payload: body.into() }
    };
    let keep = |text: &str| {
        for n in 0..50 {
            runtime.block_on(store.append(line(n, text))).unwrap();
        }
    };
    let contains = |needle: &str| Predicate::Contains { column: Column::Field(Field::Body), needle: needle.into() };
    let secret = || Deletion {
        tenant: Tenant::default(),
        range: TimeRange::ALL,
        doomed: Doomed::Lines(contains("secret")),
        words: String::new(),
        delay: Duration::ZERO,
    };
    let count = |needle: &str| {
        let scan = Scan {
            tenant: Tenant::default(),
            table: Table::Logs,
            range: TimeRange::ALL,
            predicate: contains(needle),
            projection: vec![Column::Field(Field::Body)],
            order: Order::Any,
            limit: None,
        };
        store.snapshot().scan(&scan).unwrap().map(|b| b.unwrap().rows()).sum::<usize>()
    };
    keep("the secret");
    keep("the public");
    store.settle().unwrap();
    let old = store.snapshot();
    store.delete(secret()).unwrap();
    assert_eq!((count("secret"), count("public")), (0, 50));
    assert_eq!(store.stats().deletions_pending, 1);
    drop(old);
    store.clean().unwrap();
    assert_eq!((count("secret"), count("public")), (0, 50));
    assert_eq!((store.stats().deletions_pending, store.stats().rewritten), (0, 1));
    // What is sent again after the deletion is new.
    keep("the secret");
    assert_eq!(count("secret"), 50);
    let listed = store.snapshot().tombstones(&Tenant::default());
    assert!(listed.len() == 1 && listed[0].cleaned > 0);
    drop(store);
    let store = open(&disk, &clock);
    wait_until_replayed(&store);
    assert_eq!(found_lines(&store), 100);
    store.delete(secret()).unwrap();
    store.clean().unwrap();
    assert_eq!(found_lines(&store), 50);
}

#[test]
fn a_request_to_delete_is_cancelled_or_carried_out_whole_through_crashes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for seed in 0..120 {
        let (disk, clock) = (SimDisk::new(seed), ManualClock::new(NOW));
        let store = open(&disk, &clock);
        let push = |store: &Store, n: u64| {
            let (encoding, payload) = request(n);
            runtime.block_on(store.append(Request { tenant: Tenant::default(), encoding, payload: payload.into() })).unwrap();
        };
        // Lines in a segment and in the head.
        (0..6).for_each(|n| push(&store, n * 3 + 1));
        store.settle().unwrap();
        (6..12).for_each(|n| push(&store, n * 3 + 1));
        wait_until_replayed(&store);
        disk.halt_after(seed % 24);
        let (tenant, delay) = (Tenant::default(), Duration::from_secs(60));
        let doomed = Doomed::Lines(Predicate::True);
        let ordered = store.delete(Deletion { tenant, range: TimeRange::ALL, doomed, words: "all".into(), delay });
        let shown = ordered.is_ok().then(|| found_lines(&store));
        assert!(shown.is_none_or(|shown| shown == 0), "seed {seed}: what is to be deleted is hidden at once");
        let id = ordered.as_ref().map_or(0, |request| request.sequence);
        let cancelled = (seed % 3 < 2).then(|| store.cancel(&Tenant::default(), id));
        if ordered.is_ok() && seed % 3 == 2 {
            // Its time comes before the crash, or after it.
            clock.advance(Duration::from_secs(if seed % 2 == 0 { 0 } else { 120 }));
            std::thread::sleep(Duration::from_millis(5));
            drop(store.clean());
        }
        let disk = disk.crash();
        drop(store);
        let mut left = None;
        for _ in 0..3 {
            let store = open(&disk, &clock);
            wait_until_replayed(&store);
            let lines = found_lines(&store);
            match (&ordered, &cancelled) {
                (Ok(_), None) => assert_eq!(lines, 0, "seed {seed}: it was acknowledged"),
                (Ok(_), Some(Ok(true))) => assert_eq!(lines, 12, "seed {seed}: that it is cancelled was acknowledged"),
                _ => assert!(lines == 0 || lines == 12, "seed {seed}: {lines} of 12 are left"),
            }
            assert!(left.is_none_or(|left| left == lines), "seed {seed}: {left:?}, then {lines}");
            left = Some(lines);
            clock.advance(Duration::from_secs(120));
            store.clean().unwrap();
            assert_eq!(found_lines(&store), lines, "seed {seed}: what was hidden goes, what was shown stays");
            assert_eq!((store.stats().deletions_waiting, store.stats().unreadable), (0, 0), "seed {seed}");
        }
    }
}

fn found_lines(store: &Store) -> usize {
    let scan = Scan {
        tenant: Tenant::default(),
        table: Table::Logs,
        range: TimeRange::ALL,
        predicate: Predicate::True,
        projection: Vec::new(),
        order: Order::Any,
        limit: None,
    };
    store.snapshot().scan(&scan).unwrap().map(|b| b.unwrap().rows()).sum()
}

/// Segments on the disk.
fn segment_files(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|file| file.starts_with("segments/")).collect()
}

#[test]
fn many_small_tenants_make_few_files_and_each_finds_its_own() {
    const TENANTS: u64 = 60;
    let disk = SimDisk::new(11);
    let clock = ManualClock::new(NOW);
    let mut store = open(&disk, &clock);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let name = |n: u64| Tenant::new(&format!("team-{n}")).unwrap();
    let mut most = (0, 0);
    // An hour, with a flush every five minutes; requests 3n to 3n + 2 are of one tenant, and of all three signals.
    for round in 0..12 {
        for n in round * TENANTS * 3..(round + 1) * TENANTS * 3 {
            let (encoding, payload) = request(n % 180 + round * 3);
            let tenant = name(n / 3 % TENANTS);
            runtime.block_on(store.append(Request { tenant, encoding, payload: Bytes::from(payload) })).unwrap();
        }
        let held: usize = store.stats().head_bytes.iter().sum();
        for signal in wire::Signal::ALL {
            store.flush(signal).unwrap();
        }
        most = (most.0.max(segment_files(&disk).len()), most.1.max(held));
    }
    // Three signals, at most four hours, as many flushes as there are, whatever the number of tenants.
    assert!(most.0 <= 3 * 4 * 12 * 2, "{} files", most.0);
    store.settle().unwrap();
    // Of an hour that only one tenant had rows of in a flush there is one more.
    assert!(segment_files(&disk).len() <= 3 * 4 + 3, "{:?}", segment_files(&disk));
    // A head of some rows a tenant, not of some builders a tenant: 50 KiB each for three signals.
    assert!(most.1 < TENANTS as usize * (50 << 10), "{} bytes in heads", most.1);
    drop(store);
    store = open(&disk, &clock);
    for n in 0..TENANTS {
        let mut own = found_of(&store, &name(n));
        own.sort_unstable();
        let mut expected: Vec<u64> = (0..12).flat_map(|round| (0..3).map(move |i| (n * 3 + i) % 180 + round * 3)).collect();
        expected.sort_unstable();
        assert_eq!(own, expected, "tenant {n}");
    }
    let nobody = Tenant::new("nobody").unwrap();
    assert_eq!(found_of(&store, &nobody), Vec::<u64>::new());
}
