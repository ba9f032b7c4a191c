//! Tempo's older search parameters: `tags` in logfmt.

use crate::ast::{Attribute, AttributeScope, Expr, Intrinsic, Node, Op, Pipeline, Query, Root, Spanset, Stage};
use crate::value::{KINDS, STATUSES, Static};

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
