//! What is wrong with a configuration, said so that it can be mended without looking anything up.

use std::fmt;
use std::path::Path;

/// Keys that their projects know and this version of Braid does not read yet.
const LATER: [&str; 22] = [
    "alerting",
    "basic_auth",
    "authorization",
    "connectors",
    "consul_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "exporters",
    "extensions",
    "external_labels",
    "file_sd_configs",
    "http_sd_configs",
    "kubernetes_sd_configs",
    "metric_relabel_configs",
    "processors",
    "relabel_configs",
    "remote_read",
    "remote_write",
    "rule_files",
    "service",
    "tls",
    "tls_config",
];

/// `file:line:column: what is wrong`.
#[derive(Debug)]
pub(crate) struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A value that is understood but cannot be; `key` is its path in the file, such as `scrape_configs[0].scheme`.
    pub(super) fn value(file: &str, key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{file}: {key}: {why}"))
    }

    /// The file cannot be read.
    pub(super) fn io(file: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", file.display()))
    }

    /// The text does not parse, or does not fit.
    pub(super) fn yaml(file: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let place = match error.location() {
            Some(at) if at.line() > 0 => format!("{file}:{}:{}", at.line(), at.column()),
            _ => file.to_owned(),
        };
        let what = match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => unknown(field, expected),
            other => {
                let options = serde_saphyr::RenderOptions::default();
                let mut options = options;
                options.snippets = serde_saphyr::SnippetMode::Off;
                other.render_with_options(options).lines().next().unwrap_or_default().to_owned()
            }
        };
        Self(format!("{place}: {what}"))
    }
}

/// Names the nearest key, if one is near, else all of them.
fn unknown(key: &str, known: &[&'static str]) -> String {
    if LATER.contains(&key) {
        return format!("key `{key}` is known, but this version of Braid does not have what it configures");
    }
    let nearest = known.iter().map(|k| (distance(key, k), *k)).min();
    match nearest {
        Some((d, name)) if d <= 2.max(key.len() / 3) => format!("unknown key `{key}`; did you mean `{name}`?"),
        _ => format!("unknown key `{key}`; here may stand: {}", known.join(", ")),
    }
}

/// How many characters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_the_least_edits() {
        for (a, b, n) in [("", "", 0), ("job", "job", 0), ("jbo", "job", 1), ("jo", "job", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
    }
}
