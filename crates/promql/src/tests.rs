//! Parsing and evaluating, on the contract's in-memory model.

use std::sync::atomic::AtomicBool;

use model::{Labels, STALE_NAN_BITS, Tenant};
use proptest::prelude::*;
use store::memory::Memory;
use wire::{RawLabels, SampleSink};

use crate::{
    Answer, EvalError, Grid, Limits, Options, Outcome, Points, Question, Sample, Syntax, instant, parse, parse_with, range,
};

/// Labels and samples of a series.
type Series<'a> = (&'a [(&'a str, &'a str)], &'a [Option<f64>]);

/// A store of series; samples stand one minute apart from 0 on, `None` for no sample.
fn store(series: &[Series<'_>]) -> Memory {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (i, (labels, values)) in series.iter().enumerate() {
        let labels = Labels::from_pairs(labels.iter().copied());
        let pairs: Vec<_> = labels.iter().collect();
        SampleSink::series(&mut sink, RawLabels::from_pairs(&[i as u8], &pairs));
        for (minute, value) in values.iter().enumerate() {
            if let Some(value) = value {
                sink.sample(minute as i64 * 60_000, *value);
            }
        }
    }
    drop(sink);
    store
}

fn ask<T>(store: &Memory, f: impl FnOnce(&Question<'_>) -> T) -> T {
    let (view, tenant, cancelled) = (store.view(), Tenant::default(), AtomicBool::new(false));
    let options = Options::default();
    f(&Question {
        reader: &view,
        tenant: &tenant,
        lookback_ms: 300_000,
        limits: Limits::default(),
        cancelled: &cancelled,
        options,
        stats: false,
    })
}

fn at(store: &Memory, minute: i64, query: &str) -> Result<Outcome, EvalError> {
    let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    ask(store, |q| instant(q, query, &expr, minute * 60_000))
}

fn show(answer: &Answer) -> Vec<String> {
    match answer {
        Answer::Scalar(v) => vec![crate::number(*v)],
        Answer::Text(t) => vec![t.clone()],
        Answer::Vector(vector) => {
            let value = |v: &Sample| match v {
                Sample::Float(v) => crate::number(*v),
                Sample::Histogram(h) => h.to_string(),
            };
            vector.iter().map(|(l, v)| format!("{l} {}", value(v))).collect()
        }
        Answer::Matrix(matrix) => {
            let points = |p: &Points| {
                let points: Vec<_> = p.floats.iter().map(|(t, v)| format!("{}@{}", crate::number(*v), t / 60_000)).collect();
                points.join(" ")
            };
            matrix.iter().map(|(l, p)| format!("{l} {}", points(p))).collect()
        }
    }
}

#[test]
fn what_is_promql_parses_and_what_is_not_is_refused_where_it_is_wrong() {
    let good = [
        "1",
        "-1 ^ 2",
        "0x1f + 1e3 + .5 + Inf - nan",
        "5m",
        "up",
        "sum",
        "a:b:c",
        r#"{"http.requests"}"#,
        r#"{"http.requests", job=~"a|b", "quoted label"!="x"}"#,
        r#"up{job="a",}"#,
        "up[5m] offset -1h30m @ 123.4",
        "up @ start() offset 5m",
        "rate(up[300])",
        "sum by (job, instance) (rate(up[5m])) / on (job) group_left (team) b",
        "topk(5, up) without (instance)",
        "a and on () b or c unless ignoring (x) d",
        "a > bool 0",
        "max_over_time(rate(up[5m])[1h:1m])",
        "\"text\" # a comment",
        "label_replace(up, \"a\", \"$1\", \"b\", '(.*)')",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
    ];
    for query in good {
        assert!(parse(query).is_ok(), "{query}: {:?}", parse(query).err());
    }
    let bad = [
        ("", "unknown position: parse error: no expression found in input"),
        ("up{", "1:4: parse error: unexpected end of input inside braces"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
        ("1 +\n  *", "2:3: parse error: unexpected <op:*>"),
        ("1 > 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("1 and 2", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("rate(up)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("rate(up[5m], 1)", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 2"),
        ("nope(up)", "1:1: parse error: unknown function with name \"nope\""),
        ("sum(up, 1)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2"),
        ("up[5m1h]", "1:4: parse error: not a valid duration string: \"5m1h\""),
        ("up[0s]", "1:4: parse error: duration must be greater than 0"),
        ("up offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("(a + b)[5m]", "1:8: parse error: ranges only allowed for vector selectors"),
        ("\"open", "1:1: parse error: unterminated quoted string"),
        ("a on b", "1:3: parse error: unexpected <on>"),
        ("up{a=~\"(\"}", "1:4: parse error: error parsing regexp: missing closing ): `^(?s:()$`"),
        ("up{a=~\"a**\"}", "1:4: parse error: error parsing regexp: invalid nested repetition operator: `**`"),
    ];
    let mut wrong = Vec::new();
    for (query, error) in bad {
        let got = parse(query).expect_err(query).to_string();
        if got != error {
            wrong.push(format!("{query}: {got}, not {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn instant_queries_follow_prometheus() {
    let n = |values: &[f64]| values.iter().map(|v| Some(*v)).collect::<Vec<_>>();
    let counter = n(&[0.0, 60.0, 120.0, 30.0, 90.0, 150.0]);
    let store = store(&[
        (&[("__name__", "c_total"), ("job", "a"), ("i", "1")], &counter),
        (&[("__name__", "c_total"), ("job", "a"), ("i", "2")], &n(&[0.0, 120.0, 240.0, 360.0, 480.0, 600.0])),
        (&[("__name__", "c_total"), ("job", "b"), ("i", "1")], &n(&[5.0, 5.0, 5.0, 5.0, 5.0, 5.0])),
        (&[("__name__", "g"), ("job", "a")], &n(&[1.0, 2.0, 3.0, f64::NAN, 5.0, -6.0])),
        (&[("__name__", "h_bucket"), ("le", "0.1")], &n(&[0.0, 6.0])),
        (&[("__name__", "h_bucket"), ("le", "1")], &n(&[0.0, 12.0])),
        (&[("__name__", "h_bucket"), ("le", "+Inf")], &n(&[0.0, 12.0])),
        (&[("__name__", "same"), ("job", "a")], &n(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
        (&[("__name__", "gone")], &[Some(1.0), Some(f64::from_bits(STALE_NAN_BITS))]),
        (&[("__name__", "team"), ("job", "a"), ("team", "x")], &n(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0])),
    ]);
    let cases: &[(i64, &str, &[&str])] = &[
        (5, "1 + 2 * 3 ^ 2", &["19"]),
        (5, "-2 ^ 2", &["-4"]),
        (5, "time()", &["300"]),
        (5, r#"g"#, &[r#"{__name__="g", job="a"} -6"#]),
        // Looks back five minutes, the far end left out.
        (9, "g", &[r#"{__name__="g", job="a"} -6"#]),
        (10, "g", &[]),
        // A staleness marker ends a series at once.
        (0, "gone", &[r#"{__name__="gone"} 1"#]),
        (1, "gone", &[]),
        (1, "count_over_time(gone[5m])", &["{} 1"]),
        (5, "g offset 1m", &[r#"{__name__="g", job="a"} 5"#]),
        (5, "g @ 120", &[r#"{__name__="g", job="a"} 3"#]),
        // The far end of a range is left out: four samples, three of them increases.
        (5, r#"increase(c_total{i="2"}[4m])"#, &[r#"{i="2", job="a"} 480"#]),
        // A fall is a reset; the counter cannot have been below zero before the range.
        (5, r#"increase(c_total{job="a", i="1"}[5m])"#, &[r#"{i="1", job="a"} 262.5"#]),
        (5, r#"rate(c_total{i="2"}[5m])"#, &[r#"{i="2", job="a"} 2"#]),
        (5, r#"irate(c_total{i="2"}[4m])"#, &[r#"{i="2", job="a"} 2"#]),
        (5, "rate(g[30s])", &[]),
        (5, "sum by (job) (rate(c_total{i=\"2\"}[5m]))", &[r#"{job="a"} 2"#]),
        (5, "sum(c_total)", &["{} 755"]),
        (5, "avg without (i) (c_total)", &[r#"{job="a"} 375"#, r#"{job="b"} 5"#]),
        (5, "count by (job) (c_total) > 1", &[r#"{job="a"} 2"#]),
        (5, "min(c_total) - max(c_total)", &["{} -595"]),
        (5, "topk(1, c_total)", &[r#"{__name__="c_total", i="2", job="a"} 600"#]),
        (5, "c_total * 2 > 1000", &[r#"{i="2", job="a"} 1200"#]),
        (5, "c_total > 500", &[r#"{__name__="c_total", i="2", job="a"} 600"#]),
        (5, r#"c_total{job="b"} == bool 5"#, &[r#"{i="1", job="b"} 1"#]),
        (5, "g + on (job) team", &[r#"{job="a"} -5"#]),
        (5, "sum by (job) (c_total) * ignoring (team) team", &[r#"{job="a"} 750"#]),
        (
            5,
            r#"c_total{job="a"} * on (job) group_left (team) team"#,
            &[r#"{i="1", job="a", team="x"} 150"#, r#"{i="2", job="a", team="x"} 600"#],
        ),
        (5, "g and on (job) team", &[r#"{__name__="g", job="a"} -6"#]),
        (5, "g unless on (job) team", &[]),
        (5, "absent(nothing{a=\"b\"})", &[r#"{a="b"} 1"#]),
        (5, "scalar(g) + 1", &["-5"]),
        (5, "vector(1) + 1", &["{} 2"]),
        (3, "g", &[r#"{__name__="g", job="a"} NaN"#]),
        (3, "g == g", &[]),
        (1, "histogram_quantile(0.5, h_bucket)", &["{} 0.1"]),
        (1, "histogram_quantile(0.75, h_bucket)", &["{} 0.55"]),
        (5, r#"label_replace(g, "x", "$1-y", "job", "(.*)")"#, &[r#"{__name__="g", job="a", x="a-y"} -6"#]),
        (5, "max_over_time(g[2m:1m])", &[r#"{job="a"} 5"#]),
        (5, "clamp(g, 0, 1)", &[r#"{job="a"} 0"#]),
        (2, "g[2m]", &[r#"{__name__="g", job="a"} 2@1 3@2"#]),
    ];
    for (minute, query, expected) in cases {
        let outcome = at(&store, *minute, query).unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!(show(&outcome.answer), *expected, "{query} at minute {minute}");
    }
    let failures = [
        ("c_total * on (job) c_total", "found duplicate series for the match group {job=\"a\"} on the right hand-side"),
        ("c_total * on (job) team", "multiple matches for labels: many-to-one matching must be explicit"),
        ("abs({__name__=~\"g|same\"})", "same labelset"),
        (
            "max_over_time(g[5m] smoothed)",
            "smoothed modifier can only be used with: delta, increase, rate - not with max_over_time",
        ),
    ];
    for (query, error) in failures {
        let message = at(&store, 5, query).expect_err(query).to_string();
        assert!(message.contains(error), "{query}: {message}");
    }
    let noted = at(&store, 5, "rate(g[5m])").expect("evaluates");
    assert_eq!(noted.infos.len(), 1);
    assert!(noted.infos[0].ends_with("\"g\" (1:6)"), "{:?}", noted.infos);
}

#[test]
fn range_queries_give_each_step_its_own_value() {
    let store = store(&[
        (&[("__name__", "g"), ("i", "1")], &[Some(1.0), Some(2.0), Some(f64::from_bits(STALE_NAN_BITS)), Some(4.0)]),
        (&[("__name__", "g"), ("i", "2")], &[None, Some(10.0), Some(20.0), None]),
    ]);
    let run = |query: &str| {
        let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        let grid = Grid { start: 0, end: 180_000, step: 60_000 };
        show(&ask(&store, |q| range(q, query, &expr, grid)).unwrap_or_else(|e| panic!("{query}: {e}")).answer)
    };
    assert_eq!(run("g"), [r#"{__name__="g", i="1"} 1@0 2@1 4@3"#, r#"{__name__="g", i="2"} 10@1 20@2 20@3"#]);
    assert_eq!(run("sum(g)"), ["{} 1@0 12@1 20@2 24@3"]);
    assert_eq!(run("1"), ["{} 1@0 1@1 1@2 1@3"]);
    assert_eq!(run("g @ end() > 4"), [r#"{__name__="g", i="2"} 20@0 20@1 20@2 20@3"#]);
    assert_eq!(run("count_over_time(g[2m])"), [r#"{i="1"} 1@0 2@1 1@2 1@3"#, r#"{i="2"} 1@1 2@2 1@3"#]);
}

#[test]
fn a_query_keeps_to_its_bounds() {
    let store = store(&[(&[("__name__", "g")], &[Some(1.0)])]);
    let expr = parse("g").expect("valid");
    let (view, tenant) = (store.view(), Tenant::default());
    let with = |cancelled: bool, limits: Limits| {
        let cancelled = AtomicBool::new(cancelled);
        let options = Options::default();
        let question = Question {
            reader: &view,
            tenant: &tenant,
            lookback_ms: 300_000,
            limits,
            cancelled: &cancelled,
            options,
            stats: false,
        };
        range(&question, "g", &expr, Grid { start: 0, end: 100, step: 1 })
    };
    let limits = Limits::default();
    assert!(matches!(with(false, Limits { samples: 100, ..limits }), Err(EvalError::TooManySamples)));
    assert!(matches!(with(true, limits), Err(EvalError::Cancelled)));
    assert!(with(false, Limits { samples: 101, ..limits }).is_ok());
    assert!(matches!(with(false, Limits { series: 0, ..limits }), Err(EvalError::TooManySeries { count: 1, limit: 0 })));
    assert!(matches!(with(false, Limits { bytes: 1000, ..limits }), Err(EvalError::TooMuchMemory { limit: 1000 })));
}

#[test]
fn subqueries_are_bounded_before_they_are_worked_off() {
    let minutes = [Some(1.0); 121];
    let names: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let labels: Vec<[(&str, &str); 2]> = names.iter().map(|i| [("__name__", "g"), ("i", i.as_str())]).collect();
    let series: Vec<Series<'_>> = labels.iter().map(|l| (&l[..], &minutes[..])).collect();
    let store = store(&series);
    let with = |query: &str, limits: Limits| {
        let expr = parse(query).expect("valid");
        let grid = Grid { start: 3_600_000, end: 7_200_000, step: 36_000 };
        ask(&store, |q| range(&Question { limits, ..*q }, query, &expr, grid)).map(|outcome| show(&outcome.answer).len())
    };
    let limits = Limits::default();
    // Two hours of seconds: 24 bytes each for one series at a time, and 16 for what computes them.
    let small = Limits { bytes: 500_000, ..limits };
    let nested = "sum(max_over_time(max_over_time(g[1m:1s])[1h:1s]))";
    for query in ["sum(max_over_time(g[1h:1s]))", nested] {
        assert!(matches!(with(query, Limits { bytes: 250_000, ..limits }), Err(EvalError::TooMuchMemory { .. })), "{query}");
    }
    // Twenty series take no more than one.
    assert_eq!(with("sum(max_over_time(g[1h:1s]))", small).expect("it fits"), 1);
    assert!(matches!(with("sum(max_over_time((g + 1)[1h:1s]))", small), Err(EvalError::TooMuchMemory { .. })));
    assert!(matches!(with(nested, small), Err(EvalError::TooMuchMemory { .. })), "both at once do not");
    assert_eq!(with(nested, Limits { bytes: 1_000_000, ..limits }).expect("it fits"), 1);
    // A hundred windows of an hour, of twenty series: 7.3 million samples, of which the median needs two nanoseconds each.
    let hasty = Limits { work: std::time::Duration::from_millis(10), ..limits };
    let median = "sum(quantile_over_time(0.5, g[1h:1s]))";
    assert!(matches!(with(median, hasty), Err(EvalError::TooMuchWork { .. })));
    assert_eq!(with(median, Limits { work: std::time::Duration::from_secs(1), ..limits }).expect("time enough"), 1);
    assert_eq!(with("sum(avg_over_time(g[1h:1s]))", hasty).expect("windows cost nothing"), 1);
    assert_eq!(with("quantile_over_time(0.5, g[5m])", hasty).expect("few samples"), 20);
}

#[test]
fn experiments_can_be_refused() {
    for (query, error) in [
        ("limitk(1, up)", "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions"),
        ("info(up)", "function \"info\" is not enabled"),
        ("up[2 * 5m]", "experimental duration expression is not enabled"),
        ("rate(up[5m] anchored)", "anchored modifier is experimental and not enabled"),
        ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
    ] {
        assert!(parse(query).is_ok(), "{query}");
        assert_eq!(parse_with(query, Syntax::STABLE).expect_err(query).message, error, "{query}");
    }
}

#[test]
fn expressions_print_as_the_reference_prints_them() {
    for (query, printed) in [
        ("sum(rate(x[5m]))by(a,b)", "sum by (a, b) (rate(x[5m]))"),
        ("sum without() (x)", "sum without () (x)"),
        ("a+on(b)group_left(c)d", "a + on (b) group_left (c) d"),
        ("a == bool ignoring (x) fill (0) b", "a == bool ignoring (x) fill (0) b"),
        ("x{a='b',c=~\"d.*\"}[90m:30s]offset -1h@1.5", "x{a=\"b\",c=~\"d.*\"}[1h30m:30s] @ 1.500 offset -1h"),
        ("{\"http.requests\",\"my label\"!=\"\"}", "{__name__=\"http.requests\",\"my label\"!=\"\"}"),
        ("-x ^ +2", "-x ^ 2"),
        ("count_values(\"a\\n\", x) > 5m", "count_values(\"a\\n\", x) > 5m"),
        ("rate(x[5m + step()] smoothed)", "rate(x[5m + step()] smoothed)"),
        ("1e3 + 0x10", "1000 + 16"),
    ] {
        assert_eq!(parse(query).unwrap_or_else(|e| panic!("{query}: {e}")).to_string(), printed, "{query}");
    }
    let long = format!("sum by (job) (rate({}{{a=\"b\"}}[5m])) / on (job) group_left () max(y)", "x".repeat(90));
    let pretty = parse(&long).expect("valid").pretty();
    assert_eq!(pretty.lines().count(), 7, "{pretty}");
    assert_eq!(parse(&pretty).expect("valid").to_string(), parse(&long).expect("valid").to_string());
}

#[test]
fn deep_and_long_queries_are_refused() {
    for deep in [
        "(".repeat(100_000),
        "-".repeat(100_000) + "1",
        "sum(".repeat(50_000),
        format!("1{}", "+1".repeat(50_000)),
        format!("1{}", "^1".repeat(50_000)),
        format!("up{}", "[5m:1m]".repeat(20_000)),
    ] {
        assert!(parse(&deep).is_err());
    }
    // The deepest ones that are read can be evaluated.
    let store = store(&[(&[("__name__", "up")], &[Some(1.0)])]);
    for (open, close) in [("(", ")"), ("-(", ")"), ("sum(", ")"), ("abs(", ")"), ("1+(", ")"), ("max_over_time(", "[5m:1m])")] {
        let nested = |depth: usize| format!("{}up{}", open.repeat(depth), close.repeat(depth));
        let deepest = (1..130).rev().map(nested).find(|query| parse(query).is_ok()).unwrap_or_default();
        assert!(at(&store, 0, &deepest).is_ok(), "{deepest}");
    }
    assert!(parse(&" ".repeat(crate::MAX_QUERY + 1)).is_err());
}

#[test]
fn numbers_print_as_go_prints_them() {
    for (value, text) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-17.0, "-17"),
        (0.1, "0.1"),
        (123_456.789, "123456.789"),
        (1e15, "1000000000000000"),
        (1.5e15, "1500000000000000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (0.000_001, "0.000001"),
        (0.000_000_12, "1.2e-07"),
        (5e-324, "5e-324"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "+Inf"),
        (f64::NEG_INFINITY, "-Inf"),
    ] {
        assert_eq!(crate::number(value), text);
    }
}

proptest! {
    #[test]
    fn a_number_reads_back_the_same(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        if value.is_finite() {
            let text = crate::number(value);
            prop_assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(bits));
            if (1e-6..1e21).contains(&value.abs()) {
                // As few digits; of two that are equally near Go takes the even one, Rust the larger.
                prop_assert_eq!(text.len(), value.to_string().len());
            }
        }
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_row_of_words_parses_or_is_refused(words in proptest::collection::vec(prop_oneof![
        Just("sum"), Just("rate"), Just("up"), Just("by"), Just("("), Just(")"), Just("{"), Just("}"), Just("["), Just("]"),
        Just("5m"), Just("1"), Just(":"), Just("offset"), Just("@"), Just("-"), Just("and"), Just("=~"), Just("\"a\""),
        Just("job"), Just(","), Just("anchored"), Just("fill"), Just("step"), Just("min_of"), Just("</"), Just("*"), Just("^"), Just("bool"), Just(">"), Just("on"), Just("group_left"), Just("start"),
    ], 0..24)) {
        let query = words.join(" ");
        if let Ok(expr) = parse(&query) {
            let printed = expr.to_string();
            assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("{query}: {printed}: {e}")).to_string(), printed);
            // What parses also evaluates, if to an error.
            let values = [Some(1.0), None, Some(5.0), Some(f64::NAN), Some(2.0)];
            let store = store(&[(&[("__name__", "up"), ("job", "a")], &values), (&[("__name__", "up"), ("job", "b")], &values)]);
            let limits = Limits { samples: 10_000, bytes: 1 << 20, threads: 2, ..Limits::default() };
            let _ = ask(&store, |q| instant(&Question { limits, ..*q }, &query, &expr, 180_000));
            let grid = Grid { start: 0, end: 400_000, step: 30_000 };
            let _ = ask(&store, |q| range(&Question { limits, ..*q }, &query, &expr, grid));
        }
    }
}

#[test]
fn what_a_query_reads_is_counted_by_step() {
    let minutes: Vec<Option<f64>> = (0..10).map(|i| Some(f64::from(i))).collect();
    let store = store(&[(&[("__name__", "a")], &minutes), (&[("__name__", "b")], &minutes)]);
    let grid = Grid { start: 300_000, end: 420_000, step: 60_000 };
    let count = |query: &str| {
        let expr = parse(query).expect("valid");
        let outcome = ask(&store, |q| range(&Question { stats: true, ..*q }, query, &expr, grid)).expect("answers");
        let stats = outcome.stats.expect("asked for");
        assert_eq!(stats.samples(), stats.steps.iter().map(|(_, n)| n).sum::<u64>());
        assert!(stats.peak > 0 && stats.total >= stats.sorting);
        stats.steps.into_iter().map(|(t, n)| (t / 60_000, n)).collect::<Vec<_>>()
    };
    assert_eq!(count("a"), [(5, 1), (6, 1), (7, 1)]);
    assert_eq!(count("a + b"), [(5, 2), (6, 2), (7, 2)]);
    // Windows are open on the left: three samples of three minutes.
    assert_eq!(count("rate(a[3m])"), [(5, 3), (6, 3), (7, 3)]);
    // The same at each step.
    assert_eq!(count("a @ 60"), [(5, 1), (6, 1), (7, 1)]);
    // Two values of the subquery at each step; what it reads itself (four minutes) counts at the last.
    assert_eq!(count("max_over_time(a[2m:1m])"), [(5, 2), (6, 2), (7, 6)]);
    let expr = parse("a").expect("valid");
    assert_eq!(ask(&store, |q| instant(q, "a", &expr, 60_000)).expect("answers").stats, None);
}
