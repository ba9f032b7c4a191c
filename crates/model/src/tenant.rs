//! Whose data it is.

use std::fmt;
use std::sync::Arc;

/// A tenant's name, from `X-Scope-OrgID`; [`Tenant::default`] where a request names none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// Why a text is no tenant name. The rules are those of Loki and Mimir.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Longer than 150 bytes.
    #[error("tenant ID is too long: max 150 characters")]
    TooLong,
    /// A character other than letters, digits and `!-_.*'()`.
    #[error("tenant ID '{id}' contains unsupported character '{character}'")]
    Character {
        /// The whole name.
        id: String,
        /// The offender.
        character: char,
    },
    /// `.` and `..` would be folders.
    #[error("tenant ID is '.' or '..'")]
    Dots,
}

impl Tenant {
    /// The tenant of requests that name none.
    pub const DEFAULT: &'static str = "default";

    /// The tenant named `id`; empty is the default tenant.
    ///
    /// # Errors
    /// [`TenantError`] where the name breaks the rules; it is also a folder's name, so the rules are kept strictly.
    pub fn new(id: &str) -> Result<Self, TenantError> {
        if id.is_empty() {
            return Ok(Self::default());
        }
        if id.len() > 150 {
            return Err(TenantError::TooLong);
        }
        if id == "." || id == ".." {
            return Err(TenantError::Dots);
        }
        match id.chars().find(|c| !(c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c))) {
            Some(character) => Err(TenantError::Character { id: id.to_owned(), character }),
            None => Ok(Self(id.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["..", ".", "a/b", "a\\b", "a\0", "ä"] {
            assert!(Tenant::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Tenant::new("").expect("default").as_str(), "default");
        assert_eq!(Tenant::new("team-a").expect("valid").as_str(), "team-a");
    }
}
