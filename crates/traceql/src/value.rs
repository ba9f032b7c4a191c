//! Values: their types, how they compare and what arithmetic makes of them.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::Regex;

use crate::ast::Op;

/// A constant, or a value of a span.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Static<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP's number of the status: 0 unset, 1 ok, 2 error.
    Status(i64),
    /// OTLP's number of the kind: 0 unspecified, 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    Kind(i64),
    /// Values of one type, none of them an array.
    Array(Kind, Vec<Static<'a>>),
}

/// Names of the statuses, by OTLP's numbers.
pub const STATUSES: [&str; 3] = ["unset", "ok", "error"];
/// Names of the kinds, by OTLP's numbers.
pub const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// The types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    /// An attribute's: known only span by span.
    Attribute,
    /// A spanset's, which is no value.
    Spanset,
    Nil,
    Bool,
    Int,
    Float,
    Text,
    Duration,
    Status,
    Kind,
    Array,
}

impl Kind {
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Duration)
    }

    /// Whether the two may stand on both sides of an operator.
    pub(crate) fn matches(self, other: Self) -> bool {
        self == other
            || self == Self::Attribute
            || other == Self::Attribute
            || self.is_numeric() && other.is_numeric()
            || self == Self::Nil
            || other == Self::Nil
            || self == Self::Array
            || other == Self::Array
    }

    /// Whether the operator is defined for it.
    pub(crate) fn fits(self, op: Op) -> bool {
        match self {
            Self::Attribute | Self::Array => true,
            Self::Bool => matches!(op, Op::And | Op::Or | Op::Eq | Op::Ne),
            Self::Int | Self::Float | Self::Duration => !matches!(op, Op::And | Op::Or | Op::Matches | Op::NotMatches),
            Self::Text => op.is_comparison() || matches!(op, Op::Matches | Op::NotMatches),
            Self::Nil | Self::Status | Self::Kind => matches!(op, Op::Eq | Op::Ne),
            Self::Spanset => false,
        }
    }
}

impl<'a> Static<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Nil => Kind::Nil,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Text(_) => Kind::Text,
            Self::Duration(_) => Kind::Duration,
            Self::Status(_) => Kind::Status,
            Self::Kind(_) => Kind::Kind,
            Self::Array(..) => Kind::Array,
        }
    }

    /// As a number; `None` for what is none.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) | Self::Duration(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// Whether it is `true`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Static<'static> {
        match self {
            Self::Nil => Static::Nil,
            Self::Bool(b) => Static::Bool(b),
            Self::Int(i) => Static::Int(i),
            Self::Float(f) => Static::Float(f),
            Self::Text(t) => Static::Text(Cow::Owned(t.into_owned())),
            Self::Duration(d) => Static::Duration(d),
            Self::Status(s) => Static::Status(s),
            Self::Kind(k) => Static::Kind(k),
            Self::Array(kind, values) => Static::Array(kind, values.into_iter().map(Static::into_owned).collect()),
        }
    }

    /// A text that values have in common exactly when they are of one type and equal.
    pub(crate) fn key(&self) -> String {
        format!("{:?} {self}", self.kind())
    }

    /// The name of a status or kind.
    pub(crate) fn word(&self) -> Option<&'static str> {
        let name = |names: &[&'static str], n: i64| usize::try_from(n).ok().and_then(|n| names.get(n).copied());
        match self {
            Self::Status(s) => Some(name(&STATUSES, *s).unwrap_or(STATUSES[0])),
            Self::Kind(k) => Some(name(&KINDS, *k).unwrap_or(KINDS[0])),
            _ => None,
        }
    }

    /// How two values of one type, or two numbers, are ordered; `None` for others.
    #[must_use]
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(l), Self::Text(r)) => Some(l.cmp(r)),
            (Self::Int(l) | Self::Duration(l), Self::Int(r) | Self::Duration(r))
            | (Self::Status(l), Self::Status(r))
            | (Self::Kind(l), Self::Kind(r)) => Some(l.cmp(r)),
            (Self::Bool(l), Self::Bool(r)) => Some(l.cmp(r)),
            (Self::Nil, Self::Nil) => Some(Ordering::Equal),
            (Self::Array(_, l), Self::Array(_, r)) if l == r => Some(Ordering::Equal),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

/// A pattern that must match the whole text, as Tempo has it.
///
/// # Errors
/// What `regex` says of it.
pub(crate) fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{pattern})$"))
}

/// `left op right`. What does not fit together is false, not an error; `regex` is the compiled right side of `=~` and `!~`.
///
/// # Errors
/// An integer divided by zero.
pub(crate) fn binary(
    op: Op,
    left: &Static<'_>,
    right: &Static<'_>,
    regex: Option<&Regex>,
) -> Result<Static<'static>, &'static str> {
    let no = Ok(Static::Bool(false));
    let (l, r) = (left.kind(), right.kind());
    if l == Kind::Nil || r == Kind::Nil || !l.matches(r) || !l.fits(op) || !r.fits(op) {
        return no;
    }
    match (left, right) {
        (Static::Array(..), Static::Array(..)) => {
            return Ok(Static::Bool(match op {
                Op::Eq => left == right,
                Op::Ne => left != right,
                _ => false,
            }));
        }
        (Static::Array(_, elements), other) | (other, Static::Array(_, elements)) => {
            let array_is_left = matches!(left, Static::Array(..));
            // Any of them, but none of them for what is negated.
            let all = matches!(op, Op::Ne | Op::NotMatches);
            if !op.is_boolean() {
                return no;
            }
            for element in elements {
                let (l, r) = if array_is_left { (element, other) } else { (other, element) };
                if binary(op, l, r, regex)?.is_true() != all {
                    return Ok(Static::Bool(!all));
                }
            }
            return Ok(Static::Bool(all && !elements.is_empty()));
        }
        (Static::Int(l), Static::Int(r)) if !op.is_boolean() => return integers(op, *l, *r),
        _ => {}
    }
    if !op.is_boolean() {
        let (Some(l), Some(r)) = (left.number(), right.number()) else { return no };
        return Ok(Static::Float(match op {
            Op::Add => l + r,
            Op::Sub => l - r,
            Op::Mul => l * r,
            Op::Div => l / r,
            Op::Mod => l % r,
            _ => l.powf(r),
        }));
    }
    Ok(Static::Bool(match (op, left, right) {
        (Op::And, Static::Bool(l), Static::Bool(r)) => *l && *r,
        (Op::Or, Static::Bool(l), Static::Bool(r)) => *l || *r,
        (Op::Matches | Op::NotMatches, Static::Text(text), Static::Text(pattern)) => {
            let matches = match regex {
                Some(regex) => Some(regex.is_match(text)),
                None => anchored(pattern).ok().map(|regex| regex.is_match(text)),
            };
            matches.is_some_and(|m| m == (op == Op::Matches))
        }
        _ => compare(op, left, right),
    }))
}

/// One of the comparisons.
pub(crate) fn compare(op: Op, left: &Static<'_>, right: &Static<'_>) -> bool {
    let order = left.order(right);
    match op {
        Op::Eq => order == Some(Ordering::Equal),
        Op::Ne => order != Some(Ordering::Equal),
        Op::Lt => order == Some(Ordering::Less),
        Op::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Op::Gt => order == Some(Ordering::Greater),
        Op::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => false,
    }
}

fn integers(op: Op, l: i64, r: i64) -> Result<Static<'static>, &'static str> {
    Ok(Static::Int(match op {
        Op::Add => l.wrapping_add(r),
        Op::Sub => l.wrapping_sub(r),
        Op::Mul => l.wrapping_mul(r),
        Op::Div if r == 0 => return Err("division by zero"),
        Op::Div => l.wrapping_div(r),
        Op::Mod if r == 0 => return Err("modulo by zero"),
        Op::Mod => l.wrapping_rem(r),
        // Go computes it with floats.
        _ => (l as f64).powf(r as f64) as i64,
    }))
}

/// `-value`; nil for what is no number.
pub(crate) fn negated(value: &Static<'_>) -> Static<'static> {
    match value {
        Static::Int(i) => Static::Int(i.wrapping_neg()),
        Static::Duration(d) => Static::Duration(d.wrapping_neg()),
        Static::Float(f) => Static::Float(-f),
        _ => Static::Nil,
    }
}

impl Static<'_> {
    /// The same value, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Static<'_> {
        match self {
            Self::Text(t) => Static::Text(Cow::Borrowed(t)),
            Self::Array(kind, values) => Static::Array(*kind, values.iter().map(Static::borrowed).collect()),
            Self::Nil => Static::Nil,
            Self::Bool(b) => Static::Bool(*b),
            Self::Int(i) => Static::Int(*i),
            Self::Float(f) => Static::Float(*f),
            Self::Duration(d) => Static::Duration(*d),
            Self::Status(s) => Static::Status(*s),
            Self::Kind(k) => Static::Kind(*k),
        }
    }
}
