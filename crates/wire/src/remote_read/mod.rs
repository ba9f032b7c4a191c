//! Prometheus remote read (`prometheus/prompb/remote.proto`;
//! <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>): the request, and both kinds of answers.

mod answer;
mod bits;
mod chunk;
mod float_histogram;
mod histogram;
mod integer_histogram;
mod request;
mod xor;

pub use answer::{Chunked, Samples, frame};
pub use chunk::{Chunk, chunks};
pub use request::{Kind, Matcher, Query, Request, read};
