//! The meaning of a predicate on one row, in one function. What every engine must agree with.

use std::cmp::Ordering;

use model::Value;

use super::batch::batch;
use super::row::Row;
use crate::{Column, CompareOp, Field, Literal, Predicate};

/// Whether `row` is one of those that `predicate` asks for.
pub(crate) fn accepts(predicate: &Predicate, row: &Row) -> bool {
    match predicate {
        Predicate::True => true,
        Predicate::And(all) => all.iter().all(|p| accepts(p, row)),
        Predicate::Or(any) => any.iter().any(|p| accepts(p, row)),
        Predicate::Not(p) => !accepts(p, row),
        Predicate::Compare { column, op, value } => {
            row.value(column).and_then(|left| compare(&left, value)).is_some_and(|ordering| holds(*op, ordering))
        }
        Predicate::Matches { column, regex } => text(row.value(column)).is_some_and(|t| regex.is_match(t)),
        Predicate::Contains { column, needle } => text(row.value(column)).is_some_and(|t| t.contains(needle.as_str())),
        Predicate::Exists(column) => row.has(column),
        Predicate::Nested(column) => matches!(row.value(column), Some(Value::Nested(_))),
        Predicate::Member { name, test } => {
            text(row.value(&Column::Field(Field::Body))).is_some_and(|line| test.accepts(name, line))
        }
        Predicate::OneOf { field, ids } => {
            matches!(row.value(&Column::Field(*field)), Some(Value::Bytes(id)) if ids.contains(&id))
        }
        Predicate::Worded(worded) => {
            // What cannot be judged is left alone: a row is lost for good, words may be read later.
            let Ok(test) = worded.test() else { return false };
            batch(&[row], test.columns()).is_ok_and(|batch| test.passes(&batch) == [true])
        }
    }
}

fn text(value: Option<Value<'_>>) -> Option<&str> {
    match value {
        Some(Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// How a value stands to a constant; `None` where the types differ or one of them is NaN. `false` comes before `true`.
fn compare(left: &Value<'_>, right: &Literal) -> Option<Ordering> {
    match (left, right) {
        (Value::Str(l), Literal::Str(r)) => Some(l.as_bytes().cmp(r.as_bytes())),
        (Value::Bool(l), Literal::Bool(r)) => Some(l.cmp(r)),
        (Value::Int(l), Literal::Int(r)) => Some(l.cmp(r)),
        (Value::Int(l), Literal::Double(r)) => (*l as f64).partial_cmp(r),
        (Value::Double(l), Literal::Int(r)) => l.partial_cmp(&(*r as f64)),
        (Value::Double(l), Literal::Double(r)) => l.partial_cmp(r),
        (Value::Bytes(l), Literal::Bytes(r)) => Some(l.as_ref().cmp(r)),
        _ => None,
    }
}

fn holds(op: CompareOp, ordering: Ordering) -> bool {
    match op {
        CompareOp::Eq => ordering.is_eq(),
        CompareOp::Ne => ordering.is_ne(),
        CompareOp::Lt => ordering.is_lt(),
        CompareOp::Le => ordering.is_le(),
        CompareOp::Gt => ordering.is_gt(),
        CompareOp::Ge => ordering.is_ge(),
    }
}
