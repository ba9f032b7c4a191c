//! What all receivers share: from a body to an acknowledgement.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Body;
use model::Tenant;
use store::{Request, Writer};
use wire::{Encoding, Plains, Summary};

use crate::workers::{Undone, Workers};
use crate::{Brake, Budget, ContentEncoding, Counters, Held, Refusal, Tenants, Via, body, inflate};

/// The header that names the tenant, in all protocols (gRPC: as metadata).
pub(crate) const TENANT: &str = "x-scope-orgid";

/// Bodies larger than this are inflated and checked on a thread of their own kind, so that they delay no other connection.
const IN_PLACE: usize = 128 * 1024;

/// Decompressed bodies that wait for their table, bytes; what finds no room is decompressed once more.
const PLAINS: usize = 8 << 20;

/// What a request may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body as it is sent. Default 20 MiB.
    pub body: usize,
    /// Bytes of a body after its content encoding is undone. Default 64 MiB.
    pub inflated: usize,
    /// What the walkers accept.
    pub wire: wire::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 20 << 20, inflated: 64 << 20, wire: wire::Limits::default() }
    }
}

/// The way into the store. One for all receivers.
pub struct Ingest {
    writer: Arc<dyn Writer>,
    limits: Limits,
    budget: Budget,
    counters: Arc<Counters>,
    tenants: Arc<Tenants>,
    brake: Brake,
    workers: Workers,
    plains: Plains,
}

/// What a receiver has learnt of a request before its body is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) via: Via,
    pub(crate) encoding: Encoding,
    pub(crate) compression: ContentEncoding,
    pub(crate) begun: Instant,
    pub(crate) translation: Translation,
}

/// What is done to a payload before it is checked and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Translation {
    /// It is kept as it was sent.
    #[default]
    None,
    /// Zipkin's JSON to OTLP; whether tags become numbers and booleans.
    Zipkin(bool),
    /// Jaeger's Thrift to OTLP.
    JaegerThrift(wire::jaeger::Protocol),
    /// Jaeger's protobuf to OTLP.
    JaegerProto,
}

impl Translation {
    fn apply(self, payload: Bytes, limits: &wire::Limits, held: &mut Held) -> Result<Bytes, Refusal> {
        let translated = match self {
            Self::None => return Ok(payload),
            Self::Zipkin(parse_tags) => wire::zipkin::to_otlp(&payload, parse_tags, limits)?,
            Self::JaegerThrift(protocol) => wire::jaeger::thrift_to_otlp(&payload, protocol, limits)?,
            Self::JaegerProto => wire::jaeger::proto_to_otlp(&payload, limits)?,
        };
        held.at_least(translated.len())?;
        Ok(translated.into())
    }
}

impl Ingest {
    /// A way into `writer`, where the requests in flight hold at most what `budget` lends.
    #[must_use]
    pub fn new(writer: Arc<dyn Writer>, limits: Limits, budget: Budget, counters: Arc<Counters>) -> Self {
        let (tenants, brake, workers, plains) = (Arc::default(), Brake::default(), Workers::default(), Plains::new(PLAINS));
        Self { writer, limits, budget, counters, tenants, brake, workers, plains }
    }

    /// With limits by tenant.
    #[must_use]
    pub fn with_tenants(self, tenants: Tenants) -> Self {
        Self { tenants: Arc::new(tenants), ..self }
    }

    /// Held back by `brake`: while it is on, a request from outside is taken only when no other is under way.
    #[must_use]
    pub fn with_brake(self, brake: Brake) -> Self {
        Self { brake, ..self }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Room for a request of `bytes` that is made here.
    pub(crate) fn hold(&self, bytes: usize) -> Result<Held, Refusal> {
        let mut held = self.budget.hold();
        held.at_least(bytes)?;
        Ok(held)
    }

    /// Appends what requests in flight hold, in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        let (used, limit) = (self.budget.used(), self.budget.limit());
        out.push_str("# HELP braid_in_flight_bytes Bytes that requests in flight hold.\n# TYPE braid_in_flight_bytes gauge\n");
        out.push_str(&format!("braid_in_flight_bytes {used}\n"));
        out.push_str("# HELP braid_in_flight_limit_bytes Bytes that they may hold.\n# TYPE braid_in_flight_limit_bytes gauge\n");
        out.push_str(&format!("braid_in_flight_limit_bytes {limit}\n"));
        self.tenants.write_text(out);
    }

    /// Reads a body within the limits; the bytes stay in `held`.
    pub(crate) async fn read<B>(&self, tenant: &Tenant, body: B, extra: usize) -> Result<(Bytes, Held), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        // One at a time goes on, so that nothing comes to a standstill where memory stays short for other reasons.
        if self.brake.is_on() && self.budget.used() > 0 {
            self.brake.released().await?;
        }
        let state = self.tenants.state(tenant);
        let most = self.limits.body.min(state.limits().body.unwrap_or(usize::MAX));
        let mut held = self.budget.hold_for(&self.tenants, state);
        let bytes = body::read(body, most + extra, &mut held).await?;
        Ok((bytes, held))
    }

    /// Takes the bytes of one request: inflates, checks, appends, counts. Resolves when it is durable.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was kept.
    pub(crate) async fn take(
        &self,
        envelope: Envelope,
        tenant: Tenant,
        bytes: Bytes,
        mut held: Held,
    ) -> Result<Summary, Refusal> {
        let Envelope { via, encoding, compression, begun, translation } = envelope;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i64);
        let plain = compression == ContentEncoding::Identity;
        let (payload, (mut summary, unpacked), _held) = if bytes.len() <= if plain { IN_PLACE } else { IN_PLACE / 8 } {
            let payload = if plain { bytes } else { self.inflate(compression, &bytes, &mut held)? };
            let payload = translation.apply(payload, &self.limits.wire, &mut held)?;
            let checked = self.plains.check(encoding, &payload, &self.limits.wire, now)?;
            (payload, checked, held)
        } else {
            let (limits, plains) = (self.limits.clone(), self.plains.clone());
            let work = move || {
                let payload = match compression {
                    ContentEncoding::Identity => bytes,
                    other => inflate(other, &bytes, limits.inflated, &mut held)?.into(),
                };
                let payload = translation.apply(payload, &limits.wire, &mut held)?;
                let checked = plains.check(encoding, &payload, &limits.wire, now)?;
                Ok::<_, Refusal>((payload, checked, held))
            };
            match self.workers.run(work).await {
                Ok(result) => result?,
                Err(Undone::Refused(refusal)) => return Err(refusal),
                Err(Undone::Panicked) => {
                    self.counters.panicked();
                    return Err(Refusal::Internal("checking the request failed".to_owned()));
                }
            }
        };
        let size = payload.len();
        // A request may carry nothing but metadata of metrics; one of which all items were refused is not kept.
        if size > 0 && (summary.accepted > 0 || summary.refused.total() == 0) {
            self.tenants.state(&tenant).spend(summary.accepted, size)?;
            let applied = self.writer.append_plain(Request { tenant: tenant.clone(), encoding, payload }, unpacked).await?;
            // Which samples are too old or contradict others only their table knows.
            if let Some(applied) = applied.filter(|_| encoding.signal() == wire::Signal::Metrics) {
                summary = applied;
            }
        }
        self.counters.taken(via, encoding.signal(), size, &summary, begun.elapsed());
        self.tenants.taken(&tenant, encoding.signal(), summary.accepted, size);
        Ok(summary)
    }

    pub(crate) fn inflate(&self, compression: ContentEncoding, bytes: &[u8], held: &mut Held) -> Result<Bytes, Refusal> {
        Ok(inflate(compression, bytes, self.limits.inflated, held)?.into())
    }

    /// Reads the body of an HTTP request, then [`Ingest::take`]; counts what is refused.
    pub(crate) async fn run<B>(
        &self,
        envelope: Result<Envelope, Refusal>,
        door: (Via, wire::Signal, Instant),
        headers: &HeaderMap,
        body: B,
    ) -> Result<Summary, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let result = async {
            let envelope = envelope?;
            let tenant = tenant(headers)?;
            let (bytes, held) = self.read(&tenant, body, 0).await?;
            self.take(envelope, tenant, bytes, held).await
        }
        .await;
        if let Err(refusal) = &result {
            self.refuse(door, headers, refusal);
        }
        result
    }

    /// Counts and logs a request of which nothing was kept.
    pub(crate) fn refuse(&self, (via, signal, begun): (Via, wire::Signal, Instant), headers: &HeaderMap, refusal: &Refusal) {
        if let Ok(tenant) = tenant(headers) {
            self.tenants.refused(&tenant, refusal.reason());
        }
        self.counters.refused(via, signal, refusal.reason(), begun.elapsed());
        if matches!(refusal, Refusal::Internal(_) | Refusal::Failed(_)) {
            tracing::error!(receiver = via.as_str(), "{refusal}");
        } else {
            tracing::debug!(receiver = via.as_str(), signal = signal.as_str(), "refused: {refusal}");
        }
    }
}

/// Whose request it is.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Tenant, Refusal> {
    match headers.get(TENANT) {
        None => Ok(Tenant::default()),
        Some(id) => Ok(Tenant::new(&String::from_utf8_lossy(id.as_bytes()))?),
    }
}

/// The content type without its parameters, lower-cased only if need be; empty when absent.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// A refusal that names the content type found.
pub(crate) fn unsupported(headers: &HeaderMap, expected: &'static str) -> Refusal {
    let found =
        headers.get(http::header::CONTENT_TYPE).map_or_else(String::new, |v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Refusal::ContentType { found, expected }
}

/// The value of `Content-Encoding`.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Result<ContentEncoding, Refusal> {
    ContentEncoding::parse(headers.get(http::header::CONTENT_ENCODING).map_or(b"", |v| v.as_bytes()))
}
