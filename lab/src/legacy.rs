//! `braid-lab legacy`: a host that was there before telemetry. It has circuits tested now and then, and writes plain syslog about
//! them: no trace id, no span, only the circuit. What ties its lines to the traces of the tests is left to Braid.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use kit::{Asker, Stop, query_string};
use tokio::net::UdpSocket;

/// The host's name, and the application that speaks.
pub(crate) const HOST: &str = "bp1";
pub(crate) const APPLICATION: &str = "blueplanet";
/// What its circuits begin with: nobody else has them tested.
pub(crate) const CIRCUIT: &str = "LEGACY-";

/// Flags of `braid-lab legacy`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Where the syslog goes, over UDP.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, crate::ports::SYSLOG)))]
    syslog: SocketAddr,
    /// The sense service that tests its circuits.
    #[arg(long, default_value = "http://127.0.0.1:5001")]
    sense: String,
    /// Seconds from one test to the next.
    #[arg(long, default_value_t = 5.0, value_parser = crate::traffic::positive)]
    every: f64,
}

/// Runs until stopped.
pub(crate) async fn run(options: Options, stop: Stop) -> anyhow::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot open a socket for syslog")?;
    let asker = Asker::new(Duration::from_secs(5));
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = 0;
    loop {
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs_f64(options.every)) => {}
        }
        number += 1;
        let circuit = format!("{CIRCUIT}{begun}-{number}");
        say(&socket, &options, 4, &format!("signal degraded on circuit id {circuit}, asking for a test")).await;
        let url = format!("{}/api/test?{}", options.sense, query_string(&[("circuit_id", &circuit)]));
        let outcome = match asker.json(&url).await {
            Ok(_) => "passed",
            Err(_) => "gave no answer",
        };
        say(&socket, &options, 5, &format!("test of circuit id {circuit} {outcome}")).await;
    }
}

/// A line in the form of RFC 3164, which knows neither year nor zone.
async fn say(socket: &UdpSocket, options: &Options, severity: u8, text: &str) {
    const LOCAL0: u8 = 16;
    let line = format!("<{}>{HOST} {APPLICATION}[77]: {text}", LOCAL0 * 8 + severity);
    // Whoever is not listening misses it: syslog over UDP.
    let _ = socket.send_to(line.as_bytes(), options.syslog).await;
}
