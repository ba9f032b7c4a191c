//! What a sample costs in the table of samples: CPU by stage, bytes by column, memory, queries.
//!
//! `cargo run --release -p braid-store --example series -- [PAYLOADS [FREEZE_EVERY [DIR]]]`
//!
//! `PAYLOADS` holds remote-write bodies, each behind its length (four bytes, little endian); without it (or with `-`) a
//! load of the same shape is made: 10,000 series, 480 steps of 15 s, 500 series a request. The head is flushed every
//! `FREEZE_EVERY` requests (default: once, at the end). All work is done on one thread, so CPU is that thread's.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use braid_store::contract::MatchOp;
use braid_store::series::{SeriesOptions, SeriesTable};
use braid_store::{LabelMatcher, Record, SegmentFile, SegmentMeta, SegmentSource, Segments, SignalTable, StoreError};
use bytes::Bytes;
use model::Tenant;
use wire::{Encoding, Limits, Signal};

struct Folder {
    dir: PathBuf,
    next: AtomicU64,
}

struct Writing(BufWriter<File>);

impl Write for Writing {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl SegmentFile for Writing {
    fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.0.flush().and_then(|()| self.0.get_ref().sync_data()).map_err(StoreError::io("sync"))?;
        Ok(self.0.get_ref().metadata().map_err(StoreError::io("size"))?.len())
    }
}

struct Reading(File);

impl SegmentSource for Reading {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }
    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, offset).map_err(StoreError::io("read"))?;
        Ok(bytes.into())
    }
}

impl Segments for Folder {
    fn allocate(&self, _: &str, _: Signal, _: i64) -> (u64, String) {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        (id, format!("{id}.parquet"))
    }
    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        let file = File::create(self.dir.join(path)).map_err(StoreError::io("create"))?;
        Ok(Box::new(Writing(BufWriter::with_capacity(1 << 18, file))))
    }
    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        Ok(Arc::new(Reading(File::open(self.dir.join(path)).map_err(StoreError::io("open"))?)))
    }
    fn quarantine(&self, segment: &SegmentMeta, reason: &str) {
        println!("damaged: {} {reason}", segment.file);
    }
}

/// CPU of this thread so far, nanoseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |key: &str| status.lines().find(|l| l.starts_with(key)).unwrap_or_default().to_owned();
    format!("{} {}", line("VmRSS"), line("VmHWM")).replace('\t', " ")
}

fn stage(name: &str, samples: u64, work: impl FnOnce()) {
    let (start, wall) = (cpu(), Instant::now());
    work();
    let (ns, wall) = ((cpu() - start) as f64, wall.elapsed().as_secs_f64());
    println!("{name:<28} {:8.1} ns/sample   {:7.3} s CPU   {wall:7.3} s", ns / samples as f64, ns / 1e9);
}

fn made() -> Vec<Bytes> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let series: Vec<Vec<(&str, String)>> = (0..10_000)
        .map(|s| {
            let (instance, slot) = (s / 200, s % 200);
            vec![
                ("__name__", format!("metric_{slot}_total")),
                ("handler", format!("/api/v1/r{slot}")),
                ("instance", format!("10.0.{}.{}:9100", instance / 10, 10 + instance * 3)),
                ("job", format!("job-{}", instance % 5)),
                ("method", ["GET", "POST", "PUT"][s * 7 % 3].to_owned()),
                ("status", ["200", "404", "500"][s * 5 % 3].to_owned()),
            ]
        })
        .collect();
    let mut values: Vec<f64> = series.iter().map(|_| (random() * 1e6).floor()).collect();
    let mut out = Vec::new();
    for step in 0..480i64 {
        for (batch, series) in series.chunks(500).enumerate() {
            let mut encoder = wire::remote_write::Encoder::new();
            for (i, labels) in series.iter().enumerate() {
                let s = batch * 500 + i;
                values[s] = match s % 6 {
                    0..=3 => values[s] + (random() * 100.0).floor(),
                    4 => (random() * 10_000.0).round() / 100.0,
                    _ => values[s] + random(),
                };
                let time = 1_700_000_000_000 + step * 15_000 + (s / 200) as i64 * 37;
                encoder.series(labels.iter().map(|(n, v)| (*n, v.as_str())), &[(time, values[s])]);
            }
            out.push(encoder.finish().unwrap().into());
        }
    }
    out
}

fn load(path: &str) -> Vec<Bytes> {
    if path == "-" {
        return made();
    }
    let file = Bytes::from(std::fs::read(path).unwrap());
    let (mut at, mut out) = (0, Vec::new());
    while at + 4 <= file.len() {
        let len = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        out.push(file.slice(at + 4..at + 4 + len));
        at += 4 + len;
    }
    out
}

fn columns(dir: &std::path::Path, segments: &[SegmentMeta], samples: u64) {
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    for segment in segments {
        let file = File::open(dir.join(&segment.file)).unwrap();
        let footer = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
        for column in footer.row_groups().iter().flat_map(|g| g.columns()) {
            *sizes.entry(column.column_path().string()).or_default() += column.compressed_size();
        }
    }
    let total: u64 = segments.iter().map(|s| s.bytes).sum();
    let inside: i64 = sizes.values().sum();
    sizes.insert("(footer)".to_owned(), total as i64 - inside);
    for (name, size) in sizes {
        println!("    {name:<24} {:8.4} bytes/sample", size as f64 / samples as f64);
    }
    println!("    {:<24} {:8.4} bytes/sample in {} segments", "all", total as f64 / samples as f64, segments.len());
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let payloads = load(args.first().map_or("-", String::as_str));
    let every: usize = args.get(1).map_or(usize::MAX, |n| n.parse().unwrap());
    let dir = PathBuf::from(args.get(2).map_or("/tmp/braid-series", String::as_str));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let tenant = Tenant::default();
    let mut samples = 0;
    println!("{} requests, {} bytes; {}", payloads.len(), payloads.iter().map(Bytes::len).sum::<usize>(), rss());
    for payload in &payloads {
        samples += wire::check(Encoding::RemoteWrite, payload, &Limits::default()).unwrap().accepted;
    }
    stage("check (snappy, walk)", samples, || {
        for payload in &payloads {
            wire::check(Encoding::RemoteWrite, payload, &Limits::default()).unwrap();
        }
    });

    let segments: Arc<dyn Segments> = Arc::new(Folder { dir: dir.clone(), next: AtomicU64::new(0) });
    let table = SeriesTable::new(Arc::clone(&segments), SeriesOptions::default());
    let mut named: Vec<SegmentMeta> = Vec::new();
    let mut most = 0;
    let (mut apply, mut flush) = (0, 0);
    for (batch, payloads) in payloads.chunks(every.min(payloads.len())).enumerate() {
        let start = cpu();
        for (at, payload) in payloads.iter().enumerate() {
            let sequence = (batch * payloads.len() + at) as u64 + 1;
            let record = Record {
                sequence,
                tenant: tenant.clone(),
                encoding: Encoding::RemoteWrite,
                received: 0,
                payload: payload.clone(),
            };
            let summary = table.apply(&record).unwrap();
            assert_eq!(summary.refused.total(), 0);
        }
        apply += cpu() - start;
        most = most.max(table.memory());
        let start = cpu();
        let frozen = table.freeze().unwrap();
        let mut written = frozen.write().unwrap();
        written.iter_mut().for_each(|s| s.first_sequence = batch as u64);
        named.extend(written);
        frozen.forget();
        flush += cpu() - start;
    }
    let per = |ns: u64| ns as f64 / samples as f64;
    println!("{:<28} {:8.1} ns/sample", "apply (snappy, walk, head)", per(apply));
    println!("{:<28} {:8.1} ns/sample", "flush (merge, pco, Parquet)", per(flush));
    let series = table.series_in_memory().max(1);
    println!(
        "head at most {most} bytes: {} a series; labels {} a series; {}",
        most / series,
        table.index_memory() / series,
        rss()
    );
    columns(&dir, &named, samples);
    if named.len() > 1 {
        stage("compact", samples, || named = table.compact(&named).unwrap());
        columns(&dir, &named, samples);
    }
    println!("{}", rss());

    let view = table.view(Arc::new(named.iter().cloned().map(Arc::new).collect()));
    let m = |name: &str, op, value: &str| LabelMatcher::new(name, op, value).unwrap();
    let queries = [
        ("50 series", vec![m("__name__", MatchOp::Eq, "http_requests_total")]),
        ("500 series", vec![m("__name__", MatchOp::Eq, "http_request_duration_seconds_bucket")]),
        ("4,000-5,000 series", vec![m("__name__", MatchOp::Re, "metric_1.*")]),
        ("all series", vec![]),
    ];
    for (name, matchers) in queries {
        let mut walls: Vec<(f64, f64)> = Vec::new();
        let mut counts = (0, 0, 0);
        for _ in 0..8 {
            let start = cpu();
            let series = view.series(&tenant, &matchers, 0, i64::MAX).unwrap().len();
            let middle = cpu();
            let (mut n, mut samples) = (0, 0);
            for series in view.samples(&tenant, &matchers, 0, i64::MAX).unwrap() {
                n += 1;
                samples += series.unwrap().times.len();
            }
            walls.push(((middle - start) as f64 / 1e6, (cpu() - middle) as f64 / 1e6));
            counts = (series, n, samples);
        }
        let cold = walls.remove(0);
        walls.sort_by(|a, b| a.1.total_cmp(&b.1));
        let (series, samples) = walls[walls.len() / 2];
        println!(
            "{name:<20} {} series {} samples: series {series:.3} ms CPU, samples {samples:.3} ms CPU (first: {:.3}, {:.3})",
            counts.0, counts.2, cold.0, cold.1
        );
        assert_eq!(counts.0, counts.1);
    }
    println!("{}", rss());
}
