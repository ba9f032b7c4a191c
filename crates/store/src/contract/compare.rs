//! How often each value stands in a part of some rows, and in the rest of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef};
use model::{OwnedValue, Tenant, TimeRange, ValueType};

use super::batch::value_at;
use super::{Column, Meaning, Order, Predicate, Reader, Scan, StoreError, Table};

/// Which rows are divided into which two sides, and whose values are counted there.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Whose.
    pub tenant: Tenant,
    /// Of which table.
    pub table: Table,
    /// With [`super::Field::Time`] inside.
    pub range: TimeRange,
    /// For which this is true.
    pub predicate: Predicate,
    /// Of these rows those stand inside that have their time in here...
    pub part: TimeRange,
    /// ...and for which this is true; all others stand outside.
    pub inside: Predicate,
    /// Whose values are counted: fields of text and of `Int32`, attributes.
    pub columns: Vec<Column>,
    /// Most values of a column; of one that has more no value is told.
    pub distinct: usize,
}

/// Counts outside and inside.
pub type Sides = [u64; 2];

/// What a [`Comparison`] found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// Rows outside and inside.
    pub rows: Sides,
    /// The columns that some of them have, each once.
    pub columns: Vec<Tallied>,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Tallied {
    /// Which column.
    pub meaning: Meaning,
    /// Each value once, in any order (bytes are not told apart and missing here); `None` where there are more than
    /// [`Comparison::distinct`].
    pub values: Option<Vec<(OwnedValue, Sides)>>,
}

impl Comparison {
    /// An error that says so, once `cancelled` is set.
    ///
    /// # Errors
    /// [`StoreError::Limit`].
    pub(crate) fn go_on(cancelled: &AtomicBool) -> Result<(), StoreError> {
        match cancelled.load(Ordering::Relaxed) {
            true => Err(StoreError::Limit("the comparison was cancelled".into())),
            false => Ok(()),
        }
    }

    /// The answer by way of scans: of all rows, and of those inside. What engines are held against, and the way of those that know no
    /// better one.
    ///
    /// # Errors
    /// As for [`Reader::scan`].
    pub(crate) fn by_scans(&self, reader: &(impl Reader + ?Sized), cancelled: &AtomicBool) -> Result<Compared, StoreError> {
        let mut rows = [0; 2];
        // By meaning and by how the value prints: equal values print alike, NaN among them.
        let mut columns: BTreeMap<Meaning, BTreeMap<String, (OwnedValue, Sides)>> = BTreeMap::new();
        let part = TimeRange::new(self.range.start.max(self.part.start), self.range.end.min(self.part.end));
        for (side, range, predicate) in
            [(0, self.range, self.predicate.clone()), (1, part, self.predicate.clone().and(self.inside.clone()))]
        {
            if range.is_empty() {
                continue;
            }
            let scan = Scan {
                tenant: self.tenant.clone(),
                table: self.table,
                range,
                predicate,
                projection: self.columns.clone(),
                order: Order::Any,
                limit: None,
            };
            for batch in reader.scan(&scan)? {
                Self::go_on(cancelled)?;
                let batch = batch?;
                rows[side] += batch.rows() as u64;
                for (meaning, array) in batch.meaning().iter().zip(batch.columns().columns()) {
                    let values = columns.entry(meaning.clone()).or_default();
                    for value in (0..array.len()).filter_map(|row| value(meaning, array, row)) {
                        values.entry(format!("{value:?}")).or_insert((value, [0; 2])).1[side] += 1;
                    }
                }
            }
        }
        // What is inside was counted among all, too.
        rows[0] -= rows[1];
        let columns = columns.into_iter().filter(|(_, values)| !values.is_empty()).map(|(meaning, values)| {
            let values = values.into_values().map(|(value, [all, inside])| (value, [all - inside, inside]));
            let values: Vec<_> = values.collect();
            Tallied { meaning, values: (values.len() <= self.distinct).then_some(values) }
        });
        Ok(Compared { rows, columns: columns.collect() })
    }
}

/// The value in a row of a column that is compared.
fn value(meaning: &Meaning, array: &ArrayRef, row: usize) -> Option<OwnedValue> {
    let kind = match meaning {
        Meaning::Attribute(_, _, ValueType::Bytes) => return None,
        Meaning::Attribute(_, _, kind) => *kind,
        Meaning::Field(_) => {
            if let Some(numbers) = array.as_primitive_opt::<Int32Type>() {
                return numbers.is_valid(row).then(|| OwnedValue::Int(numbers.value(row).into()));
            }
            ValueType::Str
        }
    };
    value_at(array, row, kind).map(|value| value.to_owned_value())
}
