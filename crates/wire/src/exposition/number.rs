//! Numbers as Go reads and prints them.

/// The bits of the NaN that Prometheus stores for every NaN that it reads.
const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// A sample's value: Go's `ParseFloat` without hexadecimal digits and underscores.
pub(super) fn read(text: &[u8]) -> Result<f64, String> {
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err("unsupported character in float".to_owned());
    }
    let wrong = |why: &str| format!("strconv.ParseFloat: parsing {}: {why}", super::token::quote(text));
    let value = std::str::from_utf8(text).map_err(|_| wrong("invalid syntax")).and_then(|t| float(t).map_err(wrong))?;
    Ok(normal(value))
}

/// Every NaN as Prometheus keeps it, so that none is a staleness marker.
pub(super) fn normal(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(NORMAL_NAN) } else { value }
}

/// Go's `strconv.ParseFloat` of a text without `p` and `_`.
pub(super) fn float(text: &str) -> Result<f64, &'static str> {
    let value: f64 = text.parse().map_err(|_| "invalid syntax")?;
    let signed = text.starts_with(['+', '-']);
    if value.is_nan() && signed {
        return Err("invalid syntax");
    }
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return Err("value out of range");
    }
    Ok(value)
}

/// A bound or quantile in the one form that OpenMetrics gives it: Go's `%g`, with `.0` where it looks like an integer.
pub(crate) fn canonical(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = general(value);
    if text.contains(['.', 'e']) { text } else { text + ".0" }
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 64)` for a finite value: the fewest digits that read back as the same
/// number, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn general(value: f64) -> String {
    // The exponent of the first digit, from Rust's shortest form.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_one_form() {
        for (value, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.0, "-2.0"),
            (0.25, "0.25"),
            (1e6, "1e+06"),
            (1e21, "1e+21"),
            (2.5e-5, "2.5e-05"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(canonical(value), text);
        }
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        for (text, value) in
            [("+Inf", f64::INFINITY), ("1e3", 1000.0), ("-infinity", f64::NEG_INFINITY), (".5", 0.5), ("1.", 1.0)]
        {
            assert_eq!(read(text.as_bytes()), Ok(value), "{text}");
        }
        assert_eq!(read(b"NaN").map(f64::to_bits), Ok(NORMAL_NAN));
        for (text, why) in [
            ("0x1p-2", "unsupported character in float"),
            ("1_0", "unsupported character in float"),
            ("one", "strconv.ParseFloat: parsing \"one\": invalid syntax"),
            ("+NaN", "strconv.ParseFloat: parsing \"+NaN\": invalid syntax"),
            ("1e999", "strconv.ParseFloat: parsing \"1e999\": value out of range"),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why.to_owned()));
        }
    }
}
