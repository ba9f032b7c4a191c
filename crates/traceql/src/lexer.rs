//! Text to tokens, after `pkg/traceql/lexer.go` of Tempo, which scans as Go does.

use crate::ParseError;
use crate::ast::AttributeScope;

/// A token and the byte offset of its first character.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) start: usize,
}

/// What the grammar is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A keyword or a mark: `{`, `&>>`, `duration`, `span:`.
    Known(&'static str),
    /// Any other word or character.
    Other(String),
    /// `.a`, `span.a`, `parent.resource."a b"`.
    Attribute {
        scope: AttributeScope,
        parent: bool,
        name: String,
    },
    Text(String),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    End,
}

impl Token {
    /// How Tempo's errors name the token.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Known(text) => (*text).to_owned(),
            Self::Other(_) => "IDENTIFIER".to_owned(),
            Self::Attribute { scope, parent, .. } => format!("{}.", if *parent { "parent" } else { scope.as_str() }),
            Self::Text(_) => "STRING".to_owned(),
            Self::Int(_) => "INTEGER".to_owned(),
            Self::Float(_) => "FLOAT".to_owned(),
            Self::Duration(_) => "DURATION".to_owned(),
            Self::End => "$end".to_owned(),
        }
    }
}

const MARKS: [&str; 36] = [
    ",", ".", "{", "}", "(", ")", "=", "!=", "=~", "!~", ">", ">=", "<", "<=", "+", "-", "/", "%", "*", "^", "&&", "||", "!",
    "|", ">>", "<<", "~", "!>", "!<", "!>>", "!<<", "&~", "&>", "&<", "&>>", "&<<",
];

/// Words that the grammar knows, those with a colon among them.
const WORDS: [&str; 59] = [
    "true",
    "false",
    "nil",
    "minInt",
    "maxInt",
    "ok",
    "error",
    "unset",
    "unspecified",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
    "duration",
    "childCount",
    "name",
    "status",
    "statusMessage",
    "kind",
    "rootName",
    "rootServiceName",
    "rootService",
    "traceDuration",
    "nestedSetLeft",
    "nestedSetRight",
    "nestedSetParent",
    "parent",
    "id",
    "traceID",
    "spanID",
    "parentID",
    "timeSinceStart",
    "version",
    "trace:",
    "span:",
    "event:",
    "link:",
    "instrumentation:",
    "count",
    "avg",
    "max",
    "min",
    "sum",
    "by",
    "coalesce",
    "select",
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
    "with",
];

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

/// Whether `c` may stand in an attribute's name without quotes.
pub(crate) fn in_attribute(c: char) -> bool {
    !(c.is_whitespace() || "{}()=~!<>&|^,".contains(c))
}

impl Lexer<'_> {
    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::at(self.query, at, message))
    }

    fn rest(&self) -> &str {
        &self.query[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> usize {
        let rest = self.rest();
        let length = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += length;
        length
    }

    /// Skips spaces and Go's comments.
    fn skip(&mut self) -> Result<(), ParseError> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                match self.rest().find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return self.fail(self.at, "comment not terminated"),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<(Token, usize), ParseError> {
        self.skip()?;
        let start = self.at;
        let Some(c) = self.peek() else { return Ok((Token::End, start)) };
        let next_is_digit = self.rest()[c.len_utf8()..].starts_with(|d: char| d.is_ascii_digit());
        let token = match c {
            '"' | '`' => self.text(start)?,
            '\'' => return self.fail(start, "invalid char literal"),
            '0'..='9' => self.number(start)?,
            '.' if next_is_digit => self.number(start)?,
            '.' => {
                self.at += 1;
                self.attribute(AttributeScope::Open, false, start)?
            }
            c if c == '_' || c.is_alphabetic() => self.word(start)?,
            _ => self.mark(c),
        };
        Ok((token, start))
    }

    fn word(&mut self, start: usize) -> Result<Token, ParseError> {
        self.take_while(|c| c == '_' || c.is_alphanumeric());
        let word = &self.query[start..self.at];
        let colon = self.rest().starts_with(':').then(|| format!("{word}:"));
        if let Some(known) = colon.and_then(|w| WORDS.iter().find(|k| **k == w)) {
            self.at += 1;
            return Ok(Token::Known(known));
        }
        if self.rest().starts_with('.')
            && let Some(scope) = AttributeScope::ALL.into_iter().find(|s| s.as_str() == word)
        {
            self.at += 1;
            return self.attribute(scope, false, start);
        }
        if self.rest().starts_with('.') && word == "parent" {
            self.at += 1;
            let inner = [AttributeScope::Resource, AttributeScope::Span]
                .into_iter()
                .find(|s| self.rest().strip_prefix(s.as_str()).is_some_and(|r| r.starts_with('.')));
            self.at += inner.map_or(0, |s| s.as_str().len() + 1);
            return self.attribute(inner.unwrap_or(AttributeScope::Open), true, start);
        }
        Ok(match WORDS.iter().find(|k| **k == word) {
            Some(known) => Token::Known(known),
            None => Token::Other(word.to_owned()),
        })
    }

    fn mark(&mut self, first: char) -> Token {
        let mut found = None;
        // Longer and longer, as long as each is a mark of its own; `&` alone is none.
        for length in first.len_utf8()..=3 {
            match self.rest().get(..length).and_then(|text| MARKS.iter().find(|m| **m == text)) {
                Some(mark) => found = Some(*mark),
                None if length > 1 => break,
                None => {}
            }
        }
        match found {
            Some(mark) => {
                self.at += mark.len();
                Token::Known(mark)
            }
            None => {
                self.at += first.len_utf8();
                Token::Other(first.to_string())
            }
        }
    }

    fn attribute(&mut self, scope: AttributeScope, parent: bool, start: usize) -> Result<Token, ParseError> {
        let mut name = String::new();
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    loop {
                        let Some(c) = self.peek() else { return self.fail(self.at, "unexpected EOF, expecting \"") };
                        self.at += c.len_utf8();
                        match c {
                            '"' => break,
                            '\\' => match self.peek() {
                                Some(c @ ('"' | '\\')) => {
                                    self.at += 1;
                                    name.push(c);
                                }
                                _ => return self.fail(self.at, "invalid escape sequence"),
                            },
                            c => name.push(c),
                        }
                    }
                }
                Some(c) if in_attribute(c) => {
                    self.at += c.len_utf8();
                    name.push(c);
                }
                _ if name.is_empty() && !self.query[start..self.at].ends_with('"') => {
                    return self.fail(start, "syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER");
                }
                _ => return Ok(Token::Attribute { scope, parent, name }),
            }
        }
    }

    fn text(&mut self, start: usize) -> Result<Token, ParseError> {
        match syntax::quoted(self.rest()) {
            Ok((text, length)) => {
                let text = text.into_owned();
                self.at += length;
                Ok(Token::Text(text))
            }
            Err(_) if self.rest()[1..].find(self.rest().chars().next().unwrap_or('"')).is_none() => {
                self.fail(start, "literal not terminated")
            }
            Err(reason) => self.fail(start, format!("invalid syntax: {reason}")),
        }
    }

    /// An integer, a float, or a duration.
    fn number(&mut self, start: usize) -> Result<Token, ParseError> {
        let rest = self.rest();
        if let Some(length) = syntax::short_run(rest, |c| c.is_ascii_digit() || c == '.' || is_unit(c))
            && rest[..length].contains(is_unit)
            && let Some(ns) = parse_duration(&rest[..length])
        {
            self.at += length;
            return Ok(Token::Duration(ns));
        }
        let bytes = rest.as_bytes();
        let radix = match bytes.get(..2) {
            Some(b"0x" | b"0X") => 16,
            Some(b"0b" | b"0B") => 2,
            Some(b"0o" | b"0O") => 8,
            _ => 10,
        };
        if radix != 10 {
            let digits = rest[2..].find(|c: char| !c.is_digit(radix)).unwrap_or(rest.len() - 2);
            let text = rest[..2 + digits].to_owned();
            self.at += text.len();
            // `strconv.Atoi` reads decimal digits only.
            return self.fail(start, format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        }
        let mut end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let mut float = false;
        if bytes.get(end) == Some(&b'.') {
            float = true;
            end += 1;
            end += rest[end..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - end);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let from = end + 1 + sign;
            let digits = rest[from..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - from);
            if digits == 0 {
                return self.fail(start, "exponent has no digits");
            }
            float = true;
            end = from + digits;
        }
        let text = rest[..end].to_owned();
        self.at += end;
        let out_of_range = |function: &str| format!("strconv.{function}: parsing {text:?}: value out of range");
        if float {
            return match text.parse::<f64>() {
                Ok(f) if f.is_finite() => Ok(Token::Float(f)),
                _ => self.fail(start, out_of_range("ParseFloat")),
            };
        }
        match text.parse() {
            Ok(i) => Ok(Token::Int(i)),
            Err(_) => self.fail(start, out_of_range("Atoi")),
        }
    }
}

/// A duration in nanoseconds: Prometheus' notation, else Go's.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    match syntax::prometheus_duration(text) {
        Some(Some(ms)) => ms.checked_mul(1_000_000),
        _ => syntax::go_duration(text, &[]),
    }
}

fn is_unit(c: char) -> bool {
    "nsumhdwyµμ".contains(c)
}
