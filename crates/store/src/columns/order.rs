//! The order of rows inside a segment, and which rows are the same row.
//!
//! Spans: by trace id, then start. Logs: by service, then stream, then time. Spans are the same by trace and span id,
//! lines by stream, time, text and what they carry (`carried`); of the same rows the one that came first is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::carried::Carried;
use super::gather::Pick;
use super::id::ColumnId;
use super::project::TIME;
use super::rows::{Column, Rows};
use super::text::Texts;
use crate::StoreError;
use crate::contract::{Field, Table};

/// Runs up to this length are searched pair by pair for equal rows.
const SMALL_RUN: usize = 8;

/// All rows of `parts` in a segment's order, without repeated ones.
///
/// # Errors
/// Parts that lack what every part has: a bug.
pub(crate) fn in_order(table: Table, parts: &[Arc<Rows>]) -> Result<Vec<Pick>, StoreError> {
    match table {
        Table::Spans => spans(parts),
        Table::Logs => logs(parts),
    }
}

fn missing(what: &str) -> StoreError {
    StoreError::Columns { what: "order rows".into(), reason: format!("no {what} column") }
}

fn times(rows: &Rows) -> Result<ArrayRef, StoreError> {
    rows.get(&TIME)?.ok_or_else(|| missing("time"))
}

/// What service a label set belongs to, for ordering: the label `service_name`, which Loki's rules always set.
pub(crate) fn stream_key(stream: &str) -> (String, String) {
    let labels: BTreeMap<String, String> = serde_json::from_str(stream).unwrap_or_default();
    (labels.get("service_name").cloned().unwrap_or_default(), stream.to_owned())
}

fn spans(parts: &[Arc<Rows>]) -> Result<Vec<Pick>, StoreError> {
    struct Key {
        trace: u128,
        time: i64,
        pick: Pick,
    }
    let total = parts.iter().map(|p| p.len()).sum();
    let mut keys: Vec<Key> = Vec::with_capacity(total);
    let mut ids: Vec<ArrayRef> = Vec::with_capacity(parts.len());
    for (source, rows) in parts.iter().enumerate() {
        let times = times(rows)?;
        let traces = rows.get(&ColumnId::Field(Field::TraceId))?.ok_or_else(|| missing("trace id"))?;
        ids.push(rows.get(&ColumnId::Field(Field::SpanId))?.ok_or_else(|| missing("span id"))?);
        let times = times.as_primitive::<Int64Type>().values();
        let traces = traces.as_fixed_size_binary();
        for row in 0..rows.len() {
            let trace = u128::from_be_bytes(traces.value(row).try_into().unwrap_or_default());
            keys.push(Key { trace, time: times[row], pick: (source as u32, row as u32) });
        }
    }
    keys.sort_unstable_by_key(|a| (a.trace, a.time, a.pick));
    let id = |pick: Pick| ids[pick.0 as usize].as_fixed_size_binary().value(pick.1 as usize);
    let mut out = Vec::with_capacity(total);
    for run in keys.chunk_by(|a, b| a.trace == b.trace) {
        if run.len() <= SMALL_RUN * 2 {
            for (i, key) in run.iter().enumerate() {
                let repeated = run.iter().enumerate().any(|(j, o)| j != i && o.pick < key.pick && id(o.pick) == id(key.pick));
                if !repeated {
                    out.push(key.pick);
                }
            }
            continue;
        }
        let mut first: HashMap<&[u8], Pick> = HashMap::with_capacity(run.len());
        for key in run {
            let kept = first.entry(id(key.pick)).or_insert(key.pick);
            *kept = (*kept).min(key.pick);
        }
        out.extend(run.iter().map(|k| k.pick).filter(|p| first.get(id(*p)) == Some(p)));
    }
    Ok(out)
}

fn logs(parts: &[Arc<Rows>]) -> Result<Vec<Pick>, StoreError> {
    // The rank of each part's groups among all streams.
    let mut streams: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut keyed: Vec<Vec<(String, String)>> = Vec::with_capacity(parts.len());
    for rows in parts {
        let at = rows.find(&ColumnId::Stream).ok_or_else(|| missing("stream"))?;
        let (Column::Row(array) | Column::Group(array)) = &rows.columns()[at].1;
        let texts = Texts::of(array).ok_or_else(|| missing("stream"))?;
        let own: Vec<_> = (0..array.len()).map(|g| stream_key(texts.get(g).unwrap_or(""))).collect();
        own.iter().for_each(|k| {
            if !streams.contains_key(k) {
                streams.insert(k.clone(), 0);
            }
        });
        keyed.push(own);
    }
    for (rank, (_, place)) in streams.iter_mut().enumerate() {
        *place = rank as u32;
    }
    let mut keys: Vec<(u32, i64, Pick)> = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    let mut bodies = Vec::with_capacity(parts.len());
    for (source, (rows, own)) in parts.iter().zip(&keyed).enumerate() {
        let ranks: Vec<u32> = own.iter().map(|k| streams.get(k).copied().unwrap_or(0)).collect();
        let times = times(rows)?;
        let times = times.as_primitive::<Int64Type>().values();
        bodies.push(rows.get(&ColumnId::Field(Field::Body))?.ok_or_else(|| missing("body"))?);
        let groups = rows.groups().values();
        keys.extend((0..rows.len()).map(|r| (ranks[groups[r] as usize], times[r], (source as u32, r as u32))));
    }
    keys.sort_unstable();
    let texts: Vec<Texts<'_>> = bodies.iter().map(|b| Texts::of(b).ok_or_else(|| missing("body"))).collect::<Result<_, _>>()?;
    let body = |pick: Pick| texts[pick.0 as usize].get(pick.1 as usize).unwrap_or("");
    let carried: Vec<Carried<'_>> = parts.iter().map(|rows| carried(rows)).collect();
    let carried = |pick: Pick| carried[pick.0 as usize].number(pick.1 as usize);
    let mut out = Vec::with_capacity(keys.len());
    for run in keys.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        distinct(run.iter().map(|k| k.2), run.len(), &body, &carried, &mut out);
    }
    Ok(out)
}

/// What records carry is never kept by group.
fn carried(rows: &Rows) -> Carried<'_> {
    Carried::new(rows.columns().iter().filter_map(|(id, column)| match column {
        Column::Row(array) => Some((id, array)),
        Column::Group(_) => None,
    }))
}

/// Appends the picks of a run of equal stream and time, without those that have text and `carried` of an earlier one. What lines carry is looked
/// at only where their texts are equal.
fn distinct<'a>(
    run: impl Iterator<Item = Pick>,
    len: usize,
    body: &impl Fn(Pick) -> &'a str,
    carried: &impl Fn(Pick) -> u128,
    out: &mut Vec<Pick>,
) {
    let start = out.len();
    if len <= SMALL_RUN {
        for pick in run {
            if !out[start..].iter().any(|&o| body(o) == body(pick) && carried(o) == carried(pick)) {
                out.push(pick);
            }
        }
        return;
    }
    // By text the first line, and what the lines carry once there are several.
    let mut seen: HashMap<&str, (Pick, HashSet<u128>)> = HashMap::with_capacity(len);
    out.extend(run.filter(|&pick| match seen.entry(body(pick)) {
        Entry::Vacant(place) => {
            place.insert((pick, HashSet::new()));
            true
        }
        Entry::Occupied(mut known) => {
            let (first, all) = known.get_mut();
            if all.is_empty() {
                all.insert(carried(*first));
            }
            all.insert(carried(pick))
        }
    }));
}
