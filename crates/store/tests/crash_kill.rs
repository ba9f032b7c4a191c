//! The promise at the level of the process: what a killed process had acknowledged is there after the next start.
//!
//! The test starts itself again as a child that appends numbered items from four threads, flushes and merges meanwhile, and
//! writes each number to its standard output once it is acknowledged. The parent kills it (`SIGKILL`) after a random
//! number of acknowledgements, opens the directory and looks.

#![allow(clippy::unwrap_used)]

mod crash_toy;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use braid_store::disk::RealDisk;
use braid_store::engine::{ManualClock, Options};
use braid_store::{Request, Writer};
use bytes::Bytes;
use crash_toy::{START, Toy};
use model::Tenant;
use wire::{Encoding, Signal};

const CHILD: &str = "BRAID_CRASH_KILL_DIRECTORY";
const FIRST: &str = "BRAID_CRASH_KILL_FIRST";
const ROUNDS: u64 = 50;
/// Rounds that begin after this are left out, on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Toy {
    let clock = ManualClock::new(START);
    let mut options = Options::new(Arc::new(RealDisk::open(dir).unwrap()));
    options.clock = Arc::new(clock.clone());
    options.log.file_bytes = 64 << 10;
    options.flush_bytes = 40 << 10;
    options.merge_at = 3;
    options.min_free = 0;
    Toy::open(options, &clock).unwrap()
}

/// Which item, and padding that makes requests of all sizes.
fn payload(n: u64) -> Bytes {
    let mut text = format!("{n:012}").into_bytes();
    text.resize(12 + (n * 37 % 3_000) as usize, b'.');
    text.into()
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(&payload[..12]).unwrap().parse().unwrap()
}

/// The child's part: does nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let toy = open(Path::new(&dir));
    let out = std::sync::Mutex::new(std::io::stdout());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (engine, out) = (&toy.engine, &out);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                for n in (first + thread..).step_by(4) {
                    let encoding = [Encoding::OtlpTraces, Encoding::LokiPush, Encoding::RemoteWrite][(n % 3) as usize];
                    let request = Request { tenant: Tenant::default(), encoding, payload: payload(n) };
                    if runtime.block_on(engine.append(request)).is_ok() {
                        let mut out = out.lock().unwrap();
                        // The parent may be gone.
                        let _ = writeln!(out, "kept {n}").and_then(|()| out.flush());
                    }
                }
            });
        }
    });
}

#[test]
fn what_a_killed_process_had_acknowledged_is_there_once_after_the_next_start() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let mut acknowledged = BTreeSet::new();
    let (mut random, mut rounds, mut replayed) = (0x2545_f491_4f6c_dd1du64, 0, 0);
    for round in 0..ROUNDS {
        if begin.elapsed() > LIMIT {
            break;
        }
        rounds += 1;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut until = 1 + random % 120;
        for line in &mut lines {
            if let Some(n) = line.unwrap().rsplit_once("kept ").and_then(|(_, n)| n.parse::<u64>().ok()) {
                acknowledged.insert(n);
                until -= 1;
                if until == 0 {
                    child.kill().unwrap();
                    break;
                }
            }
        }
        // What it had still written before it died counts too; the last line may be cut off.
        for line in lines.map_while(Result::ok) {
            if let Some((_, n)) = line.rsplit_once("kept ")
                && let Ok(n) = n.parse::<u64>()
                && n >= round * 1_000_000
            {
                acknowledged.insert(n);
            }
        }
        child.wait().unwrap();
        let toy = open(dir.path());
        toy.wait_until_replayed();
        replayed += toy.engine.stats().replayed;
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        for signal in Signal::ALL {
            for (_, bytes) in toy.rows(signal) {
                let n = number(&bytes);
                assert_eq!(bytes, payload(n), "byte for byte");
                *found.entry(n).or_default() += 1;
            }
        }
        assert!(found.values().all(|times| *times == 1), "round {round}: something is there twice");
        let lost: Vec<_> = acknowledged.iter().filter(|n| !found.contains_key(n)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} were acknowledged and are lost");
        assert_eq!(toy.engine.stats().quarantined, 0, "a kill damages nothing");
    }
    println!("{rounds} kills, {} items acknowledged, {replayed} records replayed, {:?}", acknowledged.len(), begin.elapsed());
    assert!(rounds >= 3 && acknowledged.len() as u64 >= rounds && replayed > 0);
}
