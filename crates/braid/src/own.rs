//! Braid's own logs and traces, kept in its own store under the tenant `braid`, where that is asked for.
//!
//! No loops: what is kept here goes straight to the store, past the receivers that log and count; queries of the tenant
//! `braid` leave no span; and a full queue drops, it never waits.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::Asked;
use model::Tenant;
use serde_json::{Value as Json, json};
use store::{Request, Writer};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use wire::Encoding;

/// Whose they are.
pub(crate) const TENANT: &str = "braid";
/// Events and spans that may wait.
const WAITING: usize = 4096;
/// How often they are kept.
const EVERY: Duration = Duration::from_secs(1);
/// Records of one request.
const BATCH: usize = 1000;

/// What is to be kept.
enum Kept {
    Event(Json),
    Span(Json),
}

/// Where events and spans go in; clones share it.
#[derive(Clone)]
pub(crate) struct Own {
    into: SyncSender<Kept>,
    dropped: Arc<AtomicU64>,
    logs: bool,
    traces: bool,
}

/// Where they come out.
pub(crate) struct Outgoing(Receiver<Kept>);

/// A queue for events where `logs`, and for spans where `traces`.
pub(crate) fn queue(logs: bool, traces: bool) -> (Own, Outgoing) {
    let (into, from) = sync_channel(WAITING);
    (Own { into, dropped: Arc::default(), logs, traces }, Outgoing(from))
}

impl Own {
    fn keep(&self, kept: Kept) {
        if let Err(TrySendError::Full(_)) = self.into.try_send(kept) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A query was answered.
    pub(crate) fn asked(&self, asked: &Asked<'_>) {
        if !self.traces || asked.tenant == TENANT {
            return;
        }
        let random = || {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(asked.path)
        };
        let (end, took) = (now(), i64::try_from(asked.took.as_nanos()).unwrap_or(i64::MAX));
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let number = |key: &str, value: u64| json!({"key": key, "value": {"intValue": value.to_string()}});
        let mut span = json!({
            "traceId": format!("{:016x}{:016x}", random(), random()),
            "spanId": format!("{:016x}", random() | 1),
            "name": format!("{} {}", asked.api, asked.path),
            "kind": 2,
            "startTimeUnixNano": end.saturating_sub(took).to_string(),
            "endTimeUnixNano": end.to_string(),
            "attributes": [
                text("braid.api", asked.api),
                text("http.route", asked.path),
                text("braid.tenant", asked.tenant),
                text("braid.query", asked.query),
                number("http.response.status_code", asked.code.into()),
                number("braid.rows", asked.rows as u64),
                number("http.response.body.size", asked.bytes as u64),
            ],
        });
        if asked.code >= 500 {
            span["status"] = json!({"code": 2});
        }
        self.keep(Kept::Span(span));
    }

    /// Appends what was dropped, in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        let name = "braid_own_telemetry_dropped_total";
        let n = self.dropped.load(Ordering::Relaxed);
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} Own events and spans that found no room.\n# TYPE {name} counter\n{name} {n}");
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// An event's message and fields.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<Json>,
}

impl Fields {
    fn add(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.others.push(json!({"key": name, "value": {"stringValue": text}})),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Own {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if !self.logs {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let severity = match *meta.level() {
            tracing::Level::TRACE => 1,
            tracing::Level::DEBUG => 5,
            tracing::Level::INFO => 9,
            tracing::Level::WARN => 13,
            tracing::Level::ERROR => 17,
        };
        fields.others.push(json!({"key": "target", "value": {"stringValue": meta.target()}}));
        self.keep(Kept::Event(json!({
            "timeUnixNano": now().to_string(),
            "severityNumber": severity,
            "severityText": meta.level().as_str(),
            "body": {"stringValue": fields.message},
            "attributes": fields.others,
        })));
    }
}

/// Keeps what comes, until `stop`.
pub(crate) async fn run(outgoing: Outgoing, writer: Arc<dyn Writer>, stop: CancellationToken) {
    let Ok(tenant) = Tenant::new(TENANT) else { return };
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let (mut events, mut spans) = (Vec::new(), Vec::new());
        for kept in outgoing.0.try_iter().take(BATCH) {
            match kept {
                Kept::Event(event) => events.push(event),
                Kept::Span(span) => spans.push(span),
            }
        }
        let resource = json!({"attributes": [
            {"key": "service.name", "value": {"stringValue": "braid"}},
            {"key": "service.version", "value": {"stringValue": env!("CARGO_PKG_VERSION")}},
        ]});
        let mut requests = Vec::new();
        if !events.is_empty() {
            let body = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": events}]}]});
            requests.push((Encoding::OtlpLogsJson, body));
        }
        if !spans.is_empty() {
            let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
            requests.push((Encoding::OtlpTracesJson, body));
        }
        for (encoding, body) in requests {
            let request = Request { tenant: tenant.clone(), encoding, payload: body.to_string().into() };
            // What the store cannot take now is not worth a word: that word would be the next event.
            let _ = writer.append(request).await;
        }
        if last {
            return;
        }
    }
}
