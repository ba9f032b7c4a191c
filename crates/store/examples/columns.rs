//! What spans and logs cost: loads payloads that `loadgen --dump` wrote through builder, flush and merge, and prints
//! CPU nanoseconds a row by stage and bytes a row by column.
//!
//! `cargo run --release -p braid-store --example columns -- traces|logs DUMP_DIR OUT_DIR [rows a flush]`

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use braid_store::columns::{LogTable, SpanTable, View};
use braid_store::{
    Column, CompareOp, Field, Literal, Order, Predicate, Record, Scan, SegmentFile, SegmentMeta, SegmentSource, Segments,
    SignalTable, StoreError, Table,
};
use bytes::Bytes;
use model::{Tenant, TimeRange};
use parquet::file::reader::{FileReader, SerializedFileReader};
use wire::{Encoding, Signal};

struct Folder {
    root: PathBuf,
    next: AtomicU64,
}

struct Growing(BufWriter<fs::File>);

impl Write for Growing {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl SegmentFile for Growing {
    fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        let file = self.0.into_inner().map_err(|e| StoreError::io("finish")(e.into_error()))?;
        Ok(file.metadata().map_err(StoreError::io("finish"))?.len())
    }
}

struct Source(fs::File, u64);

impl SegmentSource for Source {
    fn size(&self) -> u64 {
        self.1
    }
    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, offset).map_err(StoreError::io("read"))?;
        Ok(bytes.into())
    }
}

impl Segments for Folder {
    fn allocate(&self, _: &str, signal: Signal, _: i64) -> (u64, String) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (id, format!("{}-{id}.parquet", signal.as_str()))
    }
    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        let file = fs::File::create(self.root.join(path)).map_err(StoreError::io("create"))?;
        Ok(Box::new(Growing(BufWriter::with_capacity(1 << 20, file))))
    }
    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        let file = fs::File::open(self.root.join(path)).map_err(StoreError::io("open"))?;
        let size = file.metadata().map_err(StoreError::io("open"))?.len();
        Ok(Arc::new(Source(file, size)))
    }
    fn quarantine(&self, segment: &SegmentMeta, reason: &str) {
        eprintln!("quarantined {}: {reason}", segment.file);
    }
}

/// CPU time of this process in nanoseconds.
fn cpu() -> u64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn by_column(path: &Path, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let reader = SerializedFileReader::new(fs::File::open(path)?)?;
    let metadata = reader.metadata();
    let mut sizes: Vec<(i64, String)> = (0..metadata.file_metadata().schema_descr().num_columns())
        .map(|c| {
            let bytes = metadata.row_groups().iter().map(|g| g.column(c).compressed_size()).sum();
            (bytes, metadata.file_metadata().schema_descr().column(c).path().string())
        })
        .collect();
    sizes.sort_by_key(|s| std::cmp::Reverse(s.0));
    let columns: i64 = sizes.iter().map(|s| s.0).sum();
    for (bytes, name) in sizes.iter().take(24) {
        println!("  {:7.3} {name}", *bytes as f64 / rows as f64);
    }
    let all = fs::metadata(path)?.len();
    println!(
        "  {:7.3} columns, {:7.3} footer, indexes and filters",
        columns as f64 / rows as f64,
        (all as i64 - columns) as f64 / rows as f64
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (kind, dump, out) = (args.next().ok_or("traces or logs")?, args.next().ok_or("dump")?, args.next().ok_or("out")?);
    let per_flush: u64 = args.next().map_or(Ok(300_000), |n| n.parse())?;
    fs::create_dir_all(&out)?;
    let folder = Arc::new(Folder { root: out.into(), next: AtomicU64::new(1) });
    let (spans, logs) = (SpanTable::new(folder.clone()), LogTable::new(folder.clone()));
    let (table, own, encoding): (Table, &dyn SignalTable, Encoding) = match kind.as_str() {
        "traces" => (Table::Spans, &spans, Encoding::OtlpTraces),
        _ => (Table::Logs, &logs, Encoding::LokiPush),
    };
    let view = || -> View { if table == Table::Spans { spans.view() } else { logs.view() } };
    let mut paths: Vec<PathBuf> = fs::read_dir(&dump)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.retain(|p| p.is_file());
    paths.sort();
    let (mut rows, mut since, mut sequence) = (0u64, 0u64, 0u64);
    let (mut walk, mut check, mut flush) = (0u64, 0u64, 0u64);
    let mut segments: Vec<SegmentMeta> = Vec::new();
    let write = |flush: &mut u64, segments: &mut Vec<SegmentMeta>| -> Result<(), StoreError> {
        let at = cpu();
        if let Some(frozen) = own.freeze() {
            segments.extend(frozen.write()?);
            frozen.forget();
        }
        *flush += cpu() - at;
        Ok(())
    };
    let mut head_bytes = 0;
    // Many requests between two looks at the clock: the kernel's figures are coarse.
    for some in paths.chunks(100) {
        let payloads: Vec<Bytes> = some.iter().map(|p| Ok(fs::read(p)?.into())).collect::<std::io::Result<_>>()?;
        let at = cpu();
        for payload in &payloads {
            wire::check(encoding, payload, &wire::Limits::default())?;
        }
        check += cpu() - at;
        let at = cpu();
        for payload in payloads {
            sequence += 1;
            let record = Record { sequence, tenant: Tenant::default(), encoding, received: 0, payload };
            let accepted = own.apply(&record)?.accepted;
            rows += accepted;
            since += accepted;
        }
        walk += cpu() - at;
        if since >= per_flush {
            head_bytes = own.memory() / since as usize;
            since = 0;
            write(&mut flush, &mut segments)?;
        }
    }
    write(&mut flush, &mut segments)?;
    if std::env::args().nth(5).is_some() {
        println!("unmerged: {} segments", segments.len());
        queries(table, &view(), &segments, &*folder)?;
    }
    let level0: u64 = segments.iter().map(|s| s.bytes).sum();
    let mut hours: Vec<i64> = segments.iter().map(|s| s.hour).collect();
    hours.sort_unstable();
    hours.dedup();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let at = cpu();
    let mut merged = Vec::new();
    for hour in hours {
        let inputs: Vec<SegmentMeta> = segments.iter().filter(|s| s.hour == hour).cloned().collect();
        merged.extend(own.compact(&inputs)?);
    }
    let merge = cpu() - at;
    let per = |ns: u64| ns / rows.max(1);
    println!(
        "{rows} rows; CPU ns a row: check {}, walk and build {}, flush {}, merge {}; all {:.2} s per million; peak {} MB; head {head_bytes} bytes a row",
        per(check),
        per(walk),
        per(flush),
        per(merge),
        per(check + walk + flush + merge) as f64 / 1000.0,
        peak_mb(),
    );
    let bytes: u64 = merged.iter().map(|s| s.bytes).sum();
    println!(
        "{} level-0 segments, {:.2} bytes a row; {} merged, {:.2} bytes a row",
        segments.len(),
        level0 as f64 / rows as f64,
        merged.len(),
        bytes as f64 / rows as f64
    );
    if let Some(largest) = merged.iter().max_by_key(|s| s.rows) {
        by_column(&folder.root.join(&largest.file), largest.rows)?;
    }
    queries(table, &view(), &merged, &*folder)
}

fn queries(table: Table, view: &View, segments: &[SegmentMeta], files: &dyn Segments) -> Result<(), Box<dyn std::error::Error>> {
    let base = Scan {
        tenant: Tenant::default(),
        table,
        range: TimeRange::ALL,
        predicate: Predicate::True,
        projection: vec![Column::Field(Field::Time)],
        order: Order::Any,
        limit: None,
    };
    let everything = |table: Table| -> Vec<Column> {
        let body = if table == Table::Logs { Field::Body } else { Field::Name };
        vec![
            Column::Field(Field::Time),
            Column::Field(Field::TraceId),
            Column::Field(Field::SpanId),
            Column::Field(body),
            Column::Attributes(None),
        ]
    };
    let compare = |column: Column, op: CompareOp, value: Literal| Predicate::Compare { column, op, value };
    let any = |key: &str| Column::Attribute { scope: None, key: key.to_owned() };
    let mut asked: Vec<(&str, Scan)> = vec![("count everything", base.clone())];
    match table {
        Table::Spans => {
            let first = view
                .scan(&Scan { projection: vec![Column::Field(Field::TraceId)], ..base.clone() }, segments, files)?
                .next()
                .ok_or("no rows")??;
            let id = first.id(first.rows() / 2, Field::TraceId).to_vec();
            let by_id = compare(Column::Field(Field::TraceId), CompareOp::Eq, Literal::Bytes(id));
            asked.push(("trace by id", Scan { predicate: by_id, projection: everything(table), ..base.clone() }));
            let slow = compare(any("http.response.status_code"), CompareOp::Ge, Literal::Int(500)).and(compare(
                Column::Field(Field::Duration),
                CompareOp::Gt,
                Literal::Int(200_000_000),
            ));
            asked.push(("errors over 200 ms", Scan { predicate: slow, projection: everything(table), ..base.clone() }));
            asked.push((
                "time and service of all",
                Scan { projection: vec![Column::Field(Field::Time), any("service.name")], ..base.clone() },
            ));
            let checkout = Predicate::eq(Column::attribute(model::Scope::Resource, "service.name"), "checkout");
            let last = segments.iter().map(|s| s.last).max().unwrap_or(0);
            let minutes = TimeRange::new(last - 300_000_000_000, last + 1);
            asked.push((
                "last five minutes of checkout",
                Scan { predicate: checkout.clone(), range: minutes, projection: everything(table), ..base.clone() },
            ));
            asked.push((
                "newest 20 of checkout",
                Scan { predicate: checkout, projection: everything(table), order: Order::NewestFirst, limit: Some(20), ..base },
            ));
        }
        Table::Logs => {
            let first = view
                .scan(&Scan { projection: vec![Column::Field(Field::Body)], ..base.clone() }, segments, files)?
                .next()
                .ok_or("no rows")??;
            let body = first.text(first.rows() / 2, Field::Body).to_owned();
            let id = body.split('"').nth(3).unwrap_or("").to_owned();
            let contains = |needle: &str| Predicate::Contains { column: Column::Field(Field::Body), needle: needle.to_owned() };
            asked.push((
                "one trace id in the text",
                Scan { predicate: contains(&id), projection: everything(table), ..base.clone() },
            ));
            let service = Predicate::eq(any("service_name"), "checkout");
            asked.push((
                "newest 100 of a service",
                Scan {
                    predicate: service,
                    projection: everything(table),
                    order: Order::NewestFirst,
                    limit: Some(100),
                    ..base.clone()
                },
            ));
            let prod = Predicate::eq(any("env"), "prod");
            asked.push((
                "time and level of prod",
                Scan { predicate: prod, projection: vec![Column::Field(Field::Time), any("level")], ..base.clone() },
            ));
            asked.push(("a word in the text", Scan { predicate: contains("contion"), ..base.clone() }));
            asked.push(("all bodies", Scan { projection: vec![Column::Field(Field::Body)], ..base }));
        }
    }
    for (name, scan) in asked {
        let mut took = Vec::new();
        let mut rows = 0;
        for _ in 0..7 {
            let at = Instant::now();
            rows = 0;
            for batch in view.scan(&scan, segments, files)? {
                rows += batch?.rows();
            }
            took.push(at.elapsed().as_secs_f64() * 1000.0);
        }
        took.sort_by(f64::total_cmp);
        println!("{name}: {rows} rows, {:.2} ms (median of 7; least {:.2})", took[3], took[0]);
    }
    Ok(())
}
