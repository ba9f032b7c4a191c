//! The shape of a segment of samples: a Parquet file that needs nothing beside it.
//!
//! A row is a run of one series: of floats, of native histograms ([`super::histograms`]) or of exemplars
//! ([`super::exemplars`]), which the column `kind` says; the statistics of histograms are those of their counts, exemplars
//! have none. Rows are in the order of their labels; of one series floats come first, then histograms, then exemplars, each
//! by their first time. Times and values are coded as [`super::chunk`] says and followed by the CRC-32C of the coded bytes (four bytes, little endian).
//! Runs of one scrape have the same times: those are kept once, in the first row that has them, and later rows name that
//! row. The two columns of coded bytes are plain and not compressed, so that with the lengths in the columns beside them
//! the place of every run in the file is known, and a query reads just the runs that it needs.
//!
//! DuckDB reads the rest: `SELECT labels['job'], sum("count"), max(max) FROM 'x.parquet' WHERE kind = 0 GROUP BY 1`.
//!
//! Version 3 is that of a segment which several tenants share: its rows stand by tenant first, series are numbered through, no
//! row names the times of another tenant's, and `braid.samples.tenants` says whose the rows are.
//!
//! Version 1 had no `kind` (all runs were floats) and no start timestamps.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// The version of a segment with one tenant's series.
pub(super) const VERSION: u32 = 2;
/// The version of a segment with several tenants' series, and the newest that is read.
pub(super) const SHARED_VERSION: u32 = 3;
/// Key of whose the rows are, as JSON: `[name, rows, metadata]`, in the order of the names; metadata as in [`METADATA_KEY`].
pub(super) const TENANTS_KEY: &str = "braid.samples.tenants";
/// Key of the version in the file's metadata.
pub(super) const VERSION_KEY: &str = "braid.samples.version";
/// Key of what is known of metric families, as JSON: family -> [type, help, unit].
pub(super) const METADATA_KEY: &str = "braid.samples.metadata";

/// Names of the columns.
pub(super) mod column {
    /// `Map<Utf8, Utf8>`: the labels.
    pub(in super::super) const LABELS: &str = "labels";
    /// Number of the series in the file, from 0, in the order of labels.
    pub(in super::super) const SERIES: &str = "series";
    /// First time.
    pub(in super::super) const FIRST: &str = "first";
    /// Last time.
    pub(in super::super) const LAST: &str = "last";
    /// Samples.
    pub(in super::super) const COUNT: &str = "count";
    /// What the run is of: a number of [`super::Kind`].
    pub(in super::super) const KIND: &str = "kind";
    /// The row that has the times.
    pub(in super::super) const TIMES_ROW: &str = "times_row";
    /// Length of `times`; 0 where another row has them.
    pub(in super::super) const TIMES_BYTES: &str = "times_bytes";
    /// Length of `samples`.
    pub(in super::super) const VALUES_BYTES: &str = "values_bytes";
    /// Coded times, null where another row has them.
    pub(in super::super) const TIMES: &str = "times";
    /// Coded values.
    pub(in super::super) const VALUES: &str = "values";
}

/// What a run is of; the numbers are persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub(super) enum Kind {
    /// Samples that are numbers.
    #[default]
    Floats = 0,
    /// Samples that are native histograms.
    Histograms = 1,
    /// Exemplars; a time counts once, however many it has.
    Exemplars = 2,
}

impl Kind {
    /// The kind of this number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Floats, Self::Histograms, Self::Exemplars].into_iter().find(|k| *k as u8 == number)
    }
}

fn labels_type() -> DataType {
    let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entry), false)), false)
}

/// The columns.
pub(super) fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new(column::LABELS, labels_type(), false),
        Field::new(column::SERIES, DataType::UInt32, false),
        Field::new(column::FIRST, time(), false),
        Field::new(column::LAST, time(), false),
        Field::new(column::COUNT, DataType::UInt32, false),
        Field::new(column::KIND, DataType::UInt8, false),
        Field::new(column::TIMES_ROW, DataType::UInt32, false),
        Field::new(column::TIMES_BYTES, DataType::UInt32, false),
        Field::new(column::VALUES_BYTES, DataType::UInt32, false),
        Field::new("min", DataType::Float64, false),
        Field::new("max", DataType::Float64, false),
        Field::new("sum", DataType::Float64, false),
        Field::new("first_value", DataType::Float64, false),
        Field::new("last_value", DataType::Float64, false),
        Field::new("resets", DataType::UInt32, false),
        Field::new("stale", DataType::UInt32, false),
        Field::new(column::TIMES, DataType::Binary, true),
        Field::new(column::VALUES, DataType::Binary, false),
    ]))
}
