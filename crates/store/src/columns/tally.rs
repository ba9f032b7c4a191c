//! Values of a column counted on two sides of a line: by the numbers that they have in the column, each text looked at once a
//! dictionary.

use std::collections::HashMap;
use std::hash::Hash;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;
use model::{OwnedValue, ValueType};

use super::packed::{NULL, Packed, Small};
use crate::contract::Sides;

/// The side of a row that stands outside.
pub(super) const OUTSIDE: u8 = 0;
/// Of one inside.
pub(super) const INSIDE: u8 = 1;
/// Of one that is not counted.
pub(super) const NEITHER: u8 = 2;

/// Cells of a number, one a side; the fourth makes places shifts.
const CELLS: usize = 4;
/// Integers that lie so near to each other are counted in a table, not by their hashes.
const NEAR: i64 = 1 << 16;

type Map<K> = HashMap<K, Sides, foldhash::fast::RandomState>;

/// The counts of a column's values.
#[derive(Debug)]
pub(super) struct Tally {
    texts: Map<Box<str>>,
    /// Integers, booleans, the bits of doubles.
    numbers: Map<i64>,
    most: usize,
    too_many: bool,
}

impl Tally {
    /// No counts yet; of more than `most` values none is kept.
    pub(super) fn new(most: usize) -> Self {
        Self { texts: Map::default(), numbers: Map::default(), most, too_many: false }
    }

    /// Whether there were too many values: nothing is counted any more.
    pub(super) fn too_many(&self) -> bool {
        self.too_many
    }

    /// The values as they are of type `kind`.
    pub(super) fn values(self, kind: ValueType) -> Option<Vec<(OwnedValue, Sides)>> {
        if self.too_many {
            return None;
        }
        let text = |text: Box<str>| match kind {
            ValueType::Nested => OwnedValue::Nested(text.into()),
            _ => OwnedValue::Str(text.into()),
        };
        let number = |n: i64| match kind {
            ValueType::Double => OwnedValue::Double(f64::from_bits(n as u64)),
            ValueType::Bool => OwnedValue::Bool(n != 0),
            _ => OwnedValue::Int(n),
        };
        let texts = self.texts.into_iter().map(|(t, sides)| (text(t), sides));
        Some(texts.chain(self.numbers.into_iter().map(|(n, sides)| (number(n), sides))).collect())
    }

    /// Adds what another part has.
    pub(super) fn join(&mut self, other: Self) {
        other.texts.into_iter().for_each(|(text, sides)| self.text(&text, sides));
        other.numbers.into_iter().for_each(|(n, sides)| self.number(n, sides));
        self.too_many |= other.too_many;
        self.check();
    }

    fn text(&mut self, text: &str, sides: Sides) {
        if sides == [0, 0] {
            return;
        }
        match self.texts.get_mut(text) {
            Some(sum) => add(sum, sides),
            None => {
                self.texts.insert(text.into(), sides);
            }
        }
    }

    fn number(&mut self, n: i64, sides: Sides) {
        if sides != [0, 0] {
            add(self.numbers.entry(n).or_default(), sides);
        }
    }

    fn check(&mut self) {
        if self.too_many || self.texts.len() + self.numbers.len() > self.most {
            *self = Self { too_many: true, ..Self::new(self.most) };
        }
    }

    /// Counts a column as it is kept; `sides` says of each row where it stands.
    pub(super) fn packed(&mut self, column: &Packed, sides: &[u8]) {
        match column {
            Packed::Column(array) => return self.array(array, sides),
            Packed::Nulls(..) | Packed::Decimals(..) => {}
            Packed::Keys(keys, nulls, values) => {
                let Some(texts) = values.as_string_opt::<i32>() else { return };
                each_code(keys, nulls.as_ref(), sides, |key, counts| {
                    // A dictionary may hold its nulls among the values.
                    if (key as usize) < texts.len() && !texts.is_null(key as usize) {
                        self.text(texts.value(key as usize), counts);
                    }
                });
            }
            Packed::Runs(runs, values) => {
                let Some(texts) = values.as_string_opt::<i32>() else { return };
                let mut counts = vec![[0; 2]; texts.len()];
                let mut at = 0;
                for (key, rows) in runs.iter() {
                    if let Some(count) = counts.get_mut(key as usize).filter(|_| key != NULL) {
                        let run = &sides[at..at + rows];
                        let on = |side: u8| run.iter().map(|s| u32::from(*s == side)).sum::<u32>();
                        add(count, [on(OUTSIDE).into(), on(INSIDE).into()]);
                    }
                    at += rows;
                }
                for (key, count) in counts.into_iter().enumerate().filter(|(key, _)| !texts.is_null(*key)) {
                    self.text(texts.value(key), count);
                }
            }
            Packed::Integers(least, numbers, nulls) => {
                each_code(numbers, nulls.as_ref(), sides, |n, counts| self.number(least.wrapping_add(n.into()), counts));
            }
        }
        self.check();
    }

    /// Counts a column as Arrow has it.
    pub(super) fn array(&mut self, array: &ArrayRef, sides: &[u8]) {
        let nulls = array.nulls();
        match array.data_type() {
            DataType::Dictionary(_, _) => {
                let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return };
                let Some(texts) = dictionary.values().as_string_opt::<i32>() else { return };
                let keys = dictionary.keys().values();
                let mut counts = vec![[0_u32; CELLS]; texts.len()];
                each_row(nulls, sides, |row, side| {
                    if let Some(count) = counts.get_mut(keys[row] as usize) {
                        count[side & 3] += 1;
                    }
                });
                for (key, count) in counts.into_iter().enumerate().filter(|(key, _)| !texts.is_null(*key)) {
                    self.text(texts.value(key), both(count));
                }
            }
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                for (text, counts) in grouped(nulls, sides, |row| texts.value(row)) {
                    self.text(text, counts);
                }
            }
            DataType::Boolean => {
                let values = array.as_boolean();
                let mut counts = [[0_u32; CELLS]; 2];
                each_row(nulls, sides, |row, side| counts[usize::from(values.value(row))][side & 3] += 1);
                (0..).zip(counts).for_each(|(n, count)| self.number(n, both(count)));
            }
            DataType::Int64 => {
                let values = &array.as_primitive::<Int64Type>().values()[..];
                self.integers(nulls, sides, |row| values[row]);
            }
            DataType::Int32 => {
                let values = &array.as_primitive::<Int32Type>().values()[..];
                self.integers(nulls, sides, |row| values[row].into());
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                // Not-a-number is one value, whatever its bits.
                let bits = |row: usize| if values[row].is_nan() { f64::NAN.to_bits() } else { values[row].to_bits() };
                for (bits, counts) in grouped(nulls, sides, bits) {
                    self.number(bits as i64, counts);
                }
            }
            _ => {}
        }
        self.check();
    }

    fn integers(&mut self, nulls: Option<&NullBuffer>, sides: &[u8], value: impl Fn(usize) -> i64) {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        each_row(nulls, sides, |row, _| {
            least = least.min(value(row));
            most = most.max(value(row));
        });
        match most.checked_sub(least) {
            Some(width @ 0..NEAR) => {
                let mut counts = vec![[0_u32; CELLS]; width as usize + 1];
                each_row(nulls, sides, |row, side| counts[(value(row) - least) as usize][side & 3] += 1);
                (least..).zip(counts).for_each(|(n, count)| self.number(n, both(count)));
            }
            _ => {
                for (n, counts) in grouped(nulls, sides, value) {
                    self.number(n, counts);
                }
            }
        }
    }
}

fn add(sum: &mut Sides, sides: Sides) {
    sum[0] += sides[0];
    sum[1] += sides[1];
}

/// The two cells that count. A part has fewer rows than 2^32.
fn both(count: [u32; CELLS]) -> Sides {
    [count[usize::from(OUTSIDE)].into(), count[usize::from(INSIDE)].into()]
}

/// Calls `each` with every row that has a value, and its side.
fn each_row(nulls: Option<&NullBuffer>, sides: &[u8], mut each: impl FnMut(usize, usize)) {
    match nulls {
        Some(nulls) => nulls.valid_indices().for_each(|row| each(row, sides[row].into())),
        None => sides.iter().enumerate().for_each(|(row, side)| each(row, usize::from(*side))),
    }
}

/// Rows of equal values counted by their hashes.
fn grouped<T: Hash + Eq>(nulls: Option<&NullBuffer>, sides: &[u8], value: impl Fn(usize) -> T) -> Map<T> {
    let mut counts: Map<T> = Map::default();
    each_row(nulls, sides, |row, side| {
        if side < usize::from(NEITHER) {
            counts.entry(value(row)).or_default()[side] += 1;
        }
    });
    counts
}

/// Calls `each` with every number of a column and how often it stands on each side; what is null may have any number.
fn each_code(numbers: &Small, nulls: Option<&NullBuffer>, sides: &[u8], mut each: impl FnMut(u32, Sides)) {
    let own: Vec<u8>;
    let sides = match nulls.filter(|n| n.null_count() > 0) {
        Some(nulls) => {
            own = valued(nulls.inner(), sides);
            &own
        }
        None => sides,
    };
    match numbers {
        Small::One(codes) => {
            let counts = bytes(codes, sides);
            (0..).zip(counts).for_each(|(code, count)| each(code, both(count)));
        }
        Small::Two(codes) => {
            let most = codes.iter().max().copied().unwrap_or(0);
            let mut counts = vec![[0_u32; CELLS]; usize::from(most) + 1];
            codes.iter().zip(sides).for_each(|(code, side)| counts[usize::from(*code)][usize::from(*side) & 3] += 1);
            (0..).zip(counts).for_each(|(code, count)| each(code, both(count)));
        }
        Small::Four(codes) => {
            for (code, count) in grouped(None, sides, |row| codes[row]) {
                each(code, count);
            }
        }
    }
}

/// Counts numbers of a byte. Two tables take turns: rows that follow each other often have the same number, and a cell that was just
/// written would have to be waited for.
fn bytes(codes: &[u8], sides: &[u8]) -> Vec<[u32; CELLS]> {
    let mut tables = [[0_u32; CELLS * 256]; 2];
    let place = |code: u8, side: u8| usize::from(code) * CELLS + (usize::from(side) & 3);
    let (pairs, rest) = codes.as_chunks::<2>();
    let (pairs_of_sides, rest_of_sides) = sides.as_chunks::<2>();
    for (code, side) in pairs.iter().zip(pairs_of_sides) {
        tables[0][place(code[0], side[0])] += 1;
        tables[1][place(code[1], side[1])] += 1;
    }
    for (code, side) in rest.iter().zip(rest_of_sides) {
        tables[0][place(*code, *side)] += 1;
    }
    let [mut sum, other] = tables;
    sum.iter_mut().zip(other).for_each(|(a, b)| *a += b);
    sum.as_chunks::<CELLS>().0.to_vec()
}

/// The sides, but of rows without a value neither.
fn valued(valid: &BooleanBuffer, sides: &[u8]) -> Vec<u8> {
    let mut out = sides.to_vec();
    // Eight rows at a time: mostly all of them, or none, have one.
    let bytes = valid.sliced();
    for (eight, byte) in out.chunks_mut(8).zip(bytes.as_slice()) {
        match byte {
            0xff => {}
            0 => eight.fill(NEITHER),
            _ => eight.iter_mut().enumerate().filter(|(i, _)| byte >> i & 1 == 0).for_each(|(_, side)| *side = NEITHER),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn told(tally: Tally, kind: ValueType) -> Option<BTreeMap<String, Sides>> {
        let values = tally.values(kind)?;
        let many = values.len();
        let out: BTreeMap<String, Sides> = values.into_iter().map(|(value, sides)| (format!("{value:?}"), sides)).collect();
        assert_eq!(out.len(), many, "each value once");
        Some(out)
    }

    fn check(array: &ArrayRef, kind: ValueType, printed: &[Option<String>], sides: &[u8]) {
        let mut naive: BTreeMap<String, Sides> = BTreeMap::new();
        for (value, side) in printed.iter().zip(sides) {
            if let (Some(value), OUTSIDE | INSIDE) = (value, *side) {
                naive.entry(value.clone()).or_default()[usize::from(*side)] += 1;
            }
        }
        let mut plain = Tally::new(1000);
        plain.array(array, sides);
        assert_eq!(told(plain, kind).as_ref(), Some(&naive));
        let (packed, _) = Packed::of(array);
        let mut tally = Tally::new(1000);
        tally.packed(&packed, sides);
        assert_eq!(told(tally, kind).as_ref(), Some(&naive), "{packed:?}");
        // A part of the rows, then the rest; and too few.
        let middle = sides.len() / 2;
        let (mut first, mut second) = (Tally::new(1000), Tally::new(1000));
        first.array(&array.slice(0, middle), &sides[..middle]);
        second.packed(&Packed::of(&array.slice(middle, array.len() - middle)).0, &sides[middle..]);
        first.join(second);
        assert_eq!(told(first, kind).as_ref(), Some(&naive));
        if naive.len() > 1 {
            let mut few = Tally::new(naive.len() - 1);
            few.packed(&packed, sides);
            assert!(few.too_many() && few.values(kind).is_none());
        }
    }

    proptest! {
        #[test]
        fn columns_are_counted_as_their_rows_are(
            rows in prop::collection::vec((0u8..3, prop::option::weighted(0.8, (0i64..400, 0usize..7))), 1..600),
            spread in prop_oneof![Just(1i64), Just(1_000), Just(10_000_000), Just(i64::MAX / 500)],
        ) {
            let sides: Vec<u8> = rows.iter().map(|(side, _)| *side).collect();
            let values = |of: &dyn Fn(i64, usize) -> OwnedValue| -> Vec<Option<OwnedValue>> {
                rows.iter().map(|(_, value)| value.map(|(a, b)| of(a, b))).collect()
            };
            let print = |values: &[Option<OwnedValue>]| -> Vec<Option<String>> {
                values.iter().map(|v| v.as_ref().map(|v| format!("{v:?}"))).collect()
            };
            let texts = [values(&|a, _| OwnedValue::Str(a.to_string())), values(&|_, b| OwnedValue::Str("x".repeat(b)))];
            for texts in texts {
                let plain: Vec<Option<&str>> =
                    texts.iter().map(|v| match v { Some(OwnedValue::Str(s)) => Some(s.as_str()), _ => None }).collect();
                let dictionary: arrow_array::DictionaryArray<UInt32Type> = plain.iter().copied().collect();
                for array in [Arc::new(StringArray::from(plain.clone())) as ArrayRef, Arc::new(dictionary)] {
                    check(&array, ValueType::Str, &print(&texts), &sides);
                }
                // Runs of the same text.
                let long: Vec<Option<&str>> = plain.iter().flat_map(|v| [*v; 5]).collect();
                let long_sides: Vec<u8> = sides.iter().flat_map(|s| [*s, 0, 1, 2, *s]).collect();
                let printed: Vec<Option<String>> = print(&texts).into_iter().flat_map(|v| vec![v; 5]).collect();
                let dictionary: arrow_array::DictionaryArray<UInt32Type> = long.into_iter().collect();
                check(&(Arc::new(dictionary) as ArrayRef), ValueType::Str, &printed, &long_sides);
            }
            let numbers: Vec<Option<i64>> = rows.iter().map(|(_, value)| value.map(|(a, _)| a * spread)).collect();
            let printed = print(&values(&|a, _| OwnedValue::Int(a * spread)));
            check(&(Arc::new(Int64Array::from(numbers)) as ArrayRef), ValueType::Int, &printed, &sides);
            let small: Int32Array = rows.iter().map(|(_, value)| value.map(|(_, b)| b as i32)).collect();
            check(&(Arc::new(small) as ArrayRef), ValueType::Int, &print(&values(&|_, b| OwnedValue::Int(b as i64))), &sides);
            let double = |b: usize| [0.0, -0.0, 1.5, f64::NAN, f64::INFINITY, -f64::NAN, 3.0][b];
            let doubles: Float64Array = rows.iter().map(|(_, value)| value.map(|(_, b)| double(b))).collect();
            let printed = print(&values(&|_, b| OwnedValue::Double(double(b))));
            check(&(Arc::new(doubles) as ArrayRef), ValueType::Double, &printed, &sides);
            let flags: BooleanArray = rows.iter().map(|(_, value)| value.map(|(a, _)| a > 200)).collect();
            check(&(Arc::new(flags) as ArrayRef), ValueType::Bool, &print(&values(&|a, _| OwnedValue::Bool(a > 200))), &sides);
        }
    }
}
