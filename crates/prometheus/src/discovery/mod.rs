//! Where targets come from: every kind that Prometheus has is read and checked; those that Braid runs become values.

mod kinds;

use std::time::Duration;

use crate::error::Flaw;
use crate::http_client::HttpClient;
use crate::yaml::Node;

pub(crate) use kinds::KEYS;

/// One source of targets.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// `static_configs`: all of a job's.
    Static(Vec<TargetGroup>),
    /// `file_sd_configs`
    File {
        /// Paths, where the last part may have a `*`; relative to the configuration's folder.
        files: Vec<String>,
        /// How often they are read again.
        refresh: Duration,
    },
    /// `http_sd_configs`
    Http {
        /// What to ask.
        url: String,
        /// How to ask it.
        client: Box<HttpClient>,
        /// How often.
        refresh: Duration,
    },
    /// `dns_sd_configs`
    Dns {
        /// Names to ask for.
        names: Vec<String>,
        /// What to ask for.
        record: DnsRecord,
        /// The targets' port; unused for SRV.
        port: u16,
        /// How often.
        refresh: Duration,
    },
    /// `docker_sd_configs`
    Docker {
        /// `unix://…`, `tcp://…`, `http://…`
        host: String,
        /// How to ask it.
        client: Box<HttpClient>,
        /// The port of containers that publish none.
        port: u16,
        /// Which containers.
        filters: Vec<DockerFilter>,
        /// The address of containers in the host's network.
        host_networking_host: String,
        /// Whether only the first network of a container counts.
        match_first_network: bool,
        /// How often.
        refresh: Duration,
    },
    /// A kind that Braid does not run.
    Other {
        /// Its key.
        kind: &'static str,
        /// Where it stands.
        line: usize,
    },
}

/// The records that DNS discovery asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecord {
    /// Host and port.
    Srv,
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

/// `filters` of Docker's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerFilter {
    /// What is looked at.
    pub name: String,
    /// What it may be.
    pub values: Vec<String>,
}

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetGroup {
    /// The labels of each target, `__address__` among them, besides the shared ones.
    pub targets: Vec<Vec<(String, String)>>,
    /// Labels of all of them.
    pub labels: Vec<(String, String)>,
    /// Where it comes from, for messages.
    pub source: String,
}

impl TargetGroup {
    /// A group of addresses.
    #[must_use]
    pub fn of_addresses(addresses: impl IntoIterator<Item = String>, labels: Vec<(String, String)>, source: String) -> Self {
        let targets = addresses.into_iter().map(|a| vec![("__address__".to_owned(), a)]).collect();
        Self { targets, labels, source }
    }
}

/// The sources in a section, after a check of its keys.
pub(crate) fn of(section: &Node) -> Result<Vec<Discovery>, Flaw> {
    let mut found = Vec::new();
    for (name, list) in section.pairs() {
        let text = name.text().unwrap_or_default();
        let Some(kind) = kinds::KINDS.iter().find(|k| k.key == text) else { continue };
        if text == "static_configs" {
            let groups = list.list().iter().enumerate().map(|(at, node)| group(node, at.to_string()));
            found.push(Discovery::Static(groups.collect::<Result<_, _>>()?));
            continue;
        }
        for node in list.list() {
            if kind.http {
                crate::http_client::validate(node)?;
            }
            if let Some(tls) = node.get("tls_config") {
                crate::http_client::validate_tls(tls)?;
            }
            (kind.validate)(node)?;
            found.push(running(text, node)?.unwrap_or(Discovery::Other { kind: kind.key, line: node.line }));
        }
    }
    Ok(found)
}

/// The source, if Braid runs its kind.
fn running(kind: &str, node: &Node) -> Result<Option<Discovery>, Flaw> {
    let refresh = |default: u64| node.duration_of("refresh_interval").unwrap_or(Duration::from_secs(default));
    let port = |default: u64| match node.get("port") {
        None => Ok(u16::try_from(default).unwrap_or(u16::MAX)),
        Some(at) => u16::try_from(node.uint_of("port")).map_err(|_| at.flaw("a port is at most 65535")),
    };
    Ok(Some(match kind {
        "file_sd_configs" => Discovery::File { files: node.texts_of("files"), refresh: refresh(300) },
        "http_sd_configs" => {
            Discovery::Http { url: node.text_of("url").to_owned(), client: Box::new(HttpClient::of(node)?), refresh: refresh(60) }
        }
        "dns_sd_configs" => Discovery::Dns {
            names: node.texts_of("names"),
            record: kinds::dns_record(node)?,
            port: port(0)?,
            refresh: refresh(30),
        },
        "docker_sd_configs" => Discovery::Docker {
            host: node.text_of("host").to_owned(),
            client: Box::new(HttpClient::of(node)?),
            port: port(80)?,
            filters: node
                .list_of("filters")
                .iter()
                .map(|f| DockerFilter { name: f.text_of("name").to_owned(), values: f.texts_of("values") })
                .collect(),
            host_networking_host: match node.entry("host_networking_host") {
                None => "localhost".to_owned(),
                Some(host) => host.text().unwrap_or_default().to_owned(),
            },
            match_first_network: node.bool_of("match_first_network").unwrap_or(true),
            refresh: refresh(60),
        },
        _ => return Ok(None),
    }))
}

fn group(node: &Node, source: String) -> Result<TargetGroup, Flaw> {
    for (label, _) in node.get("labels").map_or(&[][..], Node::pairs) {
        label.must(label.text() != Some(""), "\"\" is not a valid label name")?;
    }
    Ok(TargetGroup::of_addresses(node.texts_of("targets"), node.map_of("labels"), source))
}

/// The groups that a file of `file_sd_configs` (YAML or JSON) or an answer of `http_sd_configs` holds.
///
/// # Errors
/// What does not fit, with its place.
pub fn groups_of_file(text: &str, source: &str) -> Result<Vec<TargetGroup>, Flaw> {
    let node = Node::parse(text)?;
    crate::schema::check(&node, &kinds::GROUPS)?;
    node.list().iter().enumerate().map(|(at, n)| group(n, format!("{source}:{at}"))).collect()
}

/// A kind of source.
struct SourceKind {
    key: &'static str,
    /// Whether it asks over HTTP with the usual keys.
    http: bool,
    validate: fn(&Node) -> Result<(), Flaw>,
}
