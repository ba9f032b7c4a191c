//! Spans to Datadog's `AgentPayload`, what its agents send to `/api/v0.2/traces` (`pkg/proto/datadog/trace/agent_payload.proto`,
//! `tracer_payload.proto`, `span.proto` of the agent).

use std::collections::BTreeMap;

use model::{Attr, Group, Span, TraceId, Value};

use crate::SpanSink;
use crate::otlp::as_text;
use crate::protobuf::write;

/// Bytes of a tag's value that are kept.
const LONGEST: usize = 25_000;

/// Builds one payload: a `TracerPayload` for each resource, a chunk for each trace in it.
#[derive(Debug)]
pub struct AgentPayloadEncoder {
    hostname: String,
    out: Vec<u8>,
    /// The current resource: what its tracer payload begins with, its spans' service, its attributes as tags.
    head: Vec<u8>,
    service: String,
    tags: Vec<(String, String)>,
    chunks: BTreeMap<TraceId, Vec<u8>>,
    bytes: usize,
    spans: u64,
}

impl AgentPayloadEncoder {
    /// An empty payload; `hostname` is that of spans whose resource names none.
    #[must_use]
    pub fn new(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            out: Vec::new(),
            head: Vec::new(),
            service: String::new(),
            tags: Vec::new(),
            chunks: BTreeMap::new(),
            bytes: 0,
            spans: 0,
        }
    }

    /// Bytes of the payload so far, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.out.len() + self.bytes
    }

    /// Spans in it.
    #[must_use]
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// The payload; the encoder is empty then and goes on with the same resource.
    pub fn finish(&mut self) -> Vec<u8> {
        self.close();
        self.spans = 0;
        let mut payload = Vec::with_capacity(self.out.len() + 64);
        write::put_bytes(&mut payload, 1, self.hostname.as_bytes());
        payload.append(&mut self.out);
        put_pair(&mut payload, 6, "_dd.compute_stats", "1");
        write::put_bytes(&mut payload, 7, concat!("braid-", env!("CARGO_PKG_VERSION")).as_bytes());
        payload
    }

    fn close(&mut self) {
        let chunks = std::mem::take(&mut self.chunks);
        self.bytes = 0;
        if chunks.is_empty() {
            return;
        }
        let head = &self.head;
        write::message(&mut self.out, 5, |out| {
            out.extend_from_slice(head);
            for (_, spans) in chunks {
                write::message(out, 6, |out| {
                    // The sampling priority: keep.
                    write::put_varint(out, 1, 1);
                    out.extend_from_slice(&spans);
                });
            }
        });
    }
}

fn put_pair(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    write::message(out, field, |out| {
        write::put_bytes(out, 1, key.as_bytes());
        write::put_bytes(out, 2, &value.as_bytes()[..value.floor_char_boundary(LONGEST)]);
    });
}

fn find<'a>(attributes: &'a [Attr<'a>], keys: &[&str]) -> Option<std::borrow::Cow<'a, str>> {
    keys.iter()
        .find_map(|key| attributes.iter().find(|a| a.key == *key).map(|a| as_text(&a.value)))
        .filter(|text| !text.is_empty())
}

fn low(trace: &TraceId) -> u64 {
    trace.0.last_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

/// Name, resource and type of a span, as Datadog's own exporter maps OpenTelemetry's conventions.
fn operation(span: &Span<'_>) -> (String, String, &'static str) {
    let kind = match span.kind {
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "internal",
    };
    let attributes = span.attributes;
    if let Some(method) = find(attributes, &["http.request.method", "http.method"]) {
        let route = find(attributes, &["http.route"]);
        let resource = route.map_or_else(|| span.name.to_owned(), |route| format!("{method} {route}"));
        return (format!("http.{kind}.request"), resource, if span.kind == 2 { "web" } else { "http" });
    }
    if let Some(system) = find(attributes, &["db.system.name", "db.system"]) {
        let query = find(attributes, &["db.query.text", "db.statement"]).map(|q| q.into_owned());
        return (format!("{system}.query"), query.unwrap_or_else(|| span.name.to_owned()), "db");
    }
    if let Some(system) = find(attributes, &["messaging.system"]) {
        return (format!("{system}.{}", if span.kind == 5 { "process" } else { "send" }), span.name.to_owned(), "queue");
    }
    let name = if matches!(kind, "server" | "client") { format!("{kind}.request") } else { kind.to_owned() };
    (name, span.name.to_owned(), if span.kind == 2 { "web" } else { "custom" })
}

impl SpanSink for AgentPayloadEncoder {
    fn group(&mut self, group: &Group<'_>) {
        self.close();
        let r = group.resource;
        self.service = find(r, &["service.name"]).map_or_else(|| "unnamed-service".to_owned(), std::borrow::Cow::into_owned);
        let mut head = Vec::new();
        write::put_bytes(&mut head, 1, find(r, &["container.id"]).unwrap_or_default().as_bytes());
        write::put_bytes(&mut head, 2, find(r, &["telemetry.sdk.language"]).unwrap_or_default().as_bytes());
        write::put_bytes(&mut head, 4, find(r, &["telemetry.sdk.version"]).unwrap_or_default().as_bytes());
        let env = find(r, &["deployment.environment.name", "deployment.environment"]).unwrap_or_default();
        write::put_bytes(&mut head, 8, env.as_bytes());
        let host = find(r, &["datadog.host.name", "host.name", "host.id"]);
        write::put_bytes(&mut head, 9, host.as_deref().unwrap_or(&self.hostname).as_bytes());
        write::put_bytes(&mut head, 10, find(r, &["service.version"]).unwrap_or_default().as_bytes());
        self.head = head;
        self.tags = r.iter().map(|a| (a.key.to_owned(), as_text(&a.value).into_owned())).collect();
        if !env.is_empty() {
            self.tags.push(("env".to_owned(), env.into_owned()));
        }
        if !group.scope_name.is_empty() {
            self.tags.push(("otel.library.name".to_owned(), group.scope_name.to_owned()));
        }
    }

    fn span(&mut self, span: &Span<'_>) {
        let (name, resource, kind) = operation(span);
        let chunk = self.chunks.entry(span.trace_id).or_default();
        let before = chunk.len();
        write::message(chunk, 3, |out| {
            write::put_bytes(out, 1, self.service.as_bytes());
            write::put_bytes(out, 2, name.as_bytes());
            write::put_bytes(out, 3, &resource.as_bytes()[..resource.floor_char_boundary(5_000)]);
            write::put_varint(out, 4, low(&span.trace_id));
            write::put_varint(out, 5, u64::from_be_bytes(span.span_id.0));
            write::put_varint(out, 6, u64::from_be_bytes(span.parent_span_id.0));
            write::put_varint(out, 7, span.start as u64);
            write::put_varint(out, 8, span.end.saturating_sub(span.start).max(0).unsigned_abs());
            write::put_varint(out, 9, u64::from(span.status_code == 2));
            let mut meta = |key: &str, value: &str| {
                if !value.is_empty() {
                    put_pair(out, 10, key, value);
                }
            };
            for (key, value) in &self.tags {
                meta(key, value);
            }
            // The half of the id that does not fit into the number.
            meta("_dd.p.tid", &span.trace_id.to_string()[..16]);
            meta("otel.trace_id", &span.trace_id.to_string());
            meta(
                "span.kind",
                ["internal", "internal", "server", "client", "producer", "consumer"][span.kind.clamp(0, 5) as usize],
            );
            if span.status_code == 2 {
                meta("error.msg", span.status_message);
            }
            meta("w3c.tracestate", span.trace_state);
            for a in span.attributes {
                if !matches!(a.value, Value::Int(_) | Value::Double(_)) {
                    meta(a.key, &as_text(&a.value));
                }
            }
            if !span.events.is_empty() {
                meta("events", &events(span));
            }
            if !span.links.is_empty() {
                meta("_dd.span_links", &links(span));
            }
            let mut metric = |key: &str, value: f64| {
                write::message(out, 11, |out| {
                    write::put_bytes(out, 1, key.as_bytes());
                    write::put_fixed64(out, 2, value.to_bits());
                });
            };
            for a in span.attributes {
                match a.value {
                    Value::Int(n) => metric(a.key, n as f64),
                    Value::Double(d) => metric(a.key, d),
                    _ => {}
                }
            }
            metric("_sampling_priority_v1", 1.0);
            if span.parent_span_id.is_none() || matches!(span.kind, 2 | 5) {
                metric("_top_level", 1.0);
            }
            write::put_bytes(out, 12, kind.as_bytes());
        });
        self.bytes += chunk.len() - before;
        self.spans += 1;
    }
}

fn attributes(all: &[Attr<'_>]) -> serde_json::Value {
    all.iter().map(|a| (a.key.to_owned(), serde_json::Value::from(as_text(&a.value).into_owned()))).collect()
}

fn events(span: &Span<'_>) -> String {
    let events = span.events.iter().map(|e| {
        let own = attributes(span.nested.get(e.attributes.clone()).unwrap_or_default());
        serde_json::json!({"time_unix_nano": e.time, "name": e.name, "attributes": own})
    });
    serde_json::Value::Array(events.collect()).to_string()
}

fn links(span: &Span<'_>) -> String {
    let links = span.links.iter().map(|l| {
        let own = attributes(span.nested.get(l.attributes.clone()).unwrap_or_default());
        serde_json::json!({"trace_id": l.trace_id.to_string(), "span_id": l.span_id.to_string(), "tracestate": l.trace_state, "attributes": own})
    });
    serde_json::Value::Array(links.collect()).to_string()
}
