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
        invariants::otlp_answer(&bytes);
        invariants::loki_push(&bytes);
        invariants::loki_json(&bytes);
        invariants::remote_write(&bytes);
        invariants::exposition(&bytes);
        invariants::zipkin(&bytes);
        invariants::jaeger_thrift(&bytes);
        invariants::jaeger_proto(&bytes);
    }

    #[test]
    fn changed_spans_of_zipkin_and_jaeger_are_read_or_refused(changes in vec(change(), 0..6)) {
        invariants::zipkin(&changed(ZIPKIN.into(), &changes));
        invariants::jaeger_thrift(&changed(jaeger_binary(), &changes));
        invariants::jaeger_thrift(&changed(JAEGER_COMPACT.to_vec(), &changes));
        invariants::jaeger_proto(&changed(jaeger_proto(), &changes));
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

const ZIPKIN: &str = r#"[{"traceId":"aa","id":"1","parentId":"2","name":"get","kind":"SERVER","timestamp":1700000000000000,
  "duration":5.5,"shared":true,"localEndpoint":{"serviceName":"shop","ipv4":"10.0.0.1","port":80},
  "remoteEndpoint":{"serviceName":"web","ipv6":"::1"},"tags":{"n":"7","b":"true","host.name":"h","otel.status_code":"ERROR",
  "otlp.link.0":"0102|03|s|{\"k\":1}|2"},"annotations":[{"timestamp":1700000000000001,"value":"paid|{\"by\":\"card\"}|0"}]}]"#;

fn thrift(kind: u8, id: i16, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes(), value].concat()
}

/// A batch in Thrift's binary protocol: one span with a reference, two tags and a log.
fn jaeger_binary() -> Vec<u8> {
    let text = |id, text: &str| thrift(11, id, &[&(text.len() as i32).to_be_bytes()[..], text.as_bytes()].concat());
    let long = |id, n: i64| thrift(10, id, &n.to_be_bytes());
    let list =
        |id, items: &[Vec<u8>]| thrift(15, id, &[&[12][..], &(items.len() as i32).to_be_bytes(), &items.concat()].concat());
    let tag = |key: &str, value: &str| [text(1, key), thrift(8, 2, &0i32.to_be_bytes()), text(3, value), vec![0]].concat();
    let failed = [text(1, "error"), thrift(8, 2, &2i32.to_be_bytes()), thrift(2, 5, &[1]), vec![0]].concat();
    let reference = [thrift(8, 1, &1i32.to_be_bytes()), long(2, 5), long(3, 0), long(4, 9), vec![0]].concat();
    let log = [long(1, 1_700_000_000_000_000), list(2, &[tag("event", "paid"), tag("by", "card")]), vec![0]].concat();
    let span = [
        [long(1, 5), long(2, 0), long(3, 7), long(4, 6), text(5, "order"), list(6, &[reference])].concat(),
        [long(8, 1_700_000_000_000_000), long(9, 2000), list(10, &[tag("span.kind", "server"), failed])].concat(),
        [list(11, &[log]), vec![0]].concat(),
    ];
    let process = [text(1, "shop"), list(2, &[tag("hostname", "h")]), vec![0]].concat();
    [thrift(12, 1, &process), list(2, &[span.concat()]), vec![0]].concat()
}

/// The same in the compact protocol, with fewer parts: `{1: {1: "shop"}, 2: [{1: 5, 3: 7, 5: "order", 8: 1, 9: 2000,
/// 10: [{1: "k", 2: BOOL, 5: true}]}]}`.
const JAEGER_COMPACT: &[u8] =
    b"\x1c\x18\x04shop\x00\x19\x1c\x16\x0a\x26\x0e\x28\x05order\x36\x02\x16\xa0\x1f\x19\x1c\x18\x01k\x15\x04\x31\x00\x00\x00";

fn jaeger_proto() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8][..], bytes].concat();
    let tag = [field(1, b"span.kind"), field(3, b"client")].concat();
    let reference = [field(1, &[1; 16]), field(2, &[9; 8])].concat();
    let log = [field(1, b"\x08\x05"), field(2, &[field(1, b"event"), field(3, b"paid")].concat())].concat();
    let span = [
        [field(1, &[1; 16]), field(2, &[2; 8]), field(3, b"ask"), field(4, &reference)].concat(),
        [field(6, b"\x08\x05\x10\x07"), field(7, b"\x10\x64"), field(8, &tag), field(9, &log)].concat(),
    ]
    .concat();
    let long = [&[1 << 3 | 2][..], &[span.len() as u8 & 0x7f | 0x80, (span.len() >> 7) as u8], &span].concat();
    let long = if span.len() < 128 { field(1, &span) } else { long };
    let batch = [long, field(2, &field(1, b"shop"))].concat();
    [&[1 << 3 | 2, batch.len() as u8 & 0x7f | 0x80, (batch.len() >> 7) as u8][..], &batch].concat()
}

#[test]
fn spans_of_zipkin_and_jaeger_become_those_of_otlp() {
    use braid_wire::otlp::{Style, traces_json};
    let limits = braid_wire::Limits::default();
    let json = |otlp: Vec<u8>| -> serde_json::Value {
        serde_json::from_str(&traces_json(&otlp, Style::Otlp, "resourceSpans").unwrap()).unwrap()
    };
    let span = |json: &serde_json::Value| json["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone();
    let zipkin = json(braid_wire::zipkin::to_otlp(ZIPKIN.as_bytes(), true, &limits).unwrap());
    let found = span(&zipkin);
    assert_eq!(zipkin["resourceSpans"][0]["resource"]["attributes"].as_array().unwrap().len(), 2, "{zipkin}");
    assert_eq!((&found["parentSpanId"], &found["kind"]), (&"0000000000000001".into(), &2.into()), "the client's id is shared");
    assert_ne!(found["spanId"], "0000000000000001");
    assert_eq!(
        (&found["startTimeUnixNano"], &found["endTimeUnixNano"]),
        (&"1700000000000000000".into(), &"1700000000000005000".into())
    );
    assert_eq!((&found["status"]["code"], &found["events"][0]["name"]), (&2.into(), &"paid".into()));
    assert_eq!(found["links"][0]["traceId"], "00000000000000000000000000000102");
    let attributes = found["attributes"].to_string();
    for part in [
        r#"{"key":"n","value":{"intValue":"7"}}"#,
        r#"{"key":"b","value":{"boolValue":true}}"#,
        "net.host.ip",
        "net.peer.ip",
        "peer.service",
    ] {
        assert!(attributes.contains(part), "{part} in {attributes}");
    }
    let binary =
        json(braid_wire::jaeger::thrift_to_otlp(&jaeger_binary(), braid_wire::jaeger::Protocol::Binary, &limits).unwrap());
    let found = span(&binary);
    assert!(
        binary["resourceSpans"][0]["resource"].to_string().contains(r#""host.name","value":{"stringValue":"h"}"#),
        "{binary}"
    );
    assert_eq!((&found["traceId"], &found["spanId"]), (&"00000000000000000000000000000005".into(), &"0000000000000007".into()));
    assert_eq!(
        (&found["parentSpanId"], &found["kind"], &found["status"]["code"]),
        (&"0000000000000006".into(), &2.into(), &2.into())
    );
    assert_eq!((&found["events"][0]["name"], &found["endTimeUnixNano"]), (&"paid".into(), &"1700000000002000000".into()));
    assert_eq!(found["links"][0]["attributes"][0]["value"]["stringValue"], "follows_from");
    assert_eq!(found.get("attributes"), None, "both tags have a place of their own");
    let compact =
        json(braid_wire::jaeger::thrift_to_otlp(JAEGER_COMPACT, braid_wire::jaeger::Protocol::Compact, &limits).unwrap());
    let found = span(&compact);
    assert_eq!((&found["name"], &found["endTimeUnixNano"]), (&"order".into(), &"2001000".into()));
    assert_eq!(found["attributes"][0]["value"]["boolValue"], true);
    let proto = json(braid_wire::jaeger::proto_to_otlp(&jaeger_proto(), &limits).unwrap());
    let found = span(&proto);
    assert_eq!((&found["parentSpanId"], &found["kind"]), (&"0909090909090909".into(), &3.into()));
    assert_eq!((&found["startTimeUnixNano"], &found["endTimeUnixNano"]), (&"5000000007".into(), &"5000000107".into()));
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
