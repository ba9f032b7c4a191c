//! `braid backup` and `braid restore`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use objects::{Bucket, Location, Settings};
use serde::Deserialize;
use store::StoreError;
use store::backup::{self, Backup, BackupError, Progress, Report, Snapshot};
use store::disk::{Disk, RealDisk};
use store::manifest::Manifest;

use crate::access::Access;
use crate::config::{Config, Overrides};
use crate::{open_store, snapshots};

/// The other server of an object store.
#[derive(Debug, Args)]
struct Store {
    /// The object store's server, where it is not the provider's: http://127.0.0.1:9000
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// S3's region
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
}

impl Store {
    fn connect(&self, url: &str) -> anyhow::Result<Arc<Bucket>> {
        collector::tls::provide();
        let settings = Settings { endpoint: self.endpoint.clone(), region: self.region.clone(), ..Settings::default() };
        Ok(Location::parse(url)?.connect(&settings)?)
    }
}

/// Copies what is stored to an object store or a folder. Exit codes: 0 done, 1 failed, 2 wrong flags or configuration,
/// 3 refused (in use, or there already), 4 the backup is damaged.
#[derive(Debug, Args)]
pub(crate) struct BackupCommand {
    /// Where to: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///folder
    #[arg(long, value_name = "URL")]
    to: String,
    /// The running server that has the data: http://127.0.0.1:3000
    #[arg(long, visible_alias = "url", value_name = "URL", conflicts_with_all = ["data_dir", "config"])]
    server: Option<String>,
    /// The data directory of a server that does not run [default: braid-data]
    #[arg(long, value_name = "DIR", env = "BRAID_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Its configuration file
    #[arg(short, long, value_name = "FILE", env = "BRAID_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Read all of the backup afterwards and compare checksums
    #[arg(long)]
    verify: bool,
    /// Keep so many backups there and remove older ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    #[command(flatten)]
    store: Store,
}

/// Makes a data directory of a backup. Exit codes: 0 done, 1 failed, 2 wrong flags, 3 refused (the directory is in use or holds
/// data), 4 the backup is damaged (nothing has changed).
#[derive(Debug, Args)]
pub(crate) struct RestoreCommand {
    /// Where from
    #[arg(long, value_name = "URL")]
    from: String,
    /// The data directory; it must be empty [default: braid-data]
    #[arg(long, value_name = "DIR", env = "BRAID_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Which backup [default: the newest]
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// Put what the directory holds aside, into replaced-<backup>/ below it
    #[arg(long)]
    force: bool,
    /// Only read all of the backup and compare checksums
    #[arg(long, conflicts_with = "force")]
    verify: bool,
    /// Only list the backups
    #[arg(long, conflicts_with_all = ["force", "verify"])]
    list: bool,
    #[command(flatten)]
    store: Store,
}

/// A flag whose value cannot be.
#[derive(Debug)]
pub(crate) struct Wrong(pub(crate) String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// The exit code of a failure that is not the configuration's.
pub(crate) fn exit_code(failure: &anyhow::Error) -> u8 {
    if failure.chain().any(|e| matches!(e.downcast_ref(), Some(objects::ObjectsError::Settings(_)))) || failure.is::<Wrong>() {
        return 2;
    }
    match failure.downcast_ref::<BackupError>() {
        Some(BackupError::Refused(_)) => 3,
        Some(BackupError::Damaged(_)) => 4,
        _ => 1,
    }
}

/// A bar on a terminal, nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &'static str) -> Self {
        let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn hear(&self, progress: Progress) {
        match progress {
            Progress::Begin { bytes, .. } => self.0.set_length(bytes),
            Progress::Bytes(bytes) | Progress::Known(bytes) => self.0.inc(bytes),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn said(report: &Report) -> String {
    let size = |n| indicatif::HumanBytes(n).to_string();
    format!(
        "{} files copied ({}), {} there already ({})",
        report.copied,
        size(report.copied_bytes),
        report.known,
        size(report.known_bytes)
    )
}

impl BackupCommand {
    /// Does it.
    ///
    /// # Errors
    /// See [`exit_code`].
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let to = self.store.connect(&self.to)?;
        let (made, report) = match &self.server {
            Some(server) => {
                let remote = RunningServer::snapshot(server, &self.access)?;
                let outcome = copy(&remote, &to);
                remote.release();
                outcome?
            }
            None => {
                let overrides = Overrides { data_dir: self.data_dir.clone(), ..Overrides::default() };
                let config = Config::load(self.config.as_deref(), &overrides)?;
                let dir = &config.storage.dir;
                if !dir.join("manifest").exists() && !dir.join("log").exists() {
                    return Err(BackupError::Missing(format!("{} is no data directory of Braid", dir.display())).into());
                }
                let store = open_store::open(&config).map_err(|e| match e.downcast_ref::<StoreError>() {
                    Some(locked @ StoreError::Locked { .. }) => {
                        BackupError::Refused(format!("{locked}: name the running server with --server http://127.0.0.1:3000"))
                            .into()
                    }
                    _ => e,
                })?;
                while store.replaying().is_some() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let outcome = store.pin().map_err(anyhow::Error::from).and_then(|pinned| copy(&pinned, &to));
                store.close();
                outcome?
            }
        };
        println!("{}: {}; {} rows in {} segments", made.id, said(&report), made.rows(), made.state.segments.len());
        if self.verify {
            check(&to, &made)?;
        }
        if let Some(keep) = self.keep {
            let gone = backup::prune(&to, keep as usize)?;
            println!("{gone} older backups removed");
        }
        Ok(())
    }
}

fn copy(from: &dyn Snapshot, to: &Bucket) -> anyhow::Result<(Backup, Report)> {
    let now = jiff::Timestamp::now();
    let id = now.strftime("%Y%m%dT%H%M%S.%3fZ").to_string();
    let made = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    let bar = Bar::new("copying");
    Ok(backup::backup(from, to, &id, made, &|p| bar.hear(p))?)
}

fn check(bucket: &Bucket, what: &Backup) -> anyhow::Result<()> {
    let bar = Bar::new("checking");
    backup::verify(bucket, what, &|p| bar.hear(p))?;
    drop(bar);
    println!("{}: all {} files are as they were written ({})", what.id, what.files.len(), indicatif::HumanBytes(what.bytes()));
    Ok(())
}

impl RestoreCommand {
    /// Does it.
    ///
    /// # Errors
    /// See [`exit_code`].
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // Connecting makes a folder, as a backup wants it; whoever reads wants one that is there.
        if let Some(folder) = self.from.strip_prefix("file://").map(Path::new).filter(|f| f.is_absolute())
            && !folder.is_dir()
        {
            anyhow::bail!("there is no backup in {}: no such folder", self.from);
        }
        let from = self.store.connect(&self.from)?;
        if self.list {
            for id in backup::list(&from)? {
                match backup::find(&from, Some(&id)) {
                    Ok(b) => println!("{id}\t{} rows\t{} files\t{}", b.rows(), b.files.len(), indicatif::HumanBytes(b.bytes())),
                    Err(e) => println!("{id}\t{e}"),
                }
            }
            return Ok(());
        }
        let what = backup::find(&from, self.backup.as_deref())?;
        if self.verify {
            return check(&from, &what);
        }
        let dir = self.data_dir.unwrap_or_else(|| PathBuf::from("braid-data"));
        let disk: Arc<dyn Disk> =
            Arc::new(RealDisk::open(&dir).with_context(|| format!("cannot open the data directory {}", dir.display()))?);
        let bar = Bar::new("restoring");
        let report = backup::restore(&from, &what, &disk, self.force, &|p| bar.hear(p))?;
        drop(bar);
        println!("{} is now {}: {}; {} rows", dir.display(), what.id, said(&report), what.rows());
        Ok(())
    }
}

/// A moment of a server that runs.
struct RunningServer {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    base: String,
    answer: Answer,
}

#[derive(Debug, Deserialize)]
struct Answer {
    id: String,
    manifest: Manifest,
    files: Vec<(String, u64)>,
}

/// How often a piece is asked for.
const ATTEMPTS: u32 = 4;

impl RunningServer {
    fn snapshot(server: &str, access: &Access) -> anyhow::Result<Self> {
        let client = access.client(true)?.read_timeout(Duration::from_secs(60)).build()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let base = format!("{}{}", server.trim_end_matches('/'), snapshots::PATH);
        let bytes = runtime.block_on(ask(client.post(&base)))?;
        let answer = serde_json::from_slice(&bytes)
            .map_err(|e| BackupError::Server(format!("{server} does not answer as a Braid does: {e}")))?;
        Ok(Self { runtime, client, base, answer })
    }

    /// The server need not keep the files any more; it would notice by itself after a while.
    fn release(&self) {
        let request = self.client.delete(format!("{}/{}", self.base, self.answer.id));
        // Inside the runtime, where its timers are.
        let _ = self.runtime.block_on(async move { request.send().await });
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Result<bytes::Bytes, BackupError> {
    let failed = |e: reqwest::Error| {
        let mut why = e.to_string();
        let mut source = std::error::Error::source(&e);
        while let Some(e) = source {
            why = e.to_string();
            source = e.source();
        }
        BackupError::Server(format!("{}: {why}", e.url().map_or("the server", |u| u.as_str())))
    };
    let answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    let url = answer.url().clone();
    let bytes = answer.bytes().await.map_err(failed)?;
    if status.is_success() {
        return Ok(bytes);
    }
    let why: String = String::from_utf8_lossy(&bytes).trim().chars().take(300).collect();
    Err(BackupError::Server(format!("{url} answers {status}: {why}")))
}

impl Snapshot for RunningServer {
    fn manifest(&self) -> &Manifest {
        &self.answer.manifest
    }

    fn files(&self) -> &[(String, u64)] {
        &self.answer.files
    }

    fn read(&self, path: &str, offset: u64, len: usize) -> Result<bytes::Bytes, BackupError> {
        let mut whole = Vec::with_capacity(len);
        while whole.len() < len {
            let (at, now) = (offset + whole.len() as u64, (len - whole.len()).min(snapshots::PIECE));
            let url = format!("{}/{}/file?path={path}&offset={at}&len={now}", self.base, self.answer.id);
            let mut attempt = 0;
            let piece = loop {
                attempt += 1;
                match self.runtime.block_on(ask(self.client.get(&url))) {
                    Ok(piece) if piece.len() == now => break piece,
                    Ok(piece) => return Err(BackupError::Server(format!("{url}: {} bytes instead of {now}", piece.len()))),
                    Err(e) if attempt == ATTEMPTS => return Err(e),
                    Err(_) => std::thread::sleep(Duration::from_millis(200 << attempt)),
                }
            };
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}
