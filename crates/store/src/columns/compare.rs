//! Values counted in a part of some rows and in the rest, close to the data: no row is built. Which rows stand on which side is found
//! out once a part of the data; then the columns are taken one by one, on all cores, each through all parts, so that a column's values have one table and a
//! column with too many of them is left at once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use model::{TimeRange, ValueType};

use super::eval::zero_filled;
use super::id::{ColumnId, RestOf};
use super::packed::Packed;
use super::parallel;
use super::pick::{Left, Picked};
use super::project::{field_array, wanted};
use super::repeats::{self, Sifted};
use super::rest;
use super::scan::{RowsSource, Unit};
use super::source::GroupSource;
use super::tally::{INSIDE, NEITHER, OUTSIDE, Tally};
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Column, Compared, Comparison, Field, Meaning, Tallied};

/// What went wrong, and in which part.
type Failed = (usize, StoreError);

/// See [`crate::Reader::compare`].
///
/// # Errors
/// IO; that it was cancelled.
pub(crate) fn compare(mut inputs: Inputs<'_>, asked: &Comparison, cancelled: &AtomicBool) -> Result<Compared, StoreError> {
    let units = inputs.units(asked.range, &asked.predicate)?;
    let mut sifted = repeats::once(&inputs, units, asked.range, &asked.predicate)?;
    loop {
        let (at, error) = match (Work { asked, cancelled, sifted: &sifted }).done() {
            Ok(compared) => return Ok(compared),
            Err(failed) => failed,
        };
        let Some((Unit::Group(segment, ..), _)) = sifted.get(at) else { return Err(error) };
        inputs.survive(&segment.meta, error)?;
        // What was counted of a damaged segment cannot be taken back: all is counted anew without it.
        let dead = segment.meta.id;
        sifted.retain(|(unit, _)| !matches!(unit, Unit::Group(segment, ..) if segment.meta.id == dead));
    }
}

/// The rows of a part, and where each stands.
struct Divided<'u> {
    /// Place of the part.
    at: usize,
    unit: &'u Unit,
    /// Which rows `sides` is of; all where they are many.
    picked: Picked,
    sides: Vec<u8>,
}

/// A column as it came.
enum Loaded {
    Packed(Packed),
    Array(ArrayRef),
}

/// Columns that are counted together.
enum Task {
    /// One.
    One(ColumnId),
    /// A field that is not kept as it is read: one that is 0 where it is not there, a line that is split.
    Made(Field),
    /// Those of a rest column.
    Rest(RestOf),
}

struct Work<'w> {
    asked: &'w Comparison,
    cancelled: &'w AtomicBool,
    sifted: &'w [Sifted],
}

impl Work<'_> {
    fn done(&self) -> Result<Compared, Failed> {
        let places: Vec<usize> = (0..self.sifted.len()).collect();
        let mut divided = Vec::with_capacity(places.len());
        for (at, part) in parallel::map(&places, |&at| self.divided(at).map_err(|e| (at, e))).into_iter().enumerate() {
            if let Some((picked, sides)) = part? {
                divided.push(Divided { at, unit: &self.sifted[at].0, picked, sides });
            }
        }
        let on = |side: u8| divided.iter().map(|d| d.sides.iter().filter(|s| **s == side).count() as u64).sum();
        let rows = [on(OUTSIDE), on(INSIDE)];
        let tasks = self.tasks(&divided);
        let mut columns: BTreeMap<Meaning, Tally> = BTreeMap::new();
        for counted in parallel::map(&tasks, |task| self.counted(task, &divided)) {
            for (meaning, tally) in counted? {
                match columns.entry(meaning) {
                    std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().join(tally),
                    std::collections::btree_map::Entry::Vacant(new) => {
                        new.insert(tally);
                    }
                }
            }
        }
        let columns = columns.into_iter().map(|(meaning, tally)| {
            let kind = match &meaning {
                Meaning::Attribute(_, _, kind) => *kind,
                Meaning::Field(_) => ValueType::Str,
            };
            Tallied { meaning, values: tally.values(kind) }
        });
        // A column that another tenant has in a shared segment is none of ours.
        let columns = columns.filter(|c| c.values.as_ref().is_none_or(|values| !values.is_empty())).collect();
        Ok(Compared { rows, columns })
    }

    /// Which rows of a part are compared, and where they stand; `None` where there are none.
    fn divided(&self, at: usize) -> Result<Option<(Picked, Vec<u8>)>, StoreError> {
        let Comparison { table, range, predicate, part, inside, .. } = self.asked;
        Comparison::go_on(self.cancelled)?;
        let (unit, left) = &self.sifted[at];
        let left = match left {
            Some(left) => left.clone(),
            None => unit.left(*table, *range, predicate)?,
        };
        if left.is_empty() {
            return Ok(None);
        }
        let total = match unit {
            Unit::Head(rows) => rows.len(),
            Unit::Group(segment, group, _) => segment.footer.rows(*group),
        };
        let part = TimeRange::new(range.start.max(part.start), range.end.min(part.end));
        let within = match part.is_empty() || !unit.may_match(*table, part, inside) {
            true => Left::Rows(Vec::new(), total),
            false => unit.left(*table, part, inside)?,
        };
        let mut sides = vec![NEITHER; total];
        each(&left, |row| sides[row] = OUTSIDE);
        each(&within, |row| {
            if sides[row] == OUTSIDE {
                sides[row] = INSIDE;
            }
        });
        // Of few rows only their pages are read; a head is at hand anyway.
        let picked = match unit {
            Unit::Head(_) => Picked::all(total),
            Unit::Group(..) => Picked::rows(*table, total, left.rows()),
        };
        match picked.some().filter(|_| !picked.is_wide()) {
            None => Ok(Some((Picked::all(total), sides))),
            Some(rows) => {
                let own = rows.iter().map(|row| sides[*row as usize]).collect();
                Ok(Some((picked, own)))
            }
        }
    }

    /// The columns that the parts have of those that are asked for.
    fn tasks(&self, divided: &[Divided<'_>]) -> Vec<Task> {
        let asked = &self.asked.columns;
        let mut tasks: Vec<Task> = Vec::new();
        let fields: BTreeSet<Field> =
            asked.iter().filter_map(|c| if let Column::Field(field) = c { Some(*field) } else { None }).collect();
        for field in &fields {
            let id = ColumnId::Field(*field);
            // Events and links are lists, though they are kept as text.
            let is_list = matches!(field, Field::Events | Field::Links);
            if !is_list && matches!(id.data_type(true), DataType::Utf8 | DataType::Int32) {
                let made = *field == Field::Body || zero_filled(self.asked.table, *field);
                tasks.push(if made { Task::Made(*field) } else { Task::One(id) });
            }
        }
        let mut attributes: HashSet<&ColumnId> = HashSet::new();
        let mut more: Vec<Task> = Vec::new();
        for id in divided.iter().flat_map(|d| match d.unit {
            Unit::Head(rows) => rows.columns().iter().map(|(id, _)| id).collect(),
            Unit::Group(segment, ..) => segment.footer.ids(),
        }) {
            match id {
                ColumnId::Attribute(scope, key, _) if wanted(asked, *scope, key) => {
                    attributes.insert(id);
                }
                ColumnId::Rest(of)
                    if asked.iter().any(|c| !matches!(c, Column::Field(_)))
                        && !more.iter().any(|task| matches!(task, Task::Rest(known) if known == of)) =>
                {
                    more.push(Task::Rest(*of));
                }
                _ => {}
            }
        }
        // The dearest first, so that no core has to wait long for another.
        more.extend(tasks);
        more.extend(attributes.into_iter().map(|id| Task::One(id.clone())));
        more
    }

    fn counted(&self, task: &Task, divided: &[Divided<'_>]) -> Result<Vec<(Meaning, Tally)>, Failed> {
        let most = self.asked.distinct;
        match task {
            Task::Rest(of) => {
                let mut tallies: BTreeMap<Meaning, Tally> = BTreeMap::new();
                for part in divided {
                    let Some(rest) = self.load(&ColumnId::Rest(*of), part)?.map(Loaded::array) else { continue };
                    for (id, array) in rest::expand(&rest, None, |scope, key| wanted(&self.asked.columns, scope, key)) {
                        if let Some(meaning) = meaning(&id) {
                            let tally = tallies.entry(meaning).or_insert_with(|| Tally::new(most));
                            tally.array(&array, &part.sides);
                        }
                    }
                }
                Ok(tallies.into_iter().collect())
            }
            Task::Made(field) => {
                let mut tally = Tally::new(most);
                for part in divided {
                    if let Some(array) = self.field(*field, part).map_err(|e| (part.at, e))? {
                        tally.array(&array, &part.sides);
                    }
                }
                Ok(vec![(Meaning::Field(*field), tally)])
            }
            Task::One(id) => {
                let Some(meaning) = meaning(id) else { return Ok(Vec::new()) };
                let mut tally = Tally::new(most);
                for part in divided {
                    match self.load(id, part)? {
                        Some(Loaded::Packed(packed)) => tally.packed(&packed, &part.sides),
                        Some(Loaded::Array(array)) => tally.array(&array, &part.sides),
                        None => {}
                    }
                    if tally.too_many() {
                        break;
                    }
                }
                Ok(vec![(meaning, tally)])
            }
        }
    }

    fn load(&self, id: &ColumnId, part: &Divided<'_>) -> Result<Option<Loaded>, Failed> {
        self.read(id, part).map_err(|e| (part.at, e))
    }

    fn read(&self, id: &ColumnId, part: &Divided<'_>) -> Result<Option<Loaded>, StoreError> {
        Comparison::go_on(self.cancelled)?;
        match part.unit {
            Unit::Head(rows) => Ok(rows.get(id)?.map(Loaded::Array)),
            Unit::Group(segment, group, _) => {
                let Some(place) = segment.footer.place(id) else { return Ok(None) };
                if part.picked.some().is_none()
                    && let Some(packed) = segment.packed(*group, place)?
                {
                    return Ok(Some(Loaded::Packed(packed)));
                }
                Ok(segment.picked(*group, &[place], &part.picked)?.pop().map(Loaded::Array))
            }
        }
    }

    /// A field as a scan gives it.
    fn field(&self, field: Field, part: &Divided<'_>) -> Result<Option<ArrayRef>, StoreError> {
        Comparison::go_on(self.cancelled)?;
        match part.unit {
            Unit::Head(rows) => field_array(field, &RowsSource::new(self.asked.table, rows, None)),
            Unit::Group(segment, group, _) => {
                field_array(field, &GroupSource::new(self.asked.table, segment, *group, &part.picked))
            }
        }
    }
}

impl Loaded {
    fn array(self) -> ArrayRef {
        match self {
            Self::Packed(packed) => packed.array(),
            Self::Array(array) => array,
        }
    }
}

fn meaning(id: &ColumnId) -> Option<Meaning> {
    match id {
        ColumnId::Field(field) => Some(Meaning::Field(*field)),
        ColumnId::Attribute(scope, key, kind) => Some(Meaning::Attribute(*scope, key.clone(), *kind)),
        ColumnId::Body(_) | ColumnId::Stream | ColumnId::Rest(_) => None,
    }
}

fn each(left: &Left, mut each: impl FnMut(usize)) {
    match left {
        Left::All(total) => (0..*total).for_each(each),
        Left::Mask(mask) => mask.set_indices().for_each(each),
        Left::Rows(rows, _) => rows.iter().for_each(|row| each(*row as usize)),
    }
}
