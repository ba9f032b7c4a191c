//! Remote write 1.0 against hand-written `prost` types, and its encoder against its walker.
#![allow(clippy::unwrap_used, missing_docs)]

use braid_wire::remote_write::Encoder;
use braid_wire::{Encoding, Limits, MetricKind, RawLabels, SampleSink, Summary, WireError, check, walk_samples};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

type Pairs = Vec<(String, String)>;

#[derive(Debug, Default, PartialEq)]
struct Rows {
    /// Labels, and times with the bits of their values.
    series: Vec<(Pairs, Vec<(i64, u64)>)>,
    keys: Vec<Vec<u8>>,
    metadata: Vec<(String, MetricKind, String, String)>,
}

impl SampleSink for Rows {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        labels.read(&mut pairs).unwrap();
        self.series.push((pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(), Vec::new()));
        self.keys.push(labels.key.to_vec());
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        self.series.last_mut().unwrap().1.push((time_ms, value.to_bits()));
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.metadata.push((family.to_owned(), kind, help.to_owned(), unit.to_owned()));
    }
}

fn walk(bytes: &[u8]) -> Result<(Rows, Summary), WireError> {
    let mut rows = Rows::default();
    let summary = walk_samples(Encoding::RemoteWrite, bytes, &Limits::default(), &mut rows)?;
    assert_eq!(Ok(&summary), check(Encoding::RemoteWrite, bytes, &Limits::default()).as_ref());
    Ok((rows, summary))
}

fn snappy(request: &WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.into(), value: value.into() }
}

fn series(labels: &[(&str, &str)]) -> TimeSeries {
    let labels = labels.iter().map(|(n, v)| label(n, v)).collect();
    TimeSeries { labels, samples: vec![Sample { value: 1.0, timestamp: 5 }], exemplars: Vec::new() }
}

/// Sorted labels with a metric name, and samples.
fn any_series() -> impl Strategy<Value = (Pairs, Vec<(i64, u64)>)> {
    let value = prop_oneof![4 => "[a-z/.]{1,9}", 1 => "\\PC{1,6}", 1 => "x{150}"];
    let name = prop_oneof![4 => "[A-Za-z_]{1,7}", 1 => "\\PC{1,4}"];
    (btree_map(name, value, 0..6), "[a-z_]{1,9}", vec(any::<(i64, u64)>(), 1..4)).prop_map(|(mut labels, metric, samples)| {
        labels.insert("__name__".into(), metric);
        (labels.into_iter().collect(), samples)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn series_come_back_sorted_with_their_samples_bit_by_bit(
        all in vec(any_series(), 0..5),
        shuffle in any::<bool>(),
        empty in any::<bool>(),
    ) {
        let timeseries = all.iter().map(|(labels, samples)| {
            let mut labels: Vec<Label> = labels.iter().map(|(n, v)| label(n, v)).collect();
            if shuffle {
                labels.reverse();
            }
            if empty {
                labels.push(label("zzzzzzzzz", ""));
            }
            let samples = samples.iter().map(|(t, v)| Sample { value: f64::from_bits(*v), timestamp: *t }).collect();
            TimeSeries { labels, samples, exemplars: Vec::new() }
        });
        let request = WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() };
        let (rows, summary) = walk(&snappy(&request)).unwrap();
        prop_assert_eq!(&rows.series, &all);
        prop_assert_eq!(summary.accepted as usize, all.iter().map(|s| s.1.len()).sum::<usize>());
        prop_assert!(summary.refused.0.is_empty());

        // The same labels have the same key, however they were sent.
        let mut encoder = Encoder::new();
        for (labels, samples) in &all {
            let samples: Vec<_> = samples.iter().map(|(t, v)| (*t, f64::from_bits(*v))).collect();
            encoder.series(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())), &samples);
        }
        let (encoded, _) = walk(&encoder.finish().unwrap()).unwrap();
        prop_assert_eq!(&encoded, &rows);
    }
}

#[test]
fn series_that_prometheus_refuses_are_counted_by_reason() {
    let not_utf8 = Label { name: b"a".to_vec(), value: b"\xff".to_vec() };
    let mut bad_value = series(&[("__name__", "up")]);
    bad_value.labels.push(not_utf8);
    let mut exemplar = series(&[("__name__", "up")]);
    exemplar.exemplars = vec![Exemplar { value: 1.0 }; 2];
    let timeseries = vec![
        series(&[("a", "b")]),
        series(&[]),
        series(&[("__name__", "")]),
        series(&[("", "x"), ("__name__", "up")]),
        series(&[("__name__", "up"), ("a", "1"), ("a", "1")]),
        bad_value,
        exemplar,
    ];
    let (rows, summary) = walk(&snappy(&WriteRequest { timeseries, metadata: Vec::new() })).unwrap();
    assert_eq!(rows.series, [(vec![("__name__".to_owned(), "up".to_owned())], vec![(5, 1f64.to_bits())])]);
    assert_eq!(summary.accepted, 1);
    assert_eq!(
        summary.refused.message(),
        "series with a duplicate label name: 1; series with an empty label name: 1; \
         series with labels that are not UTF-8: 1; series without a metric name: 3"
    );
    assert_eq!(summary.skipped.message(), "exemplars are not stored yet: 2");
}

#[test]
fn metadata_comes_back_and_the_staleness_marker_keeps_its_bits() {
    let mut encoder = Encoder::new();
    encoder.metadata("up", MetricKind::Gauge, "Whether it is up.", "");
    encoder.series([("__name__", "up")], &[(7, f64::from_bits(model::STALE_NAN_BITS))]);
    let (rows, _) = walk(&encoder.finish().unwrap()).unwrap();
    assert_eq!(rows.metadata, [("up".to_owned(), MetricKind::Gauge, "Whether it is up.".to_owned(), String::new())]);
    assert_eq!(rows.series[0].1, [(7, model::STALE_NAN_BITS)]);
    assert!(encoder.is_empty());
}

#[test]
fn labels_that_stand_apart_are_put_together() {
    // A label, a sample, a label: legal protobuf that nobody sends.
    let parts = [series(&[("__name__", "up")]), TimeSeries { labels: vec![label("a", "b")], ..TimeSeries::default() }];
    let body = parts.map(|p| p.encode_to_vec()).concat();
    let mut request = vec![10, body.len() as u8];
    request.extend(body);
    let (rows, _) = walk(&snap::raw::Encoder::new().compress_vec(&request).unwrap()).unwrap();
    assert_eq!(rows.series[0].0, [("__name__".to_owned(), "up".to_owned()), ("a".to_owned(), "b".to_owned())]);
    assert_eq!(rows.series[0].1.len(), 1);
}
