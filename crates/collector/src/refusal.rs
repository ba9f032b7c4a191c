//! Why a request was not taken, and what each protocol says then: the one mapping from errors to statuses.

use std::time::Duration;

use http::StatusCode;
use model::TenantError;
use store::StoreError;
use wire::WireError;

/// A request of which nothing was kept.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// `X-Scope-OrgID` is no tenant's name.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A content encoding that this receiver does not undo.
    #[error("content encoding {found:?} is not supported; {expected}")]
    ContentEncoding {
        /// What the request says.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A content type that this receiver does not read.
    #[error("content type {found:?} is not supported; {expected} is")]
    ContentType {
        /// What the request says.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// The compressed body is damaged.
    #[error("{encoding}: {reason}")]
    Inflate {
        /// The encoding that it should have.
        encoding: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The body exceeds a limit, before or after inflating.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The body as sent, or inflated.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The framing of the protocol (gRPC's message prefix) is wrong.
    #[error("{0}")]
    Framing(String),
    /// The message cannot be read, or exceeds the walker's limits.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Retryable: the store has too much to do.
    #[error("{0}")]
    Busy(String),
    /// Retryable: the requests under way hold all that they may.
    #[error("{0}")]
    InFlight(String),
    /// Retryable: the process is close to its memory budget, and stayed so for this long.
    #[error("memory is short: the process is close to its budget, and was so for {0:?}")]
    Memory(Duration),
    /// Retryable: nobody was, or would be, free to check the request for this long.
    #[error("too many requests wait to be checked: this one's turn would come after {0:?} or later")]
    Queue(Duration),
    /// Retryable: the tenant sends more than it may.
    #[error("the tenant's limit of {rate} {what} a second is exceeded")]
    Rate {
        /// Items or bytes.
        what: &'static str,
        /// The limit.
        rate: f64,
        /// When there is room again.
        after: Duration,
    },
    /// Retryable: no space left.
    #[error("{0}")]
    Full(String),
    /// Retryable: shutting down.
    #[error("Braid is shutting down")]
    Closing,
    /// The body did not arrive in time.
    #[error("the request's body did not arrive within {0:?}")]
    Slow(Duration),
    /// The client went away while sending.
    #[error("the request's body ended early: {0}")]
    Disconnected(String),
    /// Retryable: the disk failed.
    #[error("{0}")]
    Failed(String),
    /// A bug of ours. Not retryable: the same bytes would find it again.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(why) => Self::Busy(why),
            StoreError::Full(why) => Self::Full(why),
            StoreError::Closed => Self::Closing,
            StoreError::Wire(e) => Self::Wire(e),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Refusal {
    /// A word for the metric's `reason` label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::ContentEncoding { .. } => "content_encoding",
            Self::ContentType { .. } => "content_type",
            Self::Inflate { .. } => "inflate",
            Self::TooLarge { .. } | Self::Wire(WireError::TooLarge { .. }) => "too_large",
            Self::Framing(_) | Self::Wire(_) => "malformed",
            Self::Busy(_) => "busy",
            Self::InFlight(_) => "in_flight",
            Self::Memory(_) => "memory",
            Self::Queue(_) => "queue",
            Self::Rate { .. } => "rate",
            Self::Full(_) => "full",
            Self::Closing => "closing",
            Self::Slow(_) => "slow",
            Self::Disconnected(_) => "disconnected",
            Self::Failed(_) => "failed",
            Self::Internal(_) => "internal",
        }
    }

    /// The HTTP status. Never 429: remote-write senders drop the data then unless told otherwise; every client of the
    /// four protocols retries a 503.
    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::ContentEncoding { .. } | Self::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } | Self::Wire(WireError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Tenant(_) | Self::Inflate { .. } | Self::Framing(_) | Self::Wire(_) | Self::Disconnected(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_)
            | Self::InFlight(_)
            | Self::Memory(_)
            | Self::Queue(_)
            | Self::Rate { .. }
            | Self::Full(_)
            | Self::Failed(_)
            | Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC status code (`google.rpc.Code`), also in the bodies of OTLP/HTTP errors.
    #[must_use]
    pub fn grpc_code(&self) -> u8 {
        match self {
            Self::Tenant(_) | Self::Inflate { .. } | Self::Framing(_) | Self::ContentType { .. } => 3,
            Self::TooLarge { .. } | Self::Wire(WireError::TooLarge { .. }) => 8,
            Self::Wire(_) => 3,
            Self::ContentEncoding { .. } => 12,
            Self::Busy(_)
            | Self::InFlight(_)
            | Self::Memory(_)
            | Self::Queue(_)
            | Self::Rate { .. }
            | Self::Full(_)
            | Self::Failed(_)
            | Self::Closing => 14,
            Self::Internal(_) => 13,
            Self::Slow(_) => 4,
            Self::Disconnected(_) => 1,
        }
    }

    /// When to try again, where trying again can help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(_) | Self::InFlight(_) | Self::Memory(_) | Self::Queue(_) | Self::Closing => Some(Duration::from_secs(1)),
            // Whole seconds are all that the header has.
            Self::Rate { after, .. } => Some(Duration::from_secs(after.as_secs().saturating_add(1).min(3600))),
            Self::Failed(_) => Some(Duration::from_secs(5)),
            Self::Full(_) => Some(Duration::from_secs(30)),
            _ => None,
        }
    }
}
