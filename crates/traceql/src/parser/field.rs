//! Expressions over one span.

use super::{Parsed, Parser};
use crate::ast::{Attribute, Expr, Intrinsic, Node, Op, UnaryOp};
use crate::check;
use crate::eval::constant;
use crate::lexer::Token;
use crate::value::{KINDS, STATUSES, Static};

/// How tight an operator binds.
fn precedence(op: Op) -> u8 {
    match op {
        Op::And | Op::Or => 1,
        Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Matches | Op::NotMatches => 2,
        Op::Add | Op::Sub => 3,
        Op::Mul | Op::Div | Op::Mod => 5,
        Op::Pow => 6,
    }
}

/// `!` binds tighter than `+`, `-` as it does.
const NOT: u8 = 4;
const MINUS: u8 = 3;

/// What may follow `trace:` and the like, in the order in which errors name it.
fn scoped(scope: &str) -> &'static [(&'static str, Intrinsic)] {
    match scope {
        "trace:" => &[
            ("duration", Intrinsic::TraceDuration),
            ("rootName", Intrinsic::RootName),
            ("rootService", Intrinsic::RootService),
            ("id", Intrinsic::TraceId),
        ],
        "span:" => &[
            ("duration", Intrinsic::Duration),
            ("childCount", Intrinsic::ChildCount),
            ("name", Intrinsic::Name),
            ("status", Intrinsic::Status),
            ("statusMessage", Intrinsic::StatusMessage),
            ("kind", Intrinsic::Kind),
            ("id", Intrinsic::SpanId),
            ("parentID", Intrinsic::ParentId),
        ],
        "event:" => &[("name", Intrinsic::EventName), ("timeSinceStart", Intrinsic::EventTimeSinceStart)],
        "link:" => &[("traceID", Intrinsic::LinkTraceId), ("spanID", Intrinsic::LinkSpanId)],
        _ => &[("name", Intrinsic::InstrumentationName), ("version", Intrinsic::InstrumentationVersion)],
    }
}

impl Parser<'_> {
    /// `{ … }`
    pub(super) fn braces(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        self.expect("{")?;
        if self.eat("}") {
            return Ok(Expr { node: Node::Static(Static::Bool(true)), start });
        }
        let expr = self.expression(0)?;
        self.expect("}")?;
        Ok(expr)
    }

    /// Operands and operators that bind tighter than `floor`.
    pub(super) fn expression(&mut self, floor: u8) -> Parsed<Expr> {
        self.deeper()?;
        let mut left = self.operand()?;
        while let Some(op) = self.known().and_then(Op::parse) {
            if precedence(op) <= floor {
                break;
            }
            self.count_operator()?;
            self.at += 1;
            let right = self.expression(precedence(op) - u8::from(op == Op::Pow))?;
            left = combined(op, left, right);
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        for (mark, op, floor) in [("-", UnaryOp::Negate, MINUS), ("!", UnaryOp::Not, NOT)] {
            if self.eat(mark) {
                self.count_operator()?;
                let inner = self.expression(floor)?;
                return Ok(folded(Expr { node: Node::Unary(op, Box::new(inner)), start }));
            }
        }
        if self.eat("(") {
            let inner = self.expression(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if let Some(value) = self.constant() {
            return Ok(Expr { node: Node::Static(value), start });
        }
        self.attribute().map(|a| Expr { node: Node::Attribute(a), start })
    }

    /// A constant, if one stands here.
    pub(super) fn constant(&mut self) -> Option<Static<'static>> {
        let number = |names: &[&str], word: &str| names.iter().position(|n| *n == word).map(|i| i as i64);
        let value = match &self.peek().token {
            Token::Text(text) => Static::text(text.clone()),
            Token::Int(i) => Static::Int(*i),
            Token::Float(f) => Static::Float(*f),
            Token::Duration(ns) => Static::Duration(*ns),
            Token::Known(word) => match *word {
                "true" => Static::Bool(true),
                "false" => Static::Bool(false),
                "nil" => Static::Nil,
                "minInt" => Static::Int(i64::MIN),
                "maxInt" => Static::Int(i64::MAX),
                word => number(&STATUSES, word).map(Static::Status).or_else(|| number(&KINDS, word).map(Static::Kind))?,
            },
            _ => return None,
        };
        self.at += 1;
        Some(value)
    }

    /// An attribute or intrinsic.
    pub(super) fn attribute(&mut self) -> Parsed<Attribute> {
        let spanned = self.peek().clone();
        match &spanned.token {
            Token::Attribute { scope, parent, name } => {
                self.at += 1;
                let bare = *parent && scope.as_str().is_empty();
                let intrinsic = Intrinsic::SPELLINGS.into_iter().find(|(text, _)| bare && text == name).map(|(_, i)| i);
                let name = if intrinsic.is_some() { String::new() } else { name.clone() };
                Ok(Attribute { scope: *scope, parent: *parent, name, intrinsic })
            }
            Token::Known(scope) if scope.ends_with(':') => {
                self.at += 1;
                let allowed = scoped(scope);
                match self.known().and_then(|word| allowed.iter().find(|(text, _)| *text == word)) {
                    Some((_, intrinsic)) => {
                        self.at += 1;
                        Ok(Attribute::intrinsic(*intrinsic))
                    }
                    None => self.unexpected(&allowed.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(" or ")),
                }
            }
            Token::Known(word) => match Intrinsic::SPELLINGS.into_iter().find(|(text, _)| text == word) {
                Some((_, intrinsic)) => {
                    self.at += 1;
                    Ok(Attribute::intrinsic(intrinsic))
                }
                None => self.unexpected("an attribute, an intrinsic or a value"),
            },
            Token::Other(word) if word.starts_with(|c: char| c == '_' || c.is_alphabetic()) => {
                self.fail(spanned.start, format!("unknown identifier: {word}"))
            }
            _ => self.unexpected("an attribute, an intrinsic or a value"),
        }
    }
}

fn combined(op: Op, left: Expr, right: Expr) -> Expr {
    let start = left.start;
    let is_nil = |e: &Expr| e.node == Node::Static(Static::Nil);
    let is_attribute = |e: &Expr| matches!(e.node, Node::Attribute(_));
    if matches!(op, Op::Eq | Op::Ne) && (is_nil(&left) && is_attribute(&right) || is_nil(&right) && is_attribute(&left)) {
        let unary = if op == Op::Eq { UnaryOp::NotExists } else { UnaryOp::Exists };
        let inner = if is_nil(&left) { right } else { left };
        return Expr { node: Node::Unary(unary, Box::new(inner)), start };
    }
    folded(Expr { node: Node::Binary(op, Box::new((left, right))), start })
}

/// Its value, where it is a valid expression of constants.
fn folded(expr: Expr) -> Expr {
    if check::references_span(&expr) || check::expression(&expr).is_err() {
        return expr;
    }
    match constant(&expr) {
        Ok(value) => Expr { node: Node::Static(value), start: expr.start },
        Err(_) => expr,
    }
}
