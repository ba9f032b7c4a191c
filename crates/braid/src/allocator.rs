//! What the allocator is told before a server begins.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// How long freed pages are kept, milliseconds. mimalloc's own second holds back about as much under load as is in use: three
/// floods at once peaked at 866 MiB, with ten milliseconds at 535, and took in as much (`bench/overload.py`).
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "10");

/// Begins once more, as the same process, with the variable that the allocator reads when a process begins. Whoever has set it
/// keeps it; where it does not work, the server runs as it is and takes more memory under load.
pub(crate) fn give_back_early() {
    let (name, value) = PURGE_DELAY;
    if std::env::var_os(name).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(own) = arguments.next() {
        again.arg0(own);
    }
    // Comes back only where it failed.
    let _ = again.args(arguments).env(name, value).exec();
}
