//! Samples that come in beside what is asked for: 10,000 gauges that no query of the workload chooses, by remote write 1.0.

use super::Payload;
use crate::protobuf::{bytes, fixed64, message, uint};
use crate::random::mix;

/// Samples a request.
pub(crate) const BATCH: u64 = 500;
const SERIES: u64 = 10_000;

/// A request: the next [`BATCH`] series in turn, all at `at_ms`.
pub(crate) fn payload(number: u64, at_ms: u64) -> Payload {
    let first = number * BATCH % SERIES;
    let mut body = Vec::new();
    for n in first..first + BATCH {
        message(&mut body, 1, |series| {
            for (name, value) in [("__name__", "beside_value"), ("instance", "10.9.9.9:9100"), ("n", &n.to_string())] {
                message(series, 1, |label| {
                    bytes(label, 1, name.as_bytes());
                    bytes(label, 2, value.as_bytes());
                });
            }
            message(series, 2, |sample| {
                fixed64(sample, 1, ((mix(n, at_ms) % 10_000) as f64 / 100.0).to_bits());
                uint(sample, 2, at_ms);
            });
        });
    }
    Payload { body: snap::raw::Encoder::new().compress_vec(&body).unwrap_or_default(), items: BATCH }
}
