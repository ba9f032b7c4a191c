//! One target: what to ask, and how it went.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::labels::target_labels;
use super::{ScrapeConfig, TargetConfig};

/// How a target is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not asked yet.
    #[default]
    Unknown,
    /// The last scrape succeeded.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// The word in `/api/v1/targets`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target as `/api/v1/targets` shows it.
#[derive(Debug, Clone)]
pub struct TargetSnapshot {
    /// The job's name (`scrapePool`).
    pub job: String,
    /// What is asked (`scrapeUrl`).
    pub url: String,
    /// What the configuration says, with the `__…` labels.
    pub discovered_labels: Vec<(String, String)>,
    /// Labels of every sample, sorted by name.
    pub labels: Vec<(String, String)>,
    /// How it is doing.
    pub health: Health,
    /// Why the last scrape failed; empty when it did not.
    pub last_error: String,
    /// When the last scrape began.
    pub last_scrape: Option<SystemTime>,
    /// How long it took.
    pub last_duration: Duration,
    /// How often it is asked.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) config: ScrapeConfig,
    pub(super) url: String,
    /// Sorted by name, none empty.
    pub(super) labels: Vec<(String, String)>,
    discovered: Vec<(String, String)>,
    last: Mutex<Last>,
}

#[derive(Debug, Clone, Default)]
struct Last {
    health: Health,
    error: String,
    begun: Option<SystemTime>,
    took: Duration,
}

impl Target {
    pub(super) fn new(config: &ScrapeConfig, target: &TargetConfig) -> Self {
        let mut url = format!("http://{}{}", target.address, config.metrics_path);
        for (i, (name, value)) in config.params.iter().enumerate() {
            url.push(if i == 0 && !config.metrics_path.contains('?') { '?' } else { '&' });
            encode(name, &mut url);
            url.push('=');
            encode(value, &mut url);
        }
        let mut discovered = vec![
            ("__address__".to_owned(), target.address.clone()),
            ("__metrics_path__".to_owned(), config.metrics_path.clone()),
            ("__scheme__".to_owned(), "http".to_owned()),
            ("__scrape_interval__".to_owned(), format!("{:?}", config.interval)),
            ("__scrape_timeout__".to_owned(), format!("{:?}", config.timeout)),
        ];
        discovered.extend(target.labels.iter().cloned());
        if !target.labels.iter().any(|(n, _)| n == "job") {
            discovered.push(("job".to_owned(), config.job_name.clone()));
        }
        discovered.sort();
        let config = ScrapeConfig { targets: vec![target.clone()], ..config.clone() };
        let labels = target_labels(&config.job_name, target);
        Self { config, url, labels, discovered, last: Mutex::default() }
    }

    /// Where in the interval this target is asked: spread over it, the same in every run.
    pub(super) fn offset(&self) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.url, &self.labels).hash(&mut hasher);
        let interval = u64::try_from(self.config.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(hasher.finish() % interval)
    }

    pub(super) fn scraped(&self, begun: SystemTime, took: Duration, error: Option<&str>) {
        let health = if error.is_none() { Health::Up } else { Health::Down };
        *self.last.lock() = Last { health, error: error.unwrap_or_default().to_owned(), begun: Some(begun), took };
    }

    pub(super) fn snapshot(&self) -> TargetSnapshot {
        let last = self.last.lock().clone();
        TargetSnapshot {
            job: self.config.job_name.clone(),
            url: self.url.clone(),
            discovered_labels: self.discovered.clone(),
            labels: self.labels.clone(),
            health: last.health,
            last_error: last.error,
            last_scrape: last.begun,
            last_duration: last.took,
            interval: self.config.interval,
            timeout: self.config.timeout,
        }
    }
}

/// `application/x-www-form-urlencoded`.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_into_the_url() {
        let config = ScrapeConfig {
            job_name: "probe".into(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            metrics_path: "/probe".into(),
            params: vec![("target".into(), "http://a b".into()), ("module".into(), "x".into())],
            honor_labels: false,
            honor_timestamps: true,
            body_size_limit: 1,
            sample_limit: 0,
            targets: Vec::new(),
        };
        let target = Target::new(&config, &TargetConfig { address: "h:1".into(), labels: vec![("env".into(), "dev".into())] });
        assert_eq!(target.url, "http://h:1/probe?target=http%3A%2F%2Fa+b&module=x");
        let labels: Vec<_> = target.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(labels, ["env=dev", "instance=h:1", "job=probe"]);
        assert!(target.offset() < config.interval);
        assert_eq!(target.snapshot().health, Health::Unknown);
    }
}
