//! Log lines with their labels, as Loki shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Labels, Scope, SpanId, Tenant, TimeRange, TraceId, Value};
use store::{Batch, Column, Field, Order, Reader, Scan, Table, value_text};

use crate::EvalError;
use crate::ast::{LogQuery, Stage};
use crate::compile::predicate;

/// What a query is asked of, and within which bounds.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The data.
    pub reader: &'a dyn Reader,
    /// Whose.
    pub tenant: &'a Tenant,
    /// How many lines a metric query may read.
    pub max_lines: usize,
    /// Set by whoever no longer wants the answer; looked at for each batch.
    pub cancelled: &'a AtomicBool,
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
    /// Labels of its stream.
    pub stream: Arc<Labels>,
    /// Structured metadata: what else is known of it.
    pub metadata: Labels,
}

impl Line {
    /// Stream labels and metadata in one set, as Loki groups lines; metadata whose name is a stream label's gets the
    /// suffix `_extracted`.
    #[must_use]
    pub fn labels(&self) -> Labels {
        if self.metadata.is_empty() {
            return Labels::clone(&self.stream);
        }
        let suffixed = self.metadata.iter().filter(|(n, _)| self.stream.get(n).is_some());
        let suffixed: Vec<(String, &str)> = suffixed.map(|(n, v)| (format!("{n}_extracted"), v)).collect();
        let free = self.metadata.iter().filter(|(n, _)| self.stream.get(n).is_none());
        Labels::from_pairs(self.stream.iter().chain(free).chain(suffixed.iter().map(|(n, v)| (n.as_str(), *v))))
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
    let order = match direction {
        Direction::Forward => Order::OldestFirst,
        Direction::Backward => Order::NewestFirst,
    };
    let mut out = Vec::new();
    each_line(question, query, range, order, Some(limit), |line| out.push(line))?;
    Ok(out)
}

/// Calls `each` for every line of a log query.
pub(crate) fn each_line(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    order: Order,
    limit: Option<usize>,
    mut each: impl FnMut(Line),
) -> Result<(), EvalError> {
    let fields = [
        Field::Time,
        Field::Body,
        Field::TraceId,
        Field::SpanId,
        Field::SeverityNumber,
        Field::SeverityText,
        Field::Observed,
        Field::Flags,
        Field::ScopeName,
        Field::ScopeVersion,
    ];
    let scan = Scan {
        tenant: question.tenant.clone(),
        table: Table::Logs,
        range,
        predicate: predicate(query),
        projection: fields.into_iter().map(Column::Field).chain([Column::Attributes(None)]).collect(),
        order,
        limit,
    };
    // Neighbouring lines often share their stream.
    let mut last: Arc<Labels> = Arc::default();
    for batch in question.reader.scan(&scan)? {
        let batch = batch?;
        if question.cancelled.load(Ordering::Relaxed) {
            return Err(EvalError::Cancelled);
        }
        for row in 0..batch.rows() {
            let mut line = line_at(&batch, row);
            query.stages.iter().for_each(|s| apply(s, &mut line));
            if line.stream == last {
                line.stream = last.clone();
            } else {
                last = line.stream.clone();
            }
            each(line);
        }
    }
    Ok(())
}

fn apply(stage: &Stage, line: &mut Line) {
    let retain = |labels: &Labels, keep: &dyn Fn(&str) -> bool| Labels::from_pairs(labels.iter().filter(|(n, _)| keep(n)));
    let keep: Box<dyn Fn(&str) -> bool + '_> = match stage {
        Stage::Filter(_) => return,
        Stage::Drop(names) => Box::new(|n| !names.iter().any(|name| name == n)),
        Stage::Keep(names) => Box::new(|n| names.iter().any(|name| name == n)),
    };
    line.stream = retain(&line.stream, &keep).into();
    line.metadata = retain(&line.metadata, &keep);
}

/// A label's name as Loki makes it of an attribute's key: letters, digits and `_`, no digit in front.
pub(crate) fn label_name(key: &str) -> String {
    let mut name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    }
    name
}

fn line_at(batch: &Batch, row: usize) -> Line {
    let mut stream = Vec::new();
    let mut metadata = Vec::new();
    let mut resource = Vec::new();
    batch.attributes(row, |scope, key, value| {
        let pair = |value: &Value<'_>| (label_name(key), value_text(value));
        match scope {
            Scope::Label => stream.push((key.to_owned(), value_text(&value))),
            Scope::Resource => resource.push(pair(&value)),
            Scope::Record | Scope::Instrumentation => metadata.push(pair(&value)),
        }
    });
    // What became a stream label is not said twice.
    resource.retain(|(name, _)| !stream.iter().any(|(n, _)| n == name));
    metadata.extend(resource);
    let mut add = |name: &str, value: String| {
        if !value.is_empty() && !metadata.iter().any(|(n, _)| n == name) {
            metadata.push((name.to_owned(), value));
        }
    };
    let number = |field| batch.int(row, field).filter(|n| *n != 0).map(|n| n.to_string()).unwrap_or_default();
    let trace = TraceId::from_slice(batch.id(row, Field::TraceId)).unwrap_or_default();
    let span = SpanId::from_slice(batch.id(row, Field::SpanId)).unwrap_or_default();
    add("trace_id", if trace.is_none() { String::new() } else { trace.to_string() });
    add("span_id", if span.is_none() { String::new() } else { span.to_string() });
    add("severity_number", number(Field::SeverityNumber));
    add("severity_text", batch.text(row, Field::SeverityText).to_owned());
    add("observed_timestamp", number(Field::Observed));
    add("flags", number(Field::Flags));
    add("scope_name", batch.text(row, Field::ScopeName).to_owned());
    add("scope_version", batch.text(row, Field::ScopeVersion).to_owned());
    Line {
        time: batch.int(row, Field::Time).unwrap_or(0),
        text: batch.text(row, Field::Body).to_owned(),
        stream: Labels::from_pairs(stream).into(),
        metadata: Labels::from_pairs(metadata),
    }
}
