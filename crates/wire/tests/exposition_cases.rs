//! Prometheus' own cases for the text format.
#![allow(clippy::unwrap_used, missing_docs)]

use std::borrow::Cow;

use braid_wire::exposition::{ExpositionSink, parse};
use braid_wire::{Limits, MetricKind};
use serde_json::Value;

mod cases;

#[derive(Debug, PartialEq)]
enum Entry {
    Sample { labels: Vec<(String, String)>, value: f64, time: Option<i64> },
    Kind(String, String),
    Help(String, String),
}

#[derive(Default)]
struct Entries(Vec<Entry>);

impl ExpositionSink for Entries {
    fn sample(&mut self, labels: &[(Cow<'_, str>, Cow<'_, str>)], value: f64, time: Option<i64>) {
        let labels = labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        self.0.push(Entry::Sample { labels, value, time });
    }
    fn kind(&mut self, family: &str, kind: MetricKind) {
        self.0.push(Entry::Kind(family.to_owned(), kind.as_str().to_owned()));
    }
    fn help(&mut self, family: &str, help: &str) {
        self.0.push(Entry::Help(family.to_owned(), help.to_owned()));
    }
}

fn json(file: &str) -> Option<Value> {
    Some(serde_json::from_str(&cases::read(file)?).unwrap())
}

/// What a case expects; `None` for comments, which nobody is told of.
fn expected(case: &Value) -> Option<Entry> {
    let name = case["m"].as_str()?.trim_matches('"').to_owned();
    if let Some(id) = case["typ"]["$id"].as_str() {
        return Some(Entry::Kind(name, id.trim_start_matches("model.MetricType").to_lowercase()));
    }
    if let Some(help) = case["help"].as_str() {
        return Some(Entry::Help(name, help.to_owned()));
    }
    // The labels as they are without the feature "type and unit labels": the last list.
    fn lists<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
        if value["$call"] == "labels.FromStrings" {
            out.push(&value["args"]);
        } else if let Some(args) = value["args"].as_array() {
            args.iter().for_each(|a| lists(a, out));
        }
    }
    let mut found = Vec::new();
    lists(&case["lset"], &mut found);
    let word = |v: &Value| match v["$id"].as_str() {
        Some(id) => id.trim_start_matches("model.MetricType").to_lowercase(),
        None => v.as_str().unwrap().to_owned(),
    };
    let words: Vec<String> = found.last()?.as_array()?.iter().map(word).collect();
    let mut labels: Vec<_> = words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    labels.sort();
    let time = case["t"]["args"][0].as_i64();
    Some(Entry::Sample { labels, value: case["v"].as_f64().unwrap(), time })
}

fn is_read(test: &str, more: &str) {
    let (Some(input), Some(cases)) =
        (json(&format!("exposition/promtext_{test}_input.json")), json(&format!("exposition/promtext_{test}_expected.json")))
    else {
        return;
    };
    let mut entries = Entries::default();
    let text = input["input"].as_str().unwrap().to_owned() + more;
    parse(text.as_bytes(), &Limits::default(), &mut entries).unwrap();
    let mut rest = entries.0.iter();
    for case in cases["cases"].as_array().unwrap() {
        let Some(wanted) = expected(case) else { continue };
        assert!(rest.any(|e| *e == wanted), "{case}\nwanted {wanted:?}\nof {:#?}", entries.0);
    }
}

#[test]
fn prometheus_text_is_read_as_prometheus_reads_it() {
    is_read("TestPromParse", "\n# HELP metric foo\0bar\nnull_byte_metric{a=\"abc\0\"} 1");
    is_read("TestUTF8PromParse", "");
}

#[test]
fn what_prometheus_refuses_is_refused_for_the_same_reason() {
    for file in ["exposition/promtext_TestPromParseErrors.json", "exposition/promtext_TestPromNullByteHandling.json"] {
        let Some(all) = json(file) else { return };
        for case in all["cases"].as_array().unwrap() {
            let (input, wanted) = (case["input"].as_str().unwrap(), case["err"].as_str().unwrap());
            // The token that was met instead, and the text around it, are the lexer's own.
            let reason = wanted.split(", got").next().unwrap().split(" while parsing").next().unwrap();
            match parse(input.as_bytes(), &Limits::default(), &mut Entries::default()) {
                Ok(_) => assert_eq!(wanted, "", "{input:?}"),
                Err(e) => assert!(!wanted.is_empty() && e.to_string().contains(reason), "{input:?}\n{e}\n{wanted}"),
            }
        }
    }
}
