//! Why a query cannot be parsed or answered.

use store::StoreError;

/// A query that is not LogQL. Prints as Loki does: `parse error at line 1, col 5: …`, or `parse error : …` for what has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse error {}: {message}", place(*.line, *.column))]
pub struct ParseError {
    /// Byte offset in the query, 0 for what has no place.
    pub offset: usize,
    /// Line, from 1; 0 where Loki does not know it.
    pub line: usize,
    /// Column in characters, from 1; 0 for what has no place.
    pub column: usize,
    /// What is wrong, what was expected.
    pub message: String,
}

fn place(line: usize, column: usize) -> String {
    if line == 0 && column == 0 { String::new() } else { format!("at line {line}, col {column}") }
}

impl ParseError {
    /// An error that concerns no place in particular.
    pub(crate) fn anywhere(message: impl Into<String>) -> Self {
        Self { offset: 0, line: 0, column: 0, message: message.into() }
    }

    /// A stage that cannot be built.
    pub(crate) fn stage(stage: &impl std::fmt::Display, message: &str) -> Self {
        Self::anywhere(format!("stage '{stage}' : {message}"))
    }
}

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A pipeline that cannot be built: 400.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The data do not fit the query: 400, as Loki answers.
    #[error("{0}")]
    Execution(String),
    /// The query reads more lines than it may: 400.
    #[error("the query reads more than {0} lines")]
    TooManyLines(usize),
    /// The answer would have more values, or bytes of lines, than it may: 400.
    #[error("{0}")]
    TooMuchMemory(String),
    /// The templates of the query take more steps than they may: 400.
    #[error("{0}")]
    TooMuchWork(String),
    /// Whoever asked has left, or the time is up.
    #[error("the query was canceled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
