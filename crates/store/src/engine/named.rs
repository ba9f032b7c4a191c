//! Readers of the log by name: what comes behind a durable cursor, and as much of it as tables have walked already.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::{KeptSpans, Signal, Wanted};

use super::Core;
use crate::log::{Cursors, LogReader, Look, Next};
use crate::recent::{KeepsLines, KeptLines, LentSpans, LineKeeper, RecentReader, WantsSpans};
use crate::{Record, StoreError, Tombstone};

/// Reads the log behind a durable cursor.
#[derive(Debug)]
pub struct NamedReader {
    name: String,
    reader: LogReader,
    core: Arc<Core>,
    cursors: Arc<Cursors>,
    spans: Option<RecentReader<WantsSpans, Arc<LentSpans>>>,
    lines: Option<RecentReader<KeepsLines, KeptLines>>,
    /// The sequence of what was returned last, where that had been walked already.
    taken: Option<(u64, Taken)>,
}

/// What a table has kept of a request.
#[derive(Debug)]
enum Taken {
    Spans(Arc<LentSpans>),
    Lines(KeptLines),
}

impl NamedReader {
    pub(super) fn new(name: &str, reader: LogReader, core: Arc<Core>, cursors: Arc<Cursors>) -> Self {
        Self { name: name.to_owned(), reader, core, cursors, spans: None, lines: None, taken: None }
    }

    /// The next record; `None` when there is none yet (ask again after a while, or after [`Writer::subscribe`] had one). Where
    /// tables keep what this reader wants, a record is there once its table has walked it: reading the log meanwhile would be to
    /// walk it twice.
    ///
    /// # Errors
    /// IO.
    pub fn next_record(&mut self) -> Result<Option<Record>, StoreError> {
        self.taken = None;
        if self.spans.is_none() && self.lines.is_none() {
            return self.reader.next_record();
        }
        let (core, spans, lines) = (&self.core, &self.spans, &self.lines);
        loop {
            let mut taken = None;
            let next = self.reader.next_past(&mut |sequence, signal| {
                let asked = match signal {
                    Some(Signal::Traces) => spans.is_some(),
                    Some(Signal::Logs) => lines.is_some(),
                    _ => false,
                };
                if !asked {
                    return Look::Read;
                }
                if signal.is_some_and(|signal| core.feed(signal).is_coming(sequence)) {
                    return Look::Later;
                }
                let spans = spans.as_ref().and_then(|spans| spans.take(sequence));
                let spans = spans.map(|walked| (walked.record, Taken::Spans(walked.kept)));
                let lines = lines.as_ref().and_then(|lines| lines.take(sequence));
                let lines = lines.map(|walked| (walked.record, Taken::Lines(walked.kept)));
                // What a deletion has reached is read again, without what it took.
                let whole = sequence > core.latest_deletion.load(Ordering::Acquire);
                taken = spans.or(lines).filter(|_| whole);
                if taken.is_some() { Look::Known } else { Look::Read }
            })?;
            match (next, taken) {
                (Some(Next::Record(record)), _) => return Ok(Some(record)),
                (Some(Next::Known(sequence)), Some((record, kept))) => {
                    self.taken = Some((sequence, kept));
                    return Ok(Some(record));
                }
                (Some(Next::Known(_)), None) => {}
                (None, _) => return Ok(None),
            }
        }
    }

    /// From now on records of spans may come without payload: as [`NamedReader::spans_of`] has them, what is wanted of them.
    #[must_use]
    pub fn with_spans(mut self, wants: impl Wanted + Send + Sync + 'static) -> Self {
        let recent = self.core.table(Signal::Traces).recent();
        self.spans = recent.map(|(spans, _)| spans.reader(Arc::new(wants)));
        self
    }

    /// From now on records of lines may come without payload: as [`NamedReader::lines_of`] has them, what a keeper that `keep` made
    /// for them has kept. Has no effect where another reader has asked for this.
    #[must_use]
    pub fn with_lines(mut self, keep: impl Fn() -> Box<dyn LineKeeper> + Send + Sync + 'static) -> Self {
        let recent = self.core.table(Signal::Logs).recent();
        self.lines = recent.and_then(|(_, lines)| lines.only_reader(Arc::new(keep)));
        self
    }

    /// The spans of the record that was returned last, as the table walked them: what a walk over the payload would tell, but
    /// for scopes, trace states, flags, events, links, and groups and attributes that are not wanted. `None` where the payload
    /// tells; no deletion had reached the record otherwise.
    #[must_use]
    pub fn spans_of(&self, record: &Record) -> Option<&KeptSpans> {
        match &self.taken {
            Some((sequence, Taken::Spans(spans))) if *sequence == record.sequence => Some(spans),
            _ => None,
        }
    }

    /// The same for lines, as this reader's keeper has kept them.
    #[must_use]
    pub fn lines_of<T: 'static>(&self, record: &Record) -> Option<&T> {
        match &self.taken {
            Some((sequence, Taken::Lines(lines))) if *sequence == record.sequence => lines.downcast_ref(),
            _ => None,
        }
    }

    /// Every sequence below this has been returned, or will never be.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// What later deletions took of a record: read it with [`crate::deletes::walk_spans`] and its like. A deletion is itself
    /// a record ([`wire::Encoding::is_deletion`]), for readers that handed its rows on before.
    #[must_use]
    pub fn deleted_of(&self, record: &Record) -> Vec<Arc<Tombstone>> {
        self.core.deleted_of(record)
    }

    /// Whether a record of samples may have exemplars; `false` where the table has read it and found none.
    #[must_use]
    pub fn may_have_exemplars(&self, record: &Record) -> bool {
        self.core.feed(Signal::Metrics).may_have_exemplars(record.sequence)
    }

    /// Everything returned so far is dealt with: a restart goes on behind it. Costs a sync; do it per batch, not per record.
    ///
    /// # Errors
    /// IO.
    pub fn save(&self) -> Result<(), StoreError> {
        self.save_through(self.reader.position() - 1)
    }

    /// As [`NamedReader::save`], for a reader that keeps state of what it was given last: a restart gives again what comes
    /// after `sequence`. A position never moves back.
    ///
    /// # Errors
    /// IO.
    pub fn save_through(&self, sequence: u64) -> Result<(), StoreError> {
        self.cursors.save(&self.name, sequence.min(self.reader.position() - 1))?;
        self.core.wake.notify_all();
        Ok(())
    }

    /// [`NamedReader::save`] together with what the reader has made of the records: after a crash [`NamedReader::state`]
    /// gives back what belongs to the position at which it goes on.
    ///
    /// # Errors
    /// IO.
    pub fn save_with(&self, state: &[u8]) -> Result<(), StoreError> {
        self.cursors.save_with(&self.name, self.reader.position() - 1, state)?;
        self.core.wake.notify_all();
        Ok(())
    }

    /// What was saved last with [`NamedReader::save_with`]; `None` for a reader that never did.
    ///
    /// # Errors
    /// IO.
    pub fn state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.cursors.state(&self.name)
    }

    /// Returns records of this signal only, without reading the bodies of others.
    #[must_use]
    pub fn only(mut self, signal: Signal) -> Self {
        self.reader.set_only(signal);
        self
    }

    /// How many records were given up before they were read: see [`AtCap`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.reader.lost()
    }

    /// Bytes of the log that are still to be read, those of other signals too.
    #[must_use]
    pub fn bytes_behind(&self) -> u64 {
        self.reader.bytes_behind()
    }

    /// How many records are appended and not read yet (gaps in the sequence counted as records).
    #[must_use]
    pub fn behind(&self) -> u64 {
        (self.core.log.committed() + 1).saturating_sub(self.reader.position())
    }
}
