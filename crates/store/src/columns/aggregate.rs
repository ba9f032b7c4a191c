//! Rows counted close to the data: only the columns that the predicate and the key name are read, texts are told apart by
//! their dictionary's numbers, and no row is built.

use std::collections::HashMap;
use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use model::{OwnedValue, Value};

use super::eval::OPEN;
use super::parallel;
use super::repeats::{self, Sifted};
use super::runs;
use super::scan::Unit;
use super::scatter;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Aggregation, Batch, Column, Counted, Field, Meaning, Table, value_text};

/// Keys are told apart by a table of all combinations where there are not more than so many.
const TABLE_MAX: usize = 1 << 16;

/// What tells values apart: their type, and how they print. Empty for none.
pub(super) type Name = String;

/// Counts of one part, and of several.
pub(super) type Counts = HashMap<Vec<Name>, Counted>;

/// See [`crate::Reader::aggregate`].
///
/// # Errors
/// IO; too many counts.
pub(crate) fn aggregate(mut inputs: Inputs<'_>, asked: &Aggregation) -> Result<Vec<Counted>, StoreError> {
    if asked.stretches() > Aggregation::MOST {
        return Err(too_many());
    }
    let units = inputs.units(asked.range, &asked.predicate)?;
    let units = repeats::once(&inputs, units, asked.range, &asked.predicate)?;
    let mut all = Counts::new();
    let mut dead: HashSet<u64> = HashSet::new();
    // Each part's counts are added as they come, so that they are never many at once.
    parallel::each(
        &units,
        |sifted| of_unit(sifted, asked),
        |(unit, _), counts| {
            let counts = match (counts, unit) {
                (Ok(counts), _) => counts,
                (Err(e), Unit::Head(_)) => return Err(e),
                (Err(e), Unit::Group(segment, ..)) => {
                    if dead.insert(segment.meta.id) {
                        inputs.survive(&segment.meta, e)?;
                    }
                    return Ok(());
                }
            };
            for (name, own) in counts {
                match all.entry(name) {
                    std::collections::hash_map::Entry::Occupied(mut known) => {
                        known.get_mut().counts.iter_mut().zip(own.counts).for_each(|(sum, n)| *sum += n);
                    }
                    std::collections::hash_map::Entry::Vacant(new) => {
                        new.insert(own);
                    }
                }
            }
            match all.len().saturating_mul(asked.stretches()) > Aggregation::MOST {
                true => Err(too_many()),
                false => Ok(()),
            }
        },
    )?;
    Ok(all.into_values().collect())
}

pub(super) fn too_many() -> StoreError {
    StoreError::Limit(format!("the query counts more than {} groups and intervals", Aggregation::MOST))
}

fn of_unit((unit, left): &Sifted, asked: &Aggregation) -> Result<Counts, StoreError> {
    let left = match left {
        Some(left) => left.clone(),
        None => unit.left(asked.table, asked.range, &asked.predicate)?,
    };
    if left.is_empty() {
        return Ok(Counts::new());
    }
    if let Unit::Group(segment, group, _) = unit
        && (asked.table == Table::Spans || !segment.few_times(asked.table, *group, &left))
    {
        // Lines of a stream follow each other in time, spans do not.
        let told = match asked.table {
            Table::Logs => runs::count(segment, *group, &left, asked)?,
            Table::Spans => None,
        };
        let told = match told {
            Some(counts) => Some(counts),
            None => scatter::count(segment, *group, &left, asked)?,
        };
        if let Some(counts) = told {
            return Ok(counts);
        }
    }
    let rows = left.rows();
    let mut projection = asked.by.clone();
    projection.push(Column::Field(Field::Time));
    let batch = unit.batch(asked.table, rows, &projection)?;
    let Some(times) = batch.field(Field::Time).and_then(|t| t.as_primitive_opt::<Int64Type>()) else {
        return Ok(Counts::new());
    };
    let columns: Vec<Codes> = asked.by.iter().map(|column| Codes::of(&batch, column)).collect();
    let stretches = asked.stretches();
    let combinations = columns.iter().try_fold(1usize, |n, c| n.checked_mul(c.names.len()).filter(|n| *n <= TABLE_MAX));
    let mut slots = Slots { table: combinations.map(|n| vec![u32::MAX; n]), known: HashMap::new(), keys: Vec::new() };
    let mut counts: Vec<u64> = Vec::new();
    // Lines of a stream follow each other in time: most fall into the stretch of the one before.
    let (mut from, mut to, mut stretch) = (1, 0, 0);
    let mut codes = vec![0u32; columns.len()];
    let mut slot = usize::MAX;
    for (row, &time) in times.values().iter().enumerate() {
        if !(from <= time && time < to) {
            stretch = asked.stretch(time);
            from = asked.start(stretch);
            to = from.saturating_add(asked.width);
        }
        let mut same = slot != usize::MAX;
        for (code, column) in codes.iter_mut().zip(&columns) {
            let own = column.code(row);
            same &= *code == own;
            *code = own;
        }
        if !same {
            slot = slots.of(&codes, &columns);
            if (slot + 1) * stretches > counts.len() {
                if (slot + 1).saturating_mul(stretches) > Aggregation::MOST {
                    return Err(too_many());
                }
                counts.resize((slot + 1) * stretches, 0);
            }
        }
        counts[slot * stretches + stretch] += 1;
    }
    Ok(slots
        .keys
        .into_iter()
        .zip(counts.chunks(stretches.max(1)))
        .map(|(codes, counts)| {
            let (names, key) = codes
                .iter()
                .zip(&columns)
                .map(|(&code, column)| column.names[code as usize].clone())
                .unzip::<_, _, Vec<Name>, Vec<Option<OwnedValue>>>();
            (names, Counted { key, counts: counts.to_vec() })
        })
        .collect())
}

/// Places of keys among a part's counts.
struct Slots {
    /// By combination of codes, where there are few.
    table: Option<Vec<u32>>,
    known: HashMap<Vec<u32>, usize>,
    keys: Vec<Vec<u32>>,
}

impl Slots {
    fn of(&mut self, codes: &[u32], columns: &[Codes]) -> usize {
        let next = self.keys.len();
        match &mut self.table {
            Some(table) => {
                let at = codes.iter().zip(columns).fold(0, |at, (&code, column)| at * column.names.len() + code as usize);
                if table[at] == u32::MAX {
                    table[at] = next as u32;
                    self.keys.push(codes.to_vec());
                }
                table[at] as usize
            }
            None => match self.known.get(codes) {
                Some(&known) => known,
                None => {
                    self.known.insert(codes.to_vec(), next);
                    self.keys.push(codes.to_vec());
                    next
                }
            },
        }
    }
}

/// A column of the key: each row's value by number.
struct Codes {
    rows: Rows,
    /// What the numbers stand for; 0 is none.
    names: Vec<(Name, Option<OwnedValue>)>,
}

enum Rows {
    /// All alike.
    One,
    /// By key of the dictionary; what is null has 0.
    Keyed(ArrayRef, Vec<u32>),
    Each(Vec<u32>),
}

impl Codes {
    fn of(batch: &Batch, column: &Column) -> Self {
        let mut out = Self { rows: Rows::One, names: vec![(Name::new(), None)] };
        let is_own = |m: &Meaning| match (m, column) {
            (Meaning::Field(f), Column::Field(own)) => f == own,
            (Meaning::Attribute(scope, key, _), Column::Attribute { scope: own, key: k }) => {
                **key == **k && own.map_or(OPEN.contains(scope), |own| own == *scope)
            }
            _ => false,
        };
        let mut places = batch.meaning().iter().enumerate().filter(|(_, m)| is_own(m)).map(|(at, _)| at);
        let (Some(place), more) = (places.next(), places.next()) else { return out };
        let array = batch.columns().column(place);
        if more.is_none()
            && !matches!(batch.meaning()[place], Meaning::Attribute(_, _, model::ValueType::Nested))
            && let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>()
        {
            let values = dictionary.values();
            let mut by_text: HashMap<&str, u32> = HashMap::new();
            let codes = (0..values.len())
                .map(|i| match crate::contract::text_at(values, i) {
                    None => 0,
                    Some(text) => *by_text.entry(text).or_insert_with(|| {
                        out.names.push(named(&Value::Str(text)));
                        out.names.len() as u32 - 1
                    }),
                })
                .collect();
            out.rows = Rows::Keyed(array.clone(), codes);
            return out;
        }
        let mut known: HashMap<Name, u32> = HashMap::new();
        let mut codes = Vec::with_capacity(batch.rows());
        for row in 0..batch.rows() {
            let value = match column {
                Column::Field(_) => crate::contract::text_at(array, row).map(Value::Str),
                column => batch.attribute(row, column),
            };
            codes.push(value.map_or(0, |value| {
                let (name, owned) = named(&value);
                *known.entry(name.clone()).or_insert_with(|| {
                    out.names.push((name, owned));
                    out.names.len() as u32 - 1
                })
            }));
        }
        out.rows = Rows::Each(codes);
        out
    }

    #[inline]
    fn code(&self, row: usize) -> u32 {
        match &self.rows {
            Rows::One => 0,
            Rows::Each(codes) => codes[row],
            Rows::Keyed(array, codes) => {
                let keys = array.as_dictionary::<UInt32Type>().keys();
                if keys.is_null(row) { 0 } else { codes[keys.value(row) as usize] }
            }
        }
    }
}

pub(super) fn named(value: &Value<'_>) -> (Name, Option<OwnedValue>) {
    (format!("{}{}", value.value_type() as u8, value_text(value)), Some(value.to_owned_value()))
}
