//! Text to tokens, as Go's `text/scanner` cuts it: the positions and texts of errors are Loki's.

use crate::ParseError;
use crate::units::{parse_bytes, parse_duration};

/// A token and the line and column that an error names. Line 0 where Loki's scanner has looked past the token: it forgets the
/// line then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What the grammar is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Label names, and whatever is nothing else.
    Identifier(String),
    /// A word of the language that is not a function; lower case.
    Keyword(&'static str),
    /// The name of a function, with `(`, `by (` or `without (` behind it; lower case.
    Function(&'static str),
    /// Operators and marks.
    Mark(&'static str),
    Str(String),
    /// As written.
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Bytes(u64),
    /// `[5m]`, nanoseconds.
    Range(i64),
    /// `--strict`, `--keep-empty`
    Flag(&'static str),
    /// What cannot be a token.
    Bad(String),
    End,
}

impl Token {
    /// How an error names it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Identifier(_) => "IDENTIFIER".to_owned(),
            Self::Keyword(word) | Self::Mark(word) => (*word).to_owned(),
            Self::Function(name @ ("ip" | "label_replace")) => (*name).to_owned(),
            Self::Function(name @ ("bytes" | "duration" | "duration_seconds")) => format!("{}_CONV", name.to_uppercase()),
            Self::Function(name) => name.to_uppercase(),
            Self::Str(_) => "STRING".to_owned(),
            Self::Number(_) => "NUMBER".to_owned(),
            Self::Duration(_) => "DURATION".to_owned(),
            Self::Bytes(_) => "BYTES".to_owned(),
            Self::Range(_) => "RANGE".to_owned(),
            Self::Flag(_) => "FUNCTION_FLAG".to_owned(),
            Self::Bad(_) | Self::End => "$end".to_owned(),
        }
    }
}

/// Two characters first.
const MARKS: [&str; 27] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", ",", ".", "=", "|", "]", ">", "<", "+", "-",
    "*", "/", "%", "^",
];

const KEYWORDS: [&str; 27] = [
    "unwrap",
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "ip",
    "decolorize",
    "drop",
    "keep",
    "variants",
    "of",
    "label_replace",
    "[",
];

const FUNCTIONS: [&str; 33] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_rate",
    "bytes_over_time",
    "avg_over_time",
    "sum_over_time",
    "min_over_time",
    "max_over_time",
    "stdvar_over_time",
    "stddev_over_time",
    "quantile_over_time",
    "first_over_time",
    "last_over_time",
    "absent_over_time",
    "vector",
    "sum",
    "avg",
    "max",
    "min",
    "count",
    "stddev",
    "stdvar",
    "bottomk",
    "topk",
    "sort",
    "sort_desc",
    "label_replace",
    "approx_topk",
    "bytes",
    "duration",
    "duration_seconds",
    "ip",
];

/// All tokens of `query`, [`Token::End`] or [`Token::Bad`] last.
pub(crate) fn lex(query: &str) -> Vec<Spanned> {
    let mut lexer =
        Lexer { query, at: if query.starts_with('\u{feff}') { 3 } else { 0 }, line: 1, line_start: 0, counted: (0, 0) };
    let mut out = Vec::new();
    loop {
        let token = lexer.next();
        let last = matches!(token.token, Token::End | Token::Bad(_));
        out.push(token);
        if last {
            return out;
        }
    }
}

struct Lexer<'q> {
    query: &'q str,
    at: usize,
    line: usize,
    line_start: usize,
    /// Characters of the line up to a byte of it, so that a long line is counted once.
    counted: (usize, usize),
}

impl<'q> Lexer<'q> {
    fn rest(&self) -> &'q str {
        &self.query[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        let skipped = &self.query[self.at..self.at + bytes];
        if let Some(last) = skipped.rfind('\n') {
            self.line += skipped.matches('\n').count();
            self.line_start = self.at + last + 1;
            self.counted = (self.line_start, 0);
        }
        self.at += bytes;
    }

    fn column(&mut self, at: usize) -> usize {
        let (from, chars) = self.counted;
        if at < from {
            return self.query[self.line_start..at].chars().count() + 1;
        }
        let chars = chars + self.query[from..at].chars().count();
        self.counted = (at, chars);
        chars + 1
    }

    /// White space and comments; a comment that does not end is bad.
    fn space(&mut self) -> Option<&'static str> {
        loop {
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.skip(spaces);
            let rest = self.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else { return Some("comment not terminated") };
                self.skip(end + 4);
            } else {
                return None;
            }
        }
    }

    fn next(&mut self) -> Spanned {
        let unterminated = self.space();
        let (start, line) = (self.at, self.line);
        let column = self.column(start);
        let mut looked_past = false;
        let token = match (unterminated, self.peek()) {
            (Some(message), _) => Token::Bad(message.to_owned()),
            (None, None) => Token::End,
            (None, Some(c)) => self.token(c, &mut looked_past),
        };
        Spanned { token, start, line: if looked_past { 0 } else { line }, column }
    }

    fn token(&mut self, c: char, looked_past: &mut bool) -> Token {
        let rest = self.rest();
        if c == '_' || c.is_alphabetic() {
            let length = rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len());
            self.skip(length);
            return self.word(&rest[..length]);
        }
        if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            return self.number(looked_past);
        }
        match c {
            '"' => return self.string(),
            '`' => {
                let Some(end) = rest[1..].find('`') else { return Token::Bad("literal not terminated".to_owned()) };
                self.skip(end + 2);
                return Token::Str(rest[1..=end].replace('\r', ""));
            }
            '\'' => return self.character(),
            '[' => {
                *looked_past = true;
                let Some(end) = rest.find(']') else { return Token::Bad("missing closing ']' in duration".to_owned()) };
                self.skip(end + 1);
                return range(&rest[1..end]);
            }
            '-' => {
                if let Some(flag) = ["--strict", "--keep-empty"].into_iter().find(|flag| {
                    rest.strip_prefix(flag).is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic() || c == '-'))
                }) {
                    *looked_past = true;
                    self.skip(flag.len());
                    return Token::Flag(flag);
                }
                if let Some((length, ns)) = duration_at(rest, 1) {
                    *looked_past = true;
                    self.skip(length);
                    return Token::Duration(ns);
                }
            }
            _ => {}
        }
        match MARKS.into_iter().find(|mark| rest.starts_with(mark)) {
            Some(mark) => {
                *looked_past = mark.len() > 1;
                self.skip(mark.len());
                Token::Mark(mark)
            }
            None => {
                self.skip(c.len_utf8());
                Token::Identifier(c.to_string())
            }
        }
    }

    fn word(&self, word: &str) -> Token {
        let lower = word.to_lowercase();
        if let Some(function) = FUNCTIONS.into_iter().find(|f| *f == lower) {
            return if is_call(self.rest()) { Token::Function(function) } else { Token::Identifier(word.to_owned()) };
        }
        match KEYWORDS.into_iter().find(|k| *k == lower) {
            // Labels may be called so.
            Some("of" | "variants") if !self.rest().trim_start().starts_with('(') => Token::Identifier(word.to_owned()),
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Identifier(word.to_owned()),
        }
    }

    fn number(&mut self, looked_past: &mut bool) -> Token {
        let rest = self.rest();
        let (length, error) = scan_number(rest);
        if let Some(message) = error {
            return Token::Bad(message);
        }
        if let Some((length, ns)) = duration_at(rest, length) {
            *looked_past = true;
            self.skip(length);
            return Token::Duration(ns);
        }
        let of_size = |c: char| c.is_numeric() || matches!(c, 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P' | '.');
        let size_end = length + syntax::short_run(&rest[length..], of_size).unwrap_or(0);
        if size_end > length
            && let Ok(bytes) = parse_bytes(&rest[..size_end])
        {
            *looked_past = true;
            self.skip(size_end);
            return Token::Bytes(bytes);
        }
        self.skip(length);
        Token::Number(rest[..length].to_owned())
    }

    fn string(&mut self) -> Token {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        loop {
            match chars.next() {
                None | Some((_, '\n')) => return Token::Bad("literal not terminated".to_owned()),
                Some((at, '"')) => {
                    let token = match syntax::quoted(&rest[..=at]) {
                        Ok((text, _)) => Token::Str(text.into_owned()),
                        Err(_) => return Token::Bad("invalid char escape".to_owned()),
                    };
                    self.skip(at + 1);
                    return token;
                }
                Some((_, '\\')) => match chars.next() {
                    None => return Token::Bad("invalid char escape".to_owned()),
                    Some((_, c)) if c == '\n' || !"abfnrtv\\\"01234567xuU".contains(c) => {
                        return Token::Bad("invalid char escape".to_owned());
                    }
                    Some(_) => {}
                },
                Some(_) => {}
            }
        }
    }

    /// Go's character literal, which is nothing in LogQL: the scanner checks it all the same.
    fn character(&mut self) -> Token {
        let rest = self.rest();
        let Some(end) = rest[1..].find(['\'', '\n']).filter(|n| rest[1 + n..].starts_with('\'')) else {
            return Token::Bad("literal not terminated".to_owned());
        };
        let text = &rest[..end + 2];
        if text.chars().count() != 3 {
            return Token::Bad("invalid char literal".to_owned());
        }
        self.skip(text.len());
        Token::Identifier(text.to_owned())
    }
}

/// Whether what follows a function's name makes it one: `(`, or `by` or `without` with `(` behind.
fn is_call(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.starts_with('(') {
        return true;
    }
    ["by", "without"].into_iter().any(|word| {
        rest.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word)) && rest[word.len()..].trim_start().starts_with('(')
    })
}

/// A duration whose first `from` bytes are a number or a sign; how long it is and how many nanoseconds.
fn duration_at(rest: &str, from: usize) -> Option<(usize, i64)> {
    let of_duration = |c: char| c.is_numeric() || matches!(c, 'n' | 'u' | 'µ' | 'm' | 's' | 'h' | 'd' | 'w' | 'y' | '.');
    let end = from + syntax::short_run(&rest[from..], of_duration).filter(|length| *length > 0)?;
    parse_duration(&rest[..end]).map(|ns| (end, ns))
}

fn range(text: &str) -> Token {
    match syntax::prometheus_duration(text) {
        Some(Some(ms)) => Token::Range(ms.saturating_mul(1_000_000)),
        Some(None) => Token::Bad("duration out of range".to_owned()),
        None if text == "0" => Token::Range(0),
        None if text.is_empty() => Token::Bad("empty duration string".to_owned()),
        None => Token::Bad(format!("not a valid duration string: {}", template::quote(text))),
    }
}

/// How long the number at the start of `text` is, and what is wrong with it.
fn scan_number(text: &str) -> (usize, Option<String>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut prefix = 0u8;
    let mut base = 10;
    let mut digits = 0;
    if bytes.first() == Some(&b'0') {
        at = 1;
        match bytes.get(1).map(u8::to_ascii_lowercase) {
            Some(b'x') => (at, prefix, base) = (2, b'x', 16),
            Some(b'o') => (at, prefix, base) = (2, b'o', 8),
            // Loki leaves `0B` to the sizes, though it finds no digits in it.
            Some(b'b') if bytes.get(2).is_some_and(|b| !b.is_ascii_whitespace()) => (at, prefix, base) = (2, b'b', 2),
            Some(b'b') => {}
            _ => (prefix, base, digits) = (b'0', 8, 1),
        }
    }
    let mut invalid = None;
    let mut run = |at: &mut usize, digits: &mut usize| {
        while let Some(b) = bytes.get(*at) {
            match b {
                b'_' => {}
                b'0'..=b'9' => {
                    *digits += 1;
                    if base <= 8 && b - b'0' >= base && invalid.is_none() {
                        invalid = Some(*b);
                    }
                }
                b if base == 16 && b.is_ascii_hexdigit() => *digits += 1,
                _ => break,
            }
            *at += 1;
        }
    };
    let name = match prefix {
        b'x' => "hexadecimal literal",
        b'o' | b'0' => "octal literal",
        b'b' => "binary literal",
        _ => "decimal literal",
    };
    run(&mut at, &mut digits);
    let mut float = false;
    if bytes.get(at) == Some(&b'.') {
        float = true;
        at += 1;
        if matches!(prefix, b'o' | b'b') {
            return (at, Some(format!("invalid radix point in {name}")));
        }
        run(&mut at, &mut digits);
    }
    if digits == 0 {
        return (at, Some(format!("{name} has no digits")));
    }
    let exponent = bytes.get(at).map(u8::to_ascii_lowercase);
    if matches!(exponent, Some(b'e' | b'p')) {
        let written = char::from(bytes[at]);
        if exponent == Some(b'e') && !matches!(prefix, 0 | b'0') {
            return (at, Some(format!("'{written}' exponent requires decimal mantissa")));
        }
        if exponent == Some(b'p') && prefix != b'x' {
            return (at, Some(format!("'{written}' exponent requires hexadecimal mantissa")));
        }
        float = true;
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let from = at;
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
        if from == at {
            return (at, Some("exponent has no digits".to_owned()));
        }
    } else if prefix == b'x' && float {
        return (at, Some("hexadecimal mantissa requires a 'p' exponent".to_owned()));
    }
    if let (Some(digit), false) = (invalid, float) {
        return (at, Some(format!("invalid digit '{}' in {name}", char::from(digit))));
    }
    (at, None)
}

impl Spanned {
    pub(crate) fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { offset: self.start, line: self.line, column: self.column, message: message.into() }
    }
}
