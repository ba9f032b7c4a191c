//! Compaction: sorted segments become one, streaming. Each input holds a batch in memory; output row groups are
//! gathered from the batches that their rows lie in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, StringArray};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use model::Tenant;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::file::statistics::Statistics;

use super::attributes::RestRows;
use super::body::{self, BODY, MAX_VARIABLES};
use super::carried::Carried;
use super::flush::{GROUP_TEXT, bounds, signal, trace_filter};
use super::footer::Footer;
use super::gather::{Pick, Piece, gather_in};
use super::id::{ColumnId, RestOf};
use super::keys::{Key, KeyColumns, Keys, Owners, Stream};
use super::order::stream_key;
use super::pick::Picked;
use super::project::TIME;
use super::read::{OpenSegment, as_kept, guarded};
use super::rest;
use super::room::Room;
use super::scan::{Own, Unit};
use super::segment::{GROUP_ROWS, SegmentColumn, SegmentWriter, choose, format_of};
use super::view::spared;
use crate::body::{BodyColumnId, BodyColumns, BodyError, Variable};
use crate::contract::{Field, Predicate, Table};
use crate::{SegmentMeta, Segments, StoreError, Tombstone};

/// zstd level of what a merge writes. Lines come in masses and their words hardly shrink further: level 3 saves 3 % of
/// their bytes and costs a quarter more time. Spans are worth it.
fn merge_level(table: Table) -> i32 {
    match table {
        Table::Spans => 3,
        Table::Logs => 1,
    }
}

/// Rows that are read of an input at a time: about what a row group of the output takes of each, within these bounds.
const BATCH_ROWS: std::ops::RangeInclusive<usize> = 1024..=8192;
/// Span ids of one trace (or texts of one moment) that are remembered to find repeats.
const SEEN_MAX: usize = 1 << 20;
/// Columns of texts whose memory waits for the next column: few are alive at once.
const TEXTS_KEPT: usize = 2;
/// Streams whose keys are kept between batches.
const STREAMS_MAX: usize = 10_000;

/// A batch of an input.
struct Chunk {
    columns: BTreeMap<ColumnId, ArrayRef>,
    keys: Keys,
    rows: usize,
    bytes: usize,
    /// The variables of bodies whose texts hold no id.
    lacking: Arc<HashSet<BodyColumnId>>,
}

impl Chunk {
    fn bodies(&self) -> Result<BodyColumns, StoreError> {
        body::collect("a segment in a merge", self.rows, self.columns.iter())
    }
}

/// One input.
struct Cursor {
    segment: Arc<OpenSegment>,
    /// By tenant, what holds for the rows that are not deleted.
    spared: Vec<(String, Arc<Predicate>)>,
    /// Where the rows of each tenant end, and its rank; one that has all of them where the segment is not shared.
    owners: Vec<(u64, u32)>,
    places: Vec<usize>,
    group: usize,
    /// Which rows of the group that is being read are read, where not all are.
    kept: Option<Vec<u32>>,
    /// The group's first row, and how many of those to be read were given.
    start: u64,
    given: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// Attributes of the output that this input keeps in its rest column.
    promoted: Vec<ColumnId>,
    batch_rows: usize,
    /// Of the row group that is being read.
    lacking: Arc<HashSet<BodyColumnId>>,
    /// The last batch's dictionary of streams, which the next one often shares, as streams.
    streams: Option<(ArrayRef, Arc<Vec<Stream>>)>,
}

type Streams = HashMap<String, Stream, RandomState>;

impl Cursor {
    /// The next batch of rows; `None` at the end.
    fn next(&mut self, table: Table, streams: &mut Streams) -> Result<Option<Chunk>, StoreError> {
        let file = self.segment.meta.file.clone();
        loop {
            if self.reader.is_none() {
                if self.group >= self.segment.footer.groups() {
                    return Ok(None);
                }
                let kept = guarded(&file, || self.kept_of(table, self.group))?;
                (self.start, self.given) = (self.segment.footer.group_start(self.group), 0);
                let selection = match &kept {
                    None => None,
                    Some(kept) if kept.is_empty() => {
                        self.group += 1;
                        continue;
                    }
                    Some(kept) => Picked::rows(table, self.segment.footer.rows(self.group), kept.clone()).selection().cloned(),
                };
                self.kept = kept;
                let batches = || self.segment.batches(self.group, &self.places, selection.as_ref(), self.batch_rows);
                self.reader = Some(guarded(&file, batches)?);
                self.lacking = Arc::new(lacking_ids(&self.segment.footer, self.group));
                self.group += 1;
            }
            let Some(reader) = &mut self.reader else { continue };
            let Some(batch) = guarded(&file, || Ok(reader.next()))? else {
                self.reader = None;
                continue;
            };
            let batch = batch.map_err(|e| self.segment.arrow(&e))?;
            let mut columns: BTreeMap<ColumnId, ArrayRef> = self
                .segment
                .footer
                .columns
                .iter()
                .zip(batch.columns())
                .map(|(c, array)| (c.id.clone(), as_kept(array.clone())))
                .collect();
            if !self.promoted.is_empty() {
                promote(&mut columns, &self.promoted, batch.num_rows());
            }
            let bytes = batch.columns().iter().map(own_bytes).sum();
            let columns_of_keys = self.keys(table, &columns, streams)?;
            let keys = Keys { owners: self.owners_of(batch.num_rows()), columns: columns_of_keys };
            self.given += batch.num_rows();
            let lacking = Arc::clone(&self.lacking);
            return Ok(Some(Chunk { columns, keys, rows: batch.num_rows(), bytes, lacking }));
        }
    }

    /// The rows of a group that are not deleted; `None` for all.
    fn kept_of(&self, table: Table, group: usize) -> Result<Option<Vec<u32>>, StoreError> {
        if self.spared.is_empty() {
            return Ok(None);
        }
        let footer = &self.segment.footer;
        let mut is_kept = vec![true; footer.rows(group)];
        for (tenant, spared) in &self.spared {
            let rows = match self.segment.meta.is_shared() {
                true => footer.own_rows(group, tenant),
                false => 0..footer.rows(group) as u32,
            };
            if rows.is_empty() {
                continue;
            }
            let own = Own { rows: Some(rows.clone()), spared: Some(spared.clone()) };
            let left = Unit::Group(self.segment.clone(), group, Some(Arc::new(own))).spared(table)?.rows;
            is_kept[rows.start as usize..rows.end as usize].fill(false);
            left.iter().for_each(|row| is_kept[*row as usize] = true);
        }
        let kept: Vec<u32> = (0..).zip(&is_kept).filter(|(_, kept)| **kept).map(|(row, _)| row).collect();
        Ok((kept.len() < is_kept.len()).then_some(kept))
    }

    /// Whose the next `rows` rows are.
    fn owners_of(&self, rows: usize) -> Owners {
        if let [(_, only)] = self.owners[..] {
            return Owners(vec![(rows, only)]);
        }
        let number = |at: usize| {
            let row = self.kept.as_ref().map_or(at as u64, |kept| u64::from(kept[at]));
            self.start + row
        };
        let mut out = Vec::new();
        let mut at = 0;
        while at < rows {
            let whose = self.owners.partition_point(|(end, _)| *end <= number(self.given + at));
            let Some((end, rank)) = self.owners.get(whose) else {
                out.push((rows, u32::MAX));
                break;
            };
            let (mut low, mut high) = (at + 1, rows);
            while low < high {
                let middle = low.midpoint(high);
                if number(self.given + middle) < *end { low = middle + 1 } else { high = middle }
            }
            at = low;
            out.push((at, *rank));
        }
        Owners(out)
    }

    fn keys(
        &mut self,
        table: Table,
        columns: &BTreeMap<ColumnId, ArrayRef>,
        streams: &mut Streams,
    ) -> Result<KeyColumns, StoreError> {
        let column =
            |id: &ColumnId| columns.get(id).cloned().ok_or_else(|| self.segment.corrupt("it lacks the columns of its order"));
        let times = column(&TIME)?;
        if table == Table::Spans {
            return Ok(KeyColumns::Spans { traces: column(&ColumnId::Field(Field::TraceId))?, times });
        }
        let keys = column(&ColumnId::Stream)?;
        let values = match keys.as_dictionary_opt::<UInt32Type>().map(|d| d.values()) {
            Some(values) if keys.null_count() == 0 => values,
            _ => return Err(self.segment.corrupt("its streams are no dictionary")),
        };
        if let Some((_, known)) = self.streams.as_ref().filter(|(last, _)| Arc::ptr_eq(last, values)) {
            return Ok(KeyColumns::Lines { streams: known.clone(), keys, times });
        }
        if streams.len() > STREAMS_MAX {
            streams.clear();
        }
        let own: Vec<Stream> = values
            .as_string::<i32>()
            .iter()
            .map(|text| {
                let text = text.unwrap_or("");
                if let Some(known) = streams.get(text) {
                    return known.clone();
                }
                let key = Stream(Arc::new(stream_key(text)));
                streams.insert(text.to_owned(), key.clone());
                key
            })
            .collect();
        let own = Arc::new(own);
        self.streams = Some((values.clone(), own.clone()));
        Ok(KeyColumns::Lines { streams: own, keys, times })
    }
}

/// The variables of bodies of which a footer says that their texts hold no id.
fn lacking_ids(footer: &Footer, group: usize) -> HashSet<BodyColumnId> {
    let bodies = footer.columns.iter().enumerate().filter_map(|(place, column)| match &column.id {
        ColumnId::Body(id) if !footer.may_hold_ids(group, place) => Some(id.clone()),
        _ => None,
    });
    bodies.collect()
}

/// Bytes of an array's own rows, without a dictionary that batches share.
fn own_bytes(array: &ArrayRef) -> usize {
    match array.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => dictionary.keys().len() * 4,
        None => array.get_buffer_memory_size(),
    }
}

/// Makes columns of attributes that stand in rest columns, and takes them out there.
fn promote(columns: &mut BTreeMap<ColumnId, ArrayRef>, promoted: &[ColumnId], rows: usize) {
    for of in [RestOf::Record, RestOf::Group] {
        let Some(array) = columns.remove(&ColumnId::Rest(of)) else { continue };
        let mut left = RestRows::new(rows);
        for (id, values) in rest::expand(&array, None, |_, _| true) {
            if promoted.contains(&id) {
                columns.entry(id).or_insert(values);
            } else if let ColumnId::Attribute(scope, key, kind) = &id {
                let at: Vec<u32> = (0..rows as u32).filter(|&r| values.is_valid(r as usize)).collect();
                left.add(*scope, key, *kind, &at, &values);
            }
        }
        if !left.is_empty() {
            columns.insert(ColumnId::Rest(of), left.into_array());
        }
    }
}

/// Merges segments of one table and tenant, or shared ones, into one.
///
/// # Errors
/// IO, and [`StoreError::Corrupt`] naming the input that is damaged.
pub(crate) fn merge(table: Table, inputs: &[SegmentMeta], files: &dyn Segments) -> Result<Vec<SegmentMeta>, StoreError> {
    let Some(first) = inputs.first() else { return Ok(Vec::new()) };
    let shared = first.is_shared();
    if let (false, Err(e)) = (shared, Tenant::new(&first.tenant)) {
        return Err(StoreError::Corrupt { file: first.file.clone(), reason: e.to_string() });
    }
    let mut ordered: Vec<&SegmentMeta> = inputs.iter().collect();
    // The oldest first: of the same rows it is theirs that stay.
    ordered.sort_by_key(|m| m.id);
    let batch_rows = (GROUP_ROWS / inputs.len()).clamp(*BATCH_ROWS.start(), *BATCH_ROWS.end());
    let live = files.in_service();
    let tombstones = live.tombstones();
    let mut cursors = Vec::with_capacity(inputs.len());
    for meta in ordered {
        let segment = Arc::new(OpenSegment::open(files, meta)?);
        let mut deleted: BTreeMap<String, Vec<Arc<Tombstone>>> = BTreeMap::new();
        for tombstone in tombstones.on_segment(meta) {
            deleted.entry(tombstone.tenant.clone()).or_default().push(tombstone);
        }
        let spared = deleted.into_iter().filter_map(|(tenant, all)| Some((tenant, Arc::new(spared(&all)?)))).collect();
        cursors.push(Cursor {
            spared,
            owners: vec![(u64::MAX, 0)],
            places: (0..segment.footer.columns.len()).collect(),
            segment,
            group: 0,
            kept: None,
            start: 0,
            given: 0,
            reader: None,
            promoted: Vec::new(),
            batch_rows,
            lacking: Arc::default(),
            streams: None,
        });
    }
    let mut tenants: Vec<(String, u64)> = Vec::new();
    if shared {
        let names: BTreeSet<&String> = cursors.iter().flat_map(|c| c.segment.footer.tenants()).map(|(name, _)| name).collect();
        tenants = names.into_iter().map(|name| (name.clone(), 0)).collect();
        for cursor in &mut cursors {
            let rank = |name: &String| tenants.binary_search_by(|(known, _)| known.cmp(name)).unwrap_or(0) as u32;
            cursor.owners = cursor.segment.footer.tenants().iter().map(|(name, end)| (*end, rank(name))).collect();
        }
    } else {
        tenants.push((first.tenant.clone(), 0));
    }
    let (columns, to_rest) = plan(&cursors);
    for cursor in &mut cursors {
        let footer = &cursor.segment.footer;
        cursor.promoted = columns.iter().map(|c| &c.id).filter(|id| footer.rest.contains_key(id)).cloned().collect();
    }
    let hour = inputs.iter().map(|m| m.hour).min().unwrap_or(0);
    let (id, path) = files.allocate(&first.tenant, signal(table), hour);
    let variables = columns.iter().filter_map(|c| match &c.id {
        ColumnId::Body(BodyColumnId::Value(variable)) => Some(variable.clone()),
        _ => None,
    });
    let variables = variables.collect();
    let writer = SegmentWriter::new(table, shared, columns, Some(merge_level(table)), files.create(&path)?)?;
    let (chunks, picks) = (Vec::new(), Vec::new());
    let room = Room::keeping(TEXTS_KEPT);
    let mut merger = Merger { table, writer, tenants, variables, to_rest, room, chunks, picks, bytes: 0 };
    merger.run(&mut cursors)?;
    if merger.writer.is_empty() {
        return Ok(Vec::new());
    }
    merger.tenants.retain(|(_, rows)| *rows > 0);
    let written = merger.writer.finish(&merger.tenants)?;
    Ok(vec![SegmentMeta {
        id,
        tenant: first.tenant.clone(),
        signal: first.signal.clone(),
        hour,
        file: path,
        format: format_of(shared),
        first: written.first,
        last: written.last,
        rows: written.rows,
        bytes: written.bytes,
        level: inputs.iter().map(|m| m.level).max().unwrap_or(0).saturating_add(1),
        first_sequence: inputs.iter().map(|m| m.first_sequence).min().unwrap_or(0),
        last_sequence: inputs.iter().map(|m| m.last_sequence).max().unwrap_or(0),
        deleted_to: 0,
        apart: inputs.iter().all(|m| m.apart),
    }])
}

/// What the inputs have of a column.
#[derive(Debug, Default)]
struct Counted {
    rows: u64,
    /// Those of inputs where its texts are no dictionary.
    plain_rows: u64,
    plain: bool,
}

impl Counted {
    /// As most of its rows have it.
    fn is_plain(&self) -> bool {
        self.plain && self.plain_rows * 2 >= self.rows
    }
}

/// The output's columns, and the attributes that lose theirs.
fn plan(cursors: &[Cursor]) -> (Vec<SegmentColumn>, Vec<ColumnId>) {
    let mut counts: BTreeMap<&ColumnId, Counted> = BTreeMap::new();
    let mut rest: BTreeMap<&ColumnId, u64> = BTreeMap::new();
    let mut total = 0u64;
    for cursor in cursors {
        let footer = &cursor.segment.footer;
        for (place, column) in footer.columns.iter().enumerate() {
            let mut rows = 0u64;
            for group in footer.raw().row_groups() {
                let nulls = group.column(place).statistics().and_then(Statistics::null_count_opt).unwrap_or(0);
                rows += (group.num_rows().max(0) as u64).saturating_sub(nulls);
            }
            let counted = counts.entry(&column.id).or_default();
            counted.rows += rows;
            counted.plain_rows += if column.plain { rows } else { 0 };
            counted.plain |= column.plain;
        }
        footer.rest.iter().for_each(|(id, n)| *rest.entry(id).or_default() += n);
        total += cursor.segment.meta.rows;
    }
    let dropped = rare_variables(&counts);
    let attributes = counts.iter().filter(|(id, _)| matches!(id, ColumnId::Attribute(..)));
    let all = attributes.map(|(id, counted)| (*id, counted.rows + rest.get(id).copied().unwrap_or(0)));
    let hidden = rest.iter().filter(|(id, _)| !counts.contains_key(**id)).map(|(id, n)| (*id, *n));
    let chosen = choose(all.chain(hidden), total);
    let mut columns: Vec<SegmentColumn> = Vec::new();
    let mut to_rest = Vec::new();
    for (id, counted) in &counts {
        match id {
            ColumnId::Attribute(..) if !chosen.contains(*id) => to_rest.push((*id).clone()),
            _ if dropped.contains(*id) => {}
            _ => columns.push(SegmentColumn { id: (*id).clone(), plain: counted.is_plain() }),
        }
    }
    columns.extend(chosen.iter().filter(|id| !counts.contains_key(*id)).map(|id| SegmentColumn { id: id.clone(), plain: false }));
    let record = ColumnId::Rest(RestOf::Record);
    if !to_rest.is_empty() && !columns.iter().any(|c| c.id == record) {
        columns.push(SegmentColumn { id: record, plain: true });
    }
    columns.sort_by(|a, b| a.id.cmp(&b.id));
    (columns, to_rest)
}

/// The variables of bodies that are too many, those of the fewest lines.
fn rare_variables(counts: &BTreeMap<&ColumnId, Counted>) -> HashSet<ColumnId> {
    let is_variable = |id: &ColumnId| matches!(id, ColumnId::Body(BodyColumnId::Value(_)));
    let mut variables: Vec<(u64, &ColumnId)> =
        counts.iter().filter(|(id, _)| is_variable(id)).map(|(id, counted)| (counted.rows, *id)).collect();
    variables.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    variables.into_iter().skip(MAX_VARIABLES).map(|(_, id)| id.clone()).collect()
}

struct Merger {
    table: Table,
    writer: SegmentWriter,
    /// By rank, each tenant and the rows of it that are written.
    tenants: Vec<(String, u64)>,
    /// The variables of bodies that the output has columns for.
    variables: HashSet<Variable>,
    to_rest: Vec<ColumnId>,
    /// Memory of a column's texts, for the next one.
    room: Arc<Room>,
    /// The batches that the picks lie in.
    chunks: Vec<Arc<Chunk>>,
    picks: Vec<Pick>,
    bytes: usize,
}

/// Which rows of the current run (trace, or stream and time) were written.
#[derive(Default)]
struct Run {
    key: Option<Key>,
    ids: HashSet<u128, RandomState>,
    /// The run's only row so far, not yet in `ids`.
    single: Option<Pick>,
}

impl Merger {
    fn run(&mut self, cursors: &mut [Cursor]) -> Result<(), StoreError> {
        let table = self.table;
        let mut streams = Streams::default();
        // Where each input stands: its chunk's place in `chunks`, the row, the number of rows.
        let mut at: Vec<(u32, usize, usize)> = Vec::with_capacity(cursors.len());
        let mut heap: BinaryHeap<Reverse<(Key, usize)>> = BinaryHeap::new();
        for (i, cursor) in cursors.iter_mut().enumerate() {
            at.push((0, 0, 0));
            if let Some(chunk) = cursor.next(table, &mut streams)? {
                at[i] = (self.hold(chunk), 0, 0);
                let chunk = &self.chunks[at[i].0 as usize];
                at[i].2 = chunk.rows;
                heap.push(Reverse((chunk.keys.at(0), i)));
            }
        }
        let mut run = Run::default();
        while let Some(Reverse((_, i))) = heap.pop() {
            // Stay with this input while its rows come first.
            let next = loop {
                let (chunk, from, rows) = at[i];
                let most = rows.min(from + (GROUP_ROWS - self.picks.len()));
                let keys = &self.chunks[chunk as usize].keys;
                let to = match heap.peek() {
                    Some(Reverse((limit, other))) => keys.end(from, most, limit, i < *other),
                    None => most,
                };
                self.take(&mut run, chunk, from..to);
                at[i].1 = to;
                if self.picks.len() >= GROUP_ROWS || self.bytes >= GROUP_TEXT * 2 {
                    self.write(&mut at, &mut run)?;
                }
                if to == rows {
                    let Some(chunk) = cursors[i].next(table, &mut streams)? else {
                        at[i].2 = 0;
                        break None;
                    };
                    let rows = chunk.rows;
                    at[i] = (self.hold(chunk), 0, rows);
                }
                let next = self.chunks[at[i].0 as usize].keys.at(at[i].1);
                if heap.peek().is_some_and(|Reverse((other, j))| (other, j) < (&next, &i)) {
                    break Some(next);
                }
            };
            heap.extend(next.map(|key| Reverse((key, i))));
        }
        self.write(&mut at, &mut run)
    }

    fn hold(&mut self, chunk: Chunk) -> u32 {
        self.bytes += chunk.bytes;
        self.chunks.push(Arc::new(chunk));
        self.chunks.len() as u32 - 1
    }

    /// Picks these rows of a chunk, without those that repeat another.
    fn take(&mut self, run: &mut Run, chunk: u32, rows: Range<usize>) {
        let held = self.chunks[chunk as usize].clone();
        for row in rows.clone() {
            let pick = (chunk, row as u32);
            let goes_on = match row > rows.start {
                true => held.keys.goes_on(row),
                false => run.key.as_ref().is_some_and(|key| key.same_run(&held.keys.at(row))),
            };
            if self.is_new(run, goes_on, pick) {
                self.picks.push(pick);
                if let Some((_, rows)) = self.tenants.get_mut(held.keys.owners.at(row) as usize) {
                    *rows += 1;
                }
            }
        }
        if !rows.is_empty() {
            run.key = Some(held.keys.at(rows.end - 1));
        }
    }

    /// Whether no row of the run is the same as this one; a row that does not go on with the run begins the next.
    fn is_new(&self, run: &mut Run, goes_on: bool, pick: Pick) -> bool {
        if !goes_on || run.ids.len() > SEEN_MAX {
            run.ids.clear();
            run.single = Some(pick);
            return true;
        }
        if let Some(first) = run.single.take()
            && let Some(id) = self.row_id(first)
        {
            run.ids.insert(id);
        }
        self.row_id(pick).is_none_or(|id| run.ids.insert(id))
    }

    /// What makes a row itself inside its run.
    fn row_id(&self, (chunk, row): Pick) -> Option<u128> {
        let (columns, row) = (&self.chunks[chunk as usize].columns, row as usize);
        match self.table {
            Table::Spans => {
                let ids = columns.get(&ColumnId::Field(Field::SpanId))?.as_fixed_size_binary_opt()?;
                Some(u128::from(u64::from_be_bytes(ids.value(row).try_into().ok()?)))
            }
            Table::Logs => {
                let bodies = self.chunks[chunk as usize].bodies().ok()?;
                // Only this row: a view of the whole batch looks at each of its rows.
                let own = bodies.columns.into_iter().map(|(id, array)| (id, array.slice(row, 1)));
                let own = BodyColumns::new(1, own.collect()).ok()?;
                let mut line = Vec::new();
                own.view().ok()?.write(0, &mut line).ok()?;
                Some(xxhash_rust::xxh3::xxh3_128(&line).wrapping_add(Carried::new(columns).number(row)))
            }
        }
    }

    /// Writes the picked rows as a row group, and lets go of the chunks that no input stands in.
    fn write(&mut self, at: &mut [(u32, usize, usize)], run: &mut Run) -> Result<(), StoreError> {
        // The run's first row may lie in a chunk that goes.
        if let Some(first) = run.single.take()
            && let Some(id) = self.row_id(first)
        {
            run.ids.insert(id);
        }
        if !self.picks.is_empty() {
            self.write_group()?;
        }
        let old = std::mem::take(&mut self.chunks);
        self.bytes = 0;
        for place in at.iter_mut().filter(|p| p.1 < p.2) {
            let chunk = old[place.0 as usize].clone();
            self.bytes += chunk.bytes;
            self.chunks.push(chunk);
            place.0 = self.chunks.len() as u32 - 1;
        }
        self.picks.clear();
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), StoreError> {
        let (chunks, picks, to_rest, room) = (&self.chunks, &self.picks, &self.to_rest, &self.room);
        let pick = |id: &ColumnId, plain: bool, picks: &[Pick]| {
            let mut pieces: Vec<Option<Piece<'_>>> =
                chunks.iter().map(|c| c.columns.get(id).map(|array| Piece { array, groups: None })).collect();
            pieces.push(None);
            gather_in(room, &id.data_type(plain), plain, &pieces, picks)
        };
        let column = |id: &ColumnId, plain: bool| pick(id, plain, picks);
        let times = column(&TIME, false)?;
        let bodies = match self.table {
            Table::Spans => Vec::new(),
            Table::Logs => chunks.iter().map(|c| c.bodies()).collect::<Result<Vec<_>, _>>()?,
        };
        let damaged = body::damaged("a segment in a merge");
        let views = bodies.iter().zip(chunks).map(|(bodies, chunk)| {
            let lacks = |variable: &Variable| chunk.lacking.contains(&BodyColumnId::Value(variable.clone()));
            Ok(bodies.view().map_err(&damaged)?.without_runs(lacks))
        });
        let views = views.collect::<Result<Vec<_>, StoreError>>()?;
        let ids = match self.table {
            Table::Spans => trace_filter(&column(&ColumnId::Field(Field::TraceId), false)?),
            Table::Logs => body::id_filter(&views, picks.iter().copied(), &column(&ColumnId::Field(Field::TraceId), false)?)?,
        };
        // Lines whose variables have no column any more are put together: picked from a source that is not there.
        let nowhere = (chunks.len() as u32, 0);
        let all_kept = views.iter().all(|view| view.layouts_are_of(&self.variables));
        let split: Vec<Pick> = picks
            .iter()
            .map(|&(chunk, row)| match views.get(chunk as usize) {
                Some(view) if !all_kept && !view.is_of(row as usize, &self.variables) => nowhere,
                _ => (chunk, row),
            })
            .collect();
        let whole = || -> Result<ArrayRef, StoreError> {
            let lines = picks.iter().zip(&split).map(|(&(chunk, row), kept)| {
                let view = &views[chunk as usize];
                match *kept == nowhere || view.is_whole(row as usize) {
                    true => {
                        let mut line = Vec::new();
                        let has = view.write(row as usize, &mut line)?;
                        Ok(has.then_some(line))
                    }
                    false => Ok(None),
                }
            });
            let lines = lines.collect::<Result<Vec<Option<Vec<u8>>>, BodyError>>().map_err(&damaged)?;
            let texts = lines.into_iter().map(|line| line.and_then(|l| String::from_utf8(l).ok()));
            Ok(Arc::new(texts.collect::<StringArray>()))
        };
        let lacks_ids = |id: &ColumnId| match id {
            ColumnId::Body(own) => chunks.iter().all(|chunk| chunk.lacking.contains(own) || !chunk.columns.contains_key(id)),
            _ => false,
        };
        self.writer.write(bounds(&times), ids, lacks_ids, |c| {
            match &c.id {
                ColumnId::Body(_) => return pick(&c.id, c.plain, &split),
                id if *id == BODY => return whole(),
                _ => {}
            }
            let array = match c.id == TIME {
                true => super::flush::as_stamps(&times),
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
}
