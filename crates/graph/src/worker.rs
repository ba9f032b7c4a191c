//! The thread that reads the log and writes samples.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};
use store::{AtCap, NamedReader, Record, Store, StoreError, Writer};
use tokio::runtime::Handle;

use crate::counters::{add, set};
use crate::{Counters, Generator, Settings};

/// The name of the cursor.
pub const READER: &str = "graph";
/// How often the log is looked at when nothing is known to have come.
const LOOK: Duration = Duration::from_millis(100);
/// The same while what comes next is on its way to its table: not so long that what the table keeps for its readers is pushed out.
const COMING: Duration = Duration::from_millis(10);
/// The same while somebody waits for it.
const MOMENT: Duration = Duration::from_millis(2);
/// After a failure of the disk.
const REST: Duration = Duration::from_secs(5);
/// Nanoseconds between two looks at the halves that wait.
const PASS: i64 = 250_000_000;
/// Records between two looks at the clock.
const RECORDS: usize = 256;

/// Why generated metrics cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The cursor cannot be read or made.
    #[error("the cursor of generated metrics: {0}")]
    Store(#[from] StoreError),
    /// There is no thread for it.
    #[error("starting the thread of generated metrics: {0}")]
    Thread(std::io::Error),
}

#[derive(Debug, Default)]
struct Wishes {
    stop: bool,
    /// How often it was asked to read to the end and save, and how often that was done.
    flushes: (u64, u64),
    /// The last of these that asked for samples too.
    samples: u64,
}

#[derive(Debug, Default)]
struct Signal {
    wishes: Mutex<Wishes>,
    changed: Condvar,
}

/// The running generator.
pub struct Worker {
    signal: Arc<Signal>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Begins: goes on at the cursor of the last run, or with what comes from now on. `runtime` runs the writes.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn start(store: Arc<Store>, runtime: Handle, settings: Settings) -> Result<Self, GraphError> {
        let counters = Arc::new(Counters::default());
        // A derived thing must not stop the appends: what is too old to be kept for it is lost to it.
        let reader = store.reader(READER, AtCap::DropOldest)?;
        let interval = settings.collection_interval;
        let mut generator = Generator::new(settings, Arc::clone(&counters));
        let reader = reader.only(wire::Signal::Traces).with_spans(generator.wants());
        if let Some(state) = reader.state()?
            && let Err(why) = generator.restore(&state)
        {
            tracing::error!("the saved counts of generated metrics cannot be read; they begin anew: {why}");
        }
        let signal = Arc::new(Signal::default());
        let run = Run {
            store,
            runtime,
            reader,
            generator,
            interval,
            signal: Arc::clone(&signal),
            counters: Arc::clone(&counters),
            moved: false,
            passed: 0,
        };
        let thread = std::thread::Builder::new().name("braid-graph".into()).spawn(move || {
            store::Priority::Intake.apply();
            run.run();
        });
        Ok(Self { signal, counters, thread: Mutex::new(Some(thread.map_err(GraphError::Thread)?)) })
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Reads what is appended and writes samples of it now; waits until that is done, `at_most` so long.
    pub fn flush(&self, at_most: Duration) {
        self.wish(true, at_most);
    }

    /// Reads what is appended and saves, so that the log need not be kept for it; writes nothing. Waits as [`Worker::flush`] does.
    pub fn catch_up(&self, at_most: Duration) {
        self.wish(false, at_most);
    }

    fn wish(&self, samples: bool, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut wishes = self.signal.wishes.lock();
        wishes.flushes.0 += 1;
        let mine = wishes.flushes.0;
        if samples {
            wishes.samples = mine;
        }
        self.signal.changed.notify_all();
        while wishes.flushes.1 < mine && !wishes.stop {
            if self.signal.changed.wait_until(&mut wishes, deadline).timed_out() {
                return;
            }
        }
    }

    /// Saves what is counted and ends the thread. The store must still be open.
    pub fn stop(&self) {
        self.signal.wishes.lock().stop = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Run {
    store: Arc<Store>,
    runtime: Handle,
    reader: NamedReader,
    generator: Generator,
    interval: Duration,
    signal: Arc<Signal>,
    counters: Arc<Counters>,
    /// Whether anything was read since the counts were saved.
    moved: bool,
    /// The time of the records when halves were last looked through.
    passed: i64,
}

impl Run {
    fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        loop {
            let rest = self.read(due);
            let (asked, samples) = {
                let wishes = self.signal.wishes.lock();
                (wishes.flushes, wishes.samples)
            };
            // What was asked for is everything that was there when it was asked for: read on first.
            let asked_and_read = asked.0 > asked.1 && self.reader.behind() == 0;
            if Instant::now() >= due || (asked_and_read && samples > asked.1) {
                self.collect();
                due = Instant::now() + self.interval;
            }
            if asked_and_read {
                // What was written just now is of no use to this reader: the log need not be kept for it.
                self.read(due);
                self.save();
                self.signal.wishes.lock().flushes.1 = asked.0;
                self.signal.changed.notify_all();
            }
            let mut wishes = self.signal.wishes.lock();
            if !wishes.stop && !rest.is_zero() {
                // What somebody waits for is on its way to the table.
                let rest = if wishes.flushes.0 == wishes.flushes.1 { rest } else { MOMENT };
                self.signal.changed.wait_for(&mut wishes, rest);
            }
            if wishes.stop {
                break;
            }
        }
        if self.moved {
            self.save();
        }
    }

    /// Reads until nothing is left, `due` has come, or something is wished; says how long to rest.
    fn read(&mut self, due: Instant) -> Duration {
        let mut read = 0;
        loop {
            match self.reader.next_record() {
                Ok(Some(record)) => self.take(&record),
                Ok(None) => {
                    // What comes later has its own time.
                    let is_all = self.reader.behind() == 0;
                    if is_all {
                        self.generator.pass(now());
                    }
                    self.measure();
                    let rest = if is_all { LOOK } else { COMING };
                    return rest.min(due.saturating_duration_since(Instant::now()));
                }
                Err(e) => {
                    tracing::warn!("reading the log for generated metrics: {e}");
                    return REST;
                }
            }
            read += 1;
            if read % RECORDS == 0 {
                self.measure();
                if Instant::now() >= due || self.signal.wishes.lock().stop {
                    return Duration::ZERO;
                }
            }
        }
    }

    fn measure(&self) {
        set(&self.counters.behind, usize::try_from(self.reader.behind()).unwrap_or(usize::MAX));
    }

    fn take(&mut self, record: &Record) {
        self.moved = true;
        // Behind the present its time is that of the records, so that halves wait for each other as they would have.
        if record.received.saturating_sub(self.passed) > PASS {
            self.passed = record.received;
            self.generator.pass(record.received);
        }
        // Counts are of what came, deleted or not.
        if record.encoding.is_deletion() {
            return;
        }
        if let Some(spans) = self.reader.spans_of(record) {
            self.generator.take_kept(&record.tenant, spans, record.received);
            return;
        }
        add(&self.counters.walked, 1);
        if let Err(e) = self.generator.take(&record.tenant, record.encoding, &record.payload, record.received) {
            add(&self.counters.unreadable, 1);
            tracing::debug!(sequence = record.sequence, "a record of spans cannot be read: {e}");
        }
    }

    fn save(&mut self) {
        let saved = self.generator.save().map_err(|e| e.to_string());
        match saved.and_then(|state| self.reader.save_with(&state).map_err(|e| e.to_string())) {
            Ok(()) => self.moved = false,
            Err(e) => tracing::warn!("saving the counts of generated metrics: {e}"),
        }
    }

    /// Saves, then writes: what was written before a crash is what was saved, or less.
    fn collect(&mut self) {
        let now = now();
        self.generator.settle(now);
        if self.moved {
            self.save();
        }
        let requests = match self.generator.collect(now) {
            Ok(requests) => requests,
            Err(e) => {
                tracing::error!("writing generated metrics: {e}");
                return;
            }
        };
        for request in requests {
            if let Err(e) = self.runtime.block_on(self.store.append(request)) {
                add(&self.counters.failed, 1);
                tracing::warn!("generated metrics were not taken: {e}");
            }
        }
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
