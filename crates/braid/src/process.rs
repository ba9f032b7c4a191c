//! What the operating system says of this process, under the names that Prometheus' clients use.

use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// When this process started to look at itself: close enough to when it was started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    started: SystemTime,
}

impl Process {
    /// Now.
    pub(crate) fn new() -> Self {
        Self { started: SystemTime::now() }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> SystemTime {
        self.started
    }

    /// Seconds since the start.
    pub(crate) fn uptime(&self) -> f64 {
        self.started.elapsed().map_or(0.0, |d| d.as_secs_f64())
    }

    /// Appends CPU, memory, files and start in Prometheus' text format; what Linux does not tell is left out.
    pub(crate) fn write_text(&self, out: &mut String) {
        let mut metric = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
            }
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok().map(|n| n * 1024.0)
        };
        metric("process_cpu_seconds_total", "counter", "User and system time.", cpu_seconds());
        metric("process_resident_memory_bytes", "gauge", "Resident memory.", kib("VmRSS"));
        metric("process_resident_memory_max_bytes", "gauge", "The most resident memory so far.", kib("VmHWM"));
        metric("process_virtual_memory_bytes", "gauge", "Virtual memory.", kib("VmSize"));
        let files = fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as f64);
        metric("process_open_fds", "gauge", "Open files and sockets.", files);
        let start = self.started.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs_f64());
        metric("process_start_time_seconds", "gauge", "When the process started, seconds since the epoch.", start);
    }
}

/// `utime` and `stime` of proc(5), in ticks of 10 ms (`USER_HZ` is 100 on every architecture that Linux tells it to).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name stands in parentheses and may hold anything; fields count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
