//! OTLP metrics become the series that Prometheus makes of them.
#![allow(clippy::unwrap_used, missing_docs)]

mod cases;

use braid_wire::{Encoding, Limits, MetricKind, RawLabels, SampleSink, Summary, check, walk_samples};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, MetricsData,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary as SummaryMetric, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;

const MS: u64 = 1_000_000;

/// Samples and metadata as lines of text.
#[derive(Default)]
struct Lines {
    series: String,
    /// What holds of the samples that follow.
    note: String,
    lines: Vec<String>,
}

impl SampleSink for Lines {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        labels.read(&mut pairs).unwrap();
        assert!(pairs.is_sorted() && pairs.iter().all(|(n, v)| !n.is_empty() && !v.is_empty()), "{pairs:?}");
        let name = pairs.iter().find(|(n, _)| *n == "__name__").unwrap().1;
        let rest: Vec<_> = pairs.iter().filter(|(n, _)| *n != "__name__").map(|(n, v)| format!("{n}={v}")).collect();
        self.series = format!("{name}{{{}}}", rest.join(","));
        self.note.clear();
    }

    fn delta(&mut self) {
        self.note.push_str(" delta");
    }

    fn start(&mut self, start_ms: i64) {
        self.note.push_str(&format!(" since {start_ms}"));
    }

    fn histogram(&mut self, time_ms: i64, h: &model::Histogram) {
        let spans = |spans: &[model::BucketSpan]| {
            format!("[{}]", spans.iter().map(|s| format!("{}:{}", s.offset, s.length)).collect::<Vec<_>>().join(", "))
        };
        let positive = format!("{} {:?}", spans(&h.positive_spans), h.positive);
        let negative = format!("{} {:?}", spans(&h.negative_spans), h.negative);
        let what = match model::is_stale(h.sum) {
            true => "stale".to_owned(),
            false => format!(
                "schema {} count {} sum {} zero {} positive {positive} negative {negative}",
                h.schema, h.count, h.sum, h.zero_count
            ),
        };
        self.lines.push(format!("{} {what}{} @{time_ms}", self.series, self.note));
    }

    fn exemplar(&mut self, exemplar: &braid_wire::Exemplar<'_>) {
        let labels: Vec<_> = exemplar.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let (series, labels) = (&self.series, labels.join(","));
        self.lines.push(format!("# exemplar {series} {{{labels}}} {} @{}", exemplar.value, exemplar.time_ms));
    }

    fn sample(&mut self, time_ms: i64, value: f64) {
        let stale = if model::is_stale(value) { " stale" } else { "" };
        self.lines.push(format!("{} {value}{stale}{} @{time_ms}", self.series, self.note));
    }

    fn metadata(&mut self, family: &str, kind: MetricKind, help: &str, unit: &str) {
        self.lines.push(format!("# {family} {} {help} {unit}", kind.as_str()));
    }
}

fn walk(encoding: Encoding, bytes: &[u8]) -> (Vec<String>, Summary) {
    let mut lines = Lines::default();
    let summary = walk_samples(encoding, bytes, &Limits::default(), &mut lines).unwrap();
    assert_eq!(Ok(&summary), check(encoding, bytes, &Limits::default()).as_ref());
    let samples = lines.lines.iter().filter(|l| !l.starts_with('#')).count();
    assert_eq!(summary.accepted as usize, samples);
    (lines.lines, summary)
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let value = |v: &str| Some(AnyValue { value: Some(Value::StringValue(v.to_owned())) });
    pairs.iter().map(|(k, v)| KeyValue { key: (*k).to_owned(), value: value(v), ..KeyValue::default() }).collect()
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), description: "help".into(), data: Some(data), ..Metric::default() }
}

fn request(resource: &[(&str, &str)], metrics: Vec<Metric>) -> Vec<u8> {
    let resource = Some(Resource { attributes: attributes(resource), ..Resource::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    MetricsData { resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }] }
        .encode_to_vec()
}

fn point(value: f64, labels: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        time_unix_nano: 5 * MS,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn sum(aggregation_temporality: i32, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points: vec![point(2.0, &[])], aggregation_temporality, is_monotonic })
}

#[test]
fn numbers_become_gauges_and_counters() {
    let gauge = Data::Gauge(Gauge {
        data_points: vec![
            point(1.5, &[("http.method", "GET"), ("http_method", "x"), ("job", "mine"), ("empty", "")]),
            NumberDataPoint { value: Some(number_data_point::Value::AsInt(-7)), ..point(0.0, &[]) },
            NumberDataPoint { flags: 1, ..point(9.0, &[]) },
        ],
    });
    let metrics =
        vec![metric("memory.usage", "By", gauge), metric("requests", "1", sum(2, true)), metric("queue", "1", sum(2, false))];
    let resource = [("service.name", "shop"), ("service.namespace", "eu"), ("service.instance.id", "i1")];
    let (lines, summary) = walk(Encoding::OtlpMetrics, &request(&resource, metrics));
    assert_eq!(
        lines,
        [
            "# memory_usage_bytes gauge help By",
            "memory_usage_bytes{http_method=GET;x,instance=i1,job=eu/shop} 1.5 @5",
            "memory_usage_bytes{instance=i1,job=eu/shop} -7 @5",
            "memory_usage_bytes{instance=i1,job=eu/shop} NaN stale @5",
            "# requests_total counter help 1",
            "requests_total{instance=i1,job=eu/shop} 2 @5",
            "# queue gauge help 1",
            "queue{instance=i1,job=eu/shop} 2 @5",
        ]
    );
    assert!(summary.refused.0.is_empty());
}

#[test]
fn histograms_and_summaries_become_classic_series() {
    let histogram = HistogramDataPoint {
        time_unix_nano: 5 * MS,
        count: 6,
        sum: Some(4.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 10.0],
        ..HistogramDataPoint::default()
    };
    let bare = HistogramDataPoint { sum: None, bucket_counts: Vec::new(), explicit_bounds: Vec::new(), ..histogram.clone() };
    let broken = HistogramDataPoint { bucket_counts: vec![1], ..histogram.clone() };
    let data_points = vec![histogram, bare, broken];
    let summary = SummaryDataPoint {
        time_unix_nano: 6 * MS,
        count: 3,
        sum: 7.0,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 4.0 }],
        ..SummaryDataPoint::default()
    };
    let metrics = vec![
        metric("latency", "s", Data::Histogram(Histogram { data_points, aggregation_temporality: 2 })),
        metric("old", "", Data::Summary(SummaryMetric { data_points: vec![summary] })),
    ];
    let (lines, summary) = walk(Encoding::OtlpMetrics, &request(&[], metrics));
    assert_eq!(
        lines,
        [
            "# latency_seconds histogram help s",
            "latency_seconds_sum{} 4.5 @5",
            "latency_seconds_count{} 6 @5",
            "latency_seconds_bucket{le=0.5} 1 @5",
            "latency_seconds_bucket{le=10} 3 @5",
            "latency_seconds_bucket{le=+Inf} 6 @5",
            "latency_seconds_count{} 6 @5",
            "latency_seconds_bucket{le=+Inf} 6 @5",
            "# old summary help ",
            "old_sum{} 7 @6",
            "old_count{} 3 @6",
            "old{quantile=0.99} 4 @6",
        ]
    );
    assert_eq!(summary.refused.message(), "histograms whose buckets do not fit their bounds: 1");
}

#[test]
fn what_cannot_be_kept_is_refused_point_by_point() {
    let exponential = |scale, count, temporality| {
        let data_points = vec![ExponentialHistogramDataPoint { scale, count, ..ExponentialHistogramDataPoint::default() }];
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: temporality })
    };
    let metrics = vec![
        metric("b", "", sum(0, true)),
        metric("c", "", exponential(-5, 0, 2)),
        metric("d", "", exponential(3, 1, 2)),
        metric("e", "", exponential(3, 0, 0)),
        metric("é", "", sum(2, false)),
        Metric::default(),
    ];
    let (lines, summary) = walk(Encoding::OtlpMetrics, &request(&[("service.name", "shop"), ("host", "h")], metrics));
    assert!(lines.iter().all(|l| l.starts_with('#')), "{lines:?}");
    assert_eq!(
        summary.refused.message(),
        "data points of a metric whose name has no letter or digit: 1; data points of unspecified temporality: 2; \
         exponential histograms with a scale below -4: 1; histogram's observation count should equal the number of \
         observations found in the buckets (in absence of NaN): 1; metrics without data points: 1"
    );
}

#[test]
fn exponential_histograms_become_native_ones() {
    let at = |scale, offset, bucket_counts: Vec<u64>| {
        let positive = Some(Buckets { offset, bucket_counts });
        let negative = Some(Buckets { offset: 4, bucket_counts: vec![1] });
        ExponentialHistogramDataPoint {
            start_time_unix_nano: 2 * MS,
            time_unix_nano: 5 * MS,
            count: 9,
            sum: Some(20.5),
            scale,
            zero_count: 2,
            positive,
            negative,
            ..ExponentialHistogramDataPoint::default()
        }
    };
    let none = ExponentialHistogramDataPoint { flags: 1, ..at(3, 0, Vec::new()) };
    // A gap of two is filled, one of four makes a span; scale 9 is brought to 8.
    let data_points = vec![at(3, -2, vec![0, 1, 0, 0, 2, 0, 0, 0, 0, 3, 0]), at(9, 1, vec![1, 2, 3]), none];
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: 1 });
    let (lines, summary) = walk(Encoding::OtlpMetrics, &request(&[], vec![metric("size", "By", data)]));
    assert_eq!((summary.accepted, summary.histograms, summary.refused.total()), (3, 3, 0));
    assert_eq!(
        lines,
        [
            "# size_bytes histogram help By",
            "size_bytes{} schema 3 count 9 sum 20.5 zero 2 positive [0:4, 4:1] [1.0, 0.0, 0.0, 2.0, 3.0] negative [5:1] [1.0] \
             delta since 2 @5",
            "size_bytes{} schema 8 count 9 sum 20.5 zero 2 positive [1:2] [1.0, 5.0] negative [3:1] [1.0] delta since 2 @5",
            "size_bytes{} stale delta since 2 @5",
        ]
    );
}

#[test]
fn deltas_are_passed_on_as_such_and_counters_tell_when_they_began() {
    let since = |aggregation_temporality, is_monotonic| {
        let point = NumberDataPoint { start_time_unix_nano: 3 * MS, ..point(2.0, &[]) };
        Data::Sum(Sum { data_points: vec![point], aggregation_temporality, is_monotonic })
    };
    let metrics = [("a", 1, true), ("b", 2, true), ("c", 1, false), ("d", 2, false)]
        .map(|(name, temporality, monotonic)| metric(name, "", since(temporality, monotonic)));
    let (lines, _) = walk(Encoding::OtlpMetrics, &request(&[("service.name", "s"), ("k", "v")], metrics.to_vec()));
    let samples: Vec<_> = lines.iter().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        samples,
        [
            "a_total{job=s} 2 delta since 3 @5",
            "b_total{job=s} 2 since 3 @5",
            "c{job=s} 2 delta @5",
            "d{job=s} 2 @5",
            "target_info{job=s,k=v} 1 @5",
        ]
    );
}

#[test]
fn exemplars_keep_their_trace_and_find_their_bucket() {
    let exemplar = |value: f64, note: &str| Exemplar {
        filtered_attributes: attributes(&[("user.id", note)]),
        time_unix_nano: 4 * MS,
        span_id: vec![2; 8],
        trace_id: vec![1; 16],
        value: Some(exemplar::Value::AsDouble(value)),
    };
    let ids = "span_id=0202020202020202,trace_id=01010101010101010101010101010101";
    let counter = Data::Sum(Sum {
        data_points: vec![NumberDataPoint { exemplars: vec![exemplar(1.0, &"x".repeat(60))], ..point(2.0, &[]) }],
        aggregation_temporality: 2,
        is_monotonic: true,
    });
    let histogram = HistogramDataPoint {
        time_unix_nano: 5 * MS,
        count: 6,
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 10.0],
        exemplars: vec![exemplar(0.5, "a"), exemplar(0.6, "b"), exemplar(11.0, "c")],
        ..HistogramDataPoint::default()
    };
    let histogram = Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 });
    let (lines, summary) = walk(Encoding::OtlpMetrics, &request(&[], vec![metric("c", "", counter), metric("h", "", histogram)]));
    let exemplars: Vec<_> = lines.iter().filter(|l| l.starts_with("# exemplar")).cloned().collect();
    assert_eq!(
        exemplars,
        [
            // With its attribute it would be too long.
            format!("# exemplar c_total{{}} {{{ids}}} 1 @4"),
            format!("# exemplar h_bucket{{le=0.5}} {{{ids},user_id=a}} 0.5 @4"),
            format!("# exemplar h_bucket{{le=10}} {{{ids},user_id=b}} 0.6 @4"),
            format!("# exemplar h_bucket{{le=+Inf}} {{{ids},user_id=c}} 11 @4"),
        ]
    );
    assert_eq!((summary.exemplars, summary.skipped.total()), (4, 0));
}

#[test]
fn the_resource_is_told_by_target_info_for_as_long_as_its_points() {
    let at = |seconds: u64| NumberDataPoint { time_unix_nano: seconds * 1000 * MS, ..point(1.0, &[]) };
    let data = |points: &[u64]| Data::Gauge(Gauge { data_points: points.iter().map(|s| at(*s)).collect() });
    let info = |resource: &[(&str, &str)], points: &[u64]| {
        let (lines, _) = walk(Encoding::OtlpMetrics, &request(resource, vec![metric("g", "", data(points))]));
        lines.into_iter().filter(|l| l.contains("target_info")).collect::<Vec<_>>()
    };
    let resource = [("service.name", "shop"), ("host.name", "h")];
    let line = |ms: u64| format!("target_info{{host_name=h,job=shop}} 1 @{ms}");
    let metadata = "# target_info gauge Target metadata ".to_owned();
    assert_eq!(info(&resource, &[100]), [metadata.clone(), line(100_000)]);
    assert_eq!(info(&resource, &[100, 500]), [metadata.clone(), line(100_000), line(250_000), line(400_000), line(500_000)]);
    // A clock that was wrong by years does not make years of samples.
    assert_eq!(info(&resource, &[1, 9_000_000_000]), [metadata, line(9_000_000_000_000)]);
    assert!(info(&resource[..1], &[100]).is_empty(), "nothing to tell");
    assert!(info(&resource[1..], &[100]).is_empty(), "nobody to tell it of");
}

#[test]
fn the_published_example_of_otlp_json_is_read() {
    let Some(json) = cases::read("otlp_examples/metrics.json") else { return };
    let (lines, summary) = walk(Encoding::OtlpMetricsJson, json.as_bytes());
    // All but the gauge are deltas there.
    let samples: Vec<_> = lines.iter().filter(|l| !l.starts_with('#')).map(|l| l.replace("some value", "x")).collect();
    let since = "delta since 1544712660300 @1544712660300";
    assert_eq!(
        samples,
        [
            format!("my_counter_total{{job=my.service,my_counter_attr=x}} 5 {since}"),
            "my_gauge_ratio{job=my.service,my_gauge_attr=x} 10 @1544712660300".to_owned(),
            format!("my_histogram_sum{{job=my.service,my_histogram_attr=x}} 2 {since}"),
            format!("my_histogram_count{{job=my.service,my_histogram_attr=x}} 2 {since}"),
            format!("my_histogram_bucket{{job=my.service,le=1,my_histogram_attr=x}} 1 {since}"),
            format!("my_histogram_bucket{{job=my.service,le=+Inf,my_histogram_attr=x}} 2 {since}"),
            format!(
                "my_exponential_histogram{{job=my.service,my_exponential_histogram_attr=x}} \
                 schema 0 count 3 sum 10 zero 1 positive [3:1] [2.0] negative [] [] {since}"
            ),
        ]
    );
    assert_eq!(summary.refused.total(), 0, "{:?}", summary.refused);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_is_the_same_samples(
        values in proptest::collection::vec((-1000i32..1000, any::<i64>(), 0u64..1 << 62), 0..5),
        name in "[a-z.é]{0,8}",
        unit in prop_oneof![Just("1"), Just("s"), Just("{x}/s"), Just("")],
        key in "[a-z._0-9]{1,6}",
        monotonic in any::<bool>(),
    ) {
        let points = values.iter().flat_map(|(d, i, t)| {
            let p = NumberDataPoint { time_unix_nano: *t, ..point(f64::from(*d) / 8.0, &[(&key, "v")]) };
            [NumberDataPoint { value: Some(number_data_point::Value::AsInt(*i)), ..p.clone() }, p]
        });
        let buckets = HistogramDataPoint {
            bucket_counts: values.iter().map(|v| v.2).collect(),
            explicit_bounds: values.iter().skip(1).map(|v| f64::from(v.0)).collect(),
            ..HistogramDataPoint::default()
        };
        let data = MetricsData {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource { attributes: attributes(&[("service.name", "s"), ("k", "v")]), ..Resource::default() }),
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![
                        metric(&name, unit, Data::Sum(Sum { data_points: points.collect(), aggregation_temporality: 2, is_monotonic: monotonic })),
                        metric("h", unit, Data::Histogram(Histogram { data_points: vec![buckets], aggregation_temporality: 2 })),
                    ],
                    ..ScopeMetrics::default()
                }],
                ..ResourceMetrics::default()
            }],
        };
        let protobuf = walk(Encoding::OtlpMetrics, &data.encode_to_vec());
        let json = walk(Encoding::OtlpMetricsJson, &serde_json::to_vec(&data).unwrap());
        prop_assert_eq!(protobuf, json);
    }
}

#[test]
fn explicit_histograms_become_native_ones_with_custom_buckets_where_that_is_asked_for() {
    let request = |buckets: &str, flags: u32| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[
            {{"timeUnixNano":"5000000","flags":{flags},{buckets}}}]}}}}]}}]}}]}}"#
        )
    };
    let walk = |request: String| {
        let limits = Limits { custom_buckets: true, ..Limits::default() };
        let mut lines = Lines::default();
        let summary = walk_samples(Encoding::OtlpMetricsJson, request.as_bytes(), &limits, &mut lines).unwrap();
        (lines.lines.into_iter().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n"), summary)
    };
    let (lines, summary) = walk(request(r#""count":"6","sum":10,"bucketCounts":["1","2","3"],"explicitBounds":[1,2.5]"#, 0));
    assert_eq!((summary.accepted, summary.histograms, summary.refused.total()), (1, 1, 0));
    assert!(lines.contains("schema -53 count 6 sum 10 zero 0 positive [0:3] [1.0, 2.0, 3.0]"), "{lines}");
    let (lines, _) =
        walk(request(r#""count":"6","sum":10,"bucketCounts":["1","2","3","0"],"explicitBounds":[1,2.5,"Infinity"]"#, 0));
    assert!(lines.contains("positive [0:3] [1.0, 2.0, 3.0]"), "an infinite bound is the last bucket's: {lines}");
    let (lines, _) = walk(request(r#""count":"0""#, 1));
    assert!(lines.contains("stale"), "{lines}");
    let (_, summary) = walk(request(r#""count":"5","sum":10,"bucketCounts":["1","2","3"],"explicitBounds":[1,2.5]"#, 0));
    assert_eq!((summary.accepted, summary.refused.total()), (0, 1), "counts must add up");
}
