//! Parsing, searching and metrics, on the contract's in-memory model.

use std::sync::atomic::AtomicBool;

use model::{Attr, Event, Group, Span, SpanId, Tenant, TimeRange, TraceId, Value};
use proptest::prelude::*;
use store::memory::Memory;
use wire::SpanSink;

use crate::metrics::{Series, Window, evaluate};
use crate::{EvalError, Found, Plan, Question, Static, parse, parse_unchecked, search};

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
        attributes: &[
            attr("code", Value::Double(1.5)),
            attr("tags", Value::Nested(r#"{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}"#.into())),
        ],
        events: &[Event { time: 1150 * MS, name: "exception", attributes: 0..1, ..Event::default() }],
        nested: &[attr("message", Value::Str("no"))],
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

/// For the traces of a query.
const MEMORY: usize = 64 << 20;

/// A question over all time for no traces; what a test wants otherwise it says.
fn question<'a>(reader: &'a dyn store::Reader, tenant: &'a Tenant, cancelled: &'a AtomicBool) -> Question<'a> {
    Question { reader, tenant, range: TimeRange::ALL, limit: 0, spans_per_set: 0, memory: MEMORY, cancelled }
}

fn find(store: &Memory, query: &str, limit: usize) -> Result<Found, EvalError> {
    let plan = Plan::new(&parse(query).unwrap_or_else(|e| panic!("{query}: {e}"))).expect("no metrics query");
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    search(&Question { limit, spans_per_set: 10, ..question(&view, &tenant, &cancelled) }, &plan)
}

fn series(store: &Memory, query: &str) -> Vec<Series> {
    let query = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let window = Window::new(0, 3000 * MS, 1000 * MS).expect("a window");
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    evaluate(&question(&view, &tenant, &cancelled), &query, &window, 0).expect("evaluates")
}

#[test]
fn a_search_within_little_memory_finds_the_same_or_says_what_it_lacks() {
    let store = store();
    let all = find(&store, "{ }", 10).expect("finds");
    let plan = Plan::new(&parse("{ }").expect("parses")).expect("no metrics query");
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    let (mut whole, mut partial) = (0, 0);
    for memory in (0..40_000).step_by(100) {
        match search(&Question { limit: 10, spans_per_set: 1, memory, ..question(&view, &tenant, &cancelled) }, &plan) {
            Ok(found) if found.left_out().is_none() => {
                whole += 1;
                let ids = |found: &Found| found.traces.iter().map(|t| t.trace_id).collect::<Vec<_>>();
                assert_eq!(ids(&found), ids(&all), "{memory} bytes");
            }
            Ok(found) => {
                partial += 1;
                assert!(found.traces.len() + found.too_large.len() == all.traces.len(), "{memory} bytes");
            }
            Err(e) => assert!(e.to_string().starts_with("the answer would hold more than"), "{e}"),
        }
    }
    assert!(whole > 0 && partial > 0, "{whole} {partial}");
    let query = parse("{ } >> { } | rate()").expect("parses");
    let window = Window::new(0, 3000 * MS, 1000 * MS).expect("a window");
    let question = Question { memory: 1, ..question(&view, &tenant, &cancelled) };
    let error = evaluate(&question, &query, &window, 0).expect_err("numbers that lack a trace are no answer");
    assert!(error.to_string().contains("more spans than fit"), "{error}");
}

#[test]
fn metrics_are_told_while_they_are_computed() {
    let store = store();
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    let window = Window::new(0, 3000 * MS, 1000 * MS).expect("a window");
    for query in ["{ } | max_over_time(duration)", "{ } >> { } | rate()", "{ } | max_over_time(duration) by (name) | topk(1)"] {
        let parsed = parse(query).expect("parses");
        let question = question(&view, &tenant, &cancelled);
        let mut told = Vec::new();
        let last =
            crate::metrics::evaluate_aloud(&question, &parsed, &window, 0, &mut |so_far| told.push(so_far())).expect("evaluates");
        // All spans are in one batch: what is told of it is the answer.
        assert_eq!(format!("{:?}", told.last()), format!("{:?}", Some(&last)), "{query}");
    }
}

#[test]
fn queries_choose_spans() {
    let store = store();
    // First byte of the ids of the spans that match.
    let cases: &[(&str, &[u8])] = &[
        ("{ }", &[1, 2, 3]),
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
        ("{ .code * 2 = 3 }", &[2]),
        // The span's attribute hides the resource's only where it passes.
        ("{ .env = `prod` }", &[1]),
        ("{ resource.env = `prod` }", &[1]),
        ("{ span.env = `span` }", &[1]),
        ("{ .ok }", &[1]),
        ("{ span.ok = nil }", &[2, 3]),
        // An open attribute is nil where the span or the resource lacks it, as in Tempo.
        ("{ .ok = nil }", &[1, 2, 3]),
        ("{ nil != .ok }", &[1]),
        ("{ .missing != `x` }", &[]),
        ("{ span.tags = `b` }", &[2]),
        ("{ span.tags != `b` }", &[]),
        ("{ event:name = `exception` && event.message = `no` }", &[2]),
        ("{ event:timeSinceStart > 49ms }", &[2]),
        ("{ trace:id = `01010101010101010101010101010101` }", &[1, 2]),
        ("{ span:id = `0303030303030303` }", &[3]),
        ("{ span:parentID = `101010101010101` }", &[2]),
        ("{ nestedSetParent < 0 }", &[1]),
        ("{ nestedSetParent > 0 }", &[2]),
        ("{ span:childCount = 1 }", &[1]),
        ("{ trace:duration > 400ms && trace:rootService = `shop` }", &[1, 2]),
        ("{ instrumentation:name = `lib` }", &[1]),
        ("{ 1 + 1 = 2 && (.code > 1 || false) }", &[1, 2]),
        ("{ .service.name = `shop` } >> { status = error }", &[2]),
        ("{ status = error } < { }", &[1]),
        ("{ } !> { }", &[1]),
        ("{ name = `GET /` } &> { }", &[1, 2]),
        ("{ name = `GET /` } && { status = error }", &[1, 2]),
        ("{ name = `nothing` } || { status = error }", &[2]),
        ("{ } | count() > 1", &[1, 2]),
        ("{ } | by(name) | count() = 1", &[1, 2, 3]),
        ("{ } | avg(duration) > 250ms", &[1, 2]),
        ("({ status = error } | count() = 1) && ({ kind = server } | count() = 1)", &[1, 2]),
    ];
    for (query, expected) in cases {
        let found = find(&store, query, 20).unwrap_or_else(|e| panic!("{query}: {e}"));
        let sets = found.traces.iter().flat_map(|t| &t.sets);
        let mut ids: Vec<u8> = sets.flat_map(|s| &s.spans).map(|s| s.span_id.0[0]).collect();
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
    assert_eq!((trace.start, trace.duration, trace.sets[0].matched), (1000 * MS, 500 * MS, 1));
    assert_eq!(format!("{:?}", trace.services), r#"{"db": (1, 1), "shop": (1, 0)}"#);
    let span = &trace.sets[0].spans[0];
    assert_eq!(span.name.as_deref(), Some("SELECT"));
    assert_eq!(span.attributes, [("status".to_owned(), Static::Status(2)), ("code".to_owned(), Static::Float(1.5))]);
    // Newest first; the limit counts traces.
    let all = find(&store, "{}", 20).expect("searches");
    assert_eq!(all.traces.iter().map(|t| t.trace_id.0[0]).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(all.traces[0].root, None);
    let counted = find(&store, "{ } | by(status) | count() > 0", 1).expect("searches");
    assert_eq!(counted.traces.len(), 1);
    assert_eq!(counted.traces[0].sets[0].attributes[1], ("count()".to_owned(), Static::Int(1)));
    assert!(matches!(find(&store, "{ 1 / 0 = 1 }", 1), Err(EvalError::Query(_))));
}

#[test]
fn metrics_are_series_of_intervals() {
    let store = store();
    for (query, expected) in [
        ("{ } | count_over_time()", "count_over_time=[1, 2, 0]"),
        ("{ } | rate() by (resource.service.name)", "db=[0, 2, 0] shop=[1, 0, 0]"),
        ("{ } | max_over_time(duration)", "max_over_time=[0.5, 0.1, NaN]"),
        ("{ } | sum_over_time(span.code)", "sum_over_time=[200, 1.5, NaN]"),
        ("{ status = error } | count_over_time() by (name)", "SELECT=[0, 1, 0]"),
        ("{ span.tags = `a` } | count_over_time()", "count_over_time=[0, 1, 0]"),
        ("{ kind = server } >> { } | count_over_time()", "count_over_time=[0, 1, 0]"),
        ("{ } | rate() by (resource.service.name) | topk(1)", "db=[NaN, 2, 0] shop=[1, NaN, NaN]"),
        (
            "({ } | count_over_time()) / ({ kind = server } | count_over_time())",
            "(count_over_time / count_over_time)=[1, NaN, NaN]",
        ),
        ("({ } | count_over_time()) * 2 > 2", "count_over_time=[NaN, 4, NaN]"),
        ("{ } | quantile_over_time(duration, 1)", "1.0=[0.536870912, 0.134217728, 0]"),
    ] {
        let text: Vec<String> = series(&store, query)
            .iter()
            .map(|s| {
                format!("{}={:?}", s.labels[0].1.to_string().trim_matches('`'), s.values).replace(".0,", ",").replace(".0]", "]")
            })
            .collect();
        assert_eq!(text.join(" "), expected, "{query}");
    }
    let compared = series(&store, "{ } | compare({ status = error })");
    let total = compared.iter().find(|s| s.labels[0].1 == Static::text("selection_total") && s.labels[1].0 == "span.code");
    assert_eq!(total.map(|s| s.values.clone()), Some(vec![0.0, 1.0, 0.0]));
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    for (query, message) in [
        (
            "{ .a == 4 }",
            "parse error at line 1, col 7: syntax error: unexpected =, expecting an attribute, an intrinsic or a value",
        ),
        ("{ .a = 1", "parse error at line 1, col 9: syntax error: unexpected $end, expecting }"),
        ("{ nope = 1 }", "parse error at line 1, col 3: unknown identifier: nope"),
        ("{ 1 }", "invalid query at line 1, col 3: span filter field expressions must resolve to a boolean: { 1 }"),
        ("{ name = nil }", "invalid query at line 1, col 3: name=nil is not valid because intrinsics cannot be nil"),
        ("{ name = 1 }", "invalid query at line 1, col 3: binary operations must operate on the same type: name = 1"),
        ("{ status > error }", "invalid query at line 1, col 3: illegal operation for the given types: status > error"),
        ("{ .a =~ `(` }", "invalid query at line 1, col 9: invalid regex: `(`"),
        ("{\n  .a = \"x }", "parse error at line 2, col 8: literal not terminated"),
        ("{} | rate() + 5", "parse error at line 1, col 13: syntax error: unexpected +, expecting with"),
        ("{ parent.a = 1 }", "invalid query at line 1, col 3: parent not yet supported"),
        ("{} | rate() | topk(0)", "invalid query at line 1, col 1: limit must be greater than 0"),
    ] {
        assert_eq!(parse(query).expect_err(query).to_string(), message, "{query}");
    }
}

#[test]
fn deep_and_long_queries_are_refused() {
    for deep in [
        format!("{{{}", "(".repeat(50_000)),
        format!("{{{}.a}}", "!".repeat(50_000)),
        format!("{{ .a{} }}", "|| .a".repeat(20_000)),
        format!("{{ 1{} = 1 }}", "^1".repeat(20_000)),
        "(".repeat(50_000),
        format!("{{}}{}", ">>{}".repeat(20_000)),
        format!("{{}}{}", "|{}".repeat(20_000)),
        format!("{{}}|rate(){}", ">1".repeat(20_000)),
    ] {
        assert!(parse(&deep).is_err());
    }
    assert!(parse(&" ".repeat(crate::MAX_QUERY + 1)).is_err());
    // Long, but not too long.
    let long = format!("{{ .a = 1{} }}", " || .a = 1".repeat(400));
    assert!(find(&store(), &long, 1).expect("searches").traces.is_empty());
}

/// Spans of a few traces: trace, span, parent (0 for none), service, code.
fn grown(spans: &[(u8, u8, u8, u8, i64)]) -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (i, &(trace, id, parent, service, code)) in spans.iter().enumerate() {
        sink.group(&Group {
            resource: &[attr("service.name", Value::Str(["a", "b", "c"][usize::from(service)]))],
            ..Group::default()
        });
        let start = 1_000 * MS + i as i64 * MS;
        sink.span(&Span {
            trace_id: TraceId([trace + 1; 16]),
            span_id: SpanId([id + 1; 8]),
            parent_span_id: if parent == 0 { SpanId::default() } else { SpanId([parent; 8]) },
            name: "n",
            start,
            end: start + code * MS,
            status_code: i32::from(service),
            attributes: &[attr("code", Value::Int(code))],
            ..Span::default()
        });
    }
    drop(sink);
    store
}

proptest! {
    #[test]
    fn what_rows_decide_changes_no_answer(
        spans in proptest::collection::vec((0u8..4, 0u8..8, 0u8..9, 0u8..3, 0i64..4), 1..40),
        sides in proptest::collection::vec(prop::sample::select(vec![
            "{ resource.service.name = `a` }", "{ span.code >= 2 }", "{ .code != 1 && status = error }", "{ }", "{ nestedSetParent < 0 }",
            "{ trace:duration > 20ms || .code = 1 }", "{ span.code + 1 > 2 }", "{ rootServiceName = `b` }", "{ duration > 1ms }",
        ]), 1..4),
        ops in proptest::collection::vec(prop::sample::select(vec![">", ">>", "<", "<<", "~", "!>", "!>>", "&>", "&>>", "&&", "||", "!~"]), 3),
        end in prop::sample::select(vec!["", " | count() > 1", " | by(resource.service.name)", " | { .code > 0 }", " | select(name)"]),
        limit in prop::sample::select(vec![1usize, 2, 1000]),
    ) {
        let store = grown(&spans);
        let mut query = sides[0].to_owned();
        sides[1..].iter().zip(&ops).for_each(|(side, op)| query = format!("({query} {op} {side})"));
        query.push_str(end);
        let Ok(parsed) = parse(&query) else { return Ok(()) };
        let plan = Plan::new(&parsed).expect("no metrics query");
        let mut slow = plan.clone();
        slow.marks.filters.iter_mut().for_each(|m| *m = None);
        slow.marks.seen = false;
        let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
        let ask = |plan: &Plan, limit| {
            search(&Question { limit, spans_per_set: 10, ..question(&view, &tenant, &cancelled) }, plan).map(|f| f.traces).map_err(|e| e.to_string())
        };
        prop_assert_eq!(ask(&plan, limit), ask(&slow, limit), "{}", query);
        // Whether all are wanted or many changes nothing either.
        prop_assert_eq!(ask(&plan, 999), ask(&plan, 1000), "{}", query);
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn what_parses_prints_as_what_parses_to_the_same(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("{ }"), Just("("), Just(")"), Just(".a"), Just("span.b"), Just("="), Just("!="), Just("=~"),
        Just("&&"), Just("||"), Just("!"), Just("-"), Just("1"), Just("1.5"), Just("5ms"), Just("\"x\""), Just("nil"), Just("true"),
        Just("status"), Just("error"), Just("duration"), Just("|"), Just("select(.a)"), Just(","), Just("+"), Just("nestedSetParent"),
        Just(">>"), Just("!~"), Just("count() > 1"), Just("by(.a)"), Just("rate()"), Just("topk(2)"), Just("avg(.a)"), Just(">"),
    ], 0..24)) {
        let query = words.join(" ");
        if let Ok(parsed) = parse_unchecked(&query) {
            let printed = parsed.to_string();
            let again = parse_unchecked(&printed);
            prop_assert_eq!(again.map(|q| q.to_string()), Ok(printed), "{}", query);
            if let Some(plan) = parse(&query).ok().and_then(|q| Plan::new(&q)) {
                let _ = plan.predicate();
            }
        }
    }
}
