//! `docker_sd_configs`: containers of a Docker or Podman daemon, after Prometheus' `discovery/moby`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use prometheus::{Discovery, TargetGroup};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ANSWER, Answer, Source, TIMEOUT};
use crate::Ingest;
use crate::scrape::Surroundings;
use crate::scrape::client::{Client, Question};

const META: &str = "__meta_docker_";

pub(super) struct Daemon {
    /// `http://host:port`, without a slash at its end.
    base: String,
    client: Client,
    ingest: Arc<Ingest>,
    /// As the API wants them: JSON in the query.
    filters: String,
    addressing: Addressing,
}

/// How containers are reached.
struct Addressing {
    /// The port of those that publish none.
    port: u16,
    /// The address of those in the host's network.
    host_networking_host: String,
    match_first_network: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    ports: Option<Vec<Port>>,
    host_config: HostConfig,
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    ip: String,
    #[serde(rename = "NetworkID")]
    network: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: u16,
    #[serde(rename = "Type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

type Labels = Vec<(String, String)>;

impl Daemon {
    /// The source that a [`Discovery::Docker`] asks for.
    pub(super) fn new(source: &Discovery, around: &Surroundings) -> Result<Self, String> {
        let Discovery::Docker { host, client, port, filters, host_networking_host, match_first_network, .. } = source else {
            return Err("not a Docker source".to_owned());
        };
        let socket = host.strip_prefix("unix://").map(PathBuf::from);
        let base = match host.split_once("://") {
            Some(("unix", _)) => "http://docker".to_owned(),
            Some(("tcp", rest)) => format!("http://{rest}"),
            Some(("http" | "https", _)) => host.clone(),
            _ => return Err(format!("{host:?}: a host is unix://, tcp://, http:// or https://")),
        };
        let named: BTreeMap<&str, &Vec<String>> = filters.iter().map(|f| (f.name.as_str(), &f.values)).collect();
        let client = Client::new(client, socket.as_deref())?;
        Ok(Self {
            client: if socket.is_some() { client } else { client.of(&base)? },
            base: base.trim_end_matches('/').to_owned(),
            ingest: Arc::clone(&around.ingest),
            filters: serde_json::to_string(&named).map_err(|e| e.to_string())?,
            addressing: Addressing {
                port: *port,
                host_networking_host: host_networking_host.clone(),
                match_first_network: *match_first_network,
            },
        })
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let mut held = self.ingest.hold(0).map_err(|e| e.to_string())?;
        let url = format!("{}{path}", self.base);
        let question =
            Question { url: &url, accept: "application/json", headers: &[], compressed: false, timeout: TIMEOUT, limit: ANSWER };
        let answered = self.client.get(question, &mut held).await?;
        serde_json::from_slice(&answered.body).map_err(|e| format!("{path}: {e}"))
    }
}

impl Source for Daemon {
    async fn groups(&self) -> Answer {
        let mut path = "/containers/json".to_owned();
        if self.filters != "{}" {
            let escaped: String = self.filters.bytes().map(|b| format!("%{b:02X}")).collect();
            path.push_str(&format!("?filters={escaped}"));
        }
        let containers: Vec<Container> = self.ask(&path).await?;
        let networks: Vec<Network> = self.ask("/networks").await?;
        let networks: BTreeMap<String, Labels> = networks.into_iter().map(|n| (n.id.clone(), network_labels(&n))).collect();
        let targets = containers.iter().flat_map(|c| self.addressing.targets(c, &containers, &networks)).collect();
        Ok(vec![TargetGroup { targets, labels: Vec::new(), source: "Docker".to_owned() }])
    }
}

impl Addressing {
    fn targets(&self, container: &Container, all: &[Container], networks: &BTreeMap<String, Labels>) -> Vec<Labels> {
        let Some(name) = container.names.as_ref().and_then(|n| n.first()) else { return Vec::new() };
        let mode = &container.host_config.network_mode;
        let mut common = vec![
            (format!("{META}container_id"), container.id.clone()),
            (format!("{META}container_name"), name.clone()),
            (format!("{META}container_network_mode"), mode.clone()),
        ];
        common.extend(labels("container_label_", container.labels.as_ref()));
        let mut endpoints = endpoints(container, all);
        if self.match_first_network {
            endpoints.truncate(1);
        }
        let mut targets = Vec::new();
        for endpoint in endpoints {
            let shared = |address: String| -> Labels {
                let own = [("__address__".to_owned(), address), (format!("{META}network_ip"), endpoint.ip.clone())];
                own.into_iter()
                    .chain(common.clone())
                    .chain(networks.get(&endpoint.network).cloned().unwrap_or_default())
                    .collect()
            };
            let before = targets.len();
            for port in container.ports.iter().flatten().filter(|p| p.kind == "tcp") {
                let mut labels = shared(join(&endpoint.ip, port.private_port));
                labels.push((format!("{META}port_private"), port.private_port.to_string()));
                if port.public_port > 0 {
                    labels.push((format!("{META}port_public"), port.public_port.to_string()));
                    labels.push((format!("{META}port_public_ip"), port.ip.clone()));
                }
                targets.push(labels);
            }
            if targets.len() == before {
                targets.push(shared(match mode.as_str() {
                    "host" => self.host_networking_host.clone(),
                    _ => join(&endpoint.ip, self.port),
                }));
            }
        }
        targets
    }
}

/// The networks of a container, by name; of one that shares another's, the other's.
fn endpoints<'c>(container: &'c Container, all: &'c [Container]) -> Vec<&'c Endpoint> {
    let mut at = container;
    // Nobody chains more containers than there are.
    for _ in 0..=all.len() {
        let found: Vec<&Endpoint> = at.network_settings.networks.iter().flatten().filter_map(|(_, e)| e.as_ref()).collect();
        let next = at.host_config.network_mode.strip_prefix("container:").and_then(|id| all.iter().find(|c| c.id == id));
        match next {
            Some(next) if found.is_empty() => at = next,
            _ => return found,
        }
    }
    Vec::new()
}

fn network_labels(network: &Network) -> Labels {
    let own = [
        ("network_id", network.id.clone()),
        ("network_name", network.name.clone()),
        ("network_scope", network.scope.clone()),
        ("network_internal", network.internal.to_string()),
        ("network_ingress", network.ingress.to_string()),
    ];
    let own = own.into_iter().map(|(n, v)| (format!("{META}{n}"), v));
    own.chain(labels("network_label_", network.labels.as_ref())).collect()
}

fn labels<'l>(prefix: &'l str, labels: Option<&'l BTreeMap<String, String>>) -> impl Iterator<Item = (String, String)> + 'l {
    let sane = |name: &str| name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
    labels.into_iter().flatten().map(move |(n, v)| (format!("{META}{prefix}{}", sane(n)), v.clone()))
}

fn join(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_become_targets_by_port_and_network() {
        let containers: Vec<Container> = serde_json::from_str(
            r#"[
            {"Id":"a","Names":["/web"],"Labels":{"com.x":"1"},"Ports":[{"PrivatePort":80,"PublicPort":8080,"IP":"0.0.0.0","Type":"tcp"},{"PrivatePort":53,"Type":"udp"}],
             "HostConfig":{"NetworkMode":"n"},"NetworkSettings":{"Networks":{"n":{"IPAddress":"10.0.0.2","NetworkID":"i"},"z":{"IPAddress":"10.1.0.2"}}}},
            {"Id":"b","Names":["/side"],"Ports":null,"HostConfig":{"NetworkMode":"container:a"},"NetworkSettings":{"Networks":{}}},
            {"Id":"c","Names":["/host"],"HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Networks":{"host":{"IPAddress":""}}}},
            {"Id":"d","Names":[]}]"#,
        )
        .expect("JSON");
        let networks = BTreeMap::from([("i".to_owned(), vec![(format!("{META}network_name"), "n".to_owned())])]);
        let addressing = Addressing { port: 7, host_networking_host: "h".into(), match_first_network: true };
        let of = |at: usize| addressing.targets(&containers[at], &containers, &networks);
        let web = of(0);
        assert_eq!(web.len(), 1);
        for (name, value) in [
            ("__address__", "10.0.0.2:80"),
            ("__meta_docker_container_name", "/web"),
            ("__meta_docker_container_label_com_x", "1"),
            ("__meta_docker_network_name", "n"),
            ("__meta_docker_port_public", "8080"),
        ] {
            assert!(web[0].contains(&(name.into(), value.into())), "{name} in {web:?}");
        }
        assert_eq!((of(1)[0][0].1.as_str(), of(2)[0][0].1.as_str(), of(3).len()), ("10.0.0.2:7", "h", 0));
    }
}
