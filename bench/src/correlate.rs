//! `braid-bench correlate`: traces and logs whose belonging together is known, and how much of it correlation finds.
//!
//! Of the log records 30 % carry no trace id but a business key, in an attribute, as JSON, logfmt or plain text; 5 % of the traces
//! share their key with others (three a key on average); 2 % of the records come when the window has closed; each
//! service and legacy host has a clock of its own, up to two seconds wrong. The same is sent once with correlation switched off,
//! for the CPU time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value as Json;

use crate::process::Server;
use crate::protobuf::{bytes, fixed64, message, text_attribute, uint};
use crate::random::{Random, mix};
use crate::send::{Url, request, send};
use crate::shapes::Payload;

const OFFSET: u16 = 21_000;
const SERVICES: [&str; 3] = ["beorn", "palantir", "arda"];
const HOSTS: u64 = 20;
/// Traces in a request.
const BATCH: u64 = 100;
const HEADERS: &str = "Content-Type: application/x-protobuf\r\n";

#[derive(Args)]
pub(crate) struct Options {
    /// The Braid binary.
    #[arg(long)]
    braid: PathBuf,
    /// Traces.
    #[arg(long, default_value_t = 50_000)]
    traces: u64,
    /// Traces a second.
    #[arg(long, default_value_t = 2_500)]
    rate: u64,
    /// Seconds of a window.
    #[arg(long, default_value_t = 10)]
    window: u64,
    /// Names the data.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Instead: send so many traces of one span as fast as they are taken, and show what that does to memory.
    #[arg(long)]
    flood: Option<u64>,
    /// Send once only, with correlation on: no figure of its cost.
    #[arg(long)]
    once: bool,
    /// Kill the server (SIGKILL) so many times while sending, and start it again on the same data: nothing may be lost or doubled,
    /// or the program fails. Implies --once.
    #[arg(long, default_value_t = 0)]
    kills: u32,
}

/// A record without a trace id: whose it is in truth.
struct Truth {
    trace: String,
    shared: bool,
}

struct Workload {
    traces: Vec<Payload>,
    logs: Vec<Payload>,
    late: Vec<Payload>,
    truth: HashMap<u64, Truth>,
    spans: u64,
    /// Records that carry their trace's id.
    with_id: u64,
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

fn trace_id(seed: u64, trace: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(seed, trace * 2 + 1).to_be_bytes());
    id[8..].copy_from_slice(&mix(seed ^ 7, trace * 2).to_be_bytes());
    id
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// Up to two seconds, nanoseconds, by whose clock it is.
fn skew(seed: u64, who: u64) -> i64 {
    (mix(seed, 1_000 + who) % 4_000_000_000) as i64 - 2_000_000_000
}

fn resource(out: &mut Vec<u8>, service: &str, host: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    message(out, 1, |r| {
        message(r, 1, |r| {
            text_attribute(r, 1, "service.name", service);
            text_attribute(r, 1, "host.name", host);
        });
        message(r, 2, fill);
    });
}

fn record(out: &mut Vec<u8>, time: u64, body: &str, trace: Option<&[u8; 16]>, circuit: Option<&str>) {
    message(out, 2, |l| {
        fixed64(l, 1, time);
        uint(l, 2, 9);
        message(l, 5, |v| bytes(v, 1, body.as_bytes()));
        if let Some(circuit) = circuit {
            text_attribute(l, 6, "circuit_id", circuit);
        }
        if let Some(trace) = trace {
            bytes(l, 9, trace);
        }
    });
}

/// The workload, as if it began at `begin` and went on at the rate.
fn workload(options: &Options, begin: u64) -> Workload {
    let mut random = Random::new(options.seed);
    let mut w = Workload { traces: Vec::new(), logs: Vec::new(), late: Vec::new(), truth: HashMap::new(), spans: 0, with_id: 0 };
    let pool = (options.traces / 60).max(1);
    let mut number = 0;
    for first in (0..options.traces).step_by(BATCH as usize) {
        let mut spans: [Vec<u8>; 3] = Default::default();
        let mut own: [Vec<u8>; 3] = Default::default();
        let mut legacy: Vec<Vec<u8>> = vec![Vec::new(); HOSTS as usize];
        let mut late: Vec<u8> = Vec::new();
        let (mut span_count, mut log_count, mut late_count) = (0, 0, 0);
        for trace in first..(first + BATCH).min(options.traces) {
            let id = trace_id(options.seed, trace);
            let at = begin + trace * 1_000_000_000 / options.rate.max(1);
            let shared = random.unit() < 0.05;
            let circuit = if shared { format!("SHARED-{}", random.below(pool)) } else { format!("CKT-{trace}") };
            for (i, out) in spans.iter_mut().enumerate() {
                let start = at.wrapping_add_signed(skew(options.seed, i as u64)) + i as u64 * 2_000_000;
                message(out, 2, |s| {
                    bytes(s, 1, &id);
                    bytes(s, 2, &mix(trace, i as u64).to_be_bytes());
                    if i > 0 {
                        bytes(s, 4, &mix(trace, i as u64 - 1).to_be_bytes());
                    }
                    bytes(s, 5, b"GET /api/test");
                    uint(s, 6, 2);
                    fixed64(s, 7, start);
                    fixed64(s, 8, start + 20_000_000 - i as u64 * 4_000_000);
                    text_attribute(s, 9, "circuit_id", &circuit);
                    text_attribute(s, 9, "http.request.method", "GET");
                });
                span_count += 1;
            }
            for _ in 0..4 {
                number += 1;
                let is_late = random.unit() < 0.02;
                let when = at + random.below(20_000_000);
                if random.unit() < 0.3 {
                    let host = random.below(HOSTS);
                    let time = when.wrapping_add_signed(skew(options.seed, 10 + host));
                    let (line, attribute) = match random.below(4) {
                        0 => (format!("{{\"msg\":\"port down\",\"circuit_id\":\"{circuit}\",\"n\":\"n{number}\"}}"), None),
                        1 => (format!("level=warn msg=\"port down\" circuit_id={circuit} n=n{number}"), None),
                        2 => (format!("LOS on circuit id {circuit}, n{number} retrying"), None),
                        _ => (format!("port down n{number} ."), Some(circuit.as_str())),
                    };
                    w.truth.insert(number, Truth { trace: hex(&id), shared });
                    record(if is_late { &mut late } else { &mut legacy[host as usize] }, time, &line, None, attribute);
                } else {
                    let service = random.below(3) as usize;
                    let time = when.wrapping_add_signed(skew(options.seed, service as u64));
                    let line = format!("request handled for user {} in {} ms", random.below(1000), random.below(100));
                    record(if is_late { &mut late } else { &mut own[service] }, time, &line, Some(&id), None);
                    w.with_id += 1;
                }
                if is_late { late_count += 1 } else { log_count += 1 }
            }
        }
        let mut body = Vec::new();
        for (service, out) in SERVICES.iter().zip(&spans) {
            resource(&mut body, service, "h1", |b| b.extend_from_slice(out));
        }
        w.spans += span_count;
        w.traces.push(Payload { body, items: span_count });
        let mut body = Vec::new();
        for (service, out) in SERVICES.iter().zip(&own) {
            resource(&mut body, service, "h1", |b| b.extend_from_slice(out));
        }
        for (host, out) in legacy.iter().enumerate() {
            resource(&mut body, "blueplanet", &format!("bp{host}"), |b| b.extend_from_slice(out));
        }
        w.logs.push(Payload { body, items: log_count });
        let mut body = Vec::new();
        resource(&mut body, "blueplanet", "bp-late", |b| b.extend_from_slice(&late));
        w.late.push(Payload { body, items: late_count });
    }
    w
}

fn url(port: u16, path: &str) -> Result<Url> {
    format!("http://127.0.0.1:{}{path}", port + OFFSET).parse()
}

fn start(options: &Options, folder: &Path, on: bool, run: u32) -> Result<Server> {
    let config = folder.join(format!("{on}.yaml"));
    std::fs::write(&config, format!("correlation:\n  enabled: {on}\n  window: {}s\n", options.window))?;
    let mut command = Command::new(&options.braid);
    command.args(["serve", "--port-offset", &OFFSET.to_string(), "--config"]).arg(&config);
    command.arg("--data-dir").arg(folder.join(format!("data-{on}")));
    Server::start(&mut command, &folder.join(format!("{on}-{run}.log")), &url(3000, "/ready")?)
}

fn metric(text: &str, name: &str) -> f64 {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
}

fn metrics() -> Result<String> {
    let (_, body) = request(&url(3000, "/metrics")?, "GET", "", b"")?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// What one run showed beside its answers.
#[derive(Default)]
struct Run {
    cpu_s: f64,
    peak_mib: f64,
    delay_s: f64,
    memory_mib: f64,
}

/// Sends everything at the rate, the late records when the windows have closed, and waits until nothing is open.
fn drive(options: &Options, server: &Mutex<Server>, w: &Workload, on: bool) -> Result<Run> {
    let (traces, logs) = (url(4318, "/v1/traces")?, url(4318, "/v1/logs")?);
    let mut run = Run::default();
    let before = server.lock().map_err(poisoned)?.cpu_s()?;
    let begun = Instant::now();
    let look = |run: &mut Run| -> Result<String> {
        // It may just have been killed.
        let text = metrics().or_else(|e| if options.kills > 0 { Ok(String::new()) } else { Err(e) })?;
        run.delay_s = run.delay_s.max(metric(&text, "braid_correlation_delay_seconds"));
        run.memory_mib = run.memory_mib.max(metric(&text, "braid_correlation_memory_bytes") / 1_048_576.0);
        Ok(text)
    };
    let checked = |sent: crate::send::Sent| match sent.first_error {
        Some(e) if sent.failed > 0 => bail!("not taken: {e}"),
        _ => Ok(()),
    };
    for (i, (spans, lines)) in w.traces.iter().zip(&w.logs).enumerate() {
        let due = Duration::from_millis(i as u64 * BATCH * 1000 / options.rate.max(1));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        checked(send(&traces, HEADERS, std::slice::from_ref(spans)))?;
        checked(send(&logs, HEADERS, std::slice::from_ref(lines)))?;
        if i % 10 == 0 {
            look(&mut run)?;
        }
    }
    let until = Instant::now() + Duration::from_secs(options.window + 1);
    while Instant::now() < until {
        look(&mut run)?;
        std::thread::sleep(Duration::from_millis(100));
    }
    checked(send(&logs, HEADERS, &w.late))?;
    let until = Instant::now() + Duration::from_secs(2 * options.window + 30);
    loop {
        let text = look(&mut run)?;
        let open = metric(&text, "braid_correlation_open_windows") + metric(&text, "braid_correlation_waiting_records");
        let read = !text.is_empty() && metric(&text, "braid_correlation_log_sequence") >= metric(&text, "braid_log_sequence");
        if !on && begun.elapsed() > Duration::from_secs(2) || on && open == 0.0 && read || Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(3));
    let server = server.lock().map_err(poisoned)?;
    // Of the last process, where there were several.
    run.cpu_s = if options.kills > 0 { server.cpu_s()? } else { server.cpu_s()? - before };
    run.peak_mib = server.memory_mib()?.1;
    Ok(run)
}

fn poisoned<T>(_: T) -> anyhow::Error {
    anyhow::anyhow!("the thread that kills the server has panicked")
}

/// Kills the server again and again while everything is sent, in the middle of whatever it does, and starts it on the same data.
fn kill(options: &Options, folder: &Path, server: &Mutex<Server>) -> Result<()> {
    let pause = Duration::from_millis(1000 * options.traces / options.rate.max(1)) / (options.kills + 1);
    for run in 1..=options.kills {
        std::thread::sleep(pause);
        let mut server = server.lock().map_err(poisoned)?;
        server.kill()?;
        *server = start(options, folder, true, run)?;
    }
    Ok(())
}

/// How well it was found.
#[derive(Default)]
struct Score {
    unambiguous: u64,
    right: u64,
    certain: u64,
    certain_right: u64,
    shared: u64,
    among_three: u64,
    spans: u64,
    with_id: u64,
    events: u64,
    doubled: u64,
}

fn number_in(line: &str) -> Option<u64> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|word| word.strip_prefix('n').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok())
}

fn score(w: &Workload) -> Result<Score> {
    let mut score = Score::default();
    let mut joined: HashMap<u64, (String, bool)> = HashMap::new();
    let mut among: HashMap<u64, bool> = HashMap::new();
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut cursor = String::new();
    loop {
        let (status, body) = request(&url(8080, &format!("/api/correlations?limit=1000{cursor}"))?, "GET", "", b"")?;
        if status != 200 {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        let page: Vec<Json> = serde_json::from_slice(&body)?;
        let Some(last) = page.last() else { break };
        cursor = format!("&cursor={}", last["cursor"].as_str().context("a cursor")?);
        for event in &page {
            let trace = event["trace_id"].as_str().unwrap_or_default();
            score.events += 1;
            *seen.entry(trace.to_owned()).or_default() += 1;
            score.spans += event["span_count"].as_u64().unwrap_or(0);
            score.with_id += event["log_count_by_trace_id"].as_u64().unwrap_or(0);
            for (list, certain) in [("joined_logs", true), ("candidate_logs", false)] {
                for record in event[list].as_array().into_iter().flatten() {
                    let Some(number) = record["line"].as_str().and_then(number_in) else { continue };
                    let Some(truth) = w.truth.get(&number) else { continue };
                    let right = truth.trace == trace;
                    *among.entry(number).or_default() |= right;
                    if certain {
                        score.certain += 1;
                        score.certain_right += u64::from(right);
                        joined.insert(number, (trace.to_owned(), right));
                    }
                }
            }
        }
    }
    score.doubled = seen.values().filter(|n| **n > 1).count() as u64;
    for (number, truth) in &w.truth {
        if truth.shared {
            score.shared += 1;
            score.among_three += u64::from(among.get(number).copied().unwrap_or(false));
        } else {
            score.unambiguous += 1;
            score.right += u64::from(joined.get(number).is_some_and(|(_, right)| *right));
        }
    }
    Ok(score)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    if let Some(traces) = options.flood {
        return flood(options, folder.path(), traces);
    }
    let mut off = None;
    if !options.once && options.kills == 0 {
        let w = workload(options, now_ns());
        let server = Mutex::new(start(options, folder.path(), false, 0)?);
        off = Some(drive(options, &server, &w, false)?);
        server.into_inner().map_err(poisoned)?.stop()?;
    }
    let w = workload(options, now_ns());
    let server = Mutex::new(start(options, folder.path(), true, 0)?);
    let on = std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill(options, folder.path(), &server));
        let on = drive(options, &server, &w, true);
        killer.join().map_err(poisoned)??;
        on
    })?;
    let text = metrics()?;
    let s = score(&w)?;
    server.into_inner().map_err(poisoned)?.stop()?;
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    println!(
        "{}",
        serde_json::to_string_pretty(&serde_json::json!({
            "traces": options.traces,
            "events": s.events,
            "traces_shown_twice": s.doubled,
            "spans_sent": w.spans,
            "spans_in_events": s.spans,
            "records_with_id_sent": w.with_id,
            "records_with_id_in_events": s.with_id,
            "records_with_key_sent": w.truth.len(),
            "unambiguous_recall": share(s.right, s.unambiguous),
            "precision_of_certain": share(s.certain_right, s.certain),
            "shared_among_first_three": share(s.among_three, s.shared),
            "longest_delay_s": on.delay_s,
            "correlation_memory_mib": on.memory_mib,
            "peak_rss_mib": on.peak_mib,
            "cpu_s": on.cpu_s,
            "cpu_s_without": off.as_ref().map(|r| r.cpu_s),
            "peak_rss_mib_without": off.as_ref().map(|r| r.peak_mib),
            "cost_of_ingest_cpu": off.as_ref().map(|r| on.cpu_s / r.cpu_s - 1.0),
            "late": metric(&text, "braid_correlation_late_total"),
            "amendments": metric(&text, "braid_correlation_amendments_total"),
            "closed_early": metric(&text, "braid_correlation_closed_early_total"),
            "kills": options.kills,
        }))?
    );
    if options.kills > 0 && (s.spans != w.spans || s.with_id != w.with_id || s.doubled > 0) {
        bail!("{} spans and {} records of a trace id were sent: some are lost or doubled", w.spans, w.with_id);
    }
    Ok(())
}

/// Distinct traces of one span, far more than fit.
fn flood(options: &Options, folder: &Path, traces: u64) -> Result<()> {
    const AT_ONCE: u64 = 2_000;
    let server = start(options, folder, true, 0)?;
    let to = url(4318, "/v1/traces")?;
    let mut run = Run::default();
    for first in (0..traces).step_by(AT_ONCE as usize) {
        let mut spans = Vec::new();
        let now = now_ns();
        for trace in first..(first + AT_ONCE).min(traces) {
            message(&mut spans, 2, |s| {
                bytes(s, 1, &trace_id(options.seed, trace));
                bytes(s, 2, &mix(trace, 1).to_be_bytes());
                bytes(s, 5, b"op");
                fixed64(s, 7, now);
                fixed64(s, 8, now + 1000);
            });
        }
        let mut body = Vec::new();
        resource(&mut body, "flood", "h1", |b| b.extend_from_slice(&spans));
        send(&to, HEADERS, &[Payload { body, items: AT_ONCE }]);
        if first % (100 * AT_ONCE) == 0 {
            let text = metrics()?;
            run.memory_mib = run.memory_mib.max(metric(&text, "braid_correlation_memory_bytes") / 1_048_576.0);
        }
    }
    let until = Instant::now() + Duration::from_secs(120);
    let mut text = metrics()?;
    while metric(&text, "braid_correlation_log_sequence") < metric(&text, "braid_log_sequence") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
        text = metrics()?;
        run.memory_mib = run.memory_mib.max(metric(&text, "braid_correlation_memory_bytes") / 1_048_576.0);
    }
    println!(
        "{}",
        serde_json::json!({
            "traces": traces,
            "correlation_memory_mib": run.memory_mib,
            "correlation_memory_limit_mib": metric(&text, "braid_correlation_memory_limit_bytes") / 1_048_576.0,
            "peak_rss_mib": server.memory_mib()?.1,
            "open_windows": metric(&text, "braid_correlation_open_windows"),
            "shed_windows": metric(&text, "braid_correlation_shed_windows_total"),
            "events": metric(&text, "correlation_events_total"),
            "cpu_s": server.cpu_s()?,
        })
    );
    server.stop()?;
    Ok(())
}
