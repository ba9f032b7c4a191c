//! What the two text formats share: a place in the bytes, tokens, and the words of their errors.

use std::fmt::Write;

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Help,
    Type,
    Unit,
    EofWord,
    Text,
    Comment,
    MetricName,
    Quoted,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    /// Prometheus' word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Eof => "EOF",
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EofWord => "EOFWORD",
            Self::Text => "TEXT",
            Self::Comment => "COMMENT",
            Self::MetricName => "MNAME",
            Self::Quoted => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LabelName => "LNAME",
            Self::LabelValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
        }
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Line,
    Meta,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    ExemplarValue,
    ExemplarTimestamp,
}

/// The bytes, the token last read (`start..at`), and where the entry began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) start: usize,
    pub(super) entry: usize,
    pub(super) state: State,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, start: 0, entry: 0, state: State::Line }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The token's bytes.
    pub(super) fn token(&self) -> &'a [u8] {
        self.bytes.get(self.start..self.at).unwrap_or_default()
    }

    /// Passes the bytes that `belongs` accepts; a NUL never does.
    pub(super) fn pass(&mut self, belongs: impl Fn(u8) -> bool) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|b| *b == 0 || !belongs(*b)).unwrap_or(rest.len());
    }

    /// Passes one byte, which is the whole token.
    pub(super) fn one(&mut self, token: Token, next: State) -> Token {
        self.at += 1;
        self.state = next;
        token
    }

    /// Passes a name: `colon` as in metrics' names.
    pub(super) fn name(&mut self, colon: bool) {
        self.pass(|b| b.is_ascii_alphanumeric() || b == b'_' || colon && b == b':');
    }

    /// Whether a name may begin with `b`.
    pub(super) fn begins_name(b: u8, colon: bool) -> bool {
        b.is_ascii_alphabetic() || b == b'_' || colon && b == b':'
    }

    /// Passes a string in double quotes that begins here. NULs may stand in label values only, line breaks where
    /// `lines`. Where it does not end, `at` is where it broke off.
    pub(super) fn quoted(&mut self, nul: bool, lines: bool) -> bool {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let stop = rest.iter().position(|b| matches!(b, b'"' | b'\\' | b'\n' | 0)).unwrap_or(rest.len());
            self.at += stop;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return true;
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        None | Some(b'\n') => return false,
                        Some(0) if !nul => return false,
                        Some(_) => self.at += 1,
                    }
                }
                Some(b'\n') if lines => self.at += 1,
                Some(0) if nul => self.at += 1,
                _ => return false,
            }
        }
    }

    /// What was expected, what was met, and what was read until then, in Prometheus' words.
    #[cold]
    pub(super) fn expected(&self, what: &str, got: Token) -> String {
        let end = (self.at + 1).min(self.bytes.len());
        let bytes = |from: usize| quote(self.bytes.get(from.min(end)..end).unwrap_or_default());
        format!("{what}, got {} ({:?}) while parsing: {}", bytes(self.start), got.as_str(), bytes(self.entry))
    }

    /// ` while parsing: ` and what was read.
    #[cold]
    pub(super) fn parsing(&self, what: &str) -> String {
        format!("{what} while parsing: {}", quote(self.bytes.get(self.entry..self.at).unwrap_or_default()))
    }

    /// From 1.
    #[cold]
    pub(super) fn line(&self) -> usize {
        let before = self.bytes.get(..self.entry).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    }
}

/// Bytes in double quotes as Go's `%q` prints them, at most 1,024 of them.
#[cold]
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    let shown = bytes.get(..1024).unwrap_or(bytes);
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\x07' => out.push_str("\\a"),
                '\x08' => out.push_str("\\b"),
                '\x0c' => out.push_str("\\f"),
                '\x0b' => out.push_str("\\v"),
                c if (c as u32) < 0x20 || c == '\x7f' => {
                    let _ = write!(out, "\\x{:02x}", c as u32);
                }
                c => out.push(c),
            }
        }
        for b in chunk.invalid() {
            let _ = write!(out, "\\x{b:02x}");
        }
    }
    if shown.len() < bytes.len() {
        out.push('…');
    }
    out.push('"');
    out
}
