//! The deletions in force: which of them reach a segment, and which a record of the log.
//!
//! # Invariants (held by `tests/deletes.rs`, `crash_store.rs`, and the property tests against the model)
//!
//! 1. *A deletion reaches what was kept before it, and nothing else.* It stands in the log at a sequence of its own. Heads drop
//!    its rows when it is applied, between the records before and after it. A segment says in
//!    [`crate::SegmentMeta::deleted_to`] up to which sequence it has forgotten what was to be deleted; what comes later is
//!    left out when it is read or merged.
//! 2. *It is durable twice before it is acknowledged*: as a record of the log, and in a manifest, so that after a crash
//!    records before it are replayed without the doomed rows, and segments are read without them from the first moment.
//! 3. *It is forgotten last*: [`crate::Tombstone::cleaned`] is set only when the log begins behind it and no segment is left
//!    that it reaches.

use std::ops::RangeInclusive;
use std::sync::Arc;

use model::{Group, Histogram, Log, Span};
use wire::{Limits, LogSink, MetricKind, RawLabels, SampleSink, Signal, SpanSink, Summary, WireError};

use crate::memory::row_of::{Row, accepts};
use crate::{Language, Predicate, Record, SegmentMeta, Tombstone};

/// Deletions that are done and still listed, the latest ones.
const LISTED: usize = 1000;

/// All deletions that are in force or listed, by sequence.
#[derive(Debug, Clone, Default)]
pub struct Tombstones(Arc<Vec<Arc<Tombstone>>>);

impl Tombstones {
    /// These.
    #[must_use]
    pub fn new(mut all: Vec<Arc<Tombstone>>) -> Self {
        all.sort_by_key(|t| t.sequence);
        all.dedup_by_key(|t| t.sequence);
        Self(Arc::new(all))
    }

    /// Each of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tombstone>> {
        self.0.iter()
    }

    /// Each of them, to keep.
    pub(crate) fn to_vec(&self) -> Vec<Tombstone> {
        self.0.iter().map(|t| (**t).clone()).collect()
    }

    /// Those of a manifest, their words read. One whose words nobody can read stays as it is: what it reaches is an error
    /// then, rather than shown.
    pub(crate) fn of_manifest(kept: &[Tombstone], language: Option<&dyn Language>) -> Self {
        let read = |kept: &Tombstone| {
            let mut tombstone = kept.clone();
            if let Err(e) = tombstone.read(language) {
                tracing::error!(sequence = kept.sequence, error = %e, "queries that a deletion may reach will fail");
            }
            Arc::new(tombstone)
        };
        Self::new(kept.iter().map(read).collect())
    }

    /// Without the one of a sequence.
    pub(crate) fn but(&self, sequence: u64) -> Self {
        Self::new(self.0.iter().filter(|t| t.sequence != sequence).cloned().collect())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sequence of the latest that is known.
    pub(crate) fn last(&self) -> u64 {
        self.0.last().map_or(0, |t| t.sequence)
    }

    /// Sequence of the latest that is in force.
    #[must_use]
    pub fn latest(&self) -> u64 {
        self.0.iter().rev().find(|t| t.cleaned == 0).map_or(0, |t| t.sequence)
    }

    /// With one more.
    pub(crate) fn with(&self, tombstone: Arc<Tombstone>) -> Self {
        if self.0.iter().any(|t| t.sequence == tombstone.sequence) {
            return self.clone();
        }
        Self::new(self.0.iter().cloned().chain([tombstone]).collect())
    }

    /// With those that `is_clean` accepts marked as cleaned at `now`; `None` where that changes nothing.
    pub(crate) fn cleaned(&self, now: i64, is_clean: impl Fn(&Tombstone) -> bool) -> Option<Self> {
        let due = |t: &Tombstone| t.cleaned == 0 && is_clean(t);
        if !self.0.iter().any(|t| due(t)) {
            return None;
        }
        let mark = |t: &Arc<Tombstone>| match due(t) {
            true => Arc::new(Tombstone { cleaned: now.max(1), ..(**t).clone() }),
            false => Arc::clone(t),
        };
        let mut all: Vec<_> = self.0.iter().map(mark).collect();
        let mut spare = all.iter().filter(|t| t.cleaned > 0).count().saturating_sub(LISTED);
        all.retain(|t| {
            let keep = t.cleaned == 0 || spare == 0;
            spare -= usize::from(!keep);
            keep
        });
        Some(Self::new(all))
    }

    /// Those after a sequence; of all tenants where none is named.
    fn of<'a>(&'a self, tenant: Option<&'a str>, signal: Signal, after: u64) -> impl Iterator<Item = &'a Arc<Tombstone>> {
        let later = self.0.partition_point(|t| t.sequence <= after);
        let whose = move |t: &Tombstone| tenant.is_none_or(|tenant| t.tenant == tenant);
        self.0[later..].iter().filter(move |t| t.cleaned == 0 && t.signal() == signal && whose(t))
    }

    /// All deletions after a record that may name rows of it, also those that are done: who wants these only filters.
    pub(crate) fn after_record<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Arc<Tombstone>> {
        let (tenant, signal) = (record.tenant.as_str(), record.encoding.signal());
        let later = self.0.partition_point(|t| t.sequence <= record.sequence);
        self.0[later..].iter().filter(move |t| t.signal() == signal && t.tenant == tenant)
    }

    /// Those whose rows may still be in a segment, of whatever tenant.
    #[must_use]
    pub fn on_segment(&self, segment: &SegmentMeta) -> Vec<Arc<Tombstone>> {
        self.on(segment, Some(segment.tenant.as_str()).filter(|_| !segment.is_shared()))
    }

    /// Those of one tenant whose rows may still be in a segment.
    #[must_use]
    pub fn of_tenant(&self, segment: &SegmentMeta, tenant: &str) -> Vec<Arc<Tombstone>> {
        self.on(segment, Some(tenant))
    }

    fn on(&self, segment: &SegmentMeta, tenant: Option<&str>) -> Vec<Arc<Tombstone>> {
        let Some(signal) = Signal::ALL.into_iter().find(|s| s.as_str() == segment.signal) else { return Vec::new() };
        let of = self.of(tenant, signal, segment.deleted_to);
        of.filter(|t| t.range().overlaps(segment.first, segment.last)).cloned().collect()
    }

    /// Those whose rows may be in a record of the log: readers of the log hand them to [`walk_spans`] and its like.
    #[must_use]
    pub fn on_record(&self, record: &Record) -> Vec<Arc<Tombstone>> {
        self.of(Some(record.tenant.as_str()), record.encoding.signal(), record.sequence).cloned().collect()
    }
}

/// Hands on what is not doomed.
struct Spared<'a, S: ?Sized> {
    sink: &'a mut S,
    doomed: Vec<Predicate>,
    group: Row,
    tombstones: &'a [Arc<Tombstone>],
    /// Milliseconds of the current series that are gone.
    gone: Vec<RangeInclusive<i64>>,
    dropped: u64,
}

impl<'a, S: ?Sized> Spared<'a, S> {
    fn new(tombstones: &'a [Arc<Tombstone>], sink: &'a mut S) -> Self {
        let doomed = tombstones.iter().filter_map(|t| t.rows()).collect();
        Self { sink, doomed, group: Row::default(), tombstones, gone: Vec::new(), dropped: 0 }
    }

    fn dooms(&mut self, row: &Row) -> bool {
        let doomed = self.doomed.iter().any(|p| accepts(p, row));
        self.dropped += u64::from(doomed);
        doomed
    }

    fn is_gone(&mut self, time_ms: i64) -> bool {
        let gone = self.gone.iter().any(|g| g.contains(&time_ms));
        self.dropped += u64::from(gone);
        gone
    }

    fn told(self, walked: Result<Summary, WireError>) -> Result<Summary, WireError> {
        let mut summary = walked?;
        summary.accepted = summary.accepted.saturating_sub(self.dropped);
        Ok(summary)
    }
}

impl<S: SpanSink + ?Sized> SpanSink for Spared<'_, S> {
    fn group(&mut self, group: &Group<'_>) {
        self.group = Row::group(group);
        self.sink.group(group);
    }

    fn span(&mut self, span: &Span<'_>) {
        let row = Row::span(&self.group, span);
        if !self.dooms(&row) {
            self.sink.span(span);
        }
    }
}

impl<S: LogSink + ?Sized> LogSink for Spared<'_, S> {
    fn group(&mut self, group: &Group<'_>) {
        self.group = Row::group(group);
        self.sink.group(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        let row = Row::log(&self.group, log);
        if !self.dooms(&row) {
            self.sink.log(log);
        }
    }
}

impl<S: SampleSink + ?Sized> SampleSink for Spared<'_, S> {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        self.gone.clear();
        // Walkers pass on only labels that they have checked.
        if labels.read(&mut pairs).is_ok() {
            let own = model::Labels::from_pairs(pairs);
            self.gone.extend(self.tombstones.iter().filter(|t| t.dooms(&own)).map(|t| t.millis()));
        }
        self.sink.series(labels);
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        if !self.is_gone(time_ms) {
            self.sink.sample(time_ms, value);
        }
    }

    fn delta(&mut self) {
        self.sink.delta();
    }

    fn start(&mut self, start_ms: i64) {
        self.sink.start(start_ms);
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        if !self.is_gone(time_ms) {
            self.sink.histogram(time_ms, histogram);
        }
    }

    fn exemplar(&mut self, exemplar: &wire::Exemplar<'_>) {
        if !self.gone.iter().any(|g| g.contains(&exemplar.time_ms)) {
            self.sink.exemplar(exemplar);
        }
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.sink.metadata(family, kind, help, unit);
    }
}

/// [`wire::walk_spans`] over a record, without what later deletions took of it.
///
/// # Errors
/// As there.
pub fn walk_spans<S: SpanSink + ?Sized>(
    record: &Record,
    deleted: &[Arc<Tombstone>],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    if deleted.is_empty() {
        return wire::walk_spans(record.encoding, &record.payload, limits, sink);
    }
    let mut spared = Spared::new(deleted, sink);
    let walked = wire::walk_spans(record.encoding, &record.payload, limits, &mut spared);
    spared.told(walked)
}

/// [`wire::walk_logs`], likewise.
///
/// # Errors
/// As there.
pub fn walk_logs<S: LogSink + ?Sized>(
    record: &Record,
    deleted: &[Arc<Tombstone>],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    walk_plain_logs(record, None, deleted, limits, sink)
}

/// The same, of a record whose body is there without its compression.
///
/// # Errors
/// As there.
pub(crate) fn walk_plain_logs<S: LogSink + ?Sized>(
    record: &Record,
    plain: Option<&wire::Plain>,
    deleted: &[Arc<Tombstone>],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    if deleted.is_empty() {
        return wire::walk_plain_logs(record.encoding, &record.payload, plain, limits, record.received, sink);
    }
    let mut spared = Spared::new(deleted, sink);
    let walked = wire::walk_plain_logs(record.encoding, &record.payload, plain, limits, record.received, &mut spared);
    spared.told(walked)
}

/// [`wire::walk_samples`], likewise.
///
/// # Errors
/// As there.
pub fn walk_samples<S: SampleSink + ?Sized>(
    record: &Record,
    deleted: &[Arc<Tombstone>],
    limits: &Limits,
    sink: &mut S,
) -> Result<Summary, WireError> {
    if deleted.is_empty() {
        return wire::walk_samples(record.encoding, &record.payload, limits, sink);
    }
    let mut spared = Spared::new(deleted, sink);
    let walked = wire::walk_samples(record.encoding, &record.payload, limits, &mut spared);
    spared.told(walked)
}

/// Rows of a record that these deletions took; 0 where it cannot be read.
#[must_use]
pub fn rows_taken(record: &Record, deleted: &[Arc<Tombstone>]) -> u64 {
    let limits = Limits { max_uncompressed: 1 << 30, max_labels: usize::MAX, ..Limits::default() };
    let walk = |deleted: &[Arc<Tombstone>]| match record.encoding.signal() {
        Signal::Traces => walk_spans(record, deleted, &limits, &mut wire::Discard),
        Signal::Logs => walk_logs(record, deleted, &limits, &mut wire::Discard),
        Signal::Metrics => walk_samples(record, deleted, &limits, &mut wire::Discard),
    };
    match (walk(&[]), walk(deleted)) {
        (Ok(all), Ok(left)) => all.accepted.saturating_sub(left.accepted),
        _ => 0,
    }
}
