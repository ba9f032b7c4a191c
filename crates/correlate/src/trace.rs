//! What is known of one trace while its window is open, and a while after: small, since there are many of them.

use std::sync::Arc;

use model::TraceId;

use crate::names::{Name, Names};
use crate::window::{ExemplarRef, Joined, LogId, MAX_EXEMPLARS, MAX_KEYS, MAX_LOG_IDS, MAX_SERVICES, Part};

/// A record's time may lie so far from its arrival, or from the trace's other times, nanoseconds.
const BELIEVED_NS: u64 = 3_600_000_000_000;
/// Services that find room without more memory.
const INLINE: usize = 6;

/// What a trace takes beside what grows, bytes, roughly: with its places in the index and in the queue.
pub(crate) const TRACE_COST: usize = size_of::<Option<Trace>>() + 32;
const EXTRA_COST: usize = size_of::<Extra>() + 16;
/// What a key takes in the index of keys, and what it takes here while the window is open.
const INDEX_COST: usize = 40;
const VALUE_COST: usize = 64;

/// Whether a time lies so near to the arrival that it is believed.
#[inline]
pub(crate) fn is_near(time: i64, received: i64) -> bool {
    time.abs_diff(received) < BELIEVED_NS
}

/// One trace. Counts, times and services are those of its last window.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) tenant: u32,
    pub(crate) generation: u32,
    /// First and last time that its records name; the first is larger where none does.
    pub(crate) times: (i64, i64),
    /// First and last arrival.
    pub(crate) arrived: (i64, i64),
    /// First request of the log with records that carry its id, and how many further ones the last is away; `u64::MAX` for none.
    pub(crate) first: u64,
    reach: u32,
    spans: u32,
    logs: u32,
    errors: u32,
    error_logs: u32,
    exemplars: u32,
    services: [Name; INLINE],
    root: (Name, Name),
    /// Its window is open.
    pub(crate) open: bool,
    /// An earlier window of it had closed.
    pub(crate) late: bool,
    /// A record carries its id as such: lines that only mention the id in their text make no event by themselves.
    anchored: bool,
    /// Its first key, and a hash of the key's value: 0 for none. Most have one at most.
    key: u8,
    value: u64,
    extra: Option<Box<Extra>>,
}

/// What only few traces have.
#[derive(Debug, Default)]
struct Extra {
    /// Further keys, with a hash of each value: kept after the window.
    keys: Vec<(u8, u64)>,
    /// Values of all keys that this window brought.
    values: Vec<(u8, Box<str>)>,
    services: Vec<Name>,
    log_ids: Vec<LogId>,
    exemplars: Vec<ExemplarRef>,
    joined: Vec<Joined>,
    odd_times: u32,
    /// Bytes beyond [`TRACE_COST`].
    cost: usize,
}

impl Trace {
    pub(crate) fn new(tenant: u32, id: TraceId, generation: u32) -> Self {
        Self {
            id,
            tenant,
            generation,
            times: (i64::MAX, i64::MIN),
            arrived: (i64::MAX, i64::MIN),
            first: u64::MAX,
            reach: 0,
            spans: 0,
            logs: 0,
            errors: 0,
            error_logs: 0,
            exemplars: 0,
            services: [Name::default(); INLINE],
            root: Default::default(),
            open: false,
            late: false,
            anchored: false,
            key: 0,
            value: 0,
            extra: None,
        }
    }

    /// Begins a window; what an earlier one counted is gone.
    pub(crate) fn begin(&mut self) {
        self.open = true;
        if self.late {
            // An earlier window took its counts with it; its times stay until there are new ones.
            (self.first, self.reach) = (u64::MAX, 0);
        }
    }

    /// A record of request `sequence` that arrived at `received` carries its id.
    pub(crate) fn arrive(&mut self, sequence: u64, received: i64, as_such: bool) {
        let (first, last) = self.sequences();
        let (first, last) = (first.min(sequence), last.max(sequence));
        if self.late && self.first == u64::MAX {
            self.arrived = (received, received);
            self.times = (i64::MAX, i64::MIN);
        }
        self.first = first;
        self.reach = u32::try_from(last - first).unwrap_or(u32::MAX);
        self.arrived = (self.arrived.0.min(received), self.arrived.1.max(received));
        self.anchored |= as_such;
    }

    /// First and last request of the log with records that carry its id; `(u64::MAX, 0)` for none.
    fn sequences(&self) -> (u64, u64) {
        if self.first == u64::MAX { (u64::MAX, 0) } else { (self.first, self.first + u64::from(self.reach)) }
    }

    /// The least request that is still needed for its window.
    pub(crate) fn lowest(&self) -> u64 {
        let joined = self.extra.iter().flat_map(|e| &e.joined).map(|j| j.at.sequence);
        joined.fold(self.first, u64::min)
    }

    /// Its keys, with a hash of each value.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        let first = (self.value != 0).then_some((self.key, self.value));
        first.into_iter().chain(self.extra.iter().flat_map(|e| e.keys.iter().copied()))
    }

    /// Bytes that it takes.
    pub(crate) fn cost(&self) -> usize {
        let key = if self.value == 0 { 0 } else { INDEX_COST };
        TRACE_COST + key + self.extra.as_ref().map_or(0, |e| e.cost)
    }

    /// Records that it counts.
    pub(crate) fn records(&self) -> u64 {
        u64::from(self.spans) + u64::from(self.logs) + u64::from(self.exemplars)
    }

    fn signals(&self) -> u32 {
        u32::from(self.spans > 0) + u32::from(self.logs > 0) + u32::from(self.exemplars > 0)
    }

    /// Whether its event joins two signals, two services, or a record by a key, or may be found by a key.
    pub(crate) fn tells(&self) -> bool {
        let extra = self.extra.as_ref();
        self.value != 0
            || extra.is_some_and(|e| !e.joined.is_empty())
            || self.anchored && (self.signals() > 1 || !self.services[1].is_none())
    }

    /// Its window as a part, which it leaves; what is known of it stays.
    pub(crate) fn close(&mut self, names: &mut Names, key_names: &[String]) -> Part {
        let mut part = Part::new(self.id);
        part.sequences = self.sequences();
        part.lowest = self.lowest();
        part.arrived = self.arrived;
        part.times = self.times;
        part.spans = self.spans.into();
        part.logs = self.logs.into();
        part.errors = self.errors.into();
        part.error_logs = self.error_logs.into();
        part.exemplar_count = self.exemplars.into();
        part.late = self.late;
        let (service, name) = self.root;
        if !service.is_none() || !name.is_none() {
            part.root = Some((Arc::clone(names.text(service)), Arc::clone(names.text(name))));
        }
        let mut extra = self.extra.take();
        let more = extra.iter().flat_map(|e| &e.services);
        part.services = self.services.iter().chain(more).filter(|s| !s.is_none()).map(|s| Arc::clone(names.text(*s))).collect();
        if let Some(extra) = &mut extra {
            part.odd_times = extra.odd_times.into();
            let values = std::mem::take(&mut extra.values).into_iter();
            part.keys = values.filter_map(|(k, v)| Some((key_names.get(usize::from(k))?.clone(), v.into()))).collect();
            part.log_ids = std::mem::take(&mut extra.log_ids);
            part.exemplars = std::mem::take(&mut extra.exemplars);
            let joined = std::mem::take(&mut extra.joined);
            joined.iter().filter(|j| j.certain).for_each(|j| part.service(&j.service));
            part.joined = joined;
        }
        self.extra = extra;
        self.leave(names);
        part
    }

    /// Ends the window, without a part.
    pub(crate) fn leave(&mut self, names: &mut Names) {
        for name in std::mem::take(&mut self.services).into_iter().chain([self.root.0, self.root.1]) {
            names.release(name);
        }
        self.root = Default::default();
        if let Some(extra) = self.extra.take() {
            extra.services.iter().for_each(|name| names.release(*name));
            if !extra.keys.is_empty() {
                let cost = EXTRA_COST + extra.keys.len() * INDEX_COST;
                self.extra = Some(Box::new(Extra { keys: extra.keys, cost, ..Extra::default() }));
            }
        }
        (self.spans, self.logs, self.errors, self.error_logs, self.exemplars) = (0, 0, 0, 0, 0);
        (self.open, self.late, self.anchored) = (false, true, false);
        (self.first, self.reach) = (u64::MAX, 0);
    }
}

/// An open window, being filled.
pub(crate) struct Opened<'l> {
    pub(crate) trace: &'l mut Trace,
    pub(crate) names: &'l mut Names,
    /// Bytes of all traces.
    pub(crate) bytes: &'l mut usize,
}

impl Opened<'_> {
    /// What only few traces have, with room for `bytes` more.
    fn extra(&mut self, bytes: usize) -> &mut Extra {
        let cost = bytes + if self.trace.extra.is_none() { EXTRA_COST } else { 0 };
        *self.bytes += cost;
        let extra = self.trace.extra.get_or_insert_default();
        extra.cost += cost;
        extra
    }

    pub(crate) fn time(&mut self, time: i64, received: i64) {
        let (first, last) = self.trace.times;
        let near_arrival = is_near(time, received);
        let near_others = first <= last && time.abs_diff(first) < BELIEVED_NS && time.abs_diff(last) < BELIEVED_NS;
        // Old data that is sent again agrees with itself; what agrees with nothing is not believed.
        if near_arrival || near_others || first > last {
            self.trace.times = (first.min(time), last.max(time));
        } else {
            let extra = self.extra(0);
            extra.odd_times = extra.odd_times.saturating_add(1);
        }
    }

    /// Spans, and how many of them failed.
    pub(crate) fn spans(&mut self, spans: u32, failed: u32) {
        self.trace.spans = self.trace.spans.saturating_add(spans);
        self.trace.errors = self.trace.errors.saturating_add(failed);
    }

    pub(crate) fn root(&mut self, service: Name, name: &str) {
        if self.trace.root.1.is_none() {
            self.names.release(self.trace.root.0);
            self.trace.root = (self.names.again(service), self.names.hold(name));
        }
    }

    /// Lines that need not be named, and how many of them failed.
    pub(crate) fn lines(&mut self, lines: u32, failed: u32) {
        self.trace.logs = self.trace.logs.saturating_add(lines);
        self.trace.error_logs = self.trace.error_logs.saturating_add(failed);
    }

    /// Whether lines are named: of a trace that some record carries the id of as such the first are.
    pub(crate) fn names_lines(&self) -> bool {
        self.trace.anchored
    }

    /// A line.
    pub(crate) fn log(&mut self, id: impl FnOnce() -> LogId, failed: bool) {
        self.lines(1, failed.into());
        let named = self.trace.extra.as_ref().map_or(0, |e| e.log_ids.len());
        if self.names_lines() && named < MAX_LOG_IDS {
            self.extra(size_of::<LogId>() * 2).log_ids.push(id());
        }
    }

    pub(crate) fn exemplar(&mut self, metric: &str, service: &str, time: i64, value: f64) {
        self.trace.exemplars = self.trace.exemplars.saturating_add(1);
        if self.trace.extra.as_ref().is_none_or(|e| e.exemplars.len() < MAX_EXEMPLARS) {
            let metric = metric[..metric.floor_char_boundary(256)].to_owned();
            let exemplar = ExemplarRef { metric, service: service.to_owned(), time, value };
            self.extra(160 + service.len()).exemplars.push(exemplar);
        }
    }

    #[inline]
    pub(crate) fn service(&mut self, name: Name) {
        if name.is_none() {
            return;
        }
        for place in &mut self.trace.services {
            if *place == name {
                return;
            }
            if place.is_none() {
                *place = self.names.again(name);
                return;
            }
        }
        let more = self.trace.extra.as_ref().map_or(&[][..], |e| &e.services);
        if !more.contains(&name) && INLINE + more.len() < MAX_SERVICES {
            let name = self.names.again(name);
            self.extra(4).services.push(name);
        }
    }

    /// A key with a hash of its value; says whether it is new.
    pub(crate) fn key(&mut self, key: u8, hash: u64, value: &str) -> bool {
        if self.trace.keys().any(|(_, known)| known == hash) || self.trace.keys().count() >= MAX_KEYS || hash == 0 {
            return false;
        }
        let is_first = self.trace.value == 0;
        *self.bytes += if is_first { INDEX_COST } else { 0 };
        let extra = self.extra(VALUE_COST + value.len() + if is_first { 0 } else { INDEX_COST });
        extra.values.push((key, value.into()));
        if is_first {
            (self.trace.key, self.trace.value) = (key, hash);
        } else {
            extra.keys.push((key, hash));
        }
        true
    }

    /// A record that was joined by a key.
    pub(crate) fn join(&mut self, joined: Joined, received: i64) {
        self.trace.arrived = (self.trace.arrived.0.min(received), self.trace.arrived.1.max(received));
        self.extra(320 + joined.line.len() + joined.service.len()).joined.push(joined);
    }

    pub(crate) fn joined(&self) -> usize {
        self.trace.extra.as_ref().map_or(0, |e| e.joined.len())
    }
}
