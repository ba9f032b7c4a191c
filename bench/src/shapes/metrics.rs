//! Remote write 1.0: 50 instances x 200 series (counters, gauges of three kinds, two histograms), one sample every 15 s.

use super::{Payload, Plan};
use crate::protobuf::{bytes, fixed64, message, uint};
use crate::random::{Random, mix};

const INSTANCES: u64 = 50;
const PER_INSTANCE: u64 = 200;
const STEP_MS: u64 = 15_000;
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
const JOBS: [&str; 5] = ["api-gateway", "checkout", "catalog", "payments", "search"];

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Bytes,
    Percent,
    Seconds,
    Bucket(usize),
    Sum,
    Count,
}

struct Series {
    labels: Vec<u8>,
    kind: Kind,
    offset_ms: u64,
    value: f64,
}

fn series(seed: u64, instance: u64, slot: u64) -> Series {
    let (name, kind) = match slot {
        0 => ("http_requests_total".to_owned(), Kind::Counter),
        1..=24 => {
            let family = if slot <= 12 { "http_request_duration_seconds" } else { "rpc_duration_seconds" };
            match (slot - 1) % 12 {
                10 => (format!("{family}_sum"), Kind::Sum),
                11 => (format!("{family}_count"), Kind::Count),
                bucket => (format!("{family}_bucket"), Kind::Bucket(bucket as usize)),
            }
        }
        n => match n % 6 {
            0..=2 => (format!("metric_{n}_total"), Kind::Counter),
            3 => (format!("metric_{n}_bytes"), Kind::Bytes),
            4 => (format!("metric_{n}_percent"), Kind::Percent),
            _ => (format!("metric_{n}_seconds"), Kind::Seconds),
        },
    };
    let r = &mut Random::new(mix(seed, instance * 1_000 + if slot < 25 { slot.div_ceil(12) } else { slot }));
    let handler = format!("/api/v1/r{}", if slot < 25 { r.below(8) } else { slot });
    let host = format!("10.0.{}.{}:9100", instance / 10, 10 + instance);
    let mut pairs = vec![
        ("__name__", name.as_str()),
        ("handler", &handler),
        ("instance", &host),
        ("job", JOBS[instance as usize % JOBS.len()]),
    ];
    if let Kind::Bucket(b) = kind {
        pairs.push(("le", BOUNDS[b]));
    }
    pairs.push(("method", r.pick(&["GET", "POST", "PUT", "DELETE", "PATCH"])));
    pairs.push(("status", r.pick(&["200", "201", "204", "301", "400", "404", "500"])));
    let mut labels = Vec::new();
    for (name, value) in pairs {
        message(&mut labels, 1, |label| {
            bytes(label, 1, name.as_bytes());
            bytes(label, 2, value.as_bytes());
        });
    }
    let value = match kind {
        Kind::Counter => r.below(1_000_000) as f64,
        Kind::Bytes => (r.below(4_000_000_000) + 100_000_000) as f64,
        Kind::Percent => (r.unit() * 10_000.0).round() / 100.0,
        Kind::Seconds => r.unit() * 10.0,
        Kind::Bucket(_) | Kind::Sum | Kind::Count => 0.0,
    };
    Series { labels, kind, offset_ms: instance * 37, value }
}

/// Advances a series by one step; `seen` is the running total of the histogram that the series belongs to.
fn step(series: &mut Series, r: &mut Random, seen: &mut f64) {
    match series.kind {
        Kind::Counter => series.value += r.below(mix(series.labels.len() as u64, series.offset_ms) % 200 + 2) as f64,
        Kind::Bytes => series.value = (series.value + r.normal() * 1e6).max(0.0).round(),
        Kind::Percent => series.value = ((series.value + r.normal() * 2.0).clamp(0.0, 100.0) * 100.0).round() / 100.0,
        Kind::Seconds => series.value = (series.value + r.normal() * 0.1).abs(),
        Kind::Bucket(b) => {
            *seen = if b == 0 { 0.0 } else { *seen } + r.below([3, 6, 13, 21, 21, 13, 7, 4, 3, 2][b]) as f64;
            series.value += *seen;
        }
        Kind::Sum => series.value += *seen * (0.05 + r.unit() * 0.05),
        Kind::Count => series.value += *seen,
    }
}

pub(crate) fn encode(plan: &Plan, connection: u64) -> Vec<Payload> {
    let steps = plan.span_secs * 1_000 / STEP_MS;
    let start = plan.end_ms / STEP_MS * STEP_MS - steps * STEP_MS;
    let all: Vec<(u64, u64)> = (0..INSTANCES).flat_map(|i| (0..PER_INSTANCE).map(move |s| (i, s))).collect();
    let mut blocks: Vec<(Random, Vec<Series>)> = all
        .chunks(plan.batch.max(1) as usize)
        .enumerate()
        .filter(|(b, _)| *b as u64 % plan.connections == connection)
        .map(|(b, ids)| (Random::new(mix(plan.seed, b as u64)), ids.iter().map(|(i, s)| series(plan.seed, *i, *s)).collect()))
        .collect();
    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::new();
    let mut body = Vec::new();
    for at in 1..=steps {
        for (r, block) in &mut blocks {
            body.clear();
            let mut seen = 0.0;
            for one in block.iter_mut() {
                step(one, r, &mut seen);
                message(&mut body, 1, |series| {
                    series.extend_from_slice(&one.labels);
                    message(series, 2, |sample| {
                        fixed64(sample, 1, one.value.to_bits());
                        uint(sample, 2, start + at * STEP_MS - 14_000 + one.offset_ms);
                    });
                });
            }
            let compressed = encoder.compress_vec(&body).unwrap_or_default();
            out.push(Payload { body: compressed, items: block.len() as u64 });
        }
    }
    out
}
