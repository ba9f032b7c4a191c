//! Rows counted where their times are in no order, as those of spans: each row adds to the cell of its key and stretch. The
//! keys are numbers as they lie in the cache, the stretch is found without a division.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::aggregate::Counts;
use super::footer::time_place;
use super::packed::{NULL, Packed};
use super::pick::Left;
use super::read::OpenSegment;
use super::runs::{Key, named_counts};
use crate::StoreError;
use crate::contract::Aggregation;

/// More cells than this are not kept as a table.
const CELLS: usize = 1 << 20;
/// Fewer rows than this are counted one by one.
const FEW: usize = if cfg!(test) { 1 } else { 64 };

/// Finds the stretch of a time.
struct Stretches {
    start: i64,
    width: u64,
    inverse: f64,
}

impl Stretches {
    fn of(asked: &Aggregation) -> Self {
        let width = asked.width.max(1) as u64;
        Self { start: asked.range.start, width, inverse: 1.0 / width as f64 }
    }

    /// As [`Aggregation::stretch`]: of fewer than 2^50 stretches the product is off by one at most.
    #[inline]
    fn at(&self, time: i64) -> usize {
        let offset = time.wrapping_sub(self.start) as u64;
        let near = (offset as f64 * self.inverse) as u64;
        let first = near.wrapping_mul(self.width);
        let exact = if first > offset {
            near - 1
        } else if offset - first >= self.width {
            near + 1
        } else {
            near
        };
        exact as usize
    }
}

/// Counts the rows that are left of a row group; `None` where the columns are kept in another way.
///
/// # Errors
/// IO and corruption.
pub(super) fn count(segment: &OpenSegment, group: usize, left: &Left, asked: &Aggregation) -> Result<Option<Counts>, StoreError> {
    if left.len() < FEW {
        return Ok(None);
    }
    let Some(place) = time_place(&segment.footer) else { return Ok(None) };
    let mut keys = Vec::with_capacity(asked.by.len());
    for column in &asked.by {
        match Key::new(segment, group, asked, column)? {
            Some(key) => keys.push(key),
            None => return Ok(None),
        }
    }
    let stretches = asked.stretches();
    let cells = keys.iter().try_fold(stretches, |n, key| n.checked_mul(key.names.len()).filter(|n| *n <= CELLS));
    let (Some(cells), Some(times)) = (cells, segment.packed(group, place)?) else { return Ok(None) };
    let times = times.array();
    let Some(times) = times.as_primitive_opt::<Int64Type>().filter(|t| t.null_count() == 0) else { return Ok(None) };
    let times = &times.values()[..];
    // Of each row the first cell of its key.
    let mut rows_at = vec![0u32; if keys.iter().any(|k| k.packed.is_some()) { times.len() } else { 0 }];
    let mut width = stretches as u32;
    for key in &keys {
        let none = key.names.len() as u32 - 1;
        match &key.packed {
            Some(Packed::Keys(small, nulls, _)) => {
                small.each(|row, code| rows_at[row] += code.min(none) * width);
                if let Some(nulls) = nulls {
                    // What is null may have any key.
                    let missing = !nulls.inner();
                    missing.set_indices().for_each(|row| rows_at[row] += (none - small.get(row).min(none)) * width);
                }
            }
            Some(Packed::Runs(runs, _)) => {
                let mut at = 0;
                for (code, rows) in runs.iter() {
                    let own = if code == NULL { none } else { code.min(none) } * width;
                    rows_at[at..at + rows].iter_mut().for_each(|cell| *cell += own);
                    at += rows;
                }
            }
            _ => {}
        }
        width *= key.names.len() as u32;
    }
    let mut counts = vec![0u32; cells];
    let finder = Stretches::of(asked);
    let mut add = |row: usize| {
        let cell = rows_at.get(row).map_or(0, |cell| *cell as usize) + finder.at(times[row]);
        if let Some(count) = counts.get_mut(cell) {
            *count += 1;
        }
    };
    match left {
        Left::All(total) => (0..*total).for_each(&mut add),
        Left::Mask(mask) => mask.set_indices().for_each(&mut add),
        Left::Rows(rows, _) => rows.iter().for_each(|row| add(*row as usize)),
    }
    let slots = counts.chunks(stretches.max(1)).enumerate().filter(|(_, counts)| counts.iter().any(|n| *n > 0));
    let slots = slots.map(|(slot, counts)| {
        let mut rest = slot;
        let codes = keys.iter().map(|key| {
            let code = rest % key.names.len();
            rest /= key.names.len();
            code as u32
        });
        (codes.collect(), counts.iter().map(|n| u64::from(*n)).collect())
    });
    Ok(Some(named_counts(&keys, slots)))
}

#[cfg(test)]
mod tests {
    use model::{Tenant, TimeRange};
    use proptest::prelude::*;

    use super::*;
    use crate::contract::{Predicate, Table};

    proptest! {
        #[test]
        fn stretches_are_found_as_by_division(
            start in prop_oneof![Just(0i64), -1_000_000i64..1_000_000, any::<i64>()],
            width in prop_oneof![1i64..10, 1_000_000_000i64..100_000_000_000, Just(i64::MAX / 3)],
            stretch in 0u64..20_000_000,
            within in 0u64..u64::MAX,
        ) {
            let offset = (u128::from(stretch) * width as u128 + u128::from(within % width as u64)) as u64;
            prop_assume!(u128::from(stretch) * (width as u128) < (1u128 << 62));
            let Some(time) = i64::try_from(i128::from(start) + i128::from(offset)).ok() else { return Ok(()) };
            let asked = Aggregation {
                tenant: Tenant::default(),
                table: Table::Spans,
                range: TimeRange::new(start, i64::MAX),
                predicate: Predicate::True,
                by: Vec::new(),
                width,
            };
            prop_assert_eq!(Stretches::of(&asked).at(time), asked.stretch(time));
        }
    }
}
