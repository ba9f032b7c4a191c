//! Loki push in both forms against a plain model: streams with labels and entries.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use braid_wire::{Encoding, Limits, LogSink, Summary, WireError, check, walk_logs};
use model::{Group, Log, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A row: labels, time, line, metadata.
type Row = (Vec<(String, String)>, i64, String, Vec<(String, String)>);

#[derive(Default)]
struct Rows {
    labels: Vec<(String, String)>,
    rows: Vec<Row>,
}

fn own<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    pairs.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn text<'a>(value: &Value<'a>) -> &'a str {
    match value {
        Value::Str(s) => s,
        other => panic!("Loki knows only text, not {other:?}"),
    }
}

impl LogSink for Rows {
    fn group(&mut self, group: &Group<'_>) {
        self.labels = own(group.labels.iter().copied());
    }

    fn log(&mut self, log: &Log<'_>) {
        let metadata = own(log.attributes.iter().map(|a| (a.key, text(&a.value))));
        self.rows.push((self.labels.clone(), log.time, text(&log.body).to_owned(), metadata));
    }
}

fn walk(encoding: Encoding, bytes: &[u8]) -> Result<(Vec<Row>, Summary), WireError> {
    let mut rows = Rows::default();
    let summary = walk_logs(encoding, bytes, &Limits::default(), 0, &mut rows)?;
    assert_eq!(Ok(&summary), check(encoding, bytes, &Limits::default()).as_ref());
    Ok((rows.rows, summary))
}

fn snappy(request: &PushRequest) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

/// Entries as plain values: time, line, metadata.
type Entries = Vec<(i64, String, BTreeMap<String, String>)>;

/// Streams as plain values: labels and entries.
type Streams = Vec<(BTreeMap<String, String>, Entries)>;

fn streams() -> impl Strategy<Value = Streams> {
    let value = || prop_oneof!["[a-z]{1,5}", "[\"\\\\\n\täé😀]{1,4}"];
    let pairs = move |n| btree_map("[a-z_]{1,6}", value(), n);
    let entry = (any::<i64>(), prop_oneof!["[ -~]{0,20}", "\\PC{0,8}"], pairs(0..3usize));
    vec((pairs(1..4), vec(entry, 0..4)), 0..4)
}

fn as_protobuf(streams: &Streams) -> PushRequest {
    let pairs = |m: &BTreeMap<String, String>| m.iter().map(|(n, v)| Pair { name: n.clone(), value: v.clone() }).collect();
    let entry = |(time, line, metadata): &(i64, String, BTreeMap<String, String>)| Entry {
        timestamp: Some(Timestamp { seconds: time.div_euclid(1_000_000_000), nanos: time.rem_euclid(1_000_000_000) as i32 }),
        line: line.clone().into_bytes(),
        metadata: pairs(metadata),
    };
    let stream = |(labels, entries): &(BTreeMap<String, String>, Entries)| Stream {
        labels: model::Labels::from_pairs(labels).to_string(),
        entries: entries.iter().map(entry).collect(),
        hash: 7,
    };
    PushRequest { streams: streams.iter().map(stream).collect() }
}

fn as_json(streams: &Streams) -> String {
    let stream = |(labels, entries): &(BTreeMap<String, String>, Entries)| {
        let values: Vec<_> = entries.iter().map(|(t, l, m)| serde_json::json!([t.to_string(), l, m])).collect();
        // serde_json sorts keys: "stream" comes before "values"; the other order is in a test of its own.
        serde_json::json!({"stream": labels, "values": values})
    };
    serde_json::json!({"streams": streams.iter().map(stream).collect::<Vec<_>>()}).to_string()
}

fn expected(streams: &Streams) -> Vec<Row> {
    let mut rows = Vec::new();
    for (labels, entries) in streams {
        let mut labels = labels.clone();
        if !labels.contains_key("service_name") {
            let source = ["service", "app", "name", "job"].iter().find_map(|s| labels.get(*s).cloned());
            labels.insert("service_name".into(), source.unwrap_or("unknown_service".into()));
        }
        for (time, line, metadata) in entries {
            let pairs = |m: &BTreeMap<String, String>| m.clone().into_iter().collect();
            rows.push((pairs(&labels), *time, line.clone(), pairs(metadata)));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_come_back_with_labels_time_and_metadata(streams in streams()) {
        // The whole range of i64 is allowed but its first second: seconds times 10^9 must not overflow.
        let streams: Streams = streams.into_iter().map(|(l, e)| (l, e.into_iter().map(|(t, l, m)| (t.max(-9_223_372_036_000_000_000), l, m)).collect())).collect();
        let (rows, summary) = walk(Encoding::LokiPush, &snappy(&as_protobuf(&streams))).unwrap();
        prop_assert_eq!(summary.accepted as usize, rows.len());
        prop_assert_eq!(&rows, &expected(&streams));
        let (rows, _) = walk(Encoding::LokiPushJson, as_json(&streams).as_bytes()).unwrap();
        prop_assert_eq!(&rows, &expected(&streams));
    }
}

fn one_line(labels: &str, line: &[u8]) -> Vec<u8> {
    let entries = vec![Entry { line: line.to_vec(), ..Entry::default() }];
    snappy(&PushRequest { streams: vec![Stream { labels: labels.to_owned(), entries, hash: 0 }] })
}

#[test]
fn a_stream_without_labels_is_refused_line_by_line() {
    let (rows, summary) = walk(Encoding::LokiPush, &one_line("{}", b"x")).unwrap();
    assert!(rows.is_empty());
    assert_eq!(summary.refused.message(), "error at least one label pair is required per stream: 1");
}

#[test]
fn labels_that_do_not_parse_cost_their_stream_and_no_other() {
    let stream = |labels: &str, line: &str| Stream {
        labels: labels.to_owned(),
        entries: vec![Entry { line: line.as_bytes().to_vec(), ..Entry::default() }],
        hash: 0,
    };
    let body = snappy(&PushRequest { streams: vec![stream("{a=}", "x"), stream(r#"{a="1"}"#, "kept")] });
    let (rows, summary) = walk(Encoding::LokiPush, &body).unwrap();
    assert_eq!(rows.iter().map(|r| &*r.2).collect::<Vec<_>>(), ["kept"]);
    let why = "error parsing labels '{a=}' with error: 1:4: parse error: expected a quoted string";
    assert_eq!(summary.told.message(), why);

    let body =
        r#"{"streams":[{"stream":{"a-b":"1"},"values":[["5","x"],["6","y"]]},{"stream":{"a":"1"},"values":[["5","kept"]]}]}"#;
    let (rows, summary) = walk(Encoding::LokiPushJson, body.as_bytes()).unwrap();
    assert_eq!(rows.iter().map(|r| &*r.2).collect::<Vec<_>>(), ["kept"]);
    assert_eq!(summary.refused.total(), 2);
    let why = "error parsing labels '{a-b=\"1\"}' with error: parse error: \"a-b\" is no label name";
    assert_eq!(summary.told.message(), why);
}

#[test]
fn the_json_of_the_first_api_is_read() {
    let body = r#"{"streams":[{"labels":"{app=\"a\"}","entries":[
        {"ts":"2018-12-18T08:28:06.801064-04:00","line":"one"},{"line":"two","ts":"2018-12-18T12:28:07Z","more":{}}]}]}"#;
    let (rows, summary) = walk(Encoding::LokiPushJson, body.as_bytes()).unwrap();
    assert_eq!((summary.accepted, summary.refused.total()), (2, 0));
    let rows: Vec<_> = rows.iter().map(|r| (r.1, &*r.2)).collect();
    assert_eq!(rows, [(1_545_136_086_801_064_000, "one"), (1_545_136_087_000_000_000, "two")]);
    for (entry, error) in [
        (r#"{"ts":"2018-12-18T08:28:06","line":"l"}"#, "the time stamp \"2018-12-18T08:28:06\" is no time in RFC 3339"),
        (r#"{"line":"l"}"#, "expected a time stamp and a line"),
    ] {
        let body = format!(r#"{{"streams":[{{"labels":"{{app=\"a\"}}","entries":[{entry}]}}]}}"#);
        let told = walk(Encoding::LokiPushJson, body.as_bytes()).unwrap_err().to_string();
        assert!(told.starts_with(&format!("JSON: {error}")), "{told}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_become_replacement_characters() {
    let (rows, _) = walk(Encoding::LokiPush, &one_line(r#"{app="a"}"#, b"a\xffb")).unwrap();
    assert_eq!(rows[0].2, "a\u{fffd}b");
}

#[test]
fn json_is_read_in_any_order_and_refused_with_its_place() {
    let body = r#" {"streams": [{"values": [["5", "l", {"k": "v"}], [6, "m"]], "stream": {"app": "a"}}]} "#;
    let (rows, _) = walk(Encoding::LokiPushJson, body.as_bytes()).unwrap();
    assert_eq!(rows.iter().map(|r| (r.1, &*r.2, r.3.len())).collect::<Vec<_>>(), [(5, "l", 1), (6, "m", 0)]);
    for (body, error) in [
        (r#"{"streams":[{"stream":{"a":1}}]}"#, "JSON: expected '\"' at line 1 column 28"),
        (r#"{"streams":[{"stream":{"a":"b"},"values":[["1"]]}]}"#, "JSON: expected a time stamp and a line at line 1 column 48"),
        (
            r#"{"streams":[{"stream":{"a":"b"},"values":[["1.5","x"]]}]}"#,
            "JSON: the time stamp \"1.5\" is no number of nanoseconds at line 1 column 54",
        ),
        (r#"{"streams":[}"#, "JSON: expected '{' at line 1 column 13"),
        ("", "JSON: expected '{' at line 1 column 1"),
    ] {
        assert_eq!(walk(Encoding::LokiPushJson, body.as_bytes()).unwrap_err().to_string(), error, "{body}");
    }
}
