//! OTLP 1.x (`opentelemetry/proto/**`, <https://opentelemetry.io/docs/specs/otlp/>): traces, logs and metrics.

pub(crate) mod group;
pub(crate) mod labels;
pub(crate) mod logs;
pub(crate) mod schema;
mod text;
pub(crate) mod to_json;
pub(crate) mod traces;
mod value;

pub use text::as_text;
pub use to_json::Style;
pub(crate) use value::{Attributes, any_value};
