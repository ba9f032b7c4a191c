//! Text to tokens.

use crate::ParseError;

/// A token and the byte offset of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) start: usize,
}

/// What the grammar is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Label names, keywords, functions.
    Word(String),
    Text(String),
    Number(f64),
    /// Nanoseconds.
    Duration(i64),
    /// A number of bytes, as written: `1.5KB`.
    Size(String),
    /// Operators and marks.
    Mark(&'static str),
    End,
}

impl Token {
    /// How an error names the token.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Word(w) => format!("identifier {w:?}"),
            Self::Text(t) => format!("string {t:?}"),
            Self::Number(n) => format!("number {n}"),
            Self::Duration(_) => "duration".to_owned(),
            Self::Size(size) => format!("bytes {size}"),
            Self::Mark(m) => (*m).to_owned(),
            Self::End => "$end".to_owned(),
        }
    }
}

/// Longest first.
const MARKS: [&str; 27] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "{", "}", "(", ")", "[", "]", ",", "|", "=", ">", "<", "+", "-",
    "*", "/", "%", "^",
];

/// Units of bytes.
const SIZES: [&str; 13] = ["b", "kb", "kib", "mb", "mib", "gb", "gib", "tb", "tib", "pb", "pib", "eb", "eib"];

/// All tokens of `query`, [`Token::End`] last.
pub(crate) fn lex(query: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut lexer = Lexer { query, at: 0 };
    let mut out = Vec::new();
    loop {
        let (token, start) = lexer.next()?;
        let end = token == Token::End;
        out.push(Spanned { token, start });
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'q> {
    query: &'q str,
    at: usize,
}

impl<'q> Lexer<'q> {
    fn rest(&self) -> &'q str {
        &self.query[self.at..]
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.query, at, message))
    }

    fn next(&mut self) -> Result<(Token, usize), ParseError> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if !self.rest().starts_with('#') && !self.rest().starts_with("//") {
                break;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok((Token::End, start)) };
        let second_is_digit = self.rest()[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        let token = if first.is_ascii_digit() || (first == '.' && second_is_digit) {
            self.number(start)?
        } else if matches!(first, '"' | '`') {
            Token::Text(self.text(start, first)?)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length =
                self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(self.rest().len());
            let word = self.rest()[..length].to_owned();
            self.at += length;
            Token::Word(word)
        } else if let Some(mark) = MARKS.into_iter().find(|m| self.rest().starts_with(m)) {
            self.at += mark.len();
            Token::Mark(mark)
        } else {
            return self.fail(start, format!("syntax error: unexpected character {first:?}"));
        };
        Ok((token, start))
    }

    fn text(&mut self, start: usize, quote: char) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return self.fail(start, "literal not terminated") };
            self.at += c.len_utf8();
            if c == quote {
                break;
            }
            if c == '\n' && quote == '"' {
                return self.fail(start, "literal not terminated");
            }
            if c != '\\' || quote == '`' {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            self.escape(&mut out)?;
        }
        match String::from_utf8(out) {
            Ok(text) => Ok(text),
            Err(_) => self.fail(start, "a string that is not UTF-8"),
        }
    }

    /// One escape as Go has them in double quotes; the backslash is read already.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), ParseError> {
        let at = self.at - 1;
        let Some(escaped) = self.rest().chars().next() else { return self.fail(at, "literal not terminated") };
        self.at += escaped.len_utf8();
        let simple = match escaped {
            'n' => Some(b'\n'),
            't' => Some(b'\t'),
            'r' => Some(b'\r'),
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(());
        }
        let (digits, radix, from) = match escaped {
            '0'..='7' => (3, 8, self.at - 1),
            'x' => (2, 16, self.at),
            'u' => (4, 16, self.at),
            'U' => (8, 16, self.at),
            _ => return self.fail(at, "invalid char escape"),
        };
        let code = self.query.get(from..from + digits).filter(|c| c.chars().all(|c| c.is_digit(radix)));
        let Some(number) = code.and_then(|c| u32::from_str_radix(c, radix).ok()) else {
            return self.fail(at, "invalid char escape");
        };
        self.at = from + digits;
        if matches!(escaped, 'u' | 'U') {
            let Some(c) = char::from_u32(number) else { return self.fail(at, "invalid char escape") };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let Ok(byte) = u8::try_from(number) else { return self.fail(at, "invalid char escape") };
            out.push(byte);
        }
        Ok(())
    }

    /// A number or a duration (`5m`, `1h30m`, `1.5s`, `2d`).
    fn number(&mut self, start: usize) -> Result<Token, ParseError> {
        let rest = self.rest();
        let mut length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == 'µ')).unwrap_or(rest.len());
        let bytes = rest.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        if matches!(bytes[length - 1], b'e' | b'E') && matches!(bytes.get(length), Some(b'+' | b'-')) && digit(length + 1) {
            length += 1 + rest[length + 1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - length - 1);
        }
        let text = &rest[..length];
        self.at += length;
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).and_then(|h| u64::from_str_radix(h, 16).ok());
        if let Some(number) = hex.map(|h| h as f64).or_else(|| text.parse().ok()) {
            return Ok(Token::Number(number));
        }
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if SIZES.iter().any(|size| size.eq_ignore_ascii_case(unit)) {
            return Ok(Token::Size(text.to_owned()));
        }
        match parse_duration(text) {
            Some(ns) => Ok(Token::Duration(ns)),
            None => self.fail(start, format!("{text:?} is no number and no duration")),
        }
    }
}

/// A duration in nanoseconds: Go's units and longer ones.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    syntax::go_duration(text, &[("d", 86_400_000_000_000), ("w", 604_800_000_000_000), ("y", 31_536_000_000_000_000)])
}
