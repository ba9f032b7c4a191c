//! The configuration file as it is written: every section optional, every key known.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// `braid.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) ports: Ports,
    pub(super) memory: Option<String>,
    pub(super) storage: Storage,
    pub(super) limits: Limits,
    pub(super) queries: Queries,
    pub(super) web: Web,
    pub(super) otlp: PrometheusOtlp,
    #[serde(rename = "self")]
    pub(super) own: Own,
    pub(super) receivers: Receivers,
    pub(super) metrics_generator: super::generator::File,
    pub(super) correlation: Correlation,
    pub(super) exporters: super::exporters::Exporters,
    pub(super) service: super::exporters::Service,
    pub(super) dashboards: Dashboards,
    pub(super) auth: Auth,
    pub(super) tls: Option<Tls>,
    /// These three are read by `prometheus::Config`, which knows them whole.
    #[serde(rename = "global")]
    _global: IgnoredAny,
    #[serde(rename = "scrape_configs")]
    _scrape_configs: IgnoredAny,
    #[serde(rename = "scrape_config_files")]
    _scrape_config_files: IgnoredAny,
}

/// Prometheus' section `otlp`, as far as it applies.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PrometheusOtlp {
    pub(super) convert_histograms_to_nhcb: bool,
}

/// What Braid keeps of itself, in itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Own {
    pub(super) logs: bool,
    pub(super) traces: bool,
}

/// Files that the page shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dashboards {
    pub(super) directory: Option<PathBuf>,
}

/// As Prometheus names its flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Web {
    pub(super) enable_admin_api: bool,
    pub(super) cors: WebCors,
    /// Queries that take longer are logged.
    pub(super) slow_query: Option<String>,
}

/// `--web.cors.origin`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebCors {
    pub(super) origin: Option<String>,
}

/// Who may do what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) certificate_scopes: Vec<String>,
    pub(super) session: Option<String>,
    pub(super) allow_unauthenticated: bool,
}

/// How a port is secured; but for `client_auth` as the Collector has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) cert_file: PathBuf,
    pub(super) key_file: PathBuf,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_auth: Option<String>,
    pub(super) client_crl_file: Option<PathBuf>,
}

/// Braid's own port and the customary ones; `0` leaves one out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ports {
    pub(super) braid: Option<u16>,
    pub(super) prometheus: Option<u16>,
    pub(super) loki: Option<u16>,
    pub(super) tempo: Option<u16>,
    pub(super) correlation: Option<u16>,
}

/// What joins records, and how long they are waited for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Correlation {
    pub(super) enabled: Option<bool>,
    pub(super) window: Option<String>,
    pub(super) window_from: Option<String>,
    pub(super) memory: Option<String>,
    pub(super) lone_events: Option<u32>,
    pub(super) keys: Option<Vec<BusinessKey>>,
    pub(super) entities: BTreeMap<String, String>,
}

/// A business key: its name, or its name with patterns.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum BusinessKey {
    Name(String),
    Patterns(KeyPatterns),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPatterns {
    pub(super) name: String,
    #[serde(default)]
    pub(super) patterns: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    pub(super) dir: Option<PathBuf>,
    pub(super) sync: Option<String>,
    pub(super) min_free: Option<String>,
    pub(super) share_segments_below: Option<String>,
    pub(super) retention: Retention,
    pub(super) out_of_order_time_window: Option<String>,
    pub(super) object_store: Option<ObjectStore>,
    pub(super) cache: Cache,
    pub(super) log: Log,
}

/// The write-ahead log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) max_size: Option<String>,
}

/// Where segments go; the keys are S3's, but for Azure's account.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ObjectStore {
    pub(super) url: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) path_style: Option<bool>,
    pub(super) access_key_id: Option<String>,
    pub(super) secret_access_key: Option<String>,
    pub(super) session_token: Option<String>,
    pub(super) account_name: Option<String>,
    pub(super) account_key: Option<String>,
    pub(super) lease: Option<String>,
}

/// Local copies of what is in the object store.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    pub(super) max_size: Option<String>,
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
    pub(super) discover_service_name: Option<bool>,
    pub(super) discover_log_levels: Option<bool>,
    pub(super) reject_old_samples_max_age: Option<String>,
    pub(super) creation_grace_period: Option<String>,
    pub(super) max_entries_limit_per_query: Option<usize>,
    pub(super) max_concurrent_tail_requests: Option<usize>,
    pub(super) delete_request_cancel_period: Option<String>,
    /// Of each tenant that is not named below.
    pub(super) defaults: Tenant,
    pub(super) tenants: BTreeMap<String, Tenant>,
}

/// What one tenant may do.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tenant {
    pub(super) items_per_second: Option<f64>,
    pub(super) items_burst: Option<f64>,
    pub(super) bytes_per_second: Option<String>,
    pub(super) bytes_burst: Option<String>,
    pub(super) body: Option<String>,
    pub(super) series: Option<usize>,
    pub(super) query_concurrency: Option<usize>,
    pub(super) query_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queries {
    pub(super) timeout: Option<String>,
    pub(super) max_concurrent: Option<usize>,
    pub(super) max_samples: Option<usize>,
    pub(super) max_series: Option<usize>,
    pub(super) max_memory: Option<String>,
}

/// As the Collector has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Receivers {
    pub(super) otlp: Otlp,
    pub(super) zipkin: Zipkin,
    pub(super) jaeger: Jaeger,
    pub(super) syslog: Option<Syslog>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Zipkin {
    pub(super) endpoint: Option<String>,
    pub(super) parse_string_tags: bool,
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Syslog {
    pub(super) udp: Option<SyslogPort>,
    pub(super) tcp: Option<SyslogPort>,
    pub(super) location: Option<String>,
    /// The forms are told apart by themselves; what the Collector's configuration says here is checked and not needed.
    pub(super) protocol: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jaeger {
    pub(super) protocols: JaegerProtocols,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JaegerProtocols {
    pub(super) grpc: Option<Grpc>,
    pub(super) thrift_http: Option<Grpc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SyslogPort {
    pub(super) listen_address: Option<String>,
    pub(super) max_log_size: Option<String>,
    pub(super) tls: Option<Tls>,
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
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub(super) endpoint: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) cors: Option<Cors>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cors {
    pub(super) allowed_origins: Vec<String>,
}
