//! What an append costs: four callers, one engine over tables that keep nothing, the real disk.
//!
//! `cargo run --release -p braid-store --example append_cost -- [directory] [requests] [callers]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use braid_store::disk::RealDisk;
use braid_store::{Engine, Frozen, Options, Record, Request, SegmentMeta, Segments, SignalTable, StoreError, Writer};
use bytes::Bytes;
use model::Tenant;
use wire::{Encoding, Summary};

/// Keeps nothing.
struct Nothing;

impl SignalTable for Nothing {
    fn delete(&self, _: &Arc<braid_store::Tombstone>) -> Result<(), StoreError> {
        Ok(())
    }
    fn apply_without(&self, _: &Record, _: &[Arc<braid_store::Tombstone>]) -> Result<Summary, StoreError> {
        Ok(Summary::default())
    }
    fn memory(&self) -> usize {
        0
    }
    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        None
    }
    fn compact(&self, _: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError> {
        Ok(Vec::new())
    }
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "/tmp/braid-append-cost".into());
    let requests: usize = arguments.next().map_or(Ok(4_000), |n| n.parse())?;
    let callers: usize = arguments.next().map_or(Ok(4), |n| n.parse())?;
    for size in [12 << 10, 126 << 10] {
        // What was there may be anything.
        let _ = std::fs::remove_dir_all(&dir);
        let mut options = Options::new(Arc::new(RealDisk::open(&dir)?));
        options.log_cap = u64::MAX / 4;
        let tables = |_: Arc<dyn Segments>| std::array::from_fn(|_| Arc::new(Nothing) as Arc<dyn SignalTable>);
        let engine = Engine::open(options, tables)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let engine = Arc::new(engine);
        let (begin, cpu_before) = (Instant::now(), cpu());
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let engine = Arc::clone(&engine);
                runtime.spawn(async move {
                    let mut took = Vec::new();
                    for n in 0..requests / callers {
                        let mut payload = vec![b'x'; size];
                        payload[..8].copy_from_slice(&((caller << 32 | n) as u64).to_le_bytes());
                        let request =
                            Request { tenant: Tenant::default(), encoding: Encoding::RemoteWrite, payload: Bytes::from(payload) };
                        let begin = Instant::now();
                        engine.append(request).await?;
                        took.push(begin.elapsed());
                    }
                    Ok::<_, StoreError>(took)
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(runtime.block_on(task)??);
        }
        let (wall, used) = (begin.elapsed(), cpu() - cpu_before);
        took.sort();
        let stats = engine.stats();
        let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
        println!(
            "{size} B x {}: p50 {:?} p99 {:?} max {:?}; {:.0} requests/s; CPU {:.1} us/request; {:.1} requests a commit; sync mean {} us",
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            took.len() as f64 / wall.as_secs_f64(),
            used.as_micros() as f64 / took.len() as f64,
            took.len() as f64 / stats.commits as f64,
            stats.sync.sum_us / stats.sync.count().max(1)
        );
        let begin = Instant::now();
        engine.close();
        println!("  close {:?}", begin.elapsed());
        drop(engine);
        let begin = Instant::now();
        let engine = Engine::open(Options::new(Arc::new(RealDisk::open(&dir)?)), tables)?;
        let opened = begin.elapsed();
        while engine.partial().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!("  open {opened:?}, {} MB replayed after {:?}", stats.log_bytes >> 20, begin.elapsed());
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
