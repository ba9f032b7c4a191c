//! The segments that were read last, kept open in bounded memory.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use parquet::file::statistics::Statistics;
use wire::Signal;

use super::bloom;
use super::cache::ColumnCache;
use super::footer::Footer;
use super::id::ColumnId;
use super::read::OpenSegment;
use crate::contract::Field;
use crate::{SegmentMeta, Segments, StoreError};

/// Bytes of footers that are kept.
const FOOTERS_MAX: usize = 16 << 20;
/// Segments whose traces are known without their footers.
const TRACES_MAX: usize = 16_384;

/// Footers of the segments that were read last, bounded in bytes; and the cache of their columns.
pub(crate) struct Footers {
    kept: Mutex<Kept>,
    columns: Arc<ColumnCache>,
}

#[derive(Default)]
struct Kept {
    by_id: HashMap<u64, (Arc<OpenSegment>, u64)>,
    /// Where the traces of each segment lie: a few hundred bytes for a million spans, so that a trace is not looked for in footers.
    traces: HashMap<u64, Arc<TraceIds>>,
    bytes: usize,
    bytes_of_traces: usize,
    clock: u64,
}

impl Footers {
    /// No footers yet; columns are kept in `columns`.
    pub(crate) fn new(columns: Arc<ColumnCache>) -> Self {
        Self { kept: Mutex::default(), columns }
    }

    /// Bytes held, those of columns apart.
    pub(crate) fn memory(&self) -> usize {
        let kept = self.kept.lock();
        kept.bytes + kept.bytes_of_traces
    }

    /// Whether a segment of spans may hold some of a trace, as far as can be told without its footer.
    ///
    /// # Errors
    /// As for [`Footers::open`].
    pub(crate) fn may_hold(&self, segments: &dyn Segments, meta: &SegmentMeta, trace: &[u8]) -> Result<bool, StoreError> {
        let known = self.kept.lock().traces.get(&meta.id).cloned();
        let Some(known) = known.filter(|_| trace.len() * 2 == bloom::DIGITS) else { return Ok(true) };
        let hash = bloom::hash_id(trace);
        for (group, (least, most)) in known.groups.iter().enumerate() {
            if !(least.as_slice() <= trace && trace <= most.as_slice()) {
                continue;
            }
            let filter = match self.columns.filter(meta.id, group) {
                Some(filter) => Some(filter),
                None => self.open(segments, meta)?.id_filter(group)?,
            };
            // A filter that makes no sense is noticed by whoever reads on.
            if filter.is_none_or(|f| bloom::blocks_with(&f, hash).is_none_or(|blocks| blocks.contains(&true))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The segment, opened; from the cache where it is there.
    ///
    /// # Errors
    /// IO, [`StoreError::Corrupt`], [`StoreError::Version`].
    pub(crate) fn open(&self, segments: &dyn Segments, meta: &SegmentMeta) -> Result<Arc<OpenSegment>, StoreError> {
        {
            let mut kept = self.kept.lock();
            kept.clock += 1;
            let now = kept.clock;
            if let Some((segment, used)) = kept.by_id.get_mut(&meta.id) {
                *used = now;
                return Ok(segment.clone());
            }
        }
        let mut segment = OpenSegment::open(segments, meta)?;
        segment.cache = Some(self.columns.clone());
        let segment = Arc::new(segment);
        let mut kept = self.kept.lock();
        kept.clock += 1;
        let now = kept.clock;
        kept.bytes += segment.footer.size;
        if meta.signal == Signal::Traces.as_str() && !kept.traces.contains_key(&meta.id) {
            // Segments that are gone are among them.
            if kept.traces.len() >= TRACES_MAX {
                kept.traces.clear();
                kept.bytes_of_traces = 0;
            }
            let traces = TraceIds::of(&segment.footer);
            kept.bytes_of_traces += traces.memory();
            kept.traces.insert(meta.id, Arc::new(traces));
        }
        if let Some((old, _)) = kept.by_id.insert(meta.id, (segment.clone(), now)) {
            kept.bytes -= old.footer.size;
        }
        while kept.bytes > FOOTERS_MAX && kept.by_id.len() > 1 {
            let Some(oldest) = kept.by_id.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id) else { break };
            if let Some((old, _)) = kept.by_id.remove(&oldest) {
                kept.bytes -= old.footer.size;
            }
        }
        Ok(segment)
    }
}

/// The trace ids of each row group: least and greatest one.
#[derive(Debug, Default)]
struct TraceIds {
    groups: Vec<(Vec<u8>, Vec<u8>)>,
}

impl TraceIds {
    fn of(footer: &Footer) -> Self {
        let place = footer.place(&ColumnId::Field(Field::TraceId));
        let bounds = |group| match footer.raw().row_group(group).column(place?).statistics() {
            Some(Statistics::FixedLenByteArray(s)) => Some((s.min_bytes_opt()?.to_vec(), s.max_bytes_opt()?.to_vec())),
            _ => None,
        };
        // Where nothing is said, any id may be.
        Self { groups: (0..footer.groups()).map(|g| bounds(g).unwrap_or((Vec::new(), vec![0xff; 17]))).collect() }
    }

    fn memory(&self) -> usize {
        self.groups.iter().map(|(a, b)| a.len() + b.len() + 48).sum::<usize>() + 64
    }
}
