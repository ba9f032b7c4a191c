//! Attributes: a key, a typed value, and the scope that says what they describe.

use std::borrow::Cow;

/// What an attribute describes. A column of a table is identified by (scope, key, type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Scope {
    /// The entity that sent the record (OTLP resource).
    Resource = 0,
    /// The library that made the record (OTLP instrumentation scope).
    Instrumentation = 1,
    /// The span or log record itself (for Loki: structured metadata).
    Record = 2,
    /// A stream label (Loki), or what Loki's rules make of a resource.
    Label = 3,
}

impl Scope {
    /// Every scope, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Resource, Self::Instrumentation, Self::Record, Self::Label];

    /// The name that persisted columns carry: `resource`, `scope`, `attr`, `label`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Instrumentation => "scope",
            Self::Record => "attr",
            Self::Label => "label",
        }
    }

    /// The scope that [`Scope::as_str`] names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// The type of a [`Value`]; part of a column's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ValueType {
    /// UTF-8 text.
    Str = 0,
    /// Boolean.
    Bool = 1,
    /// Signed 64-bit integer.
    Int = 2,
    /// IEEE 754 double.
    Double = 3,
    /// Bytes.
    Bytes = 4,
    /// An array, a key-value list, or an empty AnyValue, as OTLP/JSON text.
    Nested = 5,
}

impl ValueType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Str, Self::Bool, Self::Int, Self::Double, Self::Bytes, Self::Nested];

    /// The name that persisted columns carry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::Nested => "nested",
        }
    }

    /// The type that [`ValueType::as_str`] names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }
}

/// An attribute's value, borrowed where it can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// UTF-8 text.
    Str(&'a str),
    /// Boolean.
    Bool(bool),
    /// Signed 64-bit integer.
    Int(i64),
    /// IEEE 754 double.
    Double(f64),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// An array, a key-value list or an empty AnyValue as compact OTLP/JSON text of the whole AnyValue, for example
    /// `{"arrayValue":{"values":[{"intValue":"1"},{"stringValue":"a"}]}}` or `{}`: so every type comes back as it was.
    Nested(Cow<'a, str>),
}

impl Value<'_> {
    /// The value's type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Str(_) => ValueType::Str,
            Self::Bool(_) => ValueType::Bool,
            Self::Int(_) => ValueType::Int,
            Self::Double(_) => ValueType::Double,
            Self::Bytes(_) => ValueType::Bytes,
            Self::Nested(_) => ValueType::Nested,
        }
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_owned_value(&self) -> OwnedValue {
        match self {
            Self::Str(s) => OwnedValue::Str((*s).into()),
            Self::Bool(b) => OwnedValue::Bool(*b),
            Self::Int(i) => OwnedValue::Int(*i),
            Self::Double(d) => OwnedValue::Double(*d),
            Self::Bytes(b) => OwnedValue::Bytes(b.to_vec()),
            Self::Nested(n) => OwnedValue::Nested(n.to_string()),
        }
    }
}

/// A [`Value`] that owns its bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnedValue {
    /// UTF-8 text.
    Str(String),
    /// Boolean.
    Bool(bool),
    /// Signed 64-bit integer.
    Int(i64),
    /// IEEE 754 double.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// See [`Value::Nested`].
    Nested(String),
}

impl OwnedValue {
    /// The same value, borrowed.
    #[must_use]
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Str(s) => Value::Str(s),
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(i) => Value::Int(*i),
            Self::Double(d) => Value::Double(*d),
            Self::Bytes(b) => Value::Bytes(Cow::Borrowed(b)),
            Self::Nested(n) => Value::Nested(Cow::Borrowed(n)),
        }
    }
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Attr<'a> {
    /// The key, never empty in what Braid stores.
    pub key: &'a str,
    /// The value.
    pub value: Value<'a>,
}
