//! `/api/v1/read`: remote read, as samples or as a stream of chunks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, header};
use model::Tenant;
use store::{LabelMatcher, MatchOp, Reader, SeriesSamples};
use tokio::sync::mpsc;
use wire::remote_read::{CHUNK_SAMPLES, Chunked, Kind, Query, Request, Samples, frame};

use crate::answer::Failure;
use crate::run::blocking;
use crate::{Api, Face};

/// Bytes of a request.
const MAX_REQUEST: usize = 1 << 20;
/// Bytes of an answer of samples, before compression; more is asked for in chunks.
const MAX_ANSWER: usize = 256 << 20;
/// Bytes of a frame of the stream, about: Prometheus' `--storage.remote.read-max-bytes-in-frame`.
const FRAME: usize = 1 << 20;
/// Frames that wait for a slow reader.
const AHEAD: usize = 4;

/// The route; its body is no form.
pub(crate) fn route(api: &Arc<Api>) -> Router {
    let api = api.clone();
    let serve = move |headers: HeaderMap, body: Bytes| {
        let api = api.clone();
        async move { read(api, headers, body).await.unwrap_or_else(|failure| Face::Prometheus.fail(failure)) }
    };
    Router::new().route("/api/v1/read", post(serve)).layer(DefaultBodyLimit::max(MAX_REQUEST))
}

async fn read(api: Arc<Api>, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::BadData(e.to_string());
    let tenant = headers.get("x-scope-orgid").and_then(|v| v.to_str().ok()).unwrap_or("");
    let tenant = Tenant::new(tenant)?;
    let request = wire::remote_read::read(&body, &wire::Limits::default()).map_err(|e| bad(&e))?;
    let selectors = request.queries.iter().map(matchers).collect::<Result<Vec<_>, _>>()?;
    if !request.takes_chunks {
        return samples(&api, tenant, request, selectors).await;
    }
    let (send, mut frames) = mpsc::channel::<Result<Bytes, std::io::Error>>(AHEAD);
    let state = api.clone();
    let work = tokio::spawn(async move {
        let source = state.clone();
        let query = move |cancelled: &AtomicBool| {
            let reader = source.source.snapshot();
            let mut queries = request.queries.iter().zip(&selectors).enumerate();
            let outcome = queries.try_for_each(|(index, (query, matchers))| {
                let question = Question { index, query, matchers, tenant: &tenant, most: source.settings.max_samples, cancelled };
                stream(&*reader, &question, &send)
            });
            if outcome.is_err() {
                // What was sent is not all: the stream must not end as if it were.
                let _ = send.blocking_send(Err(std::io::Error::other("the query failed")));
            }
            outcome
        };
        blocking(&state, None, query).await
    });
    // The first frame, or the lack of one, tells how the answer begins.
    let first = frames.recv().await;
    if !matches!(first, Some(Ok(_))) {
        work.await.unwrap_or_else(|e| Err(Failure::Internal(e.to_string())))?;
    }
    let rest = futures::stream::unfold(frames, async |mut frames| frames.recv().await.map(|frame| (frame, frames)));
    let all = futures::StreamExt::chain(futures::stream::iter(first), rest);
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(all)).into_response())
}

fn matchers(query: &Query) -> Result<Vec<LabelMatcher>, Failure> {
    let matcher = |m: &wire::remote_read::Matcher| {
        let op = match m.kind {
            Kind::Equal => MatchOp::Eq,
            Kind::NotEqual => MatchOp::Ne,
            Kind::Match => MatchOp::Re,
            Kind::NotMatch => MatchOp::NotRe,
        };
        LabelMatcher::new(&m.name, op, &m.value).map_err(|e| Failure::BadData(e.to_string()))
    };
    query.matchers.iter().map(matcher).collect()
}

async fn samples(
    api: &Arc<Api>,
    tenant: Tenant,
    request: Request,
    selectors: Vec<Vec<LabelMatcher>>,
) -> Result<Response, Failure> {
    let state = api.clone();
    let body = blocking(api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let mut answer = Samples::new();
        let mut read = 0;
        for (query, matchers) in request.queries.iter().zip(&selectors) {
            for series in reader.samples(&tenant, matchers, query.first_ms, query.last_ms)? {
                let series = counted(series?, &mut read, state.settings.max_samples, cancelled)?;
                let floats = series.times.iter().copied().zip(series.values.iter().copied());
                let histograms = series.histograms.iter().map(|h| (h.time, h.start, &*h.histogram));
                answer.series(series.labels.iter(), floats, histograms);
                if answer.size() > MAX_ANSWER {
                    return Err(Failure::Execution("the answer is too large: ask for less, or for chunks".to_owned()));
                }
            }
            answer.query_done();
        }
        Ok(answer.finish()?)
    })
    .await?;
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    Ok((headers, body).into_response())
}

/// Counts a series' samples against what a query may load.
fn counted(series: SeriesSamples, read: &mut usize, most: usize, cancelled: &AtomicBool) -> Result<SeriesSamples, Failure> {
    *read += series.times.len() + series.histograms.len();
    if *read > most {
        return Err(Failure::Execution("query processing would load too many samples into memory".to_owned()));
    }
    if cancelled.load(Ordering::Relaxed) { Err(Failure::Cancelled) } else { Ok(series) }
}

/// One query of a request.
struct Question<'q> {
    index: usize,
    query: &'q Query,
    matchers: &'q [LabelMatcher],
    tenant: &'q Tenant,
    /// Samples that it may load.
    most: usize,
    cancelled: &'q AtomicBool,
}

/// Sends a query's series. Native histograms have no chunks here: an asker of them gets samples, or is told.
fn stream(
    reader: &dyn Reader,
    question: &Question<'_>,
    out: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Failure> {
    let Question { index, query, matchers, tenant, most, cancelled } = question;
    let mut read = 0;
    for series in reader.samples(tenant, matchers, query.first_ms, query.last_ms)? {
        let series = counted(series?, &mut read, *most, cancelled)?;
        if !series.histograms.is_empty() {
            return Err(Failure::Execution(format!(
                "{} has native histograms, which are read as SAMPLES only: leave STREAMED_XOR_CHUNKS out",
                series.labels
            )));
        }
        let floats: Vec<(i64, f64)> = series.times.iter().copied().zip(series.values.iter().copied()).collect();
        let chunks: Vec<&[(i64, f64)]> = floats.chunks(CHUNK_SAMPLES).collect();
        // A sample takes at most about 17 bytes of a chunk.
        for some in chunks.chunks(FRAME / (CHUNK_SAMPLES * 17)) {
            let message = Chunked::new(*index, series.labels.iter(), some.iter().copied()).into_bytes();
            let mut framed = Vec::with_capacity(message.len() + 16);
            frame(&mut framed, &message, crc32c::crc32c(&message));
            // An error: nobody reads any more.
            out.blocking_send(Ok(framed.into())).map_err(|_| Failure::Cancelled)?;
        }
    }
    Ok(())
}
