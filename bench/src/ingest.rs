//! `braid-bench ingest`: what it costs a server to take a workload in and settle.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Deserialize;

use crate::load::Workload;
use crate::process::{Server, bytes_below};
use crate::send::{Url, request};

#[derive(Args)]
pub(crate) struct Options {
    /// Workloads to run.
    #[arg(value_enum, default_values = ["metrics", "logs", "traces"])]
    workloads: Vec<Workload>,
    /// The braid binary.
    #[arg(long, default_value = "target/release/braid")]
    braid: PathBuf,
    /// Beside it on the metrics workload, where these binaries exist.
    #[arg(long, default_values = ["/usr/bin/prometheus", "/usr/bin/victoria-metrics"])]
    peers: Vec<PathBuf>,
    /// A generator with the same options as `braid-bench load`, to use in its place.
    #[arg(long)]
    generator: Option<PathBuf>,
    /// Runs of each server and workload; the table shows the median with minimum and maximum of the CPU seconds.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Passed on to the generator, for example `--extra=--count --extra=100000`.
    #[arg(long = "extra")]
    extra: Vec<String>,
    /// Where servers keep their data while they run (default: a temporary folder).
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What the generator prints.
#[derive(Deserialize)]
struct Load {
    items_ok: u64,
    items: u64,
    rate: f64,
    lat_ms: Latencies,
}

#[derive(Deserialize)]
struct Latencies {
    p50: f64,
    p99: f64,
    max: f64,
}

/// A peer or Braid: how to start it, where it listens, how to make it settle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Braid,
    Prometheus,
    VictoriaMetrics,
}

/// One run's figures.
struct Figures {
    cpu_per_million: f64,
    loading_cpu_per_million: f64,
    bytes_per_item: f64,
    peak_mib: f64,
    settled_mib: f64,
    idle_mib: f64,
    load: Load,
    start_s: f64,
    restart_s: f64,
    stop_s: f64,
}

const OFFSET: u16 = 20_000;

impl Subject {
    pub(crate) fn of(binary: &Path) -> Result<Self> {
        match binary.file_name().and_then(|n| n.to_str()).unwrap_or("") {
            n if n.starts_with("braid") => Ok(Self::Braid),
            n if n.starts_with("prometheus") => Ok(Self::Prometheus),
            n if n.starts_with("victoria") => Ok(Self::VictoriaMetrics),
            other => bail!("no idea how to start '{other}'"),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Braid => "Braid",
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    /// Port that takes the workload.
    pub(crate) fn port(&self, workload: Workload) -> u16 {
        match (self, workload) {
            (Self::Braid, Workload::Metrics) => 9_090 + OFFSET,
            (Self::Braid, Workload::Logs) => 3_100 + OFFSET,
            (Self::Braid, Workload::Traces) => 4_318 + OFFSET,
            (Self::Prometheus, _) => 29_091,
            (Self::VictoriaMetrics, _) => 28_428,
        }
    }

    pub(crate) fn ready(&self) -> Result<Url> {
        match self {
            Self::Braid => format!("http://127.0.0.1:{}/ready", 3_000 + OFFSET),
            Self::Prometheus => "http://127.0.0.1:29091/-/ready".to_owned(),
            Self::VictoriaMetrics => "http://127.0.0.1:28428/health".to_owned(),
        }
        .parse()
    }

    pub(crate) fn command(&self, binary: &Path, data: &Path) -> Result<Command> {
        let mut command = Command::new(binary);
        match self {
            Self::Braid => {
                command.arg("serve").arg("--port-offset").arg(OFFSET.to_string()).arg("--data-dir").arg(data);
            }
            Self::Prometheus => {
                std::fs::create_dir_all(data)?;
                let config = data.with_extension("yml");
                std::fs::write(&config, "global: {}\n")?;
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .args(["--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:29091"]);
            }
            Self::VictoriaMetrics => {
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .args(["-httpListenAddr=127.0.0.1:28428", "-retentionPeriod=12"]);
            }
        }
        Ok(command)
    }

    /// Makes everything durable in its final form, as far as the server can be asked to.
    pub(crate) fn settle(&self, server: &Server) -> Result<()> {
        let ask = match self {
            Self::Braid => Some(("POST", format!("http://127.0.0.1:{}/api/admin/settle", 3_000 + OFFSET))),
            Self::VictoriaMetrics => Some(("GET", "http://127.0.0.1:28428/internal/force_flush".to_owned())),
            Self::Prometheus => None,
        };
        if let Some((method, url)) = ask {
            let (status, body) = request(&url.parse()?, method, "", b"")?;
            if status >= 300 {
                bail!("settling failed: {status} {}", String::from_utf8_lossy(&body));
            }
        }
        server.wait_idle(Duration::from_secs(3), Duration::from_secs(60))
    }
}

/// Anonymous memory of another process in the way is the measurement's enemy: the last writes go to disk first.
fn quiet_disk() {
    let _ = Command::new("sync").status();
}

fn measure(binary: &Path, workload: Workload, options: &Options, dir: &Path) -> Result<Figures> {
    let subject = Subject::of(binary)?;
    let data = dir.join(format!("{}-{workload:?}", subject.name()));
    let _ = std::fs::remove_dir_all(&data);
    let log = data.with_extension("log");
    quiet_disk();
    let server = Server::start(&mut subject.command(binary, &data)?, &log, &subject.ready()?)?;
    let start_s = server.start_s;
    std::thread::sleep(Duration::from_millis(500));
    let (idle_mib, _) = server.memory_mib()?;
    let before = server.cpu_s()?;

    let url = format!("http://127.0.0.1:{}{}", subject.port(workload), workload.path());
    let own = std::env::current_exe()?;
    let mut generator = match &options.generator {
        Some(other) => Command::new(other),
        None => {
            let mut command = Command::new(own);
            command.arg("load");
            command
        }
    };
    let name = format!("{workload:?}").to_lowercase();
    let output = generator.arg(name).arg("--url").arg(url).args(&options.extra).output().context("running the generator")?;
    let line = String::from_utf8_lossy(&output.stdout);
    let load: Load = serde_json::from_str(line.trim())
        .with_context(|| format!("the generator printed {line:?} and {}", String::from_utf8_lossy(&output.stderr)))?;
    if load.items_ok != load.items {
        bail!("{} took {} of {} items: {line}", subject.name(), load.items_ok, load.items);
    }

    let loading = server.cpu_s()? - before;
    subject.settle(&server)?;
    let settled = server.cpu_s()? - before;
    let (settled_mib, peak_mib) = server.memory_mib()?;
    let bytes = bytes_below(&data);
    let stop_s = server.stop()?;
    let again = Server::start(&mut subject.command(binary, &data)?, &log.with_extension("again.log"), &subject.ready()?)?;
    let restart_s = again.start_s;
    again.stop()?;
    std::fs::remove_dir_all(&data)?;
    let million = load.items as f64 / 1e6;
    Ok(Figures {
        cpu_per_million: settled / million,
        loading_cpu_per_million: loading / million,
        bytes_per_item: bytes as f64 / load.items as f64,
        peak_mib,
        settled_mib,
        idle_mib,
        load,
        start_s,
        restart_s,
        stop_s,
    })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    println!("machine load before: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    println!(
        "| workload | server | CPU s/M settled (min–max) | while loading | bytes/item | peak MiB | settled | idle | items/s | p50/p99/max ms | start/restart/stop s |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for workload in &options.workloads {
        let peers = options.peers.iter().filter(|p| *workload == Workload::Metrics && p.exists());
        for binary in std::iter::once(&options.braid).chain(peers) {
            let mut runs =
                (0..options.runs.max(1)).map(|_| measure(binary, *workload, options, &dir)).collect::<Result<Vec<Figures>>>()?;
            runs.sort_by(|a, b| a.cpu_per_million.total_cmp(&b.cpu_per_million));
            let (least, most) = (runs[0].cpu_per_million, runs[runs.len() - 1].cpu_per_million);
            let f = &runs[runs.len() / 2];
            println!(
                "| {workload:?} | {} | {:.2} ({least:.2}–{most:.2}) | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2}/{:.1}/{:.0} | {:.2}/{:.2}/{:.2} |",
                Subject::of(binary)?.name(),
                f.cpu_per_million,
                f.loading_cpu_per_million,
                f.bytes_per_item,
                f.peak_mib,
                f.settled_mib,
                f.idle_mib,
                f.load.rate,
                f.load.lat_ms.p50,
                f.load.lat_ms.p99,
                f.load.lat_ms.max,
                f.start_s,
                f.restart_s,
                f.stop_s,
            );
        }
    }
    Ok(())
}
