//! Selectors and line filters to what the store filters by.

use model::Scope;
use regex::Regex;
use store::{Column, Field, LabelMatcher, MatchOp, Predicate};

use crate::ast::{LineFilter, LineOp, LogQuery, Stage};

/// The rows that all matchers and all line filters of `log` accept.
pub(crate) fn predicate(log: &LogQuery) -> Predicate {
    let filters = log.stages.iter().filter_map(|s| match s {
        Stage::Filter(filter) => Some(line_filter(filter)),
        Stage::Drop(_) | Stage::Keep(_) => None,
    });
    filters.fold(matchers_predicate(&log.matchers), Predicate::and)
}

/// The rows of the streams that all `matchers` accept; an absent label has the empty value.
#[must_use]
pub fn matchers_predicate(matchers: &[LabelMatcher]) -> Predicate {
    matchers.iter().map(matcher).fold(Predicate::True, Predicate::and)
}

fn not(p: Predicate) -> Predicate {
    Predicate::Not(Box::new(p))
}

fn matcher(m: &LabelMatcher) -> Predicate {
    let column = Column::attribute(Scope::Label, &m.name);
    // A pattern that `LabelMatcher` took compiles here too.
    let regex = || Regex::new(&format!("^(?s:{})$", m.value)).ok();
    let present = match m.op {
        MatchOp::Eq | MatchOp::Ne => Predicate::eq(column.clone(), &m.value),
        MatchOp::Re | MatchOp::NotRe => match regex() {
            Some(regex) => Predicate::Matches { column: column.clone(), regex },
            None => Predicate::Or(Vec::new()),
        },
    };
    let negative = matches!(m.op, MatchOp::Ne | MatchOp::NotRe);
    let accepts_absent = m.matches("");
    match (negative, accepts_absent) {
        (false, false) => present,
        (false, true) => Predicate::Or(vec![present, not(Predicate::Exists(column))]),
        (true, true) => not(present),
        (true, false) => Predicate::And(vec![Predicate::Exists(column), not(present)]),
    }
}

fn line_filter(filter: &LineFilter) -> Predicate {
    let body = || Column::Field(Field::Body);
    let one = |text: &String| match filter.op {
        LineOp::Contains | LineOp::NotContains => Predicate::Contains { column: body(), needle: text.clone() },
        LineOp::Matches | LineOp::NotMatches => match Regex::new(text) {
            Ok(regex) => Predicate::Matches { column: body(), regex },
            Err(_) => Predicate::Or(Vec::new()),
        },
    };
    let mut any: Vec<Predicate> = filter.texts.iter().map(one).collect();
    let any = if any.len() == 1 { any.remove(0) } else { Predicate::Or(any) };
    match filter.op {
        LineOp::Contains | LineOp::Matches => any,
        LineOp::NotContains | LineOp::NotMatches => not(any),
    }
}
