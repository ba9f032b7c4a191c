//! Rows come in.

use std::sync::Arc;

use model::{Group, Histogram, Labels, Log, Span, Tenant};
use parking_lot::RwLockWriteGuard;
use wire::{LogSink, MetricKind, RawLabels, SampleSink, SpanSink};

use super::row::Row;
use super::{Memory, Point, PointValue, State, Tables};
use crate::Exemplar;
use crate::series::{Amount, Total};

/// Takes rows for one tenant; holds the store's lock, so readers see all or nothing of what it was given. Rows that the
/// table has already (by its identity) are dropped, the first one stays: spans by trace and span id, log records by
/// labels, time, body, attributes and ids, samples by series and time.
#[derive(Debug)]
pub struct Ingest<'m> {
    state: RwLockWriteGuard<'m, Arc<State>>,
    tenant: Tenant,
    /// What the group gives to each of its rows.
    group: Row,
    series: Arc<Labels>,
    /// Start timestamp of the points that follow.
    start: i64,
    /// Points that follow are deltas.
    delta: bool,
}

impl<'m> Ingest<'m> {
    pub(super) fn new(store: &'m Memory, tenant: &Tenant) -> Self {
        Self {
            state: store.state.write(),
            tenant: tenant.clone(),
            group: Row::default(),
            series: Arc::default(),
            start: 0,
            delta: false,
        }
    }

    /// Adds a point to the current series; the first one of a time stays.
    fn point(&mut self, time_ms: i64, value: PointValue) {
        let (series, start) = (self.series.clone(), self.start);
        self.tables().series.entry(series).or_default().points.entry(time_ms).or_insert(Point { start, value });
    }

    /// Adds a delta to the last point of the current series; one that does not come after it is dropped.
    fn add(&mut self, time: i64, amount: Amount) {
        let series = self.series.clone();
        let points = &self.tables().series.entry(series).or_default().points;
        let mut total = match points.last_key_value() {
            Some((last, _)) if time <= *last => return,
            Some((last, point)) => Total {
                time: *last,
                start: point.start,
                amount: match &point.value {
                    PointValue::Float(value) => Amount::Float(*value),
                    PointValue::Histogram(histogram) => Amount::Histogram(histogram.clone()),
                },
            },
            None => {
                let first = match amount {
                    Amount::Float(value) => PointValue::Float(value),
                    Amount::Histogram(histogram) => PointValue::Histogram(histogram),
                };
                return self.point(time, first);
            }
        };
        total.add(time, self.start, amount);
        let start = std::mem::replace(&mut self.start, total.start);
        match total.amount {
            Amount::Float(value) => self.point(time, PointValue::Float(value)),
            Amount::Histogram(histogram) => self.point(time, PointValue::Histogram(histogram)),
        }
        self.start = start;
    }

    fn tables(&mut self) -> &mut Tables {
        Arc::make_mut(&mut self.state).tenants.entry(self.tenant.clone()).or_default()
    }
}

impl SpanSink for Ingest<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.group = Row::group(group);
    }

    fn span(&mut self, span: &Span<'_>) {
        let row = Row::span(&self.group, span);
        let tables = self.tables();
        if tables.span_ids.insert((span.trace_id.0, span.span_id.0)) {
            tables.spans.push(row);
        }
    }
}

impl LogSink for Ingest<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.group = Row::group(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        let row = Row::log(&self.group, log);
        let tables = self.tables();
        if tables.log_ids.insert(row.log_id()) {
            tables.logs.push(row);
        }
    }
}

impl SampleSink for Ingest<'_> {
    fn series(&mut self, labels: RawLabels<'_>) {
        (self.start, self.delta) = (0, false);
        let mut pairs = Vec::new();
        // Walkers pass on only labels that they have checked.
        if labels.read(&mut pairs).is_ok() {
            self.series = Arc::new(Labels::from_pairs(pairs));
        }
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        if self.delta {
            return self.add(time_ms, Amount::Float(value));
        }
        self.point(time_ms, PointValue::Float(value));
    }

    fn delta(&mut self) {
        self.delta = true;
    }

    fn start(&mut self, start_ms: i64) {
        self.start = start_ms;
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        let histogram = Arc::new(histogram.clone());
        if self.delta {
            return self.add(time_ms, Amount::Histogram(histogram));
        }
        self.point(time_ms, PointValue::Histogram(histogram));
    }

    fn exemplar(&mut self, exemplar: &wire::Exemplar<'_>) {
        let kept = Exemplar {
            labels: Labels::from_pairs(exemplar.labels.iter().copied()),
            time: exemplar.time_ms,
            value: exemplar.value,
        };
        let series = self.series.clone();
        let at = self.tables().series.entry(series).or_default().exemplars.entry(exemplar.time_ms).or_default();
        if !at.contains(&kept) {
            at.push(kept);
        }
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.tables().metadata.insert(family.to_owned(), (kind, help.to_owned(), unit.to_owned()));
    }
}
