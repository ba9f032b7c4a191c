//! Go's regular expressions (RE2 syntax) in the words of the `regex` crate.

use std::borrow::Cow;

/// As [`go_pattern`], for a pattern that Go takes.
///
/// # Errors
/// What Go's `regexp.Compile` says of one that it refuses and the `regex` crate would take.
pub fn go_regexp(pattern: &str) -> Result<Cow<'_, str>, String> {
    match refused(pattern) {
        Some(what) => Err(format!("error parsing regexp: {what}")),
        None => Ok(go_pattern(pattern)),
    }
}

/// What the `regex` crate would take and Go does not: repetitions of repetitions and of more than a thousand, some escapes, some flags.
fn refused(pattern: &str) -> Option<String> {
    let (mut at, mut repeated, mut in_class) = (0, None, false);
    // How often the most repeated part is: of the group that ended at a place, and of the groups that are open.
    let (mut ended, mut open): ((usize, f64), Vec<f64>) = ((0, 1.0), vec![1.0]);
    while let Some(c) = pattern[at..].chars().next() {
        let rest = &pattern[at..];
        let before = repeated.take();
        at += match c {
            '\\' if rest.starts_with("\\Q") && !in_class => rest.find("\\E").map_or(rest.len(), |n| n + 2),
            '\\' => {
                if is_refused_escape(rest) {
                    return Some(format!("invalid escape sequence: `{}`", bad_escape(rest)));
                }
                match rest.get(1..3) {
                    Some("p{" | "P{" | "x{") => rest.find('}').map_or(rest.len(), |n| n + 1),
                    _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
                }
            }
            '[' if !in_class => {
                in_class = true;
                let start = 1 + usize::from(rest[1..].starts_with('^'));
                start + usize::from(rest[start..].starts_with(']'))
            }
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |n| n + 2),
            ']' => {
                in_class = false;
                1
            }
            _ if in_class => c.len_utf8(),
            '(' if rest.starts_with("(?") => {
                let named = rest.starts_with("(?P<") || rest.starts_with("(?<");
                let flags = rest[2..].find(|c| !"imsU-".contains(c)).map_or(rest.len(), |n| n + 2);
                if !named && !rest[flags..].starts_with([':', ')']) {
                    let end = flags + rest[flags..].chars().next().map_or(0, char::len_utf8);
                    return Some(format!("invalid or unsupported Perl syntax: `{}`", &rest[..end]));
                }
                if named || rest[flags..].starts_with(':') {
                    open.push(1.0);
                    2
                } else {
                    flags + 1
                }
            }
            '(' => {
                open.push(1.0);
                1
            }
            ')' => {
                ended = (at + 1, open.pop().unwrap_or(1.0));
                if let Some(outer) = open.last_mut() {
                    *outer = outer.max(ended.1);
                }
                1
            }
            '*' | '+' | '?' | '{' => {
                let length = if c == '{' { repetition(rest) } else { 1 };
                let counts = rest.get(1..length.saturating_sub(1)).unwrap_or_default().split(',');
                let most = counts.filter_map(|n| n.parse::<f64>().ok()).fold(1.0, f64::max);
                let nested = if ended.0 == at { most * ended.1 } else { most };
                if let Some(outer) = open.last_mut() {
                    *outer = outer.max(nested);
                }
                if nested > 1000.0 {
                    return Some(format!("invalid repeat count: `{}`", &rest[..length]));
                }
                let whole = length + usize::from(length > 0 && rest[length..].starts_with('?'));
                if let Some(first) = before.filter(|_| whole > 0) {
                    return Some(format!("invalid nested repetition operator: `{}`", &pattern[first..at + whole]));
                }
                repeated = (whole > 0).then_some(at);
                whole.max(1)
            }
            c => c.len_utf8(),
        };
    }
    None
}

/// Whether Go does not know the escape that `text` begins with.
fn is_refused_escape(text: &str) -> bool {
    let mut chars = text[1..].chars();
    match chars.next() {
        // A single digit is a reference, which there is not.
        Some('1'..='7') => !chars.next().is_some_and(|c| c.is_digit(8)),
        Some(c) => c.is_alphanumeric() && !"0dDsSwWbBAzQEpPafnrtvx".contains(c),
        None => false,
    }
}

/// `pattern` as the `regex` crate has to be told it: a `{` that starts no repetition is a character, `\Q…\E` is text, a class
/// knows no operators and no classes inside, `\d`, `\s`, `\w` and `\b` are about ASCII, `\101` is a character.
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
                    Some('b') => out.push_str(r"(?-u:\b)"),
                    Some(c) if ascii(c).is_some() => out.push_str(ascii(c).unwrap_or_default()),
                    Some('0'..='7') => {
                        rest = octal(rest, &mut out);
                        continue;
                    }
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

/// The class that `\d` and its kin stand for in Go.
fn ascii(escape: char) -> Option<&'static str> {
    Some(match escape {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// Copies `\0` and `\101`, octal numbers of characters; returns what is behind it. What is none stays as it is.
fn octal<'t>(text: &'t str, out: &mut String) -> &'t str {
    let digits = text[1..].bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
    let (number, rest) = text[1..].split_at(digits);
    match u32::from_str_radix(number, 8) {
        Ok(n) if digits > 1 || number == "0" => out.push_str(&format!(r"\x{{{n:x}}}")),
        _ => out.push_str(&text[..=digits]),
    }
    rest
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
                let escaped = rest[1..].chars().next();
                let length = 1 + escaped.map_or(0, char::len_utf8);
                match escaped {
                    Some(c) if ascii(c).is_some() => out.push_str(ascii(c).unwrap_or_default()),
                    Some('0'..='7') => {
                        rest = octal(rest, out);
                        continue;
                    }
                    _ => out.push_str(&rest[..length]),
                }
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
    if refusal.starts_with("error parsing regexp: ") {
        // Of [`go_regexp`].
        return refusal.to_owned();
    }
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
            (r"\p{Greek}\d", r"\p{Greek}[0-9]"),
            (r"\b[\w.-]+\S", r"(?-u:\b)[[0-9A-Za-z_].-]+[^\t\n\f\r ]"),
            (r"\101[\0-\07]\1", r"\x{41}[\x{0}-\x{7}]\1"),
            (r"\<b\>", "<b>"),
        ] {
            assert_eq!(go_pattern(go), here, "{go}");
        }
    }

    #[test]
    fn what_go_alone_refuses_is_refused_in_its_words() {
        for (pattern, what) in [
            ("a**", "invalid nested repetition operator: `**`"),
            ("a*?+", "invalid nested repetition operator: `*?+`"),
            ("(a{2}){3}{4,}", "invalid nested repetition operator: `{3}{4,}`"),
            ("a{2,1001}", "invalid repeat count: `{2,1001}`"),
            ("((a{50}b){2}){11,}", "invalid repeat count: `{11,}`"),
            (r"[\u0061]", r"invalid escape sequence: `\u`"),
            (r"a\Z", r"invalid escape sequence: `\Z`"),
            (r"(a)\1", r"invalid escape sequence: `\1`"),
            ("(?x)a b", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ] {
            assert_eq!(go_regexp(pattern).expect_err(pattern), format!("error parsing regexp: {what}"));
        }
        for good in [
            r"a*?b+c??{d}*",
            "(?P<x>a)(?i-s:b)(?:c)",
            r"[]*+[:alpha:]**]+\Qa**\E*",
            r"\x{41}{2}\pN{3}?",
            "{{",
            "a{,5}*",
            "((a{50})b){20}(?i)(c{600})(?:d{2}){500}",
            r"(a{50})\){30}",
        ] {
            assert!(go_regexp(good).is_ok(), "{good}");
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
