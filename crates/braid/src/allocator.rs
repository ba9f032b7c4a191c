//! What the allocator is told before a server begins.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Variables that the allocator reads when a process begins.
const TOLD: [(&str, &str); 2] = [
    // How long freed pages are kept, milliseconds. mimalloc's own second holds back about as much under load as is in use: three
    // floods at once peaked at 866 MiB, with ten milliseconds at 535, and took in as much (`bench/overload.py`). With thirty lines peak
    // no higher than with ten and take 3 % less processor time, with sixty 5 %, and floods peak at 415 MiB instead of 370.
    ("MIMALLOC_PURGE_DELAY", "30"),
    // No pages of 2 MiB: the first byte of one costs what clearing all of it does, which was most of the processor time of a
    // first query, and a third of the memory was never written to (idle 32 MiB with, 22 without; after taking in 4.8 M samples and
    // a million spans 196 and 136 at the peak, in the same processor time).
    ("MIMALLOC_ALLOW_THP", "0"),
];

/// What of it the environment does not say already.
fn missing(said: impl Fn(&str) -> bool) -> Vec<(&'static str, &'static str)> {
    TOLD.into_iter().filter(|(name, _)| !said(name)).collect()
}

/// Begins once more, as the same process, with the variables. Whoever has set one keeps it; where it does not work, the
/// server runs as it is and takes more memory.
pub(crate) fn tell() {
    let missing = missing(|name| std::env::var_os(name).is_some());
    if missing.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(own) = arguments.next() {
        again.arg0(own);
    }
    // Comes back only where it failed.
    let _ = again.args(arguments).envs(missing).exec();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_set_stays_and_a_process_that_was_told_does_not_begin_again() {
        assert_eq!(missing(|_| false), TOLD);
        assert_eq!(missing(|name| name == "MIMALLOC_PURGE_DELAY"), [("MIMALLOC_ALLOW_THP", "0")]);
        assert!(missing(|_| true).is_empty());
    }
}
