//! The thread that reads the log, and writes events back into it.
//!
//! # Why no event is lost or doubled
//!
//! The cursor moves only behind what is durable: it stays below the first record of every open window, and of every record that
//! waits. After a crash the log is read again from there; what it says a second time is known from the events themselves: each
//! names the range of the log that it covers, and these are read back before anything is counted. (`tests/it/correlate.rs` kills
//! the process in an open window.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use model::{Group, Tenant, Value};
use parking_lot::{Condvar, Mutex};
use store::{AtCap, NamedReader, Request, Source, Store, StoreError, Writer};
use wire::{Encoding, Signal};

use crate::counters::{Counters, add};
use crate::keys::Finder;
use crate::lines::Keeper;
use crate::loom::{Closed, Loom, Walked};
use crate::registry::Registry;
use crate::window::Part;
use crate::{CorrelateError, SERVICE, Settings, find, row};

/// The name of the cursor, for whoever switches correlation off.
pub const READER: &str = "correlate";
/// Records that are read before due windows are looked for again.
const BATCH: usize = 256;
/// Events in a request.
const EVENTS: usize = 1024;
/// So many events wait to be written before more of the log is read.
const ENOUGH: usize = 2048;
/// How often the cursor is saved, where something happened.
const SAVE_EVERY: Duration = Duration::from_secs(3);
/// How long the thread sleeps when there is nothing to read: a little where there was something just now.
const IDLE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// The same while what comes next is on its way to its table.
const MOMENT: Duration = Duration::from_millis(15);
/// A request may be so long on its way into the log after its arrival was noted: idle windows close that much later.
const ON_THE_WAY_NS: i64 = 250_000_000;

/// How far the log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// There is more.
    Some,
    /// There is more once its table has walked it.
    Coming,
    /// To the end.
    All,
}

/// Correlation at work. Dropping it stops it.
#[derive(Debug)]
pub struct Correlator {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    counters: Arc<Counters>,
    registry: Arc<Mutex<Registry>>,
    stopping: AtomicBool,
    /// How often all windows were to be closed, and how often they were.
    closings: Mutex<(u64, u64)>,
    wake: Condvar,
}

impl Shared {
    /// Waits until something is wished.
    fn rest(&self, at_most: Duration) {
        let mut closings = self.closings.lock();
        if !self.stopping.load(Ordering::Acquire) && closings.0 == closings.1 {
            self.wake.wait_for(&mut closings, at_most);
        }
    }

    /// Waits before what failed is tried again.
    fn pause(&self, at_most: Duration) {
        let mut closings = self.closings.lock();
        if !self.stopping.load(Ordering::Acquire) {
            self.wake.wait_for(&mut closings, at_most);
        }
    }
}

impl Correlator {
    /// Starts reading the store's log. `runtime` drives the writing of events.
    ///
    /// # Errors
    /// [`CorrelateError`]: keys that make no finder, a thread or a cursor that cannot be had.
    pub fn start(store: Arc<Store>, settings: Settings, runtime: tokio::runtime::Handle) -> Result<Self, CorrelateError> {
        let counters = Arc::new(Counters::default());
        let registry = Arc::new(Mutex::new(Registry::default()));
        let loom = Loom::new(&settings, Arc::clone(&counters), Arc::clone(&registry)).map_err(CorrelateError::Keys)?;
        let (finder, last) = (loom.finder(), Arc::default());
        let reader = store.reader(READER, AtCap::DropOldest)?.with_spans(Asked(Arc::clone(&finder)));
        let reader = reader.with_lines(move || Box::new(Keeper::new(Arc::clone(&finder), Arc::clone(&last))));
        let shared = Arc::new(Shared {
            settings,
            counters,
            registry,
            stopping: AtomicBool::new(false),
            closings: Mutex::default(),
            wake: Condvar::new(),
        });
        let worker =
            Worker { shared: Arc::clone(&shared), store, reader, loom, runtime, waiting: Vec::new(), recovered: Vec::new() };
        let thread = std::thread::Builder::new()
            .name("braid-correlate".to_owned())
            .spawn(move || {
                store::Priority::Intake.apply();
                worker.run();
            })
            .map_err(|e| CorrelateError::Thread(e.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Appends its metrics in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        self.shared.counters.write_text(self.shared.settings.memory, out);
    }

    /// Who has been seen sending.
    #[must_use]
    pub fn registry(&self) -> &Mutex<Registry> {
        &self.shared.registry
    }

    /// How it is set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Reads what is appended, closes all windows, writes their events and lets the log go; waits until that is done, `at_most`
    /// so long. What comes later amends the events.
    pub fn settle(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        let mut closings = self.shared.closings.lock();
        closings.0 += 1;
        let mine = closings.0;
        self.shared.wake.notify_all();
        while closings.1 < mine && !self.shared.stopping.load(Ordering::Acquire) {
            if self.shared.wake.wait_until(&mut closings, deadline).timed_out() {
                return;
            }
        }
    }

    /// Stops; open windows are begun anew from the log at the next start.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Correlator {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What is asked of spans that somebody else walks.
struct Asked(Arc<Finder>);

impl wire::Wanted for Asked {
    fn group(&self, group: &Group<'_>) -> bool {
        !group.resource.iter().any(|a| a.key == "service.name" && a.value == Value::Str(SERVICE))
    }

    #[inline]
    fn attribute(&self, name: &[u8]) -> bool {
        self.0.knows(name)
    }
}

struct Worker {
    shared: Arc<Shared>,
    store: Arc<Store>,
    reader: NamedReader,
    loom: Loom,
    runtime: tokio::runtime::Handle,
    /// Closed, not yet durable.
    waiting: Vec<Closed>,
    /// Tenants whose events have been read back.
    recovered: Vec<Tenant>,
}

impl Worker {
    fn run(mut self) {
        // Events that are durable must be visible before the log is read again.
        while self.store.snapshot().partial().is_some() {
            if self.is_stopping() {
                return;
            }
            self.shared.pause(Duration::from_millis(20));
        }
        let replayed_to = self.store.stats().log_sequence;
        let mut saved = Instant::now();
        let mut progressed = false;
        let mut idle = IDLE.1;
        while !self.is_stopping() {
            let read = match self.read(replayed_to) {
                Ok(read) => read,
                Err(e) => {
                    tracing::warn!("correlation cannot read the log: {e}; trying again");
                    self.shared.pause(Duration::from_secs(1));
                    continue;
                }
            };
            let asked = self.shared.closings.lock().0;
            let mut more = match read {
                Read::All => self.loom.advance(now().saturating_sub(ON_THE_WAY_NS)),
                Read::Some => true,
                // Its time is not over before it is read.
                Read::Coming => false,
            };
            let closing = read == Read::All && asked > self.shared.closings.lock().1;
            if closing {
                more |= self.loom.close_open();
            }
            self.waiting.append(self.loom.closed_mut());
            progressed |= !self.waiting.is_empty() || read != Read::All;
            self.write();
            self.measure();
            if closing && !more && self.waiting.is_empty() && self.reader.behind() == 0 {
                self.save();
                (saved, progressed) = (Instant::now(), false);
                self.shared.closings.lock().1 = asked;
                self.shared.wake.notify_all();
            } else if progressed && saved.elapsed() >= SAVE_EVERY {
                self.save();
                (saved, progressed) = (Instant::now(), false);
            }
            if more {
                idle = IDLE.0;
            } else if read == Read::Coming {
                self.shared.pause(MOMENT);
            } else {
                self.shared.rest(idle);
                idle = (idle * 2).min(IDLE.1);
            }
        }
        self.save();
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }

    /// Reads some records.
    fn read(&mut self, replayed_to: u64) -> Result<Read, StoreError> {
        for _ in 0..BATCH {
            let position = self.reader.position();
            let Some(record) = self.reader.next_record()? else {
                return Ok(if self.reader.behind() == 0 { Read::All } else { Read::Coming });
            };
            if record.sequence <= replayed_to && !self.recovered.contains(&record.tenant) {
                let snapshot = self.store.snapshot();
                for part in find::parts_since(&*snapshot, &record.tenant, position)? {
                    self.loom.covered(&record.tenant, &part);
                }
                self.recovered.push(record.tenant.clone());
            }
            let own = record.encoding == Encoding::OtlpTraces && row::is_own(&record.payload);
            let is_plain = record.encoding.signal() == Signal::Metrics && !self.reader.may_have_exemplars(&record);
            if own || is_plain {
                self.loom.advance(record.received);
            } else if record.encoding.is_deletion() {
                // What was woven of the deleted rows is rows of its own.
                self.loom.advance(record.received);
            } else {
                let walked = match (self.reader.spans_of(&record), self.reader.lines_of(&record)) {
                    (Some(spans), _) => Walked::Spans(spans),
                    (None, Some(lines)) => Walked::Lines(lines),
                    (None, None) => Walked::Not,
                };
                let deleted = if let Walked::Not = walked { self.reader.deleted_of(&record) } else { Vec::new() };
                self.loom.take_without(&record, &deleted, &walked);
            }
            if self.loom.closed() >= ENOUGH {
                break;
            }
        }
        Ok(Read::Some)
    }

    /// Writes what has closed; comes back when it is durable, or when it has to stop.
    fn write(&mut self) {
        let mut pause = Duration::from_millis(100);
        while !self.waiting.is_empty() {
            let tenant = self.waiting[0].tenant.clone();
            let many = self.waiting.iter().take(EVENTS).take_while(|closed| closed.tenant == tenant).count();
            let parts = self.waiting[..many].iter().map(|closed| &closed.part);
            let payload = match row::encode(parts) {
                Ok(payload) => payload,
                Err(e) => {
                    tracing::error!("correlation events cannot be encoded: {e}");
                    self.waiting.drain(..many);
                    continue;
                }
            };
            let request = Request { tenant, encoding: Encoding::OtlpTraces, payload: payload.into() };
            match self.runtime.block_on(self.store.append(request)) {
                Ok(_) => {
                    self.count(&self.waiting[..many]);
                    self.waiting.drain(..many);
                    pause = Duration::from_millis(100);
                }
                Err(StoreError::Closed) => return,
                Err(e) => {
                    add(&self.shared.counters.write_errors, 1);
                    tracing::warn!("correlation events are not taken: {e}; trying again");
                    self.shared.pause(pause);
                    pause = (pause * 2).min(Duration::from_secs(5));
                    if self.is_stopping() {
                        return;
                    }
                }
            }
        }
    }

    fn count(&self, written: &[Closed]) {
        let c = &self.shared.counters;
        add(&c.events, written.len() as u64);
        let by = |f: &dyn Fn(&Part) -> u64| written.iter().map(|closed| f(&closed.part)).sum();
        add(&c.amendments, by(&|p| u64::from(p.late)));
        add(&c.joining, by(&|p| u64::from(p.joins())));
        add(&c.by_trace_id[0], by(&|p| p.spans));
        add(&c.by_trace_id[1], by(&|p| p.logs));
        add(&c.by_trace_id[2], by(&|p| p.exemplar_count));
        // The longest: the window that was due first.
        if let Some(due) = written.iter().filter_map(|closed| closed.due).min() {
            let delay = now().saturating_sub(due).max(0);
            c.delay_us.store(delay.unsigned_abs() / 1000, Ordering::Relaxed);
        }
    }

    fn measure(&mut self) {
        self.loom.tell();
        let c = &self.shared.counters;
        for (gauge, size) in c.sizes.iter().zip(self.loom.sizes()) {
            gauge.store(size as u64, Ordering::Relaxed);
        }
        c.position.store(self.reader.position() - 1, Ordering::Relaxed);
    }

    fn save(&self) {
        // What has closed but is not written is still needed.
        if !self.waiting.is_empty() {
            return;
        }
        if let Err(e) = self.reader.save_through(self.loom.safe_through(self.reader.position())) {
            tracing::warn!("correlation's cursor cannot be saved: {e}");
        }
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
