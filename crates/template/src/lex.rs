//! Text to tokens.

use crate::ParseError;

/// A token, where it starts, and its text as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned<'t> {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) text: &'t str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Text outside of actions.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    Space,
    /// `.field`
    Field,
    /// `$name`
    Variable,
    Identifier,
    Keyword,
    Bool,
    Nil,
    Dot,
    Number,
    /// `'c'`
    Char,
    /// `"…"`
    String,
    /// `` `…` ``
    Raw,
    /// `|`
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    OpenParen,
    CloseParen,
    Comma,
    End,
}

const KEYWORDS: [&str; 10] = ["if", "else", "end", "range", "with", "template", "define", "block", "break", "continue"];

impl Spanned<'_> {
    /// How an error names it.
    pub(crate) fn name(&self) -> String {
        match self.token {
            Token::End => "EOF".to_owned(),
            Token::Keyword => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let cut = self.text.char_indices().nth(10).map_or(self.text, |(at, _)| &self.text[..at]);
                format!("{}...", crate::quote(cut))
            }
            _ => crate::quote(self.text),
        }
    }
}

/// All tokens, [`Token::End`] last.
pub(crate) fn lex<'t>(name: &str, text: &'t str) -> Result<Vec<Spanned<'t>>, ParseError> {
    let mut lexer = Lexer { name, text, at: 0, out: Vec::new() };
    lexer.run()?;
    Ok(lexer.out)
}

struct Lexer<'n, 't> {
    name: &'n str,
    text: &'t str,
    at: usize,
    out: Vec<Spanned<'t>>,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

impl Lexer<'_, '_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Result<T, ParseError> {
        let line = syntax::Position::of(self.text, at).line;
        Err(ParseError { name: self.name.to_owned(), line, message: message.into() })
    }

    fn push(&mut self, token: Token, start: usize) {
        self.out.push(Spanned { token, start, text: &self.text[start..self.at] });
    }

    fn run(&mut self) -> Result<(), ParseError> {
        // Whether the action before ended with `-}}`.
        let mut trim = false;
        loop {
            let start = self.at;
            let open = self.rest().find("{{").map_or(self.text.len(), |n| start + n);
            let action = &self.text[open..];
            let trims = action.starts_with("{{-") && action[3..].starts_with(SPACES);
            let mut from = start;
            let mut to = open;
            if trim {
                from += self.text[from..to].len() - self.text[from..to].trim_start_matches(SPACES).len();
            }
            if trims {
                to = from + self.text[from..to].trim_end_matches(SPACES).len();
            }
            if to > from {
                self.out.push(Spanned { token: Token::Text, start: from, text: &self.text[from..to] });
            }
            self.at = open;
            if open == self.text.len() {
                self.push(Token::End, open);
                return Ok(());
            }
            trim = self.action(trims)?;
        }
    }

    /// From `{{` on; tells whether it ends with `-}}`.
    fn action(&mut self, trims: bool) -> Result<bool, ParseError> {
        let open = self.at;
        self.at += if trims { 3 } else { 2 };
        let comment = self.rest().trim_start_matches(SPACES);
        if comment.starts_with("/*") && (trims || self.rest().starts_with("/*")) {
            self.at = self.text.len() - comment.len();
            let Some(end) = self.rest().find("*/") else { return self.fail(open, "unclosed comment") };
            self.at += end + 2;
            let tail = self.rest();
            let spaced = tail.trim_start_matches(SPACES);
            if tail.starts_with("}}") {
                self.at += 2;
                return Ok(false);
            }
            if spaced.starts_with("-}}") && spaced.len() < tail.len() {
                self.at = self.text.len() - spaced.len() + 3;
                return Ok(true);
            }
            return self.fail(open, "comment ends before closing delimiter");
        }
        self.out.push(Spanned { token: Token::Open, start: open, text: "{{" });
        let mut depth = 0usize;
        loop {
            let start = self.at;
            let spaces = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
            if spaces > 0 {
                self.at += spaces;
                if self.rest().starts_with("-}}") {
                    return self.close(start, 3, depth).map(|()| true);
                }
                self.push(Token::Space, start);
                continue;
            }
            if self.rest().starts_with("}}") {
                return self.close(start, 2, depth).map(|()| false);
            }
            let Some(c) = self.rest().chars().next() else { return self.fail(open, "unclosed action") };
            self.token(c, start, &mut depth)?;
        }
    }

    fn close(&mut self, start: usize, length: usize, depth: usize) -> Result<(), ParseError> {
        if depth > 0 {
            return self.fail(start, "unclosed left paren");
        }
        self.at += length;
        self.push(Token::Close, start);
        Ok(())
    }

    fn token(&mut self, c: char, start: usize, depth: &mut usize) -> Result<(), ParseError> {
        let second = self.rest().chars().nth(1);
        let token = match c {
            '=' => self.one(Token::Assign, 1),
            ':' if second == Some('=') => self.one(Token::Declare, 2),
            ':' => return self.fail(start, "expected :="),
            '|' => self.one(Token::Pipe, 1),
            '"' => self.quoted('"', "unterminated quoted string", Token::String)?,
            '\'' => self.quoted('\'', "unterminated character constant", Token::Char)?,
            '`' => {
                let Some(end) = self.rest()[1..].find('`') else { return self.fail(start, "unterminated raw quoted string") };
                self.one(Token::Raw, end + 2)
            }
            '$' => {
                let length = word(&self.rest()[1..]);
                self.one(Token::Variable, length + 1)
            }
            '.' if !second.is_some_and(|c| c.is_ascii_digit()) => {
                let length = word(&self.rest()[1..]);
                self.one(if length == 0 { Token::Dot } else { Token::Field }, length + 1)
            }
            '+' | '-' | '.' | '0'..='9' => {
                let length = number(self.rest());
                if word(&self.rest()[length..]) > 0
                    || length == 0
                    || !self.rest()[..length].contains(|c: char| c.is_ascii_digit())
                {
                    let bad: String = self.rest().chars().take(length + 1).collect();
                    return self.fail(start, format!("bad number syntax: {}", crate::quote(&bad)));
                }
                self.one(Token::Number, length)
            }
            '(' => {
                *depth += 1;
                self.one(Token::OpenParen, 1)
            }
            ')' if *depth == 0 => return self.fail(start, "unexpected right paren"),
            ')' => {
                *depth -= 1;
                self.one(Token::CloseParen, 1)
            }
            ',' => self.one(Token::Comma, 1),
            c if c == '_' || c.is_alphanumeric() => {
                let length = word(self.rest());
                let token = match &self.rest()[..length] {
                    w if KEYWORDS.contains(&w) => Token::Keyword,
                    "true" | "false" => Token::Bool,
                    "nil" => Token::Nil,
                    _ => Token::Identifier,
                };
                self.one(token, length)
            }
            c => {
                return self.fail(start, format!("unrecognized character in action: U+{:04X} {}", u32::from(c), rune_quote(c)));
            }
        };
        let ends_word =
            matches!(token, Token::Field | Token::Variable | Token::Identifier | Token::Keyword | Token::Bool | Token::Nil);
        self.push(token, start);
        if ends_word {
            // A word ends before white space or one of these; else it is no word.
            let next = self.rest().chars().next();
            if next.is_some_and(|c| !SPACES.contains(&c) && !".,|:)(".contains(c)) && !self.rest().starts_with("}}") {
                let c = next.unwrap_or_default();
                return self.fail(self.at, format!("bad character U+{:04X} {}", u32::from(c), rune_quote(c)));
            }
        }
        Ok(())
    }

    fn one(&mut self, token: Token, length: usize) -> Token {
        self.at += length;
        token
    }

    fn quoted(&mut self, quote: char, open: &str, token: Token) -> Result<Token, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        for (i, c) in self.text[self.at..].char_indices() {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.at += i + 1;
                    return Ok(token);
                }
                _ => {}
            }
        }
        self.fail(start, open)
    }
}

fn rune_quote(c: char) -> String {
    format!("'{c}'")
}

/// Length of the letters, digits and `_` that a text starts with.
fn word(text: &str) -> usize {
    text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len())
}

/// Length of the number that a text starts with.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let hex = matches!(bytes.get(at..at + 2), Some(b"0x" | b"0X"));
    let prefixed = matches!(bytes.get(at..at + 2), Some(b"0o" | b"0O" | b"0b" | b"0B"));
    if hex || prefixed {
        at += 2;
    }
    let digit = |b: u8| b.is_ascii_digit() || b == b'_' || (hex && b.is_ascii_hexdigit());
    let run = |mut at: usize| {
        while bytes.get(at).is_some_and(|b| digit(*b)) {
            at += 1;
        }
        at
    };
    at = run(at);
    if bytes.get(at) == Some(&b'.') {
        at = run(at + 1);
    }
    let exponent = if hex { matches!(bytes.get(at), Some(b'p' | b'P')) } else { matches!(bytes.get(at), Some(b'e' | b'E')) };
    if exponent && !prefixed {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        while bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'_') {
            at += 1;
        }
    }
    at
}
