//! Types: what an operator or a function takes.

use crate::ast::{AggregateOp, BinaryOp, Expr, Node, Type};
use crate::functions::Function;
use crate::{ParseError, ast::Binary};

/// Whether `function` takes `given` arguments.
pub(crate) fn arity(query: &str, function: &Function, at: usize, given: usize) -> Result<(), ParseError> {
    let most = function.args.len();
    let least = most - function.optional;
    let name = function.name;
    let message = if function.variadic {
        if given >= least {
            return Ok(());
        }
        format!("expected at least {least} argument(s) in call to {name:?}, got {given}")
    } else if least == most && given != most {
        format!("expected {most} argument(s) in call to {name:?}, got {given}")
    } else if given < least {
        format!("expected at least {least} argument(s) in call to {name:?}, got {given}")
    } else if given > most {
        format!("expected at most {most} argument(s) in call to {name:?}, got {given}")
    } else {
        return Ok(());
    };
    Err(ParseError::at(query, at, message))
}

/// Whether an operator fits its operands; `matched` is where `on` or `ignoring` was written.
pub(crate) fn binary(
    query: &str,
    op: BinaryOp,
    at: usize,
    left: &Expr,
    right: &Expr,
    returns_bool: bool,
    matched: Option<usize>,
) -> Result<(), ParseError> {
    let fail = |at, message: &str| Err(ParseError::at(query, at, message));
    for side in [left, right] {
        if !matches!(side.value_type(), Type::Scalar | Type::Vector) {
            return fail(side.start, "binary expression must contain only scalar and instant vector types");
        }
    }
    let vectors = left.value_type() == Type::Vector && right.value_type() == Type::Vector;
    if op.is_comparison() && !returns_bool && left.value_type() == Type::Scalar && right.value_type() == Type::Scalar {
        return fail(at, "comparisons between scalars must use BOOL modifier");
    }
    if op.is_set() && !vectors {
        return fail(at, &format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
    }
    match matched {
        Some(at) if !vectors => fail(at, "vector matching only allowed between instant vectors"),
        _ => Ok(()),
    }
}

/// Whether the arguments of all calls and aggregations have the types they should.
pub(crate) fn types(query: &str, expr: &Expr) -> Result<(), ParseError> {
    let expect = |expr: &Expr, wanted: Type, context: &str| {
        let got = expr.value_type();
        if got == wanted {
            return Ok(());
        }
        let message = format!("expected type {} in {context}, got {}", wanted.as_str(), got.as_str());
        Err(ParseError::at(query, expr.start, message))
    };
    match &expr.node {
        Node::Number(_) | Node::Text(_) | Node::Selector(_) | Node::Range { .. } => Ok(()),
        Node::Subquery { expr, .. } | Node::Negate(expr) | Node::Paren(expr) => types(query, expr),
        Node::Call { function, args } => {
            for (i, arg) in args.iter().enumerate() {
                types(query, arg)?;
                let Some(wanted) = function.args.get(i).or(function.args.last()) else { continue };
                expect(arg, *wanted, &format!("call to function {:?}", function.name))?;
            }
            Ok(())
        }
        Node::Aggregate { op, expr, param, .. } => {
            types(query, expr)?;
            expect(expr, Type::Vector, "aggregation expression")?;
            if let Some(param) = param {
                types(query, param)?;
                let wanted = if *op == AggregateOp::CountValues { Type::Text } else { Type::Scalar };
                expect(param, wanted, "aggregation parameter")?;
            }
            Ok(())
        }
        Node::Binary(binary) => {
            let Binary { left, right, .. } = &**binary;
            types(query, left)?;
            types(query, right)
        }
    }
}
