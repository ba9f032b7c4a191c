//! Which requests were seen, so that a retry whose acknowledgement was lost makes no double.
//!
//! A request is known by the 128-bit XXH3 of tenant, encoding and payload. The last [`super::Options::remembered`] are
//! kept, about 50 bytes each; at a start they are rebuilt from what is left of the log. So a retry is recognised unless so
//! many others came between, or the process was restarted in between and the log already cut: then the identity of rows
//! (trace and span id; stream, time, line and what it carries; series and time) still makes one of two when segments are merged.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::Tenant;
use wire::{Encoding, Summary};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{Record, StoreError};

/// How an append went.
pub(crate) type Outcome = Result<Option<Summary>, StoreError>;

/// Told once how an append went.
pub(crate) type Waiter = tokio::sync::oneshot::Sender<Outcome>;

/// The fingerprint of a request.
pub(crate) fn fingerprint(tenant: &Tenant, encoding: Encoding, payload: &[u8]) -> u128 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&[encoding as u8, tenant.as_str().len() as u8]);
    hasher.update(tenant.as_str().as_bytes());
    hasher.update(payload);
    hasher.digest128()
}

/// The same for a record.
pub(crate) fn fingerprint_of(record: &Record) -> u128 {
    fingerprint(&record.tenant, record.encoding, &record.payload)
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    }
    fn write_u128(&mut self, i: u128) {
        self.0 = i as u64;
    }
}

#[derive(Debug)]
enum Seen {
    /// Under way: these wait for its outcome too. The same bytes may have been met meanwhile, earlier in the log.
    Pending(Vec<Waiter>, Option<u64>),
    /// In the log at this sequence.
    Kept(u64),
}

/// The memory of requests.
#[derive(Debug)]
pub(crate) struct Dedupe {
    seen: HashMap<u128, Seen, BuildHasherDefault<Low>>,
    order: VecDeque<u128>,
    capacity: usize,
}

/// What [`Dedupe::begin`] says of a request.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Not seen: append it.
    New,
    /// Acknowledge it: it is in the log at this sequence.
    Kept(u64),
    /// Under way: wait for this.
    Wait(tokio::sync::oneshot::Receiver<Outcome>),
}

impl Dedupe {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { seen: HashMap::default(), order: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// A request comes in.
    pub(crate) fn begin(&mut self, fingerprint: u128) -> Begun {
        match self.seen.entry(fingerprint) {
            Entry::Vacant(vacant) => {
                vacant.insert(Seen::Pending(Vec::new(), None));
                Begun::New
            }
            Entry::Occupied(mut seen) => match seen.get_mut() {
                Seen::Kept(sequence) => Begun::Kept(*sequence),
                Seen::Pending(waiters, _) => {
                    let (tell, hear) = tokio::sync::oneshot::channel();
                    waiters.push(tell);
                    Begun::Wait(hear)
                }
            },
        }
    }

    /// A request that began is in the log at `sequence`; returns who else waits for it.
    pub(crate) fn kept(&mut self, fingerprint: u128, sequence: u64) -> Vec<Waiter> {
        match self.seen.insert(fingerprint, Seen::Kept(sequence)) {
            Some(Seen::Pending(waiters, earlier)) => {
                self.seen.insert(fingerprint, Seen::Kept(earlier.unwrap_or(sequence)));
                self.remember(fingerprint);
                waiters
            }
            Some(Seen::Kept(_)) => Vec::new(),
            None => {
                self.remember(fingerprint);
                Vec::new()
            }
        }
    }

    /// A request that began was refused; returns who else waits for it.
    pub(crate) fn refused(&mut self, fingerprint: u128) -> Vec<Waiter> {
        match self.seen.remove(&fingerprint) {
            Some(Seen::Pending(waiters, None)) => waiters,
            Some(Seen::Pending(waiters, Some(earlier))) => {
                self.seen.insert(fingerprint, Seen::Kept(earlier));
                self.remember(fingerprint);
                waiters
            }
            Some(kept @ Seen::Kept(_)) => {
                self.seen.insert(fingerprint, kept);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// A request that is known, of which rows were deleted since, comes in again.
    pub(crate) fn again(&mut self, fingerprint: u128) -> Begun {
        if matches!(self.seen.get(&fingerprint), Some(Seen::Kept(_))) {
            self.seen.remove(&fingerprint);
        }
        self.begin(fingerprint)
    }

    /// Where the first of these bytes is in the log.
    pub(crate) fn first_of(&self, fingerprint: u128) -> Option<u64> {
        match self.seen.get(&fingerprint) {
            Some(Seen::Kept(sequence)) => Some(*sequence),
            _ => None,
        }
    }

    /// These bytes are in the log once more at `sequence`, because rows of the first were deleted before.
    pub(crate) fn sent_again(&mut self, fingerprint: u128, sequence: u64) {
        if let Some(Seen::Kept(first)) = self.seen.get_mut(&fingerprint) {
            *first = sequence.max(*first);
        }
    }

    /// A request was kept, but its sender is told that some of it was refused: whoever sends it again is to hear that again.
    pub(crate) fn forget(&mut self, fingerprint: u128) {
        if matches!(self.seen.get(&fingerprint), Some(Seen::Kept(_))) {
            self.seen.remove(&fingerprint);
        }
    }

    /// A record is read back from the log. Says whether it is the first with its bytes.
    pub(crate) fn replayed(&mut self, fingerprint: u128, sequence: u64) -> bool {
        match self.seen.entry(fingerprint) {
            Entry::Vacant(vacant) => {
                vacant.insert(Seen::Kept(sequence));
                self.remember(fingerprint);
                true
            }
            Entry::Occupied(mut seen) => match seen.get_mut() {
                Seen::Kept(first) => {
                    let is_first = sequence <= *first;
                    *first = sequence.min(*first);
                    is_first
                }
                // A retry is under way; it will be the second.
                Seen::Pending(_, earlier) => {
                    *earlier = Some(earlier.map_or(sequence, |e| e.min(sequence)));
                    true
                }
            },
        }
    }

    fn remember(&mut self, fingerprint: u128) {
        self.order.push_back(fingerprint);
        while self.order.len() > self.capacity {
            if let Some(old) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_new_once_and_again_when_it_was_refused_or_forgotten() {
        let mut dedupe = Dedupe::new(2);
        assert!(matches!(dedupe.begin(1), Begun::New));
        assert!(matches!(dedupe.begin(1), Begun::Wait(_)));
        assert_eq!(dedupe.refused(1).len(), 1);
        assert!(matches!(dedupe.begin(1), Begun::New));
        assert!(dedupe.kept(1, 5).is_empty());
        assert!(matches!(dedupe.begin(1), Begun::Kept(_)));
        assert!(dedupe.replayed(2, 6) && dedupe.replayed(3, 7));
        assert!(matches!(dedupe.begin(1), Begun::New), "two are remembered, this was the third last");
    }

    #[test]
    fn of_two_records_with_the_same_bytes_the_earlier_is_first_in_whatever_order_they_are_met() {
        let mut dedupe = Dedupe::new(10);
        assert!(matches!(dedupe.begin(1), Begun::New));
        dedupe.kept(1, 9);
        assert!(dedupe.replayed(1, 4));
        assert!(!dedupe.replayed(1, 9));
        assert!(dedupe.replayed(1, 4));
        assert!(matches!(dedupe.begin(2), Begun::New));
        assert!(dedupe.replayed(2, 5), "met in the log while the retry is under way");
        dedupe.kept(2, 10);
        assert!(!dedupe.replayed(2, 10));
    }

    #[test]
    fn tenant_and_encoding_are_part_of_the_identity() {
        let (a, b) = (Tenant::new("a").expect("valid"), Tenant::new("ab").expect("valid"));
        let one = fingerprint(&a, Encoding::OtlpLogs, b"bc");
        assert_ne!(one, fingerprint(&b, Encoding::OtlpLogs, b"c"));
        assert_ne!(one, fingerprint(&a, Encoding::OtlpTraces, b"bc"));
        assert_eq!(one, fingerprint(&a, Encoding::OtlpLogs, b"bc"));
    }
}
