//! Answers.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Frame;

use crate::Refusal;

/// A status and nothing else.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A status with a body.
pub(crate) fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A line of text, as Prometheus and Loki answer errors of ingestion.
pub(crate) fn text(status: StatusCode, line: &str) -> Response<Body> {
    with(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A refusal as a line of text.
pub(crate) fn refusal(refusal: &Refusal) -> Response<Body> {
    let mut response = text(refusal.http_status(), &refusal.to_string());
    retry_after(refusal, response.headers_mut());
    response
}

/// Sets `Retry-After` where trying again can help.
pub(crate) fn retry_after(refusal: &Refusal, headers: &mut HeaderMap) {
    if let Some(after) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
}

/// A method that the path does not have.
pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(http::header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// One piece of data, then trailers: what a gRPC answer is made of.
pub(crate) struct WithTrailers {
    pub(crate) data: Option<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl hyper::body::Body for WithTrailers {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.take() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }
}

/// Messages as they come, then trailers: a gRPC stream of answers.
pub(crate) struct Streamed {
    pub(crate) messages: tokio::sync::mpsc::Receiver<Bytes>,
    /// What ends the stream, once the last message has come.
    pub(crate) end: tokio::sync::oneshot::Receiver<HeaderMap>,
    pub(crate) ended: bool,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(message) = std::task::ready!(self.messages.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        let trailers = std::task::ready!(Pin::new(&mut self.end).poll(cx));
        self.ended = true;
        // Whoever should have said how it ended is gone: the client takes a stream without status for broken.
        Poll::Ready(trailers.ok().map(Frame::trailers).map(Ok))
    }
}
