//! `ExponentialHistogramDataPoint` to a native histogram.

use model::{BucketSpan, Histogram};

use crate::native::{self, Flaw, SCHEMAS};
use crate::protobuf::{Field, Reader, Wire};
use crate::{Limits, WireError};

const COARSE: Flaw = "exponential histograms with a scale below -4";
const FINE: Flaw = "exponential histograms with a scale above 52";
/// The width that Prometheus gives to every zero bucket that comes with OTLP.
const ZERO_THRESHOLD: f64 = 1e-128;
/// Empty buckets between two others are kept where a span of its own would cost more.
const GAP: i32 = 2;

/// The fields of a point that make its histogram.
#[derive(Debug, Default)]
pub(super) struct Exponential {
    count: u64,
    sum: f64,
    scale: i32,
    zero_count: u64,
    positive: Buckets,
    negative: Buckets,
}

#[derive(Debug, Default)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

const fn zigzag(n: u64) -> i32 {
    (n >> 1) as i32 ^ -((n & 1) as i32)
}

impl Exponential {
    /// Takes a field of the point; others are passed over.
    pub(super) fn field(&mut self, f: &Field<'_>, limits: &Limits) -> Result<(), WireError> {
        match f.number {
            4 => self.count = f.fixed64()?,
            5 => self.sum = f.double()?,
            6 => self.scale = zigzag(f.varint()?),
            7 => self.zero_count = f.fixed64()?,
            8 => self.positive.read(f.message()?, limits)?,
            9 => self.negative.read(f.message()?, limits)?,
            _ => {}
        }
        Ok(())
    }

    /// The histogram. Bucket `i` of OTLP ends at `base^(i+1)`, that of Prometheus at `base^i`.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn histogram(&self) -> Result<Histogram, Flaw> {
        if self.scale < *SCHEMAS.start() {
            return Err(COARSE);
        }
        if self.scale > 52 {
            return Err(FINE);
        }
        let mut h = Histogram {
            schema: self.scale,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            ..Histogram::default()
        };
        self.positive.fill(&mut h.positive_spans, &mut h.positive);
        self.negative.fill(&mut h.negative_spans, &mut h.negative);
        native::admit(&mut h, true)?;
        Ok(h)
    }
}

impl Buckets {
    fn read(&mut self, mut r: Reader<'_>, limits: &Limits) -> Result<(), WireError> {
        let what = "the number of an exponential histogram's buckets";
        while let Some(f) = r.field("Buckets")? {
            match (f.number, f.wire) {
                (1, _) => self.offset = zigzag(f.varint()?),
                (2, Wire::Bytes(mut r)) => {
                    while !r.is_empty() && self.counts.len() <= limits.max_native_buckets {
                        self.counts.push(r.varint("bucket_counts")?);
                    }
                }
                (2, _) => self.counts.push(f.varint()?),
                _ => {}
            }
            if self.counts.len() > limits.max_native_buckets {
                return Err(WireError::TooLarge { what, limit: limits.max_native_buckets });
            }
        }
        Ok(())
    }

    fn fill(&self, spans: &mut Vec<BucketSpan>, counts: &mut Vec<f64>) {
        let mut next = None;
        for (at, n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let index = self.offset.saturating_add(at as i32).saturating_add(1);
            let gap = next.map_or(0, |next: i32| index - next);
            if (1..=GAP).contains(&gap) {
                (index - gap..index).for_each(|empty| native::push_bucket(spans, counts, empty, 0.0));
            }
            native::push_bucket(spans, counts, index, *n as f64);
            next = Some(index.saturating_add(1));
        }
    }
}
