//! `remote_write`, `remote_read`, `alerting`, `storage`, `otlp`, `tracing`: checked as the reference checks them.

use std::collections::HashSet;

use crate::NameScheme;
use crate::discovery;
use crate::error::Flaw;
use crate::http_client::{HTTP, TLS, validate, validate_headers, validate_tls};
use crate::schema::{Fields, Kind, RULES, TEXTS, key, rules};
use crate::scrape::check_addresses;
use crate::yaml::Node;

const TEXT: Kind = Kind::Text;
const HEADERS: Kind = Kind::Map(&Kind::Text);

const SIGV4: Kind = Kind::Section(&[&[
    key("region", TEXT),
    key("access_key", TEXT),
    key("secret_key", TEXT),
    key("profile", TEXT),
    key("role_arn", TEXT),
    key("external_id", TEXT),
    key("service_name", TEXT),
    key("use_fips_sts_endpoint", Kind::Bool),
]]);

const AZURE: Kind = Kind::Section(&[&[
    key("cloud", TEXT),
    key("scope", TEXT),
    key("managed_identity", Kind::Section(&[&[key("client_id", TEXT)]])),
    key("oauth", Kind::Section(&[&[key("client_id", TEXT), key("client_secret", TEXT), key("tenant_id", TEXT)]])),
    key("sdk", Kind::Section(&[&[key("tenant_id", TEXT)]])),
    key("workload_identity", Kind::Section(&[&[key("client_id", TEXT), key("tenant_id", TEXT), key("token_file_path", TEXT)]])),
]]);

const WRITE: Fields = &[
    key("url", Kind::Url),
    key("remote_timeout", Kind::Duration),
    key("headers", HEADERS),
    key("write_relabel_configs", RULES),
    key("name", TEXT),
    key("send_exemplars", Kind::Bool),
    key("send_native_histograms", Kind::Bool),
    key("round_robin_dns", Kind::Bool),
    key("protobuf_message", TEXT),
    key(
        "queue_config",
        Kind::Section(&[&[
            key("capacity", Kind::Int),
            key("max_shards", Kind::Int),
            key("min_shards", Kind::Int),
            key("max_samples_per_send", Kind::Int),
            key("batch_send_deadline", Kind::Duration),
            key("min_backoff", Kind::Duration),
            key("max_backoff", Kind::Duration),
            key("retry_on_http_429", Kind::Bool),
            key("sample_age_limit", Kind::Duration),
        ]]),
    ),
    key(
        "metadata_config",
        Kind::Section(&[&[
            key("send", Kind::Bool),
            key("send_interval", Kind::Duration),
            key("max_samples_per_send", Kind::Int),
        ]]),
    ),
    key("sigv4", SIGV4),
    key("azuread", AZURE),
    key("google_iam", Kind::Section(&[&[key("credentials_file", TEXT)]])),
];

const READ: Fields = &[
    key("url", Kind::Url),
    key("remote_timeout", Kind::Duration),
    key("chunked_read_limit", Kind::Uint),
    key("headers", HEADERS),
    key("read_recent", Kind::Bool),
    key("name", TEXT),
    key("required_matchers", HEADERS),
    key("filter_external_labels", Kind::Bool),
];

const ALERTMANAGER: Fields = &[
    key("sigv4", SIGV4),
    key("scheme", TEXT),
    key("path_prefix", TEXT),
    key("timeout", Kind::Duration),
    key("api_version", TEXT),
    key("relabel_configs", RULES),
    key("alert_relabel_configs", RULES),
];

/// The sections, besides those that are about scraping and rules.
pub(crate) const KEYS: Fields = &[
    key("remote_write", Kind::List(&Kind::Section(&[WRITE, HTTP[0], HTTP[1]]))),
    key("remote_read", Kind::List(&Kind::Section(&[READ, HTTP[0], HTTP[1]]))),
    key(
        "alerting",
        Kind::Section(&[&[
            key("alert_relabel_configs", RULES),
            key("alertmanagers", Kind::List(&Kind::Section(&[ALERTMANAGER, discovery::KEYS, HTTP[0], HTTP[1]]))),
        ]]),
    ),
    key(
        "storage",
        Kind::Section(&[&[
            key(
                "tsdb",
                Kind::Section(&[&[
                    key("out_of_order_time_window", Kind::Duration),
                    key("stale_series_compaction_threshold", Kind::Float),
                    key(
                        "retention",
                        Kind::Section(&[&[key("time", Kind::Duration), key("size", Kind::Size), key("percentage", Kind::Float)]]),
                    ),
                    key("chunk_encoding", Kind::Section(&[&[key("floats", Kind::Word(&["xor", "xor2"]))]])),
                ]]),
            ),
            key("exemplars", Kind::Section(&[&[key("max_exemplars", Kind::Int)]])),
        ]]),
    ),
    key(
        "otlp",
        Kind::Section(&[&[
            key("promote_all_resource_attributes", Kind::Bool),
            key("promote_resource_attributes", TEXTS),
            key("ignore_resource_attributes", TEXTS),
            key("translation_strategy", TEXT),
            key("keep_identifying_resource_attributes", Kind::Bool),
            key("convert_histograms_to_nhcb", Kind::Bool),
            key("promote_scope_metadata", Kind::Bool),
            key("label_name_underscore_sanitization", Kind::Bool),
            key("label_name_preserve_multiple_underscores", Kind::Bool),
        ]]),
    ),
    key(
        "tracing",
        Kind::Section(&[&[
            key("client_type", Kind::Word(&["http", "grpc"])),
            key("endpoint", TEXT),
            key("sampling_fraction", Kind::Float),
            key("insecure", Kind::Bool),
            key("tls_config", TLS),
            key("headers", HEADERS),
            key("compression", TEXT),
            key("timeout", Kind::Duration),
        ]]),
    ),
    key("runtime", Kind::Section(&[&[key("gogc", Kind::Int)]])),
];

/// Checks the sections of [`KEYS`] in a file whose keys were checked.
pub(crate) fn validate_sections(file: &Node, scheme: NameScheme) -> Result<(), Flaw> {
    unique(file.list_of("remote_write"), "remote write")?;
    unique(file.list_of("remote_read"), "remote read")?;
    file.list_of("remote_write").iter().try_for_each(|n| write(n, scheme))?;
    for node in file.list_of("remote_read") {
        node.must(!node.text_of("url").is_empty(), "url for remote_read is empty")?;
        validate_headers(node)?;
        validate(node)?;
    }
    if let Some(alerting) = file.get("alerting") {
        rules(alerting.list_of("alert_relabel_configs"), scheme)?;
        alerting.list_of("alertmanagers").iter().try_for_each(|n| alertmanager(n, scheme))?;
    }
    file.get("storage").and_then(|s| s.get("tsdb")).map_or(Ok(()), tsdb)?;
    file.get("otlp").map_or(Ok(()), |n| otlp(n, scheme))?;
    file.get("tracing").map_or(Ok(()), tracing)
}

fn unique(list: &[Node], what: &str) -> Result<(), Flaw> {
    let mut names = HashSet::new();
    list.iter().try_for_each(|node| {
        let name = node.text_of("name");
        node.must(name.is_empty() || names.insert(name), format!("found multiple {what} configs with job name {name:?}"))
    })
}

fn write(node: &Node, scheme: NameScheme) -> Result<(), Flaw> {
    node.must(!node.text_of("url").is_empty(), "url for remote_write is empty")?;
    rules(node.list_of("write_relabel_configs"), scheme)?;
    validate_headers(node)?;
    let message = node.text_of("protobuf_message");
    let known = matches!(message, "" | "prometheus.WriteRequest" | "io.prometheus.write.v2.Request");
    let at = node.get("protobuf_message").unwrap_or(node);
    at.must(known, format!("invalid protobuf_message value: unknown type for remote write protobuf message {message}"))?;
    validate(node)?;
    let ways: Vec<&str> = ["basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam"]
        .into_iter()
        .filter(|n| node.get(n).is_some())
        .collect();
    node.must(
        ways.len() < 2,
        format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. Currently configured: {ways:?}"
        ),
    )?;
    node.get("sigv4").map_or(Ok(()), sigv4)?;
    node.get("azuread").map_or(Ok(()), azure)?;
    if let Some(iam) = node.get("google_iam") {
        iam.must(!iam.text_of("credentials_file").is_empty(), "google_iam: credentials_file is required")?;
    }
    node.get("queue_config").map_or(Ok(()), queue)
}

fn sigv4(node: &Node) -> Result<(), Flaw> {
    node.must(
        node.text_of("access_key").is_empty() == node.text_of("secret_key").is_empty(),
        "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
    )
}

fn azure(node: &Node) -> Result<(), Flaw> {
    let cloud = node.text_of("cloud");
    node.must(
        matches!(cloud, "" | "AzureChina" | "AzureGovernment" | "AzurePublic"),
        "must provide a cloud in the Azure AD config",
    )?;
    let ways = ["managed_identity", "oauth", "sdk", "workload_identity"].iter().filter(|n| node.get(n).is_some()).count();
    node.must(
        ways > 0,
        "must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth or Azure SDK in the Azure AD config",
    )?;
    node.must(ways < 2, "cannot provide multiple authentication methods in the Azure AD config")?;
    let ways: [(&str, &str, &[&str]); 4] = [
        ("managed_identity", "Managed Identity", &[]),
        ("oauth", "OAuth", &["client_id", "client_secret", "tenant_id"]),
        ("sdk", "SDK", &[]),
        ("workload_identity", "Workload Identity", &["client_id", "tenant_id"]),
    ];
    for (way, called, needed) in ways {
        let Some(section) = node.get(way) else { continue };
        for name in needed {
            let what = format!("must provide an Azure {called} {name} in the Azure AD config");
            section.must(!section.text_of(name).is_empty(), what)?;
        }
        let (client, tenant) = (section.text_of("client_id"), section.text_of("tenant_id"));
        section.must(client.is_empty() || is_uuid(client), format!("the provided Azure {called} client_id is invalid"))?;
        let is_tenant = tenant.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        section.must(is_tenant, format!("the provided Azure {called} tenant_id is invalid"))?;
    }
    Ok(())
}

/// What `uuid.Parse` takes: with dashes, with `urn:uuid:` or braces around it, or 32 digits.
fn is_uuid(text: &str) -> bool {
    let text = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    matches!(groups.as_slice(), [32] | [8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

fn queue(node: &Node) -> Result<(), Flaw> {
    let number = |name: &str, default: i64| match node.get(name).and_then(Node::text).and_then(crate::schema::integer) {
        None => default,
        Some(n) => n,
    };
    let (most, least) = (number("max_shards", 50), number("min_shards", 1));
    node.must(most > 0, "remote write queue_config: max_shards must be greater than 0")?;
    node.must(least > 0, "remote write queue_config: min_shards must be greater than 0")?;
    node.must(least <= most, "remote write queue_config: min_shards must not be greater than max_shards")?;
    node.must(
        number("max_samples_per_send", 2000) > 0,
        "remote write queue_config: max_samples_per_send must be greater than 0",
    )?;
    node.must(number("capacity", 10_000) > 0, "remote write queue_config: capacity must be greater than 0")?;
    let time = |name: &str, default: u64| node.duration_of(name).unwrap_or(std::time::Duration::from_millis(default));
    node.must(
        time("min_backoff", 30) <= time("max_backoff", 5_000),
        "remote write queue_config: min_backoff must not be greater than max_backoff",
    )
}

fn alertmanager(node: &Node, scheme: NameScheme) -> Result<(), Flaw> {
    let version = node.text_of("api_version");
    let at = node.get("api_version").unwrap_or(node);
    at.must(matches!(version, "" | "v2"), format!("expected Alertmanager api version to be one of [v2] but got {version}"))?;
    validate(node)?;
    let by_http = ["basic_auth", "authorization", "oauth2"].iter().any(|n| node.get(n).is_some());
    node.must(
        !(by_http && node.get("sigv4").is_some()),
        "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured",
    )?;
    node.get("sigv4").map_or(Ok(()), sigv4)?;
    discovery::of(node)?;
    if node.list_of("relabel_configs").is_empty() {
        check_addresses(node)?;
    }
    rules(node.list_of("relabel_configs"), scheme)?;
    rules(node.list_of("alert_relabel_configs"), scheme).map(drop)
}

fn tsdb(node: &Node) -> Result<(), Flaw> {
    let number = |node: &Node, name: &str| node.get(name).and_then(Node::text).and_then(|t| t.parse::<f64>().ok());
    let percentage = node.get("retention").and_then(|r| number(r, "percentage")).unwrap_or(0.0);
    node.must(
        (0.0..=100.0).contains(&percentage),
        format!("'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percentage}"),
    )?;
    let threshold = number(node, "stale_series_compaction_threshold").unwrap_or(0.0);
    node.must(
        (0.0..=1.0).contains(&threshold),
        format!("'storage.tsdb.stale_series_compaction_threshold' must be in the range [0, 1], got {threshold}"),
    )
}

fn otlp(node: &Node, scheme: NameScheme) -> Result<(), Flaw> {
    let all = node.bool_of("promote_all_resource_attributes").unwrap_or(false);
    let (promoted, ignored) = (node.list_of("promote_resource_attributes"), node.list_of("ignore_resource_attributes"));
    if all {
        node.must(
            promoted.is_empty(),
            "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
        )?;
    } else {
        node.must(
            ignored.is_empty(),
            "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
        )?;
    }
    attributes(promoted, "promoted")?;
    attributes(ignored, "ignored")?;
    let strategy = node.text_of("translation_strategy");
    match strategy {
        "" | "UnderscoreEscapingWithSuffixes" | "UnderscoreEscapingWithoutSuffixes" => Ok(()),
        "NoTranslation" | "NoUTF8EscapingWithSuffixes" => node.must(
            scheme == NameScheme::Utf8,
            format!("OTLP translation strategy {strategy:?} is not allowed when UTF8 is disabled"),
        ),
        _ => Err(node.flaw(format!("unsupported OTLP translation strategy {strategy:?}"))),
    }
}

fn attributes(list: &[Node], how: &str) -> Result<(), Flaw> {
    let mut seen = HashSet::new();
    list.iter().try_for_each(|node| {
        let attribute = node.text().unwrap_or_default().trim();
        node.must(!attribute.is_empty(), format!("empty {how} OTel resource attribute"))?;
        node.must(seen.insert(attribute), format!("duplicated {how} OTel resource attribute {attribute:?}"))
    })
}

fn tracing(node: &Node) -> Result<(), Flaw> {
    validate_headers(node)?;
    node.must(!node.text_of("endpoint").is_empty(), "tracing endpoint must be set")?;
    let compression = node.text_of("compression");
    node.must(
        matches!(compression, "" | "gzip"),
        format!("invalid compression type {compression} provided, valid options: gzip"),
    )?;
    node.get("tls_config").map_or(Ok(()), validate_tls)
}
