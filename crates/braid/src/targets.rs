//! The scraper's targets as the Prometheus API shows them.

use api::{DroppedTargets, FamilyText, ScrapeTarget};
use collector::scrape::{Scraper, TargetSnapshot};

/// The scraper's targets.
pub(crate) struct Scraped(pub(crate) Scraper);

impl api::Targets for Scraped {
    fn active(&self) -> Vec<ScrapeTarget> {
        self.0.targets().into_iter().map(shown).collect()
    }

    fn dropped(&self) -> Vec<DroppedTargets> {
        let dropped = self.0.dropped().into_iter();
        dropped.map(|d| DroppedTargets { pool: d.job, discovered: d.discovered_labels, count: d.count }).collect()
    }
}

fn shown(target: TargetSnapshot) -> ScrapeTarget {
    let families = target.families.iter().map(|f| FamilyText {
        name: f.name.clone(),
        kind: f.kind.as_str(),
        help: f.help.clone(),
        unit: f.unit.clone(),
    });
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
        families: families.collect(),
    }
}
