//! Prometheus remote write 1.0 and 2.0 (`prometheus/prompb/remote.proto`, `types.proto`, `io/prometheus/write/v2/types.proto`;
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>, <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>).

mod encode;
mod histogram;
mod labels;
mod v2;
mod walk;

pub use encode::Encoder;
pub(crate) use histogram::{counts_integers, put_histogram, span, zigzag};
pub(crate) use labels::{put_label, read_labels};
pub(crate) use v2::walk as walk_v2;
pub(crate) use walk::walk;
