//! `braid-lab`: the lab's first system, the task manager. One binary, each part a process of its own:
//! `backend` (REST over SQLite), `proxy` (the page and the way to the backend), `traffic` (people, simulated), and `up`,
//! which supervises the three.

/// `println!` that a reader who goes away (`| head`) does not turn into a panic.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($text)*)));
    }};
}
pub(crate) use say;

mod ask;
mod backend;
mod delivery;
mod exposition;
mod json_log;
mod ports;
mod proxy;
mod random;
mod show;
mod state;
mod stop;
mod supervisor;
mod telemetry;
mod tether;
mod trace_context;
mod traffic;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::stop::Stop;

/// The backend's port unless told otherwise.
pub(crate) const BACKEND_PORT: u16 = 5000;
/// The proxy's port unless told otherwise.
pub(crate) const PROXY_PORT: u16 = 8081;

#[derive(Debug, Parser)]
#[command(name = "braid-lab", version, about = "Braid's lab: a task manager to observe, from the page to the database.")]
struct Command {
    #[command(subcommand)]
    part: Part,
    /// Stop when standard input ends; the supervisor holds its other end.
    #[arg(long, global = true, hide = true)]
    tethered: bool,
    /// Where telemetry goes [default: http://127.0.0.1:4318].
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = telemetry::DEFAULT_ENDPOINT, hide_default_value = true)]
    otlp: String,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The REST backend over SQLite (service flask-backend).
    Backend(backend::Options),
    /// The task page and the way to the backend (service tasks-proxy).
    Proxy(proxy::Options),
    /// Simulated visitors of the page (service traffic).
    Traffic(traffic::Options),
    /// Start and supervise backend, proxy and traffic, and Braid if told where it is.
    Up(up::Options),
    /// `up`, then three live answers from Braid.
    Demo(up::Options),
    /// Stop what `up` started.
    Down(up::Place),
    /// Say what is ready and what is not.
    Health(up::HealthOptions),
    /// Wait until everything is ready.
    Wait(up::HealthOptions),
    /// Three live answers from Braid: a trace, its log lines, a rate.
    Show(up::Place),
    /// Run a program that ends when standard input does.
    #[command(hide = true)]
    Tether(tether::Options),
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("braid-lab: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(command));
    // A blocking query may still be running; the process does not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(50));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("braid-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let stop = Stop::listen(command.tethered)?;
    match command.part {
        Part::Backend(options) => backend::run(options, &command.otlp, stop).await?,
        Part::Proxy(options) => proxy::run(options, &command.otlp, stop).await?,
        Part::Traffic(options) => traffic::run(options, &command.otlp, stop).await?,
        Part::Up(options) => return up::up(options, stop).await,
        Part::Demo(options) => return up::demo(options, stop).await,
        Part::Down(place) => return up::down(place).await,
        Part::Health(options) => return up::health(options).await,
        Part::Wait(options) => return up::wait(options).await,
        Part::Show(place) => {
            let all = show::now(&place.ports()?).await;
            return Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Part::Tether(options) => return tether::run(options, stop).await,
    }
    Ok(ExitCode::SUCCESS)
}
