//! Our own reader of pages and Parquet's give the same columns; damage is an error.

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Decimal64Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int32Array,
    Int64Array, StringArray, TimestampNanosecondArray, UInt8Array, UInt32Array,
};
use model::{Scope, ValueType};

use super::super::cache::ColumnCache;
use super::super::footers::Footers;
use super::super::id::ColumnId;
use super::super::pick::Picked;
use super::super::read::{OpenSegment, as_kept};
use super::super::segment::{SegmentColumn, SegmentWriter};
use super::files::Files;
use super::random::Random;
use crate::body::{BodyColumnId, Variable};
use crate::contract::{Field, Table};
use crate::{SegmentMeta, Segments};

/// More than two pages.
const ROWS: usize = 5000;
const FILE: &str = "t/logs/0/1.parquet";

/// A column of each type, each with values everywhere, in places, and (but for times) nowhere.
fn columns(random: &mut Random) -> Vec<(SegmentColumn, ArrayRef)> {
    let variable = |name: &str| ColumnId::Body(BodyColumnId::Value(Variable::parse(name).unwrap()));
    let attribute = |name: String, kind| ColumnId::Attribute(Scope::Record, name.as_str().into(), kind);
    let times = TimestampNanosecondArray::from_iter_values((0..ROWS as i64).map(|i| i * 1_000_003)).with_timezone("UTC");
    let mut out: Vec<(ColumnId, bool, ArrayRef)> = vec![(ColumnId::Field(Field::Time), false, Arc::new(times))];
    for percent in [100, 60, 1, 0] {
        let has: Vec<bool> = (0..ROWS).map(|_| random.chance(percent)).collect();
        let some = |i: usize| has[i].then_some(i as i64);
        let name = |kind: &str| format!("{kind}{percent}");
        let mut add = |id: ColumnId, plain: bool, array: ArrayRef| out.push((id, plain, array));
        let each = || (0..ROWS).map(some);
        add(attribute(name("int"), ValueType::Int), false, Arc::new(Int64Array::from_iter(each().map(|v| v.map(|v| v * v - 9)))));
        add(attribute(name("few"), ValueType::Int), false, Arc::new(Int64Array::from_iter(each().map(|v| v.map(|v| v % 7)))));
        add(
            attribute(name("double"), ValueType::Double),
            false,
            Arc::new(Float64Array::from_iter(each().map(|v| v.map(|v| v as f64 / 3.0)))),
        );
        add(
            attribute(name("bool"), ValueType::Bool),
            false,
            Arc::new(BooleanArray::from_iter(each().map(|v| v.map(|v| v % 3 == 0)))),
        );
        let texts: Vec<Option<String>> = each().map(|v| v.map(|v| "é".repeat(v as usize % 5) + &v.to_string())).collect();
        add(attribute(name("plain"), ValueType::Str), true, Arc::new(StringArray::from_iter(&texts)));
        add(
            attribute(name("bytes"), ValueType::Bytes),
            false,
            Arc::new(texts.iter().map(|t| t.as_ref().map(|t| t.as_bytes())).collect::<BinaryArray>()),
        );
        let keyed: DictionaryArray<UInt32Type> = texts.iter().map(Option::as_deref).collect();
        add(attribute(name("keyed"), ValueType::Str), false, Arc::new(keyed));
        let runs: DictionaryArray<UInt32Type> = each().map(|v| v.map(|v| ["a", "", "ccc"][v as usize / 1700])).collect();
        add(attribute(name("runs"), ValueType::Str), false, Arc::new(runs));
        let decimals = Decimal64Array::from_iter(each()).with_data_type(variable("d:dec2").data_type(false));
        add(variable(&format!("{}:dec2", name("d"))), false, Arc::new(decimals));
        let ids = each().map(|v| v.map(|v| (v as u128 * 0x1234_5678_9abc_def1_2345_6789).to_be_bytes()));
        let ids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16).unwrap();
        add(variable(&format!("{}:hex16", name("x"))), false, Arc::new(ids));
    }
    let ids = [Field::Kind, Field::Flags, Field::DroppedLinks, Field::BodyType];
    let arrays: [ArrayRef; 4] = [
        Arc::new(Int32Array::from_iter((0..ROWS as i32).map(|i| (i % 2 == 0).then_some(-i)))),
        Arc::new(UInt32Array::from_iter_values((0..ROWS as u32).map(|i| i.wrapping_mul(0x9e37_79b9)))),
        Arc::new(UInt32Array::from_iter((0..ROWS as u32).map(|i| (i % 9 == 0).then_some(u32::MAX - i % 3)))),
        Arc::new(UInt8Array::from_iter_values((0..ROWS).map(|i| (i % 200) as u8))),
    ];
    out.extend(ids.into_iter().zip(arrays).map(|(id, array)| (ColumnId::Field(id), false, array)));
    out.into_iter().map(|(id, plain, array)| (SegmentColumn { id, plain }, array)).collect()
}

fn meta(bytes: u64) -> SegmentMeta {
    SegmentMeta {
        id: 1,
        tenant: "t".into(),
        signal: "logs".into(),
        hour: 0,
        file: FILE.into(),
        format: 1,
        first: 0,
        last: i64::MAX,
        rows: ROWS as u64,
        bytes,
        level: 1,
        first_sequence: 0,
        last_sequence: 0,
        deleted_to: 0,
        apart: false,
    }
}

fn write(files: &Files, columns: &[(SegmentColumn, ArrayRef)], level: Option<i32>) -> SegmentMeta {
    let own: Vec<SegmentColumn> = columns.iter().map(|(column, _)| column.clone()).collect();
    let mut writer = SegmentWriter::new(Table::Logs, false, own, level, files.create(FILE).unwrap()).unwrap();
    let array = |column: &SegmentColumn| Ok(columns.iter().find(|(c, _)| c == column).unwrap().1.clone());
    writer.write((0, i64::MAX), None, |_| false, array).unwrap();
    meta(writer.finish(&[]).unwrap().bytes)
}

/// All rows, a page's, few, and many.
fn picks(random: &mut Random) -> Vec<Picked> {
    let mut some = |percent| (0..ROWS as u32).filter(|_| random.chance(percent)).collect::<Vec<u32>>();
    let rows = [vec![0], vec![ROWS as u32 - 1], vec![2047, 2048], (2048..4096).collect(), some(1), some(50), some(98)];
    rows.into_iter().map(|rows| Picked::rows(Table::Logs, ROWS, rows)).chain([Picked::all(ROWS)]).collect()
}

#[test]
fn pages_are_read_as_parquet_reads_them() {
    let mut random = Random(7);
    let columns = columns(&mut random);
    let files = Files::default();
    for level in [Some(1), None] {
        let meta = write(&files, &columns, level);
        let footers = Footers::new(Arc::new(ColumnCache::new(1 << 30)));
        let segment = footers.open(&files, &meta).unwrap();
        for (column, written) in &columns {
            let place = segment.footer.place(&column.id).unwrap();
            for picked in picks(&mut random) {
                let theirs = segment.columns_by_parquet(0, &[place], picked.selection()).unwrap().remove(0);
                let ours = segment.columns(0, &[place], &picked).unwrap().remove(0);
                let own = segment.with_inflater(|inflater| segment.column(inflater, 0, place, &picked)).unwrap();
                assert!(own.is_some(), "{column:?} is left to Parquet's reader");
                assert_eq!(ours.data_type(), theirs.data_type());
                assert_eq!(&ours, &theirs, "{column:?}");
                if written.null_count() < ROWS {
                    assert_eq!(&ours, &picked.of(&as_kept(written.clone())).unwrap(), "{column:?}");
                }
                // From pages, which are kept, twice.
                for _ in 0..2 {
                    let Some(rows) = picked.some() else { continue };
                    let pages = segment.picked_pages(0, &[place], rows).unwrap().expect("pages are kept").remove(0);
                    assert_eq!(&pages, &theirs, "{column:?}");
                }
            }
        }
    }
}

#[test]
fn damaged_pages_are_errors_or_other_values() {
    let mut random = Random(11);
    let columns = columns(&mut random);
    let files = Files::default();
    for level in [Some(1), None] {
        let meta = write(&files, &columns, level);
        let good = files.bytes(FILE);
        let mut refused = 0;
        for _ in 0..40 {
            let mut bytes = good.to_vec();
            let group_end = bytes.len() * 9 / 10;
            for _ in 0..3 {
                bytes[random.below(group_end as u64) as usize] ^= 1 << random.below(8);
            }
            files.put(FILE, bytes);
            let Ok(segment) = OpenSegment::open(&files, &meta) else { continue };
            for place in 0..columns.len() {
                match segment.columns(0, &[place], &Picked::all(ROWS)) {
                    Ok(arrays) => assert!(arrays.iter().all(|array| array.len() == ROWS)),
                    Err(crate::StoreError::Corrupt { file, .. }) => refused += usize::from(file == FILE),
                    Err(e) => panic!("{e}"),
                }
            }
        }
        assert!(refused > 10, "{refused} columns of 40 damaged files were noticed");
    }
}
