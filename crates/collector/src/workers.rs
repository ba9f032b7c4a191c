//! Threads that inflate and check large requests: as many as there are cores, below the priority of queries. A request that
//! finds none of them free waits a while, then it is refused; where so many wait that its turn would not come in time, at once: what
//! waits holds memory, and its sender learns nothing meanwhile.

use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use store::Priority;
use tokio::sync::{Semaphore, oneshot};

use crate::Refusal;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they start with the first request, and end when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    free: Arc<Semaphore>,
    threads: usize,
    line: Arc<Line>,
    jobs: OnceLock<Result<mpsc::Sender<Job>, String>>,
}

/// Who waits, and how fast it goes.
#[derive(Debug, Default)]
struct Line {
    waiting: AtomicUsize,
    /// What a job took lately, nanoseconds.
    takes: AtomicU64,
}

/// A place in the line, until its turn comes or its request is given up.
#[derive(Debug)]
struct InLine(Arc<Line>);

impl Line {
    /// A place at its end.
    ///
    /// # Errors
    /// How long it would take to come to the front, where that is too long.
    fn join(self: &Arc<Self>, threads: usize) -> Result<InLine, Duration> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = InLine(Arc::clone(self));
        let takes = Duration::from_nanos(self.takes.load(Ordering::Relaxed));
        let turns = u32::try_from(before / threads.max(1)).unwrap_or(u32::MAX);
        let wait = takes.saturating_mul(turns);
        if wait > PATIENCE { Err(wait) } else { Ok(place) }
    }

    fn took(&self, now: Duration) {
        let (before, now) = (self.takes.load(Ordering::Relaxed), u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        // Two at once may lose one of their figures, which matters to nobody.
        self.takes.store(if before == 0 { now } else { before - before / 8 + now / 8 }, Ordering::Relaxed);
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Undone {
    /// Nobody was free.
    Refused(Refusal),
    /// It panicked.
    Panicked,
}

impl Default for Workers {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl Workers {
    fn new(threads: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(threads)), threads, line: Arc::default(), jobs: OnceLock::new() }
    }

    /// What `work` returns, once one of the threads has done it. What the caller no longer waits for is done nevertheless.
    ///
    /// # Errors
    /// [`Undone`].
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Undone> {
        let in_line = self.line.join(self.threads).map_err(|wait| Undone::Refused(Refusal::Queue(wait)))?;
        let place = tokio::time::timeout(PATIENCE, self.free.clone().acquire_owned()).await;
        drop(in_line);
        let place = place.map_err(|_| Undone::Refused(Refusal::Queue(PATIENCE)))?;
        let place = place.map_err(|_| Undone::Refused(Refusal::Closing))?;
        let jobs = self.jobs.get_or_init(|| start(self.threads).map_err(|e| format!("no thread checks requests: {e}")));
        let jobs = jobs.as_ref().map_err(|why| Undone::Refused(Refusal::Failed(why.clone())))?;
        let (tell, done) = oneshot::channel();
        let line = Arc::clone(&self.line);
        let job: Job = Box::new(move || {
            let begun = Instant::now();
            let done = work();
            line.took(begun.elapsed());
            // Nobody has to wait for it.
            let _ = tell.send(done);
            drop(place);
        });
        jobs.send(job).map_err(|_| Undone::Refused(Refusal::Closing))?;
        done.await.map_err(|_| Undone::Panicked)
    }
}

fn start(threads: usize) -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..threads {
        let jobs = Arc::clone(&jobs);
        let run = move || {
            Priority::Intake.apply();
            loop {
                let next = jobs.lock().recv();
                let Ok(job) = next else { return };
                // The panic was reported where it happened; whoever waits sees that its answer never comes.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
            }
        };
        std::thread::Builder::new().name("braid-check".into()).spawn(run)?;
    }
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_are_done_and_a_panic_costs_only_its_own() {
        let workers = Workers::new(1);
        assert_eq!(workers.run(|| 1 + 1).await.expect("done"), 2);
        assert!(matches!(workers.run(|| -> () { panic!("on purpose") }).await, Err(Undone::Panicked)));
        assert_eq!(workers.run(|| 3).await.expect("done"), 3);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused() {
        let workers = Arc::new(Workers::new(1));
        let (release, held) = mpsc::channel::<()>();
        let busy = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move { workers.run(move || held.recv().is_ok()).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Err(Undone::Refused(refused)) = workers.run(|| ()).await else { panic!("there was nobody free") };
        assert_eq!((refused.reason(), refused.http_status().as_u16()), ("queue", 503));
        release.send(()).expect("it waits");
        assert!(busy.await.expect("no panic").expect("done"));
        assert!(workers.run(|| ()).await.is_ok(), "free again");
    }

    #[test]
    fn who_would_wait_too_long_is_refused_at_once() {
        let line = Arc::new(Line::default());
        let places: Vec<InLine> = (0..100).map(|_| line.join(2).expect("nothing is known of how long jobs take")).collect();
        line.took(PATIENCE / 10);
        let wait = line.join(2).expect_err("fifty turns of a tenth");
        assert_eq!(wait, PATIENCE / 10 * 50);
        drop(places);
        let places: Vec<InLine> = std::iter::from_fn(|| line.join(2).ok()).collect();
        assert_eq!(places.len(), 22, "eleven turns: the last of them begins when the patience ends");
        for _ in 0..100 {
            line.took(PATIENCE / 1000);
        }
        line.join(2).expect("it goes faster now");
        drop(places);
        assert_eq!(line.waiting.load(Ordering::Relaxed), 0);
    }
}
