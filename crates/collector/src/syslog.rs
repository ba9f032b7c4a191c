//! Syslog over UDP, TCP and TLS, configured as in the Collector: messages become OTLP log records and go the way of all others.
//!
//! Syslog has no acknowledgement: over TCP a full queue holds the sender up, over UDP what does not fit is dropped and counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use guard::Tls;
use model::{Attr, Group, Log, SpanId, Tenant, TraceId, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::otlp::LogEncoder;
use wire::syslog::{Clock, FACILITIES, Framer, Message, SEVERITIES, parse, severity_number};
use wire::{Encoding, LogSink, Signal};

use crate::ingest::{Envelope, Translation};
use crate::{ContentEncoding, Ingest, Via};

/// Messages that wait to be kept.
const QUEUE: usize = 8192;
/// Messages in a request, and how long the first of them waits for more.
const BATCH: usize = 1000;
const GATHER: Duration = Duration::from_millis(50);
/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 256;
/// A connection that says nothing for so long is closed.
const SILENT: Duration = Duration::from_secs(3600);
/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// Where to listen, and how to read times.
#[derive(Debug, Clone, PartialEq)]
pub struct SyslogSettings {
    /// For datagrams.
    pub udp: Option<SocketAddr>,
    /// For streams.
    pub tcp: Option<SocketAddr>,
    /// Bytes of a message; the rest of a longer one is dropped.
    pub max_size: usize,
    /// The time zone (IANA) of times that name none.
    pub location: String,
}

/// Counts of what is lost before it is a request.
#[derive(Debug, Default)]
pub struct SyslogCounters {
    dropped: AtomicU64,
    cut: AtomicU64,
    connections: AtomicU64,
}

impl SyslogCounters {
    /// Appends them in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        for (name, help, counter) in [
            ("braid_syslog_dropped_total", "Datagrams dropped because too many messages wait.", &self.dropped),
            ("braid_syslog_cut_total", "Messages cut because they are too long.", &self.cut),
            ("braid_syslog_connections_total", "Connections accepted.", &self.connections),
        ] {
            let value = counter.load(Ordering::Relaxed);
            out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"));
        }
    }
}

/// Opens the ports and begins to listen; returns the addresses of UDP and TCP. Streams are secured by `tls` where there is one.
///
/// # Errors
/// A port or a time zone that cannot be had, in words.
pub async fn listen(
    settings: &SyslogSettings,
    tls: Option<Arc<Tls>>,
    ingest: &Arc<Ingest>,
    counters: &Arc<SyslogCounters>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<[Option<SocketAddr>; 2], String> {
    let zone = jiff::tz::TimeZone::get(&settings.location).map_err(|e| format!("receivers.syslog.location: {e}"))?;
    let (queue, messages) = mpsc::channel(QUEUE);
    let mut addresses = [None; 2];
    if let Some(address) = settings.udp {
        let socket = UdpSocket::bind(address).await.map_err(|e| format!("cannot listen on {address} (syslog, udp): {e}"))?;
        addresses[0] = socket.local_addr().ok();
        tasks.spawn(datagrams(socket, queue.clone(), Arc::clone(counters), settings.max_size, stop.clone()));
    }
    if let Some(address) = settings.tcp {
        let listener = TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {address} (syslog, tcp): {e}"))?;
        addresses[1] = listener.local_addr().ok();
        let streams = Streams { queue, counters: Arc::clone(counters), max_size: settings.max_size, tls, stop: stop.clone() };
        tasks.spawn(accept(listener, Arc::new(streams), tasks.clone()));
    }
    tasks.spawn(keep(messages, Arc::clone(ingest), zone, stop.clone()));
    Ok(addresses)
}

async fn datagrams(
    socket: UdpSocket,
    queue: mpsc::Sender<Vec<u8>>,
    counters: Arc<SyslogCounters>,
    max_size: usize,
    stop: CancellationToken,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let Ok((length, _)) = received else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if length > max_size {
            counters.cut.fetch_add(1, Ordering::Relaxed);
        }
        let message = buffer[..length.min(max_size)].to_vec();
        if !message.trim_ascii().is_empty() && queue.try_send(message).is_err() {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Streams {
    queue: mpsc::Sender<Vec<u8>>,
    counters: Arc<SyslogCounters>,
    max_size: usize,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
}

async fn accept(listener: TcpListener, streams: Arc<Streams>, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let accepted = tokio::select! {
            () = streams.stop.cancelled() => return,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (Ok(slot), Ok((stream, peer))) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        streams.counters.connections.fetch_add(1, Ordering::Relaxed);
        let streams = Arc::clone(&streams);
        tasks.spawn(async move {
            match &streams.tls {
                None => read(stream, &streams).await,
                Some(tls) => match tokio::time::timeout(Duration::from_secs(10), tls.acceptor().accept(stream)).await {
                    Ok(Ok(stream)) => read(stream, &streams).await,
                    Ok(Err(e)) => {
                        tls.failed();
                        tracing::debug!("syslog: TLS with {peer}: {e}");
                    }
                    Err(_) => {
                        tls.failed();
                        tracing::debug!("syslog: TLS with {peer} took too long");
                    }
                },
            }
            drop(slot);
        });
    }
}

async fn read(mut stream: impl AsyncRead + Unpin, streams: &Streams) {
    let mut framer = Framer::new(streams.max_size);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            () = streams.stop.cancelled() => 0,
            read = tokio::time::timeout(SILENT, stream.read(&mut buffer)) => read.ok().and_then(Result::ok).unwrap_or(0),
        };
        let mut messages = Vec::new();
        let before = framer.cut;
        match length {
            0 => framer.finish(&mut |m| messages.push(m.to_vec())),
            n => framer.push(&buffer[..n], &mut |m| messages.push(m.to_vec())),
        }
        streams.counters.cut.fetch_add(framer.cut - before, Ordering::Relaxed);
        for message in messages {
            // Full: the sender waits, as TCP has it.
            if streams.queue.send(message).await.is_err() {
                return;
            }
        }
        if length == 0 {
            return;
        }
    }
}

/// Makes requests of messages, and keeps each until it is durable.
async fn keep(mut messages: mpsc::Receiver<Vec<u8>>, ingest: Arc<Ingest>, zone: jiff::tz::TimeZone, stop: CancellationToken) {
    let mut batch = Vec::new();
    loop {
        let first = tokio::select! {
            first = messages.recv() => first,
            // What has been read already is still kept.
            () = stop.cancelled() => messages.try_recv().ok(),
        };
        let Some(first) = first else { return };
        batch.push(first);
        let until = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH {
            match tokio::time::timeout_at(until, messages.recv()).await {
                Ok(Some(message)) => batch.push(message),
                Ok(None) | Err(_) => break,
            }
        }
        let now = jiff::Timestamp::now();
        let clock = Clock { now: now_ns(), offset: zone.to_offset(now).seconds() };
        let payload = encode(&batch, clock);
        batch.clear();
        let Ok(payload) = payload else { continue };
        let payload = bytes::Bytes::from(payload);
        let mut pause = Duration::from_millis(50);
        loop {
            let begun = Instant::now();
            let envelope = Envelope {
                via: Via::Syslog,
                encoding: Encoding::OtlpLogs,
                compression: ContentEncoding::Identity,
                begun,
                translation: Translation::None,
            };
            let taken = match ingest.hold(payload.len()) {
                Ok(held) => ingest.take(envelope, Tenant::default(), payload.clone(), held).await.map(|_| ()),
                Err(refusal) => Err(refusal),
            };
            let Err(refusal) = taken else { break };
            ingest.refuse((Via::Syslog, Signal::Logs, begun), &http::HeaderMap::new(), &refusal);
            if refusal.retry_after().is_none() || stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// Messages as an OTLP request; those of one application on one host share a resource.
fn encode(batch: &[Vec<u8>], clock: Clock) -> Result<Vec<u8>, wire::WireError> {
    let texts: Vec<_> = batch.iter().map(|m| String::from_utf8_lossy(m)).collect();
    let mut messages: Vec<Message<'_>> = texts.iter().map(|t| parse(t, clock)).collect();
    messages.sort_by(|a, b| (a.host, a.app).cmp(&(b.host, b.app)));
    let mut encoder = LogEncoder::default();
    for group in messages.chunk_by(|a, b| (a.host, a.app) == (b.host, b.app)) {
        let Some(one) = group.first() else { continue };
        let service = [one.app, one.host, "syslog"].into_iter().find(|n| !n.is_empty()).unwrap_or_default();
        let mut resource = vec![Attr { key: "service.name", value: Value::Str(service) }];
        if !one.host.is_empty() {
            resource.push(Attr { key: "host.name", value: Value::Str(one.host) });
        }
        encoder.group(&Group { resource: &resource, ..Group::default() });
        for message in group {
            put(&mut encoder, message, clock.now);
        }
    }
    encoder.finish()
}

fn put(encoder: &mut LogEncoder, message: &Message<'_>, now: i64) {
    let named = |names: &[&'static str], number: Option<u8>| number.and_then(|n| names.get(usize::from(n)).copied());
    let severity = named(&SEVERITIES, message.severity).unwrap_or("");
    let facility = named(&FACILITIES, message.facility).unwrap_or("");
    let texts = [("syslog.facility", facility), ("syslog.procid", message.process), ("syslog.msgid", message.id)];
    let texts = texts.iter().filter(|(_, v)| !v.is_empty()).map(|(key, v)| Attr { key, value: Value::Str(v) });
    let data = message.data.iter().map(|(key, v)| Attr { key, value: Value::Str(v) });
    let attributes: Vec<Attr<'_>> = texts.chain(data).collect();
    encoder.log(&Log {
        time: message.time.filter(|t| *t > 0).unwrap_or(now),
        observed: now,
        severity_number: message.severity.map_or(0, severity_number),
        severity_text: severity,
        body: Value::Str(message.text),
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes: &attributes,
        dropped_attributes: 0,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_log_records_of_their_application() {
        let lines = [
            "<11>Nov 27 19:00:00 bp1 blueplanet[7]: LOS on circuit CKT-1",
            "<11>Nov 27 19:00:01 bp1 blueplanet: up",
            "\u{0}garbage",
        ];
        let batch: Vec<Vec<u8>> = lines.iter().map(|l| l.as_bytes().to_vec()).chain([vec![0xff, 0xfe]]).collect();
        let payload = encode(&batch, Clock { now: 1_795_806_000_000_000_000, offset: 0 }).expect("sound");
        let summary = wire::check(Encoding::OtlpLogs, &payload, &wire::Limits::default()).expect("OTLP");
        assert_eq!((summary.accepted, summary.refused.total()), (4, 0));
        let json = wire::otlp::logs_json(&payload, wire::otlp::Style::Protobuf).expect("OTLP");
        assert_eq!(json.matches("blueplanet").count(), 1, "one resource: {json}");
        for part in ["\"bp1\"", "LOS on circuit CKT-1", "syslog.procid", "1795806001000000000", "\"err\""] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
    }
}
