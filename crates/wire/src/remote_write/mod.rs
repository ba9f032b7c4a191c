//! Prometheus remote write 1.0 (`prometheus/prompb/remote.proto`, `types.proto`;
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>).

mod encode;
mod labels;
mod walk;

pub use encode::Encoder;
pub(crate) use labels::read_labels;
pub(crate) use walk::walk;
