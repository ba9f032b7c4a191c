//! Series and samples to a `prometheus.WriteRequest`: what the scraper keeps, and what an exporter sends.

use super::labels::put_label;
use crate::protobuf::write;
use crate::{MetricKind, WireError};

/// Builds one request. Its buffers are kept from request to request.
#[derive(Debug, Default)]
pub struct Encoder {
    body: Vec<u8>,
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
        self.body.is_empty()
    }

    /// Bytes of the request so far, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// How many series were added.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series
    }

    /// Adds a series. `labels` are sorted by name, names unique, values not empty, with `__name__`; `samples` are times
    /// (milliseconds since the Unix epoch) and values, whose bits are kept.
    pub fn series<'s>(&mut self, labels: impl IntoIterator<Item = (&'s str, &'s str)>, samples: &[(i64, f64)]) {
        self.series += 1;
        write::message(&mut self.body, 1, |out| {
            for (name, value) in labels {
                put_label(out, name, value);
            }
            for (time, value) in samples {
                write::message(out, 2, |out| {
                    write::put_fixed64(out, 1, value.to_bits());
                    write::put_varint(out, 2, *time as u64);
                });
            }
        });
    }

    /// Adds what a metric family is.
    pub fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        write::message(&mut self.body, 3, |out| {
            write::put_varint(out, 1, kind as u64);
            write::put_bytes(out, 2, family.as_bytes());
            write::put_bytes(out, 4, help.as_bytes());
            write::put_bytes(out, 5, unit.as_bytes());
        });
    }

    /// The request as a snappy block, which is a [`crate::Encoding::RemoteWrite`] payload; the encoder is empty then.
    ///
    /// # Errors
    /// [`WireError::Snappy`] for a request of 4 GiB and more.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        let packed = snap::raw::Encoder::new().compress_vec(&self.body).map_err(|e| WireError::Snappy(e.to_string()));
        self.body.clear();
        self.series = 0;
        packed
    }
}
