//! Exemplars, as both versions of remote write and OTLP bring them.

use crate::{Exemplar, SampleSink, Summary};

/// The most characters that an exemplar's label names and values may have together (OpenMetrics; Prometheus'
/// `ExemplarMaxLabelSetLength`).
pub(crate) const MAX_LABELS: usize = 128;

const TOO_LONG: &str = "label length for exemplar exceeds maximum of 128 UTF-8 characters";
const DUPLICATE: &str = "exemplars with a duplicate label name";
const NO_NAME: &str = "exemplars with an empty label name";

/// Brings labels into order: sorted, without empty values. The error says why the exemplar is not kept.
fn sort_labels(labels: &mut Vec<(&str, &str)>) -> Result<(), &'static str> {
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    if labels.windows(2).any(|w| w[0].0 == w[1].0) {
        return Err(DUPLICATE);
    }
    if labels.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(NO_NAME);
    }
    let characters: usize = labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
    if characters > MAX_LABELS { Err(TOO_LONG) } else { Ok(()) }
}

/// Passes on an exemplar of the current series, or counts why not.
pub(crate) fn pass<S: SampleSink + ?Sized>(
    labels: &mut Vec<(&str, &str)>,
    time_ms: i64,
    value: f64,
    summary: &mut Summary,
    sink: &mut S,
) {
    match sort_labels(labels) {
        Ok(()) => {
            sink.exemplar(&Exemplar { labels, time_ms, value });
            summary.exemplars += 1;
        }
        Err(reason) => summary.skipped.add(reason),
    }
}
