//! Records without a trace id that wait for the trace that carries one of their keys, and how they find it.

use std::collections::VecDeque;

use crate::Evidence;
use crate::carriers::hash_of;
use crate::counters::add;
use crate::join::{self, Candidate};
use crate::keys::FoundIn;
use crate::loom::Loom;
use crate::window::{Joined, MAX_JOINED, Position, Waiting};

/// How long an amendment gathers before it is written, nanoseconds.
const AMEND_NS: i64 = 1_000_000_000;
/// A record is settled with a window that closes when it came so long before, at most, nanoseconds.
const SETTLE_NS: i64 = 5_000_000_000;

/// The records, by number, and in the order in which they give up.
#[derive(Debug, Default)]
pub(crate) struct Records {
    all: Vec<Option<Waiting>>,
    free: Vec<u32>,
    due: VecDeque<(i64, u32, Position)>,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    fn get(&self, number: u32) -> Option<&Waiting> {
        self.all.get(number as usize)?.as_ref()
    }

    /// A number for a record that comes.
    fn number(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            (self.all.len() - 1) as u32
        })
    }

    /// The next that has waited until `now`.
    pub(crate) fn next_due(&mut self, now: i64) -> Option<u32> {
        while let Some((deadline, number, at)) = self.due.front().copied() {
            if deadline > now {
                return None;
            }
            self.due.pop_front();
            if self.get(number).is_some_and(|w| w.at == at) {
                return Some(number);
            }
        }
        None
    }

    /// The requests that they stand in.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        self.all.iter().flatten().map(|w| w.at.sequence)
    }
}

impl Loom {
    /// Takes a record that has keys and no trace id.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        let number = self.records.number();
        let mut kept = false;
        for k in &waiting.keys {
            kept |= self.index.wait(hash_of(waiting.tenant, k.key, &k.value), number);
        }
        if !kept {
            self.records.free.push(number);
            add(&self.counters.shed_waiting, 1);
            return;
        }
        add(&self.counters.waited, 1);
        self.bytes += waiting.cost();
        self.records.due.push_back((waiting.received.saturating_add(self.window_ns), number, waiting.at));
        self.records.all[number as usize] = Some(waiting);
    }

    /// A window closes: the records that wait for its keys and have come a while ago find their traces now. `all`: the others too.
    pub(crate) fn settle(&mut self, slot: u32, all: bool) {
        let latest = self.clock.saturating_sub(SETTLE_NS.min(self.window_ns / 4));
        let Some(trace) = self.traces.get(slot) else { return };
        let waiting = trace.keys().flat_map(|(_, hash)| self.index.waiting(hash));
        let is_old = |number: &&u32| self.records.get(**number).is_some_and(|w| all || w.received <= latest);
        let mut settled: Vec<u32> = waiting.filter(is_old).copied().collect();
        settled.sort_unstable();
        settled.dedup();
        for number in settled {
            self.resolve(number, false);
        }
    }

    /// Looks for the trace of a record. `last`: it waits no longer, whatever is found.
    pub(crate) fn resolve(&mut self, number: u32, last: bool) {
        let Some(waiting) = self.records.get(number) else { return };
        let mut candidates: Vec<Candidate> = Vec::new();
        let values: Vec<(u8, u64)> = waiting.keys.iter().map(|k| (k.key, hash_of(waiting.tenant, k.key, &k.value))).collect();
        for (at, (_, hash)) in values.iter().enumerate() {
            let (traces, total) = self.index.traces(*hash);
            for slot in traces {
                let Some(trace) = self.traces.get(slot) else { continue };
                if !join::is_near(trace, waiting, self.window_ns) {
                    continue;
                }
                match candidates.iter_mut().find(|c| c.slot == slot) {
                    Some(c) => c.matches(at, total),
                    None => candidates.push(Candidate::new(slot, trace, waiting, &values, at, total)),
                }
            }
        }
        if candidates.is_empty() {
            if last {
                add(&self.counters.unmatched, 1);
                self.drop_waiting(number);
            }
            return;
        }
        let Some(waiting) = self.drop_waiting(number) else { return };
        let verdict = join::judge(candidates);
        add(if verdict.certain { &self.counters.joined } else { &self.counters.ambiguous }, 1);
        let total = verdict.total;
        for (rank, candidate) in verdict.candidates.into_iter().enumerate() {
            let key = waiting.keys.get(candidate.best_key());
            let (name, value, found) = key.map_or(("", "", FoundIn::Text), |k| {
                (self.key_names.get(k.key as usize).map_or("", String::as_str), &*k.value, waiting.found(k.key, &k.value))
            });
            let evidence = Evidence {
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
        if self.traces.get(slot).is_none_or(|t| self.is_joined(t.id, joined.at)) {
            return;
        }
        self.open(slot, self.clock.saturating_add(AMEND_NS.min(self.window_ns)), false);
        let Some(mut window) = self.opened(slot) else { return };
        if window.joined() >= MAX_JOINED {
            add(&self.counters.shed_joined, 1);
            return;
        }
        window.join(joined, received);
    }

    pub(crate) fn drop_waiting(&mut self, number: u32) -> Option<Waiting> {
        let waiting = self.records.all.get_mut(number as usize)?.take()?;
        self.records.free.push(number);
        self.bytes = self.bytes.saturating_sub(waiting.cost());
        for k in &waiting.keys {
            self.index.drop_record(hash_of(waiting.tenant, k.key, &k.value), number);
        }
        Some(waiting)
    }
}
