//! Requests between two services: the client's span and the server's, which come in any order and in any batch.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use model::{SpanId, TraceId};
use serde::{Deserialize, Serialize};

use crate::series::Exact;

/// The trace, and the client's span id.
pub(crate) type Key = (TraceId, SpanId);

/// How two services speak; the label `connection_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Connection {
    #[default]
    Direct,
    Messaging,
    Database,
    Virtual,
}

impl Connection {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "",
            Self::Messaging => "messaging_system",
            Self::Database => "database",
            Self::Virtual => "virtual_node",
        }
    }
}

/// What is known of one request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Edge {
    pub(crate) connection: Connection,
    #[serde(with = "shared_text")]
    pub(crate) client: Option<Arc<str>>,
    #[serde(with = "shared_text")]
    pub(crate) server: Option<Arc<str>>,
    /// Seconds.
    pub(crate) client_latency: Exact,
    pub(crate) server_latency: Exact,
    /// Nanoseconds since the Unix epoch.
    pub(crate) client_end: i64,
    pub(crate) server_start: i64,
    pub(crate) failed: bool,
    /// A peer that sends no spans.
    #[serde(with = "shared_text")]
    pub(crate) peer: Option<Arc<str>>,
    /// A value a label, in the order of the labels.
    pub(crate) dimensions: Vec<String>,
    pub(crate) multiplier: Exact,
}

/// A shared text as any other.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Option<Arc<str>>, to: S) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Arc::from))
    }
}

impl Edge {
    /// Nothing is known, and its memory is kept.
    fn clear(&mut self) {
        let mut dimensions = std::mem::take(&mut self.dimensions);
        dimensions.clear();
        *self = Self { dimensions, ..Self::default() };
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.client.as_ref().is_some_and(|s| !s.is_empty()) && self.server.as_ref().is_some_and(|s| !s.is_empty())
    }
}

/// A place for a half that waits.
#[derive(Debug)]
struct Slot {
    key: Key,
    edge: Edge,
    /// How often the place was left: what remembers another number meant an earlier half.
    left: u32,
}

/// The halves that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots by their keys.
    found: HashTable<u32>,
    hasher: RandomState,
    /// When each expires (nanoseconds), its slot, and what that says of `left`; of edges that are complete by now as well.
    order: VecDeque<(i64, u32, u32)>,
}

impl Edges {
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    fn hash(hasher: &RandomState, (trace, span): &Key) -> u64 {
        hasher.hash_one((u128::from_le_bytes(trace.0), u64::from_le_bytes(span.0)))
    }

    /// Changes the edge `key` and gives it back when it is complete; else it waits until `expires`. An edge is filled where it will wait,
    /// so that it need not be moved there and back.
    pub(crate) fn upsert(&mut self, key: Key, expires: i64, update: impl FnOnce(&mut Edge)) -> Option<&Edge> {
        let hash = Self::hash(&self.hasher, &key);
        let Self { slots, found, .. } = self;
        let number = match found.find_entry(hash, |slot| slots[*slot as usize].key == key) {
            Ok(entry) => {
                let number = *entry.get();
                let slot = &mut slots[number as usize];
                update(&mut slot.edge);
                if !slot.edge.is_complete() {
                    return None;
                }
                entry.remove();
                slot.left = slot.left.wrapping_add(1);
                number
            }
            Err(_) => {
                let number = self.place();
                let slot = &mut self.slots[number as usize];
                slot.edge.clear();
                update(&mut slot.edge);
                if !slot.edge.is_complete() {
                    slot.key = key;
                    self.enter(number, hash, expires);
                    return None;
                }
                number
            }
        };
        self.free.push(number);
        Some(&self.slots[number as usize].edge)
    }

    /// A place that is free; what stood there last is still there.
    fn place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { key: Key::default(), edge: Edge::default(), left: 0 });
            (self.slots.len() - 1) as u32
        })
    }

    /// The edge at a place waits.
    fn enter(&mut self, number: u32, hash: u64, expires: i64) {
        let Self { slots, found, hasher, order, .. } = self;
        found.insert_unique(hash, number, |slot| Self::hash(hasher, &slots[*slot as usize].key));
        order.push_back((expires, number, slots[number as usize].left));
        // Most edges complete at once; what they leave behind in the order must not grow without end.
        if order.len() > 64 && order.len() > 4 * found.len() {
            order.retain(|(_, number, left)| slots[*number as usize].left == *left);
        }
    }

    /// The oldest edge, when it has expired or there are more than `most`; and whether it had not expired yet.
    pub(crate) fn next_out(&mut self, now: i64, most: usize) -> Option<(Key, Edge, bool)> {
        loop {
            let (expires, number, left) = *self.order.front()?;
            let slot = &mut self.slots[number as usize];
            if slot.left == left {
                if expires > now && self.found.len() <= most {
                    return None;
                }
                slot.left = slot.left.wrapping_add(1);
                let (key, edge) = (slot.key, std::mem::take(&mut slot.edge));
                if let Ok(entry) = self.found.find_entry(Self::hash(&self.hasher, &key), |slot| *slot == number) {
                    entry.remove();
                }
                self.free.push(number);
                self.order.pop_front();
                return Some((key, edge, expires > now));
            }
            self.order.pop_front();
        }
    }

    pub(crate) fn save(&self) -> Vec<(String, String, i64, Edge)> {
        let waiting = self.order.iter().map(|(expires, number, left)| (expires, &self.slots[*number as usize], left));
        let waiting = waiting.filter(|(_, slot, left)| slot.left == **left);
        waiting.map(|(expires, slot, _)| (slot.key.0.to_string(), slot.key.1.to_string(), *expires, slot.edge.clone())).collect()
    }

    pub(crate) fn restore(&mut self, saved: Vec<(String, String, i64, Edge)>) {
        for (trace, span, expires, edge) in saved {
            if let (Ok(trace), Ok(span)) = (trace.parse(), span.parse()) {
                let key = (trace, span);
                let hash = Self::hash(&self.hasher, &key);
                if self.found.find(hash, |slot| self.slots[*slot as usize].key == key).is_none() {
                    let number = self.place();
                    let slot = &mut self.slots[number as usize];
                    (slot.key, slot.edge) = (key, edge);
                    self.enter(number, hash, expires);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        let mut trace = TraceId([1; 16]);
        trace.0[..4].copy_from_slice(&n.to_le_bytes());
        (trace, SpanId([2; 8]))
    }

    #[test]
    fn halves_find_each_other_and_the_oldest_go_first() {
        let mut edges = Edges::default();
        let client = |edge: &mut Edge| edge.client = Some("a".into());
        let server = |edge: &mut Edge| edge.server = Some("b".into());
        for round in 0..10 {
            // All but every hundredth complete at once, out of order.
            for n in 0..1000 {
                assert!(edges.upsert(key(round * 1000 + n), i64::from(round), client).is_none());
            }
            for n in (0..1000).rev().filter(|n| n % 100 != 0) {
                assert!(edges.upsert(key(round * 1000 + n), i64::from(round), server).is_some_and(|e| e.client.is_some()));
            }
        }
        assert_eq!(edges.len(), 100);
        assert!(edges.order.len() <= 1000 + 4 * 100 && edges.slots.len() <= 1100, "{} {}", edges.order.len(), edges.slots.len());
        let saved = edges.save();
        assert_eq!(saved.len(), 100);
        let mut again = Edges::default();
        again.restore(saved);
        for edges in [&mut edges, &mut again] {
            assert_eq!(edges.next_out(-1, 100), None);
            assert!(edges.next_out(-1, 99).is_some_and(|(at, edge, early)| at == key(0) && early && edge.server.is_none()));
            let out: Vec<Key> = std::iter::from_fn(|| edges.next_out(4, 100)).map(|(key, ..)| key).collect();
            assert_eq!(out, (1..50).map(|n| key(n * 100)).collect::<Vec<_>>());
            assert!(edges.upsert(key(9900), 0, server).is_some());
            assert_eq!(edges.len(), 49);
        }
    }
}
