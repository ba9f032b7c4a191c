//! A pipeline of spansets on one trace.

use std::collections::HashMap;

use crate::ast::{AggregateOp, Mode, Op, Pipeline, Scalar, Spanset, SpansetOp, Stage};
use crate::eval::{Code, compile, evaluate};
use crate::fetch::Fetch;
use crate::marks::{Mark, Marks};
use crate::trace::Trace;
use crate::value::{Static, binary, compare};

/// A pipeline that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    stages: Vec<Run>,
    /// How many filters it has.
    filters: usize,
}

#[derive(Debug, Clone)]
enum Run {
    Spanset(Sets),
    /// Keeps spansets whose aggregate compares so; shown as `name`.
    Filter {
        op: Op,
        aggregate: AggregateOp,
        of: Option<Code>,
        name: String,
        right: Static<'static>,
    },
    By(Code, String),
    Coalesce,
}

#[derive(Debug, Clone)]
enum Sets {
    /// With its number among the filters.
    Filter(Code, usize),
    Pipeline(Vec<Run>),
    Op(SpansetOp, Box<(Sets, Sets)>),
}

/// Some spans of a trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Set {
    /// Ascending.
    pub(crate) spans: Vec<u32>,
    /// What stages said of it.
    pub(crate) attributes: Vec<(String, Static<'static>)>,
}

impl Compiled {
    pub(crate) fn new(pipeline: &Pipeline, fetch: &mut Fetch) -> Self {
        let mut filters = 0;
        let stages = stages(pipeline, fetch, &mut filters);
        Self { stages, filters }
    }

    /// What of it rows decide by themselves. `fetch` is complete by now.
    pub(crate) fn marks(&self, fetch: &Fetch) -> Marks {
        let mut filters = vec![None; self.filters];
        collect(&self.stages, fetch, &mut filters);
        Marks { filters, seen: true }
    }

    /// The spansets of a trace.
    ///
    /// # Errors
    /// What an expression gives.
    pub(crate) fn run(&self, trace: &Trace<'_>, fetch: &Fetch) -> Result<Vec<Set>, &'static str> {
        let spans: Vec<u32> = (0..trace.spans.len() as u32).filter(|s| trace.is_seen(fetch, *s)).collect();
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        Runner { trace, fetch }.stages(&self.stages, vec![Set { spans, attributes: Vec::new() }])
    }
}

fn collect(stages: &[Run], fetch: &Fetch, marks: &mut [Option<Mark>]) {
    for stage in stages {
        if let Run::Spanset(sets) = stage {
            collect_of(sets, fetch, marks);
        }
    }
}

fn collect_of(sets: &Sets, fetch: &Fetch, marks: &mut [Option<Mark>]) {
    match sets {
        Sets::Filter(code, number) => marks[*number] = Mark::of(code, fetch),
        Sets::Pipeline(stages) => collect(stages, fetch, marks),
        Sets::Op(_, sides) => {
            collect_of(&sides.0, fetch, marks);
            collect_of(&sides.1, fetch, marks);
        }
    }
}

fn stages(pipeline: &Pipeline, fetch: &mut Fetch, filters: &mut usize) -> Vec<Run> {
    let mut out = Vec::new();
    for stage in &pipeline.stages {
        out.push(match stage {
            Stage::Spanset(s) => Run::Spanset(sets(s, fetch, filters)),
            Stage::Filter(f) => {
                // What else there may be was refused when the query was checked.
                let (Scalar::Aggregate(aggregate, of), Scalar::Static(right)) = (&f.left, &f.right) else { continue };
                let of = of.as_ref().map(|e| compile(e, &mut |a| fetch.slot(a)));
                Run::Filter { op: f.op, aggregate: *aggregate, of, name: f.left.to_string(), right: right.clone() }
            }
            Stage::By(e) => Run::By(compile(e, &mut |a| fetch.slot(a)), stage.to_string()),
            Stage::Coalesce => Run::Coalesce,
            Stage::Select(_) | Stage::Scalar(_) => continue,
        });
    }
    out
}

fn sets(spanset: &Spanset, fetch: &mut Fetch, filters: &mut usize) -> Sets {
    match spanset {
        Spanset::Filter(e) => {
            *filters += 1;
            Sets::Filter(compile(e, &mut |a| fetch.slot(a)), *filters - 1)
        }
        Spanset::Pipeline(p) => Sets::Pipeline(stages(p, fetch, filters)),
        Spanset::Op(op, sides) => Sets::Op(*op, Box::new((sets(&sides.0, fetch, filters), sets(&sides.1, fetch, filters)))),
    }
}

struct Runner<'t, 'b> {
    trace: &'t Trace<'b>,
    fetch: &'t Fetch,
}

type Ran = Result<Vec<Set>, &'static str>;

impl<'t> Runner<'t, '_> {
    fn value<'c>(&self, code: &'c Code, span: u32) -> Result<Static<'c>, &'static str>
    where
        't: 'c,
    {
        let (trace, fetch) = (self.trace, self.fetch);
        evaluate(code, &|slot| trace.slot(fetch, slot, span))
    }

    fn stages(&self, stages: &[Run], mut sets: Vec<Set>) -> Ran {
        for stage in stages {
            sets = match stage {
                Run::Spanset(s) => self.sets(s, sets)?,
                Run::Filter { op, aggregate, of, name, right } => {
                    let mut kept = Vec::new();
                    for mut set in sets {
                        let Some(scalar) = self.aggregate(*aggregate, of.as_ref(), &set.spans)? else { continue };
                        if binary(*op, &scalar, right, None)?.is_true() {
                            set.attributes.push((name.clone(), scalar));
                            kept.push(set);
                        }
                    }
                    kept
                }
                Run::By(code, name) => self.by(code, name, sets)?,
                Run::Coalesce => {
                    let mut spans: Vec<u32> = sets.into_iter().flat_map(|s| s.spans).collect();
                    spans.sort_unstable();
                    spans.dedup();
                    vec![Set { spans, attributes: Vec::new() }]
                }
            };
            if sets.is_empty() {
                break;
            }
        }
        Ok(sets)
    }

    fn by(&self, code: &Code, name: &str, sets: Vec<Set>) -> Ran {
        let mut out = Vec::new();
        for set in sets {
            let mut groups: Vec<(Static<'static>, Vec<u32>)> = Vec::new();
            let mut known: HashMap<String, usize> = HashMap::new();
            for span in set.spans {
                let value = self.value(code, span)?;
                let group = *known.entry(value.key()).or_insert_with(|| {
                    groups.push((value.into_owned(), Vec::new()));
                    groups.len() - 1
                });
                groups[group].1.push(span);
            }
            for (value, spans) in groups {
                let mut attributes = set.attributes.clone();
                attributes.push((name.to_owned(), value));
                out.push(Set { spans, attributes });
            }
        }
        Ok(out)
    }

    fn sets(&self, spanset: &Sets, sets: Vec<Set>) -> Ran {
        match spanset {
            Sets::Filter(code, number) => {
                let mut out = Vec::new();
                for mut set in sets {
                    set.spans = self.filtered(code, *number, &set.spans)?;
                    if !set.spans.is_empty() {
                        out.push(set);
                    }
                }
                Ok(out)
            }
            Sets::Pipeline(stages) => self.stages(stages, sets),
            Sets::Op(op, sides) => {
                let mut out = Vec::new();
                for set in sets {
                    let (left, right) = (self.side(&sides.0, &set)?, self.side(&sides.1, &set)?);
                    let spans = match op {
                        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
                        SpansetOp::And | SpansetOp::Or => {
                            let mut both = left;
                            both.extend(right);
                            both.sort_unstable();
                            both.dedup();
                            both
                        }
                        SpansetOp::Relation { mode: Mode::Not, .. } if left.is_empty() => right,
                        // Nothing to walk the tree for.
                        SpansetOp::Relation { .. } if left.is_empty() || right.is_empty() => Vec::new(),
                        SpansetOp::Relation { relation, mode } => self.trace.tree().related(*relation, *mode, &left, &right),
                    };
                    if !spans.is_empty() {
                        out.push(Set { spans, attributes: set.attributes });
                    }
                }
                Ok(out)
            }
        }
    }

    /// The spans for which a filter is true.
    fn filtered(&self, code: &Code, number: usize, spans: &[u32]) -> Result<Vec<u32>, &'static str> {
        let mut kept = Vec::with_capacity(spans.len());
        for &span in spans {
            let is_true = match self.trace.holds(number, span) {
                Some(known) => known,
                None => self.value(code, span)?.is_true(),
            };
            if is_true {
                kept.push(span);
            }
        }
        Ok(kept)
    }

    /// The spans of one side of an operator.
    fn side(&self, sets: &Sets, set: &Set) -> Result<Vec<u32>, &'static str> {
        match sets {
            Sets::Filter(code, number) => self.filtered(code, *number, &set.spans),
            _ => Ok(union(self.sets(sets, vec![set.clone()])?)),
        }
    }

    /// `None` where no span has a value.
    fn aggregate(&self, op: AggregateOp, of: Option<&Code>, spans: &[u32]) -> Result<Option<Static<'static>>, &'static str> {
        let Some(code) = of else { return Ok(Some(Static::Int(spans.len() as i64))) };
        let mut result: Option<Static<'static>> = None;
        let mut count = 0u32;
        for &span in spans {
            let value = self.value(code, span)?;
            if value.number().is_none() {
                continue;
            }
            count += 1;
            result = Some(match (result, op) {
                (None, _) => value.into_owned(),
                (Some(sum), AggregateOp::Sum | AggregateOp::Avg) => match (&sum, &value) {
                    (Static::Duration(a), Static::Duration(b)) => Static::Duration(a.saturating_add(*b)),
                    _ => binary(Op::Add, &sum, &value, None)?,
                },
                (Some(most), AggregateOp::Max) if compare(Op::Gt, &value, &most) => value.into_owned(),
                (Some(least), AggregateOp::Min) if compare(Op::Lt, &value, &least) => value.into_owned(),
                (Some(same), _) => same,
            });
        }
        Ok(match (op, result) {
            (AggregateOp::Avg, Some(Static::Duration(sum))) => Some(Static::Duration((sum as f64 / f64::from(count)) as i64)),
            (AggregateOp::Avg, Some(sum)) => sum.number().map(|n| Static::Float(n / f64::from(count))),
            (_, result) => result,
        })
    }
}

fn union(sets: Vec<Set>) -> Vec<u32> {
    let mut spans: Vec<u32> = sets.into_iter().flat_map(|s| s.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}
