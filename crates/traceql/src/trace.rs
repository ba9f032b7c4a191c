//! A whole trace: its spans wherever they are kept, its tree, and what is said of it as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{Scope, TimeRange, TraceId};
use store::{Column, Field as Stored, IdSet, Predicate, Scan, value_text};

use crate::EvalError;
use crate::ast::Intrinsic;
use crate::fetch::{Fetch, Place};
use crate::question::Question;
use crate::spans::{Rows, columns_of};
use crate::tree::Tree;
use crate::value::Static;

/// A trace may begin and end so long before and after the spans that are asked for.
const MARGIN_NS: i64 = 3_600_000_000_000;

/// What is said of a trace as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Summary {
    pub(crate) start: i64,
    pub(crate) duration: i64,
    /// Service and name of the root span, once that has arrived.
    pub(crate) root: Option<(String, String)>,
    /// How many spans, and how many of them failed, by service.
    pub(crate) services: BTreeMap<String, (u32, u32)>,
}

/// A trace.
pub(crate) struct Trace<'b> {
    loaded: &'b [Rows],
    /// Batch and row of each span, oldest first.
    pub(crate) spans: Vec<(u32, u32)>,
    pub(crate) summary: Summary,
    tree: Tree,
}

/// Some traces as they were read.
pub(crate) struct Loaded {
    rows: Vec<Rows>,
    by_trace: HashMap<[u8; 16], Vec<(u32, u32)>>,
}

impl Loaded {
    /// Reads the traces `ids`, whole.
    ///
    /// # Errors
    /// Storage errors, cancellation.
    pub(crate) fn read(question: &Question<'_>, fetch: &Fetch, more: &[Column], ids: &[TraceId]) -> Result<Self, EvalError> {
        let range = question.range;
        let wide = TimeRange::new(range.start.saturating_sub(MARGIN_NS), range.end.saturating_add(MARGIN_NS));
        let mut projection: Vec<Column> = [
            Stored::TraceId,
            Stored::SpanId,
            Stored::ParentSpanId,
            Stored::Time,
            Stored::Duration,
            Stored::StatusCode,
            Stored::Name,
        ]
        .map(Column::Field)
        .into();
        projection.push(service());
        projection.extend(fetch.fields.iter().flat_map(|f| columns_of(&f.place)).chain(more.iter().cloned()));
        let set = IdSet::new(ids.iter().map(|id| id.0.to_vec()).collect());
        let predicate = Predicate::OneOf { field: Stored::TraceId, ids: set.into() };
        let scan = Scan { range: wide, ..question.scan(predicate, projection) };
        let mut loaded = Self { rows: Vec::new(), by_trace: HashMap::with_capacity(ids.len()) };
        for batch in question.reader.scan(&scan)? {
            question.alive()?;
            let batch = batch?;
            let at = loaded.rows.len() as u32;
            for row in 0..batch.rows() {
                if let Ok(id) = <[u8; 16]>::try_from(batch.id(row, Stored::TraceId)) {
                    loaded.by_trace.entry(id).or_default().push((at, row as u32));
                }
            }
            loaded.rows.push(Rows::new(batch, fetch));
        }
        Ok(loaded)
    }

    /// One of them.
    pub(crate) fn trace(&self, id: TraceId) -> Option<Trace<'_>> {
        let mut spans = self.by_trace.get(&id.0)?.clone();
        let batch = |(b, _): (u32, u32)| &self.rows[b as usize].batch;
        let time = |s: (u32, u32)| batch(s).int(s.1 as usize, Stored::Time).unwrap_or(0);
        spans.sort_by_cached_key(|&s| (time(s), batch(s).id(s.1 as usize, Stored::SpanId).to_vec()));
        // A span that is kept twice (not merged yet) is one.
        let mut seen = HashSet::with_capacity(spans.len());
        spans.retain(|&s| seen.insert((time(s), batch(s).id(s.1 as usize, Stored::SpanId))));
        let mut trace = Trace { loaded: &self.rows, spans, summary: Summary::default(), tree: Tree::default() };
        trace.summary = trace.summed_up();
        Some(trace)
    }

    /// All of them, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = TraceId> + '_ {
        self.by_trace.keys().map(|id| TraceId(*id))
    }
}

fn service() -> Column {
    Column::attribute(Scope::Resource, "service.name")
}

impl<'b> Trace<'b> {
    fn at(&self, span: u32) -> (&'b Rows, usize) {
        let (batch, row) = self.spans[span as usize];
        (&self.loaded[batch as usize], row as usize)
    }

    /// A number that every span has.
    pub(crate) fn int(&self, span: u32, field: Stored) -> i64 {
        let (rows, row) = self.at(span);
        rows.batch.int(row, field).unwrap_or(0)
    }

    /// The bytes of an id.
    pub(crate) fn bytes(&self, span: u32, field: Stored) -> &'b [u8] {
        let (rows, row) = self.at(span);
        rows.batch.id(row, field)
    }

    /// The batch and row of a span.
    pub(crate) fn row(&self, span: u32) -> (&'b Rows, usize) {
        self.at(span)
    }

    fn summed_up(&self) -> Summary {
        let service = service();
        let mut summary = Summary { start: i64::MAX, ..Summary::default() };
        let mut end = i64::MIN;
        for span in 0..self.spans.len() as u32 {
            let (rows, row) = self.at(span);
            let (start, duration) = (self.int(span, Stored::Time), self.int(span, Stored::Duration));
            summary.start = summary.start.min(start);
            end = end.max(start.saturating_add(duration));
            let name = rows.batch.attribute(row, &service).map(|v| value_text(&v)).unwrap_or_default();
            // Spans are oldest first: so is the root.
            if summary.root.is_none() && self.bytes(span, Stored::ParentSpanId).is_empty() {
                summary.root = Some((name.clone(), rows.batch.text(row, Stored::Name).to_owned()));
            }
            let counts = summary.services.entry(name).or_default();
            counts.0 += 1;
            counts.1 += u32::from(self.int(span, Stored::StatusCode) == 2);
        }
        summary.duration = end.saturating_sub(summary.start).max(0);
        summary
    }

    /// Numbers the spans, where a query needs that.
    pub(crate) fn grow_tree(&mut self) {
        let spans = 0..self.spans.len() as u32;
        let ids: Vec<&[u8]> = spans.clone().map(|s| self.bytes(s, Stored::SpanId)).collect();
        let parents: Vec<&[u8]> = spans.map(|s| self.bytes(s, Stored::ParentSpanId)).collect();
        self.tree = Tree::new(&ids, &parents);
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Calls `visit` with each value of a field of a span: see [`Rows::each`].
    pub(crate) fn each<'t>(&'t self, fetch: &Fetch, field: usize, span: u32, visit: &mut dyn FnMut(Option<Static<'t>>)) {
        let place = &fetch.fields[field].place;
        if let Place::Intrinsic(intrinsic) = place
            && intrinsic.needs_trace()
        {
            return visit(Some(self.of_trace(*intrinsic, span)));
        }
        let (rows, row) = self.at(span);
        rows.each(field, place, row, visit);
    }

    /// An intrinsic that only the trace knows.
    pub(crate) fn of_trace(&self, intrinsic: Intrinsic, span: u32) -> Static<'_> {
        let number = |of: &[i64]| Static::Int(of.get(span as usize).copied().unwrap_or(0));
        let root =
            |pick: fn(&(String, String)) -> &String| Static::text(self.summary.root.as_ref().map_or("", |r| pick(r).as_str()));
        match intrinsic {
            Intrinsic::TraceDuration => Static::Duration(self.summary.duration),
            Intrinsic::RootName => root(|r| &r.1),
            Intrinsic::RootService => root(|r| &r.0),
            Intrinsic::ChildCount => number(&self.tree.children),
            Intrinsic::NestedSetLeft => number(&self.tree.left),
            Intrinsic::NestedSetRight => number(&self.tree.right),
            _ => number(&self.tree.parent),
        }
    }

    /// What a query sees of a numbered attribute.
    pub(crate) fn slot<'t>(&'t self, fetch: &Fetch, slot: usize, span: u32) -> Static<'t> {
        for &field in fetch.slot_fields(slot) {
            let mut found = None;
            self.each(fetch, field, span, &mut |value| {
                if found.is_none() {
                    found = fetch.fields[field].seen(value);
                }
            });
            if let Some(value) = found {
                return value;
            }
        }
        Static::Nil
    }

    /// Whether a query gets to see the span at all.
    pub(crate) fn fetched(&self, fetch: &Fetch, span: u32) -> bool {
        fetch.admits(|condition| {
            condition.fields.iter().any(|&field| {
                let mut met = false;
                self.each(fetch, field, span, &mut |value| met |= condition.met(value.as_ref()));
                met
            })
        })
    }
}
