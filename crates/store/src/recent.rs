//! What the tables of spans and of lines have walked lately, kept for readers of the log that come a moment later.
//!
//! A reader says what it wants of spans or of lines; then that of whatever is applied to the table is kept until every such reader
//! has passed it, or there is too much of it. So it is a short cut only: what is not here (read after a restart, by a
//! reader that is behind, before the table had it) is read from the log, to the same effect.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use model::Group;
use parking_lot::Mutex;
use wire::{KeptSpans, LogSink, Wanted};

use crate::Record;

/// Bytes that are kept at most, of each signal.
const MOST: usize = 8 << 20;

/// Says what of spans a reader wants to hear.
pub(crate) type WantsSpans = Arc<dyn Wanted + Send + Sync>;

/// What a reader has kept of a request's lines.
pub type KeptLines = Arc<dyn Any + Send + Sync>;

/// Looks on as the table takes the lines of a request, and keeps of them what a reader will want.
pub trait LineKeeper: LogSink {
    /// What it has kept, and how many bytes that takes; `None` where that is too much: the reader reads the request from the log.
    fn finish(self: Box<Self>) -> Option<(KeptLines, usize)>;
}

/// Makes a keeper for a request.
pub(crate) type KeepsLines = Arc<dyn Fn() -> Box<dyn LineKeeper> + Send + Sync>;

/// What is kept of spans, for all readers together.
pub(crate) type RecentSpans = Recent<WantsSpans, Arc<LentSpans>>;
/// What is kept of lines, for one reader: another one reads the log.
pub(crate) type RecentLines = Recent<KeepsLines, KeptLines>;

/// Memory of spans that every reader has passed, for those that come: what one thread has and another frees is dear, and pages that go
/// back to the system for a moment more so.
#[derive(Debug, Default)]
pub(crate) struct Spares(Mutex<Vec<KeptSpans>>);

/// Requests whose memory is kept...
const MOST_SPARES: usize = 16;
/// ...where each has no more bytes.
const LARGEST_SPARE: usize = 256 << 10;

impl Spares {
    /// Nothing yet, with the memory of an earlier request where there is some; it comes back when nobody needs it any more.
    pub(crate) fn lend(spares: &Arc<Self>) -> LentSpans {
        let spans = spares.0.lock().pop().unwrap_or_default();
        LentSpans { spans, spares: Arc::clone(spares) }
    }

    fn take_back(&self, mut spans: KeptSpans) {
        if spans.memory() > LARGEST_SPARE {
            return;
        }
        spans.clear();
        let mut spares = self.0.lock();
        if spares.len() < MOST_SPARES {
            spares.push(spans);
        }
    }
}

/// Spans in memory that is used again.
#[derive(Debug)]
pub struct LentSpans {
    spans: KeptSpans,
    spares: Arc<Spares>,
}

impl LentSpans {
    /// To be filled.
    pub(crate) fn spans_mut(&mut self) -> &mut KeptSpans {
        &mut self.spans
    }
}

impl Deref for LentSpans {
    type Target = KeptSpans;

    fn deref(&self) -> &KeptSpans {
        &self.spans
    }
}

impl Drop for LentSpans {
    fn drop(&mut self) {
        self.spares.take_back(std::mem::take(&mut self.spans));
    }
}

/// What all readers want, and how often that has changed.
#[derive(Clone)]
pub(crate) struct Wishes<W> {
    pub(crate) all: Arc<[W]>,
    version: u64,
}

impl<W> Wishes<W> {
    /// Different after each change.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

impl<W> Default for Wishes<W> {
    fn default() -> Self {
        Self { all: Arc::new([]), version: 0 }
    }
}

impl Wanted for Wishes<WantsSpans> {
    fn group(&self, group: &Group<'_>) -> bool {
        self.all.iter().any(|wants| wants.group(group))
    }

    #[inline]
    fn attribute(&self, name: &[u8]) -> bool {
        self.all.iter().any(|wants| wants.attribute(name))
    }
}

struct Kept<K> {
    version: u64,
    memory: usize,
    request: Walked<K>,
}

/// A request that was walked.
#[derive(Debug, Clone)]
pub(crate) struct Walked<K> {
    /// What the log says of it; without its payload.
    pub(crate) record: Record,
    pub(crate) kept: K,
}

struct Known<W> {
    wants: W,
    /// The version that has its wishes.
    since: u64,
    /// The last sequence that it asked for.
    passed: u64,
}

struct State<W, K> {
    /// By number; the numbers of those that have gone are free.
    readers: Vec<Option<Known<W>>>,
    wishes: Wishes<W>,
    kept: VecDeque<Kept<K>>,
    bytes: usize,
}

impl<W: Clone, K> State<W, K> {
    fn changed(&mut self) {
        let all = self.readers.iter().flatten().map(|known| known.wants.clone()).collect();
        self.wishes = Wishes { all, version: self.wishes.version + 1 };
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
pub struct Recent<W, K>(Mutex<State<W, K>>);

impl<W, K> Default for Recent<W, K> {
    fn default() -> Self {
        Self(Mutex::new(State { readers: Vec::new(), wishes: Wishes::default(), kept: VecDeque::new(), bytes: 0 }))
    }
}

impl<W, K> std::fmt::Debug for Recent<W, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").field("bytes", &self.0.lock().bytes).finish_non_exhaustive()
    }
}

impl<W: Clone, K: Clone> Recent<W, K> {
    /// What is wanted of what comes; `None` where there is nobody to keep it for.
    pub(crate) fn wishes(&self) -> Option<Wishes<W>> {
        let state = self.0.lock();
        (!state.wishes.all.is_empty()).then(|| state.wishes.clone())
    }

    /// Keeps what was wished for of a request, the next of the log.
    pub(crate) fn keep(&self, record: &Record, wishes: &Wishes<W>, kept: K, memory: usize) {
        let mut state = self.0.lock();
        state.bytes += memory;
        let record = Record { payload: Bytes::new(), tenant: record.tenant.clone(), ..*record };
        state.kept.push_back(Kept { version: wishes.version, memory, request: Walked { record, kept } });
        state.trim();
    }

    /// A reader that wants this.
    pub(crate) fn reader(self: &Arc<Self>, wants: W) -> RecentReader<W, K> {
        let number = Self::add(&mut self.0.lock(), wants);
        RecentReader { recent: Arc::clone(self), number }
    }

    /// The same, where there is no other.
    pub(crate) fn only_reader(self: &Arc<Self>, wants: W) -> Option<RecentReader<W, K>> {
        let mut state = self.0.lock();
        let number = state.readers.iter().all(Option::is_none).then(|| Self::add(&mut state, wants))?;
        Some(RecentReader { recent: Arc::clone(self), number })
    }

    fn add(state: &mut State<W, K>, wants: W) -> usize {
        let known = Known { wants, since: state.wishes.version + 1, passed: 0 };
        let number = match state.readers.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                state.readers.push(None);
                state.readers.len() - 1
            }
        };
        state.readers[number] = Some(known);
        state.changed();
        number
    }
}

/// One reader's way to what is kept; nothing is kept for it once it is dropped.
pub(crate) struct RecentReader<W: Clone, K> {
    recent: Arc<Recent<W, K>>,
    number: usize,
}

impl<W: Clone, K> std::fmt::Debug for RecentReader<W, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentReader").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<W: Clone, K: Clone> RecentReader<W, K> {
    /// The request `sequence`, if it is there; earlier ones are not asked for any more.
    pub(crate) fn take(&self, sequence: u64) -> Option<Walked<K>> {
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

impl<W: Clone, K> Drop for RecentReader<W, K> {
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

    fn all() -> WantsSpans {
        Arc::new(|_: &[u8]| true)
    }

    fn keep(recent: &RecentSpans, sequence: u64) {
        if let Some(wishes) = recent.wishes() {
            let tenant = model::Tenant::default();
            let record =
                Record { sequence, tenant, encoding: wire::Encoding::OtlpTraces, received: 7, payload: Bytes::from_static(b"x") };
            let spans = Spares::lend(&Arc::default());
            let memory = spans.memory();
            recent.keep(&record, &wishes, Arc::new(spans), memory);
        }
    }

    fn held(recent: &RecentSpans) -> Vec<u64> {
        recent.0.lock().kept.iter().map(|kept| kept.request.record.sequence).collect()
    }

    #[test]
    fn a_request_is_kept_until_the_slowest_reader_has_passed_it() {
        let recent = Arc::new(RecentSpans::default());
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
        let recent = Arc::new(RecentSpans::default());
        let first = recent.reader(Arc::new(|key: &[u8]| key == b"a"));
        keep(&recent, 1);
        let second = recent.reader(Arc::new(|key: &[u8]| key == b"b"));
        keep(&recent, 2);
        assert!(second.take(1).is_none() && first.take(1).is_some());
        assert!(second.take(2).is_some());
        let wishes = recent.wishes().expect("two readers");
        let has = |key: &[u8]| wishes.attribute(key);
        assert!(has(b"a") && has(b"b") && !has(b"c"));
    }

    #[test]
    fn where_one_reads_alone_another_has_no_place() {
        let recent = Arc::new(RecentSpans::default());
        let one = recent.only_reader(all()).expect("the first");
        assert!(recent.only_reader(all()).is_none());
        drop(one);
        assert!(recent.only_reader(all()).is_some());
    }

    #[test]
    fn memory_comes_back_empty_and_not_without_end() {
        let spares = Arc::<Spares>::default();
        let fill = |mut lent: LentSpans, bytes: usize| {
            assert_eq!((lent.len(), lent.names().len()), (0, 0));
            let (names, name_of) = lent.spans_mut().names_mut();
            name_of.push(names.push(&"x".repeat(bytes)));
            lent
        };
        let all: Vec<LentSpans> = (0..MOST_SPARES + 3).map(|_| fill(Spares::lend(&spares), 1_000)).collect();
        drop(all);
        assert_eq!(spares.0.lock().len(), MOST_SPARES);
        let lent = Spares::lend(&spares);
        assert!(lent.memory() >= 1_000, "memory that was there");
        drop(fill(lent, LARGEST_SPARE));
        assert_eq!(spares.0.lock().len(), MOST_SPARES - 1);
    }

    #[test]
    fn the_oldest_goes_where_there_is_too_much() {
        let recent = Arc::new(RecentSpans::default());
        let reader = recent.reader(all());
        let many = MOST / KeptSpans::default().memory() + 10;
        for sequence in 1..=many as u64 {
            keep(&recent, sequence);
        }
        assert!(recent.0.lock().bytes <= MOST);
        assert!(reader.take(1).is_none() && reader.take(many as u64).is_some());
    }
}
