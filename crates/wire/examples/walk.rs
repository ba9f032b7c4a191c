//! Times the check walk over the payloads of a folder, as a load generator dumps them:
//! `cargo run --release -p braid-wire --example walk -- <encoding> <folder> [seconds]`, where the encoding is
//! `otlp-traces`, `otlp-logs`, `otlp-metrics`, `loki-push` or `remote-write`. Prints nanoseconds an item, median of the passes.

use std::time::{Duration, Instant};

use braid_wire::{Encoding, Limits, check};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: walk <encoding> <folder> [seconds]";
    let (name, folder) = (args.next().ok_or(usage)?, args.next().ok_or(usage)?);
    let time = Duration::from_secs_f64(args.next().map_or(Ok(3.0), |s| s.parse())?);
    let encoding = match name.as_str() {
        "otlp-traces" => Encoding::OtlpTraces,
        "otlp-logs" => Encoding::OtlpLogs,
        "otlp-metrics" => Encoding::OtlpMetrics,
        "loki-push" => Encoding::LokiPush,
        "remote-write" => Encoding::RemoteWrite,
        _ => return Err(usage.into()),
    };
    let mut payloads = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_file() {
            payloads.push(std::fs::read(path)?);
        }
    }
    let limits = Limits::default();
    let mut passes = Vec::new();
    let mut items = 0;
    let start = Instant::now();
    while start.elapsed() < time || passes.len() < 3 {
        let pass = Instant::now();
        items = 0;
        for payload in &payloads {
            let summary = check(encoding, payload, &limits)?;
            assert_eq!(summary.refused.total(), 0, "{}", summary.refused.message());
            items += summary.accepted;
        }
        passes.push(pass.elapsed().as_nanos() as f64 / items.max(1) as f64);
    }
    passes.sort_by(f64::total_cmp);
    let bytes: usize = payloads.iter().map(Vec::len).sum();
    println!(
        "{name}: {} payloads, {items} items, {bytes} bytes: {:.1} ns an item (least {:.1}, most {:.1}, {} passes)",
        payloads.len(),
        passes[passes.len() / 2],
        passes[0],
        passes[passes.len() - 1],
        passes.len()
    );
    Ok(())
}
