//! The loom: open windows, records that wait for their trace, and the traces that are known by their keys. No IO; time is what it
//! is told.
//!
//! # Invariants
//!
//! 1. *A window closes by arrival time alone.* A wrong clock harms nothing, a stopped stream closes.
//! 2. *A record is in one part only.* Parts of a trace cover ranges of the log that do not overlap; what a durable part covers is
//!    passed over when the log is read again ([`Loom::covered`]).
//! 3. *Memory is bounded.* Over the budget, what is known of closed traces goes first, then windows that tell nothing (dropped and
//!    counted), then windows that tell something (closed early), then records that wait.
//! 4. *Never a silent guess.* A record is joined for certain only where one trace comes into question; see [`crate::join`].
//! 5. *Lone traces cost nothing at pace.* A trace that joins nothing and carries no key makes an event as long as there are no more
//!    than [`Settings::lone_events`] of them a second; past that they are counted.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{Group, Tenant, TraceId};
use parking_lot::Mutex;
use store::deletes;
use wire::Signal;

use crate::carriers::{Index, hash_of};
use crate::counters::{Counters, add};
use crate::entity::Overrides;
use crate::gather::Gathering;
use crate::keys::{Finder, Found};
use crate::lines::KeptLines;
use crate::names::Names;
use crate::registry::Registry;
use crate::sender::{Sender, Senders};
use crate::sink::{Exemplars, HasExemplars, Logs, Origin, Spans};
use crate::trace::{Opened, TRACE_COST, Trace};
use crate::traces::Traces;
use crate::waiting::Records;
use crate::window::{Part, Position};
use crate::{Settings, Since};

/// Windows that closed traces are remembered for, to tell what is late.
const LATE_WINDOWS: i64 = 5;
/// A window whose time counts from the last record lasts at most so many times its length.
const LONGEST: i64 = 10;
/// Windows that close at once: what has closed is to be written before more does.
const CLOSE_AT_ONCE: usize = 2048;
const SECOND_NS: i64 = 1_000_000_000;

/// When, which trace, and its generation then.
type Due = (i64, u32, u32);

/// What parts that are durable already cover: known after a restart, until the log has been read past it.
#[derive(Debug, Default)]
struct Durable {
    /// Ranges of sequences of each trace.
    ranges: HashMap<(u32, TraceId), Vec<(u64, u64)>, foldhash::fast::RandomState>,
    /// Records that were joined to a trace.
    joined: HashSet<(TraceId, Position), foldhash::fast::RandomState>,
    /// The last sequence in either.
    last: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Loom {
    pub(crate) window_ns: i64,
    since: Since,
    memory: usize,
    pub(crate) key_names: Vec<String>,
    finder: Arc<Finder>,
    overrides: Arc<Overrides>,
    wire: wire::Limits,
    pub(crate) counters: Arc<Counters>,
    registry: Arc<Mutex<Registry>>,
    tenants: Vec<Tenant>,
    pub(crate) clock: i64,
    pub(crate) names: Names,
    senders: Senders,
    pub(crate) traces: Traces,
    generation: u32,
    /// Windows in the order in which they opened, and so nearly in that in which they close.
    due: VecDeque<Due>,
    /// Windows that close at another time.
    again: BinaryHeap<Reverse<Due>>,
    forget: VecDeque<Due>,
    pub(crate) index: Index,
    pub(crate) records: Records,
    closed: Vec<Closed>,
    /// Bytes of the traces and of the records that wait.
    pub(crate) bytes: usize,
    open: usize,
    durable: Durable,
    lone: Allowance,
    gathering: Gathering,
}

/// What the store has kept of a request that its table has walked.
pub(crate) enum Walked<'k> {
    /// Nothing: the request tells.
    Not,
    Spans(&'k wire::KeptSpans),
    Lines(&'k KeptLines),
}

/// A window that has closed.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) tenant: Tenant,
    pub(crate) part: Part,
    /// When it was to close, nanoseconds since the Unix epoch; `None` where it closed for another reason.
    pub(crate) due: Option<i64>,
}

/// Why a window closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// Its time, which this is, has come.
    Due(i64),
    /// Somebody wants to see the end of it now.
    Asked,
    /// There is no memory for it.
    Early,
}

/// How many events of lone traces may be made.
#[derive(Debug)]
struct Allowance {
    /// A second.
    rate: u32,
    /// In the second that began at `since`.
    left: u32,
    since: i64,
}

impl Loom {
    /// # Errors
    /// When the keys make no finder.
    pub(crate) fn new(settings: &Settings, counters: Arc<Counters>, registry: Arc<Mutex<Registry>>) -> Result<Self, String> {
        Ok(Self {
            window_ns: i64::try_from(settings.window.as_nanos()).unwrap_or(i64::MAX / 100).max(1),
            since: settings.since,
            memory: settings.memory,
            key_names: settings.keys.iter().map(|k| k.name.clone()).collect(),
            finder: Arc::new(Finder::new(&settings.keys)?),
            overrides: Arc::new(settings.entities.clone()),
            wire: settings.wire.clone(),
            counters,
            registry,
            tenants: Vec::new(),
            clock: i64::MIN,
            names: Names::default(),
            senders: Senders::default(),
            traces: Traces::default(),
            generation: 0,
            due: VecDeque::new(),
            again: BinaryHeap::new(),
            forget: VecDeque::new(),
            index: Index::default(),
            records: Records::default(),
            closed: Vec::new(),
            bytes: 0,
            open: 0,
            durable: Durable::default(),
            gathering: Gathering::default(),
            lone: Allowance { rate: settings.lone_events, left: settings.lone_events, since: i64::MIN },
        })
    }

    pub(crate) fn finder(&self) -> Arc<Finder> {
        Arc::clone(&self.finder)
    }

    pub(crate) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(crate) fn sender(&mut self, tenant: u32, group: &Group<'_>) -> Arc<Sender> {
        self.make_room_for_a_sender();
        self.senders.of(tenant, group, &self.finder, &self.overrides)
    }

    /// The same of a resource that the store has kept.
    pub(crate) fn kept_sender(&mut self, tenant: u32, resource: &wire::KeptResource) -> Arc<Sender> {
        self.make_room_for_a_sender();
        self.senders.kept(tenant, resource, &self.finder, &self.overrides)
    }

    fn make_room_for_a_sender(&mut self) {
        if self.senders.is_full() {
            self.tell();
            self.senders.clear();
        }
    }

    /// Tells the registry who has sent since the last time.
    pub(crate) fn tell(&mut self) {
        self.senders.tell(&mut self.registry.lock(), &self.tenants, self.clock);
    }

    pub(crate) fn oversized(&self, n: u64) {
        add(&self.counters.oversized_keys, n);
    }

    /// The number of a tenant.
    pub(crate) fn tenant(&mut self, tenant: &Tenant) -> u32 {
        match self.tenants.iter().position(|t| t == tenant) {
            Some(at) => at as u32,
            None => {
                self.tenants.push(tenant.clone());
                (self.tenants.len() - 1) as u32
            }
        }
    }

    /// Takes the rows of a request.
    #[cfg(test)]
    pub(crate) fn take(&mut self, record: &store::Record) {
        self.take_without(record, &[], &Walked::Not);
    }

    /// Takes the rows of a request that later deletions left. `walked`: what the store has kept of it.
    pub(crate) fn take_without(&mut self, record: &store::Record, deleted: &[Arc<store::Tombstone>], walked: &Walked<'_>) {
        let tenant = self.tenant(&record.tenant);
        let origin = Origin { tenant, sequence: record.sequence, received: record.received };
        self.advance(record.received);
        let limits = self.wire.clone();
        let mut gathering = std::mem::take(&mut self.gathering);
        let outcome = match (record.encoding.signal(), walked) {
            (_, Walked::Spans(spans)) => {
                gathering.take(self, origin, spans);
                Ok(wire::Summary::default())
            }
            (_, Walked::Lines(lines)) => {
                lines.give(&mut Logs::new(self, origin, &mut gathering));
                Ok(wire::Summary::default())
            }
            (Signal::Traces, _) => deletes::walk_spans(record, deleted, &limits, &mut Spans::new(self, origin)),
            (Signal::Logs, _) => deletes::walk_logs(record, deleted, &limits, &mut Logs::new(self, origin, &mut gathering)),
            (Signal::Metrics, _) => {
                let mut has = HasExemplars::default();
                let first = deletes::walk_samples(record, deleted, &limits, &mut has);
                match first {
                    Ok(_) if has.0 => deletes::walk_samples(record, deleted, &limits, &mut Exemplars::new(self, origin)),
                    other => other,
                }
            }
        };
        self.gathering = gathering;
        match outcome {
            Ok(_) => add(&self.counters.records, 1),
            // Receivers have checked it: a damaged record of the log, most likely, which the store reports.
            Err(_) => add(&self.counters.unreadable, 1),
        }
        self.shed();
    }

    /// The trace of a record, its window opened where it is not; `None` where the record counts already. `as_such`: the record
    /// has the id in a field for it, and not only in its text.
    pub(crate) fn window(&mut self, origin: Origin, trace: TraceId, as_such: bool) -> Option<u32> {
        if trace.is_none() || self.is_durable(origin, trace) {
            return None;
        }
        let slot = self.slot_of(origin.tenant, trace);
        self.open(slot, origin.received.saturating_add(self.window_ns), true);
        self.traces.get_mut(slot)?.arrive(origin.sequence, origin.received, as_such);
        Some(slot)
    }

    /// A window that is open.
    #[inline]
    pub(crate) fn opened(&mut self, slot: u32) -> Option<Opened<'_>> {
        let trace = self.traces.get_mut(slot)?;
        Some(Opened { trace, names: &mut self.names, bytes: &mut self.bytes })
    }

    fn is_durable(&self, origin: Origin, trace: TraceId) -> bool {
        if origin.sequence > self.durable.last || self.durable.ranges.is_empty() {
            return false;
        }
        let ranges = self.durable.ranges.get(&(origin.tenant, trace));
        ranges.is_some_and(|r| r.iter().any(|(first, last)| (*first..=*last).contains(&origin.sequence)))
    }

    /// Whether a durable part has this record joined to the trace already.
    pub(crate) fn is_joined(&self, trace: TraceId, at: Position) -> bool {
        at.sequence <= self.durable.last && self.durable.joined.contains(&(trace, at))
    }

    fn slot_of(&mut self, tenant: u32, id: TraceId) -> u32 {
        if let Some(slot) = self.traces.find(tenant, id) {
            return slot;
        }
        self.bytes += TRACE_COST;
        let generation = self.next_generation();
        self.traces.insert(Trace::new(tenant, id, generation))
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }

    /// Opens a window until `deadline`, if there is none. `full`: it lasts as long as windows do.
    pub(crate) fn open(&mut self, slot: u32, deadline: i64, full: bool) {
        let Some(trace) = self.traces.get_mut(slot).filter(|t| !t.open) else { return };
        trace.begin();
        if full && trace.late {
            add(&self.counters.late, 1);
        }
        let due = (deadline, slot, trace.generation);
        if full {
            self.due.push_back(due);
        } else {
            self.again.push(Reverse(due));
        }
        self.open += 1;
    }

    /// Notes the keys of a record that belongs to a trace.
    pub(crate) fn keys(&mut self, slot: u32, found: &Found<'_>) {
        for found in &found.keys {
            let Some(mut window) = self.opened(slot) else { return };
            let hash = hash_of(window.trace.tenant, found.key, &found.value);
            if window.key(found.key, hash, &found.value) {
                self.index.carry(hash, slot);
            }
        }
    }

    /// It is `now`: closes what is due, some of it at a time; says whether more is.
    pub(crate) fn advance(&mut self, now: i64) -> bool {
        self.clock = self.clock.max(now);
        let clock = self.clock;
        let mut closed = 0;
        while closed < CLOSE_AT_ONCE {
            let due = match self.again.peek() {
                Some(Reverse((deadline, ..))) if *deadline <= clock => self.again.pop().map(|Reverse(due)| due),
                _ => self.due.pop_front_if(|(deadline, ..)| *deadline <= clock),
            };
            let Some((deadline, slot, generation)) = due else { break };
            let Some(trace) = self.traces.get(slot).filter(|t| t.open && t.generation == generation) else { continue };
            let until = self.deadline(trace);
            if until > self.clock {
                self.again.push(Reverse((until, slot, generation)));
                continue;
            }
            self.close(slot, Closing::Due(deadline.max(until)));
            closed += 1;
        }
        while let Some(record) = self.records.next_due(self.clock) {
            self.resolve(record, true);
        }
        while let Some((at, slot, generation)) = self.forget.front().copied() {
            if at > self.clock {
                break;
            }
            self.forget.pop_front();
            if self.traces.get(slot).is_some_and(|t| !t.open && t.generation == generation) {
                self.forget_trace(slot);
            }
        }
        closed == CLOSE_AT_ONCE
    }

    /// When a window that is due closes: later than it was going to, where its time counts from its last record.
    fn deadline(&self, trace: &Trace) -> i64 {
        if self.since == Since::First || trace.first == u64::MAX {
            return i64::MIN;
        }
        let (first, last) = trace.arrived;
        let longest = first.saturating_add(self.window_ns.saturating_mul(LONGEST));
        last.saturating_add(self.window_ns).min(longest)
    }

    /// Closes windows before their time, some of them; says whether there are more.
    pub(crate) fn close_open(&mut self) -> bool {
        for _ in 0..CLOSE_AT_ONCE {
            let next = self.due.pop_front().or_else(|| self.again.pop().map(|Reverse(due)| due));
            let Some((_, slot, generation)) = next else {
                // Whoever waited for one of them has found it.
                let record = self.records.next_due(i64::MAX);
                record.into_iter().for_each(|record| self.resolve(record, true));
                return record.is_some();
            };
            if self.traces.get(slot).is_some_and(|t| t.open && t.generation == generation) {
                self.close(slot, Closing::Asked);
            }
        }
        true
    }

    /// Whether a lone trace may make an event now.
    fn lone(&mut self) -> bool {
        if self.clock.saturating_sub(self.lone.since) >= SECOND_NS {
            self.lone.left = self.lone.rate;
            self.lone.since = self.clock;
        }
        let left = self.lone.left;
        self.lone.left = left.saturating_sub(1);
        left > 0
    }

    fn close(&mut self, slot: u32, why: Closing) {
        let due = if let Closing::Due(at) = why { Some(at) } else { None };
        self.settle(slot, due.is_none());
        let tells = self.traces.get(slot).is_some_and(Trace::tells);
        let wanted = tells || self.lone();
        let generation = self.next_generation();
        let Some(trace) = self.traces.get_mut(slot) else { return };
        let before = trace.cost();
        if wanted {
            let mut part = trace.close(&mut self.names, &self.key_names);
            part.early = why == Closing::Early;
            let tenant = self.tenants.get(trace.tenant as usize).cloned().unwrap_or_default();
            self.closed.push(Closed { tenant, part, due });
        } else {
            add(&self.counters.lone, 1);
            trace.leave(&mut self.names);
        }
        // The keys stay known; the rest goes with the window.
        self.bytes = self.bytes.saturating_sub(before - trace.cost());
        trace.generation = generation;
        let until = self.clock.saturating_add(self.window_ns.saturating_mul(LATE_WINDOWS));
        self.forget.push_back((until, slot, generation));
        self.open -= 1;
    }

    fn forget_trace(&mut self, slot: u32) {
        let Some(mut trace) = self.traces.remove(slot) else { return };
        self.open -= usize::from(trace.open);
        self.bytes = self.bytes.saturating_sub(trace.cost());
        trace.leave(&mut self.names);
        for (_, hash) in trace.keys() {
            self.index.drop_trace(hash, slot);
        }
    }

    /// Comes back under the budget.
    fn shed(&mut self) {
        if self.bytes + self.names.bytes <= self.memory {
            return;
        }
        let enough = self.memory - self.memory / 8;
        while self.bytes + self.names.bytes > enough {
            if let Some((_, slot, generation)) = self.forget.pop_front() {
                if self.traces.get(slot).is_some_and(|t| t.generation == generation && !t.open) {
                    add(&self.counters.forgotten_early, 1);
                    self.forget_trace(slot);
                }
            } else if let Some((_, slot, generation)) = self.due.pop_front().or_else(|| self.again.pop().map(|Reverse(d)| d)) {
                let Some(trace) = self.traces.get(slot).filter(|t| t.generation == generation) else { continue };
                if trace.tells() {
                    add(&self.counters.closed_early, 1);
                    self.close(slot, Closing::Early);
                } else {
                    add(&self.counters.shed_windows, 1);
                    add(&self.counters.shed_records, trace.records());
                    self.forget_trace(slot);
                }
            } else if let Some(record) = self.records.next_due(i64::MAX) {
                add(&self.counters.shed_waiting, 1);
                self.drop_waiting(record);
            } else {
                break;
            }
        }
    }

    /// How much has closed since it was taken last.
    pub(crate) fn closed(&self) -> usize {
        self.closed.len()
    }

    /// What has closed, to be taken from it.
    pub(crate) fn closed_mut(&mut self) -> &mut Vec<Closed> {
        &mut self.closed
    }

    /// The log up to here is no longer needed once what has closed is durable; `next` is the first sequence not yet taken.
    pub(crate) fn safe_through(&self, next: u64) -> u64 {
        let windows = self.traces.iter().filter(|t| t.open).map(Trace::lowest);
        windows.chain(self.records.sequences()).fold(next, u64::min).saturating_sub(1)
    }

    /// Notes a part that is durable, found after a restart.
    pub(crate) fn covered(&mut self, tenant: &Tenant, part: &Part) {
        let tenant = self.tenant(tenant);
        let (first, last) = part.sequences;
        if first <= last {
            self.durable.ranges.entry((tenant, part.trace)).or_default().push((first, last));
            self.durable.last = self.durable.last.max(last);
        }
        for joined in &part.joined {
            self.durable.joined.insert((part.trace, joined.at));
            self.durable.last = self.durable.last.max(joined.at.sequence);
        }
        // It is known again, so that what is late is seen to be, and what waits finds it.
        let slot = self.slot_of(tenant, part.trace);
        let Some(known) = self.opened(slot) else { return };
        known.trace.late = true;
        let (times, arrived) = (&mut known.trace.times, &mut known.trace.arrived);
        *times = (times.0.min(part.times.0), times.1.max(part.times.1));
        *arrived = (arrived.0.min(part.arrived.0), arrived.1.max(part.arrived.1));
        let generation = known.trace.generation;
        let mut carried = Vec::new();
        for (name, value) in &part.keys {
            let Some(key) = self.key_names.iter().position(|k| k == name) else { continue };
            let Some(mut known) = self.opened(slot) else { return };
            let hash = hash_of(tenant, key as u8, value);
            if known.key(key as u8, hash, value) {
                carried.push(hash);
            }
        }
        carried.into_iter().for_each(|hash| self.index.carry(hash, slot));
        if let Some(trace) = self.traces.get_mut(slot) {
            // The values stand in the part already.
            let before = trace.cost();
            trace.leave(&mut self.names);
            self.bytes = self.bytes.saturating_sub(before - trace.cost());
        }
        let until = part.arrived.1.saturating_add(self.window_ns.saturating_mul(LATE_WINDOWS + 1));
        self.forget.push_back((until, slot, generation));
    }

    /// Bytes, open windows, records that wait, traces known.
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.bytes + self.names.bytes, self.open, self.records.len(), self.traces.len()]
    }
}
