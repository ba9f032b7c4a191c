//! Tempo's older search parameters: `tags` in logfmt.

use store::{Column, CompareOp, Field, Literal, Predicate};

use crate::ast::{AttributeScope, KINDS, STATUSES};
use crate::compile::{columns, never};

/// Spans with all of these tags, as `tags=service.name=shop http.status_code=200` asks for them: an attribute of the
/// span or its resource that prints as the value; `name`, `status`, `status.code` and `error` mean the span's own.
#[must_use]
pub fn tags_predicate(tags: &[(String, String)]) -> Predicate {
    tags.iter().fold(Predicate::True, |all, (key, value)| all.and(tag(key, value)))
}

fn tag(key: &str, value: &str) -> Predicate {
    let number = |names: &[&str], field| match names.iter().position(|n| *n == value) {
        Some(i) => equal(&Column::Field(field), Literal::Int(i as i64)),
        None => never(),
    };
    match key {
        "name" => Predicate::eq(Column::Field(Field::Name), value),
        "status" | "status.code" => number(&STATUSES, Field::StatusCode),
        "kind" => number(&KINDS, Field::Kind),
        "error" if value == "true" => equal(&Column::Field(Field::StatusCode), Literal::Int(2)),
        _ => {
            let values = [
                Some(Literal::Str(value.to_owned())),
                value.parse().ok().map(Literal::Int),
                value.parse().ok().filter(|f: &f64| f.is_finite()).map(Literal::Double),
                value.parse().ok().map(Literal::Bool),
            ];
            let columns = columns(AttributeScope::Open, key);
            let any = columns.iter().flat_map(|c| values.iter().flatten().map(|v| equal(c, v.clone())));
            Predicate::Or(any.collect())
        }
    }
}

fn equal(column: &Column, value: Literal) -> Predicate {
    Predicate::Compare { column: column.clone(), op: CompareOp::Eq, value }
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
