//! What the generator makes of spans, against what Tempo's documentation says it should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{Attr, Group, Span, SpanId, Tenant, TraceId, Value};
use wire::otlp::TraceEncoder;
use wire::{Discard, Encoding, Exemplar, Limits, MetricKind, RawLabels, SampleSink, SpanSink};

use crate::{Counters, Generator, ServiceGraphs, Settings, SpanMetrics};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;

/// A span of the tests: kind, trace, id, parent, milliseconds, status, attributes.
struct Given<'a>(i32, u8, u8, u8, i64, i32, &'a [(&'a str, &'a str)]);

fn request(service: &str, spans: &[Given<'_>]) -> Vec<u8> {
    let mut encoder = TraceEncoder::default();
    let resource = [
        Attr { key: "service.name", value: Value::Str(service) },
        Attr { key: "service.instance.id", value: Value::Str("one") },
        Attr { key: "host.name", value: Value::Str("h") },
    ];
    encoder.group(&Group { resource: &resource, ..Group::default() });
    for Given(kind, trace, id, parent, millis, status, attributes) in spans {
        let attributes: Vec<Attr<'_>> = attributes.iter().map(|(key, v)| Attr { key, value: Value::Str(v) }).collect();
        encoder.span(&Span {
            trace_id: TraceId([*trace; 16]),
            span_id: SpanId([*id; 8]),
            parent_span_id: SpanId([*parent; 8]),
            name: "op",
            kind: *kind,
            start: START,
            end: START + millis * 1_000_000,
            status_code: *status,
            attributes: &attributes,
            ..Span::default()
        });
    }
    encoder.finish().expect("sound")
}

fn generator(settings: Settings) -> (Generator, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Generator::new(settings, Arc::clone(&counters)), counters)
}

fn give(generator: &mut Generator, service: &str, spans: &[Given<'_>], now: i64) {
    generator.take(&Tenant::default(), Encoding::OtlpTraces, &request(service, spans), now).expect("sound");
}

/// Samples by series, and exemplars.
#[derive(Default)]
struct Written {
    samples: BTreeMap<String, Vec<(i64, f64)>>,
    exemplars: Vec<String>,
    series: String,
}

impl SampleSink for Written {
    fn series(&mut self, labels: RawLabels<'_>) {
        let mut pairs = Vec::new();
        labels.read(&mut pairs).expect("checked");
        let name = pairs.iter().find(|(n, _)| *n == "__name__").map_or("", |(_, v)| v);
        let rest: Vec<String> = pairs.iter().filter(|(n, _)| *n != "__name__").map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        self.series = format!("{name}{{{}}}", rest.join(","));
    }
    fn sample(&mut self, time: i64, value: f64) {
        self.samples.entry(self.series.clone()).or_default().push((time, value));
    }
    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        self.exemplars.push(format!("{} {:?} {}", self.series, exemplar.labels, exemplar.value));
    }
    fn metadata(&mut self, _: &str, _: MetricKind, _: &str, _: &str) {}
}

fn collect(generator: &mut Generator, now: i64) -> Written {
    let mut written = Written::default();
    generator.settle(now);
    for request in generator.collect(now).expect("sound") {
        wire::walk_samples(request.encoding, &request.payload, &Limits::default(), &mut written).expect("sound");
    }
    written
}

impl Written {
    /// The last value of a series.
    #[track_caller]
    fn last(&self, series: &str) -> f64 {
        let found = self.samples.get(series);
        found.and_then(|s| s.last()).unwrap_or_else(|| panic!("{series} is not among {:#?}", self.samples.keys())).1
    }

    fn names(&self, prefix: &str) -> Vec<&str> {
        self.samples.keys().map(String::as_str).filter(|n| n.starts_with(prefix)).collect()
    }
}

/// Only the service graph.
fn graph_only(change: impl FnOnce(&mut ServiceGraphs)) -> Settings {
    let mut graphs = ServiceGraphs::default();
    change(&mut graphs);
    Settings { service_graphs: Some(graphs), span_metrics: None, ..Settings::default() }
}

#[test]
fn halves_meet_across_batches_in_either_order() {
    let (mut generator, counters) = generator(graph_only(|_| {}));
    give(&mut generator, "shop", &[Given(3, 1, 1, 9, 300, 0, &[])], START);
    give(&mut generator, "cart", &[Given(2, 1, 2, 1, 200, 0, &[]), Given(2, 2, 4, 3, 100, 2, &[])], START + SECOND);
    give(&mut generator, "shop", &[Given(3, 2, 3, 9, 150, 0, &[])], START + 2 * SECOND);
    let written = collect(&mut generator, START + 15 * SECOND);
    let labels = "client=\"shop\",server=\"cart\"";
    assert_eq!(written.last(&format!("traces_service_graph_request_total{{{labels}}}")), 2.0);
    assert_eq!(written.last(&format!("traces_service_graph_request_failed_total{{{labels}}}")), 1.0);
    let bucket = |side: &str, le: &str| {
        let labels = "client=\"shop\",le=\"LE\",server=\"cart\"".replace("LE", le);
        written.last(&format!("traces_service_graph_request_{side}_seconds_bucket{{{labels}}}"))
    };
    assert_eq!((bucket("server", "0.1"), bucket("server", "0.2"), bucket("server", "+Inf")), (1.0, 2.0, 2.0));
    assert_eq!((bucket("client", "0.1"), bucket("client", "0.2"), bucket("client", "0.4")), (0.0, 1.0, 2.0));
    assert_eq!(written.last(&format!("traces_service_graph_request_client_seconds_sum{{{labels}}}")), 0.3 + 0.15);
    let trace = "\"traceID\", \"01010101010101010101010101010101\"";
    assert!(written.exemplars.iter().any(|e| e.contains("client_seconds") && e.contains(trace)), "{:?}", written.exemplars);
    assert_eq!((counters.edges.load(Ordering::Relaxed), counters.expired.load(Ordering::Relaxed)), (2, 0));
}

#[test]
fn a_new_series_begins_with_a_zero_at_the_end_of_the_minute_before() {
    let (mut generator, _) = generator(graph_only(|_| {}));
    let now = START + 42 * SECOND;
    let given = |trace| [Given(3, trace, 1, 9, 300, 0, &[("db.name", "orders")])];
    give(&mut generator, "shop", &given(1), now);
    let series = "traces_service_graph_request_total{client=\"shop\",connection_type=\"database\",server=\"orders\"}";
    let minute = 60_000;
    let written = collect(&mut generator, now);
    assert_eq!(written.samples[series], [(now / 1_000_000 / minute * minute - 1, 0.0), (now / 1_000_000, 1.0)]);
    give(&mut generator, "shop", &given(2), now + SECOND);
    let later = now + 15 * SECOND;
    assert_eq!(collect(&mut generator, later).samples[series], [(later / 1_000_000, 2.0)], "only once");
}

#[test]
fn a_database_is_named_by_what_says_most_of_it() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("db.name", "orders")], "orders"),
        (&[("db.name", "orders"), ("server.address", "pg-1")], "pg-1"),
        (&[("db.system", "redis"), ("peer.service", "cache"), ("server.address", "r1")], "cache"),
        (&[("db.system", "redis"), ("network.peer.address", "10.0.0.1")], "10.0.0.1"),
        (&[("db.system", "redis"), ("network.peer.address", "10.0.0.1"), ("network.peer.port", "6379")], "10.0.0.1:6379"),
        (&[("db.name", "x"), ("network.peer.address", "10.0.0.1")], "10.0.0.1"),
    ];
    for (attributes, name) in cases {
        let (mut generator, _) = generator(graph_only(|_| {}));
        give(&mut generator, "shop", &[Given(3, 1, 1, 9, 300, 0, attributes)], START);
        let written = collect(&mut generator, START);
        let labels = format!("client=\"shop\",connection_type=\"database\",server=\"{name}\"");
        assert_eq!(written.last(&format!("traces_service_graph_request_total{{{labels}}}")), 1.0);
        assert_eq!(written.last(&format!("traces_service_graph_request_server_seconds_sum{{{labels}}}")), 0.3);
    }
}

#[test]
fn messages_make_edges_of_their_own_kind() {
    let (mut generator, _) = generator(graph_only(|s| s.messaging_system_latency = true));
    give(&mut generator, "shop", &[Given(4, 1, 1, 9, 0, 0, &[])], START);
    give(&mut generator, "mail", &[Given(5, 1, 2, 1, 10, 0, &[])], START);
    let written = collect(&mut generator, START);
    let labels = "client=\"shop\",connection_type=\"messaging_system\",server=\"mail\"";
    assert_eq!(written.last(&format!("traces_service_graph_request_total{{{labels}}}")), 1.0);
}

#[test]
fn a_missing_half_is_a_virtual_node_where_something_speaks_for_it() {
    let (mut generator, counters) = generator(graph_only(|s| s.virtual_node_label = true));
    give(
        &mut generator,
        "shop",
        &[
            Given(2, 1, 1, 0, 100, 0, &[]),
            Given(3, 2, 2, 9, 100, 2, &[("peer.service", "bank")]),
            Given(3, 3, 3, 9, 100, 0, &[]),
            Given(2, 4, 4, 8, 100, 0, &[]),
            Given(3, 5, 5, 9, 100, 0, &[("db.system", "redis")]),
        ],
        START,
    );
    generator.pass(START + 9 * SECOND);
    let early = collect(&mut generator, START);
    assert_eq!(early.names("traces_service_graph_request_total").len(), 1, "nothing is waited for above a root; the others wait");
    generator.pass(START + 10 * SECOND);
    let written = collect(&mut generator, START + 15 * SECOND);
    let total = |client: &str, server: &str, side: &str| {
        let labels = format!("client=\"{client}\",connection_type=\"virtual_node\",server=\"{server}\",virtual_node=\"{side}\"");
        written.last(&format!("traces_service_graph_request_total{{{labels}}}"))
    };
    assert_eq!(total("user", "shop", "client"), 1.0, "a root that somebody outside began");
    assert_eq!(total("shop", "bank", "server"), 1.0, "a peer that sends no spans");
    assert_eq!(total("shop", "redis", "server"), 1.0, "a database that has no name of its own");
    assert_eq!(written.names("traces_service_graph_request_total").len(), 3, "nothing speaks for the others");
    assert_eq!(counters.expired.load(Ordering::Relaxed), 5);
}

#[test]
fn the_oldest_half_makes_room() {
    let (mut generator, counters) = generator(graph_only(|s| s.max_items = 2));
    for trace in 1..=4 {
        give(&mut generator, "shop", &[Given(3, trace, 1, 9, 100, 0, &[("peer.service", "bank")])], START);
    }
    assert_eq!(counters.evicted.load(Ordering::Relaxed), 2);
    let written = collect(&mut generator, START);
    let labels = "client=\"shop\",connection_type=\"virtual_node\",server=\"bank\"";
    assert_eq!(written.last(&format!("traces_service_graph_request_total{{{labels}}}")), 2.0, "they count all the same");
    assert_eq!(counters.pending.load(Ordering::Relaxed), 2);
}

#[test]
fn spans_sent_again_count_once() {
    let (mut generator, counters) = generator(Settings::default());
    for _ in 0..3 {
        give(&mut generator, "shop", &[Given(3, 1, 1, 9, 300, 0, &[("db.name", "orders")])], START);
    }
    let written = collect(&mut generator, START);
    let [calls] = written.names("traces_spanmetrics_calls_total")[..] else { panic!("one series") };
    assert_eq!(written.last(calls), 1.0);
    assert_eq!(counters.duplicates.load(Ordering::Relaxed), 2);
}

#[test]
fn span_metrics_have_tempos_names_labels_and_values() {
    let (mut generator, _) = generator(Settings { external_labels: vec![("source".into(), "t".into())], ..Settings::default() });
    give(&mut generator, "shop", &[Given(2, 1, 1, 0, 3, 2, &[]), Given(2, 1, 2, 0, -5, 2, &[])], START);
    let written = collect(&mut generator, START);
    let labels = "instance=\"one\",job=\"shop\",service=\"shop\",source=\"t\",span_kind=\"SPAN_KIND_SERVER\",span_name=\"op\",status_code=\"STATUS_CODE_ERROR\"";
    assert_eq!(written.last(&format!("traces_spanmetrics_calls_total{{{labels}}}")), 2.0);
    assert_eq!(written.last(&format!("traces_spanmetrics_latency_count{{{labels}}}")), 2.0);
    assert_eq!(written.last(&format!("traces_spanmetrics_latency_sum{{{labels}}}")), 0.003, "an end before the start is 0");
    let bucket = |le: &str| labels.replace("service=", &format!("le=\"{le}\",service="));
    for (le, count) in [("0.002", 1.0), ("0.004", 2.0), ("16.384", 2.0), ("+Inf", 2.0)] {
        assert_eq!(written.last(&format!("traces_spanmetrics_latency_bucket{{{}}}", bucket(le))), count, "{le}");
    }
    assert_eq!(written.names("traces_spanmetrics_latency_bucket").len(), 15);
    let target = "traces_target_info{host_name=\"h\",instance=\"one\",job=\"shop\",source=\"t\"}";
    assert_eq!(written.last(target), 1.0);
    // Two spans of equal size.
    struct Sizes(usize);
    impl SpanSink for Sizes {
        fn group(&mut self, _: &Group<'_>) {}
        fn size(&mut self, bytes: usize) {
            self.0 += bytes;
        }
        fn span(&mut self, _: &Span<'_>) {}
    }
    let (mut sizes, bytes) = (Sizes(0), request("shop", &[Given(2, 1, 1, 0, 3, 2, &[]), Given(2, 1, 2, 0, -5, 2, &[])]));
    wire::walk_spans(Encoding::OtlpTraces, &bytes, &Limits::default(), &mut sizes).expect("sound");
    assert_eq!(written.last(&format!("traces_spanmetrics_size_total{{{labels}}}")), sizes.0 as f64);
    wire::walk_spans(Encoding::OtlpTraces, &bytes, &Limits::default(), &mut Discard).expect("sound");
}

#[test]
fn dimensions_become_labels_and_do_not_hide_others() {
    let spans = SpanMetrics {
        dimensions: vec!["http.method".into(), "service".into(), "host.name".into()],
        target_info: false,
        ..SpanMetrics::default()
    };
    let settings = Settings { span_metrics: Some(spans), service_graphs: None, ..Settings::default() };
    let (mut generator, _) = generator(settings);
    give(&mut generator, "shop", &[Given(2, 1, 1, 0, 3, 0, &[("http.method", "GET"), ("service", "x")])], START);
    let written = collect(&mut generator, START);
    let calls = "traces_spanmetrics_calls_total{__service=\"x\",host_name=\"h\",http_method=\"GET\",service=\"shop\",span_kind=\"SPAN_KIND_SERVER\",span_name=\"op\",status_code=\"STATUS_CODE_UNSET\"}";
    assert_eq!(written.last(calls), 1.0);
}

#[test]
fn a_sampled_span_counts_for_those_that_it_stands_for() {
    let (mut generator, _) = generator(graph_only(|s| s.span_multiplier_key = "ratio".into()));
    let mut encoder = TraceEncoder::default();
    let resource = [Attr { key: "service.name", value: Value::Str("shop") }];
    encoder.group(&Group { resource: &resource, ..Group::default() });
    let attributes = [Attr { key: "ratio", value: Value::Double(0.25) }, Attr { key: "db.name", value: Value::Str("orders") }];
    encoder.span(&Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        kind: 3,
        start: START,
        end: START + SECOND,
        attributes: &attributes,
        ..Span::default()
    });
    let bytes = encoder.finish().expect("sound");
    generator.take(&Tenant::default(), Encoding::OtlpTraces, &bytes, START).expect("sound");
    let series = "traces_service_graph_request_total{client=\"shop\",connection_type=\"database\",server=\"orders\"}";
    assert_eq!(collect(&mut generator, START).last(series), 4.0);
}

#[test]
fn series_past_the_limit_are_refused() {
    let (mut generator, counters) = generator(Settings { max_active_series: 40, service_graphs: None, ..Settings::default() });
    for (i, service) in ["a", "b", "c", "d"].into_iter().enumerate() {
        give(&mut generator, service, &[Given(2, 1, i as u8 + 1, 0, 3, 0, &[])], START);
    }
    let written = collect(&mut generator, START);
    // Two of 19 series each, and two of what sends them.
    assert_eq!(written.names("traces_spanmetrics_calls_total").len(), 2);
    assert_eq!(counters.rejected.load(Ordering::Relaxed), 4);
    give(&mut generator, "a", &[Given(2, 2, 1, 0, 3, 0, &[])], START);
    let written = collect(&mut generator, START);
    assert_eq!(written.last(written.names("traces_spanmetrics_calls_total")[0]), 2.0, "what is there goes on");
}

#[test]
fn a_series_without_updates_ends() {
    let (mut generator, _) = generator(Settings { service_graphs: None, ..Settings::default() });
    give(&mut generator, "a", &[Given(2, 1, 1, 0, 3, 0, &[])], START);
    collect(&mut generator, START);
    let written = collect(&mut generator, START + 901 * SECOND);
    assert!(written.samples.values().flatten().all(|(_, v)| model::is_stale(*v)), "{:?}", written.samples);
    assert!(collect(&mut generator, START + 920 * SECOND).samples.is_empty());
}

#[test]
fn what_is_saved_comes_back_with_halves_and_exact_sums() {
    let (mut before, _) = generator(Settings::default());
    give(&mut before, "shop", &[Given(3, 1, 1, 9, 100, 0, &[]), Given(3, 2, 7, 9, 1, 0, &[("db.name", "o")])], START);
    before.settle(START);
    let (mut after, _) = generator(Settings::default());
    after.restore(&before.save().expect("sound")).expect("sound");
    assert_eq!(collect(&mut after, START).samples, collect(&mut before, START).samples);
    give(&mut after, "cart", &[Given(2, 1, 2, 1, 50, 0, &[])], START + SECOND);
    let written = collect(&mut after, START + SECOND);
    assert_eq!(written.last("traces_service_graph_request_total{client=\"shop\",server=\"cart\"}"), 1.0);
    for bad in [&b""[..], b"{}", b"\xff", br#"{"version":9,"graph_bounds":[],"span_bounds":[],"tenants":[]}"#] {
        assert!(generator(Settings::default()).0.restore(bad).is_err());
    }
}

#[test]
fn the_first_format_of_saved_counts_is_still_read() {
    let (mut generator, _) = generator(graph_only(|_| {}));
    generator.restore(include_bytes!("../tests/state-1.json")).expect("version 1");
    let written = collect(&mut generator, START);
    let labels = "client=\"shop\",connection_type=\"database\",server=\"orders\"";
    assert_eq!(written.last(&format!("traces_service_graph_request_total{{{labels}}}")), 1.0);
    assert_eq!(written.last(&format!("traces_service_graph_request_client_seconds_sum{{{labels}}}")), 0.3);
    give(&mut generator, "cart", &[Given(2, 1, 2, 1, 50, 0, &[])], START + SECOND);
    let written = collect(&mut generator, START + SECOND);
    assert_eq!(written.last("traces_service_graph_request_total{client=\"web\",server=\"cart\"}"), 1.0, "the half that waited");
}

/// The value of a series in the store, as the newest sample says.
fn stored(store: &store::Store, name: &str) -> Option<f64> {
    use store::{LabelMatcher, MatchOp, Source};
    let reader = store.snapshot();
    let matcher = LabelMatcher::new("__name__", MatchOp::Eq, name).expect("no pattern");
    let mut found = reader.samples(&Tenant::default(), &[matcher], i64::MIN, i64::MAX).expect("a snapshot");
    let series = found.next()?.expect("sound");
    assert!(series.values.is_sorted_by(|a, b| a <= b), "a counter that went back: {:?}", series.values);
    series.values.last().copied()
}

fn opened(dir: &std::path::Path) -> Arc<store::Store> {
    let disk = store::disk::RealDisk::open(dir).expect("a folder");
    let series = store::series::SeriesOptions {
        index_bytes: 8 << 20,
        decoded_bytes: 8 << 20,
        out_of_order_ms: 1_800_000,
        ..Default::default()
    };
    let store = store::Store::open(store::Options::new(Arc::new(disk)), series).expect("a store");
    while store.stats().replaying {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Arc::new(store)
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), target).expect("a file");
        }
    }
}

#[test]
fn what_the_store_has_walked_counts_as_what_is_walked_here() {
    let peer = [("peer.service", "mail"), ("noise", "x")];
    let orders = [("db.name", "orders"), ("server.address", "pg-1")];
    let requests = [
        request("shop", &[Given(3, 1, 1, 9, 300, 0, &[]), Given(3, 1, 2, 9, 20, 2, &orders), Given(4, 2, 3, 9, 5, 0, &peer)]),
        request("cart", &[Given(2, 1, 4, 1, 200, 0, &[]), Given(2, 3, 5, 0, 7, 0, &[]), Given(2, 1, 4, 1, 200, 0, &[])]),
    ];
    let all = |kept: bool| {
        let (mut generator, _) = generator(Settings::default());
        for body in &requests {
            let mut keeper = wire::SpanKeeper::new(generator.wants());
            wire::walk_spans(Encoding::OtlpTraces, body, &Limits::default(), &mut keeper).expect("sound");
            match keeper.finish().filter(|_| kept) {
                Some(spans) => generator.take_kept(&Tenant::default(), &spans, START),
                None => generator.take(&Tenant::default(), Encoding::OtlpTraces, body, START).map(drop).expect("sound"),
            }
        }
        generator.pass(START + 60 * SECOND);
        let written = collect(&mut generator, START + 60 * SECOND);
        (written.samples, written.exemplars)
    };
    let (walked, kept) = (all(false), all(true));
    assert!(walked.0.keys().any(|series| series.contains("server=\"mail\"")), "{:#?}", walked.0.keys());
    assert_eq!(walked, kept);
}

#[test]
fn a_reader_at_the_end_of_the_log_is_given_what_the_table_has_walked() {
    use store::Writer;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let store = opened(dir.path());
    let append = |trace: u8| {
        let payload = request("shop", &[Given(3, trace, 1, 9, 100, 0, &[("db.name", "orders"), ("noise", "x")])]).into();
        let request = store::Request { tenant: Tenant::default(), encoding: Encoding::OtlpTraces, payload };
        runtime.block_on(store.append(request)).expect("kept");
    };
    let reader = store.reader("before", store::AtCap::DropOldest).expect("a cursor");
    append(1);
    let mut reader = reader.only(wire::Signal::Traces).with_spans(|key: &[u8]| key == b"db.name");
    append(2);
    let record = reader.next_record().expect("readable").expect("the first");
    assert!(reader.spans_of(&record).is_none(), "nobody wanted it when the table walked it");
    let record = reader.next_record().expect("readable").expect("the second");
    let spans = reader.spans_of(&record).expect("kept");
    let mut keeper = wire::SpanKeeper::new(|key: &[u8]| key == b"db.name");
    assert!(record.payload.is_empty(), "its payload was not read");
    let payload = request("shop", &[Given(3, 2, 1, 9, 100, 0, &[("db.name", "orders"), ("noise", "x")])]);
    wire::walk_spans(record.encoding, &payload, &Limits::default(), &mut keeper).expect("sound");
    let told = |spans: &wire::KeptSpans| {
        let (mut all, mut attributes) = (Vec::new(), spans.attributes(|_| true));
        for (resource, members) in spans.groups() {
            members.for_each(|span| all.push(format!("{:?} {:?}", resource.attributes(), attributes.span(span))));
        }
        all
    };
    assert_eq!(told(spans), told(&keeper.finish().expect("kept")));
    assert!(told(spans)[0].contains("shop") && told(spans)[0].contains("orders"));
    assert!(reader.next_record().expect("readable").is_none());
    append(3);
    let doomed = store::Doomed::Spans(store::Predicate::True);
    let (range, delay) = (model::TimeRange::ALL, std::time::Duration::ZERO);
    let deletion = store::Deletion { tenant: Tenant::default(), range, doomed, words: "all".to_owned(), delay };
    store.delete(deletion).expect("kept");
    let record = reader.next_record().expect("readable").expect("the third");
    assert!(reader.spans_of(&record).is_none() && !record.payload.is_empty(), "a deletion has reached it");
}

#[test]
fn a_restart_goes_on_where_it_was() {
    use crate::Worker;
    use store::Writer;
    const CALLS: &str = "traces_spanmetrics_calls_total";
    const REQUESTS: &str = "traces_service_graph_request_total";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let append = |store: &store::Store, service: &str, spans: &[Given<'_>]| {
        let payload = request(service, spans).into();
        let request = store::Request { tenant: Tenant::default(), encoding: Encoding::OtlpTraces, payload };
        runtime.block_on(store.append(request)).expect("kept");
    };
    // No samples between those that are asked for.
    let hour = std::time::Duration::from_secs(3600);
    let settings = Settings { collection_interval: hour, ..Settings::default() };
    let graphs = ServiceGraphs { wait: hour, ..ServiceGraphs::default() };
    let settings = Settings { service_graphs: Some(graphs), ..settings };
    let start = |store: &Arc<store::Store>| {
        Worker::start(Arc::clone(store), runtime.handle().clone(), settings.clone()).expect("a thread")
    };
    let patience = std::time::Duration::from_secs(60);
    let dir = tempfile::tempdir().expect("a folder");
    let (first, crashed) = (dir.path().join("first"), dir.path().join("crashed"));
    let store = opened(&first);
    let worker = start(&store);
    append(&store, "shop", &[Given(3, 1, 1, 9, 100, 0, &[]), Given(3, 2, 2, 9, 100, 0, &[("db.name", "orders")])]);
    worker.flush(patience);
    assert_eq!((stored(&store, CALLS), stored(&store, REQUESTS)), (Some(2.0), Some(1.0)));
    append(&store, "shop", &[Given(3, 3, 3, 9, 100, 0, &[("db.name", "orders")])]);
    // What a crash leaves: the counts of the last samples, and spans that came after them.
    copy(&first, &crashed);
    worker.stop();
    store.close();
    drop((worker, store));
    for dir in [first, crashed] {
        let store = opened(&dir);
        let worker = start(&store);
        append(&store, "shop", &[Given(3, 4, 4, 9, 100, 0, &[("db.name", "orders")])]);
        worker.flush(patience);
        assert_eq!((stored(&store, CALLS), stored(&store, REQUESTS)), (Some(4.0), Some(3.0)), "{dir:?}");
        append(&store, "cart", &[Given(2, 1, 5, 1, 50, 0, &[])]);
        worker.flush(patience);
        let edges = worker.counters().edges.load(Ordering::Relaxed);
        assert!(edges >= 2, "the half that waited before found its other half: {edges}");
        worker.stop();
        store.close();
    }
}
