//! Tempo's metrics queries over a hundred traces of one span each.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use model::{Tenant, TimeRange};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use store::Reader;
use traceql::Question;
use traceql::metrics::{Series, Window, evaluate};

use crate::report::Report;
use crate::traces::{self, any_value};

#[derive(Deserialize)]
struct Case {
    query: String,
    start_ns: i64,
    end_ns: i64,
    step_ns: i64,
    #[serde(default)]
    expected: Json,
    error: Option<String>,
}

/// The suite.
pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    traces::run::<Case>(folder, report)
}

impl traces::Case for Case {
    type Answer = Vec<(String, Vec<(i64, f64)>)>;

    fn query(&self) -> &str {
        &self.query
    }

    fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn answer(&self, reader: &dyn Reader) -> Result<Self::Answer, String> {
        let query = traceql::parse(&self.query).map_err(|e| e.to_string())?;
        let window = Window::new(self.start_ns, self.end_ns, self.step_ns)?;
        let (tenant, cancelled) = (Tenant::default(), AtomicBool::new(false));
        let question = Question {
            reader,
            tenant: &tenant,
            range: TimeRange::ALL,
            limit: 0,
            spans_per_set: 0,
            memory: 64 << 20,
            cancelled: &cancelled,
        };
        let series = evaluate(&question, &query, &window, 0).map_err(|e| e.to_string())?;
        Ok(series.iter().map(|s| print_series(s, &window)).collect())
    }

    fn judge(&self, answer: Self::Answer) -> Result<(), String> {
        let mut got = answer;
        let mut expected: Vec<(String, Vec<(i64, f64)>)> =
            self.expected["series"].as_array().into_iter().flatten().map(read_series).collect();
        without_ties(&mut got, &mut expected);
        got.sort_by(|a, b| a.0.cmp(&b.0));
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        let same = got.len() == expected.len()
            && got.iter().zip(&expected).all(|((la, a), (lb, b))| {
                la == lb && a.len() == b.len() && a.iter().zip(b).all(|((ta, va), (tb, vb))| ta == tb && near(*va, *vb))
            });
        if same { Ok(()) } else { Err(format!("{got:?}, expected {expected:?}")) }
    }
}

/// Which of equally frequent values `compare()` shows is left open: only how frequent they are is looked at.
fn without_ties(got: &mut [(String, Vec<(i64, f64)>)], expected: &mut [(String, Vec<(i64, f64)>)]) {
    let labels =
        |side: &[(String, Vec<(i64, f64)>)]| side.iter().map(|(l, _)| l.clone()).collect::<std::collections::HashSet<_>>();
    let (ours, theirs) = (labels(got), labels(expected));
    for (side, other) in [(got, theirs), (expected, ours)] {
        for (label, samples) in side.iter_mut() {
            if label.contains("__meta_type") && !other.contains(label) {
                let head = label.split("\"value\"").take(2).collect::<Vec<_>>().join("\"value\"");
                let total: f64 = samples.iter().map(|(_, v)| v).sum();
                *label = format!("{head} {total}");
                samples.clear();
            }
        }
    }
}

fn read_series(series: &Json) -> (String, Vec<(i64, f64)>) {
    let samples = series["samples"].as_array().into_iter().flatten().map(|sample| {
        let time = sample["timestampMs"].as_str().and_then(|t| t.parse().ok()).unwrap_or(0);
        // A value of 0 is left out.
        (time, sample["value"].as_f64().unwrap_or(0.0))
    });
    let labels: Vec<Json> = series["labels"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|l| match l["value"]["doubleValue"].as_f64() {
            Some(number) => json!({"key": l["key"], "value": {"doubleValue": number}}),
            None => l.clone(),
        })
        .collect();
    (json!(labels).to_string(), samples.collect())
}

fn print_series(series: &Series, window: &Window) -> (String, Vec<(i64, f64)>) {
    let labels: Vec<Json> = series.labels.iter().map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect();
    let samples = series.values.iter().enumerate().filter(|(_, v)| !v.is_nan());
    (json!(labels).to_string(), samples.map(|(i, v)| (window.timestamp(i) / 1_000_000, *v)).collect())
}
