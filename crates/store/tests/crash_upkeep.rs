//! What the engine does unasked, over toy tables: retention, merging, unlinking, refusing, quarantine, named readers.

#![allow(clippy::unwrap_used)]

mod crash_toy;

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use braid_store::StoreError;
use braid_store::disk::{Disk, SimDisk};
use braid_store::engine::{ManualClock, Options};
use braid_store::log::AtCap;
use bytes::Bytes;
use crash_toy::{START, Toy};
use wire::{Encoding, Signal};

const HOUR: Duration = Duration::from_secs(3600);

fn options(disk: &SimDisk, clock: &ManualClock) -> Options {
    let mut options = Options::new(Arc::new(disk.clone()));
    options.clock = Arc::new(clock.clone());
    options.min_free = 0;
    options.busy_after = Duration::from_millis(50);
    options
}

fn text(n: u64) -> Bytes {
    Bytes::from(format!("item {n}"))
}

fn append(toy: &Toy, n: u64) {
    toy.append(Encoding::LokiPush, text(n)).unwrap();
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

fn segment_files(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().filter(|f| f.starts_with("segments/")).collect()
}

/// An engine that has read its log: before that, appends resolve when they are durable, which may be before they are visible.
fn opened(options: Options, clock: &ManualClock) -> Toy {
    let toy = Toy::open(options, clock).unwrap();
    wait(|| toy.engine.partial().is_none());
    toy
}

#[test]
fn segments_go_when_their_last_row_is_older_than_the_retention_and_not_when_the_clock_is_set() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    append(&toy, 0);
    toy.append(Encoding::RemoteWrite, text(1)).unwrap();
    toy.engine.flush_all().unwrap();
    // Set a thousand days forward, back to 1970, and forward again: nothing may go.
    for now in [START + 1_000 * 24 * 3_600_000_000_000, 0, i64::MAX, i64::MIN, START] {
        clock.set(now);
        toy.engine.expire();
        assert_eq!(toy.engine.stats().segments, [0, 1, 1], "clock at {now}");
    }
    for _ in 0..7 * 24 {
        clock.advance(HOUR);
        toy.engine.expire();
    }
    assert_eq!(toy.engine.stats().segments, [0, 1, 1], "the hour's last row may be at its end");
    clock.advance(2 * HOUR);
    toy.engine.expire();
    assert_eq!(toy.engine.stats().segments, [0, 0, 1], "logs stay seven days, metrics fifteen");
    assert_eq!(toy.engine.stats().expired, 1);
    toy.engine.flush_all().unwrap();
    assert!(segment_files(&disk).iter().all(|f| f.contains("/metrics/")), "{:?}", segment_files(&disk));
}

#[test]
fn a_start_under_a_clock_far_ahead_deletes_nothing() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    append(&toy, 0);
    toy.engine.flush_all().unwrap();
    drop(toy);
    let clock = ManualClock::new(START + 3_000 * 24 * 3_600_000_000_000);
    let toy = opened(options(&disk, &clock), &clock);
    toy.engine.expire();
    assert_eq!(toy.payloads(Signal::Logs), [text(0)]);
    clock.advance(30 * HOUR);
    toy.engine.expire();
    clock.advance(30 * HOUR);
    toy.engine.expire();
    assert_eq!(toy.payloads(Signal::Logs), Vec::<Bytes>::new(), "a clock that runs on like that for a day is believed");
}

#[test]
fn above_the_total_size_the_oldest_hours_go_first() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let mut o = options(&disk, &clock);
    o.max_bytes = Some(300);
    let toy = opened(o, &clock);
    for n in 0..4 {
        toy.append(Encoding::LokiPush, vec![n; 100]).unwrap();
        toy.engine.flush(Signal::Logs).unwrap();
        clock.advance(HOUR);
    }
    toy.engine.expire();
    let left: Vec<u8> = toy.payloads(Signal::Logs).iter().map(|p| p[0]).collect();
    assert_eq!(left, [2, 3]);
}

#[test]
fn segments_of_an_hour_that_is_over_become_one_and_files_go_only_when_nobody_reads_them() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    for n in 0..3 {
        append(&toy, n);
        toy.engine.flush(Signal::Logs).unwrap();
    }
    assert_eq!(segment_files(&disk).len(), 6);
    let held = toy.engine.manifest_view();
    clock.advance(3 * HOUR);
    wait(|| toy.engine.stats().compactions == 1);
    assert_eq!(toy.engine.stats().segments[Signal::Logs as usize], 1);
    toy.engine.flush_all().unwrap();
    assert_eq!(segment_files(&disk).len(), 8, "a view is held");
    assert_eq!(held.of(Signal::Logs).len(), 3);
    drop(held);
    clock.advance(HOUR);
    wait(|| segment_files(&disk).len() == 2);
    assert_eq!(toy.payloads(Signal::Logs), [text(0), text(1), text(2)]);
}

#[test]
fn a_segment_that_stays_alone_is_written_once_more_when_its_hour_is_over() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    append(&toy, 0);
    toy.engine.flush(Signal::Logs).unwrap();
    let level = || toy.engine.manifest_view().of(Signal::Logs).iter().map(|s| s.level).collect::<Vec<_>>();
    assert_eq!(level(), [0]);
    clock.advance(3 * HOUR);
    // As a flush wrote it it is not compressed.
    wait(|| level() == [1]);
    assert_eq!(toy.payloads(Signal::Logs), [text(0)]);
    clock.advance(HOUR);
    wait(|| segment_files(&disk).len() == 2);
    assert_eq!((toy.engine.stats().compactions, level()), (1, vec![1]), "and not again");
}

#[test]
fn below_the_watermark_appends_are_refused_and_queries_go_on_until_there_is_space_again() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let mut o = options(&disk, &clock);
    o.min_free = 100_000;
    let toy = opened(o, &clock);
    append(&toy, 0);
    disk.set_capacity(Some(50_000));
    wait(|| {
        clock.advance(Duration::from_secs(2));
        toy.engine.stats().full
    });
    assert!(matches!(toy.append(Encoding::LokiPush, text(1)), Err(StoreError::Full(_))));
    assert_eq!(toy.payloads(Signal::Logs), [text(0)]);
    toy.engine.flush(Signal::Logs).expect("what is in memory may still be written");
    disk.set_capacity(None);
    wait(|| !toy.engine.stats().full);
    append(&toy, 1);
    assert_eq!(toy.payloads(Signal::Logs), [text(0), text(1)]);
}

#[test]
fn heads_that_cannot_be_written_refuse_appends_as_busy_and_lose_nothing() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let mut o = options(&disk, &clock);
    (o.flush_bytes, o.heads_bytes) = (1_000, 3_000);
    let toy = opened(o, &clock);
    // Room for the log, not for segments: their writes fail.
    let mut kept = 0;
    disk.set_capacity(Some(9_000));
    let error = loop {
        match toy.append(Encoding::LokiPush, vec![kept as u8; 700]) {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, StoreError::Busy(_) | StoreError::Full(_)), "{error}");
    assert_eq!(toy.payloads(Signal::Logs).len(), kept);
    disk.set_capacity(None);
    wait(|| toy.append(Encoding::LokiPush, vec![200u8; 700]).is_ok());
    toy.engine.flush_all().unwrap();
    assert_eq!(toy.payloads(Signal::Logs).len(), kept + 1);
}

#[test]
fn missing_and_damaged_segments_are_quarantined_and_the_rest_is_served() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    for n in 0..4 {
        append(&toy, n);
        toy.engine.flush(Signal::Logs).unwrap();
        clock.advance(HOUR);
    }
    toy.engine.flush_all().unwrap();
    drop(toy);
    let files: Vec<String> = segment_files(&disk).into_iter().filter(|f| f.ends_with(".parquet")).collect();
    assert_eq!(files.len(), 4);
    disk.remove(&files[0]).unwrap();
    assert!(disk.flip(&files[2], 14, 5));
    let toy = opened(options(&disk, &clock), &clock);
    toy.wait_until_replayed();
    wait(|| toy.engine.stats().segments[Signal::Logs as usize] == 3);
    assert_eq!(toy.payloads(Signal::Logs), [text(1), text(3)]);
    wait(|| toy.engine.stats().segments[Signal::Logs as usize] == 2);
    assert_eq!(toy.engine.stats().quarantined, 2);
    assert!(disk.files().iter().any(|f| f.starts_with("quarantine/segments_")), "{:?}", disk.files());
    drop(toy);
    let toy = opened(options(&disk, &clock), &clock);
    assert_eq!(toy.payloads(Signal::Logs), [text(1), text(3)]);
    assert_eq!(toy.engine.stats().quarantined, 0, "once is enough");
}

#[test]
fn a_damaged_input_of_a_merge_is_quarantined_and_the_others_are_merged() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    for n in 0..4 {
        append(&toy, n);
        toy.engine.flush(Signal::Logs).unwrap();
    }
    let files: Vec<String> = segment_files(&disk).into_iter().filter(|f| f.ends_with(".parquet")).collect();
    assert!(disk.flip(&files[1], 14, 5));
    toy.engine.flush_all().unwrap();
    wait(|| toy.engine.stats().segments[Signal::Logs as usize] < 4);
    toy.engine.flush_all().unwrap();
    assert_eq!(toy.payloads(Signal::Logs), [text(0), text(2), text(3)]);
    assert_eq!(toy.engine.stats().segments[Signal::Logs as usize], 1);
}

#[test]
fn a_named_reader_goes_on_where_it_saved_and_the_log_is_kept_for_it() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    append(&toy, 0);
    let mut reader = toy.engine.reader("exporter", AtCap::Block).unwrap();
    for n in 1..6 {
        append(&toy, n);
    }
    let mut next = || reader.next_record().unwrap().map(|r| r.payload);
    assert_eq!((next(), next()), (Some(text(1)), Some(text(2))), "a new reader begins with what comes");
    reader.save().unwrap();
    assert_eq!(reader.next_record().unwrap().map(|r| r.payload), Some(text(3)), "read, and not saved");
    toy.engine.flush_all().unwrap();
    assert!(toy.engine.stats().log_files > 0, "the reader still needs it");
    drop(reader);
    let disk = disk.crash();
    drop(toy);
    let toy = opened(options(&disk, &clock), &clock);
    let mut reader = toy.engine.reader("exporter", AtCap::Block).unwrap();
    let mut rest = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        rest.push(record.payload);
    }
    assert_eq!(rest, [text(3), text(4), text(5)]);
    reader.save().unwrap();
    toy.engine.flush_all().unwrap();
    wait(|| toy.engine.stats().log_files == 0);
}

#[test]
fn a_named_readers_state_and_position_survive_together() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    let mut reader = toy.engine.reader("graph", AtCap::DropOldest).unwrap();
    assert_eq!(reader.state().unwrap(), None);
    for n in 0..3 {
        append(&toy, n);
    }
    reader.next_record().unwrap();
    reader.save_with(b"one").unwrap();
    reader.next_record().unwrap();
    assert_eq!(reader.behind(), 1);
    drop(reader);
    let disk = disk.crash();
    drop(toy);
    let toy = opened(options(&disk, &clock), &clock);
    let mut reader = toy.engine.reader("graph", AtCap::DropOldest).unwrap();
    assert_eq!(reader.state().unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(reader.next_record().unwrap().map(|r| r.payload), Some(text(1)), "what belongs to the state comes next");
    reader.save().unwrap();
    assert_eq!(reader.state().unwrap().as_deref(), Some(&b"one"[..]), "a plain save keeps the state");
    toy.engine.remove_reader("graph").unwrap();
    let reader = toy.engine.reader("graph", AtCap::DropOldest).unwrap();
    assert_eq!(reader.state().unwrap(), None, "a reader that was forgotten begins anew");
}

#[test]
fn damaged_positions_of_readers_are_quarantined_and_the_reader_begins_anew() {
    for damage in [b"not a database".to_vec(), vec![0; 64], vec![0xa5; 1 << 20]] {
        let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
        let toy = opened(options(&disk, &clock), &clock);
        toy.engine.reader("exporter", AtCap::Block).unwrap();
        toy.engine.close();
        drop(toy);
        let file = disk.open_or_create("state.redb").unwrap();
        file.set_size(damage.len() as u64).unwrap();
        file.write_at(0, &mut [IoSlice::new(&damage)]).unwrap();
        file.sync().unwrap();
        let disk = disk.crash();
        let toy = opened(options(&disk, &clock), &clock);
        assert!(disk.list("quarantine").unwrap().iter().any(|e| e.name == "state.redb"));
        assert_eq!(toy.engine.stats().quarantined, 1);
        let mut reader = toy.engine.reader("exporter", AtCap::Block).unwrap();
        append(&toy, 7);
        assert_eq!(reader.next_record().unwrap().map(|r| r.payload), Some(text(7)));
    }
}

#[test]
fn at_the_cap_a_reader_blocks_appends_or_loses_its_oldest_as_it_chose() {
    for at_cap in [AtCap::Block, AtCap::DropOldest, AtCap::DropOldestOver(100_000), AtCap::DropOldestOver(20_000)] {
        let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
        let mut o = options(&disk, &clock);
        (o.log_cap, o.log.file_bytes) = (60_000, 10_000);
        let toy = opened(o, &clock);
        let mut reader = toy.engine.reader("slow", at_cap).unwrap();
        let mut refused = 0;
        for n in 0..200u8 {
            match toy.append(Encoding::LokiPush, vec![n; 1_000]) {
                Ok(()) => {}
                Err(StoreError::Busy(_)) => refused += 1,
                Err(e) => panic!("{e}"),
            }
            if n % 20 == 0 {
                toy.engine.flush_all().unwrap();
            }
        }
        match at_cap {
            AtCap::Block => {
                assert!(refused > 50, "{refused}");
                assert_eq!(reader.next_record().unwrap().unwrap().payload[0], 0, "nothing is lost to it");
                while reader.next_record().unwrap().is_some() {}
                reader.save().unwrap();
                wait(|| toy.append(Encoding::LokiPush, vec![201u8; 1_000]).is_ok());
            }
            AtCap::DropOldest => {
                assert!(toy.engine.stats().dropped_for_readers > 20);
                assert!(reader.next_record().unwrap().unwrap().payload[0] > 20);
            }
            AtCap::DropOldestOver(limit) => {
                assert_eq!(refused, 0, "what is kept for it alone does not stop the appends");
                toy.engine.flush_all().unwrap();
                let first = reader.next_record().unwrap().unwrap().payload[0];
                let left = 200 - usize::from(first);
                assert!(left > 5 && left * 1_040 <= limit as usize, "{left} of {limit}: the newest are kept");
                assert_eq!(reader.lost(), u64::from(first));
                assert!(reader.bytes_behind() > 5_000);
            }
        }
    }
}

#[test]
fn closing_is_clean_and_leaves_the_heads_to_the_log() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::new(START));
    let toy = opened(options(&disk, &clock), &clock);
    for n in 0..100 {
        append(&toy, n);
    }
    toy.engine.close();
    assert_eq!(toy.engine.stats().flushes, 0);
    assert!(matches!(toy.append(Encoding::LokiPush, text(100)), Err(StoreError::Closed)));
    // The directory is free although the first is still there.
    let again = opened(options(&disk, &clock), &clock);
    again.wait_until_replayed();
    assert_eq!(again.payloads(Signal::Logs).len(), 100);
    assert!(matches!(toy.engine.flush_all(), Err(StoreError::Closed)), "a closed engine writes nothing");
}
