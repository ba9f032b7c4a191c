//! Keeps the process within its memory budget: looks at what it takes, and where that comes close to the budget has the
//! receivers hold requests back, heads flushed early, merges put off and caches made smaller.
//!
//! The parts each keep to their share of the budget. What they cannot know is what the others' peaks, the connections'
//! buffers and the allocator take at the same moment.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use collector::Brake;
use store::Store;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(20);
/// How often caches are made smaller while memory is short: what they let go shows a moment later.
const SHED_EVERY: Duration = Duration::from_millis(200);

/// The budget, and how often it was short.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: usize,
    brake: Brake,
    times: AtomicU64,
    short_ms: AtomicU64,
}

impl Memory {
    /// A budget of so many bytes; `brake` holds the receivers back.
    pub(crate) fn new(budget: usize, brake: Brake) -> Self {
        Self { budget, brake, times: AtomicU64::new(0), short_ms: AtomicU64::new(0) }
    }

    /// Whether so many resident bytes are too many; with some distance, so that it does not flutter.
    fn is_short(&self, resident: usize) -> bool {
        resident > self.budget / 16 * if self.brake.is_on() { 13 } else { 14 }
    }

    /// Watches until `stop`. Where the system does not say what the process takes (anything but Linux) there is nothing to watch.
    pub(crate) async fn watch(self: Arc<Self>, store: Arc<Store>, stop: CancellationToken) {
        let mut shed: Option<Instant> = None;
        let mut looked = Instant::now();
        while let Some(resident) = resident() {
            let (was, short) = (self.brake.is_on(), self.is_short(resident));
            if was {
                let ms = u64::try_from(looked.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.short_ms.fetch_add(ms, Ordering::Relaxed);
            }
            looked = Instant::now();
            if short && !was {
                self.times.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(resident, budget = self.budget, "memory is short");
            }
            self.brake.set(short);
            if short != was || (short && shed.is_none_or(|at| at.elapsed() > SHED_EVERY)) {
                shed = Some(looked);
                store.set_short_of_memory(short);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Appends the metrics in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        metric("braid_memory_budget_bytes", "gauge", "What the process may take.", self.budget as f64);
        let (times, seconds) = (self.times.load(Ordering::Relaxed), self.short_ms.load(Ordering::Relaxed) as f64 / 1e3);
        metric("braid_memory_short_total", "counter", "How often memory came close to the budget.", times as f64);
        metric("braid_memory_short_seconds_total", "counter", "How long it stayed so, in all.", seconds);
    }
}

/// Resident bytes of this process: the second number of proc_pid_statm(5), in pages.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_near_the_budget_and_until_it_is_well_below() {
        let memory = Memory::new(1600, Brake::default());
        assert!(!memory.is_short(1400) && memory.is_short(1401));
        memory.brake.set(true);
        assert!(memory.is_short(1301) && !memory.is_short(1300));
        let now = resident();
        assert!(now.is_none_or(|bytes| bytes > 1 << 20), "{now:?}");
    }
}
