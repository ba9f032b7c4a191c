//! What the handlers share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use correlate::Correlator;
use model::Tenant;
use store::{Source, Writer};
use tokio::sync::Semaphore;

use crate::loki::rules::Rules;
use crate::loki::tail::Tails;
use crate::queues::Queues;
use crate::{About, Admin, CorsOrigin, Dashboards, QueryMetrics, Targets, TenantQueries};

/// Bounds of queries. The defaults are those of the originals.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long a query may take, waiting for its turn included.
    pub timeout: Duration,
    /// How many queries run at a time; more wait.
    pub concurrency: usize,
    /// How far back PromQL looks for a sample, milliseconds.
    pub lookback_ms: i64,
    /// How many samples a PromQL query may hold at once.
    pub max_samples: usize,
    /// How many series a selector of a PromQL query may choose.
    pub max_series: usize,
    /// Bytes that a PromQL query may take, its answer included.
    pub max_query_memory: usize,
    /// Threads that compute one PromQL query together, when no other query runs.
    pub threads: usize,
    /// What other systems know this one by, sorted by name: what is read remotely or federated carries these labels.
    pub external_labels: Vec<(String, String)>,
    /// Which web pages of other origins may ask Prometheus' API.
    pub cors_origin: CorsOrigin,
    /// How many log lines a LogQL metric query may read.
    pub max_lines: usize,
    /// How many log lines an answer may hold.
    pub max_entries: usize,
    /// How many spans of one trace an answer may hold; a longer trace is cut, and the answer says so.
    pub max_trace_spans: usize,
    /// Whether log lines get a `detected_level` (Loki's `discover_log_levels`).
    pub discover_levels: bool,
    /// How long a deletion of lines waits before it takes effect, and can be cancelled (Loki's `delete_request_cancel_period`).
    pub delete_cancel_period: Duration,
    /// How many clients may tail logs at a time.
    pub max_tails: usize,
    /// How long log lines are kept: what clients are told.
    pub log_retention: Duration,
    /// Whether what changes data for good may be asked of Prometheus' paths and Braid's own.
    pub admin: bool,
    /// What tenants may ask that are not named below.
    pub tenant: TenantQueries,
    /// What these tenants may ask.
    pub tenants: HashMap<String, TenantQueries>,
    /// Queries that take longer are logged; none where it is zero.
    pub slow: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            concurrency: 8,
            lookback_ms: 300_000,
            max_samples: 50_000_000,
            max_series: 500_000,
            max_query_memory: 128 << 20,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8),
            external_labels: Vec::new(),
            cors_origin: CorsOrigin::default(),
            max_lines: 20_000_000,
            max_entries: 5000,
            max_trace_spans: 100_000,
            discover_levels: true,
            delete_cancel_period: Duration::from_secs(86_400),
            max_tails: 64,
            log_retention: Duration::from_secs(7 * 86_400),
            admin: false,
            tenant: TenantQueries::default(),
            tenants: HashMap::new(),
            slow: Duration::from_secs(5),
        }
    }
}

/// A request to the query APIs that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `prometheus`, `loki`, `tempo`.
    pub api: &'static str,
    /// The route.
    pub path: &'static str,
    /// As the request names it; empty for the default one.
    pub tenant: &'a str,
    /// The parameters.
    pub query: &'a str,
    /// The status.
    pub code: u16,
    /// How long it took.
    pub took: Duration,
    /// Rows in the answer.
    pub rows: usize,
    /// Bytes of it.
    pub bytes: usize,
}

/// Told of each answer.
pub(crate) type Observer = Box<dyn Fn(&Asked<'_>) + Send + Sync>;

/// The query APIs of one store.
pub struct Api {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) targets: Arc<dyn Targets>,
    pub(crate) admin: Option<Arc<dyn Admin>>,
    pub(crate) settings: Settings,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) metrics: QueryMetrics,
    /// Where new log lines are heard of.
    pub(crate) live: Option<Arc<dyn Writer>>,
    pub(crate) tails: Arc<Tails>,
    /// How requests are read that come in.
    pub(crate) limits: Arc<wire::Limits>,
    pub(crate) rules: Rules,
    pub(crate) correlator: Option<Arc<Correlator>>,
    pub(crate) queues: Queues,
    pub(crate) observer: Option<Observer>,
    pub(crate) about: Option<Arc<dyn About>>,
    pub(crate) dashboards: Option<Arc<dyn Dashboards>>,
    ready: AtomicBool,
}

impl Api {
    /// The APIs over `source`; not ready yet.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, targets: Arc<dyn Targets>, settings: Settings) -> Self {
        let permits = Arc::new(Semaphore::new(settings.concurrency.max(1)));
        Self {
            source,
            targets,
            admin: None,
            settings,
            permits,
            metrics: QueryMetrics::default(),
            live: None,
            tails: Arc::default(),
            limits: Arc::default(),
            rules: Rules::default(),
            correlator: None,
            queues: Queues::default(),
            observer: None,
            about: None,
            dashboards: None,
            ready: AtomicBool::new(false),
        }
    }

    /// The same, with what `status/config` and its like say; without it they are not found.
    #[must_use]
    pub fn with_about(self, about: Arc<dyn About>) -> Self {
        Self { about: Some(about), ..self }
    }

    /// Dashboards out of files.
    #[must_use]
    pub fn with_dashboards(self, dashboards: Arc<dyn Dashboards>) -> Self {
        Self { dashboards: Some(dashboards), ..self }
    }

    /// Logs can be tailed: what `live` takes in is read under `limits`.
    #[must_use]
    pub fn with_live(self, live: Arc<dyn Writer>, limits: wire::Limits) -> Self {
        Self { live: Some(live), limits: Arc::new(limits), ..self }
    }

    /// Rule groups are kept below `dir`; without one they go with the process.
    #[must_use]
    pub fn with_rules(self, dir: std::path::PathBuf) -> Self {
        Self { rules: Rules::open(dir), ..self }
    }

    /// Counts of the clients that tail logs, in Prometheus' text format.
    pub fn write_tail_metrics(&self, out: &mut String) {
        self.tails.write_text(out);
    }

    /// The same, with what correlation knows beside the store: entities, names of the business keys.
    #[must_use]
    pub fn with_correlator(self, correlator: Arc<Correlator>) -> Self {
        Self { correlator: Some(correlator), ..self }
    }

    /// The names of the business keys.
    pub(crate) fn key_names(&self) -> Vec<String> {
        match &self.correlator {
            Some(correlator) => correlator.settings().keys.iter().map(|k| k.name.clone()).collect(),
            None => correlate::DEFAULT_KEYS.iter().map(|k| (*k).to_owned()).collect(),
        }
    }

    /// With a way to change what is kept; without one nothing can be deleted.
    #[must_use]
    pub fn with_admin(self, admin: Arc<dyn Admin>) -> Self {
        Self { admin: Some(admin), ..self }
    }

    /// With somebody who is told of each answer.
    #[must_use]
    pub fn observed(self, observer: Box<dyn Fn(&Asked<'_>) + Send + Sync>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// How many queries of a tenant run at a time, and how long one may take.
    pub(crate) fn allowed(&self, tenant: &Tenant) -> (usize, Duration) {
        let own = self.settings.tenants.get(tenant.as_str());
        let all = &self.settings.tenant;
        let concurrency = own.and_then(|o| o.concurrency).or(all.concurrency);
        let timeout = own.and_then(|o| o.timeout).or(all.timeout);
        let most = self.settings.concurrency.max(1);
        (concurrency.unwrap_or((most * 3 / 4).max(1)).max(1), timeout.unwrap_or(self.settings.timeout).min(self.settings.timeout))
    }

    /// Threads that one more query may use: with others running, they have the cores.
    pub(crate) fn idle_threads(&self) -> usize {
        let running = self.settings.concurrency.max(1).saturating_sub(self.permits.available_permits()).max(1);
        (self.settings.threads / running).max(1)
    }

    /// What one more PromQL query may take.
    pub(crate) fn limits(&self) -> promql::Limits {
        let s = &self.settings;
        let threads = self.idle_threads();
        let work = s.timeout.saturating_mul(u32::try_from(threads).unwrap_or(u32::MAX));
        promql::Limits { samples: s.max_samples, series: s.max_series, bytes: s.max_query_memory, threads, work }
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
