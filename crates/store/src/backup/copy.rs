//! Into the object store, and looking at what is there.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use objects::{Bucket, ObjectsError, Patience};
use xxhash_rust::xxh3::xxh3_64;

use super::{Backup, BackupError, BackupFile, FORMAT, PIECE, Progress, Report, Snapshot, find, list, path_of};
use crate::StoreError;
use crate::manifest::encode;
use crate::remote::stem;

/// Copies `from` into `to` as the backup `id`; `heard` is told how far it is.
///
/// # Errors
/// [`BackupError`]; what was copied is found by the next one.
pub fn backup(
    from: &dyn Snapshot,
    to: &Bucket,
    id: &str,
    made: i64,
    heard: &dyn Fn(Progress),
) -> Result<(Backup, Report), BackupError> {
    let known = match find(to, None) {
        Ok(newest) => newest.files,
        // A damaged one is no reason to have none.
        Err(BackupError::Missing(_) | BackupError::Damaged(_)) => Default::default(),
        Err(e) => return Err(e),
    };
    let there: HashMap<String, u64> = to.list("files", Patience::COMMAND)?.into_iter().map(|o| (o.path, o.bytes)).collect();
    let identities: HashMap<&str, u64> = from
        .manifest()
        .segments
        .iter()
        .map(|s| (stem(&s.file), serde_json::to_vec(s).map_or(0, |bytes| xxh3_64(&bytes))))
        .collect();
    let bytes = from.files().iter().map(|(_, n)| n).sum();
    heard(Progress::Begin { files: from.files().len() as u64, bytes });
    let mut report = Report::default();
    let mut files = std::collections::BTreeMap::new();
    for (path, bytes) in from.files() {
        let identity = identities.get(stem(path)).copied().unwrap_or_default();
        let object = format!("files/{path}@{identity:016x}");
        let mut failure = None;
        let mut read = |offset: u64, len: usize| {
            from.read(path, offset, len).map_err(|e| {
                let told = std::io::Error::other(e.to_string());
                failure = Some(e);
                told
            })
        };
        let crc32c = if there.get(&object) == Some(bytes) {
            report.known += 1;
            report.known_bytes += bytes;
            let before = known.get(path).filter(|k| k.object == object && k.bytes == *bytes).map(|k| k.crc32c);
            let crc = match before {
                Some(crc) => Ok(crc),
                // An interrupted backup has left it.
                None => checksum(*bytes, &mut read),
            };
            heard(Progress::Known(*bytes));
            crc
        } else {
            report.copied += 1;
            report.copied_bytes += bytes;
            to.upload(&object, *bytes, Patience::COMMAND, &mut read, &|n| heard(Progress::Bytes(n))).map_err(BackupError::from)
        };
        let crc32c = match (crc32c, failure) {
            (Ok(crc), _) => crc,
            (Err(_), Some(cause)) => return Err(cause),
            (Err(e), None) => return Err(e),
        };
        files.insert(path.clone(), BackupFile { bytes: *bytes, crc32c, object });
    }
    let made = Backup {
        format: FORMAT,
        id: id.to_owned(),
        made,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: from.manifest().clone(),
        files,
    };
    match to.create(&path_of(id), encode(&made, made.state.format())?.into(), Patience::COMMAND) {
        Ok(()) => {}
        Err(ObjectsError::Exists(_)) if find(to, Some(id))? == made => {}
        Err(ObjectsError::Exists(_)) => {
            return Err(BackupError::Refused(format!("there is a backup {id} in {} already", to.name())));
        }
        Err(e) => return Err(e.into()),
    }
    Ok((made, report))
}

fn checksum(size: u64, read: &mut dyn FnMut(u64, usize) -> std::io::Result<Bytes>) -> Result<u32, BackupError> {
    let mut crc = 0;
    let mut at = 0;
    while at < size {
        let piece = read(at, PIECE.min(size - at) as usize).map_err(StoreError::io("reading what is to be copied"))?;
        crc = crc32c::crc32c_append(crc, &piece);
        at += piece.len() as u64;
    }
    Ok(crc)
}

/// Reads a file of a backup from front to back; says what is wrong with it, if anything.
pub(super) fn read_whole(
    from: &Bucket,
    file: &BackupFile,
    sink: &mut dyn FnMut(u64, &Bytes) -> Result<(), StoreError>,
) -> Result<Option<String>, BackupError> {
    let (mut crc, mut at) = (0, 0);
    while at < file.bytes {
        let range = at..(at + PIECE).min(file.bytes);
        let piece = match from.range(&file.object, range, Patience::COMMAND) {
            Ok(piece) => piece,
            Err(ObjectsError::NotFound(_)) => return Ok(Some("it is missing".to_owned())),
            Err(e) => {
                return match from.size(&file.object, Patience::COMMAND) {
                    Ok(size) if size < file.bytes => Ok(Some(format!("it has {size} of {} bytes", file.bytes))),
                    Err(ObjectsError::NotFound(_)) => Ok(Some("it is missing".to_owned())),
                    _ => Err(e.into()),
                };
            }
        };
        crc = crc32c::crc32c_append(crc, &piece);
        sink(at, &piece)?;
        at += piece.len() as u64;
    }
    let wrong = (crc != file.crc32c).then(|| format!("its checksum is {crc:08x}, not {:08x}", file.crc32c));
    Ok(wrong)
}

/// Reads every file of a backup and compares its checksum.
///
/// # Errors
/// [`BackupError::Damaged`] names all that are not as they were written.
pub fn verify(from: &Bucket, backup: &Backup, heard: &dyn Fn(Progress)) -> Result<(), BackupError> {
    heard(Progress::Begin { files: backup.files.len() as u64, bytes: backup.bytes() });
    let mut damaged = Vec::new();
    let there: HashMap<String, u64> = from.list("files", Patience::COMMAND)?.into_iter().map(|o| (o.path, o.bytes)).collect();
    for file in backup.files.values() {
        let wrong = match there.get(&file.object) {
            None => Some("it is missing".to_owned()),
            Some(size) if *size != file.bytes => Some(format!("it has {size} bytes, not {}", file.bytes)),
            Some(_) => read_whole(from, file, &mut |_, piece| {
                heard(Progress::Bytes(piece.len() as u64));
                Ok(())
            })?,
        };
        damaged.extend(wrong.map(|why| format!("{}: {why}", file.object)));
    }
    if damaged.is_empty() { Ok(()) } else { Err(BackupError::Damaged(damaged)) }
}

/// Removes all backups but the newest `keep`, and the files that none of these needs; says how many backups went.
///
/// # Errors
/// The object store's; [`BackupError::Damaged`] where one that stays cannot be read: then no file goes.
pub fn prune(bucket: &Bucket, keep: usize) -> Result<usize, BackupError> {
    let there = list(bucket)?;
    let (old, stay) = there.split_at(there.len().saturating_sub(keep.max(1)));
    let mut needed = HashSet::new();
    for id in stay {
        needed.extend(find(bucket, Some(id))?.files.into_values().map(|f| f.object));
    }
    for id in old {
        bucket.delete(&path_of(id), Patience::COMMAND)?;
    }
    if !old.is_empty() {
        for object in bucket.list("files", Patience::COMMAND)?.iter().filter(|o| !needed.contains(&o.path)) {
            bucket.delete(&object.path, Patience::COMMAND)?;
        }
    }
    Ok(old.len())
}
