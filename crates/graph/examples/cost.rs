//! Times what generated metrics cost a span, over the payloads of a folder as a load generator dumps them (OTLP/HTTP bodies):
//! `cargo run --release -p braid-graph --example cost -- FOLDER [kept|all] [passes]`. Without a word each payload is walked for
//! the generator; with `kept` it is taken as a table has kept it, the keeping not counted.
//! Prints nanoseconds a span, median of the passes.

use std::sync::Arc;
use std::time::Instant;

use braid_graph::{Counters, Generator, Settings};
use model::Tenant;
use wire::{Encoding, Limits, SpanKeeper, walk_spans};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: cost FOLDER [kept|all] [passes]")?;
    let how = args.next().unwrap_or_else(|| "all".to_owned());
    let passes: usize = args.next().map_or(Ok(5), |n| n.parse())?;
    let mut paths: Vec<_> = std::fs::read_dir(&folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let payloads = paths.into_iter().filter(|p| p.is_file()).map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let (limits, tenant) = (Limits::default(), Tenant::default());
    let mut times = Vec::new();
    let mut spans = 0;
    for _ in 0..passes.max(1) {
        let mut generator = Generator::new(Settings::default(), Arc::new(Counters::default()));
        let (mut spent, mut now) = (0.0, 0);
        spans = 0;
        for payload in &payloads {
            now += 10_000_000;
            let keep = || {
                let mut keeper = SpanKeeper::new(generator.wants());
                walk_spans(Encoding::OtlpTraces, payload, &limits, &mut keeper).map(|_| keeper.finish())
            };
            let kept = if how == "kept" { keep()? } else { None };
            let begun = Instant::now();
            match &kept {
                Some(kept) => {
                    generator.take_kept(&tenant, kept, now);
                    spans += kept.len() as u64;
                }
                None => spans += generator.take(&tenant, Encoding::OtlpTraces, payload, now)?,
            }
            spent += begun.elapsed().as_nanos() as f64;
        }
        times.push(spent / spans.max(1) as f64);
    }
    times.sort_by(f64::total_cmp);
    let (least, most) = (times[0], times[times.len() - 1]);
    println!("{how}: {spans} spans, {:.1} ns a span (least {least:.1}, most {most:.1}, {passes} passes)", times[times.len() / 2]);
    Ok(())
}
