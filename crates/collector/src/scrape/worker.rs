//! The task that scrapes one target.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Labels, Tenant};
use prometheus::{ScrapeConfig, ScrapeProtocol};
use tokio_util::sync::CancellationToken;
use wire::Encoding;
use wire::exposition::{Format, Options};

use super::client::{self, Answered, Client, Question};
use super::page::{Aim, Counts, Page, Requests};
use super::pool::TargetLimit;
use super::target::Target;
use crate::ingest::{Envelope, Translation};
use crate::{ContentEncoding, Ingest, Refusal, Via};

/// A scrape that begins this much later than it should still gets the time at which it should have begun: equal distances
/// compress better, and rates are steadier.
const TOLERANCE: Duration = Duration::from_millis(10);

/// Expositions larger than this are read on a blocking thread, so that they delay nothing else.
const IN_PLACE: usize = 128 * 1024;

/// What a worker needs.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) target: Arc<Target>,
    pub(super) config: Arc<ScrapeConfig>,
    pub(super) client: Client,
    pub(super) ingest: Arc<Ingest>,
    pub(super) target_limit: TargetLimit,
}

/// Scrapes until `stop`; returns what is known of the target's series.
pub(super) async fn run(work: Work, page: Page, stop: CancellationToken) -> Page {
    let (interval, offset) = (work.target.interval, work.target.offset());
    // Once at the start, so that nobody has to wait an interval to see that a target is configured well; a target that
    // was scraped under another configuration keeps its pace.
    let mut wait = page.was_read();
    let mut worker = Worker { work, page, requests: Requests::default() };
    let mut at = SystemTime::now();
    loop {
        if wait {
            let now = SystemTime::now();
            let next = next_tick(now.duration_since(UNIX_EPOCH).unwrap_or_default(), interval, offset);
            tokio::select! {
                () = stop.cancelled() => return worker.page,
                () = tokio::time::sleep((UNIX_EPOCH + next).duration_since(now).unwrap_or_default()) => {}
            }
            at = aligned(SystemTime::now(), UNIX_EPOCH + next, interval);
        }
        wait = true;
        // A scrape that is cut off leaves the page as it was before.
        let answered = tokio::select! {
            () = stop.cancelled() => return worker.page,
            answered = worker.ask() => answered,
        };
        worker.scraped(at, answered).await;
    }
}

/// The target is gone: ends its series, and those that Braid itself adds.
pub(super) async fn end(work: Work, page: Page) {
    let mut worker = Worker { work, page, requests: Requests::default() };
    let time = millis(SystemTime::now());
    let stale = f64::from_bits(model::STALE_NAN_BITS);
    let ended = worker.page.end(&mut worker.requests, time);
    let ended = ended.and_then(|()| worker.own_series().into_iter().try_for_each(|(name, _)| worker.add(name, time, stale)));
    if let Err(why) = ended {
        tracing::warn!(url = worker.work.target.url, "ending a target's series: {why}");
    }
    worker.append(Instant::now()).await;
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

fn millis(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// What is asked for, the most wanted first, as Prometheus writes it.
pub(super) fn accept(config: &ScrapeConfig) -> String {
    let mut accept = String::new();
    for (at, protocol) in config.protocols.iter().enumerate() {
        accept.push_str(protocol.media_type());
        if *protocol != ScrapeProtocol::Text004 {
            accept.push_str(&format!(";escaping={}", config.escaping.as_str()));
        }
        accept.push_str(&format!(";q=0.{},", config.protocols.len() + 1 - at));
    }
    accept + "*/*;q=0.1"
}

fn format_of(protocol: ScrapeProtocol) -> Format {
    match protocol {
        ScrapeProtocol::Protobuf => Format::Protobuf,
        ScrapeProtocol::OpenMetrics001 | ScrapeProtocol::OpenMetrics100 => Format::OpenMetrics,
        ScrapeProtocol::Text100 | ScrapeProtocol::Text004 => Format::Text,
    }
}

/// A failed scrape as a line of `scrape_failure_log_file`.
fn failure(at: SystemTime, job: &str, url: &str, why: &str) -> String {
    let time = jiff::Timestamp::try_from(at).unwrap_or_default().to_string();
    serde_json::json!({"time": time, "level": "ERROR", "msg": why, "job_name": job, "target": url}).to_string() + "\n"
}

/// Lines of several targets do not mix: each is one write at the file's end.
async fn write_line(file: &str, line: String) -> std::io::Result<()> {
    let file = file.to_owned();
    let write = move || {
        use std::io::Write;
        std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(line.as_bytes())
    };
    tokio::task::spawn_blocking(write).await.map_err(std::io::Error::other)?
}

struct Worker {
    work: Work,
    page: Page,
    requests: Requests,
}

/// An answer, what it holds of the budget, and when the asking began.
type Asked = (Result<(Answered, crate::Held), String>, Instant);

impl Worker {
    /// Bytes that an exposition may have.
    fn body_limit(&self) -> usize {
        let most = self.work.ingest.limits().inflated;
        match usize::try_from(self.work.config.limits.body_size) {
            Ok(0) | Err(_) => most,
            Ok(limit) => limit.min(most),
        }
    }

    async fn ask(&self) -> Asked {
        let begun = Instant::now();
        let Work { target, config, client, ingest, target_limit } = &self.work;
        if let Some(why) = target_limit.exceeded() {
            return (Err(why), begun);
        }
        let mut held = match ingest.hold(0) {
            Ok(held) => held,
            Err(refusal) => return (Err(refusal.to_string()), begun),
        };
        let headers = [("x-prometheus-scrape-timeout-seconds", target.timeout.as_secs_f64().to_string())];
        let question = Question {
            url: &target.url,
            accept: &accept(config),
            headers: &headers,
            compressed: config.compression,
            timeout: target.timeout,
            limit: self.body_limit(),
        };
        let answered = client.get(question, &mut held).await;
        (answered.map(|answered| (answered, held)), begun)
    }

    async fn scraped(&mut self, at: SystemTime, (answered, begun): Asked) {
        let time = millis(at);
        let size = answered.as_ref().map_or(0, |(a, _)| a.body.len());
        let result = match answered {
            Ok((answered, held)) => {
                let result = self.read(answered, time).await;
                drop(held);
                result
            }
            Err(why) => {
                self.page.unread();
                Err(why)
            }
        };
        let took = begun.elapsed();
        let error = result.and_then(|()| self.page.keep(&mut self.requests, time)).err();
        let Work { target, config, .. } = &self.work;
        if let Some(why) = &error {
            tracing::debug!(job = config.job_name, url = target.url, "scrape failed: {why}");
            if !config.failure_log.is_empty() {
                let line = failure(at, &config.job_name, &target.url, why);
                if let Err(e) = write_line(&config.failure_log, line).await {
                    tracing::warn!(job = config.job_name, "scrape_failure_log_file: {}: {e}", config.failure_log);
                }
            }
            // What was read of a broken exposition is dropped as a whole.
            self.requests = Requests::default();
            if let Err(why) = self.page.end(&mut self.requests, time) {
                tracing::warn!(url = target.url, "ending a target's series: {why}");
            }
        }
        let families = self.page.families();
        self.report(time, took, error.as_deref(), size);
        self.append(begun).await;
        self.work.target.scraped(at, took, error.as_deref(), families);
    }

    async fn read(&mut self, answered: Answered, time: i64) -> Result<(), String> {
        let (work, mut page, mut requests) =
            (self.work.clone(), std::mem::take(&mut self.page), std::mem::take(&mut self.requests));
        let large = answered.body.len() > IN_PLACE;
        let read = move || {
            let result = read(&work, &answered, time, &mut page, &mut requests);
            (result, page, requests)
        };
        let (result, page, requests) = match large {
            false => read(),
            true => match tokio::task::spawn_blocking(read).await {
                Ok(done) => done,
                Err(e) => {
                    self.work.ingest.counters().panicked();
                    return Err(format!("reading the exposition failed: {e}"));
                }
            },
        };
        (self.page, self.requests) = (page, requests);
        result
    }

    /// The series that Prometheus adds to every scrape, and what they are now.
    fn own_series(&self) -> Vec<(&'static str, f64)> {
        let Counts { scraped, kept, added } = self.page.counts();
        let mut own = vec![
            ("up", 0.0),
            ("scrape_duration_seconds", 0.0),
            ("scrape_samples_scraped", scraped as f64),
            ("scrape_samples_post_metric_relabeling", kept as f64),
            ("scrape_series_added", added as f64),
        ];
        let Work { target, config, .. } = &self.work;
        if config.extra_metrics {
            own.push(("scrape_timeout_seconds", target.timeout.as_secs_f64()));
            own.push(("scrape_sample_limit", config.limits.samples as f64));
            own.push(("scrape_body_size_bytes", 0.0));
        }
        own
    }

    fn report(&mut self, time: i64, took: Duration, error: Option<&str>, size: usize) {
        for (name, value) in self.own_series() {
            let value = match name {
                "up" => f64::from(u8::from(error.is_none())),
                "scrape_duration_seconds" => took.as_secs_f64(),
                // Prometheus says so where the limit was exceeded.
                "scrape_body_size_bytes" if error == Some(client::TOO_LARGE) => -1.0,
                "scrape_body_size_bytes" => size as f64,
                _ => value,
            };
            if let Err(why) = self.add(name, time, value) {
                tracing::warn!(url = self.work.target.url, "{name}: {why}");
            }
        }
    }

    fn add(&mut self, name: &str, time: i64, value: f64) -> Result<(), String> {
        let own = self.work.target.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        self.requests.sample(&Labels::from_pairs(own.chain([("__name__", name)])), time, value)
    }

    /// Keeps what was encoded; while the store is too busy, tries again until the next scrape is half-way near.
    async fn append(&mut self, begun: Instant) {
        let Work { target, config, ingest, .. } = &self.work;
        let payloads = match self.requests.take() {
            Ok(payloads) => payloads,
            Err(e) => return tracing::warn!(job = config.job_name, url = target.url, "scrape lost: {e}"),
        };
        for payload in payloads.into_iter().map(bytes::Bytes::from) {
            loop {
                let envelope = Envelope {
                    via: Via::Scrape,
                    encoding: Encoding::RemoteWrite,
                    compression: ContentEncoding::Identity,
                    begun,
                    translation: Translation::None,
                };
                let refusal = match ingest.hold(payload.len()) {
                    Ok(held) => match ingest.take(envelope, Tenant::default(), payload.clone(), held).await {
                        Ok(_) => break,
                        Err(refusal) => refusal,
                    },
                    Err(refusal) => refusal,
                };
                if refusal.retry_after().is_none() || begun.elapsed() > target.interval / 2 || matches!(refusal, Refusal::Closing)
                {
                    ingest.refuse((Via::Scrape, wire::Signal::Metrics, begun), &http::HeaderMap::new(), &refusal);
                    return tracing::warn!(job = config.job_name, url = target.url, "scrape lost: {refusal}");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn read(work: &Work, answered: &Answered, time: i64, page: &mut Page, requests: &mut Requests) -> Result<(), String> {
    let Work { target, config, ingest, .. } = work;
    let mut reading = page.read(requests, Aim { config, target: &target.labels, time });
    let format = Format::of(&answered.content_type, config.fallback_protocol.map(format_of))?;
    let options = Options {
        native_histograms: config.native_histograms,
        classic_too: config.classic_histograms_too,
        custom_buckets: config.convert_to_custom_buckets,
        skip_created: false,
    };
    wire::exposition::parse(format, &answered.body, options, &ingest.limits().wire, &mut reading).map_err(|e| e.to_string())?;
    reading.flaw().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
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

    #[tokio::test]
    async fn failures_are_lines_at_the_end_of_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("f.log").display().to_string();
        for why in ["no \"answer\"", "again"] {
            write_line(&file, failure(UNIX_EPOCH + Duration::from_millis(1_500), "j", "http://h:1/m", why))
                .await
                .expect("written");
        }
        let text = std::fs::read_to_string(&file).expect("there");
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!((lines.len(), &lines[0]["msg"], &lines[1]["msg"]), (2, &"no \"answer\"".into(), &"again".into()));
        assert_eq!((&lines[0]["time"], &lines[0]["job_name"]), (&"1970-01-01T00:00:01.5Z".into(), &"j".into()));
        assert!(write_line("/no/such/folder/f", String::new()).await.is_err());
    }

    #[test]
    fn what_is_wanted_most_is_asked_for_first() {
        assert_eq!(
            accept(&job("scrape_protocols: [PrometheusProto, PrometheusText0.0.4]")),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
    }
}
