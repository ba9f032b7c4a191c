//! Series and samples to a `prometheus.WriteRequest`: what the scraper keeps, and what an exporter sends.

use model::Histogram;

use super::histogram::put_histogram;
use super::labels::put_label;
use crate::protobuf::write;
use crate::sink::LabelSource;
use crate::{Exemplar, MetricKind, RawLabels, SampleSink, WireError};

/// Builds one request. Its buffers are kept from request to request.
///
/// It is a [`SampleSink`] as well: whatever walks into it comes out as a request. (Deltas come out as plain samples.)
#[derive(Debug, Default)]
pub struct Encoder {
    body: Vec<u8>,
    /// What was said of families: it stands behind the series, so that what walks in again comes out the same.
    families: Vec<u8>,
    /// The series that is being added: the fields of its message.
    open: Vec<u8>,
    start: i64,
    series: usize,
}

impl Encoder {
    /// An empty request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was added since the last [`Encoder::finish`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty() && self.families.is_empty() && self.open.is_empty()
    }

    /// Bytes of the request so far, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + self.families.len() + self.open.len()
    }

    /// How many series were added.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series
    }

    /// Adds a series. `labels` are sorted by name, names unique, values not empty, with `__name__`; `samples` are times
    /// (milliseconds since the Unix epoch) and values, whose bits are kept. The methods of [`SampleSink`] add more to it.
    pub fn series<'s>(&mut self, labels: impl IntoIterator<Item = (&'s str, &'s str)>, samples: &[(i64, f64)]) {
        self.close();
        self.series += 1;
        for (name, value) in labels {
            put_label(&mut self.open, name, value);
        }
        for (time, value) in samples {
            self.sample(*time, *value);
        }
    }

    /// Adds what a metric family is.
    pub fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        write::message(&mut self.families, 3, |out| {
            write::put_varint(out, 1, kind as u64);
            write::put_bytes(out, 2, family.as_bytes());
            write::put_bytes(out, 4, help.as_bytes());
            write::put_bytes(out, 5, unit.as_bytes());
        });
    }

    /// The series is complete.
    fn close(&mut self) {
        self.start = 0;
        if !self.open.is_empty() {
            write::put_bytes(&mut self.body, 1, &self.open);
            self.open.clear();
        }
    }

    /// The request as a snappy block, which is a [`crate::Encoding::RemoteWrite`] payload; the encoder is empty then.
    ///
    /// # Errors
    /// [`WireError::Snappy`] for a request of 4 GiB and more.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        self.close();
        self.body.append(&mut self.families);
        let packed = snap::raw::Encoder::new().compress_vec(&self.body).map_err(|e| WireError::Snappy(e.to_string()));
        self.body.clear();
        self.series = 0;
        packed
    }
}

impl SampleSink for Encoder {
    fn series(&mut self, labels: RawLabels<'_>) {
        if let LabelSource::Protobuf(bytes) = labels.source {
            // They are written as they are to be read.
            self.close();
            self.series += 1;
            self.open.extend_from_slice(bytes);
            return;
        }
        let mut pairs = Vec::new();
        // Walkers pass on only labels that they have checked.
        if labels.read(&mut pairs).is_ok() {
            Self::series(self, pairs, &[]);
        }
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        let start = self.start;
        write::message(&mut self.open, 2, |out| {
            write::put_fixed64(out, 1, value.to_bits());
            write::put_varint(out, 2, time_ms as u64);
            write::put_varint(out, 3, start as u64);
        });
    }

    fn start(&mut self, start_ms: i64) {
        self.start = start_ms;
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        let start = self.start;
        write::message(&mut self.open, 4, |out| put_histogram(out, time_ms, start, histogram));
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        write::message(&mut self.open, 3, |out| {
            for (name, value) in exemplar.labels {
                put_label(out, name, value);
            }
            write::put_fixed64(out, 2, exemplar.value.to_bits());
            write::put_varint(out, 3, exemplar.time_ms as u64);
        });
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        Self::metadata(self, family, kind, help, unit);
    }
}
