//! OTLP 1.x (`opentelemetry/proto/**`, <https://opentelemetry.io/docs/specs/otlp/>): traces, logs and metrics.

mod encode;
mod exemplars;
mod exponential;
mod from_json;
mod group;
mod labels;
pub(crate) mod logs;
pub(crate) mod metrics;
mod names;
mod schema;
mod series;
mod text;
mod to_json;
pub(crate) mod traces;
mod value;

pub use encode::{LogEncoder, TraceEncoder, logs_json, traces_json};
pub(crate) use from_json::from_json;
pub(crate) use schema::{LOGS, METRICS, TRACES};
pub use text::as_text;
pub use to_json::Style;
use value::{Attributes, any_value};
