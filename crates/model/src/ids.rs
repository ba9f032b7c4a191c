//! Trace and span ids as the W3C trace-context recommendation defines them: 16 and 8 bytes, all zeros meaning none.

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A character that is no hexadecimal digit.
    #[error("'{0}' is not a hexadecimal digit")]
    Digit(char),
    /// More or fewer digits than the id has, or none.
    #[error("{got} hexadecimal digits where 1 to {max} were expected")]
    Length {
        /// Digits found.
        got: usize,
        /// Digits a full id has.
        max: usize,
    },
}

/// What each byte is as a digit; `NO_DIGIT` for the others.
const DIGITS: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut i = 0;
    while i < 16 {
        table[b"0123456789abcdef"[i] as usize] = i as u8;
        table[b"0123456789ABCDEF"[i] as usize] = i as u8;
        i += 1;
    }
    table
};
const NO_DIGIT: u8 = 0xff;

/// The id that is written with all its digits, as nearly all are: lines of logs carry one each.
#[inline]
fn parse_whole<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let (mut out, mut seen) = ([0u8; N], 0);
    for (byte, [high, low]) in out.iter_mut().zip(text.as_chunks().0) {
        let (high, low) = (DIGITS[usize::from(*high)], DIGITS[usize::from(*low)]);
        seen |= high | low;
        *byte = high << 4 | low & 15;
    }
    (seen != NO_DIGIT).then_some(out)
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let digits = text.len();
    if digits == 0 || digits > 2 * N {
        return Err(IdError::Length { got: digits, max: 2 * N });
    }
    if let Some(whole) = parse_whole(text.as_bytes()) {
        return Ok(whole);
    }
    let mut out = [0u8; N];
    for (i, c) in text.chars().rev().enumerate() {
        let nibble = c.to_digit(16).ok_or(IdError::Digit(c))? as u8;
        out[N - 1 - i / 2] |= nibble << (4 * (i % 2));
    }
    Ok(out)
}

macro_rules! id {
    ($name:ident, $bytes:literal, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// The id that means "none".
            pub const NONE: Self = Self([0; $bytes]);

            /// Whether this is the all-zero id, which stands for "none".
            #[must_use]
            pub fn is_none(&self) -> bool {
                self.0 == [0; $bytes]
            }

            /// The id in `bytes`: exactly its length, or empty for none.
            ///
            /// # Errors
            /// [`IdError::Length`] (in digits) for any other length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                match bytes.try_into() {
                    Ok(id) => Ok(Self(id)),
                    Err(_) if bytes.is_empty() => Ok(Self::NONE),
                    Err(_) => Err(IdError::Length { got: bytes.len() * 2, max: $bytes * 2 }),
                }
            }
        }

        /// Lower-case hexadecimal, full length.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                const DIGITS: [u8; 16] = *b"0123456789abcdef";
                let mut text = [0; 2 * $bytes];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = DIGITS[usize::from(byte >> 4)];
                    pair[1] = DIGITS[usize::from(byte & 15)];
                }
                // Digits are always text.
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Reads hexadecimal of either case; shorter texts are padded with zeros on the left, as Tempo reads them.
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

id!(TraceId, 16, "Names one trace: 16 bytes, all zeros meaning none.");
id!(SpanId, 8, "Names one span inside a trace: 8 bytes, all zeros meaning none.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded_on_the_left_and_print_in_full() {
        let id: TraceId = "A1".parse().expect("valid");
        assert_eq!(id.to_string(), "000000000000000000000000000000a1");
    }

    #[test]
    fn whole_ids_come_back_in_either_case_and_no_wrong_digit_passes() {
        let id = TraceId(std::array::from_fn(|i| (i * 17 + 1) as u8));
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        for at in 0..text.len() {
            for wrong in ['g', '/', ':', '@', '`', ' ', '\u{7f}'] {
                let mut wrongly = text.clone();
                wrongly.replace_range(at..=at, &wrong.to_string());
                assert_eq!(wrongly.parse::<TraceId>(), Err(IdError::Digit(wrong)), "{wrongly}");
            }
        }
        assert_eq!("ü".repeat(16).parse::<TraceId>(), Err(IdError::Digit('ü')));
    }

    #[test]
    fn what_is_no_id_is_refused_with_the_reason() {
        assert_eq!("xyz".parse::<SpanId>(), Err(IdError::Digit('z')));
        assert_eq!("".parse::<SpanId>(), Err(IdError::Length { got: 0, max: 16 }));
        assert_eq!(SpanId::from_slice(&[1, 2]), Err(IdError::Length { got: 4, max: 16 }));
        assert_eq!("0".repeat(33).parse::<TraceId>(), Err(IdError::Length { got: 33, max: 32 }));
    }
}
