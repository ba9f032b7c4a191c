//! LogQL's parser: verdicts, errors, canonical and pretty forms (`parse_cases`, `harvested_queries`), matchers (`label_parse`),
//! layout (`prettier`). The syntax trees of `parse_cases` are Go's own and are left out.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::Report;

#[derive(Deserialize)]
struct Cases<C> {
    cases: Vec<C>,
}

#[derive(Deserialize)]
struct Parse {
    query: String,
    verdict: String,
    error: Option<String>,
    canonical: Option<String>,
    pretty: Option<String>,
}

#[derive(Deserialize)]
struct Matchers {
    input: String,
    want: Option<Vec<serde_json::Value>>,
    #[serde(rename = "wantErr")]
    fails: bool,
}

#[derive(Deserialize)]
struct Layout {
    #[serde(rename = "in")]
    query: String,
    exp: String,
}

fn read<C: DeserializeOwned>(dir: &Path, file: &str) -> anyhow::Result<Vec<C>> {
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str::<Cases<C>>(&text).with_context(|| path.display().to_string())?.cases)
}

pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    for file in ["parse_cases.json", "harvested_queries.json"] {
        for case in read::<Parse>(dir, file)? {
            report.case(format_args!("{file} {}", case.query), parse(&case));
        }
    }
    for case in read::<Matchers>(dir, "label_parse.json")? {
        report.case(format_args!("label_parse {}", case.input), matchers(&case));
    }
    for case in read::<Layout>(dir, "prettier.json")? {
        let result = logql::parse(&case.query).map_err(|e| e.to_string());
        let result = result.and_then(|expr| same("layout", &laid_out(&expr), &case.exp));
        report.case(format_args!("prettier {}", case.query), result);
    }
    Ok(())
}

/// The cases were made with lines of 20 characters.
fn laid_out(expr: &logql::Expr) -> String {
    expr.pretty_within(20)
}

fn same(what: &str, got: &str, expected: &str) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} {got:?}, expected {expected:?}")) }
}

fn parse(case: &Parse) -> Result<(), String> {
    match (logql::parse(&case.query), case.verdict.as_str()) {
        (Ok(expr), "valid") => {
            same("canonical", &expr.to_string(), case.canonical.as_deref().unwrap_or(""))?;
            same("pretty", &expr.pretty(), case.pretty.as_deref().unwrap_or(""))
        }
        (Err(e), "invalid") => same("error", &e.to_string(), case.error.as_deref().unwrap_or("")),
        (Ok(expr), _) => Err(format!("parsed as {expr}, expected {:?}", case.error)),
        (Err(e), _) => Err(format!("refused: {e}")),
    }
}

fn matchers(case: &Matchers) -> Result<(), String> {
    let matchers = match logql::parse_matchers(&case.input) {
        Err(_) if case.fails => return Ok(()),
        Err(e) => return Err(format!("refused: {e}")),
        Ok(_) if case.fails => return Err("accepted, expected an error".to_owned()),
        Ok(matchers) => matchers,
    };
    // `mustNewMatcher(labels.MatchEqual, "name", "value")`
    let text = |v: &serde_json::Value| v.as_str().unwrap_or("").to_owned();
    let expected = case.want.iter().flatten().map(|call| {
        let arguments = &call["args"];
        (text(&arguments[0]["$id"]), text(&arguments[1]), text(&arguments[2]))
    });
    let kind = |op| match op {
        store::MatchOp::Eq => "labels.MatchEqual",
        store::MatchOp::Ne => "labels.MatchNotEqual",
        store::MatchOp::Re => "labels.MatchRegexp",
        store::MatchOp::NotRe => "labels.MatchNotRegexp",
    };
    let got: Vec<_> = matchers.into_iter().map(|m| (kind(m.op).to_owned(), m.name, m.value)).collect();
    let expected: Vec<_> = expected.collect();
    if got == expected { Ok(()) } else { Err(format!("{got:?}, expected {expected:?}")) }
}
