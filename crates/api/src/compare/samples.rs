//! Samples: how much of what a selector measures comes from the series with which labels. Counters and histograms weigh what they grew by,
//! gauges their mean.

use model::TimeRange;
use promql::{Answer, Expr, Node, Question, Sample};
use store::{LabelMatcher, MatchOp};

use super::tally::Tallies;
use crate::answer::Failure;

const NAME: &str = "__name__";

/// The first selector of a query, and whether what it selects only grows.
pub(super) struct Selected {
    selector: String,
    grows: bool,
}

impl Selected {
    /// That of `query`; `None` where it has none.
    pub(super) fn of(query: &Expr) -> Option<Self> {
        let (matchers, rated) = first(query, false)?;
        let name = matchers.iter().find(|m| m.name == NAME && m.op == MatchOp::Eq).map_or("", |m| m.value.as_str());
        // Buckets hold each other; the observations are counted beside them.
        let buckets = name.strip_suffix("_bucket");
        let grows = rated || ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        let mut matchers = matchers.to_vec();
        if let Some(base) = buckets {
            matchers.retain(|m| m.name != "le");
            let names = matchers.iter_mut().filter(|m| m.name == NAME && m.op == MatchOp::Eq);
            names.for_each(|m| m.value = format!("{base}_count"));
        }
        Some(Self { selector: promql::braces(&matchers), grows })
    }

    pub(super) fn selector(&self) -> &str {
        &self.selector
    }

    /// The function over time that weighs a series.
    pub(super) fn function(&self) -> &'static str {
        if self.grows { "increase" } else { "avg_over_time" }
    }

    /// Weighs all series inside and outside of `inside`.
    pub(super) fn measure(&self, question: &Question<'_>, range: TimeRange, inside: TimeRange) -> Result<Tallies<f64>, Failure> {
        let mut tallies = Tallies::default();
        let (from, to) = (inside.start.clamp(range.start, range.end), inside.end.clamp(range.start, range.end));
        let beside = (from - range.start) + (range.end - to);
        for (start, end, at) in [(from, to, 1), (range.start, from, 0), (to, range.end, 0)] {
            let (start, end) = (start.div_euclid(1_000_000), end.div_euclid(1_000_000));
            if end <= start {
                continue;
            }
            // The means of both sides count by how long the sides are.
            let part = if self.grows || at == 1 { 1.0 } else { (end - start) as f64 * 1e6 / beside.max(1) as f64 };
            let query = format!("{}({}[{}ms])", self.function(), self.selector, end - start);
            let expr = promql::parse(&query).map_err(|e| Failure::Internal(format!("{query}: {e}")))?;
            let Answer::Vector(series) = promql::instant(question, &query, &expr, end)?.answer else { continue };
            for (labels, sample) in series {
                let value = match sample {
                    Sample::Float(value) => value,
                    Sample::Histogram(histogram) => histogram.count,
                };
                let weight = value.abs() * part;
                if weight.is_nan() || weight.is_infinite() || weight == 0.0 {
                    continue;
                }
                *if at == 1 { &mut tallies.inside } else { &mut tallies.outside } += weight;
                let counts = if at == 1 { [0.0, weight] } else { [weight, 0.0] };
                for (key, value) in labels.iter() {
                    tallies.count("label", key, value, counts);
                }
            }
        }
        Ok(tallies)
    }
}

/// The matchers of the first selector, and whether a function of counters is around it.
fn first(expr: &Expr, rated: bool) -> Option<(&[LabelMatcher], bool)> {
    match &expr.node {
        Node::Selector(selector) | Node::Range { selector, .. } => Some((&selector.matchers, rated)),
        Node::Call { function, args } => {
            let rated = rated || matches!(function.name, "rate" | "irate" | "increase" | "resets");
            args.iter().find_map(|arg| first(arg, rated))
        }
        Node::Aggregate { expr, .. } | Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => {
            first(expr, rated)
        }
        Node::Binary(binary) => first(&binary.left, rated).or_else(|| first(&binary.right, rated)),
        Node::Number { .. } | Node::Text(_) => None,
    }
}
