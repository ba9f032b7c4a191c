//! A running Braid.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Reply, get};

/// A process of our own; killed when dropped.
pub(crate) struct Braid {
    child: Child,
    addresses: HashMap<String, String>,
    log: PathBuf,
}

impl Braid {
    /// Starts it over `dir` and waits until it is ready.
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// Starts it with more arguments.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str]) -> Self {
        Self::try_start(dir, arguments).unwrap_or_else(|(status, log)| panic!("braid ended with {status}:\n{log}"))
    }

    /// Starts it, or says how it ended instead.
    pub(crate) fn try_start(dir: &Path, arguments: &[&str]) -> Result<Self, (ExitStatus, String)> {
        Self::spawn(dir, Command::new(env!("CARGO_BIN_EXE_braid")), arguments)
    }

    /// Starts it with file systems of its own: `mounts` is a shell script whose `$DIR` is `dir`; its mounts end with the process.
    pub(crate) fn start_with_mounts(dir: &Path, mounts: &str, arguments: &[&str]) -> Self {
        let mut command = private_mounts();
        command.env("DIR", dir).args(["sh", "-ec", &format!("{mounts}\nexec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_braid")]);
        Self::spawn(dir, command, arguments).unwrap_or_else(|(status, log)| panic!("braid ended with {status}:\n{log}"))
    }

    fn spawn(dir: &Path, mut command: Command, arguments: &[&str]) -> Result<Self, (ExitStatus, String)> {
        let log = dir.join(format!("log-{}", std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos()));
        let mut child = command
            .args(["serve", "--free-ports", "--print-ready", "--data-dir"])
            .arg(dir.join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the binary is built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("text");
        if line.is_empty() {
            let status = child.wait().expect("waited for once");
            return Err((status, std::fs::read_to_string(log).unwrap_or_default()));
        }
        let ready: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        let addresses = ready.as_object().expect("an object").iter();
        let addresses = addresses.filter_map(|(face, at)| Some((face.clone(), at.as_str()?.to_owned()))).collect();
        Ok(Self { child, addresses, log })
    }

    /// `host:port` of a face.
    pub(crate) fn at(&self, face: &str) -> &str {
        self.addresses.get(face).unwrap_or_else(|| panic!("no port for {face}: {:?}", self.addresses))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn get(&self, face: &str, path: &str) -> Reply {
        get(self.at(face), path)
    }

    /// The value of a sample at `/metrics`, written as there; 0 when absent.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = self.get("braid", "/metrics").text();
        let value = text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal; how it ended, and what it logged.
    pub(crate) fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill(1)");
        assert!(status.success());
        (self.child.wait().expect("waited for once"), self.log())
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("ours");
        self.child.wait().expect("waited for once");
    }

    /// Waits until `probe` gives something.
    pub(crate) fn eventually<T>(&self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what} did not happen; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Braid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `unshare` into a mount namespace; as root or as a user who becomes root there.
fn private_mounts() -> Command {
    let mut command = Command::new("unshare");
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    command.arg(if root { "-m" } else { "-rm" });
    command
}

/// Whether this machine lets a test mount a file system for itself.
pub(crate) fn can_mount() -> bool {
    can_mount_with("mkdir \"$d/m\" && mount -t tmpfs -o size=1m tmpfs \"$d/m\"")
}

/// Whether `script`, which mounts something at `$d/m`, works here.
pub(crate) fn can_mount_with(script: &str) -> bool {
    let try_it = format!("d=$(mktemp -d) && {{ {script}; }}; r=$?; umount \"$d/m\"; rm -rf \"$d\"; exit $r");
    private_mounts().args(["sh", "-c", &try_it]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}
