//! `/api/v1/read`: remote read, as samples or as a stream of chunks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, header};
use model::{Histogram, Labels, Tenant};
use store::{LabelMatcher, MatchOp, Reader, SeriesSamples};
use tokio::sync::mpsc;
use wire::remote_read::{Chunk, Chunked, Kind, Query, Request, Samples, chunks, frame};

use crate::answer::{Failure, Limit};
use crate::run::blocking;
use crate::{Api, Face};

const PATH: &str = "/api/v1/read";
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
        async move {
            let began = Instant::now();
            let response = read(api.clone(), headers, body).await.unwrap_or_else(|failure| {
                api.metrics.failed(Face::Prometheus, &failure);
                Face::Prometheus.fail_plainly(failure)
            });
            // The rest of a stream is sent later, and not counted.
            api.metrics.record(Face::Prometheus, PATH, response.status().as_u16(), began.elapsed(), 0, 0);
            response
        }
    };
    Router::new().route(PATH, post(serve)).layer(DefaultBodyLimit::max(MAX_REQUEST))
}

async fn read(api: Arc<Api>, headers: HeaderMap, body: Bytes) -> Result<Response, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::BadData(e.to_string());
    let tenant = headers.get("x-scope-orgid").and_then(|v| v.to_str().ok()).unwrap_or("");
    let tenant = Tenant::new(tenant)?;
    let request = wire::remote_read::read(&body, &wire::Limits::default()).map_err(|e| bad(&e))?;
    let external = &api.settings.external_labels;
    let selectors = request.queries.iter().map(|query| matchers(query, external)).collect::<Result<Vec<_>, _>>()?;
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
                let (external, most) = (&source.settings.external_labels, source.settings.max_samples);
                let question = Question { index, query, matchers, external, tenant: &tenant, most, cancelled };
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

/// The matchers but for those of our external labels, which nothing here carries. As in Prometheus, a label that is to be empty is none
/// of them either.
fn matchers(query: &Query, external: &[(String, String)]) -> Result<Vec<LabelMatcher>, Failure> {
    let ours = |m: &&wire::remote_read::Matcher| {
        let value = external.iter().find(|(name, _)| *name == m.name).map_or("", |(_, value)| value);
        m.kind == Kind::Equal && m.value == value
    };
    let matcher = |m: &wire::remote_read::Matcher| {
        let op = match m.kind {
            Kind::Equal => MatchOp::Eq,
            Kind::NotEqual => MatchOp::Ne,
            Kind::Match => MatchOp::Re,
            Kind::NotMatch => MatchOp::NotRe,
        };
        LabelMatcher::new(&m.name, op, &m.value).map_err(|e| Failure::BadData(e.to_string()))
    };
    query.matchers.iter().filter(|m| !ours(m)).map(matcher).collect()
}

/// A series' labels with our external ones, sorted by name; its own win.
fn with_external<'l>(labels: &'l Labels, external: &'l [(String, String)]) -> Vec<(&'l str, &'l str)> {
    let missing = external.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| labels.get(n).is_none());
    let mut all: Vec<_> = labels.iter().chain(missing).collect();
    all.sort_unstable();
    all
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
                answer.series(with_external(&series.labels, &state.settings.external_labels), floats, histograms);
                if answer.size() > MAX_ANSWER {
                    return Err(Failure::Limit(Limit::Memory, "the answer is too large: ask for less, or for chunks".to_owned()));
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
        return Err(Failure::Limit(Limit::Samples, "query processing would load too many samples into memory".to_owned()));
    }
    if cancelled.load(Ordering::Relaxed) { Err(Failure::Cancelled) } else { Ok(series) }
}

/// One query of a request.
struct Question<'q> {
    index: usize,
    query: &'q Query,
    matchers: &'q [LabelMatcher],
    external: &'q [(String, String)],
    tenant: &'q Tenant,
    /// Samples that it may load.
    most: usize,
    cancelled: &'q AtomicBool,
}

/// Sends a query's series.
fn stream(
    reader: &dyn Reader,
    question: &Question<'_>,
    out: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Failure> {
    let Question { index, query, matchers, external, tenant, most, cancelled } = question;
    let mut read = 0;
    for series in reader.samples(tenant, matchers, query.first_ms, query.last_ms)? {
        let series = counted(series?, &mut read, *most, cancelled)?;
        let floats: Vec<(i64, f64)> = series.times.iter().copied().zip(series.values.iter().copied()).collect();
        let histograms: Vec<(i64, &Histogram)> = series.histograms.iter().map(|h| (h.time, &*h.histogram)).collect();
        let chunks = chunks(&floats, &histograms);
        let mut rest = &chunks[..];
        while !rest.is_empty() {
            let mut size = 0;
            // At least one, whatever its size.
            let fits = |chunk: &&Chunk| {
                size += chunk.size();
                size <= FRAME
            };
            let (some, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = after;
            let message = Chunked::new(*index, with_external(&series.labels, external), some).into_bytes();
            let mut framed = Vec::with_capacity(message.len() + 16);
            frame(&mut framed, &message, crc32c::crc32c(&message));
            // An error: nobody reads any more.
            out.blocking_send(Ok(framed.into())).map_err(|_| Failure::Cancelled)?;
        }
    }
    Ok(())
}
