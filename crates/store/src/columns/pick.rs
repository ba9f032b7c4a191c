//! Some rows of a row group.

use std::ops::Range;
use std::sync::OnceLock;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use parquet::arrow::arrow_reader::RowSelection;

use super::eval::selected;
use super::packed::Packed;
use super::segment::page_rows;
use crate::StoreError;
use crate::contract::Table;

/// Rows of a row group: all, or some, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Picked {
    total: usize,
    some: Option<Chosen>,
}

/// Whether rows, ascending, lie in most of the pages.
pub(crate) fn spread_wide(table: Table, total: usize, rows: &[u32]) -> bool {
    let page = page_rows(table) as u32;
    let touched = rows.chunk_by(|a, b| a / page == b / page).count();
    touched * 2 >= total.div_ceil(page as usize)
}

#[derive(Debug, Clone)]
struct Chosen {
    rows: UInt32Array,
    wide: bool,
    selection: OnceLock<RowSelection>,
}

impl Picked {
    /// All of `total` rows.
    pub(crate) fn all(total: usize) -> Self {
        Self { total, some: None }
    }

    /// These of `total` rows.
    pub(crate) fn rows(table: Table, total: usize, rows: Vec<u32>) -> Self {
        if rows.len() == total {
            return Self::all(total);
        }
        let wide = spread_wide(table, total, &rows);
        Self { total, some: Some(Chosen { rows: rows.into(), wide, selection: OnceLock::new() }) }
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.some.as_ref().map_or(self.total, |s| arrow_array::Array::len(&s.rows))
    }

    /// Whether they lie in most of the pages.
    pub(crate) fn is_wide(&self) -> bool {
        self.some.as_ref().is_none_or(|s| s.wide)
    }

    /// The rows, as Parquet's reader takes them; `None` for all.
    pub(crate) fn selection(&self) -> Option<&RowSelection> {
        let some = self.some.as_ref()?;
        Some(some.selection.get_or_init(|| {
            let runs = some.rows.values().chunk_by(|a, b| a + 1 == *b);
            let ranges = runs.map(|run| run[0] as usize..run[run.len() - 1] as usize + 1);
            RowSelection::from_consecutive_ranges(ranges, self.total)
        }))
    }

    /// The row numbers; `None` for all.
    pub(crate) fn some(&self) -> Option<&[u32]> {
        self.some.as_ref().map(|s| &s.rows.values()[..])
    }

    /// Whether one of them is in `range`.
    pub(crate) fn touches(&self, range: Range<usize>) -> bool {
        self.some().is_none_or(|rows| {
            let at = rows.partition_point(|row| (*row as usize) < range.start);
            rows.get(at).is_some_and(|row| (*row as usize) < range.end)
        })
    }

    /// The picked rows of a whole column that is kept packed.
    ///
    /// # Errors
    /// As for [`Picked::of`].
    pub(crate) fn of_packed(&self, whole: &Packed) -> Result<ArrayRef, StoreError> {
        match self.some().and_then(|rows| whole.take(rows)) {
            Some(picked) => Ok(picked),
            None => self.of(&whole.array()),
        }
    }

    /// The picked rows of a whole column.
    ///
    /// # Errors
    /// A column of another length: a damaged segment.
    pub(crate) fn of(&self, whole: &ArrayRef) -> Result<ArrayRef, StoreError> {
        match &self.some {
            None => Ok(whole.clone()),
            Some(some) => arrow_select::take::take(whole, &some.rows, None).map_err(StoreError::columns("pick rows")),
        }
    }
}

/// Rows that conditions have left so far.
#[derive(Debug, Clone)]
pub(crate) enum Left {
    /// All of them.
    All(usize),
    /// Those that are set.
    Mask(BooleanBuffer),
    /// Few, of so many.
    Rows(Vec<u32>, usize),
}

/// Fewer rows than one in so many are looked at one by one.
const FEW: usize = 16;

impl Left {
    /// Those of `total` rows that lie in the ranges of a selection.
    pub(crate) fn new(selection: Option<RowSelection>, total: usize) -> Self {
        let Some(selection) = selection else { return Self::All(total) };
        if let Some(mask) = selection.as_mask() {
            return Self::of_mask(mask.clone());
        }
        let mut rows = Vec::with_capacity(selection.row_count());
        let mut at = 0u32;
        for s in selection.iter() {
            let n = s.row_count as u32;
            if !s.skip {
                rows.extend(at..at + n);
            }
            at += n;
        }
        if rows.len() == total { Self::All(total) } else { Self::Rows(rows, total) }
    }

    /// Those that are set.
    pub(crate) fn of_mask(mask: BooleanBuffer) -> Self {
        let set = mask.count_set_bits();
        match set {
            _ if set == mask.len() => Self::All(set),
            _ if set * FEW < mask.len() => Self::Rows(selected(&mask), mask.len()),
            _ => Self::Mask(mask),
        }
    }

    /// Those of them that lie in a stretch.
    pub(crate) fn within(self, stretch: Range<u32>) -> Self {
        match self {
            Self::All(total) if stretch.len() == total => Self::All(total),
            Self::All(total) => Self::Rows(stretch.collect(), total),
            Self::Mask(mask) => {
                let total = mask.len();
                Self::Rows(selected(&mask).into_iter().filter(|row| stretch.contains(row)).collect(), total)
            }
            Self::Rows(mut rows, total) => {
                rows.retain(|row| stretch.contains(row));
                Self::Rows(rows, total)
            }
        }
    }

    /// The same, as bits where they are many.
    pub(crate) fn spread(self) -> Self {
        match self {
            Self::Rows(rows, total) if rows.len() == total => Self::All(total),
            Self::Rows(rows, total) if rows.len() * 2 >= total => {
                let mut bits = BooleanBufferBuilder::new(total);
                bits.append_n(total, false);
                rows.iter().for_each(|row| bits.set_bit(*row as usize, true));
                Self::Mask(bits.finish())
            }
            other => other,
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::All(total) => *total,
            Self::Mask(mask) => mask.count_set_bits(),
            Self::Rows(rows, _) => rows.len(),
        }
    }

    /// Those of them that are among `rows`, of `total`.
    pub(crate) fn among(self, mut rows: Vec<u32>, total: usize) -> Self {
        match self {
            Self::All(_) => {}
            Self::Mask(mask) => rows.retain(|row| mask.value(*row as usize)),
            Self::Rows(left, _) => {
                let mut at = 0;
                rows.retain(|row| {
                    while left.get(at).is_some_and(|l| l < row) {
                        at += 1;
                    }
                    left.get(at) == Some(row)
                });
            }
        }
        Self::Rows(rows, total)
    }

    /// Those of them that are not among `rows`, ascending.
    pub(crate) fn without(self, rows: &[u32]) -> Self {
        if rows.is_empty() {
            return self;
        }
        let cleared = |mut bits: BooleanBufferBuilder| {
            rows.iter().for_each(|row| bits.set_bit(*row as usize, false));
            Self::of_mask(bits.finish())
        };
        match self {
            Self::All(total) => {
                let mut bits = BooleanBufferBuilder::new(total);
                bits.append_n(total, true);
                cleared(bits)
            }
            Self::Mask(mask) => {
                let mut bits = BooleanBufferBuilder::new(mask.len());
                bits.append_buffer(&mask);
                cleared(bits)
            }
            Self::Rows(mut left, total) => {
                left.retain(|row| rows.binary_search(row).is_err());
                Self::Rows(left, total)
            }
        }
    }

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Rows(rows, _) if rows.is_empty()) || matches!(self, Self::All(0))
    }

    /// The last, or the first, `most` rows of a range, in no order.
    pub(crate) fn ends(&self, range: Range<usize>, last: bool, most: usize) -> Vec<u32> {
        match self {
            Self::All(_) => {
                let count = range.len().min(most);
                let start = if last { range.end - count } else { range.start };
                (start as u32..(start + count) as u32).collect()
            }
            Self::Rows(rows, _) => {
                let place = |bound: usize| rows.partition_point(|row| (*row as usize) < bound);
                let rows = &rows[place(range.start)..place(range.end)];
                let count = rows.len().min(most);
                if last { rows[rows.len() - count..].to_vec() } else { rows[..count].to_vec() }
            }
            Self::Mask(mask) if !last => {
                let found = mask.slice(range.start, range.len());
                found.set_indices().take(most).map(|at| (range.start + at) as u32).collect()
            }
            Self::Mask(mask) => {
                const BLOCK: usize = 1024;
                let mut out: Vec<u32> = Vec::new();
                let mut end = range.end;
                while end > range.start && out.len() < most {
                    let start = end.saturating_sub(BLOCK).max(range.start);
                    let block = mask.slice(start, end - start);
                    let set = block.count_set_bits();
                    let skipped = set.saturating_sub(most - out.len());
                    out.extend(block.set_indices().skip(skipped).map(|at| (start + at) as u32));
                    end = start;
                }
                out
            }
        }
    }

    /// The row numbers.
    pub(crate) fn rows(self) -> Vec<u32> {
        match self {
            Self::All(total) => (0..total as u32).collect(),
            Self::Mask(mask) => selected(&mask),
            Self::Rows(rows, _) => rows,
        }
    }

    /// Narrows them to those for which `pass`, given rows to look at, is set. A condition that is `dear` looks at no row
    /// that is gone already; others look at all where many are left, which is cheaper than picking.
    ///
    /// # Errors
    /// What `pass` gives.
    pub(crate) fn narrow(
        self,
        table: Table,
        dear: bool,
        pass: impl FnOnce(&Picked) -> Result<BooleanBuffer, StoreError>,
    ) -> Result<Self, StoreError> {
        match self {
            Self::All(total) => Ok(Self::of_mask(pass(&Picked::all(total))?)),
            Self::Mask(mask) if !dear => Ok(Self::of_mask(&mask & &pass(&Picked::all(mask.len()))?)),
            Self::Mask(mask) => {
                let total = mask.len();
                Self::Rows(selected(&mask), total).narrow(table, dear, pass)
            }
            Self::Rows(rows, total) => {
                let mask = pass(&Picked::rows(table, total, rows.clone()))?;
                Ok(Self::Rows(mask.set_indices().map(|i| rows[i]).collect(), total))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_taken_out(
            bits in prop::collection::vec(prop::bool::weighted(0.4), 1..300), out in prop::collection::btree_set(0u32..300, 0..40),
        ) {
            let out: Vec<u32> = out.into_iter().filter(|row| (*row as usize) < bits.len()).collect();
            let rows: Vec<u32> = (0..bits.len() as u32).filter(|row| bits[*row as usize]).collect();
            let spared = |rows: Vec<u32>| rows.into_iter().filter(|row| !out.contains(row)).collect::<Vec<u32>>();
            for (left, rows) in [
                (Left::Mask(bits.iter().copied().collect()), rows.clone()),
                (Left::Rows(rows.clone(), bits.len()), rows),
                (Left::All(bits.len()), (0..bits.len() as u32).collect()),
            ] {
                prop_assert_eq!(left.without(&out).rows(), spared(rows));
            }
        }

        #[test]
        fn the_ends_of_a_range_are_its_first_and_last_rows(
            bits in prop::collection::vec(prop::bool::weighted(0.3), 1..3000), a: prop::sample::Index, b: prop::sample::Index, most in 0usize..50,
        ) {
            let (a, b) = (a.index(bits.len()), b.index(bits.len()));
            let range = a.min(b)..a.max(b);
            let rows: Vec<u32> = (0..bits.len() as u32).filter(|row| bits[*row as usize]).collect();
            let inside: Vec<u32> = rows.iter().copied().filter(|row| range.contains(&(*row as usize))).collect();
            let all = range.clone().map(|row| row as u32).collect::<Vec<_>>();
            for (left, inside) in [
                (Left::Mask(bits.iter().copied().collect()), &inside),
                (Left::Rows(rows, bits.len()), &inside),
                (Left::All(bits.len()), &all),
            ] {
                let count = inside.len().min(most);
                for (last, expected) in [(false, &inside[..count]), (true, &inside[inside.len() - count..])] {
                    let mut found = left.ends(range.clone(), last, most);
                    found.sort_unstable();
                    prop_assert_eq!(&found[..], expected);
                }
            }
        }
    }
}
