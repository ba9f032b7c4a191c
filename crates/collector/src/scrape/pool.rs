//! The targets of one job: found, relabelled, scraped.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{ScrapeConfig, TargetGroup};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::page::Page;
use super::target::{Found, Pairs, Target, of_group};
use super::worker::{self, Work};
use super::{Surroundings, discover};

/// Changes of targets are taken together for so long.
const SETTLE: Duration = Duration::from_millis(100);

/// Sources that have not answered since a change of the configuration are waited for so long before their targets go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Dropped targets that are kept to be shown where the configuration sets no limit.
const SHOWN: usize = 10_000;

/// Whether a job has more targets than it may: then every scrape of it fails.
#[derive(Debug, Clone, Default)]
pub(super) struct TargetLimit(Arc<Mutex<Option<String>>>);

impl TargetLimit {
    pub(super) fn exceeded(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// What a job has found, to be shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) active: Vec<Arc<Target>>,
    pub(super) dropped: Vec<Pairs>,
    pub(super) dropped_count: usize,
}

/// A handle of a job.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) shown: Arc<Mutex<Shown>>,
    configs: mpsc::UnboundedSender<(Arc<ScrapeConfig>, Client)>,
    stop: CancellationToken,
}

impl Pool {
    /// Starts a job.
    ///
    /// # Errors
    /// What keeps its client from being made.
    pub(super) fn start(config: &ScrapeConfig, around: &Surroundings) -> Result<Self, String> {
        let client = Client::new(&config.http, None)?;
        let config = Arc::new(config.clone());
        let shown = Arc::new(Mutex::new(Shown::default()));
        let (configs, received) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let job = Job {
            config: Arc::clone(&config),
            client,
            around: around.clone(),
            shown: Arc::clone(&shown),
            running: Vec::new(),
            limit: TargetLimit::default(),
        };
        around.tasks.spawn(job.run(received, gone.clone()));
        Ok(Self { config, shown, configs, stop: gone })
    }

    /// Goes on with another configuration of the same job.
    ///
    /// # Errors
    /// What keeps its client from being made; the job stays as it was.
    pub(super) fn reconfigure(&mut self, config: &ScrapeConfig) -> Result<(), String> {
        if *self.config == *config {
            return Ok(());
        }
        let client = Client::new(&config.http, None)?;
        self.config = Arc::new(config.clone());
        // A job that has ended is one that is stopping with everything else.
        let _ = self.configs.send((Arc::clone(&self.config), client));
        Ok(())
    }

    /// The job is no longer configured: ends its series.
    pub(super) fn end(&self) {
        self.stop.cancel();
    }
}

/// A target that is being scraped.
struct Running {
    work: Work,
    stop: CancellationToken,
    task: JoinHandle<Page>,
}

struct Job {
    config: Arc<ScrapeConfig>,
    client: Client,
    around: Surroundings,
    shown: Arc<Mutex<Shown>>,
    running: Vec<Running>,
    limit: TargetLimit,
}

/// The sources of a configuration, and what they have answered.
struct Sources {
    groups: Vec<Option<Vec<TargetGroup>>>,
    found: mpsc::Receiver<(usize, Vec<TargetGroup>)>,
    stop: CancellationToken,
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Job {
    async fn run(mut self, mut configs: mpsc::UnboundedReceiver<(Arc<ScrapeConfig>, Client)>, gone: CancellationToken) {
        let stop = self.around.stop.clone();
        let mut sources = self.sources();
        let mut patience = tokio::time::Instant::now() + PATIENCE;
        // When what was found is to be put into effect.
        let mut due: Option<tokio::time::Instant> = None;
        loop {
            let wake = due.unwrap_or_else(|| tokio::time::Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => {
                    drop(sources);
                    return self.replace(Vec::new()).await;
                }
                Some((config, client)) = configs.recv() => {
                    let same = config.discovery == self.config.discovery;
                    (self.config, self.client) = (config, client);
                    if !same {
                        sources = self.sources();
                        patience = tokio::time::Instant::now() + PATIENCE;
                    }
                    due = Some(tokio::time::Instant::now());
                }
                Some((source, groups)) = sources.found.recv() => {
                    sources.groups[source] = Some(groups);
                    due.get_or_insert_with(|| tokio::time::Instant::now() + SETTLE);
                }
                () = tokio::time::sleep_until(wake), if due.is_some() => {
                    let now = tokio::time::Instant::now();
                    if sources.groups.iter().any(Option::is_none) && now < patience && !self.running.is_empty() {
                        due = Some(patience);
                        continue;
                    }
                    due = None;
                    let targets = self.targets(&sources.groups);
                    self.replace(targets).await;
                }
            }
        }
    }

    fn sources(&self) -> Sources {
        let stop = self.around.stop.child_token();
        let (sender, found) = mpsc::channel(64);
        for (at, source) in self.config.discovery.iter().enumerate() {
            let (job, around) = (self.config.job_name.clone(), self.around.clone());
            let task = discover::run(source.clone(), job, around, at, sender.clone());
            let stop = stop.clone();
            self.around.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            });
        }
        // The sender stays open in no task: a job without sources simply never hears anything.
        Sources { groups: vec![None; self.config.discovery.len()], found, stop }
    }

    /// Every target of the groups, once; what relabelling dropped goes to be shown.
    fn targets(&self, groups: &[Option<Vec<TargetGroup>>]) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        let mut seen: HashSet<(String, Pairs)> = HashSet::new();
        let mut shown = Shown::default();
        let keep = match usize::try_from(self.config.limits.dropped_targets) {
            Ok(0) | Err(_) => SHOWN,
            Ok(limit) => limit,
        };
        for group in groups.iter().flatten().flatten() {
            for found in of_group(&self.config, group) {
                match found {
                    Ok(Found::Target(target)) => {
                        let (url, labels) = target.identity();
                        if seen.insert((url.to_owned(), labels.clone())) {
                            targets.push(target);
                        }
                    }
                    Ok(Found::Dropped(labels)) => {
                        shown.dropped_count += 1;
                        if shown.dropped.len() < keep {
                            shown.dropped.push(labels);
                        }
                    }
                    Err(why) => {
                        tracing::warn!(job = self.config.job_name, source = group.source, "creating a target failed: {why}")
                    }
                }
            }
        }
        let mut place = self.shown.lock();
        (place.dropped, place.dropped_count) = (shown.dropped, shown.dropped_count);
        targets
    }

    /// Scrapes these targets and no others.
    async fn replace(&mut self, targets: Vec<Target>) {
        let limit = self.config.limits.targets;
        *self.limit.0.lock() = (limit > 0 && targets.len() as u64 > limit)
            .then(|| format!("target_limit exceeded (number of targets: {}, limit: {limit})", targets.len()));
        let mut before: HashMap<(String, Pairs), Running> = HashMap::new();
        for running in self.running.drain(..) {
            let (url, labels) = running.work.target.identity();
            before.insert((url.to_owned(), labels.clone()), running);
        }
        let mut next = Vec::new();
        for target in targets {
            let (url, labels) = target.identity();
            let same = before.remove(&(url.to_owned(), labels.clone()));
            next.push((target, same));
        }
        // What is gone ends before what is new begins: they may share series.
        for (_, running) in before {
            running.stop.cancel();
            if let Ok(page) = running.task.await {
                worker::end(running.work, page).await;
            }
        }
        for (target, same) in next {
            let page = match same {
                Some(running) if self.goes_on(&running, &target) => {
                    self.running.push(running);
                    continue;
                }
                Some(running) => {
                    running.stop.cancel();
                    running.task.await.unwrap_or_default()
                }
                None => Page::new(self.around.memory.hold()),
            };
            let client = self.client.of(&target.url).unwrap_or_else(|why| {
                tracing::error!(job = self.config.job_name, url = target.url, "{why}");
                self.client.clone()
            });
            let work = Work {
                target: Arc::new(target),
                config: Arc::clone(&self.config),
                client,
                ingest: Arc::clone(&self.around.ingest),
                target_limit: self.limit.clone(),
            };
            let stop = self.around.stop.child_token();
            let task = self.around.tasks.spawn(worker::run(work.clone(), page, stop.clone()));
            self.running.push(Running { work, stop, task });
        }
        self.shown.lock().active = self.running.iter().map(|r| Arc::clone(&r.work.target)).collect();
    }

    /// Whether a worker can stay as it is.
    fn goes_on(&self, running: &Running, target: &Target) -> bool {
        let old = &running.work.target;
        Arc::ptr_eq(&running.work.config, &self.config)
            && (old.interval, old.timeout) == (target.interval, target.timeout)
            && old.discovered == target.discovered
    }
}
