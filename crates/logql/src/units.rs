//! Durations and sizes, as Go and `go-humanize` read and print them.

use std::borrow::Cow;

use template::quote;

const PROMETHEUS_NS: i64 = 1_000_000;

/// A duration of Prometheus (`1d12h`), else of Go (`1.5s`, `-2m`), nanoseconds. `None` where `text` is neither.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    match syntax::prometheus_duration(text) {
        Some(ms) => ms?.checked_mul(PROMETHEUS_NS),
        None if text == "0" => Some(0),
        None => syntax::go_duration(text, &[]),
    }
}

/// What `time.ParseDuration` reads.
///
/// # Errors
/// What Go says.
pub(crate) fn go_duration(text: &str) -> Result<i64, String> {
    if let Some(ns) = syntax::go_duration(text, &[]) {
        return Ok(ns);
    }
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bad = || format!("time: invalid duration {}", quote(text));
    let mut rest = rest;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number = &rest[..digits];
        if number.matches('.').count() > 1 || !number.contains(|c: char| c.is_ascii_digit()) {
            return Err(bad());
        }
        let tail = &rest[digits..];
        let unit = &tail[..tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len())];
        match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => {}
            unit => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        }
        rest = &tail[unit.len()..];
    }
    Err(bad())
}

/// As `time.Duration.String` prints it: `1h0m0s`, `1.5s`, `300ms`.
pub(crate) fn duration_text(ns: i64) -> String {
    if ns == 0 {
        return "0s".to_owned();
    }
    let sign = if ns < 0 { "-" } else { "" };
    let n = ns.unsigned_abs();
    let fraction = |n: u64, unit: u64| {
        let whole = n / unit;
        let rest = n % unit;
        if rest == 0 {
            return whole.to_string();
        }
        let digits = unit.ilog10() as usize;
        format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
    };
    if n < 1000 {
        return format!("{sign}{n}ns");
    }
    if n < 1_000_000 {
        return format!("{sign}{}µs", fraction(n, 1000));
    }
    if n < 1_000_000_000 {
        return format!("{sign}{}ms", fraction(n, 1_000_000));
    }
    let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
    let seconds = fraction(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, m) => format!("{sign}{m}m{seconds}s"),
        (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
    }
}

/// As `model.Duration.String` prints it: `1d12h`, `5m`; years and weeks only where nothing is left.
pub(crate) fn range_text(ns: i64) -> String {
    syntax::prometheus_duration_text(ns / PROMETHEUS_NS)
}

/// What `humanize.ParseBytes` reads: `1.5KB`, `2 MiB`, `1,024`.
///
/// # Errors
/// What it says.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !(c.is_numeric() || c == '.' || c == ',')).unwrap_or(text.len());
    let number = text[..end].replace(',', "");
    let value: f64 = number.parse().map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(&number)))?;
    let unit = text[end..].trim().to_lowercase();
    let power = |base: f64, letter: &str| "kmgtpe".find(letter).map(|n| base.powi(n as i32 + 1));
    let scale = match unit.as_str() {
        "" | "b" => Some(1.0),
        unit => match unit.strip_suffix('b').unwrap_or(unit) {
            letter if letter.len() == 1 => power(1000.0, letter),
            other => other.strip_suffix('i').filter(|l| l.len() == 1).and_then(|letter| power(1024.0, letter)),
        },
    };
    let Some(scale) = scale else { return Err(format!("unhandled size name: {unit}")) };
    let bytes = value * scale;
    if bytes >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

/// As `humanize.Bytes` prints it, without the space: `1B`, `2.6kB`, `210MB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let mut exponent = ((bytes as f64).ln() / 1000f64.ln()).floor();
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    exponent = exponent.clamp(0.0, 6.0);
    let value = (bytes as f64 / 1000f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(value < 10.0);
    format!("{value:.decimals$}{}", units[exponent as usize])
}

/// `0x1.8p3`: an exponent of two must be there.
fn hexadecimal(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = lower.strip_prefix("0x")?.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()? as f64;
    let exponent: i32 = exponent.parse().ok()?;
    Some(value * 2f64.powi(exponent.clamp(-2000, 2000) - 4 * fraction.len() as i32))
}

/// A number without the underscores between its digits; `None` where there is one that Go's syntax does not allow.
pub(crate) fn without_underscores(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    let prefix = bare.get(..2).map(str::to_ascii_lowercase).filter(|p| matches!(&**p, "0x" | "0o" | "0b"));
    let (hex, mut before) = (prefix.as_deref() == Some("0x"), if prefix.is_some() { '0' } else { '^' });
    for c in bare[prefix.map_or(0, |p| p.len())..].chars() {
        before = match c {
            c if c.is_ascii_digit() || (hex && c.is_ascii_hexdigit()) => '0',
            '_' if before == '0' => '_',
            _ if c == '_' || before == '_' => return None,
            _ => '!',
        };
    }
    (before != '_').then(|| Cow::Owned(text.replace('_', "")))
}

/// What `strconv.ParseFloat` reads.
///
/// # Errors
/// What Go says.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    let bad = || format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text));
    let number = without_underscores(text).ok_or_else(bad)?;
    let (sign, digits) = match number.strip_prefix(['+', '-']) {
        Some(rest) if number.starts_with('-') => (-1.0, rest),
        Some(rest) => (1.0, rest),
        None => (1.0, &*number),
    };
    match digits.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Ok(sign * f64::INFINITY),
        // A sign before it is no number to Go.
        "nan" if digits.len() == text.len() => return Ok(f64::NAN),
        _ => {}
    }
    if let Some(value) = hexadecimal(digits) {
        return Ok(sign * value);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(bad());
    }
    let value: f64 = digits.parse().map_err(|_| bad())?;
    if value.is_infinite() {
        return Err(format!("strconv.ParseFloat: parsing {}: value out of range", quote(text)));
    }
    Ok(sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_may_stand_between_digits() {
        for (text, number) in [("1_000", 1000.0), ("-1_23.50_0_0e+1_2", -1.235e14), ("0x_1_0p0_1", 32.0)] {
            assert_eq!(parse_float(text), Ok(number), "{text}");
        }
        for text in ["_1", "1_", "1__0", "1_.5", "1._5", "1.5_e1", "1e_1", "-_1", "_"] {
            assert_eq!(parse_float(text), Err(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax")));
        }
    }

    #[test]
    fn durations_and_sizes_are_those_of_go() {
        for (ns, text) in [
            (3_600_000_000_000, "1h0m0s"),
            (-300_000_000_000, "-5m0s"),
            (1_500_000_000, "1.5s"),
            (250_000_000, "250ms"),
            (1_500, "1.5µs"),
            (0, "0s"),
        ] {
            assert_eq!(duration_text(ns), text);
        }
        for (ns, text) in
            [(90_000_000_000_000, "1d1h"), (604_800_000_000_000, "1w"), (300_000_000_000, "5m"), (1_500_000_000, "1s500ms")]
        {
            assert_eq!(range_text(ns), text);
        }
        for (text, bytes) in
            [("1KB", 1000), ("1KiB", 1024), ("2,048", 2048), ("1.5B", 1), ("2Kb", 2000), ("1 MiB", 1 << 20), ("5k", 5000)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_bytes("1XB"), Err("unhandled size name: xb".to_owned()));
        assert_eq!(parse_bytes(""), Err("strconv.ParseFloat: parsing \"\": invalid syntax".to_owned()));
        for (bytes, text) in [(1, "1B"), (2560, "2.6kB"), (209_715_200, "210MB"), (1_000_000_000, "1.0GB"), (250_000, "250kB")] {
            assert_eq!(bytes_text(bytes), text);
        }
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
        ] {
            assert_eq!(go_duration(text), Err(error.to_owned()));
        }
    }
}
