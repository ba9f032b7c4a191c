//! Texts that stand for sizes and durations.

use std::time::Duration;

/// `512MiB`, `2GB`, `1048576`: bytes. Decimal units are powers of 1,000, `i` units of 1,024; a bare `K`, `M`, `G`, `T` is
/// binary, as Prometheus and Docker mean it.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is no size; examples: 512MiB, 2GB, 1048576");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let size = number * unit as f64;
    if size < 9e15 { Ok(size as usize) } else { Err(wrong()) }
}

/// Prometheus' durations: `15s`, `1h30m`, `7d`, `0`; units in falling order, each at most once.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let wrong = || format!("{text:?} is no duration; examples: 15s, 1h30m, 7d");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut millis, mut from) = (0u64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len() - digits);
        let unit = &rest[digits..digits + letters];
        let at = UNITS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= from).ok_or_else(wrong)?;
        millis = number.checked_mul(UNITS[at].1).and_then(|n| n.checked_add(millis)).ok_or_else(wrong)?;
        from = at + 1;
        rest = &rest[digits + letters..];
    }
    if from == 0 { Err(wrong()) } else { Ok(Duration::from_millis(millis)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, n) in [("512MiB", 512 << 20), ("2GB", 2_000_000_000), ("1.5k", 1536), ("7", 7), ("1 MiB", 1 << 20)] {
            assert_eq!(bytes(text), Ok(n), "{text}");
        }
        for bad in ["", "MiB", "1XB", "-1", "1e99GB", "99999999TB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, s) in [("15s", 15), ("1h30m", 5_400), ("7d", 604_800), ("0", 0), ("2w", 1_209_600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(s)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "15", "s", "1m1h", "1s1s", "1 s", "-1s", "99999999999999999999s", "9999999999999y"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
