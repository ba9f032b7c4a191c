//! What templates compute with.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::Time;
use crate::format::{format_float, quote};

/// A value.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Go's nil interface.
    #[default]
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `int64`: another type than `int` where a function asks for one of them.
    Int64(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Str(Arc<str>),
    /// `time.Time`
    Time(Time),
    /// `[]interface{}`
    List(Arc<[Value]>),
    /// A map of texts.
    Map(Arc<Map>),
    /// A struct of the caller.
    Object(Arc<dyn Object>),
}

/// A map whose keys are texts.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// What it holds.
    pub entries: BTreeMap<Arc<str>, Value>,
    /// Whether it is a `map[string]string`, which gives an empty text for a key that it lacks, else a `map[string]interface{}`.
    pub texts: bool,
}

/// A struct with fields and methods that only its owner knows.
pub trait Object: Send + Sync + fmt::Debug {
    /// The name of its type, for errors.
    fn type_name(&self) -> &str;
    /// The value of a field.
    fn field(&self, name: &str) -> Option<Value>;
    /// Calls a method. `None` where there is none of that name.
    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let _ = (name, arguments);
        None
    }
    /// How it prints.
    fn print(&self) -> String;
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Str(text.as_ref().into())
    }

    /// Bytes of the texts in it, and some for each value that it holds.
    pub(crate) fn size(&self) -> usize {
        const EACH: usize = 16;
        match self {
            Self::Str(text) => text.len(),
            Self::List(items) => items.iter().map(|item| EACH + item.size()).sum(),
            Self::Map(map) => map.entries.iter().map(|(key, item)| EACH + key.len() + item.size()).sum(),
            _ => EACH,
        }
    }

    /// Go's name of the type.
    #[must_use]
    pub fn type_name(&self) -> String {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(m) if m.texts => "map[string]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Object(o) => return o.type_name().to_owned(),
        }
        .to_owned()
    }

    /// What `if` makes of it: false are zero, the empty text, list and map, and nil.
    #[must_use]
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(i) | Self::Int64(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::Time(_) | Self::Object(_) => true,
            Self::List(l) => !l.is_empty(),
            Self::Map(m) => !m.entries.is_empty(),
        }
    }

    /// Whole numbers.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) | Self::Int64(i) => Some(*i),
            _ => None,
        }
    }

    /// Texts.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }
}

/// As `%v` prints it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("<nil>"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) | Self::Int64(i) => write!(f, "{i}"),
            Self::Float(x) => f.write_str(&format_float(*x, 'v', None)),
            Self::Str(s) => f.write_str(s),
            Self::Time(t) => write!(f, "{t}"),
            Self::List(l) => {
                f.write_str("[")?;
                for (i, v) in l.iter().enumerate() {
                    write!(f, "{}{v}", if i > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(m) => {
                f.write_str("map[")?;
                for (i, (k, v)) in m.entries.iter().enumerate() {
                    write!(f, "{}{k}:{v}", if i > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(o) => f.write_str(&o.print()),
        }
    }
}

impl Value {
    /// As `%q` prints texts inside of lists and maps.
    pub(crate) fn quoted(&self) -> String {
        match self {
            Self::Str(s) => quote(s),
            Self::List(l) => format!("[{}]", l.iter().map(Self::quoted).collect::<Vec<_>>().join(" ")),
            Self::Map(m) => {
                let entries: Vec<String> = m.entries.iter().map(|(k, v)| format!("{}:{}", quote(k), v.quoted())).collect();
                format!("map[{}]", entries.join(" "))
            }
            other => other.to_string(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}
