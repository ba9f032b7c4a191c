//! One process a data directory.

use std::io;

use crate::StoreError;
use crate::disk::Disk;

const FILE: &str = "lock";

/// Holds the data directory until it is dropped or the process ends, however it ends (`flock`).
pub(crate) struct DirectoryLock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl DirectoryLock {
    /// Takes the directory.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where another process holds it, IO.
    pub(crate) fn take(disk: &dyn Disk) -> Result<Self, StoreError> {
        match disk.lock(FILE, &format!("{}\n", std::process::id())) {
            Ok(guard) => Ok(Self(guard)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let text = e.to_string();
                let holder = text.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" (pid {pid})"));
                Err(StoreError::Locked { dir: disk.name(), holder })
            }
            Err(e) => Err(StoreError::Io { what: format!("locking {}", disk.name()), source: e }),
        }
    }
}

impl std::fmt::Debug for DirectoryLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryLock")
    }
}
