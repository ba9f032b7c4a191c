//! The engine's promises over toy tables, on the simulated disk: what was acknowledged is there, once, in order, through
//! crashes, full and failing disks, damage and clocks that jump.

mod crash_toy;

use std::sync::Arc;
use std::time::Duration;

use braid_store::StoreError;
use braid_store::disk::{Disk, RealDisk, SimDisk};
use braid_store::engine::{ManualClock, Options};
use bytes::Bytes;
use crash_toy::{START, Toy};
use model::Tenant;
use proptest::prelude::*;
use wire::{Encoding, Signal};

fn options(disk: impl Disk + 'static, clock: &ManualClock) -> Options {
    let mut options = Options::new(Arc::new(disk));
    options.clock = Arc::new(clock.clone());
    options.min_free = 0;
    options
}

fn text(n: u64) -> Bytes {
    Bytes::from(format!("item {n}"))
}

fn texts(n: std::ops::Range<u64>) -> Vec<Bytes> {
    n.map(text).collect()
}

#[test]
fn what_is_acknowledged_is_visible_and_survives_close_flush_and_merge_on_the_real_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::new(START);
    for round in 0..4 {
        let toy = Toy::open(options(RealDisk::open(dir.path()).expect("opens"), &clock), &clock).expect("opens");
        toy.wait_until_replayed();
        assert_eq!(toy.payloads(Signal::Logs), texts(0..round * 10));
        for n in round * 10..round * 10 + 10 {
            toy.append(Encoding::LokiPush, text(n)).expect("kept");
            assert_eq!(toy.payloads(Signal::Logs), texts(0..n + 1), "visible as soon as it is acknowledged");
        }
        if round % 2 == 1 {
            toy.engine.flush_all().expect("settles");
            assert_eq!(toy.engine.stats().log_files, 0, "two manifests agree that nothing of the log is needed");
            assert_eq!(toy.engine.stats().segments[Signal::Logs as usize], 1);
        }
        assert_eq!(toy.payloads(Signal::Logs), texts(0..round * 10 + 10));
        toy.engine.close();
        assert!(matches!(toy.append(Encoding::LokiPush, text(999)), Err(StoreError::Closed)));
    }
    let segments: Vec<_> = walk(dir.path()).into_iter().filter(|f| f.contains("segments/")).collect();
    assert_eq!(segments.len(), 2, "one segment and its sidecar are left: {segments:?}");
}

fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { out.extend(walk(&path)) } else { out.push(path.display().to_string()) }
    }
    out
}

#[test]
fn a_second_opening_is_refused_while_the_first_lives_and_names_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::new(START);
    let open = || Toy::open(options(RealDisk::open(dir.path()).expect("opens"), &clock), &clock);
    let first = open().expect("opens");
    let error = open().err().expect("locked");
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    drop(first);
    open().expect("free again");
}

#[test]
fn a_retry_is_acknowledged_and_kept_once_also_across_a_restart_and_while_it_is_replayed() {
    let clock = ManualClock::new(START);
    let disk = SimDisk::new(1);
    let toy = Toy::open(options(disk.clone(), &clock), &clock).expect("opens");
    // Before that, appends resolve when they are durable, which may be before they are visible.
    toy.wait_until_replayed();
    for n in [1, 2, 1, 1, 3] {
        toy.append(Encoding::RemoteWrite, text(n)).expect("kept");
    }
    let same: Vec<_> = (0..8).map(|_| text(4)).collect();
    assert!(toy.append_all(Encoding::RemoteWrite, same).iter().all(Result::is_ok));
    assert_eq!(toy.payloads(Signal::Metrics), texts(1..5));
    assert_eq!(toy.engine.stats().duplicates, 9);
    let disk = disk.crash();
    drop(toy);
    let toy = Toy::open(options(disk, &clock), &clock).expect("opens");
    for n in [4, 1, 5] {
        toy.append(Encoding::RemoteWrite, text(n)).expect("kept");
    }
    toy.wait_until_replayed();
    assert_eq!(toy.payloads(Signal::Metrics), texts(1..6));
    toy.append_as(&Tenant::new("other").expect("valid"), Encoding::RemoteWrite, text(5)).expect("kept");
    assert_eq!(toy.rows_of(&Tenant::new("other").expect("valid"), Signal::Metrics).len(), 1, "another tenant's is another");
}

#[test]
fn heads_are_flushed_by_size_and_by_age() {
    let clock = ManualClock::new(START);
    let mut o = options(SimDisk::new(1), &clock);
    o.flush_bytes = 1000;
    let toy = Toy::open(o, &clock).expect("opens");
    toy.append(Encoding::OtlpTraces, vec![1u8; 2000]).expect("kept");
    wait(|| toy.engine.stats().flushes == 1);
    toy.append(Encoding::OtlpTraces, vec![2u8; 10]).expect("kept");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(toy.engine.stats().flushes, 1);
    clock.advance(Duration::from_secs(301));
    wait(|| toy.engine.stats().flushes == 2);
    assert_eq!(toy.payloads(Signal::Traces).len(), 2);
}

fn wait(done: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it did not happen within twenty seconds");
}

#[derive(Debug, Clone)]
enum Step {
    Append(Signal, usize),
    Flush(Signal),
    Settle,
    Fail {
        writes: u32,
        syncs: u32,
    },
    Capacity(Option<u64>),
    /// The machine stops at the so-manieth operation of what follows: appends and flushes.
    Crash {
        after: u64,
        damage_manifest: bool,
    },
    Restart,
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Traces), Just(Signal::Logs), Just(Signal::Metrics)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (signal(), 1usize..6).prop_map(|(s, n)| Step::Append(s, n)),
        3 => signal().prop_map(Step::Flush),
        1 => Just(Step::Settle),
        1 => (0u32..2, 0u32..3).prop_map(|(writes, syncs)| Step::Fail { writes, syncs }),
        1 => prop_oneof![Just(None), (5_000u64..60_000).prop_map(Some)].prop_map(Step::Capacity),
        3 => (0u64..60, any::<bool>()).prop_map(|(after, damage_manifest)| Step::Crash { after, damage_manifest }),
        1 => Just(Step::Restart),
    ]
}

fn encoding(signal: Signal) -> Encoding {
    match signal {
        Signal::Traces => Encoding::OtlpTraces,
        Signal::Logs => Encoding::LokiPush,
        Signal::Metrics => Encoding::RemoteWrite,
    }
}

/// What was asked of the engine, and what it said.
#[derive(Default)]
struct Model {
    appended: u64,
    acknowledged: [Vec<Bytes>; 3],
    refused: Vec<(Signal, Bytes)>,
}

impl Model {
    fn append(&mut self, toy: &Toy, signal: Signal, n: usize) {
        let payloads = texts(self.appended..self.appended + n as u64);
        self.appended += n as u64;
        self.send(toy, signal, payloads);
    }

    fn send(&mut self, toy: &Toy, signal: Signal, payloads: Vec<Bytes>) {
        for (payload, outcome) in payloads.clone().into_iter().zip(toy.append_all(encoding(signal), payloads)) {
            match outcome {
                Ok(()) => self.acknowledged[signal as usize].push(payload),
                Err(_) => self.refused.push((signal, payload)),
            }
        }
    }

    /// What was refused (and may be there all the same) comes again, as clients do; half of it while the log is replayed.
    fn retry(&mut self, toy: &Toy) {
        for (i, (signal, payload)) in std::mem::take(&mut self.refused).into_iter().enumerate() {
            if i % 2 == 1 {
                toy.wait_until_replayed();
            }
            self.send(toy, signal, vec![payload]);
        }
        assert!(self.refused.is_empty(), "a healthy disk takes everything: {:?}", self.refused);
    }

    /// Every acknowledged payload is there once; nothing is there twice or was never sent; replay kept the order.
    fn check(&self, toy: &Toy) {
        toy.wait_until_replayed();
        for signal in Signal::ALL {
            let mut rows = toy.payloads(signal);
            let known = rows.len();
            rows.sort();
            rows.dedup();
            assert_eq!(rows.len(), known, "a row is there twice: {:?}", toy.rows(signal));
            for payload in &self.acknowledged[signal as usize] {
                assert!(
                    rows.binary_search(payload).is_ok(),
                    "{payload:?} is lost: {:?}, {:?}",
                    toy.rows(signal),
                    toy.engine.stats()
                );
            }
            let sent = self.acknowledged[signal as usize].iter().chain(self.refused.iter().map(|(_, p)| p));
            assert!(rows.len() <= sent.count(), "something was never sent");
            let applied = toy.tables[signal as usize].applied();
            assert!(applied.windows(2).all(|w| w[0] < w[1]), "in the order of the log: {applied:?}");
        }
    }
}

fn run(seed: u64, steps: &[Step]) -> Model {
    let clock = ManualClock::new(START);
    let mut disk = SimDisk::new(seed);
    let small = |disk: &SimDisk| {
        let mut o = options(disk.clone(), &clock);
        o.log.file_bytes = 4_500;
        o.merge_at = 3;
        o.busy_after = Duration::from_millis(20);
        o
    };
    let mut toy = Toy::open(small(&disk), &clock).expect("opens");
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Append(signal, n) => model.append(&toy, *signal, *n),
            // Whether it succeeds is the disk's affair.
            Step::Flush(signal) => drop(toy.engine.flush(*signal)),
            Step::Settle => drop(toy.engine.flush_all()),
            Step::Fail { writes, syncs } => {
                disk.fail_writes(*writes);
                disk.fail_syncs(*syncs);
            }
            Step::Capacity(bytes) => disk.set_capacity(*bytes),
            Step::Crash { after, damage_manifest } => {
                disk.halt_after(*after);
                for signal in Signal::ALL {
                    model.append(&toy, signal, 2);
                    drop(toy.engine.flush(signal));
                }
                drop(toy.engine.flush_all());
                disk = disk.crash();
                drop(toy);
                disk.set_capacity(None);
                if *damage_manifest
                    && let Some(newest) = disk.files().into_iter().rfind(|f| f.starts_with("manifest/") && f.ends_with(".json"))
                {
                    disk.flip(&newest, 60 + seed % 50, 2);
                }
                toy = Toy::open(small(&disk), &clock).expect("opens after a crash");
                model.retry(&toy);
            }
            Step::Restart => {
                disk.set_capacity(None);
                disk.fail_writes(0);
                disk.fail_syncs(0);
                drop(toy);
                toy = Toy::open(small(&disk), &clock).expect("opens");
                model.retry(&toy);
            }
        }
        model.check(&toy);
    }
    disk.set_capacity(None);
    disk.fail_writes(0);
    disk.fail_syncs(0);
    model.retry(&toy);
    model.check(&toy);
    toy.engine.flush_all().expect("settles");
    model.check(&toy);
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_rows_survive_crashes_at_any_operation(seed: u64, steps in prop::collection::vec(step(), 1..10)) {
        run(seed, &steps);
    }
}
