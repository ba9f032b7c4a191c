//! Prometheus' cases of relabelling (`model/relabel`).

use std::path::Path;

use anyhow::Context;
use prometheus::NameScheme;
use prometheus::relabel::{Action, LabelBuilder, Rule, RuleText, process};
use serde_json::Value;

use crate::report::Report;

pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let file = folder.join("relabel.json");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let table: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
    for (at, case) in table["cases"].as_array().context("no cases")?.iter().enumerate() {
        report.case(format_args!("{at}: {} by {}", case["input"], case["relabel"]), check(case));
    }
    Ok(())
}

fn check(case: &Value) -> Result<(), String> {
    let pairs = |v: &Value| -> Vec<(String, String)> {
        let pairs = v.as_object().into_iter().flatten();
        pairs.map(|(n, v)| (n.clone(), v.as_str().unwrap_or_default().to_owned())).collect()
    };
    let rules = case["relabel"].as_array().into_iter().flatten().map(rule).collect::<Result<Vec<_>, _>>()?;
    let mut labels = LabelBuilder::new(pairs(&case["input"]));
    let kept = process(&rules, &mut labels);
    if kept == (case["drop"] == true) {
        return Err(format!("kept: {kept}"));
    }
    let (found, mut expected) = (labels.into_sorted(), pairs(&case["output"]));
    expected.sort();
    if kept && found != expected { Err(format!("{found:?} instead of {expected:?}")) } else { Ok(()) }
}

fn rule(value: &Value) -> Result<Rule, String> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let names = |v: &Value| v.as_str().map(str::to_owned);
    let action = Action::parse(value["Action"].as_str().unwrap_or("replace"))?;
    let rule = RuleText {
        source_labels: value["SourceLabels"].as_array().map(|a| a.iter().filter_map(names).collect()),
        separator: text("Separator"),
        regex: text("Regex"),
        modulus: value["Modulus"].as_u64().unwrap_or(0),
        target_label: text("TargetLabel").unwrap_or_default(),
        replacement: text("Replacement"),
        action,
    };
    Rule::new(rule, NameScheme::Utf8)
}
