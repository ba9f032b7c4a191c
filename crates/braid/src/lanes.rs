//! Two runtimes: one for what brings data, one for everything else.
//!
//! A query takes several steps (a connection is accepted, its request read, a thread woken, the answer written), and on a runtime
//! that also reads and checks what hundreds of senders send each step would wait behind all of them. So connections that bring data
//! are served by threads of their own, below the priority of the others. A connection is told by its port, or by the path of
//! its first request: senders and readers seldom share connections. Where they do, and where the first bytes tell nothing (TLS,
//! HTTP/2), a request that brings data is answered on the threads of the receivers, while its connection stays where it is.

use std::time::Duration;

use axum::http::{Method, Request};
use store::Priority;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::app::doors;
use crate::config::Face;

/// How long a connection may stay silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It brings data.
    Intake,
    /// It asks, or nobody knows.
    Mixed,
}

/// The runtime of what brings data.
///
/// # Errors
/// No threads.
pub(crate) fn intake() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_name("braid-intake").on_thread_start(|| Priority::Intake.apply()).build()
}

/// What a connection to `face` is for. Waits for its first bytes where that decides; what is `secure` keeps them to itself.
pub(crate) async fn purpose(stream: &TcpStream, face: Face, secure: bool) -> Purpose {
    if face.is_receiver() {
        return Purpose::Intake;
    }
    if secure {
        return Purpose::Mixed;
    }
    let mut first = [0; 128];
    match tokio::time::timeout(PATIENCE, stream.peek(&mut first)).await {
        Ok(Ok(read)) => of_request(face, first.get(..read).unwrap_or_default()),
        // Whoever serves it finds out why.
        _ => Purpose::Mixed,
    }
}

/// What a connection is for that begins with these bytes of HTTP/1.1.
fn of_request(face: Face, first: &[u8]) -> Purpose {
    let path = first.strip_prefix(b"POST ").and_then(|rest| rest.split(|b| matches!(b, b' ' | b'?')).next());
    match path.and_then(|path| std::str::from_utf8(path).ok()) {
        Some(path) if doors(face).take(path) => Purpose::Intake,
        _ => Purpose::Mixed,
    }
}

/// Whether a request to `face` brings data.
pub(crate) fn brings<B>(face: Face, request: &Request<B>) -> bool {
    request.method() == Method::POST && doors(face).take(request.uri().path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_senders_from_readers() {
        let of = |face, first: &str| of_request(face, first.as_bytes());
        assert_eq!(of(Face::Prometheus, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\n"), Purpose::Intake);
        assert_eq!(of(Face::Loki, "POST /loki/api/v1/push?x=1 HTTP/1.1\r\n"), Purpose::Intake);
        assert_eq!(of(Face::Braid, "POST /v1/traces HTTP/1.1\r\n"), Purpose::Intake);
        // Queries are posted too, and a path of another port is nobody's here.
        assert_eq!(of(Face::Prometheus, "POST /api/v1/query HTTP/1.1\r\n"), Purpose::Mixed);
        assert_eq!(of(Face::Tempo, "POST /v1/traces HTTP/1.1\r\n"), Purpose::Mixed);
        assert_eq!(of(Face::Correlation, "GET /api/logs HTTP/1.1\r\n"), Purpose::Mixed);
        for odd in ["", "POST ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /v1/tra"] {
            assert_eq!(of(Face::Braid, odd), Purpose::Mixed, "{odd:?}");
        }
    }
}
