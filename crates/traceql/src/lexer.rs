//! Text to tokens, after `pkg/traceql/lexer.go` of Tempo.

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
    /// Intrinsics, keywords, functions: `duration`, `span:id`, `select`.
    Word(String),
    /// `.a`, `span.a`, `resource."a b"`, …; whether it is of the parent span.
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
    /// Operators and marks.
    Mark(&'static str),
    End,
}

impl Token {
    /// How an error names the token.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Word(w) => w.clone(),
            Self::Attribute { name, .. } => format!("attribute {name:?}"),
            Self::Text(t) => format!("string {t:?}"),
            Self::Int(i) => format!("integer {i}"),
            Self::Float(f) => format!("number {f}"),
            Self::Duration(_) => "duration".to_owned(),
            Self::Mark(m) => (*m).to_owned(),
            Self::End => "the end of the query".to_owned(),
        }
    }
}

/// Longest first.
const MARKS: [&str; 37] = [
    "&>>", "&<<", "!>>", "!<<", "&&", "||", "!=", "!~", "=~", ">=", "<=", ">>", "<<", "&>", "&<", "&~", "!>", "!<", "{", "}",
    "(", ")", "|", ",", "=", "<", ">", "~", "+", "-", "*", "/", "%", "^", "!", "&", "[",
];

/// Where an attribute may be looked for, as it is written in front of the point.
const SCOPES: [(&str, AttributeScope); 6] = [
    ("span", AttributeScope::Span),
    ("resource", AttributeScope::Resource),
    ("event", AttributeScope::Event),
    ("link", AttributeScope::Link),
    ("instrumentation", AttributeScope::Instrumentation),
    ("", AttributeScope::Open),
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
fn in_attribute(c: char) -> bool {
    !c.is_whitespace() && !"{}()=~!<>&|^,\"".contains(c)
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
            if !self.rest().starts_with("//") {
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
        } else if let Some(attribute) = self.attribute(start)? {
            attribute
        } else if first.is_alphabetic() || first == '_' {
            let length = self.rest().find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(self.rest().len());
            let word = self.rest()[..length].to_owned();
            self.at += length;
            Token::Word(word)
        } else if let Some(mark) = MARKS.into_iter().find(|m| self.rest().starts_with(m)) {
            self.at += mark.len();
            Token::Mark(mark)
        } else {
            return self.fail(start, format!("unexpected character {first:?}"));
        };
        Ok((token, start))
    }

    /// An attribute, if one starts here.
    fn attribute(&mut self, start: usize) -> Result<Option<Token>, ParseError> {
        let rest = self.rest();
        let (parent, after_parent) = rest.strip_prefix("parent.").map_or((false, rest), |r| (true, r));
        let scoped = SCOPES.into_iter().find_map(|(word, scope)| {
            let tail = after_parent.strip_prefix(word)?.strip_prefix('.')?;
            Some((scope, tail))
        });
        let (scope, tail) = match scoped {
            Some(found) => found,
            // `parent.a`
            None if parent => (AttributeScope::Open, after_parent),
            None => return Ok(None),
        };
        self.at += rest.len() - tail.len();
        let mut name = String::new();
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    let quote_at = self.at;
                    name.push_str(&self.text(quote_at, '"')?);
                }
                Some(c) if in_attribute(c) => {
                    name.push(c);
                    self.at += c.len_utf8();
                }
                _ => break,
            }
        }
        if name.is_empty() {
            return self.fail(start, "expected the name of an attribute");
        }
        Ok(Some(Token::Attribute { scope, parent, name }))
    }

    fn text(&mut self, start: usize, quote: char) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return self.fail(start, "a string that does not end") };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(out);
            }
            if c != '\\' || quote == '`' {
                out.push(c);
                continue;
            }
            let at = self.at - 1;
            let Some(escaped) = self.rest().chars().next() else { return self.fail(start, "a string that does not end") };
            self.at += escaped.len_utf8();
            match escaped {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'a' => out.push('\u{7}'),
                'b' => out.push('\u{8}'),
                'f' => out.push('\u{c}'),
                'v' => out.push('\u{b}'),
                '\\' | '"' | '\'' => out.push(escaped),
                'x' | 'u' | 'U' => {
                    let digits = match escaped {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let code = self.rest().get(..digits).filter(|d| d.chars().all(|c| c.is_ascii_hexdigit()));
                    let c = code.and_then(|d| u32::from_str_radix(d, 16).ok()).and_then(char::from_u32);
                    let Some(c) = c else { return self.fail(at, "an escape that names no character") };
                    self.at += digits;
                    out.push(c);
                }
                other => return self.fail(at, format!("unknown escape \\{other}")),
            }
        }
    }

    /// An integer, a float, or a duration as Go writes it (`1h30m`, `1.5s`) plus days.
    fn number(&mut self, start: usize) -> Result<Token, ParseError> {
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == 'µ')).unwrap_or(rest.len());
        let mut text = &rest[..length];
        let mantissa = text.trim_end_matches(['e', 'E']);
        if mantissa.len() + 1 == text.len()
            && mantissa.ends_with(|c: char| c.is_ascii_digit() || c == '.')
            && let Some(exponent) = rest[length..].strip_prefix(['+', '-'])
        {
            let digits = exponent.find(|c: char| !c.is_ascii_digit()).unwrap_or(exponent.len());
            text = &rest[..length + 1 + digits];
        }
        self.at += text.len();
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).and_then(|h| i64::from_str_radix(h, 16).ok());
        if let Some(i) = hex.or_else(|| text.parse().ok()) {
            return Ok(Token::Int(i));
        }
        // `inf` and `nan` do not start with a digit, so that `parse` reads numbers only.
        if let Ok(f) = text.parse() {
            return Ok(Token::Float(f));
        }
        match parse_duration(text) {
            Some(ns) => Ok(Token::Duration(ns)),
            None => self.fail(start, format!("{text:?} is no number and no duration")),
        }
    }
}

/// A duration in nanoseconds: Go's units and longer ones.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    syntax::go_duration(text, &[("d", 86_400_000_000_000)])
}
