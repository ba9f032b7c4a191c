//! Spans, counted column by column where they lie.

use std::sync::atomic::AtomicBool;

use model::{OwnedValue, Scope, Tenant, TimeRange};
use store::{Column, CompareOp, Comparison, Field, Literal, Meaning, Predicate, Reader, Table, value_text};

use super::Inside;
use super::tally::{DISTINCT, Tallies};
use crate::answer::Failure;

/// Counts the spans of `predicate`.
pub(super) fn count(
    reader: &dyn Reader,
    tenant: Tenant,
    range: TimeRange,
    predicate: Predicate,
    inside: &Inside,
    cancelled: &AtomicBool,
) -> Result<Tallies<u64>, Failure> {
    let fields = [Field::Name, Field::Kind, Field::StatusCode];
    let columns = fields.map(Column::Field).into_iter().chain([Column::Attributes(None)]).collect();
    let part = inside.range;
    let inside = durations(inside);
    let asked = Comparison { tenant, table: Table::Spans, range, predicate, part, inside, columns, distinct: DISTINCT };
    let compared = reader.compare(&asked, cancelled)?;
    let mut tallies = Tallies::default();
    [tallies.outside, tallies.inside] = compared.rows;
    for column in compared.columns {
        let (scope, key): (_, &str) = match &column.meaning {
            Meaning::Field(Field::Name) => ("intrinsic", "name"),
            Meaning::Field(Field::Kind) => ("intrinsic", "kind"),
            Meaning::Field(Field::StatusCode) => ("intrinsic", "status"),
            Meaning::Attribute(Scope::Record, key, _) => ("span", key),
            Meaning::Attribute(Scope::Resource, key, _) => ("resource", key),
            Meaning::Attribute(Scope::Instrumentation, key, _) => ("instrumentation", key),
            _ => continue,
        };
        let Some(values) = column.values else {
            tallies.too_many(scope, key);
            continue;
        };
        for (value, counts) in values {
            match (&value, word(scope, key, &value)) {
                (_, Some(word)) => tallies.count(scope, key, word, counts),
                (OwnedValue::Int(_) | OwnedValue::Double(_), None) if scope != "intrinsic" => {
                    tallies.number(scope, key, &value_text(&value.as_value()), counts);
                }
                (_, None) => tallies.count(scope, key, &value_text(&value.as_value()), counts),
            }
        }
    }
    Ok(tallies)
}

/// What holds for the durations inside.
fn durations(inside: &Inside) -> Predicate {
    let bound =
        |op: CompareOp, value: i64| Predicate::Compare { column: Column::Field(Field::Duration), op, value: Literal::Int(value) };
    let least = if inside.min == i64::MIN { Predicate::True } else { bound(CompareOp::Ge, inside.min) };
    let most = if inside.max == i64::MAX { Predicate::True } else { bound(CompareOp::Lt, inside.max) };
    least.and(most)
}

/// A kind or status as TraceQL names it.
fn word(scope: &str, key: &str, value: &OwnedValue) -> Option<&'static str> {
    let words: &[&str] = match (scope, key) {
        ("intrinsic", "status") => &["unset", "ok", "error"],
        ("intrinsic", "kind") => &["unspecified", "internal", "server", "client", "producer", "consumer"],
        _ => &[],
    };
    let OwnedValue::Int(value) = value else { return None };
    words.get(usize::try_from(*value).ok()?).copied()
}
