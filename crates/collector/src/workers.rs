//! Threads that inflate and check large requests: as many as there are cores, below the priority of queries. A request that
//! finds none of them free waits a while, then it is refused.

use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use store::Priority;
use tokio::sync::{Semaphore, oneshot};

use crate::Refusal;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they start with the first request, and end when this is dropped.
#[derive(Debug)]
pub(crate) struct Workers {
    free: Arc<Semaphore>,
    threads: usize,
    jobs: OnceLock<Result<mpsc::Sender<Job>, String>>,
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
        Self { free: Arc::new(Semaphore::new(threads)), threads, jobs: OnceLock::new() }
    }

    /// What `work` returns, once one of the threads has done it. What the caller no longer waits for is done nevertheless.
    ///
    /// # Errors
    /// [`Undone`].
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Undone> {
        let place = tokio::time::timeout(PATIENCE, self.free.clone().acquire_owned()).await;
        let place = place.map_err(|_| Undone::Refused(Refusal::Queue(PATIENCE)))?;
        let place = place.map_err(|_| Undone::Refused(Refusal::Closing))?;
        let jobs = self.jobs.get_or_init(|| start(self.threads).map_err(|e| format!("no thread checks requests: {e}")));
        let jobs = jobs.as_ref().map_err(|why| Undone::Refused(Refusal::Failed(why.clone())))?;
        let (tell, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Nobody has to wait for it.
            let _ = tell.send(work());
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
}
