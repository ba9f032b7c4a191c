//! Logging to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::command::LogFormat;
use crate::own::Own;

/// Starts logging: what `RUST_LOG` says, `info` by default; to `own` as well, where there is one. Panics are logged too, as one
/// event.
///
/// # Errors
/// A `RUST_LOG` that does not parse.
pub(crate) fn start(format: LogFormat, own: Option<Own>) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|e| anyhow::anyhow!("RUST_LOG={text:?}: {e}"))?,
        _ => EnvFilter::new("info"),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter).with(own);
    match format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let trace = std::backtrace::Backtrace::capture();
        match trace.status() {
            std::backtrace::BacktraceStatus::Captured => tracing::error!("panic at {place} in thread {thread}: {what}\n{trace}"),
            _ => tracing::error!("panic at {place} in thread {thread}: {what}"),
        }
    }));
    Ok(())
}
