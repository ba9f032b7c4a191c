//! The scraper's targets as the Prometheus API shows them.

use api::ScrapeTarget;
use collector::scrape::{TargetSnapshot, Targets};

/// The scraper's targets.
pub(crate) struct Scraped(pub(crate) Targets);

impl api::Targets for Scraped {
    fn active(&self) -> Vec<ScrapeTarget> {
        self.0.snapshot().into_iter().map(shown).collect()
    }
}

fn shown(target: TargetSnapshot) -> ScrapeTarget {
    ScrapeTarget {
        pool: target.job,
        url: target.url,
        discovered: target.discovered_labels,
        labels: target.labels,
        health: target.health.as_str(),
        last_error: target.last_error,
        last_scrape: target.last_scrape,
        last_duration: target.last_duration,
        interval: target.interval,
        timeout: target.timeout,
    }
}
