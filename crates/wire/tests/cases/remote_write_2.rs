//! `io.prometheus.write.v2.Request`.

use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<Series2>,
}

#[derive(Clone, PartialEq, Message)]
struct Series2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample2>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<Exemplar2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<Metadata>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample2 {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

const SYMBOLS: [&str; 9] = ["", "__name__", "up", "job", "a", "trace_id", "ff", "Whether it is up.", "h_bucket"];

fn request(timeseries: Vec<Series2>) -> Request {
    Request { symbols: SYMBOLS.map(str::to_owned).to_vec(), timeseries }
}

fn one(labels_refs: &[u32]) -> Series2 {
    let samples = vec![Sample2 { value: 1.0, timestamp: 5, start_timestamp: 0 }];
    Series2 { labels_refs: labels_refs.to_vec(), samples, ..Series2::default() }
}

fn walk_2(request: &Request) -> Result<(Rows, Summary), WireError> {
    walk_as(Encoding::RemoteWrite2, &snappy(request))
}

#[test]
fn everything_that_a_request_carries_comes_back() {
    let mut up = one(&[1, 2, 3, 4]);
    up.samples.push(Sample2 { value: 2.0, timestamp: 6, start_timestamp: 4 });
    up.created_timestamp = 1;
    up.exemplars = vec![
        Exemplar2 { labels_refs: vec![5, 6], value: 3.0, timestamp: 7 },
        Exemplar2 { labels_refs: vec![5, 60], value: 3.0, timestamp: 7 },
    ];
    up.metadata = Some(Metadata { kind: 2, help_ref: 7, unit_ref: 0 });
    let mut h = Series2 { samples: Vec::new(), histograms: vec![integers(), custom()], ..one(&[1, 8]) };
    h.created_timestamp = 2;
    h.metadata = Some(Metadata { kind: 3, help_ref: 0, unit_ref: 0 });
    let (rows, summary) = walk_2(&request(vec![up, h])).unwrap();
    assert_eq!((summary.accepted, summary.histograms, summary.exemplars), (4, 2, 1));
    assert_eq!(summary.refused.total(), 0);
    assert_eq!(summary.skipped.message(), "exemplars with label references that cannot be: 1");
    let labels = vec![("__name__".to_owned(), "up".to_owned()), ("job".to_owned(), "a".to_owned())];
    assert_eq!(rows.series[0], (labels, vec![(5, 1f64.to_bits()), (6, 2f64.to_bits())]));
    // The series' start holds where a sample or histogram has none of its own.
    assert_eq!(rows.starts, [1, 4]);
    assert_eq!(rows.histograms, [(2, 5, integers_walked()), (3, 6, custom_walked())]);
    assert_eq!(rows.exemplars, [(vec![("trace_id".to_owned(), "ff".to_owned())], 7, 3f64.to_bits())]);
    let metadata = |name: &str, kind, help: &str| (name.to_owned(), kind, help.to_owned(), String::new());
    assert_eq!(rows.metadata, [metadata("up", MetricKind::Gauge, "Whether it is up."), metadata("h", MetricKind::Histogram, "")]);
}

#[test]
fn series_that_break_the_rules_are_refused_and_the_others_kept() {
    let nothing = Series2 { samples: Vec::new(), ..one(&[1, 2]) };
    for (bad, reason) in [
        (one(&[1, 2, 3]), "invalid labels for series: odd number of label references"),
        (one(&[1, 99]), "invalid labels for series: a label reference outside of the symbols table"),
        (one(&[3, 4]), "invalid metric name or labels: no metric name"),
        (one(&[]), "invalid metric name or labels: no metric name"),
        (one(&[3, 4, 1, 2]), "invalid labels for series: label names are not sorted"),
        (one(&[1, 2, 3, 4, 3, 4]), "invalid labels for series: duplicate label name"),
        (one(&[1, 2, 3, 0]), "invalid metric name or labels: an empty label name or value"),
        (one(&[0, 2, 1, 2]), "invalid metric name or labels: an empty label name or value"),
        (nothing, "TimeSeries must contain at least one sample or histogram"),
    ] {
        let (rows, summary) = walk_2(&request(vec![bad, one(&[1, 2])])).unwrap();
        assert_eq!(summary.refused.message(), format!("{reason}: 1"));
        assert_eq!((summary.accepted, rows.series.len()), (1, 1), "{reason}");
    }
}

#[test]
fn symbols_begin_with_nothing_and_are_bounded() {
    let mut wrong = request(vec![one(&[1, 2])]);
    wrong.symbols[0] = "x".to_owned();
    let error = walk_2(&wrong).unwrap_err().to_string();
    assert_eq!(error, "protobuf: symbols that do not begin with an empty string at byte 0");
    let limits = Limits { max_symbols: 8, ..Limits::default() };
    let error = check(Encoding::RemoteWrite2, &snappy(&request(Vec::new())), &limits).unwrap_err().to_string();
    assert_eq!(error, "the number of symbols exceeds the limit of 8");
}
