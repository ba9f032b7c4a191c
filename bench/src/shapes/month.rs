//! Days of a thousand counters by remote write 1.0: 20 instances x 50 paths, one sample every 15 s; a request holds an hour
//! of a hundred series, so that a month is sent in minutes.

use super::Payload;
use crate::protobuf::{bytes, fixed64, message, uint};
use crate::random::{Random, mix};

/// Series in all.
pub(crate) const SERIES: u64 = BLOCKS * IN_BLOCK;
/// Parts that are generated apart from each other.
pub(crate) const BLOCKS: u64 = 10;
/// The name of all series.
pub(crate) const NAME: &str = "month_requests_total";
/// The values of their label `job`.
pub(crate) const JOBS: [&str; 5] = ["api-gateway", "checkout", "catalog", "payments", "search"];

const IN_BLOCK: u64 = 100;
const PATHS: u64 = 50;
const STEP_MS: u64 = 15_000;
/// Milliseconds of one request.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// A tenth of the series, each with where its counter stands.
pub(crate) struct Block {
    random: Random,
    series: Vec<(Vec<u8>, f64)>,
    encoder: snap::raw::Encoder,
}

impl Block {
    /// One of the [`BLOCKS`].
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(mix(seed, number));
        let series = (number * IN_BLOCK..(number + 1) * IN_BLOCK).map(|n| (labels(n), random.below(1_000_000) as f64)).collect();
        Self { random, series, encoder: snap::raw::Encoder::new() }
    }

    /// The next hour, which begins at `start_ms`.
    pub(crate) fn hour(&mut self, start_ms: u64) -> Payload {
        let mut body = Vec::new();
        for (labels, value) in &mut self.series {
            message(&mut body, 1, |series| {
                series.extend_from_slice(labels);
                for at in (start_ms..start_ms + HOUR_MS).step_by(STEP_MS as usize) {
                    *value += self.random.below(200) as f64;
                    message(series, 2, |sample| {
                        fixed64(sample, 1, value.to_bits());
                        uint(sample, 2, at);
                    });
                }
            });
        }
        let items = IN_BLOCK * (HOUR_MS / STEP_MS);
        Payload { body: self.encoder.compress_vec(&body).unwrap_or_default(), items }
    }
}

fn labels(n: u64) -> Vec<u8> {
    let (instance, path) = (n / PATHS, n % PATHS);
    let pairs = [
        ("__name__", NAME.to_owned()),
        ("instance", format!("10.1.0.{instance}:9100")),
        ("job", JOBS[instance as usize % JOBS.len()].to_owned()),
        ("path", format!("/api/v1/r{path}")),
    ];
    let mut labels = Vec::new();
    for (name, value) in pairs {
        message(&mut labels, 1, |label| {
            bytes(label, 1, name.as_bytes());
            bytes(label, 2, value.as_bytes());
        });
    }
    labels
}
