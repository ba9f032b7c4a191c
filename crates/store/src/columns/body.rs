//! Log bodies in segments: split into columns when they are flushed, whole again for whoever loads the body.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, new_null_array};

use super::bloom::{IdCollector, IdFilter, may_hold_ids};
use super::gather::{Pick, Piece, gather};
use super::id::ColumnId;
use super::segment::SegmentColumn;
use crate::StoreError;
use crate::body::{BodyBuilder, BodyColumnId, BodyColumns, BodyError, BodyView, Run, repeats};
use crate::contract::Field;

/// The body: of a segment's columns the lines that are kept whole.
pub(crate) const BODY: ColumnId = ColumnId::Field(Field::Body);

/// Most variable columns of a segment; lines that would need others are kept whole.
pub(crate) const MAX_VARIABLES: usize = 128;

/// A split body that does not fit together is a damaged one.
pub(crate) fn damaged(what: &str) -> impl Fn(BodyError) -> StoreError {
    move |e| StoreError::Corrupt { file: what.to_owned(), reason: e.to_string() }
}

/// The bodies of a row group; `lines` gives them, as often as it is asked.
pub(crate) fn split<'l, I: Iterator<Item = Option<&'l str>>>(builder: &mut BodyBuilder, lines: impl Fn() -> I) -> BodyColumns {
    let taken = lines().all(|line| line.is_some_and(|line| builder.append(line)));
    let columns = builder.seal();
    if taken { columns } else { BodyColumns::of_text(lines().collect()) }
}

/// The columns that these bodies need besides [`BODY`].
pub(crate) fn columns<'a>(bodies: impl Iterator<Item = &'a BodyColumns>) -> Vec<SegmentColumn> {
    let mut out: Vec<SegmentColumn> = Vec::new();
    for (id, array) in bodies.flat_map(|b| &b.columns).filter(|(id, _)| *id != BodyColumnId::Text) {
        if !out.iter().any(|c| matches!(&c.id, ColumnId::Body(other) if other == id)) {
            let plain = array.as_string_opt::<i32>().is_some() && !repeats(array);
            out.push(SegmentColumn { id: ColumnId::Body(id.clone()), plain });
        }
    }
    out
}

/// A column of a row group's bodies, as the segment keeps it.
///
/// # Errors
/// Never for what [`split`] made.
pub(crate) fn column(bodies: &BodyColumns, column: &SegmentColumn) -> Result<ArrayRef, StoreError> {
    let id = match &column.id {
        ColumnId::Body(id) => id,
        _ => &BodyColumnId::Text,
    };
    let data_type = column.id.data_type(column.plain);
    let Some(array) = bodies.get(id) else { return Ok(new_null_array(&data_type, bodies.rows)) };
    if *array.data_type() == data_type {
        return Ok(array.clone());
    }
    let picks: Vec<Pick> = (0..bodies.rows as u32).map(|row| (0, row)).collect();
    gather(&data_type, column.plain, &[Some(Piece { array, groups: None })], &picks)
}

/// The body columns among `columns`.
///
/// # Errors
/// [`StoreError::Corrupt`] of columns of different lengths.
pub(crate) fn collect<'c>(
    file: &str,
    rows: usize,
    columns: impl Iterator<Item = (&'c ColumnId, &'c ArrayRef)>,
) -> Result<BodyColumns, StoreError> {
    let own = columns.filter_map(|(id, array)| match id {
        ColumnId::Body(id) => Some((id.clone(), array.clone())),
        ColumnId::Field(Field::Body) => Some((BodyColumnId::Text, array.clone())),
        _ => None,
    });
    BodyColumns::new(rows, own.collect()).map_err(damaged(file))
}

/// All lines.
///
/// # Errors
/// [`StoreError::Corrupt`] where the columns do not fit together.
pub(crate) fn lines(file: &str, bodies: &BodyColumns) -> Result<ArrayRef, StoreError> {
    if let [(BodyColumnId::Text, text)] = &bodies.columns[..] {
        return Ok(text.clone());
    }
    let view = bodies.view().map_err(damaged(file))?;
    Ok(Arc::new(view.restore_all().map_err(damaged(file))?))
}

/// The variables of text in whose texts there is no id.
pub(crate) fn lacking_ids(bodies: &BodyColumns) -> HashSet<BodyColumnId> {
    let lacks = |array: &ArrayRef| super::text::bytes(array).is_some_and(|bytes| !may_hold_ids(bytes));
    bodies.columns.iter().filter(|(id, array)| *id != BodyColumnId::Text && lacks(array)).map(|(id, _)| id.clone()).collect()
}

/// The filter of the ids in rows picked from several bodies, and of their trace ids.
///
/// # Errors
/// As for [`lines`].
pub(crate) fn id_filter(
    views: &[BodyView<'_>],
    picks: impl Iterator<Item = Pick>,
    traces: &ArrayRef,
) -> Result<Option<IdFilter>, StoreError> {
    let mut ids = IdCollector::default();
    let traces = traces.as_fixed_size_binary_opt();
    let mut scratch = Vec::new();
    for (at, (source, row)) in picks.enumerate() {
        ids.start_row(traces.filter(|t| t.is_valid(at)).map_or(&[][..], |t| t.value(at)));
        let Some(view) = views.get(source as usize) else { continue };
        let each = |run: Run<'_>| match run {
            Run::Id(id) => ids.id(id),
            Run::Text(text) => ids.text(text),
        };
        view.long_runs(row as usize, &mut scratch, each).map_err(damaged("a segment in a merge"))?;
    }
    Ok(ids.finish())
}
