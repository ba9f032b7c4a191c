//! Every kind of source that Prometheus v3 has: its keys, and its own `UnmarshalYAML` in words.

use super::{DnsRecord, SourceKind};
use crate::error::Flaw;
use crate::http_client::{HTTP, TLS, http_address};
use crate::schema::{Field, Fields, Kind, TEXTS, key};
use crate::value;
use crate::yaml::Node;

const TEXT: Kind = Kind::Text;
const OWN: Fields = HTTP[0];
const PROXY: Fields = HTTP[1];
const REFRESH: Field = key("refresh_interval", Kind::Duration);
const PORT: Field = key("port", Kind::Uint);
const FILTERS: Kind = Kind::List(&Kind::Section(&[&[key("name", TEXT), key("values", TEXTS)]]));

const GROUP: Fields = &[key("targets", TEXTS), key("labels", Kind::Map(&TEXT))];

/// The content of a file of targets.
pub(super) const GROUPS: Kind = Kind::List(&Kind::Section(&[GROUP]));

const AWS: Fields = &[
    key("endpoint", TEXT),
    key("region", TEXT),
    key("access_key", TEXT),
    key("secret_key", TEXT),
    key("profile", TEXT),
    key("role_arn", TEXT),
    key("external_id", TEXT),
    REFRESH,
    PORT,
];

const AWS_CLUSTERS: Fields = &[key("clusters", TEXTS), key("request_concurrency", Kind::Uint)];

const ZOOKEEPER: Fields = &[key("servers", TEXTS), key("paths", TEXTS), key("timeout", Kind::Duration)];

macro_rules! kinds {
    ($($key:literal $http:literal $validate:expr; [$($table:expr),* $(,)?])*) => {
        /// How each is checked once its keys are.
        pub(super) const KINDS: &[SourceKind] = &[$(SourceKind { key: $key, http: $http, validate: $validate }),*];
        /// Their keys, for the sections that they may stand in.
        pub(crate) const KEYS: Fields = &[$(key($key, Kind::List(&Kind::Section(&[$($table),*])))),*];
    };
}

kinds! {
    "static_configs" false anything; [GROUP]
    "file_sd_configs" false file; [&[key("files", TEXTS), REFRESH]]
    "dns_sd_configs" false dns; [&[key("names", TEXTS), key("type", TEXT), REFRESH, PORT]]
    "http_sd_configs" true |n| n.must(n.get("url").is_some(), "URL is missing").and_then(|()| http_address(n, "url"));
        [&[key("url", TEXT), REFRESH], OWN, PROXY]
    "docker_sd_configs" true host;
        [&[key("host", TEXT), PORT, key("filters", FILTERS), key("host_networking_host", TEXT), REFRESH,
           key("match_first_network", Kind::Bool)], OWN, PROXY]
    "dockerswarm_sd_configs" true swarm;
        [&[key("host", TEXT), key("role", TEXT), PORT, key("filters", FILTERS), REFRESH], OWN, PROXY]
    "azure_sd_configs" true azure;
        [&[key("environment", TEXT), PORT, key("subscription_id", TEXT), key("tenant_id", TEXT), key("client_id", TEXT),
           key("client_secret", TEXT), REFRESH, key("authentication_method", TEXT), key("resource_group", TEXT)], OWN, PROXY]
    "consul_sd_configs" true consul;
        [&[key("server", TEXT), key("path_prefix", TEXT), key("token", TEXT), key("datacenter", TEXT), key("namespace", TEXT),
           key("partition", TEXT), key("tag_separator", TEXT), key("scheme", TEXT), key("username", TEXT), key("password", TEXT),
           key("allow_stale", Kind::Bool), REFRESH, key("services", TEXTS), key("tags", TEXTS),
           key("node_meta", Kind::Map(&TEXT)), key("filter", TEXT), key("health_filter", TEXT)], OWN, PROXY]
    "digitalocean_sd_configs" true anything; [&[REFRESH, PORT], OWN, PROXY]
    "ec2_sd_configs" true ec2; [&[key("filters", FILTERS)], AWS, OWN, PROXY]
    "lightsail_sd_configs" true region; [AWS, OWN, PROXY]
    "ecs_sd_configs" true region; [AWS_CLUSTERS, AWS, OWN, PROXY]
    "msk_sd_configs" true region; [AWS_CLUSTERS, AWS, OWN, PROXY]
    "elasticache_sd_configs" true region; [AWS_CLUSTERS, AWS, OWN, PROXY]
    "rds_sd_configs" true region; [AWS_CLUSTERS, AWS, OWN, PROXY]
    "aws_sd_configs" true aws; [&[key("role", TEXT), key("filters", FILTERS)], AWS_CLUSTERS, AWS, OWN, PROXY]
    "eureka_sd_configs" true |n| address(n, "server", "eureka_sd: empty or null eureka server", "invalid eureka server URL");
        [&[key("server", TEXT), REFRESH], OWN, PROXY]
    "gce_sd_configs" false |n| needs(n, &["project", "zone"]);
        [&[key("project", TEXT), key("zone", TEXT), key("filter", TEXT), REFRESH, PORT, key("tag_separator", TEXT)]]
    "hetzner_sd_configs" true |n| word(n, "role", &["robot", "hcloud"], None);
        [&[key("role", TEXT), REFRESH, PORT, key("label_selector", TEXT)], OWN, PROXY]
    "ionos_sd_configs" true |n| needs(n, &["datacenter_id"]); [&[key("datacenter_id", TEXT), REFRESH, PORT], OWN, PROXY]
    "kubernetes_sd_configs" true kubernetes;
        [&[key("api_server", Kind::Url), key("role", TEXT), key("kubeconfig_file", TEXT),
           key("namespaces", Kind::Section(&[&[key("own_namespace", Kind::Bool), key("names", TEXTS)]])),
           key("selectors", Kind::List(&Kind::Section(&[&[key("role", TEXT), key("label", TEXT), key("field", TEXT)]]))),
           key("attach_metadata", Kind::Section(&[&[key("node", Kind::Bool), key("namespace", Kind::Bool)]]))], OWN, PROXY]
    "kuma_sd_configs" true |n| address(n, "server", "kuma SD server must not be empty", "kuma SD server must be a URL");
        [&[key("server", TEXT), key("fetch_timeout", Kind::Duration), REFRESH, key("client_id", TEXT)], OWN, PROXY]
    "linode_sd_configs" true anything; [&[REFRESH, PORT, key("tag_separator", TEXT), key("region", TEXT)], OWN, PROXY]
    "marathon_sd_configs" true marathon;
        [&[key("servers", TEXTS), key("auth_token", TEXT), key("auth_token_file", TEXT), REFRESH], OWN, PROXY]
    "nerve_sd_configs" false zookeeper; [ZOOKEEPER]
    "serverset_sd_configs" false zookeeper; [ZOOKEEPER]
    "nomad_sd_configs" true |n| not_emptied(n, "server", "nomad SD configuration requires a server address");
        [&[key("allow_stale", Kind::Bool), key("namespace", TEXT), REFRESH, key("region", TEXT), key("server", TEXT),
           key("tag_separator", TEXT)], OWN, PROXY]
    "oci_sd_configs" true oci;
        [&[key("auth", TEXT), key("region", TEXT), key("tenancy", TEXT), key("user", TEXT), key("fingerprint", TEXT),
           key("key_file", TEXT), key("key_passphrase", TEXT), key("compartments", TEXTS), key("compartment", TEXT), PORT,
           REFRESH], OWN, PROXY]
    "openstack_sd_configs" false openstack;
        [&[key("identity_endpoint", TEXT), key("username", TEXT), key("userid", TEXT), key("password", TEXT),
           key("project_name", TEXT), key("project_id", TEXT), key("application_credential_name", TEXT),
           key("application_credential_id", TEXT), key("application_credential_secret", TEXT), key("role", TEXT),
           key("region", TEXT), key("domain_name", TEXT), key("domain_id", TEXT), REFRESH, PORT,
           key("all_tenants", Kind::Bool), key("tls_config", TLS), key("availability", TEXT)]]
    "outscale_sd_configs" true outscale;
        [&[key("region", TEXT), key("endpoint", TEXT), key("access_key", TEXT), key("secret_key", TEXT),
           key("secret_key_file", TEXT), REFRESH, PORT], OWN, PROXY]
    "ovhcloud_sd_configs" false ovhcloud;
        [&[key("endpoint", TEXT), key("application_key", TEXT), key("application_secret", TEXT), key("consumer_key", TEXT),
           REFRESH, key("service", TEXT)]]
    "puppetdb_sd_configs" true puppetdb;
        [&[key("url", TEXT), key("query", TEXT), key("include_parameters", Kind::Bool), REFRESH, PORT], OWN, PROXY]
    "scaleway_sd_configs" true scaleway;
        [&[key("project_id", TEXT), key("api_url", TEXT), key("zone", TEXT), key("access_key", TEXT), key("secret_key", TEXT),
           key("secret_key_file", TEXT), key("name_filter", TEXT), key("tags_filter", TEXTS), REFRESH, PORT, key("role", TEXT)],
         OWN, PROXY]
    "stackit_sd_configs" true stackit;
        [&[key("project", TEXT), key("region", TEXT), key("endpoint", TEXT), key("service_account_key", TEXT),
           key("service_account_key_path", TEXT), key("private_key", TEXT), key("private_key_path", TEXT),
           key("credentials_file_path", TEXT), REFRESH, PORT], OWN, PROXY]
    "triton_sd_configs" false triton;
        [&[key("account", TEXT), key("role", TEXT), key("dns_suffix", TEXT), key("endpoint", TEXT), key("groups", TEXTS), PORT,
           REFRESH, key("tls_config", TLS), key("version", Kind::Int)]]
    "uyuni_sd_configs" true uyuni;
        [&[key("server", TEXT), key("username", TEXT), key("password", TEXT), key("entitlement", TEXT), key("separator", TEXT),
           REFRESH], OWN, PROXY]
    "vultr_sd_configs" true anything; [&[REFRESH, PORT], OWN, PROXY]
}

fn anything(_: &Node) -> Result<(), Flaw> {
    Ok(())
}

/// None of these may be missing or empty.
fn needs(node: &Node, names: &[&str]) -> Result<(), Flaw> {
    names.iter().try_for_each(|name| node.must(!node.text_of(name).is_empty(), format!("{name} is missing or empty")))
}

/// A key that has a default, unless it is written without a value.
fn not_emptied(node: &Node, name: &str, what: &str) -> Result<(), Flaw> {
    node.entry(name).map_or(Ok(()), |n| n.must(n.text().is_some_and(|t| !t.is_empty()), what))
}

fn word(node: &Node, name: &str, words: &[&str], default: Option<&str>) -> Result<(), Flaw> {
    let at = node.get(name).unwrap_or(node);
    match (node.text_of(name), default) {
        ("", Some(_)) => Ok(()),
        ("", None) => Err(node.flaw(format!("{name} missing (one of: {})", words.join(", ")))),
        (text, _) => at.must(words.contains(&text), format!("unknown {name} {text:?} (one of: {})", words.join(", "))),
    }
}

/// An address with scheme and host.
fn address(node: &Node, name: &str, missing: &str, wrong: &str) -> Result<(), Flaw> {
    let at = node.get(name).unwrap_or(node);
    node.must(!node.text_of(name).is_empty(), missing)?;
    let (scheme, host) = value::url(node.text_of(name)).map_err(|e| at.flaw(e))?;
    at.must(!scheme.is_empty() && !host.is_empty(), wrong)
}

fn file(node: &Node) -> Result<(), Flaw> {
    let files = node.list_of("files");
    node.must(!files.is_empty(), "file service discovery config must contain at least one path name")?;
    files.iter().try_for_each(|file| {
        let path = file.text().unwrap_or_default();
        let ending = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"].iter().find_map(|e| path.strip_suffix(e));
        // A star may stand in the last part only.
        let good = ending.is_some_and(|stem| stem.split_once('*').is_none_or(|(_, after)| !after.contains('/')));
        file.must(good, format!("path name {path:?} is not valid for file discovery"))
    })
}

/// The kind of record that a section asks for.
pub(super) fn dns_record(node: &Node) -> Result<DnsRecord, Flaw> {
    let at = node.get("type").unwrap_or(node);
    match node.text_of("type").to_uppercase().as_str() {
        "" | "SRV" => Ok(DnsRecord::Srv),
        "A" => Ok(DnsRecord::A),
        "AAAA" => Ok(DnsRecord::Aaaa),
        "MX" => Ok(DnsRecord::Mx),
        "NS" => Ok(DnsRecord::Ns),
        other => Err(at.flaw(format!("invalid DNS-SD records type {other}"))),
    }
}

fn dns(node: &Node) -> Result<(), Flaw> {
    node.must(!node.list_of("names").is_empty(), "DNS-SD config must contain at least one SRV record name")?;
    let needs_port = dns_record(node)? != DnsRecord::Srv;
    node.must(!needs_port || node.uint_of("port") > 0, "a port is required in DNS-SD configs for all record types except SRV")
}

fn host(node: &Node) -> Result<(), Flaw> {
    node.must(!node.text_of("host").is_empty(), "host missing")?;
    value::url(node.text_of("host")).map(drop).map_err(|e| node.flaw(e))
}

fn swarm(node: &Node) -> Result<(), Flaw> {
    host(node)?;
    word(node, "role", &["services", "nodes", "tasks"], None)
}

fn azure(node: &Node) -> Result<(), Flaw> {
    needs(node, &["subscription_id"])?;
    let method = node.text_of("authentication_method");
    if matches!(method, "" | "OAuth") {
        needs(node, &["tenant_id", "client_id", "client_secret"])?;
    }
    word(node, "authentication_method", &["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"], Some("OAuth"))
}

fn consul(node: &Node) -> Result<(), Flaw> {
    not_emptied(node, "server", "consul SD configuration requires a server address")?;
    let user = node.has_any(&["username", "password"]);
    node.must(
        !(user && node.get("basic_auth").is_some()),
        "at most one of consul SD configuration username and password and basic auth can be configured",
    )?;
    let token = node.has_any(&["token"]);
    let others = ["authorization", "oauth2", "basic_auth"].iter().any(|n| node.get(n).is_some());
    node.must(!(token && others), "at most one of consul SD token, authorization, oauth2 or basic_auth can be configured")
}

fn region(node: &Node) -> Result<(), Flaw> {
    needs(node, &["region"])
}

fn ec2(node: &Node) -> Result<(), Flaw> {
    region(node)?;
    node.list_of("filters")
        .iter()
        .try_for_each(|f| f.must(!f.list_of("values").is_empty(), "EC2 SD configuration filter values cannot be empty"))
}

fn aws(node: &Node) -> Result<(), Flaw> {
    word(node, "role", &["ec2", "lightsail", "ecs", "msk", "elasticache", "rds"], None)?;
    ec2(node)
}

fn kubernetes(node: &Node) -> Result<(), Flaw> {
    const ROLES: [&str; 6] = ["node", "pod", "service", "endpoints", "endpointslice", "ingress"];
    word(node, "role", &ROLES, None)?;
    let (server, kubeconfig) = (!node.text_of("api_server").is_empty(), !node.text_of("kubeconfig_file").is_empty());
    let client = OWN.iter().chain(PROXY).any(|f| match f.name {
        // Those that say what is the default anyway change nothing.
        "follow_redirects" | "enable_http2" => node.bool_of(f.name) == Some(false),
        name => node.get(name).is_some_and(|n| !n.pairs().is_empty() || n.text().is_some_and(|t| !t.is_empty())),
    });
    node.must(!(server && kubeconfig), "cannot use 'kubeconfig_file' and 'api_server' simultaneously")?;
    node.must(!(kubeconfig && client), "cannot use a custom HTTP client configuration together with 'kubeconfig_file'")?;
    node.must(server || !client, "to use custom HTTP client configuration please provide the 'api_server' URL explicitly")?;
    let own = node.get("namespaces").and_then(|n| n.bool_of("own_namespace")).unwrap_or(false);
    node.must(!(own && server), "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously")?;
    node.must(!(own && kubeconfig), "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously")?;
    let role = node.text_of("role");
    let allowed: &[&str] = match role {
        "pod" => &["pod"],
        "service" => &["service"],
        "endpointslice" => &["pod", "service", "endpointslice"],
        "endpoints" => &["pod", "service", "endpoints"],
        "node" => &["node"],
        _ => &["ingress"],
    };
    let (mut seen, with_node) = (Vec::new(), node.get("attach_metadata").and_then(|m| m.bool_of("node")).unwrap_or(false));
    for selector in node.list_of("selectors") {
        let of = selector.text_of("role");
        selector.must(ROLES.contains(&of), format!("unknown Kubernetes SD role {of:?}"))?;
        selector.must(!seen.contains(&of), format!("duplicated selector role: {of}"))?;
        seen.push(of);
        let fits = allowed.contains(&of) || with_node && of == "node" && matches!(role, "pod" | "endpoints" | "endpointslice");
        selector.must(fits, format!("{role} role supports only {} selectors", allowed.join(", ")))?;
        field_selector(selector, selector.text_of("field"))?;
        label_selector(selector, selector.text_of("label"))?;
    }
    Ok(())
}

/// `a.b=c,d!=e`.
fn field_selector(node: &Node, text: &str) -> Result<(), Flaw> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .try_for_each(|part| node.must(part.contains('='), format!("invalid selector: {part:?}; can't understand {part:?}")))
}

/// `a=b,c in (d,e),!f`.
fn label_selector(node: &Node, text: &str) -> Result<(), Flaw> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ,=!()_-./<>\t".contains(c);
    node.must(text.chars().all(allowed), format!("unable to parse requirement: {text:?}"))
}

fn marathon(node: &Node) -> Result<(), Flaw> {
    node.must(!node.list_of("servers").is_empty(), "marathon_sd: must contain at least one Marathon server")?;
    let tokens = ["auth_token", "auth_token_file"].iter().filter(|n| node.has_any(&[n])).count();
    node.must(tokens < 2, "marathon_sd: at most one of auth_token & auth_token_file must be configured")?;
    let others = node.get("basic_auth").is_some()
        || node.get("authorization").is_some()
        || node.has_any(&["bearer_token", "bearer_token_file"]);
    node.must(
        tokens == 0 || !others,
        "marathon_sd: at most one of basic_auth, authorization, bearer_token, auth_token & auth_token_file must be configured",
    )
}

fn zookeeper(node: &Node) -> Result<(), Flaw> {
    node.must(!node.list_of("servers").is_empty(), "config must contain at least one Zookeeper server")?;
    node.must(!node.list_of("paths").is_empty(), "config must contain at least one path")?;
    node.list_of("paths").iter().try_for_each(|p| {
        let path = p.text().unwrap_or_default();
        p.must(path.starts_with('/'), format!("paths must begin with '/': {path}"))
    })
}

fn oci(node: &Node) -> Result<(), Flaw> {
    word(node, "auth", &["api_key", "instance_principal", "resource_principal", "workload_identity"], Some("api_key"))?;
    needs(node, &["region"])?;
    if matches!(node.text_of("auth"), "" | "api_key") {
        needs(node, &["tenancy", "user", "fingerprint", "key_file"])?;
    }
    Ok(())
}

fn openstack(node: &Node) -> Result<(), Flaw> {
    word(node, "availability", &["public", "internal", "admin"], Some("public"))?;
    word(node, "role", &["instance", "hypervisor", "loadbalancer"], None)?;
    needs(node, &["region"])
}

/// One way to say the secret key, and no more.
fn one_secret(node: &Node) -> Result<(), Flaw> {
    let given = ["secret_key", "secret_key_file"].iter().filter(|n| node.has_any(&[n])).count();
    node.must(given > 0, "one of secret_key & secret_key_file must be configured")?;
    node.must(given < 2, "at most one of secret_key & secret_key_file must be configured")
}

fn outscale(node: &Node) -> Result<(), Flaw> {
    // What is written empty does not get the default.
    not_emptied(node, "region", "outscale_sd: region is missing or empty")?;
    needs(node, &["access_key"])?;
    one_secret(node)
}

fn ovhcloud(node: &Node) -> Result<(), Flaw> {
    not_emptied(node, "endpoint", "endpoint can not be empty")?;
    needs(node, &["application_key", "application_secret", "consumer_key"])?;
    word(node, "service", &["vps", "dedicated_server"], None)
}

fn puppetdb(node: &Node) -> Result<(), Flaw> {
    node.must(!node.text_of("url").is_empty(), "URL is missing")?;
    http_address(node, "url")?;
    node.must(!node.text_of("query").is_empty(), "query missing")
}

fn scaleway(node: &Node) -> Result<(), Flaw> {
    word(node, "role", &["instance", "baremetal"], None)?;
    needs(node, &["project_id", "access_key"])?;
    one_secret(node)
}

fn stackit(node: &Node) -> Result<(), Flaw> {
    let emptied = |name: &str| node.entry(name).is_some_and(|n| n.text().is_none_or(str::is_empty));
    node.must(!(emptied("region") && node.text_of("endpoint").is_empty()), "stackit_sd: endpoint and region missing")?;
    value::url(node.text_of("endpoint")).map(drop).map_err(|e| node.flaw(format!("invalid endpoint: {e}")))
}

fn triton(node: &Node) -> Result<(), Flaw> {
    word(node, "role", &["container", "cn"], Some("container"))?;
    needs(node, &["account", "dns_suffix", "endpoint"])?;
    let refresh = node.duration_of("refresh_interval");
    node.must(refresh.is_none_or(|r| !r.is_zero()), "triton SD configuration requires RefreshInterval to be a positive integer")
}

fn uyuni(node: &Node) -> Result<(), Flaw> {
    needs(node, &["server"])?;
    value::url(node.text_of("server")).map_err(|e| node.flaw(e))?;
    needs(node, &["username", "password"])
}
