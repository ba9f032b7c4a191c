//! What a query asks of spans by themselves, answered for all rows of a batch at once.
//!
//! A filter that compares attributes with constants (and joins such comparisons) is true or false of a row whatever the rest of
//! its trace is. So it is decided a column at a time: once for each entry of a dictionary, once for each run of equal numbers.
//! What cannot be decided so (arithmetic, which may fail; what only the trace knows) is left to [`crate::eval`]; a property test
//! holds the two to the same spans.

use regex::Regex;

use crate::ast::{Op, UnaryOp};
use crate::eval::Code;
use crate::fetch::{Fetch, Place};
use crate::spans::Rows;
use crate::value::{Static, binary};

/// What is decided of rows by themselves.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// Each filter by its number; `None` where it must be evaluated span by span.
    pub(crate) filters: Vec<Option<Mark>>,
    /// Whether it is decided as well which rows are seen.
    pub(crate) seen: bool,
}

/// A filter that can be decided row by row without failing: its value is a boolean.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    Const(bool),
    /// A numbered attribute against a constant, or (`mirrored`) the other way round.
    Test {
        slot: usize,
        op: Op,
        value: Static<'static>,
        regex: Option<Regex>,
        mirrored: bool,
    },
    /// Whether an attribute is there.
    Exists(usize, bool),
    /// Whether an attribute is `true`; only as a whole filter, since it need not be a boolean.
    IsTrue(usize),
    Not(Box<Mark>),
    And(Box<(Mark, Mark)>),
    Or(Box<(Mark, Mark)>),
}

impl Mark {
    /// The mark of a filter; `None` where it must be evaluated span by span.
    pub(crate) fn of(code: &Code, fetch: &Fetch) -> Option<Self> {
        match code {
            Code::Slot(slot) if is_of_the_row(fetch, *slot) => Some(Self::IsTrue(*slot)),
            _ => Self::boolean(code, fetch),
        }
    }

    fn boolean(code: &Code, fetch: &Fetch) -> Option<Self> {
        match code {
            Code::Const(Static::Bool(truth)) => Some(Self::Const(*truth)),
            Code::Const(_) | Code::Slot(_) => None,
            Code::Unary(op @ (UnaryOp::Exists | UnaryOp::NotExists), inner) => match **inner {
                Code::Slot(slot) if is_of_the_row(fetch, slot) => Some(Self::Exists(slot, *op == UnaryOp::Exists)),
                _ => None,
            },
            Code::Unary(UnaryOp::Not, inner) => Some(Self::Not(Box::new(Self::boolean(inner, fetch)?))),
            Code::Unary(UnaryOp::Negate, _) => None,
            Code::Binary(op @ (Op::And | Op::Or), sides, _) => {
                let both = Box::new((Self::boolean(&sides.0, fetch)?, Self::boolean(&sides.1, fetch)?));
                Some(if *op == Op::And { Self::And(both) } else { Self::Or(both) })
            }
            Code::Binary(op, sides, regex) if op.is_boolean() => {
                let (slot, value, mirrored) = match (&sides.0, &sides.1) {
                    (Code::Slot(slot), Code::Const(value)) => (*slot, value, false),
                    (Code::Const(value), Code::Slot(slot)) => (*slot, value, true),
                    _ => return None,
                };
                let test = || Self::Test { slot, op: *op, value: value.clone(), regex: regex.clone(), mirrored };
                is_of_the_row(fetch, slot).then(test)
            }
            Code::Binary(..) => None,
        }
    }

    /// The truth of each row.
    pub(crate) fn rows(&self, rows: &Rows, fetch: &Fetch) -> Vec<bool> {
        match self {
            Self::Const(truth) => vec![*truth; rows.batch.rows()],
            Self::Test { slot, op, value, regex, mirrored } => slot_rows(rows, fetch, *slot, &|seen| {
                let result =
                    if *mirrored { binary(*op, value, seen, regex.as_ref()) } else { binary(*op, seen, value, regex.as_ref()) };
                result.is_ok_and(|v| v.is_true())
            }),
            Self::Exists(slot, wanted) => slot_rows(rows, fetch, *slot, &|seen| (*seen != Static::Nil) == *wanted),
            Self::IsTrue(slot) => slot_rows(rows, fetch, *slot, &|seen| seen.is_true()),
            Self::Not(inner) => {
                let mut truths = inner.rows(rows, fetch);
                truths.iter_mut().for_each(|t| *t = !*t);
                truths
            }
            Self::And(sides) => joined(sides, rows, fetch, |a, b| a & b),
            Self::Or(sides) => joined(sides, rows, fetch, |a, b| a | b),
        }
    }
}

fn joined(sides: &(Mark, Mark), rows: &Rows, fetch: &Fetch, join: impl Fn(bool, bool) -> bool) -> Vec<bool> {
    let mut truths = sides.0.rows(rows, fetch);
    truths.iter_mut().zip(sides.1.rows(rows, fetch)).for_each(|(a, b)| *a = join(*a, b));
    truths
}

/// Whether the values of a numbered attribute are known of a row by itself.
fn is_of_the_row(fetch: &Fetch, slot: usize) -> bool {
    let of_trace = |place: &Place| matches!(place, Place::Intrinsic(i) if i.needs_trace());
    !fetch.slot_fields(slot).iter().any(|f| of_trace(&fetch.fields[*f].place))
}

/// What is said of a value of one field: nothing, as long as it is not seen.
const UNSEEN: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

/// What `judge` says of a numbered attribute in each row: of the first value that is seen, or of nil.
fn slot_rows(rows: &Rows, fetch: &Fetch, slot: usize, judge: &dyn Fn(&Static<'_>) -> bool) -> Vec<bool> {
    let mut said = vec![UNSEEN; rows.batch.rows()];
    for &field in fetch.slot_fields(slot) {
        let of_value = |value: Option<Static<'_>>| match fetch.fields[field].seen(value) {
            None => UNSEEN,
            Some(seen) => 1 + u8::from(judge(&seen)),
        };
        rows.judge(field, &fetch.fields[field].place, &of_value, &mut said);
    }
    let none = judge(&Static::Nil);
    said.into_iter().map(|s| if s == UNSEEN { none } else { s == YES }).collect()
}

/// Whether a query gets to see each row at all: see [`Fetch::admits`].
pub(crate) fn admitted(rows: &Rows, fetch: &Fetch) -> Vec<bool> {
    let count = rows.batch.rows();
    let met: Vec<Vec<u8>> = fetch
        .conditions
        .iter()
        .map(|condition| {
            let mut said = vec![UNSEEN; count];
            for &field in &condition.fields {
                let of_value = |value: Option<Static<'_>>| if condition.met(value.as_ref()) { NO } else { UNSEEN };
                rows.judge(field, &fetch.fields[field].place, &of_value, &mut said);
            }
            said
        })
        .collect();
    (0..count).map(|row| fetch.admits(|condition| met[condition][row] != UNSEEN)).collect()
}

/// The truths of a batch's rows.
#[derive(Debug)]
pub(crate) struct Marked {
    seen: Seen,
    /// Of each filter by its number; `None` where spans must be looked at.
    filters: Vec<Option<Vec<bool>>>,
}

/// Which rows a query gets to see.
#[derive(Debug)]
enum Seen {
    All,
    Rows(Vec<bool>),
    /// Only their traces tell.
    Unknown,
}

impl Marked {
    pub(crate) fn new(rows: &Rows, fetch: &Fetch, marks: &Marks) -> Self {
        let of_trace = |field: &usize| matches!(fetch.fields[*field].place, Place::Intrinsic(i) if i.needs_trace());
        let seen = if fetch.admits_all() {
            Seen::All
        } else if !marks.seen || fetch.conditions.iter().flat_map(|c| &c.fields).any(of_trace) {
            Seen::Unknown
        } else {
            Seen::Rows(admitted(rows, fetch))
        };
        Self { seen, filters: marks.filters.iter().map(|mark| mark.as_ref().map(|m| m.rows(rows, fetch))).collect() }
    }

    /// Whether a row is seen; `None` where that must be evaluated.
    pub(crate) fn is_seen(&self, row: usize) -> Option<bool> {
        match &self.seen {
            Seen::All => Some(true),
            Seen::Rows(seen) => Some(seen[row]),
            Seen::Unknown => None,
        }
    }

    /// Whether a filter is true of a row; `None` where that must be evaluated.
    pub(crate) fn holds(&self, filter: usize, row: usize) -> Option<bool> {
        Some(self.filters.get(filter)?.as_ref()?[row])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::UInt32Type;
    use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
    use arrow_schema::{Field as ArrowField, Schema};
    use model::{Scope, ValueType};
    use proptest::prelude::*;
    use store::{Batch, Field, Meaning};

    use super::*;
    use crate::ast::{Pipeline, Root, Spanset, Stage};
    use crate::eval::{compile, evaluate};
    use crate::parse;

    /// A row: text, integer, double, boolean and array of `a`; text of the resource's `a`; name; duration; status.
    type Row = ((Option<u8>, Option<i64>, Option<u8>, u8), (Option<u8>, Option<u8>, i64, i32));

    fn row() -> impl Strategy<Value = Row> {
        let text = || prop::option::weighted(0.7, 0u8..3);
        ((text(), prop::option::of(-1i64..3), text(), 0u8..5), (text(), text(), 0i64..3, 0i32..3))
    }

    fn batch(rows: &[Row], dictionaries: bool) -> Batch {
        let texts = |of: &dyn Fn(&Row) -> Option<u8>| -> ArrayRef {
            let texts: Vec<Option<&str>> = rows.iter().map(|r| of(r).map(|t| ["x", "1", ""][usize::from(t)])).collect();
            match dictionaries {
                true => Arc::new(texts.into_iter().collect::<DictionaryArray<UInt32Type>>()),
                false => Arc::new(texts.into_iter().collect::<StringArray>()),
            }
        };
        // At most one of the types of `a` in a row.
        let is = |r: &Row, kind: u8| r.0.3 == kind;
        let arrays: Vec<Option<&str>> = rows
            .iter()
            .map(|r| is(r, 4).then_some(r#"{"arrayValue":{"values":[{"stringValue":"x"},{"stringValue":"y"}]}}"#))
            .collect();
        let record = |kind| Meaning::Attribute(Scope::Record, "a".into(), kind);
        let columns: Vec<(Meaning, ArrayRef)> = vec![
            (record(ValueType::Str), texts(&|r| r.0.0.filter(|_| is(r, 0)))),
            (record(ValueType::Int), Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.0.1.filter(|_| is(r, 1)))))),
            (
                record(ValueType::Double),
                Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.0.2.filter(|_| is(r, 2)).map(|d| f64::from(d) / 2.0)))),
            ),
            (
                record(ValueType::Bool),
                Arc::new(BooleanArray::from_iter(rows.iter().map(|r| is(r, 3).then_some(r.0.0.is_some())))),
            ),
            (record(ValueType::Nested), Arc::new(StringArray::from(arrays))),
            (Meaning::Attribute(Scope::Resource, "a".into(), ValueType::Str), texts(&|r| r.1.0)),
            (
                Meaning::Attribute(Scope::Record, "n".into(), ValueType::Int),
                Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.0.1))),
            ),
            (Meaning::Field(Field::Name), texts(&|r| r.1.1)),
            (Meaning::Field(Field::Duration), Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1.2)))),
            (Meaning::Field(Field::StatusCode), Arc::new(arrow_array::Int32Array::from_iter_values(rows.iter().map(|r| r.1.3)))),
        ];
        let (meaning, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let fields: Vec<_> =
            arrays.iter().enumerate().map(|(i, a)| ArrowField::new(i.to_string(), a.data_type().clone(), true)).collect();
        Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns"), meaning.into())
    }

    const ATTRIBUTES: [&str; 9] =
        ["span.a", "resource.a", ".a", "span.n", "name", "duration", "status", "span.missing", ".missing"];
    const VALUES: [&str; 9] = ["`x`", "``", "1", "0.5", "true", "2ns", "error", "nil", "span.n"];
    const OPS: [&str; 8] = ["=", "!=", "<", "<=", ">", ">=", "=~", "!~"];

    fn comparison() -> impl Strategy<Value = String> {
        let attribute = || prop::sample::select(&ATTRIBUTES[..]);
        let (ops, values) = (prop::sample::select(&OPS[..]), prop::sample::select(&VALUES[..]));
        prop_oneof![
            6 => (attribute(), ops.clone(), values.clone()).prop_map(|(a, op, v)| format!("{a} {op} {v}")),
            1 => (attribute(), ops, values).prop_map(|(a, op, v)| format!("{v} {op} {a}")),
            1 => attribute().prop_map(|a| a.to_owned()),
            1 => attribute().prop_map(|a| format!("!({a} = 1)")),
        ]
    }

    proptest! {
        #[test]
        fn marks_are_what_evaluation_gives(
            rows in prop::collection::vec(row(), 1..20),
            parts in prop::collection::vec((comparison(), any::<bool>()), 1..4),
            dictionaries: bool,
        ) {
            let text = parts.iter().enumerate().fold(String::new(), |text, (i, (part, and))| match i {
                0 => part.clone(),
                _ => format!("{text} {} {part}", if *and { "&&" } else { "||" }),
            });
            let Ok(query) = parse(&format!("{{ {text} }}")) else { return Ok(()) };
            let Root::Spansets(pipeline) = &query.root else { return Ok(()) };
            let Pipeline { stages } = pipeline;
            let [Stage::Spanset(Spanset::Filter(filter))] = &stages[..] else { return Ok(()) };
            let mut fetch = Fetch::new(pipeline);
            let code = compile(filter, &mut |a| fetch.slot(a));
            let rows = Rows::new(batch(&rows, dictionaries), &fetch);
            let each = |field: usize, row: usize, visit: &mut dyn FnMut(Option<Static<'_>>)| {
                rows.each(field, &fetch.fields[field].place, row, visit);
            };
            if let Some(mark) = Mark::of(&code, &fetch) {
                for (row, marked) in mark.rows(&rows, &fetch).into_iter().enumerate() {
                    let value = |slot: usize| {
                        let mut first = None;
                        for &field in fetch.slot_fields(slot) {
                            each(field, row, &mut |value| {
                                if first.is_none() {
                                    first = fetch.fields[field].seen(value).map(Static::into_owned);
                                }
                            });
                        }
                        first.unwrap_or(Static::Nil)
                    };
                    let slow = evaluate(&code, &value).expect("nothing is divided").is_true();
                    prop_assert_eq!(marked, slow, "{} of row {}", text, row);
                }
            }
            for (row, marked) in admitted(&rows, &fetch).into_iter().enumerate() {
                let slow = fetch.admits(|condition| {
                    let condition = &fetch.conditions[condition];
                    condition.fields.iter().any(|&field| {
                        let mut met = false;
                        each(field, row, &mut |value| met |= condition.met(value.as_ref()));
                        met
                    })
                });
                prop_assert_eq!(marked, slow, "whether {} sees row {}", text, row);
            }
        }
    }
}
