//! `prometheus.WriteRequest` in a snappy block to samples.

use super::labels::{Sorted, canonical};
use crate::protobuf::Reader;
use crate::sink::LabelSource;
use crate::snappy::decompressed;
use crate::{Limits, MetricKind, RawLabels, SampleSink, Summary, WireError};

const EXEMPLARS: &str = "exemplars are not stored yet";
const HISTOGRAMS: &str = "native histograms are not stored yet";

/// Calls `sink` for each sample and each piece of metadata of the request in `bytes`.
///
/// Series whose labels Prometheus refuses (no metric name, an empty or duplicate label name, no UTF-8) are refused sample
/// by sample; unsorted labels are sorted and empty ones dropped, as Prometheus does.
pub(crate) fn walk<S: SampleSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    decompressed(bytes, limits.max_uncompressed, |body| walk_body(body, limits, sink))
}

fn walk_body<S: SampleSink + ?Sized>(body: &[u8], limits: &Limits, sink: &mut S) -> Result<Summary, WireError> {
    let mut summary = Summary::default();
    let mut sorted = Sorted::default();
    let mut r = Reader::new(body);
    while let Some(f) = r.field("WriteRequest")? {
        match f.number {
            1 => series(f.message()?, &mut sorted, limits, &mut summary, sink)?,
            3 => metadata(f.message()?, sink)?,
            _ => {}
        }
    }
    Ok(summary)
}

fn series<'a, S: SampleSink + ?Sized>(
    whole: Reader<'a>,
    sorted: &mut Sorted<'a>,
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
    let (mut samples, mut labels_again) = (0u64, false);
    let after = canonical.map_or(whole, |(_, after)| after);
    let mut r = after;
    while let Some(f) = r.field("TimeSeries")? {
        match f.number {
            1 => labels_again = true,
            2 => samples += 1,
            3 => summary.skipped.add(EXEMPLARS),
            4 => summary.refused.add(HISTOGRAMS),
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
            (0..samples).for_each(|_| summary.refused.add(reason));
            return Ok(());
        }
    };
    if samples == 0 {
        return Ok(());
    }
    sink.series(RawLabels { key, source: LabelSource::Protobuf(key) });
    let mut r = after;
    while let Some(f) = r.field("TimeSeries")? {
        if f.number != 2 {
            continue;
        }
        let (mut time, mut value) = (0i64, 0f64);
        let mut r = f.message()?;
        while let Some(f) = r.field("Sample")? {
            match f.number {
                1 => value = f.double()?,
                2 => time = f.varint()? as i64,
                _ => {}
            }
        }
        sink.sample(time, value);
    }
    summary.accepted += samples;
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
