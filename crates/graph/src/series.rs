//! The series of one tenant: what is counted under which labels, and how that is written as samples.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::{STALE_NAN_BITS, TraceId};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hash, Hasher};
use wire::remote_write::Encoder;
use wire::{Exemplar, SampleSink, WireError};

/// Bytes of a request of samples, before compression.
const REQUEST: usize = 1 << 20;

/// A double that is saved bit by bit: a sum that came back a little smaller would pass for a counter's reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(crate) struct Exact(pub(crate) f64);

impl From<u64> for Exact {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Exact> for u64 {
    fn from(exact: Exact) -> Self {
        exact.0.to_bits()
    }
}

/// Whether a series was written already. The first time a zero goes in front, so that the step up to the first value shows;
/// when that zero is, is settled before it is saved and written: a later one after a crash would pass for a reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    #[default]
    Absent,
    New,
    /// To be written with a zero at this time, milliseconds since the Unix epoch.
    From(i64),
    Known,
}

impl Life {
    /// The end of the minute before `now` (milliseconds), as in Tempo: another interval, so that no downsampling merges the two.
    fn settle(&mut self, now: i64) {
        if *self == Self::New {
            *self = Self::From(now - now.rem_euclid(60_000) - 1);
        }
    }
}

/// A counter; it is no series until something is added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counter {
    value: Exact,
    life: Life,
}

impl Counter {
    #[inline]
    pub(crate) fn add(&mut self, n: f64) {
        self.value.0 += n;
        if self.life == Life::Absent {
            self.life = Life::New;
        }
    }

    pub(crate) fn settle(&mut self, now: i64) {
        self.life.settle(now);
    }
}

/// A classic histogram.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Buckets {
    /// A count a bucket (not cumulative), the one to infinity last; empty until something is observed.
    counts: Vec<Exact>,
    sum: Exact,
    life: Life,
    /// The last trace of each bucket since samples were written, and its value.
    #[serde(skip)]
    exemplars: Vec<Option<(TraceId, f64)>>,
}

impl Buckets {
    #[inline]
    pub(crate) fn observe(&mut self, bounds: &[f64], value: f64, trace: TraceId, multiplier: f64) {
        if self.counts.is_empty() {
            self.counts = vec![Exact(0.0); bounds.len() + 1];
            self.life = Life::New;
        }
        if self.exemplars.is_empty() {
            self.exemplars = vec![None; bounds.len() + 1];
        }
        // As many as lie below: of a few, comparing all is less than looking for the right one.
        let bucket = match bounds.len() {
            0..=32 => bounds.iter().map(|bound| usize::from(*bound < value)).sum(),
            _ => bounds.partition_point(|bound| *bound < value),
        };
        self.sum.0 += value * multiplier;
        self.counts[bucket].0 += multiplier;
        self.exemplars[bucket] = Some((trace, value));
    }

    pub(crate) fn settle(&mut self, now: i64) {
        self.life.settle(now);
    }
}

/// What is counted under one set of labels.
pub(crate) trait Values: Default {
    /// Series that are new begin at `now`, milliseconds since the Unix epoch.
    fn settle(&mut self, now: i64);
    /// Writes the samples of all its series.
    fn write(&mut self, out: &mut Out<'_>, labels: &[(String, String)]);
}

/// One set of labels.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    key: Box<[Box<str>]>,
    hash: u64,
    /// Sorted by name, without empty values.
    labels: Vec<(String, String)>,
    /// When something was added last, nanoseconds since the Unix epoch.
    updated: i64,
    pub(crate) values: V,
}

/// Sets of labels by the values of their labels.
#[derive(Debug)]
pub(crate) struct Table<V> {
    /// The labels' names, in the order of keys; empty where keys hold names and values by turns.
    names: Vec<String>,
    found: HashTable<usize>,
    entries: Vec<Entry<V>>,
    hasher: RandomState,
}

/// A table as it is saved: only of use as long as the names are the same.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved<V> {
    pub(crate) names: Vec<String>,
    entries: Vec<(Vec<String>, i64, V)>,
}

impl<V: Values> Table<V> {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, found: HashTable::new(), entries: Vec::new(), hasher: RandomState::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn hash<'k>(&self, key: impl Iterator<Item = &'k str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.for_each(|part| part.hash(&mut hasher));
        hasher.finish()
    }

    /// What stands at a position.
    #[inline]
    pub(crate) fn entry(&mut self, at: usize, now: i64) -> &mut V {
        let entry = &mut self.entries[at];
        entry.updated = now.max(entry.updated);
        &mut entry.values
    }

    /// Where it is counted under the labels `fixed` and `more`, in the order of the names: good until series end. `None` for new
    /// labels where `room` says that there is none.
    pub(crate) fn position(&mut self, fixed: &[&str], more: &[String], room: impl FnOnce() -> bool) -> Option<usize> {
        let parts = || fixed.iter().copied().chain(more.iter().map(String::as_str));
        let hash = self.hash(parts());
        let same = |i: &usize| {
            let entry = &self.entries[*i];
            entry.hash == hash && entry.key.len() == fixed.len() + more.len() && entry.key.iter().map(|k| &**k).eq(parts())
        };
        match self.found.find(hash, same) {
            Some(at) => Some(*at),
            None if !room() => None,
            None => Some(self.insert(hash, parts().map(Box::from).collect(), V::default())),
        }
    }

    fn insert(&mut self, hash: u64, key: Box<[Box<str>]>, values: V) -> usize {
        let pairs: Vec<(&str, &str)> = if self.names.is_empty() {
            key.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])).collect()
        } else {
            self.names.iter().map(String::as_str).zip(key.iter().map(|v| &**v)).collect()
        };
        let mut labels: Vec<(String, String)> =
            pairs.into_iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        labels.sort();
        labels.dedup_by(|b, a| a.0 == b.0);
        let at = self.entries.len();
        self.entries.push(Entry { key, hash, labels, updated: 0, values });
        self.found.insert_unique(hash, at, |i| self.entries[*i].hash);
        at
    }

    /// Series that are new begin at `now`, milliseconds since the Unix epoch.
    pub(crate) fn settle(&mut self, now: i64) {
        self.entries.iter_mut().for_each(|e| e.values.settle(now));
    }

    /// Writes the samples of every entry.
    pub(crate) fn write(&mut self, out: &mut Out<'_>) {
        for entry in &mut self.entries {
            entry.values.write(out, &entry.labels);
        }
    }

    /// Ends the series that were not updated since `before`; says whether there were any, so that positions have changed.
    pub(crate) fn end_stale(&mut self, before: i64, out: &mut Out<'_>) -> bool {
        if self.entries.iter().all(|e| e.updated >= before) {
            return false;
        }
        out.ending = true;
        let (stale, kept) = std::mem::take(&mut self.entries).into_iter().partition(|e| e.updated < before);
        let stale: Vec<Entry<V>> = stale;
        for mut entry in stale {
            entry.values.write(out, &entry.labels);
        }
        out.ending = false;
        self.entries = kept;
        self.found.clear();
        for (i, entry) in self.entries.iter().enumerate() {
            self.found.insert_unique(entry.hash, i, |i| self.entries[*i].hash);
        }
        true
    }

    pub(crate) fn save(&self) -> Saved<&V> {
        let entries =
            self.entries.iter().map(|e| (e.key.iter().map(|k| k.to_string()).collect(), e.updated, &e.values)).collect();
        Saved { names: self.names.clone(), entries }
    }

    /// Takes what was saved under the same names; says whether it could.
    pub(crate) fn restore(&mut self, saved: Saved<V>) -> bool {
        if saved.names != self.names {
            return false;
        }
        for (key, updated, values) in saved.entries {
            let hash = self.hash(key.iter().map(String::as_str));
            let at = self.insert(hash, key.into_iter().map(String::into_boxed_str).collect(), values);
            self.entries[at].updated = updated;
        }
        true
    }
}

/// How samples are written.
#[derive(Debug)]
pub(crate) struct Style {
    /// Added to every series.
    pub(crate) external: Vec<(String, String)>,
    /// The label of exemplars.
    pub(crate) trace_id_label: String,
    /// Bounds of the service graph's histograms, as `le` prints them.
    pub(crate) graph_le: Vec<String>,
    /// Bounds of the span metrics' histogram.
    pub(crate) span_le: Vec<String>,
}

/// Where samples go: requests of remote write of about a mebibyte each.
pub(crate) struct Out<'s> {
    /// Milliseconds since the Unix epoch.
    now: i64,
    pub(crate) style: &'s Style,
    encoder: Encoder,
    requests: Vec<Vec<u8>>,
    samples: u64,
    /// The series end: staleness markers are written.
    ending: bool,
}

impl<'s> Out<'s> {
    pub(crate) fn new(now: i64, style: &'s Style) -> Self {
        Self { now, style, encoder: Encoder::new(), requests: Vec::new(), samples: 0, ending: false }
    }

    /// The requests, and how many samples they have.
    pub(crate) fn finish(mut self) -> Result<(Vec<Vec<u8>>, u64), WireError> {
        if !self.encoder.is_empty() {
            self.requests.push(self.encoder.finish()?);
        }
        Ok((self.requests, self.samples))
    }

    fn series(&mut self, labels: &[(String, String)], name: &str, le: Option<&str>, life: Life, value: f64) {
        if self.encoder.size() > REQUEST
            && let Ok(request) = self.encoder.finish()
        {
            self.requests.push(request);
        }
        let own = [("__name__", name)].into_iter().chain(le.map(|le| ("le", le)));
        let mut all: Vec<(&str, &str)> = own.chain(labels.iter().map(|(n, v)| (&**n, &**v))).collect();
        for (name, value) in &self.style.external {
            match all.iter_mut().find(|(n, _)| n == name) {
                Some(label) => label.1 = value,
                None => all.push((name, value)),
            }
        }
        all.sort_unstable_by_key(|(name, _)| *name);
        let value = if self.ending { f64::from_bits(STALE_NAN_BITS) } else { value };
        let (first, has_first) = match life {
            Life::From(first) => (first, !self.ending),
            _ => (0, false),
        };
        let samples = [(first, 0.0), (self.now, value)];
        let samples = if has_first { &samples[..] } else { &samples[1..] };
        self.samples += samples.len() as u64;
        self.encoder.series(all, samples);
    }

    pub(crate) fn gauge(&mut self, labels: &[(String, String)], name: &str, value: f64) {
        self.series(labels, name, None, Life::Known, value);
    }

    pub(crate) fn counter(&mut self, labels: &[(String, String)], name: &str, counter: &mut Counter) {
        if counter.life != Life::Absent {
            self.series(labels, name, None, counter.life, counter.value.0);
            counter.life = Life::Known;
        }
    }

    pub(crate) fn histogram(&mut self, labels: &[(String, String)], name: &Histogram, le: &[String], buckets: &mut Buckets) {
        if buckets.life == Life::Absent {
            return;
        }
        let mut below = 0.0;
        for (i, (count, le)) in buckets.counts.iter().zip(le).enumerate() {
            below += count.0;
            self.series(labels, name.bucket, Some(le), buckets.life, below);
            if let Some((trace, value)) = buckets.exemplars.get_mut(i).and_then(Option::take)
                && !self.ending
            {
                let trace = trace.to_string();
                let labels = [(&*self.style.trace_id_label, &*trace)];
                self.encoder.exemplar(&Exemplar { labels: &labels, time_ms: self.now, value });
            }
        }
        self.series(labels, name.count, None, buckets.life, below);
        self.series(labels, name.sum, None, Life::Known, buckets.sum.0);
        buckets.life = Life::Known;
    }
}

/// The names of a histogram's series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Histogram {
    pub(crate) bucket: &'static str,
    pub(crate) sum: &'static str,
    pub(crate) count: &'static str,
}

/// Bounds as `le` prints them.
pub(crate) fn printed(bounds: &[f64]) -> Vec<String> {
    bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]).collect()
}
