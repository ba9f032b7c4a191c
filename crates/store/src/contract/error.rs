//! The one error of this crate.

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or object store failed; `what` names the file and the operation.
    #[error("{what}: {source}")]
    Io {
        /// Operation and file.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A file that is not what was written: named, quarantined, the rest is served.
    #[error("{file} is corrupt: {reason}")]
    Corrupt {
        /// The file.
        file: String,
        /// How it shows.
        reason: String,
    },
    /// A file of a format that this version does not read.
    #[error("{file} has format version {found}; this version of Braid reads up to {supported}")]
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// The newest that is read.
        supported: u32,
    },
    /// Another process holds the data directory.
    #[error("{dir} is in use by another process{holder}")]
    Locked {
        /// The directory.
        dir: String,
        /// ` (pid N)` where known, else empty.
        holder: String,
    },
    /// The object store belongs to another writer.
    #[error("the object store {store} cannot be used: {why}")]
    Held {
        /// The object store.
        store: String,
        /// Who writes there, and what can be done.
        why: String,
    },
    /// Too much at once: retryable; receivers answer 503 with `Retry-After`, gRPC `UNAVAILABLE`.
    #[error("{0}")]
    Busy(String),
    /// A query's budget is exhausted (422 in the APIs).
    #[error("{0}")]
    Limit(String),
    /// The data directory is full or below the free-space watermark: retryable, 503 (Loki and Prometheus) or `UNAVAILABLE`.
    #[error("{0}")]
    Full(String),
    /// Arrow or Parquet refused; a bug or a corrupt file.
    #[error("{what}: {reason}")]
    Columns {
        /// What was being done.
        what: String,
        /// What they say.
        reason: String,
    },
    /// The store is shutting down.
    #[error("the store is shutting down")]
    Closed,
    /// A request that cannot be read; receivers have checked it, so this is a corrupt record or a bug.
    #[error(transparent)]
    Wire(#[from] wire::WireError),
}

impl StoreError {
    /// For `map_err` on IO: says what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on Arrow and Parquet.
    pub fn columns<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |e| Self::Columns { what, reason: e.to_string() }
    }
}
