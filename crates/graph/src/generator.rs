//! From spans to counts, and from counts to samples. No threads and no clock: both are the caller's.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::Tenant;
use serde::{Deserialize, Serialize};
use wire::{Encoding, KeptSpans, Limits, Wanted, WireError};

use crate::Counters;
use crate::counters::{add, set};
use crate::edges::Edges;
use crate::groups::{Asked, NameSet, Names, Resources, asked_of_spans, wanted};
use crate::routes::Routes;
use crate::seen::Seen;
use crate::series::{Buckets, Counter, Histogram, Out, Style, Table, Values, printed};
use crate::settings::Settings;
use crate::text::{free_label_name, label_name};
use crate::walk::{Ledger, Once, Walk, hash_of};

const SERVER_SECONDS: Histogram = Histogram {
    bucket: "traces_service_graph_request_server_seconds_bucket",
    sum: "traces_service_graph_request_server_seconds_sum",
    count: "traces_service_graph_request_server_seconds_count",
};
const CLIENT_SECONDS: Histogram = Histogram {
    bucket: "traces_service_graph_request_client_seconds_bucket",
    sum: "traces_service_graph_request_client_seconds_sum",
    count: "traces_service_graph_request_client_seconds_count",
};
const MESSAGING_SECONDS: Histogram = Histogram {
    bucket: "traces_service_graph_request_messaging_system_seconds_bucket",
    sum: "traces_service_graph_request_messaging_system_seconds_sum",
    count: "traces_service_graph_request_messaging_system_seconds_count",
};
const LATENCY: Histogram = Histogram {
    bucket: "traces_spanmetrics_latency_bucket",
    sum: "traces_spanmetrics_latency_sum",
    count: "traces_spanmetrics_latency_count",
};
const VIRTUAL_NODE: &str = "virtual_node";
/// Label names that dimensions must not take.
const TAKEN: [&str; 7] = ["service", "span_name", "span_kind", "status_code", "status_message", "job", "instance"];

/// What is counted of the requests from one service to another.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EdgeValues {
    pub(crate) total: Counter,
    pub(crate) failed: Counter,
    pub(crate) server: Buckets,
    pub(crate) client: Buckets,
    pub(crate) messaging: Buckets,
}

impl Values for EdgeValues {
    fn settle(&mut self, now: i64) {
        self.total.settle(now);
        self.failed.settle(now);
        self.server.settle(now);
        self.client.settle(now);
        self.messaging.settle(now);
    }

    fn write(&mut self, out: &mut Out<'_>, labels: &[(String, String)]) {
        let le = &out.style.graph_le;
        out.counter(labels, "traces_service_graph_request_total", &mut self.total);
        out.counter(labels, "traces_service_graph_request_failed_total", &mut self.failed);
        out.histogram(labels, &SERVER_SECONDS, le, &mut self.server);
        out.histogram(labels, &CLIENT_SECONDS, le, &mut self.client);
        out.histogram(labels, &MESSAGING_SECONDS, le, &mut self.messaging);
    }
}

/// What is counted of spans that are alike.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SpanValues {
    pub(crate) calls: Counter,
    pub(crate) latency: Buckets,
    pub(crate) size: Counter,
}

impl Values for SpanValues {
    fn settle(&mut self, now: i64) {
        self.calls.settle(now);
        self.latency.settle(now);
        self.size.settle(now);
    }

    fn write(&mut self, out: &mut Out<'_>, labels: &[(String, String)]) {
        let le = &out.style.span_le;
        out.counter(labels, "traces_spanmetrics_calls_total", &mut self.calls);
        out.histogram(labels, &LATENCY, le, &mut self.latency);
        out.counter(labels, "traces_spanmetrics_size_total", &mut self.size);
    }
}

/// A resource that sends spans.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TargetValues {}

impl Values for TargetValues {
    fn settle(&mut self, _: i64) {}

    fn write(&mut self, out: &mut Out<'_>, labels: &[(String, String)]) {
        out.gauge(labels, "traces_target_info", 1.0);
    }
}

/// One tenant's.
pub(crate) struct Counts {
    pub(crate) edges: Edges,
    pub(crate) graph: Table<EdgeValues>,
    pub(crate) spans: Table<SpanValues>,
    pub(crate) targets: Table<TargetValues>,
    pub(crate) resources: Resources,
    /// Names of peers and databases.
    pub(crate) names: Names,
    /// Positions in the tables; each is emptied when positions change.
    pub(crate) shortcuts: Shortcuts,
}

/// Positions in a tenant's tables by what decides them, so that labels need not be compared text by text.
#[derive(Default)]
pub(crate) struct Shortcuts {
    /// In `spans`, by a hash of what decides.
    pub(crate) spans: HashMap<u64, usize, RandomState>,
    /// In `targets`, by the resource.
    pub(crate) targets: HashMap<u64, usize, RandomState>,
    /// In `graph`, where edges have no further labels.
    pub(crate) graph: Routes,
}

/// Shortcuts that are remembered of each kind; past that they are found anew.
const SHORTCUTS: usize = 100_000;

impl Shortcuts {
    /// Notes a position.
    pub(crate) fn note(shortcuts: &mut HashMap<u64, usize, RandomState>, what: u64, at: usize) {
        if shortcuts.len() >= SHORTCUTS {
            shortcuts.clear();
        }
        shortcuts.insert(what, at);
    }
}

/// What follows from the settings.
pub(crate) struct Shape {
    pub(crate) settings: Settings,
    pub(crate) graph_names: Vec<String>,
    pub(crate) span_names: Vec<String>,
    /// Attributes that are asked for of resources.
    pub(crate) wanted: Vec<String>,
    /// Attributes that are asked for of spans.
    pub(crate) span_attributes: NameSet,
    /// Neither attributes nor messages decide about span metrics.
    pub(crate) is_plain: bool,
    /// Attributes or messages of spans of any kind are looked at, and not only those of clients.
    pub(crate) looks_into: bool,
    style: Style,
}

impl Shape {
    fn new(settings: Settings) -> Self {
        let mut graph_names: Vec<String> = ["client", "server", "connection_type"].map(str::to_owned).to_vec();
        if let Some(s) = &settings.service_graphs {
            for dimension in &s.dimensions {
                if s.client_server_prefix {
                    graph_names.extend(["client_", "server_"].map(|side| label_name(&format!("{side}{dimension}"))));
                } else {
                    graph_names.push(label_name(dimension));
                }
            }
            if s.virtual_node_label {
                graph_names.push(VIRTUAL_NODE.to_owned());
            }
        }
        let mut span_names: Vec<String> = TAKEN.map(str::to_owned).to_vec();
        if let Some(s) = &settings.span_metrics {
            span_names.extend(s.dimensions.iter().map(|d| free_label_name(d, &TAKEN)));
            span_names.extend(s.dimension_mappings.iter().map(|m| free_label_name(&m.name, &TAKEN)));
        }
        let style = Style {
            external: settings.external_labels.clone(),
            trace_id_label: settings.trace_id_label.clone(),
            graph_le: settings.service_graphs.as_ref().map(|s| printed(&s.buckets)).unwrap_or_default(),
            span_le: settings.span_metrics.as_ref().map(|s| printed(&s.buckets)).unwrap_or_default(),
        };
        let is_plain = settings
            .span_metrics
            .as_ref()
            .is_none_or(|s| s.dimensions.is_empty() && s.dimension_mappings.is_empty() && !s.intrinsics.status_message);
        let multiplies = settings.span_metrics.iter().any(|s| !s.span_multiplier_key.is_empty());
        let graphs = settings.service_graphs.iter().any(|s| !s.dimensions.is_empty() || !s.span_multiplier_key.is_empty());
        Self {
            wanted: wanted(&settings),
            span_attributes: asked_of_spans(&settings),
            is_plain,
            looks_into: !is_plain || multiplies || graphs,
            settings,
            graph_names,
            span_names,
            style,
        }
    }

    /// The bounds of both histograms: what saved counts are counts of.
    pub(crate) fn bounds(&self) -> (&[String], &[String]) {
        (&self.style.graph_le, &self.style.span_le)
    }

    pub(crate) fn graph_cost(&self) -> usize {
        2 + 3 * (self.style.graph_le.len() + 2)
    }

    pub(crate) fn span_cost(&self) -> usize {
        2 + self.style.span_le.len() + 2
    }
}

impl Counts {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            edges: Edges::default(),
            graph: Table::new(shape.graph_names.clone()),
            spans: Table::new(shape.span_names.clone()),
            targets: Table::new(Vec::new()),
            resources: Resources::default(),
            names: Names::default(),
            shortcuts: Shortcuts::default(),
        }
    }

    fn series(&self, shape: &Shape) -> usize {
        self.graph.len() * shape.graph_cost() + self.spans.len() * shape.span_cost() + self.targets.len()
    }

    fn is_empty(&self) -> bool {
        self.edges.len() + self.graph.len() + self.spans.len() + self.targets.len() == 0
    }
}

/// Counts spans, and writes what it has counted.
pub struct Generator {
    pub(crate) shape: Shape,
    pub(crate) tenants: BTreeMap<Tenant, Counts>,
    seen: Seen,
    /// Of a request's spans; kept for its memory.
    hashes: Vec<u64>,
    first: Vec<bool>,
    /// Of their names.
    names: Vec<u64>,
    hasher: RandomState,
    counters: Arc<Counters>,
    limits: Limits,
}

impl Generator {
    /// A generator that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings, counters: Arc<Counters>) -> Self {
        Self {
            shape: Shape::new(settings),
            tenants: BTreeMap::new(),
            seen: Seen::default(),
            hashes: Vec::new(),
            first: Vec::new(),
            names: Vec::new(),
            hasher: RandomState::default(),
            counters,
            limits: Limits::default(),
        }
    }

    /// Counts the spans of one request that came at `now` (nanoseconds since the Unix epoch); requests of other signals are
    /// passed over. Gives back how many there were.
    ///
    /// # Errors
    /// [`WireError`] for a request that cannot be read; what stood before the error is counted.
    pub fn take(&mut self, tenant: &Tenant, encoding: Encoding, payload: &[u8], now: i64) -> Result<u64, WireError> {
        if encoding.signal() != wire::Signal::Traces {
            return Ok(0);
        }
        let limits = self.limits.clone();
        let mut seen = std::mem::take(&mut self.seen);
        let first = Once { seen: &mut seen, tenant: self.hasher.hash_one(tenant) };
        let counted = self.walk(tenant, now, Some(first), |walk| wire::walk_spans(encoding, payload, &limits, walk));
        self.seen = seen;
        let counted = counted?.accepted;
        add(&self.counters.spans, counted);
        Ok(counted)
    }

    /// The same for the spans of a request that the store has walked already, with the attributes that [`Generator::wants`] names.
    pub fn take_kept(&mut self, tenant: &Tenant, spans: &KeptSpans, now: i64) {
        // Before anything else: each answer lies somewhere else in memory, and these are waited for together.
        let tenant_hash = self.hasher.hash_one(tenant);
        let (mut hashes, mut first) = (std::mem::take(&mut self.hashes), std::mem::take(&mut self.first));
        hashes.clear();
        first.clear();
        hashes.extend(spans.ids().map(|(trace, span, kind)| hash_of(&self.hasher, tenant_hash, trace, span, kind)));
        self.seen.are_new(&hashes, &mut first);
        let mut names = std::mem::take(&mut self.names);
        names.clear();
        names.extend(spans.names().iter().map(|name| self.hasher.hash_one(name)));
        self.walk(tenant, now, None, |walk| walk.kept(spans, &first, &names));
        (self.hashes, self.first, self.names) = (hashes, first, names);
        add(&self.counters.spans, spans.len() as u64);
    }

    /// Says what of spans the generator makes something of.
    pub fn wants(&self) -> impl Wanted + Send + Sync + 'static {
        Asked { attributes: asked_of_spans(&self.shape.settings), ignored: self.shape.settings.ignored_services.clone() }
    }

    fn walk<T>(&mut self, tenant: &Tenant, now: i64, first: Option<Once<'_>>, walk: impl FnOnce(&mut Walk<'_>) -> T) -> T {
        let shape = &self.shape;
        let counts = self.tenants.entry(tenant.clone()).or_insert_with(|| Counts::new(shape));
        let mut open = Walk {
            room: shape.settings.max_active_series.saturating_sub(counts.series(shape)),
            counts,
            shape,
            first,
            hasher: &self.hasher,
            counters: &self.counters,
            resource: Arc::default(),
            size: 0,
            now,
            values: Vec::new(),
            edges: 0,
        };
        let walked = walk(&mut open);
        add(&self.counters.edges, open.edges);
        walked
    }

    /// It is `now`: halves that have waited long enough go.
    pub fn pass(&mut self, now: i64) {
        let shape = &self.shape;
        let Some(settings) = &shape.settings.service_graphs else { return };
        for counts in self.tenants.values_mut() {
            let mut room = shape.settings.max_active_series.saturating_sub(counts.series(shape));
            let Counts { edges, graph, shortcuts, names, .. } = counts;
            let (routes, counters) = (&mut shortcuts.graph, &*self.counters);
            let mut ledger = Ledger { shape, settings, graph, routes, names, counters, now, room: &mut room };
            while let Some((key, edge, _)) = edges.next_out(now, usize::MAX) {
                ledger.expire(key, edge);
            }
        }
    }

    /// Series that are new begin at `now` (nanoseconds since the Unix epoch): to be called before what is to be written by
    /// [`Generator::collect`] is saved.
    pub fn settle(&mut self, now: i64) {
        let now = now.div_euclid(1_000_000);
        for counts in self.tenants.values_mut() {
            counts.graph.settle(now);
            counts.spans.settle(now);
        }
    }

    /// The samples of everything counted so far, at `now` (nanoseconds since the Unix epoch), as requests in the encoding
    /// [`Encoding::RemoteWrite`]. Series that were not updated for long enough end.
    ///
    /// # Errors
    /// [`WireError::Snappy`], which a request of this size does not meet.
    pub fn collect(&mut self, now: i64) -> Result<Vec<store::Request>, WireError> {
        let stale = i64::try_from(self.shape.settings.stale_duration.as_nanos()).unwrap_or(i64::MAX);
        let before = now.saturating_sub(stale);
        let (mut requests, mut pending, mut series) = (Vec::new(), 0, 0);
        for (tenant, counts) in &mut self.tenants {
            let mut out = Out::new(now.div_euclid(1_000_000), &self.shape.style);
            if counts.graph.end_stale(before, &mut out) {
                counts.shortcuts.graph.clear();
            }
            if counts.spans.end_stale(before, &mut out) {
                counts.shortcuts.spans.clear();
            }
            if counts.targets.end_stale(before, &mut out) {
                counts.shortcuts.targets.clear();
            }
            counts.graph.write(&mut out);
            counts.spans.write(&mut out);
            counts.targets.write(&mut out);
            let (payloads, samples) = out.finish()?;
            add(&self.counters.samples, samples);
            requests.extend(payloads.into_iter().map(|payload| store::Request {
                tenant: tenant.clone(),
                encoding: Encoding::RemoteWrite,
                payload: payload.into(),
            }));
            pending += counts.edges.len();
            series += counts.series(&self.shape);
        }
        self.tenants.retain(|_, counts| !counts.is_empty());
        set(&self.counters.pending, pending);
        set(&self.counters.series, series);
        Ok(requests)
    }
}
