//! A column of a row group, whose pages are read one by one: what most queries read, without what Parquet's own reader prepares
//! for each column of each row group that is opened (a copy of where all pages are, a zstd context, plans of rows to skip).
//!
//! It reads what [`super::encode`] writes. A column that is kept in any other way gives `None`, and is left to Parquet's reader.

use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;

use super::decode::Column;
use super::header::{Header, Kind};
use super::inflate::Inflater;
use super::read::OpenSegment;
use super::unpack::TextPage;
use crate::StoreError;

/// Bytes that are read of a file at once, of pages that lie behind each other.
const AT_ONCE: usize = 1 << 20;

/// A column of a row group.
pub(super) struct Chunk<'s> {
    segment: &'s OpenSegment,
    meta: &'s ColumnChunkMetaData,
    pages: &'s [PageLocation],
    data_type: DataType,
    rows: usize,
    optional: bool,
    zstd: bool,
}

impl<'s> Chunk<'s> {
    /// The column at a place of a row group; `None` where its pages cannot be told apart, or are of another kind than ours.
    pub(super) fn of(segment: &'s OpenSegment, group: usize, place: usize) -> Option<Self> {
        let meta = segment.footer.raw().row_group(group).column(place);
        let pages = segment.footer.raw().page_index()?.offset_index(group, place)?.page_locations();
        let zstd = match meta.compression() {
            Compression::UNCOMPRESSED => false,
            Compression::ZSTD(_) => true,
            _ => return None,
        };
        let levels = (meta.column_descr().max_def_level(), meta.column_descr().max_rep_level());
        if !matches!(levels, (0 | 1, 0)) {
            return None;
        }
        let rows = segment.footer.rows(group);
        let starts = || pages.iter().map(|p| p.first_row_index);
        let in_order = starts().next() == Some(0) && starts().is_sorted_by(|a, b| a < b) && starts().all(|s| s < rows as i64);
        if !in_order {
            return None;
        }
        let column = &segment.footer.columns[place];
        let data_type = column.id.data_type(column.plain);
        Some(Self { segment, meta, pages, data_type, rows, optional: levels.0 == 1, zstd })
    }

    /// How many pages.
    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The rows of a page.
    pub(super) fn rows_of(&self, page: usize) -> Range<usize> {
        let end = self.pages.get(page + 1).map_or(self.rows, |next| next.first_row_index as usize);
        self.pages[page].first_row_index as usize..end
    }

    /// The page that a row lies in.
    pub(super) fn page_of(&self, row: usize) -> usize {
        self.pages.partition_point(|page| page.first_row_index as usize <= row) - 1
    }

    fn corrupt(&self, reason: &str) -> StoreError {
        self.segment.corrupt(reason)
    }

    /// Calls `each` with pages as they lie, decompressed: the number, the header, the bytes.
    pub(super) fn each_page(
        &self,
        inflater: &mut Inflater,
        pages: impl IntoIterator<Item = usize>,
        mut each: impl FnMut(usize, Header, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut pages = pages.into_iter().peekable();
        let mut run: Vec<usize> = Vec::new();
        while let Some(first) = pages.next() {
            let (from, mut to) = self.bytes_of(first)?;
            run.clear();
            run.push(first);
            while let Some(&next) = pages.peek() {
                let (start, end) = self.bytes_of(next)?;
                if start != to || end - from > AT_ONCE as u64 {
                    break;
                }
                run.push(next);
                to = end;
                pages.next();
            }
            let bytes = self.segment.bytes(from, to - from)?;
            for &page in &run {
                let (start, end) = self.bytes_of(page)?;
                let own = &bytes[(start - from) as usize..(end - from) as usize];
                let (header, page_bytes) = self.opened(inflater, own, Kind::Data)?;
                if header.values != self.rows_of(page).len() {
                    return Err(self.corrupt("a page has other rows than its index says"));
                }
                each(page, header, page_bytes)?;
            }
        }
        Ok(())
    }

    /// Where a page lies: its first byte, and the one behind it.
    fn bytes_of(&self, page: usize) -> Result<(u64, u64), StoreError> {
        let at = &self.pages[page];
        match (u64::try_from(at.offset), u64::try_from(at.compressed_page_size)) {
            (Ok(start), Ok(len)) if len > 0 => Ok((start, start.saturating_add(len))),
            _ => Err(self.corrupt("a page lies nowhere")),
        }
    }

    /// A page's header and its bytes.
    fn opened<'p>(&self, inflater: &'p mut Inflater, mut page: &'p [u8], kind: Kind) -> Result<(Header, &'p [u8]), StoreError> {
        let header = Header::read(&mut page).filter(|header| header.kind == kind);
        let header = header.ok_or_else(|| self.corrupt("the header of a page makes no sense"))?;
        let packed = page.get(..header.packed).ok_or_else(|| self.corrupt("a page ends early"))?;
        let bytes = match self.zstd {
            true => inflater.inflate(packed, header.bytes).ok_or_else(|| self.corrupt("a page cannot be decompressed"))?,
            false => packed,
        };
        Ok((header, bytes))
    }

    /// Whether all of its pages have keys of a dictionary. (Our own writer makes no pages of another kind beside one.)
    pub(super) fn is_keyed(&self) -> bool {
        self.meta.dictionary_page_offset().is_some() && self.meta.encodings().any(|e| e == Encoding::RLE_DICTIONARY)
    }

    /// What `read` makes of the dictionary as it lies in its page: its entries, and their bytes. `None` where there is none.
    pub(super) fn dictionary<T>(
        &self,
        inflater: &mut Inflater,
        read: impl FnOnce(usize, &[u8]) -> T,
    ) -> Result<Option<T>, StoreError> {
        let Some(from) = self.meta.dictionary_page_offset() else { return Ok(None) };
        // The pages of values follow it.
        let to = self.bytes_of(0)?.0;
        let from = u64::try_from(from).ok().filter(|from| *from < to);
        let from = from.ok_or_else(|| self.corrupt("a dictionary lies nowhere"))?;
        let bytes = self.segment.bytes(from, to - from)?;
        let (header, bytes) = self.opened(inflater, &bytes, Kind::Dictionary)?;
        if header.encoding != Encoding::PLAIN {
            return Err(self.corrupt("a dictionary of a kind that no version has"));
        }
        Ok(Some(read(header.values, bytes)))
    }

    /// Whether all of its pages have texts that lie one behind the other.
    pub(super) fn is_plain_text(&self) -> bool {
        self.data_type == DataType::Utf8
            && self.meta.dictionary_page_offset().is_none()
            && self.meta.encodings().all(|e| matches!(e, Encoding::RLE | Encoding::DELTA_LENGTH_BYTE_ARRAY))
    }

    /// A page of such texts.
    pub(super) fn texts<'p>(&self, header: Header, page: &'p [u8]) -> Option<TextPage<'p>> {
        match (header.encoding, self.optional) {
            (Encoding::DELTA_LENGTH_BYTE_ARRAY, true) => TextPage::read(page, header.values),
            (Encoding::DELTA_LENGTH_BYTE_ARRAY, false) => TextPage::full(page, header.values),
            _ => None,
        }
    }

    /// The rows of some pages (ascending), each page by itself. `None` as for [`Chunk::read`].
    pub(super) fn read_apart(&self, inflater: &mut Inflater, pages: &[usize]) -> Result<Option<Vec<ArrayRef>>, StoreError> {
        let mut columns = Vec::with_capacity(pages.len());
        self.each_page(inflater, pages.iter().copied(), |_, header, bytes| {
            let Some(mut column) = Column::new(&self.data_type, self.optional) else { return Ok(()) };
            if column.page(header.encoding, header.values, bytes).is_some() {
                columns.push(column);
            }
            Ok(())
        })?;
        if columns.len() < pages.len() {
            return Ok(None);
        }
        let sparse = columns.len() < self.pages.len() || columns.len() > 1;
        self.arrays(inflater, columns, sparse).map(Some)
    }

    /// Columns that have taken their pages.
    fn arrays(&self, inflater: &mut Inflater, columns: Vec<Column>, sparse: bool) -> Result<Vec<ArrayRef>, StoreError> {
        let arrays: Option<Vec<ArrayRef>> = match columns.iter().any(Column::is_keyed) && self.is_keyed() {
            true => {
                let keyed = |entries, bytes: &[u8]| columns.into_iter().map(|c| c.keyed(entries, bytes, sparse)).collect();
                self.dictionary(inflater, keyed)?.flatten()
            }
            false => columns.into_iter().map(Column::finish).collect(),
        };
        arrays.ok_or_else(|| self.corrupt("a column makes no sense"))
    }

    /// Some rows of some pages, each with its rows (their numbers in it): both ascend. `None` where only whole pages can be taken, or as
    /// for [`Chunk::read`].
    pub(super) fn read_some(
        &self,
        inflater: &mut Inflater,
        pages: &[(usize, Vec<usize>)],
    ) -> Result<Option<ArrayRef>, StoreError> {
        let column = Column::new(&self.data_type, self.optional).filter(|column| column.is_sparing() && !self.is_keyed());
        let Some(mut column) = column else { return Ok(None) };
        let (mut strange, mut wanted) = (false, pages.iter());
        self.each_page(inflater, pages.iter().map(|(page, _)| *page), |_, header, bytes| {
            let picked = wanted.next().map_or(&[][..], |(_, rows)| rows);
            strange |= column.some_of_page(header.encoding, header.values, bytes, picked).is_none();
            Ok(())
        })?;
        if strange {
            return Ok(None);
        }
        Ok(self.arrays(inflater, vec![column], true)?.pop())
    }

    /// The rows of some pages (ascending) as one column. `None` for a type or an encoding that is left to Parquet's reader.
    pub(super) fn read(
        &self,
        inflater: &mut Inflater,
        pages: impl IntoIterator<Item = usize>,
    ) -> Result<Option<ArrayRef>, StoreError> {
        let Some(mut column) = Column::new(&self.data_type, self.optional) else { return Ok(None) };
        let (mut strange, mut count) = (false, 0);
        self.each_page(inflater, pages, |_, header, bytes| {
            count += 1;
            strange |= column.page(header.encoding, header.values, bytes).is_none();
            Ok(())
        })?;
        if strange {
            return Ok(None);
        }
        Ok(self.arrays(inflater, vec![column], count < self.pages.len())?.pop())
    }
}
