//! Reading a request's body into one buffer, within limits.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::{Held, Refusal};

/// No sender that means well takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is allocated on the word of `Content-Length`. The budget counts only what has arrived: a sender that announces much
/// and sends nothing keeps nobody out.
const TRUST: usize = 64 * 1024;

/// How much of a body that is refused is still read (and dropped), so that the sender reads the answer instead of a reset
/// connection, and how long that may take.
const DRAIN: (usize, Duration) = (64 * 1024 * 1024, Duration::from_secs(3));

/// The whole body: a single frame as it is, several in one buffer.
///
/// # Errors
/// [`Refusal::TooLarge`] past `limit` bytes, [`Refusal::InFlight`] past the budget, [`Refusal::Slow`], [`Refusal::Disconnected`].
pub(crate) async fn read<B>(body: B, limit: usize, held: &mut Held) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = pin!(body);
    let result = match tokio::time::timeout(PATIENCE, collect(body.as_mut(), limit, held)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::Slow(PATIENCE)),
    };
    if matches!(result, Err(Refusal::TooLarge { .. } | Refusal::InFlight(_))) {
        held.at_most(0);
        let _ = tokio::time::timeout(DRAIN.1, async {
            let mut dropped = 0;
            while let Some(Ok(frame)) = body.frame().await {
                dropped += frame.data_ref().map_or(0, Bytes::len);
                if dropped > DRAIN.0 {
                    break;
                }
            }
        })
        .await;
    }
    result
}

async fn collect<B>(mut body: std::pin::Pin<&mut B>, limit: usize, held: &mut Held) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let too_large = Refusal::TooLarge { what: "the request's body", limit };
    let announced = body.size_hint().exact().map_or(0, |n| usize::try_from(n).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Refusal::Disconnected(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        let size = first.len() + rest.len() + data.len();
        if size > limit {
            return Err(too_large);
        }
        held.at_least(size)?;
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(announced.min(TRUST).max(size));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
