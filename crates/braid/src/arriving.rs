//! The body of a request on its way in.
//!
//! An answer may come before a body was read: a refused credential, an unknown path, a body that is too large. On HTTP/2 a body
//! that is dropped then resets its stream, and clients (curl 7.88) tell of a broken stream in place of the answer. So what is
//! left is read and thrown away behind the answer, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Version};
use bytes::Bytes;
use collector::grpc;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// Bytes that are thrown away at most.
const MOST: usize = 16 << 20;
/// And how long they may take.
const LONGEST: Duration = Duration::from_secs(5);

/// A body that is read to its end also when nobody wants it.
#[derive(Debug)]
pub(crate) struct Arriving {
    body: Option<Incoming>,
    /// Whether dropping it early would be taken for a failure. gRPC clients expect that, and their streams may never end; HTTP/1.1
    /// has no streams to reset.
    lingers: bool,
}

impl Arriving {
    /// The request, with its body watched.
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let lingers = request.version() == Version::HTTP_2 && !grpc::is_grpc(request.headers());
        request.map(|body| Self { body: Some(body), lingers })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| self.lingers && !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (left, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LONGEST, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        if read > left {
            return;
        }
        left -= read;
    }
}
