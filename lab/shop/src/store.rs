//! Where the shop keeps things: a cache with a limit, and tables behind a pool of connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kit::{Counter, DEFAULT_BUCKETS, Histogram, gauge, telemetry};
use opentelemetry::trace::TraceContextExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::server::{Common, lock};

/// Bytes of keys and values that a cache holds at most.
const ROOM: usize = 64 << 10;
/// Connections to the tables.
const CONNECTIONS: usize = 8;

/// Values with an end, as a Redis beside the service would keep them.
pub(crate) struct Cache {
    common: Common,
    entries: Mutex<HashMap<String, (Instant, Value, usize)>>,
    hits: Counter<0>,
    misses: Counter<0>,
    seconds: Histogram<1>,
}

impl Cache {
    pub(crate) fn new(common: &Common) -> Arc<Self> {
        let cache = Arc::new(Self {
            common: common.clone(),
            entries: Mutex::default(),
            hits: Counter::new("cache_hits_total", "Reads that the cache answered", []),
            misses: Counter::new("cache_misses_total", "Reads that the cache could not answer", []),
            seconds: Histogram::new(
                "cache_operation_duration_seconds",
                "Duration of an operation",
                ["operation"],
                DEFAULT_BUCKETS,
            ),
        });
        // Counters that begin with the first hit would leave rates without their first step.
        cache.hits.add([], 0);
        cache.misses.add([], 0);
        let shown = cache.clone();
        common.show(move |text| {
            shown.hits.render(text);
            shown.misses.render(text);
            shown.seconds.render(text);
            gauge(text, "cache_memory_used_bytes", "Bytes of keys and values", shown.used() as f64);
            gauge(text, "cache_memory_max_bytes", "Bytes of keys and values at most", ROOM as f64);
        });
        cache
    }

    fn used(&self) -> usize {
        lock(&self.entries).values().map(|(_, _, bytes)| bytes).sum()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<Value> {
        let found = self
            .timed("cache_get", async || {
                let now = Instant::now();
                lock(&self.entries).get(key).filter(|(end, _, _)| *end > now).map(|(_, value, _)| value.clone())
            })
            .await;
        opentelemetry::Context::map_current(|context| {
            context.span().set_attribute(opentelemetry::KeyValue::new("cache.hit", found.is_some()));
        });
        if found.is_some() {
            self.hits.increment([])
        } else {
            self.misses.increment([])
        }
        found
    }

    /// Keeps a value for a while; what has ended goes first, then anything, until there is room.
    pub(crate) async fn set(&self, key: &str, value: &Value, life: Duration) {
        self.timed("cache_set", async || {
            let now = Instant::now();
            let bytes = key.len() + value.to_string().len();
            let mut entries = lock(&self.entries);
            entries.retain(|_, (end, _, _)| *end > now);
            while entries.values().map(|(_, _, bytes)| bytes).sum::<usize>() + bytes > ROOM {
                let Some(any) = entries.keys().next().cloned() else { return };
                entries.remove(&any);
            }
            entries.insert(key.to_owned(), (now + life, value.clone(), bytes));
        })
        .await;
    }

    pub(crate) async fn delete(&self, keys: &[&str]) {
        self.timed("cache_delete", async || {
            let mut entries = lock(&self.entries);
            for key in keys {
                entries.remove(*key);
            }
        })
        .await;
    }

    pub(crate) fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// What `/cache/stats` says.
    pub(crate) fn stats(&self) -> Value {
        let (hits, misses) = (self.hits.value([]), self.misses.value([]));
        let rate = if hits + misses > 0 { hits as f64 * 100.0 / (hits + misses) as f64 } else { 0.0 };
        json!({
            "used_memory": self.used(), "keys": lock(&self.entries).len(), "keyspace_hits": hits, "keyspace_misses": misses,
            "hit_rate": (rate * 100.0).round() / 100.0,
        })
    }

    async fn timed<T>(&self, name: &'static str, work: impl AsyncFnOnce() -> T) -> T {
        let started = Instant::now();
        let answer = self
            .common
            .traced(name, async |_| {
                self.common.wait(0.1, 0.6).await;
                work().await
            })
            .await;
        self.seconds.observe([name], started.elapsed().as_secs_f64());
        answer
    }
}

/// Tables behind a pool of connections, as a PostgreSQL beside the service would keep them.
pub(crate) struct Tables<T> {
    common: Common,
    connections: Arc<Semaphore>,
    rows: Mutex<T>,
}

impl<T: Send + 'static> Tables<T> {
    pub(crate) fn new(common: &Common, rows: T) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let shown = connections.clone();
        common.show(move |text| {
            let busy = CONNECTIONS - shown.available_permits().min(CONNECTIONS);
            gauge(text, "db_connections", "Connections to the tables", CONNECTIONS as f64);
            gauge(text, "db_connections_busy", "Connections that a query holds", busy as f64);
        });
        Self { common: common.clone(), connections, rows: Mutex::new(rows) }
    }

    /// Runs one statement on a connection, inside a span.
    pub(crate) async fn query<A>(&self, name: &'static str, work: impl FnOnce(&mut T) -> A) -> A {
        self.common
            .traced(name, async |span| {
                let started = Instant::now();
                // The pool is never closed.
                let connection = self.connections.acquire().await;
                self.common.wait(1.0, 6.0).await;
                let answer = work(&mut lock(&self.rows));
                drop(connection);
                telemetry::set(&span, "db.query.duration", started.elapsed().as_secs_f64());
                answer
            })
            .await
    }
}
