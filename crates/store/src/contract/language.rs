//! Conditions that only a query language can judge: kept as words, read by whoever opens the store.
//!
//! The store keeps deletions for longer than a process lives and knows no language, so that it keeps the words and is handed
//! a [`Language`] that reads them. Words that nobody has read fail what asks them; they never pass or refuse a row.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Batch, Column, Predicate, StoreError};

/// Reads conditions on log lines.
pub trait Language: fmt::Debug + Send + Sync {
    /// What `words` mean.
    ///
    /// # Errors
    /// What is wrong with them.
    fn read(&self, words: &str) -> Result<Arc<dyn RowTest>, String>;
}

/// Whether rows pass. The same row passes always, or never.
pub trait RowTest: fmt::Debug + Send + Sync {
    /// What it has to see of a row.
    fn columns(&self) -> &[Column];

    /// For each row of a batch of these columns, whether it passes.
    fn passes(&self, batch: &Batch) -> Vec<bool>;
}

/// A condition in a language's words.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Worded {
    words: String,
    test: Option<Arc<dyn RowTest>>,
}

impl From<String> for Worded {
    fn from(words: String) -> Self {
        Self { words, test: None }
    }
}

impl From<Worded> for String {
    fn from(worded: Worded) -> Self {
        worded.words
    }
}

impl Worded {
    /// Words that `test` is the meaning of.
    #[must_use]
    pub fn new(words: &str, test: Arc<dyn RowTest>) -> Self {
        Self { words: words.to_owned(), test: Some(test) }
    }

    /// Their meaning.
    ///
    /// # Errors
    /// Nobody has read them.
    pub(crate) fn test(&self) -> Result<&dyn RowTest, StoreError> {
        let unread = || StoreError::Limit(format!("a condition cannot be judged, because nothing here reads {:?}", self.words));
        self.test.as_deref().ok_or_else(unread)
    }

    fn read(&mut self, language: &dyn Language) -> Result<(), String> {
        if self.test.is_none() {
            self.test = Some(language.read(&self.words)?);
        }
        Ok(())
    }
}

impl Predicate {
    /// Has `language` read the words in it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn read(&mut self, language: &dyn Language) -> Result<(), String> {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter_mut().try_for_each(|p| p.read(language)),
            Self::Not(p) => p.read(language),
            Self::Worded(worded) => worded.read(language),
            _ => Ok(()),
        }
    }

    /// Whether there are words in it.
    pub(crate) fn is_worded(&self) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::is_worded),
            Self::Not(p) => p.is_worded(),
            Self::Worded(_) => true,
            _ => false,
        }
    }
}
