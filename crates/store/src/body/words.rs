//! Finds the variables of a line of plain text: its words that have a digit, and what it quotes. One pass, no allocation.

use super::column::Kind;
use super::json::{Slot, Visit, number, string, string_kind};

/// Walks any line. `None` when it has control characters.
pub(super) fn walk(line: &str, visit: &mut impl Visit) -> Option<()> {
    let bytes = line.as_bytes();
    if u32::try_from(bytes.len()).is_err() {
        return None;
    }
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut digit = false;
        while let Some(b) = bytes.get(at)
            && (b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-') || *b >= 0x80)
        {
            digit |= b.is_ascii_digit();
            at += 1;
        }
        // A full stop ends a sentence, not a number.
        let mut end = at;
        while end > start && bytes[end - 1] == b'.' {
            end -= 1;
        }
        if digit {
            let (kind, value) = match bytes[start] {
                b'-' | b'0'..=b'9' => match number(line, start) {
                    Some((e, kind, value)) if e == end => (kind, value),
                    _ => (string_kind(&bytes[start..end]), 0),
                },
                _ => (string_kind(&bytes[start..end]), 0),
            };
            visit.slot(Slot { start: start as u32, end: end as u32, kind, number: value });
        }
        match bytes.get(at) {
            Some(b'"') => {
                // What is quoted is one value, where the quote is closed.
                if let Some((close, escaped)) = string(bytes, at + 1) {
                    let kind = if escaped { Kind::Escaped } else { string_kind(&bytes[at + 1..close]) };
                    visit.slot(Slot { start: at as u32 + 1, end: close as u32, kind, number: 0 });
                    at = close;
                }
            }
            Some(..b' ') => return None,
            _ => {}
        }
        at += 1;
    }
    Some(())
}
