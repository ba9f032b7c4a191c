//! From spans to counts, and from counts to samples. No threads and no clock: both are the caller's.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Group, Span, Tenant, TraceId};
use serde::{Deserialize, Serialize};
use wire::{Encoding, Limits, SpanSink, WireError};

use crate::Counters;
use crate::counters::{add, set};
use crate::edges::{Connection, Edge, Edges, Key};
use crate::groups::{Resource, Resources, wanted};
use crate::seen::Seen;
use crate::series::{Buckets, Counter, Exact, Histogram, Out, Style, Table, Values, printed};
use crate::settings::{ServiceGraphs, Settings, SpanMetrics};
use crate::text::{cut, find, free_label_name, kind, label_name, multiplier, of_either, seconds, status, text};

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
    total: Counter,
    failed: Counter,
    server: Buckets,
    client: Buckets,
    messaging: Buckets,
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
    calls: Counter,
    latency: Buckets,
    size: Counter,
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
    resources: Resources,
}

/// What follows from the settings.
pub(crate) struct Shape {
    pub(crate) settings: Settings,
    pub(crate) graph_names: Vec<String>,
    pub(crate) span_names: Vec<String>,
    wanted: Vec<String>,
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
        Self { wanted: wanted(&settings), settings, graph_names, span_names, style }
    }

    /// The bounds of both histograms: what saved counts are counts of.
    pub(crate) fn bounds(&self) -> (&[String], &[String]) {
        (&self.style.graph_le, &self.style.span_le)
    }

    fn graph_cost(&self) -> usize {
        2 + 3 * (self.style.graph_le.len() + 2)
    }

    fn span_cost(&self) -> usize {
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
            hasher: RandomState::default(),
            counters,
            limits: Limits::default(),
        }
    }

    /// Counts the spans of one request that came at `now` (nanoseconds since the Unix epoch); requests of other signals are
    /// passed over.
    ///
    /// # Errors
    /// [`WireError`] for a request that cannot be read; what stood before the error is counted.
    pub fn take(&mut self, tenant: &Tenant, encoding: Encoding, payload: &[u8], now: i64) -> Result<(), WireError> {
        if encoding.signal() != wire::Signal::Traces {
            return Ok(());
        }
        let shape = &self.shape;
        let counts = self.tenants.entry(tenant.clone()).or_insert_with(|| Counts::new(shape));
        let mut walk = Walk {
            room: shape.settings.max_active_series.saturating_sub(counts.series(shape)),
            counts,
            shape,
            seen: &mut self.seen,
            hasher: &self.hasher,
            tenant: self.hasher.hash_one(tenant),
            counters: &self.counters,
            resource: Arc::default(),
            size: 0,
            now,
            values: Vec::new(),
        };
        let summary = wire::walk_spans(encoding, payload, &self.limits, &mut walk)?;
        add(&self.counters.spans, summary.accepted);
        Ok(())
    }

    /// It is `now`: halves that have waited long enough go.
    pub fn pass(&mut self, now: i64) {
        let shape = &self.shape;
        self.seen.age(now);
        let Some(settings) = &shape.settings.service_graphs else { return };
        for counts in self.tenants.values_mut() {
            let mut room = shape.settings.max_active_series.saturating_sub(counts.series(shape));
            while let Some((key, edge, _)) = counts.edges.next_out(now, usize::MAX) {
                Ledger { shape, settings, counts, counters: &self.counters, now, room: &mut room }.expire(key, edge);
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
            counts.graph.end_stale(before, &mut out);
            counts.spans.end_stale(before, &mut out);
            counts.targets.end_stale(before, &mut out);
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

/// A walk over the spans of one request.
struct Walk<'g> {
    counts: &'g mut Counts,
    shape: &'g Shape,
    seen: &'g mut Seen,
    hasher: &'g RandomState,
    tenant: u64,
    counters: &'g Counters,
    resource: Arc<Resource>,
    /// Bytes of the span that comes next.
    size: usize,
    now: i64,
    /// Series that may still be begun.
    room: usize,
    /// The values of dimensions; kept for its memory.
    values: Vec<String>,
}

impl SpanSink for Walk<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.resource = self.counts.resources.of(group.resource, &self.shape.wanted, &self.shape.settings);
        if !self.resource.target.is_empty() {
            let room = self.room;
            match self.counts.targets.at(&[], &self.resource.target, self.now, || room > 0) {
                Some(_) => {}
                None => add(&self.counters.rejected, 1),
            }
        }
    }

    fn size(&mut self, bytes: usize) {
        self.size = bytes;
    }

    fn wants_nested(&self) -> bool {
        false
    }

    fn span(&mut self, span: &Span<'_>) {
        let [a, b] = [&span.trace_id.0[..8], &span.trace_id.0[8..]].map(|half| half.try_into().map_or(0, u64::from_le_bytes));
        if !self.seen.is_new(self.hasher.hash_one((self.tenant, a, b, u64::from_le_bytes(span.span_id.0)))) {
            add(&self.counters.duplicates, 1);
            return;
        }
        let shape = self.shape;
        if let Some(settings) = &shape.settings.span_metrics {
            self.count_span(settings, span);
        }
        if let (Some(settings), 2..=5) = (&shape.settings.service_graphs, span.kind) {
            self.count_edge(settings, span);
        }
    }
}

impl Walk<'_> {
    fn count_span(&mut self, settings: &SpanMetrics, span: &Span<'_>) {
        let resource = &*self.resource;
        self.values.clear();
        let value =
            |key: &str| resource.get(key).map(str::to_owned).or_else(|| find(span.attributes, key).map(|v| text(v).into()));
        for key in &settings.dimensions {
            self.values.push(value(key).map_or_else(String::new, |v| cut(&v).to_owned()));
        }
        for mapping in &settings.dimension_mappings {
            let values: Vec<String> = mapping.sources.iter().filter_map(|s| value(s)).filter(|v| !v.is_empty()).collect();
            self.values.push(cut(&values.join(&mapping.join)).to_owned());
        }
        let on = settings.intrinsics;
        let pick = |wanted: bool, text| if wanted { cut(text) } else { "" };
        let (kind, code) = (kind(span.kind), status(span.status_code));
        let key = [
            pick(on.service, resource.service.as_deref().unwrap_or("")),
            pick(on.span_name, span.name),
            pick(on.span_kind, &kind),
            pick(on.status_code, &code),
            pick(on.status_message, span.status_message),
            pick(settings.target_info, &resource.job),
            pick(settings.target_info && settings.instance_label, &resource.instance),
        ];
        let (room, cost, before) = (self.room, self.shape.span_cost(), self.counts.spans.len());
        let Some(values) = self.counts.spans.at(&key, &self.values, self.now, || room >= cost) else {
            add(&self.counters.rejected, 1);
            return;
        };
        let multiplier = multiplier(span.attributes, &settings.span_multiplier_key);
        values.calls.add(multiplier);
        values.latency.observe(&settings.buckets, seconds(span.start, span.end), span.trace_id, multiplier);
        values.size.add(self.size as f64);
        self.room -= if self.counts.spans.len() > before { cost } else { 0 };
    }

    fn count_edge(&mut self, settings: &ServiceGraphs, span: &Span<'_>) {
        let resource = Arc::clone(&self.resource);
        let Some(service) = &resource.service else { return };
        // 2 server, 3 client, 4 producer, 5 consumer.
        let is_client = matches!(span.kind, 3 | 4);
        let connection = if span.kind >= 4 { Connection::Messaging } else { Connection::Direct };
        let key = (span.trace_id, if is_client { span.span_id } else { span.parent_span_id });
        let wait = i64::try_from(settings.wait.as_nanos()).unwrap_or(i64::MAX);
        let latency = Exact(seconds(span.start, span.end));
        let labels = self.shape.graph_names.len() - 3;
        let complete = self.counts.edges.upsert(key, self.now.saturating_add(wait), |edge| {
            edge.connection = connection;
            edge.failed |= span.status_code == 2;
            edge.multiplier = Exact(multiplier(span.attributes, &settings.span_multiplier_key));
            edge.dimensions.resize(labels, String::new());
            for (i, dimension) in settings.dimensions.iter().enumerate() {
                let at = if settings.client_server_prefix { 2 * i + usize::from(!is_client) } else { i };
                let value = resource.get(dimension).map(str::to_owned);
                if let Some(value) = value.or_else(|| find(span.attributes, dimension).map(|v| text(v).into())) {
                    edge.dimensions[at] = cut(&value).to_owned();
                }
            }
            let peers = settings.peer_attributes.iter();
            if let Some(peer) = peers.filter_map(|key| find(span.attributes, key)).next() {
                edge.peer = Some(cut(&text(peer)).to_owned());
            }
            if is_client {
                edge.client = Some(Arc::clone(service));
                edge.client_latency = latency;
                edge.client_end = span.end;
                if let Some(database) = database(&resource, span) {
                    edge.connection = Connection::Database;
                    edge.server_latency = latency;
                    if !database.is_empty() {
                        edge.server = Some(cut(&database).into());
                    }
                }
            } else {
                edge.server = Some(Arc::clone(service));
                edge.server_latency = latency;
                edge.server_start = span.start;
            }
        });
        let (counters, now) = (self.counters, self.now);
        let mut ledger = Ledger { shape: self.shape, settings, counts: &mut *self.counts, counters, now, room: &mut self.room };
        match complete {
            Some(edge) => {
                add(&counters.edges, 1);
                ledger.finish(span.trace_id, &edge);
            }
            None => {
                while let Some((key, edge, early)) = ledger.counts.edges.next_out(now, settings.max_items) {
                    add(&counters.evicted, u64::from(early));
                    ledger.expire(key, edge);
                }
            }
        }
    }
}

/// The name of the database that a client's span asks; empty where it has none, `None` when it asks no database.
fn database(resource: &Resource, span: &Span<'_>) -> Option<String> {
    let get = |key: &str| resource.get(key).map(str::to_owned).or_else(|| of_either(&[], span.attributes, key).map(Into::into));
    let name = get("db.name");
    if name.is_none() && get("db.system").is_none() {
        return None;
    }
    let host = || {
        let host = get("network.peer.address")?;
        Some(get("network.peer.port").map_or(host.clone(), |port| format!("{host}:{port}")))
    };
    Some(get("peer.service").or_else(|| get("server.address")).or_else(host).or(name).unwrap_or_default())
}

/// Where finished requests are counted.
struct Ledger<'a> {
    shape: &'a Shape,
    settings: &'a ServiceGraphs,
    counts: &'a mut Counts,
    counters: &'a Counters,
    now: i64,
    room: &'a mut usize,
}

impl Ledger<'_> {
    /// One half has waited in vain: it may be that the other sends no spans.
    fn expire(&mut self, (trace, parent): Key, mut edge: Edge) {
        add(&self.counters.expired, 1);
        edge.connection = Connection::Virtual;
        let side = match (&edge.client, &edge.peer) {
            // A root: whoever asked is outside.
            (None, _) if parent.is_none() => {
                edge.client = Some("user".into());
                "client"
            }
            (Some(_), Some(peer)) if edge.server.is_none() && !peer.is_empty() => {
                edge.server = Some(peer.as_str().into());
                "server"
            }
            _ => return,
        };
        if self.settings.virtual_node_label
            && let Some(label) = edge.dimensions.last_mut()
        {
            side.clone_into(label);
        }
        self.finish(trace, &edge);
    }

    /// Counts a request whose both sides are known.
    fn finish(&mut self, trace: TraceId, edge: &Edge) {
        let name = |side: &Option<Arc<str>>| side.clone().unwrap_or_default();
        let (client, server) = (name(&edge.client), name(&edge.server));
        let (free, cost, before) = (*self.room, self.shape.graph_cost(), self.counts.graph.len());
        let key = [&*client, &*server, edge.connection.as_str()];
        let Some(values) = self.counts.graph.at(&key, &edge.dimensions, self.now, || free >= cost) else {
            add(&self.counters.rejected, 1);
            return;
        };
        let (bounds, multiplier) = (&self.settings.buckets, edge.multiplier.0);
        values.total.add(multiplier);
        if edge.failed {
            values.failed.add(multiplier);
        }
        values.server.observe(bounds, edge.server_latency.0, trace, multiplier);
        values.client.observe(bounds, edge.client_latency.0, trace, multiplier);
        let between = seconds(edge.client_end, edge.server_start);
        if self.settings.messaging_system_latency && edge.connection == Connection::Messaging && between > 0.0 {
            values.messaging.observe(bounds, between, trace, multiplier);
        }
        *self.room -= if self.counts.graph.len() > before { cost } else { 0 };
    }
}
