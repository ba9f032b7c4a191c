//! Rows in columns, as the languages read them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use model::{Scope, Value, ValueType};

use super::{Column, Field};

/// Some rows of a scan.
///
/// The Arrow schema's field names are free; what a column *is* stands beside it. An attribute key that carries
/// several types has several columns, at most one of them not null in a row.
#[derive(Debug, Clone)]
pub struct Batch {
    columns: RecordBatch,
    meaning: Arc<[Meaning]>,
}

/// What one Arrow column holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// A field.
    Field(Field),
    /// An attribute: `Str` and `Nested` as text, `Bool` as `Boolean`, `Int` as `Int64`, `Double` as `Float64`,
    /// `Bytes` as `Binary`; null where the row lacks it.
    Attribute(Scope, Arc<str>, ValueType),
}

impl Batch {
    /// A batch of columns that mean `meaning`, one entry a column.
    ///
    /// # Panics
    /// When the two lists differ in length: a bug of the engine.
    #[must_use]
    pub fn new(columns: RecordBatch, meaning: Arc<[Meaning]>) -> Self {
        assert_eq!(columns.num_columns(), meaning.len(), "a meaning for each column");
        Self { columns, meaning }
    }

    /// A batch of `rows` rows and no columns, as a projection of columns that no row has gives.
    #[must_use]
    pub fn without_columns(rows: usize) -> Self {
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(Arc::new(Schema::empty())));
        Self { columns, meaning: Arc::from([]) }
    }

    /// How many rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// The Arrow columns.
    #[must_use]
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// What each of them means.
    #[must_use]
    pub fn meaning(&self) -> &Arc<[Meaning]> {
        &self.meaning
    }

    /// The column of a field, if the batch has it.
    #[must_use]
    pub fn field(&self, field: Field) -> Option<&ArrayRef> {
        let at = self.meaning.iter().position(|m| *m == Meaning::Field(field))?;
        Some(self.columns.column(at))
    }

    /// An integer field's value (`Time`, `Duration`, `Kind`, `Flags`, …); `None` where the column is absent or null.
    #[must_use]
    pub fn int(&self, row: usize, field: Field) -> Option<i64> {
        let array = self.field(field)?;
        if array.is_null(row) {
            return None;
        }
        match array.data_type() {
            DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row)),
            DataType::Int32 => Some(array.as_primitive::<arrow_array::types::Int32Type>().value(row).into()),
            DataType::UInt32 => Some(array.as_primitive::<UInt32Type>().value(row).into()),
            DataType::UInt8 => Some(array.as_primitive::<arrow_array::types::UInt8Type>().value(row).into()),
            _ => None,
        }
    }

    /// A text field's value; empty where the column is absent or null.
    #[must_use]
    pub fn text(&self, row: usize, field: Field) -> &str {
        self.field(field).and_then(|a| text_at(a, row)).unwrap_or("")
    }

    /// An id field's bytes; empty where the column is absent or null.
    #[must_use]
    pub fn id(&self, row: usize, field: Field) -> &[u8] {
        match self.field(field) {
            Some(a) if !a.is_null(row) && matches!(a.data_type(), DataType::FixedSizeBinary(_)) => {
                a.as_fixed_size_binary().value(row)
            }
            _ => &[],
        }
    }

    /// The value of an attribute column in a row: with an open scope the first scope that has it (record,
    /// instrumentation, resource, label). `None` for fields.
    #[must_use]
    pub fn attribute(&self, row: usize, column: &Column) -> Option<Value<'_>> {
        let Column::Attribute { scope, key } = column else { return None };
        const OPEN: [Scope; 4] = [Scope::Record, Scope::Instrumentation, Scope::Resource, Scope::Label];
        let one = scope.map(|s| [s]);
        let scopes: &[Scope] = one.as_ref().map_or(&OPEN, |s| s);
        scopes.iter().find_map(|scope| {
            self.meaning.iter().enumerate().find_map(|(at, m)| match m {
                Meaning::Attribute(s, k, t) if s == scope && **k == **key => self.value_at(at, row, *t),
                _ => None,
            })
        })
    }

    /// Calls `each` for every attribute that the row has, in the order of the columns.
    pub fn attributes<'b>(&'b self, row: usize, mut each: impl FnMut(Scope, &'b str, Value<'b>)) {
        for (at, m) in self.meaning.iter().enumerate() {
            if let Meaning::Attribute(scope, key, t) = m
                && let Some(value) = self.value_at(at, row, *t)
            {
                each(*scope, key, value);
            }
        }
    }

    fn value_at(&self, at: usize, row: usize, t: ValueType) -> Option<Value<'_>> {
        value_at(self.columns.column(at), row, t)
    }
}

/// The value in a row of a column of values of type `t`; `None` where null.
pub(super) fn value_at(array: &ArrayRef, row: usize, t: ValueType) -> Option<Value<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match t {
        ValueType::Str => Value::Str(text_at(array, row)?),
        ValueType::Nested => Value::Nested(Cow::Borrowed(text_at(array, row)?)),
        ValueType::Bool => Value::Bool(array.as_boolean().value(row)),
        ValueType::Int => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        ValueType::Double => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        ValueType::Bytes => Value::Bytes(Cow::Borrowed(array.as_binary::<i32>().value(row))),
    })
}

/// The text in a `Utf8` or `Dictionary(UInt32, Utf8)` column; `None` where null or of another type.
pub fn text_at(array: &ArrayRef, row: usize) -> Option<&str> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().value(row)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary_opt::<UInt32Type>()?;
            let key = dictionary.keys().value(row) as usize;
            let values = dictionary.values();
            // A dictionary may hold its nulls among the values.
            (!values.is_null(key)).then(|| values.as_string::<i32>().value(key))
        }
        _ => None,
    }
}

/// A value as [`super::Distinct::Values`] prints it: text as it is, numbers and booleans as Rust's `Display` has them
/// (`1`, `1.5`, `true`), bytes and ids as lower-case hexadecimal, nested values as their JSON.
#[must_use]
pub fn value_text(value: &Value<'_>) -> String {
    match value {
        Value::Str(s) => (*s).to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Double(d) => d.to_string(),
        Value::Bytes(b) => b.iter().map(|b| format!("{b:02x}")).collect(),
        Value::Nested(n) => n.to_string(),
    }
}
