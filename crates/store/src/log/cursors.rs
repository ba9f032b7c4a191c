//! Where each named reader of the log stands, kept in `state.redb`.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use crate::StoreError;
use crate::disk::{Disk, DiskFile};

const FILE: &str = "state.redb";
const TABLE: TableDefinition<'static, &str, u64> = TableDefinition::new("cursors");
/// What a reader keeps beside its position; written in one transaction with it.
const STATES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("states");
/// The database is small; its cache need not be large.
const CACHE: usize = 1 << 20;

/// What happens to a reader that is so slow that the log reaches its size cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCap {
    /// Appends are refused until it has caught up.
    Block,
    /// Its oldest records are dropped and counted.
    DropOldest,
    /// The same, with a cap of its own in bytes instead of the log's: what is kept for it alone does not count towards the
    /// log's cap, so it never stops the appends. It also loses its oldest records where free space gets short.
    DropOldestOver(u64),
}

/// The durable positions, by reader.
#[derive(Debug)]
pub struct Cursors {
    database: Database,
    known: Mutex<BTreeMap<String, (u64, AtCap)>>,
}

#[derive(Debug)]
struct Backend(Arc<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.size()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_size(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, &mut [IoSlice::new(data)])
    }
}

fn failed(e: impl std::fmt::Display) -> StoreError {
    StoreError::Io { what: format!("{FILE}: cursors"), source: io::Error::other(e.to_string()) }
}

/// Tells damage from a disk that fails.
fn opening(e: redb::DatabaseError) -> StoreError {
    let reason = e.to_string();
    match e {
        redb::DatabaseError::Storage(redb::StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            StoreError::Io { what: format!("opening {FILE}"), source }
        }
        _ => StoreError::Corrupt { file: FILE.to_owned(), reason },
    }
}

impl Cursors {
    /// Whether any reader was ever registered in this data directory.
    #[must_use]
    pub fn exist(disk: &dyn Disk) -> bool {
        disk.open(FILE).is_ok()
    }

    /// Opens the database, and makes it if need be.
    ///
    /// # Errors
    /// IO, and [`StoreError::Corrupt`].
    pub fn open(disk: &dyn Disk) -> Result<Self, StoreError> {
        let file = disk.open_or_create(FILE).map_err(StoreError::io(format!("opening {FILE}")))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database = builder.create_with_backend(Backend(file)).map_err(opening)?;
        disk.sync_dir("").map_err(StoreError::io("syncing the data directory"))?;
        let mut known = BTreeMap::new();
        let write = database.begin_write().map_err(failed)?;
        {
            let table = write.open_table(TABLE).map_err(failed)?;
            for row in table.iter().map_err(failed)? {
                let (name, sequence) = row.map_err(failed)?;
                // Until the reader registers again nothing of its is dropped.
                known.insert(name.value().to_owned(), (sequence.value(), AtCap::Block));
            }
        }
        write.commit().map_err(failed)?;
        Ok(Self { database, known: Mutex::new(known) })
    }

    /// Registers a reader; returns the sequence after which it goes on: what it saved, or `start` for a new one.
    ///
    /// # Errors
    /// IO.
    pub fn register(&self, name: &str, start: u64, at_cap: AtCap) -> Result<u64, StoreError> {
        let saved = self.known.lock().get(name).map(|(sequence, _)| *sequence);
        let sequence = saved.unwrap_or(start);
        if saved.is_none() {
            self.write(name, Some(sequence), None)?;
        }
        self.known.lock().insert(name.to_owned(), (sequence, at_cap));
        Ok(sequence)
    }

    /// Saves that `name` has dealt with everything up to `sequence`. Durable on return; a position never moves back.
    ///
    /// # Errors
    /// IO.
    pub fn save(&self, name: &str, sequence: u64) -> Result<(), StoreError> {
        let behind = self.known.lock().get(name).is_none_or(|(saved, _)| *saved < sequence);
        if behind {
            self.write(name, Some(sequence), None)?;
            if let Some((saved, _)) = self.known.lock().get_mut(name) {
                *saved = sequence.max(*saved);
            }
        }
        Ok(())
    }

    /// [`Cursors::save`] together with what the reader knows at that position: after a crash both are there, or neither.
    ///
    /// # Errors
    /// IO.
    pub fn save_with(&self, name: &str, sequence: u64, state: &[u8]) -> Result<(), StoreError> {
        let sequence = self.known.lock().get(name).map_or(sequence, |(saved, _)| sequence.max(*saved));
        self.write(name, Some(sequence), Some(state))?;
        if let Some((saved, _)) = self.known.lock().get_mut(name) {
            *saved = sequence.max(*saved);
        }
        Ok(())
    }

    /// What the reader saved last with [`Cursors::save_with`].
    ///
    /// # Errors
    /// IO.
    pub fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = match read.open_table(STATES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        Ok(table.get(name).map_err(failed)?.map(|bytes| bytes.value().to_vec()))
    }

    /// Forgets a reader: the log is kept for it no longer.
    ///
    /// # Errors
    /// IO.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.write(name, None, None)?;
        self.known.lock().remove(name);
        Ok(())
    }

    /// Without a sequence the reader goes, and its state with it.
    fn write(&self, name: &str, sequence: Option<u64>, state: Option<&[u8]>) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut table = write.open_table(TABLE).map_err(failed)?;
            match sequence {
                Some(sequence) => table.insert(name, sequence).map_err(failed)?,
                None => table.remove(name).map_err(failed)?,
            };
        }
        if sequence.is_none() || state.is_some() {
            let mut table = write.open_table(STATES).map_err(failed)?;
            match state {
                Some(state) => table.insert(name, state).map_err(failed)?,
                None => table.remove(name).map_err(failed)?,
            };
        }
        write.commit().map_err(failed)
    }

    /// Every reader with its position and its policy.
    #[must_use]
    pub fn all(&self) -> Vec<(String, u64, AtCap)> {
        self.known.lock().iter().map(|(name, (sequence, at_cap))| (name.clone(), *sequence, *at_cap)).collect()
    }
}
