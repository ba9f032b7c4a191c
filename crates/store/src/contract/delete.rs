//! What is deleted, and the trace that a deletion leaves: a tombstone.

use model::{Tenant, TimeRange};
use serde::{Deserialize, Serialize};
use wire::{Encoding, Signal};

use super::{LabelMatcher, Predicate, StoreError};

/// Version of the JSON that deletions are kept as.
const FORMAT: u32 = 1;

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
}

impl PartialEq for Tombstone {
    fn eq(&self, other: &Self) -> bool {
        let own = |t: &Self| (t.sequence, t.start, t.end, t.created, t.cleaned);
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
}

impl Deletion {
    /// The log's payload.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for what JSON cannot hold.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let Self { range, doomed, words, .. } = self;
        let kept = Kept { format: FORMAT, start: range.start, end: range.end, doomed: doomed.clone(), words: words.clone() };
        serde_json::to_vec(&kept).map_err(|e| StoreError::Limit(format!("a deletion that cannot be kept: {e}")))
    }
}

impl Tombstone {
    /// The deletion of a record.
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
        let Kept { start, end, doomed, words, .. } = serde_json::from_slice(&record.payload).map_err(corrupt)?;
        let tenant = record.tenant.as_str().to_owned();
        Ok(Self { sequence: record.sequence, tenant, start, end, doomed, words, created: record.received, cleaned: 0 })
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
