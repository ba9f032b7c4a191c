//! No bytes make a decoder panic, allocate without bound or disagree with itself: random bytes, and valid requests with
//! bytes changed, inserted, removed and repeated. The fuzz targets in `fuzz/` run the same bodies.
#![allow(clippy::unwrap_used, missing_docs)]

use braid_wire::remote_write::Encoder;
use braid_wire::{SampleSink, invariants};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// One change to a request.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(i, b)| Change::Set(i, b)),
        2 => (at(), any::<u8>()).prop_map(|(i, b)| Change::Insert(i, b)),
        2 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Cut),
        1 => (at(), at()).prop_map(|(i, j)| Change::Repeat(i, j)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len();
        match change {
            Change::Set(i, b) => bytes[i.index(n)] = *b,
            Change::Insert(i, b) => bytes.insert(i.index(n), *b),
            Change::Remove(i) => drop(bytes.remove(i.index(n))),
            Change::Cut(i) => bytes.truncate(i.index(n)),
            Change::Repeat(i, j) => {
                let (from, to) = (i.index(n).min(j.index(n)), i.index(n).max(j.index(n)));
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
        }
    }
    bytes
}

fn attributes() -> Vec<KeyValue> {
    let text = |s: &str| Value::StringValue(s.into());
    let array = Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(text("x")) }, AnyValue { value: None }] });
    [("service.name", text("shop")), ("n", Value::IntValue(-1)), ("list", array), ("d", Value::DoubleValue(0.5))]
        .map(|(key, value)| KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() })
        .to_vec()
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: attributes(), ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "lib".into(), attributes: attributes(), ..InstrumentationScope::default() })
}

fn traces() -> TracesData {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /".into(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        attributes: attributes(),
        events: vec![span::Event { name: "e".into(), attributes: attributes(), ..span::Event::default() }],
        links: vec![span::Link { trace_id: vec![3; 16], attributes: attributes(), ..span::Link::default() }],
        status: Some(Status { code: 2, message: "bad".into() }),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span.clone(), span], schema_url: "u".into() }];
    TracesData { resource_spans: vec![ResourceSpans { resource: resource(), scope_spans, schema_url: "v".into() }] }
}

fn logs() -> LogsData {
    let record = LogRecord {
        time_unix_nano: 5,
        body: attributes()[2].value.clone(),
        attributes: attributes(),
        trace_id: vec![1; 16],
        severity_number: 9,
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: vec![record.clone(), record], ..ScopeLogs::default() }];
    LogsData { resource_logs: vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }] }
}

fn metrics() -> MetricsData {
    let number = NumberDataPoint { attributes: attributes(), time_unix_nano: 5_000_000, ..NumberDataPoint::default() };
    let histogram = HistogramDataPoint {
        attributes: attributes(),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.5],
        count: 3,
        sum: Some(1.0),
        ..HistogramDataPoint::default()
    };
    let metric = |data| Metric { name: "m".into(), unit: "s".into(), data: Some(data), ..Metric::default() };
    let metrics = vec![
        metric(Data::Sum(Sum { data_points: vec![number], aggregation_temporality: 2, is_monotonic: true })),
        metric(Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 })),
    ];
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    MetricsData { resource_metrics: vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }] }
}

fn push() -> Vec<u8> {
    // streams { labels, entries { timestamp { seconds, nanos }, line, metadata { name, value } } }
    let entry = b"\x0a\x04\x08\x05\x10\x07\x12\x04line\x1a\x06\x0a\x01k\x12\x01v";
    let labels = br#"{app="a", b="x\"y"}"#;
    let mut stream = vec![0x0a, labels.len() as u8];
    stream.extend_from_slice(labels);
    stream.extend_from_slice(&[0x12, entry.len() as u8]);
    stream.extend_from_slice(entry);
    [&[0x0a, stream.len() as u8], &*stream].concat()
}

fn write() -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.series([("__name__", "up"), ("instance", "a:1"), ("job", "é")], &[(5, 1.0), (6, f64::NAN)]);
    encoder.series([("__name__", "up"), ("job", "b")], &[(7, 1.0)]);
    let mut histogram = model::Histogram { count: 3.0, positive: vec![1.0, 2.0], ..model::Histogram::default() };
    histogram.positive_spans = vec![model::BucketSpan { offset: 3, length: 2 }];
    encoder.start(4);
    encoder.histogram(8, &histogram);
    encoder.exemplar(&braid_wire::Exemplar { labels: &[("trace_id", "ab")], time_ms: 8, value: 0.5 });
    encoder.metadata("up", braid_wire::MetricKind::Gauge, "help", "s");
    snap::raw::Decoder::new().decompress_vec(&encoder.finish().unwrap()).unwrap()
}

/// A request of remote write 2.0: four symbols, one series with a sample and an exemplar.
fn write_2() -> Vec<u8> {
    let mut request = b"\x22\x00\x22\x08__name__\x22\x02up\x22\x01a".to_vec();
    let sample = b"\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x18\x04";
    let exemplar = b"\x22\x0d\x0a\x02\x03\x02\x11\0\0\0\0\0\0\xf0\x3f";
    let series = [&b"\x0a\x04\x01\x02\x03\x02"[..], sample, exemplar, b"\x2a\x04\x08\x02\x18\x03\x30\x01"].concat();
    request.extend([0x2a, series.len() as u8]);
    request.extend(series);
    request
}

const TEXT: &str =
    "# HELP h Some \\n help.\n# TYPE h histogram\nh_bucket{a=\"x\\\"y\",le=\"1\"} 3 5\nup 1\n{\"é.b\",\"c d\"=\"1\"} NaN\n";
const LOKI_JSON: &str = r#"{"streams":[{"stream":{"app":"a"},"values":[["5","line",{"k":"v"}],["6","\u00e9\n"]]}]}"#;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        invariants::otlp_traces(&bytes);
        invariants::otlp_logs(&bytes);
        invariants::otlp_metrics(&bytes);
        invariants::otlp_json(&bytes);
        invariants::loki_push(&bytes);
        invariants::loki_json(&bytes);
        invariants::remote_write(&bytes);
        invariants::exposition(&bytes);
    }

    #[test]
    fn changed_otlp_is_read_or_refused(changes in vec(change(), 0..8)) {
        invariants::otlp_traces(&changed(traces().encode_to_vec(), &changes));
        invariants::otlp_logs(&changed(logs().encode_to_vec(), &changes));
        invariants::otlp_metrics(&changed(metrics().encode_to_vec(), &changes));
    }

    #[test]
    fn changed_json_is_read_or_refused(changes in vec(change(), 0..4)) {
        invariants::otlp_json(&changed(serde_json::to_vec(&traces()).unwrap(), &changes));
        invariants::otlp_json(&changed(serde_json::to_vec(&logs()).unwrap(), &changes));
        invariants::otlp_json(&changed(serde_json::to_vec(&metrics()).unwrap(), &changes));
        invariants::loki_json(&changed(LOKI_JSON.into(), &changes));
    }

    #[test]
    fn changed_pushes_and_scrapes_are_read_or_refused(changes in vec(change(), 0..8)) {
        invariants::loki_push(&changed(push(), &changes));
        invariants::remote_write(&changed(write(), &changes));
        invariants::remote_write(&changed(write_2(), &changes));
        invariants::exposition(&changed(TEXT.into(), &changes));
    }
}

#[test]
fn the_unchanged_request_of_version_2_is_read() {
    let body = snap::raw::Encoder::new().compress_vec(&write_2()).unwrap();
    let summary = braid_wire::check(braid_wire::Encoding::RemoteWrite2, &body, &braid_wire::Limits::default()).unwrap();
    assert_eq!((summary.accepted, summary.exemplars), (1, 1), "{summary:?}");
}

#[test]
fn nesting_without_end_is_refused_in_both_forms() {
    let depth = 5_000;
    let mut value = Vec::new();
    for _ in 0..depth {
        // array_value { values { … } }
        for field in [0x0a, 0x2a] {
            let mut outer = vec![field];
            prost::encoding::encode_varint(value.len() as u64, &mut outer);
            outer.append(&mut value);
            value = outer;
        }
    }
    let mut record = vec![0x2a];
    prost::encoding::encode_varint(value.len() as u64, &mut record);
    record.extend(value);
    let mut request = record;
    for field in [0x12, 0x12, 0x0a] {
        let mut outer = vec![field];
        prost::encoding::encode_varint(request.len() as u64, &mut outer);
        outer.append(&mut request);
        request = outer;
    }
    let limits = braid_wire::Limits::default();
    let error = braid_wire::check(braid_wire::Encoding::OtlpLogs, &request, &limits).unwrap_err();
    assert_eq!(error.to_string(), "the nesting of a value exceeds the limit of 64");
    let open = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"#;
    let json = format!("{open}{}", r#"{"arrayValue":{"values":["#.repeat(depth));
    let error = braid_wire::check(braid_wire::Encoding::OtlpLogsJson, json.as_bytes(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the nesting of a value exceeds the limit of 64");
}
