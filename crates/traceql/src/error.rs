//! Why a query cannot be parsed or answered.

use store::StoreError;

/// A query that is not TraceQL, or means nothing. Prints as Tempo does, with the position: `parse error at line 1, col 5: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {line}, col {column}: {message}", self.kind.as_str())]
pub struct ParseError {
    /// What sort of error.
    pub kind: ErrorKind,
    /// Byte offset in the query.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong, what was expected, in Tempo's words.
    pub message: String,
}

/// How far a query got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It is not of the grammar.
    Syntax,
    /// It is, but its types do not fit.
    Invalid,
    /// Tempo's grammar has it, its evaluation has not.
    Unsupported,
}

impl ErrorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "parse error",
            Self::Invalid | Self::Unsupported => "invalid query",
        }
    }
}

impl ParseError {
    /// An error at byte `offset` of `query`.
    pub(crate) fn at(query: &str, offset: usize, message: impl Into<String>) -> Self {
        let syntax::Position { offset, line, column } = syntax::Position::of(query, offset);
        Self { kind: ErrorKind::Syntax, offset, line, column, message: message.into() }
    }
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Whoever asked has left, or the time is up.
    #[error("the query was canceled")]
    Cancelled,
    /// What the query asks cannot be computed.
    #[error("{0}")]
    Query(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
