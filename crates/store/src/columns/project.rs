//! From kept columns to the contract's: fills zeros in, makes lists of events, unites rest columns with the others.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, PrimitiveArray, RecordBatch, UInt8Array, UInt32Array};
use arrow_schema::{DataType, Field as ArrowField, Schema};
use model::Scope;

use super::eval::{Source, zero_filled};
use super::id::{ColumnId, RestOf};
use super::{nested, rest};
use crate::StoreError;
use crate::contract::{Batch, Column, Field, Meaning, Table};

/// The kept columns that a projection needs of a source that has `ids`.
pub(crate) fn needed(projection: &[Column], ids: &[&ColumnId]) -> Vec<ColumnId> {
    let rest = projection.iter().any(|c| !matches!(c, Column::Field(_)));
    ids.iter()
        .filter(|id| match id {
            ColumnId::Field(field) => projection.contains(&Column::Field(*field)),
            ColumnId::Attribute(scope, key, _) => wanted(projection, *scope, key),
            ColumnId::Rest(_) => rest,
            ColumnId::Stream | ColumnId::Body(_) => false,
        })
        .map(|id| (*id).clone())
        .collect()
}

/// Whether a projection asks for an attribute.
pub(crate) fn wanted(projection: &[Column], scope: Scope, key: &str) -> bool {
    projection.iter().any(|c| match c {
        Column::Field(_) => false,
        Column::Attribute { scope: s, key: k } => s.is_none_or(|s| s == scope) && k == key,
        Column::Attributes(s) => s.is_none_or(|s| s == scope),
    })
}

/// The batch of a projection of all rows of `source`.
///
/// # Errors
/// What loading a column gives.
pub(crate) fn project(projection: &[Column], source: &dyn Source) -> Result<Batch, StoreError> {
    let rows = source.rows();
    let mut out: Vec<(Meaning, ArrayRef)> = Vec::new();
    let mut push = |meaning: Meaning, array: ArrayRef| {
        if array.null_count() == rows && rows > 0 {
            return;
        }
        if !out.iter().any(|(m, _)| *m == meaning) {
            out.push((meaning, array));
        }
    };
    for column in projection {
        if let Column::Field(field) = column
            && let Some(array) = field_array(*field, source)?
        {
            push(Meaning::Field(*field), array);
        }
    }
    let ids = source.ids();
    for id in &ids {
        match id {
            ColumnId::Attribute(scope, key, kind) if wanted(projection, *scope, key) => {
                if let Some(array) = source.load(id)? {
                    push(Meaning::Attribute(*scope, key.clone(), *kind), array);
                }
            }
            ColumnId::Rest(RestOf::Record | RestOf::Group) if projection.iter().any(|c| !matches!(c, Column::Field(_))) => {
                let Some(array) = source.load(id)? else { continue };
                let needle = match projection.iter().filter(|c| !matches!(c, Column::Field(_))).collect::<Vec<_>>()[..] {
                    [Column::Attribute { key, .. }] => Some(key.as_str()),
                    _ => None,
                };
                for (id, array) in rest::expand(&array, needle, |s, k| wanted(projection, s, k)) {
                    if let ColumnId::Attribute(scope, key, kind) = id {
                        push(Meaning::Attribute(scope, key, kind), array);
                    }
                }
            }
            _ => {}
        }
    }
    batch(rows, out)
}

/// A batch of columns with their meanings.
///
/// # Errors
/// Columns of different lengths: a bug.
pub(crate) fn batch(rows: usize, columns: Vec<(Meaning, ArrayRef)>) -> Result<Batch, StoreError> {
    if columns.is_empty() {
        return Ok(Batch::without_columns(rows));
    }
    let (meaning, arrays): (Vec<Meaning>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let fields: Vec<ArrowField> =
        arrays.iter().enumerate().map(|(i, a)| ArrowField::new(i.to_string(), a.data_type().clone(), true)).collect();
    let batch =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(StoreError::columns("build a batch of a scan"))?;
    Ok(Batch::new(batch, meaning.into()))
}

/// A field of all rows of `source`, with zeros in the place of nulls where it is one of those that are 0 when absent.
///
/// # Errors
/// What loading a column gives.
pub(crate) fn field_array(field: Field, source: &dyn Source) -> Result<Option<ArrayRef>, StoreError> {
    let Some(array) = source.load(&ColumnId::Field(field))? else {
        return Ok(zero_filled(source.table(), field).then(|| zeros(field, source.rows())));
    };
    Ok(Some(match field {
        Field::Events => nested::events_list(&array)?,
        Field::Links => nested::links_list(&array)?,
        _ if zero_filled(source.table(), field) => fill_zeros(&array)?,
        _ => array,
    }))
}

fn zeros(field: Field, rows: usize) -> ArrayRef {
    match ColumnId::Field(field).data_type(true) {
        DataType::Int64 => Arc::new(Int64Array::from_value(0, rows)),
        DataType::Int32 => Arc::new(Int32Array::from_value(0, rows)),
        DataType::UInt8 => Arc::new(UInt8Array::from_value(0, rows)),
        _ => Arc::new(UInt32Array::from_value(0, rows)),
    }
}

/// The column with zeros in the place of nulls.
///
/// # Errors
/// Never for the types that fields have; an unknown type is a corrupt segment.
pub(crate) fn fill_zeros(array: &ArrayRef) -> Result<ArrayRef, StoreError> {
    fn fill<T: arrow_array::ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
    where
        T::Native: Default,
    {
        let array = array.as_primitive::<T>();
        let values: Vec<T::Native> = array.iter().map(|v| v.unwrap_or_default()).collect();
        Arc::new(PrimitiveArray::<T>::new(values.into(), None))
    }
    if array.null_count() == 0 {
        return Ok(array.clone());
    }
    match array.data_type() {
        DataType::Int64 => Ok(fill::<Int64Type>(array)),
        DataType::Int32 => Ok(fill::<Int32Type>(array)),
        DataType::UInt32 => Ok(fill::<UInt32Type>(array)),
        DataType::UInt8 => Ok(fill::<UInt8Type>(array)),
        other => Err(StoreError::Columns { what: "read a number".into(), reason: format!("the column is {other}") }),
    }
}

/// The table's time column.
pub(crate) const TIME: ColumnId = ColumnId::Field(Field::Time);

/// The columns by which a table knows a row again; of log records what they carry counts, too (see `carried`).
pub(crate) fn identity(table: Table) -> Vec<ColumnId> {
    match table {
        Table::Spans => vec![ColumnId::Field(Field::TraceId), ColumnId::Field(Field::SpanId)],
        Table::Logs => vec![ColumnId::Stream, TIME, ColumnId::Field(Field::Body)],
    }
}
