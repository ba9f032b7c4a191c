//! Log queries: lines with their labels, as Loki shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::{Tenant, TimeRange};
use store::{Order, Predicate, Reader, Scan, Table};

use crate::EvalError;
use crate::ast::{LogQuery, Stage};
use crate::eval::Said;
use crate::pipeline::{Category, Hints, LabelSet, Labels, Pipeline};
use crate::predicate::{is_pushed, predicate};
use crate::rows::{NeededLabels, Needs, Rows};

/// Bytes that the lines of one answer may have, their labels included: a line may be as large as a request, and a parser or a template may
/// make labels of all of it.
const MAX_ANSWER: usize = 96 << 20;

/// What a query is asked of, and within which bounds.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The data.
    pub reader: &'a dyn Reader,
    /// Whose.
    pub tenant: &'a Tenant,
    /// How many lines a metric query may read.
    pub max_lines: usize,
    /// Bytes of text that the labels of its series may have.
    pub max_label_bytes: usize,
    /// Bytes that its values may take.
    pub max_value_bytes: usize,
    /// Whether each line's level is found and added to its structured metadata as `detected_level` (Loki's `discover_log_levels`).
    pub discover_levels: bool,
    /// Set by whoever no longer wants the answer; looked at for each batch.
    pub cancelled: &'a AtomicBool,
    /// Where what is read is counted.
    pub tally: &'a Tally,
}

/// What answering a question took.
#[derive(Debug, Default)]
pub struct Tally {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    /// Adds lines, and bytes of their text.
    pub(crate) fn add(&self, lines: u64, bytes: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lines that were looked at; those that the store left out by itself are none of them.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Bytes of those whose text was read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Which lines come first, and which of them are left out by the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Nanoseconds since the Unix epoch.
    pub time: i64,
    /// The text.
    pub text: String,
    /// What is left of the labels of its stream.
    pub stream: Arc<LabelSet>,
    /// Structured metadata.
    pub metadata: LabelSet,
    /// What the pipeline made of it.
    pub parsed: LabelSet,
}

impl Line {
    pub(crate) fn new(time: i64, text: String, labels: &Labels) -> Self {
        if labels.is_stream() {
            let stream = labels.stream().clone();
            return Self { time, text, stream, metadata: LabelSet::default(), parsed: LabelSet::default() };
        }
        let (mut stream, mut metadata, mut parsed) = (Vec::new(), Vec::new(), Vec::new());
        labels.each(|category, name, value| {
            let pair = (name.clone(), value.clone());
            match category {
                Category::Stream => stream.push(pair),
                Category::Metadata => metadata.push(pair),
                Category::Parsed => parsed.push(pair),
            }
        });
        parsed.extend(labels.errors().map(|(n, v)| (n.into(), v.into())));
        let stream = LabelSet::from_pairs(stream);
        let stream = if stream == **labels.stream() { labels.stream().clone() } else { Arc::new(stream) };
        Self { time, text, stream, metadata: LabelSet::from_pairs(metadata), parsed: LabelSet::from_pairs(parsed) }
    }

    /// All labels in one set, as Loki groups lines.
    #[must_use]
    pub fn labels(&self) -> LabelSet {
        if self.metadata.is_empty() && self.parsed.is_empty() {
            return LabelSet::clone(&self.stream);
        }
        let all = self.stream.pairs().iter().chain(self.metadata.pairs()).chain(self.parsed.pairs());
        LabelSet::from_pairs(all.cloned())
    }
}

/// The first `limit` lines of a log query in `range`, in the direction's order.
///
/// # Errors
/// [`EvalError`].
pub fn lines(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    direction: Direction,
    limit: usize,
) -> Result<Vec<Line>, EvalError> {
    lines_apart(question, query, range, direction, limit, 0)
}

/// The same of lines of which each is at least `apart` nanoseconds from the one before it (Loki's `interval`); 0 for all of them.
///
/// # Errors
/// [`EvalError`].
pub fn lines_apart(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    direction: Direction,
    limit: usize,
    apart: i64,
) -> Result<Vec<Line>, EvalError> {
    let order = match direction {
        Direction::Forward => Order::OldestFirst,
        Direction::Backward => Order::NewestFirst,
    };
    let pipeline = pipeline(query, Hints::default())?;
    let sure = pipeline.is_empty();
    // Where the store can tell of most lines whether they pass, the first ones that may pass are enough, nearly always.
    let few = (apart == 0 && (sure || Said::of(query).complete())).then_some(limit);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let wanted = Wanted { range, order, limit, apart };
    let (out, read) = first_lines(question, query, &pipeline, wanted, few)?;
    if sure || out.len() == limit || few.is_none_or(|few| read < few) {
        return Ok(out);
    }
    Ok(first_lines(question, query, &pipeline, wanted, None)?.0)
}

/// Which of the lines that a query chooses.
#[derive(Clone, Copy)]
struct Wanted {
    range: TimeRange,
    order: Order,
    limit: usize,
    apart: i64,
}

/// The first lines that pass, at most `limit`, of the first `few` rows; and how many rows were looked at.
fn first_lines(
    question: &Question<'_>,
    query: &LogQuery,
    pipeline: &Pipeline,
    Wanted { range, order, limit, apart }: Wanted,
    few: Option<usize>,
) -> Result<(Vec<Line>, usize), EvalError> {
    let (mut out, mut bytes, mut read): (Vec<Line>, _, _) = (Vec::new(), 0, 0);
    let needs = Needs { line: true, labels: NeededLabels::All };
    each_row(question, query, &Predicate::True, range, order, few, &needs, &mut |rows, row, labels| {
        read += 1;
        let time = rows.time(row);
        if apart > 0 && out.last().is_some_and(|last| time.abs_diff(last.time) < apart.unsigned_abs()) {
            return Ok(true);
        }
        rows.labels(row, labels);
        if let Some(text) = pipeline.run(rows.line(row), time, labels) {
            bytes += text.len() + labels.size();
            if bytes > MAX_ANSWER {
                return Err(EvalError::TooMuchMemory(format!(
                    "the lines of the answer take more than {} MiB: ask for fewer lines at a time",
                    MAX_ANSWER >> 20
                )));
            }
            out.push(Line::new(time, text.into_owned(), labels));
        }
        Ok(out.len() < limit)
    })?;
    Ok((out, read))
}

/// Calls `each` for every line of a log query in `range`, in no order: its time (nanoseconds since the Unix epoch), and its labels as the
/// pipeline leaves them.
///
/// # Errors
/// [`EvalError`]; more than [`Question::max_lines`] lines are one.
pub fn each_line(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    each: &mut dyn FnMut(i64, &Labels),
) -> Result<(), EvalError> {
    let pipeline = pipeline(query, Hints::default())?;
    let needs = Needs { line: !pipeline.is_empty(), labels: NeededLabels::All };
    let mut read = 0_usize;
    each_row(question, query, &Predicate::True, range, Order::Any, None, &needs, &mut |rows, row, labels| {
        read += 1;
        if read > question.max_lines {
            return Err(EvalError::TooManyLines(question.max_lines));
        }
        rows.labels(row, labels);
        let time = rows.time(row);
        if pipeline.is_empty() || pipeline.run(rows.line(row), time, labels).is_some() {
            each(time, labels);
        }
        Ok(true)
    })
}

/// The stages of a query that the store has not done already.
pub(crate) fn pipeline(query: &LogQuery, hints: Hints) -> Result<Pipeline, EvalError> {
    let pipeline = Pipeline::new(&query.stages, hints)?;
    let pushed = query.stages.iter().take_while(|s| matches!(s, Stage::LineFilters(filters) if filters.iter().all(is_pushed)));
    Ok(pipeline.without_first(pushed.count()))
}

/// Calls `each` for the rows of a query of which `also` holds, until it says `false`. Rows that the pipeline would drop may
/// be left out.
#[allow(clippy::too_many_arguments)]
pub(crate) fn each_row(
    question: &Question<'_>,
    query: &LogQuery,
    also: &Predicate,
    range: TimeRange,
    order: Order,
    limit: Option<usize>,
    needs: &Needs,
    each: &mut dyn FnMut(&mut Rows<'_>, usize, &mut Labels) -> Result<bool, EvalError>,
) -> Result<(), EvalError> {
    let levels = question.discover_levels && needs.level();
    let scan = Scan {
        tenant: question.tenant.clone(),
        table: Table::Logs,
        range,
        predicate: predicate(query).and(Said::of(query).may_pass(question, range)?).and(also.clone()),
        projection: needs.projection(levels),
        order,
        limit,
    };
    let mut labels = Labels::default();
    for batch in question.reader.scan(&scan)? {
        let batch = batch?;
        let mut rows = Rows::new(&batch, levels);
        let (mut read, mut more) = (0, Ok(true));
        for row in 0..batch.rows() {
            // A line may take long: a template runs for each.
            if question.cancelled.load(Ordering::Relaxed) {
                return Err(EvalError::Cancelled);
            }
            read += 1;
            labels.work().line();
            more = each(&mut rows, row, &mut labels).and_then(|more| labels.work().within().map(|()| more));
            if !matches!(more, Ok(true)) {
                break;
            }
        }
        question.tally.add(read as u64, rows.bytes(read));
        if !more? {
            return Ok(());
        }
    }
    Ok(())
}
