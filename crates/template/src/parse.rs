//! Tokens to nodes.

use std::collections::BTreeMap;

use crate::lex::{Spanned, Token, lex};
use crate::node::{Branch, Command, List, Node, Number, Pipe, Template, Word, WordKind};
use crate::{Functions, ParseError, builtin};

/// How deep parentheses, branches and templates nest.
const MAX_DEPTH: usize = 64;

type Parsed<T> = Result<T, ParseError>;

impl Template {
    /// The template that `text` says.
    ///
    /// # Errors
    /// What is wrong with it and on which line, as Go says it.
    pub fn parse(name: &str, text: &str, functions: &Functions) -> Result<Self, ParseError> {
        let tokens = lex(name, text)?;
        let mut parser = Parser {
            name,
            text,
            tokens,
            at: 0,
            functions,
            variables: vec!["$".to_owned()],
            depth: 0,
            loops: 0,
            defined: BTreeMap::new(),
        };
        let (list, end) = parser.list(true)?;
        if let Some(end) = end {
            return parser.fail(&end.0, format!("unexpected {}", end.0.name));
        }
        let mut lists = parser.defined;
        lists.insert(name.to_owned(), list);
        Ok(Self { name: name.to_owned(), text: text.to_owned(), functions: functions.clone(), lists })
    }
}

/// What ended a list: `{{end}}` or `{{else …}}`.
struct Stop {
    start: usize,
    name: String,
    is_else: bool,
}

struct Parser<'p> {
    name: &'p str,
    text: &'p str,
    tokens: Vec<Spanned<'p>>,
    at: usize,
    functions: &'p Functions,
    /// In scope.
    variables: Vec<String>,
    depth: usize,
    loops: usize,
    defined: BTreeMap<String, List>,
}

impl<'p> Parser<'p> {
    fn fail<T>(&self, at: &impl Place, message: impl Into<String>) -> Parsed<T> {
        let line = syntax::Position::of(self.text, at.start()).line;
        Err(ParseError { name: self.name.to_owned(), line, message: message.into() })
    }

    fn peek(&self) -> &Spanned<'p> {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Spanned<'p> {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn skip_space(&mut self) {
        while self.peek().token == Token::Space {
            self.at += 1;
        }
    }

    fn next_solid(&mut self) -> Spanned<'p> {
        self.skip_space();
        self.next()
    }

    fn unexpected<T>(&self, token: &Spanned<'_>, context: &str) -> Parsed<T> {
        self.fail(token, format!("unexpected {} in {context}", token.name()))
    }

    fn expect(&mut self, token: Token, context: &str) -> Parsed<Spanned<'p>> {
        let got = self.next_solid();
        if got.token == token { Ok(got) } else { self.unexpected(&got, context) }
    }

    /// Nodes up to the end of the text, `{{end}}` or `{{else}}`.
    fn list(&mut self, top: bool) -> Parsed<(List, Option<(Stop, usize)>)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(&self.peek().start, "nested too deep");
        }
        let mut out = List::new();
        loop {
            let token = self.next();
            match token.token {
                Token::End if top => break,
                Token::End => return self.fail(&token, "unexpected EOF"),
                Token::Text => out.push(Node::Text(token.text.to_owned())),
                _ => match self.action(token.start, top)? {
                    Ok(node) => out.extend(node),
                    Err(stop) => {
                        self.depth -= 1;
                        return Ok((out, Some((stop, token.start))));
                    }
                },
            }
        }
        self.depth -= 1;
        Ok((out, None))
    }

    fn action(&mut self, start: usize, top: bool) -> Parsed<Result<Option<Node>, Stop>> {
        self.skip_space();
        let token = self.peek().clone();
        if token.token != Token::Keyword {
            let pipe = self.pipe("command", Token::Close, false)?;
            return Ok(Ok(Some(Node::Action(pipe))));
        }
        self.next();
        let node = match token.text {
            "if" => Node::If(self.branch("if")?),
            "with" => Node::With(self.branch("with")?),
            "range" => {
                self.loops += 1;
                let branch = self.branch("range")?;
                self.loops -= 1;
                Node::Range(branch)
            }
            "end" => {
                self.expect(Token::Close, "end")?;
                return Ok(Err(Stop { start, name: "{{end}}".to_owned(), is_else: false }));
            }
            "else" => {
                self.skip_space();
                if !matches!(self.peek().text, "if" | "with") {
                    self.expect(Token::Close, "else")?;
                }
                return Ok(Err(Stop { start, name: "{{else}}".to_owned(), is_else: true }));
            }
            word @ ("break" | "continue") => {
                self.skip_space();
                if self.peek().token != Token::Close {
                    let token = self.next();
                    return self.fail(&token, format!("unexpected {} in {{{{{word}}}}}", token.name()));
                }
                self.next();
                if self.loops == 0 {
                    return self.fail(&token, format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                if word == "break" { Node::Break } else { Node::Continue }
            }
            "template" => {
                self.skip_space();
                let at = self.peek().start;
                let name = self.template_name("template clause")?;
                self.skip_space();
                let pipe = match self.peek().token {
                    Token::Close => {
                        self.next();
                        None
                    }
                    _ => Some(self.pipe("template clause", Token::Close, false)?),
                };
                Node::Template { at, name, pipe }
            }
            "block" => {
                self.skip_space();
                let at = self.peek().start;
                let name = self.template_name("block clause")?;
                let pipe = self.pipe("block clause", Token::Close, false)?;
                self.define(&name)?;
                Node::Template { at, name, pipe: Some(pipe) }
            }
            _ if top => {
                let name = self.template_name("define clause")?;
                self.expect(Token::Close, "define clause")?;
                self.define(&name)?;
                return Ok(Ok(None));
            }
            _ => return self.unexpected(&token, "command"),
        };
        Ok(Ok(Some(node)))
    }

    /// The body of `define` and `block`.
    fn define(&mut self, name: &str) -> Parsed<()> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (list, stop) = self.list(false)?;
        if let Some((stop, _)) = stop
            && stop.is_else
        {
            return self.fail(&stop, format!("unexpected {} in define clause", stop.name));
        }
        self.variables = outer;
        self.defined.insert(name.to_owned(), list);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        let token = self.next_solid();
        match token.token {
            Token::String | Token::Raw => self.unquote(&token),
            _ => self.unexpected(&token, context),
        }
    }

    fn unquote(&self, token: &Spanned<'_>) -> Parsed<String> {
        match syntax::quoted(token.text) {
            Ok((text, _)) => Ok(text.into_owned()),
            Err(_) => self.fail(token, "invalid syntax"),
        }
    }

    fn branch(&mut self, word: &str) -> Parsed<Branch> {
        let scope = self.variables.len();
        let pipe = self.pipe(word, Token::Close, word == "range")?;
        let (list, stop) = self.list(false)?;
        let mut otherwise = None;
        if stop.is_some_and(|(stop, _)| stop.is_else) {
            let chained = self.peek().clone();
            if matches!(chained.text, "if" | "with") && chained.token == Token::Keyword {
                if chained.text != word {
                    return self.unexpected(&chained, "else");
                }
                // `{{else if}}` is `{{else}}{{if}}` with one `{{end}}` for both.
                self.next();
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return self.fail(&chained, "nested too deep");
                }
                let inner = self.branch(word)?;
                self.depth -= 1;
                otherwise = Some(vec![if word == "if" { Node::If(inner) } else { Node::With(inner) }]);
            } else {
                let (list, stop) = self.list(false)?;
                if let Some((stop, _)) = stop
                    && stop.is_else
                {
                    return self.fail(&stop, format!("expected end; found {}", stop.name));
                }
                otherwise = Some(list);
            }
        }
        self.variables.truncate(scope);
        Ok(Branch { pipe, list, otherwise })
    }

    fn pipe(&mut self, context: &str, end: Token, range: bool) -> Parsed<Pipe> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(&self.peek().start, "nested too deep");
        }
        self.skip_space();
        let at = self.peek().start;
        let mut pipe = Pipe { at, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, range)?;
        loop {
            let token = self.next_solid();
            if token.token == end {
                break;
            }
            match token.token {
                Token::Bool
                | Token::Char
                | Token::Dot
                | Token::Field
                | Token::Identifier
                | Token::Number
                | Token::Nil
                | Token::Raw
                | Token::String
                | Token::Variable
                | Token::OpenParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        self.depth -= 1;
        if pipe.commands.is_empty() {
            return self.fail(&at, format!("missing value for {context}"));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            let first = command.words.first().map(|w| &w.kind);
            if let Some(WordKind::Bool(_) | WordKind::Dot | WordKind::Nil | WordKind::Number(_) | WordKind::Str(..)) = first {
                return self.fail(&command.at, format!("non executable command in pipeline stage {}", i + 1));
            }
        }
        Ok(pipe)
    }

    /// `$x := `, `$i, $x := `, `$x = `.
    fn declarations(&mut self, pipe: &mut Pipe, range: bool) -> Parsed<()> {
        loop {
            let mark = self.at;
            if self.peek().token != Token::Variable {
                return Ok(());
            }
            let variable = self.next();
            self.skip_space();
            let next = self.peek().clone();
            match next.token {
                Token::Assign | Token::Declare => {
                    pipe.assigns = next.token == Token::Assign;
                    self.next();
                    self.skip_space();
                    pipe.variables.push(variable.text.to_owned());
                }
                Token::Comma => {
                    self.next();
                    self.skip_space();
                    pipe.variables.push(variable.text.to_owned());
                    if range && pipe.variables.len() < 2 {
                        match self.peek().token {
                            Token::Variable => continue,
                            _ => return self.fail(&next, "range can only initialize variables"),
                        }
                    }
                    return self.fail(&next, format!("too many declarations in {}", if range { "range" } else { "command" }));
                }
                _ => {
                    self.at = mark;
                    return Ok(());
                }
            }
            if !pipe.assigns {
                self.variables.extend(pipe.variables.iter().cloned());
            } else if let Some(unknown) = pipe.variables.iter().find(|v| !self.variables.contains(v)) {
                return self.fail(&variable, format!("undefined variable {}", crate::quote(unknown)));
            }
            return Ok(());
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.skip_space();
        let at = self.peek().start;
        let mut words = Vec::new();
        loop {
            self.skip_space();
            if let Some(word) = self.operand()? {
                words.push(word);
            }
            let token = self.next();
            match token.token {
                Token::Space => continue,
                Token::Close | Token::CloseParen => self.at -= 1,
                Token::Pipe => {
                    self.skip_space();
                    if matches!(self.peek().token, Token::Close | Token::CloseParen) {
                        return self.fail(&token, "missing value for command");
                    }
                }
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if words.is_empty() {
            return self.fail(&at, "empty command");
        }
        Ok(Command { at, words })
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Parsed<Option<Word>> {
        let Some(mut word) = self.term()? else { return Ok(None) };
        if self.peek().token != Token::Field {
            return Ok(Some(word));
        }
        let at = self.peek().start;
        let mut fields = Vec::new();
        while self.peek().token == Token::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        word = match word.kind {
            WordKind::Field(mut first) => {
                first.append(&mut fields);
                Word { at: word.at, kind: WordKind::Field(first) }
            }
            WordKind::Variable(name, mut first) => {
                first.append(&mut fields);
                Word { at: word.at, kind: WordKind::Variable(name, first) }
            }
            WordKind::Bool(_) | WordKind::Str(..) | WordKind::Number(_) | WordKind::Nil | WordKind::Dot => {
                let inner = word.to_string();
                return self.fail(&at, format!("unexpected . after term {}", crate::quote(&inner)));
            }
            kind => Word { at, kind: WordKind::Chain(Box::new(Word { at: word.at, kind }), fields) },
        };
        Ok(Some(word))
    }

    fn term(&mut self) -> Parsed<Option<Word>> {
        let token = self.next_solid();
        let kind = match token.token {
            Token::Identifier => {
                let known = self.functions.functions.contains_key(token.text)
                    || self.functions.locals.contains(&token.text)
                    || builtin::find(token.text).is_some();
                if !known {
                    return self.fail(&token, format!("function {} not defined", crate::quote(token.text)));
                }
                WordKind::Function(token.text.to_owned())
            }
            Token::Dot => WordKind::Dot,
            Token::Nil => WordKind::Nil,
            Token::Bool => WordKind::Bool(token.text == "true"),
            Token::Variable => {
                if !self.variables.iter().any(|v| v == token.text) {
                    return self.fail(&token, format!("undefined variable {}", crate::quote(token.text)));
                }
                WordKind::Variable(token.text.to_owned(), Vec::new())
            }
            Token::Field => WordKind::Field(vec![token.text[1..].to_owned()]),
            Token::Char => {
                let text = self.unquote(&token)?;
                let mut chars = text.chars();
                let (Some(c), None) = (chars.next(), chars.next()) else {
                    return self.fail(&token, format!("malformed character constant: {}", token.text));
                };
                let code = i64::from(u32::from(c));
                WordKind::Number(Number { text: token.text.to_owned(), int: Some(code), float: code as f64, whole: true })
            }
            Token::Number => match number(token.text) {
                Some(number) => WordKind::Number(number),
                None => return self.fail(&token, format!("illegal number syntax: {}", crate::quote(token.text))),
            },
            Token::OpenParen => {
                let pipe = self.pipe("parenthesized pipeline", Token::CloseParen, false)?;
                WordKind::Pipe(Box::new(pipe))
            }
            Token::String | Token::Raw => WordKind::Str(token.text.to_owned(), self.unquote(&token)?),
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Word { at: token.start, kind }))
    }
}

trait Place {
    fn start(&self) -> usize;
}

impl Place for usize {
    fn start(&self) -> usize {
        *self
    }
}

impl Place for Spanned<'_> {
    fn start(&self) -> usize {
        self.start
    }
}

impl Place for Stop {
    fn start(&self) -> usize {
        self.start
    }
}

fn number(written: &str) -> Option<Number> {
    let plain = written.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = |prefix: &str, radix| lower.strip_prefix(prefix).map(|d| i64::from_str_radix(d, radix).ok());
    let whole = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(|| {
        let all_digits = lower.bytes().all(|b| b.is_ascii_digit());
        match lower.strip_prefix('0') {
            Some(octal) if all_digits && !octal.is_empty() => Some(i64::from_str_radix(octal, 8).ok()),
            _ if all_digits => Some(lower.parse().ok()),
            _ => None,
        }
    });
    let sign = |i: i64| if negative { -i } else { i };
    if let Some(int) = whole {
        let int = sign(int?);
        return Some(Number { text: written.to_owned(), int: Some(int), float: int as f64, whole: true });
    }
    let float: f64 = lower.parse().ok()?;
    let float = if negative { -float } else { float };
    let int = (float.fract() == 0.0 && float.abs() < 9.0e18).then_some(float as i64);
    Some(Number { text: written.to_owned(), int, float, whole: false })
}
