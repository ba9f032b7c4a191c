//! What is kept in memory of an open segment: its series by number, and where each run stands in the file.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, UInt8Type, UInt32Type};
use arrow_array::{MapArray, RecordBatch};
use bytes::{Buf, Bytes};
use hashbrown::HashMap;
use model::Labels;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::chunk::MAX_COUNT;
use super::format::{Kind, METADATA_KEY, SHARED_VERSION, TENANTS_KEY, VERSION_KEY, column};
use super::metadata::Families;
use super::registry::{Catalog, SeriesId};
use super::times::{Times, together};
use crate::{SegmentMeta, SegmentSource, StoreError};

/// Checksum behind coded bytes.
const CRC: usize = 4;

/// One run of samples, without its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// First time, milliseconds.
    pub first: i64,
    /// Last time.
    pub last: i64,
    /// Samples.
    pub count: u32,
    /// What it is of.
    pub kind: Kind,
    /// Which of the segment's times.
    times: u32,
    /// Where the coded values are, with their checksum.
    offset: u64,
    len: u32,
}

impl Run {
    /// Whether it may have a sample in `range`.
    pub(super) fn overlaps(&self, range: &RangeInclusive<i64>) -> bool {
        self.first <= *range.end() && self.last >= *range.start()
    }

    /// Where its values stand in the file.
    pub(super) fn place(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }
}

/// An open segment.
pub(super) struct SegmentIndex {
    /// As the manifest names it.
    pub meta: SegmentMeta,
    /// What the segment knows of metric families.
    pub families: Families,
    catalog: Arc<Catalog>,
    source: Arc<dyn SegmentSource>,
    /// Series in the order of their labels.
    ids: Vec<SeriesId>,
    /// Where each series' runs start, and one more for the end.
    starts: Vec<u32>,
    /// Numbers with positions in `ids`, sorted.
    by_id: Vec<(SeriesId, u32)>,
    /// Number of the first run in the segment, others' rows included.
    first_run: u32,
    runs: Vec<Run>,
    times: Vec<Times>,
}

impl std::fmt::Debug for SegmentIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentIndex").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// A segment's bytes for Parquet's reader.
#[derive(Clone)]
struct Input(Arc<dyn SegmentSource>);

impl Length for Input {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Input {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // Asked for only where a length is not known: page headers. The column's pages follow.
        let len = self.0.size().saturating_sub(start).min(1 << 20) as usize;
        Ok(self.get_bytes(start, len)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.read(start, length).map_err(|e| parquet::errors::ParquetError::External(Box::new(e)))
    }
}

/// Checks and cuts off the checksum.
pub(super) fn unseal(bytes: &[u8]) -> Result<&[u8], String> {
    let (coded, crc) = bytes.split_last_chunk::<CRC>().ok_or("a run without a checksum")?;
    if crc32c::crc32c(coded) == u32::from_le_bytes(*crc) { Ok(coded) } else { Err("a run's checksum does not fit".to_owned()) }
}

/// The rows of one column of coded bytes, one file position each.
fn places(metadata: &ParquetMetaData, name: &str, lens: &[u32]) -> Result<Vec<u64>, String> {
    let leaf = metadata.file_metadata().schema_descr().columns().iter().position(|c| c.path().string() == name);
    let leaf = leaf.ok_or_else(|| format!("no column {name}"))?;
    let mut out = Vec::with_capacity(lens.len());
    let mut group_start = 0;
    for (group, info) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(info.num_rows()).map_err(|_| "negative rows")?;
        let lens = lens.get(group_start..group_start + rows).ok_or("more rows in the footer than in the columns")?;
        group_start += rows;
        let index = metadata.page_index_for_row_group(group);
        let pages = index.page_locations(leaf).ok_or("no offset index")?;
        for (at, page) in pages.iter().enumerate() {
            let first = usize::try_from(page.first_row_index).map_err(|_| "negative row")?;
            let end = pages.get(at + 1).map_or(rows, |next| usize::try_from(next.first_row_index).unwrap_or(usize::MAX));
            let lens = lens.get(first..end).ok_or("a page outside its row group")?;
            // A plain page ends with its values, each behind a length of four bytes (absent ones leave nothing).
            let size: u64 = lens.iter().map(|l| if *l == 0 { 0 } else { u64::from(*l) + 4 }).sum();
            let page_end = u64::try_from(page.offset).ok().zip(u64::try_from(page.compressed_page_size).ok());
            let page_end = page_end.and_then(|(a, b)| a.checked_add(b)).ok_or("a page outside the file")?;
            let mut offset = page_end.checked_sub(size).ok_or("a page that is smaller than its rows")?;
            for len in lens {
                if *len == 0 {
                    out.push(0);
                } else {
                    out.push(offset + 4);
                    offset += u64::from(*len) + 4;
                }
            }
        }
    }
    if out.len() == lens.len() { Ok(out) } else { Err(format!("{} rows placed of {}", out.len(), lens.len())) }
}

/// The columns that an index is made of, as they come from the file.
#[derive(Default)]
struct Columns {
    series: Vec<u32>,
    first: Vec<i64>,
    last: Vec<i64>,
    count: Vec<u32>,
    times_row: Vec<u32>,
    times_bytes: Vec<u32>,
    values_bytes: Vec<u32>,
    kind: Vec<Kind>,
    /// Labels of the rows, in pieces that begin at a row each.
    labels: Vec<(usize, MapArray)>,
    /// Series so far.
    known: u32,
}

impl Columns {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        let numbers = |name: &str| -> Result<&[u32], String> {
            let array = column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| format!("{name} holds no numbers"))?;
            Ok(array.values())
        };
        let times = |name: &str| -> Result<&[i64], String> {
            let array = column(name)?.as_primitive_opt::<TimestampMillisecondType>();
            Ok(array.ok_or_else(|| format!("{name} holds no times"))?.values())
        };
        let labels = column(column::LABELS)?.as_map_opt().ok_or("labels are no map")?;
        labels.keys().as_string_opt::<i32>().ok_or("label names are no text")?;
        labels.values().as_string_opt::<i32>().ok_or("label values are no text")?;
        self.labels.push((self.series.len(), labels.clone()));
        let series = numbers(column::SERIES)?;
        for number in series {
            match number.checked_add(1) {
                Some(next) if next == self.known => {}
                Some(next) if *number == self.known => self.known = next,
                _ => return Err("series are not numbered in order".to_owned()),
            }
        }
        self.series.extend_from_slice(series);
        self.first.extend_from_slice(times(column::FIRST)?);
        self.last.extend_from_slice(times(column::LAST)?);
        self.count.extend_from_slice(numbers(column::COUNT)?);
        self.times_row.extend_from_slice(numbers(column::TIMES_ROW)?);
        self.times_bytes.extend_from_slice(numbers(column::TIMES_BYTES)?);
        self.values_bytes.extend_from_slice(numbers(column::VALUES_BYTES)?);
        match batch.column_by_name(column::KIND) {
            // Version 1.
            None => self.kind.resize(self.series.len(), Kind::Floats),
            Some(kinds) => {
                let kinds = kinds.as_primitive_opt::<UInt8Type>().ok_or("kind holds no numbers")?;
                for kind in kinds.values() {
                    self.kind.push(Kind::from_number(*kind).ok_or_else(|| format!("unknown kind {kind}"))?);
                }
            }
        }
        Ok(())
    }

    /// The labels of a row.
    fn labels_at(&self, row: usize) -> Option<Labels> {
        let piece = self.labels.partition_point(|(start, _)| *start <= row).checked_sub(1)?;
        let (start, labels) = &self.labels[piece];
        let (keys, values) = (labels.keys().as_string_opt::<i32>()?, labels.values().as_string_opt::<i32>()?);
        let offsets = labels.value_offsets().get(row - start..row - start + 2)?;
        Some(Labels::from_pairs((offsets[0] as usize..offsets[1] as usize).map(|i| (keys.value(i), values.value(i)))))
    }

    /// Where the runs of some rows are; `times_at` and `values_at` have the places of all rows.
    fn runs(&self, rows: Range<usize>, times_at: &[u64], values_at: &[u64], size: u64) -> Result<(Vec<Run>, Vec<Times>), String> {
        let inside = |at: u64, len: u32| len as usize > CRC && at.checked_add(len.into()).is_some_and(|end| end <= size);
        let mut times: Vec<Times> = Vec::new();
        let mut by_row: HashMap<u32, u32> = HashMap::new();
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let count = self.count[row];
            if count == 0 || count as usize > MAX_COUNT || self.first[row] > self.last[row] {
                return Err(format!("row {row} has {count} samples from {} to {}", self.first[row], self.last[row]));
            }
            if self.times_row[row] as usize == row {
                if !inside(times_at[row], self.times_bytes[row]) {
                    return Err(format!("the times of row {row} lie outside the file"));
                }
                by_row.insert(row as u32, times.len() as u32);
                times.push(Times::new(times_at[row], self.times_bytes[row], count));
            }
            let at = *by_row.get(&self.times_row[row]).ok_or_else(|| format!("row {row} has no times"))?;
            let shared = &mut times[at as usize];
            shared.users += 1;
            if shared.count != count || !inside(values_at[row], self.values_bytes[row]) {
                return Err(format!("row {row} does not fit its times or the file"));
            }
            runs.push(Run {
                first: self.first[row],
                last: self.last[row],
                count,
                kind: self.kind[row],
                times: at,
                offset: values_at[row],
                len: self.values_bytes[row],
            });
        }
        Ok((runs, times))
    }
}

/// A segment as it is read, before anything of it is entered into a registry.
pub(super) struct Loaded {
    meta: SegmentMeta,
    source: Arc<dyn SegmentSource>,
    columns: Columns,
    times_at: Vec<u64>,
    values_at: Vec<u64>,
    /// By name, the rows of each tenant and what is known of its families; the only one's name is empty.
    tenants: Vec<(String, Range<usize>, Families)>,
}

impl Loaded {
    /// Reads what a segment is made of; `None` where a tenant is named that shares it, but has nothing in it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Version`], IO.
    pub(super) fn read(
        meta: &SegmentMeta,
        source: Arc<dyn SegmentSource>,
        tenant: Option<&str>,
    ) -> Result<Option<Self>, StoreError> {
        // The Parquet reader checks most of what it reads, but not all: damage may end in a panic there.
        let guarded = std::panic::AssertUnwindSafe(|| Self::read_unguarded(meta, source, tenant));
        std::panic::catch_unwind(guarded).unwrap_or_else(|_| Err(corrupt(meta, "its columns cannot be read".to_owned())))
    }

    fn read_unguarded(
        meta: &SegmentMeta,
        source: Arc<dyn SegmentSource>,
        tenant: Option<&str>,
    ) -> Result<Option<Self>, StoreError> {
        let input = Input(Arc::clone(&source));
        let damaged = |e: &dyn std::fmt::Display| corrupt(meta, e.to_string());
        let options = ArrowReaderOptions::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Required);
        let footer = ArrowReaderMetadata::load(&input, options).map_err(|e| not_parquet(meta, e))?;
        let text = |key: &str| {
            let pairs = footer.metadata().file_metadata().key_value_metadata();
            pairs.into_iter().flatten().find(|kv| kv.key == key).and_then(|kv| kv.value.as_deref())
        };
        let found = text(VERSION_KEY).and_then(|v| v.parse::<u32>().ok()).ok_or_else(|| damaged(&"no version"))?;
        if found > SHARED_VERSION {
            return Err(StoreError::Version { file: meta.file.clone(), found, supported: SHARED_VERSION });
        }
        let rows = usize::try_from(footer.metadata().file_metadata().num_rows()).map_err(|e| damaged(&e))?;
        let tenants = match found == SHARED_VERSION {
            true => {
                let said = text(TENANTS_KEY).and_then(|said| serde_json::from_str(said).ok());
                said.and_then(|said| stretches(said, rows)).ok_or_else(|| damaged(&"it does not say whose its rows are"))?
            }
            false => {
                let families = Families::from_json(text(METADATA_KEY).unwrap_or("{}")).map_err(|e| damaged(&e))?;
                vec![(String::new(), 0..rows, families)]
            }
        };
        if meta.is_shared() != (found == SHARED_VERSION) {
            return Err(damaged(&"it is not what the manifest says"));
        }
        if meta.is_shared() && tenant.is_some_and(|t| tenants.binary_search_by(|(name, ..)| name.as_str().cmp(t)).is_err()) {
            return Ok(None);
        }

        let wanted = [
            column::LABELS,
            column::SERIES,
            column::FIRST,
            column::LAST,
            column::COUNT,
            column::KIND,
            column::TIMES_ROW,
            column::TIMES_BYTES,
            column::VALUES_BYTES,
        ];
        let mask = ProjectionMask::columns(footer.parquet_schema(), wanted);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(input, footer.clone())
            .with_projection(mask)
            .with_batch_size(4096)
            .build()
            .map_err(|e| damaged(&e))?;
        let mut columns = Columns::default();
        for batch in reader {
            columns.add(&batch.map_err(|e| damaged(&e))?).map_err(|e| damaged(&e))?;
        }
        if columns.series.len() != rows {
            return Err(damaged(&"it has fewer rows than it says"));
        }
        let places = |name: &str, lens: &[u32]| places(footer.metadata(), name, lens).map_err(|e| damaged(&e));
        let times_at = places(column::TIMES, &columns.times_bytes)?;
        let values_at = places(column::VALUES, &columns.values_bytes)?;
        Ok(Some(Self { meta: meta.clone(), source, columns, times_at, values_at, tenants }))
    }

    /// The tenants that share it, by name.
    pub(super) fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(|(name, ..)| name.as_str())
    }

    /// A tenant's part, its series entered into the registry. The tenant of a segment that is not shared need not be named.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub(super) fn index(&self, tenant: &str, catalog: &Arc<Catalog>) -> Result<SegmentIndex, StoreError> {
        let name = if self.meta.is_shared() { tenant } else { "" };
        let nothing = (String::new(), 0..0, Families::default());
        let (_, rows, families) = self.tenants.iter().find(|(known, ..)| known == name).unwrap_or(&nothing);
        let (columns, damaged) = (&self.columns, |e: String| corrupt(&self.meta, e));
        let runs = columns.runs(rows.clone(), &self.times_at, &self.values_at, self.source.size());
        let (runs, times) = runs.map_err(damaged)?;
        let mut starts = Vec::new();
        for row in rows.clone() {
            if row == rows.start || columns.series[row] != columns.series[row - 1] {
                starts.push((row - rows.start) as u32);
            }
        }
        let mut ids = Vec::with_capacity(starts.len());
        // In pieces, so that ingestion goes on meanwhile.
        for starts in starts.chunks(512) {
            let labels = starts.iter().map(|start| columns.labels_at(rows.start + *start as usize));
            let labels: Vec<Labels> =
                labels.collect::<Option<_>>().ok_or_else(|| corrupt(&self.meta, "a row without labels".to_owned()))?;
            let mut registry = catalog.write();
            for labels in labels {
                let id = registry.intern(labels);
                registry.retain(id);
                ids.push(id);
            }
        }
        starts.push(runs.len() as u32);
        let mut by_id: Vec<(SeriesId, u32)> = ids.iter().enumerate().map(|(at, id)| (*id, at as u32)).collect();
        by_id.sort_unstable();
        Ok(SegmentIndex {
            meta: self.meta.clone(),
            families: families.clone(),
            catalog: Arc::clone(catalog),
            source: Arc::clone(&self.source),
            ids,
            starts,
            by_id,
            first_run: rows.start as u32,
            runs,
            times,
        })
    }
}

/// The rows of each tenant; `None` where that makes no sense: names out of order, more or fewer than all `rows`.
fn stretches(said: Vec<(String, u32, String)>, rows: usize) -> Option<Vec<(String, Range<usize>, Families)>> {
    let in_order = said.windows(2).all(|w| w[0].0 < w[1].0);
    let mut end = 0usize;
    let own = said.into_iter().map(|(name, rows, families)| {
        let start = end;
        end = end.checked_add(rows as usize)?;
        Some((name, start..end, Families::from_json(&families).ok()?))
    });
    let own: Vec<_> = own.collect::<Option<_>>()?;
    (in_order && end == rows).then_some(own)
}

impl SegmentIndex {
    /// Bytes held in memory, with the times that may come to be kept.
    pub(super) fn memory(&self) -> usize {
        let shared: usize = self.times.iter().filter(|t| t.are_shared()).map(|t| t.count as usize * 8).sum();
        self.ids.len() * 16 + self.runs.len() * size_of::<Run>() + self.times.len() * size_of::<Times>() + shared
    }

    /// Series in the order of their labels.
    pub(super) fn ids(&self) -> &[SeriesId] {
        &self.ids
    }

    /// Where a series is among them.
    pub(super) fn position(&self, id: SeriesId) -> Option<u32> {
        let at = self.by_id.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.by_id[at].1)
    }

    /// The runs of the series at a position: by kind, then by first time.
    pub(super) fn runs(&self, position: u32) -> &[Run] {
        let at = position as usize;
        &self.runs[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// The same with the number of each run in the segment.
    pub(super) fn numbered_runs(&self, position: u32) -> impl Iterator<Item = (u32, &Run)> {
        (self.first_run + self.starts[position as usize]..).zip(self.runs(position))
    }

    /// The times of a run.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], IO.
    pub(super) fn times(&self, run: &Run) -> Result<Arc<[i64]>, StoreError> {
        let times = &self.times[run.times as usize];
        if let Some(known) = times.known() {
            return Ok(Arc::clone(known));
        }
        times.decode(&self.bytes(times.place())?).map_err(|e| self.damaged(e))
    }

    /// Reads the times of these runs that are shared, as far as nobody has: those that stand close together at once. The
    /// scrapes of fifty targets are fifty reads otherwise, one after the other.
    ///
    /// # Errors
    /// As for [`SegmentIndex::times`].
    pub(super) fn read_times<'r>(&self, runs: impl Iterator<Item = &'r Run>) -> Result<(), StoreError> {
        let unread =
            runs.map(|run| &self.times[run.times as usize]).filter(|times| times.are_shared() && times.known().is_none());
        let mut unread: Vec<&Times> = unread.collect();
        unread.sort_unstable_by_key(|times| times.place().start);
        unread.dedup_by_key(|times| times.place().start);
        let mut rest = &unread[..];
        while let Some((n, place)) = together(rest.iter().map(|times| times.place())) {
            let bytes = self.bytes(place.clone())?;
            let (now, later) = rest.split_at(n);
            rest = later;
            for times in now {
                let at = times.place();
                let sealed = bytes.get((at.start - place.start) as usize..(at.end - place.start) as usize);
                times.decode(sealed.unwrap_or_default()).map_err(|e| self.damaged(e))?;
            }
        }
        Ok(())
    }

    /// All runs.
    pub(super) fn all_runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// IO.
    pub(super) fn bytes(&self, place: Range<u64>) -> Result<Bytes, StoreError> {
        self.source.read(place.start, (place.end - place.start) as usize)
    }

    /// Size of the file.
    pub(super) fn size(&self) -> u64 {
        self.source.size()
    }

    /// This segment is damaged, and how.
    pub(super) fn damaged(&self, reason: String) -> StoreError {
        corrupt(&self.meta, reason)
    }
}

impl Drop for SegmentIndex {
    fn drop(&mut self) {
        self.catalog.release(std::mem::take(&mut self.ids));
    }
}

fn corrupt(meta: &SegmentMeta, reason: String) -> StoreError {
    StoreError::Corrupt { file: meta.file.clone(), reason }
}

/// A footer that cannot be read: damage, unless the disk failed.
fn not_parquet(meta: &SegmentMeta, error: parquet::errors::ParquetError) -> StoreError {
    match error {
        parquet::errors::ParquetError::External(e) => match e.downcast::<StoreError>() {
            Ok(e) => *e,
            Err(e) => corrupt(meta, e.to_string()),
        },
        e => corrupt(meta, e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::stretches;

    #[test]
    fn a_shared_segment_says_whose_every_row_is_or_is_damaged() {
        let said = |names: &[(&str, u32)]| names.iter().map(|(n, rows)| ((*n).to_owned(), *rows, "{}".to_owned())).collect();
        let found = stretches(said(&[("a", 2), ("b", 3)]), 5).expect("it makes sense");
        assert_eq!(
            found.iter().map(|(name, rows, _)| (name.as_str(), rows.clone())).collect::<Vec<_>>(),
            [("a", 0..2), ("b", 2..5)]
        );
        for (names, rows) in [(&[("b", 2), ("a", 3)][..], 5), (&[("a", 2), ("a", 3)], 5), (&[("a", 2), ("b", 3)], 4), (&[], 1)] {
            assert!(stretches(said(names), rows).is_none(), "{names:?} of {rows}");
        }
        assert!(stretches(vec![("a".to_owned(), 1, "no JSON".to_owned())], 1).is_none());
    }
}
