//! What Prometheus' `status/config`, `status/flags` and `status/runtimeinfo` say of this Braid.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use api::Runtime;
use store::Store;

use crate::config::{Config, SyncMode};
use crate::process::Process;
use crate::reload::Reloads;

/// This process, its configuration and its reloads.
pub(crate) struct About {
    process: Process,
    store: Arc<Store>,
    flags: Vec<(String, String)>,
    reloads: Arc<Reloads>,
    memory: usize,
    retention: String,
}

/// A duration as Prometheus writes it.
fn duration(d: Duration) -> String {
    syntax::prometheus_duration_text(i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// The configuration in force, as the page shows it; nothing secret is among it.
pub(crate) fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let storage = &config.storage;
    let mut settings = vec![
        ("storage.dir", storage.dir.display().to_string()),
        (
            "storage.sync",
            match storage.sync {
                SyncMode::Always => "always".to_owned(),
                SyncMode::Interval(every) => duration(every),
            },
        ),
        ("storage.retention.traces", duration(storage.traces)),
        ("storage.retention.logs", duration(storage.logs)),
        ("storage.retention.metrics", duration(storage.metrics)),
        ("storage.retention.max_size", storage.max_size.map_or_else(|| "no limit".to_owned(), |bytes| format!("{bytes} bytes"))),
        ("storage.out_of_order_time_window", duration(storage.out_of_order)),
        ("memory", format!("{} bytes", config.memory)),
        ("limits.in_flight", format!("{} bytes", config.in_flight)),
    ];
    if let Some(correlation) = &config.correlation {
        settings.push(("correlation.window", duration(correlation.window)));
    }
    if let Some(directory) = &config.dashboards {
        settings.push(("dashboards.directory", directory.display().to_string()));
    }
    settings.push(("auth", if config.auth.is_on() { "on" } else { "off" }.to_owned()));
    for (name, bytes) in [("storage.min_free", storage.min_free), ("storage.log.max_size", storage.log_cap)] {
        settings.extend(bytes.map(|bytes| (name, format!("{bytes} bytes"))));
    }
    settings
}

impl About {
    /// Of this process, with these settings.
    pub(crate) fn new(process: Process, config: &Config, reloads: Arc<Reloads>, store: Arc<Store>) -> Self {
        let queries = &config.queries;
        let retention = duration(config.storage.metrics);
        let prometheus = [
            ("query.lookback-delta", duration(Duration::from_millis(queries.lookback_ms.unsigned_abs()))),
            ("query.max-concurrency", queries.concurrency.to_string()),
            ("query.max-samples", queries.max_samples.to_string()),
            ("query.timeout", duration(queries.timeout)),
            ("storage.tsdb.path", config.storage.dir.display().to_string()),
            ("storage.tsdb.retention.size", config.storage.max_size.map_or_else(|| "0B".to_owned(), |bytes| format!("{bytes}B"))),
            ("storage.tsdb.retention.time", retention.clone()),
            ("web.cors.origin", queries.cors_origin.pattern().to_owned()),
            ("web.enable-admin-api", config.admin_api.to_string()),
            ("web.enable-lifecycle", "true".to_owned()),
            ("web.enable-otlp-receiver", "true".to_owned()),
            ("web.enable-remote-write-receiver", "true".to_owned()),
        ];
        let flags = prometheus.into_iter().chain(settings(config)).map(|(key, value)| (key.to_owned(), value)).collect();
        Self { process, store, flags, reloads, memory: config.memory, retention }
    }
}

impl api::About for About {
    fn configuration(&self) -> String {
        self.reloads.shown()
    }

    fn flags(&self) -> Vec<(String, String)> {
        self.flags.clone()
    }

    fn runtime(&self) -> Runtime {
        let (reloaded, last_reload) = self.reloads.last();
        Runtime {
            start: self.process.started(),
            cwd: std::env::current_dir().map_or_else(|_| String::new(), |dir| dir.display().to_string()),
            hostname: fs::read_to_string("/proc/sys/kernel/hostname")
                .map_or_else(|_| String::new(), |name| name.trim().to_owned()),
            reloaded,
            last_reload,
            quarantined: self.store.stats().quarantined,
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            parallel: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: self.memory,
            retention: self.retention.clone(),
        }
    }
}
