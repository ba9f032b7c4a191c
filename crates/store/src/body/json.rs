//! Finds the variables of a line of JSON: one pass, no allocation.

use super::column::{HEX_MAX, HEX_MIN, Kind, SCALE_MAX};

/// Objects may nest so deep and still be split; what is deeper is one value.
const DEPTH_MAX: usize = 8;

/// A variable's place in a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    /// First byte.
    pub start: u32,
    /// Past the last byte.
    pub end: u32,
    /// How it is kept.
    pub kind: Kind,
    /// The value where it is a number or a boolean: of an integer its value, of a decimal its digits, of a double its bits.
    pub number: i64,
}

/// Takes what [`walk`] finds. The keys are given as ranges of the line.
pub(super) trait Visit {
    /// The key of the value that follows.
    fn key(&mut self, start: usize, end: usize);
    /// The value that follows the key is an object.
    fn enter(&mut self);
    /// The object ends.
    fn leave(&mut self);
    /// The value is a variable.
    fn slot(&mut self, slot: Slot);
}

/// Walks a line that is a JSON object. `None` when it is not: then what was visited means nothing.
///
/// Strict where it decides what a value is (strings, numbers, braces, commas); it does not check escapes and the insides
/// of arrays, which come back as they are anyway.
pub(super) fn walk(line: &str, visit: &mut impl Visit) -> Option<()> {
    let bytes = line.as_bytes();
    // Ranges are kept as u32; and the marks of a layout must not occur in what is left of the line as layout.
    if u32::try_from(bytes.len()).is_err() {
        return None;
    }
    let mut at = blank(bytes, 0);
    if *bytes.get(at)? != b'{' {
        return None;
    }
    at += 1;
    let mut depth = 1usize;
    // Each turn reads one member, or the end of an object.
    let mut first = true;
    loop {
        at = blank(bytes, at);
        match *bytes.get(at)? {
            b'}' => {
                at += 1;
                depth -= 1;
                if depth == 0 {
                    return (blank(bytes, at) == bytes.len()).then_some(());
                }
                visit.leave();
                first = false;
                continue;
            }
            b',' if !first => at = blank(bytes, at + 1),
            _ if first => {}
            _ => return None,
        }
        if *bytes.get(at)? != b'"' {
            return None;
        }
        let (key_end, _) = string(bytes, at + 1)?;
        visit.key(at + 1, key_end);
        at = blank(bytes, key_end + 1);
        if *bytes.get(at)? != b':' {
            return None;
        }
        at = blank(bytes, at + 1);
        first = false;
        match *bytes.get(at)? {
            b'"' => {
                let (end, escaped) = string(bytes, at + 1)?;
                let kind = if escaped { Kind::Escaped } else { string_kind(&bytes[at + 1..end]) };
                visit.slot(slot(at + 1, end, kind, 0));
                at = end + 1;
            }
            b'{' if depth < DEPTH_MAX => {
                visit.enter();
                depth += 1;
                first = true;
                at += 1;
            }
            b'{' | b'[' => {
                let end = nested(bytes, at)?;
                visit.slot(slot(at, end, Kind::Json, 0));
                at = end;
            }
            b't' if bytes[at..].starts_with(b"true") => {
                visit.slot(slot(at, at + 4, Kind::Bool, 1));
                at += 4;
            }
            b'f' if bytes[at..].starts_with(b"false") => {
                visit.slot(slot(at, at + 5, Kind::Bool, 0));
                at += 5;
            }
            b'n' if bytes[at..].starts_with(b"null") => at += 4,
            b'-' | b'0'..=b'9' => {
                let (end, kind, value) = number(line, at)?;
                visit.slot(slot(at, end, kind, value));
                at = end;
            }
            _ => return None,
        }
    }
}

fn slot(start: usize, end: usize, kind: Kind, number: i64) -> Slot {
    Slot { start: start as u32, end: end as u32, kind, number }
}

#[inline]
fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The closing quote of the string whose inside starts at `at`, and whether it has escapes. Control characters end it
/// badly: JSON forbids them, and the marks of a layout are two of them.
#[inline]
pub(super) fn string(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let start = at;
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            let clean = !has_control(&bytes[start..at]);
            return clean.then_some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Whether there is a byte below 0x20. A loop without exits, so that it becomes vector instructions.
#[inline]
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, b| found | (*b < 0x20))
}

/// How a string without escapes is kept.
#[inline]
pub(super) fn string_kind(text: &[u8]) -> Kind {
    let n = text.len();
    if n.is_multiple_of(2) && (2 * HEX_MIN..=2 * HEX_MAX).contains(&n) && is_hex(text) {
        Kind::Hex((n / 2) as u8)
    } else {
        Kind::Str
    }
}

#[inline]
pub(super) fn is_hex(text: &[u8]) -> bool {
    matches!(text.first(), None | Some(b'0'..=b'9' | b'a'..=b'f'))
        && text.iter().fold(true, |all, b| all & (b.wrapping_sub(b'0') < 10 || b.wrapping_sub(b'a') < 6))
}

/// End of the array or object that starts at `at`.
fn nested(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut open = 0usize;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string(bytes, at + 1)?.0,
            b'[' | b'{' => open += 1,
            b']' | b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            ..0x20 if !matches!(bytes[at], b'\n' | b'\r' | b'\t') => return None,
            _ => {}
        }
        at += 1;
    }
}

/// The number at `at`: its end, how it is kept, its value (see [`Slot::number`]). `None` when JSON knows no such number.
#[inline]
pub(super) fn number(line: &str, start: usize) -> Option<(usize, Kind, i64)> {
    let bytes = line.as_bytes();
    let negative = bytes[start] == b'-';
    let first = start + usize::from(negative);
    let mut at = first;
    let mut digits: u64 = 0;
    while let Some(d @ b'0'..=b'9') = bytes.get(at) {
        digits = digits.wrapping_mul(10).wrapping_add(u64::from(d - b'0'));
        at += 1;
    }
    let whole = at - first;
    if whole == 0 || (whole > 1 && bytes[first] == b'0') {
        return None;
    }
    let mut scale = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let point = at;
        while let Some(d @ b'0'..=b'9') = bytes.get(at) {
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(d - b'0'));
            at += 1;
        }
        scale = at - point;
        if scale == 0 {
            return None;
        }
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        let exponent = at;
        while let Some(b'0'..=b'9') = bytes.get(at) {
            at += 1;
        }
        return (at > exponent).then_some((at, Kind::Number, 0));
    }
    // 18 digits never overflow. A zero with a sign would lose it.
    let value = if negative { (digits as i64).wrapping_neg() } else { digits as i64 };
    let fits = whole + scale <= 18 && !(negative && digits == 0);
    if scale == 0 {
        return Some(if fits {
            (at, Kind::Int, value)
        } else {
            match line[start..at].parse::<i64>() {
                Ok(value) if value != 0 => (at, Kind::Int, value),
                _ => (at, Kind::Number, 0),
            }
        });
    }
    if fits && scale <= usize::from(SCALE_MAX) {
        return Some((at, Kind::Decimal(scale as u8), value));
    }
    Some(match float(&line[start..at]) {
        Some(value) => (at, Kind::Float, value.to_bits() as i64),
        None => (at, Kind::Number, 0),
    })
}

/// The double whose shortest text this is.
fn float(text: &str) -> Option<f64> {
    struct Same<'a>(&'a [u8]);
    impl std::fmt::Write for Same<'_> {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            self.0 = self.0.strip_prefix(s.as_bytes()).ok_or(std::fmt::Error)?;
            Ok(())
        }
    }
    let value: f64 = text.parse().ok()?;
    let mut rest = Same(text.as_bytes());
    // Display of doubles has no exponent however large they are; texts longer than that are not worth the work.
    (text.len() <= 40 && std::fmt::Write::write_fmt(&mut rest, format_args!("{value}")).is_ok() && rest.0.is_empty())
        .then_some(value)
}
