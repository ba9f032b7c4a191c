//! One target: from what was discovered to what is asked, and how it went.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus::relabel::{LabelBuilder, process};
use prometheus::value::{duration, show_duration};
use prometheus::{ScrapeConfig, TargetGroup};

use super::page::FamilyText;

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

/// Names and values, sorted by name.
pub(super) type Pairs = Vec<(String, String)>;

/// A target as `/api/v1/targets` shows it.
#[derive(Debug, Clone)]
pub struct TargetSnapshot {
    /// The job's name (`scrapePool`).
    pub job: String,
    /// What is asked (`scrapeUrl`).
    pub url: String,
    /// What was discovered, with the `__…` labels.
    pub discovered_labels: Pairs,
    /// Labels of every sample, sorted by name.
    pub labels: Pairs,
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
    /// What it says of its metrics.
    pub families: Arc<[FamilyText]>,
}

/// What is asked, and as whom.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    /// Sorted by name, none empty, none with `__`.
    pub(super) labels: Pairs,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) discovered: Pairs,
    last: Mutex<Last>,
}

#[derive(Debug, Clone, Default)]
struct Last {
    health: Health,
    error: String,
    begun: Option<SystemTime>,
    took: Duration,
    families: Arc<[FamilyText]>,
}

/// What comes of a discovered target.
#[derive(Debug)]
pub(super) enum Found {
    Target(Target),
    /// Relabelling dropped it.
    Dropped(Pairs),
}

/// Every target of a group, relabelled. The error names the target that cannot be.
pub(super) fn of_group<'g>(config: &'g ScrapeConfig, group: &'g TargetGroup) -> impl Iterator<Item = Result<Found, String>> + 'g {
    group.targets.iter().map(move |own| {
        let shared = group.labels.iter().filter(|(n, _)| !own.iter().any(|(o, _)| o == n));
        one(config, LabelBuilder::new(shared.chain(own).cloned()))
    })
}

fn one(config: &ScrapeConfig, mut labels: LabelBuilder) -> Result<Found, String> {
    for (name, value) in [
        ("job", config.job_name.as_str()),
        ("__scrape_interval__", &show_duration(config.interval)),
        ("__scrape_timeout__", &show_duration(config.timeout)),
        ("__metrics_path__", &config.metrics_path),
        ("__scheme__", &config.scheme),
    ] {
        if labels.get(name).is_empty() {
            labels.set(name, value);
        }
    }
    for (name, values) in &config.params {
        let name = format!("__param_{name}");
        if let (Some(first), "") = (values.first(), labels.get(&name)) {
            labels.set(&name, first);
        }
    }
    let discovered = labels.clone().into_sorted();
    if !process(&config.relabel, &mut labels) {
        return Ok(Found::Dropped(discovered));
    }
    let address = labels.get("__address__").to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let time = |name: &str, what: &str| match duration(labels.get(name)) {
        Ok(d) if d.is_zero() => Err(format!("scrape {what} cannot be 0")),
        Ok(d) => Ok(d),
        Err(e) => Err(format!("error parsing scrape {what}: {e}")),
    };
    let (interval, timeout) = (time("__scrape_interval__", "interval")?, time("__scrape_timeout__", "timeout")?);
    if timeout > interval {
        return Err(format!("scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})"));
    }
    if labels.get("instance").is_empty() {
        labels.set("instance", &address);
    }
    let url = url(config, &labels, &address);
    let labels = labels.into_sorted().into_iter().filter(|(n, _)| !n.starts_with("__")).collect();
    Ok(Found::Target(Target { url, labels, interval, timeout, discovered, last: Mutex::default() }))
}

fn url(config: &ScrapeConfig, labels: &LabelBuilder, address: &str) -> String {
    let mut params = config.params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix("__param_") else { continue };
        match params.iter_mut().find(|(n, _)| n == name) {
            Some((_, values)) if !values.is_empty() => value.clone_into(&mut values[0]),
            Some((_, values)) => values.push(value.to_owned()),
            None => params.push((name.to_owned(), vec![value.to_owned()])),
        }
    }
    params.sort();
    let mut url = format!("{}://{address}", labels.get("__scheme__"));
    let path = labels.get("__metrics_path__");
    if !path.starts_with('/') {
        url.push('/');
    }
    escape(path, b"-._~/$&+,;=:@!*'()", &mut url);
    let mut separator = '?';
    for (name, values) in &params {
        for value in values {
            url.push(separator);
            separator = '&';
            escape(name, b"-._~", &mut url);
            url.push('=');
            escape(value, b"-._~", &mut url);
        }
    }
    url
}

/// Percent-escapes what is neither a letter nor a digit nor in `plain`; in queries a space is `+`.
fn escape(text: &str, plain: &[u8], out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || plain.contains(&b) => out.push(b as char),
            b' ' if !plain.contains(&b'/') => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

impl Target {
    /// Equal for what is the same target in another configuration.
    pub(super) fn identity(&self) -> (&str, &Pairs) {
        (&self.url, &self.labels)
    }

    /// Where in the interval this target is asked: spread over it, the same in every run.
    pub(super) fn offset(&self) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.identity().hash(&mut hasher);
        let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(hasher.finish() % interval)
    }

    pub(super) fn scraped(&self, begun: SystemTime, took: Duration, error: Option<&str>, families: Option<Arc<[FamilyText]>>) {
        let health = if error.is_none() { Health::Up } else { Health::Down };
        let mut last = self.last.lock();
        let families = families.unwrap_or_else(|| Arc::clone(&last.families));
        *last = Last { health, error: error.unwrap_or_default().to_owned(), begun: Some(begun), took, families };
    }

    pub(super) fn snapshot(&self, job: &str) -> TargetSnapshot {
        let last = self.last.lock().clone();
        TargetSnapshot {
            job: job.to_owned(),
            url: self.url.clone(),
            discovered_labels: self.discovered.clone(),
            labels: self.labels.clone(),
            health: last.health,
            last_error: last.error,
            last_scrape: last.begun,
            last_duration: last.took,
            interval: self.interval,
            timeout: self.timeout,
            families: last.families,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::*;

    fn found(yaml: &str, labels: &[(&str, &str)]) -> Result<Found, String> {
        let group = TargetGroup::of_addresses(
            ["h:1".to_owned()],
            labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            String::new(),
        );
        of_group(&job(yaml), &group).next().expect("one")
    }

    #[test]
    fn parameters_are_encoded_into_the_url_and_can_be_relabelled() {
        let yaml = "metrics_path: /probe\n  params: {target: ['http://a b'], module: [x, y]}\n  relabel_configs: [{target_label: __param_module, replacement: z}]";
        let Ok(Found::Target(target)) = found(yaml, &[("env", "dev"), ("__x", "1"), ("empty", "")]) else { panic!("kept") };
        assert_eq!(target.url, "http://h:1/probe?module=z&module=y&target=http%3A%2F%2Fa+b");
        let labels: Vec<_> = target.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(labels, ["env=dev", "instance=h:1", "job=j"]);
        assert!(target.offset() < target.interval);
        assert_eq!(target.snapshot("j").health, Health::Unknown);
    }

    #[test]
    fn relabelling_moves_drops_and_times_targets() {
        let Ok(Found::Target(target)) = found(
            "relabel_configs:\n  - {source_labels: [__address__], regex: '(.*):.*', target_label: __address__, replacement: '$1:9'}\n  - {target_label: __scrape_interval__, replacement: 7s}\n  - {target_label: __scrape_timeout__, replacement: 2s}\n  - {target_label: __scheme__, replacement: https}",
            &[("instance", "mine")],
        ) else {
            panic!("kept")
        };
        assert_eq!((target.url.as_str(), target.interval.as_secs()), ("https://h:9/metrics", 7));
        assert!(target.labels.contains(&("instance".into(), "mine".into())));
        let dropped = found("relabel_configs: [{source_labels: [__address__], regex: 'h.*', action: drop}]", &[]);
        assert!(matches!(dropped, Ok(Found::Dropped(labels)) if labels.contains(&("__address__".into(), "h:1".into()))));
        for (rule, why) in [
            ("{target_label: __address__, replacement: ''}", "no address"),
            ("{target_label: __address__, replacement: 'a/b'}", "\"a/b\" is not a valid hostname"),
            ("{target_label: __scrape_interval__, replacement: 0s}", "scrape interval cannot be 0"),
            (
                "{target_label: __scrape_timeout__, replacement: 1y}",
                "scrape timeout cannot be greater than scrape interval (31536000s > 60s)",
            ),
        ] {
            let error = found(&format!("relabel_configs: [{rule}]"), &[]).expect_err(rule);
            assert_eq!(error, why);
        }
    }
}
