//! The value of an expression for one span.

use model::{SpanId, TraceId};
use regex::Regex;

use crate::ast::{Attribute, Expr, Intrinsic, Node, Op, UnaryOp};
use crate::value::{Static, anchored, binary, negated};

/// An expression whose attributes are numbered and whose patterns are compiled.
#[derive(Debug, Clone)]
pub(crate) enum Code {
    Const(Static<'static>),
    Slot(usize),
    Binary(Op, Box<(Code, Code)>, Option<Regex>),
    Unary(UnaryOp, Box<Code>),
}

/// Numbers the attributes of `expr` by `slot`.
pub(crate) fn compile(expr: &Expr, slot: &mut dyn FnMut(&Attribute) -> usize) -> Code {
    match &expr.node {
        Node::Static(value) => Code::Const(value.clone()),
        Node::Attribute(a) => Code::Slot(slot(a)),
        Node::Unary(op, inner) => Code::Unary(*op, Box::new(compile(inner, slot))),
        Node::Binary(op, sides) => {
            let regex = match &sides.1.node {
                Node::Static(Static::Text(pattern)) if matches!(op, Op::Matches | Op::NotMatches) => anchored(pattern).ok(),
                _ => None,
            };
            let mut left = compile(&sides.0, slot);
            let mut right = compile(&sides.1, slot);
            // Ids compare as ids: short ones are padded.
            if let (Node::Attribute(a), Code::Const(value)) = (&sides.0.node, &mut right) {
                full_id(a, value);
            }
            if let (Code::Const(value), Node::Attribute(a)) = (&mut left, &sides.1.node) {
                full_id(a, value);
            }
            Code::Binary(*op, Box::new((left, right)), regex)
        }
    }
}

/// Writes a constant that is compared with an id as [`crate::spans`] writes the id.
pub(crate) fn full_id(attribute: &Attribute, value: &mut Static<'static>) {
    let Static::Text(text) = value else { return };
    let full = match attribute.intrinsic {
        Some(Intrinsic::TraceId | Intrinsic::LinkTraceId) => text.parse::<TraceId>().ok().map(|id| id.to_string()),
        Some(Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId) => {
            text.parse::<SpanId>().ok().map(|id| id.to_string())
        }
        _ => None,
    };
    if let Some(full) = full {
        *value = Static::text(full);
    }
}

/// The value of `code`, with those of its attributes from `value`.
///
/// # Errors
/// An integer divided by zero.
pub(crate) fn evaluate<'s>(code: &'s Code, value: &dyn Fn(usize) -> Static<'s>) -> Result<Static<'s>, &'static str> {
    Ok(match code {
        Code::Const(v) => v.borrowed(),
        Code::Slot(slot) => value(*slot),
        Code::Unary(op, inner) => {
            let inner = evaluate(inner, value)?;
            match (op, inner) {
                (UnaryOp::Exists, v) => Static::Bool(v != Static::Nil),
                (UnaryOp::NotExists, v) => Static::Bool(v == Static::Nil),
                (UnaryOp::Not, Static::Bool(b)) => Static::Bool(!b),
                (UnaryOp::Not, _) => Static::Nil,
                (UnaryOp::Negate, v) => negated(&v),
            }
        }
        Code::Binary(op, sides, regex) => {
            let left = evaluate(&sides.0, value)?;
            match (op, &left) {
                (Op::And, Static::Bool(false)) => return Ok(Static::Bool(false)),
                (Op::Or, Static::Bool(true)) => return Ok(Static::Bool(true)),
                _ => {}
            }
            binary(*op, &left, &evaluate(&sides.1, value)?, regex.as_ref())?
        }
    })
}

/// The value of an expression that reads nothing of a span.
///
/// # Errors
/// As for [`evaluate`].
pub(crate) fn constant(expr: &Expr) -> Result<Static<'static>, &'static str> {
    let code = compile(expr, &mut |_| 0);
    evaluate(&code, &|_| Static::Nil).map(Static::into_owned)
}
