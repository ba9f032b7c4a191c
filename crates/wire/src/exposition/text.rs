//! Prometheus' text format 0.0.4, token by token as Prometheus' own lexer takes it apart.

use std::borrow::Cow;

use super::token::{Cursor, State, Token, quote};
use super::{Exposed, ExpositionSink, Point, number, series};
use crate::{Limits, MetricKind, WireError};

/// Reads a whole scrape; returns how many samples it has.
pub(super) fn parse<S: ExpositionSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<u64, WireError> {
    // The last line break may be missing.
    let whole = match bytes.last() {
        None => return Ok(0),
        Some(b'\n') => Cow::Borrowed(bytes),
        Some(_) => Cow::Owned([bytes, b"\n"].concat()),
    };
    let mut page = Page { lexer: Cursor::new(&whole), kind: MetricKind::Unknown, labels: Vec::new(), samples: 0, limits };
    loop {
        match page.entry(sink) {
            Ok(true) => {}
            Ok(false) => return Ok(page.samples),
            Err(reason) => return Err(super::fail(page.lexer.line(), reason)),
        }
    }
}

struct Page<'a, 'l> {
    lexer: Cursor<'a>,
    /// Of the last `# TYPE` line.
    kind: MetricKind,
    labels: Vec<series::Pair<'a>>,
    samples: u64,
    limits: &'l Limits,
}

impl<'a> Page<'a, '_> {
    /// One entry; false at the end.
    fn entry<S: ExpositionSink + ?Sized>(&mut self, sink: &mut S) -> Result<bool, String> {
        self.lexer.entry = self.lexer.at;
        match self.token() {
            Token::Eof => return Ok(false),
            Token::Linebreak => {}
            word @ (Token::Help | Token::Type) => self.metadata(word, sink)?,
            Token::Comment => {
                let comment = self.lexer.token();
                self.line_break("linebreak expected after comment")?;
                sink.comment(comment);
            }
            token @ (Token::BraceOpen | Token::MetricName) => self.sample(token, sink)?,
            other => return Err(self.lexer.expected("expected a valid start token", other)),
        }
        Ok(true)
    }

    fn line_break(&mut self, wanted: &str) -> Result<(), String> {
        match self.token() {
            Token::Linebreak => Ok(()),
            other => Err(self.lexer.expected(wanted, other)),
        }
    }

    fn metadata<S: ExpositionSink + ?Sized>(&mut self, word: Token, sink: &mut S) -> Result<(), String> {
        let name = self.token();
        if name != Token::MetricName {
            return Err(self.lexer.expected(&format!("expected metric name after {}", word.as_str()), name));
        }
        let family = series::text(super::unquoted(self.lexer.token()), "metric name")?;
        self.token();
        // One space belongs to the grammar; what follows is the text.
        let text = self.lexer.token().get(1..).unwrap_or_default();
        if word == Token::Help {
            let help = std::str::from_utf8(text).map_err(|_| format!("help text {} is not a valid utf8 string", quote(text)))?;
            self.line_break("linebreak expected after metadata")?;
            sink.help(&family, &series::unescape(help, false));
            return Ok(());
        }
        self.kind = match text {
            b"counter" => MetricKind::Counter,
            b"gauge" => MetricKind::Gauge,
            b"histogram" => MetricKind::Histogram,
            b"summary" => MetricKind::Summary,
            b"untyped" => MetricKind::Unknown,
            other => return Err(format!("invalid metric type {}", quote(other))),
        };
        self.line_break("linebreak expected after metadata")?;
        sink.kind(&family, self.kind);
        Ok(())
    }

    fn sample<S: ExpositionSink + ?Sized>(&mut self, first: Token, sink: &mut S) -> Result<(), String> {
        self.labels.clear();
        let entry = self.lexer.entry;
        let known = super::span(self.lexer.bytes, entry, b" \t").filter(|end| {
            let text = self.lexer.bytes.get(entry..*end).unwrap_or_default();
            sink.knows(text)
        });
        let (series, value) = if let Some(end) = known {
            (self.lexer.at, self.lexer.state) = (end, State::Value);
            (end, self.token())
        } else {
            let mut end = self.lexer.at;
            let mut next = first;
            let mut named = first == Token::MetricName;
            if named {
                self.labels.push(("__name__".into(), series::text(self.lexer.token(), "metric name")?));
                next = self.token();
            }
            if next == Token::BraceOpen {
                self.label_set(&mut named)?;
                end = self.lexer.at;
                next = self.token();
            }
            if !named {
                return Err(self.lexer.parsing("metric name not set"));
            }
            (end, next)
        };
        if value != Token::Value {
            return Err(self.lexer.expected("expected value after metric", value));
        }
        let value = number::read(self.lexer.token()).map_err(|why| self.lexer.parsing(&why))?;
        let time_ms = match self.token() {
            Token::Linebreak => None,
            Token::Timestamp => {
                let digits = std::str::from_utf8(self.lexer.token()).unwrap_or_default();
                let range = || self.lexer.parsing(&format!("strconv.ParseInt: parsing {digits:?}: value out of range"));
                let time = digits.parse::<i64>().map_err(|_| range())?;
                self.line_break("expected next entry after timestamp")?;
                Some(time)
            }
            other => return Err(self.lexer.expected("expected timestamp or new record", other)),
        };
        if known.is_none() {
            series::finish(&mut self.labels, self.kind, self.limits)?;
        }
        self.samples += 1;
        let text = self.lexer.bytes.get(entry..series).unwrap_or_default();
        let point = Point::Float(value);
        sink.sample(&Exposed { text, labels: &self.labels, point, time_ms, start_ms: 0, exemplars: &[] });
        Ok(())
    }

    /// What stands between the braces; commas between labels may be missing, as Prometheus lets them.
    fn label_set(&mut self, named: &mut bool) -> Result<(), String> {
        let mut token = self.token();
        loop {
            let quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LabelName => false,
                Token::Quoted => true,
                other => return Err(self.lexer.expected("expected label name", other)),
            };
            let name = super::unquoted(self.lexer.token());
            token = self.token();
            if quoted && matches!(token, Token::Comma | Token::BraceClose) {
                // A quoted string that stands alone is the metric's name.
                if *named {
                    return Err(self.lexer.parsing("metric name already set"));
                }
                *named = true;
                self.labels.push(("__name__".into(), series::text(name, "metric name")?));
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = self.token();
                continue;
            }
            if token != Token::Equal {
                return Err(self.lexer.expected("expected equal", token));
            }
            token = self.token();
            if token != Token::LabelValue {
                return Err(self.lexer.expected("expected label value", token));
            }
            let value = self.lexer.token();
            if self.labels.len() > self.limits.max_labels {
                return Err(format!("more than {} labels", self.limits.max_labels));
            }
            if std::str::from_utf8(value).is_err() {
                return Err(format!("invalid UTF-8 label value: {}", quote(value)));
            }
            self.labels.push((series::text(name, "label name")?, series::text(super::unquoted(value), "label value")?));
            token = self.token();
            if token == Token::Comma {
                token = self.token();
            }
        }
    }

    /// The next token that is not white space.
    fn token(&mut self) -> Token {
        let lexer = &mut self.lexer;
        if lexer.state == State::MetaText {
            return self.text();
        }
        lexer.pass(|b| matches!(b, b' ' | b'\t'));
        lexer.start = lexer.at;
        let Some(byte) = lexer.peek() else { return Token::Eof };
        match (lexer.state, byte) {
            (State::Line | State::Timestamp, b'\n') => lexer.one(Token::Linebreak, State::Line),
            (State::Line, b'#') => self.comment(),
            (State::Line, b'{') | (State::Value, b'{') => lexer.one(Token::BraceOpen, State::Labels),
            (State::Line, b) if Cursor::begins_name(b, true) => {
                lexer.name(true);
                lexer.state = State::Value;
                Token::MetricName
            }
            (State::Meta, b) if Cursor::begins_name(b, true) => {
                lexer.name(true);
                lexer.state = State::MetaText;
                Token::MetricName
            }
            (State::Meta, b'"') if lexer.quoted(false, true) => {
                lexer.state = State::MetaText;
                Token::MetricName
            }
            (State::Labels, b'}') => lexer.one(Token::BraceClose, State::Value),
            (State::Labels, b'=') => lexer.one(Token::Equal, State::LabelValue),
            (State::Labels, b',') => lexer.one(Token::Comma, State::Labels),
            (State::Labels, b'"') if lexer.quoted(false, true) => Token::Quoted,
            (State::Labels, b) if Cursor::begins_name(b, false) => {
                lexer.name(false);
                Token::LabelName
            }
            (State::LabelValue, b'"') if lexer.quoted(true, true) => {
                lexer.state = State::Labels;
                Token::LabelValue
            }
            (State::Value, b) if b != b'\n' && b != 0 => {
                lexer.pass(|b| !matches!(b, b'{' | b' ' | b'\t' | b'\n'));
                lexer.state = State::Timestamp;
                Token::Value
            }
            (State::Timestamp, b) if b.is_ascii_digit() => {
                lexer.pass(|b| b.is_ascii_digit());
                Token::Timestamp
            }
            _ => Token::Invalid,
        }
    }

    /// After `#`: a word that means something, or a comment up to the end of the line.
    fn comment(&mut self) -> Token {
        let lexer = &mut self.lexer;
        lexer.at += 1;
        let hash = lexer.at;
        lexer.pass(|b| matches!(b, b' ' | b'\t'));
        let rest = lexer.bytes.get(lexer.at..).unwrap_or_default();
        for (word, token) in [(b"HELP", Token::Help), (b"TYPE", Token::Type)] {
            if lexer.at > hash && rest.starts_with(word) && matches!(rest.get(4), Some(b' ' | b'\t')) {
                lexer.at += word.len();
                lexer.pass(|b| matches!(b, b' ' | b'\t'));
                lexer.state = State::Meta;
                return token;
            }
        }
        lexer.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        Token::Comment
    }

    /// The rest of the line; white space alone counts as none.
    fn text(&mut self) -> Token {
        let lexer = &mut self.lexer;
        lexer.start = lexer.at;
        let rest = lexer.bytes.get(lexer.at..).unwrap_or_default();
        let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
        lexer.at += line.len();
        if line.iter().all(|b| matches!(b, b' ' | b'\t')) {
            lexer.start = lexer.at;
        }
        lexer.state = State::Line;
        Token::Text
    }
}
