//! What answers a request: a receiver, Braid's own page, or an API.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};
use collector::{Doors, Receivers};
use tower::ServiceExt;

use crate::arriving::Arriving;
use crate::config::Face;
use crate::gate::{Gate, Peer};
use crate::process::Process;
use crate::snapshots::{self, Snapshots};

/// The text format's content type.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes a part's metrics.
pub(crate) type MetricsWriter = Box<dyn Fn(&mut String) + Send + Sync>;

/// Makes everything durable in its final form; blocks.
pub(crate) type Settle = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Whether requests are taken, and what does not work as it should.
pub(crate) type Health = Box<dyn Fn() -> (bool, Vec<String>) + Send + Sync>;

/// Reads the configuration anew; blocks.
pub(crate) type Reload = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The query APIs, by the ports that they answer on.
pub(crate) struct Apis {
    /// All of them.
    pub(crate) braid: Router,
    /// Prometheus'.
    pub(crate) prometheus: Router,
    /// Loki's.
    pub(crate) loki: Router,
    /// Tempo's.
    pub(crate) tempo: Router,
    /// Correlation's.
    pub(crate) correlation: Router,
}

/// Everything that is behind the ports.
pub(crate) struct App {
    receivers: Receivers,
    apis: Apis,
    metrics: Vec<MetricsWriter>,
    settle: Settle,
    reload: Reload,
    snapshots: Option<Arc<Snapshots>>,
    gate: Gate,
    process: Process,
    addresses: OnceLock<Vec<(Face, SocketAddr)>>,
    settings: OnceLock<Vec<(&'static str, String)>>,
    /// Not ready yet: what the first queries would wait for is being done.
    starting: AtomicBool,
    stopping: AtomicBool,
    health: Health,
}

impl App {
    /// An app; `metrics` are written at `/metrics` after the receivers' and the process'.
    pub(crate) fn new(
        receivers: Receivers,
        apis: Apis,
        metrics: Vec<MetricsWriter>,
        (settle, reload): (Settle, Reload),
        process: Process,
    ) -> Self {
        Self {
            receivers,
            apis,
            metrics,
            settle,
            reload,
            snapshots: None,
            gate: Gate::default(),
            process,
            addresses: OnceLock::new(),
            settings: OnceLock::new(),
            starting: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            health: Box::new(|| (true, Vec::new())),
        }
    }

    /// Gives out moments of the store for backups.
    pub(crate) fn with_snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(Arc::new(snapshots));
        self
    }

    /// With what `/ready` and `/health` say.
    pub(crate) fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Lets through what `gate` does.
    pub(crate) fn with_gate(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// What it listens at, once known.
    pub(crate) fn listening(&self, addresses: Vec<(Face, SocketAddr)>) {
        let _ = self.addresses.set(addresses);
    }

    /// The settings in force, for people to read.
    pub(crate) fn configured(&self, settings: Vec<(&'static str, String)>) {
        let _ = self.settings.set(settings);
    }

    /// Whether it says that it is not ready yet. It answers all the same.
    pub(crate) fn starting(&self, starting: bool) {
        self.starting.store(starting, Ordering::Relaxed);
    }

    /// From now on it is not ready.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// A request's handler panicked.
    pub(crate) fn panicked(&self) {
        self.receivers.ingest().counters().panicked();
    }

    /// Answers a request that came to `face` from `peer`.
    pub(crate) async fn answer(&self, face: Face, peer: Peer, request: Request<Arriving>) -> Response<Body> {
        let request = match self.gate.admit(face, peer, request).await {
            Ok(request) => request,
            Err(refused) => return *refused,
        };
        let request = match self.gate.session(face, peer, request).await {
            Ok(response) => return response,
            Err(request) => request,
        };
        let request = match self.receivers.handle(doors(face), request).await {
            Ok(response) => return response,
            Err(request) => request,
        };
        if let Some(response) = self.own(face, &request) {
            return response;
        }
        if face == Face::Braid && request.method() == Method::POST && request.uri().path() == "/api/admin/settle" {
            return self.settle().await;
        }
        if let (Face::Braid, true, Some(snapshots)) = (face, request.uri().path().starts_with(snapshots::PATH), &self.snapshots) {
            return snapshot(Arc::clone(snapshots), &request).await;
        }
        let reloads = matches!(face, Face::Braid | Face::Prometheus) && request.uri().path() == "/-/reload";
        if reloads && matches!(*request.method(), Method::POST | Method::PUT) {
            return self.reload().await;
        }
        let router = match face {
            Face::Braid => &self.apis.braid,
            Face::Prometheus => &self.apis.prometheus,
            Face::Loki => &self.apis.loki,
            Face::Tempo => &self.apis.tempo,
            Face::Correlation => &self.apis.correlation,
            Face::OtlpGrpc | Face::OtlpHttp | Face::Zipkin | Face::JaegerHttp | Face::JaegerGrpc => {
                return text(StatusCode::NOT_FOUND, "404 page not found\n");
            }
        };
        match router.clone().oneshot(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// The pages that are about the process: Braid's on Braid's port, the originals' on theirs.
    fn own(&self, face: Face, request: &Request<Arriving>) -> Option<Response<Body>> {
        if face.is_receiver() || !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let (starting, stopping) = (self.starting.load(Ordering::Relaxed), self.stopping.load(Ordering::Relaxed));
        let ready = !starting && !stopping;
        let state = |ok: &'static str| match (stopping, starting) {
            (true, _) => text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
            (false, true) => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            (false, false) => text(StatusCode::OK, ok),
        };
        let status = |well: &'static str| match (stopping, starting) {
            (true, _) => "stopping",
            (false, true) => "starting",
            (false, false) => well,
        };
        Some(match (request.uri().path(), face) {
            ("/metrics", _) => with_type(text(StatusCode::OK, self.metrics()), TEXT_FORMAT),
            ("/ready", Face::Braid) if ready => {
                let (takes, reasons) = (self.health)();
                let status = if takes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let mut said = if takes { "ready\n" } else { "not ready\n" }.to_owned();
                reasons.iter().for_each(|reason| said.extend([reason.as_str(), "\n"]));
                text(status, said)
            }
            // Queries are answered whatever the disk is like: a balancer must not take them away.
            ("/ready", Face::Braid | Face::Loki | Face::Tempo | Face::Correlation) => state("ready\n"),
            ("/-/ready", Face::Prometheus) => state("Prometheus Server is Ready.\n"),
            ("/-/healthy", Face::Prometheus) => text(StatusCode::OK, "Prometheus Server is Healthy.\n"),
            ("/health", Face::Correlation) => {
                let body = serde_json::json!({
                    "status": status("healthy"),
                    "version": env!("CARGO_PKG_VERSION"),
                    "uptime_seconds": self.process.uptime(),
                });
                with_type(text(StatusCode::OK, body.to_string()), "application/json")
            }
            ("/health", Face::Braid) => {
                let body = serde_json::json!({
                    "status": status("ok"),
                    "reasons": (self.health)().1,
                    "version": env!("CARGO_PKG_VERSION"),
                    "uptime_seconds": self.process.uptime(),
                });
                with_type(text(StatusCode::OK, body.to_string()), "application/json")
            }
            ("/api/system", Face::Braid) => with_type(text(StatusCode::OK, self.system().to_string()), "application/json"),
            (path, Face::Braid) => page::answer(path, request.headers())?.map(Body::from),
            _ => return None,
        })
    }

    /// What the page tells of this Braid: where it listens, and what it was told to do.
    fn system(&self) -> serde_json::Value {
        let addresses = self.addresses.get().map_or(&[][..], Vec::as_slice);
        let addresses: serde_json::Map<_, _> =
            addresses.iter().map(|(face, at)| (face.as_str().to_owned(), at.to_string().into())).collect();
        let settings: serde_json::Map<_, _> =
            self.settings.get().into_iter().flatten().map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.process.uptime(),
            "addresses": addresses,
            "settings": settings,
        })
    }

    /// Writes the heads as segments and merges what can be merged: for benchmarks, and before a copy of the directory.
    async fn settle(&self) -> Response<Body> {
        let settle = Arc::clone(&self.settle);
        match tokio::task::spawn_blocking(move || settle()).await {
            Ok(Ok(())) => text(StatusCode::NO_CONTENT, Body::empty()),
            Ok(Err(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        }
    }

    async fn reload(&self) -> Response<Body> {
        let reload = Arc::clone(&self.reload);
        match tokio::task::spawn_blocking(move || reload()).await {
            Ok(Ok(())) => text(StatusCode::OK, Body::empty()),
            Ok(Err(why)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {why}\n")),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        }
    }

    fn metrics(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        out.push_str("# HELP braid_build_info Which Braid this is.\n# TYPE braid_build_info gauge\n");
        out.push_str(concat!("braid_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"));
        self.process.write_text(&mut out);
        let ingest = self.receivers.ingest();
        ingest.counters().write_text(&mut out);
        ingest.write_text(&mut out);
        for write in &self.metrics {
            write(&mut out);
        }
        out
    }
}

/// Reads files, so not on the runtime's own threads.
async fn snapshot(snapshots: Arc<Snapshots>, request: &Request<Arriving>) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = move || snapshots.answer(&method, uri.path(), uri.query().unwrap_or_default());
    match tokio::task::spawn_blocking(answer).await {
        Ok(answer) => answer,
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
    }
}

/// Which receivers a face has.
pub(crate) fn doors(face: Face) -> Doors {
    match face {
        Face::Braid => Doors::ALL,
        Face::OtlpGrpc => Doors { otlp_grpc: true, ..Doors::default() },
        Face::OtlpHttp => Doors { otlp_http: true, ..Doors::default() },
        Face::Prometheus => Doors { prometheus: true, ..Doors::default() },
        Face::Loki => Doors { loki: true, ..Doors::default() },
        Face::Tempo => Doors::default(),
        Face::Zipkin => Doors { zipkin: true, ..Doors::default() },
        Face::JaegerHttp => Doors { jaeger_http: true, ..Doors::default() },
        Face::JaegerGrpc => Doors { jaeger_grpc: true, ..Doors::default() },
        Face::Correlation => Doors { correlation: true, ..Doors::default() },
    }
}

pub(crate) fn text(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn with_type(mut response: Response<Body>, content_type: &'static str) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
impl App {
    /// An app over `writer`, without APIs.
    pub(crate) fn bare(writer: Arc<dyn store::Writer>) -> Arc<Self> {
        use collector::{Budget, Counters, Ingest, Limits, Origins};
        let ingest = Ingest::new(writer, Limits::default(), Budget::new(1 << 20), Arc::new(Counters::default()));
        let none = Router::new;
        let apis = Apis { braid: none(), prometheus: none(), loki: none(), tempo: none(), correlation: none() };
        let receivers = Receivers::new(Arc::new(ingest), Origins::default());
        Arc::new(Self::new(receivers, apis, Vec::new(), (Arc::new(|| Ok(())), Arc::new(|| Ok(()))), Process::new()))
    }
}
