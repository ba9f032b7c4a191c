//! Prometheus' own cases of its parser: expressions with their verdict and error, descriptions of series.

use std::path::Path;

use anyhow::Context;
use promql::SequenceValue;
use serde::Deserialize;
use serde_json::Value;

use crate::report::Report;

#[derive(Deserialize)]
struct Expressions {
    cases: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    input: String,
    valid: bool,
    #[serde(default)]
    upstream_errors: Vec<String>,
}

#[derive(Deserialize)]
struct Descriptions {
    cases: Vec<Description>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    input: String,
    #[serde(default)]
    fail: bool,
    #[serde(default)]
    expected_values: Value,
}

/// Runs `expressions.json` and `series_descriptions.json`.
pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).with_context(|| name.to_owned());
    let expressions: Expressions = serde_json::from_str(&read("expressions.json")?)?;
    for case in &expressions.cases {
        report.case(&case.input, expression(case));
    }
    let descriptions: Descriptions = serde_json::from_str(&read("series_descriptions.json")?)?;
    for case in &descriptions.cases {
        report.case(&case.input, description(case));
    }
    Ok(())
}

/// The text of a case: the extraction wrote bytes of Go's `\xNN` as the characters of their numbers.
fn bytes(text: &str) -> String {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match latin {
        Some(bytes) if !text.is_ascii() => String::from_utf8_lossy(&bytes).into_owned(),
        _ => text.to_owned(),
    }
}

fn expression(case: &Expression) -> Result<(), String> {
    let input = bytes(&case.input);
    match (promql::parse(&input), case.valid) {
        (Ok(expr), true) => {
            let printed = expr.to_string();
            let again = promql::parse(&printed).map_err(|e| format!("prints as {printed:?}, which fails: {e}"))?;
            if again.to_string() == printed { Ok(()) } else { Err(format!("prints as {printed:?}, then as {again}")) }
        }
        (Ok(_), false) => Err(format!("expected {:?}", case.upstream_errors)),
        (Err(e), true) => Err(format!("valid, got {e}")),
        (Err(e), false) => match case.upstream_errors.first() {
            Some(expected) if *expected != e.message => Err(format!("expected {expected:?}, got {:?}", e.message)),
            _ => Ok(()),
        },
    }
}

fn description(case: &Description) -> Result<(), String> {
    let described = match (promql::parse_series_description(&case.input), case.fail) {
        (Ok(described), false) => described,
        (Ok(_), true) => return Err("expected a failure".to_owned()),
        (Err(_), true) => return Ok(()),
        (Err(e), false) => return Err(e.to_string()),
    };
    let expected = case.expected_values["args"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let same = |value: &SequenceValue, expected: &Value| match (value, expected.as_f64()) {
        (SequenceValue::Float(v), Some(expected)) => *v == expected,
        // `none` and other names of the source; what they stand for is not in the table.
        (SequenceValue::Omitted, None) => true,
        (SequenceValue::Float(v), None) => v.is_nan() || v.is_infinite(),
        _ => false,
    };
    if described.values.len() == expected.len() && described.values.iter().zip(expected).all(|(v, e)| same(v, e)) {
        return Ok(());
    }
    Err(format!("expected {expected:?}, got {:?}", described.values))
}
