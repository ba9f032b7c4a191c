//! One request through the proxy: headers, limits and timeouts on the way there, CORS on the way back.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body_util::Limited;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The upstream may be silent for this long, before its answer and between two pieces of it.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// nginx's default for a request's body.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// Headers that belong to one connection and are not passed on (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what belongs to the connection, including what its `Connection` header names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Tells the upstream whom it serves: `X-Real-IP`, `X-Forwarded-For` (appended), `X-Forwarded-Proto`. `Host` stays the client's.
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: IpAddr) {
    let mut chain: Vec<String> =
        headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    chain.push(client.to_string());
    if let Ok(value) = HeaderValue::try_from(chain.join(", ")) {
        headers.insert("x-forwarded-for", value);
    }
    if let Ok(value) = HeaderValue::try_from(client.to_string()) {
        headers.insert("x-real-ip", value);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
}

/// Whether the request says itself that its body is larger than [`BODY_LIMIT`].
pub(super) fn announces_too_much(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > BODY_LIMIT as u64)
}

/// The request's body, broken off where it exceeds [`BODY_LIMIT`] after all.
pub(super) fn limited(body: Body) -> Body {
    Body::new(Limited::new(body, BODY_LIMIT))
}

/// A body that fails when its sender is silent for too long.
pub(super) struct Impatient<B> {
    body: B,
    patience: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<B> Impatient<B> {
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, silence: Box::pin(tokio::time::sleep(patience)) }
    }
}

impl<B> HttpBody for Impatient<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(poller) {
            let until = Instant::now() + self.patience;
            self.silence.as_mut().reset(until);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match self.silence.as_mut().poll(poller) {
            Poll::Ready(()) => Poll::Ready(Some(Err("the upstream was silent for too long".into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn connection_headers_stay_behind() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close, X-Private"));
        headers.insert("x-private", HeaderValue::from_static("1"));
        headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        headers.insert("x-operation", HeaderValue::from_static("load-tasks"));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-operation"], "load-tasks");
    }

    #[test]
    fn the_client_is_appended_to_the_chain() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
        headers.insert("x-real-ip", HeaderValue::from_static("6.6.6.6"));
        add_forwarded(&mut headers, "192.0.2.7".parse().unwrap());
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        assert_eq!(headers["x-real-ip"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }

    #[tokio::test]
    async fn a_silent_upstream_breaks_the_body_off() {
        let silent = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let error = Impatient::new(silent, Duration::from_millis(10)).collect().await.unwrap_err();
        assert!(error.to_string().contains("silent"), "{error}");
    }
}
