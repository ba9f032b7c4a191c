//! What one span adds to the counts: to the metrics of its kind, and to the request between two services that it is one side of.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Attr, Group, Span, SpanId, TraceId};
use wire::{KeptSpans, SpanSink};

use crate::Counters;
use crate::counters::add;
use crate::edges::{Connection, Edge, Key};
use crate::generator::{Counts, EdgeValues, Shape, Shortcuts};
use crate::groups::{Names, Resource};
use crate::routes::Routes;
use crate::seen::Seen;
use crate::series::{Exact, Table};
use crate::settings::{ServiceGraphs, SpanMetrics};
use crate::text::{cut, find, kind, multiplier, seconds, status, text};

/// Of whom to ask whether a span comes for the first time.
pub(crate) struct Once<'g> {
    pub(crate) seen: &'g mut Seen,
    /// A hash of it.
    pub(crate) tenant: u64,
}

/// What of a span decides how it is counted, but for its texts.
struct Facts<'s> {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: SpanId,
    kind: i32,
    status_code: i32,
    start: i64,
    end: i64,
    attributes: &'s [Attr<'s>],
    /// A hash of it.
    name: u64,
    /// Bytes on the wire.
    size: usize,
}

impl<'s> Facts<'s> {
    fn of(span: &Span<'s>, name: u64, size: usize) -> Self {
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            kind: span.kind,
            status_code: span.status_code,
            start: span.start,
            end: span.end,
            attributes: span.attributes,
            name,
            size,
        }
    }
}

/// A hash of who a span is.
#[inline]
pub(crate) fn hash_of(hasher: &RandomState, tenant: u64, trace: TraceId, span: SpanId, kind: i32) -> u64 {
    // With its kind: in Zipkin's way both sides of a request have one id.
    hasher.hash_one((tenant, u128::from_le_bytes(trace.0), u64::from_le_bytes(span.0), kind))
}

/// A walk over the spans of one request.
pub(crate) struct Walk<'g> {
    pub(crate) counts: &'g mut Counts,
    pub(crate) shape: &'g Shape,
    /// Nobody, where the spans are kept ones: of these it is known.
    pub(crate) first: Option<Once<'g>>,
    pub(crate) hasher: &'g RandomState,
    pub(crate) counters: &'g Counters,
    pub(crate) resource: Arc<Resource>,
    /// Bytes of the span that comes next.
    pub(crate) size: usize,
    pub(crate) now: i64,
    /// Series that may still be begun.
    pub(crate) room: usize,
    /// The values of dimensions; kept for its memory.
    pub(crate) values: Vec<String>,
    /// Requests seen whole.
    pub(crate) edges: u64,
}

impl SpanSink for Walk<'_> {
    fn group(&mut self, group: &Group<'_>) {
        let resource = self.counts.resources.of(group.resource, &self.shape.wanted, &self.shape.settings);
        self.of(resource);
    }

    #[inline]
    fn size(&mut self, bytes: usize) {
        self.size = bytes;
    }

    fn wants_nested(&self) -> bool {
        false
    }

    #[inline]
    fn wants(&self, key: &[u8]) -> bool {
        self.shape.span_attributes.has(key)
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.resource.ignored {
            return;
        }
        let Some(Once { seen, tenant }) = &mut self.first else { return };
        if !seen.is_new(hash_of(self.hasher, *tenant, span.trace_id, span.span_id, span.kind)) {
            add(&self.counters.duplicates, 1);
            return;
        }
        let facts = Facts::of(span, self.hasher.hash_one(span.name), self.size);
        self.count(&facts, || span.clone());
    }
}

impl Walk<'_> {
    /// The spans that come are of this resource.
    fn of(&mut self, resource: Arc<Resource>) {
        self.resource = resource;
        if self.resource.target.is_empty() {
            return;
        }
        let (room, Counts { targets, shortcuts, .. }) = (self.room, &mut *self.counts);
        let known = shortcuts.targets.get(&self.resource.id).copied();
        match known.or_else(|| targets.position(&[], &self.resource.target, || room > 0)) {
            Some(at) => {
                targets.entry(at, self.now);
                if known.is_none() {
                    Shortcuts::note(&mut shortcuts.targets, self.resource.id, at);
                }
            }
            None => add(&self.counters.rejected, 1),
        }
    }

    /// Takes the spans that the store has kept; `first`: whether each comes for the first time, `names`: a hash of each of their names.
    pub(crate) fn kept(&mut self, spans: &KeptSpans, first: &[bool], names: &[u64]) {
        let shape = self.shape;
        let mut attributes = spans.attributes(|name| shape.span_attributes.has(name));
        let mut duplicates = 0;
        for (resource, members) in spans.groups() {
            let resource = self.counts.resources.kept(resource, &shape.wanted, &shape.settings);
            self.of(resource);
            if self.resource.ignored {
                continue;
            }
            for number in members {
                if !first[number] {
                    duplicates += 1;
                    continue;
                }
                let (name, size) = (names[spans.name_numbers()[number] as usize], spans.size_of(number));
                if shape.looks_into {
                    let span = attributes.span(number);
                    self.count(&Facts::of(&span, name, size), || span.clone());
                    continue;
                }
                let (kind, (start, end)) = (spans.kind(number), spans.times(number));
                let (span_id, parent_span_id) = spans.span_ids(number);
                let facts = Facts {
                    trace_id: spans.trace_id(number),
                    span_id,
                    parent_span_id,
                    kind,
                    status_code: spans.status_code(number),
                    start,
                    end,
                    // Only whom a client asks is looked for.
                    attributes: if matches!(kind, 3 | 4) { attributes.of(number) } else { &[] },
                    name,
                    size,
                };
                self.count(&facts, || spans.bare(number));
            }
        }
        if duplicates > 0 {
            add(&self.counters.duplicates, duplicates);
        }
    }

    /// Counts a span; `whole` gives all of it.
    #[inline]
    fn count<'s>(&mut self, facts: &Facts<'_>, whole: impl FnOnce() -> Span<'s>) {
        let shape = self.shape;
        if let Some(settings) = &shape.settings.span_metrics {
            self.count_span(settings, facts, whole);
        }
        if let (Some(settings), 2..=5) = (&shape.settings.service_graphs, facts.kind) {
            self.count_edge(settings, facts);
        }
    }

    #[inline]
    fn count_span<'s>(&mut self, settings: &SpanMetrics, facts: &Facts<'_>, whole: impl FnOnce() -> Span<'s>) {
        let Some(at) = self.series_of(settings, facts, whole) else {
            add(&self.counters.rejected, 1);
            return;
        };
        let values = self.counts.spans.entry(at, self.now);
        let multiplier = multiplier(facts.attributes, &settings.span_multiplier_key);
        values.calls.add(multiplier);
        values.latency.observe(&settings.buckets, seconds(facts.start, facts.end), facts.trace_id, multiplier);
        values.size.add(facts.size as f64);
    }

    /// Where spans like this one are counted; `None` where no series may be begun for them.
    #[inline]
    fn series_of<'s>(&mut self, settings: &SpanMetrics, facts: &Facts<'_>, whole: impl FnOnce() -> Span<'s>) -> Option<usize> {
        if !self.shape.is_plain {
            return self.find_series(settings, &whole());
        }
        // Without dimensions of attributes the same few facts decide: a keyed hash of 64 bits finds what they led to.
        let facts = self.hasher.hash_one((self.resource.id, facts.name, facts.kind, facts.status_code));
        if let Some(at) = self.counts.shortcuts.spans.get(&facts) {
            return Some(*at);
        }
        let at = self.find_series(settings, &whole())?;
        Shortcuts::note(&mut self.counts.shortcuts.spans, facts, at);
        Some(at)
    }

    /// The same, by all of their labels.
    fn find_series(&mut self, settings: &SpanMetrics, span: &Span<'_>) -> Option<usize> {
        let on = settings.intrinsics;
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
        let at = self.counts.spans.position(&key, &self.values, || room >= cost)?;
        self.room -= if self.counts.spans.len() > before { cost } else { 0 };
        Some(at)
    }

    fn count_edge(&mut self, settings: &ServiceGraphs, span: &Facts<'_>) {
        let resource = &*self.resource;
        let Some(service) = &resource.service else { return };
        // 2 server, 3 client, 4 producer, 5 consumer.
        let is_client = matches!(span.kind, 3 | 4);
        let connection = if span.kind >= 4 { Connection::Messaging } else { Connection::Direct };
        let key = (span.trace_id, if is_client { span.span_id } else { span.parent_span_id });
        let wait = i64::try_from(settings.wait.as_nanos()).unwrap_or(i64::MAX);
        let latency = Exact(seconds(span.start, span.end));
        let labels = self.shape.graph_names.len() - 3;
        let Counts { edges, names, graph, shortcuts, .. } = &mut *self.counts;
        let mut update = |edge: &mut Edge| {
            edge.connection = connection;
            edge.failed |= span.status_code == 2;
            edge.multiplier = Exact(multiplier(span.attributes, &settings.span_multiplier_key));
            if labels > 0 {
                edge.dimensions.resize(labels, String::new());
            }
            for (i, dimension) in settings.dimensions.iter().enumerate() {
                let at = if settings.client_server_prefix { 2 * i + usize::from(!is_client) } else { i };
                let value = resource.get(dimension).map(str::to_owned);
                if let Some(value) = value.or_else(|| find(span.attributes, dimension).map(|v| text(v).into())) {
                    edge.dimensions[at] = cut(&value).to_owned();
                }
            }
            if is_client {
                edge.client = Some(Arc::clone(service));
                edge.client_latency = latency;
                edge.client_end = span.end;
                if let Some(database) = database(resource, span.attributes) {
                    edge.connection = Connection::Database;
                    edge.server_latency = latency;
                    if !database.is_empty() {
                        edge.server = Some(names.share(cut(&database)));
                    }
                }
                // Only where nothing else names the other side it is asked.
                let mut peers = settings.peer_attributes.iter().filter(|_| edge.server.is_none());
                if let Some(peer) = peers.find_map(|key| find(span.attributes, key)) {
                    edge.peer = Some(names.share(cut(&text(peer))));
                }
            } else {
                edge.server = Some(Arc::clone(service));
                edge.server_latency = latency;
                edge.server_start = span.start;
            }
        };
        let (shape, counters, now, room) = (self.shape, self.counters, self.now, &mut self.room);
        // Whoever asked a root sends no spans: there is nothing to wait for.
        if !is_client && span.parent_span_id.is_none() {
            let mut edge = Edge::default();
            update(&mut edge);
            Ledger { shape, settings, graph, routes: &mut shortcuts.graph, names, counters, now, room }.expire(key, edge);
            return;
        }
        if let Some(edge) = edges.upsert(key, now.saturating_add(wait), update) {
            self.edges += 1;
            Ledger { shape, settings, graph, routes: &mut shortcuts.graph, names, counters, now, room }
                .finish(span.trace_id, edge);
            return;
        }
        while let Some((key, edge, early)) = edges.next_out(now, settings.max_items) {
            add(&counters.evicted, u64::from(early));
            let mut ledger =
                Ledger { shape, settings, graph, routes: &mut shortcuts.graph, names, counters, now, room: &mut *room };
            ledger.expire(key, edge);
        }
    }
}

/// The name of the database that a client's span asks; empty where it has none, `None` when it asks no database.
fn database<'a>(resource: &'a Resource, attributes: &'a [Attr<'_>]) -> Option<Cow<'a, str>> {
    let get = |key: &str| resource.get(key).map(Cow::Borrowed).or_else(|| find(attributes, key).map(text));
    let name = get("db.name");
    if name.is_none() && get("db.system").is_none() {
        return None;
    }
    let host = || {
        let host = get("network.peer.address")?;
        Some(match get("network.peer.port") {
            Some(port) => Cow::Owned(format!("{host}:{port}")),
            None => host,
        })
    };
    Some(get("peer.service").or_else(|| get("server.address")).or_else(host).or(name).unwrap_or_default())
}

/// Where finished requests are counted.
pub(crate) struct Ledger<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) settings: &'a ServiceGraphs,
    pub(crate) graph: &'a mut Table<EdgeValues>,
    pub(crate) routes: &'a mut Routes,
    pub(crate) names: &'a mut Names,
    pub(crate) counters: &'a Counters,
    pub(crate) now: i64,
    pub(crate) room: &'a mut usize,
}

impl Ledger<'_> {
    /// One half has waited in vain: it may be that the other sends no spans.
    pub(crate) fn expire(&mut self, (trace, parent): Key, mut edge: Edge) {
        add(&self.counters.expired, 1);
        edge.connection = Connection::Virtual;
        let side = match (&edge.client, &edge.peer) {
            // A root: whoever asked is outside.
            (None, _) if parent.is_none() => {
                edge.client = Some(self.names.share("user"));
                "client"
            }
            (Some(_), Some(peer)) if edge.server.is_none() && !peer.is_empty() => {
                edge.server = Some(Arc::clone(peer));
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
        let is_plain = edge.dimensions.is_empty();
        let known = if is_plain { self.routes.get(edge) } else { None };
        let Some(at) = known.or_else(|| self.find_route(edge)) else {
            add(&self.counters.rejected, 1);
            return;
        };
        if known.is_none() && is_plain {
            self.routes.insert(edge, at);
        }
        let values = self.graph.entry(at, self.now);
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
    }

    /// Where requests like this one are counted, by all of their labels; `None` where no series may be begun for them.
    fn find_route(&mut self, edge: &Edge) -> Option<usize> {
        let (free, cost, before) = (*self.room, self.shape.graph_cost(), self.graph.len());
        let (client, server) = (edge.client.as_deref().unwrap_or(""), edge.server.as_deref().unwrap_or(""));
        let key = [client, server, edge.connection.as_str()];
        let at = self.graph.position(&key, &edge.dimensions, || free >= cost);
        *self.room -= if self.graph.len() > before { cost } else { 0 };
        at
    }
}
