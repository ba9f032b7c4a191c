//! Experiment 2: what log bodies cost, kept whole and split. See `docs/experiments/log-body.md`.
//!
//! `cargo run --release -p braid-store --example log_body -- [FILE …]`: files are payloads that
//! `loadgen logs --count 200000 --batch 50000 --dump DIR --dry-run` writes; the other kinds of lines are made here.
//! Times are CPU time of the thread (`/proc/thread-self/schedstat`), in nanoseconds a line.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use braid_store::body::{BodyBuilder, BodyColumnId, BodyColumns, repeats};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

struct Line {
    stream: u32,
    time: i64,
    text: String,
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const WORDS: [&str; 48] = [
    "connection",
    "closed",
    "by",
    "peer",
    "while",
    "reading",
    "upstream",
    "response",
    "header",
    "from",
    "cache",
    "miss",
    "for",
    "key",
    "user",
    "session",
    "expired",
    "retrying",
    "request",
    "after",
    "timeout",
    "order",
    "created",
    "payment",
    "accepted",
    "declined",
    "inventory",
    "reserved",
    "released",
    "worker",
    "started",
    "stopped",
    "queue",
    "drained",
    "lock",
    "acquired",
    "query",
    "slow",
    "index",
    "rebuilt",
    "token",
    "refreshed",
    "invalid",
    "signature",
    "config",
    "reloaded",
    "health",
    "check",
];

fn sentence(r: &mut Random, words: u64) -> String {
    let mut s = String::new();
    for i in 0..words {
        if i > 0 {
            s.push(' ');
        }
        s.push_str(r.pick(&WORDS));
    }
    s
}

/// Lines of a kind, in the order of their arrival.
fn made(kind: &str, count: usize) -> Vec<Line> {
    let mut r = Random(7);
    (0..count)
        .map(|i| {
            let time = 1_795_000_000_000_000_000 + i as i64 * 18_000_000 + r.below(1000) as i64;
            let stream = r.below(40) as u32;
            let r = &mut r;
            let status = ["200", "200", "200", "200", "201", "204", "301", "400", "404", "500", "503"][r.below(11) as usize];
            let ms = (r.below(400) as f64 / 57.0).exp();
            let mut t = String::new();
            match kind {
                "json, mixed" => {
                    let price = r.below(100_000) as f64 / 100.0;
                    write!(t, "{{\"ts\": \"{}\", \"level\": \"{}\", ", stamp(time), r.pick(&["info", "warn", "error"])).unwrap();
                    match r.below(4) {
                        0 => write!(
                            t,
                            "\"msg\": \"order \\\"{}\\\" placed\\n\", \"order\": {{\"id\": {}, \"price\": {price:.2}, \"items\": [{}, {}]}}}}",
                            r.below(100_000), r.below(1 << 40), r.below(500), r.below(500)
                        ),
                        1 => write!(
                            t,
                            "\"msg\": \"{}\", \"ok\": {}, \"ratio\": {}, \"user\": null, \"level\": \"{}\"}}",
                            sentence(r, 6), r.below(2) == 0, r.below(1 << 30) as f64 / (1u64 << 30) as f64, r.pick(&["info", "x"])
                        ),
                        2 => write!(
                            t,
                            "\"msg\": \"{}\", \"http.status\": {status}, \"took\": {ms:.3}, \"span_id\": \"{:016x}\"}}",
                            sentence(r, 4), r.next()
                        ),
                        _ => write!(
                            t,
                            "\"msg\": \"état: {}\", \"path\": \"C:\\\\data\\\\{}\", \"n\": -{}, \"e\": 1.{}e-{}}}",
                            sentence(r, 3), r.below(3000), r.below(99), r.below(99), r.below(9)
                        ),
                    }
                    .unwrap();
                }
                "logfmt" => write!(
                    t,
                    "ts={} level={} caller=http.go:{} msg=\"{}\" method={} path=/api/v1/{}/{} status={status} duration={ms:.3}ms trace_id={:016x}{:016x}",
                    stamp(time), r.pick(&["info", "info", "warn", "error"]), r.below(400), sentence(r, 5), r.pick(&["GET", "POST"]),
                    r.pick(&["orders", "items", "users"]), r.below(5000), r.next(), r.next()
                )
                .unwrap(),
                "nginx access" => {
                    let secs = time / 1_000_000_000 % 86_400;
                    write!(
                        t,
                        "10.{}.{}.{} - - [20/Nov/2026:{:02}:{:02}:{:02} +0000] \"{} /{}/{} HTTP/1.1\" {status} {} \"{}\" \"{}\" {:.3}",
                        r.below(4), r.below(256), r.below(256), secs / 3600, secs / 60 % 60, secs % 60, r.pick(&["GET", "GET", "POST"]),
                        r.pick(&["products", "cart", "static/app.js", "login"]), r.below(20_000), r.below(50_000),
                        r.pick(&["-", "https://shop.example/", "https://shop.example/cart"]),
                        r.pick(&[
                            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
                            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15",
                            "okhttp/4.12.0", "python-requests/2.32.3",
                        ]),
                        ms / 1000.0
                    )
                    .unwrap();
                }
                "text, patterns" => {
                    write!(t, "{} {} [worker-{}] c.e.shop.OrderService - ", stamp(time), r.pick(&["INFO", "WARN", "ERROR"]), r.below(32)).unwrap();
                    match r.below(5) {
                        0 => write!(t, "Order {} accepted for user u-{} in {} ms", r.below(1 << 32), r.below(90_000), ms as u64),
                        1 => write!(t, "Cache miss for key sku-{}, loading from db (attempt {})", r.below(5000), r.below(4)),
                        2 => write!(t, "Connection to 10.0.{}.{}:5432 closed after {ms:.1} s", r.below(4), r.below(256)),
                        3 => write!(t, "Processed {} of {} items, {:.2}% failed", r.below(1000), r.below(10_000), ms / 11.0),
                        _ => write!(t, "Session {:016x} expired", r.next()),
                    }
                    .unwrap();
                }
                _ => write!(t, "{} {}: {} {}", stamp(time), r.pick(&["sshd", "kernel", "app"]), sentence(r, 9), r.below(100_000)).unwrap(),
            }
            Line { stream, time, text: t }
        })
        .collect()
}

fn stamp(time: i64) -> String {
    let ms = time / 1_000_000;
    format!("2026-11-20T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Lines of a dumped Loki push.
#[derive(Default)]
struct Lines {
    streams: Vec<String>,
    stream: u32,
    lines: Vec<Line>,
}

impl wire::LogSink for Lines {
    fn group(&mut self, group: &model::Group<'_>) {
        let labels = format!("{:?}", group.labels);
        let at = self.streams.iter().position(|s| *s == labels).unwrap_or_else(|| {
            self.streams.push(labels);
            self.streams.len() - 1
        });
        self.stream = at as u32;
    }

    fn log(&mut self, log: &model::Log<'_>) {
        if let model::Value::Str(text) = log.body {
            self.lines.push(Line { stream: self.stream, time: log.time, text: text.to_owned() });
        }
    }
}

/// Time, stream, and the body's columns, as a segment.
fn encode(times: &[i64], streams: &[u32], body: &[(BodyColumnId, ArrayRef)]) -> Vec<u8> {
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("time".into(), Arc::new(Int64Array::from(times.to_vec()))),
        ("stream".into(), Arc::new(UInt32Array::from(streams.to_vec()))),
    ];
    let mut properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(8 << 20)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_encoding(ColumnPath::from("time"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(ColumnPath::from("time"), false);
    for (id, array) in body {
        if *id == BodyColumnId::Text || !repeats(array) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::new(vec![id.name()]), false);
        }
        columns.push((id.name(), array.clone()));
    }
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    out
}

fn decode(file: Vec<u8>) -> (Vec<i64>, Vec<u32>, BodyColumns) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().with_batch_size(1 << 20).build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(|b| b.unwrap()).collect();
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    let times = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Int64Type>(batch.column(0)).values().to_vec();
    let streams = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::UInt32Type>(batch.column(1)).values().to_vec();
    let schema = batch.schema();
    let body = schema.fields().iter().zip(batch.columns()).skip(2);
    let body = body.map(|(f, a)| (BodyColumnId::parse(f.name()).unwrap(), a.clone())).collect();
    (times, streams, BodyColumns::new(batch.num_rows(), body).unwrap())
}

fn sizes(file: &[u8]) -> Vec<(String, u64)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    let group = reader.metadata().row_group(0).clone();
    group.columns().iter().map(|c| (c.column_path().string(), c.compressed_size() as u64)).collect()
}

fn measure(name: &str, how: &str, lines: &[Line], detail: bool) {
    let n = lines.len() as f64;
    let builder = || match how {
        "split" => Some(BodyBuilder::new().without_words()),
        "split, words too" => Some(BodyBuilder::new()),
        _ => None,
    };
    let (mut split, mut flush) = (0.0, 0.0);
    let mut files = Vec::new();
    // Four heads, each sorted by stream and time and flushed.
    for part in lines.chunks(lines.len().div_ceil(4)) {
        let t = cpu();
        let columns = match builder() {
            Some(mut b) => {
                for l in part {
                    assert!(b.append(&l.text));
                }
                b.take()
            }
            None => BodyColumns::of_text(StringArray::from_iter_values(part.iter().map(|l| &l.text))),
        };
        split += cpu() - t;
        let t = cpu();
        let mut order: Vec<usize> = (0..part.len()).collect();
        order.sort_by_key(|i| (part[*i].stream, part[*i].time));
        let sorted = columns.select(order.iter().copied()).unwrap();
        let times: Vec<i64> = order.iter().map(|i| part[*i].time).collect();
        let streams: Vec<u32> = order.iter().map(|i| part[*i].stream).collect();
        files.push(encode(&times, &streams, &sorted.columns));
        flush += cpu() - t;
    }
    let t = cpu();
    let parts: Vec<_> = files.into_iter().map(decode).collect();
    let mut picks: Vec<(usize, usize)> =
        parts.iter().enumerate().flat_map(|(p, c)| (0..c.0.len()).map(move |r| (p, r))).collect();
    picks.sort_by_key(|(p, r)| (parts[*p].1[*r], parts[*p].0[*r]));
    let bodies: Vec<&BodyColumns> = parts.iter().map(|p| &p.2).collect();
    let merged = BodyColumns::interleave(&bodies, &picks).unwrap();
    let times: Vec<i64> = picks.iter().map(|(p, r)| parts[*p].0[*r]).collect();
    let streams: Vec<u32> = picks.iter().map(|(p, r)| parts[*p].1[*r]).collect();
    let file = encode(&times, &streams, &merged.columns);
    let merge = cpu() - t;
    let (_, _, read) = decode(file.clone());
    let t = cpu();
    let restored = read.view().unwrap().restore_all().unwrap();
    let restore = cpu() - t;
    let t = cpu();
    let found = read.view().unwrap().contains("session ex").count_set_bits();
    let find = cpu() - t;
    let mut want: Vec<(u32, i64, &str)> = lines.iter().map(|l| (l.stream, l.time, &*l.text)).collect();
    want.sort();
    let mut got: Vec<(u32, i64, &str)> = (0..restored.len()).map(|i| (streams[i], times[i], restored.value(i))).collect();
    got.sort();
    assert!(want == got, "every line comes back");
    assert_eq!(found, lines.iter().filter(|l| l.text.contains("session ex")).count());
    let whole = read.get(&BodyColumnId::Text).map_or(0, |a| a.len() - a.null_count());
    println!(
        "| {name} | {how} | {:.0} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {:.0} % |",
        lines.iter().map(|l| l.text.len()).sum::<usize>() as f64 / n,
        file.len() as f64 / n,
        split / n,
        flush / n,
        merge / n,
        restore / n,
        find / n,
        read.columns.len(),
        whole as f64 / n * 100.0
    );
    if detail {
        for (column, bytes) in sizes(&file) {
            println!("    {column:30} {:.2}", bytes as f64 / n);
        }
    }
}

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let mut dumped = Lines::default();
    for file in files.iter().filter(|f| !f.starts_with("--")) {
        let payload = std::fs::read(file).unwrap();
        wire::walk_logs(wire::Encoding::LokiPush, &payload, &wire::Limits::default(), 0, &mut dumped).unwrap();
    }
    dumped.lines.sort_by_key(|l| l.time);
    let detail = files.iter().any(|f| f == "--columns");
    println!("| lines | kept | raw bytes | bytes | split ns | flush ns | merge ns | restore ns | find ns | columns | whole |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut kinds: Vec<(&str, Vec<Line>)> = vec![("loadgen JSON", dumped.lines)];
    for kind in ["json, mixed", "logfmt", "nginx access", "text, patterns", "text, words"] {
        kinds.push((kind, made(kind, 200_000)));
    }
    for (name, lines) in kinds.iter().filter(|(_, lines)| !lines.is_empty()) {
        for how in ["whole", "split", "split, words too"] {
            measure(name, how, lines, detail);
        }
    }
}
