//! Queries run on blocking threads, a few at a time, for a bounded time, and only as long as somebody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Api;
use crate::answer::Failure;

/// Tells the query that nobody waits any more when it is dropped.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `query` with a flag that says when to stop; within `timeout` where one is given, never longer than the setting.
pub(crate) async fn blocking<T: Send + 'static>(
    api: &Api,
    timeout: Option<Duration>,
    query: impl FnOnce(&AtomicBool) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let longest = timeout.unwrap_or(api.settings.timeout).min(api.settings.timeout);
    let began = Instant::now();
    let waiting = Waiting(Arc::default());
    let cancelled = waiting.0.clone();
    let permits = api.permits.clone();
    let work = async move {
        let permit = permits.acquire_owned().await.map_err(|_| Failure::Unavailable("shutting down".to_owned()))?;
        let task = tokio::task::spawn_blocking(move || {
            // A query that nobody waits for keeps its place until it has noticed.
            let _permit = permit;
            query(&cancelled)
        });
        task.await.unwrap_or_else(|e| Err(Failure::Internal(format!("the query failed: {e}"))))
    };
    let result = tokio::time::timeout(longest, work).await.unwrap_or(Err(Failure::Timeout));
    drop(waiting);
    // The timer looks once a millisecond, and after the answer: what came too late by the clock is late all the same.
    if result.is_ok() && began.elapsed() >= longest { Err(Failure::Timeout) } else { result }
}
