//! How something is asked over HTTP: Prometheus' `HTTPClientConfig`.

use std::path::Path;

use crate::error::Flaw;
use crate::schema::{Fields, Kind, TEXTS, key};
use crate::value;
use crate::yaml::Node;

const TLS_VERSIONS: &[&str] = &["TLS10", "TLS11", "TLS12", "TLS13"];

/// `tls_config`.
pub(crate) const TLS: Kind = Kind::Section(&[&[
    key("ca", Kind::Text),
    key("cert", Kind::Text),
    key("key", Kind::Text),
    key("ca_file", Kind::Text),
    key("cert_file", Kind::Text),
    key("key_file", Kind::Text),
    key("ca_ref", Kind::Text),
    key("cert_ref", Kind::Text),
    key("key_ref", Kind::Text),
    key("server_name", Kind::Text),
    key("insecure_skip_verify", Kind::Bool),
    key("min_version", Kind::Word(TLS_VERSIONS)),
    key("max_version", Kind::Word(TLS_VERSIONS)),
]]);

const PROXY: Fields = &[
    key("proxy_url", Kind::Url),
    key("no_proxy", Kind::Text),
    key("proxy_from_environment", Kind::Bool),
    key("proxy_connect_header", Kind::Map(&TEXTS)),
];

const OWN: Fields = &[
    key(
        "basic_auth",
        Kind::Section(&[&[
            key("username", Kind::Text),
            key("username_file", Kind::Text),
            key("username_ref", Kind::Text),
            key("password", Kind::Text),
            key("password_file", Kind::Text),
            key("password_ref", Kind::Text),
        ]]),
    ),
    key(
        "authorization",
        Kind::Section(&[&[
            key("type", Kind::Text),
            key("credentials", Kind::Text),
            key("credentials_file", Kind::Text),
            key("credentials_ref", Kind::Text),
        ]]),
    ),
    key(
        "oauth2",
        Kind::Section(&[
            &[
                key("client_id", Kind::Text),
                key("client_secret", Kind::Text),
                key("client_secret_file", Kind::Text),
                key("client_secret_ref", Kind::Text),
                key("client_certificate_key_id", Kind::Text),
                key("client_certificate_key", Kind::Text),
                key("client_certificate_key_file", Kind::Text),
                key("client_certificate_key_ref", Kind::Text),
                key("grant_type", Kind::Text),
                key("signature_algorithm", Kind::Text),
                key("iss", Kind::Text),
                key("audience", Kind::Text),
                key("claims", Kind::Map(&Kind::Text)),
                key("scopes", TEXTS),
                key("token_url", Kind::Text),
                key("endpoint_params", Kind::Map(&Kind::Text)),
                key("tls_config", TLS),
            ],
            PROXY,
        ]),
    ),
    key("bearer_token", Kind::Text),
    key("bearer_token_file", Kind::Text),
    key("tls_config", TLS),
    key("follow_redirects", Kind::Bool),
    key("enable_http2", Kind::Bool),
    key("http_headers", Kind::Map(&Kind::Section(&[&[key("values", TEXTS), key("secrets", TEXTS), key("files", TEXTS)]]))),
];

/// The keys; they stand among the section's own.
pub(crate) const HTTP: [Fields; 2] = [OWN, PROXY];

/// Headers that the client writes itself.
pub(crate) const RESERVED: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// A text that stands in the configuration or in a file, which is read whenever it is needed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Here it is.
    Text(String),
    /// In this file.
    File(String),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(<secret>)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nothing.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// `username`
        username: Secret,
        /// `password`
        password: Option<Secret>,
    },
    /// `Authorization: kind token`.
    Token {
        /// `Bearer` unless the configuration says otherwise.
        kind: String,
        /// What follows it.
        token: Option<Secret>,
    },
    /// A token that is asked for: `oauth2`.
    OAuth2(Box<OAuth2>),
}

/// `oauth2` with a client's secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OAuth2 {
    /// `client_id`
    pub client_id: String,
    /// `client_secret`
    pub client_secret: Option<Secret>,
    /// Where tokens are to be had.
    pub token_url: String,
    /// `scopes`
    pub scopes: Vec<String>,
    /// Further parameters of the question.
    pub endpoint_params: Vec<(String, String)>,
    /// How it is asked.
    pub http: HttpClient,
}

/// `tls_config`; certificates are PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// Who signs servers' certificates; the usual ones where nobody is named.
    pub ca: Option<Secret>,
    /// The client's certificate.
    pub cert: Option<Secret>,
    /// Its key.
    pub key: Option<Secret>,
    /// The name that servers are asked for and that their certificates must have; empty for the host that is asked.
    pub server_name: String,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// `TLS10` to `TLS13`; empty for the client's choice.
    pub min_version: String,
    /// The same.
    pub max_version: String,
}

/// How something is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpClient {
    /// What is asked with.
    pub credentials: Credentials,
    /// How TLS is spoken.
    pub tls: Tls,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Headers to add: name and values, in order.
    pub headers: Vec<(String, Vec<Secret>)>,
    /// The proxy's address; empty for none.
    pub proxy_url: String,
    /// Headers that the proxy is asked for a tunnel with: name and values, in order.
    pub proxy_headers: Vec<(String, Vec<String>)>,
    /// Hosts that need no proxy.
    pub no_proxy: String,
    /// Whether the environment says which proxy.
    pub proxy_from_environment: bool,
    /// Keys of it that are known and that Braid has nothing for.
    pub unsupported: Vec<&'static str>,
}

impl HttpClient {
    /// Of a section whose keys were checked.
    pub(crate) fn of(node: &Node) -> Result<Self, Flaw> {
        validate(node)?;
        let tls = node.get("tls_config");
        let headers = node.get("http_headers").map_or(&[][..], Node::pairs);
        let name = |n: &Node| n.text().unwrap_or_default().to_owned();
        let mut unsupported = Vec::new();
        let keys = ["client_certificate_key", "client_certificate_key_file", "client_certificate_key_ref"];
        if node.get("oauth2").is_some_and(|o| o.has_any(&keys) || !matches!(o.text_of("grant_type"), "" | "client_credentials")) {
            unsupported.push("oauth2 with a certificate's key");
        }
        let proxied = !node.text_of("proxy_url").is_empty() || node.bool_of("proxy_from_environment").unwrap_or(false);
        if proxied && tls.is_some_and(|t| !t.text_of("server_name").is_empty()) {
            unsupported.push("tls_config.server_name beside a proxy");
        }
        let proxy_headers = node.get("proxy_connect_header").map_or(&[][..], Node::pairs);
        if node.text_of("proxy_url").is_empty() && !proxy_headers.is_empty() {
            unsupported.push("proxy_connect_header beside proxy_from_environment");
        }
        let texts = |list: &Node| list.list().iter().map(|v| v.text().unwrap_or_default().to_owned()).collect();
        Ok(Self {
            credentials: credentials(node),
            tls: tls.map(Tls::of).unwrap_or_default(),
            follow_redirects: node.bool_of("follow_redirects").unwrap_or(true),
            headers: headers.iter().map(|(n, v)| (name(n), header_values(v))).collect(),
            proxy_url: node.text_of("proxy_url").to_owned(),
            proxy_headers: proxy_headers.iter().map(|(n, values)| (name(n), texts(values))).collect(),
            no_proxy: node.text_of("no_proxy").to_owned(),
            proxy_from_environment: node.bool_of("proxy_from_environment").unwrap_or(false),
            unsupported,
        })
    }
}

impl HttpClient {
    /// Files are looked for in `folder`.
    pub(crate) fn in_folder(&mut self, folder: &Path) {
        let credentials = match &mut self.credentials {
            Credentials::None => [None, None],
            Credentials::OAuth2(oauth2) => {
                oauth2.http.in_folder(folder);
                [oauth2.client_secret.as_mut(), None]
            }
            Credentials::Basic { username, password } => [Some(username), password.as_mut()],
            Credentials::Token { token, .. } => [token.as_mut(), None],
        };
        let tls = [self.tls.ca.as_mut(), self.tls.cert.as_mut(), self.tls.key.as_mut()];
        let headers = self.headers.iter_mut().flat_map(|(_, values)| values);
        for secret in credentials.into_iter().chain(tls).flatten().chain(headers) {
            if let Secret::File(file) = secret {
                *file = folder.join(&*file).display().to_string();
            }
        }
    }
}

impl Tls {
    fn of(node: &Node) -> Self {
        let text = |name: &str| node.text_of(name).to_owned();
        Self {
            ca: secret(node, "ca"),
            cert: secret(node, "cert"),
            key: secret(node, "key"),
            server_name: text("server_name"),
            insecure_skip_verify: node.bool_of("insecure_skip_verify").unwrap_or(false),
            min_version: text("min_version"),
            max_version: text("max_version"),
        }
    }
}

fn header_values(node: &Node) -> Vec<Secret> {
    let texts = node.texts_of("values").into_iter().chain(node.texts_of("secrets")).map(Secret::Text);
    texts.chain(node.texts_of("files").into_iter().map(Secret::File)).collect()
}

fn secret(node: &Node, name: &str) -> Option<Secret> {
    let file = node.text_of(&format!("{name}_file"));
    match (node.text_of(name), file) {
        ("", "") => None,
        ("", file) => Some(Secret::File(file.to_owned())),
        (text, _) => Some(Secret::Text(text.to_owned())),
    }
}

fn credentials(node: &Node) -> Credentials {
    if let Some(basic) = node.get("basic_auth") {
        let username = secret(basic, "username").unwrap_or(Secret::Text(String::new()));
        return Credentials::Basic { username, password: secret(basic, "password") };
    }
    if let Some(authorization) = node.get("authorization") {
        let kind = match authorization.text_of("type").trim() {
            "" => "Bearer",
            kind => kind,
        };
        return Credentials::Token { kind: kind.to_owned(), token: secret(authorization, "credentials") };
    }
    if let Some(oauth2) = node.get("oauth2") {
        let text = |name: &str| oauth2.text_of(name).to_owned();
        let http = HttpClient {
            tls: oauth2.get("tls_config").map(Tls::of).unwrap_or_default(),
            follow_redirects: true,
            proxy_url: text("proxy_url"),
            no_proxy: text("no_proxy"),
            proxy_from_environment: oauth2.bool_of("proxy_from_environment").unwrap_or(false),
            ..HttpClient::default()
        };
        return Credentials::OAuth2(Box::new(OAuth2 {
            client_id: text("client_id"),
            client_secret: secret(oauth2, "client_secret"),
            token_url: text("token_url"),
            scopes: oauth2.texts_of("scopes"),
            endpoint_params: oauth2.map_of("endpoint_params"),
            http,
        }));
    }
    match secret(node, "bearer_token") {
        None => Credentials::None,
        token => Credentials::Token { kind: "Bearer".to_owned(), token },
    }
}

/// Whether more than one of a value, its file and its reference is given.
fn twice(node: &Node, name: &str) -> bool {
    let names = [name.to_owned(), format!("{name}_file"), format!("{name}_ref")];
    names.iter().filter(|n| !node.text_of(n).is_empty()).count() > 1
}

/// `HTTPClientConfig.Validate`.
pub(crate) fn validate(node: &Node) -> Result<(), Flaw> {
    let bearer = node.has_any(&["bearer_token", "bearer_token_file"]);
    let (basic, authorization, oauth2) = (node.get("basic_auth"), node.get("authorization"), node.get("oauth2"));
    node.must(!twice(node, "bearer_token"), "at most one of bearer_token & bearer_token_file must be configured")?;
    node.must(
        !(bearer && (basic.is_some() || oauth2.is_some())),
        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
    )?;
    if let Some(basic) = basic {
        for name in ["username", "password"] {
            let what = format!("at most one of basic_auth {name}, {name}_file & {name}_ref must be configured");
            basic.must(!twice(basic, name), what)?;
        }
    }
    if let Some(authorization) = authorization {
        node.must(!bearer, "authorization is not compatible with bearer_token & bearer_token_file")?;
        authorization.must(
            !twice(authorization, "credentials"),
            "at most one of authorization credentials & credentials_file must be configured",
        )?;
        authorization.must(
            authorization.text_of("type").trim().to_lowercase() != "basic",
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
        )?;
        node.must(basic.is_none() && oauth2.is_none(), "at most one of basic_auth, oauth2 & authorization must be configured")?;
    }
    if let Some(oauth2) = oauth2 {
        node.must(basic.is_none(), "at most one of basic_auth, oauth2 & authorization must be configured")?;
        oauth2.must(!oauth2.text_of("client_id").is_empty(), "oauth2 client_id must be configured")?;
        oauth2.must(!oauth2.text_of("token_url").is_empty(), "oauth2 token_url must be configured")?;
        oauth2.must(
            !twice(oauth2, "client_secret"),
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured",
        )?;
        validate_proxy(oauth2)?;
        oauth2.get("tls_config").map_or(Ok(()), validate_tls)?;
    }
    validate_proxy(node)?;
    for (name, _) in node.get("http_headers").map_or(&[][..], Node::pairs) {
        let text = name.text().unwrap_or_default();
        name.must(!RESERVED.contains(&text.to_ascii_lowercase().as_str()), format!("setting header {text:?} is not allowed"))?;
    }
    node.get("tls_config").map_or(Ok(()), validate_tls)
}

fn validate_proxy(node: &Node) -> Result<(), Flaw> {
    let from_environment = node.bool_of("proxy_from_environment").unwrap_or(false);
    let (proxy, none) = (!node.text_of("proxy_url").is_empty(), !node.text_of("no_proxy").is_empty());
    let headers = node.get("proxy_connect_header").is_some_and(|h| !h.pairs().is_empty());
    node.must(
        proxy || from_environment || !headers,
        "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
    )?;
    node.must(!(from_environment && proxy), "if proxy_from_environment is configured, proxy_url must not be configured")?;
    node.must(!(from_environment && none), "if proxy_from_environment is configured, no_proxy must not be configured")?;
    node.must(proxy || !none, "if no_proxy is configured, proxy_url must also be configured")
}

/// `TLSConfig.Validate`.
pub(crate) fn validate_tls(node: &Node) -> Result<(), Flaw> {
    for name in ["ca", "cert", "key"] {
        node.must(!twice(node, name), format!("at most one of {name}, {name}_file & {name}_ref must be configured"))?;
    }
    let has = |name: &str| secret(node, name).is_some() || !node.text_of(&format!("{name}_ref")).is_empty();
    let key_for_cert = "exactly one of key or key_file must be configured when a client certificate is configured";
    let cert_for_key = "exactly one of cert or cert_file must be configured when a client key is configured";
    node.must(!has("cert") || has("key"), key_for_cert)?;
    node.must(!has("key") || has("cert"), cert_for_key)?;
    let (min, max) = (node.text_of("min_version"), node.text_of("max_version"));
    node.must(
        min.is_empty() || max.is_empty() || min <= max,
        "tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified",
    )
}

/// `headers` of remote write, remote read and tracing.
pub(crate) fn validate_headers(node: &Node) -> Result<(), Flaw> {
    for (name, _) in node.get("headers").map_or(&[][..], Node::pairs) {
        let lower = name.text().unwrap_or_default().to_ascii_lowercase();
        name.must(lower != "authorization", "authorization header must be changed via a parameter of its own")?;
        let reserved = RESERVED.contains(&lower.as_str()) && lower != "x-prometheus-scrape-timeout-seconds";
        name.must(!reserved, format!("{lower} is a reserved header. It must not be changed"))?;
    }
    Ok(())
}

/// An address with a scheme of HTTP and a host.
pub(crate) fn http_address(node: &Node, name: &str) -> Result<(), Flaw> {
    let at = node.get(name).unwrap_or(node);
    let (scheme, host) = value::url(node.text_of(name)).map_err(|e| at.flaw(e))?;
    at.must(matches!(scheme, "http" | "https"), "URL scheme must be 'http' or 'https'")?;
    at.must(!host.is_empty(), "host is missing in URL")
}
