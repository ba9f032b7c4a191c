//! Where buckets begin and end.

use super::{CUSTOM_BUCKETS, Histogram};

/// One bucket of a histogram, its bounds computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation of exactly `lower` is counted here.
    pub lower_inclusive: bool,
    /// Whether an observation of exactly `upper` is counted here.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// `2^x` as Go's `math.Exp2` computes it for `0 < x < 1/2 + 1/2^53`; the last digit of bucket bounds depends on it.
const fn exp2(x: f64) -> f64 {
    const LN2_HI: f64 = 6.931_471_803_691_238e-1;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    const P: [f64; 5] = [
        1.666_666_666_666_660_2e-1,
        -2.777_777_777_701_559_3e-3,
        6.613_756_321_437_934e-5,
        -1.653_390_220_546_525_2e-6,
        4.138_136_797_057_238_5e-8,
    ];
    // One half rounds up: 2^(1/2) is 2 * 2^(-1/2).
    let (k, t) = if x >= 0.5 { (2.0, x - 1.0) } else { (1.0, x) };
    let (hi, lo) = (t * LN2_HI, -t * LN2_LO);
    let r = hi - lo;
    let t = r * r;
    let c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))));
    (1.0 - ((lo - (r * c) / (2.0 - c)) - hi)) * k
}

/// `2^(i/256 - 1)`: the bounds of schema 8 in `[0.5, 1)`, those of lower schemas among them. Computed as the reference did
/// (each schema's new bounds from those of the schema before), because bounds are compared for equality.
const FRACTIONS: [f64; 256] = {
    let mut table = [0.5; 256];
    let mut schema = 1;
    while schema <= 8 {
        let stride = 256 >> schema;
        let factor = exp2(1.0 / (1u32 << schema) as f64);
        let mut i = stride;
        while i < 256 {
            table[i] = table[i - stride] * factor;
            i += 2 * stride;
        }
        schema += 1;
    }
    table
};

/// `fraction * 2^exponent`, also where the result is subnormal or overflows.
fn scaled(fraction: f64, exponent: i32) -> f64 {
    // Powers within the range of normal numbers are exact; two steps reach the rest.
    let half = exponent.clamp(-2000, 2000) / 2;
    fraction * 2f64.powi(half) * 2f64.powi(exponent.clamp(-2000, 2000) - half)
}

/// Upper bound of the positive bucket `index` of an exponential schema.
fn exponential(index: i32, schema: i32) -> f64 {
    // The bucket before the one of infinity ends at the largest number, not at infinity.
    if schema < 0 {
        let exponent = i64::from(index) << -schema.max(-31);
        return if exponent == 1024 { f64::MAX } else { scaled(1.0, exponent.clamp(-2000, 2000) as i32) };
    }
    let schema = schema.min(8);
    let fraction = FRACTIONS[((index & ((1 << schema) - 1)) << (8 - schema)) as usize];
    let exponent = (index >> schema) + 1;
    if fraction == 0.5 && exponent == 1025 { f64::MAX } else { scaled(fraction, exponent) }
}

impl Histogram {
    /// Whether its bounds are given, not computed.
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS
    }

    /// Upper bound of the positive bucket `index`.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.has_custom_buckets() {
            return exponential(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(i) => self.custom_bounds.get(i).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// The positive bucket `index`.
    pub(super) fn positive_bucket(&self, index: i32, count: f64) -> Bucket {
        let (lower, upper) = (self.bound(index.saturating_sub(1)), self.bound(index));
        let (lower_inclusive, upper_inclusive) =
            if self.has_custom_buckets() { (index == 0, true) } else { (lower < 0.0, upper > 0.0) };
        Bucket { lower, upper, lower_inclusive, upper_inclusive, count }
    }

    /// The negative bucket `index`.
    pub(super) fn negative_bucket(&self, index: i32, count: f64) -> Bucket {
        let Bucket { lower, upper, .. } = self.positive_bucket(index, count);
        Bucket { lower: -upper, upper: -lower, lower_inclusive: true, upper_inclusive: false, count }
    }

    /// The zero bucket.
    #[must_use]
    pub fn zero_bucket(&self) -> Bucket {
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        Bucket { lower, upper, lower_inclusive: true, upper_inclusive: true, count: self.zero_count }
    }

    /// All buckets, empty ones too (but for an empty zero bucket), from the lowest to the highest. Where a bucket overlaps the zero
    /// bucket, it begins or ends at the zero threshold.
    #[must_use]
    pub fn buckets(&self) -> Vec<Bucket> {
        let threshold = self.zero_threshold;
        let mut out: Vec<Bucket> = Vec::with_capacity(self.negative.len() + self.positive.len() + 1);
        out.extend(super::pairs(&self.negative_spans, &self.negative).map(|(i, count)| {
            let mut bucket = self.negative_bucket(i, count);
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            bucket
        }));
        out.reverse();
        if self.zero_count > 0.0 {
            out.push(self.zero_bucket());
        }
        out.extend(super::pairs(&self.positive_spans, &self.positive).map(|(i, count)| {
            let mut bucket = self.positive_bucket(i, count);
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        }));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_the_references_to_the_last_digit() {
        for (index, schema, bound) in [
            (0, 0, 1.0),
            (1, 0, 2.0),
            (-1, 0, 0.5),
            (1, 1, 2.0 * 0.707_106_781_186_547_5),
            (1, 3, 2.0 * 0.545_253_866_332_628_8),
            (1, 7, 2.0 * 0.502_714_950_556_401_4),
            (127, 7, 2.0 * 0.994_599_423_483_632_8),
            (21, 6, 2.0 * 0.627_690_378_512_345_5),
            (1, -1, 4.0),
            (1, -4, 65536.0),
            (-1, -4, 1.0 / 65536.0),
            (1024, 0, f64::MAX),
            (1025, 0, f64::INFINITY),
            (64, -4, f64::MAX),
            (65, -4, f64::INFINITY),
            (-1074, 0, 5e-324),
            (i32::MIN, 8, 0.0),
            (i32::MAX, -4, f64::INFINITY),
        ] {
            assert_eq!(exponential(index, schema), bound, "bucket {index} of schema {schema}");
        }
    }

    #[test]
    fn custom_bounds_end_at_infinity() {
        let h = Histogram { schema: CUSTOM_BUCKETS, custom_bounds: vec![1.0, 2.0], ..Histogram::default() };
        let bounds = |i| (h.positive_bucket(i, 1.0).lower, h.positive_bucket(i, 1.0).upper);
        assert_eq!([bounds(0), bounds(1), bounds(2)], [(f64::NEG_INFINITY, 1.0), (1.0, 2.0), (2.0, f64::INFINITY)]);
    }
}
