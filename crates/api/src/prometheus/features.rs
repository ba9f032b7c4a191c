//! `/api/v1/features`: what the server can do, by category, in Prometheus' names (`util/features`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::envelope;
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;

/// Words of the language that are no functions and no operators.
const WORDS: [&str; 18] = [
    "anchored",
    "at_modifier",
    "bool",
    "by",
    "duration_expr",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "per_step_stats",
    "smoothed",
    "without",
];

pub(super) async fn features(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let on = |names: &[&'static str]| -> Map<String, Value> { names.iter().map(|n| ((*n).to_owned(), true.into())).collect() };
    let functions: Vec<&str> = promql::functions().map(|f| f.name).collect();
    let mut operators: Vec<&str> = promql::BinaryOp::ALL.iter().map(|op| op.as_str()).collect();
    operators.extend(promql::AggregateOp::ALL.iter().map(|op| op.as_str()));
    let data = json!({
        "api": {
            "admin": api.settings.admin,
            "exclude_alerts": true,
            "label_values_match": true,
            "lifecycle": false,
            "otlp_write_receiver": true,
            "query_stats": true,
            "query_warnings": true,
            "remote_write_receiver": true,
            "time_range_labels": true,
            "time_range_series": true,
        },
        "promql": on(&WORDS),
        "promql_functions": on(&functions),
        "promql_operators": on(&operators),
        "tsdb": {"delayed_compaction": false, "exemplar_storage": true, "native_histograms": true},
    });
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}
