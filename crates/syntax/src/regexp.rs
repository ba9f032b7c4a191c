//! Go's regular expressions (RE2 syntax) in the words of the `regex` crate.

use std::borrow::Cow;

/// `pattern` as the `regex` crate has to be told it: a `{` that starts no repetition is a character, `\Q…\E` is text, a class
/// knows no operators and no classes inside.
#[must_use]
pub fn go_pattern(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(['{', '[', '\\', '}']) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        match c {
            '\\' => {
                let escaped = rest[1..].chars().next();
                let length = 1 + escaped.map_or(0, char::len_utf8);
                match escaped {
                    Some('Q') => {
                        let (text, after) = rest[2..].split_once("\\E").unwrap_or((&rest[2..], ""));
                        for c in text.chars() {
                            if c.is_ascii_punctuation() {
                                out.push('\\');
                            }
                            out.push(c);
                        }
                        rest = after;
                        continue;
                    }
                    // Word boundaries to `regex`.
                    Some(c @ ('<' | '>')) => out.push(c),
                    // Properties have braces of their own.
                    Some('p' | 'P' | 'x') if rest[length..].starts_with('{') => {
                        let end = rest.find('}').map_or(rest.len(), |n| n + 1);
                        out.push_str(&rest[..end]);
                        rest = &rest[end..];
                        continue;
                    }
                    _ => out.push_str(&rest[..length]),
                }
                rest = &rest[length..];
            }
            '{' => {
                let length = repetition(rest);
                if length == 0 {
                    out.push_str("\\{");
                    rest = &rest[1..];
                } else {
                    out.push_str(&rest[..length]);
                    rest = &rest[length..];
                }
            }
            '}' => {
                out.push_str("\\}");
                rest = &rest[1..];
            }
            '[' => rest = class(rest, &mut out),
            c => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(out)
}

/// Length of `{2}`, `{2,}`, `{2,3}`; 0 where there is none.
fn repetition(text: &str) -> usize {
    let Some(end) = text.find('}') else { return 0 };
    let inner = &text[1..end];
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let good = match inner.split_once(',') {
        Some((low, high)) => number(low) && (high.is_empty() || number(high)),
        None => number(inner),
    };
    if good { end + 1 } else { 0 }
}

/// Copies a class; returns what is behind it.
fn class<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('[');
    let mut rest = &text[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        match c {
            ']' => {
                out.push(']');
                return &rest[1..];
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |n| n + 2);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            '\\' => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                rest = &rest[1..];
            }
            // A difference of classes to `regex`.
            '-' if rest.starts_with("--") => {
                out.push_str("\\-");
                rest = &rest[1..];
            }
            c => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    rest
}

/// What Go's `regexp.Compile` says of `pattern`, which the `regex` crate refused with the text `refusal`.
#[must_use]
pub fn go_regexp_error(pattern: &str, refusal: &str) -> String {
    let last = refusal.rsplit("error: ").next().unwrap_or(refusal).trim();
    let tail = |from: usize| format!("`{}`", &pattern[from.min(pattern.len())..]);
    let what = if last.starts_with("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if last.starts_with("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if last.starts_with("incomplete escape") {
        "trailing backslash at end of expression: ``".to_owned()
    } else if last.starts_with("unrecognized escape") || last.starts_with("backreferences") {
        format!("invalid escape sequence: `{}`", bad_escape(pattern))
    } else if last.starts_with("repetition operator missing") {
        let at = pattern.find(['*', '+', '?']).unwrap_or(0);
        let end = at + pattern[at..].chars().next().map_or(0, char::len_utf8);
        format!("missing argument to repetition operator: `{}`", &pattern[at..end])
    } else if last.starts_with("unclosed character class") {
        format!("missing closing ]: {}", tail(pattern.rfind('[').unwrap_or(0)))
    } else if last.starts_with("invalid character class range") {
        let at = pattern.find('[').unwrap_or(0);
        let range = pattern[at..]
            .char_indices()
            .zip(pattern[at..].chars().skip(2))
            .find(|((i, a), b)| pattern[at + i + a.len_utf8()..].starts_with('-') && a > b);
        let range = range.map_or_else(String::new, |((_, a), b)| format!("{a}-{b}"));
        format!("invalid character class range: `{range}`")
    } else if last.starts_with("invalid repetition count range") {
        let at = pattern.find('{').unwrap_or(0);
        let end = pattern[at..].find('}').map_or(pattern.len(), |n| at + n + 1);
        format!("invalid repeat count: `{}`", &pattern[at..end])
    } else if last.contains("look-") {
        let at = pattern.find("(?").unwrap_or(0);
        let end = at + pattern[at..].char_indices().nth(3).map_or(pattern.len() - at, |(n, _)| n);
        format!("invalid or unsupported Perl syntax: `{}`", &pattern[at..end])
    } else if last.starts_with("duplicate capture group name") {
        "duplicate capture group name".to_owned()
    } else if refusal.contains("size limit") {
        "expression nests too deeply or is too large".to_owned()
    } else {
        last.to_owned()
    };
    format!("error parsing regexp: {what}")
}

/// The first escape that Go does not know.
fn bad_escape(pattern: &str) -> &str {
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at..];
        let Some(c) = rest[1..].chars().next() else { break };
        let length = 1 + c.len_utf8();
        if c.is_ascii_alphanumeric() && !"dDsSwWbBAzQEpPCafnrtvx01234567".contains(c) || c.is_ascii_digit() && c > '0' {
            return &rest[..length];
        }
        rest = &rest[length..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_reads_otherwise_is_translated() {
        for (go, here) in [
            ("plain.*", "plain.*"),
            ("a{2,3}b{", r"a{2,3}b\{"),
            ("{foo}", r"\{foo\}"),
            (r"\Qa.b\E+", r"a\.b+"),
            ("[[a]", r"[\[a]"),
            ("[[:alpha:]_-]", "[[:alpha:]_-]"),
            ("[a&&b]", r"[a\&\&b]"),
            (r"\p{Greek}\d", r"\p{Greek}\d"),
            (r"\<b\>", "<b>"),
        ] {
            assert_eq!(go_pattern(go), here, "{go}");
        }
    }

    #[test]
    fn refusals_are_said_as_go_says_them() {
        for (pattern, refusal, said) in [
            ("(", "error: unclosed group", "missing closing ): `(`"),
            ("a)", "error: unopened group", "unexpected ): `a)`"),
            ("a\\", "error: incomplete escape sequence, reached end", "trailing backslash at end of expression: ``"),
            (r"^x\q", "error: unrecognized escape sequence", r"invalid escape sequence: `\q`"),
            ("*a", "error: repetition operator missing expression", "missing argument to repetition operator: `*`"),
            ("a[b", "error: unclosed character class", "missing closing ]: `[b`"),
        ] {
            assert_eq!(go_regexp_error(pattern, refusal), format!("error parsing regexp: {said}"));
        }
    }
}
