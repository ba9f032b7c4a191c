//! Series as the reference's tests and rule unit tests describe them: `metric{a="b"} 1 2+3x4 _ stale {{sum:1 count:2}}x3`
//! (<https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series>).

use model::{BucketSpan, CUSTOM_BUCKETS, Histogram, Labels, ResetHint, STALE_NAN_BITS};

use crate::ParseError;
use crate::parser::parse_metric;

/// Most values that one description may ask for.
const MAX_VALUES: usize = 1_000_000;

/// A series and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesDescription {
    /// Its labels, the metric name among them.
    pub labels: Labels,
    /// Whether `@st` stands behind the labels: the values are start timestamps, in seconds from the sample's own time.
    pub is_starts: bool,
    /// One value a step.
    pub values: Vec<SequenceValue>,
}

/// A value of a described series.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceValue {
    /// `_`: no sample.
    Omitted,
    /// A number, or the staleness marker.
    Float(f64),
    /// A native histogram.
    Histogram {
        /// The histogram.
        histogram: Histogram,
        /// Whether its reset hint was written.
        hinted: bool,
    },
}

/// Reads the description of a series.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse_series_description(text: &str) -> Result<SeriesDescription, ParseError> {
    let (labels, at) = parse_metric(text)?;
    let mut reader = Reader { text, at };
    let is_starts = reader.eat("@st");
    let mut values = Vec::new();
    loop {
        let blanks = reader.blanks();
        if reader.rest().is_empty() {
            return Ok(SeriesDescription { labels, is_starts, values });
        }
        if !blanks {
            return reader.fail("expected a space between series values");
        }
        reader.item(&mut values)?;
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

type Read<T> = Result<T, ParseError>;

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(ParseError::at(self.text, self.at, message))
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Skips blanks; whether there were any.
    fn blanks(&mut self) -> bool {
        let rest = self.rest().trim_start();
        let before = std::mem::replace(&mut self.at, self.text.len() - rest.len());
        self.at > before
    }

    /// One item of the sequence: a value, perhaps repeated or counted on.
    fn item(&mut self, out: &mut Vec<SequenceValue>) -> Read<()> {
        if self.eat("_") {
            let times = if self.eat("x") { self.times()? } else { 1 };
            return self.push(out, times, |_| SequenceValue::Omitted);
        }
        if self.rest().starts_with("{{") {
            return self.histograms(out);
        }
        let value = if self.eat("stale") { f64::from_bits(STALE_NAN_BITS) } else { self.signed()? };
        let step = if self.rest().starts_with(['+', '-']) { Some(self.signed()?) } else { None };
        if !self.eat("x") {
            return match step {
                None => self.push(out, 1, |_| SequenceValue::Float(value)),
                Some(_) => self.fail("unexpected character in series values, expected \"x\""),
            };
        }
        let times = self.times()?;
        let mut next = value;
        self.push(out, times + 1, |_| {
            let this = next;
            next += step.unwrap_or(0.0);
            SequenceValue::Float(if step.is_some() { this } else { value })
        })
    }

    fn push(&self, out: &mut Vec<SequenceValue>, times: usize, mut value: impl FnMut(usize) -> SequenceValue) -> Read<()> {
        if out.len() + times > MAX_VALUES {
            return self.fail(format!("more than {MAX_VALUES} series values"));
        }
        out.extend((0..times).map(&mut value));
        Ok(())
    }

    fn times(&mut self) -> Read<usize> {
        let length = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        match self.rest()[..length].parse() {
            Ok(times) => {
                self.at += length;
                Ok(times)
            }
            Err(e) => self.fail(format!("invalid repetition in series values: {e}")),
        }
    }

    fn signed(&mut self) -> Read<f64> {
        let minus = self.eat("-");
        if !minus {
            self.eat("+");
        }
        let value = self.number()?;
        Ok(if minus { -value } else { value })
    }

    /// A number or a duration (in seconds), up to where it ends: `x` repeats, a sign counts on.
    fn number(&mut self) -> Read<f64> {
        let rest = self.rest();
        for (word, value) in [("inf", f64::INFINITY), ("nan", f64::NAN)] {
            if rest.get(..3).is_some_and(|w| w.eq_ignore_ascii_case(word)) {
                self.at += 3;
                return Ok(value);
            }
        }
        let bytes = rest.as_bytes();
        let mut end = 0;
        while let Some(b) = bytes.get(end) {
            let exponent = end > 0 && matches!(bytes[end - 1], b'e' | b'E') && matches!(b, b'+' | b'-');
            let part = b.is_ascii_alphanumeric() && *b != b'x' || matches!(b, b'.' | b'_');
            if !part && !exponent {
                break;
            }
            end += 1;
        }
        let text = &rest[..end];
        let value = crate::parser::number(text).filter(|_| text.starts_with(|c: char| c.is_ascii_digit() || c == '.'));
        let value = value.or_else(|| syntax::prometheus_duration(text).flatten().map(|ms| ms as f64 / 1000.0));
        match value {
            Some(value) => {
                self.at += end;
                Ok(value)
            }
            None => self.fail(format!("unexpected {text:?} in series values, expected number or \"stale\"")),
        }
    }

    fn histograms(&mut self, out: &mut Vec<SequenceValue>) -> Read<()> {
        let (first, hinted) = self.histogram()?;
        let minus = self.rest().starts_with("-{{");
        if !minus && !self.rest().starts_with("+{{") {
            let times = if self.eat("x") { self.times()? + 1 } else { 1 };
            return self.push(out, times, |_| SequenceValue::Histogram { histogram: first.clone(), hinted });
        }
        self.at += 1;
        let (step, hinted) = self.histogram()?;
        if !self.eat("x") {
            return self.fail("unexpected character in series values, expected \"x\"");
        }
        let times = self.times()?;
        if times > MAX_VALUES {
            return self.fail(format!("more than {MAX_VALUES} series values"));
        }
        let mut histogram = first;
        for i in 0..=times {
            if i > 0 {
                if histogram.schema > step.schema {
                    let (from, to) = (step.schema, histogram.schema);
                    return self.fail(format!("error combining histograms: cannot merge from schema {from} to {to}"));
                }
                let next = if minus { histogram.minus(&step) } else { histogram.plus(&step) };
                let Ok((next, _)) = next else { return self.fail("error combining histograms: incompatible buckets") };
                histogram = next;
            }
            self.push(out, 1, |_| SequenceValue::Histogram { histogram: histogram.clone(), hinted })?;
        }
        Ok(())
    }

    /// `{{schema:1 sum:-0.3 count:3.1 z_bucket:7.1 z_bucket_w:0.05 buckets:[5.1 10 7] offset:-3 n_buckets:[4.1 5] n_offset:-5
    /// custom_values:[1 2] counter_reset_hint:gauge}}`, and whether the hint was written.
    fn histogram(&mut self) -> Read<(Histogram, bool)> {
        self.at += 2;
        let mut h = Histogram::default();
        let (mut offset, mut negative_offset) = (0, 0);
        let mut seen: Vec<&str> = Vec::new();
        loop {
            self.blanks();
            if self.eat("}}") {
                break;
            }
            let length = self.rest().find(|c: char| !(c.is_ascii_alphabetic() || c == '_')).unwrap_or(self.rest().len());
            let key = &self.rest()[..length];
            if seen.contains(&key) {
                return self.fail(format!("duplicate key {key:?} in histogram"));
            }
            seen.push(key);
            let key_at = self.at;
            self.at += length;
            if !self.eat(":") {
                self.at = key_at;
                return self.fail("unexpected character in histogram description, expected a key such as buckets:[5 10 7]");
            }
            match key {
                "schema" => h.schema = self.integer()?,
                "sum" => h.sum = self.signed()?,
                "count" => h.count = self.signed()?,
                "z_bucket" => h.zero_count = self.signed()?,
                "z_bucket_w" => h.zero_threshold = self.signed()?,
                "custom_values" => h.custom_bounds = self.list()?,
                "buckets" => h.positive = self.list()?,
                "n_buckets" => h.negative = self.list()?,
                "offset" => offset = self.integer()?,
                "n_offset" => negative_offset = self.integer()?,
                "counter_reset_hint" => h.reset_hint = self.hint()?,
                key => {
                    self.at = key_at;
                    return self.fail(format!("bad histogram descriptor found: {key:?}"));
                }
            }
        }
        let span = |offset, counts: &[f64]| match u32::try_from(counts.len()) {
            Ok(length) if length > 0 => vec![BucketSpan { offset, length }],
            _ => Vec::new(),
        };
        (h.positive_spans, h.negative_spans) = (span(offset, &h.positive), span(negative_offset, &h.negative));
        let known = h.schema == CUSTOM_BUCKETS || (-4..=8).contains(&h.schema);
        if !known {
            return self.fail(format!("histogram has an unknown schema {}", h.schema));
        }
        Ok((h, seen.contains(&"counter_reset_hint")))
    }

    fn integer(&mut self) -> Read<i32> {
        let value = self.signed()?;
        let whole = value as i32;
        if f64::from(whole) == value { Ok(whole) } else { self.fail("expected a whole number") }
    }

    fn list(&mut self) -> Read<Vec<f64>> {
        if !self.eat("[") {
            return self.fail("expected \"[\"");
        }
        let mut values = Vec::new();
        loop {
            self.blanks();
            if self.eat("]") {
                return Ok(values);
            }
            if self.rest().is_empty() || values.len() > MAX_VALUES {
                return self.fail("expected \"]\"");
            }
            values.push(self.signed()?);
        }
    }

    fn hint(&mut self) -> Read<ResetHint> {
        for (word, hint) in [
            ("unknown", ResetHint::Unknown),
            ("not_reset", ResetHint::NoReset),
            ("reset", ResetHint::Reset),
            ("gauge", ResetHint::Gauge),
        ] {
            if self.eat(word) {
                return Ok(hint);
            }
        }
        self.fail("expected a counter reset hint: unknown, reset, not_reset or gauge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_say_what_each_step_has() {
        let values = |text: &str| {
            let values = parse_series_description(text).unwrap_or_else(|e| panic!("{text}: {e}")).values;
            let one = |v: &SequenceValue| match v {
                SequenceValue::Omitted => "_".to_owned(),
                SequenceValue::Float(v) => crate::number(*v),
                SequenceValue::Histogram { histogram, .. } => histogram.to_string(),
            };
            values.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        for (text, expected) in [
            ("{} 1 2 3", "1 2 3"),
            (r#"m{a="b"} -1 3-10x2 _x2 1x0 2x1"#, "-1 3 -7 -17 _ _ 1 2 2"),
            ("m 0+1m30sx1 NaN -Inf 1e3", "0 90 NaN -Inf 1000"),
            (
                "m {{count:1 sum:2 buckets:[1]}}+{{count:2 buckets:[0 2]}}x1",
                "{count:1, sum:2, (0.5,1]:1} {count:3, sum:2, (0.5,1]:1, (1,2]:2}",
            ),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
        assert!(parse_series_description("m@st _ -1m").expect("starts").is_starts);
        for bad in ["m 1 _a4", "m 1x", "m {{sum}}", "m {{sum:1 sum:2}}", "m 1,2", "m 1x9999999999", "m {{schema:77}}", "m{ 1"] {
            assert!(parse_series_description(bad).is_err(), "{bad}");
        }
    }
}
