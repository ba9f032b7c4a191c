//! Prometheus' text exposition format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), read as Prometheus 3 reads it: with quoted UTF-8
//! names, and with the `le` of histograms and the `quantile` of summaries brought into one form (`1` becomes `1.0`).

mod number;
mod parse;

use std::borrow::Cow;

pub use parse::parse;

use crate::MetricKind;

/// Takes what a scrape exposes, in the order of the text. After an error of [`parse`] everything taken is to be dropped.
pub trait ExpositionSink {
    /// One sample: labels sorted by name (`__name__` among them), names unique, values not empty; a value (every NaN is
    /// Prometheus' plain NaN, so that none is a staleness marker); milliseconds since the Unix epoch where the text has a time.
    fn sample(&mut self, labels: &[(Cow<'_, str>, Cow<'_, str>)], value: f64, time_ms: Option<i64>);
    /// A `# TYPE` line.
    fn kind(&mut self, family: &str, kind: MetricKind);
    /// A `# HELP` line.
    fn help(&mut self, family: &str, help: &str);
}
