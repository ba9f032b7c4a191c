//! LogQL, after Loki 3: [`parse`] a query, then [`lines`] or [`metric`] evaluates it over a store's reader. Printing an
//! [`Expr`] gives Loki's canonical form, [`Expr::pretty`] the one for reading.
//!
//! Stream selectors and the line filters that stand first become one [`store::Predicate`], so that the engine finds the lines;
//! the rest of a pipeline runs on the rows of each batch, and its parsers extract only what the query uses.

mod ast;
mod error;
mod eval;
pub mod invariants;
mod lexer;
mod lines;
mod parser;
mod pipeline;
mod predicate;
mod pretty;
mod print;
mod regexp;
mod rows;
mod units;

#[cfg(test)]
mod tests;

pub use ast::{
    AggregateOp, Binary, BinaryOp, Cardinality, CompareOp, Conversion, Expr, Grouping, LabelFilter, LabelFormat, LabelReplace,
    LineFilter, LineOp, LineTerm, LogQuery, LogfmtFlags, Matching, NamedMatcher, RangeAggregation, RangeOp, Stage, Unwrap,
    Variants, VectorAggregation,
};
pub use error::{EvalError, ParseError};
pub use eval::{Grid, Metric, metric};
pub use lines::{Direction, Line, Question, lines};
pub use parser::{MAX_QUERY, parse, parse_matchers};
pub use pipeline::LabelSet;
pub use predicate::matchers_predicate;

/// A duration as LogQL writes it (`5m`, `1h30m`, `1.5s`, `2d`), nanoseconds. `None` where `text` is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    units::parse_duration(text)
}
