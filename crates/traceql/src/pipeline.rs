//! A pipeline of spansets on one trace.

use std::collections::HashMap;

use crate::ast::{AggregateOp, Op, Pipeline, Scalar, Spanset, SpansetOp, Stage};
use crate::eval::{Code, compile, evaluate};
use crate::fetch::Fetch;
use crate::trace::Trace;
use crate::value::{Static, binary, compare};

/// A pipeline that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    stages: Vec<Run>,
    /// Whether a trace's tree is needed.
    pub(crate) needs_tree: bool,
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
    Filter(Code),
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
        let mut needs_tree = false;
        let stages = stages(pipeline, fetch, &mut needs_tree);
        needs_tree |= fetch.needs_trace();
        Self { stages, needs_tree }
    }

    /// The spansets of a trace.
    ///
    /// # Errors
    /// What an expression gives.
    pub(crate) fn run(&self, trace: &Trace<'_>, fetch: &Fetch) -> Result<Vec<Set>, &'static str> {
        let spans: Vec<u32> = (0..trace.spans.len() as u32).filter(|s| trace.fetched(fetch, *s)).collect();
        if spans.is_empty() {
            return Ok(Vec::new());
        }
        Runner { trace, fetch }.stages(&self.stages, vec![Set { spans, attributes: Vec::new() }])
    }
}

fn stages(pipeline: &Pipeline, fetch: &mut Fetch, needs_tree: &mut bool) -> Vec<Run> {
    let mut out = Vec::new();
    for stage in &pipeline.stages {
        out.push(match stage {
            Stage::Spanset(s) => Run::Spanset(sets(s, fetch, needs_tree)),
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

fn sets(spanset: &Spanset, fetch: &mut Fetch, needs_tree: &mut bool) -> Sets {
    match spanset {
        Spanset::Filter(e) => Sets::Filter(compile(e, &mut |a| fetch.slot(a))),
        Spanset::Pipeline(p) => Sets::Pipeline(stages(p, fetch, needs_tree)),
        Spanset::Op(op, sides) => {
            *needs_tree |= matches!(op, SpansetOp::Relation { .. });
            Sets::Op(*op, Box::new((sets(&sides.0, fetch, needs_tree), sets(&sides.1, fetch, needs_tree))))
        }
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
            Sets::Filter(code) => {
                let mut out = Vec::new();
                for mut set in sets {
                    let mut kept = Vec::with_capacity(set.spans.len());
                    for span in set.spans {
                        if self.value(code, span)?.is_true() {
                            kept.push(span);
                        }
                    }
                    if !kept.is_empty() {
                        set.spans = kept;
                        out.push(set);
                    }
                }
                Ok(out)
            }
            Sets::Pipeline(stages) => self.stages(stages, sets),
            Sets::Op(op, sides) => {
                let mut out = Vec::new();
                for set in sets {
                    let left = union(self.sets(&sides.0, vec![set.clone()])?);
                    let right = union(self.sets(&sides.1, vec![set.clone()])?);
                    let spans = match op {
                        SpansetOp::And if left.is_empty() || right.is_empty() => Vec::new(),
                        SpansetOp::And | SpansetOp::Or => {
                            let mut both = left;
                            both.extend(right);
                            both.sort_unstable();
                            both.dedup();
                            both
                        }
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
