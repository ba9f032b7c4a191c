//! Tokens to expressions: Loki's grammar by recursive descent. Errors say what Loki's parser says: up to four tokens that were
//! expected where it knows so few.

mod labels;
mod metric;
mod stages;

use store::{LabelMatcher, MatchOp};

use crate::ParseError;
use crate::ast::{Expr, LogQuery};
use crate::lexer::{Spanned, Token, lex};

/// Longest query, bytes.
pub const MAX_QUERY: usize = 131_072;
/// How deep expressions nest.
const MAX_DEPTH: usize = 200;
/// How many operators a query has: a row of them nests to the left.
const MAX_OPERATORS: usize = 500;

type Parsed<T> = Result<T, ParseError>;

/// The expression that `query` says, checked as far as it can be without data.
///
/// # Errors
/// What is wrong and where, in Loki's words.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expr(0)?;
    parser.expect_end()?;
    validate(&expr)?;
    Ok(expr)
}

/// The matchers of a selector, `{}` being none.
///
/// # Errors
/// What is wrong and where, in Loki's words.
pub fn parse_matchers(query: &str) -> Result<Vec<LabelMatcher>, ParseError> {
    let mut parser = Parser::new(query)?;
    let matchers = parser.selector()?;
    parser.expect_end()?;
    Ok(matchers)
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn new(query: &str) -> Parsed<Self> {
        if query.len() >= MAX_QUERY {
            return Err(ParseError::anywhere(format!("input size too long ({} > {MAX_QUERY})", query.len())));
        }
        Ok(Self { tokens: lex(query), at: 0, depth: 0, operators: 0 })
    }

    fn peek(&self) -> &Spanned {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn token(&self) -> &Token {
        &self.peek().token
    }

    fn advance(&mut self) -> Spanned {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// The token here is none of those that could stand here; `expected` are at most four of them, or none where there are more.
    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let here = self.peek();
        if let Token::Bad(message) = &here.token {
            return Err(here.error(message.clone()));
        }
        let expecting = if expected.is_empty() { String::new() } else { format!(", expecting {expected}") };
        Err(here.error(format!("syntax error: unexpected {}{expecting}", here.token.name())))
    }

    fn is_mark(&self, mark: &str) -> bool {
        matches!(self.token(), Token::Mark(m) if *m == mark)
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.token(), Token::Keyword(k) if *k == word)
    }

    fn eat(&mut self, mark: &str) -> bool {
        let there = self.is_mark(mark);
        if there {
            self.advance();
        }
        there
    }

    fn eat_keyword(&mut self, word: &str) -> bool {
        let there = self.is_keyword(word);
        if there {
            self.advance();
        }
        there
    }

    fn expect(&mut self, mark: &str, expected: &str) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.unexpected(expected) }
    }

    fn expect_end(&self) -> Parsed<()> {
        if *self.token() == Token::End { Ok(()) } else { self.unexpected("") }
    }

    fn string(&mut self, expected: &str) -> Parsed<String> {
        match self.token() {
            Token::Str(text) => {
                let text = text.clone();
                self.advance();
                Ok(text)
            }
            _ => self.unexpected(expected),
        }
    }

    fn identifier(&mut self, expected: &str) -> Parsed<String> {
        match self.token() {
            Token::Identifier(name) => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => self.unexpected(expected),
        }
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.peek().error("the query nests too deep"));
        }
        Ok(())
    }

    /// Counts an operator.
    fn operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(self.peek().error(format!("the query has more than {MAX_OPERATORS} operators")));
        }
        Ok(())
    }

    /// `{a="b", c=~"d"}`
    fn selector(&mut self) -> Parsed<Vec<LabelMatcher>> {
        self.expect("{", "")?;
        let mut matchers = Vec::new();
        if self.eat("}") {
            return Ok(matchers);
        }
        let mut expected = "IDENTIFIER or }";
        loop {
            let name = self.identifier(expected)?;
            matchers.push(self.matcher(&name, "= or =~ or !~ or !=")?);
            if self.eat("}") {
                return Ok(matchers);
            }
            self.expect(",", "} or ,")?;
            expected = "IDENTIFIER";
        }
    }

    /// What follows a label's name in a matcher.
    fn matcher(&mut self, name: &str, expected: &str) -> Parsed<LabelMatcher> {
        let op = match self.token() {
            Token::Mark("=") => MatchOp::Eq,
            Token::Mark("!=") => MatchOp::Ne,
            Token::Mark("=~") => MatchOp::Re,
            Token::Mark("!~") => MatchOp::NotRe,
            _ => return self.unexpected(expected),
        };
        self.advance();
        let value = self.string("STRING")?;
        label_matcher(name, op, &value)
    }
}

/// A matcher; a bad pattern is an error without a place.
pub(crate) fn label_matcher(name: &str, op: MatchOp, value: &str) -> Parsed<LabelMatcher> {
    LabelMatcher::new(name, op, value).map_err(|e| ParseError::anywhere(syntax::go_regexp_error(value, &e.to_string())))
}

fn validate(expr: &Expr) -> Parsed<()> {
    match expr {
        Expr::Log(log) => selects(log),
        Expr::Range(range) => {
            metric::check_range(range)?;
            selects(&range.log)
        }
        Expr::Aggregate(aggregation) => validate(&aggregation.expr),
        Expr::Binary(binary) => {
            validate(&binary.left)?;
            validate(&binary.right)
        }
        Expr::LabelReplace(replace) => validate(&replace.expr),
        Expr::Variants(variants) => {
            selects(&variants.lines)?;
            variants.variants.iter().try_for_each(validate)
        }
        Expr::Number(_) | Expr::Vector(_) => Ok(()),
    }
}

/// A selector of everything would read everything.
fn selects(log: &LogQuery) -> Parsed<()> {
    if log.matchers.is_empty() || log.matchers.iter().any(|m| !m.matches("")) {
        return Ok(());
    }
    Err(ParseError::anywhere(
        "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, \
         app=~\".*\" does not meet this requirement, but app=~\".+\" will",
    ))
}
