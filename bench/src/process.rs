//! A server under test: started, watched through `/proc`, stopped by its own id.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::send::{Url, request};

/// A started server; stopped when dropped.
pub(crate) struct Server {
    child: Child,
    /// Seconds from start until it said that it was ready.
    pub(crate) start_s: f64,
}

impl Server {
    /// Starts `command`, its output to `log`, and waits until `ready` answers 200.
    pub(crate) fn start(command: &mut Command, log: &Path, ready: &Url) -> Result<Self> {
        let out = fs::File::create(log)?;
        let begun = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let mut server = Self { child, start_s: 0.0 };
        while begun.elapsed() < Duration::from_secs(30) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{:?} ended at once ({status}); see {}", command.get_program(), log.display());
            }
            if matches!(request(ready, "GET", "", b""), Ok((200, _))) {
                server.start_s = begun.elapsed().as_secs_f64();
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{:?} was not ready after 30 s; see {}", command.get_program(), log.display())
    }

    /// User and system CPU seconds so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the command's name in parentheses: field 14 is utime, 15 stime, in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).context("reading /proc stat");
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Resident memory in MiB: now (`VmRSS`) and at its peak (`VmHWM`).
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
            line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// Waits until the server has used less than 2 % of a core for `quiet`, at most `most`.
    pub(crate) fn wait_idle(&self, quiet: Duration, most: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < most {
            let before = self.cpu_s()?;
            std::thread::sleep(quiet);
            if self.cpu_s()? - before <= 0.02 * quiet.as_secs_f64() {
                break;
            }
        }
        Ok(())
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits; returns the seconds that took.
    pub(crate) fn stop(mut self) -> Result<f64> {
        let begun = Instant::now();
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        while begun.elapsed() < Duration::from_secs(60) {
            if self.child.try_wait()?.is_some() {
                return Ok(begun.elapsed().as_secs_f64());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the server did not stop within 60 s of SIGTERM")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of all files below `dir`, or of those below its folder `only`.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => bytes_below(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}
