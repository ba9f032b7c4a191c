//! Distinct keys, values and label sets.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef};
use model::{Scope, TimeRange, Value, ValueType};

use super::eval::{Source, evaluate};
use super::footer::Footer;
use super::id::ColumnId;
use super::packed::Packed;
use super::parallel;
use super::pick::Picked;
use super::prune::{self, certain, conjuncts, has_values};
use super::read::OpenSegment;
use super::scan::Unit;
use super::segment::REST_KEYS;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Batch, Column, Distinct, Field, Meaning, Predicate, Table, value_text};

type Pairs = Vec<(String, String)>;

/// So many are collected before repeats are first looked for.
const COLLECTED_MIN: usize = 1 << 16;

/// What was found, each once in the end. A million values are sorted a few times rather than looked up in a tree one by one.
#[derive(Default)]
struct Found {
    all: Vec<Keyed>,
    /// How many were left when repeats were last taken out.
    distinct: usize,
}

/// Pairs behind a number that is in their order: most comparisons need no look at texts all over the memory.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Keyed(u64, Pairs);

impl Keyed {
    fn new(pairs: Pairs) -> Self {
        let number = match pairs.first() {
            None => 0,
            // A value, by its first bytes.
            Some((name, text)) if name.is_empty() => {
                text.bytes().chain(std::iter::repeat(0)).take(8).fold(0, |n, b| n << 8 | u64::from(b))
            }
            Some(_) => u64::MAX,
        };
        Self(number, pairs)
    }
}

impl Found {
    fn insert(&mut self, pairs: Pairs) {
        self.all.push(Keyed::new(pairs));
        // Repeats take no more room than what is kept.
        if self.all.len() >= COLLECTED_MIN.max(self.distinct * 2) {
            self.settle();
        }
    }

    fn extend(&mut self, more: impl IntoIterator<Item = Pairs>) {
        more.into_iter().for_each(|pairs| self.insert(pairs));
    }

    fn settle(&mut self) {
        // Stable, since that makes use of stretches that are sorted already.
        self.all.sort();
        self.all.dedup();
        self.distinct = self.all.len();
    }

    /// All, sorted.
    fn sorted(mut self) -> Vec<Pairs> {
        self.settle();
        self.all.into_iter().map(|keyed| keyed.1).collect()
    }
}

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
    let mut found = Found::default();
    let table = inputs.table;
    let units = inputs.units(range, predicate)?;
    // What a footer or a dictionary tells needs no thread.
    let mut open = Vec::with_capacity(units.len());
    let mut dead = HashSet::new();
    for unit in units {
        match told(table, &unit, range, predicate, what, &mut found) {
            Ok(true) => {}
            Ok(false) => open.push(unit),
            Err(e) => bury(&inputs, &unit, e, &mut dead)?,
        }
    }
    open.retain(|unit| !matches!(unit, Unit::Group(segment, ..) if dead.contains(&segment.meta.id)));
    let read = parallel::map(&open, |unit| of_unit(table, unit, range, predicate, what));
    for (unit, own) in open.iter().zip(read) {
        match own {
            Ok(own) => found.extend(own),
            Err(e) => bury(&inputs, unit, e, &mut dead)?,
        }
    }
    let mut found = found.sorted();
    found.truncate(limit.unwrap_or(usize::MAX));
    Ok(found)
}

/// Goes on without a damaged segment.
fn bury(inputs: &Inputs<'_>, unit: &Unit, error: StoreError, dead: &mut HashSet<u64>) -> Result<(), StoreError> {
    let Unit::Group(segment, ..) = unit else { return Err(error) };
    if dead.insert(segment.meta.id) { inputs.survive(&segment.meta, error) } else { Ok(()) }
}

/// Answers without looking at rows, where the whole part is asked for: keys from the footer, values of a text column from its
/// dictionary, which has exactly the values that occur. `false` where that is not possible.
fn told(
    table: Table,
    unit: &Unit,
    range: TimeRange,
    predicate: &Predicate,
    what: &Distinct,
    found: &mut Found,
) -> Result<bool, StoreError> {
    // Of what is not deleted, or one tenant's of several, neither tells.
    let Unit::Group(segment, group, None) = unit else { return Ok(false) };
    let (first, last) = unit.times();
    if !(range.contains(first) && range.contains(last)) {
        return Ok(false);
    }
    let about = |p: &Predicate| matches!(what, Distinct::Values(column) if is_about(p, column));
    let Some(predicate) = unsettled(table, segment, *group, predicate, about)? else { return Ok(false) };
    match what {
        Distinct::Keys(scope) => {
            let Some(keys) = keys(&segment.footer, *group, *scope) else { return Ok(false) };
            found.extend(keys.into_iter().map(single));
            Ok(true)
        }
        Distinct::LabelSets => {
            let Some(place) = segment.footer.place(&ColumnId::Stream) else { return Ok(false) };
            let Some(values) = dictionary_of(segment, *group, place)? else { return Ok(false) };
            let Some(texts) = values.as_string_opt::<i32>() else { return Ok(false) };
            found.extend(texts.iter().flatten().map(label_set));
            Ok(true)
        }
        Distinct::Values(column) => {
            let Some(only) = only_column(table, &segment.footer, column) else { return Ok(false) };
            let Some(place) = only else { return Ok(true) };
            let Some(values) = dictionary_of(segment, *group, place)? else { return Ok(false) };
            let id = &segment.footer.columns[place].id;
            let source = Dictionary { table, id, values: &values };
            let pass = evaluate(&predicate, &source)?;
            if let Some(texts) = values.as_string_opt::<i32>() {
                found.extend(pass.set_indices().filter(|&i| texts.is_valid(i)).map(|i| single(texts.value(i).to_owned())));
            }
            Ok(true)
        }
    }
}

/// What is left of a predicate besides the conditions that every row of a group meets, by its footer or a dictionary; `None`
/// where that is not all `about` what is asked.
fn unsettled(
    table: Table,
    segment: &OpenSegment,
    group: usize,
    predicate: &Predicate,
    about: impl Fn(&Predicate) -> bool,
) -> Result<Option<Predicate>, StoreError> {
    let mut left = Predicate::True;
    for part in conjuncts(predicate) {
        if about(part) {
            left = left.and(part.clone());
        } else if !certain(table, &segment.footer, group, part) && !meets_no_text(table, segment, group, part)? {
            return Ok(None);
        }
    }
    Ok(Some(left))
}

/// Whether a condition is the negation of one that no text of its column meets, by the column's dictionary.
fn meets_no_text(table: Table, segment: &OpenSegment, group: usize, condition: &Predicate) -> Result<bool, StoreError> {
    let Predicate::Not(inner) = condition else { return Ok(false) };
    let (Predicate::Compare { column, .. } | Predicate::Matches { column, .. } | Predicate::Contains { column, .. }) = &**inner
    else {
        return Ok(false);
    };
    let Some(Some(place)) = only_column(table, &segment.footer, column) else { return Ok(false) };
    let Some(values) = dictionary_of(segment, group, place)? else { return Ok(false) };
    let source = Dictionary { table, id: &segment.footer.columns[place].id, values: &values };
    Ok(evaluate(inner, &source)?.count_set_bits() == 0)
}

/// The keys of a row group's attributes; `None` where the footer does not tell.
fn keys(footer: &Footer, group: usize, scope: Option<Scope>) -> Option<Vec<String>> {
    let own = |s: Scope| scope.is_none_or(|scope| scope == s);
    let mut out = Vec::new();
    for (place, column) in footer.columns.iter().enumerate() {
        match &column.id {
            ColumnId::Attribute(s, key, _) if own(*s) => match has_values(footer, group, place) {
                Some(true) => out.push(key.to_string()),
                Some(false) => {}
                None => return None,
            },
            // Which row group has which of them is not said.
            ColumnId::Rest(_) if footer.groups() > 1 || footer.rest.len() >= REST_KEYS => return None,
            _ => {}
        }
    }
    let rest = footer.rest.iter().filter(|(_, n)| **n > 0);
    out.extend(rest.filter_map(|(id, _)| match id {
        ColumnId::Attribute(s, key, _) if own(*s) => Some(key.to_string()),
        _ => None,
    }));
    Some(out)
}

/// The one place of a column: `Some(None)` where the segment lacks it, `None` where several places may have its values.
fn only_column(table: Table, footer: &Footer, column: &Column) -> Option<Option<usize>> {
    match (prune::candidates(table, footer, column)?.as_slice(), column) {
        (_, Column::Field(Field::Body | Field::Events | Field::Links)) => None,
        ([], _) => Some(None),
        ([one], _) => Some(Some(*one)),
        _ => None,
    }
}

/// Whether a predicate asks for nothing but this column's value.
fn is_about(predicate: &Predicate, column: &Column) -> bool {
    match predicate {
        Predicate::True => true,
        Predicate::And(all) => all.iter().all(|p| is_about(p, column)),
        // What lacks the column passes others, but has no value.
        Predicate::Or(any) => any.iter().all(|p| is_about(p, column)),
        Predicate::Not(p) => is_about(p, column),
        Predicate::Compare { column: c, .. }
        | Predicate::Matches { column: c, .. }
        | Predicate::Contains { column: c, .. }
        | Predicate::Exists(c)
        | Predicate::Nested(c) => c == column,
        Predicate::OneOf { .. } | Predicate::Member { .. } | Predicate::Worded(_) => false,
    }
}

/// The dictionary of a text column; `None` where it has none.
fn dictionary_of(segment: &OpenSegment, group: usize, place: usize) -> Result<Option<ArrayRef>, StoreError> {
    let id = &segment.footer.columns[place].id;
    if !id.is_text() || matches!(id, ColumnId::Attribute(_, _, ValueType::Nested)) || segment.footer.columns[place].plain {
        return Ok(None);
    }
    // Of a column that is kept, its keys need not be unpacked.
    if let Some(Packed::Keys(_, _, values) | Packed::Runs(_, values)) = segment.packed(group, place)? {
        return Ok(Some(values));
    }
    let array = segment.picked(group, &[place], &Picked::all(segment.footer.rows(group)))?.pop();
    Ok(array.as_ref().and_then(|a| a.as_dictionary_opt::<UInt32Type>()).map(|d| d.values().clone()))
}

/// The values of a dictionary as rows.
struct Dictionary<'d> {
    table: Table,
    id: &'d ColumnId,
    values: &'d ArrayRef,
}

impl Source for Dictionary<'_> {
    fn rows(&self) -> usize {
        self.values.len()
    }

    fn table(&self) -> Table {
        self.table
    }

    fn ids(&self) -> Vec<&ColumnId> {
        vec![self.id]
    }

    fn load(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError> {
        Ok((id == self.id).then(|| self.values.clone()))
    }
}

fn single(text: String) -> Pairs {
    vec![(String::new(), text)]
}

fn of_unit(
    table: Table,
    unit: &Unit,
    range: TimeRange,
    predicate: &Predicate,
    what: &Distinct,
) -> Result<Vec<Pairs>, StoreError> {
    let mut found = Found::default();
    let rows = unit.filter(table, range, predicate)?.rows;
    if rows.is_empty() {
        return Ok(Vec::new());
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
        Distinct::LabelSets => label_sets(unit, table, rows, &mut found)?,
        Distinct::Values(column) => {
            let batch = unit.batch(table, rows, std::slice::from_ref(column))?;
            match column {
                Column::Field(field) => field_values(&batch, *field, &mut found),
                Column::Attribute { .. } => attribute_values(&batch, column, &mut found),
                Column::Attributes(_) => {}
            }
        }
    }
    Ok(found.sorted())
}

/// The rows of an array, one for each distinct value where that is known.
fn candidates(array: &ArrayRef) -> Vec<usize> {
    let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return (0..array.len()).collect() };
    let mut seen = vec![false; dictionary.values().len()];
    let keys = dictionary.keys();
    (0..array.len()).filter(|&row| keys.is_valid(row) && !std::mem::replace(&mut seen[keys.value(row) as usize], true)).collect()
}

fn field_values(batch: &Batch, field: Field, found: &mut Found) {
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

fn attribute_values(batch: &Batch, column: &Column, found: &mut Found) {
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

/// The labels of a stream.
fn label_set(stream: &str) -> Pairs {
    let labels: std::collections::BTreeMap<String, String> = serde_json::from_str(stream).unwrap_or_default();
    labels.into_iter().collect()
}

fn label_sets(unit: &Unit, table: crate::contract::Table, rows: Vec<u32>, found: &mut Found) -> Result<(), StoreError> {
    let columns = unit.columns(table, rows, &[ColumnId::Stream])?;
    let Some(Some(streams)) = columns.first() else {
        // Spans have no labels: one empty set.
        found.insert(Vec::new());
        return Ok(());
    };
    let Some(texts) = super::text::Texts::of(streams) else { return Ok(()) };
    for row in candidates(streams) {
        found.insert(label_set(texts.get(row).unwrap_or("{}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_each_once_in_order(
            all in prop::collection::vec(prop::collection::vec(("[a\0\u{7f}ü]{0,2}", "[ab\0\u{ff}]{0,10}"), 0..3), 0..200),
        ) {
            let mut found = Found::default();
            found.extend(all.clone());
            found.extend(all.clone());
            let want: Vec<Pairs> = all.into_iter().collect::<std::collections::BTreeSet<_>>().into_iter().collect();
            prop_assert_eq!(found.sorted(), want);
        }
    }

    #[test]
    fn repeats_take_no_room() {
        let mut found = Found::default();
        (0..COLLECTED_MIN * 5).for_each(|i| found.insert(single((i % 7).to_string())));
        assert!(found.all.len() < COLLECTED_MIN);
        assert_eq!(found.sorted().len(), 7);
    }
}
