//! What exporting costs a million items: `cargo run --release -p braid-export --example export_cost`.
//!
//! Appends a million spans, lines and samples each to a store in a temporary directory, first without exporters, then with one whose peer
//! (in this process) reads each request and answers 200. Prints CPU seconds of the whole process, and bytes sent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use braid_export::{Compression, Exporters, Http, LokiLabel, Peer, Queue, Retry, Rewrite, Settings, Tenants, Tls};
use bytes::Bytes;
use model::{Attr, Group, Log, Span, SpanId, Tenant, TraceId, Value};
use store::{Request, Store, Writer};
use wire::otlp::{LogEncoder, TraceEncoder};
use wire::{Encoding, LogSink, Signal, SpanSink};

const ITEMS: u64 = 1_000_000;
const IN_REQUEST: u64 = 500;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sink = sink()?;
    let url = |path: &str| format!("http://{sink}{path}");
    let urls = || [url("/v1/traces"), url("/v1/logs"), url("/v1/metrics")];
    let remote_write = || Peer::RemoteWrite { external_labels: Vec::new(), max_bytes: 3_000_000, metadata: true };
    let loki = || Peer::Loki { labels: LokiLabel::ALL.to_vec() };
    let datadog = || Peer::Datadog { urls: urls(), hostname: "h".to_owned() };
    for signal in Signal::ALL {
        let requests: Vec<Bytes> = (0..ITEMS / IN_REQUEST).map(|n| request(signal, n)).collect::<Result<_, _>>()?;
        let alone = run(signal, &requests, None)?;
        println!("{}: {:.2} CPU s without exporters", signal.as_str(), alone.0);
        let mut peers = vec![
            ("otlphttp gzip", Peer::OtlpHttp(urls()), Compression::Gzip),
            ("otlphttp zstd", Peer::OtlpHttp(urls()), Compression::Zstd),
            ("otlphttp none", Peer::OtlpHttp(urls()), Compression::None),
        ];
        match signal {
            Signal::Traces => {}
            Signal::Logs => peers.push(("loki", loki(), Compression::None)),
            Signal::Metrics => peers.push(("prometheusremotewrite", remote_write(), Compression::None)),
        }
        peers.push(("datadog gzip", datadog(), Compression::Gzip));
        for (name, peer, compression) in peers {
            let http = Http {
                endpoint: url("/"),
                headers: Vec::new(),
                tls: Tls::default(),
                compression,
                timeout: Duration::from_secs(60),
            };
            let settings = Settings {
                name: name.replace(' ', "_"),
                signals: vec![signal],
                peer,
                http,
                queue: Queue::default(),
                retry: Retry::default(),
                tenants: Tenants::default(),
                limits: wire::Limits::default(),
            };
            let (cpu, bytes) = run(signal, &requests, Some(settings))?;
            println!("  {name}: {:+.2} CPU s, {:.0} bytes an item", cpu - alone.0, bytes as f64 / ITEMS as f64);
        }
    }
    Ok(())
}

/// CPU seconds, and bytes that were sent.
fn run(signal: Signal, requests: &[Bytes], settings: Option<Settings>) -> Result<(f64, u64), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let disk = Arc::new(store::disk::RealDisk::open(dir.path())?);
    let series = store::series::SeriesOptions {
        index_bytes: 64 << 20,
        decoded_bytes: 8 << 20,
        out_of_order_ms: 1_800_000,
        ..Default::default()
    };
    let store = Arc::new(Store::open(store::Options::new(disk), series)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let rewrite: Rewrite = Arc::new(Some);
    let exporters = Exporters::start(&store, &settings.into_iter().collect::<Vec<_>>(), runtime.handle(), &rewrite)?;
    let encoding = match signal {
        Signal::Traces => Encoding::OtlpTraces,
        Signal::Logs => Encoding::OtlpLogs,
        Signal::Metrics => Encoding::RemoteWrite,
    };
    let before = cpu()?;
    runtime.block_on(async {
        for payload in requests {
            store.append(Request { tenant: Tenant::default(), encoding, payload: payload.clone() }).await?;
        }
        Ok::<_, store::StoreError>(())
    })?;
    let counters = exporters.counters().to_vec();
    // Datadog's counters show nothing for their first samples: what is waiting tells when it is done.
    let done = || counters.iter().all(|c| c.queue_bytes.load(Ordering::Relaxed) == 0 && c.in_flight.load(Ordering::Relaxed) == 0);
    let mut quiet = 0;
    while quiet < 5 {
        std::thread::sleep(Duration::from_millis(100));
        quiet = if done() { quiet + 1 } else { 0 };
    }
    let used = cpu()? - before;
    let bytes = counters.iter().map(|c| c.bytes.load(Ordering::Relaxed)).sum();
    exporters.stop();
    store.close();
    Ok((used, bytes))
}

fn cpu() -> Result<f64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').ok_or("no stat")?.1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn text<'a>(key: &'a str, value: &'a str) -> Attr<'a> {
    Attr { key, value: Value::Str(value) }
}

fn request(signal: Signal, n: u64) -> Result<Bytes, wire::WireError> {
    let now = 1_795_000_000_000_000_000 + n as i64 * 1_000_000;
    let resource = [text("service.name", "checkout"), text("service.version", "1.4.2"), text("host.name", "node-17")];
    let group = Group { resource: &resource, scope_name: "http", ..Group::default() };
    let id = |i: u64| (n * IN_REQUEST + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match signal {
        Signal::Traces => {
            let mut encoder = TraceEncoder::default();
            SpanSink::group(&mut encoder, &group);
            for i in 0..IN_REQUEST {
                let path = format!("/cart/{}", id(i) % 1000);
                let attributes = [
                    text("http.request.method", "GET"),
                    text("url.path", &path),
                    Attr { key: "http.response.status_code", value: Value::Int(200) },
                    text("user_agent.original", "Mozilla/5.0"),
                ];
                let mut trace = [0; 16];
                trace[..8].copy_from_slice(&id(i / 8).to_be_bytes());
                encoder.span(&Span {
                    trace_id: TraceId(trace),
                    span_id: SpanId(id(i).to_be_bytes()),
                    parent_span_id: SpanId(id(i / 8).to_be_bytes()),
                    name: "GET /cart/{id}",
                    kind: 2,
                    start: now,
                    end: now + 5_000_000 + (id(i) % 1_000_000) as i64,
                    attributes: &attributes,
                    ..Span::default()
                });
            }
            encoder.finish().map(Bytes::from)
        }
        Signal::Logs => {
            let mut encoder = LogEncoder::default();
            LogSink::group(&mut encoder, &group);
            for i in 0..IN_REQUEST {
                let body = format!("GET /cart/{} 200 in {} ms for user {}", id(i) % 1000, id(i) % 77, id(i) % 5000);
                let attributes = [text("circuit_id", "CKT-7"), Attr { key: "thread", value: Value::Int((id(i) % 16) as i64) }];
                encoder.log(&Log {
                    time: now + i as i64,
                    observed: now,
                    severity_number: 9,
                    severity_text: "INFO",
                    body: Value::Str(&body),
                    event_name: "",
                    trace_id: TraceId::NONE,
                    span_id: SpanId::NONE,
                    flags: 0,
                    attributes: &attributes,
                    dropped_attributes: 0,
                });
            }
            encoder.finish().map(Bytes::from)
        }
        Signal::Metrics => {
            let mut encoder = wire::remote_write::Encoder::new();
            for i in 0..IN_REQUEST {
                let instance = format!("10.0.0.{}:9100", n % 10);
                let cpu = format!("{i}");
                let labels = [
                    ("__name__", "node_cpu_seconds_total"),
                    ("cpu", cpu.as_str()),
                    ("instance", &instance),
                    ("job", "node"),
                    ("mode", "idle"),
                ];
                // A sample every 15 s of each of 5,000 series.
                encoder.series(labels, &[(now / 1_000_000 + (n / 10) as i64 * 15_000, (n * 15 + i) as f64)]);
            }
            encoder.finish().map(Bytes::from)
        }
    }
}

/// A server that reads requests and answers each well; its address.
fn sink() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut held: Vec<u8> = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
            held.extend_from_slice(&buffer[..n]);
        };
        let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
        let length: usize = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.trim().parse().ok()?;
        let mut left = (end + length).saturating_sub(held.len());
        held.clear();
        while left > 0 {
            left -= stream.read(&mut buffer[..]).ok().filter(|n| *n > 0)?.min(left);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}
