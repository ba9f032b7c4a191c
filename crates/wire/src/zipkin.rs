//! Zipkin's spans (`POST /api/v2/spans`, JSON version 2, <https://zipkin.io/zipkin-api/>) to OTLP, by the translation rules of
//! the OpenTelemetry Collector's Zipkin receiver. What comes out is an `ExportTraceServiceRequest`.
//!
//! Where one span id is shared by a client and its server (`shared`), the server's span gets an id of its own and the
//! client's as its parent: a span is known by trace and id, so that one of the two would be lost otherwise.

use std::fmt;

use model::{Attr, Event, Group, Link, OwnedValue, Span, SpanId, TraceId};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::otlp::TraceEncoder;
use crate::{Limits, SpanSink, WireError};

/// What an id that is shared is changed by: "shared", and a bit more.
const SHARED: [u8; 8] = *b"shared\0\x01";
/// Tags that describe the service: the resource attributes of OpenTelemetry's semantic conventions 1.6.1, which the Collector
/// takes for such.
const OF_RESOURCES: [&str; 85] = [
    "aws.ecs.cluster.arn",
    "aws.ecs.container.arn",
    "aws.ecs.launchtype",
    "aws.ecs.task.arn",
    "aws.ecs.task.family",
    "aws.ecs.task.revision",
    "aws.eks.cluster.arn",
    "aws.log.group.arns",
    "aws.log.group.names",
    "aws.log.stream.arns",
    "aws.log.stream.names",
    "cloud.account.id",
    "cloud.availability_zone",
    "cloud.platform",
    "cloud.provider",
    "cloud.region",
    "container.id",
    "container.image.name",
    "container.image.tag",
    "container.name",
    "container.runtime",
    "deployment.environment",
    "device.id",
    "device.model.identifier",
    "device.model.name",
    "faas.id",
    "faas.instance",
    "faas.max_memory",
    "faas.name",
    "faas.version",
    "host.arch",
    "host.id",
    "host.image.id",
    "host.image.name",
    "host.image.version",
    "host.name",
    "host.type",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.cronjob.uid",
    "k8s.daemonset.name",
    "k8s.daemonset.uid",
    "k8s.deployment.name",
    "k8s.deployment.uid",
    "k8s.job.name",
    "k8s.job.uid",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.node.uid",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.replicaset.name",
    "k8s.replicaset.uid",
    "k8s.statefulset.name",
    "k8s.statefulset.uid",
    "opencensus.exporterversion",
    "opencensus.resourcetype",
    "opencensus.starttime",
    "os.description",
    "os.name",
    "os.type",
    "os.version",
    "process.command",
    "process.command_args",
    "process.command_line",
    "process.executable.name",
    "process.executable.path",
    "process.owner",
    "process.pid",
    "process.runtime.description",
    "process.runtime.name",
    "process.runtime.version",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.auto.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "webengine.description",
    "webengine.name",
    "webengine.version",
    "otlp.service.name.source",
];

/// The spans of a request as an `ExportTraceServiceRequest`. With `parse_tags` tags that look like numbers or booleans become
/// such.
///
/// # Errors
/// [`WireError`] when the request cannot be read or exceeds the limits.
pub fn to_otlp(bytes: &[u8], parse_tags: bool, limits: &Limits) -> Result<Vec<u8>, WireError> {
    let mut translator = Translator { encoder: TraceEncoder::default(), limits, parse_tags, group: None, too_large: None };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = json.deserialize_seq(Spans(&mut translator)).and_then(|()| json.end());
    if let Some(too_large) = translator.too_large {
        return Err(too_large);
    }
    read.map_err(|e| WireError::Json(e.to_string()))?;
    translator.encoder.finish()
}

/// Reads the array span by span, so that no more than one is held.
struct Spans<'t, 'l>(&'t mut Translator<'l>);

impl<'de> Visitor<'de> for Spans<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of Zipkin spans")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut spans: A) -> Result<(), A::Error> {
        while let Some(span) = spans.next_element_seed(One(self.0.limits))? {
            self.0.span(span).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Reads one span within limits.
struct One<'l>(&'l Limits);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ZipkinSpan;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<ZipkinSpan, D::Error> {
        let span = ZipkinSpan::deserialize(json)?;
        if span.tags.0.len() > self.0.max_attributes_per_record || span.annotations.0.len() > self.0.max_events_per_span {
            return Err(D::Error::custom("a span of too many tags or annotations"));
        }
        Ok(span)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan {
    trace_id: String,
    id: String,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    timestamp: Micros,
    #[serde(default)]
    duration: Micros,
    #[serde(default)]
    local_endpoint: Option<Endpoint>,
    #[serde(default)]
    remote_endpoint: Option<Endpoint>,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    shared: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    service_name: Option<String>,
    #[serde(default)]
    ipv4: Option<String>,
    #[serde(default)]
    ipv6: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    #[serde(default)]
    timestamp: Micros,
    #[serde(default)]
    value: String,
}

/// Microseconds as they are written: whole, with a fraction, `null`, or not at all.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Micros(i64);

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let Some(number) = Option::<serde_json::Number>::deserialize(json)? else { return Ok(Self(0)) };
        let micros = number.as_i64().or_else(|| number.as_f64().map(|f| f as i64));
        micros.map(Self).ok_or_else(|| D::Error::custom("no number of microseconds"))
    }
}

/// What no span of a sound sender comes near; it bounds what a hostile one costs before its limits are looked at.
const MOST: usize = 100_000;

/// `tags`, in the order in which they come; the last of equal keys stays.
#[derive(Debug, Default)]
struct Tags(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Tags;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_unit<E>(self) -> Result<Tags, E> {
                Ok(Tags::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags: Vec<(String, String)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Json>()? {
                    if tags.len() >= MOST {
                        return Err(A::Error::custom("a span of too many tags"));
                    }
                    let value = match value {
                        Json::String(text) => text,
                        other => other.to_string(),
                    };
                    tags.push((key, value));
                }
                // Stable, so that the last of equals is the last.
                let mut order: Vec<usize> = (0..tags.len()).collect();
                order.sort_by(|a, b| tags[*a].0.cmp(&tags[*b].0));
                let mut stays = vec![true; tags.len()];
                order.windows(2).filter(|w| tags[w[0]].0 == tags[w[1]].0).for_each(|w| stays[w[0]] = false);
                let mut stays = stays.into_iter();
                tags.retain(|(key, _)| stays.next().unwrap_or(true) && !key.is_empty());
                Ok(Tags(tags))
            }
        }
        json.deserialize_any(Pairs)
    }
}

impl Tags {
    fn take(&mut self, key: &str) -> Option<String> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }
}

#[derive(Debug, Default)]
struct Annotations(Vec<Annotation>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Annotations;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of annotations")
            }
            fn visit_unit<E>(self) -> Result<Annotations, E> {
                Ok(Annotations::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Annotations, A::Error> {
                let mut out = Vec::new();
                while let Some(annotation) = list.next_element()? {
                    if out.len() >= MOST {
                        while list.next_element::<IgnoredAny>()?.is_some() {}
                        return Err(A::Error::custom("a span of too many annotations"));
                    }
                    out.push(annotation);
                }
                Ok(Annotations(out))
            }
        }
        json.deserialize_any(List)
    }
}

struct Translator<'l> {
    encoder: TraceEncoder,
    limits: &'l Limits,
    parse_tags: bool,
    /// The resource and scope of the encoder's current group.
    group: Option<(Vec<(String, String)>, String, String)>,
    too_large: Option<WireError>,
}

impl Translator<'_> {
    fn span(&mut self, zipkin: ZipkinSpan) -> Result<(), String> {
        if self.encoder.size() > self.limits.max_uncompressed {
            let limit = self.limits.max_uncompressed;
            self.too_large = Some(WireError::TooLarge { what: "the translated request", limit });
            return Err("too large".to_owned());
        }
        let ZipkinSpan { trace_id, id, parent_id, name, kind, timestamp, duration, .. } = zipkin;
        let (local_endpoint, remote_endpoint) = (zipkin.local_endpoint, zipkin.remote_endpoint);
        let (annotations, mut tags, shared) = (zipkin.annotations, zipkin.tags, zipkin.shared);
        let trace_id: TraceId = trace_id.parse().map_err(|e| format!("traceId {trace_id:?}: {e}"))?;
        let mut span_id: SpanId = id.parse().map_err(|e| format!("id {id:?}: {e}"))?;
        let mut parent = match parent_id.as_deref() {
            None | Some("") => SpanId::NONE,
            Some(text) => text.parse::<SpanId>().map_err(|e| format!("parentId {text:?}: {e}"))?,
        };
        if parent == span_id {
            parent = SpanId::NONE;
        }
        let kind = match kind.as_deref() {
            Some("SERVER") => 2,
            Some("CLIENT") => 3,
            Some("PRODUCER") => 4,
            Some("CONSUMER") => 5,
            _ => match tags.take("span.kind").as_deref() {
                Some("internal") => 1,
                _ => 0,
            },
        };
        if shared == Some(true) && kind == 2 {
            parent = span_id;
            span_id.0.iter_mut().zip(SHARED).for_each(|(byte, change)| *byte ^= change);
        }
        self.group(&mut tags, local_endpoint.as_ref());
        let trace_state = tags.take("w3c.tracestate").unwrap_or_default();
        let (mut status_code, mut status_message) = (0, String::new());
        if let Some(code) = tags.take("otel.status_code") {
            status_code = match code.as_str() {
                "STATUS_CODE_OK" | "OK" => 1,
                "STATUS_CODE_ERROR" | "ERROR" => 2,
                _ => 0,
            };
            status_message = tags.take("otel.status_description").unwrap_or_default();
        }
        if tags.0.iter().any(|(key, value)| key == "error" && value == "true") {
            status_code = 2;
            tags.take("error");
        }
        let mut nested: Vec<(String, OwnedValue)> = Vec::new();
        let mut links = Vec::new();
        for i in 0..128 {
            let Some(text) = tags.take(&format!("otlp.link.{i}")) else { break };
            links.extend(link(&text, &mut nested));
        }
        let events: Vec<_> = annotations.0.iter().map(|a| (nanos(a.timestamp), event(&a.value, &mut nested))).collect();
        let mut attributes: Vec<(String, OwnedValue)> = tags
            .0
            .into_iter()
            .map(|(key, value)| (key, if self.parse_tags { typed(value) } else { OwnedValue::Str(value) }))
            .collect();
        endpoint(local_endpoint.as_ref(), ["net.host.ip", "net.host.port"], &mut attributes);
        if let Some(service) = remote_endpoint.as_ref().and_then(|e| e.service_name.as_ref()).filter(|s| !s.is_empty()) {
            put(&mut attributes, "peer.service", OwnedValue::Str(service.clone()));
        }
        endpoint(remote_endpoint.as_ref(), ["net.peer.ip", "net.peer.port"], &mut attributes);
        if timestamp.0 == 0 {
            put(&mut attributes, "otel.zipkin.absentField.startTime", OwnedValue::Bool(true));
        }
        let events: Vec<Event<'_>> = events
            .iter()
            .map(|(time, (name, attributes, dropped))| Event {
                time: *time,
                name,
                attributes: attributes.clone(),
                dropped_attributes: *dropped,
            })
            .collect();
        let links: Vec<Link<'_>> = links
            .iter()
            .map(|(trace, span, state, attributes, dropped)| Link {
                trace_id: *trace,
                span_id: *span,
                trace_state: state,
                attributes: attributes.clone(),
                dropped_attributes: *dropped,
                ..Link::default()
            })
            .collect();
        let start = nanos(timestamp);
        self.encoder.span(&Span {
            trace_id,
            span_id,
            parent_span_id: parent,
            trace_state: &trace_state,
            name: name.as_deref().unwrap_or(""),
            kind,
            start,
            end: start.saturating_add(nanos(duration)),
            status_code,
            status_message: &status_message,
            attributes: &lend(&attributes),
            events: &events,
            links: &links,
            nested: &lend(&nested),
            ..Span::default()
        });
        Ok(())
    }

    /// Takes what describes the service and the library out of the tags.
    fn group(&mut self, tags: &mut Tags, local: Option<&Endpoint>) {
        let service =
            local.and_then(|e| e.service_name.as_deref()).filter(|s| !s.is_empty() && *s != "OTLPResourceNoServiceName");
        let source = tags.take("otlp.service.name.source").filter(|s| !s.is_empty());
        let mut resource: Vec<(String, String)> = Vec::new();
        if let Some(service) = service {
            resource.push((source.unwrap_or_else(|| "service.name".to_owned()), service.to_owned()));
        }
        let mut others = Vec::with_capacity(tags.0.len());
        for (key, value) in std::mem::take(&mut tags.0) {
            if !OF_RESOURCES.contains(&key.as_str()) {
                others.push((key, value));
            } else if !resource.iter().any(|(k, _)| *k == key) {
                resource.push((key, value));
            }
        }
        tags.0 = others;
        let mut either = |new: &str, old: &str| tags.take(new).or_else(|| tags.take(old)).unwrap_or_default();
        let (name, version) =
            (either("otel.library.name", "otel.scope.name"), either("otel.library.version", "otel.scope.version"));
        let group = (resource, name, version);
        if self.group.as_ref() != Some(&group) {
            let resource: Vec<Attr<'_>> = group.0.iter().map(|(key, v)| Attr { key, value: model::Value::Str(v) }).collect();
            let (scope_name, scope_version) = (group.1.as_str(), group.2.as_str());
            self.encoder.group(&Group { resource: &resource, scope_name, scope_version, ..Group::default() });
            self.group = Some(group);
        }
    }
}

fn nanos(micros: Micros) -> i64 {
    micros.0.saturating_mul(1000)
}

fn lend(pairs: &[(String, OwnedValue)]) -> Vec<Attr<'_>> {
    pairs.iter().map(|(key, value)| Attr { key, value: value.as_value() }).collect()
}

fn put(attributes: &mut Vec<(String, OwnedValue)>, key: &str, value: OwnedValue) {
    match attributes.iter_mut().find(|(k, _)| k == key) {
        Some((_, old)) => *old = value,
        None => attributes.push((key.to_owned(), value)),
    }
}

fn endpoint(endpoint: Option<&Endpoint>, [ip, port]: [&str; 2], attributes: &mut Vec<(String, OwnedValue)>) {
    let Some(endpoint) = endpoint else { return };
    for address in [&endpoint.ipv4, &endpoint.ipv6].into_iter().flatten().filter(|a| !a.is_empty()) {
        put(attributes, ip, OwnedValue::Str(address.clone()));
    }
    if let Some(number) = endpoint.port.filter(|p| *p > 0) {
        put(attributes, port, OwnedValue::Int(number.into()));
    }
}

/// What a text looks like.
fn typed(text: String) -> OwnedValue {
    if let Ok(boolean) = text.parse() {
        return OwnedValue::Bool(boolean);
    }
    let digits = text.strip_prefix('-').unwrap_or(&text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return OwnedValue::Str(text);
    }
    if let Ok(int) = text.parse() {
        return OwnedValue::Int(int);
    }
    match text.parse() {
        Ok(double) => OwnedValue::Double(double),
        Err(_) => OwnedValue::Str(text),
    }
}

type Range = std::ops::Range<usize>;

/// `name`, or `name|{"key":"value"}|dropped` as the Collector's exporter writes it. What does not fit is a name as a whole.
fn event(text: &str, nested: &mut Vec<(String, OwnedValue)>) -> (String, Range, u32) {
    let whole = (text.to_owned(), 0..0, 0);
    let Some((name, rest)) = text.split_once('|') else { return whole };
    let Some((json, dropped)) = rest.rsplit_once('|') else { return whole };
    match (attributes(json, nested), dropped.parse()) {
        (Some(range), Ok(dropped)) => (name.to_owned(), range, dropped),
        _ => whole,
    }
}

/// `trace|span|state|{"key":"value"}|dropped`.
fn link(text: &str, nested: &mut Vec<(String, OwnedValue)>) -> Option<(TraceId, SpanId, String, Range, u32)> {
    let mut parts = text.splitn(4, '|');
    let (trace, span, state, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (json, dropped) = rest.rsplit_once('|')?;
    let (trace, span, dropped) = (trace.parse().ok()?, span.parse().ok()?, dropped.parse().ok()?);
    Some((trace, span, state.to_owned(), attributes(json, nested)?, dropped))
}

fn attributes(json: &str, nested: &mut Vec<(String, OwnedValue)>) -> Option<Range> {
    let pairs: serde_json::Map<String, Json> = serde_json::from_str(json).ok()?;
    let from = nested.len();
    nested.extend(pairs.into_iter().filter(|(key, _)| !key.is_empty()).filter_map(|(key, value)| {
        let value = match value {
            Json::String(text) => OwnedValue::Str(text),
            Json::Bool(b) => OwnedValue::Bool(b),
            Json::Number(n) => n.as_i64().map(OwnedValue::Int).or_else(|| n.as_f64().map(OwnedValue::Double))?,
            _ => return None,
        };
        Some((key, value))
    }));
    Some(from..nested.len())
}
