//! The tables of logs and spans as the engine knows them.

use std::sync::Arc;

use model::{Group, Log};
use parking_lot::Mutex;
use wire::{Encoding, Limits, LogSink, Plain, Signal, Summary};

use super::cache::ColumnCache;
use super::flush::{flush, shares, signal};
use super::footers::Footers;
use super::head::{Filler, Head, PartitionRows};
use super::keep::{Keeping, KnownResources};
use super::merge::merge;
use super::view::View;
use crate::contract::Table;
use crate::recent::{RecentLines, RecentSpans, Spares};
use crate::{Frozen, Options, Record, SegmentMeta, Segments, SignalTable, StoreError, Tombstone, deletes};

/// What both tables share.
struct ColumnTable {
    table: Table,
    head: Arc<Head>,
    footers: Arc<Footers>,
    segments: Arc<dyn Segments>,
    limits: Limits,
    share_below: usize,
    /// What is kept of what was applied; one of them stays empty.
    spans: Arc<RecentSpans>,
    lines: Arc<RecentLines>,
    /// The resources of the spans that were kept, and memory for those that will be.
    resources: Mutex<KnownResources>,
    spares: Arc<Spares>,
}

impl ColumnTable {
    fn new(
        table: Table,
        segments: Arc<dyn Segments>,
        limits: Limits,
        cache: Arc<ColumnCache>,
        share_below: usize,
        apart: Vec<String>,
    ) -> Self {
        Self {
            table,
            head: Arc::new(Head::new(table, apart)),
            footers: Arc::new(Footers::new(cache)),
            segments,
            limits,
            share_below,
            spans: Arc::default(),
            lines: Arc::default(),
            resources: Mutex::default(),
            spares: Arc::default(),
        }
    }

    fn view(&self) -> View {
        View::new(self.table, self.head.parts(), self.footers.clone())
    }

    fn apply(&self, record: &Record, plain: Option<&Plain>, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
        let limits = &self.limits;
        if deleted.is_empty() {
            let summary = match self.table {
                Table::Spans => self.apply_kept_spans(record)?,
                Table::Logs => self.apply_kept_lines(record, plain)?,
            };
            if let Some(summary) = summary {
                return Ok(summary);
            }
        }
        Ok(self.head.fill(&record.tenant, |sink| match self.table {
            Table::Spans => deletes::walk_spans(record, deleted, limits, sink),
            Table::Logs => deletes::walk_plain_logs(record, plain, deleted, limits, sink),
        })?)
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        let rows = self.head.freeze()?;
        let (table, head, segments) = (self.table, self.head.clone(), self.segments.clone());
        Some(Box::new(FrozenHead { table, head, rows, segments, share_below: self.share_below }))
    }
}

impl ColumnTable {
    /// Applies spans and keeps of them what readers of the log want; `None` where there are no such readers.
    fn apply_kept_spans(&self, record: &Record) -> Result<Option<Summary>, StoreError> {
        let Some(wishes) = self.spans.wishes() else { return Ok(None) };
        let mut spans = Spares::lend(&self.spares);
        let mut resources = self.resources.lock();
        let keeping = Keeping::new(&wishes, &mut resources, spans.spans_mut());
        let walk = |sink: &mut Filler<'_>| deletes::walk_spans(record, &[], &self.limits, sink);
        let summary = self.head.fill_and_keep(&record.tenant, Some(keeping), walk)?;
        if spans.is_whole() {
            let memory = spans.memory();
            self.spans.keep(record, &wishes, Arc::new(spans), memory);
        }
        Ok(Some(summary))
    }

    /// The same with lines.
    fn apply_kept_lines(&self, record: &Record, plain: Option<&Plain>) -> Result<Option<Summary>, StoreError> {
        let Some(wishes) = self.lines.wishes() else { return Ok(None) };
        let Some(keep) = wishes.all.first() else { return Ok(None) };
        let mut keeper = keep();
        let walk =
            |sink: &mut Filler<'_>| deletes::walk_plain_logs(record, plain, &[], &self.limits, &mut Beside(sink, &mut *keeper));
        let summary = self.head.fill(&record.tenant, walk)?;
        if let Some((lines, memory)) = keeper.finish() {
            self.lines.keep(record, &wishes, lines, memory);
        }
        Ok(Some(summary))
    }
}

/// Fills the columns, and lets a keeper look on.
struct Beside<'s, A, B: ?Sized>(&'s mut A, &'s mut B);

impl<A: LogSink, B: LogSink + ?Sized> LogSink for Beside<'_, A, B> {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
        self.1.group(group);
    }

    #[inline]
    fn log(&mut self, log: &Log<'_>) {
        self.0.log(log);
        self.1.log(log);
    }
}

/// A detached head.
struct FrozenHead {
    table: Table,
    head: Arc<Head>,
    rows: Arc<Vec<PartitionRows>>,
    segments: Arc<dyn Segments>,
    share_below: usize,
}

impl Frozen for FrozenHead {
    fn write(&self) -> Result<Vec<SegmentMeta>, StoreError> {
        shares(&self.rows, self.share_below).iter().map(|share| flush(self.table, share, &*self.segments)).collect()
    }

    fn forget(self: Box<Self>) {
        self.head.forget(&self.rows);
    }
}

macro_rules! table {
    ($name:ident, $table:expr, $what:literal) => {
        #[doc = $what]
        pub struct $name(ColumnTable);

        impl $name {
            /// An empty table whose segments go to `segments`.
            #[must_use]
            pub fn new(segments: Arc<dyn Segments>) -> Self {
                Self::with(segments, Limits::default(), Arc::new(ColumnCache::new(32 << 20)), Options::SHARE_BELOW, Vec::new())
            }

            /// The same, for requests that are read within `limits`, with a cache to share, segments that tenants share who
            /// have less than so many bytes, and services whose rows are kept apart.
            pub(crate) fn with(
                segments: Arc<dyn Segments>,
                limits: Limits,
                cache: Arc<ColumnCache>,
                share_below: usize,
                apart: Vec<String>,
            ) -> Self {
                Self(ColumnTable::new($table, segments, limits, cache, share_below, apart))
            }

            /// What the head holds now; the manifest's segments are given to each of the view's calls.
            #[must_use]
            pub fn view(&self) -> View {
                self.0.view()
            }

            /// The head, for tests that fill it without a walker.
            #[cfg(test)]
            pub(crate) fn head(&self) -> &Head {
                &self.0.head
            }

            /// Whether the table takes requests of this encoding.
            #[must_use]
            pub fn takes(encoding: Encoding) -> bool {
                let own: Signal = signal($table);
                encoding.signal() == own
            }
        }

        impl SignalTable for $name {
            fn apply_without(&self, record: &Record, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
                self.0.apply(record, None, deleted)
            }

            fn apply_plain(
                &self,
                record: &Record,
                plain: Option<&Plain>,
                deleted: &[Arc<Tombstone>],
            ) -> Result<Summary, StoreError> {
                self.0.apply(record, plain, deleted)
            }

            fn recent(&self) -> Option<(&Arc<RecentSpans>, &Arc<RecentLines>)> {
                Some((&self.0.spans, &self.0.lines))
            }

            fn delete(&self, tombstone: &Arc<Tombstone>) -> Result<(), StoreError> {
                self.0.head.delete(tombstone)
            }

            fn memory(&self) -> usize {
                self.0.head.memory() + self.0.footers.memory()
            }

            fn freeze(&self) -> Option<Box<dyn Frozen>> {
                self.0.freeze()
            }

            fn compact(&self, inputs: &[SegmentMeta]) -> Result<Vec<SegmentMeta>, StoreError> {
                merge($table, inputs, &*self.0.segments)
            }
        }
    };
}

table!(SpanTable, Table::Spans, "Spans: one row a span, in segments ordered by trace id and start.");
table!(LogTable, Table::Logs, "Log records: one row a line, in segments ordered by service, stream and time.");
