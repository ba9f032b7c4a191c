//! Log queries over one corpus, with the labels, times and lines that Loki's pipeline answers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use logql::{Direction, EvalError, Expr};
use model::{Tenant, TimeRange};
use serde::Deserialize;

use crate::lines::Lines;
use crate::report::Report;

#[derive(Deserialize)]
struct Corpus {
    streams: Vec<CorpusStream>,
}

#[derive(Deserialize)]
struct CorpusStream {
    labels: BTreeMap<String, String>,
    entries: Vec<CorpusEntry>,
}

#[derive(Deserialize)]
struct CorpusEntry {
    ts: i64,
    line: String,
    #[serde(default)]
    structured_metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    error: Option<String>,
    expected: Option<Vec<Entry>>,
}

#[derive(Deserialize, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    ts: i64,
    line: String,
    labels: BTreeMap<String, String>,
}

pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).with_context(|| file.to_owned());
    let corpus: Corpus = serde_json::from_str(&read("corpus.json")?)?;
    let cases: Cases = serde_json::from_str(&read("queries.json")?)?;
    let (store, tenant) = (Lines::open()?, Tenant::default());
    let streams = corpus.streams.into_iter().map(|s| {
        let entries = s.entries.into_iter().map(|e| (e.ts, e.line, e.structured_metadata.into_iter().collect())).collect();
        (s.labels.into_iter().collect(), entries)
    });
    store.push(&tenant, &streams.collect::<Vec<_>>())?;
    store.settle()?;
    for case in &cases.cases {
        report.case(&case.query, check(&store, &tenant, case));
    }
    Ok(())
}

fn ask(store: &Lines, tenant: &Tenant, query: &str) -> Result<Vec<Entry>, String> {
    let log = match logql::parse(query).map_err(|e| e.to_string())? {
        Expr::Log(log) => log,
        _ => return Err("not a log query".to_owned()),
    };
    let lines = store.ask(tenant, |q| logql::lines(q, &log, TimeRange::ALL, Direction::Forward, usize::MAX));
    let lines = lines.map_err(|e: EvalError| e.to_string())?;
    let entry = |line: logql::Line| Entry {
        labels: line.labels().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        ts: line.time,
        line: line.text,
    };
    Ok(lines.into_iter().map(entry).collect())
}

fn check(store: &Lines, tenant: &Tenant, case: &Case) -> Result<(), String> {
    match (ask(store, tenant, &case.query), &case.error) {
        (Err(got), Some(expected)) if got == *expected => Ok(()),
        (Err(got), Some(expected)) => Err(format!("error {got:?}, expected {expected:?}")),
        (Err(got), None) => Err(format!("refused: {got}")),
        (Ok(_), Some(expected)) => Err(format!("answered, expected {expected:?}")),
        (Ok(mut got), None) => {
            // The cases list the entries stream by stream.
            let mut expected: Vec<&Entry> = case.expected.iter().flatten().collect();
            expected.sort();
            got.sort();
            if got.len() != expected.len() {
                return Err(format!("{} lines, expected {}", got.len(), expected.len()));
            }
            match got.iter().zip(expected).find(|(got, expected)| got != expected) {
                Some((got, expected)) => Err(format!("{got:?}, expected {expected:?}")),
                None => Ok(()),
            }
        }
    }
}
