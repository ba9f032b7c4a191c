//! Texts that stand for durations, sizes and addresses.

use std::time::Duration;

/// Prometheus' `model.ParseDuration`.
///
/// # Errors
/// Its words.
pub fn duration(text: &str) -> Result<Duration, String> {
    match text {
        "" => Err("empty duration string".to_owned()),
        "0" => Ok(Duration::ZERO),
        _ => match syntax::prometheus_duration(text) {
            Some(Some(ms)) => u64::try_from(ms).map(Duration::from_millis).map_err(|_| "duration out of range".to_owned()),
            Some(None) => Err("duration out of range".to_owned()),
            None => Err(format!("not a valid duration string: {text:?}")),
        },
    }
}

/// A duration as Prometheus prints it: `1m30s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    syntax::prometheus_duration_text(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// `units.ParseBase2Bytes`: `15MB` and `15MiB` are the same, powers of 1,024.
///
/// # Errors
/// Its words.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("units: invalid {text}");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| format!("units: missing unit in {text}"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..letters];
        let power = match unit {
            "B" => Some(0),
            _ => "KMGTPE"
                .find(unit.strip_suffix("iB").or(unit.strip_suffix('B')).filter(|u| u.len() == 1).unwrap_or("?"))
                .map(|p| p + 1),
        };
        let power = power.ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
        total += number * 1024f64.powi(i32::try_from(power).unwrap_or(0));
        rest = &rest[letters..];
    }
    if total < 9.2e18 { Ok(total as u64) } else { Err(wrong()) }
}

/// The scheme and the host (with its port) of what Go's `url.Parse` accepts; either may be empty.
///
/// # Errors
/// Its words for the rest.
pub fn url(text: &str) -> Result<(&str, &str), String> {
    let wrong = |why: &str| format!("parse {text:?}: {why}");
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    let whole = text.split('#').next().unwrap_or_default();
    let end = whole.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))).unwrap_or(whole.len());
    let named = whole[end..].starts_with(':') && !whole.starts_with(|c: char| !c.is_ascii_alphabetic() && c != ':');
    let (scheme, rest) = match named {
        true if end == 0 => return Err(wrong("missing protocol scheme")),
        true => (&whole[..end], &whole[end + 1..]),
        false => ("", whole),
    };
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        let first = rest.split('/').next().unwrap_or_default();
        return match scheme.is_empty() && first.contains(':') {
            true => Err(wrong("first path segment in URL cannot contain colon")),
            false => Ok((scheme, "")),
        };
    }
    let bad_escape = |part: &str| {
        part.match_indices('%').any(|(at, _)| !part.get(at + 1..at + 3).is_some_and(|d| d.bytes().all(|b| b.is_ascii_hexdigit())))
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    if bad_escape(path) {
        return Err(wrong("invalid URL escape"));
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        return Err(wrong("invalid character in host name"));
    }
    let port = match host.strip_prefix('[') {
        Some(inner) => inner.split_once(']').ok_or_else(|| wrong("missing ']' in host"))?.1,
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if is_port { Ok((scheme, host)) } else { Err(wrong(&format!("invalid port {port:?} after host"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed_as_prometheus_does() {
        for (text, ms, shown) in [
            ("15s", 15_000, "15s"),
            ("90s", 90_000, "1m30s"),
            ("7d", 604_800_000, "1w"),
            ("36h", 129_600_000, "1d12h"),
            ("0", 0, "0s"),
            ("1500ms", 1500, "1s500ms"),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_duration(Duration::from_millis(ms)), shown);
        }
        for bad in ["", "15", "-1h", "1h1h", "s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, n) in [("15MB", 15 << 20), ("1.5KiB", 1536), ("7B", 7), ("1GB1MB", (1 << 30) + (1 << 20)), ("0", 0)] {
            assert_eq!(size(text), Ok(n), "{text}");
        }
        for bad in ["", "100", "MB", "1XB", "-1MB", "1M", "9999EB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_split_as_go_splits_them() {
        for (text, scheme, host) in [
            ("http://a:1/b?c", "http", "a:1"),
            ("foo", "", ""),
            ("localhost:9090", "localhost", ""),
            ("unix:///var/run/x", "unix", ""),
            ("https://u:p@[::1]:8/", "https", "[::1]:8"),
            ("http://", "http", ""),
        ] {
            assert_eq!(url(text), Ok((scheme, host)), "{text}");
        }
        for bad in ["://x", "127.0.0.1:80", "http://a:b", "http://a b", "http://a/%zz", "a\n"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
