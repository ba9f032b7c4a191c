//! What is wrong with a configuration, said so that it can be mended without looking anything up.

use std::fmt;
use std::path::Path;

use super::place;

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
pub(crate) struct ConfigError {
    /// The file, with line and column where they are known; empty where the reason says it.
    place: String,
    /// The key whose value cannot be.
    key: Option<String>,
    why: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [Some(&self.place), self.key.as_ref()].into_iter().flatten().filter(|part| !part.is_empty()) {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for ConfigError {}

impl From<prometheus::ConfigError> for ConfigError {
    fn from(error: prometheus::ConfigError) -> Self {
        Self::plain(&error)
    }
}

impl ConfigError {
    /// A value that is understood but cannot be; `key` is its path in the file, such as `scrape_configs[0].scheme`.
    pub(super) fn value(file: &str, key: &str, why: impl fmt::Display) -> Self {
        Self { place: file.to_owned(), key: Some(key.to_owned()), why: why.to_string() }
    }

    /// The same with line and column, where the value stands in `text`, the content of `file`.
    pub(super) fn placed(self, file: &str, text: &str) -> Self {
        let at = self.key.as_deref().filter(|_| self.place == file).and_then(|key| place::find(text, key));
        match at {
            Some((line, column)) => Self { place: format!("{file}:{line}:{column}"), ..self },
            None => self,
        }
    }

    /// What says where it stands by itself.
    pub(crate) fn plain(why: &impl ToString) -> Self {
        Self { place: String::new(), key: None, why: why.to_string() }
    }

    /// The file cannot be read.
    pub(super) fn io(file: &Path, error: &std::io::Error) -> Self {
        Self { place: file.display().to_string(), key: None, why: error.to_string() }
    }

    /// The text does not parse, or does not fit.
    pub(super) fn yaml(file: &str, error: &serde_saphyr::Error) -> Self {
        let error = error.without_snippet();
        let place = match error.location() {
            Some(at) if at.line() > 0 => format!("{file}:{}:{}", at.line(), at.column()),
            _ => file.to_owned(),
        };
        let why = match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => unknown(field, expected),
            serde_saphyr::Error::DuplicateMappingKey { key, .. } => match key {
                Some(key) => format!("key `{key}` stands here for the second time"),
                None => "a key stands here for the second time".to_owned(),
            },
            serde_saphyr::Error::InvalidScalar { ty, .. } => format!("this is no {}", said(ty)),
            other => {
                let options = serde_saphyr::RenderOptions::default();
                let mut options = options;
                options.snippets = serde_saphyr::SnippetMode::Off;
                let text = other.render_with_options(options);
                let line = text.lines().next().unwrap_or_default();
                // The place stands in front already.
                line.split(" at line ").next().unwrap_or(line).to_owned()
            }
        };
        Self { place, key: None, why }
    }
}

/// A type of Rust in words.
fn said(ty: &str) -> String {
    match ty {
        "u8" => format!("whole number from 0 to {}", u8::MAX),
        "u16" => format!("whole number from 0 to {}", u16::MAX),
        "u32" => format!("whole number from 0 to {}", u32::MAX),
        "u64" | "usize" => "whole number, 0 or more".to_owned(),
        "i32" | "i64" => "whole number".to_owned(),
        "f32" | "f64" | "floating point" => "number".to_owned(),
        "bool" | "boolean" => "true or false".to_owned(),
        ty => ty.to_owned(),
    }
}

fn unknown(key: &str, known: &[&'static str]) -> String {
    if LATER.contains(&key) {
        return format!("key `{key}` is known, but this version of Braid does not have what it configures");
    }
    prometheus::unknown_key(key, known)
}
