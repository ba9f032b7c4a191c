//! The log against a model, on the simulated disk. A model is a list of what was acknowledged; whatever the disk does, a
//! reader finds all of it, each once, in order, and nothing that was never appended.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use braid_store::disk::{Disk, SimDisk};
use braid_store::log::{Log, LogOptions, Look, Next, Pending, SyncMode};
use braid_store::{Record, StoreError};
use bytes::Bytes;
use model::Tenant;
use proptest::prelude::*;
use wire::Encoding;

const SMALL_FILES: LogOptions = LogOptions { sync: SyncMode::EveryCommit, file_bytes: 6_000, queue_bytes: 1 << 20 };

fn open(disk: &SimDisk, options: LogOptions) -> Result<Log, StoreError> {
    Log::open(Arc::new(disk.clone()), options, 0, &mut |_| {})
}

/// Appends payloads at once (they make one or more groups) and waits for every outcome.
fn append(log: &Log, payloads: &[Bytes]) -> Vec<Result<Record, StoreError>> {
    let (tell, hear) = mpsc::channel();
    for (i, payload) in payloads.iter().enumerate() {
        let tell = tell.clone();
        let done = Box::new(move |outcome| tell.send((i, outcome)).unwrap());
        let pending =
            Pending { tenant: Tenant::default(), encoding: Encoding::LokiPush, received: 1, payload: payload.clone(), done };
        log.append(pending).unwrap();
    }
    drop(tell);
    let mut outcomes: HashMap<usize, _> = hear.iter().collect();
    (0..payloads.len()).map(|i| outcomes.remove(&i).expect("every append is answered")).collect()
}

fn read_all(log: &Log) -> Vec<Record> {
    let mut reader = log.read_from(0);
    let mut out = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        out.push(record);
    }
    out
}

/// A payload that says which one it is; some hold what looks like a record of a log.
fn payload(n: u64, size: usize) -> Bytes {
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.extend(b"BRr1BRAIDLOG".iter().cycle().take(size));
    bytes.into()
}

fn number(record: &Record) -> u64 {
    u64::from_le_bytes(record.payload[..8].try_into().unwrap())
}

/// What must hold of everything read back: sequences grow, nothing is there twice, all `acknowledged` is there in order,
/// and what else is there was appended.
fn check(read: &[Record], acknowledged: &[u64], appended: u64) {
    assert!(read.windows(2).all(|w| w[0].sequence < w[1].sequence), "sequences grow");
    let numbers: Vec<u64> = read.iter().map(number).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), numbers.len(), "none twice: {numbers:?}");
    assert!(numbers.iter().all(|n| *n < appended), "nothing that was never appended: {numbers:?}");
    let mut rest = numbers.iter();
    for n in acknowledged {
        assert!(rest.any(|r| r == n), "{n} was acknowledged and is not there, or not in order: {numbers:?}, {acknowledged:?}");
    }
    for record in read {
        assert_eq!(record.payload, payload(number(record), record.payload.len() - 8), "byte for byte");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    FailWrites(u32),
    FailSyncs(u32),
    ReadOnly(bool),
    Capacity(Option<u64>),
    Reopen,
    Kill,
    Crash { after: u64, groups: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(0usize..3_000, 1..5).prop_map(Step::Append),
        1 => (1u32..3).prop_map(Step::FailWrites),
        1 => (1u32..3).prop_map(Step::FailSyncs),
        1 => any::<bool>().prop_map(Step::ReadOnly),
        1 => prop_oneof![Just(None), (0u64..40_000).prop_map(Some)].prop_map(Step::Capacity),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        3 => (0u64..12, 1usize..6).prop_map(|(after, groups)| Step::Crash { after, groups }),
    ]
}

/// Runs the steps and returns how much was acknowledged.
fn run(seed: u64, steps: &[Step]) -> usize {
    let mut disk = SimDisk::new(seed);
    let mut log = open(&disk, SMALL_FILES).unwrap();
    let (mut acknowledged, mut appended) = (Vec::new(), 0u64);
    let mut add = |log: &Log, sizes: &[usize], acknowledged: &mut Vec<u64>| {
        let first = appended;
        appended += sizes.len() as u64;
        let payloads: Vec<Bytes> = sizes.iter().zip(first..).map(|(size, n)| payload(n, *size)).collect();
        for (n, outcome) in (first..).zip(append(log, &payloads)) {
            if outcome.is_ok() {
                acknowledged.push(n);
            }
        }
        appended
    };
    let mut total = 0;
    let healthy = |disk: &SimDisk| {
        disk.set_read_only(false);
        disk.set_capacity(None);
        disk.fail_writes(0);
        disk.fail_syncs(0);
    };
    for step in steps {
        match step {
            Step::Append(sizes) => total = add(&log, sizes, &mut acknowledged),
            Step::FailWrites(n) => disk.fail_writes(*n),
            Step::FailSyncs(n) => disk.fail_syncs(*n),
            Step::ReadOnly(on) => disk.set_read_only(*on),
            Step::Capacity(bytes) => disk.set_capacity(*bytes),
            Step::Reopen => {
                healthy(&disk);
                drop(log);
                log = open(&disk, SMALL_FILES).unwrap();
            }
            Step::Kill => {
                healthy(&disk);
                disk = disk.kill();
                drop(log);
                log = open(&disk, SMALL_FILES).unwrap();
            }
            Step::Crash { after, groups } => {
                disk.halt_after(*after);
                for _ in 0..*groups {
                    total = add(&log, &[700, 10], &mut acknowledged);
                }
                disk = disk.crash();
                disk.set_capacity(None);
                drop(log);
                log = open(&disk, SMALL_FILES).unwrap();
            }
        }
        check(&read_all(&log), &acknowledged, total);
    }
    acknowledged.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_survive(seed: u64, steps in prop::collection::vec(step(), 1..14)) {
        run(seed, &steps);
    }
}

#[test]
fn the_model_test_acknowledges_enough_to_mean_something() {
    let steps: Vec<Step> = (0..6)
        .flat_map(|i| [Step::Append(vec![100; 3]), Step::Crash { after: i, groups: 3 }, Step::Append(vec![2_000])])
        .collect();
    assert!(run(1, &steps) > 24);
}

#[test]
fn a_failed_sync_refuses_the_group_and_the_next_one_goes_to_a_new_file() {
    let disk = SimDisk::new(3);
    let log = open(&disk, LogOptions::default()).unwrap();
    assert!(append(&log, &[payload(0, 10)])[0].is_ok());
    disk.fail_syncs(1);
    assert!(matches!(append(&log, &[payload(1, 10)])[0], Err(StoreError::Io { .. })));
    assert!(append(&log, &[payload(2, 10)])[0].is_ok());
    assert_eq!(disk.list("log").unwrap().len(), 2);
    assert_eq!(read_all(&log).iter().map(number).collect::<Vec<_>>(), [0, 2]);
    drop(log);
    let log = open(&disk.crash(), LogOptions::default()).unwrap();
    assert_eq!(read_all(&log).iter().map(number).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_full_or_read_only_disk_refuses_as_full_and_goes_on_when_it_can() {
    let disk = SimDisk::new(3);
    let log = open(&disk, LogOptions::default()).unwrap();
    disk.set_capacity(Some(5_000));
    let outcomes: Vec<bool> = (0..4).map(|n| append(&log, &[payload(n, 500)])[0].is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, false]);
    assert!(matches!(append(&log, &[payload(4, 500)])[0], Err(StoreError::Full(_))));
    disk.set_capacity(None);
    disk.set_read_only(true);
    assert!(matches!(append(&log, &[payload(5, 500)])[0], Err(StoreError::Full(_))));
    disk.set_read_only(false);
    assert!(append(&log, &[payload(6, 500)])[0].is_ok());
    assert_eq!(read_all(&log).iter().map(number).collect::<Vec<_>>(), [0, 6]);
}

/// A log of one file with `n` records of 100 bytes, closed.
fn filled(disk: &SimDisk, n: u64) -> String {
    let log = open(disk, LogOptions::default()).unwrap();
    for i in 0..n {
        assert!(append(&log, &[payload(i, 92)])[0].is_ok());
    }
    disk.files().into_iter().find(|f| f.starts_with("log/")).unwrap()
}

/// Where records begin in such a file, and how long each is: header, "default", payload.
const FIRST: u64 = 4096;
const LENGTH: u64 = 40 + 7 + 100;

#[test]
fn bit_flips_cost_the_record_they_hit_and_nothing_else() {
    for seed in 0..300u64 {
        let disk = SimDisk::new(seed);
        let path = filled(&disk, 20);
        let (hit, byte) = (seed % 20, (seed * 31) % LENGTH);
        assert!(disk.flip(&path, FIRST + hit * LENGTH + byte, (seed % 8) as u8));
        let log = open(&disk, LogOptions::default()).unwrap();
        let numbers: Vec<u64> = read_all(&log).iter().map(number).collect();
        let expected: Vec<u64> = (0..20).filter(|n| *n != hit).collect();
        assert_eq!(numbers, expected, "record {hit}, byte {byte}");
        let counters = log.counters();
        assert_eq!(counters.damaged_stretches.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(disk.files().iter().any(|f| f.starts_with("quarantine/log-")), "{:?}", disk.files());
        assert!(append(&log, &[payload(20, 0)])[0].is_ok(), "and it goes on");
        assert_eq!(read_all(&log).len(), 20);
    }
}

#[test]
fn a_file_without_a_header_is_quarantined_as_a_whole_and_the_others_are_read() {
    let disk = SimDisk::new(1);
    let log = open(&disk, SMALL_FILES).unwrap();
    for n in 0..9 {
        assert!(append(&log, &[payload(n, 1_000)])[0].is_ok());
    }
    drop(log);
    let files: Vec<String> = disk.files().into_iter().filter(|f| f.starts_with("log/")).collect();
    assert_eq!(files.len(), 5);
    for at in [0, 2048] {
        assert!(disk.flip(&files[1], at, 1));
    }
    let log = open(&disk, SMALL_FILES).unwrap();
    let numbers: Vec<u64> = read_all(&log).iter().map(number).collect();
    assert_eq!(numbers, [0, 1, 4, 5, 6, 7, 8]);
    assert!(disk.files().iter().any(|f| f.starts_with("quarantine/") && f.ends_with(".log")));
}

#[test]
fn a_damaged_tail_does_not_bring_sequences_back_that_are_covered() {
    let disk = SimDisk::new(1);
    let path = filled(&disk, 5);
    for n in 2..5 {
        assert!(disk.flip(&path, FIRST + n * LENGTH + 50, 0));
    }
    let log = Log::open(Arc::new(disk), LogOptions::default(), 5, &mut |_| {}).unwrap();
    let record = append(&log, &[payload(9, 0)]).remove(0).unwrap();
    assert_eq!(record.sequence, 6);
    assert_eq!(read_all(&log).iter().map(number).collect::<Vec<_>>(), [0, 1, 9]);
}

#[test]
fn a_reader_follows_the_writer_over_rotations_and_cuts() {
    let disk = SimDisk::new(1);
    let log = open(&disk, SMALL_FILES).unwrap();
    let mut reader = log.read_from(0);
    let mut seen = Vec::new();
    for n in 0..50 {
        assert!(append(&log, &[payload(n, 900)])[0].is_ok());
        if n % 3 == 0 {
            while let Some(record) = reader.next_record().unwrap() {
                seen.push(number(&record));
            }
        }
        if n % 10 == 9 {
            log.cut(reader.position() - 1);
        }
    }
    while let Some(record) = reader.next_record().unwrap() {
        seen.push(number(&record));
    }
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
    assert!(log.files().count() < 10, "{}", log.files().count());
    log.cut(50);
    for _ in 0..2_000 {
        if log.files().count() == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(log.files().count(), 0, "the file that was written to goes too when nothing in it is needed");
    assert_eq!(append(&log, &[payload(50, 1)]).remove(0).unwrap().sequence, 51);
    assert_eq!(reader.next_record().unwrap().map(|r| number(&r)), Some(50));
}

#[test]
fn the_interval_mode_survives_a_killed_process_and_keeps_a_prefix_through_a_power_cut() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let options = LogOptions { sync: SyncMode::Interval(Duration::from_millis(1)), ..LogOptions::default() };
        let log = open(&disk, options).unwrap();
        for n in 0..10 {
            assert!(append(&log, &[payload(n, 300)])[0].is_ok());
        }
        let disk = disk.kill();
        drop(log);
        let log = open(&disk, options).unwrap();
        assert_eq!(read_all(&log).len(), 10);
        drop(log);
        let log = open(&disk.crash(), options).unwrap();
        check(&read_all(&log), &[], 10);
    }
}

#[test]
fn a_record_that_is_to_be_read_later_stays_in_front_of_the_reader() {
    let disk = SimDisk::new(7);
    let log = open(&disk, SMALL_FILES).unwrap();
    append(&log, &[payload(0, 10), payload(1, 10), payload(2, 10)]);
    let mut reader = log.read_from(0);
    let mut next = |answer: Look| match reader.next_past(&mut |_, _| answer).unwrap() {
        Some(Next::Record(record)) => format!("read {}", number(&record)),
        Some(Next::Known(sequence)) => format!("known {sequence}"),
        None => "none".to_owned(),
    };
    assert_eq!((next(Look::Read), next(Look::Later), next(Look::Later)), ("read 0".into(), "none".into(), "none".into()));
    assert_eq!((next(Look::Read), next(Look::Known), next(Look::Read)), ("read 1".into(), "known 3".into(), "none".into()));
}
