//! The loom: open windows, records that wait for their trace, and the traces that are known by their keys. No IO; time is what it
//! is told.
//!
//! # Invariants
//!
//! 1. *A window closes by arrival time alone.* A wrong clock harms nothing, a stopped stream closes.
//! 2. *A record is in one part only.* Parts of a trace cover ranges of the log that do not overlap; what a durable part covers is
//!    passed over when the log is read again ([`Loom::covered`]).
//! 3. *Memory is bounded.* Over the budget, what is known of closed traces goes first, then windows that join nothing (dropped and
//!    counted), then windows that join something (closed early), then records that wait.
//! 4. *Never a silent guess.* A record is joined for certain only where one trace comes into question; see [`crate::join`].

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use model::{SpanId, Tenant, TraceId};
use parking_lot::Mutex;
use store::deletes;
use wire::Signal;

use crate::counters::{Counters, add};
use crate::entity::{Entity, Overrides};
use crate::join::{self, Candidate};
use crate::keys::{Finder, Found};
use crate::registry::Registry;
use crate::sink::{Exemplars, HasExemplars, Logs, Origin, Spans};
use crate::window::{
    ExemplarRef, Joined, LogId, MAX_EXEMPLARS, MAX_JOINED, MAX_KEYS, MAX_LINKS, MAX_LOG_IDS, Part, Position, Waiting,
};
use crate::{Settings, Since};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Traces that a key remembers; of a key with more the latest are candidates.
pub(crate) const MAX_TRACES_OF_KEY: usize = 64;
/// Records that may wait for one key's traces.
const MAX_WAITING_OF_KEY: usize = 1024;
/// How long an amendment gathers before it is written, nanoseconds.
const AMEND_NS: i64 = 1_000_000_000;
/// A record's time may lie so far from its arrival, or from the trace's other times, nanoseconds.
const BELIEVED_NS: i64 = 3_600_000_000_000;
/// Windows that closed traces are remembered for, to tell what is late.
const LATE_WINDOWS: i64 = 5;
/// A window whose time counts from the last record lasts at most so many times its length.
const LONGEST: i64 = 10;

/// What a closed trace, and an open window, take beside what grows, bytes, roughly.
const KNOWN_COST: usize = 240;
const WINDOW_COST: usize = size_of::<Part>() + 200;
const KEY_COST: usize = 112;

#[derive(Debug)]
pub(crate) struct Known {
    tenant: u32,
    trace: TraceId,
    /// First and last time of its records.
    pub(crate) times: (i64, i64),
    /// First and last arrival.
    pub(crate) arrived: (i64, i64),
    /// Its keys, with a hash of each value.
    pub(crate) keys: Vec<(u8, u64)>,
    window: Option<Box<Part>>,
    deadline: i64,
    generation: u32,
    closed_before: bool,
    /// Bytes of its window beyond [`WINDOW_COST`].
    grown: usize,
}

#[derive(Debug)]
struct Bucket {
    /// The traces that carry the value, oldest first; at most [`MAX_TRACES_OF_KEY`].
    first: u32,
    more: Vec<u32>,
    /// All of them, also those that are no longer named.
    total: u32,
    waiting: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Bucket {
    fn traces(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.first).chain(self.more.iter().copied()).filter(|s| *s != NONE)
    }
}

/// What parts that are durable already cover: known after a restart, until the log has been read past it.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    /// Ranges of sequences of each trace.
    pub(crate) ranges: Map<(u32, TraceId), Vec<(u64, u64)>>,
    /// Records that were joined to a trace.
    pub(crate) joined: HashSet<(TraceId, Position), foldhash::fast::RandomState>,
    /// The last sequence in either.
    pub(crate) last: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Loom {
    window_ns: i64,
    settle_ns: i64,
    since: Since,
    memory: usize,
    key_names: Vec<String>,
    finder: Arc<Finder>,
    overrides: Arc<Overrides>,
    wire: wire::Limits,
    counters: Arc<Counters>,
    registry: Arc<Mutex<Registry>>,
    tenants: Vec<Tenant>,
    clock: i64,
    traces: Map<(u32, TraceId), u32>,
    known: Vec<Option<Known>>,
    free: Vec<u32>,
    generation: u32,
    due: BinaryHeap<Reverse<(i64, u32, u32)>>,
    forget: VecDeque<(i64, u32, u32)>,
    buckets: Map<u64, Bucket>,
    waiting: Vec<Option<Waiting>>,
    free_waiting: Vec<u32>,
    waiting_due: VecDeque<(i64, u32, Position)>,
    closed: Vec<(Tenant, Part)>,
    bytes: usize,
    open: usize,
    pub(crate) durable: Durable,
}

fn hash_of(tenant: u32, key: u8, value: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(value.as_bytes(), u64::from(tenant) << 8 | u64::from(key))
}

/// An open window, being filled.
pub(crate) struct Opened<'l> {
    known: &'l mut Known,
    bytes: &'l mut usize,
    received: i64,
}

impl Opened<'_> {
    fn part(&mut self) -> &mut Part {
        // Whoever made this opened a window.
        self.known.window.get_or_insert_with(|| Box::new(Part::new(self.known.trace)))
    }

    fn grow(&mut self, bytes: usize) {
        self.known.grown += bytes;
        *self.bytes += bytes;
    }

    pub(crate) fn time(&mut self, time: i64) {
        let (first, last) = self.known.times;
        let near_arrival = time.abs_diff(self.received) < BELIEVED_NS as u64;
        let near_others = first <= last && time.abs_diff(first) < BELIEVED_NS as u64 && time.abs_diff(last) < BELIEVED_NS as u64;
        // Old data that is sent again agrees with itself; what agrees with nothing is not believed.
        if !(near_arrival || near_others || first > last) {
            self.part().odd_times += 1;
            return;
        }
        self.known.times = (first.min(time), last.max(time));
        let part = self.part();
        part.times = (part.times.0.min(time), part.times.1.max(time));
    }

    pub(crate) fn span(&mut self, id: SpanId, failed: bool) {
        let part = self.part();
        part.spans += 1;
        part.errors += u64::from(failed);
        if part.links.len() < MAX_LINKS {
            part.links.push(id);
            self.grow(8);
        }
    }

    pub(crate) fn root(&mut self, service: &str, name: &str) {
        let part = self.part();
        if part.root.is_none() {
            let name = &name[..name.floor_char_boundary(256)];
            part.root = Some((service.to_owned(), name.to_owned()));
            self.grow(64 + service.len() + name.len());
        }
    }

    pub(crate) fn log(&mut self, id: LogId, failed: bool) {
        let part = self.part();
        part.logs += 1;
        part.error_logs += u64::from(failed);
        if part.log_ids.len() < MAX_LOG_IDS {
            part.log_ids.push(id);
            self.grow(16);
        }
    }

    pub(crate) fn exemplar(&mut self, metric: &str, service: &str, time: i64, value: f64) {
        let part = self.part();
        part.exemplar_count += 1;
        if part.exemplars.len() < MAX_EXEMPLARS {
            let metric = metric[..metric.floor_char_boundary(256)].to_owned();
            part.exemplars.push(ExemplarRef { metric, service: service.to_owned(), time, value });
            self.grow(160 + service.len());
        }
    }

    pub(crate) fn service(&mut self, name: &str) {
        let part = self.part();
        let before = part.services.len();
        part.service(name);
        if part.services.len() > before {
            self.grow(32 + name.len());
        }
    }
}

impl Loom {
    /// # Errors
    /// When the keys make no finder.
    pub(crate) fn new(settings: &Settings, counters: Arc<Counters>, registry: Arc<Mutex<Registry>>) -> Result<Self, String> {
        let window_ns = i64::try_from(settings.window.as_nanos()).unwrap_or(i64::MAX / 100).max(1);
        Ok(Self {
            window_ns,
            settle_ns: (window_ns / 4).min(5_000_000_000),
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
            traces: Map::default(),
            known: Vec::new(),
            free: Vec::new(),
            generation: 0,
            due: BinaryHeap::new(),
            forget: VecDeque::new(),
            buckets: Map::default(),
            waiting: Vec::new(),
            free_waiting: Vec::new(),
            waiting_due: VecDeque::new(),
            closed: Vec::new(),
            bytes: 0,
            open: 0,
            durable: Durable::default(),
        })
    }

    pub(crate) fn finder(&self) -> Arc<Finder> {
        Arc::clone(&self.finder)
    }

    pub(crate) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(crate) fn saw(&mut self, tenant: u32, entity: &Entity, from: &'static str) {
        let Some(name) = self.tenants.get(tenant as usize) else { return };
        self.registry.lock().saw(name, entity, from, self.clock);
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
        self.take_without(record, &[]);
    }

    /// Takes the rows of a request that later deletions left.
    pub(crate) fn take_without(&mut self, record: &store::Record, deleted: &[Arc<store::Tombstone>]) {
        let tenant = self.tenant(&record.tenant);
        let origin = Origin { tenant, sequence: record.sequence, received: record.received };
        self.advance(record.received);
        let limits = self.wire.clone();
        let outcome = match record.encoding.signal() {
            Signal::Traces => deletes::walk_spans(record, deleted, &limits, &mut Spans::new(self, origin)),
            Signal::Logs => deletes::walk_logs(record, deleted, &limits, &mut Logs::new(self, origin)),
            Signal::Metrics => {
                let mut has = HasExemplars::default();
                let first = deletes::walk_samples(record, deleted, &limits, &mut has);
                match first {
                    Ok(_) if has.0 => deletes::walk_samples(record, deleted, &limits, &mut Exemplars::new(self, origin)),
                    other => other,
                }
            }
        };
        match outcome {
            Ok(_) => add(&self.counters.records, 1),
            // Receivers have checked it: a damaged record of the log, most likely, which the store reports.
            Err(_) => add(&self.counters.unreadable, 1),
        }
        self.shed();
    }

    /// The window of a trace, opened where there is none; `None` where the record counts already.
    pub(crate) fn window(&mut self, origin: Origin, trace: TraceId) -> Option<Opened<'_>> {
        if trace.is_none() || self.is_durable(origin, trace) {
            return None;
        }
        let slot = self.slot_of(origin.tenant, trace);
        let late = self.known[slot as usize].as_ref().is_some_and(|k| k.window.is_none() && k.closed_before);
        self.open(slot, origin.received, self.window_ns);
        if late {
            add(&self.counters.late, 1);
        }
        let (window_ns, since) = (self.window_ns, self.since);
        let known = self.known[slot as usize].as_mut()?;
        known.arrived = (known.arrived.0.min(origin.received), known.arrived.1.max(origin.received));
        let part = known.window.as_mut()?;
        part.sequences = (part.sequences.0.min(origin.sequence), part.sequences.1.max(origin.sequence));
        part.lowest = part.lowest.min(origin.sequence);
        part.arrived = (part.arrived.0.min(origin.received), part.arrived.1.max(origin.received));
        if since == Since::Last {
            let longest = part.arrived.0.saturating_add(window_ns.saturating_mul(LONGEST));
            known.deadline = known.deadline.max(origin.received.saturating_add(window_ns)).min(longest);
        }
        Some(Opened { known, bytes: &mut self.bytes, received: origin.received })
    }

    fn is_durable(&self, origin: Origin, trace: TraceId) -> bool {
        if origin.sequence > self.durable.last || self.durable.ranges.is_empty() {
            return false;
        }
        let ranges = self.durable.ranges.get(&(origin.tenant, trace));
        ranges.is_some_and(|r| r.iter().any(|(first, last)| (*first..=*last).contains(&origin.sequence)))
    }

    fn slot_of(&mut self, tenant: u32, trace: TraceId) -> u32 {
        if let Some(slot) = self.traces.get(&(tenant, trace)) {
            return *slot;
        }
        self.generation = self.generation.wrapping_add(1);
        let known = Known {
            tenant,
            trace,
            times: (i64::MAX, i64::MIN),
            arrived: (i64::MAX, i64::MIN),
            keys: Vec::new(),
            window: None,
            deadline: 0,
            generation: self.generation,
            closed_before: false,
            grown: 0,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.known[slot as usize] = Some(known);
                slot
            }
            None => {
                self.known.push(Some(known));
                (self.known.len() - 1) as u32
            }
        };
        self.traces.insert((tenant, trace), slot);
        self.bytes += KNOWN_COST;
        slot
    }

    /// Opens a window that lasts `length` from `now`, if there is none.
    fn open(&mut self, slot: u32, now: i64, length: i64) {
        let Some(known) = self.known[slot as usize].as_mut() else { return };
        if known.window.is_some() {
            return;
        }
        let mut part = Box::new(Part::new(known.trace));
        part.late = known.closed_before;
        known.window = Some(part);
        known.deadline = now.saturating_add(length);
        self.due.push(Reverse((known.deadline, slot, known.generation)));
        self.bytes += WINDOW_COST;
        self.open += 1;
    }

    /// Notes the keys of a record that belongs to a trace.
    pub(crate) fn keys(&mut self, origin: Origin, trace: TraceId, found: &Found<'_>) {
        if found.keys.is_empty() {
            return;
        }
        let Some(slot) = self.traces.get(&(origin.tenant, trace)).copied() else { return };
        for found in &found.keys {
            let hash = hash_of(origin.tenant, found.key, &found.value);
            let Some(known) = self.known[slot as usize].as_mut() else { return };
            if known.keys.len() >= MAX_KEYS || known.keys.iter().any(|(_, h)| *h == hash) {
                continue;
            }
            known.keys.push((found.key, hash));
            if let (Some(part), Some(name)) = (known.window.as_mut(), self.key_names.get(found.key as usize)) {
                part.keys.push((name.clone(), found.value.clone().into_owned()));
            }
            let cost = KEY_COST + found.value.len();
            known.grown += cost;
            self.bytes += cost;
            let bucket = bucket(&mut self.buckets, hash);
            bucket.total = bucket.total.saturating_add(1);
            if bucket.first == NONE && bucket.more.is_empty() {
                bucket.first = slot;
            } else {
                bucket.more.push(slot);
                if bucket.more.len() >= MAX_TRACES_OF_KEY {
                    bucket.first = bucket.more.remove(0);
                }
            }
        }
    }

    /// Takes a record that has keys and no trace id.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        let slot = match self.free_waiting.pop() {
            Some(slot) => slot,
            None => {
                self.waiting.push(None);
                (self.waiting.len() - 1) as u32
            }
        };
        let mut kept = false;
        for k in &waiting.keys {
            let bucket = bucket(&mut self.buckets, hash_of(waiting.tenant, k.key, &k.value));
            if bucket.waiting.len() < MAX_WAITING_OF_KEY {
                bucket.waiting.push(slot);
                kept = true;
            }
        }
        if !kept {
            self.free_waiting.push(slot);
            add(&self.counters.shed_waiting, 1);
            return;
        }
        add(&self.counters.waited, 1);
        self.bytes += waiting.cost();
        self.waiting_due.push_back((waiting.received.saturating_add(self.window_ns), slot, waiting.at));
        self.waiting[slot as usize] = Some(waiting);
    }

    /// It is `now`: closes what is due.
    pub(crate) fn advance(&mut self, now: i64) {
        self.clock = self.clock.max(now);
        while let Some(Reverse((deadline, slot, generation))) = self.due.peek().copied() {
            if deadline > self.clock {
                break;
            }
            self.due.pop();
            let Some(known) = self.known[slot as usize].as_ref() else { continue };
            if known.generation != generation || known.window.is_none() {
                continue;
            }
            if known.deadline > self.clock {
                self.due.push(Reverse((known.deadline, slot, generation)));
                continue;
            }
            self.close(slot, false);
        }
        while let Some((deadline, slot, at)) = self.waiting_due.front().copied() {
            if deadline > self.clock {
                break;
            }
            self.waiting_due.pop_front();
            if self.waiting[slot as usize].as_ref().is_some_and(|w| w.at == at) {
                self.resolve(slot, true);
            }
        }
        while let Some((at, slot, generation)) = self.forget.front().copied() {
            if at > self.clock {
                break;
            }
            self.forget.pop_front();
            if self.known[slot as usize].as_ref().is_some_and(|k| k.generation == generation && k.window.is_none()) {
                self.forget_trace(slot);
            }
        }
    }

    fn close(&mut self, slot: u32, early: bool) {
        let Some(known) = self.known[slot as usize].as_ref() else { return };
        let latest = self.clock.saturating_sub(self.settle_ns);
        let mut settled: Vec<u32> = Vec::new();
        for (_, hash) in &known.keys {
            let Some(bucket) = self.buckets.get(hash) else { continue };
            let old = |s: &&u32| self.waiting[**s as usize].as_ref().is_some_and(|w| early || w.received <= latest);
            settled.extend(bucket.waiting.iter().filter(old));
        }
        settled.sort_unstable();
        settled.dedup();
        for waiting in settled {
            self.resolve(waiting, false);
        }
        let Some(known) = self.known[slot as usize].as_mut() else { return };
        let Some(mut part) = known.window.take() else { return };
        // The keys stay known; the rest goes with the window.
        let keys: usize = part.keys.iter().map(|(_, v)| KEY_COST + v.len()).sum();
        let gone = WINDOW_COST + known.grown.saturating_sub(keys);
        known.grown = known.grown.min(keys);
        self.bytes = self.bytes.saturating_sub(gone);
        known.closed_before = true;
        self.generation = self.generation.wrapping_add(1);
        known.generation = self.generation;
        let until = self.clock.saturating_add(self.window_ns.saturating_mul(LATE_WINDOWS));
        self.forget.push_back((until, slot, known.generation));
        part.early = early;
        self.open -= 1;
        let tenant = self.tenants.get(known.tenant as usize).cloned().unwrap_or_default();
        self.closed.push((tenant, *part));
    }

    fn forget_trace(&mut self, slot: u32) {
        let Some(known) = self.known[slot as usize].take() else { return };
        self.free.push(slot);
        self.traces.remove(&(known.tenant, known.trace));
        let window = if known.window.is_some() { WINDOW_COST } else { 0 };
        self.open -= usize::from(known.window.is_some());
        self.bytes = self.bytes.saturating_sub(KNOWN_COST + known.grown + window);
        for (_, hash) in known.keys {
            let Some(bucket) = self.buckets.get_mut(&hash) else { continue };
            bucket.total = bucket.total.saturating_sub(1);
            if bucket.first == slot {
                bucket.first = NONE;
            }
            bucket.more.retain(|s| *s != slot);
            if bucket.traces().next().is_none() && bucket.waiting.is_empty() {
                self.buckets.remove(&hash);
            }
        }
    }

    /// Looks for the trace of a record that waits. `last`: it waits no longer, whatever is found.
    fn resolve(&mut self, slot: u32, last: bool) {
        let Some(waiting) = self.waiting[slot as usize].as_ref() else { return };
        let mut candidates: Vec<Candidate> = Vec::new();
        let values: Vec<(u8, u64)> = waiting.keys.iter().map(|k| (k.key, hash_of(waiting.tenant, k.key, &k.value))).collect();
        for (at, (_, hash)) in values.iter().enumerate() {
            let Some(bucket) = self.buckets.get(hash) else { continue };
            for trace in bucket.traces() {
                let Some(known) = self.known[trace as usize].as_ref() else { continue };
                if join::arrival_distance(known.arrived, waiting.received) > self.window_ns {
                    continue;
                }
                match candidates.iter_mut().find(|c| c.slot == trace) {
                    Some(c) => c.matches(at, bucket.total),
                    None => candidates.push(Candidate::new(trace, known, waiting, &values, at, bucket.total)),
                }
            }
        }
        if candidates.is_empty() {
            if last {
                add(&self.counters.unmatched, 1);
                self.drop_waiting(slot);
            }
            return;
        }
        let Some(waiting) = self.drop_waiting(slot) else { return };
        let verdict = join::judge(candidates);
        add(if verdict.certain { &self.counters.joined } else { &self.counters.ambiguous }, 1);
        let total = verdict.total;
        for (rank, candidate) in verdict.candidates.into_iter().enumerate() {
            let key = waiting.keys.get(candidate.best_key());
            let (name, value, found) = key.map_or(("", "", crate::keys::FoundIn::Text), |k| {
                (self.key_names.get(k.key as usize).map_or("", String::as_str), &*k.value, waiting.found(k.key, &k.value))
            });
            let evidence = crate::Evidence {
                key: name.to_owned(),
                value: value.to_owned(),
                found: found.as_str().to_owned(),
                score: candidate.score(),
                rank: rank as u32 + 1,
                candidates: total,
                distance: candidate.distance,
                notes: candidate.notes(),
            };
            let joined = Joined {
                at: waiting.at,
                log: waiting.log,
                service: waiting.service.clone(),
                host: waiting.host.clone(),
                severity: waiting.severity.clone(),
                line: waiting.line.clone(),
                certain: verdict.certain,
                evidence,
            };
            self.attach(candidate.slot, joined, waiting.received);
        }
    }

    fn attach(&mut self, slot: u32, joined: Joined, received: i64) {
        let Some(known) = self.known[slot as usize].as_ref() else { return };
        if joined.at.sequence <= self.durable.last && self.durable.joined.contains(&(known.trace, joined.at)) {
            return;
        }
        self.open(slot, self.clock, AMEND_NS.min(self.window_ns));
        let Some(known) = self.known[slot as usize].as_mut() else { return };
        let Some(part) = known.window.as_mut() else { return };
        if part.joined.len() >= MAX_JOINED {
            add(&self.counters.shed_joined, 1);
            return;
        }
        if joined.certain {
            part.service(&joined.service);
        }
        part.lowest = part.lowest.min(joined.at.sequence);
        part.arrived = (part.arrived.0.min(received), part.arrived.1.max(received));
        let cost = 320 + joined.line.len() + joined.service.len();
        known.grown += cost;
        self.bytes += cost;
        part.joined.push(joined);
    }

    fn drop_waiting(&mut self, slot: u32) -> Option<Waiting> {
        let waiting = self.waiting[slot as usize].take()?;
        self.free_waiting.push(slot);
        self.bytes = self.bytes.saturating_sub(waiting.cost());
        for k in &waiting.keys {
            let hash = hash_of(waiting.tenant, k.key, &k.value);
            let Some(bucket) = self.buckets.get_mut(&hash) else { continue };
            bucket.waiting.retain(|s| *s != slot);
            if bucket.waiting.is_empty() && bucket.traces().next().is_none() {
                self.buckets.remove(&hash);
            }
        }
        Some(waiting)
    }

    /// Comes back under the budget.
    fn shed(&mut self) {
        if self.bytes <= self.memory {
            return;
        }
        let enough = self.memory - self.memory / 8;
        while self.bytes > enough {
            if let Some((_, slot, generation)) = self.forget.pop_front() {
                let closed = self.known[slot as usize].as_ref();
                if closed.is_some_and(|k| k.generation == generation && k.window.is_none()) {
                    add(&self.counters.forgotten_early, 1);
                    self.forget_trace(slot);
                }
            } else if let Some(Reverse((_, slot, generation))) = self.due.pop() {
                let Some(known) = self.known[slot as usize].as_ref().filter(|k| k.generation == generation) else { continue };
                let Some(part) = known.window.as_ref() else { continue };
                if part.joins() || !known.keys.is_empty() {
                    add(&self.counters.closed_early, 1);
                    self.close(slot, true);
                } else {
                    add(&self.counters.shed_windows, 1);
                    add(&self.counters.shed_records, part.spans + part.logs + part.exemplar_count);
                    self.forget_trace(slot);
                }
            } else if let Some((_, slot, at)) = self.waiting_due.pop_front() {
                if self.waiting[slot as usize].as_ref().is_some_and(|w| w.at == at) {
                    add(&self.counters.shed_waiting, 1);
                    self.drop_waiting(slot);
                }
            } else {
                break;
            }
        }
    }

    /// What has closed since it was asked last.
    pub(crate) fn take_closed(&mut self) -> Vec<(Tenant, Part)> {
        std::mem::take(&mut self.closed)
    }

    /// The log up to here is no longer needed once what has closed is durable; `next` is the first sequence not yet taken.
    pub(crate) fn safe_through(&self, next: u64) -> u64 {
        let windows = self.known.iter().flatten().filter_map(|k| k.window.as_ref()).map(|p| p.lowest);
        let waiting = self.waiting.iter().flatten().map(|w| w.at.sequence);
        windows.chain(waiting).fold(next, u64::min).saturating_sub(1)
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
        let Some(known) = self.known[slot as usize].as_mut() else { return };
        known.closed_before = true;
        known.times = (known.times.0.min(part.times.0), known.times.1.max(part.times.1));
        known.arrived = (known.arrived.0.min(part.arrived.0), known.arrived.1.max(part.arrived.1));
        let until = part.arrived.1.saturating_add(self.window_ns.saturating_mul(LATE_WINDOWS + 1));
        self.forget.push_back((until, slot, known.generation));
        let numbers: Vec<(u8, &str)> = (part.keys.iter())
            .filter_map(|(n, v)| Some((self.key_names.iter().position(|k| k == n)? as u8, v.as_str())))
            .collect();
        let keys = numbers.into_iter().map(|(key, value)| crate::keys::KeyValue {
            key,
            value: value.into(),
            found: crate::keys::FoundIn::Attribute,
        });
        let found = Found { keys: keys.collect(), ..Found::default() };
        self.keys(Origin { tenant, sequence: 0, received: 0 }, part.trace, &found);
    }

    /// Bytes, open windows, records that wait, traces known.
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.bytes, self.open, self.waiting.len() - self.free_waiting.len(), self.traces.len()]
    }
}

fn bucket(buckets: &mut Map<u64, Bucket>, hash: u64) -> &mut Bucket {
    buckets.entry(hash).or_insert_with(|| Bucket { first: NONE, more: Vec::new(), total: 0, waiting: Vec::new() })
}
