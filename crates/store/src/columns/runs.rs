//! Rows counted by runs: a stream's rows stand together in a row group, in the order of time. Its labels are looked at once
//! a run, the rows of a stretch of time lie between two places that are searched, and how many of them passed is told by
//! counting bits.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use model::{OwnedValue, Value, ValueType};

use super::aggregate::{Counts, Name, named, too_many};
use super::id::ColumnId;
use super::packed::{NULL, Packed, Runs};
use super::pick::Left;
use super::prune::candidates;
use super::read::OpenSegment;
use crate::StoreError;
use crate::contract::{Aggregation, Column, Counted, Field};

/// Fewer rows than this are counted one by one.
const FEW: usize = if cfg!(test) { 1 } else { 64 };

/// A column of the key: texts of a dictionary.
pub(super) struct Key {
    /// `None`: no row has it.
    pub(super) packed: Option<Packed>,
    /// What the keys stand for, and last for none.
    pub(super) names: Vec<(Name, Option<OwnedValue>)>,
}

impl Key {
    /// `None` where the column is kept in another way.
    pub(super) fn new(
        segment: &OpenSegment,
        group: usize,
        asked: &Aggregation,
        column: &Column,
    ) -> Result<Option<Self>, StoreError> {
        // Lines are put together from other columns.
        let Some(places) = candidates(asked.table, &segment.footer, column).filter(|_| *column != Column::Field(Field::Body))
        else {
            return Ok(None);
        };
        let none = (Name::new(), None);
        let place = match places[..] {
            [] => return Ok(Some(Self { packed: None, names: vec![none] })),
            [place] => place,
            _ => return Ok(None),
        };
        if matches!(segment.footer.columns[place].id, ColumnId::Attribute(_, _, ValueType::Nested)) {
            return Ok(None);
        }
        Ok(match segment.packed(group, place)? {
            Some(Packed::Nulls(..)) => Some(Self { packed: None, names: vec![none] }),
            Some(packed @ (Packed::Runs(..) | Packed::Keys(..))) => packed.dictionary().map(|texts| {
                let names = texts.iter().map(|text| text.map_or_else(|| (Name::new(), None), |text| named(&Value::Str(text))));
                Self { names: names.chain([none]).collect(), packed: Some(packed.clone()) }
            }),
            _ => None,
        })
    }

    fn runs(&self) -> Option<&Runs> {
        match &self.packed {
            Some(Packed::Runs(runs, _)) => Some(runs),
            _ => None,
        }
    }
}

/// Counts the rows that are left of a row group; `None` where its columns are not kept as runs.
///
/// # Errors
/// IO and corruption; too many counts.
pub(super) fn count(segment: &OpenSegment, group: usize, left: &Left, asked: &Aggregation) -> Result<Option<Counts>, StoreError> {
    if left.len() < FEW {
        return Ok(None);
    }
    let Some((starts, times)) = segment.runs_of_time(group)? else { return Ok(None) };
    let mut keys = Vec::with_capacity(asked.by.len());
    for column in &asked.by {
        match Key::new(segment, group, asked, column)? {
            Some(key) if !matches!(key.packed, Some(Packed::Keys(..))) => keys.push(key),
            _ => return Ok(None),
        }
    }
    let times = &times.as_primitive::<Int64Type>().values()[..];
    let total = times.len();
    // Where a run of any column ends.
    let mut ends: Vec<u32> = starts.iter().copied().skip(1).chain([total as u32]).collect();
    for runs in keys.iter().filter_map(Key::runs) {
        ends.extend_from_slice(&runs.ends);
    }
    ends.sort_unstable();
    ends.dedup();
    let stretches = asked.stretches();
    let mut at: Vec<usize> = vec![0; keys.len()];
    let mut slots: Vec<(Vec<u32>, Vec<u64>)> = Vec::new();
    let mut start = 0;
    for end in ends {
        let end = end as usize;
        let codes: Vec<u32> = keys
            .iter()
            .zip(&mut at)
            .map(|(key, at)| {
                let Some(runs) = key.runs() else { return 0 };
                while runs.ends.get(*at).is_some_and(|end| *end as usize <= start) {
                    *at += 1;
                }
                match runs.keys.get(*at) {
                    Some(&key) if key != NULL => key,
                    _ => key.names.len() as u32 - 1,
                }
            })
            .collect();
        let slot = match slots.iter().position(|(known, _)| *known == codes) {
            Some(slot) => slot,
            None => {
                if (slots.len() + 1).saturating_mul(stretches) > Aggregation::MOST {
                    return Err(too_many());
                }
                slots.push((codes, vec![0; stretches]));
                slots.len() - 1
            }
        };
        by_stretch(times, start..end, left, asked, &mut slots[slot].1);
        start = end;
    }
    let slots = slots.into_iter().filter(|(_, counts)| counts.iter().any(|n| *n > 0));
    Ok(Some(named_counts(&keys, slots)))
}

/// Counts by what the keys stand for.
pub(super) fn named_counts(keys: &[Key], slots: impl Iterator<Item = (Vec<u32>, Vec<u64>)>) -> Counts {
    let mut out = Counts::new();
    for (codes, counts) in slots {
        let (names, key) = codes
            .iter()
            .zip(keys)
            .map(|(&code, key)| key.names[code as usize].clone())
            .unzip::<_, _, Vec<Name>, Vec<Option<OwnedValue>>>();
        // Values that a dictionary has twice are one.
        let known = out.entry(names).or_insert_with(|| Counted { key, counts: vec![0; counts.len()] });
        known.counts.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    out
}

/// Counts the rows left of a run of ascending times.
fn by_stretch(times: &[i64], run: std::ops::Range<usize>, left: &Left, asked: &Aggregation, counts: &mut [u64]) {
    let own = &times[run.clone()];
    let mut at = run.start + own.partition_point(|t| *t < asked.range.start);
    let end = run.start + own.partition_point(|t| *t < asked.range.end);
    let mut rows = match left {
        Left::Rows(rows, _) => &rows[rows.partition_point(|row| (*row as usize) < at)..],
        _ => &[],
    };
    while at < end {
        let stretch = asked.stretch(times[at]);
        let next = asked.start(stretch).saturating_add(asked.width);
        let to = at + before(&times[at..end], next);
        counts[stretch] += match left {
            Left::All(_) => (to - at) as u64,
            Left::Mask(mask) => mask.slice(at, to - at).count_set_bits() as u64,
            Left::Rows(..) => {
                let passed = rows.partition_point(|row| (*row as usize) < to);
                rows = &rows[passed..];
                passed as u64
            }
        };
        at = to;
    }
}

/// How many of ascending times are before `end`: more than the first of them.
fn before(times: &[i64], end: i64) -> usize {
    let mut step = 1;
    while times.get(step).is_some_and(|t| *t < end) {
        step *= 2;
    }
    let from = step / 2;
    from + times[from..times.len().min(step)].partition_point(|t| *t < end)
}
