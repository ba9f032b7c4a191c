//! `global` and `scrape_configs`.

use std::collections::HashSet;
use std::time::Duration;

use collector::scrape::{ScrapeConfig, TargetConfig};

use super::{ConfigError, raw, units};

pub(super) fn validate(file: &str, global: &raw::Global, jobs: Vec<raw::Scrape>) -> Result<Vec<ScrapeConfig>, ConfigError> {
    let time = |key: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => units::duration(text)
            .and_then(|d| if d.is_zero() { Err("must be above zero".to_owned()) } else { Ok(Some(d)) })
            .map_err(|e| ConfigError::value(file, key, e)),
    };
    let interval = time("global.scrape_interval", &global.scrape_interval)?.unwrap_or(Duration::from_secs(60));
    let timeout = time("global.scrape_timeout", &global.scrape_timeout)?;
    let mut names = HashSet::new();
    jobs.into_iter()
        .enumerate()
        .map(|(at, job)| {
            let key = |k: &str| format!("scrape_configs[{at}].{k}");
            let wrong = |k: &str, why: String| Err(ConfigError::value(file, &key(k), why));
            if job.job_name.is_empty() {
                return wrong("job_name", "is missing".into());
            }
            if !names.insert(job.job_name.clone()) {
                return wrong("job_name", format!("{:?} occurs twice", job.job_name));
            }
            let interval = time(&key("scrape_interval"), &job.scrape_interval)?.unwrap_or(interval);
            let own_timeout = time(&key("scrape_timeout"), &job.scrape_timeout)?;
            if let Some(t) = own_timeout
                && t > interval
            {
                return wrong("scrape_timeout", format!("{t:?} is longer than the interval of {interval:?}"));
            }
            let timeout = own_timeout.or(timeout).unwrap_or(Duration::from_secs(10)).min(interval);
            match job.scheme.as_deref() {
                None | Some("http") => {}
                Some("https") => return wrong("scheme", "https is not in this version of Braid".into()),
                Some(other) => return wrong("scheme", format!("{other:?} is not a scheme; http is")),
            }
            let metrics_path = job.metrics_path.unwrap_or_else(|| "/metrics".into());
            if !metrics_path.starts_with('/') || metrics_path.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return wrong("metrics_path", format!("{metrics_path:?} is no path"));
            }
            let body_size_limit = match &job.body_size_limit {
                None => 64 << 20,
                Some(text) => match units::bytes(text) {
                    Ok(0) => 64 << 20,
                    Ok(n) => n,
                    Err(e) => return wrong("body_size_limit", e),
                },
            };
            let mut targets = Vec::new();
            for (group, config) in job.static_configs.into_iter().enumerate() {
                for label in config.labels.keys() {
                    if !is_label(label) {
                        return wrong(&format!("static_configs[{group}].labels"), format!("{label:?} is no label name"));
                    }
                }
                for address in config.targets {
                    let bad = address.is_empty() || address.contains(['/', ' ', '@', '?', '#']);
                    if bad {
                        let why = format!("{address:?} is no target of the form host:port");
                        return wrong(&format!("static_configs[{group}].targets"), why);
                    }
                    let labels = config.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
                    targets.push(TargetConfig { address, labels });
                }
            }
            Ok(ScrapeConfig {
                job_name: job.job_name,
                interval,
                timeout,
                metrics_path,
                params: job.params.into_iter().flat_map(|(n, vs)| vs.into_iter().map(move |v| (n.clone(), v))).collect(),
                honor_labels: job.honor_labels,
                honor_timestamps: job.honor_timestamps.unwrap_or(true),
                body_size_limit,
                sample_limit: job.sample_limit.unwrap_or(0),
                targets,
            })
        })
        .collect()
}

/// Prometheus' classic rule for names in configurations.
fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
