use proptest::prelude::*;

use super::*;

fn rule(action: Action, sources: &[&str], regex: Option<&str>, target: &str, replacement: Option<&str>) -> RuleText {
    RuleText {
        source_labels: if sources.is_empty() { None } else { Some(sources.iter().map(|s| (*s).to_owned()).collect()) },
        regex: regex.map(str::to_owned),
        target_label: target.to_owned(),
        replacement: replacement.map(str::to_owned),
        action,
        ..RuleText::default()
    }
}

/// What comes of `a="1 2"`, `b="X"`, `__meta_c="y"`; empty where it is dropped.
fn applied(text: RuleText) -> String {
    let rule = Rule::new(text, NameScheme::Utf8).expect("a good rule");
    let mut labels = LabelBuilder::new([("a", "1 2"), ("b", "X"), ("__meta_c", "y")]);
    if !process(&[rule], &mut labels) {
        return String::new();
    }
    labels.into_sorted().into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
}

#[test]
fn each_action_does_what_its_name_says() {
    use Action::*;
    const ALL: &str = "__meta_c=y,a=1 2,b=X";
    for (text, expected) in [
        (rule(Replace, &["a", "b"], Some(r"(\d) (\d);(.*)"), "${3}_t", Some("$2-${1}")), "X_t=2-1,__meta_c=y,a=1 2,b=X"),
        (rule(Replace, &["a"], Some("no"), "t", None), ALL),
        (rule(Replace, &["a"], Some("1"), "t", None), ALL),
        (rule(Replace, &[], None, "b", Some("")), "__meta_c=y,a=1 2"),
        (rule(Replace, &["nothing"], None, "t", Some("static")), "__meta_c=y,a=1 2,b=X,t=static"),
        (rule(Replace, &["a"], Some("(?P<first>.).*"), "t", Some("$first$$")), "__meta_c=y,a=1 2,b=X,t=1$"),
        (rule(Replace, &["a"], Some("(.).*"), "t", Some("$1x$")), "__meta_c=y,a=1 2,b=X,t=$"),
        (rule(Keep, &["b"], Some("X|Y"), "", None), ALL),
        (rule(Keep, &["b"], Some("Y"), "", None), ""),
        (rule(Drop, &["b"], Some("x"), "", None), ALL),
        (rule(Drop, &["b"], Some("(?i)x"), "", None), ""),
        (rule(KeepEqual, &["a"], None, "b", None), ""),
        (rule(DropEqual, &["a"], None, "b", None), ALL),
        (rule(LabelMap, &[], Some("__meta_(.+)"), "", None), "__meta_c=y,a=1 2,b=X,c=y"),
        (rule(LabelDrop, &[], Some("a|b"), "", None), "__meta_c=y"),
        (rule(LabelKeep, &[], Some("a"), "", None), "a=1 2"),
        (rule(Lowercase, &["b"], None, "b", None), "__meta_c=y,a=1 2,b=x"),
        (rule(Uppercase, &["__meta_c"], None, "d", None), "__meta_c=y,a=1 2,b=X,d=Y"),
        (RuleText { modulus: 10, ..rule(HashMod, &["b"], None, "h", None) }, "__meta_c=y,a=1 2,b=X,h=7"),
    ] {
        assert_eq!(applied(text.clone()), expected, "{text:?}");
    }
}

#[test]
fn rules_that_cannot_be_are_refused_in_prometheus_words() {
    use Action::*;
    for (text, scheme, why) in [
        (rule(HashMod, &["a"], None, "t", None), NameScheme::Utf8, "relabel configuration for hashmod requires non-zero modulus"),
        (
            rule(Replace, &["a"], None, "", None),
            NameScheme::Utf8,
            "relabel configuration for replace action requires 'target_label' value",
        ),
        (rule(Replace, &["a"], None, "a-b", None), NameScheme::Legacy, "\"a-b\" is invalid 'target_label' for replace action"),
        (rule(Replace, &["a"], None, "a-$1", None), NameScheme::Legacy, "\"a-$1\" is invalid 'target_label' for replace action"),
        (rule(Lowercase, &["a"], None, "t", Some("x")), NameScheme::Utf8, "'replacement' can not be set for lowercase action"),
        (rule(LabelMap, &[], None, "", Some("a-b")), NameScheme::Legacy, "\"a-b\" is invalid 'replacement' for labelmap action"),
        (
            rule(KeepEqual, &["a"], Some("(.*)"), "t", None),
            NameScheme::Utf8,
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            rule(LabelDrop, &["a"], None, "", None),
            NameScheme::Utf8,
            "labeldrop action requires only 'regex', and no other fields",
        ),
    ] {
        assert_eq!(Rule::new(text, scheme), Err(why.to_owned()));
    }
    assert!(Rule::new(rule(Keep, &["a"], Some("a(b"), "", None), NameScheme::Utf8).is_err());
    let twice = Rule::new(rule(Keep, &["a"], Some("a**"), "", None), NameScheme::Utf8);
    assert_eq!(twice, Err("error parsing regexp: invalid nested repetition operator: `**`".to_owned()));
    assert_eq!(Action::parse("KeepEqual"), Ok(KeepEqual));
    assert_eq!(Action::parse("keeps"), Err("unknown relabel action \"keeps\"".to_owned()));
}

#[test]
fn patterns_are_those_of_go() {
    for (regex, value, is) in [
        (r"\Qa.b\E.*", "a.bc", "hit"),
        ("[[]x", "[x", "hit"),
        ("{a}", "{a}", "hit"),
        (r"\w+", "ä", ""),
        (r"\d+", "٣", ""),
        ("([^/]{1,253})", "a.b", "hit"),
        ("(.{1000})?", "", "hit"),
    ] {
        let text = rule(Action::Replace, &["v"], Some(regex), "t", Some("hit"));
        let mut labels = LabelBuilder::new([("v", value)]);
        assert!(process(&[Rule::new(text, NameScheme::Utf8).expect(regex)], &mut labels));
        assert_eq!(labels.get("t"), is, "{regex}");
    }
    let mut labels = LabelBuilder::new([("v", "Straße ΟΔΟΣ İᾳ")]);
    let cases = [(Action::Lowercase, "straße οδοσ iᾳ"), (Action::Uppercase, "STRAßE ΟΔΟΣ İᾼ")];
    for (action, is) in cases {
        let made = Rule::new(rule(action, &["v"], None, "t", None), NameScheme::Utf8).expect("a good rule");
        assert!(process(&[made], &mut labels));
        assert_eq!(labels.get("t"), is);
    }
}

proptest! {
    #[test]
    fn no_pattern_panics(pattern in r"[a-c(){}\[\]\\?*+|^$:<>QEpPx0-9,é-]{0,24}") {
        let _ = Rule::new(rule(Action::Keep, &["v"], Some(&pattern), "", None), NameScheme::Utf8);
    }

    #[test]
    fn templates_of_any_text_expand_and_text_without_references_stays(text in "[a-z$ {}0-9é_]{0,12}", value in ".{0,8}") {
        let mut labels = LabelBuilder::new([("v", value.clone())]);
        let made = Rule::new(rule(Action::Replace, &["v"], None, "t", Some(&text)), NameScheme::Utf8).expect("a good rule");
        prop_assert!(process(&[made], &mut labels));
        if !text.contains('$') {
            prop_assert_eq!(labels.get("t"), text);
        } else if text == "$1" {
            prop_assert_eq!(labels.get("t"), value);
        }
    }
}
