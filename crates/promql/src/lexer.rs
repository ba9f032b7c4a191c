//! Text to tokens, one at a time, after `promql/parser/lex.go` of Prometheus: what a character means depends on whether a
//! brace or a bracket is open.

use std::borrow::Cow;

use crate::ParseError;
use crate::operators::{AggregateOp, BinaryOp};

/// A token and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Byte offset of its first character.
    pub(crate) start: usize,
    /// Byte offset after its last character.
    pub(crate) end: usize,
}

/// What the grammar is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    End,
    /// A name without a colon.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    Number,
    Duration,
    /// A quoted text.
    Text,
    Aggregation(AggregateOp),
    Keyword(Keyword),
    Operator(BinaryOp),
    /// `=~` and `!~` where true.
    Pattern(bool),
    /// `=`
    Equals,
    /// `( ) { } [ ] , :`
    Mark(char),
    /// `@`
    At,
}

/// Words with a meaning of their own; in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

impl Keyword {
    const ALL: [(&'static str, Self); 19] = [
        ("offset", Self::Offset),
        ("smoothed", Self::Smoothed),
        ("anchored", Self::Anchored),
        ("by", Self::By),
        ("without", Self::Without),
        ("on", Self::On),
        ("ignoring", Self::Ignoring),
        ("group_left", Self::GroupLeft),
        ("group_right", Self::GroupRight),
        ("fill", Self::Fill),
        ("fill_left", Self::FillLeft),
        ("fill_right", Self::FillRight),
        ("bool", Self::Bool),
        ("start", Self::Start),
        ("end", Self::End),
        ("step", Self::Step),
        ("range", Self::Range),
        ("min_of", Self::MinOf),
        ("max_of", Self::MaxOf),
    ];

    fn find(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }

    /// Those that are also functions, and are not printed as keywords.
    pub(crate) fn is_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MinOf | Self::MaxOf)
    }

    /// Those that need a parenthesis behind them to be more than a name.
    fn needs_parenthesis(self) -> bool {
        matches!(self, Self::Fill | Self::FillLeft | Self::FillRight | Self::MinOf | Self::MaxOf)
    }

    /// Those that may be a metric's name as well.
    pub(crate) fn names_metric(self) -> bool {
        !matches!(self, Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight | Self::Bool)
    }
}

/// Where the lexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Statement,
    Braces,
    /// After `[` until a number has been read, or an operator before the next one.
    Duration,
}

/// Reads tokens.
#[derive(Debug)]
pub(crate) struct Lexer<'q> {
    pub(crate) query: &'q str,
    at: usize,
    state: State,
    parentheses: usize,
    bracket: bool,
    colon: bool,
    duration: bool,
}

/// `q` as Go's `%q` prints a character.
fn quoted(c: char) -> String {
    if c == '"' { "'\"'".to_owned() } else { format!("{c:?}") }
}

fn is_alpha(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

type Lexed = Result<Token, ParseError>;

impl<'q> Lexer<'q> {
    pub(crate) fn new(query: &'q str) -> Self {
        Self { query, at: 0, state: State::Statement, parentheses: 0, bracket: false, colon: false, duration: false }
    }

    /// What stands at `token`.
    pub(crate) fn text(&self, token: Token) -> &'q str {
        &self.query[token.start..token.end]
    }

    /// Where the next token is looked for.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'q str {
        &self.query[self.at..]
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.query, at, message))
    }

    fn token(&self, kind: Kind, start: usize) -> Lexed {
        Ok(Token { kind, start, end: self.at })
    }

    /// The next token; [`Kind::End`] again and again at the end.
    pub(crate) fn next(&mut self) -> Lexed {
        loop {
            let rest = self.rest().trim_start_matches(is_space);
            self.at = self.query.len() - rest.len();
            if !rest.starts_with('#') || self.state == State::Duration {
                break;
            }
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
        }
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return self.end(start) };
        match self.state {
            State::Braces => self.inside_braces(start, first),
            State::Duration => self.duration_start(start, first),
            State::Statement => self.statement(start, first),
        }
    }

    fn end(&mut self, start: usize) -> Lexed {
        match self.state {
            State::Braces => self.fail(start, "unexpected end of input inside braces"),
            State::Duration => self.fail(start, "unexpected end of input in duration expression"),
            State::Statement if self.parentheses > 0 => self.fail(start, "unclosed left parenthesis"),
            State::Statement if self.bracket => self.fail(start, "unclosed left bracket"),
            State::Statement => self.token(Kind::End, start),
        }
    }

    /// A token of `length` bytes.
    fn take(&mut self, start: usize, length: usize, kind: Kind) -> Lexed {
        self.at += length;
        self.token(kind, start)
    }

    fn statement(&mut self, start: usize, first: char) -> Lexed {
        let second = self.rest()[first.len_utf8()..].chars().next();
        match first {
            ',' | '{' => {
                if first == '{' {
                    self.state = State::Braces;
                }
                self.take(start, 1, Kind::Mark(first))
            }
            '(' | ')' => self.parenthesis(start, first),
            '=' if second == Some('~') => self.fail(start, "unexpected character after '=': '~'"),
            '=' if second != Some('=') => self.take(start, 1, Kind::Equals),
            '!' if second != Some('=') => match second {
                Some(c) => self.fail(start, format!("unexpected character after '!': {}", quoted(c))),
                None => self.fail(start, "unexpected character after '!': '\u{fffd}'"),
            },
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => self.number(start),
            '"' | '\'' | '`' => self.string(start),
            c if (is_alpha(c) || c == ':') && !self.bracket => self.word(start),
            ':' => {
                if self.colon {
                    return self.fail(start, "unexpected colon ':'");
                }
                self.colon = true;
                self.take(start, 1, Kind::Mark(':'))
            }
            c if is_alpha(c) => match self.duration_keyword(start) {
                Some(token) => Ok(token),
                None => self.fail(start, format!("unexpected character: {}, expected ':'", quoted(c))),
            },
            '[' => {
                if self.bracket {
                    return self.fail(start, "unexpected left bracket '['");
                }
                (self.bracket, self.colon, self.duration, self.state) = (true, false, false, State::Duration);
                self.take(start, 1, Kind::Mark('['))
            }
            ']' => {
                if !self.bracket {
                    return self.fail(start, "unexpected right bracket ']'");
                }
                self.bracket = false;
                self.take(start, 1, Kind::Mark(']'))
            }
            '@' => self.take(start, 1, Kind::At),
            c => match BinaryOp::ALL.into_iter().find(|op| self.rest().starts_with(op.as_str())) {
                Some(op) => self.take(start, op.as_str().len(), Kind::Operator(op)),
                None => self.fail(start, format!("unexpected character: {}", quoted(c))),
            },
        }
    }

    fn parenthesis(&mut self, start: usize, c: char) -> Lexed {
        if c == '(' {
            self.parentheses += 1;
        } else if self.parentheses == 0 {
            return self.fail(start, "unexpected right parenthesis ')'");
        } else {
            self.parentheses -= 1;
        }
        self.take(start, 1, Kind::Mark(c))
    }

    fn inside_braces(&mut self, start: usize, first: char) -> Lexed {
        let second = self.rest()[first.len_utf8()..].chars().next();
        match (first, second) {
            ('"' | '\'' | '`', _) => self.string(start),
            (',', _) => self.take(start, 1, Kind::Mark(',')),
            ('=', Some('~')) => self.take(start, 2, Kind::Pattern(false)),
            ('=', _) => self.take(start, 1, Kind::Equals),
            ('!', Some('~')) => self.take(start, 2, Kind::Pattern(true)),
            ('!', Some('=')) => self.take(start, 2, Kind::Operator(BinaryOp::Ne)),
            ('!', c) => {
                let c = c.unwrap_or('\u{fffd}');
                self.fail(start, format!("unexpected character after '!' inside braces: {}", quoted(c)))
            }
            ('{', _) => self.fail(start, "unexpected left brace '{'"),
            ('}', _) => {
                self.state = State::Statement;
                self.take(start, 1, Kind::Mark('}'))
            }
            (c, _) if is_alpha(c) => {
                let length = self.rest().find(|c| !is_alphanumeric(c)).unwrap_or(self.rest().len());
                self.take(start, length, Kind::Identifier)
            }
            (c, _) => self.fail(start, format!("unexpected character inside braces: {}", quoted(c))),
        }
    }

    fn duration_start(&mut self, start: usize, first: char) -> Lexed {
        let second = self.rest()[first.len_utf8()..].chars().next();
        match first {
            ']' => {
                (self.bracket, self.colon, self.state) = (false, false, State::Statement);
                self.take(start, 1, Kind::Mark(']'))
            }
            ':' if !self.duration => self.fail(start, "unexpected colon before duration in duration expression"),
            ':' if self.colon => self.fail(start, "unexpected repeated colon in duration expression"),
            ':' => {
                self.colon = true;
                self.take(start, 1, Kind::Mark(':'))
            }
            '(' | ')' => self.parenthesis(start, first),
            ',' => self.take(start, 1, Kind::Mark(',')),
            '+' => self.take(start, 1, Kind::Operator(BinaryOp::Add)),
            '-' => self.take(start, 1, Kind::Operator(BinaryOp::Sub)),
            '*' => self.take(start, 1, Kind::Operator(BinaryOp::Mul)),
            '/' => self.take(start, 1, Kind::Operator(BinaryOp::Div)),
            '%' => self.take(start, 1, Kind::Operator(BinaryOp::Mod)),
            '^' => self.take(start, 1, Kind::Operator(BinaryOp::Pow)),
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                (self.duration, self.state) = (true, State::Statement);
                self.number(start)
            }
            c => match self.duration_keyword(start) {
                Some(token) => {
                    self.duration = true;
                    Ok(token)
                }
                None => self.fail(start, format!("unexpected character in duration expression: {}", quoted(c))),
            },
        }
    }

    /// `step`, `range`, `min_of`, `max_of` inside brackets.
    fn duration_keyword(&mut self, start: usize) -> Option<Token> {
        let length = self.rest().find(|c| !is_alpha(c)).unwrap_or(self.rest().len());
        let keyword = Keyword::find(&self.rest()[..length])?;
        let known = matches!(keyword, Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf);
        known.then(|| {
            self.at += length;
            Token { kind: Kind::Keyword(keyword), start, end: self.at }
        })
    }

    fn word(&mut self, start: usize) -> Lexed {
        let rest = self.rest();
        let length = rest.find(|c| !is_alphanumeric(c) && c != ':').unwrap_or(rest.len());
        let word = &rest[..length];
        let called = rest[length..].trim_start_matches(is_space).starts_with('(');
        let is = |name: &str| name.eq_ignore_ascii_case(word);
        let kind = if let Some(op) = AggregateOp::ALL.into_iter().find(|op| is(op.as_str())) {
            Kind::Aggregation(op)
        } else if let Some(op) = BinaryOp::ALL.into_iter().find(|op| is(op.as_str())) {
            Kind::Operator(op)
        } else if is("inf") || is("nan") {
            Kind::Number
        } else {
            match Keyword::find(word) {
                Some(keyword) if called || !keyword.needs_parenthesis() => Kind::Keyword(keyword),
                _ if word.contains(':') => Kind::MetricIdentifier,
                _ => Kind::Identifier,
            }
        };
        self.take(start, length, kind)
    }

    /// A number, or a duration where a unit follows.
    fn number(&mut self, start: usize) -> Lexed {
        let (length, valid) = number_length(self.rest());
        if valid {
            return self.take(start, length, Kind::Number);
        }
        self.at += length;
        match duration_rest(self.rest()) {
            Ok(length) => self.take(start, length, Kind::Duration),
            Err(length) => {
                let end = (self.at + length).min(self.query.len());
                self.fail(start, format!("bad number or duration syntax: {:?}", &self.query[start..end]))
            }
        }
    }

    fn string(&mut self, start: usize) -> Lexed {
        let rest = self.rest();
        match syntax::quoted(rest) {
            // Bytes that are no UTF-8 reach us as this character, which the reference refuses wherever it comes from.
            Ok((_, length)) if rest[..length].contains('\u{fffd}') => self.fail(start, "invalid UTF-8 rune"),
            Ok((_, length)) => self.take(start, length, Kind::Text),
            Err(_) => self.fail(start, wrong_string(rest)),
        }
    }
}

/// What a string token says.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    // The lexer has read it already.
    syntax::quoted(text).map_or_else(|_| Cow::Borrowed(""), |(text, _)| text)
}

/// What is wrong with the string literal that `text` starts with, in the reference's words.
fn wrong_string(text: &str) -> String {
    let mut chars = text.chars();
    let quote = chars.next();
    if quote == Some('`') {
        return "unterminated raw string".to_owned();
    }
    let named = |c: char| format!("U+{:04X} {}", c as u32, quoted(c));
    loop {
        match chars.next() {
            None | Some('\n') => return "unterminated quoted string".to_owned(),
            Some('\u{fffd}') => return "invalid UTF-8 rune".to_owned(),
            Some('\\') => {}
            Some(_) => continue,
        }
        let (mut digits, radix, most) = match chars.next() {
            None => return "escape sequence not terminated".to_owned(),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => continue,
            Some(c) if Some(c) == quote => continue,
            Some(c @ '0'..='7') => (c.to_string(), 8, 3),
            Some('x') => (String::new(), 16, 2),
            Some('u') => (String::new(), 16, 4),
            Some('U') => (String::new(), 16, 8),
            Some(c) => return format!("unknown escape sequence {}", named(c)),
        };
        while digits.len() < most {
            match chars.next() {
                None => return "escape sequence not terminated".to_owned(),
                Some(c) if c.is_digit(radix) => digits.push(c),
                Some(c) => return format!("illegal character {} in escape sequence", named(c)),
            }
        }
        let code = u32::from_str_radix(&digits, radix).unwrap_or(u32::MAX);
        if char::from_u32(code).is_none() || (radix == 8 && code > 255) {
            return "escape sequence is an invalid Unicode code point".to_owned();
        }
    }
}

/// How long the number is that `text` starts with, and whether it ends like one; if not, how far it was read.
fn number_length(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let is = |at: usize, set: &str| bytes.get(at).is_some_and(|b| set.as_bytes().contains(b));
    let hexadecimal = is(0, "0") && is(1, "xX");
    let digits = if hexadecimal { "0123456789abcdefABCDEF" } else { "0123456789" };
    if hexadecimal {
        at = 2 + usize::from(is(2, "_"));
    } else {
        at += usize::from(is(at, "."));
    }
    at += usize::from(is(at, digits));
    let (mut dot, mut exponent) = (false, false);
    loop {
        if is(at, digits) {
            at += 1;
        } else if is(at, ".") {
            at += 1;
            if dot || is(at, "_.") {
                return (at + usize::from(!dot), false);
            }
            if hexadecimal {
                return (at, false);
            }
            dot = true;
        } else if is(at, "eE") {
            at += 1;
            if exponent {
                return (at, false);
            }
            exponent = true;
            at += usize::from(is(at, "+-"));
            if is(at, "._eE") {
                return (at + 1, false);
            }
            if at >= bytes.len() {
                return (at, false);
            }
        } else if is(at, "_") {
            at += 1;
            if is(at, "._eE") {
                return (at + 1, false);
            }
            if at >= bytes.len() {
                return (at, false);
            }
        } else {
            break;
        }
    }
    (at, at > 0 && !text[at..].starts_with(is_alphanumeric))
}

/// How long the units and further numbers of a duration are whose first number is read; else how far it was read.
fn duration_rest(text: &str) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let is = |at: usize, set: &str| bytes.get(at).is_some_and(|b| set.as_bytes().contains(b));
    if !is(0, "smhdwy") {
        return Err(0);
    }
    let mut at = 1;
    at += usize::from(is(at, "s"));
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if !is(at, "smhdw") {
            return Err(at);
        }
        at += 1;
        at += usize::from(is(at, "s"));
    }
    match text[at..].chars().next() {
        Some(c) if is_alphanumeric(c) => Err(at + 1),
        _ => Ok(at),
    }
}
