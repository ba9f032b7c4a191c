//! What the grammar allows and the types do not, after `checkAST` of the reference, in its order.

use crate::ParseError;
use crate::ast::{AggregateOp, Binary, Expr, Node, Selector, Side, Type};
use crate::functions::Function;

type Checked = Result<(), ParseError>;

/// Whether operators, functions and aggregations have what they need.
pub(crate) fn check(query: &str, expr: &Expr) -> Checked {
    match &expr.node {
        Node::Number { .. } | Node::Text(_) => Ok(()),
        Node::Selector(s) => selector(query, s, expr.start, true),
        Node::Range { selector: s, .. } => selector(query, s, expr.start, true),
        Node::Paren(inner) => check(query, inner),
        Node::Unary { expr: inner, .. } => {
            check(query, inner)?;
            let got = inner.value_type();
            if matches!(got, Type::Scalar | Type::Vector) {
                return Ok(());
            }
            let message =
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {:?}", got.as_str());
            Err(ParseError::at(query, expr.start, message))
        }
        Node::Subquery { expr: inner, .. } => {
            check(query, inner)?;
            let got = inner.value_type();
            if got == Type::Vector {
                return Ok(());
            }
            let message = format!("subquery is only allowed on instant vector, got {} instead", got.name());
            Err(ParseError::at(query, expr.start, message))
        }
        Node::Aggregate { op, expr: inner, param, .. } => {
            expect(query, inner, Type::Vector, "aggregation expression")?;
            match param {
                Some(p) if *op == AggregateOp::CountValues => expect(query, p, Type::Text, "aggregation parameter"),
                Some(p) => expect(query, p, Type::Scalar, "aggregation parameter"),
                None => Ok(()),
            }
        }
        Node::Binary(b) => binary(query, b),
        Node::Call { function, args } => call(query, function, args, expr.start),
    }
}

/// Checks `expr` and that it has the type `wanted`.
fn expect(query: &str, expr: &Expr, wanted: Type, context: &str) -> Checked {
    check(query, expr)?;
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.as_str(), got.as_str());
    Err(ParseError::at(query, expr.start, message))
}

fn selector(query: &str, selector: &Selector, start: usize, needs_matcher: bool) -> Checked {
    if let (Some(name), [inside @ .., _]) = (&selector.name, selector.matchers.as_slice()) {
        return match inside.iter().find(|m| m.name == "__name__") {
            Some(other) => {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value);
                Err(ParseError::at(query, start, message))
            }
            None => Ok(()),
        };
    }
    if needs_matcher && selector.matchers.iter().all(|m| m.matches("")) {
        return Err(ParseError::at(query, start, "vector selector must contain at least one non-empty matcher"));
    }
    Ok(())
}

fn binary(query: &str, b: &Binary) -> Checked {
    let Binary { op, op_start, left, right, returns_bool, matching } = b;
    check(query, left)?;
    check(query, right)?;
    let fail = |at, message: String| Err(ParseError::at(query, at, message));
    let (lt, rt) = (left.value_type(), right.value_type());
    if *returns_bool && !op.is_comparison() {
        return fail(*op_start, "bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !returns_bool && (lt, rt) == (Type::Scalar, Type::Scalar) {
        return fail(*op_start, "comparisons between scalars must use BOOL modifier".to_owned());
    }
    if matching.on
        && let Some(label) = matching.labels.iter().find(|l| matching.include.contains(l))
    {
        return fail(*op_start, format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for side in [left, right] {
        if !matches!(side.value_type(), Type::Scalar | Type::Vector) {
            return fail(side.start, "binary expression must contain only scalar and instant vector types".to_owned());
        }
    }
    let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if (lt, rt) != (Type::Vector, Type::Vector) {
        if !matching.labels.is_empty() {
            return fail(left.start, "vector matching only allowed between instant vectors".to_owned());
        }
        if filled {
            return fail(left.start, "filling in missing series only allowed between instant vectors".to_owned());
        }
        if op.is_set() {
            return fail(left.start, format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
        }
        if op.is_trim() && lt == Type::Scalar && rt == Type::Scalar {
            return fail(left.start, format!("operator {:?} not allowed for Scalar operations", op.as_str()));
        }
    } else if op.is_set() {
        if matches!(matching.many, Some(Side::Left | Side::Right)) {
            return fail(left.start, format!("no grouping allowed for {:?} operation", op.as_str()));
        }
        if filled {
            return fail(left.start, "filling in missing series not allowed for set operators".to_owned());
        }
    }
    Ok(())
}

fn call(query: &str, function: &Function, args: &[Expr], start: usize) -> Checked {
    let fail = |at, message: String| Err(ParseError::at(query, at, message));
    let (listed, given, name) = (function.args.len(), args.len(), function.name);
    let least = listed - function.optional;
    let most = function.repeats.map(|repeats| listed + repeats);
    if function.optional == 0 && most == Some(listed) {
        if given != listed {
            return fail(start, format!("expected {listed} argument(s) in call to {name:?}, got {given}"));
        }
    } else if given < least {
        return fail(start, format!("expected at least {least} argument(s) in call to {name:?}, got {given}"));
    } else if let Some(most) = most.filter(|most| given > *most) {
        return fail(start, format!("expected at most {most} argument(s) in call to {name:?}, got {given}"));
    }
    for (i, arg) in args.iter().enumerate() {
        let Some(wanted) = function.args.get(i).or(function.args.last()) else { break };
        if name == "info" && i == 1 {
            match &arg.node {
                Node::Selector(s) if s.name.is_none() => selector(query, s, arg.start, false)?,
                Node::Selector(_) => {
                    return fail(arg.start, "expected label selectors only, got vector selector instead".to_owned());
                }
                _ if arg.value_type() == Type::Vector => return fail(arg.start, "expected label selectors only".to_owned()),
                _ => expect(query, arg, *wanted, &format!("call to function {name:?}"))?,
            }
            continue;
        }
        expect(query, arg, *wanted, &format!("call to function {name:?}"))?;
    }
    Ok(())
}
