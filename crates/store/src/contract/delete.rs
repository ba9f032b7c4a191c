//! What is deleted, and the trace that a deletion leaves: a tombstone.
//!
//! A deletion may wait before it takes effect ([`Deletion::delay`]): as a request, which hides its rows and can be cancelled.
//! When its time has come it is ordered anew, as a deletion that carries the request out.

use std::time::Duration;

use model::{Tenant, TimeRange};
use serde::{Deserialize, Serialize};
use wire::{Encoding, Signal};

use super::{LabelMatcher, Language, Predicate, StoreError};

/// Version of the JSON that deletions are kept as.
const FORMAT: u32 = 2;
/// The version of those that take effect at once and have no words to read: earlier versions of Braid know them.
const PLAIN: u32 = 1;

/// Which rows go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Doomed {
    /// Spans for which this is true.
    Spans(Predicate),
    /// Log lines for which this is true.
    Lines(Predicate),
    /// Samples and exemplars of the series that one of these lists of matchers accepts.
    Series(Vec<Vec<LabelMatcher>>),
}

impl Doomed {
    /// Which strand they are of.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Self::Spans(_) => Signal::Traces,
            Self::Lines(_) => Signal::Logs,
            Self::Series(_) => Signal::Metrics,
        }
    }

    /// Has `language` read the words in it.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(&mut self, language: &dyn Language) -> Result<(), String> {
        match self {
            Self::Spans(which) | Self::Lines(which) => which.read(language),
            Self::Series(_) => Ok(()),
        }
    }

    /// Whether a language has to be asked.
    pub(crate) fn is_worded(&self) -> bool {
        matches!(self, Self::Spans(which) | Self::Lines(which) if which.is_worded())
    }

    /// How the log spells a deletion of them.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Spans(_) => Encoding::DeleteTraces,
            Self::Lines(_) => Encoding::DeleteLogs,
            Self::Series(_) => Encoding::DeleteMetrics,
        }
    }
}

/// An order to delete: of what was kept before it, everything that it names goes; what is kept later stays.
#[derive(Debug, Clone)]
pub struct Deletion {
    /// Whose.
    pub tenant: Tenant,
    /// With a time in this range (spans: their start). Samples have milliseconds: those whose millisecond lies in it.
    pub range: TimeRange,
    /// And of these.
    pub doomed: Doomed,
    /// The request in its own words, for lists.
    pub words: String,
    /// How long it waits before it takes effect, and can be cancelled; lines only. No answer shows them meanwhile.
    pub delay: Duration,
}

/// A deletion that is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tombstone {
    /// Where it stands in the log, and its name: rows of earlier records are gone.
    pub sequence: u64,
    /// Whose rows.
    pub tenant: String,
    /// From, nanoseconds since the Unix epoch.
    pub start: i64,
    /// Up to, excluded.
    pub end: i64,
    /// Which rows.
    pub doomed: Doomed,
    /// The request in its own words.
    pub words: String,
    /// When it was ordered, nanoseconds since the Unix epoch.
    pub created: i64,
    /// When no segment and no record of the log that is in use held a doomed row any more; 0 before.
    #[serde(default)]
    pub cleaned: i64,
    /// Of a request that waits: when it takes effect. 0 once it is in force.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub due: i64,
    /// The sequence of the request that it carries out; 0 where it never waited.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub request: u64,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl PartialEq for Tombstone {
    fn eq(&self, other: &Self) -> bool {
        let own = |t: &Self| (t.sequence, t.start, t.end, t.created, t.cleaned, t.due, t.request);
        let rows = |t: &Self| serde_json::to_string(&t.doomed).ok();
        own(self) == own(other) && self.tenant == other.tenant && self.words == other.words && rows(self) == rows(other)
    }
}

/// A deletion as the log holds it.
#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    start: i64,
    end: i64,
    doomed: Doomed,
    words: String,
    #[serde(default, skip_serializing_if = "is_zero")]
    due: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    request: u64,
    /// The request that is cancelled by this: then the rest says what that one was.
    #[serde(default, skip_serializing_if = "is_zero")]
    cancels: u64,
}

/// What a record about deletions orders.
#[derive(Debug)]
pub(crate) enum Order {
    /// A deletion, at once or later.
    Delete(Tombstone),
    /// That the request of this sequence is forgotten.
    Cancel(u64),
}

impl Order {
    /// The log's payload.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for what JSON cannot hold.
    pub(crate) fn encode(tombstone: &Tombstone, cancels: u64) -> Result<Vec<u8>, StoreError> {
        let Tombstone { start, end, doomed, words, due, request, .. } = tombstone.clone();
        let plain = due == 0 && request == 0 && cancels == 0 && !doomed.is_worded();
        let kept = Kept { format: if plain { PLAIN } else { FORMAT }, start, end, doomed, words, due, request, cancels };
        serde_json::to_vec(&kept).map_err(|e| StoreError::Limit(format!("a deletion that cannot be kept: {e}")))
    }

    /// What a record orders; its words are still to be read ([`Tombstone::read`]).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], and [`StoreError::Version`] of a later format.
    pub(crate) fn decode(record: &crate::Record) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let file = || format!("record {} of the log", record.sequence);
        let corrupt = |e: serde_json::Error| StoreError::Corrupt { file: file(), reason: e.to_string() };
        let head: Head = serde_json::from_slice(&record.payload).map_err(corrupt)?;
        if head.format > FORMAT {
            return Err(StoreError::Version { file: file(), found: head.format, supported: FORMAT });
        }
        let Kept { start, end, doomed, words, due, request, cancels, .. } =
            serde_json::from_slice(&record.payload).map_err(corrupt)?;
        if cancels > 0 {
            return Ok(Self::Cancel(cancels));
        }
        let (sequence, tenant, created) = (record.sequence, record.tenant.as_str().to_owned(), record.received);
        Ok(Self::Delete(Tombstone { sequence, tenant, start, end, doomed, words, created, cleaned: 0, due, request }))
    }
}

impl Tombstone {
    /// One that is not in the log yet: it takes effect at `due`, or at once where that is 0.
    pub(crate) fn ordered(deletion: &Deletion, due: i64) -> Self {
        let Deletion { tenant, range, doomed, words, .. } = deletion.clone();
        let tenant = tenant.as_str().to_owned();
        let (start, end) = (range.start, range.end);
        Self { sequence: 0, tenant, start, end, doomed, words, created: 0, cleaned: 0, due, request: 0 }
    }

    /// Has its words read by a language.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn read(&mut self, language: Option<&dyn Language>) -> Result<(), StoreError> {
        let unreadable = |e| StoreError::Limit(format!("the deletion of {:?} cannot be read: {e}", self.words));
        language.map_or(Ok(()), |language| self.doomed.read(language)).map_err(unreadable)
    }

    /// The number by which whoever ordered it knows it.
    #[must_use]
    pub fn id(&self) -> u64 {
        if self.request > 0 { self.request } else { self.sequence }
    }

    /// Which strand it is of.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.doomed.signal()
    }

    /// The range of time.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        TimeRange::new(self.start, self.end)
    }

    /// First and last millisecond of samples that go.
    #[must_use]
    pub fn millis(&self) -> std::ops::RangeInclusive<i64> {
        // The ends of time stand for all of it: milliseconds reach further than nanoseconds.
        let first = if self.start == i64::MIN { i64::MIN } else { self.start.div_euclid(1_000_000) };
        let last = if self.end == i64::MAX { i64::MAX } else { self.end.saturating_sub(1).div_euclid(1_000_000) };
        first..=last
    }

    /// The predicate of spans or lines that go, their time included; none for series.
    #[must_use]
    pub fn rows(&self) -> Option<Predicate> {
        use super::{Column, CompareOp, Field, Literal};
        let (Doomed::Spans(which) | Doomed::Lines(which)) = &self.doomed else { return None };
        let at = |op, ns| Predicate::Compare { column: Column::Field(Field::Time), op, value: Literal::Int(ns) };
        let mut all = Vec::new();
        if self.start > i64::MIN {
            all.push(at(CompareOp::Ge, self.start));
        }
        if self.end < i64::MAX {
            all.push(at(CompareOp::Lt, self.end));
        }
        all.push(which.clone());
        Some(Predicate::And(all))
    }

    /// Whether samples of a series with these labels go.
    #[must_use]
    pub fn dooms(&self, labels: &model::Labels) -> bool {
        let Doomed::Series(any) = &self.doomed else { return false };
        any.iter().any(|all| all.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or(""))))
    }
}
