//! The binary: command line, configuration, wiring, shutdown.

mod about;
mod access;
mod admin;
mod allocator;
mod app;
mod arriving;
mod backup;
mod certs;
mod command;
mod config;
mod dashboards;
mod gate;
mod inspect;
mod keys;
mod lanes;
mod locks;
mod logging;
mod memory;
mod open_store;
mod own;
mod process;
mod reload;
mod serve;
mod server;
mod snapshots;
mod store_metrics;
mod targets;
mod transfer;
mod verify;
mod warm;

use std::process::ExitCode;

use clap::Parser;

/// Not yet measured against glibc's allocator under the ingest load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::Command::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("braid: {}", told(&failure));
            ExitCode::from(if failure.is::<config::ConfigError>() { 2 } else { backup::exit_code(&failure) })
        }
    }
}

/// An error with its causes; what an error says of its cause already is not said again.
fn told(failure: &anyhow::Error) -> String {
    failure
        .chain()
        .map(ToString::to_string)
        .reduce(|told, cause| if told.contains(&cause) { told } else { format!("{told}: {cause}") })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("no bucket");
        let failure =
            Err::<(), _>(anyhow::Error::new(inner)).context("listing: no bucket").context("opening").expect_err("failed");
        assert_eq!(super::told(&failure), "opening: listing: no bucket");
    }
}
