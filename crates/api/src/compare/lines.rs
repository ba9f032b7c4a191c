//! Log lines, as their pipeline leaves them: stream labels, structured metadata, what parsers found.

use std::collections::HashMap;
use std::sync::Arc;

use logql::{Binary, Category, Expr, LogQuery, Question};
use model::TimeRange;

use super::Inside;
use super::tally::{Pair, Tallies};
use crate::answer::Failure;

/// Label values that are counted by their addresses before they are looked up by their text.
const KNOWN: usize = 1 << 16;

/// The lines that a query reads; of a metric query those of its first aggregation.
pub(super) fn of(query: Expr) -> Option<LogQuery> {
    match query {
        Expr::Log(log) => Some(log),
        Expr::Range(range) => Some(range.log),
        Expr::Aggregate(aggregation) => of(aggregation.expr),
        Expr::Binary(binary) => {
            let Binary { left, right, .. } = *binary;
            of(left).or_else(|| of(right))
        }
        Expr::LabelReplace(replace) => of(replace.expr),
        Expr::Variants(variants) => Some(variants.lines),
        Expr::Number(_) | Expr::Vector(_) => None,
    }
}

/// Values that many lines share, as their address; kept alive, so that no other value gets the address.
type Shared = HashMap<(Category, usize, usize), (Arc<str>, Arc<str>, Pair<u64>), foldhash::fast::RandomState>;

/// Counts the lines of `query`.
pub(super) fn count(
    question: &Question<'_>,
    query: &LogQuery,
    range: TimeRange,
    inside: &Inside,
) -> Result<Tallies<u64>, Failure> {
    let mut tallies = Tallies::default();
    let mut shared = Shared::default();
    logql::each_line(question, query, range, &mut |time, labels| {
        let at = usize::from(inside.range.contains(time));
        *if at == 1 { &mut tallies.inside } else { &mut tallies.outside } += 1;
        labels.each(|category, name, value| {
            let key = (category, Arc::as_ptr(name).addr(), Arc::as_ptr(value).addr());
            shared.entry(key).or_insert_with(|| (name.clone(), value.clone(), [0; 2])).2[at] += 1;
        });
        if shared.len() > KNOWN {
            take(&mut shared, &mut tallies);
        }
    })?;
    take(&mut shared, &mut tallies);
    Ok(tallies)
}

fn take(shared: &mut Shared, tallies: &mut Tallies<u64>) {
    for ((category, ..), (name, value, counts)) in shared.drain() {
        let scope = match category {
            Category::Stream => "stream",
            Category::Metadata => "metadata",
            Category::Parsed => "parsed",
        };
        tallies.count(scope, &name, &value, counts);
    }
}
