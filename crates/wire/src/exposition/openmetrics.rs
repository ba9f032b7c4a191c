//! OpenMetrics 1.0 text, token by token as Prometheus' own lexer takes it apart.

use super::created::Created;
use super::token::{Cursor, State, Token, quote};
use super::{Exemplar, Exposed, ExpositionSink, Options, Point, number, series};
use crate::{Limits, MetricKind, WireError};

const NO_EOF: &str = "data does not end with # EOF";

/// Reads a whole scrape; returns how many samples it has.
pub(super) fn parse<S: ExpositionSink + ?Sized>(
    bytes: &[u8],
    options: Options,
    limits: &Limits,
    sink: &mut S,
) -> Result<u64, WireError> {
    let mut page = Page {
        lexer: Cursor::new(bytes),
        kind: MetricKind::Unknown,
        created: Created::default(),
        options,
        labels: Vec::new(),
        exemplar: Exemplar::default(),
        samples: 0,
        limits,
    };
    loop {
        match page.entry(sink) {
            Ok(true) => {}
            Ok(false) => return Ok(page.samples),
            Err(reason) => return Err(super::fail(page.lexer.line(), reason)),
        }
    }
}

pub(super) struct Page<'a, 'l> {
    pub(super) lexer: Cursor<'a>,
    /// Of the last `# TYPE` line.
    pub(super) kind: MetricKind,
    /// The start timestamps of the family.
    created: Created,
    options: Options,
    pub(super) labels: Vec<series::Pair<'a>>,
    exemplar: Exemplar<'a>,
    samples: u64,
    limits: &'l Limits,
}

/// What follows a series on its line.
#[derive(Debug, Clone, Copy)]
struct Ending {
    value: f64,
    time_ms: Option<i64>,
    exemplar: bool,
}

impl<'a, 'l> Page<'a, 'l> {
    /// A page that reads single lines elsewhere in the text.
    pub(super) fn beside(&self, at: usize) -> Page<'a, 'l> {
        let mut lexer = Cursor::new(self.lexer.bytes);
        (lexer.at, lexer.entry) = (at, at);
        Page {
            lexer,
            kind: self.kind,
            created: Created::default(),
            options: self.options,
            labels: Vec::new(),
            exemplar: Exemplar::default(),
            samples: 0,
            limits: self.limits,
        }
    }

    /// One entry; false at the end.
    fn entry<S: ExpositionSink + ?Sized>(&mut self, sink: &mut S) -> Result<bool, String> {
        self.lexer.entry = self.lexer.at;
        match self.token() {
            Token::EofWord => match self.token() {
                Token::Eof => return Ok(false),
                _ => return Err("unexpected data after # EOF".to_owned()),
            },
            Token::Eof => return Err(NO_EOF.to_owned()),
            word @ (Token::Help | Token::Type | Token::Unit) => self.metadata(word, sink)?,
            token @ (Token::BraceOpen | Token::MetricName) => self.sample(token, sink)?,
            other => return Err(self.lexer.expected("expected a valid start token", other)),
        }
        Ok(true)
    }

    fn metadata<S: ExpositionSink + ?Sized>(&mut self, word: Token, sink: &mut S) -> Result<(), String> {
        let name = self.token();
        if name != Token::MetricName {
            return Err(self.lexer.expected(&format!("expected metric name after {}", word.as_str()), name));
        }
        let written = super::unquoted(self.lexer.token());
        let family = series::text(written, "metric name")?;
        if self.token() != Token::Text {
            return Err(format!("expected text in {}", word.as_str()));
        }
        // The space before it and the line break after it belong to the grammar.
        let token = self.lexer.token();
        let text = token.get(1..token.len().max(2) - 1).unwrap_or_default();
        match word {
            Token::Help => {
                let help =
                    std::str::from_utf8(text).map_err(|_| format!("help text {} is not a valid utf8 string", quote(text)))?;
                sink.help(&family, &series::unescape(help, true));
            }
            Token::Type => {
                self.kind = match text {
                    b"counter" => MetricKind::Counter,
                    b"gauge" => MetricKind::Gauge,
                    b"histogram" => MetricKind::Histogram,
                    b"gaugehistogram" => MetricKind::GaugeHistogram,
                    b"summary" => MetricKind::Summary,
                    b"info" => MetricKind::Info,
                    b"stateset" => MetricKind::StateSet,
                    b"unknown" => MetricKind::Unknown,
                    other => return Err(format!("invalid metric type {}", quote(other))),
                };
                sink.kind(&family, self.kind);
            }
            _ => {
                if !is_suffix(text, written) {
                    return Err(format!("unit {} not a suffix of metric {}", quote(text), quote(written)));
                }
                let unit = std::str::from_utf8(text).map_err(|_| format!("unit {} is not a valid utf8 string", quote(text)))?;
                sink.unit(&family, unit);
            }
        }
        self.created = Created::of_family(self);
        Ok(())
    }

    fn sample<S: ExpositionSink + ?Sized>(&mut self, first: Token, sink: &mut S) -> Result<(), String> {
        let entry = self.lexer.entry;
        // Where a start timestamp is to be found by its labels, they are needed.
        let known = match self.created.is_empty() {
            true => super::span(self.lexer.bytes, entry, b"")
                .filter(|end| sink.knows(self.lexer.bytes.get(entry..*end).unwrap_or_default())),
            false => None,
        };
        let (end, next) = match known {
            Some(end) => {
                self.labels.clear();
                (self.lexer.at, self.lexer.state) = (end, State::Value);
                (end, self.token())
            }
            None => self.series(first)?,
        };
        let ending = self.ending(next)?;
        if known.is_none() {
            series::finish(&mut self.labels, self.kind, self.limits)?;
        }
        let start_ms = self.created.start(&self.labels, self.kind);
        if self.options.skip_created && self.created.is_created(&self.labels) {
            return Ok(());
        }
        self.samples += 1;
        let text = self.lexer.bytes.get(entry..end).unwrap_or_default();
        let exemplars = if ending.exemplar { std::slice::from_ref(&self.exemplar) } else { &[] };
        let (labels, point) = (self.labels.as_slice(), Point::Float(ending.value));
        sink.sample(&Exposed { text, labels, point, time_ms: ending.time_ms, start_ms, exemplars });
        Ok(())
    }

    /// Name and labels into `labels`, as they stand there; returns where they end, and the token after them.
    fn series(&mut self, first: Token) -> Result<(usize, Token), String> {
        self.labels.clear();
        let mut end = self.lexer.at;
        let mut next = first;
        let mut named = first == Token::MetricName;
        if named {
            self.labels.push(("__name__".into(), series::text(self.lexer.token(), "metric name")?));
            next = self.token();
        }
        if next == Token::BraceOpen {
            let mut labels = std::mem::take(&mut self.labels);
            let result = self.label_set(&mut labels, Some(&mut named));
            self.labels = labels;
            result?;
            end = self.lexer.at;
            next = self.token();
        }
        if !named {
            return Err(self.lexer.parsing("metric name not set"));
        }
        Ok((end, next))
    }

    /// A line that is a sample: its labels are in `labels` then, in one form; its value.
    pub(super) fn value(&mut self) -> Result<f64, String> {
        self.lexer.entry = self.lexer.at;
        let first = self.token();
        if !matches!(first, Token::BraceOpen | Token::MetricName) {
            return Err(self.lexer.expected("expected a valid start token", first));
        }
        let (_, next) = self.series(first)?;
        let ending = self.ending(next)?;
        series::finish(&mut self.labels, self.kind, self.limits)?;
        Ok(ending.value)
    }

    fn ending(&mut self, value: Token) -> Result<Ending, String> {
        let mut ending = Ending { value: self.number(value, "metric")?, time_ms: None, exemplar: false };
        match self.token() {
            Token::Linebreak => {}
            Token::Comment => ending.exemplar = self.exemplar()?,
            Token::Timestamp => {
                ending.time_ms = Some(self.time("timestamp")?);
                match self.token() {
                    Token::Linebreak => {}
                    Token::Comment => ending.exemplar = self.exemplar()?,
                    other => return Err(self.lexer.expected("expected next entry after timestamp", other)),
                }
            }
            Token::Eof => return Err(NO_EOF.to_owned()),
            other => return Err(self.lexer.expected("expected timestamp or # symbol", other)),
        }
        Ok(ending)
    }

    /// An exemplar into `exemplar`.
    fn exemplar(&mut self) -> Result<bool, String> {
        let mut labels = std::mem::take(&mut self.exemplar.labels);
        labels.clear();
        self.label_set(&mut labels, None)?;
        series::sort(&mut labels)?;
        let next = self.token();
        let value = self.number(next, "exemplar labels")?;
        let time_ms = match self.token() {
            Token::Linebreak => None,
            Token::Timestamp => {
                let time = self.time("exemplar timestamp")?;
                match self.token() {
                    Token::Linebreak => Some(time),
                    other => return Err(self.lexer.expected("expected next entry after exemplar timestamp", other)),
                }
            }
            Token::Eof => return Err(NO_EOF.to_owned()),
            other => return Err(self.lexer.expected("expected timestamp or comment", other)),
        };
        self.exemplar = Exemplar { labels, value, time_ms };
        Ok(true)
    }

    fn number(&self, token: Token, after: &str) -> Result<f64, String> {
        if token != Token::Value {
            return Err(self.lexer.expected(&format!("expected value after {after}"), token));
        }
        number::read(self.lexer.token().get(1..).unwrap_or_default()).map_err(|why| self.lexer.parsing(&why))
    }

    /// Seconds as milliseconds.
    fn time(&self, what: &str) -> Result<i64, String> {
        let seconds = number::read(self.lexer.token().get(1..).unwrap_or_default()).map_err(|why| self.lexer.parsing(&why))?;
        if seconds.is_finite() {
            return Ok((seconds * 1000.0) as i64);
        }
        let shown = if seconds.is_nan() {
            "NaN"
        } else if seconds > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        };
        Err(format!("invalid {what} {shown}"))
    }

    /// What stands between braces, `named` for a series: in an exemplar no quoted string may stand alone.
    fn label_set(&mut self, labels: &mut Vec<series::Pair<'a>>, mut named: Option<&mut bool>) -> Result<(), String> {
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
                match named.as_deref_mut() {
                    None => return Err(self.lexer.expected("expected label name", token)),
                    Some(true) => return Err(self.lexer.parsing("metric name already set")),
                    Some(named) => *named = true,
                }
                labels.push(("__name__".into(), series::text(name, "metric name")?));
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
            if labels.len() > self.limits.max_labels {
                return Err(format!("more than {} labels", self.limits.max_labels));
            }
            if std::str::from_utf8(value).is_err() {
                return Err(format!("invalid UTF-8 label value: {}", quote(value)));
            }
            labels.push((series::text(name, "label name")?, series::text(super::unquoted(value), "label value")?));
            token = self.token();
            match token {
                Token::Comma => token = self.token(),
                Token::BraceClose => {}
                other => return Err(self.lexer.expected("expected comma or brace close", other)),
            }
        }
    }

    fn token(&mut self) -> Token {
        let lexer = &mut self.lexer;
        let Some(byte) = lexer.peek() else { return Token::Eof };
        lexer.start = lexer.at;
        match (lexer.state, byte) {
            (State::Line, b'#') => comment(lexer),
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
            (State::MetaText, b' ') => match memchr::memchr(b'\n', &lexer.bytes[lexer.at..]) {
                Some(end) => {
                    lexer.at += end + 1;
                    lexer.state = State::Line;
                    Token::Text
                }
                None => Token::Invalid,
            },
            (State::Labels, b'}') => lexer.one(Token::BraceClose, State::Value),
            (State::Labels, b'=') => lexer.one(Token::Equal, State::LabelValue),
            (State::Labels | State::Exemplar, b',') => lexer.one(Token::Comma, lexer.state),
            (State::Labels, b'"') if lexer.quoted(false, true) => Token::Quoted,
            (State::Labels | State::Exemplar, b) if Cursor::begins_name(b, false) => {
                lexer.name(false);
                Token::LabelName
            }
            (State::LabelValue, b'"') if lexer.quoted(true, false) => {
                lexer.state = State::Labels;
                Token::LabelValue
            }
            (State::Value, b' ') => value(lexer, Token::Value, State::Timestamp),
            (State::Timestamp | State::ExemplarTimestamp, b'\n') => lexer.one(Token::Linebreak, State::Line),
            (State::Timestamp, b' ') if lexer.bytes.get(lexer.at + 1..lexer.at + 3) == Some(b"# ") => {
                lexer.at += 3;
                if lexer.peek() != Some(b'{') {
                    return Token::Invalid;
                }
                lexer.one(Token::Comment, State::Exemplar)
            }
            (State::Timestamp | State::ExemplarTimestamp, b' ') => value(lexer, Token::Timestamp, lexer.state),
            (State::Exemplar, b'}') => lexer.one(Token::BraceClose, State::ExemplarValue),
            (State::Exemplar, b'=') => lexer.one(Token::Equal, State::ExemplarValue),
            (State::Exemplar, b'"') if lexer.quoted(false, false) => Token::Quoted,
            (State::ExemplarValue, b'"') if lexer.quoted(false, false) => {
                lexer.state = State::Exemplar;
                Token::LabelValue
            }
            (State::ExemplarValue, b' ') => value(lexer, Token::Value, State::ExemplarTimestamp),
            _ => Token::Invalid,
        }
    }
}

/// A space and what follows it up to the next space or line break.
fn value(lexer: &mut Cursor<'_>, token: Token, next: State) -> Token {
    lexer.at += 1;
    let begin = lexer.at;
    lexer.pass(|b| !matches!(b, b' ' | b'\n'));
    if lexer.at == begin {
        return Token::Invalid;
    }
    lexer.state = next;
    token
}

/// `# HELP `, `# TYPE `, `# UNIT ` or `# EOF`; there are no other comments.
fn comment(lexer: &mut Cursor<'_>) -> Token {
    let rest = &lexer.bytes[lexer.at..];
    let words: [(&[u8], Token); 4] =
        [(b"# HELP ", Token::Help), (b"# TYPE ", Token::Type), (b"# UNIT ", Token::Unit), (b"# EOF", Token::EofWord)];
    for (word, token) in words {
        if rest.starts_with(word) {
            lexer.at += word.len();
            lexer.state = State::Meta;
            if token == Token::EofWord {
                lexer.state = State::Line;
                lexer.at += usize::from(lexer.peek() == Some(b'\n'));
            }
            return token;
        }
    }
    // The error shows how far it could have been one of them.
    let common = |word: &[u8]| word.iter().zip(rest).take_while(|(a, b)| a == b).count();
    lexer.at += words.iter().map(|(word, _)| common(word)).max().unwrap_or(0);
    Token::Invalid
}

/// Whether the metric's name ends with `_` and the unit.
fn is_suffix(unit: &[u8], name: &[u8]) -> bool {
    unit.is_empty() || name.strip_suffix(unit).is_some_and(|rest| rest.ends_with(b"_"))
}
