//! Predicates on columns: the rows for which they are true, a column at a time.
//!
//! The meaning is that of [`Predicate`]: two-valued, a missing column makes a comparison false. Texts that repeat are
//! judged once per dictionary entry; columns kept by group once per group.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt8Type, UInt32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};
use arrow_schema::DataType;
use arrow_select::filter::filter_record_batch;
use model::{Scope, ValueType};

use super::id::{ColumnId, RestOf};
use super::packed::{Packed, Span};
use super::project::project;
use super::rest;
use crate::StoreError;
use crate::contract::{Batch, Column, CompareOp, Field, IdSet, Literal, MemberTest, Predicate, RowTest, Table};

/// The order in which an open scope is searched.
pub(crate) const OPEN: [Scope; 4] = [Scope::Record, Scope::Instrumentation, Scope::Resource, Scope::Label];

/// Rows whose columns are loaded when they are asked for.
pub(crate) trait Source {
    /// How many rows.
    fn rows(&self) -> usize;
    /// Which table they are of.
    fn table(&self) -> Table;
    /// The columns there are, sorted.
    fn ids(&self) -> Vec<&ColumnId>;
    /// A column by row; `None` where the source lacks it.
    ///
    /// # Errors
    /// IO and corruption.
    fn load(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError>;
    /// A column of all rows as it is kept, where it is.
    ///
    /// # Errors
    /// IO and corruption.
    fn packed(&self, _id: &ColumnId) -> Result<Option<Packed>, StoreError> {
        Ok(None)
    }
    /// Rows whose `column` (of text) may contain `needle`, where that can be told without the text.
    ///
    /// # Errors
    /// IO and corruption.
    fn contains(&self, _column: Field, _needle: &str) -> Result<Option<BooleanBuffer>, StoreError> {
        Ok(None)
    }
    /// Rows whose line has what is asked under a name, where that can be told without the line.
    ///
    /// # Errors
    /// IO and corruption.
    fn member(&self, _name: &str, _test: MemberTest) -> Result<Option<BooleanBuffer>, StoreError> {
        Ok(None)
    }
}

/// The rows of `source` for which `predicate` is true.
///
/// # Errors
/// What loading a column gives.
pub(crate) fn evaluate(predicate: &Predicate, source: &dyn Source) -> Result<BooleanBuffer, StoreError> {
    evaluate_among(predicate, source, None)
}

/// The same, where only the rows of `among` are asked for: what is said of others is nothing to go by.
fn evaluate_among(
    predicate: &Predicate,
    source: &dyn Source,
    among: Option<&BooleanBuffer>,
) -> Result<BooleanBuffer, StoreError> {
    let rows = source.rows();
    Ok(match predicate {
        Predicate::True => BooleanBuffer::new_set(rows),
        Predicate::And(all) => {
            let mut mask = among.cloned().unwrap_or_else(|| BooleanBuffer::new_set(rows));
            for p in all {
                mask = &mask & &evaluate_among(p, source, Some(&mask))?;
                if mask.count_set_bits() == 0 {
                    break;
                }
            }
            mask
        }
        Predicate::Or(any) => {
            let mut mask = BooleanBuffer::new_unset(rows);
            for p in any {
                mask = &mask | &evaluate_among(p, source, among)?;
            }
            mask
        }
        Predicate::Not(p) => !&evaluate_among(p, source, among)?,
        Predicate::Worded(worded) => worded_rows(worded.test()?, source, among)?,
        Predicate::Compare { column, op, value } => leaf(column, source, &Test::Compare(*op, value))?,
        Predicate::Matches { column, regex } => leaf(column, source, &Test::Text(&|text| regex.is_match(text)))?,
        Predicate::Contains { column, needle } => {
            if let Column::Field(field) = column
                && let Some(mask) = source.contains(*field, needle)?
            {
                return Ok(mask);
            }
            let finder = memchr::memmem::Finder::new(needle.as_bytes());
            leaf(column, source, &Test::Text(&|text| finder.find(text.as_bytes()).is_some()))?
        }
        Predicate::Exists(column) => leaf(column, source, &Test::Present)?,
        Predicate::Nested(column) => leaf(column, source, &Test::Nested)?,
        Predicate::Member { name, test } => match source.member(name, *test)? {
            Some(mask) => mask,
            None => leaf(&Column::Field(Field::Body), source, &Test::Text(&|line| test.accepts(name, line)))?,
        },
        Predicate::OneOf { field, ids } => leaf(&Column::Field(*field), source, &Test::OneOf(ids))?,
    })
}

/// The rows that pass, of those of `among`: such a test costs more than all others, so it looks at no other row.
fn worded_rows(test: &dyn RowTest, source: &dyn Source, among: Option<&BooleanBuffer>) -> Result<BooleanBuffer, StoreError> {
    let mut batch = project(test.columns(), source)?;
    let asked: Vec<usize> = match among {
        Some(among) => among.set_indices().collect(),
        None => (0..source.rows()).collect(),
    };
    if let Some(among) = among.filter(|_| asked.len() < source.rows()) {
        let filter = BooleanArray::new(among.clone(), None);
        let columns = filter_record_batch(batch.columns(), &filter).map_err(StoreError::columns("filter rows"))?;
        batch = Batch::new(columns, batch.meaning().clone());
    }
    let mut mask = BooleanBufferBuilder::new(source.rows());
    mask.append_n(source.rows(), false);
    for (row, passes) in asked.into_iter().zip(test.passes(&batch)) {
        mask.set_bit(row, passes);
    }
    Ok(mask.finish())
}

/// What is asked of a value.
enum Test<'t> {
    Compare(CompareOp, &'t Literal),
    Text(&'t dyn Fn(&str) -> bool),
    Present,
    Nested,
    OneOf(&'t IdSet),
}

fn leaf(column: &Column, source: &dyn Source, test: &Test<'_>) -> Result<BooleanBuffer, StoreError> {
    let rows = source.rows();
    match column {
        // Lists have no value to compare; that they are kept as text is our affair.
        Column::Field(Field::Events | Field::Links) if !matches!(test, Test::Present) => Ok(BooleanBuffer::new_unset(rows)),
        Column::Field(field) => {
            let id = ColumnId::Field(*field);
            if let Some(packed) = source.packed(&id)?
                && (packed.is_full() || !zero_filled(source.table(), *field))
                && let Some(found) = packed_hits(&packed, None, test)
            {
                return Ok(found);
            }
            if let Some(array) = source.load(&id)? {
                let array = match zero_filled(source.table(), *field) {
                    true => super::project::fill_zeros(&array)?,
                    false => array,
                };
                return Ok(hits(&array, None, test));
            }
            // Absent everywhere: zero, or null.
            Ok(match (zero_filled(source.table(), *field), test) {
                (true, Test::Present) => BooleanBuffer::new_set(rows),
                (true, Test::Compare(op, literal)) if number(0, literal).is_some_and(|o| holds(*op, o)) => {
                    BooleanBuffer::new_set(rows)
                }
                _ => BooleanBuffer::new_unset(rows),
            })
        }
        Column::Attribute { scope, key } => {
            let one = scope.map(|s| [s]);
            attribute(one.as_ref().map_or(&OPEN[..], |s| &s[..]), key, source, test)
        }
        Column::Attributes(scope) => match test {
            Test::Present => any_attribute(*scope, source),
            _ => Ok(BooleanBuffer::new_unset(rows)),
        },
    }
}

/// Whether a missing value of the field reads as zero in this table.
pub(crate) fn zero_filled(table: Table, field: Field) -> bool {
    let other = match table {
        Table::Spans => matches!(field, Field::Observed | Field::SeverityNumber | Field::BodyType),
        Table::Logs => matches!(field, Field::Kind | Field::StatusCode | Field::DroppedEvents | Field::DroppedLinks),
    };
    !other && ColumnId::zero_when_absent(field)
}

fn attribute(scopes: &[Scope], key: &str, source: &dyn Source, test: &Test<'_>) -> Result<BooleanBuffer, StoreError> {
    let rows = source.rows();
    let mut result = BooleanBuffer::new_unset(rows);
    let mut undecided = BooleanBuffer::new_set(rows);
    let wanted = |s: Scope, k: &str| k == key && scopes.contains(&s);
    let mut columns: Vec<(Scope, BooleanBuffer, BooleanBuffer)> = Vec::new();
    let open = scopes.len() > 1;
    for id in source.ids() {
        let ColumnId::Attribute(scope, key, kind) = id else { continue };
        if !wanted(*scope, key) {
            continue;
        }
        if let Some(packed) = source.packed(id)?
            && let Some(found) = packed_hits(&packed, Some(*kind), test)
        {
            columns.push((*scope, found, if open { packed.valid() } else { BooleanBuffer::new_set(0) }));
        } else if let Some(array) = source.load(id)? {
            columns.push((*scope, hits(&array, Some(*kind), test), valid(&array)));
        }
    }
    for (scope, kind, array) in rest_columns(source, wanted, Some(key))? {
        columns.push((scope, hits(&array, Some(kind), test), valid(&array)));
    }
    if let ([(_, found, _)], false) = (&columns[..], open) {
        return Ok(found.clone());
    }
    for &scope in scopes {
        let mut present = BooleanBuffer::new_unset(rows);
        let mut found = false;
        for (_, own, valid) in columns.iter().filter(|(s, ..)| *s == scope) {
            found = true;
            result = &result | &(&undecided & own);
            if open {
                present = &present | valid;
            }
        }
        if found && open {
            undecided = &undecided & &!&present;
        }
    }
    Ok(result)
}

fn any_attribute(scope: Option<Scope>, source: &dyn Source) -> Result<BooleanBuffer, StoreError> {
    let mut mask = BooleanBuffer::new_unset(source.rows());
    for (_, _, array) in attribute_columns(source, |s, _| scope.is_none_or(|scope| scope == s), None)? {
        mask = &mask | &valid(&array);
    }
    Ok(mask)
}

/// The attribute columns that `wanted` accepts, those hidden in rest columns included. `needle` is the key, if it is one.
pub(crate) fn attribute_columns(
    source: &dyn Source,
    wanted: impl Fn(Scope, &str) -> bool + Copy,
    needle: Option<&str>,
) -> Result<Vec<(Scope, ValueType, ArrayRef)>, StoreError> {
    let mut out = Vec::new();
    for id in source.ids() {
        if let ColumnId::Attribute(scope, key, kind) = id
            && wanted(*scope, key)
            && let Some(array) = source.load(id)?
        {
            out.push((*scope, *kind, array));
        }
    }
    out.extend(rest_columns(source, wanted, needle)?);
    Ok(out)
}

/// Those of them that are hidden in rest columns.
fn rest_columns(
    source: &dyn Source,
    wanted: impl Fn(Scope, &str) -> bool,
    needle: Option<&str>,
) -> Result<Vec<(Scope, ValueType, ArrayRef)>, StoreError> {
    let mut out = Vec::new();
    for rest in [RestOf::Record, RestOf::Group] {
        let id = ColumnId::Rest(rest);
        if source.ids().binary_search(&&id).is_err() {
            continue;
        }
        if let Some(array) = source.load(&id)? {
            for (id, array) in rest::expand(&array, needle, &wanted) {
                if let ColumnId::Attribute(scope, _, kind) = id {
                    out.push((scope, kind, array));
                }
            }
        }
    }
    Ok(out)
}

/// The rows that have a value.
pub(crate) fn valid(array: &ArrayRef) -> BooleanBuffer {
    array.logical_nulls().map_or_else(|| BooleanBuffer::new_set(array.len()), |n| n.into_inner())
}

fn masked(bits: BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    match nulls {
        Some(nulls) => &bits & nulls.inner(),
        None => bits,
    }
}

/// The rows of a packed column that pass; `None` where that is asked of the column as Arrow has it.
fn packed_hits(packed: &Packed, kind: Option<ValueType>, test: &Test<'_>) -> Option<BooleanBuffer> {
    let none = || Some(BooleanBuffer::new_unset(packed.rows()));
    match (packed, test) {
        (_, Test::Present) => Some(packed.valid()),
        (_, Test::Nested) => {
            if kind == Some(ValueType::Nested) {
                Some(packed.valid())
            } else {
                none()
            }
        }
        _ if kind == Some(ValueType::Nested) => none(),
        (Packed::Nulls(..), _) => none(),
        (Packed::Column(array), _) => Some(hits(array, kind, test)),
        (Packed::Keys(..) | Packed::Runs(..), _) => packed.texts(|values| texts(values, test)),
        (Packed::Integers(..), Test::Compare(op, literal)) => {
            let (least, most) = packed.bounds()?;
            // What cannot be compared: numbers and texts, what is no number.
            number(least, literal)?;
            let less = |n: i64| number(n, literal).is_some_and(Ordering::is_lt);
            let greater = |n: i64| number(n, literal).is_some_and(Ordering::is_gt);
            packed.numbers(Span::new(*op, least, most, less, greater))
        }
        _ => None,
    }
}

/// The rows of one column that pass.
fn hits(array: &ArrayRef, kind: Option<ValueType>, test: &Test<'_>) -> BooleanBuffer {
    let rows = array.len();
    if matches!(test, Test::Present) {
        return valid(array);
    }
    if matches!(test, Test::Nested) {
        return if kind == Some(ValueType::Nested) { valid(array) } else { BooleanBuffer::new_unset(rows) };
    }
    match array.data_type() {
        // Nested values are JSON text, but no text.
        _ if kind == Some(ValueType::Nested) => BooleanBuffer::new_unset(rows),
        DataType::Utf8 => texts(array.as_string::<i32>(), test),
        DataType::Dictionary(_, _) => {
            let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return BooleanBuffer::new_unset(rows) };
            let Some(values) = dictionary.values().as_string_opt::<i32>() else { return BooleanBuffer::new_unset(rows) };
            let keys = dictionary.keys();
            let pass = texts(values, test);
            match pass.count_set_bits() {
                0 => BooleanBuffer::new_unset(rows),
                all if all == values.len() => valid(array),
                1 => {
                    let wanted = pass.set_indices().next().unwrap_or(0) as u32;
                    let k = keys.values();
                    masked(BooleanBuffer::collect_bool(rows, |i| k[i] == wanted), keys.nulls())
                }
                _ => {
                    let k = keys.values();
                    let pass: Vec<bool> = pass.iter().collect();
                    masked(BooleanBuffer::collect_bool(rows, |i| pass.get(k[i] as usize).copied().unwrap_or(false)), keys.nulls())
                }
            }
        }
        DataType::Int64 => numbers(array.as_primitive::<Int64Type>().values(), |v| v, array.nulls(), test),
        DataType::Int32 => numbers(array.as_primitive::<Int32Type>().values(), i64::from, array.nulls(), test),
        DataType::UInt32 => numbers(array.as_primitive::<UInt32Type>().values(), i64::from, array.nulls(), test),
        DataType::UInt8 => numbers(array.as_primitive::<UInt8Type>().values(), i64::from, array.nulls(), test),
        DataType::Float64 => {
            let Test::Compare(op, literal) = test else { return BooleanBuffer::new_unset(rows) };
            let right = match literal {
                Literal::Double(d) => *d,
                Literal::Int(i) => *i as f64,
                _ => return BooleanBuffer::new_unset(rows),
            };
            let values = array.as_primitive::<Float64Type>().values();
            let bits = BooleanBuffer::collect_bool(rows, |i| values[i].partial_cmp(&right).is_some_and(|o| holds(*op, o)));
            masked(bits, array.nulls())
        }
        DataType::Boolean => {
            let Test::Compare(op, Literal::Bool(right)) = test else { return BooleanBuffer::new_unset(rows) };
            let values = array.as_boolean().values();
            masked(BooleanBuffer::collect_bool(rows, |i| holds(*op, values.value(i).cmp(right))), array.nulls())
        }
        DataType::FixedSizeBinary(_) if matches!(test, Test::OneOf(_)) => {
            let Test::OneOf(ids) = test else { return BooleanBuffer::new_unset(rows) };
            let values = array.as_fixed_size_binary();
            // Ids of one trace follow each other.
            let mut last: Option<(&[u8], bool)> = None;
            let bits = BooleanBuffer::collect_bool(rows, |i| {
                let id = values.value(i);
                match last {
                    Some((known, found)) if known == id => found,
                    _ => {
                        let found = ids.contains(id);
                        last = Some((id, found));
                        found
                    }
                }
            });
            masked(bits, array.nulls())
        }
        DataType::FixedSizeBinary(_) => {
            let Test::Compare(op, Literal::Bytes(right)) = test else { return BooleanBuffer::new_unset(rows) };
            let values = array.as_fixed_size_binary();
            masked(BooleanBuffer::collect_bool(rows, |i| holds(*op, values.value(i).cmp(right))), array.nulls())
        }
        DataType::Binary => {
            let Test::Compare(op, Literal::Bytes(right)) = test else { return BooleanBuffer::new_unset(rows) };
            let values = array.as_binary::<i32>();
            masked(BooleanBuffer::collect_bool(rows, |i| holds(*op, values.value(i).cmp(right))), array.nulls())
        }
        _ => BooleanBuffer::new_unset(rows),
    }
}

fn texts(values: &StringArray, test: &Test<'_>) -> BooleanBuffer {
    let rows = values.len();
    let bits = match test {
        Test::Text(pass) => BooleanBuffer::collect_bool(rows, |i| values.is_valid(i) && pass(values.value(i))),
        Test::Compare(CompareOp::Eq, Literal::Str(right)) => BooleanBuffer::collect_bool(rows, |i| values.value(i) == right),
        Test::Compare(op, Literal::Str(right)) => {
            BooleanBuffer::collect_bool(rows, |i| holds(*op, values.value(i).as_bytes().cmp(right.as_bytes())))
        }
        _ => return BooleanBuffer::new_unset(rows),
    };
    masked(bits, values.nulls())
}

fn numbers<T: Copy>(values: &[T], widen: impl Fn(T) -> i64 + Copy, nulls: Option<&NullBuffer>, test: &Test<'_>) -> BooleanBuffer {
    let rows = values.len();
    let bits = match test {
        Test::Compare(op, Literal::Int(right)) => {
            let right = *right;
            let at = |i: usize| widen(values[i]);
            match op {
                CompareOp::Eq => BooleanBuffer::collect_bool(rows, |i| at(i) == right),
                CompareOp::Ne => BooleanBuffer::collect_bool(rows, |i| at(i) != right),
                CompareOp::Lt => BooleanBuffer::collect_bool(rows, |i| at(i) < right),
                CompareOp::Le => BooleanBuffer::collect_bool(rows, |i| at(i) <= right),
                CompareOp::Gt => BooleanBuffer::collect_bool(rows, |i| at(i) > right),
                CompareOp::Ge => BooleanBuffer::collect_bool(rows, |i| at(i) >= right),
            }
        }
        Test::Compare(op, literal @ Literal::Double(_)) => {
            BooleanBuffer::collect_bool(rows, |i| number(widen(values[i]), literal).is_some_and(|o| holds(*op, o)))
        }
        _ => return BooleanBuffer::new_unset(rows),
    };
    masked(bits, nulls)
}

/// How an integer stands to a constant; `None` where the types differ.
fn number(left: i64, right: &Literal) -> Option<Ordering> {
    match right {
        Literal::Int(i) => Some(left.cmp(i)),
        Literal::Double(d) => (left as f64).partial_cmp(d),
        _ => None,
    }
}

pub(crate) fn holds(op: CompareOp, ordering: Ordering) -> bool {
    match op {
        CompareOp::Eq => ordering.is_eq(),
        CompareOp::Ne => ordering.is_ne(),
        CompareOp::Lt => ordering.is_lt(),
        CompareOp::Le => ordering.is_le(),
        CompareOp::Gt => ordering.is_gt(),
        CompareOp::Ge => ordering.is_ge(),
    }
}

/// The rows that `mask` sets, as row numbers.
pub(crate) fn selected(mask: &BooleanBuffer) -> Vec<u32> {
    let mut rows = Vec::with_capacity(mask.count_set_bits());
    rows.extend(mask.set_indices().map(|i| i as u32));
    rows
}
