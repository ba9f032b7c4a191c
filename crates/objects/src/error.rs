//! The one error of this crate.

/// Why an object store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ObjectsError {
    /// The address, or what goes with it, is wrong.
    #[error("{0}")]
    Settings(String),
    /// There is no such object.
    #[error("{0} does not exist")]
    NotFound(String),
    /// There is such an object already, and it was to be made.
    #[error("{0} exists already")]
    Exists(String),
    /// The store refuses: credentials, permissions, no such bucket. Trying again does not help.
    #[error("{what}: {why}")]
    Refused {
        /// Operation and object.
        what: String,
        /// The store's words.
        why: String,
    },
    /// No answer, or none that helps, for as long as was to be waited.
    #[error("{what}: the object store does not answer as it should ({why}), after {attempts} attempts")]
    Away {
        /// Operation and object.
        what: String,
        /// The last failure.
        why: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A file of this machine that goes there or comes from there.
    #[error("{what}: {why}")]
    File {
        /// Operation and file.
        what: String,
        /// The operating system's words.
        why: String,
    },
}

impl ObjectsError {
    /// Whether trying again later may help.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

impl From<ObjectsError> for std::io::Error {
    fn from(e: ObjectsError) -> Self {
        let kind = match &e {
            ObjectsError::Settings(_) => std::io::ErrorKind::InvalidInput,
            ObjectsError::NotFound(_) => std::io::ErrorKind::NotFound,
            ObjectsError::Exists(_) => std::io::ErrorKind::AlreadyExists,
            ObjectsError::Refused { .. } => std::io::ErrorKind::PermissionDenied,
            ObjectsError::Away { .. } => std::io::ErrorKind::TimedOut,
            ObjectsError::File { .. } => std::io::ErrorKind::Other,
        };
        Self::new(kind, e)
    }
}
