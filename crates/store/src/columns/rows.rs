//! Immutable rows in columns: what a builder is sealed into, and what a scan of a head reads.

use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::id::ColumnId;
use super::repeats;
use crate::StoreError;
use crate::contract::Table;

/// A column of [`Rows`].
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// A value a row.
    Row(ArrayRef),
    /// A value a group; the row's group says which.
    Group(ArrayRef),
}

/// Rows of one table, tenant and hour.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    len: usize,
    /// Sorted by id, ids unique.
    columns: Arc<[(ColumnId, Column)]>,
    /// The group of each row; empty where no column is kept by group.
    groups: UInt32Array,
    /// Times of the rows.
    pub(crate) first: i64,
    /// See `first`.
    pub(crate) last: i64,
    bytes: usize,
    /// See [`Rows::repeated`]; worked out when it is first asked for.
    repeated: OnceLock<Arc<[u32]>>,
}

impl Rows {
    /// Rows from their columns.
    pub(crate) fn new(
        len: usize,
        rows: Vec<(ColumnId, ArrayRef)>,
        by_group: Vec<(ColumnId, ArrayRef)>,
        groups: UInt32Array,
        first: i64,
        last: i64,
    ) -> Self {
        let mut columns: Vec<(ColumnId, Column)> = rows.into_iter().map(|(id, a)| (id, Column::Row(a))).collect();
        columns.extend(by_group.into_iter().map(|(id, a)| (id, Column::Group(a))));
        columns.sort_by(|a, b| a.0.cmp(&b.0));
        let bytes = columns
            .iter()
            .map(|(_, c)| match c {
                Column::Row(a) | Column::Group(a) => a.get_buffer_memory_size() + 128,
            })
            .sum::<usize>()
            + groups.get_buffer_memory_size();
        Self { len, columns: columns.into(), groups, first, last, bytes, repeated: OnceLock::new() }
    }

    /// How many rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes
    }

    /// The columns, sorted by id.
    pub(crate) fn columns(&self) -> &[(ColumnId, Column)] {
        &self.columns
    }

    /// The group of each row.
    pub(crate) fn groups(&self) -> &UInt32Array {
        &self.groups
    }

    /// The first `len` rows.
    pub(crate) fn head(self: &Arc<Self>, len: usize) -> Arc<Self> {
        if len >= self.len {
            return self.clone();
        }
        let columns = self
            .columns
            .iter()
            .map(|(id, c)| {
                let c = match c {
                    Column::Row(a) => Column::Row(a.slice(0, len)),
                    Column::Group(a) => Column::Group(a.clone()),
                };
                (id.clone(), c)
            })
            .collect();
        let groups = if self.groups.is_empty() { self.groups.clone() } else { self.groups.slice(0, len) };
        Arc::new(Self { len, columns, groups, repeated: OnceLock::new(), ..**self })
    }

    /// The rows that `mask` sets; `None` where it sets none.
    ///
    /// # Errors
    /// As [`Rows::array`].
    pub(crate) fn only(self: &Arc<Self>, mask: &BooleanBuffer) -> Result<Option<Arc<Self>>, StoreError> {
        let kept = mask.count_set_bits();
        if kept == self.len {
            return Ok(Some(self.clone()));
        }
        if kept == 0 {
            return Ok(None);
        }
        let mask = BooleanArray::new(mask.clone(), None);
        let filter = |a: &dyn Array| arrow_select::filter::filter(a, &mask).map_err(StoreError::columns("spare rows"));
        let mut columns = Vec::with_capacity(self.columns.len());
        let (mut first, mut last) = (self.first, self.last);
        for (id, column) in self.columns.iter() {
            let column = match column {
                Column::Row(a) => Column::Row(filter(a)?),
                Column::Group(a) => Column::Group(a.clone()),
            };
            if let (true, Column::Row(times)) = (*id == super::project::TIME, &column) {
                (first, last) = super::flush::bounds(times);
            }
            columns.push((id.clone(), column));
        }
        let groups = match self.groups.is_empty() {
            true => self.groups.clone(),
            false => filter(&self.groups)?.as_primitive::<UInt32Type>().clone(),
        };
        let (bytes, repeated) = (self.bytes, OnceLock::new());
        Ok(Some(Arc::new(Self { len: kept, columns: columns.into(), groups, first, last, bytes, repeated })))
    }

    /// The rows that repeat an earlier one, ascending.
    ///
    /// # Errors
    /// As [`Rows::array`].
    pub(crate) fn repeated(self: &Arc<Self>, table: Table) -> Result<Arc<[u32]>, StoreError> {
        if let Some(known) = self.repeated.get() {
            return Ok(known.clone());
        }
        let found: Arc<[u32]> = repeats::within(table, self)?.into();
        Ok(self.repeated.get_or_init(|| found).clone())
    }

    /// The column's place, if the rows have it.
    pub(crate) fn find(&self, id: &ColumnId) -> Option<usize> {
        self.columns.binary_search_by(|(c, _)| c.cmp(id)).ok()
    }

    /// A column by row, all rows.
    ///
    /// # Errors
    /// None for columns that a builder made.
    pub(crate) fn array(&self, at: usize) -> Result<ArrayRef, StoreError> {
        match &self.columns[at].1 {
            Column::Row(array) => Ok(array.clone()),
            Column::Group(array) => by_row(array, &self.groups),
        }
    }

    /// A column by row, by its id.
    ///
    /// # Errors
    /// As [`Rows::array`].
    pub(crate) fn get(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError> {
        self.find(id).map(|at| self.array(at)).transpose()
    }
}

/// Spreads a column over groups to the rows.
fn by_row(array: &ArrayRef, groups: &UInt32Array) -> Result<ArrayRef, StoreError> {
    if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
        let keys = dictionary.keys();
        let values: Vec<u32> = groups.values().iter().map(|&g| keys.value(g as usize)).collect();
        let nulls = keys.nulls().map(|n| NullBuffer::from_iter(groups.values().iter().map(|&g| n.is_valid(g as usize))));
        return Ok(super::text::dictionary(UInt32Array::new(values.into(), nulls), dictionary.values().clone()));
    }
    arrow_select::take::take(array, groups, None).map_err(StoreError::columns("spread a group's column"))
}
