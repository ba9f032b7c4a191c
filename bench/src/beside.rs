//! `braid-bench beside`: Braid and VictoriaMetrics on the same samples, in one run, asked the same questions in turns.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::ingest::Subject;
use crate::load::{SAMPLES, Workload, on_each_connection};
use crate::process::{Server, bytes_below};
use crate::queries::metrics::{between, of_month};
use crate::queries::{Query, get};
use crate::send::{Connection, Url, send};
use crate::shapes::{Payload, month, other};

/// Connections that load.
const CONNECTIONS: u64 = 4;
/// Seconds of the two-hour workload.
const TWO_HOURS: u64 = 7_200;
/// How long each question is asked by several clients, and while samples come in.
const ROUND: Duration = Duration::from_secs(3);

/// What is measured.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The five queries of samples, warm, by one client.
    Warm,
    /// The same by eight clients at once.
    Clients,
    /// Their first answers of a process that has just started, with the page cache dropped (needs root).
    Cold,
    /// Their latency while samples of other series come in, beside that without.
    Loading,
    /// A range of many days over a thousand series.
    Month,
}

#[derive(Args)]
pub(crate) struct Options {
    /// What to measure.
    #[arg(value_enum, default_values = ["warm", "clients", "cold", "loading", "month"])]
    parts: Vec<Part>,
    /// The braid binary.
    #[arg(long, default_value = "target/release/braid")]
    braid: PathBuf,
    /// VictoriaMetrics; its cache of answers is switched off.
    #[arg(long, default_value = "/usr/bin/victoria-metrics")]
    peer: PathBuf,
    /// A generator with the same options as `braid-bench load`, to use in its place for the two-hour workload.
    #[arg(long)]
    generator: Option<PathBuf>,
    /// Days of the long range.
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Timed answers of each query and server (cold ones: three at most).
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Clients at once, for `clients`.
    #[arg(long, default_value_t = 8)]
    at_once: usize,
    /// Samples a second that come in, for `loading`.
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Where servers keep their data while they run (default: a temporary folder).
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A server with its data.
struct Side {
    subject: Subject,
    binary: PathBuf,
    data: PathBuf,
    server: Option<Server>,
}

impl Side {
    fn new(binary: &Path, dir: &Path, what: &str) -> Result<Self> {
        let subject = Subject::of(binary)?;
        let data = dir.join(format!("{}-{what}", subject.name()));
        let _ = std::fs::remove_dir_all(&data);
        let mut side = Self { subject, binary: binary.to_owned(), data, server: None };
        side.start()?;
        Ok(side)
    }

    /// Starts the server, after ending the one before.
    fn start(&mut self) -> Result<()> {
        if let Some(before) = self.server.take() {
            before.stop()?;
        }
        let mut command = self.subject.command(&self.binary, &self.data)?;
        match self.subject {
            Subject::Braid => {
                // Kept as long as the peer keeps its.
                let config = self.data.with_extension("yaml");
                std::fs::write(&config, "storage: {retention: {metrics: 365d}}\n")?;
                command.arg("--config").arg(config);
            }
            Subject::VictoriaMetrics => {
                command.arg("-search.disableCache");
            }
            Subject::Prometheus => {}
        }
        self.server = Some(Server::start(&mut command, &self.data.with_extension("log"), &self.subject.ready()?)?);
        Ok(())
    }

    fn url(&self, path: &str) -> Result<Url> {
        format!("http://127.0.0.1:{}{path}", self.subject.port(Workload::Metrics)).parse()
    }

    fn settle(&self) -> Result<()> {
        let server = self.server.as_ref().context("no server runs")?;
        self.subject.settle(server)
    }

    /// The path of a question.
    fn path(&self, query: &Query) -> String {
        let path = &query.paths[0];
        if self.subject == Subject::VictoriaMetrics { format!("{path}&nocache=1") } else { path.clone() }
    }

    fn connection(&self) -> Result<Connection> {
        Connection::open(&self.url("/")?)
    }
}

/// Milliseconds, sorted.
struct Times(Vec<f64>);

impl Times {
    fn of(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        Self(ms)
    }

    fn quantile(&self, q: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn shown(&self) -> String {
        format!("{:.2} / {:.2} / {:.2}", self.quantile(0.0), self.median(), self.quantile(1.0))
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    println!("machine load before: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let wanted = |part| options.parts.contains(&part);
    if [Part::Warm, Part::Clients, Part::Cold, Part::Loading].into_iter().any(wanted) {
        let mut sides = both(options, &dir, "hours")?;
        let end = now_s()? / 15 * 15;
        for side in &sides {
            load_two_hours(side, options, end)?;
            side.settle()?;
        }
        let queries = between(end - TWO_HOURS, end);
        if wanted(Part::Warm) {
            println!("\n### Warm, one client (ms: minimum / median / maximum of {})\n", options.runs);
            in_turns(&sides, &queries, options.runs)?;
        }
        if wanted(Part::Clients) {
            println!("\n### {} clients at once (answers a second; ms: median, p95)\n", options.at_once);
            at_once(&sides, &queries, options.at_once)?;
        }
        if wanted(Part::Loading) {
            println!("\n### While {} samples a second of other series come in (median, ms)\n", options.rate);
            loading(&sides, options)?;
        }
        if wanted(Part::Cold) {
            println!("\n### Cold: process started anew, page cache dropped (ms: minimum / median / maximum)\n");
            cold(&mut sides, &queries, options.runs.min(3))?;
        }
    }
    if wanted(Part::Month) {
        long(options, &dir)?;
    }
    Ok(())
}

fn now_s() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn both(options: &Options, dir: &Path, what: &str) -> Result<[Side; 2]> {
    Ok([Side::new(&options.braid, dir, what)?, Side::new(&options.peer, dir, what)?])
}

/// The workload of `braid-bench load metrics` up to `end`, seconds since the Unix epoch.
fn load_two_hours(side: &Side, options: &Options, end: u64) -> Result<()> {
    let mut generator = match &options.generator {
        Some(other) => Command::new(other),
        None => {
            let mut own = Command::new(std::env::current_exe()?);
            own.arg("load");
            own
        }
    };
    let url = format!("http://127.0.0.1:{}/api/v1/write", side.subject.port(Workload::Metrics));
    let output =
        generator.args(["metrics", "--url", &url, "--end", &end.to_string()]).output().context("running the generator")?;
    if !output.status.success() {
        bail!("the generator failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// One client asks one server after the other.
fn in_turns(sides: &[Side; 2], queries: &[Query], runs: usize) -> Result<()> {
    header(sides);
    for query in queries {
        let mut times = [Vec::new(), Vec::new()];
        // The first answer is checked, and not counted.
        for side in sides {
            query.verify(&mut side.connection()?, &side.path(query)).with_context(|| side.subject.name())?;
        }
        for _ in 0..runs.max(1) {
            for (side, times) in sides.iter().zip(&mut times) {
                // A connection that idles while the other server thinks is closed by some.
                let mut connection = side.connection()?;
                times.push(ms(get(&mut connection, &side.path(query))?.0));
            }
        }
        row(query.name, &times.map(Times::of));
    }
    Ok(())
}

fn header(sides: &[Side; 2]) {
    let [one, other] = sides.each_ref().map(|s| s.subject.name());
    println!("| query | {one} | {other} | {one} : {other} (medians) |\n|---|---|---|---|");
}

fn row(name: &str, [one, other]: &[Times; 2]) {
    println!("| {name} | {} | {} | {:.2} |", one.shown(), other.shown(), one.median() / other.median());
}

/// Several clients ask the same as fast as answers come, one server after the other.
fn at_once(sides: &[Side; 2], queries: &[Query], clients: usize) -> Result<()> {
    let [one, other] = sides.each_ref().map(|s| s.subject.name());
    println!("| query | {one}, answers/s | median, p95 | {other}, answers/s | median, p95 | {one} : {other} (medians) |");
    println!("|---|---|---|---|---|---|");
    for query in queries {
        let mut shown = Vec::new();
        let mut medians = Vec::new();
        for side in sides {
            let times: Mutex<Vec<f64>> = Mutex::default();
            let begun = Instant::now();
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..clients)
                    .map(|_| {
                        scope.spawn(|| -> Result<()> {
                            let (mut connection, path) = (side.connection()?, side.path(query));
                            let mut own = Vec::new();
                            while begun.elapsed() < ROUND || own.is_empty() {
                                own.push(ms(get(&mut connection, &path)?.0));
                            }
                            times.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(own);
                            Ok(())
                        })
                    })
                    .collect();
                all.into_iter().try_for_each(|c| c.join().unwrap_or_else(|_| bail!("a client failed")))
            })?;
            let took = begun.elapsed().as_secs_f64();
            let times = Times::of(times.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
            shown.push(format!("{:.0} | {:.2}, {:.2}", times.0.len() as f64 / took, times.median(), times.quantile(0.95)));
            medians.push(times.median());
        }
        println!("| {} | {} | {:.2} |", query.name, shown.join(" | "), medians[0] / medians[1]);
    }
    Ok(())
}

/// First answers: each of a process that has just started and read nothing yet.
fn cold(sides: &mut [Side; 2], queries: &[Query], runs: usize) -> Result<()> {
    header(sides);
    for query in queries {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..runs.max(1) {
            for (side, times) in sides.iter_mut().zip(&mut times) {
                side.start()?;
                // What only stands in memory is not dropped.
                let _ = Command::new("sync").status();
                std::fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the page cache")?;
                times.push(ms(get(&mut side.connection()?, &side.path(query))?.0));
            }
        }
        row(query.name, &times.map(Times::of));
    }
    Ok(())
}

/// Latencies without and with samples coming in, at a rate.
fn loading(sides: &[Side; 2], options: &Options) -> Result<()> {
    println!("| query | server | idle | while loading | ratio |\n|---|---|---|---|---|");
    for side in sides {
        let recent = || -> Result<Vec<Query>> {
            let end = now_s()?;
            Ok(between(end - TWO_HOURS, end))
        };
        let idle = latencies(side, &recent()?)?;
        let stop = AtomicBool::new(false);
        let (loaded, sent) = std::thread::scope(|scope| -> Result<_> {
            let sender = scope.spawn(|| pour(side, options.rate, &stop));
            let loaded = latencies(side, &recent()?);
            stop.store(true, Ordering::Relaxed);
            let sent = sender.join().unwrap_or_else(|_| bail!("the sender failed"))?;
            Ok((loaded?, sent))
        })?;
        for ((name, idle), (_, loaded)) in idle.iter().zip(&loaded) {
            let ratio = loaded.median() / idle.median();
            println!("| {name} | {} | {:.2} | {:.2} | {ratio:.2} |", side.subject.name(), idle.median(), loaded.median());
        }
        println!("| | {} | | {sent:.0} samples a second taken | |", side.subject.name());
    }
    Ok(())
}

/// Latencies of each query, asked one after the other for a while.
fn latencies(side: &Side, queries: &[Query]) -> Result<Vec<(&'static str, Times)>> {
    let mut connection = side.connection()?;
    queries
        .iter()
        .map(|query| {
            let path = side.path(query);
            get(&mut connection, &path)?;
            let (begun, mut times) = (Instant::now(), Vec::new());
            while begun.elapsed() < ROUND {
                times.push(ms(get(&mut connection, &path)?.0));
            }
            Ok((query.name, Times::of(times)))
        })
        .collect()
}

/// Sends samples of other series at a rate until it is stopped; says how many a second were taken.
fn pour(side: &Side, rate: u64, stop: &AtomicBool) -> Result<f64> {
    let url = side.url("/api/v1/write")?;
    let begun = Instant::now();
    let mut items = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * rate as f64) as u64;
        if items + other::BATCH > due {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        taken(&url, &[other::payload(items / other::BATCH, at_ms)])?;
        items += other::BATCH;
    }
    Ok(items as f64 / begun.elapsed().as_secs_f64())
}

/// Sends, and fails where something was not taken.
fn taken(url: &Url, payloads: &[Payload]) -> Result<()> {
    let sent = send(url, SAMPLES, payloads);
    if sent.failed > 0 {
        bail!("samples were not taken: {}", sent.first_error.unwrap_or_default());
    }
    Ok(())
}

/// Many days, taken in and asked for.
fn long(options: &Options, dir: &Path) -> Result<()> {
    let hours = options.days * 24;
    let end_ms = now_s()? * 1000 / month::HOUR_MS * month::HOUR_MS;
    let start_ms = end_ms - hours * month::HOUR_MS;
    let samples = month::SERIES * hours * 240;
    println!("\n### {} days of {} series at 15 s: {samples} samples\n", options.days, month::SERIES);
    let sides = both(options, dir, "month")?;
    println!("| server | loaded in s | CPU s | bytes a sample | memory peak, MiB |\n|---|---|---|---|---|");
    for side in &sides {
        let (url, begun) = (side.url("/api/v1/write")?, Instant::now());
        let sent = on_each_connection(CONNECTIONS, |connection| {
            let numbers = (0..month::BLOCKS).filter(|b| b % CONNECTIONS == connection);
            let mut blocks: Vec<month::Block> = numbers.map(|b| month::Block::new(42, b)).collect();
            (0..hours).try_for_each(|hour| {
                let at = start_ms + hour * month::HOUR_MS;
                let payloads: Vec<Payload> = blocks.iter_mut().map(|b| b.hour(at)).collect();
                taken(&url, &payloads)
            })
        });
        sent.into_iter().collect::<Result<()>>().with_context(|| side.subject.name())?;
        let took = begun.elapsed().as_secs_f64();
        side.settle()?;
        let server = side.server.as_ref().context("no server runs")?;
        let (cpu, (_, peak)) = (server.cpu_s()?, server.memory_mib()?);
        let bytes = bytes_below(&side.data) as f64 / samples as f64;
        println!("| {} | {took:.0} | {cpu:.0} | {bytes:.2} | {peak:.0} |", side.subject.name());
    }
    println!("\nAnswers, warm (ms: minimum / median / maximum of {}):\n", options.runs);
    in_turns(&sides, &of_month(start_ms / 1000, end_ms / 1000), options.runs)
}
