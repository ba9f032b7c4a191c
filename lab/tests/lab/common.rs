//! What the process tests share: an OTLP sink, parts as real processes, and a plain HTTP client.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for a busy machine; only a broken program waits for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that a collector received.
#[derive(Default)]
pub(crate) struct Received {
    /// With the resource's attributes.
    pub(crate) spans: Vec<(Vec<KeyValue>, Span)>,
    pub(crate) records: Vec<(Vec<KeyValue>, LogRecord)>,
    pub(crate) metrics: Vec<String>,
}

/// A collector that keeps what it gets.
#[derive(Clone)]
pub(crate) struct Sink {
    received: Arc<Mutex<Received>>,
    pub(crate) endpoint: String,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received: Arc<Mutex<Received>> = Arc::default();
        let routes = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/logs", post(logs))
            .route("/v1/metrics", post(metrics))
            .with_state(received.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { received, endpoint }
    }

    /// Waits until `find` finds something in what was received.
    pub(crate) async fn wait_for<T>(&self, what: &str, find: impl Fn(&Received) -> Option<T>) -> T {
        eventually(what, async || find(&self.received.lock().unwrap())).await
    }

    /// The span of this trace with this name and kind, once it has come.
    pub(crate) async fn span(&self, trace_id: &str, service: &str, name: &str) -> Span {
        let find = |received: &Received| {
            let mut of_trace = received.spans.iter().filter(|(_, span)| hex(&span.trace_id) == trace_id);
            let found = of_trace.find(|(resource, span)| text(resource, "service.name") == service && span.name == name);
            found.map(|(_, span)| span.clone())
        };
        self.wait_for(&format!("span {name} of {service}"), find).await
    }

    pub(crate) fn look<T>(&self, look: impl Fn(&Received) -> T) -> T {
        look(&self.received.lock().unwrap())
    }
}

async fn traces(State(received): State<Arc<Mutex<Received>>>, body: Bytes) {
    for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        received.lock().unwrap().spans.extend(spans.map(|span| (attributes.clone(), span)));
    }
}

async fn logs(State(received): State<Arc<Mutex<Received>>>, body: Bytes) {
    for resource in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let records = resource.scope_logs.into_iter().flat_map(|scope| scope.log_records);
        received.lock().unwrap().records.extend(records.map(|record| (attributes.clone(), record)));
    }
}

async fn metrics(State(received): State<Arc<Mutex<Received>>>, body: Bytes) {
    for resource in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
        let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        received.lock().unwrap().metrics.extend(metrics.map(|metric| metric.name));
    }
}

/// A part of the lab as a process. Dropping it kills it.
pub(crate) struct Part {
    pub(crate) child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Part {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_braid-lab"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .env_remove("OTEL_SERVICE_NAME")
            .env("OTEL_RESOURCE_ATTRIBUTES", "team=lab,deployment.environment=test")
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (stdout, kept) = (child.stdout.take().unwrap(), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                kept.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    /// The log lines so far; every one of them must be JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The first line with this message, once it is there.
    pub(crate) async fn line(&self, message: &str) -> Value {
        let find = async || self.lines().into_iter().find(|line| line["message"] == message);
        eventually(&format!("log line {message:?}"), find).await
    }

    /// `http://host:port` that the part says it listens on.
    pub(crate) async fn url(&self) -> String {
        format!("http://{}", self.line("Listening").await["address"].as_str().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        eventually("the end of the process", async || child.borrow_mut().try_wait().unwrap()).await
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Backend and proxy on free ports.
pub(crate) struct Lab {
    pub(crate) backend: Part,
    _proxy: Part,
    pub(crate) backend_url: String,
    pub(crate) proxy_url: String,
    _directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn start(otlp: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("tasks.db").display().to_string();
        let backend = Part::start(&["--otlp", otlp, "backend", "--port", "0", "--database", &database]);
        let backend_url = backend.url().await;
        let upstream = backend_url.trim_start_matches("http://").to_owned();
        let proxy = Part::start(&["--otlp", otlp, "proxy", "--port", "0", "--backend", &upstream]);
        let proxy_url = proxy.url().await;
        Self { backend, _proxy: proxy, backend_url, proxy_url, _directory: directory }
    }
}

/// beorn, palantir and arda, which know each other, on free ports.
pub(crate) struct Sense {
    pub(crate) parts: [Part; 3],
    pub(crate) urls: [String; 3],
}

pub(crate) const SENSE: [&str; 3] = ["beorn", "palantir", "arda"];

impl Sense {
    pub(crate) async fn start(otlp: &str) -> Self {
        // Each must know the others' ports before they listen.
        let reserved = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = reserved.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(reserved);
        let neighbours = |this: usize| {
            let others = (0..3).filter(|other| *other != this);
            others.map(|other| format!("{}=http://127.0.0.1:{}", SENSE[other], ports[other])).collect::<Vec<_>>().join(",")
        };
        let parts = [0, 1, 2].map(|at| {
            Part::start(&["--otlp", otlp, SENSE[at], "--port", &ports[at].to_string(), "--neighbours", &neighbours(at)])
        });
        for part in &parts {
            part.url().await;
        }
        Self { parts, urls: ports.map(|port| format!("http://127.0.0.1:{port}")) }
    }
}

/// The four services of the shop, on free ports; each stands for itself.
pub(crate) struct Shop {
    _parts: Vec<Part>,
    pub(crate) urls: Vec<String>,
}

pub(crate) const SHOP: [&str; 4] = ["transactions", "auth", "payment", "inventory"];

impl Shop {
    pub(crate) async fn start(otlp: &str) -> Self {
        let parts: Vec<Part> = SHOP.iter().map(|name| Part::start(&["--otlp", otlp, name, "--port", "0"])).collect();
        let mut urls = Vec::new();
        for part in &parts {
            urls.push(part.url().await);
        }
        Self { _parts: parts, urls }
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }
}

/// One request, with headers and a body. Nothing if there was no answer.
pub(crate) async fn try_ask(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.ok()?;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    Some(Answer { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() })
}

pub(crate) async fn ask(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    try_ask(method, url, headers, body).await.expect(url)
}

pub(crate) async fn get(url: &str) -> Answer {
    ask(Method::GET, url, &[], "").await
}

pub(crate) async fn post_json(url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
    ask(Method::POST, url, &headers, body).await
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A string attribute; empty if there is none.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The body of a log record that is text; empty if it is not.
pub(crate) fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        _ => "",
    }
}
