//! TraceQL, after Tempo: [`parse`] a query, then [`search`] a store's reader by its [`Plan`], or [`metrics::evaluate`] it.
//!
//! Filters become [`store::Predicate`]s as far as columns can tell, so that the engine finds the spans; whole traces are
//! read only where a query asks for what only they know, and for the summary that search shows. Invariants:
//!
//! - A trace is judged whole, wherever its spans are kept ([`trace`]).
//! - What a query sees of a span is what Tempo's storage would give it ([`fetch`]).

mod ast;
mod check;
mod error;
mod eval;
mod fetch;
mod lexer;
mod marks;
pub mod metrics;
mod parser;
mod pipeline;
mod predicate;
mod print;
mod question;
mod search;
mod spans;
mod tags;
mod trace;
mod tree;
mod value;

#[cfg(test)]
mod tests;

pub use ast::{
    Aggregate, AggregateOp, Attribute, AttributeScope, Compare, Expr, Function, Intrinsic, Metrics, MetricsNode, Mode, Node, Op,
    Operand, Pipeline, Query, Relation, Root, Scalar, ScalarFilter, SecondStage, Spanset, SpansetOp, Stage, UnaryOp,
};
pub use error::{ErrorKind, EvalError, ParseError};
pub use parser::{MAX_QUERY, parse_identifier, parse_unchecked};
pub use predicate::filter;
pub use print::duration;
pub use question::Question;
pub use search::{Found, FoundSet, FoundSpan, FoundTrace, Heard, Plan, search, search_aloud};
pub use tags::{logfmt, nested_names, nested_values, tags_query};
pub use value::{KINDS, Kind, STATUSES, Static};

/// Reads a query and checks that it means something.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse(query: &str) -> Result<Query, ParseError> {
    let parsed = parse_unchecked(query)?;
    check::query(&parsed).map_err(|invalid| {
        let kind = if invalid.unsupported { ErrorKind::Unsupported } else { ErrorKind::Invalid };
        ParseError { kind, ..ParseError::at(query, invalid.start, invalid.message) }
    })?;
    Ok(parsed)
}

/// A duration as TraceQL writes it (`1.5s`, `1h30m`), nanoseconds. `None` where `text` is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    lexer::parse_duration(text)
}
