//! Templates as Go executes them.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{Functions, Kind, Limits, Map, Template, Time, Value, format_float, printf, quote};

fn functions() -> Functions {
    let mut functions = Functions::new();
    functions.add("upper", &[Kind::Str], None, |v| Ok(v[0].as_str().unwrap_or("").to_uppercase().into()));
    functions.add("add", &[], Some(Kind::Any), |v| Ok(Value::Int64(v.iter().filter_map(Value::as_int).sum())));
    functions.add("fail", &[Kind::Str], None, |v| Err(v[0].to_string()));
    functions.add("list", &[], Some(Kind::Any), |v| Ok(Value::List(v.into())));
    functions.add_local("line");
    functions
}

fn data() -> Value {
    let entries = [("a", "x"), ("b", "y"), ("n", "")].map(|(k, v)| (Arc::from(k), Value::text(v)));
    Value::Map(Arc::new(Map { entries: entries.into(), texts: true }))
}

fn run(text: &str) -> String {
    match Template::parse("t", text, &functions()) {
        Err(e) => format!("parse: {e}"),
        Ok(t) => t.execute(&data(), &[("line", "L".into())], Limits::default()).unwrap_or_else(|e| format!("exec: {e}")),
    }
}

#[test]
fn templates_say_what_go_says() {
    let cases = [
        ("plain", "plain"),
        ("{{.a}}-{{ .b }}", "x-y"),
        ("{{.missing}}|{{.a | upper}}|{{ upper .a }}", "|X|X"),
        ("a  {{- .a -}}  b", "axb"),
        ("{{/* none */}}{{- /* two */ -}} z", "z"),
        ("{{line}}", "L"),
        ("{{if .a}}yes{{else}}no{{end}}{{if .n}}yes{{else if .b}}else{{end}}", "yeselse"),
        ("{{with .a}}{{.}}{{else}}none{{end}}{{with .n}}{{.}}{{else}}{{.b}}{{end}}", "xy"),
        ("{{range $k, $v := .}}{{$k}}={{$v}};{{end}}", "a=x;b=y;n=;"),
        ("{{range $i, $v := list 1 2 3 4}}{{if eq $v 2}}{{continue}}{{end}}{{if eq $v 4}}{{break}}{{end}}{{$i}}{{end}}", "02"),
        ("{{range list}}x{{else}}empty{{end}}", "empty"),
        ("{{$x := 1}}{{$x = add $x 2}}{{$x}}", "3"),
        ("{{define \"T\"}}<{{.}}>{{end}}{{template \"T\" .a}}{{block \"B\" .b}}[{{.}}]{{end}}", "<x>[y]"),
        ("{{printf \"%-4s|%3d|%q|%v|%.2f|%05d|%x\" .a 7 .b .a 1.5 42 255}}", "x   |  7|\"y\"|x|1.50|00042|ff"),
        ("{{printf \"%d %s\" .a}}", "%!d(string=x) %!s(MISSING)"),
        ("{{printf \"x\" 1}}", "x%!(EXTRA int=1)"),
        ("{{and .a .n}}|{{or .n .b}}|{{not .a}}|{{len .a}}|{{index . \"b\"}}", "|y|false|1|y"),
        (
            "{{slice \"hello\" 1 3}} {{html \"<a&b>\"}} {{urlquery \"a b&\"}} {{js \"'<\"}}",
            "el &lt;a&amp;b&gt; a+b%26 \\'\\u003C",
        ),
        ("{{eq .a \"z\" \"x\"}} {{lt 1 2}} {{ge 2.5 2.5}} {{ne .a .b}}", "true true true true"),
        ("{{print 1 2 \"a\" \"b\" 3}} {{println .a 1}}", "1 2ab3 x 1\n"),
        ("{{nil | print}}", "parse: template: t:1: nil is not a command"),
        ("{{1.5}} {{1e3}} {{0x10}} {{'a'}} {{true}} {{.}}", "1.5 1000 16 97 true map[a:x b:y n:]"),
        ("{{.a.b}}", "exec: template: t:1:2: executing \"t\" at <.a.b>: can't evaluate field b in type string"),
        ("{{.a \"x\"}}", "exec: template: t:1:2: executing \"t\" at <.a>: a is not a method but has arguments"),
        ("\n {{fail .a}}", "exec: template: t:2:3: executing \"t\" at <fail .a>: error calling fail: x"),
        ("{{upper 1}}", "exec: template: t:1:8: executing \"t\" at <1>: expected string; found 1"),
        ("{{upper}}", "exec: template: t:1:2: executing \"t\" at <upper>: wrong number of args for upper: want 1 got 0"),
        (
            "{{add 1 | upper}}",
            "exec: template: t:1:10: executing \"t\" at <upper>: wrong type for value; expected string; got int64",
        ),
        ("{{range .a}}{{end}}", "exec: template: t:1:8: executing \"t\" at <.a>: range can't iterate over x"),
        ("{{template \"no\"}}", "exec: template: t:1:11: executing \"t\" at <{{template \"no\"}}>: template \"no\" not defined"),
        ("{{what}}", "parse: template: t:1: function \"what\" not defined"),
        ("{{.a", "parse: template: t:1: unclosed action"),
        ("{{if .a}}", "parse: template: t:1: unexpected EOF"),
        ("{{end}}", "parse: template: t:1: unexpected {{end}}"),
        ("{{$x}}", "parse: template: t:1: undefined variable \"$x\""),
        ("{{}}", "parse: template: t:1: missing value for command"),
        ("{{.a | 1}}", "parse: template: t:1: non executable command in pipeline stage 2"),
        ("{{\"open}}", "parse: template: t:1: unterminated quoted string"),
        ("{{break}}", "parse: template: t:1: {{break}} outside {{range}}"),
        ("a\n{{.a)}}", "parse: template: t:2: unexpected right paren"),
    ];
    for (text, expected) in cases {
        if text.contains("nil | print") {
            // Said at execution, not while parsing.
            assert!(run(text).ends_with("nil is not a command"), "{}", run(text));
            continue;
        }
        assert_eq!(run(text), expected, "{text}");
    }
}

#[test]
fn the_fields_that_a_template_reads_are_known() {
    let fields = |text| Template::parse("t", text, &functions()).map(|t| t.fields().map(|f| f.join(",")));
    assert_eq!(fields("{{.a}}{{if .b}}{{.c.d | upper}}{{end}}{{$.e}}"), Ok(Some("a,b,c,e".to_owned())));
    assert_eq!(fields("{{.}}"), Ok(None));
    let t = Template::parse("t", "{{(upper line)}}", &functions()).unwrap_or_else(|e| panic!("{e}"));
    assert!(t.calls("line") && t.calls("upper") && !t.calls("add"));
}

#[test]
fn executions_are_bounded() {
    let limits = Limits { steps: 100, output: 50 };
    let run = |text: &str| Template::parse("t", text, &functions()).map(|t| t.execute(&data(), &[], limits));
    let bad = |text: &str| run(text).is_ok_and(|r| r.is_err());
    assert!(bad("{{range 1000000000}}x{{end}}"));
    assert!(bad("{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}"));
    assert!(bad(&format!("{{{{range 20}}}}{}{{{{end}}}}", "x".repeat(10))));
    // A call costs what it reads and makes, and nothing grows past what may be written.
    let wide = Limits { steps: 1000, output: 1 << 16 };
    let run_wide = |text: &str| match Template::parse("t", text, &functions()) {
        Ok(t) => t.execute(&data(), &[], wide).map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let long = "x".repeat(40_000);
    let twice = run_wide(&format!("{{{{$x := \"{long}\"}}}}{{{{$y := print $x $x}}}}{{{{len $y}}}}"));
    assert!(twice.as_ref().is_err_and(|e| e.contains("error calling print: the text grows too long")), "{twice:?}");
    let often = run_wide(&format!("{{{{$x := \"{long}\"}}}}{{{{range 900}}}}{{{{$y := upper $x}}}}{{{{end}}}}"));
    assert!(often.as_ref().is_err_and(|e| e.contains("more than 1000 steps")), "{often:?}");
    assert_eq!(run_wide("{{range 1000000000000}}{{break}}{{end}}ok"), Ok("ok".to_owned()));
    assert!(run(&"{{if .a}}".repeat(10_000)).is_err());
    // What an execution took is told, also of one that failed.
    let counted = |text: &str| {
        let mut steps = 5;
        let template = Template::parse("t", text, &functions()).unwrap_or_else(|e| panic!("{e}"));
        (template.execute_counted(&data(), &[], wide, &mut steps).is_ok(), steps)
    };
    assert_eq!(counted(&"x".repeat(3 * crate::BYTES_A_STEP)), (true, 5 + 1 + 3));
    assert!(matches!(counted("{{range 5000}}x{{end}}"), (false, 1000..)));
    assert!(run(&format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000))).is_err());
}

#[test]
fn numbers_print_as_go_prints_them() {
    for (x, text) in [
        (1.0, "1"),
        (1.5, "1.5"),
        (1e21, "1e+21"),
        (999999.0, "999999"),
        (1e6, "1e+06"),
        (1234567.5, "1.2345675e+06"),
        (1e-5, "1e-05"),
        (f64::NAN, "NaN"),
    ] {
        assert_eq!(format_float(x, 'v', None), text);
    }
    assert_eq!(format_float(1234.5678, 'g', Some(3)), "1.23e+03");
    assert_eq!(format_float(0.000_012_3, 'e', Some(2)), "1.23e-05");
    assert_eq!(
        printf(
            "%6.2f|%+d|%t|%T|%c|%U|%8s|%-8s|%%",
            &[
                Value::Float(3.145),
                Value::Int(5),
                Value::Bool(true),
                "a".into(),
                Value::Int(65),
                Value::Int(0x2318),
                "ab".into(),
                "ab".into(),
            ]
        ),
        "  3.15|+5|true|string|A|U+2318|      ab|ab      |%"
    );
    assert_eq!(quote("a\"\\\n\u{1}é\u{200b}"), r#""a\"\\\n\x01é\u200b""#);
}

#[test]
fn arguments_are_taken_by_number_and_flags_heard() {
    let (one, two) = (Value::Int(1), Value::Int(2));
    for (format, arguments, text) in [
        ("%[2]d %[1]d", vec![one.clone(), two.clone()], "2 1"),
        ("%[2]d %d", vec![one.clone(), two.clone()], "2 %!d(MISSING)"),
        ("%[1]d %d %[1]d", vec![one.clone(), two.clone()], "1 2 1"),
        ("%[3]d|%[x]d|%[]d|%[0]d|%[1", vec![one.clone()], "%!d(BADINDEX)|%!d(BADINDEX)|%!d(BADINDEX)|%!d(BADINDEX)|%!(NOVERB)"),
        ("%[2]*[1]d|%[2]3d", vec![one.clone(), two.clone()], " 1|%!d(BADINDEX)"),
        ("%.*f", vec![one.clone(), Value::Float(1.25)], "1.2"),
        ("% x|%#x|%# X|%x", vec!["hi".into(), "hi".into(), "hi".into(), "".into()], "68 69|0x6869|0X68 0X69|"),
        (
            "%+q|%#q|%#q|%+q",
            vec!["é😀".into(), "a".into(), "`".into(), Value::Int(233)],
            r#""\u00e9\U0001f600"|`a`|"`"|'\u00e9'"#,
        ),
        ("%#U|%U", vec![Value::Int(65), Value::Int(65)], "U+0041 'A'|U+0041"),
        ("é%d%%é", vec![one.clone()], "é1%é"),
        ("%d", vec![one, two, Value::Nil], "1%!(EXTRA int=2, <nil>)"),
    ] {
        assert_eq!(printf(format, &arguments), text, "{format}");
    }
}

#[test]
fn times_are_printed_and_read_by_layout() {
    let t = Time::from_nanos(1_700_000_000_123_456_789);
    for (layout, text) in [
        ("2006-01-02T15:04:05Z07:00", "2023-11-14T22:13:20Z"),
        ("Mon Jan _2 15:04:05 2006", "Tue Nov 14 22:13:20 2023"),
        ("Monday, 02-January-06 3:04PM MST", "Tuesday, 14-November-23 10:13PM UTC"),
        ("15:04:05.000 .999999999", "22:13:20.123 .123456789"),
        ("-0700 002", "+0000 318"),
    ] {
        assert_eq!(t.format(layout), text, "{layout}");
    }
    assert_eq!(t.to_string(), "2023-11-14 22:13:20.123456789 +0000 UTC");
    for (layout, text, zone, seconds) in [
        ("2006-01-02", "2021-11-02", "UTC", 1_635_811_200),
        ("2006-01-02T15:04:05.999999999Z", "2021-11-02T01:02:03.5Z", "UTC", 1_635_814_923),
        ("2006-01-02T15:04:05Z07:00", "2021-11-02T01:02:03+02:00", "UTC", 1_635_807_723),
        ("Jan 2 2006 3:04pm", "Nov 2 2021 1:02pm", "UTC", 1_635_858_120),
    ] {
        assert_eq!(Time::parse(layout, text, zone).map(|t| t.seconds()), Some(seconds), "{layout}");
    }
    assert!(Time::parse("2006-01-02", "2021-13-02", "UTC").is_none());
    assert!(Time::parse("2006-01-02", "x", "UTC").is_none());
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_and_executes_within_bounds(text in "([a-z .|$\"(){}:=]|\\{\\{|\\}\\}|if |range |end|\\.a|line|[0-9]){0,40}") {
        let _ = run(&text);
    }

    #[test]
    fn any_layout_prints_and_reads(layout in "[-0-9A-Za-z:._ ]{0,30}", text in "[-0-9A-Za-z:. ]{0,30}") {
        let _ = Time::from_nanos(1).format(&layout);
        let _ = Time::parse(&layout, &text, "UTC");
    }

    #[test]
    fn any_format_prints(format in "([%a-zA-Z0-9.*+# -]|\\[|\\]|é){0,20}", n in any::<i64>(), x in any::<f64>(), s in ".{0,5}") {
        let _ = printf(&format, &[Value::Int(n), Value::Float(x), s.into(), Value::Nil]);
    }
}
