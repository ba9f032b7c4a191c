//! Lines to `logproto.PushRequest`: what an exporter sends to Loki.

use std::collections::BTreeMap;

use crate::WireError;
use crate::protobuf::write;

/// Builds one push request of lines in any order; a stream for each set of labels.
#[derive(Debug, Default)]
pub struct PushEncoder {
    /// The text of the labels, and the `Entry` fields.
    streams: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl PushEncoder {
    /// Bytes of the request so far, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Adds a line. `labels` are sorted by name, names unique and such as Loki allows, values not empty; at least one. `time` is in
    /// nanoseconds since the Unix epoch.
    pub fn line<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>, time: i64, line: &str) {
        let text = label_text(labels);
        if !self.streams.contains_key(&text) {
            self.bytes += text.len() + 8;
        }
        let entries = self.streams.entry(text).or_default();
        let before = entries.len();
        write::message(entries, 2, |out| {
            write::message(out, 1, |out| {
                write::put_varint(out, 1, time.div_euclid(1_000_000_000) as u64);
                write::put_varint(out, 2, time.rem_euclid(1_000_000_000).unsigned_abs());
            });
            write::put_bytes(out, 2, line.as_bytes());
        });
        self.bytes += entries.len() - before;
    }

    /// The request as a snappy block, which is a [`crate::Encoding::LokiPush`] payload; the encoder is empty then.
    ///
    /// # Errors
    /// [`WireError::Snappy`] for a request of 4 GiB and more.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(self.bytes + 64);
        for (labels, entries) in std::mem::take(&mut self.streams) {
            write::message(&mut out, 1, |out| {
                write::put_bytes(out, 1, labels.as_bytes());
                out.extend_from_slice(&entries);
            });
        }
        self.bytes = 0;
        snap::raw::Encoder::new().compress_vec(&out).map_err(|e| WireError::Snappy(e.to_string()))
    }
}

/// `{a="1", b="2"}`, quoted as Go does.
fn label_text<'l>(labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> String {
    let mut text = String::from("{");
    for (i, (name, value)) in labels.into_iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text.push('}');
    text
}
