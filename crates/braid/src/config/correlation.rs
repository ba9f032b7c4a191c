//! `correlation`: windows, business keys, entities.

use std::time::Duration;

use correlate::{BusinessKey, Settings, Since};
use regex::Regex;

use super::{ConfigError, raw, units};

/// The environment variable that sets the window's seconds where the file does not.
const WINDOW_SECONDS: &str = "CORR_WINDOW_SECONDS";

/// What `file` says; `None` where correlation is switched off. `memory` is the whole budget in bytes.
pub(super) fn settings(
    name: &str,
    file: &raw::Correlation,
    memory: usize,
    limits: &wire::Limits,
) -> Result<Option<Settings>, ConfigError> {
    let wrong = |key: &str, why: &str| ConfigError::value(name, &format!("correlation.{key}"), why);
    let defaults = Settings::default();
    let window = match (&file.window, std::env::var(WINDOW_SECONDS)) {
        (Some(text), _) => units::duration(text).map_err(|e| wrong("window", &e))?,
        (None, Ok(text)) => {
            let seconds = text.trim().parse().map_err(|_| format!("{text:?} is no number of seconds"));
            Duration::from_secs(seconds.map_err(|e| ConfigError::value("environment", WINDOW_SECONDS, e))?)
        }
        (None, Err(_)) => defaults.window,
    };
    if window < Duration::from_millis(100) || window > Duration::from_secs(3600) {
        return Err(wrong("window", "the window must last from 100ms to 1h"));
    }
    let since = match file.window_from.as_deref() {
        None | Some("first") => Since::First,
        Some("last") => Since::Last,
        Some(other) => return Err(wrong("window_from", &format!("{other:?} is neither \"first\" nor \"last\""))),
    };
    let keys = match &file.keys {
        None => defaults.keys,
        Some(keys) => keys.iter().map(key).collect::<Result<_, _>>().map_err(|e| wrong("keys", &e))?,
    };
    correlate::keys::Finder::new(&keys).map_err(|e| wrong("keys", &e))?;
    let memory = match &file.memory {
        Some(text) => units::bytes(text).map_err(|e| wrong("memory", &e))?.max(1 << 20),
        None => memory / 16,
    };
    let lone_events = file.lone_events.unwrap_or(defaults.lone_events);
    let entities = file.entities.clone();
    let settings = Settings { window, since, keys, lone_events, memory, entities, wire: limits.clone() };
    // It reads every record once more, so it is asked for: by itself, by another key of its section, or by its variable.
    let asked = file.window.is_some()
        || file.window_from.is_some()
        || file.memory.is_some()
        || file.lone_events.is_some()
        || file.keys.is_some()
        || !file.entities.is_empty()
        || std::env::var_os(WINDOW_SECONDS).is_some();
    Ok(file.enabled.unwrap_or(asked).then_some(settings))
}

fn key(raw: &raw::BusinessKey) -> Result<BusinessKey, String> {
    let (name, patterns) = match raw {
        raw::BusinessKey::Name(name) => (name, &[][..]),
        raw::BusinessKey::Patterns(p) => (&p.name, &p.patterns[..]),
    };
    let patterns = patterns.iter().map(|p| Regex::new(p).map_err(|e| format!("the pattern {p:?} of {name:?}: {e}")));
    Ok(BusinessKey { name: name.clone(), patterns: patterns.collect::<Result<_, _>>()? })
}
