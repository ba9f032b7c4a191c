//! The thread that copies to the object store; see [`crate::remote`].

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::StoreError;

/// How often it looks whether there is something to copy.
const TICK: Duration = Duration::from_secs(1);
/// The longest pause after failures: twice as long after each, drawn from its upper half.
const LONGEST: Duration = Duration::from_secs(30);

impl Core {
    /// One round; says whether there was anything to do.
    fn mirror_once(&self) -> Result<bool, StoreError> {
        let Some(remote) = &self.remote else { return Ok(false) };
        let in_force = self.in_force();
        remote.step(in_force.as_ref().map(|(manifest, live)| (&**manifest, &**live)), self.options.min_free)
    }

    /// Rounds until nothing is left to copy.
    pub(super) fn mirror_all(&self) -> Result<(), StoreError> {
        while self.mirror_once()? {}
        Ok(())
    }
}

/// The thread.
pub(crate) fn run(core: &Arc<Core>) {
    let (mut failures, jitter) = (0u32, RandomState::new());
    while !core.is_stopping() {
        match core.mirror_once() {
            Ok(busy) => {
                if failures > 0 {
                    tracing::info!("the object store answers again");
                    failures = 0;
                }
                // The log may be cut now.
                core.wake.notify_all();
                if !busy {
                    core.rest(TICK);
                }
            }
            // Fenced for good, or closing: what can be read is served.
            Err(StoreError::Closed | StoreError::Held { .. }) => core.rest(LONGEST),
            Err(e) => {
                if failures == 0 && !core.is_stopping() {
                    tracing::error!(error = %e, "copying to the object store failed; it is kept here and tried again");
                }
                failures = failures.saturating_add(1);
                let longest = TICK.saturating_mul(1 << failures.min(5)).min(LONGEST);
                core.rest(longest / 2 + longest.mul_f64((jitter.hash_one(failures) % 1000) as f64 / 2000.0));
            }
        }
    }
}
