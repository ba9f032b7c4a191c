//! Loki push: 20 services x 3 environments x 4 levels = 240 streams; JSON lines of about 260 bytes with trace and span
//! id, method, path, status, duration and a message of words with a Zipf distribution.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Payload, Plan};
use crate::protobuf::{bytes, message, uint};
use crate::random::{Random, mix};

const SERVICES: [&str; 20] = [
    "frontend",
    "cart",
    "checkout",
    "payment",
    "shipping",
    "catalog",
    "search",
    "recommend",
    "inventory",
    "email",
    "auth",
    "users",
    "orders",
    "billing",
    "ads",
    "currency",
    "notify",
    "gateway",
    "media",
    "reports",
];
const ENVIRONMENTS: [&str; 3] = ["prod", "staging", "dev"];
const LEVELS: [&str; 4] = ["info", "debug", "warn", "error"];
const SYLLABLES: [&str; 20] = [
    "ba", "con", "der", "el", "for", "gra", "hi", "in", "ject", "ka", "lo", "men", "net", "or", "pre", "qua", "re", "sta", "ti",
    "un",
];

/// 2,000 words and the running sum of their weights.
fn words(seed: u64) -> (Vec<String>, Vec<f64>) {
    let r = &mut Random::new(seed ^ 0xabcd);
    let words: Vec<String> = (0..2_000).map(|_| (0..2 + r.below(3)).map(|_| r.pick(&SYLLABLES)).collect()).collect();
    let mut sum = 0.0;
    let running = (0..words.len())
        .map(|i| {
            sum += 1.0 / (i as f64 + 3.0);
            sum
        })
        .collect();
    (words, running)
}

pub(crate) fn encode(plan: &Plan, connection: u64) -> Vec<Payload> {
    let (words, running) = words(plan.seed);
    let total_weight = running.last().copied().unwrap_or(1.0);
    let r = &mut Random::new(mix(plan.seed, 100 + connection));
    let own: Vec<usize> = (0..SERVICES.len()).filter(|s| *s as u64 * plan.connections / 20 == connection).collect();
    if own.is_empty() {
        return Vec::new();
    }
    let weights: Vec<u64> = [40, 25, 15, 12, 8].into_iter().cycle().take(own.len()).collect();
    let span_ns = plan.span_secs * 1_000_000_000;
    let start_ns = plan.end_ms * 1_000_000 - span_ns;
    let lines = plan.count / plan.connections;
    let mut active: Vec<(u64, u64)> = (0..20).map(|_| (r.next(), r.next())).collect();
    let mut encoder = snap::raw::Encoder::new();
    let mut out = Vec::new();
    let mut line = String::new();
    let mut done = 0;
    while done < lines {
        let here = plan.batch.min(lines - done);
        let mut streams: BTreeMap<(usize, usize, usize), Vec<u8>> = BTreeMap::new();
        for i in done..done + here {
            let time = start_ns + (u128::from(i) * u128::from(span_ns) / u128::from(lines)) as u64 + r.below(1_000) + connection;
            let service = own[r.weighted(&weights)];
            let environment = r.weighted(&[80, 15, 5]);
            let slot = r.below(20) as usize;
            let trace = active[slot];
            if r.below(5) == 0 {
                active[slot] = (r.next(), r.next());
            }
            let status =
                [200, 201, 204, 301, 400, 401, 404, 429, 500, 502, 503][r.weighted(&[700, 60, 40, 20, 40, 20, 60, 20, 25, 8, 7])];
            let level = match status {
                500.. => 3,
                400.. => [2, 0][r.below(2) as usize],
                _ => r.weighted(&[88, 10, 2]),
            };
            let path = r.pick(&["/api/v1/orders/", "/api/v1/items/", "/api/v1/users/", "/api/v1/cart/", "/api/v2/search/"]);
            line.clear();
            let _ = write!(
                line,
                "{{\"trace_id\":\"{:016x}{:016x}\",\"span_id\":\"{:016x}\",\"method\":\"{}\",\"path\":\"{path}{}\",\"status\":{status},\"duration_ms\":{:.2},\"message\":\"",
                trace.0,
                trace.1,
                r.next(),
                ["GET", "POST", "PUT", "DELETE"][r.weighted(&[70, 20, 7, 3])],
                r.below(5_000),
                (r.normal() * 1.1 + 3.0).exp(),
            );
            let target = line.len() + 72 + r.below(40) as usize;
            while line.len() < target {
                let x = r.unit() * total_weight;
                line.push_str(&words[running.partition_point(|w| *w < x).min(words.len() - 1)]);
                line.push(' ');
            }
            line.pop();
            line.push_str("\"}");
            message(streams.entry((service, environment, level)).or_default(), 2, |entry| {
                message(entry, 1, |t| {
                    uint(t, 1, time / 1_000_000_000);
                    uint(t, 2, time % 1_000_000_000);
                });
                bytes(entry, 2, line.as_bytes());
            });
        }
        let mut body = Vec::new();
        for ((service, environment, level), entries) in &streams {
            message(&mut body, 1, |stream| {
                let labels = format!(
                    "{{env=\"{}\", level=\"{}\", service_name=\"{}\"}}",
                    ENVIRONMENTS[*environment], LEVELS[*level], SERVICES[*service]
                );
                bytes(stream, 1, labels.as_bytes());
                stream.extend_from_slice(entries);
            });
        }
        out.push(Payload { body: encoder.compress_vec(&body).unwrap_or_default(), items: here });
        done += here;
    }
    out
}
