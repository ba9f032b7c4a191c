//! beorn, palantir and arda: three services that ask each other about a circuit, so that one trace crosses all three, and put
//! five business keys on every span and log line.

mod api;
mod keys;
mod metrics;
mod path;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kit::{CallbackOptions, Stop, Telemetry, serve};

pub use crate::keys::KEYS;

/// One of the three services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// On port 5001.
    Beorn,
    /// On port 5002.
    Palantir,
    /// On port 5003.
    Arda,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 3] = [Self::Beorn, Self::Palantir, Self::Arda];

    /// The name on the command line, in `service.name` and in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beorn => "beorn",
            Self::Palantir => "palantir",
            Self::Arda => "arda",
        }
    }

    /// The port unless told otherwise.
    pub fn port(self) -> u16 {
        match self {
            Self::Beorn => 5001,
            Self::Palantir => 5002,
            Self::Arda => 5003,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The other two, in the order in which they are called: round the ring.
    fn others(self) -> [Self; 2] {
        match self {
            Self::Beorn => [Self::Palantir, Self::Arda],
            Self::Palantir => [Self::Arda, Self::Beorn],
            Self::Arda => [Self::Beorn, Self::Palantir],
        }
    }
}

/// Flags of `braid-lab beorn`, `palantir` and `arda`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "LAB_SENSE_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on [default: 5001 (beorn), 5002 (palantir), 5003 (arda)].
    #[arg(long, env = "LAB_SENSE_PORT")]
    port: Option<u16>,
    /// Where a neighbour is, as NAME=URL, comma-separated; the others are on this machine at their usual ports.
    #[arg(long, value_name = "NAME=URL", env = "LAB_SENSE_NEIGHBOURS", value_delimiter = ',', value_parser = neighbour)]
    neighbours: Vec<(Service, String)>,
    #[command(flatten)]
    callbacks: CallbackOptions,
}

/// Reads `palantir=http://host:5002`.
fn neighbour(text: &str) -> Result<(Service, String), String> {
    let (name, url) = text.split_once('=').ok_or("expected NAME=URL, such as palantir=http://127.0.0.1:5002")?;
    let service = Service::named(name.trim()).ok_or_else(|| format!("{name:?} is none of beorn, palantir, arda"))?;
    let uri = url.trim().parse::<http::Uri>().map_err(|reason| format!("{url:?} is not a URL: {reason}"))?;
    if uri.scheme_str() != Some("http") || uri.query().is_some() {
        return Err(format!("{url:?} is not an http:// URL without a query"));
    }
    Ok((service, url.trim().trim_end_matches('/').to_owned()))
}

impl Options {
    /// The base URL of a neighbour, without a slash at its end.
    fn url(&self, service: Service) -> String {
        let given = self.neighbours.iter().rev().find(|(known, _)| *known == service);
        given.map_or_else(|| format!("http://127.0.0.1:{}", service.port()), |(_, url)| url.clone())
    }
}

/// Runs one service until `stop`, with its telemetry going to `otlp`.
pub async fn run(service: Service, options: Options, otlp: &str, stop: Stop) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(service.name(), otlp, &KEYS)?;
    let address = SocketAddr::new(options.host, options.port.unwrap_or(service.port()));
    let app = Arc::new(api::App::new(service, &options, telemetry.tracer()));
    let served = serve(address, api::routes(app, &options.callbacks, telemetry.tracer()), stop).await;
    telemetry.stop().await;
    served
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_a_name_and_a_url() {
        assert_eq!(neighbour("arda=http://host:1/"), Ok((Service::Arda, "http://host:1".into())));
        for (text, reason) in [
            ("arda", "expected NAME=URL"),
            ("sauron=http://x", "none of beorn"),
            ("arda=host:1", "not an http:// URL"),
            ("arda=https://host", "not an http:// URL"),
            ("arda=http://host?x", "without a query"),
            ("arda=http://[", "not a URL"),
        ] {
            let refused = neighbour(text).err().unwrap_or_default();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }

    #[test]
    fn the_ring_starts_behind_each_service() {
        for service in Service::ALL {
            let mut all = service.others().to_vec();
            all.push(service);
            assert!(Service::ALL.iter().all(|known| all.contains(known)));
            assert_eq!(Service::named(service.name()), Some(service));
        }
    }
}
