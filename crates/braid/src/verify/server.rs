//! The Braid that is looked at.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::Checked;
use crate::access::Access;
use crate::backup::Wrong;

/// One request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So far the two clocks may be apart.
const SKEW: Duration = Duration::from_secs(5);

/// Less free space is soon none.
const LITTLE: f64 = 512e6;

/// Ports that answer queries, each with a path that says whether it lives, and one that must be locked.
const QUERIED: [(&str, &str, &str); 5] = [
    ("braid", "/ready", "/api/v1/labels"),
    ("prometheus", "/-/ready", "/api/v1/labels"),
    ("loki", "/ready", "/loki/api/v1/labels"),
    ("tempo", "/ready", "/api/search/tags"),
    ("correlation", "/health", "/api/correlations?limit=1"),
];

/// Ports that take data in, each with its path.
const DOORS: [(&str, &str); 5] = [
    ("otlp_http", "/v1/logs"),
    ("otlp_grpc", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    ("zipkin", "/api/v2/spans"),
    ("jaeger_http", "/api/traces"),
    ("jaeger_grpc", "/jaeger.api_v2.CollectorService/PostSpans"),
];

/// A running Braid, seen from outside.
pub(super) struct Server {
    base: Url,
    /// Shows the credential; speaks HTTP/2 without TLS.
    known: Client,
    known_h2: Client,
    /// Shows none.
    stranger: Client,
    stranger_h2: Client,
    /// Face -> URL.
    ports: BTreeMap<String, Url>,
    /// Whether requests must show who sends them.
    asks: bool,
    /// How long a correlation's window lasts; `None` where correlation is off.
    window: Option<Duration>,
}

impl Server {
    pub(super) fn new(url: &str, access: &Access) -> anyhow::Result<Self> {
        let wrong = |why: String| Wrong(format!("--url {url:?}: {why}; it looks like http://127.0.0.1:3000"));
        let base = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong("http:// or https:// and a host are expected".to_owned()).into());
        }
        let client = |known: bool, h2: bool| -> anyhow::Result<Client> {
            let builder = access.client(known)?.timeout(TIMEOUT);
            Ok(if h2 { builder.http2_prior_knowledge() } else { builder }.build()?)
        };
        Ok(Self {
            base,
            known: client(true, false)?,
            known_h2: client(true, true)?,
            stranger: client(false, false)?,
            stranger_h2: client(false, true)?,
            ports: BTreeMap::new(),
            asks: false,
            window: None,
        })
    }

    /// The ports that were found.
    pub(super) fn ports(&self) -> Vec<(String, Url)> {
        self.ports.iter().map(|(face, url)| (face.clone(), url.clone())).collect()
    }

    pub(super) fn has(&self, face: &str) -> bool {
        self.ports.contains_key(face)
    }

    pub(super) async fn reach(&self) -> Checked {
        let said: Value = json(self.known.get(self.at("/health"))).await?;
        let version = said["version"].as_str().ok_or_else(|| format!("{} answers, but not as a Braid does", self.base))?;
        let up = said["uptime_seconds"].as_f64().unwrap_or_default();
        Ok(format!("Braid {version} at {}, up for {up:.0} s", self.base.origin().ascii_serialization()))
    }

    pub(super) async fn ready(&self) -> Checked {
        let response = sent(self.known.get(self.at("/ready"))).await?;
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        // The first line says whether, the others why not quite.
        let reasons: Vec<&str> = text.lines().skip(1).filter(|l| !l.is_empty()).collect();
        match status {
            StatusCode::OK if reasons.is_empty() => Ok("ready".to_owned()),
            StatusCode::OK => Ok(format!("ready, but: {}", reasons.join("; "))),
            other => Err(format!("{other}: {}", text.trim().replace('\n', "; "))),
        }
    }

    pub(super) async fn clock(&self) -> Checked {
        let before = SystemTime::now();
        let response = sent(self.known.get(self.at("/ready"))).await?;
        let date = response.headers().get("date").and_then(|d| d.to_str().ok()).ok_or("its answers have no Date")?;
        let date = jiff::fmt::rfc2822::parse(date).map_err(|e| format!("Date {date:?}: {e}"))?.timestamp();
        let here = jiff::Timestamp::try_from(before).map_err(|e| e.to_string())?;
        // The header has whole seconds.
        let apart = (date.as_second() - here.as_second()).unsigned_abs();
        if apart > SKEW.as_secs() {
            return Err(format!("its clock and the one here are {apart} s apart: times of telemetry will not fit together"));
        }
        Ok("goes with the one here".to_owned())
    }

    pub(super) async fn authentication(&mut self, shown: bool) -> Checked {
        let asked = json(self.stranger.get(self.at("/api/session"))).await;
        let certificate = asked.is_err() && self.base.scheme() == "https";
        let said = match asked {
            Err(_) if certificate => json(self.known.get(self.at("/api/session"))).await?,
            other => other?,
        };
        self.asks = said["authentication"].as_bool().unwrap_or_default();
        if certificate && !self.asks {
            return Ok("nobody gets in without a certificate".to_owned());
        }
        if !self.asks {
            return match self.is_local() {
                true => Ok("off; this is the machine's own address".to_owned()),
                false => {
                    Err("off, though other machines reach this address: anybody may read and write; docs/security.md".to_owned())
                }
            };
        }
        let response = sent(self.known.get(self.at("/api/system"))).await?;
        match response.status() {
            StatusCode::OK => Ok("on, and the credential is good".to_owned()),
            StatusCode::UNAUTHORIZED if !shown => Err("on: --token, --user or BRAID_TOKEN must show a credential".to_owned()),
            status => {
                Err(format!("on; the credential is answered {status}: {}", response.text().await.unwrap_or_default().trim()))
            }
        }
    }

    /// Whether it is looked at from its own machine.
    fn is_local(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Where its ports are. What listens on all interfaces is reached where Braid's own port is; what listens on its loopback only is
    /// not for those who are elsewhere.
    pub(super) async fn find_ports(&mut self) -> Checked {
        let said = json(self.known.get(self.at("/api/system"))).await?;
        self.window = said["settings"]["correlation.window"].as_str().and_then(|text| crate::config::duration(text).ok());
        let addresses = said["addresses"].as_object().ok_or("/api/system has no addresses")?;
        for (face, at) in addresses {
            let at: SocketAddr = at.as_str().and_then(|a| a.parse().ok()).ok_or_else(|| format!("{face}: {at} is no address"))?;
            if at.ip().is_loopback() && !self.is_local() {
                continue;
            }
            let mut url = self.base.clone();
            url.set_path("/");
            if face != "braid" {
                url.set_port(Some(at.port())).map_err(|()| format!("{face}: no port in {url}"))?;
                if !at.ip().is_unspecified() && !at.ip().is_loopback() {
                    url.set_ip_host(at.ip()).map_err(|()| format!("{face}: no host in {url}"))?;
                }
                url = self.secured(url).await;
            }
            self.ports.insert(face.clone(), url);
        }
        let hidden = addresses.len() - self.ports.len();
        let hidden = if hidden > 0 { format!(", {hidden} more on its loopback alone") } else { String::new() };
        Ok(format!("{} ports{hidden}", self.ports.len()))
    }

    /// A port may be secured otherwise than Braid's own.
    async fn secured(&self, url: Url) -> Url {
        let mut other = url.clone();
        let scheme = if url.scheme() == "https" { "http" } else { "https" };
        if self.known.get(url.clone()).send().await.is_ok() || other.set_scheme(scheme).is_err() {
            return url;
        }
        // One that speaks HTTP/2 only does not exist; where neither is answered, the first is what is reported.
        if self.known.get(other.clone()).send().await.is_ok() { other } else { url }
    }

    pub(super) async fn listens(&self, face: &str) -> Checked {
        let url = self.port(face)?;
        let path = QUERIED.iter().find(|(f, ..)| *f == face).map_or("/", |(_, live, _)| live);
        let response = sent(self.known.get(join(&url, path))).await?;
        let door = DOORS.iter().any(|(f, _)| *f == face);
        match response.status() {
            status if status.is_success() || door => Ok(format!("{} answers", url.origin().ascii_serialization())),
            status => Err(format!("{} answers {status}: {}", join(&url, path), response.text().await.unwrap_or_default().trim())),
        }
    }

    /// Whether a stranger is kept out, where strangers are.
    pub(super) async fn is_locked(&self, face: &str) -> Checked {
        let url = self.port(face)?;
        let door = DOORS.iter().find(|(f, _)| *f == face);
        let request = match (door, QUERIED.iter().find(|(f, ..)| *f == face)) {
            (Some((_, path)), _) => self.post(&self.stranger, &self.stranger_h2, join(&url, path), kind_of(face), Vec::new()),
            (None, Some((_, _, path))) => self.stranger.get(join(&url, path)),
            (None, None) => return Ok("nothing is known of it".to_owned()),
        };
        let response = match request.send().await {
            Ok(response) => response,
            // The handshake: it asks for a certificate that was not shown, or is not trusted.
            Err(e) if url.scheme() == "https" => {
                return Ok(format!("a stranger does not get through the handshake: {}", chain(&e)));
            }
            Err(e) => return Err(chain(&e)),
        };
        let grpc = response.headers().get("grpc-status").map(|v| v.as_bytes() == b"16");
        match (self.asks, grpc.unwrap_or(response.status() == StatusCode::UNAUTHORIZED)) {
            (true, true) => Ok("a stranger is refused".to_owned()),
            (true, false) => Err(format!("authentication is on, but a stranger is answered {}", response.status())),
            (false, false) => Ok("open, as authentication is off".to_owned()),
            (false, true) => Err("asks for a credential, though authentication is off".to_owned()),
        }
    }

    /// What Braid counts about itself.
    pub(super) async fn store(&self) -> Checked {
        let text = self.text("braid", "/metrics").await?;
        let value = |name: &str| sample(&text, name);
        for (name, why) in [
            ("braid_store_full", "the disk is full: requests are refused"),
            ("braid_store_quarantined_total", "damaged files were set aside; see quarantine/ and the log"),
            ("braid_log_failed_commits_total", "the disk refused requests"),
            ("braid_log_damaged_total", "the log was damaged"),
            ("braid_object_store_fenced", "another writer has the object store"),
        ] {
            if let Some(n) = value(name).filter(|n| *n > 0.0) {
                return Err(format!("{why} ({name} {n})"));
            }
        }
        let replaying = value("braid_store_replaying").is_some_and(|n| n > 0.0);
        let free = value("braid_data_free_bytes").unwrap_or(f64::INFINITY);
        if free < LITTLE {
            return Err(format!("{:.0} MB are free in its data directory; ingestion stops at storage.min_free", free / 1e6));
        }
        let free = format!(", {:.1} GB free", free / 1e9);
        Ok(format!("sound{free}{}", if replaying { "; the log is being replayed, answers are partial" } else { "" }))
    }

    /// How long a window lasts; `None` where correlation is off.
    pub(super) fn correlation_window(&self) -> Option<Duration> {
        self.window
    }

    pub(super) async fn traces(&self, least: u64) -> Checked {
        let since = jiff::Timestamp::now().as_second() - 900;
        let path = format!("/api/search?q=%7B%7D&limit={least}&start={since}&end={}", since + 960);
        let found = json(self.known.get(join(&self.port("tempo")?, &path))).await?;
        at_least(found["traces"].as_array().map_or(0, |t| t.len() as u64), least, "traces")
    }

    pub(super) async fn lines(&self, least: u64) -> Checked {
        let path = "/loki/api/v1/query?query=sum(count_over_time(%7Bservice_name%3D~%22.%2B%22%7D%5B15m%5D))";
        let found = json(self.known.get(join(&self.port("loki")?, path))).await?;
        let count = found["data"]["result"][0]["value"][1].as_str().and_then(|n| n.parse::<f64>().ok()).unwrap_or_default();
        at_least(count as u64, least, "log lines with service_name")
    }

    /// A figure that must be at least, or at most, `bound`.
    pub(super) async fn figure(&self, query: &str, bound: f64, least: bool) -> Checked {
        let mut url = join(&self.port("prometheus")?, "/api/v1/query");
        url.query_pairs_mut().append_pair("query", query);
        let found = json(self.known.get(url)).await?;
        let value = found["data"]["result"][0]["value"][1].as_str().and_then(|n| n.parse::<f64>().ok()).filter(|n| !n.is_nan());
        let Some(value) = value else { return Err(format!("nothing to compute it from: {query}")) };
        let (fine, word) = if least { (value >= bound, "least") } else { (value <= bound, "most") };
        if fine {
            Ok(format!("{value:.3}, at {word} {bound} expected"))
        } else {
            Err(format!("{value:.3}, but at {word} {bound} expected: {query}"))
        }
    }

    /// Sends telemetry.
    pub(super) async fn send(&self, face: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<(), String> {
        let url = join(&self.port(face)?, path);
        let response = sent(self.post(&self.known, &self.known_h2, url.clone(), content_type, body)).await?;
        let grpc = response.headers().get("grpc-status").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        match grpc {
            // Where all is well, the status follows the answer.
            Some(code) if code != "0" => {
                let why = response
                    .headers()
                    .get("grpc-message")
                    .map_or_else(String::new, |v| String::from_utf8_lossy(v.as_bytes()).into_owned());
                Err(format!("{url} answers gRPC status {code}: {why}"))
            }
            _ if response.status().is_success() => Ok(()),
            _ => Err(refused(&url, response).await),
        }
    }

    /// The text of an answer.
    pub(super) async fn text(&self, face: &str, path: &str) -> Checked {
        let url = join(&self.port(face)?, path);
        let response = sent(self.known.get(url.clone())).await?;
        if !response.status().is_success() {
            return Err(refused(&url, response).await);
        }
        response.text().await.map_err(|e| chain(&e))
    }

    fn post(&self, one: &Client, two: &Client, url: Url, content_type: &str, body: Vec<u8>) -> RequestBuilder {
        let grpc = content_type.starts_with("application/grpc");
        let request = if grpc { two } else { one }.request(Method::POST, url).header("content-type", content_type).body(body);
        if grpc { request.header("te", "trailers") } else { request }
    }

    fn port(&self, face: &str) -> Result<Url, String> {
        self.ports.get(face).cloned().ok_or_else(|| format!("it has no port {face}"))
    }

    fn at(&self, path: &str) -> Url {
        join(&self.base, path)
    }
}

fn kind_of(face: &str) -> &'static str {
    match face {
        "otlp_grpc" | "jaeger_grpc" => "application/grpc",
        "jaeger_http" => "application/x-thrift",
        _ => "application/json",
    }
}

fn join(base: &Url, path: &str) -> Url {
    base.join(path).unwrap_or_else(|_| base.clone())
}

/// The value of a sample without labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn at_least(found: u64, least: u64, what: &str) -> Checked {
    let said = format!("{found} {what} in the last quarter of an hour");
    if found >= least { Ok(said) } else { Err(format!("{said}, at least {least} expected")) }
}

async fn sent(request: RequestBuilder) -> Result<Response, String> {
    request.send().await.map_err(|e| chain(&e))
}

async fn json(request: RequestBuilder) -> Result<Value, String> {
    let response = sent(request).await?;
    let url = response.url().clone();
    if !response.status().is_success() {
        return Err(refused(&url, response).await);
    }
    let bytes = response.bytes().await.map_err(|e| chain(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{url} does not answer in JSON: {e}"))
}

async fn refused(url: &Url, response: Response) -> String {
    let status = response.status();
    let text: String = response.text().await.unwrap_or_default().trim().chars().take(300).collect();
    format!("{url} answers {status}: {text}")
}

/// An error with what caused it; the outermost alone says only that there is one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}
