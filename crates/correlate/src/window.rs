//! What a window gathers about one trace.

use std::fmt::Write;
use std::sync::Arc;

use model::{SpanId, TraceId};

use crate::keys::{FoundIn, KeyValue};

/// Related spans that an event names; more are counted.
pub const MAX_LINKS: usize = 64;
/// Log records with the trace's id that a part names; more are counted.
pub(crate) const MAX_LOG_IDS: usize = 16;
/// Exemplars that a part names.
pub(crate) const MAX_EXEMPLARS: usize = 16;
/// Records joined by a key that a part holds.
pub(crate) const MAX_JOINED: usize = 128;
/// Services that a part names.
pub(crate) const MAX_SERVICES: usize = 64;
/// Keys that a part names.
pub(crate) const MAX_KEYS: usize = 32;
/// Bytes of a line that evidence quotes.
pub(crate) const MAX_QUOTE: usize = 1024;

/// A log record by what it is: its time and a hash of its text. Written `<time>-<hash, 16 digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId {
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// xxh3 of the body's text.
    pub hash: u64,
}

impl LogId {
    /// The id of a record.
    #[must_use]
    pub fn of(time: i64, body: &str) -> Self {
        Self { time, hash: xxhash_rust::xxh3::xxh3_64(body.as_bytes()) }
    }
}

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:016x}", self.time, self.hash)
    }
}

impl std::str::FromStr for LogId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, hash) = text.rsplit_once('-').ok_or(())?;
        Ok(Self { time: time.parse().map_err(|_| ())?, hash: u64::from_str_radix(hash, 16).map_err(|_| ())? })
    }
}

/// Where in the log a record without a trace id stands: the request, and its position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The request's sequence.
    pub sequence: u64,
    /// Which record of it.
    pub index: u32,
}

/// Why a record without a trace id belongs to a trace, or may.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Name of the key that matched (of several, the one that fewest traces share).
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where in the record it stood.
    pub found: String,
    /// 0 to 1: how well this trace fits, beside the others.
    pub score: f64,
    /// 1 for the best candidate.
    pub rank: u32,
    /// How many traces came into question.
    pub candidates: u32,
    /// Nanoseconds between the record's time and the trace's, 0 inside it.
    pub distance: i64,
    /// In words, what else spoke for it and against it.
    pub notes: String,
}

/// A log record without a trace id that was joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Where it stands in the log.
    pub at: Position,
    /// Which record.
    pub log: LogId,
    /// Whose.
    pub service: String,
    /// The host that it came from, where known.
    pub host: String,
    /// Severity as written.
    pub severity: String,
    /// The line, at most [`MAX_QUOTE`] bytes of it.
    pub line: String,
    /// Whether it is the trace's; else it is one candidate of several.
    pub certain: bool,
    /// Why.
    pub evidence: Evidence,
}

/// An observation of a metric that names the trace.
#[derive(Debug, Clone, PartialEq)]
pub struct ExemplarRef {
    /// The metric.
    pub metric: String,
    /// Service of the series.
    pub service: String,
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// What was observed.
    pub value: f64,
}

/// What arrived of one trace within one window: a correlation event, or a part of one that was amended.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The trace.
    pub trace: TraceId,
    /// First and last request of the log with records that carry the trace's id; `(u64::MAX, 0)` for none.
    pub sequences: (u64, u64),
    /// The least request that anything in here stands in.
    pub lowest: u64,
    /// When the first and the last record arrived, nanoseconds since the Unix epoch.
    pub arrived: (i64, i64),
    /// First and last time that the records themselves name; the first is larger where none does.
    pub times: (i64, i64),
    /// Spans.
    pub spans: u64,
    /// Log records that carry the trace's id.
    pub logs: u64,
    /// Spans with the status error.
    pub errors: u64,
    /// Log records of severity error or worse.
    pub error_logs: u64,
    /// Exemplars.
    pub exemplar_count: u64,
    /// Records whose time lies so far from their arrival and from each other that it is not believed.
    pub odd_times: u64,
    /// Services, in order of appearance.
    pub services: Vec<Arc<str>>,
    /// Service and operation of the root span, where it arrived.
    pub root: Option<(Arc<str>, Arc<str>)>,
    /// Keys and their values.
    pub keys: Vec<(String, String)>,
    /// Related log records, the first of them.
    pub log_ids: Vec<LogId>,
    /// Related exemplars.
    pub exemplars: Vec<ExemplarRef>,
    /// Records joined by a key, and candidates.
    pub joined: Vec<Joined>,
    /// Whether an earlier window of the trace had closed.
    pub late: bool,
    /// Whether it was closed before its time for want of memory.
    pub early: bool,
}

impl Part {
    /// A part without content.
    #[must_use]
    pub fn new(trace: TraceId) -> Self {
        Self {
            trace,
            sequences: (u64::MAX, 0),
            lowest: u64::MAX,
            arrived: (i64::MAX, i64::MIN),
            times: (i64::MAX, i64::MIN),
            spans: 0,
            logs: 0,
            errors: 0,
            error_logs: 0,
            exemplar_count: 0,
            odd_times: 0,
            services: Vec::new(),
            root: None,
            keys: Vec::new(),
            log_ids: Vec::new(),
            exemplars: Vec::new(),
            joined: Vec::new(),
            late: false,
            early: false,
        }
    }

    /// Records that were joined for certain.
    #[must_use]
    pub fn joined_count(&self) -> u64 {
        self.joined.iter().filter(|j| j.certain).count() as u64
    }

    /// The signals in it: `traces`, `logs`, `metrics`.
    #[must_use]
    pub fn signals(&self) -> Vec<&'static str> {
        let has = [
            ("traces", self.spans > 0),
            ("logs", self.logs > 0 || self.joined.iter().any(|j| j.certain)),
            ("metrics", self.exemplar_count > 0),
        ];
        has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// Whether it joins two signals or two services: then its span is shown in the trace.
    #[must_use]
    pub fn joins(&self) -> bool {
        self.services.len() > 1 || self.signals().len() > 1 || !self.joined.is_empty()
    }

    /// The id of its synthetic span: the same whenever the same part is made anew.
    #[must_use]
    pub fn span_id(&self) -> SpanId {
        let first = self.joined.iter().map(|j| j.at).min();
        let mut text = String::with_capacity(96);
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{}/", self.trace);
        push_number(&mut text, self.sequences.0);
        let _ = match first.filter(|_| self.sequences.0 == u64::MAX) {
            None => text.write_str("/None"),
            some => write!(text, "/{some:?}"),
        };
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes()).max(1);
        SpanId(hash.to_be_bytes())
    }

    /// Names a service once.
    pub(crate) fn service(&mut self, name: &str) {
        if !name.is_empty() && self.services.len() < MAX_SERVICES && !self.services.iter().any(|s| **s == *name) {
            self.services.push(name.into());
        }
    }
}

/// Appends a number as text: every event has several, and `write!` takes longer for one than all else that a row's text needs.
pub(crate) fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    // Digits are always text.
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// A log record without a trace id that waits for its trace.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) tenant: u32,
    pub(crate) at: Position,
    pub(crate) received: i64,
    pub(crate) log: LogId,
    pub(crate) service: String,
    pub(crate) host: String,
    pub(crate) severity: String,
    pub(crate) line: String,
    pub(crate) keys: Vec<KeyValue<'static>>,
}

impl Waiting {
    /// Bytes that it takes, roughly.
    pub(crate) fn cost(&self) -> usize {
        let keys: usize = self.keys.iter().map(|k| 96 + k.value.len()).sum();
        240 + self.service.len() + self.host.len() + self.severity.len() + self.line.len() + keys
    }

    /// Where a key stood.
    pub(crate) fn found(&self, key: u8, value: &str) -> FoundIn {
        self.keys.iter().find(|k| k.key == key && *k.value == *value).map_or(FoundIn::Text, |k| k.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_print() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string());
        }
    }
}
