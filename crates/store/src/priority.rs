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
    /// Gives the calling thread this priority, as steps of nice(2) below the first thread that was given one: beside a busy query a
    /// thread of intake gets a tenth of a core, one of upkeep a thirtieth. A thread that has it, or a lower one, from the thread that
    /// started it keeps what it has. On Linux only: elsewhere niceness is the process', not a thread's.
    pub fn apply(self) {
        #[cfg(target_os = "linux")]
        {
            static FIRST: std::sync::OnceLock<i32> = std::sync::OnceLock::new();
            let steps = match self {
                Self::Intake => 10,
                Self::Upkeep => 15,
            };
            let applied = rustix::process::nice(0).and_then(|now| {
                let missing = FIRST.get_or_init(|| now).saturating_add(steps).saturating_sub(now);
                if missing > 0 { rustix::process::nice(missing) } else { Ok(now) }
            });
            if let Err(e) = applied {
                tracing::debug!(error = %e, "a thread keeps its priority");
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Priority;

    fn niceness_after(priorities: &[Priority]) -> i32 {
        let priorities = priorities.to_vec();
        std::thread::spawn(move || {
            priorities.iter().for_each(|p| p.apply());
            rustix::process::nice(0).expect("a thread may ask for its niceness")
        })
        .join()
        .expect("no panic")
    }

    #[test]
    fn what_a_thread_has_from_its_parent_does_not_add_up() {
        let intake = niceness_after(&[Priority::Intake]);
        assert_eq!(niceness_after(&[Priority::Intake, Priority::Intake]), intake);
        let upkeep = niceness_after(&[Priority::Upkeep]);
        assert_eq!(niceness_after(&[Priority::Intake, Priority::Upkeep]), upkeep);
        assert_eq!(niceness_after(&[Priority::Upkeep, Priority::Intake]), upkeep);
        // 19 is the least there is.
        assert!(upkeep > intake || upkeep == 19, "{upkeep} {intake}");
    }
}
