//! What the process is and was told to do, as Prometheus' `status/…` shows it.

use std::time::SystemTime;

/// How the process runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    /// When it was started.
    pub start: SystemTime,
    /// Its working directory.
    pub cwd: String,
    /// The machine's name.
    pub hostname: String,
    /// Whether the configuration could be read when it was read last.
    pub reloaded: bool,
    /// When it was read last without an error.
    pub last_reload: SystemTime,
    /// Damaged files that were put aside.
    pub quarantined: u64,
    /// Threads of the process.
    pub threads: usize,
    /// Threads that run at a time.
    pub parallel: usize,
    /// The memory budget, bytes.
    pub memory: usize,
    /// How long samples are kept, as Prometheus writes durations.
    pub retention: String,
}

/// Knows the process.
pub trait About: Send + Sync {
    /// The configuration file, YAML, without its secrets; empty for none.
    fn configuration(&self) -> String;
    /// Names and values of settings: Prometheus' names where it has such a flag, then Braid's own keys.
    fn flags(&self) -> Vec<(String, String)>;
    /// How the process runs.
    fn runtime(&self) -> Runtime;
}
