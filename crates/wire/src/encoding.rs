//! Which protocol a kept request speaks; the number is persisted in the log.

/// One of the three strands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Signal {
    /// Spans.
    Traces = 0,
    /// Log lines.
    Logs = 1,
    /// Samples.
    Metrics = 2,
}

impl Signal {
    /// Every signal, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    /// `traces`, `logs`, `metrics`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// How the bytes of a kept request are to be read: always the request body after `Content-Encoding` (gzip, zstd) was
/// undone; the snappy that is part of Loki push and remote write is still there. Numbers are persisted: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// `ExportTraceServiceRequest`, protobuf.
    OtlpTraces = 1,
    /// `ExportTraceServiceRequest`, OTLP/JSON.
    OtlpTracesJson = 2,
    /// `ExportLogsServiceRequest`, protobuf.
    OtlpLogs = 3,
    /// `ExportLogsServiceRequest`, OTLP/JSON.
    OtlpLogsJson = 4,
    /// `ExportMetricsServiceRequest`, protobuf.
    OtlpMetrics = 5,
    /// `ExportMetricsServiceRequest`, OTLP/JSON.
    OtlpMetricsJson = 6,
    /// `logproto.PushRequest`, snappy block.
    LokiPush = 7,
    /// Loki's JSON push body.
    LokiPushJson = 8,
    /// `prometheus.WriteRequest` (remote write 1.0), snappy block. Scrapes are kept in this form too.
    RemoteWrite = 9,
    /// `io.prometheus.write.v2.Request` (remote write 2.0), snappy block.
    RemoteWrite2 = 10,
    /// A deletion of spans, as the store spells it; no receiver takes one.
    DeleteTraces = 32,
    /// A deletion of log lines.
    DeleteLogs = 33,
    /// A deletion of samples.
    DeleteMetrics = 34,
}

/// A number that names no [`Encoding`] of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("encoding {0} is not known to this version")]
pub struct UnknownEncoding(pub u8);

impl Encoding {
    /// Every encoding of a request.
    pub const ALL: [Self; 10] = [
        Self::OtlpTraces,
        Self::OtlpTracesJson,
        Self::OtlpLogs,
        Self::OtlpLogsJson,
        Self::OtlpMetrics,
        Self::OtlpMetricsJson,
        Self::LokiPush,
        Self::LokiPushJson,
        Self::RemoteWrite,
        Self::RemoteWrite2,
    ];

    /// Which strand it carries.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Self::OtlpTraces | Self::OtlpTracesJson | Self::DeleteTraces => Signal::Traces,
            Self::OtlpLogs | Self::OtlpLogsJson | Self::LokiPush | Self::LokiPushJson | Self::DeleteLogs => Signal::Logs,
            Self::OtlpMetrics | Self::OtlpMetricsJson | Self::RemoteWrite | Self::RemoteWrite2 | Self::DeleteMetrics => {
                Signal::Metrics
            }
        }
    }

    /// The deletions.
    pub const DELETIONS: [Self; 3] = [Self::DeleteTraces, Self::DeleteLogs, Self::DeleteMetrics];

    /// Whether it is a deletion, not a request.
    #[must_use]
    pub fn is_deletion(self) -> bool {
        Self::DELETIONS.contains(&self)
    }
}

impl TryFrom<u8> for Encoding {
    type Error = UnknownEncoding;
    fn try_from(number: u8) -> Result<Self, UnknownEncoding> {
        Self::ALL.into_iter().chain(Self::DELETIONS).find(|e| *e as u8 == number).ok_or(UnknownEncoding(number))
    }
}
