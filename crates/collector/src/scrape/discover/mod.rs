//! Where targets come from: each source tells its job all of its groups whenever they may have changed. A source that
//! cannot be asked keeps what it said before.

mod dns;
mod docker;
mod file;
mod http;

use std::time::Duration;

use prometheus::{Discovery, TargetGroup};
use tokio::sync::mpsc;

use super::Surroundings;

/// Bytes that an answer about targets may have.
const ANSWER: usize = 32 << 20;

/// How long a source may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

type Answer = Result<Vec<TargetGroup>, String>;

/// Asks source number `at` of a job for ever.
pub(super) async fn run(
    source: Discovery,
    job: String,
    around: Surroundings,
    at: usize,
    tell: mpsc::Sender<(usize, Vec<TargetGroup>)>,
) {
    match source {
        Discovery::Static(groups) => {
            let _ = tell.send((at, groups)).await;
        }
        Discovery::File { files, refresh } => {
            let mut reader = file::Reader::new(files, job.clone());
            // Files are looked at often and read when they have changed; `refresh` is for what that does not see.
            let mut last = tokio::time::Instant::now();
            let mut read = true;
            loop {
                if read || reader.changed() {
                    last = tokio::time::Instant::now();
                    if tell.send((at, reader.groups())).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_secs(1).min(refresh)).await;
                read = last.elapsed() >= refresh;
            }
        }
        Discovery::Http { url, client, refresh } => {
            poll(http::Server::new(url, &client, refresh, &around), "http_sd_configs", refresh, (&job, at), &tell).await;
        }
        Discovery::Dns { names, record, port, refresh } => {
            poll(Ok(dns::Names::new(names, record, port)), "dns_sd_configs", refresh, (&job, at), &tell).await;
        }
        Discovery::Docker { refresh, .. } => {
            poll(docker::Daemon::new(&source, &around), "docker_sd_configs", refresh, (&job, at), &tell).await;
        }
        Discovery::Other { kind, .. } => {
            tracing::error!(job, "{kind} is known, not supported by Braid");
        }
    }
}

/// What can be asked for all of its groups.
trait Source: Sync {
    fn groups(&self) -> impl Future<Output = Answer> + Send;
}

/// Asks a source again and again.
async fn poll<S: Source>(
    source: Result<S, String>,
    kind: &str,
    refresh: Duration,
    (job, at): (&str, usize),
    tell: &mpsc::Sender<(usize, Vec<TargetGroup>)>,
) {
    let source = match source {
        Ok(source) => source,
        Err(why) => return tracing::error!(job, "{kind}: {why}"),
    };
    loop {
        match source.groups().await {
            Ok(groups) => {
                if tell.send((at, groups)).await.is_err() {
                    return;
                }
            }
            Err(why) => tracing::warn!(job, "{kind}: {why}"),
        }
        tokio::time::sleep(refresh.max(Duration::from_millis(100))).await;
    }
}
