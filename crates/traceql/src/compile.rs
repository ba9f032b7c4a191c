//! An expression to what the store filters by.

use model::{Scope, SpanId, TraceId};
use regex::Regex;
use store::{Column, CompareOp, Field, Literal, Predicate};

use crate::ParseError;
use crate::ast::{AttributeScope, Binary, Expr, Intrinsic, Node, Op, Static};

/// The predicate that chooses the spans of `filter`.
///
/// # Errors
/// [`ParseError`] where the expression needs more than one span's own columns and constants, which this version cannot do.
pub fn compile(query: &str, filter: Option<&Expr>) -> Result<Predicate, ParseError> {
    filter.map_or(Ok(Predicate::True), |e| Compiler { query }.condition(e))
}

/// A pattern that must match the whole text, as Tempo has it.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{pattern})$"))
}

/// No row.
pub(crate) fn never() -> Predicate {
    Predicate::Or(Vec::new())
}

fn constant(truth: bool) -> Predicate {
    if truth { Predicate::True } else { never() }
}

fn not(p: Predicate) -> Predicate {
    Predicate::Not(Box::new(p))
}

/// The columns of an attribute in the order in which they are looked at.
pub(crate) fn columns(scope: AttributeScope, name: &str) -> Vec<Column> {
    let scopes: &[Scope] = match scope {
        AttributeScope::Open => &[Scope::Record, Scope::Resource, Scope::Instrumentation],
        AttributeScope::Span => &[Scope::Record],
        AttributeScope::Resource => &[Scope::Resource],
        AttributeScope::Instrumentation => &[Scope::Instrumentation],
        AttributeScope::Event | AttributeScope::Link => &[],
    };
    scopes.iter().map(|s| Column::attribute(*s, name)).collect()
}

struct Compiler<'q> {
    query: &'q str,
}

type Compiled = Result<Predicate, ParseError>;

impl Compiler<'_> {
    fn unsupported<T>(&self, at: usize, what: &str) -> Result<T, ParseError> {
        Err(ParseError::at(self.query, at, format!("{what} is not supported yet")))
    }

    /// An expression that is true or false.
    fn condition(&self, expr: &Expr) -> Compiled {
        match &expr.node {
            Node::Static(Static::Bool(truth)) => Ok(constant(*truth)),
            Node::Attribute { .. } => self.compare(expr, Op::Eq, &Static::Bool(true)),
            // What is absent is neither true nor false.
            Node::Not(inner) if matches!(inner.node, Node::Attribute { .. }) => self.compare(inner, Op::Eq, &Static::Bool(false)),
            Node::Not(inner) => Ok(not(self.condition(inner)?)),
            Node::Binary(b) => self.binary(b, expr.start),
            _ => self.unsupported(expr.start, "this condition"),
        }
    }

    fn binary(&self, b: &Binary, at: usize) -> Compiled {
        let Binary { op, left, right } = b;
        match op {
            Op::And => Ok(self.condition(left)?.and(self.condition(right)?)),
            Op::Or => Ok(Predicate::Or(vec![self.condition(left)?, self.condition(right)?])),
            op if op.precedence() == 3 => match (fold(left), fold(right)) {
                (Some(l), Some(r)) => Ok(constant(compare_constants(*op, &l, &r))),
                (None, Some(r)) => self.compare(left, *op, &r),
                (Some(l), None) => self.compare(right, op.mirrored(), &l),
                (None, None) => self.unsupported(at, "comparing two attributes"),
            },
            _ => self.unsupported(at, "a number as a condition"),
        }
    }

    /// `left op constant`.
    fn compare(&self, left: &Expr, op: Op, value: &Static) -> Compiled {
        match &left.node {
            Node::Attribute { parent: true, .. } => self.unsupported(left.start, "the parent scope"),
            Node::Attribute { scope: AttributeScope::Event | AttributeScope::Link, .. } => {
                self.unsupported(left.start, "an attribute of events or links")
            }
            Node::Attribute { scope, name, .. } => Ok(first_of(&columns(*scope, name), op, value)),
            Node::Intrinsic(intrinsic) => self.intrinsic(*intrinsic, op, value, left.start),
            _ => self.unsupported(left.start, "arithmetic with attributes"),
        }
    }

    fn intrinsic(&self, intrinsic: Intrinsic, op: Op, value: &Static, at: usize) -> Compiled {
        let field = |f| Column::Field(f);
        let parent = || Predicate::Exists(field(Field::ParentSpanId));
        // Every span has its intrinsics, if empty; only the parent may be missing.
        if *value == Static::Nil && !matches!(intrinsic, Intrinsic::Parent) {
            return Ok(constant(op == Op::Ne));
        }
        Ok(match intrinsic {
            Intrinsic::Name => compare_column(&field(Field::Name), op, value),
            Intrinsic::StatusMessage => empty_if_absent(Field::StatusMessage, op, value),
            Intrinsic::InstrumentationName => empty_if_absent(Field::ScopeName, op, value),
            Intrinsic::InstrumentationVersion => empty_if_absent(Field::ScopeVersion, op, value),
            Intrinsic::Status => compare_column(&field(Field::StatusCode), op, value),
            Intrinsic::Kind => compare_column(&field(Field::Kind), op, value),
            Intrinsic::Duration => compare_column(&field(Field::Duration), op, value),
            Intrinsic::TraceId => match id::<16>(value, |t| t.parse::<TraceId>().ok().map(|id| id.0)) {
                Some(id) if matches!(op, Op::Eq | Op::Ne) => compare_id(Field::TraceId, op, id),
                None if matches!(op, Op::Eq | Op::Ne) => constant(op == Op::Ne),
                _ => return self.unsupported(at, "trace:id with this operator"),
            },
            Intrinsic::SpanId | Intrinsic::ParentId => {
                let column = if intrinsic == Intrinsic::SpanId { Field::SpanId } else { Field::ParentSpanId };
                match id::<8>(value, |t| t.parse::<SpanId>().ok().map(|id| id.0)) {
                    Some(id) if op == Op::Eq => compare_id(column, op, id),
                    Some(id) if op == Op::Ne => not(compare_id(column, Op::Eq, id)),
                    None if matches!(op, Op::Eq | Op::Ne) => constant(op == Op::Ne),
                    _ => return self.unsupported(at, "a span id with this operator"),
                }
            }
            Intrinsic::Parent if *value == Static::Nil => {
                if op == Op::Ne {
                    parent()
                } else {
                    not(parent())
                }
            }
            // Roots have -1, all others something positive: some comparisons need no more than that.
            Intrinsic::NestedSetParent => {
                let answer = |n: i64| compare_constants(op, &Static::Int(n), value);
                let (root, least, most) = (answer(-1), answer(1), answer(i64::from(i32::MAX)));
                let in_between = matches!(value, Static::Int(n) if (1..=i64::from(i32::MAX)).contains(n));
                if in_between || least != most {
                    return self.unsupported(at, "nestedSetParent with a positive number");
                }
                match (root, least) {
                    (true, true) => Predicate::True,
                    (true, false) => not(parent()),
                    (false, true) => parent(),
                    (false, false) => never(),
                }
            }
            other => return self.unsupported(at, other.as_str()),
        })
    }
}

fn id<const N: usize>(value: &Static, read: impl Fn(&str) -> Option<[u8; N]>) -> Option<[u8; N]> {
    match value {
        Static::Text(text) => read(text),
        _ => None,
    }
}

fn compare_id(field: Field, op: Op, id: impl Into<Vec<u8>>) -> Predicate {
    let op = if op == Op::Eq { CompareOp::Eq } else { CompareOp::Ne };
    Predicate::Compare { column: Column::Field(field), op, value: Literal::Bytes(id.into()) }
}

/// A comparison with the first of `columns` that the row has.
pub(crate) fn first_of(columns: &[Column], op: Op, value: &Static) -> Predicate {
    if *value == Static::Nil {
        let exists = |c: &Column| Predicate::Exists(c.clone());
        // Tempo asks span and resource each on its own: an attribute of open scope is nil where either lacks it.
        let each: Vec<Predicate> = match op {
            Op::Ne => columns.iter().map(exists).collect(),
            _ => nil_columns(columns).iter().map(|c| not(exists(c))).collect(),
        };
        return Predicate::Or(each);
    }
    let mut alternatives = Vec::new();
    for (i, column) in columns.iter().enumerate() {
        let mut all: Vec<Predicate> = columns[..i].iter().map(|c| not(Predicate::Exists(c.clone()))).collect();
        // The comparison comes first: it is what indexes know.
        all.insert(0, compare_column(column, op, value));
        alternatives.push(if all.len() == 1 { all.remove(0) } else { Predicate::And(all) });
    }
    if alternatives.len() == 1 { alternatives.remove(0) } else { Predicate::Or(alternatives) }
}

/// The columns of which one must be absent for an attribute to be nil: of open ones, the span's and the resource's.
pub(crate) fn nil_columns(columns: &[Column]) -> &[Column] {
    &columns[..columns.len().min(2)]
}

/// A comparison that a row without the column, or with another type, does not satisfy.
fn compare_column(column: &Column, op: Op, value: &Static) -> Predicate {
    let column = column.clone();
    let op = match op {
        Op::Eq => CompareOp::Eq,
        Op::Ne => CompareOp::Ne,
        Op::Lt => CompareOp::Lt,
        Op::Le => CompareOp::Le,
        Op::Gt => CompareOp::Gt,
        Op::Ge => CompareOp::Ge,
        Op::Matches | Op::NotMatches => {
            let Static::Text(pattern) = value else { return never() };
            let Ok(regex) = anchored(pattern) else { return never() };
            let matches = Predicate::Matches { column: column.clone(), regex };
            return if op == Op::Matches { matches } else { is_text(column).and(not(matches)) };
        }
        _ => return never(),
    };
    let value = match value {
        Static::Text(t) => Literal::Str(t.clone()),
        Static::Int(i) | Static::Duration(i) => Literal::Int(*i),
        Static::Status(i) | Static::Kind(i) if matches!(column, Column::Field(_)) => Literal::Int(*i),
        Static::Float(f) => Literal::Double(*f),
        Static::Bool(b) => Literal::Bool(*b),
        Static::Status(_) | Static::Kind(_) | Static::Nil => return never(),
    };
    Predicate::Compare { column, op, value }
}

/// The row has the column, as text: every text contains the empty one.
fn is_text(column: Column) -> Predicate {
    Predicate::Contains { column, needle: String::new() }
}

/// A text field that is null where it is empty.
fn empty_if_absent(field: Field, op: Op, value: &Static) -> Predicate {
    let present = compare_column(&Column::Field(field), op, value);
    if compare_constants(op, &Static::Text(String::new()), value) {
        return Predicate::Or(vec![present, not(Predicate::Exists(Column::Field(field)))]);
    }
    present
}

fn as_number(value: &Static) -> Option<f64> {
    match value {
        Static::Int(i) | Static::Duration(i) => Some(*i as f64),
        Static::Float(f) => Some(*f),
        _ => None,
    }
}

fn compare_constants(op: Op, l: &Static, r: &Static) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let ordering = match (l, r) {
        (Static::Text(l), Static::Text(r)) => match op {
            Op::Matches => return anchored(r).is_ok_and(|re| re.is_match(l)),
            Op::NotMatches => return anchored(r).is_ok_and(|re| !re.is_match(l)),
            _ => Some(l.cmp(r)),
        },
        (Static::Int(l) | Static::Duration(l), Static::Int(r) | Static::Duration(r)) => Some(l.cmp(r)),
        (Static::Bool(l), Static::Bool(r)) => Some(l.cmp(r)),
        (Static::Status(l), Static::Status(r)) | (Static::Kind(l), Static::Kind(r)) => Some(l.cmp(r)),
        (Static::Nil, Static::Nil) => Some(Equal),
        _ => match (as_number(l), as_number(r)) {
            (Some(l), Some(r)) => l.partial_cmp(&r),
            _ => None,
        },
    };
    match op {
        Op::Eq => ordering == Some(Equal),
        Op::Ne => ordering.is_some_and(|o| o != Equal),
        Op::Lt => ordering == Some(Less),
        Op::Le => matches!(ordering, Some(Less | Equal)),
        Op::Gt => ordering == Some(Greater),
        Op::Ge => matches!(ordering, Some(Greater | Equal)),
        _ => false,
    }
}

/// The value of an expression of constants.
fn fold(expr: &Expr) -> Option<Static> {
    match &expr.node {
        Node::Static(s) => Some(s.clone()),
        Node::Negate(e) => match fold(e)? {
            Static::Int(i) => Some(Static::Int(i.checked_neg()?)),
            Static::Duration(i) => Some(Static::Duration(i.checked_neg()?)),
            Static::Float(f) => Some(Static::Float(-f)),
            _ => None,
        },
        Node::Not(e) => match fold(e)? {
            Static::Bool(b) => Some(Static::Bool(!b)),
            _ => None,
        },
        Node::Binary(b) => {
            let (l, r) = (fold(&b.left)?, fold(&b.right)?);
            match (b.op, &l, &r) {
                (Op::And, Static::Bool(l), Static::Bool(r)) => Some(Static::Bool(*l && *r)),
                (Op::Or, Static::Bool(l), Static::Bool(r)) => Some(Static::Bool(*l || *r)),
                (op, _, _) if op.precedence() == 3 => Some(Static::Bool(compare_constants(op, &l, &r))),
                (op, Static::Int(l), Static::Int(r)) => integers(op, *l, *r),
                (Op::Add, Static::Duration(l), Static::Duration(r)) => l.checked_add(*r).map(Static::Duration),
                (Op::Sub, Static::Duration(l), Static::Duration(r)) => l.checked_sub(*r).map(Static::Duration),
                (op, l, r) => {
                    let (l, r) = (as_number(l)?, as_number(r)?);
                    Some(Static::Float(match op {
                        Op::Add => l + r,
                        Op::Sub => l - r,
                        Op::Mul => l * r,
                        Op::Div => l / r,
                        Op::Mod => l % r,
                        Op::Pow => l.powf(r),
                        _ => return None,
                    }))
                }
            }
        }
        Node::Attribute { .. } | Node::Intrinsic(_) => None,
    }
}

fn integers(op: Op, l: i64, r: i64) -> Option<Static> {
    Some(Static::Int(match op {
        Op::Add => l.wrapping_add(r),
        Op::Sub => l.wrapping_sub(r),
        Op::Mul => l.wrapping_mul(r),
        Op::Div => l.checked_div(r)?,
        Op::Mod => l.checked_rem(r)?,
        Op::Pow => l.checked_pow(u32::try_from(r).ok()?)?,
        _ => return None,
    }))
}

/// What an expression reads of a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Touched<'e> {
    /// An attribute or intrinsic.
    Value(&'e Expr),
    /// An attribute that is asked to be absent.
    Absent(&'e Expr),
}

/// The attributes and intrinsics that an expression reads, in their order.
pub(crate) fn touched<'e>(expr: &'e Expr, out: &mut Vec<Touched<'e>>) {
    let nil = Node::Static(Static::Nil);
    match &expr.node {
        Node::Static(_) => {}
        Node::Attribute { .. } | Node::Intrinsic(_) => out.push(Touched::Value(expr)),
        Node::Not(e) | Node::Negate(e) => touched(e, out),
        Node::Binary(b) => match (&b.left, &b.right) {
            (e, other) | (other, e) if b.op == Op::Eq && other.node == nil && matches!(e.node, Node::Attribute { .. }) => {
                out.push(Touched::Absent(e));
            }
            (left, right) => {
                touched(left, out);
                touched(right, out);
            }
        },
    }
}
