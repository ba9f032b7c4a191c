//! The store as it is used: the engine over the tables of spans, log lines and samples.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use model::{Labels, Tenant, TimeRange};
use tokio::sync::broadcast;
use wire::{MetricKind, Signal};

use crate::columns::{CacheStats, ColumnCache, LogTable, SpanTable, View};
use crate::contract::{
    Aggregation, Appended, BatchStream, Compared, Comparison, Counted, Deletion, Distinct, LabelMatcher, Predicate, Reader,
    Request, Scan, Selection, SeriesExemplars, Source, Table, Tombstone, Writer,
};
use crate::engine::{Engine, Live, NamedReader, Options, Stats};
use crate::log::AtCap;
use crate::manifest::Manifest;
use crate::series::{Newest, SeriesOptions, SeriesTable, SeriesView};
use crate::{Segments, StoreError};

/// How long a request may be under way between its check and the log.
const AGE_SLACK: Duration = Duration::from_secs(60);

/// A data directory in use: takes requests ([`Writer`]), gives out snapshots ([`Source`]).
pub struct Store {
    engine: Engine,
    spans: Arc<SpanTable>,
    logs: Arc<LogTable>,
    samples: Arc<SeriesTable>,
    segments: Arc<dyn Segments>,
    cache: Arc<ColumnCache>,
}

impl Store {
    /// Opens a data directory; see [`Engine::open`].
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Version`], IO.
    pub fn open(options: Options, series: SeriesOptions) -> Result<Self, StoreError> {
        let mut tables = None;
        // A request is checked a moment before it gets the time in the log: what was accepted then must not be too old here.
        let max_line_age = options.max_line_age.map(|age| age + AGE_SLACK);
        let limits = wire::Limits {
            discover_service_name: options.discover_service_name,
            max_line_ahead_ns: options.max_line_ahead.and_then(|ahead| i64::try_from(ahead.as_nanos()).ok()),
            max_line_age_ns: max_line_age.and_then(|age| i64::try_from(age.as_nanos()).ok()),
            ..wire::Limits::default()
        };
        let (share_below, apart) = (options.share_below, options.apart.clone());
        let series = SeriesOptions { share_below, ..series };
        let cache = Arc::new(ColumnCache::new(options.cache_bytes));
        let columns = Arc::clone(&cache);
        let engine = Engine::open(options, |segments| {
            let own = wire::Limits::default();
            let spans = Arc::new(SpanTable::with(Arc::clone(&segments), own, Arc::clone(&columns), share_below, apart));
            let logs = Arc::new(LogTable::with(Arc::clone(&segments), limits, Arc::clone(&columns), share_below, Vec::new()));
            let samples = Arc::new(SeriesTable::new(Arc::clone(&segments), series));
            tables = Some((Arc::clone(&spans), Arc::clone(&logs), Arc::clone(&samples), segments));
            [spans, logs, samples]
        })?;
        let (spans, logs, samples, segments) = tables.ok_or(StoreError::Closed)?;
        Ok(Self { engine, spans, logs, samples, segments, cache })
    }

    /// Writes all heads, merges what can be merged, cuts the log; returns when nothing is left to do.
    ///
    /// # Errors
    /// The first failure.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.engine.flush_all()
    }

    /// Writes the head of one signal now; for tests and measurements.
    ///
    /// # Errors
    /// IO.
    pub fn flush(&self, signal: Signal) -> Result<(), StoreError> {
        self.engine.flush(signal)
    }

    /// A named reader of the log with a durable cursor; see [`Engine::reader`].
    ///
    /// # Errors
    /// IO.
    pub fn reader(&self, name: &str, at_cap: AtCap) -> Result<NamedReader, StoreError> {
        self.engine.reader(name, at_cap)
    }

    /// The names of all readers that the log is kept for.
    #[must_use]
    pub fn readers(&self) -> Vec<String> {
        self.engine.readers()
    }

    /// Forgets a named reader: the log is kept for it no longer.
    ///
    /// # Errors
    /// IO.
    pub fn remove_reader(&self, name: &str) -> Result<(), StoreError> {
        self.engine.remove_reader(name)
    }

    /// The segments in service, and the manifest that names them and nothing of the log: with the files it makes a data
    /// directory of its own. As long as the list is held, the files stay.
    #[must_use]
    pub fn frozen(&self) -> (Manifest, Arc<Live>) {
        self.engine.frozen()
    }

    /// Opens the indexes of the newest segments of samples, as many as have `most` bytes together, so that the first query
    /// does not wait for that; says which series the newest of them begins with, if there is one.
    ///
    /// # Errors
    /// IO.
    pub fn open_newest(&self, most: u64) -> Result<Option<Newest>, StoreError> {
        let snapshot = |live: &Arc<Live>| (self.samples.view(live.share(Signal::Metrics)), Arc::clone(live));
        let (view, _files) = self.engine.with_snapshot(snapshot);
        view.open_newest(most)
    }

    /// Rewrites every segment that still holds deleted rows and cuts the log behind them, so that no byte of them is left,
    /// except in files that a query still reads or that were quarantined, and in the log where a named reader is behind.
    /// Deletions that wait take effect first.
    ///
    /// # Errors
    /// The first failure.
    pub fn clean(&self) -> Result<(), StoreError> {
        self.engine.carry_out_all()?;
        self.engine.flush_all()
    }

    /// What the engine counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Whether the process is close to its memory budget. While it is, heads are flushed early and merges put off; each call
    /// that says so makes the caches smaller.
    pub fn set_short_of_memory(&self, short: bool) {
        self.engine.set_short_of_memory(short);
        if short {
            self.cache.shed();
            self.samples.shed();
        }
    }

    /// What the cache of decoded columns holds.
    #[must_use]
    pub fn cache(&self) -> CacheStats {
        self.cache.stats()
    }

    /// See [`Engine::pin`].
    ///
    /// # Errors
    /// IO; [`StoreError::Busy`] while the log is being replayed.
    pub fn pin(&self) -> Result<crate::backup::Pinned, StoreError> {
        self.engine.pin()
    }

    /// Whether the log is still being replayed, and of which signals.
    #[must_use]
    pub fn replaying(&self) -> Option<String> {
        self.engine.partial()
    }

    /// The object store behind the disk.
    #[must_use]
    pub fn objects(&self) -> Option<&objects::Bucket> {
        self.engine.objects()
    }

    /// Bytes of label sets and of the indexes of open metric segments.
    #[must_use]
    pub fn index_memory(&self) -> usize {
        self.samples.index_memory()
    }

    /// Bytes of decoded runs of samples, kept for the next query over them.
    #[must_use]
    pub fn decoded_memory(&self) -> usize {
        self.samples.decoded_memory()
    }

    /// Stops taking requests and ends the threads. What was acknowledged is in the log; nothing is flushed.
    pub fn close(&self) {
        self.engine.close();
    }
}

impl Writer for Store {
    fn append(&self, request: Request) -> Appended<'_> {
        self.engine.append(request)
    }

    fn append_plain(&self, request: Request, plain: Option<wire::Plain>) -> Appended<'_> {
        self.engine.append_plain(request, plain)
    }

    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        self.engine.delete(deletion)
    }

    fn cancel(&self, tenant: &Tenant, id: u64) -> Result<bool, StoreError> {
        self.engine.cancel(tenant, id)
    }

    fn subscribe(&self) -> broadcast::Receiver<Request> {
        self.engine.subscribe()
    }
}

impl Source for Store {
    fn snapshot(&self) -> Arc<dyn Reader> {
        let partial = self.engine.partial();
        self.engine.with_snapshot(|live| {
            Arc::new(Snapshot {
                spans: self.spans.view().without(live.tombstones().clone()),
                logs: self.logs.view().without(live.tombstones().clone()),
                samples: self.samples.view(live.share(Signal::Metrics)).without(live.tombstones().clone()),
                live: Arc::clone(live),
                segments: Arc::clone(&self.segments),
                partial,
            }) as Arc<dyn Reader>
        })
    }
}

/// The segments in service and the heads at one moment; while it is held, the segments' files stay.
struct Snapshot {
    spans: View,
    logs: View,
    samples: SeriesView,
    live: Arc<Live>,
    segments: Arc<dyn Segments>,
    partial: Option<String>,
}

impl Snapshot {
    fn rows(&self, table: Table) -> (&View, Signal) {
        match table {
            Table::Spans => (&self.spans, Signal::Traces),
            Table::Logs => (&self.logs, Signal::Logs),
        }
    }

    /// A predicate without the lines that wait to be deleted.
    fn shown<'p>(&self, tenant: &Tenant, table: Table, range: TimeRange, predicate: &'p Predicate) -> Cow<'p, Predicate> {
        if table != Table::Logs || self.live.waiting().is_empty() {
            return Cow::Borrowed(predicate);
        }
        let on =
            |t: &&Arc<Tombstone>| t.tenant == tenant.as_str() && t.range().overlaps(range.start, range.end.saturating_sub(1));
        let hidden: Vec<Predicate> = self.live.waiting().iter().filter(on).filter_map(|t| t.rows()).collect();
        match hidden.is_empty() {
            true => Cow::Borrowed(predicate),
            false => Cow::Owned(predicate.clone().and(Predicate::Not(Box::new(Predicate::Or(hidden))))),
        }
    }
}

impl Reader for Snapshot {
    fn scan(&self, scan: &Scan) -> Result<BatchStream<'_>, StoreError> {
        let (view, signal) = self.rows(scan.table);
        match self.shown(&scan.tenant, scan.table, scan.range, &scan.predicate) {
            Cow::Borrowed(_) => view.scan(scan, self.live.of(signal), &*self.segments),
            Cow::Owned(predicate) => view.scan(&Scan { predicate, ..scan.clone() }, self.live.of(signal), &*self.segments),
        }
    }

    fn aggregate(&self, aggregation: &Aggregation) -> Result<Vec<Counted>, StoreError> {
        let (view, signal) = self.rows(aggregation.table);
        match self.shown(&aggregation.tenant, aggregation.table, aggregation.range, &aggregation.predicate) {
            Cow::Borrowed(_) => view.aggregate(aggregation, self.live.of(signal), &*self.segments),
            Cow::Owned(predicate) => {
                let shown = Aggregation { predicate, ..aggregation.clone() };
                view.aggregate(&shown, self.live.of(signal), &*self.segments)
            }
        }
    }

    fn compare(&self, comparison: &Comparison, cancelled: &AtomicBool) -> Result<Compared, StoreError> {
        let (view, signal) = self.rows(comparison.table);
        match self.shown(&comparison.tenant, comparison.table, comparison.range, &comparison.predicate) {
            Cow::Borrowed(_) => view.compare(comparison, cancelled, self.live.of(signal), &*self.segments),
            Cow::Owned(predicate) => {
                let shown = Comparison { predicate, ..comparison.clone() };
                view.compare(&shown, cancelled, self.live.of(signal), &*self.segments)
            }
        }
    }

    fn distinct(
        &self,
        tenant: &Tenant,
        table: Table,
        range: TimeRange,
        predicate: &Predicate,
        what: &Distinct,
        limit: Option<usize>,
    ) -> Result<Vec<Vec<(String, String)>>, StoreError> {
        let (view, signal) = self.rows(table);
        let predicate = &*self.shown(tenant, table, range, predicate);
        view.distinct(tenant, range, predicate, what, limit, self.live.of(signal), &*self.segments)
    }

    fn series(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<Arc<Labels>>, StoreError> {
        self.samples.series(tenant, matchers, first_ms, last_ms)
    }

    fn select(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Box<dyn Selection + '_>, StoreError> {
        self.samples.select(tenant, matchers, first_ms, last_ms)
    }

    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<SeriesExemplars>, StoreError> {
        self.samples.exemplars(tenant, matchers, first_ms, last_ms)
    }

    fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, MetricKind, String, String)> {
        self.samples.metadata(tenant, family)
    }

    fn tombstones(&self, tenant: &Tenant) -> Vec<Arc<Tombstone>> {
        let all = self.live.tombstones().iter().chain(self.live.waiting().iter());
        all.filter(|t| t.tenant == tenant.as_str()).cloned().collect()
    }

    fn partial(&self) -> Option<String> {
        self.partial.clone()
    }
}
