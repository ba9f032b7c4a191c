//! Prometheus' configuration: read from YAML with the place of every value, validated as the reference (v3) validates
//! it, and the relabelling rules in it.
//!
//! Everything that a `prometheus.yml` may hold is read and checked, also what Braid has no part for; who runs a piece
//! of it decides whether it can.

mod discovery;
mod error;
mod file;
mod http_client;
mod names;
pub mod relabel;
mod remote;
mod schema;
mod scrape;
pub mod value;
pub mod yaml;

pub use discovery::{Discovery, DnsRecord, DockerFilter, TargetGroup, groups_of_file};
pub use error::{ConfigError, Flaw, unknown_key};
pub use file::{Config, Global, files};
pub use http_client::{Credentials, HttpClient, OAuth2, Secret, Tls};
pub use names::NameScheme;
pub use scrape::{Escaping, ScrapeConfig, ScrapeLimits, ScrapeProtocol};
