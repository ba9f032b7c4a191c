//! Numbers as Go reads and prints them.

/// The bits of the NaN that Prometheus stores for every NaN that it reads.
const NORMAL_NAN: u64 = 0x7ff8_0000_0000_0001;

/// A sample's value: Go's `ParseFloat` without hexadecimal digits and underscores.
pub(super) fn read(text: &str) -> Result<f64, &'static str> {
    if text.bytes().any(|b| matches!(b, b'p' | b'P' | b'x' | b'X' | b'_')) {
        return Err("unsupported character in float");
    }
    let value: f64 = text.parse().map_err(|_| "invalid number")?;
    Ok(if value.is_nan() { f64::from_bits(NORMAL_NAN) } else { value })
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
        assert_eq!(read("+Inf"), Ok(f64::INFINITY));
        assert_eq!(read("1e3"), Ok(1000.0));
        assert_eq!(read("NaN").map(f64::to_bits), Ok(NORMAL_NAN));
        assert_eq!(read("0x1p-2"), Err("unsupported character in float"));
        assert_eq!(read("1_0"), Err("unsupported character in float"));
        assert_eq!(read("one"), Err("invalid number"));
    }
}
