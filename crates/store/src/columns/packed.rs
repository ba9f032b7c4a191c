//! Columns of a row group in the least space, and conditions on them as they lie: small numbers and the keys of small
//! dictionaries in as many bytes as they need, keys that hardly change as runs. Widening them to Arrow's types again costs a
//! few microseconds; asking them as they are costs less.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Decimal64Array, Int64Array, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};
use arrow_schema::DataType;

use crate::contract::CompareOp;

/// Keys are kept as runs where these are so long on the average.
const RUN: usize = if cfg!(test) { 2 } else { 32 };
/// The key of what is null, in runs.
pub(crate) const NULL: u32 = u32::MAX;

/// A column.
#[derive(Debug, Clone)]
pub(crate) enum Packed {
    /// As Arrow has it.
    Column(ArrayRef),
    /// Keys of a dictionary; what is null may have any.
    Keys(Small, Option<NullBuffer>, ArrayRef),
    /// Keys of a dictionary, many times the same one.
    Runs(Arc<Runs>, ArrayRef),
    /// Integers, less the first number.
    Integers(i64, Small, Option<NullBuffer>),
    /// Digits of decimals, less the first number.
    Decimals(i64, Small, Option<NullBuffer>, DataType),
    /// So many nulls.
    Nulls(DataType, usize),
}

/// Where runs end, and the key of each ([`NULL`] for none).
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) ends: Vec<u32>,
    pub(crate) keys: Vec<u32>,
}

impl Runs {
    fn of(keys: &UInt32Array) -> Option<Self> {
        let most = keys.len() / RUN;
        let mut runs = Self { ends: Vec::new(), keys: Vec::new() };
        let mut last = None;
        for (row, &key) in keys.values().iter().enumerate() {
            let key = if keys.is_null(row) { NULL } else { key };
            if last == Some(key) {
                continue;
            }
            if last.is_some() {
                runs.ends.push(row as u32);
            }
            if runs.keys.len() == most {
                return None;
            }
            runs.keys.push(key);
            last = Some(key);
        }
        runs.ends.push(keys.len() as u32);
        (!runs.keys.is_empty()).then_some(runs)
    }

    fn rows(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    /// Each run's key and length.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.keys.iter().zip(self.ends.iter().zip(starts)).map(|(&key, (&end, start))| (key, (end - start) as usize))
    }

    fn mask(&self, pass: impl Fn(u32) -> bool) -> BooleanBuffer {
        let mut bits = BooleanBufferBuilder::new(self.rows());
        self.iter().for_each(|(key, rows)| bits.append_n(rows, key != NULL && pass(key)));
        bits.finish()
    }
}

/// Numbers in one, two or four bytes each.
#[derive(Debug, Clone)]
pub(crate) enum Small {
    One(Arc<[u8]>),
    Two(Arc<[u16]>),
    Four(Arc<[u32]>),
}

impl Small {
    /// Numbers of which none is more than `most`; `None` where they do not fit into `widest` bytes.
    fn new(most: u64, widest: usize, numbers: impl Iterator<Item = u64>) -> Option<Self> {
        match most {
            0..=0xff => Some(Self::One(numbers.map(|n| n as u8).collect())),
            0x100..=0xffff => Some(Self::Two(numbers.map(|n| n as u16).collect())),
            0x1_0000..=0xffff_ffff if widest >= 4 => Some(Self::Four(numbers.map(|n| n as u32).collect())),
            _ => None,
        }
    }

    /// `None` where the numbers do not lie within 32 bits of each other.
    fn of(values: &[i64]) -> Option<(i64, Self)> {
        let (least, most) = values.iter().fold((i64::MAX, i64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        let width = most.checked_sub(least).map_or(u64::MAX, i64::unsigned_abs);
        Some((least, Self::new(width, 4, values.iter().map(|v| v.wrapping_sub(least) as u64))?))
    }

    fn widened<T>(&self, widen: impl Fn(u32) -> T) -> Vec<T> {
        match self {
            Self::One(numbers) => numbers.iter().map(|n| widen(u32::from(*n))).collect(),
            Self::Two(numbers) => numbers.iter().map(|n| widen(u32::from(*n))).collect(),
            Self::Four(numbers) => numbers.iter().map(|n| widen(*n)).collect(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.len(),
            Self::Two(numbers) => numbers.len() * 2,
            Self::Four(numbers) => numbers.len() * 4,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.len(),
            Self::Two(numbers) => numbers.len(),
            Self::Four(numbers) => numbers.len(),
        }
    }

    /// Calls `each` with every row and its number.
    pub(crate) fn each(&self, mut each: impl FnMut(usize, u32)) {
        match self {
            Self::One(numbers) => numbers.iter().enumerate().for_each(|(row, n)| each(row, (*n).into())),
            Self::Two(numbers) => numbers.iter().enumerate().for_each(|(row, n)| each(row, (*n).into())),
            Self::Four(numbers) => numbers.iter().enumerate().for_each(|(row, n)| each(row, *n)),
        }
    }

    pub(crate) fn get(&self, row: usize) -> u32 {
        match self {
            Self::One(numbers) => numbers[row].into(),
            Self::Two(numbers) => numbers[row].into(),
            Self::Four(numbers) => numbers[row],
        }
    }

    /// Which numbers are at least `from` and less than `to`.
    fn between(&self, from: u64, to: u64) -> BooleanBuffer {
        let rows = self.len();
        if from >= to || from > u64::from(u32::MAX) {
            return BooleanBuffer::new_unset(rows);
        }
        if from == 0 && to > u64::from(u32::MAX) {
            return BooleanBuffer::new_set(rows);
        }
        let (from, last) = (from as u32, (to - 1).min(u32::MAX.into()) as u32);
        // One subtraction and one comparison tell both bounds.
        let width = last - from;
        match self {
            Self::One(n) => {
                let pass: Vec<bool> = (0..=255).map(|n: u32| n.wrapping_sub(from) <= width).collect();
                bits(n, |n| pass[usize::from(n)])
            }
            Self::Two(n) if from > 0xffff => BooleanBuffer::new_unset(n.len()),
            Self::Two(n) => {
                let (from, width) = (from as u16, (last.min(0xffff) - from) as u16);
                bits(n, |n| n.wrapping_sub(from) <= width)
            }
            Self::Four(n) => bits(n, |n| n.wrapping_sub(from) <= width),
        }
    }

    /// Which keys pass.
    fn keyed(&self, pass: &BooleanBuffer) -> BooleanBuffer {
        let table: Vec<bool> = pass.iter().collect();
        match self {
            Self::One(n) => {
                let mut table = table;
                table.resize(256, false);
                bits(n, |n| table[usize::from(n)])
            }
            _ => BooleanBuffer::collect_bool(self.len(), |i| table.get(self.get(i) as usize).copied().unwrap_or(false)),
        }
    }
}

/// A bit a number. Eight at a time: the compiler makes vector instructions of that.
fn bits<T: Copy>(numbers: &[T], pass: impl Fn(T) -> bool) -> BooleanBuffer {
    let mut out: Vec<u8> = Vec::with_capacity(numbers.len().div_ceil(8));
    let (eights, rest) = numbers.as_chunks::<8>();
    out.extend(eights.iter().map(|eight| (0..8).fold(0u8, |byte, i| byte | (u8::from(pass(eight[i])) << i))));
    if !rest.is_empty() {
        out.push(rest.iter().enumerate().fold(0, |byte, (i, n)| byte | (u8::from(pass(*n)) << i)));
    }
    BooleanBuffer::new(out.into(), 0, numbers.len())
}

/// Integers that pass a condition: those from the first to the last bound, or all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First one inside.
    pub(crate) from: i128,
    /// First one behind.
    pub(crate) to: i128,
    /// Whether those outside pass.
    pub(crate) outside: bool,
}

impl Span {
    /// The integers of `least..=most` that stand so to a constant; `less` and `greater` say how one stands to it, and are
    /// monotonic.
    pub(crate) fn new(op: CompareOp, least: i64, most: i64, less: impl Fn(i64) -> bool, greater: impl Fn(i64) -> bool) -> Self {
        let (start, end) = (i128::from(least), i128::from(most) + 1);
        let equal = || first(least, most, |n| !less(n));
        let behind = || first(least, most, &greater);
        let (from, to) = match op {
            CompareOp::Eq | CompareOp::Ne => (equal(), behind()),
            CompareOp::Lt => (start, equal()),
            CompareOp::Le => (start, behind()),
            CompareOp::Gt => (behind(), end),
            CompareOp::Ge => (equal(), end),
        };
        Self { from, to, outside: op == CompareOp::Ne }
    }
}

/// The first integer of `least..=most` for which `pass` holds; it holds for all later ones.
fn first(least: i64, most: i64, pass: impl Fn(i64) -> bool) -> i128 {
    let (mut low, mut high) = (i128::from(least), i128::from(most) + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if pass(middle as i64) { high = middle } else { low = middle + 1 }
    }
    low
}

impl Packed {
    /// A column in the least space, and how much that is.
    pub(crate) fn of(array: &ArrayRef) -> (Self, usize) {
        let nulls = array.nulls().map_or(0, |n| n.len() / 8);
        if array.null_count() == array.len() {
            return (Self::Nulls(array.data_type().clone(), array.len()), 0);
        }
        if let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() {
            let keys = dictionary.keys();
            let values = dictionary.values();
            if let Some(runs) = Runs::of(keys) {
                let bytes = runs.ends.len() * 8 + values.get_array_memory_size();
                return (Self::Runs(Arc::new(runs), values.clone()), bytes);
            }
            // What is null may have any key.
            let most = keys.values().iter().max().copied().unwrap_or(0);
            if let Some(small) = Small::new(most.into(), 2, keys.values().iter().map(|k| (*k).into())) {
                let bytes = small.bytes() + nulls + values.get_array_memory_size();
                return (Self::Keys(small, keys.nulls().cloned(), values.clone()), bytes);
            }
        }
        if let Some(integers) = array.as_primitive_opt::<Int64Type>()
            && let Some((least, small)) = Small::of(integers.values())
        {
            let bytes = small.bytes() + nulls;
            return (Self::Integers(least, small, integers.nulls().cloned()), bytes);
        }
        if let Some(decimals) = array.as_primitive_opt::<Decimal64Type>()
            && let Some((least, small)) = Small::of(decimals.values())
        {
            let bytes = small.bytes() + nulls;
            return (Self::Decimals(least, small, decimals.nulls().cloned(), array.data_type().clone()), bytes);
        }
        (Self::Column(array.clone()), array.get_array_memory_size())
    }

    /// The column as Arrow has it.
    pub(crate) fn array(&self) -> ArrayRef {
        match self {
            Self::Column(array) => array.clone(),
            Self::Keys(keys, nulls, values) => {
                super::text::dictionary(UInt32Array::new(keys.widened(|k| k).into(), nulls.clone()), values.clone())
            }
            Self::Runs(runs, values) => {
                let mut keys = Vec::with_capacity(runs.rows());
                runs.iter().for_each(|(key, rows)| keys.resize(keys.len() + rows, if key == NULL { 0 } else { key }));
                let nulls = runs.keys.contains(&NULL).then(|| NullBuffer::new(runs.mask(|_| true)));
                super::text::dictionary(UInt32Array::new(keys.into(), nulls), values.clone())
            }
            Self::Integers(least, numbers, nulls) => {
                Arc::new(Int64Array::new(numbers.widened(|n| least.wrapping_add(n.into())).into(), nulls.clone()))
            }
            Self::Decimals(least, numbers, nulls, data_type) => {
                let values = numbers.widened(|n| least.wrapping_add(n.into()));
                Arc::new(Decimal64Array::new(values.into(), nulls.clone()).with_data_type(data_type.clone()))
            }
            Self::Nulls(data_type, rows) => new_null_array(data_type, *rows),
        }
    }

    /// The picked rows of it, as Arrow has them; `None` where that is not cheaper than to pick from [`Packed::array`].
    pub(crate) fn take(&self, rows: &[u32]) -> Option<ArrayRef> {
        let nulls_at = |nulls: &Option<NullBuffer>| {
            let nulls = nulls.as_ref()?;
            let picked: NullBuffer = rows.iter().map(|&row| nulls.is_valid(row as usize)).collect();
            (picked.null_count() > 0).then_some(picked)
        };
        Some(match self {
            Self::Column(_) => return None,
            Self::Keys(keys, nulls, values) => {
                let picked: Vec<u32> = rows.iter().map(|&row| keys.get(row as usize)).collect();
                super::text::dictionary(UInt32Array::new(picked.into(), nulls_at(nulls)), values.clone())
            }
            Self::Runs(runs, values) => {
                let mut run = 0;
                let mut picked = Vec::with_capacity(rows.len());
                for &row in rows {
                    // The rows ascend.
                    while runs.ends.get(run).is_some_and(|&end| end <= row) {
                        run += 1;
                    }
                    picked.push(*runs.keys.get(run)?);
                }
                let nulls = picked.contains(&NULL).then(|| picked.iter().map(|&key| key != NULL).collect::<NullBuffer>());
                picked.iter_mut().filter(|key| **key == NULL).for_each(|key| *key = 0);
                super::text::dictionary(UInt32Array::new(picked.into(), nulls), values.clone())
            }
            Self::Integers(least, numbers, nulls) => {
                let picked: Vec<i64> = rows.iter().map(|&row| least.wrapping_add(numbers.get(row as usize).into())).collect();
                Arc::new(Int64Array::new(picked.into(), nulls_at(nulls)))
            }
            Self::Decimals(least, numbers, nulls, data_type) => {
                let picked: Vec<i64> = rows.iter().map(|&row| least.wrapping_add(numbers.get(row as usize).into())).collect();
                Arc::new(Decimal64Array::new(picked.into(), nulls_at(nulls)).with_data_type(data_type.clone()))
            }
            Self::Nulls(data_type, _) => new_null_array(data_type, rows.len()),
        })
    }

    /// How many rows.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Column(array) => array.len(),
            Self::Keys(small, ..) | Self::Integers(_, small, _) | Self::Decimals(_, small, ..) => small.len(),
            Self::Runs(runs, _) => runs.rows(),
            Self::Nulls(_, rows) => *rows,
        }
    }

    /// Whether each row has a value, as far as is known at once.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Column(array) => array.null_count() == 0,
            Self::Integers(_, _, nulls) | Self::Decimals(_, _, nulls, _) => nulls.is_none(),
            _ => false,
        }
    }

    /// The rows that have a value.
    pub(crate) fn valid(&self) -> BooleanBuffer {
        match self {
            Self::Column(array) => super::eval::valid(array),
            Self::Runs(runs, values) => runs.mask(|key| values.is_valid(key as usize)),
            Self::Keys(_, _, values) if values.null_count() > 0 => super::eval::valid(&self.array()),
            Self::Keys(_, nulls, _) | Self::Integers(_, _, nulls) | Self::Decimals(_, _, nulls, _) => {
                nulls.as_ref().map_or_else(|| BooleanBuffer::new_set(self.rows()), |n| n.inner().clone())
            }
            Self::Nulls(_, rows) => BooleanBuffer::new_unset(*rows),
        }
    }

    /// Of a dictionary its texts.
    pub(crate) fn dictionary(&self) -> Option<&arrow_array::StringArray> {
        let (Self::Keys(_, _, values) | Self::Runs(_, values)) = self else { return None };
        values.as_string_opt()
    }

    /// Of a dictionary: the rows whose text passes; `pass` is asked once for all texts. `None` of another column.
    pub(crate) fn texts(&self, pass: impl FnOnce(&arrow_array::StringArray) -> BooleanBuffer) -> Option<BooleanBuffer> {
        let pass = pass(self.dictionary()?);
        if pass.count_set_bits() == 0 {
            return Some(BooleanBuffer::new_unset(self.rows()));
        }
        Some(match self {
            Self::Runs(runs, _) => runs.mask(|key| (key as usize) < pass.len() && pass.value(key as usize)),
            Self::Keys(keys, nulls, _) => {
                let rows = keys.keyed(&pass);
                nulls.as_ref().map_or(rows.clone(), |n| &rows & n.inner())
            }
            _ => return None,
        })
    }

    /// Least and greatest number that may be in it, of integers and of digits of decimals.
    pub(crate) fn bounds(&self) -> Option<(i64, i64)> {
        let (Self::Integers(least, small, _) | Self::Decimals(least, small, ..)) = self else { return None };
        let most = match small {
            Small::One(_) => u32::from(u8::MAX),
            Small::Two(_) => u32::from(u16::MAX),
            Small::Four(_) => u32::MAX,
        };
        Some((*least, least.saturating_add(most.into())))
    }

    /// The rows whose number is in the span. `None` of a column of other things.
    pub(crate) fn numbers(&self, span: Span) -> Option<BooleanBuffer> {
        let (Self::Integers(least, small, nulls) | Self::Decimals(least, small, nulls, _)) = self else { return None };
        let place = |bound: i128| u64::try_from(bound - i128::from(*least)).unwrap_or(0);
        let mut rows = small.between(place(span.from), place(span.to));
        if span.outside {
            rows = !&rows;
        }
        Some(nulls.as_ref().map_or(rows.clone(), |n| &rows & n.inner()))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::UInt32Type;
    use proptest::prelude::*;

    use super::*;

    fn columns() -> Vec<ArrayRef> {
        let texts = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            let texts: Vec<Option<String>> = (0..1000).map(of).collect();
            Arc::new(texts.iter().map(Option::as_deref).collect::<arrow_array::DictionaryArray<UInt32Type>>())
        };
        vec![
            texts(&|i| (i % 7 != 0).then(|| ["a", "b", "c"][i % 3].to_owned())),
            texts(&|i| Some(i.to_string())),
            texts(&|i| (i / 100 != 3).then(|| (i / 100).to_string())),
            Arc::new(Int64Array::from_iter((0..1000).map(|i| (i % 5 != 0).then_some(i - 500)))),
            Arc::new(Int64Array::from_iter_values((0..1000).map(|i| i * 1_000_000))),
            Arc::new(Int64Array::from_iter_values([i64::MIN, i64::MAX])),
            Arc::new(Int64Array::from_iter_values([i64::MAX - 1, i64::MAX])),
            Arc::new(
                Decimal64Array::from_iter((0..1000).map(|i| (i % 9 != 0).then_some(i * 7)))
                    .with_data_type(DataType::Decimal64(18, 2)),
            ),
            Arc::new(arrow_array::StringArray::from(vec![None::<&str>; 9])),
            Arc::new(arrow_array::BooleanArray::from(vec![Some(true), None])),
        ]
    }

    #[test]
    fn what_is_packed_comes_back() {
        for array in columns() {
            let (packed, _) = Packed::of(&array);
            assert_eq!(&packed.array(), &array);
            assert_eq!(packed.rows(), array.len());
            assert_eq!(packed.valid(), super::super::eval::valid(&array));
            let rows: Vec<u32> = (0..array.len() as u32).filter(|i| i % 3 == 1).collect();
            if let Some(taken) = packed.take(&rows) {
                let expected = arrow_select::take::take(&array, &UInt32Array::from(rows), None).expect("rows");
                assert_eq!(taken.data_type(), expected.data_type());
                assert_eq!(&taken, &expected);
            }
        }
    }

    proptest! {
        #[test]
        fn packed_numbers_compare_as_the_numbers_do(
            numbers in prop::collection::vec(
                prop::option::weighted(0.9, prop_oneof![-200i64..200, -70_000i64..70_000, any::<i64>()]), 1..200),
            near in prop::collection::vec(prop::option::weighted(0.9, -200i64..100), 1..200),
            right in prop_oneof![-300i64..300, -70_000i64..70_000, any::<i64>()],
        ) {
            for numbers in [numbers, near] {
                let array: ArrayRef = Arc::new(Int64Array::from(numbers.clone()));
                let (packed, _) = Packed::of(&array);
                let Some((least, most)) = packed.bounds() else { continue };
                for op in [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge] {
                    let span = Span::new(op, least, most, |n| n < right, |n| n > right);
                    let found = packed.numbers(span).expect("numbers");
                    for (row, n) in numbers.iter().enumerate() {
                        let passes = n.is_some_and(|n| super::super::eval::holds(op, n.cmp(&right)));
                        prop_assert_eq!(found.value(row), passes, "{:?} {:?} {}", n, op, right);
                    }
                }
            }
        }
    }
}
