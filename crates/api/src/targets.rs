//! What is scraped, as Prometheus' API shows it.

use std::time::{Duration, SystemTime};

/// A target of scraping.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeTarget {
    /// The job's name.
    pub pool: String,
    /// What is asked.
    pub url: String,
    /// Labels before relabelling, with `__address__` and the like.
    pub discovered: Vec<(String, String)>,
    /// Labels that its samples get.
    pub labels: Vec<(String, String)>,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// Why the last scrape failed; empty where it did not.
    pub last_error: String,
    /// When it was scraped last.
    pub last_scrape: Option<SystemTime>,
    /// How long that took.
    pub last_duration: Duration,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// What it says of its metrics, sorted by name.
    pub families: Vec<FamilyText>,
}

/// What a target says of a metric family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyText {
    /// The metric's name.
    pub name: String,
    /// `counter` and so on.
    pub kind: &'static str,
    /// What it means.
    pub help: String,
    /// What it is measured in.
    pub unit: String,
}

/// What relabelling dropped of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedTargets {
    /// The job's name.
    pub pool: String,
    /// The labels of each target before relabelling; some may be left out.
    pub discovered: Vec<Vec<(String, String)>>,
    /// How many there are.
    pub count: usize,
}

/// Knows what is scraped.
pub trait Targets: Send + Sync {
    /// All targets, in the order of the configuration.
    fn active(&self) -> Vec<ScrapeTarget>;
    /// What relabelling dropped: every job, in the order of the configuration.
    fn dropped(&self) -> Vec<DroppedTargets>;
}

/// Nothing is scraped.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTargets;

impl Targets for NoTargets {
    fn active(&self) -> Vec<ScrapeTarget> {
        Vec::new()
    }

    fn dropped(&self) -> Vec<DroppedTargets> {
        Vec::new()
    }
}
