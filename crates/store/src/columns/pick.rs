//! Some rows of a row group.

use std::cell::OnceCell;
use std::ops::Range;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::BooleanBuffer;
use parquet::arrow::arrow_reader::RowSelection;

use super::eval::selected;
use super::segment::page_rows;
use crate::StoreError;
use crate::contract::Table;

/// Rows of a row group: all, or some, ascending.
#[derive(Debug, Clone)]
pub(crate) struct Picked {
    total: usize,
    some: Option<Chosen>,
}

#[derive(Debug, Clone)]
struct Chosen {
    rows: UInt32Array,
    wide: bool,
    selection: OnceCell<RowSelection>,
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
        let page = page_rows(table) as u32;
        let touched = rows.chunk_by(|a, b| a / page == b / page).count();
        let wide = touched * 2 >= total.div_ceil(page as usize);
        Self { total, some: Some(Chosen { rows: rows.into(), wide, selection: OnceCell::new() }) }
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

    fn of_mask(mask: BooleanBuffer) -> Self {
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

    /// Whether none is left.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Rows(rows, _) if rows.is_empty()) || matches!(self, Self::All(0))
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
