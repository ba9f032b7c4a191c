//! What must hold for any bytes whatever: one function a decoder, run by the fuzz targets in `fuzz/` and by the property
//! tests over mutated requests. Each panics when a promise is broken; the bytes being refused is no breach.

use model::{Attr, Group, Histogram, Log, Span, Value};

use crate::datadog::AgentPayloadEncoder;
use crate::exposition::{self, Exposed, ExpositionSink, Format, Options, Point};
use crate::otlp::{LogEncoder, MetricEncoder, Style, TraceEncoder, as_text, data_points, logs_json, split, traces_json};
use crate::remote_write::Encoder;
use crate::{
    Encoding, Exemplar, Limits, LogSink, MetricKind, PushEncoder, RawLabels, SampleSink, SpanSink, Summary, WireError, check,
    native, walk_logs, walk_samples, walk_spans,
};

/// Checks what the documentation of rows promises, and counts them.
#[derive(Default)]
struct Rows {
    count: u64,
    histograms: u64,
    exemplars: u64,
    grouped: bool,
}

impl Rows {
    fn attributes(attributes: &[Attr<'_>]) {
        for attr in attributes {
            assert!(!attr.key.is_empty(), "an attribute without a key");
            if let Value::Nested(text) = &attr.value {
                assert!(serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok(), "not JSON: {text}");
            }
            let _ = as_text(&attr.value);
        }
    }

    fn group(&mut self, group: &Group<'_>) {
        self.grouped = true;
        Self::attributes(group.resource);
        Self::attributes(group.scope);
        sorted_and_full(group.labels);
    }
}

fn sorted_and_full(labels: &[(&str, &str)]) {
    assert!(labels.windows(2).all(|w| w[0].0 < w[1].0), "labels are not sorted and unique: {labels:?}");
    assert!(labels.iter().all(|(n, v)| !n.is_empty() && !v.is_empty()), "an empty label: {labels:?}");
}

impl SpanSink for Rows {
    fn group(&mut self, group: &Group<'_>) {
        self.group(group);
    }

    fn span(&mut self, span: &Span<'_>) {
        assert!(self.grouped, "a span before its group");
        assert!(!span.trace_id.is_none() && !span.span_id.is_none());
        Self::attributes(span.attributes);
        Self::attributes(span.nested);
        for range in span.events.iter().map(|e| &e.attributes).chain(span.links.iter().map(|l| &l.attributes)) {
            assert!(span.nested.get(range.clone()).is_some(), "{range:?} of {}", span.nested.len());
        }
        self.count += 1;
    }
}

impl LogSink for Rows {
    fn group(&mut self, group: &Group<'_>) {
        self.group(group);
        assert!(group.labels.iter().any(|(n, _)| *n == "service_name"), "a stream without a service name");
    }

    fn log(&mut self, log: &Log<'_>) {
        assert!(self.grouped, "a line before its group");
        Self::attributes(log.attributes);
        let _ = as_text(&log.body);
        self.count += 1;
    }
}

impl SampleSink for Rows {
    fn series(&mut self, labels: RawLabels<'_>) {
        self.grouped = true;
        let mut pairs = Vec::new();
        assert_eq!(labels.read(&mut pairs), Ok(()));
        sorted_and_full(&pairs);
        assert!(pairs.iter().any(|(n, _)| *n == "__name__"), "a series without a name");
    }

    fn sample(&mut self, _: i64, _: f64) {
        assert!(self.grouped, "a sample before its series");
        self.count += 1;
    }

    fn histogram(&mut self, _: i64, histogram: &Histogram) {
        assert!(self.grouped, "a histogram before its series");
        assert_eq!(native::admit(&mut histogram.clone(), false), Ok(()));
        self.count += 1;
        self.histograms += 1;
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>) {
        assert!(self.grouped, "an exemplar before its series");
        sorted_and_full(exemplar.labels);
        self.exemplars += 1;
    }

    fn metadata(&mut self, family: &str, _: MetricKind, _: &str, _: &str) {
        assert!(!family.is_empty());
    }
}

/// OTLP traces: what walks is encoded and walks again, in both forms.
pub fn otlp_traces(bytes: &[u8]) {
    spans(Encoding::OtlpTraces, bytes);
}

fn spans(encoding: Encoding, bytes: &[u8]) {
    let limits = Limits::default();
    let mut rows = Rows::default();
    let walked = walk_spans(encoding, bytes, &limits, &mut rows);
    assert_eq!(walked, check(encoding, bytes, &limits), "the check disagrees");
    let Ok(summary) = walked else { return };
    assert_eq!(summary.accepted, rows.count);
    let mut encoder = TraceEncoder::default();
    assert_eq!(walk_spans(encoding, bytes, &limits, &mut encoder), Ok(summary.clone()));
    let encoded = must(encoder.finish());
    let again = must(check(Encoding::OtlpTraces, &encoded, &limits));
    assert_eq!((again.accepted, again.refused.total()), (summary.accepted, 0));
    assert_eq!(parts(&encoded, |part| must(check(Encoding::OtlpTraces, part, &limits)).accepted), summary.accepted);
    let mut datadog = AgentPayloadEncoder::new("h");
    must(walk_spans(encoding, bytes, &limits, &mut datadog));
    assert_eq!(datadog.spans(), summary.accepted);
    let _ = datadog.finish();
    let json = must(traces_json(&encoded, Style::Otlp, "resourceSpans"));
    let mut encoder = TraceEncoder::default();
    must(walk_spans(Encoding::OtlpTracesJson, json.as_bytes(), &limits, &mut encoder));
    assert_eq!(must(traces_json(&must(encoder.finish()), Style::Otlp, "resourceSpans")), json);
}

/// What `count` finds in all of the small requests that a request is cut into, which are no larger than asked for unless one item is.
fn parts(request: &[u8], count: impl Fn(&[u8]) -> u64) -> u64 {
    let parts = must(split(request, 200));
    assert!(parts.iter().all(|part| part.len() <= 200 || must(split(part, 1)).len() == 1), "a part that could be smaller");
    parts.iter().map(|part| count(part)).sum()
}

/// What a receiver answers to an exporter.
pub fn otlp_answer(bytes: &[u8]) {
    let _ = crate::otlp::partial_success(bytes);
    let _ = crate::otlp::retry_delay(bytes);
}

/// Zipkin's JSON: what is translated is a request that can be read.
pub fn zipkin(bytes: &[u8]) {
    for parse_tags in [false, true] {
        translated(crate::zipkin::to_otlp(bytes, parse_tags, &Limits::default()));
    }
}

/// Jaeger's spans in both of Thrift's protocols.
pub fn jaeger_thrift(bytes: &[u8]) {
    for protocol in [crate::jaeger::Protocol::Binary, crate::jaeger::Protocol::Compact] {
        translated(crate::jaeger::thrift_to_otlp(bytes, protocol, &Limits::default()));
    }
}

/// Jaeger's spans in protobuf.
pub fn jaeger_proto(bytes: &[u8]) {
    translated(crate::jaeger::proto_to_otlp(bytes, &Limits::default()));
}

fn translated(result: Result<Vec<u8>, WireError>) {
    if let Ok(otlp) = result {
        // Ids and times that OTLP does not allow are refused span by span, as from any sender.
        match check(Encoding::OtlpTraces, &otlp, &Limits::default()) {
            Ok(_) | Err(WireError::TooLarge { .. }) => {}
            Err(e) => panic!("a translated request cannot be read: {e}"),
        }
    }
}

/// OTLP logs: the same.
pub fn otlp_logs(bytes: &[u8]) {
    logs(Encoding::OtlpLogs, bytes);
}

fn logs(encoding: Encoding, bytes: &[u8]) {
    let limits = Limits::default();
    let mut rows = Rows::default();
    let walked = walk_logs(encoding, bytes, &limits, 1, &mut rows);
    assert_eq!(walked, check(encoding, bytes, &limits), "the check disagrees");
    let Ok(summary) = walked else { return };
    assert_eq!(summary.accepted, rows.count);
    let mut encoder = LogEncoder::default();
    assert_eq!(walk_logs(encoding, bytes, &limits, 1, &mut encoder), Ok(summary.clone()));
    let encoded = must(encoder.finish());
    if encoding == Encoding::LokiPush {
        pushed(bytes, &summary);
    }
    if matches!(encoding, Encoding::LokiPush | Encoding::LokiPushJson) {
        return;
    }
    assert_eq!(parts(&encoded, |part| must(check(Encoding::OtlpLogs, part, &limits)).accepted), summary.accepted);
    let again = must(check(Encoding::OtlpLogs, &encoded, &limits));
    assert_eq!((again.accepted, again.refused.total()), (summary.accepted, 0));
    let json = must(logs_json(&encoded, Style::Otlp));
    let mut encoder = LogEncoder::default();
    must(walk_logs(Encoding::OtlpLogsJson, json.as_bytes(), &limits, 1, &mut encoder));
    assert_eq!(must(logs_json(&must(encoder.finish()), Style::Otlp)), json);
}

/// Lines that are pushed on keep their labels, times and texts.
fn pushed(bytes: &[u8], summary: &Summary) {
    #[derive(Default)]
    struct Lines {
        labels: Vec<(String, String)>,
        push: PushEncoder,
        all: Vec<(Vec<(String, String)>, i64, String)>,
    }
    impl LogSink for Lines {
        fn group(&mut self, group: &Group<'_>) {
            self.labels = group.labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        }
        fn log(&mut self, log: &Log<'_>) {
            let line = as_text(&log.body).into_owned();
            self.push.line(self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())), log.time, &line);
            self.all.push((self.labels.clone(), log.time, line));
        }
    }
    let limits = Limits::default();
    let mut first = Lines::default();
    must(walk_logs(Encoding::LokiPush, bytes, &limits, 1, &mut first));
    // Seconds and nanoseconds cannot say the first second of all.
    if first.all.iter().any(|(_, time, _)| *time < i64::MIN + 1_000_000_000) {
        return;
    }
    let mut again = Lines::default();
    let repeated = must(walk_logs(Encoding::LokiPush, &must(first.push.finish()), &limits, 1, &mut again));
    assert_eq!((repeated.accepted, repeated.refused.total()), (summary.accepted, 0));
    first.all.sort();
    again.all.sort();
    assert_eq!(again.all, first.all);
}

/// OTLP metrics: every series is well formed.
pub fn otlp_metrics(bytes: &[u8]) {
    samples(Encoding::OtlpMetrics, bytes);
}

fn samples(encoding: Encoding, bytes: &[u8]) {
    let limits = Limits::default();
    let mut rows = Rows::default();
    let walked = walk_samples(encoding, bytes, &limits, &mut rows);
    assert_eq!(walked, check(encoding, bytes, &limits), "the check disagrees");
    if let Ok(summary) = walked {
        let passed = (rows.count, rows.histograms, rows.exemplars);
        assert_eq!((summary.accepted, summary.histograms, summary.exemplars), passed);
        if encoding == Encoding::OtlpMetrics {
            assert_eq!(parts(bytes, |part| must(data_points(part))), must(data_points(bytes)));
        }
        let mut encoder = MetricEncoder::default();
        must(walk_samples(encoding, bytes, &limits, &mut encoder));
        let points = encoder.points();
        let encoded = encoder.finish();
        assert_eq!((points, must(data_points(&encoded))), (summary.accepted, summary.accepted));
        // Names without a letter and buckets that do not add up are refused point by point, as from any sender.
        let again = must(check(Encoding::OtlpMetrics, &encoded, &limits));
        assert!(again.accepted + again.refused.total() >= summary.accepted);
    }
}

/// OTLP/JSON, read as each of the three signals.
pub fn otlp_json(bytes: &[u8]) {
    spans(Encoding::OtlpTracesJson, bytes);
    logs(Encoding::OtlpLogsJson, bytes);
    samples(Encoding::OtlpMetricsJson, bytes);
}

/// Loki push: the bytes as they are, and as what was compressed (a fuzzer does not find its way through snappy).
pub fn loki_push(bytes: &[u8]) {
    logs(Encoding::LokiPush, bytes);
    logs(Encoding::LokiPush, &compressed(bytes));
}

/// Loki's JSON push.
pub fn loki_json(bytes: &[u8]) {
    logs(Encoding::LokiPushJson, bytes);
}

/// Remote write of both versions, plain and compressed: what walks is encoded and walks to the same rows.
pub fn remote_write(bytes: &[u8]) {
    for encoding in [Encoding::RemoteWrite, Encoding::RemoteWrite2] {
        samples(encoding, bytes);
        let body = compressed(bytes);
        samples(encoding, &body);
        let limits = Limits::default();
        let mut encoder = Encoder::new();
        let Ok(summary) = walk_samples(encoding, &body, &limits, &mut encoder) else { continue };
        let encoded = must(encoder.finish());
        let mut again = Encoder::new();
        let repeated = must(walk_samples(Encoding::RemoteWrite, &encoded, &limits, &mut again));
        let counts = |s: &Summary| (s.accepted, s.histograms, s.exemplars);
        assert_eq!((counts(&repeated), repeated.refused.total()), (counts(&summary), 0));
        // Byte for byte, so that values are compared by their bits: a NaN is not equal to itself.
        assert_eq!(must(again.finish()), encoded);
    }
}

/// Expositions of every format: every sample is well formed, NaNs of the exposition never make a staleness marker, and a
/// series that the sink knows by its text is read to the same end without its labels.
pub fn exposition(bytes: &[u8]) {
    /// Which texts were seen, what was told of them.
    struct Sound {
        known: bool,
        entries: Vec<(Vec<u8>, u64, Option<i64>)>,
    }
    impl ExpositionSink for Sound {
        fn knows(&mut self, text: &[u8]) -> bool {
            self.known && self.entries.iter().any(|e| e.0 == text)
        }
        fn sample(&mut self, sample: &Exposed<'_>) {
            let names: Vec<&str> = sample.labels.iter().map(|(n, _)| &**n).collect();
            assert!(names.windows(2).all(|w| w[0] < w[1]), "labels are not sorted and unique: {names:?}");
            // A quoted name may be empty; who scrapes refuses it, unless relabelling gives one.
            assert!(self.known || names.contains(&"__name__") || sample.text.windows(2).any(|w| w == b"\"\""));
            let bits = match sample.point {
                Point::Float(value) => value.to_bits(),
                Point::Histogram(h) => h.sum.to_bits(),
            };
            assert_ne!(bits, model::STALE_NAN_BITS);
            self.entries.push((sample.text.to_vec(), bits, sample.time_ms));
        }
        fn kind(&mut self, _: &str, _: MetricKind) {}
        fn help(&mut self, _: &str, _: &str) {}
    }
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let custom = Options { native_histograms: true, custom_buckets: true, ..Options::default() };
        let mut converted = Sound { known: false, entries: Vec::new() };
        let as_custom = exposition::parse(format, bytes, custom, &Limits::default(), &mut converted);
        let options = Options { native_histograms: true, classic_too: true, ..Options::default() };
        let mut first = Sound { known: false, entries: Vec::new() };
        let result = exposition::parse(format, bytes, options, &Limits::default(), &mut first);
        let read = first.entries.len();
        assert_eq!(as_custom.is_ok(), result.is_ok());
        if result.is_ok() && read < 1_000 {
            assert_eq!(result, Ok(read as u64));
            let mut again = Sound { known: true, entries: first.entries.clone() };
            assert_eq!(exposition::parse(format, bytes, options, &Limits::default(), &mut again), result);
            assert_eq!(again.entries.split_off(read), first.entries);
        }
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap_or_default()
}

fn must<T>(result: Result<T, WireError>) -> T {
    match result {
        Ok(value) => value,
        Err(e) => panic!("what was read cannot be written and read again: {e}"),
    }
}

/// Syslog: every message is read, its text is the end of the line; a stream gives the same messages however it is cut.
pub fn syslog(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes);
    let message = crate::syslog::parse(&line, crate::syslog::Clock { now: 1_795_806_000_000_000_000, offset: 0 });
    assert!(line.trim_end_matches(['\n', '\r', '\0']).ends_with(message.text));
    assert!(message.data.len() <= crate::syslog::MAX_PARAMETERS);
    let frames = |pieces: &[&[u8]]| {
        let (mut framer, mut out) = (crate::syslog::Framer::new(1 << 20), Vec::new());
        pieces.iter().for_each(|p| framer.push(p, &mut |m| out.push(m.to_vec())));
        framer.finish(&mut |m| out.push(m.to_vec()));
        out
    };
    let (a, b) = bytes.split_at(bytes.len() / 2);
    assert_eq!(frames(&[bytes]), frames(&[a, b]));
}
