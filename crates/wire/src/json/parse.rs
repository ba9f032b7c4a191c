//! A pull parser: the caller asks for what it expects. Recursion happens only in callers, who bound it; values that
//! nobody asks for are passed over in a loop.

use std::borrow::Cow;

use crate::WireError;

/// A cursor over one JSON text. A clone reads the same again.
#[derive(Debug, Clone)]
pub(crate) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// What a value is, by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl<'a> Parser<'a> {
    /// A parser of a whole body.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(bytes).map_err(|_| WireError::Utf8 { what: "the JSON body" })?;
        // Some senders start with a byte order mark.
        Ok(Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0 })
    }

    /// An error at this place.
    #[cold]
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> WireError {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |i| i + 1) + 1;
        WireError::Json(format!("{what} at line {line} column {column}"))
    }

    fn next_byte(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b) = bytes.get(self.at) {
            if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*b);
            }
            self.at += 1;
        }
        None
    }

    /// What comes next.
    pub(crate) fn peek(&mut self) -> Result<Token, WireError> {
        match self.next_byte() {
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'"') => Ok(Token::String),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number),
            Some(b't' | b'f') => Ok(Token::Bool),
            Some(b'n') => Ok(Token::Null),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value was expected")),
        }
    }

    fn punctuation(&mut self, wanted: u8) -> Result<(), WireError> {
        if self.next_byte() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(format_args!("expected '{}'", char::from(wanted))))
    }

    fn word(&mut self, word: &str) -> Result<(), WireError> {
        self.next_byte();
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.error(format_args!("expected {word}")))
    }

    /// Reads an object: `each` is called for each key and must read its value.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        self.punctuation(b'{')?;
        if self.next_byte() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.punctuation(b':')?;
            each(self, key)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                _ => return self.punctuation(b'}'),
            }
        }
    }

    /// Reads an array: `each` is called for each element, with its index, and must read it.
    pub(crate) fn array(&mut self, mut each: impl FnMut(&mut Self, usize) -> Result<(), WireError>) -> Result<(), WireError> {
        self.punctuation(b'[')?;
        if self.next_byte() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            each(self, index)?;
            match self.next_byte() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.punctuation(b']')
    }

    /// Reads `null`, if that comes next.
    pub(crate) fn null(&mut self) -> Result<bool, WireError> {
        if self.next_byte() != Some(b'n') {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, WireError> {
        if self.next_byte() == Some(b't') { self.word("true").map(|()| true) } else { self.word("false").map(|()| false) }
    }

    /// A number as it is written; its form is checked.
    pub(crate) fn number(&mut self) -> Result<&'a str, WireError> {
        self.next_byte();
        let rest = &self.text[self.at..];
        let len = number_len(rest.as_bytes()).ok_or_else(|| self.error("expected a number"))?;
        self.at += len;
        Ok(&rest[..len])
    }

    /// A number as it is written, whether as a number or inside a string, as protobuf JSON allows.
    pub(crate) fn number_or_string(&mut self) -> Result<Cow<'a, str>, WireError> {
        if self.peek()? == Token::String { self.string() } else { self.number().map(Cow::Borrowed) }
    }

    /// A string, borrowed unless it has escapes. A lone surrogate becomes U+FFFD.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, WireError> {
        self.punctuation(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut out = String::new();
        let mut plain = start;
        loop {
            match memchr::memchr2(b'"', b'\\', &bytes[self.at..]) {
                None => return Err(self.error("unterminated string")),
                Some(len) => {
                    if let Some(i) = bytes[self.at..self.at + len].iter().position(|b| *b < 0x20) {
                        self.at += i;
                        return Err(self.error("control character in a string"));
                    }
                    self.at += len;
                }
            }
            if bytes[self.at] == b'"' {
                let text = &self.text[plain..self.at];
                self.at += 1;
                if plain == start {
                    return Ok(Cow::Borrowed(text));
                }
                out.push_str(text);
                return Ok(Cow::Owned(out));
            }
            out.push_str(&self.text[plain..self.at]);
            self.at += 1;
            out.push(self.escape()?);
            plain = self.at;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, WireError> {
        let c = match self.text.as_bytes().get(self.at) {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(*b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let high = self.four_digits()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                if !self.text[self.at..].starts_with("\\u") {
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                let before = self.at;
                self.at += 2;
                let low = self.four_digits()?;
                if !(0xdc00..0xe000).contains(&low) {
                    self.at = before;
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return Err(self.error("unknown escape in a string")),
        };
        self.at += 1;
        Ok(c)
    }

    fn four_digits(&mut self) -> Result<u32, WireError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let code = digits.and_then(|d| d.iter().try_fold(0, |n, b| Some(n * 16 + char::from(*b).to_digit(16)?)));
        let code = code.ok_or_else(|| self.error("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }

    /// Passes over a value of any kind and depth.
    pub(crate) fn skip(&mut self) -> Result<(), WireError> {
        // What is open, from the outside in: true for an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.peek()? {
                Token::Object => {
                    self.at += 1;
                    if self.next_byte() == Some(b'}') {
                        self.at += 1;
                    } else {
                        self.string()?;
                        self.punctuation(b':')?;
                        open.push(true);
                        continue;
                    }
                }
                Token::Array => {
                    self.at += 1;
                    if self.next_byte() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(false);
                        continue;
                    }
                }
                Token::String => drop(self.string()?),
                Token::Number => drop(self.number()?),
                Token::Bool => drop(self.bool()?),
                Token::Null => drop(self.null()?),
            }
            // A value has ended: close what it ends.
            loop {
                let Some(object) = open.last() else { return Ok(()) };
                if self.next_byte() == Some(b',') {
                    self.at += 1;
                    if *object {
                        self.string()?;
                        self.punctuation(b':')?;
                    }
                    break;
                }
                self.punctuation(if *object { b'}' } else { b']' })?;
                open.pop();
            }
        }
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Result<(), WireError> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.error("unexpected text after the value")),
        }
    }
}

/// Length of the number at the start of `b`; `None` when there is none.
fn number_len(b: &[u8]) -> Option<usize> {
    let digits = |from: usize| b[from..].iter().take_while(|c| c.is_ascii_digit()).count();
    let mut at = usize::from(b.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && b[at] == b'0') {
        return None;
    }
    at += whole;
    if b.get(at) == Some(&b'.') {
        let n = digits(at + 1);
        if n == 0 {
            return None;
        }
        at += 1 + n;
    }
    if let Some(b'e' | b'E') = b.get(at) {
        let sign = usize::from(matches!(b.get(at + 1), Some(b'+' | b'-')));
        let n = digits(at + 1 + sign);
        if n == 0 {
            return None;
        }
        at += 1 + sign + n;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unescaped() {
        for (json, text) in [
            (r#""plain""#, "plain"),
            (r#""""#, ""),
            (r#""a\"\\\/\b\f\n\r\tb""#, "a\"\\/\u{8}\u{c}\n\r\tb"),
            (r#""\u00e9\ud83d\ude00""#, "é😀"),
            (r#""\ud83d!\ude00""#, "\u{fffd}!\u{fffd}"),
            (r#""\ud83d\u0041""#, "\u{fffd}A"),
        ] {
            assert_eq!(Parser::new(json.as_bytes()).expect("UTF-8").string().as_deref(), Ok(text), "{json}");
        }
    }

    #[test]
    fn any_value_can_be_passed_over_and_any_error_in_it_is_found() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for good in [r#" {"a":[1,-2.5e3,{"b":null}],"c":{},"d":[],"e":"\u0041"} "#, "0", "true", &deep] {
            let mut p = Parser::new(good.as_bytes()).expect("UTF-8");
            p.skip().and_then(|()| p.end()).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in [
            "",
            "{",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "1e",
            "tru",
            "\"a",
            "\"\\x\"",
            "\"\n\"",
            "1 2",
            "[1}",
        ] {
            let mut p = Parser::new(bad.as_bytes()).expect("UTF-8");
            assert!(p.skip().and_then(|()| p.end()).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let mut p = Parser::new(b"{\n  \"a\": ?}").expect("UTF-8");
        assert_eq!(p.skip(), Err(WireError::Json("expected a value at line 2 column 8".to_owned())));
    }
}
