//! A correlation event as it is read: all parts of a trace, put together.

use std::collections::BTreeMap;

use model::{SpanId, TraceId};
use serde_json::{Value as Json, json};

use crate::window::{Joined, LogId, Part};

/// What is known of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The trace.
    pub trace: TraceId,
    /// Its parts by the ids of their spans, oldest arrival first.
    pub parts: Vec<(SpanId, Part)>,
    /// Related spans, at most [`crate::MAX_LINKS`] of them, oldest first.
    pub spans: Vec<SpanId>,
}

/// RFC 3339 with nanoseconds as far as there are any.
#[must_use]
pub fn time_text(ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(ns.into()).map_or_else(|_| ns.to_string(), |t| t.to_string())
}

fn unique<T: PartialEq + Clone>(all: impl Iterator<Item = T>, most: usize) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for item in all {
        if out.len() < most && !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

impl Event {
    /// The event of `parts`, of which equal ones (written twice around a crash) count once.
    #[must_use]
    pub fn new(trace: TraceId, mut parts: Vec<(SpanId, Part)>) -> Self {
        parts.sort_by_key(|(id, p)| (p.arrived, *id));
        parts.dedup_by_key(|(id, _)| *id);
        Self { trace, parts, spans: Vec::new() }
    }

    fn all(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().map(|(_, p)| p)
    }

    fn sum(&self, count: impl Fn(&Part) -> u64) -> u64 {
        self.all().map(count).sum()
    }

    /// The newest first time of a part: what the order of events goes by.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.all().map(|p| p.times.0).max().unwrap_or(i64::MIN)
    }

    /// Services, each once, in order of appearance.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        unique(self.all().flat_map(|p| p.services.iter().map(|service| service.to_string())), 256)
    }

    /// First and last time of the related records.
    #[must_use]
    pub fn times(&self) -> (i64, i64) {
        self.all().fold((i64::MAX, i64::MIN), |(a, b), p| (a.min(p.times.0), b.max(p.times.1)))
    }

    /// Records joined by a key, and candidates, each once.
    #[must_use]
    pub fn joined(&self) -> Vec<&Joined> {
        let mut all: Vec<&Joined> = self.all().flat_map(|p| &p.joined).collect();
        all.sort_by_key(|j| (j.at, !j.certain));
        all.dedup_by_key(|j| j.at);
        all.sort_by_key(|j| j.log);
        all
    }

    /// Values of each key.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, value) in self.all().flat_map(|p| &p.keys) {
            let values = keys.entry(key).or_default();
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
        keys
    }

    /// As `/api/correlations` shows it.
    #[must_use]
    pub fn json(&self) -> Json {
        let (first, last) = self.times();
        let joined = self.joined();
        let certain = joined.iter().filter(|j| j.certain).count() as u64;
        let failed = joined.iter().filter(|j| j.certain && is_error(&j.severity)).count() as u64;
        let mut signals = unique(self.all().flat_map(Part::signals), 3);
        signals.sort_by_key(|s| ["traces", "logs", "metrics"].iter().position(|o| o == s));
        let arrived = self.all().fold((i64::MAX, i64::MIN), |(a, b), p| (a.min(p.arrived.0), b.max(p.arrived.1)));
        let root = self.all().find_map(|p| p.root.as_ref());
        let spans: Vec<String> = self.spans.iter().map(SpanId::to_string).collect();
        let logs: Vec<String> = self.all().flat_map(|p| &p.log_ids).map(LogId::to_string).collect();
        let shown: Vec<String> = self.parts.iter().filter(|(_, p)| p.joins()).map(|(id, _)| id.to_string()).collect();
        let exemplars: Vec<Json> = (self.all().flat_map(|p| &p.exemplars))
            .map(|e| json!({"metric": e.metric, "service": e.service, "time": time_text(e.time), "value": e.value}))
            .collect();
        let pick = |wanted: bool| joined.iter().filter(|j| j.certain == wanted).map(|j| joined_json(j)).collect::<Vec<_>>();
        json!({
            "trace_id": self.trace.to_string(),
            "services": self.services(),
            "signals": signals,
            "root": root.map(|(service, name)| json!({"service": **service, "name": **name})),
            "first": time_text(first),
            "last": time_text(last),
            "duration_ms": last.saturating_sub(first) as f64 / 1e6,
            "span_count": self.sum(|p| p.spans),
            "log_count": self.sum(|p| p.logs) + certain,
            "log_count_by_trace_id": self.sum(|p| p.logs),
            "log_count_by_key": certain,
            "candidate_count": joined.len() as u64 - certain,
            "error_count": self.sum(|p| p.errors),
            "error_log_count": self.sum(|p| p.error_logs) + failed,
            "exemplar_count": self.sum(|p| p.exemplar_count),
            "odd_times": self.sum(|p| p.odd_times),
            "keys": self.keys(),
            "span_ids": spans,
            "log_ids": logs,
            "exemplars": exemplars,
            "joined_logs": pick(true),
            "candidate_logs": pick(false),
            "correlation_span_ids": shown,
            "first_arrival": time_text(arrived.0),
            "last_arrival": time_text(arrived.1),
            "windows": self.parts.len(),
            "amended": self.parts.len() > 1,
            "early": self.all().any(|p| p.early),
        })
    }
}

/// Whether a severity in words is that of an error: of a joined record the words are kept, not the number.
fn is_error(severity: &str) -> bool {
    let begins = |word: &str| severity.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
    ["err", "fatal", "crit", "alert", "emerg", "panic"].into_iter().any(begins)
}

/// A joined record with its evidence.
#[must_use]
pub fn joined_json(j: &Joined) -> Json {
    json!({
        "log_id": j.log.to_string(),
        "time": time_text(j.log.time),
        "service": j.service,
        "host": j.host,
        "severity": j.severity,
        "line": j.line,
        "evidence": {
            "key": j.evidence.key,
            "value": j.evidence.value,
            "found_in": j.evidence.found,
            "score": j.evidence.score,
            "rank": j.evidence.rank,
            "candidates": j.evidence.candidates,
            "distance_ms": j.evidence.distance as f64 / 1e6,
            "notes": j.evidence.notes,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::is_error;

    #[test]
    fn severities_of_errors_are_known_by_their_words() {
        for severity in ["ERROR", "Error", "err", "ERROR2", "FATAL", "crit", "Critical", "alert", "emerg", "panic"] {
            assert!(is_error(severity), "{severity}");
        }
        for severity in ["", "INFO", "warn", "notice", "er", "debug", "ähnlich"] {
            assert!(!is_error(severity), "{severity}");
        }
    }
}
