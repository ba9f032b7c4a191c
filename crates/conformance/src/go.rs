//! Values that were cut out of Go tables: what was not evaluated there is `{"$call": …, "args": […]}` or `{"$id": …}`.

use serde_json::Value;

/// The arguments of the last call of `function` inside `value`, depth first.
pub(crate) fn last_call<'v>(value: &'v Value, function: &str) -> Option<&'v [Value]> {
    let args = value["args"].as_array()?;
    match value["$call"] == function {
        true => Some(args),
        false => args.iter().rev().find_map(|a| last_call(a, function)),
    }
}

/// A word: a string, or a constant whose name ends with it.
pub(crate) fn word(value: &Value) -> String {
    match value["$id"].as_str() {
        Some(id) => id.trim_start_matches("model.MetricType").to_lowercase(),
        None => value.as_str().unwrap_or_default().to_owned(),
    }
}

/// The pairs that `labels.FromStrings` makes, sorted.
pub(crate) fn labels(value: &Value) -> Option<Vec<(String, String)>> {
    let words: Vec<String> = last_call(value, "labels.FromStrings")?.iter().map(word).collect();
    let mut pairs: Vec<_> = words.chunks(2).map(|p| (p[0].clone(), p.get(1).cloned().unwrap_or_default())).collect();
    pairs.sort();
    Some(pairs)
}
