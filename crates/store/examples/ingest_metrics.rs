//! What a sample costs from the request's bytes to the settled segment, through the engine: check, log with sync, head,
//! flush, compaction. Everything but HTTP.
//!
//! `cargo run --release -p braid-store --example ingest_metrics -- PAYLOADS [DIR]`; for `PAYLOADS` see the example `series`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use braid_store::disk::RealDisk;
use braid_store::series::{SeriesOptions, SeriesTable};
use braid_store::{Engine, Options, Request, SignalTable, Writer};
use bytes::Bytes;
use model::Tenant;
use wire::{Encoding, Limits, Signal};

/// CPU of this process so far, seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks: Vec<f64> = after.split_whitespace().skip(11).take(2).map(|t| t.parse().unwrap()).collect();
    (ticks[0] + ticks[1]) / 100.0
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kb = |key: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    };
    format!("memory {} MB, at most {} MB", kb("VmRSS") / 1024, kb("VmHWM") / 1024)
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = Bytes::from(std::fs::read(&args[0]).unwrap());
    let dir = args.get(1).map_or("/tmp/braid-ingest", String::as_str);
    let _ = std::fs::remove_dir_all(dir);
    let (mut at, mut payloads) = (0, Vec::new());
    while at + 4 <= file.len() {
        let len = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        payloads.push(file.slice(at + 4..at + 4 + len));
        at += 4 + len;
    }
    println!("{} requests in memory: {} ({} MB of it the payloads)", payloads.len(), memory(), file.len() >> 20);
    let options = Options::new(Arc::new(RealDisk::open(dir).unwrap()));
    let engine = Engine::open(options, |segments| {
        Signal::ALL.map(|_| Arc::new(SeriesTable::new(Arc::clone(&segments), SeriesOptions::default())) as Arc<dyn SignalTable>)
    });
    let engine = Arc::new(engine.unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let samples = Arc::new(AtomicU64::new(0));
    let (before, start) = (cpu(), Instant::now());
    let mut lat = runtime.block_on(async {
        let mut clients = Vec::new();
        for client in 0..4 {
            let mine: Vec<Bytes> = payloads.iter().skip(client).step_by(4).cloned().collect();
            let (engine, samples) = (Arc::clone(&engine), Arc::clone(&samples));
            clients.push(tokio::spawn(async move {
                let mut lat = Vec::with_capacity(mine.len());
                for payload in mine {
                    let start = Instant::now();
                    let summary = wire::check(Encoding::RemoteWrite, &payload, &Limits::default()).unwrap();
                    samples.fetch_add(summary.accepted, Ordering::Relaxed);
                    let request = Request { tenant: Tenant::default(), encoding: Encoding::RemoteWrite, payload };
                    engine.append(request).await.unwrap();
                    lat.push(start.elapsed().as_secs_f64() * 1e3);
                }
                lat
            }));
        }
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.await.unwrap());
        }
        all
    });
    let samples = samples.load(Ordering::Relaxed) as f64;
    let (acknowledged, wall) = (cpu() - before, start.elapsed().as_secs_f64());
    lat.sort_by(f64::total_cmp);
    let q = |p: f64| lat[((lat.len() - 1) as f64 * p) as usize];
    println!(
        "{samples} samples acknowledged in {wall:.2} s: {:.3} CPU s per million; {}",
        acknowledged / samples * 1e6,
        memory()
    );
    println!("requests: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", q(0.5), q(0.99), q(1.0));
    engine.flush_all().unwrap();
    let settled = cpu() - before;
    let stats = engine.stats();
    println!("settled: {:.3} CPU s per million; {}", settled / samples * 1e6, memory());
    println!(
        "{:.3} bytes a sample in {} segments, {} flushes, {} merges",
        stats.segment_bytes[Signal::Metrics as usize] as f64 / samples,
        stats.segments[Signal::Metrics as usize],
        stats.flushes,
        stats.compactions
    );
    engine.close();
}
