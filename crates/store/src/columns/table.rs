//! The tables of logs and spans as the engine knows them.

use std::sync::Arc;

use model::{Group, Span};
use wire::{Encoding, Limits, Signal, SpanKeeper, SpanSink, Summary};

use super::cache::ColumnCache;
use super::flush::{flush, shares, signal};
use super::head::{Filler, Head, PartitionRows};
use super::merge::merge;
use super::read::Footers;
use super::view::View;
use crate::contract::Table;
use crate::recent::Recent;
use crate::{Frozen, Options, Record, SegmentMeta, Segments, SignalTable, StoreError, Tombstone, deletes};

/// What both tables share.
struct ColumnTable {
    table: Table,
    head: Arc<Head>,
    footers: Arc<Footers>,
    segments: Arc<dyn Segments>,
    limits: Limits,
    share_below: usize,
    recent: Option<Arc<Recent>>,
}

impl ColumnTable {
    fn new(table: Table, segments: Arc<dyn Segments>, limits: Limits, cache: Arc<ColumnCache>, share_below: usize) -> Self {
        Self {
            table,
            head: Arc::new(Head::new(table)),
            footers: Arc::new(Footers::new(cache)),
            segments,
            limits,
            share_below,
            recent: (table == Table::Spans).then(Arc::default),
        }
    }

    fn view(&self) -> View {
        View::new(self.table, self.head.parts(), self.footers.clone())
    }

    fn apply(&self, record: &Record, deleted: &[Arc<Tombstone>]) -> Result<Summary, StoreError> {
        let limits = &self.limits;
        if deleted.is_empty()
            && let Some((recent, wanted)) = self.recent.as_ref().and_then(|recent| Some((recent, recent.wanted()?)))
        {
            let mut keeper = SpanKeeper::new(|key: &[u8]| wanted.has(key));
            let walk = |sink: &mut Filler<'_>| deletes::walk_spans(record, deleted, limits, &mut Beside(sink, &mut keeper));
            let summary = self.head.fill(&record.tenant, walk)?;
            if let Some(spans) = keeper.finish() {
                recent.keep(record, &wanted, spans);
            }
            return Ok(summary);
        }
        Ok(self.head.fill(&record.tenant, |sink| match self.table {
            Table::Spans => deletes::walk_spans(record, deleted, limits, sink),
            Table::Logs => deletes::walk_logs(record, deleted, limits, sink),
        })?)
    }

    fn freeze(&self) -> Option<Box<dyn Frozen>> {
        let rows = self.head.freeze()?;
        let (table, head, segments) = (self.table, self.head.clone(), self.segments.clone());
        Some(Box::new(FrozenHead { table, head, rows, segments, share_below: self.share_below }))
    }
}

/// Fills the columns, and lets a keeper look on.
struct Beside<'s, A, B>(&'s mut A, &'s mut B);

impl<A: SpanSink, B: SpanSink> SpanSink for Beside<'_, A, B> {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
        self.1.group(group);
    }

    #[inline]
    fn size(&mut self, bytes: usize) {
        self.1.size(bytes);
    }

    #[inline]
    fn span(&mut self, span: &Span<'_>) {
        self.0.span(span);
        self.1.span(span);
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
                Self::with(segments, Limits::default(), Arc::new(ColumnCache::new(32 << 20)), Options::SHARE_BELOW)
            }

            /// The same, for requests that are read within `limits`, with a cache to share, and segments that tenants share who
            /// have less than so many bytes.
            pub(crate) fn with(segments: Arc<dyn Segments>, limits: Limits, cache: Arc<ColumnCache>, share_below: usize) -> Self {
                Self(ColumnTable::new($table, segments, limits, cache, share_below))
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
                self.0.apply(record, deleted)
            }

            fn recent(&self) -> Option<&Arc<Recent>> {
                self.0.recent.as_ref()
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
