//! Answers: `prometheus.ReadResponse` (all samples at once, snappy), or a stream of framed `prometheus.ChunkedReadResponse`.

use model::Histogram;

use super::Chunk;
use crate::WireError;
use crate::protobuf::write;
use crate::remote_write::{put_histogram, put_label};

/// Builds a `ReadResponse`.
#[derive(Debug, Default)]
pub struct Samples {
    body: Vec<u8>,
    result: Vec<u8>,
}

impl Samples {
    /// An answer to nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a series to the answer to the query under way: labels sorted by name; floats and histograms by time (milliseconds).
    pub fn series<'l, 'h>(
        &mut self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        floats: impl IntoIterator<Item = (i64, f64)>,
        histograms: impl IntoIterator<Item = (i64, i64, &'h Histogram)>,
    ) {
        write::message(&mut self.result, 1, |out| {
            labels.into_iter().for_each(|(name, value)| put_label(out, name, value));
            for (time, value) in floats {
                write::message(out, 2, |out| {
                    write::put_fixed64(out, 1, value.to_bits());
                    write::put_varint(out, 2, time as u64);
                });
            }
            for (time, start, histogram) in histograms {
                write::message(out, 4, |out| put_histogram(out, time, start, histogram));
            }
        });
    }

    /// The answer to this query is complete.
    pub fn query_done(&mut self) {
        write::set_bytes(&mut self.body, 1, &self.result);
        self.result.clear();
    }

    /// Bytes so far, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + self.result.len()
    }

    /// The answer, as a snappy block.
    ///
    /// # Errors
    /// [`WireError::Snappy`] for an answer of 4 GiB and more.
    pub fn finish(self) -> Result<Vec<u8>, WireError> {
        snap::raw::Encoder::new().compress_vec(&self.body).map_err(|e| WireError::Snappy(e.to_string()))
    }
}

/// One message of the stream: a series with some of its chunks.
#[derive(Debug, Default)]
pub struct Chunked(Vec<u8>);

impl Chunked {
    /// The series' message for the query `index`.
    #[must_use]
    pub fn new<'l, 'c>(
        index: usize,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        chunks: impl IntoIterator<Item = &'c Chunk>,
    ) -> Self {
        let mut body = Vec::new();
        write::message(&mut body, 1, |out| {
            labels.into_iter().for_each(|(name, value)| put_label(out, name, value));
            for chunk in chunks {
                write::message(out, 2, |out| {
                    write::put_varint(out, 1, chunk.first as u64);
                    write::put_varint(out, 2, chunk.last as u64);
                    write::put_varint(out, 3, chunk.encoding);
                    write::put_bytes(out, 4, &chunk.data);
                });
            }
        });
        write::put_varint(&mut body, 2, index as u64);
        Self(body)
    }

    /// The message's bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Appends a message of the stream as it is framed: its length as a varint, its CRC-32C (Castagnoli, big-endian), itself.
pub fn frame(out: &mut Vec<u8>, message: &[u8], crc32c: u32) {
    write::varint(out, message.len() as u64);
    out.extend_from_slice(&crc32c.to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_the_documented_messages() {
        let mut samples = Samples::new();
        samples.series([("a", "b")], [(3, 1.0)], []);
        samples.query_done();
        let body = snap::raw::Decoder::new().decompress_vec(&samples.finish().expect("small")).expect("snappy");
        let label = [10, 6, 10, 1, b'a', 18, 1, b'b'];
        let sample = [18, 11, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 3];
        let series = [&label[..], &sample].concat();
        assert_eq!(body, [&[10, 23, 10, 21][..], &series].concat());

        let message = Chunked::new(1, [("a", "b")], &super::super::chunks(&[(3, 1.0)], &[])).into_bytes();
        // A chunk: its count, the first time as a signed varint, the first value.
        let data = [0, 1, 6, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0];
        let chunk = [&[18, 19, 8, 3, 16, 3, 24, 1, 34, 11][..], &data].concat();
        assert_eq!(message, [&[10, 29][..], &label, &chunk, &[16, 1]].concat());
        let mut framed = Vec::new();
        frame(&mut framed, &[7; 200], 0x0102_0304);
        assert_eq!(framed[..6], [0xc8, 1, 1, 2, 3, 4]);
        assert_eq!(framed.len(), 206);
    }
}
