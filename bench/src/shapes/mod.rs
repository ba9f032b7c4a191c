//! The three workloads, encoded in memory before the clock starts. The shapes are those of the project's reference
//! load: see each module for the counts.

pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod month;
pub(crate) mod other;
pub(crate) mod traces;

/// One request's body.
pub(crate) struct Payload {
    /// Bytes to send.
    pub(crate) body: Vec<u8>,
    /// Samples, lines or spans in it.
    pub(crate) items: u64,
}

/// What a generator needs to know.
pub(crate) struct Plan {
    /// Names the workload.
    pub(crate) seed: u64,
    /// End of the data, milliseconds since the Unix epoch.
    pub(crate) end_ms: u64,
    /// Requests are spread over so many connections; a series or stream stays on one.
    pub(crate) connections: u64,
    /// Lines or spans in all (metrics: see [`metrics`]).
    pub(crate) count: u64,
    /// Items a request.
    pub(crate) batch: u64,
    /// Seconds of time that the data covers.
    pub(crate) span_secs: u64,
}
