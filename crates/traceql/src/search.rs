//! Which traces hold spans that a query asks for.

use std::collections::{BTreeMap, HashSet};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use model::{SpanId, TraceId};
use store::{Column, Field as Stored, Order, Predicate, Scan};

use crate::EvalError;
use crate::ast::{Intrinsic, Pipeline, Query, Root};
use crate::fetch::{Fetch, Place};
use crate::marks::Marks;
use crate::pipeline::{Compiled, Set};
use crate::predicate::required;
use crate::question::Question;
use crate::trace::{Loaded, Trace, Wanted, read_in_parts};
use crate::value::Static;

/// Most traces that are read at once; first as many as are asked for, since there may be no more.
const CHUNK_MAX: usize = 8192;
/// Whoever wants so many traces probably wants all.
const MANY: usize = 1000;
/// Bytes that a span takes in an answer, with some attributes and once more as text.
const FOUND_BYTES: usize = 512;
/// So many traces are not worth another thread.
const ALONE: usize = 256;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Plan {
    pipeline: Compiled,
    fetch: Fetch,
    /// What rows decide by themselves.
    pub(crate) marks: Marks,
    /// A trace has a span for each of them.
    required: Vec<Predicate>,
    /// Only traces at least so long, nanoseconds.
    pub min_duration: Option<i64>,
    /// Only traces at most so long, nanoseconds.
    pub max_duration: Option<i64>,
}

impl Plan {
    /// The plan of a query; `None` where it is a metrics query.
    #[must_use]
    pub fn new(query: &Query) -> Option<Self> {
        match &query.root {
            Root::Spansets(pipeline) => Some(Self::of(pipeline)),
            Root::Metrics(_) => None,
        }
    }

    fn of(pipeline: &Pipeline) -> Self {
        let mut fetch = Fetch::new(pipeline);
        let compiled = Compiled::new(pipeline, &mut fetch);
        let marks = compiled.marks(&fetch);
        Self { pipeline: compiled, fetch, marks, required: required(pipeline), min_duration: None, max_duration: None }
    }

    /// What holds for the spans that are looked for, and maybe for others.
    #[must_use]
    pub fn predicate(&self) -> Predicate {
        match &self.required[..] {
            [one] => one.clone(),
            _ => Predicate::Or(self.required.clone()),
        }
    }
}

/// A trace that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTrace {
    /// Which.
    pub trace_id: TraceId,
    /// Service and name of its root span, once that has arrived.
    pub root: Option<(String, String)>,
    /// First start of its spans, nanoseconds since the Unix epoch.
    pub start: i64,
    /// From there to the last end, nanoseconds.
    pub duration: i64,
    /// How many spans, and how many of them failed, by service.
    pub services: BTreeMap<String, (u32, u32)>,
    /// Its spansets.
    pub sets: Vec<FoundSet>,
}

/// Spans of a trace that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSet {
    /// How many they are.
    pub matched: usize,
    /// The first of them.
    pub spans: Vec<FoundSpan>,
    /// What stages of the pipeline said of them: `count()`, `by(…)`.
    pub attributes: Vec<(String, Static<'static>)>,
}

/// A span that matches.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    /// Which.
    pub span_id: SpanId,
    /// Its name, where the query reads it.
    pub name: Option<String>,
    /// Start, nanoseconds since the Unix epoch.
    pub start: i64,
    /// Nanoseconds.
    pub duration: i64,
    /// What the query reads or selects.
    pub attributes: Vec<(String, Static<'static>)>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Newest first.
    pub traces: Vec<FoundTrace>,
    /// Traces looked at in the end, for the statistics that Tempo answers with.
    pub inspected: usize,
    /// What their spans take in memory, roughly, for the same.
    pub bytes: usize,
    /// Traces that are too large to be looked at.
    pub too_large: Vec<TraceId>,
}

impl Found {
    /// What is missing, if anything is.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let first = self.too_large.first()?;
        let which = match self.too_large.len() - 1 {
            0 => format!("the trace {first} has more spans than fit into the memory of a query, and was"),
            more => format!("the trace {first} and {more} more have more spans than fit into the memory of a query, and were"),
        };
        Some(format!("{which} not searched"))
    }
}

/// Hears what a search has found so far, in no order, and how far it is: parts done, of how many. The last word is the answer.
pub type Heard<'h> = dyn FnMut(&Found, (usize, usize)) + 'h;

/// Looks for traces.
///
/// # Errors
/// [`EvalError`].
pub fn search(question: &Question<'_>, plan: &Plan) -> Result<Found, EvalError> {
    search_aloud(question, plan, &mut |_, _| {})
}

/// The same, and tells `heard` after each part of the work.
///
/// # Errors
/// As for [`search`].
pub fn search_aloud(question: &Question<'_>, plan: &Plan, heard: &mut Heard<'_>) -> Result<Found, EvalError> {
    let mut found = Found::default();
    let Some((shown, others)) = plan.required.split_last() else { return Ok(found) };
    if question.limit == 0 || others.iter().chain([shown]).any(is_never) {
        return Ok(found);
    }
    // Traces that have the other spans as well.
    let others: Vec<Predicate> = others.iter().filter(|p| !matches!(p, Predicate::True)).cloned().collect();
    let among = if others.is_empty() { None } else { Some(traces_with_all(question, &others)?) };
    if among.as_ref().is_some_and(Vec::is_empty) {
        return Ok(found);
    }
    if question.limit >= MANY {
        // There may be no more of them than are wanted: then their order does not matter until they are found.
        let mut ids = traces_with(question, shown)?;
        if let Some(among) = &among {
            ids = common(&ids, among);
        }
        if ids.len() <= question.limit {
            let parts = ids.chunks(CHUNK_MAX);
            let all = parts.len();
            for (done, ids) in parts.enumerate() {
                judge(question, plan, &mut ids.to_vec(), &mut found)?;
                heard(&found, (done + 1, all));
            }
            found.traces.sort_by_key(|t| (std::cmp::Reverse(t.start), t.trace_id));
            return Ok(found);
        }
    }
    let newest = Scan { order: Order::NewestFirst, ..question.scan(shown.clone(), vec![Column::Field(Stored::TraceId)]) };
    let mut seen = HashSet::new();
    let mut chunk: Vec<TraceId> = Vec::new();
    let mut size = question.limit.min(CHUNK_MAX);
    'scan: for batch in question.reader.scan(&newest)? {
        question.alive()?;
        let batch = batch?;
        for row in 0..batch.rows() {
            let Ok(id) = TraceId::from_slice(batch.id(row, Stored::TraceId)) else { continue };
            if !seen.insert(id) || among.as_ref().is_some_and(|a| a.binary_search(&id).is_err()) {
                continue;
            }
            chunk.push(id);
            if chunk.len() >= size {
                judge(question, plan, &mut chunk, &mut found)?;
                if found.traces.len() >= question.limit {
                    break 'scan;
                }
                heard(&found, (found.traces.len(), question.limit));
                size = (size * 4).min(CHUNK_MAX);
            }
        }
    }
    judge(question, plan, &mut chunk, &mut found)?;
    found.traces.truncate(question.limit);
    found.traces.sort_by_key(|t| (std::cmp::Reverse(t.start), t.trace_id));
    Ok(found)
}

fn is_never(p: &Predicate) -> bool {
    matches!(p, Predicate::Or(none) if none.is_empty())
}

/// The traces that have a span for each of `predicates`, ascending.
pub(crate) fn traces_with_all(question: &Question<'_>, predicates: &[Predicate]) -> Result<Vec<TraceId>, EvalError> {
    let mut among: Option<Vec<TraceId>> = None;
    for predicate in predicates {
        if among.as_ref().is_some_and(Vec::is_empty) {
            break;
        }
        let ids = traces_with(question, predicate)?;
        among = Some(among.map_or_else(|| ids.clone(), |known| common(&known, &ids)));
    }
    Ok(among.unwrap_or_default())
}

/// What two ascending lists have in common.
fn common(a: &[TraceId], b: &[TraceId]) -> Vec<TraceId> {
    let (mut at, mut out) = (0, Vec::with_capacity(a.len().min(b.len())));
    for id in a {
        while b.get(at).is_some_and(|other| other < id) {
            at += 1;
        }
        if b.get(at) == Some(id) {
            out.push(*id);
        }
    }
    out
}

/// The traces that have a span of which `predicate` holds, ascending.
fn traces_with(question: &Question<'_>, predicate: &Predicate) -> Result<Vec<TraceId>, EvalError> {
    let mut ids: Vec<TraceId> = Vec::new();
    let scan = question.scan(predicate.clone(), vec![Column::Field(Stored::TraceId)]);
    for batch in question.reader.scan(&Scan { order: Order::AnyTwice, ..scan })? {
        question.alive()?;
        let batch = batch?;
        let Some(array) = batch.field(Stored::TraceId).and_then(|a| a.as_fixed_size_binary_opt()) else { continue };
        for row in 0..array.len() {
            let Ok(id) = TraceId::from_slice(array.value(row)) else { continue };
            // Spans of a trace mostly stand together.
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
    }
    // Segments are ascending runs: a sort that finds them.
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// Reads the traces of a chunk and keeps those that have what is looked for.
fn judge(question: &Question<'_>, plan: &Plan, chunk: &mut Vec<TraceId>, found: &mut Found) -> Result<(), EvalError> {
    if chunk.is_empty() {
        return Ok(());
    }
    found.inspected += chunk.len();
    let wanted = Wanted { fetch: &plan.fetch, marks: &plan.marks, more: &[] };
    let too_large = read_in_parts(question, wanted, &std::mem::take(chunk), &mut |loaded, ids| {
        found.bytes += loaded.bytes;
        found.traces.extend(judge_all(question, plan, loaded, ids)?);
        let shown: usize = found.traces.iter().flat_map(|t| &t.sets).map(|set| set.spans.len()).sum();
        match shown > most_shown(question) {
            true => Err(EvalError::Query(format!(
                "the answer would hold more than {} spans: ask for fewer traces (limit), or fewer spans of each (spss)",
                most_shown(question)
            ))),
            false => Ok(()),
        }
    })?;
    found.too_large.extend(too_large);
    Ok(())
}

/// Spans that an answer may hold.
fn most_shown(question: &Question<'_>) -> usize {
    question.memory / FOUND_BYTES
}

/// Those of the traces read that have what is looked for, on as many threads as are worth it.
fn judge_all(question: &Question<'_>, plan: &Plan, loaded: &Loaded, ids: &[TraceId]) -> Result<Vec<FoundTrace>, EvalError> {
    let parts: Vec<&[TraceId]> = ids.chunks(ids.len().div_ceil(store::cores()).max(ALONE)).collect();
    let judged = store::in_parallel(&parts, |ids| judge_each(question, plan, loaded, ids));
    let mut found = Vec::new();
    for traces in judged {
        found.extend(traces?);
    }
    Ok(found)
}

/// Those of some traces that have what is looked for.
fn judge_each(question: &Question<'_>, plan: &Plan, loaded: &Loaded, ids: &[TraceId]) -> Result<Vec<FoundTrace>, EvalError> {
    let mut found = Vec::new();
    for &id in ids {
        question.alive()?;
        let Some(trace) = loaded.trace(id) else { continue };
        if plan.min_duration.is_some_and(|d| trace.summary().duration < d)
            || plan.max_duration.is_some_and(|d| trace.summary().duration > d)
        {
            continue;
        }
        let sets = plan.pipeline.run(&trace, &plan.fetch).map_err(|e| EvalError::Query(e.to_owned()))?;
        if sets.is_empty() {
            continue;
        }
        let sets = sets.into_iter().map(|set| shown_set(question, plan, &trace, set)).collect();
        let summary = trace.into_summary();
        found.push(FoundTrace {
            trace_id: id,
            root: summary.root,
            start: summary.start,
            duration: summary.duration,
            services: summary.services,
            sets,
        });
    }
    Ok(found)
}

fn shown_set(question: &Question<'_>, plan: &Plan, trace: &Trace<'_>, set: Set) -> FoundSet {
    // One more than an answer may hold is enough to refuse it.
    let most = question.spans_per_set.min(most_shown(question).saturating_add(1));
    let spans = set.spans.iter().take(most).map(|s| shown_span(plan, trace, *s)).collect();
    FoundSet { matched: set.spans.len(), spans, attributes: set.attributes }
}

fn shown_span(plan: &Plan, trace: &Trace<'_>, at: u32) -> FoundSpan {
    let mut span = FoundSpan {
        span_id: SpanId::from_slice(trace.bytes(at, Stored::SpanId)).unwrap_or_default(),
        name: None,
        start: trace.start(at),
        duration: trace.duration(at),
        attributes: Vec::new(),
    };
    for (i, field) in plan.fetch.fields.iter().enumerate() {
        let key = match &field.place {
            Place::Attribute(_, name) => name.as_str(),
            // Shown elsewhere in the answer.
            Place::Intrinsic(
                Intrinsic::Duration
                | Intrinsic::TraceDuration
                | Intrinsic::RootName
                | Intrinsic::RootService
                | Intrinsic::TraceId
                | Intrinsic::SpanId,
            ) => continue,
            Place::Intrinsic(intrinsic) => intrinsic.as_str(),
        };
        trace.each(&plan.fetch, i, at, &mut |value| match (field.seen(value), &field.place) {
            (Some(Static::Text(name)), Place::Intrinsic(Intrinsic::Name)) => {
                span.name = Some(name.into_owned()).filter(|n| !n.is_empty());
            }
            (Some(value), _) => span.attributes.push((key.to_owned(), value.into_owned())),
            (None, _) => {}
        });
    }
    span
}
