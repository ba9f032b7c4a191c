//! `braid-lab up`: starts the parts as child processes, starts again what dies, keeps their log lines, and takes all of them
//! along when it ends.
//!
//! Each child's standard input is a pipe whose other end only the supervisor holds. To stop a child gracefully the pipe is
//! closed; and should the supervisor be killed, the kernel closes it. No child outlives its supervisor either way.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::Stop;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::state::State;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A part that ran this long starts with a fresh backoff when it dies.
const STEADY: Duration = Duration::from_secs(10);
/// What is left after this is killed.
const GRACE: Duration = Duration::from_secs(2);
/// A log file is moved aside at this size; one older file is kept.
const LOG_LIMIT: u64 = 32 << 20;

/// A process to keep alive.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Names its pid file, its log file and the prefix of its lines.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// Keeps all `parts` alive until `stop`, then stops them, each for at most two seconds.
///
/// `echo` repeats their lines on stdout, prefixed with the part's name.
pub(crate) async fn supervise(parts: Vec<Part>, state: &State, echo: bool, stop: &Stop) {
    let mut keepers = tokio::task::JoinSet::new();
    for part in parts {
        let log = Log::new(part.name, state.clone(), echo);
        keepers.spawn(keep(part, state.clone(), Arc::new(log), stop.clone()));
    }
    while keepers.join_next().await.is_some() {}
}

async fn keep(part: Part, state: State, log: Arc<Log>, stop: Stop) {
    let mut backoff = FIRST_BACKOFF;
    while !stop.is_set() {
        let started = Instant::now();
        let ended = match start(&part, &state, &log) {
            Ok(child) => watch(child, &stop).await,
            Err(error) => Err(error),
        };
        state.forget_pid(part.name);
        if stop.is_set() {
            return;
        }
        if started.elapsed() > STEADY {
            backoff = FIRST_BACKOFF;
        }
        let how = match ended {
            Ok(status) => status.to_string(),
            Err(error) => format!("{error:#}"),
        };
        log.say(&format!("ended ({how}); starts again in {backoff:?}"));
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.wait() => {}
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

fn start(part: &Part, state: &State, log: &Arc<Log>) -> anyhow::Result<Child> {
    let mut child = Command::new(&part.program)
        .args(&part.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal goes to the whole group; the supervisor alone decides when its children stop.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", part.program.display()))?;
    if let Some(pid) = child.id() {
        state.record_pid(part.name, pid)?;
    }
    let (lines, inbox) = mpsc::channel(256);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(read_lines(stdout, lines.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(read_lines(stderr, lines));
    }
    tokio::spawn(write_lines(inbox, log.clone()));
    Ok(child)
}

/// Waits for the child to end, or for `stop` and then ends it.
async fn watch(mut child: Child, stop: &Stop) -> anyhow::Result<ExitStatus> {
    // Taken out so that waiting does not close it: an open pipe means "go on".
    let tether = child.stdin.take();
    tokio::select! {
        status = child.wait() => return Ok(status?),
        () = stop.wait() => {}
    }
    drop(tether);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => Ok(status?),
        Err(_) => {
            child.kill().await?;
            Ok(child.wait().await?)
        }
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut stream = BufReader::new(stream).split(b'\n');
    while let Ok(Some(line)) = stream.next_segment().await {
        if lines.send(String::from_utf8_lossy(&line).into_owned()).await.is_err() {
            return;
        }
    }
}

async fn write_lines(mut inbox: mpsc::Receiver<String>, log: Arc<Log>) {
    while let Some(line) = inbox.recv().await {
        log.write(&line);
    }
}

/// Where the lines of one part go. Lines are written as they come; a full disk loses them and nothing else.
struct Log {
    name: &'static str,
    state: State,
    echo: bool,
}

impl Log {
    fn new(name: &'static str, state: State, echo: bool) -> Self {
        Self { name, state, echo }
    }

    /// A line about the part, by the supervisor itself.
    fn say(&self, text: &str) {
        self.write(&format!("[supervisor] {text}"));
        if !self.echo {
            eprintln!("{:<8} | {text}", self.name);
        }
    }

    fn write(&self, line: &str) {
        let path = self.state.log(self.name);
        if std::fs::metadata(&path).is_ok_and(|file| file.len() > LOG_LIMIT) {
            let _ = std::fs::rename(&path, path.with_extension("log.1"));
        }
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(&path) {
            let _ = writeln!(file, "{line}");
        }
        if self.echo {
            let _ = writeln!(std::io::stdout().lock(), "{:<8} | {line}", self.name);
        }
    }
}
