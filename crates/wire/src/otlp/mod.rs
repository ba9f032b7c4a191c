//! OTLP 1.x (`opentelemetry/proto/**`, <https://opentelemetry.io/docs/specs/otlp/>): traces, logs and metrics.

use std::borrow::Cow;

use crate::{Encoding, Limits, WireError};

mod answer;
mod encode;
mod exemplars;
mod exponential;
mod from_json;
mod group;
mod labels;
pub(crate) mod logs;
pub(crate) mod metrics;
mod names;
mod samples;
mod schema;
mod series;
mod split;
mod text;
mod to_json;
pub(crate) mod traces;
mod value;

pub use answer::{partial_success, retry_delay};
pub use encode::{LogEncoder, TraceEncoder, logs_json, traces_json};
pub(crate) use from_json::from_json;
pub use samples::MetricEncoder;
pub(crate) use schema::{LOGS, METRICS, TRACES};
pub use split::{data_points, split};
pub use text::as_text;
pub use to_json::Style;
use value::{Attributes, any_value};

/// The request in protobuf: as it is, or translated from OTLP/JSON.
///
/// # Errors
/// [`WireError`] when `bytes` is no OTLP/JSON; [`WireError::Malformed`] for an encoding that is not OTLP.
pub fn protobuf<'a>(encoding: Encoding, bytes: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, WireError> {
    let message = match encoding {
        Encoding::OtlpTraces | Encoding::OtlpLogs | Encoding::OtlpMetrics => return Ok(Cow::Borrowed(bytes)),
        Encoding::OtlpTracesJson => &TRACES,
        Encoding::OtlpLogsJson => &LOGS,
        Encoding::OtlpMetricsJson => &METRICS,
        _ => return Err(WireError::Malformed { what: "the encoding is not OTLP", at: 0 }),
    };
    from_json(message, bytes, limits.max_depth).map(Cow::Owned)
}
