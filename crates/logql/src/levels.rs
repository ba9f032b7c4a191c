//! The level of a line, as Loki finds it when it takes the line in: from a label, from structured metadata, from OTLP's severity,
//! from a field of a JSON or logfmt line, from words in it. Braid finds it when a line is read: that costs nothing on the way in,
//! holds for lines of any age, and can be switched off. (Loki 3, `pkg/distributor/field_detection.go`.)

use std::borrow::Cow;

use std::sync::Arc;

use crate::pipeline::{LabelSet, json_level, logfmt_level};

/// The structured metadata that names the level.
pub(crate) const LEVEL: &str = "detected_level";

/// Labels, metadata and fields that say the level; earlier ones count more.
pub const SOURCES: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

const UNKNOWN: &str = "unknown";
const CRITICAL: &str = "critical";
const DEBUG: &str = "debug";
const ERROR: &str = "error";
const FATAL: &str = "fatal";
const INFO: &str = "info";
const TRACE: &str = "trace";
const WARN: &str = "warn";

/// How much a source counts: its place in [`SOURCES`]. `None` where `name` is none.
pub(crate) fn rank(name: &str) -> Option<u8> {
    SOURCES.iter().position(|s| *s == name).map(|at| at as u8)
}

/// The level that a word means, in any case.
fn known(word: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 14] = [
        ("trace", TRACE),
        ("trc", TRACE),
        ("debug", DEBUG),
        ("dbg", DEBUG),
        ("info", INFO),
        ("inf", INFO),
        ("information", INFO),
        ("warn", WARN),
        ("wrn", WARN),
        ("warning", WARN),
        ("error", ERROR),
        ("err", ERROR),
        ("critical", CRITICAL),
        ("fatal", FATAL),
    ];
    WORDS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word)).map(|(_, level)| *level)
}

/// A level in Loki's spelling; what is none stays as it is.
pub(crate) fn normalized(level: &str) -> Cow<'_, str> {
    known(level).map_or(Cow::Borrowed(level), Cow::Borrowed)
}

/// The level that a stream's labels say.
pub(crate) fn of_stream(stream: &LabelSet) -> Option<Cow<'_, str>> {
    SOURCES.iter().find_map(|name| stream.get(name)).map(normalized)
}

/// What the structured metadata of a line say of its level.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    named: bool,
    best: Option<(u8, Arc<str>)>,
    severity: Option<Arc<str>>,
}

impl Heard {
    /// Takes note of a piece of metadata. Gives its value back, in Loki's spelling where it is the level itself.
    pub(crate) fn hear(&mut self, name: &str, value: Arc<str>) -> Arc<str> {
        if name == LEVEL {
            self.named = true;
            return known(&value).map_or(value, Arc::from);
        }
        if name == "severity_number" {
            self.severity = Some(value.clone());
        } else if let Some(rank) = rank(name)
            && self.best.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            self.best = Some((rank, value.clone()));
        }
        value
    }

    /// The level to be added; `None` where the metadata have one already, or where it is empty.
    pub(crate) fn level<'l>(&'l self, of_stream: Option<&'l str>, line: &str) -> Option<Cow<'l, str>> {
        if self.named {
            return None;
        }
        let level = match (of_stream, &self.best, &self.severity) {
            (Some(level), ..) => Cow::Borrowed(level),
            (_, Some((_, said)), _) => normalized(said),
            // A severity that is no number means "info" to Loki.
            (.., Some(number)) => Cow::Borrowed(number.parse().map_or(INFO, of_severity)),
            _ => Cow::Borrowed(of_line(line)),
        };
        (!level.is_empty()).then_some(level)
    }
}

/// The level of OTLP's `SeverityNumber` (not 0).
pub(crate) fn of_severity(number: i64) -> &'static str {
    match number {
        ..=0 => UNKNOWN,
        1..=4 => TRACE,
        5..=8 => DEBUG,
        9..=12 => INFO,
        13..=16 => WARN,
        17..=20 => ERROR,
        21..=24 => FATAL,
        25.. => UNKNOWN,
    }
}

/// The level that a line says itself.
pub(crate) fn of_line(line: &str) -> &'static str {
    let trimmed = line.trim();
    let field = if trimmed.starts_with('{') && trimmed.ends_with('}') {
        json_level(line)
    } else if line.contains('=') {
        logfmt_level(line)
    } else {
        None
    };
    field.and_then(|word| known(&word)).unwrap_or_else(|| by_words(line.as_bytes()))
}

/// The level of the first of these words, in this order, whose spelling is all small or all capital.
fn by_words(line: &[u8]) -> &'static str {
    const LEVELS: [&str; 5] = [INFO, ERROR, WARN, CRITICAL, DEBUG];
    let mut best = LEVELS.len();
    for (at, byte) in line.iter().enumerate() {
        let rest = &line[at..];
        let is = |words: &[&[u8]]| words.iter().any(|w| rest.starts_with(w));
        let rank = match byte {
            b'i' | b'I' if is(&[b"info", b"INFO"]) => return INFO,
            b'e' | b'E' if is(&[b"err:", b"ERR:"]) => 1,
            b'w' | b'W' if is(&[b"warn:", b"WARN:", b"warning", b"WARNING"]) => 2,
            b'c' | b'C' if is(&[b"critical:", b"CRITICAL:"]) => 3,
            b'd' | b'D' if is(&[b"debug", b"DEBUG"]) => 4,
            b'[' if is(&[b"[err]", b"[ERR]", b"[error]", b"[ERROR]"]) => 1,
            b'[' if is(&[b"[warn]", b"[WARN]"]) => 2,
            b'[' if is(&[b"[critical]", b"[CRITICAL]"]) => 3,
            _ => continue,
        };
        best = best.min(rank);
    }
    LEVELS.get(best).copied().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_say_their_level_as_in_loki() {
        for (line, level) in [
            ("foo", "unknown"),
            ("an info line", "info"),
            ("ERR: broken", "error"),
            ("an error occurred", "unknown"),
            ("[ERROR] broken", "error"),
            ("a warning, then an info", "info"),
            ("[warn] x", "warn"),
            ("CRITICAL: x", "critical"),
            ("debug me", "debug"),
            (r#"{"foo":"bar","level":"WARN"}"#, "warn"),
            (r#"{"foo":{"severity":"err"}}"#, "error"),
            (r#"{"foo":{"bar":{"level":"err"}}}"#, "unknown"),
            (r#"{"level":30,"msg":"debugging"}"#, "debug"),
            (r#" {"level":"nonsense","msg":"info"} "#, "info"),
            (r#"{"level":"error","broken"}"#, "error"),
            ("foo=bar LVL=dbg", "debug"),
            ("severity=fatal level=info", "info"),
            (r#"msg="level=info" severity=Critical"#, "critical"),
            ("a=b level=ErRoR", "error"),
            ("trace_id=7 level=trc", "trace"),
            ("level=whatever warning", "warn"),
        ] {
            assert_eq!(of_line(line), level, "{line}");
        }
        assert_eq!(normalized("Information"), "info");
        assert_eq!(normalized("Notice"), "Notice");
        assert_eq!([0, 4, 9, 16, 20, 24, 30].map(of_severity), ["unknown", "trace", "info", "warn", "error", "fatal", "unknown"]);
    }

    proptest! {
        #[test]
        fn any_line_has_a_level(line in "[\\{\\}\"=: \\[\\]a-fIinowrcl\\\\é]{0,60}") {
            prop_assert!(!of_line(&line).is_empty());
        }
    }
}
