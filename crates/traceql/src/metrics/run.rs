//! Spans to an aggregate: as columns where each span stands for itself, trace by trace where it does not.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use model::TimeRange;
use store::{Aggregation, Column, Field as Stored, Literal, Meaning, Order, Predicate, text_at};

use super::compare::Comparison;
use super::observe::{Interner, Observer};
use super::sampler::Sampler;
use super::{Exemplar, HeardSeries, Hints, Series, Window};
use crate::EvalError;
use crate::ast::{Aggregate, Attribute, AttributeScope, Function, Intrinsic, Node, Pipeline, Spanset, Stage};
use crate::eval::{Code, compile, evaluate};
use crate::fetch::{Fetch, Place};
use crate::pipeline::Compiled;
use crate::predicate::{Sieve, required, sieve};
use crate::question::Question;
use crate::search::traces_with_all;
use crate::spans::{Rows, columns_of, hex, owned_value, stored_scope};
use crate::trace::{Wanted, read_in_parts};
use crate::value::Static;

/// Traces that are read at once.
const CHUNK: usize = 4096;

/// The series of one aggregate.
///
/// # Errors
/// [`EvalError`].
pub(super) fn run(
    question: &Question<'_>,
    pipeline: &Pipeline,
    aggregate: &Aggregate,
    window: &Window,
    hints: &Hints,
    heard: &mut HeardSeries<'_>,
) -> Result<Vec<Series>, EvalError> {
    let range = TimeRange::new(window.start, window.end.saturating_add(1));
    let question = &Question { range, ..*question };
    let mut fetch = Fetch::new(pipeline);
    aggregate.by.iter().chain(&aggregate.attribute).for_each(|a| fetch.also(a));
    let filter = match &pipeline.stages[..] {
        [Stage::Spanset(Spanset::Filter(e)), rest @ ..] if rest.iter().all(|s| matches!(s, Stage::Select(_))) => Some(e),
        _ => None,
    };
    match (filter, &aggregate.function) {
        (Some(filter), function) if !fetch.needs_trace() && !matches!(function, Function::Compare(_)) => {
            let code = match &filter.node {
                Node::Static(Static::Bool(true)) => Code::Const(Static::Bool(true)),
                _ => compile(filter, &mut |a| fetch.slot(a)),
            };
            let by: Vec<Vec<usize>> = aggregate.by.iter().map(|a| fields(&mut fetch, a)).collect();
            let value = aggregate.attribute.as_ref().map(|a| fields(&mut fetch, a));
            let observer = Observer::new(aggregate, *window);
            let mut spans =
                Spans { question, window, fetch, code, by, value, seconds: in_seconds(aggregate), observer, sampler: None };
            spans.run(&sieve(filter), hints, heard)
        }
        _ => traces(question, pipeline, aggregate, window, hints, fetch, heard),
    }
}

fn fields(fetch: &mut Fetch, attribute: &Attribute) -> Vec<usize> {
    let slot = fetch.slot(attribute);
    fetch.slot_fields(slot).to_vec()
}

/// Durations of spans are shown in seconds.
fn in_seconds(aggregate: &Aggregate) -> bool {
    aggregate.attribute.as_ref().is_some_and(|a| a.intrinsic == Some(Intrinsic::Duration))
}

/// A number to aggregate; NaN for none.
fn number(value: &Static<'_>, seconds: bool) -> f64 {
    match value.number() {
        Some(n) if seconds => n / 1e9,
        Some(n) => n,
        None => f64::NAN,
    }
}

/// Spans that stand for themselves.
struct Spans<'a, 'q> {
    question: &'a Question<'q>,
    window: &'a Window,
    fetch: Fetch,
    code: Code,
    by: Vec<Vec<usize>>,
    value: Option<Vec<usize>>,
    seconds: bool,
    observer: Observer,
    sampler: Option<Sampler>,
}

impl Spans<'_, '_> {
    fn run(&mut self, sieve: &Sieve, hints: &Hints, heard: &mut HeardSeries<'_>) -> Result<Vec<Series>, EvalError> {
        self.sampler = Sampler::of(hints.span_sample.as_ref());
        let mut projection = vec![Column::Field(Stored::Time)];
        let shown = self.by.iter().chain(&self.value).flatten();
        projection.extend(shown.flat_map(|f| columns_of(&self.fetch.fields[*f].place)));
        let mut all = projection.clone();
        all.extend(self.fetch.fields.iter().flat_map(|f| columns_of(&f.place)));
        if self.sampler.is_some() {
            // The share is that of all spans, those shortly before and after included.
            let range = self.question.range;
            let width = range.end.saturating_sub(range.start);
            let range = TimeRange::new(range.start.saturating_sub(width), range.end.saturating_add(width));
            let scan = store::Scan { range, ..self.question.scan(Predicate::True, all.clone()) };
            self.scan(&scan, true, heard)?;
        } else if sieve.exact && sieve.nested.is_empty() && self.counts() {
            self.count(&sieve.predicate)?;
        } else if sieve.exact {
            let arrays: Vec<Predicate> = sieve.nested.iter().map(|c| Predicate::Nested(c.clone())).collect();
            let plain = arrays.iter().fold(sieve.predicate.clone(), |p, array| p.and(Predicate::Not(Box::new(array.clone()))));
            self.scan(&self.question.scan(plain, projection), false, heard)?;
            // Arrays are looked at one by one.
            if !arrays.is_empty() {
                let odd = sieve.predicate.clone().and(Predicate::Or(arrays));
                self.scan(&self.question.scan(odd, all.clone()), true, heard)?;
            }
        } else {
            self.scan(&self.question.scan(sieve.predicate.clone(), all.clone()), true, heard)?;
        }
        if hints.exemplars > 0 {
            self.exemplars(sieve, all, hints.exemplars)?;
        }
        let factor = self.sampler.as_ref().map_or(1.0, Sampler::factor);
        let empty = Observer::new(&Aggregate { function: Function::Rate, attribute: None, by: Vec::new() }, *self.window);
        Ok(std::mem::replace(&mut self.observer, empty).finish(factor))
    }

    /// Whether spans are only counted, by values that the store can tell.
    fn counts(&self) -> bool {
        let fields = || self.by.iter().flatten().map(|f| &self.fetch.fields[*f].place);
        let known = |place: &Place| match place {
            Place::Attribute(scope, _) => !matches!(scope, AttributeScope::Event | AttributeScope::Link),
            Place::Intrinsic(intrinsic) => *intrinsic == Intrinsic::Name,
        };
        self.value.is_none()
            && matches!(self.observer.function(), Function::Rate | Function::CountOverTime)
            && fields().all(known)
    }

    /// Has the store count the spans of a predicate.
    fn count(&mut self, predicate: &Predicate) -> Result<(), EvalError> {
        let (range, width, after) = self.window.stretches();
        let mut predicate = predicate.clone();
        if after >= range.start {
            let op = store::CompareOp::Gt;
            predicate = predicate.and(Predicate::Compare { column: Column::Field(Stored::Time), op, value: Literal::Int(after) });
        }
        let places: Vec<Vec<Place>> =
            self.by.iter().map(|fields| fields.iter().map(|f| self.fetch.fields[*f].place.clone()).collect()).collect();
        let aggregation = Aggregation {
            tenant: self.question.tenant.clone(),
            table: store::Table::Spans,
            range,
            predicate,
            by: places.iter().flatten().flat_map(columns_of).collect(),
            width,
        };
        for counted in self.question.reader.aggregate(&aggregation)? {
            self.question.alive()?;
            let mut key = counted.key.iter();
            let mut labels = Vec::with_capacity(places.len());
            for (label, places) in places.iter().enumerate() {
                // All of them are taken from the key, the first one with a value counts.
                let mut found = Static::Nil;
                for (place, value) in places.iter().zip(key.by_ref()) {
                    let empty = matches!(place, Place::Intrinsic(_)).then(|| Static::text(""));
                    if found == Static::Nil
                        && let Some(value) = value.as_ref().and_then(owned_value).or(empty)
                    {
                        found = value;
                    }
                }
                labels.push(self.observer.interners[label].number(&found));
            }
            for (interval, spans) in counted.counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                self.observer.counted(interval, &labels, spans).map_err(EvalError::Query)?;
            }
        }
        Ok(())
    }

    fn scan(&mut self, scan: &store::Scan, judge: bool, heard: &mut HeardSeries<'_>) -> Result<(), EvalError> {
        for batch in self.question.reader.scan(scan)? {
            self.question.alive()?;
            let rows = Rows::new(batch?, &self.fetch);
            let kept = if judge { Some(self.judged(&rows)?) } else { None };
            self.observe(&rows, kept.as_deref())?;
            heard(&|| self.observer.clone().finish(self.sampler.as_ref().map_or(1.0, Sampler::factor)));
        }
        Ok(())
    }

    /// Rows that are taken and for which the filter is true.
    fn judged(&mut self, rows: &Rows) -> Result<Vec<bool>, EvalError> {
        let mut kept = vec![false; rows.batch.rows()];
        for (row, kept) in kept.iter_mut().enumerate() {
            if self.sampler.as_mut().is_some_and(|s| !s.take()) {
                continue;
            }
            *kept = self.accepts(rows, row)?;
            if *kept && let Some(sampler) = &mut self.sampler {
                sampler.matched();
            }
        }
        Ok(kept)
    }

    fn accepts(&self, rows: &Rows, row: usize) -> Result<bool, EvalError> {
        let fetch = &self.fetch;
        let each = |field: usize, visit: &mut dyn FnMut(Option<Static<'_>>)| {
            rows.each(field, &fetch.fields[field].place, row, visit);
        };
        let admitted = fetch.admits(|condition| {
            let condition = &fetch.conditions[condition];
            condition.fields.iter().any(|&field| {
                let mut met = false;
                each(field, &mut |value| met |= condition.met(value.as_ref()));
                met
            })
        });
        if !admitted {
            return Ok(false);
        }
        let result = evaluate(&self.code, &|slot| seen(fetch, rows, fetch.slot_fields(slot), row).unwrap_or(Static::Nil));
        result.map(|v| v.is_true()).map_err(|e| EvalError::Query(e.to_owned()))
    }

    fn observe(&mut self, rows: &Rows, kept: Option<&[bool]>) -> Result<(), EvalError> {
        let count = rows.batch.rows();
        let Some(times) = rows.batch.field(Stored::Time).and_then(|t| t.as_primitive_opt::<Int64Type>()) else { return Ok(()) };
        let mut columns: Vec<Vec<u32>> = Vec::with_capacity(self.by.len() + 1);
        for (label, fields) in self.by.iter().enumerate() {
            columns.push(numbered(&self.fetch, rows, fields, &mut self.observer.interners[label]));
        }
        let values: Option<Vec<f64>> = self.value.as_ref().map(|fields| numbers(&self.fetch, rows, fields));
        let buckets = self.observer.has_buckets();
        let mut labels = vec![0; columns.len() + usize::from(buckets)];
        for row in 0..count {
            if kept.is_some_and(|k| !k[row]) {
                continue;
            }
            let Some(interval) = self.window.interval(times.value(row)) else { continue };
            for (label, column) in labels.iter_mut().zip(&columns) {
                *label = column[row];
            }
            let mut value = values.as_ref().map_or(f64::NAN, |v| v[row]);
            if buckets {
                let Some(bucket) = self.observer.bucket(value, self.seconds) else { continue };
                labels[columns.len()] = bucket;
            } else if self.seconds {
                value /= 1e9;
            }
            self.observer.observe(interval, &labels, value).map_err(EvalError::Query)?;
        }
        Ok(())
    }

    /// Some of the spans, with what they are.
    fn exemplars(&mut self, sieve: &Sieve, mut projection: Vec<Column>, most: usize) -> Result<(), EvalError> {
        projection.extend([Stored::TraceId, Stored::SpanId, Stored::Name, Stored::Duration].map(Column::Field));
        projection.push(Column::attribute(model::Scope::Resource, "service.name"));
        let (limit, order) = (Some(most * 4), Order::AnyTwice);
        let scan = store::Scan { limit, order, ..self.question.scan(sieve.predicate.clone(), projection) };
        let mut left = most;
        for batch in self.question.reader.scan(&scan)? {
            let rows = Rows::new(batch?, &self.fetch);
            for row in 0..rows.batch.rows() {
                let time = rows.batch.int(row, Stored::Time).unwrap_or(0);
                if left == 0 || self.window.interval(time).is_none() || !self.accepts(&rows, row)? {
                    continue;
                }
                let mut labels: Vec<u32> = Vec::with_capacity(self.by.len() + 1);
                for (label, fields) in self.by.iter().enumerate() {
                    let value = seen(&self.fetch, &rows, fields, row).unwrap_or(Static::Nil);
                    labels.push(self.observer.interners[label].number(&value));
                }
                let raw = self.value.as_ref().and_then(|f| seen(&self.fetch, &rows, f, row));
                let value = raw.as_ref().map_or(f64::NAN, |v| number(v, false));
                if self.observer.has_buckets() {
                    let Some(bucket) = self.observer.bucket(value, self.seconds) else { continue };
                    labels.push(bucket);
                }
                let value = if self.seconds { value / 1e9 } else { value };
                self.observer.exemplar(&labels, exemplar(&rows, row, time, value));
                left -= 1;
            }
        }
        Ok(())
    }
}

fn exemplar(rows: &Rows, row: usize, time: i64, value: f64) -> Exemplar {
    let service = Column::attribute(model::Scope::Resource, "service.name");
    let mut labels = vec![
        ("trace:id".to_owned(), Static::text(hex(rows.batch.id(row, Stored::TraceId)))),
        ("span:id".to_owned(), Static::text(hex(rows.batch.id(row, Stored::SpanId)))),
        ("name".to_owned(), Static::text(rows.batch.text(row, Stored::Name).to_owned())),
        ("duration".to_owned(), Static::Duration(rows.batch.int(row, Stored::Duration).unwrap_or(0))),
    ];
    if let Some(model::Value::Str(service)) = rows.batch.attribute(row, &service) {
        labels.push(("resource.service.name".to_owned(), Static::text(service.to_owned())));
    }
    Exemplar { labels, time, value }
}

/// The first value that is seen of some fields.
fn seen<'b>(fetch: &Fetch, rows: &'b Rows, fields: &[usize], row: usize) -> Option<Static<'b>> {
    fields.iter().find_map(|&field| {
        let mut found = None;
        rows.each(field, &fetch.fields[field].place, row, &mut |value| {
            if found.is_none() {
                found = fetch.fields[field].seen(value);
            }
        });
        found
    })
}

/// The one column that a field's values stand in as they are, if there is one; `Err` where there is none at all.
fn plain<'b>(rows: &'b Rows, place: &Place) -> Option<Result<&'b ArrayRef, ()>> {
    let meanings = rows.batch.meaning();
    let mut found = match place {
        Place::Attribute(AttributeScope::Event | AttributeScope::Link, _) => return None,
        Place::Attribute(scope, name) => meanings
            .iter()
            .enumerate()
            .filter(|(_, m)| matches!(m, Meaning::Attribute(s, key, _) if *s == stored_scope(*scope) && **key == **name))
            .map(|(at, _)| at)
            .collect::<Vec<_>>(),
        Place::Intrinsic(Intrinsic::Name) => {
            meanings.iter().position(|m| *m == Meaning::Field(Stored::Name)).into_iter().collect()
        }
        Place::Intrinsic(_) => return None,
    };
    match (found.pop(), found.is_empty()) {
        (None, _) => Some(Err(())),
        (Some(at), true) => Some(Ok(rows.batch.columns().column(at))),
        (Some(_), false) => None,
    }
}

/// The numbers of a label's values, row by row.
fn numbered(fetch: &Fetch, rows: &Rows, fields: &[usize], interner: &mut Interner) -> Vec<u32> {
    let count = rows.batch.rows();
    let mut out = vec![0; count];
    for (i, &field) in fields.iter().enumerate() {
        let place = &fetch.fields[field].place;
        let column = match plain(rows, place) {
            Some(Err(())) if !matches!(place, Place::Intrinsic(_)) => continue,
            Some(Ok(array)) if matches!(array.data_type(), DataType::Dictionary(..)) => array.as_dictionary_opt::<UInt32Type>(),
            _ => None,
        };
        if let Some(dictionary) = column {
            // Once for each entry of the dictionary.
            let mut codes = vec![u32::MAX; dictionary.values().len()];
            let keys = dictionary.keys();
            for (row, out) in out.iter_mut().enumerate().filter(|(_, n)| **n == 0) {
                if keys.is_null(row) {
                    continue;
                }
                let key = keys.value(row) as usize;
                if codes[key] == u32::MAX {
                    codes[key] = text_at(dictionary.values(), key).map_or(0, |t| interner.number(&Static::text(t)));
                }
                *out = codes[key];
            }
            continue;
        }
        for (row, out) in out.iter_mut().enumerate().filter(|(_, n)| **n == 0) {
            if let Some(value) = seen(fetch, rows, &fields[i..=i], row) {
                *out = interner.number(&value);
            }
        }
    }
    out
}

/// A column's values as numbers, NaN for what is none.
fn numbers(fetch: &Fetch, rows: &Rows, fields: &[usize]) -> Vec<f64> {
    let count = rows.batch.rows();
    if let [field] = fields {
        let array = match &fetch.fields[*field].place {
            Place::Intrinsic(Intrinsic::Duration) => rows.batch.field(Stored::Duration).map(Ok),
            place => plain(rows, place),
        };
        match array {
            Some(Err(())) => return vec![f64::NAN; count],
            Some(Ok(array)) => {
                let value = |row: usize, value: f64| if array.is_null(row) { f64::NAN } else { value };
                if let Some(ints) = array.as_primitive_opt::<Int64Type>() {
                    return ints.values().iter().enumerate().map(|(row, v)| value(row, *v as f64)).collect();
                }
                if let Some(ints) = array.as_primitive_opt::<Int32Type>() {
                    return ints.values().iter().enumerate().map(|(row, v)| value(row, f64::from(*v))).collect();
                }
                if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
                    return floats.values().iter().enumerate().map(|(row, v)| value(row, *v)).collect();
                }
            }
            None => {}
        }
    }
    (0..count).map(|row| seen(fetch, rows, fields, row).map_or(f64::NAN, |v| number(&v, false))).collect()
}

/// Spans that are found in their traces.
fn traces(
    question: &Question<'_>,
    pipeline: &Pipeline,
    aggregate: &Aggregate,
    window: &Window,
    hints: &Hints,
    mut fetch: Fetch,
    heard: &mut HeardSeries<'_>,
) -> Result<Vec<Series>, EvalError> {
    let compiled = Compiled::new(pipeline, &mut fetch);
    let mut ids = traces_with_all(question, &required(pipeline))?;
    let mut sampler = Sampler::of(hints.trace_sample.as_ref());
    if let Some(sampler) = &mut sampler {
        ids.retain(|_| sampler.take());
    }
    let factor = sampler.as_ref().map_or(1.0, Sampler::factor);
    let mut comparison = match &aggregate.function {
        Function::Compare(compare) => Some(Comparison::new(compare, *window, &mut fetch)),
        _ => None,
    };
    let by: Vec<usize> = aggregate.by.iter().map(|a| fetch.slot(a)).collect();
    let value = aggregate.attribute.as_ref().map(|a| fetch.slot(a));
    let seconds = in_seconds(aggregate);
    let mut observer = Observer::new(aggregate, *window);
    let more = comparison.as_ref().map_or_else(Vec::new, |_| Comparison::columns());
    let mut exemplars = hints.exemplars;
    let marks = compiled.marks(&fetch);
    let wanted = Wanted { fetch: &fetch, marks: &marks, more: &more };
    for chunk in ids.chunks(CHUNK) {
        let too_large = read_in_parts(question, wanted, chunk, &mut |loaded, ids| {
            for id in ids {
                question.alive()?;
                let Some(trace) = loaded.trace(*id) else { continue };
                for set in compiled.run(&trace, &fetch).map_err(|e| EvalError::Query(e.to_owned()))? {
                    for span in set.spans {
                        let time = trace.start(span);
                        let Some(interval) = window.interval(time) else { continue };
                        if let Some(comparison) = &mut comparison {
                            comparison.observe(&trace, &fetch, span, interval);
                            continue;
                        }
                        let mut labels = Vec::with_capacity(by.len() + 1);
                        for (label, slot) in by.iter().enumerate() {
                            labels.push(observer.interners[label].number(&trace.slot(&fetch, *slot, span)));
                        }
                        let raw = value.map_or(f64::NAN, |slot| number(&trace.slot(&fetch, slot, span), false));
                        if observer.has_buckets() {
                            let Some(bucket) = observer.bucket(raw, seconds) else { continue };
                            labels.push(bucket);
                        }
                        let shown = if seconds { raw / 1e9 } else { raw };
                        observer.observe(interval, &labels, shown).map_err(EvalError::Query)?;
                        if exemplars > 0 {
                            exemplars -= 1;
                            let (rows, row) = trace.row(span);
                            observer.exemplar(&labels, exemplar(rows, row, time, shown));
                        }
                    }
                }
            }
            Ok(())
        })?;
        // Numbers that lack a trace would look like any other.
        if let Some(id) = too_large.first() {
            return Err(EvalError::Query(format!("the trace {id} has more spans than fit into the memory of a query")));
        }
        heard(&|| match &comparison {
            Some(comparison) => comparison.clone().finish(),
            None => observer.clone().finish(factor),
        });
    }
    Ok(match comparison {
        Some(comparison) => comparison.finish(),
        None => observer.finish(factor),
    })
}
