//! What a scan filters by.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Column, Field, Worded};
use crate::body;

/// A constant to compare with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// Text.
    Str(String),
    /// Integer; equals a double of the same value.
    Int(i64),
    /// Double.
    Double(#[serde(with = "double")] f64),
    /// Boolean.
    Bool(bool),
    /// Bytes: for ids.
    Bytes(Vec<u8>),
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CompareOp {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// A condition on a row. Two-valued: a comparison with a column that the row lacks (or has in another type; integers
/// and doubles are one) is false, whatever the operator, `Ne` included; `Not` turns it true.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Predicate {
    /// Every row.
    True,
    /// All of them.
    And(Vec<Predicate>),
    /// Any of them.
    Or(Vec<Predicate>),
    /// Not that.
    Not(Box<Predicate>),
    /// Column against constant. Text compares by bytes. Where an attribute's scope is open, the first scope that has the
    /// key decides (record, instrumentation, resource, label).
    Compare {
        /// Left side.
        column: Column,
        /// Operator.
        op: CompareOp,
        /// Right side.
        value: Literal,
    },
    /// The text matches (unanchored: anchor the pattern if that is meant). False where the row lacks the column.
    Matches {
        /// Text column.
        column: Column,
        /// Pattern.
        #[serde(with = "pattern")]
        regex: Regex,
    },
    /// The text contains the needle, byte for byte. An empty needle is in every text.
    Contains {
        /// Text column.
        column: Column,
        /// What to find.
        needle: String,
    },
    /// The row has the column.
    Exists(Column),
    /// The row has the attribute as a nested value ([`model::Value::Nested`]).
    Nested(Column),
    /// What the line ([`Field::Body`]), read as JSON, has under a name: see [`crate::body::member`]. False where the line is
    /// unclear, and where there is none.
    Member {
        /// The name.
        name: String,
        /// What is asked of it.
        test: MemberTest,
    },
    /// The id is one of them: a field of ids ([`super::Field::TraceId`], …) against a set, however large.
    OneOf {
        /// The field.
        field: Field,
        /// The ids.
        #[serde(with = "shared")]
        ids: Arc<IdSet>,
    },
    /// What a query language says of the row.
    Worded(Worded),
}

/// What is asked of a member of a line of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum MemberTest {
    /// Nothing goes by the name.
    Absent,
    /// Nothing, or one number.
    Plain,
    /// One number that compares so.
    Compare(CompareOp, #[serde(with = "double")] f64),
}

impl MemberTest {
    /// Whether a line that lacks the member passes.
    #[must_use]
    pub fn absent(self) -> bool {
        matches!(self, Self::Absent | Self::Plain)
    }

    /// Whether a number passes.
    #[must_use]
    pub fn holds(self, number: f64) -> bool {
        match self {
            Self::Absent => false,
            Self::Plain => true,
            Self::Compare(op, right) => match op {
                CompareOp::Eq => number == right,
                CompareOp::Ne => number != right,
                CompareOp::Lt => number < right,
                CompareOp::Le => number <= right,
                CompareOp::Gt => number > right,
                CompareOp::Ge => number >= right,
            },
        }
    }

    /// Whether a line passes.
    #[must_use]
    pub fn accepts(self, name: &str, line: &str) -> bool {
        match body::member(line, name) {
            body::Member::Absent => self.absent(),
            body::Member::Number(number) => self.holds(number),
            body::Member::Unclear => false,
        }
    }
}

/// A set of ids, each of as many bytes as its field's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdSet(Vec<Vec<u8>>);

impl IdSet {
    /// The set of `ids`.
    #[must_use]
    pub fn new(mut ids: Vec<Vec<u8>>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }

    /// Whether `id` is in it.
    #[must_use]
    pub fn contains(&self, id: &[u8]) -> bool {
        self.0.binary_search_by(|i| i.as_slice().cmp(id)).is_ok()
    }

    /// Those from `least` to `most`, both included, ascending.
    #[must_use]
    pub fn between(&self, least: &[u8], most: &[u8]) -> &[Vec<u8>] {
        let first = self.0.partition_point(|id| id.as_slice() < least);
        let end = self.0.partition_point(|id| id.as_slice() <= most);
        self.0.get(first..end).unwrap_or_default()
    }

    /// All of them, ascending.
    #[must_use]
    pub fn ids(&self) -> &[Vec<u8>] {
        &self.0
    }
}

/// A double as its text: JSON has no infinities and no NaN.
mod double {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:?}"))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A pattern as its text.
mod pattern {
    use regex::Regex;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(regex: &Regex, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(regex.as_str())
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Regex, D::Error> {
        Regex::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// A set as its ids.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::IdSet;

    pub(super) fn serialize<S: Serializer>(ids: &Arc<IdSet>, to: S) -> Result<S::Ok, S::Error> {
        (**ids).serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Arc<IdSet>, D::Error> {
        Ok(Arc::new(IdSet::new(Vec::<Vec<u8>>::deserialize(from)?)))
    }
}

impl Predicate {
    /// `column = text`.
    #[must_use]
    pub fn eq(column: Column, text: &str) -> Self {
        Self::Compare { column, op: CompareOp::Eq, value: Literal::Str(text.to_owned()) }
    }

    /// Both; simplifies `True` away.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::True, p) | (p, Self::True) => p,
            (Self::And(mut a), Self::And(b)) => {
                a.extend(b);
                Self::And(a)
            }
            (Self::And(mut a), p) => {
                a.push(p);
                Self::And(a)
            }
            (p, q) => Self::And(vec![p, q]),
        }
    }
}

/// How a label matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `=~`
    Re,
    /// `!~`
    NotRe,
}

/// Prometheus' label matcher: an absent label has the empty value; regular expressions are anchored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "(String, MatchOp, String)", try_from = "(String, MatchOp, String)")]
pub struct LabelMatcher {
    /// Label.
    pub name: String,
    /// Operator.
    pub op: MatchOp,
    /// Text or pattern, as written.
    pub value: String,
    /// The anchored pattern, for `=~` and `!~`.
    regex: Option<Regex>,
}

impl From<LabelMatcher> for (String, MatchOp, String) {
    fn from(matcher: LabelMatcher) -> Self {
        (matcher.name, matcher.op, matcher.value)
    }
}

impl TryFrom<(String, MatchOp, String)> for LabelMatcher {
    type Error = regex::Error;
    fn try_from((name, op, value): (String, MatchOp, String)) -> Result<Self, regex::Error> {
        Self::new(&name, op, &value)
    }
}

impl LabelMatcher {
    /// A matcher; compiles the pattern (Go's, anchored, `.` matches newlines, as Prometheus does).
    ///
    /// # Errors
    /// What is wrong with a bad or too large pattern.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, regex::Error> {
        let regex = match op {
            MatchOp::Re | MatchOp::NotRe => {
                let pattern = syntax::go_regexp(value).map_err(regex::Error::Syntax)?;
                Some(Regex::new(&format!("^(?s:{pattern})$"))?)
            }
            MatchOp::Eq | MatchOp::Ne => None,
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// Whether a label value (empty when absent) is accepted.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Eq, _) => value == self.value,
            (MatchOp::Ne, _) => value != self.value,
            (MatchOp::Re, Some(re)) => re.is_match(value),
            (MatchOp::NotRe, Some(re)) => !re.is_match(value),
            (MatchOp::Re | MatchOp::NotRe, None) => false,
        }
    }
}
