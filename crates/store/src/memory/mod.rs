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

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Histogram, Labels, Tenant};
use parking_lot::RwLock;
use tokio::sync::broadcast;
use wire::{MetricKind, Signal, Summary};

use crate::{Appended, Exemplar, Reader, Request, Source, StoreError, Writer};
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

/// Stream labels, time and body: records equal in all three are one.
type LogId = (Vec<(String, String)>, i64, String);

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
