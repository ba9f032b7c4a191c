//! Tempo's older search parameters: `tags` in logfmt.

use std::collections::{BTreeMap, BTreeSet};

use store::{Column, Field as Stored, Order, Predicate, Scan};

use crate::EvalError;
use crate::ast::{Attribute, AttributeScope, Expr, Intrinsic, Node, Op, Pipeline, Query, Root, Spanset, Stage};
use crate::fetch::{Fetch, Place};
use crate::question::Question;
use crate::spans::Rows;
use crate::value::{KINDS, STATUSES, Static};

/// Spans whose events or links are looked at for completion.
const NESTED_ROWS: usize = 65_536;

/// The query for spans with all of these tags, as `tags=service.name=shop http.status_code=200` asks for them: an attribute
/// of the span or its resource that prints as the value; `name`, `status`, `kind` and `error` mean the span's own.
#[must_use]
pub fn tags_query(tags: &[(String, String)]) -> Query {
    let expr = |node| Expr { node, start: 0 };
    let all = tags.iter().map(|(key, value)| tag(key, value)).reduce(|a, b| expr(Node::Binary(Op::And, Box::new((a, b)))));
    let filter = all.unwrap_or_else(|| expr(Node::Static(Static::Bool(true))));
    let pipeline = Pipeline { stages: vec![Stage::Spanset(Spanset::Filter(filter))] };
    Query { root: Root::Spansets(pipeline), hints: Vec::new() }
}

fn tag(key: &str, value: &str) -> Expr {
    let expr = |node| Expr { node, start: 0 };
    let equal = |attribute: Attribute, value| {
        let sides = (expr(Node::Attribute(attribute)), expr(Node::Static(value)));
        expr(Node::Binary(Op::Eq, Box::new(sides)))
    };
    let word = |names: &[&str]| names.iter().position(|n| *n == value).map(|i| i as i64);
    let never = || expr(Node::Static(Static::Bool(false)));
    match key {
        "name" => equal(Attribute::intrinsic(Intrinsic::Name), Static::text(value.to_owned())),
        "status" | "status.code" => {
            word(&STATUSES).map_or_else(never, |s| equal(Attribute::intrinsic(Intrinsic::Status), Static::Status(s)))
        }
        "kind" => word(&KINDS).map_or_else(never, |k| equal(Attribute::intrinsic(Intrinsic::Kind), Static::Kind(k))),
        "error" if value == "true" => equal(Attribute::intrinsic(Intrinsic::Status), Static::Status(2)),
        _ => {
            let values = [
                Some(Static::text(value.to_owned())),
                value.parse().ok().map(Static::Int),
                value.parse().ok().filter(|f: &f64| f.is_finite()).map(Static::Float),
                value.parse().ok().map(Static::Bool),
            ];
            let attribute = || Attribute::new(AttributeScope::Open, key);
            let any = values.into_iter().flatten().map(|v| equal(attribute(), v));
            any.reduce(|a, b| expr(Node::Binary(Op::Or, Box::new((a, b))))).unwrap_or_else(never)
        }
    }
}

/// Calls `each` with the rows of some spans that have `list` and meet `predicate`.
fn nested(
    question: &Question<'_>,
    predicate: &Predicate,
    list: Stored,
    mut each: impl FnMut(&Rows, usize),
) -> Result<(), EvalError> {
    let fetch = Fetch::new(&Pipeline::default());
    let column = Column::Field(list);
    let having = predicate.clone().and(Predicate::Exists(column.clone()));
    let scan = question.scan(having, vec![column, Column::Field(Stored::Time)]);
    let scan = Scan { limit: Some(NESTED_ROWS), order: Order::AnyTwice, ..scan };
    for batch in question.reader.scan(&scan)? {
        question.alive()?;
        let rows = Rows::new(batch?, &fetch);
        (0..rows.batch.rows()).for_each(|row| each(&rows, row));
    }
    Ok(())
}

/// The names of attributes of events, or of links ([`AttributeScope::Link`]), of spans that meet `predicate`.
///
/// # Errors
/// [`EvalError`].
pub fn nested_names(question: &Question<'_>, predicate: &Predicate, scope: AttributeScope) -> Result<Vec<String>, EvalError> {
    let list = if scope == AttributeScope::Link { Stored::Links } else { Stored::Events };
    let mut names = BTreeSet::new();
    nested(question, predicate, list, |rows, row| {
        rows.attributes(row, &mut |of, key, _| {
            if of == scope && !names.contains(key.as_ref()) {
                names.insert(key.into_owned());
            }
        });
    })?;
    Ok(names.into_iter().collect())
}

/// The values of an attribute of events or links, or of `event:name`, of spans that meet `predicate`; at most `limit`.
///
/// # Errors
/// [`EvalError`].
pub fn nested_values(
    question: &Question<'_>,
    predicate: &Predicate,
    attribute: &Attribute,
    limit: usize,
) -> Result<Vec<Static<'static>>, EvalError> {
    let place = match attribute.intrinsic {
        Some(intrinsic) => Place::Intrinsic(intrinsic),
        None => Place::Attribute(attribute.scope, attribute.name.clone()),
    };
    let list = if attribute.scope == AttributeScope::Link { Stored::Links } else { Stored::Events };
    let mut values: BTreeMap<String, Static<'static>> = BTreeMap::new();
    nested(question, predicate, list, |rows, row| {
        rows.each(0, &place, row, &mut |value| {
            if let Some(value) = value
                && values.len() < limit
            {
                values.entry(value.key()).or_insert_with(|| value.into_owned());
            }
        });
    })?;
    Ok(values.into_values().collect())
}

/// Pairs of logfmt: `a=b c="d e" f`.
#[must_use]
pub fn logfmt(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let key_end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, tail) = rest.split_at(key_end);
        let (value, tail) = match tail.strip_prefix('=') {
            Some(quoted) if quoted.starts_with('"') => unquote(&quoted[1..]),
            Some(bare) => {
                let (value, tail) = bare.split_at(bare.find(char::is_whitespace).unwrap_or(bare.len()));
                (value.to_owned(), tail)
            }
            None => (String::new(), tail),
        };
        if !key.is_empty() {
            pairs.push((key.to_owned(), value));
        }
        rest = tail.trim_start();
    }
    pairs
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (out, &text[at + 1..]),
            '\\' => out.extend(chars.next().map(|(_, c)| c)),
            c => out.push(c),
        }
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logfmt_pairs_may_be_quoted() {
        let pairs = |text| logfmt(text).into_iter().map(|(k, v)| format!("{k}|{v}")).collect::<Vec<_>>();
        assert_eq!(pairs(r#"a=b  c="d \"e" f =x"#), ["a|b", "c|d \"e", "f|"]);
        assert_eq!(pairs(r#"a="open"#), ["a|open"]);
    }
}
