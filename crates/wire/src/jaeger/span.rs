//! A Jaeger span, and what it is in OTLP.

use model::{Attr, Event, Group, Link, OwnedValue, Span, SpanId, TraceId};

use crate::otlp::TraceEncoder;
use crate::{Limits, SpanSink, WireError};

/// A service that calls itself so has no name (the Collector's exporter writes it).
const NO_SERVICE: &str = "OTLPResourceNoServiceName";

/// Key and value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: OwnedValue,
}

/// Who sent spans.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Process {
    pub(super) service: String,
    pub(super) tags: Vec<Tag>,
}

/// A pointer to another span.
#[derive(Debug, Clone, Default)]
pub(super) struct Reference {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) follows: bool,
}

/// One span; filled anew for each.
#[derive(Debug, Default)]
pub(super) struct JaegerSpan {
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    /// None where references say it.
    pub(super) parent: SpanId,
    pub(super) name: String,
    /// Nanoseconds since the Unix epoch, and nanoseconds.
    pub(super) start: i64,
    pub(super) duration: i64,
    pub(super) references: Vec<Reference>,
    pub(super) tags: Vec<Tag>,
    /// Times in nanoseconds and fields.
    pub(super) logs: Vec<(i64, Vec<Tag>)>,
}

/// Collects spans into an OTLP request.
pub(super) struct Translator<'l> {
    encoder: TraceEncoder,
    limits: &'l Limits,
    /// What the encoder's current group was made of.
    group: Option<(Process, String, String)>,
}

impl<'l> Translator<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self { encoder: TraceEncoder::default(), limits, group: None }
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, WireError> {
        self.encoder.finish()
    }

    pub(super) fn span(&mut self, process: &Process, mut span: JaegerSpan) -> Result<(), WireError> {
        // A span may be a few bytes here and many there: what comes out is bounded too.
        if self.encoder.size() > self.limits.max_uncompressed {
            return Err(WireError::TooLarge { what: "the translated request", limit: self.limits.max_uncompressed });
        }
        let scope_name = take_text(&mut span.tags, "otel.scope.name").or_else(|| take_text(&mut span.tags, "otel.library.name"));
        let scope_version = match &scope_name {
            Some(_) => {
                take_text(&mut span.tags, "otel.scope.version").or_else(|| take_text(&mut span.tags, "otel.library.version"))
            }
            None => None,
        };
        let group = (scope_name.unwrap_or_default(), scope_version.unwrap_or_default());
        if !self.group.as_ref().is_some_and(|(p, n, v)| p == process && *n == group.0 && *v == group.1) {
            let resource = resource(process);
            let resource: Vec<Attr<'_>> = lend(&resource);
            let (scope_name, scope_version) = (group.0.as_str(), group.1.as_str());
            self.encoder.group(&Group { resource: &resource, scope_name, scope_version, ..Group::default() });
            self.group = Some((process.clone(), group.0, group.1));
        }
        let parent = parent(&span);
        let kind = match take_text(&mut span.tags, "span.kind").as_deref() {
            Some("internal") => 1,
            Some("server") => 2,
            Some("client") => 3,
            Some("producer") => 4,
            Some("consumer") => 5,
            _ => 0,
        };
        let (status_code, status_message) = status(&mut span.tags, kind);
        let trace_state = take_text(&mut span.tags, "w3c.tracestate").unwrap_or_default();
        let events: Vec<(i64, String, Vec<Tag>)> = std::mem::take(&mut span.logs)
            .into_iter()
            .map(|(time, mut fields)| {
                let name = take_text(&mut fields, "event").unwrap_or_default();
                (time, name, fields)
            })
            .collect();
        let is_parent = |r: &&Reference| r.span == parent && !r.follows;
        let links: Vec<&Reference> = span.references.iter().filter(|r| !is_parent(r)).collect();
        let mut nested = Vec::new();
        let mut ranges = Vec::with_capacity(events.len());
        for (_, _, fields) in &events {
            let from = nested.len();
            nested.extend(lend(fields));
            ranges.push(from..nested.len());
        }
        let out: Vec<Event<'_>> = events
            .iter()
            .zip(ranges)
            .map(|((time, name, _), attributes)| Event { time: *time, name, attributes, dropped_attributes: 0 })
            .collect();
        let links: Vec<Link<'_>> = links
            .into_iter()
            .map(|reference| {
                let kind = if reference.follows { "follows_from" } else { "child_of" };
                nested.push(Attr { key: "opentracing.ref_type", value: model::Value::Str(kind) });
                let attributes = nested.len() - 1..nested.len();
                Link { trace_id: reference.trace, span_id: reference.span, attributes, ..Link::default() }
            })
            .collect();
        self.encoder.span(&Span {
            trace_id: span.trace,
            span_id: span.id,
            parent_span_id: parent,
            trace_state: &trace_state,
            name: &span.name,
            kind,
            start: span.start,
            end: span.start.saturating_add(span.duration),
            status_code,
            status_message: &status_message,
            attributes: &lend(&span.tags),
            events: &out,
            links: &links,
            nested: &nested,
            ..Span::default()
        });
        Ok(())
    }
}

fn lend(tags: &[Tag]) -> Vec<Attr<'_>> {
    tags.iter().filter(|t| !t.key.is_empty()).map(|t| Attr { key: &t.key, value: t.value.as_value() }).collect()
}

fn resource(process: &Process) -> Vec<Tag> {
    if process.service == NO_SERVICE {
        return Vec::new();
    }
    let mut tags = Vec::with_capacity(process.tags.len() + 1);
    if !process.service.is_empty() {
        tags.push(Tag { key: "service.name".into(), value: OwnedValue::Str(process.service.clone()) });
    }
    tags.extend(process.tags.iter().filter(|t| process.service.is_empty() || t.key != "service.name").cloned());
    let has = |tags: &[Tag], key: &str| tags.iter().any(|t| t.key == key);
    if !has(&tags, "host.name") {
        tags.iter_mut().filter(|t| t.key == "hostname").for_each(|t| t.key = "host.name".into());
    }
    if !has(&tags, "opencensus.exporterversion")
        && let Some(tag) = tags.iter_mut().find(|t| t.key == "jaeger.version")
        && let OwnedValue::Str(version) = &tag.value
    {
        *tag = Tag { value: OwnedValue::Str(format!("Jaeger-{version}")), key: "opencensus.exporterversion".into() };
    }
    tags
}

/// The first span of the same trace that it is a child of, else that it follows.
fn parent(span: &JaegerSpan) -> SpanId {
    if !span.parent.is_none() {
        return span.parent;
    }
    let own = || span.references.iter().filter(|r| r.trace == span.trace);
    own().find(|r| !r.follows).or_else(|| own().next()).map_or(SpanId::NONE, |r| r.span)
}

fn take(tags: &mut Vec<Tag>, key: &str) -> Option<OwnedValue> {
    let at = tags.iter().position(|t| t.key == key)?;
    Some(tags.remove(at).value)
}

/// The text under `key`, which is removed; empty for values of another type, as in the Collector.
fn take_text(tags: &mut Vec<Tag>, key: &str) -> Option<String> {
    take(tags, key).map(|value| if let OwnedValue::Str(text) = value { text } else { String::new() })
}

fn get<'t>(tags: &'t [Tag], key: &str) -> Option<&'t OwnedValue> {
    tags.iter().find(|t| t.key == key).map(|t| &t.value)
}

/// The status: what `error` says, else `otel.status_code`, else what HTTP says.
fn status(tags: &mut Vec<Tag>, kind: i32) -> (i32, String) {
    let http_message = |tags: &[Tag]| match get(tags, "http.status_message") {
        Some(OwnedValue::Str(text)) => text.clone(),
        _ => String::new(),
    };
    let mut status = None;
    if get(tags, "error") == Some(&OwnedValue::Bool(true)) {
        take(tags, "error");
        let message = take_text(tags, "otel.status_description").unwrap_or_else(|| http_message(tags));
        status = Some((2, message));
    }
    if let Some(code) = take_text(tags, "otel.status_code") {
        return status.unwrap_or_else(|| {
            let code = match code.to_ascii_uppercase().as_str() {
                "OK" => 1,
                "ERROR" => 2,
                _ => 0,
            };
            (code, take_text(tags, "otel.status_description").unwrap_or_default())
        });
    }
    status.unwrap_or_else(|| {
        let code = match get(tags, "http.status_code") {
            Some(OwnedValue::Int(code)) => *code,
            Some(OwnedValue::Str(text)) => text.parse().unwrap_or(200),
            _ => 200,
        };
        // What the client did wrong is no failure of a server.
        let failed = !(100..if kind == 2 { 500 } else { 400 }).contains(&code);
        if failed { (2, http_message(tags)) } else { (0, String::new()) }
    })
}

/// Microseconds as nanoseconds, at the ends of the range where they do not fit.
pub(super) fn micros(micros: i64) -> i64 {
    micros.saturating_mul(1000)
}
