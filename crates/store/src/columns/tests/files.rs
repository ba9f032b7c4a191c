//! Segments in memory, which tests can look into and damage.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wire::Signal;

use crate::engine::Live;
use crate::{SegmentFile, SegmentMeta, SegmentSource, Segments, StoreError, Tombstones};

#[derive(Default, Clone)]
pub(crate) struct Files {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Bytes>,
    next: u64,
    quarantined: Vec<String>,
    live: Arc<Live>,
}

impl Files {
    pub(crate) fn bytes(&self, path: &str) -> Bytes {
        self.state.lock().files[path].clone()
    }

    pub(crate) fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        self.state.lock().files.insert(path.to_owned(), bytes.into());
    }

    /// From now on segments are merged without these.
    pub(crate) fn delete(&self, tombstones: Tombstones) {
        self.state.lock().live = Arc::new(Live::default().without(tombstones));
    }

    pub(crate) fn quarantined(&self) -> Vec<String> {
        self.state.lock().quarantined.clone()
    }
}

struct Growing {
    files: Files,
    path: String,
    bytes: Vec<u8>,
}

impl Write for Growing {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl SegmentFile for Growing {
    fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        let len = self.bytes.len() as u64;
        self.files.put(&self.path, self.bytes);
        Ok(len)
    }
}

struct Finished(String, Bytes);

impl SegmentSource for Finished {
    fn size(&self) -> u64 {
        self.1.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let end = offset as usize + len;
        if end > self.1.len() {
            return Err(StoreError::Corrupt { file: self.0.clone(), reason: "it ends early".into() });
        }
        Ok(self.1.slice(offset as usize..end))
    }
}

impl Segments for Files {
    fn allocate(&self, tenant: &str, signal: Signal, hour: i64) -> (u64, String) {
        let mut state = self.state.lock();
        state.next += 1;
        (state.next, format!("{tenant}/{}/{hour}/{}.parquet", signal.as_str(), state.next))
    }

    fn create(&self, path: &str) -> Result<Box<dyn SegmentFile>, StoreError> {
        Ok(Box::new(Growing { files: self.clone(), path: path.to_owned(), bytes: Vec::new() }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn SegmentSource>, StoreError> {
        let state = self.state.lock();
        let bytes = state
            .files
            .get(path)
            .cloned()
            .ok_or_else(|| StoreError::Io { what: format!("open {path}"), source: std::io::ErrorKind::NotFound.into() })?;
        Ok(Arc::new(Finished(path.to_owned(), bytes)))
    }

    fn in_service(&self) -> Arc<Live> {
        self.state.lock().live.clone()
    }

    fn quarantine(&self, segment: &SegmentMeta, _: &str) {
        self.state.lock().quarantined.push(segment.file.clone());
    }
}
