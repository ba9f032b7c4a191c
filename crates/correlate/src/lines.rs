//! What the loom wants to know of lines: looked for while the table of lines takes them, or when the log is read.
//!
//! Looking for it is most of what a line costs, and the table has unpacked the request and walked it anyway; so there a [`Keeper`]
//! looks on ([`store::NamedReader::with_lines`]), and [`KeptLines::give`] tells the loom what it would have found itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Attr, Group, Log, OwnedValue, TraceId, Value};
use wire::LogSink;

use crate::keys::{Finder, Found, FoundIn, KeyValue};
use crate::sink::Logs;
use crate::window::{LogId, MAX_QUOTE};

/// Severity numbers from here on are errors (OpenTelemetry's data model: ERROR, FATAL).
const ERROR_FROM: i32 = 17;
/// Bytes of text that are kept of a request; a request with more is read from the log.
const MAX_TEXT: usize = 4 << 20;

/// What was found in one line.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    /// Which of its request.
    pub(crate) index: u32,
    pub(crate) time: i64,
    pub(crate) failed: bool,
    pub(crate) trace: Option<TraceId>,
    /// The trace's id stands in a field or an attribute, and not only in the text.
    pub(crate) as_such: bool,
    /// Its own keys, without those of its sender.
    pub(crate) keys: Vec<KeyValue<'a>>,
    pub(crate) severity: &'a str,
    /// Its text, or as much of it as is quoted.
    pub(crate) quote: &'a str,
}

/// Looks through a line; gives back its text, and how many values were too long, besides.
pub(crate) fn look<'a>(finder: &Finder, index: u32, log: &'a Log<'_>) -> (Line<'a>, &'a str, u64) {
    let body: &str = match &log.body {
        Value::Str(text) => text,
        Value::Nested(text) => text,
        _ => "",
    };
    let mut found = Found::default();
    finder.attributes(log.attributes, FoundIn::Attribute, &mut found);
    if !log.trace_id.is_none() {
        found.trace = Some(log.trace_id);
    }
    let as_such = found.trace.is_some();
    finder.text(body, &mut found);
    let line = Line {
        index,
        time: log.time,
        failed: log.severity_number >= ERROR_FROM,
        trace: found.trace.filter(|id| !id.is_none()),
        as_such,
        keys: found.keys,
        severity: severity(log),
        quote: &body[..body.floor_char_boundary(MAX_QUOTE)],
    };
    (line, body, found.oversized)
}

fn severity<'a>(log: &'a Log<'_>) -> &'a str {
    if !log.severity_text.is_empty() {
        return &log.severity_text[..log.severity_text.floor_char_boundary(32)];
    }
    match log.severity_number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "",
    }
}

/// A stretch of the kept text.
#[derive(Debug, Clone, Copy, Default)]
struct Text {
    from: u32,
    to: u32,
}

/// Who sent the lines from `first` on.
#[derive(Debug, Default)]
struct KeptGroup {
    resource: Vec<(Text, OwnedValue)>,
    labels: Vec<(Text, Text)>,
    first: u32,
}

#[derive(Debug)]
struct KeptLine {
    trace: TraceId,
    time: i64,
    /// Of its text.
    hash: u64,
    index: u32,
    failed: bool,
    as_such: bool,
    /// In `keys`; as far as the next line's.
    keys: u32,
    /// In `quotes`, where it has no trace; it has none where it has one.
    quote: u32,
}

/// The lines of a request that carry something.
#[derive(Debug, Default)]
pub(crate) struct KeptLines {
    text: String,
    groups: Vec<KeptGroup>,
    lines: Vec<KeptLine>,
    keys: Vec<(u8, FoundIn, Text)>,
    /// Severity, and as much of the text as is quoted.
    quotes: Vec<(Text, Text)>,
    oversized: u64,
}

impl KeptLines {
    fn text(&self, at: Text) -> &str {
        &self.text[at.from as usize..at.to as usize]
    }

    fn memory(&self) -> usize {
        let group = |g: &KeptGroup| g.resource.capacity() * size_of::<(Text, OwnedValue)>() + g.labels.capacity() * 16;
        size_of::<Self>()
            + self.text.capacity()
            + self.groups.capacity() * size_of::<KeptGroup>()
            + self.groups.iter().map(group).sum::<usize>()
            + self.lines.capacity() * size_of::<KeptLine>()
            + self.keys.capacity() * size_of::<(u8, FoundIn, Text)>()
            + self.quotes.capacity() * size_of::<(Text, Text)>()
    }

    /// Tells what was found.
    pub(crate) fn give(&self, logs: &mut Logs<'_>) {
        logs.oversized(self.oversized);
        for (at, kept) in self.groups.iter().enumerate() {
            let resource: Vec<Attr<'_>> =
                kept.resource.iter().map(|(key, value)| Attr { key: self.text(*key), value: value.as_value() }).collect();
            let labels: Vec<(&str, &str)> = kept.labels.iter().map(|(n, v)| (self.text(*n), self.text(*v))).collect();
            logs.group(&Group { resource: &resource, labels: &labels, ..Group::default() });
            let end = self.groups.get(at + 1).map_or(self.lines.len(), |next| next.first as usize);
            for number in kept.first as usize..end {
                let line = &self.lines[number];
                let last = self.lines.get(number + 1).map_or(self.keys.len(), |next| next.keys as usize);
                let keys = self.keys[line.keys as usize..last].iter();
                let keys = keys.map(|(key, found, value)| KeyValue { key: *key, value: self.text(*value).into(), found: *found });
                let (severity, quote) = self.quotes.get(line.quote as usize).copied().unwrap_or_default();
                let given = Line {
                    index: line.index,
                    time: line.time,
                    failed: line.failed,
                    trace: (!line.trace.is_none()).then_some(line.trace),
                    as_such: line.as_such,
                    keys: keys.collect(),
                    severity: self.text(severity),
                    quote: self.text(quote),
                };
                logs.line(given, || LogId { time: line.time, hash: line.hash });
            }
        }
    }
}

/// Keeps of the lines that pass by what was found in them.
pub(crate) struct Keeper {
    finder: Arc<Finder>,
    kept: KeptLines,
    /// Of all lines, also of those in which nothing is.
    index: u32,
    /// The group has keys itself: all its lines are records of them.
    keyed: bool,
    too_much: bool,
    /// How many lines the last request had.
    last: Arc<AtomicUsize>,
}

impl Keeper {
    /// `last`: shared by the keepers of one reader, so that the next has room from the start.
    pub(crate) fn new(finder: Arc<Finder>, last: Arc<AtomicUsize>) -> Self {
        let lines = Vec::with_capacity(last.load(Ordering::Relaxed));
        let kept = KeptLines { lines, ..KeptLines::default() };
        Self { finder, kept, index: 0, keyed: false, too_much: false, last }
    }

    fn keep_text(&mut self, text: &str) -> Text {
        keep_text(&mut self.kept.text, &mut self.too_much, text)
    }
}

fn keep_text(all: &mut String, too_much: &mut bool, text: &str) -> Text {
    let from = all.len();
    if from + text.len() > MAX_TEXT {
        *too_much = true;
        return Text::default();
    }
    all.push_str(text);
    // No more than MAX_TEXT.
    Text { from: from as u32, to: all.len() as u32 }
}

impl LogSink for Keeper {
    fn group(&mut self, group: &Group<'_>) {
        let mut found = Found::default();
        self.finder.attributes(group.resource, FoundIn::Resource, &mut found);
        self.finder.labels(group.labels, &mut found);
        self.keyed = !found.keys.is_empty();
        let first = self.kept.lines.len() as u32;
        let mut kept = KeptGroup { first, ..KeptGroup::default() };
        for attribute in group.resource {
            kept.resource.push((self.keep_text(attribute.key), attribute.value.to_owned_value()));
        }
        for (name, value) in group.labels {
            kept.labels.push((self.keep_text(name), self.keep_text(value)));
        }
        // A group without a line that matters is an entity all the same.
        self.kept.groups.push(kept);
    }

    fn log(&mut self, log: &Log<'_>) {
        let index = self.index;
        self.index += 1;
        let (line, body, oversized) = look(&self.finder, index, log);
        self.kept.oversized += oversized;
        if line.trace.is_none() && line.keys.is_empty() && !self.keyed || self.too_much {
            return;
        }
        let kept = &mut self.kept;
        let keys = kept.keys.len() as u32;
        for key in &line.keys {
            let value = keep_text(&mut kept.text, &mut self.too_much, &key.value);
            kept.keys.push((key.key, key.found, value));
        }
        let mut quote = u32::MAX;
        if line.trace.is_none() {
            quote = kept.quotes.len() as u32;
            let severity = keep_text(&mut kept.text, &mut self.too_much, line.severity);
            let text = keep_text(&mut kept.text, &mut self.too_much, line.quote);
            kept.quotes.push((severity, text));
        }
        let hash = LogId::of(line.time, body).hash;
        let trace = line.trace.unwrap_or_default();
        kept.lines.push(KeptLine {
            trace,
            time: line.time,
            hash,
            index,
            failed: line.failed,
            as_such: line.as_such,
            keys,
            quote,
        });
    }
}

impl store::LineKeeper for Keeper {
    fn finish(self: Box<Self>) -> Option<(store::KeptLines, usize)> {
        if self.too_much {
            return None;
        }
        self.last.store(self.kept.lines.len(), Ordering::Relaxed);
        let memory = self.kept.memory();
        Some((Arc::new(self.kept), memory))
    }
}
