//! Benchmarks of a running server, seen from outside: how much CPU, memory and disk it takes to keep a workload.
//!
//! `braid-bench load` is the generator (three shapes, deterministic in its seed); `braid-bench ingest` starts servers
//! one after the other on fresh data, loads them, lets them settle and prints a table; `braid-bench queries` times the
//! answers of a loaded one. See `bench/README.md`.

mod beside;
mod correlate;
mod ingest;
mod load;
mod process;
mod protobuf;
mod queries;
mod random;
mod send;
mod shapes;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "braid-bench", about = "Loads servers and measures what that costs them")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send one of the three workloads to a URL and print one JSON line of figures.
    Load(load::Options),
    /// Start servers on fresh data, load them one after the other, print CPU, bytes, memory and latencies.
    Ingest(ingest::Options),
    /// Ask a server that was loaded the queries of a workload: check the answers, then time them.
    Queries(queries::Options),
    /// Ask Braid and VictoriaMetrics the same of the same samples: warm, cold, several clients, while loading, a month.
    Beside(beside::Options),
    /// Send traces and logs whose belonging together is known, and print how much of it correlation finds, and at which cost.
    Correlate(correlate::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Load(options) => load::run(&options),
        Command::Ingest(options) => ingest::run(&options),
        Command::Queries(options) => queries::run(&options),
        Command::Beside(options) => beside::run(&options),
        Command::Correlate(options) => correlate::run(&options),
    }
}
