//! Why a request cannot be read.

/// The whole request is unreadable: nothing of it is kept. Receivers answer 400 (gRPC: `INVALID_ARGUMENT`), except
/// [`WireError::TooLarge`], which is 413 (`RESOURCE_EXHAUSTED` without retry).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A protobuf message ends inside a field, or a length points past the end.
    #[error("protobuf: {what} ends early at byte {at}")]
    Truncated {
        /// The message or field.
        what: &'static str,
        /// Offset in the (uncompressed) body.
        at: usize,
    },
    /// A protobuf tag or wire type that cannot be.
    #[error("protobuf: {what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Offset in the (uncompressed) body.
        at: usize,
    },
    /// Thrift that cannot be.
    #[error("thrift: {what} at byte {at}")]
    Thrift {
        /// What is wrong.
        what: &'static str,
        /// Offset in the body.
        at: usize,
    },
    /// A string field that is not UTF-8.
    #[error("{what} is not valid UTF-8")]
    Utf8 {
        /// The field.
        what: &'static str,
    },
    /// JSON that does not parse or does not fit the protocol.
    #[error("JSON: {0}")]
    Json(String),
    /// Snappy that does not decompress.
    #[error("snappy: {0}")]
    Snappy(String),
    /// Larger, deeper or wider than the limits allow.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Text (labels, exposition) that does not parse.
    #[error("{what} at line {line}: {reason}")]
    Text {
        /// What was being read.
        what: &'static str,
        /// Line, from 1.
        line: usize,
        /// What was expected.
        reason: String,
    },
}
