//! Reading the configuration anew while running: what is scraped changes, keys, certificates and dashboards are read again, everything
//! else needs a restart.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use collector::scrape::Scraper;
use tokio::runtime::Handle;

use crate::config::{Config, ConfigError, left_for_a_restart};
use crate::dashboards::Dashboards;
use crate::locks::Locks;

/// Reads and applies the configuration.
pub(crate) struct Reloads {
    runtime: Handle,
    scraper: Scraper,
    locks: Arc<Locks>,
    dashboards: Arc<Dashboards>,
    read: Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>,
    /// The configuration with which the process started, as it may be shown.
    started: String,
    /// The one that was read last.
    shown: Mutex<String>,
    succeeded: AtomicBool,
    /// Seconds since the Unix epoch.
    last: AtomicU64,
}

impl Reloads {
    /// What `read` reads goes to `scraper`, whose tasks run on `runtime`.
    pub(crate) fn new(
        runtime: Handle,
        scraper: Scraper,
        locks: Arc<Locks>,
        dashboards: Arc<Dashboards>,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        shown: String,
    ) -> Self {
        let (read, started, shown) = (Box::new(read), shown.clone(), Mutex::new(shown));
        Self {
            runtime,
            scraper,
            locks,
            dashboards,
            read,
            started,
            shown,
            succeeded: AtomicBool::new(true),
            last: AtomicU64::new(now()),
        }
    }

    /// The configuration file that was read last without an error, without its secrets.
    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the configuration could be read when it was read last, and when it last could.
    pub(crate) fn last(&self) -> (bool, SystemTime) {
        let last = UNIX_EPOCH + Duration::from_secs(self.last.load(Ordering::Relaxed));
        (self.succeeded.load(Ordering::Relaxed), last)
    }

    /// Reads the configuration and applies it; where it is wrong, everything stays as it was.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let _here = self.runtime.enter();
        let result = (self.read)().map_err(|e| e.to_string()).and_then(|config| {
            self.scraper.apply(&config.scrapes)?;
            self.dashboards.read(config.dashboards.as_deref());
            let left = left_for_a_restart(&self.started, &config.shown);
            if !left.is_empty() {
                tracing::warn!("changed, but taken over by a restart only: {}", left.join(", "));
            }
            *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = config.shown;
            Ok(())
        });
        // Also where the configuration is wrong: a key that was taken away must not wait for that.
        let locks = self.locks.reload();
        let result = result.and(locks);
        self.succeeded.store(result.is_ok(), Ordering::Relaxed);
        match &result {
            Ok(()) => {
                self.last.store(now(), Ordering::Relaxed);
                tracing::info!("configuration reloaded");
            }
            Err(why) => tracing::error!("the configuration stays as it was: {why}"),
        }
        result
    }

    /// Appends how the last reload went, in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        for (name, help, value) in [
            (
                "braid_config_last_reload_successful",
                "Whether the configuration could be read when it was read last.",
                u64::from(self.succeeded.load(Ordering::Relaxed)),
            ),
            (
                "braid_config_last_reload_success_timestamp_seconds",
                "When the configuration was read last without an error.",
                self.last.load(Ordering::Relaxed),
            ),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
}

fn now() -> u64 {
    UNIX_EPOCH.elapsed().map_or(0, |d| d.as_secs())
}
