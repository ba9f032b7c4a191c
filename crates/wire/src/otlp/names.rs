//! Names of metrics and labels as Prometheus makes them of OTLP's (strategy `UnderscoreEscapingWithSuffixes`;
//! OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility").

use std::borrow::Cow;

use crate::MetricKind;

/// The metric's name: words joined by `_`, then the unit, then `_total` for counters and `_ratio` for gauges of unit `1`,
/// each unless the name has it already. `None` where no character of the name can be kept.
pub(super) fn metric_name(name: &str, unit: &str, kind: MetricKind) -> Option<String> {
    let mut words: Vec<&str> = name.split(|c: char| !is_name(c)).filter(|w| !w.is_empty()).collect();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = clean(known(&UNITS, main));
    let per = clean(known(&PER_UNITS, per));
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    if !main.is_empty() && !words.contains(&&*main) {
        words.push(&main);
    }
    if !per.is_empty() && !words.contains(&&*per) {
        words.push(&per);
    }
    let suffix = match kind {
        MetricKind::Counter => "total",
        MetricKind::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    if !suffix.is_empty() {
        words.retain(|w| *w != suffix);
        words.push(suffix);
    }
    let name = words.join("_");
    match name.as_bytes().first() {
        None => None,
        Some(b'0'..=b'9') => Some(format!("_{name}")),
        Some(_) => Some(name),
    }
}

/// The label's name: what is no letter, digit or `_` becomes `_`; a name may not start with a digit or a single `_`.
pub(super) fn label_name(key: &str) -> Cow<'_, str> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = if key.chars().all(valid) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(key.chars().map(|c| if valid(c) { c } else { '_' }).collect())
    };
    match name.as_bytes() {
        [b'0'..=b'9', ..] => Cow::Owned(format!("key_{name}")),
        [b'_', b'_', ..] => name,
        [b'_', ..] => Cow::Owned(format!("key{name}")),
        _ => name,
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// The word for a unit; nothing for annotations in braces, the unit itself where it has no word.
fn known<'u>(words: &[(&'static str, &'static str)], unit: &'u str) -> &'u str {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return "";
    }
    words.iter().find(|(u, _)| *u == unit).map_or(unit, |(_, word)| word)
}

fn clean(unit: &str) -> String {
    unit.split(|c| !is_name(c)).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("_")
}

/// UCUM units and the words that Prometheus uses.
const UNITS: [(&str, &str); 27] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    // Not "tebibytes": the name that Prometheus has always given it.
    ("TiBy", "tibibytes"),
    ("kBy", "kilobytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// Units after a `/`, in the singular.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_get_the_words_of_their_unit_and_kind() {
        use MetricKind::{Counter, Gauge, Histogram};
        for (name, unit, kind, prometheus) in [
            ("http.server.request.duration", "s", Histogram, "http_server_request_duration_seconds"),
            ("requests", "{request}", Counter, "requests_total"),
            ("requests.total.failed", "1", Counter, "requests_failed_total"),
            ("memory.usage", "By", Gauge, "memory_usage_bytes"),
            ("memory_bytes_used", "By", Gauge, "memory_bytes_used"),
            ("cpu.utilization", "1", Gauge, "cpu_utilization_ratio"),
            ("throughput", "By/s", Gauge, "throughput_bytes_per_second"),
            ("rate", "{packet}/s", Gauge, "rate_per_second"),
            ("a..b--c", "", Gauge, "a_b_c"),
            ("2xx", "", Gauge, "_2xx"),
            ("odd", "foo bar", Gauge, "odd_foo_bar"),
        ] {
            assert_eq!(metric_name(name, unit, kind).as_deref(), Some(prometheus), "{name} in {unit}");
        }
        assert_eq!(metric_name("é", "", Gauge), None);
    }

    #[test]
    fn label_names_keep_letters_digits_and_underscores() {
        for (key, name) in
            [("http.method", "http_method"), ("1a", "key_1a"), ("_a", "key_a"), ("__a", "__a"), ("é", "key_"), ("ok", "ok")]
        {
            assert_eq!(label_name(key), name);
        }
    }
}
