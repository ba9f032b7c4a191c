//! What the lab leaves on disk while it runs: who runs (`pids/`) and what they said (`logs/`), below one directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The name under which the supervisor itself is recorded.
pub(crate) const SUPERVISOR: &str = "lab";

/// The state directory, `.run` by default.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    /// Creates the directory and its two subdirectories as needed.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        for part in ["pids", "logs"] {
            let path = directory.join(part);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(Self(directory.to_owned()))
    }

    /// The log file of a part.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.0.join("pids").join(name)
    }

    /// Notes that `pid` runs the part.
    pub(crate) fn record_pid(&self, name: &str, pid: u32) -> anyhow::Result<()> {
        let path = self.pid_file(name);
        std::fs::write(&path, format!("{pid}\n")).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forgets the part's process; it has ended.
    pub(crate) fn forget_pid(&self, name: &str) {
        let _ = std::fs::remove_file(self.pid_file(name));
    }

    /// The supervisor that runs on this directory, if one does. A pid that now belongs to another program does not count.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(self.pid_file(SUPERVISOR)).ok()?.trim().parse().ok()?;
        let program = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let program = String::from_utf8_lossy(program.split(|byte| *byte == 0).next()?).into_owned();
        program.ends_with("braid-lab").then_some(pid)
    }

    /// Asks the supervisor to stop, waits for it, and kills it (its children then end by themselves) after ten seconds.
    /// Returns false when none was running.
    pub(crate) async fn stop_supervisor(&self) -> anyhow::Result<bool> {
        let Some(number) = self.supervisor() else { return Ok(false) };
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw).context("not a process id")?;
        kill_process(pid, Signal::TERM).context("cannot signal the supervisor")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.supervisor() == Some(number) {
            if Instant::now() > deadline {
                kill_process(pid, Signal::KILL).context("cannot kill the supervisor")?;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.forget_pid(SUPERVISOR);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pid_that_belongs_to_another_program_is_no_supervisor() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        assert_eq!(state.supervisor(), None);
        state.record_pid(SUPERVISOR, 1).unwrap();
        assert_eq!(state.supervisor(), None);
        state.forget_pid(SUPERVISOR);
        state.forget_pid(SUPERVISOR);
    }
}
