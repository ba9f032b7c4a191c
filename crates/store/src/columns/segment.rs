//! A segment's file: which columns it has and how they are spelled, and the writer of its row groups.
//!
//! Parquet with key-value metadata of ours: `braid.format` (a number), `braid.table`, `braid.columns` (JSON: one
//! `[kind, key, type]` a column, in the order of the schema, because names are for people), `braid.rest` (JSON: rows
//! by `[kind, key, type]` of the attributes in rest columns), `braid.ids` (JSON: where each row group's id filter
//! lies, see `bloom`) and `braid.id_texts` (JSON: of each row group the places of the text columns of bodies in which an id may stand;
//! where it is missing, in any). Segments of lines have `braid.zones` besides (JSON: what lines have
//! in stretches of rows, see `zones`): it tells which rows `| json | status >= 500` has to look at. Earlier segments lack it: of these
//! all rows are looked at.
//!
//! Format 2 is that of a segment which several tenants share: its rows stand by tenant first, and `braid.tenants` (JSON:
//! `[name, rows]` in the order of the names) says whose they are. A reader looks at no row outside its tenant's stretch, and
//! takes nothing from the footer's bounds and dictionaries but that rows are not there.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::Schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::bloom::{IdFilter, may_hold_ids};
use super::encode::{Encoder, Wanted};
use super::id::ColumnId;
use super::zones::Said;
use crate::contract::{Field, Table};
use crate::{SegmentFile, StoreError};

/// The version of the format of a segment with one tenant's rows.
pub(crate) const FORMAT: u32 = 1;
/// The version of a segment with several tenants' rows.
pub(crate) const SHARED_FORMAT: u32 = 2;
/// Rows of a row group.
pub(crate) const GROUP_ROWS: usize = 65_536;
/// Attributes on at least one row in so many get a column...
pub(crate) const RARE: usize = 100;
/// ...at most so many of them.
pub(crate) const MAX_ATTRIBUTES: usize = 200;
/// How many keys of rest columns a footer counts; where there are more, the list is not complete.
pub(crate) const REST_KEYS: usize = 1000;

pub(crate) const KEY_FORMAT: &str = "braid.format";
pub(crate) const KEY_TABLE: &str = "braid.table";
pub(crate) const KEY_COLUMNS: &str = "braid.columns";
pub(crate) const KEY_REST: &str = "braid.rest";
/// Where the filters of ids are, a row group each. Earlier segments have them under another key, and in their form only: who
/// knows that one alone reads without.
pub(crate) const KEY_IDS: &str = "braid.filters";
pub(crate) const KEY_EARLIER_IDS: &str = "braid.ids";
pub(crate) const KEY_ID_TEXTS: &str = "braid.id_texts";
pub(crate) const KEY_ZONES: &str = "braid.zones";
pub(crate) const KEY_TENANTS: &str = "braid.tenants";

/// A column of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentColumn {
    pub(crate) id: ColumnId,
    /// Text that seldom repeats is not a dictionary.
    pub(crate) plain: bool,
}

/// Chooses which attributes get a column: `rows` of each, out of `total`.
pub(crate) fn choose<'a>(counts: impl Iterator<Item = (&'a ColumnId, u64)>, total: u64) -> HashSet<ColumnId> {
    let mut common: Vec<(&ColumnId, u64)> = counts.filter(|(_, n)| *n > 0 && n * RARE as u64 >= total).collect();
    common.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    common.truncate(MAX_ATTRIBUTES);
    common.into_iter().map(|(id, _)| id.clone()).collect()
}

/// The Arrow schema of a segment's columns; names are made unique.
pub(crate) fn schema(columns: &[SegmentColumn]) -> Schema {
    let mut seen = HashSet::new();
    let fields: Vec<_> = columns
        .iter()
        .map(|c| {
            let mut name = c.id.name();
            // Two keys may read alike once the type's suffix is there (`a:int` of text, `a` of int).
            while !seen.insert(name.clone()) {
                name.push('\'');
            }
            c.id.file_field(name, c.plain)
        })
        .collect();
    Schema::new(fields)
}

/// Rows of a page. Small pages make single rows cheap and cost about 50 bytes a column each; spans have more columns.
pub(crate) fn page_rows(table: Table) -> usize {
    match table {
        Table::Spans => 4096,
        Table::Logs if cfg!(test) => 64,
        Table::Logs => 2048,
    }
}

/// What a column is wanted for.
fn wanted(table: Table, shared: bool, column: &SegmentColumn) -> Wanted {
    match &column.id {
        ColumnId::Field(Field::Time) => Wanted { bounds: true, page_bounds: true, sorted: false },
        ColumnId::Field(Field::TraceId) if table == Table::Spans => Wanted { bounds: true, page_bounds: true, sorted: !shared },
        ColumnId::Field(Field::TraceId | Field::SpanId | Field::ParentSpanId | Field::Body) => Wanted::default(),
        // Unsigned numbers order differently from what the page writer compares.
        ColumnId::Field(
            Field::Flags | Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks | Field::Events | Field::Links,
        )
        | ColumnId::Rest(_) => Wanted::default(),
        _ => Wanted { bounds: true, ..Wanted::default() },
    }
}

/// Writes a segment row group by row group.
pub(crate) struct SegmentWriter {
    table: Table,
    /// Several tenants' rows come.
    shared: bool,
    columns: Vec<SegmentColumn>,
    descriptor: Arc<SchemaDescriptor>,
    file: SerializedFileWriter<Box<dyn SegmentFile>>,
    encoder: Encoder,
    rest: BTreeMap<ColumnId, u64>,
    filters: Vec<(u64, u64)>,
    id_texts: Vec<Vec<usize>>,
    zones: Said,
    rows: u64,
    first: i64,
    last: i64,
}

/// The version of a segment's format.
pub(crate) fn format_of(shared: bool) -> u32 {
    if shared { SHARED_FORMAT } else { FORMAT }
}

/// What became of a segment.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl SegmentWriter {
    /// Starts a file of these columns, compressed with this zstd level or not at all; `shared` where several tenants' rows come.
    ///
    /// # Errors
    /// IO.
    pub(crate) fn new(
        table: Table,
        shared: bool,
        columns: Vec<SegmentColumn>,
        level: Option<i32>,
        file: Box<dyn SegmentFile>,
    ) -> Result<Self, StoreError> {
        let descriptor = ArrowSchemaConverter::new().convert(&schema(&columns)).map_err(failed)?;
        let file =
            SerializedFileWriter::new(file, descriptor.root_schema_ptr(), Arc::new(WriterProperties::new())).map_err(failed)?;
        Ok(Self {
            table,
            shared,
            columns,
            descriptor: Arc::new(descriptor),
            file,
            encoder: Encoder::new(level, page_rows(table))?,
            rest: BTreeMap::new(),
            filters: Vec::new(),
            id_texts: Vec::new(),
            zones: Said::new(page_rows(table)),
            rows: 0,
            first: i64::MAX,
            last: i64::MIN,
        })
    }

    /// Writes a row group; `column` is asked for each column in turn. `ids` is the filter of ids of the rows, if any. Texts of which
    /// `lacks_ids` holds are not looked at for ids.
    ///
    /// # Errors
    /// IO.
    pub(crate) fn write(
        &mut self,
        times: (i64, i64),
        ids: Option<IdFilter>,
        lacks_ids: impl Fn(&ColumnId) -> bool,
        mut column: impl FnMut(&SegmentColumn) -> Result<ArrayRef, StoreError>,
    ) -> Result<(), StoreError> {
        let mut group = self.file.next_row_group().map_err(failed)?;
        let mut rows = 0;
        let (mut rest, mut id_texts) = (Vec::new(), Vec::new());
        // Streams first: where one ends, a zone does.
        let place = self.columns.iter().position(|c| c.id == ColumnId::Stream).filter(|_| self.table == Table::Logs);
        let streams = place.map(|place| column(&self.columns[place])).transpose()?;
        let mut zones = streams.as_ref().map(|streams| self.zones.start(streams));
        for (i, c) in self.columns.iter().enumerate() {
            let array = match &streams {
                Some(streams) if place == Some(i) => streams.clone(),
                _ => column(c)?,
            };
            rows = array.len();
            if matches!(c.id, ColumnId::Rest(_)) {
                rest.push(array.clone());
            }
            if let (Some(zones), ColumnId::Body(id)) = (&mut zones, &c.id) {
                self.zones.column(zones, id, &array);
            }
            if matches!(c.id, ColumnId::Body(_) | ColumnId::Field(Field::Body))
                && !lacks_ids(&c.id)
                && super::text::bytes(&array).is_some_and(may_hold_ids)
            {
                id_texts.push(i);
            }
            let (pages, close) = self.encoder.encode(&array, &self.descriptor.column(i), wanted(self.table, self.shared, c))?;
            group.append_column(&pages, close).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        rest.iter().for_each(|array| self.count_rest(array));
        self.id_texts.push(id_texts);
        self.zones.finish(zones);
        if let Some(filter) = ids {
            let at = self.file.bytes_written() as u64;
            self.file.write_all(filter.bytes()).map_err(StoreError::io("write a segment"))?;
            self.filters.push((at, filter.bytes().len() as u64));
        }
        self.rows += rows as u64;
        self.first = self.first.min(times.0);
        self.last = self.last.max(times.1);
        Ok(())
    }

    /// Counts the attributes of a rest column.
    fn count_rest(&mut self, column: &ArrayRef) {
        let Some(texts) = super::text::Texts::of(column) else { return };
        for row in 0..column.len() {
            for (scope, key, value) in texts.get(row).map(super::rest::entries).unwrap_or_default() {
                let id = ColumnId::Attribute(scope, key.as_ref().into(), value.as_value().value_type());
                // Bounded: a key that is not counted can neither be pruned by nor become a column in a merge.
                if self.rest.len() < REST_KEYS || self.rest.contains_key(&id) {
                    *self.rest.entry(id).or_default() += 1;
                }
            }
        }
    }

    /// Whether no row was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Writes the footer and makes the file durable. `tenants` has the rows of each in turn, where they share the file.
    ///
    /// # Errors
    /// IO.
    pub(crate) fn finish(mut self, tenants: &[(String, u64)]) -> Result<Written, StoreError> {
        let json = |v: serde_json::Value| v.to_string();
        let spelled: Vec<_> = self.columns.iter().map(|c| c.id.spell()).collect();
        let rest: Vec<_> = self.rest.iter().map(|(id, n)| (id.spell(), n)).collect();
        let table = match self.table {
            Table::Spans => "spans",
            Table::Logs => "logs",
        };
        for (key, value) in [
            (KEY_FORMAT, format_of(self.shared).to_string()),
            (KEY_TABLE, table.to_owned()),
            (KEY_COLUMNS, json(serde_json::json!(spelled))),
            (KEY_REST, json(serde_json::json!(rest))),
            (KEY_IDS, json(serde_json::json!(self.filters))),
        ] {
            self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        if self.table == Table::Logs {
            self.file.append_key_value_metadata(KeyValue::new(KEY_ID_TEXTS.to_owned(), json(serde_json::json!(self.id_texts))));
        }
        if !self.zones.is_empty() {
            self.file.append_key_value_metadata(KeyValue::new(KEY_ZONES.to_owned(), json(serde_json::json!(self.zones))));
        }
        if self.shared {
            self.file.append_key_value_metadata(KeyValue::new(KEY_TENANTS.to_owned(), json(serde_json::json!(tenants))));
        }
        let file = self.file.into_inner().map_err(failed)?;
        Ok(Written { rows: self.rows, bytes: file.finish()?, first: self.first, last: self.last })
    }
}

fn failed(e: parquet::errors::ParquetError) -> StoreError {
    match e {
        parquet::errors::ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => StoreError::Io { what: "write a segment".into(), source: *source },
            Err(other) => StoreError::columns("write a segment")(other),
        },
        other => StoreError::columns("write a segment")(other),
    }
}
