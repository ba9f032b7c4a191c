//! What queries of lines cost over a data directory that no server has open: CPU time of the process and time by the clock.
//!
//! `cargo run --release -p braid-logql --example ask -- DIR EXPECT [ONLY [RUNS]]`
//!
//! `EXPECT` is what the reference generator's `--expect` wrote when the directory was loaded; `ONLY` picks queries by their text.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use braid_logql::{Direction, Expr, Grid, Metric, Question, Tally, lines, metric, parse};
use model::{Tenant, TimeRange};
use store::series::SeriesOptions;
use store::{Options, Source, Store};

const MINUTE: i64 = 60_000_000_000;

/// CPU time that this process has used, milliseconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (dir, expect) = (args.next().unwrap(), args.next().unwrap());
    let only = args.next().unwrap_or_default();
    let runs: usize = args.next().map_or(20, |n| n.parse().unwrap());
    let expect: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(expect).unwrap()).unwrap();
    let number = |key: &str| expect[key].as_str().unwrap().parse::<i64>().unwrap() * 1_000_000;
    let (start, end) = (number("start_ms") / MINUTE * MINUTE, (number("end_ms") / MINUTE + 2) * MINUTE);
    let store =
        Store::open(Options::new(Arc::new(store::disk::RealDisk::open(&dir).unwrap())), SeriesOptions::default()).unwrap();
    let all = "{service_name=~\".+\"}";
    let needle = expect["needles"].as_str().unwrap().split(',').next().unwrap();
    let queries = [
        ("{service_name=\"checkout\"}".to_owned(), 100),
        (format!("{all} |= \"{needle}\""), 100),
        (format!("{all} | json | status >= 500"), 1000),
        (format!("sum(count_over_time({all} | json | status >= 500 [1m]))"), 0),
        (format!("sum(count_over_time({all} | json | duration_ms > 100 [1m]))"), 0),
        ("sum by (level)(count_over_time({env=\"prod\"}[1m]))".to_owned(), 0),
        (format!("sum(count_over_time({all} |= \"babaforba\" [1m]))"), 0),
        (format!("sum(count_over_time({all} |= \"babaforba\" | json | status >= 500 [1m]))"), 0),
        (
            "sum by (service_name, level)(rate({env=~\"prod|dev\"} | json | duration_ms > 20.5 and status != 200 [5m]))"
                .to_owned(),
            0,
        ),
        (format!("sum(count_over_time({all} |= \"\\\"status\\\":500\" [1m]))"), 0),
    ];
    for (query, limit) in queries.iter().filter(|(query, _)| query.contains(&only)) {
        let expr = parse(query).unwrap();
        let ask = || {
            let reader = store.snapshot();
            let cancelled = AtomicBool::new(false);
            let (tenant, tally) = (Tenant::default(), Tally::default());
            let question = Question {
                reader: &*reader,
                tenant: &tenant,
                max_lines: 100_000_000,
                max_label_bytes: 1 << 30,
                max_value_bytes: 1 << 30,
                discover_levels: true,
                cancelled: &cancelled,
                tally: &tally,
            };
            match &expr {
                Expr::Log(log) => {
                    lines(&question, log, TimeRange::new(start, end), Direction::Backward, *limit).unwrap().len() as f64
                }
                expr => match metric(&question, expr, Grid { start, end, step: MINUTE }).unwrap() {
                    Metric::Series(series) => series.iter().flat_map(|(_, values)| values.iter().flatten()).sum(),
                    Metric::Scalar(values) => values.iter().sum(),
                },
            }
        };
        let begun = Instant::now();
        let said = ask();
        let first = begun.elapsed().as_secs_f64() * 1e3;
        ask();
        let mut times = Vec::with_capacity(runs);
        let before = cpu();
        for _ in 0..runs {
            let begun = Instant::now();
            ask();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let spent = (cpu() - before) / runs as f64;
        times.sort_by(f64::total_cmp);
        println!("{spent:8.2} ms CPU, {:8.2} / {:8.2} ms, first {first:8.2}: {said} for {query}", times[0], times[runs / 2]);
    }
}
