//! Promises of this module, held against plain strings.

use proptest::prelude::*;

use super::*;

fn split(lines: &[String]) -> BodyColumns {
    let mut builder = BodyBuilder::new();
    for line in lines {
        assert!(builder.append(line));
    }
    builder.take()
}

fn lines_of(columns: &BodyColumns) -> Vec<String> {
    let lines = columns.view().expect("bound").restore_all().expect("restored");
    lines.iter().map(|l| l.expect("a line").to_owned()).collect()
}

fn names(columns: &BodyColumns) -> Vec<String> {
    columns.columns.iter().map(|(id, _)| id.name()).collect()
}

/// Values that a JSON object may hold, as text, well-formed or nearly.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-2000i64..2000).prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        (any::<i32>(), 1usize..8).prop_map(|(n, d)| format!("{:.d$}", f64::from(n) / 1000.0)),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?",
        "[-+.0-9eE]{1,6}",
        "\"[0-9a-f]{14,34}\"",
        "\"[0-9a-f]{16}\"",
        "\"[0-9a-fA-F]{32}\"",
        "\"[a-z \\\\\"/é€𝄞]{0,12}\"",
        "\"(\\\\[\"\\\\/nrtu]|[a-z]|\\\\u00e9){0,6}\"",
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
        Just("nul".to_owned()),
        Just("\"\"".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))), object(inner),]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("status".to_owned()),
        Just("a".to_owned()),
        Just("a.b".to_owned()),
        Just("trace_id".to_owned()),
        Just("k\\\"x".to_owned()),
        Just("x:int#2".to_owned()),
        "[a-c]{0,2}",
        "[^\"\\\\]{0,3}",
    ];
    let blank = prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("")];
    proptest::collection::vec((key, blank, value), 0..6).prop_map(|members| {
        let inside: Vec<String> = members.into_iter().map(|(k, b, v)| format!("{b}\"{k}\"{b}:{b}{v}{b}")).collect();
        format!("{{{}}}", inside.join(","))
    })
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => object(json_value()),
        // Cut anywhere, so that it is broken.
        2 => (object(json_value()), any::<prop::sample::Index>()).prop_map(|(o, at)| {
            let at = at.index(o.chars().count() + 1);
            o.chars().take(at).collect()
        }),
        1 => (object(json_value()), "[ \n]{0,2}|,|\\}|x").prop_map(|(o, tail)| o + &tail),
        2 => any::<String>(),
        2 => "[\\x00-\\x20{}\":,a1-]{0,20}",
        1 => Just(String::new()),
        2 => "(got|lost) [0-9]{1,4} of [a-f0-9]{1,3}\\.? é?, v[0-9.]{1,4}",
        1 => "[a-z]{2,6}=[0-9a-f]{1,16} [a-z]{2,5}=\"[a-z 0-9]{0,9}\" took [0-9.]{1,5}ms",
    ]
}

/// A few shapes many times, as programs write them.
fn log() -> impl Strategy<Value = Vec<String>> {
    let shaped =
        (0u32..1000, 0u8..5, 1u32..100_000, "[a-z ]{0,8}", any::<u64>()).prop_map(|(n, shape, d, text, id)| match shape {
            0 => format!("{{\"status\":{n},\"ms\":{}.{:02},\"msg\":\"{text}\",\"id\":\"{id:016x}\"}}", d / 100, d % 100),
            1 => format!("{{\"status\": \"{n}\", \"ok\": {}, \"inner\": {{\"x\": {d}, \"list\": [{n}, {d}]}} }}", d % 2 == 0),
            2 => format!("{text} {n} {d}"),
            3 => format!("worker-{n} took {}.{:02}s, id {id:016x}.", d / 100, d % 100),
            _ => format!("status={n} msg=\"{text}\" took={d}ms ok={} path=/x/{d}", d % 2 == 0),
        });
    prop_oneof![proptest::collection::vec(line(), 0..40), proptest::collection::vec(shaped, 1..120),]
}

/// Pieces of the lines, so that there is something to find, and pieces of nothing.
fn needle_of(lines: &[String], at: prop::sample::Index, from: prop::sample::Index, length: usize) -> String {
    let Some(line) = (!lines.is_empty()).then(|| &lines[at.index(lines.len())]) else { return "x".to_owned() };
    let chars: Vec<char> = line.chars().collect();
    let from = from.index(chars.len() + 1);
    chars[from..(from + length).min(chars.len())].iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn lines_come_back_byte_for_byte(lines in log()) {
        prop_assert_eq!(lines_of(&split(&lines)), lines);
    }

    #[test]
    fn contains_is_what_the_restored_lines_say(
        lines in log(), at: prop::sample::Index, from: prop::sample::Index, length in 0usize..40, other in "[0-9a-f\":,]{0,3}",
    ) {
        let columns = split(&lines);
        let view = columns.view().expect("bound");
        let cut = needle_of(&lines, at, from, length);
        for needle in [cut.clone(), cut + &other, other] {
            let found: Vec<bool> = view.contains(&needle).iter().collect();
            let want: Vec<bool> = lines.iter().map(|l| l.contains(&needle)).collect();
            prop_assert_eq!(&found, &want, "needle {:?} in {:?}", needle, lines);
            // The same of the columns that are looked at only.
            let searched = columns.searched(&needle).expect("layouts");
            let read = columns.columns.iter().filter(|(id, _)| match id {
                BodyColumnId::Value(variable) => searched.read.contains(variable),
                _ => true,
            });
            let read = BodyColumns::new(columns.rows, read.cloned().collect()).expect("columns");
            let mut found: Vec<bool> = read.partial_view().expect("bound").contains(&needle).iter().collect();
            // Texts that need not be read are searched by themselves.
            for variable in &searched.text {
                let texts = columns.get(&BodyColumnId::Value(variable.clone())).expect("a column");
                for (row, found) in found.iter_mut().enumerate() {
                    *found |= crate::text_at(texts, row).is_some_and(|t| t.contains(&needle));
                }
            }
            prop_assert_eq!(found, want, "needle {:?} in {:?}, partly read", needle, lines);
        }
    }

    #[test]
    fn merges_keep_bytes(parts in proptest::collection::vec(log(), 1..5), seed: u64) {
        let columns: Vec<BodyColumns> = parts.iter().map(|p| split(p)).collect();
        let borrowed: Vec<&BodyColumns> = columns.iter().collect();
        let mut picks: Vec<(usize, usize)> =
            parts.iter().enumerate().flat_map(|(p, l)| (0..l.len()).map(move |r| (p, r))).collect();
        // Any order, some rows twice, some never.
        let n = picks.len();
        let mut state = seed;
        for i in 0..n {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let j = (state >> 33) as usize % n;
            if state & 1 == 0 { picks.swap(i, j) } else { picks[i] = picks[j] }
        }
        let merged = BodyColumns::interleave(&borrowed, &picks).expect("merged");
        let want: Vec<String> = picks.iter().map(|(p, r)| parts[*p][*r].clone()).collect();
        prop_assert_eq!(&lines_of(&merged), &want);
        let again = BodyColumns::concat(&[&merged, &merged]).expect("merged");
        prop_assert_eq!(lines_of(&again), [want.clone(), want].concat());
    }

    #[test]
    fn a_builder_goes_on_after_a_batch(parts in proptest::collection::vec(log(), 1..4)) {
        let mut builder = BodyBuilder::new();
        for lines in &parts {
            for line in lines {
                assert!(builder.append(line));
            }
            prop_assert_eq!(&lines_of(&builder.seal()), lines);
        }
    }

    #[test]
    fn no_long_run_of_digits_is_missed(mut lines in log(), id in "[0-9a-fA-F]{32,40}", every in 1usize..4) {
        for (i, line) in lines.iter_mut().enumerate().filter(|(i, _)| i % every == 0) {
            *line = match i % 3 {
                0 => format!("{{\"a\":\"{id}\",\"{id}\":1}}"),
                1 => format!("{line} {id}.{id}"),
                _ => format!("k=\"x{id}\" n={}", i),
            };
        }
        let columns = split(&lines);
        let view = columns.view().expect("bound");
        let runs = |text: &[u8]| -> Vec<String> {
            let runs = text.chunk_by(|a, b| a.is_ascii_hexdigit() == b.is_ascii_hexdigit());
            runs.filter(|r| r.len() >= 32 && r[0].is_ascii_hexdigit()).map(|r| String::from_utf8_lossy(r).into()).collect()
        };
        for (row, line) in lines.iter().enumerate() {
            let mut found = Vec::new();
            let each = |run: Run<'_>| match run {
                Run::Id(id) => found.push(id.iter().map(|b| format!("{b:02x}")).collect()),
                Run::Text(text) => found.extend(runs(text)),
            };
            view.long_runs(row, &mut Vec::new(), each).expect("columns");
            prop_assert_eq!(found, runs(line.as_bytes()), "{:?}", line);
        }
        // What is left out is texts only, and only those that were said to lack them.
        let whole: Vec<String> = lines.iter().map(|line| runs(line.as_bytes()).concat()).collect();
        let view = columns.view().expect("bound").without_runs(|variable| variable.kind == Kind::Escaped);
        for (row, whole) in whole.iter().enumerate() {
            let each = |run: Run<'_>| if let Run::Text(text) = run { assert!(runs(text).iter().all(|run| whole.contains(run))) };
            view.long_runs(row, &mut Vec::new(), each).expect("columns");
        }
    }

    #[test]
    fn any_text_as_a_layout_is_an_error_or_a_layout(text: String, tail in "[\\x01\\x02a:int#2]{0,12}") {
        if let Ok(layout) = layout::Layout::parse(&(text + &tail)) {
            prop_assert_eq!(layout.literals.len(), layout.variables.len() + 1);
        }
    }
}

#[test]
fn json_members_become_typed_columns() {
    let lines = [
        r#"{"trace_id":"0af7651916cd43dd8448eb211c80319c","status":200,"duration_ms":12.50,"message":"ok","ok":true}"#,
        r#"{"trace_id":"0af7651916cd43dd8448eb211c80319d","status":500,"duration_ms":-0.05,"message":"a\nb","ok":false}"#,
        r#"{ "http": {"status": 7, "none": null}, "status":1, "status":2, "tags":[1,"x"], "big":12345678901234567890 }"#,
    ]
    .map(str::to_owned);
    let columns = split(&lines);
    assert_eq!(
        names(&columns),
        [
            "body.layout",
            "body.big:num",
            "body.duration_ms:dec2",
            "body.http.status:int",
            "body.message:str",
            "body.message:esc",
            "body.ok:bool",
            "body.status:int",
            "body.status:int#2",
            "body.tags:json",
            "body.trace_id:hex16",
        ]
    );
    assert_eq!(lines_of(&columns), lines);
}

#[test]
fn numbers_are_typed_only_where_their_text_comes_back() {
    for (text, kind) in [
        ("0", "int"),
        ("-1", "int"),
        ("9223372036854775807", "int"),
        ("-9223372036854775808", "int"),
        ("9223372036854775808", "num"),
        ("-0", "num"),
        ("12.50", "dec2"),
        ("-0.000001", "dec6"),
        ("-0.0", "num"),
        ("0.0", "dec1"),
        ("0.1234567", "float"),
        ("0.12345670", "num"),
        ("123456.1234567", "float"),
        ("1e3", "num"),
        ("1.5E-7", "num"),
    ] {
        let columns = split(&[format!("{{\"n\":{text}}}")]);
        assert_eq!(names(&columns)[1], format!("body.n:{kind}"), "{text}");
        assert_eq!(lines_of(&columns), [format!("{{\"n\":{text}}}")]);
    }
    for broken in ["01", "+1", "1.", ".5", "1e", "--1", "0x1"] {
        assert_eq!(names(&split(&[format!("{{\"n\":{broken}}}")])), ["body"], "{broken}");
    }
}

#[test]
fn keys_that_are_data_do_not_become_columns_without_end() {
    let lines: Vec<String> = (0..3000).map(|i| format!("{{\"user{i}\":{i},\"n\":1}}")).collect();
    let columns = split(&lines);
    assert!(columns.columns.len() <= COLUMNS_MAX + 2);
    assert_eq!(lines_of(&columns), lines);
    let parts: Vec<BodyColumns> = lines.chunks(100).map(split).collect();
    let merged = BodyColumns::concat(&parts.iter().collect::<Vec<_>>()).expect("merged");
    assert!(merged.columns.len() <= merge::MERGED_COLUMNS_MAX + 2);
    assert_eq!(lines_of(&merged), lines);
}

#[test]
fn a_double_may_be_a_long_run_of_digits() {
    let columns = split(&[r#"{"a":-0.00000000000000000015824678124782504}"#.to_owned()]);
    assert_eq!(names(&columns), ["body.layout", "body.a:float"]);
    let mut seen = Vec::new();
    let each = |run: Run<'_>| {
        if let Run::Text(text) = run {
            seen.extend_from_slice(text);
        }
    };
    columns.view().expect("bound").long_runs(0, &mut Vec::new(), each).expect("columns");
    assert_eq!(seen, b"-0.00000000000000000015824678124782504");
}

#[test]
fn logfmt_and_recurring_text_become_columns() {
    let lines: Vec<String> =
        (0..10).map(|i| format!("level=info status={i} msg=\"a b\" took=1.50 id={i:016x} ok=true")).collect();
    let columns = split(&lines);
    let want =
        ["body.layout", "body.id:hex8", "body.level:str", "body.msg:str", "body.ok:bool", "body.status:int", "body.took:dec2"];
    assert_eq!(names(&columns), want);
    assert_eq!(lines_of(&columns), lines);

    let lines: Vec<String> = (0..10).map(|i| format!("worker-{i}: order {} took {}.5 ms.", 1000 + i, 20 + i)).collect();
    let columns = split(&lines);
    assert_eq!(names(&columns), ["body", "body.layout", "body.1:str", "body.2:int", "body.3:dec1"]);
    assert_eq!(lines_of(&columns), lines);
    let text = columns.get(&BodyColumnId::Text).expect("first lines");
    assert_eq!(arrow_array::Array::null_count(text), 7, "the first lines of a pattern stay whole");
}

#[test]
fn prose_stays_whole() {
    let lines: Vec<String> = (0..2000u64).map(|i| format!("{:x} said {}", i * 7919, "so ".repeat(i as usize % 50))).collect();
    let prose: Vec<String> = (0..500u64).map(|i| format!("w{i} w{} {}", i * i, "word".repeat(i as usize))).collect();
    for lines in [lines, prose] {
        assert_eq!(lines_of(&split(&lines)), lines);
    }
}

#[test]
fn a_huge_line_and_deep_nesting_come_back() {
    let huge = format!("{{\"m\":\"{}\",\"n\":1}}", "x".repeat(3 << 20));
    let deep = format!("{}1{}", "{\"a\":".repeat(5000), "}".repeat(5000));
    let wide = format!("{{{}}}", (0..500).map(|i| format!("\"k{i}\":{i}")).collect::<Vec<_>>().join(","));
    let lines = [huge, deep, wide];
    assert_eq!(lines_of(&split(&lines)), lines);
}

#[test]
fn a_sealed_builder_goes_on_without_the_lines_that_it_gave_away() {
    let mut builder = BodyBuilder::new();
    let mut sent = Vec::new();
    for i in 0..100 {
        // At times a column, or all whole lines, are missing from a batch.
        sent.push(if i < 70 { format!("{{\"n\":{i}}}") } else { format!("{{\"s\":\"{i}\",\"b\":true}}") });
        sent.extend((i % 50 < 40).then(|| format!("plain {i}")));
        if i % 9 == 0 {
            sent.iter().for_each(|line| assert!(builder.append(line)));
            assert_eq!(lines_of(&builder.seal()), std::mem::take(&mut sent));
            assert_eq!(builder.rows(), 0);
        }
    }
}

#[test]
fn damaged_columns_are_an_error() {
    let columns = split(&[r#"{"a":1,"b":"x"}"#.to_owned()]);
    let without: Vec<_> = columns.columns.iter().filter(|(id, _)| id.name() != "body.a:int").cloned().collect();
    let without = BodyColumns::new(1, without).expect("columns");
    assert_eq!(without.view().err(), Some(BodyError::Missing("a:int".to_owned())));
    let nulled: Vec<_> = columns
        .columns
        .iter()
        .map(|(id, a)| {
            let null = id.name() == "body.a:int";
            (id.clone(), if null { arrow_array::new_null_array(a.data_type(), 1) } else { a.clone() })
        })
        .collect();
    let nulled = BodyColumns::new(1, nulled).expect("columns");
    let restored = nulled.view().expect("bound").restore_all();
    assert_eq!(restored.err(), Some(BodyError::Missing("a:int".to_owned())));
}

#[test]
fn of_a_line_of_very_many_values_nothing_is_told() {
    let line = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"k{i}\":{i}")).collect::<Vec<_>>().join(","));
    assert_eq!(member(&line(1000), "k999"), Member::Number(999.0));
    assert_eq!(member(&line(1000), "k1000"), Member::Absent);
    assert_eq!(member(&line(200_000), "k7"), Member::Unclear);
}
