//! What a walker calls for each row.

use std::collections::BTreeMap;

use model::{Group, Histogram, Log, Span};

use crate::WireError;
use crate::loki::Told;

/// Takes spans. Rows after a [`SpanSink::group`] call belong to that group.
pub trait SpanSink {
    /// The resource and instrumentation scope of the rows that follow.
    fn group(&mut self, group: &Group<'_>);
    /// Bytes of the message that the next span is on the wire. A sink that has no use for it drops it.
    fn size(&mut self, _bytes: usize) {}
    /// Whether the sink has a use for events and links; spans come without them to one that has not.
    fn wants_nested(&self) -> bool {
        true
    }
    /// Whether the sink has a use for the attribute of this name of a span itself (not of its resource or scope); one that it
    /// has no use for may be left out, unread and not counted as dropped.
    #[inline]
    fn wants(&self, _key: &[u8]) -> bool {
        true
    }
    /// One span.
    fn span(&mut self, span: &Span<'_>);
}

/// Takes log records. Rows after a [`LogSink::group`] call belong to that group.
pub trait LogSink {
    /// The resource, instrumentation scope and stream labels of the rows that follow.
    fn group(&mut self, group: &Group<'_>);
    /// As [`SpanSink::wants`], of the attributes of a log record.
    #[inline]
    fn wants(&self, _key: &[u8]) -> bool {
        true
    }
    /// Whether it looks at records at all: what it costs to make one is spared where not.
    #[inline]
    fn wants_records(&self) -> bool {
        true
    }
    /// One record.
    fn log(&mut self, log: &Log<'_>);
}

/// Takes samples. Samples after a [`SampleSink::series`] call belong to that series.
pub trait SampleSink {
    /// The labels of the samples that follow.
    fn series(&mut self, labels: RawLabels<'_>);
    /// One sample of the current series: milliseconds since the Unix epoch, value (staleness markers keep their bits).
    fn sample(&mut self, time_ms: i64, value: f64);
    /// The start timestamp (when the counter began, milliseconds since the Unix epoch) of the samples and histograms that
    /// follow; 0, as after [`SampleSink::series`], for none. A sink that has no use for it drops it.
    fn start(&mut self, _start_ms: i64) {}
    /// The samples and histograms of the current series that follow are deltas: what was added since the point before,
    /// whose sum from their start on is what is kept. Holds until the next [`SampleSink::series`]. A sink that only counts
    /// has no use for it.
    fn delta(&mut self) {}
    /// One native histogram of the current series. A sink that has no use for them drops it.
    fn histogram(&mut self, _time_ms: i64, _histogram: &Histogram) {}
    /// An exemplar of the current series. A sink that has no use for them drops it.
    fn exemplar(&mut self, _exemplar: &Exemplar<'_>) {}
    /// What a metric family is.
    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str);
}

/// An observation that stands for others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar<'a> {
    /// Its own labels (`trace_id` nearly always), sorted by name.
    pub labels: &'a [(&'a str, &'a str)],
    /// When, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What was observed.
    pub value: f64,
}

/// A series' labels as the request carries them. A sink that has seen these very bytes ([`RawLabels::key`]) need not
/// read them again.
#[derive(Debug, Clone, Copy)]
pub struct RawLabels<'a> {
    /// Equal bytes mean equal labels; within one encoding of the labels also the other way round, nearly always.
    pub key: &'a [u8],
    /// Name and value, sorted by name, names unique and not empty, values not empty.
    /// Read lazily by the walker only where the sink has not said that it knows `key`: see [`RawLabels::read`].
    pub(crate) source: LabelSource<'a>,
}

/// Where the labels are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LabelSource<'a> {
    /// Pairs that are ready.
    Pairs(&'a [(&'a str, &'a str)]),
    /// Consecutive `Label` messages, each with its field tag (number 1), as in `prometheus.TimeSeries`;
    /// checked by the walker already (UTF-8, sorted, unique).
    Protobuf(&'a [u8]),
}

impl<'a> RawLabels<'a> {
    /// Labels that are at hand as pairs: sorted by name, names unique, values not empty. `key` names them.
    #[must_use]
    pub fn from_pairs(key: &'a [u8], pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self { key, source: LabelSource::Pairs(pairs) }
    }
}

/// `MetricMetadata.MetricType` of remote write 1.0, and the `TYPE` of the exposition formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum MetricKind {
    /// Not said.
    #[default]
    Unknown = 0,
    /// Goes up, or back to zero.
    Counter = 1,
    /// Goes anywhere.
    Gauge = 2,
    /// Buckets.
    Histogram = 3,
    /// Buckets of a gauge.
    GaugeHistogram = 4,
    /// Quantiles.
    Summary = 5,
    /// Labels that describe.
    Info = 6,
    /// One of several states.
    StateSet = 7,
}

impl MetricKind {
    /// The kind with a number of `MetricMetadata.MetricType`; unknown numbers are [`MetricKind::Unknown`].
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    /// The word in `# TYPE` lines and in `/api/v1/metadata`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What a walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows passed to the sink: spans, lines, or samples and histograms.
    pub accepted: u64,
    /// Native histograms among them.
    pub histograms: u64,
    /// Exemplars passed to the sink; they are no rows.
    pub exemplars: u64,
    /// Rows left out, by reason.
    pub refused: Refusals,
    /// What came along with rows and is not kept (flawed exemplars), by reason: to be counted, but no ground to answer with an
    /// error, since the rows themselves were accepted.
    pub skipped: Refusals,
    /// What a client of Loki's API is told of the lines that were left out.
    pub told: Told,
}

/// Counts of left-out rows by reason, in a fixed order so that messages are stable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals(pub BTreeMap<&'static str, u64>);

impl Refusals {
    /// Counts one row.
    pub fn add(&mut self, reason: &'static str) {
        *self.0.entry(reason).or_default() += 1;
    }

    /// Counts `n` rows.
    pub fn add_many(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.0.entry(reason).or_default() += n;
        }
    }

    /// All rows left out.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// `3 spans with a zero trace id; 1 span …`: a sentence for partial-success messages, empty when nothing was refused.
    #[must_use]
    pub fn message(&self) -> String {
        self.0.iter().map(|(reason, n)| format!("{reason}: {n}")).collect::<Vec<_>>().join("; ")
    }
}

/// A sink that drops every row: turns a walk into a check.
#[derive(Debug, Default)]
pub struct Discard;

impl SpanSink for Discard {
    fn group(&mut self, _: &Group<'_>) {}
    fn span(&mut self, _: &Span<'_>) {}
}

impl LogSink for Discard {
    fn group(&mut self, _: &Group<'_>) {}
    #[inline]
    fn wants_records(&self) -> bool {
        false
    }
    fn log(&mut self, _: &Log<'_>) {}
}

impl SampleSink for Discard {
    fn series(&mut self, _: RawLabels<'_>) {}
    fn sample(&mut self, _: i64, _: f64) {}
    fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
}

impl<'a> RawLabels<'a> {
    /// Appends the labels to `out`, sorted by name.
    ///
    /// # Errors
    /// None for labels that a walker passed to a sink: it has checked them.
    pub fn read(&self, out: &mut Vec<(&'a str, &'a str)>) -> Result<(), WireError> {
        match self.source {
            LabelSource::Pairs(pairs) => out.extend_from_slice(pairs),
            LabelSource::Protobuf(bytes) => crate::remote_write::read_labels(crate::protobuf::Reader::new(bytes), out)?,
        }
        Ok(())
    }
}
