//! From frozen rows to a segment: in order, without repeats, in the form that is merged soon.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef};
use model::{Tenant, hour_of};
use wire::Signal;

use super::attributes::RestRows;
use super::bloom::{IdCollector, IdFilter};
use super::body::{self, BODY};
use super::gather::{Pick, Piece, gather, picked_texts};
use super::head::PartitionRows;
use super::id::{ColumnId, RestOf};
use super::order::in_order;
use super::rows::{Column, Rows};
use super::segment::{GROUP_ROWS, SegmentColumn, SegmentWriter, choose, format_of};
use crate::body::{BodyBuilder, BodyColumnId, BodyColumns};
use crate::contract::{Field, Table};
use crate::{SegmentMeta, Segments, StoreError};

/// What a flush writes is not compressed: it is merged within its hour (see [`crate::engine::compact`]), and compressing it
/// before, even at zstd's first level, was a fifth of all that taking in lines costs.
const FLUSH_LEVEL: Option<i32> = None;
/// A row group ends early once its rows hold this much text.
pub(crate) const GROUP_TEXT: usize = 48 << 20;

/// The signal whose rows a table holds.
pub(crate) fn signal(table: Table) -> Signal {
    match table {
        Table::Spans => Signal::Traces,
        Table::Logs => Signal::Logs,
    }
}

/// What becomes a segment each: the hours of the tenants that have at least `small` bytes in them, and for each hour what
/// the other tenants have in it together, so that a thousand of these do not make a thousand files.
pub(crate) fn shares(partitions: &[PartitionRows], small: usize) -> Vec<Share> {
    let mut hours: BTreeMap<(i64, bool), BTreeMap<Tenant, Vec<Arc<Rows>>>> = BTreeMap::new();
    for partition in partitions {
        let hour = hour_of(partition.rows.iter().map(|rows| rows.first).min().unwrap_or(0));
        let tenants = hours.entry((hour, partition.apart)).or_default();
        tenants.entry(partition.tenant.clone()).or_default().extend(partition.rows.iter().cloned());
    }
    let mut out = Vec::new();
    for ((_, apart), tenants) in hours {
        let bytes = |rows: &[Arc<Rows>]| rows.iter().map(|r| r.memory()).sum::<usize>();
        let (few, many): (Vec<_>, Vec<_>) = tenants.into_iter().partition(|(_, rows)| bytes(rows) < small);
        out.extend(many.into_iter().map(|one| Share { tenants: vec![one], apart }));
        out.extend(Some(few).filter(|few| !few.is_empty()).map(|few| Share { tenants: few, apart }));
    }
    out
}

/// Rows that become one segment.
pub(crate) struct Share {
    /// By tenant.
    tenants: Vec<(Tenant, Vec<Arc<Rows>>)>,
    /// See [`crate::Options::apart`].
    apart: bool,
}

/// Writes rows as a segment.
///
/// # Errors
/// IO.
pub(crate) fn flush(table: Table, share: &Share, segments: &dyn Segments) -> Result<SegmentMeta, StoreError> {
    let parts: Vec<Arc<Rows>> = share.tenants.iter().flat_map(|(_, rows)| rows.iter().cloned()).collect();
    let parts = &parts[..];
    let (mut picks, mut tenants) = (Vec::new(), Vec::new());
    let mut source = 0;
    for (tenant, rows) in &share.tenants {
        let own = in_order(table, rows)?;
        tenants.push((tenant.as_str().to_owned(), own.len() as u64));
        picks.extend(own.into_iter().map(|(part, row)| (part + source, row)));
        source += rows.len() as u32;
    }
    let shared = tenants.len() > 1;
    let owner = if shared { SegmentMeta::SHARED } else { tenants.first().map_or(Tenant::DEFAULT, |(name, _)| name) };
    let owner = owner.to_owned();
    let mut groups = Vec::new();
    let mut at = 0;
    while at < picks.len() {
        let group = &picks[at..(at + group_len(parts, &picks[at..]))];
        groups.push(group);
        at += group.len();
    }
    let mut bodies = match table {
        Table::Spans => Vec::new(),
        Table::Logs => split_bodies(parts, &groups)?,
    };
    let (mut columns, to_rest) = plan(parts);
    columns.extend(body::columns(bodies.iter().map(|b| &b.columns)));
    columns.sort_by(|a, b| a.id.cmp(&b.id));
    let first = parts.iter().map(|p| p.first).min().unwrap_or(0);
    let hour = hour_of(first);
    let (id, path) = segments.allocate(&owner, signal(table), hour);
    let mut writer = SegmentWriter::new(table, shared, columns, FLUSH_LEVEL, segments.create(&path)?)?;
    for (i, group) in groups.into_iter().enumerate() {
        write_group(&mut writer, parts, group, &to_rest, bodies.get_mut(i))?;
    }
    let written = writer.finish(&tenants)?;
    Ok(SegmentMeta {
        id,
        tenant: owner,
        signal: signal(table).as_str().to_owned(),
        hour,
        file: path,
        format: format_of(shared),
        first: written.first,
        last: written.last,
        rows: written.rows,
        bytes: written.bytes,
        level: 0,
        first_sequence: 0,
        last_sequence: 0,
        deleted_to: 0,
        apart: share.apart,
    })
}

/// How many of the picked rows make the next row group: groups are about even, long texts make them shorter.
fn group_len(parts: &[Arc<Rows>], picks: &[Pick]) -> usize {
    let most = picks.len().div_ceil(picks.len().div_ceil(GROUP_ROWS).max(1));
    let (bytes, rows) = parts.iter().fold((0, 0), |(b, r), p| (b + p.memory(), r + p.len()));
    let average = bytes / rows.max(1) + 1;
    most.min((GROUP_TEXT / average).max(1024))
}

/// The bodies of a row group: split, and the ids that stand in them or beside them.
struct GroupBodies {
    columns: BodyColumns,
    ids: Option<IdFilter>,
    /// The variables whose texts hold no id.
    lacking: HashSet<BodyColumnId>,
}

/// The bodies of the row groups. All of them at once, because what they split into makes the segment's columns; their
/// texts are in memory one group at a time.
fn split_bodies(parts: &[Arc<Rows>], groups: &[&[Pick]]) -> Result<Vec<GroupBodies>, StoreError> {
    let mut builder = BodyBuilder::expecting(groups.first().map_or(0, |picks| picks.len()));
    let lines = pieces(parts, &BODY);
    let trace_id = ColumnId::Field(Field::TraceId);
    let traces = pieces(parts, &trace_id);
    groups
        .iter()
        .map(|picks| {
            let traces = gather(&trace_id.data_type(false), false, &traces, picks)?;
            let columns = body::split(&mut builder, || picked_texts(&lines, picks));
            let lacking = body::lacking_ids(&columns);
            let view = columns.view().map_err(body::damaged("a flush"))?;
            let view = view.without_runs(|variable| lacking.contains(&BodyColumnId::Value(variable.clone())));
            let ids = body::id_filter(&[view], (0..picks.len() as u32).map(|row| (0, row)), &traces)?;
            Ok(GroupBodies { columns, ids, lacking })
        })
        .collect()
}

/// The segment's columns, and the attributes that go to the rest column.
fn plan(parts: &[Arc<Rows>]) -> (Vec<SegmentColumn>, Vec<ColumnId>) {
    let total: u64 = parts.iter().map(|p| p.len() as u64).sum();
    let mut counts: BTreeMap<&ColumnId, (u64, bool)> = BTreeMap::new();
    for part in parts {
        for (id, column) in part.columns() {
            let (rows, array) = match column {
                Column::Row(a) => ((a.len() - a.null_count()) as u64, a),
                Column::Group(a) if a.null_count() == 0 => (part.len() as u64, a),
                Column::Group(a) => (part.groups().values().iter().filter(|&&g| a.is_valid(g as usize)).count() as u64, a),
            };
            let (n, plain) = counts.entry(id).or_default();
            *n += rows;
            *plain |= array.as_string_opt::<i32>().is_some();
        }
    }
    let attributes = counts.iter().filter(|(id, _)| matches!(id, ColumnId::Attribute(..))).map(|(id, (n, _))| (*id, *n));
    let chosen = choose(attributes, total);
    let mut columns = Vec::new();
    let mut rest = Vec::new();
    for (id, (rows, plain)) in counts {
        match id {
            ColumnId::Attribute(..) if !chosen.contains(id) => {
                rest.push(id.clone());
            }
            _ if rows == 0 && *id != super::project::TIME => {}
            _ => columns.push(SegmentColumn { id: id.clone(), plain }),
        }
    }
    let record = ColumnId::Rest(RestOf::Record);
    if !rest.is_empty() && !columns.iter().any(|c| c.id == record) {
        columns.push(SegmentColumn { id: record, plain: true });
        columns.sort_by(|a, b| a.id.cmp(&b.id));
    }
    (columns, rest)
}

/// The column of each part.
fn pieces<'a>(parts: &'a [Arc<Rows>], id: &ColumnId) -> Vec<Option<Piece<'a>>> {
    parts
        .iter()
        .map(|part| {
            part.find(id).map(|at| match &part.columns()[at].1 {
                Column::Row(array) => Piece { array, groups: None },
                Column::Group(array) => Piece { array, groups: Some(part.groups().values()) },
            })
        })
        .collect()
}

fn write_group(
    writer: &mut SegmentWriter,
    parts: &[Arc<Rows>],
    picks: &[Pick],
    to_rest: &[ColumnId],
    bodies: Option<&mut GroupBodies>,
) -> Result<(), StoreError> {
    let column = |id: &ColumnId, plain: bool| gather(&id.data_type(plain), plain, &pieces(parts, id), picks);
    let times = column(&super::project::TIME, false)?;
    let (ids, bodies, lacking) = match bodies {
        Some(group) => (group.ids.take(), Some(&group.columns), Some(&group.lacking)),
        None => (trace_filter(&column(&ColumnId::Field(Field::TraceId), false)?), None, None),
    };
    let lacks_ids = |id: &ColumnId| matches!((id, lacking), (ColumnId::Body(own), Some(lacking)) if lacking.contains(own));
    writer.write(bounds(&times), ids, lacks_ids, |c| {
        if let Some(bodies) = bodies.filter(|_| c.id == BODY || matches!(c.id, ColumnId::Body(_))) {
            return body::column(bodies, c);
        }
        let array = match c.id == super::project::TIME {
            true => as_stamps(&times),
            false => column(&c.id, c.plain)?,
        };
        if c.id != ColumnId::Rest(RestOf::Record) || to_rest.is_empty() {
            return Ok(array);
        }
        let mut rest = RestRows::new(picks.len());
        for id in to_rest {
            let ColumnId::Attribute(scope, key, kind) = id else { continue };
            let values = column(id, false)?;
            let at: Vec<u32> = (0..picks.len() as u32).filter(|&row| values.is_valid(row as usize)).collect();
            rest.add(*scope, key, *kind, &at, &values);
        }
        Ok(rest.finish(&array))
    })
}

/// Times as segments hold them.
pub(crate) fn as_stamps(times: &ArrayRef) -> ArrayRef {
    Arc::new(times.as_primitive::<Int64Type>().reinterpret_cast::<TimestampNanosecondType>().with_timezone("UTC"))
}

/// First and last of a column of times.
pub(crate) fn bounds(times: &ArrayRef) -> (i64, i64) {
    let values = times.as_primitive::<Int64Type>().values();
    (values.iter().copied().min().unwrap_or(i64::MAX), values.iter().copied().max().unwrap_or(i64::MIN))
}

/// The filter of the trace ids of spans, which stand together.
pub(crate) fn trace_filter(traces: &ArrayRef) -> Option<IdFilter> {
    let mut ids = IdCollector::default();
    let traces = traces.as_fixed_size_binary_opt()?;
    (0..traces.len()).for_each(|row| ids.start_row(traces.value(row)));
    ids.finish()
}
