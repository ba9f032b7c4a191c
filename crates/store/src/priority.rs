//! Who waits when there is more to do than the cores can: first what nobody waits for, then what comes in, last a query.

/// What a thread does, as far as its priority is concerned. Threads that it starts are like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Takes in: senders wait for it, and can.
    Intake,
    /// Merges, copies, exports: nobody waits for it.
    Upkeep,
}

impl Priority {
    /// Gives the calling thread this priority, as steps of nice(2): beside a busy query a thread of intake gets a quarter of a
    /// core, one of upkeep a tenth. On Linux only: elsewhere niceness is the process', not a thread's.
    pub fn apply(self) {
        #[cfg(target_os = "linux")]
        {
            let steps = match self {
                Self::Intake => 5,
                Self::Upkeep => 10,
            };
            if let Err(e) = rustix::process::nice(steps) {
                tracing::debug!(error = %e, "a thread keeps its priority");
            }
        }
    }
}
