//! The task that scrapes one target.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Tenant;
use tokio_util::sync::CancellationToken;
use wire::Encoding;
use wire::remote_write::Encoder;

use super::client::Client;
use super::page::Page;
use super::target::Target;
use crate::ingest::Envelope;
use crate::{ContentEncoding, Ingest, Refusal, Via};

/// A scrape that begins this much later than it should still gets the time at which it should have begun: equal distances
/// compress better, and rates are steadier.
const TOLERANCE: Duration = Duration::from_millis(10);

pub(super) async fn run(target: Arc<Target>, client: Client, ingest: Arc<Ingest>, stop: CancellationToken) {
    let (interval, offset) = (target.config.interval, target.offset());
    let mut worker = Worker { target, client, ingest, page: Page::default(), encoder: Encoder::new() };
    // Once at the start, so that nobody has to wait an interval to see that a target is configured well.
    let mut at = SystemTime::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.scrape(at) => {}
        }
        let now = SystemTime::now();
        let next = next_tick(now.duration_since(UNIX_EPOCH).unwrap_or_default(), interval, offset);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep((UNIX_EPOCH + next).duration_since(now).unwrap_or_default()) => {}
        }
        at = aligned(SystemTime::now(), UNIX_EPOCH + next, interval);
    }
}

/// The next time after `now` that is `offset` into an interval, all counted from the epoch.
fn next_tick(now: Duration, interval: Duration, offset: Duration) -> Duration {
    let (now, interval, offset) = (now.as_millis(), interval.as_millis().max(1), offset.as_millis());
    let since = (now + interval - offset % interval) % interval;
    Duration::from_millis(u64::try_from(now + interval - since).unwrap_or(u64::MAX))
}

/// `tick` where `now` is close behind it, else `now`.
fn aligned(now: SystemTime, tick: SystemTime, interval: Duration) -> SystemTime {
    let tolerance = TOLERANCE.min(interval / 100);
    match now.duration_since(tick) {
        Ok(late) if late <= tolerance => tick,
        Err(early) if early.duration() <= tolerance => tick,
        _ => now,
    }
}

struct Worker {
    target: Arc<Target>,
    client: Client,
    ingest: Arc<Ingest>,
    page: Page,
    encoder: Encoder,
}

impl Worker {
    async fn scrape(&mut self, at: SystemTime) {
        let begun = Instant::now();
        let time = at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        let target = Arc::clone(&self.target);
        let config = &target.config;
        let answer = self.client.get(&target.url, config.timeout, config.body_size_limit).await;
        let result = answer.and_then(|text| self.read(&text, time));
        let took = begun.elapsed();
        let error = match result {
            Ok(()) => {
                self.page.keep(&mut self.encoder, time);
                None
            }
            Err(why) => {
                // What was read of a broken exposition is dropped as a whole.
                self.encoder = Encoder::new();
                self.page.fail(&mut self.encoder, time);
                Some(why)
            }
        };
        if let Some(why) = &error {
            tracing::debug!(job = config.job_name, url = target.url, "scrape failed: {why}");
        }
        self.report(time, took, error.is_none());
        self.append(begun).await;
        self.target.scraped(at, took, error.as_deref());
    }

    fn read(&mut self, text: &[u8], time: i64) -> Result<(), String> {
        let config = &self.target.config;
        let honor = (config.honor_labels, config.honor_timestamps);
        let mut reading = self.page.read(&mut self.encoder, &self.target.labels, honor, time);
        let (format, options) = (wire::exposition::Format::Text, wire::exposition::Options::default());
        let limits = &self.ingest.limits().wire;
        wire::exposition::parse(format, text, options, limits, &mut reading).map_err(|e| e.to_string())?;
        let samples = self.page.samples();
        if config.sample_limit > 0 && samples > config.sample_limit {
            return Err(format!("sample limit exceeded: {samples} samples, limit {}", config.sample_limit));
        }
        Ok(())
    }

    /// The series that Prometheus adds to every scrape.
    fn report(&mut self, time: i64, took: Duration, up: bool) {
        let samples = if up { self.page.samples() as f64 } else { 0.0 };
        for (name, value) in [
            ("up", f64::from(u8::from(up))),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", samples),
            ("scrape_samples_post_metric_relabeling", samples),
            ("scrape_series_added", self.page.added() as f64),
        ] {
            let mut labels: Vec<(&str, &str)> = self.target.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            labels.push(("__name__", name));
            labels.sort_unstable();
            self.encoder.series(labels, &[(time, value)]);
        }
    }

    /// Keeps what was encoded; while the store is too busy, tries again until the next scrape is half-way near.
    async fn append(&mut self, begun: Instant) {
        let config = &self.target.config;
        let size = self.encoder.size();
        let payload = match self.encoder.finish() {
            Ok(payload) => bytes::Bytes::from(payload),
            Err(e) => return tracing::warn!(job = config.job_name, url = self.target.url, "scrape of {size} bytes lost: {e}"),
        };
        loop {
            let envelope =
                Envelope { via: Via::Scrape, encoding: Encoding::RemoteWrite, compression: ContentEncoding::Identity, begun };
            let refusal = match self.ingest.hold(payload.len()) {
                Ok(held) => match self.ingest.take(envelope, Tenant::default(), payload.clone(), held).await {
                    Ok(_) => return,
                    Err(refusal) => refusal,
                },
                Err(refusal) => refusal,
            };
            if refusal.retry_after().is_none() || begun.elapsed() > config.interval / 2 || matches!(refusal, Refusal::Closing) {
                self.ingest.refuse((Via::Scrape, wire::Signal::Metrics, begun), &refusal);
                return tracing::warn!(job = config.job_name, url = self.target.url, "scrape lost: {refusal}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_at_the_offset_and_after_now() {
        let ms = Duration::from_millis;
        for (now, next) in [(0, 3), (2, 3), (3, 13), (4, 13), (12, 13), (13, 23)] {
            assert_eq!(next_tick(ms(now), ms(10), ms(3)), ms(next), "{now}");
        }
    }

    #[test]
    fn a_scrape_on_time_gets_the_tick_and_a_late_one_its_own_time() {
        let (tick, minute) = (UNIX_EPOCH + Duration::from_secs(60), Duration::from_secs(60));
        for (late, expected) in [(0, tick), (5, tick), (11, tick + Duration::from_millis(11))] {
            assert_eq!(aligned(tick + Duration::from_millis(late), tick, minute), expected);
        }
    }
}
