//! Rows go out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use model::{Labels, Tenant, TimeRange};
use wire::MetricKind;

use super::batch::batch;
use super::predicate::accepts;
use super::row::Row;
use super::{PointValue, Series, State, Tables};
use crate::{
    Aggregation, BatchStream, Counted, Distinct, EachSeries, HistogramSample, LabelMatcher, Order, Predicate, Reader, Scan,
    Selection, SeriesExemplars, SeriesSamples, StoreError, Table, Tombstone, value_text,
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
    ) -> impl Iterator<Item = (&'a Arc<Labels>, &'a Series)> {
        let series = self.tables(tenant).into_iter().flat_map(|t| &t.series);
        series.filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))))
    }
}

/// What stands in `first..=last`; nothing where `last` comes first.
fn between<T>(by_time: &BTreeMap<i64, T>, first: i64, last: i64) -> impl Iterator<Item = (i64, &T)> {
    let range = (first <= last).then(|| by_time.range(first..=last));
    range.into_iter().flatten().map(|(t, v)| (*t, v))
}

/// The points of a series in `first..=last`.
fn samples(labels: &Arc<Labels>, series: &Series, first: i64, last: i64) -> SeriesSamples {
    let mut out = SeriesSamples { labels: labels.clone(), ..SeriesSamples::default() };
    for (time, point) in between(&series.points, first, last) {
        match &point.value {
            PointValue::Float(value) => {
                out.times.push(time);
                out.values.push(*value);
                out.starts.push(point.start);
            }
            PointValue::Histogram(histogram) => {
                out.histograms.push(HistogramSample { time, start: point.start, histogram: histogram.clone() });
            }
        }
    }
    if out.starts.iter().all(|start| *start == 0) {
        out.starts = Vec::new();
    }
    out
}

/// Series that matchers chose.
struct Chosen {
    labels: Vec<Arc<Labels>>,
    series: Vec<SeriesSamples>,
}

impl Selection for Chosen {
    fn labels(&self) -> &[Arc<Labels>] {
        &self.labels
    }

    fn samples(&self) -> u64 {
        self.series.iter().map(|s| (s.times.len() + s.histograms.len()) as u64).sum()
    }

    fn runs(&self) -> u64 {
        self.series.len() as u64
    }

    fn read(&self, which: Range<usize>, each: &mut EachSeries<'_>) -> Result<(), StoreError> {
        for (at, series) in self.series.iter().enumerate().take(which.end).skip(which.start) {
            if each(at, &mut series.clone()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Reader for View {
    fn scan(&self, scan: &Scan) -> Result<BatchStream<'_>, StoreError> {
        let mut rows = self.rows(&scan.tenant, scan.table, scan.range, &scan.predicate);
        match scan.order {
            Order::Any | Order::AnyTwice => {}
            Order::OldestFirst => rows.sort_by_key(|r| r.time()),
            Order::NewestFirst => rows.sort_by_key(|r| std::cmp::Reverse(r.time())),
        }
        rows.truncate(scan.limit.unwrap_or(usize::MAX));
        let batches: Vec<_> = rows.chunks(BATCH).map(|chunk| batch(chunk, &scan.projection)).collect();
        Ok(Box::new(batches.into_iter()))
    }

    fn aggregate(&self, aggregation: &Aggregation) -> Result<Vec<Counted>, StoreError> {
        let stretches = aggregation.stretches();
        let mut found: Vec<Counted> = Vec::new();
        for row in self.rows(&aggregation.tenant, aggregation.table, aggregation.range, &aggregation.predicate) {
            let key: Vec<_> = aggregation.by.iter().map(|c| row.value(c).map(|v| v.to_owned_value())).collect();
            // Values are one where they print alike: NaN is NaN.
            let at = found.iter().position(|c| format!("{:?}", c.key) == format!("{key:?}")).unwrap_or_else(|| {
                found.push(Counted { key, counts: vec![0; stretches] });
                found.len() - 1
            });
            found[at].counts[aggregation.stretch(row.time())] += 1;
        }
        Ok(found)
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
        let with_samples =
            self.matching(tenant, matchers).filter(|(_, s)| between(&s.points, first_ms, last_ms).next().is_some());
        Ok(with_samples.map(|(labels, _)| labels.clone()).collect())
    }

    fn select(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Box<dyn Selection + '_>, StoreError> {
        let series = self.matching(tenant, matchers).map(|(labels, series)| samples(labels, series, first_ms, last_ms));
        let series: Vec<SeriesSamples> = series.filter(|s| !s.times.is_empty() || !s.histograms.is_empty()).collect();
        Ok(Box::new(Chosen { labels: series.iter().map(|s| s.labels.clone()).collect(), series }))
    }

    fn exemplars(
        &self,
        tenant: &Tenant,
        matchers: &[LabelMatcher],
        first_ms: i64,
        last_ms: i64,
    ) -> Result<Vec<SeriesExemplars>, StoreError> {
        let all = self.matching(tenant, matchers).map(|(labels, series)| SeriesExemplars {
            labels: labels.clone(),
            exemplars: between(&series.exemplars, first_ms, last_ms).flat_map(|(_, at)| at.iter().cloned()).collect(),
        });
        Ok(all.filter(|s| !s.exemplars.is_empty()).collect())
    }

    fn metadata(&self, tenant: &Tenant, family: Option<&str>) -> Vec<(String, MetricKind, String, String)> {
        let all = self.tables(tenant).into_iter().flat_map(|t| &t.metadata);
        all.filter(|(name, _)| family.is_none_or(|f| f == name.as_str()))
            .map(|(name, (kind, help, unit))| (name.clone(), *kind, help.clone(), unit.clone()))
            .collect()
    }

    fn tombstones(&self, tenant: &Tenant) -> Vec<Arc<Tombstone>> {
        self.state.tombstones.iter().filter(|t| t.tenant == tenant.as_str()).cloned().collect()
    }

    fn partial(&self) -> Option<String> {
        None
    }
}
