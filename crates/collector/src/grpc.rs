//! gRPC as far as Braid speaks it: OTLP and Jaeger in, answers of queries out. A unary call is an HTTP/2 request whose body is one length-prefixed message, so it needs no more than
//! hyper; the message reaches the walkers as the bytes that it is (gRPC over HTTP/2: `PROTOCOL-HTTP2.md`). A stream of
//! answers is the same with more than one message; [`one_message`], [`answers`] and [`failure`] serve such methods elsewhere.

use std::time::Instant;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use wire::{Encoding, Signal};

use crate::ingest::{Envelope, Translation, tenant};
use crate::otlp_http::{partial_success, status};
use crate::reply::{self, WithTrailers};
use crate::{ContentEncoding, Doors, Ingest, Refusal, Via};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Compressed flag and length.
const PREFIX: usize = 5;

/// Whether the request speaks gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"))
}

/// A method that takes data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `Export` of a signal.
    Export(Signal),
    /// Jaeger's `PostSpans`.
    PostSpans,
}

impl Method {
    /// The method that a path names.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Self::Export(Signal::Traces),
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Self::Export(Signal::Logs),
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Self::Export(Signal::Metrics),
            "/jaeger.api_v2.CollectorService/PostSpans" => Self::PostSpans,
            _ => return None,
        })
    }

    /// Whether one of `doors` is for it.
    pub(crate) fn is_behind(self, doors: Doors) -> bool {
        match self {
            Self::Export(_) => doors.otlp_grpc,
            Self::PostSpans => doors.jaeger_grpc,
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Export(signal) => signal,
            Self::PostSpans => Signal::Traces,
        }
    }

    fn via(self) -> Via {
        match self {
            Self::Export(_) => Via::OtlpGrpc,
            Self::PostSpans => Via::JaegerGrpc,
        }
    }
}

/// The answer to a method that does not exist.
#[must_use]
pub fn unimplemented(path: &str) -> Response<Body> {
    trailers_only(12, &format!("unknown method {path}"), None)
}

pub(crate) async fn handle<B>(ingest: &Ingest, method: Method, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    if head.method != http::Method::POST {
        return reply::method_not_allowed("POST");
    }
    match call(ingest, method, &head.headers, body, begun).await {
        Ok(message) => answers([message]),
        Err(refusal) => {
            ingest.refuse((method.via(), method.signal(), begun), &head.headers, &refusal);
            trailers_only(refusal.grpc_code(), &refusal.to_string(), refusal.retry_after())
        }
    }
}

async fn call<B>(ingest: &Ingest, method: Method, headers: &HeaderMap, body: B, begun: Instant) -> Result<Vec<u8>, Refusal>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let tenant = tenant(headers)?;
    let declared = ContentEncoding::parse(headers.get(ENCODING).map_or(b"", |v| v.as_bytes()))?;
    let (body, held) = ingest.read(&tenant, body, PREFIX).await?;
    let (compressed, message) = unframe(body)?;
    let compression = match (compressed, declared) {
        (false, _) => ContentEncoding::Identity,
        (true, ContentEncoding::Identity) => {
            return Err(Refusal::Framing("a compressed message without grpc-encoding".into()));
        }
        (true, encoding) => encoding,
    };
    let encoding = match method.signal() {
        Signal::Traces => Encoding::OtlpTraces,
        Signal::Logs => Encoding::OtlpLogs,
        Signal::Metrics => Encoding::OtlpMetrics,
    };
    let translation = if method == Method::PostSpans { Translation::JaegerProto } else { Translation::None };
    let envelope = Envelope { via: method.via(), encoding, compression, begun, translation };
    let summary = ingest.take(envelope, tenant, message, held).await?;
    // `PostSpansResponse` has no fields.
    Ok(if method == Method::PostSpans { Vec::new() } else { partial_success(&summary) })
}

/// The one message of a call whose body is `body`; compressed ones are not read here.
///
/// # Errors
/// [`Refusal::Framing`], [`Refusal::ContentEncoding`].
pub fn one_message(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refusal> {
    match unframe(body)? {
        (false, message) => Ok(message),
        (true, _) => {
            let encoding = headers.get(ENCODING).map_or_else(String::new, |v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            Err(Refusal::ContentEncoding { found: encoding, expected: "messages must not be compressed here" })
        }
    }
}

/// The one message of a unary call, and whether it is compressed.
fn unframe(mut body: Bytes) -> Result<(bool, Bytes), Refusal> {
    let Some(&[flag, a, b, c, d]) = body.first_chunk::<PREFIX>() else {
        return Err(Refusal::Framing(format!("{} bytes where a message prefix of {PREFIX} was expected", body.len())));
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let found = body.len() - PREFIX;
    if flag > 1 {
        return Err(Refusal::Framing(format!("message flag {flag} where 0 or 1 was expected")));
    }
    if found != length {
        return Err(Refusal::Framing(format!("a message of {length} bytes was announced, {found} came")));
    }
    Ok((flag == 1, body.split_off(PREFIX)))
}

/// The answer of a call that went well: one message, or a stream of them.
#[must_use]
pub fn answers(messages: impl IntoIterator<Item = Vec<u8>>) -> Response<Body> {
    let mut data = BytesMut::new();
    for message in messages {
        frame(&message, &mut data);
    }
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Body::new(WithTrailers { data: Some(data.freeze()), trailers: Some(trailers) }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,deflate,identity"));
    response
}

/// Sends the messages of a [`stream`].
pub struct Messages {
    messages: tokio::sync::mpsc::Sender<Bytes>,
    end: tokio::sync::oneshot::Sender<HeaderMap>,
}

/// How many messages may wait for the client.
const WAITING: usize = 4;

/// The answer of a call that goes on: messages are sent with the handle.
#[must_use]
pub fn stream() -> (Response<Body>, Messages) {
    let (messages, receiver) = tokio::sync::mpsc::channel(WAITING);
    let (end, ended) = tokio::sync::oneshot::channel();
    let body = reply::Streamed { messages: receiver, end: ended, ended: false };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,deflate,identity"));
    (response, Messages { messages, end })
}

impl Messages {
    /// A way to offer messages from elsewhere; one that finds too many waiting is dropped.
    pub fn offer(&self) -> impl Fn(&[u8]) + Send + Sync + 'static {
        let messages = self.messages.clone();
        move |message| {
            let _ = messages.try_send(framed(message));
        }
    }

    /// Resolves when the client has left.
    pub async fn left(&self) {
        self.messages.closed().await;
    }

    /// Sends the last message and ends the stream well.
    pub async fn finish(self, message: &[u8]) {
        let _ = self.messages.send(framed(message)).await;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(STATUS, HeaderValue::from_static("0"));
        let _ = self.end.send(trailers);
    }

    /// Ends the stream with a `google.rpc.Code`.
    pub fn fail(self, code: u8, message: &str) {
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(STATUS, HeaderValue::from(u16::from(code)));
        if let Ok(text) = HeaderValue::from_str(&percent(message)) {
            trailers.insert(MESSAGE, text);
        }
        let _ = self.end.send(trailers);
    }
}

/// A message as it stands in a body.
fn framed(message: &[u8]) -> Bytes {
    let mut data = BytesMut::with_capacity(PREFIX + message.len());
    frame(message, &mut data);
    data.freeze()
}

fn frame(message: &[u8], data: &mut BytesMut) {
    data.reserve(PREFIX + message.len());
    data.put_u8(0);
    data.put_u32(message.len() as u32);
    data.put_slice(message);
}

/// The answer of a call that failed, with a `google.rpc.Code`.
#[must_use]
pub fn failure(code: u8, message: &str) -> Response<Body> {
    trailers_only(code, message, None)
}

fn trailers_only(code: u8, message: &str, retry: Option<std::time::Duration>) -> Response<Body> {
    let mut response = reply::empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip,zstd,deflate,identity"));
    headers.insert(STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(text) = HeaderValue::from_str(&percent(message)) {
        headers.insert(MESSAGE, text);
    }
    if retry.is_some()
        && let Ok(details) = HeaderValue::from_str(&base64(&status(code, message, retry)))
    {
        headers.insert(DETAILS, details);
    }
    response
}

/// `grpc-message`: printable ASCII but `%` as it is, the rest percent-encoded. Cut at 1,024 bytes: it travels in a header.
fn percent(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes().take(1024) {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// RFC 4648, section 4, without padding, as gRPC sends `-bin` headers.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(ALPHABET[(n >> (18 - 6 * i)) as usize & 63] as char);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whole_message_is_expected() {
        let (compressed, message) = unframe(Bytes::from_static(b"\x01\0\0\0\x02ab")).expect("whole");
        assert!(compressed);
        assert_eq!(message, "ab");
        for bad in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03ab", b"\0\0\0\0\x01ab", b"\x02\0\0\0\0", b"\0\xff\xff\xff\xffab"] {
            assert!(matches!(unframe(Bytes::from_static(bad)), Err(Refusal::Framing(_))), "{bad:?}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn messages_survive_as_headers() {
        assert_eq!(percent("50% über\n"), "50%25 %C3%BCber%0A");
    }
}
