//! Whether files changed since they were read.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What files looked like: change time, length and inode of each. A file that is not there has a stamp, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Vec<Option<(SystemTime, u64, u64)>>);

impl Stamp {
    /// Of these files, as they are now.
    #[must_use]
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self(paths.into_iter().map(|p| one(p)).collect())
    }
}

fn one(path: &Path) -> Option<(SystemTime, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    // Links are followed: Kubernetes and certbot replace what they point to.
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}
