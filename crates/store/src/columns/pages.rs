//! Single pages of a row group's columns: few rows are picked from them, and texts are searched as they lie in them.

use std::ops::Range;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use memchr::memmem::Finder;

use super::bloom;
use super::chunk::Chunk;
use super::inflate::Inflater;
use super::pick::Picked;
use super::read::{OpenSegment, guarded};
use crate::StoreError;

/// Fewer rows than one in so many of their pages are copied one by one, not with their pages.
const SPARSE: usize = 4;

/// The pages of a column that some rows lie in.
struct Touched<'s> {
    chunk: Chunk<'s>,
    /// Each with its rows, as places in the list of rows.
    pages: Vec<(usize, Range<usize>)>,
    held: Vec<Option<ArrayRef>>,
}

impl<'s> Touched<'s> {
    fn new(chunk: Chunk<'s>, rows: &[u32]) -> Self {
        let mut pages = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let page = chunk.page_of(rows[at] as usize);
            let behind = chunk.rows_of(page).end;
            let end = at + rows[at..].partition_point(|row| (*row as usize) < behind);
            pages.push((page, at..end));
            at = end;
        }
        Self { held: vec![None; pages.len()], chunk, pages }
    }

    /// The number of a page's first row.
    fn start(&self, page: usize) -> u32 {
        self.chunk.rows_of(page).start as u32
    }

    /// The rows that the pages have, picked or not.
    fn rows(&self) -> usize {
        self.pages.iter().map(|(page, _)| self.chunk.rows_of(*page).len()).sum()
    }

    /// The pages with the numbers that their rows have in them.
    fn picked(&self, rows: &[u32]) -> Vec<(usize, Vec<usize>)> {
        let own = |page: usize, range: &Range<usize>| {
            let start = self.start(page);
            rows[range.clone()].iter().map(|row| (row - start) as usize).collect()
        };
        self.pages.iter().map(|(page, range)| (*page, own(*page, range))).collect()
    }

    /// The rows of the pages, in one column.
    fn column(&self, rows: &[u32]) -> Result<ArrayRef, StoreError> {
        let failed = StoreError::columns("pick rows");
        if let ([(page, _)], [Some(array)]) = (&self.pages[..], &self.held[..]) {
            let start = self.start(*page);
            let local: UInt32Array = rows.iter().map(|row| row - start).collect();
            return arrow_select::take::take(array, &local, None).map_err(failed);
        }
        let arrays: Vec<&dyn Array> = self.held.iter().flatten().map(|a| &**a).collect();
        let mut picks = Vec::with_capacity(rows.len());
        for (at, (page, range)) in self.pages.iter().enumerate() {
            let start = self.start(*page);
            picks.extend(rows[range.clone()].iter().map(|row| (at, (row - start) as usize)));
        }
        arrow_select::interleave::interleave(&arrays, &picks).map_err(failed)
    }
}

impl OpenSegment {
    /// Columns of the picked rows of a row group, each as one array.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn columns(&self, group: usize, places: &[usize], picked: &Picked) -> Result<Vec<ArrayRef>, StoreError> {
        let mut out = Vec::with_capacity(places.len());
        for &place in places {
            let own = guarded(&self.meta.file, || self.with_inflater(|inflater| self.column(inflater, group, place, picked)))?;
            match own {
                Some(array) => out.push(array),
                None => out.extend(self.columns_by_parquet(group, &[place], picked.selection())?),
            }
        }
        Ok(out)
    }

    /// One of them; `None` where it is left to Parquet's reader.
    pub(super) fn column(
        &self,
        inflater: &mut Inflater,
        group: usize,
        place: usize,
        picked: &Picked,
    ) -> Result<Option<ArrayRef>, StoreError> {
        let Some(chunk) = Chunk::of(self, group, place) else { return Ok(None) };
        let Some(rows) = picked.some() else { return chunk.read(inflater, 0..chunk.pages()) };
        let touched = Touched::new(chunk, rows);
        if rows.len() * SPARSE < touched.rows()
            && let Some(array) = touched.chunk.read_some(inflater, &touched.picked(rows))?
        {
            return Ok(Some(array));
        }
        let Some(array) = touched.chunk.read(inflater, touched.pages.iter().map(|(page, _)| *page))? else { return Ok(None) };
        if array.len() == rows.len() {
            return Ok(Some(array));
        }
        let (mut before, mut local) = (0, Vec::with_capacity(rows.len()));
        for (page, range) in &touched.pages {
            let own = touched.chunk.rows_of(*page);
            local.extend(rows[range.clone()].iter().map(|row| row - own.start as u32 + before));
            before += own.len() as u32;
        }
        arrow_select::take::take(&array, &UInt32Array::from(local), None).map(Some).map_err(StoreError::columns("pick rows"))
    }

    /// Columns of a few rows, from the pages that they lie in: these are read where they are not kept, and kept. `None`
    /// where nothing is kept, or a column is left to Parquet's reader.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(super) fn picked_pages(&self, group: usize, places: &[usize], rows: &[u32]) -> Result<Option<Vec<ArrayRef>>, StoreError> {
        let Some(cache) = self.cache().filter(|_| !rows.is_empty()) else { return Ok(None) };
        let mut out = Vec::with_capacity(places.len());
        for &place in places {
            let Some(chunk) = Chunk::of(self, group, place) else { return Ok(None) };
            let mut touched = Touched::new(chunk, rows);
            let mut missing = Vec::new();
            for ((page, _), held) in touched.pages.iter().zip(&mut touched.held) {
                *held = cache.page(self.meta.id, group, place, *page);
                if held.is_none() {
                    missing.push(*page);
                }
            }
            if !missing.is_empty() {
                let chunk = &touched.chunk;
                let read = guarded(&self.meta.file, || self.with_inflater(|inflater| chunk.read_apart(inflater, &missing)))?;
                let Some(read) = read else { return Ok(None) };
                let lacking = touched.held.iter_mut().filter(|held| held.is_none());
                for (held, (page, array)) in lacking.zip(missing.into_iter().zip(read)) {
                    cache.keep_page(self.meta.id, group, place, page, &array);
                    *held = Some(array);
                }
            }
            out.push(touched.column(rows)?);
        }
        Ok(Some(out))
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
        let Some(chunk) = Chunk::of(self, group, place).filter(Chunk::is_keyed) else { return Ok(false) };
        let cache = self.cache().filter(|_| bloom::hash_needle(needle).is_some());
        if cache.is_some_and(|cache| cache.has_no_ids(self.meta.id, group, place)) {
            return Ok(true);
        }
        let lacks = |_, texts: &[u8]| {
            if let Some(cache) = cache.filter(|_| !bloom::may_hold_ids(texts)) {
                cache.keep_no_ids(self.meta.id, group, place);
                return true;
            }
            // Found across two texts is not found, but that is seldom.
            finder.find(texts).is_none()
        };
        let told = guarded(&self.meta.file, || self.with_inflater(|inflater| chunk.dictionary(inflater, lacks)))?;
        Ok(told.unwrap_or(false))
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
        let Some(chunk) = Chunk::of(self, group, place).filter(Chunk::is_plain_text) else { return Ok(None) };
        let total = self.footer.rows(group);
        let mut found = BooleanBufferBuilder::new(total);
        found.append_n(total, false);
        let pages = (0..chunk.pages()).filter(|page| picked.touches(chunk.rows_of(*page)));
        guarded(&self.meta.file, || {
            self.with_inflater(|inflater| {
                chunk.each_page(inflater, pages, |page, header, bytes| {
                    let start = chunk.rows_of(page).start;
                    let texts = chunk.texts(header, bytes).ok_or_else(|| self.corrupt("a page of texts makes no sense"))?;
                    texts.find(finder, |row| found.set_bit(start + row, true));
                    Ok(())
                })
            })
        })?;
        let found = found.finish();
        Ok(Some(match picked.some() {
            None => found,
            Some(rows) => BooleanBuffer::collect_bool(rows.len(), |i| found.value(rows[i] as usize)),
        }))
    }
}
