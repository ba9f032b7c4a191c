//! What is wrong with a configuration, said so that it can be mended without looking anything up.

use std::fmt;
use std::path::Path;

/// Keys that their projects know and this version of Braid does not read yet.
const LATER: [&str; 12] = [
    "alerting",
    "connectors",
    "extensions",
    "processors",
    "remote_read",
    "remote_write",
    "rule_files",
    "telemetry",
    "thrift_binary",
    "thrift_compact",
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

impl From<prometheus::ConfigError> for ConfigError {
    fn from(error: prometheus::ConfigError) -> Self {
        Self(error.to_string())
    }
}

impl ConfigError {
    /// A value that is understood but cannot be; `key` is its path in the file, such as `scrape_configs[0].scheme`.
    pub(super) fn value(file: &str, key: &str, why: impl fmt::Display) -> Self {
        Self(format!("{file}: {key}: {why}"))
    }

    /// What says where it stands by itself.
    pub(crate) fn plain(why: &impl ToString) -> Self {
        Self(why.to_string())
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

fn unknown(key: &str, known: &[&'static str]) -> String {
    if LATER.contains(&key) {
        return format!("key `{key}` is known, but this version of Braid does not have what it configures");
    }
    prometheus::unknown_key(key, known)
}
