//! What a scrape target exposes, read as Prometheus 3 reads it: its text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), and protobuf (delimited
//! `io.prometheus.client.MetricFamily`); with quoted UTF-8 names, and with the `le` of histograms and the `quantile` of
//! summaries brought into one form (`1` becomes `1.0`). Error texts are Prometheus' (`model/textparse`).

mod created;
mod custom;
mod encode;
mod format;
mod histogram;
mod number;
mod openmetrics;
mod protobuf;
mod series;
mod text;
mod token;

use std::borrow::Cow;

use model::Histogram;

pub use encode::{Family, FamilyKind};
pub use format::Format;

use crate::{Limits, MetricKind, WireError};

/// Takes what a scrape exposes, in the order of the text. After an error of [`parse`] everything taken is to be dropped.
pub trait ExpositionSink {
    /// Whether the labels of the series that is written as `text` are known, so that they need not be read: then the
    /// [`Exposed`] that follows has none.
    fn knows(&mut self, _text: &[u8]) -> bool {
        false
    }
    /// One sample.
    fn sample(&mut self, sample: &Exposed<'_>);
    /// What a family is (`# TYPE`).
    fn kind(&mut self, family: &str, kind: MetricKind);
    /// What a family means (`# HELP`).
    fn help(&mut self, family: &str, help: &str);
    /// What a family is measured in (`# UNIT`).
    fn unit(&mut self, _family: &str, _unit: &str) {}
    /// A line of the text format that is none of these, with its `#`.
    fn comment(&mut self, _text: &[u8]) {}
}

/// One sample.
#[derive(Debug, Clone, Copy)]
pub struct Exposed<'a> {
    /// The series as it is written: equal texts under one `# TYPE` are one series.
    pub text: &'a [u8],
    /// Sorted by name (`__name__` among them), names unique; an empty
    /// value is that of a label that the series has not.
    pub labels: &'a [(Cow<'a, str>, Cow<'a, str>)],
    /// What was measured.
    pub point: Point<'a>,
    /// When, milliseconds since the Unix epoch, where the exposition says it.
    pub time_ms: Option<i64>,
    /// When the counter began, milliseconds since the Unix epoch; 0 where the exposition does not say it.
    pub start_ms: i64,
    /// Observations that stand for others, in the order of the exposition.
    pub exemplars: &'a [Exemplar<'a>],
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub enum Point<'a> {
    /// A number. Every NaN is Prometheus' plain NaN, so that none is a staleness marker.
    Float(f64),
    /// A native histogram.
    Histogram(&'a Histogram),
}

/// An exemplar as it is exposed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exemplar<'a> {
    /// Sorted by name, names unique.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What was observed.
    pub value: f64,
    /// When, milliseconds since the Unix epoch; without one it was when the sample was taken.
    pub time_ms: Option<i64>,
}

/// What a scrape wants of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether a native histogram is read as such; without it, its classic buckets are.
    pub native_histograms: bool,
    /// Whether a native histogram's classic buckets are read besides.
    pub classic_too: bool,
    /// Whether classic histograms are read as native ones with custom buckets.
    pub custom_buckets: bool,
    /// Whether `_created` series of OpenMetrics become start timestamps only.
    pub skip_created: bool,
}

/// Reads a whole scrape; returns how many samples it has.
///
/// # Errors
/// [`WireError`] (with the line, in text) at the first thing that Prometheus refuses: the scrape as a whole has failed
/// then.
pub fn parse<S: ExpositionSink + ?Sized>(
    format: Format,
    bytes: &[u8],
    options: Options,
    limits: &Limits,
    sink: &mut S,
) -> Result<u64, WireError> {
    if !options.custom_buckets {
        return parse_as(format, bytes, options, limits, sink);
    }
    let mut custom = custom::Custom::new(sink, options.classic_too);
    let samples = parse_as(format, bytes, options, limits, &mut custom)?;
    custom.flush();
    Ok(samples)
}

fn parse_as<S: ExpositionSink + ?Sized>(
    format: Format,
    bytes: &[u8],
    options: Options,
    limits: &Limits,
    sink: &mut S,
) -> Result<u64, WireError> {
    match format {
        Format::Text => text::parse(bytes, limits, sink),
        Format::OpenMetrics => openmetrics::parse(bytes, options, limits, sink),
        Format::Protobuf => protobuf::parse(bytes, options, limits, sink),
    }
}

#[cold]
fn fail(line: usize, reason: String) -> WireError {
    WireError::Text { what: "the exposition", line, reason }
}

/// What stands between the quotes, if there are any.
fn unquoted(token: &[u8]) -> &[u8] {
    match token {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

/// Where the series that begins at `at` ends; between its name and its braces the bytes of `gap` may stand. `None`
/// where that cannot be seen quickly.
fn span(bytes: &[u8], at: usize, gap: &[u8]) -> Option<usize> {
    let mut end = at;
    let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    end += bytes.get(end..)?.iter().position(|b| !name(b))?;
    let open = end + bytes.get(end..)?.iter().position(|b| !gap.contains(b))?;
    if bytes.get(open) != Some(&b'{') {
        return Some(end);
    }
    end = open + 1;
    loop {
        end += memchr::memchr2(b'"', b'}', bytes.get(end..)?)?;
        if bytes.get(end) == Some(&b'}') {
            return Some(end + 1);
        }
        end += 1;
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        end += 1;
    }
}

#[cfg(test)]
mod tests;
