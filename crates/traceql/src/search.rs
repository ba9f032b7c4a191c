//! Which traces hold spans that a query asks for.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{OwnedValue, Scope, SpanId, Tenant, TimeRange, TraceId};
use store::{Batch, Column, CompareOp, Field, Literal, Order, Predicate, Reader, Scan, Table};

use crate::ast::{AttributeScope, Intrinsic, KINDS, Node, Query, STATUSES};
use crate::compile::{Touched, columns, compile, nil_columns, touched};
use crate::{EvalError, ParseError};

/// What a search is asked of, and within which bounds.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The data.
    pub reader: &'a dyn Reader,
    /// Whose.
    pub tenant: &'a Tenant,
    /// Spans that start in it.
    pub range: TimeRange,
    /// At most so many traces.
    pub limit: usize,
    /// At most so many spans of each trace.
    pub spans_per_set: usize,
    /// Set by whoever no longer wants the answer; looked at for each batch.
    pub cancelled: &'a AtomicBool,
}

/// What to look for: compiled from a [`Query`], or put together from Tempo's older `tags`.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which spans.
    pub predicate: Predicate,
    /// What to show of them.
    show: Vec<Shown>,
    /// Only traces at least so long, nanoseconds.
    pub min_duration: Option<i64>,
    /// Only traces at most so long, nanoseconds.
    pub max_duration: Option<i64>,
}

/// Something shown with a span.
#[derive(Debug, Clone, PartialEq)]
enum Shown {
    Attribute(AttributeScope, String),
    /// `nil`, for each place where the attribute is absent.
    Absent(AttributeScope, String),
    Intrinsic(Intrinsic),
}

impl Plan {
    /// The plan of a query.
    ///
    /// # Errors
    /// [`ParseError`] for what this version cannot do.
    pub fn new(text: &str, query: &Query) -> Result<Self, ParseError> {
        let predicate = compile(text, query.filter.as_ref())?;
        let mut read: Vec<Touched<'_>> = Vec::new();
        query.filter.iter().chain(&query.select).for_each(|e| touched(e, &mut read));
        let mut show: Vec<Shown> = Vec::new();
        for touched in read {
            let (Touched::Value(e) | Touched::Absent(e)) = touched;
            let shown = match (&e.node, touched) {
                (Node::Attribute { scope, name, .. }, Touched::Value(_)) => Shown::Attribute(*scope, name.clone()),
                (Node::Attribute { scope, name, .. }, Touched::Absent(_)) => Shown::Absent(*scope, name.clone()),
                (Node::Intrinsic(i), _) => Shown::Intrinsic(*i),
                _ => continue,
            };
            if !show.contains(&shown) {
                show.push(shown);
            }
        }
        Ok(Self { predicate, show, min_duration: None, max_duration: None })
    }

    /// The plan for spans that `predicate` accepts, shown with their own times only.
    #[must_use]
    pub fn of(predicate: Predicate) -> Self {
        Self { predicate, show: Vec::new(), min_duration: None, max_duration: None }
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
    /// How many of its spans match.
    pub matched: usize,
    /// The first of them.
    pub spans: Vec<FoundSpan>,
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
    pub attributes: Vec<(String, OwnedValue)>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Newest first.
    pub traces: Vec<FoundTrace>,
    /// Spans looked at in the end, for the statistics that Tempo answers with.
    pub inspected: usize,
}

/// A trace may begin and end so long before and after the spans that a search is for.
const MARGIN_NS: i64 = 3_600_000_000_000;

/// Looks for traces.
///
/// # Errors
/// [`EvalError`].
pub fn search(question: &Question<'_>, plan: &Plan) -> Result<Found, EvalError> {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let newest =
        Scan { order: Order::NewestFirst, ..scan(question, plan.predicate.clone(), vec![Column::Field(Field::TraceId)]) };
    for batch in question.reader.scan(&newest)? {
        let batch = batch?;
        found.inspected += batch.rows();
        for row in 0..batch.rows() {
            let Ok(id) = TraceId::from_slice(batch.id(row, Field::TraceId)) else { continue };
            if !seen.insert(id) {
                continue;
            }
            if let Some(trace) = whole_trace(question, plan, id)? {
                found.traces.push(trace);
            }
            if found.traces.len() >= question.limit {
                break;
            }
        }
        if found.traces.len() >= question.limit {
            break;
        }
        alive(question)?;
    }
    found.traces.sort_by_key(|t| (std::cmp::Reverse(t.start), t.trace_id));
    Ok(found)
}

fn alive(question: &Question<'_>) -> Result<(), EvalError> {
    if question.cancelled.load(Ordering::Relaxed) { Err(EvalError::Cancelled) } else { Ok(()) }
}

fn scan(question: &Question<'_>, predicate: Predicate, projection: Vec<Column>) -> Scan {
    Scan {
        tenant: question.tenant.clone(),
        table: Table::Spans,
        range: question.range,
        predicate,
        projection,
        order: Order::Any,
        limit: None,
    }
}

/// Everything that is said about one trace; `None` where it is too short or too long.
fn whole_trace(question: &Question<'_>, plan: &Plan, id: TraceId) -> Result<Option<FoundTrace>, EvalError> {
    alive(question)?;
    let of_trace =
        Predicate::Compare { column: Column::Field(Field::TraceId), op: CompareOp::Eq, value: Literal::Bytes(id.0.to_vec()) };
    let mut trace = FoundTrace {
        trace_id: id,
        root: None,
        start: i64::MAX,
        duration: 0,
        services: BTreeMap::new(),
        matched: 0,
        spans: Vec::new(),
    };
    let service = Column::attribute(Scope::Resource, "service.name");
    let fields = [Field::Time, Field::Duration, Field::StatusCode, Field::ParentSpanId, Field::Name].map(Column::Field);
    let projection = fields.into_iter().chain([service.clone()]).collect();
    let wide = TimeRange::new(question.range.start.saturating_sub(MARGIN_NS), question.range.end.saturating_add(MARGIN_NS));
    let (mut end, mut root_start) = (i64::MIN, i64::MAX);
    for batch in question.reader.scan(&Scan { range: wide, ..scan(question, of_trace.clone(), projection) })? {
        let batch = batch?;
        for row in 0..batch.rows() {
            let start = batch.int(row, Field::Time).unwrap_or(0);
            let duration = batch.int(row, Field::Duration).unwrap_or(0);
            trace.start = trace.start.min(start);
            end = end.max(start.saturating_add(duration));
            let name = match batch.attribute(row, &service) {
                Some(value) => store::value_text(&value),
                None => String::new(),
            };
            if batch.id(row, Field::ParentSpanId).is_empty() && start < root_start {
                root_start = start;
                trace.root = Some((name.clone(), batch.text(row, Field::Name).to_owned()));
            }
            let counts = trace.services.entry(name).or_default();
            counts.0 += 1;
            counts.1 += u32::from(batch.int(row, Field::StatusCode) == Some(2));
        }
    }
    trace.duration = end.saturating_sub(trace.start).max(0);
    if plan.min_duration.is_some_and(|d| trace.duration < d) || plan.max_duration.is_some_and(|d| trace.duration > d) {
        return Ok(None);
    }
    let matching = scan(question, of_trace.and(plan.predicate.clone()), projection_of(&plan.show));
    for batch in question.reader.scan(&Scan { order: Order::OldestFirst, ..matching })? {
        let batch = batch?;
        trace.matched += batch.rows();
        let wanted = question.spans_per_set.saturating_sub(trace.spans.len()).min(batch.rows());
        trace.spans.extend((0..wanted).map(|row| found_span(&batch, row, &plan.show)));
    }
    Ok((trace.matched > 0).then_some(trace))
}

fn projection_of(show: &[Shown]) -> Vec<Column> {
    let mut columns_of: Vec<Column> = [Field::SpanId, Field::Time, Field::Duration].map(Column::Field).into();
    for shown in show {
        match shown {
            Shown::Attribute(scope, name) | Shown::Absent(scope, name) => columns_of.extend(columns(*scope, name)),
            Shown::Intrinsic(i) => columns_of.extend(field_of(*i).map(Column::Field)),
        }
    }
    columns_of
}

fn field_of(intrinsic: Intrinsic) -> Option<Field> {
    Some(match intrinsic {
        Intrinsic::Name => Field::Name,
        Intrinsic::Status => Field::StatusCode,
        Intrinsic::StatusMessage => Field::StatusMessage,
        Intrinsic::Kind => Field::Kind,
        Intrinsic::ParentId | Intrinsic::Parent | Intrinsic::NestedSetParent => Field::ParentSpanId,
        Intrinsic::InstrumentationName => Field::ScopeName,
        Intrinsic::InstrumentationVersion => Field::ScopeVersion,
        _ => return None,
    })
}

fn found_span(batch: &Batch, row: usize, show: &[Shown]) -> FoundSpan {
    let mut span = FoundSpan {
        span_id: SpanId::from_slice(batch.id(row, Field::SpanId)).unwrap_or_default(),
        name: None,
        start: batch.int(row, Field::Time).unwrap_or(0),
        duration: batch.int(row, Field::Duration).unwrap_or(0),
        attributes: Vec::new(),
    };
    for shown in show {
        match shown {
            Shown::Attribute(scope, name) => {
                let value = columns(*scope, name).iter().find_map(|c| batch.attribute(row, c).map(|v| v.to_owned_value()));
                span.attributes.extend(value.map(|v| (name.clone(), v)));
            }
            Shown::Absent(scope, name) => {
                let columns = columns(*scope, name);
                let absent = nil_columns(&columns).iter().filter(|c| batch.attribute(row, c).is_none());
                span.attributes.extend(absent.map(|_| (name.clone(), OwnedValue::Str("nil".to_owned()))));
            }
            Shown::Intrinsic(Intrinsic::NestedSetParent) => {
                // Others' numbers need the whole tree.
                if batch.id(row, Field::ParentSpanId).is_empty() {
                    span.attributes.push((Intrinsic::NestedSetParent.as_str().to_owned(), OwnedValue::Int(-1)));
                }
            }
            Shown::Intrinsic(Intrinsic::Name) => {
                span.name = Some(batch.text(row, Field::Name).to_owned()).filter(|n| !n.is_empty());
            }
            Shown::Intrinsic(i) => {
                span.attributes.extend(intrinsic_value(batch, row, *i).map(|v| (i.as_str().to_owned(), OwnedValue::Str(v))));
            }
        }
    }
    span
}

fn intrinsic_value(batch: &Batch, row: usize, intrinsic: Intrinsic) -> Option<String> {
    let named = |names: &[&str], field| {
        let number = usize::try_from(batch.int(row, field).unwrap_or(0)).unwrap_or(0);
        Some(names.get(number).unwrap_or(&names[0]).to_string())
    };
    match intrinsic {
        Intrinsic::Status => named(&STATUSES, Field::StatusCode),
        Intrinsic::Kind => named(&KINDS, Field::Kind),
        Intrinsic::StatusMessage => Some(batch.text(row, Field::StatusMessage).to_owned()),
        Intrinsic::InstrumentationName => Some(batch.text(row, Field::ScopeName).to_owned()),
        Intrinsic::InstrumentationVersion => Some(batch.text(row, Field::ScopeVersion).to_owned()),
        _ => None,
    }
}
