//! Which trace a record without a trace id belongs to: candidates, scores, verdict.
//!
//! A candidate is a trace that carries the same value of a business key and is near: whose records arrived within a window of the
//! record, or are of within a window of it.
//! Its score: for each value that both carry, one divided by the number of traces that carry it; times how near it is in time (by
//! the record's own clock and by arrival, half each, so that a clock that is wrong by seconds decides nothing); a quarter of that
//! where another key of the record has a value that the trace contradicts. Scores of all candidates sum to 1.
//!
//! *Certain* is only what leaves no choice: one candidate that nothing contradicts, or one that alone carries one of the record's values.
//! Everything else is ambiguous: the best three are kept as candidates, none of them is the answer.

use std::collections::HashMap;

use crate::carriers::MAX_TRACES_OF_KEY;
use crate::trace::Trace;
use crate::window::Waiting;

/// Distance at which nearness in time is one half, nanoseconds.
const SCALE_NS: f64 = 1e9;
/// Candidates that are kept of an ambiguous record.
const KEPT: usize = 3;

/// A trace that may be the record's.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) slot: u32,
    /// Nanoseconds between the record's time and the trace's.
    pub(crate) distance: i64,
    nearness: f64,
    /// Matching keys (positions in the record), with how many traces carry the value.
    matching: Vec<(usize, u32)>,
    contradicted: bool,
    raw: f64,
    share: f64,
}

/// Nanoseconds between a moment and a range of time; 0 inside.
fn distance((first, last): (i64, i64), at: i64) -> i64 {
    if first > last {
        return i64::MAX;
    }
    first.saturating_sub(at).max(at.saturating_sub(last)).max(0)
}

/// Whether a trace comes into question at all: its records arrived within a window of the record, or say that they are of within a
/// window of it; the first where a clock is wrong, the second where a record is late.
pub(crate) fn is_near(trace: &Trace, waiting: &Waiting, window: i64) -> bool {
    arrival_distance(trace.arrived, waiting.received) <= window || distance(trace.times, waiting.log.time) <= window
}

/// Nanoseconds between a record's arrival and a trace's.
fn arrival_distance(arrived: (i64, i64), received: i64) -> i64 {
    if arrived.0 > arrived.1 { 0 } else { distance(arrived, received) }
}

fn near(distance: i64) -> f64 {
    let d = distance as f64 / SCALE_NS;
    1.0 / (1.0 + d * d)
}

impl Candidate {
    pub(crate) fn new(
        slot: u32,
        known: &Trace,
        waiting: &Waiting,
        values: &[(u8, u64)],
        matching: usize,
        shared_by: u32,
    ) -> Self {
        let by_clock = distance(known.times, waiting.log.time);
        let by_arrival = arrival_distance(known.arrived, waiting.received);
        // The trace has the key, but none of the record's values of it.
        let contradicts = |(key, hash): &(u8, u64)| {
            let mut same = known.keys().filter(|(k, _)| k == key).peekable();
            same.peek().is_some() && same.all(|(_, h)| h != *hash) && values.iter().filter(|(k, _)| k == key).count() == 1
        };
        Self {
            slot,
            distance: by_clock,
            nearness: 0.5 * near(by_clock) + 0.5 * near(by_arrival),
            matching: vec![(matching, shared_by)],
            contradicted: values.iter().any(contradicts),
            raw: 0.0,
            share: 0.0,
        }
    }

    pub(crate) fn matches(&mut self, key: usize, shared_by: u32) {
        self.matching.push((key, shared_by));
    }

    /// Position of the matching key that fewest traces share.
    pub(crate) fn best_key(&self) -> usize {
        self.matching.iter().min_by_key(|(_, shared)| *shared).map_or(0, |(key, _)| *key)
    }

    /// 0 to 1.
    pub(crate) fn score(&self) -> f64 {
        (self.share * 1e4).round() / 1e4
    }

    /// What spoke for it and against it.
    pub(crate) fn notes(&self) -> String {
        let shared = self.matching.iter().map(|(_, shared)| *shared).min().unwrap_or(0);
        let mut notes = format!(
            "{} matching key{}; the rarest value is carried by {shared} trace{}; nearness in time {:.2}",
            self.matching.len(),
            if self.matching.len() == 1 { "" } else { "s" },
            if shared == 1 { "" } else { "s" },
            self.nearness,
        );
        if self.contradicted {
            notes.push_str("; another key contradicts");
        }
        notes
    }

    fn is_unique(&self) -> bool {
        self.matching.iter().any(|(_, shared)| *shared == 1)
    }
}

/// What is held of a record.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whether the first candidate is its trace.
    pub(crate) certain: bool,
    /// Best first.
    pub(crate) candidates: Vec<Candidate>,
    /// How many there were.
    pub(crate) total: u32,
}

/// Weighs candidates, of which there is at least one.
pub(crate) fn judge(mut candidates: Vec<Candidate>) -> Verdict {
    // Only traces near in time share a value; of one that more traces carry than are remembered all count.
    let mut carriers: HashMap<usize, u32> = HashMap::new();
    candidates.iter().flat_map(|c| &c.matching).for_each(|(key, _)| *carriers.entry(*key).or_default() += 1);
    for (key, shared) in candidates.iter_mut().flat_map(|c| &mut c.matching) {
        if *shared as usize <= MAX_TRACES_OF_KEY {
            *shared = carriers.get(key).copied().unwrap_or(1);
        }
    }
    for c in &mut candidates {
        let keys: f64 = c.matching.iter().map(|(_, shared)| 1.0 / f64::from((*shared).max(1))).sum();
        c.raw = keys * c.nearness.max(1e-6) * if c.contradicted { 0.25 } else { 1.0 };
    }
    let sum: f64 = candidates.iter().map(|c| c.raw).sum();
    candidates.iter_mut().for_each(|c| c.share = if sum > 0.0 { c.raw / sum } else { 0.0 });
    candidates.sort_by(|a, b| b.raw.total_cmp(&a.raw).then(a.slot.cmp(&b.slot)));
    let total = candidates.len() as u32;
    let unique: Vec<usize> = (0..candidates.len()).filter(|i| candidates[*i].is_unique()).collect();
    let decided = match unique[..] {
        [one] if !candidates[one].contradicted => Some(one),
        _ => None,
    };
    if let Some(at) = decided {
        return Verdict { certain: true, candidates: vec![candidates.swap_remove(at)], total };
    }
    candidates.truncate(KEPT);
    Verdict { certain: false, candidates, total }
}
