//! Whether a column's values repeat.

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::hash::BuildHasher;

/// Values looked at.
const SAMPLE: usize = 2048;
/// A dictionary pays when a value comes so often on the average: one and a fifth times. Then it is smaller already (keys of two
/// bytes in place of texts that zstd makes of), and the values of several flushes repeat more than those of one.
const TIMES: (usize, usize) = (6, 5);

/// Whether a dictionary pays for a column in a segment: whether its values come at least one and a fifth times on the average, as
/// estimated from 2,048 of them (of N equally likely values, n picks hit about n²/2N twice). Parquet otherwise hashes every
/// value of the column only to find out that they are all different. True for types that have few values anyway.
#[must_use]
pub fn repeats(array: &ArrayRef) -> bool {
    let hasher = FixedState::default();
    let hash = |row: usize| -> Option<u64> {
        if array.is_null(row) {
            return None;
        }
        match array.data_type() {
            DataType::Utf8 => Some(hasher.hash_one(array.as_string::<i32>().value(row))),
            DataType::FixedSizeBinary(_) => Some(hasher.hash_one(array.as_fixed_size_binary().value(row))),
            DataType::Int64 => Some(hasher.hash_one(array.as_primitive::<Int64Type>().value(row))),
            DataType::Decimal64(_, _) => Some(hasher.hash_one(array.as_primitive::<Decimal64Type>().value(row))),
            DataType::Float64 => Some(hasher.hash_one(array.as_primitive::<Float64Type>().value(row).to_bits())),
            _ => None,
        }
    };
    let filled = array.len() - array.null_count();
    // Spread over the column: neighbours in a sorted segment are more alike than its ends. An odd step, so that it does
    // not beat with a period of the rows.
    let step = (filled / SAMPLE).max(1) | 1;
    let (mut seen, mut picked, mut filled_at) = (HashSet::<u64, FixedState>::default(), 0usize, 0usize);
    for row in 0..array.len() {
        if picked == SAMPLE {
            break;
        }
        if array.is_null(row) {
            continue;
        }
        filled_at += 1;
        if !filled_at.is_multiple_of(step) {
            continue;
        }
        let Some(hash) = hash(row) else { return true };
        picked += 1;
        seen.insert(hash);
    }
    let twice = picked - seen.len();
    // Seen in full: then what was counted is what there is.
    let distinct = if step == 1 && picked == filled { seen.len() } else { picked * picked / (2 * twice.max(1)) };
    distinct.max(seen.len()) * TIMES.0 <= filled * TIMES.1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn what_repeats_is_told_from_what_does_not() {
        let ints = |f: &dyn Fn(i64) -> i64, n: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..n).map(f))) };
        let mix = |i: i64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 20;
        assert!(!repeats(&ints(&|i| i, 100_000)));
        assert!(repeats(&ints(&|i| mix(i).rem_euclid(3000), 100_000)));
        assert!(!repeats(&ints(&|i| mix(i).rem_euclid(95_000), 100_000)));
        assert!(repeats(&ints(&|i| i % 2, 10)));
        assert!(!repeats(&ints(&|i| i, 10)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter((0..50_000).map(|i| (i % 3 == 0).then(|| format!("p{}", i % 70)))));
        assert!(repeats(&texts));
    }
}
