//! `exporters` and `service.pipelines`, with the keys that they have in the OpenTelemetry Collector.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use export::{Compression, Http, LokiLabel, Peer, Queue, Retry, Settings, Tenants, Tls};
use model::Tenant;
use serde::Deserialize;
use serde::de::{Error, MapAccess, Visitor};
use wire::Signal;

use super::{ConfigError, units};

/// Exporters that the Collector has and Braid does not.
const LATER: [&str; 14] = [
    "awsxray",
    "clickhouse",
    "debug",
    "elasticsearch",
    "file",
    "googlecloud",
    "kafka",
    "loadbalancing",
    "logging",
    "opencensus",
    "opensearch",
    "prometheus",
    "splunk_hec",
    "zipkin",
];
/// Receivers that a pipeline may name.
const RECEIVERS: [&str; 8] = ["jaeger", "loki", "otlp", "prometheus", "prometheusremotewrite", "syslog", "tcplog", "zipkin"];

/// `exporters`: by name, each with the keys of its kind.
#[derive(Debug, Default)]
pub(super) struct Exporters(Vec<(String, Exporter)>);

#[derive(Debug)]
enum Exporter {
    Otlp(Otlp),
    OtlpHttp(OtlpHttp),
    Loki(Loki),
    RemoteWrite(RemoteWrite),
    Datadog(Datadog),
}

impl<'de> Deserialize<'de> for Exporters {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Exporters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("exporters by their names")
            }

            fn visit_unit<E: Error>(self) -> Result<Exporters, E> {
                Ok(Exporters::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Exporters, A::Error> {
                let mut found: Vec<(String, Exporter)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let kind = name.split_once('/').map_or(name.as_str(), |(kind, _)| kind);
                    let exporter = match kind {
                        "otlp" | "otlp_grpc" => Exporter::Otlp(map.next_value::<Option<Otlp>>()?.unwrap_or_default()),
                        "otlphttp" | "otlp_http" => Exporter::OtlpHttp(map.next_value::<Option<_>>()?.unwrap_or_default()),
                        "loki" => Exporter::Loki(map.next_value::<Option<Loki>>()?.unwrap_or_default()),
                        "prometheusremotewrite" => {
                            Exporter::RemoteWrite(map.next_value::<Option<RemoteWrite>>()?.unwrap_or_default())
                        }
                        "datadog" => Exporter::Datadog(map.next_value::<Option<Datadog>>()?.unwrap_or_default()),
                        later if LATER.contains(&later) => {
                            return Err(A::Error::custom(format!(
                                "exporter `{name}` is of a kind that is known, but this version of Braid does not have it"
                            )));
                        }
                        _ => {
                            return Err(A::Error::custom(format!(
                                "exporter `{name}` is of no known kind; known are otlp, otlphttp, loki, prometheusremotewrite, datadog"
                            )));
                        }
                    };
                    if found.iter().any(|(other, _)| *other == name) {
                        return Err(A::Error::custom(format!("exporter `{name}` is there twice")));
                    }
                    found.push((name, exporter));
                }
                Ok(Exporters(found))
            }
        }
        deserializer.deserialize_any(Each)
    }
}

/// `service`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Service {
    pipelines: BTreeMap<String, Pipeline>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pipeline {
    receivers: Vec<String>,
    processors: Vec<String>,
    exporters: Vec<String>,
}

// What the kinds share stands in each of them: serde cannot flatten a struct and refuse unknown keys at once.

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Otlp {
    endpoint: Option<String>,
    headers: BTreeMap<String, String>,
    tls: RawTls,
    compression: Option<String>,
    timeout: Option<String>,
    sending_queue: SendingQueue,
    retry_on_failure: RetryOnFailure,
    tenants: Vec<String>,
    forward_tenant: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OtlpHttp {
    endpoint: Option<String>,
    traces_endpoint: Option<String>,
    logs_endpoint: Option<String>,
    metrics_endpoint: Option<String>,
    encoding: Option<String>,
    headers: BTreeMap<String, String>,
    tls: RawTls,
    compression: Option<String>,
    timeout: Option<String>,
    sending_queue: SendingQueue,
    retry_on_failure: RetryOnFailure,
    tenants: Vec<String>,
    forward_tenant: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Loki {
    endpoint: Option<String>,
    labels: Option<Vec<String>>,
    headers: BTreeMap<String, String>,
    tls: RawTls,
    timeout: Option<String>,
    sending_queue: SendingQueue,
    retry_on_failure: RetryOnFailure,
    tenants: Vec<String>,
    forward_tenant: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RemoteWrite {
    endpoint: Option<String>,
    external_labels: BTreeMap<String, String>,
    send_metadata: Option<bool>,
    max_batch_size_bytes: Option<String>,
    headers: BTreeMap<String, String>,
    tls: RawTls,
    timeout: Option<String>,
    remote_write_queue: SendingQueue,
    retry_on_failure: RetryOnFailure,
    tenants: Vec<String>,
    forward_tenant: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Datadog {
    api: DatadogApi,
    hostname: Option<String>,
    traces: DatadogSignal,
    logs: DatadogSignal,
    metrics: DatadogSignal,
    headers: BTreeMap<String, String>,
    tls: RawTls,
    compression: Option<String>,
    timeout: Option<String>,
    sending_queue: SendingQueue,
    retry_on_failure: RetryOnFailure,
    tenants: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatadogApi {
    key: Option<String>,
    site: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatadogSignal {
    endpoint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    insecure: bool,
    insecure_skip_verify: bool,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    server_name_override: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SendingQueue {
    enabled: Option<bool>,
    num_consumers: Option<usize>,
    queue_size: Option<String>,
    sizer: Option<String>,
    batch: Batch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Batch {
    flush_timeout: Option<String>,
    max_size: Option<String>,
    sizer: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryOnFailure {
    enabled: Option<bool>,
    initial_interval: Option<String>,
    max_interval: Option<String>,
    max_elapsed_time: Option<String>,
    multiplier: Option<f64>,
    randomization_factor: Option<f64>,
}

/// What stands in pipelines, in the order of the file.
pub(super) fn settings(
    file: &str,
    exporters: &Exporters,
    service: &Service,
    limits: &wire::Limits,
) -> Result<Vec<Settings>, ConfigError> {
    let signals = pipelines(file, exporters, service)?;
    let mut all = Vec::new();
    for (name, exporter) in &exporters.0 {
        let made = One { file, name }.settings(exporter, limits)?;
        // As in the Collector: what is in no pipeline is checked and not started.
        if let Some(signals) = signals.get(name.as_str()) {
            let can = match exporter {
                Exporter::Loki(_) => &[Signal::Logs][..],
                Exporter::RemoteWrite(_) => &[Signal::Metrics][..],
                _ => &Signal::ALL[..],
            };
            if let Some(cannot) = signals.iter().find(|s| !can.contains(s)) {
                let why = format!("exporter `{name}` cannot send {}", cannot.as_str());
                return Err(ConfigError::value(file, "service.pipelines", why));
            }
            all.push(Settings { signals: signals.clone(), ..made });
        }
    }
    Ok(all)
}

/// The signals of each exporter.
fn pipelines<'s>(file: &str, exporters: &Exporters, service: &'s Service) -> Result<BTreeMap<&'s str, Vec<Signal>>, ConfigError> {
    let mut signals: BTreeMap<&str, Vec<Signal>> = BTreeMap::new();
    for (pipeline, parts) in &service.pipelines {
        let wrong = |key: &str, why: String| ConfigError::value(file, &format!("service.pipelines.{pipeline}{key}"), why);
        let kind = |name: &str| name.split_once('/').map_or(name, |(kind, _)| kind).to_owned();
        let signal = kind(pipeline);
        let Some(signal) = Signal::ALL.into_iter().find(|s| s.as_str() == signal) else {
            return Err(wrong("", format!("{signal:?} is none of traces, logs, metrics")));
        };
        if let Some(odd) = parts.receivers.iter().find(|r| !RECEIVERS.contains(&kind(r).as_str())) {
            return Err(wrong(".receivers", format!("there is no receiver `{odd}`")));
        }
        if let Some(first) = parts.processors.first() {
            return Err(wrong(".processors", format!("processor `{first}`: this version of Braid does not have processors")));
        }
        if parts.exporters.is_empty() {
            return Err(wrong(".exporters", "a pipeline needs at least one exporter".to_owned()));
        }
        for name in &parts.exporters {
            if !exporters.0.iter().any(|(known, _)| known == name) {
                return Err(wrong(".exporters", format!("there is no exporter `{name}` in `exporters`")));
            }
            let of = signals.entry(name).or_default();
            if !of.contains(&signal) {
                of.push(signal);
            }
        }
    }
    Ok(signals)
}

/// One exporter under validation.
struct One<'f> {
    file: &'f str,
    name: &'f str,
}

/// What all exporters have.
struct Common<'r> {
    headers: &'r BTreeMap<String, String>,
    tls: &'r RawTls,
    compression: Option<&'r str>,
    timeout: (&'r Option<String>, Duration),
    queue: (&'static str, &'r SendingQueue),
    retry: &'r RetryOnFailure,
    tenants: &'r [String],
    forward: bool,
}

impl One<'_> {
    fn wrong(&self, key: &str, why: impl fmt::Display) -> ConfigError {
        ConfigError::value(self.file, &format!("exporters.{}.{key}", self.name), why)
    }

    fn settings(&self, exporter: &Exporter, limits: &wire::Limits) -> Result<Settings, ConfigError> {
        match exporter {
            Exporter::Otlp(e) => {
                let text = self.required("endpoint", e.endpoint.as_deref())?;
                let text = text.strip_prefix("dns:///").unwrap_or(&text);
                let scheme = if e.tls.insecure { "http" } else { "https" };
                let url = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
                let common = Common {
                    headers: &e.headers,
                    tls: &e.tls,
                    compression: Some(e.compression.as_deref().unwrap_or("gzip")),
                    timeout: (&e.timeout, Duration::from_secs(5)),
                    queue: ("sending_queue", &e.sending_queue),
                    retry: &e.retry_on_failure,
                    tenants: &e.tenants,
                    forward: e.forward_tenant,
                };
                self.common(self.url("endpoint", &url)?, Peer::OtlpGrpc, &common, limits)
            }
            Exporter::OtlpHttp(e) => {
                match e.encoding.as_deref() {
                    None | Some("proto") => {}
                    Some("json") => return Err(self.wrong("encoding", "this version of Braid sends proto only")),
                    Some(other) => return Err(self.wrong("encoding", format!("{other:?} is neither proto nor json"))),
                }
                let base = e.endpoint.as_deref().map(|text| self.url("endpoint", text)).transpose()?;
                let one = |key: &str, own: &Option<String>, path: &str| match (own, &base) {
                    (Some(own), _) => self.url(key, own),
                    (None, Some(base)) => Ok(format!("{}{path}", base.trim_end_matches('/'))),
                    (None, None) => Err(self.wrong("endpoint", "it is missing; for example http://host:4318")),
                };
                let urls = [
                    one("traces_endpoint", &e.traces_endpoint, "/v1/traces")?,
                    one("logs_endpoint", &e.logs_endpoint, "/v1/logs")?,
                    one("metrics_endpoint", &e.metrics_endpoint, "/v1/metrics")?,
                ];
                let common = Common {
                    headers: &e.headers,
                    tls: &e.tls,
                    compression: Some(e.compression.as_deref().unwrap_or("gzip")),
                    timeout: (&e.timeout, Duration::from_secs(30)),
                    queue: ("sending_queue", &e.sending_queue),
                    retry: &e.retry_on_failure,
                    tenants: &e.tenants,
                    forward: e.forward_tenant,
                };
                self.common(urls[0].clone(), Peer::OtlpHttp(urls), &common, limits)
            }
            Exporter::Loki(e) => {
                let url = self.url("endpoint", &self.required("endpoint", e.endpoint.as_deref())?)?;
                let at = reqwest::Url::parse(&url).map_err(|e| self.wrong("endpoint", e))?;
                let url = if at.path() == "/" { format!("{}/loki/api/v1/push", url.trim_end_matches('/')) } else { url };
                let labels = match &e.labels {
                    None => LokiLabel::ALL.to_vec(),
                    Some(names) => names
                        .iter()
                        .map(|name| LokiLabel::ALL.into_iter().find(|l| l.as_str() == name).ok_or(name))
                        .collect::<Result<_, _>>()
                        .map_err(|odd| self.wrong("labels", format!("{odd:?} is none of service, env, trace_id")))?,
                };
                let common = Common {
                    headers: &e.headers,
                    tls: &e.tls,
                    compression: None,
                    timeout: (&e.timeout, Duration::from_secs(30)),
                    queue: ("sending_queue", &e.sending_queue),
                    retry: &e.retry_on_failure,
                    tenants: &e.tenants,
                    forward: e.forward_tenant,
                };
                self.common(url, Peer::Loki { labels }, &common, limits)
            }
            Exporter::RemoteWrite(e) => {
                let url = self.url("endpoint", &self.required("endpoint", e.endpoint.as_deref())?)?;
                let max_bytes = self.size("max_batch_size_bytes", &e.max_batch_size_bytes, 3_000_000)?;
                let mut external_labels = Vec::new();
                for (label, value) in &e.external_labels {
                    external_labels.push((label.clone(), self.expand(&format!("external_labels.{label}"), value)?));
                }
                let common = Common {
                    headers: &e.headers,
                    tls: &e.tls,
                    compression: None,
                    timeout: (&e.timeout, Duration::from_secs(5)),
                    queue: ("remote_write_queue", &e.remote_write_queue),
                    retry: &e.retry_on_failure,
                    tenants: &e.tenants,
                    forward: e.forward_tenant,
                };
                let metadata = e.send_metadata.unwrap_or(true);
                let mut made = self.common(url, Peer::RemoteWrite { external_labels, max_bytes, metadata }, &common, limits)?;
                if e.remote_write_queue.num_consumers.is_some_and(|n| n > 1) {
                    return Err(self.wrong("remote_write_queue.num_consumers", "samples go out in their order, so one at a time"));
                }
                made.queue.consumers = 1;
                Ok(made)
            }
            Exporter::Datadog(e) => self.datadog(e, limits),
        }
    }

    fn datadog(&self, e: &Datadog, limits: &wire::Limits) -> Result<Settings, ConfigError> {
        let from_environment = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let key = match &e.api.key {
            Some(key) => self.expand("api.key", key)?,
            None => from_environment("DATADOG_API_KEY")
                .or_else(|| from_environment("DD_API_KEY"))
                .ok_or_else(|| self.wrong("api.key", "it is missing, and so is DATADOG_API_KEY in the environment"))?,
        };
        let site = match &e.api.site {
            Some(site) => self.expand("api.site", site)?,
            None => from_environment("DATADOG_SITE")
                .or_else(|| from_environment("DD_SITE"))
                .unwrap_or_else(|| "datadoghq.com".to_owned()),
        };
        let one = |key: &str, own: &DatadogSignal, host: &str, path: &str| match &own.endpoint {
            Some(base) => Ok(format!("{}{path}", self.url(&format!("{key}.endpoint"), base)?.trim_end_matches('/'))),
            None => self.url("api.site", &format!("https://{host}.{site}{path}")),
        };
        let urls = [
            one("traces", &e.traces, "trace.agent", "/api/v0.2/traces")?,
            one("logs", &e.logs, "http-intake.logs", "/api/v2/logs")?,
            one("metrics", &e.metrics, "api", "/api/v2/series")?,
        ];
        let hostname = match &e.hostname {
            Some(name) => self.expand("hostname", name)?,
            None => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        };
        let mut headers = e.headers.clone();
        headers.insert("dd-api-key".to_owned(), key.replace('$', "$$"));
        let common = Common {
            headers: &headers,
            tls: &e.tls,
            compression: Some(e.compression.as_deref().unwrap_or("gzip")),
            timeout: (&e.timeout, Duration::from_secs(15)),
            queue: ("sending_queue", &e.sending_queue),
            retry: &e.retry_on_failure,
            tenants: &e.tenants,
            forward: false,
        };
        self.common(urls[0].clone(), Peer::Datadog { urls, hostname }, &common, limits)
    }

    fn common(&self, endpoint: String, peer: Peer, c: &Common<'_>, limits: &wire::Limits) -> Result<Settings, ConfigError> {
        let compression = match c.compression {
            None | Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            Some("none" | "") => Compression::None,
            Some(other) => return Err(self.wrong("compression", format!("{other:?} is none of gzip, zstd, none"))),
        };
        if c.tls.cert_file.is_some() != c.tls.key_file.is_some() {
            return Err(self.wrong("tls", "cert_file and key_file belong together"));
        }
        let tls = Tls {
            ca_file: c.tls.ca_file.clone(),
            cert_file: c.tls.cert_file.clone(),
            key_file: c.tls.key_file.clone(),
            insecure_skip_verify: c.tls.insecure_skip_verify,
            server_name: c.tls.server_name_override.clone(),
        };
        let mut headers = Vec::new();
        for (name, value) in c.headers {
            headers.push((name.clone(), self.expand(&format!("headers.{name}"), value)?));
        }
        let timeout = self.time("timeout", c.timeout.0, c.timeout.1)?;
        if timeout.is_zero() {
            return Err(self.wrong("timeout", "no request could be answered"));
        }
        let tenants = c.tenants.iter().map(|t| Tenant::new(t)).collect::<Result<_, _>>().map_err(|e| self.wrong("tenants", e))?;
        Ok(Settings {
            name: self.name.to_owned(),
            signals: Vec::new(),
            peer,
            http: Http { endpoint, headers, tls, compression, timeout },
            queue: self.queue(c.queue.0, c.queue.1)?,
            retry: self.retry(c.retry)?,
            tenants: Tenants { only: tenants, forward: c.forward },
            limits: limits.clone(),
        })
    }

    fn queue(&self, key: &str, q: &SendingQueue) -> Result<Queue, ConfigError> {
        let defaults = Queue::default();
        let at = |name: &str| format!("{key}.{name}");
        if q.enabled == Some(false) {
            return Err(self.wrong(&at("enabled"), "the queue is the log, which is always there"));
        }
        for (name, sizer) in [("sizer", &q.sizer), ("batch.sizer", &q.batch.sizer)] {
            if sizer.as_deref().is_some_and(|s| s != "bytes") {
                return Err(self.wrong(&at(name), "sizes count bytes here: write bytes, and sizes such as 10GiB"));
            }
        }
        // In the Collector a bare number counts requests unless it says otherwise.
        let bare = |text: &Option<String>| text.as_ref().is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit()));
        if q.sizer.is_none() && bare(&q.queue_size) {
            return Err(self.wrong(&at("queue_size"), "sizes count bytes here: add sizer: bytes, or write a size such as 10GiB"));
        }
        if q.batch.sizer.is_none() && q.sizer.is_none() && bare(&q.batch.max_size) {
            return Err(
                self.wrong(&at("batch.max_size"), "sizes count bytes here: add sizer: bytes, or write a size such as 2MiB")
            );
        }
        let consumers = q.num_consumers.unwrap_or(defaults.consumers);
        if !(1..=64).contains(&consumers) {
            return Err(self.wrong(&at("num_consumers"), "fewer than 1 or more than 64"));
        }
        let batch_bytes = self.size(&at("batch.max_size"), &q.batch.max_size, defaults.batch_bytes)?;
        if !(1 << 10..=32 << 20).contains(&batch_bytes) {
            return Err(self.wrong(&at("batch.max_size"), "less than 1KiB or more than 32MiB"));
        }
        let bytes = match &q.queue_size {
            None => defaults.bytes,
            some => self.size(&at("queue_size"), some, 0)? as u64,
        };
        if bytes < 1 << 20 {
            return Err(self.wrong(&at("queue_size"), "less than 1MiB"));
        }
        let flush_timeout = self.time(&at("batch.flush_timeout"), &q.batch.flush_timeout, defaults.flush_timeout)?;
        Ok(Queue { bytes, consumers, flush_timeout, batch_bytes })
    }

    fn retry(&self, r: &RetryOnFailure) -> Result<Retry, ConfigError> {
        let defaults = Retry::default();
        let at = |name: &str| format!("retry_on_failure.{name}");
        let retry = Retry {
            enabled: r.enabled.unwrap_or(true),
            initial_interval: self.time(&at("initial_interval"), &r.initial_interval, defaults.initial_interval)?,
            max_interval: self.time(&at("max_interval"), &r.max_interval, defaults.max_interval)?,
            max_elapsed_time: Some(self.time(&at("max_elapsed_time"), &r.max_elapsed_time, Duration::ZERO)?)
                .filter(|t| !t.is_zero()),
            multiplier: r.multiplier.unwrap_or(defaults.multiplier),
            randomization_factor: r.randomization_factor.unwrap_or(defaults.randomization_factor),
        };
        if retry.initial_interval.is_zero() || retry.max_interval < retry.initial_interval {
            return Err(self.wrong(&at("max_interval"), "intervals must be above zero, the longest no shorter than the first"));
        }
        if !(1.0..=100.0).contains(&retry.multiplier) {
            return Err(self.wrong(&at("multiplier"), "less than 1 or more than 100"));
        }
        if !(0.0..=1.0).contains(&retry.randomization_factor) {
            return Err(self.wrong(&at("randomization_factor"), "less than 0 or more than 1"));
        }
        Ok(retry)
    }

    fn required(&self, key: &str, text: Option<&str>) -> Result<String, ConfigError> {
        let text = text.filter(|t| !t.is_empty()).ok_or_else(|| self.wrong(key, "it is missing"))?;
        self.expand(key, text)
    }

    /// A URL, whole.
    fn url(&self, key: &str, text: &str) -> Result<String, ConfigError> {
        let text = self.expand(key, text)?;
        let url = reqwest::Url::parse(&text)
            .map_err(|e| self.wrong(key, format!("it is no URL ({e}); for example http://host:4318")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(self.wrong(key, "it is no URL such as http://host:4318"));
        }
        Ok(text)
    }

    fn size(&self, key: &str, text: &Option<String>, default: usize) -> Result<usize, ConfigError> {
        text.as_ref().map_or(Ok(default), |text| units::bytes(text).map_err(|e| self.wrong(key, e)))
    }

    fn time(&self, key: &str, text: &Option<String>, default: Duration) -> Result<Duration, ConfigError> {
        match text.as_deref() {
            None => Ok(default),
            Some("0s") => Ok(Duration::ZERO),
            Some(text) => units::duration(text).map_err(|e| self.wrong(key, e)),
        }
    }

    /// `${env:NAME}` and `${NAME}` stand for variables of the environment, `$$` for `$`, as in the Collector.
    fn expand(&self, key: &str, text: &str) -> Result<String, ConfigError> {
        expand(text, |name| std::env::var(name).ok()).map_err(|why| self.wrong(key, why))
    }
}

fn expand(text: &str, get: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((inside, after)) = rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
            let inside = inside.strip_prefix("env:").unwrap_or(inside);
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            let value = get(name).or_else(|| default.map(str::to_owned));
            out.push_str(&value.ok_or_else(|| format!("the environment has no variable {name:?}"))?);
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_environment_are_put_in() {
        let get = |name: &str| (name == "KEY").then(|| "secret".to_owned());
        for (text, expected) in [
            ("Bearer ${env:KEY}", Ok("Bearer secret")),
            ("${KEY}!", Ok("secret!")),
            ("${env:NONE:-x}", Ok("x")),
            ("a$$b $c", Ok("a$b $c")),
            ("${env:NONE}", Err("the environment has no variable \"NONE\"")),
        ] {
            let expected: Result<String, String> = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(expand(text, get), expected, "{text}");
        }
    }
}
