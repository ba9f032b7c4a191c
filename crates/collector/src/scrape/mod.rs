//! Scraping of Prometheus targets: static ones, over HTTP.
//!
//! A target is asked once an interval, at an offset of its own, so that the targets of a job are not asked all at once and
//! every target's samples are equally far apart. What it says becomes a remote-write request and goes the way that every
//! request goes. A series that a target no longer has, and every series of a target that does not answer, is ended with a
//! staleness marker, so that queries do not go on with its last value.

mod client;
mod config;
mod labels;
mod page;
mod target;
mod worker;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Ingest;

pub use config::{ScrapeConfig, TargetConfig};
pub use target::{Health, TargetSnapshot};

/// All targets, for `/api/v1/targets`; clones are handles of the same ones.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    jobs: Arc<[String]>,
    targets: Arc<[Arc<target::Target>]>,
}

impl Targets {
    /// The state of every target, in the order of the configuration.
    #[must_use]
    pub fn snapshot(&self) -> Vec<TargetSnapshot> {
        self.targets.iter().map(|t| t.snapshot()).collect()
    }

    /// The jobs' names, in the order of the configuration.
    #[must_use]
    pub fn jobs(&self) -> &[String] {
        &self.jobs
    }
}

/// Starts a task of `tasks` for each target; they end with `stop`.
#[must_use]
pub fn start(configs: &[ScrapeConfig], ingest: &Arc<Ingest>, tasks: &TaskTracker, stop: &CancellationToken) -> Targets {
    let client = client::Client::new();
    let targets: Vec<Arc<target::Target>> =
        configs.iter().flat_map(|config| config.targets.iter().map(|t| Arc::new(target::Target::new(config, t)))).collect();
    for target in &targets {
        tasks.spawn(worker::run(Arc::clone(target), client.clone(), Arc::clone(ingest), stop.clone()));
    }
    Targets { jobs: configs.iter().map(|c| c.job_name.clone()).collect(), targets: targets.into() }
}
