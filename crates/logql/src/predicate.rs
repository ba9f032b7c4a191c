//! Selectors and line filters to what the store filters by.

use model::Scope;
use store::{Column, Field, LabelMatcher, MatchOp, Predicate};

use crate::ast::{LineFilter, LineOp, LogQuery, Stage};
use crate::regexp::compile;

/// The rows that all matchers accept, and all line filters that stand before the first stage that changes the line. What only
/// the pipeline can tell (addresses, patterns) is left to it.
pub(crate) fn predicate(log: &LogQuery) -> Predicate {
    let unchanged = log.stages.iter().take_while(|s| !matches!(s, Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize));
    let filters = unchanged.filter_map(|s| if let Stage::LineFilters(filters) = s { Some(filters) } else { None });
    filters.flatten().filter_map(line_filter).fold(matchers_predicate(&log.matchers), Predicate::and)
}

/// Whether [`predicate`] says all that the line filter does.
pub(crate) fn is_pushed(filter: &LineFilter) -> bool {
    line_filter(filter).is_some()
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
    let regex = || regex::Regex::new(&format!("^(?s:{})$", m.value)).ok();
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

fn line_filter(filter: &LineFilter) -> Option<Predicate> {
    let body = || Column::Field(Field::Body);
    let mut any = Vec::with_capacity(filter.terms.len());
    for term in &filter.terms {
        any.push(match filter.op {
            _ if term.ip => return None,
            LineOp::Contains | LineOp::NotContains => Predicate::Contains { column: body(), needle: term.text.clone() },
            LineOp::Matches | LineOp::NotMatches => Predicate::Matches { column: body(), regex: compile(&term.text).ok()? },
            LineOp::Pattern | LineOp::NotPattern => return None,
        });
    }
    let any = if any.len() == 1 { any.remove(0) } else { Predicate::Or(any) };
    Some(if filter.op.negative() { not(any) } else { any })
}
