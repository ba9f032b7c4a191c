//! What a comparison over wide spans takes: the first answer, which decodes the columns, and more of them; beside a scan that reads the same columns.
//!
//! `cargo run --release -p braid-store --example compare -- [directory] [spans] [attributes]`

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use braid_store::disk::RealDisk;
use braid_store::series::SeriesOptions;
use braid_store::{
    Column, CompareOp, Comparison, Field, Literal, Options, Order, Predicate, Request, Scan, Source, Store, Table, Writer,
};
use model::{Tenant, TimeRange};
use wire::Encoding;

const SECOND: i64 = 1_000_000_000;
/// Spans of a request.
const BATCH: usize = 1000;
/// Distinct values of attribute `a`.
const DISTINCT: [u64; 8] = [2, 3, 5, 10, 30, 100, 1000, 5000];

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 127 {
        out.push((n % 128) as u8 | 128);
        n /= 128;
    }
    out.push(n as u8);
}

fn bytes(field: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![field * 8 + 2];
    varint(&mut out, body.len() as u64);
    out.extend_from_slice(body);
    out
}

fn number(field: u8, n: u64) -> Vec<u8> {
    let mut out = vec![field * 8];
    varint(&mut out, n);
    out
}

fn time(field: u8, ns: i64) -> Vec<u8> {
    [&[field * 8 + 1][..], &ns.to_le_bytes()].concat()
}

fn text(key: &str, value: &str) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, &bytes(1, value.as_bytes()))].concat()
}

/// User and system time of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The spans `first..first + BATCH`, as OTLP: one in twenty is slow, and of one value of one attribute.
fn request(first: usize, from: i64, width: usize, step: i64, random: &mut u64) -> Vec<u8> {
    let mut draw = |below: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % below
    };
    let mut spans = Vec::new();
    for at in first..first + BATCH {
        let slow = at % 20 == 0;
        let begin = from + at as i64 * step;
        let id = (at as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
        let mut span =
            [bytes(1, &id), bytes(2, &id[..8]), bytes(5, format!("GET /{}", at % 12).as_bytes()), number(6, 2)].concat();
        span.extend(time(7, begin));
        span.extend(time(8, begin + if slow { SECOND * 9 / 10 } else { SECOND / 50 }));
        for a in 0..width {
            let value = if a == 4 && slow { 0 } else { draw(DISTINCT[a % 8]) };
            let key = format!("app.attribute_{a}");
            let pair = match a % 3 {
                2 => [bytes(1, key.as_bytes()), bytes(2, &number(3, value * 7))].concat(),
                _ => text(&key, &format!("value {value} of attribute {a}")),
            };
            span.extend(bytes(9, &pair));
        }
        spans.extend(bytes(2, &span));
    }
    let resource = bytes(1, &[bytes(1, &text("service.name", "wide")), bytes(1, &text("host.name", "node-1"))].concat());
    bytes(1, &[resource, bytes(2, &spans)].concat())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "/tmp/braid-compare".into());
    let total: usize = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let width: usize = arguments.next().map_or(Ok(58), |n| n.parse())?;
    // What was there may be anything.
    let _ = std::fs::remove_dir_all(&dir);
    let mut options = Options::new(Arc::new(RealDisk::open(&dir)?));
    options.set_memory(2 << 30);
    let store = Store::open(options, SeriesOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as i64;
    let (from, step) = (now - 3600 * SECOND, 3600 * SECOND / total.max(1) as i64);
    let mut random = 42;
    for first in (0..total).step_by(BATCH) {
        let payload: bytes::Bytes = request(first, from, width, step, &mut random).into();
        let request = Request { tenant: Tenant::default(), encoding: Encoding::OtlpTraces, payload };
        while let Err(e) = runtime.block_on(store.append(request.clone())) {
            eprintln!("{e}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let range = TimeRange::new(from - 60 * SECOND, now + 60 * SECOND);
    let slow = Predicate::Compare { column: Column::Field(Field::Duration), op: CompareOp::Ge, value: Literal::Int(SECOND / 2) };
    let minutes = TimeRange::new(from + 600 * SECOND, from + 1200 * SECOND);
    let columns: Vec<Column> =
        [Field::Name, Field::Kind, Field::StatusCode].map(Column::Field).into_iter().chain([Column::Attributes(None)]).collect();
    let reader = store.snapshot();
    let going_on = AtomicBool::new(false);
    let shapes = [
        ("slow against the rest", TimeRange::ALL, slow.clone()),
        ("slow in ten minutes", minutes, slow),
        ("ten minutes against the rest", minutes, Predicate::True),
    ];
    for (name, part, inside) in shapes {
        let asked = Comparison {
            tenant: Tenant::default(),
            table: Table::Spans,
            range,
            predicate: Predicate::True,
            part,
            inside,
            columns: columns.clone(),
            distinct: 10_000,
        };
        for round in 0..4 {
            let (began, before) = (Instant::now(), cpu());
            let found = reader.compare(&asked, &going_on)?;
            println!(
                "{name}, {round}: {} ms, {:.2} CPU-s, {:?} rows, {} columns",
                began.elapsed().as_millis(),
                cpu() - before,
                found.rows,
                found.columns.len()
            );
        }
    }
    let scan = Scan {
        tenant: Tenant::default(),
        table: Table::Spans,
        range,
        predicate: Predicate::True,
        projection: columns,
        order: Order::Any,
        limit: None,
    };
    for round in 0..3 {
        let (began, before) = (Instant::now(), cpu());
        let mut rows = 0;
        for batch in reader.scan(&scan)? {
            rows += batch?.rows();
        }
        println!("scan, {round}: {} ms, {:.2} CPU-s, {rows} rows", began.elapsed().as_millis(), cpu() - before);
    }
    drop(reader);
    drop(store);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
