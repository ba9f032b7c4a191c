//! Finds the variables of a line of logfmt: `key=value key="quoted value" …`. One pass, no allocation.

use super::column::Kind;
use super::json::{Slot, Visit, number, string, string_kind};

/// Walks a line that is nothing but `key=value` pairs with single spaces between. `None` when it is not: then what was
/// visited means nothing. (Laxer texts are logfmt to some readers; they are kept whole.)
pub(super) fn walk(line: &str, visit: &mut impl Visit) -> Option<()> {
    let bytes = line.as_bytes();
    if u32::try_from(bytes.len()).is_err() {
        return None;
    }
    let mut at = 0;
    loop {
        let key = at;
        while matches!(bytes.get(at)?, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'/' | b'@') {
            at += 1;
        }
        if at == key || bytes[at] != b'=' {
            return None;
        }
        visit.key(key, at);
        at += 1;
        let quoted = bytes.get(at) == Some(&b'"');
        at += usize::from(quoted);
        let (end, kind, number) = value(line, at, quoted)?;
        visit.slot(Slot { start: at as u32, end: end as u32, kind, number });
        at = end + usize::from(quoted);
        match bytes.get(at) {
            None => return Some(()),
            Some(b' ') => at += 1,
            Some(_) => return None,
        }
    }
}

/// The value at `at`, behind its quote if it is quoted: its end (the closing quote's place), how it is kept, its number.
#[inline]
pub(super) fn value(line: &str, at: usize, quoted: bool) -> Option<(usize, Kind, i64)> {
    let bytes = line.as_bytes();
    if quoted {
        let (end, escaped) = string(bytes, at)?;
        return Some((end, if escaped { Kind::Escaped } else { string_kind(&bytes[at..end]) }, 0));
    }
    let rest = bytes.get(at..)?;
    let length = rest.iter().position(|b| *b <= b' ' || *b == b'"').unwrap_or(rest.len());
    let text = &rest[..length];
    let end = at + length;
    if bytes.get(end).is_some_and(|b| *b != b' ') {
        return None;
    }
    Some(match text {
        b"true" => (end, Kind::Bool, 1),
        b"false" => (end, Kind::Bool, 0),
        [b'-' | b'0'..=b'9', ..] => match number(line, at) {
            Some((e, kind, n)) if e == end => (end, kind, n),
            _ => (end, string_kind(text), 0),
        },
        _ => (end, string_kind(text), 0),
    })
}
