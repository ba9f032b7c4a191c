//! Expressions to what the store filters by: as much of them as a column can tell.

use model::{SpanId, TraceId};
use store::{Column, CompareOp, Field, Literal, Predicate};

use crate::ast::{
    Attribute, AttributeScope, Expr, Intrinsic, Mode, Node, Op, Pipeline, Query, Root, Spanset, SpansetOp, Stage, UnaryOp,
};
use crate::spans::stored_scope;
use crate::value::{Static, anchored, compare};

/// A predicate that holds for every span for which an expression is true.
#[derive(Debug, Clone)]
pub(crate) struct Sieve {
    pub(crate) predicate: Predicate,
    /// Whether it holds for no others, but for those that have one of `nested` as an array.
    pub(crate) exact: bool,
    pub(crate) nested: Vec<Column>,
}

impl Sieve {
    fn exactly(predicate: Predicate) -> Self {
        Self { predicate, exact: true, nested: Vec::new() }
    }

    fn at_most(predicate: Predicate) -> Self {
        Self { predicate, exact: false, nested: Vec::new() }
    }

    fn everything() -> Self {
        Self::at_most(Predicate::True)
    }
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

fn any(mut all: Vec<Predicate>) -> Predicate {
    if all.iter().any(|p| matches!(p, Predicate::True)) {
        return Predicate::True;
    }
    all.retain(|p| !matches!(p, Predicate::Or(none) if none.is_empty()));
    if all.len() == 1 { all.remove(0) } else { Predicate::Or(all) }
}

/// What a trace must contain for a pipeline to have spans of it: a span for each predicate; the last one's are among those
/// that are shown, if it is not the only one.
pub(crate) fn required(pipeline: &Pipeline) -> Vec<Predicate> {
    match pipeline.stages.first() {
        Some(Stage::Spanset(s)) => required_by(s),
        _ => vec![Predicate::True],
    }
}

fn required_by(spanset: &Spanset) -> Vec<Predicate> {
    match spanset {
        Spanset::Filter(e) => vec![sieve(e).predicate],
        Spanset::Pipeline(p) => required(p),
        Spanset::Op(op, sides) => {
            let (mut left, right) = (required_by(&sides.0), required_by(&sides.1));
            match op {
                SpansetOp::Or => {
                    let one = |mut all: Vec<Predicate>| all.pop().unwrap_or(Predicate::True);
                    vec![any(vec![one(left), one(right)])]
                }
                // The left side may be missing altogether.
                SpansetOp::Relation { mode: Mode::Not, .. } => right,
                _ => {
                    left.extend(right);
                    left
                }
            }
        }
    }
}

/// What holds for exactly the spans that a query selects, where it is one filter `{ … }` that columns can decide; `None` for
/// every other query. (Of an attribute that is an array, a comparison is false here.)
#[must_use]
pub fn filter(query: &Query) -> Option<Predicate> {
    let Root::Spansets(pipeline) = &query.root else { return None };
    let [Stage::Spanset(Spanset::Filter(e))] = &pipeline.stages[..] else { return None };
    let sieve = sieve(e);
    sieve.exact.then_some(sieve.predicate)
}

/// The sieve of an expression.
pub(crate) fn sieve(e: &Expr) -> Sieve {
    let mut used = Vec::new();
    let mut sieve = condition(e, &mut used);
    // What is seen of an attribute depends on all its conditions.
    let mut names: Vec<&Attribute> = used.iter().filter(|a| a.intrinsic.is_none()).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    sieve.exact &= names.windows(2).all(|pair| pair[0].name != pair[1].name);
    sieve
}

fn condition(e: &Expr, used: &mut Vec<Attribute>) -> Sieve {
    match &e.node {
        Node::Static(value) => Sieve::exactly(constant(value.is_true())),
        Node::Attribute(a) => {
            used.push(a.clone());
            let mut sieve = comparison(a, Op::Eq, &Static::Bool(true));
            // With an open scope the first value counts, whatever it is.
            sieve.exact &= a.scope != AttributeScope::Open;
            sieve
        }
        Node::Unary(op @ (UnaryOp::Exists | UnaryOp::NotExists), inner) => match &inner.node {
            Node::Attribute(a) => {
                used.push(a.clone());
                existence(a, *op == UnaryOp::Exists)
            }
            _ => Sieve::everything(),
        },
        Node::Unary(..) => Sieve::everything(),
        Node::Binary(op @ (Op::And | Op::Or), sides) => {
            let bare = [&sides.0, &sides.1].iter().any(|e| matches!(e.node, Node::Attribute(_)));
            let (left, right) = (condition(&sides.0, used), condition(&sides.1, used));
            let mut nested = left.nested;
            nested.extend(right.nested);
            let predicate = match op {
                Op::And => left.predicate.and(right.predicate),
                _ => any(vec![left.predicate, right.predicate]),
            };
            Sieve { predicate, exact: left.exact && right.exact && !(*op == Op::Or && bare), nested }
        }
        Node::Binary(op, sides) if op.is_boolean() => match (&sides.0.node, &sides.1.node) {
            (Node::Attribute(a), Node::Static(v)) => {
                used.push(a.clone());
                comparison(a, *op, v)
            }
            (Node::Static(v), Node::Attribute(a)) if !matches!(op, Op::Matches | Op::NotMatches) => {
                used.push(a.clone());
                comparison(a, op.mirrored(), v)
            }
            _ => Sieve::everything(),
        },
        Node::Binary(..) => Sieve::everything(),
    }
}

fn columns(a: &Attribute) -> Vec<Column> {
    let scopes: &[AttributeScope] = match a.scope {
        AttributeScope::Open => &[AttributeScope::Span, AttributeScope::Resource],
        AttributeScope::Event | AttributeScope::Link => &[],
        ref one => std::slice::from_ref(one),
    };
    scopes.iter().map(|s| Column::attribute(stored_scope(*s), &a.name)).collect()
}

/// The list column that holds it, if it is of events or links.
fn list(a: &Attribute) -> Option<Column> {
    let field = match (a.scope, a.intrinsic) {
        (AttributeScope::Event, _) | (_, Some(Intrinsic::EventName | Intrinsic::EventTimeSinceStart)) => Field::Events,
        (AttributeScope::Link, _) | (_, Some(Intrinsic::LinkTraceId | Intrinsic::LinkSpanId)) => Field::Links,
        _ => return None,
    };
    Some(Column::Field(field))
}

fn existence(a: &Attribute, wanted: bool) -> Sieve {
    if let Some(list) = list(a) {
        return Sieve::at_most(Predicate::Exists(list));
    }
    if a.intrinsic.is_some() {
        return Sieve::exactly(constant(wanted));
    }
    // Of an open scope, nil is what either lacks.
    let each = columns(a).into_iter().map(Predicate::Exists);
    let any_of = if wanted { any(each.collect()) } else { any(each.map(not).collect()) };
    // A value that the language does not know counts as missing.
    Sieve { predicate: any_of, exact: true, nested: columns(a) }
}

fn comparison(a: &Attribute, op: Op, value: &Static<'_>) -> Sieve {
    if a.parent {
        return Sieve::everything();
    }
    if let Some(list) = list(a) {
        return Sieve::at_most(Predicate::Exists(list));
    }
    if let Some(intrinsic) = a.intrinsic {
        return of_intrinsic(intrinsic, op, value);
    }
    let nested = columns(a);
    let compared = nested.iter().map(|c| compare_column(c, op, value));
    let arrays = nested.iter().map(|c| Predicate::Nested(c.clone()));
    Sieve { predicate: any(compared.chain(arrays).collect()), exact: true, nested }
}

fn of_intrinsic(intrinsic: Intrinsic, op: Op, value: &Static<'_>) -> Sieve {
    let id = |field, bytes: Option<Vec<u8>>| match (op, bytes) {
        (Op::Eq, Some(bytes)) => {
            Sieve::exactly(Predicate::Compare { column: Column::Field(field), op: CompareOp::Eq, value: Literal::Bytes(bytes) })
        }
        _ => Sieve::everything(),
    };
    let text = match value {
        Static::Text(text) => text.as_ref(),
        _ => "",
    };
    let span_id = || text.parse::<SpanId>().ok().map(|id| id.0.to_vec());
    match intrinsic {
        Intrinsic::Name => Sieve::exactly(empty_if_absent(Field::Name, op, value)),
        Intrinsic::StatusMessage => Sieve::exactly(empty_if_absent(Field::StatusMessage, op, value)),
        Intrinsic::InstrumentationName => Sieve::exactly(empty_if_absent(Field::ScopeName, op, value)),
        Intrinsic::InstrumentationVersion => Sieve::exactly(empty_if_absent(Field::ScopeVersion, op, value)),
        Intrinsic::Status => Sieve::exactly(compare_column(&Column::Field(Field::StatusCode), op, value)),
        Intrinsic::Kind => Sieve::exactly(compare_column(&Column::Field(Field::Kind), op, value)),
        Intrinsic::Duration => Sieve::exactly(compare_column(&Column::Field(Field::Duration), op, value)),
        Intrinsic::TraceId => id(Field::TraceId, text.parse::<TraceId>().ok().map(|id| id.0.to_vec())),
        Intrinsic::SpanId => id(Field::SpanId, span_id()),
        Intrinsic::ParentId => id(Field::ParentSpanId, span_id()),
        // Roots have -1, spans that no root leads to 0, all others something positive.
        Intrinsic::NestedSetParent => {
            let [root, lost, least, most] = [-1, 0, 1, i64::MAX].map(|n| compare(op, &Static::Int(n), value));
            let has_parent = Predicate::Exists(Column::Field(Field::ParentSpanId));
            match (root, lost, least || most) {
                (true, false, false) => Sieve::exactly(not(has_parent)),
                (false, _, _) => Sieve::at_most(has_parent),
                _ => Sieve::everything(),
            }
        }
        _ => Sieve::everything(),
    }
}

/// A comparison that a row without the column, or with another type, does not satisfy.
fn compare_column(column: &Column, op: Op, value: &Static<'_>) -> Predicate {
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
            // Every text contains the empty one.
            let is_text = Predicate::Contains { column, needle: String::new() };
            return if op == Op::Matches { matches } else { is_text.and(not(matches)) };
        }
        _ => return never(),
    };
    let value = match value {
        Static::Text(t) => Literal::Str(t.clone().into_owned()),
        Static::Int(i) | Static::Duration(i) => Literal::Int(*i),
        Static::Status(i) | Static::Kind(i) if matches!(column, Column::Field(_)) => Literal::Int(*i),
        Static::Float(f) => Literal::Double(*f),
        Static::Bool(b) => Literal::Bool(*b),
        _ => return never(),
    };
    Predicate::Compare { column, op, value }
}

/// A text field that is null where it is empty.
fn empty_if_absent(field: Field, op: Op, value: &Static<'_>) -> Predicate {
    let present = compare_column(&Column::Field(field), op, value);
    let empty = Static::text("");
    if crate::value::binary(op, &empty, value, None).is_ok_and(|v| v.is_true()) {
        return any(vec![present, not(Predicate::Exists(Column::Field(field)))]);
    }
    present
}
