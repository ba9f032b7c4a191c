//! What handlers return, before it becomes a response in an API's shape.

use http::StatusCode;
use model::TenantError;

/// A body that is ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    /// Rows in it (series, lines, traces, …), for the metrics.
    pub(crate) rows: usize,
    /// Why it may lack something.
    pub(crate) partial: Option<String>,
}

impl Answer {
    pub(crate) fn json(body: impl Into<Vec<u8>>, rows: usize) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.into(), rows, partial: None }
    }

    pub(crate) fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into(), rows: 0, partial: None }
    }

    pub(crate) fn protobuf(body: Vec<u8>, rows: usize) -> Self {
        Self { status: StatusCode::OK, content_type: "application/protobuf", body, rows, partial: None }
    }

    /// Done, and nothing to say.
    pub(crate) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, ..Self::text(Vec::new()) }
    }

    pub(crate) fn partial(self, partial: Option<String>) -> Self {
        Self { partial, ..self }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// The request is wrong.
    BadData(String),
    /// The request is sound, the data or the bounds do not allow an answer.
    Execution(String),
    /// The query exceeds a bound: answered as [`Failure::Execution`], and counted.
    Limit(Limit, String),
    /// Nobody may do that here.
    Forbidden(String),
    /// There is no such thing.
    NotFound(String),
    /// It took too long.
    Timeout,
    /// Whoever asked has left.
    Cancelled,
    /// Not now.
    Unavailable(String),
    /// Too many queries wait already.
    Crowded(String),
    /// Our fault.
    Internal(String),
}

/// What bounds a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// Samples that it holds at once.
    Samples,
    /// Series that a selector of it chooses.
    Series,
    /// Bytes, or values, that it takes, its answer included.
    Memory,
    /// Log lines that it reads.
    Lines,
    /// Groups and intervals that the store counts for it.
    Groups,
    /// Steps that its templates take.
    Steps,
    /// How long it takes, waiting included.
    Time,
    /// Queries that wait for a place.
    Concurrency,
}

impl Limit {
    /// The metric's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Memory => "memory",
            Self::Lines => "lines",
            Self::Groups => "groups",
            Self::Steps => "steps",
            Self::Time => "time",
            Self::Concurrency => "concurrency",
        }
    }
}

impl Failure {
    /// The bound that a query ran into, if it was one.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::Limit(limit, _) => Some(*limit),
            Self::Timeout => Some(Limit::Time),
            Self::Crowded(_) => Some(Limit::Concurrency),
            _ => None,
        }
    }
}

impl From<store::StoreError> for Failure {
    fn from(error: store::StoreError) -> Self {
        match error {
            store::StoreError::Limit(why) => Self::Limit(Limit::Groups, why),
            store::StoreError::Busy(_) | store::StoreError::Closed | store::StoreError::Full(_) => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<promql::EvalError> for Failure {
    fn from(error: promql::EvalError) -> Self {
        match error {
            promql::EvalError::Store(e) => e.into(),
            promql::EvalError::Cancelled => Self::Cancelled,
            promql::EvalError::Execution(why) => Self::Execution(why),
            promql::EvalError::TooManySamples => Self::Limit(Limit::Samples, error.to_string()),
            promql::EvalError::TooManySeries { .. } => Self::Limit(Limit::Series, error.to_string()),
            promql::EvalError::TooMuchMemory { .. } => Self::Limit(Limit::Memory, error.to_string()),
            promql::EvalError::TooMuchWork { .. } => Self::Limit(Limit::Time, error.to_string()),
        }
    }
}

impl From<logql::EvalError> for Failure {
    fn from(error: logql::EvalError) -> Self {
        match error {
            logql::EvalError::Store(e) => e.into(),
            logql::EvalError::Cancelled => Self::Cancelled,
            logql::EvalError::Parse(e) => Self::BadData(e.to_string()),
            logql::EvalError::Execution(why) => Self::BadData(why),
            logql::EvalError::TooManyLines(_) => Self::Limit(Limit::Lines, error.to_string()),
            logql::EvalError::TooMuchMemory(why) => Self::Limit(Limit::Memory, why),
            logql::EvalError::TooMuchWork(why) => Self::Limit(Limit::Steps, why),
        }
    }
}

impl From<traceql::EvalError> for Failure {
    fn from(error: traceql::EvalError) -> Self {
        match error {
            traceql::EvalError::Store(e) => e.into(),
            traceql::EvalError::Cancelled => Self::Cancelled,
            traceql::EvalError::Query(why) => Self::BadData(why),
        }
    }
}

impl From<wire::WireError> for Failure {
    fn from(error: wire::WireError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<TenantError> for Failure {
    fn from(error: TenantError) -> Self {
        Self::BadData(error.to_string())
    }
}
