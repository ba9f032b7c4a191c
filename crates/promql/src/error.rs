//! Why a query cannot be parsed or answered.

use std::time::Duration;

use store::StoreError;

/// A query that is not PromQL. Prints as Prometheus does: `1:5: parse error: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: parse error: {message}", place(*.line, *.column))]
pub struct ParseError {
    /// Byte offset in the query.
    pub offset: usize,
    /// Line, from 1; 0 where the query is empty.
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
        Self { offset, line: if query.is_empty() { 0 } else { line }, column, message: message.into() }
    }
}

/// Of an empty query Prometheus knows no place.
fn place(line: usize, column: usize) -> String {
    if line == 0 { "unknown position".to_owned() } else { format!("{line}:{column}") }
}

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The data do not fit the query (duplicate series, many-to-many matching): 422.
    #[error("{0}")]
    Execution(String),
    /// More samples than a query may hold: 422.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// A selector chooses more series than it may: 422.
    #[error("the query selects {count} series, the limit is {limit}: add label matchers, or raise queries.max_series")]
    TooManySeries {
        /// How many it chooses.
        count: usize,
        /// How many it may.
        limit: usize,
    },
    /// More memory than a query may take: 422.
    #[error(
        "the query would take more than {limit} bytes of memory: aggregate earlier, ask for fewer steps, or raise queries.max_memory"
    )]
    TooMuchMemory {
        /// Bytes.
        limit: usize,
    },
    /// More processor time than a query may take, to judge by the samples in its windows: 422.
    #[error(
        "the query would take more than {limit:?} of processor time, as each of its many windows has many samples: ask for fewer steps, or for a shorter range"
    )]
    TooMuchWork {
        /// How much it may take.
        limit: Duration,
    },
    /// Whoever asked has left, or the time is up.
    #[error("query was canceled")]
    Cancelled,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
