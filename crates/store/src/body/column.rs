//! Which columns a body is kept in: their identity, their names in files, their Arrow types.

use std::fmt;
use std::sync::Arc;

use arrow_schema::DataType;

/// Most bytes that a hexadecimal string may stand for to be kept as bytes.
pub(super) const HEX_MAX: usize = 64;
/// Fewest bytes: shorter strings of digits are as well kept as text.
pub(super) const HEX_MIN: usize = 8;
/// Most digits after the point for a number to be kept as a decimal.
pub(super) const SCALE_MAX: u8 = 6;
/// Digits of a decimal column.
pub(super) const PRECISION: u8 = 18;

/// The type of a variable: how the text between two pieces of layout is kept. Each gives its text back byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A canonical integer in the range of `i64`: `Int64`.
    Int,
    /// A number with so many digits after the point (`12.50` has 2), at most 18 digits in all: `Decimal64(18, scale)`.
    Decimal(u8),
    /// A number that is the shortest decimal text of a double, without an exponent: `Float64`.
    Float,
    /// Any other number, as it is written: `Utf8`.
    Number,
    /// `true` or `false`: `Boolean`.
    Bool,
    /// A string of lower-case hexadecimal digits for so many bytes: `FixedSizeBinary`.
    Hex(u8),
    /// A string without escapes, without its quotes: `Utf8`.
    Str,
    /// The inside of a string that has escapes, as it is written: `Utf8`.
    Escaped,
    /// An array, or an object nested too deep, as it is written: `Utf8`.
    Json,
}

impl Kind {
    /// The Arrow type of a column of this kind.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int64,
            Self::Decimal(scale) => DataType::Decimal64(PRECISION, scale as i8),
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Hex(bytes) => DataType::FixedSizeBinary(i32::from(bytes)),
            Self::Number | Self::Str | Self::Escaped | Self::Json => DataType::Utf8,
        }
    }

    /// Whether a column of this kind is text.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Number | Self::Str | Self::Escaped | Self::Json)
    }

    /// Bytes of a value of a hexadecimal kind, else 0.
    pub(super) fn hex_bytes(self) -> usize {
        if let Self::Hex(bytes) = self { usize::from(bytes) } else { 0 }
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(scale) = name.strip_prefix("dec") {
            return scale.parse().ok().filter(|s| (1..=SCALE_MAX).contains(s)).map(Self::Decimal);
        }
        if let Some(bytes) = name.strip_prefix("hex") {
            return bytes.parse().ok().filter(|n| (HEX_MIN..=HEX_MAX).contains(&usize::from(*n))).map(Self::Hex);
        }
        Some(match name {
            "int" => Self::Int,
            "float" => Self::Float,
            "num" => Self::Number,
            "bool" => Self::Bool,
            "str" => Self::Str,
            "esc" => Self::Escaped,
            "json" => Self::Json,
            _ => return None,
        })
    }
}

/// The kind in a column's name: `int`, `dec2`, `float`, `num`, `bool`, `hex16`, `str`, `esc`, `json`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int => f.write_str("int"),
            Self::Decimal(scale) => write!(f, "dec{scale}"),
            Self::Float => f.write_str("float"),
            Self::Number => f.write_str("num"),
            Self::Bool => f.write_str("bool"),
            Self::Hex(bytes) => write!(f, "hex{bytes}"),
            Self::Str => f.write_str("str"),
            Self::Escaped => f.write_str("esc"),
            Self::Json => f.write_str("json"),
        }
    }
}

/// A variable column: the values at one place of the lines, of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variable {
    /// The JSON keys that lead to the value, as they are written (escapes kept), joined with `.`. Not unique:
    /// `{"a.b":1}` and `{"a":{"b":1}}` share a column.
    pub path: Arc<str>,
    /// 1, or which one it is where a line has several values of this path and kind.
    pub nth: u32,
    /// How the value is kept.
    pub kind: Kind,
}

impl Variable {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (path, tail) = name.rsplit_once(':')?;
        let (kind, nth) = match tail.split_once('#') {
            Some((kind, nth)) => (kind, nth.parse().ok().filter(|n| *n > 1)?),
            None => (tail, 1),
        };
        Some(Self { path: path.into(), nth, kind: Kind::parse(kind)? })
    }
}

/// `path:kind`, for the second and later of one path and kind `path:kind#2`.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.kind)?;
        if self.nth > 1 { write!(f, "#{}", self.nth) } else { Ok(()) }
    }
}

/// A column that bodies are kept in. Sorts: text, layout, then the variables by path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyColumnId {
    /// Lines kept whole: `Utf8`, null where the line is split. Named `body`.
    Text,
    /// The layout of a line that is split: `Dictionary(UInt32, Utf8)`, null where it is kept whole. Named
    /// `body.layout`. It is the line with each variable's text replaced by U+0001, the variable's name, U+0002;
    /// so it says all that is needed to put the line together, whatever batch it is moved to.
    Layout,
    /// A variable: null where the row's layout does not name it. Named `body.` and the variable's name.
    Value(Variable),
}

impl BodyColumnId {
    /// The Arrow type of the column.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Layout => DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)),
            Self::Value(variable) => variable.kind.data_type(),
        }
    }

    /// The column's name in a segment.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Text => "body".to_owned(),
            Self::Layout => "body.layout".to_owned(),
            Self::Value(variable) => format!("body.{variable}"),
        }
    }

    /// The column that a name means, `None` when it is not one of a body's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "body" => Some(Self::Text),
            "body.layout" => Some(Self::Layout),
            _ => Variable::parse(name.strip_prefix("body.")?).map(Self::Value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let kinds = [
            Kind::Int,
            Kind::Decimal(2),
            Kind::Float,
            Kind::Number,
            Kind::Bool,
            Kind::Hex(16),
            Kind::Str,
            Kind::Escaped,
            Kind::Json,
        ];
        for kind in kinds {
            for (path, nth) in [("status", 1), ("a.b:int#2", 3), ("", 1), ("layout", 1), ("x#9", 1)] {
                let id = BodyColumnId::Value(Variable { path: path.into(), nth, kind });
                assert_eq!(BodyColumnId::parse(&id.name()), Some(id));
            }
        }
        for id in [BodyColumnId::Text, BodyColumnId::Layout] {
            assert_eq!(BodyColumnId::parse(&id.name()), Some(id));
        }
        for other in ["time", "body.x", "body.x:dec0", "body.x:dec99", "body.x:hex1", "body.x:int#1", "label.body:int"] {
            assert_eq!(BodyColumnId::parse(other), None, "{other}");
        }
    }
}
