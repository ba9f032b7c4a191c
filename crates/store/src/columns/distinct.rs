//! Distinct keys, values and label sets.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef};
use model::{TimeRange, Value};

use super::id::ColumnId;
use super::scan::Unit;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Batch, Column, Distinct, Field, Meaning, Predicate, value_text};

type Pairs = Vec<(String, String)>;

/// See [`crate::Reader::distinct`].
///
/// # Errors
/// IO.
pub(crate) fn distinct(
    mut inputs: Inputs<'_>,
    range: TimeRange,
    predicate: &Predicate,
    what: &Distinct,
    limit: Option<usize>,
) -> Result<Vec<Pairs>, StoreError> {
    let mut found: BTreeSet<Pairs> = BTreeSet::new();
    let heads = std::mem::take(&mut inputs.rows);
    for rows in heads {
        of_unit(&inputs, &Unit::Head(rows), range, predicate, what, &mut found)?;
    }
    for meta in inputs.segments.clone() {
        let segment = match inputs.footers.open(inputs.files, meta) {
            Ok(segment) => segment,
            Err(e) => {
                inputs.survive(meta, e)?;
                continue;
            }
        };
        for group in 0..segment.footer.groups() {
            if let Err(e) = of_unit(&inputs, &Unit::Group(segment.clone(), group), range, predicate, what, &mut found) {
                inputs.survive(meta, e)?;
                break;
            }
        }
    }
    Ok(found.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
}

fn single(text: String) -> Pairs {
    vec![(String::new(), text)]
}

fn of_unit(
    inputs: &Inputs<'_>,
    unit: &Unit,
    range: TimeRange,
    predicate: &Predicate,
    what: &Distinct,
    found: &mut BTreeSet<Pairs>,
) -> Result<(), StoreError> {
    let table = inputs.table;
    if !unit.may_match(table, range, predicate) {
        return Ok(());
    }
    let rows = unit.filter(table, range, predicate)?.rows;
    if rows.is_empty() {
        return Ok(());
    }
    match what {
        Distinct::Keys(scope) => {
            let batch = unit.batch(table, rows, &[Column::Attributes(*scope)])?;
            for meaning in batch.meaning().iter() {
                if let Meaning::Attribute(_, key, _) = meaning {
                    found.insert(single(key.to_string()));
                }
            }
        }
        Distinct::LabelSets => label_sets(unit, table, rows, found)?,
        Distinct::Values(column) => {
            let batch = unit.batch(table, rows, std::slice::from_ref(column))?;
            match column {
                Column::Field(field) => field_values(&batch, *field, found),
                Column::Attribute { .. } => attribute_values(&batch, column, found),
                Column::Attributes(_) => {}
            }
        }
    }
    Ok(())
}

/// The rows of an array, one for each distinct value where that is known.
fn candidates(array: &ArrayRef) -> Vec<usize> {
    let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return (0..array.len()).collect() };
    let mut seen = vec![false; dictionary.values().len()];
    let keys = dictionary.keys();
    (0..array.len()).filter(|&row| keys.is_valid(row) && !std::mem::replace(&mut seen[keys.value(row) as usize], true)).collect()
}

fn field_values(batch: &Batch, field: Field, found: &mut BTreeSet<Pairs>) {
    let Some(array) = batch.field(field) else { return };
    for row in candidates(array) {
        let text = match batch.int(row, field) {
            Some(i) => i.to_string(),
            None if array.is_null(row) => continue,
            None => match array.as_fixed_size_binary_opt() {
                Some(ids) => value_text(&Value::Bytes(ids.value(row).into())),
                None => match crate::contract::text_at(array, row) {
                    Some(text) => text.to_owned(),
                    None => continue,
                },
            },
        };
        found.insert(single(text));
    }
}

fn attribute_values(batch: &Batch, column: &Column, found: &mut BTreeSet<Pairs>) {
    let rows: Vec<usize> = match batch.meaning().len() {
        1 => candidates(batch.columns().column(0)),
        _ => (0..batch.rows()).collect(),
    };
    for row in rows {
        if let Some(value) = batch.attribute(row, column) {
            found.insert(single(value_text(&value)));
        }
    }
}

fn label_sets(unit: &Unit, table: crate::contract::Table, rows: Vec<u32>, found: &mut BTreeSet<Pairs>) -> Result<(), StoreError> {
    let columns = unit.columns(table, rows, &[ColumnId::Stream])?;
    let Some(Some(streams)) = columns.first() else {
        // Spans have no labels: one empty set.
        found.insert(Vec::new());
        return Ok(());
    };
    let Some(texts) = super::text::Texts::of(streams) else { return Ok(()) };
    for row in candidates(streams) {
        let labels: std::collections::BTreeMap<String, String> =
            serde_json::from_str(texts.get(row).unwrap_or("{}")).unwrap_or_default();
        found.insert(labels.into_iter().collect());
    }
    Ok(())
}
