//! The shop: transactions, accounts, payments and stock, four services. A payment asks the accounts who pays, and is put into a
//! queue for the notifications. What a real shop keeps in Redis, PostgreSQL and RabbitMQ is kept in the services' own memory here:
//! a cache, tables behind a pool of connections, a queue. Their metrics have the names that Flask's exporter gives them, so that
//! dashboards made for such a shop work.

mod auth;
mod inventory;
mod metrics;
mod payment;
mod server;
mod store;
mod transactions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kit::{CallbackOptions, Stop, Telemetry, serve};

use crate::server::Common;

/// One of the four services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Recent transactions, cached; on port 8000.
    Transactions,
    /// Accounts and sessions; on port 8001.
    Auth,
    /// Payments; on port 8002.
    Payment,
    /// Products and their stock; on port 8003.
    Inventory,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 4] = [Self::Transactions, Self::Auth, Self::Payment, Self::Inventory];

    /// `service.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transactions => "flask-api",
            Self::Auth => "auth-service",
            Self::Payment => "payment-service",
            Self::Inventory => "inventory-service",
        }
    }

    /// The name on the command line, and that of its process.
    pub fn part(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Auth => "auth",
            Self::Payment => "payment",
            Self::Inventory => "inventory",
        }
    }

    /// The port unless told otherwise.
    pub fn port(self) -> u16 {
        match self {
            Self::Transactions => 8000,
            Self::Auth => 8001,
            Self::Payment => 8002,
            Self::Inventory => 8003,
        }
    }
}

/// Flags of `braid-lab transactions`, `auth`, `payment` and `inventory`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, env = "LAB_SHOP_HOST", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on [default: 8000 (transactions), 8001 (auth), 8002 (payment), 8003 (inventory)].
    #[arg(long, env = "LAB_SHOP_PORT")]
    port: Option<u16>,
    /// Where payments ask who pays.
    #[arg(long, value_name = "URL", env = "LAB_SHOP_AUTH", default_value = "http://127.0.0.1:8001")]
    auth: String,
    #[command(flatten)]
    callbacks: CallbackOptions,
}

/// Runs one service until `stop`, with its telemetry going to `otlp`.
pub async fn run(service: Service, options: Options, otlp: &str, stop: Stop) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(service.name(), otlp, &[])?;
    let address = SocketAddr::new(options.host, options.port.unwrap_or(service.port()));
    let common = Common::new(service, telemetry.tracer());
    let routes = match service {
        Service::Transactions => transactions::routes(&common),
        Service::Auth => auth::routes(&common),
        Service::Payment => payment::routes(&common, options.auth.trim_end_matches('/').to_owned(), stop.clone()),
        Service::Inventory => inventory::routes(&common),
    };
    let served = serve(address, common.observed(routes, &options.callbacks), stop).await;
    telemetry.stop().await;
    served
}
