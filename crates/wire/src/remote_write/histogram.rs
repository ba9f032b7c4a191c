//! `Histogram`, which has the same fields in `prometheus/prompb/types.proto` and in `io.prometheus.write.v2`.

use model::{BucketSpan, Histogram, ResetHint};

use crate::native::{self, Flaw};
use crate::protobuf::{Reader, Wire, write};
use crate::{Limits, WireError};

/// Above this not every integer is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a message said.
#[derive(Debug, Default)]
pub(super) struct ReadHistogram {
    pub(super) histogram: Histogram,
    pub(super) time: i64,
    pub(super) start: i64,
    integer: bool,
}

impl ReadHistogram {
    /// Reads a message in place of what was read before. The inner error says why the histogram is refused.
    pub(super) fn read(&mut self, mut r: Reader<'_>, limits: &Limits) -> Result<Result<(), Flaw>, WireError> {
        let h = &mut self.histogram;
        h.positive_spans.clear();
        h.negative_spans.clear();
        h.positive.clear();
        h.negative.clear();
        h.custom_bounds.clear();
        (h.schema, h.reset_hint, h.zero_threshold, h.zero_count, h.count, h.sum) = (0, ResetHint::Unknown, 0.0, 0.0, 0.0, 0.0);
        (self.time, self.start, self.integer) = (0, 0, true);
        // Integer buckets come as differences from bucket to bucket.
        let (mut positive, mut negative) = (0i64, 0i64);
        while let Some(f) = r.field("Histogram")? {
            match f.number {
                1 => h.count = f.varint()? as f64,
                2 => (h.count, self.integer) = (f.double()?, false),
                3 => h.sum = f.double()?,
                4 => h.schema = zigzag(f.varint()?) as i32,
                5 => h.zero_threshold = f.double()?,
                6 => h.zero_count = f.varint()? as f64,
                7 => (h.zero_count, self.integer) = (f.double()?, false),
                8 => h.negative_spans.push(span(f.message()?)?),
                9 => integers(f.wire, &mut negative, &mut h.negative)?,
                10 => doubles(f.wire, &mut h.negative)?,
                11 => h.positive_spans.push(span(f.message()?)?),
                12 => integers(f.wire, &mut positive, &mut h.positive)?,
                13 => doubles(f.wire, &mut h.positive)?,
                14 => {
                    h.reset_hint = match f.u32()? {
                        1 => ResetHint::Reset,
                        2 => ResetHint::NoReset,
                        3 => ResetHint::Gauge,
                        _ => ResetHint::Unknown,
                    }
                }
                15 => self.time = f.varint()? as i64,
                16 => doubles(f.wire, &mut h.custom_bounds)?,
                17 => self.start = f.varint()? as i64,
                _ => {}
            }
            let lists =
                [h.positive.len(), h.negative.len(), h.custom_bounds.len(), h.positive_spans.len(), h.negative_spans.len()];
            if lists.into_iter().any(|len| len > limits.max_native_buckets) {
                let what = "the number of a native histogram's buckets";
                return Err(WireError::TooLarge { what, limit: limits.max_native_buckets });
            }
        }
        if model::is_stale(h.sum) {
            // Nothing else of it means anything.
            self.histogram = Histogram { sum: h.sum, ..Histogram::default() };
            return Ok(Ok(()));
        }
        Ok(native::admit(h, self.integer))
    }
}

/// `sint32` and `sint64`.
pub(crate) const fn zigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// `BucketSpan`, which has the same fields in `io.prometheus.client`.
pub(crate) fn span(mut r: Reader<'_>) -> Result<BucketSpan, WireError> {
    let mut span = BucketSpan { offset: 0, length: 0 };
    while let Some(f) = r.field("BucketSpan")? {
        match f.number {
            1 => span.offset = zigzag(f.varint()?) as i32,
            2 => span.length = f.u32()?,
            _ => {}
        }
    }
    Ok(span)
}

const WRONG_TYPE: WireError =
    WireError::Malformed { what: "buckets of a histogram with another wire type than they have", at: 0 };

fn integers(wire: Wire<'_>, last: &mut i64, out: &mut Vec<f64>) -> Result<(), WireError> {
    let mut add = |delta: u64| {
        *last = last.wrapping_add(zigzag(delta));
        out.push(*last as f64);
    };
    match wire {
        Wire::Varint(delta) => add(delta),
        Wire::Bytes(mut r) => {
            while !r.is_empty() {
                add(r.varint("buckets of a histogram")?);
            }
        }
        _ => return Err(WRONG_TYPE),
    }
    Ok(())
}

fn doubles(wire: Wire<'_>, out: &mut Vec<f64>) -> Result<(), WireError> {
    match wire {
        Wire::Fixed64(bits) => out.push(f64::from_bits(bits)),
        Wire::Bytes(mut r) => {
            while !r.is_empty() {
                out.push(f64::from_bits(r.fixed64("buckets of a histogram")?));
            }
        }
        _ => return Err(WRONG_TYPE),
    }
    Ok(())
}

/// Whether it can be told as a histogram of integers, which Prometheus checks to add up.
pub(crate) fn counts_integers(h: &Histogram) -> bool {
    let integer = |n: &f64| *n >= 0.0 && *n <= EXACT && n.fract() == 0.0 && !(*n == 0.0 && n.is_sign_negative());
    let adds_up = {
        let found = h.zero_count + h.positive.iter().chain(&h.negative).sum::<f64>();
        model::is_stale(h.sum) || if h.sum.is_nan() { found <= h.count } else { found == h.count }
    };
    let all = [h.count, h.zero_count];
    adds_up && all.iter().chain(&h.positive).chain(&h.negative).all(integer)
}

/// Appends the message's fields: with integers where all counts are.
pub(crate) fn put_histogram(out: &mut Vec<u8>, time: i64, start: i64, h: &Histogram) {
    let integers = counts_integers(h);
    if integers {
        write::set_varint(out, 1, h.count as u64);
    } else {
        write::set_fixed64(out, 2, h.count.to_bits());
    }
    write::put_fixed64(out, 3, h.sum.to_bits());
    write::put_varint(out, 4, unzigzag(i64::from(h.schema)));
    write::put_fixed64(out, 5, h.zero_threshold.to_bits());
    if integers {
        write::set_varint(out, 6, h.zero_count as u64);
    } else {
        write::set_fixed64(out, 7, h.zero_count.to_bits());
    }
    put_side(out, [8, 9, 10], &h.negative_spans, &h.negative, integers);
    put_side(out, [11, 12, 13], &h.positive_spans, &h.positive, integers);
    let hint = match h.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NoReset => 2,
        ResetHint::Gauge => 3,
    };
    write::put_varint(out, 14, hint);
    write::put_varint(out, 15, time as u64);
    let bounds: Vec<u8> = h.custom_bounds.iter().flat_map(|b| b.to_bits().to_le_bytes()).collect();
    write::put_bytes(out, 16, &bounds);
    write::put_varint(out, 17, start as u64);
}

const fn unzigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}

fn put_side(out: &mut Vec<u8>, [spans_field, deltas, counts]: [u32; 3], spans: &[BucketSpan], buckets: &[f64], integers: bool) {
    for span in spans {
        write::message(out, spans_field, |out| {
            write::put_varint(out, 1, unzigzag(i64::from(span.offset)));
            write::put_varint(out, 2, u64::from(span.length));
        });
    }
    if buckets.is_empty() {
        return;
    }
    if integers {
        write::message(out, deltas, |out| {
            let mut last = 0;
            for n in buckets {
                write::varint(out, unzigzag(*n as i64 - last));
                last = *n as i64;
            }
        });
    } else {
        let bytes: Vec<u8> = buckets.iter().flat_map(|n| n.to_bits().to_le_bytes()).collect();
        write::put_bytes(out, counts, &bytes);
    }
}
