//! The disk of the machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, Entry};

/// A folder of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The disk below `root`, which is made where it does not exist.
    ///
    /// # Errors
    /// IO.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

fn opened(file: File) -> Arc<dyn DiskFile> {
    Arc::new(RealFile(file))
}

/// Whether a write failed because nothing here may be written: by the file system, or by permission.
fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.at(path)).map(opened)
    }

    fn open_or_create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at(path)).map(opened)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        File::open(self.at(path)).map(opened)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.at(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(self.at(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let entries = match std::fs::read_dir(self.at(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A name that is not UTF-8 is not one of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let folder = meta.is_dir();
            out.push(Entry { name, bytes: if folder { 0 } else { meta.len() }, folder });
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }

    fn create_dir(&self, folder: &str) -> io::Result<()> {
        let mut path = self.root.clone();
        for part in folder.split('/').filter(|p| !p.is_empty()) {
            let parent = path.clone();
            path.push(part);
            match std::fs::create_dir(&path) {
                Ok(()) => sync_folder(&parent)?,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        sync_folder(&self.at(folder))
    }

    fn free_space(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Box<dyn Send + Sync>> {
        let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.at(path)) {
            Err(e) if is_read_only(&e) => match File::open(self.at(path)) {
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Err(e),
                readable => readable?,
            },
            writable => writable?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The text only makes the message better.
                let _ = (&file).take(256).read_to_string(&mut holder);
                return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_owned()));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // The lock is the file's; its text is for people, and a directory that cannot be written has none of ours.
        match file.set_len(0).and_then(|()| file.write_all(text.as_bytes())) {
            Err(e) if !is_read_only(&e) && e.kind() != io::ErrorKind::InvalidInput && e.kind() != io::ErrorKind::StorageFull => {
                Err(e)
            }
            _ => Ok(Box::new(file)),
        }
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }
}

#[derive(Debug)]
struct RealFile(File);

/// What `pwritev` takes at once (Linux: `IOV_MAX`).
const MOST_PARTS: usize = 1024;

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        self.0.metadata().map(|m| m.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&self, mut offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !parts.is_empty() {
            let now = parts.len().min(MOST_PARTS);
            let written = match rustix::io::pwritev(&self.0, &parts[..now], offset) {
                Ok(0) if parts[..now].iter().any(|p| !p.is_empty()) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(e.into()),
            };
            offset += written as u64;
            if written == 0 {
                parts = &mut parts[now..];
            } else {
                IoSlice::advance_slices(&mut parts, written);
            }
        }
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
