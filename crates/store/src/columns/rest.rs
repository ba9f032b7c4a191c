//! Attributes that have no column of their own: one JSON array a row, an entry `[scope, key, type, value]` each, the
//! value always as a string: `[["attr","http.route","str","/a"],["resource","cpus","int","8"]]`.
//! Doubles print so that they read back exactly, bytes are hexadecimal, nested values are their OTLP/JSON text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use model::{OwnedValue, Scope, Value, ValueType};

use super::id::ColumnId;
use super::text::{BytesColumn, TextColumn, Texts, nulls_at};

/// Appends an entry to a row's text; the caller closes the array with `]`.
pub(crate) fn append(out: &mut String, scope: Scope, key: &str, value: &Value<'_>) {
    out.push_str(if out.is_empty() { "[[\"" } else { ",[\"" });
    out.push_str(scope.as_str());
    out.push_str("\",");
    json_string(out, key);
    let _ = write!(out, ",\"{}\",", value.value_type().as_str());
    match value {
        Value::Str(s) => json_string(out, s),
        Value::Nested(s) => json_string(out, s),
        Value::Bool(b) => {
            let _ = write!(out, "\"{b}\"");
        }
        Value::Int(i) => {
            let _ = write!(out, "\"{i}\"");
        }
        // A NaN's payload would not survive as text.
        Value::Double(d) if d.is_nan() => {
            let _ = write!(out, "\"nan:{:016x}\"", d.to_bits());
        }
        Value::Double(d) => {
            let _ = write!(out, "\"{d:?}\"");
        }
        Value::Bytes(bytes) => {
            out.push('"');
            for b in bytes.iter() {
                let _ = write!(out, "{b:02x}");
            }
            out.push('"');
        }
    }
    out.push(']');
}

/// Appends `text` as a JSON string.
pub(crate) fn json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (i, b) in text.bytes().enumerate() {
        if b >= 0x20 && b != b'"' && b != b'\\' {
            continue;
        }
        out.push_str(&text[clean..i]);
        clean = i + 1;
        match b {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b => {
                let _ = write!(out, "\\u{b:04x}");
            }
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// The entries of a row's text; what does not parse is left out (our own writer's text always parses).
pub(crate) fn entries(text: &str) -> Vec<(Scope, Cow<'_, str>, OwnedValue)> {
    #[derive(serde::Deserialize)]
    struct Entry<'a>(
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Text<'a>,
        #[serde(borrow)] Cow<'a, str>,
        #[serde(borrow)] Text<'a>,
    );
    #[derive(serde::Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let parsed: Vec<Entry<'_>> = serde_json::from_str(text).unwrap_or_default();
    parsed
        .into_iter()
        .filter_map(|Entry(scope, Text(key), kind, Text(value))| {
            Some((Scope::parse(&scope)?, key, read_value(ValueType::parse(&kind)?, value)?))
        })
        .collect()
}

fn read_value(kind: ValueType, text: Cow<'_, str>) -> Option<OwnedValue> {
    Some(match kind {
        ValueType::Str => OwnedValue::Str(text.into_owned()),
        ValueType::Nested => OwnedValue::Nested(text.into_owned()),
        ValueType::Bool => OwnedValue::Bool(&*text == "true"),
        ValueType::Int => OwnedValue::Int(text.parse().ok()?),
        ValueType::Double => OwnedValue::Double(match text.strip_prefix("nan:") {
            Some(bits) => f64::from_bits(u64::from_str_radix(bits, 16).ok()?),
            None => text.parse().ok()?,
        }),
        ValueType::Bytes => {
            let digits = text.as_bytes();
            let nibble = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
            let mut bytes = Vec::with_capacity(digits.len() / 2);
            for pair in digits.chunks_exact(2) {
                bytes.push((nibble(pair[0])? << 4) | nibble(pair[1])?);
            }
            OwnedValue::Bytes(bytes)
        }
    })
}

/// The value of an attribute column of type `kind` in a row.
pub(crate) fn value_in<'a>(array: &'a ArrayRef, kind: ValueType, row: usize) -> Option<Value<'a>> {
    if array.is_null(row) {
        return None;
    }
    Some(match kind {
        ValueType::Str => Value::Str(Texts::of(array)?.get(row)?),
        ValueType::Nested => Value::Nested(Cow::Borrowed(Texts::of(array)?.get(row)?)),
        ValueType::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
        ValueType::Int => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        ValueType::Double => Value::Double(array.as_primitive_opt::<Float64Type>()?.value(row)),
        ValueType::Bytes => Value::Bytes(Cow::Borrowed(array.as_binary_opt::<i32>()?.value(row))),
    })
}

/// The attributes in a rest column that `wanted` accepts, as columns of their own.
pub(crate) fn expand(column: &ArrayRef, needle: Option<&str>, wanted: impl Fn(Scope, &str) -> bool) -> Vec<(ColumnId, ArrayRef)> {
    let rows = column.len();
    let Some(texts) = Texts::of(column) else { return Vec::new() };
    let mut quoted = String::new();
    if let Some(key) = needle {
        json_string(&mut quoted, key);
    }
    let finder = memchr::memmem::Finder::new(quoted.as_bytes());
    let mut found: BTreeMap<(Scope, Arc<str>, ValueType), (Vec<u32>, Vec<OwnedValue>)> = BTreeMap::new();
    for row in 0..rows {
        let Some(text) = texts.get(row) else { continue };
        if needle.is_some() && finder.find(text.as_bytes()).is_none() {
            continue;
        }
        for (scope, key, value) in entries(text) {
            if !wanted(scope, &key) {
                continue;
            }
            let (at, values) = found.entry((scope, key.as_ref().into(), value.as_value().value_type())).or_default();
            if at.last() != Some(&(row as u32)) {
                at.push(row as u32);
                values.push(value);
            }
        }
    }
    found
        .into_iter()
        .map(|((scope, key, kind), (at, values))| (ColumnId::Attribute(scope, key, kind), array_of(kind, &at, &values, rows)))
        .collect()
}

/// An attribute column of `rows` rows with `values[i]` in row `at[i]`.
pub(crate) fn array_of(kind: ValueType, at: &[u32], values: &[OwnedValue], rows: usize) -> ArrayRef {
    use arrow_array::{BooleanArray, Float64Array, Int64Array};
    let nulls = nulls_at(at, rows);
    match kind {
        ValueType::Str | ValueType::Nested => {
            let mut column = TextColumn::new();
            for value in values {
                match value {
                    OwnedValue::Str(s) | OwnedValue::Nested(s) => column.push(s),
                    _ => column.push(""),
                }
            }
            column.finish(Some(at), rows, true)
        }
        ValueType::Bytes => {
            let mut column = BytesColumn::default();
            for value in values {
                column.push(if let OwnedValue::Bytes(b) = value { b } else { &[] });
            }
            column.finish(Some(at), rows)
        }
        ValueType::Bool => {
            let mut out = vec![false; rows];
            for (&row, v) in at.iter().zip(values) {
                out[row as usize] = matches!(v, OwnedValue::Bool(true));
            }
            Arc::new(BooleanArray::new(out.into(), nulls))
        }
        ValueType::Int => {
            let mut out = vec![0; rows];
            for (&row, v) in at.iter().zip(values) {
                if let OwnedValue::Int(i) = v {
                    out[row as usize] = *i;
                }
            }
            Arc::new(Int64Array::new(out.into(), nulls))
        }
        ValueType::Double => {
            let mut out = vec![0.0; rows];
            for (&row, v) in at.iter().zip(values) {
                if let OwnedValue::Double(d) = v {
                    out[row as usize] = *d;
                }
            }
            Arc::new(Float64Array::new(out.into(), nulls))
        }
    }
}
