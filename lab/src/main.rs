//! `braid-lab`: the lab in one binary, each part a process of its own. The task manager: `backend` (REST over SQLite) and
//! `proxy` (the page and the way to the backend). The sense services: `beorn`, `palantir` and `arda`, which call each other.
//! The shop: `transactions`, `auth`, `payment` and `inventory`. `traffic` (people, simulated), and `up`, which supervises them all.

/// `println!` that a reader who goes away (`| head`) does not turn into a panic.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($text)*)));
    }};
}
pub(crate) use say;

mod legacy;
mod ports;
mod show;
mod state;
mod supervisor;
mod tether;
mod traffic;
mod up;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kit::{Stop, telemetry};
use sense::Service;
use tasks::{backend, proxy};

#[derive(Debug, Parser)]
#[command(name = "braid-lab", version, about = "Braid's lab: services to observe.")]
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
    /// The first sense service.
    Beorn(sense::Options),
    /// The second sense service.
    Palantir(sense::Options),
    /// The third sense service.
    Arda(sense::Options),
    /// The shop's transactions (service flask-api).
    Transactions(shop::Options),
    /// The shop's accounts (service auth-service).
    Auth(shop::Options),
    /// The shop's payments (service payment-service).
    Payment(shop::Options),
    /// The shop's stock (service inventory-service).
    Inventory(shop::Options),
    /// A host whose syslog has no ids but the circuit's.
    Legacy(legacy::Options),
    /// Simulated visitors of the page and of the sense services (service traffic).
    Traffic(traffic::Options),
    /// Start and supervise all services and traffic, and Braid if told where it is.
    Up(up::Options),
    /// `up`, then live answers from Braid.
    Demo(up::Options),
    /// Stop what `up` started.
    Down(up::Place),
    /// Say what is ready and what is not.
    Health(up::HealthOptions),
    /// Wait until everything is ready.
    Wait(up::HealthOptions),
    /// Live answers from Braid: a trace, its log lines, a rate, a trace across the sense services.
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
        Part::Beorn(options) => sense::run(Service::Beorn, options, &command.otlp, stop).await?,
        Part::Palantir(options) => sense::run(Service::Palantir, options, &command.otlp, stop).await?,
        Part::Arda(options) => sense::run(Service::Arda, options, &command.otlp, stop).await?,
        Part::Transactions(options) => shop::run(shop::Service::Transactions, options, &command.otlp, stop).await?,
        Part::Auth(options) => shop::run(shop::Service::Auth, options, &command.otlp, stop).await?,
        Part::Payment(options) => shop::run(shop::Service::Payment, options, &command.otlp, stop).await?,
        Part::Inventory(options) => shop::run(shop::Service::Inventory, options, &command.otlp, stop).await?,
        Part::Legacy(options) => legacy::run(options, stop).await?,
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
