//! Single pages of a row group's columns: few rows are picked from them, and texts are searched as they lie in them.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use memchr::memmem::Finder;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use parquet::file::serialized_reader::SerializedPageReader;

use super::bloom;
use super::pick::Picked;
use super::read::{Footer, OpenSegment, guarded, parquet_error};
use super::unpack::TextPage;
use crate::StoreError;

/// Where the pages of a column begin, and the last one ends; `None` where the file does not say.
fn starts(footer: &Footer, group: usize, place: usize) -> Option<Vec<usize>> {
    let offsets = footer.raw().page_index()?.offset_index(group, place)?;
    let rows = footer.rows(group);
    let mut starts: Vec<usize> = offsets.page_locations().iter().map(|p| p.first_row_index.max(0) as usize).collect();
    starts.push(rows);
    (starts[0] == 0 && starts.is_sorted_by(|a, b| a < b)).then_some(starts)
}

/// The pages of a column that some rows lie in.
struct Touched {
    starts: Vec<usize>,
    /// Each with its rows, as places in the list of rows.
    pages: Vec<(usize, Range<usize>)>,
    held: Vec<Option<ArrayRef>>,
}

impl Touched {
    fn new(starts: Vec<usize>, rows: &[u32]) -> Self {
        let mut pages = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let page = starts.partition_point(|start| *start <= rows[at] as usize) - 1;
            let end = at + rows[at..].partition_point(|row| (*row as usize) < starts[page + 1]);
            pages.push((page, at..end));
            at = end;
        }
        Self { starts, held: vec![None; pages.len()], pages }
    }

    fn rows_of(&self, page: usize) -> Range<usize> {
        self.starts[page]..self.starts[page + 1]
    }

    /// The rows of the pages, in one column.
    fn column(&self, rows: &[u32]) -> Result<ArrayRef, StoreError> {
        let failed = StoreError::columns("pick rows");
        if let ([(page, _)], [Some(array)]) = (&self.pages[..], &self.held[..]) {
            let local: UInt32Array = rows.iter().map(|row| row - self.starts[*page] as u32).collect();
            return arrow_select::take::take(array, &local, None).map_err(failed);
        }
        let arrays: Vec<&dyn Array> = self.held.iter().flatten().map(|a| &**a).collect();
        let mut picks = Vec::with_capacity(rows.len());
        for (at, (page, range)) in self.pages.iter().enumerate() {
            picks.extend(rows[range.clone()].iter().map(|row| (at, *row as usize - self.starts[*page])));
        }
        arrow_select::interleave::interleave(&arrays, &picks).map_err(failed)
    }
}

impl OpenSegment {
    /// Columns of a few rows, from the pages that they lie in: these are read where they are not kept, and kept. `None`
    /// where nothing is kept, or pages cannot be told apart.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(super) fn picked_pages(&self, group: usize, places: &[usize], rows: &[u32]) -> Result<Option<Vec<ArrayRef>>, StoreError> {
        let Some(cache) = self.cache().filter(|_| !rows.is_empty()) else { return Ok(None) };
        let mut all = Vec::with_capacity(places.len());
        let mut missing: Vec<Range<usize>> = Vec::new();
        let mut lacking: Vec<usize> = Vec::new();
        for &place in places {
            let Some(starts) = starts(&self.footer, group, place) else { return Ok(None) };
            let mut touched = Touched::new(starts, rows);
            for at in 0..touched.pages.len() {
                let page = touched.pages[at].0;
                touched.held[at] = cache.page(self.meta.id, group, place, page);
                if touched.held[at].is_none() {
                    missing.push(touched.rows_of(page));
                    lacking.push(place);
                }
            }
            all.push(touched);
        }
        lacking.dedup();
        let missing = united(missing);
        if !missing.is_empty() {
            let selection = RowSelection::from_consecutive_ranges(missing.iter().cloned(), self.footer.rows(group));
            let arrays = self.columns(group, &lacking, Some(&selection))?;
            for (touched, &place) in all.iter_mut().zip(places) {
                let Some(array) = lacking.iter().position(|p| *p == place).map(|at| &arrays[at]) else { continue };
                for at in 0..touched.pages.len() {
                    let page = touched.pages[at].0;
                    if touched.held[at].is_some() {
                        continue;
                    }
                    let own = touched.rows_of(page);
                    let Some(offset) = offset_in(&missing, &own) else { return Err(self.corrupt("a page is missing")) };
                    let array = if own.len() == array.len() {
                        array.clone()
                    } else {
                        // Copied: a slice would keep all that was read.
                        let rows = UInt32Array::from_iter_values(offset as u32..(offset + own.len()) as u32);
                        arrow_select::take::take(array, &rows, None).map_err(StoreError::columns("cut a page"))?
                    };
                    cache.keep_page(self.meta.id, group, place, page, &array);
                    touched.held[at] = Some(array);
                }
            }
        }
        all.iter().map(|touched| touched.column(rows)).collect::<Result<_, _>>().map(Some)
    }

    /// Whether no row of a column's row group has the needle (not empty), told from its dictionary as it lies in its page; false
    /// where that does not tell. That a dictionary has no text long enough for an id is kept.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(super) fn dictionary_lacks(
        &self,
        group: usize,
        place: usize,
        needle: &str,
        finder: &Finder<'_>,
    ) -> Result<bool, StoreError> {
        let meta = self.footer.raw().row_group(group).column(place);
        // Our own writer makes no pages of another kind beside a dictionary.
        let all_keys = meta.encodings().any(|e| e == Encoding::RLE_DICTIONARY);
        if meta.dictionary_page_offset().is_none() || !all_keys {
            return Ok(false);
        }
        let Some(offsets) = self.footer.raw().page_index().and_then(|i| i.offset_index(group, place)) else { return Ok(false) };
        let cache = self.cache().filter(|_| bloom::hash_needle(needle).is_some());
        if cache.is_some_and(|cache| cache.has_no_ids(self.meta.id, group, place)) {
            return Ok(true);
        }
        let file = &self.meta.file;
        guarded(file, || {
            let failed = |e| parquet_error(file, &e);
            let (total, locations) = (self.footer.rows(group), offsets.page_locations().clone());
            let mut reader = SerializedPageReader::new(Arc::new(self.chunks()), meta, total, Some(locations)).map_err(failed)?;
            let Some(Page::DictionaryPage { buf, .. }) = reader.get_next_page().map_err(failed)? else { return Ok(false) };
            if let Some(cache) = cache.filter(|_| !bloom::may_hold_ids(&buf)) {
                cache.keep_no_ids(self.meta.id, group, place);
                return Ok(true);
            }
            // Found across two texts is not found, but that is seldom.
            Ok(finder.find(&buf).is_none())
        })
    }

    /// The picked rows whose text in a column contains the finder's needle (not empty), searched in the pages as they lie.
    /// `None` where the column is not kept as plain text.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(super) fn search(
        &self,
        group: usize,
        place: usize,
        finder: &Finder<'_>,
        picked: &Picked,
    ) -> Result<Option<BooleanBuffer>, StoreError> {
        let Some(starts) = starts(&self.footer, group, place) else { return Ok(None) };
        let total = self.footer.rows(group);
        let meta = self.footer.raw().row_group(group).column(place);
        if meta.dictionary_page_offset().is_some() || meta.column_descr().max_def_level() != 1 {
            return Ok(None);
        }
        let Some(offsets) = self.footer.raw().page_index().and_then(|i| i.offset_index(group, place)) else { return Ok(None) };
        let file = &self.meta.file;
        guarded(file, || {
            let failed = |e| parquet_error(file, &e);
            let locations = offsets.page_locations().clone();
            let mut reader = SerializedPageReader::new(Arc::new(self.chunks()), meta, total, Some(locations)).map_err(failed)?;
            let mut found = BooleanBufferBuilder::new(total);
            found.append_n(total, false);
            for bounds in starts.windows(2) {
                let &[start, end] = bounds else { continue };
                if !picked.touches(start..end) {
                    reader.skip_next_page().map_err(failed)?;
                    continue;
                }
                let Some(Page::DataPage { buf, num_values, encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY, .. }) =
                    reader.get_next_page().map_err(failed)?
                else {
                    return Ok(None);
                };
                if num_values as usize != end - start {
                    return Err(self.corrupt("a page has other rows than its index says"));
                }
                let Some(texts) = TextPage::read(&buf, end - start) else {
                    return Err(self.corrupt("a page of texts makes no sense"));
                };
                texts.find(finder, |row| found.set_bit(start + row, true));
            }
            let found = found.finish();
            Ok(Some(match picked.some() {
                None => found,
                Some(rows) => BooleanBuffer::collect_bool(rows.len(), |i| found.value(rows[i] as usize)),
            }))
        })
    }
}

/// Ranges in order, those that touch as one.
fn united(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|r| (r.start, r.end));
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// How many rows of `ranges` come before `own`, which lies in one of them.
fn offset_in(ranges: &[Range<usize>], own: &Range<usize>) -> Option<usize> {
    let mut before = 0;
    for range in ranges {
        if range.start <= own.start && own.end <= range.end {
            return Some(before + own.start - range.start);
        }
        before += range.len();
    }
    None
}
