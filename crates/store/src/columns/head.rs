//! The head: rows that are not in a segment yet, by tenant and hour; spans of some services apart from the others ([`Key`]).
//!
//! Views never wait for a record that is being walked: what they see is kept beside what grows, and moves on with each record.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Group, Log, Span, Tenant, TimeRange, Value, hour_of};
use parking_lot::Mutex;
use wire::{LogSink, SpanSink};

use super::builder::Builder;
use super::eval::evaluate;
use super::groups::write_group;
use super::keep::Keeping;
use super::room::Room;
use super::rows::Rows;
use super::scan::RowsSource;
use crate::contract::Table;
use crate::{StoreError, Tombstone};

/// A builder is sealed at so many rows...
const SEAL_ROWS: usize = 16_384;
/// ...or so many bytes of text, which keeps Arrow's 32-bit offsets far away.
const SEAL_TEXT: usize = 16 << 20;
/// More hours of one tenant than this share a partition: hostile times must not open a builder and a segment each.
const MAX_HOURS: usize = 48;
/// The partition of the hours beyond [`MAX_HOURS`].
const MIXED: i64 = i64::MAX;

/// The hour of rows, and whether they are such as are kept apart: rows that have other attributes than those that surround them make
/// each of the others' columns one with gaps, and have such themselves, which costs more than the rows.
type Key = (i64, bool);

/// The rows of one tenant and hour, as they are written: [`MIXED`] partitions hold any hour.
#[derive(Debug, Clone)]
pub(crate) struct PartitionRows {
    pub(crate) tenant: Tenant,
    /// See [`crate::Options::apart`].
    pub(crate) apart: bool,
    pub(crate) rows: Vec<Arc<Rows>>,
}

/// Everything that was applied and is in no segment yet.
#[derive(Debug)]
pub(crate) struct Head {
    table: Table,
    /// The services whose spans are kept apart.
    apart: Vec<String>,
    /// Memory of bodies that were written, for those that come.
    bodies: Arc<Room>,
    state: Mutex<State>,
    /// What views see. Changes under `state`, so that it lags behind it by one record at most: the one that is being walked.
    shown: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<Tenant, BTreeMap<Key, Partition>>,
    frozen: Vec<Detached>,
    serial: u64,
}

/// Rows on their way into segments.
#[derive(Debug)]
struct Detached {
    /// As they are written.
    written: Arc<Vec<PartitionRows>>,
    /// As views see them: without what was deleted since. The segment is read without it too.
    shown: Vec<PartitionRows>,
}

#[derive(Debug)]
struct Partition {
    sealed: Vec<Arc<Rows>>,
    open: Arc<Open>,
}

/// A builder that views share: they remember how many of its rows they see.
#[derive(Debug)]
pub(crate) struct Open(Mutex<OpenState>);

#[derive(Debug)]
enum OpenState {
    Growing(Box<Builder>),
    Sealed(Arc<Rows>),
}

impl Open {
    fn new(table: Table, bodies: &Arc<Room>) -> Arc<Self> {
        Self::of(Builder::after(table, None, bodies))
    }

    fn of(builder: Builder) -> Arc<Self> {
        Arc::new(Self(Mutex::new(OpenState::Growing(Box::new(builder)))))
    }

    /// The first `len` rows; `None` where no row lies in the range: what grows is not copied for nothing.
    pub(crate) fn rows(&self, len: usize, range: TimeRange) -> Option<Arc<Rows>> {
        let rows = match &mut *self.0.lock() {
            OpenState::Growing(builder) => {
                let (first, last) = builder.times();
                range.overlaps(first, last).then(|| builder.snapshot())?
            }
            OpenState::Sealed(rows) => rows.clone(),
        };
        Some(rows.head(len))
    }

    fn len(&self) -> usize {
        match &*self.0.lock() {
            OpenState::Growing(builder) => builder.len(),
            OpenState::Sealed(rows) => rows.len(),
        }
    }

    fn memory(&self) -> usize {
        match &*self.0.lock() {
            OpenState::Growing(builder) => builder.memory(),
            OpenState::Sealed(rows) => rows.memory(),
        }
    }
}

impl Partition {
    /// Seals what grows. What comes next has its memory from `bodies`, or nothing comes.
    fn seal(&mut self, table: Table, bodies: Option<&Arc<Room>>) {
        let mut open = self.open.0.lock();
        if let OpenState::Growing(builder) = &mut *open
            && builder.len() > 0
        {
            let next = bodies.map_or_else(|| Builder::new(table), |bodies| Builder::after(table, Some(builder), bodies));
            let rows = std::mem::replace(&mut **builder, Builder::new(table)).seal();
            *open = OpenState::Sealed(rows.clone());
            self.sealed.push(rows);
            drop(open);
            self.open = Open::of(next);
        }
    }
}

/// Some rows that a view sees.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Sealed(Arc<Rows>),
    Open(Arc<Open>, usize),
}

/// All rows of a moment, by tenant. Copies share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parts {
    frozen: Arc<Vec<(Tenant, Part)>>,
    growing: Arc<BTreeMap<Tenant, Arc<Vec<Part>>>>,
}

impl Parts {
    /// A tenant's.
    pub(crate) fn of<'p>(&'p self, tenant: &'p Tenant) -> impl Iterator<Item = &'p Part> {
        let frozen = self.frozen.iter().filter(move |(t, _)| t == tenant).map(|(_, part)| part);
        frozen.chain(self.growing.get(tenant).into_iter().flat_map(|parts| parts.iter()))
    }
}

/// A tenant's rows that still grow.
fn growing(hours: &BTreeMap<Key, Partition>) -> Arc<Vec<Part>> {
    let mut parts = Vec::with_capacity(hours.values().map(|p| p.sealed.len() + 1).sum());
    for partition in hours.values() {
        parts.extend(partition.sealed.iter().cloned().map(Part::Sealed));
        let len = partition.open.len();
        if len > 0 {
            parts.push(Part::Open(partition.open.clone(), len));
        }
    }
    Arc::new(parts)
}

/// Rows on their way into segments.
fn frozen(sets: &[Detached]) -> Arc<Vec<(Tenant, Part)>> {
    let all = sets.iter().flat_map(|set| &set.shown);
    Arc::new(all.flat_map(|p| p.rows.iter().map(|r| (p.tenant.clone(), Part::Sealed(r.clone())))).collect())
}

impl Head {
    /// Without rows; spans of the services `apart` will be kept apart.
    pub(crate) fn new(table: Table, apart: Vec<String>) -> Self {
        Self { table, apart, bodies: Arc::default(), state: Mutex::default(), shown: Mutex::default() }
    }

    /// Hands a sink for `tenant`'s rows to `walk`; views see all of what it is given, or nothing.
    pub(crate) fn fill<T>(&self, tenant: &Tenant, walk: impl FnOnce(&mut Filler<'_>) -> T) -> T {
        self.fill_and_keep(tenant, None, walk)
    }

    /// The same, and what is to be kept of the spans is copied.
    pub(crate) fn fill_and_keep<T>(
        &self,
        tenant: &Tenant,
        keeping: Option<Keeping<'_>>,
        walk: impl FnOnce(&mut Filler<'_>) -> T,
    ) -> T {
        let mut state = self.state.lock();
        let State { tenants, serial, .. } = &mut *state;
        if !tenants.contains_key(tenant) {
            tenants.insert(tenant.clone(), BTreeMap::new());
        }
        let hours = tenants.entry(tenant.clone()).or_default();
        let (table, group) = (self.table, Vec::new());
        let mut filler = Filler {
            table,
            bodies: &self.bodies,
            hours,
            serial,
            group,
            hash: 0,
            rules: &self.apart,
            apart: false,
            near: None,
            size: 0,
            keeping,
            copied: 0,
        };
        // Rows before the first group belong to the empty one.
        filler.announce(&Group::default());
        if let Some(keeping) = &mut filler.keeping {
            keeping.begin(*filler.serial);
        }
        let walked = walk(&mut filler);
        filler.copy();
        if let Some(hours) = tenants.get(tenant) {
            let parts = growing(hours);
            let mut shown = self.shown.lock();
            let all = Arc::make_mut(&mut shown.growing);
            match all.get_mut(tenant) {
                Some(known) => *known = parts,
                None => drop(all.insert(tenant.clone(), parts)),
            }
        }
        walked
    }

    /// What there is now, but for a record that is being walked. Open builders are shared, not copied.
    pub(crate) fn parts(&self) -> Parts {
        self.shown.lock().clone()
    }

    /// Shows all that there is.
    fn show(&self, state: &State) {
        let growing = state.tenants.iter().map(|(tenant, hours)| (tenant.clone(), growing(hours))).collect();
        *self.shown.lock() = Parts { frozen: frozen(&state.frozen), growing: Arc::new(growing) };
    }

    /// Bytes held, frozen parts included.
    pub(crate) fn memory(&self) -> usize {
        let state = self.state.lock();
        let frozen: usize =
            state.frozen.iter().flat_map(|set| set.written.iter()).flat_map(|p| &p.rows).map(|r| r.memory()).sum();
        let open: usize = state
            .tenants
            .values()
            .flat_map(BTreeMap::values)
            .map(|p| p.open.memory() + p.sealed.iter().map(|r| r.memory()).sum::<usize>())
            .sum();
        frozen + open
    }

    /// Detaches all rows; views still see them until [`Head::forget`].
    pub(crate) fn freeze(&self) -> Option<Arc<Vec<PartitionRows>>> {
        let mut state = self.state.lock();
        let mut set = Vec::new();
        for (tenant, hours) in std::mem::take(&mut state.tenants) {
            for ((_, apart), mut partition) in hours {
                partition.seal(self.table, None);
                if !partition.sealed.is_empty() {
                    set.push(PartitionRows { tenant: tenant.clone(), apart, rows: partition.sealed });
                }
            }
        }
        if set.is_empty() {
            return None;
        }
        let set = Arc::new(set);
        state.frozen.push(Detached { written: set.clone(), shown: (*set).clone() });
        self.show(&state);
        Some(set)
    }

    /// Drops a frozen set.
    pub(crate) fn forget(&self, set: &Arc<Vec<PartitionRows>>) {
        let mut state = self.state.lock();
        state.frozen.retain(|s| !Arc::ptr_eq(&s.written, set));
        // The set's memory comes back once whoever looks at it has let go.
        self.bodies.settle();
        self.shown.lock().frozen = frozen(&state.frozen);
    }

    /// Drops the rows of a deletion: of what grows for good, of what is being written from the sight of views.
    pub(crate) fn delete(&self, tombstone: &Tombstone) -> Result<(), StoreError> {
        let Some(doomed) = tombstone.rows() else { return Ok(()) };
        let table = self.table;
        let range = tombstone.range();
        let spare = |all: &mut Vec<Arc<Rows>>| -> Result<(), StoreError> {
            let mut spared = Vec::with_capacity(all.len());
            for rows in all.iter() {
                if !range.overlaps(rows.first, rows.last) {
                    spared.push(rows.clone());
                    continue;
                }
                let mask = !&evaluate(&doomed, &RowsSource::new(table, rows, None))?;
                spared.extend(rows.only(&mask)?);
            }
            *all = spared;
            Ok(())
        };
        let mut state = self.state.lock();
        let State { tenants, frozen, .. } = &mut *state;
        let growing = tenants.iter_mut().filter(|(tenant, _)| tenant.as_str() == tombstone.tenant);
        for partition in growing.flat_map(|(_, hours)| hours.values_mut()) {
            partition.seal(table, Some(&self.bodies));
            spare(&mut partition.sealed)?;
        }
        let shown = frozen.iter_mut().flat_map(|set| &mut set.shown);
        for partition in shown.filter(|p| p.tenant.as_str() == tombstone.tenant) {
            spare(&mut partition.rows)?;
        }
        self.show(&state);
        Ok(())
    }
}

/// The sink that a walker fills.
pub(crate) struct Filler<'h> {
    table: Table,
    bodies: &'h Arc<Room>,
    hours: &'h mut BTreeMap<Key, Partition>,
    serial: &'h mut u64,
    group: Vec<u8>,
    hash: u64,
    /// The services whose spans are kept apart, and whether the group's is one.
    rules: &'h [String],
    apart: bool,
    /// The partition of the last row: its key, and its builder taken out of its lock's reach by an `Arc`.
    near: Option<(Key, Arc<Open>)>,
    /// Bytes of the next span on the wire.
    size: usize,
    /// Copies spans for readers of the log.
    keeping: Option<Keeping<'h>>,
    /// The rows of `near` that need not be copied.
    copied: usize,
}

impl Filler<'_> {
    /// Copies what was added to the builder at hand since the last time, where somebody wants it.
    fn copy(&mut self) {
        if let (Some(keeping), Some((_, open))) = (&mut self.keeping, &self.near)
            && let OpenState::Growing(builder) = &mut *open.0.lock()
        {
            keeping.copy(builder, self.copied);
            self.copied = builder.len();
        }
    }

    fn announce(&mut self, group: &Group<'_>) {
        write_group(group, &mut self.group);
        self.hash = xxhash_rust::xxh3::xxh3_64(&self.group);
        *self.serial += 1;
        self.apart = !self.rules.is_empty() && self.is_apart(group);
    }

    fn is_apart(&self, group: &Group<'_>) -> bool {
        let service = group.resource.iter().find(|a| a.key == "service.name").map(|a| &a.value);
        matches!(service, Some(Value::Str(name)) if self.rules.iter().any(|rule| rule == name))
    }

    #[inline]
    fn append(&mut self, time: i64, push: impl FnOnce(&mut Builder)) {
        let key = (hour_of(time), self.apart);
        if self.near.as_ref().is_none_or(|(near, _)| *near != key) {
            self.copy();
            let open = self.open(key);
            self.copied = if self.keeping.is_some() { open.len() } else { 0 };
            self.near = Some((key, open));
        }
        let Some((_, open)) = &self.near else { return };
        let full = match &mut *open.0.lock() {
            OpenState::Growing(builder) => {
                builder.group(*self.serial, self.hash, &self.group);
                push(builder);
                builder.len() >= SEAL_ROWS || builder.text_bytes() >= SEAL_TEXT
            }
            // The head's open builders are growing: only `seal` changes that, and it puts a new one in the place.
            OpenState::Sealed(_) => false,
        };
        if full {
            self.copy();
            let key = if self.hours.contains_key(&key) { key } else { (MIXED, self.apart) };
            if let Some(partition) = self.hours.get_mut(&key) {
                partition.seal(self.table, Some(self.bodies));
            }
            self.near = None;
        }
    }

    #[cold]
    fn open(&mut self, key: Key) -> Arc<Open> {
        let key = if self.hours.contains_key(&key) || self.hours.len() < MAX_HOURS { key } else { (MIXED, key.1) };
        let (table, bodies) = (self.table, self.bodies);
        self.hours.entry(key).or_insert_with(|| Partition { sealed: Vec::new(), open: Open::new(table, bodies) }).open.clone()
    }
}

impl SpanSink for Filler<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.announce(group);
        let Some(keeping) = &mut self.keeping else { return };
        let (coming, turns) = keeping.coming(group, (self.hash, &self.group));
        if turns {
            self.copy();
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.group(coming);
        }
    }

    #[inline]
    fn size(&mut self, bytes: usize) {
        self.size = bytes;
    }

    fn span(&mut self, span: &Span<'_>) {
        if let Some(keeping) = &mut self.keeping {
            keeping.span(self.size);
        }
        self.append(span.start, |builder| builder.span(span));
    }
}

impl LogSink for Filler<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.announce(group);
    }

    fn log(&mut self, log: &Log<'_>) {
        self.append(log.time, |builder| builder.log(log));
    }
}
