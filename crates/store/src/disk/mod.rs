//! The disk as the engine sees it: a folder with positioned reads and writes, and three kinds of barrier.
//!
//! Everything that the engine keeps goes through [`Disk`], so that [`SimDisk`] can stand in for the real one and lose
//! what a power cut would lose. The model is POSIX's, taken strictly:
//!
//! * a write is durable only after [`DiskFile::sync`] of that file returned without an error;
//! * a name (created, renamed, removed) is durable only after [`Disk::sync_dir`] of its folder;
//! * after a failed sync nothing is known of the file's unsynced bytes, and a second sync proves nothing
//!   (Linux drops the dirty pages and reports the error once). Whoever gets an error from `sync` abandons the file.
//!
//! Paths are relative to the data directory, `/` between folders, never starting with one.

mod real;
mod sim;

use std::fmt::Debug;
use std::io;
use std::io::IoSlice;
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::SimDisk;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Without the folder.
    pub name: String,
    /// Size in bytes; 0 for a folder.
    pub bytes: u64,
    /// Whether it is a folder.
    pub folder: bool,
}

/// A folder of files.
pub trait Disk: Send + Sync + Debug {
    /// Makes a file that must not exist yet, for writing and reading.
    ///
    /// # Errors
    /// IO; `AlreadyExists` where the name is taken.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing, and makes it if need be.
    ///
    /// # Errors
    /// IO.
    fn open_or_create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading only.
    ///
    /// # Errors
    /// IO; `NotFound`.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it, atomically.
    ///
    /// # Errors
    /// IO.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// IO; `NotFound`.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// IO; also when it is not empty.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// What is in a folder, sorted by name; nothing where the folder does not exist.
    ///
    /// # Errors
    /// IO.
    fn list(&self, folder: &str) -> io::Result<Vec<Entry>>;

    /// Makes a folder and those above it, and makes their names durable.
    ///
    /// # Errors
    /// IO.
    fn create_dir(&self, folder: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; `""` is the data directory.
    ///
    /// # Errors
    /// IO.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Bytes that an unprivileged process can still write.
    ///
    /// # Errors
    /// IO.
    fn free_space(&self) -> io::Result<u64>;

    /// Takes the folder for this process until the guard is dropped or the process ends, however it ends.
    ///
    /// # Errors
    /// `WouldBlock` with the holder's text (see [`Disk::lock`]'s `text`) where another holds it; IO.
    fn lock(&self, path: &str, text: &str) -> io::Result<Box<dyn Send + Sync>>;

    /// What to call the folder in messages.
    fn name(&self) -> String;
}

/// An open file. Methods take `&self`: one writer at a time is the caller's duty, readers may run beside it.
pub trait DiskFile: Send + Sync + Debug {
    /// Size in bytes.
    ///
    /// # Errors
    /// IO.
    fn size(&self) -> io::Result<u64>;

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// IO; `UnexpectedEof` past the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes all of `parts` one after the other from `offset` on.
    ///
    /// # Errors
    /// IO; some of it may have been written.
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Cuts the file, or fills it up with zeros.
    ///
    /// # Errors
    /// IO.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes what was written durable, with what is needed to read it back (`fdatasync`).
    ///
    /// # Errors
    /// IO; see the module's rule on failed syncs.
    fn sync(&self) -> io::Result<()>;
}

/// The folder that holds `path`; `""` for the data directory.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
