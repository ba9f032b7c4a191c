//! One item by each protocol, and whether it can be found again.

use std::time::{Duration, Instant};

use super::Checked;
use super::messages::Item;
use super::server::Server;

/// The service that the items are of.
const SERVICE: &str = "braid-verify";
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How an item is found again.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// A trace by its id.
    Trace,
    /// A line by its word.
    Line,
    /// A series by its name.
    Series,
}

/// A protocol: where its request goes, what it is, how its item is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// What the check is called.
    pub(super) name: &'static str,
    /// The port.
    pub(super) port: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: fn(&Item<'_>) -> Vec<u8>,
    found: Found,
}

const fn probe(
    name: &'static str,
    (port, path): (&'static str, &'static str),
    content_type: &'static str,
    body: fn(&Item<'_>) -> Vec<u8>,
    found: Found,
) -> Probe {
    Probe { name, port, path, content_type, body, found }
}

const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";

/// All of them.
pub(super) const PROBES: [Probe; 10] = [
    probe("trace by OTLP/HTTP", ("otlp_http", "/v1/traces"), JSON, |i| i.otlp_trace_json(), Found::Trace),
    probe("log by OTLP/HTTP", ("otlp_http", "/v1/logs"), JSON, |i| i.otlp_log_json(), Found::Line),
    probe("metric by OTLP/HTTP", ("otlp_http", "/v1/metrics"), JSON, |i| i.otlp_metric_json(), Found::Series),
    probe(
        "trace by OTLP/gRPC",
        ("otlp_grpc", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        GRPC,
        |i| i.otlp_trace_grpc(),
        Found::Trace,
    ),
    probe("log by Loki push", ("loki", "/loki/api/v1/push"), JSON, |i| i.loki(), Found::Line),
    probe(
        "metric by remote write",
        ("prometheus", "/api/v1/write"),
        "application/x-protobuf",
        |i| i.remote_write(),
        Found::Series,
    ),
    probe("log by /api/logs", ("correlation", "/api/logs"), JSON, |i| i.records(), Found::Line),
    probe("trace by Zipkin", ("zipkin", "/api/v2/spans"), JSON, |i| i.zipkin(), Found::Trace),
    probe("trace by Jaeger/HTTP", ("jaeger_http", "/api/traces"), "application/x-thrift", |i| i.jaeger_thrift(), Found::Trace),
    probe(
        "trace by Jaeger/gRPC",
        ("jaeger_grpc", "/jaeger.api_v2.CollectorService/PostSpans"),
        GRPC,
        |i| i.jaeger_grpc(),
        Found::Trace,
    ),
];

/// The items of one run.
pub(super) struct Run {
    /// Nanoseconds since the Unix epoch.
    begun: u64,
}

impl Run {
    /// A run that nothing written before can be taken for.
    pub(super) fn new() -> Self {
        Self { begun: std::time::UNIX_EPOCH.elapsed().map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// Sixteen bytes that belong to this run and this item.
    fn trace(&self, number: u8) -> [u8; 16] {
        let mut id = [0xb7; 16];
        id[4..12].copy_from_slice(&self.begun.to_be_bytes());
        id[15] = number;
        id
    }

    /// Sends an item and looks for it until it is found.
    pub(super) async fn probe(&self, server: &Server, probe: Probe, patience: Duration) -> Checked {
        let number = PROBES.iter().position(|p| p.name == probe.name).unwrap_or_default() as u8;
        let word = format!("braid_verify_{:x}_{number}", self.begun);
        let item = Item { trace: self.trace(number), service: SERVICE, word: &word, now: self.begun };
        server.send(probe.port, probe.path, probe.content_type, (probe.body)(&item)).await?;
        let sent = Instant::now();
        let (port, path) = match probe.found {
            Found::Trace => ("tempo", format!("/api/traces/{}", item.trace_id())),
            Found::Line => (
                "loki",
                format!("/loki/api/v1/query_range?since=1h&query=%7Bservice_name%3D%22{SERVICE}%22%7D%7C%3D%22{word}%22"),
            ),
            Found::Series => ("prometheus", format!("/api/v1/query?query=%7B__name__%3D~%22{word}.*%22%7D")),
        };
        eventually(patience, || async {
            let text = server.text(port, &path).await?;
            if text.contains(&word) {
                Ok(format!("found after {:.1} s", sent.elapsed().as_secs_f64()))
            } else {
                Err(format!("taken in, but not found by {path} on port {port}"))
            }
        })
        .await
    }

    /// A trace and a log line of two services, which must be joined.
    pub(super) async fn correlation(&self, server: &Server, patience: Duration) -> Checked {
        let word = format!("braid_verify_{:x}_joined", self.begun);
        let item = Item { trace: self.trace(0xff), service: SERVICE, word: &word, now: self.begun };
        server.send("otlp_http", "/v1/traces", JSON, item.otlp_trace_json()).await?;
        server.send("otlp_http", "/v1/logs", JSON, Item { service: "braid-verify-other", ..item }.otlp_log_json()).await?;
        let sent = Instant::now();
        let path = format!("/api/correlations?trace_id={}", item.trace_id());
        eventually(patience, || async {
            let text = server.text("correlation", &path).await?;
            let events: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
            let event = events.get(0).ok_or_else(|| format!("no event at {path} within {} s", patience.as_secs()))?;
            let count = |name: &str| event.get(name).and_then(serde_json::Value::as_u64).unwrap_or_default();
            match (count("span_count"), count("log_count")) {
                (1.., 1..) => Ok(format!("a span and a line joined after {:.1} s", sent.elapsed().as_secs_f64())),
                (spans, lines) => Err(format!("the event has {spans} spans and {lines} log lines, not one each")),
            }
        })
        .await
    }
}

/// The first good answer, or the last bad one.
async fn eventually<F: Future<Output = Checked>>(patience: Duration, mut look: impl FnMut() -> F) -> Checked {
    let until = Instant::now() + patience;
    loop {
        let looked = look().await;
        if looked.is_ok() || Instant::now() >= until {
            return looked;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
