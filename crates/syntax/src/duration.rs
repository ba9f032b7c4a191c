//! Durations as queries write them.

/// A duration of Prometheus (`model.ParseDuration`): `1y2w3d4h5m6s7ms`, units in this order, each at most once, whole numbers; in
/// milliseconds. `None` where `text` is none, `Some(None)` where it is one that Go's durations (63 bits of nanoseconds) cannot hold.
#[must_use]
pub fn prometheus_duration(text: &str) -> Option<Option<i64>> {
    const UNITS: [(&str, i64); 7] =
        [("y", 31_536_000_000), ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text;
    let mut total = Some(0i64);
    let mut next = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = UNITS[next..].iter().position(|(name, _)| *name == &tail[..unit_length])? + next;
        total = total.and_then(|t| number.parse::<i64>().ok()?.checked_mul(UNITS[unit].1)?.checked_add(t));
        total = total.filter(|t| *t <= i64::MAX / 1_000_000);
        next = unit + 1;
        rest = &tail[unit_length..];
    }
    Some(total)
}

/// Milliseconds as Prometheus prints a duration (`model.Duration.String`): `1d12h`, `5m`, `0s`; years and weeks only where nothing is
/// left over.
#[must_use]
pub fn prometheus_duration_text(ms: i64) -> String {
    const UNITS: [(&str, u64, bool); 7] = [
        ("y", 31_536_000_000, true),
        ("w", 604_800_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::from(if ms < 0 { "-" } else { "" });
    let mut rest = ms.unsigned_abs();
    for (unit, size, exact) in UNITS {
        if rest >= size && (!exact || rest.is_multiple_of(size)) {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    out
}

/// A duration as Go's `time.ParseDuration` reads it (`1h30m`, `1.5s`, `-2m`), plus the units in `extra` (name, nanoseconds); in
/// nanoseconds. `None` where `text` is none or 63 bits do not hold it.
#[must_use]
pub fn go_duration(text: &str, extra: &[(&str, i64)]) -> Option<i64> {
    const UNITS: [(&str, i64); 8] = [
        ("ns", 1),
        ("us", 1000),
        ("µs", 1000),
        ("μs", 1000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i64;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len()));
        let (_, scale) = UNITS.iter().chain(extra).find(|(name, _)| *name == unit)?;
        let part = match number.parse::<i64>() {
            Ok(whole) => whole.checked_mul(*scale)?,
            Err(_) => {
                let ns = number.parse::<f64>().ok()? * *scale as f64;
                (ns < 9.2e18).then_some(ns as i64)?
            }
        };
        total = total.checked_add(part)?;
        rest = tail;
    }
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_and_go_read_them() {
        for (text, ms) in [
            ("5m", Some(Some(300_000))),
            ("1h30m", Some(Some(5_400_000))),
            ("7ms", Some(Some(7))),
            ("1d", Some(Some(86_400_000))),
        ] {
            assert_eq!(prometheus_duration(text), ms, "{text}");
        }
        for bad in ["", "5", "m", "5m1h", "1m1m", "1.5s", "-5m"] {
            assert_eq!(prometheus_duration(bad), None, "{bad}");
        }
        assert_eq!(prometheus_duration("300y"), Some(None), "too long for Go");
        for (ms, text) in [
            (0, "0s"),
            (300_000, "5m"),
            (129_600_000, "1d12h"),
            (604_800_000, "1w"),
            (7_776_000_000, "90d"),
            (31_536_000_000, "1y"),
            (1_001, "1s1ms"),
            (-90_000, "-1m30s"),
        ] {
            assert_eq!(prometheus_duration_text(ms), text);
        }
        for (text, ns) in [("1.5s", 1_500_000_000), ("1h30m", 5_400_000_000_000), ("-2ms", -2_000_000), ("3µs", 3000), ("0", 0)]
        {
            assert_eq!(go_duration(text, &[]), Some(ns), "{text}");
        }
        assert_eq!(go_duration("2d", &[("d", 86_400_000_000_000)]), Some(172_800_000_000_000));
        for bad in ["", "5", "s", "2d", "1e3s", "9999999999h", "--1s", "."] {
            assert_eq!(go_duration(bad, &[]), None, "{bad}");
        }
    }
}
