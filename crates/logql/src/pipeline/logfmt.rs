//! `logfmt` and `logfmt name="key"`.

use std::borrow::Cow;
use std::sync::Arc;

use super::hints::Hints;
use super::labels::{Category, Labels, sanitize};
use crate::ast::LogfmtFlags;

/// What the error label says.
pub(crate) const LOGFMT_ERROR: &str = "LogfmtParserErr";

/// The pairs of a line. What is none is skipped up to the next white space.
struct Pairs<'t> {
    line: &'t str,
    at: usize,
    error: Option<String>,
}

impl<'t> Pairs<'t> {
    fn fail(&mut self, message: impl std::fmt::Display) {
        self.error = Some(format!("logfmt syntax error at pos {} : {message}", self.at + 1));
    }

    /// Something unexpected stands here: all up to the next space is no pair.
    fn skip(&mut self) {
        let rest = &self.line.as_bytes()[self.at..];
        self.at += rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
    }

    /// The next pair; `Some(None)` where there is something that is none.
    fn next(&mut self) -> Option<Option<(&'t str, Cow<'t, str>)>> {
        let line = self.line;
        let bytes = line.as_bytes();
        if self.at >= bytes.len() {
            return None;
        }
        let spaces = bytes[self.at..].iter().position(|b| *b > b' ');
        self.at = spaces.map_or(bytes.len(), |n| self.at + n);
        if spaces.is_none() {
            return Some(None);
        }
        let start = self.at;
        let end = bytes[start..].iter().position(|b| *b <= b' ' || matches!(b, b'=' | b'"')).map_or(bytes.len(), |n| start + n);
        self.at = end;
        let key = &line[start..end];
        let bad_key = key.contains('\u{fffd}');
        match bytes.get(end) {
            Some(b'=') if key.is_empty() => {
                self.fail("unexpected '='");
                self.skip();
                return Some(None);
            }
            Some(b'"') => {
                self.fail("unexpected '\"'");
                self.skip();
                return Some(None);
            }
            Some(b'=') if bad_key => {
                self.fail("invalid key");
                self.skip();
                return Some(None);
            }
            Some(b'=') => {}
            _ if bad_key => {
                self.fail("invalid key");
                return Some(None);
            }
            _ => return Some(Some((key, Cow::Borrowed("")))),
        }
        self.at += 1;
        let start = self.at;
        match bytes.get(start) {
            None => return Some(Some((key, Cow::Borrowed("")))),
            Some(b) if *b <= b' ' => return Some(Some((key, Cow::Borrowed("")))),
            Some(b'"') => return Some(self.quoted().map(|value| (key, value))),
            Some(_) => {}
        }
        let end = bytes[start..].iter().position(|b| *b <= b' ' || matches!(b, b'=' | b'"')).map_or(bytes.len(), |n| start + n);
        self.at = end;
        if let Some(b @ (b'=' | b'"')) = bytes.get(end) {
            let b = char::from(*b);
            self.fail(format!("unexpected '{b}'"));
            self.skip();
            return Some(None);
        }
        Some(Some((key, Cow::Borrowed(&line[start..end]))))
    }

    fn quoted(&mut self) -> Option<Cow<'t, str>> {
        let bytes = self.line.as_bytes();
        let start = self.at + 1;
        let (mut i, mut escapes) = (start, false);
        loop {
            let Some(found) = bytes.get(i..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else {
                self.at = bytes.len();
                self.fail("unterminated quoted value");
                return None;
            };
            i += found;
            if bytes[i] == b'"' {
                break;
            }
            escapes = true;
            i += 2;
        }
        self.at = i + 1;
        let text = &self.line[start..i];
        if !escapes {
            return Some(Cow::Borrowed(text));
        }
        match unquote(text) {
            Some(text) => Some(Cow::Owned(text)),
            None => {
                self.fail("invalid quoted value");
                None
            }
        }
    }
}

/// The escapes of JSON, and `\'`.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1)?;
        rest = rest.get(at + 2..)?;
        match escape {
            b'"' | b'\\' | b'/' | b'\'' => out.push(char::from(escape)),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |rest: &str| u32::from_str_radix(rest.get(..4)?, 16).ok();
                let code = unit(rest)?;
                rest = &rest[4..];
                let low = rest.strip_prefix("\\u").and_then(unit).filter(|low| (0xdc00..0xe000).contains(low));
                match (code, low) {
                    (0xd800..=0xdbff, Some(low)) => {
                        rest = &rest[6..];
                        out.extend(char::from_u32(0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00)));
                    }
                    _ => out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            _ => return None,
        }
    }
    out.push_str(rest);
    Some(out)
}

/// A value as a label's: spaces for the marks of broken UTF-8.
fn label_value(value: Cow<'_, str>) -> Arc<str> {
    if value.contains('\u{fffd}') { value.replace('\u{fffd}', " ").into() } else { value.into() }
}

/// Labels of all pairs.
pub(crate) fn pairs(line: &str, flags: LogfmtFlags, labels: &mut Labels, hints: &Hints) {
    let mut pairs = Pairs { line, at: 0, error: None };
    while let Some(pair) = pairs.next() {
        let Some((key, value)) = pair else {
            if flags.strict {
                break;
            }
            continue;
        };
        let name = sanitize(key);
        if name.is_empty() || (value.is_empty() && !flags.keep_empty) {
            continue;
        }
        let name = labels.free_name(&name);
        // The first of a name counts.
        if !hints.wants(&name) || labels.is_extracted(&name) {
            continue;
        }
        let value = label_value(value);
        if value.is_empty() && !flags.keep_empty {
            continue;
        }
        let name: Arc<str> = name.into();
        labels.set(Category::Parsed, &name, value);
        if hints.satisfied(labels) {
            return;
        }
    }
    if let (true, Some(error)) = (flags.strict, pairs.error) {
        labels.set_error(LOGFMT_ERROR, error);
    }
}

/// The value of the pair whose key counts most among those that name a level ([`crate::levels::SOURCES`]), in any case; what
/// comes after the first flaw of the line is not looked at.
pub(crate) fn level(line: &str) -> Option<Cow<'_, str>> {
    let mut pairs = Pairs { line, at: 0, error: None };
    let mut best = None;
    while let Some(Some((key, value))) = pairs.next() {
        let sources = &crate::levels::SOURCES;
        let Some(rank) = sources.iter().position(|s| s.eq_ignore_ascii_case(key)) else { continue };
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, value));
        }
        if rank == 0 {
            break;
        }
    }
    best.map(|(_, value)| value)
}

/// Calls `each` for the pairs of a line that have a value, what is none passed over.
pub(crate) fn each_pair<'t>(line: &'t str, each: &mut dyn FnMut(&'t str, Cow<'t, str>)) {
    let mut pairs = Pairs { line, at: 0, error: None };
    while let Some(pair) = pairs.next() {
        if let Some((key, value)) = pair
            && !value.is_empty()
        {
            each(key, value);
        }
    }
}

/// Checks the key of an expression.
pub(crate) fn check_key(text: &str) -> Result<(), String> {
    let bad = |what: String| Err(format!("cannot parse expression [{text}]: {what}"));
    // A quoted key may hold anything.
    if text.starts_with('"') && syntax::quoted(text).is_ok_and(|(_, length)| length == text.len()) {
        return Ok(());
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/')) && c.is_ascii()) {
        _ if text.is_empty() => bad("syntax error: unexpected $end, expecting STRING or KEY".to_owned()),
        Some(c) => bad(format!("unexpected char {c}")),
        None => Ok(()),
    }
}

/// Labels of some pairs; empty ones for those that the line lacks.
pub(crate) fn keys(line: &str, flags: LogfmtFlags, wanted: &[(Arc<str>, String)], labels: &mut Labels, hints: &Hints) {
    if wanted.is_empty() || hints.nothing {
        return;
    }
    for (name, _) in wanted {
        if labels.get(name).is_none() {
            labels.set(Category::Parsed, name, "".into());
        }
    }
    let mut pairs = Pairs { line, at: 0, error: None };
    while let Some(pair) = pairs.next() {
        let Some((key, value)) = pair else {
            if flags.strict {
                break;
            }
            continue;
        };
        if value.is_empty() && !flags.keep_empty {
            continue;
        }
        // A key that is wanted under another name; one that has the name of a label is taken for it, in Loki.
        let key = sanitize(key);
        let name = wanted.iter().find(|(_, path)| **path == *key).or_else(|| wanted.iter().find(|(name, _)| **name == *key));
        let Some((name, _)) = name else { continue };
        let name: Arc<str> = labels.free_name(name).into();
        if hints.wants(&name) {
            labels.set(Category::Parsed, &name, label_value(value));
        }
    }
    if let (true, Some(error)) = (flags.strict, pairs.error) {
        labels.set_error(LOGFMT_ERROR, error);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(line: &str, strict: bool, keep_empty: bool) -> String {
        let mut labels = Labels::default();
        pairs(line, LogfmtFlags { strict, keep_empty }, &mut labels, &Hints::default());
        labels.all().to_string()
    }

    #[test]
    fn pairs_become_labels() {
        for (line, expected) in [
            ("a=1 b=\"x y\" c= d", r#"{a="1", b="x y"}"#),
            (r#"a="x\ty\"" b=2"#, r#"{a="x\ty\"", b="2"}"#),
            ("a.b=1 0x=2", r#"{_0x="2", a_b="1"}"#),
            ("=x a=1 b=\"open", r#"{a="1"}"#),
            ("a=b=c d=1", r#"{d="1"}"#),
        ] {
            assert_eq!(run(line, false, false), expected, "{line}");
        }
        assert_eq!(run("a= b", false, true), r#"{a="", b=""}"#);
        assert_eq!(
            run("a=1 b=c=d e=2", true, false),
            r#"{__error__="LogfmtParserErr", __error_details__="logfmt syntax error at pos 8 : unexpected '='", a="1"}"#
        );
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in "[a-c=\" \\\\nu0-9é]{0,40}") {
            let _ = run(&line, true, true);
        }
    }
}
