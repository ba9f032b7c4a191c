//! Scans in the order of time: hour by hour, the hour's matching rows are found first (times only), then sorted, then
//! fetched. With a limit, parts that cannot reach the first rows are not read, and hours after the last row neither.
//! An hour with too many matching rows is split, so memory is bounded whatever matches.

use std::collections::{BTreeMap, HashSet, VecDeque};

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use model::{HOUR_NS, TimeRange, hour_of};

use super::gather::{Pick, Piece, gather};
use super::parallel;
use super::project::{TIME, batch};
use super::prune::asks_for_id;
use super::repeats::row_ids;
use super::scan::Unit;
use super::view::Inputs;
use crate::StoreError;
use crate::contract::{Batch, Meaning, Order, Predicate, Scan, Table};

/// More matching rows than this at once, and the stretch of time is split.
const MATCHES_MAX: usize = 1 << 20;
/// Parts that are looked at before matches are counted again.
const WAVE: usize = 32;
/// A stretch is not split below this width (nanoseconds).
const WIDTH_MIN: i64 = 1_000;
/// Rows of the first batch of a stretch, for whoever needs no more; each is four times as long as the one before...
const FIRST_ROWS: usize = if cfg!(test) { 8 } else { 1024 };
/// ...up to this.
const BATCH_ROWS: usize = 32_768;

/// A row that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    time: i64,
    unit: u32,
    row: u32,
}

/// What matches are ordered by.
fn key(newest: bool) -> impl Fn(&Match) -> (i64, u32, u32) + Copy {
    move |m| (if newest { m.time.saturating_neg() } else { m.time }, m.unit, m.row)
}

/// The scan.
pub(crate) struct Ordered<'a> {
    inputs: Inputs<'a>,
    scan: Scan,
    units: Vec<Unit>,
    /// Stretches of time still to do, the next one first; `None` until the segments are opened.
    stretches: Option<VecDeque<TimeRange>>,
    ready: VecDeque<Vec<Match>>,
    /// Matches of the stretch that are in no order yet, where there is no limit.
    rest: Vec<Match>,
    /// How many of them to order next.
    size: usize,
    dead: HashSet<u64>,
    left: usize,
    /// Few parts are left, in which few rows match.
    rare: bool,
}

impl<'a> Ordered<'a> {
    pub(crate) fn new(inputs: Inputs<'a>, scan: &Scan) -> Self {
        let left = scan.limit.unwrap_or(usize::MAX);
        Self {
            inputs,
            scan: scan.clone(),
            units: Vec::new(),
            stretches: None,
            ready: VecDeque::new(),
            rest: Vec::new(),
            size: FIRST_ROWS,
            dead: HashSet::new(),
            left,
            rare: false,
        }
    }

    fn newest(&self) -> bool {
        self.scan.order == Order::NewestFirst
    }

    /// Opens the segments and lays out the hours.
    fn start(&mut self) -> Result<(), StoreError> {
        let Scan { range, predicate, .. } = &self.scan;
        self.units = self.inputs.units(*range, predicate)?;
        if asks_for_id(self.inputs.table, predicate) {
            // Nearly all parts lack the id: which of them do is asked at once, and what is left is one stretch.
            let table = self.inputs.table;
            // What is damaged is noticed when it is read.
            let may_hold = parallel::map(&self.units, |unit| unit.may_hold_id(table, *range, predicate).unwrap_or(true));
            let mut may_hold = may_hold.into_iter();
            self.units.retain(|_| may_hold.next().unwrap_or(true));
            self.rare = true;
            self.stretches = Some([*range].into());
            return Ok(());
        }
        // Hours that any unit touches. A unit that spans more than a day is laid out by its ends: its inner hours belong
        // to the stretch between them.
        let mut edges: Vec<i64> = Vec::new();
        for unit in &self.units {
            let (first, last) = unit.times();
            let (first, last) = (hour_of(first.max(range.start)), hour_of(last.min(range.end.saturating_sub(1))));
            match last - first {
                0..=48 => edges.extend(first..=last + 1),
                _ => edges.extend([first, first + 1, last, last + 1]),
            }
        }
        edges.sort_unstable();
        edges.dedup();
        let at = |hour: i64| hour.saturating_mul(HOUR_NS);
        let mut stretches: VecDeque<TimeRange> = edges
            .windows(2)
            .map(|w| TimeRange::new(at(w[0]).max(range.start), at(w[1]).min(range.end)))
            .filter(|r| !r.is_empty())
            .collect();
        if self.newest() {
            stretches = stretches.into_iter().rev().collect();
        }
        self.stretches = Some(stretches);
        Ok(())
    }

    /// Finds the rows of a stretch; `None` when there are too many and it was split instead.
    fn matches(&mut self, stretch: TimeRange, most: usize) -> Result<Option<(Vec<Match>, bool)>, StoreError> {
        let table = self.inputs.table;
        let newest = self.newest();
        let mut order: Vec<usize> = (0..self.units.len())
            .filter(|&u| {
                let (first, last) = self.units[u].times();
                stretch.overlaps(first, last)
            })
            .collect();
        // The parts with the first rows first: they set the bar for the others.
        order.sort_by_key(|&u| if newest { self.units[u].times().1.saturating_neg() } else { self.units[u].times().0 });
        let mut found: Vec<Match> = Vec::new();
        let mut cut = false;
        let key = key(newest);
        // Where the first rows set a bar, a few parts at a time: what lies beyond it need not be read.
        let mut wave = if most < usize::MAX / 2 && !self.rare { parallel::cores() * 2 } else { WAVE };
        let mut order = &order[..];
        while !order.is_empty() {
            let (units, later) = order.split_at(order.len().min(wave));
            order = later;
            let mut range = stretch;
            if found.len() >= most {
                found.select_nth_unstable_by_key(most - 1, key);
                cut |= found.len() > most;
                found.truncate(most);
                // Rows beyond the last of the best so far need not be looked at.
                let bar = found[most - 1].time;
                if newest {
                    range.start = range.start.max(bar);
                } else {
                    range.end = range.end.min(bar.saturating_add(1));
                }
            }
            let mut wanted: Vec<usize> = units.to_vec();
            wanted.retain(|&u| {
                let (first, last) = self.units[u].times();
                let reaches = !range.is_empty() && range.overlaps(first, last);
                cut |= !reaches;
                reaches && !self.is_dead(&self.units[u])
            });
            let predicate = &self.scan.predicate;
            let ends = Ends { newest, most };
            let read = parallel::map(&wanted, |&u| times_in(&self.units[u], table, range, predicate, ends));
            // Where rows are rare, many parts have to be looked at.
            wave = (wave * 2).min(WAVE);
            for (&u, read) in wanted.iter().zip(read) {
                match read {
                    Ok((rows, more)) => {
                        cut |= more;
                        found.extend(rows.into_iter().map(|(row, time)| Match { time, unit: u as u32, row }));
                    }
                    Err(e) => self.bury(&self.units[u].clone(), e)?,
                }
            }
            if found.len() > MATCHES_MAX.max(most.saturating_mul(2).min(MATCHES_MAX * 4))
                && most > MATCHES_MAX
                && stretch.end.saturating_sub(stretch.start) > WIDTH_MIN
            {
                return Ok(None);
            }
        }
        if self.scan.limit.is_none() {
            return Ok(Some((found, false)));
        }
        found.sort_unstable_by_key(key);
        if found.len() > most {
            found.truncate(most);
            cut = true;
        }
        Ok(Some((found, cut)))
    }

    fn is_dead(&self, unit: &Unit) -> bool {
        matches!(unit, Unit::Group(segment, ..) if self.dead.contains(&segment.meta.id))
    }

    fn bury(&mut self, unit: &Unit, error: StoreError) -> Result<(), StoreError> {
        let Unit::Group(segment, ..) = unit else { return Err(error) };
        self.inputs.survive(&segment.meta, error)?;
        self.dead.insert(segment.meta.id);
        Ok(())
    }

    /// Cuts a stretch in pieces and puts them at the front of the queue.
    fn split(&mut self, stretch: TimeRange) {
        const PIECES: i128 = 8;
        let width = i128::from(stretch.end) - i128::from(stretch.start);
        let edge = |i: i128| (i128::from(stretch.start) + width * i / PIECES) as i64;
        let newest = self.newest();
        let Some(stretches) = &mut self.stretches else { return };
        for i in 0..PIECES {
            // Pushed to the front one by one: the one that comes first goes last.
            let i = if newest { i } else { PIECES - 1 - i };
            let piece = TimeRange::new(edge(i), edge(i + 1));
            if !piece.is_empty() {
                stretches.push_front(piece);
            }
        }
    }

    /// Removes rows that repeat another of the same time.
    fn without_repeats(&mut self, found: Vec<Match>) -> Result<Vec<Match>, StoreError> {
        let mut suspects: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for run in found.chunk_by(|a, b| a.time == b.time) {
            let head = |m: &Match| matches!(self.units[m.unit as usize], Unit::Head(_));
            // One segment does not repeat itself; a head may.
            if run.len() > 1 && run.iter().any(|m| m.unit != run[0].unit || head(m)) {
                run.iter().for_each(|m| suspects.entry(m.unit).or_default().push(m.row));
            }
        }
        if suspects.is_empty() {
            return Ok(found);
        }
        let table = self.inputs.table;
        let mut ids: BTreeMap<(u32, u32), u128> = BTreeMap::new();
        for (unit, mut rows) in suspects {
            rows.sort_unstable();
            match row_ids(&self.units[unit as usize], table, &rows) {
                Ok(own) => ids.extend(rows.iter().zip(own).map(|(&row, id)| ((unit, row), id))),
                Err(e) => self.bury(&self.units[unit as usize].clone(), e)?,
            }
        }
        let mut seen: HashSet<(i64, u128)> = HashSet::new();
        Ok(found.into_iter().filter(|m| ids.get(&(m.unit, m.row)).is_none_or(|id| seen.insert((m.time, *id)))).collect())
    }

    /// Fetches rows, in their order.
    fn fetch(&mut self, rows: &[Match]) -> Result<Option<Batch>, StoreError> {
        let table = self.inputs.table;
        let mut by_unit: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        rows.iter().for_each(|m| by_unit.entry(m.unit).or_default().push(m.row));
        let mut batches: Vec<(u32, Vec<u32>, Batch)> = Vec::with_capacity(by_unit.len());
        let mut by_unit: Vec<(u32, Vec<u32>)> = by_unit.into_iter().collect();
        by_unit.iter_mut().for_each(|(_, rows)| rows.sort_unstable());
        let projection = &self.scan.projection;
        let read = parallel::map(&by_unit, |(unit, rows)| self.units[*unit as usize].batch(table, rows.clone(), projection));
        for ((unit, wanted), read) in by_unit.into_iter().zip(read) {
            match read {
                Ok(batch) => batches.push((unit, wanted, batch)),
                Err(e) => self.bury(&self.units[unit as usize].clone(), e)?,
            }
        }
        let picks: Vec<Pick> = rows
            .iter()
            .filter_map(|m| {
                let source = batches.iter().position(|(unit, _, _)| *unit == m.unit)?;
                let row = batches[source].1.binary_search(&m.row).ok()?;
                Some((source as u32, row as u32))
            })
            .collect();
        if picks.is_empty() {
            return Ok(None);
        }
        let mut meanings: Vec<&Meaning> = batches.iter().flat_map(|(_, _, b)| b.meaning().iter()).collect();
        meanings.sort();
        meanings.dedup();
        let mut columns: Vec<(Meaning, ArrayRef)> = Vec::with_capacity(meanings.len());
        for meaning in meanings {
            let arrays: Vec<Option<&ArrayRef>> = batches
                .iter()
                .map(|(_, _, b)| b.meaning().iter().position(|m| m == meaning).map(|at| b.columns().column(at)))
                .collect();
            let pieces: Vec<Option<Piece<'_>>> = arrays.iter().map(|a| a.map(|array| Piece { array, groups: None })).collect();
            let Some(first) = arrays.iter().flatten().next() else { continue };
            let plain = arrays.iter().flatten().any(|a| a.as_string_opt::<i32>().is_some());
            columns.push((meaning.clone(), gather(first.data_type(), plain, &pieces, &picks)?));
        }
        Ok(Some(batch(picks.len(), columns)?))
    }

    /// Puts the next rows of the stretch in order: few at first, for whoever needs no more.
    fn refill(&mut self) -> Result<(), StoreError> {
        let key = key(self.newest());
        let size = self.size;
        self.size = (size * 4).min(BATCH_ROWS);
        let mut rows = std::mem::take(&mut self.rest);
        if size < BATCH_ROWS && rows.len() > size {
            rows.select_nth_unstable_by_key(size - 1, key);
            // Rows of one time may be one row.
            let last = rows[size - 1].time;
            let more = rows.split_off(size);
            let (same, more): (Vec<Match>, Vec<Match>) = more.into_iter().partition(|m| m.time == last);
            rows.extend(same);
            self.rest = more;
        }
        rows.sort_unstable_by_key(key);
        let rows = self.without_repeats(rows)?;
        self.ready.extend(rows.chunks(BATCH_ROWS).map(<[Match]>::to_vec));
        Ok(())
    }

    fn advance(&mut self) -> Result<bool, StoreError> {
        if self.stretches.is_none() {
            self.start()?;
        }
        let Some(stretch) = self.stretches.as_mut().and_then(VecDeque::pop_front) else { return Ok(false) };
        let mut most = self.left;
        loop {
            let Some((found, cut)) = self.matches(stretch, most)? else {
                self.split(stretch);
                return Ok(true);
            };
            if self.scan.limit.is_none() {
                self.rest = found;
                return Ok(true);
            }
            let before = found.len();
            let rows = self.without_repeats(found)?;
            // Repeats took the place of rows that were cut off: look again, further.
            if cut && rows.len() < self.left && rows.len() < before && most < usize::MAX / 2 {
                most = most + (before - rows.len()) + 16;
                continue;
            }
            let mut rows = rows;
            rows.truncate(self.left);
            self.left -= rows.len();
            self.ready.extend(rows.chunks(BATCH_ROWS).map(<[Match]>::to_vec));
            return Ok(true);
        }
    }
}

/// Which rows of a part are wanted: so many, the newest or the oldest.
#[derive(Clone, Copy)]
struct Ends {
    newest: bool,
    most: usize,
}

/// Rows with their times.
type Timed = Vec<(u32, i64)>;

/// The rows of a part that match, with their times; where streams stand in the order of time, no more of each than are wanted.
/// And whether there are more.
fn times_in(unit: &Unit, table: Table, range: TimeRange, predicate: &Predicate, ends: Ends) -> Result<(Timed, bool), StoreError> {
    let left = unit.left(table, range, predicate)?;
    if left.is_empty() {
        return Ok((Timed::new(), false));
    }
    if let Unit::Group(segment, group, _) = unit
        && left.len() > ends.most
        && !segment.few_times(table, *group, &left)
        && let Some((starts, times)) = segment.runs_of_time(*group)?
    {
        let times = times.as_primitive::<Int64Type>().values();
        let mut found = Timed::new();
        let run_ends = starts.iter().skip(1).map(|&end| end as usize).chain([times.len()]);
        for (&start, end) in starts.iter().zip(run_ends) {
            found
                .extend(left.ends(start as usize..end, ends.newest, ends.most).into_iter().map(|row| (row, times[row as usize])));
        }
        let more = found.len() < left.len();
        return Ok((found, more));
    }
    let rows = left.rows();
    let times = unit.columns(table, rows.clone(), &[TIME])?;
    let Some(Some(times)) = times.first() else { return Ok((Timed::new(), false)) };
    let mut found: Timed = rows.into_iter().zip(times.as_primitive::<Int64Type>().values().iter().copied()).collect();
    let more = ends.most > 0 && found.len() > ends.most;
    if more {
        let sooner = |(row, time): &(u32, i64)| (if ends.newest { time.saturating_neg() } else { *time }, *row);
        found.select_nth_unstable_by_key(ends.most - 1, sooner);
        found.truncate(ends.most);
    }
    Ok((found, more))
}

impl Iterator for Ordered<'_> {
    type Item = Result<Batch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(rows) = self.ready.pop_front() {
                match self.fetch(&rows) {
                    Ok(Some(batch)) => return Some(Ok(batch)),
                    Ok(None) => continue,
                    Err(e) => return Some(Err(e)),
                }
            }
            if !self.rest.is_empty() {
                match self.refill() {
                    Ok(()) => continue,
                    Err(e) => return Some(Err(e)),
                }
            }
            if self.left == 0 {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
