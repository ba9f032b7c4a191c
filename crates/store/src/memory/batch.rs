//! Rows to Arrow columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, UInt8Array, UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field as ArrowField, Fields, Schema};
use model::{Scope, Value, ValueType};

use super::row::{Cell, Row, type_of};
use crate::{Batch, Column, Field, Meaning, StoreError};

/// The columns of `projection` that any of `rows` has.
pub(super) fn batch(rows: &[&Row], projection: &[Column]) -> Result<Batch, StoreError> {
    let meanings: Vec<Meaning> = projection.iter().flat_map(|c| meanings(rows, c)).collect::<BTreeSet<_>>().into_iter().collect();
    if meanings.is_empty() {
        return Ok(Batch::without_columns(rows.len()));
    }
    let columns: Vec<ArrayRef> =
        meanings.iter().map(|m| array(rows, m)).collect::<Result<_, _>>().map_err(StoreError::columns("building a batch"))?;
    let fields: Vec<ArrowField> =
        columns.iter().enumerate().map(|(i, c)| ArrowField::new(format!("c{i}"), c.data_type().clone(), true)).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(StoreError::columns("building a batch"))?;
    Ok(Batch::new(batch, meanings.into()))
}

fn meanings(rows: &[&Row], column: &Column) -> Vec<Meaning> {
    let wanted = |scope: Scope, key: &str| match column {
        Column::Field(_) => false,
        Column::Attribute { scope: s, key: k } => s.is_none_or(|s| s == scope) && k == key,
        Column::Attributes(s) => s.is_none_or(|s| s == scope),
    };
    match column {
        Column::Field(f) if rows.iter().any(|r| r.fields.contains_key(f)) => vec![Meaning::Field(*f)],
        Column::Field(_) => Vec::new(),
        _ => rows
            .iter()
            .flat_map(|r| &r.attributes)
            .filter(|(scope, key, _)| wanted(*scope, key))
            .map(|(scope, key, value)| Meaning::Attribute(*scope, key.as_str().into(), type_of(value)))
            .collect(),
    }
}

fn array(rows: &[&Row], meaning: &Meaning) -> Result<ArrayRef, ArrowError> {
    match meaning {
        Meaning::Field(field) => field_array(rows, *field),
        Meaning::Attribute(scope, key, t) => {
            let column = Column::attribute(*scope, key);
            let values: Vec<Option<Value<'_>>> = rows.iter().map(|r| r.value(&column).filter(|v| v.value_type() == *t)).collect();
            Ok(attribute_array(&values, *t))
        }
    }
}

fn attribute_array(values: &[Option<Value<'_>>], t: ValueType) -> ArrayRef {
    match t {
        ValueType::Str | ValueType::Nested => {
            let mut b = StringBuilder::new();
            for v in values {
                match v {
                    Some(Value::Str(s)) => b.append_value(s),
                    Some(Value::Nested(s)) => b.append_value(s),
                    _ => b.append_null(),
                }
            }
            Arc::new(b.finish())
        }
        ValueType::Bool => {
            let mut b = BooleanBuilder::new();
            values.iter().for_each(|v| b.append_option(if let Some(Value::Bool(x)) = v { Some(*x) } else { None }));
            Arc::new(b.finish())
        }
        ValueType::Int => {
            let mut b = Int64Builder::new();
            values.iter().for_each(|v| b.append_option(if let Some(Value::Int(x)) = v { Some(*x) } else { None }));
            Arc::new(b.finish())
        }
        ValueType::Double => {
            let mut b = Float64Builder::new();
            values.iter().for_each(|v| b.append_option(if let Some(Value::Double(x)) = v { Some(*x) } else { None }));
            Arc::new(b.finish())
        }
        ValueType::Bytes => {
            let mut b = BinaryBuilder::new();
            values.iter().for_each(|v| b.append_option(if let Some(Value::Bytes(x)) = v { Some(x) } else { None }));
            Arc::new(b.finish())
        }
    }
}

fn field_array(rows: &[&Row], field: Field) -> Result<ArrayRef, ArrowError> {
    let ints = || rows.iter().map(|r| if let Some(Cell::Int(i)) = r.fields.get(&field) { Some(*i) } else { None });
    Ok(match field {
        Field::Time | Field::Duration | Field::Observed => Arc::new(ints().collect::<Int64Array>()),
        Field::Kind | Field::StatusCode | Field::SeverityNumber => {
            Arc::new(ints().map(|i| i.map(|i| i as i32)).collect::<Int32Array>())
        }
        Field::Flags | Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks => {
            Arc::new(ints().map(|i| i.map(|i| i as u32)).collect::<UInt32Array>())
        }
        Field::BodyType => Arc::new(ints().map(|i| i.map(|i| i as u8)).collect::<UInt8Array>()),
        Field::TraceId => ids(rows.iter().map(|r| r.id(field)), 16)?,
        Field::SpanId | Field::ParentSpanId => ids(rows.iter().map(|r| r.id(field)), 8)?,
        Field::ScopeName
        | Field::ScopeVersion
        | Field::GroupExtra
        | Field::Name
        | Field::StatusMessage
        | Field::TraceState
        | Field::Body
        | Field::SeverityText
        | Field::EventName => {
            let texts = rows.iter().map(|r| if let Some(Cell::Text(t)) = r.fields.get(&field) { Some(t.as_str()) } else { None });
            Arc::new(texts.collect::<StringArray>())
        }
        Field::Events => events(rows)?,
        Field::Links => links(rows)?,
    })
}

/// Ids of `width` bytes; an empty one becomes null.
fn ids<'a>(values: impl Iterator<Item = &'a [u8]>, width: i32) -> Result<ArrayRef, ArrowError> {
    let mut b = FixedSizeBinaryBuilder::new(width);
    for v in values {
        match v {
            [] => b.append_null(),
            id => b.append_value(id)?,
        }
    }
    Ok(Arc::new(b.finish()))
}

fn events(rows: &[&Row]) -> Result<ArrayRef, ArrowError> {
    let lists: Vec<Option<&Vec<_>>> =
        rows.iter().map(|r| if let Some(Cell::Events(e)) = r.fields.get(&Field::Events) { Some(e) } else { None }).collect();
    let all = || lists.iter().flatten().flat_map(|l| l.iter());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", Arc::new(all().map(|e| e.time).collect::<Int64Array>())),
        ("name", Arc::new(StringArray::from_iter_values(all().map(|e| &e.name)))),
        ("dropped", Arc::new(all().map(|e| e.dropped).collect::<UInt32Array>())),
        ("attributes", Arc::new(StringArray::from_iter_values(all().map(|e| &e.attributes)))),
    ];
    list(columns, lists.iter().map(|l| l.map(|l| l.len())))
}

fn links(rows: &[&Row]) -> Result<ArrayRef, ArrowError> {
    let lists: Vec<Option<&Vec<_>>> =
        rows.iter().map(|r| if let Some(Cell::Links(e)) = r.fields.get(&Field::Links) { Some(e) } else { None }).collect();
    let all = || lists.iter().flatten().flat_map(|l| l.iter());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("trace_id", ids(all().map(|l| &l.trace_id[..]), 16)?),
        ("span_id", ids(all().map(|l| &l.span_id[..]), 8)?),
        ("trace_state", Arc::new(StringArray::from_iter_values(all().map(|l| &l.trace_state)))),
        ("flags", Arc::new(all().map(|l| l.flags).collect::<UInt32Array>())),
        ("dropped", Arc::new(all().map(|l| l.dropped).collect::<UInt32Array>())),
        ("attributes", Arc::new(StringArray::from_iter_values(all().map(|l| &l.attributes)))),
    ];
    list(columns, lists.iter().map(|l| l.map(|l| l.len())))
}

/// `List<Struct<columns>>`: a row has `lengths` items, `None` for null.
fn list(columns: Vec<(&str, ArrayRef)>, lengths: impl Iterator<Item = Option<usize>> + Clone) -> Result<ArrayRef, ArrowError> {
    let fields: Fields = columns.iter().map(|(name, c)| ArrowField::new(*name, c.data_type().clone(), true)).collect();
    let items = StructArray::try_new(fields.clone(), columns.into_iter().map(|(_, c)| c).collect(), None)?;
    let offsets = OffsetBuffer::from_lengths(lengths.clone().map(|l| l.unwrap_or(0)));
    let nulls: NullBuffer = lengths.map(|l| l.is_some()).collect();
    let item = Arc::new(ArrowField::new("item", DataType::Struct(fields), true));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(items), Some(nulls))?))
}
