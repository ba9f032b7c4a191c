//! Arithmetic on decimal numbers, as sprig's `addf`, `subf`, `mulf` and `divf` do it: 0.1 + 0.2 is 0.3.

use template::Value;

use super::functions::to_float;

/// Digits behind the point that a quotient keeps (the default of Go's decimal package).
const QUOTIENT_DIGITS: u32 = 16;

/// `digits · 10^-scale`
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    /// The shortest decimal number that reads as `x`; `None` where 128 bits do not hold it.
    fn new(x: f64) -> Option<Self> {
        let text = format!("{x}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        if fraction.len() > 30 {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { digits, scale: fraction.len() as u32 })
    }

    fn align(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let raise = |d: Self| d.digits.checked_mul(10i128.checked_pow(scale - d.scale)?);
        Some((raise(self)?, raise(other)?, scale))
    }

    fn value(self) -> f64 {
        let sign = if self.digits < 0 { "-" } else { "" };
        format!("{sign}{}e-{}", self.digits.unsigned_abs(), self.scale).parse().unwrap_or(f64::NAN)
    }

    fn apply(self, other: Self, op: char) -> Option<Self> {
        match op {
            '*' => Some(Self { digits: self.digits.checked_mul(other.digits)?, scale: self.scale + other.scale }),
            '/' => {
                let (a, b, _) = self.align(other)?;
                let power = 10i128.pow(QUOTIENT_DIGITS + 1);
                let quotient = a.checked_mul(power)?.checked_div(b)?;
                // Half is rounded away from zero.
                let digits = quotient.saturating_add(if quotient < 0 { -5 } else { 5 }) / 10;
                Some(Self { digits, scale: QUOTIENT_DIGITS })
            }
            op => {
                let (a, b, scale) = self.align(other)?;
                let digits = if op == '+' { a.checked_add(b) } else { a.checked_sub(b) }?;
                Some(Self { digits, scale })
            }
        }
    }
}

/// `first op v[0] op v[1] …`; falls back to floating point where the numbers are too long.
pub(super) fn fold(v: &[Value], first: f64, op: char) -> Result<f64, String> {
    let mut result = first;
    let mut exact = Decimal::new(first);
    for x in v.iter().map(to_float) {
        if op == '/' && x == 0.0 {
            return Err("decimal division by 0".to_owned());
        }
        exact = exact.zip(Decimal::new(x)).and_then(|(a, b)| a.apply(b, op));
        result = match op {
            '+' => result + x,
            '-' => result - x,
            '*' => result * x,
            _ => result / x,
        };
    }
    Ok(exact.map_or(result, Decimal::value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_add_up() {
        let run = |a: f64, b: f64, op| fold(&[Value::Float(b)], a, op);
        assert_eq!(run(0.1, 0.2, '+'), Ok(0.3));
        assert_eq!(run(1.0, 0.9, '-'), Ok(0.1));
        assert_eq!(run(1.1, 1.1, '*'), Ok(1.21));
        assert_eq!(run(10.0, 4.0, '/'), Ok(2.5));
        assert_eq!(run(1.0, 3.0, '/'), Ok(0.333_333_333_333_333_3));
        assert!(run(1.0, 0.0, '/').is_err());
        assert_eq!(run(1e300, 1e300, '*'), Ok(f64::INFINITY));
    }
}
