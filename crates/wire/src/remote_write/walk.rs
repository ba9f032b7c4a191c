//! `prometheus.WriteRequest` in a snappy block to samples.

use super::histogram::ReadHistogram;
use super::labels::{Sorted, canonical, read_labels};
use crate::exemplar;
use crate::protobuf::Reader;
use crate::sink::LabelSource;
use crate::snappy::decompressed;
use crate::{Limits, MetricKind, RawLabels, SampleSink, Summary, WireError};

/// Calls `sink` for each sample, histogram and exemplar and each piece of metadata of the request in `bytes`.
///
/// Series whose labels Prometheus refuses (no metric name, an empty or duplicate label name, no UTF-8) are refused sample
/// by sample; unsorted labels are sorted and empty ones dropped, as Prometheus does. `Sample` may carry a start timestamp
/// as in 2.0 (field 3; `Histogram`: 17): what [`super::Encoder`] writes for Braid's own scrapes.
pub(crate) fn walk<S: SampleSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    decompressed(bytes, limits.max_uncompressed, |body| walk_body(body, limits, sink))
}

fn walk_body<S: SampleSink + ?Sized>(body: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    let mut summary = Summary::default();
    let (mut sorted, mut points) = (Sorted::default(), Points::default());
    let mut r = Reader::new(body);
    while let Some(f) = r.field("WriteRequest")? {
        match f.number {
            1 => series(f.message()?, &mut sorted, &mut points, limits, &mut summary, sink)?,
            3 => metadata(f.message()?, sink)?,
            _ => {}
        }
    }
    Ok(summary)
}

fn series<'a, S: SampleSink + ?Sized>(
    whole: Reader<'a>,
    sorted: &mut Sorted<'a>,
    points: &mut Points,
    limits: &Limits,
    summary: &mut Summary,
    sink: &mut S,
) -> Result<(), WireError> {
    let canonical = canonical(whole, limits);
    if let Some((key, after)) = canonical
        && let Some((time, value)) = only_sample(after.rest())
    {
        sink.series(RawLabels { key, source: LabelSource::Protobuf(key) });
        sink.sample(time, value);
        summary.accepted += 1;
        return Ok(());
    }
    // What follows the labels is read twice: first to see that no label stands among it.
    let (mut rows, mut exemplars, mut labels_again) = (0, 0, false);
    let after = canonical.map_or(whole, |(_, after)| after);
    let mut r = after;
    while let Some(f) = r.field("TimeSeries")? {
        match f.number {
            1 => labels_again = true,
            2 | 4 => rows += 1,
            3 => exemplars += 1,
            _ => {}
        }
    }
    let labels = match canonical {
        Some((labels, _)) if !labels_again => Ok(labels),
        _ => sorted.read(whole, limits)?,
    };
    let key = match labels {
        Ok(key) => key,
        Err(reason) => {
            summary.refused.add_many(reason, rows);
            summary.skipped.add_many(reason, exemplars);
            return Ok(());
        }
    };
    if rows + exemplars == 0 {
        return Ok(());
    }
    sink.series(RawLabels { key, source: LabelSource::Protobuf(key) });
    let mut r = after;
    while let Some(f) = r.field("TimeSeries")? {
        match f.number {
            2 => points.sample(f.message()?, 0, summary, sink)?,
            3 => pass_exemplar(f.message()?, summary, sink)?,
            4 => points.histogram(f.message()?, 0, limits, summary, sink)?,
            _ => {}
        }
    }
    Ok(())
}

/// Passes on samples and histograms, which both versions write alike.
#[derive(Debug, Default)]
pub(super) struct Points {
    histogram: ReadHistogram,
}

impl Points {
    /// One `Sample`; `start` stands for the start timestamp that it lacks.
    pub(super) fn sample<S: SampleSink + ?Sized>(
        &mut self,
        mut r: Reader<'_>,
        start: i64,
        summary: &mut Summary,
        sink: &mut S,
    ) -> Result<(), WireError> {
        let (mut time, mut value, mut own_start) = (0i64, 0f64, 0i64);
        while let Some(f) = r.field("Sample")? {
            match f.number {
                1 => value = f.double()?,
                2 => time = f.varint()? as i64,
                3 => own_start = f.varint()? as i64,
                _ => {}
            }
        }
        sink.start(if own_start == 0 { start } else { own_start });
        sink.sample(time, value);
        summary.accepted += 1;
        Ok(())
    }

    /// One `Histogram`.
    pub(super) fn histogram<S: SampleSink + ?Sized>(
        &mut self,
        r: Reader<'_>,
        start: i64,
        limits: &Limits,
        summary: &mut Summary,
        sink: &mut S,
    ) -> Result<(), WireError> {
        let read = &mut self.histogram;
        match read.read(r, limits)? {
            Ok(()) => {
                sink.start(if read.start == 0 { start } else { read.start });
                sink.histogram(read.time, &read.histogram);
                summary.accepted += 1;
                summary.histograms += 1;
            }
            Err(flaw) => summary.refused.add(flaw),
        }
        Ok(())
    }
}

fn pass_exemplar<S: SampleSink + ?Sized>(whole: Reader<'_>, summary: &mut Summary, sink: &mut S) -> Result<(), WireError> {
    let (mut value, mut time_ms) = (0.0, 0);
    let mut r = whole;
    while let Some(f) = r.field("Exemplar")? {
        match f.number {
            2 => value = f.double()?,
            3 => time_ms = f.varint()? as i64,
            _ => {}
        }
    }
    let mut labels = Vec::new();
    if read_labels(whole, &mut labels).is_err() {
        summary.skipped.add("exemplars with labels that are not UTF-8");
        return Ok(());
    }
    exemplar::pass(&mut labels, time_ms, value, summary, sink);
    Ok(())
}

/// The one sample that is all of `bytes`, written value first: what a scrape of one moment looks like.
#[inline]
fn only_sample(bytes: &[u8]) -> Option<(i64, f64)> {
    const SAMPLE: u8 = 2 << 3 | 2;
    const VALUE: u8 = 1 << 3 | 1;
    const TIMESTAMP: u8 = 2 << 3;
    let [SAMPLE, len, VALUE, rest @ ..] = bytes else { return None };
    let (value, rest) = rest.split_first_chunk()?;
    let [TIMESTAMP, varint @ ..] = rest else { return None };
    if usize::from(*len) != bytes.len() - 2 {
        return None;
    }
    // Six bytes for the milliseconds of our days.
    let (last, first) = varint.split_last()?;
    if first.len() > 8 || *last >= 0x80 || first.iter().any(|b| *b < 0x80) {
        return None;
    }
    let time = varint.iter().rev().fold(0u64, |t, b| t << 7 | u64::from(b & 0x7f));
    Some((time as i64, f64::from_le_bytes(*value)))
}

fn metadata<S: SampleSink + ?Sized>(mut r: Reader<'_>, sink: &mut S) -> Result<(), WireError> {
    let (mut kind, mut family, mut help, mut unit) = (0, "", "", "");
    while let Some(f) = r.field("MetricMetadata")? {
        match f.number {
            1 => kind = f.u32()?,
            2 => family = f.string("MetricMetadata.metric_family_name")?,
            4 => help = f.string("MetricMetadata.help")?,
            5 => unit = f.string("MetricMetadata.unit")?,
            _ => {}
        }
    }
    if !family.is_empty() {
        sink.metadata(family, MetricKind::from_number(kind), help, unit);
    }
    Ok(())
}
