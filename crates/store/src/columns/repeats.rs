//! Rows that are kept twice: a batch that came again in other bytes (cut anew, through another relay) leaves equal rows in several
//! parts until a merge makes one of them. Counts and scans give each once, as after the merge.
//!
//! A row can only be in two parts where they overlap in time, and a segment does not repeat itself, so mostly there is nothing
//! to look at. Where there is, the rows that passed put their times (and streams) into a filter of bits; only rows whose bit
//! was set before are compared by what makes a row itself. Of equal rows the one of the oldest part stays, as in a merge.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use model::TimeRange;

use super::carried::{Carried, is_carried};
use super::id::ColumnId;
use super::parallel;
use super::pick::Left;
use super::project::{TIME, identity};
use super::rows::Rows;
use super::scan::Unit;
use super::text::Texts;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Predicate, Table};

/// Bits of the filter for each row that goes through it.
const BITS_A_ROW: usize = 8;
/// Most bits of the filter.
const BITS_MAX: usize = if cfg!(test) { 1 << 6 } else { 1 << 27 };
/// Rows that are compared at once, roughly.
const COMPARED: usize = if cfg!(test) { 16 } else { 1 << 20 };

/// A part, and which of its rows passed, where that had to be found out.
pub(super) type Sifted = (Unit, Option<Left>);

/// Finds out which rows pass where parts may repeat each other, and leaves each row once. Damaged segments are out of service then.
///
/// # Errors
/// IO.
pub(super) fn once(
    inputs: &Inputs<'_>,
    units: Vec<Unit>,
    range: TimeRange,
    predicate: &Predicate,
) -> Result<Vec<Sifted>, StoreError> {
    let table = inputs.table;
    let mut sifted = Vec::with_capacity(units.len());
    for unit in units {
        let repeated = match &unit {
            Unit::Head(rows) => rows.repeated(table)?,
            Unit::Group(..) => Arc::default(),
        };
        let left = match repeated.is_empty() {
            true => None,
            false => Some(unit.left(table, range, predicate)?.without(&repeated)),
        };
        sifted.push((unit, left));
    }
    let overlaps = overlaps(sifted.iter().map(|(unit, _)| unit), range);
    if overlaps.is_empty() {
        return Ok(sifted);
    }
    let is_shared = |unit: &Unit| {
        let (first, last) = unit.times();
        touches(&overlaps, first, last)
    };
    let shared: Vec<usize> = (0..sifted.len()).filter(|&at| is_shared(&sifted[at].0)).collect();
    let lefts = parallel::map(&shared, |&at| match &sifted[at] {
        (_, Some(left)) => Ok(left.clone()),
        (unit, None) => unit.left(table, range, predicate),
    });
    let mut dead: HashSet<u64> = HashSet::new();
    for (&at, left) in shared.iter().zip(lefts) {
        match left {
            Ok(left) => sifted[at].1 = Some(left),
            Err(e) => bury(inputs, &sifted[at].0, e, &mut dead)?,
        }
    }
    let mut search = Search { table, overlaps: &overlaps, seen: Vec::new(), again: Vec::new() };
    // The oldest first: of the same rows theirs stays. Heads come after all segments, in their order.
    let mut shared: Vec<usize> = shared.into_iter().filter(|&at| sifted[at].1.as_ref().is_some_and(|l| !l.is_empty())).collect();
    shared.sort_by_key(|&at| (source(&sifted[at].0, at), at));
    for (at, repeated) in search.run(inputs, &sifted, &shared, &mut dead)? {
        if let Some(left) = &mut sifted[at].1 {
            *left = std::mem::replace(left, Left::All(0)).without(&repeated);
        }
    }
    sifted.retain(|(unit, _)| !matches!(unit, Unit::Group(segment, ..) if dead.contains(&segment.meta.id)));
    Ok(sifted)
}

fn bury(inputs: &Inputs<'_>, unit: &Unit, error: StoreError, dead: &mut HashSet<u64>) -> Result<(), StoreError> {
    let Unit::Group(segment, ..) = unit else { return Err(error) };
    if dead.insert(segment.meta.id) {
        inputs.survive(&segment.meta, error)?;
    }
    Ok(())
}

/// What is without repeats of its own, by age: a segment, or some rows of the head.
fn source(unit: &Unit, at: usize) -> (bool, u64) {
    match unit {
        Unit::Group(segment, ..) => (false, segment.meta.id),
        Unit::Head(_) => (true, at as u64),
    }
}

/// Stretches of time (first and last moment) that lie in more than one part and in `range`: ascending, apart from each other.
fn overlaps<'u>(units: impl Iterator<Item = &'u Unit>, range: TimeRange) -> Vec<(i64, i64)> {
    let mut sources: HashMap<(bool, u64), (i64, i64)> = HashMap::new();
    for (at, unit) in units.enumerate() {
        let (first, last) = unit.times();
        let (first, last) = (first.max(range.start), last.min(range.end.saturating_sub(1)));
        if first > last {
            continue;
        }
        let known = sources.entry(source(unit, at)).or_insert((first, last));
        *known = (known.0.min(first), known.1.max(last));
    }
    let mut stretches: Vec<(i64, i64)> = sources.into_values().collect();
    stretches.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::new();
    let mut reach: Option<i64> = None;
    for (first, last) in stretches {
        if let Some(reach) = reach.filter(|reach| first <= *reach) {
            let end = last.min(reach);
            match out.last_mut() {
                Some((_, known)) if first <= *known => *known = (*known).max(end),
                _ => out.push((first, end)),
            }
        }
        reach = Some(reach.map_or(last, |r| r.max(last)));
    }
    out
}

fn touches(overlaps: &[(i64, i64)], first: i64, last: i64) -> bool {
    let at = overlaps.partition_point(|(_, end)| *end < first);
    overlaps.get(at).is_some_and(|(start, _)| *start <= last)
}

/// Numbers of rows, equal for the same rows: of their times and, for lines, their streams.
struct Keys {
    times: arrow_array::ArrayRef,
    streams: Option<Streams>,
}

enum Streams {
    /// By key of the dictionary.
    Keyed(arrow_array::ArrayRef, Vec<u64>),
    Each(Vec<u64>),
}

fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

impl Keys {
    /// What they are made of.
    fn columns(table: Table) -> Vec<ColumnId> {
        match table {
            Table::Spans => vec![TIME],
            Table::Logs => vec![TIME, ColumnId::Stream],
        }
    }

    /// `None` where a column is missing: then rows have nothing by which they could be the same.
    fn new(mut columns: Vec<Option<arrow_array::ArrayRef>>) -> Option<Self> {
        let streams = if columns.len() > 1 { columns.pop().flatten() } else { None };
        let times = columns.pop().flatten().filter(|t| t.as_primitive_opt::<Int64Type>().is_some())?;
        let streams = streams.map(|array| match array.as_dictionary_opt::<UInt32Type>().map(|d| d.values().clone()) {
            Some(values) => {
                let texts = Texts::of(&values);
                let hash = |at| hash(texts.as_ref().and_then(|t| t.get(at)).unwrap_or(""));
                Streams::Keyed(array, (0..values.len()).map(hash).collect())
            }
            None => {
                let texts = Texts::of(&array);
                let hash = |at| hash(texts.as_ref().and_then(|t| t.get(at)).unwrap_or(""));
                Streams::Each((0..array.len()).map(hash).collect())
            }
        });
        Some(Self { times, streams })
    }

    /// Calls `each` with the place, the time and the number of every row.
    fn each(&self, mut each: impl FnMut(usize, i64, u64)) {
        let times = self.times.as_primitive::<Int64Type>().values();
        let keys = match &self.streams {
            Some(Streams::Keyed(array, _)) => Some(array.as_dictionary::<UInt32Type>().keys()),
            _ => None,
        };
        for (at, &time) in times.iter().enumerate() {
            let stream = match (&self.streams, keys) {
                (Some(Streams::Keyed(_, hashes)), Some(keys)) if keys.is_valid(at) => hashes[keys.value(at) as usize],
                (Some(Streams::Each(hashes)), _) => hashes[at],
                _ => 0,
            };
            // Spreads times that differ in their last digits, or only in their first.
            let mixed = (time as u64 ^ stream).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            each(at, time, mixed ^ (mixed >> 32));
        }
    }
}

/// A row that may be there twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Suspect {
    key: u64,
    time: i64,
    /// Place among the parts, the oldest first.
    part: u32,
    row: u32,
}

struct Search<'s> {
    table: Table,
    overlaps: &'s [(i64, i64)],
    /// Bits of numbers that were seen, and of those that were seen again.
    seen: Vec<AtomicU64>,
    again: Vec<AtomicU64>,
}

impl Search<'_> {
    /// The rows to leave out, by part: ascending.
    fn run(
        &mut self,
        inputs: &Inputs<'_>,
        sifted: &[Sifted],
        shared: &[usize],
        dead: &mut HashSet<u64>,
    ) -> Result<Vec<(usize, Vec<u32>)>, StoreError> {
        let rows: usize = shared.iter().filter_map(|&at| sifted[at].1.as_ref()).map(Left::len).sum();
        let words = (rows.saturating_mul(BITS_A_ROW).clamp(64, BITS_MAX).next_power_of_two()) / 64;
        self.seen.resize_with(words, AtomicU64::default);
        self.again.resize_with(words, AtomicU64::default);
        let again = AtomicUsize::new(0);
        let walked = parallel::map(shared, |&at| {
            self.walk(&sifted[at], |_, _, key| {
                let (word, bit) = self.place(key);
                if self.seen[word].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
                    self.again[word].fetch_or(bit, Ordering::Relaxed);
                    again.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for (&at, walked) in shared.iter().zip(walked) {
            if let Err(e) = walked {
                bury(inputs, &sifted[at].0, e, dead)?;
            }
        }
        let mut repeated: HashMap<usize, Vec<u32>> = HashMap::new();
        let again = again.into_inner();
        let rounds = if again == 0 { 0 } else { again as u64 * 2 / COMPARED as u64 + 1 };
        for round in 0..rounds {
            for (at, row) in self.compare(inputs, sifted, shared, dead, (round, rounds))? {
                repeated.entry(at).or_default().push(row);
            }
        }
        repeated.values_mut().for_each(|rows| rows.sort_unstable());
        Ok(repeated.into_iter().collect())
    }

    fn place(&self, key: u64) -> (usize, u64) {
        ((key / 64) as usize & (self.seen.len() - 1), 1 << (key % 64))
    }

    /// Calls `each` with row, time and number of those rows that passed and lie where parts overlap.
    fn walk(&self, (unit, left): &Sifted, mut each: impl FnMut(u32, i64, u64)) -> Result<(), StoreError> {
        let Some(left) = left else { return Ok(()) };
        let rows = left.clone().rows();
        let Some(keys) = Keys::new(unit.columns(self.table, rows.clone(), &Keys::columns(self.table))?) else { return Ok(()) };
        keys.each(|at, time, key| {
            if touches(self.overlaps, time, time) {
                each(rows[at], time, key);
            }
        });
        Ok(())
    }

    /// The repeats among the rows whose numbers belong to a round.
    fn compare(
        &self,
        inputs: &Inputs<'_>,
        sifted: &[Sifted],
        shared: &[usize],
        dead: &mut HashSet<u64>,
        (round, rounds): (u64, u64),
    ) -> Result<Vec<(usize, u32)>, StoreError> {
        let parts: Vec<u32> = (0..shared.len() as u32).collect();
        let found = parallel::map(&parts, |&part| {
            let mut own = Vec::new();
            self.walk(&sifted[shared[part as usize]], |row, time, key| {
                let (word, bit) = self.place(key);
                if self.again[word].load(Ordering::Relaxed) & bit != 0 && (key >> 32) % rounds == round {
                    own.push(Suspect { key, time, part, row });
                }
            })?;
            Ok(own)
        });
        let mut suspects: Vec<Suspect> = Vec::new();
        for (&part, found) in parts.iter().zip(found) {
            match found {
                Ok(own) => suspects.extend(own),
                Err(e) => bury(inputs, &sifted[shared[part as usize]].0, e, dead)?,
            }
        }
        suspects.sort_unstable();
        let of = |suspect: &Suspect| source(&sifted[shared[suspect.part as usize]].0, shared[suspect.part as usize]);
        let mut by_part: Vec<Vec<Suspect>> = vec![Vec::new(); shared.len()];
        for run in suspects.chunk_by(|a, b| (a.key, a.time) == (b.key, b.time)) {
            if run.iter().any(|s| of(s) != of(&run[0])) {
                run.iter().for_each(|s| by_part[s.part as usize].push(*s));
            }
        }
        by_part.iter_mut().for_each(|own| own.sort_unstable_by_key(|s| s.row));
        let ids = parallel::map(&parts, |&part| {
            let rows: Vec<u32> = by_part[part as usize].iter().map(|s| s.row).collect();
            if rows.is_empty() { Ok(Vec::new()) } else { row_ids(&sifted[shared[part as usize]].0, self.table, &rows) }
        });
        let mut known: HashSet<(i64, u128)> = HashSet::new();
        let mut out = Vec::new();
        for (&part, ids) in parts.iter().zip(ids) {
            match ids {
                Ok(ids) => {
                    let own = by_part[part as usize].iter().zip(ids);
                    let repeated = own.filter(|(s, id)| !known.insert((s.time, *id))).map(|(s, _)| s.row);
                    out.extend(repeated.map(|row| (shared[part as usize], row)));
                }
                Err(e) => bury(inputs, &sifted[shared[part as usize]].0, e, dead)?,
            }
        }
        Ok(out)
    }
}

/// The rows that repeat an earlier one of the same part: ascending.
///
/// # Errors
/// As [`Rows::get`].
pub(super) fn within(table: Table, rows: &Arc<Rows>) -> Result<Vec<u32>, StoreError> {
    let columns = Keys::columns(table).iter().map(|id| rows.get(id)).collect::<Result<Vec<_>, _>>()?;
    let Some(keys) = Keys::new(columns) else { return Ok(Vec::new()) };
    let mut numbers: Vec<(u64, u32)> = Vec::with_capacity(rows.len());
    keys.each(|row, _, key| numbers.push((key, row as u32)));
    numbers.sort_unstable();
    let mut suspects: Vec<(u32, u64)> = Vec::new();
    for run in numbers.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1) {
        suspects.extend(run.iter().map(|(key, row)| (*row, *key)));
    }
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    suspects.sort_unstable();
    let at: Vec<u32> = suspects.iter().map(|(row, _)| *row).collect();
    let ids = row_ids(&Unit::Head(rows.clone()), table, &at)?;
    let mut known: HashSet<(u64, u128)> = HashSet::new();
    Ok(suspects.into_iter().zip(ids).filter(|((_, key), id)| !known.insert((*key, *id))).map(|((row, _), _)| row).collect())
}

/// A number for each row that rows of one time share exactly when they are the same.
///
/// # Errors
/// IO and corruption.
pub(super) fn row_ids(unit: &Unit, table: Table, rows: &[u32]) -> Result<Vec<u128>, StoreError> {
    let columns: Vec<ColumnId> = identity(table).into_iter().filter(|id| *id != TIME).collect();
    let (arrays, carried) = unit.with(table, rows.to_vec(), |source, prefetch| {
        let all = source.ids().into_iter().filter(|id| columns.contains(id) || table == Table::Logs && is_carried(id)).cloned();
        let all: Vec<ColumnId> = all.collect();
        prefetch(&all)?;
        let own = columns.iter().map(|id| source.load(id)).collect::<Result<Vec<_>, _>>()?;
        let mut carried = Vec::new();
        for id in all.into_iter().filter(|id| !columns.contains(id)) {
            carried.extend(source.load(&id)?.map(|array| (id, array)));
        }
        Ok((own, carried))
    })?;
    let carried = Carried::new(carried.iter().map(|(id, array)| (id, array)));
    let mut bytes = Vec::new();
    Ok((0..rows.len())
        .map(|row| {
            bytes.clear();
            for array in arrays.iter().flatten() {
                let value = match array.as_fixed_size_binary_opt() {
                    Some(ids) if ids.is_valid(row) => ids.value(row),
                    Some(_) => &[],
                    None => Texts::of(array).and_then(|t| t.get(row)).unwrap_or("").as_bytes(),
                };
                bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
                bytes.extend_from_slice(value);
            }
            xxhash_rust::xxh3::xxh3_128(&bytes).wrapping_add(carried.number(row))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_in_the_stretches_that_hold_it() {
        let stretches = [(1, 3), (10, 10)];
        let inside: Vec<i64> = (0..12).filter(|t| touches(&stretches, *t, *t)).collect();
        assert_eq!(inside, [1, 2, 3, 10]);
        assert!(touches(&stretches, 4, 10) && !touches(&stretches, 4, 9));
    }
}
