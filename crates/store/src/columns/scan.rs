//! Rows of a scan, part by part: which rows of a part pass, and the batch of some of them. Scans in any order stream, a few
//! parts at a time on all cores.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::BooleanBuffer;
use model::TimeRange;

use super::eval::{Source, evaluate};
use super::id::ColumnId;
use super::members::Told;
use super::parallel;
use super::pick::{Left, Picked};
use super::project::{TIME, needed, project};
use super::prune::{certain, conjuncts, pages_may_match, row_ranges, times, trace_rows};
use super::read::OpenSegment;
use super::repeats::{self, Sifted};
use super::rows::Rows;
use super::source::GroupSource;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Batch, Column, CompareOp, Field, Literal, Order, Predicate, Scan, Table};

/// Rows of a head: all, or some.
pub(crate) struct RowsSource<'r> {
    table: Table,
    rows: &'r Rows,
    picked: Option<UInt32Array>,
}

impl<'r> RowsSource<'r> {
    pub(crate) fn new(table: Table, rows: &'r Rows, picked: Option<Vec<u32>>) -> Self {
        Self { table, rows, picked: picked.map(UInt32Array::from) }
    }
}

impl Source for RowsSource<'_> {
    fn rows(&self) -> usize {
        self.picked.as_ref().map_or(self.rows.len(), |p| p.len())
    }

    fn table(&self) -> Table {
        self.table
    }

    fn ids(&self) -> Vec<&ColumnId> {
        self.rows.columns().iter().map(|(id, _)| id).collect()
    }

    fn load(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError> {
        let Some(array) = self.rows.get(id)? else { return Ok(None) };
        match &self.picked {
            None => Ok(Some(array)),
            Some(picked) => Ok(Some(arrow_select::take::take(&array, picked, None).map_err(StoreError::columns("pick rows"))?)),
        }
    }
}

/// A part of what a scan reads.
#[derive(Clone)]
pub(crate) enum Unit {
    /// Sealed or open rows of the head.
    Head(Arc<Rows>),
    /// A row group of a segment, and which of its rows count; all of them where that is not said.
    Group(Arc<OpenSegment>, usize, Option<Arc<Own>>),
}

/// Which rows of a row group count.
#[derive(Debug, Default)]
pub(crate) struct Own {
    /// Those of one tenant, in a segment that several share.
    pub(crate) rows: Option<Range<u32>>,
    /// Those for which this holds: the others are deleted.
    pub(crate) spared: Option<Arc<Predicate>>,
}

/// The rows of a unit that passed, as row numbers of the unit.
pub(crate) struct Passed {
    pub(crate) rows: Vec<u32>,
}

impl Unit {
    /// First and last time.
    pub(crate) fn times(&self) -> (i64, i64) {
        match self {
            Self::Head(rows) => (rows.first, rows.last),
            Self::Group(segment, group, _) => times(&segment.footer, *group).unwrap_or((segment.meta.first, segment.meta.last)),
        }
    }

    /// Whether rows of the range and the predicate may be in it.
    pub(crate) fn may_match(&self, table: Table, range: TimeRange, predicate: &Predicate) -> bool {
        let (first, last) = self.times();
        range.overlaps(first, last)
            && match self {
                Self::Head(_) => true,
                Self::Group(segment, group, _) => pages_may_match(table, &segment.footer, *group, predicate),
            }
    }

    /// The same, where its filter of ids is asked as well.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn may_hold_id(&self, table: Table, range: TimeRange, predicate: &Predicate) -> Result<bool, StoreError> {
        match self {
            Self::Head(_) => Ok(true),
            Self::Group(segment, group, _) => {
                Ok(row_ranges(table, segment, *group, range, predicate)?.is_none_or(|rows| rows.row_count() > 0))
            }
        }
    }

    /// The rows that pass.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn filter(&self, table: Table, range: TimeRange, predicate: &Predicate) -> Result<Passed, StoreError> {
        Ok(Passed { rows: self.left(table, range, predicate)?.rows() })
    }

    /// The rows that pass, as they were found.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn left(&self, table: Table, range: TimeRange, predicate: &Predicate) -> Result<Left, StoreError> {
        let (first, last) = self.times();
        let inside = range.contains(first) && range.contains(last);
        match self {
            Self::Head(rows) => {
                let source = RowsSource::new(table, rows, None);
                let mut mask = in_range(&source, range, inside)?;
                if mask.count_set_bits() > 0 {
                    mask = &mask & &evaluate(predicate, &source)?;
                }
                Ok(Left::of_mask(mask))
            }
            Self::Group(segment, group, own) => {
                let total = segment.footer.rows(*group);
                let mut left = Left::new(row_ranges(table, segment, *group, range, predicate)?, total);
                let (rows, spared) = own.as_ref().map_or((None, None), |own| (own.rows.clone(), own.spared.as_deref()));
                // Where tenants share a segment, trace ids ascend only within each tenant's rows.
                let ascends = rows.is_none();
                if let Some(rows) = rows {
                    left = left.within(rows);
                }
                let mut parts = conjuncts(predicate);
                parts.retain(|p| !certain(table, &segment.footer, *group, p));
                // Cheap and selective conditions first: numbers and ids before texts, texts before patterns.
                parts.sort_by_key(|p| cost(p));
                parts.extend(spared);
                if !inside {
                    let kept = segment.kept_in_range(*group, range)?;
                    left = left.narrow(table, false, |picked| match (&kept, picked.some()) {
                        (Some(inside), None) => Ok(inside.clone()),
                        (Some(inside), Some(rows)) => {
                            Ok(BooleanBuffer::collect_bool(rows.len(), |i| inside.value(rows[i] as usize)))
                        }
                        (None, _) => in_range(&GroupSource::new(table, segment, *group, picked), range, false),
                    })?;
                }
                for part in parts {
                    if left.is_empty() {
                        break;
                    }
                    if let Predicate::OneOf { field: Field::TraceId, ids } = part
                        && (matches!(left, Left::All(_)) || ascends && segment.keeps_trace_ids(*group))
                        && let Some(rows) = trace_rows(table, segment, *group, ids)?
                    {
                        left = left.among(rows, total);
                        continue;
                    }
                    let pass = |picked: &Picked| evaluate(part, &GroupSource::new(table, segment, *group, picked));
                    let dear = cost(part) >= DEAR;
                    left = match Told::of(&segment.footer, *group, part) {
                        Some(told) => told.narrow(left, table, dear, pass)?,
                        None => left.narrow(table, dear, pass)?,
                    };
                }
                Ok(left)
            }
        }
    }

    /// The rows that count.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn spared(&self, table: Table) -> Result<Passed, StoreError> {
        match self {
            Self::Group(segment, group, own) => {
                let total = segment.footer.rows(*group);
                let (rows, spared) = own.as_ref().map_or((None, None), |own| (own.rows.clone(), own.spared.as_deref()));
                let mut left = Left::All(total);
                if let Some(rows) = rows {
                    left = left.within(rows);
                }
                if let Some(spared) = spared.filter(|_| !left.is_empty()) {
                    left =
                        left.narrow(table, true, |picked| evaluate(spared, &GroupSource::new(table, segment, *group, picked)))?;
                }
                Ok(Passed { rows: left.rows() })
            }
            Self::Head(rows) => Ok(Passed { rows: (0..rows.len() as u32).collect() }),
        }
    }

    /// The batch of some rows (ascending) of the unit.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn batch(&self, table: Table, rows: Vec<u32>, projection: &[Column]) -> Result<Batch, StoreError> {
        self.with(table, rows, |source, prefetch| {
            prefetch(&needed(projection, &source.ids()))?;
            project(projection, source)
        })
    }

    /// Some columns of some rows (ascending) of the unit.
    ///
    /// # Errors
    /// IO and corruption.
    pub(crate) fn columns(&self, table: Table, rows: Vec<u32>, ids: &[ColumnId]) -> Result<Vec<Option<ArrayRef>>, StoreError> {
        self.with(table, rows, |source, prefetch| {
            prefetch(ids)?;
            ids.iter().map(|id| source.load(id)).collect()
        })
    }

    /// Hands out the columns of some rows (ascending), and a way to read several at once.
    pub(super) fn with<T>(
        &self,
        table: Table,
        rows: Vec<u32>,
        read: impl FnOnce(&dyn Source, &dyn Fn(&[ColumnId]) -> Result<(), StoreError>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Head(all) => {
                let picked = (rows.len() < all.len()).then_some(rows);
                read(&RowsSource::new(table, all, picked), &|_| Ok(()))
            }
            Self::Group(segment, group, _) => {
                let picked = Picked::rows(table, segment.footer.rows(*group), rows);
                let source = GroupSource::new(table, segment, *group, &picked);
                read(&source, &|ids| source.prefetch(ids))
            }
        }
    }
}

/// Most parts that are read at once.
const WAVE: usize = 32;
/// Conditions from this cost on look at no row that another has ruled out.
const DEAR: u8 = 6;

fn cost(predicate: &Predicate) -> u8 {
    match predicate {
        Predicate::True => 0,
        Predicate::Compare { column: Column::Field(Field::TraceId | Field::SpanId), .. } => 1,
        Predicate::Compare { column: Column::Field(Field::Body), .. } => 6,
        Predicate::OneOf { .. } => 1,
        Predicate::Member { .. } => 4,
        Predicate::Compare { .. } | Predicate::Exists(_) | Predicate::Nested(_) => 2,
        Predicate::Matches { column: Column::Field(Field::Body), .. } => 8,
        Predicate::Contains { column: Column::Field(Field::Body), .. } => 7,
        Predicate::Matches { .. } | Predicate::Contains { .. } => 3,
        Predicate::Worded(_) => 9,
        Predicate::And(all) | Predicate::Or(all) => all.iter().map(cost).max().unwrap_or(0),
        Predicate::Not(p) => cost(p),
    }
}

fn in_range(source: &dyn Source, range: TimeRange, inside: bool) -> Result<BooleanBuffer, StoreError> {
    let rows = source.rows();
    if inside {
        return Ok(BooleanBuffer::new_set(rows));
    }
    let Some(times) = source.load(&TIME)? else { return Ok(BooleanBuffer::new_unset(rows)) };
    let times = times.as_primitive::<arrow_array::types::Int64Type>().values();
    Ok(BooleanBuffer::collect_bool(rows, |i| range.contains(times[i])))
}

/// The trace of which alone a predicate may hold for rows, if there is one.
pub(crate) fn one_trace(predicate: &Predicate) -> Option<&[u8]> {
    conjuncts(predicate).into_iter().find_map(|p| match p {
        Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value: Literal::Bytes(id) } => {
            Some(id.as_slice())
        }
        _ => None,
    })
}

/// The rows of a part that pass.
fn passed((unit, left): &Sifted, scan: &Scan) -> Result<Vec<u32>, StoreError> {
    match left {
        Some(left) => Ok(left.clone().rows()),
        None => Ok(unit.filter(scan.table, scan.range, &scan.predicate)?.rows),
    }
}

/// A scan that takes the parts as they come.
pub(crate) struct AnyOrder<'a> {
    inputs: Inputs<'a>,
    scan: Scan,
    heads: VecDeque<Arc<Rows>>,
    next_segment: usize,
    groups: VecDeque<Sifted>,
    /// Whether parts must be kept from repeating each other, which is done before the first is read.
    once: bool,
    left: usize,
    /// Parts to read next.
    wave: usize,
    /// Span ids given out, where the scan is of one trace: its parts may repeat each other.
    seen: Option<HashSet<Vec<u8>>>,
    /// Parts that were read, in their order.
    ready: VecDeque<(Unit, Result<Option<Batch>, StoreError>)>,
}

impl<'a> AnyOrder<'a> {
    pub(crate) fn new(mut inputs: Inputs<'a>, scan: &Scan) -> Self {
        let heads: VecDeque<_> = std::mem::take(&mut inputs.rows).into();
        let sources = heads.len() + inputs.segments.len();
        let several = sources > 1 || !heads.is_empty();
        let seen = several && inputs.table == Table::Spans && one_trace(&scan.predicate).is_some();
        Self {
            inputs,
            scan: scan.clone(),
            heads,
            next_segment: 0,
            groups: VecDeque::new(),
            once: several && !seen && scan.order == Order::Any,
            left: scan.limit.unwrap_or(usize::MAX),
            wave: parallel::cores() * 2,
            seen: seen.then(HashSet::new),
            ready: VecDeque::new(),
        }
    }

    /// Opens all parts, and finds out what is there twice.
    fn sift(&mut self) -> Result<(), StoreError> {
        self.once = false;
        self.inputs.rows = std::mem::take(&mut self.heads).into();
        let units = self.inputs.units(self.scan.range, &self.scan.predicate)?;
        self.next_segment = self.inputs.segments.len();
        self.groups = repeats::once(&self.inputs, units, self.scan.range, &self.scan.predicate)?.into();
        Ok(())
    }

    fn next_unit(&mut self) -> Result<Option<Sifted>, StoreError> {
        if self.once {
            self.sift()?;
        }
        if let Some(rows) = self.heads.pop_front() {
            return Ok(Some((Unit::Head(rows), None)));
        }
        loop {
            if let Some(group) = self.groups.pop_front() {
                return Ok(Some(group));
            }
            let Some(&meta) = self.inputs.segments.get(self.next_segment) else { return Ok(None) };
            self.next_segment += 1;
            if self.inputs.table == Table::Spans
                && let Some(trace) = one_trace(&self.scan.predicate)
            {
                match self.inputs.footers.may_hold(self.inputs.files, meta, trace) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(e) => {
                        self.inputs.survive(meta, e)?;
                        continue;
                    }
                }
            }
            match self.inputs.groups(meta) {
                Ok(groups) => self.groups.extend(groups.into_iter().map(|unit| (unit, None))),
                Err(e) => self.inputs.survive(meta, e)?,
            }
        }
    }

    fn read(&mut self, sifted: &Sifted) -> Result<Option<Batch>, StoreError> {
        let (unit, table) = (&sifted.0, self.inputs.table);
        let mut rows = passed(sifted, &self.scan)?;
        if let Some(seen) = &mut self.seen
            && !rows.is_empty()
        {
            let ids = unit.columns(table, rows.clone(), &[ColumnId::Field(Field::SpanId)])?;
            if let Some(ids) = ids.first().and_then(Option::as_ref).and_then(|a| a.as_fixed_size_binary_opt()) {
                let mut at = 0;
                rows.retain(|_| {
                    at += 1;
                    seen.insert(ids.value(at - 1).to_vec())
                });
            }
        }
        rows.truncate(self.left);
        if rows.is_empty() {
            return Ok(None);
        }
        let count = rows.len();
        let batch = unit.batch(table, rows, &self.scan.projection)?;
        self.left -= count;
        Ok(Some(batch))
    }
}

impl AnyOrder<'_> {
    /// Reads the next parts: several at once where all of their rows are wanted.
    fn advance(&mut self) -> Result<(), StoreError> {
        let whole = self.scan.limit.is_none() && self.seen.is_none();
        let most = if whole { self.wave } else { 1 };
        let mut units = Vec::with_capacity(most);
        while units.len() < most
            && let Some(unit) = self.next_unit()?
        {
            if unit.0.may_match(self.inputs.table, self.scan.range, &self.scan.predicate) {
                units.push(unit);
            }
        }
        if whole {
            let (table, scan) = (self.inputs.table, &self.scan);
            let read = parallel::map(&units, |sifted| {
                let rows = passed(sifted, scan)?;
                if rows.is_empty() { Ok(None) } else { sifted.0.batch(table, rows, &scan.projection).map(Some) }
            });
            // Where rows are rare, more parts at a time are no more batches.
            self.wave = match read.iter().any(|batch| matches!(batch, Ok(Some(_)))) {
                true => parallel::cores() * 2,
                false => (self.wave * 2).min(WAVE),
            };
            self.ready.extend(units.into_iter().map(|(unit, _)| unit).zip(read));
        } else {
            for unit in units {
                let batch = self.read(&unit);
                self.ready.push_back((unit.0, batch));
            }
        }
        Ok(())
    }
}

impl Iterator for AnyOrder<'_> {
    type Item = Result<Batch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left > 0 {
            if self.ready.is_empty()
                && let Err(e) = self.advance()
            {
                return Some(Err(e));
            }
            let (unit, batch) = self.ready.pop_front()?;
            match batch {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(e) => {
                    let Unit::Group(segment, ..) = &unit else { return Some(Err(e)) };
                    // The rest of a damaged segment is not read either.
                    let id = segment.meta.id;
                    self.groups.retain(|(u, _)| !matches!(u, Unit::Group(s, ..) if s.meta.id == id));
                    self.ready.retain(|(u, _)| !matches!(u, Unit::Group(s, ..) if s.meta.id == id));
                    if let Err(e) = self.inputs.survive(&segment.meta, e) {
                        return Some(Err(e));
                    }
                }
            }
        }
        None
    }
}
