//! Text to tokens.

use syntax::prometheus_duration;

use crate::ParseError;

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    /// Byte offset of its first character.
    pub(crate) start: usize,
    /// Byte offset after its last character.
    pub(crate) end: usize,
}

/// What the grammar is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Names of metrics, labels, functions, aggregations, keywords: told apart by where they stand.
    Word(String),
    /// A number; `inf` and `nan` come as words.
    Number(f64),
    /// A duration in milliseconds: `1h30m`.
    Duration(i64),
    /// A quoted text, unescaped.
    Text(String),
    /// `+ - * / % ^ == != > < >= <= =~ !~ =`
    Operator(&'static str),
    /// `( ) { } [ ] , : @`
    Mark(char),
    /// The end.
    End,
}

impl Token {
    /// How an error names the token.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Word(w) => format!("identifier {w:?}"),
            Self::Number(n) => format!("number {n}"),
            Self::Duration(_) => "duration".to_owned(),
            Self::Text(t) => format!("string {t:?}"),
            Self::Operator(o) => format!("<op:{o}>"),
            Self::Mark(c) => format!("{:?}", c.to_string()),
            Self::End => "end of input".to_owned(),
        }
    }
}

/// All tokens of `query`, [`Token::End`] last.
pub(crate) fn lex(query: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut lexer = Lexer { query, at: 0, bracketed: false, out: Vec::new() };
    while lexer.next()? {}
    Ok(lexer.out)
}

struct Lexer<'q> {
    query: &'q str,
    at: usize,
    /// Between `[` and `]`.
    bracketed: bool,
    out: Vec<Spanned>,
}

const OPERATORS: [&str; 15] = ["==", "!=", ">=", "<=", "=~", "!~", "+", "-", "*", "/", "%", "^", ">", "<", "="];

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.query[self.at..]
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.query, at, message))
    }

    fn push(&mut self, token: Token, start: usize) {
        self.out.push(Spanned { token, start, end: self.at });
    }

    /// Reads one token; false after the end.
    fn next(&mut self) -> Result<bool, ParseError> {
        loop {
            let blank = self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blank;
            if !self.rest().starts_with('#') {
                break;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            self.push(Token::End, start);
            return Ok(false);
        };
        if "(){}[],:@".contains(first) && !(first == ':' && self.starts_word()) {
            self.at += 1;
            self.bracketed = first == '[' || (self.bracketed && first != ']');
            self.push(Token::Mark(first), start);
        } else if first.is_ascii_digit() || (first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit())) {
            self.number(start)?;
        } else if matches!(first, '"' | '\'' | '`') {
            self.text(start, first)?;
        } else if first.is_ascii_alphabetic() || first == '_' || first == ':' {
            let length =
                self.rest().find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(self.rest().len());
            let word = self.rest()[..length].to_owned();
            self.at += length;
            self.push(Token::Word(word), start);
        } else if let Some(op) = OPERATORS.into_iter().find(|op| self.rest().starts_with(op)) {
            self.at += op.len();
            self.push(Token::Operator(op), start);
        } else if first == '!' {
            return match self.rest()[1..].chars().next() {
                Some(c) => self.fail(start, format!("unexpected character after '!': '{c}'")),
                None => self.fail(start, "unexpected character: '!'"),
            };
        } else {
            return self.fail(start, format!("unexpected character: {first:?}"));
        }
        Ok(true)
    }

    /// Whether a `:` here belongs to a name (recording rules) and not to a subquery: it does outside of brackets.
    fn starts_word(&self) -> bool {
        !self.bracketed && self.rest()[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
    }

    /// A number, or a duration where a unit follows.
    fn number(&mut self, start: usize) -> Result<(), ParseError> {
        let rest = self.rest();
        let word_end = |s: &str| s.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(s.len());
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let length = word_end(hex);
            let digits = hex[..length].replace('_', "");
            self.at += 2 + length;
            return match u64::from_str_radix(&digits, 16) {
                Ok(n) => {
                    self.push(Token::Number(n as f64), start);
                    Ok(())
                }
                Err(_) => self.fail(start, format!("bad number or duration syntax: {:?}", &self.query[start..self.at])),
            };
        }
        let length = word_end(rest);
        if let Some(ms) = prometheus_duration(&rest[..length]) {
            let Some(ms) = ms else { return self.fail(start, "duration out of range") };
            self.at += length;
            self.push(Token::Duration(ms), start);
            return Ok(());
        }
        // Digits, a point, digits, an exponent.
        let bytes = rest.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
                at += 1;
            }
            at
        };
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                end = digits(end + 1 + sign);
            }
        }
        let follows = rest[end..].chars().next();
        let text = rest[..end].replace('_', "");
        if follows.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            let all = end + word_end(&rest[end..]);
            return self.fail(start, format!("bad number or duration syntax: {:?}", &rest[..all]));
        }
        self.at += end;
        // Go reads a leading zero as octal, where the digits allow it.
        let octal = text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let number = if octal { u64::from_str_radix(&text, 8).ok().map(|n| n as f64) } else { text.parse().ok() };
        match number {
            Some(n) => {
                self.push(Token::Number(n), start);
                Ok(())
            }
            None => self.fail(start, format!("bad number or duration syntax: {text:?}")),
        }
    }

    fn text(&mut self, start: usize, quote: char) -> Result<(), ParseError> {
        self.at += 1;
        if quote == '`' {
            let Some(length) = self.rest().find('`') else { return self.fail(start, "unterminated raw string") };
            let text = self.rest()[..length].to_owned();
            self.at += length + 1;
            self.push(Token::Text(text), start);
            return Ok(());
        }
        let mut bytes = Vec::new();
        loop {
            let at = self.at;
            let Some(c) = self.rest().chars().next() else { return self.fail(start, "unterminated quoted string") };
            self.at += c.len_utf8();
            match c {
                c if c == quote => break,
                '\n' => return self.fail(start, "unterminated quoted string"),
                '\\' => self.escape(at, quote, &mut bytes)?,
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.push(Token::Text(text), start),
            Err(_) => return self.fail(start, "a string that is not UTF-8"),
        }
        Ok(())
    }

    /// One escape as Go has them; the backslash at `at` is read already.
    fn escape(&mut self, at: usize, quote: char, out: &mut Vec<u8>) -> Result<(), ParseError> {
        let Some(c) = self.rest().chars().next() else { return self.fail(at, "escape sequence not terminated") };
        self.at += c.len_utf8();
        let simple = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            c if c == quote => Some(c as u8),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(());
        }
        let (digits, radix, skip) = match c {
            '0'..='7' => (3, 8, 0),
            'x' => (2, 16, 1),
            'u' => (4, 16, 1),
            'U' => (8, 16, 1),
            c => return self.fail(at, format!("unknown escape sequence U+{:04X} {c:?}", c as u32)),
        };
        let from = at + 1 + skip;
        let Some(code) = self.query.get(from..from + digits) else { return self.fail(at, "escape sequence not terminated") };
        let number = code.chars().all(|c| c.is_digit(radix)).then(|| u32::from_str_radix(code, radix).ok()).flatten();
        let Some(number) = number else { return self.fail(at, "illegal character in escape sequence") };
        self.at = from + digits;
        match c {
            'u' | 'U' => match char::from_u32(number) {
                Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                None => return self.fail(at, "escape sequence is an invalid Unicode code point"),
            },
            _ => match u8::try_from(number) {
                Ok(byte) => out.push(byte),
                Err(_) => return self.fail(at, "escape sequence is an invalid Unicode code point"),
            },
        }
        Ok(())
    }
}
