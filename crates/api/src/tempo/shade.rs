//! Keeps correlation's own spans out of searches, metrics and completion, unless their service is asked for by name.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Labels, Tenant, TimeRange};
use store::{
    Aggregation, BatchStream, Compared, Comparison, Counted, Distinct, LabelMatcher, Predicate, Reader, Scan, Selection,
    SeriesExemplars, SeriesStream, Source, StoreError, Table, Tombstone,
};

/// A snapshot for a question in which `texts` were written.
pub(crate) fn snapshot(source: &dyn Source, texts: &[Option<&str>]) -> Arc<dyn Reader> {
    let reader = source.snapshot();
    let asked = texts.iter().flatten().any(|text| text.contains(correlate::SERVICE));
    if asked { reader } else { Arc::new(Shaded(reader)) }
}

/// A snapshot without the spans of [`correlate::SERVICE`].
struct Shaded(Arc<dyn Reader>);

fn shaded(predicate: &Predicate) -> Predicate {
    predicate.clone().and(Predicate::Not(Box::new(correlate::find::own_rows())))
}

impl Reader for Shaded {
    fn scan(&self, scan: &Scan) -> Result<BatchStream<'_>, StoreError> {
        match scan.table {
            Table::Spans => self.0.scan(&Scan { predicate: shaded(&scan.predicate), ..scan.clone() }),
            Table::Logs => self.0.scan(scan),
        }
    }

    fn aggregate(&self, aggregation: &Aggregation) -> Result<Vec<Counted>, StoreError> {
        match aggregation.table {
            Table::Spans => self.0.aggregate(&Aggregation { predicate: shaded(&aggregation.predicate), ..aggregation.clone() }),
            Table::Logs => self.0.aggregate(aggregation),
        }
    }

    fn compare(&self, comparison: &Comparison, cancelled: &AtomicBool) -> Result<Compared, StoreError> {
        match comparison.table {
            Table::Spans => {
                self.0.compare(&Comparison { predicate: shaded(&comparison.predicate), ..comparison.clone() }, cancelled)
            }
            Table::Logs => self.0.compare(comparison, cancelled),
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
        let own = match table {
            Table::Spans => shaded(predicate),
            Table::Logs => predicate.clone(),
        };
        self.0.distinct(tenant, table, range, &own, what, limit)
    }

    fn series(&self, tenant: &Tenant, matchers: &[LabelMatcher], first: i64, last: i64) -> Result<Vec<Arc<Labels>>, StoreError> {
        self.0.series(tenant, matchers, first, last)
    }

    fn select(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
    ) -> Result<Box<dyn Selection + '_>, StoreError> {
        self.0.select(tenant, matchers, first, last)
    }

    fn samples(&self, tenant: &Tenant, matchers: &[LabelMatcher], first: i64, last: i64) -> Result<SeriesStream<'_>, StoreError> {
        self.0.samples(tenant, matchers, first, last)
    }

    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first: i64,
        last: i64,
    ) -> Result<Vec<SeriesExemplars>, StoreError> {
        self.0.exemplars(tenant, matchers, first, last)
    }

    fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, wire::MetricKind, String, String)> {
        self.0.metadata(tenant, family)
    }

    fn tombstones(&self, tenant: &Tenant) -> Vec<Arc<Tombstone>> {
        self.0.tombstones(tenant)
    }

    fn partial(&self) -> Option<String> {
        self.0.partial()
    }
}
