//! Asking for what was sent, over the APIs of Tempo, Loki and Prometheus.

use std::collections::BTreeMap;

use crate::braid::Braid;

/// Names of a trace's spans, sorted; empty when there is no such trace.
pub(crate) fn spans(braid: &Braid, trace_id: &str) -> Vec<String> {
    let reply = braid.get("tempo", &format!("/api/traces/{trace_id}"));
    if reply.status == 404 {
        return Vec::new();
    }
    let trace = reply.expect(200).json();
    let each = |value: &serde_json::Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = each(&trace, "batches")
        .iter()
        .flat_map(|batch| each(batch, "scopeSpans"))
        .flat_map(|scope| each(&scope, "spans"))
        .filter_map(|span| span["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Lines that a LogQL query finds between two times (nanoseconds), oldest first.
pub(crate) fn lines(braid: &Braid, query: &str, start: u64, end: u64) -> Vec<String> {
    let query = encode(query);
    let path = format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&limit=5000&direction=forward");
    let found = braid.get("loki", &path).expect(200).json();
    let mut lines: Vec<(u64, String)> = found["data"]["result"]
        .as_array()
        .expect("streams")
        .iter()
        .flat_map(|stream| stream["values"].as_array().cloned().unwrap_or_default())
        .filter_map(|entry| Some((entry[0].as_str()?.parse().ok()?, entry[1].as_str()?.to_owned())))
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

/// An instant query at `time` (seconds): labels and values as they print.
pub(crate) fn instant(braid: &Braid, query: &str, time: f64) -> Vec<(BTreeMap<String, String>, String)> {
    let path = format!("/api/v1/query?query={}&time={time}", encode(query));
    let found = braid.get("prometheus", &path).expect(200).json();
    let series = found["data"]["result"].as_array().expect("a vector").clone();
    series
        .into_iter()
        .map(|s| {
            let labels = serde_json::from_value(s["metric"].clone()).expect("labels");
            (labels, s["value"][1].as_str().expect("a value").to_owned())
        })
        .collect()
}

pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
