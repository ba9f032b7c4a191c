//! The commands that run the whole: `up` (Braid, the lab and traffic, supervised), `demo` (the same, and the live answers),
//! `wait`, `health`, `down`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method};
use kit::{Asker, Stop};

use crate::ports::{Check, Ports, is_free};
use crate::show;
use crate::state::{SUPERVISOR, State};
use crate::supervisor::{Part, supervise};

/// Where the state directory is and where the ports are; common to all commands about the whole.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Directory of pids, logs and the lab's database.
    #[arg(long, env = "LAB_STATE", default_value = ".run")]
    state: PathBuf,
    /// Added to every port, Braid's and the lab's.
    #[arg(long, env = "LAB_PORT_OFFSET", default_value_t = 0)]
    port_offset: u16,
}

/// Flags of `braid-lab up` and `braid-lab demo`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Start this Braid binary too; without it the lab sends to OTEL_EXPORTER_OTLP_ENDPOINT or port 4318.
    #[arg(long, value_name = "BINARY")]
    braid: Option<PathBuf>,
    /// Braid's configuration file.
    #[arg(long, value_name = "FILE", requires = "braid")]
    config: Option<PathBuf>,
    /// Start no traffic.
    #[arg(long)]
    no_traffic: bool,
    /// Actions of the traffic per second.
    #[arg(long, env = "LAB_TRAFFIC_RATE", default_value_t = 4.0, value_parser = crate::traffic::positive)]
    rate: f64,
    /// Seed of the traffic.
    #[arg(long, env = "LAB_TRAFFIC_SEED", default_value_t = 1)]
    seed: u64,
    /// Go to the background once everything is ready.
    #[arg(long)]
    detach: bool,
}

/// Flags of `braid-lab wait` and `braid-lab health`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HealthOptions {
    #[command(flatten)]
    place: Place,
    /// Ask the lab only, not Braid.
    #[arg(long)]
    lab_only: bool,
    /// Give up after this many seconds (`wait` only).
    #[arg(long, default_value_t = 60.0, value_parser = crate::traffic::positive)]
    timeout: f64,
}

impl Place {
    /// The ports of this place.
    pub(crate) fn ports(&self) -> anyhow::Result<Ports> {
        Ports::shifted(self.port_offset)
    }
}

/// `braid-lab up`.
pub(crate) async fn up(options: Options, stop: Stop) -> anyhow::Result<ExitCode> {
    if options.detach {
        return detach(&options).await;
    }
    let whole = Whole::prepare(options)?;
    supervise_whole(&whole, true, &stop).await;
    Ok(ExitCode::SUCCESS)
}

/// `braid-lab demo`: everything, then live answers, then on until stopped.
pub(crate) async fn demo(options: Options, stop: Stop) -> anyhow::Result<ExitCode> {
    let whole = Whole::prepare(options)?;
    let with_braid = whole.options.braid.is_some();
    let show = async {
        crate::say!("Starting Braid, the lab and its traffic; logs are in {}", whole.options.place.state.join("logs").display());
        if !ready(&whole.ports.checks(with_braid), Duration::from_secs(60), true).await {
            crate::say!("Not everything became ready; the logs say why.");
            return false;
        }
        if !show::when_there_is_data(&whole.ports, Duration::from_secs(45)).await {
            crate::say!("\nNot every answer could be given; `braid-lab show` asks again, the logs may say why.");
        }
        crate::say!("\nEverything goes on until you press Ctrl-C; the data stays in {}.", whole.data().display());
        true
    };
    let both = async {
        tokio::select! {
            shown = show => {
                if shown {
                    stop.wait().await;
                }
                shown
            }
            () = stop.wait() => true,
        }
    };
    // When the answers cannot be had the demo ends, and the parts with it.
    let (end, ended) = Stop::by_hand();
    let supervised = supervise_whole(&whole, false, &ended);
    let watched = async {
        let shown = both.await;
        crate::say!("\nStopping.");
        end.send_replace(true);
        shown
    };
    let (shown, ()) = tokio::join!(watched, supervised);
    crate::say!("Stopped; nothing is left running.");
    Ok(if shown { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `braid-lab health`: one line each; fails when something is not ready.
pub(crate) async fn health(options: HealthOptions) -> anyhow::Result<ExitCode> {
    let checks = options.place.ports()?.checks(!options.lab_only);
    let asker = Asker::new(Duration::from_secs(2));
    let mut all = true;
    for check in &checks {
        let ready = is_ready(&asker, check).await;
        all &= ready;
        crate::say!("{} {:<15} {}", if ready { "✅ Healthy " } else { "⚠️ Starting" }, check.name, check.url);
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `braid-lab wait`: until everything is ready, or fails after the timeout.
pub(crate) async fn wait(options: HealthOptions) -> anyhow::Result<ExitCode> {
    let checks = options.place.ports()?.checks(!options.lab_only);
    let all = ready(&checks, Duration::from_secs_f64(options.timeout), true).await;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `braid-lab down`.
pub(crate) async fn down(place: Place) -> anyhow::Result<ExitCode> {
    let stopped = State::open(&place.state)?.stop_supervisor().await?;
    crate::say!("{}", if stopped { "Stopped; the data stays." } else { "Nothing was running." });
    Ok(ExitCode::SUCCESS)
}

/// What `up` and `demo` run.
struct Whole {
    options: Options,
    ports: Ports,
    state: State,
    braid: Option<Part>,
    parts: Vec<Part>,
}

impl Whole {
    /// Checks that nothing is in the way and says what to start. Nothing is started yet.
    fn prepare(options: Options) -> anyhow::Result<Self> {
        let ports = options.place.ports()?;
        let state = State::open(&options.place.state)?;
        if let Some(pid) = state.supervisor() {
            anyhow::bail!("a lab runs on {} already (pid {pid}); `braid-lab down` stops it", options.place.state.display());
        }
        let mut needed = vec![("backend", ports.backend), ("task page", ports.proxy)];
        needed.extend(ports.services().map(|(service, port)| (service.name(), port)));
        needed.extend(ports.shops().map(|(service, port)| (service.name(), port)));
        if options.braid.is_some() {
            // Without its own port Braid does not start, without OTLP it gets no data.
            needed.extend([("braid", ports.braid), ("otlp", ports.otlp)]);
        }
        let taken: Vec<String> =
            needed.iter().filter(|(_, port)| !is_free(*port)).map(|(name, port)| format!("{port} ({name})")).collect();
        anyhow::ensure!(
            taken.is_empty(),
            "taken by another program: port {}; --port-offset (LAB_PORT_OFFSET) moves all ports",
            taken.join(", port ")
        );
        let braid = options.braid.as_deref().map(|binary| braid_part(binary, &options)).transpose()?;
        let parts = lab_parts(&options, &ports)?;
        Ok(Self { options, ports, state, braid, parts })
    }

    fn data(&self) -> PathBuf {
        data_directory(&self.options)
    }
}

/// Runs everything until `stop`. Braid stops last, so that the others' last telemetry arrives.
async fn supervise_whole(whole: &Whole, echo: bool, stop: &Stop) {
    if let Err(error) = whole.state.record_pid(SUPERVISOR, std::process::id()) {
        eprintln!("braid-lab: {error:#}; `down` will not find this lab");
    }
    let (end_braid, braid_ended) = Stop::by_hand();
    let braid = async {
        if let Some(part) = whole.braid.clone() {
            supervise(vec![part], &whole.state, echo, &braid_ended).await;
        }
    };
    let lab = async {
        supervise(whole.parts.clone(), &whole.state, echo, stop).await;
        end_braid.send_replace(true);
    };
    tokio::join!(braid, lab);
    whole.state.forget_pid(SUPERVISOR);
}

fn data_directory(options: &Options) -> PathBuf {
    options.place.state.join("data")
}

fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

fn braid_part(binary: &Path, options: &Options) -> anyhow::Result<Part> {
    let mut arguments: Vec<String> = ["--tethered", "tether", "--"].map(str::to_owned).into();
    arguments.push(binary.display().to_string());
    arguments.push("serve".into());
    if let Some(config) = &options.config {
        arguments.extend(["--config".into(), moved_config(config, options)?.display().to_string()]);
    }
    arguments.extend(["--data-dir".into(), data_directory(options).display().to_string()]);
    if options.place.port_offset > 0 {
        arguments.extend(["--port-offset".into(), options.place.port_offset.to_string()]);
    }
    Ok(Part { name: "braid", program: this_program()?, arguments })
}

/// The configuration names the lab's ports as scrape targets. When they are moved, a copy with the moved ports is used.
fn moved_config(config: &Path, options: &Options) -> anyhow::Result<PathBuf> {
    if options.place.port_offset == 0 {
        return Ok(config.to_owned());
    }
    let ports = options.place.ports()?;
    let text = std::fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let mut moves = vec![(tasks::BACKEND_PORT, ports.backend), (tasks::PROXY_PORT, ports.proxy), (3000, ports.braid)];
    moves.extend(ports.services().map(|(service, port)| (service.port(), port)));
    moves.extend(ports.shops().map(|(service, port)| (service.port(), port)));
    let text = move_ports(&text, &moves);
    let moved = options.place.state.join("braid.yaml");
    std::fs::write(&moved, text).with_context(|| format!("cannot write {}", moved.display()))?;
    Ok(moved)
}

/// Replaces `127.0.0.1:from` by `127.0.0.1:to`, each place once: ports may move to where others were.
fn move_ports(text: &str, moves: &[(u16, u16)]) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut pieces = text.split(HOST);
    let mut moved = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(piece.len());
        let (port, rest) = piece.split_at(end);
        let target = moves.iter().find(|(from, _)| *port == from.to_string()).map(|(_, to)| to.to_string());
        moved.extend([HOST, target.as_deref().unwrap_or(port), rest]);
    }
    moved
}

fn lab_parts(options: &Options, ports: &Ports) -> anyhow::Result<Vec<Part>> {
    let program = this_program()?;
    let part = |name: &'static str, flags: &[&str]| {
        let arguments = ["--tethered", name].iter().chain(flags).map(|flag| (*flag).to_owned()).collect();
        Part { name, program: program.clone(), arguments }
    };
    let database = options.place.state.join("lab/tasks.db").display().to_string();
    let (backend, proxy) = (ports.backend.to_string(), ports.proxy.to_string());
    let upstream = format!("localhost:{backend}");
    let target = format!("http://127.0.0.1:{proxy}");
    let (rate, seed) = (options.rate.to_string(), options.seed.to_string());
    let mut parts = vec![
        part("backend", &["--port", &backend, "--database", &database]),
        part("proxy", &["--port", &proxy, "--backend", &upstream]),
    ];
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    for (service, port) in ports.services() {
        let others: Vec<String> = ports
            .services()
            .filter(|(other, _)| *other != service)
            .map(|(other, port)| format!("{}={}", other.name(), url(port)))
            .collect();
        parts.push(part(service.name(), &["--port", &port.to_string(), "--neighbours", &others.join(",")]));
    }
    let auth = url(ports.shop[1]);
    for (service, port) in ports.shops() {
        parts.push(part(service.part(), &["--port", &port.to_string(), "--auth", &auth]));
    }
    if !options.no_traffic {
        let shop = ports.shop.map(url).join(",");
        let sense = ports.sense.map(url).join(",");
        let (syslog, tester) = (format!("127.0.0.1:{}", ports.syslog), url(ports.sense[0]));
        parts.push(part("legacy", &["--syslog", &syslog, "--sense", &tester]));
        parts.push(part("traffic", &["--target", &target, "--sense", &sense, "--shop", &shop, "--rate", &rate, "--seed", &seed]));
    }
    for part in &mut parts {
        // Only where the lab knows better than the default: the environment that the user set is passed on as it is.
        if options.place.port_offset > 0 && std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
            part.arguments.extend(["--otlp".into(), format!("http://127.0.0.1:{}", ports.otlp)]);
        }
    }
    Ok(parts)
}

/// Starts `braid-lab up` with the same flags as a process of its own and returns when everything is ready.
async fn detach(options: &Options) -> anyhow::Result<ExitCode> {
    // Prepared here for the checks alone, so that what is in the way is said on this terminal.
    let whole = Whole::prepare(options.clone())?;
    let log = whole.state.log(SUPERVISOR);
    let output = std::fs::OpenOptions::new().create(true).append(true).open(&log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--detach");
    let mut child = tokio::process::Command::new(this_program()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .context("cannot start the supervisor")?;
    let checks = whole.ports.checks(options.braid.is_some());
    let all = tokio::select! {
        all = ready(&checks, Duration::from_secs(60), true) => all,
        status = child.wait() => anyhow::bail!("the supervisor ended ({}); {} says why", status?, log.display()),
    };
    anyhow::ensure!(all, "not everything became ready; {} says why", whole.options.place.state.join("logs").display());
    show::where_to_look(&whole.ports);
    Ok(ExitCode::SUCCESS)
}

/// Waits until all checks answer 2xx. With `tell` a line is printed for each as it does, and for what never did.
async fn ready(checks: &[Check], patience: Duration, tell: bool) -> bool {
    let asker = Asker::new(Duration::from_secs(2));
    let deadline = Instant::now() + patience;
    let mut waiting: Vec<&Check> = checks.iter().collect();
    loop {
        let mut still = Vec::new();
        for check in waiting {
            if is_ready(&asker, check).await {
                if tell {
                    crate::say!("  ready: {:<15} port {}", check.name, check.port);
                    let _ = std::io::stdout().flush();
                }
            } else {
                still.push(check);
            }
        }
        waiting = still;
        if waiting.is_empty() || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for check in &waiting {
        crate::say!("  NOT ready: {:<11} port {} ({})", check.name, check.port, check.url);
    }
    waiting.is_empty()
}

async fn is_ready(asker: &Asker, check: &Check) -> bool {
    let answer = asker.send(Method::GET, &check.url, HeaderMap::new(), Bytes::new()).await;
    answer.is_ok_and(|answer| answer.status.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_move_once_and_others_stay() {
        let moves = [(5000, 5001), (5001, 5002), (3000, 3001)];
        let text = r#"["127.0.0.1:5000"] ["127.0.0.1:5001", "127.0.0.1:9100"] 127.0.0.1:50001 127.0.0.1:3000"#;
        let moved = r#"["127.0.0.1:5001"] ["127.0.0.1:5002", "127.0.0.1:9100"] 127.0.0.1:50001 127.0.0.1:3001"#;
        assert_eq!(move_ports(text, &moves), moved);
        assert_eq!(move_ports("", &moves), "");
    }
}
