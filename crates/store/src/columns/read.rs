//! Segments opened for reading: columns of a row group, whole or in part; columns that were read whole are kept decoded, see
//! [`ColumnCache`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::DataType;
use bytes::Bytes;
use model::TimeRange;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};

use super::cache::ColumnCache;
use super::footer::{File, Footer, parquet_error, read_footer, time_place};
use super::id::ColumnId;
use super::inflate::Inflater;
use super::packed::Packed;
use super::pick::{Left, Picked, spread_wide};
use crate::contract::{Field, Table};
use crate::{SegmentMeta, Segments, StoreError};

/// Text of so many bytes a row is kept decoded; longer text is not.
const TEXT_KEPT: i64 = 16;
/// Times are in order where they ascend for so many rows on the average.
const RUN_OF_TIME: usize = if cfg!(test) { 2 } else { 64 };

/// A segment that can be read.
pub(crate) struct OpenSegment {
    pub(crate) meta: SegmentMeta,
    pub(crate) footer: Footer,
    file: File,
    /// Where columns are kept; merges read without it.
    pub(super) cache: Option<Arc<ColumnCache>>,
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

    /// Whether these rows lie in few pages, and times are not kept: then their times are read from the pages that they lie in.
    pub(crate) fn few_times(&self, table: Table, group: usize, left: &Left) -> bool {
        let Left::Rows(rows, total) = left else { return false };
        !spread_wide(table, *total, rows) && time_place(&self.footer).is_some_and(|place| self.cached(group, place).is_none())
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
