//! Tempo's parser cases: `test_examples.json` and `harvested_queries.json` (verdict, canonical form, error by meaning),
//! `identifiers.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::report::Report;

#[derive(Deserialize)]
struct Queries {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    query: String,
    verdict: String,
    canonical: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Identifiers {
    cases: Vec<Identifier>,
}

#[derive(Deserialize)]
struct Identifier {
    input: String,
    expected: Json,
}

/// The suite.
pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    for file in ["test_examples.json", "harvested_queries.json"] {
        let queries: Queries = serde_json::from_slice(&std::fs::read(folder.join(file))?)?;
        for case in &queries.cases {
            report.case(format!("{file} {}", case.query), query(case));
        }
    }
    let identifiers: Identifiers = serde_json::from_slice(&std::fs::read(folder.join("identifiers.json"))?)?;
    for case in &identifiers.cases {
        report.case(format!("identifiers.json {}", case.input), identifier(case));
    }
    Ok(())
}

fn query(case: &Case) -> Result<(), String> {
    let (verdict, error) = match traceql::parse(&case.query) {
        Ok(_) => ("valid", None),
        Err(e) => match e.kind {
            traceql::ErrorKind::Syntax => ("parse_error", Some(e.message)),
            traceql::ErrorKind::Invalid => ("validate_error", Some(e.message)),
            traceql::ErrorKind::Unsupported => ("unsupported", Some(e.message)),
        },
    };
    if verdict != case.verdict {
        return Err(format!("{verdict} ({}), expected {}", error.unwrap_or_default(), case.verdict));
    }
    if let Some(expected) = case.canonical.as_ref().filter(|c| !c.is_empty()) {
        let printed = traceql::parse_unchecked(&case.query).map(|q| q.to_string()).map_err(|e| e.to_string())?;
        if printed != *expected {
            return Err(format!("canonical {printed}, expected {expected}"));
        }
    }
    let (Some(error), Some(expected)) = (&error, &case.error) else { return Ok(()) };
    // Without the position, and without what a generated parser would have accepted instead.
    let meaning = |text: &str| {
        let text = text.split_once(": ").filter(|(head, _)| head.starts_with("parse error")).map_or(text, |(_, tail)| tail);
        text.split(", expecting").next().unwrap_or(text).to_owned()
    };
    if meaning(error) == meaning(expected) { Ok(()) } else { Err(format!("{error}, expected {expected}")) }
}

fn identifier(case: &Identifier) -> Result<(), String> {
    let attribute = traceql::parse_identifier(&case.input).map_err(|e| e.to_string())?;
    let call = case.expected["$call"].as_str().unwrap_or_default();
    let args = &case.expected["args"];
    let text = |i: usize| args[i].as_str().unwrap_or_default().to_owned();
    let (got, expected) = match call {
        "NewIntrinsic" => {
            let known = attribute.intrinsic.map(|i| format!("Intrinsic{i:?}"));
            // The reference's names of the two differ from ours, and ids are capitals there.
            let id = args[0]["$id"].as_str().unwrap_or_default().replace("TraceRoot", "Root").replace("ID", "Id");
            (format!("{:?}", known.unwrap_or_default()), format!("{id:?}"))
        }
        "NewAttribute" => {
            (format!("{attribute:?}"), format!("{:?}", traceql::Attribute::new(traceql::AttributeScope::Open, &text(0))))
        }
        _ => {
            let scope = args[0]["$id"].as_str().unwrap_or_default().trim_start_matches("AttributeScope").to_lowercase();
            let name = if attribute.intrinsic.is_some() { attribute.key().to_owned() } else { attribute.name.clone() };
            let got = (attribute.scope.as_str().to_owned(), attribute.parent, name);
            let expected = (if scope == "none" { String::new() } else { scope }, args[1].as_bool().unwrap_or(false), text(2));
            (format!("{got:?}"), format!("{expected:?}"))
        }
    };
    if got == expected { Ok(()) } else { Err(format!("{got}, expected {expected}")) }
}
