//! Histograms as text.

use std::fmt;

use super::{Bucket, Histogram, pairs};

/// A number as Go's `%g` prints it.
struct General(f64);

impl fmt::Display for General {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_general(self.0))
    }
}

/// A number as Go's `%g` and `%v` print it: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e6
/// on, `+Inf`, `-Inf`, `NaN`.
#[must_use]
pub fn go_general(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&power) {
        let (sign, size) = if power < 0 { ('-', -power) } else { ('+', power) };
        return format!("{digits}e{sign}{size:02}");
    }
    value.to_string()
}

/// `(1,2]:3`.
impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = (if self.lower_inclusive { '[' } else { '(' }, if self.upper_inclusive { ']' } else { ')' });
        write!(f, "{open}{},{}{close}:{}", General(self.lower), General(self.upper), General(self.count))
    }
}

/// `{count:6, sum:3, [-0.5,0.5]:1, (1,2]:5}`, empty buckets left out.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", General(self.count), General(self.sum))?;
        let negative: Vec<_> = pairs(&self.negative_spans, &self.negative).collect();
        let negative = negative.into_iter().rev().map(|(i, count)| self.negative_bucket(i, count));
        let positive = pairs(&self.positive_spans, &self.positive).map(|(i, count)| self.positive_bucket(i, count));
        for bucket in negative.chain([self.zero_bucket()]).chain(positive) {
            if bucket.count != 0.0 {
                write!(f, ", {bucket}")?;
            }
        }
        f.write_str("}")
    }
}
