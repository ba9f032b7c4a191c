//! Runs of floats as they were decoded last, as many as the budget allows: decoding costs ten times what copying costs.
//!
//! Only whole runs without start timestamps are kept. Each part of the cache goes round its runs and drops the first that
//! was not used since it last came by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::RwLock;

/// Which run: of which segment, the how-manieth.
pub(super) type RunKey = (u64, u32);

const PARTS: usize = 16;
/// Bytes that a run costs besides its values.
const OVERHEAD: usize = 96;
/// What nobody asked for so long is let go.
const IDLE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Held {
    values: Arc<[f64]>,
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Shelf {
    runs: HashMap<RunKey, Held>,
    round: VecDeque<RunKey>,
    bytes: usize,
}

/// Decoded runs.
#[derive(Debug)]
pub(super) struct DecodedCache {
    parts: [RwLock<Shelf>; PARTS],
    limit: usize,
    began: Instant,
    /// Seconds after `began` when something was last asked for, 0 for never.
    asked: AtomicU64,
}

impl Shelf {
    /// Goes by a run that is out of the round: back into it if it was used meanwhile, else it is dropped.
    fn pass(&mut self, key: RunKey) {
        if self.runs.get(&key).is_some_and(|h| h.used.swap(false, Ordering::Relaxed)) {
            self.round.push_back(key);
        } else if let Some(dropped) = self.runs.remove(&key) {
            self.bytes -= size_of_val(&*dropped.values) + OVERHEAD;
        }
    }
}

impl DecodedCache {
    /// A cache of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { parts: Default::default(), limit, began: Instant::now(), asked: AtomicU64::new(0) }
    }

    /// Whether a query that reads so many samples may fill the cache; larger ones would only empty it for others.
    pub(super) fn admits(&self, samples: u64) -> bool {
        self.asked.store(self.began.elapsed().as_secs().max(1), Ordering::Relaxed);
        samples.saturating_mul(8) <= (self.limit / 2) as u64
    }

    fn part(&self, (segment, run): RunKey) -> &RwLock<Shelf> {
        // Runs beside each other are asked for together.
        &self.parts[(segment as usize ^ (run as usize / 64)) % PARTS]
    }

    /// The values of a run, if they are held.
    pub(super) fn get(&self, key: RunKey) -> Option<Arc<[f64]>> {
        let shelf = self.part(key).read();
        let held = shelf.runs.get(&key)?;
        held.used.store(true, Ordering::Relaxed);
        Some(Arc::clone(&held.values))
    }

    /// Keeps the values of a run.
    pub(super) fn put(&self, key: RunKey, values: &[f64]) {
        let bytes = size_of_val(values) + OVERHEAD;
        let limit = self.limit / PARTS;
        if bytes > limit {
            return;
        }
        let mut shelf = self.part(key).write();
        let shelf = &mut *shelf;
        if shelf.runs.contains_key(&key) {
            return;
        }
        while shelf.bytes + bytes > limit
            && let Some(oldest) = shelf.round.pop_front()
        {
            shelf.pass(oldest);
        }
        shelf.runs.insert(key, Held { values: values.into(), used: AtomicBool::new(false) });
        shelf.round.push_back(key);
        shelf.bytes += bytes;
    }

    /// Lets half of it go, first what was not used since it was last gone round.
    pub(super) fn shed(&self) {
        for part in &self.parts {
            let mut shelf = part.write();
            let half = shelf.bytes / 2;
            while shelf.bytes > half
                && let Some(oldest) = shelf.round.pop_front()
            {
                shelf.pass(oldest);
            }
        }
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        self.parts.iter().map(|part| part.read().bytes).sum()
    }

    /// Lets everything go where nobody has asked for long.
    pub(super) fn tidy(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        let idle = asked > 0 && self.began.elapsed().as_secs().saturating_sub(asked) > IDLE.as_secs();
        if idle {
            self.asked.store(0, Ordering::Relaxed);
            self.parts.iter().for_each(|part| *part.write() = Shelf::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_are_asked_for_stay_and_the_limit_is_kept() {
        let cache = DecodedCache::new(PARTS * 4 * (100 * 8 + OVERHEAD));
        let values = vec![1.0; 100];
        cache.put((0, 0), &values);
        for run in 1..50 {
            assert_eq!(cache.get((0, 0)).as_deref(), Some(&values[..]), "used all the time");
            cache.put((0, run), &values);
            assert!(cache.memory() <= 4 * (100 * 8 + OVERHEAD));
        }
        assert!(cache.get((0, 1)).is_none() && cache.get((0, 49)).is_some());
        assert!(cache.admits(100) && !cache.admits(1 << 20));
        let (held, used) = (cache.memory(), cache.get((0, 0)));
        cache.shed();
        assert!(cache.memory() <= held / 2 && cache.get((0, 0)) == used, "half of it, but not what was used");
        cache.put((1, 0), &vec![0.0; 10_000]);
        assert!(cache.get((1, 0)).is_none(), "larger than a part");
    }
}
