//! What a footer tells without reading rows: row groups and pages that cannot hold a row of the scan.

use std::ops::Range;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;

use model::{Scope, TimeRange, ValueType};

use super::bloom;
use super::eval::{OPEN, zero_filled};
use super::footer::{Footer, time_place};
use super::id::{ColumnId, RestOf};
use super::members::Told;
use super::pick::Picked;
use super::read::OpenSegment;
use super::segment::REST_KEYS;
use crate::StoreError;
use crate::body::{BodyColumnId, Kind, may_be_number, number_of};
use crate::contract::{Column, CompareOp, Field, IdSet, Literal, MemberTest, Predicate, Table};

/// First and last time of a row group.
pub(crate) fn times(footer: &Footer, group: usize) -> Option<(i64, i64)> {
    match footer.raw().row_group(group).column(time_place(footer)?).statistics()? {
        Statistics::Int64(s) => Some((*s.min_opt()?, *s.max_opt()?)),
        _ => None,
    }
}

/// Whether a row group may hold rows of the predicate.
pub(crate) fn may_match(table: Table, footer: &Footer, group: usize, predicate: &Predicate) -> bool {
    let any = |p: &Predicate| may_match(table, footer, group, p);
    match predicate {
        Predicate::True | Predicate::Not(_) | Predicate::Worded(_) => true,
        Predicate::And(all) => all.iter().all(any),
        Predicate::Or(some) => some.iter().any(any),
        Predicate::Compare { column, op, value } => candidates(table, footer, column)
            .is_none_or(|places| places.iter().any(|&p| may_compare(footer, group, p, *op, value))),
        Predicate::Matches { column, .. } | Predicate::Contains { column, .. } | Predicate::Exists(column) => {
            candidates(table, footer, column).is_none_or(|places| places.iter().any(|&p| !all_null(footer, group, p)))
        }
        Predicate::Nested(column) => candidates(table, footer, column).is_none_or(|places| {
            let nested = |id: &ColumnId| matches!(id, ColumnId::Attribute(_, _, ValueType::Nested));
            places.iter().any(|&p| nested(&footer.columns[p].id) && !all_null(footer, group, p))
        }),
        Predicate::Member { name, test: MemberTest::Compare(op, value) } => may_have_number(footer, group, name, *op, *value),
        Predicate::Member { .. } => true,
        Predicate::OneOf { field, ids } => footer.place(&ColumnId::Field(*field)).is_some_and(|place| {
            match footer.raw().row_group(group).column(place).statistics() {
                Some(Statistics::FixedLenByteArray(s)) => match (s.min_bytes_opt(), s.max_bytes_opt()) {
                    (Some(least), Some(most)) => !ids.between(least, most).is_empty(),
                    _ => true,
                },
                _ => true,
            }
        }),
    }
}

/// The same, where the pages that the footer knows of are looked at as well.
pub(crate) fn pages_may_match(table: Table, footer: &Footer, group: usize, predicate: &Predicate) -> bool {
    may_match(table, footer, group, predicate) && Told::of(footer, group, predicate).is_none_or(|told| told.may_match())
}

/// Whether every row of a row group is one of the predicate, as far as the footer tells.
pub(crate) fn certain(table: Table, footer: &Footer, group: usize, predicate: &Predicate) -> bool {
    let each = |p: &Predicate| certain(table, footer, group, p);
    match predicate {
        Predicate::True => true,
        Predicate::And(all) => all.iter().all(each),
        Predicate::Or(some) => some.iter().any(each),
        Predicate::Not(p) => !pages_may_match(table, footer, group, p),
        Predicate::Member { .. } => Told::of(footer, group, predicate).is_some_and(|told| told.certain()),
        Predicate::Compare { column: Column::Field(Field::Time), op, value: Literal::Int(v) } => times(footer, group)
            .is_some_and(|(first, last)| match op {
                CompareOp::Eq => first == *v && last == *v,
                CompareOp::Ne => *v < first || last < *v,
                CompareOp::Lt => last < *v,
                CompareOp::Le => last <= *v,
                CompareOp::Gt => first > *v,
                CompareOp::Ge => first >= *v,
            }),
        _ => false,
    }
}

/// The places of a column; `None` where something else than a column may hold it.
pub(crate) fn candidates(table: Table, footer: &Footer, column: &Column) -> Option<Vec<usize>> {
    match column {
        Column::Field(field) if zero_filled(table, *field) => None,
        Column::Field(field) => Some(footer.place(&ColumnId::Field(*field)).into_iter().collect()),
        Column::Attributes(_) => None,
        Column::Attribute { scope, key } => {
            let one = scope.map(|s| [s]);
            let scopes: &[Scope] = one.as_ref().map_or(&OPEN, |s| s);
            let wanted = |id: &ColumnId| matches!(id, ColumnId::Attribute(s, k, _) if **k == **key && scopes.contains(s));
            let has_rest = [RestOf::Record, RestOf::Group].iter().any(|r| footer.place(&ColumnId::Rest(*r)).is_some());
            if has_rest && (footer.rest.len() >= REST_KEYS || footer.rest.keys().any(wanted)) {
                return None;
            }
            Some(footer.columns.iter().enumerate().filter(|(_, c)| wanted(&c.id)).map(|(p, _)| p).collect())
        }
    }
}

/// Whether a column has a value in a row group; `None` where that is not said.
pub(crate) fn has_values(footer: &Footer, group: usize, place: usize) -> Option<bool> {
    let nulls = footer.raw().row_group(group).column(place).statistics()?.null_count_opt()?;
    Some((nulls as usize) < footer.rows(group))
}

fn all_null(footer: &Footer, group: usize, place: usize) -> bool {
    let statistics = footer.raw().row_group(group).column(place).statistics();
    statistics.and_then(Statistics::null_count_opt).is_some_and(|n| n as usize == footer.rows(group))
}

fn may_compare(footer: &Footer, group: usize, place: usize, op: CompareOp, value: &Literal) -> bool {
    if all_null(footer, group, place) {
        return false;
    }
    match (footer.raw().row_group(group).column(place).statistics(), value) {
        (Some(Statistics::Int64(s)), Literal::Int(v)) => within(s.min_opt(), s.max_opt(), op, v),
        (Some(Statistics::Int32(s)), Literal::Int(v)) => {
            within(s.min_opt().map(|&m| i64::from(m)).as_ref(), s.max_opt().map(|&m| i64::from(m)).as_ref(), op, v)
        }
        (Some(Statistics::Int64(s)), Literal::Double(v)) => {
            within(s.min_opt().map(|&m| m as f64).as_ref(), s.max_opt().map(|&m| m as f64).as_ref(), op, v)
        }
        (Some(Statistics::ByteArray(s)), Literal::Str(v)) => within(s.min_bytes_opt(), s.max_bytes_opt(), op, v.as_bytes()),
        (Some(Statistics::FixedLenByteArray(s)), Literal::Bytes(v)) => within(s.min_bytes_opt(), s.max_bytes_opt(), op, v),
        _ => true,
    }
}

/// Whether a line of a row group may have such a number under a name.
fn may_have_number(footer: &Footer, group: usize, name: &str, op: CompareOp, value: f64) -> bool {
    footer.columns.iter().enumerate().any(|(place, column)| match &column.id {
        // Lines that are kept whole.
        ColumnId::Field(Field::Body) => has_values(footer, group, place) != Some(false),
        ColumnId::Body(BodyColumnId::Value(variable)) if may_be_number(variable, name) => {
            if all_null(footer, group, place) {
                return false;
            }
            if !matches!(variable.kind, Kind::Int | Kind::Decimal(_)) || value.is_nan() {
                return true;
            }
            match footer.raw().row_group(group).column(place).statistics() {
                Some(Statistics::Int64(s)) => {
                    let bound = |b: Option<&i64>| b.map(|&b| number_of(variable.kind, b));
                    within(bound(s.min_opt()).as_ref(), bound(s.max_opt()).as_ref(), op, &value)
                }
                _ => true,
            }
        }
        _ => false,
    })
}

/// Whether a value between the bounds may stand so to `value`.
fn within<T: PartialOrd + ?Sized>(least: Option<&T>, most: Option<&T>, op: CompareOp, value: &T) -> bool {
    let (Some(least), Some(most)) = (least, most) else { return true };
    match op {
        CompareOp::Eq => least <= value && value <= most,
        CompareOp::Ne => !(least == value && most == value),
        CompareOp::Lt => least < value,
        CompareOp::Le => least <= value,
        CompareOp::Gt => most > value,
        CompareOp::Ge => most >= value,
    }
}

/// The rows of a row group in which a scan may find something, as ranges; `None` for all of them.
///
/// # Errors
/// IO, reading a filter of ids.
pub(crate) fn row_ranges(
    table: Table,
    segment: &OpenSegment,
    group: usize,
    range: TimeRange,
    predicate: &Predicate,
) -> Result<Option<RowSelection>, StoreError> {
    let footer = &segment.footer;
    let rows = footer.rows(group);
    let mut keep: Option<Vec<Range<usize>>> = None;
    let mut narrow = |ranges: Vec<Range<usize>>| {
        keep = Some(match keep.take() {
            None => ranges,
            Some(kept) => intersect(&kept, &ranges),
        });
    };
    if let Some((first, last)) = times(footer, group)
        && !(range.contains(first) && range.contains(last))
        && let Some(place) = time_place(footer)
        && let Some(pages) = pages(footer, group, place, |index, page| match index {
            ColumnIndexMetaData::INT64(i) => match (i.min_value(page), i.max_value(page)) {
                (Some(&a), Some(&b)) => range.overlaps(a, b),
                _ => true,
            },
            _ => true,
        })
    {
        narrow(pages);
    }
    for p in conjuncts(predicate) {
        if let Some(ranges) = Told::of(footer, group, p).map(|told| told.ranges())
            && !matches!(&ranges[..], [all] if *all == (0..rows))
        {
            narrow(ranges);
        }
        match p {
            Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value: Literal::Bytes(id) } => {
                match table {
                    Table::Spans => {
                        if let Some(place) = footer.place(&ColumnId::Field(Field::TraceId))
                            && let Some(pages) = pages(footer, group, place, |index, page| match index {
                                ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(i) => match (i.min_value(page), i.max_value(page)) {
                                    (Some(a), Some(b)) => a <= id.as_slice() && id.as_slice() <= b,
                                    _ => true,
                                },
                                _ => true,
                            })
                        {
                            narrow(pages);
                        }
                    }
                    Table::Logs => {}
                }
                // Bounds of a sorted column leave a page in every segment: the filter says in which it is worth reading.
                if id.len() * 2 == bloom::DIGITS
                    && let Some(ranges) = blocks(segment, group, rows, bloom::hash_id(id))?
                {
                    narrow(ranges);
                }
            }
            Predicate::OneOf { field: Field::TraceId, ids } => {
                if let Some(place) = footer.place(&ColumnId::Field(Field::TraceId))
                    && let Some(pages) = pages(footer, group, place, |index, page| match index {
                        ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(i) => match (i.min_value(page), i.max_value(page)) {
                            (Some(a), Some(b)) => !ids.between(a, b).is_empty(),
                            _ => true,
                        },
                        _ => true,
                    })
                {
                    narrow(pages);
                }
                if let Some(ranges) = blocks_of_any(segment, group, rows, ids)? {
                    narrow(ranges);
                }
            }
            Predicate::Contains { column: Column::Field(Field::Body), needle } if table == Table::Logs => {
                if let Some(hash) = bloom::hash_needle(needle)
                    && let Some(ranges) = blocks(segment, group, rows, hash)?
                {
                    narrow(ranges);
                }
            }
            _ => {}
        }
    }
    Ok(keep.map(|ranges| RowSelection::from_consecutive_ranges(ranges.into_iter(), rows)))
}

/// Whether a predicate asks for an id that filters of ids know.
pub(crate) fn asks_for_id(table: Table, predicate: &Predicate) -> bool {
    conjuncts(predicate).into_iter().any(|p| match p {
        Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value: Literal::Bytes(id) } => {
            id.len() * 2 == bloom::DIGITS
        }
        Predicate::Contains { column: Column::Field(Field::Body), needle } => {
            table == Table::Logs && bloom::hash_needle(needle).is_some()
        }
        _ => false,
    })
}

/// The predicates that must all be true.
pub(crate) fn conjuncts(predicate: &Predicate) -> Vec<&Predicate> {
    match predicate {
        Predicate::And(all) => all.iter().flat_map(conjuncts).collect(),
        Predicate::True => Vec::new(),
        one => vec![one],
    }
}

/// The rows of the pages that pass; `None` where pages have no bounds.
fn pages(
    footer: &Footer,
    group: usize,
    place: usize,
    pass: impl Fn(&ColumnIndexMetaData, usize) -> bool,
) -> Option<Vec<Range<usize>>> {
    let provider = footer.raw().page_index()?;
    let bounds = provider.column_index(group, place)?;
    let offsets = provider.offset_index(group, place)?;
    let starts: Vec<usize> = offsets.page_locations().iter().map(|p| p.first_row_index.max(0) as usize).collect();
    let rows = footer.rows(group);
    let mut out: Vec<Range<usize>> = Vec::new();
    for (page, &start) in starts.iter().enumerate() {
        let end = starts.get(page + 1).copied().unwrap_or(rows);
        if start < end && end <= rows && pass(bounds, page) {
            match out.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => out.push(start..end),
            }
        }
    }
    Some(out)
}

/// The rows of the blocks that may mention an id; `None` where there is no filter.
fn blocks(segment: &OpenSegment, group: usize, rows: usize, hash: u64) -> Result<Option<Vec<Range<usize>>>, StoreError> {
    let Some(filter) = segment.id_filter(group)? else { return Ok(None) };
    blocks_in(segment, &filter, rows, hash).map(Some)
}

fn blocks_in(segment: &OpenSegment, filter: &[u8], rows: usize, hash: u64) -> Result<Vec<Range<usize>>, StoreError> {
    let Some(found) = bloom::blocks_with(filter, hash) else {
        return Err(segment.corrupt("a filter of ids makes no sense"));
    };
    Ok(found
        .into_iter()
        .enumerate()
        .filter(|(_, may)| *may)
        .map(|(i, _)| (i * bloom::BLOCK_ROWS).min(rows)..((i + 1) * bloom::BLOCK_ROWS).min(rows))
        .filter(|r| !r.is_empty())
        .collect())
}

/// The rows of the blocks that may mention one of some ids; `None` where there is no filter, or too many ids for it to tell.
fn blocks_of_any(segment: &OpenSegment, group: usize, rows: usize, ids: &IdSet) -> Result<Option<Vec<Range<usize>>>, StoreError> {
    if ids.ids().len() * 4 > rows / bloom::BLOCK_ROWS {
        return Ok(None);
    }
    let Some(filter) = segment.id_filter(group)? else { return Ok(None) };
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for id in ids.ids() {
        ranges.extend(blocks_in(segment, &filter, rows, bloom::hash_id(id))?);
    }
    ranges.sort_by_key(|r| r.start);
    ranges.dedup();
    Ok(Some(ranges))
}

fn intersect(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let both = x.start.max(y.start)..x.end.min(y.end);
        if both.start < both.end {
            out.push(both);
        }
        if x.end < y.end { i += 1 } else { j += 1 }
    }
    out
}

/// The rows of some traces, where their ids can be searched: spans stand in the order of their trace ids. `None` where that
/// costs more than looking at them all.
///
/// # Errors
/// IO and corruption.
pub(crate) fn trace_rows(table: Table, segment: &OpenSegment, group: usize, ids: &IdSet) -> Result<Option<Vec<u32>>, StoreError> {
    let (Table::Spans, Some(place)) = (table, segment.footer.place(&ColumnId::Field(Field::TraceId))) else { return Ok(None) };
    let picked = Picked::all(segment.footer.rows(group));
    let array = segment.picked(group, &[place], &picked)?.pop();
    let Some(known) = array.as_ref().and_then(|a| a.as_fixed_size_binary_opt()).filter(|a| a.null_count() == 0) else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    let mut at = 0;
    if known.is_empty() {
        return Ok(Some(rows));
    }
    for id in ids.between(known.value(0), known.value(known.len() - 1)) {
        let (mut low, mut high) = (at, known.len());
        while low < high {
            let middle = low.midpoint(high);
            if known.value(middle) < id.as_slice() { low = middle + 1 } else { high = middle }
        }
        at = low;
        while at < known.len() && known.value(at) == id.as_slice() {
            rows.push(at as u32);
            at += 1;
        }
    }
    Ok(Some(rows))
}
