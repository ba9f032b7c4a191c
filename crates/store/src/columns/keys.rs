//! What the rows of a merge are ordered by.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{ArrayRef, FixedSizeBinaryArray};

/// What rows are ordered by: first the rank of their tenant among those that share the inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Span(u32, u128, i64),
    Line(u32, Stream, i64),
}

impl Key {
    /// Whether rows of these keys may be the same row.
    pub(super) fn same_run(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Span(whose, a, _), Self::Span(other, b, _)) => (whose, a) == (other, b),
            (a, b) => a == b,
        }
    }
}

/// A stream: its service and its labels. Mostly compared with itself.
#[derive(Debug, Clone, Eq)]
pub(super) struct Stream(pub(super) Arc<(String, String)>);

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Ord for Stream {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for Stream {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the rows of a batch are ordered by.
pub(super) struct Keys {
    pub(super) owners: Owners,
    pub(super) columns: KeyColumns,
}

pub(super) enum KeyColumns {
    Spans { traces: ArrayRef, times: ArrayRef },
    Lines { streams: Arc<Vec<Stream>>, keys: ArrayRef, times: ArrayRef },
}

/// Whose the rows of a batch are: stretches of rows, each by its end, with the rank of the tenant. Ranks ascend.
pub(super) struct Owners(pub(super) Vec<(usize, u32)>);

impl Owners {
    pub(super) fn at(&self, row: usize) -> u32 {
        match &self.0[..] {
            [(_, only)] => *only,
            all => all.get(all.partition_point(|(end, _)| *end <= row)).map_or(u32::MAX, |(_, rank)| *rank),
        }
    }

    /// The rows of one rank; empty, between the ranks around it, where it has none.
    fn stretch(&self, rank: u32) -> Range<usize> {
        let end_of = |ranks: usize| if ranks == 0 { 0 } else { self.0[ranks - 1].0 };
        end_of(self.0.partition_point(|(_, r)| *r < rank))..end_of(self.0.partition_point(|(_, r)| *r <= rank))
    }
}

impl Keys {
    pub(super) fn at(&self, row: usize) -> Key {
        let whose = self.owners.at(row);
        match &self.columns {
            KeyColumns::Spans { traces, times } => {
                Key::Span(whose, trace_at(traces.as_fixed_size_binary(), row), times.as_primitive::<Int64Type>().value(row))
            }
            KeyColumns::Lines { streams, keys, times } => {
                let key = keys.as_dictionary::<UInt32Type>().keys().value(row) as usize;
                Key::Line(whose, streams[key].clone(), times.as_primitive::<Int64Type>().value(row))
            }
        }
    }

    /// The end of the rows from `from` to `to` whose keys come before `limit`, or are it where `or_equal`.
    pub(super) fn end(&self, from: usize, to: usize, limit: &Key, or_equal: bool) -> usize {
        let most = if or_equal { Ordering::Equal } else { Ordering::Less };
        // Rows of tenants before the limit's come before it, those of tenants after it behind it.
        let (Key::Span(whose, ..) | Key::Line(whose, ..)) = limit;
        let same = self.owners.stretch(*whose);
        let (from, to) = (from.max(same.start).min(to), to.min(same.end.max(from)));
        let found = match (&self.columns, limit) {
            (KeyColumns::Spans { traces, times }, Key::Span(_, trace, time)) => {
                let (traces, times) = (traces.as_fixed_size_binary(), times.as_primitive::<Int64Type>().values());
                (from..to).find(|&row| (trace_at(traces, row), times[row]).cmp(&(*trace, *time)) > most)
            }
            (KeyColumns::Lines { streams, keys, times }, Key::Line(_, stream, time)) => {
                let keys = keys.as_dictionary::<UInt32Type>().keys().values();
                let times = times.as_primitive::<Int64Type>().values();
                let mut last = (u32::MAX, Ordering::Equal);
                (from..to).find(|&row| {
                    if last.0 != keys[row] {
                        last = (keys[row], streams[keys[row] as usize].cmp(stream));
                    }
                    last.1.then(times[row].cmp(time)) > most
                })
            }
            // Inputs of one merge are of one table.
            _ => Some(from),
        };
        found.unwrap_or(to)
    }

    /// Whether a row's run (the rows that may be the same as it) is that of the row before it.
    pub(super) fn goes_on(&self, row: usize) -> bool {
        if self.owners.0.len() > 1 && self.owners.at(row - 1) != self.owners.at(row) {
            return false;
        }
        match &self.columns {
            KeyColumns::Spans { traces, .. } => {
                let traces = traces.as_fixed_size_binary();
                traces.value(row - 1) == traces.value(row)
            }
            KeyColumns::Lines { keys, times, .. } => {
                let keys = keys.as_dictionary::<UInt32Type>().keys().values();
                let times = times.as_primitive::<Int64Type>().values();
                keys[row - 1] == keys[row] && times[row - 1] == times[row]
            }
        }
    }
}

fn trace_at(traces: &FixedSizeBinaryArray, row: usize) -> u128 {
    traces.value(row).try_into().map_or(0, u128::from_be_bytes)
}
