//! A port: connections of HTTP/1.1 and HTTP/2 (also without TLS, as gRPC clients open them) in, requests to the [`App`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use futures::FutureExt;
use guard::Tls;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::{App, text};
use crate::arriving::Arriving;
use crate::config::Face;
use crate::gate::Peer;
use crate::lanes::{self, Purpose};

/// Connections that a port serves at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;

/// Bytes of a gRPC message that may be under way before the receiver has looked at the first.
const STREAM_WINDOW: u32 = 1024 * 1024;

/// Bytes of all messages of one connection that may be under way.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// How long a client may take to make its connection secure.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A port: what listens, what it speaks, and how it is secured.
pub(crate) struct Port {
    /// What listens.
    pub(crate) listener: TcpListener,
    /// What it speaks.
    pub(crate) face: Face,
    /// Its transport security.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// What all connections of a port share.
struct Served {
    face: Face,
    tls: Option<Arc<Tls>>,
    app: Arc<App>,
    builder: auto::Builder<TokioExecutor>,
    stop: CancellationToken,
    /// Where what brings data is served.
    intake: Handle,
}

/// Serves a port until `stop`; each connection is a task of `tasks`, on this runtime or, where it brings data, on `intake`'s.
pub(crate) async fn serve(port: Port, app: Arc<App>, stop: CancellationToken, tasks: TaskTracker, intake: Handle) {
    let Port { listener, face, tls } = port;
    let served = Arc::new(Served { face, tls, app, builder: builder(), stop, intake });
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned();
        let accepted = tokio::select! {
            () = served.stop.cancelled() => return,
            accepted = async { (slot.await, listener.accept().await) } => accepted,
        };
        let (Ok(slot), result) = accepted else { return };
        match result {
            Ok((stream, address)) => {
                tasks.spawn(Arc::clone(&served).on_its_lane(stream, address, slot, tasks.clone()));
            }
            Err(e) => {
                // Out of files or memory, most likely: what is open goes on, and closing some of it will help.
                tracing::warn!(port = face.as_str(), "accepting a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How connections are served.
pub(crate) fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(256)
        .max_frame_size(64 * 1024)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

impl Served {
    /// Serves a connection in its slot, on the runtime of its purpose.
    async fn on_its_lane(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        slot: OwnedSemaphorePermit,
        tasks: TaskTracker,
    ) {
        let purpose = tokio::select! {
            purpose = lanes::purpose(&stream, self.face, self.tls.is_some()) => purpose,
            () = self.stop.cancelled() => return,
        };
        let _ = stream.set_nodelay(true);
        match purpose {
            Purpose::Mixed => self.secured(stream, address, purpose, slot).await,
            Purpose::Intake => {
                // Its readiness is watched where it is served.
                let Ok(stream) = stream.into_std() else { return };
                let intake = self.intake.clone();
                let serve = async move {
                    let Ok(stream) = TcpStream::from_std(stream) else { return };
                    self.secured(stream, address, purpose, slot).await;
                };
                tasks.spawn_on(serve, &intake);
            }
        }
    }

    /// Makes a connection secure where the port is, and serves it, in its slot.
    async fn secured(&self, stream: TcpStream, address: SocketAddr, purpose: Purpose, _slot: OwnedSemaphorePermit) {
        let Some(tls) = &self.tls else {
            return self.connection(stream, Peer { address, secure: false, certified: false }, purpose).await;
        };
        let shaken = tokio::select! {
            shaken = tokio::time::timeout(HANDSHAKE, tls.acceptor().accept(stream)) => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let certified = stream.get_ref().1.peer_certificates().is_some();
                self.connection(stream, Peer { address, secure: true, certified }, purpose).await;
            }
            Ok(Err(e)) => {
                tls.failed();
                tracing::debug!(port = self.face.as_str(), %address, "TLS: {e}");
            }
            Err(_) => {
                tls.failed();
                tracing::debug!(port = self.face.as_str(), %address, "TLS: took too long");
            }
        }
    }

    async fn connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, purpose: Purpose) {
        let face = self.face;
        let lane = (purpose == Purpose::Mixed).then(|| self.intake.clone());
        let app = Arc::clone(&self.app);
        let service = service_fn(move |request: Request<Incoming>| {
            let lane = lane.clone().filter(|_| lanes::brings(face, &request));
            let app = Arc::clone(&app);
            async move {
                let answer = answer(app, face, peer, request);
                Ok::<_, Infallible>(match lane {
                    // Whoever drops this future, because its connection is gone, ends the task.
                    Some(lane) => AbortOnDropHandle::new(lane.spawn(answer)).await.unwrap_or_else(|_| stopping()),
                    None => answer.await,
                })
            }
        });
        let connection = self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(e) = result {
            tracing::debug!(port = face.as_str(), "connection: {e}");
        }
    }
}

/// The answer where the runtime of the receivers is gone already.
fn stopping() -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Braid is stopping\n");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A bug in a handler costs one request, not the process.
async fn answer(app: Arc<App>, face: Face, peer: Peer, request: Request<Incoming>) -> Response<Body> {
    match AssertUnwindSafe(app.answer(face, peer, Arriving::of(request))).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            app.panicked();
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error; Braid's log has the details\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use store::{Appended, Request as Kept, Writer};
    use tokio::sync::broadcast;

    use super::*;

    /// A store with a bug.
    struct Broken;

    impl Writer for Broken {
        fn append(&self, _: Kept) -> Appended<'_> {
            panic!("a bug")
        }

        fn delete(&self, _: store::Deletion) -> Result<Arc<store::Tombstone>, store::StoreError> {
            Err(store::StoreError::Closed)
        }

        fn subscribe(&self) -> broadcast::Receiver<Kept> {
            broadcast::channel(1).1
        }
    }

    fn ask(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).expect("listening");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    /// The threads that it was called on.
    #[derive(Default)]
    struct Threads(std::sync::Mutex<Vec<String>>);

    impl Writer for Threads {
        fn append(&self, _: Kept) -> Appended<'_> {
            self.0.lock().expect("no panic").push(std::thread::current().name().unwrap_or_default().to_owned());
            Box::pin(async { Err(store::StoreError::Closed) })
        }

        fn delete(&self, _: store::Deletion) -> Result<Arc<store::Tombstone>, store::StoreError> {
            Err(store::StoreError::Closed)
        }

        fn subscribe(&self) -> broadcast::Receiver<Kept> {
            broadcast::channel(1).1
        }
    }

    const PUSHED: &str = r#"{"streams":[{"stream":{"a":"b"},"values":[["1700000000000000000","line"]]}]}"#;

    fn push(connection: &str) -> String {
        let of = "Host: x\r\nContent-Type: application/json\r\n";
        format!(
            "POST /loki/api/v1/push HTTP/1.1\r\n{of}Connection: {connection}\r\nContent-Length: {}\r\n\r\n{PUSHED}",
            PUSHED.len()
        )
    }

    /// Asks a server, whose receivers have `intake`, from a thread of its own.
    async fn with_server(app: Arc<App>, intake: Handle, asks: impl FnOnce(SocketAddr) + Send + 'static) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let port = Port { listener, face: Face::Braid, tls: None };
        tasks.spawn(serve(port, app, stop.clone(), tasks.clone(), intake));
        tokio::task::spawn_blocking(move || asks(address)).await.expect("as it should");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_costs_one_request_and_is_counted() {
        let asks = |address| {
            let answer = ask(address, &push("close"));
            assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
            let metrics = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert!(metrics.contains("braid_handler_panics_total 1\n"), "{metrics}");
        };
        with_server(App::bare(Arc::new(Broken)), Handle::current(), asks).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn while_it_starts_it_answers_and_says_that_it_is_not_ready() {
        let app = App::bare(Arc::new(Broken));
        app.starting(true);
        let started = Arc::clone(&app);
        let asks = move |address| {
            let get = |path: &str| ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            let early = get("/ready");
            assert!(early.starts_with("HTTP/1.1 503 ") && early.ends_with("\r\n\r\nstarting\n"), "{early}");
            let health = get("/health");
            assert!(health.starts_with("HTTP/1.1 200 ") && health.contains("\"status\":\"starting\""), "{health}");
            started.starting(false);
            assert!(get("/ready").starts_with("HTTP/1.1 200 "));
            assert!(get("/health").contains("\"status\":\"ok\""));
            started.stopping();
            assert!(get("/ready").ends_with("\r\n\r\nshutting down\n"));
        };
        with_server(app, Handle::current(), asks).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_brings_data_is_answered_by_the_receivers_threads_also_behind_a_question() {
        let intake = lanes::intake().expect("threads");
        let threads = Arc::new(Threads::default());
        let asks = |address| {
            let first = ask(address, &push("close"));
            let behind = ask(address, &format!("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n{}", push("close")));
            for answer in [&first, &behind] {
                assert!(answer.contains("HTTP/1.1 503 "), "{answer}");
            }
        };
        with_server(App::bare(Arc::clone(&threads) as Arc<dyn Writer>), intake.handle().clone(), asks).await;
        assert_eq!(*threads.0.lock().expect("no panic"), ["braid-intake", "braid-intake"]);
        intake.shutdown_background();
    }
}
