//! From the rows of a request to the loom: one sink a signal.

use std::sync::Arc;

use model::{Group, Log, Span, TraceId};
use wire::{Exemplar, LogSink, MetricKind, RawLabels, SampleSink, SpanSink};

use crate::entity;
use crate::entity::Entity;
use crate::gather::Gathering;
use crate::keys::{Finder, Found, FoundIn, KeyValue};
use crate::lines::{Line, look};
use crate::loom::Loom;
use crate::names::Name;
use crate::sender::Sender;
use crate::window::{LogId, Position, Waiting};

/// The request that rows come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) tenant: u32,
    pub(crate) sequence: u64,
    pub(crate) received: i64,
}

/// What the sinks share: the request, and who sends the rows that come.
struct Rows<'l> {
    loom: &'l mut Loom,
    finder: Arc<Finder>,
    origin: Origin,
    sender: Arc<Sender>,
    /// The sender's service.
    service: Name,
}

impl<'l> Rows<'l> {
    fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self { finder: loom.finder(), loom, origin, sender: Arc::default(), service: Name::default() }
    }

    fn group(&mut self, group: &Group<'_>) {
        self.sender = self.loom.sender(self.origin.tenant, group);
        self.serve(&Arc::clone(&self.sender).entity.service);
    }

    fn serve(&mut self, service: &str) {
        self.loom.names.release(self.service);
        self.service = self.loom.names.hold(service);
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.loom.names.release(self.service);
    }
}

/// Spans.
pub(crate) struct Spans<'l>(Rows<'l>);

impl<'l> Spans<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self(Rows::new(loom, origin))
    }
}

impl SpanSink for Spans<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.0.group(group);
    }

    fn wants_nested(&self) -> bool {
        false
    }

    #[inline]
    fn wants(&self, key: &[u8]) -> bool {
        self.0.finder.knows(key)
    }

    fn span(&mut self, span: &Span<'_>) {
        let Rows { loom, finder, origin, sender, service } = &mut self.0;
        if sender.own {
            return;
        }
        let Some(slot) = loom.window(*origin, span.trace_id, true) else { return };
        let Some(mut window) = loom.opened(slot) else { return };
        window.time(span.start, origin.received);
        window.time(span.end, origin.received);
        window.spans(1, u32::from(span.status_code == 2));
        if span.parent_span_id.is_none() {
            window.root(*service, span.name);
        }
        window.service(*service);
        if !(span.attributes.is_empty() && sender.keys.is_empty()) {
            let mut found = Found::beginning_with(&sender.keys);
            finder.attributes(span.attributes, FoundIn::Attribute, &mut found);
            loom.keys(slot, &found);
            loom.oversized(found.oversized);
        }
    }
}

/// Log records.
pub(crate) struct Logs<'l> {
    rows: Rows<'l>,
    index: u32,
    gathering: &'l mut Gathering,
}

impl<'l> Logs<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin, gathering: &'l mut Gathering) -> Self {
        gathering.begin();
        Self { rows: Rows::new(loom, origin), index: 0, gathering }
    }
}

impl Drop for Logs<'_> {
    fn drop(&mut self) {
        self.gathering.end(self.rows.loom, self.rows.origin);
    }
}

impl LogSink for Logs<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.rows.group(group);
    }

    #[inline]
    fn wants(&self, key: &[u8]) -> bool {
        self.rows.finder.knows(key)
    }

    fn log(&mut self, log: &Log<'_>) {
        let finder = Arc::clone(&self.rows.finder);
        let (line, body, oversized) = look(&finder, self.index, log);
        self.index += 1;
        self.oversized(oversized);
        self.line(line, || LogId::of(log.time, body));
    }
}

impl Logs<'_> {
    pub(crate) fn oversized(&self, values: u64) {
        self.rows.loom.oversized(values);
    }

    /// Takes what was found in a line of the group.
    pub(crate) fn line(&mut self, line: Line<'_>, id: impl FnOnce() -> LogId) {
        let Rows { loom, origin, sender, service, .. } = &mut self.rows;
        if line.trace.is_some() {
            let slot = self.gathering.line(loom, *origin, &line, *service, id);
            if let Some(slot) = slot.filter(|_| !(line.keys.is_empty() && sender.keys.is_empty())) {
                loom.keys(slot, &Found::of_sender(&sender.keys, line.keys));
            }
            return;
        }
        let found = Found::of_sender(&sender.keys, line.keys);
        if !found.keys.is_empty() {
            let Entity { service, instance } = &sender.entity;
            loom.wait(Waiting {
                tenant: origin.tenant,
                at: Position { sequence: origin.sequence, index: line.index },
                received: origin.received,
                log: id(),
                service: service.clone(),
                host: instance.clone(),
                severity: line.severity.to_owned(),
                line: line.quote.to_owned(),
                keys: found.keys.into_iter().map(KeyValue::into_owned).collect(),
            });
        }
    }
}

/// Asks whether a request has exemplars at all: most have none, and labels need not be read then.
#[derive(Debug, Default)]
pub(crate) struct HasExemplars(pub(crate) bool);

impl SampleSink for HasExemplars {
    fn series(&mut self, _: RawLabels<'_>) {}
    fn sample(&mut self, _: i64, _: f64) {}
    fn exemplar(&mut self, _: &Exemplar<'_>) {
        self.0 = true;
    }
    fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
}

/// Exemplars.
pub(crate) struct Exemplars<'l> {
    rows: Rows<'l>,
    metric: String,
    entity: Entity,
}

impl<'l> Exemplars<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self { rows: Rows::new(loom, origin), metric: String::new(), entity: Entity::default() }
    }
}

impl SampleSink for Exemplars<'_> {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        self.metric.clear();
        // A walker has checked them.
        if labels.read(&mut pairs).is_ok() {
            self.metric.push_str(pairs.iter().find(|(n, _)| *n == "__name__").map_or("", |(_, v)| v));
        }
        self.entity = entity::of_labels(&pairs, self.rows.loom.overrides());
    }

    fn sample(&mut self, _: i64, _: f64) {}

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        let id = exemplar.labels.iter().find(|(n, _)| matches!(*n, "trace_id" | "traceID" | "traceId" | "TraceID"));
        let Some(trace) = id.and_then(|(_, v)| v.parse::<TraceId>().ok()).filter(|t| !t.is_none()) else { return };
        let time = exemplar.time_ms.saturating_mul(1_000_000);
        self.rows.serve(&self.entity.service);
        let Rows { loom, origin, service, .. } = &mut self.rows;
        let Some(slot) = loom.window(*origin, trace, true) else { return };
        let Some(mut window) = loom.opened(slot) else { return };
        window.exemplar(&self.metric, &self.entity.service, time, exemplar.value);
        window.service(*service);
    }

    fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
}
