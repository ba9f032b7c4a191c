//! Samples as remote-write requests: native histograms, staleness markers and exemplars stay what they are. They come out by
//! remote read, whose series are spelled as remote write spells them.

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::Method;
use model::{Histogram, Labels};
use serde_json::Value as Json;
use store::{LabelMatcher, MatchOp};
use wire::remote_write::Encoder;
use wire::{Encoding, Exemplar, Limits, MetricKind, RawLabels, SampleSink};

use super::endpoint::Endpoint;

/// Bytes of a request, before compression.
const REQUEST: usize = 1 << 20;

/// Requests of some size each, made of what walks in.
#[derive(Default)]
struct Requests {
    encoder: Encoder,
    done: Vec<Vec<u8>>,
    rows: u64,
    failed: Option<wire::WireError>,
}

impl Requests {
    fn cut(&mut self) {
        if !self.encoder.is_empty() {
            match self.encoder.finish() {
                Ok(request) => self.done.push(request),
                Err(e) => self.failed = Some(e),
            }
        }
    }
}

impl SampleSink for Requests {
    fn series(&mut self, labels: RawLabels<'_>) {
        if self.encoder.size() >= REQUEST {
            self.cut();
        }
        SampleSink::series(&mut self.encoder, labels);
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        self.rows += 1;
        self.encoder.sample(time_ms, value);
    }

    fn start(&mut self, start_ms: i64) {
        SampleSink::start(&mut self.encoder, start_ms);
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        self.rows += 1;
        self.encoder.histogram(time_ms, histogram);
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        self.encoder.exemplar(exemplar);
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        SampleSink::metadata(&mut self.encoder, family, kind, help, unit);
    }
}

fn put(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A `prometheus.ReadRequest` of one query, as a snappy block.
fn read_request(matchers: &[LabelMatcher], first: i64, last: i64) -> anyhow::Result<Vec<u8>> {
    let mut query = Vec::new();
    for (tag, time) in [(1u8, first), (2, last)] {
        query.push(tag << 3);
        varint(&mut query, time as u64);
    }
    for m in matchers {
        let mut matcher = vec![1 << 3];
        varint(
            &mut matcher,
            match m.op {
                MatchOp::Eq => 0,
                MatchOp::Ne => 1,
                MatchOp::Re => 2,
                MatchOp::NotRe => 3,
            },
        );
        put(&mut matcher, 2, m.name.as_bytes());
        put(&mut matcher, 3, m.value.as_bytes());
        put(&mut query, 3, &matcher);
    }
    let mut request = Vec::new();
    put(&mut request, 1, &query);
    snap::raw::Encoder::new().compress_vec(&request).context("a request to read")
}

/// The result of the only query of an answer: its series stand as those of a `prometheus.WriteRequest` do.
fn only_result(answer: &[u8]) -> Option<&[u8]> {
    let Some((tag, rest)) = answer.split_first() else { return Some(&[]) };
    let (mut length, mut at) = (0u64, 0);
    loop {
        let byte = *rest.get(at)?;
        length |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        at += 1;
        if byte < 0x80 {
            break;
        }
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    (*tag == 1 << 3 | 2 && end == rest.len()).then(|| &rest[at..end])
}

/// The requests of a stretch of time (milliseconds, both ends belong to it) and how many samples they have; `None` where the
/// answer would be too large.
///
/// # Errors
/// What the server says.
pub(super) async fn requests(
    endpoint: &Endpoint,
    query: &str,
    first: i64,
    last: i64,
) -> anyhow::Result<Option<(Vec<Vec<u8>>, u64)>> {
    let matchers = promql::parse_selector(query).map_err(|e| anyhow::anyhow!("--query: {e}"))?;
    let body = Bytes::from(read_request(&matchers, first, last)?);
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")];
    let answer = endpoint.send(Method::POST, "/api/v1/read", &headers, body).await?;
    if answer.status == 422 && last > first {
        return Ok(None);
    }
    let answer = answer.success().context("/api/v1/read")?;
    let plain = snap::raw::Decoder::new().decompress_vec(&answer).context("an answer to read")?;
    let Some(series) = only_result(&plain) else { bail!("the answer of /api/v1/read makes no sense") };
    let payload = snap::raw::Encoder::new().compress_vec(series).context("a request of samples")?;
    let limits = Limits { max_uncompressed: 1 << 30, max_labels: usize::MAX, ..Limits::default() };
    let mut out = Requests::default();
    wire::walk_samples(Encoding::RemoteWrite, &payload, &limits, &mut out).context("the answer of /api/v1/read")?;
    let seconds = |ms: i64| format!("{}", ms as f64 / 1e3);
    let form = [("query", query), ("start", &seconds(first)), ("end", &seconds(last))];
    let found = endpoint.ask("/api/v1/query_exemplars", &form).await?;
    for series in found["data"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let labels = labels(&series["seriesLabels"]);
        if out.encoder.size() >= REQUEST {
            out.cut();
        }
        out.encoder.series(labels.iter(), &[]);
        for exemplar in series["exemplars"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let own = self::labels(&exemplar["labels"]);
            let pairs: Vec<(&str, &str)> = own.iter().collect();
            let time_ms = (exemplar["timestamp"].as_f64().context("an exemplar without a time")? * 1e3).round() as i64;
            let value = exemplar["value"].as_str().context("an exemplar without a value")?;
            let value = value.parse().with_context(|| format!("{value:?} is no number"))?;
            out.encoder.exemplar(&Exemplar { labels: &pairs, value, time_ms });
        }
    }
    out.cut();
    match out.failed {
        Some(e) => Err(e).context("a request of samples"),
        None => Ok(Some((out.done, out.rows))),
    }
}

fn labels(object: &Json) -> Labels {
    let pairs = object.as_object().into_iter().flatten();
    Labels::from_pairs(pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_no_answer_is_told() {
        assert_eq!(only_result(&[]), Some(&[][..]));
        assert_eq!(only_result(&[10, 2, 1, 2]), Some(&[1, 2][..]));
        for bytes in
            [&[10u8][..], &[10, 2, 1], &[10, 1, 1, 1], &[18, 1, 1], &[10, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]]
        {
            assert_eq!(only_result(bytes), None, "{bytes:?}");
        }
    }
}
