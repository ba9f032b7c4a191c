//! What can be asked of a snapshot.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Histogram, Labels, OwnedValue, Scope, Tenant, TimeRange};

use super::{Batch, Compared, Comparison, LabelMatcher, Predicate, Selection, StoreError, Tombstone, in_order};

/// A table of rows. (Samples are asked for by series: [`Reader::samples`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// One row a span.
    Spans,
    /// One row a log record.
    Logs,
}

/// A column that every row of a table has. The Arrow type that a [`Batch`] holds stands behind each;
/// "text" is `Utf8` or `Dictionary(UInt32, Utf8)`, at the engine's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Field {
    /// Start of the span, time of the record: `Int64`, nanoseconds since the Unix epoch. The table's time column.
    Time,
    /// `FixedSizeBinary(16)`, null for none.
    TraceId,
    /// `FixedSizeBinary(8)`, null for none.
    SpanId,
    /// Name of the instrumentation scope: text, null when empty.
    ScopeName,
    /// Version of the instrumentation scope: text, null when empty.
    ScopeVersion,
    /// Trace flags: `UInt32`.
    Flags,
    /// The record's `dropped_attributes_count`: `UInt32`.
    DroppedAttributes,
    /// Counts and schema URLs of resource and scope, as compact JSON text, null when all are zero or empty:
    /// `{"rd":1,"ru":"…","sd":1,"su":"…"}`. Needed only to give a record back in full.
    GroupExtra,

    /// Spans: `FixedSizeBinary(8)`, null for a root.
    ParentSpanId,
    /// Spans: text.
    Name,
    /// Spans: `Int32`.
    Kind,
    /// Spans: end minus start, `Int64` nanoseconds, negative when a clock was wrong.
    Duration,
    /// Spans: `Int32`, 0 unset, 1 ok, 2 error.
    StatusCode,
    /// Spans: text, null when empty.
    StatusMessage,
    /// Spans: text, null when empty.
    TraceState,
    /// Spans: `UInt32`.
    DroppedEvents,
    /// Spans: `UInt32`.
    DroppedLinks,
    /// Spans: `List<Struct<time: Int64, name: Utf8, dropped: UInt32, attributes: Utf8>>`, null when there are none;
    /// `attributes` is an OTLP/JSON array of key-value pairs.
    Events,
    /// Spans: `List<Struct<trace_id: FixedSizeBinary(16), span_id: FixedSizeBinary(8), trace_state: Utf8, flags: UInt32,
    /// dropped: UInt32, attributes: Utf8>>`, null when there are none.
    Links,

    /// Logs: the line, byte for byte: `Utf8`. Of a body that was not text: its OTLP/JSON (see [`Field::BodyType`]).
    Body,
    /// Logs: `UInt8`, the [`model::ValueType`] that the body had.
    BodyType,
    /// Logs: `Int64` nanoseconds, 0 where not given.
    Observed,
    /// Logs: `Int32`, 0 to 24.
    SeverityNumber,
    /// Logs: text, null when empty.
    SeverityText,
    /// Logs: text, null when empty.
    EventName,
}

/// A column by what it means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Column {
    /// One that every row has.
    Field(Field),
    /// The attribute `key`: of one scope, or of any (a record's own before scope before resource before label).
    Attribute {
        /// Where to look; `None` for anywhere.
        scope: Option<Scope>,
        /// The key, case-sensitive.
        key: String,
    },
    /// All attributes of one scope, or of all scopes; only in projections.
    Attributes(Option<Scope>),
}

impl Column {
    /// The attribute `key` of `scope`.
    #[must_use]
    pub fn attribute(scope: Scope, key: &str) -> Self {
        Self::Attribute { scope: Some(scope), key: key.to_owned() }
    }
}

/// The order in which a scan's rows come, over all batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Whichever is cheapest.
    #[default]
    Any,
    /// The same for whoever tells rows apart anyway: one that came twice may be there twice until a merge makes one of them.
    /// All other scans, and counts, have each row once.
    AnyTwice,
    /// Oldest first by [`Field::Time`]; ties in any order, but the same in every run over the same rows.
    OldestFirst,
    /// Newest first.
    NewestFirst,
}

/// Which rows, which columns, in which order, how many.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Whose.
    pub tenant: Tenant,
    /// Of which table.
    pub table: Table,
    /// With [`Field::Time`] inside.
    pub range: TimeRange,
    /// For which this is true. The engine returns exactly these rows, not a superset.
    pub predicate: Predicate,
    /// With these columns. A column that no row has is left out of the batch.
    pub projection: Vec<Column>,
    /// In this order.
    pub order: Order,
    /// At most so many rows, the first ones in that order.
    pub limit: Option<usize>,
}

/// How many rows there are in each stretch of time, by the values of some columns.
#[derive(Debug, Clone)]
pub struct Aggregation {
    /// Whose.
    pub tenant: Tenant,
    /// Of which table.
    pub table: Table,
    /// With [`Field::Time`] inside; not empty.
    pub range: TimeRange,
    /// For which this is true.
    pub predicate: Predicate,
    /// Rows with the same values in these columns are counted together; attributes (of one scope or of any) and text fields.
    pub by: Vec<Column>,
    /// Nanoseconds, more than 0: stretch `i` begins at `range.start + i * width`, the last one ends where the range does.
    pub width: i64,
}

impl Aggregation {
    /// Most counts of an answer: keys by stretches.
    pub const MOST: usize = 20_000_000;

    /// How many stretches.
    #[must_use]
    pub fn stretches(&self) -> usize {
        let span = i128::from(self.range.end) - i128::from(self.range.start);
        let width = i128::from(self.width.max(1));
        usize::try_from((span + width - 1) / width).unwrap_or(0)
    }

    /// The stretch of a time of the range.
    #[must_use]
    pub fn stretch(&self, time: i64) -> usize {
        (time.wrapping_sub(self.range.start) as u64 / self.width.max(1) as u64) as usize
    }

    /// The first time of a stretch.
    #[must_use]
    pub fn start(&self, stretch: usize) -> i64 {
        self.range.start.wrapping_add((stretch as i64).wrapping_mul(self.width))
    }
}

/// Rows that were counted together.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// The value of each column of [`Aggregation::by`]; `None` where the rows lack it.
    pub key: Vec<Option<OwnedValue>>,
    /// How many rows in each stretch; one is not zero.
    pub counts: Vec<u64>,
}

/// Which distinct values, of rows like those of a [`Scan`].
#[derive(Debug, Clone)]
pub enum Distinct {
    /// Keys of the attributes of `scope` (or of any).
    Keys(Option<Scope>),
    /// Values of a column, as text (numbers and booleans as they print; nested as JSON).
    Values(Column),
    /// Label sets: the attributes of scope [`Scope::Label`].
    LabelSets,
}

/// Batches in the order asked for. Dropping it ends the scan.
pub type BatchStream<'a> = Box<dyn Iterator<Item = Result<Batch, StoreError>> + Send + 'a>;

/// One series and its samples in the range asked for.
#[derive(Debug, Clone, Default)]
pub struct SeriesSamples {
    /// Its labels, `__name__` among them.
    pub labels: Arc<Labels>,
    /// Milliseconds since the Unix epoch, ascending, unique.
    pub times: Vec<i64>,
    /// A value a time; staleness markers keep their bits ([`model::STALE_NAN_BITS`]).
    pub values: Vec<f64>,
    /// The start timestamps of `times`, 0 for none; empty where no sample has one.
    pub starts: Vec<i64>,
    /// Native histograms, ascending by time; no time is in `times` as well.
    pub histograms: Vec<HistogramSample>,
}

impl SeriesSamples {
    /// Floats only.
    #[must_use]
    pub fn floats(labels: Arc<Labels>, times: Vec<i64>, values: Vec<f64>) -> Self {
        Self { labels, times, values, ..Self::default() }
    }
}

/// A native histogram of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// Milliseconds since the Unix epoch.
    pub time: i64,
    /// Its start timestamp, 0 for none.
    pub start: i64,
    /// What was counted.
    pub histogram: Arc<Histogram>,
}

/// The exemplars of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub labels: Arc<Labels>,
    /// Ascending by time.
    pub exemplars: Vec<Exemplar>,
}

/// An observation that stands for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch.
    pub time: i64,
    /// What was observed.
    pub value: f64,
}

/// Series in the order of their labels. Dropping it ends the scan.
pub type SeriesStream<'a> = Box<dyn Iterator<Item = Result<SeriesSamples, StoreError>> + Send + 'a>;

/// A consistent view of everything acknowledged before it was taken. All calls block: run them off the async threads.
pub trait Reader: Send + Sync {
    /// Rows of a table.
    ///
    /// # Errors
    /// Storage errors, and [`StoreError::Limit`] where a budget is exhausted; also inside the stream.
    fn scan(&self, scan: &Scan) -> Result<BatchStream<'_>, StoreError>;

    /// Counts rows close to the data; in any order, each key once.
    ///
    /// # Errors
    /// As for [`Reader::scan`]; [`StoreError::Limit`] past [`Aggregation::MOST`].
    fn aggregate(&self, aggregation: &Aggregation) -> Result<Vec<Counted>, StoreError>;

    /// Counts values in a part of some rows and in the rest, close to the data. Gives up soon after `cancelled` is set.
    ///
    /// # Errors
    /// As for [`Reader::scan`]; [`StoreError::Limit`] once cancelled.
    fn compare(&self, comparison: &Comparison, cancelled: &AtomicBool) -> Result<Compared, StoreError> {
        comparison.by_scans(self, cancelled)
    }

    /// Distinct values among the rows that `table`, `range` and `predicate` choose: each a list of pairs
    /// (one pair `("", value)` for keys and values, all labels for label sets), sorted, unique, at most `limit`.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    fn distinct(
        &self,
        tenant: &Tenant,
        table: Table,
        range: TimeRange,
        predicate: &Predicate,
        what: &Distinct,
        limit: Option<usize>,
    ) -> Result<Vec<Vec<(String, String)>>, StoreError>;

    /// Label sets of the series that all `matchers` accept and that have a sample in `first_ms..=last_ms`, sorted.
    /// No matchers: all series.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    fn series(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<Arc<Labels>>, StoreError>;

    /// Those series, to be read with their samples in `first_ms..=last_ms`.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    fn select(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Box<dyn Selection + '_>, StoreError>;

    /// Those series with their samples in `first_ms..=last_ms`, in the order of their labels.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    fn samples(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<SeriesStream<'_>, StoreError> {
        Ok(in_order(self.select(tenant, matchers, first_ms, last_ms)?))
    }

    /// The exemplars in `first_ms..=last_ms` of the series that all `matchers` accept, in the order of their labels.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<SeriesExemplars>, StoreError>;

    /// What is known of metric families (of `family`, or of all): name, type, help, unit, sorted by name.
    fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, wire::MetricKind, String, String)>;

    /// The tenant's deletions, the oldest first: all in force, and the latest of those whose rows have left the disk.
    fn tombstones(&self, tenant: &Tenant) -> Vec<Arc<Tombstone>>;

    /// `Some(why)` when the view may lack acknowledged rows (after a crash, while the log is replayed).
    fn partial(&self) -> Option<String>;
}

/// Gives out snapshots: what the APIs hold.
pub trait Source: Send + Sync {
    /// A consistent view of everything acknowledged so far; cheap. Keep it no longer than one query takes.
    fn snapshot(&self) -> Arc<dyn Reader>;
}
