//! Scraping of Prometheus targets.
//!
//! A job is a task ([`pool`]) that hears from its sources ([`discover`]) which targets there are, relabels them, and keeps
//! a task ([`worker`]) for each. A target is asked once an interval, at an offset of its own, so that the targets of a job
//! are not asked all at once and every target's samples are equally far apart. What it says becomes remote-write requests
//! and goes the way that every request goes. A series that a target no longer has, every series of a target that does not
//! answer, and of one that is gone, is ended with a staleness marker, so that queries do not go on with its last value.

mod client;
mod discover;
mod labels;
mod oauth2;
mod page;
mod pool;
mod target;
mod worker;

use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{Discovery, ScrapeConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Budget, Ingest};

pub use page::FamilyText;
pub use target::{Health, TargetSnapshot};

/// What every job shares.
#[derive(Clone)]
struct Surroundings {
    ingest: Arc<Ingest>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What the series of all targets may take.
    memory: Budget,
}

/// All jobs; clones are handles of the same ones.
#[derive(Clone)]
pub struct Scraper {
    around: Surroundings,
    pools: Arc<RwLock<Vec<pool::Pool>>>,
}

/// What relabelling dropped of a job, as `/api/v1/targets` shows it.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// The job's name.
    pub job: String,
    /// The labels of each target, as far as they are kept.
    pub discovered_labels: Vec<Vec<(String, String)>>,
    /// How many there are.
    pub count: usize,
}

/// What of a job Braid knows but cannot do; `None` where it can do all of it.
#[must_use]
pub fn unsupported(config: &ScrapeConfig) -> Option<String> {
    let mut what: Vec<&str> = config.http.unsupported.clone();
    for source in &config.discovery {
        match source {
            Discovery::Other { kind, .. } => what.push(kind),
            Discovery::Http { client, .. } | Discovery::Docker { client, .. } => what.extend(&client.unsupported),
            _ => {}
        }
    }
    let keys: Vec<String> = what.iter().map(|key| format!("`{key}`")).collect();
    (!keys.is_empty()).then(|| format!("{} of job {:?}: known, not supported by Braid", keys.join(", "), config.job_name))
}

impl Scraper {
    /// A scraper without jobs; its tasks are `tasks` and end with `stop`, what it knows of series takes at most `memory`.
    #[must_use]
    pub fn new(ingest: &Arc<Ingest>, tasks: &TaskTracker, stop: &CancellationToken, memory: Budget) -> Self {
        let around = Surroundings { ingest: Arc::clone(ingest), tasks: tasks.clone(), stop: stop.clone(), memory };
        Self { around, pools: Arc::default() }
    }

    /// Runs these jobs and no others. Targets that stay the same go on without a gap.
    ///
    /// # Errors
    /// What cannot be, job by job; the other jobs run as configured, those as before.
    pub fn apply(&self, configs: &[ScrapeConfig]) -> Result<(), String> {
        let mut pools = self.pools.write();
        let mut wrong = Vec::new();
        pools.retain(|pool| {
            let stays = configs.iter().any(|c| c.job_name == pool.config.job_name);
            if !stays {
                pool.end();
            }
            stays
        });
        for config in configs {
            let result = match pools.iter_mut().find(|p| p.config.job_name == config.job_name) {
                Some(pool) => pool.reconfigure(config),
                None => pool::Pool::start(config, &self.around).map(|pool| pools.push(pool)),
            };
            if let Err(why) = result {
                wrong.push(format!("job {:?}: {why}", config.job_name));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Does something for every job, in the order of their names, as Prometheus shows them.
    fn by_name<T>(&self, of: impl Fn(&pool::Pool) -> T) -> Vec<T> {
        let pools = self.pools.read();
        let mut sorted: Vec<&pool::Pool> = pools.iter().collect();
        sorted.sort_by(|a, b| a.config.job_name.cmp(&b.config.job_name));
        sorted.into_iter().map(of).collect()
    }

    /// The state of every target, job by job.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetSnapshot> {
        let of = |pool: &pool::Pool| {
            let shown = pool.shown.lock();
            shown.active.iter().map(|t| t.snapshot(&pool.config.job_name)).collect::<Vec<_>>()
        };
        self.by_name(of).into_iter().flatten().collect()
    }

    /// What relabelling dropped, job by job.
    #[must_use]
    pub fn dropped(&self) -> Vec<Dropped> {
        let of = |pool: &pool::Pool| {
            let shown = pool.shown.lock();
            let job = pool.config.job_name.clone();
            Dropped { job, discovered_labels: shown.dropped.clone(), count: shown.dropped_count }
        };
        self.by_name(of)
    }
}

#[cfg(test)]
mod tests {
    use prometheus::yaml::Node;

    use super::*;

    /// Job `j` with these keys, indented by two spaces from the second line on.
    pub(super) fn job(keys: &str) -> ScrapeConfig {
        let yaml = format!("scrape_configs:\n- job_name: j\n  {keys}\n");
        let node = Node::parse(&yaml).expect("YAML");
        prometheus::Config::scraping(&node).expect("good").scrape_configs.remove(0)
    }

    #[test]
    fn what_braid_cannot_do_is_named() {
        for (yaml, why) in [
            ("honor_labels: true", None),
            ("ec2_sd_configs: [{region: x}]", Some("`ec2_sd_configs` of job \"j\": known, not supported by Braid")),
            ("oauth2: {client_id: a, client_secret: b, token_url: 'http://x'}", None),
            (
                "oauth2: {client_id: a, client_certificate_key: k, grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', token_url: 'http://x'}",
                Some("`oauth2 with a certificate's key` of job \"j\": known, not supported by Braid"),
            ),
        ] {
            assert_eq!(unsupported(&job(yaml)).as_deref(), why);
        }
    }
}
