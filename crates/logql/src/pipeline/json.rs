//! `json`, `json name="path"` and `unpack`.
//!
//! Loki reads JSON lazily: it looks no further into a value than it must, so that much of what is broken goes unseen. Which
//! lines are errors, and which errors, follows from that; so does this reader.

use std::borrow::Cow;
use std::sync::Arc;

use super::hints::Hints;
use super::labels::{Category, Labels, sanitize};

/// What the error label says.
pub(crate) const JSON_ERROR: &str = "JSONParserErr";

const MALFORMED: &str = "Malformed JSON error";
const OPEN_OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
const OPEN_ARRAY: &str = "Value is array, but can't find closing ']' symbol";
const OPEN_STRING: &str = "Value is string, but can't find closing '\"' symbol";
const UNKNOWN: &str = "Unknown value type";
const BAD_ESCAPE: &str = "Encountered an invalid escape sequence in a string";

/// How deep objects are followed.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Str,
    Number,
    Bool,
    Null,
    Array,
    Object,
}

/// A value: its text (of strings: what stands between the quotes) and where it ends.
struct Found<'t> {
    text: &'t str,
    kind: Kind,
    end: usize,
}

/// Why a walk ended early.
enum Stop {
    Failed(&'static str),
    /// Nothing else is needed.
    Enough,
}

fn skip_space(text: &str, at: usize) -> Option<usize> {
    text.as_bytes()[at..].iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')).map(|n| at + n)
}

/// Where the string that starts behind `at` ends, and whether it has escapes.
fn string_end(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut i = at;
    let mut escaped = false;
    loop {
        let next = memchr::memchr2(b'"', b'\\', &bytes[i..])? + i;
        if bytes[next] == b'"' {
            return Some((next, escaped));
        }
        escaped = true;
        i = next + 2;
        if i > bytes.len() {
            return None;
        }
    }
}

/// Where the block that opens at `at` ends.
fn block_end(bytes: &[u8], at: usize, open: u8, close: u8) -> Option<usize> {
    let mut level = 0usize;
    let mut i = at;
    loop {
        let next = memchr::memchr3(b'"', open, close, &bytes[i..])? + i;
        match bytes[next] {
            b'"' => i = string_end(bytes, next + 1)?.0 + 1,
            b if b == open => {
                level += 1;
                i = next + 1;
            }
            _ => {
                level -= 1;
                if level == 0 {
                    return Some(next + 1);
                }
                i = next + 1;
            }
        }
    }
}

fn value(text: &str, at: usize) -> Result<Found<'_>, &'static str> {
    let at = skip_space(text, at).ok_or(MALFORMED)?;
    let bytes = text.as_bytes();
    let found = |kind, end| Found { text: &text[at..end], kind, end };
    match bytes[at] {
        b'"' => {
            let (end, _) = string_end(bytes, at + 1).ok_or(OPEN_STRING)?;
            Ok(Found { text: &text[at + 1..end], kind: Kind::Str, end: end + 1 })
        }
        b'[' => Ok(found(Kind::Array, block_end(bytes, at, b'[', b']').ok_or(OPEN_ARRAY)?)),
        b'{' => Ok(found(Kind::Object, block_end(bytes, at, b'{', b'}').ok_or(OPEN_OBJECT)?)),
        first => {
            let end = bytes[at..].iter().position(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']'));
            let end = end.map_or(bytes.len(), |n| at + n);
            let kind = match (first, &text[at..end]) {
                (b't' | b'f', "true" | "false") => Kind::Bool,
                (b'n', "null") => Kind::Null,
                (b'0'..=b'9' | b'-', _) => Kind::Number,
                _ => return Err(UNKNOWN),
            };
            Ok(found(kind, end))
        }
    }
}

/// Calls `each` with the keys and values of an object.
fn object<'t>(text: &'t str, each: &mut dyn FnMut(&str, Found<'t>) -> Result<(), Stop>) -> Result<(), Stop> {
    let failed = |why| Stop::Failed(why);
    let bytes = text.as_bytes();
    let mut at = skip_space(text, 0).filter(|at| bytes[*at] == b'{').ok_or(failed(OPEN_OBJECT))? + 1;
    at = skip_space(text, at).ok_or(failed(MALFORMED))?;
    if bytes[at] == b'}' {
        return Ok(());
    }
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += 1,
            b'}' => return Ok(()),
            _ => return Err(failed(OPEN_OBJECT)),
        }
        let (end, escaped) = string_end(bytes, at).ok_or(failed(MALFORMED))?;
        let key = if escaped { unescape(&text[at..end]).ok_or(failed(BAD_ESCAPE))? } else { Cow::Borrowed(&text[at..end]) };
        at = skip_space(text, end + 1).filter(|at| bytes[*at] == b':').ok_or(failed(MALFORMED))? + 1;
        let found = value(text, at).map_err(failed)?;
        at = found.end;
        each(&key, found)?;
        at = skip_space(text, at).ok_or(failed(OPEN_ARRAY))?;
        match bytes[at] {
            b'}' => return Ok(()),
            b',' => at += 1,
            _ => return Err(failed(OPEN_OBJECT)),
        }
        at = skip_space(text, at).ok_or(failed(OPEN_ARRAY))?;
    }
    Err(failed(OPEN_OBJECT))
}

/// A string without its escapes; `None` where one is bad.
fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        // Behind the backslash there may be the first byte of a longer character: no escape.
        let escape = *rest.as_bytes().get(at + 1).filter(|b| b.is_ascii())?;
        rest = &rest[at + 2..];
        match escape {
            b'"' | b'/' | b'\\' => out.push(char::from(escape)),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |rest: &str| {
                    let digits = rest.get(..4)?;
                    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
                };
                let high = unit(rest)?;
                rest = &rest[4..];
                let code = if (0xd800..0xdc00).contains(&high) {
                    let low = rest.strip_prefix("\\u").and_then(unit).filter(|low| (0xdc00..0xe000).contains(low))?;
                    rest = &rest[6..];
                    0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                out.push(char::from_u32(code)?);
            }
            _ => return None,
        }
    }
    out.push_str(rest);
    Some(Cow::Owned(out))
}

/// A string as a label's value: without escapes, empty where one is bad, with spaces for the marks of broken UTF-8.
fn label_text(text: &str) -> Arc<str> {
    let text = unescape(text).unwrap_or_default();
    if text.contains('\u{fffd}') { text.replace('\u{fffd}', " ").into() } else { text.into() }
}

fn label_value(found: &Found<'_>) -> Arc<str> {
    match found.kind {
        Kind::Str => label_text(found.text),
        Kind::Number | Kind::Bool => found.text.into(),
        Kind::Null | Kind::Array | Kind::Object => "".into(),
    }
}

/// Labels of all fields, those of inner objects behind their object's name and `_`.
pub(crate) fn fields(line: &str, labels: &mut Labels, hints: &Hints) {
    let mut prefix = String::new();
    if let Err(Stop::Failed(why)) = walk(line, &mut prefix, labels, hints, 0) {
        labels.set_error(JSON_ERROR, why);
    }
}

fn walk(text: &str, prefix: &mut String, labels: &mut Labels, hints: &Hints, depth: usize) -> Result<(), Stop> {
    object(text, &mut |key, found| {
        let length = prefix.len();
        match found.kind {
            Kind::Str | Kind::Number | Kind::Bool => {
                if length > 0 {
                    prefix.push('_');
                }
                push_sanitized(prefix, key);
                // An inner key may come to nothing, and is a label all the same, in Loki.
                let wanted = (!prefix.is_empty() || depth > 0)
                    .then(|| labels.free_name(prefix))
                    .filter(|name| hints.wants(name) && !labels.is_extracted(name));
                if let Some(name) = wanted {
                    let name: Arc<str> = name.into();
                    labels.set(Category::Parsed, &name, label_value(&found));
                    prefix.truncate(length);
                    return if hints.satisfied(labels) { Err(Stop::Enough) } else { Ok(()) };
                }
                prefix.truncate(length);
            }
            Kind::Object if depth < MAX_DEPTH => {
                if length > 0 {
                    prefix.push('_');
                }
                push_sanitized(prefix, key);
                let inner = match hints.wants_prefix(prefix) {
                    true => walk(found.text, prefix, labels, hints, depth + 1),
                    false => Ok(()),
                };
                prefix.truncate(length);
                return inner;
            }
            Kind::Object | Kind::Null | Kind::Array => {}
        }
        Ok(())
    })
}

/// How deep a level is looked for: the line's own fields and those of the objects in it.
const LEVEL_DEPTH: usize = 2;

/// The first string whose key names a level ([`crate::levels::SOURCES`]), as it is written.
pub(crate) fn level(line: &str) -> Option<Cow<'_, str>> {
    fn walk<'t>(text: &'t str, depth: usize, level: &mut Option<&'t str>) -> Result<(), Stop> {
        object(text, &mut |key, found| match found.kind {
            Kind::Str if crate::levels::rank(key).is_some() => {
                *level = Some(found.text);
                Err(Stop::Enough)
            }
            Kind::Object if depth < LEVEL_DEPTH => walk(found.text, depth + 1, level),
            _ => Ok(()),
        })
    }
    let mut level = None;
    // What was found before the line turned out to be broken counts.
    let _ = walk(line, 1, &mut level);
    level.map(Cow::Borrowed)
}

/// What a JSON line says at one place.
pub(crate) struct Leaf<'p> {
    /// The keys that lead there.
    pub(crate) path: &'p [String],
    /// The label's name that they make.
    pub(crate) label: &'p str,
    /// The value as a label's.
    pub(crate) value: Arc<str>,
}

/// Calls `each` for every value that [`fields`] makes a label of; `false` where the line is no object, or broken.
pub(crate) fn leaves(line: &str, each: &mut dyn FnMut(Leaf<'_>)) -> bool {
    fn walk(text: &str, path: &mut Vec<String>, label: &mut String, each: &mut dyn FnMut(Leaf<'_>)) -> Result<(), Stop> {
        object(text, &mut |key, found| {
            if matches!(found.kind, Kind::Null | Kind::Array) || path.len() > MAX_DEPTH {
                return Ok(());
            }
            let length = label.len();
            if length > 0 {
                label.push('_');
            }
            push_sanitized(label, key);
            path.push(key.to_owned());
            let result = match found.kind {
                Kind::Object => walk(found.text, path, label, each),
                _ => {
                    each(Leaf { path, label, value: label_value(&found) });
                    Ok(())
                }
            };
            path.pop();
            label.truncate(length);
            result
        })
    }
    walk(line, &mut Vec::new(), &mut String::new(), each).is_ok()
}

/// The first of `keys` whose value is a string of the line's own, without its escapes.
pub(crate) fn text_of<'t>(line: &'t str, keys: &[&str]) -> Option<Cow<'t, str>> {
    let mut best: Option<(usize, &'t str)> = None;
    let _ = object(line, &mut |key, found| {
        if let (Kind::Str, Some(rank)) = (found.kind, keys.iter().position(|k| *k == key))
            && best.is_none_or(|(known, _)| rank < known)
        {
            best = Some((rank, found.text));
            if rank == 0 {
                return Err(Stop::Enough);
            }
        }
        Ok(())
    });
    best.map(|(_, text)| unescape(text).unwrap_or(Cow::Borrowed(text)))
}

/// A key as a part of a label's name.
fn push_sanitized(out: &mut String, key: &str) {
    let key = key.trim();
    if out.is_empty() && key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Reads a path: `a.b[0]["c d"]`.
pub(crate) fn path(text: &str) -> Result<Vec<Step>, String> {
    let bad = |what: &str| Err(format!("cannot parse expression [{text}]: {what}"));
    let mut out = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return bad("syntax error: unexpected $end");
    }
    let mut first = true;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let inner = inner.trim_start();
            let after = if inner.starts_with('"') {
                let Ok((key, length)) = syntax::quoted(inner) else { return bad("invalid syntax") };
                out.push(Step::Key(key.into_owned()));
                &inner[length..]
            } else {
                let digits = inner.find(|c: char| !c.is_ascii_digit()).unwrap_or(inner.len());
                let Ok(index) = inner[..digits].parse() else { return bad("syntax error: unexpected index") };
                out.push(Step::Index(index));
                &inner[digits..]
            };
            let Some(after) = after.trim_start().strip_prefix(']') else {
                return bad("syntax error: unexpected $end, expecting RSB");
            };
            rest = after;
        } else {
            let name = match rest.strip_prefix('.') {
                Some(name) if !first => name,
                Some(_) => return bad("syntax error: unexpected DOT"),
                None if first => rest,
                None => return bad("syntax error: unexpected FIELD"),
            };
            let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
            if end == 0 || name.starts_with(|c: char| c.is_ascii_digit()) {
                return bad(&format!("unexpected char {}", name.chars().next().unwrap_or(' ')));
            }
            out.push(Step::Key(name[..end].to_owned()));
            rest = &name[end..];
            if let Some(c) = rest.chars().next().filter(|c| !matches!(c, '.' | '[')) {
                return bad(&format!("unexpected char {c}"));
            }
        }
        first = false;
    }
    Ok(out)
}

/// Labels of the values at some paths; empty ones where there is no value.
pub(crate) fn paths(line: &str, wanted: &[(Arc<str>, Vec<Step>)], labels: &mut Labels) {
    if line.is_empty() {
        return;
    }
    if !line.starts_with(['"', '{', '[']) {
        labels.set_error(JSON_ERROR, "");
        return;
    }
    for (name, path) in wanted {
        let value: Arc<str> = match follow(line, path) {
            Some(found) => match found.kind {
                Kind::Null => "".into(),
                Kind::Object => found.text.into(),
                Kind::Str | Kind::Number | Kind::Bool | Kind::Array => label_text(found.text),
            },
            None if labels.get(name).is_some() => continue,
            None => {
                labels.set(Category::Parsed, name, "".into());
                continue;
            }
        };
        let free: Arc<str> = labels.name_free_in_stream(name).into();
        labels.set(Category::Parsed, &free, value);
    }
}

/// The value at a path; what stands behind it is not looked at.
fn follow<'t>(text: &'t str, path: &[Step]) -> Option<Found<'t>> {
    let (step, rest) = path.split_first()?;
    let found = match step {
        Step::Key(key) => {
            let mut hit = None;
            let _ = object(text, &mut |k, found| {
                if k == key {
                    hit = Some(found);
                    return Err(Stop::Enough);
                }
                Ok(())
            });
            hit?
        }
        Step::Index(index) => {
            let mut at = skip_space(text, 0).filter(|at| text.as_bytes()[*at] == b'[')? + 1;
            let mut item = 0;
            loop {
                let found = value(text, at).ok()?;
                if item == *index {
                    break found;
                }
                at = skip_space(text, found.end).filter(|at| text.as_bytes()[*at] == b',')? + 1;
                item += 1;
            }
        }
    };
    if rest.is_empty() { Some(found) } else { follow(found.text, rest) }
}

/// Labels of a packed line; the line that was packed.
pub(crate) fn unpack(line: &str, labels: &mut Labels, hints: &Hints) -> Option<String> {
    if line.is_empty() || hints.nothing {
        return None;
    }
    if !line.starts_with('{') {
        labels.set_error(JSON_ERROR, "expecting json object(6), but it is not");
        return None;
    }
    let mut entry = None;
    let mut found: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    let result = object(line, &mut |key, value| {
        if value.kind == Kind::Str {
            if key == "_entry" {
                entry = Some(label_text(value.text).to_string());
            } else {
                let name = labels.name_free_in_stream(key);
                if hints.wants(&name) && !labels.is_extracted(&name) {
                    found.push((sanitize(&name).into(), label_text(value.text)));
                }
            }
        }
        Ok(())
    });
    if let Err(Stop::Failed(why)) = result {
        labels.set_error(JSON_ERROR, why);
        return None;
    }
    // What has no entry was not packed.
    if entry.is_some() {
        for (name, value) in found {
            labels.set(Category::Parsed, &name, value);
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(line: &str) -> String {
        let mut labels = Labels::default();
        fields(line, &mut labels, &Hints::default());
        labels.all().to_string()
    }

    #[test]
    fn fields_become_labels() {
        for (line, expected) in [
            (r#"{"a":1,"b":"x\ny","c":true,"d":null,"e":[1]}"#, r#"{a="1", b="x\ny", c="true"}"#),
            (r#"{"a":{"b c":{"d":2}},"0n":3}"#, r#"{_0n="3", a_b_c_d="2"}"#),
            (r#"{"a":"\u00e9\ud83d\ude00","b":"\q"}"#, r#"{a="é😀", b=""}"#),
            (r#"{"a":"\é","b":"\u+123","c":"\u00é9"}"#, r#"{a="", b="", c=""}"#),
            ("{}", "{}"),
        ] {
            assert_eq!(run(line), expected, "{line}");
        }
        for (line, why) in [
            ("x", OPEN_OBJECT),
            ("{\"a\": ", MALFORMED),
            ("{\"a\":1", OPEN_ARRAY),
            ("{\"a\":x}", UNKNOWN),
            ("{\"a\":\"x", OPEN_STRING),
            (r#"{"\é":1}"#, BAD_ESCAPE),
        ] {
            assert!(run(line).contains(&template::quote(why)), "{line}: {}", run(line));
        }
    }

    #[test]
    fn paths_are_followed() {
        let line = r#"{"a":{"b":[1,{"c d":"x"}]},"t":["a","b"]}"#;
        for (text, expected) in
            [("a.b[0]", Some("1")), ("a.b[1][\"c d\"]", Some("x")), ("t", Some(r#"["a","b"]"#)), ("a.x", None), ("t[2]", None)]
        {
            let path = path(text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(follow(line, &path).map(|f| f.text), expected, "{text}");
        }
        for bad in ["", "a..b", "a b", "[x]", "a[", ".a"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_is_an_error(line in "[{}\\[\\]\",:a-c0-9\\\\ u]{0,40}") {
            let _ = run(&line);
            let mut labels = Labels::default();
            let _ = unpack(&line, &mut labels, &Hints::default());
            paths(&line, &[("x".into(), vec![Step::Key("a".into()), Step::Index(1)])], &mut labels);
            let _ = path(&line);
        }
    }
}
