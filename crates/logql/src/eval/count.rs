//! Lines that are only counted: the store counts them, none is read.
//!
//! That is so where everything that the pipeline does can be said in the store's words: line filters that are pushed down;
//! `json` followed by comparisons with numbers, for lines in which the labels compared are plain to see
//! ([`store::MemberTest`]). Lines of which it cannot be told go through the pipeline as ever.

use std::collections::HashMap;

use model::{OwnedValue, Scope, TimeRange};
use store::{Aggregation, Column, CompareOp, Counted, Distinct, MemberTest, Predicate, Table};

use super::window::Window;
use super::{Grid, Series, check_room, looks_at};
use crate::EvalError;
use crate::ast::{self, Grouping, LabelFilter, LogQuery, RangeAggregation, RangeOp, Stage};
use crate::levels::LEVEL;
use crate::lines::Question;
use crate::pipeline::LabelSet;
use crate::predicate::{is_pushed, predicate};
use crate::rows::{is_field_label, label_name};

/// More stretches than this are not worth counting apart.
const STRETCHES_MAX: usize = 100_000;
const HOUR_NS: i64 = 3_600_000_000_000;

/// A count that the store can do.
pub(super) struct Count {
    aggregation: Aggregation,
    names: Vec<String>,
    /// For which lines the pipeline has to run; `None` for none.
    pub(super) rest: Option<Predicate>,
}

/// How a range aggregation is counted by the store; `None` where it is not.
///
/// # Errors
/// Storage errors.
pub(super) fn plan(
    question: &Question<'_>,
    range: &RangeAggregation,
    grouping: Option<&Grouping>,
    grid: Grid,
) -> Result<Option<Count>, EvalError> {
    let Some(grouping) = grouping.filter(|g| !g.without) else { return Ok(None) };
    if !matches!(range.op, RangeOp::Count | RangeOp::Rate) || range.unwrap.is_some() || range.range_ns <= 0 {
        return Ok(None);
    }
    let said = Said::of(&range.log);
    if !said.complete {
        return Ok(None);
    }
    let span = looks_at(grid, range.range_ns, range.offset_ns);
    let width = if grid.len() == 1 { range.range_ns } else { gcd(range.range_ns, grid.step) };
    let names: Vec<String> = grouping.labels.clone();
    if span.is_empty() || names.iter().any(|n| is_special(n)) {
        return Ok(None);
    }
    // A label of a stream may be hidden by metadata of the same name.
    if taken(question, span, &[Scope::Record, Scope::Instrumentation, Scope::Resource], &names)? || !said.free(question, span)? {
        return Ok(None);
    }
    let absent = |name: &String| Predicate::Member { name: name.clone(), test: MemberTest::Absent };
    let grouped: Vec<Predicate> = if said.json { names.iter().map(absent).collect() } else { Vec::new() };
    let clear: Vec<Predicate> = said.clear().into_iter().chain(grouped.clone()).collect();
    let rest = (!clear.is_empty()).then(|| not(Predicate::And(clear)));
    let predicate = said.passes().into_iter().chain(grouped).fold(predicate(&range.log), Predicate::and);
    let aggregation = Aggregation {
        tenant: question.tenant.clone(),
        table: Table::Logs,
        range: span,
        predicate,
        by: names.iter().map(|name| Column::attribute(Scope::Label, name)).collect(),
        width,
    };
    let fits = aggregation.stretches() <= STRETCHES_MAX;
    Ok(fits.then_some(Count { aggregation, names, rest }))
}

impl Count {
    /// The numbers of each step.
    ///
    /// # Errors
    /// Storage errors.
    pub(super) fn series(&self, question: &Question<'_>, range: &RangeAggregation, window: Window) -> Result<Series, EvalError> {
        let mut by_labels: HashMap<LabelSet, Vec<u64>> = HashMap::new();
        for Counted { key, counts } in question.reader.aggregate(&self.aggregation)? {
            question.tally.add(counts.iter().sum(), 0);
            let pairs = self.names.iter().zip(key).filter_map(|(name, value)| match value {
                Some(OwnedValue::Str(text)) if !text.is_empty() => Some((name.as_str(), text)),
                _ => None,
            });
            let labels = LabelSet::from_pairs(pairs);
            match by_labels.get_mut(&labels) {
                Some(known) => known.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n),
                None => {
                    by_labels.insert(labels, counts);
                }
            }
        }
        check_room(question, by_labels.len(), window.grid)?;
        let width = self.aggregation.width;
        let (step, wide) = ((window.grid.step / width) as usize, (range.range_ns / width) as usize);
        let seconds = range.range_ns as f64 / 1e9;
        let numbers = |counts: Vec<u64>| {
            let sums: Vec<u64> = std::iter::once(0)
                .chain(counts.iter().scan(0, |sum, n| {
                    *sum += n;
                    Some(*sum)
                }))
                .collect();
            let at = |i: usize| sums.get(i).or(sums.last()).copied().unwrap_or(0);
            (0..window.grid.len())
                .map(|i| {
                    let first = if window.grid.len() == 1 { 0 } else { i * step };
                    let count = at(first + wide) - at(first);
                    (count > 0).then(|| if range.op == RangeOp::Rate { count as f64 / seconds } else { count as f64 })
                })
                .collect()
        };
        Ok(by_labels.into_iter().map(|(labels, counts)| (labels, numbers(counts))).collect())
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn not(p: Predicate) -> Predicate {
    Predicate::Not(Box::new(p))
}

/// Whether an attribute of one of these scopes goes by one of the labels' names.
fn taken(question: &Question<'_>, span: TimeRange, scopes: &[Scope], names: &[String]) -> Result<bool, EvalError> {
    if names.is_empty() {
        return Ok(false);
    }
    // Whole hours are told by the segments' footers.
    let start = span.start.div_euclid(HOUR_NS).saturating_mul(HOUR_NS);
    let end = span.end.div_euclid(HOUR_NS).saturating_add(1).saturating_mul(HOUR_NS);
    let hours = TimeRange::new(start, end);
    for scope in scopes {
        let what = Distinct::Keys(Some(*scope));
        let keys = question.reader.distinct(question.tenant, Table::Logs, hours, &Predicate::True, &what, None)?;
        if keys.iter().flatten().any(|(_, key)| names.iter().any(|n| **n == *label_name(key))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names that are labels of other kinds than attributes and members.
fn is_special(name: &str) -> bool {
    // The level is found in the line, not in a column.
    is_field_label(name) || name == LEVEL || name.starts_with("__") || name.ends_with("_extracted")
}

/// What the first stages of a query ask, in the store's words.
pub(crate) struct Said {
    /// Comparisons of members.
    filters: Vec<Predicate>,
    /// The labels that they name.
    names: Vec<String>,
    /// Whether there is a stage that parses.
    json: bool,
    /// Whether there is nothing else.
    complete: bool,
}

impl Said {
    pub(crate) fn of(log: &LogQuery) -> Self {
        let mut said = Self { filters: Vec::new(), names: Vec::new(), json: false, complete: true };
        for stage in &log.stages {
            match stage {
                Stage::LineFilters(filters) if filters.iter().all(is_pushed) => continue,
                Stage::Json if !said.json => {
                    said.json = true;
                    continue;
                }
                Stage::LabelFilter(filter) if said.json => {
                    let mut names = Vec::new();
                    if let Some(filter) = comparison(filter, &mut names) {
                        said.filters.push(filter);
                        said.names.extend(names);
                        continue;
                    }
                }
                _ => {}
            }
            said.complete = false;
            break;
        }
        said.names.sort_unstable();
        said.names.dedup();
        said
    }

    /// Whether that is all that the query asks.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// The conditions under which a line's filters can be told.
    fn clear(&self) -> Vec<Predicate> {
        self.names.iter().map(|name| Predicate::Member { name: name.clone(), test: MemberTest::Plain }).collect()
    }

    /// Lines that are clear and pass the filters.
    fn passes(&self) -> Vec<Predicate> {
        let compared = |name: &String| self.filters.iter().any(|f| matches!(f, Predicate::Member { name: n, .. } if n == name));
        let mut out = self.filters.clone();
        // What passes a comparison is clear.
        out.extend(self.clear().into_iter().zip(&self.names).filter(|(_, name)| !compared(name)).map(|(p, _)| p));
        out
    }

    /// Whether no label of a stream, and no metadata, goes by a name that is compared.
    fn free(&self, question: &Question<'_>, span: TimeRange) -> Result<bool, EvalError> {
        Ok(!self.names.iter().any(|n| is_special(n)) && !taken(question, span, &Scope::ALL, &self.names)?)
    }

    /// Lines that may pass the filters: the pipeline drops all others.
    ///
    /// # Errors
    /// Storage errors.
    pub(crate) fn may_pass(&self, question: &Question<'_>, span: TimeRange) -> Result<Predicate, EvalError> {
        if self.filters.is_empty() || !self.free(question, span)? {
            return Ok(Predicate::True);
        }
        Ok(Predicate::Or(vec![Predicate::And(self.passes()), not(Predicate::And(self.clear()))]))
    }
}

fn comparison(filter: &LabelFilter, names: &mut Vec<String>) -> Option<Predicate> {
    Some(match filter {
        LabelFilter::Number(name, op, value) => {
            let op = match op {
                ast::CompareOp::Eq => CompareOp::Eq,
                ast::CompareOp::Ne => CompareOp::Ne,
                ast::CompareOp::Lt => CompareOp::Lt,
                ast::CompareOp::Le => CompareOp::Le,
                ast::CompareOp::Gt => CompareOp::Gt,
                ast::CompareOp::Ge => CompareOp::Ge,
            };
            names.push(name.clone());
            Predicate::Member { name: name.clone(), test: MemberTest::Compare(op, *value) }
        }
        LabelFilter::And(l, r) => Predicate::And(vec![comparison(l, names)?, comparison(r, names)?]),
        LabelFilter::Or(l, r) => Predicate::Or(vec![comparison(l, names)?, comparison(r, names)?]),
        _ => return None,
    })
}
