//! `braid-lab tether -- program …`: ties a program that knows nothing of pipes to the supervisor. When standard input ends,
//! the program gets SIGTERM, and SIGKILL if it is still there two seconds later.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use kit::Stop;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

const GRACE: Duration = Duration::from_millis(1_900);

/// Arguments of `braid-lab tether`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the program until it ends or `stop`; its exit code becomes ours.
pub(crate) async fn run(options: Options, stop: Stop) -> anyhow::Result<ExitCode> {
    let (program, arguments) = options.command.split_first().context("no program given")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let status = tokio::select! {
        status = child.wait() => status?,
        () = stop.wait() => {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended in this very moment; the wait below tells.
                let _ = kill_process(pid, Signal::TERM);
            }
            match tokio::time::timeout(GRACE, child.wait()).await {
                Ok(status) => status?,
                Err(_) => {
                    child.kill().await?;
                    child.wait().await?
                }
            }
        }
    };
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
