//! Requests between two services: the client's span and the server's, which come in any order and in any batch.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use model::{SpanId, TraceId};
use serde::{Deserialize, Serialize};

use crate::series::Exact;

/// The trace, and the client's span id.
pub(crate) type Key = (TraceId, SpanId);

/// How two services speak; the label `connection_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub(crate) fn is_complete(&self) -> bool {
        self.client.as_ref().is_some_and(|s| !s.is_empty()) && self.server.as_ref().is_some_and(|s| !s.is_empty())
    }
}

/// The halves that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    waiting: HashMap<Key, Edge>,
    /// When each expires, nanoseconds; of edges that are complete by now as well.
    order: VecDeque<(i64, Key)>,
}

impl Edges {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Changes the edge `key` and gives it back when it is complete; else it waits until `expires`.
    pub(crate) fn upsert(&mut self, key: Key, expires: i64, update: impl FnOnce(&mut Edge)) -> Option<Edge> {
        if let Some(edge) = self.waiting.get_mut(&key) {
            update(edge);
            return if edge.is_complete() { self.waiting.remove(&key) } else { None };
        }
        let mut edge = Edge::default();
        update(&mut edge);
        if edge.is_complete() {
            return Some(edge);
        }
        self.insert(key, expires, edge);
        None
    }

    fn insert(&mut self, key: Key, expires: i64, edge: Edge) {
        self.waiting.insert(key, edge);
        self.order.push_back((expires, key));
        // Most edges complete at once; what they leave behind in the order must not grow without end.
        if self.order.len() > 64 && self.order.len() > 4 * self.waiting.len() {
            self.order.retain(|(_, key)| self.waiting.contains_key(key));
        }
    }

    /// The oldest edge, when it has expired or there are more than `most`; and whether it had not expired yet.
    pub(crate) fn next_out(&mut self, now: i64, most: usize) -> Option<(Key, Edge, bool)> {
        loop {
            let (expires, key) = *self.order.front()?;
            if !self.waiting.contains_key(&key) {
                self.order.pop_front();
                continue;
            }
            if expires > now && self.waiting.len() <= most {
                return None;
            }
            self.order.pop_front();
            return self.waiting.remove(&key).map(|edge| (key, edge, expires > now));
        }
    }

    pub(crate) fn save(&self) -> Vec<(String, String, i64, Edge)> {
        let waiting = self.order.iter().filter_map(|(expires, key)| Some((expires, key, self.waiting.get(key)?)));
        waiting.map(|(expires, (trace, span), edge)| (trace.to_string(), span.to_string(), *expires, edge.clone())).collect()
    }

    pub(crate) fn restore(&mut self, saved: Vec<(String, String, i64, Edge)>) {
        for (trace, span, expires, edge) in saved {
            if let (Ok(trace), Ok(span)) = (trace.parse(), span.parse()) {
                self.insert((trace, span), expires, edge);
            }
        }
    }
}
