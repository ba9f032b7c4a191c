//! `global` as far as scraping goes, and `scrape_configs`.

use std::path::Path;
use std::time::Duration;

use crate::NameScheme;
use crate::discovery::{self, Discovery};
use crate::error::Flaw;
use crate::file::Global;
use crate::http_client::{HTTP, HttpClient};
use crate::relabel::Rule;
use crate::schema::{Field, Fields, Kind, RULES, TEXTS, key, rules};
use crate::yaml::Node;

/// A format that a scrape may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    Protobuf,
    /// OpenMetrics 0.0.1.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
    /// Text 1.0.0, which has UTF-8 names.
    Text100,
    /// Text 0.0.4.
    Text004,
}

impl ScrapeProtocol {
    /// All of them with their names in configurations and their media types.
    pub const ALL: [(&'static str, Self, &'static str); 5] = [
        ("OpenMetricsText0.0.1", Self::OpenMetrics001, "application/openmetrics-text;version=0.0.1"),
        ("OpenMetricsText1.0.0", Self::OpenMetrics100, "application/openmetrics-text;version=1.0.0"),
        (
            "PrometheusProto",
            Self::Protobuf,
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
        ),
        ("PrometheusText0.0.4", Self::Text004, "text/plain;version=0.0.4"),
        ("PrometheusText1.0.0", Self::Text100, "text/plain;version=1.0.0"),
    ];

    /// The media type that it is asked for with.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        Self::ALL.iter().find(|(_, p, _)| *p == self).map_or("", |(_, _, media)| media)
    }

    fn parse(node: &Node) -> Result<Self, Flaw> {
        let name = node.text().unwrap_or_default();
        let names = || Self::ALL.map(|(n, ..)| n).join(" ");
        let found = Self::ALL.iter().find(|(n, ..)| *n == name).map(|(_, protocol, _)| *protocol);
        found.ok_or_else(|| node.flaw(format!("unknown scrape protocol {name}, supported: [{}]", names())))
    }
}

const DEFAULT_PROTOCOLS: [ScrapeProtocol; 5] = [
    ScrapeProtocol::Protobuf,
    ScrapeProtocol::OpenMetrics100,
    ScrapeProtocol::OpenMetrics001,
    ScrapeProtocol::Text100,
    ScrapeProtocol::Text004,
];

/// How targets are asked to write names that are no identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escaping {
    /// As they are.
    #[default]
    AllowUtf8,
    /// `_` for what cannot be.
    Underscores,
    /// Dots as `_dot_`.
    Dots,
    /// Code points as `_2e_`, after `U__`.
    Values,
}

impl Escaping {
    const ALL: [(&'static str, Self); 4] =
        [("allow-utf-8", Self::AllowUtf8), ("underscores", Self::Underscores), ("dots", Self::Dots), ("values", Self::Values)];

    /// The word in configurations and in `Accept` headers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, e)| *e == self).map_or("", |(name, _)| name)
    }
}

/// `body_size_limit` and its kin; 0 for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrapeLimits {
    /// Bytes of an exposition after inflating.
    pub body_size: u64,
    /// Samples of a scrape after relabelling.
    pub samples: u64,
    /// Targets of a job after relabelling.
    pub targets: u64,
    /// Labels of a sample.
    pub labels: u64,
    /// Bytes of a label's name.
    pub label_name: u64,
    /// Bytes of a label's value.
    pub label_value: u64,
    /// Targets that relabelling dropped and that are still shown.
    pub dropped_targets: u64,
}

/// One job of `scrape_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// The `job` label, unique.
    pub job_name: String,
    /// How often; above zero.
    pub interval: Duration,
    /// How long an answer may take; at most the interval.
    pub timeout: Duration,
    /// What is asked for, the most wanted first.
    pub protocols: Vec<ScrapeProtocol>,
    /// What an answer without a usable content type is.
    pub fallback_protocol: Option<ScrapeProtocol>,
    /// Whether native histograms are scraped.
    pub native_histograms: bool,
    /// Whether their classic buckets are scraped besides.
    pub classic_histograms_too: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub convert_to_custom_buckets: bool,
    /// Native histograms with more buckets are made coarser; 0 for no limit.
    pub native_bucket_limit: u64,
    /// The finest schema that native histograms keep, where the configuration says how little buckets may grow.
    pub native_finest_schema: Option<i32>,
    /// `http` or `https`.
    pub scheme: String,
    /// The path to ask for.
    pub metrics_path: String,
    /// Query parameters, in order.
    pub params: Vec<(String, Vec<String>)>,
    /// Whether a scraped label wins over the target's label of the same name.
    pub honor_labels: bool,
    /// Whether timestamps in the exposition are kept.
    pub honor_timestamps: bool,
    /// Whether series with timestamps of their own end like others.
    pub track_timestamps_staleness: bool,
    /// Whether gzip is asked for.
    pub compression: bool,
    /// What a scrape may be.
    pub limits: ScrapeLimits,
    /// Which names may be.
    pub names: NameScheme,
    /// How targets are asked to write the others.
    pub escaping: Escaping,
    /// Whether `scrape_timeout_seconds` and its kin are kept.
    pub extra_metrics: bool,
    /// The file that failed scrapes are written to; empty for none.
    pub failure_log: String,
    /// How targets are asked.
    pub http: HttpClient,
    /// What becomes of targets.
    pub relabel: Vec<Rule>,
    /// What becomes of samples.
    pub metric_relabel: Vec<Rule>,
    /// Where targets come from.
    pub discovery: Vec<Discovery>,
    /// Where it stands.
    pub line: usize,
}

/// Keys that `global` and jobs share.
pub(crate) const SHARED: Fields = &[
    key("scrape_interval", Kind::Duration),
    key("scrape_timeout", Kind::Duration),
    key("scrape_protocols", TEXTS),
    key("scrape_failure_log_file", Kind::Text),
    key("scrape_native_histograms", Kind::Bool),
    key("always_scrape_classic_histograms", Kind::Bool),
    key("convert_classic_histograms_to_nhcb", Kind::Bool),
    key("extra_scrape_metrics", Kind::Bool),
    key("body_size_limit", Kind::Size),
    key("sample_limit", Kind::Uint),
    key("target_limit", Kind::Uint),
    key("label_limit", Kind::Uint),
    key("label_name_length_limit", Kind::Uint),
    key("label_value_length_limit", Kind::Uint),
    key("keep_dropped_targets", Kind::Uint),
    key("metric_name_validation_scheme", Kind::Text),
    key("metric_name_escaping_scheme", Kind::Text),
];

const OWN: [Field; 13] = [
    key("job_name", Kind::Text),
    key("honor_labels", Kind::Bool),
    key("honor_timestamps", Kind::Bool),
    key("track_timestamps_staleness", Kind::Bool),
    key("params", Kind::Map(&TEXTS)),
    key("fallback_scrape_protocol", Kind::Text),
    key("metrics_path", Kind::Text),
    key("scheme", Kind::Text),
    key("enable_compression", Kind::Bool),
    key("native_histogram_bucket_limit", Kind::Uint),
    key("native_histogram_min_bucket_factor", Kind::Float),
    key("relabel_configs", RULES),
    key("metric_relabel_configs", RULES),
];

/// `scrape_configs`.
pub(crate) const JOBS: Kind = Kind::List(&Kind::Section(&[&OWN, SHARED, discovery::KEYS, HTTP[0], HTTP[1]]));

/// `metric_name_validation_scheme`.
pub(crate) fn name_scheme(node: &Node) -> Result<Option<NameScheme>, Flaw> {
    match node.text_of("metric_name_validation_scheme") {
        "" => Ok(None),
        "utf8" => Ok(Some(NameScheme::Utf8)),
        "legacy" => Ok(Some(NameScheme::Legacy)),
        other => {
            let at = node.get("metric_name_validation_scheme").unwrap_or(node);
            Err(at.flaw(format!("unrecognized ValidationScheme: {other:?}, must be either '', 'legacy' or 'utf8'")))
        }
    }
}

/// `metric_name_escaping_scheme`.
pub(crate) fn escaping(node: &Node) -> Result<Option<Escaping>, Flaw> {
    let word = node.text_of("metric_name_escaping_scheme");
    if word.is_empty() {
        return Ok(None);
    }
    let found = Escaping::ALL.iter().find(|(name, _)| *name == word).map(|(_, e)| Some(*e));
    let names = Escaping::ALL.map(|(n, _)| n).join(", ");
    let at = node.get("metric_name_escaping_scheme").unwrap_or(node);
    found.ok_or_else(|| at.flaw(format!("unknown name escaping method specified, must be one of {names}, got {word:?}")))
}

/// `scrape_protocols`; `None` where there are none.
pub(crate) fn protocols(node: &Node) -> Result<Option<Vec<ScrapeProtocol>>, Flaw> {
    let Some(list) = node.get("scrape_protocols") else { return Ok(None) };
    list.must(!list.list().is_empty(), "scrape_protocols cannot be empty")?;
    let mut found: Vec<ScrapeProtocol> = Vec::new();
    for item in list.list() {
        let protocol = ScrapeProtocol::parse(item)?;
        item.must(!found.contains(&protocol), "duplicated protocol in scrape_protocols")?;
        found.push(protocol);
    }
    Ok(Some(found))
}

/// `0` for no limit, which is what stands in `global` then.
pub(crate) fn limits(node: &Node) -> ScrapeLimits {
    ScrapeLimits {
        body_size: node.size_of("body_size_limit"),
        samples: node.uint_of("sample_limit"),
        targets: node.uint_of("target_limit"),
        labels: node.uint_of("label_limit"),
        label_name: node.uint_of("label_name_length_limit"),
        label_value: node.uint_of("label_value_length_limit"),
        dropped_targets: node.uint_of("keep_dropped_targets"),
    }
}

impl ScrapeLimits {
    fn or(self, global: Self) -> Self {
        let or = |own: u64, global: u64| if own == 0 { global } else { own };
        Self {
            body_size: or(self.body_size, global.body_size),
            samples: or(self.samples, global.samples),
            targets: or(self.targets, global.targets),
            labels: or(self.labels, global.labels),
            label_name: or(self.label_name, global.label_name),
            label_value: or(self.label_value, global.label_value),
            dropped_targets: or(self.dropped_targets, global.dropped_targets),
        }
    }
}

impl ScrapeConfig {
    /// A job whose keys were checked.
    pub(crate) fn of(node: &Node, global: &Global) -> Result<Self, Flaw> {
        let job = node.text_of("job_name");
        node.must(!job.is_empty(), "job_name is empty")?;
        let http = HttpClient::of(node)?;
        let discovery = discovery::of(node)?;
        if node.list_of("relabel_configs").is_empty() {
            check_addresses(node)?;
        }
        let interval = node.duration_of("scrape_interval").filter(|d| !d.is_zero()).unwrap_or(global.scrape_interval);
        let own_timeout = node.duration_of("scrape_timeout").filter(|d| !d.is_zero());
        let at = node.get("scrape_timeout").unwrap_or(node);
        at.must(
            own_timeout.is_none_or(|t| t <= interval),
            format!("scrape timeout greater than scrape interval for scrape config with job name {job:?}"),
        )?;
        let native_histograms = node.bool_of("scrape_native_histograms").unwrap_or(global.native_histograms);
        let defaults = if native_histograms { &DEFAULT_PROTOCOLS[..] } else { &DEFAULT_PROTOCOLS[1..] };
        let protocols = protocols(node)?.or_else(|| global.protocols.clone()).unwrap_or_else(|| defaults.to_vec());
        let fallback_protocol = node
            .get("fallback_scrape_protocol")
            .filter(|n| n.text() != Some(""))
            .map(ScrapeProtocol::parse)
            .transpose()
            .map_err(|e| Flaw { what: format!("invalid fallback_scrape_protocol: {}", e.what), ..e })?;
        let (names, escaping) = naming(node, global)?;
        let params = node.get("params").map_or(&[][..], Node::pairs);
        let text = |name: &str, default: &str| match node.entry(name) {
            None => default.to_owned(),
            Some(n) => n.text().unwrap_or(default).to_owned(),
        };
        Ok(Self {
            job_name: job.to_owned(),
            interval,
            timeout: own_timeout.unwrap_or(global.scrape_timeout.min(interval)),
            protocols,
            fallback_protocol,
            native_histograms,
            classic_histograms_too: node.bool_of("always_scrape_classic_histograms").unwrap_or(global.classic_histograms_too),
            convert_to_custom_buckets: node
                .bool_of("convert_classic_histograms_to_nhcb")
                .unwrap_or(global.convert_to_custom_buckets),
            native_bucket_limit: node.uint_of("native_histogram_bucket_limit"),
            native_finest_schema: finest_schema(node),
            scheme: text("scheme", "http"),
            metrics_path: text("metrics_path", "/metrics"),
            params: params
                .iter()
                .map(|(n, vs)| {
                    let values = vs.list().iter().map(|v| v.text().unwrap_or_default().to_owned());
                    (n.text().unwrap_or_default().to_owned(), values.collect())
                })
                .collect(),
            honor_labels: node.bool_of("honor_labels").unwrap_or(false),
            honor_timestamps: node.bool_of("honor_timestamps").unwrap_or(true),
            track_timestamps_staleness: node.bool_of("track_timestamps_staleness").unwrap_or(false),
            compression: node.bool_of("enable_compression").unwrap_or(true),
            limits: limits(node).or(global.limits),
            names,
            escaping,
            extra_metrics: node.bool_of("extra_scrape_metrics").unwrap_or(global.extra_metrics),
            failure_log: match text("scrape_failure_log_file", "") {
                own if own.is_empty() => global.failure_log.clone(),
                own => own,
            },
            http,
            relabel: rules(node.list_of("relabel_configs"), names)?,
            metric_relabel: rules(node.list_of("metric_relabel_configs"), names)?,
            discovery,
            line: node.line,
        })
    }
}

impl ScrapeConfig {
    /// Files are looked for in `folder`.
    pub(crate) fn in_folder(mut self, folder: &Path) -> Self {
        self.http.in_folder(folder);
        if !self.failure_log.is_empty() {
            self.failure_log = folder.join(&self.failure_log).display().to_string();
        }
        for source in &mut self.discovery {
            match source {
                Discovery::File { files, .. } => {
                    for file in files {
                        *file = folder.join(&*file).display().to_string();
                    }
                }
                Discovery::Http { client, .. } | Discovery::Docker { client, .. } => client.in_folder(folder),
                _ => {}
            }
        }
        self
    }
}

/// The finest schema in which each bucket is larger than the one before by the factor `native_histogram_min_bucket_factor`.
fn finest_schema(node: &Node) -> Option<i32> {
    let factor: f64 = node.get("native_histogram_min_bucket_factor")?.text()?.replace('_', "").parse().ok()?;
    let schema = (-factor.max(1.00271).log2().log2()).floor();
    (factor > 0.0).then(|| schema.clamp(-4.0, 8.0) as i32)
}

/// What names may be, and how the others are to be written.
fn naming(node: &Node, global: &Global) -> Result<(NameScheme, Escaping), Flaw> {
    let by_names = |names| if names == NameScheme::Legacy { Escaping::Underscores } else { Escaping::AllowUtf8 };
    let own = name_scheme(node)?;
    let names = own.unwrap_or(global.names);
    let inherited = match own {
        None => global.escaping.unwrap_or_else(|| by_names(global.names)),
        Some(names) => by_names(names),
    };
    let escaping = escaping(node)?.unwrap_or(inherited);
    node.must(
        escaping != Escaping::AllowUtf8 || names == NameScheme::Utf8,
        "utf8 metric names requested but validation scheme is not set to UTF8",
    )?;
    Ok((names, escaping))
}

/// Addresses of static targets are no URLs.
pub(crate) fn check_addresses(node: &Node) -> Result<(), Flaw> {
    for group in node.list_of("static_configs") {
        for target in group.list_of("targets") {
            let address = target.text().unwrap_or_default();
            target.must(!address.contains('/'), format!("{address:?} is not a valid hostname"))?;
        }
    }
    Ok(())
}
