//! Tokens to a query, after `pkg/traceql/expr.y` of Tempo: one precedence parser for everything that may stand between
//! pipes, whose operators then look at what their sides turned out to be.

mod field;
mod metrics;

use crate::ParseError;
use crate::ast::{AggregateOp, Attribute, Metrics, Op, Pipeline, Query, Root, Scalar, ScalarFilter, Spanset, SpansetOp, Stage};
use crate::lexer::{Spanned, Token, lex};
use crate::value::{Static, binary, negated};

/// Longest query that is read, bytes.
pub const MAX_QUERY: usize = 128 << 10;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 128;
/// Most operators in a query.
const MAX_OPERATORS: usize = 1000;

/// Reads a query; does not check its types (see [`crate::parse`]).
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse_unchecked(query: &str) -> Result<Query, ParseError> {
    if query.len() > MAX_QUERY {
        return Err(ParseError::at(query, 0, format!("the query is longer than {MAX_QUERY} bytes")));
    }
    Parser { query, tokens: lex(query)?, at: 0, depth: 0, operators: 0 }.query()
}

/// Reads the name of an attribute or intrinsic: `span.http.method`, `.a`, `status`.
///
/// # Errors
/// As for [`parse_unchecked`].
pub fn parse_identifier(text: &str) -> Result<Attribute, ParseError> {
    let mut parser = Parser { query: text, tokens: lex(text)?, at: 0, depth: 0, operators: 0 };
    let attribute = parser.attribute()?;
    match parser.peek().token {
        Token::End => Ok(attribute),
        _ => parser.unexpected("the end"),
    }
}

pub(crate) struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
    operators: usize,
}

type Parsed<T> = Result<T, ParseError>;

/// What stands between two pipes, or in parentheses.
enum Item {
    /// Filters in braces and what combines them.
    Spanset(Spanset),
    /// A pipeline that was in parentheses, or some of them combined.
    Wrapped(Spanset),
    /// A stage that is no operand.
    Stage(Stage),
    /// Several stages.
    Pipeline(Pipeline),
    Scalar(Scalar),
    Metrics(Metrics),
}

/// How tight an operator binds between pipeline elements.
fn precedence(mark: &str) -> Option<u8> {
    Some(match mark {
        "&&" | "||" => 1,
        "+" | "-" => 3,
        "*" | "/" | "%" => 4,
        "^" => 5,
        _ if SpansetOp::SPELLINGS.iter().any(|(text, _)| *text == mark) => 2,
        _ if Op::parse(mark).is_some_and(Op::is_comparison) => 2,
        _ => return None,
    })
}

impl Parser<'_> {
    fn peek(&self) -> &Spanned {
        // `lex` ends with `End`, which is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Spanned {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn known(&self) -> Option<&'static str> {
        match self.peek().token {
            Token::Known(text) => Some(text),
            _ => None,
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.known() == Some(text);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.eat(text) { Ok(()) } else { self.unexpected(text) }
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::at(self.query, at, message))
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let found = self.peek();
        self.fail(found.start, format!("syntax error: unexpected {}, expecting {expected}", found.token.name()))
    }

    fn deeper(&mut self) -> Parsed<()> {
        if self.depth >= MAX_DEPTH {
            return self.fail(self.peek().start, format!("the query is nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        Ok(())
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return self.fail(self.peek().start, format!("the query has more than {MAX_OPERATORS} operators"));
        }
        Ok(())
    }

    fn query(&mut self) -> Parsed<Query> {
        let item = self.group()?;
        let root = match item {
            Item::Metrics(metrics) => Root::Metrics(metrics),
            Item::Scalar(_) => return self.unexpected("a comparison"),
            other => match self.pipeline_of(other)? {
                Pipeline { stages } if matches!(stages.last(), Some(Stage::Scalar(_))) => {
                    return self.unexpected("a comparison");
                }
                pipeline => Root::Spansets(pipeline),
            },
        };
        let hints = if self.eat("with") { self.hints()? } else { Vec::new() };
        match self.peek().token {
            Token::End => Ok(Query { root, hints }),
            _ => self.unexpected("with"),
        }
    }

    fn hints(&mut self) -> Parsed<Vec<(String, Static<'static>)>> {
        self.expect("(")?;
        let mut hints = Vec::new();
        loop {
            let name = match self.advance().token {
                Token::Other(name) => name,
                Token::Known(name) => name.to_owned(),
                _ => {
                    self.at -= 1;
                    return self.unexpected("IDENTIFIER");
                }
            };
            self.expect("=")?;
            let negative = self.eat("-");
            let Some(value) = self.constant() else { return self.unexpected("a value") };
            hints.push((name, if negative { negated(&value) } else { value }));
            if self.eat(")") {
                return Ok(hints);
            }
            if !self.eat(",") {
                return self.unexpected(") or ,");
            }
        }
    }

    /// Everything up to a closing parenthesis, hints, or the end.
    fn group(&mut self) -> Parsed<Item> {
        self.deeper()?;
        let mut item = match self.stage(true)? {
            Some(stage) => Item::Stage(stage),
            None => self.binary(0, false)?,
        };
        while self.known() == Some("|") {
            item = match item {
                Item::Metrics(metrics) => Item::Metrics(self.second_stage(metrics)?),
                Item::Scalar(_) => return self.unexpected("a comparison"),
                other => {
                    let pipeline = self.pipeline_of(other)?;
                    if matches!(pipeline.stages.last(), Some(Stage::Scalar(_))) {
                        return self.unexpected("a comparison");
                    }
                    self.next_stage(pipeline)?
                }
            };
        }
        self.depth -= 1;
        Ok(item)
    }

    /// What follows a pipe after spansets.
    fn next_stage(&mut self, mut pipeline: Pipeline) -> Parsed<Item> {
        self.at += 1;
        self.count_operator()?;
        if let Some(aggregate) = self.metrics_aggregate()? {
            return self.filters(pipeline, aggregate).map(Item::Metrics);
        }
        let stage = match self.stage(false)? {
            Some(stage) => stage,
            None => match self.binary(0, false)? {
                Item::Spanset(s) | Item::Wrapped(s) => Stage::Spanset(s),
                Item::Stage(stage) => stage,
                Item::Scalar(scalar @ Scalar::Aggregate(..)) => Stage::Scalar(scalar),
                Item::Scalar(_) => return self.unexpected("a comparison"),
                Item::Pipeline(p) => Stage::Spanset(Spanset::Pipeline(p)),
                Item::Metrics(_) => return self.unexpected("a spanset"),
            },
        };
        pipeline.stages.push(stage);
        Ok(Item::Pipeline(pipeline))
    }

    fn pipeline_of(&self, item: Item) -> Parsed<Pipeline> {
        Ok(match item {
            // A pipeline in parentheses around the whole is that pipeline.
            Item::Wrapped(Spanset::Pipeline(p)) | Item::Pipeline(p) => p,
            Item::Spanset(s) | Item::Wrapped(s) => Pipeline { stages: vec![Stage::Spanset(s)] },
            Item::Stage(stage) => Pipeline { stages: vec![stage] },
            Item::Scalar(_) | Item::Metrics(_) => return self.unexpected("a spanset"),
        })
    }

    /// `by(…)`, `select(…)`, `coalesce()`.
    fn stage(&mut self, first: bool) -> Parsed<Option<Stage>> {
        match self.known() {
            Some("by") => {
                self.at += 1;
                self.expect("(")?;
                let expr = self.expression(0)?;
                self.expect(")")?;
                Ok(Some(Stage::By(expr)))
            }
            Some("coalesce") if !first => {
                self.at += 1;
                self.expect("(")?;
                self.expect(")")?;
                Ok(Some(Stage::Coalesce))
            }
            Some("select") => {
                self.at += 1;
                self.attributes().map(|list| Some(Stage::Select(list)))
            }
            _ => Ok(None),
        }
    }

    /// `(a, b, …)`
    fn attributes(&mut self) -> Parsed<Vec<Attribute>> {
        self.expect("(")?;
        let mut list = Vec::new();
        loop {
            list.push(self.attribute()?);
            if self.eat(")") {
                return Ok(list);
            }
            if !self.eat(",") {
                return self.unexpected(") or ,");
            }
        }
    }

    /// Elements and operators that bind tighter than `floor`.
    fn binary(&mut self, floor: u8, spanset_only: bool) -> Parsed<Item> {
        self.deeper()?;
        let mut left = self.primary(spanset_only)?;
        while let Some(mark) = self.known() {
            let Some(tight) = precedence(mark).filter(|p| *p > floor) else { break };
            if !takes(&left, mark) {
                if matches!(left, Item::Scalar(_)) && tight <= 2 {
                    return self.unexpected("a comparison");
                }
                break;
            }
            self.count_operator()?;
            let at = self.advance().start;
            let pure = matches!(left, Item::Spanset(_));
            if matches!(left, Item::Wrapped(_)) && self.known() != Some("(") {
                return self.unexpected("(");
            }
            let right_start = self.at;
            let right = self.binary(tight - u8::from(mark == "^"), pure)?;
            left = match self.combine(left, mark, right, at)? {
                Ok(item) => item,
                Err(()) => {
                    self.at = right_start;
                    return self.unexpected(if pure { "{ or (" } else { "an operand of the same kind" });
                }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    /// `Ok(Err(()))` where the sides do not go together.
    fn combine(&self, left: Item, mark: &str, right: Item, at: usize) -> Parsed<Result<Item, ()>> {
        let spanset_op = || SpansetOp::SPELLINGS.into_iter().find(|(text, _)| *text == mark).map(|(_, op)| op);
        Ok(Ok(match (left, right) {
            (Item::Spanset(l), Item::Spanset(r)) => match spanset_op() {
                Some(op) => Item::Spanset(Spanset::Op(op, Box::new((l, r)))),
                None => return Ok(Err(())),
            },
            (Item::Wrapped(l), Item::Wrapped(r) | Item::Spanset(r)) => match spanset_op() {
                Some(op) => Item::Wrapped(Spanset::Op(op, Box::new((l, r)))),
                None => return Ok(Err(())),
            },
            (Item::Scalar(l), Item::Scalar(r)) => match Op::parse(mark) {
                Some(op) if op.is_comparison() => {
                    let (left, right) = (self.folded(l, at)?, self.folded(r, at)?);
                    Item::Stage(Stage::Filter(ScalarFilter { op, left, right }))
                }
                Some(op) if !op.is_boolean() => Item::Scalar(self.arithmetic(op, l, r, at)?),
                _ => return Ok(Err(())),
            },
            (Item::Metrics(l), Item::Scalar(r)) => match Op::parse(mark) {
                Some(op) if op.is_comparison() => Item::Metrics(self.compare_with(l, op, &r, at)?),
                Some(op) => Item::Metrics(self.metrics_math(op, Ok(l), Err(r), at)?),
                None => return Ok(Err(())),
            },
            (Item::Scalar(l), Item::Metrics(r)) => match Op::parse(mark) {
                Some(op) if matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div) => {
                    Item::Metrics(self.metrics_math(op, Err(l), Ok(r), at)?)
                }
                _ => return Ok(Err(())),
            },
            (Item::Metrics(l), Item::Metrics(r)) => match Op::parse(mark) {
                Some(op) if !op.is_boolean() => Item::Metrics(self.metrics_math(op, Ok(l), Ok(r), at)?),
                _ => return Ok(Err(())),
            },
            _ => return Ok(Err(())),
        }))
    }

    /// Arithmetic between numbers is done at once; durations wait until it is known what they are for.
    fn arithmetic(&self, op: Op, left: Scalar, right: Scalar, at: usize) -> Parsed<Scalar> {
        if let (Scalar::Static(l), Scalar::Static(r)) = (&left, &right)
            && !matches!((l, r), (Static::Duration(_), _) | (_, Static::Duration(_)))
        {
            return match binary(op, l, r, None) {
                Ok(value) => Ok(Scalar::Static(value)),
                Err(reason) => self.fail(at, reason),
            };
        }
        Ok(Scalar::Op(op, Box::new((left, right))))
    }

    fn folded(&self, scalar: Scalar, at: usize) -> Parsed<Scalar> {
        let Scalar::Op(op, sides) = scalar else { return Ok(scalar) };
        let (left, right) = (self.folded(sides.0, at)?, self.folded(sides.1, at)?);
        if let (Scalar::Static(l), Scalar::Static(r)) = (&left, &right) {
            return match binary(op, l, r, None) {
                Ok(value) => Ok(Scalar::Static(value)),
                Err(reason) => self.fail(at, reason),
            };
        }
        Ok(Scalar::Op(op, Box::new((left, right))))
    }

    fn primary(&mut self, spanset_only: bool) -> Parsed<Item> {
        match self.known() {
            Some("{") => return self.braces().map(|e| Item::Spanset(Spanset::Filter(e))),
            Some("(") => {
                self.at += 1;
                let item = if spanset_only { self.binary(0, true)? } else { self.group()? };
                if !self.eat(")") {
                    return self.unexpected(") or |");
                }
                return Ok(match item {
                    Item::Pipeline(p) if matches!(p.stages.last(), Some(Stage::Scalar(_))) => Item::Scalar(Scalar::Pipeline(p)),
                    Item::Pipeline(p) => Item::Wrapped(Spanset::Pipeline(p)),
                    Item::Stage(stage) => Item::Wrapped(Spanset::Pipeline(Pipeline { stages: vec![stage] })),
                    other => other,
                });
            }
            _ if spanset_only => return self.unexpected("{ or ("),
            Some("-") => {
                self.at += 1;
                let value = match self.peek().token {
                    Token::Int(_) | Token::Float(_) | Token::Duration(_) => self.constant(),
                    _ => None,
                };
                return match value {
                    Some(value) => Ok(Item::Scalar(Scalar::Static(negated(&value)))),
                    None => self.unexpected("INTEGER or FLOAT or DURATION"),
                };
            }
            Some(word) => {
                if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == word) {
                    self.at += 1;
                    self.expect("(")?;
                    let expr = if op == AggregateOp::Count { None } else { Some(self.expression(0)?) };
                    self.expect(")")?;
                    return Ok(Item::Scalar(Scalar::Aggregate(op, expr)));
                }
            }
            None => {
                if matches!(self.peek().token, Token::Int(_) | Token::Float(_) | Token::Duration(_))
                    && let Some(value) = self.constant()
                {
                    return Ok(Item::Scalar(Scalar::Static(value)));
                }
            }
        }
        self.unexpected("{ or ( or an aggregate")
    }
}

/// Whether an operator may follow what stands on its left.
fn takes(left: &Item, mark: &str) -> bool {
    let arithmetic = matches!(mark, "+" | "-" | "*" | "/" | "%" | "^");
    let comparison = Op::parse(mark).is_some_and(Op::is_comparison);
    match left {
        Item::Spanset(_) | Item::Wrapped(_) => SpansetOp::SPELLINGS.iter().any(|(text, _)| *text == mark),
        Item::Scalar(_) => arithmetic || comparison,
        Item::Metrics(_) => comparison || matches!(mark, "+" | "-" | "*" | "/"),
        Item::Stage(_) | Item::Pipeline(_) => false,
    }
}
