//! Samples as `MetricPayload`: gauges, and counts of what counters gained.

use std::collections::HashSet;

use model::Histogram;
use store::Record;
use wire::{Limits, MetricKind, RawLabels, SampleSink};

use crate::batch::{Encode, Encoded};
use crate::delta::{Differences, series};
use crate::line::{number, string};
use crate::settings::Compression;

/// Bytes of a request before compression: compressed it has to stay under 500 KB.
const LARGEST: usize = 1_000_000;
/// Counters whose name does not say it are known by what was said of their family.
const FAMILIES: usize = 20_000;
const NAME: usize = 200;

const COUNT: u8 = 1;
const GAUGE: u8 = 3;

pub(super) struct Metrics {
    limits: Limits,
    compression: Compression,
    hostname: String,
    differences: Differences,
    counters: HashSet<String>,
}

impl Metrics {
    pub(super) fn new(limits: Limits, compression: Compression, hostname: String) -> Self {
        Self { limits, compression, hostname, differences: Differences::default(), counters: HashSet::new() }
    }
}

struct Samples<'e> {
    to: &'e mut Metrics,
    tenant: &'e [u8],
    key: Vec<u8>,
    name: String,
    host: String,
    /// The tags, as a JSON array.
    tags: String,
    counter: bool,
    delta: bool,
    body: String,
    count: u64,
    out: &'e mut Encoded,
}

impl Samples<'_> {
    fn close(&mut self) {
        let items = std::mem::take(&mut self.count);
        if items > 0 {
            self.body.push_str("]}");
            super::push(self.out, self.to.compression, std::mem::take(&mut self.body).into_bytes(), items);
        }
    }

    /// A series of one point.
    fn point(&mut self, suffix: &str, kind: u8, time_ms: i64, value: f64, interval: Option<i64>) {
        self.body.push_str(if self.count == 0 { "{\"series\":[" } else { "," });
        let out = &mut self.body;
        out.push_str("{\"metric\":");
        string(out, &format!("{}{suffix}", self.name));
        out.push_str(&format!(",\"type\":{kind},\"points\":[{{\"timestamp\":{},\"value\":", time_ms.div_euclid(1000)));
        number(out, value);
        out.push_str("}]");
        if let Some(interval) = interval {
            out.push_str(&format!(",\"interval\":{interval}"));
        }
        out.push_str(",\"resources\":[{\"name\":");
        string(out, &self.host);
        out.push_str(",\"type\":\"host\"}],\"tags\":");
        out.push_str(&self.tags);
        out.push('}');
        self.count += 1;
        if self.body.len() >= LARGEST {
            self.close();
        }
    }

    /// What a counter has gained; the first sample only tells where it stands.
    fn gained(&mut self, suffix: &str, time_ms: i64, sum: f64) {
        let before = self.key.len();
        self.key.extend_from_slice(suffix.as_bytes());
        self.key.extend_from_slice(self.tenant);
        let gained = self.to.differences.since(series(&self.key), time_ms, sum);
        self.key.truncate(before);
        if let Some((gained, interval)) = gained {
            self.point(suffix, COUNT, time_ms, gained, Some(interval));
        }
    }
}

impl SampleSink for Samples<'_> {
    fn series(&mut self, labels: RawLabels<'_>) {
        self.delta = false;
        self.key.clear();
        self.key.extend_from_slice(labels.key);
        let mut pairs = Vec::new();
        // Walkers pass on only labels that they have checked.
        let _ = labels.read(&mut pairs);
        self.host.clone_from(&self.to.hostname);
        self.tags.clear();
        self.tags.push('[');
        for (name, value) in pairs {
            match name {
                "__name__" => {
                    let cut = value.floor_char_boundary(NAME);
                    value[..cut].clone_into(&mut self.name);
                    continue;
                }
                "host" | "host_name" => value.clone_into(&mut self.host),
                "job" => {
                    if self.tags.len() > 1 {
                        self.tags.push(',');
                    }
                    string(&mut self.tags, &format!("service:{value}"));
                }
                _ => {}
            }
            if self.tags.len() > 1 {
                self.tags.push(',');
            }
            string(&mut self.tags, &format!("{name}:{value}"));
        }
        self.tags.push(']');
        let parts = ["_total", "_bucket", "_count", "_sum"];
        self.counter = parts.iter().any(|p| self.name.ends_with(p)) || self.to.counters.contains(&self.name);
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        if !value.is_finite() {
            return;
        }
        match (self.delta, self.counter) {
            (true, _) => self.point("", COUNT, time_ms, value, None),
            (false, true) => self.gained("", time_ms, value),
            (false, false) => self.point("", GAUGE, time_ms, value, None),
        }
    }

    fn delta(&mut self) {
        self.delta = true;
    }

    fn histogram(&mut self, time_ms: i64, h: &Histogram) {
        if model::is_stale(h.sum) {
            return;
        }
        for (suffix, value) in [(".count", h.count), (".sum", h.sum)] {
            match self.delta {
                _ if !value.is_finite() => {}
                true => self.point(suffix, COUNT, time_ms, value, None),
                false => self.gained(suffix, time_ms, value),
            }
        }
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, _: &str, _: &str) {
        if kind == MetricKind::Counter && self.to.counters.len() < FAMILIES {
            self.to.counters.insert(family.to_owned());
        }
    }
}

impl Encode for Metrics {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let limits = self.limits.clone();
        let mut samples = Samples {
            to: self,
            tenant: b"",
            key: Vec::new(),
            name: String::new(),
            host: String::new(),
            tags: String::new(),
            counter: false,
            delta: false,
            body: String::new(),
            count: 0,
            out,
        };
        for record in records {
            samples.tenant = record.tenant.as_str().as_bytes();
            if let Err(why) = wire::walk_samples(record.encoding, &record.payload, &limits, &mut samples) {
                samples.out.unreadable(record, &why);
            }
        }
        samples.close();
    }
}
