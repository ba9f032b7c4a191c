//! A gRPC client for one unary call.

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) details: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// A message with its prefix.
pub(crate) fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::from(compressed)];
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// Calls `path` at `address` with `body` as it is.
pub(crate) fn call(address: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("listening");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut request =
            Request::post(format!("http://{address}{path}")).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body))).expect("valid")).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer");
        let trailers = body.trailers().cloned().unwrap_or_default();
        let find = |name: &str| {
            let of = |map: &HeaderMap| map.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            of(&trailers).or_else(|| of(&head.headers))
        };
        Ended {
            code: find("grpc-status").and_then(|c| c.parse().ok()).expect("a status"),
            message: find("grpc-message").unwrap_or_default(),
            details: find("grpc-status-details-bin"),
            body: body.to_bytes().to_vec(),
        }
    })
}
