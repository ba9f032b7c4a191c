//! Rows go out.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Labels, Tenant, TimeRange};
use wire::MetricKind;

use super::batch::batch;
use super::predicate::accepts;
use super::row::Row;
use super::{State, Tables};
use crate::{
    BatchStream, Distinct, LabelMatcher, Order, Predicate, Reader, Scan, SeriesSamples, SeriesStream, StoreError, Table,
    value_text,
};

/// Rows in a batch.
const BATCH: usize = 1024;

/// A snapshot of a [`super::Memory`].
#[derive(Debug, Clone)]
pub struct View {
    pub(super) state: Arc<State>,
}

impl View {
    fn tables(&self, tenant: &Tenant) -> Option<&Tables> {
        self.state.tenants.get(tenant)
    }

    /// The rows that a scan chooses, in the order they came.
    fn rows<'a>(&'a self, tenant: &Tenant, table: Table, range: TimeRange, predicate: &Predicate) -> Vec<&'a Row> {
        let Some(tables) = self.tables(tenant) else { return Vec::new() };
        let rows = match table {
            Table::Spans => &tables.spans,
            Table::Logs => &tables.logs,
        };
        rows.iter().filter(|row| range.contains(row.time()) && accepts(predicate, row)).collect()
    }

    /// The series that all matchers accept.
    fn matching<'a>(
        &'a self,
        tenant: &Tenant,
        matchers: &'a [LabelMatcher],
    ) -> impl Iterator<Item = (&'a Arc<Labels>, &'a std::collections::BTreeMap<i64, f64>)> {
        let series = self.tables(tenant).into_iter().flat_map(|t| &t.series);
        series.filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))))
    }
}

/// The samples in `first..=last`; none where `last` comes first.
fn between(samples: &std::collections::BTreeMap<i64, f64>, first: i64, last: i64) -> impl Iterator<Item = (i64, f64)> {
    let range = (first <= last).then(|| samples.range(first..=last));
    range.into_iter().flatten().map(|(t, v)| (*t, *v))
}

impl Reader for View {
    fn scan(&self, scan: &Scan) -> Result<BatchStream<'_>, StoreError> {
        let mut rows = self.rows(&scan.tenant, scan.table, scan.range, &scan.predicate);
        match scan.order {
            Order::Any => {}
            Order::OldestFirst => rows.sort_by_key(|r| r.time()),
            Order::NewestFirst => rows.sort_by_key(|r| std::cmp::Reverse(r.time())),
        }
        rows.truncate(scan.limit.unwrap_or(usize::MAX));
        let batches: Vec<_> = rows.chunks(BATCH).map(|chunk| batch(chunk, &scan.projection)).collect();
        Ok(Box::new(batches.into_iter()))
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
        let single = |text: String| vec![(String::new(), text)];
        let mut found = BTreeSet::new();
        for row in self.rows(tenant, table, range, predicate) {
            match what {
                Distinct::Keys(scope) => {
                    let keys = row.attributes.iter().filter(|(s, _, _)| scope.is_none_or(|scope| scope == *s));
                    found.extend(keys.map(|(_, key, _)| single(key.clone())));
                }
                Distinct::Values(column) => found.extend(row.value(column).map(|v| single(value_text(&v)))),
                Distinct::LabelSets => {
                    found.insert(row.labels());
                }
            }
        }
        Ok(found.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
    }

    fn series(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<Arc<Labels>>, StoreError> {
        let with_samples = self.matching(tenant, matchers).filter(|(_, s)| between(s, first_ms, last_ms).next().is_some());
        Ok(with_samples.map(|(labels, _)| labels.clone()).collect())
    }

    fn samples(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<SeriesStream<'_>, StoreError> {
        let series: Vec<_> = self
            .matching(tenant, matchers)
            .filter_map(|(labels, samples)| {
                let (times, values): (Vec<_>, Vec<_>) = between(samples, first_ms, last_ms).unzip();
                (!times.is_empty()).then(|| Ok(SeriesSamples { labels: labels.clone(), times, values }))
            })
            .collect();
        Ok(Box::new(series.into_iter()))
    }

    fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, MetricKind, String, String)> {
        let all = self.tables(tenant).into_iter().flat_map(|t| &t.metadata);
        all.filter(|(name, _)| family.is_none_or(|f| f == name.as_str()))
            .map(|(name, (kind, help, unit))| (name.clone(), *kind, help.clone(), unit.clone()))
            .collect()
    }

    fn partial(&self) -> Option<String> {
        None
    }
}
