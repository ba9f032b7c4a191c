//! Parsing and searching, on the contract's in-memory model.

use std::sync::atomic::AtomicBool;

use model::{Attr, Group, Span, SpanId, Tenant, TimeRange, TraceId, Value};
use proptest::prelude::*;
use store::memory::Memory;
use wire::SpanSink;

use crate::{EvalError, Found, Plan, Question, parse, search};

fn attr<'a>(key: &'a str, value: Value<'a>) -> Attr<'a> {
    Attr { key, value }
}

const MS: i64 = 1_000_000;

/// Trace 1: a root of `shop` with a failing child of `db`. Trace 2: a lone span of `db` whose parent has not come.
fn store() -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    let shop = [attr("service.name", Value::Str("shop")), attr("env", Value::Str("prod"))];
    sink.group(&Group { resource: &shop, scope_name: "lib", ..Group::default() });
    sink.span(&Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([1; 8]),
        name: "GET /",
        kind: 2,
        start: 1000 * MS,
        end: 1500 * MS,
        attributes: &[attr("code", Value::Int(200)), attr("ok", Value::Bool(true)), attr("env", Value::Str("span"))],
        ..Span::default()
    });
    let db = [attr("service.name", Value::Str("db"))];
    sink.group(&Group { resource: &db, ..Group::default() });
    sink.span(&Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent_span_id: SpanId([1; 8]),
        name: "SELECT",
        kind: 3,
        start: 1100 * MS,
        end: 1200 * MS,
        status_code: 2,
        status_message: "boom",
        attributes: &[attr("code", Value::Double(1.5))],
        ..Span::default()
    });
    sink.span(&Span {
        trace_id: TraceId([2; 16]),
        span_id: SpanId([3; 8]),
        parent_span_id: SpanId([9; 8]),
        name: "SELECT",
        start: 2000 * MS,
        end: 2001 * MS,
        attributes: &[attr("code", Value::Str("200"))],
        ..Span::default()
    });
    drop(sink);
    store
}

fn find(store: &Memory, query: &str, limit: usize) -> Result<Found, EvalError> {
    let plan =
        Plan::new(query, &parse(query).unwrap_or_else(|e| panic!("{query}: {e}"))).unwrap_or_else(|e| panic!("{query}: {e}"));
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    let range = TimeRange::ALL;
    search(&Question { reader: &view, tenant: &tenant, range, limit, spans_per_set: 10, cancelled: &cancelled }, &plan)
}

#[test]
fn a_filter_chooses_spans() {
    let store = store();
    // First byte of the ids of the spans that match.
    let cases: &[(&str, &[u8])] = &[
        ("{ }", &[1, 2, 3]),
        ("{ true }", &[1, 2, 3]),
        ("{ false }", &[]),
        ("{ name = `SELECT` }", &[2, 3]),
        ("{ name =~ `SEL` }", &[]),
        ("{ name =~ `SEL.*` && status = error }", &[2]),
        ("{ name !~ `SEL.*` }", &[1]),
        ("{ span:status != error }", &[1, 3]),
        ("{ kind = server || kind = client }", &[1, 2]),
        ("{ duration > 99ms }", &[1, 2]),
        ("{ 99ms >= duration }", &[3]),
        ("{ statusMessage = `boom` }", &[2]),
        ("{ statusMessage = `` }", &[1, 3]),
        // Integers and floats compare; text never equals a number, nor differs from one.
        ("{ .code >= 1.5 }", &[1, 2]),
        ("{ .code = `200` }", &[3]),
        ("{ .code != 200 }", &[2]),
        ("{ !(.code = 200) }", &[2, 3]),
        // The span's attribute hides the resource's.
        ("{ .env = `prod` }", &[]),
        ("{ resource.env = `prod` }", &[1]),
        ("{ span.env = `span` }", &[1]),
        ("{ .service.name = `db` && !.ok }", &[]),
        ("{ .ok }", &[1]),
        ("{ span.ok = nil }", &[2, 3]),
        // An open attribute is nil where the span or the resource lacks it, as in Tempo.
        ("{ .ok = nil }", &[1, 2, 3]),
        ("{ nil != .ok }", &[1]),
        ("{ .missing != `x` }", &[]),
        ("{ trace:id = `01010101010101010101010101010101` }", &[1, 2]),
        ("{ span:id = `0303030303030303` }", &[3]),
        ("{ span:parentID = `0101010101010101` }", &[2]),
        ("{ parent = nil }", &[1]),
        ("{ nestedSetParent < 0 }", &[1]),
        ("{ instrumentation:name = `lib` }", &[1]),
        ("{ 1 + 1 = 2 && (.code > 1 || false) }", &[1, 2]),
        ("{ .code = 200 } | select(name, resource.service.name)", &[1]),
    ];
    for (query, expected) in cases {
        let found = find(&store, query, 20).unwrap_or_else(|e| panic!("{query}: {e}"));
        let mut ids: Vec<u8> = found.traces.iter().flat_map(|t| &t.spans).map(|s| s.span_id.0[0]).collect();
        ids.sort_unstable();
        assert_eq!(ids, *expected, "{query}");
    }
}

#[test]
fn a_trace_is_summed_up_whole_however_few_spans_match() {
    let store = store();
    let found = find(&store, "{ status = error } | select(.code, name)", 20).expect("searches");
    let [trace] = &found.traces[..] else { panic!("{found:?}") };
    assert_eq!(trace.root, Some(("shop".to_owned(), "GET /".to_owned())));
    assert_eq!((trace.start, trace.duration, trace.matched), (1000 * MS, 500 * MS, 1));
    assert_eq!(format!("{:?}", trace.services), r#"{"db": (1, 1), "shop": (1, 0)}"#);
    assert_eq!(trace.spans[0].name.as_deref(), Some("SELECT"));
    assert_eq!(format!("{:?}", trace.spans[0].attributes), r#"[("status", Str("error")), ("code", Double(1.5))]"#);
    // Newest first; the limit counts traces.
    let all = find(&store, "{}", 20).expect("searches");
    assert_eq!(all.traces.iter().map(|t| t.trace_id.0[0]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(all.traces[0].root, None);
    let absent = find(&store, "{ span.ok = nil && status = error }", 20).expect("searches");
    assert_eq!(format!("{:?}", absent.traces[0].spans[0].attributes), r#"[("ok", Str("nil")), ("status", Str("error"))]"#);
    assert_eq!(find(&store, "{}", 1).expect("searches").traces.len(), 1);
}

#[test]
fn what_is_wrong_or_not_there_yet_is_refused_where_it_stands() {
    let cases = [
        ("{ .a == 4 }", "line 1, col 7: unexpected =, expected an attribute, an intrinsic or a value"),
        ("{ .a = }", "line 1, col 8: unexpected }, expected an attribute, an intrinsic or a value"),
        ("{ .a = 1", "line 1, col 9: unexpected the end of the query, expected }"),
        ("{ nope = 1 }", "line 1, col 3: unexpected nope, expected an attribute, an intrinsic or a value"),
        ("{ 1 }", "line 1, col 3: span filter field expressions must resolve to a boolean"),
        ("{ name = nil }", "line 1, col 8: = nil is not valid because intrinsics and resource.service.name cannot be nil"),
        ("({} | count() > 1)", "line 1, col 1: a query that starts with ( is not supported yet"),
        ("{ name = 1 }", "line 1, col 8: binary operations must operate on the same type: Text = Number"),
        ("{ status > error }", "line 1, col 10: illegal operation for the given types: > with Status"),
        ("{ .a =~ `(` }", "line 1, col 9: invalid regular expression: unclosed group"),
        ("{\n  .a = \"x }", "line 2, col 8: a string that does not end"),
        ("{} | rate()", "line 1, col 6: the pipeline stage rate is not supported yet"),
        ("{} >> {}", "line 1, col 4: the spanset operator >> is not supported yet"),
        ("{ .a = .b }", "line 1, col 3: comparing two attributes is not supported yet"),
        ("{ traceDuration > 1s }", "line 1, col 3: traceDuration is not supported yet"),
        ("{ event.a = 1 }", "line 1, col 3: an attribute of events or links is not supported yet"),
    ];
    for (query, message) in cases {
        let error = parse(query).and_then(|q| Plan::new(query, &q)).expect_err(query);
        assert_eq!(error.to_string(), format!("parse error at {message}"), "{query}");
    }
}

#[test]
fn deep_and_long_queries_are_refused() {
    for deep in [
        format!("{{{}", "(".repeat(50_000)),
        format!("{{{}.a}}", "!".repeat(50_000)),
        format!("{{ .a{} }}", "|| .a".repeat(20_000)),
        format!("{{ 1{} = 1 }}", "^1".repeat(20_000)),
    ] {
        assert!(parse(&deep).is_err());
    }
    assert!(parse(&" ".repeat(crate::MAX_QUERY + 1)).is_err());
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_row_of_words_parses_or_is_refused(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("("), Just(")"), Just(".a"), Just("span.b"), Just("="), Just("!="), Just("=~"), Just("&&"),
        Just("||"), Just("!"), Just("-"), Just("1"), Just("1.5"), Just("5ms"), Just("\"x\""), Just("nil"), Just("true"),
        Just("status"), Just("error"), Just("duration"), Just("|"), Just("select"), Just(","), Just("+"), Just("nestedSetParent"),
    ], 0..24)) {
        let query = words.join(" ");
        let _ = parse(&query).and_then(|q| Plan::new(&query, &q));
    }
}
