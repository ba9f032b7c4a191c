//! Tempo's searches over two traces: spansets, their attributes, and the traces' summaries.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use model::{Tenant, TimeRange};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use store::Reader;
use traceql::{FoundTrace, Plan, Question};

use crate::report::Report;
use crate::traces::{self, any_value};

#[derive(Deserialize)]
struct Case {
    query: String,
    #[serde(default)]
    expected: Json,
    error: Option<String>,
}

/// As in the run that gave the expected answers.
const LIMIT: usize = 20;

/// The suite.
pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    traces::run::<Case>(folder, report)
}

impl traces::Case for Case {
    type Answer = Vec<Json>;

    fn query(&self) -> &str {
        &self.query
    }

    fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn answer(&self, reader: &dyn Reader) -> Result<Self::Answer, String> {
        let query = traceql::parse(&self.query).map_err(|e| e.to_string())?;
        let plan = Plan::new(&query).ok_or("a metrics query")?;
        let (tenant, cancelled) = (Tenant::default(), AtomicBool::new(false));
        let question = Question {
            reader,
            tenant: &tenant,
            range: TimeRange::ALL,
            limit: LIMIT,
            spans_per_set: LIMIT,
            memory: 64 << 20,
            cancelled: &cancelled,
        };
        let found = traceql::search(&question, &plan).map_err(|e| e.to_string())?;
        Ok(found.traces.iter().map(trace).collect())
    }

    fn judge(&self, answer: Self::Answer) -> Result<(), String> {
        let got = sorted(answer);
        let expected = self.expected["traces"].as_array().cloned().unwrap_or_default();
        let expected = sorted(expected);
        if got == expected { Ok(()) } else { Err(format!("{}, expected {}", json!(got), json!(expected))) }
    }
}

fn attributes(list: &[(String, traceql::Static<'static>)]) -> Vec<Json> {
    list.iter().map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect()
}

fn trace(trace: &FoundTrace) -> Json {
    let sets = trace.sets.iter().map(|set| {
        let spans = set.spans.iter().map(|span| {
            let mut out = json!({
                "spanID": span.span_id.to_string(),
                "startTimeUnixNano": span.start.to_string(),
                "durationNanos": span.duration.to_string(),
            });
            if let Some(name) = &span.name {
                out["name"] = json!(name);
            }
            if !span.attributes.is_empty() {
                out["attributes"] = json!(attributes(&span.attributes));
            }
            out
        });
        let mut out = json!({"spans": spans.collect::<Vec<_>>(), "matched": set.matched});
        if !set.attributes.is_empty() {
            out["attributes"] = json!(attributes(&set.attributes));
        }
        out
    });
    let services = trace.services.iter().map(|(name, (spans, errors))| {
        let stats = if *errors == 0 { json!({"spanCount": spans}) } else { json!({"spanCount": spans, "errorCount": errors}) };
        (name.clone(), stats)
    });
    let (service, name) = trace.root.clone().unwrap_or_default();
    json!({
        "traceID": trace.trace_id.to_string().trim_start_matches('0'),
        "rootServiceName": service,
        "rootTraceName": name,
        "startTimeUnixNano": trace.start.to_string(),
        "durationMs": trace.duration / 1_000_000,
        "spanSets": sets.collect::<Vec<_>>(),
        "serviceStats": services.collect::<serde_json::Map<_, _>>(),
    })
}

/// Neither traces, nor spansets, nor spans, nor the attributes of a span come in an order.
fn sorted(mut traces: Vec<Json>) -> Vec<Json> {
    fn sort(list: &mut Json) {
        if let Json::Array(items) = list {
            items.sort_by_key(ToString::to_string);
        }
    }
    for trace in &mut traces {
        for set in trace["spanSets"].as_array_mut().into_iter().flatten() {
            for span in set["spans"].as_array_mut().into_iter().flatten() {
                if let Some(attributes) = span.get_mut("attributes") {
                    sort(attributes);
                }
            }
            sort(&mut set["spans"]);
        }
        sort(&mut trace["spanSets"]);
    }
    traces.sort_by_key(ToString::to_string);
    traces
}
