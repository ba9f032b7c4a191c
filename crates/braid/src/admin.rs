//! What the APIs may change: deletions, cleaning, snapshots.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Tenant;
use store::disk::RealDisk;
use store::manifest::Manifests;
use store::{Deletion, Store, StoreError, Tombstone, Writer};

/// Folder of the snapshots, below the data directory.
const SNAPSHOTS: &str = "snapshots";

/// The store, as far as it may be changed from outside.
pub(crate) struct Admin {
    store: Arc<Store>,
    dir: PathBuf,
}

impl Admin {
    /// Over the store whose data directory is `dir`.
    pub(crate) fn new(store: Arc<Store>, dir: PathBuf) -> Self {
        Self { store, dir }
    }

    /// A data directory of its own at `to`: links to the segments, and a manifest that names them.
    fn copy(&self, to: &Path) -> Result<(), StoreError> {
        let io = |what: &str, path: &Path| StoreError::io(format!("{what} {}", path.display()));
        // As long as the list is held, the files stay.
        let (manifest, _held) = self.store.frozen();
        for segment in &manifest.segments {
            let from = self.dir.join(&segment.file);
            let target = to.join(&segment.file);
            let (Some(folder), Some(name)) = (from.parent(), from.file_name().and_then(|n| n.to_str())) else { continue };
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(io("creating", parent))?;
            }
            // The segment and its sidecars.
            let stem = name.split('.').next().unwrap_or(name);
            for entry in std::fs::read_dir(folder).map_err(io("listing", folder))? {
                let entry = entry.map_err(io("listing", folder))?;
                let own = entry.file_name().to_str().is_some_and(|n| n.split('.').next() == Some(stem));
                if own && let Some(parent) = target.parent() {
                    let link = parent.join(entry.file_name());
                    link_or_copy(&entry.path(), &link).map_err(io("linking", &link))?;
                }
            }
        }
        let disk = Arc::new(RealDisk::open(to).map_err(io("opening", to))?);
        Manifests::open(disk)?.write(manifest)?;
        Ok(())
    }
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => std::fs::copy(from, to).and_then(|_| std::fs::File::open(to)?.sync_all()),
    }
}

impl api::Admin for Admin {
    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError> {
        self.store.delete(deletion)
    }

    fn cancel(&self, tenant: &Tenant, id: u64) -> Result<bool, StoreError> {
        self.store.cancel(tenant, id)
    }

    fn clean(&self) -> Result<(), StoreError> {
        self.store.clean()
    }

    fn snapshot(&self, skip_head: bool) -> Result<String, StoreError> {
        if !skip_head {
            self.store.settle()?;
        }
        // As Prometheus names them: the time, and a number that no other has.
        let name = format!("{}-{:016x}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), rand_number());
        let to = self.dir.join(SNAPSHOTS).join(&name);
        std::fs::create_dir_all(&to).map_err(StoreError::io(format!("creating {}", to.display())))?;
        match self.copy(&to) {
            Ok(()) => Ok(name),
            Err(e) => {
                // Half a snapshot is none.
                let _ = std::fs::remove_dir_all(&to);
                Err(e)
            }
        }
    }
}

/// A number that differs from call to call.
fn rand_number() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
