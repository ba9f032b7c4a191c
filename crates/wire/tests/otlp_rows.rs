//! The walkers against the generated types: every field of a request comes back through walk and encode, and the
//! JSON form of a request gives the same rows as its protobuf form.
#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use braid_wire::otlp::{LogEncoder, Style, TraceEncoder, logs_json, traces_json};
use braid_wire::{Encoding, Limits, check, walk_logs, walk_spans};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData, span};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

const RECEIVED: i64 = 1_700_000_000_000_000_000;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z.]{0,12}", 1 => "\\PC{0,6}", 1 => "[\"\\\\\n\u{1}é😀]{0,6}", 1 => "a{200}"]
}

/// Any double but NaN, which is not equal to itself.
fn double() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{INFINITE, NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO | INFINITE, (-1000i32..1000).prop_map(f64::from)]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        4 => text().prop_map(any_value::Value::StringValue),
        1 => any::<bool>().prop_map(any_value::Value::BoolValue),
        2 => any::<i64>().prop_map(any_value::Value::IntValue),
        1 => double().prop_map(any_value::Value::DoubleValue),
        1 => vec(any::<u8>(), 0..6).prop_map(any_value::Value::BytesValue),
    ];
    let value = prop_oneof![9 => leaf.prop_map(Some), 1 => Just(None)].prop_map(|value| AnyValue { value });
    value.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| any_value::Value::ArrayValue(ArrayValue { values })),
            vec(("[a-z.]{1,8}", inner), 0..4).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| key_value(key, value)).collect();
                any_value::Value::KvlistValue(KeyValueList { values })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn key_value(key: String, value: AnyValue) -> KeyValue {
    KeyValue { key, value: Some(value), ..KeyValue::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec(("[a-z.]{1,8}", any_value()).prop_map(|(key, value)| key_value(key, value)), 0..4)
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len).prop_map(|mut id| {
        id[0] |= 1;
        id
    })
}

fn id_or_none(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![id(len), Just(Vec::new())]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0..=i64::MAX as u64, 1_700_000_000_000_000_000..1_700_000_001_000_000_000u64]
}

prop_compose! {
    fn event()(time_unix_nano in time(), name in text(), attributes in attributes(), dropped in any::<u32>()) -> span::Event {
        span::Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    fn link()(
        trace_id in id_or_none(16),
        span_id in id_or_none(8),
        trace_state in text(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
        flags in any::<u32>(),
    ) -> span::Link {
        span::Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

fn status() -> impl Strategy<Value = Option<Status>> {
    let some = (text(), 0i32..4).prop_filter("an empty status is no status", |(message, code)| !message.is_empty() || *code != 0);
    option::of(some.prop_map(|(message, code)| Status { message, code }))
}

prop_compose! {
    fn span_of_any_shape()(
        (trace_id, span_id, parent_span_id) in (id(16), id(8), id_or_none(8)),
        (trace_state, name, kind, flags) in (text(), text(), -1i32..7, any::<u32>()),
        (start_time_unix_nano, end_time_unix_nano) in (time(), time()),
        (attributes, events, links, status) in (attributes(), vec(event(), 0..3), vec(link(), 0..3), status()),
        (dropped_attributes_count, dropped_events_count, dropped_links_count) in any::<(u32, u32, u32)>(),
    ) -> Span {
        Span {
            trace_id, span_id, parent_span_id, trace_state, name, kind, flags, start_time_unix_nano, end_time_unix_nano,
            attributes, events, links, status, dropped_attributes_count, dropped_events_count, dropped_links_count,
        }
    }
}

prop_compose! {
    fn scope()(name in text(), version in text(), attributes in attributes(), dropped in any::<u32>()) -> InstrumentationScope {
        InstrumentationScope { name, version, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    // Neighbours differ, since equal ones become one.
    fn resource()(attributes in attributes(), dropped in 0..9u32, n in any::<u64>()) -> Resource {
        let unique = AnyValue { value: Some(any_value::Value::StringValue(n.to_string())) };
        let attributes = [vec![key_value("unique".into(), unique)], attributes].concat();
        Resource { attributes, dropped_attributes_count: dropped, ..Resource::default() }
    }
}

/// `Some` unless it would be empty: on the wire of the encoder these are one.
fn some_scope(scope: InstrumentationScope) -> Option<InstrumentationScope> {
    (scope != InstrumentationScope::default()).then_some(scope)
}

fn traces() -> impl Strategy<Value = TracesData> {
    let scope_spans = (scope(), vec(span_of_any_shape(), 1..4), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope: some_scope(scope),
        spans,
        schema_url,
    });
    let resource_spans = (resource(), vec(scope_spans, 1..3), text()).prop_map(|(r, scope_spans, schema_url)| ResourceSpans {
        resource: Some(r),
        scope_spans,
        schema_url,
    });
    vec(resource_spans, 0..3).prop_map(|resource_spans| TracesData { resource_spans })
}

prop_compose! {
    fn record()(
        (time_unix_nano, observed_time_unix_nano) in (1..=i64::MAX as u64, time()),
        (severity_number, severity_text, event_name) in (0i32..25, text(), text()),
        body in any_value(),
        (attributes, dropped_attributes_count, flags) in (attributes(), any::<u32>(), any::<u32>()),
        (trace_id, span_id) in (id_or_none(16), id_or_none(8)),
    ) -> LogRecord {
        // No body and an empty body are one.
        let body = body.value.is_some().then_some(body);
        LogRecord {
            time_unix_nano, observed_time_unix_nano, severity_number, severity_text, event_name, body, attributes,
            dropped_attributes_count, flags, trace_id, span_id,
        }
    }
}

fn logs() -> impl Strategy<Value = LogsData> {
    let scope_logs = (scope(), vec(record(), 1..4), text()).prop_map(|(scope, log_records, schema_url)| ScopeLogs {
        scope: some_scope(scope),
        log_records,
        schema_url,
    });
    let resource_logs = (resource(), vec(scope_logs, 1..3), text()).prop_map(|(r, scope_logs, schema_url)| ResourceLogs {
        resource: Some(r),
        scope_logs,
        schema_url,
    });
    vec(resource_logs, 0..3).prop_map(|resource_logs| LogsData { resource_logs })
}

fn through_traces(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = TraceEncoder::default();
    let summary = walk_spans(encoding, bytes, &Limits::default(), &mut encoder).expect("walks");
    assert_eq!(Ok(summary), check(encoding, bytes, &Limits::default()));
    encoder.finish().expect("encodes")
}

fn through_logs(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = LogEncoder::default();
    let summary = walk_logs(encoding, bytes, &Limits::default(), RECEIVED, &mut encoder).expect("walks");
    assert_eq!(Ok(summary), check(encoding, bytes, &Limits::default()));
    encoder.finish().expect("encodes")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn spans_come_back_whole(data in traces()) {
        let encoded = through_traces(Encoding::OtlpTraces, &data.encode_to_vec());
        prop_assert_eq!(&TracesData::decode(&*encoded).unwrap(), &data);
    }

    #[test]
    fn spans_in_json_are_the_same_rows(data in traces()) {
        let protobuf = through_traces(Encoding::OtlpTraces, &data.encode_to_vec());
        let ours = traces_json(&data.encode_to_vec(), Style::Otlp, "resourceSpans").unwrap();
        prop_assert_eq!(&through_traces(Encoding::OtlpTracesJson, ours.as_bytes()), &protobuf);
    }

    #[test]
    fn the_generated_types_read_our_json(data in traces()) {
        let ours = traces_json(&data.encode_to_vec(), Style::Otlp, "resourceSpans").unwrap();
        // They know no text for infinity.
        prop_assume!(!ours.contains("Infinity"));
        let theirs: TracesData = serde_json::from_str(&ours).map_err(|e| TestCaseError::fail(format!("{e}: {ours}")))?;
        prop_assert_eq!(&theirs, &data);
    }

    #[test]
    fn we_read_the_json_of_the_generated_types(data in traces()) {
        let protobuf = through_traces(Encoding::OtlpTraces, &data.encode_to_vec());
        let theirs = serde_json::to_vec(&data).unwrap();
        // They write infinity as null, which is nothing.
        prop_assume!(!format!("{data:?}").contains("DoubleValue(inf)") && !format!("{data:?}").contains("DoubleValue(-inf)"));
        prop_assert_eq!(&through_traces(Encoding::OtlpTracesJson, &theirs), &protobuf);
    }

    #[test]
    fn log_records_come_back_whole(data in logs()) {
        let encoded = through_logs(Encoding::OtlpLogs, &data.encode_to_vec());
        prop_assert_eq!(&LogsData::decode(&*encoded).unwrap(), &data);
    }

    #[test]
    fn log_records_in_json_are_the_same_rows(data in logs()) {
        let protobuf = through_logs(Encoding::OtlpLogs, &data.encode_to_vec());
        let ours = logs_json(&data.encode_to_vec(), Style::Otlp).unwrap();
        prop_assert_eq!(&through_logs(Encoding::OtlpLogsJson, ours.as_bytes()), &protobuf);
    }
}

#[test]
fn the_published_example_of_otlp_json_is_read() {
    let Some(json) = cases::read("otlp_examples/trace.json") else { return };
    let encoded = through_traces(Encoding::OtlpTracesJson, json.as_bytes());
    let data = TracesData::decode(&*encoded).unwrap();
    let span = &data.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.trace_id, *b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c");
    assert_eq!((span.name.as_str(), span.kind), ("I'm a server span", 2));
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
}

#[test]
fn spans_that_cannot_be_kept_are_counted_by_reason() {
    let good = Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() };
    let spans = vec![
        good.clone(),
        Span { trace_id: vec![0; 16], ..good.clone() },
        Span { trace_id: vec![1; 15], ..good.clone() },
        Span { span_id: Vec::new(), ..good.clone() },
        Span { parent_span_id: vec![1], ..good.clone() },
        Span { start_time_unix_nano: u64::MAX, ..good },
    ];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let data = TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let summary = check(Encoding::OtlpTraces, &data.encode_to_vec(), &Limits::default()).unwrap();
    assert_eq!(summary.accepted, 1);
    assert_eq!(
        summary.refused.message(),
        "spans with a time after the year 2262: 1; spans with an invalid parent span id (8 bytes or none): 1; \
         spans with an invalid span id (8 bytes, not all zero): 1; spans with an invalid trace id (16 bytes, not all zero): 2"
    );
}

#[test]
fn a_record_without_a_time_gets_the_best_time_there_is() {
    let times =
        |time_unix_nano, observed_time_unix_nano| LogRecord { time_unix_nano, observed_time_unix_nano, ..LogRecord::default() };
    let log_records = vec![times(5, 7), times(0, 7), times(0, 0)];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let data = LogsData { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
    let encoded = through_logs(Encoding::OtlpLogs, &data.encode_to_vec());
    let records = LogsData::decode(&*encoded).unwrap().resource_logs.remove(0).scope_logs.remove(0).log_records;
    assert_eq!(records.iter().map(|r| r.time_unix_nano).collect::<Vec<_>>(), [5, 7, RECEIVED as u64]);
}

#[test]
fn a_group_of_which_no_record_is_kept_is_not_written() {
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default()], schema_url: "u".into(), ..ScopeSpans::default() }];
    let data = TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    assert!(through_traces(Encoding::OtlpTraces, &data.encode_to_vec()).is_empty());
}
