//! Parsing and evaluating, on the contract's in-memory model.

use std::sync::atomic::AtomicBool;

use model::{Attr, Group, Log, SpanId, Tenant, TimeRange, TraceId, Value};
use proptest::prelude::*;
use store::memory::Memory;
use wire::LogSink;

use crate::{
    Deletions, Direction, EvalError, Expr, Grid, LabelSet, Line, Metric, Question, Tally, lines, metric, parse, parse_matchers,
};

const SECOND: i64 = 1_000_000_000;

/// Labels and lines of a stream.
type Stream<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// Streams of lines; line `n` of each comes at second `n`.
fn store(streams: &[Stream<'_>]) -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (labels, lines) in streams {
        sink.group(&Group { labels, ..Group::default() });
        for (i, line) in lines.iter().enumerate() {
            sink.log(&log(i as i64 * SECOND, line, &[]));
        }
    }
    drop(sink);
    store
}

fn log<'a>(time: i64, line: &'a str, attributes: &'a [Attr<'a>]) -> Log<'a> {
    Log {
        time,
        observed: 0,
        severity_number: 0,
        severity_text: "",
        body: Value::Str(line),
        event_name: "",
        trace_id: TraceId::NONE,
        span_id: SpanId::NONE,
        flags: 0,
        attributes,
        dropped_attributes: 0,
    }
}

fn ask<T>(store: &Memory, f: impl FnOnce(&Question<'_>) -> T) -> T {
    let (view, tenant, cancelled, tally) = (store.view(), Tenant::default(), AtomicBool::new(false), Tally::default());
    let (reader, tenant, cancelled, tally) = (&view, &tenant, &cancelled, &tally);
    f(&Question {
        reader,
        tenant,
        max_lines: 1000,
        max_label_bytes: 1 << 20,
        max_value_bytes: 1 << 20,
        discover_levels: false,
        cancelled,
        tally,
    })
}

fn read(store: &Memory, query: &str, direction: Direction, limit: usize) -> Vec<Line> {
    let Ok(Expr::Log(log)) = parse(query) else { panic!("{query}: {:?}", parse(query)) };
    ask(store, |q| lines(q, &log, TimeRange::ALL, direction, limit)).unwrap_or_else(|e| panic!("{query}: {e}"))
}

fn sample() -> Memory {
    store(&[
        (&[("app", "a"), ("env", "prod")], &["GET /one 200", "GET /two 500", "POST /one 200", "weird \"quoted\" [x]"]),
        (&[("app", "b")], &["other one", "other TWO"]),
    ])
}

#[test]
fn selectors_and_line_filters_choose_lines() {
    let store = sample();
    let cases: &[(&str, &[&str])] = &[
        (r#"{app="b"}"#, &["other one", "other TWO"]),
        (r#"{app=~"a|b"} |= "one""#, &["GET /one 200", "other one", "POST /one 200"]),
        (r#"{app!="a", app!=""}"#, &["other one", "other TWO"]),
        (r#"{app=~".+", env=""}"#, &["other one", "other TWO"]),
        (r#"{app=~".+", env!="prod"}"#, &["other one", "other TWO"]),
        (r#"{app=~".+", env!~"dev"} |= "other""#, &["other one", "other TWO"]),
        (r#"{app=~".+", env=~"prod|"} |= "other""#, &["other one", "other TWO"]),
        (r#"{app="a"} |= "one" != "POST""#, &["GET /one 200"]),
        (r#"{app="a"} |= "two" or "POST""#, &["GET /two 500", "POST /one 200"]),
        (r#"{app="a"} != "two" or "POST""#, &["GET /one 200", "weird \"quoted\" [x]"]),
        (r#"{app="a"} |~ "5.0$""#, &["GET /two 500"]),
        (r#"{app="a"} !~ `/(one|two)`"#, &["weird \"quoted\" [x]"]),
        (r#"{app="a"} |= `"quoted" [x`"#, &["weird \"quoted\" [x]"]),
        (r#"{app="a"} |= "\"quoted\"""#, &["weird \"quoted\" [x]"]),
        (r#"{app="b"} |= """#, &["other one", "other TWO"]),
        (r#"{app="b"} |~ "(?i)two" # a comment"#, &["other TWO"]),
        // Patterns are anchored in selectors, not in filters.
        (r#"{app=~"."} |~ "TW""#, &["other TWO"]),
        (r#"{env=~"pro"}"#, &[]),
    ];
    for (query, expected) in cases {
        let texts: Vec<String> = read(&store, query, Direction::Forward, 100).into_iter().map(|l| l.text).collect();
        assert_eq!(texts, *expected, "{query}");
    }
}

#[test]
fn the_limit_keeps_the_first_lines_of_the_direction() {
    let store = sample();
    let texts = |direction, limit| {
        read(&store, r#"{app="a"}"#, direction, limit).into_iter().map(|l| l.time / SECOND).collect::<Vec<_>>()
    };
    assert_eq!(texts(Direction::Forward, 2), [0, 1]);
    assert_eq!(texts(Direction::Backward, 2), [3, 2]);
}

#[test]
fn metadata_is_what_is_known_besides_the_stream() {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    let resource = [Attr { key: "service.name", value: Value::Str("shop") }, Attr { key: "host.name", value: Value::Str("h1") }];
    sink.group(&Group { resource: &resource, scope_name: "lib", labels: &[("service_name", "shop")], ..Group::default() });
    let attributes = [Attr { key: "http.code", value: Value::Int(200) }, Attr { key: "service_name", value: Value::Str("x") }];
    sink.log(&Log { trace_id: TraceId([1; 16]), severity_number: 9, severity_text: "INFO", ..log(5, "hello", &attributes) });
    drop(sink);
    let found = read(&store, r#"{service_name="shop"}"#, Direction::Forward, 10);
    assert_eq!(found[0].stream.to_string(), r#"{service_name="shop"}"#);
    assert_eq!(
        found[0].labels(),
        LabelSet::from_pairs([
            ("service_name", "shop"),
            ("service_name_extracted", "x"),
            ("host_name", "h1"),
            ("http_code", "200"),
            ("scope_name", "lib"),
            ("severity_number", "9"),
            ("severity_text", "INFO"),
            ("trace_id", "01010101010101010101010101010101"),
        ])
    );
    let dropped = read(&store, r#"{service_name="shop"} | drop host_name, trace_id | keep http_code"#, Direction::Forward, 10);
    assert_eq!(dropped[0].labels(), LabelSet::from_pairs([("http_code", "200")]));
}

#[test]
fn metric_queries_count_lines_of_a_range_whose_far_end_is_open() {
    let store = sample();
    let run = |query: &str, start: i64, end: i64| {
        let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        let grid = Grid { start: start * SECOND, end: end * SECOND, step: SECOND };
        match ask(&store, |q| metric(q, &expr, grid)).unwrap_or_else(|e| panic!("{query}: {e}")) {
            Metric::Scalar(values) => vec![format!("{values:?}")],
            Metric::Series(series) => series
                .into_iter()
                .map(|(l, v)| {
                    let values: Vec<String> = v.iter().map(|v| v.map_or("-".to_owned(), |v| v.to_string())).collect();
                    format!("{l} {}", values.join(" "))
                })
                .collect(),
        }
    };
    let cases: &[(&str, &[&str])] = &[
        (r#"count_over_time({app="a"}[2s])"#, &[r#"{app="a", env="prod"} 1 2 2 2 1 -"#]),
        (r#"count_over_time({app="a"} |= "one" [2s])"#, &[r#"{app="a", env="prod"} 1 1 1 1 - -"#]),
        (r#"rate({app="b"}[2s])"#, &[r#"{app="b"} 0.5 1 0.5 - - -"#]),
        (r#"bytes_over_time({app="b"}[1s])"#, &[r#"{app="b"} 9 9 - - - -"#]),
        (r#"SUM(count_over_time({app=~"a|b"}[1s]))"#, &["{} 2 2 1 1 - -"]),
        (r#"sum by (app) (count_over_time({app=~"a|b"} | drop env [1s])) > 1"#, &[]),
        (r#"max without (env) (count_over_time({app="a"}[3s]))"#, &[r#"{app="a"} 1 2 3 3 2 1"#]),
        (r#"count_over_time({app="b"}[1s] offset 1s)"#, &[r#"{app="b"} - 1 1 - - -"#]),
        (r#"count_over_time({app="b"}[1s]) * 2 + 1"#, &[r#"{app="b"} 3 3 - - - -"#]),
        (r#"absent_over_time({app="b"}[1s])"#, &[r#"{app="b"} - - 1 1 1 1"#]),
        ("vector(1)+vector(1)", &["{} 2 2 2 2 2 2"]),
        ("1 + 2 * 3", &["[7.0, 7.0, 7.0, 7.0, 7.0, 7.0]"]),
        (r#"vector(0) or count_over_time({app="b"}[1s])"#, &["{} 0 0 0 0 0 0", r#"{app="b"} 1 1 - - - -"#]),
    ];
    for (query, expected) in cases {
        assert_eq!(run(query, 0, 5), *expected, "{query}");
    }
    let Ok(expr) = parse(r#"count_over_time({app="a"}[1h])"#) else { panic!("valid") };
    let (view, tenant, cancelled, tally) = (store.view(), Tenant::default(), AtomicBool::new(false), Tally::default());
    let (reader, tenant, cancelled, tally) = (&view, &tenant, &cancelled, &tally);
    let question = Question {
        reader,
        tenant,
        max_lines: 3,
        max_label_bytes: 1 << 20,
        max_value_bytes: 1 << 20,
        discover_levels: false,
        cancelled,
        tally,
    };
    let result = metric(&question, &expr, Grid { start: 10 * SECOND, end: 10 * SECOND, step: 1 });
    assert!(matches!(result, Err(EvalError::TooManyLines(3))), "{result:?}");
    // Room for eleven values: one series of six steps has it, two have not.
    let question = Question { max_lines: 1000, max_value_bytes: 11 * 16, ..question };
    let six = Grid { start: 0, end: 5 * SECOND, step: SECOND };
    for (query, fits) in [
        (r#"sum(count_over_time({app=~"a|b"} [1h]))"#, true),
        (r#"sum by (app) (count_over_time({app=~"a|b"} [1h]))"#, false),
        (r#"avg_over_time({app=~"a|b"} | label_format n="1" | unwrap n [1h])"#, false),
    ] {
        let Ok(expr) = parse(query) else { panic!("valid") };
        match metric(&question, &expr, six) {
            Ok(_) => assert!(fits, "{query}"),
            Err(EvalError::TooMuchMemory(why)) => {
                assert!(!fits && why.contains("more than 11 values (2 series, 6 steps)"), "{why}")
            }
            Err(e) => panic!("{query}: {e}"),
        }
    }
}

#[test]
fn templates_that_grow_in_every_line_are_refused() {
    let lines_of = |count: usize| -> Vec<String> { (0..count).map(|n| format!("a=b n={n}")).collect() };
    let texts = lines_of(600);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let store = store(&[(&[("app", "a")], &texts)]);
    let doubled = format!(r#"{{app="a"}} | logfmt {}| drop a"#, r#"| label_format a="{{.a}}{{.a}}" "#.repeat(40));
    let usual = format!(r#"{{app="a"}} | logfmt {}"#, r#"| line_format "{{.a}} {{.n}} {{__line__}}" "#.repeat(8));
    for (query, counted) in [(&doubled, false), (&doubled, true), (&usual, false), (&usual, true)] {
        let text = if counted { format!("sum(count_over_time({query} [1h]))") } else { query.clone() };
        let grid = Grid { start: 3600 * SECOND, end: 3600 * SECOND, step: 1 };
        let result = ask(&store, |q| match parse(&text) {
            Ok(Expr::Log(log)) => lines(q, &log, TimeRange::ALL, Direction::Forward, 1000).map(|_| ()),
            Ok(expr) => metric(q, &expr, grid).map(|_| ()),
            Err(e) => panic!("{text}: {e}"),
        });
        match result {
            Ok(()) => assert!(*query == usual, "{text}"),
            Err(EvalError::TooMuchWork(why)) => assert!(*query == doubled && why.contains("2000 steps a line"), "{why}"),
            Err(e) => panic!("{text}: {e}"),
        }
    }
    // A tail has the same bound.
    let arriving = crate::Arriving::new(&Group { labels: &[("app", "a")], ..Group::default() }, false);
    for query in [&doubled, &usual] {
        let Ok(Expr::Log(parsed)) = parse(query) else { panic!("{query}") };
        let mut tail = crate::Tail::new(&parsed).expect("a pipeline");
        let failed = texts.iter().find_map(|text| tail.line(&arriving.line(&log(0, text, &[]))).err());
        assert_eq!(matches!(failed, Some(EvalError::TooMuchWork(_))), *query == doubled, "{failed:?}");
    }
}

#[test]
fn pipelines_parse_filter_and_format() {
    let store = store(&[
        (
            &[("app", "a")],
            &[
                r#"{"level":"error","status":500,"took":"1.5s","user":{"id":7}}"#,
                r#"{"level":"info","status":200,"took":"20ms","user":{"id":8}}"#,
                "no json",
            ],
        ),
        (&[("app", "b")], &["level=warn size=2KB app=x", "src=10.1.2.3 level=info"]),
    ]);
    let cases: &[(&str, &[&str])] = &[
        (r#"{app="a"} | json | status >= 500 | line_format "{{.level}} {{.user_id}}""#, &["error 7"]),
        (r#"{app="a"} | json | took > 1s or level="info" | line_format "{{.took}}""#, &["1.5s", "20ms"]),
        (r#"{app="a"} | json | __error__!="" | line_format "{{.__error__}}""#, &["JSONParserErr"]),
        (r#"{app="a"} | json id="user.id" | id="8" | keep id | line_format "{{.id}}{{.level}}""#, &["8"]),
        (r#"{app="b"} | logfmt | size > 1KB | line_format "{{.app}} {{.app_extracted}}""#, &["b x"]),
        (r#"{app="b"} | logfmt | src=ip("10.0.0.0/8") | line_format "in""#, &["in"]),
        (r#"{app="b"} |= ip("10.1.0.0/16") | pattern "src=<ip> <_>" | line_format "{{.ip}}""#, &["10.1.2.3"]),
        (
            r#"{app="b"} | regexp "level=(?P<l>\\w+)" | label_format m="{{.l | ToUpper}}" | drop l | line_format "{{.m}}{{.l}}""#,
            &["WARN", "INFO"],
        ),
        (r#"{app="b"} |> "level=<_>" "#, &["level=warn size=2KB app=x", "src=10.1.2.3 level=info"]),
        (r#"{app="a"} | line_format `{{if hasPrefix "no" __line__}}yes{{end}}` |= "yes""#, &["yes"]),
    ];
    for (query, expected) in cases {
        let texts: Vec<String> = read(&store, query, Direction::Forward, 100).into_iter().map(|l| l.text).collect();
        assert_eq!(texts, *expected, "{query}");
    }
}

#[test]
fn an_error_of_the_pipeline_fails_a_metric_query_unless_it_is_filtered() {
    let store = store(&[(&[("app", "a")], &[r#"{"v":1}"#, r#"{"v":2}"#, "no json"])]);
    let run = |query: &str| {
        let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        ask(&store, |q| metric(q, &expr, Grid { start: 3 * SECOND, end: 3 * SECOND, step: SECOND }))
    };
    assert!(run(r#"count_over_time({app="a"} | json [5s])"#).is_err_and(|e| e.to_string().contains("JSONParserErr")));
    let one = |value: f64| Metric::Series(vec![(LabelSet::from_pairs([("app", "a")]), vec![Some(value)])]);
    assert_eq!(run(r#"sum_over_time({app="a"} | json | unwrap v | __error__="" [5s])"#).ok(), Some(one(3.0)));
    assert_eq!(run(r#"sum by (app) (count_over_time({app="a"} | json | __error__="" [5s]))"#).ok(), Some(one(2.0)));
    let max = run(r#"max(max_over_time({app="a"} | json | unwrap v [5s])) / 2"#);
    assert_eq!(max.ok(), Some(Metric::Series(vec![(LabelSet::default(), vec![Some(1.0)])])));
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let cases = [
        ("", "at line 1, col 1: syntax error: unexpected $end"),
        ("{", "at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
        (r#"{app="a"} |="#, "at line 1, col 13: syntax error: unexpected $end, expecting STRING or ip"),
        (r#"{app="a"} foo"#, "at line 1, col 11: syntax error: unexpected IDENTIFIER"),
        (r#"{app="a" |= "x"}"#, "at line 0, col 10: syntax error: unexpected |=, expecting } or ,"),
        ("{app=~\"a\" }\n| json |", "at line 2, col 9: syntax error: unexpected $end"),
        (r#"{app="a"} | (size > 1KB"#, "at line 1, col 24: syntax error: unexpected $end"),
        (r#"rate({app="a"})"#, "at line 1, col 15: syntax error: unexpected )"),
        (r#"topk(rate({app="a"}[5m]))"#, ": parameter required for operation topk"),
        (r#"{app="a"} |= "open"#, "at line 1, col 14: literal not terminated"),
        (r#"{app="a"} | pattern "x""#, ": invalid pattern parser: at least one capture is required"),
    ];
    for (query, message) in cases {
        assert_eq!(parse(query).expect_err(query).to_string(), format!("parse error {message}"), "{query}");
    }
    for query in [r#"{a=~".*"}"#, r#"{a!="x"}"#, r#"{a=""}"#] {
        assert!(parse(query).expect_err(query).message.starts_with("queries require at least one"), "{query}");
    }
    assert!(parse_matchers("{}").is_ok_and(|m| m.is_empty()));
    assert!(parse_matchers(r#"{a="b"} |= "x""#).is_err());
}

#[test]
fn deep_and_long_queries_are_refused() {
    for deep in
        ["(".repeat(50_000), "sum(".repeat(20_000), format!("1{}", "+1".repeat(50_000)), format!("1{}", "^1".repeat(50_000))]
    {
        assert!(parse(&deep).is_err());
    }
    assert!(parse(&" ".repeat(crate::MAX_QUERY + 1)).is_err());
}

/// A level that was found is a label like any other: it names series, and filters see it.
#[test]
fn levels_that_were_found_name_series() {
    let store =
        store(&[(&[("app", "a")], &["level=warn x", "an info", "an info too"]), (&[("app", "b"), ("level", "ERR")], &["z"])]);
    let count = |query: &str| {
        let expr = parse(query).expect("a query");
        let grid = Grid { start: 10 * SECOND, end: 10 * SECOND, step: 1 };
        let found = ask(&store, |q| metric(&Question { discover_levels: true, ..*q }, &expr, grid));
        let Ok(Metric::Series(series)) = found else { panic!("{query}: {found:?}") };
        series.iter().map(|(labels, values)| format!("{labels} {}", values[0].unwrap_or(0.0))).collect::<Vec<_>>()
    };
    assert_eq!(
        count(r#"sum by (detected_level) (count_over_time({app=~".+"}[1m]))"#),
        [r#"{detected_level="error"} 1"#, r#"{detected_level="info"} 2"#, r#"{detected_level="warn"} 1"#]
    );
    assert_eq!(count(r#"sum(count_over_time({app=~".+"} | detected_level="info" [1m]))"#), ["{} 2"]);
    assert_eq!(
        count(r#"count_over_time({app=~".+"} | detected_level!~"info|warn" [1m])"#),
        [r#"{app="b", detected_level="error", level="ERR"} 1"#]
    );
    assert_eq!(count(r#"sum by (app) (count_over_time({app="a"}[1m]))"#), [r#"{app="a"} 3"#]);
}

/// What a tail shows of lines that arrive is what a query shows of them later, levels included.
#[test]
fn a_tail_shows_what_a_query_shows() {
    let text = |key, value| Attr { key, value: Value::Str(value) };
    let nested = r#"{"kvlistValue":{"values":[{"key":"x.y","value":{"stringValue":"z"}},{"key":"n","value":{"intValue":"5"}}]}}"#;
    let resource = [text("service.name", "a"), text("host.name", "h"), text("level", "from the resource")];
    let labels: &[(&str, &str)] = &[("service_name", "a")];
    let attributes: Vec<Vec<Attr<'_>>> = vec![
        vec![text("k.1", "v"), text("1st", "w"), Attr { key: "m", value: Value::Nested(nested.into()) }],
        vec![text("severity", "WRN"), Attr { key: "d", value: Value::Double(1.5) }],
        vec![text("detected_level", "Information")],
        Vec::new(),
    ];
    let logs: Vec<Log<'_>> = attributes
        .iter()
        .enumerate()
        .map(|(i, attributes)| Log {
            observed: 7 + i as i64 * SECOND,
            severity_number: i as i32 * 8,
            severity_text: if i == 3 { "Fatal" } else { "" },
            trace_id: TraceId([i as u8; 16]),
            span_id: SpanId([i as u8; 8]),
            dropped_attributes: i as u32,
            body: [
                Value::Str("a line with err: in it"),
                Value::Bytes(b"hi".as_slice().into()),
                Value::Nested(nested.into()),
                Value::Int(5),
            ][i]
                .clone(),
            ..log(i as i64 * SECOND, "a line with err: in it", attributes)
        })
        .collect();
    for (resource, labels) in [(&resource[..], labels), (&[], &[("app", "b"), ("lvl", "dbg")]), (&[], &[("app", "b")])] {
        let group = Group { resource, labels, scope_name: "lib", ..Group::default() };
        let store = Memory::new();
        let mut sink = store.ingest(&Tenant::default());
        sink.group(&group);
        logs.iter().for_each(|log| sink.log(log));
        drop(sink);
        for query in [
            r#"{app="b"} | label_format q="{{.detected_level}}""#,
            r#"{service_name="a"} | detected_level =~ ".+""#,
            r#"{app="b"} | detected_level != "debug" | drop lvl"#,
        ] {
            let Ok(Expr::Log(parsed)) = parse(query) else { panic!("{query}") };
            let stored = ask(&store, |q| {
                let q = Question { discover_levels: true, ..*q };
                lines(&q, &parsed, TimeRange::ALL, Direction::Forward, 100)
            });
            let mut tail = crate::Tail::new(&parsed).expect("a pipeline");
            let arriving = crate::Arriving::new(&group, true);
            let wanted = tail.wants(arriving.stream());
            let live: Vec<Line> =
                logs.iter().filter(|_| wanted).filter_map(|log| tail.line(&arriving.line(log)).expect("little work")).collect();
            assert_eq!(live, stored.expect("lines"), "{query}");
        }
    }
    // What was found: from a label, the metadata, the severity, the line; the metadata's own is only spelt anew.
    let found = |labels| {
        let arriving = crate::Arriving::new(&Group { labels, ..Group::default() }, true);
        let Ok(Expr::Log(all)) = parse(r#"{app="b"}"#) else { panic!() };
        let mut tail = crate::Tail::new(&all).expect("no stages");
        let level = |log: &Log<'_>| {
            tail.line(&arriving.line(log)).ok()?.and_then(|l| l.metadata.get("detected_level").map(str::to_owned))
        };
        logs.iter().map(level).map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    assert_eq!(found(&[("app", "b"), ("lvl", "dbg")]), ["debug", "debug", "info", "debug"]);
    assert_eq!(found(&[("app", "b")]), ["error", "warn", "info", "fatal"]);
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,60}") {
        let _ = parse(&text);
        let _ = parse_matchers(&text);
    }

    #[test]
    fn any_row_of_words_parses_or_is_refused(words in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("app"), Just("="), Just("=~"), Just("!="), Just("\"a\""), Just("|="), Just("|~"), Just("|"),
        Just("or"), Just("("), Just(")"), Just("["), Just("]"), Just("5m"), Just("1"), Just("+"), Just("sum"), Just("by"),
        Just("rate"), Just("offset"), Just("json"), Just("unwrap"), Just("ip"), Just("line_format"), Just("drop"), Just(","), Just("vector"), Just("-"),
    ], 0..24)) {
        crate::invariants::query(&words.join(" "));
    }

    #[test]
    fn any_line_passes_any_pipeline(stages in proptest::collection::vec(prop_oneof![
        Just("| json"), Just("| json x=\"a[0].b\""), Just("| logfmt"), Just("| logfmt --strict --keep-empty"), Just("| unpack"),
        Just("| pattern \"<x>:<y>\""), Just("| regexp \"(?P<z>.)\""), Just("| line_format \"{{.a}}{{__line__}}\""),
        Just("| label_format c=a,d=\"{{.x}}\""), Just("| decolorize"), Just("| drop a"), Just("| keep x"), Just("| x > 1"),
        Just("|> \"<_>a<_>\""), Just("|= ip(\"::1\")"), Just("| a=ip(\"1.2.3.0/24\")"),
    ], 0..6), line in "[ -~{}\"=:é\u{1b}]{0,40}") {
        crate::invariants::pipeline(&format!("{}\n{line}", stages.join(" ")));
    }

    #[test]
    fn any_line_is_read_by_each_parser(which in 0..crate::invariants::PARSERS.len(), line in "[ -~{}\\[\\]\"=:,\\\\é\u{1b}]{0,60}") {
        crate::invariants::line_parser(which, &line);
        crate::invariants::found_in(&line);
    }

    #[test]
    fn any_template_is_built_or_refused(words in proptest::collection::vec(prop_oneof![
        Just("{{"), Just("}}"), Just(" "), Just("."), Just("a"), Just("__line__"), Just("repeat 5"), Just("|"), Just("upper"), Just("if"),
        Just("range"), Just("end"), Just("else"), Just("$x"), Just(":="), Just("\"s\""), Just("regexReplaceAll"), Just("("), Just(")"),
        Just("fromJson"), Just("trunc -3"), Just("substr 9 1"), Just("alignLeft 7"), Just("date"), Just("toDateInZone"), Just("unixEpoch"),
    ], 0..14)) {
        crate::invariants::line_template(&words.concat(), "a=5 {\"x\":[1,2]}");
    }
}

#[test]
fn a_deletion_takes_the_lines_that_its_query_finds_and_no_other() {
    use store::{Deletion, Doomed, Writer};
    let lines: &[&str] = &[
        r#"{"status":500,"who":"a","deep":{"er":1}}"#,
        r#"{"status":"500","who":"b"}"#,
        r#"{"status":200}"#,
        "{broken",
        "status=500 who=c",
        "GET /one 500 7ms",
        "\u{1b}[31mred\u{1b}[0m",
        "ip 10.1.2.3",
        "",
    ];
    let filled = || store(&[(&[("app", "x")], lines), (&[("app", "x"), ("status", "200")], lines), (&[("app", "y")], lines)]);
    let all = || read(&filled(), r#"{app=~".+"}"#, Direction::Forward, 1000);
    for query in [
        r#"{app="x"}"#,
        r#"{app="x"} |= "500""#,
        r#"{app="x"} | json"#,
        r#"{app="x"} | json | status="500""#,
        r#"{app="x"} | json | status >= 300"#,
        r#"{app="x"} | json | __error__ != """#,
        r#"{app="x"} | json deep="deep.er" | deep="1""#,
        r#"{app="x"} |= "5" | logfmt | status=500 != "b""#,
        r#"{app="x"} | logfmt --strict | __error__="" or who="c""#,
        r#"{app="x"} | pattern `<method> <path> <code> <_>` | code="500""#,
        r#"{app="x"} | regexp `(?P<took>\d+ms)` | took > 5ms"#,
        r#"{app="x"} | decolorize |= "mred""#,
        r#"{app="x"} | decolorize |~ "^red$""#,
        r#"{app="x"} |= ip("10.0.0.0/8")"#,
        r#"{app="x"} |> "<_> 10.<_>""#,
        r#"{app="x"} | json | drop status | status="500""#,
        r#"{app="x"} | status="200""#,
        r#"{app=~"x|y"} | json | status_extracted="500""#,
    ] {
        let store = filled();
        let found = read(&store, query, Direction::Forward, 1000);
        let which = Deletions::default().parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        // As a process that starts anew reads it.
        let kept = serde_json::to_string(&Doomed::Lines(which)).expect("it can be kept");
        let mut doomed: Doomed = serde_json::from_str(&kept).expect("it can be read");
        doomed.read(&Deletions::default()).unwrap_or_else(|e| panic!("{query}: {e}"));
        let (tenant, delay) = (Tenant::default(), std::time::Duration::ZERO);
        let deletion = Deletion { tenant, range: TimeRange::ALL, doomed, words: query.to_owned(), delay };
        store.delete(deletion).unwrap_or_else(|e| panic!("{query}: {e}"));
        let left = read(&store, r#"{app=~".+"}"#, Direction::Forward, 1000);
        assert_eq!(left.len() + found.len(), all().len(), "{query}");
        assert!(read(&store, query, Direction::Forward, 1000).is_empty(), "{query}");
    }
    for (query, why) in [
        ("{app=\"x\"} | line_format \"{{now}}\"", "line_format"),
        ("{app=\"x\"} | label_format a=b", "label_format"),
        ("count_over_time({app=\"x\"}[1m])", "metric query"),
        ("{", "syntax error"),
    ] {
        let refused = Deletions::default().parse(query).expect_err(query);
        assert!(refused.contains(why), "{query}: {refused}");
    }
}
