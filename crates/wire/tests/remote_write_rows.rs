//! Remote write 1.0 and 2.0 against hand-written `prost` types, and the encoder against the walkers.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "cases/remote_write_2.rs"]
mod version_2;

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
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
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
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    count_float: Option<f64>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// An integer histogram: 2 in the zero bucket, 1 and 3 and 1 in positive ones, 4 in a negative one.
fn integers() -> Histogram {
    Histogram {
        count_int: Some(11),
        sum: 18.4,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(2),
        negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
        negative_deltas: vec![4],
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        positive_deltas: vec![1, 2, -2],
        reset_hint: 2,
        timestamp: 5,
        ..Histogram::default()
    }
}

/// The same as the walker passes it on.
fn integers_walked() -> model::Histogram {
    model::Histogram {
        schema: 1,
        reset_hint: model::ResetHint::NoReset,
        zero_threshold: 0.001,
        zero_count: 2.0,
        count: 11.0,
        sum: 18.4,
        positive_spans: vec![model::BucketSpan { offset: -2, length: 2 }, model::BucketSpan { offset: 3, length: 1 }],
        negative_spans: vec![model::BucketSpan { offset: 1, length: 1 }],
        positive: vec![1.0, 3.0, 1.0],
        negative: vec![4.0],
        custom_bounds: Vec::new(),
    }
}

/// A float histogram with custom buckets.
fn custom() -> Histogram {
    Histogram {
        count_float: Some(2.5),
        sum: 4.0,
        schema: -53,
        zero_count_float: Some(0.0),
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_counts: vec![0.5, 2.0],
        reset_hint: 3,
        timestamp: 6,
        custom_values: vec![1.0],
        start_timestamp: 3,
        ..Histogram::default()
    }
}

fn custom_walked() -> model::Histogram {
    model::Histogram {
        schema: model::CUSTOM_BUCKETS,
        reset_hint: model::ResetHint::Gauge,
        count: 2.5,
        sum: 4.0,
        positive_spans: vec![model::BucketSpan { offset: 0, length: 2 }],
        positive: vec![0.5, 2.0],
        custom_bounds: vec![1.0],
        ..model::Histogram::default()
    }
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
    /// Start, time and histogram, of all series.
    histograms: Vec<(i64, i64, model::Histogram)>,
    /// Labels, time and value's bits.
    exemplars: Vec<(Pairs, i64, u64)>,
    /// What [`SampleSink::start`] said before each sample.
    starts: Vec<i64>,
    start: i64,
    metadata: Vec<(String, MetricKind, String, String)>,
}

impl SampleSink for Rows {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        labels.read(&mut pairs).unwrap();
        self.start = 0;
        self.series.push((pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(), Vec::new()));
        self.keys.push(labels.key.to_vec());
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        self.series.last_mut().unwrap().1.push((time_ms, value.to_bits()));
        self.starts.push(self.start);
    }

    fn start(&mut self, start_ms: i64) {
        self.start = start_ms;
    }

    fn histogram(&mut self, time_ms: i64, histogram: &model::Histogram) {
        self.histograms.push((self.start, time_ms, histogram.clone()));
    }

    fn exemplar(&mut self, exemplar: &braid_wire::Exemplar<'_>) {
        let labels = exemplar.labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        self.exemplars.push((labels, exemplar.time_ms, exemplar.value.to_bits()));
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.metadata.push((family.to_owned(), kind, help.to_owned(), unit.to_owned()));
    }
}

fn walk(bytes: &[u8]) -> Result<(Rows, Summary), WireError> {
    walk_as(Encoding::RemoteWrite, bytes)
}

fn walk_as(encoding: Encoding, bytes: &[u8]) -> Result<(Rows, Summary), WireError> {
    let mut rows = Rows::default();
    let summary = walk_samples(encoding, bytes, &Limits::default(), &mut rows)?;
    assert_eq!(Ok(&summary), check(encoding, bytes, &Limits::default()).as_ref());
    Ok((rows, summary))
}

fn snappy<M: Message>(request: &M) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.into(), value: value.into() }
}

fn series(labels: &[(&str, &str)]) -> TimeSeries {
    let labels = labels.iter().map(|(n, v)| label(n, v)).collect();
    TimeSeries { labels, samples: vec![Sample { value: 1.0, timestamp: 5 }], ..TimeSeries::default() }
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
            TimeSeries { labels, samples, ..TimeSeries::default() }
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
    exemplar.exemplars = vec![Exemplar { value: 1.0, timestamp: 3, labels: vec![label("a", &"x".repeat(128))] }; 2];
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
    assert_eq!(summary.skipped.message(), "label length for exemplar exceeds maximum of 128 UTF-8 characters: 2");
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

#[test]
fn histograms_and_exemplars_come_back_also_through_the_encoder() {
    let mut all = series(&[("__name__", "h")]);
    all.histograms = vec![integers(), custom()];
    let exemplar = |labels: &[(&str, &str)], timestamp| {
        let labels = labels.iter().map(|(n, v)| label(n, v)).collect();
        Exemplar { labels, value: 0.5, timestamp }
    };
    all.exemplars = vec![
        exemplar(&[("trace_id", "ab"), ("a", "b"), ("empty", "")], 7),
        exemplar(&[], 8),
        exemplar(&[("a", "b"), ("a", "c")], 9),
    ];
    let mut flawed = integers();
    flawed.count_int = Some(12);
    let mut stale = integers();
    stale.sum = f64::from_bits(model::STALE_NAN_BITS);
    let only_exemplars =
        TimeSeries { samples: Vec::new(), exemplars: all.exemplars[..1].to_vec(), ..series(&[("__name__", "e")]) };
    let only_histograms = TimeSeries { samples: Vec::new(), histograms: vec![flawed, stale], ..series(&[("__name__", "f")]) };
    let request = WriteRequest { timeseries: vec![all, only_exemplars, only_histograms], metadata: Vec::new() };
    let (rows, summary) = walk(&snappy(&request)).unwrap();
    assert_eq!((summary.accepted, summary.histograms, summary.exemplars), (4, 3, 3));
    assert_eq!(
        summary.refused.message(),
        "histogram's observation count should equal the number of observations found in the buckets (in absence of NaN): 1"
    );
    assert_eq!(summary.skipped.message(), "exemplars with a duplicate label name: 1");
    assert_eq!(rows.histograms[..2], [(0, 5, integers_walked()), (3, 6, custom_walked())]);
    let (_, _, stale) = &rows.histograms[2];
    assert!(model::is_stale(stale.sum) && stale.positive.is_empty());
    let pairs = |labels: &[(&str, &str)]| labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect::<Pairs>();
    let first = (pairs(&[("a", "b"), ("trace_id", "ab")]), 7, 0.5f64.to_bits());
    assert_eq!(rows.exemplars, [first.clone(), (Vec::new(), 8, 0.5f64.to_bits()), first]);

    let mut encoder = Encoder::new();
    walk_samples(Encoding::RemoteWrite, &snappy(&request), &Limits::default(), &mut encoder).unwrap();
    assert_eq!(encoder.series_count(), 3);
    let (again, summary) = walk(&encoder.finish().unwrap()).unwrap();
    assert_eq!((summary.accepted, summary.histograms, summary.exemplars), (4, 3, 3));
    // The NaN of the stale one is equal to nothing.
    assert_eq!((&again.histograms[..2], &again.exemplars, &again.series), (&rows.histograms[..2], &rows.exemplars, &rows.series));
}
