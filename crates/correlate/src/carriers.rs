//! Which traces carry which value of a business key, and which records wait for one that does.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Traces that a value remembers; of one with more the latest are candidates.
pub(crate) const MAX_TRACES_OF_KEY: usize = 64;
/// Records that may wait for one value's traces.
const MAX_WAITING_OF_KEY: usize = 1024;

/// A hash of a value, of its key and of its tenant.
pub(crate) fn hash_of(tenant: u32, key: u8, value: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(value.as_bytes(), u64::from(tenant) << 8 | u64::from(key))
}

/// What has one value.
#[derive(Debug, Default)]
struct Carriers {
    /// A trace: nearly always all that there is.
    first: Option<u32>,
    /// All traces, also those that are no longer named.
    total: u32,
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Further traces, oldest first; with the first at most [`MAX_TRACES_OF_KEY`].
    traces: Vec<u32>,
    waiting: Vec<u32>,
}

impl Carriers {
    /// Lets go of memory that is not needed; whether nothing is left.
    fn is_empty(&mut self) -> bool {
        self.rest.take_if(|rest| rest.traces.is_empty() && rest.waiting.is_empty());
        self.first.is_none() && self.rest.is_none()
    }
}

/// By the hash of the value.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_value: HashMap<u64, Carriers, RandomState>,
}

impl Index {
    /// A trace carries a value.
    pub(crate) fn carry(&mut self, hash: u64, trace: u32) {
        let carriers = self.by_value.entry(hash).or_default();
        carriers.total = carriers.total.saturating_add(1);
        if carriers.first.is_none() && carriers.rest.as_ref().is_none_or(|rest| rest.traces.is_empty()) {
            carriers.first = Some(trace);
            return;
        }
        let more = &mut carriers.rest.get_or_insert_default().traces;
        more.push(trace);
        if more.len() >= MAX_TRACES_OF_KEY {
            carriers.first = Some(more.remove(0));
        }
    }

    /// It is forgotten.
    pub(crate) fn drop_trace(&mut self, hash: u64, trace: u32) {
        self.change(hash, |carriers| {
            carriers.total = carriers.total.saturating_sub(1);
            carriers.first.take_if(|first| *first == trace);
            if let Some(rest) = &mut carriers.rest {
                rest.traces.retain(|t| *t != trace);
            }
        });
    }

    /// A record waits for a value; says whether there was room.
    pub(crate) fn wait(&mut self, hash: u64, record: u32) -> bool {
        let waiting = &mut self.by_value.entry(hash).or_default().rest.get_or_insert_default().waiting;
        let has_room = waiting.len() < MAX_WAITING_OF_KEY;
        if has_room {
            waiting.push(record);
        }
        has_room
    }

    /// It waits no longer.
    pub(crate) fn drop_record(&mut self, hash: u64, record: u32) {
        self.change(hash, |carriers| {
            if let Some(rest) = &mut carriers.rest {
                rest.waiting.retain(|r| *r != record);
            }
        });
    }

    fn change(&mut self, hash: u64, change: impl FnOnce(&mut Carriers)) {
        if let Some(carriers) = self.by_value.get_mut(&hash) {
            change(carriers);
            if carriers.is_empty() {
                self.by_value.remove(&hash);
            }
        }
    }

    /// The records that wait for a value.
    pub(crate) fn waiting(&self, hash: u64) -> &[u32] {
        let rest = self.by_value.get(&hash).and_then(|c| c.rest.as_ref());
        rest.map_or(&[], |rest| &rest.waiting)
    }

    /// The traces that carry a value, and how many there are or were.
    pub(crate) fn traces(&self, hash: u64) -> (impl Iterator<Item = u32> + '_, u32) {
        let carriers = self.by_value.get(&hash);
        let traces = carriers
            .into_iter()
            .flat_map(|c| c.first.into_iter().chain(c.rest.iter().flat_map(|rest| rest.traces.iter().copied())));
        (traces, carriers.map_or(0, |c| c.total))
    }
}
