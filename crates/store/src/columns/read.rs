//! Segments opened for reading: the footer (kept in a bounded cache) and columns of a row group, whole or in part; columns
//! that were read whole are kept decoded, see [`ColumnCache`].

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::DataType;
use bytes::{Buf, Bytes};
use model::TimeRange;
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::bloom;
use super::cache::ColumnCache;
use super::id::ColumnId;
use super::inflate::Inflater;
use super::packed::Packed;
use super::pick::Picked;
use super::segment::{
    KEY_COLUMNS, KEY_EARLIER_IDS, KEY_FORMAT, KEY_ID_TEXTS, KEY_IDS, KEY_REST, KEY_TENANTS, SHARED_FORMAT, SegmentColumn, schema,
};
use crate::contract::Field;
use crate::{SegmentMeta, SegmentSource, Segments, StoreError};
use wire::Signal;

/// Bytes of footers that are kept.
const FOOTERS_MAX: usize = 16 << 20;
/// Segments whose traces are known without their footers.
const TRACES_MAX: usize = 16_384;
/// Text of so many bytes a row is kept decoded; longer text is not.
const TEXT_KEPT: i64 = 16;
/// Times are in order where they ascend for so many rows on the average.
const RUN_OF_TIME: usize = if cfg!(test) { 2 } else { 64 };
/// Bytes that a sequential read fetches at a time.
const READ_AHEAD: usize = 64 << 10;

/// A segment as its footer describes it.
pub(crate) struct Footer {
    pub(crate) parquet: ArrowReaderMetadata,
    /// The columns in the order of the file.
    pub(crate) columns: Vec<SegmentColumn>,
    /// Place of each column.
    places: BTreeMap<ColumnId, usize>,
    /// Rows of the attributes in rest columns.
    pub(crate) rest: BTreeMap<ColumnId, u64>,
    /// Where each row group's id filter lies: offset and length. Empty where there is none.
    filters: Vec<(u64, u64)>,
    /// Of each row group the text columns of bodies in which an id may stand. Empty where that is not said.
    id_texts: Vec<Vec<usize>>,
    /// The tenants that share it, by name, and the row behind the last of each; empty where it is one tenant's.
    tenants: Vec<(String, u64)>,
    size: usize,
}

impl Footer {
    fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.parquet.metadata()
    }

    /// The column's place.
    pub(crate) fn place(&self, id: &ColumnId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The columns' ids, sorted.
    pub(crate) fn ids(&self) -> Vec<&ColumnId> {
        self.places.keys().collect()
    }

    /// How many row groups.
    pub(crate) fn groups(&self) -> usize {
        self.metadata().num_row_groups()
    }

    /// Rows of a row group.
    pub(crate) fn rows(&self, group: usize) -> usize {
        self.metadata().row_group(group).num_rows().max(0) as usize
    }

    /// The tenants that share it, by name, each with the row behind its last one; empty where it is one tenant's.
    pub(crate) fn tenants(&self) -> &[(String, u64)] {
        &self.tenants
    }

    /// Whether an id may stand in a text of a body's column.
    pub(crate) fn may_hold_ids(&self, group: usize, place: usize) -> bool {
        self.id_texts.get(group).is_none_or(|places| places.contains(&place))
    }

    /// The number of a row group's first row.
    pub(crate) fn group_start(&self, group: usize) -> u64 {
        (0..group).map(|g| self.rows(g) as u64).sum()
    }

    /// Which rows of a row group of a shared segment are a tenant's.
    pub(crate) fn own_rows(&self, group: usize, tenant: &str) -> Range<u32> {
        let Ok(at) = self.tenants.binary_search_by(|(name, _)| name.as_str().cmp(tenant)) else { return 0..0 };
        let first = if at == 0 { 0 } else { self.tenants[at - 1].1 };
        let (start, rows) = (self.group_start(group), self.rows(group) as u64);
        let inside = |row: u64| row.saturating_sub(start).min(rows) as u32;
        inside(first)..inside(self.tenants[at].1)
    }

    /// The footer as Parquet has it.
    pub(crate) fn raw(&self) -> &ParquetMetaData {
        self.parquet.metadata()
    }
}

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

/// A segment that can be read.
pub(crate) struct OpenSegment {
    pub(crate) meta: SegmentMeta,
    pub(crate) footer: Footer,
    file: File,
    /// Where columns are kept; merges read without it.
    cache: Option<Arc<ColumnCache>>,
}

impl OpenSegment {
    /// Opens a segment and reads its footer.
    ///
    /// # Errors
    /// IO, [`StoreError::Corrupt`], [`StoreError::Version`].
    pub(crate) fn open(segments: &dyn Segments, meta: &SegmentMeta) -> Result<Self, StoreError> {
        let file = File(segments.open(&meta.file)?);
        let footer = guarded(&meta.file, || read_footer(&file, &meta.file))?;
        Ok(Self { meta: meta.clone(), footer, file, cache: None })
    }

    /// A column as it is kept, all rows; `None` where it is not.
    pub(crate) fn cached(&self, group: usize, place: usize) -> Option<Packed> {
        self.cache.as_ref()?.column(self.meta.id, group, place)
    }

    /// Whether the trace ids of a row group are kept.
    pub(crate) fn keeps_trace_ids(&self, group: usize) -> bool {
        self.footer.place(&ColumnId::Field(Field::TraceId)).is_some_and(|place| self.cached(group, place).is_some())
    }

    /// Where columns are kept.
    pub(super) fn cache(&self) -> Option<&ColumnCache> {
        self.cache.as_deref()
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// IO, and [`StoreError::Corrupt`] past its end.
    pub(super) fn bytes(&self, at: u64, len: u64) -> Result<Bytes, StoreError> {
        // A length from a damaged file must not become an allocation.
        match usize::try_from(len) {
            Ok(len) if at.checked_add(len as u64).is_some_and(|end| end <= self.file.0.size()) => self.file.0.read(at, len),
            _ => Err(self.corrupt("a page lies past the end of the file")),
        }
    }

    /// What decompresses pages, for `work`.
    pub(super) fn with_inflater<T>(&self, work: impl FnOnce(&mut Inflater) -> T) -> T {
        match &self.cache {
            Some(cache) => cache.inflaters().with(work),
            None => work(&mut Inflater::default()),
        }
    }

    /// A column of all rows as it is kept, read and kept where it is small enough; `None` where it is not.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn packed(&self, group: usize, place: usize) -> Result<Option<Packed>, StoreError> {
        if let Some(packed) = self.cached(group, place) {
            return Ok(Some(packed));
        }
        let Some(cache) = self.cache.as_ref().filter(|_| self.cacheable(group, place)) else { return Ok(None) };
        let array = self.columns(group, &[place], &Picked::all(self.footer.rows(group)))?.pop();
        Ok(array.map(|array| cache.keep_column(self.meta.id, group, place, &array)))
    }

    /// The rows of a row group at which its times begin anew: between two of them they ascend. And the times. `None` where
    /// nothing is kept, or times are in no order.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn runs_of_time(&self, group: usize) -> Result<Option<(Arc<[u32]>, ArrayRef)>, StoreError> {
        let (Some(place), Some(cache)) = (time_place(&self.footer), &self.cache) else { return Ok(None) };
        let Some(times) = self.packed(group, place)?.map(|times| times.array()) else { return Ok(None) };
        let Some(values) = times.as_primitive_opt::<Int64Type>().filter(|t| t.null_count() == 0) else { return Ok(None) };
        let starts = match cache.starts(self.meta.id, group) {
            Some(starts) => starts,
            None => {
                let pairs = values.values().windows(2).zip(1..);
                let starts = pairs.filter(|(pair, _)| pair[1] < pair[0]).map(|(_, row)| row);
                let most = times.len() / RUN_OF_TIME;
                let starts: Arc<[u32]> = std::iter::once(0).chain(starts).take(most + 1).collect();
                cache.keep_starts(self.meta.id, group, &starts);
                starts
            }
        };
        Ok((starts.len() <= times.len() / RUN_OF_TIME).then(|| (starts, times.clone())))
    }

    /// Which rows of a row group lie in a range of time; `None` where its times are not kept.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn kept_in_range(&self, group: usize, range: TimeRange) -> Result<Option<BooleanBuffer>, StoreError> {
        if time_place(&self.footer).is_none_or(|place| self.cached(group, place).is_none()) {
            return Ok(None);
        }
        let Some((starts, times)) = self.runs_of_time(group)? else { return Ok(None) };
        let times = times.as_primitive::<Int64Type>().values();
        let mut bits = BooleanBufferBuilder::new(times.len());
        let ends = starts.iter().skip(1).map(|&end| end as usize).chain([times.len()]);
        for (&start, end) in starts.iter().zip(ends) {
            let run = &times[start as usize..end];
            let from = run.partition_point(|t| *t < range.start);
            let to = run.partition_point(|t| *t < range.end).max(from);
            bits.append_n(from, false);
            bits.append_n(to - from, true);
            bits.append_n(run.len() - to, false);
        }
        Ok(Some(bits.finish()))
    }

    /// Whether few rows are picked from a column that is kept whole, once that is worth it: a dictionary is read whole for a single row.
    fn kept_whole(&self, group: usize, place: usize) -> bool {
        let column = &self.footer.columns[place];
        matches!(column.id.data_type(column.plain), DataType::Dictionary(..)) && self.cacheable(group, place)
    }

    /// Whether a column is small enough to be kept decoded.
    fn cacheable(&self, group: usize, place: usize) -> bool {
        let rows = self.footer.rows(group) as i64;
        let column = &self.footer.columns[place];
        let chunk = self.footer.raw().row_group(group).column(place);
        self.cache.is_some()
            && match column.id.data_type(column.plain) {
                DataType::Utf8 | DataType::Binary => chunk.uncompressed_size() <= rows * TEXT_KEPT,
                DataType::Dictionary(_, _) => chunk.uncompressed_size() <= rows * 2 * TEXT_KEPT,
                _ => true,
            }
    }

    /// Columns of the picked rows of a row group: from the cache; else whole where most pages are needed anyway, and kept;
    /// else from the pages that are needed, which are kept where they are few.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn picked(&self, group: usize, places: &[usize], picked: &Picked) -> Result<Vec<ArrayRef>, StoreError> {
        let mut out: Vec<Option<ArrayRef>> = vec![None; places.len()];
        let (mut whole, mut some) = (Vec::new(), Vec::new());
        let often = !picked.is_wide() && self.cache.as_ref().is_some_and(|cache| cache.asked_often(self.meta.id, group));
        for (at, &place) in places.iter().enumerate() {
            match self.cached(group, place) {
                Some(packed) => out[at] = Some(picked.of_packed(&packed)?),
                None if picked.is_wide() && self.cacheable(group, place) => whole.push(at),
                None if often && self.kept_whole(group, place) => whole.push(at),
                None => some.push(at),
            }
        }
        let places_of = |ats: &[usize]| ats.iter().map(|&at| places[at]).collect::<Vec<_>>();
        if !whole.is_empty() {
            let arrays = self.columns(group, &places_of(&whole), &Picked::all(self.footer.rows(group)))?;
            for (&at, array) in whole.iter().zip(arrays) {
                if let Some(cache) = &self.cache {
                    cache.keep_column(self.meta.id, group, places[at], &array);
                }
                out[at] = Some(picked.of(&array)?);
            }
        }
        if !some.is_empty() {
            let places = places_of(&some);
            let pages = match picked.some().filter(|_| !picked.is_wide()) {
                Some(rows) => self.picked_pages(group, &places, rows)?,
                None => None,
            };
            let arrays = match pages {
                Some(arrays) => arrays,
                None => self.columns(group, &places, picked)?,
            };
            some.iter().zip(arrays).for_each(|(&at, array)| out[at] = Some(array));
        }
        out.into_iter().map(|array| array.ok_or_else(|| self.corrupt("a column is missing"))).collect()
    }

    /// Columns of a row group as Parquet's reader has them, each as one array: all rows, or those of `selection`.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(super) fn columns_by_parquet(
        &self,
        group: usize,
        places: &[usize],
        selection: Option<&RowSelection>,
    ) -> Result<Vec<ArrayRef>, StoreError> {
        guarded(&self.meta.file, || {
            let rows = selection.map_or_else(|| self.footer.rows(group), RowSelection::row_count);
            if rows == 0 {
                let fields = self.footer.parquet.schema();
                return Ok(places
                    .iter()
                    .map(|&p| arrow_array::new_empty_array(fields.field(p).data_type()))
                    .map(as_kept)
                    .collect());
            }
            let mut reader = self.batches(group, places, selection, rows)?;
            let batch = reader.next().ok_or_else(|| self.corrupt("a row group ends early"))?.map_err(|e| self.arrow(&e))?;
            let mut arrays: Vec<Vec<ArrayRef>> = batch.columns().iter().map(|a| vec![a.clone()]).collect();
            for batch in reader {
                let batch = batch.map_err(|e| self.arrow(&e))?;
                arrays.iter_mut().zip(batch.columns()).for_each(|(all, a)| all.push(a.clone()));
            }
            // The reader gives columns in the order of the file.
            let mut sorted = places.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            places
                .iter()
                .map(|p| {
                    let pieces = &arrays[sorted.binary_search(p).unwrap_or(0)];
                    let array = match &pieces[..] {
                        [one] => one.clone(),
                        more => {
                            let more: Vec<&dyn Array> = more.iter().map(|a| &**a).collect();
                            arrow_select::concat::concat(&more).map_err(|e| self.arrow(&e))?
                        }
                    };
                    if array.len() != rows {
                        return Err(self.corrupt("a row group ends early"));
                    }
                    Ok(as_kept(array))
                })
                .collect()
        })
    }

    /// A reader of a row group's columns in batches of at most `batch` rows. Times are time stamps there.
    ///
    /// # Errors
    /// As for [`OpenSegment::columns`].
    pub(crate) fn batches(
        &self,
        group: usize,
        places: &[usize],
        selection: Option<&RowSelection>,
        batch: usize,
    ) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader, StoreError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.footer.parquet.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
        let mut builder = builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(batch);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection.clone());
        }
        builder.build().map_err(|e| parquet_error(&self.meta.file, &e))
    }

    /// The bytes of a row group's id filter; `None` where it has none.
    ///
    /// # Errors
    /// IO.
    pub(crate) fn id_filter(&self, group: usize) -> Result<Option<Bytes>, StoreError> {
        match self.footer.filters.get(group) {
            Some(&(at, len)) if len > 0 && at.saturating_add(len) <= self.file.0.size() => {
                if let Some(filter) = self.cache.as_ref().and_then(|c| c.filter(self.meta.id, group)) {
                    return Ok(Some(filter));
                }
                let filter = self.file.0.read(at, len as usize)?;
                if let Some(cache) = &self.cache {
                    cache.keep_filter(self.meta.id, group, &filter);
                }
                Ok(Some(filter))
            }
            _ => Ok(None),
        }
    }

    /// The error for damage in this file.
    pub(crate) fn corrupt(&self, reason: &str) -> StoreError {
        StoreError::Corrupt { file: self.meta.file.clone(), reason: reason.to_owned() }
    }

    /// The error for what Arrow says of this file's contents.
    pub(crate) fn arrow(&self, e: &arrow_schema::ArrowError) -> StoreError {
        self.corrupt(&e.to_string())
    }
}

/// Times as heads and scans hold them: `Int64`.
pub(crate) fn as_kept(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Timestamp(_, _) => Arc::new(array.as_primitive::<TimestampNanosecondType>().reinterpret_cast::<Int64Type>()),
        _ => array,
    }
}

/// Runs a read of a file; damage that makes the decoder panic is an error like any other.
pub(crate) fn guarded<T>(file: &str, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(StoreError::Corrupt { file: file.to_owned(), reason: "its contents make no sense".into() }))
}

fn parquet_error(file: &str, e: &ParquetError) -> StoreError {
    StoreError::Corrupt { file: file.to_owned(), reason: e.to_string() }
}

fn read_footer(file: &File, path: &str) -> Result<Footer, StoreError> {
    let corrupt = |reason: &str| StoreError::Corrupt { file: path.to_owned(), reason: reason.to_owned() };
    let parquet = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .parse_and_finish(file)
        .map_err(|e| parquet_error(path, &e))?;
    let pairs = parquet.file_metadata().key_value_metadata();
    let value = |key: &str| pairs.and_then(|p| p.iter().find(|kv| kv.key == key)).and_then(|kv| kv.value.as_deref());
    let format: u32 = value(KEY_FORMAT).and_then(|v| v.parse().ok()).ok_or_else(|| corrupt("it names no format version"))?;
    if format > SHARED_FORMAT {
        return Err(StoreError::Version { file: path.to_owned(), found: format, supported: SHARED_FORMAT });
    }
    let spelled: Vec<(String, String, String)> = value(KEY_COLUMNS)
        .and_then(|v| serde_json::from_str(v).ok())
        .ok_or_else(|| corrupt("it does not say what its columns mean"))?;
    let descriptor = parquet.file_metadata().schema_descr_ptr();
    if descriptor.num_columns() != spelled.len() {
        return Err(corrupt("it has other columns than it says"));
    }
    let mut columns = Vec::with_capacity(spelled.len());
    let mut places = BTreeMap::new();
    for (place, (kind, key, value_type)) in spelled.iter().enumerate() {
        let id = ColumnId::parse(kind, key, value_type).ok_or_else(|| corrupt("a column of a kind that no version has"))?;
        let plain = id.is_text() && !is_dictionary(&parquet, place);
        places.insert(id.clone(), place);
        columns.push(SegmentColumn { id, plain });
    }
    let rest: Vec<((String, String, String), u64)> =
        value(KEY_REST).and_then(|v| serde_json::from_str(v).ok()).unwrap_or_default();
    let rest = rest.iter().filter_map(|((a, b, c), n)| Some((ColumnId::parse(a, b, c)?, *n))).collect();
    let filters =
        value(KEY_IDS).or_else(|| value(KEY_EARLIER_IDS)).and_then(|v| serde_json::from_str(v).ok()).unwrap_or_default();
    let id_texts = value(KEY_ID_TEXTS).and_then(|v| serde_json::from_str(v).ok()).unwrap_or_default();
    let tenants = match format == SHARED_FORMAT {
        true => {
            let said = value(KEY_TENANTS).and_then(|v| serde_json::from_str(v).ok());
            let rows = parquet.row_groups().iter().map(|g| g.num_rows().max(0) as u64).sum();
            said.and_then(|said| stretches(said, rows)).ok_or_else(|| corrupt("it does not say whose its rows are"))?
        }
        false => Vec::new(),
    };
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema(&columns)));
    let size = parquet.memory_size() + columns.len() * 200 + tenants.len() * 64;
    let parquet = ArrowReaderMetadata::try_new(Arc::new(parquet), options).map_err(|e| parquet_error(path, &e))?;
    Ok(Footer { parquet, columns, places, rest, filters, id_texts, tenants, size })
}

/// Where each tenant's rows end; `None` where that makes no sense: names out of order, more or fewer than all `rows`.
fn stretches(said: Vec<(String, u64)>, rows: u64) -> Option<Vec<(String, u64)>> {
    let in_order = said.windows(2).all(|w| w[0].0 < w[1].0);
    let mut end = 0u64;
    let ends = said.into_iter().map(|(name, rows)| {
        end = end.checked_add(rows)?;
        Some((name, end))
    });
    let ends: Vec<_> = ends.collect::<Option<_>>()?;
    (in_order && end == rows).then_some(ends)
}

/// Whether a text column is written as a dictionary: any row group tells (all-null ones have no page of either kind).
fn is_dictionary(parquet: &ParquetMetaData, place: usize) -> bool {
    parquet.row_groups().iter().any(|g| g.column(place).dictionary_page_offset().is_some())
}

/// A file as Parquet reads it.
#[derive(Clone)]
struct File(Arc<dyn SegmentSource>);

impl Length for File {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for File {
    type T = Sequential;

    fn get_read(&self, start: u64) -> Result<Sequential, ParquetError> {
        Ok(Sequential { file: self.0.clone(), at: start, ahead: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // A length from a damaged file must not become an allocation.
        if start.saturating_add(length as u64) > self.0.size() {
            return Err(ParquetError::EOF("a page lies past the end of the file".into()));
        }
        self.0.read(start, length).map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads onwards from a position.
struct Sequential {
    file: Arc<dyn SegmentSource>,
    at: u64,
    ahead: Bytes,
}

impl Read for Sequential {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.ahead.is_empty() {
            let left = self.file.size().saturating_sub(self.at).min(READ_AHEAD as u64);
            if left == 0 {
                return Ok(0);
            }
            self.ahead = self.file.read(self.at, left as usize).map_err(std::io::Error::other)?;
            self.at += left;
        }
        let n = buf.len().min(self.ahead.len());
        self.ahead.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

/// The place of the time column.
pub(crate) fn time_place(footer: &Footer) -> Option<usize> {
    footer.place(&ColumnId::Field(Field::Time))
}

#[cfg(test)]
mod tests {
    use super::stretches;

    #[test]
    fn a_shared_segment_says_whose_every_row_is_or_is_damaged() {
        let said = |names: &[(&str, u64)]| names.iter().map(|(n, rows)| ((*n).to_owned(), *rows)).collect::<Vec<_>>();
        assert_eq!(stretches(said(&[("a", 2), ("b", 3)]), 5), Some(said(&[("a", 2), ("b", 5)])));
        for (names, rows) in [
            (said(&[("b", 2), ("a", 3)]), 5),
            (said(&[("a", 2), ("a", 3)]), 5),
            (said(&[("a", 2), ("b", 3)]), 4),
            (said(&[("a", 2), ("b", 3)]), 6),
            (said(&[("a", u64::MAX), ("b", 6)]), 5),
            (said(&[]), 1),
        ] {
            assert_eq!(stretches(names.clone(), rows), None, "{names:?} of {rows}");
        }
    }
}
