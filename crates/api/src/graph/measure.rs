//! What the generated metrics say about a range of time: how much each counter grew.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Labels, Tenant};
use store::{LabelMatcher, MatchOp, Reader, SeriesSamples};

use crate::answer::Failure;

/// How far before the range the value is looked for that a counter had at its start, milliseconds.
const LOOKBACK_MS: i64 = 300_000;

/// Requests of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Measure {
    pub(super) requests: f64,
    pub(super) failed: f64,
    /// Upper bound in seconds and how many took at most so long, ascending, the last to infinity.
    pub(super) buckets: Vec<(f64, f64)>,
}

impl Measure {
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        other.buckets.iter().for_each(|(bound, count)| self.bucket(*bound, *count));
    }

    fn bucket(&mut self, bound: f64, count: f64) {
        match self.buckets.binary_search_by(|(b, _)| b.total_cmp(&bound)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bound, count)),
        }
    }

    /// As PromQL's `histogram_quantile`: linear inside a bucket, the last bound for what is past it. Seconds.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        let rank = q * total;
        let at = self.buckets.iter().position(|(_, count)| *count >= rank)?;
        let (start, below) = at.checked_sub(1).map_or((0.0, 0.0), |i| self.buckets[i]);
        let (end, upto) = self.buckets[at];
        if end.is_infinite() {
            return Some(start);
        }
        Some(if upto > below { start + (end - start) * (rank - below) / (upto - below) } else { end })
    }
}

/// Requests from one service to another, as each of them sees them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Edge {
    pub(super) server: Measure,
    pub(super) client: Measure,
}

/// Everything about a range.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// By client, server and connection type.
    pub(super) edges: BTreeMap<(String, String, String), Edge>,
    /// What services were asked, by their own spans.
    pub(super) services: BTreeMap<String, Measure>,
}

pub(super) fn measure(
    reader: &dyn Reader,
    tenant: &Tenant,
    start: i64,
    end: i64,
    cancelled: &AtomicBool,
) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let bad = |e| Failure::Internal(format!("a matcher: {e}"));
    let each = |matchers: &[LabelMatcher], then: &mut dyn FnMut(&Labels, &str, f64)| {
        for series in reader.samples(tenant, matchers, start.saturating_sub(LOOKBACK_MS), end)? {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Failure::Cancelled);
            }
            let series = series?;
            let grown = grown(&series, start);
            // What only was there before the range is none of it.
            if let Some(grown) = grown {
                then(&series.labels, series.labels.get("__name__").unwrap_or(""), grown);
            }
        }
        Ok(())
    };
    let named = "traces_service_graph_request_(total|failed_total|server_seconds_bucket|client_seconds_bucket)";
    let edges = [LabelMatcher::new("__name__", MatchOp::Re, named).map_err(bad)?];
    each(&edges, &mut |labels, name, grown| {
        let get = |label| labels.get(label).unwrap_or("").to_owned();
        let edge = measured.edges.entry((get("client"), get("server"), get("connection_type"))).or_default();
        match name.rsplit('_').next() {
            Some("bucket") => {
                let side = if name.contains("_server_") { &mut edge.server } else { &mut edge.client };
                if let Some(bound) = labels.get("le").and_then(|le| le.parse().ok()) {
                    side.bucket(bound, grown);
                }
            }
            _ if name.ends_with("_failed_total") => {
                edge.server.failed += grown;
                edge.client.failed += grown;
            }
            _ => {
                edge.server.requests += grown;
                edge.client.requests += grown;
            }
        }
    })?;
    let spans = [
        LabelMatcher::new("__name__", MatchOp::Re, "traces_spanmetrics_(calls_total|latency_bucket)").map_err(bad)?,
        LabelMatcher::new("span_kind", MatchOp::Re, "SPAN_KIND_(SERVER|CONSUMER)").map_err(bad)?,
        LabelMatcher::new("service", MatchOp::Ne, "").map_err(bad)?,
    ];
    each(&spans, &mut |labels, name, grown| {
        let service = measured.services.entry(labels.get("service").unwrap_or("").to_owned()).or_default();
        if name.ends_with("_bucket") {
            if let Some(bound) = labels.get("le").and_then(|le| le.parse().ok()) {
                service.bucket(bound, grown);
            }
            return;
        }
        service.requests += grown;
        if labels.get("status_code") == Some("STATUS_CODE_ERROR") {
            service.failed += grown;
        }
    })?;
    measured.edges.retain(|_, edge| edge.server.requests > 0.0);
    Ok(measured)
}

/// How much a counter grew from `start` on: every step up, and all of it after a reset. `None` without a sample since then.
fn grown(series: &SeriesSamples, start: i64) -> Option<f64> {
    let (mut before, mut sum, mut any) = (None, 0.0, false);
    for (time, value) in series.times.iter().zip(&series.values) {
        if model::is_stale(*value) {
            before = None;
            continue;
        }
        if *time >= start {
            any = true;
            // A series that begins inside the range begins with a zero; without one its first value is where it began.
            sum += match before {
                Some(before) if *value >= before => value - before,
                Some(_) => *value,
                None => 0.0,
            };
        }
        before = Some(*value);
    }
    any.then_some(sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_counter_grows_by_its_steps_and_over_resets() {
        let grown_of = |samples: &[(i64, f64)]| {
            let (times, values) = samples.iter().copied().unzip();
            grown(&SeriesSamples::floats(Arc::default(), times, values), 100)
        };
        assert_eq!(grown_of(&[(0, 5.0), (50, 7.0), (110, 9.0), (120, 12.0)]), Some(5.0));
        assert_eq!(grown_of(&[(110, 0.0), (120, 3.0), (130, 1.0), (140, 2.0)]), Some(5.0), "a reset");
        assert_eq!(grown_of(&[(0, 5.0)]), None);
        let stale = f64::from_bits(model::STALE_NAN_BITS);
        assert_eq!(grown_of(&[(90, 5.0), (110, stale), (120, 0.0), (130, 2.0)]), Some(2.0));
    }
}
