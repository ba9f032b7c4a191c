//! An hour of many small tenants: how many files, how much memory and processor time. Time runs by itself, so that heads are
//! flushed as they would be.
//!
//! `cargo run --release -p braid-store --example tenants -- [directory] [tenants] [minutes]`

use std::sync::Arc;
use std::time::Duration;

use braid_store::disk::RealDisk;
use braid_store::engine::ManualClock;
use braid_store::series::SeriesOptions;
use braid_store::{Options, Request, Store, Writer};
use bytes::Bytes;
use model::Tenant;
use wire::{Encoding, Signal};

/// 2026-01-01, half past.
const START: i64 = 1_767_227_400_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// A field of `/proc/self/status`, MiB.
fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// User and system time of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Files and bytes below a folder.
fn files(folder: &std::path::Path) -> (u64, u64) {
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(m) if m.is_dir() => {
                let below = files(&entry.path());
                (count, bytes) = (count + below.0, bytes + below.1);
            }
            Ok(m) => (count, bytes) = (count + 1, bytes + m.len()),
            Err(_) => {}
        }
    }
    (count, bytes)
}

/// A minute of one tenant: sixty lines, sixty spans, four samples of each of fifteen series.
fn requests(tenant: usize, minute: i64) -> [(Encoding, Bytes); 3] {
    let at = |second: i64| START + (minute * 60 + second) * SECOND;
    let lines: Vec<String> = (0..60)
        .map(|s| {
            format!(
                r#"["{}","{{\"level\":\"info\",\"msg\":\"request {} of tenant {tenant} took {} ms\"}}"]"#,
                at(s),
                minute * 60 + s,
                s * 7 % 50
            )
        })
        .collect();
    let lines = format!(r#"{{"streams":[{{"stream":{{"app":"shop-{tenant}","env":"prod"}},"values":[{}]}}]}}"#, lines.join(","));
    let spans: Vec<String> = (0..60)
        .map(|s| {
            let n = (tenant as i64 * 1_000_000 + minute * 60 + s + 1) as u128;
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"GET /","kind":2,"startTimeUnixNano":"{}","endTimeUnixNano":"{}",
                "attributes":[{{"key":"http.route","value":{{"stringValue":"/"}}}}]}}"#,
                n * 0x9e37_79b9_7f4a_7c15,
                n,
                at(s),
                at(s) + 5_000_000
            )
        })
        .collect();
    let spans = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop-{tenant}"}}}}]}},"scopeSpans":[{{"spans":[{}]}}]}}]}}"#,
        spans.join(",")
    );
    let mut samples = wire::remote_write::Encoder::new();
    for n in 0..15 {
        let name = format!("metric_{n}");
        let labels = [("__name__", name.as_str()), ("job", "shop")];
        let points: Vec<(i64, f64)> = (0..4).map(|i| (at(i * 15) / 1_000_000, (minute * 4 + i) as f64 * f64::from(n))).collect();
        samples.series(labels, &points);
    }
    let samples = samples.finish().unwrap_or_default();
    [(Encoding::LokiPushJson, lines.into()), (Encoding::OtlpTracesJson, spans.into()), (Encoding::RemoteWrite, samples.into())]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "/tmp/braid-tenants".into());
    let tenants: usize = arguments.next().map_or(Ok(1000), |n| n.parse())?;
    let minutes: i64 = arguments.next().map_or(Ok(60), |n| n.parse())?;
    let share = std::env::var("SHARE_BELOW").ok().and_then(|n| n.parse().ok());
    // What was there may be anything.
    let _ = std::fs::remove_dir_all(&dir);
    let clock = ManualClock::new(START);
    let mut options = Options::new(Arc::new(RealDisk::open(&dir)?));
    options.clock = Arc::new(clock.clone());
    options.share_below = share.unwrap_or(options.share_below);
    let store = Store::open(options, SeriesOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let names: Vec<Tenant> = (0..tenants).map(|n| Tenant::new(&format!("team-{n}"))).collect::<Result<_, _>>()?;
    let segments = std::path::Path::new(&dir).join("segments");
    let (mut most_files, mut most_heads, mut worked) = (0, 0, 0.0);
    for minute in 0..minutes {
        let ready: Vec<_> = (0..tenants).map(|n| requests(n, minute)).collect();
        let before = cpu();
        for (name, requests) in names.iter().zip(ready) {
            for (encoding, payload) in requests {
                let request = Request { tenant: name.clone(), encoding, payload };
                while let Err(e) = runtime.block_on(store.append(request.clone())) {
                    eprintln!("{e}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
        clock.advance(Duration::from_secs(60));
        // The threads see the minute pass.
        std::thread::sleep(Duration::from_millis(700));
        worked += cpu() - before;
        let stats = store.stats();
        most_heads = most_heads.max(stats.head_bytes.iter().sum::<usize>());
        most_files = most_files.max(files(&segments).0);
        if minute % 10 == 9 {
            let (count, bytes) = files(&segments);
            println!(
                "minute {:>3}: {count} files, {} MiB in segments; heads {} MiB, index {} MiB; resident {} MiB; flushes {}, merges {}",
                minute + 1,
                bytes >> 20,
                stats.head_bytes.iter().sum::<usize>() >> 20,
                store.index_memory() >> 20,
                status("VmRSS"),
                stats.flushes,
                stats.compactions
            );
        }
    }
    let before = cpu();
    store.settle()?;
    let settled = cpu() - before;
    let (count, bytes) = files(std::path::Path::new(&dir));
    let rows: u64 = store.stats().rows.iter().sum();
    println!("{tenants} tenants, {minutes} minutes, {rows} items (spans, lines, samples: {:?})", store.stats().rows);
    println!("most files {most_files}, of segments after settling {}, all {count}", files(&segments).0);
    println!(
        "{:.1} bytes an item on disk, heads at most {} MiB, resident at most {} MiB",
        bytes as f64 / rows as f64,
        most_heads >> 20,
        status("VmHWM")
    );
    println!("CPU s per million items: {:.2} taking in, {:.2} settling", worked / rows as f64 * 1e6, settled / rows as f64 * 1e6);
    for signal in Signal::ALL {
        println!("{}: {} segments", signal.as_str(), store.stats().segments[signal as usize]);
    }
    Ok(())
}
