//! What the table of spans has walked lately, kept for readers of the log that come a moment later.
//!
//! A reader says which attributes it wants; then whatever is applied to the table is kept ([`wire::KeptSpans`]) until every such
//! reader has passed it, or there is too much of it. So it is a short cut only: what is not here (read after a restart, by a
//! reader that is behind, before the table had it) is read from the log, to the same effect.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wire::KeptSpans;

use crate::Record;

/// Bytes that are kept at most.
const MOST: usize = 8 << 20;

/// Says of which attributes of spans a reader wants to hear.
pub(crate) type Wants = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// What all readers want, and how often that has changed.
#[derive(Clone, Default)]
pub(crate) struct Wanted {
    all: Arc<[Wants]>,
    version: u64,
}

impl Wanted {
    #[inline]
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.all.iter().any(|wants| wants(key))
    }
}

struct Kept {
    version: u64,
    memory: usize,
    request: Request,
}

/// A request of spans that was walked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What the log says of it; without its payload.
    pub(crate) record: Record,
    pub(crate) spans: Arc<KeptSpans>,
}

struct Known {
    wants: Wants,
    /// The version that has its wishes.
    since: u64,
    /// The last sequence that it asked for.
    passed: u64,
}

#[derive(Default)]
struct State {
    /// By number; the numbers of those that have gone are free.
    readers: Vec<Option<Known>>,
    wanted: Wanted,
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl State {
    fn changed(&mut self) {
        let all = self.readers.iter().flatten().map(|known| Arc::clone(&known.wants)).collect();
        self.wanted = Wanted { all, version: self.wanted.version + 1 };
    }

    /// Lets go of what every reader has passed, and of the oldest where there is too much.
    fn trim(&mut self) {
        let passed = self.readers.iter().flatten().map(|known| known.passed).min().unwrap_or(u64::MAX);
        while let Some(first) = self.kept.front()
            && (first.request.record.sequence <= passed || self.bytes > MOST)
        {
            self.bytes -= first.memory;
            self.kept.pop_front();
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Recent(Mutex<State>);

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").field("bytes", &self.0.lock().bytes).finish_non_exhaustive()
    }
}

impl Recent {
    /// What is wanted of what comes; `None` where there is nobody to keep it for.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let state = self.0.lock();
        (!state.wanted.all.is_empty()).then(|| state.wanted.clone())
    }

    /// Keeps the spans of a request, the next of the log.
    pub(crate) fn keep(&self, record: &Record, wanted: &Wanted, spans: KeptSpans) {
        let mut state = self.0.lock();
        let memory = spans.memory();
        state.bytes += memory;
        let record = Record { payload: Bytes::new(), tenant: record.tenant.clone(), ..*record };
        let request = Request { record, spans: Arc::new(spans) };
        state.kept.push_back(Kept { version: wanted.version, memory, request });
        state.trim();
    }

    /// A reader that wants these attributes.
    pub(crate) fn reader(self: &Arc<Self>, wants: Wants) -> RecentReader {
        let mut state = self.0.lock();
        let known = Known { wants, since: state.wanted.version + 1, passed: 0 };
        let number = match state.readers.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                state.readers.push(None);
                state.readers.len() - 1
            }
        };
        state.readers[number] = Some(known);
        state.changed();
        RecentReader { recent: Arc::clone(self), number }
    }
}

/// One reader's way to what is kept; nothing is kept for it once it is dropped.
#[derive(Debug)]
pub(crate) struct RecentReader {
    recent: Arc<Recent>,
    number: usize,
}

impl RecentReader {
    /// The request `sequence`, if it is there; earlier ones are not asked for any more.
    pub(crate) fn take(&self, sequence: u64) -> Option<Request> {
        let mut state = self.recent.0.lock();
        let known = state.readers[self.number].as_mut()?;
        known.passed = known.passed.max(sequence);
        let since = known.since;
        let at = state.kept.binary_search_by_key(&sequence, |kept| kept.request.record.sequence);
        let found = at.ok().map(|at| &state.kept[at]).filter(|kept| kept.version >= since).map(|kept| kept.request.clone());
        state.trim();
        found
    }
}

impl Drop for RecentReader {
    fn drop(&mut self) {
        let mut state = self.recent.0.lock();
        state.readers[self.number] = None;
        state.changed();
        state.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Wants {
        Arc::new(|_| true)
    }

    fn keep(recent: &Recent, sequence: u64) {
        if let Some(wanted) = recent.wanted() {
            let tenant = model::Tenant::default();
            let record =
                Record { sequence, tenant, encoding: wire::Encoding::OtlpTraces, received: 7, payload: Bytes::from_static(b"x") };
            recent.keep(&record, &wanted, KeptSpans::default());
        }
    }

    fn held(recent: &Recent) -> Vec<u64> {
        recent.0.lock().kept.iter().map(|kept| kept.request.record.sequence).collect()
    }

    #[test]
    fn a_request_is_kept_until_the_slowest_reader_has_passed_it() {
        let recent = Arc::new(Recent::default());
        keep(&recent, 1);
        assert!(held(&recent).is_empty(), "for nobody nothing is kept");
        let (one, two) = (recent.reader(all()), recent.reader(all()));
        for sequence in [2, 5, 6] {
            keep(&recent, sequence);
        }
        assert!(one.take(2).is_some() && one.take(3).is_none() && one.take(5).is_some());
        assert_eq!(held(&recent), [2, 5, 6]);
        let taken = two.take(2).expect("kept").record;
        assert_eq!((taken.sequence, taken.received, taken.payload.len()), (2, 7, 0));
        assert_eq!(held(&recent), [5, 6]);
        drop(two);
        assert_eq!(held(&recent), [6]);
        drop(one);
        assert_eq!((held(&recent), recent.0.lock().bytes), (vec![], 0));
    }

    #[test]
    fn what_was_kept_before_a_reader_came_may_lack_what_it_wants() {
        let recent = Arc::new(Recent::default());
        let first = recent.reader(Arc::new(|key| key == b"a"));
        keep(&recent, 1);
        let second = recent.reader(Arc::new(|key| key == b"b"));
        keep(&recent, 2);
        assert!(second.take(1).is_none() && first.take(1).is_some());
        assert!(second.take(2).is_some());
        let wanted = recent.wanted().expect("two readers");
        assert!(wanted.has(b"a") && wanted.has(b"b") && !wanted.has(b"c"));
    }

    #[test]
    fn the_oldest_goes_where_there_is_too_much() {
        let recent = Arc::new(Recent::default());
        let reader = recent.reader(all());
        let many = MOST / KeptSpans::default().memory() + 10;
        for sequence in 1..=many as u64 {
            keep(&recent, sequence);
        }
        assert!(recent.0.lock().bytes <= MOST);
        assert!(reader.take(1).is_none() && reader.take(many as u64).is_some());
    }
}
