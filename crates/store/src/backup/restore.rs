//! From the object store into a data directory.

use std::io::IoSlice;
use std::sync::Arc;

use objects::Bucket;

use super::copy::read_whole;
use super::{Backup, BackupError, BackupFile, PIECE, Progress, Report};
use crate::StoreError;
use crate::disk::{Disk, folder_of};
use crate::lock::DirectoryLock;
use crate::manifest::Manifests;

/// Where files are until all of them are there.
const UNFINISHED: &str = "restore.tmp";
/// What a data directory consists of.
const PARTS: [&str; 5] = ["manifest", "log", "segments", "objects", "state.redb"];

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BackupError {
    let to_store = StoreError::io(what);
    move |e| to_store(e).into()
}

/// Whether the directory holds a store's data.
fn is_used(disk: &dyn Disk) -> Result<bool, BackupError> {
    for folder in ["manifest", "log", "segments"] {
        if !disk.list(folder).map_err(io(format!("listing {folder}")))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes the directory's data that of `backup`. With `force`, what was there is put into `replaced-<id>/`. An interrupted
/// restore is made again: what it has fetched is kept.
///
/// # Errors
/// [`BackupError::Refused`] for a directory that is in use, or holds data without `force`; [`BackupError::Damaged`]
/// where files of the backup are, and then nothing has changed.
pub fn restore(
    from: &Bucket,
    backup: &Backup,
    disk: &Arc<dyn Disk>,
    force: bool,
    heard: &dyn Fn(Progress),
) -> Result<Report, BackupError> {
    let lock = match DirectoryLock::take(&**disk) {
        Err(e @ StoreError::Locked { .. }) => {
            return Err(BackupError::Refused(format!("{e}: a running Braid cannot be restored onto; stop it first")));
        }
        lock => lock?,
    };
    if is_used(&**disk)? && !force {
        let why = "holds data already; name another directory, or put what is there aside with --force";
        return Err(BackupError::Refused(format!("{} {why}", disk.name())));
    }
    heard(Progress::Begin { files: backup.files.len() as u64, bytes: backup.bytes() });
    let mut report = Report::default();
    let mut damaged = Vec::new();
    for (path, file) in &backup.files {
        let target = format!("{UNFINISHED}/{path}");
        if is_there(&**disk, &target, file) {
            report.known += 1;
            report.known_bytes += file.bytes;
            heard(Progress::Known(file.bytes));
            continue;
        }
        disk.create_dir(folder_of(&target)).map_err(io(format!("creating the folder of {target}")))?;
        let out = disk.open_or_create(&target).map_err(io(format!("creating {target}")))?;
        out.set_size(0).map_err(io(format!("writing {target}")))?;
        let wrong = read_whole(from, file, &mut |at, piece| {
            heard(Progress::Bytes(piece.len() as u64));
            out.write_at(at, &mut [IoSlice::new(piece)]).map_err(StoreError::io(format!("writing {target}")))
        })?;
        if let Some(why) = wrong {
            damaged.push(format!("{}: {why}", file.object));
            continue;
        }
        out.sync().map_err(io(format!("writing {target}")))?;
        disk.sync_dir(folder_of(&target)).map_err(io(format!("writing {target}")))?;
        report.copied += 1;
        report.copied_bytes += file.bytes;
    }
    if !damaged.is_empty() {
        return Err(BackupError::Damaged(damaged));
    }
    install(disk, backup, force)?;
    drop(lock);
    Ok(report)
}

fn is_there(disk: &dyn Disk, path: &str, wanted: &BackupFile) -> bool {
    let Ok(file) = disk.open(path) else { return false };
    if file.size().ok() != Some(wanted.bytes) {
        return false;
    }
    let (mut crc, mut at) = (0, 0);
    while at < wanted.bytes {
        let mut piece = vec![0; PIECE.min(wanted.bytes - at) as usize];
        if file.read_at(at, &mut piece).is_err() {
            return false;
        }
        crc = crc32c::crc32c_append(crc, &piece);
        at += piece.len() as u64;
    }
    crc == wanted.crc32c
}

/// Puts what was there aside and the files where they belong, the manifest last.
fn install(disk: &Arc<dyn Disk>, backup: &Backup, force: bool) -> Result<(), BackupError> {
    let entries = disk.list("").map_err(io("listing the data directory"))?;
    let used: Vec<&str> = PARTS.into_iter().filter(|part| entries.iter().any(|e| e.name == *part)).collect();
    if force && !used.is_empty() {
        let mut aside = format!("replaced-{}", backup.id);
        while entries.iter().any(|e| e.name == aside) {
            aside.push('+');
        }
        disk.create_dir(&aside).map_err(io(format!("creating {aside}")))?;
        for part in used {
            disk.rename(part, &format!("{aside}/{part}")).map_err(io(format!("moving {part} aside")))?;
        }
    } else {
        for part in used {
            // Empty folders, or files of a store that has never written.
            let _ = disk.remove_dir(part).or_else(|_| disk.remove(part));
        }
    }
    if !backup.files.is_empty() {
        disk.rename(&format!("{UNFINISHED}/segments"), "segments").map_err(io("moving the segments"))?;
    }
    disk.sync_dir("").map_err(io("moving the segments"))?;
    let mut manifests = Manifests::open(Arc::clone(disk))?;
    // Twice, so that losing one loses nothing.
    manifests.write(backup.state.clone())?;
    manifests.write(backup.state.clone())?;
    let _ = disk.remove_dir(UNFINISHED);
    Ok(())
}
