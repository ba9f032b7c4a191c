//! Configuration: the file as written ([`raw`]) becomes validated values ([`Config`]) here and nowhere else.

mod auth;
mod correlation;
mod error;
mod exporters;
mod generator;
mod objects;
mod place;
mod raw;
mod scrape;
mod shown;
mod syslog;
mod tenants;
mod units;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use collector::syslog::SyslogSettings;
use collector::{Limits, Origins};
use guard::TlsFiles;
use prometheus::ScrapeConfig;

pub(crate) use auth::Auth;
pub(crate) use error::ConfigError;
pub(crate) use objects::ObjectStore;
pub(crate) use shown::left_for_a_restart;
pub(crate) use tenants::TenantLimits;
pub(crate) use units::duration;

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Face {
    /// Everything, and Braid's own pages.
    Braid,
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP.
    OtlpHttp,
    /// Prometheus.
    Prometheus,
    /// Loki.
    Loki,
    /// Tempo.
    Tempo,
    /// Zipkin's receiver.
    Zipkin,
    /// Jaeger's receiver of Thrift over HTTP.
    JaegerHttp,
    /// Jaeger's receiver of gRPC.
    JaegerGrpc,
    /// Correlation.
    Correlation,
}

impl Face {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Braid,
        Self::OtlpGrpc,
        Self::OtlpHttp,
        Self::Prometheus,
        Self::Loki,
        Self::Tempo,
        Self::Zipkin,
        Self::JaegerHttp,
        Self::JaegerGrpc,
        Self::Correlation,
    ];

    /// The name in `--print-ready` and in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Braid => "braid",
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Prometheus => "prometheus",
            Self::Loki => "loki",
            Self::Tempo => "tempo",
            Self::Zipkin => "zipkin",
            Self::JaegerHttp => "jaeger_http",
            Self::JaegerGrpc => "jaeger_grpc",
            Self::Correlation => "correlation",
        }
    }

    /// Whether it only takes data in: no pages there, and no queries.
    pub(crate) fn is_receiver(self) -> bool {
        matches!(self, Self::OtlpGrpc | Self::OtlpHttp | Self::Zipkin | Self::JaegerHttp | Self::JaegerGrpc)
    }

    /// The port that it has when nobody says otherwise.
    pub(crate) fn customary_port(self) -> u16 {
        match self {
            Self::Braid => 3000,
            Self::OtlpGrpc => 4317,
            Self::OtlpHttp => 4318,
            Self::Prometheus => 9090,
            Self::Loki => 3100,
            Self::Tempo => 3200,
            Self::Zipkin => 9411,
            Self::JaegerHttp => 14268,
            Self::JaegerGrpc => 14250,
            Self::Correlation => 8080,
        }
    }
}

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// What it speaks.
    pub(crate) face: Face,
    /// Where.
    pub(crate) address: SocketAddr,
    /// Whether Braid must not start without it: Braid's own port, and those that the configuration names.
    pub(crate) required: bool,
    /// How it is secured.
    pub(crate) tls: Option<TlsFiles>,
}

/// When a request is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncMode {
    /// When it is on disk.
    Always,
    /// When the operating system has it, which is told to write it at this interval: survives `kill -9`, and a power loss
    /// but for the last interval.
    Interval(Duration),
}

/// Where data lives, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The data directory.
    pub(crate) dir: PathBuf,
    /// When a request is acknowledged.
    pub(crate) sync: SyncMode,
    /// How long spans are kept.
    pub(crate) traces: Duration,
    /// How long log records are kept.
    pub(crate) logs: Duration,
    /// How long samples are kept.
    pub(crate) metrics: Duration,
    /// Bytes that the segments may take together.
    pub(crate) max_size: Option<u64>,
    /// Free bytes in the data directory's file system below which nothing more is taken in.
    pub(crate) min_free: Option<u64>,
    /// Tenants with less than so many bytes in a head share a segment; none of them where it is 0.
    pub(crate) share_below: Option<usize>,
    /// Bytes of the write-ahead log at which requests are refused.
    pub(crate) log_cap: Option<u64>,
    /// How much older than the newest of its series a sample may be.
    pub(crate) out_of_order: Duration,
    /// The object store behind the data directory.
    pub(crate) objects: Option<ObjectStore>,
}

/// Everything that `braid serve` needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Ports to open.
    pub(crate) endpoints: Vec<Endpoint>,
    /// The memory budget in bytes.
    pub(crate) memory: usize,
    /// Where data lives.
    pub(crate) storage: Storage,
    /// What a request may be.
    pub(crate) limits: Limits,
    /// What queries may be.
    pub(crate) queries: api::Settings,
    /// Bytes that requests in flight may hold.
    pub(crate) in_flight: usize,
    /// Web pages that may send OTLP.
    pub(crate) origins: Origins,
    /// Whether Zipkin's tags become numbers and booleans where they look like such.
    pub(crate) parse_zipkin_tags: bool,
    /// What to scrape.
    pub(crate) scrapes: Vec<ScrapeConfig>,
    /// Which metrics are made of spans.
    pub(crate) generator: graph::Settings,
    /// What joins records; `None` where correlation is switched off.
    pub(crate) correlation: Option<correlate::Settings>,
    /// Where to listen for syslog.
    pub(crate) syslog: Option<SyslogSettings>,
    /// Whether data may be deleted over the admin APIs.
    pub(crate) admin_api: bool,
    /// Queries that take longer are logged; none where it is zero.
    pub(crate) slow_query: Duration,
    /// What tenants may do.
    pub(crate) tenants: TenantLimits,
    /// Whether Braid keeps its own log lines.
    pub(crate) own_logs: bool,
    /// Whether it keeps a span of each query.
    pub(crate) own_traces: bool,
    /// The file, without its secrets.
    pub(crate) shown: String,
    /// Who is sent what comes in.
    pub(crate) exporters: Vec<export::Settings>,
    /// How syslog's streams are secured.
    pub(crate) syslog_tls: Option<TlsFiles>,
    /// Who may do what.
    pub(crate) auth: Auth,
    /// Where the page's dashboards are read from, besides those that ship.
    pub(crate) dashboards: Option<PathBuf>,
}

/// What the command line and the environment say; it wins over the file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Overrides {
    /// `--data-dir`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `--memory`.
    pub(crate) memory: Option<String>,
    /// `--listen`.
    pub(crate) listen: Option<String>,
    /// `--port-offset`.
    pub(crate) port_offset: u16,
    /// `--free-ports`.
    pub(crate) free_ports: bool,
    /// `--enable-admin-api`.
    pub(crate) admin_api: bool,
    /// `--allow-unauthenticated`.
    pub(crate) allow_unauthenticated: bool,
}

/// A log that is smaller would be at its cap with every burst.
const LEAST_LOG: u64 = 4 << 20;

/// How late a sample may come.
const OUT_OF_ORDER: Duration = Duration::from_secs(30 * 60);
/// From when on a query is slow.
const SLOW_QUERY: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86_400);

impl Config {
    /// The configuration in `file` (all defaults without one), under `overrides`.
    ///
    /// # Errors
    /// [`ConfigError`] with file, place and reason.
    pub(crate) fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        match file {
            None => Self::validate("defaults", raw::File::default(), Vec::new(), overrides),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| ConfigError::io(path, &e))?;
                Self::parse(path, &text, overrides)
            }
        }
    }

    /// The configuration that `text`, the content of `path`, is.
    fn parse(path: &Path, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let name = &path.display().to_string();
        // A file of comments only is YAML's null.
        let file: Option<raw::File> = serde_saphyr::from_str(text).map_err(|e| ConfigError::yaml(name, &e))?;
        let placed = |e: ConfigError| e.placed(name, text);
        let (scrapes, mut external_labels) = scrape::jobs(name, text, path.parent().unwrap_or(Path::new(""))).map_err(placed)?;
        let config = Self::validate(name, file.unwrap_or_default(), scrapes, overrides).map_err(placed)?;
        external_labels.sort();
        let mut exporters = config.exporters;
        exporters.iter_mut().for_each(|exporter| exporter.name_by(&external_labels));
        let queries = api::Settings { external_labels, ..config.queries };
        Ok(Self { shown: shown::shown(text), queries, exporters, ..config })
    }

    fn validate(name: &str, file: raw::File, scrapes: Vec<ScrapeConfig>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let size = |key: &str, text: &Option<String>, default: usize| match text {
            None => Ok(default),
            Some(text) => units::bytes(text).map_err(|e| ConfigError::value(name, key, e)),
        };
        let time = |key: &str, text: &Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => units::duration(text).map_err(|e| ConfigError::value(name, key, e)),
        };
        // A span in nanoseconds, 0 for without end.
        let unless_zero = |text: &Option<String>, key: &str, default: Duration| match text.as_deref() {
            Some("0" | "0s") => Ok(None),
            _ => time(key, text, default).map(|span| i64::try_from(span.as_nanos()).ok()),
        };
        let memory = match &overrides.memory {
            Some(text) => units::bytes(text).map_err(|e| ConfigError::value("command line", "--memory", e))?,
            None => size("memory", &file.memory, 512 << 20)?,
        };
        if memory < 64 << 20 {
            return Err(ConfigError::value(name, "memory", "less than 64MiB"));
        }
        let defaults = Limits::default();
        let limits = Limits {
            body: size("limits.body", &file.limits.body, defaults.body)?,
            inflated: size("limits.inflated", &file.limits.inflated, defaults.inflated)?,
            wire: wire::Limits {
                discover_service_name: file.limits.discover_service_name.unwrap_or(true),
                max_line_age_ns: unless_zero(
                    &file.limits.reject_old_samples_max_age,
                    "limits.reject_old_samples_max_age",
                    7 * DAY,
                )?,
                max_line_ahead_ns: unless_zero(
                    &file.limits.creation_grace_period,
                    "limits.creation_grace_period",
                    Duration::from_secs(600),
                )?,
                custom_buckets: file.otlp.convert_histograms_to_nhcb,
                ..defaults.wire
            },
        };
        // An eighth, but never so little that one request of the largest kind could not pass.
        let in_flight =
            size("limits.in_flight", &file.limits.in_flight, (memory / 8).max(limits.body + limits.inflated + (1 << 20)))?;
        let storage = Storage {
            dir: overrides.data_dir.clone().or(file.storage.dir.clone()).unwrap_or_else(|| PathBuf::from("braid-data")),
            sync: match file.storage.sync.as_deref() {
                None | Some("always") => SyncMode::Always,
                Some(text) => match units::duration(text) {
                    Ok(interval) if !interval.is_zero() => SyncMode::Interval(interval),
                    _ => {
                        let why = format!("{text:?} is neither \"always\" nor an interval such as 100ms");
                        return Err(ConfigError::value(name, "storage.sync", why));
                    }
                },
            },
            traces: time("storage.retention.traces", &file.storage.retention.traces, 7 * DAY)?,
            logs: time("storage.retention.logs", &file.storage.retention.logs, 7 * DAY)?,
            metrics: time("storage.retention.metrics", &file.storage.retention.metrics, 15 * DAY)?,
            max_size: match &file.storage.retention.max_size {
                None => None,
                some => Some(size("storage.retention.max_size", some, 0)? as u64),
            },
            min_free: match &file.storage.min_free {
                None => None,
                some => Some(size("storage.min_free", some, 0)? as u64),
            },
            share_below: match &file.storage.share_segments_below {
                None => None,
                some => Some(size("storage.share_segments_below", some, 0)?),
            },
            log_cap: match &file.storage.log.max_size {
                None => None,
                some => match size("storage.log.max_size", some, 0)? as u64 {
                    bytes @ LEAST_LOG.. => Some(bytes),
                    _ => return Err(ConfigError::value(name, "storage.log.max_size", "less than 4MiB".to_owned())),
                },
            },
            out_of_order: match file.storage.out_of_order_time_window.as_deref() {
                // Unlike a retention it may be none.
                Some("0") => Duration::ZERO,
                _ => time("storage.out_of_order_time_window", &file.storage.out_of_order_time_window, OUT_OF_ORDER)?,
            },
            objects: ObjectStore::validate(name, &file.storage)?,
        };
        let asked = api::Settings::default();
        let queries = api::Settings {
            timeout: time("queries.timeout", &file.queries.timeout, asked.timeout)?,
            concurrency: file.queries.max_concurrent.unwrap_or(asked.concurrency),
            max_samples: file.queries.max_samples.unwrap_or(asked.max_samples),
            max_series: file.queries.max_series.unwrap_or(asked.max_series),
            max_query_memory: size("queries.max_memory", &file.queries.max_memory, memory / 4)?,
            discover_levels: file.limits.discover_log_levels.unwrap_or(true),
            max_entries: file.limits.max_entries_limit_per_query.unwrap_or(asked.max_entries),
            delete_cancel_period: match file.limits.delete_request_cancel_period.as_deref() {
                Some("0") => Duration::ZERO,
                _ => {
                    let period = &file.limits.delete_request_cancel_period;
                    time("limits.delete_request_cancel_period", period, asked.delete_cancel_period)?
                }
            },
            max_tails: file.limits.max_concurrent_tail_requests.unwrap_or(asked.max_tails),
            log_retention: storage.logs,
            cors_origin: match &file.web.cors.origin {
                None => asked.cors_origin,
                Some(pattern) => api::CorsOrigin::new(pattern).map_err(|e| ConfigError::value(name, "web.cors.origin", e))?,
            },
            ..asked
        };
        if queries.concurrency == 0 {
            return Err(ConfigError::value(name, "queries.max_concurrent", "no query could run"));
        }
        let origins = match file.receivers.otlp.protocols.http.as_ref().and_then(|h| h.cors.as_ref()) {
            Some(cors) => Origins::new(cors.allowed_origins.clone()),
            None => Origins::default(),
        };
        let endpoints = endpoints(name, &file, overrides)?;
        let parse_zipkin_tags = file.receivers.zipkin.parse_string_tags;
        let generator = file.metrics_generator.settings(name)?;
        let correlation = correlation::settings(name, &file.correlation, memory, &limits.wire)?;
        let syslog = syslog::settings(name, file.receivers.syslog.as_ref(), overrides)?;
        let admin_api = overrides.admin_api || file.web.enable_admin_api;
        let slow_query = match file.web.slow_query.as_deref() {
            Some("0") => Duration::ZERO,
            _ => time("web.slow_query", &file.web.slow_query, SLOW_QUERY)?,
        };
        let tenants = tenants::read(name, &file.limits)?;
        let (own_logs, own_traces) = (file.own.logs, file.own.traces);
        let exporters = exporters::settings(name, &file.exporters, &file.service, &limits.wire)?;
        let tcp = file.receivers.syslog.as_ref().and_then(|s| s.tcp.as_ref());
        let syslog_tls = auth::tls(name, "receivers.syslog.tcp.tls", tcp.and_then(|tcp| tcp.tls.as_ref()))?;
        let auth = auth::settings(name, &file.auth, overrides)?;
        let reached: Vec<_> = syslog.iter().flat_map(|s| [("udp", s.udp, None), ("tcp", s.tcp, syslog_tls.as_ref())]).collect();
        let reached: Vec<_> = reached.into_iter().filter_map(|(kind, at, tls)| Some((kind, at?.ip(), tls))).collect();
        auth::check_reach(name, &auth, &endpoints, &reached)?;
        Ok(Self {
            own_logs,
            own_traces,
            shown: String::new(),
            endpoints,
            memory,
            storage,
            limits,
            queries,
            in_flight,
            origins,
            parse_zipkin_tags,
            scrapes,
            generator,
            correlation,
            syslog,
            admin_api,
            slow_query,
            tenants,
            exporters,
            syslog_tls,
            auth,
            dashboards: file.dashboards.directory.map(|path| auth::beside(name, &path)),
        })
    }
}

fn endpoints(name: &str, file: &raw::File, overrides: &Overrides) -> Result<Vec<Endpoint>, ConfigError> {
    let (interface, own_port) = match (&overrides.listen, &file.listen) {
        (Some(text), _) => listen(text).map_err(|e| ConfigError::value("command line", "--listen", e))?,
        (None, Some(text)) => listen(text).map_err(|e| ConfigError::value(name, "listen", e))?,
        (None, None) => (IpAddr::V4(Ipv4Addr::LOCALHOST), None),
    };
    let protocols = &file.receivers.otlp.protocols;
    let jaeger = &file.receivers.jaeger.protocols;
    let every = auth::tls(name, "tls", file.tls.as_ref())?;
    let mut endpoints = Vec::new();
    for face in Face::ALL {
        // A receiver's own section wins over the common one.
        let own = match face {
            Face::OtlpGrpc => ("receivers.otlp.protocols.grpc.tls", protocols.grpc.as_ref().and_then(|p| p.tls.as_ref())),
            Face::OtlpHttp => ("receivers.otlp.protocols.http.tls", protocols.http.as_ref().and_then(|p| p.tls.as_ref())),
            Face::Zipkin => ("receivers.zipkin.tls", file.receivers.zipkin.tls.as_ref()),
            Face::JaegerHttp => {
                ("receivers.jaeger.protocols.thrift_http.tls", jaeger.thrift_http.as_ref().and_then(|p| p.tls.as_ref()))
            }
            Face::JaegerGrpc => ("receivers.jaeger.protocols.grpc.tls", jaeger.grpc.as_ref().and_then(|p| p.tls.as_ref())),
            _ => ("tls", None),
        };
        let tls = auth::tls(name, own.0, own.1)?.or_else(|| every.clone());
        let port = |configured: Option<u16>| (interface, configured.unwrap_or(face.customary_port()), configured.is_some());
        let at = |key: &str, endpoint: Option<&String>| match endpoint {
            None => Ok(port(None)),
            Some(text) => match address(text) {
                Ok(a) => Ok((a.ip(), a.port(), true)),
                Err(e) => Err(ConfigError::value(name, key, e)),
            },
        };
        let (ip, port, named) = match face {
            Face::Braid => port(own_port.or(file.ports.braid)),
            Face::Prometheus => port(file.ports.prometheus),
            Face::Loki => port(file.ports.loki),
            Face::Tempo => port(file.ports.tempo),
            Face::Correlation => port(file.ports.correlation),
            Face::OtlpGrpc => {
                at("receivers.otlp.protocols.grpc.endpoint", protocols.grpc.as_ref().and_then(|p| p.endpoint.as_ref()))?
            }
            Face::Zipkin => at("receivers.zipkin.endpoint", file.receivers.zipkin.endpoint.as_ref())?,
            Face::JaegerHttp => at(
                "receivers.jaeger.protocols.thrift_http.endpoint",
                jaeger.thrift_http.as_ref().and_then(|p| p.endpoint.as_ref()),
            )?,
            Face::JaegerGrpc => {
                at("receivers.jaeger.protocols.grpc.endpoint", jaeger.grpc.as_ref().and_then(|p| p.endpoint.as_ref()))?
            }
            Face::OtlpHttp => {
                at("receivers.otlp.protocols.http.endpoint", protocols.http.as_ref().and_then(|p| p.endpoint.as_ref()))?
            }
        };
        if named && port == 0 {
            continue;
        }
        let port = match overrides.free_ports {
            true => 0,
            false => port.checked_add(overrides.port_offset).ok_or_else(|| {
                ConfigError::value("command line", "--port-offset", format!("port {port} of {face} would exceed 65535"))
            })?,
        };
        endpoints.push(Endpoint { face, address: SocketAddr::new(ip, port), required: named || face == Face::Braid, tls });
    }
    if endpoints.is_empty() {
        return Err(ConfigError::value(name, "ports", "every port is switched off"));
    }
    for (i, a) in endpoints.iter().enumerate() {
        if let Some(b) = endpoints[..i].iter().find(|b| b.address == a.address && a.address.port() != 0) {
            return Err(ConfigError::value(name, "ports", format!("{} and {} both ask for {}", b.face, a.face, a.address)));
        }
    }
    Ok(endpoints)
}

/// An interface, or an interface and Braid's own port.
fn listen(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok((ip, None)),
        Err(_) if text == "localhost" => Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), None)),
        Err(_) => address(text).map(|a| (a.ip(), Some(a.port()))),
    }
}

/// `host:port`; an empty host is every interface, as in the Collector.
fn address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let mut found: Vec<SocketAddr> =
        whole.to_socket_addrs().map_err(|e| format!("{text:?} is no address of the form host:port ({e})"))?.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("{text:?} resolves to nothing"))
}
