//! Times and durations in parameters.

/// RFC 3339 to nanoseconds since the Unix epoch.
fn rfc3339(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Milliseconds since the Unix epoch, of float seconds or RFC 3339: Prometheus' times.
pub(crate) fn prometheus_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        return (ms.is_finite() && ms.abs() < 9.2e18).then_some(ms as i64);
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
/// Loki's times.
pub(crate) fn loki_ns(text: &str) -> Option<i64> {
    if let Ok(n) = text.parse::<i64>() {
        return if text.len() <= 10 { n.checked_mul(1_000_000_000) } else { Some(n) };
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.abs() < 9.2e9)
            .then(|| (seconds.trunc() as i64) * 1_000_000_000 + (seconds.fract() * 1e9).round() as i64);
    }
    rfc3339(text)
}

/// Nanoseconds, of float seconds or a duration: Loki's steps and intervals.
pub(crate) fn loki_duration_ns(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.abs() < 9.2e9).then_some((seconds * 1e9) as i64);
    }
    logql::parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_each_api_writes_them() {
        assert_eq!(prometheus_ms("1435781451.781"), Some(1_435_781_451_781));
        assert_eq!(prometheus_ms("2015-07-01T20:10:51.781Z"), Some(1_435_781_451_781));
        assert_eq!(prometheus_ms("NaN"), None);
        assert_eq!(prometheus_duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(prometheus_duration_ms("0.5"), Some(500));
        assert_eq!(loki_ns("1570818238000000000"), Some(1_570_818_238_000_000_000));
        assert_eq!(loki_ns("1570818238"), Some(1_570_818_238_000_000_000));
        assert_eq!(loki_ns("1570818238.5"), Some(1_570_818_238_500_000_000));
        assert_eq!(loki_ns("2019-10-11T18:23:58.000000001Z"), Some(1_570_818_238_000_000_001));
        assert_eq!(loki_ns("yesterday"), None);
    }
}
