//! The loom, told of requests and of time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::{Attr, Group, Log, Span, SpanId, Tenant, TraceId, Value};
use parking_lot::Mutex;
use proptest::prelude::*;
use store::{LineKeeper, Record};
use wire::otlp::{LogEncoder, TraceEncoder};
use wire::{Encoding, Limits, LogSink, Signal, SpanSink};

use crate::counters::Counters;
use crate::lines::{Keeper, KeptLines};
use crate::loom::{Loom, Walked};
use crate::registry::Registry;
use crate::window::Part;
use crate::{Settings, row};

const SECOND: i64 = 1_000_000_000;
/// When the tests begin, nanoseconds since the Unix epoch.
const START: i64 = 1_800_000_000 * SECOND;

/// A loom and the log that it is told.
pub(crate) struct Loomed {
    pub(crate) loom: Loom,
    counters: Arc<Counters>,
    registry: Arc<Mutex<Registry>>,
    sequence: u64,
    records: Vec<Record>,
    /// Requests are taken as the store keeps them for a reader.
    kept: bool,
}

impl Loomed {
    pub(crate) fn new(settings: &Settings) -> Self {
        let counters = Arc::new(Counters::default());
        let registry = Arc::new(Mutex::new(Registry::default()));
        let loom = Loom::new(settings, Arc::clone(&counters), Arc::clone(&registry)).expect("sound keys");
        Self { loom, counters, registry, sequence: 0, records: Vec::new(), kept: false }
    }

    /// A request that arrives `at` seconds after the start.
    fn request(&mut self, at: f64, encoding: Encoding, payload: Vec<u8>) {
        self.sequence += 1;
        let received = START + (at * SECOND as f64) as i64;
        let record = Record { sequence: self.sequence, tenant: Tenant::default(), encoding, received, payload: payload.into() };
        match encoding.signal() {
            Signal::Logs if self.kept => {
                let mut keeper = Box::new(Keeper::new(self.loom.finder(), Arc::default()));
                wire::walk_logs(encoding, &record.payload, &Limits::default(), received, &mut *keeper).expect("sound");
                let (lines, _) = keeper.finish().expect("not too much");
                let lines = lines.downcast_ref::<KeptLines>().expect("its own");
                let bare = Record { payload: Vec::new().into(), ..record.clone() };
                self.loom.take_without(&bare, &[], &Walked::Lines(lines));
            }
            Signal::Traces if self.kept => {
                let finder = self.loom.finder();
                let mut keeper = wire::SpanKeeper::new(|name: &[u8]| finder.knows(name));
                match wire::walk_spans(encoding, &record.payload, &Limits::default(), &mut keeper) {
                    Ok(_) => self.loom.take_without(&record, &[], &Walked::Spans(&keeper.finish().expect("not too much"))),
                    Err(_) => self.loom.take(&record),
                }
            }
            _ => self.loom.take(&record),
        }
        self.records.push(record);
    }

    fn span(&mut self, at: f64, trace: u8, service: &str, keys: &[(&str, &str)]) {
        self.span_at(at, at, trace, service, keys);
    }

    /// A span that says it began `time` seconds after the start.
    fn span_at(&mut self, at: f64, time: f64, trace: u8, service: &str, keys: &[(&str, &str)]) {
        self.span_of(at, time, u128::from_be_bytes([trace; 16]), service, keys);
    }

    pub(crate) fn span_of(&mut self, at: f64, time: f64, trace: u128, service: &str, keys: &[(&str, &str)]) {
        let mut encoder = TraceEncoder::default();
        encoder.group(&Group { resource: &[text("service.name", service)], ..Group::default() });
        let attributes: Vec<Attr<'_>> = keys.iter().map(|(k, v)| text(k, v)).collect();
        let start = START + (time * SECOND as f64) as i64;
        encoder.span(&Span {
            trace_id: TraceId(trace.to_be_bytes()),
            span_id: SpanId((self.sequence + 1).to_be_bytes()),
            name: "op",
            start,
            end: start + 1000,
            attributes: &attributes,
            ..Span::default()
        });
        self.request(at, Encoding::OtlpTraces, encoder.finish().expect("sound"));
    }

    fn log(&mut self, at: f64, trace: u8, service: &str, line: &str) {
        self.log_of(at, at, u128::from_be_bytes([trace; 16]), service, line);
    }

    /// A line that says that it is of `time` seconds after the start; its request's sequence.
    pub(crate) fn log_of(&mut self, at: f64, time: f64, trace: u128, service: &str, line: &str) -> u64 {
        let mut encoder = LogEncoder::default();
        LogSink::group(&mut encoder, &Group { resource: &[text("service.name", service)], ..Group::default() });
        encoder.log(&Log {
            time: START + (time * SECOND as f64) as i64,
            observed: 0,
            severity_number: 17,
            severity_text: "ERROR",
            body: Value::Str(line),
            event_name: "",
            trace_id: TraceId(trace.to_be_bytes()),
            span_id: SpanId::NONE,
            flags: 0,
            attributes: &[],
            dropped_attributes: 0,
        });
        self.request(at, Encoding::OtlpLogs, encoder.finish().expect("sound"));
        self.sequence
    }

    /// It is so late: what has closed.
    pub(crate) fn at(&mut self, at: f64) -> Vec<Part> {
        while self.loom.advance(START + (at * SECOND as f64) as i64) {}
        self.loom.closed_mut().drain(..).map(|closed| closed.part).collect()
    }
}

fn text<'a>(key: &'a str, value: &'a str) -> Attr<'a> {
    Attr { key, value: Value::Str(value) }
}

fn loom() -> Loomed {
    Loomed::new(&Settings::default())
}

#[test]
fn a_window_closes_by_arrival_and_says_what_belongs_together() {
    let mut l = loom();
    // Its clock is an hour and more ahead.
    l.span_at(0.0, 4000.0, 1, "a", &[("circuit_id", "C-1")]);
    l.span(1.0, 1, "b", &[]);
    l.log(2.0, 1, "b", "failed product_id=P-1");
    assert_eq!(l.at(59.9), []);
    let parts = l.at(60.0);
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((part.spans, part.logs, part.error_logs, part.odd_times), (2, 1, 1, 0));
    assert_eq!(part.services.join(" "), "a b");
    assert_eq!(part.signals(), ["traces", "logs"]);
    let keys = [("circuit_id", "C-1"), ("product_id", "P-1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(part.keys, keys);
    assert!(part.joins() && !part.late);
    assert_eq!(part.sequences, (1, 3));
}

#[test]
fn lines_that_the_table_has_looked_through_are_as_lines_that_are_read() {
    let parts = |kept: bool| {
        let mut l = loom();
        l.kept = kept;
        for (trace, key) in [(1, "C-1"), (2, "C-2"), (3, "C-2")] {
            l.span(0.0, trace, "a", &[("circuit_id", key)]);
        }
        let mut encoder = wire::PushEncoder::default();
        let id = "01010101010101010101010101010101";
        let long = format!("circuit_id=C-1 {}", "x".repeat(5000));
        let oversized = format!("circuit_id={}", "x".repeat(5000));
        let streams = [
            (vec![("app", "b")], vec!["nothing", "circuit_id=C-1 down", "circuitId: C-2", long.as_str(), oversized.as_str()]),
            (vec![("app", "c"), ("circuit_id", "C-1")], vec!["only the stream has a key", "product_id=P-1"]),
            (vec![("app", "d")], vec![id, "trace_id=00000000000000000000000000000000 circuit_id=C-1"]),
        ];
        let json = format!(r#"{{"trace_id":"{id}","product_id":"P-7"}}"#);
        for (at, (labels, lines)) in streams.iter().enumerate() {
            for line in lines.iter().copied().chain([json.as_str()]) {
                encoder.line(labels.iter().copied(), START + at as i64, line);
            }
        }
        l.request(0.5, Encoding::LokiPush, encoder.finish().expect("sound"));
        for (trace, line) in [(1, "failed"), (0, "request_id=R-1"), (0, "circuit_id=C-2")] {
            l.log(1.0, trace, "e", line);
        }
        let oversized = l.counters.oversized_keys.load(Ordering::Relaxed);
        l.loom.tell();
        let seen: Vec<_> = l.registry.lock().of(&Tenant::default()).into_iter().map(|s| (s.entity, s.from, s.groups)).collect();
        (l.at(60.0), l.at(120.0), oversized, seen)
    };
    let (read, kept) = (parts(false), parts(true));
    assert_eq!(read, kept);
    assert!(read.2 == 1 && read.3.len() == 5, "{read:?}");
    let joined: usize = read.0.iter().map(|part| part.joined.len()).sum();
    assert!(joined >= 6, "{:#?}", read.0);
    assert!(read.0.iter().any(|part| part.logs > 1));
}

#[test]
fn late_records_are_a_further_part() {
    let mut l = loom();
    l.span(0.0, 1, "a", &[]);
    assert_eq!(l.at(61.0).len(), 1);
    l.log(62.0, 1, "a", "late");
    let parts = l.at(123.0);
    assert_eq!(parts.iter().map(|p| (p.spans, p.logs, p.late)).collect::<Vec<_>>(), [(0, 1, true)]);
    assert_eq!(l.counters.late.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_with_only_a_key_finds_its_trace_also_when_it_comes_first_or_late() {
    for at in [0.0, 20.0, 70.0] {
        let mut l = loom();
        let line = "LOS on circuit id CKT-7";
        if at == 0.0 {
            l.log(0.0, 0, "legacy", line);
        }
        l.span(10.0, 1, "a", &[("circuit_id", "CKT-7")]);
        l.span(10.0, 2, "a", &[("circuit_id", "CKT-8")]);
        if at > 0.0 {
            l.at(at);
            l.log(at, 0, "legacy", line);
        }
        let mut parts = l.at(69.0);
        parts.extend(l.at(132.0));
        parts.extend(l.at(140.0));
        let joined: Vec<_> = parts.iter().flat_map(|p| p.joined.iter().map(move |j| (p.trace, j))).collect();
        let [(trace, joined)] = joined[..] else { panic!("at {at}: {parts:?}") };
        assert_eq!(trace, TraceId([1; 16]));
        assert!(joined.certain);
        assert_eq!((joined.line.as_str(), joined.service.as_str()), (line, "legacy"));
        assert_eq!((joined.evidence.key.as_str(), joined.evidence.value.as_str()), ("circuit_id", "CKT-7"));
        assert_eq!((joined.evidence.candidates, joined.evidence.found.as_str()), (1, "text"));
    }
}

#[test]
fn a_key_of_several_traces_gives_candidates_and_no_guess() {
    let mut l = loom();
    for trace in 1..=5 {
        l.span(f64::from(trace), trace, "a", &[("circuit_id", "C"), ("request_id", &format!("r{trace}"))]);
    }
    l.log(3.1, 0, "legacy", "circuit_id=C");
    l.log(3.2, 0, "legacy", "circuit_id=C request_id=r4");
    l.log(3.3, 0, "legacy", "circuit_id=C request_id=other");
    let mut parts = l.at(61.0);
    parts.extend(l.at(70.0));
    let mut by_record: Vec<(u64, bool, u32, u8)> = parts
        .iter()
        .flat_map(|p| p.joined.iter().map(move |j| (j.at.sequence, j.certain, j.evidence.rank, p.trace.0[0])))
        .collect();
    by_record.sort_unstable();
    // The nearest in time leads the candidates; three are kept; the request id decides; a contradiction joins nothing for certain.
    assert_eq!(
        by_record.iter().filter(|r| r.0 == 6).map(|r| (r.1, r.2)).collect::<Vec<_>>(),
        [(false, 1), (false, 2), (false, 3)]
    );
    assert_eq!(by_record.iter().find(|r| r.0 == 6 && r.2 == 1).map(|r| r.3), Some(3));
    assert_eq!(by_record.iter().filter(|r| r.0 == 7).map(|r| (r.1, r.3)).collect::<Vec<_>>(), [(true, 4)]);
    assert!(by_record.iter().filter(|r| r.0 == 8).all(|r| !r.1));
}

#[test]
fn what_a_trace_contradicts_is_not_joined_for_certain() {
    let mut l = loom();
    l.span(0.0, 1, "a", &[("circuit_id", "C"), ("request_id", "r1")]);
    l.log(0.5, 0, "legacy", "circuit_id=C request_id=r2");
    let parts = l.at(61.0);
    let joined: Vec<_> = parts.iter().flat_map(|p| &p.joined).collect();
    assert_eq!(joined.iter().map(|j| j.certain).collect::<Vec<_>>(), [false]);
    assert!(joined[0].evidence.notes.contains("contradicts"), "{}", joined[0].evidence.notes);
}

#[test]
fn memory_is_bounded_and_what_is_shed_is_counted() {
    let settings = Settings { memory: 1 << 20, ..Settings::default() };
    let mut l = Loomed::new(&settings);
    let mut largest = 0;
    let mut closed = 0;
    for i in 0..20_000u32 {
        let mut encoder = TraceEncoder::default();
        encoder.group(&Group { resource: &[text("service.name", "a")], ..Group::default() });
        let mut id = [7; 16];
        id[..4].copy_from_slice(&i.to_be_bytes());
        encoder.span(&Span { trace_id: TraceId(id), span_id: SpanId([1; 8]), start: START, end: START, ..Span::default() });
        l.request(0.0, Encoding::OtlpTraces, encoder.finish().expect("sound"));
        largest = largest.max(l.loom.sizes()[0]);
        closed += std::mem::take(l.loom.closed_mut()).len();
    }
    assert!(largest <= (1 << 20) + 4096, "{largest}");
    let open = l.loom.sizes()[1] as u64;
    assert_eq!(open + l.counters.shed_windows.load(Ordering::Relaxed) + closed as u64, 20_000);
    // The accounting ends where it began.
    l.at(61.0);
    l.at(1000.0);
    assert_eq!(l.loom.sizes(), [0, 0, 0, 0]);
}

#[test]
fn a_trace_that_never_ends_is_summarised() {
    let mut l = loom();
    for i in 0..100 {
        for _ in 0..20 {
            l.span(f64::from(i), 1, "a", &[]);
        }
    }
    let mut parts = l.at(100.0);
    parts.extend(l.at(200.0));
    assert_eq!(parts.iter().map(|p| p.spans).sum::<u64>(), 2000);
    assert!(parts.iter().all(|p| p.log_ids.is_empty() && p.exemplars.is_empty()));
    assert!(parts.len() <= 3, "{}", parts.len());
}

#[test]
fn a_window_can_count_from_the_last_record_but_not_forever() {
    let settings = Settings { window: Duration::from_secs(10), since: crate::Since::Last, ..Settings::default() };
    let mut l = Loomed::new(&settings);
    for i in 0..30 {
        l.span(f64::from(i) * 5.0, 1, "a", &[]);
    }
    let parts = std::mem::take(l.loom.closed_mut());
    assert_eq!(parts.len(), 1, "closed after ten windows");
}

#[test]
fn lone_traces_make_events_as_long_as_there_are_few_of_them() {
    let mut l = Loomed::new(&Settings { lone_events: 2, ..Settings::default() });
    for trace in 1..=5 {
        l.span(0.0, trace, "a", &[]);
    }
    l.span(0.0, 6, "a", &[("circuit_id", "C-1")]);
    l.span(0.0, 7, "a", &[]);
    l.span(0.0, 7, "b", &[]);
    let parts = l.at(61.0);
    assert_eq!(parts.iter().map(|p| p.trace.0[0]).collect::<Vec<_>>(), [1, 2, 6, 7], "a key and a second service tell something");
    assert_eq!(l.counters.lone.load(Ordering::Relaxed), 3);
    l.span(70.0, 8, "a", &[]);
    assert_eq!(l.at(131.0).len(), 1, "another second, another allowance");
}

#[test]
fn lines_that_only_mention_a_trace_join_its_event_and_make_none() {
    let line = |trace: u8| format!(r#"{{"trace_id":"{}","msg":"x","product_id":null}}"#, TraceId([trace; 16]));
    let mut l = Loomed::new(&Settings { lone_events: 0, ..Settings::default() });
    for trace in [1, 2] {
        l.log(0.0, 0, "a", &line(trace));
        l.log(0.0, 0, "b", &line(trace));
    }
    l.span(1.0, 2, "c", &[]);
    l.log(2.0, 0, "b", &line(2));
    let parts = l.at(61.0);
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((part.trace.0[0], part.spans, part.logs, part.log_ids.len()), (2, 1, 3, 1));
    assert_eq!(part.services.join(" "), "a b c");
}

#[test]
fn spans_that_were_walked_before_count_as_those_walked_here() {
    let encoded = |request: i64| {
        let mut encoder = TraceEncoder::default();
        for group in 0..4i64 {
            let keys = [text("service.name", ["a", "b", "a", crate::SERVICE][group as usize]), text("request_id", "R-1")];
            encoder.group(&Group { resource: &keys[..1 + usize::from(group == 2)], ..Group::default() });
            for i in 0..9i64 {
                let own = [text("circuit_id", ["C-1", "C-2", ""][i as usize % 3]), text("noise", "x")];
                // Some lie a day off, and some of these agree with each other.
                let odd = if (i + request) % 4 == 0 { 86_400 * SECOND } else { 0 };
                let start = START - (request * 7 + i) * SECOND - odd;
                let (trace, parent) = ([1 + (i % 4) as u8; 16], [(i % 3) as u8; 8]);
                encoder.span(&Span {
                    trace_id: TraceId(trace),
                    span_id: SpanId((1 + request * 100 + group * 10 + i).to_be_bytes()),
                    parent_span_id: SpanId(parent),
                    name: ["GET /", "", "POST /"][(i + group) as usize % 3],
                    start,
                    end: start + i * SECOND,
                    status_code: (i % 3) as i32,
                    attributes: &own[(i % 2) as usize..],
                    ..Span::default()
                });
            }
        }
        encoder.finish().expect("sound")
    };
    let parts = |kept: bool| {
        let mut l = loom();
        l.kept = kept;
        for request in 0..6 {
            l.request(request as f64 * 15.0, Encoding::OtlpTraces, encoded(request));
        }
        l.at(200.0)
    };
    let (walked, kept) = (parts(false), parts(true));
    assert!(walked.len() > 4 && walked.iter().any(|p| p.odd_times > 0 && p.late), "{walked:?}");
    assert_eq!(walked, kept);
}

#[test]
fn windows_can_be_closed_before_their_time_and_what_comes_later_amends() {
    let mut l = loom();
    l.span(0.0, 1, "a", &[("circuit_id", "C-1")]);
    l.log(0.0, 0, "legacy", "circuit_id=C-1");
    l.log(0.0, 0, "legacy", "circuit_id=C-2");
    while l.loom.close_open() {}
    let parts = l.at(0.0);
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((part.joined.len(), part.early), (1, false));
    assert_eq!(l.loom.safe_through(l.sequence + 1), l.sequence, "nothing is waited for");
    l.span(1.0, 1, "a", &[]);
    assert_eq!(l.at(62.0).iter().map(|p| (p.spans, p.late)).collect::<Vec<_>>(), [(1, true)]);
}

/// The part of a row of an earlier version.
fn read_row(version: &str, attributes: &[Attr<'_>], spans: u32) -> crate::Part {
    let resource = [text("service.name", crate::SERVICE)];
    let mut encoder = TraceEncoder::default();
    let (scope_name, scope_version) = (crate::SERVICE, version);
    encoder.group(&Group { resource: &resource, scope_name, scope_version, ..Group::default() });
    encoder.span(&Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        start: 5,
        end: 9,
        attributes,
        dropped_links: spans,
        ..Span::default()
    });
    let memory = store::memory::Memory::new();
    let payload = encoder.finish().expect("sound");
    let limits = wire::Limits::default();
    wire::walk_spans(Encoding::OtlpTraces, &payload, &limits, &mut memory.ingest(&Tenant::default())).expect("OTLP");
    let reader = store::Source::snapshot(&memory);
    let found = crate::find::of_traces(&*reader, &Tenant::default(), &[TraceId([1; 16])], &false.into()).expect("memory");
    found[0].parts[0].1.clone()
}

/// What versions 1 and 2 wrote.
#[test]
fn rows_of_earlier_versions_are_read() {
    let int = |key, n| Attr { key, value: Value::Int(n) };
    let second = [
        text("correlation.services", "a,b"),
        text("correlation.window", "100 100 3 4"),
        int("correlation.last_sequence", 7),
        text("correlation.root_service", "a"),
        text("correlation.root_name", "GET /"),
        text("circuit_id", "C-1"),
    ];
    let part = read_row("2", &second, 2);
    assert_eq!((part.spans, part.arrived, part.sequences, part.times), (2, (100, 200), (3, 7), (5, 9)));
    assert_eq!(part.root, Some(("a".into(), "GET /".into())));
    assert_eq!((part.services.join(" "), part.keys.len()), ("a b".to_owned(), 1));
    let attributes = [
        int("correlation.format", 1),
        Attr { key: "correlation.joins", value: Value::Bool(true) },
        text("correlation.services", "a,b"),
        text("correlation.window", "100 200 3 7"),
        int("correlation.last_sequence", 7),
        int("correlation.span_count", 2),
        text("circuit_id", "C-1"),
    ];
    let part = read_row("", &attributes, 0);
    assert_eq!((part.spans, part.arrived, part.sequences, part.times), (2, (100, 200), (3, 7), (5, 9)));
    assert_eq!((part.services.join(" "), part.keys.len()), ("a b".to_owned(), 1));
}

#[test]
fn a_row_is_the_part_again() {
    let mut l = loom();
    l.span(0.0, 1, "a", &[("circuit_id", "C-1")]);
    l.span(0.5, 1, "b", &[("circuit_id", "C-2")]);
    l.log(1.0, 1, "b", "x");
    l.log(1.0, 0, "legacy", "circuit_id=C-1 \"quoted\" ü");
    let parts = l.at(61.0);
    let payload = row::encode(&parts).expect("sound");
    assert!(row::is_own(&payload));
    let with_another = [&payload[..], &payload[..]].concat();
    assert!(!row::is_own(&with_another) && !row::is_own(&payload[..payload.len() - 1]), "what others send may have more");
    let memory = store::memory::Memory::new();
    let limits = wire::Limits::default();
    wire::walk_spans(Encoding::OtlpTraces, &payload, &limits, &mut memory.ingest(&Tenant::default())).expect("OTLP");
    let reader = store::Source::snapshot(&memory);
    let found = crate::find::of_traces(&*reader, &Tenant::default(), &[TraceId([1; 16])], &false.into()).expect("memory");
    let [event] = &found[..] else { panic!("{found:?}") };
    assert_eq!(event.parts, [(parts[0].span_id(), parts[0].clone())]);
    assert_eq!(event.spans, [], "the trace itself was not stored");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the log is cut by a crash, every record counts once: parts that were durable, and what is made of the log read
    /// again from the cursor, say together what one run would have said.
    #[test]
    fn a_crash_loses_and_doubles_nothing(
        steps in proptest::collection::vec((0u8..4, 0.0f64..30.0, any::<bool>()), 1..60),
        crash in 0usize..60,
        keeps in any::<bool>(),
    ) {
        let mut first = loom();
        let mut at = 0.0;
        let mut durable: Vec<Part> = Vec::new();
        let mut cursor = 0;
        let mut later = Vec::new();
        for (i, (trace, pause, is_log)) in steps.iter().enumerate() {
            at += pause;
            match (trace, is_log) {
                (0, _) => first.log(at, 0, "legacy", &format!("circuit_id=C{}", i % 3)),
                (t, true) => first.log(at, *t, "b", "x"),
                (t, false) => first.span(at, *t, "a", &[("circuit_id", &format!("C{}", t % 3))]),
            }
            if i <= crash {
                durable.extend(first.loom.closed_mut().drain(..).map(|closed| closed.part));
                // The cursor is saved at times, and never by the crash itself.
                if i % 3 == 0 && keeps {
                    cursor = first.loom.safe_through(first.sequence + 1);
                }
            }
        }
        let total = first.records.len();
        let mut second = loom();
        durable.iter().filter(|p| p.sequences.1 > cursor || p.joined.iter().any(|j| j.at.sequence > cursor)).for_each(|p| {
            second.loom.covered(&Tenant::default(), p);
        });
        for record in first.records.iter().filter(|r| r.sequence > cursor) {
            second.loom.take(record);
        }
        second.loom.advance(START + ((at + 61.0) * SECOND as f64) as i64);
        second.loom.advance(START + ((at + 200.0) * SECOND as f64) as i64);
        later.extend(second.loom.closed_mut().drain(..).map(|closed| closed.part));
        let all = || durable.iter().chain(&later);
        let with_id = steps.iter().filter(|(t, ..)| *t != 0).count() as u64;
        prop_assert_eq!(all().map(|p| p.spans + p.logs).sum::<u64>(), with_id, "of {} records", total);
        let mut joined: Vec<_> = all().flat_map(|p| p.joined.iter().map(move |j| (p.trace, j.at))).collect();
        let many = joined.len();
        joined.sort_unstable();
        joined.dedup();
        prop_assert_eq!(joined.len(), many, "a record is joined to a trace once");
        let mut ids: Vec<_> = all().map(|p| (p.trace, p.span_id())).collect();
        let many = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), many);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), encoding in 0usize..10) {
        let mut l = loom();
        l.request(0.0, Encoding::ALL[encoding], bytes);
        l.at(61.0);
    }
}
