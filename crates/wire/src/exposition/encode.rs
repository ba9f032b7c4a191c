//! Families as protobuf (`io.prometheus.client.MetricFamily`), as a server that is federated exposes them.

use model::{BucketSpan, Histogram};

use crate::protobuf::write;

/// What the samples of a [`Family`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Numbers of which nothing is known.
    Untyped,
    /// Native histograms.
    Histogram,
    /// Native histograms that go anywhere.
    GaugeHistogram,
}

/// A family under construction.
#[derive(Debug)]
pub struct Family(Vec<u8>);

impl Family {
    /// One without metrics.
    #[must_use]
    pub fn new(name: &str, kind: FamilyKind) -> Self {
        let mut out = Vec::new();
        write::set_bytes(&mut out, 1, name.as_bytes());
        let kind = match kind {
            FamilyKind::Untyped => 3,
            FamilyKind::Histogram => 4,
            FamilyKind::GaugeHistogram => 5,
        };
        write::set_varint(&mut out, 3, kind);
        Self(out)
    }

    /// Adds a number, at a time in milliseconds.
    pub fn number<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>, value: f64, time_ms: i64) {
        write::message(&mut self.0, 4, |out| {
            labels.for_each(|label| put_label(out, label));
            write::message(out, 5, |out| write::set_fixed64(out, 1, value.to_bits()));
            write::set_varint(out, 6, time_ms as u64);
        });
    }

    /// Adds a native histogram with exponential buckets: the format has no others.
    pub fn histogram<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>, histogram: &Histogram, time_ms: i64) {
        write::message(&mut self.0, 4, |out| {
            labels.for_each(|label| put_label(out, label));
            // Fields go by number, as Prometheus writes them.
            write::set_varint(out, 6, time_ms as u64);
            write::message(out, 7, |out| put_histogram(out, histogram));
        });
    }

    /// Appends the family behind its length, as a stream of them has it.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        write::varint(out, self.0.len() as u64);
        out.extend_from_slice(&self.0);
    }
}

fn put_label(out: &mut Vec<u8>, (name, value): (&str, &str)) {
    write::message(out, 1, |out| {
        write::set_bytes(out, 1, name.as_bytes());
        write::set_bytes(out, 2, value.as_bytes());
    });
}

fn zigzag(v: i32) -> u64 {
    u64::from((v.wrapping_shl(1) ^ (v >> 31)) as u32)
}

fn put_histogram(out: &mut Vec<u8>, h: &Histogram) {
    let double = |out: &mut Vec<u8>, field, v: f64| write::set_fixed64(out, field, v.to_bits());
    double(out, 2, h.sum);
    double(out, 4, h.count);
    write::set_varint(out, 5, zigzag(h.schema));
    double(out, 6, h.zero_threshold);
    double(out, 8, h.zero_count);
    let sides = [(9, 11, &h.negative_spans, &h.negative), (12, 14, &h.positive_spans, &h.positive)];
    for (span, count, spans, counts) in sides {
        for BucketSpan { offset, length } in spans {
            write::message(out, span, |out| {
                write::set_varint(out, 1, zigzag(*offset));
                write::set_varint(out, 2, u64::from(*length));
            });
        }
        counts.iter().for_each(|n| double(out, count, *n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Exposed, ExpositionSink, Format, Options, Point, parse};
    use crate::{Limits, MetricKind};

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl ExpositionSink for Seen {
        fn sample(&mut self, sample: &Exposed<'_>) {
            let point = match &sample.point {
                Point::Float(value) => value.to_string(),
                Point::Histogram(h) => format!("{h:?}"),
            };
            self.0.push(format!("{:?} {point} {:?}", sample.labels, sample.time_ms));
        }
        fn kind(&mut self, family: &str, kind: MetricKind) {
            self.0.push(format!("{family} {}", kind.as_str()));
        }
        fn help(&mut self, _: &str, _: &str) {}
    }

    #[test]
    fn a_scrape_reads_what_is_written() {
        let mut h = Histogram { schema: -2, zero_threshold: 0.5, zero_count: 1.0, count: 7.0, sum: -3.5, ..Histogram::default() };
        h.positive_spans = vec![BucketSpan { offset: -3, length: 2 }];
        h.positive = vec![1.0, 2.0];
        h.negative_spans = vec![BucketSpan { offset: 1, length: 1 }];
        h.negative = vec![3.0];
        let mut out = Vec::new();
        let mut numbers = Family::new("up", FamilyKind::Untyped);
        numbers.number([("job", "a")].into_iter(), 0.0, 60_000);
        numbers.append_to(&mut out);
        let mut histograms = Family::new("h", FamilyKind::Histogram);
        histograms.histogram([("job", "b")].into_iter(), &h, -5);
        histograms.append_to(&mut out);
        let mut seen = Seen::default();
        parse(Format::Protobuf, &out, Options { native_histograms: true, ..Options::default() }, &Limits::default(), &mut seen)
            .expect("families");
        let all = seen.0.join("\n");
        assert!(all.contains("(\"job\", \"a\")] 0 Some(60000)"), "{all}");
        assert!(all.contains(&format!("(\"job\", \"b\")] {h:?} Some(-5)")), "{all}");
    }
}
