//! What to scrape, validated.

use std::time::Duration;

/// One job of `scrape_configs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// The `job` label, unique.
    pub job_name: String,
    /// How often; above zero.
    pub interval: Duration,
    /// How long an answer may take; at most the interval.
    pub timeout: Duration,
    /// Begins with `/`.
    pub metrics_path: String,
    /// Query parameters, in order.
    pub params: Vec<(String, String)>,
    /// Whether a scraped label wins over the target's label of the same name.
    pub honor_labels: bool,
    /// Whether timestamps in the exposition are kept.
    pub honor_timestamps: bool,
    /// Bytes that an exposition may have after inflating.
    pub body_size_limit: usize,
    /// Samples that an exposition may have; 0 for no limit.
    pub sample_limit: u64,
    /// What to scrape.
    pub targets: Vec<TargetConfig>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// `host:port`; the `instance` label unless `labels` has one.
    pub address: String,
    /// Labels of every sample of the target.
    pub labels: Vec<(String, String)>,
}
