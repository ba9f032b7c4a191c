//! What an exporter is told; the configuration has validated it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use model::Tenant;
use wire::Signal;

/// One exporter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in the configuration, such as `otlphttp/backup`; its cursors are named after it.
    pub name: String,
    /// The signals of the pipelines that it stands in.
    pub signals: Vec<Signal>,
    /// What it speaks.
    pub peer: Peer,
    /// How it reaches the other side.
    pub http: Http,
    /// What is kept for it, and how much is under way at once.
    pub queue: Queue,
    /// What happens when the other side does not take something.
    pub retry: Retry,
    /// Whose records it sends.
    pub tenants: Tenants,
    /// What a record may be; as at the receivers.
    pub limits: wire::Limits,
}

impl Settings {
    /// With Prometheus' `global.external_labels`: a remote-write exporter sends them too, its own ones of the same name winning.
    pub fn name_by(&mut self, global: &[(String, String)]) {
        if let Peer::RemoteWrite { external_labels, .. } = &mut self.peer {
            for (name, value) in global {
                if !external_labels.iter().any(|(own, _)| own == name) {
                    external_labels.push((name.clone(), value.clone()));
                }
            }
        }
    }
}

/// What the other side speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP; full URLs, by signal in the order of [`Signal::ALL`].
    OtlpHttp([String; 3]),
    /// Loki's push API. The labels that streams have, of `service`, `env` and `trace_id`; everything else is in the line.
    Loki {
        /// A subset of the three.
        labels: Vec<LokiLabel>,
    },
    /// Prometheus remote write.
    RemoteWrite {
        /// Labels that every series gets, where it has not got them.
        external_labels: Vec<(String, String)>,
        /// Bytes of a request before compression.
        max_bytes: usize,
        /// Whether types, help and units are sent.
        metadata: bool,
    },
    /// Datadog's intakes; full URLs, by signal in the order of [`Signal::ALL`].
    Datadog {
        /// Where to.
        urls: [String; 3],
        /// The host that nothing else is known of.
        hostname: String,
    },
}

/// A label that a stream may have in an outside Loki.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LokiLabel {
    /// Who wrote the line.
    Service,
    /// Where it runs.
    Env,
    /// The trace that it belongs to.
    TraceId,
}

impl LokiLabel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Env, Self::Service, Self::TraceId];

    /// The label's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Env => "env",
            Self::TraceId => "trace_id",
        }
    }
}

/// How the other side is reached.
#[derive(Clone, Default)]
pub struct Http {
    /// Scheme, host, port, and where the protocol has one a path.
    pub endpoint: String,
    /// Headers of every request. Values are secrets.
    pub headers: Vec<(String, String)>,
    /// Certificates.
    pub tls: Tls,
    /// Of bodies; those of Loki and remote write are always snappy.
    pub compression: Compression,
    /// How long a request may take.
    pub timeout: Duration,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Http").field("endpoint", &self.endpoint).field("headers", &names).finish_non_exhaustive()
    }
}

/// The Collector's `tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the authorities that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM of the certificate that is shown.
    pub cert_file: Option<PathBuf>,
    /// PEM of its key.
    pub key_file: Option<PathBuf>,
    /// The other side's certificate is not checked.
    pub insecure_skip_verify: bool,
    /// The name that the other side's certificate must have.
    pub server_name: Option<String>,
}

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not.
    None,
    /// gzip.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
}

/// The Collector's `sending_queue`. The queue is the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Bytes of the log that are kept for the exporter, for each of its signals.
    pub bytes: u64,
    /// Batches under way at once.
    pub consumers: usize,
    /// How long a batch that is not full waits for more.
    pub flush_timeout: Duration,
    /// Bytes of records in a batch; a record that is larger is cut where the protocol allows.
    pub batch_bytes: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { bytes: 10 << 30, consumers: 4, flush_timeout: Duration::from_millis(200), batch_bytes: 2 << 20 }
    }
}

/// The Collector's `retry_on_failure`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Whether anything is sent again.
    pub enabled: bool,
    /// The first wait.
    pub initial_interval: Duration,
    /// The longest wait.
    pub max_interval: Duration,
    /// Time after which a batch is given up; `None` for never.
    pub max_elapsed_time: Option<Duration>,
    /// By how much a wait is longer than the one before.
    pub multiplier: f64,
    /// By how much of itself a wait may be shorter or longer, 0 to 1.
    pub randomization_factor: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(30),
            max_elapsed_time: None,
            multiplier: 1.5,
            randomization_factor: 0.5,
        }
    }
}

/// Whose records are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenants {
    /// These; everybody's where there is none.
    pub only: Vec<Tenant>,
    /// Whether `X-Scope-OrgID` says whose they are.
    pub forward: bool,
}

impl Tenants {
    /// Whether records of `tenant` are sent.
    #[must_use]
    pub fn wants(&self, tenant: &Tenant) -> bool {
        self.only.is_empty() || self.only.contains(tenant)
    }
}
