//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use store::Source;
use tokio::sync::Semaphore;

use crate::{QueryMetrics, Targets};

/// Bounds of queries. The defaults are those of the originals.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long a query may take, waiting for its turn included.
    pub timeout: Duration,
    /// How many queries run at a time; more wait.
    pub concurrency: usize,
    /// How far back PromQL looks for a sample, milliseconds.
    pub lookback_ms: i64,
    /// How many samples a PromQL query may load.
    pub max_samples: usize,
    /// How many log lines a LogQL metric query may read.
    pub max_lines: usize,
    /// How many log lines an answer may hold.
    pub max_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            concurrency: 8,
            lookback_ms: 300_000,
            max_samples: 50_000_000,
            max_lines: 20_000_000,
            max_entries: 5000,
        }
    }
}

/// The query APIs of one store.
pub struct Api {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) targets: Arc<dyn Targets>,
    pub(crate) settings: Settings,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) metrics: QueryMetrics,
    ready: AtomicBool,
}

impl Api {
    /// The APIs over `source`; not ready yet.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, targets: Arc<dyn Targets>, settings: Settings) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        Self { source, targets, settings, permits, metrics: QueryMetrics::default(), ready: AtomicBool::new(false) }
    }

    /// What `/ready` answers from now on.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// What `/ready` answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Counts of queries and answers, for `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> &QueryMetrics {
        &self.metrics
    }
}
