//! Times and durations in parameters.

use crate::go::parse_int;

/// RFC 3339 to nanoseconds since the Unix epoch.
fn rfc3339(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// The first and the last time that Prometheus' clients may ask for, as it writes them: no date of RFC 3339.
const EDGES: [(&str, i64); 2] = [("-292273086-05-16T16:47:06Z", i64::MIN), ("292277025-08-18T07:12:54.999999999Z", i64::MAX)];

/// Milliseconds since the Unix epoch, of float seconds or RFC 3339: Prometheus' times.
pub(crate) fn prometheus_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return (ms.is_finite() && ms.abs() <= i64::MAX as f64).then_some(ms as i64);
    }
    if let Some((_, edge)) = EDGES.iter().find(|(edge, _)| *edge == text) {
        return Some(*edge);
    }
    rfc3339(text).map(|ns| ns.div_euclid(1_000_000))
}

/// Milliseconds, of float seconds or `1h30m`: Prometheus' durations.
pub(crate) fn prometheus_duration_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return (ms.is_finite() && ms.abs() < 9.2e12).then_some(ms as i64);
    }
    promql::parse_duration(text)
}

/// Nanoseconds since the Unix epoch, of integer nanoseconds, seconds (up to ten digits, or with a fraction) or RFC 3339:
/// Loki's times. The error is in its words.
pub(crate) fn loki_ns(text: &str) -> Result<i64, String> {
    if let Some(ns) = rfc3339(text) {
        return Ok(ns);
    }
    if text.contains('.') {
        let seconds: f64 = text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))?;
        return match seconds.trunc() {
            whole if whole.is_nan() || whole.is_infinite() => Err("floating point timestamp is NaN or Inf".to_owned()),
            whole if whole.abs() > 9.2e18 => Err("floating point timestamp exceeds integer range".to_owned()),
            whole if whole.abs() <= SECONDS_MAX as f64 => {
                let fraction = (seconds.fract() * 1e9).round() as i64;
                let ns = (whole as i64).checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(fraction));
                ns.ok_or_else(|| "floating point timestamp exceeds integer range".to_owned())
            }
            whole => Ok(whole as i64),
        };
    }
    let number = parse_int(text)?;
    if number > SECONDS_MAX {
        return Ok(number);
    }
    let out_of_range = || format!("strconv.ParseInt: parsing {text:?}: value out of range");
    number.checked_mul(1_000_000_000).ok_or_else(out_of_range)
}

/// Larger numbers are nanoseconds.
const SECONDS_MAX: i64 = 9_999_999_999;

/// Nanoseconds, of float seconds or a duration: Loki's steps and intervals. The error is in its words.
pub(crate) fn loki_duration_ns(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        let overflow = || format!("cannot parse {text:?} to a valid duration. It overflows int64");
        return if seconds.abs() < 9.2e9 { Ok((seconds * 1e9) as i64) } else { Err(overflow()) };
    }
    promql::parse_duration(text)
        .and_then(|ms| ms.checked_mul(1_000_000))
        .ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_each_api_writes_them() {
        assert_eq!(prometheus_ms("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(prometheus_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(prometheus_ms("NaN"), None);
        assert_eq!(prometheus_ms("-9223309901257974"), Some(-9_223_309_901_257_973_760));
        assert_eq!(prometheus_ms("1e17"), None);
        assert_eq!(prometheus_ms("-292273086-05-16T16:47:06Z"), Some(i64::MIN));
        assert_eq!(prometheus_duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(prometheus_duration_ms("0.5"), Some(500));
        assert_eq!(loki_ns("1570818238000000000"), Ok(1_570_818_238_000_000_000));
        assert_eq!(loki_ns("1570818238"), Ok(1_570_818_238_000_000_000));
        assert_eq!(loki_ns("1570818238.5"), Ok(1_570_818_238_500_000_000));
        assert_eq!(loki_ns("1570818238000000000.5"), Ok(1_570_818_238_000_000_000));
        assert_eq!(loki_ns("2019-10-11T18:23:58.000000001Z"), Ok(1_570_818_238_000_000_001));
        assert_eq!(loki_ns("yesterday"), Err("strconv.ParseInt: parsing \"yesterday\": invalid syntax".to_owned()));
        for wild in ["-9223372036854775808", "1e999.0", "nan.", "9e300.0", "-9999999999.9"] {
            assert!(loki_ns(wild).is_err(), "{wild}");
        }
        assert_eq!((loki_duration_ns("1.5"), loki_duration_ns("1h30m")), (Ok(1_500_000_000), Ok(5_400_000_000_000)));
        assert_eq!(loki_duration_ns("soon"), Err("cannot parse \"soon\" to a valid duration".to_owned()));
        assert_eq!(loki_duration_ns("1e30"), Err("cannot parse \"1e30\" to a valid duration. It overflows int64".to_owned()));
    }
}
