//! JSON written as it goes: answers are long, and their shapes few.

use model::{Histogram, Labels};

/// A string in quotes.
pub(crate) fn string(out: &mut String, text: &str) {
    // Without a way out early, so that it is done in large steps.
    if text.bytes().fold(false, |any, b| any | (b < 0x20) | (b == b'"') | (b == b'\\')) {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// `{"a":"b"}`.
pub(crate) fn labels(out: &mut String, labels: &Labels) {
    pairs(out, labels.iter());
}

/// `{"a":"b"}` of names and values.
pub(crate) fn pairs<'l>(out: &mut String, pairs: impl IntoIterator<Item = (&'l str, &'l str)>) {
    out.push('{');
    list(out, pairs, |out, (name, value)| {
        string(out, name);
        out.push(':');
        string(out, value);
    });
    out.push('}');
}

/// Items with commas between them.
pub(crate) fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(out, item);
    }
}

/// `["a","b"]`.
pub(crate) fn strings<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let mut out = String::from("[");
    list(&mut out, items, |out, item| string(out, item.as_ref()));
    out.push(']');
    out
}

/// `[1435781451.781,"1"]`: seconds and a value.
pub(crate) fn point(out: &mut String, time_ms: i64, value: f64) {
    out.push('[');
    seconds(out, time_ms);
    out.push_str(",\"");
    promql::write_number(out, value);
    out.push_str("\"]");
}

/// `[1435781451.781,{"count":"6","sum":"3","buckets":[[1,"0.5","1","2"]]}]`: seconds and a native histogram. A bucket begins with a
/// number: 0 it is open on the left, 1 on the right, 2 on both sides, 3 on none.
pub(crate) fn histogram_point(out: &mut String, time_ms: i64, histogram: &Histogram) {
    out.push('[');
    seconds(out, time_ms);
    let number = promql::number;
    out.push_str(&format!(",{{\"count\":\"{}\",\"sum\":\"{}\"", number(histogram.count), number(histogram.sum)));
    let buckets: Vec<_> = histogram.buckets().into_iter().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":[");
        list(out, buckets, |out, b| {
            let open = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            out.push_str(&format!("[{open},\"{}\",\"{}\",\"{}\"]", number(b.lower), number(b.upper), number(b.count)));
        });
        out.push(']');
    }
    out.push_str("}]");
}

/// Milliseconds as seconds, with three decimals where there is a fraction.
pub(crate) fn seconds(out: &mut String, time_ms: i64) {
    if time_ms < 0 {
        out.push('-');
    }
    let size = time_ms.unsigned_abs();
    out.push_str(itoa::Buffer::new().format(size / 1000));
    let fraction = (size % 1000) as u32;
    if fraction > 0 {
        out.push('.');
        [100, 10, 1].iter().for_each(|place| out.push(char::from(b'0' + (fraction / place % 10) as u8)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_milliseconds() {
        let text = |ms| {
            let mut out = String::new();
            seconds(&mut out, ms);
            out
        };
        assert_eq!([text(1_435_781_451_781), text(2000), text(5), text(-1500)], ["1435781451.781", "2", "0.005", "-1.500"]);
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(strings(["a\"b", "\u{1}\n"]), r#"["a\"b","\u0001\n"]"#);
    }
}
