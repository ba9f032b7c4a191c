//! Records to Prometheus remote write 1.0.

use model::Histogram;
use store::Record;
use wire::remote_write::Encoder;
use wire::{Exemplar, Limits, MetricKind, RawLabels, SampleSink};

use crate::batch::{Encode, Encoded};
use crate::delta::{Sums, series};

/// Makes requests of samples. Deltas are added up.
pub(crate) struct RemoteWriteEncoder {
    limits: Limits,
    /// Sorted by name.
    external: Vec<(String, String)>,
    max_bytes: usize,
    metadata: bool,
    encoder: Encoder,
    sums: Sums,
}

impl RemoteWriteEncoder {
    pub(crate) fn new(limits: Limits, mut external: Vec<(String, String)>, max_bytes: usize, metadata: bool) -> Self {
        external.sort();
        Self { limits, external, max_bytes, metadata, encoder: Encoder::new(), sums: Sums::default() }
    }
}

struct Samples<'e> {
    to: &'e mut RemoteWriteEncoder,
    out: &'e mut Encoded,
    /// Names the tenant in the keys of series.
    tenant: &'e [u8],
    key: Vec<u8>,
    delta: Option<u64>,
    items: u64,
}

impl Samples<'_> {
    fn close(&mut self) {
        if self.to.encoder.is_empty() {
            return;
        }
        let items = std::mem::take(&mut self.items);
        match self.to.encoder.finish() {
            Ok(body) => self.out.push(body, items),
            Err(_) => self.out.unencodable += items,
        }
    }
}

impl SampleSink for Samples<'_> {
    fn series(&mut self, labels: RawLabels<'_>) {
        if self.to.encoder.size() >= self.to.max_bytes {
            self.close();
        }
        self.delta = None;
        self.key.clear();
        self.key.extend_from_slice(labels.key);
        if self.to.external.is_empty() {
            return SampleSink::series(&mut self.to.encoder, labels);
        }
        let mut pairs = Vec::new();
        // Walkers pass on only labels that they have checked.
        let _ = labels.read(&mut pairs);
        let own = pairs.len();
        for (name, value) in &self.to.external {
            if !pairs[..own].iter().any(|(n, _)| n == name) {
                pairs.push((name, value));
            }
        }
        pairs.sort_unstable();
        Encoder::series(&mut self.to.encoder, pairs, &[]);
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        let value = match self.delta {
            Some(series) => self.to.sums.add(series, time_ms, value),
            None => Some(value),
        };
        if let Some(value) = value {
            self.to.encoder.sample(time_ms, value);
            self.items += 1;
        }
    }

    fn start(&mut self, start_ms: i64) {
        // A delta's start is not that of the sum.
        if self.delta.is_none() {
            self.to.encoder.start(start_ms);
        }
    }

    fn delta(&mut self) {
        self.key.extend_from_slice(self.tenant);
        self.delta = Some(series(&self.key));
    }

    fn histogram(&mut self, time_ms: i64, histogram: &Histogram) {
        let summed = self.delta.map(|series| self.to.sums.add_histogram(series, time_ms, histogram));
        match summed {
            Some(None) => return,
            Some(Some(sum)) => self.to.encoder.histogram(time_ms, &sum),
            None => self.to.encoder.histogram(time_ms, histogram),
        }
        self.items += 1;
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        self.to.encoder.exemplar(exemplar);
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        if self.to.metadata {
            self.to.encoder.metadata(family, kind, help, unit);
        }
    }
}

/// The two halves of a request, each with its number of samples; `None` where it has only one series.
pub(crate) fn halves(body: &[u8]) -> Option<[(Vec<u8>, u64); 2]> {
    let plain = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    // What it is made of: series, samples and histograms in them; metadata goes with the first half.
    let mut parts: Vec<(&[u8], u64)> = Vec::new();
    let (mut rest, mut metadata): (&[u8], Vec<&[u8]>) = (&plain, Vec::new());
    while !rest.is_empty() {
        let (number, message, after) = field(rest)?;
        let whole = &rest[..rest.len() - after.len()];
        rest = after;
        if number != 1 {
            metadata.push(whole);
            continue;
        }
        let (mut inside, mut samples) = (message, 0);
        while !inside.is_empty() {
            let (number, _, after) = field(inside)?;
            samples += u64::from(matches!(number, 2 | 4));
            inside = after;
        }
        parts.push((whole, samples));
    }
    if parts.len() < 2 {
        return None;
    }
    let later = parts.split_off(parts.len() / 2);
    let pack = |parts: &[(&[u8], u64)], more: &[&[u8]]| {
        let bytes: Vec<u8> = parts.iter().map(|(bytes, _)| *bytes).chain(more.iter().copied()).flatten().copied().collect();
        let body = snap::raw::Encoder::new().compress_vec(&bytes).ok()?;
        Some((body, parts.iter().map(|(_, samples)| samples).sum()))
    };
    Some([pack(&parts, &metadata)?, pack(&later, &[])?])
}

/// A field that is a message, as all of a request are: its number, its bytes, what comes after it.
fn field(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let (mut n, mut shift) = (0u64, 0);
        loop {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            n |= u64::from(first & 0x7f).checked_shl(shift)?;
            if *first < 0x80 {
                return Some(n);
            }
            shift += 7;
        }
    }
    let mut rest = bytes;
    let tag = varint(&mut rest)?;
    let len = usize::try_from(varint(&mut rest)?).ok()?;
    let (message, after) = rest.split_at_checked(len)?;
    (tag & 7 == 2).then_some((tag >> 3, message, after))
}

impl Encode for RemoteWriteEncoder {
    fn encode(&mut self, records: &[Record], out: &mut Encoded) {
        let limits = self.limits.clone();
        let mut samples = Samples { to: self, out, tenant: b"", key: Vec::new(), delta: None, items: 0 };
        for record in records {
            samples.tenant = record.tenant.as_str().as_bytes();
            if let Err(why) = wire::walk_samples(record.encoding, &record.payload, &limits, &mut samples) {
                samples.out.unreadable(record, &why);
            }
        }
        samples.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Tenant;
    use wire::Encoding;

    struct Seen(Vec<String>);

    impl SampleSink for Seen {
        fn series(&mut self, labels: RawLabels<'_>) {
            let mut pairs = Vec::new();
            labels.read(&mut pairs).expect("checked");
            self.0.push(pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","));
        }
        fn sample(&mut self, time_ms: i64, value: f64) {
            self.0.push(format!("{time_ms} {value}"));
        }
        fn metadata(&mut self, family: &str, kind: MetricKind, _: &str, _: &str) {
            self.0.push(format!("{family} {}", kind.as_str()));
        }
    }

    fn record(encoding: Encoding, payload: Vec<u8>) -> Record {
        Record { sequence: 1, tenant: Tenant::default(), encoding, received: 9, payload: payload.into() }
    }

    fn sent(external: &[(&str, &str)], max_bytes: usize, records: &[Record]) -> Vec<Vec<String>> {
        let external = external.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut out = Encoded::default();
        RemoteWriteEncoder::new(Limits::default(), external, max_bytes, true).encode(records, &mut out);
        let read = |body: &[u8]| {
            let mut seen = Seen(Vec::new());
            wire::walk_samples(Encoding::RemoteWrite, body, &Limits::default(), &mut seen).expect("readable");
            seen.0
        };
        out.parcels.iter().map(|p| read(&p.body)).collect()
    }

    #[test]
    fn samples_of_all_doors_come_out_with_external_labels_and_cut() {
        let mut encoder = Encoder::new();
        for name in ["a", "b"] {
            encoder.series([("__name__", name), ("zone", "own")], &[(1, 2.0)]);
        }
        let write = record(Encoding::RemoteWrite, encoder.finish().expect("packed"));
        assert_eq!(
            sent(&[("zone", "x"), ("cluster", "c")], 1 << 20, std::slice::from_ref(&write)),
            [["__name__=a,cluster=c,zone=own", "1 2", "__name__=b,cluster=c,zone=own", "1 2"]]
        );
        assert_eq!(sent(&[], 1, &[write]), [["__name__=a,zone=own", "1 2"], ["__name__=b,zone=own", "1 2"]]);
    }

    #[test]
    fn a_request_is_halved_down_to_its_series() {
        let mut encoder = Encoder::new();
        for name in ["a", "b", "c"] {
            encoder.series([("__name__", name)], &[(1, 2.0), (2, 3.0)]);
        }
        encoder.metadata("a", MetricKind::Gauge, "", "");
        let whole = encoder.finish().expect("packed");
        let [(one, n), (two, m)] = halves(&whole).expect("three series");
        assert_eq!((n, m), (2, 4));
        let read = |body: &[u8]| {
            let mut seen = Seen(Vec::new());
            wire::walk_samples(Encoding::RemoteWrite, body, &Limits::default(), &mut seen).expect("readable");
            seen.0
        };
        assert_eq!(
            [read(&one), read(&two)].concat(),
            ["__name__=a", "1 2", "2 3", "a gauge", "__name__=b", "1 2", "2 3", "__name__=c", "1 2", "2 3"]
        );
        assert_eq!(halves(&one), None);
        assert_eq!(halves(b"garbage"), None);
    }

    #[test]
    fn deltas_are_added_up_over_records() {
        let json = |time: u64, value: f64| {
            let text = format!(
                r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"c","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{"timeUnixNano":"{}","asDouble":{value}}}]}}}}]}}]}}]}}"#,
                time * 1_000_000
            );
            record(Encoding::OtlpMetricsJson, text.into_bytes())
        };
        let out = sent(&[], 1 << 20, &[json(10, 1.0), json(20, 2.5), json(20, 2.5)]);
        let samples: Vec<&str> = out[0].iter().map(String::as_str).filter(|l| l.starts_with(char::is_numeric)).collect();
        assert_eq!(samples, ["10 1", "20 3.5"]);
    }
}
