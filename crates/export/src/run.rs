//! The threads that read the log and the tasks that send: one cursor for each exporter and signal.
//!
//! A batch is read, encoded, and sent by a task of its own; `consumers` of them are under way at once. Batches are answered for in
//! their order: the cursor moves behind the first ones that are done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use store::{AtCap, NamedReader, Record, Store, StoreError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wire::Signal;

use crate::ExportError;
use crate::batch::{Encode, Encoded, encoder};
use crate::counters::{Counters, EXPIRED, REFUSED, REJECTED, UNENCODABLE};
use crate::deleted::without;
use crate::peer::{Outcome, Parcel, Remote};
use crate::remote_write::halves;
use crate::retry::{Backoff, random};
use crate::settings::{Queue, Retry, Settings, Tenants};

/// What the names of exporters' cursors begin with.
pub const READER_PREFIX: &str = "export/";
/// How often the log is looked at when nothing is known to have come.
const LOOK: Duration = Duration::from_millis(100);
/// How often the cursor is saved.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// After a failure of the disk.
const REST: Duration = Duration::from_secs(2);
/// Requests that are under way may be answered for so long at a shutdown.
const GRACE: Duration = Duration::from_millis(300);
/// Records of a batch at most.
const RECORDS: usize = 4096;
/// A request that is refused because of some of its samples is divided so often, to save the others.
const DIVISIONS: usize = 64;
/// Between two complaints about the same peer.
const COMPLAIN_EVERY: Duration = Duration::from_secs(30);

/// What becomes of a record before it goes out; nothing where `None`.
pub type Rewrite = Arc<dyn Fn(Record) -> Option<Record> + Send + Sync>;

/// All exporters at work. Dropping them stops them.
#[derive(Debug)]
pub struct Exporters {
    stop: CancellationToken,
    counters: Vec<Arc<Counters>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Exporters {
    /// Starts the exporters of `all` where their cursors stand, new ones with what comes from now on; cursors of exporters that are no
    /// longer among them are forgotten, or the log would be kept for them. `runtime` runs the requests; `rewrite` sees each record first.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn start(store: &Arc<Store>, all: &[Settings], runtime: &Handle, rewrite: &Rewrite) -> Result<Self, ExportError> {
        let this = Self { stop: CancellationToken::new(), counters: Vec::new(), threads: Mutex::default() };
        let name = |s: &Settings, signal: Signal| format!("{READER_PREFIX}{}/{}", s.name, signal.as_str());
        let wanted: Vec<String> = all.iter().flat_map(|s| s.signals.iter().map(|signal| name(s, *signal))).collect();
        for reader in store.readers() {
            if reader.starts_with(READER_PREFIX) && !wanted.contains(&reader) {
                tracing::info!("{reader} is configured no longer: what it has not sent is given up");
                if let Err(e) = store.remove_reader(&reader) {
                    tracing::warn!("forgetting where {reader} stood: {e}");
                }
            }
        }
        let mut this = this;
        for settings in all {
            for signal in settings.signals.iter().copied() {
                let failed = |why| ExportError::Client { name: settings.name.clone(), why };
                let remote = Remote::new(settings, signal).map_err(failed)?;
                let reader = store
                    .reader(&name(settings, signal), AtCap::DropOldestOver(settings.queue.bytes))
                    .map_err(|source| ExportError::Store { name: settings.name.clone(), source })?
                    .only(signal);
                let counters = Arc::new(Counters::new(&settings.name, signal, settings.queue.bytes));
                this.counters.push(Arc::clone(&counters));
                let sender = Sender {
                    name: settings.name.clone(),
                    remote,
                    retry: settings.retry,
                    counters,
                    stop: this.stop.clone(),
                    trouble: Mutex::default(),
                };
                let worker = Worker {
                    acked: reader.position() - 1,
                    saved: reader.position() - 1,
                    saved_at: Instant::now(),
                    reader,
                    encoder: encoder(settings, signal),
                    sender: Arc::new(sender),
                    runtime: runtime.clone(),
                    queue: settings.queue,
                    tenants: settings.tenants.clone(),
                    limits: settings.limits.clone(),
                    flights: VecDeque::new(),
                    rewrite: Arc::clone(rewrite),
                };
                let thread = std::thread::Builder::new()
                    .name("braid-export".to_owned())
                    .spawn(move || {
                        store::Priority::Upkeep.apply();
                        worker.run();
                    })
                    .map_err(|source| ExportError::Thread { name: settings.name.clone(), source })?;
                this.threads.lock().push(thread);
            }
        }
        Ok(this)
    }

    /// Appends the metrics in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        let all: Vec<&Counters> = self.counters.iter().map(|c| &**c).collect();
        Counters::write_text(&all, out);
    }

    /// What each exporter counts, one for each of its signals.
    #[must_use]
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Ends the threads; what is not answered for is sent again after the next start. Blocks.
    pub fn stop(&self) {
        self.stop.cancel();
        for thread in self.threads.lock().drain(..) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Exporters {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A batch that is under way.
struct Flight {
    /// Everything up to this is dealt with when it is done.
    through: u64,
    /// When its oldest record came.
    received: i64,
    bytes: u64,
    /// Whether it was answered for.
    task: tokio::task::JoinHandle<bool>,
}

struct Worker {
    reader: NamedReader,
    encoder: Box<dyn Encode>,
    sender: Arc<Sender>,
    runtime: Handle,
    queue: Queue,
    tenants: Tenants,
    limits: wire::Limits,
    rewrite: Rewrite,
    flights: VecDeque<Flight>,
    /// Everything up to this is answered for.
    acked: u64,
    saved: u64,
    saved_at: Instant,
}

#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
}

impl Worker {
    fn run(mut self) {
        while !self.sender.stop.is_cancelled() {
            if self.reap().is_err() {
                break;
            }
            self.measure();
            self.save(false);
            if self.flights.len() >= self.queue.consumers {
                self.rest(Duration::from_millis(5).max(LOOK / 10));
                continue;
            }
            let mut batch = Batch::default();
            if let Err(e) = self.gather(&mut batch) {
                tracing::warn!("exporter {} cannot read the log: {e}; trying again", self.sender.name);
                // What was read before the failure is sent.
                if batch.records.is_empty() {
                    self.rest(REST);
                    continue;
                }
            }
            if batch.records.is_empty() {
                if self.flights.is_empty() {
                    self.acked = self.reader.position() - 1;
                }
                self.rest(LOOK);
                continue;
            }
            self.dispatch(batch);
        }
        for flight in std::mem::take(&mut self.flights) {
            // The tasks end soon: they hear the same.
            if !self.runtime.block_on(flight.task).unwrap_or(false) {
                break;
            }
            self.acked = flight.through;
        }
        self.save(true);
    }

    /// Sleeps, unless it is to stop.
    fn rest(&self, time: Duration) {
        let stop = self.sender.stop.clone();
        self.runtime.block_on(async {
            // Either way it goes on.
            let _ = tokio::time::timeout(time, stop.cancelled()).await;
        });
    }

    /// Reads until the batch is full, or nothing has come for a while.
    fn gather(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let begun = Instant::now();
        while batch.bytes < self.queue.batch_bytes && batch.records.len() < RECORDS && !self.sender.stop.is_cancelled() {
            match self.reader.next_record()? {
                Some(record) if record.encoding.is_deletion() || !self.tenants.wants(&record.tenant) => {}
                Some(record) => {
                    let deleted = self.reader.deleted_of(&record);
                    // What was deleted before it went out does not go out.
                    let record = if deleted.is_empty() { Ok(record) } else { without(&record, &deleted, &self.limits) };
                    match record {
                        Ok(record) => {
                            if let Some(record) = (self.rewrite)(record) {
                                batch.bytes += record.payload.len();
                                batch.records.push(record);
                            }
                        }
                        Err(why) => {
                            self.sender.counters.failed(UNENCODABLE, 1);
                            tracing::debug!("a record cannot be exported: {why}");
                        }
                    }
                }
                None => {
                    let left = self.queue.flush_timeout.saturating_sub(begun.elapsed());
                    if batch.records.is_empty() || left.is_zero() {
                        break;
                    }
                    self.rest(left.min(LOOK));
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, batch: Batch) {
        let mut encoded = Encoded::default();
        if self.tenants.forward {
            let mut records = batch.records.as_slice();
            while let Some(first) = records.first() {
                let same = records.iter().take_while(|r| r.tenant == first.tenant).count();
                let from = encoded.parcels.len();
                self.encoder.encode(&records[..same], &mut encoded);
                encoded.belongs_to(from, &first.tenant);
                records = &records[same..];
            }
        } else {
            self.encoder.encode(&batch.records, &mut encoded);
        }
        self.sender.counters.failed(UNENCODABLE, encoded.unencodable);
        let received = batch.records.iter().map(|r| r.received).min().unwrap_or_default();
        let sender = Arc::clone(&self.sender);
        let task = self.runtime.spawn(async move { sender.deliver_all(encoded.parcels).await });
        let through = self.reader.position() - 1;
        self.flights.push_back(Flight { through, received, bytes: batch.bytes as u64, task });
    }

    /// Takes the batches that are done; an error means that it is to stop.
    fn reap(&mut self) -> Result<(), ()> {
        while self.flights.front().is_some_and(|f| f.task.is_finished()) {
            let Some(flight) = self.flights.pop_front() else { break };
            match self.runtime.block_on(flight.task) {
                Ok(true) => self.acked = flight.through,
                Ok(false) => return Err(()),
                Err(e) => {
                    // A bug, which would come again with the same batch.
                    tracing::error!("exporter {}: a batch of {} bytes is lost: {e}", self.sender.name, flight.bytes);
                    self.acked = flight.through;
                }
            }
        }
        Ok(())
    }

    fn measure(&self) {
        let c = &self.sender.counters;
        let under_way: u64 = self.flights.iter().map(|f| f.bytes).sum();
        Counters::set(&c.queue_bytes, self.reader.bytes_behind() + under_way);
        Counters::set(&c.shed, self.reader.lost());
        Counters::set(&c.in_flight, self.flights.len() as u64);
        let lag = self.flights.front().map_or(0, |f| now().saturating_sub(f.received).max(0));
        Counters::set(&c.lag_ms, lag.unsigned_abs() / 1_000_000);
    }

    fn save(&mut self, at_once: bool) {
        if self.acked <= self.saved || (!at_once && self.saved_at.elapsed() < SAVE_EVERY) {
            return;
        }
        self.saved_at = Instant::now();
        match self.reader.save_through(self.acked) {
            Ok(()) => self.saved = self.acked,
            Err(e) => tracing::warn!("the cursor of exporter {} cannot be saved: {e}", self.sender.name),
        }
    }
}

/// How sending ended.
enum Delivered {
    /// The other side has answered for it, or it was tried for long enough.
    Answered,
    /// It was to stop.
    Stopped,
    /// Refused because of something in it.
    Refused(String),
}

/// What sends, and sends again.
struct Sender {
    name: String,
    remote: Remote,
    retry: Retry,
    counters: Arc<Counters>,
    stop: CancellationToken,
    trouble: Mutex<Trouble>,
}

/// What was last complained about.
#[derive(Default)]
struct Trouble {
    away: bool,
    complained: Option<Instant>,
}

impl Sender {
    /// Sends one after the other; `false` when it has to stop before.
    async fn deliver_all(&self, parcels: Vec<Parcel>) -> bool {
        for parcel in parcels {
            let (mut left, mut divisions) = (vec![parcel], 0);
            while let Some(parcel) = left.pop() {
                let refused = match self.deliver(&parcel).await {
                    Delivered::Answered => continue,
                    Delivered::Stopped => return false,
                    Delivered::Refused(why) => why,
                };
                let parts = if divisions < DIVISIONS { halves(&parcel.body) } else { None };
                let Some(parts) = parts else {
                    self.refused(&parcel, &refused);
                    continue;
                };
                divisions += 1;
                let parts = parts.map(|(body, items)| Parcel { body: body.into(), items, tenant: parcel.tenant.clone() });
                left.extend(parts.into_iter().rev());
            }
        }
        true
    }

    /// Sends until the other side has answered for it or it is given up.
    async fn deliver(&self, parcel: &Parcel) -> Delivered {
        let begun = Instant::now();
        let mut backoff = Backoff::new(&self.retry);
        loop {
            let sent = tokio::select! {
                sent = self.remote.send(parcel) => sent,
                () = async { self.stop.cancelled().await; tokio::time::sleep(GRACE).await } => return Delivered::Stopped,
            };
            match sent {
                Outcome::Taken { rejected, why } => {
                    self.taken(parcel, rejected.min(parcel.items), &why);
                    return Delivered::Answered;
                }
                Outcome::Never { why, divide: true } => return Delivered::Refused(why),
                Outcome::Never { why, divide: false } => {
                    self.refused(parcel, &why);
                    return Delivered::Answered;
                }
                Outcome::Later { why, after } => {
                    let Some(wait) = backoff.next(after, begun.elapsed(), random()) else {
                        self.counters.failed(EXPIRED, parcel.items);
                        self.complain(&format!("tried for long enough, {} items are dropped: {why}", parcel.items));
                        return Delivered::Answered;
                    };
                    Counters::add(&self.counters.retries, 1);
                    self.away(&why);
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.stop.cancelled() => return Delivered::Stopped,
                    }
                }
            }
        }
    }

    fn refused(&self, parcel: &Parcel, why: &str) {
        self.counters.failed(REFUSED, parcel.items);
        self.complain(&format!("refused for good, {} items are dropped: {why}", parcel.items));
    }

    fn taken(&self, parcel: &Parcel, rejected: u64, why: &str) {
        let c = &self.counters;
        Counters::add(&c.sent, parcel.items - rejected);
        Counters::add(&c.requests, 1);
        Counters::add(&c.bytes, parcel.body.len() as u64);
        c.failed(REJECTED, rejected);
        if rejected > 0 {
            self.complain(&format!("{rejected} of {} items were left out: {why}", parcel.items));
        }
        let mut trouble = self.trouble.lock();
        if std::mem::take(&mut trouble.away) {
            trouble.complained = None;
            tracing::info!("exporter {} is heard again", self.name);
        }
    }

    fn away(&self, why: &str) {
        self.trouble.lock().away = true;
        self.complain(&format!("{why}; it is sent again"));
    }

    /// Not each time: an absent peer is told once in a while.
    fn complain(&self, what: &str) {
        let mut trouble = self.trouble.lock();
        if trouble.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            trouble.complained = Some(Instant::now());
            tracing::warn!("exporter {}: {what}", self.name);
        }
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
