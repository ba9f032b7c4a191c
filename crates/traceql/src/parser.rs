//! Tokens to a query: a Pratt parser after `pkg/traceql/expr.y` of Tempo.

use crate::ParseError;
use crate::ast::{Binary, Expr, Intrinsic, KINDS, Node, Op, Query, STATUSES, Static, Type};
use crate::lexer::{Spanned, Token, lex};

/// Longest query that is read, bytes.
pub const MAX_QUERY: usize = 128 << 10;
/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 128;

/// Reads a query and checks its types.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong, or of what this version does not know yet.
pub fn parse(query: &str) -> Result<Query, ParseError> {
    if query.len() > MAX_QUERY {
        return Err(ParseError::at(query, 0, format!("the query is longer than {MAX_QUERY} bytes")));
    }
    Parser { query, tokens: lex(query)?, at: 0, depth: 0 }.query()
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

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

    fn eat(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek().token, Token::Mark(m) if m == mark);
        self.at += usize::from(found);
        found
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::at(self.query, at, message))
    }

    fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let found = self.peek();
        self.fail(found.start, format!("unexpected {}, expected {expected}", found.token.name()))
    }

    fn expect(&mut self, mark: &str) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.unexpected(mark) }
    }

    fn query(&mut self) -> Parsed<Query> {
        if !matches!(self.peek().token, Token::Mark("{") | Token::End) {
            return self
                .fail(self.peek().start, format!("a query that starts with {} is not supported yet", self.peek().token.name()));
        }
        let filter = self.spanset()?;
        let mut select = Vec::new();
        loop {
            let Spanned { token, start } = self.advance();
            match token {
                Token::End => return Ok(Query { filter, select }),
                Token::Mark("|") => match self.advance() {
                    Spanned { token: Token::Word(w), .. } if w == "select" => self.select(&mut select)?,
                    Spanned { token: Token::End, start } => return self.fail(start, "unexpected end of the query after |"),
                    Spanned { token, start } => {
                        return self.fail(start, format!("the pipeline stage {} is not supported yet", token.name()));
                    }
                },
                Token::Mark(m @ ("&&" | "||" | ">" | "<" | ">>" | "<<" | "~")) => {
                    return self.fail(start, format!("the spanset operator {m} is not supported yet"));
                }
                Token::Mark(m) if m.len() > 1 && (m.starts_with('&') || m.starts_with('!')) => {
                    return self.fail(start, format!("the spanset operator {m} is not supported yet"));
                }
                Token::Word(w) if w == "with" => return self.fail(start, "query hints (with) are not supported yet"),
                other => return self.fail(start, format!("unexpected {}, expected | or the end", other.name())),
            }
        }
    }

    fn spanset(&mut self) -> Parsed<Option<Expr>> {
        self.expect("{")?;
        if self.eat("}") {
            return Ok(None);
        }
        let (expr, _) = self.expression(0)?;
        self.expect("}")?;
        if !matches!(expr.value_type(), Type::Bool | Type::Any) {
            return self.fail(expr.start, "span filter field expressions must resolve to a boolean");
        }
        Ok(Some(expr))
    }

    fn select(&mut self, out: &mut Vec<Expr>) -> Parsed<()> {
        self.expect("(")?;
        loop {
            let (expr, _) = self.operand()?;
            if !matches!(expr.node, Node::Attribute { .. } | Node::Intrinsic(_)) {
                return self.fail(expr.start, "select() takes attributes");
            }
            out.push(expr);
            if self.eat(")") {
                return Ok(());
            }
            self.expect(",")?;
        }
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
        let (mut left, mut depth) = self.operand()?;
        loop {
            let Token::Mark(mark) = self.peek().token else { return Ok((left, depth)) };
            let op = Op::SPELLINGS.into_iter().find(|(text, op)| *text == mark && op.precedence() > floor).map(|(_, op)| op);
            let Some(op) = op else { return Ok((left, depth)) };
            let at = self.advance().start;
            let (right, right_depth) = self.expression(op.precedence() - u8::from(op == Op::Pow))?;
            depth = self.deeper(depth.max(right_depth), at)?;
            self.check(op, &left, &right, at)?;
            let start = left.start;
            left = Expr { node: Node::Binary(Box::new(Binary { op, left, right })), start };
        }
    }

    /// Whether an operator fits the types of its operands.
    fn check(&self, op: Op, left: &Expr, right: &Expr, at: usize) -> Parsed<()> {
        let (l, r) = (left.value_type(), right.value_type());
        let fits = |t: Type| match op {
            Op::Or | Op::And => t == Type::Bool,
            Op::Eq | Op::Ne => true,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => matches!(t, Type::Number | Type::Text),
            Op::Matches | Op::NotMatches => t == Type::Text,
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow => t == Type::Number,
        };
        let comparable =
            l == r || l == Type::Any || r == Type::Any || (matches!(op, Op::Eq | Op::Ne) && (l == Type::Nil || r == Type::Nil));
        if !comparable {
            return self.fail(at, format!("binary operations must operate on the same type: {l:?} {} {r:?}", op.as_str()));
        }
        if let Some(t) = [l, r].into_iter().find(|t| *t != Type::Any && !fits(*t)) {
            return self.fail(at, format!("illegal operation for the given types: {} with {t:?}", op.as_str()));
        }
        for (side, other) in [(left, right), (right, left)] {
            let service = matches!(&side.node, Node::Attribute { scope: crate::AttributeScope::Resource, name, .. } if name == "service.name");
            let always = service || matches!(side.node, Node::Intrinsic(i) if i != Intrinsic::Parent);
            if op == Op::Eq && always && other.node == Node::Static(Static::Nil) {
                return self.fail(at, "= nil is not valid because intrinsics and resource.service.name cannot be nil");
            }
        }
        if let (Op::Matches | Op::NotMatches, Node::Static(Static::Text(pattern))) = (op, &right.node)
            && let Err(e) = crate::compile::anchored(pattern)
        {
            let text = e.to_string();
            // Without the picture that `regex` draws.
            let reason = text.rsplit("error: ").next().unwrap_or(&text);
            return self.fail(right.start, format!("invalid regular expression: {reason}"));
        }
        Ok(())
    }

    fn operand(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.peek().start;
        self.depth = self.deeper(self.depth, start)?;
        let result = self.nested_operand(start);
        self.depth -= 1;
        result
    }

    fn nested_operand(&mut self, start: usize) -> Parsed<(Expr, usize)> {
        let node = match self.advance().token {
            Token::Mark("(") => {
                let (inner, depth) = self.expression(0)?;
                self.expect(")")?;
                return Ok((inner, self.deeper(depth, start)?));
            }
            Token::Mark("!") => {
                let (inner, depth) = self.operand()?;
                if !matches!(inner.value_type(), Type::Bool | Type::Any) {
                    return self.fail(start, "illegal operation for the given type: ! needs a boolean");
                }
                return Ok((Expr { node: Node::Not(Box::new(inner)), start }, self.deeper(depth, start)?));
            }
            Token::Mark("-") => {
                let (inner, depth) = self.operand()?;
                let node = match inner.node {
                    Node::Static(Static::Int(i)) => Node::Static(Static::Int(i.wrapping_neg())),
                    Node::Static(Static::Float(f)) => Node::Static(Static::Float(-f)),
                    Node::Static(Static::Duration(d)) => Node::Static(Static::Duration(d.wrapping_neg())),
                    _ if matches!(inner.value_type(), Type::Number | Type::Any) => Node::Negate(Box::new(inner)),
                    _ => return self.fail(start, "illegal operation for the given type: - needs a number"),
                };
                return Ok((Expr { node, start }, self.deeper(depth, start)?));
            }
            Token::Text(text) => Node::Static(Static::Text(text)),
            Token::Int(i) => Node::Static(Static::Int(i)),
            Token::Float(f) => Node::Static(Static::Float(f)),
            Token::Duration(ns) => Node::Static(Static::Duration(ns)),
            Token::Attribute { scope, parent, name } => Node::Attribute { scope, parent, name },
            Token::Word(word) => match word_node(&word) {
                Some(node) => node,
                None => return self.fail(start, format!("unexpected {word}, expected an attribute, an intrinsic or a value")),
            },
            other => {
                return self.fail(start, format!("unexpected {}, expected an attribute, an intrinsic or a value", other.name()));
            }
        };
        Ok((Expr { node, start }, 1))
    }
}

/// What a bare word means.
fn word_node(word: &str) -> Option<Node> {
    let number = |names: &[&str]| names.iter().position(|n| *n == word).map(|i| i as i64);
    Some(match word {
        "true" => Node::Static(Static::Bool(true)),
        "false" => Node::Static(Static::Bool(false)),
        "nil" => Node::Static(Static::Nil),
        "minInt" => Node::Static(Static::Int(i64::MIN)),
        "maxInt" => Node::Static(Static::Int(i64::MAX)),
        _ => match (number(&STATUSES), number(&KINDS)) {
            (Some(status), _) => Node::Static(Static::Status(status)),
            (_, Some(kind)) => Node::Static(Static::Kind(kind)),
            _ => Node::Intrinsic(Intrinsic::parse(word)?),
        },
    })
}
