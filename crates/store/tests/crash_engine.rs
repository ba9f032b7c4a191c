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
