//! From the rows of a request to the loom: one sink a signal.

use model::{Group, Log, Span, TraceId, Value};
use wire::{Exemplar, LogSink, MetricKind, RawLabels, SampleSink, SpanSink};

use crate::entity;
use crate::keys::{Found, FoundIn, KeyValue};
use crate::loom::Loom;
use crate::window::{LogId, MAX_QUOTE, Position, Waiting};
use crate::{SERVICE, entity::Entity};

/// Severity numbers from here on are errors (OpenTelemetry's data model: ERROR, FATAL).
const ERROR_FROM: i32 = 17;

/// The request that rows come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) tenant: u32,
    pub(crate) sequence: u64,
    pub(crate) received: i64,
}

/// A resource whose identity is known already, by a hash of what identifies it.
#[derive(Debug, Default)]
struct Sender {
    entity: Entity,
    /// Business keys of the resource.
    keys: Vec<KeyValue<'static>>,
    /// The rows are correlation's own.
    own: bool,
}

impl Sender {
    fn read(&mut self, loom: &mut Loom, tenant: u32, group: &Group<'_>) {
        self.entity = entity::of_group(group, loom.overrides());
        self.own = self.entity.service == SERVICE;
        let mut found = Found::default();
        loom.finder().attributes(group.resource, FoundIn::Resource, &mut found);
        loom.finder().labels(group.labels, &mut found);
        self.keys = found.keys.into_iter().map(KeyValue::into_owned).collect();
        if !self.own {
            loom.saw(tenant, &self.entity, if group.resource.is_empty() { "labels" } else { "resource" });
        }
    }
}

/// Spans.
pub(crate) struct Spans<'l> {
    pub(crate) loom: &'l mut Loom,
    pub(crate) origin: Origin,
    sender: Sender,
}

impl<'l> Spans<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self { loom, origin, sender: Sender::default() }
    }
}

impl SpanSink for Spans<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.sender.read(self.loom, self.origin.tenant, group);
    }

    fn span(&mut self, span: &Span<'_>) {
        if self.sender.own {
            return;
        }
        let mut found = Found::beginning_with(&self.sender.keys);
        self.loom.finder().attributes(span.attributes, FoundIn::Attribute, &mut found);
        let service = &self.sender.entity.service;
        let Some(mut window) = self.loom.window(self.origin, span.trace_id) else { return };
        window.time(span.start);
        window.time(span.end);
        window.span(span.span_id, span.status_code == 2);
        if span.parent_span_id.is_none() {
            window.root(service, span.name);
        }
        window.service(service);
        self.loom.keys(self.origin, span.trace_id, &found);
    }
}

/// Log records.
pub(crate) struct Logs<'l> {
    pub(crate) loom: &'l mut Loom,
    pub(crate) origin: Origin,
    sender: Sender,
    index: u32,
}

impl<'l> Logs<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self { loom, origin, sender: Sender::default(), index: 0 }
    }
}

impl LogSink for Logs<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.sender.read(self.loom, self.origin.tenant, group);
    }

    fn log(&mut self, log: &Log<'_>) {
        let index = self.index;
        self.index += 1;
        let body: &str = match &log.body {
            Value::Str(text) => text,
            Value::Nested(text) => text,
            _ => "",
        };
        let mut found = Found::beginning_with(&self.sender.keys);
        self.loom.finder().attributes(log.attributes, FoundIn::Attribute, &mut found);
        self.loom.finder().text(body, &mut found);
        self.loom.oversized(found.oversized);
        let trace = if log.trace_id.is_none() { found.trace } else { Some(log.trace_id) };
        let id = || LogId::of(log.time, body);
        let Entity { service, instance } = &self.sender.entity;
        if let Some(trace) = trace {
            let Some(mut window) = self.loom.window(self.origin, trace) else { return };
            window.time(log.time);
            window.log(id(), log.severity_number >= ERROR_FROM);
            window.service(service);
            self.loom.keys(self.origin, trace, &found);
        } else if !found.keys.is_empty() {
            let line = &body[..body.floor_char_boundary(MAX_QUOTE)];
            self.loom.wait(Waiting {
                tenant: self.origin.tenant,
                at: Position { sequence: self.origin.sequence, index },
                received: self.origin.received,
                log: id(),
                service: service.clone(),
                host: instance.clone(),
                severity: severity(log).to_owned(),
                line: line.to_owned(),
                keys: found.keys.into_iter().map(KeyValue::into_owned).collect(),
            });
        }
    }
}

fn severity<'a>(log: &Log<'a>) -> &'a str {
    if !log.severity_text.is_empty() {
        return &log.severity_text[..log.severity_text.floor_char_boundary(32)];
    }
    match log.severity_number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "",
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
    pub(crate) loom: &'l mut Loom,
    pub(crate) origin: Origin,
    metric: String,
    service: String,
}

impl<'l> Exemplars<'l> {
    pub(crate) fn new(loom: &'l mut Loom, origin: Origin) -> Self {
        Self { loom, origin, metric: String::new(), service: String::new() }
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
        self.service = entity::of_labels(&pairs, self.loom.overrides()).service;
    }

    fn sample(&mut self, _: i64, _: f64) {}

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        let id = exemplar.labels.iter().find(|(n, _)| matches!(*n, "trace_id" | "traceID" | "traceId" | "TraceID"));
        let Some(trace) = id.and_then(|(_, v)| v.parse::<TraceId>().ok()).filter(|t| !t.is_none()) else { return };
        let time = exemplar.time_ms.saturating_mul(1_000_000);
        let Some(mut window) = self.loom.window(self.origin, trace) else { return };
        window.exemplar(&self.metric, &self.service, time, exemplar.value);
        window.service(&self.service);
    }

    fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
}
