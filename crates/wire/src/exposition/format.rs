//! Which format an exposition has.

use std::fmt;

/// A format of expositions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0 text.
    OpenMetrics,
    /// Delimited `io.prometheus.client.MetricFamily` messages.
    Protobuf,
}

impl Format {
    /// The format that a `Content-Type` names; where it names none that is known, `fallback`.
    ///
    /// # Errors
    /// Prometheus' words for a target that does not say what it exposes.
    pub fn of(content_type: &str, fallback: Option<Self>) -> Result<Self, String> {
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let found = match media.as_str() {
            "application/openmetrics-text" => Some(Self::OpenMetrics),
            "application/vnd.google.protobuf" => Some(Self::Protobuf),
            "text/plain" => Some(Self::Text),
            _ => None,
        };
        found.or(fallback).ok_or_else(|| {
            const NO_FALLBACK: &str = "and no fallback_scrape_protocol specified for target";
            match media.is_empty() {
                true => format!("non-compliant scrape target sending blank Content-Type {NO_FALLBACK}"),
                false => format!("received unsupported Content-Type {content_type:?} {NO_FALLBACK}"),
            }
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::OpenMetrics => "OpenMetrics",
            Self::Protobuf => "protobuf",
        })
    }
}
