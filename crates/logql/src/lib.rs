//! LogQL, after Loki 3: [`parse`] a query, then [`lines`] or [`metric`] evaluates it over a store's reader.
//!
//! Stream selectors and line filters become one [`store::Predicate`], so that the engine finds the lines. Of the
//! pipeline there are line filters, `drop` and `keep`; of metric queries `count_over_time`, `rate`, `bytes_over_time`,
//! `bytes_rate`, `absent_over_time`, the plain aggregations and operators. The rest is refused with its position.

mod ast;
mod compile;
mod error;
mod lexer;
mod lines;
mod metric;
mod parser;

#[cfg(test)]
mod tests;

pub use ast::{AggregateOp, Binary, BinaryOp, Expr, Grouping, LineFilter, LineOp, LogQuery, RangeOp, Stage};
pub use compile::matchers_predicate;
pub use error::{EvalError, ParseError};
pub use lines::{Direction, Line, Question, lines};
pub use metric::{Grid, Metric, metric};
pub use parser::{MAX_QUERY, parse, parse_matchers};

/// A duration as LogQL writes it (`5m`, `1h30m`, `1.5s`, `2d`), nanoseconds. `None` where `text` is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    lexer::parse_duration(text)
}
