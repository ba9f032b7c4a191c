//! How much there is: bytes by label, streams, patterns. Each reads the lines once and keeps a number for each answer.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use model::TimeRange;
use store::{LabelMatcher, Order, Predicate};

use crate::EvalError;
use crate::ast::LogQuery;
use crate::drain::{Drain, Pattern};
use crate::lines::{Question, each_row, pipeline};
use crate::pipeline::{Hints, LabelSet};
use crate::rows::{NeededLabels, Needs};

/// What bytes are counted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeBy {
    /// Each set of values of these labels; of all labels.
    Series(Option<Vec<String>>),
    /// Each of these labels; each label.
    Labels(Option<Vec<String>>),
}

/// Bytes of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The set of values, or one label with an empty value.
    pub labels: LabelSet,
    /// Bytes by the step's start.
    pub bytes: BTreeMap<i64, u64>,
}

fn selector(matchers: &[LabelMatcher]) -> LogQuery {
    LogQuery { matchers: matchers.to_vec(), stages: Vec::new() }
}

/// Bytes of the lines of some streams, in steps aligned to multiples of `step` (nanoseconds; one step where it is 0).
///
/// # Errors
/// [`EvalError`].
pub fn volume(
    question: &Question<'_>,
    matchers: &[LabelMatcher],
    range: TimeRange,
    by: &VolumeBy,
    step: i64,
) -> Result<Vec<Volume>, EvalError> {
    let (VolumeBy::Series(names) | VolumeBy::Labels(names)) = by;
    let labels = match names {
        Some(names) => NeededLabels::Only(names.iter().map(|n| Arc::from(n.as_str())).collect()),
        None => NeededLabels::Stream,
    };
    let needs = Needs { line: true, labels };
    let question = Question { discover_levels: false, ..*question };
    let mut found: HashMap<LabelSet, BTreeMap<i64, u64>> = HashMap::new();
    // Most rows are of the stream of the row before.
    let mut last: Option<(Arc<LabelSet>, i64, u64)> = None;
    let mut put = |stream: &LabelSet, start: i64, bytes: u64| match by {
        VolumeBy::Series(_) if stream.is_empty() => {}
        VolumeBy::Series(_) => match found.get_mut(stream) {
            Some(steps) => *steps.entry(start).or_default() += bytes,
            None => {
                found.insert(stream.clone(), BTreeMap::from([(start, bytes)]));
            }
        },
        VolumeBy::Labels(_) => {
            for (name, _) in stream.iter() {
                let label = LabelSet::from_pairs([(name, "")]);
                *found.entry(label).or_default().entry(start).or_default() += bytes;
            }
        }
    };
    each_row(&question, &selector(matchers), &Predicate::True, range, Order::Any, None, &needs, &mut |rows, row, _| {
        let time = rows.time(row);
        let start = if step > 0 { time.div_euclid(step) * step } else { range.start };
        let bytes = rows.line(row).len() as u64;
        let stream = rows.stream(row);
        match &mut last {
            Some((known, known_start, sum)) if Arc::ptr_eq(known, &stream) && *known_start == start => *sum += bytes,
            _ => {
                if let Some((known, known_start, sum)) = last.replace((stream, start, bytes)) {
                    put(&known, known_start, sum);
                }
            }
        }
        Ok(true)
    })?;
    if let Some((stream, start, bytes)) = last {
        put(&stream, start, bytes);
    }
    Ok(found.into_iter().map(|(labels, bytes)| Volume { labels, bytes }).collect())
}

/// How much a query would read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamStats {
    /// Different label sets.
    pub streams: usize,
    /// Lines.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What a label costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelCost {
    /// Different values.
    pub values: usize,
    /// Streams that have it.
    pub streams: usize,
    /// Bytes of its different values.
    pub bytes: u64,
    /// Whether one of them is neither a number nor a UUID.
    pub any_name: bool,
    /// Whether one of them is neither `0` nor `1`.
    pub any_more_than_bit: bool,
}

/// Counts the streams of a range, and what each of their labels costs. Holds some bytes for each stream and value, not their texts.
///
/// # Errors
/// [`EvalError`].
pub fn stream_stats(
    question: &Question<'_>,
    matchers: &[LabelMatcher],
    range: TimeRange,
) -> Result<(StreamStats, BTreeMap<String, LabelCost>), EvalError> {
    let needs = Needs { line: true, labels: NeededLabels::Stream };
    let question = Question { discover_levels: false, ..*question };
    let hasher = RandomState::new();
    let mut stats = StreamStats::default();
    let mut costs: BTreeMap<String, LabelCost> = BTreeMap::new();
    let (mut streams, mut values) = (HashSet::new(), HashSet::new());
    let mut last: Option<Arc<LabelSet>> = None;
    each_row(&question, &selector(matchers), &Predicate::True, range, Order::Any, None, &needs, &mut |rows, row, _| {
        stats.entries += 1;
        stats.bytes += rows.line(row).len() as u64;
        let stream = rows.stream(row);
        if last.as_ref().is_some_and(|known| Arc::ptr_eq(known, &stream)) {
            return Ok(true);
        }
        if streams.insert(hasher.hash_one(&*stream)) {
            for (name, value) in stream.iter() {
                let cost = match costs.get_mut(name) {
                    Some(cost) => cost,
                    None => costs.entry(name.to_owned()).or_default(),
                };
                cost.streams += 1;
                if values.insert(hasher.hash_one((name, value))) {
                    cost.values += 1;
                    cost.bytes += value.len() as u64;
                    cost.any_name |= value.parse::<f64>().is_err() && !is_uuid(value);
                    cost.any_more_than_bit |= !matches!(value, "0" | "1");
                }
            }
        }
        last = Some(stream);
        Ok(true)
    })?;
    stats.streams = streams.len();
    Ok((stats, costs))
}

/// `6ba7b810-9dad-11d1-80b4-00c04fd430c8`, also without hyphens.
fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && matches!(text.len(), 32 | 36) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// The patterns of a query's lines, the most frequent first, counted in steps of `step` nanoseconds.
///
/// # Errors
/// [`EvalError`].
pub fn patterns(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    step: i64,
    limit: usize,
) -> Result<Vec<Pattern>, EvalError> {
    let pipeline = pipeline(query, Hints::default())?;
    let labels = if pipeline.is_empty() { NeededLabels::Only(Vec::new()) } else { NeededLabels::All };
    let needs = Needs { line: true, labels };
    let step = step.max(1);
    let mut drain = Drain::default();
    let mut read = 0usize;
    each_row(question, query, &Predicate::True, range, Order::Any, None, &needs, &mut |rows, row, labels| {
        read += 1;
        if read > question.max_lines {
            return Err(EvalError::TooManyLines(question.max_lines));
        }
        let time = rows.time(row);
        let line = rows.line(row);
        let line = match pipeline.is_empty() {
            true => Some(line),
            false => {
                rows.labels(row, labels);
                pipeline.run(line, time, labels)
            }
        };
        if let Some(line) = line {
            drain.add(&line, time.div_euclid(step) * step);
        }
        Ok(true)
    })?;
    Ok(drain.patterns(limit))
}
