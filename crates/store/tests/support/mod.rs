//! Segments in memory, and remote-write requests made of samples.
#![allow(dead_code, unreachable_pub)]

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use braid_store as store;
use bytes::Bytes;
use model::{Labels, Tenant};
use parking_lot::Mutex;
use store::engine::Live;
use store::{Record, SegmentFile, SegmentMeta, SegmentSource, Segments, StoreError};
use wire::{Encoding, Signal};

/// Files by path.
#[derive(Default, Clone)]
pub struct MemorySegments {
    pub files: Arc<Mutex<HashMap<String, Bytes>>>,
    pub quarantined: Arc<Mutex<Vec<(String, String)>>>,
    next: Arc<AtomicU64>,
    pub live: Arc<Mutex<Arc<Live>>>,
}

impl MemorySegments {
    pub fn bytes(&self) -> usize {
        self.files.lock().values().map(Bytes::len).sum()
    }
}

struct Writing {
    path: String,
    bytes: Vec<u8>,
    files: Arc<Mutex<HashMap<String, Bytes>>>,
}

impl Write for Writing {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl SegmentFile for Writing {
    fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        let size = self.bytes.len() as u64;
        self.files.lock().insert(self.path, self.bytes.into());
        Ok(size)
    }
}

struct Reading(String, Bytes);

impl SegmentSource for Reading {
    fn size(&self) -> u64 {
        self.1.len() as u64
    }
    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let end = (offset as usize).checked_add(len).filter(|end| *end <= self.1.len());
        match end {
            Some(end) => Ok(self.1.slice(offset as usize..end)),
            None => Err(StoreError::Corrupt { file: self.0.clone(), reason: "read past the end".to_owned() }),
        }
    }
}

impl Segments for MemorySegments {
    fn allocate(&self, tenant: &str, signal: Signal, hour: i64) -> (u64, String) {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        (id, format!("{}/{tenant}/{hour}/{id}.parquet", signal.as_str()))
    }
    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        Ok(Box::new(Writing { path: path.to_owned(), bytes: Vec::new(), files: Arc::clone(&self.files) }))
    }
    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        match self.files.lock().get(path) {
            Some(bytes) => Ok(Arc::new(Reading(path.to_owned(), bytes.clone()))),
            None => Err(StoreError::io(path)(std::io::ErrorKind::NotFound.into())),
        }
    }
    fn in_service(&self) -> Arc<Live> {
        Arc::clone(&self.live.lock())
    }
    fn quarantine(&self, segment: &SegmentMeta, reason: &str) {
        self.quarantined.lock().push((segment.file.clone(), reason.to_owned()));
    }
}

/// A remote-write request of these samples as the log would give it back.
pub fn record(tenant: &Tenant, sequence: u64, series: &[(Labels, Vec<(i64, f64)>)]) -> Record {
    let mut encoder = wire::remote_write::Encoder::new();
    for (labels, samples) in series {
        encoder.series(labels.iter(), samples);
    }
    let payload = encoder.finish().expect("a small request").into();
    Record { sequence, tenant: tenant.clone(), encoding: Encoding::RemoteWrite, received: 0, payload }
}
