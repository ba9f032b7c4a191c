//! A snapshot of a head, and what can be asked of it together with the manifest's segments.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Tenant, TimeRange};

use super::aggregate;
use super::compare;
use super::distinct;
use super::footers::Footers;
use super::head::{Part, Parts};
use super::rows::Rows;
use super::scan::{self, Own, Unit};
use crate::contract::{Aggregation, BatchStream, Compared, Comparison, Counted, Distinct, Order, Predicate, Scan, Table};
use crate::{SegmentMeta, Segments, StoreError, Tombstone, Tombstones};

/// What a table's head held at one moment. The segments come from the manifest of the same moment: the caller takes
/// both under its snapshot lock, so that no row is seen twice or not at all.
#[derive(Clone)]
pub struct View {
    table: Table,
    parts: Parts,
    footers: Arc<Footers>,
    tombstones: Tombstones,
}

impl View {
    pub(crate) fn new(table: Table, parts: Parts, footers: Arc<Footers>) -> Self {
        Self { table, parts, footers, tombstones: Tombstones::default() }
    }

    /// The same, with these deletions left out of the segments.
    #[must_use]
    pub fn without(mut self, tombstones: Tombstones) -> Self {
        self.tombstones = tombstones;
        self
    }

    /// Rows of the head and of `segments` (those of other tenants and signals are passed over). A damaged segment is
    /// quarantined and the scan goes on without it.
    ///
    /// # Errors
    /// IO; also inside the stream.
    pub fn scan<'a, S: Borrow<SegmentMeta>>(
        &'a self,
        scan: &Scan,
        segments: &'a [S],
        files: &'a dyn Segments,
    ) -> Result<BatchStream<'a>, StoreError> {
        let inputs = self.inputs(&scan.tenant, scan.range, segments, files);
        Ok(match scan.order {
            Order::Any | Order::AnyTwice => Box::new(scan::AnyOrder::new(inputs, scan)),
            Order::OldestFirst | Order::NewestFirst => Box::new(super::ordered::Ordered::new(inputs, scan)),
        })
    }

    /// Counts rows of the head and of `segments`: see [`crate::Reader::aggregate`].
    ///
    /// # Errors
    /// IO; too many counts.
    pub fn aggregate<S: Borrow<SegmentMeta>>(
        &self,
        aggregation: &Aggregation,
        segments: &[S],
        files: &dyn Segments,
    ) -> Result<Vec<Counted>, StoreError> {
        aggregate::aggregate(self.inputs(&aggregation.tenant, aggregation.range, segments, files), aggregation)
    }

    /// Compares rows of the head and of `segments`: see [`crate::Reader::compare`].
    ///
    /// # Errors
    /// IO; that it was cancelled.
    pub fn compare<S: Borrow<SegmentMeta>>(
        &self,
        comparison: &Comparison,
        cancelled: &AtomicBool,
        segments: &[S],
        files: &dyn Segments,
    ) -> Result<Compared, StoreError> {
        compare::compare(self.inputs(&comparison.tenant, comparison.range, segments, files), comparison, cancelled)
    }

    /// Distinct values among the rows of the head and of `segments`: see [`crate::Reader::distinct`].
    ///
    /// # Errors
    /// IO.
    #[allow(clippy::too_many_arguments)]
    pub fn distinct<S: Borrow<SegmentMeta>>(
        &self,
        tenant: &Tenant,
        range: TimeRange,
        predicate: &Predicate,
        what: &Distinct,
        limit: Option<usize>,
        segments: &[S],
        files: &dyn Segments,
    ) -> Result<Vec<Vec<(String, String)>>, StoreError> {
        distinct::distinct(self.inputs(tenant, range, segments, files), range, predicate, what, limit)
    }

    fn inputs<'a, S: Borrow<SegmentMeta>>(
        &'a self,
        tenant: &Tenant,
        range: TimeRange,
        segments: &'a [S],
        files: &'a dyn Segments,
    ) -> Inputs<'a> {
        let rows = self.parts.of(tenant).filter_map(|part| match part {
            Part::Sealed(rows) => Some(rows.clone()),
            Part::Open(open, len) => open.rows(*len, range),
        });
        let signal = super::flush::signal(self.table).as_str();
        let own = |s: &&SegmentMeta| s.signal == signal && s.may_hold(tenant) && range.overlaps(s.first, s.last);
        Inputs {
            table: self.table,
            tenant: tenant.clone(),
            rows: rows.filter(|r| range.overlaps(r.first, r.last)).collect(),
            segments: segments.iter().map(Borrow::borrow).filter(own).collect(),
            footers: &self.footers,
            files,
            tombstones: &self.tombstones,
        }
    }
}

/// What holds for the rows that none of these deletions takes; `None` for all rows.
pub(crate) fn spared(tombstones: &[Arc<Tombstone>]) -> Option<Predicate> {
    let doomed: Vec<Predicate> = tombstones.iter().filter_map(|t| t.rows()).collect();
    (!doomed.is_empty()).then(|| Predicate::Not(Box::new(Predicate::Or(doomed))))
}

/// What a scan reads from: one tenant's rows that may lie in the range.
pub(crate) struct Inputs<'a> {
    pub(crate) table: Table,
    pub(crate) tenant: Tenant,
    pub(crate) rows: Vec<Arc<Rows>>,
    pub(crate) segments: Vec<&'a SegmentMeta>,
    pub(crate) footers: &'a Footers,
    pub(crate) files: &'a dyn Segments,
    pub(crate) tombstones: &'a Tombstones,
}

impl Inputs<'_> {
    /// The parts in which rows of a predicate may lie. Segments that cannot be opened are out of service then.
    ///
    /// # Errors
    /// IO.
    pub(crate) fn units(&mut self, range: TimeRange, predicate: &Predicate) -> Result<Vec<Unit>, StoreError> {
        let mut units: Vec<Unit> = std::mem::take(&mut self.rows).into_iter().map(Unit::Head).collect();
        for meta in self.segments.clone() {
            match self.groups(meta) {
                Ok(groups) => units.extend(groups),
                Err(e) => self.survive(meta, e)?,
            }
        }
        units.retain(|unit| unit.may_match(self.table, range, predicate));
        Ok(units)
    }

    /// The row groups of a segment in which the tenant has rows.
    ///
    /// # Errors
    /// IO and damage.
    pub(crate) fn groups(&self, meta: &SegmentMeta) -> Result<Vec<Unit>, StoreError> {
        let segment = self.footers.open(self.files, meta)?;
        let tenant = self.tenant.as_str();
        let spared = spared(&self.tombstones.of_tenant(meta, tenant)).map(Arc::new);
        let unit = |group: usize| {
            // Also where a group is all the tenant's: what the footer says of the whole segment is not for it alone.
            let rows = meta.is_shared().then(|| segment.footer.own_rows(group, tenant));
            if rows.as_ref().is_some_and(|rows| rows.is_empty()) {
                return None;
            }
            let spared = spared.clone();
            let own = (rows.is_some() || spared.is_some()).then(|| Arc::new(Own { rows, spared }));
            Some(Unit::Group(segment.clone(), group, own))
        };
        Ok((0..segment.footer.groups()).filter_map(unit).collect())
    }

    /// Takes a damaged segment out of service; another error is handed back.
    ///
    /// # Errors
    /// `error`, unless it says that the segment is damaged.
    pub(crate) fn survive(&self, segment: &SegmentMeta, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Corrupt { reason, .. } => {
                self.files.quarantine(segment, &reason);
                Ok(())
            }
            other => Err(other),
        }
    }
}
