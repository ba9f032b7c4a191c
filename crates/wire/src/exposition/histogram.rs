//! `io.prometheus.client.Histogram` as a native histogram.

use model::{BucketSpan, Histogram, ResetHint};

use crate::WireError;
use crate::native;
use crate::protobuf::Reader;
use crate::remote_write::{span, zigzag};

/// What a message holds.
#[derive(Debug)]
pub(super) struct Read {
    /// Its count and sum in any case; buckets where it is native.
    pub(super) histogram: Histogram,
    /// Whether it has native buckets at all.
    pub(super) native: bool,
}

/// Why a message is refused.
#[derive(Debug)]
pub(super) enum Wrong {
    Wire(WireError),
    Value(native::Flaw),
}

impl From<WireError> for Wrong {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Buckets of one sign: as deltas between whole counts, or as float counts.
#[derive(Debug, Default)]
struct Side {
    spans: Vec<BucketSpan>,
    deltas: Vec<i64>,
    /// The bits of doubles.
    counts: Vec<u64>,
}

impl Side {
    fn counts(self, float: bool) -> (Vec<BucketSpan>, Vec<f64>) {
        let counts = match float {
            true => self.counts.into_iter().map(f64::from_bits).collect(),
            false => {
                let mut count = 0i64;
                let add = |delta: i64| {
                    count = count.saturating_add(delta);
                    count as f64
                };
                self.deltas.into_iter().map(add).collect()
            }
        };
        (self.spans, counts)
    }
}

/// Reads the message; `gauge` where counts may fall.
pub(super) fn read(mut r: Reader<'_>, gauge: bool) -> Result<Read, Wrong> {
    let (mut count, mut count_float, mut zero, mut zero_float) = (0u64, 0.0, 0u64, 0.0);
    let mut h = Histogram::default();
    let (mut positive, mut negative) = (Side::default(), Side::default());
    while let Some(f) = r.field("Histogram")? {
        match f.number {
            1 => count = f.varint()?,
            2 => h.sum = f.double()?,
            4 => count_float = f.double()?,
            5 => h.schema = zigzag(f.varint()?) as i32,
            6 => h.zero_threshold = f.double()?,
            7 => zero = f.varint()?,
            8 => zero_float = f.double()?,
            9 => negative.spans.push(span(f.message()?)?),
            10 => f.repeated_varint(|v| negative.deltas.push(zigzag(v)))?,
            11 => f.repeated_fixed64(&mut negative.counts)?,
            12 => positive.spans.push(span(f.message()?)?),
            13 => f.repeated_varint(|v| positive.deltas.push(zigzag(v)))?,
            14 => f.repeated_fixed64(&mut positive.counts)?,
            _ => {}
        }
    }
    let float = count_float > 0.0 || zero_float > 0.0;
    h.count = if float { count_float } else { count as f64 };
    h.zero_count = if float { zero_float } else { zero as f64 };
    h.sum = super::number::normal(h.sum);
    h.reset_hint = if gauge { ResetHint::Gauge } else { ResetHint::Unknown };
    let has_native = !positive.spans.is_empty() || !negative.spans.is_empty() || h.zero_threshold > 0.0 || h.zero_count > 0.0;
    if has_native {
        (h.positive_spans, h.positive) = positive.counts(float);
        (h.negative_spans, h.negative) = negative.counts(float);
        native::admit(&mut h, !float).map_err(Wrong::Value)?;
    }
    Ok(Read { histogram: h, native: has_native })
}
