//! A table for tests: its rows are the payloads themselves, so that what was lost or doubled is seen at once.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use braid_store::engine::{Engine, Live, ManualClock, Options};
use braid_store::{Frozen, Record, Request, SegmentMeta, Segments, SignalTable, StoreError, Tombstone, Writer};
use bytes::Bytes;
use model::{HOUR_NS, Tenant};
use parking_lot::Mutex;
use wire::{Encoding, Signal, Summary};

/// A row: the record's sequence and its payload.
type Rows = Vec<(u64, Bytes)>;
type ByTenant = BTreeMap<Tenant, Rows>;

#[derive(Default)]
struct Head {
    open: ByTenant,
    frozen: Vec<Arc<ByTenant>>,
    order: Vec<u64>,
}

/// Keeps payloads.
#[derive(Clone)]
pub struct ToyTable {
    signal: Signal,
    segments: Arc<dyn Segments>,
    clock: ManualClock,
    head: Arc<Mutex<Head>>,
}

fn bytes_of(rows: &ByTenant) -> usize {
    rows.values().flatten().map(|(_, p)| p.len() + 16).sum()
}

fn encode(rows: &Rows) -> Vec<u8> {
    let mut out = Vec::new();
    for (sequence, payload) in rows {
        out.extend(sequence.to_le_bytes());
        out.extend((payload.len() as u32).to_le_bytes());
        out.extend_from_slice(payload);
    }
    let crc = crc32c::crc32c(&out);
    out.extend(crc.to_le_bytes());
    out
}

impl ToyTable {
    pub fn new(signal: Signal, segments: Arc<dyn Segments>, clock: ManualClock) -> Self {
        Self { signal, segments, clock, head: Arc::default() }
    }

    fn write(&self, tenant: &Tenant, hour: i64, rows: &Rows) -> Result<SegmentMeta, StoreError> {
        let (id, path) = self.segments.allocate(tenant.as_str(), self.signal, hour);
        let mut file = self.segments.create(&path)?;
        file.write_all(&encode(rows)).map_err(StoreError::io("writing a toy segment"))?;
        let bytes = file.finish()?;
        // A sidecar, as real tables have.
        let mut side = self.segments.create(&path.replace(".parquet", ".ids").replace(".chunks", ".ids"))?;
        side.write_all(b"side").map_err(StoreError::io("writing a sidecar"))?;
        side.finish()?;
        Ok(SegmentMeta {
            id,
            tenant: tenant.as_str().into(),
            signal: self.signal.as_str().into(),
            hour,
            file: path,
            format: 1,
            first: hour * HOUR_NS,
            last: hour * HOUR_NS + HOUR_NS - 1,
            rows: rows.len() as u64,
            bytes,
            level: 0,
            first_sequence: 0,
            last_sequence: 0,
            deleted_to: 0,
            apart: false,
        })
    }

    fn read(&self, segment: &SegmentMeta) -> Result<Rows, StoreError> {
        let corrupt = |reason: &str| StoreError::Corrupt { file: segment.file.clone(), reason: reason.into() };
        let source = self.segments.open(&segment.file)?;
        let bytes = source.read(0, source.size() as usize)?;
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| corrupt("short"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(corrupt("checksum"));
        }
        let mut rows = Rows::new();
        let mut at = 0;
        while at < body.len() {
            let sequence = u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
            let len = u32::from_le_bytes(body[at + 8..at + 12].try_into().expect("four bytes")) as usize;
            rows.push((sequence, bytes.slice(at + 12..at + 12 + len)));
            at += 12 + len;
        }
        Ok(rows)
    }

    /// Everything in the head, and the segments of `live`, by sequence.
    pub fn rows(&self, tenant: &Tenant, head: &Rows, live: &Live) -> Rows {
        let mut rows = head.clone();
        for segment in live.of(self.signal).iter().filter(|s| s.tenant == tenant.as_str()) {
            match self.read(segment) {
                Ok(more) => rows.extend(more),
                Err(e) => self.segments.quarantine(segment, &e.to_string()),
            }
        }
        rows.sort_by_key(|(sequence, _)| *sequence);
        rows
    }

    /// The head's view.
    pub fn view(&self, tenant: &Tenant) -> Rows {
        let head = self.head.lock();
        head.frozen.iter().map(|f| &**f).chain([&head.open]).filter_map(|t| t.get(tenant)).flatten().cloned().collect()
    }

    /// Sequences in the order in which they were applied.
    pub fn applied(&self) -> Vec<u64> {
        self.head.lock().order.clone()
    }
}

struct ToyFrozen {
    table: ToyTable,
    rows: Arc<ByTenant>,
}

impl SignalTable for ToyTable {
    fn apply_without(&self, record: &Record, _: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
        let mut head = self.head.lock();
        head.order.push(record.sequence);
        head.open.entry(record.tenant.clone()).or_default().push((record.sequence, record.payload.clone()));
        Ok(Summary { accepted: 1, ..Summary::default() })
    }

    fn delete(&self, _: &Arc<Tombstone>) -> Result<(), StoreError> {
        Ok(())
    }

    fn memory(&self) -> usize {
        let head = self.head.lock();
        bytes_of(&head.open) + head.frozen.iter().map(|f| bytes_of(f)).sum::<usize>()
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        let mut head = self.head.lock();
        if head.open.is_empty() {
            return None;
        }
        let rows = Arc::new(std::mem::take(&mut head.open));
        head.frozen.push(Arc::clone(&rows));
        Some(Box::new(ToyFrozen { table: self.clone(), rows }))
    }

    fn compact(&self, inputs: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError> {
        let mut rows = Rows::new();
        for input in inputs {
            rows.extend(self.read(input)?);
        }
        rows.sort_by_key(|(sequence, _)| *sequence);
        let tenant = Tenant::new(&inputs[0].tenant).expect("valid");
        Ok(vec![self.write(&tenant, inputs[0].hour, &rows)?])
    }
}

impl Frozen for ToyFrozen {
    fn write(&self) -> Result<Vec<SegmentMeta>, StoreError> {
        use braid_store::engine::Clock;
        let hour = model::hour_of(self.table.clock.now());
        self.rows.iter().map(|(tenant, rows)| self.table.write(tenant, hour, rows)).collect()
    }

    fn forget(self: Box<Self>) {
        let mut head = self.table.head.lock();
        head.frozen.retain(|f| !Arc::ptr_eq(f, &self.rows));
    }
}

/// An engine over toy tables.
pub struct Toy {
    pub engine: Engine,
    pub tables: Vec<ToyTable>,
    runtime: tokio::runtime::Runtime,
}

/// 2026-01-01, as good as any.
pub const START: i64 = 1_767_225_600_000_000_000;

impl Toy {
    pub fn open(options: Options, clock: &ManualClock) -> Result<Self, StoreError> {
        let mut tables = Vec::new();
        let engine = Engine::open(options, |segments| {
            tables = Signal::ALL.map(|s| ToyTable::new(s, Arc::clone(&segments), clock.clone())).to_vec();
            std::array::from_fn(|i| Arc::new(tables[i].clone()) as Arc<dyn SignalTable>)
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Ok(Self { engine, tables, runtime })
    }

    pub fn append(&self, encoding: Encoding, payload: impl Into<Bytes>) -> Result<(), StoreError> {
        self.append_as(&Tenant::default(), encoding, payload)
    }

    pub fn append_as(&self, tenant: &Tenant, encoding: Encoding, payload: impl Into<Bytes>) -> Result<(), StoreError> {
        let request = Request { tenant: tenant.clone(), encoding, payload: payload.into() };
        self.runtime.block_on(self.engine.append(request)).map(drop)
    }

    /// Several at once, so that they make groups.
    pub fn append_all(&self, encoding: Encoding, payloads: Vec<Bytes>) -> Vec<Result<(), StoreError>> {
        self.runtime.block_on(async {
            let appends: Vec<_> = payloads
                .into_iter()
                .map(|payload| self.engine.append(Request { tenant: Tenant::default(), encoding, payload }))
                .collect();
            let mut outcomes = Vec::new();
            // Polled together: each is queued at its first poll.
            let mut appends: Vec<_> = appends.into_iter().map(Some).collect();
            outcomes.resize_with(appends.len(), || None);
            std::future::poll_fn(|context| {
                for (slot, outcome) in appends.iter_mut().zip(&mut outcomes) {
                    if let Some(append) = slot
                        && let std::task::Poll::Ready(r) = append.as_mut().poll(context)
                    {
                        *outcome = Some(r.map(drop));
                        *slot = None;
                    }
                }
                if appends.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            outcomes.into_iter().map(|o| o.expect("polled to its end")).collect()
        })
    }

    pub fn rows(&self, signal: Signal) -> Rows {
        self.rows_of(&Tenant::default(), signal)
    }

    pub fn rows_of(&self, tenant: &Tenant, signal: Signal) -> Rows {
        let table = &self.tables[signal as usize];
        let (head, live) = self.engine.with_snapshot(|live| (table.view(tenant), Arc::clone(live)));
        table.rows(tenant, &head, &live)
    }

    /// The payloads of a signal in the order of the log.
    pub fn payloads(&self, signal: Signal) -> Vec<Bytes> {
        self.rows(signal).into_iter().map(|(_, p)| p).collect()
    }

    pub fn wait_until_replayed(&self) {
        while self.engine.partial().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
