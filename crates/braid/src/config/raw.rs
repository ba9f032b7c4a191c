//! The configuration file as it is written: every section optional, every key known.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// `braid.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) ports: Ports,
    pub(super) memory: Option<String>,
    pub(super) storage: Storage,
    pub(super) limits: Limits,
    pub(super) receivers: Receivers,
    pub(super) global: Global,
    pub(super) scrape_configs: Vec<Scrape>,
}

/// Braid's own port and the customary ones; `0` leaves one out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ports {
    pub(super) braid: Option<u16>,
    pub(super) prometheus: Option<u16>,
    pub(super) loki: Option<u16>,
    pub(super) tempo: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    pub(super) dir: Option<PathBuf>,
    pub(super) sync: Option<String>,
    pub(super) min_free: Option<String>,
    pub(super) retention: Retention,
    pub(super) out_of_order_time_window: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    pub(super) traces: Option<String>,
    pub(super) logs: Option<String>,
    pub(super) metrics: Option<String>,
    pub(super) max_size: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) body: Option<String>,
    pub(super) inflated: Option<String>,
    pub(super) in_flight: Option<String>,
}

/// As the Collector has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Receivers {
    pub(super) otlp: Otlp,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Otlp {
    pub(super) protocols: Protocols,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Protocols {
    pub(super) grpc: Option<Grpc>,
    pub(super) http: Option<Http>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Grpc {
    pub(super) endpoint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) endpoint: Option<String>,
    pub(super) cors: Option<Cors>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cors {
    pub(super) allowed_origins: Vec<String>,
}

/// As Prometheus has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Global {
    pub(super) scrape_interval: Option<String>,
    pub(super) scrape_timeout: Option<String>,
}

/// As Prometheus has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Scrape {
    pub(super) job_name: String,
    pub(super) scrape_interval: Option<String>,
    pub(super) scrape_timeout: Option<String>,
    pub(super) metrics_path: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) params: BTreeMap<String, Vec<String>>,
    pub(super) honor_labels: bool,
    pub(super) honor_timestamps: Option<bool>,
    pub(super) body_size_limit: Option<String>,
    pub(super) sample_limit: Option<u64>,
    pub(super) static_configs: Vec<Static>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Static {
    pub(super) targets: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
}
