//! What a segment says of itself: its columns, where they and the filters of ids lie, and whose its rows are.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::id::ColumnId;
use super::segment::{
    KEY_COLUMNS, KEY_EARLIER_IDS, KEY_FORMAT, KEY_ID_TEXTS, KEY_IDS, KEY_REST, KEY_TENANTS, KEY_ZONES, SHARED_FORMAT,
    SegmentColumn, schema,
};
use super::zones::Zones;
use crate::contract::Field;
use crate::{SegmentSource, StoreError};

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
    pub(super) filters: Vec<(u64, u64)>,
    /// Of each row group the text columns of bodies in which an id may stand. Empty where that is not said.
    id_texts: Vec<Vec<usize>>,
    /// What lines have in stretches of rows, where that is said.
    pub(super) zones: Option<Zones>,
    /// The tenants that share it, by name, and the row behind the last of each; empty where it is one tenant's.
    tenants: Vec<(String, u64)>,
    /// Bytes that it holds.
    pub(super) size: usize,
}

impl Footer {
    pub(super) fn metadata(&self) -> &Arc<ParquetMetaData> {
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

/// The place of the time column.
pub(crate) fn time_place(footer: &Footer) -> Option<usize> {
    footer.place(&ColumnId::Field(Field::Time))
}

/// The error for what Parquet says of a file.
pub(super) fn parquet_error(file: &str, e: &ParquetError) -> StoreError {
    StoreError::Corrupt { file: file.to_owned(), reason: e.to_string() }
}

/// Reads the footer of the file at `path`.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Version`].
pub(super) fn read_footer(file: &File, path: &str) -> Result<Footer, StoreError> {
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
    let rows: Vec<usize> = parquet.row_groups().iter().map(|g| g.num_rows().max(0) as usize).collect();
    let zones = value(KEY_ZONES).and_then(|text| Zones::read(text, &rows));
    let tenants = match format == SHARED_FORMAT {
        true => {
            let said = value(KEY_TENANTS).and_then(|v| serde_json::from_str(v).ok());
            let rows = parquet.row_groups().iter().map(|g| g.num_rows().max(0) as u64).sum();
            said.and_then(|said| stretches(said, rows)).ok_or_else(|| corrupt("it does not say whose its rows are"))?
        }
        false => Vec::new(),
    };
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema(&columns)));
    let size = parquet.memory_size() + columns.len() * 200 + tenants.len() * 64 + zones.as_ref().map_or(0, |z| z.size);
    let parquet = ArrowReaderMetadata::try_new(Arc::new(parquet), options).map_err(|e| parquet_error(path, &e))?;
    Ok(Footer { parquet, columns, places, rest, filters, id_texts, zones, tenants, size })
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
pub(super) struct File(pub(super) Arc<dyn SegmentSource>);

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
pub(super) struct Sequential {
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
