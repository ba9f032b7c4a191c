//! The contract's plain model: rows as structs in vectors, found by looking at each of them.
//!
//! It is the reference that the property tests hold every engine against, and what the languages' own tests run on;
//! so it is written to be read. It keeps everything in memory, for ever, and is not meant to be fast.

mod batch;
mod ingest;
mod json;
mod predicate;
mod row;
mod view;

/// The row and what a predicate means on it, for those who decide row by row.
pub(crate) mod row_of {
    pub(crate) use super::predicate::accepts;
    pub(crate) use super::row::Row;
}

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Histogram, Labels, Tenant};
use parking_lot::RwLock;
use tokio::sync::broadcast;
use wire::{MetricKind, Signal, Summary};

use crate::{Appended, Deletion, Doomed, Exemplar, Reader, Request, Source, StoreError, Tombstone, Writer};
pub use ingest::Ingest;
use row::Row;
pub use view::View;

/// A store in memory; clones are handles of the same store.
#[derive(Debug, Clone)]
pub struct Memory {
    state: Arc<RwLock<Arc<State>>>,
    appended: broadcast::Sender<Request>,
}

/// What the store holds. A snapshot shares it; the next append copies it where a snapshot is still held.
#[derive(Debug, Clone, Default)]
struct State {
    tenants: BTreeMap<Tenant, Tables>,
    tombstones: Vec<Arc<Tombstone>>,
}

/// One tenant's rows.
#[derive(Debug, Clone, Default)]
struct Tables {
    spans: Vec<Row>,
    logs: Vec<Row>,
    series: BTreeMap<Arc<Labels>, Series>,
    /// Kind, help and unit by family.
    metadata: BTreeMap<String, (MetricKind, String, String)>,
    /// Trace and span ids of `spans`.
    span_ids: HashSet<([u8; 16], [u8; 8])>,
    /// Of `logs`.
    log_ids: HashSet<LogId>,
}

/// A series' points and exemplars by time in milliseconds.
#[derive(Debug, Clone, Default)]
struct Series {
    points: BTreeMap<i64, Point>,
    exemplars: BTreeMap<i64, Vec<Exemplar>>,
}

/// One sample.
#[derive(Debug, Clone)]
struct Point {
    /// Start timestamp, 0 for none.
    start: i64,
    value: PointValue,
}

#[derive(Debug, Clone)]
enum PointValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// Stream labels, time, body, and what the record carries (its attributes and ids): records equal in all of them are one.
type LogId = (Vec<(String, String)>, i64, String, Vec<(String, String)>);

impl Default for Memory {
    fn default() -> Self {
        let (appended, _) = broadcast::channel(1024);
        Self { state: Arc::default(), appended }
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything appended so far; later appends do not change it.
    #[must_use]
    pub fn view(&self) -> View {
        View { state: self.state.read().clone() }
    }

    /// A sink for `tenant`: what it is given is visible at once.
    #[must_use]
    pub fn ingest(&self, tenant: &Tenant) -> Ingest<'_> {
        Ingest::new(self, tenant)
    }

    /// What [`Writer::append`] does at the time `received` (nanoseconds since the Unix epoch): walks the request's rows
    /// into the tables.
    ///
    /// # Errors
    /// [`StoreError::Wire`] where the request cannot be read; nothing of it is kept.
    pub fn append_at(&self, request: &Request, received: i64) -> Result<Summary, StoreError> {
        let Request { tenant, encoding, payload } = request;
        let limits = wire::Limits::default();
        wire::check(*encoding, payload, &limits)?;
        let mut ingest = self.ingest(tenant);
        Ok(match encoding.signal() {
            Signal::Traces => wire::walk_spans(*encoding, payload, &limits, &mut ingest)?,
            Signal::Logs => wire::walk_logs(*encoding, payload, &limits, received, &mut ingest)?,
            Signal::Metrics => wire::walk_samples(*encoding, payload, &limits, &mut ingest)?,
        })
    }
}

impl Tables {
    fn delete(&mut self, tombstone: &Tombstone) {
        if let Some(doomed) = tombstone.rows() {
            let stays = |row: &Row| !predicate::accepts(&doomed, row);
            match tombstone.doomed {
                Doomed::Spans(_) => {
                    self.spans.retain(stays);
                    self.span_ids = self.spans.iter().filter_map(Row::span_id).collect();
                }
                Doomed::Lines(_) => {
                    self.logs.retain(stays);
                    self.log_ids = self.logs.iter().map(Row::log_id).collect();
                }
                Doomed::Series(_) => {}
            }
            return;
        }
        let gone = tombstone.millis();
        for (_, series) in self.series.iter_mut().filter(|(labels, _)| tombstone.dooms(labels)) {
            series.points.retain(|time, _| !gone.contains(time));
            series.exemplars.retain(|time, _| !gone.contains(time));
        }
    }
}

impl Writer for Memory {
    fn append(&self, request: Request) -> Appended<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        let result = self.append_at(&request, now);
        if result.is_ok() {
            // No receiver is no error.
            let _ = self.appended.send(request);
        }
        Box::pin(std::future::ready(result.map(Some)))
    }

    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        let Deletion { tenant, range, doomed, words, .. } = deletion;
        let mut state = self.state.write();
        let state = Arc::make_mut(&mut state);
        let sequence = state.tombstones.last().map_or(0, |t| t.sequence) + 1;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        let tombstone = Arc::new(Tombstone {
            sequence,
            tenant: tenant.as_str().to_owned(),
            start: range.start,
            end: range.end,
            doomed,
            words,
            created,
            cleaned: created,
            due: 0,
            request: 0,
        });
        if let Some(tables) = state.tenants.get_mut(&tenant) {
            tables.delete(&tombstone);
        }
        state.tombstones.push(Arc::clone(&tombstone));
        Ok(tombstone)
    }

    fn subscribe(&self) -> broadcast::Receiver<Request> {
        self.appended.subscribe()
    }
}

impl Source for Memory {
    fn snapshot(&self) -> Arc<dyn Reader> {
        Arc::new(self.view())
    }
}

#[cfg(test)]
mod tests;
