//! Tokens to an expression, after `pkg/logql/syntax/syntax.y` of Loki 3.

use store::{LabelMatcher, MatchOp};

use crate::ParseError;
use crate::ast::{AggregateOp, Binary, BinaryOp, Expr, Grouping, LineFilter, LineOp, LogQuery, RangeOp, Stage};
use crate::lexer::{Spanned, Token, lex};

/// Longest query that is read, bytes (Loki: 131072).
pub const MAX_QUERY: usize = 128 << 10;
/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 128;

/// Reads a query.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong, or of what this version does not know yet.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let (expr, _) = parser.expression(0)?;
    parser.end()?;
    Ok(expr)
}

/// Reads a stream selector, as `match[]` has it; `{}` alone selects all streams.
///
/// # Errors
/// [`ParseError`], also for selectors with a pipeline.
pub fn parse_matchers(query: &str) -> Result<Vec<LabelMatcher>, ParseError> {
    let mut parser = Parser::new(query)?;
    let matchers = parser.matchers()?;
    parser.end()?;
    Ok(matchers)
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'q> Parser<'q> {
    fn new(query: &'q str) -> Parsed<Self> {
        if query.len() > MAX_QUERY {
            return Err(ParseError::at(query, 0, format!("input size too long ({} > {MAX_QUERY})", query.len())));
        }
        Ok(Self { query, tokens: lex(query)?, at: 0, depth: 0 })
    }

    fn end(&self) -> Parsed<()> {
        if self.peek().token == Token::End { Ok(()) } else { self.unexpected("$end") }
    }

    fn peek(&self) -> &Spanned {
        // `lex` ends with `End`, which is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Spanned {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, mark: &str) -> bool {
        matches!(self.peek().token, Token::Mark(m) if m == mark)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let found = self.is(mark);
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(&self.peek().token, Token::Word(w) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::at(self.query, at, message))
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let found = self.peek();
        self.fail(found.start, format!("syntax error: unexpected {}, expecting {expected}", found.token.name()))
    }

    fn expect(&mut self, mark: &str) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.unexpected(mark) }
    }

    fn deeper(&self, depth: usize, at: usize) -> Parsed<usize> {
        if depth >= MAX_DEPTH {
            return self.fail(at, format!("the expression is nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(depth + 1)
    }

    /// An expression whose operators bind tighter than `floor`, and how deep it is.
    fn expression(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        self.depth = self.deeper(self.depth, self.peek().start)?;
        let result = self.operators(floor);
        self.depth -= 1;
        result
    }

    fn operators(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        let start = self.peek().start;
        let (mut left, mut depth) = self.operand()?;
        loop {
            let text = match &self.peek().token {
                Token::Mark(m) => *m,
                Token::Word(w) => w.as_str(),
                _ => return Ok((left, depth)),
            };
            let op = BinaryOp::SPELLINGS.into_iter().find(|(t, op)| *t == text && op.precedence() > floor);
            let Some((_, op)) = op else { return Ok((left, depth)) };
            let at = self.advance().start;
            let returns_bool = self.eat_word("bool");
            if let Token::Word(w) = &self.peek().token
                && matches!(w.as_str(), "on" | "ignoring")
            {
                return self.fail(self.peek().start, format!("{w} is not supported yet"));
            }
            let right_start = self.peek().start;
            let (right, right_depth) = self.expression(op.precedence() - u8::from(op == BinaryOp::Pow))?;
            depth = self.deeper(depth.max(right_depth), at)?;
            for (side, start) in [(&left, start), (&right, right_start)] {
                if matches!(side, Expr::Log(_)) {
                    return self.fail(start, "unexpected type for a leg of a binary operation: a log query");
                }
                if op.is_set() && matches!(side, Expr::Number(_)) {
                    return self.fail(
                        start,
                        format!("unexpected literal for a leg of logical/set binary operation ({text})", text = spelling(op)),
                    );
                }
            }
            left = Expr::Binary(Box::new(Binary { op, left, right, returns_bool }));
        }
    }

    fn operand(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.peek().start;
        if self.is("{") {
            let log = self.log_query()?;
            return Ok((Expr::Log(log), 1));
        }
        match self.advance().token {
            Token::Number(n) => Ok((Expr::Number(n), 1)),
            Token::Mark(sign @ ("-" | "+")) => match self.advance().token {
                Token::Number(n) => Ok((Expr::Number(if sign == "-" { -n } else { n }), 1)),
                other => self.fail(start, format!("syntax error: unexpected {} after {sign}, expecting NUMBER", other.name())),
            },
            Token::Mark("(") => {
                let (inner, depth) = self.expression(0)?;
                self.expect(")")?;
                if matches!(inner, Expr::Log(_)) && !matches!(self.peek().token, Token::End | Token::Mark(")")) {
                    return self.fail(start, "a pipeline after parentheses is not supported yet");
                }
                Ok((inner, self.deeper(depth, start)?))
            }
            Token::Word(word) => self.word(&word, start),
            other => self.fail(start, format!("syntax error: unexpected {}", other.name())),
        }
    }

    fn word(&mut self, word: &str, start: usize) -> Parsed<(Expr, usize)> {
        let word = &word.to_ascii_lowercase();
        if word == "vector" {
            self.expect("(")?;
            let (inner, _) = self.expression(0)?;
            let Expr::Number(n) = inner else { return self.fail(start, "vector() takes a number") };
            self.expect(")")?;
            return Ok((Expr::Vector(n), 1));
        }
        if let Some(op) = RangeOp::parse(word) {
            return Ok((self.range(op)?, 1));
        }
        let Some(op) = AggregateOp::parse(word) else {
            let message = if self.is("(") || matches!(&self.peek().token, Token::Word(w) if w == "by" || w == "without") {
                format!("{word}() is not known, or not supported yet")
            } else {
                format!("syntax error: unexpected identifier {word:?}")
            };
            return self.fail(start, message);
        };
        let before = self.grouping()?;
        self.expect("(")?;
        let inner_start = self.peek().start;
        let (expr, depth) = self.expression(0)?;
        if matches!(expr, Expr::Log(_) | Expr::Number(_)) {
            return self.fail(inner_start, format!("{word}() takes a metric query"));
        }
        self.expect(")")?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or_default(),
        };
        Ok((Expr::Aggregate { op, expr: Box::new(expr), grouping }, self.deeper(depth, start)?))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = if self.eat_word("by") {
            false
        } else if self.eat_word("without") {
            true
        } else {
            return Ok(None);
        };
        self.expect("(")?;
        let mut labels = Vec::new();
        while !self.eat(")") {
            if !labels.is_empty() {
                self.expect(",")?;
            }
            labels.push(self.label()?);
        }
        Ok(Some(Grouping { without, labels }))
    }

    fn label(&mut self) -> Parsed<String> {
        match self.peek().token.clone() {
            Token::Word(w) => {
                self.advance();
                Ok(w)
            }
            _ => self.unexpected("IDENTIFIER"),
        }
    }

    /// `({…} |= "a" [5m] offset 1m)`; the range may also stand right behind the selector.
    fn range(&mut self, op: RangeOp) -> Parsed<Expr> {
        self.expect("(")?;
        let opened = usize::from(self.eat("("));
        let matchers = self.selector()?;
        let mut range = self.range_duration()?;
        let stages = self.stages()?;
        if opened > 0 {
            self.expect(")")?;
        }
        if range.is_none() {
            range = self.range_duration()?;
        }
        let Some((range_ns, offset_ns)) = range else { return self.unexpected("a range such as [5m]") };
        self.expect(")")?;
        if matches!(&self.peek().token, Token::Word(w) if w == "by" || w == "without") {
            return self.fail(self.peek().start, format!("grouping not allowed for {} aggregation", op.as_str()));
        }
        Ok(Expr::Range { op, log: LogQuery { matchers, stages }, range_ns, offset_ns })
    }

    fn range_duration(&mut self) -> Parsed<Option<(i64, i64)>> {
        if !self.eat("[") {
            return Ok(None);
        }
        let Token::Duration(range_ns) = self.peek().token else { return self.unexpected("a duration") };
        if range_ns <= 0 {
            return self.fail(self.peek().start, "a range must be longer than 0");
        }
        self.advance();
        self.expect("]")?;
        let mut offset_ns = 0;
        if self.eat_word("offset") {
            let sign = if self.eat("-") { -1 } else { 1 };
            let Token::Duration(offset) = self.peek().token else { return self.unexpected("a duration") };
            self.advance();
            offset_ns = sign * offset;
        }
        Ok(Some((range_ns, offset_ns)))
    }

    fn log_query(&mut self) -> Parsed<LogQuery> {
        Ok(LogQuery { matchers: self.selector()?, stages: self.stages()? })
    }

    /// A selector that does not select everything.
    fn selector(&mut self) -> Parsed<Vec<LabelMatcher>> {
        let start = self.peek().start;
        let matchers = self.matchers()?;
        if matchers.iter().all(|m| m.matches("")) {
            return self.fail(
                start,
                "queries require at least one regexp or equality matcher that does not have an empty-compatible value. \
                 For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
            );
        }
        Ok(matchers)
    }

    fn matchers(&mut self) -> Parsed<Vec<LabelMatcher>> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        while !self.eat("}") {
            if !matchers.is_empty() {
                self.expect(",")?;
                if self.eat("}") {
                    break;
                }
            }
            let name = self.label()?;
            let op = match self.peek().token {
                Token::Mark("=") => MatchOp::Eq,
                Token::Mark("!=") => MatchOp::Ne,
                Token::Mark("=~") => MatchOp::Re,
                Token::Mark("!~") => MatchOp::NotRe,
                _ => return self.unexpected("= or != or =~ or !~"),
            };
            self.advance();
            let at = self.peek().start;
            let value = self.string()?;
            let matcher = LabelMatcher::new(&name, op, &value);
            matchers.push(matcher.map_err(|e| self.regex_error(at, &e))?);
        }
        Ok(matchers)
    }

    fn regex_error(&self, at: usize, error: &regex::Error) -> ParseError {
        // Without the picture that `regex` draws.
        let text = error.to_string();
        ParseError::at(self.query, at, format!("error parsing regexp: {}", text.rsplit("error: ").next().unwrap_or(&text)))
    }

    fn string(&mut self) -> Parsed<String> {
        match self.peek().token.clone() {
            Token::Text(text) => {
                self.advance();
                Ok(text)
            }
            _ => self.unexpected("STRING"),
        }
    }

    fn stages(&mut self) -> Parsed<Vec<Stage>> {
        let mut stages = Vec::new();
        loop {
            let Spanned { token, start } = self.peek().clone();
            let op = match token {
                Token::Mark("|=") => LineOp::Contains,
                Token::Mark("!=") => LineOp::NotContains,
                Token::Mark("|~") => LineOp::Matches,
                Token::Mark("!~") => LineOp::NotMatches,
                Token::Mark(pattern @ ("|>" | "!>")) => {
                    return self.fail(start, format!("the pattern filter {pattern} is not supported yet"));
                }
                Token::Mark("|") => {
                    self.advance();
                    stages.push(self.stage()?);
                    continue;
                }
                _ => return Ok(stages),
            };
            self.advance();
            stages.push(Stage::Filter(self.line_filter(op)?));
        }
    }

    fn line_filter(&mut self, op: LineOp) -> Parsed<LineFilter> {
        let mut texts = Vec::new();
        loop {
            let at = self.peek().start;
            if matches!(&self.peek().token, Token::Word(w) if w == "ip") {
                return self.fail(at, "the line filter ip() is not supported yet");
            }
            let text = self.string()?;
            if matches!(op, LineOp::Matches | LineOp::NotMatches) {
                regex::Regex::new(&text).map_err(|e| self.regex_error(at, &e))?;
            }
            texts.push(text);
            if !self.eat_word("or") {
                return Ok(LineFilter { op, texts });
            }
        }
    }

    /// What stands behind `|`.
    fn stage(&mut self) -> Parsed<Stage> {
        let start = self.peek().start;
        if self.is("(") {
            return self.fail(start, "a label filter in parentheses is not supported yet");
        }
        let word = self.label()?;
        let drop = match word.as_str() {
            "drop" => true,
            "keep" => false,
            _ => return self.fail(start, format!("the pipeline stage {word} is not supported yet")),
        };
        let mut names = vec![self.label()?];
        while self.eat(",") {
            names.push(self.label()?);
        }
        if let Token::Mark("=" | "=~" | "!=" | "!~") = self.peek().token
            && matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Text(_)))
            && !matches!(self.peek().token, Token::Mark("!=" | "!~"))
        {
            return self.fail(self.peek().start, format!("{word} with a matcher is not supported yet"));
        }
        Ok(if drop { Stage::Drop(names) } else { Stage::Keep(names) })
    }
}

fn spelling(op: BinaryOp) -> &'static str {
    BinaryOp::SPELLINGS.into_iter().find(|(_, o)| *o == op).map_or("?", |(text, _)| text)
}
