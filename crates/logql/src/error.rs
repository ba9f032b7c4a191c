//! Why a query cannot be parsed or answered.

use store::StoreError;

/// A query that is not LogQL, or not yet. Prints as Loki does: `parse error at line 1, col 5: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse error at line {line}, col {column}: {message}")]
pub struct ParseError {
    /// Byte offset in the query.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong, what was expected.
    pub message: String,
}

impl ParseError {
    /// An error at byte `offset` of `query`.
    pub(crate) fn at(query: &str, offset: usize, message: impl Into<String>) -> Self {
        let syntax::Position { offset, line, column } = syntax::Position::of(query, offset);
        Self { offset, line, column, message: message.into() }
    }
}

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The data do not fit the query, or there is too much of them: 400, as Loki answers.
    #[error("{0}")]
    Execution(String),
    /// Whoever asked has left, or the time is up.
    #[error("the query was canceled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
